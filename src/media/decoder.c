/* decoder: libav in a child without rights.
 *
 *   descriptor -> demuxer -> decoder -> resampler -> 16 kHz mono f32 -> pipe
 *
 * The container is found by its content; its name only helps with formats that have no header. What
 * is damaged is skipped and counted. The parent puts the name in front of every error. */
#include "media/decoder.h"
#include "media/av.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Of places to seek to, which nobody does; else a megabyte of them gathers over hours. */
#define INDEX_BYTES (16 << 10)
#define IO_BYTES    65536
#define OUT_SAMPLES 8192
#define SPOOL_PEEK  12
#define HEAD_BYTES  512

typedef struct {
    const oto_decoder_job *job;
    AVFormatContext *format;
    AVIOContext *io;
    AVCodecContext *codec;
    SwrContext *swr;
    AVPacket *packet;
    AVFrame *frame;
    AVStream *stream;
    AVChannelLayout in_layout;
    int in_rate, in_format; /* what swr was made for */
    int in;                 /* descriptor read from */
    uint8_t held[SPOOL_PEEK];
    int n_held, at_held; /* bytes taken from a pipe to look at */
    uint8_t head[HEAD_BYTES];
    size_t n_head; /* the first bytes, for a better word when nothing else is known */
    bool sought;
    bool told; /* INFO was sent */
    bool gone; /* the parent reads no more */
    bool ended_early;
    int64_t samples; /* written */
    int64_t end;     /* of the last packet of the track, in its time base */
    int damaged;     /* packets */
    double first_damage_s;
    float out[OUT_SAMPLES];
} decoder;

/* ---- messages ---- */

/* No control characters but those of texts: chance alone hardly makes 512 such bytes. */
static bool is_text(const decoder *d)
{
    if (d->job->o->raw_pcm || d->n_head == 0)
        return false;
    for (size_t i = 0; i < d->n_head; i++)
        if ((d->head[i] < ' ' && strchr("\t\n\r\f\v\033", d->head[i]) == NULL) ||
            d->head[i] == 127 || d->head[i] == '\0')
            return false;
    return true;
}

static void tell(const decoder *d, const oto_decoder_message *m)
{
    ssize_t n;

    do
        n = write(d->job->messages, m, sizeof *m);
    while (n < 0 && errno == EINTR);
}

static int fail(const decoder *d, int code, const char *fmt, ...) OTO_PRINTF(3, 4);
static int fail(const decoder *d, int code, const char *fmt, ...)
{
    oto_decoder_message m = {.kind = OTO_DECODER_ERROR, .code = code};
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(m.text, sizeof m.text, fmt, ap);
    va_end(ap);
    tell(d, &m);
    return -1;
}

/* Nothing can be heard in this: for `code` and the reason given, or because it is a text. */
static int fail_silent(const decoder *d, int code, const char *fmt, ...) OTO_PRINTF(3, 4);
static int fail_silent(const decoder *d, int code, const char *fmt, ...)
{
    char why[300];
    va_list ap;

    if (is_text(d))
        return fail(d, OTO_E_NO_AUDIO, "a text, no audio track");
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    return fail(d, code, "%s", why);
}

static int fail_av(const decoder *d, int av, const char *what)
{
    char why[AV_ERROR_MAX_STRING_SIZE] = "";

    if (av == AVERROR(ENOMEM))
        return fail(d, OTO_E_LIMIT, "%s: the decoder's memory limit was reached", what);
    av_strerror(av, why, sizeof why);
    return fail(d, OTO_E_INPUT, "%s: %s", what, why);
}

/* ---- input ---- */

static int read_fd(int fd, uint8_t *p, int n)
{
    ssize_t got;

    while ((got = read(fd, p, (size_t)n)) < 0) {
        if (errno == EAGAIN) /* a pipe that does not block: someone else's choice */
            nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
        else if (errno != EINTR)
            return AVERROR(errno);
    }
    return (int)got;
}

static int on_read(void *opaque, uint8_t *p, int n)
{
    decoder *d = opaque;
    int got;

    if (d->at_held < d->n_held) {
        got = OTO_MIN(n, d->n_held - d->at_held);
        memcpy(p, d->held + d->at_held, (size_t)got);
        d->at_held += got;
    } else
        got = read_fd(d->in, p, n);
    if (got > 0 && !d->sought && d->n_head < HEAD_BYTES) {
        const size_t more = OTO_MIN((size_t)got, HEAD_BYTES - d->n_head);

        memcpy(d->head + d->n_head, p, more);
        d->n_head += more;
    }
    return got == 0 ? AVERROR_EOF : got;
}

