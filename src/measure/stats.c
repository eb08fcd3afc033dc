/* Robust statistics of a series: the median of all slopes (Theil 1950, Sen 1968) with Sen's
 * interval, the trend test of Mann (1945) and Kendall (1975) with the correction for ties,
 * percentiles. One wild value moves none of them. */
#include "measure/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* All pairs of so many points are half a million. */
#define MAX_POINTS 1000
#define Z_95       1.959964

static int by_value(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double at_rank(const double *sorted, int n, double rank)
{
    const int i = (int)OTO_MIN(OTO_MAX(floor(rank), 0.0), n - 1.0);
    const int j = OTO_MIN(i + 1, n - 1);

    return sorted[i] + (OTO_MIN(OTO_MAX(rank, 0.0), n - 1.0) - i) * (sorted[j] - sorted[i]);
}

double oto_percentile(double *v, int n, double p)
{
    int kept = 0;

    for (int i = 0; i < n; i++)
        if (isfinite(v[i]))
            v[kept++] = v[i];
    if (kept == 0)
        return NAN;
    qsort(v, (size_t)kept, sizeof *v, by_value);
    return at_rank(v, kept, p * (kept - 1));
}

double oto_mean(const double *v, int n)
{
    double sum = 0;
    int kept = 0;

    for (int i = 0; i < n; i++)
        if (isfinite(v[i])) {
            sum += v[i];
            kept++;
        }
    return kept > 0 ? sum / kept : NAN;
}

/* Kendall's S and its variance; sorts `y`, a copy. */
static void kendall(const double *x, double *y, int n, double *s, double *variance)
{
    double ties = 0;
    int run = 1;

    *s = 0;
    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++)
            if (x[j] > x[i])
                *s += (y[j] > y[i]) - (y[j] < y[i]);
    qsort(y, (size_t)n, sizeof *y, by_value);
    for (int i = 1; i <= n; i++) {
        if (i < n && y[i] == y[i - 1]) {
            run++;
            continue;
        }
        ties += (double)run * (run - 1) * (2.0 * run + 5);
        run = 1;
    }
    *variance = ((double)n * (n - 1) * (2.0 * n + 5) - ties) / 18;
}

static void test_trend(double s, double variance, oto_trend *t)
{
    if (variance <= 0) { /* all the same */
        t->mk_z = 0;
        t->mk_p = 1;
        return;
    }
    t->mk_z = (s - (s > 0) + (s < 0)) / sqrt(variance);
    t->mk_p = erfc(fabs(t->mk_z) / sqrt(2));
}

/* x and y are copies that may be reordered; slopes has room for all pairs. */
static void fit(double *x, double *y, double *slopes, int n, oto_trend *t)
{
    double s, variance, half;
    int m = 0;

    for (int i = 0; i < n; i++)
        for (int j = i + 1; j < n; j++)
            if (x[j] != x[i])
                slopes[m++] = (y[j] - y[i]) / (x[j] - x[i]);
    if (m == 0)
        return;
    qsort(slopes, (size_t)m, sizeof *slopes, by_value);
    t->slope = at_rank(slopes, m, (m - 1) / 2.0);
    kendall(x, y, n, &s, &variance);
    test_trend(s, variance, t);
    half = Z_95 * sqrt(OTO_MAX(variance, 0.0));
    t->lo = at_rank(slopes, m, (m - half) / 2 - 1);
    t->hi = at_rank(slopes, m, (m + half) / 2);
    t->intercept = at_rank(y, n, (n - 1) / 2.0); /* sorted by now */
    qsort(x, (size_t)n, sizeof *x, by_value);
    t->intercept -= t->slope * at_rank(x, n, (n - 1) / 2.0);
}

int oto_trend_fit(const double *x, const double *y, int n, oto_trend *out, oto_err *e)
{
    double *room;
    int kept = 0, finite = 0, seen = 0;

    *out =
        (oto_trend){.slope = NAN, .intercept = NAN, .lo = NAN, .hi = NAN, .mk_z = NAN, .mk_p = NAN};
    for (int i = 0; i < n; i++)
        finite += isfinite(x[i]) && isfinite(y[i]);
    out->n = finite;
    if (finite < 4)
        return 0;
    const int points = OTO_MIN(finite, MAX_POINTS);
    const size_t pairs = (size_t)points * (size_t)(points - 1) / 2;

    room = malloc((2 * (size_t)points + pairs) * sizeof *room);
    if (room == NULL)
        return oto_fail(e, OTO_E_INTERNAL, "out of memory for the trend of %d points", points);
    for (int i = 0; i < n && kept < points; i++) {
        if (!isfinite(x[i]) || !isfinite(y[i]))
            continue;
        /* Evenly: the k-th of `points` is number k · finite / points of the finite ones. */
        if (seen++ == (int)((int64_t)kept * finite / points)) {
            room[kept] = x[i];
            room[points + kept] = y[i];
            kept++;
        }
    }
    fit(room, room + points, room + 2 * points, kept, out);
    free(room);
    return 0;
}
