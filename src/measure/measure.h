/* measure: the program's own instruments: error rates of texts; speed stage by stage; what
 * processes take; what a server under load does to its memory; and the report of it. */
#ifndef OTO_MEASURE_H
#define OTO_MEASURE_H

#include "base/base.h"
#include "models/models.h"

#include <stdio.h>

/* ---- error rates (score.c) ---- */

typedef enum {
    OTO_SCORE_AUTO, /* characters when most letters of the reference belong to a script that is
                       written without spaces (Han, kana, Thai, Lao, Khmer, Myanmar), else words */
    OTO_SCORE_WORDS,
    OTO_SCORE_CHARS
} oto_score_unit;

typedef struct {
    oto_score_unit unit; /* what was counted: WORDS or CHARS */
    int64_t n_ref, n_hyp;
    int64_t hits, substitutions, deletions, insertions;
    double rate; /* errors / n_ref; with an empty reference, errors */
} oto_score;

/* Compares two texts by the fewest edits, as docs/scoring.md defines. raw: no normalisation (words
 * are what white space separates). Time n_ref · n_hyp, memory n_ref + n_hyp. What it allocates in
 * `a` it gives back. */
int oto_score_run(const char *ref, const char *hyp, oto_score_unit unit, bool raw, oto_arena *a,
                  oto_score *out, oto_err *e) OTO_CHECK;

/* ---- speed (bench.c, roofline.c) ---- */

/* One stage of a recording's way to text. */
typedef struct {
    const char *name; /* "decode", "front end", "vad", "encoder", "decoder", "words", "total" */
    double wall_s;
    double core_s; /* < 0: not known apart from others */
} oto_bench_stage;

/* A kernel in a shape that occurs (roofline.c): a product m × n × k, the attention of m queries
 * over n keys in heads that are k wide together, or a step of cross-attention of m lanes. */
typedef struct {
    const char *what; /* "product" "attention" "step" */
    const char *type; /* "f32" "bf16" "int8" */
    int m, n, k;
    double gops;  /* 1e9 multiplications and additions a second */
    double peak;  /* of the machine at this type and number of threads, measured */
    double share; /* gops / peak */
    double gbs;   /* 1e9 bytes of weights, or keys and values, read a second; 0: not what counts */
} oto_bench_kernel;

#define OTO_BENCH_SLOTS 60

/* What a thread did during the job. */
typedef struct {
    const char *thread, *what; /* "model": "encodes" …; "listener": "detects speech" … */
    double wall_s;
    float slot[OTO_BENCH_SLOTS]; /* its share of each sixtieth of the job */
} oto_bench_activity;

#define OTO_BENCH_STAGES     8
#define OTO_BENCH_KERNELS    48
#define OTO_BENCH_ACTIVITIES 12

typedef struct {
    double audio_s, wall_s, core_s;
    size_t peak_bytes, decoder_peak_bytes;
    double memory_gbs; /* read from memory by all threads */
    int threads, n_windows, n_stages, n_kernels, n_activities;
    char language[8];
    oto_asr_stats asr;
    oto_bench_stage stages[OTO_BENCH_STAGES];
    oto_bench_kernel kernels[OTO_BENCH_KERNELS];
    oto_bench_activity activities[OTO_BENCH_ACTIVITIES];
} oto_bench;

typedef struct {
    const oto_model *asr, *vad; /* borrowed */
    const char *path;           /* the recording; NULL: kernels only */
    int threads;                /* 0: all cores */
    int beam;                   /* 0: the default */
    const char *language;       /* NULL: detect */
} oto_bench_options;
int oto_bench_run(const oto_bench_options *o, oto_bench *out, oto_err *e) OTO_CHECK;
/* The part of it that is kernels; b->threads is set. */
int oto_bench_kernels(const oto_bench_options *o, oto_bench *b, oto_err *e) OTO_CHECK;