static int64_t on_seek(void *opaque, int64_t at, int whence)
{
    decoder *d = opaque;
    struct stat st;
    off_t to;

    whence &= ~AVSEEK_FORCE;
    if (whence == AVSEEK_SIZE)
        return fstat(d->in, &st) == 0 ? (int64_t)st.st_size : AVERROR(errno);
    d->sought = true;
    to = lseek(d->in, (off_t)at, whence);
    return to < 0 ? AVERROR(errno) : (int64_t)to;
}

static int copy_all(decoder *d)
{
    static uint8_t buf[IO_BYTES];
    int n = d->n_held;

    memcpy(buf, d->held, (size_t)n);
    do {
        for (int at = 0; at < n;) {
            const ssize_t put = write(d->job->spool, buf + at, (size_t)(n - at));

            if (put < 0 && errno == EINTR)
                continue;
            if (put < 0)
                return fail(d, errno == ENOSPC ? OTO_E_NO_SPACE : OTO_E_IO, "spooling the pipe: %s",
                            strerror(errno));
            at += (int)put;
        }
        n = read_fd(d->in, buf, sizeof buf);
    } while (n > 0);
    if (n < 0)
        return fail(d, OTO_E_IO, "reading: %s", strerror(errno));
    return 0;
}

/* The first box of an MP4 or QuickTime file; any may come first in old ones. */
static bool is_mov(const uint8_t *p, size_t n)
{
    static const char boxes[][5] = {"ftyp", "moov", "mdat", "wide", "free", "skip", "pnot"};

    for (size_t i = 0; n >= 8 && i < OTO_COUNT(boxes); i++)
        if (memcmp(p + 4, boxes[i], 4) == 0)
            return true;
    return false;
}

/* An MP4 or MOV file may have its index at the end, so one that comes through a pipe is spooled to
 * disk. Nothing is parsed here but these first bytes, while the process may still write. */
static int spool_if_needed(decoder *d)
{
    if (lseek(d->in, 0, SEEK_CUR) >= 0)
        return 0;
    while (d->n_held < SPOOL_PEEK) {
        const int n = read_fd(d->in, d->held + d->n_held, SPOOL_PEEK - d->n_held);

        if (n <= 0)
            break;
        d->n_held += n;
    }
    if (d->n_held == 0)
        return fail(d, OTO_E_INPUT, "empty (0 bytes)");
    if (d->job->o->raw_pcm || !is_mov(d->held, (size_t)d->n_held))
        return 0;
    if (d->job->spool < 0)
        return fail(d, OTO_E_IO, "no temporary file for a pipe of this format (TMPDIR)");
    if (copy_all(d) != 0)
        return -1;
    d->n_held = 0;
    d->in = d->job->spool;
    return lseek(d->in, 0, SEEK_SET) == 0
               ? 0
               : fail(d, OTO_E_IO, "spooling the pipe: %s", strerror(errno));
}

/* ---- opening ---- */

static bool is_picture(const AVInputFormat *f)
{
    const size_t n = strlen(f->name);

    return (n > 5 && strcmp(f->name + n - 5, "_pipe") == 0) || strcmp(f->name, "image2") == 0 ||
           strcmp(f->name, "gif") == 0 || strcmp(f->name, "ico") == 0 ||
           strcmp(f->name, "apng") == 0;
}

static int raw_format(const decoder *d, const AVInputFormat **f, AVDictionary **opts)
{
    const oto_media_options *o = d->job->o;
    AVChannelLayout layout;
    char text[64];

    *f = av_find_input_format(o->raw_format);
    if (*f == NULL)
        return fail(d, OTO_E_USAGE, "unknown raw format %s", o->raw_format);
    av_channel_layout_default(&layout, o->raw_channels);
    av_channel_layout_describe(&layout, text, sizeof text);
    av_channel_layout_uninit(&layout);
    av_dict_set_int(opts, "sample_rate", o->raw_rate_hz, 0);
    av_dict_set_int(opts, "channels", o->raw_channels, 0);
    av_dict_set(opts, "ch_layout", text, 0);
    return 0;
}

