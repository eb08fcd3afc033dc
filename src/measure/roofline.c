/* Kernels timed alone, in the shapes that they have in a model, against what the same threads reach
 * with the same instruction on registers, and against memory. */
#include "kernels/kernels.h"
#include "measure/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PEAK_SECONDS   0.1
#define KERNEL_SECONDS 0.15
#define ARENA_BYTES    ((size_t)2 << 30)
#define WINDOWS        6 /* decoded together */
#define BEAMS          5
#define MAX_SHAPES     16

typedef struct {
    int m, n, k;
} shape;

/* What a model computes in a window of 30 s. */
typedef struct {
    int frames, width, head;
    shape products[MAX_SHAPES];
    int n_products;
    int tokens; /* whose queries attend to all frames at once; 0: a decoder's steps, by beams */
    bool steps;
} model_shapes;

typedef struct {
    oto_pool *pool;
    oto_arena *a;
    oto_bench *b;
    model_shapes s;
} roofline;

typedef struct {
    oto_dtype type;
    const char *name;
} element;

static const element elements[] = {{OTO_F32, "f32"}, {OTO_BF16, "bf16"}, {OTO_I8, "int8"}};

static void fill(float *x, size_t n, uint32_t seed)
{
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)seed * 0x1p-31f;
    }
}

static int floats(roofline *r, size_t n, uint32_t seed, float **out, oto_err *e)
{
    const int rc = oto_arena_get(r->a, n, sizeof **out, out, e);

    if (rc == 0)
        fill(*out, n, seed);
    return rc;
}

/* Times a call by the best of several: the others shared the machine. */
static void time_kernel(roofline *r, void (*call)(roofline *r, void *arg), void *arg,
                        oto_bench_kernel k, double ops, double bytes)
{
    const int repeats = 1 + (int)(2e8 / ops);
    const double until = oto_now_s() + KERNEL_SECONDS;
    double best = 1e30;

    call(r, arg);
    do {
        const double t0 = oto_now_s();
        for (int i = 0; i < repeats; i++)
            call(r, arg);
        best = OTO_MIN(best, (oto_now_s() - t0) / repeats);
    } while (oto_now_s() < until);
    k.gops = 1e-9 * ops / best;
    k.gbs = 1e-9 * bytes / best;
    if (r->b->n_kernels < OTO_BENCH_KERNELS)
        r->b->kernels[r->b->n_kernels++] = k;
}

/* ---- products ---- */

static void call_product(roofline *r, void *arg)
{
    oto_linear_run(r->pool, arg);
}

static int time_product(roofline *r, const element *t, int m, int n, int k, oto_err *e)
{
    const size_t rows = (size_t)(n + OTO_PANEL - 1) / OTO_PANEL * OTO_PANEL;
    const size_t bytes = oto_pack_bytes(t->type, n, k);
    float *x, *y, *w, *scale;
    int32_t *sums;
    void *data;
    int rc;

    oto_arena_reset(r->a);
    if ((rc = floats(r, (size_t)m * (size_t)k, 1, &x, e)) != 0 ||
        (rc = floats(r, (size_t)m * (size_t)n, 0, &y, e)) != 0 ||
        (rc = floats(r, (size_t)n * (size_t)k, 2, &w, e)) != 0 ||
        (rc = oto_arena_get(r->a, rows, sizeof *scale, &scale, e)) != 0 ||
        (rc = oto_arena_get(r->a, rows, sizeof *sums, &sums, e)) != 0 ||
        (rc = oto_arena_get(r->a, bytes, 1, &data, e)) != 0)
        return rc;
    oto_pack(t->type, w, n, k, (size_t)k, data, scale, sums);
    const oto_mat mat = {
        .type = t->type, .n = n, .k = k, .data = data, .scale = scale, .row_sum = sums};
    oto_linear l = {.w = &mat, .x = x, .ldx = (size_t)k, .m = m, .y = y, .ldy = (size_t)n};
    time_kernel(r, call_product, &l,
                (oto_bench_kernel){.what = "product", .type = t->name, .m = m, .n = n, .k = k},
                2.0 * m * n * k, (double)bytes);
    return 0;
}

static int time_products(roofline *r, const element *t, oto_err *e)
{
    int rc = 0;

    for (int i = 0; i < r->s.n_products && rc == 0; i++) {
        const shape *p = &r->s.products[i];
        rc = time_product(r, t, p->m, p->n, p->k, e);
    }
    return rc;
}

