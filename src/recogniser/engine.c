/* One model's state, shared by the recognisers of a process.
 *
 * Each recogniser runs on a thread of its own and hands over windows when its batch is full.
 * Whoever comes first leads: it takes windows in turn from everyone who waits with the same
 * options, until the model's batch is full, runs the model and gives the results out; the others
 * sleep. So a short recording gets its window into the very next run, and a long one alone fills
 * every run.
 *
 * The result of a window does not depend on what else is in the batch, so sharing changes no text.
 */
#include "recogniser/recogniser.h"
#include "recogniser/parts.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Results of a mixed run, until they are copied to their owners. Address space. */
#define RESULT_BYTES ((size_t)256 << 20)

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

struct oto_crew {
    oto_pool *pool;
    pthread_mutex_t lock;
    pthread_cond_t change;
    uint64_t next, serving; /* tickets: a mutex alone would let the last holder in again */
};

struct oto_engine {
    oto_engine_options o;
    oto_pool *pool; /* its own, or the crew's */
    oto_arena *state, *results;
    oto_asr *asr;
    oto_asr_window *input;  /* [batch] */
    oto_asr_result *output; /* [batch] */
    place *places;          /* [batch] */
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool running;     /* someone leads */
    request *waiting; /* in the order of their turns */
    oto_engine_stats stats;
};

/* ---- a crew ---- */

int oto_crew_new(int threads, oto_crew **out, oto_err *e)
{
    oto_crew *c = calloc(1, sizeof *c);
    int rc;

    if (c == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->change, NULL);
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

static void take_turn(oto_crew *c)
{
    uint64_t ticket;

    pthread_mutex_lock(&c->lock);
    ticket = c->next++;
    while (c->serving != ticket)
        pthread_cond_wait(&c->change, &c->lock);
    pthread_mutex_unlock(&c->lock);
}

static void end_turn(oto_crew *c)
{
    pthread_mutex_lock(&c->lock);
    c->serving++;
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
    pthread_cond_init(&g->change, NULL);
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

/* Field by field: what lies between them is not theirs to compare. */
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
static int collect(oto_engine *g)
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
    return n;
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

static void give_out(oto_engine *g, int n, int rc, const oto_err *e, bool mixed)
{
    for (int i = 0; i < n; i++) {
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

/* ---- leading ---- */

/* The threads are another model's perhaps. Who comes meanwhile is still in time for this run. */
static void wait_for_turn(oto_engine *g)
{
    if (g->o.crew == NULL)
        return;
    g->running = true;
    pthread_mutex_unlock(&g->lock);
    take_turn(g->o.crew);
    pthread_mutex_lock(&g->lock);
}

/* The run of what is collected, the lock not held. */
static int run_model(oto_engine *g, const oto_asr_options *o, int n, oto_arena *a, oto_err *e)
{
    const int rc = oto_asr_run(g->asr, o, g->input, n, a, g->output, e);

    if (g->o.crew != NULL)
        end_turn(g->o.crew);
    return rc;
}

/* One run; called and left with the lock held. */
static void lead(oto_engine *g)
{
    request *const first = g->waiting;
    const oto_asr_options o = *first->o;
    bool mixed = false;
    oto_err e = {0};
    int n, rc;

    wait_for_turn(g);
    n = collect(g);
    for (int i = 1; i < n; i++)
        mixed = mixed || g->places[i].r != first;
    rotate(g);
    g->running = true;
    pthread_mutex_unlock(&g->lock);

    if (mixed)
        oto_arena_reset(g->results);
    rc = run_model(g, &o, n, mixed ? g->results : first->arena, &e);

    pthread_mutex_lock(&g->lock);
    give_out(g, n, rc, &e, mixed);
    g->stats.runs++;
    g->stats.mixed_runs += mixed;
    g->stats.windows += n;
    oto_asr_stats_get(g->asr, &g->stats.asr);
    g->running = false;
    pthread_cond_broadcast(&g->change);
}

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
    while (r.done < r.n) {
        if (!g->running && has_work(g))
            lead(g);
        else
            pthread_cond_wait(&g->change, &g->lock);
    }
    leave(g, &r);
    pthread_mutex_unlock(&g->lock);
    return r.rc;
}
