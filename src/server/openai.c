/* OpenAI's speech API, for its packages and everything built on them.
 *
 *   POST /v1/audio/transcriptions   POST /v1/audio/translations
 *   GET  /v1/models                 GET  /v1/models/ID
 *
 * also without /v1, and as Azure names them. A request is a job like any other; it waits for the
 * job's end, or with stream=true tells of its segments as they come. */
#include "server/parts.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CANCEL_AFTER_MS 10000 /* a client that lost its connection comes back sooner */
#define KEEP_ALIVE_MS   15000
#define PRIORITY        1 /* someone waits for the answer */
#define ITEM_BYTES      128

static json_t *error_json(oto_exchange *x, const oto_problem *p)
{
    const char *type = p->status == 429   ? "rate_limit_error"
                       : p->status >= 500 ? "server_error"
                                          : "invalid_request_error";
    oto_joint joint = {0};
    oto_str text;

    oto_str_init(&text, x->a);
    oto_joined_text(&joint, p->text, &text);
    if (p->status == 500)
        oto_str_printf(&text, " (request %s)", x->id);
    return json_pack("{s:{s:s%, s:s, s:s?, s:s?}}", "error", "message", text.p, text.n, "type",
                     type, "param", p->param, "code", p->code);
}

static void fail(oto_exchange *x, const oto_problem *p)
{
    oto_reply_json(x, p->status, error_json(x, p));
}

