/* The AVX-512, AMX and AVX-VNNI that src/kernels/avx512.c, amx.c and avxvnni.c use, in plain C,
 * after Intel's pseudocode (Intrinsics Guide): so their tables are tested on machines that lack the
 * instructions. Vectors are GCC's, of the same size and with the same names; whatever is not listed
 * here fails to compile. */
#ifndef OTO_EMULATED_IMMINTRIN_H
#define OTO_EMULATED_IMMINTRIN_H

#include <emmintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef float __m256 __attribute__((vector_size(32), may_alias));
typedef long long __m256i __attribute__((vector_size(32), may_alias));
typedef float __m512 __attribute__((vector_size(64), may_alias));
typedef long long __m512i __attribute__((vector_size(64), may_alias));
typedef short __m256bh __attribute__((vector_size(32), may_alias));
typedef short __m512bh __attribute__((vector_size(64), may_alias));
typedef uint16_t __mmask16;
typedef uint64_t __mmask64;

typedef float emu_f __attribute__((vector_size(64)));
typedef int32_t emu_i __attribute__((vector_size(64)));
typedef uint32_t emu_u __attribute__((vector_size(64)));
typedef int16_t emu_h __attribute__((vector_size(64)));
typedef int8_t emu_b __attribute__((vector_size(64)));
typedef uint8_t emu_ub __attribute__((vector_size(64)));
typedef uint16_t emu_uh __attribute__((vector_size(64)));

#define EMU  static inline __attribute__((unused))
#define EACH for (int i = 0; i < 16; i++)

/* ---- memory ---- */

EMU __m512 _mm512_loadu_ps(const void *p)
{
    __m512 v;

    memcpy(&v, p, sizeof v);
    return v;
}

EMU __m512i _mm512_loadu_si512(const void *p)
{
    return (__m512i)_mm512_loadu_ps(p);
}

EMU __m256i _mm256_loadu_si256(const __m256i *p)
{
    __m256i v;

    memcpy(&v, p, sizeof v);
    return v;
}

EMU void _mm256_storeu_si256(__m256i *p, __m256i v)
{
    memcpy(p, &v, sizeof v);
}

EMU void _mm512_storeu_ps(void *p, __m512 v)
{
    memcpy(p, &v, sizeof v);
}

EMU void _mm512_storeu_si512(void *p, __m512i v)
{
    memcpy(p, &v, sizeof v);
}

EMU __m512 _mm512_mask_loadu_ps(__m512 other, __mmask16 k, const void *p)
{
    EACH if (k >> i & 1) memcpy((float *)&other + i, (const float *)p + i, sizeof(float));
    return other;
}

EMU __m512 _mm512_maskz_loadu_ps(__mmask16 k, const void *p)
{
    return _mm512_mask_loadu_ps((__m512){0}, k, p);
}

EMU __m512i _mm512_maskz_loadu_epi32(__mmask16 k, const void *p)
{
    return (__m512i)_mm512_maskz_loadu_ps(k, p);
}

EMU void _mm512_mask_storeu_ps(void *p, __mmask16 k, __m512 v)
{
    EACH if (k >> i & 1) memcpy((float *)p + i, (const float *)&v + i, sizeof(float));
}

EMU void _mm512_mask_storeu_epi32(void *p, __mmask16 k, __m512i v)
{
    _mm512_mask_storeu_ps(p, k, (__m512)v);
}

EMU void _mm512_mask_storeu_epi8(void *p, __mmask64 k, __m512i v)
{
    for (int i = 0; i < 64; i++)
        if (k >> i & 1)
            ((char *)p)[i] = ((const char *)&v)[i];
}

EMU void _mm256_mask_storeu_epi16(void *p, __mmask16 k, __m256i v)
{
    EACH if (k >> i & 1) memcpy((int16_t *)p + i, (const int16_t *)&v + i, sizeof(int16_t));
}

/* Aligned, as the instructions demand. */
EMU __m512 _mm512_load_ps(const void *p)
{
    return *(const __m512 *)__builtin_assume_aligned(p, 64);
}

EMU void _mm512_store_ps(void *p, __m512 v)
{
    *(__m512 *)__builtin_assume_aligned(p, 64) = v;
}

/* ---- making and moving ---- */

EMU __m512 _mm512_set1_ps(float x)
{
    return x - (__m512){0};
}

EMU __m512 _mm512_setzero_ps(void)
{
    return (__m512){0};
}

