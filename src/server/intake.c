/* Taking a job in: probe the upload, make it durable, put it into the queue, wake a worker. Only
 * then is it accepted. */
#include "server/parts.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* Core seconds for a second of sound before anything was measured. */
#define FIRST_RTF 0.05

void oto_order_init(oto_exchange *x, oto_order *o, const char *api)
{
    memset(o, 0, sizeof *o);
    oto_request_defaults(&o->request);
    o->request.itn = x->g->o->itn;
    snprintf(o->request.script, sizeof o->request.script, "%s",
             x->g->o->script != NULL ? x->g->o->script : "");
    o->submission.api = api;
    o->submission.client = x->client;
    o->submission.audio_ms = -1;
    o->model = &x->g->o->models[0];
}

static bool problem(oto_problem *p, int status, const char *code, const char *param,
                    const char *fmt, ...) OTO_PRINTF(5, 6);
static bool problem(oto_problem *p, int status, const char *code, const char *param,
                    const char *fmt, ...)
{
    va_list ap;

    *p = (oto_problem){.status = status, .code = code, .param = param};
    va_start(ap, fmt);
    vsnprintf(p->text, sizeof p->text, fmt, ap);
    va_end(ap);
    return false;
}

/* ---- fields ---- */

static bool take_language(oto_exchange *x, oto_request *r, oto_problem *p)
{
    const char *v = oto_field_get(x, "language");
    int i;

    if (v == NULL || strcasecmp(v, "auto") == 0)
        return true;
    i = oto_language_index(v);
    if (i < 0)
        return problem(p, 400, "invalid_value", "language", "language: '%.80s' is not known", v);
    snprintf(r->language, sizeof r->language, "%s", oto_language_code(i));
    return true;
}

static bool take_bool(oto_exchange *x, const char *name, bool *out, oto_problem *p)
{
    const int v = oto_field_bool(x, name, *out);

    if (v < 0)
        return problem(p, 400, "invalid_value", name, "%s: neither true nor false", name);
    *out = v != 0;
    return true;
}

/* "none" switches the server's setting off. */
static bool take_script(oto_exchange *x, oto_request *r, oto_problem *p)
{
    const char *v = oto_field_get(x, "script");

    if (v == NULL)
        return true;
    if (strcmp(v, "none") != 0 && !oto_script_knows(v))
        return problem(p, 400, "invalid_value", "script",
                       "script: '%.80s' is not known (none, s2t, t2s, s2tw, ...)", v);
    if (strcmp(v, "none") != 0 && !x->g->o->scripts)
        return problem(p, 400, "unsupported", "script", "script: this server has no OpenCC");
    snprintf(r->script, sizeof r->script, "%s", strcmp(v, "none") == 0 ? "" : v);
    return true;
}

static bool take_task(oto_exchange *x, oto_order *o, oto_problem *p)
{
    const char *v = oto_field_get(x, "task");

    if (v == NULL || strcmp(v, "transcribe") == 0)
        return true;
    if (strcmp(v, "translate") != 0)
        return problem(p, 400, "invalid_value", "task",
                       "task: '%.80s' is neither transcribe nor "
                       "translate",
                       v);
    if (!o->model->translates)
        return problem(p, 400, "unsupported_task", "task", "model %.200s does not translate",
                       o->model->name);
    o->request.translate = true;
    return true;
}

bool oto_order_fields(oto_exchange *x, oto_order *o, oto_problem *p)
{
    oto_request *r = &o->request;
    bool vad = !r->no_vad;
    double temperature = -1;
    oto_err e = {0};

    if (!take_language(x, r, p) || !take_task(x, o, p) || !take_bool(x, "words", &r->words, p) ||
        !take_bool(x, "itn", &r->itn, p) || !take_script(x, r, p) ||
        !take_bool(x, "vad_filter", &vad, p) || !oto_field_int(x, "beam_size", 1, 5, &r->beam, p) ||
        !oto_field_float(x, "temperature", 0, 1, &temperature, p) ||
        !oto_field_int(x, "priority", -10, 10, &o->submission.priority, p))
        return false;
    r->no_vad = !vad;
    r->temperature = (float)temperature;
    r->prompt = oto_field_get(x, "prompt");
    r->hotwords = oto_field_get(x, "hotwords");
    o->submission.webhook = oto_field_get(x, "callback_url");
    o->submission.idempotency = oto_field_get(x, "idempotency_key");
    if (o->submission.webhook != NULL && oto_notices_check(x->g->o, o->submission.webhook, &e) != 0)
        return problem(p, 400, "invalid_value", "callback_url", "callback_url: %s", e.text);
    if (oto_request_check(r, &e) != 0)
        return problem(p, 400, "invalid_value", NULL, "%s", e.text);
    return true;
}

