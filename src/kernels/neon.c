/* NEON with the dot product of bytes (ARMv8.2).
 *
 * Tiles are 6 rows × 1 panel: 24 accumulators of four outputs, the panel's four vectors and one of
 * the row fill 29 of 32 registers. bf16 is widened by a shift and a mask. */
#include "kernels/pack8.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#include <string.h>

#define MR 6

/* The first n of four values, zeros behind them. */
INLINE float32x4_t load(const float *x, int n)
{
    float four[4] = {0};

    if (n >= 4)
        return vld1q_f32(x);
    for (int i = 0; i < n; i++)
        four[i] = x[i];
    return vld1q_f32(four);
}

INLINE void store(float *out, float32x4_t v, int n)
{
    float four[4];

    if (n >= 4) {
        vst1q_f32(out, v);
        return;
    }
    vst1q_f32(four, v);
    for (int i = 0; i < n; i++)
        out[i] = four[i];
}

/* All bits of the first n of four lanes. */
INLINE uint32x4_t first4(int n)
{
    static const int32_t at[4] = {0, 1, 2, 3};

    return vcltq_s32(vld1q_s32(at), vdupq_n_s32(n));
}

/* Sums run in 16 lanes in every table, here four times four: halves are added until one is left. */
INLINE float sum_lanes(const float32x4_t v[4])
{
    const float32x4_t four = vaddq_f32(vaddq_f32(v[0], v[2]), vaddq_f32(v[1], v[3]));
    const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));

    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}

/* Four at a time, i, of n, by turns in quarter 0, 1, 2 and 3. */
#define EACH_QUARTER(n, ...)                                                                       \
    for (int from = 0; from < (n); from += 16)                                                     \
        UNROLL for (int quarter = 0; quarter < 4; quarter++)                                       \
        {                                                                                          \
            const int i = from + 4 * quarter;                                                      \
            __VA_ARGS__;                                                                           \
        }

#define ZERO_LANES                                                                                 \
    {                                                                                              \
        vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)                             \
    }

INLINE float32x4_t keep(float32x4_t v, uint32x4_t lanes)
{
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), lanes));
}

/* ---- tiles ---- */

INLINE void store_tile(const int m, float32x4_t acc[MR][4], float *c, size_t ldc)
{
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < 4; j++)
        vst1q_f32(c + (size_t)i * ldc + 4 * j, acc[i][j]);
}

INLINE void f32_form(const int m, int groups, const char *a, size_t lda, const char *w, float *c,
                     size_t ldc)
{
    float32x4_t acc[MR][4], wv[4];

    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < 4; j++) acc[i][j] =
        vdupq_n_f32(0);
    for (int k = 0; k < groups; k++, w += 64) {
        UNROLL for (int j = 0; j < 4; j++) wv[j] = vld1q_f32((const float *)w + 4 * j);
        UNROLL for (int i = 0; i < m; i++)
        {
            const float x = ((const float *)(a + (size_t)i * lda))[k];

            UNROLL for (int j = 0; j < 4; j++) acc[i][j] = vfmaq_n_f32(acc[i][j], wv[j], x);
        }
    }
    store_tile(m, acc, c, ldc);
}

/* Rows are floats already rounded to bf16; a pair of weights shares 32 bits. */
INLINE void bf16_form(const int m, int groups, const char *a, size_t lda, const char *w, float *c,
                      size_t ldc)
{
    const uint32x4_t high = vdupq_n_u32(0xffff0000u);
    float32x4_t acc[MR][4], wv[4];

    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < 4; j++) acc[i][j] =
        vdupq_n_f32(0);
    for (int k = 0; k < groups; k++, w += 64)
        UNROLL for (int odd = 0; odd < 2; odd++)
        {
            UNROLL for (int j = 0; j < 4; j++)
            {
                const uint32x4_t u = vld1q_u32((const uint32_t *)(const void *)w + 4 * j);

                wv[j] = vreinterpretq_f32_u32(odd ? vandq_u32(u, high) : vshlq_n_u32(u, 16));
            }
            UNROLL for (int i = 0; i < m; i++)
            {
                const float x = ((const float *)(a + (size_t)i * lda))[2 * k + odd];

                UNROLL for (int j = 0; j < 4; j++) acc[i][j] = vfmaq_n_f32(acc[i][j], wv[j], x);
            }
        }
    store_tile(m, acc, c, ldc);
}

