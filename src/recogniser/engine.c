/* One model's state, shared by the recognisers of a process.
 *
 * Each recogniser runs on a thread of its own and hands over windows when its batch is full.
 * Whoever comes first leads: it takes windows in turn from everyone who waits with the same
 * options, until the model's batch is full, runs the model and gives the results out; the others
 * sleep. So a short recording gets its window into the very next run, and a long one alone fills
 * every run.
 *
 * The result of a window does not depend on what else is in the batch, so sharing changes no text.
 *
 * A run that nobody wants any more is stopped; while one of those in it is wanted, the others wait
 * for its end. Who is stopped before its windows are in a run leaves.
 */
#include "recogniser/recogniser.h"
#include "recogniser/parts.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Results of a mixed run, until they are copied to their owners. Address space. */
#define RESULT_BYTES ((size_t)256 << 20)
/* How often one that waits asks whether it is still wanted. */
#define ASK_MS 100

typedef struct request {
    const oto_asr_options *o;
    const oto_asr_window *w;
    int n, taken, done;
    oto_arena *arena;
    oto_asr_result *out;
    int rc;
    oto_err *e;
    struct request *next;
} request;

/* A window in the present run. */
typedef struct {
    request *r;
    int i;
} place;

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
    oto_arena *state, *results;
    oto_asr *asr;
    oto_asr_window *input;  /* [batch] */
    oto_asr_result *output; /* [batch] */
    place *places;          /* [batch] */
    int n_places;
    turn turn;
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool running;     /* someone leads */
    request *waiting; /* in the order of their turns */
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

/* Nobody rings when a request is stopped: it looks itself now and then. */
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
    /* The model's own figure, the batch's lists, and a page for what lies between its blocks. */
    if (o->crew != NULL)
        g->pool = o->crew->pool;
    else if ((rc = oto_pool_new(o->threads, OTO_POOL_SCRATCH_BYTES, &g->pool, e)) != 0) {
        oto_engine_free(g);
        return rc;
    }
    if ((rc = oto_arena_new("recogniser",
                            oto_asr_bytes(o->asr, o->batch, o->max_beam) +
                                n * (sizeof *g->input + sizeof *g->output + sizeof *g->places) +
                                4096,
                            &g->state, e)) != 0 ||
        (rc = oto_asr_new(o->asr, o->batch, o->max_beam, g->pool, g->state, &g->asr, e)) != 0 ||
        (rc = oto_arena_get(g->state, n, sizeof *g->input, &g->input, e)) != 0 ||
        (rc = oto_arena_get(g->state, n, sizeof *g->output, &g->output, e)) != 0 ||
        (rc = oto_arena_get(g->state, n, sizeof *g->places, &g->places, e)) != 0 ||
        (rc = oto_arena_new("results of a run", RESULT_BYTES, &g->results, e)) != 0) {
        oto_engine_free(g);
        return rc;
    }
    *out = g;
    return 0;
}

