/* The figures that stand in the verification report's own samples, process by process. */
#include "measure/analysis.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define FOLDER OTO_SOURCE_DIR "/tests/data/original/"

static void the_originals_processes(void **state)
{
    static const struct {
        int pid, rows, job;
        const char *role;
        double from, to, first, last, peak, peak_at, cpu, mean, idle, window_from, window_to, busy;
    } known[] = {
        {2850, 255, -1, "parent", 0, 328.31, 13.70, 12.33, 13.70, 0, 10, 0, 99.6, NAN, NAN, NAN},
        {27555, 255, -1, "process", 0, 328.31, 26.42, 13.55, 44.05, 92.02, 10, 0.2, 97.6, NAN, NAN,
         NAN},
        {4951, 64, 0, "child", 1.21, 83.48, 473.82, 4543.29, 5200.77, 69.11, 418.9, 120.7, 20.3,
         70.41, 82.17, 342},
        {5433, 97, 1, "child", 92.02, 217.39, 278.00, 4393.01, 4926.39, 155.97, 428.1, 224.8, 9.3,
         158.58, 216.08, 392},
        {6144, 59, 2, "child", 250.08, 325.80, 415.75, 4494.24, 5421.26, 311.42, 934.0, 151.6, 10.2,
         312.73, 324.50, 375},
    };
    oto_sample_list samples;
    oto_job_list jobs;
    oto_analysis n;
    oto_arena *a;
    oto_err e = {0};

    (void)state;
    assert_int_equal(oto_arena_new("test", 64 << 20, &a, &e), 0);
    assert_int_equal(
        oto_job_list_read(FOLDER "memory_leak_stress_test_20251209_234204.jsonl", a, &jobs, &e), 0);
    assert_int_equal(
        oto_sample_list_read(FOLDER "system_resources_20251209_234204.csv", a, &samples, &e), 0);
    assert_int_equal(oto_analyse(&samples, &jobs, a, &n, &e), 0);
    assert_int_equal(n.n_rows, 730);
    assert_int_equal(n.n_ticks, 255);
    assert_float_equal(n.tick_s, 1.293, 5e-4);
    assert_float_equal(n.to_s, 328.31, 1e-6);
    assert_float_equal(n.tree_peak_mb, 5450.64, 5e-3);
    assert_int_equal(n.n_processes, 5);
    for (size_t i = 0; i < OTO_COUNT(known); i++) {
        const oto_process *p = &n.processes[i];

        assert_int_equal(p->pid, known[i].pid);
        assert_int_equal(p->rows, known[i].rows);
        assert_int_equal(p->job, known[i].job);
        assert_string_equal(p->role, known[i].role);
        assert_float_equal(p->from_s, known[i].from, 1e-6);
        assert_float_equal(p->to_s, known[i].to, 1e-6);
        assert_float_equal(p->first_mb, known[i].first, 5e-3);
        assert_float_equal(p->last_mb, known[i].last, 5e-3);
        assert_float_equal(p->peak_mb, known[i].peak, 5e-3);
        assert_float_equal(p->peak_at_s, known[i].peak_at, 1e-6);
        assert_float_equal(p->cpu_peak, known[i].cpu, 0.05);
        assert_float_equal(p->cpu_mean, known[i].mean, 0.051);
        assert_float_equal(p->idle_share, known[i].idle, 0.051);
        if (isnan(known[i].busy)) {
            assert_true(isnan(p->window_from_s));
            continue;
        }
        assert_float_equal(p->window_from_s, known[i].window_from, 1e-6);
        assert_float_equal(p->window_to_s, known[i].window_to, 1e-6);
        assert_float_equal(p->window_cpu, known[i].busy, 0.51);
    }
    assert_int_equal(n.processes[n.hiding].pid, 2850);
    assert_float_equal(n.hidden_peak_mb, 5421.26, 5e-3);
    oto_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_originals_processes)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
