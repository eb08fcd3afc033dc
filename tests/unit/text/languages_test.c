#include "text/languages.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void codes_and_indices_are_each_others_inverse(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        const char *code = oto_language_code(i);
        assert_non_null(code);
        assert_int_equal(oto_language_index(code), i);
        assert_int_equal(oto_language_index(oto_language_name(code)), i);
    }
    assert_null(oto_language_code(100));
    assert_null(oto_language_code(-1));
    /* the tokens' order: <|en|> is the first, <|yue|> the hundredth */
    assert_int_equal(oto_language_index("en"), 0);
    assert_int_equal(oto_language_index("zh"), 1);
    assert_int_equal(oto_language_index("yue"), 99);
}

static void people_write_languages_in_many_ways(void **state)
{
    (void)state;
    static const struct {
        const char *written, *code;
    } ways[] = {{"English", "en"},   {"CHINESE", "zh"},        {"zh-CN", "zh"},   {"zh_TW", "zh"},
                {"pt-BR", "pt"},     {"de_DE.UTF-8", "de"},    {"nb", "no"},      {"iw", "he"},
                {"Castilian", "es"}, {"haitian creole", "ht"}, {"zh-yue", "yue"}, {"haw", "haw"}};
    for (size_t i = 0; i < OTO_COUNT(ways); i++) {
        int k = oto_language_index(ways[i].written);
        assert_true(k >= 0);
        assert_string_equal(oto_language_code(k), ways[i].code);
    }
    static const char *const unknown[] = {"", "xx", "klingon", "e", "english-", "auto", "-zh"};
    for (size_t i = 0; i < OTO_COUNT(unknown); i++) {
        assert_int_equal(oto_language_index(unknown[i]), -1);
    }
    assert_int_equal(oto_language_index(NULL), -1);
    assert_null(oto_language_name("xx"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_and_indices_are_each_others_inverse),
        cmocka_unit_test(people_write_languages_in_many_ways),
    };
    return cmocka_run_group_tests_name("text/languages", tests, NULL, NULL);
}
