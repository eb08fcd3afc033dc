/* A worker: leases jobs, hands them to its lanes, renews the leases, and keeps its memory level.
 *
 * The main thread owns leases, time and models; the lanes own jobs; a model's engine is shared by
 * those that use it. At rest a worker holds the default model's mapped weights and little else:
 * engines and recognisers are let go and free pages returned when nothing has come for a while.
 *
 * A job whose model does not fit beside those in use is parked in its lane. Meanwhile nothing is
 * leased that would keep those in use longer than the longest job they have already, so its turn
 * comes. */
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
/* A model that nobody uses while others are busy. */
#define UNUSED_MS 30000
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

/* The models beside the recogniser's; either may be NULL. */
typedef struct {
    oto_model *vad, *punc;
} beside;

/* model: of `asr` alone; shared: of all models together; lane: of each job at once. */
static void plan(const oto_worker_options *o, const oto_model *asr, const beside *b, size_t *model,
                 size_t *shared, size_t *lane_bytes)
{
    const oto_recogniser_options r = {
        .asr = asr, .vad = b->vad, .punc = b->punc, .threads = o->threads, .batch = o->batch};

    oto_recogniser_plan(&r, shared, lane_bytes);
    *model = oto_engine_bytes(&r);
    *shared -= *model;
    *lane_bytes += DECODER_BYTES;
}

/* Of a file that is packed each time it is opened: int8 beside int8. */
static oto_compute punc_compute(oto_compute asr)
{
    return asr == OTO_COMPUTE_F32 || asr == OTO_COMPUTE_BF16 ? OTO_COMPUTE_F32 : OTO_COMPUTE_AUTO;
}

static int open_beside(const oto_worker_options *o, beside *b, oto_err *e)
{
    int rc = o->vad_path != NULL ? oto_model_open(o->vad_path, OTO_COMPUTE_AUTO, &b->vad, e) : 0;

    if (rc == 0 && o->punc_path != NULL)
        rc = oto_model_open(o->punc_path, punc_compute(o->compute), &b->punc, e);
    return rc;
}

static void close_beside(beside *b)
{
    oto_model_close(b->punc);
    oto_model_close(b->vad);
}

int oto_worker_needs(const oto_worker_options *o, size_t each[], size_t *bytes, oto_err *e)
{
    size_t largest = 0, shared = 0, lane_bytes = 0;
    beside b = {NULL, NULL};
    int rc = open_beside(o, &b, e);

    for (int i = 0; i < o->n_models && rc == 0; i++) {
        size_t with_it, of_a_lane;
        oto_model *asr;

        if ((rc = oto_model_open(o->models[i].path, o->compute, &asr, e)) != 0)
            break;
        plan(o, asr, &b, &each[i], &with_it, &of_a_lane);
        largest = OTO_MAX(largest, each[i]);
        shared = OTO_MAX(shared, with_it); /* punctuation is not every model's */
        lane_bytes = OTO_MAX(lane_bytes, of_a_lane);
        oto_model_close(asr);
    }
    *bytes = OWN_BYTES + largest + shared + lane_bytes;
    close_beside(&b);
    return rc;
}

/* What the models may take beside the lanes; without a limit for the worker that on its data
 * holds. */
static void plan_residents(oto_worker *w, size_t taken)
{
    const size_t limit = w->o.memory_bytes > 0 ? w->o.memory_bytes : w->o.data_bytes;
    oto_residents *r = &w->shelf.residents;

    r->n = w->o.n_models;
    for (int i = 0; i < r->n; i++)
        r->of[i].bytes = w->o.models[i].bytes;
    r->budget = limit == 0 ? 0 : OTO_MAX(limit, taken + 1) - taken;
}

