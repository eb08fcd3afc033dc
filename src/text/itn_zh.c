/* Chinese: numerals to digits, after GB/T 15835-2011 (digits for quantities, dates and times;
 * characters for approximate numbers such as 三五个 and 十几, and in fixed phrases).
 *
 * A numeral is a maximal run of the characters of digits and of 十百千万亿. It is read whole or not
 * at all: 二三十, 十七八 and 三三两两 do not parse and stay. One to nine stay characters unless
 * what stands beside them says that they are a quantity (五公里, 百分之五, 下午三点). Words around
 * numbers stay as they were spoken: 十三点五元 becomes 13.5元. */
#include "text/itn_zh.h"

#include <ctype.h>
#include <string.h>

/* ---- characters and words ---- */

static const itn_entry *longest(const zh *z, itn_kind kind, size_t i)
{
    return i < z->n ? oto_itn_longest(z->t, kind, z->fold + z->at[i], z->at[z->n] - z->at[i])
                    : NULL;
}

/* Does an entry end right before i? */
static bool stands_before(const zh *z, itn_kind kind, size_t i)
{
    for (size_t k = 1; k <= 3 && k <= i; k++)
        if (oto_itn_find(z->t, kind, z->fold + z->at[i - k], z->at[i] - z->at[i - k]) != NULL)
            return true;
    return false;
}

static bool is_at(const zh *z, size_t i, const char *word)
{
    const size_t n = strlen(word);

    return i < z->n && z->at[z->n] - z->at[i] >= n && memcmp(z->fold + z->at[i], word, n) == 0;
}

static bool is_one_of(uint32_t c, const char32_t *set)
{
    while (*set != 0 && *set != (char32_t)c)
        set++;
    return *set != 0;
}

static void copy(const zh *z, size_t from, size_t to)
{
    oto_str_put(z->out, z->text + z->at[from], z->at[to] - z->at[from]);
}

/* Only digits, and no 两. */
static bool all_digits(const zh *z, size_t i, size_t end)
{
    for (; i < end; i++)
        if (digit(z->cp[i]) < 0 || z->cp[i] == U'两')
            return false;
    return true;
}

/* Three that count up (一二三) are a list, or counting. */
static bool counts_up(const zh *z, size_t i, size_t end)
{
    return end - i == 3 && digit(z->cp[i]) > 0 && digit(z->cp[i + 1]) == digit(z->cp[i]) + 1 &&
           digit(z->cp[i + 2]) == digit(z->cp[i]) + 2;
}

static void put_digits(const zh *z, size_t i, size_t end)
{
    for (; i < end; i++)
        oto_str_printf(z->out, "%d", digit(z->cp[i]));
}

/* ---- what stands around numbers. Each writes and returns where it ended, or returns 0. ---- */

/* 百分之三十, 千分之五; a second number after 到 is a percentage too. */
static size_t percent(const zh *z, size_t i, bool negative)
{
    const char *sign = is_at(z, i, "百分之") ? "%" : is_at(z, i, "千分之") ? "‰" : NULL;
    number x, to;
    size_t end;

    if (sign == NULL)
        return 0;
    if (z->cp[i + 3] == U'百' && !is_numeral(z->cp[i + 4])) {
        oto_str_printf(z->out, "%s100%s", negative ? "-" : "", sign);
        return i + 4;
    }
    if (!oto_zh_any_number(z, i + 3, &x) || x.shorter)
        return 0;
    oto_str_printf(z->out, "%s%s%s", negative ? "-" : "", x.text, sign);
    end = x.end;
    if ((z->cp[end] == U'到' || z->cp[end] == U'至') && oto_zh_any_number(z, end + 1, &to) &&
        !to.shorter && longest(z, ITN_UNIT, to.end) == NULL &&
        longest(z, ITN_MEASURE, to.end) == NULL) {
        copy(z, end, end + 1);
        oto_str_printf(z->out, "%s%s", to.text, sign);
        end = to.end;
    }
    return end;
}

