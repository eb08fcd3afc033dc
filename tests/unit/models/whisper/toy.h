/* A Whisper model small enough for every test run, with seeded weights, written as a CTranslate2
 * folder and as a whisper.cpp file that hold the same tensors: width 128 (2 heads), 2 layers each,
 * 8 mel bins, the multilingual vocabulary's size with made-up tokens. Files go to a new folder
 * under /tmp, removed by toy_remove. */
#ifndef TOY_H
#define TOY_H

#include "base/base.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TOY_W = 128, TOY_LAYERS = 2, TOY_MELS = 8, TOY_VOCAB = 51865, TOY_EOT = 50257 };

typedef struct {
    char dir[64];
    FILE *f;
    bool ggml;
    uint32_t n_variables;
} toy;

static inline void toy_u16(toy *t, unsigned v)
{
    fputc((int)(v & 255), t->f);
    fputc((int)(v >> 8), t->f);
}

static inline void toy_u32(toy *t, uint32_t v)
{
    toy_u16(t, v & 0xffff);
    toy_u16(t, v >> 16);
}

static inline void toy_text(toy *t, const char *s)
{
    toy_u16(t, (unsigned)strlen(s) + 1);
    fwrite(s, 1, strlen(s) + 1, t->f);
}

/* Values of a tensor depend on its seed alone: about normal, times `size`, plus `offset`. */
static inline void toy_values(float *v, size_t n, uint32_t seed, float size, float offset)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        for (int j = 0; j < 4; j++) {
            x = x * 6364136223846793005u + 1442695040888963407u;
            sum += (float)(x >> 40) / (float)(1 << 24) - 0.5f;
        }
        v[i] = offset + size * 1.7f * sum;
    }
}

static inline void toy_name(toy *t, const char *name, int rank, const uint32_t *dim)
{
    if (t->ggml) {
        toy_u32(t, (uint32_t)rank);
        toy_u32(t, (uint32_t)strlen(name));
        toy_u32(t, 0);
        for (int i = rank; i-- > 0;)
            toy_u32(t, dim[i]);
        fputs(name, t->f);
        return;
    }
    size_t n = 4;
    toy_text(t, name);
    fputc(rank, t->f);
    for (int i = 0; i < rank; i++) {
        toy_u32(t, dim[i]);
        n *= dim[i];
    }
    fputc(0, t->f);
    toy_u32(t, (uint32_t)n);
    t->n_variables++;
}

static inline void toy_tensor(toy *t, const char *name, int rank, uint32_t d0, uint32_t d1,
                              uint32_t d2, const float *v)
{
    const uint32_t dim[] = {d0, d1, d2};
    toy_name(t, name, rank, dim);
    fwrite(v, sizeof *v, (size_t)d0 * (rank > 1 ? d1 : 1) * (rank > 2 ? d2 : 1), t->f);
}

/* One linear: [n][k] and a bias, as one CTranslate2 pair or as ggml's parts. */
static inline void toy_linear(toy *t, const char *scope, const char *ct2, const char *const ggml[3],
                              uint32_t n, uint32_t k, uint32_t seed)
{
    float *w = malloc((size_t)n * k * sizeof *w), *b = malloc(n * sizeof *b);
    uint32_t n_parts = 1, rows;
    char name[128];
    toy_values(w, (size_t)n * k, seed, k < TOY_W ? 0.3f : 0.09f, 0);
    toy_values(b, n, seed + 1, 0.1f, 0);
    while (n_parts < 3 && ggml[n_parts])
        n_parts++;
    rows = n / n_parts;
    for (uint32_t i = 0; i < n_parts; i++)
        if (strstr(ggml[i], ".key"))
            memset(b + i * rows, 0, rows * sizeof *b);
    for (uint32_t i = 0; i < (t->ggml ? n_parts : 1); i++) {
        uint32_t count = t->ggml ? rows : n;
        snprintf(name, sizeof name, "%s%s%sweight", scope, t->ggml ? ggml[i] : ct2,
                 t->ggml ? "." : "/");
        toy_tensor(t, name, 2, count, k, 1, w + (size_t)i * rows * k);
        snprintf(name, sizeof name, "%s%s%sbias", scope, t->ggml ? ggml[i] : ct2,
                 t->ggml ? "." : "/");
        if (!t->ggml || !strstr(ggml[i], ".key"))
            toy_tensor(t, name, 1, count, 1, 1, b + i * rows);
    }
    free(w);
    free(b);
}