/* As many lanes as there is room for beside the largest model. */
static int plan_lanes(oto_worker *w, oto_err *e)
{
    const size_t own = oto_rss_anon_bytes();
    size_t engine, shared, lane_bytes;

    plan(&w->o, w->shelf.of[0].model, &(beside){w->vad, w->punc}, &engine, &shared, &lane_bytes);
    if (w->punc != NULL) { /* for others, when the first does without */
        oto_model_info first, punc;

        oto_model_info_get(w->shelf.of[0].model, &first);
        oto_model_info_get(w->punc, &punc);
        shared += first.punctuates ? punc.bytes : 0;
    }
    for (int i = 1; i < w->o.n_models; i++)
        engine = OTO_MAX(engine, w->o.models[i].bytes);
    engine += shared;
    w->n_lanes = OTO_MAX(1, OTO_MIN(w->o.lanes, OTO_MAX_LANES));
    while (w->o.memory_bytes > 0 && w->n_lanes > 1 &&
           own + engine + (size_t)w->n_lanes * lane_bytes > w->o.memory_bytes)
        w->n_lanes--;
    if (w->o.memory_bytes > 0 && own + engine + lane_bytes > w->o.memory_bytes)
        return oto_fail(e, OTO_E_LIMIT,
                        "memory limit too small: %zu MiB for each worker, needs at least %zu MiB",
                        w->o.memory_bytes >> 20, (own + engine + lane_bytes + (1 << 20) - 1) >> 20);
    plan_residents(w, own + shared + (size_t)w->n_lanes * lane_bytes);
    if (w->o.n_models > 1)
        engine = shared + oto_residents_most(&w->shelf.residents);
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

/* What a predecessor in this place left behind comes back to the queue. Who only waited for a model
 * had no part in its death. */
static int clear_up(oto_worker *w, oto_err *e)
{
    const bool blame = atomic_load(&w->proc->blame) != 0;
    int n = 0, rc;

    for (int i = 0; i < OTO_MAX_LANES; i++)
        if (w->proc->waiting[i][0] != '\0')
            (void)!oto_store_release(w->store, w->proc->jobs_running[i], w->proc->waiting[i],
                                     oto_clock_ms(), NULL);
    rc = oto_store_reclaim(w->store, w->name, blame, oto_clock_ms(), &n, e);
    if (rc != 0) /* the next one's to do, which has to know who only waited */
        return rc;
    atomic_store(&w->proc->blame, 0);
    memset(w->proc->jobs_running, 0, sizeof w->proc->jobs_running);
    memset(w->proc->waiting, 0, sizeof w->proc->waiting);
    if (n > 0)
        oto_log(OTO_LOG_WARN, "%s: %d job(s) of its predecessor are queued again", w->name, n);
    return 0;
}

static int open_worker(oto_worker *w, oto_err *e)
{
    beside b = {NULL, NULL};
    int rc;

    if ((rc = oto_media_prepare(e)) != 0 || (rc = oto_store_open(w->o.store, &w->store, e)) != 0 ||
        (rc = clear_up(w, e)) != 0 || (rc = oto_shelf_map(&w->shelf, 0, e)) != 0)
        return rc;
    rc = open_beside(&w->o, &b, e);
    w->vad = b.vad;
    w->punc = b.punc;
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
    oto_shelf_close(&w->shelf);
    close_beside(&(beside){w->vad, w->punc});
    oto_store_close(w->store);
}

/* ---- models ---- */

/* Lanes without a job have no use for a recogniser of another model, or (-1) of any. */
static void free_recognisers(oto_worker *w, int model)
{
    for (int i = 0; i < w->n_lanes; i++) {
        lane *l = &w->lanes[i];
        bool busy;

        pthread_mutex_lock(&w->lock);
        busy = l->busy;
        pthread_mutex_unlock(&w->lock);
        if (busy || l->recogniser == NULL || (model >= 0 && l->model != model))
            continue;
        oto_recogniser_free(l->recogniser);
        l->recogniser = NULL;
    }
}

static void put_away(oto_worker *w, int model)
{
    oto_log(OTO_LOG_DEBUG, "%s: puts away %s", w->name, w->o.models[model].name);
    free_recognisers(w, model);
    oto_shelf_put_away(&w->shelf, model);
    malloc_trim(0);
}

static void look_who_uses_what(oto_worker *w)
{
    int users[OTO_MAX_MODELS] = {0};

    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < w->n_lanes; i++)
        users[w->lanes[i].model] += w->lanes[i].busy;
    pthread_mutex_unlock(&w->lock);
    oto_residents_look(&w->shelf.residents, users, oto_now_ms());
}

