/* paraformer (private to the folder): the network and its state.
 *
 *   rows of 560 -> SAN-M encoder (50 × 512) -> H
 *     -> predictor: convolution over 3 rows, ReLU -> a weight in (0, 1) for each row (CIF)
 *     -> an embedding for each full unit of weight: E, one row a token
 *     -> decoder (16 × 512): feed-forward, memory over tokens, attention to H -> tokens
 *
 * Everything in one pass: no token waits for the one before (https://arxiv.org/abs/2206.08317;
 * FunASR funasr/models/paraformer). */
#ifndef OTO_PARAFORMER_H
#define OTO_PARAFORMER_H

#include "models/layers.h"
#include "models/utterance.h"

#define PF_IN      OTO_LFR_DIM
#define PF_D       512
#define PF_TAPS    11
#define PF_ROWS    512 /* that go through the network together: a window of 30 s, or several */
#define PF_LOGITS  64  /* tokens whose logits are there at a time */
#define PF_MAX_DEC 64
#define PF_MAX_ENC 128

typedef struct {
    oto_norm norm1, norm2, norm3;
    oto_dense w1, w2, q, kv, out; /* w2 has no bias; decoders3 has neither attention nor norm2, 3 */
    oto_norm inner;               /* within the feed-forward layer */
    const float *taps;            /* [11][512] */
} pf_decoder_layer;

typedef struct {
    oto_arena *a;
    oto_sanm_dims sanm;
    int heads, ffn, dec_ffn, n_enc, n_dec, n_vocab;
    float tail; /* weight of the row of zeros behind each window */
    const float *shift, *scale;
    oto_sanm_layer *enc; /* [n_enc] */
    oto_norm enc_norm;
    oto_dense cif_conv;   /* [512][3 * 512], tap-major; f32 in every precision */
    const float *cif_out; /* [512] */
    float cif_bias;
    pf_decoder_layer *dec; /* [n_dec + 1], the last is decoders3 */
    oto_norm dec_norm;
    oto_dense out;
    oto_slice *pieces; /* [n_vocab] */
} paraformer;

bool oto_pf_matches(const oto_weights *src);
int oto_pf_pack(const oto_weights *src, oto_compute compute, oto_gguf_writer *dst, oto_arena *a,
                oto_err *e);
int oto_pf_open(const oto_weights *packed, oto_compute compute, void **impl, oto_model_info *info,
                oto_err *e);
void oto_pf_close(void *impl);

/* ---- network.c ---- */

typedef struct {
    const paraformer *m;
    oto_pool *pool;
    oto_sanm sanm;
    float *alpha;    /* [PF_ROWS + windows]: weights, the tail's behind each window's */
    float *e;        /* [PF_ROWS + 2][512]: the tokens' rows */
    float *t, *q;    /* [PF_ROWS][512] */
    float *wide;     /* [PF_ROWS][dec_ffn] */
    float *logits;   /* [PF_LOGITS][n_vocab] */
    int32_t *ids;    /* [PF_ROWS] */
    float *log_prob; /* [PF_ROWS] */
    int *fire;       /* [PF_ROWS + 2]: the row in which each token is complete */
    int *n_rows;     /* [windows]: end of each in the group */
    int *n_tokens;   /* [windows]: likewise of their tokens */
} pf_network;
size_t oto_pf_network_bytes(const paraformer *m, int max_windows);
int oto_pf_network_new(const paraformer *m, int max_windows, oto_pool *pool, oto_arena *a,
                       pf_network *out, oto_err *e);
/* From s->sanm.in, the features of n windows that end at n_rows, to ids, log_prob and fire. */
void oto_pf_encode(pf_network *s, int n);
void oto_pf_decode(pf_network *s, int n);

#endif
