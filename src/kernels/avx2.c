/* AVX2 with FMA and F16C, and a second table whose products of bytes are those of avxvnni.c.
 *
 * Tiles are 6 rows × 1 panel: 12 accumulators, the panel's two vectors and a broadcast fill the 16
 * registers. bf16 is widened by a shift and a mask. Bytes are widened to 16 bits, rows when they
 * are prepared and weights as they are loaded, for vpmaddwd: vpmaddubsw takes twice as many bytes,
 * but its sums of pairs saturate unless one side's sign is moved to the other first, which costs
 * more. */
#include "kernels/pack8.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#define MR 6
/* Keeps an accumulator in its register: with none to spare, a compiler may copy or spill it else.
 */
#define STAY(v) __asm__("" : "+x"(v))

/* The first n of 8 lanes. */
INLINE __m256i first8(int n)
{
    static const int32_t mask[16] = {-1, -1, -1, -1, -1, -1, -1, -1};

    return _mm256_loadu_si256((const __m256i *)(mask + 8 - OTO_MAX(OTO_MIN(n, 8), 0)));
}

/* The first n of 8 values, zeros behind them; n may be anything. */
INLINE __m256 load(const float *x, int n)
{
    return n >= 8 ? _mm256_loadu_ps(x) : _mm256_maskload_ps(x, first8(n));
}

/* The same of integers. */
INLINE __m256i load_i32(const int32_t *x, int n)
{
    return n >= 8 ? _mm256_loadu_si256((const __m256i *)x) : _mm256_maskload_epi32(x, first8(n));
}

/* The first n of v. A masked store takes twelve cycles on some CPUs: for a row's end alone. */
INLINE void store(float *x, int n, __m256 v)
{
    if (n >= 8)
        _mm256_storeu_ps(x, v);
    else
        _mm256_maskstore_ps(x, first8(n), v);
}

/* Sums run in 16 lanes in every table, here the halves `low` and `high`: halves are added until one
 * is left. */
INLINE float sum_lanes(__m256 low, __m256 high)
{
    const __m256 v = _mm256_add_ps(low, high);
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

/* Eight at a time, i, of n, by turns in half 0 and 1. */
#define EACH_HALF(n, ...)                                                                          \
    for (int from = 0; from < (n); from += 16)                                                     \
        UNROLL for (int half = 0; half < 2; half++)                                                \
        {                                                                                          \
            const int i = from + 8 * half;                                                         \
            __VA_ARGS__;                                                                           \
        }

INLINE float max8(__m256 v)
{
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));

    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_shuffle_ps(s, s, 1)));
}

INLINE __m256 abs8(__m256 v)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v);
}

/* ---- tiles ---- */

INLINE void f32_form(const int m, int groups, const char *a, size_t lda, const char *w, float *c,
                     size_t ldc)
{
    __m256 acc[MR][2];

    UNROLL for (int i = 0; i < m; i++) acc[i][0] = acc[i][1] = _mm256_setzero_ps();
    for (int k = 0; k < groups; k++, w += 64) {
        const __m256 w0 = _mm256_loadu_ps((const float *)w);
        const __m256 w1 = _mm256_loadu_ps((const float *)w + 8);

        UNROLL for (int i = 0; i < m; i++)
        {
            const __m256 x = _mm256_broadcast_ss((const float *)(a + (size_t)i * lda) + k);

            acc[i][0] = _mm256_fmadd_ps(x, w0, acc[i][0]);
            acc[i][1] = _mm256_fmadd_ps(x, w1, acc[i][1]);
        }
    }
    UNROLL for (int i = 0; i < m; i++)
    {
        _mm256_storeu_ps(c + (size_t)i * ldc, acc[i][0]);
        _mm256_storeu_ps(c + (size_t)i * ldc + 8, acc[i][1]);
    }
}

