/* models: open a model, make a state, run it — by task. Weights are mapped read-only and shared; a
 * state belongs to one thread of control and takes all its memory from arenas when it is made. A
 * family is one folder and one line in registry.c; families never include one another. */
#ifndef OTO_MODELS_H
#define OTO_MODELS_H

#include "base/base.h"
#include "kernels/kernels.h"
#include "text/text.h"

typedef enum {
    OTO_COMPUTE_AUTO = 0,
    OTO_COMPUTE_F32,
    OTO_COMPUTE_BF16,
    OTO_COMPUTE_I8
} oto_compute;
int oto_compute_parse(const char *s, oto_compute *out); /* "f32" "bf16" "int8" "auto"; -1 unknown */
const char *oto_compute_name(oto_compute c);

typedef enum { OTO_TASK_VAD, OTO_TASK_ASR, OTO_TASK_PUNC } oto_task;

typedef struct oto_model oto_model;
/* Opens packed GGUF by mapping it; any other supported form (weights.h) is packed first, into a
 * sealed memory file. compute: what the weights are packed for; a packed file of another type is
 * refused (AUTO takes what is there, and for foreign forms I8, for VAD F32). */
int oto_model_open(const char *path, oto_compute compute, oto_model **out, oto_err *e) OTO_CHECK;
void oto_model_close(oto_model *m);
/* SRC (any form) → DST (packed GGUF for `compute`), checked by reading it back, then renamed into
 * place. */
int oto_model_convert(const char *src, const char *dst, oto_compute compute, oto_err *e) OTO_CHECK;

typedef struct {
    const char *family; /* "whisper", "paraformer", "sensevoice", "fsmn-vad", "ct-transformer" */
    oto_task task;
    oto_compute compute;
    int n_mels, n_vocab, width, n_layers_enc, n_layers_dec, n_heads;
    char languages[24];       /* codes, "zh,en"; "": all of Whisper's */
    bool translates, detects; /* to English; what language is spoken */
    bool hotwords;            /* heeds those of the options */
    bool punctuates;          /* its text comes with punctuation */
    size_t bytes;             /* mapped */
} oto_model_info;
void oto_model_info_get(const oto_model *m, oto_model_info *out);

/* ---- voice activity detection
 * --------------------------------------------------------------------------------- */

/* FSMN-VAD's parameters; defaults = the published configuration (docs/models/fsmn-vad.md). */
typedef struct {
    int max_end_silence_ms;         /* 800 */
    int speech_to_sil_ms;           /* 150 */
    int sil_to_speech_ms;           /* 150 */
    int max_segment_ms;             /* 60000 */
    int lookback_ms;                /* 200 */
    int lookahead_ms;               /* 100 */
    float speech_noise_thres;       /* 0.6 */
    float decibel_thres, snr_thres; /* -100 */
    bool dynamic_end_silence; /* false; FunASR AutoModel's table, pieces of dynamic_chunk_ms */
    int dynamic_chunk_ms;     /* 60000 */
} oto_vad_options;
void oto_vad_defaults(oto_vad_options *o);

typedef struct {
    int64_t start_ms, end_ms;
} oto_span;

typedef struct oto_vad oto_vad;
int oto_vad_new(const oto_model *m, const oto_vad_options *o, oto_pool *pool, oto_arena *a,
                oto_vad **out, oto_err *e) OTO_CHECK;
/* Consumes up to n samples ([-1, 1)); completed segments go to `out` (room for max). *used < n only
 * when `out` is full: call again with the rest. final: the input ends here; call until *used == n
 * and fewer than max came. Returns the number of segments. The segments do not depend on how the
 * samples were cut. */
int oto_vad_push(oto_vad *v, const float *pcm, size_t n, bool final, oto_span *out, int max,
                 size_t *used);
/* Start of the segment now open, or -1. */
int64_t oto_vad_open_ms(const oto_vad *v);
/* No segment still to come starts before this time. */
int64_t oto_vad_horizon_ms(const oto_vad *v);
void oto_vad_reset(oto_vad *v);

/* ---- speech recognition
 * ------------------------------------------------------------------------------------------ */

/* Asked between the steps of a run by the thread that leads it: true ends the run, which then fails
 * with CANCELLED. ask NULL: never. */
typedef struct {
    bool (*ask)(void *arg);
    void *arg;
} oto_stop;
static inline bool oto_stopped(const oto_stop *s)
{
    return s->ask != NULL && s->ask(s->arg);
}

typedef struct {
    char language[8]; /* "" = detect per recording (first window) */
    bool translate;
    bool timestamps;                   /* true */
    bool words;                        /* word timestamps: cross-attention + DTW */
    int beam;                          /* 5; 1 = greedy */
    int best_of;                       /* 5, at temperature > 0 */
    float patience;                    /* 1 */
    float length_penalty;              /* 1, faster-whisper's meaning */
    float temperature[6];              /* 0 .2 .4 .6 .8 1 */
    int n_temperatures;                /* 6 */
    float compression_ratio_threshold; /* 2.4 */
    float log_prob_threshold;          /* -1 */
    float no_speech_threshold;         /* 0.6 */
    float max_initial_timestamp;       /* 1.0 s */
    const char *prompt;                /* NULL; text before each window */
    const char *hotwords;              /* NULL; "a, b, c"; see oto_model_info */
    bool suppress_default;             /* true: the model's list of non-speech tokens */
    bool suppress_blank;               /* true */
    uint64_t seed; /* sampling, 0; results do not depend on what else is in the batch */
    oto_stop stop; /* none */
} oto_asr_options;
void oto_asr_defaults(oto_asr_options *o);