EMU __m512i _mm512_setzero_si512(void)
{
    return (__m512i){0};
}

EMU __m512i _mm512_set1_epi32(int32_t x)
{
    return (__m512i)(x + (emu_i){0});
}

EMU __m512i _mm512_set1_epi16(int16_t x)
{
    return (__m512i)(x + (emu_h){0});
}

EMU __m512i _mm512_set1_epi8(char x)
{
    return (__m512i)((int8_t)x + (emu_b){0});
}

#define _mm512_setr_epi32(...)          ((__m512i)(emu_i){__VA_ARGS__})
#define _mm512_castps_si512(v)          ((__m512i)(v))
#define _mm512_castsi512_ps(v)          ((__m512)(v))
#define _mm512_castps512_ps256(v)       emu_half(v, 0)
#define _mm512_extractf32x8_ps(v, half) emu_half(v, half)
#define _mm256_extractf128_ps(v, half)  emu_quarter(v, half)
#define _mm256_castps256_ps128(v)       emu_quarter(v, 0)

EMU __m256 emu_half(__m512 v, int half)
{
    __m256 out;

    memcpy(&out, (const char *)&v + 32 * half, sizeof out);
    return out;
}

EMU __m128 emu_quarter(__m256 v, int half)
{
    __m128 out;

    memcpy(&out, (const char *)&v + 16 * half, sizeof out);
    return out;
}

EMU float _mm512_cvtss_f32(__m512 v)
{
    return v[0];
}

EMU __m512 _mm512_maskz_mov_ps(__mmask16 k, __m512 v)
{
    EACH v[i] = k >> i & 1 ? v[i] : 0;
    return v;
}

EMU __m512i _mm512_maskz_mov_epi32(__mmask16 k, __m512i v)
{
    return (__m512i)_mm512_maskz_mov_ps(k, (__m512)v);
}

EMU __m512 _mm512_permutexvar_ps(__m512i at, __m512 v)
{
    __m512 out;

    EACH out[i] = v[((emu_i)at)[i] & 15];
    return out;
}

EMU __m512i _mm512_permutexvar_epi32(__m512i at, __m512i v)
{
    return (__m512i)_mm512_permutexvar_ps(at, (__m512)v);
}

EMU __m512 _mm512_shuffle_ps(__m512 a, __m512 b, int how)
{
    __m512 out;

    EACH out[i] = (i % 4 < 2 ? a : b)[i / 4 * 4 + (how >> 2 * (i % 4) & 3)];
    return out;
}

EMU __m512 _mm512_shuffle_f32x4(__m512 a, __m512 b, int how)
{
    __m512 out;

    EACH out[i] = (i < 8 ? a : b)[4 * (how >> 2 * (i / 4) & 3) + i % 4];
    return out;
}

/* ---- floats ---- */

EMU __m256 _mm256_add_ps(__m256 a, __m256 b)
{
    return a + b;
}

EMU __m512 _mm512_add_ps(__m512 a, __m512 b)
{
    return a + b;
}

EMU __m512 _mm512_sub_ps(__m512 a, __m512 b)
{
    return a - b;
}

EMU __m512 _mm512_mul_ps(__m512 a, __m512 b)
{
    return a * b;
}

EMU __m512 _mm512_div_ps(__m512 a, __m512 b)
{
    return a / b;
}

EMU __m512 _mm512_mask_add_ps(__m512 other, __mmask16 k, __m512 a, __m512 b)
{
    EACH other[i] = k >> i & 1 ? a[i] + b[i] : other[i];
    return other;
}

EMU __m512 _mm512_maskz_sub_ps(__mmask16 k, __m512 a, __m512 b)
{
    return _mm512_maskz_mov_ps(k, a - b);
}

EMU __m512 _mm512_fmadd_ps(__m512 a, __m512 b, __m512 c)
{
    EACH c[i] = fmaf(a[i], b[i], c[i]);
    return c;
}

EMU __m512 _mm512_fmsub_ps(__m512 a, __m512 b, __m512 c)
{
    return _mm512_fmadd_ps(a, b, -c);
}

EMU __m512 _mm512_fnmadd_ps(__m512 a, __m512 b, __m512 c)
{
    return _mm512_fmadd_ps(-a, b, c);
}

/* The second where either is no number. */
EMU __m512 _mm512_max_ps(__m512 a, __m512 b)
{
    EACH b[i] = a[i] > b[i] ? a[i] : b[i];
    return b;
}