static bool in_list(const char *list, const char *name)
{
    const size_t n = strlen(name);

    for (const char *at = list; at != NULL && *at != '\0';) {
        const size_t len = strcspn(at, ",");

        if (len == n && strncmp(at, name, n) == 0)
            return true;
        at += len + (at[len] == ',');
    }
    return false;
}

const oto_served_model *oto_model_named(const oto_exchange *x, const char *name, oto_problem *p)
{
    const oto_server_options *o = x->g->o;
    size_t n;

    for (int i = 0; i < o->n_models; i++)
        if (name == NULL || strcmp(name, o->models[i].name) == 0)
            return &o->models[i];
    if (in_list(o->aliases, name))
        return &o->models[0];
    problem(p, 404, "model_not_found", "model",
            "The model '%.100s' does not exist here; this server has %.200s", name,
            o->models[0].name);
    n = strlen(p->text);
    for (int i = 1; i < o->n_models && n < sizeof p->text; i++)
        n += (size_t)snprintf(p->text + n, sizeof p->text - n, ", %s", o->models[i].name);
    return NULL;
}

/* Who names one of several is bound to it, whatever is the default when the job's turn comes; any
 * other job takes what is there. */
bool oto_order_model(oto_exchange *x, oto_order *o, const char *name, oto_problem *p)
{
    const oto_served_model *m = oto_model_named(x, name, p);

    if (m == NULL)
        return false;
    o->model = m;
    if (x->g->o->n_models > 1 && name != NULL && strcmp(name, m->name) == 0)
        o->request.model = m->name;
    return true;
}

/* ---- the upload ---- */

/* Letters and digits behind the last dot, for the stored name. */
static void extension(const char *filename, char out[12])
{
    const char *dot = filename != NULL ? strrchr(filename, '.') : NULL;
    size_t n = 0;

    while (dot != NULL && n < 8 && isalnum((unsigned char)dot[1 + n])) {
        out[n] = (char)tolower((unsigned char)dot[1 + n]);
        n++;
    }
    out[n] = '\0';
    if (n == 0 || dot[1 + n] != '\0')
        snprintf(out, 12, "bin");
}

/* The reason without the spool's path in front. */
static void plain_reason(oto_exchange *x, const char *path, const oto_err *e, oto_problem *p)
{
    const char *text = e->text;
    const char *name = x->filename != NULL && x->filename[0] != '\0' ? x->filename : "recording";

    if (strncmp(text, path, strlen(path)) == 0)
        text += strlen(path);
    else if (strstr(text, ".part") != NULL && strchr(text, ':') != NULL)
        text = strchr(text, ':');
    oto_problem_of(e, p);
    snprintf(p->text, sizeof p->text, "%.200s%s%.250s", name, *text == ':' ? "" : ": ", text);
}

static bool probe(oto_exchange *x, oto_order *o, oto_problem *p)
{
    const oto_server_options *so = x->g->o;
    oto_media_options m;
    oto_media_info info;
    char path[600];
    oto_err e = {0};

    snprintf(path, sizeof path, "%s/%s", so->spool->dir, x->upload.part);
    if (x->upload.bytes == 0)
        return problem(p, 415, "unsupported_audio", "file", "%.200s: empty (0 bytes)",
                       x->filename[0] != '\0' ? x->filename : "recording");
    if (o->request.raw_pcm) {
        o->submission.audio_ms = x->upload.bytes / 2 * 1000 / OTO_SAMPLE_RATE;
        return true;
    }
    oto_media_defaults(&m);
    if (oto_media_probe(path, &m, &info, &e) != 0) {
        plain_reason(x, path, &e, p);
        p->param = "file";
        return false;
    }
    o->submission.audio_ms = info.duration_ms;
    if (so->max_audio_ms > 0 && info.duration_ms > so->max_audio_ms)
        return problem(p, 422, "audio_too_long", "file",
                       "The recording of %" PRId64 " s is over the limit of %" PRId64 " s",
                       info.duration_ms / 1000, so->max_audio_ms / 1000);
    return true;
}

