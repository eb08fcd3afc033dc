/* The original's REST API (docs/api.md): the nine calls of its clients, word for word where they
 * look, with more keys behind the ones they know. */
#include "server/parts.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

static void fail(oto_exchange *x, const oto_problem *p)
{
    oto_reply_json(x, p->status, json_pack("{s:s}", "detail", oto_clean(x->a, p->text)));
}

/* FastAPI's form of a refused field; takes `input` and `ctx` (may be NULL). */
static void refuse_field(oto_exchange *x, const char *type, const char *where, const char *name,
                         const char *msg, json_t *input, json_t *ctx)
{
    json_t *item = json_pack("{s:s, s:[s, s], s:s, s:o}", "type", type, "loc", where, name, "msg",
                             msg, "input", input);

    if (ctx != NULL)
        json_object_set_new(item, "ctx", ctx);
    oto_reply_header(x, "x-should-retry", "false");
    oto_reply_json(x, 422, json_pack("{s:[o]}", "detail", item));
}

/* Ids are hexadecimal; anything else names no job. */
static bool is_id(const char *id)
{
    size_t n = 0;

    while (isxdigit((unsigned char)id[n]))
        n++;
    return n >= 8 && n <= 32 && id[n] == '\0';
}

/* ---- submit ---- */

static bool known_ending(const char *name)
{
    static const char *const known[] = {"wav", "mp3", "m4a", "flac", "ogg"};
    const char *dot = strrchr(name, '.');

    for (size_t i = 0; dot != NULL && i < OTO_COUNT(known); i++)
        if (strcasecmp(dot + 1, known[i]) == 0)
            return true;
    return false;
}

static void put_null_or_int(json_t *j, const char *key, int64_t v)
{
    json_object_set_new(j, key, v >= 0 ? json_integer(v) : json_null());
}

static void reply_submitted(oto_exchange *x, const char *id, int64_t position, int64_t wait_s)
{
    json_t *j = json_pack("{s:s, s:s}", "task_id", id, "status", "queued");

    put_null_or_int(j, "position", position);
    put_null_or_int(j, "estimated_wait", wait_s);
    oto_reply_json(x, 200, j);
}

static void submit(oto_exchange *x, oto_store *store)
{
    int64_t position = 0, audio_ms = 0;
    oto_problem p;
    oto_order o;
    oto_job job;

    if (x->filename == NULL) {
        refuse_field(x, "missing", "body", "audio", "Field required", json_null(), NULL);
        return;
    }
    if (x->filename[0] == '\0') {
        oto_reply_problem(x, 400, NULL, NULL, "No filename provided");
        return;
    }
    oto_order_init(x, &o, "rest");
    o.submission.id_digits = 8;
    oto_field_get(x, "batch_size"); /* known to the clients; batches here have no size to set */
    if (!oto_order_model(x, &o, oto_field_get(x, "model"), &p) || !oto_order_fields(x, &o, &p) ||
        !oto_intake(x, store, &o, &job, &p)) {
        if (p.status == 415 && !known_ending(x->filename)) {
            p.status = 400;
            snprintf(p.text, sizeof p.text,
                     "Invalid file format. Supported: ['wav', 'mp3', 'm4a', 'flac', 'ogg']");
        }
        if (p.retry_after_s > 0)
            oto_reply_header(x, "retry-after", "%d", p.retry_after_s);
        fail(x, &p);
        return;
    }
    if (oto_store_position(store, job.id, oto_clock_ms(), &position, &audio_ms, NULL) != 0)
        position = 0;
    reply_submitted(x, job.id, position, oto_estimate_s(x, audio_ms));
}

/* ---- result ---- */

static const char *status_of(const oto_job *job)
{
    switch (job->state) {
    case OTO_JOB_QUEUED:
        return "queued";
    case OTO_JOB_RUNNING:
        return "processing";
    case OTO_JOB_DONE:
        return "done";
    default: /* clients go on asking until they see one of the two */
        return "failed";
    }
}

static json_t *text_or_null(const char *text)
{
    return text != NULL ? json_string(text) : json_null();
}