static inline void toy_norm(toy *t, const char *scope, const char *ct2, const char *ggml,
                            uint32_t seed)
{
    float v[TOY_W];
    char name[128];
    snprintf(name, sizeof name, "%s%s%s", scope, t->ggml ? ggml : ct2,
             t->ggml ? ".weight" : "/gamma");
    toy_values(v, TOY_W, seed, 0.2f, 1);
    toy_tensor(t, name, 1, TOY_W, 1, 1, v);
    snprintf(name, sizeof name, "%s%s%s", scope, t->ggml ? ggml : ct2, t->ggml ? ".bias" : "/beta");
    toy_values(v, TOY_W, seed + 1, 0.2f, 0);
    toy_tensor(t, name, 1, TOY_W, 1, 1, v);
}

static inline void toy_side(toy *t, bool decoder, uint32_t seed)
{
    static const char *const qkv[] = {"attn.query", "attn.key", "attn.value"},
                             *const out[3] = {"attn.out"}, *const q[3] = {"cross_attn.query"},
                             *const kv[3] = {"cross_attn.key", "cross_attn.value"},
                             *const cross[3] = {"cross_attn.out"}, *const fc1[3] = {"mlp.0"},
                             *const fc2[3] = {"mlp.2"};
    for (int i = 0; i < TOY_LAYERS; i++, seed += 100) {
        char scope[64];
        snprintf(scope, sizeof scope, t->ggml ? "%s.blocks.%d." : "%s/layer_%d/",
                 decoder ? "decoder" : "encoder", i);
        toy_norm(t, scope, "self_attention/layer_norm", "attn_ln", seed);
        toy_linear(t, scope, "self_attention/linear_0", qkv, 3 * TOY_W, TOY_W, seed + 10);
        toy_linear(t, scope, "self_attention/linear_1", out, TOY_W, TOY_W, seed + 20);
        if (decoder) {
            toy_norm(t, scope, "attention/layer_norm", "cross_attn_ln", seed + 30);
            toy_linear(t, scope, "attention/linear_0", q, TOY_W, TOY_W, seed + 40);
            toy_linear(t, scope, "attention/linear_1", kv, 2 * TOY_W, TOY_W, seed + 50);
            toy_linear(t, scope, "attention/linear_2", cross, TOY_W, TOY_W, seed + 60);
        }
        toy_norm(t, scope, "ffn/layer_norm", "mlp_ln", seed + 70);
        toy_linear(t, scope, "ffn/linear_0", fc1, 4 * TOY_W, TOY_W, seed + 80);
        toy_linear(t, scope, "ffn/linear_1", fc2, TOY_W, 4 * TOY_W, seed + 90);
    }
}

static inline void toy_table(toy *t, const char *name, uint32_t rank, uint32_t n, uint32_t d1,
                             uint32_t d2, float size, uint32_t seed)
{
    float *v = malloc((size_t)n * d1 * d2 * sizeof *v);
    toy_values(v, (size_t)n * d1 * d2, seed, size, 0);
    toy_tensor(t, name, (int)rank, n, d1, d2, v);
    free(v);
}

static inline void toy_tensors(toy *t)
{
    const bool g = t->ggml;
    toy_table(t, g ? "encoder.conv1.weight" : "encoder/conv1/weight", 3, TOY_W, TOY_MELS, 3, 0.3f,
              1);
    toy_table(t, g ? "encoder.conv1.bias" : "encoder/conv1/bias", g ? 2 : 1, TOY_W, 1, 1, 0.1f, 2);
    toy_table(t, g ? "encoder.conv2.weight" : "encoder/conv2/weight", 3, TOY_W, TOY_W, 3, 0.1f, 3);
    toy_table(t, g ? "encoder.conv2.bias" : "encoder/conv2/bias", g ? 2 : 1, TOY_W, 1, 1, 0.1f, 4);
    toy_table(t, g ? "encoder.positional_embedding" : "encoder/position_encodings/encodings", 2,
              1500, TOY_W, 1, 0.5f, 5);
    toy_norm(t, "", "encoder/layer_norm", "encoder.ln_post", 6);
    toy_table(t, g ? "decoder.token_embedding.weight" : "decoder/embeddings/weight", 2, TOY_VOCAB,
              TOY_W, 1, 0.3f, 8);
    toy_table(t, g ? "decoder.positional_embedding" : "decoder/position_encodings/encodings", 2,
              448, TOY_W, 1, 0.3f, 9);
    toy_norm(t, "", "decoder/layer_norm", "decoder.ln", 10);
    toy_side(t, false, 1000);
    toy_side(t, true, 2000);
}