/* Rows are floats already rounded to bf16; a pair of weights shares 32 bits. */
INLINE void bf16_form(const int m, int groups, const char *a, size_t lda, const char *w, float *c,
                      size_t ldc)
{
    const __m256i high = _mm256_set1_epi32((int)0xffff0000);
    __m256 acc[MR][2];

    UNROLL for (int i = 0; i < m; i++) acc[i][0] = acc[i][1] = _mm256_setzero_ps();
    for (int k = 0; k < groups; k++, w += 64) {
        const __m256i u0 = _mm256_loadu_si256((const __m256i *)w);
        const __m256i u1 = _mm256_loadu_si256((const __m256i *)w + 1);
        __m256 w0 = _mm256_castsi256_ps(_mm256_slli_epi32(u0, 16));
        __m256 w1 = _mm256_castsi256_ps(_mm256_slli_epi32(u1, 16));

        UNROLL for (int i = 0; i < m; i++)
        {
            const __m256 x = _mm256_broadcast_ss((const float *)(a + (size_t)i * lda) + 2 * k);

            acc[i][0] = _mm256_fmadd_ps(x, w0, acc[i][0]);
            acc[i][1] = _mm256_fmadd_ps(x, w1, acc[i][1]);
        }
        w0 = _mm256_castsi256_ps(_mm256_and_si256(u0, high));
        w1 = _mm256_castsi256_ps(_mm256_and_si256(u1, high));
        UNROLL for (int i = 0; i < m; i++)
        {
            const __m256 x = _mm256_broadcast_ss((const float *)(a + (size_t)i * lda) + 2 * k + 1);

            acc[i][0] = _mm256_fmadd_ps(x, w0, acc[i][0]);
            acc[i][1] = _mm256_fmadd_ps(x, w1, acc[i][1]);
        }
    }
    UNROLL for (int i = 0; i < m; i++)
    {
        _mm256_storeu_ps(c + (size_t)i * ldc, acc[i][0]);
        _mm256_storeu_ps(c + (size_t)i * ldc + 8, acc[i][1]);
    }
}

/* Rows are bytes widened to 16 bits. Half a panel at a time: an accumulator holds two sums for each
 * of four outputs, which meet at the end. */
INLINE void i8_at_form(const int m, int groups, const uint16_t *at, const char *a, size_t lda,
                       const char *w, int32_t *c, size_t ldc)
{
    for (int half = 0; half < 2; half++, w += 32, c += 8) {
        __m256i acc[MR][2];

        UNROLL for (int i = 0; i < m; i++) acc[i][0] = acc[i][1] = _mm256_setzero_si256();
        for (int n = 0; n < groups; n++) {
            const size_t k = at != NULL ? at[n] : (size_t)n;
            const char *here = w + 64 * k;
            const __m256i w0 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)here));
            const __m256i w1 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)here + 1));

            UNROLL for (int i = 0; i < m; i++)
            {
                int64_t four;

                memcpy(&four, a + (size_t)i * lda + 8 * k, sizeof four);
                const __m256i x = _mm256_set1_epi64x(four);

                acc[i][0] = _mm256_add_epi32(acc[i][0], _mm256_madd_epi16(x, w0));
                acc[i][1] = _mm256_add_epi32(acc[i][1], _mm256_madd_epi16(x, w1));
                STAY(acc[i][0]);
                STAY(acc[i][1]);
            }
        }
        UNROLL for (int i = 0; i < m; i++)
        {
            const __m256i sums = _mm256_hadd_epi32(acc[i][0], acc[i][1]);

            _mm256_storeu_si256((__m256i *)(c + (size_t)i * ldc),
                                _mm256_permute4x64_epi64(sums, 0xd8));
        }
    }
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
INLINE __m256i round_bf16(__m256 v)
{
    const __m256i u = _mm256_castps_si256(v);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    const __m256i up = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    const __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    const __m256 nan = _mm256_cmp_ps(v, v, _CMP_UNORD_Q);

    return _mm256_and_si256(_mm256_castps_si256(_mm256_blendv_ps(_mm256_castsi256_ps(up),
                                                                 _mm256_castsi256_ps(quiet), nan)),
                            _mm256_set1_epi32((int)0xffff0000));
}

static float prepare_bf16(const float *x, int k, void *a)
{
    float *out = a;

    for (int i = 0; i < k; i += 8)
        store(out + i, k + k % 2 - i, _mm256_castsi256_ps(round_bf16(load(x + i, k - i))));
    return 1;
}

