/* store: jobs, leases, segments, results, keys: the contract every queue keeps. sqlite.c holds it
 * in one file; a queue across machines fills the same functions. spool.c keeps the recordings.
 *
 * What it promises:
 *   - `submit` returns only when the job is on disk. From then on the job ends exactly once: done,
 *     failed, dead or cancelled, whatever is killed in between.
 *   - A job runs under a lease, named by a token. Every move of a running job carries the token; a
 *     lease that was lost (expired, given back, reclaimed) makes its later moves fail with
 *     OTO_E_BUSY, so a worker that was believed dead can do no harm.
 *   - A finished segment is on disk when `segments` returns. A job leased again goes on from the
 *     last checkpoint; the segments before it stay.
 *   - Lawful moves (job.c):
 *
 *       queued -> running -> done
 *                    |-> queued   (given back, lease lost, failure that may be tried again)
 *                    |-> failed   (bad input, attempts used up)
 *                    `-> dead     (killed its worker OTO_MAX_CRASHES times)
 *       queued, running -> cancelled;  failed, dead, cancelled -> queued (retry by hand)
 *
 * Times are ms since 1970 (the caller passes `now`, so tests need no clock). Strings that come back
 * live in the caller's arena and are never NULL. A store object belongs to one thread; several
 * threads and processes may open the same address, each for itself, after fork. */
#ifndef OTO_STORE_H
#define OTO_STORE_H

#include "base/base.h"

#define OTO_MAX_CRASHES        2 /* the last of them alone in its worker */
#define OTO_MAX_CRASHES_BESIDE 4 /* beside others */
#define OTO_MAX_INTERRUPTIONS  100

typedef enum {
    OTO_JOB_QUEUED,
    OTO_JOB_RUNNING,
    OTO_JOB_DONE,
    OTO_JOB_FAILED,
    OTO_JOB_DEAD,
    OTO_JOB_CANCELLED
} oto_job_state;
#define OTO_JOB_STATES 6
const char *oto_job_state_name(oto_job_state s);            /* "queued" … */
int oto_job_state_parse(const char *s, oto_job_state *out); /* 0, or -1 when unknown */
/* May a job go from one state to the other? */
bool oto_job_may(oto_job_state from, oto_job_state to);
bool oto_job_ended(oto_job_state s); /* done, failed, dead, cancelled */

/* What a client asks for. Strings are borrowed; NULL means "". */
typedef struct {
    int id_digits;           /* hex digits of the id the store makes: 8 … 32; 0: 32 */
    const char *client;      /* key id or address: for fairness and limits */
    const char *idempotency; /* with `client` it names one job for ever; NULL: none */
    const char *fingerprint; /* of the request, for oto_store_find; NULL: none */
    const char *api;         /* "rest", "openai", … */
    const char *filename;    /* as the client named it */
    const char *audio;       /* name in the spool */
    const char *language, *model;
    const char *options; /* JSON, the recogniser's */
    const char *webhook; /* URL */
    int priority;        /* higher first; 0 */
    int64_t bytes;       /* of the upload */
    int64_t audio_ms;    /* -1 unknown */
    int max_attempts;    /* 0: 3 */
} oto_submission;

typedef struct {
    const char *id, *client, *api, *filename, *audio, *language, *model, *options, *webhook;
    oto_job_state state;
    int priority, attempts, max_attempts, crashes;
    bool cancelling; /* running, and asked to stop */
    int64_t bytes, audio_ms;
    int64_t submitted_at, started_at, finished_at; /* 0: not yet */
    int64_t not_before;                            /* queued: earliest next attempt */
    int64_t checkpoint_ms;                         /* recognised and stored up to here */
    int n_segments;
    int restarts;                   /* how often it began anew; segments of before are void */
    const char *error_code, *error; /* of the last failure, "" none */
    /* of a finished job; processing_s is summed over all attempts */
    const char *detected_language, *warning;
    double processing_s;
    int64_t memory_before, memory_after, memory_peak, decoder_peak; /* bytes */
} oto_job;

typedef struct {
    int64_t start_ms, end_ms;
    const char *text; /* with the model's leading space where it has one */
    const char *json; /* the whole segment as verbose json has it, or "" */
} oto_job_segment;

/* What became of one window of the model, kept until the job ends: a job leased again goes through
 * its recording as before and recognises only what is not known. */
