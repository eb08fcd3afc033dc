/* The gateway: one event loop (libwebsockets) for every connection.
 *
 * The loop parses, routes, takes bodies in and sends answers; whatever may wait for the disk
 * happens at a desk. So health is answered promptly whatever the disk, the queue or another client
 * does.
 *
 * libwebsockets 4.1 leaves three things to its user, which are dealt with here: chunked request
 * bodies arrive undecoded (and end for it after 100 MiB), a POST without length is taken for an
 * endless one, and a connection that is refused while its body arrives has to be read on for a
 * while, or the client never sees the answer. */
#include "server/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libwebsockets.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICK_US        100000
#define NEWS_MS        150 /* looks of waiting clients are at least so far apart */
#define KEEP_HOUSE_MS  1000
#define LINGER_MS      5000
#define BLOCK_BYTES    (32 << 10)
#define HEADER_BYTES   4096
#define EXCHANGE_BYTES ((size_t)256 << 20) /* address space; a day of text needs a tenth */
/* Chunked bodies end for libwebsockets after this. */
#define CHUNKED_LIMIT ((int64_t)100 << 20)

/* What a connection carries between requests. */
typedef struct {
    oto_exchange *x;
} session;

static const oto_protocol *const protocols[] = {&oto_status_pages, &oto_rest, &oto_openai,
                                                &oto_dialects, &oto_jobs_api};

typedef struct {
    oto_gateway g;
    pthread_mutex_t lock;
    oto_exchange *back, **last_back; /* from the desks */
    oto_exchange janitor;            /* carries the housekeeping errand */
    oto_store_view fresh;
    int64_t housekept_ms, drain_until_ms;
    int signals;
    lws_sorted_usec_list_t tick;
    oto_arena *janitor_arena;
    struct oto_notices *notices;
} gateway;

static gateway *self(struct lws *wsi)
{
    return lws_context_user(lws_get_context(wsi));
}

/* ---- life of an exchange ---- */

static void link_in(oto_gateway *g, oto_exchange *x)
{
    x->next = g->exchanges;
    x->prev = NULL;
    if (g->exchanges != NULL)
        g->exchanges->prev = x;
    g->exchanges = x;
    g->n_exchanges++;
}

static void drop(oto_exchange *x)
{
    oto_gateway *g = x->g;

    if (x->upload.fd >= 0)
        oto_upload_drop(g->o->spool, &x->upload);
    if (x->file_fd >= 0)
        close(x->file_fd);
    if (x->prev != NULL)
        x->prev->next = x->next;
    else
        g->exchanges = x->next;
    if (x->next != NULL)
        x->next->prev = x->prev;
    g->n_exchanges--;
    oto_arena_free(x->a);
}

static void make_id(char id[40])
{
    uint8_t r[16];

    if (getrandom(r, sizeof r, 0) != (ssize_t)sizeof r)
        memset(r, 0, sizeof r);
    r[6] = (uint8_t)((r[6] & 15) | 64);
    r[8] = (uint8_t)((r[8] & 63) | 128);
    snprintf(id, 40, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", r[0],
             r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8], r[9], r[10], r[11], r[12], r[13],
             r[14], r[15]);
}

static void log_exchange(const oto_exchange *x)
{
    if (x->route != NULL && x->route->prompt != NULL)
        return;
    oto_log(OTO_LOG_INFO, "%s %s %d %" PRId64 " ms client %s request %s%s%s", x->path,
            x->upload.bytes > 0 ? "upload" : "-", x->status, oto_now_ms() - x->started_ms,
            x->client, x->id, x->job[0] != '\0' ? " job " : "", x->job);
}

/* ---- sending ---- */

static bool is_h2(const oto_exchange *x)
{
    return lws_get_network_wsi(x->wsi) != x->wsi;
}

static void ask_to_write(oto_exchange *x)
{
    if (x->wsi != NULL)
        lws_callback_on_writable(x->wsi);
}

static bool put_header(struct lws *wsi, const char *name, const char *value, unsigned char **p,
                       unsigned char *end)
{
    char with_colon[80];

    snprintf(with_colon, sizeof with_colon, "%s:", name);
    return lws_add_http_header_by_name(wsi, (const unsigned char *)with_colon,
                                       (const unsigned char *)value, (int)strlen(value), p,
                                       end) == 0;
}

