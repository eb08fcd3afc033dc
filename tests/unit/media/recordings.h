/* Recordings of one prompt, made by ffmpeg in a temporary folder, and what is heard of them. */
#ifndef RECORDINGS_H
#define RECORDINGS_H

#include "media/media.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define MAX_SAMPLES (OTO_SAMPLE_RATE * 60)
#define REFERENCE_S 6
#define MAX_LAG     1600 /* 100 ms */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define INSTRUMENTED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define INSTRUMENTED 1
#endif
#endif
#ifndef INSTRUMENTED
#define INSTRUMENTED 0
#endif

static char dir[] = "/tmp/oto-media-XXXXXX";
static float reference[MAX_SAMPLES];
static size_t n_reference;

static inline const char *in_dir(const char *name)
{
    static char path[4][256];
    static int turn;

    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
    return path[turn];
}

/* Runs a command in the temporary folder; false when it fails (no such encoder, say). */
static inline bool run(const char *fmt, ...) OTO_PRINTF(1, 2);
static inline bool run(const char *fmt, ...)
{
    char what[1500], command[2000];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    snprintf(command, sizeof command, "cd %s && { %s; } >log 2>&1 </dev/null", dir, what);
    return system(command) == 0;
}

static inline void write_bytes(const char *name, const void *p, size_t n)
{
    FILE *f = fopen(in_dir(name), "wb");

    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    fclose(f);
}

typedef struct {
    float *pcm;
    size_t n;
    int rc;
    oto_err e;
    char warning[400];
    oto_media_info info;
    size_t peak_bytes;
} heard;

static inline void forget(heard *h)
{
    free(h->pcm);
    h->pcm = NULL;
}

/* Reads to the end, in blocks of an odd size; keeps what comes before an error. */
static inline void drain_media(oto_media *m, heard *h)
{
    size_t got = 1;

    oto_media_info_get(m, &h->info);
    h->pcm = malloc(MAX_SAMPLES * sizeof *h->pcm);
    assert_non_null(h->pcm);
    while (h->rc == 0 && got > 0 && h->n < MAX_SAMPLES) {
        h->rc = oto_media_read(m, h->pcm + h->n, OTO_MIN((size_t)1237, MAX_SAMPLES - h->n), &got,
                               &h->e);
        h->n += got;
    }
    snprintf(h->warning, sizeof h->warning, "%s",
             oto_media_warning(m) != NULL ? oto_media_warning(m) : "");
    h->peak_bytes = oto_media_peak_bytes(m);
    oto_media_close(m);
}

static inline heard hear_with(const char *path, const oto_media_options *o)
{
    heard h = {0};
    oto_media *m = NULL;

    h.rc = oto_media_open(path, o, &m, &h.e);
    if (h.rc == 0)
        drain_media(m, &h);
    return h;
}

static inline heard hear(const char *path)
{
    oto_media_options o;

    oto_media_defaults(&o);
    return hear_with(path, &o);
}

/* The same through standard input, written by another process in pieces. */
static inline heard hear_pipe_with(const char *path, const oto_media_options *o)
{
    char command[400];
    const int saved = dup(STDIN_FILENO);
    FILE *cat;
    heard h;

    snprintf(command, sizeof command, "dd bs=5000 status=none if=%s", path);
    cat = popen(command, "r");
    assert_non_null(cat);
    dup2(fileno(cat), STDIN_FILENO);
    h = hear_with("-", o);
    dup2(saved, STDIN_FILENO);
    close(saved);
    pclose(cat);
    return h;
}

static inline heard hear_pipe(const char *path)
{
    oto_media_options o;

    oto_media_defaults(&o);
    return hear_pipe_with(path, &o);
}

/* Highest correlation with the reference over small shifts. */
static inline double likeness(const heard *h)
{
    double best = 0;

    for (int lag = -MAX_LAG; lag <= MAX_LAG; lag += 2) {
        double xy = 0, xx = 1e-9, yy = 1e-9;

        for (size_t i = MAX_LAG; i + MAX_LAG < n_reference; i += 3) {
            const size_t j = (size_t)((long)i + lag);
            const double x = reference[i], y = j < h->n ? h->pcm[j] : 0;

            xy += x * y;
            xx += x * x;
            yy += y * y;
        }
        best = OTO_MAX(best, xy / sqrt(xx * yy));
    }
    return best;
}

static inline void assert_like_reference(const char *name, const heard *h, double least)
{
    const double ms = ((double)h->n - (double)n_reference) / 16;

    if (h->rc != 0)
        print_error("%s: %s\n", name, h->e.text);
    assert_int_equal(h->rc, 0);
    if (fabs(ms) > 130 || likeness(h) < least || h->warning[0] != '\0')
        print_error("%s: %+.1f ms, correlation %.3f, warning '%s'\n", name, ms, likeness(h),
                    h->warning);
    assert_true(fabs(ms) <= 130);
    assert_true(likeness(h) >= least);
    assert_string_equal(h->warning, "");
}

static inline void assert_same(const heard *a, const heard *b)
{
    assert_int_equal(a->rc, b->rc);
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->pcm, b->pcm, a->n * sizeof *a->pcm);
}

/* ---- set-up ---- */

static inline int set_up(void **state)
{
    static int16_t samples[MAX_SAMPLES];
    FILE *f;

    (void)state;
    if (mkdtemp(dir) == NULL)
        return -1;
    if (!run("ffmpeg -nostdin -v error -i " OTO_SOURCE_DIR
             "/tests/data/en/prompts.ogg -ar 16000 -ac 1 -t %d ref.wav && "
             "ffmpeg -nostdin -v error -i ref.wav -f s16le ref.s16",
             REFERENCE_S))
        return -1;
    f = fopen(in_dir("ref.s16"), "rb");
    if (f == NULL)
        return -1;
    n_reference = fread(samples, sizeof *samples, MAX_SAMPLES, f);
    fclose(f);
    for (size_t i = 0; i < n_reference; i++)
        reference[i] = (float)samples[i] / 32768;
    return n_reference == REFERENCE_S * OTO_SAMPLE_RATE ? 0 : -1;
}

static inline int tear_down(void **state)
{
    char command[100];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

/* 77, a skipped test, where there is no ffmpeg. */
static inline bool have_ffmpeg(void)
{
    if (system("ffmpeg -version >/dev/null 2>&1") == 0)
        return true;
    printf("skipped: no ffmpeg to make recordings with\n");
    return false;
}

#endif
