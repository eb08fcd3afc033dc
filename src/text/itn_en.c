/* English: number words to digits. Words are joined by spaces or a hyphen; anything else ends a
 * number. A run of number words is read whole or not at all ("twenty thirty forty" stays). One to
 * nine stay words unless a unit, a sign or a name beside them says that they are a quantity ("five
 * percent", "january fifth"); "second", "no one" and "one of them" are never touched. */
#include "text/itn.h"

#include <ctype.h>
#include <string.h>

typedef struct {
    size_t from, to;   /* in the text */
    int64_t card;      /* -1: none */
    int16_t ord, part; /* 0: none */
    bool joined;       /* only spaces or one hyphen since the word before */
    bool hyphen;       /* a hyphen it is */
} word;

typedef struct {
    const oto_itn *t;
    const char *text;
    char *low; /* in lower case */
    word *w;   /* one more than n, which is like nothing */
    size_t n;
    size_t done; /* text up to here is written */
    oto_str *out;
} en;

typedef struct {
    size_t end; /* word behind it */
    int64_t value;
    int64_t scale; /* the last word, when it is thousand or more */
    size_t words;
    bool hundred; /* ends in hundred or more */
    bool whole;   /* no decimals */
    char text[80];
} number;

#define MAX_VALUE  INT64_C(999999999999999)
#define MAX_DIGITS 40

/* ---- words ---- */

static bool is(const en *x, size_t i, const char *z)
{
    const size_t n = strlen(z);

    return i < x->n && x->w[i].to - x->w[i].from == n && memcmp(x->low + x->w[i].from, z, n) == 0;
}

static bool is_next(const en *x, size_t i, const char *z)
{
    return is(x, i, z) && x->w[i].joined;
}

static bool is_any(const en *x, size_t i, const char *const *list)
{
    for (; *list != NULL; list++)
        if (is(x, i, *list))
            return true;
    return false;
}

/* The longest entry of up to four joined words from i; the word behind it. */
static const itn_entry *phrase(const en *x, itn_kind kind, size_t i, size_t *end)
{
    const itn_entry *best = NULL;
    char buf[80];
    size_t n = 0;

    for (size_t k = i; k < x->n && k < i + 5; k++) {
        const size_t len = x->w[k].to - x->w[k].from;

        if ((k > i && !x->w[k].joined) || n + len + 1 >= sizeof buf)
            break;
        if (k > i)
            buf[n++] = ' ';
        memcpy(buf + n, x->low + x->w[k].from, len);
        n += len;
        const itn_entry *found = oto_itn_find(x->t, kind, buf, n);
        if (found != NULL) {
            best = found;
            *end = k + 1;
        }
    }
    return best;
}

/* A number goes on at i: the run before it is not whole. */
static bool goes_on(const en *x, size_t i)
{
    return i < x->n && x->w[i].joined && x->w[i].card >= 0;
}

static bool is_digit_word(const en *x, size_t i)
{
    return i < x->n &&
           ((x->w[i].card >= 0 && x->w[i].card < 10) || is(x, i, "oh") || is(x, i, "o"));
}

static char digit_of(const en *x, size_t i)
{
    return (char)('0' + (x->w[i].card > 0 ? x->w[i].card : 0));
}

/* The character before a word, spaces left out: what digits and signs stand beside is theirs. */
static bool behind_digits(const en *x, size_t i)
{
    size_t at = x->w[i].from;

    while (at > 0 && x->text[at - 1] == ' ')
        at--;
    return at > 0 && (isdigit((unsigned char)x->text[at - 1]) || x->text[at - 1] == '$' ||
                      (x->text[at - 1] == '.' && at == x->w[i].from));
}

static bool before_digits(const en *x, size_t end)
{
    size_t at = x->w[end - 1].to;

    while (x->text[at] == ' ' || x->text[at] == '-')
        at++;
    return isdigit((unsigned char)x->text[at]) != 0;
}

/* Words [i, end) become what is written to x->out after this. */
static size_t replace(en *x, size_t i, size_t end)
{
    oto_str_put(x->out, x->text + x->done, x->w[i].from - x->done);
    x->done = x->w[end - 1].to;
    return end;
}

/* ---- numbers ---- */

/* 1 … 99 in one or two words. */
static bool below_hundred(const en *x, size_t i, size_t *end, int64_t *value)
{
    const int64_t v = i < x->n ? x->w[i].card : -1;

    if (v < 1 || v > 99)
        return false;
    *value = v;
    *end = i + 1;
    if (v >= 20 && i + 1 < x->n && x->w[i + 1].joined && x->w[i + 1].card > 0 &&
        x->w[i + 1].card < 10) {
        *value += x->w[i + 1].card;
        *end = i + 2;
    }
    return true;
}

