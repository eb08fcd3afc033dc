/* Private to src/kernels: what one instruction set provides, and how gemm.c and attention.c call
 * it.
 *
 * A product y = x Wᵀ is made of tiles: up to MR rows of x times up to NP panels of W. Rows of x are
 * first "prepared" into the form the tile reads: a[row][k_pad] of a_bytes per element, k_pad being
 * k rounded up to the type's group (F32 1, BF16 2, I8 4). How a prepared element looks is the
 * table's own business; gemm.c only keeps the bytes.
 *
 * Every tile adds the products of a row in ascending k, one accumulator per output, whatever its
 * number of rows or panels: this is what makes results independent of the batch. */
#ifndef OTO_KERNELS_IMPL_H
#define OTO_KERNELS_IMPL_H

#include "kernels/kernels.h"

/* For the instruction sets' own files: what is inlined with constant sizes, and its loops. */
#define INLINE static inline __attribute__((always_inline))
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

#define OTO_MR_MAX   32 /* bounds of mr and np over all tables */
#define OTO_NP_MAX   4
#define OTO_HEAD     64  /* head size of attention, of a decoder's steps always */
#define OTO_HEAD_MAX 128 /* the other one */
#define OTO_LANES    8   /* most lanes of one call of scores or values */

typedef struct {
    int mr, np;  /* most rows and panels of one tile */
    int whole;   /* rows are read, and sums written, in whole multiples of this, a divisor of mr;
                  * those beyond m are nobody's. 0: of 1 */
    int a_bytes; /* size of an element of a prepared row */
    int zero;    /* I8: the offset added to each element (128 where activations are unsigned) */
    int bits;    /* I8: of a weight of attention that fits an element: 7, 8, or 16 */
    /* x[k] → a[k_pad], the padding zero; returns the row's scale (I8), else 1. */
    float (*prepare)(const float *x, int k, void *a);
    /* c[m][np * 16] = a[m][..] · W, f32 (I8: int32), rows of c ldc elements apart. groups = k_pad /
     * group; lda and ldw in bytes, ldw from one panel to the next. */
    void (*tile)(int m, int np, int groups, const void *a, size_t lda, const void *w, size_t ldw,
                 void *c, size_t ldc);
    /* The same of the n groups at[0] < at[1] < … alone, as if those between them were zeros in a.
     * Not for F32, BF16; NULL where a table has none. */
    void (*tile_at)(int m, int np, int n, const uint16_t *at, const void *a, size_t lda,
                    const void *w, size_t ldw, void *c, size_t ldc);
    /* Around the tiles of a task, in its thread; or NULL. */
    void (*begin)(void);
    void (*end)(void);
    /* Softmax numerators as a prepared row: a[i] = exp(s[i] - max s), i < n, then zeros up to n_pad
     * (a multiple of the group); returns their sum. F32: a may be s. Not for I8. */
    float (*exp_row)(const float *s, int n, int n_pad, void *a);
} oto_mm;

/* Rows for which there must be room. */
static inline int oto_whole_rows(const oto_mm *mm, int rows)
{
    return mm->whole > 1 ? (rows + mm->whole - 1) / mm->whole * mm->whole : rows;
}

/* The first row of tile i of as few as rows fit in, of nearly equal height: 13 rows are 7 + 6, not
 * 12 + 1. One behind the last ends the rows. */
static inline int oto_tile_row(const oto_mm *mm, int rows, int i)
{
    const int tiles = (rows + mm->mr - 1) / mm->mr;

    return OTO_MIN(oto_whole_rows(mm, rows * i / tiles), rows);
}

static inline void oto_begin_tiles(const oto_mm *mm)
{
    if (mm->begin != NULL)
        mm->begin();
}

static inline void oto_end_tiles(const oto_mm *mm)
{
    if (mm->end != NULL)
        mm->end();
}

