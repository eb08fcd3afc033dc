/* paraformer (private to the folder): the network and its state.
 *
 *   rows of 560 -> SAN-M encoder (50 × 512) -> H
 *     -> predictor: convolution over 3 rows, ReLU -> a weight in (0, 1) for each row (CIF)
 *     -> an embedding for each full unit of weight: E, one row a token
 *     -> decoder (16 × 512): feed-forward, memory over tokens, attention to H -> tokens
 *
 * Everything in one pass: no token waits for the one before (https://arxiv.org/abs/2206.08317;
 * FunASR funasr/models/paraformer). Two parts more where the weights have them: finer times
 * (timestamps.c) and hot words (hotwords.c), which a second decoder hears (seaco.c) or the last
 * layer of this one (contextual.c). */
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

/* ---- attention of a decoder's tokens to rows (attention.c) ---- */

typedef struct {
    oto_norm norm; /* of what asks */
    oto_dense q, kv, out;
} pf_attention;

/* PREFIX.norm3 and PREFIX.src_attn. */
int oto_pf_attention_pack(const oto_weights *src, oto_gguf_writer *dst, const char *prefix,
                          oto_dtype type, oto_arena *a, oto_err *e) OTO_CHECK;
int oto_pf_attention_bind(const oto_weights *w, const char *prefix, oto_dtype type, float eps,
                          pf_attention *out, oto_err *e) OTO_CHECK;

/* ---- decoders: the main one and that of hot words (decoder.c) ---- */

typedef struct {
    oto_norm norm1, norm2;
    oto_dense w1, w2;  /* w2 has no bias */
    oto_norm inner;    /* within the feed-forward layer */
    const float *taps; /* [n_taps][512] */
    pf_attention attention;
} pf_decoder_layer; /* of decoders3 only norm1, w1, inner, w2 */

/* What the last layer of a contextual decoder has beside the others (contextual.c). */
typedef struct {
    pf_attention words;
    oto_dense of_sound, of_words; /* [512][512], no bias */
} pf_contextual;

typedef struct {
    int n, ffn, n_taps;
    bool contextual;
    pf_decoder_layer *layers; /* [n + 1], the last is decoders3 */
    oto_norm norm;
    pf_contextual both; /* where it is contextual */
} pf_decoder;

/* PREFIX.decoders.#, PREFIX.decoders3.0 and PREFIX.after_norm; of a contextual decoder
 * PREFIX.last_decoder behind the first. `sizes` fills n, ffn and n_taps from a foreign file's
 * tensors; the others take them. */
int oto_pf_decoder_sizes(const oto_weights *src, const char *prefix, pf_decoder *d,
                         oto_err *e) OTO_CHECK;
int oto_pf_decoder_pack(const oto_weights *src, oto_gguf_writer *dst, const char *prefix,
                        const pf_decoder *d, oto_dtype type, oto_arena *a, oto_err *e) OTO_CHECK;
int oto_pf_decoder_bind(const oto_weights *w, const char *prefix, oto_dtype type, float eps,
                        oto_arena *a, pf_decoder *d, oto_err *e) OTO_CHECK;

/* Is this foreign file's decoder contextual? PREFIX.bias_decoder and PREFIX.bias_output. */
bool oto_pf_contextual_there(const oto_weights *src);
int oto_pf_contextual_pack(const oto_weights *src, oto_gguf_writer *dst, const char *prefix,
                           oto_dtype type, oto_arena *a, oto_err *e) OTO_CHECK;
int oto_pf_contextual_bind(const oto_weights *w, const char *prefix, oto_dtype type, float eps,
                           pf_contextual *out, oto_err *e) OTO_CHECK;

/* ---- finer times (timestamps.c) ---- */

#define PF_UP         3  /* steps of 20 ms in a row of 60 */
#define PF_TIME_STEPS 48 /* whose gates are there at a time */

typedef struct {
    oto_dense up;     /* [3 * 512][512]: a row to its three steps */
    oto_lstm lstm[2]; /* forwards, backwards */
    const float *out; /* [2][512] */
    float bias, smooth, noise;
} pf_times;

typedef struct {
    float *gates[2];    /* [windows][PF_TIME_STEPS][4 * 512] */
    float *h[2], *c[2]; /* [windows][512] */
    float *z[2];        /* [PF_UP * PF_ROWS] */
    float *alpha;       /* [PF_UP * PF_ROWS]: weights before they are scaled */
    int *fire;          /* [PF_UP * PF_ROWS] */
    int *order;         /* [windows]: the longest first */
} pf_timer;

typedef struct {
    int64_t start_ms, end_ms;
} pf_span;

/* Are the tensors there? */
bool oto_pf_times_there(const oto_weights *src);
int oto_pf_times_pack(const oto_weights *src, oto_gguf_writer *dst, oto_dtype type, oto_arena *a,
                      oto_err *e) OTO_CHECK;
