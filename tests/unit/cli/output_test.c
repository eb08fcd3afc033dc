#include "cli/output.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* Inputs and names, separated by blanks. */
static void check(const char *inputs, const char *expected)
{
    char *split = strdup(inputs), *rest = split, *in[16], **names, got[256] = "";
    oto_err e = {0};
    int n = 0;

    while ((in[n] = strsep(&rest, " ")) != NULL)
        n++;
    assert_int_equal(oto_cli_output_names(in, n, &names, &e), 0);
    for (int i = 0; i < n; i++)
        snprintf(got + strlen(got), sizeof got - strlen(got), "%s%s", i > 0 ? " " : "", names[i]);
    assert_string_equal(got, expected);
    oto_cli_output_names_free(names, n);
    free(split);
}

static void test_names_are_different(void **state)
{
    (void)state;
    check("a/rec.m4a b.wav -", "rec b stdin");
    check("rec.m4a rec.mp4 rec.mp4.wav", "rec rec.mp4 rec.mp4.wav");
    check("rec.mp4.wav rec.m4a rec.mp4", "rec.mp4 rec rec.mp4.2");
    check("1/rec.wav 2/rec.wav 3/rec.wav", "rec rec.wav rec.wav.2");
    check("rec.wav.2.x rec.wav 1/rec.wav 2/rec.wav", "rec.wav.2 rec rec.wav rec.wav.3");
    check(".wav .wav .wav .wav", ".wav .wav.2 .wav.3 .wav.4");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_different),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
