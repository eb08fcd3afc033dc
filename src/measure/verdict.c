/* From a run's records to a verdict: whether memory grows with the jobs served, whether the peak
 * depends on the length of the audio, what the original's own thresholds say, and how many jobs at
 * once went well. */
#include "measure/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WARM_UP     10
#define SLOPE_MB    (1.0 / 1024)
#define GROWTH_MB   0.25
#define P_LIMIT     0.01
#define PEAK_MB     2.0
#define PEAK_SHARE  0.02
#define ORIGINAL_MB 200.0
/* A long recording is so many times as long as a short one. */
#define LONG_TIMES 2.0
static bool is(const char *s, const char *value)
{
    return s != NULL && strcmp(s, value) == 0;
}

static bool is_refused(const oto_job_record *r)
{
    return is(r->reason, "refused");
}

bool oto_job_is_memory(const oto_job_record *r)
{
    /* The original tells no phase: its later one has concurrency 1 at first. */
    return r->phase == NULL ? r->concurrency <= 1 : strcmp(r->phase, "concurrency") != 0;
}

/* ---- growth ---- */

double oto_job_private_mb(const oto_job_record *r, const char *role)
{
    double sum = 0;

    for (int i = 0; i < r->n_roles; i++) {
        if (strcmp(r->private_mb[i].role, role) == 0)
            return r->private_mb[i].mb;
        sum += r->private_mb[i].mb;
    }
    if (strcmp(role, "all") == 0 && r->n_roles > 0)
        return sum;
    /* Files of others: what they call the worker. */
    if (strcmp(role, "worker") == 0 && r->n_roles == 0)
        return isfinite(r->worker_private_after_mb) ? r->worker_private_after_mb
                                                    : r->worker_rss_after_mb;
    return NAN;
}

static bool judged(const oto_judgement *j, const char *role)
{
    for (int i = 0; i < j->n_growth; i++)
        if (strcmp(j->growth[i].role, role) == 0)
            return true;
    return false;
}

static oto_verdict growth_verdict(const oto_trend *t)
{
    if (t->n < 4)
        return OTO_UNKNOWN;
    return t->lo > 0 && t->mk_p < P_LIMIT && t->slope > SLOPE_MB && t->slope * t->n > GROWTH_MB
               ? OTO_FAIL
               : OTO_PASS;
}

/* x, y: room for n. Jobs `list[0..n)` come after the warm-up. */
static int judge_role(const oto_job_record *const *list, int n, const char *role, double *x,
                      double *y, oto_judgement *j, oto_err *e)
{
    oto_growth *g = &j->growth[j->n_growth];
    const int tenth = OTO_MAX(1, n / 10);
    int rc;

    if (j->n_growth == (int)OTO_COUNT(j->growth) || judged(j, role))
        return 0;
    for (int i = 0; i < n; i++) {
        x[i] = list[i]->job_index > 0 ? list[i]->job_index : i + 1;
        y[i] = oto_job_private_mb(list[i], role);
    }
    *g = (oto_growth){.role = role};
    if ((rc = oto_trend_fit(x, y, n, &g->trend, e)) != 0)
        return rc;
    g->verdict = growth_verdict(&g->trend);
    memcpy(x, y, (size_t)n * sizeof *x);
    g->first_mb = oto_percentile(x, tenth, 0.5);
    g->last_mb = oto_percentile(y + n - tenth, tenth, 0.5);
    if (g->trend.n > 0)
        j->n_growth++;
    return 0;
}

static int judge_growth(const oto_job_list *l, oto_judgement *j, oto_err *e)
{
    const oto_job_record **list = malloc(((size_t)l->n_jobs + 1) * sizeof(oto_job_record *));
    double *x = malloc((2 * (size_t)l->n_jobs + 1) * sizeof *x);
    int n = 0, rc = 0;

    if (list == NULL || x == NULL) {
        rc = oto_fail(e, OTO_E_INTERNAL, "out of memory for %d records", l->n_jobs);
        goto done;
    }
    for (int i = 0; i < l->n_jobs; i++)
        if (oto_job_is_memory(&l->jobs[i]) && is(l->jobs[i].status, "success"))
            list[n++] = &l->jobs[i];
    j->n_warm_up = OTO_MIN(WARM_UP, n / 4);
    j->n_trend = n - j->n_warm_up;
    if (j->n_trend > 0)
        j->resolution_kb = OTO_MAX(SLOPE_MB, GROWTH_MB / j->n_trend) * 1024;
    for (int i = 0; i < j->n_trend && rc == 0; i++) {
        const oto_job_record *r = list[j->n_warm_up + i];

        for (int k = 0; k < r->n_roles && rc == 0; k++)
            rc = judge_role(list + j->n_warm_up, j->n_trend, r->private_mb[k].role, x,
                            x + l->n_jobs, j, e);
    }
    if (rc == 0 && j->n_trend > 0)
        rc = judge_role(list + j->n_warm_up, j->n_trend, j->n_growth > 0 ? "all" : "worker", x,
                        x + l->n_jobs, j, e);
done:
    free(list);
    free(x);
    return rc;
}

