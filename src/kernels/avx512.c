/* AVX-512 with VNNI, a second table that adds BF16 (its functions carry the target attribute, so
 * that the rest of the file stays free of those instructions), and a third whose products of bytes
 * are those of amx.c.
 *
 * Tiles keep m × p accumulators of 16 outputs: 6 × 4 for up to 6 rows (decoding: four streams of
 * weights), 12 × 2 above, where a panel pair of a few hundred inputs stays in L1. Per step of k
 * that is p loads and m broadcasts for m * p multiply-adds, which two load ports sustain. A form
 * for every m, so that no row is computed in vain. */
#include "kernels/pack8.h"

#if defined(__x86_64__)

#include <immintrin.h>
#include <string.h>

#if defined(OTO_EMULATED_IMMINTRIN_H) /* tests/kernels/emulated: no real instructions */
#define BF16
#else
#define BF16 __attribute__((target("avx512bf16")))
#endif

INLINE __mmask16 first16(int n)
{
    return (__mmask16)(n >= 16 ? 0xffff : (1u << n) - 1);
}

/* Halves are added until one is left, as in every table. */
INLINE float sum_lanes(__m512 v)
{
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}

/* ---- tiles ---- */

/* Addresses of 12 rows need few registers as 3 bases + {0, 1, 2, 3} * lda; the empty asm keeps the
 * compiler from turning them back into 12 pointers, which it would spill. */
#define ROW_BASES(a, lda, m)                                                                       \
    const char *row[3] = {a, m > 4 ? (a) + 4 * (lda) : (a), m > 8 ? (a) + 8 * (lda) : (a)};        \
    __asm__("" : "+r"(row[0]), "+r"(row[1]), "+r"(row[2]))
#define ROW(i)     (row[(i) / 4] + (size_t)((i) % 4) * lda)
#define NEXT(step) (row[0] += (step), row[1] += (step), row[2] += (step), w += 64)

/* at: which groups, of tile_at; NULL: all. */
typedef void (*form)(int groups, const uint16_t *at, const char *a, size_t lda, const char *w,
                     size_t ldw, void *c, size_t ldc);

INLINE __m512 f32_all(const char *p)
{
    return _mm512_set1_ps(*(const float *)p);
}

INLINE __m512i i32_all(const char *p)
{
    return _mm512_set1_epi32(*(const int32_t *)p);
}

INLINE void f32_form(const int m, const int p, int groups, const uint16_t *at, const char *a,
                     size_t lda, const char *w, size_t ldw, void *c, size_t ldc)
{
    __m512 acc[12][4], wv[4];
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < p; j++) acc[i][j] =
        _mm512_setzero_ps();
    (void)at;
    ROW_BASES(a, lda, m);
    for (int k = 0; k < groups; k++, NEXT(4)) {
        UNROLL for (int j = 0; j < p; j++) wv[j] = _mm512_loadu_ps(w + (size_t)j * ldw);
        UNROLL for (int i = 0; i < m; i++)
        {
            __m512 x = f32_all(ROW(i));
            UNROLL for (int j = 0; j < p; j++) acc[i][j] = _mm512_fmadd_ps(x, wv[j], acc[i][j]);
        }
    }
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < p; j++)
        _mm512_storeu_ps((float *)c + (size_t)i * ldc + j * 16, acc[i][j]);
}

/* Without BF16 instructions: rows are floats, a pair of weights is widened by a shift and a mask.
 */
INLINE void wide_form(const int m, const int p, int groups, const uint16_t *at, const char *a,
                      size_t lda, const char *w, size_t ldw, void *c, size_t ldc)
{
    __m512 acc[12][4], wv[4];
    const __m512i high = _mm512_set1_epi32((int)0xffff0000);
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < p; j++) acc[i][j] =
        _mm512_setzero_ps();
    (void)at;
    ROW_BASES(a, lda, m);
    for (int k = 0; k < groups; k++, NEXT(8)) {
        UNROLL for (int j = 0; j < p; j++) wv[j] =
            _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_loadu_si512(w + (size_t)j * ldw), 16));
        UNROLL for (int i = 0; i < m; i++)
        {
            __m512 x = f32_all(ROW(i));
            UNROLL for (int j = 0; j < p; j++) acc[i][j] = _mm512_fmadd_ps(x, wv[j], acc[i][j]);
        }
        UNROLL for (int j = 0; j < p; j++) wv[j] =
            _mm512_castsi512_ps(_mm512_and_si512(_mm512_loadu_si512(w + (size_t)j * ldw), high));
        UNROLL for (int i = 0; i < m; i++)
        {
            __m512 x = f32_all(ROW(i) + 4);
            UNROLL for (int j = 0; j < p; j++) acc[i][j] = _mm512_fmadd_ps(x, wv[j], acc[i][j]);
        }
    }
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < p; j++)
        _mm512_storeu_ps((float *)c + (size_t)i * ldc + j * 16, acc[i][j]);
}

