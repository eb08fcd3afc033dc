#include "measure/records.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <unistd.h>

static char path[] = "/tmp/otolith-records-XXXXXX";

static oto_arena *arena(void)
{
    oto_arena *a;
    oto_err e;

    assert_int_equal(oto_arena_new("test", 64 << 20, &a, &e), 0);
    return a;
}

static void put(const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    assert_int_equal(fputs(text, f) < 0, 0);
    fclose(f);
}

static void a_record_comes_back(void **state)
{
    oto_arena *a = arena();
    FILE *f = fopen(path, "w");
    oto_job_record r, *back;
    oto_job_list l;
    oto_err e = {0};

    (void)state;
    oto_job_record_clear(&r);
    r.test_id = "录音 \"1\"\n";
    r.status = "success";
    r.concurrency = 3;
    r.rtf = 0.01234567890123;
    r.n_roles = 2;
    r.private_mb[0].role = "worker";
    r.private_mb[0].mb = 107.25;
    r.private_mb[1].role = "gateway";
    r.private_mb[1].mb = NAN;
    assert_int_equal(oto_job_record_write(&r, f, &e), 0);
    fclose(f);
    assert_int_equal(oto_job_list_read(path, a, &l, &e), 0);
    assert_int_equal(l.n_jobs, 1);
    back = &l.jobs[0];
    assert_string_equal(back->test_id, r.test_id);
    assert_int_equal(back->concurrency, 3);
    assert_float_equal(back->rtf, r.rtf, 0);
    assert_true(isnan(back->processing_time));
    assert_null(back->error);
    assert_int_equal(back->attempts, -1);
    assert_int_equal(back->n_roles, 1);
    assert_float_equal(back->private_mb[0].mb, 107.25, 0);
    oto_arena_free(a);
}

static void broken_lines_are_passed_over(void **state)
{
    oto_arena *a = arena();
    oto_job_list l;
    oto_err e = {0};

    (void)state;
    put("{\"status\": \"success\", \"rtf\": null, \"concurrency\": \"three\", \"attempts\": "
        "1e99}\r\n"
        "\n"
        "{\"status\": \"succ\n"
        "[1, 2]\n"
        "{\"no\": \"status\"}\n"
        "{\"status\": \"failed\", \"error\": \"x\", \"private_mb\": [1]}");
    assert_int_equal(oto_job_list_read(path, a, &l, &e), 0);
    assert_int_equal(l.n_jobs, 2);
    assert_int_equal(l.n_bad, 3);
    assert_int_equal(l.jobs[0].concurrency, 0);
    assert_int_equal(l.jobs[0].attempts, 2147483647);
    assert_string_equal(l.jobs[1].error, "x");
    put("nothing\n");
    assert_int_equal(oto_job_list_read(path, a, &l, &e), OTO_E_INPUT);
    assert_non_null(strstr(e.text, path));
    oto_arena_free(a);
}

static void samples_are_read_by_column_name(void **state)
{
    oto_arena *a = arena();
    oto_sample_list l;
    oto_err e = {0};

    (void)state;
    put("pid,process_name,elapsed_seconds,timestamp,memory_rss_mb,cpu_percent,role,memory_pss_mb\n"
        "7,\"a \"\"b\"\", c\",1.50,2025-12-09T23:42:05.599111,473.82,69.9,worker,\n"
        "7,rq,2.5\n"
        "8,rq,2.5,2025-12-10T00:00:00,1,0,,12.5\n");
    assert_int_equal(oto_sample_list_read(path, a, &l, &e), 0);
    assert_int_equal(l.n_rows, 2);
    assert_int_equal(l.n_bad, 1);
    assert_string_equal(l.names[l.rows[0].name], "a \"b\", c");
    assert_string_equal(l.names[l.rows[0].role], "worker");
    assert_float_equal(l.rows[0].rss, 473.82, 1e-4);
    assert_true(isnan(l.rows[0].pss));
    assert_float_equal(l.rows[1].pss, 12.5, 0);
    assert_float_equal(l.rows[1].when - l.rows[0].when, 1074.400889, 1e-5);
    put("timestamp,pid\n1,2\n");
    assert_int_equal(oto_sample_list_read(path, a, &l, &e), OTO_E_INPUT);
    put("");
    assert_int_equal(oto_sample_list_read(path, a, &l, &e), OTO_E_INPUT);
    oto_arena_free(a);
}

static int set_up(void **state)
{
    const int fd = mkstemp(path);

    (void)state;
    return fd < 0 || close(fd) != 0;
}

static int tear_down(void **state)
{
    (void)state;
    return unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_comes_back),
        cmocka_unit_test(broken_lines_are_passed_over),
        cmocka_unit_test(samples_are_read_by_column_name),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