/* ---- peaks ---- */

static double peak_of(const oto_job_record *r, int who)
{
    return who == 0
               ? (isfinite(r->tree_private_peak_mb) ? r->tree_private_peak_mb : r->tree_peak_mb)
           : who == 1 ? r->worker_peak_mb
                      : r->decoder_peak_mb;
}

static void judge_peaks(const oto_job_list *l, oto_judgement *j)
{
    static const char *const names[] = {"all", "worker", "decoder"};
    double shortest = INFINITY, longest = 0;

    for (int i = 0; i < l->n_jobs; i++)
        if (oto_job_is_memory(&l->jobs[i]))
            longest = fmax(longest, l->jobs[i].duration);
    for (int i = 0; i < l->n_jobs; i++)
        if (oto_job_is_memory(&l->jobs[i]) && l->jobs[i].duration > 0 &&
            (l->jobs[i].duration >= OTO_SHORT_S - 1 || longest < LONG_TIMES * OTO_SHORT_S))
            shortest = fmin(shortest, l->jobs[i].duration);
    j->short_s = j->long_s = NAN;
    if (!(longest > LONG_TIMES * shortest))
        return;
    j->short_s = shortest;
    j->long_s = longest;
    for (int who = 0; who < 3; who++) {
        oto_peak *p = &j->peaks[j->n_peaks];

        *p = (oto_peak){.who = names[who], .short_mb = NAN, .long_mb = NAN};
        for (int i = 0; i < l->n_jobs; i++) {
            const oto_job_record *r = &l->jobs[i];

            if (!oto_job_is_memory(r) || !(r->duration > 0))
                continue;
            if (r->duration < 1.1 * shortest)
                p->short_mb = fmax(p->short_mb, peak_of(r, who));
            else if (r->duration > longest / 1.1)
                p->long_mb = fmax(p->long_mb, peak_of(r, who));
        }
        if (!isfinite(p->short_mb) || !isfinite(p->long_mb))
            continue;
        p->per_hour_mb = (p->long_mb - p->short_mb) / (longest - shortest) * 3600;
        p->verdict = p->long_mb - p->short_mb > fmax(PEAK_MB, PEAK_SHARE * p->short_mb) ? OTO_FAIL
                                                                                        : OTO_PASS;
        j->n_peaks++;
    }
}

/* ---- the original's thresholds ---- */

static void judge_original(const oto_job_list *l, oto_judgement *j)
{
    double longest = 0;

    j->longest_delta_mb = j->rtf_worst = NAN;
    for (int i = 0; i < l->n_jobs; i++) {
        const oto_job_record *r = &l->jobs[i];

        if (!oto_job_is_memory(r) || !is(r->status, "success"))
            continue;
        if (isfinite(r->rtf))
            j->rtf_worst = fmax(j->rtf_worst, r->rtf);
        /* Where no duration is told, the size of the file tells which is the longest. */
        const double length = r->duration > 0 ? r->duration : r->audio_size_mb;

        if (length > longest && isfinite(r->worker_rss_delta_mb)) {
            longest = length;
            j->longest_delta_mb = r->worker_rss_delta_mb;
        }
    }
    if (!isfinite(j->longest_delta_mb) || !isfinite(j->rtf_worst))
        j->original = OTO_UNKNOWN;
    else
        j->original = j->longest_delta_mb < ORIGINAL_MB && j->rtf_worst < 1 ? OTO_PASS : OTO_FAIL;
}

/* ---- concurrency ---- */

static oto_level *level_of(oto_judgement *j, int level)
{
    int at = 0;

    while (at < j->n_levels && j->levels[at].level < level)
        at++;
    if (at < j->n_levels && j->levels[at].level == level)
        return &j->levels[at];
    if (j->n_levels == OTO_LEVELS)
        return NULL;
    memmove(&j->levels[at + 1], &j->levels[at], (size_t)(j->n_levels - at) * sizeof j->levels[0]);
    j->levels[at] = (oto_level){.level = level};
    j->n_levels++;
    return &j->levels[at];
}

