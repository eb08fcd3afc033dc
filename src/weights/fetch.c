/* Downloads, resumed where they broke off.
 *
 * NAME.part.from beside NAME.part holds the entity tag the server gave for those bytes. The next
 * attempt asks for the rest with If-Range: a server whose file has changed, or which knows no
 * ranges, answers 200 and the part starts anew. Without a tag the part is continued only when the
 * checksum is known and so decides at the end. A network that does not answer must be noticed soon,
 * because another source stands behind it. */
#include "weights/sources.h"

#include <curl/curl.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#define MAX_BYTES     ((uint64_t)16 << 30)
#define MAX_ATTEMPTS  20 /* that brought something */
#define MAX_FRUITLESS 3
#define MAX_TAG       200

struct transfer {
    const oto_incoming *f;
    CURL *curl;
    int fd;
    uint64_t from, at,
        total;           /* asked from this byte; bytes in the part; of the whole file, 0 unknown */
    bool started;        /* the answer's first byte has come */
    char tag[MAX_TAG];   /* the answer's entity tag, with its quotes */
    char linked[65];     /* the hub's sha256 of the file behind the redirection */
    int64_t range_start; /* of Content-Range; -1 none */
    oto_err err;         /* what the callbacks met: not the network's fault */
};

/* ---- the tag file
 * --------------------------------------------------------------------------------------- */

static int tag_path(const oto_incoming *f, char out[4096])
{
    return snprintf(out, 4096, "%s/%s.part.from", f->dir, f->name) < 4096 ? 0 : -1;
}

static void save_tag(const oto_incoming *f, const char *tag)
{
    char path[4096];
    if (tag_path(f, path) != 0) {
        return;
    }
    unlink(path);
    /* a weak tag (W/"…") promises no equal bytes */
    if (tag[0] == '"' && oto_write_file(path, tag, strlen(tag), NULL) != 0) {
        unlink(path);
    }
}

static void load_tag(const oto_incoming *f, char out[MAX_TAG])
{
    char path[4096];
    int fd = tag_path(f, path) == 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t n = fd < 0 ? 0 : read(fd, out, MAX_TAG - 1);
    out[n > 0 ? n : 0] = 0;
    out[strcspn(out, "\r\n")] = 0;
    if (fd >= 0) {
        close(fd);
    }
}

static void drop_tag(const oto_incoming *f)
{
    char path[4096];
    if (tag_path(f, path) == 0) {
        unlink(path);
    }
}

/* ---- the answer
 * ----------------------------------------------------------------------------------------- */

/* The value of header NAME in a line, without white space around it; false when it is another one.
 */
static bool header(const char *line, size_t n, const char *name, char *out, size_t room)
{
    size_t k = strlen(name);
    if (n <= k || line[k] != ':' || strncasecmp(line, name, k) != 0) {
        return false;
    }
    line += k + 1;
    n -= k + 1;
    while (n && isspace((unsigned char)*line)) {
        line++;
        n--;
    }
    while (n && isspace((unsigned char)line[n - 1])) {
        n--;
    }
    snprintf(out, room, "%.*s", (int)OTO_MIN(n, room - 1), line);
    return true;
}

/* A hub's tag of a large file is its sha256; others have other lengths. */
static bool sha256_of_tag(const char *tag, char out[65])
{
    const char *hex = tag + (tag[0] == '"');
    if (strspn(hex, "0123456789abcdefABCDEF") != 64) {
        return false;
    }
    snprintf(out, 65, "%.64s", hex);
    return true;
}

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    size_t n = size * count;
    char value[MAX_TAG];
    if (n >= 5 && memcmp(line, "HTTP/", 5) == 0) { /* one answer of several, when redirected */
        t->tag[0] = 0;
        t->range_start = -1;
    } else if (header(line, n, "ETag", value, sizeof value)) {
        snprintf(t->tag, sizeof t->tag, "%s", value);
    } else if (header(line, n, "Content-Range", value, sizeof value)) {
        long long start;
        t->range_start = sscanf(value, "bytes %lld-", &start) == 1 ? start : -1;
    } else if (header(line, n, "X-Linked-Etag", value, sizeof value)) {
        sha256_of_tag(value, t->linked);
    }
    return n;
}

