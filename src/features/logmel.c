/* Whisper log-mel, one window at a time, its frames by all threads of a pool.
 *
 * Frames of 400 samples every 160, centred: frame t covers samples 160 t - 200 .. 160 t + 199 of
 * the window followed by 160 zeros, with reflection at both ends (the edge sample is not repeated).
 * First come the frames' logarithms, then, with the window's maximum known, the clamp. Frame counts
 * are faster-whisper's: floor((n + 160) / 160), so that a full window has one frame more than fits,
 * which only takes part in the maximum. */
#include "features/features.h"

#include <math.h>
#include <string.h>

#include <kiss_fftr.h>

#define WINDOW     400
#define HOP        160
#define BINS       (WINDOW / 2 + 1)
#define HALF       (WINDOW / 2)
#define MAX_INPUT  (30 * 16000)
#define MAX_FRAMES (OTO_LOGMEL_FRAMES + 1)
#define MAX_MELS   128
#define TASK       128 /* frames */
#define MAX_TASKS  ((MAX_FRAMES + TASK - 1) / TASK)

typedef struct {
    int first, n; /* bins */
    const float *w;
} band;

struct oto_logmel {
    int n_mels, threads;
    kiss_fftr_cfg *fft; /* [threads]: each has room of its own to work in */
    float *hann;        /* [WINDOW] */
    band *bands;        /* [n_mels] */
    float *weights;     /* of all bands */
    float *power;       /* [MAX_FRAMES][n_mels], as logarithms */
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

static int plan_ffts(oto_logmel *l, oto_arena *a, oto_err *e)
{
    size_t bytes = 0;
    void *mem;
    int rc;

    kiss_fftr_alloc(WINDOW, 0, NULL, &bytes);
    if ((rc = oto_arena_get(a, (size_t)l->threads, sizeof *l->fft, &l->fft, e)) != 0)
        return rc;
    for (int i = 0; i < l->threads; i++) {
        if ((rc = oto_arena_get(a, bytes, 1, &mem, e)) != 0)
            return rc;
        if ((l->fft[i] = kiss_fftr_alloc(WINDOW, 0, mem, &bytes)) == NULL)
            return oto_fail(e, OTO_E_INTERNAL, "no FFT of %d points", WINDOW);
    }
    return 0;
}

int oto_logmel_new(int n_mels, int threads, oto_arena *a, oto_logmel **out, oto_err *e)
{
    oto_logmel *l;
    int rc;

    if (n_mels < 1 || n_mels > MAX_MELS)
        return oto_fail(e, OTO_E_UNSUPPORTED, "%d mel bins: at most %d", n_mels, MAX_MELS);
    if ((rc = oto_arena_get(a, 1, sizeof *l, &l, e)) != 0)
        return rc;
    l->n_mels = n_mels;
    l->threads = threads;
    if ((rc = plan_ffts(l, a, e)) != 0 ||
        (rc = oto_arena_get(a, WINDOW, sizeof(float), &l->hann, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)n_mels, sizeof(band), &l->bands, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)make_bands(n_mels, NULL, NULL), sizeof(float), &l->weights,
                            e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)MAX_FRAMES * (size_t)n_mels, sizeof(float), &l->power, e)) !=
            0)
        return rc;
    for (int i = 0; i < WINDOW; i++)
        l->hann[i] = (float)(0.5 - 0.5 * cos(2 * 3.14159265358979323846 * i / WINDOW));
    make_bands(n_mels, l->bands, l->weights);
    *out = l;
    return 0;
}

typedef struct {
    oto_logmel *l;
    const float *pcm;
    int n, frames, all; /* samples; frames that hold audio, and with the one that zeros make */
    float tops[MAX_TASKS];
    float floor;
    float *out;
} window;

/* A frame's samples, hann applied. */
static void cut(const window *w, int t, float *x)
{
    const int first = HOP * t - HALF;

    for (int i = 0; i < WINDOW; i++) {
        const int at = first + i < 0 ? -(first + i) : first + i;

        x[i] = at < w->n ? w->pcm[at] * w->l->hann[i] : 0;
    }
}

static void power_task(void *arg, int task, int thread)
{
    window *w = arg;
    const oto_logmel *l = w->l;
    const oto_kernels *k = oto_k();
    const float to_log10 = 0.4342944819f;
    float x[WINDOW], p[BINS], top = -INFINITY;
    kiss_fft_cpx z[BINS];

    for (int t = task * TASK; t < OTO_MIN((task + 1) * TASK, w->all); t++) {
        float *row = l->power + (size_t)t * (size_t)l->n_mels;

        cut(w, t, x);
        kiss_fftr(l->fft[thread], x, z);
        for (int i = 0; i < BINS; i++)
            p[i] = z[i].r * z[i].r + z[i].i * z[i].i;
        for (int m = 0; m < l->n_mels; m++)
            row[m] = k->dot_f32(l->bands[m].w, p + l->bands[m].first, l->bands[m].n);
        k->ln_max_f32(row, l->n_mels, 1e-10f);
        for (int m = 0; m < l->n_mels; m++) {
            row[m] *= to_log10;
            top = fmaxf(top, row[m]);
        }
    }
    w->tops[task] = top;
}

static void clamp_task(void *arg, int task, int thread)
{
    const window *w = arg;
    const size_t n_mels = (size_t)w->l->n_mels, first = (size_t)(task * TASK) * n_mels,
                 last = (size_t)OTO_MIN((task + 1) * TASK, w->frames) * n_mels;

    (void)thread;
    for (size_t i = first; i < last; i++)
        w->out[i] = (fmaxf(w->l->power[i], w->floor) + 4.0f) * 0.25f;
}

int oto_logmel_run(oto_logmel *l, oto_pool *pool, const float *pcm, size_t n, float *out)
{
    window w = {.l = l, .pcm = pcm, .n = (int)OTO_MIN(n, (size_t)MAX_INPUT), .out = out};
    const size_t n_mels = (size_t)l->n_mels;
    float top = -INFINITY;

    w.frames = w.n / HOP;
    w.all = w.frames + 1;
    const int tasks = (w.all + TASK - 1) / TASK;
    oto_pool_run(pool, tasks, power_task, &w);
    for (int i = 0; i < tasks; i++)
        top = fmaxf(top, w.tops[i]);
    w.floor = top - 8.0f;
    oto_pool_run(pool, tasks, clamp_task, &w);
    memset(out + (size_t)w.frames * n_mels, 0,
           (size_t)(OTO_LOGMEL_FRAMES - w.frames) * n_mels * sizeof *out);
    return w.frames;
}
