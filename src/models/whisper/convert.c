/* Packing: CTranslate2's and whisper.cpp's tensors under the names of network.h.
 *
 * The two name the same things differently and cut them differently: CTranslate2 keeps queries,
 * keys and values of self-attention in one matrix (keys and values of cross-attention in another),
 * whisper.cpp keeps each apart, with no bias for keys. So a packed matrix is a list of parts, rows
 * under rows, and the tables below say which. What the files do not say (whisper.cpp knows neither
 * the suppressed tokens nor the alignment heads) is derived as openai-whisper does. */
#include "models/whisper/network.h"

#include <string.h>

#define MAX_PARTS 3
#define NAME_SIZE 160

typedef struct {
    const oto_weights *src;
    bool ggml;
    oto_compute compute;
    oto_gguf_writer *dst;
    oto_arena *a;
    oto_err *e;
    int width, n_mels, n_vocab, n_layers_enc, n_layers_dec;
    int eot;
} packer;

/* ---- matrices and vectors ---- */

typedef struct {
    const oto_tensor *part[MAX_PARTS];
    int n_parts, rows; /* of each part */
    int taps;          /* 0, or 3: a row is [channel][tap] and becomes [tap][channel] */
    int k;
    float *row; /* [k], for that */
} parts;

static void parts_row(void *arg, int r, float *out)
{
    const parts *p = arg;
    const oto_tensor *t = p->part[r / p->rows];
    if (p->taps == 0) {
        oto_tensor_row_f32(t, r % p->rows, out);
        return;
    }
    const int channels = p->k / p->taps;
    oto_tensor_row_f32(t, r % p->rows, p->row);
    for (int c = 0; c < channels; c++)
        for (int j = 0; j < p->taps; j++)
            out[j * channels + c] = p->row[c * p->taps + j];
}

/* The tensor SCOPE + NAME + SUFFIX, which must hold rows × k values; a vector may be stored as a
 * row or as a column. */
static int find(packer *p, const char *scope, const char *name, const char *suffix, int64_t rows,
                int64_t k, const oto_tensor **out)
{
    char full[NAME_SIZE];
    snprintf(full, sizeof full, "%s%s%s", scope, name, suffix);
    const oto_tensor *t = oto_weights_find(p->src, full);
    if (t == NULL)
        return oto_fail(p->e, OTO_E_INPUT, "%s: no tensor %s", oto_weights_path(p->src), full);
    if (oto_tensor_rows(t) * oto_tensor_row_len(t) != rows * k ||
        (rows > 1 && oto_tensor_rows(t) != rows))
        return oto_fail(p->e, OTO_E_INPUT, "%s: tensor %s is %lld x %lld, expected %lld x %lld",
                        oto_weights_path(p->src), full, (long long)oto_tensor_rows(t),
                        (long long)oto_tensor_row_len(t), (long long)rows, (long long)k);
    *out = t;
    return 0;
}

static void read_all(const oto_tensor *t, float *out)
{
    for (int64_t r = 0; r < oto_tensor_rows(t); r++)
        oto_tensor_row_f32(t, r, out + r * oto_tensor_row_len(t));
}

static int put_vector(packer *p, const char *dst, const char *name, const char *suffix,
                      const char *scope, int64_t rows, int64_t k)
{
    const oto_tensor *t;
    float *v;
    int rc;
    if ((rc = find(p, scope, name, suffix, rows, k, &t)) != 0 ||
        (rc = oto_arena_get(p->a, (size_t)(rows * k), sizeof *v, &v, p->e)) != 0)
        return rc;
    read_all(t, v);
    return oto_put_vector(p->dst, dst, v, rows * k, p->a, p->e);
}

/* Keys have no bias in whisper.cpp's files: it would add the same to all scores of a query. */
static bool is_key(const char *name)
{
    const size_t n = strlen(name);
    return n >= 4 && strcmp(name + n - 4, ".key") == 0;
}

static int put_bias(packer *p, const char *dst, const char *scope, const char *const *names,
                    int n_parts, int rows)
{
    float *v = oto_arena_calloc(p->a, (size_t)n_parts * (size_t)rows, sizeof *v);
    if (v == NULL)
        return oto_fail(p->e, OTO_E_LIMIT, "%s: out of memory", dst);
    for (int i = 0; i < n_parts; i++) {
        const oto_tensor *t;
        int rc;
        if (is_key(names[i]))
            continue;
        if ((rc = find(p, scope, names[i], p->ggml ? ".bias" : "/bias", 1, rows, &t)) != 0)
            return rc;
        read_all(t, v + (size_t)i * (size_t)rows);
    }
    return oto_put_vector(p->dst, dst, v, (int64_t)n_parts * rows, p->a, p->e);
}

