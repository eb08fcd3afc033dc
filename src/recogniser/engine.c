/* One model's state, shared by the recognisers of a process.
 *
 * Each recogniser runs on a thread of its own and puts windows here as they become ready. Whoever
 * waits first leads: it lets windows into the model's places, runs the model step by step, and
 * hands out what has ended, until one of its own is among it; then the next one leads, and the
 * others sleep. A place that is free is taken at once, by the recording that has the fewest. So a
 * short recording gets its window in as soon as any window ends, and a long one alone fills all
 * places.
 *
 * What comes of a window does not depend on what else is under way, so sharing changes no text.
 *
 * Windows that nobody wants any more are dropped between two steps. */
#include "recogniser/recogniser.h"
#include "recogniser/parts.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Of what ends. Address space. */
#define SCRATCH_BYTES ((size_t)256 << 20)
/* How often one that waits asks whether it is still wanted. */
#define ASK_MS 100
/* How long one engine keeps a crew that another waits for. */
#define TURN_MS 200

/* In the queue for a crew: a mutex alone would let the last holder in again. */
typedef struct turn {
    struct turn *next;
} turn;

struct oto_crew {
    oto_pool *pool;
    pthread_mutex_t lock;
    pthread_cond_t change;
    turn *first; /* has the pool; the others wait */
};

struct oto_engine {
    oto_engine_options o;
    oto_pool *pool; /* its own, or the crew's */
    oto_arena *state, *scratch;
    oto_asr *asr;
    oto_ticket **places; /* [batch]; NULL: free */
    turn turn;
    int64_t turn_ms; /* since when it is ours */
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool led;                 /* someone leads: the model is theirs */
    oto_ticket *first, **end; /* wait for a place */
    oto_engine_stats stats;
};

/* ---- waiting ---- */

