/* Hot words: a list of words that a recording may hold, as the rows that a decoder attends to.
 *
 *   each word's ids -> an embedding -> one layer of LSTM or two -> the last step: a row; and a row
 *   for <s>, which stands for no word
 *
 * The rows of a list are kept as long as it is among the last few asked for. */
#include "models/paraformer/paraformer.h"

#include <string.h>

#define SOS        1
#define TASK_WORDS 32 /* that a task embeds together */
#define ENCODER    "bias_encoder"

/* Embeddings: the main decoder's own, which it does not use, or one for hot words. */
static const char *const embeddings[] = {"decoder.embed.0", "bias_embed"};
/* Of the encoder. */
static const char *const layers[] = {"_l0", "_l1"};

/* ---- packing and binding ---- */

static int layers_of(pf_hot_kind kind)
{
    return kind == PF_HOT_SEACO ? 2 : 1;
}

/* FunASR's contextual class has one layer in one direction. */
static int check_encoder(const oto_weights *src, pf_hot_kind kind, oto_err *e)
{
    if (kind == PF_HOT_CONTEXTUAL && (oto_weights_find(src, ENCODER ".weight_ih_l1") != NULL ||
                                      oto_weights_find(src, ENCODER ".weight_ih_l0_reverse")))
        return oto_fail(e, OTO_E_UNSUPPORTED, "%s: %s has more than one layer in one direction",
                        oto_weights_path(src), ENCODER);
    return 0;
}

int oto_pf_hot_pack(const oto_weights *src, oto_gguf_writer *dst, pf_hot_kind kind, int n_vocab,
                    oto_dtype type, oto_arena *a, oto_err *e)
{
    int64_t shared = kind == PF_HOT_SEACO;
    const char *embed;
    int rc = check_encoder(src, kind, e);

    if (kind == PF_HOT_CONTEXTUAL)
        oto_weights_int(src, "pf.use_decoder_embedding", &shared);
    embed = embeddings[shared != 0 ? 0 : 1];
    if (rc == 0)
        rc = oto_dense_pack(src, dst, embed, type, n_vocab, PF_D, false, a, e);
    for (int i = 0; i < layers_of(kind) && rc == 0; i++)
        rc = oto_lstm_pack(src, dst, ENCODER, layers[i], type, PF_D, PF_D, a, e);
    return rc == 0 ? oto_pf_dictionary_pack(src, dst, a, e) : rc;
}

/* Of the two the one that is there. */
static int bind_embedding(const oto_weights *w, int n_vocab, oto_dtype type, oto_mat *out,
                          oto_err *e)
{
    char name[64];
    oto_dense embed;
    int rc;

    snprintf(name, sizeof name, "%s.weight", embeddings[1]);
    rc = oto_dense_bind(w, embeddings[oto_weights_find(w, name) != NULL], type, n_vocab, PF_D,
                        false, &embed, e);
    if (rc == 0)
        *out = embed.w;
    return rc;
}

int oto_pf_hot_bind(const oto_weights *w, int n_vocab, const oto_slice *pieces, oto_dtype type,
                    oto_arena *a, pf_hotwords *h, oto_err *e)
{
    int rc = bind_embedding(w, n_vocab, type, &h->embed, e);

    h->n_lstm = layers_of(h->kind);
    for (int i = 0; i < h->n_lstm && rc == 0; i++)
        rc = oto_lstm_bind(w, ENCODER, layers[i], type, PF_D, PF_D, &h->lstm[i], e);
    return rc == 0 ? oto_pf_lexicon_bind(w, pieces, n_vocab, a, &h->lexicon, e) : rc;
}

/* ---- lists ---- */

/* The longest first: those that still have a step are the first of a task's. */
static void put_in_order(pf_hot *h, int n)
{
    int at = 0;

    for (int length = PF_HOT_TOKENS; length > 0; length--)
        for (int i = 0; i < n; i++)
            if (h->lengths[i] == length)
                h->order[at++] = i;
}

typedef struct {
    pf_network *s;
    float *out; /* [n][512] */
    int n;
} embedding;

/* Words [from, to) of the order to their rows. The network's buffers are free meanwhile: h and c of
 * both layers, and the gates. */
