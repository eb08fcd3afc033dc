/* Our own job API: lists with filters and paging, progress as events, cancelling.
 *
 *   GET    /api/v1/jobs?state=&limit=&before=&client=     newest first
 *   GET    /api/v1/jobs/ID
 *   GET    /api/v1/jobs/ID/events                         server-sent events until the job ends,
 *                                                         from Last-Event-ID on
 *   GET    /api/v1/jobs/ID/transcript?format=srt          txt srt vtt tsv json
 *   POST   /api/v1/jobs/ID/cancel */
#include "server/parts.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define HEARTBEAT_MS  15000
#define LOOK_AGAIN_MS 5000 /* at a store that did not answer */

static void fail(oto_exchange *x, const oto_problem *p)
{
    oto_reply_json(x, p->status, json_pack("{s:s}", "detail", oto_clean(x->a, p->text)));
}

/* The job that the path names; false when the answer is given. */
static bool find(oto_exchange *x, oto_store *store, oto_job *job)
{
    oto_err e = {0};
    int rc = OTO_E_NOT_FOUND;

    if (x->tail[0] != '\0' && strspn(x->tail, "0123456789abcdef") == strlen(x->tail))
        rc = oto_store_get(store, x->tail, x->a, job, &e);
    if (rc == OTO_E_NOT_FOUND)
        oto_reply_problem(x, 404, "not_found", NULL, "Job not found: %.100s", x->tail);
    else if (rc != 0)
        oto_reply_err(x, &e);
    return rc == 0;
}

static json_t *job_json(oto_arena *a, const oto_job *j)
{
    json_t *o = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:i, s:I, s:I, s:I, s:i, s:s, s:s, s:s}", "id",
        j->id, "state", oto_job_state_name(j->state), "api", j->api, "filename", j->filename,
        "language", j->detected_language[0] != '\0' ? j->detected_language : j->language,
        "priority", j->priority, "attempts", j->attempts, "crashes", j->crashes, "restarts",
        j->restarts, "bytes", (json_int_t)j->bytes, "audio_ms", (json_int_t)j->audio_ms, "done_ms",
        (json_int_t)j->checkpoint_ms, "segments", j->n_segments, "submitted_at",
        oto_local_time(a, j->submitted_at), "started_at", oto_local_time(a, j->started_at),
        "finished_at", oto_local_time(a, j->finished_at));

    json_object_set_new(o, "model", json_string(j->model));
    if (j->state == OTO_JOB_DONE) {
        json_object_set_new(o, "processing_s", json_real(j->processing_s));
        json_object_set_new(
            o, "memory",
            json_pack("{s:I, s:I, s:I, s:I}", "before", (json_int_t)j->memory_before, "after",
                      (json_int_t)j->memory_after, "peak", (json_int_t)j->memory_peak,
                      "decoder_peak", (json_int_t)j->decoder_peak));
    }
    if (j->error[0] != '\0')
        json_object_set_new(o, "error",
                            json_pack("{s:s, s:s}", "code", j->error_code, "message", j->error));
    return o;
}

static void get(oto_exchange *x, oto_store *store)
{
    oto_job job;

    if (find(x, store, &job))
        oto_reply_json(x, 200, job_json(x->a, &job));
}

/* ---- list ---- */

static void list(oto_exchange *x, oto_store *store)
{
    oto_store_filter f = {
        .limit = 50, .client = oto_field_get(x, "client"), .before = oto_field_get(x, "before")};
    const oto_field *at = NULL;
    const char *state;
    oto_job_state s;
    oto_problem p;
    oto_job *jobs;
    oto_err e = {0};
    json_t *items;
    int n = 0;

    while ((state = oto_field_each(x, "state", &at)) != NULL) {
        if (oto_job_state_parse(state, &s) != 0) {
            oto_reply_problem(x, 400, "invalid_value", "state", "state: '%.40s' is not known",
                              state);
            return;
        }
        f.states |= 1u << s;
    }
    if (!oto_field_int(x, "limit", 1, 1000, &f.limit, &p)) {
        fail(x, &p);
        return;
    }
    if (oto_arena_get(x->a, (size_t)f.limit, sizeof *jobs, &jobs, &e) != 0 ||
        oto_store_list(store, &f, x->a, jobs, &n, &e) != 0) {
        oto_reply_err(x, &e);
        return;
    }
    items = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(items, job_json(x->a, &jobs[i]));
    items = json_pack("{s:o}", "jobs", items);
    json_object_set_new(items, "next", n == f.limit ? json_string(jobs[n - 1].id) : json_null());
    oto_reply_json(x, 200, items);
}

