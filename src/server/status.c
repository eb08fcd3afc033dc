/* Health, metrics, and the small pages of the original. Answered on the loop from what is known
 * already, so that they are prompt whatever else goes on. */
#include "server/parts.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <time.h>

/* Figures older than this mean that the store does not answer. */
#define STALE_MS 15000

static void fail(oto_exchange *x, const oto_problem *p)
{
    oto_reply_json(x, p->status, json_pack("{s:s}", "detail", oto_clean(x->a, p->text)));
}

static bool store_answers(const oto_gateway *g)
{
    return g->view.ok && oto_now_ms() - g->view.at_ms < STALE_MS;
}

static int live_workers(const oto_board *b)
{
    int n = 0;

    for (int i = 0; i < b->n_workers; i++)
        n += atomic_load(&b->workers[i].state) == OTO_PROC_READY;
    return n;
}

/* NULL when all is well. */
static const char *trouble(const oto_gateway *g)
{
    if (!store_answers(g))
        return g->view.error[0] != '\0' ? g->view.error : "the queue does not answer";
    if (g->draining)
        return "shutting down";
    if (!atomic_load(&g->accepting))
        return "a write to disk failed: nothing is accepted until a restart";
    if (live_workers(g->board) == 0)
        return "no worker is ready";
    if (!g->view.has_room)
        return "the disk is full: uploads are refused";
    if (g->o->max_queued > 0 && g->view.s.by_state[OTO_JOB_QUEUED] >= g->o->max_queued)
        return "the queue is full";
    return NULL;
}

static const char *uptime(char out[64], int64_t ms)
{
    const int64_t s = ms / 1000;

    if (s >= 86400)
        snprintf(out, 64, "%" PRId64 " days %" PRId64 " hours", s / 86400, s % 86400 / 3600);
    else if (s >= 3600)
        snprintf(out, 64, "%" PRId64 " hours %" PRId64 " minutes", s / 3600, s % 3600 / 60);
    else
        snprintf(out, 64, "%" PRId64 " minutes %" PRId64 " seconds", s / 60, s % 60);
    return out;
}

static json_t *health_json(const oto_gateway *g)
{
    const int live = live_workers(g->board);
    const char *why = trouble(g);
    char up[64];
    json_t *j;

    j = json_pack("{s:s, s:b, s:b, s:i, s:s}", "status",
                  !store_answers(g) ? "unavailable"
                  : why != NULL     ? "degraded"
                                    : "ready",
                  "model_loaded", live > 0, "redis_connected", store_answers(g), "workers_active",
                  live, "uptime", uptime(up, oto_clock_ms() - g->board->started_at));
    json_object_set_new(j, "error", why != NULL ? json_string(why) : json_null());
    json_object_set_new(j, "version", json_string(g->o->version));
    json_object_set_new(j, "model", json_string(g->o->models[0].name));
    json_object_set_new(j, "queued", json_integer(g->view.s.by_state[OTO_JOB_QUEUED]));
    json_object_set_new(j, "running", json_integer(g->view.s.by_state[OTO_JOB_RUNNING]));
    return j;
}

static void health(oto_exchange *x)
{
    oto_reply_json(x, 200, health_json(x->g));
}

static void ready(oto_exchange *x)
{
    oto_reply_json(x, trouble(x->g) == NULL ? 200 : 503, health_json(x->g));
}

static void live(oto_exchange *x)
{
    oto_reply_json(x, 200, json_pack("{s:s}", "status", "ok"));
}

static void root(oto_exchange *x)
{
    oto_reply_json(x, 200,
                   json_pack("{s:s, s:s, s:s, s:s}", "service", "ASR Transcription Service",
                             "version", "1.0.0", "docs", "/docs", "health", "/api/v1/health"));
}

/* ---- metrics, in Prometheus' text format ---- */

static void metric(oto_str *s, const char *name, const char *type, const char *help)
{
    oto_str_printf(s, "# HELP otolith_%s %s\n# TYPE otolith_%s %s\n", name, help, name, type);
}

static void gauge(oto_str *s, const char *name, const char *help, double v)
{
    metric(s, name, "gauge", help);
    oto_str_printf(s, "otolith_%s %.15g\n", name, v);
}

