/* Exchanges on the loop: a request's headers and body, its way to a desk and back, its end.
 *
 * libwebsockets 4.1 leaves three things to its user: chunked request bodies arrive undecoded (and
 * end for it after 100 MiB, so that we read them ourselves: chunked.c), a POST without length is
 * taken for an endless one, and a connection that is refused while its body arrives has to be read
 * on for a while, or the client never sees the answer. */
#include "server/loop.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Of a body, while its key is looked up. */
#define MAX_EARLY ((size_t)1 << 20)

static const oto_protocol *const protocols[] = {&oto_status_pages, &oto_rest,     &oto_openai,
                                                &oto_dialects,     &oto_jobs_api, &oto_docs};

/* ---- to the desks and back ---- */

void oto_exchange_to_desk(oto_exchange *x, void (*errand)(oto_exchange *x, oto_store *store))
{
    x->errand = errand;
    x->at_desk = true;
    oto_desks_put(x->g->desks, x);
}

void oto_exchange_look(oto_exchange *x, oto_store *store)
{
    if (x->look(x, store) == OTO_DONE)
        x->ended = true;
}

static void errand_handle(oto_exchange *x, oto_store *store)
{
    x->route->handler(x, store);
}

static void errand_cancel(oto_exchange *x, oto_store *store)
{
    oto_err e = {0};
    const int rc = oto_store_cancel(store, x->job, oto_clock_ms(), &e);

    if (rc == 0)
        oto_log(OTO_LOG_INFO, "job %s: cancelled, its client has gone", x->job);
    oto_board_ring_workers(x->g->board);
}

static void errand_key(oto_exchange *x, oto_store *store)
{
    oto_err e = {0};
    oto_key key;
    const int rc = oto_store_key_check(store, x->key, oto_clock_ms(), x->a, &key, &e);

    if (rc == OTO_E_DENIED)
        oto_reply_problem(x, 401, "invalid_api_key", NULL, "Incorrect API key provided");
    else if (rc != 0)
        oto_reply_err(x, &e);
    else {
        x->client = x->key_id = key.id;
        x->key_max_jobs = key.max_jobs;
    }
}

/* On a desk's thread. */
void oto_exchange_come_back(void *arg, oto_exchange *x)
{
    gateway *w = arg;

    pthread_mutex_lock(&w->lock);
    x->next_at_desk = NULL;
    *w->last_back = x;
    w->last_back = &x->next_at_desk;
    pthread_mutex_unlock(&w->lock);
    lws_cancel_service(w->g.context);
}

static void dispatch(oto_exchange *x)
{
    if (x->route->prompt != NULL) {
        x->route->prompt(x);
        oto_exchange_reply(x);
    } else {
        oto_exchange_to_desk(x, errand_handle);
    }
}

static void refuse_now(oto_exchange *x)
{
    x->refused = true;
    oto_chunked_end(x);
    if (!x->body_done)
        x->close_after = true;
    if (x->upload.fd >= 0)
        oto_upload_drop(x->g->o->spool, &x->upload);
    atomic_fetch_add(&x->g->refused, 1);
    oto_exchange_reply(x);
}

void oto_exchange_refuse(oto_exchange *x, const oto_problem *p)
{
    if (p->retry_after_s > 0)
        oto_reply_header(x, "retry-after", "%d", p->retry_after_s);
    if (p->status != 408 && p->status != 409 && p->status != 429 && p->status != 503)
        oto_reply_header(x, "x-should-retry", "false");
    x->protocol->fail(x, p);
    refuse_now(x);
}

/* Is the client of a job that was left alone still there under another connection? */
static bool joined(const oto_exchange *gone)
{
    for (const oto_exchange *x = gone->g->exchanges; x != NULL; x = x->next)
        if (x != gone && x->wsi != NULL && strcmp(x->job, gone->job) == 0)
            return true;
    return false;
}

