/* whisper: binding a packed file, and the family's descriptor. Everything is checked here, once:
 * the network and the decoding rules index tables without looking. */
#include "models/whisper/network.h"

#include <string.h>

#define MODEL_ARENA_BYTES ((size_t)64 << 20) /* address space; a few MB are used */

/* ---- tensors ---- */

typedef struct {
    const oto_weights *w;
    oto_dtype type;
    const char *scope; /* "enc.", "dec." */
    int layer;         /* -1: outside the layers */
    char name[64];
} binder;

static const char *name_of(binder *b, const char *name, const char *suffix)
{
    if (b->layer >= 0)
        snprintf(b->name, sizeof b->name, "%s%d.%s%s", b->scope, b->layer, name, suffix);
    else
        snprintf(b->name, sizeof b->name, "%s%s%s", b->scope, name, suffix);
    return b->name;
}

static int bind_norm(binder *b, const char *name, int width, whisper_norm *out, oto_err *e)
{
    int rc = oto_get_vector(b->w, name_of(b, name, ".g"), width, &out->g, e);
    return rc ? rc : oto_get_vector(b->w, name_of(b, name, ".b"), width, &out->b, e);
}

static int bind_linear(binder *b, const char *name, oto_dtype type, int n, int k,
                       whisper_linear *out, oto_err *e)
{
    int rc = oto_get_matrix(b->w, name_of(b, name, ".w"), type, n, k, &out->w, e);
    return rc ? rc : oto_get_vector(b->w, name_of(b, name, ".b"), n, &out->b, e);
}

static int bind_layer(binder *b, int width, bool decoder, whisper_layer *l, oto_err *e)
{
    int rc;
    if ((rc = bind_norm(b, "ln1", width, &l->ln1, e)) != 0 ||
        (rc = bind_linear(b, "qkv", b->type, 3 * width, width, &l->qkv, e)) != 0 ||
        (rc = bind_linear(b, "out", b->type, width, width, &l->out, e)) != 0 ||
        (rc = bind_norm(b, "ln3", width, &l->ln3, e)) != 0 ||
        (rc = bind_linear(b, "fc1", b->type, 4 * width, width, &l->fc1, e)) != 0 ||
        (rc = bind_linear(b, "fc2", b->type, width, 4 * width, &l->fc2, e)) != 0 || !decoder)
        return rc;
    if ((rc = bind_norm(b, "ln2", width, &l->ln2, e)) != 0 ||
        (rc = bind_linear(b, "q", b->type, width, width, &l->q, e)) != 0 ||
        (rc = bind_linear(b, "kv", b->type, 2 * width, width, &l->kv, e)) != 0)
        return rc;
    return bind_linear(b, "cross", b->type, width, width, &l->cross, e);
}

static int bind_layers(oto_whisper *m, binder *b, int n, bool decoder, whisper_layer **out,
                       oto_err *e)
{
    int rc = 0;
    *out = oto_arena_calloc(m->a, (size_t)n, sizeof **out);
    if (*out == NULL)
        return oto_fail(e, OTO_E_LIMIT, "%s: out of memory", oto_weights_path(b->w));
    for (b->layer = 0; b->layer < n && rc == 0; b->layer++)
        rc = bind_layer(b, m->dims.width, decoder, &(*out)[b->layer], e);
    b->layer = -1;
    return rc;
}

static int bind_tensors(oto_whisper *m, const oto_weights *w, oto_err *e)
{
    const oto_whisper_dims *d = &m->dims;
    const oto_dtype first = oto_whisper_matrix_type(d->compute, true);
    const int width = d->width;
    binder b = {
        .w = w, .type = oto_whisper_matrix_type(d->compute, false), .scope = "enc.", .layer = -1};
    int rc;
    if ((rc = bind_linear(&b, "conv1", first, width, 3 * d->n_mels, &m->conv1, e)) != 0 ||
        (rc = bind_linear(&b, "conv2", b.type, width, 3 * width, &m->conv2, e)) != 0 ||
        (rc = oto_get_vector(w, "enc.pos", (int64_t)OTO_WHISPER_FRAMES * width, &m->enc_pos, e)) !=
            0 ||
        (rc = bind_norm(&b, "ln", width, &m->enc_ln, e)) != 0 ||
        (rc = bind_layers(m, &b, d->n_layers_enc, false, &m->enc, e)) != 0)
        return rc;
    b.scope = "dec.";
    if ((rc = oto_get_matrix(w, "dec.tok", b.type, d->n_vocab, width, &m->tok, e)) != 0 ||
        (rc = oto_get_vector(w, "dec.pos", (int64_t)OTO_WHISPER_CTX * width, &m->dec_pos, e)) !=
            0 ||
        (rc = bind_norm(&b, "ln", width, &m->dec_ln, e)) != 0)
        return rc;
    return bind_layers(m, &b, d->n_layers_dec, true, &m->dec, e);
}