int oto_pf_times_bind(const oto_weights *w, oto_dtype type, pf_times *t, oto_err *e) OTO_CHECK;
/* Times of n_text pieces from the weights alpha [n] of steps of 20 ms, when n_tokens were counted;
 * alpha is scaled in place, fire [n] is scratch. As FunASR's ts_prediction_lfr6_standard, but
 * pieces that it leaves without a time stand at the end of the last that has one. False, and
 * nothing in out, when there is no time at all. */
bool oto_pf_spans(float *alpha, int n, int n_tokens, int n_text, int *fire, pf_span *out);

/* ---- hot words: text to ids (phrases.c) ---- */

#define PF_HOT_WORDS  500 /* of a list; what is beyond is left out */
#define PF_HOT_TOKENS 32  /* of a word; longer ones are left out */

typedef struct {
    const oto_slice *pieces;
    int n;
    int32_t *slots; /* [mask + 1]: hash to id, -1 none */
    uint32_t mask;
    oto_slice dictionary; /* lines "word piece piece", sorted by word; or empty */
} pf_lexicon;

/* What of a list is not used. */
typedef struct {
    int n;          /* words */
    char first[64]; /* of them */
} pf_left_out;

/* FunASR's seg_dict, metadata "pf.seg_dict" (the file's text), sorted; nothing where there is none.
 */
int oto_pf_dictionary_pack(const oto_weights *src, oto_gguf_writer *dst, oto_arena *a,
                           oto_err *e) OTO_CHECK;
int oto_pf_lexicon_bind(const oto_weights *w, const oto_slice *pieces, int n, oto_arena *a,
                        pf_lexicon *out, oto_err *e) OTO_CHECK;
/* Words of a list ("a, b" or lines) → ids [PF_HOT_WORDS][PF_HOT_TOKENS] and lengths. Returns how
 * many. */
int oto_pf_phrases(const pf_lexicon *x, oto_slice text, int32_t *ids, int *lengths,
                   pf_left_out *left);

/* ---- hot words: their rows (hotwords.c), and SeACo's decoder (seaco.c) ---- */

#define PF_HOT_KEPT  50 /* that a window attends to: the best */
#define PF_HOT_ROWS  (PF_HOT_WORDS + 1)
#define PF_HOT_LISTS 4 /* that stay embedded */
#define PF_HOT_BYTES ((size_t)64 << 10)

typedef enum { PF_HOT_NONE, PF_HOT_SEACO, PF_HOT_CONTEXTUAL } pf_hot_kind;

typedef struct {
    pf_hot_kind kind;
    oto_mat embed; /* [n_vocab][512] */
    int n_lstm;
    oto_lstm lstm[2];
    pf_lexicon lexicon;
    /* SeACo's */
    pf_decoder dec;
    oto_dense out; /* [n_vocab][512] */
    int no_bias;   /* the id that says: no hot word here */
} pf_hotwords;

/* A list, embedded. */
typedef struct {
    char *text; /* [PF_HOT_BYTES] */
    size_t n_text;
    float *rows; /* [PF_HOT_ROWS][512]; the last is that of <s> */
    int n;       /* rows; 1: no word is known */
    int64_t used;
} pf_hot_list;

typedef struct {
    pf_hot_list lists[PF_HOT_LISTS];
    int64_t clock;
    const pf_hot_list *now; /* of the present run, or NULL */
    pf_hot_list none;       /* that of <s> alone, which a contextual decoder hears without one */
    int32_t *ids;           /* [PF_HOT_ROWS][PF_HOT_TOKENS] */
    int *lengths, *order;   /* [PF_HOT_ROWS] */
    float *score;           /* [PF_HOT_ROWS] */
    float *kept;            /* [PF_HOT_KEPT + 1][512] */
    float *e0;              /* [PF_ROWS][512]: E, before the main decoder; contextual: scratch */
    float *hidden;          /* [PF_ROWS][512]: what the main decoder makes of it; likewise */
} pf_hot;

/* The embedding, encoder and dictionary of hot words; bind takes h->kind. */
int oto_pf_hot_pack(const oto_weights *src, oto_gguf_writer *dst, pf_hot_kind kind, int n_vocab,
                    oto_dtype type, oto_arena *a, oto_err *e) OTO_CHECK;
int oto_pf_hot_bind(const oto_weights *w, int n_vocab, const oto_slice *pieces, oto_dtype type,
                    oto_arena *a, pf_hotwords *h, oto_err *e) OTO_CHECK;

bool oto_pf_seaco_there(const oto_weights *src);
int oto_pf_seaco_pack(const oto_weights *src, oto_gguf_writer *dst, int n_vocab, oto_dtype type,
                      oto_arena *a, oto_err *e) OTO_CHECK;
