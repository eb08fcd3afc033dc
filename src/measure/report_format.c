/* Words and numbers of a report in its language. */
#include "measure/report.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <time.h>

static const char *const texts[T_TEXTS][2] = {
#define X(id, en, zh) [T_##id] = {en, zh},
    OTO_REPORT_TEXTS(X)
#undef X
};

/* The texts are ours, their arguments are all strings: the table is what a format would be. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
const char *oto_say(oto_report *r, int text, ...)
{
    const char *format = texts[text][r->zh];
    va_list ap;
    char *out;
    int n;

    va_start(ap, text);
    n = vsnprintf(NULL, 0, format, ap);
    va_end(ap);
    out = n >= 0 ? oto_arena_alloc(r->a, (size_t)n + 1) : NULL;
    if (out == NULL)
        return "";
    va_start(ap, text);
    vsnprintf(out, (size_t)n + 1, format, ap);
    va_end(ap);
    return out;
}
#pragma GCC diagnostic pop

static const char *grouped(oto_report *r, double v, int digits, bool sign)
{
    char plain[64];
    oto_str s;
    size_t whole;

    if (!isfinite(v))
        return oto_say(r, T_NONE);
    snprintf(plain, sizeof plain, "%.*f", digits, fabs(v));
    whole = strcspn(plain, ".");
    oto_str_init(&s, r->a);
    /* What rounds to nothing has no sign. */
    if (strspn(plain, "0.") == strlen(plain))
        oto_str_puts(&s, sign ? "±" : "");
    else if (v < 0)
        oto_str_puts(&s, "−");
    else if (sign)
        oto_str_puts(&s, "+");
    for (size_t i = 0; i < whole; i++) {
        if (i > 0 && (whole - i) % 3 == 0)
            oto_str_puts(&s, ",");
        oto_str_put(&s, plain + i, 1);
    }
    oto_str_puts(&s, plain + whole);
    return s.p;
}

const char *oto_number(oto_report *r, double v, int digits)
{
    return grouped(r, v, digits, false);
}

const char *oto_signed(oto_report *r, double v, int digits)
{
    return grouped(r, v, digits, true);
}

const char *oto_duration(oto_report *r, double seconds)
{
    const double whole = floor(seconds + 0.5);

    if (!isfinite(seconds))
        return oto_say(r, T_NONE);
    if (seconds < 60)
        return oto_say(r, T_SECONDS, oto_number(r, seconds, 1));
    if (whole < 3600)
        return oto_say(r, T_MINUTES, oto_number(r, floor(whole / 60), 0),
                       oto_number(r, fmod(whole, 60), 0));
    return oto_say(r, T_HOURS, oto_number(r, floor(whole / 3600), 0),
                   oto_number(r, floor(fmod(whole, 3600) / 60), 0));
}

static const char *joined(oto_report *r, const char *a, const char *b, const char *c)
{
    oto_str s;

    oto_str_init(&s, r->a);
    oto_str_printf(&s, "%s%s%s", a, b, c);
    return s.p;
}

static const char *padded(oto_report *r, int v)
{
    char s[16];

    snprintf(s, sizeof s, "%02d", v);
    return oto_arena_strdup(r->a, s, strlen(s));
}

static const char *date_of(oto_report *r, const struct tm *t)
{
    char year[16], month[16], day[16];

    snprintf(year, sizeof year, "%d", t->tm_year + 1900);
    snprintf(month, sizeof month, r->zh ? "%d" : "%02d", t->tm_mon + 1);
    snprintf(day, sizeof day, r->zh ? "%d" : "%02d", t->tm_mday);
    return oto_say(r, T_DATE, year, month, day, padded(r, t->tm_hour), padded(r, t->tm_min));
}

const char *oto_from_to(oto_report *r, double from, double to)
{
    struct tm a, b;
    const time_t first = (time_t)from, last = (time_t)to;
    const char *begin, *end;

    if (!isfinite(from) || !isfinite(to) || gmtime_r(&first, &a) == NULL ||
        gmtime_r(&last, &b) == NULL)
        return oto_say(r, T_NONE);
    begin = date_of(r, &a);
    end = a.tm_year == b.tm_year && a.tm_yday == b.tm_yday
              ? oto_say(r, T_TIME_OF_DAY, padded(r, b.tm_hour), padded(r, b.tm_min))
              : date_of(r, &b);
    return joined(r, begin, oto_say(r, T_TO), end);
}

const char *oto_role(oto_report *r, const char *role)
{
    static const struct {
        const char *role;
        int text;
    } known[] = {{"all", T_ALL},
                 {"parent", T_ROLE_PARENT},
                 {"child", T_ROLE_CHILD},
                 {"process", T_ROLE_PROCESS},
                 {"supervisor", T_ROLE_SUPERVISOR},
                 {"gateway", T_ROLE_GATEWAY},
                 {"worker", T_ROLE_WORKER},
                 {"decoder", T_ROLE_DECODER},
                 {"zygote", T_ROLE_ZYGOTE}};

    for (size_t i = 0; i < OTO_COUNT(known); i++)
        if (strcmp(known[i].role, role) == 0)
            return oto_say(r, known[i].text);
    return oto_plain(r->a, role);
}

const char *oto_listed(oto_report *r, const char *const *items, int n)
{
    oto_str s;

    oto_str_init(&s, r->a);
    for (int i = 0; i < n; i++) {
        oto_str_puts(&s, i > 0 ? oto_say(r, T_COMMA) : "");
        oto_str_puts(&s, items[i]);
    }
    return s.p;
}

const char *oto_labelled(oto_report *r, int label, const char *value)
{
    oto_str s;

    oto_str_init(&s, r->a);
    /* The space is Markdown's: without it a sign before the stars leaves them as stars. */
    oto_str_printf(&s, "**%s%s** %s", oto_say(r, label), oto_say(r, T_COLON), value);
    return s.p;
}

void oto_row(oto_report *r, int n, ...)
{
    va_list ap;

    va_start(ap, n);
    for (int i = 0; i < n; i++)
        oto_document_cell(&r->d, va_arg(ap, const char *));
    va_end(ap);
}