/* A playlist names other files: none is opened, whatever it says. */
static int refuse_open(AVFormatContext *f, AVIOContext **io, const char *url, int flags,
                       AVDictionary **opts)
{
    (void)f, (void)io, (void)url, (void)flags, (void)opts;
    return AVERROR(EPERM);
}

static int open_format(decoder *d)
{
    const bool seekable = lseek(d->in, 0, SEEK_CUR) >= 0;
    const AVInputFormat *f = NULL;
    AVDictionary *opts = NULL;
    uint8_t *buf;
    int rc;

    if (d->job->o->raw_pcm && raw_format(d, &f, &opts) != 0)
        return -1;
    buf = av_malloc(IO_BYTES);
    d->format = avformat_alloc_context();
    if (buf == NULL || d->format == NULL)
        return fail(d, OTO_E_LIMIT, "the decoder's memory limit was reached");
    d->io = avio_alloc_context(buf, IO_BYTES, 0, d, on_read, NULL, seekable ? on_seek : NULL);
    if (d->io == NULL)
        return fail(d, OTO_E_LIMIT, "the decoder's memory limit was reached");
    d->format->pb = d->io;
    d->format->flags |= AVFMT_FLAG_CUSTOM_IO;
    d->format->io_open = refuse_open;
    d->format->max_index_size = INDEX_BYTES;
    av_dict_set(&opts, "protocol_whitelist", "none", 0);
    rc = avformat_open_input(&d->format, d->job->name, f, &opts);
    av_dict_free(&opts);
    if (rc >= 0)
        return 0;
    if (rc == AVERROR(ENOMEM) || rc == AVERROR(EIO))
        return fail_av(d, rc, "cannot be opened");
    if (rc == AVERROR(EPERM))
        return fail_silent(d, OTO_E_UNSUPPORTED, "names other files, which are not opened");
    if (is_mov(d->head, d->n_head))
        return fail(d, OTO_E_INPUT, "corrupt or truncated: its index (moov) cannot be read");
    return fail_silent(d, OTO_E_INPUT, "corrupt, or not a recording in a known format");
}

static int count_video(const AVFormatContext *f)
{
    int n = 0;

    for (unsigned i = 0; i < f->nb_streams; i++)
        n += f->streams[i]->codecpar->codec_type == AVMEDIA_TYPE_VIDEO;
    return n;
}

static int find_track(decoder *d)
{
    AVFormatContext *f = d->format;
    const AVCodec *codec = NULL;
    int rc, video;

    if (is_picture(f->iformat))
        return fail(d, OTO_E_NO_AUDIO, "a picture (%.*s), no audio track",
                    (int)strcspn(f->iformat->name, "_"), f->iformat->name);
    rc = avformat_find_stream_info(f, NULL);
    if (rc < 0 && rc != AVERROR_EOF)
        return fail_av(d, rc, "corrupt");
    rc = av_find_best_stream(f, AVMEDIA_TYPE_AUDIO, -1, -1, &codec, 0);
    video = count_video(f);
    if (rc == AVERROR_DECODER_NOT_FOUND)
        return fail(d, OTO_E_UNSUPPORTED, "no decoder for its audio track");
    if (rc < 0 && video > 0)
        return fail_silent(d, OTO_E_NO_AUDIO, "no audio track (%d video stream%s)", video,
                           video == 1 ? "" : "s");
    if (rc < 0)
        return fail_silent(d, OTO_E_NO_AUDIO, "no audio track (%s)", f->iformat->name);
    d->stream = f->streams[rc];
    for (unsigned i = 0; i < f->nb_streams; i++)
        if (f->streams[i] != d->stream)
            f->streams[i]->discard = AVDISCARD_ALL;
    d->codec = avcodec_alloc_context3(codec);
    if (d->codec == NULL)
        return fail(d, OTO_E_LIMIT, "the decoder's memory limit was reached");
    if ((rc = avcodec_parameters_to_context(d->codec, d->stream->codecpar)) < 0)
        return fail_av(d, rc, "corrupt");
    d->codec->thread_count = 1;
    d->codec->pkt_timebase = d->stream->time_base;
    rc = avcodec_open2(d->codec, codec, NULL);
    return rc < 0 ? fail_av(d, rc, codec->name) : 0;
}

/* ---- output ---- */

