/* The network of Paraformer, over the windows of a group at once. */
#include "models/paraformer/paraformer.h"

#include <math.h>
#include <string.h>

/* ---- buffers ---- */

enum { PIECES = 10 };

typedef struct {
    void *ptr; /* of a pointer */
    size_t n, size;
} piece;

static void list_pieces(pf_network *s, const paraformer *m, int max_windows, piece p[PIECES])
{
    const size_t rows = PF_ROWS, windows = (size_t)max_windows;

    p[0] = (piece){&s->alpha, rows + windows, sizeof(float)};
    p[1] = (piece){&s->e, (rows + 2) * PF_D, sizeof(float)};
    p[2] = (piece){&s->t, rows * PF_D, sizeof(float)};
    p[3] = (piece){&s->q, rows * PF_D, sizeof(float)};
    p[4] = (piece){&s->wide, rows * (size_t)OTO_MAX(m->dec_ffn, 2 * PF_D), sizeof(float)};
    p[5] = (piece){&s->logits, PF_LOGITS * (size_t)m->n_vocab, sizeof(float)};
    p[6] = (piece){&s->ids, rows, sizeof(int32_t)};
    p[7] = (piece){&s->log_prob, rows, sizeof(float)};
    p[8] = (piece){&s->fire, rows + 2, sizeof(int)};
    p[9] = (piece){&s->n_rows, 2 * windows, sizeof(int)};
}

size_t oto_pf_network_bytes(const paraformer *m, int max_windows)
{
    pf_network s;
    piece p[PIECES];
    size_t total = oto_sanm_bytes(&m->sanm, PF_ROWS);

    list_pieces(&s, m, max_windows, p);
    for (int i = 0; i < PIECES; i++)
        total += (p[i].n * p[i].size + 127) / 64 * 64;
    return total;
}

int oto_pf_network_new(const paraformer *m, int max_windows, oto_pool *pool, oto_arena *a,
                       pf_network *out, oto_err *e)
{
    piece p[PIECES];
    int rc;

    *out = (pf_network){.m = m, .pool = pool};
    list_pieces(out, m, max_windows, p);
    rc = oto_sanm_new(&m->sanm, PF_ROWS, pool, a, &out->sanm, e);
    for (int i = 0; i < PIECES && rc == 0; i++)
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
    return whole >= 0 ? OTO_MIN(tokens, (int)floorf(whole)) : 0; /* not a number: nothing */
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

void oto_pf_encode(pf_network *s, int n)
{
    int tokens = 0;

    s->sanm.n_seq = n;
    oto_sanm_place(&s->sanm);
    oto_sanm_run(&s->sanm, s->m->enc, s->m->n_enc, true, &s->m->enc_norm);
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
}

/* ---- decoder ---- */

/* t = w2(inner(relu(w1(norm1(x))))) */
static void feed_forward(pf_network *s, const pf_decoder_layer *l, int n)
{
    oto_norm_run(s->pool, &l->norm1, s->e, n, s->t);
    oto_dense_run(s->pool, &l->w1, s->t, n, OTO_ACT_RELU, NULL, s->wide);
    oto_norm_run(s->pool, &l->inner, s->wide, n, s->wide);
    oto_dense_run(s->pool, &l->w2, s->wide, n, OTO_ACT_NONE, NULL, s->t);
}

/* x += attention of its tokens to the rows of each window */
static void attend(pf_network *s, const pf_decoder_layer *l, int windows, int n)
{
    const int rows = s->n_rows[windows - 1];

    oto_norm_run(s->pool, &l->norm3, s->e, n, s->t);
    oto_dense_run(s->pool, &l->q, s->t, n, OTO_ACT_NONE, NULL, s->q);
    oto_dense_run(s->pool, &l->kv, s->sanm.x, rows, OTO_ACT_NONE, NULL, s->wide);
    for (int i = 0; i < windows; i++) {
        const int row = i > 0 ? s->n_rows[i - 1] : 0, token = i > 0 ? s->n_tokens[i - 1] : 0;
        const float *kv = s->wide + (size_t)row * 2 * PF_D;

        if (s->n_tokens[i] > token)
            oto_sanm_attend(&s->sanm, s->q + (size_t)token * PF_D, PF_D, s->n_tokens[i] - token, kv,
                            kv + PF_D, 2 * PF_D, s->n_rows[i] - row, s->t + (size_t)token * PF_D);
    }
    oto_dense_run(s->pool, &l->out, s->t, n, OTO_ACT_NONE, s->e, s->e);
}

/* x += t + memory of t over each window's tokens */
static void remember(pf_network *s, const pf_decoder_layer *l, int windows, int n)
{
    oto_norm_run(s->pool, &l->norm2, s->t, n, s->t);
    for (int i = 0; i < windows; i++) {
        const int from = i > 0 ? s->n_tokens[i - 1] : 0;
        const size_t at = (size_t)from * PF_D;

        oto_memory_rows(l->taps, PF_TAPS, PF_TAPS / 2, s->t + at, PF_D, s->n_tokens[i] - from, PF_D,
                        0, s->n_tokens[i] - from, s->e + at);
    }
}

static void pick(pf_network *s, int n)
{
    const int n_vocab = s->m->n_vocab;

    for (int from = 0; from < n; from += PF_LOGITS) {
        const int rows = OTO_MIN(PF_LOGITS, n - from);

        oto_dense_run(s->pool, &s->m->out, s->t + (size_t)from * PF_D, rows, OTO_ACT_NONE, NULL,
                      s->logits);
        for (int i = 0; i < rows; i++) {
            const float *row = s->logits + (size_t)i * (size_t)n_vocab;
            const int best = oto_k()->argmax_f32(row, n_vocab);

            s->ids[from + i] = best;
            s->log_prob[from + i] = row[best] - oto_k()->logsumexp_f32(row, n_vocab);
        }
    }
}

void oto_pf_decode(pf_network *s, int windows)
{
    const paraformer *m = s->m;
    const int n = s->n_tokens[windows - 1];

    if (n == 0)
        return;
    for (int i = 0; i < m->n_dec; i++) {
        feed_forward(s, &m->dec[i], n);
        remember(s, &m->dec[i], windows, n);
        attend(s, &m->dec[i], windows, n);
    }
    feed_forward(s, &m->dec[m->n_dec], n);
    oto_norm_run(s->pool, &m->dec_norm, s->t, n, s->t);
    pick(s, n);
}
