/* Hot words as SeACo-Paraformer hears them: with a decoder of their own (FunASR
 * funasr/models/seaco_paraformer; https://arxiv.org/abs/2308.03266).
 *
 *   E, and what the main decoder makes of it -> a second decoder that attends to the words' rows
 *     -> added -> logits; where the best is "no bias" the main decoder's token stays, else this one
 *
 * Of more than PF_HOT_KEPT rows each window attends to those that its tokens attend to most. */
#include "models/paraformer/paraformer.h"

#include <string.h>

#define NO_BIAS   8377 /* of the published vocabulary */
#define SCORES_AT 5    /* the layer whose attention chooses */
#define DECODER   "seaco_decoder"
#define OUT       "hotword_output_layer"

/* ---- packing and binding ---- */

/* A bias encoder of two directions or decoder layers without attention are none of the published
 * models'. */
bool oto_pf_seaco_there(const oto_weights *src)
{
    return oto_weights_find(src, "decoder.embed.0.weight") != NULL &&
           oto_weights_find(src, "bias_encoder.weight_ih_l1") != NULL &&
           oto_weights_find(src, "bias_encoder.weight_ih_l0_reverse") == NULL &&
           oto_weights_find(src, DECODER ".decoders.0.norm1.weight") != NULL &&
           oto_weights_find(src, DECODER ".decoders2.0.norm1.weight") == NULL &&
           oto_weights_find(src, OUT ".weight") != NULL;
}

int oto_pf_seaco_pack(const oto_weights *src, oto_gguf_writer *dst, int n_vocab, oto_dtype type,
                      oto_arena *a, oto_err *e)
{
    int64_t no_bias = NO_BIAS;
    pf_decoder d = {0};
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
        (rc = oto_pf_decoder_pack(src, dst, DECODER, &d, type, a, e)) != 0)
        return rc;
    return oto_dense_pack(src, dst, OUT, type, n_vocab, PF_D, true, a, e);
}

int oto_pf_seaco_bind(const oto_weights *w, int n_vocab, oto_dtype type, float eps, oto_arena *a,
                      pf_hotwords *h, oto_err *e)
{
    int64_t n, ffn, taps, no_bias;
    int rc;

    if ((rc = oto_get_int(w, "paraformer.hot_layers", 1, PF_MAX_DEC, &n, e)) != 0 ||
        (rc = oto_get_int(w, "paraformer.hot_ffn", 16, 1 << 14, &ffn, e)) != 0 ||
        (rc = oto_get_int(w, "paraformer.hot_taps", 1, 63, &taps, e)) != 0 ||
        (rc = oto_get_int(w, "paraformer.no_bias", 0, n_vocab - 1, &no_bias, e)) != 0)
        return rc;
    h->dec = (pf_decoder){.n = (int)n, .ffn = (int)ffn, .n_taps = (int)taps};
    h->no_bias = (int)no_bias;
    if ((rc = oto_pf_decoder_bind(w, DECODER, type, eps, a, &h->dec, e)) != 0)
        return rc;
    return oto_dense_bind(w, OUT, type, n_vocab, PF_D, true, &h->out, e);
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

bool oto_pf_seaco_run(pf_network *s, int windows)
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
