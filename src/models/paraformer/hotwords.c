/* Hot words: a list of words that a recording may hold (FunASR funasr/models/seaco_paraformer,
 * SeACo-Paraformer; https://arxiv.org/abs/2308.03266).
 *
 *   each word's ids -> the decoder's embedding -> two layers of LSTM -> the last step: a row; and a
 *   row for <s>, which stands for no word
 *   E, and what the main decoder makes of it -> a second decoder that attends to these rows
 *     -> added -> logits; where the best is "no bias" the main decoder's token stays, else this one
 *
 * Of more than PF_HOT_KEPT rows each window attends to those that its tokens attend to most. The
 * rows of a list are kept as long as it is among the last few asked for. */
#include "models/paraformer/paraformer.h"

#include <math.h>
#include <string.h>

#define SOS        1
#define NO_BIAS    8377 /* of the published vocabulary */
#define SCORES_AT  5    /* the layer whose attention chooses */
#define TASK_WORDS 32   /* that a task embeds together */
#define EMBED      "decoder.embed.0"
#define ENCODER    "bias_encoder"
#define DECODER    "seaco_decoder"
#define OUT        "hotword_output_layer"

/* ---- packing and binding ---- */

/* A bias encoder of two directions or decoder layers without attention are none of the published
 * models'. */
bool oto_pf_hot_there(const oto_weights *src)
{
    return oto_weights_find(src, EMBED ".weight") != NULL &&
           oto_weights_find(src, ENCODER ".weight_ih_l1") != NULL &&
           oto_weights_find(src, ENCODER ".weight_ih_l0_reverse") == NULL &&
           oto_weights_find(src, DECODER ".decoders.0.norm1.weight") != NULL &&
           oto_weights_find(src, DECODER ".decoders2.0.norm1.weight") == NULL &&
           oto_weights_find(src, OUT ".weight") != NULL;
}

int oto_pf_hot_pack(const oto_weights *src, oto_gguf_writer *dst, int n_vocab, oto_dtype type,
                    oto_arena *a, oto_err *e)
{
    int64_t no_bias = NO_BIAS;
    pf_decoder d;
    int rc;

    oto_weights_int(src, "pf.no_bias", &no_bias);
    if (no_bias < 0 || no_bias >= n_vocab)
        return oto_fail(e, OTO_E_INPUT, "%s: \"no bias\" is %lld, beyond the vocabulary",
                        oto_weights_path(src), (long long)no_bias);
    if ((rc = oto_pf_decoder_sizes(src, DECODER, &d, e)) != 0 ||
        (rc = oto_gguf_put_int(dst, "paraformer.hot_layers", d.n, e)) != 0 ||
        (rc = oto_gguf_put_int(dst, "paraformer.hot_ffn", d.ffn, e)) != 0 ||
        (rc = oto_gguf_put_int(dst, "paraformer.hot_taps", d.n_taps, e)) != 0 ||
        (rc = oto_gguf_put_int(dst, "paraformer.no_bias", no_bias, e)) != 0 ||
        (rc = oto_dense_pack(src, dst, EMBED, type, n_vocab, PF_D, false, a, e)) != 0 ||
        (rc = oto_lstm_pack(src, dst, ENCODER, "_l0", type, PF_D, PF_D, a, e)) != 0 ||
        (rc = oto_lstm_pack(src, dst, ENCODER, "_l1", type, PF_D, PF_D, a, e)) != 0 ||
        (rc = oto_pf_decoder_pack(src, dst, DECODER, &d, type, a, e)) != 0 ||
        (rc = oto_dense_pack(src, dst, OUT, type, n_vocab, PF_D, true, a, e)) != 0)
        return rc;
    return oto_pf_dictionary_pack(src, dst, a, e);
}

