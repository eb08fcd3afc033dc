/* Webhooks: a client's address is told that its job has ended, at least once, whatever is killed in
 * between: the store remembers who has to be told.
 *
 *   POST URL                   {"event":"job.done","job":{...}}
 *   X-Otolith-Timestamp: 1795440711
 *   X-Otolith-Signature: sha256=HMAC-SHA256(secret, "TIMESTAMP.BODY") in hexadecimal digits
 *
 * The address is a stranger's wish, so it never leads into our own network: what counts is the
 * address that is connected to, not the name, which may resolve to something else the next time.
 * Nor does one that never answers hold up the others: several are told at once, and on three of
 * four places whom nobody has tried to tell yet goes before who did not listen. */
#include "server/parts.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <inttypes.h>
#include <openssl/hmac.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define POLL_MS         1000
#define TIMEOUT_S       10L
#define MAX_URL_BYTES   2000
#define AT_ONCE         16
#define MAX_TEXT_BYTES  ((size_t)1 << 20)
#define MAX_REPLY_BYTES (64 << 10) /* nobody reads it */

/* Pauses after each failure; then it is given up. */
static const int64_t pauses_ms[] = {5000, 30000, 120000, 600000, 3600000};

/* One that is under way. */
typedef struct {
    CURL *c; /* NULL: the place is free */
    struct curl_slist *headers;
    char *body;
    char id[40];
    int tries;   /* before this one */
    int64_t due; /* again, should this process not live to see its end */
    size_t reply_bytes;
} delivery;

struct oto_notices {
    const oto_server_options *o;
    oto_store *store;
    oto_arena *a;
    CURLM *multi;
    delivery under_way[AT_ONCE];
    pthread_t thread;
    bool started;
    _Atomic bool quit;
};

/* ---- addresses ---- */

static bool is_private_v4(uint32_t a)
{
    static const struct {
        uint32_t net;
        int bits;
    } nets[] = {{0x00000000, 8},  /* this network */
                {0x0a000000, 8},  /* private */
                {0x64400000, 10}, /* carrier-grade NAT */
                {0x7f000000, 8},  /* loopback */
                {0xa9fe0000, 16}, /* link-local */
                {0xac100000, 12}, /* private */
                {0xc0000000, 24}, /* protocol assignments */
                {0xc0a80000, 16}, /* private */
                {0xc6120000, 15}, /* benchmarks */
                {0xe0000000, 4},  /* multicast */
                {0xf0000000, 4}}; /* reserved, broadcast */

    for (size_t i = 0; i < OTO_COUNT(nets); i++)
        if (a >> (32 - nets[i].bits) == nets[i].net >> (32 - nets[i].bits))
            return true;
    return false;
}

static bool is_private_v6(const uint8_t a[16])
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b},
                         local_nat64[6] = {0, 0x64, 0xff, 0x9b, 0, 1};
    static const uint8_t zero[12];
    uint32_t v4;

    memcpy(&v4, a + 12, 4);
    if (memcmp(a, mapped, 12) == 0 || memcmp(a, nat64, 12) == 0 || memcmp(a, zero, 12) == 0)
        return is_private_v4(ntohl(v4));
    if (a[0] == 0x20 && a[1] == 0x02) { /* 6to4 */
        memcpy(&v4, a + 2, 4);
        return is_private_v4(ntohl(v4));
    }
    return memcmp(a, local_nat64, 6) == 0 || (a[0] & 0xfe) == 0xfc ||
           (a[0] == 0xfe && a[1] >= 0x80) || a[0] == 0xff;
}

static bool is_private(const struct sockaddr *a)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    if (a->sa_family == AF_INET) {
        memcpy(&v4, a, sizeof v4);
        return is_private_v4(ntohl(v4.sin_addr.s_addr));
    }
    if (a->sa_family == AF_INET6) {
        memcpy(&v6, a, sizeof v6);
        return is_private_v6(v6.sin6_addr.s6_addr);
    }
    return true;
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    const oto_server_options *o = arg;

    (void)purpose;
    if (!o->allow_private_webhooks && is_private(&a->addr))
        return CURL_SOCKET_BAD;
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

