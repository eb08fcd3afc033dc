/* parts (private to server/).
 *
 * An exchange is one request and its answer. It goes back and forth between the event loop, which
 * owns the socket, and the desks, threads that may wait for the disk. It is at one place at a time,
 * so it needs no lock:
 *
 *     loop: headers, key, body to the spool -> desk: the protocol's handler -> loop: the answer
 *                                               desk: look (again after each news) <-> loop: chunks
 */
#ifndef OTO_SERVER_PARTS_H
#define OTO_SERVER_PARTS_H

#include "server/server.h"

#include <jansson.h>
#include <pthread.h>

struct lws;
struct lws_context;

typedef struct oto_gateway oto_gateway;
typedef struct oto_exchange oto_exchange;
typedef struct oto_protocol oto_protocol;

/* ---- requests ---- */

typedef enum {
    OTO_GET = 1,
    OTO_HEAD = 2,
    OTO_POST = 4,
    OTO_PUT = 8,
    OTO_PATCH = 16,
    OTO_DELETE = 32,
    OTO_OPTIONS = 64
} oto_method;

typedef struct oto_field {
    const char *name, *value;
    bool from_query, used;
    struct oto_field *next;
} oto_field;

/* A multipart, urlencoded or JSON body, taken as it arrives (body.c). The one file part goes to the
 * spool; fields are kept in the arena. */
typedef struct oto_body oto_body;

/* Chunked transfer coding, which the HTTP library hands over undecoded. */
typedef struct {
    int state;
    uint64_t left;
    int digits, line;
} oto_dechunk;

/* What a protocol says when something goes wrong; filled by oto_problem… and shaped by `fail`. */
typedef struct {
    int status;       /* HTTP */
    const char *code; /* "invalid_value", or NULL */
    const char *param;
    int retry_after_s; /* 0: no header */
    char text[500];
} oto_problem;

typedef enum {
    OTO_REPLY_NONE,   /* the handler has not decided */
    OTO_REPLY_WHOLE,  /* body in `out` */
    OTO_REPLY_FILE,   /* file_fd, from file_at on */
    OTO_REPLY_STREAM, /* chunks, as they come */
    OTO_REPLY_ABORT   /* break the connection: the answer cannot be completed */
} oto_reply_kind;

typedef enum { OTO_WAIT, OTO_DONE } oto_look;
/* Called on a desk at once and after each news until it returns OTO_DONE; adds to the answer. */
typedef oto_look (*oto_look_fn)(oto_exchange *x, oto_store *store);

struct oto_exchange {
    oto_gateway *g;
    struct lws *wsi; /* NULL: the client has gone */
    oto_arena *a;
    oto_exchange *next, *prev;  /* of all */
    oto_exchange *next_at_desk; /* in a queue between loop and desks */

    /* request; fixed before a handler runs */
    oto_method method;
    const char *path, *tail; /* tail: what the route's '*' stands for */
    const oto_protocol *protocol;
    const struct oto_route *route;
    oto_field *fields;
    const char *filename; /* of the file part, "" when it had none; NULL: no file came */
    oto_upload upload;
    const char *key, *client, *key_id; /* secret as sent or NULL; key id or address; "" */
    int key_max_jobs;
    const char *origin, *range, *content_type, *user_agent, *last_event_id;
    int retry_count; /* x-stainless-retry-count */
    bool wants_progress;
    char id[40];
    int64_t started_ms;

    /* answer */
    oto_reply_kind kind;
    int status;
    const char *type;
    oto_str headers; /* "name: value\n" lines */
    oto_str out;
    int file_fd;
    int64_t file_at, file_left;

    /* long answers */
    oto_look_fn look;
    void *state;     /* the protocol's, in the arena */
    char job[40];    /* the job it is about, "" none */
    bool cancel_job; /* when the client goes before the end */
    int64_t cancel_after_ms;
    int64_t look_at_ms;   /* looked at then even without news; 0: only on news */
    int64_t heartbeat_ms; /* since the last bytes, a heartbeat is due; 0: none */
    const char *heartbeat;

    /* the loop's */
    oto_body *body;
    int64_t content_length, received, deadline_ms, sent_ms, gone_at_ms;
    bool chunked, both_lengths, close_after, refused, body_done, headers_sent, ended, at_desk, seen,
        waiting;
    bool checking_key, wants_continue, send_chunked, all_sent, lingering;
    bool held;   /* its connection is held back while there is nothing to send, */
    bool asked;  /* that is, the library was not asked to say when it can */
    bool missed; /* there was news while it was at a desk */
    oto_dechunk dechunk;
    char *early; /* of the body, while the key is looked up; on the heap */
    size_t n_early;
    bool early_end;
    size_t sent; /* of out */
    int body_fd; /* of the connection, while its chunked body is read by ourselves; -1 */
    void (*errand)(oto_exchange *x, oto_store *store);
};

