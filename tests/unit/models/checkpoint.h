/* Writes a model's tensors as torch.save does: a zip archive of a pickle and storages, in PyTorch's
 * orientation; and the files that FunASR puts beside it. */
#ifndef CHECKPOINT_H
#define CHECKPOINT_H

#include "weights/weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char *p;
    size_t n, cap;
} checkpoint_bytes;

static void checkpoint_put(checkpoint_bytes *b, const void *p, size_t n)
{
    if (b->n + n > b->cap) {
        b->cap = (b->n + n) * 2;
        b->p = realloc(b->p, b->cap);
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

static void checkpoint_text(checkpoint_bytes *b, const char *z)
{
    checkpoint_put(b, z, strlen(z));
}

static void checkpoint_u32(checkpoint_bytes *b, uint32_t v)
{
    checkpoint_put(b, &v, sizeof v);
}

static void checkpoint_string(checkpoint_bytes *b, const char *z)
{
    checkpoint_text(b, "X");
    checkpoint_u32(b, (uint32_t)strlen(z));
    checkpoint_text(b, z);
}

static void checkpoint_int(checkpoint_bytes *b, int64_t v)
{
    checkpoint_text(b, "J");
    checkpoint_u32(b, (uint32_t)v);
}

typedef struct {
    char name[128];
    int rank;
    int64_t dim[OTO_MAX_RANK], stride[OTO_MAX_RANK];
    float *v; /* f32 */
    size_t n;
} checkpoint_tensor;

typedef struct {
    checkpoint_tensor t[2000];
    int n;
} checkpoint;

/* One entry's header; the directory's when `at` is given. No checksums: nothing here reads them. */
static void checkpoint_header(checkpoint_bytes *b, const char *name, size_t bytes, const size_t *at)
{
    const uint16_t zero[2] = {0};
    const uint32_t n = (uint32_t)strlen(name);

    checkpoint_text(b, at != NULL ? "PK\1\2" : "PK\3\4");
    checkpoint_put(b, zero, at != NULL ? 4 : 2);
    for (int i = 0; i < 3; i++)
        checkpoint_u32(b, 0); /* flags, method, time, date, checksum */
    checkpoint_u32(b, (uint32_t)bytes);
    checkpoint_u32(b, (uint32_t)bytes);
    checkpoint_u32(b, n);
    if (at != NULL) {
        for (int i = 0; i < 2; i++)
            checkpoint_u32(b, 0);
        checkpoint_put(b, zero, 2);
        checkpoint_u32(b, (uint32_t)*at);
    }
    checkpoint_put(b, name, n);
}

static void checkpoint_pickle(const checkpoint *c, checkpoint_bytes *b)
{
    char key[16];

    checkpoint_text(b, "\x80\x02}(");
    for (int i = 0; i < c->n; i++) {
        const checkpoint_tensor *t = &c->t[i];

        checkpoint_string(b, t->name);
        checkpoint_text(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
        checkpoint_string(b, "storage");
        checkpoint_text(b, "ctorch\nFloatStorage\n");
        snprintf(key, sizeof key, "%d", i);
        checkpoint_string(b, key);
        checkpoint_string(b, "cpu");
        checkpoint_int(b, (int64_t)t->n);
        checkpoint_text(b, "tQ");
        checkpoint_int(b, 0);
        checkpoint_text(b, "(");
        for (int k = 0; k < t->rank; k++)
            checkpoint_int(b, t->dim[k]);
        checkpoint_text(b, "t(");
        for (int k = 0; k < t->rank; k++)
            checkpoint_int(b, t->stride[k]);
        checkpoint_text(b, "t\x89"
                           "ccollections\nOrderedDict\n)RtR");
    }
    checkpoint_text(b, "u.");
}

static void checkpoint_entry(FILE *f, checkpoint_bytes *directory, const char *name, const void *p,
                             size_t n)
{
    const size_t at = (size_t)ftell(f);
    checkpoint_bytes head = {0};

    checkpoint_header(&head, name, n, NULL);
    checkpoint_header(directory, name, n, &at);
    fwrite(head.p, 1, head.n, f);
    fwrite(p, 1, n, f);
    free(head.p);
}

static bool checkpoint_write(const checkpoint *c, const char *path)
{
    checkpoint_bytes directory = {0}, pickle = {0};
    FILE *f = fopen(path, "wb");
    char name[64];
    uint32_t at;

    if (f == NULL)
        return false;
    checkpoint_pickle(c, &pickle);
    checkpoint_entry(f, &directory, "model/data.pkl", pickle.p, pickle.n);
    for (int i = 0; i < c->n; i++) {
        snprintf(name, sizeof name, "model/data/%d", i);
        checkpoint_entry(f, &directory, name, c->t[i].v, c->t[i].n * sizeof *c->t[i].v);
    }
    at = (uint32_t)ftell(f);
    fwrite(directory.p, 1, directory.n, f);
    const uint16_t count = (uint16_t)(c->n + 1);
    const uint32_t bytes = (uint32_t)directory.n;
    fwrite("PK\5\6\0\0\0", 1, 8, f);
    fwrite(&count, 2, 1, f);
    fwrite(&count, 2, 1, f);
    fwrite(&bytes, 4, 1, f);
    fwrite(&at, 4, 1, f);
    fwrite("\0", 1, 2, f);
    free(directory.p);
    free(pickle.p);
    return fclose(f) == 0;
}

/* ---- from tensors that are open ---- */

/* As f32. */
static checkpoint_tensor *checkpoint_add(checkpoint *c, const oto_tensor *from, const char *name)
{
    checkpoint_tensor *t = &c->t[c->n++];
    const int64_t rows = oto_tensor_rows(from), length = oto_tensor_row_len(from);

    *t = (checkpoint_tensor){.rank = from->rank, .n = (size_t)(rows * length)};
    snprintf(t->name, sizeof t->name, "%s", name);
    memcpy(t->dim, from->dim, sizeof t->dim);
    for (int64_t i = from->rank - 1, step = 1; i >= 0; step *= from->dim[i--])
        t->stride[i] = step;
    t->v = malloc(t->n * sizeof *t->v);
    for (int64_t r = 0; r < rows; r++)
        oto_tensor_row_f32(from, r, t->v + r * length);
    return t;
}

/* [n][k] in the file becomes [k][n] in memory of its own, with the middle dimensions of PyTorch. */
static void checkpoint_turn(checkpoint_tensor *t, int rank, const int64_t *dim)
{
    const int64_t n = t->dim[0], k = (int64_t)t->n / n;
    float *turned = malloc(t->n * sizeof *turned);

    for (int64_t r = 0; r < n; r++)
        for (int64_t i = 0; i < k; i++)
            turned[i * n + r] = t->v[r * k + i];
    free(t->v);
    t->v = turned;
    t->rank = rank;
    memcpy(t->dim, dim, (size_t)rank * sizeof *dim);
    for (int64_t i = rank - 1, step = 1; i >= 0; step *= dim[i--])
        t->stride[i] = step;
}

static void checkpoint_free(checkpoint *c)
{
    for (int i = 0; i < c->n; i++)
        free(c->t[i].v);
    free(c);
}

/* The tensors of a GGUF file as the checkpoint has them: filters as [channels][1][taps]. */
static inline checkpoint *checkpoint_of(const oto_weights *w)
{
    static const char filters[] = "fsmn_block.weight";
    checkpoint *c = calloc(1, sizeof *c);

    for (size_t i = 0; c != NULL && i < oto_weights_count(w); i++) {
        const oto_tensor *t = oto_weights_at(w, i);
        const size_t n = strlen(t->name);
        checkpoint_tensor *new;

        if (strncmp(t->name, "cmvn.", 5) == 0)
            continue;
        new = checkpoint_add(c, t, t->name);
        if (n >= strlen(filters) && strcmp(t->name + n - strlen(filters), filters) == 0)
            checkpoint_turn(new, 3, (int64_t[]){t->dim[1], 1, t->dim[0]});
    }
    return c;
}

/* tokens.json: a list of strings that need no escapes. */
static inline bool checkpoint_tokens(const char *path, const oto_weights *w, const char *key)
{
    FILE *f = fopen(path, "w");
    oto_slice s;

    if (f == NULL)
        return false;
    for (size_t i = 0; oto_weights_array_str(w, key, i, &s); i++)
        fprintf(f, "%s\"%.*s\"", i == 0 ? "[" : ",\n", (int)s.n, s.p);
    fprintf(f, "]\n");
    return fclose(f) == 0;
}

/* FunASR's folder of the punctuation model in the GGUF file at `from`; shift: sanm_shfit, 0 for the
 * one that is not realtime. */
static inline bool checkpoint_punctuation(const char *from, const char *folder, int shift)
{
    char path[1000];
    oto_weights *w;
    checkpoint *c;
    oto_err e;
    FILE *f;
    bool ok;

    if (oto_mkdirs(folder, &e) != 0 || oto_weights_open(from, &w, &e) != 0)
        return false;
    c = checkpoint_of(w);
    snprintf(path, sizeof path, "%s/model.pt", folder);
    ok = c != NULL && checkpoint_write(c, path);
    checkpoint_free(c);
    snprintf(path, sizeof path, "%s/tokens.json", folder);
    ok = checkpoint_tokens(path, w, "ct.vocab") && ok;
    oto_weights_close(w);
    snprintf(path, sizeof path, "%s/config.yaml", folder);
    f = fopen(path, "w");
    if (f == NULL)
        return false;
    fprintf(f,
            "model: CTTransformer%s\nmodel_conf:\n    ignore_id: 0\n    punc_list:\n    - <unk>\n"
            "    - _\n    - ，\n    - 。\n    - ？\n    - 、\n    sentence_end_id: 3\n"
            "encoder: %s\nencoder_conf:\n    attention_heads: 8\n    kernel_size: 11\n"
            "    sanm_shfit: %d\n",
            shift > 0 ? "Streaming" : "", shift > 0 ? "SANMVadEncoder" : "SANMEncoder", shift);
    return fclose(f) == 0 && ok;
}

/* ---- the same as PyTorch exports it to ONNX ---- */

static void checkpoint_varint(checkpoint_bytes *b, uint64_t v)
{
    for (; v > 127; v >>= 7)
        checkpoint_put(b, &(uint8_t){(uint8_t)(v | 128)}, 1);
    checkpoint_put(b, &(uint8_t){(uint8_t)v}, 1);
}

static void checkpoint_field(checkpoint_bytes *b, int field, const void *p, size_t n)
{
    checkpoint_varint(b, (uint64_t)field << 3 | 2);
    checkpoint_varint(b, n);
    checkpoint_put(b, p, n);
}

static void checkpoint_node(checkpoint_bytes *graph, const char *op, const char *name,
                            const char *in0, const char *in1, const char *out)
{
    checkpoint_bytes b = {0};

    checkpoint_field(&b, 1, in0, strlen(in0));
    checkpoint_field(&b, 1, in1, strlen(in1));
    checkpoint_field(&b, 2, out, strlen(out));
    checkpoint_field(&b, 3, name, strlen(name));
    checkpoint_field(&b, 4, op, strlen(op));
    checkpoint_field(graph, 1, b.p, b.n);
    free(b.p);
}

static void checkpoint_initializer(checkpoint_bytes *graph, const checkpoint_tensor *t,
                                   const char *name)
{
    checkpoint_bytes b = {0};

    for (int i = 0; i < t->rank; i++) {
        checkpoint_varint(&b, 1 << 3);
        checkpoint_varint(&b, (uint64_t)t->dim[i]);
    }
    checkpoint_varint(&b, 2 << 3);
    checkpoint_varint(&b, 1); /* float */
    checkpoint_field(&b, 8, name, strlen(name));
    checkpoint_field(&b, 9, t->v, t->n * sizeof *t->v);
    checkpoint_field(graph, 5, b.p, b.n);
    free(b.p);
}

/* A linear layer: a numbered matrix that is turned, and a bias that keeps its name; without one the
 * path of the node alone tells the layer. Turns t. */
static void checkpoint_linear(checkpoint_bytes *graph, checkpoint_tensor *t, int number,
                              const char *bias)
{
    char matrix[32], path[160], node[32], made[32];

    snprintf(matrix, sizeof matrix, "onnx::MatMul_%d", number);
    snprintf(node, sizeof node, "MatMul_%d", number);
    snprintf(made, sizeof made, "%d", number);
    snprintf(path, sizeof path, "/%.*s/MatMul", (int)(strlen(t->name) - strlen(".weight")),
             t->name);
    for (char *c = path; *c != '\0'; c++)
        if (*c == '.')
            *c = '/';
    checkpoint_turn(t, 2, (int64_t[]){t->dim[1], t->dim[0]});
    checkpoint_initializer(graph, t, matrix);
    checkpoint_node(graph, "MatMul", bias != NULL ? node : path, "x", matrix, made);
    if (bias != NULL)
        checkpoint_node(graph, "Add", "", bias, made, "y");
}

/* "encoder.after_norm.bias" -> "encoder.model.after_norm.bias", as the exporter's classes hold it
 */
static const char *checkpoint_held(char out[160], const char *name)
{
    const char *dot = strchr(name, '.');

    if (strncmp(name, "encoder.", 8) == 0 || strncmp(name, "decoder.", 8) == 0)
        snprintf(out, 160, "%.*s.model%s", (int)(dot - name), name, dot);
    else
        snprintf(out, 160, "%s", name);
    return out;
}

/* Turns c's matrices. */
static inline bool checkpoint_write_onnx(checkpoint *c, const char *path)
{
    static const uint8_t head[] = {8, 8, 18, 7, 'p', 'y', 't', 'o', 'r', 'c', 'h'};
    checkpoint_bytes graph = {0}, file = {0};
    char held[160], bias[160];
    bool ok;

    for (int i = 0; i < c->n; i++) {
        checkpoint_tensor *t = &c->t[i];
        bool with_bias = false;

        if (t->rank != 2 || strstr(t->name, "embed") != NULL) {
            checkpoint_initializer(&graph, t, checkpoint_held(held, t->name));
            continue;
        }
        snprintf(bias, sizeof bias, "%.*s.bias", (int)(strlen(t->name) - strlen(".weight")),
                 t->name);
        for (int k = 0; k < c->n; k++)
            with_bias |= strcmp(c->t[k].name, bias) == 0;
        checkpoint_linear(&graph, t, i, with_bias ? checkpoint_held(held, bias) : NULL);
    }
    checkpoint_put(&file, head, sizeof head);
    checkpoint_field(&file, 7, graph.p, graph.n);
    FILE *f = fopen(path, "wb");
    ok = f != NULL && fwrite(file.p, 1, file.n, f) == file.n;
    ok = f != NULL && fclose(f) == 0 && ok;
    free(graph.p);
    free(file.p);
    return ok;
}

/* ---- the files beside it ---- */

static void checkpoint_vector(FILE *f, const char *tag, const float *v, int n)
{
    fprintf(f, "<%s> %d %d \n<LearnRateCoef> 0 [ ", tag, n, n);
    for (int i = 0; i < n; i++)
        fprintf(f, "%.9g ", (double)v[i]);
    fprintf(f, "]\n");
}

static inline bool checkpoint_mvn(const char *path, const float *shift, const float *scale, int n)
{
    FILE *f = fopen(path, "w");

    if (f == NULL)
        return false;
    fprintf(f, "<Nnet> \n<Splice> %d %d \n[ 0 ]\n", n, n);
    checkpoint_vector(f, "AddShift", shift, n);
    checkpoint_vector(f, "Rescale", scale, n);
    fprintf(f, "</Nnet> \n");
    return fclose(f) == 0;
}

#endif