static int percent(const oto_job *job)
{
    if (job->state == OTO_JOB_DONE)
        return 100;
    if (job->audio_ms <= 0)
        return 0;
    return (int)OTO_MIN(99, job->checkpoint_ms * 100 / job->audio_ms);
}

static double mb(int64_t bytes)
{
    return (double)(int64_t)((double)bytes / 1048576 * 1000) / 1000;
}

static json_t *memory_json(const oto_job *j)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f}", "before_mb", mb(j->memory_before), "after_mb",
                     mb(j->memory_after), "delta_mb", mb(j->memory_after - j->memory_before),
                     "peak_mb", mb(j->memory_peak), "decoder_peak_mb", mb(j->decoder_peak));
}

static void result(oto_exchange *x, oto_store *store)
{
    oto_str text;
    oto_err e = {0};
    oto_job job;
    json_t *j, *segments;
    char url[80];
    int rc;

    rc = is_id(x->tail) ? oto_store_get(store, x->tail, x->a, &job, &e) : OTO_E_NOT_FOUND;
    if (rc == OTO_E_NOT_FOUND) {
        oto_reply_problem(x, 404, NULL, NULL, "Task not found: %.100s", x->tail);
        return;
    }
    oto_str_init(&text, x->a);
    oto_str_puts(&text, "");
    if (rc != 0 || (rc = oto_plain_text(x, store, &job, &text, &e)) != 0) {
        oto_reply_err(x, &e);
        return;
    }
    segments = oto_segments_json(store, &job, 0, &e);
    if (segments == NULL) {
        oto_reply_err(x, &e);
        return;
    }
    const bool done = job.state == OTO_JOB_DONE, ended = oto_job_ended(job.state);
    const bool failed = ended && !done;

    j = json_pack("{s:s, s:s}", "task_id", job.id, "status", status_of(&job));
    json_object_set_new(j, "text", text_or_null(done ? text.p : NULL));
    json_object_set_new(j, "duration", done ? json_real((double)job.audio_ms / 1000) : json_null());
    json_object_set_new(j, "created_at", json_string(oto_local_time(x->a, job.submitted_at)));
    snprintf(url, sizeof url, "/api/v1/asr/audio/%s", job.id);
    json_object_set_new(j, "audio_url", text_or_null(done ? url : NULL));
    json_object_set_new(j, "error",
                        text_or_null(!failed                          ? NULL
                                     : job.state == OTO_JOB_CANCELLED ? "cancelled"
                                     : job.error[0] != '\0'           ? job.error
                                                                      : "failed"));
    snprintf(url, sizeof url, "/api/v1/asr/retry/%s", job.id);
    json_object_set_new(j, "retry_url", text_or_null(failed ? url : NULL));
    json_object_set_new(j, "progress",
                        job.state == OTO_JOB_QUEUED ? json_null() : json_integer(percent(&job)));
    /* more than the original told */
    json_object_set_new(j, "processing_time", done ? json_real(job.processing_s) : json_null());
    json_object_set_new(j, "rtf",
                        done && job.audio_ms > 0
                            ? json_real(job.processing_s * 1000 / (double)job.audio_ms)
                            : json_null());
    json_object_set_new(j, "filename", json_string(job.filename));
    json_object_set_new(
        j, "language",
        json_string(job.detected_language[0] != '\0' ? job.detected_language : job.language));
    json_object_set_new(j, "partial_text", text_or_null(done ? NULL : text.p));
    json_object_set_new(j, "processed_seconds", json_real((double)job.checkpoint_ms / 1000));
    json_object_set_new(j, "segments", segments);
    json_object_set_new(j, "memory", done ? memory_json(&job) : json_null());
    json_object_set_new(j, "attempts", json_integer(job.attempts));
    json_object_set_new(j, "warning", text_or_null(job.warning[0] != '\0' ? job.warning : NULL));
    json_object_set_new(j, "started_at", json_string(oto_local_time(x->a, job.started_at)));
    json_object_set_new(j, "finished_at", json_string(oto_local_time(x->a, job.finished_at)));
    oto_reply_json(x, 200, j);
}

/* ---- history ---- */

