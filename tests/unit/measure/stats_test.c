/* Against scipy.stats.theilslopes (1.17) and pymannkendall.original_test (1.4). */
#include "measure/stats.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const double wild[] = {3.3, 3.9,  3.3, 2.7,  3.6,  99,   4.8,  7,    4.5,  4.6,
                              6.5, 6.5,  6.4, 5.1,  6.7,  8,    5.2,  6.8,  4.9,  6.1,
                              5.5, 8.1,  6.8, 9.4,  9.5,  9.2,  6,    9.2,  10.2, 10.7,
                              -40, 10.3, 9.8, 10.3, 13.3, 10.8, 12.2, 13.8, 11.9, 12.8};
static const double tied[] = {0, 0, -1, 0, 1, -2, 1,  0, -1, 2, 1,  -1, 0,
                              1, 0, 1,  0, 1, 1,  -1, 0, 0,  0, -1, -1};

static void count(double *x, int n, double from)
{
    for (int i = 0; i < n; i++)
        x[i] = from + i;
}

static void slope_and_interval_are_scipys(void **state)
{
    double x[40];
    oto_trend t;

    (void)state;
    count(x, 40, 1);
    assert_int_equal(oto_trend_fit(x, wild, 40, &t, NULL), 0);
    assert_int_equal(t.n, 40);
    assert_float_equal(t.slope, 0.2309018568, 1e-9);
    assert_float_equal(t.intercept, 2.0665119363, 1e-9);
    /* scipy rounds the ranks of the interval's ends to whole ones. */
    assert_float_equal(t.lo, 0.1888888889, 2e-3);
    assert_float_equal(t.hi, 0.2666666667, 2e-3);
    assert_float_equal(t.mk_z, 5.6177054430, 1e-9);
    assert_float_equal(t.mk_p, 1.9351002e-08, 1e-13);
}

static void ties_are_counted(void **state)
{
    double x[25];
    oto_trend t;

    (void)state;
    count(x, 25, 0);
    assert_int_equal(oto_trend_fit(x, tied, 25, &t, NULL), 0);
    assert_float_equal(t.slope, 0, 1e-12);
    assert_float_equal(t.mk_z, -0.3956148463, 1e-9);
    assert_float_equal(t.mk_p, 0.6923891831, 1e-9);
    assert_true(t.lo <= 0 && t.lo > -0.06 && t.hi >= 0 && t.hi < 0.01);
}

static void a_level_line_has_no_trend(void **state)
{
    double x[30], y[30];
    oto_trend t;

    (void)state;
    count(x, 30, 1);
    for (int i = 0; i < 30; i++)
        y[i] = 107.25;
    assert_int_equal(oto_trend_fit(x, y, 30, &t, NULL), 0);
    assert_float_equal(t.slope, 0, 0);
    assert_float_equal(t.intercept, 107.25, 1e-12);
    assert_float_equal(t.mk_p, 1, 0);
}

static void what_is_not_known_is_left_out(void **state)
{
    double x[44], y[44];
    oto_trend t;

    (void)state;
    for (int i = 0, k = 0; i < 44; i++) {
        x[i] = 1 + k;
        y[i] = i % 11 == 3 ? NAN : wild[k];
        k += i % 11 != 3;
    }
    assert_int_equal(oto_trend_fit(x, y, 44, &t, NULL), 0);
    assert_int_equal(t.n, 40);
    assert_float_equal(t.slope, 0.2309018568, 1e-9);
    assert_int_equal(oto_trend_fit(x, y, 3, &t, NULL), 0);
    assert_true(isnan(t.slope) && isnan(t.lo) && isnan(t.mk_p));
}

/* Ten thousand points, 2 KB a job in noise of 40 KB: thinned, and found within a tenth. */
static void a_slow_creep_is_found(void **state)
{
    static double x[10000], y[10000];
    uint32_t seed = 1;
    oto_trend t;

    (void)state;
    for (int i = 0; i < 10000; i++) {
        seed = seed * 1664525 + 1013904223;
        x[i] = i + 1;
        y[i] = 100 + i * 2 / 1024.0 + (seed >> 8) / 16777216.0 * 40 / 1024;
    }
    assert_int_equal(oto_trend_fit(x, y, 10000, &t, NULL), 0);
    assert_float_equal(t.slope * 1024, 2, 0.05);
    assert_true(t.lo > 0 && t.mk_p < 1e-6);
}

static void percentiles_lie_between_ranks(void **state)
{
    double v[] = {5, NAN, 1, 3, INFINITY, 2, 4}, none[] = {NAN};

    (void)state;
    assert_float_equal(oto_percentile(v, 7, 0.5), 3, 1e-12);
    assert_float_equal(oto_percentile(v, 5, 0.95), 4.8, 1e-12);
    assert_float_equal(oto_percentile(v, 5, 1), 5, 0);
    assert_true(isnan(oto_percentile(none, 1, 0.5)));
    assert_true(isnan(oto_percentile(none, 0, 0.5)));
    assert_float_equal(oto_mean(v, 5), 3, 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slope_and_interval_are_scipys),
        cmocka_unit_test(ties_are_counted),
        cmocka_unit_test(a_level_line_has_no_trend),
        cmocka_unit_test(what_is_not_known_is_left_out),
        cmocka_unit_test(a_slow_creep_is_found),
        cmocka_unit_test(percentiles_lie_between_ranks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