/* ---- what processes take (monitor.c; /proc read by proc.c) ----
 * MB are 2^20 bytes everywhere below; a figure that the system does not tell is NAN. */

#define OTO_MB 1048576.0

typedef struct {
    int pid, ppid;
    int64_t start_ticks; /* of the process, since boot: with pid, its identity */
    char name[16];       /* the program's, as the original writes it: "rq", "uvicorn", "otolith" */
    char role[16];       /* "supervisor" "gateway" "worker" "decoder" "zygote" of ours; of others
                            "parent" (has children that are sampled), "child" or "process" */
    bool ended;          /* the last figures of a process that has gone since */
    double cpu_percent;  /* 100 = one core; mean since the sample before, of a new process since its
                            start */
    double cpu_s;        /* user + system so far */
    double rss_mb, pss_mb, private_mb, private_dirty_mb, swap_mb,
        peak_mb; /* private: clean + dirty; peak: VmHWM */
    int threads, files;
    double read_mb, written_mb; /* to and from storage, so far */
    double memory_percent;      /* rss of physical memory */
} oto_proc_sample;

typedef struct {
    const int *pids; /* roots: these and all below them */
    int n_pids;
    const char *const *names; /* processes whose command line contains one, and all below them */
    int n_names;
    int port;   /* the process that listens there and the tree it belongs to; 0: none */
    bool quick; /* without PSS, private, storage and files: much cheaper with large processes */
    double budget_s; /* processor time in a look for what is dear to read (PSS, private, peak,
                        storage, files): it is read of each new process, and of as many others as
                        fit, in half of it at least, by turns; of the rest it is what it was. 0: of
                        all */
} oto_monitor_options;

typedef struct oto_monitor oto_monitor;
/* NOT_FOUND when nothing matches now, unless `names` are given (they may come). Options are copied.
 */
int oto_monitor_new(const oto_monitor_options *o, oto_monitor **out, oto_err *e) OTO_CHECK;
void oto_monitor_free(oto_monitor *m);
/* Looks once at every process there is to look at; *n 0: all have gone. The list, ordered by pid,
 * holds until the next call. What has ended since the last call comes once more with `ended`. */
int oto_monitor_look(oto_monitor *m, const oto_proc_sample **list, int *n, oto_err *e) OTO_CHECK;
double oto_monitor_elapsed_s(const oto_monitor *m); /* of the last look, since the first */
/* CSV: the seven columns of the original first, then ours; a row for each process, flushed. */
int oto_monitor_csv_header(FILE *f, oto_err *e) OTO_CHECK;
int oto_monitor_csv_rows(const oto_monitor *m, FILE *f, oto_err *e) OTO_CHECK;
/* The tree of a port: pid of its topmost ancestor that runs the same program; 0: nobody listens. */
int oto_proc_of_port(int port);

/* ---- statistics (stats.c) ---- */

typedef struct {
    int n;
    double slope,
        intercept; /* Theil–Sen: the median of all slopes between two points; through the medians */
    double lo, hi;     /* its 95 % interval (Sen 1968, from Kendall's statistic) */
    double mk_z, mk_p; /* Mann–Kendall, two-sided, ties corrected */
} oto_trend;
/* y[i] at x[i], x ascending. n < 4: everything NAN but n. More than 2,000 points are thinned
 * evenly. INTERNAL without memory. */
int oto_trend_fit(const double *x, const double *y, int n, oto_trend *out, oto_err *e) OTO_CHECK;
/* p in 0 … 1 of the finite values, linear between ranks; NAN when there is none. Sorts `v`. */
double oto_percentile(double *v, int n, double p);
double oto_mean(const double *v, int n);

/* ---- records (records.c): a run's JSONL and CSV ---- */

#define OTO_ROLES 8 /* kinds of processes in a record */

