/* packed: matrices and vectors into and out of packed GGUF files. The layouts are those of
 * kernels.h; the file holds them byte for byte, so that opening is binding pointers into the map.
 */
#include "models/family.h"

#include <string.h>

static oto_ttype file_type(oto_dtype t)
{
    switch (t) {
    case OTO_BF16:
        return OTO_T_BF16;
    case OTO_I8:
        return OTO_T_I8;
    case OTO_F16:
        return OTO_T_F16;
    default:
        return OTO_T_F32;
    }
}

/* k values of a row that lie together in a panel. */
static int group_of(oto_dtype t)
{
    return t == OTO_I8 ? 4 : t == OTO_BF16 ? 2 : 1;
}

static void shape_of(oto_dtype t, int n, int k, int64_t dim[OTO_MAX_RANK])
{
    const int g = group_of(t);

    dim[0] = ((int64_t)n + OTO_PANEL - 1) / OTO_PANEL;
    dim[1] = ((int64_t)k + g - 1) / g;
    dim[2] = OTO_PANEL;
    dim[3] = g;
}

static int side_name(char *out, size_t n, const char *name, const char *suffix, oto_err *e)
{
    if ((size_t)snprintf(out, n, "%s.%s", name, suffix) >= n)
        return oto_fail(e, OTO_E_INTERNAL, "tensor name %s is too long", name);
    return 0;
}

static int put_scales(oto_gguf_writer *dst, const char *name, int n, const float *scale,
                      const int32_t *row_sum, oto_err *e)
{
    const int64_t dim[1] = {n};
    char side[160];
    int rc;

    rc = side_name(side, sizeof side, name, "scale", e);
    if (rc == 0)
        rc = oto_gguf_put_tensor(dst, side, OTO_T_F32, 1, dim, scale, (size_t)n * sizeof *scale, e);
    if (rc == 0)
        rc = side_name(side, sizeof side, name, "row_sum", e);
    if (rc == 0)
        rc = oto_gguf_put_tensor(dst, side, OTO_T_I32, 1, dim, row_sum, (size_t)n * sizeof *row_sum,
                                 e);
    return rc;
}

int oto_put_matrix(oto_gguf_writer *dst, const char *name, oto_dtype type, int n, int k,
                   oto_row_fn row, void *arg, oto_arena *a, oto_err *e)
{
    const size_t n_bytes = oto_pack_bytes(type, n, k);
    const int padded = (n + OTO_PANEL - 1) / OTO_PANEL * OTO_PANEL;
    int64_t dim[OTO_MAX_RANK];
    float *scale, *rows;
    int32_t *row_sum;
    uint8_t *data;
    oto_mark m;
    int rc;

    if (n_bytes == 0)
        return oto_fail(e, OTO_E_INPUT, "tensor %s: %d x %d is not a matrix", name, n, k);
    if ((rc = oto_arena_get(a, n_bytes, 1, &data, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)padded, sizeof *scale, &scale, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)padded, sizeof *row_sum, &row_sum, e)) != 0)
        return rc;

    /* One panel of rows at a time: panels are independent, and the whole matrix as f32 would cost
     * four times the file. */
    m = oto_arena_mark(a);
    if ((rc = oto_arena_get(a, OTO_PANEL * (size_t)k, sizeof *rows, &rows, e)) != 0)
        return rc;
    for (int r0 = 0; r0 < n; r0 += OTO_PANEL) {
        const int count = OTO_MIN(OTO_PANEL, n - r0);

        for (int i = 0; i < count; i++)
            row(arg, r0 + i, rows + (size_t)i * (size_t)k);
        oto_pack(type, rows, count, k, (size_t)k,
                 data + (size_t)(r0 / OTO_PANEL) * oto_pack_bytes(type, OTO_PANEL, k), scale + r0,
                 row_sum + r0);
    }
    oto_arena_rollback(a, m);

    shape_of(type, n, k, dim);
    rc = oto_gguf_put_tensor(dst, name, file_type(type), OTO_MAX_RANK, dim, data, n_bytes, e);
    if (rc == 0 && type == OTO_I8)
        rc = put_scales(dst, name, padded, scale, row_sum, e);
    return rc;
}

static void tensor_row(void *arg, int r, float *out)
{
    oto_tensor_row_f32(arg, r, out);
}