INLINE float abs_max(const float *x, int n)
{
    __m256 most = _mm256_setzero_ps(), most2 = most;
    int i = 0;

    for (; i + 16 <= n; i += 16) {
        most = _mm256_max_ps(most, abs8(_mm256_loadu_ps(x + i)));
        most2 = _mm256_max_ps(most2, abs8(_mm256_loadu_ps(x + i + 8)));
    }
    for (; i < n; i += 8)
        most = _mm256_max_ps(most, abs8(load(x + i, n - i)));
    return max8(_mm256_max_ps(most, most2));
}

/* 32 values → bytes. The packs work within 128-bit lanes; the permutation puts the 4-byte pieces in
 * order. */
INLINE __m256i quantise32(const __m256 v[4], __m256 by)
{
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m256i q[4];

    UNROLL for (int j = 0; j < 4; j++) q[j] = _mm256_cvtps_epi32(_mm256_mul_ps(v[j], by));
    const __m256i bytes =
        _mm256_packs_epi16(_mm256_packs_epi32(q[0], q[1]), _mm256_packs_epi32(q[2], q[3]));
    /* -128 cannot come: |x * by| ≤ 127 but for rounding, which saturates at 127.5 */
    return _mm256_max_epi8(_mm256_permutevar8x32_epi32(bytes, order), _mm256_set1_epi8(-127));
}

/* A row as bytes, to which `zero` is added, or as these widened to 16 bits, up to a whole four;
 * returns its scale. */
INLINE float quantise(const bool wide, const int zero, const float *x, int k, void *a)
{
    const float most = abs_max(x, k);
    const __m256 by = _mm256_set1_ps(most > 1e-30f ? 127 / most : 0);
    const size_t size = wide ? 2 : 1;
    char *out = a;

    for (int i = 0; i < k; i += 32, out += 32 * size) {
        const int left = (k + 3) / 4 * 4 - i;
        __m256 v[4];
        __m256i q[2];

        UNROLL for (int j = 0; j < 4; j++) v[j] = load(x + i + 8 * j, k - i - 8 * j);
        q[0] = _mm256_add_epi8(quantise32(v, by), _mm256_set1_epi8((char)zero));
        if (wide) {
            q[1] = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(q[0], 1));
            q[0] = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(q[0]));
        }
        if (left < 32) {
            memcpy(out, q, (size_t)left * size);
            break;
        }
        _mm256_storeu_si256((__m256i *)(void *)out, q[0]);
        if (wide)
            _mm256_storeu_si256((__m256i *)(void *)out + 1, q[1]);
    }
    return most > 1e-30f ? most / 127 : 0;
}

static float quantise_row(const float *x, int k, void *a)
{
    return quantise(false, 0, x, k, a);
}

static float prepare_u8(const float *x, int k, void *a)
{
    return quantise(false, 128, x, k, a);
}

static float prepare_i8(const float *x, int k, void *a)
{
    return quantise(true, 0, x, k, a);
}

/* ---- functions of one vector ---- */

/* exp, relative error 2e-7; 0 below -87. */
INLINE __m256 exp8(__m256 x)
{
    const __m256 tiny = _mm256_cmp_ps(x, _mm256_set1_ps(-87), _CMP_LT_OQ);

    x = _mm256_max_ps(x, _mm256_set1_ps(-87));
    const __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(1.44269504f)),
                                     _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, _mm256_set1_ps(0.693145752f), x);
    r = _mm256_fnmadd_ps(n, _mm256_set1_ps(1.42860677e-6f), r);
    __m256 y = _mm256_set1_ps(0.00837512873f);
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(0.041917529f));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(0.166664153f));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(0.499988705f));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(1));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(1));
    const __m256i power =
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_andnot_ps(tiny, _mm256_mul_ps(y, _mm256_castsi256_ps(power)));
}

