/* Recordings for a stress test. Who brings none gets babble: vowels of a source-filter voice (Klatt
 * 1980: pulses through resonators at the formants), hisses between them, pauses like a speaker's.
 * It means nothing, but voice activity detection takes it for speech, so that every stage has work.
 */
#include "measure/recording.h"
#include "media/media.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 8000

/* ---- WAV ---- */

static void put16(unsigned char *p, unsigned v)
{
    p[0] = (unsigned char)v;
    p[1] = (unsigned char)(v >> 8);
}

static void put32(unsigned char *p, uint32_t v)
{
    put16(p, v & 0xffff);
    put16(p + 2, v >> 16);
}

/* Canonical header; sizes beyond 4 GiB stay at the format's largest. */
static bool put_header(FILE *f, int rate, int channels, double frames)
{
    const double bytes = fmin(frames * channels * 2, 4294967294.0 - 36);
    unsigned char h[44] = "RIFF....WAVEfmt ";

    put32(h + 4, (uint32_t)bytes + 36);
    put32(h + 16, 16);
    put16(h + 20, 1);
    put16(h + 22, (unsigned)channels);
    put32(h + 24, (uint32_t)rate);
    put32(h + 28, (uint32_t)(rate * channels * 2));
    put16(h + 32, (unsigned)channels * 2);
    put16(h + 34, 16);
    memcpy(h + 36, "data", 4);
    put32(h + 40, (uint32_t)bytes);
    return fwrite(h, sizeof h, 1, f) == 1;
}

static bool put_samples(FILE *f, const float *x, size_t n, int channels)
{
    unsigned char bytes[4 * BLOCK];
    size_t k = 0;

    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < channels; c++, k += 2)
            put16(bytes + k,
                  (unsigned)(int)lrintf(32767 * OTO_MIN(OTO_MAX(x[i], -1.0f), 1.0f)) & 0xffff);
    return fwrite(bytes, 1, k, f) == k;
}

/* Complete or not there: a half-written one must not be taken for a recording the next time. */
static int finish(FILE *f, const char *partial, const char *path, int rc, oto_err *e)
{
    if (fclose(f) != 0 && rc == 0)
        rc = oto_fail_errno(e, "%s", path);
    if (rc == 0 && rename(partial, path) != 0)
        rc = oto_fail_errno(e, "%s", path);
    if (rc != 0)
        unlink(partial);
    return rc;
}

static FILE *begin(const char *path, char *partial, size_t n, oto_err *e)
{
    FILE *f = NULL;

    if ((size_t)snprintf(partial, n, "%s.partial", path) >= n)
        errno = ENAMETOOLONG;
    else
        f = fopen(partial, "wbe");
    if (f == NULL)
        oto_fail_errno(e, "%s", path);
    return f;
}

/* ---- a voice ---- */

typedef struct {
    double a, b, c, y1, y2;
} resonator;

typedef struct {
    int rate;
    uint64_t seed;
    resonator formants[3];
    double phase, pitch, level, target, voiced;
    int left; /* samples of the present sound */
    int sounds;
} voice;

static double chance(voice *v)
{
    v->seed = v->seed * 6364136223846793005u + 1442695040888963407u;
    return (double)(v->seed >> 11) / 9007199254740992.0;
}

static void tune(resonator *r, double hz, double width, int rate)
{
    r->c = -exp(-2 * M_PI * width / rate);
    r->b = 2 * exp(-M_PI * width / rate) * cos(2 * M_PI * hz / rate);
    r->a = 1 - r->b - r->c;
}

static double resonate(resonator *r, double x)
{
    const double y = r->a * x + r->b * r->y1 + r->c * r->y2;

    r->y2 = r->y1;
    r->y1 = y;
    return y;
}

