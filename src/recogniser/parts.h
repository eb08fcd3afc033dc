/* parts (private to recogniser/): windows, the slicer that fills them and the batch that has them
 * recognised. Positions in a recording and in a window are counted in samples of 16 kHz. */
#ifndef OTO_RECOGNISER_PARTS_H
#define OTO_RECOGNISER_PARTS_H

#include "base/base.h"
#include "media/media.h"
#include "models/models.h"
#include "recogniser/recogniser.h"
#include "text/text.h"

#define OTO_MS            (OTO_SAMPLE_RATE / 1000) /* samples in a millisecond */
#define OTO_MAX_PIECES    96
#define OTO_MAX_WINDOW_MS 30000

/* ---- windows (window.c) ---- */

/* A stretch of the recording that stands in a window without a break. */
typedef struct {
    int64_t at;        /* first sample, in the recording */
    int64_t n;         /* samples */
    int64_t in_window; /* first sample, in the window */
    int owner;         /* batch.c: the slot it came in */
} oto_piece;

/* What a model hears at once: pieces of the recording, one after another. */
typedef struct {
    float *pcm; /* [cap], borrowed from the batch */
    int64_t n, cap;
    int64_t speech_end; /* behind the last sample that the VAD called speech; n without VAD */
    oto_piece pieces[OTO_MAX_PIECES];
    int n_pieces;
} oto_window;

/* Recording time of a span given in the window's time, both ms. A span that crosses a dropped
 * silence by a trifle is kept on the side where it lies. Returns the owner of most of the span; it
 * lies within that owner's pieces. */
int oto_window_map(const oto_window *w, int64_t *start_ms, int64_t *end_ms);
/* Appends the pieces and samples of another window behind a short silence; false (and nothing done)
 * without room. */
bool oto_window_append(oto_window *w, const oto_window *more);
/* Drops the first n samples. */
void oto_window_advance(oto_window *w, int64_t n);

/* ---- batches (batch.c) ---- */

typedef struct {
    oto_asr_options asr;
    bool detects; /* the model finds the language: without one the others wait for the first window,
                     whose language is everyone's */
    /* oto_engine_put and its like, or a test's stand-in. */
    void (*put)(void *ctx, oto_ticket *t);
    oto_ticket *(*wait)(void *ctx, oto_ticket *const *t, int n);
    void (*take_back)(void *ctx, oto_ticket *t);
    void *ctx;
    int (*on_segment)(void *arg, const oto_segment *s);
    /* Everything before this time (ms, in the recording) has been recognised and given out. */
    int (*on_done)(void *arg, int64_t done_ms);
    void *arg;
} oto_batch_job;

typedef struct oto_batch oto_batch;
/* Buffers for `size` windows of up to cap samples, from `a`. */
int oto_batch_new(oto_arena *a, int size, int64_t cap, oto_batch **out, oto_err *e) OTO_CHECK;
void oto_batch_free(oto_batch *b); /* its own arenas; the rest is a's */
size_t oto_batch_bytes(int size, int64_t cap);
/* A new job: whatever was left of the last one is forgotten. */
void oto_batch_start(oto_batch *b, const oto_batch_job *job);
/* Takes back what is under way, after an error. Nothing of the job is used after that. */
void oto_batch_stop(oto_batch *b);
/* An empty window to fill. Waits for windows while no buffer is free. */
int oto_batch_open(oto_batch *b, oto_window **out, oto_err *e) OTO_CHECK;
/* The window last opened is complete and on its way; an empty one is taken back. */
void oto_batch_close(oto_batch *b);
/* Waits for one of the windows there are, takes over what came of it and gives out what is in
 * order. */
int oto_batch_take(oto_batch *b, oto_err *e) OTO_CHECK;
/* Recognises and gives out everything. */
int oto_batch_finish(oto_batch *b, oto_err *e) OTO_CHECK;
bool oto_batch_busy(const oto_batch *b);   /* a window is being filled or waits */
bool oto_batch_runs(const oto_batch *b);   /* a window is under way */
int oto_batch_windows(const oto_batch *b); /* recognised in this job, leftovers included */
/* Language of the recording: as asked for, or detected in the first window; "" before. */
const char *oto_batch_language(const oto_batch *b, float *probability);