/* ln of positive normal numbers: m in [0.75, 1.5), ln m = 2 atanh((m - 1) / (m + 1)). */
INLINE __m256 ln8(__m256 x)
{
    const __m256i u = _mm256_castps_si256(x);
    /* The exponent that leaves m in this range: that of x / 0.75. */
    const __m256i e = _mm256_srai_epi32(_mm256_sub_epi32(u, _mm256_set1_epi32(0x3f400000)), 23);
    const __m256 m = _mm256_castsi256_ps(_mm256_sub_epi32(u, _mm256_slli_epi32(e, 23)));
    const __m256 one = _mm256_set1_ps(1);
    const __m256 s = _mm256_div_ps(_mm256_sub_ps(m, one), _mm256_add_ps(m, one));
    const __m256 z = _mm256_mul_ps(s, s);
    __m256 y = _mm256_fmadd_ps(z, _mm256_set1_ps(2.0f / 9), _mm256_set1_ps(2.0f / 7));

    y = _mm256_fmadd_ps(y, z, _mm256_set1_ps(2.0f / 5));
    y = _mm256_fmadd_ps(y, z, _mm256_set1_ps(2.0f / 3));
    y = _mm256_fmadd_ps(y, z, _mm256_set1_ps(2));
    return _mm256_fmadd_ps(_mm256_cvtepi32_ps(e), _mm256_set1_ps(0.693147181f),
                           _mm256_mul_ps(y, s));
}

/* Entry i (0 … 15) of a table of 16. */
INLINE __m256 pick(const float *table, __m256i i)
{
    const __m256 low = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table), i);
    const __m256 high = _mm256_permutevar8x32_ps(_mm256_loadu_ps(table + 8), i);

    return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(i, 28)));
}

/* x Φ(x) = max(x, 0) - f(|x|): see oto_gelu_table. */
INLINE __m256 gelu8(__m256 x)
{
    const __m256 u =
        _mm256_min_ps(_mm256_mul_ps(abs8(x), _mm256_set1_ps(15.5f / 5.5f)), _mm256_set1_ps(15.49f));
    const __m256 i = _mm256_round_ps(u, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m256 t = _mm256_sub_ps(u, i);
    const __m256i at = _mm256_cvtps_epi32(i);
    __m256 y = pick(oto_gelu_table[4], at);

    UNROLL for (int d = 3; d >= 0; d--) y = _mm256_fmadd_ps(y, t, pick(oto_gelu_table[d], at));
    return _mm256_sub_ps(_mm256_max_ps(x, _mm256_setzero_ps()), y);
}

/* ---- the end of a tile ---- */

INLINE void finish_half(const oto_finish *f, const bool i8, const char *c, size_t ldc, int m, int n,
                        size_t at)
{
    __m256 bias = _mm256_setzero_ps(), w_scale = bias;
    __m256i offset = _mm256_setzero_si256();

    if (f->bias)
        bias = load(f->bias + at, n);
    if (i8) {
        w_scale = _mm256_loadu_ps(f->w_scale + at);
        offset = _mm256_mullo_epi32(_mm256_set1_epi32(f->zero),
                                    _mm256_loadu_si256((const __m256i *)(f->row_sum + at)));
    }
    for (int i = 0; i < m; i++) {
        const char *from = c + (size_t)i * ldc;
        __m256 v;

        if (i8) {
            v = _mm256_cvtepi32_ps(
                _mm256_sub_epi32(_mm256_loadu_si256((const __m256i *)from), offset));
            v = _mm256_fmadd_ps(v, _mm256_mul_ps(_mm256_set1_ps(f->x_scale[i]), w_scale), bias);
        } else {
            v = _mm256_add_ps(_mm256_loadu_ps((const float *)from), bias);
        }
        if (f->act == OTO_ACT_GELU)
            v = gelu8(v);
        else if (f->act == OTO_ACT_RELU)
            v = _mm256_max_ps(v, _mm256_setzero_ps());
        if (f->residual)
            v = _mm256_add_ps(v, load(f->residual + (size_t)i * f->ldr + at, n));
        store(f->y + (size_t)i * f->ldy + at, n, v);
    }
}

static void finish(const oto_finish *f, const void *c, int ldc, int m, int n)
{
    for (int at = 0; at < n; at += 8) {
        const char *from = (const char *)c + (size_t)at * 4;

        if (f->w_scale)
            finish_half(f, true, from, (size_t)ldc * 4, m, n - at, (size_t)at);
        else
            finish_half(f, false, from, (size_t)ldc * 4, m, n - at, (size_t)at);
    }
}

/* ---- rows ---- */

static float row_max(const float *x, int n)
{
    const __m256 least = _mm256_set1_ps(-__builtin_inff());
    __m256 most = least, most2 = least;
    int i = 0;

    for (; i + 16 <= n; i += 16) {
        most = _mm256_max_ps(most, _mm256_loadu_ps(x + i));
        most2 = _mm256_max_ps(most2, _mm256_loadu_ps(x + i + 8));
    }
    for (; i < n; i += 8) {
        const __m256 some = _mm256_castsi256_ps(first8(n - i));

        most = _mm256_max_ps(most, _mm256_blendv_ps(least, load(x + i, n - i), some));
    }
    return max8(_mm256_max_ps(most, most2));
}

INLINE float exp_row(const bool rounded, const float *s, int n, int n_pad, float *out)
{
    const __m256 most = _mm256_set1_ps(row_max(s, n));
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};

    EACH_HALF(n, {
        __m256 y = exp8(_mm256_sub_ps(load(s + i, n - i), most));

        if (n - i < 8)
            y = _mm256_and_ps(y, _mm256_castsi256_ps(first8(n - i)));
        sum[half] = _mm256_add_ps(sum[half], y);
        if (rounded)
            y = _mm256_castsi256_ps(round_bf16(y));
        store(out + i, n_pad - i, y);
    });
    return sum_lanes(sum[0], sum[1]);
}

