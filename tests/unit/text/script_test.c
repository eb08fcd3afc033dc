#include "text/script.c"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

static void converts(void **state)
{
    static const struct {
        const char *name, *in, *out;
    } cases[] = {
        {"s2t", "汉字转换，软件和头发", "漢字轉換，軟件和頭髮"},
        {"t2s", "漢字轉換，軟體和頭髮", "汉字转换，软体和头发"},
        {"s2tw", "这里有两台计算机", "這裡有兩臺計算機"},
        {"s2twp", "软件和鼠标", "軟體和滑鼠"},
        {"tw2sp", "軟體和滑鼠", "软件和鼠标"},
        {"s2hk", "里面", "裏面"},
        {"s2t", "hello, 20% \U0001F600", "hello, 20% \U0001F600"},
        {"t2s", "", ""},
        {"t2s", " 臺灣", " 台湾"},
    };
    oto_arena *a = NULL;

    (void)state;
    assert_int_equal(oto_arena_new("t", (size_t)1 << 20, &a, NULL), 0);
    for (size_t i = 0; i < OTO_COUNT(cases); i++) {
        const char *got;
        oto_script *s = NULL;

        assert_int_equal(oto_script_open(cases[i].name, &s, NULL), 0);
        assert_int_equal(oto_script_convert(s, cases[i].in, a, &got, NULL), 0);
        assert_string_equal(got, cases[i].out);
        oto_script_close(s);
    }
    oto_arena_free(a);
}

static void every_name_opens(void **state)
{
    (void)state;
    for (const char *const *name = oto_script_names(); *name != NULL; name++) {
        oto_script *s = NULL;

        assert_true(oto_script_knows(*name));
        assert_int_equal(oto_script_open(*name, &s, NULL), 0);
        oto_script_close(s);
    }
}

static void refuses(void **state)
{
    char text[3000];
    const char *got = NULL;
    oto_script *s = NULL;
    oto_err e = {0};
    oto_arena *a = NULL;

    (void)state;
    assert_false(oto_script_knows("s2x") || oto_script_knows(""));
    assert_int_equal(oto_script_open("../s2t", &s, &e), OTO_E_USAGE);
    assert_null(s);
    oto_script_close(NULL);
    assert_int_equal(oto_arena_new("small", 4096, &a, NULL), 0);
    assert_int_equal(oto_script_open("s2t", &s, NULL), 0);
    assert_int_equal(oto_script_convert(s, "\xE4\xB8", a, &got, &e), OTO_E_INPUT);
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    assert_int_equal(oto_script_convert(s, text, a, &got, &e), 0);
    got = NULL;
    assert_int_equal(oto_script_convert(s, text, a, &got, &e), OTO_E_LIMIT);
    assert_null(got);
    oto_script_close(s);
    oto_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(converts), cmocka_unit_test(every_name_opens), cmocka_unit_test(refuses)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