static bool put_own_headers(oto_exchange *x, unsigned char **p, unsigned char *end)
{
    char *save = NULL;

    if (x->headers.p == NULL)
        return true;
    for (char *line = strtok_r(x->headers.p, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char *value = strstr(line, ": ");

        *value = '\0';
        if (!put_header(x->wsi, line, value + 2, p, end))
            return false;
    }
    return true;
}

static bool put_cors(oto_exchange *x, unsigned char **p, unsigned char *end)
{
    const char *cors = x->g->o->cors;

    if (cors == NULL || x->origin == NULL ||
        (strcmp(cors, "*") != 0 && strcmp(cors, x->origin) != 0))
        return true;
    return put_header(x->wsi, "access-control-allow-origin", x->origin, p, end) &&
           put_header(x->wsi, "access-control-allow-credentials", "true", p, end) &&
           put_header(x->wsi, "access-control-expose-headers", "x-request-id", p, end) &&
           put_header(x->wsi, "vary", "origin", p, end);
}

static int64_t known_length(const oto_exchange *x)
{
    if (x->kind == OTO_REPLY_WHOLE)
        return (int64_t)x->out.n;
    return x->kind == OTO_REPLY_FILE ? x->file_left : -1;
}

/* Headers; `early`: before the answer is known. -1: the connection is of no more use. */
static int send_headers(oto_exchange *x, bool early)
{
    unsigned char buffer[LWS_PRE + HEADER_BYTES], *start = buffer + LWS_PRE, *p = start;
    unsigned char *const end = buffer + sizeof buffer - 1;
    const int64_t length = early ? -1 : known_length(x);
    const bool empty = x->method == OTO_HEAD || length == 0;
    struct lws *wsi = x->wsi;
    bool ok;

    ok = lws_add_http_header_status(wsi, (unsigned)x->status, &p, end) == 0 &&
         put_header(wsi, "content-type", x->type, &p, end) &&
         (x->route == NULL || x->route->prompt == NULL
              ? put_header(wsi, "x-request-id", x->id, &p, end)
              : true) &&
         put_own_headers(x, &p, end) && put_cors(x, &p, end);
    if (ok && length >= 0)
        ok = lws_add_http_header_content_length(wsi, (lws_filepos_t)length, &p, end) == 0;
    else if (ok && !is_h2(x)) {
        ok = put_header(wsi, "transfer-encoding", "chunked", &p, end);
        x->send_chunked = true;
    }
    if (ok && x->close_after && !is_h2(x))
        ok = put_header(wsi, "connection", "close", &p, end);
    if (!ok || lws_finalize_http_header(wsi, &p, end) != 0)
        return -1;
    x->headers_sent = true;
    x->sent_ms = oto_now_ms();
    if (lws_write(wsi, start, (size_t)(p - start),
                  empty ? LWS_WRITE_HTTP_HEADERS | LWS_WRITE_H2_STREAM_END
                        : LWS_WRITE_HTTP_HEADERS) < 0)
        return -1;
    if (empty) {
        x->sent = x->out.n;
        x->file_left = 0;
        x->ended = x->all_sent = true;
    }
    return 0;
}

/* Writes n payload bytes that stand at block + room in front; last: nothing follows. */
static int send_block(oto_exchange *x, unsigned char *payload, size_t n, bool last)
{
    char size[24];
    int head = 0;

    if (x->send_chunked) {
        if (n > 0) {
            head = snprintf(size, sizeof size, "%zx\r\n", n);
            memcpy(payload - head, size, (size_t)head);
            memcpy(payload + n, "\r\n", 2);
            n += 2;
        }
        if (last) {
            memcpy(payload + n, "0\r\n\r\n", 5);
            n += 5;
        }
    }
    x->sent_ms = oto_now_ms();
    if (n == 0 && !last)
        return 0;
    return lws_write(x->wsi, payload - head, n + (size_t)head,
                     last ? LWS_WRITE_HTTP_FINAL : LWS_WRITE_HTTP) < 0
               ? -1
               : 0;
}

/* The next piece of the answer. -1: close. */
static int send_more(oto_exchange *x)
{
    static unsigned char block[LWS_PRE + 32 + BLOCK_BYTES + 16];
    unsigned char *const payload = block + LWS_PRE + 32;
    int64_t room = BLOCK_BYTES, n = 0;
    const int64_t allowance = lws_get_peer_write_allowance(x->wsi);
    bool last;

    if (allowance == 0) {
        ask_to_write(x);
        return 0;
    }
    if (allowance > 0)
        room = OTO_MIN(room, allowance);
    if (x->kind == OTO_REPLY_FILE) {
        n = pread(x->file_fd, payload, (size_t)OTO_MIN(room, x->file_left), x->file_at);
        if (n <= 0)
            return -1; /* shorter than it was: the client sees the break */
        x->file_at += n;
        x->file_left -= n;
        last = x->file_left == 0;
    } else {
        n = OTO_MIN(room, (int64_t)(x->out.n - x->sent));
        memcpy(payload, x->out.p + x->sent, (size_t)n);
        x->sent += (size_t)n;
        last = x->sent == x->out.n && x->ended;
    }
    if (send_block(x, payload, (size_t)n, last) != 0)
        return -1;
    x->all_sent = last;
    if (!last && (x->kind == OTO_REPLY_FILE || x->sent < x->out.n))
        ask_to_write(x);
    return 0;
}

/* The answer is out. -1: close the connection; 0: go on with it. */
static int finish(session *s, oto_exchange *x)
{
    struct lws *wsi = x->wsi;
    const bool close_after = x->close_after;

    /* A client that is still sending must be heard out, or it never reads the answer. */
    if (x->refused && !x->body_done) {
        if (x->deadline_ms == 0 || !x->lingering) {
            log_exchange(x);
            x->lingering = true;
            x->deadline_ms = oto_now_ms() + LINGER_MS;
        }
        return 0;
    }
    if (!x->lingering)
        log_exchange(x);
    s->x = NULL;
    drop(x);
    if (close_after)
        return -1;
    return lws_http_transaction_completed(wsi) ? -1 : 0;
}

static int on_writable(session *s)
{
    oto_exchange *x = s->x;
    const bool fresh = x != NULL && !x->headers_sent;

    if (x == NULL || x->at_desk || x->lingering)
        return 0;
    if (x->kind == OTO_REPLY_ABORT)
        return -1;
    if (fresh && x->kind == OTO_REPLY_NONE)
        return 0;
    if (fresh && send_headers(x, false) != 0)
        return -1;
    if (fresh && !x->all_sent) {
        ask_to_write(x);
        return 0;
    }
    if (!x->all_sent && (x->kind == OTO_REPLY_FILE || x->sent < x->out.n || x->ended) &&
        send_more(x) != 0)
        return -1;
    if (x->all_sent)
        return finish(s, x);
    if (x->kind == OTO_REPLY_STREAM && x->sent == x->out.n) {
        oto_str_clear(&x->out);
        x->sent = 0;
    }
    return 0;
}

/* A handler or a look has answered. */
static void begin_reply(oto_exchange *x)
{
    if (x->kind == OTO_REPLY_NONE)
        oto_reply_problem(x, 500, "internal_error", NULL, "no answer (request %s)", x->id);
    if (x->kind == OTO_REPLY_WHOLE || x->kind == OTO_REPLY_FILE)
        x->ended = true;
    /* Headers went out early: only success can still be told. */
    if (x->headers_sent && x->kind == OTO_REPLY_WHOLE && x->status != 200)
        x->kind = OTO_REPLY_ABORT;
    ask_to_write(x);
}

/* ---- to the desks and back ---- */

static void to_desk(oto_exchange *x, void (*errand)(oto_exchange *x, oto_store *store))
{
    x->errand = errand;
    x->at_desk = true;
    oto_desks_put(x->g->desks, x);
}

static void errand_look(oto_exchange *x, oto_store *store)
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
static void on_desk_done(void *arg, oto_exchange *x)
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
        begin_reply(x);
    } else {
        to_desk(x, errand_handle);
    }
}

