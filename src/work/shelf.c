/* shelf: a worker's models are mapped when a job needs them and let go when others need the room,
 * or at rest. What may stay is decided in residents.c. */
#include "work/shelf.h"

#include <string.h>

int oto_shelf_find(const oto_shelf *s, const char *name)
{
    const oto_served_model *m = s->o->models;
    int i = 0, first = 0;

    if (name == NULL)
        return 0;
    while (i < s->o->n_models && strcmp(m[i].name, name) != 0)
        i++;
    if (i == s->o->n_models)
        return -1;
    /* Two names of one file are one model. */
    while (strcmp(m[first].path, m[i].path) != 0)
        first++;
    return first;
}

int oto_shelf_map(oto_shelf *s, int i, oto_err *e)
{
    int rc;

    if (s->of[i].model != NULL)
        return 0;
    rc = oto_model_open(s->o->models[i].path, s->o->compute, &s->of[i].model, e);
    if (rc == 0) {
        oto_residents_enter(&s->residents, i, oto_now_ms());
        s->opens++;
    }
    return rc;
}

int oto_shelf_engine(oto_shelf *s, int i, oto_err *e)
{
    oto_recogniser_options r = {
        .asr = s->of[i].model, .threads = s->o->threads, .batch = s->o->batch};
    oto_engine_options o;
    int rc;

    if (s->of[i].engine != NULL)
        return 0;
    oto_recogniser_defaults(&r);
    if (s->o->n_models > 1 && s->crew == NULL && (rc = oto_crew_new(r.threads, &s->crew, e)) != 0)
        return rc;
    o = (oto_engine_options){r.asr, r.threads, r.batch, r.max_beam, s->crew};
    return oto_engine_new(&o, &s->of[i].engine, e);
}

static void free_engine(oto_shelf *s, int i)
{
    oto_engine_stats t;

    if (s->of[i].engine == NULL)
        return;
    oto_engine_stats_get(s->of[i].engine, &t);
    s->past.runs += t.runs;
    s->past.mixed_runs += t.mixed_runs;
    s->past.windows += t.windows;
    oto_engine_free(s->of[i].engine);
    s->of[i].engine = NULL;
}

void oto_shelf_put_away(oto_shelf *s, int i)
{
    free_engine(s, i);
    oto_model_close(s->of[i].model);
    s->of[i].model = NULL;
    oto_residents_leave(&s->residents, i);
}

void oto_shelf_rest(oto_shelf *s)
{
    for (int i = 0; i < s->o->n_models; i++)
        if (i == 0)
            free_engine(s, i);
        else
            oto_shelf_put_away(s, i);
    oto_crew_free(s->crew);
    s->crew = NULL;
}

void oto_shelf_close(oto_shelf *s)
{
    oto_shelf_rest(s);
    oto_shelf_put_away(s, 0);
}

bool oto_shelf_works(const oto_shelf *s)
{
    for (int i = 0; i < OTO_MAX_MODELS; i++)
        if (s->of[i].engine != NULL)
            return true;
    return false;
}

uint32_t oto_shelf_held(const oto_shelf *s)
{
    uint32_t bits = 0;

    for (int i = 0; i < OTO_MAX_MODELS; i++)
        bits |= s->of[i].model != NULL ? UINT32_C(1) << i : 0;
    return bits;
}

void oto_shelf_stats(const oto_shelf *s, int64_t *runs, int64_t *mixed_runs, int64_t *windows)
{
    oto_engine_stats t;

    *runs = s->past.runs;
    *mixed_runs = s->past.mixed_runs;
    *windows = s->past.windows;
    for (int i = 0; i < OTO_MAX_MODELS; i++) {
        if (s->of[i].engine == NULL)
            continue;
        oto_engine_stats_get(s->of[i].engine, &t);
        *runs += t.runs;
        *mixed_runs += t.mixed_runs;
        *windows += t.windows;
    }
}