/* The client has gone and nobody works on the exchange. */
void oto_exchange_settle_gone(oto_exchange *x, int64_t now)
{
    if (!x->cancel_job || x->job[0] == '\0' || x->ended || x->errand == errand_cancel || joined(x))
        oto_exchange_drop(x);
    else if (now - x->gone_at_ms >= x->cancel_after_ms)
        oto_exchange_to_desk(x, errand_cancel);
}

static int begin_body(oto_exchange *x);

/* The key is known. What of the body came in the meantime is taken now. */
static void key_checked(oto_exchange *x)
{
    session *s = lws_wsi_user(x->wsi);

    x->checking_key = false;
    lws_rx_flow_control(x->wsi, 1); /* a connection that is held back sends nothing either */
    if (x->kind != OTO_REPLY_NONE) {
        x->body_done = x->body_done || x->early_end;
        refuse_now(x);
        return;
    }
    if (begin_body(x) != 0 || x->body == NULL)
        return;
    if ((x->n_early > 0 && oto_exchange_on_body(s, x->early, x->n_early) != 0) ||
        (x->early_end && oto_exchange_on_body_end(s) != 0))
        lws_set_timeout(x->wsi, PENDING_TIMEOUT_CLOSE_SEND, LWS_TO_KILL_ASYNC);
}

static int keep_early(oto_exchange *x, const char *p, size_t n)
{
    char *more = n <= MAX_EARLY - x->n_early ? realloc(x->early, x->n_early + n) : NULL;

    if (more == NULL)
        return -1;
    memcpy(more + x->n_early, p, n);
    x->early = more;
    x->n_early += n;
    return 0;
}

static void came_back(gateway *w, oto_exchange *x)
{
    oto_gateway *g = &w->g;

    if (x == &w->janitor) {
        x->at_desk = false;
        g->view = w->fresh;
        return;
    }
    x->at_desk = false;
    if (x->wsi == NULL) {
        oto_exchange_settle_gone(x, oto_now_ms());
        return;
    }
    if (x->checking_key) {
        key_checked(x);
        return;
    }
    oto_chunked_rest(x);
    if (x->look != NULL && !x->ended && x->kind != OTO_REPLY_WHOLE && x->kind != OTO_REPLY_FILE &&
        x->kind != OTO_REPLY_ABORT) {
        if (!x->waiting)
            x->look_at_ms = oto_now_ms(); /* the first look, at once */
        x->waiting = true;
        if (x->kind == OTO_REPLY_STREAM)
            oto_send_ask(x);
        return;
    }
    x->waiting = false;
    oto_exchange_reply(x);
}

void oto_exchange_collect(gateway *w)
{
    oto_exchange *x;

    pthread_mutex_lock(&w->lock);
    x = w->back;
    w->back = NULL;
    w->last_back = &w->back;
    pthread_mutex_unlock(&w->lock);
    while (x != NULL) {
        oto_exchange *next = x->next_at_desk;

        came_back(w, x);
        x = next;
    }
}
/* ---- requests ---- */

static const char *header(oto_exchange *x, enum lws_token_indexes token)
{
    const int n = lws_hdr_total_length(x->wsi, token);
    char *value;

    if (n <= 0)
        return NULL;
    value = oto_arena_alloc(x->a, (size_t)n + 1);
    if (value == NULL || lws_hdr_copy(x->wsi, value, n + 1, token) < 0)
        return NULL;
    return value;
}

/* Headers that libwebsockets has no number for. */
static const char *custom(oto_exchange *x, const char *name)
{
    const int len = (int)strlen(name), n = lws_hdr_custom_length(x->wsi, name, len);
    char *value;

    if (n <= 0)
        return NULL;
    value = oto_arena_alloc(x->a, (size_t)n + 1);
    if (value == NULL || lws_hdr_custom_copy(x->wsi, value, n + 1, name, len) < 0)
        return NULL;
    return value;
}

