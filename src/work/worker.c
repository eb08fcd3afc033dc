/* A worker: leases jobs, hands them to its lanes, renews the leases, and keeps its memory level.
 *
 * The main thread owns leases and time; the lanes own jobs; the engine is shared by them. At rest a
 * worker holds the mapped weights and little else: engine and recognisers are let go and free pages
 * returned when nothing has come for a while. */
#include "work/lane.h"
#include "media/media.h"
#include "work/ceiling.h"

#include <errno.h>
#include <malloc.h>
#include <poll.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define LEASE_MS      30000
#define RENEW_MS      5000
#define RENEW_SOON_MS 200
#define TICK_MS       250
#define BEAT_MS       1000
#define EXPIRE_MS     30000
#define REST_MS       3000
/* What a lane that was told to stop may take for the run it is in. */
#define LET_GO_MS 60000
/* The last lane takes recordings up to this length, so that long ones never hold up all of them. */
#define SHORT_MS 120000
/* Resident bytes of a decoder child beyond what it shares. */
#define DECODER_BYTES ((size_t)40 << 20)
/* What a worker holds before it opens a model, roundly. */
#define OWN_BYTES ((size_t)8 << 20)
/* Address space of what a job keeps besides the recogniser's. */
#define LANE_BYTES ((size_t)64 << 20)

/* ---- life ---- */

typedef struct {
    oto_model *asr, *vad, *punc;
} models;

static void plan(const oto_worker_options *o, const models *m, size_t *engine, size_t *lane_bytes)
{
    const oto_recogniser_options r = {
        .asr = m->asr, .vad = m->vad, .punc = m->punc, .threads = o->threads, .batch = o->batch};

    oto_recogniser_plan(&r, engine, lane_bytes);
    *lane_bytes += DECODER_BYTES;
}

/* Of a file that is packed each time it is opened: int8 beside int8. */
static oto_compute punc_compute(oto_compute asr)
{
    return asr == OTO_COMPUTE_F32 || asr == OTO_COMPUTE_BF16 ? OTO_COMPUTE_F32 : OTO_COMPUTE_AUTO;
}

static int open_models(const oto_worker_options *o, models *m, oto_err *e)
{
    int rc = oto_model_open(o->asr_path, o->compute, &m->asr, e);

    if (rc == 0 && o->vad_path != NULL)
        rc = oto_model_open(o->vad_path, OTO_COMPUTE_AUTO, &m->vad, e);
    if (rc == 0 && o->punc_path != NULL)
        rc = oto_model_open(o->punc_path, punc_compute(o->compute), &m->punc, e);
    return rc;
}

static void close_models(models *m)
{
    oto_model_close(m->punc);
    oto_model_close(m->vad);
    oto_model_close(m->asr);
}

int oto_worker_needs(const oto_worker_options *o, size_t *bytes, oto_err *e)
{
    models m = {NULL, NULL, NULL};
    size_t engine, lane_bytes;
    int rc = open_models(o, &m, e);

    if (rc == 0) {
        plan(o, &m, &engine, &lane_bytes);
        *bytes = OWN_BYTES + engine + lane_bytes;
    }
    close_models(&m);
    return rc;
}

static int plan_lanes(oto_worker *w, oto_err *e)
{
    const size_t own = oto_rss_anon_bytes();
    size_t engine, lane_bytes;

    plan(&w->o, &(models){w->asr, w->vad, w->punc}, &engine, &lane_bytes);
    w->n_lanes = OTO_MAX(1, OTO_MIN(w->o.lanes, OTO_MAX_LANES));
    while (w->o.memory_bytes > 0 && w->n_lanes > 1 &&
           own + engine + (size_t)w->n_lanes * lane_bytes > w->o.memory_bytes)
        w->n_lanes--;
    if (w->o.memory_bytes > 0 && own + engine + lane_bytes > w->o.memory_bytes)
        return oto_fail(e, OTO_E_LIMIT,
                        "memory limit too small: %zu MiB for each worker, needs at least %zu MiB",
                        w->o.memory_bytes >> 20, (own + engine + lane_bytes + (1 << 20) - 1) >> 20);
    atomic_store(&w->proc->planned_bytes, (int64_t)(engine + (size_t)w->n_lanes * lane_bytes));
    return 0;
}