static void counter(oto_str *s, const char *name, const char *help, double v)
{
    metric(s, name, "counter", help);
    oto_str_printf(s, "otolith_%s %.15g\n", name, v);
}

typedef struct {
    char role[24];
    const oto_board_proc *p;
} process;

static int processes(const oto_board *b, process *out)
{
    int n = 0;

    snprintf(out[n].role, sizeof out[n].role, "supervisor");
    out[n++].p = &b->supervisor;
    snprintf(out[n].role, sizeof out[n].role, "gateway");
    out[n++].p = &b->gateway;
    for (int i = 0; i < b->n_workers; i++) {
        snprintf(out[n].role, sizeof out[n].role, "worker-%d", i + 1);
        out[n++].p = &b->workers[i];
    }
    return n;
}

static void per_process(oto_str *s, const process *list, int n, const char *name, const char *type,
                        const char *help, size_t offset)
{
    metric(s, name, type, help);
    for (int i = 0; i < n; i++)
        oto_str_printf(s, "otolith_%s{process=\"%s\"} %" PRId64 "\n", name, list[i].role,
                       atomic_load((const _Atomic int64_t *)((const char *)list[i].p + offset)));
}

#define PER_PROCESS(name, type, help, field)                                                       \
    per_process(s, list, n, name, type, help, offsetof(oto_board_proc, field))

static void process_metrics(oto_str *s, const oto_board *b)
{
    process list[OTO_MAX_WORKERS + 2];
    const int n = processes(b, list);

    PER_PROCESS("process_resident_bytes", "gauge", "Resident memory, shared pages included.",
                rss_bytes);
    PER_PROCESS("process_private_bytes", "gauge", "Memory that is no file's.", private_bytes);
    PER_PROCESS("process_peak_bytes", "gauge", "Highest resident memory.", peak_bytes);
    PER_PROCESS("process_restarts_total", "counter", "Unplanned restarts.", restarts);
    PER_PROCESS("process_recycled_total", "counter", "Planned restarts.", recycled);
    PER_PROCESS("worker_planned_bytes", "gauge", "What a worker may take at most by its plan.",
                planned_bytes);
    PER_PROCESS("worker_jobs_total", "counter", "Jobs done by the present process.", jobs);
    PER_PROCESS("worker_batches_total", "counter", "Steps of the model.", runs);
    PER_PROCESS("worker_mixed_batches_total", "counter", "Steps with windows of several jobs.",
                mixed_runs);
    PER_PROCESS("worker_windows_total", "counter", "Windows recognised.", windows);
    PER_PROCESS("worker_trims_total", "counter", "Times at which memory was given back.", trims);
    PER_PROCESS("worker_trimmed_bytes_total", "counter", "Memory given back.", trimmed_bytes);
    PER_PROCESS("decoder_peak_bytes", "gauge", "Highest memory of the last decoder child.",
                decoder_peak_bytes);
    PER_PROCESS("worker_model_opens_total", "counter", "Models opened by the present process.",
                model_opens);
    metric(s, "worker_lanes", "gauge", "Jobs at once, by state.");
    for (int i = 0; i < b->n_workers; i++) {
        const int busy = atomic_load(&b->workers[i].busy_lanes);

        oto_str_printf(s, "otolith_worker_lanes{process=\"worker-%d\",state=\"busy\"} %d\n", i + 1,
                       busy);
        oto_str_printf(s, "otolith_worker_lanes{process=\"worker-%d\",state=\"idle\"} %d\n", i + 1,
                       atomic_load(&b->workers[i].lanes) - busy);
    }
}

static void model_metrics(oto_str *s, const oto_gateway *g)
{
    metric(s, "model_resident", "gauge", "Whether a worker holds a model.");
    for (int i = 0; i < g->board->n_workers; i++)
        for (int k = 0; k < g->o->n_models; k++)
            oto_str_printf(s, "otolith_model_resident{process=\"worker-%d\",model=\"%s\"} %d\n",
                           i + 1, g->o->models[k].name,
                           (int)(atomic_load(&g->board->workers[i].models_held) >> k & 1));
}