/* A host that is a number says itself where it leads. */
static bool names_private(const char *host)
{
    char v6[64];
    uint8_t a[16];
    struct in_addr v4;

    if (inet_pton(AF_INET, host, &v4) == 1)
        return is_private_v4(ntohl(v4.s_addr));
    snprintf(v6, sizeof v6, "%.*s", (int)strcspn(host + (host[0] == '['), "]"),
             host + (host[0] == '['));
    if (inet_pton(AF_INET6, v6, a) == 1)
        return is_private_v6(a);
    return strcasecmp(host, "localhost") == 0;
}

int oto_notices_check(const oto_server_options *o, const char *url, oto_err *e)
{
    CURLU *u = curl_url();
    char *scheme = NULL, *host = NULL;
    int rc = 0;

    if (u == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    if (strlen(url) > MAX_URL_BYTES || curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK ||
        curl_url_get(u, CURLUPART_HOST, &host, 0) != CURLUE_OK)
        rc = oto_fail(e, OTO_E_USAGE, "not an address (http://… or https://…)");
    else if (strcasecmp(scheme, "http") != 0 && strcasecmp(scheme, "https") != 0)
        rc = oto_fail(e, OTO_E_USAGE, "only http and https");
    else if (!o->allow_private_webhooks && names_private(host))
        rc = oto_fail(e, OTO_E_USAGE, "an address of this network is not allowed");
    curl_free(scheme);
    curl_free(host);
    curl_url_cleanup(u);
    return rc;
}

/* ---- a delivery ---- */

/* text: NULL where there is none, or too much to be told of. */
static char *make_body(const oto_job *j, const char *text)
{
    const bool dead = j->state == OTO_JOB_DEAD;
    json_t *job = json_pack("{s:s, s:s, s:s, s:f, s:s}", "id", j->id, "status",
                            oto_job_state_name(j->state), "filename", j->filename, "duration",
                            j->audio_ms > 0 ? (double)j->audio_ms / 1000 : 0.0, "language",
                            j->detected_language);
    char event[40], *body;
    json_t *o;

    /* To be killed by a recording is a way to fail. */
    snprintf(event, sizeof event, "job.%s", oto_job_state_name(dead ? OTO_JOB_FAILED : j->state));
    if (text != NULL)
        json_object_set_new(job, "text", json_string(text));
    json_object_set_new(job, "error", j->error[0] != '\0' ? json_string(j->error) : json_null());
    o = json_pack("{s:s, s:o}", "event", event, "job", job);
    body = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(12));
    json_decref(o);
    return body;
}

static int sign(const char *secret, const char *timestamp, const char *body, char out[80])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    const size_t len = strlen(timestamp) + 1 + strlen(body);
    char *text = malloc(len + 1);
    const uint8_t *made;

    out[0] = '\0';
    if (text == NULL)
        return -1;
    snprintf(text, len + 1, "%s.%s", timestamp, body);
    made = HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)text, len, digest,
                &n);
    for (unsigned i = 0; made != NULL && i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    free(text);
    return made != NULL ? 0 : -1;
}

static size_t ignore(char *p, size_t size, size_t n, void *arg)
{
    delivery *d = arg;

    (void)p;
    d->reply_bytes += size * n;
    return d->reply_bytes <= MAX_REPLY_BYTES ? size * n : CURL_WRITEFUNC_ERROR;
}

static bool add_header(delivery *d, const char *line)
{
    struct curl_slist *longer = curl_slist_append(d->headers, line);

    if (longer != NULL)
        d->headers = longer;
    return longer != NULL;
}

static bool add_headers(delivery *d, const char *secret)
{
    char line[160], timestamp[32], signature[80];

    snprintf(timestamp, sizeof timestamp, "%" PRId64, oto_clock_ms() / 1000);
    snprintf(line, sizeof line, "X-Otolith-Timestamp: %s", timestamp);
    if (!add_header(d, "Content-Type: application/json") || !add_header(d, "Expect:") ||
        !add_header(d, line))
        return false;
    if (secret == NULL)
        return true;
    if (sign(secret, timestamp, d->body, signature) != 0)
        return false;
    snprintf(line, sizeof line, "X-Otolith-Signature: sha256=%s", signature);
    return add_header(d, line);
}