/* ---- events ----
 *
 * An event's id tells what its reader has by then: "1-12" are segments 0 to 11 of the job as it
 * began for the second time, "1-12-end" is all there is. With the last one that it saw in
 * Last-Event-ID, as browsers send it by themselves, a reader goes on behind it. */

typedef struct {
    oto_arena *scratch; /* of a look: there are as many as there is news while the job goes on */
    int restarts;       /* of the job when it was told of; -1: none of those that are known */
    int segments;       /* told so far */
    int64_t done_ms;
    int state;
} told;

static void tell(oto_exchange *x, json_t *event, bool end)
{
    const told *t = x->state;

    oto_str_printf(&x->out, "id: %d-%d%s\n", t->restarts, t->segments, end ? "-end" : "");
    oto_reply_event(x, event);
}

static int tell_segment(void *arg, int number, const oto_job_segment *s)
{
    oto_exchange *x = arg;
    told *t = x->state;

    t->segments = number + 1;
    tell(x,
         json_pack("{s:s, s:i, s:I, s:I, s:s}", "type", "segment", "number", number, "start_ms",
                   (json_int_t)s->start_ms, "end_ms", (json_int_t)s->end_ms, "text", s->text),
         false);
    return 0;
}

/* What was told before is void. */
static void tell_restart(oto_exchange *x, const oto_job *job)
{
    told *t = x->state;

    t->restarts = job->restarts;
    t->segments = 0;
    t->state = -1;
    tell(x, json_pack("{s:s, s:i}", "type", "restart", "restarts", job->restarts), false);
}

static void tell_progress(oto_exchange *x, const oto_job *job)
{
    const bool ended = oto_job_ended(job->state);
    told *t = x->state;
    json_t *j;

    if (job->checkpoint_ms == t->done_ms && (int)job->state == t->state && !ended)
        return;
    j = job_json(t->scratch, job);
    json_object_set_new(j, "type", json_string(ended ? "end" : "progress"));
    json_object_set_new(j, "fraction",
                        json_real(job->state == OTO_JOB_DONE ? 1.0
                                  : job->audio_ms > 0 ? OTO_MIN(1.0, (double)job->checkpoint_ms /
                                                                         (double)job->audio_ms)
                                                      : 0.0));
    tell(x, j, ended);
    t->done_ms = job->checkpoint_ms;
    t->state = (int)job->state;
}

static oto_look look(oto_exchange *x, oto_store *store)
{
    told *t = x->state;
    oto_err e = {0};
    oto_job job;
    int rc;

    oto_arena_reset(t->scratch);
    rc = oto_store_get(store, x->job, t->scratch, &job, &e);
    if (rc == OTO_E_NOT_FOUND) {
        oto_reply_event(x, json_pack("{s:s, s:s}", "type", "error", "message", "the job is gone"));
        return OTO_DONE;
    }
    if (rc == 0 && job.restarts != t->restarts)
        tell_restart(x, &job);
    if (rc == 0)
        rc = oto_store_each_segment(store, &job, t->segments, tell_segment, x, &e);
    if (rc != 0) { /* a store that is busy now may answer later */
        x->look_at_ms = oto_now_ms() + LOOK_AGAIN_MS;
        return OTO_WAIT;
    }
    tell_progress(x, &job);
    return oto_job_ended(job.state) ? OTO_DONE : OTO_WAIT;
}

