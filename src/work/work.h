/* work: a tree of processes that takes jobs from the store and has them recognised.
 *
 *   supervisor -> gateway            (server/, started through a function pointer)
 *              \> workers 1 … n  ->  decoder children (media/)
 *
 * Processes tell of themselves on a board in shared memory, which outlives any of them but the
 * supervisor, and wake one another with bells. Jobs and results go through the store alone. */
#ifndef OTO_WORK_H
#define OTO_WORK_H

#include "base/base.h"
#include "recogniser/recogniser.h"
#include "store/store.h"
#include "text/text.h"

#include <signal.h>
#include <stdatomic.h>

/* Time of day, ms since 1970. */
int64_t oto_clock_ms(void);

/* ---- what a client may ask of a job (request.c) ---- */

#define OTO_HOTWORDS_BYTES (16 << 10)
#define OTO_PROMPT_BYTES   (4 << 10)

/* The part of a job's options that the recogniser takes; stored with the job as JSON. */
typedef struct {
    char language[8]; /* code, "" = detect */
    bool translate, words, no_vad;
    int beam;                      /* 0: the server's */
    float temperature;             /* -1: the ladder from 0 */
    int max_end_silence_ms;        /* VAD; 0: its default */
    float speech_noise_thres;      /* VAD; 0: its default */
    const char *prompt, *hotwords; /* NULL or text */
    bool itn;                      /* numbers as they are written */
    char script[8];                /* conversion of Chinese texts, "": none */
    const char *model;             /* by name; NULL: the server's default, whatever that is then */
    bool raw_pcm;                  /* the upload is s16le, 16 kHz, mono */
} oto_request;
void oto_request_defaults(oto_request *r);
/* Fails with USAGE and the field's name in front of the reason. */
int oto_request_check(const oto_request *r, oto_err *e) OTO_CHECK;
int oto_request_write(const oto_request *r, oto_arena *a, const char **json, oto_err *e) OTO_CHECK;
int oto_request_read(const char *json, oto_arena *a, oto_request *out, oto_err *e) OTO_CHECK;

/* ---- the board (board.c) ---- */

#define OTO_MAX_WORKERS 64
#define OTO_MAX_LANES   16
#define OTO_MAX_MODELS  16
#define OTO_RTF_BUCKETS 9
extern const double oto_rtf_bounds[OTO_RTF_BUCKETS]; /* upper bounds; the last is infinite */

typedef enum { OTO_PROC_NONE, OTO_PROC_STARTING, OTO_PROC_READY, OTO_PROC_DRAINING } oto_proc_state;

/* One process. Written by itself (pid, state, restarts, blame: by the supervisor). */
typedef struct {
    _Atomic int pid;
    _Atomic int state;             /* oto_proc_state */
    _Atomic int64_t started_at_ms; /* monotonic, oto_now_ms */
    _Atomic int64_t beat_at_ms;    /* the last sign of life */
    _Atomic int64_t restarts, recycled;
    _Atomic int64_t rss_bytes, private_bytes, peak_bytes;
    _Atomic int64_t decoder_peak_bytes;
    _Atomic int64_t planned_bytes; /* mapped weights, engine and busy lanes */
    _Atomic int lanes, busy_lanes;
    _Atomic int64_t jobs, runs, mixed_runs, windows, trims, trimmed_bytes;
    _Atomic int64_t model_opens;
    _Atomic uint32_t models_held;         /* bits: which of the server's models are mapped */
    _Atomic int blame;                    /* its predecessor died by its own fault */
    char jobs_running[OTO_MAX_LANES][40]; /* ids; stay when the process dies */
    char waiting[OTO_MAX_LANES][33];      /* tokens of those that only wait for their model; "" */
    int bell;                             /* eventfd: wakes it */
} oto_board_proc;

typedef struct {
    int n_workers;
    int64_t started_at; /* ms since 1970 */
    oto_board_proc supervisor, gateway;
    oto_board_proc workers[OTO_MAX_WORKERS];
    _Atomic int64_t rtf_counts[OTO_RTF_BUCKETS];
    _Atomic int64_t rtf_sum_us;              /* sum of RTFs, in millionths */
    _Atomic int64_t audio_ms, processing_ms; /* of jobs done since the start */
} oto_board;

int oto_board_new(int n_workers, oto_board **out, oto_err *e) OTO_CHECK;
void oto_board_free(oto_board *b);
void oto_board_ring(oto_board_proc *p);
void oto_board_ring_workers(oto_board *b);
/* The process's own figures, now. */
void oto_board_beat(oto_board_proc *p);
void oto_board_job(oto_board *b, int64_t audio_ms, double processing_s);

/* ---- the models a server offers ---- */

typedef struct {
    char name[600];           /* by which requests choose it and jobs remember it */
    char path[1024];          /* packed */
    char languages[24];       /* that it knows: "zh,en"; "": all of Whisper's */
    bool translates, detects; /* to English; what language is spoken */
    size_t bytes;             /* of a worker that holds it: mapped weights and engine */
} oto_served_model;

/* ---- a worker (worker.c, lane.c, shelf.c) ---- */

typedef struct {
    const char *store; /* address */
    const oto_spool *spool;
    const oto_served_model *models; /* the first is the default; the others come when needed */
    int n_models;
    const char *vad_path;  /* packed; NULL: no VAD */
    const char *punc_path; /* NULL: text without punctuation stays so */
    oto_compute compute;
    int threads, lanes, batch, beam;
    size_t memory_bytes;  /* budget of this worker, decoders included; 0: none */
    size_t data_bytes;    /* hard limit on what it allocates; 0: none */
    int recycle_jobs;     /* hand over to a fresh process after so many; 0: never */
    int recycle_s;        /* after this age; 0: never */
    size_t recycle_bytes; /* when private memory at rest has grown by so much; 0: never */
    int drain_s;          /* how long running jobs may go on after SIGTERM, then handed back */
} oto_worker_options;

/* Resident bytes that a worker needs at least, with one job at a time and one model, the largest;
 * each [n_models]: of a model alone. Opens the models. */
int oto_worker_needs(const oto_worker_options *o, size_t each[], size_t *bytes,
                     oto_err *e) OTO_CHECK;

#define OTO_EXIT_RECYCLE 75 /* a worker that wants a successor */
#define OTO_EXIT_STORE   74 /* one that cannot write its store: no fault of its jobs */

/* Works until SIGTERM; returns the exit status. Called in a process of its own. */
int oto_worker_run(const oto_worker_options *o, oto_board *b, int index);

/* ---- the supervisor (supervisor.c) ---- */

typedef struct {
    int n_workers;
    oto_worker_options worker;
    /* Runs the gateway until SIGTERM and returns its exit status. */
    int (*gateway)(void *arg, oto_board *b);
    /* SIGHUP: reads the settings again; the children are then replaced one by one. May be NULL. */
    int (*reload)(void *arg, oto_worker_options *worker, oto_err *e);
    void *arg;
    int drain_s;
} oto_supervisor_options;
/* Tells systemd that the supervisor lives, while it waits for something in `reload`. */
void oto_supervisor_alive(void);
/* Until SIGTERM or SIGINT. 0 after a clean stop. */
int oto_supervisor_run(const oto_supervisor_options *o, oto_err *e) OTO_CHECK;

#endif
