/* Webhooks: a client's address is told that its job has ended, at least once, whatever is killed in
 * between: the store remembers who has to be told.
 *
 *   POST URL   {"event":"job.done","job":{…}}
 *   X-Otolith-Timestamp: 1795440711          X-Otolith-Signature: sha256=HMAC(secret,
 * "TIMESTAMP.BODY")
 *
 * The address is a stranger's wish, so it never leads into our own network: what counts is the
 * address that is connected to, not the name, which may resolve to something else the next time. */
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

#define POLL_MS       1000
#define TIMEOUT_S     10L
#define MAX_URL_BYTES 2000

/* Pauses after each failure; then it is given up. */
static const int64_t pauses_ms[] = {5000, 30000, 120000, 600000, 3600000};

struct oto_notices {
    const oto_server_options *o;
    oto_store *store;
    oto_arena *a;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
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

static char *make_body(const oto_job *j)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:f, s:s}", "id", j->id, "state",
                          oto_job_state_name(j->state), "filename", j->filename, "duration",
                          j->audio_ms > 0 ? (double)j->audio_ms / 1000 : 0.0, "language",
                          j->detected_language);
    char event[40], *text;

    snprintf(event, sizeof event, "job.%s", oto_job_state_name(j->state));
    json_object_set_new(o, "error", j->error[0] != '\0' ? json_string(j->error) : json_null());
    o = json_pack("{s:s, s:o}", "event", event, "job", o);
    text = json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(12));
    json_decref(o);
    return text;
}

static void sign(const char *secret, const char *timestamp, const char *body, char out[80])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    unsigned n = 0;
    const size_t len = strlen(timestamp) + 1 + strlen(body);
    char *text = malloc(len + 1);

    out[0] = '\0';
    if (text == NULL)
        return;
    snprintf(text, len + 1, "%s.%s", timestamp, body);
    if (HMAC(EVP_sha256(), secret, (int)strlen(secret), (const unsigned char *)text, len, digest,
             &n) != NULL)
        for (unsigned i = 0; i < n; i++)
            snprintf(out + 2 * i, 3, "%02x", digest[i]);
    free(text);
}

static size_t ignore(char *p, size_t size, size_t n, void *arg)
{
    (void)p;
    (void)arg;
    return size * n;
}

static struct curl_slist *make_headers(const oto_server_options *o, const char *body)
{
    struct curl_slist *list = curl_slist_append(NULL, "Content-Type: application/json");
    char line[160], timestamp[32], signature[80];

    snprintf(timestamp, sizeof timestamp, "%" PRId64, oto_clock_ms() / 1000);
    snprintf(line, sizeof line, "X-Otolith-Timestamp: %s", timestamp);
    list = curl_slist_append(list, line);
    if (o->webhook_secret != NULL) {
        sign(o->webhook_secret, timestamp, body, signature);
        snprintf(line, sizeof line, "X-Otolith-Signature: sha256=%s", signature);
        list = curl_slist_append(list, line);
    }
    return list;
}

/* True when the other side has taken it (2xx). */
static bool deliver(const oto_server_options *o, const oto_job *j)
{
    char *body = make_body(j), agent[40];
    CURL *c = curl_easy_init();
    struct curl_slist *headers;
    long status = 0;
    CURLcode rc;

    if (c == NULL || body == NULL) {
        curl_easy_cleanup(c);
        free(body);
        return false;
    }
    headers = make_headers(o, body);
    snprintf(agent, sizeof agent, "otolith/%s", o->version);
    curl_easy_setopt(c, CURLOPT_URL, j->webhook);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_TIMEOUT, TIMEOUT_S);
    curl_easy_setopt(c, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(c, CURLOPT_USERAGENT, agent);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, ignore);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(c, CURLOPT_OPENSOCKETDATA, o);
    rc = curl_easy_perform(c);
    curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(c);
    free(body);
    if (rc != CURLE_OK || status < 200 || status > 299)
        oto_log(OTO_LOG_WARN, "job %s: its webhook failed: %s (%ld)", j->id,
                rc == CURLE_OK ? "refused" : curl_easy_strerror(rc), status);
    return rc == CURLE_OK && status >= 200 && status <= 299;
}

/* ---- the thread ---- */

static bool deliver_next(struct oto_notices *n)
{
    int64_t next = 0;
    int tries;
    oto_job job;

    oto_arena_reset(n->a);
    if (oto_store_notice(n->store, oto_clock_ms(), n->a, &job, &tries, NULL) != 0)
        return false;
    if (!deliver(n->o, &job)) {
        if (tries < (int)OTO_COUNT(pauses_ms))
            next = oto_clock_ms() + pauses_ms[tries];
        else
            oto_log(OTO_LOG_WARN, "job %s: its webhook is given up", job.id);
    }
    return oto_store_noticed(n->store, job.id, next, NULL) == 0;
}

static void *notices_main(void *arg)
{
    struct oto_notices *n = arg;

    pthread_mutex_lock(&n->lock);
    while (!n->quit) {
        struct timespec until;
        const int64_t at = oto_clock_ms() + POLL_MS;

        pthread_mutex_unlock(&n->lock);
        while (deliver_next(n) && !n->quit)
            ;
        pthread_mutex_lock(&n->lock);
        until = (struct timespec){at / 1000, (at % 1000) * 1000000};
        if (!n->quit)
            pthread_cond_timedwait(&n->wake, &n->lock, &until);
    }
    pthread_mutex_unlock(&n->lock);
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
    pthread_mutex_init(&n->lock, NULL);
    pthread_cond_init(&n->wake, NULL);
    if ((rc = oto_store_open(o->store, &n->store, e)) == 0)
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

void oto_notices_free(struct oto_notices *n)
{
    if (n == NULL)
        return;
    pthread_mutex_lock(&n->lock);
    n->quit = true;
    pthread_cond_signal(&n->wake);
    pthread_mutex_unlock(&n->lock);
    if (n->started)
        pthread_join(n->thread, NULL);
    oto_store_close(n->store);
    oto_arena_free(n->a);
    pthread_cond_destroy(&n->wake);
    pthread_mutex_destroy(&n->lock);
    free(n);
}