static bool in_phase(const oto_job_record *r, int level)
{
    return r->phase == NULL ? r->concurrency == level && level > 1
                            : is(r->phase, "concurrency") && r->concurrency == level;
}

static int measure_level(const oto_job_list *l, oto_level *level, oto_err *e)
{
    double *v = malloc(((size_t)l->n_jobs + 1) * sizeof *v);
    double rtf = 0, audio = 0, from = INFINITY, to = -INFINITY;
    int n = 0, n_rtf = 0;

    if (v == NULL)
        return oto_fail(e, OTO_E_INTERNAL, "out of memory for %d records", l->n_jobs);
    for (int i = 0; i < l->n_jobs; i++) {
        const oto_job_record *r = &l->jobs[i];
        const double end = oto_record_time(r->timestamp);

        if (!in_phase(r, level->level) || !is(r->status, "success"))
            continue;
        if (isfinite(r->processing_time))
            v[n++] = r->processing_time;
        if (isfinite(r->rtf)) {
            rtf += r->rtf;
            n_rtf++;
        }
        if (r->duration > 0 && isfinite(end) && isfinite(r->processing_time)) {
            audio += r->duration;
            from = fmin(from, end - r->processing_time);
            to = fmax(to, end);
        }
    }
    level->rtf_mean = n_rtf > 0 ? rtf / n_rtf : NAN;
    level->latency_p50 = oto_percentile(v, n, 0.5);
    level->latency_p95 = oto_percentile(v, n, 0.95);
    level->latency_max = oto_percentile(v, n, 1);
    level->throughput = to > from ? audio / (to - from) : NAN;
    free(v);
    return 0;
}

static int judge_levels(const oto_job_list *l, oto_judgement *j, oto_err *e)
{
    oto_level *level;
    int rc = 0;

    for (int i = 0; i < l->n_jobs; i++) {
        const oto_job_record *r = &l->jobs[i];

        if (!in_phase(r, r->concurrency) || (level = level_of(j, r->concurrency)) == NULL)
            continue;
        level->n++;
        level->n_done += is(r->status, "success");
        level->n_refused += is_refused(r);
    }
    for (int i = 0; i < j->n_levels && rc == 0; i++)
        rc = measure_level(l, &j->levels[i], e);
    for (int i = 0; i < j->n_levels; i++) {
        level = &j->levels[i];
        /* An interrupted level lacks lines: fewer than its number. */
        if (level->n_done < level->n)
            break;
        if (level->n >= level->level)
            j->max_concurrency = level->level;
    }
    for (int i = 0; i < l->n_jobs && j->limit == NULL; i++) {
        const oto_job_record *r = &l->jobs[i];

        if (in_phase(r, r->concurrency) && !is(r->status, "success"))
            j->limit = r->error != NULL ? r->error : r->status;
    }
    return rc;
}

/* ---- all of it ---- */

int oto_judge(const oto_job_list *l, oto_judgement *out, oto_err *e)
{
    bool known = false, failed = false;
    int rc;

    *out = (oto_judgement){.verdict = OTO_UNKNOWN};
    for (int i = 0; i < l->n_jobs; i++) {
        const oto_job_record *r = &l->jobs[i];

        out->n_jobs++;
        out->n_done += is(r->status, "success");
        out->n_refused += is_refused(r);
    }
    out->n_failed = out->n_jobs - out->n_done - out->n_refused;
    if ((rc = judge_growth(l, out, e)) != 0 || (rc = judge_levels(l, out, e)) != 0)
        return rc;
    judge_peaks(l, out);
    judge_original(l, out);
    for (int i = 0; i < out->n_growth; i++) {
        failed = failed || out->growth[i].verdict == OTO_FAIL;
        known = known || out->growth[i].verdict == OTO_PASS;
    }
    for (int i = 0; i < out->n_peaks; i++) {
        failed = failed || out->peaks[i].verdict == OTO_FAIL;
        known = true;
    }
    failed = failed || out->original == OTO_FAIL || out->n_failed > 0;
    known = known || out->original == OTO_PASS || out->n_levels > 0;
    if (out->n_done > 0)
        out->verdict = failed ? OTO_FAIL : known ? OTO_PASS : OTO_UNKNOWN;
    return 0;
}