static bool submit(oto_exchange *x, oto_store *store, oto_order *o, oto_job *job, oto_problem *p)
{
    const oto_server_options *so = x->g->o;
    bool existing = false;
    char audio[64], ext[12];
    oto_err e = {0};
    int rc;

    extension(x->filename, ext);
    o->submission.filename = oto_clean(x->a, x->filename);
    o->submission.model = o->model->name;
    o->submission.language = o->request.language;
    o->submission.bytes = x->upload.bytes;
    if ((rc = oto_request_write(&o->request, x->a, &o->submission.options, &e)) == 0 &&
        (rc = oto_upload_keep(so->spool, &x->upload, ext, oto_clock_ms(), audio, &e)) == 0) {
        o->submission.audio = audio;
        rc = oto_store_submit(store, &o->submission, so->max_queued, x->key_max_jobs,
                              oto_clock_ms(), x->a, job, &existing, &e);
        /* Where writing failed, the job may yet come to light after a restart; a sweep sees to a
         * recording that nobody wants. */
        if ((rc != 0 && rc != OTO_E_IO) || existing)
            oto_spool_remove(so->spool, audio);
    }
    if (rc == 0)
        return true;
    oto_problem_of(&e, p);
    if (rc == OTO_E_BUSY && x->key_max_jobs > 0) {
        p->status = 429;
        p->code = "rate_limit_exceeded";
        p->retry_after_s = 10;
    } else if (rc == OTO_E_LIMIT) {
        p->status = 503;
        p->code = "overloaded";
        snprintf(p->text, sizeof p->text, "Server overloaded, please try again later");
    } else if (rc == OTO_E_IO) {
        /* What is on the disk is not known any more: nothing is accepted until a restart. */
        oto_log(OTO_LOG_ERROR, "submit: %s; accepting nothing until restarted", e.text);
        atomic_store(&x->g->accepting, false);
        p->status = 503;
        p->retry_after_s = 30;
    }
    return false;
}

bool oto_intake(oto_exchange *x, oto_store *store, oto_order *o, oto_job *job, oto_problem *p)
{
    bool ok = probe(x, o, p) && submit(x, store, o, job, p);

    if (x->upload.fd >= 0)
        oto_upload_drop(x->g->o->spool, &x->upload);
    if (!ok)
        return false;
    oto_fault_leak("gateway", 1);
    snprintf(x->job, sizeof x->job, "%s", job->id);
    oto_board_ring_workers(x->g->board);
    return true;
}

/* ---- estimates and times ---- */

int64_t oto_estimate_s(const oto_exchange *x, int64_t audio_ms)
{
    const oto_board *b = x->g->board;
    const int64_t heard = atomic_load(&b->audio_ms), spent = atomic_load(&b->processing_ms);
    const double rtf = heard > 60000 ? (double)spent / (double)heard : FIRST_RTF;
    const double s = (double)audio_ms / 1000 * rtf / OTO_MAX(1, b->n_workers);

    return (int64_t)(s + 0.999);
}

const char *oto_local_time(oto_arena *a, int64_t ms)
{
    const time_t t = (time_t)(ms / 1000);
    char text[64];
    struct tm tm;
    size_t n;

    if (ms == 0)
        return "";
    localtime_r(&t, &tm);
    n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    if (ms % 1000 != 0)
        n += (size_t)snprintf(text + n, sizeof text - n, ".%03d000", (int)(ms % 1000));
    return oto_arena_strdup(a, text, n);
}