/* 三分之二, but not 三十分之前. */
static bool is_part(const zh *z, size_t i)
{
    return is_at(z, i, "分之") && is_numeral(z->cp[i + 2]);
}

/* 三分之二, 一又二分之一 */
static size_t fraction(const zh *z, size_t i)
{
    const size_t end = run_end(z, i);
    number whole = {.text = ""}, below, above;

    if (z->cp[end] == U'又') {
        const size_t next = run_end(z, end + 1);

        if (!oto_zh_whole_number(z, i, end, &whole) ||
            !oto_zh_whole_number(z, end + 1, next, &below))
            return 0;
    } else if (!oto_zh_whole_number(z, i, end, &below))
        return 0;
    if (!is_at(z, below.end, "分之") || below.value < 2 || below.shorter ||
        !oto_zh_whole_number(z, below.end + 2, run_end(z, below.end + 2), &above) ||
        above.shorter || above.value == 0 || z->cp[above.end] == U'点' || z->cp[above.end] == U'几')
        return 0;
    if (below.value == 10000) /* 万分之一 and its like are figures of speech */
        return 0;
    if (whole.text[0] != '\0') {
        oto_str_puts(z->out, whole.text);
        copy(z, whole.end, whole.end + 1);
    }
    oto_str_printf(z->out, "%s/%s", above.text, below.text);
    return above.end;
}

/* Minutes of a time: 零五, 十五; *zero for the first form. */
static bool minutes(const zh *z, size_t i, int *out, size_t *end, bool *zero)
{
    number x;

    *end = run_end(z, i);
    *zero = *end == i + 2 && z->cp[i] == U'零' && digit(z->cp[i + 1]) > 0 && z->cp[i + 1] != U'两';
    if (*zero) {
        *out = digit(z->cp[i + 1]);
        return true;
    }
    if (!oto_zh_whole_number(z, i, *end, &x) || x.value > 59)
        return false;
    *out = (int)x.value;
    return true;
}

/* 三点到五点: at its first time or its second. */
static bool is_time_span(const zh *z, size_t i, size_t end)
{
    const size_t to = run_end(z, end + 2);

    if ((z->cp[end + 1] == U'到' || z->cp[end + 1] == U'至') && to > end + 2 && z->cp[to] == U'点')
        return true;
    return i >= 3 && (z->cp[i - 1] == U'到' || z->cp[i - 1] == U'至') && z->cp[i - 2] == U'点' &&
           is_numeral(z->cp[i - 3]);
}

/* 明天早一点来, 晚一点再说: "a bit", unless the day before it makes it a part of one (今晚一点). */
static bool is_a_bit_early(const zh *z, size_t i)
{
    return !is_time_span(z, i, i + 1) && i > 0 && z->cp[i] == U'一' && z->cp[i + 1] == U'点' &&
           is_one_of(z->cp[i - 1], U"早晚") && !(i > 1 && is_one_of(z->cp[i - 2], U"今明昨当每最"));
}

/* 三点半, 三点十五分, 下午三点, 三点钟 */
static size_t clock_time(const zh *z, size_t i)
{
    const size_t end = run_end(z, i);
    const bool day = stands_before(z, ITN_DAYPART, i) || is_time_span(z, i, end);
    size_t at, after;
    number hour;
    bool zero;
    int m;

    if (z->cp[end] != U'点' || !oto_zh_whole_number(z, i, end, &hour) || hour.value > 24 ||
        hour.shorter)
        return 0;
    at = end + 1;
    if (z->cp[at] == U'半' || is_at(z, at, "一刻") || is_at(z, at, "三刻")) {
        m = z->cp[at] == U'半' ? 30 : z->cp[at] == U'一' ? 15 : 45;
        oto_str_printf(z->out, "%s:%02d", hour.text, m);
        return at + (m == 30 ? 1 : 2);
    }
    if (z->cp[at] == U'钟' || z->cp[at] == U'整') {
        oto_str_puts(z->out, hour.text);
        return end;
    }
    if (!is_numeral(z->cp[at])) {
        if (!day || z->cp[at] == U'儿' || is_a_bit_early(z, i))
            return 0;
        oto_str_puts(z->out, hour.text);
        return end;
    }
    if (!minutes(z, at, &m, &after, &zero))
        return 0;
    if (z->cp[after] == U'分' && !is_part(z, after) && !is_at(z, after, "分钟")) {
        if (m < 10 && !zero && !day) /* 八点五分 is a mark */
            return 0;
        after++;
    } else if ((zero && !day) || m < 10 + (zero ? -9 : 0))
        return 0; /* 三点零五 is 3.05, 三点五 is 3.5 */
    oto_str_printf(z->out, "%s:%02d", hour.text, m);
    if (z->cp[after - 1] == U'分' && minutes(z, after, &m, &at, &zero) && z->cp[at] == U'秒') {
        oto_str_printf(z->out, ":%02d", m);
        after = at + 1;
    }
    return after;
}