/* ---- dimensions ---- */

static int get_dim(const oto_weights *w, const char *key, int64_t lo, int64_t hi, int *out,
                   oto_err *e)
{
    int64_t v = 0;
    int rc = oto_get_int(w, key, lo, hi, &v, e);
    *out = (int)v;
    return rc;
}

static int bind_dims(oto_whisper_dims *d, const oto_weights *w, oto_err *e)
{
    int rc;
    if ((rc = get_dim(w, "whisper.width", OTO_WHISPER_HEAD, OTO_WHISPER_MAX_WIDTH, &d->width, e)) !=
            0 ||
        (rc = get_dim(w, "whisper.n_heads", 1, OTO_WHISPER_MAX_WIDTH / OTO_WHISPER_HEAD,
                      &d->n_heads, e)) != 0 ||
        (rc = get_dim(w, "whisper.n_layers_enc", 1, OTO_WHISPER_MAX_LAYERS, &d->n_layers_enc, e)) !=
            0 ||
        (rc = get_dim(w, "whisper.n_layers_dec", 1, OTO_WHISPER_MAX_LAYERS, &d->n_layers_dec, e)) !=
            0 ||
        (rc = get_dim(w, "whisper.n_mels", 1, OTO_WHISPER_MAX_MELS, &d->n_mels, e)) != 0 ||
        (rc = get_dim(w, "whisper.n_vocab", 1, OTO_WHISPER_MAX_VOCAB, &d->n_vocab, e)) != 0 ||
        (rc = get_dim(w, "whisper.eot", 1, d->n_vocab - 1, &d->eot, e)) != 0)
        return rc;
    if (d->n_heads * OTO_WHISPER_HEAD != d->width)
        return oto_fail(e, OTO_E_UNSUPPORTED, "%s: %d heads for a width of %d (a head has %d)",
                        oto_weights_path(w), d->n_heads, d->width, OTO_WHISPER_HEAD);
    d->n_langs = d->n_vocab - d->eot - OTO_WHISPER_SPECIALS;
    if (d->n_langs < 1)
        return oto_fail(e, OTO_E_INPUT,
                        "%s: %d tokens are no Whisper vocabulary with text up to %d",
                        oto_weights_path(w), d->n_vocab, d->eot);
    d->sot = d->eot + 1;
    d->lang_first = d->sot + 1;
    d->translate = d->lang_first + d->n_langs;
    d->transcribe = d->translate + 1;
    d->sot_lm = d->translate + 2;
    d->sot_prev = d->translate + 3;
    d->no_speech = d->translate + 4;
    d->no_timestamps = d->translate + 5;
    d->timestamp_first = d->translate + 6;
    d->multilingual = d->n_vocab >= OTO_WHISPER_MULTILINGUAL;
    return 0;
}

/* A list of metadata whose values lie in [0, limit[i % step]). */
static int bind_list(oto_whisper *m, const oto_weights *w, const char *key, const int *limit,
                     int step, const int32_t **out, int *n, oto_err *e)
{
    const size_t len = oto_weights_array_len(w, key);
    int32_t *v;
    int rc;
    if (len > OTO_WHISPER_MAX_VOCAB || len % (size_t)step != 0)
        return oto_fail(e, OTO_E_INPUT, "%s: %s has %zu values", oto_weights_path(w), key, len);
    if ((rc = oto_arena_get(m->a, len, sizeof *v, &v, e)) != 0)
        return rc;
    for (size_t i = 0; i < len; i++) {
        int64_t value = -1;
        if (!oto_weights_array_int(w, key, i, &value) || value < 0 ||
            value >= limit[i % (size_t)step])
            return oto_fail(e, OTO_E_INPUT, "%s: %s: value %zu is %lld, expected 0 to %d",
                            oto_weights_path(w), key, i, (long long)value,
                            limit[i % (size_t)step] - 1);
        v[i] = (int32_t)value;
    }
    *out = v;
    *n = (int)len / step;
    return 0;
}

