/* utterance (private to models/): what recognisers that decode a window in one go share: its
 * features, which windows go through the network together, and segments made of timed words. */
#ifndef OTO_UTTERANCE_H
#define OTO_UTTERANCE_H

#include "features/features.h"
#include "models/models.h"

#define OTO_LFR_MS   60  /* a row: six frames */
#define OTO_LFR_DIM  560 /* seven frames of 80 */
#define OTO_LFR_ROWS 500 /* of a window of 30 s */

/* Rows of features of up to max_windows windows. */
typedef struct {
    oto_pool *pool;
    int max_windows;
    const oto_asr_window *windows; /* of the present run */
    oto_fbank **fbank;             /* [max_windows] */
    float *rows;                   /* [max_windows][OTO_LFR_ROWS][OTO_LFR_DIM] */
    int *n_rows;                   /* [max_windows]; 0: shorter than a frame */
} oto_heard_rows;
/* shift, scale: CMVN [OTO_LFR_DIM], borrowed. */
int oto_heard_new(const float *shift, const float *scale, int max_windows, oto_pool *pool,
                  oto_arena *a, oto_heard_rows *out, oto_err *e) OTO_CHECK;
size_t oto_heard_bytes(int max_windows);
/* n ≤ max_windows windows, in parallel. */
void oto_heard_run(oto_heard_rows *h, const oto_asr_window *w, int n);
/* How many windows from `first` on go together into room for max_rows, each with `extra` rows more;
 * end[i]: the row behind the i-th of them. At least one. */
int oto_heard_group(const oto_heard_rows *h, int first, int n, int extra, int max_rows, int *end);

/* Words of a window, in order → segments that end at pauses. raw: all tokens, kept. */
int oto_utterance_result(const oto_word *words, int n_words, const float *log_prob, int n_tokens,
                         const int32_t *raw, const oto_asr_window *w, oto_arena *job,
                         oto_asr_result *out, oto_err *e) OTO_CHECK;

/* Adds the seconds of a stage, and its processor time, since the last call or since `start`; `what`
 * goes into the time line. */
typedef struct {
    double wall_s, core_s;
} oto_lap;
void oto_lap_start(oto_lap *l);
void oto_lap_take(oto_lap *l, const char *what, double *wall_s, double *core_s);

#endif