EMU __m512 _mm512_min_ps(__m512 a, __m512 b)
{
    EACH b[i] = a[i] < b[i] ? a[i] : b[i];
    return b;
}

EMU __m512 _mm512_mask_max_ps(__m512 other, __mmask16 k, __m512 a, __m512 b)
{
    const __m512 most = _mm512_max_ps(a, b);

    EACH other[i] = k >> i & 1 ? most[i] : other[i];
    return other;
}

EMU __m512 _mm512_abs_ps(__m512 v)
{
    return (__m512)((emu_u)v & 0x7fffffffu);
}

EMU float _mm512_reduce_max_ps(__m512 v)
{
    float most = v[0];

    EACH most = v[i] > most ? v[i] : most;
    return most;
}

/* 8: to an integer, nearest even; no exceptions. */
EMU __m512 _mm512_roundscale_ps(__m512 v, int how)
{
    EACH v[i] = how == 8 ? rintf(v[i]) : NAN;
    return v;
}

EMU __m512 _mm512_reduce_ps(__m512 v, int how)
{
    return v - _mm512_roundscale_ps(v, how);
}

EMU __m512 _mm512_scalef_ps(__m512 v, __m512 e)
{
    EACH v[i] = ldexpf(v[i], (int)floorf(fmaxf(fminf(e[i], 1000), -1000)));
    return v;
}

EMU __m512 _mm512_maskz_scalef_ps(__mmask16 k, __m512 v, __m512 e)
{
    return _mm512_maskz_mov_ps(k, _mm512_scalef_ps(v, e));
}

enum { _MM_MANT_NORM_p75_1p5 = 3, _MM_MANT_SIGN_zero = 1 };

/* In [0.75, 1.5), without sign. */
EMU __m512 _mm512_getmant_ps(__m512 v, int norm, int sign)
{
    EACH
    {
        int e;
        const float m = 2 * frexpf(fabsf(v[i]), &e); /* [1, 2) */

        v[i] = norm != _MM_MANT_NORM_p75_1p5 || sign != _MM_MANT_SIGN_zero ? NAN
               : m < 1.5f                                                  ? m
                                                                           : m / 2;
    }
    return v;
}

EMU __m512 _mm512_getexp_ps(__m512 v)
{
    EACH v[i] = logbf(v[i]);
    return v;
}

enum { _CMP_EQ_OQ = 0, _CMP_LT_OQ = 17, _CMP_UNORD_Q = 3, _CMP_GE_OQ = 29, _CMP_GT_OQ = 30 };

EMU __mmask16 _mm512_cmp_ps_mask(__m512 a, __m512 b, int how)
{
    __mmask16 out = 0;

    EACH
    {
        const int holds = how == _CMP_EQ_OQ     ? a[i] == b[i]
                          : how == _CMP_LT_OQ   ? a[i] < b[i]
                          : how == _CMP_GE_OQ   ? a[i] >= b[i]
                          : how == _CMP_GT_OQ   ? a[i] > b[i]
                          : how == _CMP_UNORD_Q ? isnan(a[i]) || isnan(b[i])
                                                : -1;

        if (holds < 0)
            __builtin_trap();
        out = (__mmask16)(out | holds << i);
    }
    return out;
}

EMU __mmask16 _mm512_mask_cmp_ps_mask(__mmask16 k, __m512 a, __m512 b, int how)
{
    return (__mmask16)(k & _mm512_cmp_ps_mask(a, b, how));
}

/* ---- integers ---- */

EMU __m512i _mm512_add_epi32(__m512i a, __m512i b)
{
    return (__m512i)((emu_u)a + (emu_u)b);
}

EMU __m512i _mm512_sub_epi32(__m512i a, __m512i b)
{
    return (__m512i)((emu_u)a - (emu_u)b);
}

EMU __m512i _mm512_mullo_epi32(__m512i a, __m512i b)
{
    return (__m512i)((emu_u)a * (emu_u)b);
}

EMU __m512i _mm512_and_si512(__m512i a, __m512i b)
{
    return a & b;
}

EMU __m512i _mm512_xor_si512(__m512i a, __m512i b)
{
    return a ^ b;
}

EMU __m512i _mm512_mask_or_epi32(__m512i other, __mmask16 k, __m512i a, __m512i b)
{
    emu_i out = (emu_i)other;

    EACH out[i] = k >> i & 1 ? ((emu_i)a)[i] | ((emu_i)b)[i] : out[i];
    return (__m512i)out;
}

