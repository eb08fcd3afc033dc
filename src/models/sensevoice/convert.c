/* From FunASR's GGUF (runtime/llama.cpp, export_sensevoice_gguf.py) to the packed form, and binding
 * that. */
#include "models/sensevoice/sensevoice.h"

#include <string.h>

#define BLANK 0

bool oto_sv_matches(const oto_weights *src)
{
    return oto_is_architecture(src, "sensevoice-small") ||
           (oto_weights_find(src, "ctc.ctc_lo.weight") != NULL &&
            oto_weights_find(src, "encoder.tp_norm.weight") != NULL);
}

static oto_sanm_dims dims_of(const sensevoice *m, oto_compute compute)
{
    return (oto_sanm_dims){.in = SV_IN,
                           .d = SV_D,
                           .heads = m->heads,
                           .ffn = m->ffn,
                           .n_taps = SV_TAPS,
                           .left = SV_TAPS / 2,
                           .eps = 1e-5f,
                           .type = oto_dense_type(compute)};
}

/* The prefix of layer i of both stacks. */
static void prefix_of(const sensevoice *m, int i, char *out, size_t n)
{
    if (i == 0)
        snprintf(out, n, "encoder.encoders0.0");
    else if (i < m->n_enc)
        snprintf(out, n, "encoder.encoders.%d", i - 1);
    else
        snprintf(out, n, "encoder.tp_encoders.%d", i - m->n_enc);
}

/* ---- packing ---- */

static int find_sizes(const oto_weights *src, sensevoice *m, oto_err *e)
{
    int64_t heads = 4, taps = SV_TAPS, blank = BLANK, form;
    int rc;

    if ((rc = oto_count_rows(src, "encoder.encoders0.0.feed_forward.w_1.weight", 16, 1 << 14,
                             &m->ffn, e)) != 0 ||
        (rc = oto_count_rows(src, "ctc.ctc_lo.weight", 4, 1 << 20, &m->n_vocab, e)) != 0)
        return rc;
    m->n_enc = 1 + oto_count_layers(src, "encoder.encoders.#.norm1.weight");
    m->n_tp = oto_count_layers(src, "encoder.tp_encoders.#.norm1.weight");
    if (m->n_enc > SV_MAX_ENC || m->n_tp > SV_MAX_ENC)
        return oto_fail(e, OTO_E_INPUT, "%s: %d and %d layers are too many", oto_weights_path(src),
                        m->n_enc, m->n_tp);
    oto_weights_int(src, "sv.attention_heads", &heads);
    oto_weights_int(src, "sv.kernel_size", &taps);
    oto_weights_int(src, "sv.blank_id", &blank);
    if ((heads != 4 && heads != 8) || taps != SV_TAPS || blank != BLANK)
        return oto_fail(e, OTO_E_UNSUPPORTED,
                        "%s: %lld heads, filters of %lld and blank %lld are not SenseVoice's",
                        oto_weights_path(src), (long long)heads, (long long)taps, (long long)blank);
    m->heads = (int)heads;
    m->form = 14;
    if (oto_weights_array_int(src, "sv.query_tokens", 3, &form) && form >= 0 && form < SV_EMBED)
        m->form = (int)form;
    return 0;
}

static int pack_embed(const oto_weights *src, oto_gguf_writer *dst, oto_arena *a, oto_err *e)
{
    const oto_tensor *t = oto_weights_find(src, "embed.weight");
    float *v;
    int rc;

    if (t == NULL || oto_tensor_rows(t) != SV_EMBED || oto_tensor_row_len(t) != SV_IN)
        return oto_fail(e, OTO_E_INPUT, "%s: embed.weight is missing or not %d x %d",
                        oto_weights_path(src), SV_EMBED, SV_IN);
    if ((rc = oto_arena_get(a, (size_t)SV_EMBED * SV_IN, sizeof *v, &v, e)) != 0)
        return rc;
    for (int i = 0; i < SV_EMBED; i++)
        oto_tensor_row_f32(t, i, v + (size_t)i * SV_IN);
    return oto_put_vector(dst, "embed.weight", v, (int64_t)SV_EMBED * SV_IN, a, e);
}