/* "and" and a number below a hundred that is no number of its own: not the one of "a hundred and
 * two hundred". */
static bool and_more(const en *x, size_t i, size_t *end, int64_t *value)
{
    return is_next(x, i, "and") && i + 1 < x->n && x->w[i + 1].joined &&
           below_hundred(x, i + 1, end, value) && !(goes_on(x, *end) && x->w[*end].card >= 100) &&
           !(x->w[*end].joined && x->w[*end].part > 0);
}

/* 1 … 9999: [1 … 99 hundred [and]] [1 … 99]; `one` when "a" stands for the first. */
static bool group(const en *x, size_t i, bool one, size_t *end, int64_t *value, bool *hundred)
{
    int64_t v = 1, more;
    size_t at = i, after;

    *hundred = false;
    if (!one && !below_hundred(x, i, &at, &v))
        return false;
    if (at < x->n && (one || x->w[at].joined) && x->w[at].card == 100) {
        v *= 100;
        at++;
        *hundred = true;
        if (and_more(x, at, &after, &more) ||
            (at < x->n && x->w[at].joined && below_hundred(x, at, &after, &more))) {
            v += more;
            at = after;
            *hundred = false;
        }
    } else if (one)
        return false;
    *end = at;
    *value = v;
    return true;
}

static void put_commas(int64_t v, char *out, size_t room)
{
    char plain[24];
    const int n = snprintf(plain, sizeof plain, "%lld", (long long)v);
    size_t at = 0;

    for (int i = 0; i < n && at + 2 < room; i++) {
        if (i > 0 && (n - i) % 3 == 0)
            out[at++] = ',';
        out[at++] = plain[i];
    }
    out[at] = '\0';
}

static const char *scale_name(int64_t scale)
{
    return scale == 1000000      ? " million"
           : scale == 1000000000 ? " billion"
           : scale > 1000000000  ? " trillion"
                                 : "";
}

/* 2008; 15,000; 3 million. Amounts of money have commas from a thousand up. */
static void write_number(number *x, bool commas)
{
    if (x->scale >= 1000000 && x->value % x->scale == 0 && x->value / x->scale < 1000)
        snprintf(x->text, sizeof x->text, "%lld%s", (long long)(x->value / x->scale),
                 scale_name(x->scale));
    else if (x->value < (commas ? 1000 : 10000))
        snprintf(x->text, sizeof x->text, "%lld", (long long)x->value);
    else
        put_commas(x->value, x->text, sizeof x->text);
}

/* Groups with falling scales, as far as they go. */
static bool cardinal(const en *x, size_t i, number *out)
{
    int64_t sum = 0, last = INT64_MAX, v, more;
    bool one = is(x, i, "a") && i + 1 < x->n && x->w[i + 1].joined;
    size_t at = i + (one ? 1 : 0), end;
    bool hundred = false;

    *out = (number){.whole = true};
    if (i < x->n && x->w[i].card == 0) {
        *out = (number){.end = i + 1, .words = 1, .whole = true, .text = "0"};
        return true;
    }
    for (;;) {
        int64_t scale = 1;

        if (one && at < x->n && x->w[at].card >= 1000) {
            v = 1;
            end = at;
        } else if (!group(x, at, one, &end, &v, &hundred))
            break;
        if (end < x->n && (one || x->w[end].joined) && x->w[end].card >= 1000)
            scale = x->w[end].card;
        one = false;
        if (scale >= last || v > MAX_VALUE / scale)
            break;
        if (scale == 1 && sum > 0 && v >= 1000)
            break;
        sum += v * scale;
        last = scale;
        at = scale > 1 ? end + 1 : end;
        out->scale = scale > 1 ? scale : 0;
        out->hundred = scale > 1 || hundred;
        if (scale == 1)
            break;
        if (and_more(x, at, &end, &more)) {
            sum += more;
            at = end;
            out->scale = 0;
            out->hundred = false;
            break;
        }
        if (at >= x->n || !x->w[at].joined)
            break;
    }
    if (sum == 0)
        return false;
    out->value = sum;
    out->end = at;
    out->words = at - i;
    write_number(out, false);
    return true;
}

