/* Chinese numerals: the value of a run of them, and how it is written. */
#include "text/itn_zh.h"

#include <string.h>

/* Below ten thousand: digits with falling powers, gaps as 零 or nothing. A digit at the end whose
 * power is left out counts a tenth of the last one; `above` is the power that came before. */
static bool section(const zh *z, size_t i, size_t end, uint64_t above, uint64_t *out, bool *shorter)
{
    uint64_t sum = 0, last = above;
    bool zero = false;

    for (size_t first = i; i < end;) {
        const uint32_t c = z->cp[i];
        int d = digit(c);
        uint64_t p;

        if (c == U'零') {
            if (zero || (i == first && above == 0) || i + 1 == end)
                return false;
            zero = true;
            i++;
            continue;
        }
        if (d < 0 && (c != U'十' || last == 10)) /* 十五, 一百十五 */
            return false;
        if (d >= 0)
            i++;
        else
            d = 1;
        if (i == end || power(z->cp[i]) == 0) { /* the last digit */
            if (i < end || c == U'两' || c == U'幺')
                return false;
            if (last > 10 && !zero) {
                *shorter = true;
                *out = sum + (uint64_t)d * (last / 10);
                return true;
            }
            *out = sum + (uint64_t)d;
            return true;
        }
        p = power(z->cp[i]);
        if (p > 1000 || (last != 0 && p >= last) || d == 0 || c == U'幺' || (c == U'两' && p == 10))
            return false;
        sum += (uint64_t)d * p;
        last = p;
        zero = false;
        i++;
    }
    *out = sum;
    return sum > 0;
}

/* What stands before 万 and 亿 may be 两. */
static bool is_two(const zh *z, size_t i, size_t end, uint64_t *out)
{
    *out = 2;
    return end == i + 1 && z->cp[i] == U'两';
}

/* Below 10^8: [section 万] [section]. */
static bool myriads(const zh *z, size_t i, size_t end, uint64_t above, uint64_t *out, bool *shorter)
{
    uint64_t high = 0, low = 0;
    size_t wan = i;

    while (wan < end && z->cp[wan] != U'万')
        wan++;
    if (wan == end)
        return section(z, i, end, above, out, shorter);
    if (!is_two(z, i, wan, &high) &&
        (!section(z, i, wan, above > 0 ? LAKH * 10 : 0, &high, shorter) || *shorter || high == 0))
        return false;
    if (wan + 1 < end && !section(z, wan + 1, end, 10000, &low, shorter))
        return false;
    *out = high * 10000 + low;
    return true;
}

/* The whole of cp[i..end) as a number of up to 万亿. */
static bool cardinal(const zh *z, size_t i, size_t end, uint64_t *out, bool *shorter)
{
    uint64_t high = 0, low = 0;
    size_t yi = i;

    *shorter = false;
    if (end - i > TEXT_MAX)
        return false;
    while (yi < end && z->cp[yi] != U'亿')
        yi++;
    if (yi == end)
        return myriads(z, i, end, 0, out, shorter);
    if (!is_two(z, i, yi, &high) &&
        (!myriads(z, i, yi, 0, &high, shorter) || *shorter || high == 0))
        return false;
    if (yi + 1 < end && !myriads(z, yi + 1, end, LAKH, &low, shorter))
        return false;
    *out = high * LAKH + low;
    return true;
}

/* Round numbers keep 万 and 亿: 500万, 3亿5000万; the others are digits. */
static void write_cardinal(const zh *z, size_t i, size_t end, uint64_t v, char out[80])
{
    const unsigned long long yi = v / LAKH, wan = v / 10000 % 10000;
    /* As they were given, traditional or not. */
    oto_slice w = {"万", 3}, y = {"亿", 3};

    for (; i < end; i++) {
        if (z->cp[i] == U'万')
            w.p = z->text + z->at[i];
        if (z->cp[i] == U'亿')
            y.p = z->text + z->at[i];
    }
    if (v < 10000 || v % 10000 != 0)
        snprintf(out, 80, "%llu", (unsigned long long)v);
    else if (yi == 0)
        snprintf(out, 80, "%llu%.3s", wan, w.p);
    else if (yi >= 10000 && yi % 10000 == 0 && wan == 0)
        snprintf(out, 80, "%llu%.3s%.3s", yi / 10000, w.p, y.p);
    else if (wan == 0)
        snprintf(out, 80, "%llu%.3s", yi, y.p);
    else
        snprintf(out, 80, "%llu%.3s%llu%.3s", yi, y.p, wan, w.p);
}

bool oto_zh_whole_number(const zh *z, size_t i, size_t end, number *out)
{
    if (i == end)
        return false;
    *out = (number){.end = end, .whole = true};
    if (end == i + 1 && digit(z->cp[i]) >= 0) {
        out->value = (uint64_t)digit(z->cp[i]);
        snprintf(out->text, sizeof out->text, "%d", (int)out->value);
        return z->cp[i] != U'幺';
    }
    if (power(z->cp[i]) > 10) /* 百八十, 千万 */
        return false;
    if (!cardinal(z, i, end, &out->value, &out->shorter))
        return false;
    out->big = true;
    write_cardinal(z, i, end, out->value, out->text);
    return true;
}

/* "点" and digits at i, then 万 or 亿: appended to the number. */
static bool decimals(const zh *z, size_t i, number *x)
{
    const size_t end = run_end(z, i + 1);
    size_t n = strlen(x->text), k = i + 1;

    if (z->cp[i] != U'点' || end == i + 1 || end - i > TEXT_MAX || x->shorter ||
        (x->whole && x->value >= 10000 && x->value % 10000 == 0))
        return false;
    x->text[n++] = '.';
    while (k < end && digit(z->cp[k]) >= 0 && z->cp[k] != U'两' && n + 10 < sizeof x->text)
        x->text[n++] = (char)('0' + digit(z->cp[k++]));
    if (k == i + 1)
        return false;
    x->text[n] = '\0';
    x->big = k < end;
    if (k < end && z->cp[k] == U'万')
        n += (size_t)snprintf(x->text + n, sizeof x->text - n, "%.3s", z->text + z->at[k++]);
    if (k < end && z->cp[k] == U'亿')
        snprintf(x->text + n, sizeof x->text - n, "%.3s", z->text + z->at[k++]);
    x->whole = false;
    x->end = k;
    return k == end;
}

bool oto_zh_any_number(const zh *z, size_t i, number *out)
{
    const size_t end = run_end(z, i);
    number more;

    if (!oto_zh_whole_number(z, i, end, out))
        return false;
    more = *out;
    if (z->cp[end] == U'点' && is_numeral(z->cp[end + 1])) {
        if (!decimals(z, end, &more) ||
            (z->cp[more.end] == U'点' && is_numeral(z->cp[more.end + 1])))
            return false;
        *out = more;
    }
    return z->cp[out->end] != U'几' && !is_latin(z->cp[out->end]);
}