/* One job of a stress test. Texts are NULL, numbers NAN when null or absent. */
typedef struct {
    /* the original's, in this order */
    const char *test_id, *timestamp, *audio_file;
    double audio_size_mb;
    int concurrency;
    const char *task_id, *status;
    double processing_time, rtf;
    double worker_rss_before_mb, worker_rss_after_mb, worker_rss_delta_mb;
    const char *error;
    /* ours */
    const char *phase;                             /* "memory" "concurrency" "endurance" */
    int job_index;                                 /* within the run, from 1; 0: not told */
    double duration;                               /* seconds of audio */
    double queued_seconds, work_seconds, rtf_work; /* as the server tells them */
    double bytes;
    int attempts;
    double tree_rss_before_mb, tree_rss_after_mb,
        tree_peak_mb;            /* all processes; peak of PSS sums */
    double tree_private_peak_mb; /* of private memory, which no other program changes */
    double worker_pss_before_mb, worker_pss_after_mb, worker_private_before_mb,
        worker_private_after_mb;
    double worker_peak_mb, decoder_peak_mb;
    int text_chars;
    const char *text_sha256, *reason;
    const char *server, *machine; /* in words, the same in all lines of a run */
    /* "private_mb": private memory after the job by role */
    int n_roles;
    struct {
        const char *role;
        double mb;
    } private_mb[OTO_ROLES];
} oto_job_record;

void oto_job_record_clear(oto_job_record *r); /* all absent */
/* One line, flushed. */
int oto_job_record_write(const oto_job_record *r, FILE *f, oto_err *e) OTO_CHECK;

typedef struct {
    oto_job_record *jobs;
    int n_jobs, n_bad; /* bad: lines that are no record, passed over */
} oto_job_list;
/* In `a`. INPUT when there is no record at all. */
int oto_job_list_read(const char *path, oto_arena *a, oto_job_list *out, oto_err *e) OTO_CHECK;

/* Seconds of a record's timestamp (local, taken as universal: for differences); NAN. */
double oto_record_time(const char *timestamp);

/* One row of the CSV. */
typedef struct {
    double at_s;         /* elapsed_seconds */
    double when;         /* seconds since 1970 in local time's terms; NAN */
    int pid, name, role; /* index into names; role -1: no such column */
    float cpu, rss, pss, private_mb;
    bool ended;
} oto_sample_row;

typedef struct {
    oto_sample_row *rows;
    int n_rows, n_bad;
    const char *names[64]; /* of processes and roles */
    int n_names;
} oto_sample_list;
int oto_sample_list_read(const char *path, oto_arena *a, oto_sample_list *out,
                         oto_err *e) OTO_CHECK;

/* ---- verdicts (verdict.c) ---- */

typedef enum { OTO_PASS, OTO_FAIL, OTO_UNKNOWN } oto_verdict; /* a stress test's exit status too */

/* Private memory after a job against the job's number, after the warm-up: MB a job. */
typedef struct {
    const char *role; /* or "all" */
    oto_trend trend;
    double first_mb, last_mb; /* medians of the first and the last tenth */
    oto_verdict verdict;
} oto_growth;

/* What a long recording takes at its peak beyond a short one. */
typedef struct {
    const char *who; /* "all" (private memory of the tree) "worker" "decoder" (RSS) */
    double short_mb, long_mb, per_hour_mb;
    oto_verdict verdict;
} oto_peak;

typedef struct {
    int level, n, n_done, n_refused;                                    /* refused: 503, 429 */
    double latency_p50, latency_p95, latency_max, rtf_mean, throughput; /* s; audio s a second */
} oto_level;

#define OTO_LEVELS 64