static oto_method method_of(struct lws *wsi)
{
    static const struct {
        enum lws_token_indexes token;
        const char *name;
        oto_method method;
    } table[] = {{WSI_TOKEN_GET_URI, "GET", OTO_GET},
                 {WSI_TOKEN_POST_URI, "POST", OTO_POST},
                 {WSI_TOKEN_HEAD_URI, "HEAD", OTO_HEAD},
                 {WSI_TOKEN_DELETE_URI, "DELETE", OTO_DELETE},
                 {WSI_TOKEN_OPTIONS_URI, "OPTIONS", OTO_OPTIONS},
                 {WSI_TOKEN_PUT_URI, "PUT", OTO_PUT},
                 {WSI_TOKEN_PATCH_URI, "PATCH", OTO_PATCH}};
    char name[16] = "";

    if (lws_hdr_copy(wsi, name, sizeof name, WSI_TOKEN_HTTP_COLON_METHOD) > 0)
        for (size_t i = 0; i < OTO_COUNT(table); i++)
            if (strcmp(name, table[i].name) == 0)
                return table[i].method;
    for (size_t i = 0; i < OTO_COUNT(table); i++)
        if (lws_hdr_total_length(wsi, table[i].token) > 0)
            return table[i].method;
    return 0;
}

static bool read_query(oto_exchange *x)
{
    char pair[OTO_HEADERS_BYTES]; /* one that did not fit would look like the end */
    oto_field **last = &x->fields;
    int n;

    for (int i = 0;
         (n = lws_hdr_copy_fragment(x->wsi, pair, sizeof pair, WSI_TOKEN_HTTP_URI_ARGS, i)) >= 0;
         i++) {
        char *value = memchr(pair, '=', (size_t)n);
        oto_field *f = oto_arena_calloc(x->a, 1, sizeof *f);

        if (f == NULL)
            return false;
        if (value != NULL)
            *value++ = '\0';
        else
            value = pair + n;
        f->name = oto_arena_strdup(x->a, pair, strlen(pair));
        f->value = oto_arena_strdup(x->a, value, strlen(value));
        f->from_query = true;
        if (f->name == NULL || f->value == NULL)
            return false;
        *last = f;
        last = &f->next;
    }
    return true;
}

/* "Authorization: Bearer KEY", "X-API-Key: KEY" or "api-key: KEY". */
static void read_key(oto_exchange *x)
{
    const char *a = header(x, WSI_TOKEN_HTTP_AUTHORIZATION);

    if (a != NULL && strncasecmp(a, "bearer ", 7) == 0)
        x->key = a + 7 + strspn(a + 7, " ");
    if (x->key == NULL || x->key[0] == '\0')
        x->key = custom(x, "x-api-key:");
    if (x->key == NULL || x->key[0] == '\0')
        x->key = custom(x, "api-key:");
}

/* By the library's reckoning, even where there is none. */
static bool takes_body(const oto_exchange *x)
{
    return (x->method & (OTO_POST | OTO_PUT | OTO_PATCH)) != 0;
}