typedef struct {
    int64_t key;
    const char *json;
} oto_job_memo;

typedef struct {
    const char *language, *warning;
    int64_t audio_ms;
    double processing_s; /* of this attempt */
    int64_t memory_before, memory_after, memory_peak, decoder_peak;
} oto_job_outcome;

typedef struct {
    int64_t by_state[OTO_JOB_STATES];
    int64_t waiting_audio_ms;      /* of queued and running jobs, known lengths less checkpoints */
    int64_t ended[OTO_JOB_STATES]; /* moves into these states ever, deleted jobs included */
    int64_t done_audio_ms;         /* ever */
    double processing_s;           /* ever, of done jobs */
    int64_t audio_bytes;           /* of the recordings kept */
    int64_t oldest_queued_at;      /* 0: none */
} oto_store_stats;

typedef struct oto_store oto_store;

/* "sqlite:PATH" or a bare path (the file is made when absent, its folder must exist). A damaged or
 * foreign file, or one of a newer version, is refused (INPUT, UNSUPPORTED) and left untouched; one
 * of an older version is upgraded in a transaction. */
int oto_store_open(const char *address, oto_store **out, oto_err *e) OTO_CHECK;
void oto_store_close(oto_store *s); /* NULL allowed */
/* Reads every page and checks the rules between tables; for start-up after a crash and for `otolith
 * doctor`. */
int oto_store_check(oto_store *s, oto_err *e) OTO_CHECK;
/* A number that changes whenever any process has changed the store. Cheap (no file is read). */
int64_t oto_store_version(oto_store *s);

/* ---- the life of a job ---- */

/* Durable on return. `*job` is the new job, or the one the idempotency key already names
 * (*existing). Fails: LIMIT with max_queued jobs waiting (0: no limit), BUSY when this client has
 * max_client jobs queued or running (0: no limit), NO_SPACE, IO. A failed sync makes every later
 * write of this object fail with IO: what is on disk is no longer known. */
int oto_store_submit(oto_store *s, const oto_submission *j, int64_t max_queued, int max_client,
                     int64_t now, oto_arena *a, oto_job *job, bool *existing, oto_err *e) OTO_CHECK;
/* The newest job of this client with this fingerprint, submitted after `since` and not failed,
 * dead, cancelled or about to be. NOT_FOUND. */
int oto_store_find(oto_store *s, const char *client, const char *fingerprint, int64_t since,
                   oto_arena *a, oto_job *out, oto_err *e) OTO_CHECK;
/* Takes the next job for `owner` (a worker's name) until now + lease_ms. Order: priority, then the
 * client with the least running audio, then age; jobs with not_before in the future wait, a suspect
 * job while another one runs, all while `owner` has one that crashed it OTO_MAX_CRASHES times, and
 * with max_audio_ms > 0 those that are longer or of unknown length.
 * Returns OTO_E_NOT_FOUND without text when nothing waits. The attempt is counted here. */
int oto_store_lease(oto_store *s, const char *owner, int64_t lease_ms, int64_t max_audio_ms,
                    int64_t now, oto_arena *a, oto_job *job, char token[33], oto_err *e) OTO_CHECK;
/* Extends a lease. *cancelled: someone asked to stop; the worker then calls oto_store_release. */
int oto_store_renew(oto_store *s, const char *id, const char *token, int64_t lease_ms, int64_t now,
                    bool *cancelled, oto_err *e) OTO_CHECK;
/* Stores finished segments and windows and moves the checkpoint (never back), all or nothing.
 * Counts may be 0. */
int oto_store_segments(oto_store *s, const char *id, const char *token, const oto_job_segment *seg,
                       int n, const oto_job_memo *memo, int n_memo, int64_t checkpoint_ms,
                       int64_t now, oto_err *e) OTO_CHECK;
/* Drops what earlier attempts stored: the job begins anew (a restart), under the lease it has. */
int oto_store_begin_anew(oto_store *s, const char *id, const char *token, oto_err *e) OTO_CHECK;
/* A window's result, in `a`. NOT_FOUND without text. */
int oto_store_recall(oto_store *s, const char *id, int64_t key, oto_arena *a, const char **json,
                     oto_err *e) OTO_CHECK;
/* The last segments (n may be 0) and the outcome in one transaction. */
int oto_store_finish(oto_store *s, const char *id, const char *token, const oto_job_segment *seg,
                     int n, const oto_job_outcome *r, int64_t now, oto_err *e) OTO_CHECK;