static void refuse(oto_exchange *x, const oto_problem *p)
{
    oto_reply_problem(x, p->status, p->code, p->param, "%s", p->text);
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

/* ---- what is wished ---- */

enum format { JSON, TEXT, VERBOSE, SRT, VTT, TSV, LRC };

static const struct {
    const char *name, *writer, *type;
    bool streams;
} formats[] = {
    [JSON] = {"json", NULL, "application/json", true},
    [TEXT] = {"text", NULL, "text/plain; charset=utf-8", true},
    [VERBOSE] = {"verbose_json", "json", "application/json", true},
    [SRT] = {"srt", "srt", "text/plain; charset=utf-8", false},
    [VTT] = {"vtt", "vtt", "text/vtt; charset=utf-8", false},
    [TSV] = {"tsv", "tsv", "text/tab-separated-values; charset=utf-8", false},
    [LRC] = {"lrc", "lrc", "text/plain; charset=utf-8", false},
};

typedef struct {
    enum format format;
    bool words, segments, stream;
} wish;

static bool take_format(oto_exchange *x, wish *w, oto_problem *p)
{
    const char *v = oto_field_get(x, "response_format");
    const int stream = oto_field_bool(x, "stream", false);
    size_t i = 0;

    if (stream < 0)
        return problem(p, 400, "invalid_value", "stream", "stream: neither true nor false");
    if (v != NULL && strcmp(v, "diarized_json") == 0)
        return problem(p, 400, "unsupported_parameter", "response_format",
                       "response_format: diarized_json needs a model that tells speakers apart, "
                       "which this server does not have");
    while (v != NULL && i < OTO_COUNT(formats) && strcmp(formats[i].name, v) != 0)
        i++;
    if (i == OTO_COUNT(formats))
        return problem(p, 400, "invalid_value", "response_format",
                       "response_format: '%.80s' is none of json, text, srt, verbose_json, vtt, "
                       "tsv, lrc",
                       v);
    if (stream == 1 && !formats[i].streams)
        return problem(p, 400, "invalid_value", "response_format",
                       "response_format: %s cannot be streamed; take json, text or verbose_json",
                       formats[i].name);
    w->format = (enum format)i;
    w->stream = stream == 1;
    return true;
}

/* The next item of a comma-separated value. */
static bool next_item(const char **value, char item[ITEM_BYTES])
{
    const char *at = *value + strspn(*value, ", ");
    const size_t n = strcspn(at, ", ");

    if (n == 0)
        return false;
    snprintf(item, ITEM_BYTES, "%.*s", (int)OTO_MIN(n, ITEM_BYTES - 1), at);
    *value = at + n;
    return true;
}

/* Named as read by nobody. */
static void unread(oto_exchange *x, const char *name)
{
    for (oto_field *f = x->fields; f != NULL; f = f->next)
        if (strncmp(f->name, name, strlen(name)) == 0)
            f->used = false;
}

static bool take_granularities(oto_exchange *x, wish *w, oto_problem *p)
{
    static const char name[] = "timestamp_granularities";
    const oto_field *at = NULL;
    const char *value;
    char item[ITEM_BYTES];
    bool any = false;

    while ((value = oto_field_each(x, name, &at)) != NULL)
        while (next_item(&value, item)) {
            any = true;
            if (strcmp(item, "word") == 0)
                w->words = true;
            else if (strcmp(item, "segment") == 0)
                w->segments = true;
            else
                return problem(p, 400, "invalid_value", "timestamp_granularities[]",
                               "%s: '%s' is neither word nor segment", name, item);
        }
    if (!any)
        w->segments = true;
    if (w->words && w->format != VERBOSE)
        return problem(p, 400, "invalid_value", "timestamp_granularities[]",
                       "%s: word needs response_format verbose_json", name);
    if (w->words && w->stream) { /* no event holds words */
        unread(x, name);
        w->words = false;
    }
    return true;
}

/* What is understood and cannot be done is refused, not passed over: the answer would lack it. */
static bool take_include(oto_exchange *x, oto_problem *p)
{
    static const char *const speakers[] = {"known_speaker_names", "known_speaker_references"};
    static const char *const wanted[] = {"diarize", "spk"};
    const oto_field *at = NULL;
    const char *value;

    while ((value = oto_field_each(x, "include", &at)) != NULL)
        return strcmp(value, "logprobs") == 0
                   ? problem(p, 400, "unsupported_parameter", "include[]",
                             "include: logprobs are not kept; verbose_json has the mean of each "
                             "segment")
                   : problem(p, 400, "invalid_value", "include[]", "include: '%.80s' is not known",
                             value);
    for (size_t i = 0; i < OTO_COUNT(speakers); i++) {
        at = NULL;
        if (oto_field_each(x, speakers[i], &at) != NULL)
            return problem(p, 400, "unsupported_parameter", speakers[i],
                           "%s: this server does not tell speakers apart", speakers[i]);
    }
    for (size_t i = 0; i < OTO_COUNT(wanted); i++)
        if (oto_field_bool(x, wanted[i], false) != 0)
            return problem(p, 400, "unsupported_parameter", wanted[i],
                           "%s: this server does not tell speakers apart", wanted[i]);
    return true;
}

/* ---- voice activity detection ---- */

/* The members of an object, given as name[member] or as JSON, under their first names. */
static bool spread_object(oto_exchange *x, const char *name, const char *value, oto_problem *p)
{
    json_t *j = json_loads(value, 0, NULL), *v;
    const char *key;
    oto_field *f = NULL;
    char text[64];

    if (!json_is_object(j)) {
        json_decref(j);
        return problem(p, 400, "invalid_value", name, "%s: neither auto nor an object", name);
    }
    json_object_foreach(j, key, v)
    {
        oto_str full;

        oto_str_init(&full, x->a);
        oto_str_printf(&full, "%s[%.40s]", name, key);
        if (json_is_string(v))
            snprintf(text, sizeof text, "%s", json_string_value(v));
        else
            snprintf(text, sizeof text, "%g", json_number_value(v));
        f = oto_arena_calloc(x->a, 1, sizeof *f);
        if (f == NULL || full.failed)
            break;
        f->name = full.p;
        f->value = oto_arena_strdup(x->a, text, strlen(text));
        f->next = x->fields;
        x->fields = f;
    }
    json_decref(j);
    return true;
}

static bool take_chunking(oto_exchange *x, oto_request *r, oto_problem *p)
{
    static const char name[] = "chunking_strategy";
    const char *value = oto_field_get(x, name), *type;
    double threshold = (double)r->speech_noise_thres, silence = r->max_end_silence_ms, padding = 0;
    bool ok;

    if (value != NULL && strcasecmp(value, "auto") != 0 && !spread_object(x, name, value, p))
        return false;
    type = oto_field_get(x, "chunking_strategy[type]");
    if (type != NULL && strcmp(type, "server_vad") != 0)
        return problem(p, 400, "invalid_value", name, "%s: type '%.80s' is not server_vad", name,
                       type);
    ok = oto_field_float(x, "chunking_strategy[threshold]", 0, 1, &threshold, p) &&
         oto_field_float(x, "chunking_strategy[silence_duration_ms]", 100, 10000, &silence, p) &&
         oto_field_float(x, "chunking_strategy[prefix_padding_ms]", 0, 10000, &padding, p);
    if (!ok)
        return false;
    unread(x, "chunking_strategy[prefix_padding_ms]");
    r->speech_noise_thres = (float)threshold;
    r->max_end_silence_ms = (int)silence;
    return true;
}

/* ---- words and languages to expect ---- */

static bool take_keywords(oto_exchange *x, oto_request *r, oto_problem *p)
{
    const oto_field *at = NULL;
    const char *value;
    oto_err e = {0};
    oto_str all;

    oto_str_init(&all, x->a);
    if (r->hotwords != NULL)
        oto_str_puts(&all, r->hotwords);
    while ((value = oto_field_each(x, "keywords", &at)) != NULL) {
        if (all.n > 0)
            oto_str_puts(&all, "\n");
        oto_str_puts(&all, value);
    }
    if (all.n > 0)
        r->hotwords = all.p;
    if (oto_request_check(r, &e) != 0)
        return problem(p, 400, "invalid_value", "keywords[]", "%s", e.text);
    return true;
}

/* One possible language is the language. Several cannot be held apart from all: they are named as
 * not read. */
static bool take_languages(oto_exchange *x, oto_request *r, oto_problem *p)
{
    const oto_field *at = NULL;
    const char *value;
    char item[ITEM_BYTES];
    int first = -1;
    bool several = false;

    while ((value = oto_field_each(x, "languages", &at)) != NULL)
        while (next_item(&value, item)) {
            const int i = oto_language_index(item);

            if (i < 0)
                return problem(p, 400, "invalid_value", "languages[]",
                               "languages: '%s' is not known", item);
            several = several || (first >= 0 && first != i);
            first = i;
        }
    if (several)
        unread(x, "languages");
    else if (first >= 0 && r->language[0] == '\0')
        snprintf(r->language, sizeof r->language, "%s", oto_language_code(first));
    return true;
}

/* ---- speech to text ---- */

static bool take_model(oto_exchange *x, oto_order *o, const char *deployment, oto_problem *p)
{
    const char *name = oto_field_get(x, "model");

    if (deployment != NULL)
        name = deployment;
    if (name != NULL && strcmp(name, "default") == 0)
        name = NULL;
    return oto_order_model(x, o, name, p);
}

/* A field that oto_order_fields refuses may stand in front of the reason alone. */
static void name_param(oto_problem *p)
{
    static const char *const names[] = {"prompt", "hotwords", "language", "temperature"};

    for (size_t i = 0; p->param == NULL && i < OTO_COUNT(names); i++)
        if (strncmp(p->text, names[i], strlen(names[i])) == 0)
            p->param = names[i];
}

static bool take_order(oto_exchange *x, const char *deployment, bool translate, wish *w,
                       oto_order *o, oto_problem *p)
{
    oto_request *r = &o->request;

    oto_order_init(x, o, "openai");
    o->submission.id_digits = 32;
    o->submission.priority = PRIORITY;
    oto_field_get(x, "api-version"); /* Azure's: there is one version here */
    if (x->filename == NULL)
        return problem(p, 400, "missing_required_parameter", "file", "file: a recording is needed");
    if (!take_model(x, o, deployment, p) || !take_format(x, w, p) || !take_granularities(x, w, p) ||
        !take_include(x, p))
        return false;
    if (translate && !o->model->translates)
        return problem(p, 400, "unsupported_task", "model", "The model '%.100s' does not translate",
                       o->model->name);
    if (!oto_order_fields(x, o, p)) {
        name_param(p);
        return false;
    }
    r->translate = r->translate || translate;
    r->words = w->words || r->words;
    return take_chunking(x, r, p) && take_languages(x, r, p) && take_keywords(x, r, p);
}

static void answer_json(oto_exchange *x, const oto_job *job, const oto_str *text)
{
    const json_int_t seconds = (job->audio_ms + 999) / 1000;
    json_t *j = json_pack("{s:s%, s:{s:s, s:I}}", "text", text->p, text->n, "usage", "type",
                          "duration", "seconds", seconds);

    if (job->warning[0] != '\0')
        json_object_set_new(j, "warnings", json_pack("[s]", job->warning));
    oto_reply_json(x, 200, j);
}

static void answer(oto_exchange *x, oto_store *store, const oto_job *job, void *arg)
{
    const wish *w = arg;
    const unsigned flags =
        OTO_ABOUT | (w->words ? OTO_WORDS : 0u) | (w->segments ? 0u : OTO_NO_SEGMENTS);
    oto_err e = {0};
    oto_str out;
    int rc;

    oto_str_init(&out, x->a);
    if (formats[w->format].writer != NULL)
        rc = oto_transcript_as(x, store, job, formats[w->format].writer, flags, &out, &e);
    else
        rc = oto_plain_text(x, store, job, &out, &e);
    if (rc == 0 && w->format == JSON) {
        answer_json(x, job, &out);
        return;
    }
    if (rc == 0 && w->format == TEXT)
        oto_str_puts(&out, "\n");
    if (rc == 0)
        oto_reply_text(x, 200, formats[w->format].type, out.p, out.n);
    else
        oto_reply_err(x, &e);
}

/* ---- streams ---- */

typedef struct {
    oto_exchange *x;
    oto_arena *scratch;
    oto_joint joint;
    int told;        /* segments, */
    int restarts;    /* of the job when they were */
    int64_t done_ms; /* progress told */
    bool segments;   /* as events of their own */
} stream;

static json_t *clean(oto_arena *a, const char *text)
{
    oto_joint joint = {0};
    oto_str s;

    oto_str_init(&s, a);
    oto_joined_text(&joint, text, &s);
    return json_stringn(s.p, s.n);
}

static int tell_segment(void *arg, int number, const oto_job_segment *seg)
{
    stream *s = arg;
    const oto_mark m = oto_arena_mark(s->scratch);
    oto_str delta;
    char id[24];

    oto_str_init(&delta, s->scratch);
    oto_joined_text(&s->joint, seg->text, &delta);
    if (delta.n > 0)
        oto_reply_event(s->x, json_pack("{s:s, s:s%}", "type", "transcript.text.delta", "delta",
                                        delta.p, delta.n));
    if (s->segments && delta.n > 0) {
        snprintf(id, sizeof id, "seg_%03d", number + 1);
        oto_reply_event(s->x,
                        json_pack("{s:s, s:s, s:f, s:f, s:o, s:s}", "type",
                                  "transcript.text.segment", "id", id, "start",
                                  (double)seg->start_ms / 1000, "end", (double)seg->end_ms / 1000,
                                  "text", clean(s->scratch, seg->text), "speaker", ""));
    }
    s->told = number + 1;
    oto_arena_rollback(s->scratch, m);
    return delta.failed || s->x->out.failed;
}

static void tell_progress(stream *s, const oto_job *job)
{
    const double done = (double)job->checkpoint_ms / 1000;

    if (!s->x->wants_progress || job->checkpoint_ms == s->done_ms || job->audio_ms <= 0)
        return;
    s->done_ms = job->checkpoint_ms;
    oto_reply_event(s->x, json_pack("{s:s, s:f, s:f}", "type", "otolith.progress", "fraction",
                                    OTO_MIN(1.0, done * 1000 / (double)job->audio_ms),
                                    "audio_seconds", done));
}

static void tell_end(stream *s, oto_store *store, const oto_job *job)
{
    oto_problem p;
    oto_err e = {0};
    oto_str text;

    oto_str_init(&text, s->scratch);
    if (job->state != OTO_JOB_DONE) {
        oto_job_problem(job, &p);
        oto_reply_event(s->x, error_json(s->x, &p));
    } else if (oto_plain_text(s->x, store, job, &text, &e) != 0) {
        oto_problem_of(&e, &p);
        oto_reply_event(s->x, error_json(s->x, &p));
    } else {
        json_t *j =
            json_pack("{s:s, s:s%}", "type", "transcript.text.done", "text", text.p, text.n);

        if (job->warning[0] != '\0')
            json_object_set_new(j, "warnings", json_pack("[s]", job->warning));
        oto_reply_event(s->x, j);
        oto_str_puts(&s->x->out, "data: [DONE]\n\n");
    }
}

static oto_look look(oto_exchange *x, oto_store *store)
{
    stream *s = x->state;
    oto_err e = {0};
    oto_problem p;
    oto_job job;
    int rc;

    oto_arena_reset(s->scratch);
    rc = oto_store_get(store, x->job, s->scratch, &job, &e);
    if (rc == 0 && job.restarts != s->restarts && s->told > 0) {
        problem(&p, 503, "restarted", NULL, "the job began anew and this text is void; try again");
        oto_reply_event(x, error_json(x, &p));
        return OTO_DONE;
    }
    if (rc == 0) {
        s->restarts = job.restarts;
        rc = oto_store_each_segment(store, &job, s->told, tell_segment, s, &e);
    }
    if (rc == OTO_E_NOT_FOUND) {
        problem(&p, 499, "cancelled", NULL, "the job was deleted");
        oto_reply_event(x, error_json(x, &p));
        return OTO_DONE;
    }
    if (x->out.failed) {
        x->kind = OTO_REPLY_ABORT;
        return OTO_DONE;
    }
    if (rc == 0)
        tell_progress(s, &job);
    if (rc == 0 && oto_job_ended(job.state)) {
        tell_end(s, store, &job);
        return OTO_DONE;
    }
    x->look_at_ms = oto_now_ms() + 5000; /* should a bell be missed */
    return OTO_WAIT;
}

static void begin_stream(oto_exchange *x, const wish *w)
{
    stream *s = oto_arena_calloc(x->a, 1, sizeof *s);

    if (s == NULL || (s->scratch = oto_scratch_new(x)) == NULL) {
        oto_reply_problem(x, 503, "overloaded", NULL, "out of memory");
        return;
    }
    s->x = x;
    s->segments = w->format == VERBOSE;
    x->state = s;
    x->look = look;
    oto_reply_header(x, "cache-control", "no-cache");
    oto_reply_header(x, "x-accel-buffering", "no");
    oto_reply_stream(x, 200, "text/event-stream; charset=utf-8");
    oto_reply_heartbeat(x, KEEP_ALIVE_MS, ": keep-alive\n\n");
}

static void speech(oto_exchange *x, oto_store *store, const char *deployment, bool translate)
{
    wish *w = oto_arena_calloc(x->a, 1, sizeof *w);
    oto_problem p = {.status = 503, .code = "overloaded", .text = "out of memory"};
    oto_order o;

    if (w == NULL || !take_order(x, deployment, translate, w, &o, &p)) {
        refuse(x, &p);
        return;
    }
    oto_name_ignored(x);
    if (!oto_take_in(x, store, &o, w->stream ? 0 : CANCEL_AFTER_MS, &p))
        refuse(x, &p);
    else if (w->stream)
        begin_stream(x, w);
    else
        oto_await(x, formats[w->format].type, answer, w);
}

static void transcriptions(oto_exchange *x, oto_store *store)
{
    speech(x, store, NULL, false);
}

static void translations(oto_exchange *x, oto_store *store)
{
    speech(x, store, NULL, true);
}

static void azure_transcriptions(oto_exchange *x, oto_store *store)
{
    speech(x, store, x->tail, false);
}

static void azure_translations(oto_exchange *x, oto_store *store)
{
    speech(x, store, x->tail, true);
}

/* ---- models ---- */

static json_t *languages(const char *known)
{
    json_t *list = json_array();
    const char *code;

    /* Cantonese, the hundredth, came with large-v3. */
    for (int i = 0; (code = oto_language_code(i)) != NULL && (known[0] != '\0' || i < 99); i++)
        if (oto_language_among(known, code))
            json_array_append_new(list, json_string(code));
    return list;
}

/* One of several comes when it is needed. */
static bool is_loaded(const oto_exchange *x, const oto_served_model *m)
{
    const oto_board *b = x->g->board;
    uint32_t held = x->g->o->n_models == 1;

    for (int i = 0; i < b->n_workers; i++)
        held |= atomic_load(&b->workers[i].models_held);
    return (held >> (m - x->g->o->models) & 1) != 0;
}

static json_t *model_json(const oto_exchange *x, const char *id, const oto_served_model *m)
{
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:o, s:b}", "id", id, "object", "model", "created",
                     (json_int_t)(x->g->board->started_at / 1000), "owned_by", "otolith", "task",
                     "automatic-speech-recognition", "language", languages(m->languages), "loaded",
                     is_loaded(x, m));
}