BF16 INLINE void bf16_form(const int m, const int p, int groups, const uint16_t *at, const char *a,
                           size_t lda, const char *w, size_t ldw, void *c, size_t ldc)
{
    __m512 acc[12][4];
    __m512bh wv[4];
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < p; j++) acc[i][j] =
        _mm512_setzero_ps();
    (void)at;
    ROW_BASES(a, lda, m);
    for (int k = 0; k < groups; k++, NEXT(4)) {
        UNROLL for (int j = 0; j < p; j++) wv[j] =
            (__m512bh)_mm512_loadu_si512(w + (size_t)j * ldw);
        UNROLL for (int i = 0; i < m; i++)
        {
            __m512bh x = (__m512bh)i32_all(ROW(i));
            UNROLL for (int j = 0; j < p; j++) acc[i][j] = _mm512_dpbf16_ps(acc[i][j], x, wv[j]);
        }
    }
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < p; j++)
        _mm512_storeu_ps((float *)c + (size_t)i * ldc + j * 16, acc[i][j]);
}

INLINE void i8_form(const int m, const int p, int groups, const uint16_t *at, const char *a,
                    size_t lda, const char *w, size_t ldw, void *c, size_t ldc)
{
    __m512i acc[12][4], wv[4];
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < p; j++) acc[i][j] =
        _mm512_setzero_si512();
    (void)at;
    ROW_BASES(a, lda, m);
    for (int k = 0; k < groups; k++, NEXT(4)) {
        UNROLL for (int j = 0; j < p; j++)
            _mm_prefetch(w + (size_t)(j + p) * ldw, _MM_HINT_T1); /* the next tile's */
        UNROLL for (int j = 0; j < p; j++) wv[j] = _mm512_loadu_si512(w + (size_t)j * ldw);
        UNROLL for (int i = 0; i < m; i++)
        {
            __m512i x = i32_all(ROW(i));
            UNROLL for (int j = 0; j < p; j++) acc[i][j] = _mm512_dpbusd_epi32(acc[i][j], x, wv[j]);
        }
    }
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < p; j++)
        _mm512_storeu_si512((int32_t *)c + (size_t)i * ldc + j * 16, acc[i][j]);
}

/* As i8_form; what it reads is not in a row, so nothing is fetched ahead. */
INLINE void i8_at_form(const int m, const int p, int groups, const uint16_t *at, const char *a,
                       size_t lda, const char *w, size_t ldw, void *c, size_t ldc)
{
    __m512i acc[12][4], wv[4];
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < p; j++) acc[i][j] =
        _mm512_setzero_si512();
    ROW_BASES(a, lda, m);
    for (int k = 0; k < groups; k++) {
        const size_t g = at[k];
        UNROLL for (int j = 0; j < p; j++) wv[j] = _mm512_loadu_si512(w + 64 * g + (size_t)j * ldw);
        UNROLL for (int i = 0; i < m; i++)
        {
            __m512i x = i32_all(ROW(i) + 4 * g);
            UNROLL for (int j = 0; j < p; j++) acc[i][j] = _mm512_dpbusd_epi32(acc[i][j], x, wv[j]);
        }
    }
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int j = 0; j < p; j++)
        _mm512_storeu_si512((int32_t *)c + (size_t)i * ldc + j * 16, acc[i][j]);
}

#define FORM(attr, body, m, p)                                                                     \
    attr static void body##_##m##_##p(int groups, const uint16_t *at, const char *a, size_t lda,   \
                                      const char *w, size_t ldw, void *c, size_t ldc)              \
    {                                                                                              \
        body(m, p, groups, at, a, lda, w, ldw, c, ldc);                                            \
    }
#define FORMS_UP_TO_4(attr, body, m)                                                               \
    FORM(attr, body, m, 1) FORM(attr, body, m, 2) FORM(attr, body, m, 4)
#define FORMS_UP_TO_2(attr, body, m) FORM(attr, body, m, 1) FORM(attr, body, m, 2)
#define ROW_UP_TO_4(body, m)                                                                       \
    {                                                                                              \
        body##_##m##_1, body##_##m##_2, body##_##m##_4                                             \
    }
#define ROW_UP_TO_2(body, m)                                                                       \
    {                                                                                              \
        body##_##m##_1, body##_##m##_2, NULL                                                       \
    }

/* name_tile: any m ≤ 12 and np ≤ 4 by way of the forms. */
#define FORMS(attr, body)                                                                          \
    FORMS_UP_TO_4(attr, body, 1)                                                                   \
    FORMS_UP_TO_4(attr, body, 2)                                                                   \
    FORMS_UP_TO_4(attr, body, 3)                                                                   \
    FORMS_UP_TO_4(attr, body, 4)                                                                   \
    FORMS_UP_TO_4(attr, body, 5)                                                                   \
    FORMS_UP_TO_4(attr, body, 6)                                                                   \
    FORMS_UP_TO_2(attr, body, 7)                                                                   \
    FORMS_UP_TO_2(attr, body, 8)                                                                   \
    FORMS_UP_TO_2(attr, body, 9)                                                                   \
    FORMS_UP_TO_2(attr, body, 10)                                                                  \
    FORMS_UP_TO_2(attr, body, 11)                                                                  \
    FORMS_UP_TO_2(attr, body, 12)                                                                  \
    static const form body##s[12][3] = {ROW_UP_TO_4(body, 1),  ROW_UP_TO_4(body, 2),               \
                                        ROW_UP_TO_4(body, 3),  ROW_UP_TO_4(body, 4),               \
                                        ROW_UP_TO_4(body, 5),  ROW_UP_TO_4(body, 6),               \
                                        ROW_UP_TO_2(body, 7),  ROW_UP_TO_2(body, 8),               \
                                        ROW_UP_TO_2(body, 9),  ROW_UP_TO_2(body, 10),              \
                                        ROW_UP_TO_2(body, 11), ROW_UP_TO_2(body, 12)};