static bool write_all(decoder *d, const void *data, size_t n)
{
    const char *p = data;

    while (n > 0) {
        const ssize_t put = write(d->job->pcm, p, n);

        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0) {
            d->gone = true;
            return false;
        }
        p += put;
        n -= (size_t)put;
    }
    return true;
}

static void tell_info(decoder *d)
{
    oto_decoder_message m = {.kind = OTO_DECODER_INFO};
    const int64_t duration = d->format->duration;

    m.info.duration_ms = duration > 0 && duration != AV_NOPTS_VALUE ? duration / 1000 : -1;
    snprintf(m.info.container, sizeof m.info.container, "%s", d->format->iformat->name);
    snprintf(m.info.codec, sizeof m.info.codec, "%s", avcodec_get_name(d->codec->codec_id));
    m.info.rate_hz = d->in_rate;
    m.info.channels = d->in_layout.nb_channels;
    tell(d, &m);
    d->told = true;
}

static bool put_samples(decoder *d, int n)
{
    if (n <= 0)
        return true;
    if (!d->told)
        tell_info(d);
    oto_fault_leak("decoder",
                   (size_t)((d->samples + n) / OTO_SAMPLE_RATE - d->samples / OTO_SAMPLE_RATE));
    d->samples += n;
    /* Decoders of lossy formats overshoot, and a file of floats may hold anything. */
    for (int i = 0; i < n; i++) {
        const float x = d->out[i];

        d->out[i] = x >= -1 ? (x <= 1 ? x : 1) : (x < -1 ? -1 : 0);
    }
    return write_all(d, d->out, (size_t)n * sizeof *d->out);
}

/* Converts a frame, or with NULL what the resampler still holds. */
static int convert(decoder *d, const AVFrame *f)
{
    const uint8_t **in = f != NULL ? (const uint8_t **)f->extended_data : NULL;
    int n_in = f != NULL ? f->nb_samples : 0, n;

    if (d->swr == NULL)
        return 0;
    do {
        uint8_t *out = (uint8_t *)d->out;

        n = swr_convert(d->swr, &out, OUT_SAMPLES, in, n_in);
        in = NULL;
        n_in = 0;
        if (n < 0)
            return n;
        if (!put_samples(d, n))
            return 0;
    } while (n == OUT_SAMPLES);
    return 0;
}

/* A resampler for frames like this one. A track may change its form midway. */
static int fit_resampler(decoder *d, const AVFrame *f)
{
    AVChannelLayout mono = AV_CHANNEL_LAYOUT_MONO;
    AVChannelLayout in = {0};
    int rc;

    if (d->swr != NULL && d->in_rate == f->sample_rate && d->in_format == f->format &&
        av_channel_layout_compare(&d->in_layout, &f->ch_layout) == 0)
        return 0;
    if ((rc = convert(d, NULL)) < 0)
        return rc;
    swr_free(&d->swr);
    if (f->sample_rate <= 0 || f->ch_layout.nb_channels <= 0)
        return AVERROR_INVALIDDATA;
    /* Recordings of many microphones name no speakers: take the usual ones of that number. A sound
     * field (ambisonics) has none either, and libswresample mixes only what has. */
    if (f->ch_layout.order == AV_CHANNEL_ORDER_UNSPEC)
        av_channel_layout_default(&in, f->ch_layout.nb_channels);
    else if (f->ch_layout.order == AV_CHANNEL_ORDER_AMBISONIC)
        in = (AVChannelLayout){.order = AV_CHANNEL_ORDER_UNSPEC,
                               .nb_channels = f->ch_layout.nb_channels};
    else if ((rc = av_channel_layout_copy(&in, &f->ch_layout)) < 0)
        return rc;
    rc = swr_alloc_set_opts2(&d->swr, &mono, AV_SAMPLE_FMT_FLT, OTO_SAMPLE_RATE, &in, f->format,
                             f->sample_rate, 0, NULL);
    if (rc >= 0) {
        /* The mix may not leave [-1, 1]. */
        av_opt_set_double(d->swr, "rematrix_maxval", 1.0, 0);
        if (in.order == AV_CHANNEL_ORDER_UNSPEC) {
            double average[64];

            for (int i = 0; i < 64; i++)
                average[i] = 1.0 / in.nb_channels;
            rc = in.nb_channels <= 64 ? swr_set_matrix(d->swr, average, in.nb_channels)
                                      : AVERROR_PATCHWELCOME;
        }
    }
    if (rc >= 0)
        rc = swr_init(d->swr);
    av_channel_layout_uninit(&in);
    if (rc < 0)
        return rc;
    d->in_rate = f->sample_rate;
    d->in_format = f->format;
    av_channel_layout_uninit(&d->in_layout);
    return av_channel_layout_copy(&d->in_layout, &f->ch_layout);
}