/* From names[n_parts], n / n_parts rows each. */
static int put_linear(packer *p, const char *dst, const char *scope, const char *const *names,
                      int n_parts, int n, int k, int taps)
{
    parts m = {.n_parts = n_parts, .rows = n / n_parts, .taps = taps, .k = k};
    const bool hears = strcmp(dst, "enc.conv1") == 0;
    char full[NAME_SIZE];
    int rc = oto_arena_get(p->a, (size_t)k, sizeof *m.row, &m.row, p->e);
    for (int i = 0; i < n_parts && rc == 0; i++)
        rc = find(p, scope, names[i], p->ggml ? ".weight" : "/weight", m.rows, k, &m.part[i]);
    if (rc != 0)
        return rc;
    snprintf(full, sizeof full, "%s.w", dst);
    rc = oto_put_matrix(p->dst, full, oto_whisper_matrix_type(p->compute, hears), n, k, parts_row,
                        &m, p->a, p->e);
    if (rc != 0)
        return rc;
    snprintf(full, sizeof full, "%s.b", dst);
    return put_bias(p, full, scope, names, n_parts, m.rows);
}

static int put_norm(packer *p, const char *dst, const char *scope, const char *name)
{
    char full[NAME_SIZE];
    snprintf(full, sizeof full, "%s.g", dst);
    int rc = put_vector(p, full, name, p->ggml ? ".weight" : "/gamma", scope, 1, p->width);
    if (rc != 0)
        return rc;
    snprintf(full, sizeof full, "%s.b", dst);
    return put_vector(p, full, name, p->ggml ? ".bias" : "/beta", scope, 1, p->width);
}

/* ---- layers ---- */

static const struct {
    const char *dst, *ct2, *ggml[MAX_PARTS];
    int n, k; /* in widths */
    bool decoder;
} linears[] = {
    {"qkv", "self_attention/linear_0", {"attn.query", "attn.key", "attn.value"}, 3, 1, false},
    {"out", "self_attention/linear_1", {"attn.out"}, 1, 1, false},
    {"q", "attention/linear_0", {"cross_attn.query"}, 1, 1, true},
    {"kv", "attention/linear_1", {"cross_attn.key", "cross_attn.value"}, 2, 1, true},
    {"cross", "attention/linear_2", {"cross_attn.out"}, 1, 1, true},
    {"fc1", "ffn/linear_0", {"mlp.0"}, 4, 1, false},
    {"fc2", "ffn/linear_1", {"mlp.2"}, 1, 4, false},
};

static const struct {
    const char *dst, *ct2, *ggml;
    bool decoder;
} norms[] = {
    {"ln1", "self_attention/layer_norm", "attn_ln", false},
    {"ln2", "attention/layer_norm", "cross_attn_ln", true},
    {"ln3", "ffn/layer_norm", "mlp_ln", false},
};

static int put_layer(packer *p, bool decoder, int layer)
{
    const char *side = decoder ? "decoder" : "encoder", *short_side = decoder ? "dec" : "enc";
    char scope[64], dst[64];
    int rc = 0;
    if (p->ggml)
        snprintf(scope, sizeof scope, "%s.blocks.%d.", side, layer);
    else
        snprintf(scope, sizeof scope, "%s/layer_%d/", side, layer);
    for (size_t i = 0; i < OTO_COUNT(linears) && rc == 0; i++) {
        int n_parts = 1;
        if (linears[i].decoder && !decoder)
            continue;
        while (p->ggml && n_parts < MAX_PARTS && linears[i].ggml[n_parts] != NULL)
            n_parts++;
        snprintf(dst, sizeof dst, "%s.%d.%s", short_side, layer, linears[i].dst);
        rc = put_linear(p, dst, scope, p->ggml ? linears[i].ggml : &linears[i].ct2, n_parts,
                        linears[i].n * p->width, linears[i].k * p->width, 0);
    }
    for (size_t i = 0; i < OTO_COUNT(norms) && rc == 0; i++) {
        if (norms[i].decoder && !decoder)
            continue;
        snprintf(dst, sizeof dst, "%s.%d.%s", short_side, layer, norms[i].dst);
        rc = put_norm(p, dst, scope, p->ggml ? norms[i].ggml : norms[i].ct2);
    }
    return rc;
}

