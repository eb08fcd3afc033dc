/* The network of Paraformer, over the windows of a group at once. */
#include "models/paraformer/paraformer.h"

#include <assert.h>
#include <math.h>
#include <string.h>

/* ---- buffers ---- */

enum { PIECES = 40 };

typedef struct {
    void *ptr; /* of a pointer */
    size_t n, size;
} piece;

/* How wide a row of `wide` is: feed-forward layers, keys and values, three steps of a row, gates.
 */
static size_t widest(const paraformer *m)
{
    int n = OTO_MAX(m->dec.ffn, 2 * PF_D);

    if (m->has_times)
        n = OTO_MAX(n, PF_UP * PF_D);
    if (m->hot.kind != PF_HOT_NONE)
        n = OTO_MAX(n, OTO_MAX(m->hot.dec.ffn, 4 * PF_D));
    return (size_t)n;
}

static int list_timer(pf_timer *t, size_t windows, piece *p)
{
    const size_t steps = PF_UP * PF_ROWS;
    int n = 0;

    for (int i = 0; i < 2; i++) {
        p[n++] = (piece){&t->gates[i], windows * PF_TIME_STEPS * 4 * PF_D, sizeof(float)};
        p[n++] = (piece){&t->h[i], windows * PF_D, sizeof(float)};
        p[n++] = (piece){&t->c[i], windows * PF_D, sizeof(float)};
        p[n++] = (piece){&t->z[i], steps, sizeof(float)};
    }
    p[n++] = (piece){&t->alpha, steps, sizeof(float)};
    p[n++] = (piece){&t->fire, steps, sizeof(int)};
    p[n++] = (piece){&t->order, windows, sizeof(int)};
    return n;
}

static int list_hot(pf_hot *h, size_t windows, piece *p)
{
    const size_t rows = PF_HOT_ROWS;
    int n = 0;

    for (int i = 0; i < PF_HOT_LISTS; i++) {
        p[n++] = (piece){&h->lists[i].text, PF_HOT_BYTES, 1};
        p[n++] = (piece){&h->lists[i].rows, rows * PF_D, sizeof(float)};
    }
    p[n++] = (piece){&h->none.rows, PF_D, sizeof(float)};
    p[n++] = (piece){&h->ids, rows * PF_HOT_TOKENS, sizeof(int32_t)};
    p[n++] = (piece){&h->lengths, rows, sizeof(int)};
    p[n++] = (piece){&h->order, OTO_MAX(rows, windows), sizeof(int)};
    p[n++] = (piece){&h->score, rows, sizeof(float)};
    p[n++] = (piece){&h->kept, (PF_HOT_KEPT + 1) * PF_D, sizeof(float)};
    p[n++] = (piece){&h->e0, PF_ROWS * PF_D, sizeof(float)};
    p[n++] = (piece){&h->hidden, PF_ROWS * PF_D, sizeof(float)};
    return n;
}

static int list_pieces(pf_network *s, const paraformer *m, int max_windows, piece p[PIECES])
{
    const size_t rows = PF_ROWS, windows = (size_t)max_windows;
    int n = 0;

    p[n++] = (piece){&s->alpha, rows + windows, sizeof(float)};
    p[n++] = (piece){&s->e, (rows + 2) * PF_D, sizeof(float)};
    p[n++] = (piece){&s->t, rows * PF_D, sizeof(float)};
    p[n++] = (piece){&s->q, rows * PF_D, sizeof(float)};
    p[n++] = (piece){&s->wide, rows * widest(m), sizeof(float)};
    p[n++] = (piece){&s->logits, PF_LOGITS * (size_t)m->n_vocab, sizeof(float)};
    p[n++] = (piece){&s->ids, rows, sizeof(int32_t)};
    p[n++] = (piece){&s->log_prob, rows, sizeof(float)};
    p[n++] = (piece){&s->fire, rows + 2, sizeof(int)};
    p[n++] = (piece){&s->n_rows, 2 * windows, sizeof(int)};
    if (m->has_times)
        n += list_timer(&s->timer, windows, p + n);
    if (m->hot.kind != PF_HOT_NONE)
        n += list_hot(&s->hot, windows, p + n);
    assert(n <= PIECES);
    return n;
}

size_t oto_pf_network_bytes(const paraformer *m, int max_windows)
{
    pf_network s;
    piece p[PIECES];
    size_t total = oto_sanm_bytes(&m->sanm, PF_ROWS);
    const int n = list_pieces(&s, m, max_windows, p);

    for (int i = 0; i < n; i++)
        total += (p[i].n * p[i].size + 127) / 64 * 64;
    return total;
}