#define TILE(attr, name, body)                                                                     \
    FORMS(attr, body)                                                                              \
    static void name##_tile(int m, int np, int groups, const void *a, size_t lda, const void *w,   \
                            size_t ldw, void *c, size_t ldc)                                       \
    {                                                                                              \
        run_forms(body##s[m - 1], np, groups, NULL, a, lda, w, ldw, c, ldc);                       \
    }

static void run_forms(const form *forms, int np, int groups, const uint16_t *at, const void *a,
                      size_t lda, const void *w, size_t ldw, void *c, size_t ldc)
{
    while (np > 0) {
        int which = np >= 4 && forms[2] ? 2 : np >= 2 ? 1 : 0;
        forms[which](groups, at, a, lda, w, ldw, c, ldc);
        np -= 1 << which;
        w = (const char *)w + (ldw << which);
        c = (float *)c + (16 << which);
    }
}

TILE(, f32, f32_form)
TILE(, wide, wide_form)
TILE(BF16, bf16, bf16_form)
TILE(, i8, i8_form)
FORMS(, i8_at_form)

static void i8_tile_at(int m, int np, int n, const uint16_t *at, const void *a, size_t lda,
                       const void *w, size_t ldw, void *c, size_t ldc)
{
    run_forms(i8_at_forms[m - 1], np, n, at, a, lda, w, ldw, c, ldc);
}

/* A tile register is filled for nothing by few rows. */
static void i8_amx_tile(int m, int np, int groups, const void *a, size_t lda, const void *w,
                        size_t ldw, void *c, size_t ldc)
{
    if (m < OTO_AMX_ROWS / 2)
        i8_tile(m, np, groups, a, lda, w, ldw, c, ldc);
    else
        oto_amx_tile(m, np, groups, a, lda, w, ldw, c, ldc);
}

/* ---- rows of x as the tiles read them ---- */

static float prepare_f32(const float *x, int k, void *a)
{
    memcpy(a, x, (size_t)k * sizeof *x);
    return 1;
}

/* Round to nearest even in the upper half. */
INLINE __m512i round_bf16(__m512 v)
{
    __m512i u = _mm512_castps_si512(v);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    return _mm512_mask_or_epi32(up, nan, u, _mm512_set1_epi32(0x400000));
}

static float prepare_wide(const float *x, int k, void *a)
{
    float *out = a;
    for (int i = 0; i < k; i += 16) {
        __m512i v = round_bf16(_mm512_maskz_loadu_ps(first16(k - i), x + i));
        v = _mm512_and_si512(v, _mm512_set1_epi32((int)0xffff0000));
        _mm512_mask_storeu_epi32(out + i, first16(k + k % 2 - i), v);
    }
    return 1;
}

BF16 static float prepare_bf16(const float *x, int k, void *a)
{
    uint16_t *out = a;
    int i = 0;
    for (; i + 32 <= k; i += 32) {
        __m512bh v = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + i + 16), _mm512_loadu_ps(x + i));
        _mm512_storeu_si512(out + i, (__m512i)v);
    }
    for (; i < k; i += 16) {
        __m256bh v = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(first16(k - i), x + i));
        _mm256_mask_storeu_epi16(out + i, first16(k + k % 2 - i), (__m256i)v);
    }
    return 1;
}

static float abs_max(const float *x, int n)
{
    __m512 most[4];
    for (int j = 0; j < 4; j++)
        most[j] = _mm512_setzero_ps();
    int i = 0;
    for (; i + 64 <= n; i += 64)
        UNROLL for (int j = 0; j < 4; j++) most[j] =
            _mm512_max_ps(most[j], _mm512_abs_ps(_mm512_loadu_ps(x + i + 16 * j)));
    for (; i < n; i += 16)
        most[0] =
            _mm512_max_ps(most[0], _mm512_abs_ps(_mm512_maskz_loadu_ps(first16(n - i), x + i)));
    return _mm512_reduce_max_ps(
        _mm512_max_ps(_mm512_max_ps(most[0], most[1]), _mm512_max_ps(most[2], most[3])));
}

/* 64 values → bytes + 128. The packs work within 128-bit lanes; the permutation puts the 4-byte
 * pieces in order. */
INLINE __m512i quantise64(const __m512 v[4], __m512 by)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    __m512i q[4];
    UNROLL for (int j = 0; j < 4; j++) q[j] = _mm512_cvtps_epi32(_mm512_mul_ps(v[j], by));
    __m512i bytes =
        _mm512_packs_epi16(_mm512_packs_epi32(q[0], q[1]), _mm512_packs_epi32(q[2], q[3]));
    return _mm512_xor_si512(_mm512_permutexvar_epi32(order, bytes), _mm512_set1_epi8((char)0x80));
}

