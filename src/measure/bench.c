/* Speed of this machine on this program.
 *
 * Stages are timed where they can be told apart: decoding and voice activity detection by passes of
 * their own over the recording (in a job they overlap with recognition), the model's stages inside
 * one whole job, by the clocks the model keeps. So the stages add up to more than the total when
 * the decoder child has a core to itself.
 *
 * Products are timed alone, in the shapes that a window and a decoding step have, as a share of
 * what the same threads reach with the same instruction on registers. */
#include "measure/measure.h"
#include "kernels/kernels.h"
#include "media/media.h"
#include "recogniser/recogniser.h"

#include <stdlib.h>
#include <string.h>

#define PEAK_SECONDS 0.1
#define GEMM_SECONDS 0.2

static oto_bench_stage *add_stage(oto_bench *b, const char *name, double wall_s, double core_s)
{
    oto_bench_stage *s = &b->stages[b->n_stages++];
    *s = (oto_bench_stage){name, wall_s, core_s};
    return s;
}

/* ---- stages ---- */

static int time_decoding(const char *path, oto_bench *b, oto_err *e)
{
    static float block[OTO_SAMPLE_RATE / 2];
    oto_media_options o;
    oto_media *m = NULL;
    size_t got = 1, n = 0;
    double wall = oto_now_s(), core = oto_cpu_s();
    int r;

    oto_media_defaults(&o);
    r = oto_media_open(path, &o, &m, e);
    while (r == 0 && got > 0) {
        r = oto_media_read(m, block, OTO_COUNT(block), &got, e);
        n += r == 0 ? got : 0;
    }
    oto_media_close(m); /* the child's time counts when it has been waited for */
    if (r != 0)
        return r;
    if (n == 0)
        return oto_fail(e, OTO_E_NO_AUDIO, "%s: no samples", path);
    b->audio_s = (double)n / OTO_SAMPLE_RATE;
    add_stage(b, "decode", oto_now_s() - wall, oto_cpu_s() - core);
    return 0;
}

static void ignore_span(void *arg, const oto_span *s)
{
    (void)arg, (void)s;
}

static int time_vad(const oto_bench_options *o, oto_bench *b, oto_err *e)
{
    oto_job_options job;
    oto_job_result result;
    int r;

    if (o->vad == NULL)
        return 0;
    oto_job_defaults(&job);
    r = oto_recogniser_vad(o->vad, 1, o->path, &job, ignore_span, &result, e);
    if (r == 0) /* one thread: its processor time is its time */
        add_stage(b, "vad", result.vad_s, result.vad_s);
    return r;
}

static int time_job(const oto_bench_options *o, oto_bench *b, oto_err *e)
{
    oto_recogniser_options ro = {.asr = o->asr, .vad = o->vad, .threads = b->threads};
    oto_job_options job;
    oto_job_result result;
    oto_recogniser *rec = NULL;
    double wall, core;
    int r;

    oto_job_defaults(&job);
    job.no_vad = o->vad == NULL;
    if (o->beam > 0)
        job.asr.beam = o->beam;
    if (o->language != NULL)
        snprintf(job.asr.language, sizeof job.asr.language, "%s", o->language);
    r = oto_recogniser_new(&ro, &rec, e);
    if (r != 0)
        return r;
    wall = oto_now_s();
    core = oto_cpu_s();
    r = oto_recogniser_run(rec, o->path, &job, &result, e);
    b->wall_s = oto_now_s() - wall;
    b->core_s = oto_cpu_s() - core;
    oto_recogniser_free(rec);
    if (r != 0)
        return r;
    b->n_windows = result.n_windows;
    b->asr = result.asr;
    b->decoder_peak_bytes = result.decoder_peak_bytes;
    snprintf(b->language, sizeof b->language, "%s", result.language);
    add_stage(b, "front end", b->asr.features_s, b->asr.features_core_s);
    add_stage(b, "encoder", b->asr.encoder_s, b->asr.encoder_core_s);
    add_stage(b, "decoder", b->asr.decoder_s, b->asr.decoder_core_s);
    add_stage(b, "total", b->wall_s, b->core_s);
    return 0;
}

/* ---- products ---- */

typedef struct {
    oto_mat w;
    float *x, *y;
    int m;
} product;

static void fill(float *x, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)seed * 0x1p-31f;
    }
}

