/* Decoders of Paraformer: the main one, which attends to the encoder's rows, and that of hot words,
 * which attends to their embeddings. A layer (FunASR funasr/models/paraformer/decoder.py):
 *
 *   t = norm2(w2(inner(relu(w1(norm1(x))))))      feed-forward first, and not added to x
 *   x = x + t + Σ_j taps[j] t[i - left + j]        memory over the window's tokens
 *   x = x + attention of norm3(x) to the memory rows
 *
 * and in the end decoders3, a feed-forward layer that replaces x, and a norm. The last layer of a
 * contextual decoder has a name of its own, and attends to words, too (contextual.c). */
#include "models/paraformer/paraformer.h"

#define NAME_SIZE 128

/* ---- packing ---- */

static int count_taps(const oto_weights *src, const char *name, int *out, oto_err *e)
{
    const oto_tensor *t = oto_weights_find(src, name);
    int64_t taps;

    if (t == NULL)
        return oto_fail(e, OTO_E_INPUT, "%s: tensor %s is missing", oto_weights_path(src), name);
    taps = oto_tensor_rows(t) == PF_D ? oto_tensor_row_len(t) : oto_tensor_rows(t);
    if (taps < 1 || taps > 63 || taps % 2 == 0)
        return oto_fail(e, OTO_E_UNSUPPORTED, "%s: tensor %s is %lld x %lld", oto_weights_path(src),
                        name, (long long)oto_tensor_rows(t), (long long)oto_tensor_row_len(t));
    *out = (int)taps;
    return 0;
}

static void layer_name(char out[64], const pf_decoder *d, const char *prefix, int i)
{
    if (d->contextual && i == d->n - 1)
        snprintf(out, 64, "%.40s.last_decoder", prefix);
    else
        snprintf(out, 64, "%.40s.decoders.%d", prefix, i);
}

int oto_pf_decoder_sizes(const oto_weights *src, const char *prefix, pf_decoder *d, oto_err *e)
{
    char n[NAME_SIZE], first[64];
    int rc;

    snprintf(n, sizeof n, "%s.decoders.#.norm1.weight", prefix);
    d->n = oto_count_layers(src, n) + d->contextual;
    layer_name(first, d, prefix, 0);
    snprintf(n, sizeof n, "%s.feed_forward.w_1.weight", first);
    if ((rc = oto_count_rows(src, n, 16, 1 << 14, &d->ffn, e)) != 0)
        return rc;
    snprintf(n, sizeof n, "%s.self_attn.fsmn_block.weight", first);
    if ((rc = count_taps(src, n, &d->n_taps, e)) != 0)
        return rc;
    snprintf(n, sizeof n, "%s.decoders2.0.norm1.weight", prefix);
    if (oto_weights_find(src, n) != NULL)
        return oto_fail(e, OTO_E_UNSUPPORTED, "%s: layers of %s without attention (%s)",
                        oto_weights_path(src), prefix, n);
    if (d->n > PF_MAX_DEC)
        return oto_fail(e, OTO_E_INPUT, "%s: %d layers of %s are too many", oto_weights_path(src),
                        d->n, prefix);
    return 0;
}

typedef struct {
    const oto_weights *src;
    oto_gguf_writer *dst;
    const pf_decoder *d;
    oto_dtype type;
    oto_arena *a;
    oto_err *e;
} packer;

static int pack_feed_forward(const packer *p, const char *prefix)
{
    char n[NAME_SIZE];
    int rc;

    snprintf(n, sizeof n, "%s.norm1", prefix);
    if ((rc = oto_norm_pack(p->src, p->dst, n, PF_D, p->a, p->e)) != 0)
        return rc;
    snprintf(n, sizeof n, "%s.feed_forward.w_1", prefix);
    if ((rc = oto_dense_pack(p->src, p->dst, n, p->type, p->d->ffn, PF_D, true, p->a, p->e)) != 0)
        return rc;
    snprintf(n, sizeof n, "%s.feed_forward.norm", prefix);
    if ((rc = oto_norm_pack(p->src, p->dst, n, p->d->ffn, p->a, p->e)) != 0)
        return rc;
    snprintf(n, sizeof n, "%s.feed_forward.w_2", prefix);
    return oto_dense_pack(p->src, p->dst, n, p->type, PF_D, p->d->ffn, false, p->a, p->e);
}