static float exp_row_f32(const float *s, int n, int n_pad, void *a)
{
    return exp_row(false, s, n, n_pad, a);
}

static float exp_row_bf16(const float *s, int n, int n_pad, void *a)
{
    return exp_row(true, s, n, n_pad, a);
}

/* The scores but for `by`; returns the greatest. Rows of 16 bits have no offset. */
INLINE float score_row(const bool wide, const oto_weigh *w)
{
    __m256 most = _mm256_set1_ps(-__builtin_inff());

    for (int i = 0; i < w->n; i += 8) {
        const __m256 plus = _mm256_set1_ps(i < w->thin_from ? 0 : w->more);
        const __m256i lanes = first8(w->n - i);
        __m256i sums = load_i32(w->sums + i, w->n - i);

        if (!wide)
            sums = _mm256_sub_epi32(sums, load_i32(w->offset + i, w->n - i));
        const __m256 v =
            _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums), load(w->scale + i, w->n - i), plus);

        store(w->scores + i, w->n - i, v);
        most = _mm256_max_ps(most, _mm256_blendv_ps(most, v, _mm256_castsi256_ps(lanes)));
    }
    return max8(most);
}

/* unit * 2^x for x ≤ 0, to the nearest integer; relative error 3e-6 before that. */
INLINE __m256i exp_units(__m256 x, __m256 unit)
{
    x = _mm256_max_ps(x, _mm256_set1_ps(-100)); /* nothing, and within a float's exponent */
    x = _mm256_min_ps(x, _mm256_setzero_ps());  /* rounding: never above unit */
    const __m256 n = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    const __m256 r = _mm256_sub_ps(x, n);
    __m256 y = _mm256_set1_ps(0.00958281f);

    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(0.05590634f));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(0.24024099f));
    y = _mm256_fmadd_ps(y, r, _mm256_set1_ps(0.6931242f));
    y = _mm256_fmadd_ps(_mm256_mul_ps(y, unit), r, unit);
    const __m256i power =
        _mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    return _mm256_cvtps_epi32(_mm256_mul_ps(y, _mm256_castsi256_ps(power)));
}

