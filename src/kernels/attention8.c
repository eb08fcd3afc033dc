/* Attention over keys and values in 8 bits, for an encoder's frames and a decoder's windows.
 *
 * Both products are tiles of gemm.c's kind on exact integers, so that results depend neither on the
 * batch nor on the instruction set:
 *
 *   scores = q Kᵀ   K packed like a matrix of t outputs, a scale for each key. First the mean of
 * all keys is taken away: that moves all scores of a query alike, which softmax does not see, and
 * leaves the bytes to what tells keys from one another (SageAttention, arXiv:2410.02367,
 * section 4.2). out = P V       Vᵀ packed like a matrix of d outputs, a scale for each channel. P,
 * from 0 to 1, has 14 bits, 7 in each of two rows of bytes: in 8 bits the many small weights of a
 * head that looks everywhere would all be nothing.
 *
 * Of a stretch where keys are all alike, such as the silence behind a short clip, every fourth will
 * do when it weighs as much as four: its score is greater by ln 4.
 *
 * A head in memory: K | V | scales of K | sums of K | scales of V | the first of those keys. */
#include "kernels/kernels_impl.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#define LN_THIN 1.38629436f /* ln OTO_KV8_THIN */

typedef struct {
    int t, t_pad, panels; /* keys; up to a multiple of 4; panels of K */
    int d;                /* channels */
    char *k, *v;
    float *k_scale, *v_scale;
    int32_t *k_sum; /* times the table's `zero` */
    int32_t *thin_from;
} head8;

