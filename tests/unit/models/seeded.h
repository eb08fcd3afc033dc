/* Models of FunASR's architectures with weights that arithmetic defines, in the layout of FunASR's
 * GGUF exporters, so that PyTorch can be given the very same ones (tests/reference/funasr_peer.py):
 * per tensor a linear congruential generator seeded with the FNV-1a hash of its name; matrices
 * scaled by √(3 / inputs), vectors 0.1 u, plus 1 for gains. */
#ifndef SEEDED_H
#define SEEDED_H

#include "weights/weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    oto_gguf_writer *w;
    void **held; /* data borrowed by the writer */
    int n_held;
    bool failed, bare, contextual;
} seeded;

typedef struct {
    int n_enc, n_dec, n_tp, n_vocab; /* n_tp: SenseVoice's second stack; n_dec: Paraformer's */
    bool times;                      /* Paraformer's predictor of times, */
    bool bare;                       /* its values by names without "predictor." */
    int n_hot, no_bias;              /* and its decoder for hot words; */
    bool contextual;                 /* or hot words in the main decoder's last layer */
} seeded_size;

static void *seeded_hold(seeded *s, size_t n)
{
    s->held = realloc(s->held, (size_t)(s->n_held + 1) * sizeof *s->held);
    return s->held[s->n_held++] = malloc(n);
}

static void seeded_put(seeded *s, const char *name, int rank, const int64_t *dim, const float *v)
{
    size_t n = 1;
    oto_err e;

    for (int i = 0; i < rank; i++)
        n *= (size_t)dim[i];
    if (oto_gguf_put_tensor(s->w, name, OTO_T_F32, rank, dim, v, n * sizeof *v, &e) != 0)
        s->failed = true;
}

/* The values of a tensor in PyTorch's order. */
static float *seeded_values(seeded *s, const char *name, size_t n, size_t inputs, bool matrix)
{
    float *v = seeded_hold(s, n * sizeof *v);
    const size_t length = strlen(name);
    const bool gain = !matrix && length > 6 && strcmp(name + length - 6, "weight") == 0;
    const double by = !matrix ? 0.1 : strstr(name, "embed") ? 1 : sqrt(3.0 / (double)inputs);
    uint32_t x = 2166136261u;

    for (const char *c = name; *c; c++)
        x = (x ^ (uint8_t)*c) * 16777619u;
    for (size_t i = 0; i < n; i++) {
        x = 1664525u * x + 1013904223u;
        v[i] = (float)(((double)(x >> 8) / 8388608.0 - 1) * by + (gain ? 1.0 : 0.0));
    }
    return v;
}

static void seeded_vector(seeded *s, const char *prefix, const char *name, int64_t n)
{
    char full[128];

    snprintf(full, sizeof full, "%s%s", prefix, name);
    seeded_put(s, full, 1, &n, seeded_values(s, full, (size_t)n, 1, false));
}

static void seeded_matrix(seeded *s, const char *prefix, const char *name, int64_t n, int64_t k)
{
    const int64_t dim[2] = {n, k};
    char full[128];

    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    seeded_put(s, full, 2, dim, seeded_values(s, full, (size_t)(n * k), (size_t)k, true));
}

static void seeded_dense(seeded *s, const char *prefix, const char *name, int64_t n, int64_t k)
{
    char bias[96];

    seeded_matrix(s, prefix, name, n, k);
    snprintf(bias, sizeof bias, "%s.bias", name);
    seeded_vector(s, prefix, bias, n);
}

static void seeded_norm(seeded *s, const char *prefix, const char *name, int64_t n)
{
    char full[96];

    snprintf(full, sizeof full, "%s.weight", name);
    seeded_vector(s, prefix, full, n);
    snprintf(full, sizeof full, "%s.bias", name);
    seeded_vector(s, prefix, full, n);
}

/* d × 1 × taps in PyTorch, tap-major in the files. */
static void seeded_taps(seeded *s, const char *prefix, int64_t d, int64_t taps)
{
    const int64_t dim[2] = {taps, d};
    char full[128];

    snprintf(full, sizeof full, "%sself_attn.fsmn_block.weight", prefix);
    const float *v = seeded_values(s, full, (size_t)(d * taps), (size_t)taps, true);
    float *t = seeded_hold(s, (size_t)(d * taps) * sizeof *t);
    for (int64_t c = 0; c < d; c++)
        for (int64_t j = 0; j < taps; j++)
            t[j * d + c] = v[c * taps + j];
    seeded_put(s, full, 2, dim, t);
}

