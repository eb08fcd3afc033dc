/* From GGUF to the packed form, and binding that. FunASR has no GGUF of this model: the foreign
 * layout is ours, of its checkpoint's tensors and token list (docs/models/ct-punc.md).
 *
 * A text's tokens are looked up by their bytes. So the packed vocabulary stands in the order of
 * bytes, and the rows of the embedding with it: an id is the place where a binary search over the
 * mapped strings ends, and the vocabulary costs no memory of its own. */
#include "models/ct_punc/ct_punc.h"

#include <stdlib.h>
#include <string.h>

#define NAME_SIZE 64

bool oto_ct_matches(const oto_weights *src)
{
    return oto_is_architecture(src, "ct-transformer") ||
           (oto_weights_find(src, "embed.weight") != NULL &&
            oto_weights_find(src, "decoder.weight") != NULL &&
            oto_weights_find(src, "encoder.encoders0.0.norm1.weight") != NULL);
}

static oto_sanm_dims dims_of(const ct_punc *m, oto_compute compute)
{
    return (oto_sanm_dims){.in = CT_D,
                           .d = CT_D,
                           .heads = m->heads,
                           .ffn = m->ffn,
                           .n_taps = CT_TAPS,
                           .left = CT_TAPS / 2 + m->shift,
                           .eps = 1e-12f,
                           .type = oto_dense_type(compute)};
}

static void prefix_of(int layer, char out[NAME_SIZE])
{
    if (layer == 0)
        snprintf(out, NAME_SIZE, "encoder.encoders0.0");
    else
        snprintf(out, NAME_SIZE, "encoder.encoders.%d", layer - 1);
}

static bool lawful_heads(int64_t heads)
{
    return heads == 2 || heads == 4 || heads == 8;
}

/* ---- packing ---- */

/* The large model: 516 channels, and tokens that are words, which FunASR finds with jieba where
 * there is a jieba_usr_dict in the folder. */
static int refuse_words(const oto_weights *src, oto_err *e)
{
    const int64_t width = oto_tensor_row_len(oto_weights_find(src, "embed.weight"));
    int64_t words = 0;

    oto_weights_int(src, "ct.words", &words);
    if (words != 0)
        return oto_fail(
            e, OTO_E_UNSUPPORTED,
            "%s: splits Chinese into words with jieba (jieba_usr_dict beside it), which "
            "is not known here; ct-punc (vocab272727) does without",
            oto_weights_path(src));
    if (width != CT_D)
        return oto_fail(e, OTO_E_UNSUPPORTED,
                        "%s: embed.weight has rows of %lld, expected %d: the large model "
                        "(vocab471067) is not known here, ct-punc (vocab272727) is",
                        oto_weights_path(src), (long long)width, CT_D);
    return 0;
}

static int find_sizes(const oto_weights *src, ct_punc *m, oto_err *e)
{
    int64_t heads = 8, taps = CT_TAPS, shift = 0, realtime = 0;
    int rc;

    if ((rc = oto_count_rows(src, "embed.weight", 1, 1 << 24, &m->n_vocab, e)) != 0 ||
        (rc = refuse_words(src, e)) != 0 ||
        (rc = oto_count_rows(src, "decoder.weight", 2, CT_MAX_MARKS, &m->n_marks, e)) != 0 ||
        (rc = oto_count_rows(src, "encoder.encoders0.0.feed_forward.w_1.weight", 16, 1 << 14,
                             &m->ffn, e)) != 0)
        return rc;
    m->n_layers = 1 + oto_count_layers(src, "encoder.encoders.#.norm1.weight");
    if (m->n_layers > CT_MAX_LAYERS)
        return oto_fail(e, OTO_E_INPUT, "%s: %d layers are too many", oto_weights_path(src),
                        m->n_layers);
    oto_weights_int(src, "ct.heads", &heads);
    oto_weights_int(src, "ct.kernel", &taps);
    oto_weights_int(src, "ct.shift", &shift);
    if (!lawful_heads(heads) || taps != CT_TAPS)
        return oto_fail(e, OTO_E_UNSUPPORTED,
                        "%s: %lld heads and filters of %lld are not CT-Transformer's",
                        oto_weights_path(src), (long long)heads, (long long)taps);
    oto_weights_int(src, "ct.realtime", &realtime);
    if (shift < 0 || shift > (realtime != 0 ? CT_TAPS / 2 : 0))
        return oto_fail(e, OTO_E_UNSUPPORTED, "%s: filters shifted by %lld in a model that is %s",
                        oto_weights_path(src), (long long)shift,
                        realtime != 0 ? "realtime" : "not realtime");
    m->heads = (int)heads;
    m->shift = (int)shift;
    m->realtime = realtime != 0;
    return 0;
}