int oto_pf_hot_bind(const oto_weights *w, int n_vocab, const oto_slice *pieces, oto_dtype type,
                    float eps, oto_arena *a, pf_hotwords *h, oto_err *e)
{
    int64_t n, ffn, taps, no_bias;
    oto_dense embed;
    int rc;

    if ((rc = oto_get_int(w, "paraformer.hot_layers", 1, PF_MAX_DEC, &n, e)) != 0 ||
        (rc = oto_get_int(w, "paraformer.hot_ffn", 16, 1 << 14, &ffn, e)) != 0 ||
        (rc = oto_get_int(w, "paraformer.hot_taps", 1, 63, &taps, e)) != 0 ||
        (rc = oto_get_int(w, "paraformer.no_bias", 0, n_vocab - 1, &no_bias, e)) != 0)
        return rc;
    h->dec = (pf_decoder){.n = (int)n, .ffn = (int)ffn, .n_taps = (int)taps};
    h->no_bias = (int)no_bias;
    if ((rc = oto_dense_bind(w, EMBED, type, n_vocab, PF_D, false, &embed, e)) != 0 ||
        (rc = oto_lstm_bind(w, ENCODER, "_l0", type, PF_D, PF_D, &h->lstm[0], e)) != 0 ||
        (rc = oto_lstm_bind(w, ENCODER, "_l1", type, PF_D, PF_D, &h->lstm[1], e)) != 0 ||
        (rc = oto_pf_decoder_bind(w, DECODER, type, eps, a, &h->dec, e)) != 0 ||
        (rc = oto_dense_bind(w, OUT, type, n_vocab, PF_D, true, &h->out, e)) != 0)
        return rc;
    h->embed = embed.w;
    return oto_pf_lexicon_bind(w, pieces, n_vocab, a, &h->lexicon, e);
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
 * the layers, and the gates. */
static void embed_task(void *arg, int task, int thread)
{
    const embedding *b = arg;
    pf_network *s = b->s;
    const pf_hotwords *w = &s->m->hot;
    const int from = task * TASK_WORDS, to = OTO_MIN(from + TASK_WORDS, b->n);
    const size_t at = (size_t)from * PF_D, all = (size_t)(to - from) * PF_D * sizeof(float);
    float *x = s->e + at, *gates = s->wide + 4 * at;
    float *h0 = s->t + at, *c0 = s->q + at, *h1 = s->hot.e0 + at, *c1 = s->hot.hidden + at;
    int m = to - from;

    memset(h0, 0, all);
    memset(c0, 0, all);
    memset(h1, 0, all);
    memset(c1, 0, all);
    for (int step = 0; m > 0; step++) {
        const int *order = s->hot.order + from;

        for (int i = 0; i < m; i++)
            oto_mat_row(&w->embed, s->hot.ids[order[i] * PF_HOT_TOKENS + step],
                        x + (size_t)i * PF_D);
        oto_dense_rows(s->pool, thread, &w->lstm[0].in, x, m, OTO_ACT_NONE, NULL, gates);
        oto_lstm_step(s->pool, thread, &w->lstm[0], gates, 4 * PF_D, m, h0, c0);
        oto_dense_rows(s->pool, thread, &w->lstm[1].in, h0, m, OTO_ACT_NONE, NULL, gates);
        oto_lstm_step(s->pool, thread, &w->lstm[1], gates, 4 * PF_D, m, h1, c1);
        for (; m > 0 && s->hot.lengths[order[m - 1]] == step + 1; m--)
            memcpy(b->out + (size_t)order[m - 1] * PF_D, h1 + (size_t)(m - 1) * PF_D,
                   PF_D * sizeof *h1);
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

void oto_pf_hot_set(pf_network *s, const char *hotwords)
{
    pf_hot *h = &s->hot;
    pf_hot_list *list = &h->lists[0];
    size_t n;

    h->now = NULL;
    if (hotwords == NULL || hotwords[0] == '\0' || !s->m->has_hot)
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

/* ---- running ---- */

/* merged = decoder(E) + decoder(hidden), in s->t, of the windows [first, last) with one memory. */
static bool run_windows(pf_network *s, int first, int last, const pf_memory *memory, int *end)
{
    const int from = first > 0 ? s->n_tokens[first - 1] : 0, n = s->n_tokens[last - 1] - from;
    const size_t at = (size_t)from * PF_D, size = (size_t)n * PF_D;
    const pf_decoder *d = &s->m->hot.dec;

    for (int i = first; i < last; i++)
        end[i - first] = s->n_tokens[i] - from;
    if (!oto_pf_decoder_run(s, d, memory, end, last - first, s->hot.e0 + at))
        return false;
    memcpy(s->e, s->t, size * sizeof *s->e);
    if (!oto_pf_decoder_run(s, d, memory, end, last - first, s->hot.hidden + at))
        return false;
    for (size_t i = 0; i < size; i++)
        s->t[i] += s->e[i];
    oto_pf_pick(s, &s->m->hot.out, from, n, s->m->hot.no_bias);
    return true;
}

/* The rows that a window attends to most, the best first, then that of <s>. That one may be among
 * the best, too, and is then there twice, as in FunASR. */
static int choose(pf_network *s, int window)
{
    pf_hot *h = &s->hot;
    const pf_hot_list *list = h->now;
    const int from = window > 0 ? s->n_tokens[window - 1] : 0, n = s->n_tokens[window] - from;
    const pf_decoder *d = &s->m->hot.dec;
    const pf_memory all = {.rows = list->rows, .n = list->n};
    const int kept = OTO_MIN(PF_HOT_KEPT, list->n - 1);

    memcpy(s->e, h->hidden + (size_t)from * PF_D, (size_t)n * PF_D * sizeof *s->e);
    oto_pf_decoder_scores(s, d, OTO_MIN(SCORES_AT, d->n - 1), &all, n, s->e, h->score);
    for (int i = 0; i < kept; i++) {
        const int best = oto_k()->argmax_f32(h->score, list->n);

        h->score[best] = -1;
        memcpy(h->kept + (size_t)i * PF_D, list->rows + (size_t)best * PF_D,
               PF_D * sizeof *h->kept);
    }
    memcpy(h->kept + (size_t)kept * PF_D, list->rows + (size_t)(list->n - 1) * PF_D,
           PF_D * sizeof *h->kept);
    return kept + 1;
}

bool oto_pf_hot_run(pf_network *s, int windows)
{
    const pf_hot_list *list = s->hot.now;
    int *end = s->hot.order; /* free when the list is embedded */

    if (list->n <= PF_HOT_KEPT) {
        const pf_memory memory = {.rows = list->rows, .n = list->n};

        return run_windows(s, 0, windows, &memory, end);
    }
    for (int i = 0; i < windows; i++)
        if (s->n_tokens[i] > (i > 0 ? s->n_tokens[i - 1] : 0)) {
            const pf_memory memory = {.rows = s->hot.kept, .n = choose(s, i)};

            if (!run_windows(s, i, i + 1, &memory, end))
                return false;
        }
    return true;
}
