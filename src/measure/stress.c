/* The stress test: drives a running server over its REST API and writes down what each job took.
 * A round is a number of recordings sent at once; memory is looked at before it and, when all of
 * them have ended and things have settled, after it. */
#include "measure/client.h"
#include "measure/measure.h"
#include "measure/recording.h"
#include "measure/watch.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define MAX_AUDIO     64
#define MAX_AT_ONCE   1024
#define LONG_TIMES    3.0
#define ENDURANCE     3 /* at once */
#define FIRST_POLL_MS 20
#define LAST_POLL_MS  1000

typedef struct {
    char path[600];
    double seconds;
} recording;

typedef enum { DONE, REFUSED, FAILED, LATE, STOPPED } outcome;

typedef struct stress stress;

/* One job of a round, in a thread. */
typedef struct {
    stress *s;
    const recording *r;
    pthread_t thread;
    bool started;
    _Atomic bool ended;
    outcome outcome;
    char id[64];
    double took_s, ended_at;
    oto_task_result result;
    oto_err error;
} job;

struct stress {
    const oto_stress_options *o;
    oto_watch *watch;
    FILE *jsonl;
    recording given[MAX_AUDIO], made[4], mixed[MAX_AUDIO + 8];
    int n_given, n_made, n_mixed;
    char folder[200]; /* of what is made */
    char server[160], machine[200];
    job *jobs;
    _Atomic bool stop;
    int index; /* of the last job written */
    int had_memory, had_endurance;
    int had_level[MAX_AT_ONCE + 1];
    oto_stress_progress p;
    double started;
};

void oto_stress_defaults(oto_stress_options *o)
{
    *o = (oto_stress_options){.memory = true,
                              .concurrency = true,
                              .jobs = 100,
                              .max_concurrency = 64,
                              .timeout_s = 600,
                              .settle_s = 0.5,
                              .interval_s = 1};
}

static void nap(double s)
{
    const struct timespec t = {(time_t)s, (long)((s - floor(s)) * 1e9)};

    nanosleep(&t, NULL);
}

static bool stopped(stress *s)
{
    if (s->o->interrupted != NULL && s->o->interrupted())
        atomic_store(&s->stop, true);
    return atomic_load(&s->stop);
}

static void tell(stress *s)
{
    s->p.elapsed_s = oto_now_s() - s->started;
    if (s->o->progress != NULL)
        s->o->progress(s->o->arg, &s->p);
}

/* ---- one job ---- */

static outcome outcome_of(int code)
{
    return code == OTO_E_CANCELLED ? STOPPED : code == OTO_E_BUSY ? REFUSED : FAILED;
}

static outcome wait_for(job *j, oto_client *c, double deadline)
{
    int pause_ms = FIRST_POLL_MS, rc;

    for (;;) {
        rc = oto_client_result(c, j->id, &j->result, &j->error);
        if (rc == 0 && j->result.state == OTO_TASK_DONE)
            return DONE;
        if (rc == 0 && j->result.state == OTO_TASK_FAILED) {
            oto_fail(&j->error, OTO_E_INPUT, "%s", j->result.error);
            return FAILED;
        }
        /* A server that is restarted, or busy, may answer again. */
        if (rc != 0 && rc != OTO_E_UNAVAILABLE && rc != OTO_E_BUSY)
            return FAILED;
        if (atomic_load(&j->s->stop))
            return STOPPED;
        if (oto_now_s() > deadline) {
            if (rc == 0)
                oto_fail(&j->error, OTO_E_UNAVAILABLE, "Timeout after %.0fs", j->s->o->timeout_s);
            return LATE;
        }
        nap(pause_ms / 1000.0);
        pause_ms = OTO_MIN(pause_ms + pause_ms / 4, LAST_POLL_MS);
    }
}