/* ---- the loop ---- */

static void count_damage(decoder *d)
{
    if (d->damaged++ == 0)
        d->first_damage_s = (double)d->samples / OTO_SAMPLE_RATE;
}

/* Takes what the decoder has ready. */
static int drain(decoder *d)
{
    int rc = 0;

    while (!d->gone && (rc = avcodec_receive_frame(d->codec, d->frame)) >= 0) {
        rc = fit_resampler(d, d->frame);
        if (rc >= 0)
            rc = convert(d, d->frame);
        av_frame_unref(d->frame);
        if (rc == AVERROR(ENOMEM))
            return rc;
        if (rc < 0)
            count_damage(d);
    }
    if (d->gone || rc == AVERROR(EAGAIN) || rc == AVERROR_EOF)
        return 0;
    if (rc == AVERROR(ENOMEM))
        return rc;
    count_damage(d);
    return 0;
}

static int decode_all(decoder *d)
{
    int rc = 0;

    while (!d->gone && (rc = av_read_frame(d->format, d->packet)) >= 0) {
        if (d->packet->stream_index == d->stream->index) {
            if (d->packet->pts != AV_NOPTS_VALUE)
                d->end = OTO_MAX(d->end, d->packet->pts + d->packet->duration);
            rc = avcodec_send_packet(d->codec, d->packet);
            if (rc < 0 && rc != AVERROR(EAGAIN) && rc != AVERROR(ENOMEM)) {
                count_damage(d);
                rc = 0;
            }
            if (rc != AVERROR(ENOMEM))
                rc = drain(d);
        }
        av_packet_unref(d->packet);
        if (rc < 0)
            return rc;
    }
    if (d->gone)
        return 0;
    d->ended_early = rc != AVERROR_EOF;
    if (rc == AVERROR(ENOMEM))
        return rc;
    rc = avcodec_send_packet(d->codec, NULL);
    if (rc >= 0)
        rc = drain(d);
    return rc == AVERROR(ENOMEM) ? rc : convert(d, NULL);
}

/* What a WAV header says of its length, which libav takes from the file's; 0: none or a placeholder
 * of a writer that could not go back. */
static double wav_s(const decoder *d)
{
    oto_reader r;
    uint32_t id, size, bytes_per_s = 0;

    oto_reader_init(&r, d->head, d->n_head);
    id = oto_read_u32(&r);
    oto_read_u32(&r);
    if (id != MKTAG('R', 'I', 'F', 'F') || oto_read_u32(&r) != MKTAG('W', 'A', 'V', 'E'))
        return 0;
    while (!r.bad) {
        id = oto_read_u32(&r);
        size = oto_read_u32(&r);
        if (id == MKTAG('d', 'a', 't', 'a'))
            return bytes_per_s > 0 && size < 0x7fff0000 ? (double)size / bytes_per_s : 0;
        if (id == MKTAG('f', 'm', 't', ' ') && size >= 16) {
            oto_read_u64(&r); /* format, channels, rate */
            bytes_per_s = oto_read_u32(&r);
            size -= 12;
        }
        oto_read_bytes(&r, (uint64_t)size + (size & 1));
    }
    return 0;
}

/* What the container says of the track in seconds; 0: nothing to rely on. */
static double promised_s(const decoder *d)
{
    const AVFormatContext *f = d->format;

    if (strcmp(f->iformat->name, "wav") == 0)
        return wav_s(d);
    if (f->duration_estimation_method == AVFMT_DURATION_FROM_BITRATE)
        return 0;
    if (d->stream->duration > 0)
        return (double)d->stream->duration * av_q2d(d->stream->time_base);
    /* The container's own length is that of its longest track. */
    return f->nb_streams == 1 && f->duration > 0 ? (double)f->duration / AV_TIME_BASE : 0;
}

/* Less than was promised, by more than rounding. A track may have holes in it, so where the last
 * packet stood counts as well as what was heard. */
