/* Growable text in an arena, and UTF-8. */
#include "base/base.h"

#include <string.h>

void oto_str_init(oto_str *s, oto_arena *a)
{
    *s = (oto_str){.a = a, .p = (char *)"", .n = 0, .cap = 0};
}

/* Room for n more bytes and the terminator. The newest allocation of the arena grows where it
 * stands. */
static bool reserve(oto_str *s, size_t n)
{
    if (n < s->cap - s->n) {
        return true;
    }
    size_t want = OTO_MAX(s->cap * 2, s->n + n + 1);
    want = OTO_MAX(want, 64);
    if (want <= n) {
        s->failed = true;
        return false;
    }
    char *p = oto_arena_alloc(s->a, want);
    if (!p) {
        s->failed = true;
        return false;
    }
    if (s->cap && p == s->p + ((s->cap + 63) & ~(size_t)63)) {
        s->cap = (size_t)(p - s->p) + want; /* they touch: keep both as one */
        return true;
    }
    memcpy(p, s->p, s->n);
    p[s->n] = 0;
    s->p = p;
    s->cap = want;
    return true;
}

void oto_str_put(oto_str *s, const char *p, size_t n)
{
    if (reserve(s, n)) {
        memcpy(s->p + s->n, p, n);
        s->n += n;
        s->p[s->n] = 0;
    }
}

void oto_str_puts(oto_str *s, const char *z)
{
    oto_str_put(s, z, strlen(z));
}

void oto_str_printf(oto_str *s, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n >= 0 && reserve(s, (size_t)n)) {
        vsnprintf(s->p + s->n, (size_t)n + 1, fmt, again);
        s->n += (size_t)n;
    }
    va_end(again);
}

void oto_str_clear(oto_str *s)
{
    s->n = 0;
    s->failed = false;
    if (s->cap) {
        s->p[0] = 0;
    }
}

size_t oto_utf8_next(const char *z, size_t n, uint32_t *cp)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)z;
    size_t len = p[0] < 0x80                   ? 1
                 : p[0] >= 0xf0 && p[0] < 0xf8 ? 4
                 : p[0] >= 0xe0                ? 3
                 : p[0] >= 0xc0                ? 2
                                               : 0;
    *cp = 0xFFFD;
    if (len == 1) {
        *cp = p[0];
        return 1;
    }
    if (len == 0 || p[0] >= 0xf8 || len > n) {
        return 1;
    }
    uint32_t c = p[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 1;
        }
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < least[len] || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) {
        return 1;
    }
    *cp = c;
    return len;
}

size_t oto_utf8_put(char *out, uint32_t cp)
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

size_t oto_utf8_complete(const char *z, size_t n)
{
    const unsigned char *p = (const unsigned char *)z;
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = p[n - back];
        if ((c & 0xc0) == 0x80) {
            continue;
        }
        size_t len = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : c >= 0xc0 ? 2 : 1;
        return len > back ? n - back : n;
    }
    return n;
}