static double wall_clock(void)
{
    struct timeval t;

    gettimeofday(&t, NULL);
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

static void *job_main(void *arg)
{
    job *j = arg;
    const oto_stress_options *o = j->s->o;
    const double start = oto_now_s();
    oto_client *c = NULL;
    int rc = oto_client_new(o->url, o->key, &c, &j->error);

    if (rc == 0)
        rc = oto_client_submit(c, j->r->path, &j->s->stop, j->id, &j->error);
    j->outcome = rc == 0 ? wait_for(j, c, start + o->timeout_s) : outcome_of(rc);
    j->took_s = oto_now_s() - start;
    j->ended_at = wall_clock();
    if (j->id[0] != '\0' && (!o->keep || j->outcome == STOPPED))
        oto_client_delete(c, j->id);
    oto_client_free(c);
    atomic_store(&j->ended, true);
    return NULL;
}

/* ---- records ---- */

static void local_time(double when, char *out, size_t n)
{
    const time_t t = (time_t)when;
    struct tm tm;
    char s[32];

    localtime_r(&t, &tm);
    strftime(s, sizeof s, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(out, n, "%s.%06d", s, (int)((when - floor(when)) * 1e6));
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

static void name_test(const job *j, int level, int at, char *out, size_t n)
{
    const char *base = base_of(j->r->path);
    const int stem =
        (int)(strrchr(base, '.') != NULL ? strrchr(base, '.') - base : (long)strlen(base));
    const long long now = (long long)j->ended_at;

    if (level > 1)
        snprintf(out, n, "%.*s_c%d_t%d_%lld", stem, base, level, at, now);
    else
        snprintf(out, n, "%.*s_c1_%lld", stem, base, now);
}

static int put_record(stress *s, const job *j, const char *phase, int level, int at,
                      const oto_watch_view *before, const oto_watch_view *after, oto_err *e)
{
    static const char *const words[] = {"success", "failed", "failed", "timeout"};
    static const char *const reasons[] = {NULL, "refused", "failed", "timeout"};
    char test_id[300], when[40];
    oto_job_record r;
    struct stat st;

    oto_job_record_clear(&r);
    name_test(j, level, at, test_id, sizeof test_id);
    local_time(j->ended_at, when, sizeof when);
    r.test_id = test_id;
    r.timestamp = when;
    r.audio_file = base_of(j->r->path);
    if (stat(j->r->path, &st) == 0) {
        r.bytes = (double)st.st_size;
        r.audio_size_mb = r.bytes / OTO_MB;
    }
    r.concurrency = level;
    r.task_id = j->id[0] != '\0' ? j->id : NULL;
    r.status = words[j->outcome];
    r.reason = reasons[j->outcome];
    r.processing_time = j->took_s;
    if (j->outcome == DONE) {
        r.duration = isfinite(j->result.duration) ? j->result.duration : j->r->seconds;
        r.rtf = r.duration > 0 ? j->took_s / r.duration : NAN;
        r.queued_seconds = j->result.queued_s;
        r.work_seconds = j->result.work_s;
        r.rtf_work = r.duration > 0 ? r.work_seconds / r.duration : NAN;
        r.attempts = j->result.attempts;
        r.text_chars = j->result.text_chars;
        r.text_sha256 = j->result.sha256[0] != '\0' ? j->result.sha256 : NULL;
    } else {
        r.error = j->error.text;
    }
    r.phase = phase;
    r.job_index = ++s->index;
    r.worker_rss_before_mb = before->worker_rss_mb;
    r.worker_rss_after_mb = after->worker_rss_mb;
    r.worker_rss_delta_mb = after->worker_rss_mb - before->worker_rss_mb;
    r.worker_pss_before_mb = before->worker_pss_mb;
    r.worker_pss_after_mb = after->worker_pss_mb;
    r.worker_private_before_mb = before->worker_private_mb;
    r.worker_private_after_mb = after->worker_private_mb;
    r.tree_rss_before_mb = before->tree_rss_mb;
    r.tree_rss_after_mb = after->tree_rss_mb;
    r.tree_peak_mb = after->tree_peak_mb;
    r.tree_private_peak_mb = after->tree_private_peak_mb;
    r.worker_peak_mb = after->worker_peak_mb;
    r.decoder_peak_mb = isfinite(j->result.decoder_peak_mb) && j->result.decoder_peak_mb > 0
                            ? j->result.decoder_peak_mb
                            : after->decoder_peak_mb;
    for (r.n_roles = 0; r.n_roles < after->n_roles; r.n_roles++) {
        r.private_mb[r.n_roles].role = after->private_mb[r.n_roles].role;
        r.private_mb[r.n_roles].mb = after->private_mb[r.n_roles].mb;
    }
    r.server = s->server;
    r.machine = s->machine;
    return oto_job_record_write(&r, s->jsonl, e);
}

/* ---- a round ---- */

static int start_jobs(stress *s, const recording *const *list, int n, oto_err *e)
{
    pthread_attr_t small;
    int rc = 0;

    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 256 << 10);
    for (int i = 0; i < n && rc == 0; i++) {
        job *j = &s->jobs[i];

        memset(j, 0, sizeof *j);
        j->s = s;
        j->r = list[i];
        j->started = pthread_create(&j->thread, &small, job_main, j) == 0;
        if (!j->started)
            rc = oto_fail(e, OTO_E_LIMIT, "no more than %d threads", i);
    }
    pthread_attr_destroy(&small);
    return rc;
}

static void wait_jobs(stress *s, int n)
{
    int running;

    do {
        running = 0;
        for (int i = 0; i < n; i++)
            running += s->jobs[i].started && !atomic_load(&s->jobs[i].ended);
        s->p.running = running;
        stopped(s);
        tell(s);
        if (running > 0)
            nap(0.02);
    } while (running > 0);
    for (int i = 0; i < n; i++)
        if (s->jobs[i].started)
            pthread_join(s->jobs[i].thread, NULL);
}

/* *all: every one was done. */
static int run_round(stress *s, const char *phase, const recording *const *list, int n, bool *all,
                     oto_err *e)
{
    oto_watch_view before, after;
    int rc;

    oto_watch_mark(s->watch);
    oto_watch_look(s->watch, &before);
    rc = start_jobs(s, list, n, e);
    if (rc != 0)
        atomic_store(&s->stop, true);
    wait_jobs(s, n);
    if (rc != 0)
        return rc;
    nap(s->o->settle_s);
    oto_watch_look(s->watch, &after);
    *all = true;
    for (int i = 0; i < n; i++) {
        const job *j = &s->jobs[i];

        if (j->outcome == STOPPED)
            return oto_fail(e, OTO_E_CANCELLED, "interrupted");
        if ((rc = put_record(s, j, phase, n, i, &before, &after, e)) != 0)
            return rc;
        *all = *all && j->outcome == DONE;
        s->p.done++;
        s->p.n_failed += j->outcome != DONE;
        s->p.last_rtf = j->result.duration > 0 ? j->took_s / j->result.duration : NAN;
    }
    s->p.worker_mb = after.worker_rss_mb;
    tell(s);
    return stopped(s) ? oto_fail(e, OTO_E_CANCELLED, "interrupted") : 0;
}

/* ---- recordings ---- */

static int add_made(stress *s, recording *r, const char *name, double seconds, int rate,
                    int channels, oto_err *e)
{
    const recording *from = s->n_given > 0 ? &s->given[0] : NULL;
    int rc;

    snprintf(r->path, sizeof r->path, "%s/%s.wav", s->folder, name);
    r->seconds = seconds;
    tell(s);
    if (stopped(s))
        return oto_fail(e, OTO_E_CANCELLED, "interrupted");
    rc = from != NULL && rate == 16000 ? oto_recording_repeat(from->path, r->path, seconds, e)
                                       : oto_recording_babble(r->path, seconds, rate, channels, e);
    return rc;
}

static int by_length(const void *a, const void *b)
{
    const recording *x = a, *y = b;

    return (x->seconds > y->seconds) - (x->seconds < y->seconds);
}

static int take_given(stress *s, oto_err *e)
{
    int rc = 0;

    if (s->o->n_audio > MAX_AUDIO)
        return oto_fail(e, OTO_E_USAGE, "at most %d recordings", MAX_AUDIO);
    for (int i = 0; i < s->o->n_audio && rc == 0; i++) {
        recording *r = &s->given[s->n_given++];

        if ((size_t)snprintf(r->path, sizeof r->path, "%s", s->o->audio[i]) >= sizeof r->path)
            return oto_fail(e, OTO_E_USAGE, "%.80s…: the name is too long", s->o->audio[i]);
        tell(s);
        rc = oto_recording_seconds(r->path, &r->seconds, e);
    }
    qsort(s->given, (size_t)s->n_given, sizeof s->given[0], by_length);
    return rc;
}

/* made[]: what the memory phase begins with. */
static int make_lengths(stress *s, oto_err *e)
{
    const recording *longest = s->n_given > 0 ? &s->given[s->n_given - 1] : NULL;
    recording *first = &s->made[0], *second = &s->made[1];
    int rc = 0, at = 0;

    while (at < s->n_given && s->given[at].seconds < OTO_SHORT_S)
        at++;
    if (at < s->n_given)
        *first = s->given[at];
    else
        rc = add_made(s, first, "short_4_min", OTO_SHORT_S, 16000, 1, e);
    if (rc == 0 && longest != NULL && longest->seconds >= LONG_TIMES * first->seconds)
        *second = *longest;
    else if (rc == 0)
        rc = add_made(s, second, "long_12_min", LONG_TIMES * first->seconds, 16000, 1, e);
    s->made[2] = *first; /* again, now that everything has been in memory once */
    s->n_made = 3;
    if (rc == 0 && s->o->hours > 0)
        rc = add_made(s, &s->made[s->n_made++], "hours", s->o->hours * 3600, 16000, 1, e);
    return rc;
}

/* Babble stands in for what the user did not bring. */
static int make_clip(stress *s, oto_err *e)
{
    return s->n_given > 0 ? 0 : add_made(s, &s->given[s->n_given], "clip_20_s", 20, 16000, 1, e);
}

static int make_mix(stress *s, oto_err *e)
{
    static const struct {
        const char *name;
        double seconds;
        int rate, channels;
    } more[] = {{"clip_8_khz", 15, 8000, 1},
                {"clip_stereo_44_khz", 25, 44100, 2},
                {"clip_48_khz", 7, 48000, 1}};
    int rc = 0;

    for (int i = 0; i < s->n_given; i++)
        s->mixed[s->n_mixed++] = s->given[i];
    for (size_t i = 0; i < OTO_COUNT(more) && rc == 0; i++)
        rc = add_made(s, &s->mixed[s->n_mixed++], more[i].name, more[i].seconds, more[i].rate,
                      more[i].channels, e);
    for (int i = 0; i < s->n_made; i++)
        s->mixed[s->n_mixed++] = s->made[i];
    return rc;
}

static int make_recordings(stress *s, oto_err *e)
{
    const char *tmp = getenv("TMPDIR");
    int rc;

    s->p.phase = "recordings";
    snprintf(s->folder, sizeof s->folder, "%.150s/otolith-stress-XXXXXX",
             tmp != NULL && tmp[0] == '/' ? tmp : "/tmp");
    if (mkdtemp(s->folder) == NULL) {
        s->folder[0] = '\0';
        return oto_fail_errno(e, "folder for recordings");
    }
    if ((rc = take_given(s, e)) != 0)
        return rc;
    if (s->o->memory || s->o->endurance)
        rc = make_lengths(s, e);
    if (rc == 0 && s->n_given == 0) {
        rc = make_clip(s, e);
        s->n_given = 1;
    }
    if (rc == 0 && s->o->endurance)
        rc = make_mix(s, e);
    return rc;
}

static void remove_recordings(const char *folder)
{
    DIR *d = folder[0] != '\0' ? opendir(folder) : NULL;
    const struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(d), entry->d_name, 0);
    if (d != NULL)
        closedir(d);
    if (folder[0] != '\0')
        rmdir(folder);
}

/* ---- phases ---- */

static int memory_phase(stress *s, oto_err *e)
{
    const int total = s->n_made + s->o->jobs;
    const recording *r;
    bool all;
    int rc = 0;

    s->p = (oto_stress_progress){.phase = "memory", .total = total, .done = s->had_memory};
    for (int i = s->had_memory; i < total && rc == 0; i++) {
        r = i < s->n_made ? &s->made[i] : &s->given[(i - s->n_made) % s->n_given];
        rc = run_round(s, "memory", &r, 1, &all, e);
    }
    return rc;
}

/* 1, 2, 3, 4, 6, 8, 12, 16, 24 … and the highest. */
static int next_level(int level, int most)
{
    const bool power = (level & (level - 1)) == 0;
    const int next = level < 4 ? level + 1 : power ? level * 3 / 2 : level * 4 / 3;

    return level < most ? OTO_MIN(next, most) : most + 1;
}

static int concurrency_phase(stress *s, oto_err *e)
{
    const int most = OTO_MIN(s->o->max_concurrency, MAX_AT_ONCE);
    const recording *list[MAX_AT_ONCE];
    bool all = true;
    int rc = 0;

    s->p = (oto_stress_progress){.phase = "concurrency"};
    for (int level = 1; level <= most; level = next_level(level, most))
        s->p.total += level;
    for (int level = 1; level <= most && rc == 0 && all; level = next_level(level, most)) {
        s->p.level = level;
        if (s->had_level[level] >= level) {
            s->p.done += level;
            continue;
        }
        for (int i = 0; i < level; i++)
            list[i] = &s->given[0];
        rc = run_round(s, "concurrency", list, level, &all, e);
    }
    return rc;
}

static int endurance_phase(stress *s, oto_err *e)
{
    const double until = oto_now_s() + s->o->minutes * 60;
    const recording *list[ENDURANCE];
    int at = s->had_endurance, rc = 0;
    bool all;

    s->p = (oto_stress_progress){.phase = "endurance",
                                 .total = s->o->minutes > 0 ? 0 : s->o->jobs,
                                 .done = s->had_endurance};
    while (rc == 0 && (s->o->minutes > 0 ? oto_now_s() < until : at < s->o->jobs)) {
        const int n = s->o->minutes > 0 ? ENDURANCE : OTO_MIN(ENDURANCE, s->o->jobs - at);

        for (int i = 0; i < n; i++)
            list[i] = &s->mixed[(at + i) % s->n_mixed];
        rc = run_round(s, "endurance", list, n, &all, e);
        at += n;
    }
    return rc;
}

/* ---- before and after ---- */

static void describe_machine(char *out, size_t n)
{
    char line[200], cpu[100] = "unknown processor";
    FILE *f = fopen("/proc/cpuinfo", "re");
    struct utsname u = {0};

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':') != NULL) {
            snprintf(cpu, sizeof cpu, "%.*s", (int)strcspn(strchr(line, ':') + 2, "\n"),
                     strchr(line, ':') + 2);
            break;
        }
    if (f != NULL)
        fclose(f);
    uname(&u);
    snprintf(out, n, "%s, %d cores, %.1f GiB, %s %s", cpu, oto_cpu_count(),
             (double)oto_memory_limit_bytes() / 1073741824.0, u.sysname, u.release);
}

