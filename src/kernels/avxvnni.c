/* Products of bytes for CPUs that have VNNI in registers of 256 bits but no AVX-512, for a table of
 * avx2.c: VPDPBUSD multiplies four unsigned bytes of a row by four signed ones of an output and
 * adds all to its sum (Intel's Software Developer's Manual, volume 2, VPDPBUSD, its VEX form).
 *
 * Tiles are 6 rows × 1 panel, as avx2.c's. A sum waits some five cycles for the one before it, so
 * that few rows have several for each output, which meet at the end. */
#include "kernels/kernels_impl.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>

#define MR     6
#define CHAINS 4 /* at most */
/* Keeps a sum in its register: gcc copies and spills those of several chains else. */
#if defined(__AVXVNNI__) && !defined(__clang__)
#define STAY(v) __asm__("" : "+x"(v))
#else
#define STAY(v) (void)0
#endif

#if defined(OTO_EMULATED_IMMINTRIN_H)
bool oto_avxvnni_usable(void)
{
    return true;
}
#else
#define CPUID_7_1_EAX_AVX_VNNI (1u << 4)

/* Whether the system saves its registers is asked for AVX2. */
bool oto_avxvnni_usable(void)
{
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & CPUID_7_1_EAX_AVX_VNNI) != 0;
}
#endif

/* One group of four inputs more. */
INLINE void step(const int m, __m256i acc[MR][2], size_t group, const char *a, size_t lda,
                 const char *w)
{
    const __m256i *here = (const __m256i *)(const void *)(w + 64 * group);
    const __m256i w0 = _mm256_loadu_si256(here), w1 = _mm256_loadu_si256(here + 1);

    UNROLL for (int i = 0; i < m; i++)
    {
        int32_t four;

        memcpy(&four, a + (size_t)i * lda + 4 * group, sizeof four);
        const __m256i x = _mm256_set1_epi32(four);

        acc[i][0] = _mm256_dpbusd_avx_epi32(acc[i][0], x, w0);
        acc[i][1] = _mm256_dpbusd_avx_epi32(acc[i][1], x, w1);
        STAY(acc[i][0]);
        STAY(acc[i][1]);
    }
}

/* at: which groups, of tile_at; NULL: all. */
INLINE void i8_at_form(const int m, int groups, const uint16_t *at, const char *a, size_t lda,
                       const char *w, int32_t *c, size_t ldc)
{
    const int chains = m == 1 ? CHAINS : m <= 3 ? 2 : 1;
    __m256i acc[CHAINS][MR][2];
    int n = 0;

    UNROLL for (int j = 0; j < chains; j++) UNROLL for (int i = 0; i < m; i++) acc[j][i][0] =
        acc[j][i][1] = _mm256_setzero_si256();
    for (; n + chains <= groups; n += chains)
        UNROLL for (int j = 0; j < chains; j++)
            step(m, acc[j], at != NULL ? at[n + j] : (size_t)(n + j), a, lda, w);
    for (; n < groups; n++)
        step(m, acc[0], at != NULL ? at[n] : (size_t)n, a, lda, w);
    UNROLL for (int i = 0; i < m; i++) UNROLL for (int half = 0; half < 2; half++)
    {
        __m256i sum = acc[0][i][half];

        UNROLL for (int j = 1; j < chains; j++) sum = _mm256_add_epi32(sum, acc[j][i][half]);
        _mm256_storeu_si256((__m256i *)(void *)(c + (size_t)i * ldc + 8 * half), sum);
    }
}

INLINE void i8_form(const int m, int groups, const char *a, size_t lda, const char *w, int32_t *c,
                    size_t ldc)
{
    i8_at_form(m, groups, NULL, a, lda, w, c, ldc);
}

OTO_PANEL_TILE(tile, i8_form, int32_t)
OTO_PANEL_TILE_AT(tile_at, i8_at_form, int32_t)

void oto_avxvnni_tile(int m, int np, int groups, const void *a, size_t lda, const void *w,
                      size_t ldw, void *c, size_t ldc)
{
    tile(m, np, groups, a, lda, w, ldw, c, ldc);
}

void oto_avxvnni_tile_at(int m, int np, int n, const uint16_t *at, const void *a, size_t lda,
                         const void *w, size_t ldw, void *c, size_t ldc)
{
    tile_at(m, np, n, at, a, lda, w, ldw, c, ldc);
}

#else
typedef int oto_no_avxvnni; /* a translation unit is never empty */
#endif
