/* kernels: the hot operations, one table of function pointers per instruction set, chosen once at
 * run time; and above the table: a fixed thread pool, packed matrices and the threaded products and
 * attention that models call.
 *
 * Rule: scalar.c defines every operation; the others give the same to the last bit (tests/kernels),
 * so that a text does not depend on the machine; only products in bf16 by VDPBF16PS may differ, in
 * the order of their sums. Lengths are any value ≥ 1: no operation asks its caller to pad.
 */
#ifndef OTO_KERNELS_H
#define OTO_KERNELS_H

#include "base/base.h"

/* ---- element types and packed matrices --------------------------------------------------------
 */

typedef enum { OTO_F32 = 0, OTO_BF16 = 1, OTO_I8 = 2, OTO_F16 = 3 } oto_dtype;

/* A weight matrix W[n][k] (n outputs, k inputs: y = x Wᵀ), packed for the kernels and borrowed from
 * a read-only map. One layout per type serves every instruction set. Rows are grouped in panels of
 * 16 outputs, the last one padded with zeros; inside a panel, k advances in groups that are the
 * width of the dot-product instructions: F32   [ceil(n/16)][k    ][16]      one float BF16
 * [ceil(n/16)][k↑2/2][16][2]   k padded to even with zeros I8    [ceil(n/16)][k↑4/4][16][4]   k
 * padded to a multiple of 4 with zeros; one scale per row: w = q * scale[row], q in [-127, 127];
 * row_sum[row] = Σ_k q (for unsigned-activation instructions) Data start on a 64-byte boundary.
 * scale and row_sum hold n values padded to a multiple of 16. */
typedef struct {
    oto_dtype type;
    int n, k;
    const void *data;
    const float *scale;     /* I8 only */
    const int32_t *row_sum; /* I8 only */
} oto_mat;

#define OTO_PANEL 16
/* Bytes of `data` for a packed n × k matrix; 0 when it does not fit in size_t. */
size_t oto_pack_bytes(oto_dtype type, int n, int k);
/* Packs w[n][k] (row stride ld floats) into data (oto_pack_bytes), and for I8 scale and row_sum (n
 * rounded up to 16 each). I8 is symmetric per row: scale = max|row| / 127, q =
 * round-to-nearest-even(w / scale). */
void oto_pack(oto_dtype type, const float *w, int n, int k, size_t ld, void *data, float *scale,
              int32_t *row_sum);
/* row → out[k] as f32 (token embeddings are read from the packed output projection). */
void oto_mat_row(const oto_mat *w, int row, float *out);

/* ---- the CPU (cpu.c) ---------------------------------------------------------------------------
 */

/* Text names of the tables in order of preference, best first: "amx" (avx512 and tiles of bytes),
 * "avx512bf16" (not on Intel, whose instruction is slow), "avx512" (F/BW/DQ/VL/VNNI), "avxvnni"
 * (avx2 and AVX-VNNI), "avx2" (AVX2/FMA/F16C), "neon", "scalar".
 * OTOLITH_CPU=name forces one; an unknown or unsupported name is an error. */
int oto_cpu_init(oto_err *e) OTO_CHECK; /* once, at start-up; later calls do nothing */
const char *oto_cpu_table(void);
/* "avx2 fma f16c avx512f … amx": what the CPU offers, for --version. */
const char *oto_cpu_features(void);

/* ---- threads (pool.c) ---------------------------------------------------------------------------
 */

/* A fixed pool. One parallel-for runs at a time; the caller takes part. Threads spin briefly, then
 * sleep. Each thread has a scratch buffer of scratch_bytes, made once. */
typedef struct oto_pool oto_pool;
int oto_pool_new(int n_threads, size_t scratch_bytes, oto_pool **out, oto_err *e) OTO_CHECK;
void oto_pool_free(oto_pool *p);
int oto_pool_threads(const oto_pool *p);
/* Calls fn(arg, task, thread) for task = 0 .. n_tasks - 1, in any order, and returns when all are
 * done. */