/* False: a reader that has seen the end, and is told that no more comes. */
static bool go_on_behind(const char *last, const oto_job *job, told *t)
{
    char *at, *rest = NULL;
    const long restarts = strtol(last, &at, 10);
    const long segments = *at == '-' ? strtol(at + 1, &rest, 10) : -1;

    if (at == last || segments < 0)
        return true; /* none of ours: all is told */
    if (restarts != job->restarts || segments > job->n_segments) {
        t->restarts = -1;
        return true;
    }
    t->segments = (int)segments;
    return strcmp(rest, "-end") != 0 || segments != job->n_segments || !oto_job_ended(job->state);
}

static void events(oto_exchange *x, oto_store *store)
{
    told *t = oto_arena_calloc(x->a, 1, sizeof *t);
    oto_job job;

    if (t == NULL || (t->scratch = oto_scratch_new(x)) == NULL || !find(x, store, &job))
        return;
    t->restarts = job.restarts;
    t->state = -1;
    if (x->last_event_id != NULL && !go_on_behind(x->last_event_id, &job, t)) {
        oto_reply_text(x, 204, "text/plain; charset=utf-8", "", 0);
        return;
    }
    x->state = t;
    x->look = look;
    snprintf(x->job, sizeof x->job, "%s", job.id);
    oto_reply_header(x, "cache-control", "no-cache");
    oto_reply_header(x, "x-accel-buffering", "no");
    oto_reply_stream(x, 200, "text/event-stream; charset=utf-8");
    oto_reply_heartbeat(x, HEARTBEAT_MS, ": keep-alive\n\n");
}

/* ---- transcript, cancel ---- */

static void transcript(oto_exchange *x, oto_store *store)
{
    static const struct {
        const char *format, *type;
    } types[] = {{"txt", "text/plain; charset=utf-8"},
                 {"srt", "text/plain; charset=utf-8"},
                 {"vtt", "text/vtt; charset=utf-8"},
                 {"tsv", "text/tab-separated-values"},
                 {"json", "application/json"}};
    const char *format = oto_field_get(x, "format");
    oto_err e = {0};
    oto_str out;
    oto_job job;

    if (!find(x, store, &job))
        return;
    format = format != NULL ? format : "txt";
    for (size_t i = 0; i < OTO_COUNT(types); i++) {
        if (strcmp(format, types[i].format) != 0)
            continue;
        oto_str_init(&out, x->a);
        oto_str_puts(&out, "");
        if (oto_transcript(x, store, &job, format, oto_field_bool(x, "words", false) == 1, &out,
                           &e) != 0)
            oto_reply_err(x, &e);
        else
            oto_reply_text(x, 200, types[i].type, out.p, out.n);
        return;
    }
    oto_reply_problem(x, 400, "invalid_value", "format",
                      "format: '%.40s' is none of txt, srt, vtt, tsv, json", format);
}

static void cancel(oto_exchange *x, oto_store *store)
{
    oto_err e = {0};
    oto_job job;
    int rc;

    if (!find(x, store, &job))
        return;
    rc = oto_store_cancel(store, job.id, oto_clock_ms(), &e);
    if (rc == OTO_E_BUSY) {
        oto_reply_problem(x, 409, "ended", NULL, "The job has ended already (%s)",
                          oto_job_state_name(job.state));
        return;
    }
    if (rc != 0) {
        oto_reply_err(x, &e);
        return;
    }
    oto_board_ring_workers(x->g->board);
    if (oto_store_get(store, job.id, x->a, &job, &e) == 0)
        oto_reply_json(x, 200, job_json(x->a, &job));
    else
        oto_reply_err(x, &e);
}

static const oto_route routes[] = {
    {.methods = OTO_GET, .path = "/api/v1/jobs", .handler = list},
    {.methods = OTO_GET, .path = "/api/v1/jobs/*/events", .handler = events},
    {.methods = OTO_GET, .path = "/api/v1/jobs/*/transcript", .handler = transcript},
    {.methods = OTO_POST, .path = "/api/v1/jobs/*/cancel", .handler = cancel},
    {.methods = OTO_GET, .path = "/api/v1/jobs/*", .handler = get},
    {0},
};

const oto_protocol oto_jobs_api = {.name = "jobs", .routes = routes, .fail = fail};