/* The port of an address on this machine; 0: it is elsewhere. */
static int local_port(const char *url)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost", "[::1]", "0.0.0.0"};
    const char *host = strstr(url, "://");

    if (host == NULL)
        return 0;
    host += 3;
    for (size_t i = 0; i < OTO_COUNT(hosts); i++) {
        const size_t n = strlen(hosts[i]);

        if (strncmp(host, hosts[i], n) != 0)
            continue;
        if (host[n] == ':')
            return (int)strtol(host + n + 1, NULL, 10);
        if (host[n] == '/' || host[n] == '\0')
            return strncmp(url, "https", 5) == 0 ? 443 : 80;
    }
    return 0;
}

static int open_watch(stress *s, bool *seen, oto_err *e)
{
    oto_monitor_options m = s->o->processes;
    const bool named = m.n_pids > 0 || m.n_names > 0 || m.port > 0;
    int rc;

    *seen = false;
    if (!named && (m.port = local_port(s->o->url)) == 0)
        return 0;
    rc = oto_watch_new(&m, s->o->csv, s->o->interval_s, &s->watch, e);
    if (rc == OTO_E_NOT_FOUND && !named)
        return 0;
    *seen = rc == 0;
    return rc;
}

static int open_jsonl(stress *s, oto_err *e)
{
    const char *path = s->o->jsonl;
    oto_arena *a;
    oto_job_list l;
    int rc = 0;

    if (access(path, F_OK) == 0 && !s->o->resume)
        return oto_fail(e, OTO_E_USAGE, "%s is there already: --resume goes on with it", path);
    if (access(path, F_OK) == 0 && (rc = oto_arena_new("records", (size_t)1 << 30, &a, e)) == 0) {
        rc = oto_job_list_read(path, a, &l, e);
        for (int i = 0; rc == 0 && i < l.n_jobs; i++) {
            const oto_job_record *r = &l.jobs[i];

            s->index = OTO_MAX(s->index, r->job_index);
            s->had_memory += r->phase != NULL && strcmp(r->phase, "memory") == 0;
            s->had_endurance += r->phase != NULL && strcmp(r->phase, "endurance") == 0;
            if (r->phase != NULL && strcmp(r->phase, "concurrency") == 0 && r->concurrency > 0 &&
                r->concurrency <= MAX_AT_ONCE)
                s->had_level[r->concurrency]++;
        }
        oto_arena_free(a);
        if (rc == OTO_E_INPUT) /* interrupted before the first job had ended */
            rc = 0;
    }
    if (rc != 0)
        return rc;
    s->jsonl = fopen(path, "ae");
    return s->jsonl != NULL ? 0 : oto_fail_errno(e, "%s", path);
}