static void job_metrics(oto_str *s, const oto_gateway *g)
{
    const oto_store_stats *t = &g->view.s;

    metric(s, "jobs", "gauge", "Jobs in the store by state.");
    for (int i = 0; i < OTO_JOB_STATES; i++)
        oto_str_printf(s, "otolith_jobs{state=\"%s\"} %" PRId64 "\n",
                       oto_job_state_name((oto_job_state)i), t->by_state[i]);
    metric(s, "jobs_ended_total", "counter", "Jobs that ended, ever.");
    for (int i = 0; i < OTO_JOB_STATES; i++)
        if (oto_job_ended((oto_job_state)i))
            oto_str_printf(s, "otolith_jobs_ended_total{state=\"%s\"} %" PRId64 "\n",
                           oto_job_state_name((oto_job_state)i), t->ended[i]);
    gauge(s, "queue_depth", "Jobs that wait.", (double)t->by_state[OTO_JOB_QUEUED]);
    gauge(s, "queue_audio_seconds", "Sound that waits, where the length is known.",
          (double)t->waiting_audio_ms / 1000);
    gauge(s, "queue_oldest_seconds", "Age of the oldest waiting job.",
          t->oldest_queued_at > 0 ? (double)(oto_clock_ms() - t->oldest_queued_at) / 1000 : 0);
    counter(s, "audio_seconds_total", "Sound recognised, ever.", (double)t->done_audio_ms / 1000);
    counter(s, "processing_seconds_total", "Time jobs took, ever.", t->processing_s);
    gauge(s, "spool_bytes", "Recordings kept.", (double)t->audio_bytes);
    gauge(s, "store_up", "Whether the queue answers.", store_answers(g));
}

static void rtf_metrics(oto_str *s, const oto_board *b)
{
    int64_t sum = 0;

    metric(s, "rtf", "histogram", "Real-time factor of jobs since the start.");
    for (int i = 0; i < OTO_RTF_BUCKETS; i++) {
        char bound[24];

        sum += atomic_load(&b->rtf_counts[i]);
        snprintf(bound, sizeof bound, isinf(oto_rtf_bounds[i]) ? "+Inf" : "%g", oto_rtf_bounds[i]);
        oto_str_printf(s, "otolith_rtf_bucket{le=\"%s\"} %" PRId64 "\n", bound, sum);
    }
    oto_str_printf(s, "otolith_rtf_sum %.6f\notolith_rtf_count %" PRId64 "\n",
                   (double)atomic_load(&b->rtf_sum_us) / 1e6, sum);
}

static void metrics(oto_exchange *x)
{
    const oto_gateway *g = x->g;
    oto_str s;

    oto_str_init(&s, x->a);
    oto_str_printf(&s,
                   "# HELP otolith_info Version and model.\n# TYPE otolith_info gauge\n"
                   "otolith_info{version=\"%s\",model=\"%s\"} 1\n",
                   g->o->version, g->o->models[0].name);
    gauge(&s, "start_time_seconds", "When the server started.",
          (double)g->board->started_at / 1000);
    job_metrics(&s, g);
    rtf_metrics(&s, g->board);
    process_metrics(&s, g->board);
    model_metrics(&s, g);
    gauge(&s, "connections", "Open connections.", g->n_connections);
    gauge(&s, "requests_open", "Requests that are being answered.", g->n_exchanges);
    counter(&s, "requests_total", "Requests.", (double)atomic_load(&g->requests));
    counter(&s, "requests_refused_total", "Requests refused before their handler.",
            (double)atomic_load(&g->refused));
    counter(&s, "uploads_total", "Uploads begun.", (double)atomic_load(&g->uploads));
    counter(&s, "uploaded_bytes_total", "Bytes of request bodies.",
            (double)atomic_load(&g->uploaded_bytes));
    counter(&s, "uploads_cut_off_total", "Uploads whose client went away.",
            (double)atomic_load(&g->cut_off));
    oto_reply_text(x, 200, "text/plain; version=0.0.4; charset=utf-8", s.p, s.n);
}

/* ---- the original's page and what feeds it ---- */