static int64_t values_of(const oto_tensor *t)
{
    return t == NULL ? 0 : oto_tensor_rows(t) * oto_tensor_row_len(t);
}

/* A file with one value of shift is the exporter's: see cmvn.c. */
static int pack_cmvn(const oto_weights *src, oto_gguf_writer *dst, oto_arena *a, oto_err *e)
{
    const oto_tensor *shift = oto_weights_find(src, "cmvn.shift");
    const oto_tensor *scale = oto_weights_find(src, "cmvn.scale");
    float v[SV_IN];
    int rc;

    if (values_of(scale) == SV_IN && values_of(shift) == SV_IN) {
        rc = oto_vector_pack(src, dst, "cmvn.shift", SV_IN, a, e);
        return rc == 0 ? oto_vector_pack(src, dst, "cmvn.scale", SV_IN, a, e) : rc;
    }
    if (values_of(scale) != SV_IN || values_of(shift) != 1 || oto_tensor_rows(scale) != 1)
        return oto_fail(e, OTO_E_INPUT, "%s: cmvn.shift and cmvn.scale have %lld and %lld values",
                        oto_weights_path(src), (long long)values_of(shift),
                        (long long)values_of(scale));
    oto_tensor_row_f32(scale, 0, v);
    if ((rc = oto_put_vector(dst, "cmvn.shift", v, SV_IN, a, e)) != 0)
        return rc;
    for (int i = 0; i < SV_IN; i++)
        v[i] = oto_sv_published_scale[i % OTO_FBANK_MELS];
    return oto_put_vector(dst, "cmvn.scale", v, SV_IN, a, e);
}

int oto_sv_pack(const oto_weights *src, oto_compute compute, oto_gguf_writer *dst, oto_arena *a,
                oto_err *e)
{
    sensevoice m = {0};
    int rc = find_sizes(src, &m, e);

    m.sanm = dims_of(&m, compute);
    if (rc != 0 || (rc = oto_gguf_put_int(dst, "sensevoice.heads", m.heads, e)) != 0 ||
        (rc = oto_gguf_put_int(dst, "sensevoice.ffn", m.ffn, e)) != 0 ||
        (rc = oto_gguf_put_int(dst, "sensevoice.encoder_layers", m.n_enc, e)) != 0 ||
        (rc = oto_gguf_put_int(dst, "sensevoice.tp_layers", m.n_tp, e)) != 0 ||
        (rc = oto_gguf_put_int(dst, "sensevoice.vocabulary", m.n_vocab, e)) != 0 ||
        (rc = oto_gguf_put_int(dst, "sensevoice.form", m.form, e)) != 0 ||
        (rc = oto_pieces_pack(src, dst, "sv.vocab", m.n_vocab, a, e)) != 0 ||
        (rc = pack_cmvn(src, dst, a, e)) != 0 || (rc = pack_embed(src, dst, a, e)) != 0)
        return rc;
    for (int i = 0; i < m.n_enc + m.n_tp && rc == 0; i++) {
        char prefix[64];

        prefix_of(&m, i, prefix, sizeof prefix);
        rc = oto_sanm_pack(src, dst, prefix, &m.sanm, i == 0 ? SV_IN : SV_D, a, e);
    }
    if (rc != 0 || (rc = oto_norm_pack(src, dst, "encoder.after_norm", SV_D, a, e)) != 0 ||
        (rc = oto_norm_pack(src, dst, "encoder.tp_norm", SV_D, a, e)) != 0)
        return rc;
    return oto_dense_pack(src, dst, "ctc.ctc_lo", m.sanm.type, m.n_vocab, SV_D, true, a, e);
}

/* ---- binding ---- */