INLINE void i8_at_form(const int m, int groups, const uint16_t *at, const char *a, size_t lda,
                       const char *w, int32_t *c, size_t ldc)
{
    int32x4_t acc[MR][4];
    int8x16_t wv[4];

    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < 4; j++) acc[i][j] =
        vdupq_n_s32(0);
    for (int n = 0; n < groups; n++) {
        const size_t k = at != NULL ? at[n] : (size_t)n;
        const int8_t *here = (const int8_t *)w + 64 * k;

        UNROLL for (int j = 0; j < 4; j++) wv[j] = vld1q_s8(here + 16 * j);
        UNROLL for (int i = 0; i < m; i++)
        {
            int32_t four;

            memcpy(&four, a + (size_t)i * lda + 4 * k, sizeof four);
            const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(four));

            UNROLL for (int j = 0; j < 4; j++) acc[i][j] = vdotq_s32(acc[i][j], wv[j], x);
        }
    }
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < 4; j++)
        vst1q_s32(c + (size_t)i * ldc + 4 * j, acc[i][j]);
}

INLINE void i8_form(const int m, int groups, const char *a, size_t lda, const char *w, int32_t *c,
                    size_t ldc)
{
    i8_at_form(m, groups, NULL, a, lda, w, c, ldc);
}

OTO_PANEL_TILE(f32_tile, f32_form, float)
OTO_PANEL_TILE(bf16_tile, bf16_form, float)
OTO_PANEL_TILE(i8_tile, i8_form, int32_t)
OTO_PANEL_TILE_AT(i8_tile_at, i8_at_form, int32_t)

/* ---- rows of x as the tiles read them ---- */

static float prepare_f32(const float *x, int k, void *a)
{
    memcpy(a, x, (size_t)k * sizeof *x);
    return 1;
}

/* Nearest even in the upper half; NaN stays NaN. */
INLINE uint32x4_t round_bf16(float32x4_t v)
{
    const uint32x4_t u = vreinterpretq_u32_f32(v);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    const uint32x4_t up = vaddq_u32(vaddq_u32(u, vdupq_n_u32(0x7fff)), odd);
    const uint32x4_t number = vceqq_f32(v, v);

    return vandq_u32(vbslq_u32(number, up, vorrq_u32(u, vdupq_n_u32(0x400000))),
                     vdupq_n_u32(0xffff0000u));
}

static float prepare_bf16(const float *x, int k, void *a)
{
    float *out = a;

    for (int i = 0; i < k; i += 4)
        store(out + i, vreinterpretq_f32_u32(round_bf16(load(x + i, k - i))), k + k % 2 - i);
    return 1;
}

static float abs_max(const float *x, int n)
{
    float32x4_t most = vdupq_n_f32(0);

    for (int i = 0; i < n; i += 4)
        most = vmaxq_f32(most, vabsq_f32(load(x + i, n - i)));
    return vmaxvq_f32(most);
}

static float prepare_i8(const float *x, int k, void *a)
{
    int8_t *out = a;
    const float most = abs_max(x, k), by = most > 1e-30f ? 127 / most : 0;
    const int padded = (k + 3) / 4 * 4;

    for (int i = 0; i < padded; i += 4) {
        const int32x4_t q = vcvtnq_s32_f32(vmulq_n_f32(load(x + i, k - i), by));
        const int16x4_t narrow = vqmovn_s32(q);
        int8x8_t bytes = vqmovn_s16(vcombine_s16(narrow, narrow));

        bytes = vmax_s8(bytes, vdup_n_s8(-127));
        vst1_lane_s32((int32_t *)(void *)(out + i), vreinterpret_s32_s8(bytes), 0);
    }
    return most > 1e-30f ? most / 127 : 0;
}

/* ---- functions of one vector ---- */