/* Digit words at i, as many as there are; "double five" is two. */
static size_t digits(const en *x, size_t i, char out[MAX_DIGITS + 1], size_t *n)
{
    size_t first = i;

    *n = 0;
    while (i < x->n && (i == first || x->w[i].joined)) {
        const size_t times = is(x, i, "double") ? 2 : is(x, i, "triple") ? 3 : 1;
        const size_t at = times > 1 ? i + 1 : i;

        if (!is_digit_word(x, at) || (times > 1 && (!x->w[at].joined || x->w[at].card < 0)) ||
            *n + times > MAX_DIGITS)
            break;
        for (size_t k = 0; k < times; k++)
            out[(*n)++] = digit_of(x, at);
        i = at + 1;
    }
    /* "oh" at the end is no digit. */
    while (i > first && *n > 0 && x->w[i - 1].card < 0) {
        i--;
        (*n)--;
    }
    out[*n] = '\0';
    return i;
}

/* "point one four" at i, more of them when they are digits, and a scale. */
static bool decimals(const en *x, size_t i, number *out)
{
    char more[MAX_DIGITS + 1];
    size_t n, len = strlen(out->text), end = i;
    int points = 0;

    while ((is_next(x, end, "point") || is_next(x, end, "dot")) && end + 1 < x->n &&
           x->w[end + 1].joined) {
        const size_t after = digits(x, end + 1, more, &n);

        if (n == 0 || len + n + 16 >= sizeof out->text)
            return false;
        len += (size_t)snprintf(out->text + len, sizeof out->text - len, ".%s", more);
        end = after;
        points++;
    }
    if (points == 0)
        return false;
    if (points == 1 && end < x->n && x->w[end].joined && x->w[end].card >= 1000000) {
        snprintf(out->text + len, sizeof out->text - len, "%s", scale_name(x->w[end].card));
        end++;
    }
    out->end = end;
    out->whole = false;
    return !goes_on(x, end) && !is_next(x, end, "point") && !is_next(x, end, "dot");
}

/* "two and a half million": only where a scale or a unit follows. */
static bool and_a_half(const en *x, number *n)
{
    const size_t at = n->end;
    size_t end;

    if (!n->whole || n->value > 999 || !is_next(x, at, "and") || !is_next(x, at + 1, "a") ||
        !is_next(x, at + 2, "half") || at + 3 >= x->n || !x->w[at + 3].joined)
        return false;
    end = at + 3;
    if (x->w[end].card >= 1000000) {
        snprintf(n->text, sizeof n->text, "%lld.5%s", (long long)n->value,
                 scale_name(x->w[end].card));
        end++;
    } else if (phrase(x, ITN_UNIT, end, &(size_t){0}) != NULL)
        snprintf(n->text, sizeof n->text, "%lld.5", (long long)n->value);
    else
        return false;
    n->whole = false;
    n->end = end;
    return true;
}

/* A whole number with decimals or without, and nothing that goes on behind it. */
static bool any_number(const en *x, size_t i, number *out)
{
    if (!cardinal(x, i, out))
        return false;
    if (is_next(x, out->end, "point") && out->end + 1 < x->n && x->w[out->end + 1].joined &&
        is_digit_word(x, out->end + 1)) {
        /* "at one point one of them" */
        if (out->value == 1 && i > 0 && (is(x, i - 1, "at") || is(x, i - 1, "any")))
            return false;
        return out->value < 1000000 && decimals(x, out->end, out);
    }
    if (is_next(x, out->end, "dot") && is_digit_word(x, out->end + 1))
        return out->value < 1000 && decimals(x, out->end, out);
    if (goes_on(x, out->end) || before_digits(x, out->end))
        return false;
    and_a_half(x, out);
    return true;
}

/* ---- years and days ---- */

static bool is_pair_year(const en *x, size_t i, size_t *end, int64_t *year)
{
    const int64_t century = i < x->n ? x->w[i].card : -1;
    int64_t rest;

    if (century < 13 || century > 20 || i + 1 >= x->n || !x->w[i + 1].joined)
        return false;
    if ((is(x, i + 1, "oh") || is(x, i + 1, "o")) && i + 2 < x->n && x->w[i + 2].joined &&
        x->w[i + 2].card > 0 && x->w[i + 2].card < 10) {
        *year = century * 100 + x->w[i + 2].card;
        *end = i + 3;
        return !goes_on(x, *end);
    }
    if (!below_hundred(x, i + 1, end, &rest) || rest < 10 || goes_on(x, *end))
        return false;
    *year = century * 100 + rest;
    return true;
}

/* A year behind a month or a day. */
static bool year_at(const en *x, size_t i, size_t *end, int64_t *year)
{
    number n;

    if (is_pair_year(x, i, end, year))
        return true;
    if (!cardinal(x, i, &n) || n.value < 1000 || n.value > 2999 || goes_on(x, n.end))
        return false;
    *end = n.end;
    *year = n.value;
    return true;
}

