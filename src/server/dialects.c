/* Two neighbours that other programs know how to talk to: the server of whisper.cpp and
 * whisper-asr-webservice, as Bazarr and others use it.
 *
 *   POST /inference   POST /load             whisper.cpp
 *   POST /asr         POST /detect-language  whisper-asr-webservice
 *
 * Differences that help and break nobody: a language that is not given is detected (whisper.cpp
 * takes English), and what is refused says why. */
#include "server/parts.h"

#include <ctype.h>
#include <string.h>

#define CANCEL_AFTER_MS 10000
#define PRIORITY        1

static json_t *clean(oto_arena *a, const char *text)
{
    oto_joint joint = {0};
    oto_str s;

    oto_str_init(&s, a);
    oto_joined_text(&joint, text, &s);
    return json_stringn(s.p, s.n);
}

static bool is_whisper_cpp(const oto_exchange *x)
{
    return strcmp(x->path, "/inference") == 0 || strcmp(x->path, "/load") == 0;
}

static void fail(oto_exchange *x, const oto_problem *p)
{
    oto_reply_json(
        x, p->status,
        json_pack("{s:o}", is_whisper_cpp(x) ? "error" : "detail", clean(x->a, p->text)));
}

static void refuse(oto_exchange *x, const oto_problem *p)
{
    oto_reply_problem(x, p->status, p->code, p->param, "%s", p->text);
}

static bool problem(oto_problem *p, const char *param, const char *text)
{
    *p = (oto_problem){.status = 400, .code = "invalid_value", .param = param};
    snprintf(p->text, sizeof p->text, "%s: %s", param, text);
    return false;
}

static bool take_bool(oto_exchange *x, const char *name, bool *out, oto_problem *p)
{
    const int v = oto_field_bool(x, name, *out);

    if (v < 0)
        return problem(p, name, "neither true nor false");
    *out = v == 1;
    return true;
}

/* ---- what both answer with ---- */

typedef struct {
    const char *name, *writer, *type; /* writer NULL: the text in JSON */
    bool attached;                    /* as a file of this name */
} format;