/* A piece of the vocabulary and its place in the checkpoint. */
typedef struct {
    oto_slice s;
    int row;
} entry;

static int by_bytes(const void *x, const void *y)
{
    const entry *a = x, *b = y;
    const int order = memcmp(a->s.p, b->s.p, OTO_MIN(a->s.n, b->s.n));

    if (order != 0)
        return order;
    return a->s.n != b->s.n ? (a->s.n > b->s.n) - (a->s.n < b->s.n) : a->row - b->row;
}

typedef struct {
    const oto_tensor *t;
    const entry *entries;
} embedding;

static void embedding_row(void *arg, int r, float *out)
{
    const embedding *m = arg;

    oto_tensor_row_f32(m->t, m->entries[r].row, out);
}

static int pack_vocabulary(const oto_weights *src, oto_gguf_writer *dst, const ct_punc *m,
                           oto_arena *a, oto_err *e)
{
    const size_t n = (size_t)m->n_vocab;
    embedding em = {.t = oto_weights_find(src, "embed.weight")};
    oto_slice *pieces;
    entry *entries;
    int rc;

    if (oto_weights_array_len(src, "ct.vocab") != n)
        return oto_fail(e, OTO_E_INPUT, "%s: ct.vocab lists %zu pieces, the model has %zu",
                        oto_weights_path(src), oto_weights_array_len(src, "ct.vocab"), n);
    if ((rc = oto_arena_get(a, n, sizeof *entries, &entries, e)) != 0 ||
        (rc = oto_arena_get(a, n, sizeof *pieces, &pieces, e)) != 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        entries[i].row = (int)i;
        if (!oto_weights_array_str(src, "ct.vocab", i, &entries[i].s))
            return oto_fail(e, OTO_E_INPUT, "%s: ct.vocab is not a list of strings",
                            oto_weights_path(src));
    }
    qsort(entries, n, sizeof *entries, by_bytes);
    for (size_t i = 0; i < n; i++)
        pieces[i] = entries[i].s;
    em.entries = entries;
    if ((rc = oto_gguf_put_strs(dst, "pieces", pieces, n, e)) != 0)
        return rc;
    return oto_put_matrix(dst, "embed.weight", m->sanm.type, m->n_vocab, CT_D, embedding_row, &em,
                          a, e);
}

static int pack_marks(const oto_weights *src, oto_gguf_writer *dst, const ct_punc *m, oto_err *e)
{
    oto_slice marks[CT_MAX_MARKS];

    if (oto_weights_array_len(src, "ct.punc") != (size_t)m->n_marks)
        return oto_fail(e, OTO_E_INPUT, "%s: ct.punc lists %zu marks, the model has %d",
                        oto_weights_path(src), oto_weights_array_len(src, "ct.punc"), m->n_marks);
    for (size_t i = 0; i < (size_t)m->n_marks; i++)
        if (!oto_weights_array_str(src, "ct.punc", i, &marks[i]))
            return oto_fail(e, OTO_E_INPUT, "%s: ct.punc is not a list of strings",
                            oto_weights_path(src));
    return oto_gguf_put_strs(dst, "marks", marks, (size_t)m->n_marks, e);
}