/* A row of integer sums that becomes a row of weights, for attention in 8 bits. */
typedef struct {
    const int32_t *sums; /* [n] */
    const int32_t *offset;
    const float *scale;
    float by; /* score i = ((sums[i] - offset[i]) * scale[i] + (i < thin_from ? 0 : more)) * by */
    float more;
    float *scores;           /* [n], room to work */
    int n, n_pad, thin_from; /* thin_from: a multiple of 16, or n */
    float unit;              /* a weight of 1: 255 or 16383, for weights of 8 or 14 bits */
    int parts;               /* elements of a weight: 1, or 2 of 7 bits each */
} oto_weigh;

/* What happens to a tile of sums before it is y. Pointers are at the tile's first output. */
typedef struct {
    const float *w_scale;   /* I8, else NULL: readable up to the end of the last panel */
    const int32_t *row_sum; /* I8 */
    const float *x_scale;   /* I8: [m] */
    int zero;               /* I8 */
    const float *bias;      /* or NULL; exactly n values */
    oto_act act;
    const float *residual; /* or NULL */
    size_t ldr;
    float *y;
    size_t ldy;
} oto_finish;

typedef struct oto_kernels_impl {
    oto_mm mm[3]; /* F32, BF16, I8 */
    /* c[m][ldc] → y[m][n] */
    void (*finish)(const oto_finish *f, const void *c, int ldc, int m, int n);
    /* Weights exp(score - max), 0 … unit, as elements of a row in a: of 1 part n_pad of them, zeros
     * from n on; of 2 their upper 7 bits first, then their lower 7 as as many elements. None has
     * `zero` added. Returns their sum. */
    float (*weigh)(const oto_weigh *w, void *a);
    /* pack8.h; d: head size */
    void (*pack_keys)(const float *k, size_t ld, int t, int d, char *out, float *scale,
                      int32_t *sums);
    void (*pack_values)(const float *v, size_t ld, int t, int d, char *out, float *scale);
    void (*layer_norm)(const float *x, const float *gamma, const float *beta, float eps, int n,
                       float *y);
    void (*to_bf16)(const float *x, int n, uint16_t *out); /* nearest even */
    void (*scale)(const float *x, int n, float by, float *out);

    /* Decoding attention over keys k[t][64] (one head), by type F32, BF16. With row: k of position
     * t is at k + row[t] * lane_stride elements + t * 64. scores: s[lane][t] = q[lane] · k[t], q is
     * [lanes][64], already scaled. lanes ≤ OTO_LANES. values: out[lane][64] = Σ_t p[lane][t] v[t],
     * t ascending. */
    void (*scores[2])(const float *q, int lanes, const void *k, const int16_t *row,
                      size_t lane_stride, int n_keys, float *s, size_t lds);
    void (*values[2])(const float *p, size_t ldp, int lanes, const void *v, const int16_t *row,
                      size_t lane_stride, int n_keys, float *out);
} oto_kernels_impl;

/* attention8.c: softmax(q kᵀ * scale) v for m ≤ OTO_MR_MAX queries [m][d], rows ldq apart, over
 * one head of oto_kv8_pack; with weights of 8 or 14 bits. work:
 * oto_attend8_bytes(t, d, m), aligned to 64 bytes. */
size_t oto_attend8_bytes(int t, int d, int m);
void oto_attend8(const void *head, int t, int d, const float *q, size_t ldq, int m, float scale,
                 int bits, float *out, size_t ldo, void *work);

/* GELU: x Φ(x) = max(x, 0) - f(|x|) with f(z) = z/2 erfc(z/√2) on [0, 5.5] in 16 pieces around
 * multiples of 5.5/15.5, each a polynomial of degree 4 (Chebyshev nodes) in the distance from its
 * centre, counted in those multiples; [power][piece]; |error| ≤ 3e-7. */
extern const float oto_gelu_table[5][16];

/* a b + c rounded once, like the vectors' instruction. Without that instruction in double, where
 * the product is exact; the two roundings differ from one in about one case of 2^29. */
static inline float oto_fma(float a, float b, float c)
{
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
    return __builtin_fmaf(a, b, c);
#else
    return (float)((double)a * b + c);
#endif
}

