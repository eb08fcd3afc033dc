/* The plain C definition of every operation. The other tables give the same to the last bit: a sum
 * over a row runs in 16 lanes, element i in lane i % 16, whose halves are then added until one is
 * left; functions are the same polynomials, with the same fused multiplications. */
#include "kernels/pack8.h"

#include <math.h>
#include <string.h>

#define MR    4
#define LANES 16

/* ---- products ---- */

static float prepare_f32(const float *x, int k, void *a)
{
    memcpy(a, x, (size_t)k * sizeof *x);
    return 1;
}

static void to_bf16(const float *x, int n, uint16_t *out)
{
    for (int i = 0; i < n; i++)
        out[i] = oto_f32_to_bf16(x[i]);
}

/* bf16 values kept as floats: the tile then multiplies without widening them again for every panel.
 */
static float prepare_bf16(const float *x, int k, void *a)
{
    float *out = a;
    for (int i = 0; i < k; i++)
        out[i] = oto_bf16_to_f32(oto_f32_to_bf16(x[i]));
    if (k % 2)
        out[k] = 0;
    return 1;
}

static float prepare_i8(const float *x, int k, void *a)
{
    int8_t *out = a;
    float most = 0;
    for (int i = 0; i < k; i++)
        most = fmaxf(most, fabsf(x[i]));
    float by = most > 1e-30f ? 127 / most : 0;
    for (int i = 0; i < k; i++) {
        float v = rintf(x[i] * by);
        out[i] = (int8_t)(v > 127 ? 127 : v > -127 ? v : -127);
    }
    for (int i = k; i % 4; i++)
        out[i] = 0;
    return by > 0 ? most / 127 : 0;
}

static void tile_f32(int m, int np, int groups, const void *a, size_t lda, const void *w,
                     size_t ldw, void *c, size_t ldc)
{
    for (int i = 0; i < m; i++) {
        const float *x = (const float *)((const char *)a + (size_t)i * lda);
        for (int p = 0; p < np; p++) {
            const float *wp = (const float *)((const char *)w + (size_t)p * ldw);
            float acc[16] = {0};
            for (int k = 0; k < groups; k++)
                for (int j = 0; j < 16; j++)
                    acc[j] = oto_fma(x[k], wp[k * 16 + j], acc[j]);
            memcpy((float *)c + (size_t)i * ldc + (size_t)p * 16, acc, sizeof acc);
        }
    }
}

static void tile_bf16(int m, int np, int groups, const void *a, size_t lda, const void *w,
                      size_t ldw, void *c, size_t ldc)
{
    for (int i = 0; i < m; i++) {
        const float *x = (const float *)((const char *)a + (size_t)i * lda);
        for (int p = 0; p < np; p++) {
            const uint16_t *wp = (const uint16_t *)((const char *)w + (size_t)p * ldw);
            float acc[16] = {0};
            for (int k = 0; k < groups; k++)
                for (int j = 0; j < 16; j++) {
                    const uint16_t *pair = wp + k * 32 + 2 * j;
                    acc[j] = oto_fma(x[2 * k], oto_bf16_to_f32(pair[0]), acc[j]);
                    acc[j] = oto_fma(x[2 * k + 1], oto_bf16_to_f32(pair[1]), acc[j]);
                }
            memcpy((float *)c + (size_t)i * ldc + (size_t)p * 16, acc, sizeof acc);
        }
    }
}

static void tile_i8(int m, int np, int groups, const void *a, size_t lda, const void *w, size_t ldw,
                    void *c, size_t ldc)
{
    for (int i = 0; i < m; i++) {
        const int8_t *x = (const int8_t *)a + (size_t)i * lda;
        for (int p = 0; p < np; p++) {
            const int8_t *wp = (const int8_t *)w + (size_t)p * ldw;
            int32_t acc[16] = {0};
            for (int k = 0; k < groups; k++)
                for (int j = 0; j < 16; j++)
                    for (int g = 0; g < 4; g++)
                        acc[j] += x[4 * k + g] * wp[(k * 16 + j) * 4 + g];
            memcpy((int32_t *)c + (size_t)i * ldc + (size_t)p * 16, acc, sizeof acc);
        }
    }
}

/* ---- functions ---- */

static float sum_lanes(float v[LANES])
{
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++)
            v[i] += v[i + half];
    return v[0];
}

/* exp, relative error 2e-7; 0 below -87. */
static float exp1(float x)
{
    if (!(x >= -87))
        return 0;
    const float n = rintf(x * 1.44269504f);
    const float r = oto_fma(-n, 1.42860677e-6f, oto_fma(-n, 0.693145752f, x));
    float y = 0.00837512873f;
    y = oto_fma(y, r, 0.041917529f);
    y = oto_fma(y, r, 0.166664153f);
    y = oto_fma(y, r, 0.499988705f);
    y = oto_fma(y, r, 1);
    y = oto_fma(y, r, 1);
    return ldexpf(y, (int)n);
}