static int start_lane(oto_worker *w, int i, oto_err *e)
{
    lane *l = &w->lanes[i];
    int rc, err;

    l->w = w;
    l->index = i;
    if ((rc = oto_store_open(w->o.store, &l->store, e)) != 0 ||
        (rc = oto_arena_new("job", LANE_BYTES, &l->job_arena, e)) != 0 ||
        (rc = oto_arena_new("results of a job", LANE_BYTES, &l->scratch, e)) != 0)
        return rc;
    err = pthread_create(&l->thread, NULL, oto_lane_main, l);
    if (err != 0)
        return oto_fail(e, OTO_E_LIMIT, "thread of lane %d: %s", i + 1, strerror(err));
    l->started = true;
    return 0;
}

/* What a predecessor in this place left behind comes back to the queue. */
static int clear_up(oto_worker *w, oto_err *e)
{
    const bool blame = atomic_load(&w->proc->blame) != 0;
    int n = 0;
    const int rc = oto_store_reclaim(w->store, w->name, blame, oto_clock_ms(), &n, e);

    if (rc == 0) /* else it is the next one's to do */
        atomic_store(&w->proc->blame, 0);
    memset(w->proc->jobs_running, 0, sizeof w->proc->jobs_running);
    if (rc == 0 && n > 0)
        oto_log(OTO_LOG_WARN, "%s: %d job(s) of its predecessor are queued again", w->name, n);
    return rc;
}

static int open_worker(oto_worker *w, oto_err *e)
{
    models m = {NULL, NULL, NULL};
    int rc;

    if ((rc = oto_media_prepare(e)) != 0 || (rc = oto_store_open(w->o.store, &w->store, e)) != 0 ||
        (rc = clear_up(w, e)) != 0)
        return rc;
    rc = open_models(&w->o, &m, e);
    w->asr = m.asr;
    w->vad = m.vad;
    w->punc = m.punc;
    if (rc != 0 || (rc = plan_lanes(w, e)) != 0)
        return rc;
    for (int i = 0; i < w->n_lanes && rc == 0; i++)
        rc = start_lane(w, i, e);
    atomic_store(&w->proc->lanes, w->n_lanes);
    return rc;
}

static int n_busy(oto_worker *w)
{
    int n = 0;

    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < w->n_lanes; i++)
        n += w->lanes[i].busy;
    pthread_mutex_unlock(&w->lock);
    return n;
}

static void close_worker(oto_worker *w)
{
    pthread_mutex_lock(&w->lock);
    w->quit = true;
    pthread_cond_broadcast(&w->work);
    pthread_mutex_unlock(&w->lock);
    for (int i = 0; i < w->n_lanes; i++) {
        lane *l = &w->lanes[i];

        if (l->started)
            pthread_join(l->thread, NULL);
        oto_recogniser_free(l->recogniser);
        oto_store_close(l->store);
        oto_arena_free(l->job_arena);
        oto_arena_free(l->scratch);
    }
    oto_engine_free(w->engine);
    close_models(&(models){w->asr, w->vad, w->punc});
    oto_store_close(w->store);
}

/* ---- leases ---- */

static int ensure_engine(oto_worker *w, oto_err *e)
{
    oto_recogniser_options r = {.asr = w->asr, .threads = w->o.threads, .batch = w->o.batch};
    oto_engine_options o;

    if (w->engine != NULL)
        return 0;
    oto_recogniser_defaults(&r);
    o = (oto_engine_options){r.asr, r.threads, r.batch, r.max_beam};
    return oto_engine_new(&o, &w->engine, e);
}

/* The free lane for the next job; the last one only for short recordings. */
static lane *free_lane(oto_worker *w, int64_t *max_audio_ms)
{
    lane *found = NULL;

    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < w->n_lanes && found == NULL; i++)
        if (!w->lanes[i].busy) {
            found = &w->lanes[i];
            *max_audio_ms = i > 0 && i == w->n_lanes - 1 ? SHORT_MS : 0;
        }
    pthread_mutex_unlock(&w->lock);
    return found;
}

static void hand_over(oto_worker *w, lane *l)
{
    snprintf(w->proc->jobs_running[l->index], sizeof w->proc->jobs_running[0], "%s", l->job.id);
    atomic_store(&l->stop, false);
    pthread_mutex_lock(&w->lock);
    l->busy = true;
    pthread_cond_broadcast(&w->work);
    pthread_mutex_unlock(&w->lock);
}