static void seeded_sanm(seeded *s, const char *prefix, int64_t in, int64_t d, int64_t ffn)
{
    seeded_norm(s, prefix, "norm1", in);
    seeded_norm(s, prefix, "norm2", d);
    seeded_dense(s, prefix, "self_attn.linear_q_k_v", 3 * d, in);
    seeded_dense(s, prefix, "self_attn.linear_out", d, d);
    seeded_taps(s, prefix, d, 11);
    seeded_dense(s, prefix, "feed_forward.w_1", ffn, d);
    seeded_dense(s, prefix, "feed_forward.w_2", d, ffn);
}

static void seeded_stack(seeded *s, const char *name, int n)
{
    for (int i = 0; i < n; i++) {
        char prefix[64];

        snprintf(prefix, sizeof prefix, "encoder.%s.%d.", name, i);
        seeded_sanm(s, prefix, strcmp(name, "encoders0") == 0 ? 560 : 512, 512, 2048);
    }
}

/* (f - 12) * 0.15 as CMVN. */
static void seeded_cmvn(seeded *s)
{
    const int64_t n = 560;
    float *shift = seeded_hold(s, 560 * sizeof *shift),
          *scale = seeded_hold(s, 560 * sizeof *scale);

    for (int i = 0; i < 560; i++) {
        shift[i] = -12;
        scale[i] = 0.15f;
    }
    seeded_put(s, "cmvn.shift", 1, &n, shift);
    seeded_put(s, "cmvn.scale", 1, &n, scale);
}

static void seeded_attention(seeded *s, const char *prefix)
{
    seeded_norm(s, prefix, "norm3", 512);
    seeded_dense(s, prefix, "src_attn.linear_q", 512, 512);
    seeded_dense(s, prefix, "src_attn.linear_k_v", 1024, 512);
    seeded_dense(s, prefix, "src_attn.linear_out", 512, 512);
}

static void seeded_decoder(seeded *s, const char *name, int n, int64_t ffn, int64_t taps)
{
    char prefix[64];

    for (int i = 0; i <= n; i++) {
        if (i < n - s->contextual)
            snprintf(prefix, sizeof prefix, "%.20s.decoders.%d.", name, i);
        else if (i < n)
            snprintf(prefix, sizeof prefix, "%.20s.last_decoder.", name);
        else
            snprintf(prefix, sizeof prefix, "%.20s.decoders3.0.", name);
        seeded_norm(s, prefix, "norm1", 512);
        seeded_dense(s, prefix, "feed_forward.w_1", ffn, 512);
        seeded_norm(s, prefix, "feed_forward.norm", ffn);
        seeded_matrix(s, prefix, "feed_forward.w_2", 512, ffn);
        if (i == n)
            continue;
        seeded_norm(s, prefix, "norm2", 512);
        seeded_taps(s, prefix, 512, taps);
        seeded_attention(s, prefix);
    }
    snprintf(prefix, sizeof prefix, "%.20s.", name);
    seeded_norm(s, prefix, "after_norm", 512);
}

static void seeded_lstm(seeded *s, const char *prefix, const char *name, const char *suffix)
{
    static const char *const weights[] = {"weight_ih", "weight_hh"}, *const biases[] = {"bias_ih",
                                                                                        "bias_hh"};
    const int64_t dim[2] = {2048, 512};
    char from[96], to[128];

    for (int i = 0; i < 2; i++) {
        snprintf(from, sizeof from, "%s.%s%s", name, weights[i], suffix);
        snprintf(to, sizeof to, "%s%s", prefix, from);
        seeded_put(s, to, 2, dim, seeded_values(s, s->bare ? from : to, 2048 * 512, 512, true));
        snprintf(from, sizeof from, "%s.%s%s", name, biases[i], suffix);
        snprintf(to, sizeof to, "%s%s", prefix, from);
        seeded_put(s, to, 1, dim, seeded_values(s, s->bare ? from : to, 2048, 1, false));
    }
}

/* Of the predictor of times, under a name that has "predictor." in front. */
static void seeded_time(seeded *s, const char *name, int rank, const int64_t *dim)
{
    char full[96];
    size_t n = 1;

    snprintf(full, sizeof full, "predictor.%s", name);
    for (int i = 0; i < rank; i++)
        n *= (size_t)dim[i];
    seeded_put(s, full, rank, dim,
               seeded_values(s, s->bare ? name : full, n, n / (size_t)dim[0], rank > 1));
}