/* retry: try again after a back-off that doubles (5 s … 5 min) while attempts are left; else, and
 * without attempts left, failed. */
int oto_store_fail(oto_store *s, const char *id, const char *token, const char *code,
                   const char *text, bool retry, int64_t now, oto_err *e) OTO_CHECK;
/* Hands a job back unharmed (drain, worker recycling): queued at once, its attempt not counted; a
 * job asked to stop becomes cancelled, a deleted one goes. */
int oto_store_release(oto_store *s, const char *id, const char *token, int64_t now,
                      oto_err *e) OTO_CHECK;
/* `owner` (NULL: every owner) has died: its leases return at once, their attempts not counted.
 * blame: by its own fault (a crash, out of memory), so one of its jobs may be poison. Jobs that are
 * suspect already (crashes > 0) are blamed, or all when none is, or one crashed so OTO_MAX_CRASHES
 * times before and not alone. A blamed job counts a crash and is dead at OTO_MAX_CRASHES if it was
 * alone, at OTO_MAX_CRASHES_BESIDE if not. Of suspect jobs only one runs at a time, and one with
 * OTO_MAX_CRASHES is given no company any more: so the innocent get off.
 * Without blame (killed from outside) a job is dead only after OTO_MAX_INTERRUPTIONS without any
 * progress in between. *n: jobs touched. */
int oto_store_reclaim(oto_store *s, const char *owner, bool blame, int64_t now, int *n,
                      oto_err *e) OTO_CHECK;
/* Leases that ran out, as if their owners had died, without blame. */
int oto_store_expire(oto_store *s, int64_t now, int *n, oto_err *e) OTO_CHECK;

/* ---- by hand ---- */

/* queued: cancelled at once; running: the worker learns of it at its next renewal. NOT_FOUND; BUSY
 * when it has ended already. */
int oto_store_cancel(oto_store *s, const char *id, int64_t now, oto_err *e) OTO_CHECK;
/* failed, dead, cancelled -> queued from the start (segments go, a restart), attempts and crashes
 * from 0. NOT_FOUND; BUSY in another state. */
int oto_store_retry(oto_store *s, const char *id, int64_t now, oto_err *e) OTO_CHECK;
/* Job, segments, result. A running job is gone for every reader at once, and its worker stops at
 * its next renewal. NOT_FOUND. *audio (in a, "" none): the spool file nobody needs any more. */
int oto_store_delete(oto_store *s, const char *id, int64_t now, oto_arena *a, const char **audio,
                     oto_err *e) OTO_CHECK;

/* ---- looking ---- */

int oto_store_get(oto_store *s, const char *id, oto_arena *a, oto_job *out, oto_err *e) OTO_CHECK;
/* Calls fn for each segment from number `first` on, in order; a non-zero return stops. Strings are
 * borrowed during the call. Of the job as it was read: where it has begun anew since, there are
 * none. */
int oto_store_each_segment(oto_store *s, const oto_job *job, int first,
                           int (*fn)(void *arg, int number, const oto_job_segment *seg), void *arg,
                           oto_err *e) OTO_CHECK;
typedef struct {
    const char *client; /* NULL: all */
    const char *api;    /* NULL: all */
    unsigned states;    /* bits 1 << state; 0: all */
    const char *before; /* id of the last job seen (paging), NULL: from the newest */
    int limit;          /* 1 … 1000 */
} oto_store_filter;
/* Newest first. out [filter->limit]; *n: how many. */
int oto_store_list(oto_store *s, const oto_store_filter *f, oto_arena *a, oto_job *out, int *n,
                   oto_err *e) OTO_CHECK;
/* Jobs that will be leased before this one, itself included, and their known audio still to do
 * (ms); 0 when it does not wait. */
int oto_store_position(oto_store *s, const char *id, int64_t now, int64_t *jobs, int64_t *audio_ms,
                       oto_err *e) OTO_CHECK;
int oto_store_stats_get(oto_store *s, oto_store_stats *out, oto_err *e) OTO_CHECK;

/* ---- webhooks: told at least once that a job has ended ---- */

/* A notice that is due: the one that is so longest (in_turn), or that of those tried least. *job,
 * how often it was tried, and since when it is due. NOT_FOUND without text. */
