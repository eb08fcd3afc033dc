#include "measure/report_format.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static oto_report r;

/* How many strings a text takes; -1: something else than %s, %N$s or %%. */
static int arguments(const char *text)
{
    int n = 0;

    for (const char *s = strchr(text, '%'); s != NULL; s = strchr(s, '%')) {
        if (s[1] == '%') {
            s += 2;
        } else if (s[1] == 's') {
            n++;
            s += 2;
        } else if (s[1] >= '1' && s[1] <= '9' && s[2] == '$' && s[3] == 's') {
            n++;
            s += 4;
        } else {
            return -1;
        }
    }
    return n;
}

static void texts_take_the_same_in_both_languages(void **state)
{
    (void)state;
    for (int i = 0; i < T_TEXTS; i++) {
        const int n = arguments(texts[i][0]);

        assert_true(n >= 0);
        assert_int_equal(arguments(texts[i][1]), n);
        assert_true(texts[i][0][0] != '\0' && texts[i][1][0] != '\0');
    }
}

static void numbers_are_grouped_and_signed(void **state)
{
    (void)state;
    assert_string_equal(oto_number(&r, 3867.34, 1), "3,867.3");
    assert_string_equal(oto_number(&r, 1234567, 0), "1,234,567");
    assert_string_equal(oto_number(&r, 999.96, 1), "1,000.0");
    assert_string_equal(oto_number(&r, -0.75, 2), "−0.75");
    assert_string_equal(oto_number(&r, NAN, 1), "N/A");
    assert_string_equal(oto_signed(&r, 0.875, 1), "+0.9");
    assert_string_equal(oto_signed(&r, -0.004, 2), "±0.00");
}

static void lengths_of_time(void **state)
{
    (void)state;
    r.zh = false;
    assert_string_equal(oto_duration(&r, 8.44), "8.4 s");
    assert_string_equal(oto_duration(&r, 735.6), "12 min 16 s");
    assert_string_equal(oto_duration(&r, 3599.7), "1 h 0 min");
    assert_string_equal(oto_from_to(&r, 1765323724, 1765324053), "2025-12-09 23:42 to 23:47");
    r.zh = true;
    assert_string_equal(oto_duration(&r, 5884.8), "1 小时 38 分");
    assert_string_equal(oto_from_to(&r, 1765323724, 1765410453),
                        "2025年12月9日 23:42 至 2025年12月10日 23:47");
    r.zh = false;
}

static int set_up(void **state)
{
    oto_err e;

    (void)state;
    return oto_arena_new("test", 1 << 20, &r.a, &e);
}

static int tear_down(void **state)
{
    (void)state;
    oto_arena_free(r.a);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_take_the_same_in_both_languages),
        cmocka_unit_test(numbers_are_grouped_and_signed),
        cmocka_unit_test(lengths_of_time),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