typedef struct {
    oto_verdict verdict; /* of all: what follows, and no job that was accepted failed */
    int n_jobs, n_done, n_refused, n_failed;
    int n_warm_up, n_trend; /* jobs left out of the trends, and in them */
    double resolution_kb;   /* the smallest growth a job that these jobs can show */
    oto_growth growth[OTO_ROLES + 1];
    int n_growth;
    double short_s, long_s; /* of audio; NAN: all are of one length */
    oto_peak peaks[3];
    int n_peaks;
    double longest_delta_mb, rtf_worst; /* the original's figures and thresholds: < 200 MB, < 1 */
    oto_verdict original;
    oto_level levels[OTO_LEVELS];  /* of the concurrency phase, ascending */
    int n_levels, max_concurrency; /* the highest level at which all were done */
    const char *limit;             /* what stopped the next, or NULL */
} oto_judgement;

/* Growth fails when all of these say so: Sen's interval lies above 0, Mann–Kendall p < 0.01, more
 * than 1 KB a job, more than 0.25 MB in all. A peak fails when the long recording's exceeds the
 * short one's by more than 2 MB and 2 %. UNKNOWN: nothing to judge by. The texts stay the list's.
 */
int oto_judge(const oto_job_list *l, oto_judgement *out, oto_err *e) OTO_CHECK;
/* Private memory after a job of a role, or of "all"; where the records know no roles, what they
 * call the worker's. */
double oto_job_private_mb(const oto_job_record *r, const char *role);
/* Whether it belongs to the phases that memory is judged by. */
bool oto_job_is_memory(const oto_job_record *r);

/* ---- stress (stress.c) ---- */

/* How far it is; for a bar. */
typedef struct {
    const char *phase;                  /* "recordings" while they are made */
    int done, total, n_failed, running; /* total 0: by the clock */
    int level;                          /* of concurrency; 0 */
    double worker_mb, last_rtf;         /* NAN */
    double elapsed_s;
} oto_stress_progress;

typedef struct {
    const char *url, *key;    /* key: NULL or an API key */
    const char *const *audio; /* recordings; none: babble is made */
    int n_audio;
    bool memory, concurrency, endurance; /* phases, in this order */
    int jobs;       /* of memory after its first few, and of endurance unless `minutes` */
    double minutes; /* of endurance; 0: by jobs */
    double hours;   /* in the memory phase one recording as long as this; 0: none */
    int max_concurrency;
    const char *jsonl, *csv; /* appended to; csv NULL: none */
    oto_monitor_options
        processes;     /* of the server; empty: found by the port when it is on this machine */
    double timeout_s;  /* of a job */
    double settle_s;   /* after a job, before its memory is read */
    double interval_s; /* of the CSV */
    bool resume;       /* what the JSONL holds is done */
    bool keep;         /* leave the jobs on the server */
    bool (*interrupted)(void);
    void (*progress)(void *arg, const oto_stress_progress *p);
    void *arg;
} oto_stress_options;
void oto_stress_defaults(oto_stress_options *o);

/* Shorter recordings do not fill the buffers that any longer one fills, a batch of windows above
 * all: their peaks tell nothing about longer ones. */
#define OTO_SHORT_S 240.0

/* Drives a server through the phases; a line of JSONL for each job that ended. Memory: a short
 * recording (the shortest given of four minutes or more, or the shortest repeated for so long), a
 * long one (the longest given, at least three times as long), one of `hours`, then `jobs` of all
 * given in turn, one at a time. Concurrency: more and more of the shortest at once until one fails
 * or is refused. Endurance: three at once, lengths and formats mixed. *seen: whether the server's
 * processes could be looked at. CANCELLED when interrupted: the files are valid, and `resume` goes
 * on. */
int oto_stress_run(const oto_stress_options *o, bool *seen, oto_err *e) OTO_CHECK;

/* ---- report (report.c) ---- */

typedef struct {
    const char *jsonl, *csv, *baseline; /* csv, baseline: NULL */
    bool en, zh;
    const char *folder;
} oto_report_options;
/* Writes report.LANG.md and report.LANG.html into the folder. */
int oto_report_write(const oto_report_options *o, oto_err *e) OTO_CHECK;

#endif