static size_t lines(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static head8 head_of(const void *base, int t, int d)
{
    head8 h = {.t = t, .t_pad = (t + 3) / 4 * 4, .panels = (t + OTO_PANEL - 1) / OTO_PANEL, .d = d};
    const size_t keys = (size_t)h.panels * OTO_PANEL;

    h.k = (char *)base;
    h.v = h.k + keys * (size_t)d;
    h.k_scale = (float *)(void *)(h.v + lines((size_t)h.t_pad * (size_t)d));
    h.k_sum = (int32_t *)(h.k_scale + keys);
    h.v_scale = (float *)(h.k_sum + keys);
    h.thin_from = (int32_t *)(h.v_scale + d);
    return h;
}

size_t oto_kv8_bytes(int t, int d)
{
    const size_t keys = ((size_t)t + OTO_PANEL - 1) / OTO_PANEL * OTO_PANEL, head = (size_t)d;

    return keys * (head + sizeof(float) + sizeof(int32_t)) + lines(((size_t)t + 3) / 4 * 4 * head) +
           head * sizeof(float) + 64;
}

/* ---- packing ---- */

typedef struct {
    const oto_kernels_impl *impl;
    const float *k, *v;
    size_t ld, stride;
    int t, thin_from, d;
    char *dst;
} pack8;

static void pack_task(void *arg, int task, int thread)
{
    const pack8 *p = arg;
    const size_t i = (size_t)(task / 2), column = i * (size_t)p->d;
    const head8 h = head_of(p->dst + i * p->stride, p->t, p->d);

    (void)thread;
    if (task % 2 == 0) {
        p->impl->pack_keys(p->k + column, p->ld, p->t, p->d, h.k, h.k_scale, h.k_sum);
        *h.thin_from = p->thin_from;
    } else {
        p->impl->pack_values(p->v + column, p->ld, p->t, p->d, h.v, h.v_scale);
    }
}

void oto_kv8_pack(oto_pool *pool, const float *k, const float *v, size_t ld, int t, int thin_from,
                  int n_heads, int d, void *dst)
{
    pack8 p = {.impl = oto_k()->impl,
               .k = k,
               .v = v,
               .ld = ld,
               .stride = oto_kv8_bytes(t, d),
               .t = t,
               .d = d,
               .thin_from = thin_from,
               .dst = dst};

    assert(thin_from == t || thin_from % OTO_PANEL == 0);

    oto_pool_run(pool, 2 * n_heads, pack_task, &p);
}

void oto_kv8_keys(const void *head, int t, int n, float *out)
{
    const head8 h = head_of(head, t, OTO_HEAD);

    for (int i = 0; i < n; i++) {
        const int8_t *column = (const int8_t *)h.k +
                               (size_t)(i / OTO_PANEL) * OTO_HEAD * OTO_PANEL +
                               (size_t)(i % OTO_PANEL) * 4;
        for (int c = 0; c < OTO_HEAD; c++)
            out[(size_t)i * OTO_HEAD + (size_t)c] =
                h.k_scale[i] * (float)column[c / 4 * 4 * OTO_PANEL + c % 4];
    }
}

/* ---- attending ---- */

static size_t q_bytes(int d)
{
    return (size_t)d * (size_t)oto_k()->impl->mm[OTO_I8].a_bytes + 64;
}

/* Rows of weights: a whole number of fours. */
static size_t p_bytes(int t)
{
    return (size_t)((t + 3) / 4 * 4) * (size_t)oto_k()->impl->mm[OTO_I8].a_bytes;
}

static size_t ld_sums(int t)
{
    return (((size_t)t * sizeof(int32_t) + 63) / 64 | 1) * 64 / sizeof(int32_t);
}

/* Room to find the groups of keys that weigh anything, and their numbers. */
static size_t groups_bytes(int t)
{
    return lines(p_bytes(t) + ((size_t)t + 3) / 4 * sizeof(uint16_t));
}

size_t oto_attend8_bytes(int t, int d, int m)
{
    const size_t rows = (size_t)oto_whole_rows(&oto_k()->impl->mm[OTO_I8], m);

    return rows * (q_bytes(d) + ld_sums(t) * sizeof(int32_t) + 2 * p_bytes(t)) +
           ld_sums(t) * sizeof(float) + groups_bytes(t) + 64;
}

/* c[rows][cols panels of 16] of rows of bytes, in tiles of nearly equal height; at: of these groups
 * alone, NULL: of all. */
static void multiply(const oto_mm *mm, int rows, int panels, int groups, const uint16_t *at,
                     const char *a, size_t lda, const char *w, size_t panel, int32_t *c, size_t ldc)
{
    for (int p = 0, np; p < panels; p += np) {
        np = OTO_MIN(mm->np, panels - p);
        for (int i = 0, first; (first = oto_tile_row(mm, rows, i)) < rows; i++) {
            const int n = oto_tile_row(mm, rows, i + 1) - first;
            const char *from = a + (size_t)first * lda, *of = w + panel * (size_t)p;
            int32_t *to = c + (size_t)first * ldc + p * OTO_PANEL;

            if (at != NULL)
                mm->tile_at(n, np, groups, at, from, lda, of, panel, to, ldc);
            else
                mm->tile(n, np, groups, from, lda, of, panel, to, ldc);
        }
    }
}

/* Which groups of four keys weigh anything in any row: of an encoder's, whose weights have 8 bits,
 * about half do in Whisper. Returns their number, -1 where skipping the others gains nothing. */
static int find_groups(const oto_mm *mm, int rows, int groups, const char *p, size_t ldp,
                       char *room, uint16_t *at)
{
    const size_t bytes = 4 * (size_t)groups * (size_t)mm->a_bytes;
    int n = 0;

    if (mm->tile_at == NULL || groups > UINT16_MAX)
        return -1;
    memcpy(room, p, bytes);
    for (int i = 1; i < rows; i++)
        for (size_t j = 0; j < bytes; j++)
            room[j] |= p[(size_t)i * ldp + j];
    for (int g = 0; g < groups; g++) {
        uint32_t half[2] = {0}; /* of 8 bytes a group, or all of 4 */

        if (mm->a_bytes == 2)
            memcpy(half, room + 8 * (size_t)g, 8);
        else
            memcpy(half, room + 4 * (size_t)g, 4);
        at[n] = (uint16_t)g;
        n += (half[0] | half[1]) != 0;
    }
    return n < groups - groups / 8 ? n : -1;
}

/* sums[rows / parts][d] = rows of weights times V. So many keys at a time that their sums fit in 32
 * bits. room: groups_bytes(h->t) */
static void add_values(const oto_mm *mm, const head8 *h, int rows, int parts, int unit,
                       const char *p, size_t ldp, char *room, double *sums)
{
    const int most = INT32_MAX / (127 * (parts == 1 ? unit : 127)) / 4 * 4;
    const size_t panel = (size_t)h->t_pad * OTO_PANEL, d = (size_t)h->d;
    uint16_t *at = (uint16_t *)(void *)(room + p_bytes(h->t));
    _Alignas(64) int32_t some[2 * OTO_MR_MAX * OTO_HEAD_MAX];

    for (int t = 0, n; t < h->t_pad; t += n) {
        n = OTO_MIN(most, h->t_pad - t);
        const char *weights = p + (size_t)t * (size_t)mm->a_bytes;
        const int kept = find_groups(mm, rows, n / 4, weights, ldp, room, at);

        multiply(mm, rows, h->d / OTO_PANEL, kept < 0 ? n / 4 : kept, kept < 0 ? NULL : at, weights,
                 ldp, h->v + (size_t)t * OTO_PANEL, panel, some, d);
        for (size_t i = 0; i < (size_t)(rows / parts); i++) {
            const int32_t *high = some + (size_t)parts * i * d, *low = high + d;
            double *to = sums + i * d;

            for (size_t j = 0; j < d; j++)
                to[j] = (t == 0 ? 0 : to[j]) + (parts == 1 ? high[j] : 128.0 * high[j] + low[j]);
        }
    }
}

void oto_attend8(const void *head, int t, int d, const float *q, size_t ldq, int m, float scale,
                 int bits, float *out, size_t ldo, void *work)
{
    const oto_kernels_impl *impl = oto_k()->impl;
    const oto_mm *mm = &impl->mm[OTO_I8];
    const head8 h = head_of(head, t, d);
    const size_t ld = ld_sums(t), ldp = p_bytes(t), ldq8 = q_bytes(d), channels = (size_t)d;
    const size_t whole = (size_t)oto_whole_rows(mm, m);
    char *qa = work;
    int32_t *c = (int32_t *)(void *)(qa + whole * ldq8);
    float *scores = (float *)(void *)(c + ld * whole);
    char *p = (char *)(scores + ld);
    double out_sums[OTO_MR_MAX * OTO_HEAD_MAX];
    _Alignas(64) float row[OTO_HEAD_MAX];
    float by[OTO_MR_MAX], total[OTO_MR_MAX];
    const int unit = bits == 8 ? 255 : 16383, parts = bits <= mm->bits ? 1 : 2;

    for (int i = 0; i < m; i++)
        by[i] = scale * mm->prepare(q + (size_t)i * ldq, d, qa + (size_t)i * ldq8);
    oto_begin_tiles(mm);
    multiply(mm, m, h.panels, d / 4, NULL, qa, ldq8, h.k, channels * OTO_PANEL, c, ld);
    for (int i = 0; i < m; i++) {
        const oto_weigh w = {.sums = c + (size_t)i * ld,
                             .offset = h.k_sum,
                             .scale = h.k_scale,
                             .by = by[i],
                             .more = by[i] > 0 ? LN_THIN / by[i] : 0,
                             .scores = scores,
                             .n = t,
                             .n_pad = h.t_pad,
                             .thin_from = *h.thin_from,
                             .unit = (float)unit,
                             .parts = parts};
        total[i] = impl->weigh(&w, p + (size_t)parts * (size_t)i * ldp);
    }
    add_values(mm, &h, parts * m, parts, unit, p, ldp, p + 2 * whole * ldp, out_sums);
    oto_end_tiles(mm);
    for (int i = 0; i < m; i++) {
        for (int j = 0; j < d; j++) /* rounded once, whatever the parts */
            row[j] = (float)out_sums[(size_t)i * channels + (size_t)j] * h.v_scale[j];
        impl->scale(row, d, 1 / total[i], out + (size_t)i * ldo);
    }
}

/* ---- an encoder ---- */

typedef struct {
    oto_pool *pool;
    const char *kv8;
    const float *q;
    size_t ldq, ldo;
    float *out, scale;
    int t, d, m, block, blocks;
} rows8;

/* Rows of one head. */
static void attend_rows(const rows8 *r, int thread, int head, int first, int last)
{
    const size_t column = (size_t)head * (size_t)r->d;
    size_t room;
    void *work = oto_pool_scratch(r->pool, thread, &room);

    assert(oto_attend8_bytes(r->t, r->d, r->block) <= room);
    for (int i = first; i < last; i += r->block)
        oto_attend8(r->kv8 + oto_kv8_bytes(r->t, r->d) * (size_t)head, r->t, r->d,
                    r->q + (size_t)i * r->ldq + column, r->ldq, OTO_MIN(r->block, last - i),
                    r->scale, 8, r->out + (size_t)i * r->ldo + column, r->ldo, work);
}

void oto_kv8_attend_rows(oto_pool *pool, int thread, const void *kv8, int t, int n_heads, int d,
                         const float *q, size_t ldq, int m, float scale, float *out, size_t ldo)
{
    const rows8 r = {.pool = pool,
                     .kv8 = kv8,
                     .q = q,
                     .ldq = ldq,
                     .ldo = ldo,
                     .out = out,
                     .scale = scale,
                     .t = t,
                     .d = d,
                     .block = oto_k()->impl->mm[OTO_I8].mr};

    for (int h = 0; h < n_heads; h++)
        attend_rows(&r, thread, h, 0, m);
}

static void attend_task(void *arg, int task, int thread)
{
    const rows8 *r = arg;
    const int first = task % r->blocks * r->block;

    attend_rows(r, thread, task / r->blocks, first, OTO_MIN(first + r->block, r->m));
}

void oto_kv8_attend(oto_pool *pool, const void *kv8, int t, int n_heads, int d, const float *q,
                    size_t ldq, int m, float scale, float *out, size_t ldo)
{
    rows8 r = {.pool = pool,
               .kv8 = kv8,
               .q = q,
               .ldq = ldq,
               .ldo = ldo,
               .out = out,
               .scale = scale,
               .t = t,
               .d = d,
               .m = m,
               .block = oto_k()->impl->mm[OTO_I8].mr};

    r.blocks = (m + r.block - 1) / r.block;
    oto_pool_run(pool, n_heads * r.blocks, attend_task, &r);
}
