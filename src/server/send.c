/* Sending answers, a block at a time as the connection takes them. */
#include "server/loop.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#define LINGER_MS    5000
#define BLOCK_BYTES  (32 << 10)
#define BLOCK_S      30
#define HEADER_BYTES 4096

void oto_send_ask(oto_exchange *x)
{
    if (x->wsi == NULL)
        return;
    if (x->held) /* the library neither reads nor writes a connection that is */
        lws_rx_flow_control(x->wsi, 1);
    x->asked = true;
    lws_callback_on_writable(x->wsi);
}

void oto_send_rest(oto_exchange *x)
{
    if (x->held && !x->asked)
        lws_rx_flow_control(x->wsi, 0);
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
int oto_send_headers(oto_exchange *x, bool early)
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
    else if (ok && !oto_exchange_is_h2(x)) {
        ok = put_header(wsi, "transfer-encoding", "chunked", &p, end);
        x->send_chunked = true;
    }
    if (ok && x->close_after && !oto_exchange_is_h2(x))
        ok = put_header(wsi, "connection", "close", &p, end);
    if (!ok || lws_finalize_http_header(wsi, &p, end) != 0)
        return -1;
    x->headers_sent = true;
    x->sent_ms = oto_now_ms();
    if (lws_write(wsi, start, (size_t)(p - start),
                  empty ? LWS_WRITE_HTTP_HEADERS | LWS_WRITE_H2_STREAM_END
                        : LWS_WRITE_HTTP_HEADERS) < 0)
        return -1;
    /* The library gives a GET half a minute from end to end; a stream lasts as long as its job. */
    if (x->kind == OTO_REPLY_STREAM)
        lws_set_timeout(wsi, NO_PENDING_TIMEOUT, 0);
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
        oto_send_ask(x);
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
    /* Half a minute for a GET from end to end would cut off who reads a long answer slowly: it is
     * for each block. */
    if (x->kind == OTO_REPLY_FILE || x->kind == OTO_REPLY_WHOLE)
        lws_set_timeout(x->wsi, PENDING_TIMEOUT_HTTP_CONTENT, BLOCK_S);
    x->all_sent = last;
    if (!last && (x->kind == OTO_REPLY_FILE || x->sent < x->out.n))
        oto_send_ask(x);
    return 0;
}

/* The answer is out. -1: close the connection; 0: go on with it. */
int oto_send_finish(session *s, oto_exchange *x)
{
    struct lws *wsi = x->wsi;
    const bool close_after = x->close_after;

    /* A client that is still sending must be heard out, or it never reads the answer. */
    if (x->refused && !x->body_done) {
        if (x->deadline_ms == 0 || !x->lingering) {
            oto_exchange_log(x);
            x->lingering = true;
            x->deadline_ms = oto_now_ms() + LINGER_MS;
        }
        return 0;
    }
    if (!x->lingering)
        oto_exchange_log(x);
    s->x = NULL;
    oto_exchange_drop(x);
    if (close_after)
        return -1;
    oto_pipeline_answered(wsi);
    lws_rx_flow_control(wsi, 1);
    return lws_http_transaction_completed(wsi) ? -1 : 0;
}

int oto_send_on_writable(session *s)
{
    oto_exchange *x = s->x;
    const bool fresh = x != NULL && !x->headers_sent;

    if (x == NULL || x->lingering)
        return 0;
    x->asked = false;
    if (x->at_desk || (fresh && x->kind == OTO_REPLY_NONE)) {
        oto_send_rest(x);
        return 0;
    }
    if (x->kind == OTO_REPLY_ABORT)
        return -1;
    if (fresh && oto_send_headers(x, false) != 0)
        return -1;
    if (fresh && !x->all_sent) {
        oto_send_ask(x);
        return 0;
    }
    if (!x->all_sent && (x->kind == OTO_REPLY_FILE || x->sent < x->out.n || x->ended) &&
        send_more(x) != 0)
        return -1;
    if (x->all_sent)
        return oto_send_finish(s, x);
    if (x->kind == OTO_REPLY_STREAM && x->sent == x->out.n) {
        oto_str_clear(&x->out);
        x->sent = 0;
        oto_send_rest(x);
    }
    return 0;
}

/* A handler or a look has answered. */
void oto_exchange_reply(oto_exchange *x)
{
    if (x->kind == OTO_REPLY_NONE)
        oto_reply_problem(x, 500, "internal_error", NULL, "no answer (request %s)", x->id);
    if (x->kind == OTO_REPLY_WHOLE || x->kind == OTO_REPLY_FILE)
        x->ended = true;
    /* Headers went out early: only success can still be told. */
    if (x->headers_sent && x->kind == OTO_REPLY_WHOLE && x->status != 200)
        x->kind = OTO_REPLY_ABORT;
    oto_send_ask(x);
}
