#include "base/err.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void messages_are_one_line_and_carry_their_cause(void **state)
{
    (void)state;
    oto_err e;
    assert_int_equal(oto_fail(&e, OTO_E_INPUT, "a\nb.mp3: %s", "bad"), OTO_E_INPUT);
    assert_string_equal(e.text, "a b.mp3: bad");
    assert_int_equal(oto_err_prefix(&e, "reading"), OTO_E_INPUT);
    assert_string_equal(e.text, "reading: a b.mp3: bad");
    errno = ENOSPC;
    assert_int_equal(oto_fail_errno(&e, "out.txt"), OTO_E_NO_SPACE);
    assert_string_equal(e.text, "out.txt: No space left on device");
    assert_int_equal(oto_fail(NULL, OTO_E_IO, "x"), OTO_E_IO);
    char longer[2000];
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = 0;
    oto_fail(&e, OTO_E_IO, "%s", longer);
    assert_int_equal(strlen(e.text), sizeof e.text - 1);
}

static void every_code_has_a_class_and_a_name(void **state)
{
    (void)state;
    for (int code = 0; code >= OTO_E_INTERNAL; code--) {
        assert_true(strlen(oto_err_name(code)) > 1);
    }
    assert_int_equal(oto_err_classify(OTO_E_NO_AUDIO), OTO_CLASS_INPUT);
    assert_int_equal(oto_err_classify(OTO_E_NO_SPACE), OTO_CLASS_LIMIT);
    assert_int_equal(oto_err_classify(-9999), OTO_CLASS_INTERNAL);
    assert_int_equal(oto_err_classify(INT32_MIN), OTO_CLASS_INTERNAL);
}

static void json_strings_are_escaped(void **state)
{
    (void)state;
    char out[64];
    put_json_string(out, sizeof out, "a\"b\\c\nd");
    assert_string_equal(out, "a\\\"b\\\\c\\u000ad");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_one_line_and_carry_their_cause),
        cmocka_unit_test(every_code_has_a_class_and_a_name),
        cmocka_unit_test(json_strings_are_escaped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