EMU __m512i _mm512_slli_epi32(__m512i v, unsigned n)
{
    return (__m512i)((emu_u)v << n);
}

EMU __m512i _mm512_srli_epi32(__m512i v, unsigned n)
{
    return (__m512i)((emu_u)v >> n);
}

EMU __m512i _mm512_srli_epi16(__m512i v, unsigned n)
{
    return (__m512i)((emu_uh)v >> (uint16_t)n);
}

EMU int32_t _mm512_reduce_add_epi32(__m512i v)
{
    uint32_t sum = 0;

    EACH sum += ((emu_u)v)[i];
    return (int32_t)sum;
}

EMU __m512i _mm512_cvtepu16_epi32(__m256i v)
{
    emu_u out;
    uint16_t in[16];

    memcpy(in, &v, sizeof in);
    EACH out[i] = in[i];
    return (__m512i)out;
}

EMU __m256i _mm512_cvtepi32_epi16(__m512i v)
{
    uint16_t out[16];
    __m256i packed;

    EACH out[i] = (uint16_t)((emu_u)v)[i];
    memcpy(&packed, out, sizeof packed);
    return packed;
}

EMU __m512 _mm512_cvtepi32_ps(__m512i v)
{
    return __builtin_convertvector((emu_i)v, emu_f);
}

/* Nearest even; what does not fit, and no number, is the least integer. */
EMU __m512i _mm512_cvtps_epi32(__m512 v)
{
    emu_i out;

    EACH out[i] = fabsf(v[i]) < 2147483648.0f ? (int32_t)lrintf(v[i]) : INT32_MIN;
    return (__m512i)out;
}

EMU int emu_within(int x, int least, int most)
{
    return x < least ? least : x > most ? most : x;
}

/* Packs work within 128 bits: the first half from a, the second from b. */
EMU __m512i _mm512_packs_epi32(__m512i a, __m512i b)
{
    emu_h out;

    for (int i = 0; i < 32; i++)
        out[i] = (int16_t)emu_within(((emu_i)(i % 8 < 4 ? a : b))[i / 8 * 4 + i % 4], INT16_MIN,
                                     INT16_MAX);
    return (__m512i)out;
}

EMU __m512i emu_pack16(__m512i a, __m512i b, int least, int most)
{
    emu_ub out;

    for (int i = 0; i < 64; i++)
        out[i] =
            (uint8_t)emu_within(((emu_h)(i % 16 < 8 ? a : b))[i / 16 * 8 + i % 8], least, most);
    return (__m512i)out;
}

EMU __m512i _mm512_packs_epi16(__m512i a, __m512i b)
{
    return emu_pack16(a, b, INT8_MIN, INT8_MAX);
}

EMU __m512i _mm512_packus_epi16(__m512i a, __m512i b)
{
    return emu_pack16(a, b, 0, UINT8_MAX);
}

/* VNNI: bytes without sign times bytes with one. */
EMU __m512i _mm512_dpbusd_epi32(__m512i sum, __m512i a, __m512i b)
{
    emu_i out = (emu_i)sum;

    for (int i = 0; i < 64; i++)
        out[i / 4] += ((emu_ub)a)[i] * ((emu_b)b)[i];
    return (__m512i)out;
}

/* The same in 256 bits. */
EMU __m256i _mm256_dpbusd_avx_epi32(__m256i sum, __m256i a, __m256i b)
{
    int32_t out[8];
    uint8_t x[32];
    int8_t w[32];

    memcpy(out, &sum, sizeof out);
    memcpy(x, &a, sizeof x);
    memcpy(w, &b, sizeof w);
    for (int i = 0; i < 32; i++)
        out[i / 4] += x[i] * w[i];
    memcpy(&sum, out, sizeof out);
    return sum;
}

EMU __m256i _mm256_add_epi32(__m256i a, __m256i b)
{
    typedef int32_t lanes __attribute__((vector_size(32)));

    return (__m256i)((lanes)a + (lanes)b);
}

EMU __m256i _mm256_set1_epi32(int x)
{
    const int32_t v[8] = {x, x, x, x, x, x, x, x};
    __m256i out;

    memcpy(&out, v, sizeof out);
    return out;
}

EMU __m256i _mm256_setzero_si256(void)
{
    return _mm256_set1_epi32(0);
}

