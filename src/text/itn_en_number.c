/* English number words: the value of a run of them, and how it is written. */
#include "text/itn_en.h"

#include <ctype.h>

#define MAX_VALUE INT64_C(999999999999999)

/* The longest entry of up to four joined words from i; the word behind it. */
const itn_entry *oto_en_phrase(const en *x, itn_kind kind, size_t i, size_t *end)
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

/* The character before a word, spaces left out: what digits and signs stand beside is theirs. */
bool oto_en_behind_digits(const en *x, size_t i)
{
    size_t at = x->w[i].from;

    while (at > 0 && x->text[at - 1] == ' ')
        at--;
    return at > 0 && (isdigit((unsigned char)x->text[at - 1]) || x->text[at - 1] == '$' ||
                      (x->text[at - 1] == '.' && at == x->w[i].from));
}

static char digit_of(const en *x, size_t i)
{
    return (char)('0' + (x->w[i].card > 0 ? x->w[i].card : 0));
}

static bool before_digits(const en *x, size_t end)
{
    size_t at = x->w[end - 1].to;

    while (x->text[at] == ' ' || x->text[at] == '-')
        at++;
    return isdigit((unsigned char)x->text[at]) != 0;
}

/* ---- numbers ---- */

/* 1 … 99 in one or two words. */
bool oto_en_below_hundred(const en *x, size_t i, size_t *end, int64_t *value)
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

/* "and" and a number below a hundred that is no number of its own, which is one with a scale from
 * `scale` up: not the one of "a hundred and two hundred". */
static bool and_more(const en *x, size_t i, int64_t scale, size_t *end, int64_t *value)
{
    return is_next(x, i, "and") && i + 1 < x->n && x->w[i + 1].joined &&
           oto_en_below_hundred(x, i + 1, end, value) &&
           !(goes_on(x, *end) && x->w[*end].card >= 100 && (x->w[*end].card == 100 || scale > 1)) &&
           !(x->w[*end].joined && x->w[*end].part > 0);
}

/* 1 … 9999: [1 … 99 hundred [and]] [1 … 99]; `one` when "a" stands for the first. */
static bool group(const en *x, size_t i, bool one, size_t *end, int64_t *value, bool *hundred)
{
    int64_t v = 1, more;
    size_t at = i, after;

    *hundred = false;
    if (!one && !oto_en_below_hundred(x, i, &at, &v))
        return false;
    if (at < x->n && (one || x->w[at].joined) && x->w[at].card == 100) {
        v *= 100;
        at++;
        *hundred = true;
        if (and_more(x, at, 1, &after, &more) ||
            (at < x->n && x->w[at].joined && oto_en_below_hundred(x, at, &after, &more))) {
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
void oto_en_write_number(number *x, bool commas)
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
bool oto_en_cardinal(const en *x, size_t i, number *out)
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
        if (and_more(x, at, last, &end, &more)) {
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
    oto_en_write_number(out, false);
    return true;
}

/* Digit words at i, as many as there are; "double five" is two. */
size_t oto_en_digits(const en *x, size_t i, char out[MAX_DIGITS + 1], size_t *n)
{
    bool ohs = false, last_oh = false;
    size_t first = i;

    *n = 0;
    while (i < x->n && (i == first || x->w[i].joined)) {
        const size_t times = is(x, i, "double") ? 2 : is(x, i, "triple") ? 3 : 1;
        const size_t at = times > 1 ? i + 1 : i;

        if (!is_digit_word(x, at) || (times > 1 && !x->w[at].joined) || *n + times > MAX_DIGITS)
            break;
        for (size_t k = 0; k < times; k++)
            out[(*n)++] = digit_of(x, at);
        ohs = ohs || (last_oh && x->w[at].card >= 0);
        last_oh = x->w[at].card < 0;
        i = at + 1;
    }
    /* "oh" at the end is one only where it was one before: 90210. */
    while (i > first && *n > 0 && x->w[i - 1].card < 0 && !ohs) {
        i--;
        (*n)--;
    }
    out[*n] = '\0';
    return i;
}

/* "point one four" at i, more of them when they are digits, and a scale. */
bool oto_en_decimals(const en *x, size_t i, number *out)
{
    char more[MAX_DIGITS + 1];
    size_t n, len = strlen(out->text), end = i;
    int points = 0;

    while ((is_next(x, end, "point") || is_next(x, end, "dot")) && end + 1 < x->n &&
           x->w[end + 1].joined) {
        const size_t after = oto_en_digits(x, end + 1, more, &n);

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
    } else if (oto_en_phrase(x, ITN_UNIT, end, &(size_t){0}) != NULL)
        snprintf(n->text, sizeof n->text, "%lld.5", (long long)n->value);
    else
        return false;
    n->whole = false;
    n->end = end;
    return true;
}

/* A whole number with decimals or without, and nothing that goes on behind it. */
bool oto_en_any_number(const en *x, size_t i, number *out)
{
    if (!oto_en_cardinal(x, i, out))
        return false;
    if (is_next(x, out->end, "point") && out->end + 1 < x->n && x->w[out->end + 1].joined &&
        is_digit_word(x, out->end + 1)) {
        /* "at one point one of them" */
        if (out->value == 1 && i > 0 && (is(x, i - 1, "at") || is(x, i - 1, "any")))
            return false;
        return out->value < 1000000 && oto_en_decimals(x, out->end, out);
    }
    if (is_next(x, out->end, "dot") && is_digit_word(x, out->end + 1))
        return out->value < 1000 && oto_en_decimals(x, out->end, out);
    if (goes_on(x, out->end) || before_digits(x, out->end))
        return false;
    and_a_half(x, out);
    return true;
}