static bool counted(const en *x, size_t end)
{
    size_t after;

    return end < x->n && x->w[end].joined &&
           (phrase(x, ITN_MEASURE, end, &after) != NULL ||
            phrase(x, ITN_UNIT, end, &after) != NULL);
}

static size_t year(en *x, size_t i)
{
    static const char *const before[] = {"in", "since",  "year",  "by",     "until", "from",
                                         "of", "before", "after", "around", "circa", NULL};
    static const char *const decades[] = {"twenties", "thirties",  "forties",  "fifties",
                                          "sixties",  "seventies", "eighties", "nineties"};
    const int64_t century = x->w[i].card;
    size_t end;
    int64_t v;

    if (century >= 17 && century <= 20 && i + 1 < x->n && x->w[i + 1].joined)
        for (size_t k = 0; k < OTO_COUNT(decades); k++)
            if (is(x, i + 1, decades[k])) {
                replace(x, i, i + 2);
                oto_str_printf(x->out, "%lld%zu0s", (long long)century, k + 2);
                return i + 2;
            }
    if (!is_pair_year(x, i, &end, &v) || counted(x, end) ||
        (century < 17 && !(i > 0 && is_any(x, i - 1, before))))
        return 0;
    replace(x, i, end);
    oto_str_printf(x->out, "%lld", (long long)v);
    return end;
}

static const char *suffix(int64_t v)
{
    const int64_t tens = v / 10 % 10, ones = v % 10;

    return tens == 1 ? "th" : ones == 1 ? "st" : ones == 2 ? "nd" : ones == 3 ? "rd" : "th";
}

/* "twenty first", "one hundred and fifth", "tenth". */
static bool ordinal(const en *x, size_t i, size_t *end, int64_t *value)
{
    number n;
    size_t at;

    if (i >= x->n)
        return false;
    if (x->w[i].ord > 0 && x->w[i].ord < 100) {
        *value = x->w[i].ord;
        *end = i + 1;
        return true;
    }
    if (x->w[i].card < 1 || !cardinal(x, i, &n))
        return false;
    at = n.end;
    if (n.hundred && is_next(x, at, "and"))
        at++;
    if (n.hundred && at < x->n && x->w[at].joined && x->w[at].card >= 20 && x->w[at].card < 100) {
        n.value += x->w[at].card; /* one hundred and twenty first */
        n.hundred = false;
        at++;
    }
    if (at >= x->n || !x->w[at].joined || x->w[at].ord < 1 || x->w[at].ord >= 100)
        return false;
    if (!n.hundred && (x->w[at].ord >= 10 || n.value % 10 != 0 || n.value % 100 < 20))
        return false;
    *value = n.value + x->w[at].ord;
    *end = at + 1;
    return true;
}

static void put_month(en *x, size_t i, const itn_entry *month)
{
    if (isupper((unsigned char)x->text[x->w[i].from]))
        oto_str_put(x->out, x->text + x->w[i].from, x->w[i].to - x->w[i].from);
    else
        oto_str_puts(x->out, month->value);
}

/* Only spaces, or a comma and spaces, before word i. */
static bool is_near(const en *x, size_t i)
{
    size_t at;

    if (i >= x->n || i == 0)
        return false;
    at = x->w[i - 1].to;
    at += x->text[at] == ',';
    return x->w[i].joined || (x->text[at] == ' ' && at + 1 == x->w[i].from);
}

/* "january fifth [twenty twenty four]", "january five nineteen eighty", "january twenty twenty" */
static size_t month_first(en *x, size_t i, const itn_entry *month)
{
    const bool verb = is(x, i, "may") || is(x, i, "march");
    const bool led = i > 0 && x->w[i].joined && phrase(x, ITN_AFTER, i - 1, &(size_t){0}) != NULL;
    size_t end, after;
    int64_t day = 0, y = 0;
    bool th = false;

    if (i + 1 >= x->n || !x->w[i + 1].joined)
        return 0;
    if (ordinal(x, i + 1, &end, &day) && day <= 31)
        th = true;
    else if (year_at(x, i + 1, &end, &y))
        day = 0;
    else if (!below_hundred(x, i + 1, &end, &day) || day > 31)
        return 0;
    if (y == 0 && is_near(x, end) && year_at(x, end, &after, &y))
        end = after;
    if (y == 0 && (goes_on(x, end) || counted(x, end)))
        return 0;
    if (y == 0 && ((verb && !led) || (!th && !(i > 0 && is(x, i - 1, "on")))))
        return 0;
    replace(x, i, end);
    put_month(x, i, month);
    if (day > 0)
        oto_str_printf(x->out, " %lld%s", (long long)day, th ? suffix(day) : "");
    if (y > 0)
        oto_str_printf(x->out, "%s %lld", day > 0 ? "," : "", (long long)y);
    return end;
}

