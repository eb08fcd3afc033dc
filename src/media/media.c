/* media: the parent's side of the decoder child. It starts the child, reads samples and messages,
 * and turns its death into a clear error for that one recording. */
#include "media/media.h"
#include "media/decoder.h"
#include "media/zygote.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CPU_SECONDS_PIPE (6 * 3600)
#define FIRST_FREE_FD    6

static int look_after_ms = 30000; /* at a child of which nothing comes */

struct oto_media {
    pid_t pid; /* 0 when reaped */
    int pcm;   /* -1 at the end */
    int messages;
    bool ended, in_arena;
    bool of_file; /* the input: it never lets one wait */
    bool hung;
    oto_media_info info;
    oto_err error; /* the child's, code 0: none */
    char name[200];
    char warning[400];
    unsigned cpu_seconds;
    size_t peak_bytes;
};

void oto_media_defaults(oto_media_options *o)
{
    *o = (oto_media_options){.raw_rate_hz = OTO_SAMPLE_RATE,
                             .raw_channels = 1,
                             .raw_format = "s16le",
                             .address_space_bytes = (size_t)1 << 30};
}

/* ---- the input ---- */

/* Of a long path the end says more than the beginning. */
static void set_name(oto_media *m, const char *path)
{
    size_t n, cut;

    if (strcmp(path, "-") == 0)
        path = "standard input";
    n = strlen(path);
    cut = n < sizeof m->name ? 0 : n - (sizeof m->name - 1);
    memcpy(m->name, path + cut, n - cut + 1);
    if (cut > 0)
        memcpy(m->name, "...", 3);
}

static int check_raw(const oto_media_options *o, const char *name, oto_err *e)
{
    if (o->raw_rate_hz < 1000 || o->raw_rate_hz > 768000 || o->raw_channels < 1 ||
        o->raw_channels > 64)
        return oto_fail(e, OTO_E_USAGE, "%s: raw sound of %d Hz and %d channels is not supported",
                        name, o->raw_rate_hz, o->raw_channels);
    return 0;
}

static int open_input(oto_media *m, const char *path, int *fd, oto_err *e)
{
    const char *name = m->name;
    struct stat st;

    /* Not blocking on a named pipe without a writer would only move the wait into the child. */
    *fd = strcmp(path, "-") == 0 ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, FIRST_FREE_FD)
                                 : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (*fd < 0)
        return oto_fail_errno(e, "%s", name);
    if (fstat(*fd, &st) != 0)
        return oto_fail_errno(e, "%s", name);
    if (S_ISDIR(st.st_mode))
        return oto_fail(e, OTO_E_INPUT, "%s: is a folder", name);
    if (S_ISREG(st.st_mode) && st.st_size == 0)
        return oto_fail(e, OTO_E_INPUT, "%s: empty (0 bytes)", name);
    m->of_file = S_ISREG(st.st_mode);
    if (m->cpu_seconds == 0)
        m->cpu_seconds =
            m->of_file ? (unsigned)OTO_MIN(60 + 2 * (st.st_size >> 20), 1000000) : CPU_SECONDS_PIPE;
    return 0;
}

/* An unlinked file for a pipe whose format must seek. Its absence is noticed only if needed. */
static int open_spool(int in)
{
    const char *dir = getenv("TMPDIR");
    char path[4096];
    int fd;

    if (lseek(in, 0, SEEK_CUR) >= 0)
        return -1;
    if (dir == NULL || dir[0] == '\0')
        dir = "/tmp";
    fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (size_t)snprintf(path, sizeof path, "%s/otolith-XXXXXX", dir) >= sizeof path)
        return fd;
    fd = mkostemp(path, O_CLOEXEC); /* not every file system makes files without a name */
    if (fd >= 0)
        unlink(path);
    return fd;
}

/* ---- the child ---- */

static int start(oto_media *m, const char *path, const oto_media_options *o, int in, oto_err *e)
{
    oto_decoder_job job = {.name = path, .o = o, .in = in, .cpu_seconds = m->cpu_seconds};
    int pcm[2] = {-1, -1}, messages[2] = {-1, -1}, rc = 0;
    pid_t pid;

    job.spool = open_spool(in);
    if (pipe2(pcm, O_CLOEXEC) != 0 || pipe2(messages, O_CLOEXEC) != 0) {
        rc = oto_fail_errno(e, "%s: pipe to the decoder", m->name);
        goto done;
    }
    fcntl(pcm[1], F_SETPIPE_SZ, 1 << 18); /* fewer switches; the default serves too */
    job.pcm = pcm[1];
    job.messages = messages[1];
    if ((rc = oto_zygote_spawn(&job, &pid, e)) != 0) {
        oto_err_prefix(e, "%s", m->name);
        goto done;
    }
    m->pid = pid;
    m->pcm = pcm[0];
    m->messages = messages[0];
    pcm[0] = messages[0] = -1;
done:
    for (int i = 0; i < 2; i++) {
        if (pcm[i] >= 0)
            close(pcm[i]);
        if (messages[i] >= 0)
            close(messages[i]);
    }
    if (job.spool >= 0)
        close(job.spool);
    return rc;
}

/* ---- messages and death ---- */

static int64_t processor_time(pid_t pid)
{
    struct timespec t;
    clockid_t clock;

    return clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &t) == 0
               ? (int64_t)t.tv_sec * 1000000000 + t.tv_nsec
               : -1;
}

/* Until there is something to read. A child that has a file before it and neither tells anything
 * nor uses the processor was stopped, or its disk was: it is ended, so that nobody waits for ever.
 */