static int ask_server(stress *s, oto_err *e)
{
    oto_client *c;
    int rc = oto_client_new(s->o->url, s->o->key, &c, e);

    if (rc == 0) {
        rc = oto_client_server(c, s->server, sizeof s->server, e);
        oto_client_free(c);
    }
    return rc;
}

int oto_stress_run(const oto_stress_options *o, bool *seen, oto_err *e)
{
    stress *s = calloc(1, sizeof *s);
    int rc;

    *seen = false;
    if (s == NULL || (s->jobs = calloc(MAX_AT_ONCE, sizeof *s->jobs)) == NULL) {
        free(s);
        return oto_fail(e, OTO_E_INTERNAL, "out of memory");
    }
    s->o = o;
    s->started = oto_now_s();
    describe_machine(s->machine, sizeof s->machine);
    if ((rc = ask_server(s, e)) == 0 && (rc = open_jsonl(s, e)) == 0 &&
        (rc = make_recordings(s, e)) == 0)
        rc = open_watch(s, seen, e);
    if (rc == 0 && o->memory)
        rc = memory_phase(s, e);
    if (rc == 0 && o->concurrency)
        rc = concurrency_phase(s, e);
    if (rc == 0 && o->endurance)
        rc = endurance_phase(s, e);
    oto_watch_free(s->watch);
    if (s->jsonl != NULL)
        fclose(s->jsonl);
    remove_recordings(s->folder);
    free(s->jobs);
    free(s);
    return rc;
}
