/* Attention of an encoder over all its frames, and of a decoder over keys it keeps.
 *
 * Encoder. Both products of attention are tiles of gemm.c's kind: scores = Q Kᵀ with K packed like
 * a weight matrix of t outputs, and out = P V with Vᵀ packed like one of d outputs over t inputs.
 * First all threads pack K and V of as many heads as fit into the slots behind the work space of
 * all threads' scratch buffers (one head of 1500 frames in bf16 is 384 KiB); then each task takes a
 * block of queries of one head:
 *
 *   Q (scaled, prepared) → scores [block][t] → exp(score - max) as prepared rows P, and their sums
 * → P V / sum
 *
 * A block's scores and P stay in L2 (12 × 1500: 108 KiB); the whole t × t matrix never exists.
 * Taking the true maximum of each row needs no rescaling, and a row's result does not depend on how
 * queries are blocked.
 *
 * Decoder. Each lane has one query per head and reads its keys and values as they lie in the cache.
 * Consecutive lanes over the same keys (the beams of one window) form a group that reads them once.
 * Tasks are (group, head). */
#include "kernels/kernels_impl.h"

#include <string.h>

#define PACK_CHUNK 256 /* keys a packing task takes: a multiple of 16 */
#define STEP_LANES 256 /* lanes whose groups are worked out at a time */
#define STEP_ALONE                                                                                 \
    32768 /* below this many (key, lane) pairs times heads × 64 / 64 one thread does it */

/* ---- encoder ---- */

typedef struct {
    const oto_kernels_impl *impl;
    const oto_mm *mm;
    oto_pool *pool;
    oto_attention a;
    int t_pad, group, block;
    size_t k_bytes, v_bytes;        /* of one packed head */
    size_t ld_q, ld_s, ld_p, work;  /* bytes */
    int first_head, heads, n_slots; /* of this round; slots per thread */
    int chunks, blocks;             /* tasks per head */
} full;

static size_t odd_lines(size_t bytes)
{
    return ((bytes + 63) / 64 | 1) * 64;
}

static char *head_slot(const full *f, int i)
{
    char *base = oto_pool_scratch(f->pool, i / f->n_slots, NULL);
    return base + f->work + (f->k_bytes + f->v_bytes) * (size_t)(i % f->n_slots);
}

/* One key into column j of its panel; one pair of value rows (or one row, in F32) into each of the
 * 4 panels. */
static void pack_f32(const full *f, const float *k, const float *v, int t, float *k_out,
                     float *v_out)
{
    const int d = f->a.d;
    float *column = k_out + (size_t)(t / OTO_PANEL) * (size_t)d * OTO_PANEL + t % OTO_PANEL;
    for (int i = 0; i < d; i++)
        column[(size_t)i * OTO_PANEL] = k ? k[i] : 0;
    for (int p = 0; p < d / OTO_PANEL && t < f->t_pad; p++) {
        float *to = v_out + ((size_t)p * (size_t)f->t_pad + (size_t)t) * OTO_PANEL;
        for (int j = 0; j < OTO_PANEL; j++)
            to[j] = v ? v[p * OTO_PANEL + j] : 0;
    }
}

static void pack_bf16(const full *f, const float *k, const float *v, int t, uint32_t *k_out,
                      uint16_t *v_out)
{
    const int d = f->a.d;
    uint16_t row[OTO_HEAD_MAX] = {0};
    if (k)
        f->impl->to_bf16(k, d, row);
    uint32_t *column =
        k_out + (size_t)(t / OTO_PANEL) * (size_t)(d / 2) * OTO_PANEL + t % OTO_PANEL;
    for (int i = 0; i < d / 2; i++)
        column[(size_t)i * OTO_PANEL] = (uint32_t)row[2 * i] | (uint32_t)row[2 * i + 1] << 16;
    if (v)
        f->impl->to_bf16(v, d, row);
    for (int p = 0; p < d / OTO_PANEL && t < f->t_pad; p++) {
        uint16_t *to =
            v_out + ((size_t)p * (size_t)(f->t_pad / 2) + (size_t)(t / 2)) * OTO_PANEL * 2;
        for (int j = 0; j < OTO_PANEL; j++)
            to[j * 2 + t % 2] = row[p * OTO_PANEL + j];
    }
}

static void pack_task(void *arg, int task, int thread)
{
    (void)thread;
    const full *f = arg;
    int h = task / f->chunks, from = task % f->chunks * PACK_CHUNK;
    int end = OTO_MIN(from + PACK_CHUNK, (f->a.t + OTO_PANEL - 1) / OTO_PANEL * OTO_PANEL);
    char *slot = head_slot(f, h);
    size_t column = (size_t)(f->first_head + h) * (size_t)f->a.d;
    for (int t = from; t < end; t++) {
        const float *k = NULL, *v = NULL;
        if (t < f->a.t) {
            k = f->a.k + (size_t)t * f->a.ldkv + column;
            v = f->a.v + (size_t)t * f->a.ldkv + column;
        }
        if (f->a.type == OTO_F32)
            pack_f32(f, k, v, t, (float *)slot, (float *)(slot + f->k_bytes));
        else
            pack_bf16(f, k, v, t, (uint32_t *)slot, (uint16_t *)(slot + f->k_bytes));
    }
}

