/* Whisper log-mel, one window at a time.
 *
 * Frames of 400 samples every 160, centred: frame t covers samples 160 t - 200 .. 160 t + 199 of
 * the window followed by 160 zeros, with reflection at both ends (the edge sample is not repeated).
 * The power of a frame is computed as soon as its samples are there; the window's maximum, needed
 * by the clamp, is known at `finish`. Frame counts are faster-whisper's: floor((n + 160) / 160), so
 * that a full window has one frame more than fits, which only takes part in the maximum. */
#include "features/features.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

#include <kiss_fftr.h>

#define WINDOW     400
#define HOP        160
#define BINS       (WINDOW / 2 + 1)
#define HALF       (WINDOW / 2)
#define MAX_INPUT  (30 * 16000)
#define TAIL       160 /* zeros behind the samples */
#define MAX_FRAMES (OTO_LOGMEL_FRAMES + 1)
#define MAX_MELS   128

typedef struct {
    int first, n; /* bins */
    const float *w;
} band;

struct oto_logmel {
    int n_mels;
    kiss_fftr_cfg fft;
    float *hann;    /* [WINDOW] */
    band *bands;    /* [n_mels] */
    float *weights; /* of all bands */
    float *power;   /* [MAX_FRAMES][n_mels], ln applied at finish */
    float *held;    /* [WINDOW]: samples 160 frames - 200 .. */
    int n_held;
    int frames;
    int n_in; /* samples taken */
};

/* ---- Slaney's mel scale: linear below 1 kHz, logarithmic above ---- */

static double mel_to_hz(double mel)
{
    return mel < 15 ? mel * 200.0 / 3.0 : 1000.0 * exp((mel - 15) * log(6.4) / 27.0);
}

static double hz_to_mel(double hz)
{
    return hz < 1000 ? hz * 3.0 / 200.0 : 15.0 + 27.0 * log(hz / 1000.0) / log(6.4);
}

/* Weight of bin k in the triangle over l, c, r (Hz), normalised to equal area. */
static double triangle(int k, double l, double c, double r)
{
    const double f = k * 16000.0 / WINDOW;
    const double w = fmin((f - l) / (c - l), (r - f) / (r - c));

    return fmax(0, w) * 2.0 / (r - l);
}

/* Fills the bands; with out NULL only counts the weights. */
static int make_bands(int n_mels, band *bands, float *out)
{
    const double step = hz_to_mel(8000) / (n_mels + 1);
    int total = 0;

    for (int m = 0; m < n_mels; m++) {
        const double l = mel_to_hz(step * m), c = mel_to_hz(step * (m + 1)),
                     r = mel_to_hz(step * (m + 2));
        int first = -1, last = -1;

        for (int k = 0; k < BINS; k++)
            if (triangle(k, l, c, r) > 0) {
                first = first < 0 ? k : first;
                last = k;
            }
        first = first < 0 ? 0 : first;
        const int n = last < 0 ? 0 : last - first + 1;
        if (out != NULL) {
            bands[m] = (band){first, n, out + total};
            for (int k = 0; k < n; k++)
                out[total + k] = (float)triangle(first + k, l, c, r);
        }
        total += n;
    }
    return total;
}

int oto_logmel_new(int n_mels, oto_arena *a, oto_logmel **out, oto_err *e)
{
    oto_logmel *l;
    size_t fft_bytes = 0;
    void *fft_mem;
    int rc;

    if (n_mels < 1 || n_mels > MAX_MELS)
        return oto_fail(e, OTO_E_UNSUPPORTED, "%d mel bins: at most %d", n_mels, MAX_MELS);
    kiss_fftr_alloc(WINDOW, 0, NULL, &fft_bytes);
    if ((rc = oto_arena_get(a, 1, sizeof *l, &l, e)) != 0 ||
        (rc = oto_arena_get(a, fft_bytes, 1, &fft_mem, e)) != 0 ||
        (rc = oto_arena_get(a, WINDOW, sizeof(float), &l->hann, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)n_mels, sizeof(band), &l->bands, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)make_bands(n_mels, NULL, NULL), sizeof(float), &l->weights,
                            e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)MAX_FRAMES * (size_t)n_mels, sizeof(float), &l->power, e)) !=
            0 ||
        (rc = oto_arena_get(a, WINDOW + HOP, sizeof(float), &l->held, e)) != 0)
        return rc;
    l->n_mels = n_mels;
    l->fft = kiss_fftr_alloc(WINDOW, 0, fft_mem, &fft_bytes);
    if (l->fft == NULL)
        return oto_fail(e, OTO_E_INTERNAL, "no FFT of %d points", WINDOW);
    for (int i = 0; i < WINDOW; i++)
        l->hann[i] = (float)(0.5 - 0.5 * cos(2 * 3.14159265358979323846 * i / WINDOW));
    make_bands(n_mels, l->bands, l->weights);
    oto_logmel_reset(l);
    *out = l;
    return 0;
}

