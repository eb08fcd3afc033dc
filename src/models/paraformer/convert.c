/* From FunASR's GGUF (runtime/llama.cpp, export_paraformer_gguf.py) to the packed form, and binding
 * that. Sizes come from the tensors: the exporter writes some of its keys as constants. */
#include "models/paraformer/paraformer.h"

bool oto_pf_matches(const oto_weights *src)
{
    return oto_is_architecture(src, "paraformer") ||
           (oto_weights_find(src, "predictor.cif_output.weight") != NULL &&
            oto_weights_find(src, "decoder.decoders3.0.norm1.weight") != NULL);
}

/* ---- packing ---- */

typedef struct {
    const oto_weights *src;
    oto_gguf_writer *dst;
    oto_arena *a;
    oto_err *e;
    paraformer m;
} packer;

static int find_sizes(packer *p)
{
    paraformer *m = &p->m;
    int64_t heads = 4, taps = PF_TAPS;
    int rc;

    m->dec.contextual = oto_pf_contextual_there(p->src);
    if ((rc = oto_count_rows(p->src, "encoder.encoders0.0.feed_forward.w_1.weight", 16, 1 << 14,
                             &m->ffn, p->e)) != 0 ||
        (rc = oto_pf_decoder_sizes(p->src, "decoder", &m->dec, p->e)) != 0 ||
        (rc = oto_count_rows(p->src, "decoder.output_layer.weight", 4, 1 << 20, &m->n_vocab,
                             p->e)) != 0)
        return rc;
    m->n_enc = 1 + oto_count_layers(p->src, "encoder.encoders.#.norm1.weight");
    if (m->n_enc > PF_MAX_ENC)
        return oto_fail(p->e, OTO_E_INPUT, "%s: %d layers are too many", oto_weights_path(p->src),
                        m->n_enc);
    oto_weights_int(p->src, "pf.enc.attention_heads", &heads);
    oto_weights_int(p->src, "pf.enc.kernel_size", &taps);
    if ((heads != 4 && heads != 8) || taps != PF_TAPS || m->dec.n_taps != PF_TAPS)
        return oto_fail(p->e, OTO_E_UNSUPPORTED,
                        "%s: %lld heads and filters of %lld are not Paraformer's",
                        oto_weights_path(p->src), (long long)heads, (long long)taps);
    m->heads = (int)heads;
    return 0;
}

/* [512][512][3] of the checkpoint: each row becomes [tap][channel]. */
typedef struct {
    const oto_tensor *t;
    float *row;
} conv_rows;

static void conv_row(void *arg, int r, float *out)
{
    const conv_rows *c = arg;

    oto_tensor_row_f32(c->t, r, c->row);
    for (int i = 0; i < PF_D; i++)
        for (int j = 0; j < 3; j++)
            out[j * PF_D + i] = c->row[i * 3 + j];
}

static int pack_predictor(packer *p)
{
    conv_rows c = {.t = oto_weights_find(p->src, "predictor.cif_conv1d.weight")};
    float out[PF_D + 1];
    const oto_tensor *w = oto_weights_find(p->src, "predictor.cif_output.weight");
    const oto_tensor *b = oto_weights_find(p->src, "predictor.cif_output.bias");
    int rc;

    if (c.t == NULL || oto_tensor_rows(c.t) != PF_D || oto_tensor_row_len(c.t) != 3 * PF_D)
        return oto_fail(p->e, OTO_E_UNSUPPORTED,
                        "%s: predictor.cif_conv1d.weight is not of %d x %d x 3",
                        oto_weights_path(p->src), PF_D, PF_D);
    if (w == NULL || b == NULL || oto_tensor_rows(w) * oto_tensor_row_len(w) != PF_D ||
        oto_tensor_rows(w) != 1 || oto_tensor_rows(b) * oto_tensor_row_len(b) != 1)
        return oto_fail(p->e, OTO_E_INPUT, "%s: predictor.cif_output is missing or of another size",
                        oto_weights_path(p->src));
    if ((rc = oto_arena_get(p->a, 3 * PF_D, sizeof *c.row, &c.row, p->e)) != 0 ||
        (rc = oto_put_matrix(p->dst, "predictor.cif_conv1d.weight", OTO_F32, PF_D, 3 * PF_D,
                             conv_row, &c, p->a, p->e)) != 0 ||
        (rc = oto_vector_pack(p->src, p->dst, "predictor.cif_conv1d.bias", PF_D, p->a, p->e)) != 0)
        return rc;
    oto_tensor_row_f32(w, 0, out);
    oto_tensor_row_f32(b, 0, out + PF_D);
    return oto_put_vector(p->dst, "predictor.cif_output", out, PF_D + 1, p->a, p->e);
}