/* 九时三十分 */
static size_t hours_minutes(const zh *z, size_t i)
{
    number hour, minute;

    if (!oto_zh_whole_number(z, i, run_end(z, i), &hour) || hour.value > 24 || hour.shorter ||
        z->cp[hour.end] != U'时' ||
        !oto_zh_whole_number(z, hour.end + 1, run_end(z, hour.end + 1), &minute) ||
        minute.value > 59 || z->cp[minute.end] != U'分' || is_part(z, minute.end))
        return 0;
    oto_str_puts(z->out, hour.text);
    copy(z, hour.end, hour.end + 1);
    oto_str_puts(z->out, minute.text);
    return minute.end;
}

/* Two digits before 年 are a year unless they are next to one another: 二三年 is some years. */
static bool short_year(const zh *z, size_t i)
{
    const int a = digit(z->cp[i]), b = digit(z->cp[i + 1]);

    return all_digits(z, i, i + 2) && (a == 0 || a == 9 || (b != a + 1 && !(a == 3 && b == 5)));
}

/* A year's run: four digits, two digits or a cardinal. */
static bool year_run(const zh *z, size_t i, size_t end)
{
    number x;

    if (z->cp[end] != U'年')
        return false;
    if (end == i + 4 && all_digits(z, i, end))
        return true;
    if (end == i + 2 && short_year(z, i))
        return true;
    return oto_zh_whole_number(z, i, end, &x) && x.value >= 1000 && x.value < 10000 && !x.shorter;
}

static void put_year(const zh *z, size_t i, size_t end)
{
    number x;

    if (all_digits(z, i, end))
        put_digits(z, i, end);
    else if (oto_zh_whole_number(z, i, end, &x))
        oto_str_puts(z->out, x.text);
    copy(z, end, end + 1);
}

/* Month (and day) at i; `alone` when a month without a day may be one. */
static size_t month_day(const zh *z, size_t i, bool alone)
{
    const size_t end = run_end(z, i), at = end + 1;
    number month, day;
    bool has_day;

    if (z->cp[end] != U'月' || !oto_zh_whole_number(z, i, end, &month) || month.value < 1 ||
        month.value > 12)
        return 0;
    has_day = oto_zh_whole_number(z, at, run_end(z, at), &day) && day.value >= 1 &&
              day.value <= 31 && !day.shorter;
    if (has_day && z->cp[day.end] != U'日' && z->cp[day.end] != U'号')
        has_day = day.value >= 10 && longest(z, ITN_KEEP, at) == NULL && /* 三月十分重要 */
                  longest(z, ITN_MEASURE, day.end) == NULL &&
                  longest(z, ITN_UNIT, day.end) == NULL && !is_at(z, day.end, "几") &&
                  z->cp[day.end] != U'点' && z->cp[day.end] != U'来';
    alone = alone || is_at(z, at, "份") || is_at(z, at, "初") || is_at(z, at, "上旬") ||
            is_at(z, at, "中旬") || is_at(z, at, "下旬") || is_at(z, at, "底") ||
            is_at(z, at, "末");
    if (!has_day && !alone)
        return 0;
    oto_str_puts(z->out, month.text);
    copy(z, end, at);
    if (!has_day)
        return at;
    oto_str_puts(z->out, day.text);
    return day.end;
}

