/* layers (private to models/): the parts that FunASR's networks are made of, under the names of
 * their checkpoints: "NAME.weight" and "NAME.bias", packed, bound and run; and the stack of SAN-M
 * blocks that Paraformer, SenseVoice and the punctuation model share.
 *
 * A block (https://arxiv.org/abs/2006.01713; FunASR funasr/models/sanm/encoder.py):
 *
 *   h = norm1(x);  q | k | v = qkv(h);  m = v + Σ_j taps[j] v[t - left + j]     the memory
 *   x = softmax(q kᵀ / √d_k) v → out, + m, + x where the block is as wide as what it reads
 *   x = x + w2(relu(w1(norm2(x))))
 */
#ifndef OTO_LAYERS_H
#define OTO_LAYERS_H

#include "models/family.h"

/* ---- dense layers and norms ---- */

typedef struct {
    oto_mat w;
    const float *b; /* [n], or NULL */
} oto_dense;

typedef struct {
    const float *g, *b; /* [n] */
    int n;
    float eps;
} oto_norm;

/* Of a file to pack: its "general.architecture"; the number of tensors named after this pattern,
 * "#" counting from 0; the rows of a matrix, which must be within [least, most]. */
bool oto_is_architecture(const oto_weights *w, const char *name);
int oto_count_layers(const oto_weights *w, const char *pattern);
int oto_count_rows(const oto_weights *w, const char *name, int64_t least, int64_t most, int *out,
                   oto_err *e) OTO_CHECK;

/* The type of matrices in a file of this precision. */
oto_dtype oto_dense_type(oto_compute compute);
int oto_dense_pack(const oto_weights *src, oto_gguf_writer *dst, const char *name, oto_dtype type,
                   int n, int k, bool bias, oto_arena *a, oto_err *e) OTO_CHECK;
int oto_dense_bind(const oto_weights *w, const char *name, oto_dtype type, int n, int k, bool bias,
                   oto_dense *out, oto_err *e) OTO_CHECK;
int oto_norm_pack(const oto_weights *src, oto_gguf_writer *dst, const char *name, int n,
                  oto_arena *a, oto_err *e) OTO_CHECK;
int oto_norm_bind(const oto_weights *w, const char *name, int n, float eps, oto_norm *out,
                  oto_err *e) OTO_CHECK;
/* A vector of n, whatever its shape. */
int oto_vector_pack(const oto_weights *src, oto_gguf_writer *dst, const char *name, int n,
                    oto_arena *a, oto_err *e) OTO_CHECK;
/* A filter over time for each channel, [d][1][taps] in checkpoints and [taps][d] in FunASR's GGUF,
 * to [taps][d], oldest first. */
int oto_taps_pack(const oto_weights *src, oto_gguf_writer *dst, const char *name, int taps, int d,
                  oto_arena *a, oto_err *e) OTO_CHECK;

/* The vocabulary, a list of n strings under `key`, as "pieces"; bound as slices of the map. */
int oto_pieces_pack(const oto_weights *src, oto_gguf_writer *dst, const char *key, int n,
                    oto_arena *a, oto_err *e) OTO_CHECK;
int oto_pieces_bind(const oto_weights *w, int n, oto_arena *a, oto_slice **out,
                    oto_err *e) OTO_CHECK;

/* y [m][n] = act(x [m][k] Wᵀ + b) + residual, rows one after the other; y may be residual. */
void oto_dense_run(oto_pool *pool, const oto_dense *l, const float *x, int m, oto_act act,
                   const float *residual, float *y);
void oto_dense_rows(oto_pool *pool, int thread, const oto_dense *l, const float *x, int m,
                    oto_act act, const float *residual, float *y);
void oto_norm_run(oto_pool *pool, const oto_norm *l, const float *x, int m, float *y);

/* Rows [from, to) of y [n][d] += v + Σ_j taps[j] v[t - left + j], rows of v ld apart, none beyond
 * [0, n). */
void oto_memory_rows(const float *taps, int n_taps, int left, const float *v, size_t ld, int n,
                     int d, int from, int to, float *y);

/* ---- LSTM (lstm.c) ---- */