static int make_product(oto_dtype type, int m, int n, int k, oto_arena *a, product *p, oto_err *e)
{
    size_t rows = (size_t)(n + OTO_PANEL - 1) / OTO_PANEL * OTO_PANEL;
    float *w, *scale;
    int32_t *sums;
    void *data;
    int r;

    if ((r = oto_arena_get(a, (size_t)m * (size_t)k, sizeof *p->x, &p->x, e)) != 0 ||
        (r = oto_arena_get(a, (size_t)m * (size_t)n, sizeof *p->y, &p->y, e)) != 0 ||
        (r = oto_arena_get(a, rows, sizeof *scale, &scale, e)) != 0 ||
        (r = oto_arena_get(a, rows, sizeof *sums, &sums, e)) != 0 ||
        (r = oto_arena_get(a, oto_pack_bytes(type, n, k), 1, &data, e)) != 0 ||
        (r = oto_arena_get(a, (size_t)n * (size_t)k, sizeof *w, &w, e)) != 0)
        return r;
    fill(p->x, (size_t)m * (size_t)k, 1);
    fill(w, (size_t)n * (size_t)k, 2);
    oto_pack(type, w, n, k, (size_t)k, data, scale, sums);
    p->w = (oto_mat){.type = type, .n = n, .k = k, .data = data, .scale = scale, .row_sum = sums};
    p->m = m;
    return 0;
}

/* The best rate of several runs: the others shared the machine. */
static double rate(oto_pool *pool, const product *p)
{
    oto_linear l = {
        .w = &p->w, .x = p->x, .ldx = (size_t)p->w.k, .m = p->m, .y = p->y, .ldy = (size_t)p->w.n};
    double ops = 2.0 * p->m * p->w.n * p->w.k, best = 0, until = oto_now_s() + GEMM_SECONDS;
    int repeats = 1 + (int)(2e8 / ops);

    oto_linear_run(pool, &l);
    do {
        double t0 = oto_now_s();
        for (int i = 0; i < repeats; i++)
            oto_linear_run(pool, &l);
        best = OTO_MAX(best, 1e-9 * ops * repeats / (oto_now_s() - t0));
    } while (oto_now_s() < until);
    return best;
}

static int time_products(const oto_bench_options *o, oto_bench *b, oto_err *e)
{
    static const struct {
        oto_dtype type;
        const char *name;
    } types[] = {{OTO_F32, "f32"}, {OTO_BF16, "bf16"}, {OTO_I8, "int8"}};
    oto_model_info info = {.width = 512, .n_vocab = 51865};
    oto_pool *pool = NULL;
    oto_arena *a = NULL;
    int r;

    if (o->asr != NULL)
        oto_model_info_get(o->asr, &info);
    const int w = info.width;
    /* Of an encoder's layer over a window; of a decoder's over the beams of six windows; its
     * projection of these, and of one window's. */
    const int shapes[][3] = {{1500, 3 * w, w},        {1500, w, w},       {1500, 4 * w, w},
                             {1500, w, 4 * w},        {30, 3 * w, w},     {30, w, w},
                             {30, 4 * w, w},          {30, w, 4 * w},     {30, info.n_vocab, w},
                             {5, info.n_vocab, w}};

    if ((r = oto_pool_new(b->threads, OTO_POOL_SCRATCH_BYTES, &pool, e)) != 0 ||
        (r = oto_arena_new("bench", (size_t)2 << 30, &a, e)) != 0)
        goto done;
    for (size_t t = 0; t < OTO_COUNT(types); t++) {
        double peak = 0;
        const int first = b->n_gemms;
        for (size_t s = 0; s < OTO_COUNT(shapes); s++) {
            const int *d = shapes[s];
            product p;
            oto_arena_reset(a);
            if ((r = make_product(types[t].type, d[0], d[1], d[2], a, &p, e)) != 0)
                goto done;
            /* In turn, so that what else the machine does falls on both. */
            peak = OTO_MAX(peak, oto_peak_gops(pool, types[t].type, PEAK_SECONDS));
            b->gemms[b->n_gemms++] = (oto_bench_gemm){.type = types[t].name,
                                                      .m = d[0],
                                                      .n = d[1],
                                                      .k = d[2],
                                                      .threads = b->threads,
                                                      .gops = rate(pool, &p)};
        }
        for (int i = first; i < b->n_gemms; i++) {
            b->gemms[i].peak = peak;
            b->gemms[i].share = b->gemms[i].gops / peak;
        }
    }
done:
    oto_arena_free(a);
    oto_pool_free(pool);
    return r;
}

int oto_bench_run(const oto_bench_options *o, oto_bench *out, oto_err *e)
{
    oto_bench b = {.threads = o->threads > 0 ? o->threads : oto_cpu_count()};
    int r = 0;

    if (o->path != NULL && ((r = time_decoding(o->path, &b, e)) != 0 ||
                            (r = time_vad(o, &b, e)) != 0 || (r = time_job(o, &b, e)) != 0))
        return r;
    b.peak_bytes = oto_peak_rss_bytes(); /* before the products' matrices */
    r = time_products(o, &b, e);
    if (r == 0)
        *out = b;
    return r;
}