static float prepare_i8(const float *x, int k, void *a)
{
    uint8_t *out = a;
    float most = abs_max(x, k);
    __m512 by = _mm512_set1_ps(most > 1e-30f ? 127 / most : 0), v[4];
    int i = 0;
    for (; i + 64 <= k; i += 64) {
        UNROLL for (int j = 0; j < 4; j++) v[j] = _mm512_loadu_ps(x + i + 16 * j);
        _mm512_storeu_si512(out + i, quantise64(v, by));
    }
    if (i < k) {
        for (int j = 0; j < 4; j++)
            v[j] = _mm512_maskz_loadu_ps(first16(OTO_MAX(k - i - 16 * j, 0)), x + i + 16 * j);
        int n = (k + 3) / 4 * 4 - i;
        _mm512_mask_storeu_epi8(out + i, n >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << n) - 1,
                                quantise64(v, by));
    }
    return most > 1e-30f ? most / 127 : 0;
}

/* ---- functions of one vector ---- */

/* exp, relative error 2e-7; 0 below -87. */
INLINE __m512 exp16(__m512 x)
{
    const __mmask16 enough = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-87), _CMP_GE_OQ);
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), 8);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693145752f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(1.42860677e-6f), r);
    __m512 y = _mm512_set1_ps(0.00837512873f);
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(0.041917529f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(0.166664153f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(0.499988705f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(1));
    return _mm512_maskz_scalef_ps(enough, y, n);
}

/* ln of positive normal numbers: m in [0.75, 1.5), ln m = 2 atanh((m - 1) / (m + 1)). */
INLINE __m512 ln16(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1);
    __m512 m = _mm512_getmant_ps(x, _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_zero);
    __m512 e = _mm512_getexp_ps(x);
    e = _mm512_mask_add_ps(e, _mm512_cmp_ps_mask(m, one, _CMP_LT_OQ), e, one);
    __m512 s = _mm512_div_ps(_mm512_sub_ps(m, one), _mm512_add_ps(m, one)), z = _mm512_mul_ps(s, s);
    __m512 y = _mm512_fmadd_ps(z, _mm512_set1_ps(2.0f / 9), _mm512_set1_ps(2.0f / 7));
    y = _mm512_fmadd_ps(y, z, _mm512_set1_ps(2.0f / 5));
    y = _mm512_fmadd_ps(y, z, _mm512_set1_ps(2.0f / 3));
    y = _mm512_fmadd_ps(y, z, _mm512_set1_ps(2));
    return _mm512_fmadd_ps(e, _mm512_set1_ps(0.693147181f), _mm512_mul_ps(y, s));
}

/* x Φ(x) = max(x, 0) - f(|x|): see oto_gelu_table. */
INLINE __m512 gelu16(__m512 x, const __m512 c[5])
{
    const __m512 magic =
        _mm512_set1_ps(12582912); /* 1.5 * 2^23: adding it rounds to an integer in the low bits */
    __m512 u = _mm512_min_ps(_mm512_mul_ps(_mm512_abs_ps(x), _mm512_set1_ps(15.5f / 5.5f)),
                             _mm512_set1_ps(15.49f));
    __m512 i = _mm512_add_ps(u, magic), t = _mm512_sub_ps(u, _mm512_sub_ps(i, magic));
    __m512i at = _mm512_castps_si512(i);
    __m512 y = _mm512_permutexvar_ps(at, c[4]);
    UNROLL for (int d = 3; d >= 0; d--) y = _mm512_fmadd_ps(y, t, _mm512_permutexvar_ps(at, c[d]));
    return _mm512_sub_ps(_mm512_max_ps(x, _mm512_setzero_ps()), y);
}

/* ---- the end of a tile ---- */

typedef struct {
    __m512 bias, w_scale;
    __m512i offset; /* zero * row_sum */
    __m512 gelu[5];
} finisher;

INLINE void finish_panel(const oto_finish *f, const bool i8, const char *c, size_t ldc, int m,
                         __mmask16 lanes, size_t at)
{
    finisher s;
    s.bias = f->bias ? _mm512_maskz_loadu_ps(lanes, f->bias + at) : _mm512_setzero_ps();
    if (i8) {
        s.w_scale = _mm512_loadu_ps(f->w_scale + at);
        s.offset =
            _mm512_mullo_epi32(_mm512_set1_epi32(f->zero), _mm512_loadu_si512(f->row_sum + at));
    }
    for (int d = 0; d < 5; d++)
        s.gelu[d] = _mm512_loadu_ps(oto_gelu_table[d]);
    for (int i = 0; i < m; i++) {
        const char *from = c + (size_t)i * ldc;
        __m512 v;
        if (i8) {
            v = _mm512_cvtepi32_ps(_mm512_sub_epi32(_mm512_loadu_si512(from), s.offset));
            v = _mm512_fmadd_ps(v, _mm512_mul_ps(_mm512_set1_ps(f->x_scale[i]), s.w_scale), s.bias);
        } else {
            v = _mm512_add_ps(_mm512_loadu_ps(from), s.bias);
        }
        if (f->act == OTO_ACT_GELU)
            v = gelu16(v, s.gelu);
        else if (f->act == OTO_ACT_RELU)
            v = _mm512_max_ps(v, _mm512_setzero_ps());
        if (f->residual)
            v = _mm512_add_ps(v,
                              _mm512_maskz_loadu_ps(lanes, f->residual + (size_t)i * f->ldr + at));
        _mm512_mask_storeu_ps(f->y + (size_t)i * f->ldy + at, lanes, v);
    }
}