int oto_put_tensor_matrix(oto_gguf_writer *dst, const char *name, oto_dtype type,
                          const oto_tensor *t, int n, int k, oto_arena *a, oto_err *e)
{
    if (oto_tensor_rows(t) != n || oto_tensor_row_len(t) != k)
        return oto_fail(e, OTO_E_INPUT, "tensor %s: %lld x %lld, expected %d x %d", t->name,
                        (long long)oto_tensor_rows(t), (long long)oto_tensor_row_len(t), n, k);
    return oto_put_matrix(dst, name, type, n, k, tensor_row, (void *)(uintptr_t)t, a, e);
}

int oto_put_vector(oto_gguf_writer *dst, const char *name, const float *v, int64_t n, oto_arena *a,
                   oto_err *e)
{
    float *copy;
    int rc = oto_arena_get(a, (size_t)n, sizeof *copy, &copy, e);

    if (rc != 0)
        return rc;
    memcpy(copy, v, (size_t)n * sizeof *copy);
    return oto_gguf_put_tensor(dst, name, OTO_T_F32, 1, &n, copy, (size_t)n * sizeof *copy, e);
}

/* Kernels load whole vectors: the map must keep the file's alignment. */
static int aligned(const oto_weights *w, const oto_tensor *t, oto_err *e)
{
    if ((uintptr_t)t->data % 64 != 0)
        return oto_fail(e, OTO_E_INPUT, "%s: tensor %s is not on a 64-byte boundary",
                        oto_weights_path(w), t->name);
    return 0;
}

int oto_get_matrix(const oto_weights *w, const char *name, oto_dtype type, int n, int k,
                   oto_mat *out, oto_err *e)
{
    const int64_t padded[1] = {((int64_t)n + OTO_PANEL - 1) / OTO_PANEL * OTO_PANEL};
    int64_t dim[OTO_MAX_RANK];
    const oto_tensor *t, *scale = NULL, *row_sum = NULL;
    char side[160];
    int rc;

    shape_of(type, n, k, dim);
    if ((rc = oto_weights_need(w, name, file_type(type), OTO_MAX_RANK, dim, &t, e)) != 0 ||
        (rc = aligned(w, t, e)) != 0)
        return rc;
    if (type == OTO_I8) {
        if ((rc = side_name(side, sizeof side, name, "scale", e)) != 0 ||
            (rc = oto_weights_need(w, side, OTO_T_F32, 1, padded, &scale, e)) != 0 ||
            (rc = aligned(w, scale, e)) != 0 ||
            (rc = side_name(side, sizeof side, name, "row_sum", e)) != 0 ||
            (rc = oto_weights_need(w, side, OTO_T_I32, 1, padded, &row_sum, e)) != 0 ||
            (rc = aligned(w, row_sum, e)) != 0)
            return rc;
    }
    *out = (oto_mat){.type = type,
                     .n = n,
                     .k = k,
                     .data = t->data,
                     .scale = scale ? scale->data : NULL,
                     .row_sum = row_sum ? row_sum->data : NULL};
    return 0;
}

int oto_get_vector(const oto_weights *w, const char *name, int64_t n, const float **out, oto_err *e)
{
    const oto_tensor *t;
    int rc;

    if ((rc = oto_weights_need(w, name, OTO_T_F32, 1, &n, &t, e)) != 0 ||
        (rc = aligned(w, t, e)) != 0)
        return rc;
    *out = t->data;
    return 0;
}

int oto_get_int(const oto_weights *w, const char *key, int64_t lo, int64_t hi, int64_t *out,
                oto_err *e)
{
    int64_t v;

    if (!oto_weights_int(w, key, &v))
        return oto_fail(e, OTO_E_INPUT, "%s: no %s in the metadata", oto_weights_path(w), key);
    if (v < lo || v > hi)
        return oto_fail(e, OTO_E_INPUT, "%s: %s is %lld, expected %lld to %lld",
                        oto_weights_path(w), key, (long long)v, (long long)lo, (long long)hi);
    *out = v;
    return 0;
}

int oto_impl_new(const oto_weights *w, const char *what, size_t cap, size_t bytes, oto_arena **a,
                 void *impl, oto_err *e)
{
    const int rc = oto_arena_new(what, cap, a, e);
    void *m;

    if (rc != 0)
        return rc;
    m = oto_arena_calloc(*a, 1, bytes);
    if (m == NULL) {
        oto_arena_free(*a);
        return oto_fail(e, OTO_E_LIMIT, "%s: out of memory", oto_weights_path(w));
    }
    memcpy(impl, &m, sizeof m);
    return 0;
}
