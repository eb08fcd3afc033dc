/* loop (private to server/): what the files of the event loop share. */
#ifndef OTO_SERVER_LOOP_H
#define OTO_SERVER_LOOP_H

#include "server/parts.h"

#include <libwebsockets.h>

/* Of a request's line and headers; one that has more is refused by the library. */
#define OTO_HEADERS_BYTES 8192

/* What a connection carries between requests. */
typedef struct {
    oto_exchange *x;
} session;

typedef struct {
    oto_gateway g;
    pthread_mutex_t lock;
    oto_exchange *back, **last_back; /* from the desks */
    oto_exchange janitor;            /* carries the housekeeping errand */
    oto_store_view fresh;
    int64_t beaten_ms, housekept_ms, drain_until_ms;
    int signals;
    lws_sorted_usec_list_t tick;
    oto_arena *janitor_arena;
    struct oto_notices *notices;
} gateway;

/* Results of callbacks: 0 goes on, -1 closes the connection. */

/* ---- life.c ---- */

/* Among the gateway's from now on, its headers still unread; path is copied. NULL: no memory. */
oto_exchange *oto_exchange_new(gateway *w, struct lws *wsi, const char *path);
/* And all that it holds. */
void oto_exchange_drop(oto_exchange *x);
void oto_exchange_log(const oto_exchange *x);
bool oto_exchange_is_h2(const oto_exchange *x);

/* ---- send.c ---- */

/* Has the next piece sent when the connection can take it. */
void oto_send_ask(oto_exchange *x);
/* There is nothing to send: holds the connection back, where it is to be. */
void oto_send_rest(oto_exchange *x);
/* `early`: before the answer is known. */
int oto_send_headers(oto_exchange *x, bool early) OTO_CHECK;
int oto_send_on_writable(session *s) OTO_CHECK;
/* The answer is out. */
int oto_send_finish(session *s, oto_exchange *x) OTO_CHECK;
/* A handler or a look has answered. */
void oto_exchange_reply(oto_exchange *x);

/* ---- exchange.c ---- */

int oto_exchange_on_request(gateway *w, struct lws *wsi, session *s, const char *path) OTO_CHECK;
int oto_exchange_on_body(session *s, char *p, size_t n) OTO_CHECK;
int oto_exchange_on_body_end(session *s) OTO_CHECK;
void oto_exchange_on_closed(session *s);
void oto_exchange_refuse(oto_exchange *x, const oto_problem *p);
/* The client has gone and nobody works on the exchange. */
void oto_exchange_settle_gone(oto_exchange *x, int64_t now);
void oto_exchange_to_desk(oto_exchange *x, void (*errand)(oto_exchange *x, oto_store *store));
/* The errand of an exchange that waits. */
void oto_exchange_look(oto_exchange *x, oto_store *store);
/* On a desk's thread: an errand is done. */
void oto_exchange_come_back(void *arg, oto_exchange *x);
/* On the loop: takes what came back. */
void oto_exchange_collect(gateway *w);

/* ---- pipeline.c ---- */

/* A request on this connection has been answered, the next may come. */
void oto_pipeline_answered(struct lws *wsi);
/* How the request that now begins has come; OTO_ALONE also where it is the first. */
typedef enum { OTO_ALONE, OTO_WITH_ANOTHER, OTO_NOT_KNOWN } oto_coming;
oto_coming oto_pipeline_coming(struct lws *wsi);

/* ---- chunked.c ---- */

int oto_chunked_open(gateway *w, oto_err *e) OTO_CHECK;
/* The body of x, whose headers have come, is read here from now on. */
int oto_chunked_begin(oto_exchange *x) OTO_CHECK;
/* No longer, if it was. */
void oto_chunked_end(oto_exchange *x);
/* Of a request that is known whole: for the library such a body is never over, and its half minute
 * for the next piece would end an exchange that waits for the disk or for its job. */
void oto_chunked_rest(oto_exchange *x);
/* w->g.bodies is readable. */
void oto_chunked_read(gateway *w);

#endif
