#include "base/str.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void grows_and_never_overruns(void **state)
{
    (void)state;
    oto_arena *a;
    oto_err e;
    assert_int_equal(oto_arena_new("str", 4096, &a, &e), 0);
    oto_str s, other;
    oto_str_init(&s, a);
    assert_string_equal(s.p, "");
    for (int i = 0; i < 20; i++) {
        oto_str_printf(&s, "%d,", i);
    }
    assert_string_equal(s.p, "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,");
    oto_str_init(&other, a); /* stands behind s: s must move when it grows */
    oto_str_puts(&other, "other");
    for (int i = 0; i < 20; i++) {
        oto_str_puts(&s, "0123456789");
    }
    assert_string_equal(other.p, "other");
    assert_int_equal(s.n, 50 + 200);
    assert_false(s.failed);
    for (int i = 0; i < 1000; i++) {
        oto_str_puts(&s, "0123456789");
    }
    assert_true(s.failed);
    assert_true(s.n < 4096);
    assert_int_equal(s.p[s.n], 0);
    oto_str_clear(&s);
    assert_string_equal(s.p, "");
    oto_arena_free(a);
}

static void utf8_round_trips_and_refuses_what_is_not(void **state)
{
    (void)state;
    for (uint32_t cp = 1; cp < 0x110000; cp += cp < 0x3000 ? 1 : 37) {
        if (cp >= 0xD800 && cp < 0xE000) {
            continue;
        }
        char buf[4];
        uint32_t back;
        size_t n = oto_utf8_put(buf, cp);
        assert_int_equal(oto_utf8_next(buf, n, &back), n);
        assert_int_equal(back, cp);
        assert_int_equal(oto_utf8_complete(buf, n), n);
        for (size_t cut = 1; cut < n; cut++) {
            assert_int_equal(oto_utf8_complete(buf, cut), 0);
        }
    }
    static const char *const bad[] = {
        "\x80", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
        "\xff", "\xe4\xbd", "\xc3("};
    for (size_t i = 0; i < OTO_COUNT(bad); i++) {
        uint32_t cp;
        assert_int_equal(oto_utf8_next(bad[i], strlen(bad[i]), &cp), 1);
        assert_int_equal(cp, 0xFFFD);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_never_overruns),
        cmocka_unit_test(utf8_round_trips_and_refuses_what_is_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