static int put_token_embedding(packer *p)
{
    const char *name = p->ggml ? "decoder.token_embedding.weight" : "decoder/embeddings/weight";
    const oto_tensor *t;
    int rc = find(p, "", name, "", p->n_vocab, p->width, &t);
    if (rc != 0)
        return rc;
    return oto_put_tensor_matrix(p->dst, "dec.tok", oto_whisper_matrix_type(p->compute, false), t,
                                 p->n_vocab, p->width, p->a, p->e);
}

static int put_tensors(packer *p)
{
    static const struct {
        const char *conv1, *conv2, *enc_pos, *enc_ln, *dec_pos, *dec_ln;
    } names[2] = {
        {"encoder/conv1", "encoder/conv2", "encoder/position_encodings/encodings",
         "encoder/layer_norm", "decoder/position_encodings/encodings", "decoder/layer_norm"},
        {"encoder.conv1", "encoder.conv2", "encoder.positional_embedding", "encoder.ln_post",
         "decoder.positional_embedding", "decoder.ln"},
    };
    const int g = p->ggml, w = p->width;
    int rc;
    if ((rc = put_linear(p, "enc.conv1", "", &names[g].conv1, 1, w, 3 * p->n_mels, 3)) != 0 ||
        (rc = put_linear(p, "enc.conv2", "", &names[g].conv2, 1, w, 3 * w, 3)) != 0 ||
        (rc = put_vector(p, "enc.pos", names[g].enc_pos, "", "", OTO_WHISPER_FRAMES, w)) != 0 ||
        (rc = put_norm(p, "enc.ln", "", names[g].enc_ln)) != 0 ||
        (rc = put_token_embedding(p)) != 0 ||
        (rc = put_vector(p, "dec.pos", names[g].dec_pos, "", "", OTO_WHISPER_CTX, w)) != 0 ||
        (rc = put_norm(p, "dec.ln", "", names[g].dec_ln)) != 0)
        return rc;
    for (int i = 0; i < p->n_layers_enc && rc == 0; i++)
        rc = put_layer(p, false, i);
    for (int i = 0; i < p->n_layers_dec && rc == 0; i++)
        rc = put_layer(p, true, i);
    return rc;
}

/* ---- dimensions ---- */

static int not_supported(packer *p, const char *what)
{
    return oto_fail(p->e, OTO_E_UNSUPPORTED, "%s: %s", oto_weights_path(p->src), what);
}

static int count_layers(const oto_weights *src, const char *side)
{
    char name[NAME_SIZE];
    for (int n = 0; n <= OTO_WHISPER_MAX_LAYERS; n++) {
        snprintf(name, sizeof name, "%s/layer_%d/self_attention/linear_0/weight", side, n);
        if (oto_weights_find(src, name) == NULL)
            return n;
    }
    return OTO_WHISPER_MAX_LAYERS + 1;
}

/* A rank-0 variable of a CTranslate2 file, or `missing`. */
static int ct2_scalar(packer *p, const char *name, int missing)
{
    const oto_tensor *t = oto_weights_find(p->src, name);
    float v = (float)missing;
    if (t != NULL && t->rank == 0 && (t->type == OTO_T_I8 || t->type == OTO_T_I16))
        oto_tensor_row_f32(t, 0, &v);
    return (int)v;
}

static int ct2_dims(packer *p)
{
    const int64_t any[3] = {-1, -1, 3};
    const oto_tensor *conv, *tok;
    int rc;
    if ((rc = oto_weights_need(p->src, "encoder/conv1/weight", -1, 3, any, &conv, p->e)) != 0 ||
        (rc = oto_weights_need(p->src, "decoder/embeddings/weight", -1, 2, any, &tok, p->e)) != 0)
        return rc;
    if (conv->dim[0] < OTO_WHISPER_HEAD || conv->dim[0] % OTO_WHISPER_HEAD != 0 ||
        conv->dim[0] > OTO_WHISPER_MAX_WIDTH || conv->dim[1] < 1 ||
        conv->dim[1] > OTO_WHISPER_MAX_MELS || tok->dim[0] < 1 ||
        tok->dim[0] > OTO_WHISPER_MAX_VOCAB)
        return not_supported(p, "dimensions that are no Whisper model's");
    p->width = (int)conv->dim[0];
    p->n_mels = (int)conv->dim[1];
    p->n_vocab = (int)tok->dim[0];
    p->n_layers_enc = count_layers(p->src, "encoder");
    p->n_layers_dec = count_layers(p->src, "decoder");
    const int heads = p->width / OTO_WHISPER_HEAD;
    if (ct2_scalar(p, "encoder/num_heads", heads) != heads ||
        ct2_scalar(p, "decoder/num_heads", heads) != heads)
        return not_supported(p, "attention heads of another size than 64");
    if (ct2_scalar(p, "decoder/activation", 3) != 3)
        return not_supported(p, "an activation other than GELU");
    return 0;
}