static json_t *record(oto_exchange *x, oto_store *store, const oto_job *job, oto_err *e)
{
    oto_str text;
    char url[80];

    oto_str_init(&text, x->a);
    oto_str_puts(&text, "");
    if (oto_plain_text(x, store, job, &text, e) != 0)
        return NULL;
    snprintf(url, sizeof url, "/api/v1/asr/audio/%s", job->id);
    return json_pack("{s:s, s:s, s:s, s:s, s:f, s:s, s:s}", "task_id", job->id, "filename",
                     job->audio[0] != '\0' ? job->audio : job->filename, "text", text.p,
                     "created_at", oto_local_time(x->a, job->finished_at), "duration",
                     (double)job->audio_ms / 1000, "status", "success", "audio_url", url);
}

static bool history_limit(oto_exchange *x, int *limit)
{
    const char *v = oto_field_get(x, "limit");
    char *end;
    long n;

    *limit = 10;
    if (v == NULL)
        return true;
    n = strtol(v, &end, 10);
    if (*end != '\0')
        refuse_field(x, "int_parsing", "query", "limit",
                     "Input should be a valid integer, unable to parse string as an integer",
                     json_string(oto_clean(x->a, v)), NULL);
    else if (n > 100)
        refuse_field(x, "less_than_equal", "query", "limit",
                     "Input should be less than or equal to 100", json_string(oto_clean(x->a, v)),
                     json_pack("{s:i}", "le", 100));
    else if (n < 1)
        refuse_field(x, "greater_than_equal", "query", "limit",
                     "Input should be greater than or equal to 1", json_string(oto_clean(x->a, v)),
                     json_pack("{s:i}", "ge", 1));
    else
        *limit = (int)n;
    return *end == '\0' && n >= 1 && n <= 100;
}

static void history(oto_exchange *x, oto_store *store)
{
    oto_store_filter f = {.states = 1u << OTO_JOB_DONE};
    json_t *records;
    oto_job *jobs;
    oto_err e = {0};
    int n = 0, rc;

    if (!history_limit(x, &f.limit))
        return;
    rc = oto_arena_get(x->a, (size_t)f.limit, sizeof *jobs, &jobs, &e);
    if (rc != 0 || oto_store_list(store, &f, x->a, jobs, &n, &e) != 0) {
        oto_reply_err(x, &e);
        return;
    }
    records = json_array();
    for (int i = 0; i < n; i++) {
        json_t *r = record(x, store, &jobs[i], &e);

        if (r == NULL) {
            json_decref(records);
            oto_reply_err(x, &e);
            return;
        }
        json_array_append_new(records, r);
    }
    oto_reply_json(x, 200, json_pack("{s:i, s:o}", "total", n, "records", records));
}

/* ---- audio, retry, delete ---- */

static void audio(oto_exchange *x, oto_store *store)
{
    char path[600];
    oto_err e = {0};
    oto_job job;

    if (!is_id(x->tail) || oto_store_get(store, x->tail, x->a, &job, &e) != 0 ||
        job.audio[0] == '\0' ||
        oto_spool_path(x->g->o->spool, job.audio, path, sizeof path, &e) != 0 ||
        oto_reply_file(x, path, job.audio, &e) != 0)
        oto_reply_problem(x, 404, NULL, NULL, "Audio file not found");
}

static void retry(oto_exchange *x, oto_store *store)
{
    char path[600];
    oto_err e = {0};
    oto_job job;
    int rc;

    if (!is_id(x->tail) || oto_store_get(store, x->tail, x->a, &job, &e) != 0) {
        oto_reply_problem(x, 404, NULL, NULL, "Task not found");
        return;
    }
    if (!oto_job_ended(job.state) || job.state == OTO_JOB_DONE) {
        oto_reply_problem(x, 400, NULL, NULL, "Only failed tasks can be retried");
        return;
    }
    if (job.audio[0] == '\0' ||
        oto_spool_path(x->g->o->spool, job.audio, path, sizeof path, &e) != 0) {
        oto_reply_problem(x, 404, NULL, NULL, "Audio file not found");
        return;
    }
    rc = oto_store_retry(store, job.id, oto_clock_ms(), &e);
    if (rc != 0) {
        oto_reply_err(x, &e);
        return;
    }
    oto_board_ring_workers(x->g->board);
    reply_submitted(x, job.id, 0, -1);
}

