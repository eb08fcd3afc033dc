/* Products of bytes on the tile registers of AMX: 16 rows of 64 bytes each, of which one
 * instruction multiplies two and adds to a third (Intel's Software Developer's Manual, volume 1,
 * chapter 18). Panels of I8 have the layout of its right factor as they are: 16 groups of inputs
 * are 16 rows of 64 bytes.
 *
 * All tiles keep one shape for a whole task, since setting it costs as much as a dozen products:
 * rows are read and sums written in whole sixteens, and callers leave room for them. A block is 32
 * rows by two panels, four sums of two by two factors, each loaded for two products. */
#include "kernels/kernels_impl.h"

#if defined(__x86_64__)

#include <cpuid.h>
#include <immintrin.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define ROWS  OTO_AMX_ROWS
#define GROUP 16 /* groups of 4 inputs in a tile */

/* Which register holds what: names of registers, so no enum. */
#define C00 0
#define C01 1
#define C10 2
#define C11 3
#define A0  4
#define A1  5
#define B0  6
#define B1  7

/* What is at p is read by an instruction of which the compiler does not know that it reads. */
#define READ_AFTER(p) __asm__ volatile("" : : "r"(p) : "memory")

#if defined(OTO_EMULATED_IMMINTRIN_H)
bool oto_amx_usable(void)
{
    return true;
}
#else
#define XTILEDATA             18
#define ARCH_REQ_XCOMP_PERM   0x1023
#define CPUID_7_EDX_AMX_TILES ((1u << 24) | (1u << 25)) /* AMX-TILE, AMX-INT8 */

/* The kernel grants the registers to a process that asks, and refuses where it cannot save them. */
bool oto_amx_usable(void)
{
    unsigned a, b, c, d;

    return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 &&
           (d & CPUID_7_EDX_AMX_TILES) == CPUID_7_EDX_AMX_TILES &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0;
}
#endif

void oto_amx_begin(void)
{
    /* palette 1; bytes of a row at 16 + 2 i, rows at 48 + i */
    _Alignas(64) uint8_t shape[64] = {1};

    for (int i = 0; i < 8; i++) {
        shape[16 + 2 * i] = 64;
        shape[48 + i] = ROWS;
    }
    READ_AFTER(shape);
    _tile_loadconfig(shape);
}

void oto_amx_end(void)
{
    _tile_release();
}

/* c[32 or 16][2 panels or 1]: whole tiles of inputs, then what is left of them in a copy that zeros
 * fill up. */
typedef struct {
    const char *a, *w;
    size_t lda, ldw;
    int tiles;
    const char *last_a, *last_w; /* rows of 64 bytes, panels one after the other; NULL: none left */
    int32_t *c;
    size_t ldc;
} block;

/* A macro, for registers have names and no numbers. */
#define MULTIPLY(a_at, lda_bytes, w0_at, w1_at)                                                    \
    do {                                                                                           \
        _tile_loadd(B0, w0_at, 64);                                                                \
        _tile_loadd(A0, a_at, lda_bytes);                                                          \
        _tile_dpbusd(C00, A0, B0);                                                                 \
        if (np == 2) {                                                                             \
            _tile_loadd(B1, w1_at, 64);                                                            \
            _tile_dpbusd(C01, A0, B1);                                                             \
        }                                                                                          \
        if (mt == 2) {                                                                             \
            _tile_loadd(A1, (a_at) + ROWS * (lda_bytes), lda_bytes);                               \
            _tile_dpbusd(C10, A1, B0);                                                             \
            if (np == 2)                                                                           \
                _tile_dpbusd(C11, A1, B1);                                                         \
        }                                                                                          \
    } while (0)

static inline __attribute__((always_inline)) void multiply(const block *b, const int mt,
                                                           const int np)
{
    const char *a = b->a, *w = b->w;

    _tile_zero(C00);
    _tile_zero(C01);
    _tile_zero(C10);
    _tile_zero(C11);
    for (int k = 0; k < b->tiles; k++, a += 64, w += (size_t)GROUP * 64) {
        for (int j = np; j < 2 * np; j++) { /* the next panels' weights, which may come from afar */
            const char *next = w + (size_t)j * b->ldw;

            _Pragma("GCC unroll 16") for (int i = 0; i < GROUP; i++)
                _mm_prefetch(next + 64 * i, _MM_HINT_T1);
        }
        MULTIPLY(a, b->lda, w, w + b->ldw);
    }
    if (b->last_a != NULL)
        MULTIPLY(b->last_a, (size_t)64, b->last_w, b->last_w + (size_t)GROUP * 64);
    _tile_stored(C00, b->c, b->ldc * sizeof *b->c);
    if (np == 2)
        _tile_stored(C01, b->c + OTO_PANEL, b->ldc * sizeof *b->c);
    if (mt == 2) {
        _tile_stored(C10, b->c + ROWS * b->ldc, b->ldc * sizeof *b->c);
        if (np == 2)
            _tile_stored(C11, b->c + ROWS * b->ldc + OTO_PANEL, b->ldc * sizeof *b->c);
    }
}

void oto_amx_tile(int m, int np, int groups, const void *a, size_t lda, const void *w, size_t ldw,
                  void *c, size_t ldc)
{
    const int left = groups % GROUP;
    _Alignas(64) char last_a[2 * ROWS][64], last_w[2 * GROUP][64];
    block b = {.a = a,
               .lda = lda,
               .ldw = ldw,
               .tiles = groups / GROUP,
               .last_a = left ? last_a[0] : NULL,
               .last_w = left ? last_w[0] : NULL,
               .ldc = ldc};

    if (left) {
        const __mmask16 some = (__mmask16)((1u << left) - 1);

        for (int i = 0; i < 2 * ROWS; i++)
            _mm512_storeu_si512(last_a[i], i < m ? _mm512_maskz_loadu_epi32(
                                                       some, (const char *)a + (size_t)i * lda +
                                                                 (size_t)b.tiles * 64)
                                                 : _mm512_setzero_si512());
    }
    for (int p = 0, n; p < np; p += n) {
        n = OTO_MIN(2, np - p);
        b.w = (const char *)w + (size_t)p * ldw;
        b.c = (int32_t *)c + p * OTO_PANEL;
        for (int i = 0; left && i < GROUP * n; i++)
            _mm512_storeu_si512(
                last_w[i],
                i % GROUP < left
                    ? _mm512_loadu_si512(b.w + (size_t)(i / GROUP) * ldw +
                                         ((size_t)b.tiles * GROUP + (size_t)(i % GROUP)) * 64)
                    : _mm512_setzero_si512());
        READ_AFTER(last_a);
        READ_AFTER(last_w);
        if (m > ROWS && n == 2)
            multiply(&b, 2, 2);
        else if (m > ROWS)
            multiply(&b, 2, 1);
        else if (n == 2)
            multiply(&b, 1, 2);
        else
            multiply(&b, 1, 1);
    }
}

void oto_amx_multiply(int rounds)
{
    oto_amx_begin();
    _tile_zero(C00);
    _tile_zero(C01);
    _tile_zero(C10);
    _tile_zero(C11);
    _tile_zero(A0);
    _tile_zero(B0);
    for (int i = 0; i < rounds; i++) {
        _tile_dpbusd(C00, A0, B0);
        _tile_dpbusd(C01, A0, B0);
        _tile_dpbusd(C10, A0, B0);
        _tile_dpbusd(C11, A0, B0);
    }
    oto_amx_end();
}

#else
typedef int oto_no_amx; /* a translation unit is never empty */
#endif
