/* sanm: a stack of SAN-M blocks over several sequences at once.
 *
 * Between two blocks' attentions everything is done row by row, so a task carries some rows all the
 * way: the output of attention, the feed-forward layer, and the next block's norm and projection,
 * whose result the others need. Threads meet three times in a block: when keys and values are
 * packed, when attention and memory are done, and when all rows are carried. */
#include "models/layers.h"

#include <math.h>
#include <string.h>

#define NAME_SIZE 160
#define ROWS      96 /* at most, that a task carries: its insides stay in the second-level cache */
#define TILE      12

/* ---- packing and binding ---- */

static const char *part(char out[NAME_SIZE], const char *prefix, const char *name)
{
    snprintf(out, NAME_SIZE, "%s.%s", prefix, name);
    return out;
}

int oto_sanm_pack(const oto_weights *src, oto_gguf_writer *dst, const char *prefix,
                  const oto_sanm_dims *s, int in, oto_arena *a, oto_err *e)
{
    char n[NAME_SIZE];
    int rc;

    if ((rc = oto_norm_pack(src, dst, part(n, prefix, "norm1"), in, a, e)) != 0 ||
        (rc = oto_norm_pack(src, dst, part(n, prefix, "norm2"), s->d, a, e)) != 0 ||
        (rc = oto_dense_pack(src, dst, part(n, prefix, "self_attn.linear_q_k_v"), s->type, 3 * s->d,
                             in, true, a, e)) != 0 ||
        (rc = oto_dense_pack(src, dst, part(n, prefix, "self_attn.linear_out"), s->type, s->d, s->d,
                             true, a, e)) != 0 ||
        (rc = oto_taps_pack(src, dst, part(n, prefix, "self_attn.fsmn_block.weight"), s->n_taps,
                            s->d, a, e)) != 0 ||
        (rc = oto_dense_pack(src, dst, part(n, prefix, "feed_forward.w_1"), s->type, s->ffn, s->d,
                             true, a, e)) != 0)
        return rc;
    return oto_dense_pack(src, dst, part(n, prefix, "feed_forward.w_2"), s->type, s->d, s->ffn,
                          true, a, e);
}

int oto_sanm_bind(const oto_weights *w, const char *prefix, const oto_sanm_dims *s, int in,
                  oto_sanm_layer *out, oto_err *e)
{
    char n[NAME_SIZE];
    int rc;

    out->in = in;
    if ((rc = oto_norm_bind(w, part(n, prefix, "norm1"), in, s->eps, &out->norm1, e)) != 0 ||
        (rc = oto_norm_bind(w, part(n, prefix, "norm2"), s->d, s->eps, &out->norm2, e)) != 0 ||
        (rc = oto_dense_bind(w, part(n, prefix, "self_attn.linear_q_k_v"), s->type, 3 * s->d, in,
                             true, &out->qkv, e)) != 0 ||
        (rc = oto_dense_bind(w, part(n, prefix, "self_attn.linear_out"), s->type, s->d, s->d, true,
                             &out->out, e)) != 0 ||
        (rc = oto_get_vector(w, part(n, prefix, "self_attn.fsmn_block.weight"),
                             (int64_t)s->n_taps * s->d, &out->taps, e)) != 0 ||
        (rc = oto_dense_bind(w, part(n, prefix, "feed_forward.w_1"), s->type, s->ffn, s->d, true,
                             &out->w1, e)) != 0)
        return rc;
    return oto_dense_bind(w, part(n, prefix, "feed_forward.w_2"), s->type, s->d, s->ffn, true,
                          &out->w2, e);
}

/* ---- buffers ---- */

enum { PIECES = 7 };

/* The kernels in 8 bits know no smaller heads; where heads are small there is little to gain. */
static bool in_8_bits(const oto_sanm_dims *d)
{
    return d->type == OTO_I8 && d->d / d->heads >= 64;
}

typedef struct {
    void *ptr; /* of a pointer */
    size_t n, size;
} piece;

static void list_pieces(oto_sanm *s, piece p[PIECES])
{
    const oto_sanm_dims *d = &s->dims;
    const size_t rows = (size_t)s->max_rows, in = (size_t)d->in,
                 wide = (size_t)OTO_MAX(d->in, d->d);
    const size_t kv8 =
        in_8_bits(d) ? (size_t)d->heads * oto_kv8_bytes(s->max_rows, d->d / d->heads) : 64;

    p[0] = (piece){&s->in, rows * in, sizeof(float)};
    p[1] = (piece){&s->x, rows * (size_t)d->d, sizeof(float)};
    p[2] = (piece){&s->h, rows * wide, sizeof(float)};
    p[3] = (piece){&s->big, rows * (size_t)OTO_MAX(3 * d->d, d->ffn), sizeof(float)};
    p[4] = (piece){&s->inside, (rows + TILE) * (size_t)d->ffn, sizeof(float)};
    p[5] = (piece){&s->place, rows * in, sizeof(float)};
    p[6] = (piece){&s->kv8, kv8, 1};
}