int oto_ct_pack(const oto_weights *src, oto_compute compute, oto_gguf_writer *dst, oto_arena *a,
                oto_err *e)
{
    ct_punc m = {0};
    int rc = find_sizes(src, &m, e);

    m.sanm = dims_of(&m, compute);
    if (rc != 0 || (rc = oto_gguf_put_int(dst, "ct.heads", m.heads, e)) != 0 ||
        (rc = oto_gguf_put_int(dst, "ct.ffn", m.ffn, e)) != 0 ||
        (rc = oto_gguf_put_int(dst, "ct.layers", m.n_layers, e)) != 0 ||
        (rc = oto_gguf_put_int(dst, "ct.vocabulary", m.n_vocab, e)) != 0 ||
        (rc = oto_gguf_put_int(dst, "ct.shift", m.shift, e)) != 0 ||
        (rc = oto_gguf_put_int(dst, "ct.realtime", m.realtime, e)) != 0 ||
        (rc = pack_marks(src, dst, &m, e)) != 0 || (rc = pack_vocabulary(src, dst, &m, a, e)) != 0)
        return rc;
    for (int i = 0; i < m.n_layers && rc == 0; i++) {
        char prefix[NAME_SIZE];

        prefix_of(i, prefix);
        rc = oto_sanm_pack(src, dst, prefix, &m.sanm, CT_D, a, e);
    }
    if (rc != 0 || (rc = oto_norm_pack(src, dst, "encoder.after_norm", CT_D, a, e)) != 0)
        return rc;
    /* Of six rows only: 8 bits would save nothing. */
    return oto_dense_pack(src, dst, "decoder", OTO_F32, m.n_marks, CT_D, true, a, e);
}

/* ---- binding ---- */

static int get_keys(const oto_weights *w, ct_punc *m, oto_err *e)
{
    int64_t heads, ffn, layers, vocab, shift = 0, realtime = 0;
    int rc;

    if ((rc = oto_get_int(w, "ct.heads", 2, 8, &heads, e)) != 0 ||
        (rc = oto_get_int(w, "ct.ffn", 16, 1 << 14, &ffn, e)) != 0 ||
        (rc = oto_get_int(w, "ct.layers", 1, CT_MAX_LAYERS, &layers, e)) != 0 ||
        (rc = oto_get_int(w, "ct.vocabulary", 1, 1 << 24, &vocab, e)) != 0)
        return rc;
    if (!lawful_heads(heads))
        return oto_fail(e, OTO_E_INPUT, "%s: ct.heads is %lld", oto_weights_path(w),
                        (long long)heads);
    /* Files packed before there was a realtime model do not have these. */
    if (oto_weights_int(w, "ct.shift", &shift) && (shift < 0 || shift > CT_TAPS / 2))
        return oto_fail(e, OTO_E_INPUT, "%s: ct.shift is %lld", oto_weights_path(w),
                        (long long)shift);
    oto_weights_int(w, "ct.realtime", &realtime);
    m->shift = (int)shift;
    m->realtime = realtime != 0;
    m->heads = (int)heads;
    m->ffn = (int)ffn;
    m->n_layers = (int)layers;
    m->n_vocab = (int)vocab;
    return 0;
}

/* A list with ASCII marks means the same: what is written follows the token before. */
static int get_marks(const oto_weights *w, ct_punc *m, oto_err *e)
{
    static const struct {
        const char *name;
        ct_mark mark;
    } known[] = {{"<unk>", CT_NONE},  {"_", CT_NONE},     {"，", CT_COMMA},
                 {",", CT_COMMA},     {"。", CT_STOP},    {".", CT_STOP},
                 {"？", CT_QUESTION}, {"?", CT_QUESTION}, {"、", CT_PAUSE}};
    const size_t n = oto_weights_array_len(w, "marks");

    if (n < 2 || n > CT_MAX_MARKS)
        return oto_fail(e, OTO_E_INPUT, "%s: %zu marks", oto_weights_path(w), n);
    m->n_marks = (int)n;
    for (size_t i = 0; i < n; i++) {
        size_t k = 0;
        oto_slice s = {"", 0};

        oto_weights_array_str(w, "marks", i, &s);
        while (k < OTO_COUNT(known) &&
               (strlen(known[k].name) != s.n || memcmp(known[k].name, s.p, s.n) != 0))
            k++;
        if (k == OTO_COUNT(known))
            return oto_fail(e, OTO_E_UNSUPPORTED, "%s: unknown mark '%.*s'", oto_weights_path(w),
                            (int)OTO_MIN(s.n, (size_t)16), s.p);
        m->marks[i] = known[k].mark;
    }
    return 0;
}