/* ---- hearing (listener.c) ---- */

#define OTO_HEARD_SAMPLES (OTO_SAMPLE_RATE / 2)
#define OTO_HEARD_SPANS   16

/* Half a second of a recording, and the segments of speech that ended in it. */
typedef struct {
    float pcm[OTO_HEARD_SAMPLES];
    size_t n; /* samples; 0 at the end */
    oto_span spans[OTO_HEARD_SPANS];
    int n_spans;
    int64_t horizon_ms; /* no segment still to come starts before this time */
    bool last;
    int rc;        /* of the last: why reading ended */
    oto_err error; /* with it */
} oto_heard;

/* Reads a recording and finds the speech in it, up to n_blocks ahead, on a thread of its own. */
typedef struct oto_listener oto_listener;
int oto_listener_new(oto_arena *a, int n_blocks, oto_listener **out, oto_err *e) OTO_CHECK;
size_t oto_listener_bytes(int n_blocks);
/* media and vad (or NULL) are the listener's until it is stopped. */
int oto_listener_start(oto_listener *l, oto_media *media, oto_vad *vad, oto_err *e) OTO_CHECK;
bool oto_listener_ready(oto_listener *l); /* there is a next block */
/* The next block, valid until the call after; not to be called after the last. */
const oto_heard *oto_listener_next(oto_listener *l);
/* Waits for the thread; adds the seconds it spent reading and detecting. May be called twice. */
void oto_listener_stop(oto_listener *l, double *decode_s, double *vad_s);

/* ---- slicing (slice.c) ---- */

/* Cuts a recording into windows. Audio is pushed first, then what is known to be speech in it; the
 * ring keeps the last `ring` samples for segments that are still open. */
typedef struct oto_slicer oto_slicer;
int oto_slicer_new(oto_arena *a, int64_t ring, oto_slicer **out, oto_err *e) OTO_CHECK;
size_t oto_slicer_bytes(int64_t ring);
void oto_slicer_start(oto_slicer *s, oto_batch *b, int64_t max_window);
void oto_slicer_audio(oto_slicer *s, const float *pcm, size_t n);
int64_t oto_slicer_heard(const oto_slicer *s); /* samples pushed so far */
/* A segment of speech, in ms; segments come in order. */
int oto_slicer_speech(oto_slicer *s, const oto_span *span, oto_err *e) OTO_CHECK;
/* Everything pushed since the last call is speech (no VAD). */
int oto_slicer_all(oto_slicer *s, oto_err *e) OTO_CHECK;
/* The recording ends here: the window being filled is complete. */
int oto_slicer_finish(oto_slicer *s, oto_err *e) OTO_CHECK;

/* ---- punctuation (punctuate.c) ---- */

/* Stands between the segments of a model that gives no punctuation and whoever takes them. */
typedef struct oto_punctuator oto_punctuator;
int oto_punctuator_new(const oto_model *m, oto_pool *pool, oto_arena *a, oto_punctuator **out,
                       oto_err *e) OTO_CHECK;
size_t oto_punctuator_bytes(const oto_model *m);
/* A new text: whatever was left of the last one is forgotten. on_segment is given sentences, with
 * their words where they are asked for; what it returns other than 0 ends a push and is its result.
 */
void oto_punctuator_start(oto_punctuator *p, bool words,
                          int (*on_segment)(void *arg, const oto_segment *s), void *arg);
/* The next segment, with the times of its words when there are any. */
int oto_punctuator_push(oto_punctuator *p, const oto_segment *s);
/* The text ends: what is left of it. */
int oto_punctuator_finish(oto_punctuator *p);

/* ---- texts on their way out (finish.c) ---- */

typedef struct oto_finish oto_finish;
int oto_finish_new(oto_finish **out, oto_err *e) OTO_CHECK;
void oto_finish_free(oto_finish *f); /* NULL allowed */
/* For the job that begins: numbers as they are written? A conversion of script, or "". Fails as
 * oto_script_open. What is open already is used again. */
int oto_finish_start(oto_finish *f, bool itn, const char *script, oto_err *e) OTO_CHECK;
/* The segment as it goes out, good until the next one. language: of its text. */
const oto_segment *oto_finish_segment(oto_finish *f, const oto_segment *s, const char *language);

#endif
