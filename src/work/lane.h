/* lane (private to work/): a thread of a worker that takes one job at a time. */
#ifndef OTO_LANE_H
#define OTO_LANE_H

#include "work/shelf.h"

#include <pthread.h>

#define LANE_SEGMENTS 64
#define LANE_MEMOS    6

typedef struct oto_worker oto_worker;

typedef struct {
    oto_worker *w;
    int index;
    pthread_t thread;
    bool started;
    oto_store *store;           /* its own: a store belongs to one thread */
    oto_recogniser *recogniser; /* for `engine`; NULL while at rest */
    oto_arena *job_arena;       /* the job's strings */
    oto_arena *scratch;         /* what waits to be stored */

    /* handed over by the worker's main thread, under its lock */
    bool busy;
    int model;          /* number of it, of the present job or the last one */
    oto_engine *engine; /* its */
    int64_t audio_ms;   /* of the job, -1 unknown: the main thread's copy */
    int64_t began;      /* in this turn */
    oto_job job;        /* in job_arena */
    char token[33];
    _Atomic bool stop;     /* give the job back or let it go */
    _Atomic bool no_store; /* the store cannot be written any more */
    int64_t parked;        /* its job waits for a model, in this turn; 0: it does not */

    /* of the present job */
    oto_request request;
    int skip; /* segments that are stored already */
    int n_segments, n_memos;
    oto_job_segment segments[LANE_SEGMENTS];
    oto_job_memo memos[LANE_MEMOS];
    _Atomic int64_t done_ms;
    int64_t stored_ms;
    int64_t stored_at; /* monotonic */
    bool lost;         /* the lease is another's */
    bool full;         /* no memory for what came out */
    size_t peak_bytes;
} lane;

struct oto_worker {
    oto_worker_options o;
    oto_board *board;
    oto_board_proc *proc;
    char name[32]; /* "worker-1": owner of its leases */
    int index;
    oto_store *store;      /* of the main thread */
    oto_model *vad, *punc; /* or NULL */
    oto_shelf shelf;
    int64_t turns; /* counts jobs that began and jobs that had to wait */
    int n_lanes;
    lane lanes[OTO_MAX_LANES];
    pthread_mutex_t lock;
    pthread_cond_t work;
    bool quit;
};

void *oto_lane_main(void *arg);

#endif