/* 16 weights from i on, as elements of 16 bits, or as bytes in one part or two. */
INLINE void store_weights(const bool wide, const int parts, __m256i words, char *a, int n_pad,
                          int i, int n)
{
    const size_t size = wide ? 2 : 1;
    const __m256i high = parts == 2 ? _mm256_srli_epi16(words, 7) : words;
    const __m256i low = _mm256_and_si256(words, _mm256_set1_epi16(127));
    /* packed within 128-bit lanes: high, low, high, low */
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packus_epi16(high, low), 0xd8);
    const __m256i v = wide ? words : bytes;
    const __m128i v1 = _mm256_extracti128_si256(v, 1);

    if (n == 16 && wide) {
        _mm256_storeu_si256((__m256i *)(void *)(a + 2 * i), v);
    } else if (n == 16) {
        _mm_storeu_si128((__m128i *)(void *)(a + i), _mm256_castsi256_si128(v));
        if (parts == 2)
            _mm_storeu_si128((__m128i *)(void *)(a + n_pad + i), v1);
    } else {
        memcpy(a + (size_t)i * size, &v, (size_t)n * size);
        if (parts == 2)
            memcpy(a + n_pad + i, &v1, (size_t)n);
    }
}

/* 16 numerators from i on, those from n on zero where some may be; adds them to the sum. */
INLINE __m256i weights16(const bool whole, const oto_weigh *w, int i, __m256 by8, __m256 most,
                         __m256 unit, __m256i *sum)
{
    __m256i q[2];

    UNROLL for (int j = 0; j < 2; j++)
    {
        const int left = w->n - i - 8 * j;
        const float *from = w->scores + i + 8 * j;
        const __m256 s = whole ? _mm256_loadu_ps(from) : load(from, left);

        q[j] = exp_units(_mm256_fmsub_ps(s, by8, most), unit);
        if (!whole)
            q[j] = _mm256_and_si256(q[j], first8(left));
        *sum = _mm256_add_epi32(*sum, q[j]);
    }
    return _mm256_permute4x64_epi64(_mm256_packus_epi32(q[0], q[1]), 0xd8);
}

INLINE float weigh_row(const bool wide, const int parts, const oto_weigh *w, char *a)
{
    const float by = w->by * 1.44269504f;
    const __m256 by8 = _mm256_set1_ps(by), most = _mm256_set1_ps(score_row(wide, w) * by);
    const __m256 unit = _mm256_set1_ps(w->unit);
    __m256i sum = _mm256_setzero_si256();
    int i = 0;

    for (; i + 16 <= w->n; i += 16)
        store_weights(wide, parts, weights16(true, w, i, by8, most, unit, &sum), a, w->n_pad, i,
                      16);
    if (i < w->n_pad)
        store_weights(wide, parts, weights16(false, w, i, by8, most, unit, &sum), a, w->n_pad, i,
                      w->n_pad - i);
    const __m128i four =
        _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
    const __m128i pair = _mm_add_epi32(four, _mm_shuffle_epi32(four, 0x4e));
    return (float)_mm_cvtsi128_si32(_mm_add_epi32(pair, _mm_shuffle_epi32(pair, 0xb1)));
}

/* Rows have 16 bits: of 1 part always. */
static float weigh(const oto_weigh *w, void *a)
{
    return weigh_row(true, 1, w, a);
}

static float weigh_u8(const oto_weigh *w, void *a)
{
    return w->parts == 1 ? weigh_row(false, 1, w, a) : weigh_row(false, 2, w, a);
}

OTO_PACK_KEYS8(pack_keys, quantise_row, 0)
OTO_PACK_KEYS8(pack_keys_vnni, prepare_u8, 128)
OTO_PACK_VALUES8

static void layer_norm(const float *x, const float *gamma, const float *beta, float eps, int n,
                       float *y)
{
    const __m256 zero = _mm256_setzero_ps();
    __m256 sum[2] = {zero, zero}, squares[2] = {zero, zero};

    EACH_HALF(n, sum[half] = _mm256_add_ps(sum[half], load(x + i, n - i)));
    const __m256 mean = _mm256_set1_ps(sum_lanes(sum[0], sum[1]) / (float)n);
    EACH_HALF(n, {
        __m256 d = _mm256_sub_ps(load(x + i, n - i), mean);

        if (n - i < 8)
            d = _mm256_and_ps(d, _mm256_castsi256_ps(first8(n - i)));
        squares[half] = _mm256_fmadd_ps(d, d, squares[half]);
    });
    const float variance = sum_lanes(squares[0], squares[1]) / (float)n;
    const __m256 by = _mm256_set1_ps(1 / __builtin_sqrtf(variance + eps));
    for (int i = 0; i < n; i += 8) {
        const __m256 d = _mm256_mul_ps(_mm256_sub_ps(load(x + i, n - i), mean), by);

        store(y + i, n - i, _mm256_fmadd_ps(d, load(gamma + i, n - i), load(beta + i, n - i)));
    }
}

