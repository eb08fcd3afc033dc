#include "text/itn.c"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <pthread.h>

static void opens_what_it_knows(void **state)
{
    oto_err e = {0};
    oto_itn *t = NULL;

    (void)state;
    assert_true(oto_itn_knows("zh") && oto_itn_knows("yue") && oto_itn_knows("en"));
    assert_false(oto_itn_knows("ja") || oto_itn_knows(""));
    assert_int_equal(oto_itn_open("ja", &t, &e), OTO_E_UNSUPPORTED);
    assert_non_null(strstr(e.text, "'ja'"));
    assert_null(t);
    oto_itn_close(NULL);
}

static void apply_both(const char *text, const char *zh, const char *en)
{
    const char *const names[] = {"zh", "en"}, *want[] = {zh, en}, *got;
    oto_arena *a = NULL;

    assert_int_equal(oto_arena_new("t", (size_t)1 << 20, &a, NULL), 0);
    for (int i = 0; i < 2; i++) {
        oto_itn *t = NULL;

        assert_int_equal(oto_itn_open(names[i], &t, NULL), 0);
        assert_int_equal(oto_itn_apply(t, text, a, &got, NULL), 0);
        assert_string_equal(got, want[i]);
        oto_itn_close(t);
    }
    oto_arena_free(a);
}

static void leaves_the_rest(void **state)
{
    (void)state;
    apply_both("", "", "");
    apply_both(" \n\t ", " \n\t ", " \n\t ");
    apply_both(" The beach, twenty.", " The beach, twenty.", " The beach, 20.");
    /* Bad bytes and half characters stay. */
    apply_both("\xFF二十\xE4\xB8",
               "\xFF"
               "20\xE4\xB8",
               "\xFF二十\xE4\xB8");
    apply_both("\xE7\x99twenty\x80 one", "\xE7\x99twenty\x80 one",
               "\xE7\x99"
               "20\x80 one");
    /* Rules look past the end. */
    for (const char *const *z =
             (const char *const[]){"百", "百分", "百分之", "十", "负", "零下", "三点", "一又",
                                   "二分之", "三到", "万分", NULL};
         *z != NULL; z++)
        apply_both(*z, *z, *z);
    for (const char *const *z =
             (const char *const[]){"a", "half", "a quarter", "quarter past", "plus", "minus", "oh",
                                   "double", "one point", "march", "fifth of", "two and a", NULL};
         *z != NULL; z++)
        apply_both(*z, *z, *z);
}

/* Long runs come to an end, and change nothing where they are no numbers. */
static void hostile(void **state)
{
    static const char *const units[] = {"一点",    "三到",   "负",         "百分之", "一又",
                                        "十",      "二三",   "one point ", "and ",   "hundred and ",
                                        "twenty ", "minus ", "oh ",        "a ",     "five-",
                                        "第",      "年",     "零下"};
    const size_t n = 60000;
    char *text = malloc(n + 1);
    const char *got;
    oto_arena *a = NULL;

    (void)state;
    assert_non_null(text);
    assert_int_equal(oto_arena_new("t", (size_t)64 << 20, &a, NULL), 0);
    for (size_t i = 0; i < OTO_COUNT(units); i++)
        for (int l = 0; l < 2; l++) {
            const size_t len = strlen(units[i]);
            oto_itn *t = NULL;

            for (size_t at = 0; at < n; at++)
                text[at] = units[i][at % len];
            text[n / len * len] = '\0';
            oto_arena_reset(a);
            assert_int_equal(oto_itn_open(l == 0 ? "zh" : "en", &t, NULL), 0);
            assert_int_equal(oto_itn_apply(t, text, a, &got, NULL), 0);
            oto_itn_close(t);
        }
    free(text);
    oto_arena_free(a);
}

static void says_when_full(void **state)
{
    static char text[20000];
    const char *got = NULL;
    oto_err e = {0};
    oto_arena *a = NULL;
    oto_itn *t = NULL;

    (void)state;
    memset(text, 'a', sizeof text - 1);
    assert_int_equal(oto_arena_new("small", 8192, &a, NULL), 0);
    for (int l = 0; l < 2; l++) {
        assert_int_equal(oto_itn_open(l == 0 ? "zh" : "en", &t, NULL), 0);
        assert_int_equal(oto_itn_apply(t, text, a, &got, &e), OTO_E_LIMIT);
        assert_null(got);
        oto_itn_close(t);
    }
    oto_arena_free(a);
}

static void *many_times(void *arg)
{
    const char *got;
    oto_arena *a = NULL;
    bool ok = oto_arena_new("t", (size_t)1 << 20, &a, NULL) == 0;

    for (int i = 0; i < 500 && ok; i++) {
        oto_arena_reset(a);
        ok = oto_itn_apply(arg, "三点五公里，二十个人", a, &got, NULL) == 0 &&
             strcmp(got, "3.5公里，20个人") == 0;
    }
    oto_arena_free(a);
    return ok ? arg : NULL;
}

static void threads_share_it(void **state)
{
    pthread_t thread[4];
    oto_itn *t = NULL;

    (void)state;
    assert_int_equal(oto_itn_open("zh", &t, NULL), 0);
    for (size_t i = 0; i < OTO_COUNT(thread); i++)
        assert_int_equal(pthread_create(&thread[i], NULL, many_times, t), 0);
    for (size_t i = 0; i < OTO_COUNT(thread); i++) {
        void *ok = NULL;

        pthread_join(thread[i], &ok);
        assert_non_null(ok);
    }
    oto_itn_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_what_it_knows),
        cmocka_unit_test(leaves_the_rest),
        cmocka_unit_test(hostile),
        cmocka_unit_test(says_when_full),
        cmocka_unit_test(threads_share_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