static size_t date(const zh *z, size_t i)
{
    const size_t end = run_end(z, i);
    size_t after;

    if (year_run(z, i, end)) {
        put_year(z, i, end);
        after = month_day(z, end + 1, true);
        return after != 0 ? after : end + 1;
    }
    return month_day(z, i, stands_before(z, ITN_MONTH, i));
}

/* 零零后, 九五后, 九零年代 */
static size_t generation(const zh *z, size_t i)
{
    const size_t end = run_end(z, i);

    if (end != i + 2 || !all_digits(z, i, end) || digit(z->cp[i + 1]) % 5 != 0 ||
        (z->cp[end] != U'后' && !is_at(z, end, "年代")))
        return 0;
    put_digits(z, i, end);
    return end;
}

/* Digits and points: 一九二点一六八点一点一; at least two points. */
static size_t dotted(const zh *z, size_t i)
{
    size_t end = i, k;
    int points = 0;

    for (;; end = k + 1, points++) {
        k = run_end(z, end);
        if (k == end || !all_digits(z, end, k))
            return 0;
        if (z->cp[k] != U'点' || !is_numeral(z->cp[k + 1]))
            break;
    }
    /* 一点一点 is little by little */
    if (points < 2 || z->cp[k] == U'点')
        return 0;
    for (; i < k; i++)
        if (z->cp[i] == U'点')
            oto_str_puts(z->out, ".");
        else
            put_digits(z, i, i + 1);
    return k;
}

/* What follows an amount: nothing, a stop, or a word that hangs on no numeral. */
static bool ends_amount(uint32_t c)
{
    return c == 0 || (c < 0x80 && !isalnum((int)c)) ||
           is_one_of(c, U"，。！？；：、…—）”’」』》　钱吧了的吗呢啊呀嘛每买卖就也"
                        U"到至和不是给加可能够行太还比");
}

/* The digit of 三块五 and 三块五毛, not that of 一块三明治, 一块二手表 and 一块三角形. */
static bool is_change(const zh *z, size_t after)
{
    const uint32_t c = z->cp[after];

    if (c == U'角')
        return ends_amount(z->cp[after + 1]) || is_numeral(z->cp[after + 1]);
    return c == U'毛' || ends_amount(c) || is_at(z, after, "左右");
}

/* 三千三百八十元五角八分 to 3380.58元; 三块五 to 3块5 */
static size_t money(const zh *z, size_t i)
{
    number x;
    int tenths, hundredths = -1;
    size_t at;

    if (!oto_zh_any_number(z, i, &x) || !x.whole || x.shorter ||
        (z->cp[x.end] != U'元' && z->cp[x.end] != U'块'))
        return 0;
    at = x.end + 1;
    tenths = run_end(z, at) == at + 1 ? digit(z->cp[at]) : -1;
    if (tenths < 0 || (x.value >= 10000 && x.value % 10000 == 0))
        return 0;
    if (z->cp[x.end] == U'块') {
        if (!is_change(z, at + 1) || longest(z, ITN_KEEP, at) != NULL)
            return 0;
        oto_str_puts(z->out, x.text);
        copy(z, x.end, at);
        put_digits(z, at, at + 1);
        return at + 1;
    }
    if (z->cp[at + 1] != U'角' && z->cp[at + 1] != U'毛')
        return 0;
    if (run_end(z, at + 2) == at + 3 && z->cp[at + 3] == U'分' && !is_part(z, at + 3))
        hundredths = digit(z->cp[at + 2]);
    oto_str_printf(z->out, "%s.%d", x.text, tenths);
    if (hundredths >= 0)
        oto_str_printf(z->out, "%d", hundredths);
    copy(z, x.end, x.end + 1);
    return at + 2 + (hundredths >= 0 ? 2 : 0);
}