static int ggml_dims(packer *p)
{
    int same;
    const struct {
        const char *key;
        int lo, hi;
        int *out;
    } dims[] = {
        {"ggml.n_vocab", 1, OTO_WHISPER_MAX_VOCAB, &p->n_vocab},
        {"ggml.n_audio_state", OTO_WHISPER_HEAD, OTO_WHISPER_MAX_WIDTH, &p->width},
        {"ggml.n_text_state", OTO_WHISPER_HEAD, OTO_WHISPER_MAX_WIDTH, &same},
        {"ggml.n_mels", 1, OTO_WHISPER_MAX_MELS, &p->n_mels},
        {"ggml.n_audio_layer", 1, OTO_WHISPER_MAX_LAYERS, &p->n_layers_enc},
        {"ggml.n_text_layer", 1, OTO_WHISPER_MAX_LAYERS, &p->n_layers_dec},
        {"ggml.n_audio_ctx", OTO_WHISPER_FRAMES, OTO_WHISPER_FRAMES, &same},
        {"ggml.n_text_ctx", OTO_WHISPER_CTX, OTO_WHISPER_CTX, &same},
    };
    for (size_t i = 0; i < OTO_COUNT(dims); i++) {
        int64_t v = 0;
        int rc = oto_get_int(p->src, dims[i].key, dims[i].lo, dims[i].hi, &v, p->e);
        if (rc != 0)
            return rc;
        *dims[i].out = (int)v;
    }
    int64_t width = 0, enc = 0, dec = 0;
    (void)oto_weights_int(p->src, "ggml.n_text_state", &width);
    (void)oto_weights_int(p->src, "ggml.n_audio_head", &enc);
    (void)oto_weights_int(p->src, "ggml.n_text_head", &dec);
    if (width != p->width || enc * OTO_WHISPER_HEAD != width || dec != enc)
        return not_supported(p, "attention heads of another size than 64");
    return 0;
}

/* Where text ends: CTranslate2's vocabulary names it; whisper.cpp's omits all special tokens, and
 * there are but two vocabularies. */
static int find_eot(packer *p)
{
    static const char eot[] = "<|endoftext|>";
    const size_t n = oto_weights_array_len(p->src, "ct2.vocabulary");
    oto_slice s;
    p->eot = p->n_vocab >= OTO_WHISPER_MULTILINGUAL ? 50257 : 50256;
    for (size_t i = 0; i < n && i < (size_t)p->n_vocab; i++)
        if (oto_weights_array_str(p->src, "ct2.vocabulary", i, &s) && s.n == sizeof eot - 1 &&
            memcmp(s.p, eot, s.n) == 0) {
            p->eot = (int)i;
            break;
        }
    if (p->n_vocab - p->eot - OTO_WHISPER_SPECIALS < 1)
        return not_supported(p, "not a Whisper vocabulary");
    return 0;
}

static int put_dims(packer *p)
{
    const struct {
        const char *key;
        int v;
    } dims[] = {
        {"whisper.width", p->width},
        {"whisper.n_heads", p->width / OTO_WHISPER_HEAD},
        {"whisper.n_layers_enc", p->n_layers_enc},
        {"whisper.n_layers_dec", p->n_layers_dec},
        {"whisper.n_mels", p->n_mels},
        {"whisper.n_vocab", p->n_vocab},
        {"whisper.eot", p->eot},
    };
    int rc = 0;
    for (size_t i = 0; i < OTO_COUNT(dims) && rc == 0; i++)
        rc = oto_gguf_put_int(p->dst, dims[i].key, dims[i].v, p->e);
    return rc;
}

/* ---- vocabulary ---- */