static const format *find_format(const format *table, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

/* Letters and digits of the recording's name. */
static void attach(oto_exchange *x, const char *ending)
{
    char name[80];
    size_t n = 0;

    for (const char *c = x->filename != NULL ? x->filename : ""; *c != '\0' && n < 60; c++)
        name[n++] = isalnum((unsigned char)*c) || strchr("._-", *c) != NULL ? *c : '_';
    name[n] = '\0';
    oto_reply_header(x, "content-disposition", "attachment; filename=\"%s.%s\"",
                     n > 0 ? name : "recording", ending);
}

static void answer(oto_exchange *x, oto_store *store, const oto_job *job, void *arg)
{
    const format *f = arg;
    oto_err e = {0};
    oto_str out;
    int rc;

    oto_str_init(&out, x->a);
    if (f->writer != NULL)
        rc = oto_transcript_as(x, store, job, f->writer, OTO_WORDS, &out, &e);
    else
        rc = oto_plain_text(x, store, job, &out, &e);
    if (rc != 0) {
        oto_reply_err(x, &e);
        return;
    }
    if (f->attached)
        attach(x, f->name);
    if (f->writer != NULL)
        oto_reply_text(x, 200, f->type, out.p, out.n);
    else
        oto_reply_json(x, 200, json_pack("{s:s%}", "text", out.p, out.n));
}

static void begin(oto_exchange *x, oto_order *o, const char *api)
{
    oto_order_init(x, o, api);
    o->submission.id_digits = 32;
    o->submission.priority = PRIORITY;
}

static void submit(oto_exchange *x, oto_store *store, oto_order *o, const char *type,
                   oto_answer_fn fn, const void *arg)
{
    oto_problem p;

    oto_name_ignored(x);
    if (oto_take_in(x, store, o, CANCEL_AFTER_MS, &p))
        oto_await(x, type, fn, (void *)(uintptr_t)arg);
    else
        refuse(x, &p);
}

/* Neither of the two has such a field: with one model there is nothing to choose. */
static bool take_model(oto_exchange *x, oto_order *o, oto_problem *p)
{
    return x->g->o->n_models == 1 || oto_order_model(x, o, oto_field_get(x, "model"), p);
}

static bool can_translate(const oto_order *o, oto_problem *p)
{
    if (!o->request.translate || o->model->translates)
        return true;
    *p = (oto_problem){.status = 400, .code = "unsupported_task", .param = "translate"};
    snprintf(p->text, sizeof p->text, "model %.80s does not translate", o->model->name);
    return false;
}

/* ---- whisper.cpp ---- */

static const format inference_formats[] = {
    {"json", NULL, "application/json", false},
    {"text", "txt", "text/plain; charset=utf-8", false},
    {"srt", "srt", "application/x-subrip; charset=utf-8", false},
    {"vtt", "vtt", "text/vtt; charset=utf-8", false},
    {"verbose_json", "json", "application/json", false},
    {"tsv", "tsv", "text/tab-separated-values; charset=utf-8", false},
    {"lrc", "lrc", "text/plain; charset=utf-8", false},
};

static bool take_inference(oto_exchange *x, oto_order *o, const format **f, oto_problem *p)
{
    const char *name = oto_field_get(x, "response_format");
    bool vad, bare = false;

    *f = find_format(inference_formats, OTO_COUNT(inference_formats), name != NULL ? name : "json");
    if (x->filename == NULL)
        return problem(p, "file", "no 'file' field in the request");
    if (*f == NULL)
        return problem(p, "response_format", "none of json, text, srt, verbose_json, vtt");
    if (!take_model(x, o, p) || !oto_order_fields(x, o, p))
        return false;
    vad = !o->request.no_vad;
    if (!take_bool(x, "translate", &o->request.translate, p) || !take_bool(x, "vad", &vad, p) ||
        !take_bool(x, "no_timestamps", &bare, p))
        return false;
    o->request.no_vad = !vad;
    /* Its verbose_json has the words of each segment, asked for or not. */
    o->request.words = !bare && strcmp((*f)->name, "verbose_json") == 0;
    return can_translate(o, p);
}

static void inference(oto_exchange *x, oto_store *store)
{
    const format *f;
    oto_problem p;
    oto_order o;

    begin(x, &o, "whisper.cpp");
    if (take_inference(x, &o, &f, &p))
        submit(x, store, &o, f->type, answer, f);
    else
        refuse(x, &p);
}

static void load(oto_exchange *x, oto_store *store)
{
    (void)store;
    oto_reply_problem(x, 403, "permission_denied", NULL,
                      "the model of this server is set where it is started");
}

/* ---- whisper-asr-webservice ---- */

static const format asr_formats[] = {
    {"txt", "txt", "text/plain; charset=utf-8", true},
    {"vtt", "vtt", "text/plain; charset=utf-8", true},
    {"srt", "srt", "text/plain; charset=utf-8", true},
    {"tsv", "tsv", "text/plain; charset=utf-8", true},
    {"json", "json", "application/json", true},
};

/* As openai-whisper's own writer has it: the language by its code. */
static void answer_asr(oto_exchange *x, oto_store *store, const oto_job *job, void *arg)
{
    const format *f = arg;
    oto_err e = {0};
    oto_str out;
    json_t *j;

    if (strcmp(f->name, "json") != 0) {
        answer(x, store, job, arg);
        return;
    }
    oto_str_init(&out, x->a);
    if (oto_transcript_as(x, store, job, "json", OTO_WORDS, &out, &e) != 0) {
        oto_reply_err(x, &e);
        return;
    }
    j = json_loadb(out.p, out.n, 0, NULL);
    json_object_del(j, "words"); /* they stand in the segments */
    json_object_set_new(j, "language", json_string(oto_text_language(x, job)));
    attach(x, f->name);
    oto_reply_json(x, 200, j);
}

/* FastAPI's way of saying that a field is missing. */
static bool has_recording(oto_exchange *x)
{
    if (x->filename != NULL)
        return true;
    oto_reply_header(x, "x-should-retry", "false");
    oto_reply_json(x, 422,
                   json_pack("{s:[{s:s, s:[s, s], s:s, s:n}]}", "detail", "type", "missing", "loc",
                             "body", "audio_file", "msg", "Field required", "input"));
    return false;
}

static bool take_asr(oto_exchange *x, oto_order *o, oto_problem *p)
{
    bool encode = true;
    oto_err e = {0};

    if (!take_model(x, o, p) || !oto_order_fields(x, o, p) || !take_bool(x, "encode", &encode, p) ||
        !take_bool(x, "word_timestamps", &o->request.words, p))
        return false;
    o->request.raw_pcm = !encode;
    o->request.prompt = oto_field_get(x, "initial_prompt");
    if (oto_request_check(&o->request, &e) == 0)
        return true;
    oto_problem_of(&e, p);
    return false;
}

static void asr(oto_exchange *x, oto_store *store)
{
    const char *name = oto_field_get(x, "output");
    const format *f = find_format(asr_formats, OTO_COUNT(asr_formats), name != NULL ? name : "txt");
    oto_problem p;
    oto_order o;

    if (!has_recording(x))
        return;
    begin(x, &o, "asr-webservice");
    if (f == NULL) {
        problem(&p, "output", "none of txt, vtt, srt, tsv, json");
        refuse(x, &p);
    } else if (take_asr(x, &o, &p)) {
        submit(x, store, &o, f->type, answer_asr, f);
    } else {
        refuse(x, &p);
    }
}

/* ---- which language? ---- */

typedef struct {
    oto_arena *scratch;
    char language[8];
} detection;

static int first_language(void *arg, int number, const oto_job_segment *s)
{
    detection *d = arg;
    json_t *j = json_loads(s->json, 0, NULL);
    const char *code = json_string_value(json_object_get(j, "language"));

    (void)number;
    snprintf(d->language, sizeof d->language, "%s", code != NULL ? code : "");
    json_decref(j);
    return d->language[0] != '\0';
}

static void answer_language(oto_exchange *x, const char *code)
{
    const char *name = oto_language_name(code);

    oto_reply_json(x, 200,
                   json_pack("{s:s, s:s}", "detected_language", name != NULL ? name : "unknown",
                             "language_code", code));
}

/* The answer is all that was wanted of the job. */
static void forget(oto_exchange *x, oto_store *store)
{
    const char *audio = "";

    if (oto_store_delete(store, x->job, oto_clock_ms(), x->a, &audio, NULL) == 0 &&
        audio[0] != '\0')
        oto_spool_remove(x->g->o->spool, audio);
    oto_board_ring_workers(x->g->board);
}

/* The first segment tells; the rest of the recording need not be recognised. */
static oto_look look_for_language(oto_exchange *x, oto_store *store)
{
    detection *d = x->state;
    oto_problem p;
    oto_err e = {0};
    oto_job job;
    int rc;

    oto_arena_reset(d->scratch);
    rc = oto_store_get(store, x->job, d->scratch, &job, &e);
    if (rc == OTO_E_NOT_FOUND) {
        oto_reply_problem(x, 499, "cancelled", NULL, "the job was deleted");
        return OTO_DONE;
    }
    if (rc == 0)
        rc = oto_store_each_segment(store, &job, 0, first_language, d, &e);
    if (rc != 0 || (d->language[0] == '\0' && !oto_job_ended(job.state))) {
        x->look_at_ms = oto_now_ms() + 5000; /* should a bell be missed */
        return OTO_WAIT;
    }
    if (d->language[0] != '\0' || job.state == OTO_JOB_DONE) {
        answer_language(x, d->language[0] != '\0' ? d->language : job.detected_language);
        forget(x, store);
    } else {
        oto_job_problem(&job, &p);
        refuse(x, &p);
    }
    return OTO_DONE;
}

/* The job goes with its answer, so it is this request's alone: a second try, or the same key, would
 * find it gone, or would take another's job away. */
static void detect_language(oto_exchange *x, oto_store *store)
{
    detection *d = oto_arena_calloc(x->a, 1, sizeof *d);
    oto_problem p = {.status = 503, .code = "overloaded", .text = "out of memory"};
    oto_order o;
    oto_job job;

    if (!has_recording(x))
        return;
    begin(x, &o, "asr-webservice");
    if (d == NULL || (d->scratch = oto_scratch_new(x)) == NULL || !take_asr(x, &o, &p)) {
        refuse(x, &p);
        return;
    }
    if (!o.model->detects) {
        oto_reply_problem(x, 400, "unsupported_task", NULL, "model %.80s detects no language",
                          o.model->name);
        return;
    }
    o.request.language[0] = '\0';
    o.submission.idempotency = NULL;
    oto_name_ignored(x);
    if (!oto_intake(x, store, &o, &job, &p)) {
        refuse(x, &p);
        return;
    }
    x->cancel_job = true;
    x->state = d;
    x->look = look_for_language;
    x->type = "application/json";
    oto_reply_heartbeat(x, 200000, " ");
}

static const char *const file_fields[] = {"file", "audio_file", NULL};

static const oto_route routes[] = {
    {.methods = OTO_POST, .path = "/inference", .handler = inference, .upload = true},
    {.methods = OTO_POST, .path = "/load", .handler = load, .upload = true},
    {.methods = OTO_POST, .path = "/asr", .handler = asr, .upload = true},
    {.methods = OTO_POST, .path = "/detect-language", .handler = detect_language, .upload = true},
    {0},
};

const oto_protocol oto_dialects = {
    .name = "dialects", .routes = routes, .file_fields = file_fields, .fail = fail};
