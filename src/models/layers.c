/* layers: dense layers, norms and filters over time, in and out of packed files. */
#include "models/layers.h"

#include <string.h>

#define NAME_SIZE 128

oto_dtype oto_dense_type(oto_compute compute)
{
    return compute == OTO_COMPUTE_F32 ? OTO_F32 : compute == OTO_COMPUTE_BF16 ? OTO_BF16 : OTO_I8;
}

static const char *name_of(char out[NAME_SIZE], const char *name, const char *suffix)
{
    snprintf(out, NAME_SIZE, "%s.%s", name, suffix);
    return out;
}

/* ---- what is in a file ---- */

bool oto_is_architecture(const oto_weights *w, const char *name)
{
    oto_slice s;

    return oto_weights_str(w, "general.architecture", &s) && s.n == strlen(name) &&
           memcmp(s.p, name, s.n) == 0;
}

int oto_count_layers(const oto_weights *w, const char *pattern)
{
    const char *hash = strchr(pattern, '#');
    char name[NAME_SIZE];
    int n = -1;

    do
        snprintf(name, sizeof name, "%.*s%d%.40s", (int)OTO_MIN(hash - pattern, 40), pattern, ++n,
                 hash + 1);
    while (n < 1000 && oto_weights_find(w, name) != NULL);
    return n;
}

int oto_count_rows(const oto_weights *w, const char *name, int64_t least, int64_t most, int *out,
                   oto_err *e)
{
    const oto_tensor *t = oto_weights_find(w, name);

    if (t == NULL)
        return oto_fail(e, OTO_E_INPUT, "%s: tensor %s is missing", oto_weights_path(w), name);
    if (oto_tensor_rows(t) < least || oto_tensor_rows(t) > most)
        return oto_fail(e, OTO_E_INPUT, "%s: tensor %s is %lld x %lld", oto_weights_path(w), name,
                        (long long)oto_tensor_rows(t), (long long)oto_tensor_row_len(t));
    *out = (int)oto_tensor_rows(t);
    return 0;
}

/* ---- packing ---- */

static int find(const oto_weights *src, const char *name, const oto_tensor **out, oto_err *e)
{
    *out = oto_weights_find(src, name);
    if (*out == NULL)
        return oto_fail(e, OTO_E_INPUT, "%s: tensor %s is missing", oto_weights_path(src), name);
    return 0;
}

static int wrong_shape(const oto_weights *src, const oto_tensor *t, int n, int k, oto_err *e)
{
    return oto_fail(e, OTO_E_INPUT, "%s: tensor %s is %lld x %lld, expected %d x %d",
                    oto_weights_path(src), t->name, (long long)oto_tensor_rows(t),
                    (long long)oto_tensor_row_len(t), n, k);
}

int oto_vector_pack(const oto_weights *src, oto_gguf_writer *dst, const char *name, int n,
                    oto_arena *a, oto_err *e)
{
    const oto_tensor *t;
    float *v;
    int rc = find(src, name, &t, e);

    if (rc != 0)
        return rc;
    if (oto_tensor_rows(t) * oto_tensor_row_len(t) != n)
        return wrong_shape(src, t, 1, n, e);
    if ((rc = oto_arena_get(a, (size_t)n, sizeof *v, &v, e)) != 0)
        return rc;
    for (int64_t r = 0; r < oto_tensor_rows(t); r++)
        oto_tensor_row_f32(t, r, v + r * oto_tensor_row_len(t));
    return oto_put_vector(dst, name, v, n, a, e);
}

int oto_dense_pack(const oto_weights *src, oto_gguf_writer *dst, const char *name, oto_dtype type,
                   int n, int k, bool bias, oto_arena *a, oto_err *e)
{
    char full[NAME_SIZE];
    const oto_tensor *t;
    int rc = find(src, name_of(full, name, "weight"), &t, e);

    if (rc != 0)
        return rc;
    if (oto_tensor_rows(t) != n || oto_tensor_row_len(t) != k)
        return wrong_shape(src, t, n, k, e);
    if ((rc = oto_put_tensor_matrix(dst, full, type, t, n, k, a, e)) != 0 || !bias)
        return rc;
    return oto_vector_pack(src, dst, name_of(full, name, "bias"), n, a, e);
}

int oto_norm_pack(const oto_weights *src, oto_gguf_writer *dst, const char *name, int n,
                  oto_arena *a, oto_err *e)
{
    char full[NAME_SIZE];
    const int rc = oto_vector_pack(src, dst, name_of(full, name, "weight"), n, a, e);

    return rc == 0 ? oto_vector_pack(src, dst, name_of(full, name, "bias"), n, a, e) : rc;
}