/* exp, relative error 2e-7; 0 below -87. */
INLINE float32x4_t exp4(float32x4_t x)
{
    const uint32x4_t enough = vcgeq_f32(x, vdupq_n_f32(-87));

    x = vmaxq_f32(x, vdupq_n_f32(-87));
    const float32x4_t n = vrndnq_f32(vmulq_n_f32(x, 1.44269504f));
    float32x4_t r = vfmsq_f32(x, n, vdupq_n_f32(0.693145752f));
    r = vfmsq_f32(r, n, vdupq_n_f32(1.42860677e-6f));
    float32x4_t y = vdupq_n_f32(0.00837512873f);
    y = vfmaq_f32(vdupq_n_f32(0.041917529f), y, r);
    y = vfmaq_f32(vdupq_n_f32(0.166664153f), y, r);
    y = vfmaq_f32(vdupq_n_f32(0.499988705f), y, r);
    y = vfmaq_f32(vdupq_n_f32(1), y, r);
    y = vfmaq_f32(vdupq_n_f32(1), y, r);
    const int32x4_t power = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23);
    return keep(vmulq_f32(y, vreinterpretq_f32_s32(power)), enough);
}

/* ln of positive normal numbers: m in [0.75, 1.5), ln m = 2 atanh((m - 1) / (m + 1)). */
INLINE float32x4_t ln4(float32x4_t x)
{
    const int32x4_t u = vreinterpretq_s32_f32(x);
    /* The exponent that leaves m in this range: that of x / 0.75. */
    const int32x4_t e = vshrq_n_s32(vsubq_s32(u, vdupq_n_s32(0x3f400000)), 23);
    const float32x4_t m = vreinterpretq_f32_s32(vsubq_s32(u, vshlq_n_s32(e, 23)));
    const float32x4_t one = vdupq_n_f32(1);
    const float32x4_t s = vdivq_f32(vsubq_f32(m, one), vaddq_f32(m, one));
    const float32x4_t z = vmulq_f32(s, s);
    float32x4_t y = vfmaq_f32(vdupq_n_f32(2.0f / 7), z, vdupq_n_f32(2.0f / 9));

    y = vfmaq_f32(vdupq_n_f32(2.0f / 5), y, z);
    y = vfmaq_f32(vdupq_n_f32(2.0f / 3), y, z);
    y = vfmaq_f32(vdupq_n_f32(2), y, z);
    return vfmaq_f32(vmulq_f32(y, s), vcvtq_f32_s32(e), vdupq_n_f32(0.693147181f));
}

/* Entry i (0 … 15) of a table of 16: its bytes are looked up. */
INLINE float32x4_t pick(const float *table, uint8x16_t bytes)
{
    const uint8_t *t = (const uint8_t *)table;
    const uint8x16x4_t all = {{vld1q_u8(t), vld1q_u8(t + 16), vld1q_u8(t + 32), vld1q_u8(t + 48)}};

    return vreinterpretq_f32_u8(vqtbl4q_u8(all, bytes));
}

/* x Φ(x) = max(x, 0) - f(|x|): see oto_gelu_table. */
INLINE float32x4_t gelu4(float32x4_t x)
{
    const float32x4_t u = vminq_f32(vmulq_n_f32(vabsq_f32(x), 15.5f / 5.5f), vdupq_n_f32(15.49f));
    const float32x4_t i = vrndnq_f32(u), t = vsubq_f32(u, i);
    /* Four times i in every byte, plus 0 1 2 3. */
    const uint32x4_t at = vmlaq_n_u32(vdupq_n_u32(0x03020100), vcvtq_u32_f32(i), 0x04040404);
    const uint8x16_t bytes = vreinterpretq_u8_u32(at);
    float32x4_t y = pick(oto_gelu_table[4], bytes);

    UNROLL for (int d = 3; d >= 0; d--) y = vfmaq_f32(pick(oto_gelu_table[d], bytes), y, t);
    return vsubq_f32(vmaxq_f32(x, vdupq_n_f32(0)), y);
}

/* ---- the end of a tile ---- */