static void models(oto_exchange *x, oto_store *store)
{
    const oto_server_options *o = x->g->o;
    json_t *list = json_array();
    const char *at = o->aliases != NULL ? o->aliases : "";
    char id[ITEM_BYTES];
    oto_problem p;

    (void)store;
    for (int i = 0; i < o->n_models; i++)
        json_array_append_new(list, model_json(x, o->models[i].name, &o->models[i]));
    while (next_item(&at, id))
        if (oto_model_named(x, id, &p) == &o->models[0] && strcmp(id, o->models[0].name) != 0)
            json_array_append_new(list, model_json(x, id, &o->models[0]));
    oto_reply_json(x, 200, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

static void model(oto_exchange *x, oto_store *store)
{
    const oto_served_model *m;
    oto_problem p;

    (void)store;
    if ((m = oto_model_named(x, x->tail, &p)) != NULL)
        oto_reply_json(x, 200, model_json(x, x->tail, m));
    else
        refuse(x, &p);
}

static const char *const file_fields[] = {"file", NULL};

#define SPEECH(PATH, HANDLER)                                                                      \
    {                                                                                              \
        .methods = OTO_POST, .path = PATH, .handler = HANDLER, .upload = true                      \
    }
#define LOOK(PATH, HANDLER)                                                                        \
    {                                                                                              \
        .methods = OTO_GET, .path = PATH, .handler = HANDLER                                       \
    }

static const oto_route routes[] = {
    SPEECH("/v1/audio/transcriptions", transcriptions),
    SPEECH("/v1/audio/translations", translations),
    SPEECH("/audio/transcriptions", transcriptions),
    SPEECH("/audio/translations", translations),
    SPEECH("/openai/deployments/*/audio/transcriptions", azure_transcriptions),
    SPEECH("/openai/deployments/*/audio/translations", azure_translations),
    LOOK("/v1/models", models),
    LOOK("/v1/models/*", model),
    LOOK("/models", models),
    LOOK("/models/*", model),
    {0},
};

const oto_protocol oto_openai = {
    .name = "openai", .routes = routes, .file_fields = file_fields, .fail = fail};