static void delete_task(oto_exchange *x, oto_store *store)
{
    const char *audio_name = "";
    oto_err e = {0};
    const int rc = is_id(x->tail)
                       ? oto_store_delete(store, x->tail, oto_clock_ms(), x->a, &audio_name, &e)
                       : OTO_E_NOT_FOUND;

    if (rc != 0 && rc != OTO_E_NOT_FOUND) {
        oto_reply_err(x, &e);
        return;
    }
    if (rc == 0 && audio_name[0] != '\0')
        oto_spool_remove(x->g->o->spool, audio_name);
    oto_board_ring_workers(x->g->board);
    oto_reply_json(x, 200,
                   json_pack("{s:s, s:b, s:s}", "task_id", oto_clean(x->a, x->tail), "deleted",
                             rc == 0, "message",
                             rc == 0 ? "Task deleted successfully" : "Task not found"));
}

/* ---- figures ---- */

static void count_workers(const oto_board *b, int *live, int *busy)
{
    *live = *busy = 0;
    for (int i = 0; i < b->n_workers; i++) {
        const int state = atomic_load(&b->workers[i].state);

        *live += state == OTO_PROC_READY || state == OTO_PROC_DRAINING;
        *busy += atomic_load(&b->workers[i].busy_lanes) > 0;
    }
}

static void queue_status(oto_exchange *x, oto_store *store)
{
    oto_store_stats s;
    oto_err e = {0};
    int live, busy;

    if (oto_store_stats_get(store, &s, &e) != 0) {
        oto_reply_err(x, &e);
        return;
    }
    count_workers(x->g->board, &live, &busy);
    oto_reply_json(x, 200,
                   json_pack("{s:I, s:I, s:I, s:i, s:i}", "queued",
                             (json_int_t)s.by_state[OTO_JOB_QUEUED], "processing",
                             (json_int_t)s.by_state[OTO_JOB_RUNNING], "failed",
                             (json_int_t)(s.by_state[OTO_JOB_FAILED] + s.by_state[OTO_JOB_DEAD]),
                             "workers", live, "workers_busy", busy));
}

static void stats(oto_exchange *x, oto_store *store)
{
    oto_store_stats s;
    oto_err e = {0};
    char used[40];
    double rtf;

    if (oto_store_stats_get(store, &s, &e) != 0) {
        oto_reply_err(x, &e);
        return;
    }
    snprintf(used, sizeof used, "%.2f MB", (double)s.audio_bytes / 1048576);
    rtf = s.done_audio_ms > 0 ? s.processing_s * 1000 / (double)s.done_audio_ms : 0;
    oto_reply_json(x, 200,
                   json_pack("{s:I, s:f, s:f, s:s}", "total_tasks",
                             (json_int_t)s.ended[OTO_JOB_DONE], "total_duration",
                             (double)s.done_audio_ms / 1000, "avg_rtf",
                             (double)(int64_t)(rtf * 10000 + 0.5) / 10000, "storage_used", used));
}

static const char *const file_fields[] = {"audio", "file", NULL};

static const oto_route routes[] = {
    {.methods = OTO_POST, .path = "/api/v1/asr/submit", .handler = submit, .upload = true},
    {.methods = OTO_GET, .path = "/api/v1/asr/result/*", .handler = result},
    {.methods = OTO_GET, .path = "/api/v1/asr/history", .handler = history},
    {.methods = OTO_GET, .path = "/api/v1/asr/audio/*", .handler = audio},
    {.methods = OTO_GET, .path = "/api/v1/asr/queue/status", .handler = queue_status},
    {.methods = OTO_POST, .path = "/api/v1/asr/retry/*", .handler = retry},
    {.methods = OTO_DELETE, .path = "/api/v1/asr/task/*", .handler = delete_task},
    {.methods = OTO_GET, .path = "/api/v1/stats", .handler = stats},
    {0},
};

const oto_protocol oto_rest = {
    .name = "rest", .routes = routes, .file_fields = file_fields, .fail = fail};