static int pack_layer(const packer *p, const char *name, int i)
{
    char prefix[64], n[NAME_SIZE];
    int rc;

    layer_name(prefix, p->d, name, i);
    if ((rc = pack_feed_forward(p, prefix)) != 0)
        return rc;
    snprintf(n, sizeof n, "%s.norm2", prefix);
    if ((rc = oto_norm_pack(p->src, p->dst, n, PF_D, p->a, p->e)) != 0 ||
        (rc = oto_pf_attention_pack(p->src, p->dst, prefix, p->type, p->a, p->e)) != 0)
        return rc;
    snprintf(n, sizeof n, "%s.self_attn.fsmn_block.weight", prefix);
    return oto_taps_pack(p->src, p->dst, n, p->d->n_taps, PF_D, p->a, p->e);
}

int oto_pf_decoder_pack(const oto_weights *src, oto_gguf_writer *dst, const char *prefix,
                        const pf_decoder *d, oto_dtype type, oto_arena *a, oto_err *e)
{
    const packer p = {.src = src, .dst = dst, .d = d, .type = type, .a = a, .e = e};
    char n[NAME_SIZE];
    int rc = 0;

    for (int i = 0; i < d->n && rc == 0; i++)
        rc = pack_layer(&p, prefix, i);
    snprintf(n, sizeof n, "%s.decoders3.0", prefix);
    if (rc == 0)
        rc = pack_feed_forward(&p, n);
    snprintf(n, sizeof n, "%s.after_norm", prefix);
    if (rc == 0)
        rc = oto_norm_pack(src, dst, n, PF_D, a, e);
    return rc == 0 && d->contextual ? oto_pf_contextual_pack(src, dst, prefix, type, a, e) : rc;
}

/* ---- binding ---- */

typedef struct {
    const oto_weights *w;
    const pf_decoder *d;
    oto_dtype type;
    float eps;
    oto_err *e;
} binder;

static int bind_feed_forward(const binder *b, const char *prefix, pf_decoder_layer *l)
{
    char n[NAME_SIZE];
    int rc;

    snprintf(n, sizeof n, "%s.norm1", prefix);
    if ((rc = oto_norm_bind(b->w, n, PF_D, b->eps, &l->norm1, b->e)) != 0)
        return rc;
    snprintf(n, sizeof n, "%s.feed_forward.w_1", prefix);
    if ((rc = oto_dense_bind(b->w, n, b->type, b->d->ffn, PF_D, true, &l->w1, b->e)) != 0)
        return rc;
    snprintf(n, sizeof n, "%s.feed_forward.norm", prefix);
    if ((rc = oto_norm_bind(b->w, n, b->d->ffn, b->eps, &l->inner, b->e)) != 0)
        return rc;
    snprintf(n, sizeof n, "%s.feed_forward.w_2", prefix);
    return oto_dense_bind(b->w, n, b->type, PF_D, b->d->ffn, false, &l->w2, b->e);
}

static int bind_layer(const binder *b, const char *name, int i, pf_decoder_layer *l)
{
    char prefix[64], n[NAME_SIZE];
    int rc;

    layer_name(prefix, b->d, name, i);
    if ((rc = bind_feed_forward(b, prefix, l)) != 0)
        return rc;
    snprintf(n, sizeof n, "%s.norm2", prefix);
    if ((rc = oto_norm_bind(b->w, n, PF_D, b->eps, &l->norm2, b->e)) != 0 ||
        (rc = oto_pf_attention_bind(b->w, prefix, b->type, b->eps, &l->attention, b->e)) != 0)
        return rc;
    snprintf(n, sizeof n, "%s.self_attn.fsmn_block.weight", prefix);
    return oto_get_vector(b->w, n, (int64_t)b->d->n_taps * PF_D, &l->taps, b->e);
}