int oto_store_notice(oto_store *s, int64_t now, bool in_turn, oto_arena *a, oto_job *job,
                     int *tries, int64_t *due, oto_err *e) OTO_CHECK;
/* What was due at `due` was tried so often and is due again at next_at; 0: delivered or given up.
 * NOT_FOUND without text when that is not what is due: the job was begun anew meanwhile, or ended
 * once more. */
int oto_store_noticed(oto_store *s, const char *id, int64_t due, int64_t next_at, int tries,
                      oto_err *e) OTO_CHECK;

/* ---- retention ---- */

/* Deletes ended jobs, oldest first, at most `max` in one call: those finished before `before`, and
 * while the kept recordings are larger than max_bytes (0: no limit) the recordings of others (their
 * results stay, `audio` becomes ""). Calls gone(arg, audio) for each spool file nobody needs any
 * more, after that is on disk. *n: jobs touched. */
int oto_store_prune(oto_store *s, int64_t before, int64_t max_bytes, int max,
                    void (*gone)(void *arg, const char *audio), void *arg, int *n,
                    oto_err *e) OTO_CHECK;
/* Is this spool file named by any job? For clearing up after a crash between upload and submit. */
int oto_store_names_audio(oto_store *s, const char *audio, bool *out, oto_err *e) OTO_CHECK;

/* ---- API keys ---- */

typedef struct {
    const char *id, *name;
    int64_t created_at, revoked_at, used_at; /* 0: never */
    int max_jobs;                            /* waiting and running; 0: no limit */
} oto_key;
/* Makes a key "oto_…" of 256 random bits; `secret` is shown once and kept only as a hash. */
int oto_store_key_add(oto_store *s, const char *name, int max_jobs, int64_t now, char secret[72],
                      oto_arena *a, oto_key *out, oto_err *e) OTO_CHECK;
int oto_store_key_list(oto_store *s, oto_arena *a, oto_key *out, int max, int *n,
                       oto_err *e) OTO_CHECK;
int oto_store_key_revoke(oto_store *s, const char *id, int64_t now, oto_err *e) OTO_CHECK;
/* DENIED when unknown or revoked. */
int oto_store_key_check(oto_store *s, const char *secret, int64_t now, oto_arena *a, oto_key *out,
                        oto_err *e) OTO_CHECK;

/* ---- the spool: uploaded recordings (spool.c) ---- */

/* A folder of files named DATE_NNN_ID.ext. A file is born without that name (".part"), and a
 * recording is durable when oto_spool_keep returns. */
typedef struct {
    char dir[400];
    int64_t max_bytes; /* of all files; 0: no limit */
    int64_t min_free;  /* bytes the file system must keep free */
} oto_spool;
typedef struct {
    int fd;        /* -1: none */
    char part[64]; /* name while it is written */
    int64_t bytes;
} oto_upload;
int oto_spool_open(const char *dir, int64_t max_bytes, int64_t min_free, oto_spool *out,
                   oto_err *e) OTO_CHECK;
/* NO_SPACE when the quota or the file system has no room for `expected` bytes (-1: unknown). */
int oto_upload_begin(const oto_spool *s, int64_t expected, oto_upload *u, oto_err *e) OTO_CHECK;
int oto_upload_write(const oto_spool *s, oto_upload *u, const void *p, size_t n,
                     oto_err *e) OTO_CHECK;
/* fsync, rename to a final name made of today's date and `ext` (letters and digits), fsync of the
 * folder. name: room for 64 bytes. The upload is closed. */
int oto_upload_keep(const oto_spool *s, oto_upload *u, const char *ext, int64_t now, char name[64],
                    oto_err *e) OTO_CHECK;
void oto_upload_drop(const oto_spool *s, oto_upload *u); /* deletes what was written */
/* NO_SPACE when `bytes` more would not fit, or not leave free what is to stay free. */
int oto_spool_room(const oto_spool *s, int64_t bytes, oto_err *e) OTO_CHECK;
/* Full path of a kept file; only names the spool made are accepted (no separators). */
int oto_spool_path(const oto_spool *s, const char *name, char *out, size_t room,
                   oto_err *e) OTO_CHECK;
void oto_spool_remove(const oto_spool *s, const char *name);
/* After a start: removes parts, and files older than an hour that no job names. */
int oto_spool_sweep(const oto_spool *s, oto_store *store, int64_t now, int *removed,
                    oto_err *e) OTO_CHECK;

#endif