static void embed_task(void *arg, int task, int thread)
{
    const embedding *b = arg;
    pf_network *s = b->s;
    const pf_hotwords *w = &s->m->hot;
    const int from = task * TASK_WORDS, to = OTO_MIN(from + TASK_WORDS, b->n);
    const size_t at = (size_t)from * PF_D, all = (size_t)(to - from) * PF_D * sizeof(float);
    float *x = s->e + at, *gates = s->wide + 4 * at;
    float *h[] = {s->t + at, s->hot.e0 + at}, *c[] = {s->q + at, s->hot.hidden + at};
    const float *last = h[w->n_lstm - 1];
    int m = to - from;

    for (int i = 0; i < w->n_lstm; i++) {
        memset(h[i], 0, all);
        memset(c[i], 0, all);
    }
    for (int step = 0; m > 0; step++) {
        const int *order = s->hot.order + from;

        for (int i = 0; i < m; i++)
            oto_mat_row(&w->embed, s->hot.ids[order[i] * PF_HOT_TOKENS + step],
                        x + (size_t)i * PF_D);
        for (int i = 0; i < w->n_lstm; i++) {
            oto_dense_rows(s->pool, thread, &w->lstm[i].in, i == 0 ? x : h[i - 1], m, OTO_ACT_NONE,
                           NULL, gates);
            oto_lstm_step(s->pool, thread, &w->lstm[i], gates, 4 * PF_D, m, h[i], c[i]);
        }
        for (; m > 0 && s->hot.lengths[order[m - 1]] == step + 1; m--)
            memcpy(b->out + (size_t)order[m - 1] * PF_D, last + (size_t)(m - 1) * PF_D,
                   PF_D * sizeof *last);
    }
}

static void embed(pf_network *s, pf_hot_list *list)
{
    pf_hot *h = &s->hot;
    pf_left_out left;
    int n = oto_pf_phrases(&s->m->hot.lexicon, (oto_slice){list->text, list->n_text}, h->ids,
                           h->lengths, &left);
    embedding b = {.s = s, .out = list->rows, .n = n + 1};

    if (left.n > 0)
        oto_log(
            OTO_LOG_WARN,
            "%d of %d hot words have no effect: '%s' is not in the model's vocabulary, or beyond "
            "%d words",
            left.n, left.n + n, left.first, PF_HOT_WORDS);
    h->ids[n * PF_HOT_TOKENS] = SOS;
    h->lengths[n] = 1;
    put_in_order(h, n + 1);
    oto_pool_run(s->pool, (n + TASK_WORDS) / TASK_WORDS, embed_task, &b);
    list->n = n + 1;
}

/* What is heard without a known word. */
static const pf_hot_list *none_of(pf_network *s)
{
    pf_hot_list *none = &s->hot.none;

    if (s->m->hot.kind != PF_HOT_CONTEXTUAL)
        return NULL;
    if (none->n == 0)
        embed(s, none);
    return none;
}

void oto_pf_hot_set(pf_network *s, const char *hotwords)
{
    pf_hot *h = &s->hot;
    pf_hot_list *list = &h->lists[0];
    size_t n;

    h->now = none_of(s);
    if (hotwords == NULL || hotwords[0] == '\0' || s->m->hot.kind == PF_HOT_NONE)
        return;
    n = strlen(hotwords);
    if (n > PF_HOT_BYTES)
        n = oto_utf8_complete(hotwords, PF_HOT_BYTES);
    for (int i = 0; i < PF_HOT_LISTS; i++) {
        pf_hot_list *l = &h->lists[i];

        if (l->n > 0 && l->n_text == n && memcmp(l->text, hotwords, n) == 0) {
            list = l;
            break;
        }
        if (l->used < list->used)
            list = l; /* the one that was asked for longest ago */
    }
    if (list->n == 0 || list->n_text != n || memcmp(list->text, hotwords, n) != 0) {
        memcpy(list->text, hotwords, n);
        list->n_text = n;
        embed(s, list);
    }
    list->used = ++h->clock;
    if (list->n > 1)
        h->now = list;
}