static void finish(const oto_finish *f, const void *c, int ldc, int m, int n)
{
    for (int at = 0; at < n; at += 16) {
        const char *from = (const char *)c + (size_t)at * 4;
        if (f->w_scale)
            finish_panel(f, true, from, (size_t)ldc * 4, m, first16(n - at), (size_t)at);
        else
            finish_panel(f, false, from, (size_t)ldc * 4, m, first16(n - at), (size_t)at);
    }
}

/* ---- rows ---- */

static float row_max(const float *x, int n)
{
    const __m512 least = _mm512_set1_ps(-__builtin_inff());
    __m512 most[4] = {least, least, least, least};
    int i = 0;
    for (; i + 64 <= n; i += 64)
        UNROLL for (int j = 0; j < 4; j++) most[j] =
            _mm512_max_ps(most[j], _mm512_loadu_ps(x + i + 16 * j));
    for (; i < n; i += 16)
        most[0] = _mm512_max_ps(most[0], _mm512_mask_loadu_ps(least, first16(n - i), x + i));
    return _mm512_reduce_max_ps(
        _mm512_max_ps(_mm512_max_ps(most[0], most[1]), _mm512_max_ps(most[2], most[3])));
}

static float exp_row_f32(const float *s, int n, int n_pad, void *a)
{
    float *out = a;
    __m512 most = _mm512_set1_ps(row_max(s, n)), sum = _mm512_setzero_ps();
    (void)n_pad; /* groups of 1: n */
    int i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512 y = exp16(_mm512_sub_ps(_mm512_loadu_ps(s + i), most));
        sum = _mm512_add_ps(sum, y);
        _mm512_storeu_ps(out + i, y);
    }
    if (i < n) {
        __mmask16 lanes = first16(n - i);
        __m512 y = exp16(_mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, s + i), most));
        sum = _mm512_mask_add_ps(sum, lanes, sum, y);
        _mm512_mask_storeu_ps(out + i, lanes, y);
    }
    return sum_lanes(sum);
}

static float exp_row_wide(const float *s, int n, int n_pad, void *a)
{
    float *out = a;
    __m512 most = _mm512_set1_ps(row_max(s, n)), sum = _mm512_setzero_ps();
    for (int i = 0; i < n; i += 16) {
        __mmask16 lanes = first16(n - i);
        __m512 y = _mm512_maskz_mov_ps(
            lanes, exp16(_mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, s + i), most)));
        sum = _mm512_add_ps(sum, y);
        __m512i rounded = _mm512_and_si512(round_bf16(y), _mm512_set1_epi32((int)0xffff0000));
        _mm512_mask_storeu_epi32(out + i, first16(n_pad - i), rounded);
    }
    return sum_lanes(sum);
}

BF16 static float exp_row_bf16(const float *s, int n, int n_pad, void *a)
{
    uint16_t *out = a;
    __m512 most = _mm512_set1_ps(row_max(s, n)), sum = _mm512_setzero_ps();
    int i = 0;
    for (; i + 32 <= n; i += 32) {
        __m512 y = exp16(_mm512_sub_ps(_mm512_loadu_ps(s + i), most));
        __m512 y2 = exp16(_mm512_sub_ps(_mm512_loadu_ps(s + i + 16), most));
        sum = _mm512_add_ps(_mm512_add_ps(sum, y), y2);
        _mm512_storeu_si512(out + i, (__m512i)_mm512_cvtne2ps_pbh(y2, y));
    }
    for (; i < n; i += 16) {
        __mmask16 lanes = first16(n - i);
        __m512 y = _mm512_maskz_mov_ps(
            lanes, exp16(_mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, s + i), most)));
        sum = _mm512_add_ps(sum, y);
        _mm256_mask_storeu_epi16(out + i, first16(n_pad - i), (__m256i)_mm512_cvtneps_pbh(y));
    }
    return sum_lanes(sum);
}

/* unit * 2^x for x ≤ 0, to the nearest integer; relative error 3e-6 before that. */
INLINE __m512i exp_units(__m512 x, __m512 unit)
{
    x = _mm512_min_ps(x, _mm512_setzero_ps()); /* rounding: never above unit */
    const __m512 r = _mm512_reduce_ps(x, 8);   /* x - round(x) */
    __m512 y = _mm512_set1_ps(0.00958281f);
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(0.05590634f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(0.24024099f));
    y = _mm512_fmadd_ps(y, r, _mm512_set1_ps(0.6931242f));
    y = _mm512_fmadd_ps(_mm512_mul_ps(y, unit), r, unit);
    return _mm512_cvtps_epi32(_mm512_scalef_ps(y, _mm512_sub_ps(x, r)));
}