typedef struct oto_route {
    unsigned methods;
    const char *path; /* "/v1/models/" + "*" takes the rest of the path */
    /* On a desk; answers with an oto_reply_… or sets `look`. */
    void (*handler)(oto_exchange *x, oto_store *store);
    bool upload; /* may carry a file */
    bool open;   /* no key needed */
    /* On the loop, at once: must not wait for anything. Instead of handler. */
    void (*prompt)(oto_exchange *x);
} oto_route;

/* A protocol: what it answers to, and how it says no. */
struct oto_protocol {
    const char *name;
    const oto_route *routes; /* ends with path NULL */
    const char *const
        *file_fields; /* names of the part that holds the recording, NULL-terminated */
    void (*fail)(oto_exchange *x, const oto_problem *p);
};
extern const oto_protocol oto_rest, oto_openai, oto_dialects, oto_status_pages, oto_jobs_api,
    oto_docs;

/* Value of a form or query field, the last one given (query first where both exist); NULL when
 * absent or empty. Marks it as used. */
const char *oto_field_get(oto_exchange *x, const char *name);
/* The next value of a repeated field ("name" or "name[]"); start with *at = NULL. */
const char *oto_field_each(oto_exchange *x, const char *name, const oto_field **at);
/* true/false/1/0/yes/no in any case; fallback when absent. -1: something else. */
int oto_field_bool(oto_exchange *x, const char *name, bool fallback);
/* Number in [lo, hi]; false with *p filled (status 400) otherwise. Absent: *out stays. */
bool oto_field_int(oto_exchange *x, const char *name, int lo, int hi, int *out, oto_problem *p);
bool oto_field_float(oto_exchange *x, const char *name, double lo, double hi, double *out,
                     oto_problem *p);

/* ---- answers (reply.c) ---- */

void oto_reply_header(oto_exchange *x, const char *name, const char *fmt, ...) OTO_PRINTF(3, 4);
void oto_reply_text(oto_exchange *x, int status, const char *type, const char *text, size_t n);
/* What a client sent, as text that JSON takes: bytes that are no UTF-8 become U+FFFD. In the arena.
 */
const char *oto_clean(oto_arena *a, const char *text);
/* Takes the reference. */
void oto_reply_json(oto_exchange *x, int status, json_t *j);
/* The bytes of a file with Range, ETag, Last-Modified; name for Content-Disposition. */
int oto_reply_file(oto_exchange *x, const char *path, const char *name, oto_err *e) OTO_CHECK;
void oto_reply_redirect(oto_exchange *x, int status, const char *to);
/* Streams: begin once, then append to x->out; OTO_DONE from the look ends it. */
void oto_reply_stream(oto_exchange *x, int status, const char *type);
/* "data: JSON\n\n"; takes the reference. */
void oto_reply_event(oto_exchange *x, json_t *j);
/* Keeps the connection alive with `heartbeat` (may be "": headers alone, once) when nothing was
 * sent for every_ms. */
void oto_reply_heartbeat(oto_exchange *x, int64_t every_ms, const char *heartbeat);

/* x->protocol->fail with this. */
void oto_reply_problem(oto_exchange *x, int status, const char *code, const char *param,
                       const char *fmt, ...) OTO_PRINTF(5, 6);
/* The one table from error classes to HTTP. */
void oto_problem_of(const oto_err *e, oto_problem *p);
void oto_reply_err(oto_exchange *x, const oto_err *e);
const char *oto_status_text(int status);

/* ---- taking a job in (intake.c) ---- */

typedef struct {
    oto_request request;
    oto_submission submission; /* client, filename, audio, bytes, options are filled in */
    const oto_served_model *model;
} oto_order;
void oto_order_init(oto_exchange *x, oto_order *o, const char *api);
/* Probes the upload, keeps it, submits it. On failure the problem is filled and the upload gone. On
 * success workers are woken. */
bool oto_intake(oto_exchange *x, oto_store *store, oto_order *o, oto_job *job, oto_problem *p);
/* Fills the request's fields that all protocols name alike (language, prompt, hotwords, words,
 * task …). */
bool oto_order_fields(oto_exchange *x, oto_order *o, oto_problem *p);
/* The model of this name, which may be an alias of the default; NULL: the default. NULL with a
 * problem (404). */
const oto_served_model *oto_model_named(const oto_exchange *x, const char *name, oto_problem *p);
/* The same for an order, before oto_order_fields, which judges by what the model can do. */
bool oto_order_model(oto_exchange *x, oto_order *o, const char *name, oto_problem *p);
/* Seconds until `audio_ms` of work are done, from what was measured. */
int64_t oto_estimate_s(const oto_exchange *x, int64_t audio_ms);
/* ISO 8601 local time without zone, as the original writes it; "" for 0. */
const char *oto_local_time(oto_arena *a, int64_t ms);

/* ---- a job's text (transcript.c) ---- */