static void to_bf16(const float *x, int n, uint16_t *out)
{
    for (int i = 0; i < n; i += 8) {
        const __m256i v = _mm256_srli_epi32(round_bf16(load(x + i, n - i)), 16);
        const __m128i eight = _mm256_castsi256_si128(
            _mm256_permute4x64_epi64(_mm256_packus_epi32(v, v), _MM_SHUFFLE(3, 1, 2, 0)));

        if (n - i >= 8) {
            _mm_storeu_si128((__m128i *)(out + i), eight);
        } else {
            uint16_t last[8];

            _mm_storeu_si128((__m128i *)last, eight);
            memcpy(out + i, last, (size_t)(n - i) * sizeof *out);
        }
    }
}

static void scale_row(const float *x, int n, float by, float *out)
{
    for (int i = 0; i < n; i += 8)
        store(out + i, n - i, _mm256_mul_ps(load(x + i, n - i), _mm256_set1_ps(by)));
}

/* ---- decoding attention ---- */

INLINE const char *key_at(const void *k, size_t elem, const int16_t *row, size_t lane_stride, int t)
{
    return (const char *)k +
           ((row ? (size_t)row[t] * lane_stride : 0) + (size_t)t * OTO_HEAD) * elem;
}

INLINE __m256 widen8(const char *p)
{
    return _mm256_castsi256_ps(
        _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p)), 16));
}

/* A key or value of 64 as floats in `wide`. */
INLINE const float *widen(const bool bf16, const char *from, float *wide)
{
    if (!bf16)
        return (const float *)from;
    UNROLL for (int j = 0; j < 8; j++) _mm256_store_ps(wide + 8 * j, widen8(from + 16 * j));
    return wide;
}

