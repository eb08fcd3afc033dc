/* Kaldi log-mel filter bank, low-frame-rate stacking, CMVN; fed in pieces of any size.
 *
 * A frame is 400 samples, every 160; only whole frames count. Row i of the output stacks the frames
 * i n - (m - 1) / 2 … of the recording, the first and the last frame standing in for what lies
 * outside. So a row is complete m / 2 frames after its own frame, and the last rows come out when
 * the recording ends. Source: kaldi feat/feature-fbank.cc, FunASR funasr/frontends/wav_frontend.py.
 */
#include "features/features.h"
#include "kernels/kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include <kiss_fftr.h>

#define FRAME     400
#define HOP       160
#define FFT       512
#define BINS      (FFT / 2) /* the bin at 8 kHz has no weight */
#define MELS      OTO_FBANK_MELS
#define MAX_STACK 16

typedef struct {
    int first, n;
    const float *w;
} band;

struct oto_fbank {
    oto_fbank_options o;
    kiss_fftr_cfg fft;
    float *hamming; /* [FRAME], times 32768 */
    band bands[MELS];
    float *weights;
    float held[FRAME]; /* samples of the next frame */
    int n_held;
    float ring[MAX_STACK][MELS]; /* frame f at f % lfr_m */
    float ring_db[MAX_STACK];
    int64_t frames, rows; /* so far */
};

static double mel(double hz)
{
    return 1127.0 * log(1.0 + hz / 700.0);
}

/* Triangles equally wide on the mel scale, 20 Hz to 8 kHz; with out NULL only counts the weights.
 */
static int make_bands(band *bands, float *out)
{
    const double low = mel(20), step = (mel(8000) - low) / (MELS + 1);
    int total = 0;

    for (int m = 0; m < MELS; m++) {
        const double l = low + m * step;
        int first = 0, n = 0;

        for (int k = 0; k < BINS; k++) {
            const double z = mel(k * 16000.0 / FFT);
            const double w = fmin((z - l) / step, (l + 2 * step - z) / step);

            if (w <= 0)
                continue;
            if (n++ == 0)
                first = k;
            if (out != NULL)
                out[total + n - 1] = (float)w;
        }
        if (out != NULL)
            bands[m] = (band){first, n, out + total};
        total += n;
    }
    return total;
}

int oto_fbank_new(const oto_fbank_options *o, oto_arena *a, oto_fbank **out, oto_err *e)
{
    size_t fft_bytes = 0;
    void *fft_mem;
    oto_fbank *f;
    int rc;

    if (o->lfr_m < 1 || o->lfr_m > MAX_STACK || o->lfr_n < 1 || o->lfr_n > o->lfr_m)
        return oto_fail(e, OTO_E_UNSUPPORTED, "stacking of %d frames every %d", o->lfr_m, o->lfr_n);
    kiss_fftr_alloc(FFT, 0, NULL, &fft_bytes);
    if ((rc = oto_arena_get(a, 1, sizeof *f, &f, e)) != 0 ||
        (rc = oto_arena_get(a, fft_bytes, 1, &fft_mem, e)) != 0 ||
        (rc = oto_arena_get(a, FRAME, sizeof(float), &f->hamming, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)make_bands(NULL, NULL), sizeof(float), &f->weights, e)) != 0)
        return rc;
    f->o = *o;
    f->fft = kiss_fftr_alloc(FFT, 0, fft_mem, &fft_bytes);
    if (f->fft == NULL)
        return oto_fail(e, OTO_E_INTERNAL, "no FFT of %d points", FFT);
    for (int i = 0; i < FRAME; i++)
        f->hamming[i] =
            (float)((0.54 - 0.46 * cos(2 * 3.14159265358979323846 * i / (FRAME - 1))) * 32768.0);
    make_bands(f->bands, f->weights);
    oto_fbank_reset(f);
    *out = f;
    return 0;
}

void oto_fbank_reset(oto_fbank *f)
{
    f->n_held = 0;
    f->frames = 0;
    f->rows = 0;
}