/* "fifth of january [twenty twenty four]" */
static size_t day_first(en *x, size_t i)
{
    const itn_entry *month;
    size_t end, after;
    int64_t day, y = 0;

    if (!ordinal(x, i, &end, &day) || day > 31 || !is_next(x, end, "of") || end + 1 >= x->n ||
        !x->w[end + 1].joined)
        return 0;
    month = phrase(x, ITN_MONTH, end + 1, &after);
    if (month == NULL)
        return 0;
    end = after;
    if (is_near(x, end) && year_at(x, end, &after, &y))
        after = after + 0;
    else
        y = 0;
    replace(x, i, y > 0 ? after : end);
    oto_str_printf(x->out, "%lld%s of ", (long long)day, suffix(day));
    put_month(x, end - 1, month);
    if (y > 0)
        oto_str_printf(x->out, " %lld", (long long)y);
    return y > 0 ? after : end;
}

static size_t ordinal_alone(en *x, size_t i)
{
    static const char *const behind[] = {"of",     "century",  "floor",       "street", "amendment",
                                         "avenue", "birthday", "anniversary", NULL};
    size_t end;
    int64_t v;

    if (!ordinal(x, i, &end, &v) || v < 10 || goes_on(x, end))
        return 0;
    /* thirty second: a clip of thirty seconds, unless it is said to be one of many */
    if (x->w[end - 1].ord == 2 && !(i > 0 && is(x, i - 1, "the")) && !is_any(x, end, behind))
        return 0;
    replace(x, i, end);
    oto_str_printf(x->out, "%lld%s", (long long)v, suffix(v));
    return end;
}

/* ---- times ---- */

/* "a m", "am", "a.m." behind word i - 1: 'a' or 'p', and the offset behind it. */
static char half_day(const en *x, size_t i, size_t *to)
{
    const char *p = x->low + x->w[i - 1].to;
    char c;

    while (*p == ' ')
        p++;
    c = *p;
    if (p == x->low + x->w[i - 1].to || (c != 'a' && c != 'p'))
        return 0;
    p++;
    p += *p == '.';
    p += *p == ' ';
    if (*p != 'm' || isalpha((unsigned char)p[1]) || p[1] == '\'')
        return 0;
    p++;
    p += *p == '.';
    *to = (size_t)(p - x->low);
    return c;
}

static bool minute(const en *x, size_t i, size_t *end, int64_t *m)
{
    if (i >= x->n || !x->w[i].joined)
        return false;
    if ((is(x, i, "oh") || is(x, i, "o")) && i + 1 < x->n && x->w[i + 1].joined &&
        x->w[i + 1].card > 0 && x->w[i + 1].card < 10) {
        *m = x->w[i + 1].card;
        *end = i + 2;
        return true;
    }
    return below_hundred(x, i, end, m) && *m >= 10 && *m < 60;
}

static size_t clock_time(en *x, size_t i)
{
    const int64_t hour = x->w[i].card;
    int64_t m = -1;
    size_t end = i + 1, to;
    char half;

    if (hour < 1 || hour > 12)
        return 0;
    if (is_next(x, end, "o'clock")) {
        replace(x, i, end);
        oto_str_printf(x->out, "%lld", (long long)hour);
        return end;
    }
    if (!minute(x, end, &end, &m))
        m = -1;
    if (goes_on(x, end))
        return 0;
    half = half_day(x, end, &to);
    if (half == 0 && (m < 0 || i == 0 || phrase(x, ITN_DAYPART, i - 1, &(size_t){0}) == NULL ||
                      !x->w[i].joined || counted(x, end)))
        return 0;
    replace(x, i, end);
    oto_str_printf(x->out, "%lld", (long long)hour);
    if (m >= 0)
        oto_str_printf(x->out, ":%02lld", (long long)m);
    if (half == 0)
        return end;
    oto_str_printf(x->out, " %c.m.", half);
    x->done = to;
    while (end < x->n && x->w[end].from < to)
        end++;
    return end;
}

