/* English: number words to digits. Words are joined by spaces or a hyphen; anything else ends a
 * number. A run of number words is read whole or not at all ("twenty thirty forty" stays). One to
 * nine stay words unless a unit, a sign or a name beside them says that they are a quantity ("five
 * percent", "january fifth"); "second", "no one" and "one of them" are never touched. */
#include "text/itn_en.h"

#include <ctype.h>

static bool is_any(const en *x, size_t i, const char *const *list)
{
    for (; *list != NULL; list++)
        if (is(x, i, *list))
            return true;
    return false;
}

/* Words [i, end) become what is written to x->out after this. */
static size_t replace(en *x, size_t i, size_t end)
{
    oto_str_put(x->out, x->text + x->done, x->w[i].from - x->done);
    x->done = x->w[end - 1].to;
    return end;
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
    if (!oto_en_below_hundred(x, i + 1, end, &rest) || rest < 10 || goes_on(x, *end))
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
    if (!oto_en_cardinal(x, i, &n) || n.value < 1000 || n.value > 2999 || goes_on(x, n.end))
        return false;
    *end = n.end;
    *year = n.value;
    return true;
}

static bool counted(const en *x, size_t end)
{
    size_t after;

    return end < x->n && x->w[end].joined &&
           (oto_en_phrase(x, ITN_MEASURE, end, &after) != NULL ||
            oto_en_phrase(x, ITN_UNIT, end, &after) != NULL);
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
    if (century >= 13 && century <= 20 && is_next(x, i + 1, "hundreds") && i > 0 &&
        is(x, i - 1, "the")) {
        replace(x, i, i + 2);
        oto_str_printf(x->out, "%lld00s", (long long)century);
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
    if (x->w[i].card < 1 || !oto_en_cardinal(x, i, &n))
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
    const bool led =
        i > 0 && x->w[i].joined && oto_en_phrase(x, ITN_AFTER, i - 1, &(size_t){0}) != NULL;
    size_t end, after;
    int64_t day = 0, y = 0;
    bool th = false;

    if (i + 1 >= x->n || !x->w[i + 1].joined)
        return 0;
    if (ordinal(x, i + 1, &end, &day) && day <= 31)
        th = true;
    else if (year_at(x, i + 1, &end, &y))
        day = 0;
    else if (!oto_en_below_hundred(x, i + 1, &end, &day) || day > 31)
        return 0;
    if (y == 0 && is_near(x, end) && year_at(x, end, &after, &y))
        end = after;
    if (y == 0 && (goes_on(x, end) || counted(x, end)))
        return 0;
    if (y == 0 && ((verb && !led && (!th || day < 4)) || (!th && !(i > 0 && is(x, i - 1, "on")))))
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
    month = oto_en_phrase(x, ITN_MONTH, end + 1, &after);
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
    /* "a tenth of a second", "an eleventh of it" */
    if (i > 0 && x->w[i].joined && (is(x, i - 1, "a") || is(x, i - 1, "an")) &&
        is_next(x, end, "of"))
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

/* "which one am i", but not "at nine am i left" and "nine a.m. i left". */
static bool is_am_i(const en *x, size_t hour, size_t end)
{
    return is_next(x, end, "am") && is_next(x, end + 1, "i") &&
           !(hour > 0 && x->w[hour].joined &&
             oto_en_phrase(x, ITN_DAYPART, hour - 1, &(size_t){0}) != NULL);
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
    return oto_en_below_hundred(x, i, end, m) && *m >= 10 && *m < 60;
}

static size_t clock_time(en *x, size_t i)
{
    /* "after two thirty day trials"; no measures, for behind a year they may be anything */
    static const char *const spans[] = {"second", "day",  "week",  "month", "mile",
                                        "foot",   "inch", "pound", NULL};
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
    half = m < 0 && is_am_i(x, i, end) ? 0 : half_day(x, end, &to);
    if (half == 0 &&
        (m < 0 || i == 0 || oto_en_phrase(x, ITN_DAYPART, i - 1, &(size_t){0}) == NULL ||
         !x->w[i].joined || counted(x, end) || (x->w[end].joined && is_any(x, end, spans))))
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
    static const char *const kinds[] = {
        "party",  "parties", "person", "world", "grader", "graders", "grade",      "floor",
        "street", "day",     "time",   "year",  "place",  "round",   "generation", NULL};
    const word *p = i + 1 < x->n ? &x->w[i + 1] : NULL;

    if (p == NULL || !p->joined || p->part == 0)
        return false;
    *above = x->w[i].card;
    *below = p->part;
    *end = i + 2;
    /* "one third-party library", "one third party library" */
    if (*above == 1 && *end < x->n &&
        (x->w[*end].hyphen || (x->w[*end].joined && is_any(x, *end, kinds))))
        return false;
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
    if (oto_en_cardinal(x, i, &n) && is_next(x, n.end, "and") && n.end + 1 < x->n &&
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

    if (!oto_en_any_number(x, i, &n) || n.end >= x->n || !x->w[n.end].joined)
        return 0;
    sign = oto_en_phrase(x, ITN_CURRENCY, n.end, &end);
    if (sign == NULL)
        return 0;
    if (n.whole)
        oto_en_write_number(&n, true);
    at = is_next(x, end, "and") ? end + 1 : end;
    if (n.whole && n.scale == 0 && at < x->n && x->w[at].joined && x->w[at].card >= 0 &&
        oto_en_any_number(x, at, &cents) && cents.whole && cents.value > 0 && cents.value < 100 &&
        (is_next(x, cents.end, "cents") || is_next(x, cents.end, "cent"))) {
        after = cents.end + 1;
        replace(x, i, after);
        oto_str_printf(x->out, "%s%s%s.%02lld", minus, sign->value, n.text, (long long)cents.value);
        return after;
    }
    /* "ten dollars fifty" */
    if (n.whole && n.scale == 0 && goes_on(x, end) && oto_en_any_number(x, end, &cents) &&
        cents.whole && cents.value >= 10 && cents.value < 100 && !counted(x, cents.end)) {
        replace(x, i, cents.end);
        oto_str_printf(x->out, "%s%s%s.%02lld", minus, sign->value, n.text, (long long)cents.value);
        return cents.end;
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

    if (!oto_en_any_number(x, i, &n) || n.end >= x->n || !x->w[n.end].joined || x->w[n.end].hyphen)
        return 0;
    unit = oto_en_phrase(x, ITN_UNIT, n.end, &end);
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

    if (!oto_en_any_number(x, i, &n) ||
        (!is_next(x, n.end, "to") && !is_next(x, n.end, "or") &&
         !(is_next(x, n.end, "and") && i > 0 && is(x, i - 1, "between"))) ||
        n.end + 1 >= x->n || !x->w[n.end + 1].joined || !oto_en_any_number(x, n.end + 1, &to) ||
        to.end >= x->n || !x->w[to.end].joined || x->w[to.end].hyphen ||
        oto_en_phrase(x, ITN_UNIT, to.end, &(size_t){0}) == NULL)
        return 0;
    replace(x, i, n.end);
    oto_str_puts(x->out, n.text);
    return n.end;
}

/* "five to twenty", "twenty one to seven": where one is written in digits, both are. */
static size_t span(en *x, size_t i)
{
    number n, to;

    if (!oto_en_any_number(x, i, &n) || !n.whole || !is_next(x, n.end, "to") || n.end + 1 >= x->n ||
        !x->w[n.end + 1].joined || !oto_en_any_number(x, n.end + 1, &to) || !to.whole ||
        (n.value < 10) == (to.value < 10) || n.value == 1 || to.value == 1 ||
        is_next(x, to.end, "of") || (to.end < x->n && x->w[to.end].hyphen) ||
        (to.end < x->n && x->w[to.end].joined && (x->w[to.end].ord > 0 || x->w[to.end].part > 0)))
        return 0;
    replace(x, i, to.end);
    oto_str_printf(x->out, "%s to %s", n.text, to.text);
    return to.end;
}

static bool counts_up(const char *d, size_t n)
{
    return n == 3 && d[1] == d[0] + 1 && d[2] == d[1] + 1;
}

/* Three and more digits one by one: a number that is read out. Ten are a telephone number. */
static size_t digit_run(en *x, size_t i, const char *plus)
{
    char d[MAX_DIGITS + 1];
    size_t n, end = oto_en_digits(x, i, d, &n);

    if (n >= 2 && x->w[i].card >= 0 && is_next(x, end, "dot") && is_digit_word(x, end + 1)) {
        number v = {.whole = true};

        snprintf(v.text, sizeof v.text, "%s", d);
        if (!oto_en_decimals(x, end, &v))
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

    if (!oto_en_any_number(x, i, &n))
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
    if (is_next(x, n.end, "hundreds") || is_next(x, n.end, "thousands"))
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
        if (x->w[i].card < 0 &&
            !(is(x, i, "and") && x->w[i - 1].card >= 100 && goes_on(x, i + 1)) &&
            !((is(x, i, "point") || is(x, i, "dot") || is(x, i, "oh")) && is_digit_word(x, i + 1) &&
              x->w[i + 1].joined))
            break;
    return i;
}

static size_t numeral(en *x, size_t i)
{
    size_t end;

    if (oto_en_behind_digits(x, i))
        return leave(x, i);
    if ((end = digit_run(x, i, "")) != 0 || (end = clock_time(x, i)) != 0 ||
        (end = year(x, i)) != 0 || (end = day_first(x, i)) != 0 || (end = fraction(x, i)) != 0 ||
        (end = ordinal_alone(x, i)) != 0 || (end = money(x, i, "")) != 0 ||
        (end = quantity(x, i, "")) != 0 || (end = range(x, i)) != 0 || (end = span(x, i)) != 0 ||
        (end = plain(x, i)) != 0)
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
        (i > 0 && x->w[i].joined && x->w[i - 1].card >= 0) || oto_en_behind_digits(x, i))
        return 0;
    /* The sign's own word goes with the number. */
    const word sign = x->w[i], first = x->w[k];
    x->w[k].from = sign.from;
    if ((end = money(x, k, "-")) == 0)
        end = quantity(x, k, "-");
    if (end == 0 && oto_en_any_number(x, k, &n) && (!n.whole || n.value >= 10)) {
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
    return oto_en_phrase(x, ITN_KEEP, i, end) != NULL &&
           !(x->w[*end - 1].card >= 0 && goes_on(x, *end));
}

static size_t step(en *x, size_t i)
{
    const itn_entry *month;
    size_t end = 0, after;

    /* "at nine eleven" is a time. */
    if (x->w[i].card > 0 && !oto_en_behind_digits(x, i) && (end = clock_time(x, i)) != 0)
        return end;
    if (kept(x, i, &end))
        return end;
    if (x->w[i].card >= 0)
        return x->w[i].card >= 100 ? leave(x, i) : numeral(x, i); /* hundreds of */
    if (x->w[i].ord > 0)
        end = (end = day_first(x, i)) != 0 ? end : ordinal_alone(x, i);
    else if ((month = oto_en_phrase(x, ITN_MONTH, i, &after)) != NULL)
        end = month_first(x, i, month);
    else if (is(x, i, "minus") || is(x, i, "negative"))
        end = negative(x, i);
    else if (is(x, i, "double") || is(x, i, "triple") || is(x, i, "oh"))
        end = digit_run(x, i, "");
    else if (is(x, i, "plus"))
        end = country_code(x, i);
    if (end == 0 && is(x, i, "a") && i + 1 < x->n && x->w[i + 1].joined &&
        x->w[i + 1].card >= 100 && !oto_en_behind_digits(x, i)) {
        /* "half a million dollars" */
        const bool part_of = i > 0 && (is(x, i - 1, "half") || is(x, i - 1, "of"));

        if (!part_of && (end = money(x, i, "")) == 0 && (end = quantity(x, i, "")) == 0)
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
