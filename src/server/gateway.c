/* The gateway: one event loop (libwebsockets) for every connection.
 *
 * The loop parses, routes, takes bodies in and sends answers (exchange.c, send.c); whatever may
 * wait for the disk happens at a desk. So health is answered promptly whatever the disk, the queue
 * or another client does. */
#include "server/loop.h"
#include "media/media.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define TICK_US       100000
#define NEWS_MS       150 /* looks of many waiting clients are so far apart */
#define KEEP_HOUSE_MS 1000
#define BLOCK_BYTES   (32 << 10)

static void on_tick(lws_sorted_usec_list_t *sul);

/* News is looked at when it comes, but one look of all who wait has to be over before the next. */
static int64_t until_news_ms(const gateway *w)
{
    const int64_t apart = OTO_MIN(2 + w->g.n_exchanges, NEWS_MS);

    return OTO_MAX(w->g.news_at_ms + apart - oto_now_ms(), 0);
}

static void schedule_tick(gateway *w)
{
    const int64_t us = w->g.news ? OTO_MIN(until_news_ms(w) * 1000 + 1, TICK_US) : TICK_US;

    lws_sul_schedule(w->g.context, 0, &w->tick, on_tick, us);
}

static gateway *self(struct lws *wsi)
{
    return lws_context_user(lws_get_context(wsi));
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

/* A descriptor that is no connection became readable: uploads, a bell, a signal, or someone at the
 * door. */
static void on_descriptor(gateway *w, int fd)
{
    struct signalfd_siginfo info;
    uint64_t count;

    if (fd == w->g.bodies) {
        oto_chunked_read(w);
    } else if (fd == w->g.board->gateway.bell) {
        if (read(fd, &count, sizeof count) > 0) {
            w->g.news = true;
            schedule_tick(w);
        }
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

/* A server may go on in HTTP/1.1 (RFC 9110, 7.8). The library offers no such answer, and looks at
 * the protocol's name once more afterwards: an empty one is none. Else it would take every path for
 * a WebSocket, and change to HTTP/2, which does not work (see open_context). */
static void ignore_upgrade(char *protocol)
{
    protocol[0] = '\0';
}

static int on_event(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                    size_t len)
{
    gateway *w = self(wsi);
    session *s = user;

    switch (reason) {
    case LWS_CALLBACK_HTTP:
        return oto_exchange_on_request(w, wsi, s, in);
    case LWS_CALLBACK_HTTP_BODY:
        return oto_exchange_on_body(s, in, len);
    case LWS_CALLBACK_HTTP_BODY_COMPLETION:
        return oto_exchange_on_body_end(s);
    case LWS_CALLBACK_HTTP_WRITEABLE:
        return s != NULL ? oto_send_on_writable(s) : 0;
    case LWS_CALLBACK_CLOSED_HTTP:
    case LWS_CALLBACK_HTTP_DROP_PROTOCOL:
        if (s != NULL)
            oto_exchange_on_closed(s);
        return 0;
    case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
        ignore_upgrade(in);
        return 0;
    case LWS_CALLBACK_RAW_RX_FILE:
        on_descriptor(w, (int)lws_get_socket_fd(wsi));
        return 0;
    case LWS_CALLBACK_EVENT_WAIT_CANCELLED:
        oto_exchange_collect(w);
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
    v.has_room = oto_spool_room(o->spool, 0, NULL) == 0;
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
    if (x->at_desk) {
        x->missed |= news;
        if (x->wsi != NULL && !x->headers_sent)
            oto_chunked_rest(x);
        return;
    }
    if (x->wsi == NULL) {
        oto_exchange_settle_gone(x, now);
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
            oto_exchange_refuse(x, &p);
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
        oto_exchange_reply(x);
        return;
    }
    if (news || x->missed || (x->look_at_ms != 0 && now >= x->look_at_ms)) {
        x->missed = false;
        x->look_at_ms = 0;
        oto_exchange_to_desk(x, oto_exchange_look);
        return;
    }
    if (x->heartbeat_ms > 0 && now - x->sent_ms >= x->heartbeat_ms) {
        if (!x->headers_sent && x->kind == OTO_REPLY_NONE) {
            x->status = 200;
            if (oto_send_headers(x, true) != 0)
                lws_set_timeout(x->wsi, PENDING_TIMEOUT_CLOSE_SEND, LWS_TO_KILL_ASYNC);
            return;
        }
        x->sent_ms = now;
        oto_str_puts(&x->out, x->heartbeat);
        oto_send_ask(x);
    }
}

static void on_tick(lws_sorted_usec_list_t *sul)
{
    gateway *w = lws_container_of(sul, gateway, tick);
    const int64_t now = oto_now_ms();
    const bool news = w->g.news && until_news_ms(w) == 0;

    if (news) {
        w->g.news = false;
        w->g.news_at_ms = now;
    }
    for (oto_exchange *x = w->g.exchanges, *next; x != NULL; x = next) {
        next = x->next;
        attend(w, x, now, news);
    }
    /* Of the loop alone: desks may wait long for a disk or a decoder. */
    if (now - w->beaten_ms >= KEEP_HOUSE_MS) {
        w->beaten_ms = now;
        oto_board_beat(&w->g.board->gateway);
    }
    if (now - w->housekept_ms >= KEEP_HOUSE_MS && !w->janitor.at_desk) {
        w->housekept_ms = now;
        oto_exchange_to_desk(&w->janitor, errand_keep_house);
    }
    schedule_tick(w);
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
        /* No HTTP/2: the library loses uploads over it, up to 5.0 (docs/dependencies.md). */
        .alpn = "http/1.1",
        .max_http_header_data = OTO_HEADERS_BYTES,
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
    if ((rc = oto_media_prepare(e)) != 0 ||
        (rc = oto_arena_new("housekeeping", 8 << 20, &w->janitor_arena, e)) != 0 ||
        (rc = open_context(w, e)) != 0 ||
        (rc = oto_desks_new(o->store, o->desks, oto_exchange_come_back, w, &w->g.desks, e)) != 0 ||
        (rc = oto_notices_new(o, &w->notices, e)) != 0 ||
        (rc = watch_descriptor(w, w->g.board->gateway.bell, e)) != 0 ||
        (rc = oto_chunked_open(w, e)) != 0 || (rc = watch_descriptor(w, w->g.bodies, e)) != 0 ||
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