static void read_headers(oto_exchange *x)
{
    const char *length = header(x, WSI_TOKEN_HTTP_CONTENT_LENGTH);
    const char *coding = header(x, WSI_TOKEN_HTTP_TRANSFER_ENCODING);
    const char *expect = custom(x, "expect:"), *retry = custom(x, "x-stainless-retry-count:");
    const char *progress = custom(x, "x-otolith-progress:");
    const bool in_chunks = coding != NULL && strcasestr(coding, "chunked") != NULL;
    char peer[64] = "";

    x->content_length = length != NULL ? strtoll(length, NULL, 10) : -1;
    x->chunked = in_chunks && !oto_exchange_is_h2(x);
    if (x->chunked && !takes_body(x)) { /* the library hands none over: answered without */
        x->chunked = false;
        x->close_after = true;
    }
    x->both_lengths = x->chunked && length != NULL;
    if (in_chunks)
        x->content_length = -1;
    x->content_type = header(x, WSI_TOKEN_HTTP_CONTENT_TYPE);
    x->range = header(x, WSI_TOKEN_HTTP_RANGE);
    x->origin = header(x, WSI_TOKEN_ORIGIN);
    x->user_agent = header(x, WSI_TOKEN_HTTP_USER_AGENT);
    x->last_event_id = custom(x, "last-event-id:");
    x->wants_continue = expect != NULL && strncasecmp(expect, "100-continue", 12) == 0;
    x->retry_count = retry != NULL ? atoi(retry) : 0;
    x->wants_progress = progress != NULL && progress[0] == '1';
    read_key(x);
    lws_get_peer_simple(x->wsi, peer, sizeof peer);
    if ((x->client = oto_arena_strdup(x->a, peer, strlen(peer))) == NULL)
        x->client = "";
    x->key_id = "";
}

static bool matches(const oto_route *r, const char *path, oto_slice *tail)
{
    const char *pattern = r->path;
    const char *star = strchr(pattern, '*');
    size_t n, end;

    *tail = (oto_slice){"", 0};

    if (star == NULL)
        return strcmp(pattern, path) == 0;
    /* One '*': it stands for what lies between the pattern's beginning and its end. */
    n = (size_t)(star - pattern);
    end = strlen(star + 1);
    if (strncmp(path, pattern, n) != 0 || strlen(path) <= n + end ||
        strcmp(path + strlen(path) - end, star + 1) != 0)
        return false;
    *tail = (oto_slice){path + n, strlen(path) - n - end};
    return true;
}

static const oto_protocol *protocol_by_prefix(const char *path)
{
    static const char *const openai[] = {"/v1/", "/openai/", "/audio/", "/models"};

    for (size_t i = 0; i < OTO_COUNT(openai); i++)
        if (strncmp(path, openai[i], strlen(openai[i])) == 0)
            return &oto_openai;
    return &oto_rest;
}

static const oto_route no_route = {.path = ""};

/* False with the answer's status in *status. */
static bool route(oto_exchange *x, int *status)
{
    const unsigned wanted = x->method == OTO_HEAD ? OTO_GET : (unsigned)x->method;
    oto_slice tail;

    *status = 404;
    x->protocol = protocol_by_prefix(x->path);
    x->route = &no_route;
    for (size_t i = 0; i < OTO_COUNT(protocols); i++)
        for (const oto_route *r = protocols[i]->routes; r->path != NULL; r++) {
            if (!matches(r, x->path, &tail))
                continue;
            x->protocol = protocols[i];
            *status = 405;
            if ((r->methods & wanted) == 0)
                continue;
            x->tail = oto_arena_strdup(x->a, tail.p, tail.n);
            *status = 500;
            if (x->tail == NULL)
                return false;
            x->route = r;
            return true;
        }
    return false;
}

static void preflight(oto_exchange *x)
{
    oto_reply_header(x, "access-control-allow-methods", "GET, POST, DELETE, OPTIONS");
    oto_reply_header(x, "access-control-allow-headers",
                     "Authorization, Content-Type, Last-Event-ID, X-API-Key, X-Stainless-Arch, "
                     "X-Stainless-Lang, "
                     "X-Stainless-OS, X-Stainless-Package-Version, X-Stainless-Retry-Count, "
                     "X-Stainless-Runtime, X-Stainless-Runtime-Version, X-Stainless-Timeout");
    oto_reply_header(x, "access-control-max-age", "600");
    oto_reply_text(x, 204, "text/plain; charset=utf-8", "", 0);
}

static bool has_body(const oto_exchange *x)
{
    return x->chunked || x->content_length > 0 ||
           (oto_exchange_is_h2(x) && x->method == OTO_POST && x->content_length != 0);
}