/* 十比八; 三比二 stays. */
static size_t ratio(const zh *z, size_t i)
{
    number x, y;

    if (!oto_zh_any_number(z, i, &x) || !x.whole || x.shorter || z->cp[x.end] != U'比' ||
        !oto_zh_any_number(z, x.end + 1, &y) || !y.whole || y.shorter || (!x.big && !y.big) ||
        z->cp[y.end] == U'点')
        return 0;
    oto_str_puts(z->out, x.text);
    copy(z, x.end, x.end + 1);
    oto_str_puts(z->out, y.text);
    return y.end;
}

static void put_number(const zh *z, const number *x, bool negative)
{
    oto_str_printf(z->out, "%s%s", negative ? "-" : "", x->text);
}

/* The unit's written form, or the unit itself. */
static size_t put_unit(const zh *z, size_t i, const itn_entry *unit)
{
    size_t end = i;

    while (z->at[end] < z->at[i] + unit->n)
        end++;
    if (unit->value[0] != '\0')
        oto_str_puts(z->out, unit->value);
    else
        copy(z, i, end);
    return end;
}

/* 三百千克: the last 千 belongs to the unit. */
static bool number_before_unit(const zh *z, size_t i, number *x, const itn_entry **unit)
{
    const size_t end = run_end(z, i);

    if (oto_zh_any_number(z, i, x) && (*unit = longest(z, ITN_UNIT, x->end)) != NULL)
        return true;
    if (end < i + 2 || z->cp[end - 1] != U'千' || (*unit = longest(z, ITN_UNIT, end - 1)) == NULL)
        return false;
    if (is_at(z, end - 1, "千米") && oto_zh_whole_number(z, i, end, x)) /* 五千米 is 5000米 */
        return false;
    return oto_zh_whole_number(z, i, end - 1, x);
}

/* 五公里, 三到五公里 */
static size_t quantity(const zh *z, size_t i, bool negative)
{
    const size_t end = run_end(z, i);
    const itn_entry *unit;
    number x, y;

    if (number_before_unit(z, i, &x, &unit)) {
        if (i > 0 && !x.whole && strcmp(x.text, "1.5") == 0 &&
            is_one_of(z->cp[i - 1], U"早晚快慢")) /* 早一点五分钟 */
            return 0;
        put_number(z, &x, negative);
        return put_unit(z, x.end, unit);
    }
    if (!oto_zh_any_number(z, i, &x) || x.shorter ||
        (z->cp[x.end] != U'到' && z->cp[x.end] != U'至') || x.end < end ||
        !number_before_unit(z, x.end + 1, &y, &unit) || y.shorter)
        return 0;
    put_number(z, &x, negative);
    copy(z, x.end, x.end + 1);
    oto_str_puts(z->out, y.text);
    return put_unit(z, y.end, unit);
}

/* 有一点三个人: "a bit", and a number that begins there. */
static bool is_a_bit(const zh *z, size_t i, const number *x)
{
    const uint32_t before = i > 0 ? z->cp[i - 1] : 0;

    if (x->big || strlen(x->text) != 3)
        return false;
    if (x->text[0] == '1' && is_one_of(before, U"有早晚快慢多少大小高低好差近远这那吃喝买看说做"))
        return true;
    return is_one_of(z->cp[x->end], U"个位名人") || (z->cp[i] == U'两' && z->cp[x->end] != U'倍');
}

static size_t decimal(const zh *z, size_t i, bool negative)
{
    number x;

    if (!oto_zh_any_number(z, i, &x) || x.whole || is_a_bit(z, i, &x))
        return 0;
    put_number(z, &x, negative);
    return x.end;
}

