/* asr: recognition as models.h has it, window by window, for families of both kinds. Those that
 * take a window step by step are handed everything; for those that take several from end to end at
 * once the places are kept here, and a step is a run of all that go together. */
#include "models/family.h"

#include <string.h>

enum state { FREE, BEGUN, ENDED };

/* Of a family that runs windows together. */
struct place {
    enum state state;
    bool alone; /* a run with others failed: whose fault it was will show */
    oto_asr_options o;
    oto_asr_window w;
    oto_arena *a;
    oto_asr_result result;
    int rc;
    oto_err error;
};

struct oto_asr {
    const oto_family *family;
    void *state;
    int n;
    struct place *places; /* [n]; NULL: the family's own affair */
    int first;            /* the place whose options come first in the next run */
    int n_group, *group;  /* [n]: places in the present run */
    oto_asr_window *w;    /* [n] of these, and so on */
    oto_arena **a;
    oto_asr_result *out;
};

void oto_asr_defaults(oto_asr_options *o)
{
    *o = (oto_asr_options){.timestamps = true,
                           .beam = 5,
                           .best_of = 5,
                           .patience = 1.0f,
                           .length_penalty = 1.0f,
                           .temperature = {0.0f, 0.2f, 0.4f, 0.6f, 0.8f, 1.0f},
                           .n_temperatures = 6,
                           .compression_ratio_threshold = 2.4f,
                           .log_prob_threshold = -1.0f,
                           .no_speech_threshold = 0.6f,
                           .max_initial_timestamp = 1.0f,
                           .suppress_default = true,
                           .suppress_blank = true};
}

/* ---- life ---- */

size_t oto_asr_bytes(const oto_model *m, int max_batch, int max_beam)
{
    const size_t each = sizeof(struct place) + sizeof(int) + sizeof(oto_asr_window) +
                        sizeof(oto_arena *) + sizeof(oto_asr_result);

    if (m->family->task != OTO_TASK_ASR)
        return 0;
    return sizeof(oto_asr) + 512 + (size_t)max_batch * each +
           m->family->asr_bytes(m->impl, max_batch, max_beam);
}

static int take_places(oto_asr *s, oto_arena *a, oto_err *e)
{
    const size_t n = (size_t)s->n;
    int rc;

    if ((rc = oto_arena_get(a, n, sizeof *s->places, &s->places, e)) != 0 ||
        (rc = oto_arena_get(a, n, sizeof *s->group, &s->group, e)) != 0 ||
        (rc = oto_arena_get(a, n, sizeof *s->w, &s->w, e)) != 0 ||
        (rc = oto_arena_get(a, n, sizeof *s->a, &s->a, e)) != 0 ||
        (rc = oto_arena_get(a, n, sizeof *s->out, &s->out, e)) != 0)
        return rc;
    memset(s->places, 0, n * sizeof *s->places);
    return 0;
}

int oto_asr_new(const oto_model *m, int max_batch, int max_beam, oto_pool *pool, oto_arena *a,
                oto_asr **out, oto_err *e)
{
    oto_asr *s;
    int rc;

    if ((rc = oto_check_task(m, OTO_TASK_ASR, e)) != 0 ||
        (rc = oto_arena_get(a, 1, sizeof *s, &s, e)) != 0)
        return rc;
    *s = (oto_asr){.family = m->family, .n = max_batch};
    if ((rc = m->family->asr_new(m->impl, max_batch, max_beam, pool, a, &s->state, e)) != 0 ||
        (m->family->asr_run != NULL && (rc = take_places(s, a, e)) != 0))
        return rc;
    *out = s;
    return 0;
}

void oto_asr_stats_get(const oto_asr *s, oto_asr_stats *out)
{
    s->family->asr_stats(s->state, out);
}

/* ---- a run of windows that go together ---- */

/* What a family that runs windows together may heed. */
static bool go_together(const struct place *p, const struct place *q)
{
    const char *a = p->o.hotwords, *b = q->o.hotwords;

    return !p->alone && !q->alone && strcmp(p->o.language, q->o.language) == 0 &&
           (a == b || (a != NULL && b != NULL && strcmp(a, b) == 0));
}

