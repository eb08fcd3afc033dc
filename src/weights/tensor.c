/* Tensor types: their names, their sizes, and one row of any of them as f32.
 *
 * Quantised types come in blocks of 32 values; q4 and q5 hold value i in the low half of byte i and
 * value i + 16 in the high half, and q5 keeps the fifth bits in a u32 before them: q4_0  f16 d u8
 * qs[16]          w = d (q - 8) q4_1  f16 d, f16 m     u8 qs[16]          w = d q + m q5_0  f16 d
 * u32 qh  u8 qs[16]          w = d (q - 16) q5_1  f16 d, f16 m  u32 qh  u8 qs[16]     w = d q + m
 *   q8_0  f16 d            i8 qs[32]          w = d q
 * Data may stand at any address, so everything is read through memcpy. */
#include "weights/formats.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "weights are mapped as they lie in the file");

#define BLOCK 32

static const struct {
    oto_ttype type;
    const char *name;
    uint32_t block, bytes; /* values in a block, its size */
} types[] = {
    {OTO_T_F32, "f32", 1, 4},        {OTO_T_F16, "f16", 1, 2},
    {OTO_T_BF16, "bf16", 1, 2},      {OTO_T_I8, "i8", 1, 1},
    {OTO_T_I16, "i16", 1, 2},        {OTO_T_I32, "i32", 1, 4},
    {OTO_T_I64, "i64", 1, 8},        {OTO_T_Q4_0, "q4_0", BLOCK, 18},
    {OTO_T_Q4_1, "q4_1", BLOCK, 20}, {OTO_T_Q5_0, "q5_0", BLOCK, 22},
    {OTO_T_Q5_1, "q5_1", BLOCK, 24}, {OTO_T_Q8_0, "q8_0", BLOCK, 34},
    {OTO_T_U8, "u8", 1, 1},
};

static int find_type(oto_ttype type)
{
    for (size_t i = 0; i < OTO_COUNT(types); i++) {
        if (types[i].type == type) {
            return (int)i;
        }
    }
    return -1;
}

const char *oto_ttype_name(oto_ttype type)
{
    int i = find_type(type);
    return i < 0 ? NULL : types[i].name;
}

bool oto_ttype_bytes(oto_ttype type, int rank, const int64_t *dim, size_t *out)
{
    int t = find_type(type);
    if (t < 0 || rank < 0 || rank > OTO_MAX_RANK) {
        return false;
    }
    /* The product of the dimensions must fit int64_t, because rows and row lengths are counted in
     * it; and of any of them: one that is 0 must not hide that the others do not fit. */
    size_t n = 1;
    bool empty = false;
    for (int i = 0; i < rank; i++) {
        empty |= dim[i] == 0;
        if (dim[i] < 0 || !oto_mul_size(n, dim[i] ? (size_t)dim[i] : 1, &n) || n > INT64_MAX) {
            return false;
        }
    }
    int64_t last = rank ? dim[rank - 1] : 1;
    if (last % types[t].block != 0) {
        return false;
    }
    return oto_mul_size(empty ? 0 : n / types[t].block, types[t].bytes, out);
}

int64_t oto_tensor_rows(const oto_tensor *t)
{
    return t->rank < 2 ? 1 : t->dim[0];
}

int64_t oto_tensor_row_len(const oto_tensor *t)
{
    int64_t n = 1;
    for (int i = t->rank < 2 ? 0 : 1; i < t->rank; i++) {
        n *= t->dim[i];
    }
    return n;
}

/* Without a branch, so that loops over it become vector code: the exponent is moved into place by
 * one multiplication, which also normalises subnormals. */
static inline float half(uint16_t h)
{
    uint32_t u = (uint32_t)(h & 0x7fff) << 13;
    float f;
    memcpy(&f, &u, sizeof f);
    f *= 0x1p112f;
    memcpy(&u, &f, sizeof u);
    u |= (h & 0x7c00) == 0x7c00 ? 0x7f800000u : 0;
    u |= (uint32_t)(h & 0x8000) << 16;
    memcpy(&f, &u, sizeof f);
    return f;
}

static float half_at(const uint8_t *p)
{
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return half(h);
}

static void row_f16(const uint8_t *p, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, sizeof h);
        out[i] = half(h);
    }
}

static void row_bf16(const uint8_t *p, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i++) {
        uint16_t h;
        memcpy(&h, p + 2 * i, sizeof h);
        uint32_t u = (uint32_t)h << 16;
        memcpy(&out[i], &u, sizeof u);
    }
}

static void row_q8_0(const uint8_t *p, int64_t n, float *out)
{
    for (int64_t i = 0; i < n; i += BLOCK, p += 34) {
        float d = half_at(p);
        for (int j = 0; j < BLOCK; j++) {
            out[i + j] = d * (float)(int8_t)p[2 + j];
        }
    }
}