int oto_taps_pack(const oto_weights *src, oto_gguf_writer *dst, const char *name, int taps, int d,
                  oto_arena *a, oto_err *e)
{
    const oto_tensor *t;
    float *out, *row;
    int rc = find(src, name, &t, e);

    if (rc != 0)
        return rc;
    if ((rc = oto_arena_get(a, (size_t)taps * (size_t)d, sizeof *out, &out, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)OTO_MAX(taps, d), sizeof *row, &row, e)) != 0)
        return rc;
    if (oto_tensor_rows(t) == d && oto_tensor_row_len(t) == taps) {
        for (int c = 0; c < d; c++) {
            oto_tensor_row_f32(t, c, row);
            for (int j = 0; j < taps; j++)
                out[j * d + c] = row[j];
        }
    } else if (oto_tensor_rows(t) == taps && oto_tensor_row_len(t) == d) {
        for (int j = 0; j < taps; j++)
            oto_tensor_row_f32(t, j, out + (size_t)j * (size_t)d);
    } else {
        return wrong_shape(src, t, d, taps, e);
    }
    return oto_put_vector(dst, name, out, (int64_t)taps * d, a, e);
}

/* ---- binding ---- */

int oto_dense_bind(const oto_weights *w, const char *name, oto_dtype type, int n, int k, bool bias,
                   oto_dense *out, oto_err *e)
{
    char full[NAME_SIZE];
    const int rc = oto_get_matrix(w, name_of(full, name, "weight"), type, n, k, &out->w, e);

    out->b = NULL;
    return rc == 0 && bias ? oto_get_vector(w, name_of(full, name, "bias"), n, &out->b, e) : rc;
}

int oto_norm_bind(const oto_weights *w, const char *name, int n, float eps, oto_norm *out,
                  oto_err *e)
{
    char full[NAME_SIZE];
    const int rc = oto_get_vector(w, name_of(full, name, "weight"), n, &out->g, e);

    out->n = n;
    out->eps = eps;
    return rc == 0 ? oto_get_vector(w, name_of(full, name, "bias"), n, &out->b, e) : rc;
}

/* ---- the vocabulary ---- */

static int get_pieces(const oto_weights *w, const char *key, int n, oto_arena *a, oto_slice **out,
                      oto_err *e)
{
    int rc;

    if (oto_weights_array_len(w, key) != (size_t)n)
        return oto_fail(e, OTO_E_INPUT, "%s: %s lists %zu pieces, the model has %d",
                        oto_weights_path(w), key, oto_weights_array_len(w, key), n);
    if ((rc = oto_arena_get(a, (size_t)n, sizeof **out, out, e)) != 0)
        return rc;
    for (size_t i = 0; i < (size_t)n; i++)
        if (!oto_weights_array_str(w, key, i, &(*out)[i]))
            return oto_fail(e, OTO_E_INPUT, "%s: %s is not a list of strings", oto_weights_path(w),
                            key);
    return 0;
}

int oto_pieces_pack(const oto_weights *src, oto_gguf_writer *dst, const char *key, int n,
                    oto_arena *a, oto_err *e)
{
    oto_slice *pieces;
    const int rc = get_pieces(src, key, n, a, &pieces, e);

    return rc == 0 ? oto_gguf_put_strs(dst, "pieces", pieces, (size_t)n, e) : rc;
}

int oto_pieces_bind(const oto_weights *w, int n, oto_arena *a, oto_slice **out, oto_err *e)
{
    return get_pieces(w, "pieces", n, a, out, e);
}

/* ---- running ---- */

static oto_linear linear_of(const oto_dense *l, const float *x, int m, oto_act act,
                            const float *residual, float *y)
{
    return (oto_linear){.w = &l->w,
                        .x = x,
                        .ldx = (size_t)l->w.k,
                        .m = m,
                        .bias = l->b,
                        .act = act,
                        .residual = residual,
                        .ldr = (size_t)l->w.n,
                        .y = y,
                        .ldy = (size_t)l->w.n};
}

void oto_dense_run(oto_pool *pool, const oto_dense *l, const float *x, int m, oto_act act,
                   const float *residual, float *y)
{
    const oto_linear a = linear_of(l, x, m, act, residual, y);

    oto_linear_run(pool, &a);
}

void oto_dense_rows(oto_pool *pool, int thread, const oto_dense *l, const float *x, int m,
                    oto_act act, const float *residual, float *y)
{
    const oto_linear a = linear_of(l, x, m, act, residual, y);

    oto_linear_rows(pool, thread, &a);
}

void oto_norm_run(oto_pool *pool, const oto_norm *l, const float *x, int m, float *y)
{
    oto_layer_norm(pool, x, (size_t)l->n, l->g, l->b, l->eps, m, l->n, y, (size_t)l->n);
}

void oto_memory_rows(const float *taps, int n_taps, int left, const float *v, size_t ld, int n,
                     int d, int from, int to, float *y)
{
    enum { STEP = 16 }; /* channels whose sums stay in registers; d is a multiple */

    for (int t = from; t < to; t++) {
        const int first = OTO_MAX(0, left - t), last = OTO_MIN(n_taps, n - t + left);

        for (int at = 0; at < d; at += STEP) {
            const float *here = v + (size_t)t * ld + at;
            float *out = y + (size_t)t * (size_t)d + at;
            float sum[STEP];

            for (int c = 0; c < STEP; c++)
                sum[c] = out[c] + here[c];
            for (int j = first; j < last; j++) {
                const float *x = v + (size_t)(t - left + j) * ld + at;
                const float *w = taps + (size_t)j * (size_t)d + at;

                for (int c = 0; c < STEP; c++)
                    sum[c] += w[c] * x[c];
            }
            memcpy(out, sum, sizeof sum);
        }
    }
}