/* "half past three", "a quarter to four" */
static size_t past(en *x, size_t i)
{
    const size_t k = is(x, i, "a") ? i + 1 : i;
    const bool half = is(x, k, "half");
    int64_t hour, m;

    if ((k != i && !x->w[k].joined) || (!half && !is(x, k, "quarter")) || k + 2 >= x->n ||
        !x->w[k + 1].joined || !x->w[k + 2].joined)
        return 0;
    hour = x->w[k + 2].card;
    if (hour < 1 || hour > 12 || goes_on(x, k + 3) || counted(x, k + 3))
        return 0;
    if (is(x, k + 1, "past"))
        m = half ? 30 : 15;
    else if (is(x, k + 1, "to") && !half) {
        m = 45;
        hour = hour == 1 ? 12 : hour - 1;
    } else
        return 0;
    replace(x, i, k + 3);
    oto_str_printf(x->out, "%lld:%02lld", (long long)hour, (long long)m);
    return k + 3;
}

/* ---- quantities ---- */

static int64_t gcd(int64_t a, int64_t b)
{
    return b == 0 ? a : gcd(b, a % b);
}

/* "two thirds" at i. */
static bool is_fraction(const en *x, size_t i, size_t *end, int64_t *above, int64_t *below)
{
    const word *p = i + 1 < x->n ? &x->w[i + 1] : NULL;

    if (p == NULL || !p->joined || p->part == 0)
        return false;
    *above = x->w[i].card;
    *below = p->part;
    *end = i + 2;
    return *above >= 1 && *above < *below && gcd(*above, *below) == 1 &&
           (x->low[p->to - 1] == 's') == (*above > 1);
}

static size_t fraction(en *x, size_t i)
{
    int64_t above, below;
    number n;
    size_t end;

    if (is_fraction(x, i, &end, &above, &below)) {
        replace(x, i, end);
        oto_str_printf(x->out, "%lld/%lld", (long long)above, (long long)below);
        return end;
    }
    if (cardinal(x, i, &n) && is_next(x, n.end, "and") && n.end + 1 < x->n &&
        x->w[n.end + 1].joined && is_fraction(x, n.end + 1, &end, &above, &below) &&
        !(i > 0 && is(x, i - 1, "between"))) {
        replace(x, i, end);
        oto_str_printf(x->out, "%s %lld/%lld", n.text, (long long)above, (long long)below);
        return end;
    }
    return 0;
}

/* "$23.50", "$3 million" */
static size_t money(en *x, size_t i, const char *minus)
{
    const itn_entry *sign;
    number n, cents;
    size_t end, at, after;

    if (!any_number(x, i, &n) || n.end >= x->n || !x->w[n.end].joined)
        return 0;
    sign = phrase(x, ITN_CURRENCY, n.end, &end);
    if (sign == NULL)
        return 0;
    if (n.whole)
        write_number(&n, true);
    at = is_next(x, end, "and") ? end + 1 : end;
    if (n.whole && n.scale == 0 && at < x->n && x->w[at].joined && x->w[at].card >= 0 &&
        any_number(x, at, &cents) && cents.whole && cents.value > 0 && cents.value < 100 &&
        (is_next(x, cents.end, "cents") || is_next(x, cents.end, "cent"))) {
        after = cents.end + 1;
        replace(x, i, after);
        oto_str_printf(x->out, "%s%s%s.%02lld", minus, sign->value, n.text, (long long)cents.value);
        return after;
    }
    replace(x, i, end);
    oto_str_printf(x->out, "%s%s%s", minus, sign->value, n.text);
    return end;
}

/* A number with its unit; with `minus` before it, or degrees. */
static size_t quantity(en *x, size_t i, const char *minus)
{
    const itn_entry *unit;
    number n;
    size_t end;

    if (!any_number(x, i, &n) || n.end >= x->n || !x->w[n.end].joined || x->w[n.end].hyphen)
        return 0;
    unit = phrase(x, ITN_UNIT, n.end, &end);
    if (unit == NULL) {
        if (minus[0] == '\0' || !is(x, n.end, "degrees"))
            return 0;
        replace(x, i, n.end);
        oto_str_printf(x->out, "%s%s", minus, n.text);
        return n.end;
    }
    replace(x, i, end);
    oto_str_printf(x->out, "%s%s%s%s", minus, n.text, unit->value[0] == '%' ? "" : " ",
                   unit->value);
    return end;
}

/* "five to ten percent": the first number is one too. */
static size_t range(en *x, size_t i)
{
    number n, to;

    if (!any_number(x, i, &n) || (!is_next(x, n.end, "to") && !is_next(x, n.end, "or")) ||
        n.end + 1 >= x->n || !x->w[n.end + 1].joined || !any_number(x, n.end + 1, &to) ||
        to.end >= x->n || !x->w[to.end].joined || x->w[to.end].hyphen ||
        phrase(x, ITN_UNIT, to.end, &(size_t){0}) == NULL)
        return 0;
    replace(x, i, n.end);
    oto_str_puts(x->out, n.text);
    return n.end;
}