int oto_pf_network_new(const paraformer *m, int max_windows, oto_pool *pool, oto_arena *a,
                       pf_network *out, oto_err *e)
{
    piece p[PIECES];
    int rc, n;

    *out = (pf_network){.m = m, .pool = pool};
    n = list_pieces(out, m, max_windows, p);
    rc = oto_sanm_new(&m->sanm, PF_ROWS, pool, a, &out->sanm, e);
    for (int i = 0; i < n && rc == 0; i++)
        rc = oto_arena_get(a, p[i].n, p[i].size, p[i].ptr, e);
    out->n_tokens = out->n_rows + max_windows;
    out->sanm.end = out->n_rows;
    return rc;
}

/* ---- encoder and predictor ---- */

/* Integrate and fire: rows are added up by their weights; each time the sum of weights passes an
 * integer, a token is complete, and the row's rest opens the next. Behind the last row stands one
 * of zeros. Returns the number of tokens; rows of `out` beyond them are scratch. */
static int integrate(const float *h, const float *alpha, int n, float *out, int *fire)
{
    double total = 0;
    float whole = 0; /* Σ alpha as PyTorch sums it */
    float before = 0;
    int tokens = 0;

    memset(out, 0, PF_D * sizeof *out);
    for (int t = 0; t <= n; t++) {
        const float *row = h + (size_t)t * PF_D;
        float *now = out + (size_t)tokens * PF_D, sum;

        total += alpha[t];
        whole += alpha[t];
        sum = (float)total;
        if (floorf(sum) > floorf(before)) {
            const float rest = sum - floorf(sum), use = alpha[t] - rest;
            float *next = now + PF_D;

            for (int c = 0; c < PF_D && t < n; c++)
                now[c] += use * row[c];
            fire[tokens++] = t;
            if (t < n)
                for (int c = 0; c < PF_D; c++)
                    next[c] = rest * row[c];
        } else {
            for (int c = 0; c < PF_D && t < n; c++)
                now[c] += alpha[t] * row[c];
        }
        before = sum;
    }
    /* Not a number: nothing. Weights of 1 whose sum is rounded up give no more tokens than rows. */
    return whole >= 0 ? OTO_MIN(OTO_MIN(tokens, n), (int)floorf(whole)) : 0;
}

static void weigh(pf_network *s, const float *h, int n, float *alpha)
{
    const paraformer *m = s->m;

    oto_conv3_run(s->pool, &(oto_conv3){.w = &m->cif_conv.w,
                                        .x = h,
                                        .t_in = n,
                                        .c_in = PF_D,
                                        .stride = 1,
                                        .bias = m->cif_conv.b,
                                        .act = OTO_ACT_RELU,
                                        .y = s->sanm.h});
    for (int t = 0; t < n; t++) {
        const float z =
            oto_k()->dot_f32(s->sanm.h + (size_t)t * PF_D, m->cif_out, PF_D) + m->cif_bias;

        alpha[t] = 1 / (1 + expf(-z));
    }
    alpha[n] = m->tail;
}

bool oto_pf_encode(pf_network *s, int n)
{
    int tokens = 0;

    s->sanm.n_seq = n;
    oto_sanm_place(&s->sanm);
    if (!oto_sanm_run(&s->sanm, s->m->enc, s->m->n_enc, true, &s->m->enc_norm))
        return false;
    for (int i = 0; i < n; i++) {
        const int first = i > 0 ? s->n_rows[i - 1] : 0, rows = s->n_rows[i] - first;
        const float *h = s->sanm.x + (size_t)first * PF_D;
        float *alpha = s->alpha + first + i;

        if (rows > 0)
            weigh(s, h, rows, alpha);
        tokens += rows == 0
                      ? 0
                      : integrate(h, alpha, rows, s->e + (size_t)tokens * PF_D, s->fire + tokens);
        s->n_tokens[i] = tokens;
    }
    return true;
}

/* ---- decoder ---- */

bool oto_pf_decode(pf_network *s, int windows)
{
    const paraformer *m = s->m;
    const int n = s->n_tokens[windows - 1];
    const size_t bytes = (size_t)n * PF_D * sizeof(float);
    const pf_memory h = {.rows = s->sanm.x, .n = s->n_rows[windows - 1], .end = s->n_rows};
    const bool second = m->hot.kind == PF_HOT_SEACO && s->hot.now != NULL;

    if (n == 0)
        return true;
    if (second)
        memcpy(s->hot.e0, s->e, bytes);
    if (!oto_pf_decoder_run(s, &m->dec, &h, s->n_tokens, windows, s->e))
        return false;
    if (second)
        memcpy(s->hot.hidden, s->t, bytes);
    oto_pf_pick(s, &m->out, 0, n, -1);
    return !second || oto_pf_seaco_run(s, windows);
}