/* The first byte of the body: does it continue what is there, and is it the file that is wanted? */
static int on_start(struct transfer *t)
{
    const oto_incoming *f = t->f;
    long code = 0;
    curl_off_t length = -1;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &code);
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
    if (code == 206 && t->range_start != (int64_t)t->from) {
        return oto_fail(&t->err, OTO_E_UNAVAILABLE,
                        "%s: the server sent another range than asked for", f->name);
    }
    if (code != 206) {
        if (t->at && ftruncate(t->fd, 0) != 0) {
            return oto_fail_errno(&t->err, "%s/%s.part", f->dir, f->name);
        }
        t->at = 0;
    }
    save_tag(f, t->tag);
    t->total = length >= 0 ? t->at + (uint64_t)length : f->bytes;
    if (f->bytes && t->total != f->bytes) {
        return oto_fail(&t->err, OTO_E_CHECKSUM, "%s: the server has %llu bytes, %llu are expected",
                        f->name, (unsigned long long)t->total, (unsigned long long)f->bytes);
    }
    t->started = true;
    return 0;
}

static size_t on_body(char *p, size_t size, size_t count, void *arg)
{
    struct transfer *t = arg;
    size_t n = size * count;
    if (!t->started && on_start(t) != 0) {
        return 0;
    }
    if (t->at + n > (t->f->bytes ? t->f->bytes : MAX_BYTES)) {
        oto_fail(&t->err, OTO_E_CHECKSUM, "%s: the server sends more than %llu bytes", t->f->name,
                 (unsigned long long)(t->f->bytes ? t->f->bytes : MAX_BYTES));
        return 0;
    }
    if (oto_incoming_write(t->f, t->fd, p, n, &t->err) != 0) {
        return 0;
    }
    t->at += n;
    oto_incoming_progress(t->f, t->at, t->total);
    return n;
}

/* ---- one attempt
 * ------------------------------------------------------------------------------------------ */

static void set_options(struct transfer *t, const char *url, const oto_fetch_limits *l)
{
    CURL *c = t->curl;
    bool tls = strncasecmp(url, "https:", 6) == 0;
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "otolith/" OTO_VERSION);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_FAILONERROR, 1L);
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, 8L);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, tls ? "https" : "http,https");
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, l->connect_ms);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1024L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, l->stall_s);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
}

enum outcome { WHOLE, AGAIN, FROM_ZERO, GIVE_UP };

static enum outcome judge(struct transfer *t, CURLcode res, const char *url, const char *detail,
                          const oto_fetch_limits *l, oto_err *e)
{
    long code = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &code);
    if (t->err.code) {
        oto_fail(e, t->err.code, "%s", t->err.text);
        return GIVE_UP;
    }
    switch (res) {
    case CURLE_OK:
        return WHOLE;
    case CURLE_HTTP_RETURNED_ERROR:
        if (code == 416) {
            oto_fail(e, OTO_E_UNAVAILABLE, "%s: HTTP status 416", url);
            return t->from ? FROM_ZERO : GIVE_UP;
        }
        oto_fail(e, code == 404 || code == 410 ? OTO_E_NOT_FOUND : OTO_E_UNAVAILABLE,
                 "%s: HTTP status %ld", url, code);
        return code >= 500 || code == 429 ? AGAIN : GIVE_UP;
    case CURLE_OPERATION_TIMEDOUT:
        if (t->at > t->from) {
            oto_fail(e, OTO_E_UNAVAILABLE, "%s: stalled for %ld s after %llu bytes", url,
                     l->stall_s, (unsigned long long)t->at);
            return AGAIN;
        }
        oto_fail(e, OTO_E_UNAVAILABLE, "%s: no answer (%s)", url, detail);
        return GIVE_UP;
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
        oto_fail(e, OTO_E_UNAVAILABLE, "%s: broke off after %llu bytes (%s)", url,
                 (unsigned long long)t->at, detail);
        return AGAIN;
    default: /* no name, no route, bad certificate: trying again would not help */
        oto_fail(e, OTO_E_UNAVAILABLE, "%s: %s", url, detail);
        return GIVE_UP;
    }
}