static bool counts_up(const char *d, size_t n)
{
    return n == 3 && d[1] == d[0] + 1 && d[2] == d[1] + 1;
}

/* Three and more digits one by one: a number that is read out. Ten are a telephone number. */
static size_t digit_run(en *x, size_t i, const char *plus)
{
    char d[MAX_DIGITS + 1];
    size_t n, end = digits(x, i, d, &n);

    if (n >= 2 && x->w[i].card >= 0 && is_next(x, end, "dot") && is_digit_word(x, end + 1)) {
        number v = {.whole = true};

        snprintf(v.text, sizeof v.text, "%s", d);
        if (!decimals(x, end, &v))
            return 0;
        replace(x, i, v.end);
        oto_str_puts(x->out, v.text);
        return v.end;
    }
    if (n < 3 || goes_on(x, end) || is_next(x, end, "point") || counts_up(d, n) ||
        (x->w[i].card < 0 && !is(x, i, "double") && !is(x, i, "triple") && n < 7) ||
        (plus[0] != '\0' && n < 8) || (n == MAX_DIGITS && is_digit_word(x, end)))
        return 0;
    if (end < x->n && x->w[end].joined && (x->w[end].ord > 0 || x->w[end].part > 0) &&
        x->w[end - 1].card >= 0)
        return 0;
    replace(x, i, end);
    if (n == 10 && d[0] >= '2' && plus[0] == '\0')
        oto_str_printf(x->out, "%.3s-%.3s-%s", d, d + 3, d + 6);
    else if (n == 11 && d[0] == '1' && plus[0] == '\0')
        oto_str_printf(x->out, "1-%.3s-%.3s-%s", d + 1, d + 4, d + 7);
    else
        oto_str_printf(x->out, "%s%s", plus, d);
    return end;
}

static size_t plain(en *x, size_t i)
{
    number n;

    if (!any_number(x, i, &n))
        return 0;
    if (n.whole && (n.value < 10 || (is(x, i, "a") && n.words == 2)))
        return 0;
    /* "twenty-something" */
    if (n.end < x->n && x->w[n.end].hyphen &&
        (is(x, n.end, "something") || is(x, n.end, "odd") || is(x, n.end, "ish")))
        return 0;
    /* "ten fifth", "twenty fifths" */
    if (n.end < x->n && x->w[n.end].joined && (x->w[n.end].ord > 0 || x->w[n.end].part > 0))
        return 0;
    replace(x, i, n.end);
    oto_str_puts(x->out, n.text);
    return n.end;
}

/* ---- one word after the other ---- */

/* Past the words that belong to a run that is no number. */
static size_t leave(const en *x, size_t i)
{
    for (i++; i < x->n && x->w[i].joined; i++)
        if (x->w[i].card < 0 && !((is(x, i, "point") || is(x, i, "dot") || is(x, i, "oh")) &&
                                  is_digit_word(x, i + 1) && x->w[i + 1].joined))
            break;
    return i;
}

static size_t numeral(en *x, size_t i)
{
    size_t end;

    if (behind_digits(x, i))
        return leave(x, i);
    if ((end = digit_run(x, i, "")) != 0 || (end = clock_time(x, i)) != 0 ||
        (end = year(x, i)) != 0 || (end = day_first(x, i)) != 0 || (end = fraction(x, i)) != 0 ||
        (end = ordinal_alone(x, i)) != 0 || (end = money(x, i, "")) != 0 ||
        (end = quantity(x, i, "")) != 0 || (end = range(x, i)) != 0 || (end = plain(x, i)) != 0)
        return end;
    return leave(x, i);
}

/* "minus twenty", "negative five degrees"; not between numbers. */
static size_t negative(en *x, size_t i)
{
    const size_t k = i + 1;
    number n;
    size_t end;

    if (k >= x->n || !x->w[k].joined || x->w[k].card < 0 ||
        (i > 0 && x->w[i].joined && x->w[i - 1].card >= 0) || behind_digits(x, i))
        return 0;
    /* The sign's own word goes with the number. */
    const word sign = x->w[i], first = x->w[k];
    x->w[k].from = sign.from;
    if ((end = money(x, k, "-")) == 0)
        end = quantity(x, k, "-");
    if (end == 0 && any_number(x, k, &n) && (!n.whole || n.value >= 10)) {
        end = replace(x, k, n.end);
        oto_str_printf(x->out, "-%s", n.text);
    }
    x->w[k] = first;
    return end;
}