/* The whole machine: memory in use and processor time, from /proc. */
static void machine(double *memory_mb, double *memory_percent, double *cpu_percent)
{
    static long long last_busy, last_all;
    long long v[8] = {0}, all = 0, busy;
    double total = 0, available = 0;
    char line[256];
    FILE *f = fopen("/proc/meminfo", "re");

    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        sscanf(line, "MemTotal: %lf", &total);
        sscanf(line, "MemAvailable: %lf", &available);
    }
    if (f != NULL)
        fclose(f);
    *memory_mb = (total - available) / 1024;
    *memory_percent = total > 0 ? (total - available) / total * 100 : 0;
    *cpu_percent = 0;
    f = fopen("/proc/stat", "re");
    if (f == NULL)
        return;
    if (fscanf(f, "cpu %lld %lld %lld %lld %lld %lld %lld %lld", &v[0], &v[1], &v[2], &v[3], &v[4],
               &v[5], &v[6], &v[7]) == 8) {
        for (int i = 0; i < 8; i++)
            all += v[i];
        busy = all - v[3] - v[4];
        if (all > last_all && last_all > 0)
            *cpu_percent = (double)(busy - last_busy) * 100 / (double)(all - last_all);
        last_busy = busy;
        last_all = all;
    }
    fclose(f);
}

static double hundredths(double v)
{
    return (double)(int64_t)(v * 100 + 0.5) / 100;
}

static void sample(oto_exchange *x)
{
    double mb, percent, cpu;

    machine(&mb, &percent, &cpu);
    oto_reply_json(x, 200,
                   json_pack("{s:s, s:f, s:f, s:f, s:i, s:I}", "timestamp",
                             oto_local_time(x->a, oto_clock_ms()), "cpu_percent", hundredths(cpu),
                             "memory_percent", hundredths(percent), "memory_mb", hundredths(mb),
                             "active_workers", live_workers(x->g->board), "queued_tasks",
                             (json_int_t)x->g->view.s.by_state[OTO_JOB_QUEUED]));
}

static void no_report(oto_exchange *x)
{
    oto_reply_json(x, 200, json_object());
}

static void dashboard(oto_exchange *x)
{
    oto_reply_redirect(x, 307, "/static/index.html");
}

static void page(oto_exchange *x)
{
    const oto_gateway *g = x->g;
    oto_str s;
    char up[64];

    oto_str_init(&s, x->a);
    oto_str_printf(&s,
                   "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=2>"
                   "<title>otolith</title><style>body{font:16px system-ui;margin:2em}"
                   "td{padding:.2em 1em .2em 0}</style><h1>otolith %s</h1><table>"
                   "<tr><td>model<td>%s<tr><td>up<td>%s<tr><td>workers<td>%d"
                   "<tr><td>queued<td>%" PRId64 "<tr><td>running<td>%" PRId64
                   "<tr><td>done<td>%" PRId64 "<tr><td>state<td>%s</table>",
                   g->o->version, g->o->models[0].name,
                   uptime(up, oto_clock_ms() - g->board->started_at), live_workers(g->board),
                   g->view.s.by_state[OTO_JOB_QUEUED], g->view.s.by_state[OTO_JOB_RUNNING],
                   g->view.s.ended[OTO_JOB_DONE], trouble(g) != NULL ? trouble(g) : "ready");
    oto_reply_text(x, 200, "text/html; charset=utf-8", s.p, s.n);
}

static const oto_route routes[] = {
    {.methods = OTO_GET, .path = "/", .open = true, .prompt = root},
    {.methods = OTO_GET, .path = "/health", .open = true, .prompt = health},
    {.methods = OTO_GET, .path = "/api/v1/health", .open = true, .prompt = health},
    {.methods = OTO_GET, .path = "/health/live", .open = true, .prompt = live},
    {.methods = OTO_GET, .path = "/health/ready", .open = true, .prompt = ready},
    {.methods = OTO_GET, .path = "/metrics", .prompt = metrics},
    {.methods = OTO_GET, .path = "/api/v1/test/results/latest", .prompt = sample},
    {.methods = OTO_GET, .path = "/api/v1/test/report/latest", .prompt = no_report},
    {.methods = OTO_GET, .path = "/dashboard", .prompt = dashboard},
    {.methods = OTO_GET, .path = "/static/index.html", .prompt = page},
    {0},
};

const oto_protocol oto_status_pages = {.name = "status", .routes = routes, .fail = fail};
