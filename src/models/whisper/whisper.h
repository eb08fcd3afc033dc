/* whisper (private to this folder): the contract between the network (network.c), the decoding
 * rules (decode.c) and the packing (convert.c). Sources: openai-whisper whisper/model.py,
 * CTranslate2 src/models/whisper.cc. */
#ifndef OTO_WHISPER_H
#define OTO_WHISPER_H

#include "base/base.h"
#include "kernels/kernels.h"
#include "models/models.h"
#include "text/text.h"
#include "weights/weights.h"

#define OTO_WHISPER_FRAMES 1500 /* encoder positions of 20 ms */
#define OTO_WHISPER_CTX    448  /* decoder positions */

/* The mapped, read-only model. */
typedef struct oto_whisper oto_whisper;

typedef struct {
    int width, n_heads, n_layers_enc, n_layers_dec, n_mels, n_vocab;
    bool multilingual;
    /* token ids */
    int eot, sot, lang_first, n_langs, translate, transcribe, sot_lm, sot_prev, no_speech,
        no_timestamps;
    int timestamp_first; /* <|0.00|>; ids from here are 20 ms steps */
    const int32_t
        *suppress; /* the model's list of non-speech tokens (config's suppress_ids; else derived) */
    int n_suppress;
    const int32_t *suppress_begin; /* blank and eot */
    int n_suppress_begin;
    const int32_t *alignment_heads; /* [n_alignment_heads][2]: layer, head; else the upper half of
                                       the layers' heads */
    int n_alignment_heads;
    oto_compute compute;
} oto_whisper_dims;
const oto_whisper_dims *oto_whisper_dims_get(const oto_whisper *m);
const oto_tokens *oto_whisper_tokens(const oto_whisper *m);
const oto_whisper *oto_whisper_of(const oto_model *m); /* NULL when m is of another family */

/* Activations, cross-attention keys and values of `max_windows` windows, self-attention caches of
 * `max_lanes` lanes. */
typedef struct oto_whisper_state oto_whisper_state;
size_t oto_whisper_state_bytes(const oto_whisper *m, int max_windows, int max_lanes);
int oto_whisper_state_new(const oto_whisper *m, int max_windows, int max_lanes, oto_pool *pool,
                          oto_arena *a, oto_whisper_state **out, oto_err *e) OTO_CHECK;

/* mel [3000][n_mels] → cross keys and values of window slot `window` (0 … max_windows-1). Of its
 * OTO_WHISPER_FRAMES frames, all of which the model was trained on, the first `heard` are heard; of
 * the others, which must be silence, none, or when `thin` every fourth, weighing as much as four
 * (int8 alone; heard is a multiple of 16 then). False: stopped between two layers, and the slot
 * holds nothing. */
bool oto_whisper_encode(oto_whisper_state *s, int window, const float *mel, int heard, bool thin,
                        const oto_stop *stop);
/* The same, also copying the encoder's output [1500][width] to `out` (tests). */
void oto_whisper_encode_out(oto_whisper_state *s, int window, const float *mel, float *out);

/* A lane is one hypothesis: it listens to one window and has its own text so far. Its cache may be
 * shared in parts: position p of a lane is read from the lane named in its index table. */
/* An empty text, that may come to have n_pos positions. */
void oto_whisper_lane_start(oto_whisper_state *s, int lane, int window, int n_pos);
/* Beam step: lane dst[i] takes over the first n_pos positions of lane src[i], for all i at once
 * (indices only). All lanes concerned must be within one group of lanes that advance together. */
void oto_whisper_lanes_move(oto_whisper_state *s, const int *dst, const int *src, int n, int n_pos);

typedef struct {
    int lane;
    int pos; /* 0 … 447; the rows of one lane in one call are consecutive and ascending */
    int32_t token;
    bool logits; /* wanted for this row */
} oto_whisper_row;
/* One pass of the decoder over all rows (prefill: many rows of a lane; step: one row per lane). Row
 * i attends to positions ≤ pos of its lane. Logits of the wanted rows come back in order,
 * [n_wanted][n_vocab] f32, in a buffer of the state that is valid until the next call; NULL when
 * none is wanted. n_rows ≤ oto_whisper_max_rows(s); at most max(max_lanes, 2 × max_windows) of them
 * wanted. */
float *oto_whisper_decode(oto_whisper_state *s, const oto_whisper_row *rows, int n_rows);
int oto_whisper_max_rows(const oto_whisper_state *s); /* ≥ 448 and ≥ max_lanes */

/* Teacher-forced pass over tokens[n] of `lane` (started here on `window`) for word timestamps:
 * softmaxed cross-attention of the alignment heads, weights [n_alignment_heads][n][n_frames] f32 in
 * `a` (n_frames = encoder positions that hold audio; the softmax is over these, as in whisper's
 * timing.py and CTranslate2), and log_prob[i] of tokens[i + 1] after tokens[0..i] (n - 1 values; a
 * log-softmax over the text tokens alone; timestamps and specials are measured against the same
 * sum, so that theirs may exceed 0). Fails with LIMIT when n > 448 or `a` is full. */
int oto_whisper_align(oto_whisper_state *s, int lane, int window, const int32_t *tokens, int n,
                      int n_frames, oto_arena *a, float **weights, float **log_prob,
                      oto_err *e) OTO_CHECK;

/* convert.c: any source form → packed GGUF. */
bool oto_whisper_matches(const oto_weights *src);
int oto_whisper_pack(const oto_weights *src, oto_compute compute, oto_gguf_writer *dst,
                     oto_arena *a, oto_err *e) OTO_CHECK;

/* decode.c: what the family's descriptor points to. */
size_t oto_whisper_asr_bytes(const void *impl, int max_batch, int max_beam);
int oto_whisper_asr_new(const void *impl, int max_batch, int max_beam, oto_pool *pool, oto_arena *a,
                        void **state, oto_err *e);
int oto_whisper_asr_begin(void *state, int at, const oto_asr_options *o, const oto_asr_window *in,
                          oto_arena *a, oto_err *e);
void oto_whisper_asr_step(void *state);
bool oto_whisper_asr_ended(const void *state, int at);
int oto_whisper_asr_end(void *state, int at, oto_arena *scratch, oto_asr_result *out, oto_err *e);
void oto_whisper_asr_drop(void *state, int at);
void oto_whisper_asr_stats(const void *state, oto_asr_stats *out);

#endif