void oto_pool_run(oto_pool *p, int n_tasks, void (*fn)(void *arg, int task, int thread), void *arg);
void *oto_pool_scratch(oto_pool *p, int thread, size_t *n_bytes);
#define OTO_POOL_SCRATCH_BYTES ((size_t)4 << 20) /* what products and attention need at most */

/* ---- products (gemm.c)
 * --------------------------------------------------------------------------- */

typedef enum {
    OTO_ACT_NONE,
    OTO_ACT_RELU,
    OTO_ACT_GELU /* exact: x Φ(x), |error| ≤ 1e-6 */
} oto_act;

/* y[m][n] = act(x[m][k] Wᵀ + bias) + residual.
 * x and residual are f32 with row strides in floats; y likewise (y may equal residual: in-place
 * residual addition). W F32: f32 throughout. BF16: x is rounded to bf16, products summed in f32.
 * I8: each row of x is quantised symmetrically (scale = max|row| / 127), integer products, exact,
 * then scaled in f32. The result of a row depends neither on m, nor on the other rows, nor on the
 * number of threads (batch-invariant). */
typedef struct {
    const oto_mat *w;
    const float *x;
    size_t ldx;
    int m;
    const float *bias; /* [n] or NULL */
    oto_act act;
    const float *residual; /* or NULL */
    size_t ldr;
    float *y;
    size_t ldy;
} oto_linear;
void oto_linear_run(oto_pool *pool, const oto_linear *a);
/* The same in the calling thread, which runs a task of the pool as number `thread`: for a block of
 * rows that one task carries through several operations while it is near. So below. */
void oto_linear_rows(oto_pool *pool, int thread, const oto_linear *a);

/* 1-D convolution as a product, kernel 3, padding 1: y[t][n] = act(Σ_j Σ_c x[t*stride + j - 1][c]
 * W[n][j*c_in + c] + b) x [t_in][c_in] frame-major, rows out of range are zero; w packed from
 * [n][3*c_in] (tap-major); y [t_out][n], t_out = (t_in - 1) / stride + 1; add [t_out][n] (position
 * embedding) or NULL, added after act. */
typedef struct {
    const oto_mat *w;
    const float *x;
    int t_in, c_in, stride;
    const float *bias;
    oto_act act;
    const float *add;
    float *y;
} oto_conv3;
void oto_conv3_run(oto_pool *pool, const oto_conv3 *a);

/* y = layer_norm(x) * gamma + beta over rows of n; x, y [m][n] with strides; y may be x. eps as
 * given. */
void oto_layer_norm(oto_pool *pool, const float *x, size_t ldx, const float *gamma,
                    const float *beta, float eps, int m, int n, float *y, size_t ldy);
void oto_layer_norm_rows(const float *x, size_t ldx, const float *gamma, const float *beta,
                         float eps, int m, int n, float *y, size_t ldy);
/* In place over rows. */
void oto_softmax(oto_pool *pool, float *x, size_t ldx, int m, int n);

/* ---- attention (attention.c)
 * ---------------------------------------------------------------------- */

/* Keys and values as attention reads them; head size d = 64. F32 and BF16 are stored by head:
 * k[h][t][64], v[h][t][64]; `head_stride` elements from one head to the next. I8: k is what
 * oto_kv8_pack made, head_stride is oto_kv8_bytes, v is not used; for cross-attention alone. */
typedef struct {
    oto_dtype type;
    const void *k, *v;
    size_t head_stride;
} oto_kv;

/* out[i][h*d..] = softmax(q kᵀ * scale) v for m queries over t keys, for all heads, no mask. Rows
 * are f32 with strides in floats. Blocked, no score matrix in memory. type F32, or BF16: operands
 * rounded to bf16, sums f32. Parallel over heads and blocks of queries. */
typedef struct {
    const float *q, *k, *v;
    size_t ldq, ldkv;
    int m, t, n_heads;
    int d; /* of a head: a multiple of 16, up to 128 */
    oto_dtype type;
    float scale;
    float *out;
    size_t ldo;
} oto_attention;
void oto_attention_run(oto_pool *pool, const oto_attention *a);

/* Rows of x [t][n_heads*64] (stride ldx floats) → kv layout at position t0: dst[h][t0 + i][64] of
 * the given type. */