static int get_keys(const oto_weights *w, sensevoice *m, oto_err *e)
{
    int64_t heads, ffn, enc, tp, vocab, form;
    int rc;

    if ((rc = oto_get_int(w, "sensevoice.heads", 4, 8, &heads, e)) != 0 ||
        (rc = oto_get_int(w, "sensevoice.ffn", 16, 1 << 14, &ffn, e)) != 0 ||
        (rc = oto_get_int(w, "sensevoice.encoder_layers", 1, SV_MAX_ENC, &enc, e)) != 0 ||
        (rc = oto_get_int(w, "sensevoice.tp_layers", 0, SV_MAX_ENC, &tp, e)) != 0 ||
        (rc = oto_get_int(w, "sensevoice.vocabulary", 4, 1 << 20, &vocab, e)) != 0 ||
        (rc = oto_get_int(w, "sensevoice.form", 0, SV_EMBED - 1, &form, e)) != 0)
        return rc;
    if (heads != 4 && heads != 8)
        return oto_fail(e, OTO_E_INPUT, "%s: sensevoice.heads is %lld", oto_weights_path(w),
                        (long long)heads);
    m->heads = (int)heads;
    m->ffn = (int)ffn;
    m->n_enc = (int)enc;
    m->n_tp = (int)tp;
    m->n_vocab = (int)vocab;
    m->form = (int)form;
    return 0;
}

static int bind(const oto_weights *w, sensevoice *m, oto_err *e)
{
    int rc;

    if ((rc = oto_get_vector(w, "cmvn.shift", SV_IN, &m->shift, e)) != 0 ||
        (rc = oto_get_vector(w, "cmvn.scale", SV_IN, &m->scale, e)) != 0 ||
        (rc = oto_get_vector(w, "embed.weight", (int64_t)SV_EMBED * SV_IN, &m->embed, e)) != 0 ||
        (rc = oto_arena_get(m->a, (size_t)(m->n_enc + m->n_tp), sizeof *m->enc, &m->enc, e)) != 0)
        return rc;
    for (int i = 0; i < m->n_enc + m->n_tp && rc == 0; i++) {
        char prefix[64];

        prefix_of(m, i, prefix, sizeof prefix);
        rc = oto_sanm_bind(w, prefix, &m->sanm, i == 0 ? SV_IN : SV_D, &m->enc[i], e);
    }
    if (rc != 0 ||
        (rc = oto_norm_bind(w, "encoder.after_norm", SV_D, m->sanm.eps, &m->enc_norm, e)) != 0 ||
        (rc = oto_norm_bind(w, "encoder.tp_norm", SV_D, m->sanm.eps, &m->tp_norm, e)) != 0 ||
        (rc = oto_dense_bind(w, "ctc.ctc_lo", m->sanm.type, m->n_vocab, SV_D, true, &m->out, e)) !=
            0)
        return rc;
    return oto_pieces_bind(w, m->n_vocab, m->a, &m->pieces, e);
}

void oto_sv_close(void *impl)
{
    oto_arena_free(((sensevoice *)impl)->a);
}

int oto_sv_open(const oto_weights *w, oto_compute compute, void **impl, oto_model_info *info,
                oto_err *e)
{
    oto_arena *a;
    sensevoice *m;
    int rc = oto_impl_new(w, "sensevoice model", (size_t)32 << 20, sizeof *m, &a, &m, e);

    if (rc != 0)
        return rc;
    m->a = a;
    rc = get_keys(w, m, e);
    m->sanm = dims_of(m, compute);
    if (rc != 0 || (rc = bind(w, m, e)) != 0) {
        oto_sv_close(m);
        return rc;
    }
    info->n_mels = OTO_FBANK_MELS;
    info->n_vocab = m->n_vocab;
    info->width = SV_D;
    info->n_layers_enc = m->n_enc + m->n_tp;
    info->n_heads = m->heads;
    snprintf(info->languages, sizeof info->languages, "zh,en,yue,ja,ko");
    info->detects = true;
    info->punctuates = m->form == 14; /* digits and punctuation are asked for */
    *impl = m;
    return 0;
}