/* The places of the next run; it begins with another place each time. */
static void gather(oto_asr *s)
{
    const struct place *first = NULL;

    s->n_group = 0;
    for (int i = 0; i < s->n; i++) {
        const int at = (s->first + i) % s->n;
        const struct place *p = &s->places[at];

        if (p->state != BEGUN || (first != NULL && !go_together(p, first)))
            continue;
        if (first == NULL)
            first = p;
        s->w[s->n_group] = p->w;
        s->a[s->n_group] = p->a;
        s->group[s->n_group++] = at;
    }
    s->first = s->n_group > 0 ? (s->group[0] + 1) % s->n : 0;
}

/* While one of them is wanted, the others wait for the end. */
static bool all_stopped(void *arg)
{
    const oto_asr *s = arg;

    for (int i = 0; i < s->n_group; i++)
        if (!oto_stopped(&s->places[s->group[i]].o.stop))
            return false;
    return true;
}

static void step_together(oto_asr *s)
{
    oto_asr_options o;
    oto_err e = {0};
    int rc;

    gather(s);
    if (s->n_group == 0)
        return;
    o = s->places[s->group[0]].o;
    o.stop = (oto_stop){all_stopped, s};
    rc = s->family->asr_run(s->state, &o, s->w, s->n_group, s->a, s->out, &e);
    for (int i = 0; i < s->n_group; i++) {
        struct place *p = &s->places[s->group[i]];

        p->alone = rc != 0 && rc != OTO_E_CANCELLED && s->n_group > 1;
        if (p->alone)
            continue;
        p->state = ENDED;
        p->result = s->out[i];
        p->rc = rc;
        p->error = e;
    }
}

/* ---- window by window ---- */

int oto_asr_begin(oto_asr *s, int at, const oto_asr_options *o, const oto_asr_window *w,
                  oto_arena *a, oto_err *e)
{
    if (s->places == NULL)
        return s->family->asr_begin(s->state, at, o, w, a, e);
    s->places[at] = (struct place){.state = BEGUN, .o = *o, .w = *w, .a = a};
    return 0;
}

void oto_asr_step(oto_asr *s)
{
    if (s->places == NULL)
        s->family->asr_step(s->state);
    else
        step_together(s);
}

bool oto_asr_ended(const oto_asr *s, int at)
{
    return s->places == NULL ? s->family->asr_ended(s->state, at) : s->places[at].state == ENDED;
}

int oto_asr_end(oto_asr *s, int at, oto_arena *scratch, oto_asr_result *out, oto_err *e)
{
    struct place *p;

    if (s->places == NULL)
        return s->family->asr_end(s->state, at, scratch, out, e);
    p = &s->places[at];
    p->state = FREE;
    *out = p->result;
    return p->rc == 0 ? 0 : oto_fail(e, p->rc, "%s", p->error.text);
}

void oto_asr_drop(oto_asr *s, int at)
{
    if (s->places == NULL)
        s->family->asr_drop(s->state, at);
    else
        s->places[at].state = FREE;
}

/* ---- all at once ---- */

static bool all_ended(const oto_asr *s, int n)
{
    for (int i = 0; i < n; i++)
        if (!oto_asr_ended(s, i))
            return false;
    return true;
}

static int run_all(oto_asr *s, const oto_asr_options *o, const oto_asr_window *w, int n,
                   oto_arena *job, oto_asr_result *out, int *n_begun, oto_err *e)
{
    int rc;

    for (; *n_begun < n; ++*n_begun)
        if ((rc = oto_asr_begin(s, *n_begun, o, &w[*n_begun], job, e)) != 0)
            return rc;
    for (; !all_ended(s, n); oto_asr_step(s))
        if (oto_stopped(&o->stop))
            return oto_fail(e, OTO_E_CANCELLED, "cancelled");
    for (int i = 0; i < n; i++)
        if ((rc = oto_asr_end(s, i, job, &out[i], e)) != 0)
            return rc;
    return 0;
}

int oto_asr_run(oto_asr *s, const oto_asr_options *o, const oto_asr_window *w, int n,
                oto_arena *job, oto_asr_result *out, oto_err *e)
{
    int n_begun = 0, rc;

    if (n < 0 || n > s->n)
        return oto_fail(e, OTO_E_USAGE, "%d windows at once: room for %d", n, s->n);
    rc = run_all(s, o, w, n, job, out, &n_begun, e);
    for (int i = 0; i < n_begun && rc != 0; i++)
        oto_asr_drop(s, i);
    return rc;
}
