/* Hot words as Contextual Paraformer hears them: in the last layer of its decoder (FunASR
 * funasr/models/contextual_paraformer/decoder.py).
 *
 *   x, behind the layer's memory over tokens
 *     -> attention of norm3(x) to the rows of sound                        s
 *     -> attention of another norm and other weights to the words' rows    w
 *   x = x + M (s | w)                 M [512][1024], here two matrices of 512 columns
 *
 * There is always a row to attend to: that of <s>, which stands for no word. */
#include "models/paraformer/paraformer.h"

#include <assert.h>

#define NAME_SIZE 96

static const char *const halves[] = {"of_sound", "of_words"};

/* ---- packing and binding ---- */

bool oto_pf_contextual_there(const oto_weights *src)
{
    static const char *const marks[] = {"decoder.last_decoder.norm1.weight",
                                        "decoder.bias_decoder.norm3.weight",
                                        "decoder.bias_output.weight", "bias_embed.weight"};

    for (size_t i = 0; i < OTO_COUNT(marks); i++)
        if (oto_weights_find(src, marks[i]) != NULL)
            return true;
    return false;
}

/* 512 of a row's columns. */
typedef struct {
    const oto_tensor *t; /* [512][1024][1] */
    float *row;          /* [1024] */
    int from;
} half;

static void half_row(void *arg, int r, float *out)
{
    const half *h = arg;

    oto_tensor_row_f32(h->t, r, h->row);
    for (int i = 0; i < PF_D; i++)
        out[i] = h->row[h->from + i];
}

int oto_pf_contextual_pack(const oto_weights *src, oto_gguf_writer *dst, const char *prefix,
                           oto_dtype type, oto_arena *a, oto_err *e)
{
    char n[NAME_SIZE];
    half h = {0};
    int rc;

    snprintf(n, sizeof n, "%s.bias_output.weight", prefix);
    h.t = oto_weights_find(src, n);
    if (h.t == NULL)
        return oto_fail(e, OTO_E_INPUT, "%s: tensor %s is missing", oto_weights_path(src), n);
    if (oto_tensor_rows(h.t) != PF_D || oto_tensor_row_len(h.t) != 2 * PF_D)
        return oto_fail(e, OTO_E_INPUT, "%s: tensor %s is %lld x %lld, expected %d x %d",
                        oto_weights_path(src), n, (long long)oto_tensor_rows(h.t),
                        (long long)oto_tensor_row_len(h.t), PF_D, 2 * PF_D);
    rc = oto_arena_get(a, 2 * PF_D, sizeof *h.row, &h.row, e);
    for (int i = 0; i < 2 && rc == 0; i++) {
        h.from = i * PF_D;
        snprintf(n, sizeof n, "%s.bias_output.%s.weight", prefix, halves[i]);
        rc = oto_put_matrix(dst, n, type, PF_D, PF_D, half_row, &h, a, e);
    }
    snprintf(n, sizeof n, "%s.bias_decoder", prefix);
    return rc == 0 ? oto_pf_attention_pack(src, dst, n, type, a, e) : rc;
}

int oto_pf_contextual_bind(const oto_weights *w, const char *prefix, oto_dtype type, float eps,
                           pf_contextual *out, oto_err *e)
{
    oto_dense *const to[] = {&out->of_sound, &out->of_words};
    char n[NAME_SIZE];
    int rc = 0;

    for (int i = 0; i < 2 && rc == 0; i++) {
        snprintf(n, sizeof n, "%s.bias_output.%s", prefix, halves[i]);
        rc = oto_dense_bind(w, n, type, PF_D, PF_D, false, to[i], e);
    }
    snprintf(n, sizeof n, "%s.bias_decoder", prefix);
    return rc == 0 ? oto_pf_attention_bind(w, n, type, eps, &out->words, e) : rc;
}

/* ---- running ---- */

void oto_pf_contextual_run(pf_network *s, const pf_decoder *d, const pf_memory *memory,
                           const int *end, int windows, float *x)
{
    const int n = end[windows - 1];
    float *of_sound = s->hot.e0, *of_words = s->hot.hidden;
    const pf_hot_list *list = s->hot.now;

    assert(list != NULL);
    oto_pf_attention_run(s, &d->layers[d->n - 1].attention, memory, end, windows, x, NULL,
                         of_sound);
    oto_pf_attention_run(s, &d->both.words, &(pf_memory){.rows = list->rows, .n = list->n}, end,
                         windows, x, NULL, of_words);
    oto_dense_run(s->pool, &d->both.of_sound, of_sound, n, OTO_ACT_NONE, x, x);
    oto_dense_run(s->pool, &d->both.of_words, of_words, n, OTO_ACT_NONE, x, x);
}