/* The first piece that is not before the token, or n_vocab. */
static int lower_bound(const ct_punc *m, oto_slice token)
{
    int from = 0, to = m->n_vocab;

    while (from < to) {
        const int mid = from + (to - from) / 2;
        oto_slice s = {"", 0};
        int order;

        oto_weights_array_str(m->w, "pieces", (size_t)mid, &s);
        order = memcmp(s.p, token.p, OTO_MIN(s.n, token.n));
        if (order < 0 || (order == 0 && s.n < token.n))
            from = mid + 1;
        else
            to = mid;
    }
    return from;
}

static bool find_piece(const ct_punc *m, oto_slice token, int *out)
{
    const int i = lower_bound(m, token);
    oto_slice s;

    if (!oto_weights_array_str(m->w, "pieces", (size_t)i, &s) || s.n != token.n ||
        memcmp(s.p, token.p, s.n) != 0)
        return false;
    *out = i;
    return true;
}

int oto_ct_id(const ct_punc *m, oto_slice token)
{
    int id;

    return find_piece(m, token, &id) ? id : m->unknown;
}

static int bind_vocabulary(const oto_weights *w, ct_punc *m, oto_err *e)
{
    static const oto_slice unknown = {"<unk>", 5};
    oto_slice s;

    m->w = w;
    if (oto_weights_array_len(w, "pieces") != (size_t)m->n_vocab ||
        !oto_weights_array_str(w, "pieces", 0, &s))
        return oto_fail(e, OTO_E_INPUT, "%s: pieces is not a list of %d strings",
                        oto_weights_path(w), m->n_vocab);
    if (!find_piece(m, unknown, &m->unknown))
        return oto_fail(e, OTO_E_INPUT, "%s: the vocabulary has no <unk>", oto_weights_path(w));
    return 0;
}

static int bind(const oto_weights *w, ct_punc *m, oto_err *e)
{
    int rc;

    if ((rc = get_marks(w, m, e)) != 0 || (rc = bind_vocabulary(w, m, e)) != 0 ||
        (rc = oto_get_matrix(w, "embed.weight", m->sanm.type, m->n_vocab, CT_D, &m->embed, e)) !=
            0 ||
        (rc = oto_arena_get(m->a, (size_t)m->n_layers, sizeof *m->layers, &m->layers, e)) != 0)
        return rc;
    for (int i = 0; i < m->n_layers && rc == 0; i++) {
        char prefix[NAME_SIZE];

        prefix_of(i, prefix);
        rc = oto_sanm_bind(w, prefix, &m->sanm, CT_D, &m->layers[i], e);
    }
    if (rc != 0 ||
        (rc = oto_norm_bind(w, "encoder.after_norm", CT_D, m->sanm.eps, &m->norm, e)) != 0)
        return rc;
    return oto_dense_bind(w, "decoder", OTO_F32, m->n_marks, CT_D, true, &m->out, e);
}

void oto_ct_close(void *impl)
{
    oto_arena_free(((ct_punc *)impl)->a);
}

int oto_ct_open(const oto_weights *w, oto_compute compute, void **impl, oto_model_info *info,
                oto_err *e)
{
    oto_arena *a;
    ct_punc *m;
    int rc = oto_impl_new(w, "punctuation model", (size_t)1 << 20, sizeof *m, &a, &m, e);

    if (rc != 0)
        return rc;
    m->a = a;
    rc = get_keys(w, m, e);
    m->sanm = dims_of(m, compute);
    if (rc != 0 || (rc = bind(w, m, e)) != 0) {
        oto_ct_close(m);
        return rc;
    }
    info->n_vocab = m->n_vocab;
    info->width = CT_D;
    info->n_layers_enc = m->n_layers;
    info->n_heads = m->heads;
    snprintf(info->languages, sizeof info->languages, "zh,en");
    info->punctuates = true;
    *impl = m;
    return 0;
}