static void finish(const oto_finish *f, const void *c, int ldc, int m, int n)
{
    for (int at = 0; at < n; at += 4) {
        const int left = n - at;
        const float32x4_t bias = f->bias ? load(f->bias + at, left) : vdupq_n_f32(0);

        for (int i = 0; i < m; i++) {
            const size_t from = (size_t)i * (size_t)ldc + (size_t)at;
            float32x4_t v;

            if (f->w_scale) {
                v = vcvtq_f32_s32(vld1q_s32((const int32_t *)c + from));
                v = vfmaq_f32(bias, v, vmulq_n_f32(vld1q_f32(f->w_scale + at), f->x_scale[i]));
            } else {
                v = vaddq_f32(vld1q_f32((const float *)c + from), bias);
            }
            if (f->act == OTO_ACT_GELU)
                v = gelu4(v);
            else if (f->act == OTO_ACT_RELU)
                v = vmaxq_f32(v, vdupq_n_f32(0));
            if (f->residual)
                v = vaddq_f32(v, load(f->residual + (size_t)i * f->ldr + at, left));
            store(f->y + (size_t)i * f->ldy + at, v, left);
        }
    }
}

/* ---- rows ---- */

static float row_max(const float *x, int n)
{
    const float32x4_t least = vdupq_n_f32(-__builtin_inff());
    float32x4_t most = least;

    for (int i = 0; i < n; i += 4)
        most = vmaxq_f32(most, vbslq_f32(first4(n - i), load(x + i, n - i), least));
    return vmaxvq_f32(most);
}

INLINE float exp_row(const bool rounded, const float *s, int n, int n_pad, float *out)
{
    const float32x4_t most = vdupq_n_f32(row_max(s, n));
    float32x4_t sum[4] = ZERO_LANES;

    EACH_QUARTER(n, {
        float32x4_t y = keep(exp4(vsubq_f32(load(s + i, n - i), most)), first4(n - i));

        sum[quarter] = vaddq_f32(sum[quarter], y);
        if (rounded)
            y = vreinterpretq_f32_u32(round_bf16(y));
        store(out + i, y, n_pad - i);
    });
    return sum_lanes(sum);
}

static float exp_row_f32(const float *s, int n, int n_pad, void *a)
{
    return exp_row(false, s, n, n_pad, a);
}

static float exp_row_bf16(const float *s, int n, int n_pad, void *a)
{
    return exp_row(true, s, n, n_pad, a);
}

/* The scores but for `by`; returns the greatest. All rows have room up to a multiple
 * of 4. */
static float score_row(const oto_weigh *w)
{
    for (int i = 0; i < w->n; i += 4) {
        const int32x4_t c = vsubq_s32(vld1q_s32(w->sums + i), vld1q_s32(w->offset + i));

        const float32x4_t plus = vdupq_n_f32(i < w->thin_from ? 0 : w->more);

        vst1q_f32(w->scores + i, vfmaq_f32(plus, vcvtq_f32_s32(c), vld1q_f32(w->scale + i)));
    }
    return row_max(w->scores, w->n);
}

/* unit * 2^x for x ≤ 0, to the nearest integer; relative error 3e-6 before that. */
INLINE uint32x4_t exp_units(float32x4_t x, float32x4_t unit)
{
    x = vmaxq_f32(x, vdupq_n_f32(-100)); /* nothing, and within a float's exponent */
    x = vminq_f32(x, vdupq_n_f32(0));    /* rounding: never above unit */
    const float32x4_t n = vrndnq_f32(x), r = vsubq_f32(x, n);
    float32x4_t y = vdupq_n_f32(0.00958281f);

    y = vfmaq_f32(vdupq_n_f32(0.05590634f), y, r);
    y = vfmaq_f32(vdupq_n_f32(0.24024099f), y, r);
    y = vfmaq_f32(vdupq_n_f32(0.6931242f), y, r);
    y = vfmaq_f32(unit, vmulq_f32(y, unit), r);
    const int32x4_t power = vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23);
    return vcvtnq_u32_f32(vmulq_f32(y, vreinterpretq_f32_s32(power)));
}

/* Rows are signed: of 2 parts always. */
static float weigh(const oto_weigh *w, void *a)
{
    uint8_t *high = a, *low = high + w->n_pad;
    const float by = w->by * 1.44269504f;
    const float32x4_t by4 = vdupq_n_f32(by), unit = vdupq_n_f32(w->unit);
    const float32x4_t less = vdupq_n_f32(-(score_row(w) * by));
    uint32x4_t sum = vdupq_n_u32(0);

    for (int i = 0; i < w->n_pad; i += 4) { /* a multiple of 4 */
        const float32x4_t s = load(w->scores + i, w->n - i);
        const uint32x4_t q =
            vandq_u32(exp_units(vfmaq_f32(less, s, by4), unit), first4(OTO_MAX(w->n - i, 0)));
        const uint16x8_t words =
            vcombine_u16(vmovn_u32(vshrq_n_u32(q, 7)), vmovn_u32(vandq_u32(q, vdupq_n_u32(127))));
        const uint32x2_t bytes = vreinterpret_u32_u8(vmovn_u16(words));

        sum = vaddq_u32(sum, q);
        vst1_lane_u32((uint32_t *)(void *)(high + i), bytes, 0);
        vst1_lane_u32((uint32_t *)(void *)(low + i), bytes, 1);
    }
    return (float)vaddvq_u32(sum);
}