/* One direction of one layer, as PyTorch's: gates i, f, g, o; h and c are d wide. */
typedef struct {
    oto_dense in; /* [4 d][k]; its bias is the sum of both of the checkpoint's */
    oto_mat back; /* [4 d][d] */
    int d;
} oto_lstm;
/* NAME.weight_ihSUFFIX, NAME.weight_hhSUFFIX, NAME.bias_ihSUFFIX and NAME.bias_hhSUFFIX; the suffix
 * is "_l0", "_l1" and so on, or "_l0_reverse". */
int oto_lstm_pack(const oto_weights *src, oto_gguf_writer *dst, const char *name,
                  const char *suffix, oto_dtype type, int d, int k, oto_arena *a,
                  oto_err *e) OTO_CHECK;
int oto_lstm_bind(const oto_weights *w, const char *name, const char *suffix, oto_dtype type, int d,
                  int k, oto_lstm *out, oto_err *e) OTO_CHECK;
/* One step of m sequences, in the calling thread. gates: m rows of 4 d, ld floats apart, hold what
 * `in` makes of this step's input and are overwritten; h, c [m][d]: before and after. The result of
 * a sequence does not depend on the others. */
void oto_lstm_step(oto_pool *pool, int thread, const oto_lstm *l, float *gates, size_t ld, int m,
                   float *h, float *c);

/* ---- SAN-M ---- */

typedef struct {
    int in; /* width of what it reads: x has d */
    oto_norm norm1, norm2;
    oto_dense qkv, out, w1, w2;
    const float *taps; /* [n_taps][d] */
} oto_sanm_layer;

typedef struct {
    int in, d, heads, ffn, n_taps,
        left; /* left: taps before the present one; heads of 64 or 128
                 channels, or of 32, whose attention is never in 8 bits */
    float eps;
    oto_dtype type;
} oto_sanm_dims;

/* PREFIX.norm1, PREFIX.self_attn.linear_q_k_v and so on. */
int oto_sanm_pack(const oto_weights *src, oto_gguf_writer *dst, const char *prefix,
                  const oto_sanm_dims *s, int in, oto_arena *a, oto_err *e) OTO_CHECK;
int oto_sanm_bind(const oto_weights *w, const char *prefix, const oto_sanm_dims *s, int in,
                  oto_sanm_layer *out, oto_err *e) OTO_CHECK;

/* The buffers of a stack. Sequences stand in it row after row: what is done row by row is done to
 * all of them at once, attention and memory to each. */
typedef struct {
    oto_sanm_dims dims;
    oto_pool *pool;
    int max_rows;
    float *in;      /* [max_rows][in]: what the first layer reads */
    float *x;       /* [max_rows][d]: what comes out */
    float *h;       /* [max_rows][max(in, d)] */
    float *big;     /* [max_rows][max(3 d, ffn)] */
    float *inside;  /* [max_rows + 12][ffn] */
    float *place;   /* [max_rows][in]: the code of each position */
    char *kv8;      /* keys and values of one sequence in 8 bits */
    const int *end; /* [n_seq]: the row behind each sequence; set before running */
    int n_seq;
    /* As FunASR's SANMVadEncoder: no row sees those behind it, but in the last of several layers
     * all; there the rows before `pause` - 1 see those before `pause` alone, where that is in the
     * sequence. Memory is not masked. Unless set all see all. */
    bool looks_back;
    int pause;
    oto_stop stop; /* asked before each layer; none unless set */
} oto_sanm;
size_t oto_sanm_bytes(const oto_sanm_dims *s, int max_rows);
int oto_sanm_new(const oto_sanm_dims *s, int max_rows, oto_pool *pool, oto_arena *a, oto_sanm *out,
                 oto_err *e) OTO_CHECK;
/* in = in * √d + code of its place in the sequence. */
void oto_sanm_place(oto_sanm *s);
/* layers[0] reads s->in when it is the stack's first (`first`), else s->x; then `last`. The result
 * of a sequence does not depend on the others. False: stopped on the way. */
bool oto_sanm_run(oto_sanm *s, const oto_sanm_layer *layers, int n_layers, bool first,
                  const oto_norm *last);
/* out [m][heads * d_k] = attention of queries over the rows k, v of one sequence; with the buffers
 * of s. */
void oto_sanm_attend(oto_sanm *s, const float *q, size_t ldq, int m, const float *k, const float *v,
                     size_t ldkv, int t, float *out);

#endif