static void block_scores(const full *f, int m, const char *q, const char *k, char *s)
{
    int panels = (f->a.t + OTO_PANEL - 1) / OTO_PANEL, groups = f->a.d / f->group;
    size_t panel = f->k_bytes / (size_t)panels;
    for (int p = 0, np; p < panels; p += np) {
        np = OTO_MIN(f->mm->np, panels - p);
        f->mm->tile(m, np, groups, q, f->ld_q, k + panel * (size_t)p, panel,
                    s + (size_t)p * OTO_PANEL * sizeof(float), f->ld_s / sizeof(float));
    }
}

static void full_task(void *arg, int task, int thread)
{
    const full *f = arg;
    const oto_attention *a = &f->a;
    int h = task / f->blocks, row = task % f->blocks * f->block, m = OTO_MIN(f->block, a->m - row);
    size_t d = (size_t)a->d, column = (size_t)(f->first_head + h) * d;
    int panels = a->d / OTO_PANEL;
    const char *slot = head_slot(f, h);
    char *q = oto_pool_scratch(f->pool, thread, NULL);
    char *s = q + f->ld_q * (size_t)f->block, *p = s + f->ld_s * (size_t)f->block;

    _Alignas(64) float c[OTO_MR_MAX * OTO_HEAD_MAX], sum[OTO_MR_MAX];
    for (int i = 0; i < m; i++) {
        f->impl->scale(a->q + (size_t)(row + i) * a->ldq + column, a->d, a->scale, c);
        f->mm->prepare(c, a->d, q + f->ld_q * (size_t)i);
    }
    block_scores(f, m, q, slot, s);
    for (int i = 0; i < m; i++)
        sum[i] = f->mm->exp_row((float *)(s + f->ld_s * (size_t)i), a->t, f->t_pad,
                                p + f->ld_p * (size_t)i);
    size_t panel = f->v_bytes / (size_t)panels;
    for (int n = 0; n < panels; n += f->mm->np)
        f->mm->tile(m, OTO_MIN(f->mm->np, panels - n), f->t_pad / f->group, p, f->ld_p,
                    slot + f->k_bytes + panel * (size_t)n, panel, c + n * OTO_PANEL, d);
    for (int i = 0; i < m; i++)
        f->impl->scale(c + (size_t)i * d, a->d, 1 / sum[i],
                       a->out + (size_t)(row + i) * a->ldo + column);
}

void oto_attention_run(oto_pool *pool, const oto_attention *a)
{
    full f = {.impl = oto_k()->impl, .pool = pool, .a = *a};
    f.mm = &f.impl->mm[a->type];
    f.group = a->type == OTO_BF16 ? 2 : 1;
    size_t elem = a->type == OTO_BF16 ? 2 : 4, d = (size_t)a->d;
    int panels = (a->t + OTO_PANEL - 1) / OTO_PANEL;
    f.t_pad = (a->t + f.group - 1) / f.group * f.group;
    f.block = f.mm->mr;
    f.k_bytes = (size_t)panels * OTO_PANEL * d * elem;
    f.v_bytes = ((size_t)f.t_pad * d * elem + 63) / 64 * 64;
    f.ld_q = odd_lines(d * (size_t)f.mm->a_bytes);
    f.ld_s = odd_lines((size_t)panels * OTO_PANEL * sizeof(float));
    f.ld_p = odd_lines((size_t)f.t_pad * (size_t)f.mm->a_bytes);
    f.work = (f.ld_q + f.ld_s + f.ld_p) * (size_t)f.block;
    f.chunks = (panels * OTO_PANEL + PACK_CHUNK - 1) / PACK_CHUNK;
    f.blocks = (a->m + f.block - 1) / f.block;
    size_t scratch;
    oto_pool_scratch(pool, 0, &scratch);
    f.n_slots = (int)((scratch - f.work) / (f.k_bytes + f.v_bytes));
    int round = f.n_slots * oto_pool_threads(pool);
    for (; f.first_head < a->n_heads; f.first_head += f.heads) {
        f.heads = OTO_MIN(round, a->n_heads - f.first_head);
        oto_pool_run(pool, f.heads * f.chunks, pack_task, &f);
        oto_pool_run(pool, f.heads * f.blocks, full_task, &f);
    }
}

/* ---- keys and values ---- */