static size_t plain(const zh *z, size_t i, bool negative)
{
    const size_t end = run_end(z, i);
    number x;

    if (z->cp[end] == U'几' || z->cp[end] == U'来' || is_latin(z->cp[end]))
        return 0;
    if (!negative && end - i >= 3 && all_digits(z, i, end) && !counts_up(z, i, end)) {
        put_digits(z, i, end);
        return end;
    }
    if (!oto_zh_whole_number(z, i, end, &x) || (!x.big && !negative))
        return 0;
    if (!x.big && (z->cp[end] != U'度' || z->cp[i] == U'零'))
        return 0;
    if (end == i + 1 && x.big && longest(z, ITN_MEASURE, end) == NULL)
        return 0;
    if (x.shorter && longest(z, ITN_MEASURE, end) != NULL)
        return 0;
    put_number(z, &x, negative);
    return end;
}

/* ---- one place after the other ---- */

/* A phrase that stays. */
static size_t kept(const zh *z, size_t i)
{
    const itn_entry *k = longest(z, ITN_KEEP, i);
    size_t end = i;

    if (k == NULL)
        return 0;
    while (z->at[end] < z->at[i] + k->n)
        end++;
    if (is_numeral(z->cp[end - 1]) && is_numeral(z->cp[end]))
        return 0;
    if (end < z->n && k->value[0] != '\0') {
        char next[8] = "";

        memcpy(next, z->fold + z->at[end], OTO_MIN(z->at[end + 1] - z->at[end], sizeof next - 1));
        if (strstr(k->value, next) != NULL)
            return 0;
    }
    copy(z, i, end);
    return end;
}

/* A run that is no number, with what hangs on it. */
static size_t leave(const zh *z, size_t i, const char32_t *links)
{
    size_t end = run_end(z, i);

    while (end < z->n && is_one_of(z->cp[end], links) && is_numeral(z->cp[end + 1]))
        end = run_end(z, end + 1);
    copy(z, i, end);
    return end;
}

/* 周五九点: the day of the week is not of the time's numeral. */
static bool is_weekday(const zh *z, size_t i)
{
    const size_t end = run_end(z, i);

    return i > 0 && end > i + 1 && z->cp[end] == U'点' && digit(z->cp[i]) >= 1 &&
           digit(z->cp[i]) <= 6 &&
           (z->cp[i - 1] == U'周' ||
            (i > 1 && (is_at(z, i - 2, "星期") || is_at(z, i - 2, "礼拜"))));
}

static size_t numeral(const zh *z, size_t i)
{
    const uint32_t before = i > 0 ? z->cp[i - 1] : 0;
    size_t end;

    if (is_weekday(z, i)) {
        copy(z, i, i + 1);
        return i + 1;
    }
    if (is_latin(before))
        return leave(z, i, U"点");
    if (stands_before(z, ITN_AFTER, i))
        return leave(z, i, U"点年月");
    if (z->cp[i] == U'十' && before == U'数')
        return leave(z, i, U"");
    if ((end = fraction(z, i)) != 0 || (end = clock_time(z, i)) != 0 || (end = kept(z, i)) != 0 ||
        (end = hours_minutes(z, i)) != 0 || (end = date(z, i)) != 0 || (end = ratio(z, i)) != 0 ||
        (end = generation(z, i)) != 0 || (end = money(z, i)) != 0 ||
        (end = quantity(z, i, false)) != 0 || (end = dotted(z, i)) != 0 ||
        (end = decimal(z, i, false)) != 0)
        return end;
    if (z->cp[run_end(z, i)] == U'点' && is_numeral(z->cp[run_end(z, i) + 1]))
        return leave(z, i, U"点");
    return (end = plain(z, i, false)) != 0 ? end : leave(z, i, U"");
}