/* q4_0, q4_1, q5_0, q5_1 differ in whether they have a minimum (else a fixed middle) and fifth
 * bits. */
static void row_q45(const uint8_t *p, int64_t n, bool min, bool fifth, float *out)
{
    for (int64_t i = 0; i < n; i += BLOCK) {
        float d = half_at(p);
        float m = min ? half_at(p + 2) : d * (fifth ? -16.0f : -8.0f);
        p += min ? 4 : 2;
        uint32_t high = 0;
        if (fifth) {
            memcpy(&high, p, sizeof high);
            p += 4;
        }
        for (int j = 0; j < BLOCK / 2; j++) {
            uint32_t lo = (p[j] & 15u) | (high >> j & 1) << 4;
            uint32_t hi = (uint32_t)p[j] >> 4 | (high >> (j + 16) & 1) << 4;
            out[i + j] = d * (float)lo + m;
            out[i + j + BLOCK / 2] = d * (float)hi + m;
        }
        p += BLOCK / 2;
    }
}

#define ROW_INT(name, type)                                                                        \
    static void name(const uint8_t *p, int64_t n, float *out)                                      \
    {                                                                                              \
        for (int64_t i = 0; i < n; i++) {                                                          \
            type v;                                                                                \
            memcpy(&v, p + sizeof v * (size_t)i, sizeof v);                                        \
            out[i] = (float)v;                                                                     \
        }                                                                                          \
    }
ROW_INT(row_u8, uint8_t)
ROW_INT(row_i8, int8_t)
ROW_INT(row_i16, int16_t)
ROW_INT(row_i32, int32_t)
ROW_INT(row_i64, int64_t)

static void row_turned(const oto_tensor *t, int64_t r, int64_t n, float *out)
{
    const size_t bytes = t->type == OTO_T_F32 ? 4 : 1, step = (size_t)oto_tensor_rows(t) * bytes;
    const uint8_t *p = (const uint8_t *)t->data + (size_t)r * bytes;
    for (int64_t i = 0; i < n; i++, p += step) {
        if (t->type == OTO_T_F32) {
            memcpy(&out[i], p, sizeof out[i]);
        } else {
            out[i] = t->type == OTO_T_U8 ? (float)*p : (float)(int8_t)*p;
        }
    }
}

static void rescale(const oto_tensor *t, int64_t r, int64_t n, float *out)
{
    const size_t at = t->n_scale == 1 ? 0 : (size_t)r;
    const float s = t->scale[at];
    if (!t->zero) {
        for (int64_t i = 0; i < n; i++) {
            out[i] /= s;
        }
        return;
    }
    const uint8_t zero = ((const uint8_t *)t->zero)[at];
    const float z = t->type == OTO_T_U8 ? (float)zero : (float)(int8_t)zero;
    for (int64_t i = 0; i < n; i++) {
        out[i] = (out[i] - z) * s;
    }
}

static void row_in_order(const oto_tensor *t, int k, int64_t r, int64_t n, float *out)
{
    const uint8_t *p = (const uint8_t *)t->data + (size_t)(r * n) / types[k].block * types[k].bytes;
    switch (t->type) {
    case OTO_T_F32:
        memcpy(out, p, (size_t)n * sizeof *out);
        break;
    case OTO_T_F16:
        row_f16(p, n, out);
        break;
    case OTO_T_BF16:
        row_bf16(p, n, out);
        break;
    case OTO_T_U8:
        row_u8(p, n, out);
        break;
    case OTO_T_I8:
        row_i8(p, n, out);
        break;
    case OTO_T_I16:
        row_i16(p, n, out);
        break;
    case OTO_T_I32:
        row_i32(p, n, out);
        break;
    case OTO_T_I64:
        row_i64(p, n, out);
        break;
    case OTO_T_Q4_0:
    case OTO_T_Q4_1:
        row_q45(p, n, t->type == OTO_T_Q4_1, false, out);
        break;
    case OTO_T_Q5_0:
    case OTO_T_Q5_1:
        row_q45(p, n, t->type == OTO_T_Q5_1, true, out);
        break;
    case OTO_T_Q8_0:
        row_q8_0(p, n, out);
        break;
    }
}

void oto_tensor_row_f32(const oto_tensor *t, int64_t r, float *out)
{
    int64_t n = oto_tensor_row_len(t);
    int k = find_type(t->type);
    if (k < 0 || n == 0) {
        return;
    }
    if (t->turned) {
        row_turned(t, r, n, out);
    } else {
        row_in_order(t, k, r, n, out);
    }
    if (t->scale) {
        rescale(t, r, n, out);
    }
}