void oto_engine_free(oto_engine *g)
{
    if (g == NULL)
        return;
    oto_arena_free(g->results);
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

/* ---- who goes together ---- */

static bool same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* Field by field: what lies between them is not theirs to compare. Each has its own `stop`. */
static bool same_options(const oto_asr_options *a, const oto_asr_options *b)
{
    return strcmp(a->language, b->language) == 0 && a->translate == b->translate &&
           a->timestamps == b->timestamps && a->words == b->words && a->beam == b->beam &&
           a->best_of == b->best_of && a->patience == b->patience &&
           a->length_penalty == b->length_penalty && a->n_temperatures == b->n_temperatures &&
           memcmp(a->temperature, b->temperature, sizeof a->temperature) == 0 &&
           a->compression_ratio_threshold == b->compression_ratio_threshold &&
           a->log_prob_threshold == b->log_prob_threshold &&
           a->no_speech_threshold == b->no_speech_threshold &&
           a->max_initial_timestamp == b->max_initial_timestamp &&
           a->suppress_default == b->suppress_default && a->suppress_blank == b->suppress_blank &&
           a->seed == b->seed && same_text(a->prompt, b->prompt) &&
           same_text(a->hotwords, b->hotwords);
}

/* Takes the windows of the next run: one of each request in turn, then again. The first request is
 * put behind the others, so that the next run begins with another. */
static void collect(oto_engine *g)
{
    const request *const first = g->waiting;
    int n = 0;

    for (bool more = true; more && n < g->o.batch;) {
        more = false;
        for (request *r = g->waiting; r != NULL && n < g->o.batch; r = r->next) {
            if (r->taken == r->n || (r != first && !same_options(r->o, first->o)))
                continue;
            g->places[n] = (place){r, r->taken};
            g->input[n++] = r->w[r->taken++];
            more = true;
        }
    }
    g->n_places = n;
}

static void rotate(oto_engine *g)
{
    request *first = g->waiting, **last;

    if (first == NULL || first->next == NULL)
        return;
    g->waiting = first->next;
    for (last = &g->waiting; *last != NULL;)
        last = &(*last)->next;
    first->next = NULL;
    *last = first;
}

/* ---- results of a mixed run ---- */

static const char *copy_text(oto_arena *a, const char *text)
{
    return oto_arena_strdup(a, text, strlen(text));
}

static int copy_words(oto_arena *a, oto_segment *s, oto_err *e)
{
    oto_word *words;
    const int rc = oto_arena_get(a, (size_t)s->n_words, sizeof *words, &words, e);

    if (rc != 0)
        return rc;
    for (int i = 0; i < s->n_words; i++) {
        words[i] = s->words[i];
        if ((words[i].text = copy_text(a, s->words[i].text)) == NULL)
            return oto_fail(e, OTO_E_LIMIT, "a window has too many words");
    }
    s->words = words;
    return 0;
}

static int copy_ids(oto_arena *a, const int32_t **ids, int n, oto_err *e)
{
    int32_t *copy;
    const int rc = oto_arena_get(a, (size_t)n, sizeof *copy, &copy, e);

    if (rc == 0 && n > 0)
        memcpy(copy, *ids, (size_t)n * sizeof *copy);
    if (rc == 0)
        *ids = copy;
    return rc;
}

static int copy_result(oto_arena *a, const oto_asr_result *from, oto_asr_result *to, oto_err *e)
{
    oto_segment *segments;
    int rc = oto_arena_get(a, (size_t)from->n_segments, sizeof *segments, &segments, e);

    *to = *from;
    if (rc == 0)
        rc = copy_ids(a, &to->raw_tokens, to->n_raw, e);
    for (int i = 0; i < from->n_segments && rc == 0; i++) {
        oto_segment *s = &segments[i];

        *s = from->segments[i];
        if ((s->text = copy_text(a, s->text)) == NULL)
            return oto_fail(e, OTO_E_LIMIT, "a window has too much text");
        rc = copy_ids(a, &s->tokens, s->n_tokens, e);
        if (rc == 0 && s->words != NULL)
            rc = copy_words(a, s, e);
    }
    to->segments = segments;
    return rc;
}

static void give_out(oto_engine *g, int rc, const oto_err *e, bool mixed)
{
    for (int i = 0; i < g->n_places; i++) {
        request *r = g->places[i].r;

        r->done++;
        if (r->rc != 0)
            continue;
        if (rc != 0)
            r->rc = oto_fail(r->e, rc, "%s", e->text);
        else if (mixed)
            r->rc = copy_result(r->arena, &g->output[i], &r->out[g->places[i].i], r->e);
        else
            r->out[g->places[i].i] = g->output[i];
    }
}

/* ---- who has work ---- */

/* Requests that have all their windows in a run are skipped as leaders of the next one. */
static bool has_work(oto_engine *g)
{
    for (size_t i = 0; g->waiting != NULL; i++) {
        size_t n = 0;

        if (g->waiting->taken < g->waiting->n)
            return true;
        for (const request *r = g->waiting; r != NULL; r = r->next)
            n++;
        if (i == n)
            break;
        rotate(g);
    }
    return false;
}

/* Of a request that failed or is no longer wanted nothing more is taken. */
static void drop_rest(request *r)
{
    if (r->rc == 0 && r->taken < r->n && oto_stopped(&r->o->stop))
        r->rc = oto_fail(r->e, OTO_E_CANCELLED, "cancelled");
    if (r->rc != 0)
        r->n = r->taken;
}

/* Of those in the run, who cannot leave before its end. */
static bool all_stopped(void *arg)
{
    const oto_engine *g = arg;

    for (int i = 0; i < g->n_places; i++)
        if (!oto_stopped(&g->places[i].r->o->stop))
            return false;
    return true;
}

/* ---- leading ---- */

/* The threads are another model's perhaps. Who comes meanwhile is still in time for this run, and
 * who is stopped has left. False: there is nothing to run, or the leader itself is stopped. */
static bool wait_for_turn(oto_engine *g, const oto_stop *stop)
{
    oto_crew *c = g->o.crew;
    bool ours;

    if (c == NULL)
        return true;
    g->running = true;
    pthread_mutex_unlock(&g->lock);
    ours = take_turn(c, &g->turn, stop);
    pthread_mutex_lock(&g->lock);
    if (ours && has_work(g))
        return true;
    if (ours)
        end_turn(c);
    g->running = false;
    pthread_cond_broadcast(&g->change);
    return false;
}

/* The run of what is collected, the lock not held. */
static int run_model(oto_engine *g, const oto_asr_options *first, oto_arena *a, oto_err *e)
{
    oto_asr_options o = *first;
    int rc;

    o.stop = (oto_stop){all_stopped, g};
    rc = oto_asr_run(g->asr, &o, g->input, g->n_places, a, g->output, e);
    if (g->o.crew != NULL)
        end_turn(g->o.crew);
    return rc;
}

/* One run; called and left with the lock held. */
static void lead(oto_engine *g, const oto_stop *stop)
{
    request *first;
    bool mixed = false;
    oto_err e = {0};
    int rc;

    if (!wait_for_turn(g, stop))
        return;
    first = g->waiting;
    collect(g);
    for (int i = 1; i < g->n_places; i++)
        mixed = mixed || g->places[i].r != first;
    rotate(g);
    g->running = true;
    pthread_mutex_unlock(&g->lock);

    if (mixed)
        oto_arena_reset(g->results);
    rc = run_model(g, first->o, mixed ? g->results : first->arena, &e);

    pthread_mutex_lock(&g->lock);
    give_out(g, rc, &e, mixed);
    g->stats.runs++;
    g->stats.mixed_runs += mixed;
    g->stats.windows += rc == 0 ? g->n_places : 0;
    oto_asr_stats_get(g->asr, &g->stats.asr);
    g->running = false;
    pthread_cond_broadcast(&g->change);
}

/* ---- asking ---- */

static void leave(oto_engine *g, request *r)
{
    request **at = &g->waiting;

    while (*at != r)
        at = &(*at)->next;
    *at = r->next;
}

int oto_engine_run(oto_engine *g, const oto_asr_options *o, const oto_asr_window *w, int n,
                   oto_arena *a, oto_asr_result *out, oto_err *e)
{
    request r = {.o = o, .w = w, .n = n, .arena = a, .out = out, .e = e}, **last;

    pthread_mutex_lock(&g->lock);
    for (last = &g->waiting; *last != NULL;)
        last = &(*last)->next;
    *last = &r;
    /* What was taken must come back even when another window of it failed: it points here. */
    for (drop_rest(&r); r.done < r.n; drop_rest(&r)) {
        if (!g->running && has_work(g))
            lead(g, &o->stop);
        else
            wait_for_change(&g->change, &g->lock, &o->stop);
    }
    leave(g, &r);
    pthread_mutex_unlock(&g->lock);
    return r.rc;
}