static int pack_encoder(packer *p)
{
    int rc = oto_sanm_pack(p->src, p->dst, "encoder.encoders0.0", &p->m.sanm, PF_IN, p->a, p->e);

    for (int i = 0; i < p->m.n_enc - 1 && rc == 0; i++) {
        char prefix[64];

        snprintf(prefix, sizeof prefix, "encoder.encoders.%d", i);
        rc = oto_sanm_pack(p->src, p->dst, prefix, &p->m.sanm, PF_D, p->a, p->e);
    }
    return rc == 0 ? oto_norm_pack(p->src, p->dst, "encoder.after_norm", PF_D, p->a, p->e) : rc;
}

static int pack_decoder(packer *p)
{
    const oto_dtype type = p->m.sanm.type;
    const int rc = oto_pf_decoder_pack(p->src, p->dst, "decoder", &p->m.dec, type, p->a, p->e);

    return rc == 0 ? oto_dense_pack(p->src, p->dst, "decoder.output_layer", type, p->m.n_vocab,
                                    PF_D, true, p->a, p->e)
                   : rc;
}

/* What not every file has, and the keys that say that it is there. */
static int pack_more(packer *p)
{
    const oto_dtype type = p->m.sanm.type;
    const pf_hot_kind kind = p->m.dec.contextual          ? PF_HOT_CONTEXTUAL
                             : oto_pf_seaco_there(p->src) ? PF_HOT_SEACO
                                                          : PF_HOT_NONE;
    int rc = 0;

    if (oto_pf_times_there(p->src) &&
        ((rc = oto_gguf_put_int(p->dst, "paraformer.times", 1, p->e)) != 0 ||
         (rc = oto_pf_times_pack(p->src, p->dst, type, p->a, p->e)) != 0))
        return rc;
    if (kind != PF_HOT_NONE &&
        ((rc = oto_gguf_put_int(p->dst, "paraformer.hot_words", kind, p->e)) != 0 ||
         (rc = oto_pf_hot_pack(p->src, p->dst, kind, p->m.n_vocab, type, p->a, p->e)) != 0))
        return rc;
    return kind == PF_HOT_SEACO ? oto_pf_seaco_pack(p->src, p->dst, p->m.n_vocab, type, p->a, p->e)
                                : 0;
}

static int put_keys(packer *p)
{
    double tail = 0.45;
    int rc;

    oto_weights_f32(p->src, "pf.predictor.tail_threshold", &tail);
    if (!(tail >= 0 && tail <= 0.999))
        return oto_fail(p->e, OTO_E_INPUT, "%s: pf.predictor.tail_threshold is %g",
                        oto_weights_path(p->src), tail);
    if ((rc = oto_gguf_put_int(p->dst, "paraformer.heads", p->m.heads, p->e)) != 0 ||
        (rc = oto_gguf_put_int(p->dst, "paraformer.ffn", p->m.ffn, p->e)) != 0 ||
        (rc = oto_gguf_put_int(p->dst, "paraformer.decoder_ffn", p->m.dec.ffn, p->e)) != 0 ||
        (rc = oto_gguf_put_int(p->dst, "paraformer.encoder_layers", p->m.n_enc, p->e)) != 0 ||
        (rc = oto_gguf_put_int(p->dst, "paraformer.decoder_layers", p->m.dec.n, p->e)) != 0 ||
        (rc = oto_gguf_put_int(p->dst, "paraformer.vocabulary", p->m.n_vocab, p->e)) != 0)
        return rc;
    return oto_gguf_put_f32(p->dst, "paraformer.tail", (float)tail, p->e);
}

