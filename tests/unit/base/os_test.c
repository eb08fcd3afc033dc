#include "base/os.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void written_files_are_whole_or_absent(void **state)
{
    (void)state;
    char dir[] = "/tmp/oto-os-XXXXXX", path[256], text[16];
    assert_non_null(mkdtemp(dir));
    oto_err e;
    snprintf(path, sizeof path, "%s/a/b/c", dir);
    assert_int_equal(oto_mkdirs(path, &e), 0);
    assert_int_equal(oto_mkdirs(path, &e), 0); /* again is fine */
    snprintf(path, sizeof path, "%s/a/b/c/file", dir);
    assert_int_equal(oto_write_file(path, "first", 5, &e), 0);
    assert_int_equal(oto_write_file(path, "second", 6, &e), 0);
    assert_true(slurp(path, text, sizeof text));
    assert_string_equal(text, "second");
    char below[300];
    snprintf(below, sizeof below, "%s/x", path);
    assert_int_equal(oto_write_file(below, "x", 1, &e),
                     OTO_E_NOT_FOUND); /* a file is not a folder */
    assert_int_equal(oto_mkdirs(below, &e), OTO_E_NOT_FOUND);
    char cmd[300];
    snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    assert_int_equal(system(cmd), 0);
}

static void the_machine_is_described(void **state)
{
    (void)state;
    assert_true(oto_cpu_count() >= 1);
    assert_true(oto_memory_limit_bytes() > (64u << 20));
    assert_true(oto_rss_bytes() > 0);
    assert_true(oto_peak_rss_bytes() >= oto_rss_bytes() / 2);
    double a = oto_now_s(), b = oto_now_s();
    assert_true(b >= a);
    assert_true(oto_cpu_s() >= 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_files_are_whole_or_absent),
        cmocka_unit_test(the_machine_is_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