/* A tile function for tables of 6 rows × 1 panel: `form` is always inlined with a constant number
 * of rows; panels follow one another. OTO_PANEL_TILE_AT: of tile_at. */
#define OTO_PANEL_TILE(name, form, type) OTO_PANEL_TILE_OF(name, form, type, , )
#define OTO_PANEL_TILE_AT(name, form, type)                                                        \
    OTO_PANEL_TILE_OF(name, form, type, OTO_DECLARE_AT, OTO_PASS_AT)
#define OTO_DECLARE_AT const uint16_t *at,
#define OTO_PASS_AT    at,
#define OTO_PANEL_TILE_OF(name, form, type, declare_at, pass_at)                                   \
    static void name(int m, int np, int groups, declare_at const void *a, size_t lda,              \
                     const void *w, size_t ldw, void *c, size_t ldc)                               \
    {                                                                                              \
        for (int p = 0; p < np; p++) {                                                             \
            const char *wp = (const char *)w + (size_t)p * ldw;                                    \
            type *cp = (type *)c + (size_t)p * 16;                                                 \
            switch (m) {                                                                           \
            case 1:                                                                                \
                form(1, groups, pass_at a, lda, wp, cp, ldc);                                      \
                break;                                                                             \
            case 2:                                                                                \
                form(2, groups, pass_at a, lda, wp, cp, ldc);                                      \
                break;                                                                             \
            case 3:                                                                                \
                form(3, groups, pass_at a, lda, wp, cp, ldc);                                      \
                break;                                                                             \
            case 4:                                                                                \
                form(4, groups, pass_at a, lda, wp, cp, ldc);                                      \
                break;                                                                             \
            case 5:                                                                                \
                form(5, groups, pass_at a, lda, wp, cp, ldc);                                      \
                break;                                                                             \
            default:                                                                               \
                form(6, groups, pass_at a, lda, wp, cp, ldc);                                      \
            }                                                                                      \
        }                                                                                          \
    }

/* A table of the functions that each file has under these names. */
#define OTO_TABLE(text, which)                                                                     \
    {                                                                                              \
        .name = text, .impl = &which, .dot_f32 = dot_f32, .ln_max_f32 = ln_max_f32,                \
        .argmax_f32 = argmax_f32, .above_f32 = above_f32, .logsumexp_f32 = logsumexp_f32           \
    }

extern const oto_kernels oto_kernels_scalar, oto_kernels_avx2, oto_kernels_avxvnni,
    oto_kernels_avx512, oto_kernels_avx512bf16, oto_kernels_amx, oto_kernels_neon;

/* avxvnni.c: I8's tiles of avx2.c's table for VNNI. Nothing of it is to be called without AVX2, nor
 * the tiles unless usable. */
bool oto_avxvnni_usable(void);
void oto_avxvnni_tile(int m, int np, int groups, const void *a, size_t lda, const void *w,
                      size_t ldw, void *c, size_t ldc);
void oto_avxvnni_tile_at(int m, int np, int n, const uint16_t *at, const void *a, size_t lda,
                         const void *w, size_t ldw, void *c, size_t ldc);

/* amx.c: I8's tile of avx512.c's table for AMX, of at least a few rows; whole sixteens. Not to be
 * called unless usable, which asks the system for the registers. */
#define OTO_AMX_ROWS 16
bool oto_amx_usable(void);
void oto_amx_begin(void);
void oto_amx_end(void);
/* 4 × rounds products of tiles, for the peak: 2 × 16³ × 4 operations each. */
void oto_amx_multiply(int rounds);
void oto_amx_tile(int m, int np, int groups, const void *a, size_t lda, const void *w, size_t ldw,
                  void *c, size_t ldc);

/* The i-th table this CPU can run, best first, or NULL: for tests. */
const oto_kernels *oto_cpu_table_at(int i);
/* Makes a table current by name: what OTOLITH_CPU does. Not while a pool is at work. */
int oto_cpu_select(const char *name, oto_err *e) OTO_CHECK;

#endif