/* "plus four four two zero ..." */
static size_t country_code(en *x, size_t i)
{
    const size_t k = i + 1;
    size_t end;

    if (k >= x->n || !x->w[k].joined || (i > 0 && x->w[i].joined && x->w[i - 1].card >= 0))
        return 0;
    const word first = x->w[k];
    x->w[k].from = x->w[i].from;
    end = digit_run(x, k, "+");
    x->w[k] = first;
    return end;
}

static bool kept(const en *x, size_t i, size_t *end)
{
    return phrase(x, ITN_KEEP, i, end) != NULL && !(x->w[*end - 1].card >= 0 && goes_on(x, *end));
}

static size_t step(en *x, size_t i)
{
    const itn_entry *month;
    size_t end = 0, after;

    if (kept(x, i, &end))
        return end;
    if (x->w[i].card >= 0)
        return x->w[i].card >= 100 ? leave(x, i) : numeral(x, i); /* hundreds of */
    if (x->w[i].ord > 0)
        end = (end = day_first(x, i)) != 0 ? end : ordinal_alone(x, i);
    else if ((month = phrase(x, ITN_MONTH, i, &after)) != NULL)
        end = month_first(x, i, month);
    else if (is(x, i, "minus") || is(x, i, "negative"))
        end = negative(x, i);
    else if (is(x, i, "double") || is(x, i, "triple") || is(x, i, "oh"))
        end = digit_run(x, i, "");
    else if (is(x, i, "plus"))
        end = country_code(x, i);
    if (end == 0 && is(x, i, "a") && i + 1 < x->n && x->w[i + 1].joined &&
        x->w[i + 1].card >= 100 && !behind_digits(x, i)) {
        if ((end = money(x, i, "")) == 0 && (end = quantity(x, i, "")) == 0)
            end = plain(x, i);
        if (end == 0)
            end = leave(x, i + 1);
    }
    if (end == 0 && (is(x, i, "a") || is(x, i, "half") || is(x, i, "quarter")))
        end = past(x, i);
    return end != 0 ? end : i + 1;
}

static bool is_letter(char c)
{
    return isalpha((unsigned char)c) || c == '\'';
}

/* Words of ASCII letters; what stands between tells whether they are joined. */
static void cut(en *x, size_t n)
{
    size_t at = 0, last = 0;

    while (at < n) {
        word *w = &x->w[x->n];
        const itn_entry *found;
        size_t gap;

        if (!is_letter(x->text[at])) {
            at++;
            continue;
        }
        *w = (word){.from = at, .card = -1};
        while (at < n && is_letter(x->text[at]))
            at++;
        w->to = at;
        gap = w->from - last;
        if (x->n > 0) {
            size_t spaces = 0;

            while (spaces < gap && x->text[last + spaces] == ' ')
                spaces++;
            w->hyphen = gap == 1 && x->text[last] == '-';
            w->joined = (gap > 0 && spaces == gap) || w->hyphen;
        }
        last = at;
        if ((found = oto_itn_find(x->t, ITN_CARDINAL, x->low + w->from, w->to - w->from)) != NULL)
            for (const char *d = found->value; *d != '\0'; d++)
                w->card = (w->card < 0 ? 0 : w->card * 10) + (*d - '0');
        if ((found = oto_itn_find(x->t, ITN_ORDINAL, x->low + w->from, w->to - w->from)) != NULL)
            for (const char *d = found->value; *d != '\0' && w->ord < 1000; d++)
                w->ord = (int16_t)(w->ord * 10 + (*d - '0'));
        if ((found = oto_itn_find(x->t, ITN_PART, x->low + w->from, w->to - w->from)) != NULL)
            for (const char *d = found->value; *d != '\0'; d++)
                w->part = (int16_t)(w->part * 10 + (*d - '0'));
        x->n++;
    }
    x->w[x->n] = (word){.from = n, .to = n, .card = -1};
}

int oto_itn_en(const oto_itn *t, const char *text, oto_arena *a, oto_str *out, oto_err *e)
{
    const size_t n = strlen(text);
    en x = {.t = t, .text = text, .out = out};
    int rc;

    if ((rc = oto_arena_get(a, n + 1, 1, &x.low, e)) != 0 ||
        (rc = oto_arena_get(a, n / 2 + 2, sizeof *x.w, &x.w, e)) != 0)
        return rc;
    for (size_t i = 0; i <= n; i++)
        x.low[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);
    cut(&x, n);
    for (size_t i = 0; i < x.n;)
        i = step(&x, i);
    oto_str_put(out, text + x.done, n - x.done);
    return 0;
}