/* ---- bf16 ---- */

EMU short emu_bf16(float x)
{
    uint32_t u;

    memcpy(&u, &x, sizeof u);
    return (short)(isnan(x) ? u >> 16 | 0x40 : (u + 0x7fff + (u >> 16 & 1)) >> 16);
}

EMU float emu_wide(short h)
{
    const uint32_t u = (uint32_t)(uint16_t)h << 16;
    float x;

    memcpy(&x, &u, sizeof x);
    return x;
}

EMU __m256bh _mm512_cvtneps_pbh(__m512 v)
{
    __m256bh out;

    EACH out[i] = emu_bf16(v[i]);
    return out;
}

EMU __m512bh _mm512_cvtne2ps_pbh(__m512 high, __m512 low)
{
    __m512bh out;

    EACH
    {
        out[i] = emu_bf16(low[i]);
        out[16 + i] = emu_bf16(high[i]);
    }
    return out;
}

EMU __m512 _mm512_dpbf16_ps(__m512 sum, __m512bh a, __m512bh b)
{
    EACH
    {
        sum[i] = fmaf(emu_wide(a[2 * i + 1]), emu_wide(b[2 * i + 1]), sum[i]);
        sum[i] = fmaf(emu_wide(a[2 * i]), emu_wide(b[2 * i]), sum[i]);
    }
    return sum;
}

/* ---- AMX ---- */

/* One thread's tiles, as a configuration of palette 1 shapes them. Whatever a processor would
 * refuse is refused here: a register without a shape, products of shapes that do not match. */
typedef struct {
    int rows[8], bytes[8];
    uint8_t of[8][16][64];
} emu_tiles;

static _Thread_local emu_tiles emu_tile __attribute__((unused));

EMU void emu_shape(int t, int *rows, int *bytes)
{
    *rows = emu_tile.rows[t];
    *bytes = emu_tile.bytes[t];
    if (*rows < 1 || *rows > 16 || *bytes < 4 || *bytes > 64 || *bytes % 4 != 0)
        abort();
}

EMU void _tile_loadconfig(const void *config)
{
    const uint8_t *p = config;

    if (p[0] != 1)
        abort();
    for (int t = 0; t < 8; t++) {
        emu_tile.bytes[t] = p[16 + 2 * t] + 256 * p[17 + 2 * t];
        emu_tile.rows[t] = p[48 + t];
    }
    memset(emu_tile.of, 0, sizeof emu_tile.of);
}

EMU void _tile_release(void)
{
    memset(&emu_tile, 0, sizeof emu_tile);
}

EMU void _tile_zero(int t)
{
    int rows, bytes;

    emu_shape(t, &rows, &bytes);
    memset(emu_tile.of[t], 0, sizeof emu_tile.of[t]);
}

EMU void _tile_loadd(int t, const void *p, size_t stride)
{
    int rows, bytes;

    emu_shape(t, &rows, &bytes);
    memset(emu_tile.of[t], 0, sizeof emu_tile.of[t]);
    for (int i = 0; i < rows; i++)
        memcpy(emu_tile.of[t][i], (const char *)p + (size_t)i * stride, (size_t)bytes);
}

EMU void _tile_stored(int t, void *p, size_t stride)
{
    int rows, bytes;

    emu_shape(t, &rows, &bytes);
    for (int i = 0; i < rows; i++)
        memcpy((char *)p + (size_t)i * stride, emu_tile.of[t][i], (size_t)bytes);
}

EMU void _tile_dpbusd(int c, int a, int b)
{
    int rows, c_bytes, a_rows, a_bytes, b_rows, b_bytes;

    emu_shape(c, &rows, &c_bytes);
    emu_shape(a, &a_rows, &a_bytes);
    emu_shape(b, &b_rows, &b_bytes);
    if (a_rows != rows || b_bytes != c_bytes || b_rows * 4 != a_bytes)
        abort();
    for (int m = 0; m < rows; m++)
        for (int n = 0; n < c_bytes / 4; n++) {
            int32_t sum;

            memcpy(&sum, &emu_tile.of[c][m][4 * n], 4);
            for (int k = 0; k < a_bytes; k++)
                sum += emu_tile.of[a][m][k] * (int8_t)emu_tile.of[b][k / 4][4 * n + k % 4];
            memcpy(&emu_tile.of[c][m][4 * n], &sum, 4);
        }
}

#undef EACH
#undef EMU
#endif