void oto_logmel_reset(oto_logmel *l)
{
    l->n_held = 0;
    l->frames = 0;
    l->n_in = 0;
}

/* One frame of mel power from held[0 .. WINDOW). */
static void frame(oto_logmel *l)
{
    float x[WINDOW], p[BINS];
    kiss_fft_cpx z[BINS];
    float *out = l->power + (size_t)l->frames * (size_t)l->n_mels;
    const oto_kernels *k = oto_k();

    for (int i = 0; i < WINDOW; i++)
        x[i] = l->held[i] * l->hann[i];
    kiss_fftr(l->fft, x, z);
    for (int i = 0; i < BINS; i++)
        p[i] = z[i].r * z[i].r + z[i].i * z[i].i;
    for (int m = 0; m < l->n_mels; m++)
        out[m] = k->dot_f32(l->bands[m].w, p + l->bands[m].first, l->bands[m].n);
    l->frames++;
}

/* Puts the reflection in front of the first samples: 200 .. 1, then 0 .. 200. */
static void reflect(oto_logmel *l)
{
    memmove(l->held + HALF, l->held, (HALF + 1) * sizeof *l->held);
    for (int i = 0; i < HALF; i++)
        l->held[i] = l->held[2 * HALF - i];
    l->n_held = 2 * HALF + 1;
}

/* pcm NULL: zeros. */
static void feed(oto_logmel *l, const float *pcm, size_t n)
{
    while (n > 0) {
        /* The first 201 samples wait until their reflection can be made. */
        const int goal = l->frames == 0 && l->n_held <= HALF ? HALF + 1 : WINDOW;
        const int take = (int)OTO_MIN(n, (size_t)OTO_MAX(goal - l->n_held, 0));

        if (pcm != NULL) {
            memcpy(l->held + l->n_held, pcm, (size_t)take * sizeof *pcm);
            pcm += take;
        } else {
            memset(l->held + l->n_held, 0, (size_t)take * sizeof *l->held);
        }
        l->n_held += take;
        n -= (size_t)take;
        if (goal == HALF + 1 && l->n_held == goal)
            reflect(l);
        if (l->n_held >= WINDOW) {
            if (l->frames < MAX_FRAMES)
                frame(l);
            l->n_held -= HOP;
            memmove(l->held, l->held + HOP, (size_t)l->n_held * sizeof *l->held);
        }
    }
}

void oto_logmel_push(oto_logmel *l, const float *pcm, size_t n)
{
    n = OTO_MIN(n, (size_t)(MAX_INPUT - l->n_in));
    l->n_in += (int)n;
    feed(l, pcm, n);
}

int oto_logmel_finish(oto_logmel *l, float *out)
{
    const int frames = l->n_in / HOP, want = frames + 1; /* the zeros make one more */
    const size_t n_mels = (size_t)l->n_mels, n = (size_t)frames * n_mels;
    const float to_log10 = 0.4342944819f;
    float top = -INFINITY;

    /* Reflection at the end would only mirror the zeros. */
    while (l->frames < want)
        feed(l, NULL, HOP);
    for (int i = 0; i < want; i++) {
        float *row = l->power + (size_t)i * n_mels;

        oto_k()->ln_max_f32(row, l->n_mels, 1e-10f);
        for (int m = 0; m < l->n_mels; m++) {
            row[m] *= to_log10;
            top = fmaxf(top, row[m]);
        }
    }
    for (size_t i = 0; i < n; i++)
        out[i] = (fmaxf(l->power[i], top - 8.0f) + 4.0f) * 0.25f;
    memset(out + n, 0, ((size_t)OTO_LOGMEL_FRAMES * n_mels - n) * sizeof *out);
    return frames;
}