/* One window: at most 30 s of samples at 16 kHz, [-1, 1). */
typedef struct {
    const float *pcm;
    size_t n;
    bool words; /* also when the options do not ask for them */
} oto_asr_window;

typedef struct {
    oto_segment *segments; /* times relative to the window's start */
    int n_segments;
    char language[8];
    float language_probability;
    /* Where the next window should begin, relative to this one: the window's length when all of it
     * was heard, less when the model stopped at a timestamp before (openai-whisper's seek rule). */
    int64_t next_ms;
    const int32_t *raw_tokens; /* sampled tokens before end-of-text, timestamps included */
    int n_raw;
} oto_asr_result;

typedef struct oto_asr oto_asr;
/* max_batch: windows per run. All memory (KV caches, activations) is taken here, from a. */
int oto_asr_new(const oto_model *m, int max_batch, int max_beam, oto_pool *pool, oto_arena *a,
                oto_asr **out, oto_err *e) OTO_CHECK;
/* Bytes oto_asr_new would take from its arena. */
size_t oto_asr_bytes(const oto_model *m, int max_batch, int max_beam);
/* Windows come and go while others are under way. Each has a place, 0 … max_batch - 1, which is
 * free, begun or ended.
 *
 * Begins *w in a free place. What o and w point to is borrowed, and `a` is the place's, until it
 * has ended or is dropped. o->stop is asked here, and in a step that stands still for long; then
 * the window fails with CANCELLED. On failure the place stays free. */
int oto_asr_begin(oto_asr *s, int at, const oto_asr_options *o, const oto_asr_window *w,
                  oto_arena *a, oto_err *e) OTO_CHECK;
/* One step of all that have begun: a token of each, or all of them from end to end. */
void oto_asr_step(oto_asr *s);
bool oto_asr_ended(const oto_asr *s, int at);
/* What came of an ended window, in its arena; the place is free then. It does not depend on what
 * else was under way. scratch: for the time of the call. Fails with LIMIT when an arena is full. */
int oto_asr_end(oto_asr *s, int at, oto_arena *scratch, oto_asr_result *out, oto_err *e) OTO_CHECK;
/* Frees a place that has begun or ended. */
void oto_asr_drop(oto_asr *s, int at);
/* All of it for n ≤ max_batch windows, while all places are free; afterwards they are again. */
int oto_asr_run(oto_asr *s, const oto_asr_options *o, const oto_asr_window *w, int n,
                oto_arena *job, oto_asr_result *out, oto_err *e) OTO_CHECK;
/* Seconds spent by stage since `new`: front end, encoder, decoder, words; and the processor time of
 * all threads meanwhile. */
typedef struct {
    double features_s, encoder_s, decoder_s, words_s;
    double features_core_s, encoder_core_s, decoder_core_s, words_core_s;
    int64_t windows, steps, lanes, fallbacks;
} oto_asr_stats;
void oto_asr_stats_get(const oto_asr *s, oto_asr_stats *out);

/* ---- punctuation
 * -------------------------------------------------------------------------------------------------
 */

/* A token is a run of ASCII, or one character of anything else. */
#define OTO_PUNC_TOKENS      256 /* at most that come at once */
#define OTO_PUNC_TOKEN_BYTES 264 /* of one as it is written, its NUL included */

typedef struct {
    oto_word word; /* as it is written: a space before it, a capital, its mark behind it. Its time
                      spans the pieces it lies in; of their probabilities the least */
    int64_t tag;   /* of the push that it began in */
    bool joined;   /* begins in a piece that the token before it lies in as well: one word */
    bool ends;     /* the last of its sentence */
} oto_punc_token;

typedef struct oto_punc oto_punc;
int oto_punc_new(const oto_model *m, oto_pool *pool, oto_arena *a, oto_punc **out,
                 oto_err *e) OTO_CHECK;
/* Bytes oto_punc_new would take from its arena. */
size_t oto_punc_bytes(const oto_model *m);
/* More of the text. *used: bytes of the piece that have been taken, 0 at first; call again until it
 * is p->text.n. Tokens whose marks are settled are written to *out, valid until the next call; they
 * end with a sentence, and their texts one after the other are the punctuated text. Returns their
 * number. What comes out does not depend on how the text was cut into pieces. */
int oto_punc_push(oto_punc *p, const oto_timed_piece *piece, int64_t tag, size_t *used,
                  const oto_punc_token **out);
/* The speaker pauses here, and the text goes on. To a model for realtime speech a stretch between
 * pauses is what it reads at once; others make nothing of it. Returns as oto_punc_push does. */
int oto_punc_pause(oto_punc *p, const oto_punc_token **out);
/* The text ends here: what is left of it. Then as after oto_punc_reset. */
int oto_punc_finish(oto_punc *p, const oto_punc_token **out);
void oto_punc_reset(oto_punc *p);

#endif