/* The next sound: a vowel, a hiss after some of them, now and then a pause. */
static void next_sound(voice *v)
{
    static const double vowels[6][3] = {{730, 1090, 2440}, {270, 2290, 3010}, {300, 870, 2240},
                                        {530, 1840, 2480}, {570, 840, 2410},  {440, 1020, 2240}};
    const double *f = vowels[(int)(6 * chance(v)) % 6];
    static const double widths[3] = {60, 90, 150};

    v->sounds++;
    if (v->sounds % 14 == 0) {
        v->target = 0;
        v->left = (int)(v->rate * (0.35 + 0.6 * chance(v)));
        return;
    }
    v->voiced = v->sounds % 3 == 0 ? 0.1 : 1;
    v->target = v->voiced < 1 ? 0.25 : 0.7 + 0.3 * chance(v);
    v->pitch = 105 + 50 * chance(v);
    v->left = (int)(v->rate * (v->voiced < 1 ? 0.05 + 0.05 * chance(v) : 0.1 + 0.14 * chance(v)));
    for (int i = 0; i < 3; i++)
        tune(&v->formants[i], OTO_MIN(f[i], 0.45 * v->rate), widths[i], v->rate);
}

static float sample(voice *v)
{
    double source, out;

    if (v->left-- <= 0)
        next_sound(v);
    v->level += (v->target - v->level) * 300.0 / v->rate;
    v->phase += v->pitch / v->rate;
    if (v->phase >= 1)
        v->phase -= 1;
    /* Rosenberg's pulse, roughly: opens slowly, closes fast. */
    source = v->phase < 0.6 ? sin(M_PI * v->phase / 1.2) : 0;
    source = v->voiced * (source - 0.4) + (1.05 - v->voiced) * (chance(v) - 0.5);
    out = source;
    for (int i = 0; i < 3; i++)
        out = 0.5 * out + resonate(&v->formants[i], source);
    return (float)(0.2 * v->level * out + 0.0005 * (chance(v) - 0.5));
}

int oto_recording_babble(const char *path, double seconds, int rate_hz, int channels, oto_err *e)
{
    voice v = {.rate = rate_hz, .seed = 20260801, .pitch = 120};
    double left = floor(seconds * rate_hz);
    char partial[1024];
    float block[BLOCK];
    FILE *f = begin(path, partial, sizeof partial, e);
    int rc = 0;

    if (f == NULL)
        return e->code;
    next_sound(&v);
    if (!put_header(f, rate_hz, channels, left))
        rc = oto_fail_errno(e, "%s", path);
    for (; left > 0 && rc == 0; left -= BLOCK) {
        const size_t n = (size_t)OTO_MIN(left, (double)BLOCK);

        for (size_t i = 0; i < n; i++)
            block[i] = sample(&v);
        if (!put_samples(f, block, n, channels))
            rc = oto_fail_errno(e, "%s", path);
    }
    return finish(f, partial, path, rc, e);
}

/* ---- recordings of the user's ---- */

/* Up to `most` samples of a recording into f (NULL: counted only). */
static int copy_once(const char *from, FILE *f, double most, double *n_samples, oto_err *e)
{
    oto_media_options o;
    oto_media *m;
    float block[BLOCK];
    size_t got = 1;
    int rc;

    *n_samples = 0;
    oto_media_defaults(&o);
    if ((rc = oto_media_open(from, &o, &m, e)) != 0)
        return rc;
    while (rc == 0 && got > 0 && *n_samples < most) {
        rc = oto_media_read(m, block, (size_t)OTO_MIN((double)BLOCK, most - *n_samples), &got, e);
        if (rc == 0 && f != NULL && !put_samples(f, block, got, 1))
            rc = oto_fail_errno(e, "recording");
        *n_samples += (double)got;
    }
    oto_media_close(m);
    return rc;
}

int oto_recording_repeat(const char *from, const char *path, double seconds, oto_err *e)
{
    const double total = floor(seconds * OTO_SAMPLE_RATE);
    double done = 0, n;
    char partial[1024];
    FILE *f = begin(path, partial, sizeof partial, e);
    int rc = 0;

    if (f == NULL)
        return e->code;
    if (!put_header(f, OTO_SAMPLE_RATE, 1, total))
        rc = oto_fail_errno(e, "%s", path);
    while (rc == 0 && done < total) {
        rc = copy_once(from, f, total - done, &n, e);
        if (rc == 0 && n == 0)
            rc = oto_fail(e, OTO_E_NO_AUDIO, "%s: no sound in it", from);
        done += n;
    }
    return finish(f, partial, path, rc, e);
}

int oto_recording_seconds(const char *path, double *seconds, oto_err *e)
{
    const int rc = copy_once(path, NULL, INFINITY, seconds, e);

    *seconds /= OTO_SAMPLE_RATE;
    return rc;
}