int oto_pf_pack(const oto_weights *src, oto_compute compute, oto_gguf_writer *dst, oto_arena *a,
                oto_err *e)
{
    packer p = {.src = src, .dst = dst, .a = a, .e = e};
    int rc = find_sizes(&p);

    p.m.sanm = (oto_sanm_dims){.in = PF_IN,
                               .d = PF_D,
                               .heads = p.m.heads,
                               .ffn = p.m.ffn,
                               .n_taps = PF_TAPS,
                               .type = oto_dense_type(compute)};
    if (rc != 0 || (rc = put_keys(&p)) != 0 ||
        (rc = oto_pieces_pack(src, dst, "pf.vocab", p.m.n_vocab, a, e)) != 0 ||
        (rc = oto_vector_pack(src, dst, "cmvn.shift", PF_IN, a, e)) != 0 ||
        (rc = oto_vector_pack(src, dst, "cmvn.scale", PF_IN, a, e)) != 0 ||
        (rc = pack_encoder(&p)) != 0 || (rc = pack_predictor(&p)) != 0 ||
        (rc = pack_decoder(&p)) != 0)
        return rc;
    return pack_more(&p);
}

/* ---- binding ---- */

static int get_keys(const oto_weights *w, paraformer *m, oto_err *e)
{
    int64_t heads, ffn, dec_ffn, enc, dec, vocab, there, hot = PF_HOT_NONE;
    double tail;
    int rc;

    if ((rc = oto_get_int(w, "paraformer.heads", 4, 8, &heads, e)) != 0 ||
        (rc = oto_get_int(w, "paraformer.ffn", 16, 1 << 14, &ffn, e)) != 0 ||
        (rc = oto_get_int(w, "paraformer.decoder_ffn", 16, 1 << 14, &dec_ffn, e)) != 0 ||
        (rc = oto_get_int(w, "paraformer.encoder_layers", 1, PF_MAX_ENC, &enc, e)) != 0 ||
        (rc = oto_get_int(w, "paraformer.decoder_layers", 1, PF_MAX_DEC, &dec, e)) != 0 ||
        (rc = oto_get_int(w, "paraformer.vocabulary", 4, 1 << 20, &vocab, e)) != 0)
        return rc;
    if ((heads != 4 && heads != 8) || !oto_weights_f32(w, "paraformer.tail", &tail) ||
        !(tail >= 0 && tail <= 0.999))
        return oto_fail(e, OTO_E_INPUT, "%s: paraformer.heads or paraformer.tail is not lawful",
                        oto_weights_path(w));
    if (oto_weights_int(w, "paraformer.hot_words", &hot) &&
        (hot < PF_HOT_NONE || hot > PF_HOT_CONTEXTUAL))
        return oto_fail(e, OTO_E_UNSUPPORTED, "%s: hot words of an unknown kind",
                        oto_weights_path(w));
    m->hot.kind = (pf_hot_kind)hot;
    m->heads = (int)heads;
    m->ffn = (int)ffn;
    m->dec = (pf_decoder){.n = (int)dec,
                          .ffn = (int)dec_ffn,
                          .n_taps = PF_TAPS,
                          .contextual = hot == PF_HOT_CONTEXTUAL};
    m->n_enc = (int)enc;
    m->n_vocab = (int)vocab;
    m->tail = (float)tail;
    m->has_times = oto_weights_int(w, "paraformer.times", &there) && there == 1;
    return 0;
}