static enum outcome attempt(struct transfer *t, const char *url, const oto_fetch_limits *l,
                            oto_err *e)
{
    char detail[CURL_ERROR_SIZE] = "", range[40], tag[MAX_TAG], if_range[MAX_TAG + 16];
    struct curl_slist *headers = NULL;
    curl_easy_reset(t->curl);
    set_options(t, url, l);
    curl_easy_setopt(t->curl, CURLOPT_ERRORBUFFER, detail);
    load_tag(t->f, tag);
    if (t->at && !tag[0] && !t->f->sha256) { /* nothing would tell whether the rest belongs to it */
        if (ftruncate(t->fd, 0) != 0) {
            oto_fail_errno(e, "%s/%s.part", t->f->dir, t->f->name);
            return GIVE_UP;
        }
        t->at = 0;
    }
    t->from = t->at;
    t->started = false;
    t->range_start = -1;
    if (t->from) {
        snprintf(range, sizeof range, "%llu-", (unsigned long long)t->from);
        curl_easy_setopt(t->curl, CURLOPT_RANGE, range);
        if (tag[0]) {
            snprintf(if_range, sizeof if_range, "If-Range: %s", tag);
            headers = curl_slist_append(NULL, if_range);
            curl_easy_setopt(t->curl, CURLOPT_HTTPHEADER, headers);
        }
    }
    CURLcode res = curl_easy_perform(t->curl);
    enum outcome o = judge(t, res, url, detail[0] ? detail : curl_easy_strerror(res), l, e);
    curl_slist_free_all(headers);
    return o;
}

static void pause_ms(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

/* Until the part is whole. *resumed: some of it was there before. */
static int bring(struct transfer *t, const char *url, const oto_fetch_limits *l, oto_err *e)
{
    long wait = l->retry_ms;
    int fruitless = 0;
    for (int i = 0; i < MAX_ATTEMPTS && fruitless < MAX_FRUITLESS; i++) {
        if (t->f->bytes && t->at == t->f->bytes) {
            return 0;
        }
        oto_err why = {0};
        uint64_t before = t->at;
        enum outcome o = attempt(t, url, l, &why);
        if (o == WHOLE) {
            /* an empty file has no first byte */
            return t->started || !t->at || ftruncate(t->fd, 0) == 0
                       ? 0
                       : oto_fail_errno(e, "%s", t->f->name);
        }
        oto_fail(e, why.code, "%s", why.text);
        if (o == GIVE_UP) {
            return why.code;
        }
        if (o == FROM_ZERO) {
            if (ftruncate(t->fd, 0) != 0) {
                return oto_fail_errno(e, "%s/%s.part", t->f->dir, t->f->name);
            }
            t->at = 0;
            drop_tag(t->f);
        }
        bool more = t->started && t->at > (t->at < before ? 0 : before);
        fruitless = more ? 0 : fruitless + 1;
        if (!more) {
            pause_ms(wait);
            wait *= 2;
        }
    }
    return e ? e->code : OTO_E_UNAVAILABLE;
}

int oto_fetch_url(const oto_incoming *f, const char *url, const oto_fetch_limits *l, char sha[65],
                  oto_err *e)
{
    oto_err own;
    e = e ? e : &own;
    struct transfer t = {.f = f, .fd = -1};
    curl_global_init(CURL_GLOBAL_DEFAULT);
    t.curl = curl_easy_init();
    if (!t.curl) {
        return oto_fail(e, OTO_E_LIMIT, "%s: no memory for a download", url);
    }
    int rc = 0;
    bool resumed = true;
    for (int round = 0; round < 2 && resumed; round++) {
        rc = oto_incoming_open(f, round == 0, &t.fd, &t.at, e);
        if (rc) {
            break;
        }
        if (f->bytes && t.at > f->bytes) { /* not a beginning of this file */
            if (ftruncate(t.fd, 0) != 0) {
                rc = oto_fail_errno(e, "%s/%s.part", f->dir, f->name);
                close(t.fd);
                break;
            }
            t.at = 0;
        }
        resumed = t.at > 0;
        rc = bring(&t, url, l, e);
        if (rc) {
            close(t.fd);
            if (t.at == 0 || rc == OTO_E_CHECKSUM) { /* nothing to go on from */
                oto_incoming_discard(f);
                drop_tag(f);
            }
            break;
        }
        oto_incoming want = *f;
        if (!f->sha256 && (t.linked[0] || sha256_of_tag(t.tag, t.linked))) {
            want.sha256 = t.linked;
        }
        rc = oto_incoming_finish(&want, t.fd, sha, e);
        drop_tag(f);
        if (rc != OTO_E_CHECKSUM) {
            break;
        }
        if (resumed) {
            oto_log(OTO_LOG_INFO, "%s: the continued download has a wrong checksum, starting anew",
                    f->name);
        }
    }
    curl_easy_cleanup(t.curl);
    return rc;
}
