/* Error codes, their messages, and the log line they end in. */
#include "base/base.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const struct {
    const char *text;
    oto_err_class cls;
} table[] = {{"ok", OTO_CLASS_OK},
#define X(name, cls, text) {text, OTO_CLASS_##cls},
             OTO_ERROR_LIST(X)
#undef X
};

static oto_log_level log_level = OTO_LOG_INFO;
static bool log_json;

static size_t index_of(int code)
{
    size_t i = (size_t)(code < 0 ? -(int64_t)code : code);
    return i < OTO_COUNT(table) ? i : (size_t)-OTO_E_INTERNAL;
}

oto_err_class oto_err_classify(int code)
{
    return table[index_of(code)].cls;
}

const char *oto_err_name(int code)
{
    return table[index_of(code)].text;
}

/* A message is one line whatever the names in it hold. */
static void one_line(char *s)
{
    for (; *s; s++) {
        if ((unsigned char)*s < ' ' || *s == 0x7f) {
            *s = ' ';
        }
    }
}

int oto_fail(oto_err *e, int code, const char *fmt, ...)
{
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        char text[sizeof e->text]; /* the arguments may point into e */
        vsnprintf(text, sizeof text, fmt, ap);
        va_end(ap);
        one_line(text);
        memcpy(e->text, text, sizeof text);
        e->code = code;
    }
    return code;
}

static int code_of_errno(int err)
{
    switch (err) {
    case ENOENT:
    case ENOTDIR:
        return OTO_E_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return OTO_E_DENIED;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return OTO_E_NO_SPACE;
    case ENOMEM:
    case EMFILE:
    case ENFILE:
    case EAGAIN:
        return OTO_E_LIMIT;
    default:
        return OTO_E_IO;
    }
}

int oto_fail_errno(oto_err *e, const char *fmt, ...)
{
    int err = errno;
    char text[sizeof e->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return oto_fail(e, code_of_errno(err), "%s: %s", text, strerror(err));
}

int oto_err_prefix(oto_err *e, const char *fmt, ...)
{
    if (!e) {
        return OTO_E_INTERNAL;
    }
    char text[sizeof e->text];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    char rest[sizeof e->text];
    memcpy(rest, e->text, sizeof rest);
    return oto_fail(e, e->code, "%s: %s", text, rest);
}

void oto_log_setup(oto_log_level level, bool json)
{
    log_level = level;
    log_json = json;
}

static size_t put_json_string(char *out, size_t room, const char *s)
{
    size_t n = 0;
    for (; *s && n + 8 < room; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\') {
            out[n++] = '\\';
            out[n++] = (char)c;
        } else if (c < ' ') {
            n += (size_t)snprintf(out + n, room - n, "\\u%04x", c);
        } else {
            out[n++] = (char)c;
        }
    }
    out[n] = 0;
    return n;
}

void oto_log(oto_log_level level, const char *fmt, ...)
{
    static const char *const names[] = {"error", "warning", "info", "debug"};
    if (level > log_level) {
        return;
    }
    char text[1500], line[3400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t n;
    if (log_json) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        n = (size_t)snprintf(line, sizeof line, "{\"time\":%lld.%03ld,\"level\":\"%s\",\"text\":\"",
                             (long long)now.tv_sec, now.tv_nsec / 1000000, names[level]);
        n += put_json_string(line + n, sizeof line - n - 4, text);
        n += (size_t)snprintf(line + n, sizeof line - n, "\"}\n");
    } else {
        one_line(text);
        n = (size_t)snprintf(line, sizeof line, "otolith: %s%s\n",
                             level == OTO_LOG_WARN ? "warning: " : "", text);
    }
    ssize_t done = write(STDERR_FILENO, line, n);
    (void)done; /* a log that cannot be written has nowhere to complain */
}