OTO_PACK_KEYS8(pack_keys, prepare_i8, 0)
OTO_PACK_VALUES8

static void layer_norm(const float *x, const float *gamma, const float *beta, float eps, int n,
                       float *y)
{
    float32x4_t sum[4] = ZERO_LANES, squares[4] = ZERO_LANES;

    EACH_QUARTER(n, sum[quarter] = vaddq_f32(sum[quarter], load(x + i, n - i)));
    const float32x4_t mean = vdupq_n_f32(sum_lanes(sum) / (float)n);
    EACH_QUARTER(n, {
        const float32x4_t d = keep(vsubq_f32(load(x + i, n - i), mean), first4(n - i));

        squares[quarter] = vfmaq_f32(squares[quarter], d, d);
    });
    const float by = 1 / __builtin_sqrtf(sum_lanes(squares) / (float)n + eps);
    for (int i = 0; i < n; i += 4) {
        const float32x4_t d = vmulq_n_f32(vsubq_f32(load(x + i, n - i), mean), by);

        store(y + i, vfmaq_f32(load(beta + i, n - i), d, load(gamma + i, n - i)), n - i);
    }
}

static void to_bf16(const float *x, int n, uint16_t *out)
{
    for (int i = 0; i < n; i += 4) {
        const uint16x4_t v = vshrn_n_u32(round_bf16(load(x + i, n - i)), 16);
        uint16_t four[4];

        if (n - i >= 4) {
            vst1_u16(out + i, v);
            continue;
        }
        vst1_u16(four, v);
        for (int j = 0; j < n - i; j++)
            out[i + j] = four[j];
    }
}

static void scale_row(const float *x, int n, float by, float *out)
{
    for (int i = 0; i < n; i += 4)
        store(out + i, vmulq_n_f32(load(x + i, n - i), by), n - i);
}

/* ---- decoding attention ---- */

INLINE const char *key_at(const void *k, size_t elem, const int16_t *row, size_t lane_stride, int t)
{
    return (const char *)k +
           ((row ? (size_t)row[t] * lane_stride : 0) + (size_t)t * OTO_HEAD) * elem;
}

/* Four elements of a key or value. */
INLINE float32x4_t element4(const bool bf16, const char *from, int j)
{
    if (!bf16)
        return vld1q_f32((const float *)(const void *)from + 4 * j);
    return vreinterpretq_f32_u32(
        vshll_n_u16(vld1_u16((const uint16_t *)(const void *)from + 4 * j), 16));
}

INLINE void scores(const bool bf16, const float *q, int lanes, const void *k, const int16_t *row,
                   size_t lane_stride, int n_keys, float *s, size_t lds)
{
    for (int t = 0; t < n_keys; t++) {
        const char *from = key_at(k, bf16 ? 2 : 4, row, lane_stride, t);
        float32x4_t key[16];

        UNROLL for (int j = 0; j < 16; j++) key[j] = element4(bf16, from, j);
        for (int l = 0; l < lanes; l++) {
            const float *ql = q + l * OTO_HEAD;
            float32x4_t sum[4];

            UNROLL for (int j = 0; j < 4; j++) sum[j] = vmulq_f32(vld1q_f32(ql + 4 * j), key[j]);
            UNROLL for (int j = 4; j < 16; j++) sum[j % 4] =
                vfmaq_f32(sum[j % 4], vld1q_f32(ql + 4 * j), key[j]);
            s[(size_t)l * lds + (size_t)t] = sum_lanes(sum);
        }
    }
}

static void scores_f32(const float *q, int lanes, const void *k, const int16_t *row,
                       size_t lane_stride, int n_keys, float *s, size_t lds)
{
    scores(false, q, lanes, k, row, lane_stride, n_keys, s, lds);
}