static int vocabulary(packer *p, oto_slice **out)
{
    const char *key = p->ggml ? "tokenizer.tokens" : "ct2.vocabulary";
    const size_t n = oto_weights_array_len(p->src, key);
    oto_slice *s;
    int rc;
    if (n == 0)
        return oto_fail(p->e, OTO_E_INPUT, "%s: no vocabulary%s", oto_weights_path(p->src),
                        p->ggml ? "" : " (vocabulary.json or vocabulary.txt beside it)");
    if (n < (size_t)p->eot)
        return oto_fail(p->e, OTO_E_INPUT, "%s: a vocabulary of %zu tokens, at least %d expected",
                        oto_weights_path(p->src), n, p->eot);
    if ((rc = oto_arena_get(p->a, (size_t)p->eot, sizeof *s, &s, p->e)) != 0)
        return rc;
    for (int i = 0; i < p->eot && rc == 0; i++) {
        s[i] = (oto_slice){"", 0};
        (void)oto_weights_array_str(p->src, key, (size_t)i, &s[i]);
        if (!p->ggml)
            rc = oto_tokens_unprintable(s[i], p->a, &s[i], p->e);
    }
    *out = s;
    return rc;
}

static int put_tokens(packer *p, const oto_slice *s)
{
    int64_t n_bytes = 0, n = p->eot;
    char *bytes;
    int32_t *end, at = 0;
    int rc;
    for (int i = 0; i < p->eot; i++)
        n_bytes += (int64_t)s[i].n;
    if (n_bytes > INT32_MAX)
        return oto_fail(p->e, OTO_E_INPUT, "%s: a vocabulary of %lld bytes",
                        oto_weights_path(p->src), (long long)n_bytes);
    if ((rc = oto_arena_get(p->a, (size_t)n_bytes, 1, &bytes, p->e)) != 0 ||
        (rc = oto_arena_get(p->a, (size_t)n, sizeof *end, &end, p->e)) != 0)
        return rc;
    for (int i = 0; i < p->eot; i++) {
        memcpy(bytes + at, s[i].p, s[i].n);
        at += (int32_t)s[i].n;
        end[i] = at;
    }
    if ((rc = oto_gguf_put_tensor(p->dst, "tokens.bytes", OTO_T_I8, 1, &n_bytes, bytes,
                                  (size_t)n_bytes, p->e)) != 0)
        return rc;
    return oto_gguf_put_tensor(p->dst, "tokens.end", OTO_T_I32, 1, &n, end, (size_t)n * sizeof *end,
                               p->e);
}

/* ---- lists ---- */

#define MAX_LIST 4096

typedef struct {
    int32_t v[MAX_LIST];
    size_t n;
} list;

/* In ascending order, each once. */
static void list_add(list *l, int32_t v)
{
    size_t i = 0;
    while (i < l->n && l->v[i] < v)
        i++;
    if (l->n == MAX_LIST || (i < l->n && l->v[i] == v))
        return;
    memmove(&l->v[i + 1], &l->v[i], (l->n - i) * sizeof l->v[0]);
    l->v[i] = v;
    l->n++;
}

/* The first token of PREFIX + TEXT; `whole`: only if it is the only one. */
static void list_add_text(list *l, const oto_tokens *t, const char *prefix, const char *text,
                          bool whole)
{
    char both[32];
    int32_t ids[32];
    int n = (int)OTO_COUNT(ids);
    snprintf(both, sizeof both, "%s%s", prefix, text);
    if (oto_tokens_encode(t, both, ids, &n, NULL) == 0 && n > 0 && (n == 1 || !whole))
        list_add(l, ids[0]);
}

/* Tokens that annotate rather than transcribe, as openai-whisper's tokenizer lists them: marks of
 * brackets, speakers and music, alone and after a space; of notes, which may take several tokens,
 * the first; and dashes and quotes where a word begins. */