static void seeded_times(seeded *s)
{
    seeded_time(s, "upsample_cnn.weight", 3, (int64_t[]){512, 512, 3});
    seeded_time(s, "upsample_cnn.bias", 1, (int64_t[]){512});
    seeded_lstm(s, "predictor.", "blstm", "_l0");
    seeded_lstm(s, "predictor.", "blstm", "_l0_reverse");
    seeded_time(s, "cif_output2.weight", 2, (int64_t[]){1, 1024});
    seeded_time(s, "cif_output2.bias", 1, (int64_t[]){1});
}

static void seeded_hot(seeded *s, seeded_size size)
{
    oto_err e;

    seeded_matrix(s, "", "decoder.embed.0", size.n_vocab, 512);
    seeded_lstm(s, "", "bias_encoder", "_l0");
    seeded_lstm(s, "", "bias_encoder", "_l1");
    seeded_decoder(s, "seaco_decoder", size.n_hot, 1024, 21);
    seeded_dense(s, "", "hotword_output_layer", size.n_vocab, 512);
    if (oto_gguf_put_int(s->w, "pf.no_bias", size.no_bias, &e) != 0)
        s->failed = true;
}

static void seeded_contextual(seeded *s, seeded_size size)
{
    static const int64_t dim[3] = {512, 1024, 1};
    const char *name = "decoder.bias_output.weight";

    seeded_attention(s, "decoder.bias_decoder.");
    seeded_put(s, name, 3, dim, seeded_values(s, name, 512 * 1024, 1024, true));
    seeded_lstm(s, "", "bias_encoder", "_l0");
    seeded_matrix(s, "", "bias_embed", size.n_vocab, 512);
}

/* Pieces: "<blank>" "<s>" "</s>", then Chinese characters, now and then an English piece. */
static void seeded_vocabulary(seeded *s, const char *key, int n)
{
    oto_slice *v = seeded_hold(s, (size_t)n * sizeof *v);
    char *text = seeded_hold(s, (size_t)n * 8);
    oto_err e;

    for (int i = 0; i < n; i++) {
        char *at = text + (size_t)i * 8;
        static const char *const first[] = {"<blank>", "<s>", "</s>"};

        if (i < 3)
            snprintf(at, 8, "%s", first[i]);
        else if (i % 10 == 0)
            snprintf(at, 8, i % 20 ? "word" : "go@@");
        else
            at[oto_utf8_put(at, 0x4e00 + (uint32_t)i)] = '\0';
        v[i] = (oto_slice){at, strlen(at)};
    }
    if (oto_gguf_put_strs(s->w, key, v, (size_t)n, &e) != 0)
        s->failed = true;
}

static void seeded_begin(seeded *s, const char *architecture)
{
    oto_err e;

    *s = (seeded){0};
    s->failed = oto_gguf_writer_new(&s->w, &e) != 0 ||
                oto_gguf_put_str(s->w, "general.architecture", architecture, &e) != 0;
}

static bool seeded_end(seeded *s, const char *path)
{
    oto_err e;
    const bool ok = !s->failed && oto_gguf_finish(s->w, path, &e) == 0;

    oto_gguf_writer_free(s->w);
    for (int i = 0; i < s->n_held; i++)
        free(s->held[i]);
    free(s->held);
    return ok;
}

static inline bool seeded_paraformer(const char *path, seeded_size size)
{
    static const int64_t conv[3] = {512, 512, 3};
    seeded s;

    seeded_begin(&s, "paraformer");
    seeded_vocabulary(&s, "pf.vocab", size.n_vocab);
    seeded_cmvn(&s);
    seeded_stack(&s, "encoders0", 1);
    seeded_stack(&s, "encoders", size.n_enc - 1);
    seeded_norm(&s, "encoder.", "after_norm", 512);
    seeded_put(&s, "predictor.cif_conv1d.weight", 3, conv,
               seeded_values(&s, "predictor.cif_conv1d.weight", 512 * 512 * 3, 512 * 3, true));
    seeded_vector(&s, "predictor.", "cif_conv1d.bias", 512);
    seeded_dense(&s, "predictor.", "cif_output", 1, 512);
    s.contextual = size.contextual;
    seeded_decoder(&s, "decoder", size.n_dec, 2048, 11);
    s.contextual = false;
    seeded_dense(&s, "decoder.", "output_layer", size.n_vocab, 512);
    s.bare = size.bare;
    if (size.times)
        seeded_times(&s);
    s.bare = false;
    if (size.n_hot > 0)
        seeded_hot(&s, size);
    if (size.contextual)
        seeded_contextual(&s, size);
    return seeded_end(&s, path);
}