static void refuse_now(oto_exchange *x)
{
    x->refused = true;
    if (!x->body_done)
        x->close_after = true;
    if (x->upload.fd >= 0)
        oto_upload_drop(x->g->o->spool, &x->upload);
    atomic_fetch_add(&x->g->refused, 1);
    begin_reply(x);
}

static void refuse(oto_exchange *x, const oto_problem *p)
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
static void settle_gone(oto_exchange *x, int64_t now)
{
    if (!x->cancel_job || x->job[0] == '\0' || x->ended || x->errand == errand_cancel || joined(x))
        drop(x);
    else if (now - x->gone_at_ms >= x->cancel_after_ms)
        to_desk(x, errand_cancel);
}

static int begin_body(oto_exchange *x);

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
        settle_gone(x, oto_now_ms());
        return;
    }
    if (x->checking_key) {
        x->checking_key = false;
        if (x->kind != OTO_REPLY_NONE)
            refuse_now(x);
        else if (begin_body(x) == 0)
            lws_rx_flow_control(x->wsi, 1);
        return;
    }
    if (x->look != NULL && !x->ended && x->kind != OTO_REPLY_WHOLE && x->kind != OTO_REPLY_FILE &&
        x->kind != OTO_REPLY_ABORT) {
        if (!x->waiting)
            x->look_at_ms = oto_now_ms(); /* the first look, at once */
        x->waiting = true;
        if (x->kind == OTO_REPLY_STREAM)
            ask_to_write(x);
        return;
    }
    x->waiting = false;
    begin_reply(x);
}

