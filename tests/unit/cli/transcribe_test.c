#include "cli/transcribe.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define LONG 5000

/* What a file of these bytes gives; to be freed. */
static int read_text(const char *text, char **out, oto_err *e)
{
    char path[] = "/tmp/oto-hotwords-XXXXXX";
    const int fd = mkstemp(path);
    int rc;

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
    rc = read_hotwords(path, out, e);
    unlink(path);
    return rc;
}

static void check(const char *text, const char *expected)
{
    char *got = NULL;
    oto_err e = {0};

    if (read_text(text, &got, &e) != 0)
        fail_msg("%s", e.text);
    assert_string_equal(got, expected);
    free(got);
}

static void test_hotwords(void **state)
{
    (void)state;
    check("", "");
    check("\xef\xbb\xbf one two \r\n\n# none\n\tthree", "one two, three");
}

/* A long comment is one to its end, a long phrase is one phrase. */
static void test_long_lines(void **state)
{
    char text[2 * LONG + 16], phrase[LONG + 1];

    (void)state;
    memset(phrase, 'a', LONG);
    phrase[LONG] = '\0';
    snprintf(text, sizeof text, "#%s\nb", phrase);
    check(text, "b");
    check(phrase, phrase);
}

static void test_too_many(void **state)
{
    char *text = malloc(MAX_HOTWORDS + 1), *got = NULL;
    oto_err e = {0};

    (void)state;
    memset(text, 'a', MAX_HOTWORDS);
    text[MAX_HOTWORDS] = '\0';
    assert_int_equal(read_text(text, &got, &e), OTO_E_LIMIT);
    free(text);
    assert_true(read_hotwords("/", &got, &e) != 0); /* a folder */
    assert_null(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hotwords),
        cmocka_unit_test(test_long_lines),
        cmocka_unit_test(test_too_many),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