/* Room for a model, others put away for it; false while there is none. */
static bool make_room(oto_worker *w, int model)
{
    int out[OTO_MAX_MODELS], n;

    look_who_uses_what(w);
    if (!oto_residents_room(&w->shelf.residents, model, out, &n))
        return false;
    for (int i = 0; i < n; i++)
        put_away(w, out[i]);
    return true;
}

/* ---- leases ---- */

/* The free lane for the next job; the last one only for short recordings. */
static lane *free_lane(oto_worker *w, int64_t *max_audio_ms)
{
    lane *found = NULL;

    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < w->n_lanes && found == NULL; i++)
        if (!w->lanes[i].busy && w->lanes[i].parked == 0) {
            found = &w->lanes[i];
            *max_audio_ms = i > 0 && i == w->n_lanes - 1 ? SHORT_MS : 0;
        }
    pthread_mutex_unlock(&w->lock);
    return found;
}

static void hand_over(oto_worker *w, lane *l, int model)
{
    if (l->recogniser != NULL && l->model != model) {
        oto_recogniser_free(l->recogniser);
        l->recogniser = NULL;
    }
    atomic_store(&l->stop, false);
    pthread_mutex_lock(&w->lock);
    l->model = model;
    l->engine = w->shelf.of[model].engine;
    l->audio_ms = l->job.audio_ms;
    l->began = ++w->turns;
    l->done_ms = l->job.checkpoint_ms;
    l->busy = true;
    pthread_cond_broadcast(&w->work);
    pthread_mutex_unlock(&w->lock);
    atomic_store(&w->proc->busy_lanes, n_busy(w));
}

/* The lane is free again, its job another's or nobody's. */
static void let_go(oto_worker *w, lane *l, int rc, const oto_err *e)
{
    if (rc != 0)
        oto_log(OTO_LOG_ERROR, "%s: job %s: %s", w->name, l->job.id, e->text);
    pthread_mutex_lock(&w->lock);
    w->proc->jobs_running[l->index][0] = '\0';
    w->proc->waiting[l->index][0] = '\0';
    l->parked = 0;
    pthread_mutex_unlock(&w->lock);
    oto_arena_reset(l->job_arena);
    oto_board_ring(&w->board->gateway);
}

static void give_back(oto_worker *w, lane *l)
{
    oto_err e = {0};
    const int rc = oto_store_release(w->store, l->job.id, l->token, oto_clock_ms(), &e);

    let_go(w, l, rc, &e);
}

static void refuse(oto_worker *w, lane *l, int code, const char *why, bool again)
{
    oto_err e = {0};
    int rc;

    oto_log(OTO_LOG_WARN, "job %s: %s", l->job.id, why);
    rc = oto_store_fail(w->store, l->job.id, l->token, oto_err_name(code), why, again,
                        oto_clock_ms(), &e);
    let_go(w, l, rc, &e);
}

/* ---- a job and its model ---- */

/* Options that cannot be read are the lane's to complain of. */
static int model_of(oto_worker *w, const lane *l, oto_err *e)
{
    const oto_mark mark = oto_arena_mark(l->job_arena); /* asked again while the job waits */
    oto_request r;
    int i = 0;

    if (oto_request_read(l->job.options, l->job_arena, &r, NULL) == 0)
        i = oto_shelf_find(&w->shelf, r.model);
    if (i < 0)
        i = oto_fail(e, OTO_E_NOT_FOUND, "this server no longer has the model '%.200s'", r.model);
    oto_arena_rollback(l->job_arena, mark);
    return i;
}

typedef enum { PLACED, NO_ROOM, LOST } placing;

/* Runs the lane's job when its model is there or can be; a model that is not there any more is the
 * job's failure. LOST: nothing runs here any more. */