/* 256 single bytes, then made-up strings of letters. */
static inline size_t toy_token(int id, char out[8])
{
    if (id < 256) {
        out[0] = (char)id;
        return 1;
    }
    return (size_t)snprintf(out, 8, "w%05d", id);
}

static inline FILE *toy_file(const toy *t, const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", t->dir, name);
    return fopen(path, "w+b");
}

static inline void toy_vocabulary(toy *t)
{
    FILE *f = toy_file(t, "vocabulary.txt");
    for (int i = 0; i < TOY_VOCAB; i++) {
        char s[8];
        size_t n = toy_token(i, s);
        if (i == TOY_EOT)
            fputs("<|endoftext|>", f);
        else if (i >= 256)
            fwrite(s, 1, n, f);
        else {
            /* GPT-2's printable form */
            bool plain = (i >= 0x21 && i <= 0x7e) || (i >= 0xa1 && i <= 0xac) || i >= 0xae;
            int before = i <= 0x20 ? i : i <= 0xa0 ? 0x21 + i - 0x7f : 0x43;
            char utf8[4];
            n = oto_utf8_put(utf8, plain ? (uint32_t)i : 0x100u + (uint32_t)before);
            fwrite(utf8, 1, n, f);
        }
        fputc('\n', f);
    }
    fclose(f);
}

static inline void toy_ct2(toy *t)
{
    t->ggml = false;
    t->f = toy_file(t, "model.bin");
    toy_u32(t, 6);
    toy_text(t, "WhisperSpec");
    toy_u32(t, 3);
    long count_at = ftell(t->f);
    toy_u32(t, 0);
    toy_tensors(t);
    toy_u32(t, 0);
    fseek(t->f, count_at, SEEK_SET);
    toy_u32(t, t->n_variables);
    fclose(t->f);
    toy_vocabulary(t);
}

static inline void toy_ggml(toy *t)
{
    static const uint32_t header[] = {0x67676d6c, TOY_VOCAB,  1500,     TOY_W,
                                      TOY_W / 64, TOY_LAYERS, 448,      TOY_W,
                                      TOY_W / 64, TOY_LAYERS, TOY_MELS, 0};
    t->ggml = true;
    t->f = toy_file(t, "ggml.bin");
    for (size_t i = 0; i < OTO_COUNT(header); i++)
        toy_u32(t, header[i]);
    toy_u32(t, 0);
    toy_u32(t, 0);
    toy_u32(t, TOY_EOT);
    for (int i = 0; i < TOY_EOT; i++) {
        char s[8];
        size_t n = toy_token(i, s);
        toy_u32(t, (uint32_t)n);
        fwrite(s, 1, n, t->f);
    }
    toy_tensors(t);
    fclose(t->f);
}

static inline bool toy_new(toy *t)
{
    *t = (toy){.dir = "/tmp/otolith-toy-XXXXXX"};
    return mkdtemp(t->dir) != NULL;
}

static inline void toy_path(const toy *t, const char *name, char out[128])
{
    snprintf(out, 128, "%s/%s", t->dir, name);
}

static inline void toy_remove(const toy *t)
{
    static const char *const names[] = {"model.bin", "ggml.bin", "vocabulary.txt", "config.json",
                                        "packed.gguf"};
    char path[128];
    for (size_t i = 0; i < OTO_COUNT(names); i++) {
        toy_path(t, names[i], path);
        unlink(path);
    }
    rmdir(t->dir);
}

#endif