static void close_delivery(delivery *d)
{
    curl_easy_cleanup(d->c);
    curl_slist_free_all(d->headers);
    free(d->body);
    *d = (delivery){0};
}

/* body becomes the delivery's. False when there is no memory for it. */
static bool open_delivery(const oto_server_options *o, const oto_job *j, int tries, int64_t due,
                          char *body, delivery *d)
{
    char agent[60];

    *d = (delivery){.c = curl_easy_init(), .body = body, .tries = tries, .due = due};
    snprintf(d->id, sizeof d->id, "%s", j->id);
    snprintf(agent, sizeof agent, "otolith/%s", o->version);
    if (d->c == NULL || body == NULL || !add_headers(d, o->webhook_secret) ||
        curl_easy_setopt(d->c, CURLOPT_URL, j->webhook) != CURLE_OK ||
        curl_easy_setopt(d->c, CURLOPT_PROTOCOLS_STR, "http,https") != CURLE_OK ||
        curl_easy_setopt(d->c, CURLOPT_PROXY, "") != CURLE_OK ||
        curl_easy_setopt(d->c, CURLOPT_USERAGENT, agent) != CURLE_OK) {
        close_delivery(d);
        return false;
    }
    curl_easy_setopt(d->c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(d->c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(d->c, CURLOPT_TIMEOUT, TIMEOUT_S);
    curl_easy_setopt(d->c, CURLOPT_POSTFIELDS, d->body);
    curl_easy_setopt(d->c, CURLOPT_HTTPHEADER, d->headers);
    curl_easy_setopt(d->c, CURLOPT_WRITEFUNCTION, ignore);
    curl_easy_setopt(d->c, CURLOPT_WRITEDATA, d);
    curl_easy_setopt(d->c, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(d->c, CURLOPT_OPENSOCKETDATA, o);
    curl_easy_setopt(d->c, CURLOPT_PRIVATE, d);
    return true;
}

/* The other side has taken it (2xx), however long its answer is. */
static bool was_taken(const delivery *d, CURLcode rc)
{
    long status = 0;

    curl_easy_getinfo(d->c, CURLINFO_RESPONSE_CODE, &status);
    if ((rc == CURLE_OK || rc == CURLE_WRITE_ERROR) && status >= 200 && status <= 299)
        return true;
    oto_log(OTO_LOG_WARN, "job %s: its webhook failed: %s (%ld)%s", d->id,
            rc == CURLE_OK ? "refused" : curl_easy_strerror(rc), status,
            d->tries < (int)OTO_COUNT(pauses_ms) ? "" : "; it is given up");
    return false;
}

/* ---- the thread ---- */

static const char *text_of(struct oto_notices *n, const oto_job *j)
{
    oto_str text;

    oto_str_init(&text, n->a);
    oto_str_puts(&text, "");
    if (j->state != OTO_JOB_DONE || oto_plain_text(NULL, n->store, j, &text, NULL) != 0 ||
        text.n > MAX_TEXT_BYTES)
        return NULL;
    return text.p;
}

/* The next try is written down before this one, so that nothing is forgotten when this process is
 * killed: for a time when this one is over. Its end corrects that. */
static bool start_next(struct oto_notices *n, delivery *d)
{
    const bool in_turn = (d - n->under_way) % 4 == 0;
    const int last = (int)OTO_COUNT(pauses_ms) - 1;
    const int64_t now = oto_clock_ms(), over = now + TIMEOUT_S * 1000;
    int64_t due, next = 0;
    int tries;
    oto_job job;

    oto_arena_reset(n->a);
    if (oto_store_notice(n->store, now, in_turn, n->a, &job, &tries, &due, NULL) != 0)
        return false;
    if (tries <= last + 1) /* else one that was broken off at its last try */
        next = over + pauses_ms[OTO_MIN(tries, last)];
    if (oto_store_noticed(n->store, job.id, due, next, tries + 1, NULL) != 0)
        return false;
    if (!open_delivery(n->o, &job, tries, next, make_body(&job, text_of(n, &job)), d))
        return false;
    if (curl_multi_add_handle(n->multi, d->c) != CURLM_OK)
        close_delivery(d);
    return true;
}

/* True when every place is taken, so that more may be due. */
static bool start_due(struct oto_notices *n)
{
    for (int i = 0; i < AT_ONCE; i++)
        if (n->under_way[i].c == NULL && !start_next(n, &n->under_way[i]))
            return false;
    return true;
}

/* A job that ended once more in the meantime is due anew, whatever became of this. */
static void end_one(struct oto_notices *n, delivery *d, CURLcode rc)
{
    const bool ends = was_taken(d, rc) || d->tries >= (int)OTO_COUNT(pauses_ms);
    const int64_t next = ends ? 0 : oto_clock_ms() + pauses_ms[d->tries];
    oto_err e = {0};
    int noted = 0;

    if (d->due != 0) /* else it is given up already */
        noted = oto_store_noticed(n->store, d->id, d->due, next, d->tries + 1, &e);
    if (noted != 0 && noted != OTO_E_NOT_FOUND)
        oto_log(OTO_LOG_WARN, "job %s: its webhook: %s", d->id, e.text);
    curl_multi_remove_handle(n->multi, d->c);
    close_delivery(d);
}

/* How many places have become free. */
static int end_those_done(struct oto_notices *n)
{
    CURLMsg *m;
    int left, ended = 0;

    while ((m = curl_multi_info_read(n->multi, &left)) != NULL) {
        delivery *d = NULL;

        if (m->msg == CURLMSG_DONE &&
            curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&d) == CURLE_OK)
            end_one(n, d, m->data.result);
        ended++;
    }
    return ended;
}

static void *notices_main(void *arg)
{
    struct oto_notices *n = arg;
    int64_t look_at_ms = 0;
    bool full = false;
    int running;

    while (!n->quit) {
        if (oto_now_ms() >= look_at_ms) {
            full = start_due(n);
            look_at_ms = oto_now_ms() + POLL_MS;
        }
        curl_multi_perform(n->multi, &running);
        if (end_those_done(n) > 0 && full)
            look_at_ms = 0;
        curl_multi_poll(n->multi, NULL, 0, (int)OTO_MAX(look_at_ms - oto_now_ms(), 0), NULL);
    }
    return NULL;
}

int oto_notices_new(const oto_server_options *o, struct oto_notices **out, oto_err *e)
{
    struct oto_notices *n = calloc(1, sizeof *n);
    sigset_t all, old;
    int rc;

    if (n == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    n->o = o;
    n->multi = curl_multi_init();
    if (n->multi == NULL)
        rc = oto_fail(e, OTO_E_LIMIT, "out of memory");
    else if ((rc = oto_store_open(o->store, &n->store, e)) == 0)
        rc = oto_arena_new("notices", 8 << 20, &n->a, e);
    if (rc == 0) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        n->started = pthread_create(&n->thread, NULL, notices_main, n) == 0;
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        if (!n->started)
            rc = oto_fail(e, OTO_E_LIMIT, "cannot start a thread");
    }
    if (rc != 0) {
        oto_notices_free(n);
        return rc;
    }
    *out = n;
    return 0;
}

/* What is under way is broken off; it is due again after its pause. */
void oto_notices_free(struct oto_notices *n)
{
    if (n == NULL)
        return;
    n->quit = true;
    if (n->started) {
        curl_multi_wakeup(n->multi);
        pthread_join(n->thread, NULL);
    }
    for (int i = 0; i < AT_ONCE; i++)
        if (n->under_way[i].c != NULL) {
            curl_multi_remove_handle(n->multi, n->under_way[i].c);
            close_delivery(&n->under_way[i]);
        }
    curl_multi_cleanup(n->multi);
    oto_store_close(n->store);
    oto_arena_free(n->a);
    free(n);
}