/* ln of positive normal numbers: m in [0.75, 1.5), ln m = 2 atanh((m - 1) / (m + 1)). */
static float ln1(float x)
{
    int e;
    float m = frexpf(x, &e); /* from 0.5 to 1 */
    if (m < 0.75f) {
        m *= 2;
        e--;
    }
    const float s = (m - 1) / (m + 1), z = s * s;
    float y = oto_fma(z, 2.0f / 9, 2.0f / 7);
    y = oto_fma(y, z, 2.0f / 5);
    y = oto_fma(y, z, 2.0f / 3);
    y = oto_fma(y, z, 2);
    return oto_fma((float)e, 0.693147181f, y * s);
}

/* x Φ(x) = max(x, 0) - f(|x|): see oto_gelu_table. */
static float gelu1(float x)
{
    const float u = fminf(fabsf(x) * (15.5f / 5.5f), 15.49f), i = rintf(u), t = u - i;
    float y = oto_gelu_table[4][(int)i];
    for (int d = 3; d >= 0; d--)
        y = oto_fma(y, t, oto_gelu_table[d][(int)i]);
    return fmaxf(x, 0) - y;
}

static float activate(oto_act act, float v)
{
    switch (act) {
    case OTO_ACT_RELU:
        return v > 0 ? v : 0;
    case OTO_ACT_GELU:
        return gelu1(v);
    default:
        return v;
    }
}

/* ---- the end of a tile ---- */

static void finish(const oto_finish *f, const void *c, int ldc, int m, int n)
{
    for (int i = 0; i < m; i++)
        for (int j = 0; j < n; j++) {
            size_t at = (size_t)(i * ldc + j);
            float v, bias = f->bias ? f->bias[j] : 0;
            if (f->w_scale)
                v = oto_fma((float)(((const int32_t *)c)[at] - f->zero * f->row_sum[j]),
                            f->x_scale[i] * f->w_scale[j], bias);
            else
                v = ((const float *)c)[at] + bias;
            v = activate(f->act, v);
            if (f->residual)
                v += f->residual[(size_t)i * f->ldr + (size_t)j];
            f->y[(size_t)i * f->ldy + (size_t)j] = v;
        }
}

/* ---- rows ---- */

static float row_max(const float *x, int n)
{
    float most = x[0];
    for (int i = 1; i < n; i++)
        most = x[i] > most ? x[i] : most;
    return most;
}

static float exp_row_f32(const float *s, int n, int n_pad, void *a)
{
    float *out = a, most = row_max(s, n), sum[LANES] = {0};
    for (int i = 0; i < n; i++)
        sum[i % LANES] += out[i] = exp1(s[i] - most);
    for (int i = n; i < n_pad; i++)
        out[i] = 0;
    return sum_lanes(sum);
}

static float exp_row_bf16(const float *s, int n, int n_pad, void *a)
{
    float *out = a, most = row_max(s, n), sum[LANES] = {0};
    for (int i = 0; i < n; i++) {
        float v = exp1(s[i] - most);
        sum[i % LANES] += v;
        out[i] = oto_bf16_to_f32(oto_f32_to_bf16(v));
    }
    for (int i = n; i < n_pad; i++)
        out[i] = 0;
    return sum_lanes(sum);
}

/* unit * 2^x for x ≤ 0, to the nearest integer; relative error 3e-6 before that. */
static int exp_units(float x, float unit)
{
    x = fminf(fmaxf(x, -100), 0); /* nothing, and within a float's exponent; never above unit */
    const float n = rintf(x), r = x - n;
    float y = 0.00958281f;
    y = oto_fma(y, r, 0.05590634f);
    y = oto_fma(y, r, 0.24024099f);
    y = oto_fma(y, r, 0.6931242f);
    y = oto_fma(y * unit, r, unit);
    return (int)rintf(ldexpf(y, (int)n));
}

/* Rows are signed: of 2 parts always. */
static float weigh(const oto_weigh *w, void *a)
{
    uint8_t *high = a, *low = high + w->n_pad;
    int sum = 0;
    for (int i = 0; i < w->n; i++)
        w->scores[i] = oto_fma((float)(w->sums[i] - w->offset[i]), w->scale[i],
                               i < w->thin_from ? 0 : w->more);
    const float by = w->by * 1.44269504f, most = row_max(w->scores, w->n) * by;
    memset(high, 0, 2 * (size_t)w->n_pad);
    for (int i = 0; i < w->n; i++) {
        int q = exp_units(oto_fma(w->scores[i], by, -most), w->unit);
        sum += q;
        high[i] = (uint8_t)(q >> 7);
        low[i] = (uint8_t)(q & 127);
    }
    return (float)sum;
}

OTO_PACK_KEYS8(pack_keys, prepare_i8, 0)
OTO_PACK_VALUES8

static void layer_norm(const float *x, const float *gamma, const float *beta, float eps, int n,
                       float *y)
{
    float sum[LANES] = {0}, squares[LANES] = {0};
    for (int i = 0; i < n; i++)
        sum[i % LANES] += x[i];
    float mean = sum_lanes(sum) / (float)n;
    for (int i = 0; i < n; i++)
        squares[i % LANES] = oto_fma(x[i] - mean, x[i] - mean, squares[i % LANES]);
    float by = 1 / sqrtf(sum_lanes(squares) / (float)n + eps);
    for (int i = 0; i < n; i++)
        y[i] = oto_fma((x[i] - mean) * by, gamma[i], beta[i]);
}