static void change_init(pthread_cond_t *change)
{
    pthread_condattr_t monotonic;

    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(change, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

/* Nobody rings when a window is stopped: it looks itself now and then. */
static void wait_for_change(pthread_cond_t *change, pthread_mutex_t *lock, const oto_stop *stop)
{
    struct timespec until;

    if (stop->ask == NULL) {
        pthread_cond_wait(change, lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += ASK_MS * 1000000L;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    pthread_cond_timedwait(change, lock, &until);
}

/* ---- a crew ---- */

int oto_crew_new(int threads, oto_crew **out, oto_err *e)
{
    oto_crew *c = calloc(1, sizeof *c);
    int rc;

    if (c == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    pthread_mutex_init(&c->lock, NULL);
    change_init(&c->change);
    if ((rc = oto_pool_new(threads, OTO_POOL_SCRATCH_BYTES, &c->pool, e)) != 0) {
        oto_crew_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

void oto_crew_free(oto_crew *c)
{
    if (c == NULL)
        return;
    oto_pool_free(c->pool);
    pthread_cond_destroy(&c->change);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

/* False: stopped before its turn came, and no longer in the queue. */
static bool take_turn(oto_crew *c, turn *t, const oto_stop *stop)
{
    turn **at;
    bool ours;

    t->next = NULL;
    pthread_mutex_lock(&c->lock);
    for (at = &c->first; *at != NULL;)
        at = &(*at)->next;
    *at = t;
    while (c->first != t && !oto_stopped(stop))
        wait_for_change(&c->change, &c->lock, stop);
    ours = c->first == t;
    if (!ours) {
        for (at = &c->first; *at != t;)
            at = &(*at)->next;
        *at = t->next;
    }
    pthread_mutex_unlock(&c->lock);
    return ours;
}

static void end_turn(oto_crew *c)
{
    pthread_mutex_lock(&c->lock);
    c->first = c->first->next;
    pthread_cond_broadcast(&c->change);
    pthread_mutex_unlock(&c->lock);
}

static bool others_wait(oto_crew *c)
{
    bool yes;

    pthread_mutex_lock(&c->lock);
    yes = c->first->next != NULL;
    pthread_mutex_unlock(&c->lock);
    return yes;
}

/* ---- life ---- */

int oto_engine_new(const oto_engine_options *o, oto_engine **out, oto_err *e)
{
    const size_t n = (size_t)o->batch;
    oto_engine *g = calloc(1, sizeof *g);
    int rc;

    if (g == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    g->o = *o;
    pthread_mutex_init(&g->lock, NULL);
    change_init(&g->change);
    g->end = &g->first;
    if (o->crew != NULL)
        g->pool = o->crew->pool;
    else if ((rc = oto_pool_new(o->threads, OTO_POOL_SCRATCH_BYTES, &g->pool, e)) != 0) {
        oto_engine_free(g);
        return rc;
    }
    /* The model's own figure, the places, and a page for what lies between its blocks. */
    if ((rc = oto_arena_new("recogniser",
                            oto_asr_bytes(o->asr, o->batch, o->max_beam) + n * sizeof *g->places +
                                4096,
                            &g->state, e)) != 0 ||
        (rc = oto_asr_new(o->asr, o->batch, o->max_beam, g->pool, g->state, &g->asr, e)) != 0 ||
        (rc = oto_arena_get(g->state, n, sizeof(oto_ticket *), &g->places, e)) != 0 ||
        (rc = oto_arena_new("alignment", SCRATCH_BYTES, &g->scratch, e)) != 0) {
        oto_engine_free(g);
        return rc;
    }
    memset(g->places, 0, n * sizeof(oto_ticket *));
    *out = g;
    return 0;
}

void oto_engine_free(oto_engine *g)
{
    if (g == NULL)
        return;
    oto_arena_free(g->scratch);
    oto_arena_free(g->state);
    if (g->o.crew == NULL)
        oto_pool_free(g->pool);
    pthread_cond_destroy(&g->change);
    pthread_mutex_destroy(&g->lock);
    free(g);
}

const oto_engine_options *oto_engine_options_get(const oto_engine *g)
{
    return &g->o;
}

void oto_engine_stats_get(oto_engine *g, oto_engine_stats *out)
{
    pthread_mutex_lock(&g->lock);
    *out = g->stats;
    pthread_mutex_unlock(&g->lock);
}

/* ---- tickets ---- */

/* All of these are called with the lock held. */

static void finish(oto_ticket *t, int rc)
{
    t->rc = rc;
    t->done = true;
}

static void cancel(oto_ticket *t)
{
    finish(t, oto_fail(&t->error, OTO_E_CANCELLED, "cancelled"));
}

static bool is_wanted(const oto_ticket *t)
{
    return !t->unwanted && !oto_stopped(&t->o->stop);
}

static void unlink_ticket(oto_engine *g, oto_ticket **at)
{
    *at = (*at)->next;
    if (*at == NULL)
        g->end = at;
}

/* Lets go of those that nobody wants any more: the ones that wait, and when the model is ours the
 * ones under way. */
static void drop_unwanted(oto_engine *g, bool ours)
{
    bool any = false;

    for (oto_ticket **at = &g->first; *at != NULL;) {
        oto_ticket *t = *at;

        if (is_wanted(t)) {
            at = &t->next;
            continue;
        }
        unlink_ticket(g, at);
        cancel(t);
        any = true;
    }
    for (int i = 0; i < g->o.batch && ours; i++) {
        if (g->places[i] == NULL || is_wanted(g->places[i]))
            continue;
        oto_asr_drop(g->asr, i);
        cancel(g->places[i]);
        g->places[i] = NULL;
        any = true;
    }
    if (any)
        pthread_cond_broadcast(&g->change);
}

static int places_of(const oto_engine *g, const void *owner)
{
    int n = 0;

    for (int i = 0; i < g->o.batch; i++)
        n += g->places[i] != NULL && g->places[i]->owner == owner;
    return n;
}

/* The next to get a place: of who has the fewest, the one that came first. */
static oto_ticket **next_in(oto_engine *g)
{
    oto_ticket **best = NULL;
    int least = 0;

    for (oto_ticket **at = &g->first; *at != NULL; at = &(*at)->next) {
        const int n = places_of(g, (*at)->owner);

        if (best == NULL || n < least) {
            best = at;
            least = n;
        }
    }
    return best;
}

static int free_place(const oto_engine *g)
{
    for (int i = 0; i < g->o.batch; i++)
        if (g->places[i] == NULL)
            return i;
    return -1;
}

/* ---- the model, which is ours; called and left with the lock held, which is not kept ---- */

/* Lets one window in. False: there is no place, or nobody waits. */
static bool let_in(oto_engine *g)
{
    const int at = free_place(g);
    oto_ticket **next = at >= 0 ? next_in(g) : NULL, *t;
    int rc;

    if (next == NULL)
        return false;
    t = *next;
    unlink_ticket(g, next);
    g->places[at] = t;
    pthread_mutex_unlock(&g->lock);
    rc = oto_asr_begin(g->asr, at, t->o, &t->window, t->arena, &t->error);
    pthread_mutex_lock(&g->lock);
    if (rc != 0) {
        g->places[at] = NULL;
        finish(t, rc);
        pthread_cond_broadcast(&g->change);
    }
    return true;
}

static bool is_mixed(const oto_engine *g)
{
    const void *owner = NULL;

    for (int i = 0; i < g->o.batch; i++) {
        if (g->places[i] == NULL)
            continue;
        if (owner != NULL && g->places[i]->owner != owner)
            return true;
        owner = g->places[i]->owner;
    }
    return false;
}

/* Places change hands under the lock alone, and by who leads alone: it may look at them without. */
static void step(oto_engine *g)
{
    g->stats.runs++;
    g->stats.mixed_runs += is_mixed(g);
    pthread_mutex_unlock(&g->lock);
    oto_asr_step(g->asr);
    for (int i = 0; i < g->o.batch; i++) {
        oto_ticket *t = g->places[i];
        int rc;

        if (t == NULL || !oto_asr_ended(g->asr, i) || oto_stopped(&t->o->stop))
            continue;
        oto_arena_reset(g->scratch);
        rc = oto_asr_end(g->asr, i, g->scratch, &t->result, &t->error);
        pthread_mutex_lock(&g->lock);
        g->places[i] = NULL;
        g->stats.windows += rc == 0;
        finish(t, rc);
        pthread_cond_broadcast(&g->change);
        pthread_mutex_unlock(&g->lock);
    }
    pthread_mutex_lock(&g->lock);
    oto_asr_stats_get(g->asr, &g->stats.asr);
}

/* ---- leading ---- */

/* The threads are another model's perhaps. False: stopped before its turn came. */
static bool take_model(oto_engine *g, const oto_stop *stop)
{
    oto_crew *c = g->o.crew;
    bool ours;

    g->led = true;
    if (c == NULL)
        return true;
    pthread_mutex_unlock(&g->lock);
    ours = take_turn(c, &g->turn, stop);
    pthread_mutex_lock(&g->lock);
    g->turn_ms = oto_now_ms();
    if (!ours)
        g->led = false;
    return ours;
}

static void give_model(oto_engine *g)
{
    if (g->o.crew != NULL)
        end_turn(g->o.crew);
    g->led = false;
    pthread_cond_broadcast(&g->change);
}

static oto_ticket *first_done(oto_ticket *const *t, int n)
{
    for (int i = 0; i < n; i++)
        if (t[i]->done)
            return t[i];
    return NULL;
}

static bool outstays(const oto_engine *g)
{
    return g->o.crew != NULL && oto_now_ms() - g->turn_ms >= TURN_MS && others_wait(g->o.crew);
}

/* Until one of these is done, or another engine is to have the threads. */
static void lead(oto_engine *g, oto_ticket *const *t, int n)
{
    if (!take_model(g, &t[0]->o->stop)) {
        drop_unwanted(g, true);
        pthread_cond_broadcast(&g->change);
        return;
    }
    for (;;) {
        drop_unwanted(g, true);
        if (first_done(t, n) != NULL || outstays(g))
            break;
        if (!let_in(g))
            step(g);
    }
    give_model(g);
}

/* ---- asking ---- */

void oto_engine_put(oto_engine *g, oto_ticket *t)
{
    t->done = t->unwanted = false;
    t->rc = 0;
    t->error = (oto_err){0};
    t->next = NULL;
    pthread_mutex_lock(&g->lock);
    *g->end = t;
    g->end = &t->next;
    pthread_mutex_unlock(&g->lock);
}

oto_ticket *oto_engine_wait(oto_engine *g, oto_ticket *const *t, int n)
{
    oto_ticket *done;

    pthread_mutex_lock(&g->lock);
    while ((done = first_done(t, n)) == NULL) {
        drop_unwanted(g, !g->led);
        if (first_done(t, n) != NULL)
            continue;
        if (!g->led)
            lead(g, t, n);
        else
            wait_for_change(&g->change, &g->lock, &t[0]->o->stop);
    }
    pthread_mutex_unlock(&g->lock);
    return done;
}

void oto_engine_take_back(oto_engine *g, oto_ticket *t)
{
    pthread_mutex_lock(&g->lock);
    t->unwanted = true;
    for (;;) {
        drop_unwanted(g, !g->led);
        if (t->done)
            break;
        pthread_cond_wait(&g->change, &g->lock);
    }
    pthread_mutex_unlock(&g->lock);
}