int oto_pf_seaco_bind(const oto_weights *w, int n_vocab, oto_dtype type, float eps, oto_arena *a,
                      pf_hotwords *h, oto_err *e) OTO_CHECK;

/* ---- the model (convert.c) ---- */

typedef struct {
    oto_arena *a;
    oto_sanm_dims sanm;
    int heads, ffn, n_enc, n_vocab;
    float tail; /* weight of the row of zeros behind each window */
    const float *shift, *scale;
    oto_sanm_layer *enc; /* [n_enc] */
    oto_norm enc_norm;
    oto_dense cif_conv;   /* [512][3 * 512], tap-major; f32 in every precision */
    const float *cif_out; /* [512] */
    float cif_bias;
    pf_decoder dec;
    oto_dense out;
    oto_slice *pieces; /* [n_vocab] */
    bool has_times;
    pf_times times;
    pf_hotwords hot;
} paraformer;

bool oto_pf_matches(const oto_weights *src);
int oto_pf_pack(const oto_weights *src, oto_compute compute, oto_gguf_writer *dst, oto_arena *a,
                oto_err *e);
int oto_pf_open(const oto_weights *packed, oto_compute compute, void **impl, oto_model_info *info,
                oto_err *e);
void oto_pf_close(void *impl);

/* ---- a state (network.c) ---- */

typedef struct {
    const paraformer *m;
    oto_pool *pool;
    oto_sanm sanm;
    float *alpha;    /* [PF_ROWS + windows]: weights, the tail's behind each window's */
    float *e;        /* [PF_ROWS + 2][512]: the tokens' rows */
    float *t, *q;    /* [PF_ROWS][512] */
    float *wide;     /* [PF_ROWS][the widest of what stands in it] */
    float *logits;   /* [PF_LOGITS][n_vocab] */
    int32_t *ids;    /* [PF_ROWS] */
    float *log_prob; /* [PF_ROWS] */
    int *fire;       /* [PF_ROWS + 2]: the row in which each token is complete */
    int *n_rows;     /* [windows]: end of each in the group */
    int *n_tokens;   /* [windows]: likewise of their tokens */
    pf_timer timer;  /* where the model has times */
    pf_hot hot;      /* where it has hot words */
} pf_network;
size_t oto_pf_network_bytes(const paraformer *m, int max_windows);
int oto_pf_network_new(const paraformer *m, int max_windows, oto_pool *pool, oto_arena *a,
                       pf_network *out, oto_err *e);
/* From s->sanm.in, the features of n windows that end at n_rows, to ids, log_prob and fire. False:
 * s->sanm.stop said so between two layers. */
bool oto_pf_encode(pf_network *s, int n);
bool oto_pf_decode(pf_network *s, int n);
/* After encoding, where the model has times: s->timer.alpha. */
void oto_pf_time(pf_network *s, int n);

/* What tokens attend to: rows of 512; window i to those before end[i], or all to all of them. */
typedef struct {
    const float *rows;
    int n;
    const int *end; /* [windows] or NULL */
} pf_memory;
/* y = residual + attention of each window's tokens x to its rows; residual may be NULL or y. */
void oto_pf_attention_run(pf_network *s, const pf_attention *l, const pf_memory *memory,
                          const int *end, int windows, const float *x, const float *residual,
                          float *y);
/* How much the n tokens x of one window attend to each of the memory's rows, summed over heads and
 * tokens. */
void oto_pf_attention_scores(pf_network *s, const pf_attention *l, const pf_memory *memory, int n,
                             const float *x, float *score);
/* x += what the tokens of a contextual decoder's last layer hear of the memory and of s->hot.now.
 */
void oto_pf_contextual_run(pf_network *s, const pf_decoder *d, const pf_memory *memory,
                           const int *end, int windows, float *x);
/* Rows x of windows that end at `end` through the decoder, in place; the result is in s->t. False:
 * stopped. */
bool oto_pf_decoder_run(pf_network *s, const pf_decoder *d, const pf_memory *memory, const int *end,
                        int windows, float *x);
/* Behind a decoder: ids and log_prob of n tokens from `at` on by `out`, of the rows in s->t; those
 * whose best is `keep` stay as they are. */
void oto_pf_pick(pf_network *s, const oto_dense *out, int at, int n, int keep);
/* oto_pf_attention_scores in layer `at`, behind those before it; x is used up. */
void oto_pf_decoder_scores(pf_network *s, const pf_decoder *d, int at, const pf_memory *memory,
                           int n, float *x, float *score);

/* Before a run: its list, from those embedded or anew; s->hot.now. NULL or no known word: none, or
 * the row of <s> alone for a contextual decoder. */
void oto_pf_hot_set(pf_network *s, const char *hotwords);
/* SeACo, after the main decoder, with a list: tokens in which a hot word is heard become its own.
 * False: stopped. */
bool oto_pf_seaco_run(pf_network *s, int windows);

#endif