void oto_kv_store(oto_dtype type, const float *x, size_t ldx, int t, int n_heads, void *dst,
                  size_t head_stride, int t0)
{
    const oto_kernels_impl *impl = oto_k()->impl;
    for (int h = 0; h < n_heads; h++)
        for (int i = 0; i < t; i++) {
            const float *from = x + (size_t)i * ldx + (size_t)h * OTO_HEAD;
            size_t at = (size_t)h * head_stride + (size_t)(t0 + i) * OTO_HEAD;
            if (type == OTO_BF16)
                impl->to_bf16(from, OTO_HEAD, (uint16_t *)dst + at);
            else
                memcpy((float *)dst + at, from, OTO_HEAD * sizeof *from);
        }
}

/* ---- decoder ---- */

typedef struct {
    const oto_kernels_impl *impl;
    oto_pool *pool;
    const float *q;
    size_t ldq, lane_stride, ldo;
    const oto_attn_lane *lanes;
    int n_heads;
    float scale;
    float *out;
    uint16_t first[STEP_LANES + 1]; /* lane where each group starts, and one past the last */
} step;

static bool same_keys(const oto_attn_lane *a, const oto_attn_lane *b)
{
    return !a->row && !b->row && a->n_keys == b->n_keys && a->kv.k == b->kv.k &&
           a->kv.v == b->kv.v && a->kv.type == b->kv.type && a->kv.head_stride == b->kv.head_stride;
}

static void step_task(void *arg, int task, int thread)
{
    const step *s = arg;
    int g = task / s->n_heads, h = task % s->n_heads;
    int lane = s->first[g], lanes = s->first[g + 1] - lane;
    const oto_attn_lane *l = &s->lanes[lane];
    if (l->kv.type == OTO_I8) {
        oto_attend8((const char *)l->kv.k + (size_t)h * l->kv.head_stride, l->n_keys, OTO_HEAD,
                    s->q + (size_t)lane * s->ldq + (size_t)h * OTO_HEAD, s->ldq, lanes, s->scale,
                    14, s->out + (size_t)lane * s->ldo + (size_t)h * OTO_HEAD, s->ldo,
                    oto_pool_scratch(s->pool, thread, NULL));
        return;
    }
    size_t elem = l->kv.type == OTO_BF16 ? 2 : 4, head = (size_t)h * l->kv.head_stride * elem;
    size_t ld = odd_lines((size_t)l->n_keys * sizeof(float)) / sizeof(float);
    float *p = oto_pool_scratch(s->pool, thread, NULL);

    _Alignas(64) float q[OTO_LANES * OTO_HEAD], o[OTO_LANES * OTO_HEAD];
    float sum[OTO_LANES];
    for (int i = 0; i < lanes; i++)
        s->impl->scale(s->q + (size_t)(lane + i) * s->ldq + (size_t)h * OTO_HEAD, OTO_HEAD,
                       s->scale, q + i * OTO_HEAD);
    s->impl->scores[l->kv.type](q, lanes, (const char *)l->kv.k + head, l->row, s->lane_stride,
                                l->n_keys, p, ld);
    for (int i = 0; i < lanes; i++)
        sum[i] = s->impl->mm[OTO_F32].exp_row(p + (size_t)i * ld, l->n_keys, l->n_keys,
                                              p + (size_t)i * ld);
    s->impl->values[l->kv.type](p, ld, lanes, (const char *)l->kv.v + head, l->row, s->lane_stride,
                                l->n_keys, o);
    for (int i = 0; i < lanes; i++)
        s->impl->scale(o + i * OTO_HEAD, OTO_HEAD, 1 / sum[i],
                       s->out + (size_t)(lane + i) * s->ldo + (size_t)h * OTO_HEAD);
}

void oto_attention_step(oto_pool *pool, const float *q, size_t ldq, int n_lanes,
                        const oto_attn_lane *lanes, size_t lane_stride, int n_heads, float scale,
                        float *out, size_t ldo)
{
    step s = {.impl = oto_k()->impl,
              .pool = pool,
              .ldq = ldq,
              .lane_stride = lane_stride,
              .ldo = ldo,
              .n_heads = n_heads,
              .scale = scale};
    for (int done = 0; done < n_lanes; done += STEP_LANES) {
        int n = OTO_MIN(STEP_LANES, n_lanes - done), groups = 0;
        size_t work = 0;
        s.lanes = lanes + done;
        s.q = q + (size_t)done * ldq;
        s.out = out + (size_t)done * ldo;
        for (int i = 0; i < n; i++) {
            if (groups == 0 || i - s.first[groups - 1] == OTO_LANES ||
                !same_keys(&s.lanes[s.first[groups - 1]], &s.lanes[i]))
                s.first[groups++] = (uint16_t)i;
            work += (size_t)s.lanes[i].n_keys * (size_t)n_heads;
        }
        s.first[groups] = (uint16_t)n;
        if (work < STEP_ALONE / OTO_HEAD)
            for (int i = 0; i < groups * n_heads; i++)
                step_task(&s, i, 0);
        else
            oto_pool_run(pool, groups * n_heads, step_task, &s);
    }
}
