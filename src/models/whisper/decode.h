/* decode (private to this folder): what the parts of Whisper's decoding agree on: rules.c (which
 * token may come next), prompt.c (what stands before), judge.c (is this speech, is this text any
 * good), segments.c (tokens to segments), words.c (times of words), decode.c (all of it, for many
 * windows at once). Sources: openai-whisper decoding.py, transcribe.py, timing.py; faster-whisper
 * transcribe.py, whose defaults these are. */
#ifndef OTO_WHISPER_DECODE_H
#define OTO_WHISPER_DECODE_H

#include "models/models.h"
#include "models/search.h"
#include "models/whisper/whisper.h"

#define OTO_WHISPER_MAX_TOKENS 224 /* sampled per window: half of the decoder's positions */
#define OTO_WHISPER_STEP_MS    20  /* of a timestamp token, and of an encoder position */
#define OTO_WHISPER_STEPS      1500

/* ---- rules.c ---- */

typedef struct {
    const oto_whisper_dims *dims;
    bool timestamps;
    bool suppress_default, suppress_blank;
    int max_initial; /* the first timestamp is at most this many steps */
} oto_whisper_rules;
/* Says what may follow the n sampled tokens: single tokens are forbidden by writing -INFINITY into
 * logits, whole ranges by leaving them out of *row. */
void oto_whisper_rules_apply(const oto_whisper_rules *r, float *logits, const int32_t *tokens,
                             int n, oto_search_row *row);

/* ---- prompt.c ---- */

#define OTO_WHISPER_MAX_PROMPT (OTO_WHISPER_CTX - 100) /* leaves room for text */

typedef struct {
    int32_t tokens[OTO_WHISPER_MAX_PROMPT];
    int n;   /* all of it */
    int sot; /* index of <|startoftranscript|>; the language follows in multilingual models */
} oto_whisper_prompt;
/* <|startofprev|> hotwords prompt <|startoftranscript|> language task (<|notimestamps|>), each part
 * where it applies. `a` is for the moment of the call. The language is left at 0: see below. */
int oto_whisper_prompt_make(const oto_whisper_dims *d, const oto_tokens *t,
                            const oto_asr_options *o, oto_arena *a, oto_whisper_prompt *out,
                            oto_err *e) OTO_CHECK;
/* Copies the prompt with the language (index of text.h) put in. */
void oto_whisper_prompt_fill(const oto_whisper_dims *d, const oto_whisper_prompt *p, int language,
                             int32_t *out);
/* The most probable language after <|startoftranscript|>, its probability among all languages. */
int oto_whisper_language(const oto_whisper_dims *d, const float *logits, float *probability);

/* ---- judge.c ---- */

/* Compression of text by zlib, with its memory taken once. */
typedef struct oto_squeeze oto_squeeze;
int oto_squeeze_new(oto_arena *a, oto_squeeze **out, oto_err *e) OTO_CHECK;
/* bytes / bytes after zlib at its default level: openai-whisper's measure of repetition. */
float oto_squeeze_ratio(oto_squeeze *q, const char *p, size_t n);
/* Does a group of at most 48 tokens repeat itself without a break over at least 24 tokens, four
 * times or more? Text tokens only (below eot). */
bool oto_whisper_loops(const int32_t *tokens, int n, int eot);
/* Is there a change in the sound such as speech makes? False for silence, noise, hum and steady
 * tones: bands of the log-mel [n_frames][n_mels] hold their level. */
bool oto_whisper_lively(const float *mel, int n_frames, int n_mels);

/* ---- segments.c ---- */

typedef struct {
    int first, end;           /* tokens [first, end) */
    int64_t start_ms, end_ms; /* in the window */
} oto_whisper_cut;
/* Cuts sampled tokens at pairs of timestamps (faster-whisper's rule). Returns the number of cuts,
 * at most n / 2 + 1; *next_ms: where the next window should begin. */
int oto_whisper_cut_tokens(const int32_t *tokens, int n, int timestamp_first, int64_t window_ms,
                           oto_whisper_cut *out, int64_t *next_ms);
/* Text of tokens, without specials; what is not UTF-8 becomes U+FFFD. In `a`. */
int oto_whisper_text(const oto_whisper_dims *d, const oto_tokens *t, const int32_t *tokens, int n,
                     oto_arena *a, const char **out, oto_err *e) OTO_CHECK;
bool oto_whisper_is_blank(const char *text); /* white space only */

/* ---- words.c ---- */

typedef struct oto_whisper_aligner oto_whisper_aligner;
int oto_whisper_aligner_new(oto_arena *a, oto_whisper_aligner **out, oto_err *e) OTO_CHECK;
/* Cuts the text tokens of one window into words and finds their times. weights [n_heads][n]
 * [n_frames] (spoiled) and log_prob [n - 1] are those of oto_whisper_align over n_start tokens
 * (<|startoftranscript|>, language, task), <|notimestamps|>, the n_text text tokens and eot: n in
 * all. Everything is kept in the aligner. */
void oto_whisper_words_find(oto_whisper_aligner *al, const oto_tokens *t, const char *language,
                            const int32_t *text, int n_text, float *weights, int n_heads,
                            int n_frames, const float *log_prob, int n_start);
/* Gives each segment its words, in `job`, and corrects the segments' own times by them. The text
 * tokens of the segments, one after the other, must be those given to find. */
int oto_whisper_words_place(oto_whisper_aligner *al, const oto_whisper_dims *d, const oto_tokens *t,
                            oto_segment *segments, int n_segments, oto_arena *job,
                            oto_err *e) OTO_CHECK;

/* ---- generate.c ---- */

/* What came of a window's decoding. */
typedef struct {
    int language; /* index of text.h, of oto_whisper_ask */
    float language_probability;
    float no_speech; /* probability of <|nospeech|> after <|startoftranscript|> */
    int32_t tokens[OTO_WHISPER_MAX_TOKENS]; /* sampled, before the end */
    int n;
    float sum_log_prob; /* with the end's */
} oto_whisper_generated;

/* Windows in places 0 … max_batch - 1, which are their slots in the network's state. */
typedef struct oto_whisper_generator oto_whisper_generator;
/* The network's state must have room for max_batch windows and max_batch * max_beam lanes. */
int oto_whisper_generator_new(const oto_whisper_dims *d, oto_whisper_state *net, oto_pool *pool,
                              int max_batch, int max_beam, oto_arena *a,
                              oto_whisper_generator **out, oto_err *e) OTO_CHECK;
/* The window in place `at`, which is encoded, begins: its language is asked for, in the next pass;
 * or its text is decoded, in as many passes as it takes. *out, *prompt are borrowed until it is
 * over or dropped. search->lanes ≤ max_beam; its eot and max_tokens are set here. What comes of a
 * window does not depend on the others. */
void oto_whisper_ask(oto_whisper_generator *g, int at, oto_whisper_generated *out);
void oto_whisper_generate(oto_whisper_generator *g, int at, const oto_whisper_prompt *prompt,
                          int language, const oto_whisper_rules *rules,
                          const oto_search_options *search, oto_whisper_generated *out);
/* One pass of the decoder for all that have begun. */
void oto_whisper_generator_pass(oto_whisper_generator *g);
bool oto_whisper_is_over(const oto_whisper_generator *g, int at); /* or never began */
void oto_whisper_drop(oto_whisper_generator *g, int at);
/* The first of a place's lanes, for other uses while it is over. */
int oto_whisper_generator_lane(const oto_whisper_generator *g, int at);
void oto_whisper_generator_stats(const oto_whisper_generator *g, int64_t *steps, int64_t *rows);

#endif
