/* recogniser: one recording, end to end: decode, slice, recognise in batches, map times back, in
 * order, in bounded memory. */
#ifndef OTO_RECOGNISER_H
#define OTO_RECOGNISER_H

#include "base/base.h"
#include "media/media.h"
#include "models/models.h"
#include "text/text.h"

/* ---- the model's state, shared by the recognisers of a process (engine.c) ---- */

/* Threads that the engines of several models use in turns, in the order in which they asked: two at
 * once would only get in each other's way. */
typedef struct oto_crew oto_crew;
int oto_crew_new(int threads, oto_crew **out, oto_err *e) OTO_CHECK;
void oto_crew_free(oto_crew *c); /* after the engines; NULL allowed */

typedef struct {
    const oto_model *asr; /* borrowed */
    int threads, batch, max_beam;
    oto_crew *crew; /* borrowed; NULL: `threads` of its own */
} oto_engine_options;
typedef struct oto_engine oto_engine;
int oto_engine_new(const oto_engine_options *o, oto_engine **out, oto_err *e) OTO_CHECK;
void oto_engine_free(oto_engine *g);
const oto_engine_options *oto_engine_options_get(const oto_engine *g);
/* A window on its way. The owner fills in the first part; from oto_engine_put on all of it is the
 * engine's, with what it points to, until the owner has it back from one of the functions below. */
typedef struct oto_ticket {
    const void *owner;        /* of each owner about as many windows are under way at once */
    const oto_asr_options *o; /* o->stop may be asked by any thread */
    oto_asr_window window;
    oto_arena *arena; /* for its results alone */
    bool known;       /* the owner's: `result` is there already */

    oto_asr_result result;
    int rc; /* CANCELLED: stopped */
    oto_err error;

    bool done, unwanted; /* the engine's */
    struct oto_ticket *next;
} oto_ticket;
/* Any thread. Nothing happens to the window unless someone waits. */
void oto_engine_put(oto_engine *g, oto_ticket *t);
/* Runs the model, or waits for who runs it, until one of these n ≥ 1 tickets of one owner is done,
 * which is returned. A window that is stopped is done within a step of the model. */
oto_ticket *oto_engine_wait(oto_engine *g, oto_ticket *const *t, int n);
/* The window is not wanted any more: returns when the engine has let go of it. */
void oto_engine_take_back(oto_engine *g, oto_ticket *t);
typedef struct {
    int64_t runs, mixed_runs, windows; /* steps of the model; mixed: of several recordings */
    oto_asr_stats asr;                 /* as after the last step */
} oto_engine_stats;
void oto_engine_stats_get(oto_engine *g, oto_engine_stats *out);

/* ---- one recording at a time ---- */

typedef struct {
    oto_engine *engine; /* borrowed; NULL: one of its own, of the fields below */
    const oto_model *asr,
        *vad;              /* borrowed; vad NULL: no VAD. asr is the engine's when there is one */
    const oto_model *punc; /* borrowed; NULL: none. Makes punctuated sentences of the segments of
                              models that give no punctuation (oto_model_info); of others nothing */
    int threads;           /* 0: all cores */
    int batch;             /* windows per batch, default 3, lowered to fit memory_bytes */
    int max_beam;          /* 5 */
    size_t memory_bytes; /* cap on resident memory, mapped weights included; 0: none. LIMIT when too
                            small */
} oto_recogniser_options;
typedef struct oto_recogniser oto_recogniser;
/* Fills in the fields that are 0. */
void oto_recogniser_defaults(oto_recogniser_options *o);
/* Resident bytes of one model alone: its mapped weights and the engine's state. Fields that are 0
 * take their defaults. */
size_t oto_engine_bytes(const oto_recogniser_options *o);
/* Resident bytes that a process needs: mapped weights and engine, and each recogniser beside the
 * engine. Fields that are 0 take their defaults. */
void oto_recogniser_plan(const oto_recogniser_options *o, size_t *engine_bytes,
                         size_t *recogniser_bytes);
int oto_recogniser_new(const oto_recogniser_options *o, oto_recogniser **out, oto_err *e) OTO_CHECK;
void oto_recogniser_free(oto_recogniser *r);

typedef struct {
    oto_asr_options asr;
    oto_vad_options vad;
    oto_media_options media;
    bool whole;        /* after a decoder's failure nothing more is given out: the job will be
                          tried again. false: what was decoded is recognised */
    bool no_vad;       /* everything is speech; cut at the quietest point */
    int max_window_ms; /* 30000 (slice.c) */
    bool itn;          /* numbers in segments' texts as they are written (zh, en) */
    char script[8];    /* conversion of Chinese texts (oto_script_names), "": none */
    /* Called in order of time, from the calling thread. A non-zero return cancels
     * (OTO_E_CANCELLED). s is borrowed. */
    int (*on_segment)(void *arg, const oto_segment *s);
    /* audio done / known duration (-1 unknown), ms */
    int (*on_progress)(void *arg, int64_t done_ms, int64_t total_ms);
    /* For going on after a crash: a recording cut the same way gives the same windows, so what was
     * recognised once need not be again. recall fills *out (in `a`) and returns true when it knows
     * the window; remember is told of each one that was recognised. Both or neither. */
    bool (*recall)(void *arg, const oto_asr_options *o, const oto_asr_window *w, oto_arena *a,
                   oto_asr_result *out);
    int (*remember)(void *arg, const oto_asr_options *o, const oto_asr_window *w,
                    const oto_asr_result *r, oto_err *e);
    void *arg;
} oto_job_options;
void oto_job_defaults(oto_job_options *o);

typedef struct {
    int64_t audio_ms; /* what was decoded */
    int64_t speech_ms;
    int n_segments, n_windows;
    char language[8];
    float language_probability;
    char warning[200];      /* decoder's, and of options without effect; or "" */
    double decode_s, vad_s; /* waiting for PCM; VAD */
    oto_asr_stats asr;      /* of this job */
    size_t decoder_peak_bytes;
} oto_job_result;
/* path "-" is standard input. */
int oto_recogniser_run(oto_recogniser *r, const char *path, const oto_job_options *o,
                       oto_job_result *out, oto_err *e) OTO_CHECK;

/* VAD alone: every segment of a recording, in order. */
int oto_recogniser_vad(const oto_model *vad, int threads, const char *path,
                       const oto_job_options *o, void (*on_span)(void *arg, const oto_span *s),
                       oto_job_result *out, oto_err *e) OTO_CHECK;

#endif