/* The scores but for `by`; returns the greatest. */
static float score_row(const oto_weigh *w)
{
    const __m512 least = _mm512_set1_ps(-__builtin_inff()), more = _mm512_set1_ps(w->more);
    __m512 most = least;
    for (int i = 0; i < w->n; i += 16) {
        const __m512 plus = i < w->thin_from ? _mm512_setzero_ps() : more;
        const __mmask16 lanes = first16(w->n - i);
        const __m512i c = _mm512_sub_epi32(_mm512_maskz_loadu_epi32(lanes, w->sums + i),
                                           _mm512_maskz_loadu_epi32(lanes, w->offset + i));
        const __m512 s = _mm512_fmadd_ps(_mm512_cvtepi32_ps(c),
                                         _mm512_maskz_loadu_ps(lanes, w->scale + i), plus);
        most = _mm512_mask_max_ps(most, lanes, most, s);
        _mm512_mask_storeu_ps(w->scores + i, lanes, s);
    }
    return _mm512_reduce_max_ps(most);
}

/* The packs work within 128-bit lanes; the permutation puts the 4-byte pieces in order. */
INLINE float weigh_row(const int parts, const oto_weigh *w, uint8_t *high)
{
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    const __m512i low7 = _mm512_set1_epi16(127);
    const __m512 unit = _mm512_set1_ps(w->unit);
    const float by = w->by * 1.44269504f;
    const __m512 by16 = _mm512_set1_ps(by), most = _mm512_set1_ps(score_row(w) * by);
    uint8_t *low = high + w->n_pad;
    __m512i sum = _mm512_setzero_si512();
    for (int i = 0; i < w->n_pad; i += 64) {
        const int left = w->n_pad - i;
        const __mmask64 bytes = left >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << left) - 1;
        __m512i q[4];
        UNROLL for (int j = 0; j < 4; j++)
        {
            const __mmask16 lanes = first16(OTO_MAX(w->n - i - 16 * j, 0));
            const __m512 s = _mm512_maskz_loadu_ps(lanes, w->scores + i + 16 * j);
            q[j] = _mm512_maskz_mov_epi32(lanes, exp_units(_mm512_fmsub_ps(s, by16, most), unit));
            sum = _mm512_add_epi32(sum, q[j]);
        }
        __m512i a = _mm512_packs_epi32(q[0], q[1]), b = _mm512_packs_epi32(q[2], q[3]);
        if (parts == 2) {
            const __m512i l =
                _mm512_packus_epi16(_mm512_and_si512(a, low7), _mm512_and_si512(b, low7));
            _mm512_mask_storeu_epi8(low + i, bytes, _mm512_permutexvar_epi32(order, l));
            a = _mm512_srli_epi16(a, 7);
            b = _mm512_srli_epi16(b, 7);
        }
        _mm512_mask_storeu_epi8(high + i, bytes,
                                _mm512_permutexvar_epi32(order, _mm512_packus_epi16(a, b)));
    }
    return (float)_mm512_reduce_add_epi32(sum);
}

static float weigh(const oto_weigh *w, void *a)
{
    return w->parts == 1 ? weigh_row(1, w, a) : weigh_row(2, w, a);
}

OTO_PACK_KEYS8(pack_keys, prepare_i8, 128)
OTO_PACK_VALUES8

static void layer_norm(const float *x, const float *gamma, const float *beta, float eps, int n,
                       float *y)
{
    __m512 sum = _mm512_setzero_ps(), squares = sum;
    for (int i = 0; i < n; i += 16)
        sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(first16(n - i), x + i));
    __m512 mean = _mm512_set1_ps(sum_lanes(sum) / (float)n);
    for (int i = 0; i < n; i += 16) {
        __mmask16 lanes = first16(n - i);
        __m512 d = _mm512_maskz_sub_ps(lanes, _mm512_maskz_loadu_ps(lanes, x + i), mean);
        squares = _mm512_fmadd_ps(d, d, squares);
    }
    float by = 1 / __builtin_sqrtf(sum_lanes(squares) / (float)n + eps);
    for (int i = 0; i < n; i += 16) {
        __mmask16 lanes = first16(n - i);
        __m512 d = _mm512_mul_ps(_mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, x + i), mean),
                                 _mm512_set1_ps(by));
        d = _mm512_fmadd_ps(d, _mm512_maskz_loadu_ps(lanes, gamma + i),
                            _mm512_maskz_loadu_ps(lanes, beta + i));
        _mm512_mask_storeu_ps(y + i, lanes, d);
    }
}

static void to_bf16(const float *x, int n, uint16_t *out)
{
    for (int i = 0; i < n; i += 16) {
        __mmask16 lanes = first16(n - i);
        __m512i v = _mm512_srli_epi32(round_bf16(_mm512_maskz_loadu_ps(lanes, x + i)), 16);
        _mm256_mask_storeu_epi16(out + i, lanes, _mm512_cvtepi32_epi16(v));
    }
}

static void scale_row(const float *x, int n, float by, float *out)
{
    for (int i = 0; i < n; i += 16) {
        __mmask16 lanes = first16(n - i);
        _mm512_mask_storeu_ps(
            out + i, lanes, _mm512_mul_ps(_mm512_maskz_loadu_ps(lanes, x + i), _mm512_set1_ps(by)));
    }
}