INLINE void scores(const bool bf16, const float *q, int lanes, const void *k, const int16_t *row,
                   size_t lane_stride, int n_keys, float *s, size_t lds)
{
    _Alignas(32) float wide[OTO_HEAD];

    for (int t = 0; t < n_keys; t++) {
        const float *key = widen(bf16, key_at(k, bf16 ? 2 : 4, row, lane_stride, t), wide);

        for (int l = 0; l < lanes; l++) {
            const float *ql = q + l * OTO_HEAD;
            __m256 sum = _mm256_mul_ps(_mm256_loadu_ps(ql), _mm256_loadu_ps(key));
            __m256 sum2 = _mm256_mul_ps(_mm256_loadu_ps(ql + 8), _mm256_loadu_ps(key + 8));

            UNROLL for (int j = 16; j < OTO_HEAD; j += 16)
            {
                sum = _mm256_fmadd_ps(_mm256_loadu_ps(ql + j), _mm256_loadu_ps(key + j), sum);
                sum2 = _mm256_fmadd_ps(_mm256_loadu_ps(ql + j + 8), _mm256_loadu_ps(key + j + 8),
                                       sum2);
            }
            s[(size_t)l * lds + (size_t)t] = sum_lanes(sum, sum2);
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
        __m256 acc[8];

        UNROLL for (int j = 0; j < 8; j++) acc[j] = _mm256_setzero_ps();
        for (int t = 0; t < n_keys; t++) {
            const char *value = key_at(v, bf16 ? 2 : 4, row, lane_stride, t);
            const __m256 by = _mm256_broadcast_ss(pl + t);

            UNROLL for (int j = 0; j < 8; j++) acc[j] = _mm256_fmadd_ps(
                by, bf16 ? widen8(value + 16 * j) : _mm256_loadu_ps((const float *)value + 8 * j),
                acc[j]);
        }
        UNROLL for (int j = 0; j < 8; j++) _mm256_storeu_ps(out + l * OTO_HEAD + 8 * j, acc[j]);
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
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};

    EACH_HALF(n,
              { sum[half] = _mm256_fmadd_ps(load(a + i, n - i), load(b + i, n - i), sum[half]); });
    return sum_lanes(sum[0], sum[1]);
}

static void ln_max_f32(float *x, int n, float floor)
{
    for (int i = 0; i < n; i += 8)
        store(x + i, n - i, ln8(_mm256_max_ps(load(x + i, n - i), _mm256_set1_ps(floor))));
}

static int argmax_f32(const float *x, int n)
{
    const __m256 most = _mm256_set1_ps(row_max(x, n));

    for (int i = 0; i < n; i += 8) {
        const __m256i lanes = first8(n - i);
        const __m256 equal = _mm256_cmp_ps(load(x + i, n - i), most, _CMP_EQ_OQ);
        const int hit = _mm256_movemask_ps(_mm256_and_ps(equal, _mm256_castsi256_ps(lanes)));

        if (hit)
            return i + __builtin_ctz((unsigned)hit);
    }
    return 0;
}

static int above_f32(const float *x, int n, float floor)
{
    const __m256 f = _mm256_set1_ps(floor);

    for (int i = 0; i < n; i += 8) {
        const __m256i lanes = first8(n - i);
        const __m256 more = _mm256_cmp_ps(load(x + i, n - i), f, _CMP_GT_OQ);
        const int hit = _mm256_movemask_ps(_mm256_and_ps(more, _mm256_castsi256_ps(lanes)));

        if (hit)
            return i + __builtin_ctz((unsigned)hit);
    }
    return n;
}

static float logsumexp_f32(const float *x, int n)
{
    const float most = row_max(x, n);
    const __m256 m = _mm256_set1_ps(most);
    __m256 sum[2] = {_mm256_setzero_ps(), _mm256_setzero_ps()};

    if (most == -__builtin_inff())
        return most;
    EACH_HALF(n, {
        const __m256i lanes = first8(n - i);
        const __m256 y = exp8(_mm256_sub_ps(load(x + i, n - i), m));

        sum[half] = _mm256_add_ps(sum[half], _mm256_and_ps(y, _mm256_castsi256_ps(lanes)));
    });
    return most + _mm256_cvtss_f32(ln8(_mm256_set1_ps(sum_lanes(sum[0], sum[1]))));
}

#define F32_MM                                                                                     \
    {                                                                                              \
        .mr = MR, .np = 1, .a_bytes = 4, .prepare = prepare_f32, .tile = f32_tile,                 \
        .exp_row = exp_row_f32                                                                     \
    }
#define BF16_MM                                                                                    \
    {                                                                                              \
        .mr = MR, .np = 1, .a_bytes = 4, .prepare = prepare_bf16, .tile = bf16_tile,               \
        .exp_row = exp_row_bf16                                                                    \
    }
#define COMMON                                                                                     \
    .finish = finish, .pack_values = pack_values, .layer_norm = layer_norm, .to_bf16 = to_bf16,    \
    .scale = scale_row, .scores = {scores_f32, scores_bf16}, .values = {values_f32, values_bf16}

static const oto_kernels_impl impl = {
    .mm = {F32_MM,
           BF16_MM,
           {.mr = MR,
            .np = 1,
            .a_bytes = 2,
            .bits = 16,
            .prepare = prepare_i8,
            .tile = i8_tile,
            .tile_at = i8_tile_at}},
    .weigh = weigh,
    .pack_keys = pack_keys,
    COMMON,
};
static const oto_kernels_impl impl_vnni = {
    .mm = {F32_MM,
           BF16_MM,
           {.mr = MR,
            .np = 1,
            .a_bytes = 1,
            .zero = 128,
            .bits = 8,
            .prepare = prepare_u8,
            .tile = oto_avxvnni_tile,
            .tile_at = oto_avxvnni_tile_at}},
    .weigh = weigh_u8,
    .pack_keys = pack_keys_vnni,
    COMMON,
};
const oto_kernels oto_kernels_avx2 = OTO_TABLE("avx2", impl);
const oto_kernels oto_kernels_avxvnni = OTO_TABLE("avxvnni", impl_vnni);

#else
typedef int oto_no_avx2; /* a translation unit is never empty */
#endif