size_t oto_sanm_bytes(const oto_sanm_dims *dims, int max_rows)
{
    oto_sanm s = {.dims = *dims, .max_rows = max_rows};
    piece p[PIECES];
    size_t total = 0;

    list_pieces(&s, p);
    for (int i = 0; i < PIECES; i++)
        total += (p[i].n * p[i].size + 127) / 64 * 64;
    return total;
}

/* First half sines, second half cosines, positions from 1 (FunASR SinusoidalPositionEncoder). */
static void fill_places(oto_sanm *s)
{
    const int half = s->dims.in / 2;

    for (int t = 0; t < s->max_rows; t++)
        for (int i = 0; i < half; i++) {
            const double r = (t + 1) * exp(-i * log(10000.0) / (half - 1));
            float *row = s->place + (size_t)t * (size_t)s->dims.in;

            row[i] = (float)sin(r);
            row[half + i] = (float)cos(r);
        }
}

int oto_sanm_new(const oto_sanm_dims *dims, int max_rows, oto_pool *pool, oto_arena *a,
                 oto_sanm *out, oto_err *e)
{
    piece p[PIECES];
    int rc = 0;

    *out = (oto_sanm){.dims = *dims, .pool = pool, .max_rows = max_rows};
    list_pieces(out, p);
    for (int i = 0; i < PIECES && rc == 0; i++)
        rc = oto_arena_get(a, p[i].n, p[i].size, p[i].ptr, e);
    if (rc == 0)
        fill_places(out);
    return rc;
}

void oto_sanm_place(oto_sanm *s)
{
    const size_t width = (size_t)s->dims.in;
    const float by = sqrtf((float)s->dims.d);
    float *x = s->in;

    for (int i = 0, t = 0; i < s->n_seq; i++) {
        const int first = t;

        for (; t < s->end[i]; t++)
            for (size_t c = 0; c < width; c++, x++)
                *x = *x * by + s->place[(size_t)(t - first) * width + c];
    }
}

/* ---- attention ---- */

void oto_sanm_attend(oto_sanm *s, const float *q, size_t ldq, int m, const float *k, const float *v,
                     size_t ldkv, int t, float *out)
{
    const int heads = s->dims.heads, d = s->dims.d / heads;
    const float scale = 1 / sqrtf((float)d);

    if (in_8_bits(&s->dims)) {
        oto_kv8_pack(s->pool, k, v, ldkv, t, t, heads, d, s->kv8);
        oto_kv8_attend(s->pool, s->kv8, t, heads, d, q, ldq, m, scale, out, (size_t)s->dims.d);
        return;
    }
    oto_attention_run(s->pool,
                      &(oto_attention){.q = q,
                                       .k = k,
                                       .v = v,
                                       .ldq = ldq,
                                       .ldkv = ldkv,
                                       .m = m,
                                       .t = t,
                                       .n_heads = heads,
                                       .d = d,
                                       .type = s->dims.type == OTO_I8 ? OTO_F32 : s->dims.type,
                                       .scale = scale,
                                       .out = out,
                                       .ldo = (size_t)s->dims.d});
}

/* ---- blocks ---- */

typedef struct {
    oto_sanm *s;
    const oto_sanm_layer *layer; /* to finish, or NULL */
    const oto_sanm_layer *next;  /* whose queries, keys and values come next, or NULL */
    const oto_norm *last;        /* instead of it */
    const float *from;           /* what `next` reads */
    int n, rows;
    bool by_thread; /* insides: one for each thread, else for each task */
} carry;

static void carry_task(void *arg, int task, int thread)
{
    const carry *c = arg;
    const oto_sanm *s = c->s;
    const size_t d = (size_t)s->dims.d, row = (size_t)task * (size_t)c->rows;
    const int n = OTO_MIN(c->rows, c->n - (int)row);
    float *x = s->x + row * d;

    if (c->layer != NULL) {
        const oto_sanm_layer *l = c->layer;
        float *h = s->h + row * d;
        const size_t slot = (size_t)(c->by_thread ? thread : task);
        float *inside = s->inside + slot * (size_t)c->rows * (size_t)s->dims.ffn;

        oto_dense_rows(s->pool, thread, &l->out, h, n, OTO_ACT_NONE, x, x);
        oto_layer_norm_rows(x, d, l->norm2.g, l->norm2.b, l->norm2.eps, n, s->dims.d, h, d);
        oto_dense_rows(s->pool, thread, &l->w1, h, n, OTO_ACT_RELU, NULL, inside);
        oto_dense_rows(s->pool, thread, &l->w2, inside, n, OTO_ACT_NONE, x, x);
    }
    if (c->next != NULL) {
        const size_t in = (size_t)c->next->in;
        const oto_norm *norm = &c->next->norm1;
        float *h = s->h + row * in;

        oto_layer_norm_rows(c->from + row * in, in, norm->g, norm->b, norm->eps, n, norm->n, h, in);
        oto_dense_rows(s->pool, thread, &c->next->qkv, h, n, OTO_ACT_NONE, NULL,
                       s->big + row * 3 * d);
    } else {
        oto_layer_norm_rows(x, d, c->last->g, c->last->b, c->last->eps, n, c->last->n, x, d);
    }
}