static int bind_lists(oto_whisper *m, const oto_weights *w, oto_err *e)
{
    oto_whisper_dims *d = &m->dims;
    const int heads[] = {d->n_layers_dec, d->n_heads};
    int rc;
    if ((rc = bind_list(m, w, "whisper.suppress", &d->n_vocab, 1, &d->suppress, &d->n_suppress,
                        e)) != 0 ||
        (rc = bind_list(m, w, "whisper.suppress_begin", &d->n_vocab, 1, &d->suppress_begin,
                        &d->n_suppress_begin, e)) != 0)
        return rc;
    return bind_list(m, w, "whisper.alignment_heads", heads, 2, &d->alignment_heads,
                     &d->n_alignment_heads, e);
}

/* Two tensors rather than an array of strings: the latter would be walked string by string at every
 * start. */
static int bind_tokens(oto_whisper *m, const oto_weights *w, oto_err *e)
{
    const int64_t n = m->dims.eot, any = -1;
    const oto_tensor *bytes, *end;
    oto_slice *s;
    int rc;
    if ((rc = oto_weights_need(w, "tokens.bytes", OTO_T_I8, 1, &any, &bytes, e)) != 0 ||
        (rc = oto_weights_need(w, "tokens.end", OTO_T_I32, 1, &n, &end, e)) != 0 ||
        (rc = oto_arena_get(m->a, (size_t)n, sizeof *s, &s, e)) != 0)
        return rc;
    int32_t from = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t to;
        memcpy(&to, (const char *)end->data + i * 4, sizeof to);
        if (to < from || to > bytes->dim[0])
            return oto_fail(e, OTO_E_INPUT, "%s: token %lld ends at %d, outside its bytes",
                            oto_weights_path(w), (long long)i, to);
        s[i] = (oto_slice){(const char *)bytes->data + from, (size_t)(to - from)};
        from = to;
    }
    rc = oto_tokens_new(s, (int)n, (int)n, &m->tokens, e);
    return rc ? oto_err_prefix(e, "%s", oto_weights_path(w)) : 0;
}

/* ---- the family ---- */

static void whisper_close(void *impl)
{
    oto_whisper *m = impl;
    oto_tokens_free(m->tokens);
    oto_arena_free(m->a);
}

static int whisper_open(const oto_weights *w, oto_compute compute, void **impl,
                        oto_model_info *info, oto_err *e)
{
    oto_arena *a;
    oto_whisper *m;
    int rc = oto_impl_new(w, "whisper model", MODEL_ARENA_BYTES, sizeof *m, &a, &m, e);
    if (rc != 0)
        return rc;
    m->a = a;
    m->dims.compute = compute;
    m->kv_type = compute == OTO_COMPUTE_F32 ? OTO_F32 : OTO_BF16;
    if ((rc = bind_dims(&m->dims, w, e)) != 0 || (rc = bind_lists(m, w, e)) != 0 ||
        (rc = bind_tensors(m, w, e)) != 0 || (rc = bind_tokens(m, w, e)) != 0) {
        whisper_close(m);
        return rc;
    }
    info->n_mels = m->dims.n_mels;
    info->n_vocab = m->dims.n_vocab;
    info->width = m->dims.width;
    info->n_layers_enc = m->dims.n_layers_enc;
    info->n_layers_dec = m->dims.n_layers_dec;
    info->n_heads = m->dims.n_heads;
    info->translates = info->detects = m->dims.multilingual;
    info->hotwords = true;
    info->punctuates = true;
    snprintf(info->languages, sizeof info->languages, "%s", m->dims.multilingual ? "" : "en");
    *impl = m;
    return 0;
}

const oto_whisper *oto_whisper_of(const oto_model *m)
{
    return m->family == &oto_family_whisper ? m->impl : NULL;
}

const oto_family oto_family_whisper = {
    .name = "whisper",
    .task = OTO_TASK_ASR,
    .matches = oto_whisper_matches,
    .pack = oto_whisper_pack,
    .open = whisper_open,
    .close = whisper_close,
    .asr_bytes = oto_whisper_asr_bytes,
    .asr_new = oto_whisper_asr_new,
    .asr_begin = oto_whisper_asr_begin,
    .asr_step = oto_whisper_asr_step,
    .asr_ended = oto_whisper_asr_ended,
    .asr_end = oto_whisper_asr_end,
    .asr_drop = oto_whisper_asr_drop,
    .asr_stats = oto_whisper_asr_stats,
};