/* ---- attention ---- */

typedef struct {
    oto_dtype type;
    int n_heads, d, m, t, n_lanes;
    float scale;
    float *qkv, *out;
    char *kv; /* of all windows */
    size_t window_bytes;
    oto_attn_lane lane[WINDOWS * BEAMS];
} attention;

static void call_full(roofline *r, void *arg)
{
    attention *t = arg;
    const size_t width = (size_t)t->n_heads * (size_t)t->d;

    if (t->type == OTO_I8) {
        oto_kv8_pack(r->pool, t->qkv + width, t->qkv + 2 * width, 3 * width, t->t, t->t, t->n_heads,
                     t->d, t->kv);
        oto_kv8_attend(r->pool, t->kv, t->t, t->n_heads, t->d, t->qkv, 3 * width, t->m, t->scale,
                       t->out, width);
    } else {
        oto_attention_run(r->pool, &(oto_attention){.q = t->qkv,
                                                    .k = t->qkv + width,
                                                    .v = t->qkv + 2 * width,
                                                    .ldq = 3 * width,
                                                    .ldkv = 3 * width,
                                                    .m = t->m,
                                                    .t = t->t,
                                                    .n_heads = t->n_heads,
                                                    .d = t->d,
                                                    .type = t->type,
                                                    .scale = t->scale,
                                                    .out = t->out,
                                                    .ldo = width});
    }
}

static void call_step(roofline *r, void *arg)
{
    attention *t = arg;
    const size_t width = (size_t)t->n_heads * (size_t)t->d;

    oto_attention_step(r->pool, t->qkv, width, t->n_lanes, t->lane, 0, t->n_heads, t->scale, t->out,
                       width);
}

/* Keys and values of every window, all the same. */
static void set_windows(roofline *r, attention *t)
{
    const size_t width = (size_t)t->n_heads * (size_t)t->d;
    const size_t head = (size_t)t->t * (size_t)t->d, elem = t->type == OTO_BF16 ? 2 : 4;

    for (int w = 0; w < WINDOWS; w++) {
        char *at = t->kv + t->window_bytes * (size_t)w;
        oto_kv kv = {.type = t->type, .k = at, .head_stride = oto_kv8_bytes(t->t, t->d)};

        if (t->type == OTO_I8) {
            oto_kv8_pack(r->pool, t->qkv + width, t->qkv + 2 * width, 3 * width, t->t, t->t,
                         t->n_heads, t->d, at);
        } else {
            char *v = at + head * elem * (size_t)t->n_heads;
            kv = (oto_kv){.type = t->type, .k = at, .v = v, .head_stride = head};
            oto_kv_store(t->type, t->qkv + width, 3 * width, t->t, t->n_heads, at, head, 0);
            oto_kv_store(t->type, t->qkv + 2 * width, 3 * width, t->t, t->n_heads, v, head, 0);
        }
        for (int i = 0; i < BEAMS; i++)
            t->lane[w * BEAMS + i] = (oto_attn_lane){.kv = kv, .n_keys = t->t};
    }
}

/* An encoder's, over a window; that of a decoder which has all tokens at once, or a step of one
 * that has not, over all windows. */
static int time_attention(roofline *r, const element *type, oto_err *e)
{
    const model_shapes *s = &r->s;
    attention t = {.type = type->type,
                   .n_heads = s->width / s->head,
                   .d = s->head,
                   .m = s->frames,
                   .t = s->frames,
                   .scale = 1 / sqrtf((float)s->head),
                   .n_lanes = WINDOWS * BEAMS};
    const size_t n = (size_t)s->frames * (size_t)s->width;
    const double ops = 4.0 * s->frames * s->width; /* a query's */
    oto_bench_kernel k = {
        .what = "attention", .type = type->name, .m = s->frames, .n = s->frames, .k = s->width};
    int rc;

    t.window_bytes = type->type == OTO_I8 ? oto_kv8_bytes(t.t, t.d) * (size_t)t.n_heads
                                          : 2 * n * (type->type == OTO_BF16 ? 2 : 4);
    oto_arena_reset(r->a);
    if ((rc = floats(r, 3 * n, 3, &t.qkv, e)) != 0 || (rc = floats(r, n, 0, &t.out, e)) != 0 ||
        (rc = oto_arena_get(r->a, WINDOWS, t.window_bytes, &t.kv, e)) != 0)
        return rc;
    time_kernel(r, call_full, &t, k, ops * t.m, 0);
    if (s->tokens > 0) {
        k.m = t.m = s->tokens;
        time_kernel(r, call_full, &t, k, ops * t.m, 0);
    }
    if (s->steps) {
        set_windows(r, &t);
        k.what = "step"; /* of cross-attention */
        k.m = t.n_lanes;
        time_kernel(r, call_step, &t, k, ops * t.n_lanes, (double)t.window_bytes * WINDOWS);
    }
    return 0;
}