/* The whole request has come. The library would not read what the client sends behind it, and
 * would be told of it again and again, at the cost of a whole processor. */
static void hold_back(oto_exchange *x)
{
    x->held = true;
    oto_send_rest(x);
}

/* The request may come: its body, or the handler at once. -1: refused. */
static int begin_body(oto_exchange *x)
{
    oto_problem p;

    if (!has_body(x)) {
        x->body_done = true;
        hold_back(x);
        dispatch(x);
        return 0;
    }
    if (oto_body_new(x, &x->body, &p) != 0) {
        oto_exchange_refuse(x, &p);
        return -1;
    }
    if (x->route->upload)
        atomic_fetch_add(&x->g->uploads, 1);
    x->deadline_ms = oto_now_ms() + (int64_t)x->g->o->upload_timeout_s * 1000;
    if (x->wants_continue && !oto_exchange_is_h2(x)) {
        unsigned char line[LWS_PRE + 32];
        const int n = snprintf((char *)line + LWS_PRE, 32, "HTTP/1.1 100 Continue\r\n\r\n");

        if (lws_write(x->wsi, line + LWS_PRE, (size_t)n, LWS_WRITE_HTTP_HEADERS) < 0)
            return -1;
    }
    return x->chunked ? oto_chunked_begin(x) : 0;
}

/* A request with a body must not have come together with the one before it (pipeline.c). */
static bool came_with_another(oto_exchange *x)
{
    const oto_coming coming = oto_pipeline_coming(x->wsi);

    if (coming == OTO_NOT_KNOWN)
        x->close_after = true; /* there will be no other */
    return (takes_body(x) || x->content_length > 0) && coming == OTO_WITH_ANOTHER;
}

/* Refusals before a byte of the body was read. */
static bool check_request(oto_exchange *x, oto_problem *p)
{
    const oto_gateway *g = x->g;
    int status;

    *p = (oto_problem){0};
    if (!route(x, &status)) {
        p->status = status;
        p->code = status == 404   ? "not_found"
                  : status == 405 ? "method_not_allowed"
                                  : "internal_error";
        snprintf(p->text, sizeof p->text, "%s", oto_status_text(status));
    } else if (x->method != OTO_GET && !atomic_load(&g->accepting)) {
        *p = (oto_problem){.status = 503, .code = "shutting_down", .retry_after_s = 5};
        snprintf(p->text, sizeof p->text, "%s",
                 g->draining ? "The server is shutting down, please try again"
                             : "The server cannot write to its disk and accepts nothing");
    } else if (x->both_lengths) { /* the library would end the body where the wrong one says */
        *p = (oto_problem){.status = 400, .code = "bad_request"};
        snprintf(p->text, sizeof p->text, "Content-Length and Transfer-Encoding in one request");
    } else if (x->content_length > g->o->max_upload_bytes) {
        *p = (oto_problem){.status = 413, .code = "file_too_large"};
        snprintf(p->text, sizeof p->text,
                 "The upload of %" PRId64 " bytes is over the limit of %" PRId64 " bytes",
                 x->content_length, g->o->max_upload_bytes);
    } else if (atomic_load(&g->keys_wanted) && !x->route->open &&
               (x->key == NULL || x->key[0] == '\0')) {
        *p = (oto_problem){.status = 401, .code = "invalid_api_key"};
        snprintf(p->text, sizeof p->text, "No API key provided (Authorization: Bearer KEY)");
    } else {
        return true;
    }
    return false;
}