static void collect_back(gateway *w)
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
    char pair[4096];
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

static void read_headers(oto_exchange *x)
{
    const char *length = header(x, WSI_TOKEN_HTTP_CONTENT_LENGTH);
    const char *coding = header(x, WSI_TOKEN_HTTP_TRANSFER_ENCODING);
    const char *expect = custom(x, "expect:"), *retry = custom(x, "x-stainless-retry-count:");
    const char *progress = custom(x, "x-otolith-progress:");
    char peer[64] = "";

    x->content_length = length != NULL ? strtoll(length, NULL, 10) : -1;
    x->chunked = coding != NULL && strcasestr(coding, "chunked") != NULL && !is_h2(x);
    if (x->chunked)
        x->content_length = -1;
    x->content_type = header(x, WSI_TOKEN_HTTP_CONTENT_TYPE);
    x->range = header(x, WSI_TOKEN_HTTP_RANGE);
    x->origin = header(x, WSI_TOKEN_ORIGIN);
    x->user_agent = header(x, WSI_TOKEN_HTTP_USER_AGENT);
    x->wants_continue = expect != NULL && strncasecmp(expect, "100-continue", 12) == 0;
    x->retry_count = retry != NULL ? atoi(retry) : 0;
    x->wants_progress = progress != NULL && progress[0] == '1';
    read_key(x);
    lws_get_peer_simple(x->wsi, peer, sizeof peer);
    x->client = oto_arena_strdup(x->a, peer, strlen(peer));
    x->key_id = "";
}

static bool matches(const oto_route *r, oto_exchange *x)
{
    const char *pattern = r->path, *path = x->path;
    const char *star = strchr(pattern, '*');
    size_t n, tail;

    if (star == NULL)
        return strcmp(pattern, path) == 0;
    /* One '*': it stands for what lies between the pattern's beginning and its end. */
    n = (size_t)(star - pattern);
    tail = strlen(star + 1);
    if (strncmp(path, pattern, n) != 0 || strlen(path) <= n + tail ||
        strcmp(path + strlen(path) - tail, star + 1) != 0)
        return false;
    x->tail = oto_arena_strdup(x->a, path + n, strlen(path) - n - tail);
    return x->tail != NULL;
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

    *status = 404;
    x->protocol = protocol_by_prefix(x->path);
    x->route = &no_route;
    for (size_t i = 0; i < OTO_COUNT(protocols); i++)
        for (const oto_route *r = protocols[i]->routes; r->path != NULL; r++) {
            if (!matches(r, x))
                continue;
            x->protocol = protocols[i];
            if ((r->methods & wanted) != 0) {
                x->route = r;
                return true;
            }
            *status = 405;
        }
    return false;
}

static void preflight(oto_exchange *x)
{
    oto_reply_header(x, "access-control-allow-methods", "GET, POST, DELETE, OPTIONS");
    oto_reply_header(x, "access-control-allow-headers",
                     "Authorization, Content-Type, X-API-Key, X-Stainless-Arch, X-Stainless-Lang, "
                     "X-Stainless-OS, X-Stainless-Package-Version, X-Stainless-Retry-Count, "
                     "X-Stainless-Runtime, X-Stainless-Runtime-Version, X-Stainless-Timeout");
    oto_reply_header(x, "access-control-max-age", "600");
    oto_reply_text(x, 204, "text/plain; charset=utf-8", "", 0);
}

static bool has_body(const oto_exchange *x)
{
    return x->chunked || x->content_length > 0 ||
           (is_h2(x) && x->method == OTO_POST && x->content_length != 0);
}