static float mean(const float *x)
{
    float part[16] = {0}, sum = 0;

    for (int i = 0; i < FRAME; i += 16)
        for (int j = 0; j < 16; j++)
            part[j] += x[i + j];
    for (int j = 0; j < 16; j++)
        sum += part[j];
    return sum / FRAME;
}

/* Log-mel of the frame in held, into the ring. */
static void frame(oto_fbank *f, bool db)
{
    const oto_kernels *k = oto_k();
    const int slot = (int)(f->frames % f->o.lfr_m);
    const float dc = mean(f->held);
    kiss_fft_cpx z[FFT / 2 + 1];
    float x[FFT], p[BINS], *out = f->ring[slot];

    /* Pre-emphasis; the missing neighbour of the first sample is the sample itself. */
    x[0] = (f->held[0] - dc) * (1 - 0.97f) * f->hamming[0];
    for (int i = 1; i < FRAME; i++)
        x[i] = ((f->held[i] - dc) - 0.97f * (f->held[i - 1] - dc)) * f->hamming[i];
    memset(x + FRAME, 0, (FFT - FRAME) * sizeof *x);
    kiss_fftr(f->fft, x, z);
    for (int i = 0; i < BINS; i++)
        p[i] = z[i].r * z[i].r + z[i].i * z[i].i;
    for (int m = 0; m < MELS; m++)
        out[m] = k->dot_f32(f->bands[m].w, p + f->bands[m].first, f->bands[m].n);
    k->ln_max_f32(out, MELS, FLT_EPSILON);
    if (db)
        f->ring_db[slot] = 10.0f * log10f(k->dot_f32(f->held, f->held, FRAME) + 1e-6f);
    f->frames++;
}

/* Row `rows`, stacked and normalised. */
static void put_row(oto_fbank *f, float *out, float *db)
{
    const int m = f->o.lfr_m;
    const int64_t first = f->rows * f->o.lfr_n - (m - 1) / 2;

    for (int j = 0; j < m; j++) {
        const int64_t at = OTO_MIN(OTO_MAX(first + j, 0), f->frames - 1);

        memcpy(out + j * MELS, f->ring[at % m], MELS * sizeof *out);
    }
    if (f->o.cmvn_shift != NULL)
        for (int i = 0; i < m * MELS; i++)
            out[i] = (out[i] + f->o.cmvn_shift[i]) * f->o.cmvn_scale[i];
    if (db != NULL)
        *db = f->ring_db[OTO_MIN(f->rows * f->o.lfr_n, f->frames - 1) % m];
    f->rows++;
}

/* Frames that the next row needs. */
static int64_t next_needs(const oto_fbank *f)
{
    return f->rows * f->o.lfr_n - (f->o.lfr_m - 1) / 2 + f->o.lfr_m;
}

int oto_fbank_push(oto_fbank *f, const float *pcm, size_t n, bool final, float *out, float *db,
                   int max_rows, size_t *used)
{
    const size_t width = (size_t)f->o.lfr_m * MELS;
    size_t at = 0;
    int n_rows = 0;

    while (n_rows < max_rows && at < n) {
        const size_t take = OTO_MIN(n - at, (size_t)(FRAME - f->n_held));

        memcpy(f->held + f->n_held, pcm + at, take * sizeof *pcm);
        f->n_held += (int)take;
        at += take;
        if (f->n_held < FRAME)
            break;
        frame(f, db != NULL);
        f->n_held = FRAME - HOP;
        memmove(f->held, f->held + HOP, (FRAME - HOP) * sizeof *f->held);
        if (f->frames >= next_needs(f)) {
            put_row(f, out + (size_t)n_rows * width, db != NULL ? db + n_rows : NULL);
            n_rows++;
        }
    }
    *used = at;
    if (!final || at < n)
        return n_rows;
    while (n_rows < max_rows && f->frames > 0 && f->rows * f->o.lfr_n < f->frames) {
        put_row(f, out + (size_t)n_rows * width, db != NULL ? db + n_rows : NULL);
        n_rows++;
    }
    return n_rows;
}