/* ---- decoding attention ---- */

/* A row of 64 as 4 vectors. */
INLINE void load_key(const bool bf16, const char *key, __m512 v[4])
{
    UNROLL for (int j = 0; j < 4; j++)
    {
        if (bf16) {
            const __m256i u = _mm256_loadu_si256((const __m256i *)(key + 32 * j));
            v[j] = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(u), 16));
        } else {
            v[j] = _mm512_loadu_ps(key + 64 * j);
        }
    }
}

/* Sums of 16 vectors: each step halves their number by adding what two of them hold for the same
 * sums. */
INLINE __m512 sum16(__m512 v[16])
{
    UNROLL for (int i = 0; i < 8; i++) v[i] = _mm512_add_ps(
        _mm512_shuffle_f32x4(v[i], v[i + 8], 0x44), _mm512_shuffle_f32x4(v[i], v[i + 8], 0xee));
    UNROLL for (int i = 0; i < 4; i++) v[i] = _mm512_add_ps(
        _mm512_shuffle_f32x4(v[i], v[i + 4], 0x88), _mm512_shuffle_f32x4(v[i], v[i + 4], 0xdd));
    UNROLL for (int i = 0; i < 2; i++) v[i] = _mm512_add_ps(
        _mm512_shuffle_ps(v[i], v[i + 2], 0x44), _mm512_shuffle_ps(v[i], v[i + 2], 0xee));
    return _mm512_add_ps(_mm512_shuffle_ps(v[0], v[1], 0x88), _mm512_shuffle_ps(v[0], v[1], 0xdd));
}

INLINE const char *key_at(const void *k, size_t elem, const int16_t *row, size_t lane_stride, int t)
{
    return (const char *)k +
           ((row ? (size_t)row[t] * lane_stride : 0) + (size_t)t * OTO_HEAD) * elem;
}