/* Blocks of equal size, as many for each thread. */
static int carried_rows(int n, int threads)
{
    const int blocks = (n + threads * ROWS - 1) / (threads * ROWS) * threads;

    return OTO_MIN(((n + blocks - 1) / blocks + TILE - 1) / TILE * TILE, ROWS);
}

#define MEMORY_ROWS 32

typedef struct {
    const oto_sanm *s;
    const oto_sanm_layer *layer;
    const float *v; /* of the sequence */
    float *x;
    int n;
} memory;

static void memory_task(void *arg, int task, int thread)
{
    const memory *m = arg;
    const oto_sanm_dims *d = &m->s->dims;
    const int from = task * MEMORY_ROWS, to = OTO_MIN(from + MEMORY_ROWS, m->n);

    (void)thread;
    if (m->layer->in != d->d)
        memset(m->x + (size_t)from * (size_t)d->d, 0,
               (size_t)(to - from) * (size_t)d->d * sizeof *m->x);
    oto_memory_rows(m->layer->taps, d->n_taps, d->left, m->v, 3 * (size_t)d->d, m->n, d->d, from,
                    to, m->x);
}

/* The rows [from, to) of a sequence over its first t rows. */
static void attend_rows(oto_sanm *s, const float *qkv, int from, int to, int t, float *out)
{
    const size_t d = (size_t)s->dims.d, ld = 3 * d;

    if (to > from)
        oto_sanm_attend(s, qkv + (size_t)from * ld, ld, to - from, qkv + d, qkv + 2 * d, ld, t,
                        out + (size_t)from * d);
}

/* Each row over what it sees. */
static void attend_masked(oto_sanm *s, const float *qkv, int n, bool last, float *out)
{
    const int apart = last && s->pause > 0 && s->pause < n ? s->pause - 1 : 0;

    for (int i = 0; i < n && !last; i++)
        attend_rows(s, qkv, i, i + 1, i + 1, out);
    if (last) {
        attend_rows(s, qkv, 0, apart, s->pause, out);
        attend_rows(s, qkv, apart, n, n, out);
    }
}

/* h = attention, x = memory, plus x where the block is as wide as what it reads. */
static void attend(oto_sanm *s, const oto_sanm_layer *layer, bool last)
{
    const size_t d = (size_t)s->dims.d;

    for (int i = 0; i < s->n_seq; i++) {
        const int first = i > 0 ? s->end[i - 1] : 0, n = s->end[i] - first;
        const float *qkv = s->big + (size_t)first * 3 * d;
        memory m = {
            .s = s, .layer = layer, .v = qkv + 2 * d, .x = s->x + (size_t)first * d, .n = n};

        if (n == 0)
            continue;
        if (s->looks_back)
            attend_masked(s, qkv, n, last, s->h + (size_t)first * d);
        else
            attend_rows(s, qkv, 0, n, n, s->h + (size_t)first * d);
        oto_pool_run(s->pool, (n + MEMORY_ROWS - 1) / MEMORY_ROWS, memory_task, &m);
    }
}

bool oto_sanm_run(oto_sanm *s, const oto_sanm_layer *layers, int n_layers, bool first,
                  const oto_norm *last)
{
    const int n = s->end[s->n_seq - 1], threads = oto_pool_threads(s->pool);
    carry c = {.s = s, .last = last, .n = n};

    if (n == 0)
        return true;
    if (first && layers[0].in == s->dims.d) /* its residual */
        memcpy(s->x, s->in, (size_t)n * (size_t)s->dims.d * sizeof *s->x);
    c.rows = carried_rows(n, threads);
    c.by_thread = threads * c.rows <= s->max_rows;
    for (int i = 0; i <= n_layers; i++) {
        c.layer = i > 0 ? &layers[i - 1] : NULL;
        c.next = i < n_layers ? &layers[i] : NULL;
        c.from = i == 0 && first ? s->in : s->x;
        if (oto_stopped(&s->stop))
            return false;
        oto_pool_run(s->pool, (n + c.rows - 1) / c.rows, carry_task, &c);
        if (c.next != NULL)
            attend(s, c.next, i > 0 && i + 1 == n_layers);
    }
    return true;
}