/* ---- all ---- */

static int time_element(roofline *r, const element *t, oto_err *e)
{
    const int first = r->b->n_kernels;
    /* Before and after, so that what else the machine does falls on both. */
    double peak = oto_peak_gops(r->pool, t->type, PEAK_SECONDS);
    int rc = time_products(r, t, e);

    if (rc == 0)
        rc = time_attention(r, t, e);
    peak = OTO_MAX(peak, oto_peak_gops(r->pool, t->type, PEAK_SECONDS));
    for (int i = first; i < r->b->n_kernels; i++) {
        r->b->kernels[i].peak = peak;
        r->b->kernels[i].share = r->b->kernels[i].gops / peak;
    }
    return rc;
}

/* ---- models ---- */

static void add(model_shapes *s, int m, int n, int k)
{
    s->products[s->n_products++] = (shape){m, n, k};
}

/* An encoder's layer over m rows. */
static void add_layer(model_shapes *s, int m)
{
    const int w = s->width;

    add(s, m, 3 * w, w);
    add(s, m, w, w);
    add(s, m, 4 * w, w);
    add(s, m, w, 4 * w);
}

/* A decoder's layer over the beams of all windows; its projection of these, and of one window's. */
static void whisper_shapes(model_shapes *s, int n_vocab)
{
    s->frames = 1500;
    s->steps = true;
    add_layer(s, s->frames);
    add_layer(s, WINDOWS * BEAMS);
    add(s, WINDOWS * BEAMS, n_vocab, s->width);
    add(s, BEAMS, n_vocab, s->width);
}

/* Rows of 60 ms; 4.5 tokens a second, all at once: their layers, keys and values of all rows, and
 * the projection, some at a time (models/paraformer). */
static void paraformer_shapes(model_shapes *s, int n_vocab)
{
    const int w = s->width;

    s->frames = 500;
    s->tokens = 135;
    add_layer(s, s->frames);
    add(s, s->tokens, 4 * w, w);
    add(s, s->tokens, w, 4 * w);
    add(s, s->tokens, w, w);
    add(s, s->frames, 2 * w, w);
    add(s, 64, n_vocab, w);
}

/* Four rows that ask stand in front. */
static void sensevoice_shapes(model_shapes *s, int n_vocab)
{
    s->frames = 504;
    add_layer(s, s->frames);
    add(s, 64, n_vocab, s->width);
}

static void shapes_of(const oto_model *asr, model_shapes *s)
{
    oto_model_info info = {.family = "whisper", .width = 512, .n_heads = 8, .n_vocab = 51865};

    if (asr != NULL)
        oto_model_info_get(asr, &info);
    *s = (model_shapes){.width = info.width, .head = info.width / info.n_heads};
    if (strcmp(info.family, "paraformer") == 0)
        paraformer_shapes(s, info.n_vocab);
    else if (strcmp(info.family, "sensevoice") == 0)
        sensevoice_shapes(s, info.n_vocab);
    else
        whisper_shapes(s, info.n_vocab);
}

int oto_bench_kernels(const oto_bench_options *o, oto_bench *b, oto_err *e)
{
    roofline r = {.b = b};
    int rc;

    shapes_of(o->asr, &r.s);
    if ((rc = oto_pool_new(b->threads, OTO_POOL_SCRATCH_BYTES, &r.pool, e)) == 0)
        rc = oto_arena_new("bench", ARENA_BYTES, &r.a, e);
    for (size_t i = 0; i < OTO_COUNT(elements) && rc == 0; i++)
        rc = time_element(&r, &elements[i], e);
    if (rc == 0)
        rc = oto_peak_memory_gbs(r.pool, &b->memory_gbs, e);
    oto_arena_free(r.a);
    oto_pool_free(r.pool);
    return rc;
}