int oto_pf_decoder_bind(const oto_weights *w, const char *prefix, oto_dtype type, float eps,
                        oto_arena *a, pf_decoder *d, oto_err *e)
{
    const binder b = {.w = w, .d = d, .type = type, .eps = eps, .e = e};
    char n[NAME_SIZE];
    int rc = oto_arena_get(a, (size_t)d->n + 1, sizeof *d->layers, &d->layers, e);

    for (int i = 0; i < d->n && rc == 0; i++)
        rc = bind_layer(&b, prefix, i, &d->layers[i]);
    snprintf(n, sizeof n, "%s.decoders3.0", prefix);
    if (rc == 0)
        rc = bind_feed_forward(&b, n, &d->layers[d->n]);
    snprintf(n, sizeof n, "%s.after_norm", prefix);
    if (rc == 0)
        rc = oto_norm_bind(w, n, PF_D, eps, &d->norm, e);
    return rc == 0 && d->contextual ? oto_pf_contextual_bind(w, prefix, type, eps, &d->both, e)
                                    : rc;
}

/* ---- running ---- */

/* t = w2(inner(relu(w1(norm1(x))))) */
static void feed_forward(pf_network *s, const pf_decoder_layer *l, const float *x, int n)
{
    oto_norm_run(s->pool, &l->norm1, x, n, s->t);
    oto_dense_run(s->pool, &l->w1, s->t, n, OTO_ACT_RELU, NULL, s->wide);
    oto_norm_run(s->pool, &l->inner, s->wide, n, s->wide);
    oto_dense_run(s->pool, &l->w2, s->wide, n, OTO_ACT_NONE, NULL, s->t);
}

/* x += t + memory of t over each window's tokens */
static void remember(pf_network *s, const pf_decoder *d, const pf_decoder_layer *l, const int *end,
                     int windows, float *x)
{
    oto_norm_run(s->pool, &l->norm2, s->t, end[windows - 1], s->t);
    for (int i = 0; i < windows; i++) {
        const int from = i > 0 ? end[i - 1] : 0;
        const size_t at = (size_t)from * PF_D;

        oto_memory_rows(l->taps, d->n_taps, d->n_taps / 2, s->t + at, PF_D, end[i] - from, PF_D, 0,
                        end[i] - from, x + at);
    }
}

bool oto_pf_decoder_run(pf_network *s, const pf_decoder *d, const pf_memory *memory, const int *end,
                        int windows, float *x)
{
    const int n = end[windows - 1];

    for (int i = 0; i < d->n; i++) {
        const pf_decoder_layer *l = &d->layers[i];

        if (oto_stopped(&s->sanm.stop))
            return false;
        feed_forward(s, l, x, n);
        remember(s, d, l, end, windows, x);
        if (d->contextual && i == d->n - 1)
            oto_pf_contextual_run(s, d, memory, end, windows, x);
        else
            oto_pf_attention_run(s, &l->attention, memory, end, windows, x, x, x);
    }
    feed_forward(s, &d->layers[d->n], x, n);
    oto_norm_run(s->pool, &d->norm, s->t, n, s->t);
    return true;
}

void oto_pf_pick(pf_network *s, const oto_dense *out, int at, int n, int keep)
{
    const int n_vocab = s->m->n_vocab;

    for (int from = 0; from < n; from += PF_LOGITS) {
        const int rows = OTO_MIN(PF_LOGITS, n - from);

        oto_dense_run(s->pool, out, s->t + (size_t)from * PF_D, rows, OTO_ACT_NONE, NULL,
                      s->logits);
        for (int i = 0; i < rows; i++) {
            const float *row = s->logits + (size_t)i * (size_t)n_vocab;
            const int best = oto_k()->argmax_f32(row, n_vocab);

            if (best == keep)
                continue;
            s->ids[at + from + i] = best;
            s->log_prob[at + from + i] = row[best] - oto_k()->logsumexp_f32(row, n_vocab);
        }
    }
}

void oto_pf_decoder_scores(pf_network *s, const pf_decoder *d, int at, const pf_memory *memory,
                           int n, float *x, float *score)
{
    for (int i = 0; i <= at; i++) {
        feed_forward(s, &d->layers[i], x, n);
        remember(s, d, &d->layers[i], &n, 1, x);
        if (i < at)
            oto_pf_attention_run(s, &d->layers[i].attention, memory, &n, 1, x, x, x);
    }
    oto_pf_attention_scores(s, &d->layers[at].attention, memory, n, x, score);
}
