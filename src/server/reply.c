/* Answers: what a handler says, kept in the exchange until the loop sends it. */
#include "server/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

void oto_reply_header(oto_exchange *x, const char *name, const char *fmt, ...)
{
    char value[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(value, sizeof value, fmt, ap);
    va_end(ap);
    for (char *p = value; *p != '\0'; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    oto_str_printf(&x->headers, "%s: %s\n", name, value);
}

const char *oto_clean(oto_arena *a, const char *text)
{
    oto_str out;

    oto_str_init(&out, a);
    oto_str_puts(&out, "");
    for (size_t left = strlen(text); left > 0;) {
        char utf8[4];
        uint32_t cp;
        const size_t n = oto_utf8_next(text, left, &cp);

        if (cp == 0xfffd)
            oto_str_put(&out, utf8, oto_utf8_put(utf8, cp));
        else
            oto_str_put(&out, text, n);
        text += n;
        left -= n;
    }
    return out.p != NULL ? out.p : "";
}

void oto_reply_text(oto_exchange *x, int status, const char *type, const char *text, size_t n)
{
    x->kind = OTO_REPLY_WHOLE;
    x->status = status;
    x->type = type;
    oto_str_clear(&x->out); /* of heartbeats, which are out already */
    x->sent = 0;
    oto_str_put(&x->out, text, n);
    if (x->out.failed)
        x->kind = OTO_REPLY_ABORT;
}

void oto_reply_json(oto_exchange *x, int status, json_t *j)
{
    char *text = j != NULL ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;

    json_decref(j);
    if (text != NULL)
        oto_reply_text(x, status, "application/json", text, strlen(text));
    else
        oto_reply_text(x, 500, "application/json", "{}", 2);
    free(text);
}

void oto_reply_redirect(oto_exchange *x, int status, const char *to)
{
    oto_reply_header(x, "location", "%s", to);
    oto_reply_text(x, status, "text/plain; charset=utf-8", "", 0);
}

void oto_reply_stream(oto_exchange *x, int status, const char *type)
{
    x->kind = OTO_REPLY_STREAM;
    x->status = status;
    x->type = type;
}

void oto_reply_event(oto_exchange *x, json_t *j)
{
    char *text = j != NULL ? json_dumps(j, JSON_COMPACT | JSON_REAL_PRECISION(12)) : NULL;

    json_decref(j);
    if (text != NULL) {
        oto_str_puts(&x->out, "data: ");
        oto_str_puts(&x->out, text);
        oto_str_puts(&x->out, "\n\n");
    }
    free(text);
}

void oto_reply_heartbeat(oto_exchange *x, int64_t every_ms, const char *heartbeat)
{
    x->heartbeat_ms = every_ms;
    x->heartbeat = heartbeat;
}

/* ---- files ---- */

static void http_date(time_t t, char out[64])
{
    struct tm tm;

    gmtime_r(&t, &tm);
    strftime(out, 64, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

/* One range of bytes (RFC 9110, 14.1.2). 0: none asked for, or several, which may be answered with
 * the whole; 1: *from, *n; -1: not satisfiable. */
static int parse_range(const char *range, int64_t size, int64_t *from, int64_t *n)
{
    char *end;
    int64_t a, b;

    if (range == NULL || strncasecmp(range, "bytes=", 6) != 0 || strchr(range, ',') != NULL)
        return 0;
    range += 6;
    if (*range == '-') {
        a = strtoll(range + 1, &end, 10);
        if (end == range + 1 || *end != '\0')
            return 0;
        if (a <= 0 || size == 0)
            return -1;
        *n = OTO_MIN(a, size);
        *from = size - *n;
        return 1;
    }
    a = strtoll(range, &end, 10);
    if (end == range || *end != '-' || a < 0)
        return 0;
    range = end + 1;
    b = *range != '\0' ? strtoll(range, &end, 10) : size - 1;
    if (*range != '\0' && (*end != '\0' || b < a))
        return 0;
    if (a >= size)
        return -1;
    *from = a;
    *n = OTO_MIN(b, size - 1) - a + 1;
    return 1;
}

int oto_reply_file(oto_exchange *x, const char *path, const char *name, oto_err *e)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    int64_t from = 0, n;
    struct stat st;
    char date[64];
    int ranged;

    if (fd < 0 || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        const int rc = fd < 0 ? oto_fail_errno(e, "%s", name)
                              : oto_fail(e, OTO_E_NOT_FOUND, "%s: not a file", name);

        if (fd >= 0)
            close(fd);
        return rc;
    }
    n = st.st_size;
    ranged = parse_range(x->range, st.st_size, &from, &n);
    http_date(st.st_mtime, date);
    oto_reply_header(x, "accept-ranges", "bytes");
    oto_reply_header(x, "last-modified", "%s", date);
    oto_reply_header(x, "etag", "\"%" PRIx64 "-%" PRIx64 "\"", (uint64_t)st.st_mtime,
                     (uint64_t)st.st_size);
    if (ranged < 0) {
        close(fd);
        oto_reply_header(x, "content-range", "bytes */%" PRId64, (int64_t)st.st_size);
        oto_reply_problem(x, 416, "range_not_satisfiable", NULL, "Range not satisfiable");
        return 0;
    }
    if (ranged > 0)
        oto_reply_header(x, "content-range", "bytes %" PRId64 "-%" PRId64 "/%" PRId64, from,
                         from + n - 1, (int64_t)st.st_size);
    oto_reply_header(x, "content-disposition", "attachment; filename=\"%s\"", name);
    x->kind = OTO_REPLY_FILE;
    x->status = ranged > 0 ? 206 : 200;
    x->type = "application/octet-stream";
    x->file_fd = fd;
    x->file_at = from;
    x->file_left = n;
    return 0;
}

/* ---- problems ---- */

static const struct {
    int status;
    const char *text;
} texts[] = {{200, "OK"},
             {202, "Accepted"},
             {204, "No Content"},
             {206, "Partial Content"},
             {307, "Temporary Redirect"},
             {400, "Bad Request"},
             {401, "Unauthorized"},
             {403, "Forbidden"},
             {404, "Not Found"},
             {405, "Method Not Allowed"},
             {408, "Request Timeout"},
             {409, "Conflict"},
             {411, "Length Required"},
             {413, "Content Too Large"},
             {415, "Unsupported Media Type"},
             {416, "Range Not Satisfiable"},
             {422, "Unprocessable Content"},
             {429, "Too Many Requests"},
             {499, "Client Closed Request"},
             {500, "Internal Server Error"},
             {503, "Service Unavailable"},
             {507, "Insufficient Storage"}};

const char *oto_status_text(int status)
{
    for (size_t i = 0; i < OTO_COUNT(texts); i++)
        if (texts[i].status == status)
            return texts[i].text;
    return "Unknown";
}

/* A problem may quote what the client sent; JSON takes nothing but UTF-8. */
static void clean(char *z)
{
    size_t n = strlen(z);

    while (n > 0) {
        uint32_t cp;
        const size_t len = oto_utf8_next(z, n, &cp);

        if (len == 1 && cp == 0xfffd)
            *z = '?';
        z += len;
        n -= len;
    }
}

static void say(oto_exchange *x, oto_problem *p)
{
    clean(p->text);
    if (p->retry_after_s > 0)
        oto_reply_header(x, "retry-after", "%d", p->retry_after_s);
    /* What will fail again is not worth a client's second try. */
    if (p->status >= 400 && p->status < 500 && p->status != 408 && p->status != 409 &&
        p->status != 429)
        oto_reply_header(x, "x-should-retry", "false");
    if (p->status == 507)
        oto_reply_header(x, "x-should-retry", "false");
    if (p->status == 401)
        oto_reply_header(x, "www-authenticate", "Bearer");
    x->protocol->fail(x, p);
}

void oto_reply_problem(oto_exchange *x, int status, const char *code, const char *param,
                       const char *fmt, ...)
{
    oto_problem p = {.status = status, .code = code, .param = param};
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(p.text, sizeof p.text, fmt, ap);
    va_end(ap);
    if (status == 503)
        p.retry_after_s = 5;
    else if (status == 429)
        p.retry_after_s = 10;
    say(x, &p);
}

/* The one table from errors to HTTP. */
void oto_problem_of(const oto_err *e, oto_problem *p)
{
    static const struct {
        int code, status;
        const char *name;
        int retry_after_s;
    } table[] = {
        {OTO_E_INPUT, 415, "unsupported_audio", 0},
        {OTO_E_NO_AUDIO, 415, "unsupported_audio", 0},
        {OTO_E_UNSUPPORTED, 415, "unsupported_audio", 0},
        {OTO_E_USAGE, 400, "invalid_value", 0},
        {OTO_E_NOT_FOUND, 404, "not_found", 0},
        {OTO_E_DENIED, 403, "permission_denied", 0},
        {OTO_E_LIMIT, 503, "overloaded", 10},
        {OTO_E_NO_SPACE, 507, "storage_full", 0},
        {OTO_E_BUSY, 503, "overloaded", 2},
        {OTO_E_UNAVAILABLE, 503, "overloaded", 5},
        {OTO_E_CANCELLED, 499, "cancelled", 0},
    };

    *p = (oto_problem){.status = 500, .code = "internal_error"};
    for (size_t i = 0; i < OTO_COUNT(table); i++)
        if (table[i].code == e->code)
            *p = (oto_problem){.status = table[i].status,
                               .code = table[i].name,
                               .retry_after_s = table[i].retry_after_s};
    snprintf(p->text, sizeof p->text, "%s", e->text);
}

void oto_reply_err(oto_exchange *x, const oto_err *e)
{
    oto_problem p;

    oto_problem_of(e, &p);
    say(x, &p);
}