static void scores_bf16(const float *q, int lanes, const void *k, const int16_t *row,
                        size_t lane_stride, int n_keys, float *s, size_t lds)
{
    scores(true, q, lanes, k, row, lane_stride, n_keys, s, lds);
}

/* One lane's 64 sums fill half of the registers; lanes follow one another, the values being near
 * after the first. */
INLINE void values(const bool bf16, const float *p, size_t ldp, int lanes, const void *v,
                   const int16_t *row, size_t lane_stride, int n_keys, float *out)
{
    for (int l = 0; l < lanes; l++) {
        const float *pl = p + (size_t)l * ldp;
        float32x4_t acc[16];

        UNROLL for (int j = 0; j < 16; j++) acc[j] = vdupq_n_f32(0);
        for (int t = 0; t < n_keys; t++) {
            const char *from = key_at(v, bf16 ? 2 : 4, row, lane_stride, t);

            UNROLL for (int j = 0; j < 16; j++) acc[j] =
                vfmaq_n_f32(acc[j], element4(bf16, from, j), pl[t]);
        }
        UNROLL for (int j = 0; j < 16; j++) vst1q_f32(out + l * OTO_HEAD + 4 * j, acc[j]);
    }
}

static void values_f32(const float *p, size_t ldp, int lanes, const void *v, const int16_t *row,
                       size_t lane_stride, int n_keys, float *out)
{
    values(false, p, ldp, lanes, v, row, lane_stride, n_keys, out);
}

static void values_bf16(const float *p, size_t ldp, int lanes, const void *v, const int16_t *row,
                        size_t lane_stride, int n_keys, float *out)
{
    values(true, p, ldp, lanes, v, row, lane_stride, n_keys, out);
}

/* ---- small operations ---- */

static float dot_f32(const float *a, const float *b, int n)
{
    float32x4_t sum[4] = ZERO_LANES;

    EACH_QUARTER(n, sum[quarter] = vfmaq_f32(sum[quarter], load(a + i, n - i), load(b + i, n - i)));
    return sum_lanes(sum);
}

static void ln_max_f32(float *x, int n, float floor)
{
    for (int i = 0; i < n; i += 4)
        store(x + i, ln4(vmaxq_f32(load(x + i, n - i), vdupq_n_f32(floor))), n - i);
}

static int argmax_f32(const float *x, int n)
{
    const float most = row_max(x, n);

    for (int i = 0; i < n; i++)
        if (x[i] == most)
            return i;
    return 0;
}

static int above_f32(const float *x, int n, float floor)
{
    int i = 0;

    while (i + 4 <= n && vmaxvq_u32(vcgtq_f32(vld1q_f32(x + i), vdupq_n_f32(floor))) == 0)
        i += 4;
    while (i < n && !(x[i] > floor))
        i++;
    return i;
}

static float logsumexp_f32(const float *x, int n)
{
    const float most = row_max(x, n);
    float32x4_t sum[4] = ZERO_LANES;

    if (most == -__builtin_inff())
        return most;
    EACH_QUARTER(n, {
        const float32x4_t y = exp4(vsubq_f32(load(x + i, n - i), vdupq_n_f32(most)));

        sum[quarter] = vaddq_f32(sum[quarter], keep(y, first4(n - i)));
    });
    return most + vgetq_lane_f32(ln4(vdupq_n_f32(sum_lanes(sum))), 0);
}

static const oto_kernels_impl impl = {
    .mm = {{.mr = MR,
            .np = 1,
            .a_bytes = 4,
            .prepare = prepare_f32,
            .tile = f32_tile,
            .exp_row = exp_row_f32},
           {.mr = MR,
            .np = 1,
            .a_bytes = 4,
            .prepare = prepare_bf16,
            .tile = bf16_tile,
            .exp_row = exp_row_bf16},
           {.mr = MR,
            .np = 1,
            .a_bytes = 1,
            .bits = 7,
            .prepare = prepare_i8,
            .tile = i8_tile,
            .tile_at = i8_tile_at}},
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

const oto_kernels oto_kernels_neon = OTO_TABLE("neon", impl);

#else
typedef int oto_no_neon; /* a translation unit is never empty */
#endif
