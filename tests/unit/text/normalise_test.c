#include "text/normalise.c"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

static void normalises(void **state)
{
    static const struct {
        const char *in, *out;
    } cases[] = {
        {"", ""},
        {"  \t\n ", ""},
        {"Hello, World!", "hello world"},
        {"re-enter  your   PIN.", "re enter your pin"},
        {"Don't say 'no' to rock 'n' roll'", "don't say no to rock n roll"},
        {"party\xE2\x80\x99s", "party's"}, /* U+2019 */
        {"L\xE2\x80\x99\xC3\x89"
         "cole",
         "l'\xC3\xA9"
         "cole"},                                        /* L’École */
        {"e\xCC\x81t\xC3\xA9", "\xC3\xA9t\xC3\xA9"},     /* combining = precomposed */
        {"\xEF\xBC\xA1\xEF\xBC\xA2\xEF\xBC\x91", "ab1"}, /* full width AB1 */
        {"\xEF\xAC\x81ne", "fine"},                      /* the ligature fi */
        {"stra\xC3\x9F"
         "e",
         "strasse"}, /* case folding */
        {"\xD0\x9F\xD0\xA0\xD0\x98\xD0\x92\xD0\x95\xD0\xA2!",
         "\xD0\xBF\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82"},
        {"\xE4\xBD\xA0\xE5\xA5\xBD\xEF\xBC\x8C\xE4\xB8\x96\xE7\x95\x8C\xE3\x80\x82",
         "\xE4\xBD\xA0\xE5\xA5\xBD \xE4\xB8\x96\xE7\x95\x8C"}, /* 你好，世界。 */
        {"\xE0\xA4\xB9\xE0\xA4\xBF\xE0\xA4\x82\xE0\xA4\xA6\xE0\xA5\x80",
         "\xE0\xA4\xB9\xE0\xA4\xBF\xE0\xA4\x82\xE0\xA4\xA6\xE0\xA5\x80"}, /* vowel signs stay */
        {"a\xFF"
         "b \xC3",
         "a b"},                /* bad bytes */
        {"\xED\xA0\x80x", "x"}, /* a surrogate */
        {"50 % of $5", "50 of 5"},
        {"\xC2\xAD"
         "soft\xC2\xAD"
         "hyphen\xE2\x80\x8B",
         "softhyphen"}, /* ignorable */
        {"'tis", "tis"},
    };
    oto_arena *a;
    (void)state;
    assert_int_equal(oto_arena_new("test", 1 << 24, &a, NULL), 0);
    for (size_t i = 0; i < OTO_COUNT(cases); i++) {
        char *out = NULL;
        assert_int_equal(oto_text_normalise(cases[i].in, a, &out, NULL), 0);
        assert_string_equal(out, cases[i].out);
        /* Normalising again changes nothing. */
        char *again = NULL;
        assert_int_equal(oto_text_normalise(out, a, &again, NULL), 0);
        assert_string_equal(again, out);
    }
    oto_arena_free(a);
}

static void every_byte_pair_is_survived(void **state)
{
    oto_arena *a;
    (void)state;
    assert_int_equal(oto_arena_new("test", 1 << 20, &a, NULL), 0);
    for (int i = 1; i < 256; i++) {
        for (int j = 1; j < 256; j++) {
            char in[] = {'q', (char)i, (char)j, 'y', '\0'}, *out;
            assert_int_equal(oto_text_normalise(in, a, &out, NULL), 0);
            assert_true(out[0] == 'q');
            oto_arena_reset(a);
        }
    }
    oto_arena_free(a);
}

static void a_full_arena_is_an_error(void **state)
{
    static char text[1 << 16];
    oto_arena *a;
    char *out;
    oto_err e = {0};
    (void)state;
    memset(text, 'a', sizeof text - 1);
    assert_int_equal(oto_arena_new("test", 1 << 16, &a, NULL), 0);
    assert_int_equal(oto_text_normalise(text, a, &out, &e), OTO_E_LIMIT);
    assert_true(e.text[0] != '\0');
    oto_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(normalises),
        cmocka_unit_test(every_byte_pair_is_survived),
        cmocka_unit_test(a_full_arena_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