/* All of it in a writer's format (txt, srt, vtt, tsv, json, lrc); words: as oto_writer_new. */
int oto_transcript(oto_exchange *x, oto_store *store, const oto_job *job, const char *format,
                   bool words, oto_str *out, oto_err *e) OTO_CHECK;
/* The same with more said about json. */
enum { OTO_WORDS = 1, OTO_NO_SEGMENTS = 2, OTO_ABOUT = 4 /* x_otolith */ };
int oto_transcript_as(oto_exchange *x, oto_store *store, const oto_job *job, const char *format,
                      unsigned flags, oto_str *out, oto_err *e) OTO_CHECK;
/* The plain text, segments joined. */
int oto_plain_text(oto_exchange *x, oto_store *store, const oto_job *job, oto_str *out,
                   oto_err *e) OTO_CHECK;
/* [{start, end, text, words}] in seconds, from segment `first` on; NULL on failure. */
json_t *oto_segments_json(oto_store *store, const oto_job *job, int first, oto_err *e);
/* Joins the texts of segments as they come: no white space at either end, a ' ' for each between,
 * always UTF-8. Zeroed before the first. */
typedef struct {
    bool begun;
    size_t spaces;
} oto_joint;
void oto_joined_text(oto_joint *j, const char *text, oto_str *out);
/* Code of the language of a job's text (English when it was translated), "" unknown. */
const char *oto_text_language(oto_exchange *x, const oto_job *job);

/* ---- requests that wait for their job (await.c) ---- */

/* Takes the upload in as oto_intake, or joins the job that an earlier try of the same request has
 * made. The job is cancelled so long after its client has gone. */
bool oto_take_in(oto_exchange *x, oto_store *store, oto_order *o, int64_t cancel_after_ms,
                 oto_problem *p);
typedef void (*oto_answer_fn)(oto_exchange *x, oto_store *store, const oto_job *job, void *arg);
/* Once x->job is done, `answer` answers; when it fails, a problem does. type: of the answer, for
 * headers that have to be sent before it. */
void oto_await(oto_exchange *x, const char *type, oto_answer_fn answer, void *arg);
/* Why an ended job has no result. */
void oto_job_problem(const oto_job *job, oto_problem *p);
/* Memory for what a look needs until it returns; freed with the exchange. NULL: none left. */
oto_arena *oto_scratch_new(oto_exchange *x);
/* Header x-otolith-ignored with the names of the fields nobody has read. */
void oto_name_ignored(oto_exchange *x);

/* ---- body.c ---- */

/* content_type decides; raw: any other type is kept as the file itself. */
int oto_body_new(oto_exchange *x, oto_body **out, oto_problem *p) OTO_CHECK;
/* 0, or a status with *p filled. */
int oto_body_push(oto_body *b, const char *p, size_t n, oto_problem *why) OTO_CHECK;
int oto_body_end(oto_body *b, oto_problem *why) OTO_CHECK;

/* Decodes in place (RFC 9112, 7.1): *n bytes in, *n bytes of payload out. Returns 1 at the end of
 * the body, 0 to go on, -1 when it is malformed. */
int oto_dechunk_push(oto_dechunk *d, char *p, size_t *n);

/* ---- the gateway (gateway.c, desk.c) ---- */

typedef struct {
    int64_t at_ms; /* when it was read */
    oto_store_stats s;
    bool ok, has_room; /* of the store; on the disk */
    char error[200];
} oto_store_view;

struct oto_gateway {
    const oto_server_options *o;
    oto_board *board;
    struct lws_context *context;
    struct lws_vhost *vhost;
    struct oto_desks *desks;
    oto_exchange *exchanges; /* all, the loop's */
    int bodies;              /* an epoll: connections whose chunked body is read by ourselves */
    int n_connections, n_exchanges;
    int64_t started_ms, news_at_ms;
    bool news, draining;
    _Atomic bool keys_wanted;
    _Atomic bool accepting; /* false: a sync failed, or shutting down */
    oto_store_view view;    /* the loop's copy */
    _Atomic int64_t requests, refused, uploads, uploaded_bytes, cut_off;
};

/* Threads with a store each. `done` is called on the desk's thread after each errand. */
int oto_desks_new(const char *store, int n, void (*done)(void *arg, oto_exchange *x), void *arg,
                  struct oto_desks **out, oto_err *e) OTO_CHECK;
void oto_desks_free(struct oto_desks *d); /* finishes what was put */
void oto_desks_put(struct oto_desks *d, oto_exchange *x);

/* Removes what is older or larger than is to be kept (retain.c). */
void oto_retain(const oto_server_options *o, oto_store *store, int64_t now);

/* Deliveries of webhooks, on a thread of their own (notices.c). */
struct oto_notices;
int oto_notices_new(const oto_server_options *o, struct oto_notices **out, oto_err *e) OTO_CHECK;
void oto_notices_free(struct oto_notices *n);
/* http(s) only, and no address of this machine or its network unless allowed. */
int oto_notices_check(const oto_server_options *o, const char *url, oto_err *e) OTO_CHECK;

#endif
