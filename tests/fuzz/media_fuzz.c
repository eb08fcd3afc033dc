/* The input is a recording: decoded in this process, from a file and from a pipe. Whatever it is,
 * the decoder says so by its messages in the order they were promised. */
#include "media/decoder.c"

#include <sys/mman.h>

static void check(bool ok)
{
    if (!ok)
        abort();
}

/* A descriptor of nothing but these bytes. */
static int as_file(const uint8_t *p, size_t n)
{
    const int fd = memfd_create("input", MFD_CLOEXEC);

    check(fd >= 0 && write(fd, p, n) == (ssize_t)n && lseek(fd, 0, SEEK_SET) == 0);
    return fd;
}

static int as_pipe(const uint8_t *p, size_t n)
{
    int ends[2];

    check(pipe2(ends, O_CLOEXEC) == 0 && write(ends[1], p, n) == (ssize_t)n);
    close(ends[1]);
    return ends[0];
}

static void free_decoder(decoder *d)
{
    avcodec_free_context(&d->codec);
    swr_free(&d->swr);
    av_packet_free(&d->packet);
    av_frame_free(&d->frame);
    av_channel_layout_uninit(&d->in_layout);
    avformat_close_input(&d->format);
    if (d->io != NULL)
        av_freep(&d->io->buffer);
    avio_context_free(&d->io);
}

static void check_messages(int fd, int status, int64_t samples)
{
    oto_decoder_message m;
    int infos = 0, errors = 0, warnings = 0;

    while (read(fd, &m, sizeof m) == (ssize_t)sizeof m) {
        infos += m.kind == OTO_DECODER_INFO;
        errors += m.kind == OTO_DECODER_ERROR;
        warnings += m.kind == OTO_DECODER_WARNING;
        check(m.kind != OTO_DECODER_ERROR || m.code < 0);
        check(m.kind == OTO_DECODER_INFO || (m.text[0] != '\0' && strchr(m.text, '\n') == NULL));
    }
    check(errors == (status != 0) && infos == (samples > 0) && warnings <= 1);
}

static void decode_from(int in, int spool)
{
    static decoder d;
    static oto_media_options o;
    oto_decoder_job job = {.name = "input", .o = &o, .in = in, .spool = spool};
    int messages[2], status;

    check(pipe2(messages, O_CLOEXEC) == 0);
    job.messages = messages[1];
    job.pcm = open("/dev/null", O_WRONLY | O_CLOEXEC);
    memset(&d, 0, sizeof d);
    d.job = &job;
    d.in = in;
    status = spool_if_needed(&d) != 0 || decode(&d) != 0;
    close(messages[1]);
    check_messages(messages[0], status, d.samples);
    free_decoder(&d);
    close(messages[0]);
    close(job.pcm);
    close(in);
    if (spool >= 0)
        close(spool);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    if (n == 0 || n > 60000) /* a pipe holds this much */
        return 0;
    check(oto_av_load(NULL) == 0);
    av_log_set_level(AV_LOG_QUIET);
    av_max_alloc((size_t)256 << 20);
    decode_from(as_file(p, n), -1);
    decode_from(as_pipe(p, n), memfd_create("spool", MFD_CLOEXEC));
    return 0;
}