void oto_kv_store(oto_dtype type, const float *x, size_t ldx, int t, int n_heads, void *dst,
                  size_t head_stride, int t0);

/* Keys and values k, v [t][n_heads*d] (rows ld floats apart; d 64 or 128) packed in 8 bits, one
 * head after the other, oto_kv8_bytes(t, d) each, dst aligned to 64 bytes. K less its mean over t,
 * symmetric, a scale for each key; V symmetric, a scale for each channel. Attention over them
 * quantises queries to 8 bits and weights to 14; its sums are exact integers. From thin_from on (a
 * multiple of OTO_PANEL, or t when there are none) each key stands for OTO_KV8_THIN alike. */
#define OTO_KV8_THIN 4
size_t oto_kv8_bytes(int t, int d);
void oto_kv8_pack(oto_pool *pool, const float *k, const float *v, size_t ld, int t, int thin_from,
                  int n_heads, int d, void *dst);
/* out [m][n_heads*d] = attention of the queries q [m][n_heads*d] over all t keys; rows ldq and
 * ldo floats apart. Parallel over heads and blocks of queries, or in the calling thread. */
void oto_kv8_attend(oto_pool *pool, const void *kv8, int t, int n_heads, int d, const float *q,
                    size_t ldq, int m, float scale, float *out, size_t ldo);
void oto_kv8_attend_rows(oto_pool *pool, int thread, const void *kv8, int t, int n_heads, int d,
                         const float *q, size_t ldq, int m, float scale, float *out, size_t ldo);
/* The first n of the t keys of a head of 64, less their mean, → out [n][64]. */
void oto_kv8_keys(const void *head, int t, int n, float *out);

/* One decoding step: for each lane i, out[i][h*64..] = softmax(q_i K_iᵀ * scale) V_i over n_keys(i)
 * keys. Cross-attention: lanes of one window share kv (row = NULL). Lanes with the same kv pointers
 * are processed together so that keys are read once. Self-attention: row[i] != NULL gives, for each
 * position t < n_keys, the lane whose cache holds it (beam search moves indices, not caches): the
 * key is at kv of `base + row[t] * lane_stride` elements. */
typedef struct {
    oto_kv kv;          /* base of the lane's window (cross), or of lane 0 (self) */
    const int16_t *row; /* NULL, or [n_keys] */
    int n_keys;
} oto_attn_lane;
void oto_attention_step(oto_pool *pool, const float *q, size_t ldq, int n_lanes,
                        const oto_attn_lane *lanes, size_t lane_stride, int n_heads, float scale,
                        float *out, size_t ldo);

/* ---- small vector operations through the table
 * ------------------------------------------------------ */

typedef struct oto_kernels {
    const char *name;
    /* micro-kernels of gemm.c and attention.c: see kernels_impl.h */
    const struct oto_kernels_impl *impl;
    float (*dot_f32)(const float *a, const float *b, int n);
    void (*ln_max_f32)(float *x, int n,
                       float floor); /* x = ln(max(x, floor)), |error| ≤ 2e-6 relative to |ln|+1 */
    int (*argmax_f32)(const float *x, int n);             /* first of equals */
    int (*above_f32)(const float *x, int n, float floor); /* first i with x[i] > floor, or n */
    float (*logsumexp_f32)(const float *x, int n); /* stable; -inf entries allowed; error ≤ 1e-5 */
} oto_kernels;
const oto_kernels *oto_k(void); /* valid after oto_cpu_init */

/* ---- the ceiling (peak.c)
 * ------------------------------------------------------------------------- */

/* The most that the pool's threads reach with the current table's dot-product instruction of this
 * type on registers alone, in 1e9 multiplications and additions a second. The best of several runs
 * within `seconds`. */
double oto_peak_gops(oto_pool *pool, oto_dtype type, double seconds);
/* 1e9 bytes a second that the pool's threads read from memory together, the best of a few passes
 * over more than the last cache holds (at most an eighth of the machine's memory). */
int oto_peak_memory_gbs(oto_pool *pool, double *out, oto_err *e) OTO_CHECK;

#endif