/* The request may come: its body, or the handler at once. -1: refused. */
static int begin_body(oto_exchange *x)
{
    oto_problem p;

    if (!has_body(x)) {
        x->body_done = true;
        dispatch(x);
        return 0;
    }
    if (oto_body_new(x, &x->body, &p) != 0) {
        refuse(x, &p);
        return -1;
    }
    if (x->route->upload)
        atomic_fetch_add(&x->g->uploads, 1);
    x->deadline_ms = oto_now_ms() + (int64_t)x->g->o->upload_timeout_s * 1000;
    if (x->wants_continue && !is_h2(x)) {
        unsigned char line[LWS_PRE + 32];
        const int n = snprintf((char *)line + LWS_PRE, 32, "HTTP/1.1 100 Continue\r\n\r\n");

        if (lws_write(x->wsi, line + LWS_PRE, (size_t)n, LWS_WRITE_HTTP_HEADERS) < 0)
            return -1;
    }
    return 0;
}

static oto_exchange *new_exchange(gateway *w, struct lws *wsi, const char *path)
{
    oto_arena *a;
    oto_exchange *x;

    if (oto_arena_new("request", EXCHANGE_BYTES, &a, NULL) != 0)
        return NULL;
    x = oto_arena_calloc(a, 1, sizeof *x);
    if (x == NULL) {
        oto_arena_free(a);
        return NULL;
    }
    x->g = &w->g;
    x->wsi = wsi;
    x->a = a;
    x->file_fd = x->upload.fd = -1;
    x->started_ms = x->sent_ms = oto_now_ms();
    x->path = oto_arena_strdup(a, path, strlen(path));
    x->client = x->key_id = "";
    oto_str_init(&x->headers, a);
    oto_str_init(&x->out, a);
    make_id(x->id);
    link_in(&w->g, x);
    return x;
}