static void await(oto_media *m, int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    int64_t before = -1;

    while (m->of_file && !m->hung) {
        const int ready = poll(&p, 1, look_after_ms);
        int64_t now;

        if (ready > 0)
            return;
        if (ready < 0)
            continue; /* EINTR */
        now = processor_time(m->pid);
        if (now == before) {
            m->hung = true;
            kill(m->pid, SIGKILL);
        }
        before = now;
    }
}

static ssize_t read_retry(int fd, void *p, size_t n)
{
    ssize_t got;

    do
        got = read(fd, p, n);
    while (got < 0 && errno == EINTR);
    return got;
}

/* One message; false at the end of the child. */
static bool next_message(oto_media *m)
{
    oto_decoder_message msg;
    ssize_t n;

    await(m, m->messages);
    n = read_retry(m->messages, &msg, sizeof msg);
    if (n != (ssize_t)sizeof msg)
        return false;
    msg.text[sizeof msg.text - 1] = '\0';
    switch (msg.kind) {
    case OTO_DECODER_INFO:
        m->info = msg.info;
        break;
    case OTO_DECODER_ERROR:
        oto_fail(&m->error, msg.code, "%s: %s", m->name, msg.text);
        break;
    case OTO_DECODER_WARNING:
        snprintf(m->warning, sizeof m->warning, "%s", msg.text);
        break;
    }
    return true;
}

static void judge_death(oto_media *m, int status)
{
    if (m->error.code != 0)
        return;
    if (m->hung)
        oto_fail(&m->error, OTO_E_UNAVAILABLE, "%s: the decoder hung", m->name);
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU)
        oto_fail(&m->error, OTO_E_LIMIT, "%s: the decoder used up its %u s of processor time",
                 m->name, m->cpu_seconds);
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        oto_fail(&m->error, OTO_E_UNAVAILABLE, "%s: the decoder was killed (out of memory?)",
                 m->name);
    else if (WIFSIGNALED(status))
        oto_fail(&m->error, OTO_E_INPUT, "%s: the decoder crashed (%s)", m->name,
                 strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
        oto_fail(&m->error, OTO_E_INTERNAL, "%s: the decoder failed without a word", m->name);
}

static void reap(oto_media *m, bool judge)
{
    struct rusage ru;
    int status;

    if (m->pid == 0)
        return;
    while (wait4(m->pid, &status, 0, &ru) < 0)
        if (errno != EINTR) {
            m->pid = 0;
            return;
        }
    m->pid = 0;
    m->peak_bytes = (size_t)ru.ru_maxrss * 1024;
    if (judge)
        judge_death(m, status);
}

/* All samples are read: what is left is the child's last words and its death. */
static int finish(oto_media *m, oto_err *e)
{
    if (!m->ended) {
        m->ended = true;
        while (next_message(m))
            ;
        reap(m, true);
    }
    if (m->error.code == 0)
        return 0;
    if (e != NULL)
        *e = m->error;
    return m->error.code;
}

/* ---- public ---- */

int oto_media_open(const char *path, const oto_media_options *o, oto_media **out, oto_err *e)
{
    oto_media *m =
        o->arena != NULL ? oto_arena_calloc(o->arena, 1, sizeof *m) : calloc(1, sizeof *m);
    int in = -1, rc;

    if (m == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    m->in_arena = o->arena != NULL;
    m->pcm = m->messages = -1;
    m->info.duration_ms = -1;
    m->cpu_seconds = o->cpu_seconds;
    set_name(m, path);
    rc = o->raw_pcm ? check_raw(o, m->name, e) : 0;
    if (rc == 0)
        rc = open_input(m, path, &in, e);
    if (rc == 0)
        rc = start(m, path, o, in, e);
    if (in >= 0)
        close(in);
    /* The first message is INFO or ERROR; without one the child has died. */
    if (rc == 0 && (!next_message(m) || m->error.code != 0)) {
        rc = finish(m, e);
        if (rc == 0)
            rc = oto_fail(e, OTO_E_INTERNAL, "%s: the decoder failed without a word", m->name);
    }
    if (rc != 0) {
        oto_media_close(m);
        return rc;
    }
    *out = m;
    return 0;
}

void oto_media_info_get(const oto_media *m, oto_media_info *out)
{
    *out = m->info;
}

int oto_media_read(oto_media *m, float *pcm, size_t n, size_t *got, oto_err *e)
{
    char *p = (char *)pcm;
    const size_t want = n * sizeof *pcm;
    size_t have = 0;

    *got = 0;
    while (!m->ended && have < want) {
        ssize_t r;

        await(m, m->pcm);
        r = read_retry(m->pcm, p + have, want - have);
        if (r <= 0)
            break;
        have += (size_t)r;
    }
    *got = have / sizeof *pcm;
    /* What came before a death is handed out first. */
    return *got > 0 || n == 0 ? 0 : finish(m, e);
}

const char *oto_media_warning(const oto_media *m)
{
    return m->warning[0] != '\0' ? m->warning : NULL;
}

size_t oto_media_peak_bytes(const oto_media *m)
{
    return m->peak_bytes;
}

void oto_media_close(oto_media *m)
{
    if (m == NULL)
        return;
    if (m->pid != 0)
        kill(m->pid, SIGKILL);
    reap(m, false);
    if (m->pcm >= 0)
        close(m->pcm);
    if (m->messages >= 0)
        close(m->messages);
    if (!m->in_arena)
        free(m);
}

int oto_media_prepare(oto_err *e)
{
    return oto_zygote_start(e);
}

int oto_media_probe(const char *path, const oto_media_options *o, oto_media_info *out, oto_err *e)
{
    oto_media *m;
    const int rc = oto_media_open(path, o, &m, e);

    if (rc != 0)
        return rc;
    oto_media_info_get(m, out);
    oto_media_close(m);
    return 0;
}