static void derive_suppress(const oto_tokens *t, int eot, int translate, list *l)
{
    static const char *const marks[] = {
        "\"",  "#",  "(",  ")",   "*",   "+",   "/",   ":",  ";",   "<",  "=",  ">",
        "@",   "[",  "\\", "]",   "^",   "_",   "`",   "{",  "|",   "}",  "~",  "「",
        "」",  "『", "』", "<<",  ">>",  "<<<", ">>>", "--", "---", "-(", "-[", "('",
        "(\"", "((", "))", "(((", ")))", "[[",  "]]",  "{{", "}}",  "♪♪", "♪♪♪"};
    static const char *const notes[] = {"♩", "♪", "♫", "♬", "♭", "♮", "♯"};
    list_add_text(l, t, " ", "-", false);
    list_add_text(l, t, " ", "'", false);
    for (size_t i = 0; i < OTO_COUNT(marks); i++) {
        list_add_text(l, t, "", marks[i], true);
        list_add_text(l, t, " ", marks[i], true);
    }
    for (size_t i = 0; i < OTO_COUNT(notes); i++) {
        list_add_text(l, t, "", notes[i], false);
        list_add_text(l, t, " ", notes[i], false);
    }
    list_add(l, eot + 1); /* sot, then translate … no_speech */
    for (int i = 0; i < 5; i++)
        list_add(l, translate + i);
}

/* CTranslate2's list where it has one. */
static bool list_of_config(packer *p, const char *key, list *l)
{
    const size_t n = oto_weights_array_len(p->src, key);
    l->n = 0;
    if (n == 0 || n > MAX_LIST)
        return false;
    for (size_t i = 0; i < n; i++) {
        int64_t v = 0;
        (void)oto_weights_array_int(p->src, key, i, &v);
        l->v[l->n++] = (int32_t)v; /* judged when the packed file is opened */
    }
    return true;
}

static int put_list(packer *p, const char *key, const list *l)
{
    return oto_gguf_put_ints(p->dst, key, l->v, l->n, p->e);
}

static int put_lists(packer *p, const oto_tokens *t)
{
    const int n_langs = p->n_vocab - p->eot - OTO_WHISPER_SPECIALS;
    const int heads = p->width / OTO_WHISPER_HEAD;
    list *l;
    int rc = oto_arena_get(p->a, 1, sizeof *l, &l, p->e);
    if (rc != 0)
        return rc;
    if (!list_of_config(p, "ct2.suppress_ids", l))
        derive_suppress(t, p->eot, p->eot + 2 + n_langs, l);
    if ((rc = put_list(p, "whisper.suppress", l)) != 0)
        return rc;
    if (!list_of_config(p, "ct2.suppress_ids_begin", l)) {
        list_add_text(l, t, "", " ", true);
        list_add(l, p->eot);
    }
    if ((rc = put_list(p, "whisper.suppress_begin", l)) != 0)
        return rc;
    if (!list_of_config(p, "ct2.alignment_heads", l))
        for (int i = p->n_layers_dec / 2; i < p->n_layers_dec; i++)
            for (int h = 0; h < heads && l->n + 2 <= MAX_LIST; h++) {
                l->v[l->n++] = i;
                l->v[l->n++] = h;
            }
    return put_list(p, "whisper.alignment_heads", l);
}

static int put_vocabulary(packer *p)
{
    oto_tokens *t = NULL;
    oto_slice *s = NULL;
    int rc;
    if ((rc = vocabulary(p, &s)) != 0 || (rc = put_tokens(p, s)) != 0)
        return rc;
    if ((rc = oto_tokens_new(s, p->eot, p->eot, &t, p->e)) != 0)
        return oto_err_prefix(p->e, "%s", oto_weights_path(p->src));
    rc = put_lists(p, t);
    oto_tokens_free(t);
    return rc;
}

/* ---- the family's two functions ---- */

bool oto_whisper_matches(const oto_weights *src)
{
    static const char spec_name[] = "WhisperSpec";
    oto_slice spec;
    if (strcmp(oto_weights_format(src), "ct2") == 0)
        return oto_weights_str(src, "ct2.spec", &spec) && spec.n == sizeof spec_name - 1 &&
               memcmp(spec.p, spec_name, spec.n) == 0;
    return strcmp(oto_weights_format(src), "ggml") == 0 &&
           oto_weights_find(src, "decoder.token_embedding.weight") != NULL;
}

int oto_whisper_pack(const oto_weights *src, oto_compute compute, oto_gguf_writer *dst,
                     oto_arena *a, oto_err *e)
{
    packer p = {.src = src,
                .ggml = strcmp(oto_weights_format(src), "ggml") == 0,
                .compute = compute,
                .dst = dst,
                .a = a,
                .e = e};
    int rc = p.ggml ? ggml_dims(&p) : ct2_dims(&p);
    if (rc != 0 || (rc = find_eot(&p)) != 0 || (rc = put_dims(&p)) != 0 ||
        (rc = put_vocabulary(&p)) != 0)
        return rc;
    return put_tensors(&p);
}