INLINE void scores(const bool bf16, const float *q, int lanes, const void *k, const int16_t *row,
                   size_t lane_stride, int n_keys, float *s, size_t lds)
{
    /* sum16 puts v[i] at the place whose digits are i's in another order; keys are handed to it
     * accordingly. */
    static const uint8_t place[16] = {0, 2, 1, 3, 8, 10, 9, 11, 4, 6, 5, 7, 12, 14, 13, 15};
    _Alignas(64) float wide[16 * OTO_HEAD];
    const size_t elem = bf16 ? 2 : 4;
    for (int t = 0; t < n_keys; t += 16) {
        int n = OTO_MIN(16, n_keys - t);
        for (int i = 0; i < 16; i++) {
            __m512 v[4];
            load_key(bf16, key_at(k, elem, row, lane_stride, t + OTO_MIN(i, n - 1)), v);
            UNROLL for (int j = 0; j < 4; j++) _mm512_store_ps(wide + i * OTO_HEAD + 16 * j, v[j]);
        }
        for (int l = 0; l < lanes; l++) {
            __m512 acc[16], ql[4];
            UNROLL for (int j = 0; j < 4; j++) ql[j] = _mm512_loadu_ps(q + l * OTO_HEAD + 16 * j);
            UNROLL for (int i = 0; i < 16; i++)
            {
                const float *key = wide + place[i] * OTO_HEAD;
                acc[i] = _mm512_mul_ps(ql[0], _mm512_load_ps(key));
                UNROLL for (int j = 1; j < 4; j++) acc[i] =
                    _mm512_fmadd_ps(ql[j], _mm512_load_ps(key + 16 * j), acc[i]);
            }
            _mm512_mask_storeu_ps(s + (size_t)l * lds + t, first16(n), sum16(acc));
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

INLINE void values_form(const bool bf16, const int lanes, const float *p, size_t ldp, const void *v,
                        const int16_t *row, size_t lane_stride, int n_keys, float *out)
{
    __m512 acc[6][4], value[4];
    UNROLL for (int l = 0; l < lanes; l++) UNROLL for (int j = 0; j < 4; j++) acc[l][j] =
        _mm512_setzero_ps();
    for (int t = 0; t < n_keys; t++) {
        load_key(bf16, key_at(v, bf16 ? 2 : 4, row, lane_stride, t), value);
        UNROLL for (int l = 0; l < lanes; l++)
        {
            __m512 pl = _mm512_set1_ps(p[(size_t)l * ldp + (size_t)t]);
            UNROLL for (int j = 0; j < 4; j++) acc[l][j] = _mm512_fmadd_ps(pl, value[j], acc[l][j]);
        }
    }
    UNROLL for (int l = 0; l < lanes; l++) UNROLL for (int j = 0; j < 4; j++)
        _mm512_storeu_ps(out + l * OTO_HEAD + 16 * j, acc[l][j]);
}

INLINE void values(const bool bf16, const float *p, size_t ldp, int lanes, const void *v,
                   const int16_t *row, size_t lane_stride, int n_keys, float *out)
{
    while (lanes > 0) {
        int n = lanes > 6 ? 4 : lanes;
        switch (n) {
#define CASE(n)                                                                                    \
    case n:                                                                                        \
        values_form(bf16, n, p, ldp, v, row, lane_stride, n_keys, out);                            \
        break;
            CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#undef CASE
        }
        lanes -= n;
        p += (size_t)n * ldp;
        out += n * OTO_HEAD;
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
    __m512 sum = _mm512_setzero_ps();
    for (int i = 0; i < n; i += 16) {
        __mmask16 lanes = first16(n - i);
        sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(lanes, a + i),
                              _mm512_maskz_loadu_ps(lanes, b + i), sum);
    }
    return sum_lanes(sum);
}

static void ln_max_f32(float *x, int n, float floor)
{
    for (int i = 0; i < n; i += 16) {
        __mmask16 lanes = first16(n - i);
        __m512 v = _mm512_max_ps(_mm512_maskz_loadu_ps(lanes, x + i), _mm512_set1_ps(floor));
        _mm512_mask_storeu_ps(x + i, lanes, ln16(v));
    }
}

static int argmax_f32(const float *x, int n)
{
    float most = row_max(x, n);
    for (int i = 0; i < n; i += 16) {
        __mmask16 lanes = first16(n - i);
        __mmask16 hit = _mm512_mask_cmp_ps_mask(lanes, _mm512_maskz_loadu_ps(lanes, x + i),
                                                _mm512_set1_ps(most), _CMP_EQ_OQ);
        if (hit)
            return i + __builtin_ctz(hit);
    }
    return 0;
}

static int above_f32(const float *x, int n, float floor)
{
    const __m512 f = _mm512_set1_ps(floor);
    int i = 0;
    for (; i + 64 <= n; i += 64) {
        __mmask16 hit[4];
        UNROLL for (int j = 0; j < 4; j++) hit[j] =
            _mm512_cmp_ps_mask(_mm512_loadu_ps(x + i + 16 * j), f, _CMP_GT_OQ);
        if (hit[0] | hit[1] | hit[2] | hit[3])
            break;
    }
    for (; i < n; i += 16) {
        __mmask16 lanes = first16(n - i);
        __mmask16 hit =
            _mm512_mask_cmp_ps_mask(lanes, _mm512_maskz_loadu_ps(lanes, x + i), f, _CMP_GT_OQ);
        if (hit)
            return i + __builtin_ctz(hit);
    }
    return n;
}

static float logsumexp_f32(const float *x, int n)
{
    float most = row_max(x, n);
    if (most == -__builtin_inff())
        return most;
    __m512 sum = _mm512_setzero_ps(), m = _mm512_set1_ps(most);
    for (int i = 0; i < n; i += 16) {
        __mmask16 lanes = first16(n - i);
        sum = _mm512_mask_add_ps(sum, lanes, sum,
                                 exp16(_mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, x + i), m)));
    }
    return most + _mm512_cvtss_f32(ln16(_mm512_set1_ps(sum_lanes(sum))));
}

#define F32_MM                                                                                     \
    {                                                                                              \
        .mr = 12, .np = 4, .a_bytes = 4, .prepare = prepare_f32, .tile = f32_tile,                 \
        .exp_row = exp_row_f32                                                                     \
    }
#define WIDE_MM                                                                                    \
    {                                                                                              \
        .mr = 12, .np = 4, .a_bytes = 4, .prepare = prepare_wide, .tile = wide_tile,               \
        .exp_row = exp_row_wide                                                                    \
    }
#define I8_MM                                                                                      \
    {                                                                                              \
        .mr = 12, .np = 4, .a_bytes = 1, .zero = 128, .bits = 8, .prepare = prepare_i8,            \
        .tile = i8_tile, .tile_at = i8_tile_at                                                     \
    }
#define COMMON                                                                                     \
    .finish = finish, .weigh = weigh, .pack_keys = pack_keys, .pack_values = pack_values,          \
    .layer_norm = layer_norm, .to_bf16 = to_bf16, .scale = scale_row,                              \
    .scores = {scores_f32, scores_bf16}, .values = {values_f32, values_bf16}

static const oto_kernels_impl impl = {
    .mm = {F32_MM, WIDE_MM, I8_MM},
    COMMON,
};
static const oto_kernels_impl impl_bf16 = {
    .mm = {F32_MM,
           {.mr = 12,
            .np = 4,
            .a_bytes = 2,
            .prepare = prepare_bf16,
            .tile = bf16_tile,
            .exp_row = exp_row_bf16},
           I8_MM},
    COMMON,
};
static const oto_kernels_impl impl_amx = {
    .mm = {F32_MM,
           WIDE_MM,
           {.mr = 2 * OTO_AMX_ROWS,
            .np = 4,
            .whole = OTO_AMX_ROWS,
            .a_bytes = 1,
            .zero = 128,
            .bits = 8,
            .prepare = prepare_i8,
            .tile = i8_amx_tile,
            .begin = oto_amx_begin,
            .end = oto_amx_end}},
    COMMON,
};
const oto_kernels oto_kernels_avx512 = OTO_TABLE("avx512", impl);
const oto_kernels oto_kernels_avx512bf16 = OTO_TABLE("avx512bf16", impl_bf16);
const oto_kernels oto_kernels_amx = OTO_TABLE("amx", impl_amx);

#else
typedef int oto_no_avx512; /* a translation unit is never empty */
#endif
