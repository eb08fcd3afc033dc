#include "text/itn_zh_number.c"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

/* The value of a run, or -1. */
static int64_t value_of(const char *text)
{
    uint32_t cp[64], at[64] = {0};
    zh z = {.cp = cp, .at = at, .text = text};
    const size_t n = strlen(text);
    uint64_t v;
    bool shorter;

    for (size_t i = 0; i < n; z.n++) {
        at[z.n] = (uint32_t)i;
        i += oto_utf8_next(text + i, n - i, &cp[z.n]);
    }
    cp[z.n] = 0;
    return cardinal(&z, 0, z.n, &v, &shorter) ? (int64_t)v : -1;
}

static void values(void **state)
{
    static const struct {
        const char *text;
        int64_t value;
    } cases[] = {
        {"十", 10},
        {"十五", 15},
        {"二十", 20},
        {"一百", 100},
        {"一百零五", 105},
        {"一百一十", 110},
        {"一百一", 110},
        {"两千三", 2300},
        {"一万五", 15000},
        {"两万", 20000},
        {"三千零五万", 30050000},
        {"一亿", 100000000},
        {"一亿零五", 100000005},
        {"三亿五千万", 350000000},
        {"两万亿", 2000000000000},
        {"九千九百九十九万九千九百九十九亿", 9999999900000000},
    };

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(cases); i++)
        if (value_of(cases[i].text) != cases[i].value)
            fail_msg("%s: %lld", cases[i].text, (long long)value_of(cases[i].text));
}

static void no_numbers(void **state)
{
    static const char *const runs[] = {"二三十", "十七八", "三四百", "十十",     "百百",
                                       "一十百", "百千",   "一百零", "零",       "十两",
                                       "两十",   "一亿亿", "一万万", "一五一十", "三七二十一"};

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(runs); i++)
        if (value_of(runs[i]) >= 0)
            fail_msg("%s: %lld", runs[i], (long long)value_of(runs[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(values), cmocka_unit_test(no_numbers)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
