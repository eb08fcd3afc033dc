/* Requests that wait for their job: taking them in, joining them after a lost connection, and the
 * answer once the job has ended. */
#include "server/parts.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <unistd.h>

#define JOIN_MS       3600000 /* a retry finds what was submitted within the last hour */
#define EARLY_MS      200000  /* headers go out after this, before a client gives up on them */
#define LOOK_AGAIN_MS 5000    /* should a bell be missed */
#define SCRATCH_BYTES ((size_t)8 << 20)

oto_arena *oto_scratch_new(oto_exchange *x)
{
    oto_arena *a;

    if (oto_arena_new("look", SCRATCH_BYTES, &a, NULL) != 0)
        return NULL;
    if (!oto_arena_on_reset(x->a, (void (*)(void *))oto_arena_free, a)) {
        oto_arena_free(a);
        return NULL;
    }
    return a;
}

/* ---- fields that nobody has read ---- */

static bool named_before(const oto_exchange *x, const oto_field *f)
{
    for (const oto_field *g = x->fields; g != f; g = g->next)
        if (!g->used && strcmp(g->name, f->name) == 0)
            return true;
    return false;
}

void oto_name_ignored(oto_exchange *x)
{
    oto_str list;

    oto_str_init(&list, x->a);
    for (const oto_field *f = x->fields; f != NULL && list.n < 500; f = f->next) {
        if (f->used || named_before(x, f))
            continue;
        if (list.n > 0)
            oto_str_puts(&list, ", ");
        for (const char *c = f->name; *c != '\0' && c - f->name < 60; c++)
            oto_str_put(&list, *c > ' ' && *c < 0x7f && *c != ',' ? c : "?", 1);
    }
    if (list.n > 0)
        oto_reply_header(x, "x-otolith-ignored", "%s", list.p);
}

/* ---- the same request again ---- */

static void hash_text(EVP_MD_CTX *c, const char *text)
{
    EVP_DigestUpdate(c, text, strlen(text) + 1);
}

static int hash_upload(const oto_exchange *x, EVP_MD_CTX *c)
{
    char path[600], block[1 << 16];
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "%s/%s", x->g->o->spool->dir, x->upload.part);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    while ((n = read(fd, block, sizeof block)) > 0)
        EVP_DigestUpdate(c, block, (size_t)n);
    close(fd);
    return n < 0 ? -1 : 0;
}

/* Of all that decides the answer; "" when it cannot be told. */
static void fingerprint(const oto_exchange *x, char out[65])
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;

    out[0] = '\0';
    if (c == NULL || EVP_DigestInit_ex(c, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(c);
        return;
    }
    hash_text(c, x->client);
    hash_text(c, x->path);
    for (const oto_field *f = x->fields; f != NULL; f = f->next) {
        hash_text(c, f->name);
        hash_text(c, f->value);
    }
    if (hash_upload(x, c) == 0 && EVP_DigestFinal_ex(c, digest, &n) == 1 && n == 32)
        for (unsigned i = 0; i < n; i++)
            snprintf(out + 2 * i, 3, "%02x", digest[i]);
    EVP_MD_CTX_free(c);
}

static bool join(oto_exchange *x, oto_store *store, const char *print)
{
    oto_err e = {0};
    oto_job job;

    if (x->retry_count < 1 || print[0] == '\0' ||
        oto_store_find(store, x->client, print, oto_clock_ms() - JOIN_MS, x->a, &job, &e) != 0)
        return false;
    snprintf(x->job, sizeof x->job, "%s", job.id);
    oto_upload_drop(x->g->o->spool, &x->upload);
    oto_log(OTO_LOG_INFO, "job %s: joined by request %s, try %d", x->job, x->id,
            x->retry_count + 1);
    return true;
}