static bool is_short(const decoder *d)
{
    const double promised = promised_s(d), heard = (double)d->samples / OTO_SAMPLE_RATE;
    const int64_t start = d->stream->start_time != AV_NOPTS_VALUE ? d->stream->start_time : 0;
    const double end = (double)(d->end - start) * av_q2d(d->stream->time_base);

    return OTO_MAX(heard, end) < promised - OTO_MAX(0.5, 0.01 * promised);
}

static void warn(const decoder *d)
{
    oto_decoder_message m = {.kind = OTO_DECODER_WARNING};
    const double heard = (double)d->samples / OTO_SAMPLE_RATE;

    char damage[80] = "", end[80] = "";

    if (d->damaged > 0)
        snprintf(damage, sizeof damage, "%d corrupt packet%s at %.1f s", d->damaged,
                 d->damaged == 1 ? "" : "s", d->first_damage_s);
    if (is_short(d))
        snprintf(end, sizeof end, "truncated: ends at %.1f s of %.1f s", heard, promised_s(d));
    else if (d->ended_early)
        snprintf(end, sizeof end, "truncated: ends at %.1f s", heard);
    if (damage[0] == '\0' && end[0] == '\0')
        return;
    snprintf(m.text, sizeof m.text, "decoder: %s%s%s", damage,
             damage[0] != '\0' && end[0] != '\0' ? "; " : "", end);
    tell(d, &m);
}

static int decode(decoder *d)
{
    int rc;

    if (open_format(d) != 0 || find_track(d) != 0)
        return 1;
    d->packet = av_packet_alloc();
    d->frame = av_frame_alloc();
    if (d->packet == NULL || d->frame == NULL) {
        fail(d, OTO_E_LIMIT, "the decoder's memory limit was reached");
        return 1;
    }
    rc = decode_all(d);
    if (d->gone)
        return 0;
    if (rc == AVERROR(ENOMEM))
        return fail_av(d, rc, "decoding"), 1;
    if (d->samples == 0) {
        if (d->damaged > 0)
            fail_silent(d, OTO_E_INPUT, "corrupt: none of its %s audio could be decoded",
                        avcodec_get_name(d->codec->codec_id));
        else
            fail_silent(d, OTO_E_NO_AUDIO, "its audio track (%s) holds no samples",
                        avcodec_get_name(d->codec->codec_id));
        return 1;
    }
    warn(d);
    return 0;
}

/* What the process has mapped already, inherited from its parent, does not count. */
static size_t mapped_bytes(void)
{
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");

    if (f != NULL) {
        if (fscanf(f, "%lu", &pages) != 1)
            pages = 0;
        fclose(f);
    }
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

int oto_decoder_run(const oto_decoder_job *job)
{
    static decoder d;
    oto_sandbox box = {.cpu_seconds = job->cpu_seconds};
    oto_err e;

    d.job = job;
    d.in = job->in;
    if (oto_av_load(&e) != 0) { /* the zygote has done so, when it could */
        fail(&d, e.code, "%s", e.text);
        return 1;
    }
    av_log_set_level(AV_LOG_QUIET);
    if (job->o->address_space_bytes != 0)
        box.address_space_bytes = job->o->address_space_bytes + mapped_bytes();
    if (spool_if_needed(&d) != 0)
        return 1;
    if (oto_sandbox_enter(&box, &e) != 0) {
        fail(&d, e.code, "%s", e.text);
        return 1;
    }
    return decode(&d); /* the process ends here: nothing is freed */
}

const char *oto_media_versions(void)
{
    static char text[96];
    unsigned f, c, s;
    oto_err e = {0};

    if (oto_av_load(&e) != 0) {
        snprintf(text, sizeof text, "%.90s", e.text);
        return text;
    }
    f = avformat_version();
    c = avcodec_version();
    s = swresample_version();
    snprintf(text, sizeof text, "libavformat %u.%u.%u, libavcodec %u.%u.%u, libswresample %u.%u.%u",
             AV_VERSION_MAJOR(f), AV_VERSION_MINOR(f), AV_VERSION_MICRO(f), AV_VERSION_MAJOR(c),
             AV_VERSION_MINOR(c), AV_VERSION_MICRO(c), AV_VERSION_MAJOR(s), AV_VERSION_MINOR(s),
             AV_VERSION_MICRO(s));
    return text;
}