static void scale_row(const float *x, int n, float by, float *out)
{
    for (int i = 0; i < n; i++)
        out[i] = x[i] * by;
}

/* ---- decoding attention ---- */

static size_t position(const int16_t *row, size_t lane_stride, int t)
{
    return (row ? (size_t)row[t] * lane_stride : 0) + (size_t)t * OTO_HEAD;
}

static float dot_f32(const float *a, const float *b, int n)
{
    float sum[LANES] = {0};
    for (int i = 0; i < n; i++)
        sum[i % LANES] = oto_fma(a[i], b[i], sum[i % LANES]);
    return sum_lanes(sum);
}

static void scores_f32(const float *q, int lanes, const void *k, const int16_t *row,
                       size_t lane_stride, int n_keys, float *s, size_t lds)
{
    for (int t = 0; t < n_keys; t++) {
        const float *key = (const float *)k + position(row, lane_stride, t);
        for (int l = 0; l < lanes; l++)
            s[(size_t)l * lds + (size_t)t] = dot_f32(q + l * OTO_HEAD, key, OTO_HEAD);
    }
}

static void from_bf16(const uint16_t *x, int n, float *out)
{
    for (int i = 0; i < n; i++)
        out[i] = oto_bf16_to_f32(x[i]);
}

static void scores_bf16(const float *q, int lanes, const void *k, const int16_t *row,
                        size_t lane_stride, int n_keys, float *s, size_t lds)
{
    for (int t = 0; t < n_keys; t++) {
        float key[OTO_HEAD];
        from_bf16((const uint16_t *)k + position(row, lane_stride, t), OTO_HEAD, key);
        for (int l = 0; l < lanes; l++)
            s[(size_t)l * lds + (size_t)t] = dot_f32(q + l * OTO_HEAD, key, OTO_HEAD);
    }
}

static void values_f32(const float *p, size_t ldp, int lanes, const void *v, const int16_t *row,
                       size_t lane_stride, int n_keys, float *out)
{
    memset(out, 0, (size_t)lanes * OTO_HEAD * sizeof *out);
    for (int t = 0; t < n_keys; t++) {
        const float *value = (const float *)v + position(row, lane_stride, t);
        for (int l = 0; l < lanes; l++)
            for (int i = 0; i < OTO_HEAD; i++)
                out[l * OTO_HEAD + i] =
                    oto_fma(p[(size_t)l * ldp + (size_t)t], value[i], out[l * OTO_HEAD + i]);
    }
}

static void values_bf16(const float *p, size_t ldp, int lanes, const void *v, const int16_t *row,
                        size_t lane_stride, int n_keys, float *out)
{
    memset(out, 0, (size_t)lanes * OTO_HEAD * sizeof *out);
    for (int t = 0; t < n_keys; t++) {
        float value[OTO_HEAD];
        from_bf16((const uint16_t *)v + position(row, lane_stride, t), OTO_HEAD, value);
        for (int l = 0; l < lanes; l++)
            for (int i = 0; i < OTO_HEAD; i++)
                out[l * OTO_HEAD + i] =
                    oto_fma(p[(size_t)l * ldp + (size_t)t], value[i], out[l * OTO_HEAD + i]);
    }
}

/* ---- small operations ---- */

static void ln_max_f32(float *x, int n, float floor)
{
    for (int i = 0; i < n; i++)
        x[i] = ln1(x[i] > floor ? x[i] : floor);
}

static int argmax_f32(const float *x, int n)
{
    int best = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[best])
            best = i;
    return best;
}

static int above_f32(const float *x, int n, float floor)
{
    int i = 0;
    while (i < n && !(x[i] > floor))
        i++;
    return i;
}

static float logsumexp_f32(const float *x, int n)
{
    float most = row_max(x, n);
    if (most == -INFINITY)
        return most;
    float sum[LANES] = {0};
    for (int i = 0; i < n; i++)
        sum[i % LANES] += exp1(x[i] - most);
    return most + ln1(sum_lanes(sum));
}

static const oto_kernels_impl impl = {
    .mm = {{.mr = MR,
            .np = 1,
            .a_bytes = 4,
            .prepare = prepare_f32,
            .tile = tile_f32,
            .exp_row = exp_row_f32},
           {.mr = MR,
            .np = 1,
            .a_bytes = 4,
            .prepare = prepare_bf16,
            .tile = tile_bf16,
            .exp_row = exp_row_bf16},
           {.mr = MR, .np = 1, .a_bytes = 1, .bits = 7, .prepare = prepare_i8, .tile = tile_i8}},
    .finish = finish,
    .weigh = weigh,
    .pack_keys = pack_keys,
    .pack_values = pack_values,
    .layer_norm = layer_norm,
    .to_bf16 = to_bf16,
    .scale = scale_row,
    .scores = {scores_f32, scores_bf16},
    .values = {values_f32, values_bf16},
};

const oto_kernels oto_kernels_scalar = OTO_TABLE("scalar", impl);