/* Refusals before a byte of the body was read. */
static bool check_request(oto_exchange *x, oto_problem *p)
{
    const oto_gateway *g = x->g;
    int status;

    *p = (oto_problem){0};
    if (!route(x, &status)) {
        p->status = status;
        p->code = status == 404 ? "not_found" : "method_not_allowed";
        snprintf(p->text, sizeof p->text, "%s", oto_status_text(status));
    } else if (x->method != OTO_GET && !atomic_load(&g->accepting)) {
        *p = (oto_problem){.status = 503, .code = "shutting_down", .retry_after_s = 5};
        snprintf(p->text, sizeof p->text, "%s",
                 g->draining ? "The server is shutting down, please try again"
                             : "The server cannot write to its disk and accepts nothing");
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

static int on_request(gateway *w, struct lws *wsi, session *s, const char *path)
{
    oto_exchange *x = new_exchange(w, wsi, path);
    oto_problem p;

    if (x == NULL)
        return -1;
    s->x = x;
    atomic_fetch_add(&w->g.requests, 1);
    x->method = method_of(wsi);
    if (!read_query(x))
        return -1;
    read_headers(x);
    x->body_done = !has_body(x);
    /* Taken for an endless body by the library: the connection cannot be used again. */
    if (!is_h2(x) && (x->chunked || (x->method != OTO_GET && x->method != OTO_HEAD &&
                                     x->method != OTO_DELETE && x->content_length < 0)))
        x->close_after = true;
    if (!check_request(x, &p)) {
        if (x->method == OTO_OPTIONS && w->g.o->cors != NULL) {
            x->body_done = true;
            preflight(x);
            begin_reply(x);
            return 0;
        }
        if (p.status == 401)
            oto_reply_header(x, "www-authenticate", "Bearer");
        refuse(x, &p);
        return 0;
    }
    if (atomic_load(&w->g.keys_wanted) && !x->route->open) {
        x->checking_key = true;
        lws_rx_flow_control(wsi, 0);
        to_desk(x, errand_key);
        return 0;
    }
    return begin_body(x) == 0 || x->refused ? 0 : -1;
}

static void body_complete(oto_exchange *x)
{
    oto_problem p;

    x->body_done = true;
    x->deadline_ms = 0;
    if (oto_body_end(x->body, &p) != 0)
        refuse(x, &p);
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
    if (x->chunked && x->received > CHUNKED_LIMIT - (1 << 20)) {
        *p = (oto_problem){.status = 413, .code = "file_too_large"};
        snprintf(p->text, sizeof p->text,
                 "A chunked upload may have 99 MiB; send larger ones with a Content-Length");
        return true;
    }
    return false;
}

static int on_body(session *s, char *p, size_t n)
{
    oto_exchange *x = s->x;
    oto_problem why;
    int end = 0;

    if (x == NULL || x->refused || x->body_done || x->body == NULL)
        return 0; /* read over */
    x->received += (int64_t)n;
    atomic_fetch_add(&x->g->uploaded_bytes, (int64_t)n);
    if (over_limit(x, &why)) {
        refuse(x, &why);
        return 0;
    }
    if (x->chunked && (end = oto_dechunk_push(&x->dechunk, p, &n)) < 0) {
        why = (oto_problem){.status = 400, .code = "bad_chunk"};
        snprintf(why.text, sizeof why.text, "Malformed chunked body");
        refuse(x, &why);
        return 0;
    }
    if (oto_body_push(x->body, p, n, &why) != 0)
        refuse(x, &why);
    else if (end == 1)
        body_complete(x);
    return 0;
}

static int on_body_end(session *s)
{
    oto_exchange *x = s->x;

    if (x == NULL)
        return 0;
    if (x->refused) {
        x->body_done = true;
        return x->all_sent ? finish(s, x) : 0;
    }
    if (!x->body_done && x->body != NULL)
        body_complete(x);
    return 0;
}

static void on_closed(session *s)
{
    oto_exchange *x = s->x;

    s->x = NULL;
    if (x == NULL)
        return;
    x->wsi = NULL;
    x->gone_at_ms = oto_now_ms();
    if (!x->body_done && !x->refused)
        atomic_fetch_add(&x->g->cut_off, 1);
    if (!x->at_desk)
        settle_gone(x, x->gone_at_ms);
}

/* ---- connections ---- */

static void turn_away(int fd)
{
    static const char text[] = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 5\r\n"
                               "connection: close\r\ncontent-type: application/json\r\n"
                               "content-length: 33\r\n\r\n{\"detail\":\"Too many connections\"}";

    if (send(fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
        oto_log(OTO_LOG_DEBUG, "refusing a connection: %s", strerror(errno));
    close(fd);
}

static void accept_some(gateway *w, int listen_fd)
{
    const int one = 1;

    for (int i = 0; i < 64; i++) {
        const int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

        if (fd < 0)
            return;
        if (w->g.n_connections >= w->g.o->max_connections) {
            turn_away(fd);
            atomic_fetch_add(&w->g.refused, 1);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
        if (lws_adopt_socket_vhost(w->g.vhost, fd) == NULL)
            oto_log(OTO_LOG_WARN, "a connection could not be taken over");
    }
}

/* A descriptor that is no connection became readable: a bell, a signal, or someone at the door. */
static void on_descriptor(gateway *w, int fd)
{
    struct signalfd_siginfo info;
    uint64_t count;

    if (fd == w->g.board->gateway.bell) {
        if (read(fd, &count, sizeof count) > 0)
            w->g.news = true;
    } else if (fd == w->signals) {
        if (read(fd, &info, sizeof info) == (ssize_t)sizeof info && !w->g.draining) {
            w->g.draining = true;
            atomic_store(&w->g.accepting, false);
            atomic_store(&w->g.board->gateway.state, OTO_PROC_DRAINING);
            w->drain_until_ms = oto_now_ms() + (int64_t)w->g.o->drain_s * 1000;
            oto_log(OTO_LOG_INFO, "gateway: asked to stop, %d request(s) to finish",
                    w->g.n_exchanges);
        }
    } else if (!w->g.draining) {
        accept_some(w, fd);
    }
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len)
{
    gateway *w = self(wsi);
    session *s = user;

    switch (reason) {
    case LWS_CALLBACK_HTTP:
        return on_request(w, wsi, s, in);
    case LWS_CALLBACK_HTTP_BODY:
        return on_body(s, in, len);
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        return on_body_end(s);
    case LWS_CALLBACK_HTTP_WRITEABLE:
        return s != NULL ? on_writable(s) : 0;
    case LWS_CALLBACK_CLOSED_HTTP:
    case LWS_CALLBACK_HTTP_DROP_PROTOCOL:
        if (s != NULL)
            on_closed(s);
        return 0;
    case LWS_CALLBACK_RAW_RX_FILE:
        on_descriptor(w, (int)lws_get_socket_fd(wsi));
        return 0;
    case LWS_CALLBACK_EVENT_WAIT_CANCELLED:
        collect_back(w);
        return 0;
    case LWS_CALLBACK_WSI_CREATE:
        w->g.n_connections++;
        return 0;
    case LWS_CALLBACK_WSI_DESTROY:
        w->g.n_connections--;
        return 0;
    default:
        return lws_callback_http_dummy(wsi, reason, user, in, len);
    }
}

/* ---- by the clock ---- */

/* What is read for everyone once a second, and the retention of what is old. */
static void errand_keep_house(oto_exchange *x, oto_store *store)
{
    gateway *w = x->state;
    const oto_server_options *o = w->g.o;
    const int64_t now = oto_clock_ms();
    oto_store_view v = {.at_ms = oto_now_ms()};
    oto_err e = {0};
    oto_key keys[64];
    int n = 0;

    v.ok = oto_store_stats_get(store, &v.s, &e) == 0;
    snprintf(v.error, sizeof v.error, "%.199s", v.ok ? "" : e.text);
    w->fresh = v;
    oto_arena_reset(w->janitor_arena);
    if (oto_store_key_list(store, w->janitor_arena, keys, (int)OTO_COUNT(keys), &n, &e) == 0) {
        bool wanted = o->require_keys;

        for (int i = 0; i < n; i++)
            wanted = wanted || keys[i].revoked_at == 0;
        atomic_store(&w->g.keys_wanted, wanted);
    }
    if (o->keep_ms > 0 || o->keep_bytes > 0)
        oto_retain(o, store, now);
}

static void attend(gateway *w, oto_exchange *x, int64_t now, bool news)
{
    if (x->at_desk)
        return;
    if (x->wsi == NULL) {
        settle_gone(x, now);
        return;
    }
    if (x->deadline_ms != 0 && now >= x->deadline_ms) {
        x->deadline_ms = 0;
        if (x->lingering || x->refused) {
            lws_set_timeout(x->wsi, PENDING_TIMEOUT_CLOSE_SEND, LWS_TO_KILL_ASYNC);
        } else {
            oto_problem p = {.status = 408, .code = "timeout"};

            snprintf(p.text, sizeof p.text, "The upload took longer than %d s",
                     w->g.o->upload_timeout_s);
            refuse(x, &p);
        }
        return;
    }
    if (!x->waiting || x->sent < x->out.n)
        return;
    if (w->g.draining && now >= w->drain_until_ms) {
        if (!x->headers_sent)
            oto_reply_problem(x, 503, "shutting_down", NULL, "The server is shutting down");
        else
            x->kind = OTO_REPLY_ABORT;
        x->waiting = false;
        begin_reply(x);
        return;
    }
    if (news || (x->look_at_ms != 0 && now >= x->look_at_ms)) {
        x->look_at_ms = 0;
        to_desk(x, errand_look);
        return;
    }
    if (x->heartbeat_ms > 0 && now - x->sent_ms >= x->heartbeat_ms) {
        if (!x->headers_sent && x->kind == OTO_REPLY_NONE) {
            x->status = 200;
            if (send_headers(x, true) != 0)
                lws_set_timeout(x->wsi, PENDING_TIMEOUT_CLOSE_SEND, LWS_TO_KILL_ASYNC);
            return;
        }
        x->sent_ms = now;
        oto_str_puts(&x->out, x->heartbeat);
        ask_to_write(x);
    }
}

static void on_tick(lws_sorted_usec_list_t *sul)
{
    gateway *w = lws_container_of(sul, gateway, tick);
    const int64_t now = oto_now_ms();
    const bool news = w->g.news && now - w->g.news_at_ms >= NEWS_MS;

    if (news) {
        w->g.news = false;
        w->g.news_at_ms = now;
    }
    for (oto_exchange *x = w->g.exchanges, *next; x != NULL; x = next) {
        next = x->next;
        attend(w, x, now, news);
    }
    if (now - w->housekept_ms >= KEEP_HOUSE_MS && !w->janitor.at_desk) {
        w->housekept_ms = now;
        oto_board_beat(&w->g.board->gateway);
        to_desk(&w->janitor, errand_keep_house);
    }
    lws_sul_schedule(w->g.context, 0, &w->tick, on_tick, TICK_US);
}

/* ---- the process ---- */

static const struct lws_protocols lws_protocols[] = {
    {.name = "http", .callback = on_event, .per_session_data_size = sizeof(session)},
    {.name = NULL}};

static void on_lws_log(int level, const char *line)
{
    oto_log(level == LLL_ERR ? OTO_LOG_WARN : OTO_LOG_DEBUG, "libwebsockets: %.*s",
            (int)strcspn(line, "\n"), line);
}

static int open_context(gateway *w, oto_err *e)
{
    const oto_server_options *o = w->g.o;
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .protocols = lws_protocols,
        .user = w,
        .gid = (gid_t)-1,
        .uid = (uid_t)-1,
        .options = LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
        .server_string = "otolith",
        .max_http_header_data = 8192,
        .max_http_header_pool = (short)OTO_MIN(o->max_connections + 64, 30000),
        .fd_limit_per_thread = (unsigned)o->max_connections + 64,
        .pt_serv_buf_size = BLOCK_BYTES,
        .timeout_secs = 30,
        .keepalive_timeout = 75,
        .ka_time = 0,
    };

    if (o->tls_cert != NULL) {
        info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
        info.ssl_cert_filepath = o->tls_cert;
        info.ssl_private_key_filepath = o->tls_key;
    }
    lws_set_log_level(LLL_ERR | LLL_WARN, on_lws_log);
    w->g.context = lws_create_context(&info);
    if (w->g.context == NULL)
        return oto_fail(e, OTO_E_UNAVAILABLE, "the HTTP library could not be started");
    w->g.vhost = lws_create_vhost(w->g.context, &info);
    if (w->g.vhost == NULL)
        return oto_fail(e, OTO_E_USAGE, "the HTTP library could not be set up%s",
                        o->tls_cert != NULL ? " (are the TLS certificate and key right?)" : "");
    return 0;
}

static int watch_descriptor(gateway *w, int fd, oto_err *e)
{
    lws_sock_file_fd_type d = {.filefd = fd};

    if (lws_adopt_descriptor_vhost(w->g.vhost, LWS_ADOPT_RAW_FILE_DESC, d, "http", NULL) == NULL)
        return oto_fail(e, OTO_E_UNAVAILABLE, "a descriptor could not be watched");
    return 0;
}

static int open_gateway(gateway *w, oto_err *e)
{
    const oto_server_options *o = w->g.o;
    sigset_t set;
    int rc;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    w->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (w->signals < 0)
        return oto_fail_errno(e, "signals");
    if ((rc = oto_arena_new("housekeeping", 8 << 20, &w->janitor_arena, e)) != 0 ||
        (rc = open_context(w, e)) != 0 ||
        (rc = oto_desks_new(o->store, o->desks, on_desk_done, w, &w->g.desks, e)) != 0 ||
        (rc = oto_notices_new(o, &w->notices, e)) != 0 ||
        (rc = watch_descriptor(w, w->g.board->gateway.bell, e)) != 0 ||
        (rc = watch_descriptor(w, w->signals, e)) != 0)
        return rc;
    for (int i = 0; i < o->n_listen && rc == 0; i++)
        rc = watch_descriptor(w, o->listen_fds[i], e);
    return rc;
}

static void close_gateway(gateway *w)
{
    oto_notices_free(w->notices);
    oto_desks_free(w->g.desks);
    if (w->g.context != NULL)
        lws_context_destroy(w->g.context);
    oto_arena_free(w->janitor_arena);
}

int oto_server_run(const oto_server_options *o, oto_board *b)
{
    static gateway w;
    oto_err e = {0};

    memset(&w, 0, sizeof w);
    w.g.o = o;
    w.g.board = b;
    w.g.started_ms = oto_now_ms();
    atomic_store(&w.g.accepting, true);
    atomic_store(&w.g.keys_wanted, o->require_keys);
    pthread_mutex_init(&w.lock, NULL);
    w.last_back = &w.back;
    w.janitor.g = &w.g;
    w.janitor.state = &w;
    if (open_gateway(&w, &e) != 0) {
        oto_log(OTO_LOG_ERROR, "gateway: %s", e.text);
        close_gateway(&w);
        return 1;
    }
    oto_board_beat(&b->gateway);
    atomic_store(&b->gateway.state, OTO_PROC_READY);
    on_tick(&w.tick);
    while (!(w.g.draining && (w.g.n_exchanges == 0 || oto_now_ms() > w.drain_until_ms + 2000)))
        if (lws_service(w.g.context, 0) < 0)
            break;
    close_gateway(&w);
    return 0;
}

void oto_server_defaults(oto_server_options *o)
{
    *o = (oto_server_options){.aliases = "whisper-1,gpt-4o-transcribe,gpt-4o-mini-transcribe,"
                                         "gpt-transcribe",
                              .max_upload_bytes = (int64_t)2 << 30,
                              .upload_timeout_s = 3600,
                              .max_queued = 10000,
                              .max_connections = 4096,
                              .desks = 3,
                              .drain_s = 20,
                              .version = OTO_VERSION};
}