/* Fills the free lanes. False when the store cannot be used any more. */
static bool take_jobs(oto_worker *w)
{
    int64_t max_audio_ms;
    oto_err e = {0};
    lane *l;
    int rc;

    while ((l = free_lane(w, &max_audio_ms)) != NULL) {
        rc = oto_store_lease(w->store, w->name, LEASE_MS, max_audio_ms, oto_clock_ms(),
                             l->job_arena, &l->job, l->token, &e);
        if (rc == OTO_E_NOT_FOUND || rc == OTO_E_BUSY || rc == OTO_E_NO_SPACE)
            return true;
        if (rc != 0) {
            oto_log(OTO_LOG_ERROR, "%s: %s", w->name, e.text);
            return false;
        }
        if ((rc = ensure_engine(w, &e)) != 0) {
            oto_log(OTO_LOG_ERROR, "%s: %s", w->name, e.text);
            if (oto_store_release(w->store, l->job.id, l->token, oto_clock_ms(), &e) != 0)
                oto_log(OTO_LOG_ERROR, "%s: %s", w->name, e.text);
            return false;
        }
        hand_over(w, l);
    }
    return true;
}

static void renew_leases(oto_worker *w)
{
    for (int i = 0; i < w->n_lanes; i++) {
        lane *l = &w->lanes[i];
        bool cancelled = false, busy;
        char id[40], token[33];

        pthread_mutex_lock(&w->lock);
        busy = l->busy;
        memcpy(id, w->proc->jobs_running[i], sizeof id);
        memcpy(token, l->token, sizeof token);
        pthread_mutex_unlock(&w->lock);
        if (!busy)
            continue;
        if (oto_store_renew(w->store, id, token, LEASE_MS, oto_clock_ms(), &cancelled, NULL) == 0 &&
            cancelled)
            atomic_store(&l->stop, true);
    }
}

/* ---- memory ---- */

/* Engine and recognisers go, free pages return to the system. */
static void rest(oto_worker *w)
{
    const size_t before = oto_rss_anon_bytes();
    size_t after;

    for (int i = 0; i < w->n_lanes; i++) {
        oto_recogniser_free(w->lanes[i].recogniser);
        w->lanes[i].recogniser = NULL;
        oto_arena_trim(w->lanes[i].job_arena);
        oto_arena_trim(w->lanes[i].scratch);
    }
    oto_engine_free(w->engine);
    w->engine = NULL;
    malloc_trim(0);
    after = oto_rss_anon_bytes();
    atomic_fetch_add(&w->proc->trims, 1);
    atomic_fetch_add(&w->proc->trimmed_bytes, (int64_t)(before - OTO_MIN(before, after)));
    oto_log(OTO_LOG_DEBUG, "%s: at rest, memory %.1f -> %.1f MB", w->name, (double)before / 1048576,
            (double)after / 1048576);
}

static const char *reason_to_retire(const oto_worker *w, int64_t started_ms, size_t at_start)
{
    const oto_worker_options *o = &w->o;

    if (o->recycle_jobs > 0 && atomic_load(&w->proc->jobs) >= o->recycle_jobs)
        return "jobs done";
    if (o->recycle_s > 0 && oto_now_ms() - started_ms >= (int64_t)o->recycle_s * 1000)
        return "age";
    if (o->recycle_bytes > 0 && w->engine == NULL &&
        oto_rss_anon_bytes() > at_start + o->recycle_bytes)
        return "growth";
    if (o->memory_bytes > 0 && oto_rss_bytes() > o->memory_bytes)
        return "memory limit";
    return NULL;
}

static void beat(oto_worker *w)
{
    oto_engine_stats s;

    oto_board_beat(w->proc);
    atomic_store(&w->proc->busy_lanes, n_busy(w));
    if (w->engine == NULL)
        return;
    oto_engine_stats_get(w->engine, &s);
    atomic_store(&w->proc->runs, s.runs);
    atomic_store(&w->proc->mixed_runs, s.mixed_runs);
    atomic_store(&w->proc->windows, s.windows);
}

/* ---- the loop ---- */

typedef struct {
    int64_t renewed, beaten, expired, idle_since;
    int64_t draining_since; /* 0: not */
    int64_t started;
    size_t at_start;
    int status;
    bool rung; /* and leases not renewed since */
} clockwork;

static void drain(oto_worker *w, clockwork *c, const char *why, int status)
{
    if (c->draining_since != 0)
        return;
    oto_log(OTO_LOG_INFO, "%s: %s, taking no more jobs", w->name, why);
    c->draining_since = oto_now_ms();
    c->status = status;
    atomic_store(&w->proc->state, OTO_PROC_DRAINING);
}