int oto_exchange_on_request(gateway *w, struct lws *wsi, session *s, const char *path)
{
    oto_exchange *x = oto_exchange_new(w, wsi, path);
    oto_problem p;

    if (x == NULL)
        return -1;
    s->x = x;
    atomic_fetch_add(&w->g.requests, 1);
    x->method = method_of(wsi);
    if (!read_query(x))
        return -1;
    read_headers(x);
    if (came_with_another(x))
        return -1;
    x->body_done = !has_body(x);
    /* Taken for an endless body by the library: the connection cannot be used again. */
    if (!oto_exchange_is_h2(x) &&
        (x->chunked || (x->method != OTO_GET && x->method != OTO_HEAD && x->method != OTO_DELETE &&
                        x->content_length < 0)))
        x->close_after = true;
    if (!check_request(x, &p)) {
        if (x->method == OTO_OPTIONS && w->g.o->cors != NULL) {
            x->body_done = true;
            preflight(x);
            oto_exchange_reply(x);
            return 0;
        }
        if (p.status == 401)
            oto_reply_header(x, "www-authenticate", "Bearer");
        oto_exchange_refuse(x, &p);
        return 0;
    }
    if (atomic_load(&w->g.keys_wanted) && !x->route->open) {
        x->checking_key = true;
        lws_rx_flow_control(wsi, 0);
        oto_exchange_to_desk(x, errand_key);
        return 0;
    }
    return begin_body(x) == 0 || x->refused ? 0 : -1;
}

static void body_complete(oto_exchange *x)
{
    oto_problem p;

    x->body_done = true;
    x->deadline_ms = 0;
    oto_chunked_end(x);
    if (oto_body_end(x->body, &p) != 0)
        oto_exchange_refuse(x, &p);
    else
        dispatch(x);
}

static bool over_limit(oto_exchange *x, oto_problem *p)
{
    const int64_t limit = x->g->o->max_upload_bytes;

    if (x->received > limit) {
        *p = (oto_problem){.status = 413, .code = "file_too_large"};
        snprintf(p->text, sizeof p->text, "The upload is over the limit of %" PRId64 " bytes",
                 limit);
        return true;
    }
    return false;
}

int oto_exchange_on_body(session *s, char *p, size_t n)
{
    oto_exchange *x = s->x;
    oto_problem why;
    int end = 0;

    /* What came with the headers is handed over although the connection is held back. */
    if (x != NULL && x->checking_key)
        return keep_early(x, p, n);
    if (x == NULL || x->refused || x->body_done || x->body == NULL)
        return 0; /* read over */
    x->received += (int64_t)n;
    atomic_fetch_add(&x->g->uploaded_bytes, (int64_t)n);
    if (over_limit(x, &why)) {
        oto_exchange_refuse(x, &why);
        return 0;
    }
    if (x->chunked && (end = oto_dechunk_push(&x->dechunk, p, &n)) < 0) {
        why = (oto_problem){.status = 400, .code = "bad_chunk"};
        snprintf(why.text, sizeof why.text, "Malformed chunked body");
        oto_exchange_refuse(x, &why);
        return 0;
    }
    if (oto_body_push(x->body, p, n, &why) != 0)
        oto_exchange_refuse(x, &why);
    else if (end == 1)
        body_complete(x);
    return 0;
}

int oto_exchange_on_body_end(session *s)
{
    oto_exchange *x = s->x;

    if (x == NULL)
        return 0;
    if (x->checking_key) {
        x->early_end = true;
        return 0;
    }
    if (x->refused) {
        x->body_done = true;
        return x->all_sent ? oto_send_finish(s, x) : 0;
    }
    if (x->body_done)
        hold_back(x); /* the end of one that has ended: more came behind it */
    else if (x->body != NULL)
        body_complete(x);
    return 0;
}

void oto_exchange_on_closed(session *s)
{
    oto_exchange *x = s->x;

    s->x = NULL;
    if (x == NULL)
        return;
    x->wsi = NULL;
    oto_chunked_end(x);
    x->gone_at_ms = oto_now_ms();
    if (!x->body_done && !x->refused)
        atomic_fetch_add(&x->g->cut_off, 1);
    if (!x->at_desk)
        oto_exchange_settle_gone(x, x->gone_at_ms);
}
