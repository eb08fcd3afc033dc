#include "measure/verdict.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define N 300

static oto_job_record jobs[N + 64];

/* A run of n jobs; the worker's memory grows by kb each, its noise is of noise_kb. */
static oto_job_list run(int n, double kb, double noise_kb, uint32_t seed)
{
    for (int i = 0; i < n; i++) {
        oto_job_record *r = &jobs[i];

        seed = seed * 1664525 + 1013904223;
        oto_job_record_clear(r);
        r->status = "success";
        r->phase = "memory";
        r->concurrency = 1;
        r->job_index = i + 1;
        r->duration = i == 0 ? 240 : i == 1 ? 720 : i % 2 == 0 ? 20 : 61;
        r->rtf = 0.01;
        r->worker_rss_delta_mb = 0.1;
        r->tree_peak_mb = i < 2 ? 150 : 110; /* what is short fills no batch */
        r->worker_peak_mb = 120;
        r->decoder_peak_mb = 15;
        r->n_roles = 2;
        r->private_mb[0].role = "worker";
        /* The first jobs fill what later ones use again. */
        r->private_mb[0].mb =
            100 + OTO_MIN(i, 6) + (i * kb + (seed >> 8) / 16777216.0 * noise_kb) / 1024;
        r->private_mb[1].role = "gateway";
        r->private_mb[1].mb = 3.5;
    }
    return (oto_job_list){.jobs = jobs, .n_jobs = n};
}

static oto_judgement judge(const oto_job_list *l)
{
    oto_judgement j;
    oto_err e = {0};

    assert_int_equal(oto_judge(l, &j, &e), 0);
    return j;
}

static void a_level_server_passes(void **state)
{
    (void)state;
    for (uint32_t seed = 1; seed <= 20; seed++) {
        const oto_job_list l = run(N, 0, 60, seed);
        const oto_judgement j = judge(&l);

        assert_int_equal(j.verdict, OTO_PASS);
        assert_int_equal(j.n_growth, 3);
        assert_int_equal(j.n_warm_up, 10);
        assert_int_equal(j.n_peaks, 3);
        assert_int_equal(j.original, OTO_PASS);
    }
}

static void a_creep_is_named_and_measured(void **state)
{
    const oto_job_list l = run(N, 2, 60, 5);
    const oto_judgement j = judge(&l);

    (void)state;
    assert_int_equal(j.verdict, OTO_FAIL);
    assert_string_equal(j.growth[0].role, "worker");
    assert_int_equal(j.growth[0].verdict, OTO_FAIL);
    assert_float_equal(j.growth[0].trend.slope * 1024, 2, 0.2);
    assert_string_equal(j.growth[1].role, "gateway");
    assert_int_equal(j.growth[1].verdict, OTO_PASS);
    assert_string_equal(j.growth[2].role, "all");
    assert_int_equal(j.growth[2].verdict, OTO_FAIL);
}

static void a_peak_that_grows_with_the_length_is_named(void **state)
{
    oto_job_list l = run(N, 0, 60, 5);
    oto_judgement j;

    (void)state;
    jobs[1].decoder_peak_mb = 15 + 8; /* in eight minutes more */
    j = judge(&l);
    assert_int_equal(j.verdict, OTO_FAIL);
    assert_int_equal(j.peaks[0].verdict, OTO_PASS);
    assert_string_equal(j.peaks[2].who, "decoder");
    assert_int_equal(j.peaks[2].verdict, OTO_FAIL);
    assert_float_equal(j.peaks[2].per_hour_mb, 60, 1e-9);
    assert_float_equal(j.short_s, 240, 0); /* not the twenty seconds of most */
}

static void nothing_measured_is_no_pass(void **state)
{
    oto_job_list l = run(3, 0, 0, 1);
    oto_judgement j;

    (void)state;
    for (int i = 0; i < 3; i++) {
        jobs[i].n_roles = 0;
        jobs[i].duration = NAN;
        jobs[i].worker_rss_delta_mb = jobs[i].tree_peak_mb = jobs[i].worker_peak_mb = NAN;
    }
    j = judge(&l);
    assert_int_equal(j.verdict, OTO_UNKNOWN);
    jobs[1].status = "failed";
    assert_int_equal(judge(&l).n_failed, 1);
    assert_int_equal(judge(&l).verdict, OTO_FAIL);
}

static void levels_end_at_the_first_failure(void **state)
{
    oto_job_list l = run(4, 0, 0, 1);
    oto_judgement j;

    (void)state;
    for (int level = 1, at = 4; level <= 4; level *= 2)
        for (int k = 0; k < level; k++, at++) {
            oto_job_record *r = &jobs[at];

            oto_job_record_clear(r);
            r->phase = "concurrency";
            r->concurrency = level;
            r->status = "success";
            r->processing_time = level;
            r->rtf = level / 20.0;
            r->duration = 20;
            r->timestamp = "2026-08-01T10:00:20";
            if (level == 4 && k == 2) {
                r->status = "failed";
                r->reason = "refused";
                r->error = "submit: 503 the queue is full";
            }
            l.n_jobs = at + 1;
        }
    j = judge(&l);
    assert_int_equal(j.n_levels, 3);
    assert_int_equal(j.levels[2].level, 4);
    assert_int_equal(j.levels[2].n_done, 3);
    assert_int_equal(j.levels[2].n_refused, 1);
    assert_int_equal(j.max_concurrency, 2);
    assert_float_equal(j.levels[1].latency_p50, 2, 1e-9);
    assert_float_equal(j.levels[1].throughput, 20, 1e-6);
    assert_string_equal(j.limit, "submit: 503 the queue is full");
    assert_int_equal(j.n_failed, 0); /* refused is not lost */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_level_server_passes),
        cmocka_unit_test(a_creep_is_named_and_measured),
        cmocka_unit_test(a_peak_that_grows_with_the_length_is_named),
        cmocka_unit_test(nothing_measured_is_no_pass),
        cmocka_unit_test(levels_end_at_the_first_failure),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