static void stop_lanes(oto_worker *w)
{
    for (int i = 0; i < w->n_lanes; i++)
        atomic_store(&w->lanes[i].stop, true);
}

static bool store_lost(const oto_worker *w)
{
    for (int i = 0; i < w->n_lanes; i++)
        if (atomic_load(&w->lanes[i].no_store))
            return true;
    return false;
}

/* What is due by the clock. */
static void keep_time(oto_worker *w, clockwork *c)
{
    const int64_t now = oto_now_ms();
    const int busy = n_busy(w);
    const char *why;
    int n;

    if (now - c->renewed >= RENEW_MS || (c->rung && now - c->renewed >= RENEW_SOON_MS)) {
        renew_leases(w);
        c->renewed = now;
        c->rung = false;
    }
    if (now - c->beaten >= BEAT_MS) {
        beat(w);
        c->beaten = now;
    }
    if (now - c->expired >= EXPIRE_MS) {
        if (oto_store_expire(w->store, oto_clock_ms(), &n, NULL) == 0 && n > 0)
            oto_log(OTO_LOG_WARN, "%s: %d lease(s) had run out", w->name, n);
        c->expired = now;
    }
    if (busy > 0)
        c->idle_since = now;
    else if (w->engine != NULL && now - c->idle_since >= REST_MS) {
        rest(w);
        if (c->at_start == 0)
            c->at_start = oto_rss_anon_bytes();
    }
    why = c->at_start > 0 || w->o.recycle_bytes == 0 || w->engine != NULL
              ? reason_to_retire(w, c->started, c->at_start)
              : NULL;
    if (why != NULL)
        drain(w, c, why, OTO_EXIT_RECYCLE);
    if (store_lost(w)) {
        drain(w, c, "the store cannot be written", 1);
        stop_lanes(w);
    }
    if (c->draining_since == 0)
        return;
    if (now - c->draining_since >= (int64_t)w->o.drain_s * 1000)
        stop_lanes(w);
    /* It would take no more jobs and have no successor either. */
    if (now - c->draining_since >= (int64_t)w->o.drain_s * 1000 + LET_GO_MS) {
        oto_log(OTO_LOG_ERROR, "%s: %d job(s) do not stop, leaving them to a successor", w->name,
                n_busy(w));
        _exit(c->status);
    }
}

static bool wait_for_bell(const oto_worker *w, int signals, bool *terminate)
{
    struct pollfd fds[2] = {{.fd = w->proc->bell, .events = POLLIN},
                            {.fd = signals, .events = POLLIN}};
    struct signalfd_siginfo info;
    uint64_t count;

    if (poll(fds, 2, TICK_MS) <= 0)
        return false;
    if ((fds[1].revents & POLLIN) != 0 && read(signals, &info, sizeof info) == sizeof info)
        *terminate = true;
    return (fds[0].revents & POLLIN) != 0 && read(w->proc->bell, &count, sizeof count) > 0;
}

static int work(oto_worker *w, int signals)
{
    clockwork c = {.started = oto_now_ms(), .idle_since = oto_now_ms()};
    bool terminate = false;

    for (;;) {
        c.rung = wait_for_bell(w, signals, &terminate) || c.rung;
        if (terminate)
            drain(w, &c, "asked to stop", 0);
        if (c.draining_since == 0 && !take_jobs(w))
            drain(w, &c, "the store cannot be used", 1);
        keep_time(w, &c);
        if (c.draining_since != 0 && n_busy(w) == 0)
            return c.status;
    }
}

int oto_worker_run(const oto_worker_options *o, oto_board *b, int index)
{
    static oto_worker w;
    sigset_t set;
    oto_err e = {0};
    int signals, rc;

    w.o = *o;
    w.board = b;
    w.index = index;
    w.proc = &b->workers[index];
    snprintf(w.name, sizeof w.name, "worker-%d", index + 1);
    pthread_mutex_init(&w.lock, NULL);
    pthread_cond_init(&w.work, NULL);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals < 0)
        rc = oto_fail_errno(&e, "%s", w.name);
    else
        rc = open_worker(&w, &e);
    if (rc == 0) {
        oto_ceiling_data(w.o.data_bytes);
        atomic_store(&w.proc->state, OTO_PROC_READY);
        oto_board_beat(w.proc);
        oto_board_ring(&b->gateway);
        rc = work(&w, signals);
    } else {
        oto_log(OTO_LOG_ERROR, "%s: %s", w.name, e.text);
        rc = 1;
    }
    close_worker(&w);
    return rc;
}