static placing place(oto_worker *w, lane *l)
{
    oto_err e = {0};
    const int model = model_of(w, l, &e);
    int rc;

    if (model < 0) {
        refuse(w, l, model, e.text, false);
        return PLACED;
    }
    if (!make_room(w, model))
        return NO_ROOM;
    w->proc->waiting[l->index][0] = '\0'; /* opening its model may be what kills this worker */
    if (w->shelf.of[model].model == NULL)
        oto_log(OTO_LOG_DEBUG, "%s: opens %s", w->name, w->o.models[model].name);
    if ((rc = oto_shelf_map(&w->shelf, model, &e)) != 0) {
        oto_log(OTO_LOG_ERROR, "%s: %s", w->name, e.text); /* paths are not for clients */
        oto_fail(&e, rc, "the model '%.200s' cannot be opened", w->o.models[model].name);
        refuse(w, l, OTO_E_UNAVAILABLE, e.text, true);
        return PLACED;
    }
    if (oto_shelf_engine(&w->shelf, model, &e) != 0) {
        oto_log(OTO_LOG_ERROR, "%s: %s", w->name, e.text);
        if (w->o.n_models > 1) { /* the others go on */
            put_away(w, model);
            oto_fail(&e, OTO_E_UNAVAILABLE, "no memory for the model '%.200s'",
                     w->o.models[model].name);
            refuse(w, l, OTO_E_UNAVAILABLE, e.text, true);
            return PLACED;
        }
        give_back(w, l);
        return LOST;
    }
    hand_over(w, l, model);
    return PLACED;
}

/* Of the jobs that wait for a model the first in turn; NULL: none waits. */
static lane *next_parked(oto_worker *w)
{
    lane *first = NULL;

    for (int i = 0; i < w->n_lanes; i++)
        if (w->lanes[i].parked != 0 && (first == NULL || w->lanes[i].parked < first->parked))
            first = &w->lanes[i];
    return first;
}

/* Another worker with nothing to do, which has room for any model. */
static bool other_is_idle(const oto_worker *w, int *index)
{
    for (int i = 0; i < w->board->n_workers; i++) {
        const oto_board_proc *p = &w->board->workers[i];

        *index = i;
        if (i != w->index && atomic_load(&p->state) == OTO_PROC_READY &&
            atomic_load(&p->busy_lanes) == 0)
            return true;
    }
    return false;
}

static bool place_parked(oto_worker *w)
{
    placing done;
    lane *l;
    int other;

    for (int i = 0; i < w->n_lanes; i++)
        if (w->lanes[i].parked != 0 && atomic_load(&w->lanes[i].stop))
            give_back(w, &w->lanes[i]);
    while ((l = next_parked(w)) != NULL) {
        const int64_t turn = l->parked;

        l->parked = 0;
        if ((done = place(w, l)) == LOST)
            return false;
        if (done == NO_ROOM && other_is_idle(w, &other)) {
            give_back(w, l);
            oto_board_ring(&w->board->workers[other]);
        } else if (done == NO_ROOM) {
            l->parked = turn;
            break;
        }
    }
    return true;
}

/* How long a recording may be that begins while others wait for a model, the first since `turn`; 0:
 * none may. Those that began meanwhile do not count, or there would be no end. */
static int64_t may_begin_ms(oto_worker *w, int64_t turn)
{
    int64_t most = 0;

    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < w->n_lanes; i++)
        if (w->lanes[i].busy && w->lanes[i].began < turn)
            most = OTO_MAX(most, w->lanes[i].audio_ms - w->lanes[i].done_ms);
    pthread_mutex_unlock(&w->lock);
    return most;
}