/* 负三十, 负百分之五, 零下五度 */
static size_t negative(const zh *z, size_t i)
{
    const uint32_t before = i > 0 ? z->cp[i - 1] : 0;
    const bool below = is_at(z, i, "零下");
    oto_str *const out = z->out;
    size_t end = 0, start = out->n;

    if (is_one_of(before, U"胜肩担背辜抱自欺正"))
        return 0;
    if (below) { /* as it was said: 零下5度 */
        number x;

        if (!oto_zh_any_number(z, i + 2, &x) || x.shorter ||
            (z->cp[x.end] != U'度' && longest(z, ITN_UNIT, x.end) == NULL))
            return 0;
        copy(z, i, i + 2);
        if ((end = quantity(z, i + 2, false)) != 0)
            return end;
        oto_str_puts(out, x.text);
        if (z->cp[x.end + 1] != U'到' && z->cp[x.end + 1] != U'至') /* 零下三度到五度 */
            return x.end;
        end = x.end;
        if (!oto_zh_any_number(z, end + 2, &x) || x.shorter || z->cp[x.end] != U'度')
            return end;
        copy(z, end, end + 2);
        oto_str_puts(out, x.text);
        return x.end;
    }
    if (z->cp[i] != U'负')
        return 0;
    if ((end = percent(z, i + 1, true)) != 0)
        return end;
    if (!is_numeral(z->cp[i + 1]) || run_end(z, i + 1) - i > TEXT_MAX)
        return 0;
    if ((end = quantity(z, i + 1, true)) == 0 && (end = decimal(z, i + 1, true)) == 0)
        end = plain(z, i + 1, true);
    if (end == 0)
        out->n = start;
    return end;
}

/* 万分之五: a figure of speech. */
static size_t tiny(const zh *z, size_t i)
{
    copy(z, i, i + 3);
    return is_numeral(z->cp[i + 3]) ? leave(z, i + 3, U"点") : i + 3;
}

static size_t step(const zh *z, size_t i)
{
    const uint32_t c = z->cp[i];
    size_t end = 0;

    if (c == U'负' || (c == U'零' && z->cp[i + 1] == U'下'))
        end = negative(z, i);
    else if (power(c) > 10 && z->cp[i + 1] == U'分' && !(i > 0 && is_numeral(z->cp[i - 1])))
        end = c == U'万' && z->cp[i + 2] == U'之' ? tiny(z, i) : percent(z, i, false);
    if (end == 0 && is_numeral(c))
        end = numeral(z, i);
    if (end == 0 && (end = kept(z, i)) == 0) {
        copy(z, i, i + 1);
        end = i + 1;
    }
    return end;
}

/* Code points of the folded text. */
static void decode(zh *z, size_t bytes)
{
    size_t at = 0;

    while (at < bytes) {
        const itn_entry *f;
        const size_t len = oto_utf8_next(z->text + at, bytes - at, &z->cp[z->n]);

        f = len == 3 ? oto_itn_find(z->t, ITN_FOLD, z->text + at, len) : NULL;
        if (f != NULL && strlen(f->value) == len) {
            memcpy(z->fold + at, f->value, len);
            oto_utf8_next(f->value, len, &z->cp[z->n]);
        }
        z->at[z->n++] = (uint32_t)at;
        at += len;
    }
    z->at[z->n] = (uint32_t)bytes;
    z->cp[z->n] = 0;
}

int oto_itn_zh(const oto_itn *t, const char *text, oto_arena *a, oto_str *out, oto_err *e)
{
    const size_t n = strlen(text);
    zh z = {.t = t, .text = text, .out = out};
    int rc;

    if (n > UINT32_MAX / 8)
        return oto_fail(e, OTO_E_LIMIT, "itn: a text of %zu bytes is too long", n);
    /* Looking two or three characters past the end reads zeros. */
    if ((rc = oto_arena_get(a, n + 8, sizeof *z.cp, &z.cp, e)) != 0 ||
        (rc = oto_arena_get(a, n + 8, sizeof *z.at, &z.at, e)) != 0 ||
        (rc = oto_arena_get(a, n + 1, 1, &z.fold, e)) != 0)
        return rc;
    memcpy(z.fold, text, n + 1);
    decode(&z, n);
    for (size_t i = z.n; i < z.n + 8 && i < n + 8; i++) {
        z.cp[i] = 0;
        z.at[i] = (uint32_t)n;
    }
    for (size_t i = 0; i < z.n;)
        i = step(&z, i);
    return 0;
}