static inline bool seeded_sensevoice(const char *path, seeded_size size)
{
    seeded s;

    seeded_begin(&s, "sensevoice-small");
    seeded_vocabulary(&s, "sv.vocab", size.n_vocab);
    seeded_cmvn(&s);
    seeded_stack(&s, "encoders0", 1);
    seeded_stack(&s, "encoders", size.n_enc - 1);
    seeded_norm(&s, "encoder.", "after_norm", 512);
    seeded_stack(&s, "tp_encoders", size.n_tp);
    seeded_norm(&s, "encoder.", "tp_norm", 512);
    seeded_dense(&s, "", "ctc.ctc_lo", size.n_vocab, 512);
    seeded_matrix(&s, "", "embed", 16, 560);
    return seeded_end(&s, path);
}

/* Piece i of a punctuation model's vocabulary: words and characters by turns, not in the order of
 * their bytes; the last is "<unk>". */
static inline void seeded_ct_piece(int i, int n, char out[16])
{
    if (i == n - 1)
        snprintf(out, 16, "<unk>");
    else if (i % 2 == 0)
        snprintf(out, 16, "w%d", i);
    else
        out[oto_utf8_put(out, 0x9000 - (uint32_t)i)] = '\0';
}

/* A punctuation model with these pieces, or those of seeded_ct_piece when pieces is NULL; realtime:
 * as FunASR's CTTransformerStreaming. */
static inline bool seeded_ct_of(const char *path, int n_layers, const char *const *pieces, int n,
                                bool realtime)
{
    static const char *const names[] = {"<unk>", "_", "，", "。", "？", "、"};
    oto_slice marks[6];
    oto_slice *v;
    char *text;
    seeded s;
    oto_err e;

    seeded_begin(&s, "ct-transformer");
    v = seeded_hold(&s, (size_t)n * sizeof *v);
    text = seeded_hold(&s, (size_t)n * 16);
    for (int i = 0; i < n; i++) {
        char *at = text + (size_t)i * 16;

        if (pieces == NULL)
            seeded_ct_piece(i, n, at);
        v[i] =
            (oto_slice){pieces != NULL ? pieces[i] : at, strlen(pieces != NULL ? pieces[i] : at)};
    }
    for (int i = 0; i < 6; i++)
        marks[i] = (oto_slice){names[i], strlen(names[i])};
    s.failed = s.failed || oto_gguf_put_strs(s.w, "ct.vocab", v, (size_t)n, &e) != 0 ||
               oto_gguf_put_strs(s.w, "ct.punc", marks, 6, &e) != 0 ||
               oto_gguf_put_int(s.w, "ct.heads", 8, &e) != 0 ||
               (realtime && (oto_gguf_put_int(s.w, "ct.shift", 5, &e) != 0 ||
                             oto_gguf_put_int(s.w, "ct.realtime", 1, &e) != 0));
    seeded_matrix(&s, "", "embed", n, 256);
    for (int i = 0; i < n_layers; i++) {
        char prefix[64];

        snprintf(prefix, sizeof prefix, "encoder.%s.%d.", i > 0 ? "encoders" : "encoders0",
                 i > 0 ? i - 1 : 0);
        seeded_sanm(&s, prefix, 256, 256, 1024);
    }
    seeded_norm(&s, "encoder.", "after_norm", 256);
    seeded_dense(&s, "", "decoder", 6, 256);
    return seeded_end(&s, path);
}

static inline bool seeded_ct(const char *path, int n_layers, const char *const *pieces, int n)
{
    return seeded_ct_of(path, n_layers, pieces, n, false);
}

/* Signal G: a second of 440 Hz in noise, as 16-bit samples. */
static inline void seeded_signal(float *pcm, int n)
{
    uint32_t x = 1;

    for (int i = 0; i < n; i++) {
        x = 1664525u * x + 1013904223u;
        const double u = (double)(x >> 8) / 8388608.0 - 1;
        const double v = 0.3 * sin(2 * 3.14159265358979323846 * 440 * i / 16000) + 0.1 * u;

        pcm[i] = (float)(rint(v * 32767) / 32768);
    }
}

#endif