static int bind_encoder(const oto_weights *w, paraformer *m, oto_err *e)
{
    int rc;

    if ((rc = oto_get_vector(w, "cmvn.shift", PF_IN, &m->shift, e)) != 0 ||
        (rc = oto_get_vector(w, "cmvn.scale", PF_IN, &m->scale, e)) != 0 ||
        (rc = oto_arena_get(m->a, (size_t)m->n_enc, sizeof *m->enc, &m->enc, e)) != 0 ||
        (rc = oto_sanm_bind(w, "encoder.encoders0.0", &m->sanm, PF_IN, &m->enc[0], e)) != 0)
        return rc;
    for (int i = 1; i < m->n_enc && rc == 0; i++) {
        char prefix[64];

        snprintf(prefix, sizeof prefix, "encoder.encoders.%d", i - 1);
        rc = oto_sanm_bind(w, prefix, &m->sanm, PF_D, &m->enc[i], e);
    }
    return rc == 0 ? oto_norm_bind(w, "encoder.after_norm", PF_D, m->sanm.eps, &m->enc_norm, e)
                   : rc;
}

static int bind(const oto_weights *w, paraformer *m, oto_err *e)
{
    const oto_dtype type = m->sanm.type;
    int rc;

    if ((rc = bind_encoder(w, m, e)) != 0 ||
        (rc = oto_dense_bind(w, "predictor.cif_conv1d", OTO_F32, PF_D, 3 * PF_D, true, &m->cif_conv,
                             e)) != 0 ||
        (rc = oto_get_vector(w, "predictor.cif_output", PF_D + 1, &m->cif_out, e)) != 0)
        return rc;
    m->cif_bias = m->cif_out[PF_D];
    if ((rc = oto_pf_decoder_bind(w, "decoder", type, m->sanm.eps, m->a, &m->dec, e)) != 0 ||
        (rc = oto_dense_bind(w, "decoder.output_layer", type, m->n_vocab, PF_D, true, &m->out,
                             e)) != 0 ||
        (rc = oto_pieces_bind(w, m->n_vocab, m->a, &m->pieces, e)) != 0 ||
        (m->has_times && (rc = oto_pf_times_bind(w, type, &m->times, e)) != 0) ||
        (m->hot.kind != PF_HOT_NONE &&
         (rc = oto_pf_hot_bind(w, m->n_vocab, m->pieces, type, m->a, &m->hot, e)) != 0))
        return rc;
    return m->hot.kind == PF_HOT_SEACO
               ? oto_pf_seaco_bind(w, m->n_vocab, type, m->sanm.eps, m->a, &m->hot, e)
               : 0;
}

void oto_pf_close(void *impl)
{
    oto_arena_free(((paraformer *)impl)->a);
}

int oto_pf_open(const oto_weights *w, oto_compute compute, void **impl, oto_model_info *info,
                oto_err *e)
{
    oto_arena *a;
    paraformer *m;
    int rc = oto_impl_new(w, "paraformer model", (size_t)32 << 20, sizeof *m, &a, &m, e);

    if (rc != 0)
        return rc;
    m->a = a;
    rc = get_keys(w, m, e);
    m->sanm = (oto_sanm_dims){.in = PF_IN,
                              .d = PF_D,
                              .heads = m->heads,
                              .ffn = m->ffn,
                              .n_taps = PF_TAPS,
                              .left = PF_TAPS / 2,
                              .eps = 1e-12f,
                              .type = oto_dense_type(compute)};
    if (rc != 0 || (rc = bind(w, m, e)) != 0) {
        oto_pf_close(m);
        return rc;
    }
    info->n_mels = OTO_FBANK_MELS;
    info->n_vocab = m->n_vocab;
    info->width = PF_D;
    info->n_layers_enc = m->n_enc;
    info->n_layers_dec = m->dec.n;
    info->n_heads = m->heads;
    info->hotwords = m->hot.kind != PF_HOT_NONE;
    snprintf(info->languages, sizeof info->languages, "zh,en");
    *impl = m;
    return 0;
}