/* Fills the free lanes. False when the store cannot be used any more. */
static bool take_jobs(oto_worker *w)
{
    int64_t max_audio_ms;
    oto_err e = {0};
    placing done;
    lane *l;
    int rc, other;

    if (!place_parked(w))
        return false;
    while ((l = free_lane(w, &max_audio_ms)) != NULL) {
        const lane *waits = next_parked(w);

        if (waits != NULL) {
            const int64_t most = may_begin_ms(w, waits->parked);

            if (most <= 0)
                return true;
            max_audio_ms = max_audio_ms > 0 ? OTO_MIN(max_audio_ms, most) : most;
        }
        rc = oto_store_lease(w->store, w->name, LEASE_MS, max_audio_ms, oto_clock_ms(),
                             l->job_arena, &l->job, l->token, &e);
        if (rc == OTO_E_NOT_FOUND || rc == OTO_E_BUSY || rc == OTO_E_NO_SPACE)
            return true;
        if (rc != 0) {
            oto_log(OTO_LOG_ERROR, "%s: %s", w->name, e.text);
            return false;
        }
        snprintf(w->proc->jobs_running[l->index], sizeof w->proc->jobs_running[0], "%s", l->job.id);
        if ((done = place(w, l)) == LOST)
            return false;
        if (done == NO_ROOM && other_is_idle(w, &other)) {
            give_back(w, l);
            oto_board_ring(&w->board->workers[other]);
            return true;
        }
        if (done == NO_ROOM) {
            atomic_store(&l->stop, false);
            l->parked = ++w->turns;
            memcpy(w->proc->waiting[l->index], l->token, sizeof l->token);
        }
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
        busy = l->busy || l->parked != 0;
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

    free_recognisers(w, -1);
    for (int i = 0; i < w->n_lanes; i++) {
        oto_arena_trim(w->lanes[i].job_arena);
        oto_arena_trim(w->lanes[i].scratch);
    }
    oto_shelf_rest(&w->shelf);
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
    if (o->recycle_bytes > 0 && !oto_shelf_works(&w->shelf) &&
        oto_rss_anon_bytes() > at_start + o->recycle_bytes)
        return "growth";
    if (o->memory_bytes > 0 && oto_rss_bytes() > o->memory_bytes)
        return "memory limit";
    return NULL;
}

static void beat(oto_worker *w)
{
    int64_t runs, mixed_runs, windows;

    oto_board_beat(w->proc);
    atomic_store(&w->proc->busy_lanes, n_busy(w));
    atomic_store(&w->proc->models_held, oto_shelf_held(&w->shelf));
    atomic_store(&w->proc->model_opens, w->shelf.opens);
    oto_shelf_stats(&w->shelf, &runs, &mixed_runs, &windows);
    atomic_store(&w->proc->runs, runs);
    atomic_store(&w->proc->mixed_runs, mixed_runs);
    atomic_store(&w->proc->windows, windows);
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
    for (int i = 0; i < w->n_lanes; i++)
        if (w->lanes[i].parked != 0)
            give_back(w, &w->lanes[i]);
}

/* A model that others have outlived does not stay for them. */
static void put_away_unused(oto_worker *w, int64_t now)
{
    int model;

    look_who_uses_what(w);
    if ((model = oto_residents_stale(&w->shelf.residents, now - UNUSED_MS)) >= 0)
        put_away(w, model);
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
    const bool expire = now - c->expired >= EXPIRE_MS;
    const int busy = n_busy(w);
    const char *why;
    int n;

    /* Its own leases before it looks whose ran out: they go by the wall clock, which may leap. */
    if (expire || now - c->renewed >= RENEW_MS || (c->rung && now - c->renewed >= RENEW_SOON_MS)) {
        renew_leases(w);
        c->renewed = now;
        c->rung = false;
    }
    if (now - c->beaten >= BEAT_MS) {
        beat(w);
        c->beaten = now;
    }
    if (expire) {
        if (oto_store_expire(w->store, oto_clock_ms(), &n, NULL) == 0 && n > 0)
            oto_log(OTO_LOG_WARN, "%s: %d lease(s) had run out", w->name, n);
        c->expired = now;
    }
    if (busy > 0)
        c->idle_since = now;
    else if (oto_shelf_works(&w->shelf) && now - c->idle_since >= REST_MS) {
        rest(w);
        if (c->at_start == 0)
            c->at_start = oto_rss_anon_bytes();
    }
    if (busy > 0 && w->o.n_models > 1)
        put_away_unused(w, now);
    why = c->at_start > 0 || w->o.recycle_bytes == 0 || oto_shelf_works(&w->shelf)
              ? reason_to_retire(w, c->started, c->at_start)
              : NULL;
    if (why != NULL)
        drain(w, c, why, OTO_EXIT_RECYCLE);
    if (store_lost(w)) {
        drain(w, c, "the store cannot be written", OTO_EXIT_STORE);
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
            drain(w, &c, "the store cannot be used", OTO_EXIT_STORE);
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
    w.shelf.o = &w.o;
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