static bool knows_language(const oto_served_model *m, const oto_request *r, oto_problem *p)
{
    if (r->language[0] == '\0' || oto_language_among(m->languages, r->language))
        return true;
    *p = (oto_problem){.status = 400, .code = "invalid_value", .param = "language"};
    snprintf(p->text, sizeof p->text, "language: model %.80s knows %s alone, not '%s'", m->name,
             m->languages, r->language);
    return false;
}

bool oto_take_in(oto_exchange *x, oto_store *store, oto_order *o, int64_t cancel_after_ms,
                 oto_problem *p)
{
    char *print = oto_arena_calloc(x->a, 1, 65);
    oto_job job;

    if (!knows_language(o->model, &o->request, p))
        return false;
    if (print != NULL)
        fingerprint(x, print);
    o->submission.fingerprint = print != NULL && print[0] != '\0' ? print : NULL;
    if (!(print != NULL && join(x, store, print)) && !oto_intake(x, store, o, &job, p))
        return false;
    x->cancel_job = true;
    x->cancel_after_ms = cancel_after_ms;
    return true;
}

/* ---- the answer ---- */

void oto_job_problem(const oto_job *job, oto_problem *p)
{
    static const struct {
        int code, status;
        const char *name;
    } table[] = {{OTO_E_INPUT, 415, "unsupported_audio"},
                 {OTO_E_NO_AUDIO, 415, "unsupported_audio"},
                 {OTO_E_UNSUPPORTED, 415, "unsupported_audio"},
                 {OTO_E_LIMIT, 422, "audio_too_long"}};

    *p = (oto_problem){.status = 500, .code = "internal_error"};
    snprintf(p->text, sizeof p->text, "%s",
             job->error[0] != '\0' ? job->error : "the job has failed");
    if (job->state == OTO_JOB_CANCELLED) {
        p->status = 499;
        p->code = "cancelled";
        snprintf(p->text, sizeof p->text, "the job was cancelled");
    }
    for (size_t i = 0; job->state == OTO_JOB_FAILED && i < OTO_COUNT(table); i++)
        if (strcmp(job->error_code, oto_err_name(table[i].code)) == 0) {
            p->status = table[i].status;
            p->code = table[i].name;
            p->param = "file";
        }
}

typedef struct {
    oto_arena *scratch;
    oto_answer_fn answer;
    void *arg;
} waiting;

static oto_look look(oto_exchange *x, oto_store *store)
{
    const waiting *w = x->state;
    oto_problem p;
    oto_err e = {0};
    oto_job job;
    int rc;

    oto_arena_reset(w->scratch);
    rc = oto_store_get(store, x->job, w->scratch, &job, &e);
    if (rc == OTO_E_NOT_FOUND) {
        oto_reply_problem(x, 499, "cancelled", NULL, "the job was deleted");
        return OTO_DONE;
    }
    if (rc != 0 || !oto_job_ended(job.state)) { /* a store that is busy now may answer later */
        x->look_at_ms = oto_now_ms() + LOOK_AGAIN_MS;
        return OTO_WAIT;
    }
    oto_reply_header(x, "openai-processing-ms", "%lld", (long long)(oto_now_ms() - x->started_ms));
    if (job.state == OTO_JOB_DONE) {
        w->answer(x, store, &job, w->arg);
    } else {
        oto_job_problem(&job, &p);
        oto_reply_problem(x, p.status, p.code, p.param, "%s", p.text);
    }
    return OTO_DONE;
}

void oto_await(oto_exchange *x, const char *type, oto_answer_fn answer, void *arg)
{
    waiting *w = oto_arena_calloc(x->a, 1, sizeof *w);

    if (w == NULL || (w->scratch = oto_scratch_new(x)) == NULL) {
        oto_reply_problem(x, 503, "overloaded", NULL, "out of memory");
        return;
    }
    w->answer = answer;
    w->arg = arg;
    x->state = w;
    x->look = look;
    x->type = type;
    oto_reply_heartbeat(x, EARLY_MS, strncmp(type, "application/json", 16) == 0 ? " " : "");
}
