/* A run's report from its files, in Markdown and HTML, in each language asked for. Every sentence
 * is chosen and every figure computed from the data; what they do not tell is left out or said so.
 */
#include "measure/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TESTS   12 /* described one by one */
#define MAX_DETAILS 60 /* lines of the table at each end */

static bool is(const char *s, const char *value)
{
    return s != NULL && strcmp(s, value) == 0;
}

static const char *text(oto_report *r, const char *format, ...) OTO_PRINTF(2, 3);
static const char *text(oto_report *r, const char *format, ...)
{
    char s[700];
    va_list ap;

    va_start(ap, format);
    vsnprintf(s, sizeof s, format, ap);
    va_end(ap);
    return oto_arena_strdup(r->a, s, strlen(s));
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

int oto_report_figures(const oto_job_list *l, size_t at, double *out)
{
    int n = 0;

    for (int i = 0; i < l->n_jobs; i++) {
        const double v = *(const double *)((const char *)&l->jobs[i] + at);

        if (oto_job_is_memory(&l->jobs[i]) && isfinite(v))
            out[n++] = v;
    }
    return n;
}

/* The p-th part of a figure over the jobs that memory is judged by. */
static double part_of(oto_report *r, const oto_job_list *l, size_t at, double p)
{
    const oto_mark mark = oto_arena_mark(r->a);
    double *v = oto_arena_alloc(r->a, ((size_t)l->n_jobs + 1) * sizeof *v);
    const double found = v != NULL ? oto_percentile(v, oto_report_figures(l, at, v), p) : NAN;

    oto_arena_rollback(r->a, mark);
    return found;
}

#define PART(r, list, field, p) part_of(r, list, offsetof(oto_job_record, field), p)

static const oto_growth *all_of(const oto_judgement *j)
{
    return j->n_growth > 0 ? &j->growth[j->n_growth - 1] : NULL;
}

static const oto_process *hiding(const oto_report *r)
{
    return r->has_samples && r->seen.hiding >= 0 ? &r->seen.processes[r->seen.hiding] : NULL;
}

/* ---- title and result ---- */

static void put_head(oto_report *r)
{
    const char *links[3][2];
    const oto_job_list *l = &r->jobs;
    const oto_job_record *first = &l->jobs[0], *last = &l->jobs[l->n_jobs - 1];
    const double began = oto_record_time(first->timestamp) - fmax(0, first->processing_time);
    const int title = r->has_before ? T_TITLE_FIX : T_TITLE;
    const int verdict = hiding(r) != NULL               ? T_UNKNOWN
                        : r->judged.verdict == OTO_PASS ? T_PASSED
                        : r->judged.verdict == OTO_FAIL ? T_FAILED
                                                        : T_UNKNOWN;
    const char *name = text(r, "%s%s%s%s", oto_say(r, title), oto_say(r, T_COLON), r->zh ? "" : " ",
                            oto_say(r, verdict));
    int n = 0;

    oto_document_begin(&r->d, r->a, r->zh ? "zh-CN" : "en", name);
    oto_document_heading(&r->d, 1, name);
    if (r->o->en) {
        links[n][0] = "English";
        links[n++][1] = "report.en";
    }
    if (r->o->zh) {
        links[n][0] = "简体中文";
        links[n++][1] = "report.zh-CN";
    }
    if (n > 1)
        oto_document_links(&r->d, (const char *const(*)[2])links, n);
    oto_document_item(&r->d, oto_labelled(r, T_TEST_TIME,
                                          oto_from_to(r, began, oto_record_time(last->timestamp))));
    oto_document_item(&r->d, oto_labelled(r, T_TEST_FILE,
                                          text(r, "`%s`", oto_plain(r->a, base_of(r->o->jsonl)))));
    if (last->server != NULL)
        oto_document_item(&r->d, oto_labelled(r, T_SERVER, oto_plain(r->a, last->server)));
    if (last->machine != NULL)
        oto_document_item(&r->d, oto_labelled(r, T_MACHINE, oto_plain(r->a, last->machine)));
    oto_document_list_end(&r->d);
}

/* What does not hold, in words. */
static const char *reasons(oto_report *r)
{
    const oto_judgement *j = &r->judged;
    const char *why[24];
    int n = 0;

    for (int i = 0; i < j->n_growth && n < 20; i++)
        if (j->growth[i].verdict == OTO_FAIL)
            why[n++] = oto_say(r, T_WHY_GROWS, oto_role(r, j->growth[i].role),
                               oto_signed(r, j->growth[i].trend.slope * 1024, 2));
    for (int i = 0; i < j->n_peaks && n < 22; i++)
        if (j->peaks[i].verdict == OTO_FAIL)
            why[n++] = oto_say(r, T_WHY_PEAK, oto_role(r, j->peaks[i].who),
                               oto_signed(r, j->peaks[i].per_hour_mb, 1));
    if (j->original == OTO_FAIL)
        why[n++] = oto_say(r, T_WHY_ORIGINAL, oto_signed(r, j->longest_delta_mb, 1),
                           oto_number(r, j->rtf_worst, 3));
    if (j->n_failed > 0)
        why[n++] = oto_say(r, T_WHY_JOBS, oto_number(r, j->n_failed, 0));
    return oto_listed(r, why, n);
}

static void put_result(oto_report *r)
{
    const oto_judgement *j = &r->judged;
    const char *done = oto_number(r, j->n_done, 0), *all = oto_number(r, j->n_jobs, 0);
    const oto_process *idle = hiding(r);

    oto_document_heading(&r->d, 2, oto_say(r, T_RESULT));
    if (idle != NULL)
        oto_document_box(&r->d, "unknown",
                         oto_say(r, T_RESULT_HIDDEN, done, all,
                                 oto_number(r, PART(r, &r->jobs, worker_rss_after_mb, 0), 1),
                                 oto_number(r, PART(r, &r->jobs, worker_rss_after_mb, 1), 1),
                                 text(r, "%d", idle->pid),
                                 oto_number(r, r->seen.hidden_peak_mb, 0)));
    else if (j->verdict == OTO_PASS)
        oto_document_box(&r->d, "pass", oto_say(r, T_RESULT_PASS, done, all));
    else if (j->verdict == OTO_FAIL)
        oto_document_box(&r->d, "fail", oto_say(r, T_RESULT_FAIL, done, all, reasons(r)));
    else
        oto_document_box(&r->d, "unknown", oto_say(r, T_RESULT_UNKNOWN, done, all));
}

/* ---- phase 1 ---- */

static double length_of(const oto_job_record *j)
{
    return isfinite(j->duration) ? j->duration : j->rtf > 0 ? j->processing_time / j->rtf : NAN;
}

static void put_test(oto_report *r, int number, const oto_job_record *j)
{
    oto_document_heading(&r->d, 3,
                         oto_say(r, T_TEST_N, text(r, "%d", number),
                                 j->audio_file != NULL ? oto_plain(r->a, j->audio_file) : "?",
                                 oto_number(r, j->audio_size_mb, 1),
                                 oto_duration(r, length_of(j))));
    oto_document_item(
        &r->d, oto_labelled(r, T_TASK_ID,
                            j->task_id != NULL ? oto_plain(r->a, j->task_id) : oto_say(r, T_NONE)));
    oto_document_item(&r->d, oto_labelled(r, T_TIME, oto_duration(r, j->processing_time)));
    if (isfinite(j->rtf))
        oto_document_item(&r->d, oto_labelled(r, T_RTF,
                                              oto_say(r, j->rtf < 1 ? T_FASTER : T_SLOWER,
                                                      oto_number(r, j->rtf, 3))));
    oto_document_item(&r->d, oto_say(r, T_CHANGE, oto_say(r, T_MEMORY_CHANGE),
                                     oto_number(r, j->worker_rss_before_mb, 1),
                                     oto_number(r, j->worker_rss_after_mb, 1),
                                     oto_signed(r, j->worker_rss_delta_mb, 2)));
    if (j->error != NULL && j->error[0] != '\0')
        oto_document_item(&r->d, text(r, "`%s`", oto_plain(r->a, j->error)));
    oto_document_list_end(&r->d);
}

/* One line for each recording. */
static void put_recordings(oto_report *r)
{
    const oto_job_list *l = &r->jobs;
    double *v = oto_arena_alloc(r->a, 3 * ((size_t)l->n_jobs + 1) * sizeof *v);

    if (v == NULL)
        return;
    oto_document_heading(&r->d, 3, oto_say(r, T_BY_RECORDING));
    oto_document_table(&r->d, 7);
    oto_row(r, 7, oto_say(r, T_RECORDING), oto_say(r, T_LENGTH), oto_say(r, T_JOBS),
            oto_say(r, T_FAILURES), oto_say(r, T_MEDIAN_TIME), oto_say(r, T_MEDIAN_RTF),
            oto_say(r, T_TREE_PEAK));
    for (int i = 0; i < l->n_jobs; i++) {
        const oto_job_record *first = &l->jobs[i];
        double peak = NAN, length = NAN;
        int n = 0, failed = 0, done = 0;
        bool seen = false;

        if (!oto_job_is_memory(first) || first->audio_file == NULL)
            continue;
        for (int k = 0; k < i && !seen; k++)
            seen = oto_job_is_memory(&l->jobs[k]) && is(l->jobs[k].audio_file, first->audio_file);
        if (seen)
            continue;
        for (int k = i; k < l->n_jobs; k++) {
            const oto_job_record *j = &l->jobs[k];

            if (!oto_job_is_memory(j) || !is(j->audio_file, first->audio_file))
                continue;
            n++;
            failed += !is(j->status, "success");
            peak = fmax(peak, j->tree_peak_mb);
            if (!is(j->status, "success"))
                continue;
            length = fmax(length, length_of(j));
            v[done] = j->processing_time;
            v[l->n_jobs + 1 + done++] = j->rtf;
        }
        oto_row(
            r, 7, oto_plain(r->a, first->audio_file), oto_duration(r, length), oto_number(r, n, 0),
            oto_number(r, failed, 0), oto_number(r, oto_percentile(v, done, 0.5), 2),
            oto_number(r, oto_percentile(v + l->n_jobs + 1, done, 0.5), 4), oto_number(r, peak, 1));
    }
    oto_document_table_end(&r->d);
}

static void put_growth(oto_report *r)
{
    const oto_judgement *j = &r->judged;

    if (j->n_growth == 0 || hiding(r) != NULL)
        return;
    oto_document_heading(&r->d, 3, oto_say(r, T_GROWTH));
    oto_document_paragraph(&r->d, oto_say(r, T_GROWTH_TEXT, oto_number(r, j->n_trend, 0),
                                          oto_number(r, j->n_warm_up, 0),
                                          oto_number(r, j->resolution_kb, 1)));
    oto_document_table(&r->d, 6);
    oto_row(r, 6, oto_say(r, T_ROLE), oto_say(r, T_SLOPE), oto_say(r, T_INTERVAL), oto_say(r, T_P),
            oto_say(r, T_FIRST_LAST), oto_say(r, T_VERDICT));
    for (int i = 0; i < j->n_growth; i++) {
        const oto_growth *g = &j->growth[i];

        oto_row(r, 6, oto_role(r, g->role), oto_signed(r, g->trend.slope * 1024, 3),
                isfinite(g->trend.lo) ? text(r, "%s … %s", oto_signed(r, g->trend.lo * 1024, 3),
                                             oto_signed(r, g->trend.hi * 1024, 3))
                                      : oto_say(r, T_NONE),
                oto_number(r, g->trend.mk_p, 3),
                text(r, "%s → %s", oto_number(r, g->first_mb, 2), oto_number(r, g->last_mb, 2)),
                oto_say(r, g->verdict == OTO_FAIL   ? T_GROWS
                           : g->verdict == OTO_PASS ? T_LEVEL
                                                    : T_TOO_FEW));
    }
    oto_document_table_end(&r->d);
}

static void put_jobs_chart(oto_report *r)
{
    const oto_job_list *l = &r->jobs;
    const oto_growth *g = all_of(&r->judged);
    double *x = oto_arena_alloc(r->a, 2 * ((size_t)l->n_jobs + 1) * sizeof *x), ends[2], fitted[2];
    double *y = x + l->n_jobs + 1;
    oto_chart c = {.title = oto_say(r, T_CHART_JOBS),
                   .x_label = oto_say(r, T_AXIS_JOB),
                   .y_label = oto_say(r, T_AXIS_MB)};
    int n = 0;

    if (x == NULL || g == NULL || hiding(r) != NULL)
        return;
    for (int i = 0; i < l->n_jobs; i++) {
        const oto_job_record *j = &l->jobs[i];

        if (!oto_job_is_memory(j) || !is(j->status, "success"))
            continue;
        x[n] = j->job_index > 0 ? j->job_index : n + 1;
        y[n++] = oto_job_private_mb(j, g->role);
    }
    if (n < 4)
        return;
    c.series[0] =
        (oto_chart_series){.label = oto_role(r, g->role), .x = x, .y = y, .n = n, .dots = true};
    c.n_series = 1;
    if (isfinite(g->trend.slope)) {
        ends[0] = x[r->judged.n_warm_up];
        ends[1] = x[n - 1];
        for (int i = 0; i < 2; i++)
            fitted[i] = g->trend.intercept + g->trend.slope * ends[i];
        c.series[c.n_series++] = (oto_chart_series){
            .label = oto_say(r, T_FITTED), .x = ends, .y = fitted, .n = 2, .dashed = true};
    }
    oto_report_chart(r, &c, "growth");
}

static void put_rtf_chart(oto_report *r)
{
    const oto_job_list *l = &r->jobs;
    const size_t room = (size_t)l->n_jobs + 1;
    double *x = oto_arena_alloc(r->a, 3 * room * sizeof *x), low = INFINITY, high = 0;
    oto_chart c = {.title = oto_say(r, T_CHART_RTF),
                   .x_label = oto_say(r, T_AXIS_LENGTH),
                   .y_label = "RTF",
                   .log_x = true,
                   .from_zero = true};
    int n = 0;
    bool work = false;

    for (int i = 0; x != NULL && i < l->n_jobs; i++) {
        const oto_job_record *j = &l->jobs[i];
        const double length = length_of(j);

        if (!oto_job_is_memory(j) || !isfinite(j->rtf) || !(length > 0))
            continue;
        low = fmin(low, length);
        high = fmax(high, length);
        x[n] = length;
        x[room + (size_t)n] = j->rtf;
        x[2 * room + (size_t)n++] = j->rtf_work;
        work = work || isfinite(j->rtf_work);
    }
    if (n < 2 || high < 1.05 * low)
        return;
    c.series[c.n_series++] = (oto_chart_series){
        .label = oto_say(r, T_RTF_WAIT), .x = x, .y = x + room, .n = n, .dots = true};
    if (work)
        c.series[c.n_series++] = (oto_chart_series){
            .label = oto_say(r, T_RTF_WORK), .x = x, .y = x + 2 * room, .n = n, .dots = true};
    oto_report_chart(r, &c, "rtf");
}

static void put_peaks(oto_report *r)
{
    const oto_judgement *j = &r->judged;

    if (j->n_peaks == 0)
        return;
    oto_document_heading(&r->d, 3, oto_say(r, T_PEAKS));
    oto_document_paragraph(&r->d, oto_say(r, T_PEAKS_TEXT));
    oto_document_table(&r->d, 5);
    oto_row(r, 5, oto_say(r, T_PEAK_OF), oto_say(r, T_PEAK_AT, oto_duration(r, j->short_s)),
            oto_say(r, T_PEAK_AT, oto_duration(r, j->long_s)), oto_say(r, T_PER_HOUR),
            oto_say(r, T_VERDICT));
    for (int i = 0; i < j->n_peaks; i++)
        oto_row(r, 5, oto_role(r, j->peaks[i].who), oto_number(r, j->peaks[i].short_mb, 1),
                oto_number(r, j->peaks[i].long_mb, 1), oto_signed(r, j->peaks[i].per_hour_mb, 2),
                oto_say(r, j->peaks[i].verdict == OTO_FAIL ? T_GROWS : T_LEVEL));
    oto_document_table_end(&r->d);
}

static void put_baseline_box(oto_report *r)
{
    const double was = r->was.longest_delta_mb, now = r->judged.longest_delta_mb;

    if (!r->has_before || !isfinite(was) || !isfinite(now))
        return;
    oto_document_box(&r->d, "note",
                     oto_say(r, was > 0 && now > 0 ? T_BASELINE_RATIO : T_BASELINE,
                             oto_signed(r, was, 1), oto_signed(r, now, 1),
                             oto_number(r, was / now, 0)));
}

static void put_memory(oto_report *r)
{
    const oto_job_list *l = &r->jobs;
    int n = 0, number = 0;

    for (int i = 0; i < l->n_jobs; i++)
        n += oto_job_is_memory(&l->jobs[i]);
    if (n == 0)
        return;
    oto_document_heading(&r->d, 2, oto_say(r, T_PHASE_1));
    if (n <= MAX_TESTS) {
        for (int i = 0; i < l->n_jobs; i++)
            if (oto_job_is_memory(&l->jobs[i]))
                put_test(r, ++number, &l->jobs[i]);
    } else {
        put_recordings(r);
    }
    put_baseline_box(r);
    put_growth(r);
    put_jobs_chart(r);
    put_peaks(r);
    put_rtf_chart(r);
}

/* ---- phases 2 and 3 ---- */

static void put_latency_chart(oto_report *r)
{
    const oto_judgement *j = &r->judged;
    double x[OTO_LEVELS], median[OTO_LEVELS], most[OTO_LEVELS];
    oto_chart c = {.title = oto_say(r, T_CHART_LATENCY),
                   .x_label = oto_say(r, T_AXIS_AT_ONCE),
                   .y_label = oto_say(r, T_AXIS_S),
                   .log_x = true,
                   .from_zero = true,
                   .n_series = 2};

    if (j->n_levels < 2)
        return;
    for (int i = 0; i < j->n_levels; i++) {
        x[i] = j->levels[i].level;
        median[i] = j->levels[i].latency_p50;
        most[i] = j->levels[i].latency_p95;
    }
    c.series[0] =
        (oto_chart_series){.label = oto_say(r, T_MEDIAN), .x = x, .y = median, .n = j->n_levels};
    c.series[1] =
        (oto_chart_series){.label = oto_say(r, T_PERCENT_95), .x = x, .y = most, .n = j->n_levels};
    oto_report_chart(r, &c, "latency");
}

static void put_concurrency(oto_report *r)
{
    const oto_judgement *j = &r->judged;

    if (j->n_levels == 0)
        return;
    oto_document_heading(&r->d, 2, oto_say(r, T_PHASE_2));
    oto_document_table(&r->d, 9);
    oto_row(r, 9, oto_say(r, T_LEVEL_OF), oto_say(r, T_TASKS), oto_say(r, T_SUCCESS),
            oto_say(r, T_FAILURES), oto_say(r, T_REFUSED), oto_say(r, T_MEAN_RTF),
            oto_say(r, T_LATENCY), oto_say(r, T_THROUGHPUT), oto_say(r, T_OUTCOME));
    for (int i = 0; i < j->n_levels; i++) {
        const oto_level *l = &j->levels[i];

        oto_row(
            r, 9, oto_number(r, l->level, 0), oto_number(r, l->n, 0), oto_number(r, l->n_done, 0),
            oto_number(r, l->n - l->n_done - l->n_refused, 0), oto_number(r, l->n_refused, 0),
            oto_number(r, l->rtf_mean, 3),
            text(r, "%s / %s", oto_number(r, l->latency_p50, 2), oto_number(r, l->latency_p95, 2)),
            oto_number(r, l->throughput, 1),
            oto_say(r, l->n_done < l->n  ? T_UNSTABLE
                       : l->n < l->level ? T_INCOMPLETE
                                         : T_STABLE));
    }
    oto_document_table_end(&r->d);
    oto_document_paragraph(&r->d, oto_say(r, T_MAX_STABLE, oto_number(r, j->max_concurrency, 0)));
    oto_document_paragraph(&r->d, j->limit != NULL
                                      ? oto_say(r, T_LIMIT_MET, oto_plain(r->a, j->limit))
                                      : oto_say(r, T_NO_LIMIT));
    put_latency_chart(r);
}

static void put_endurance(oto_report *r)
{
    const oto_job_list *l = &r->jobs;
    double audio = 0;
    int n = 0, failed = 0;

    for (int i = 0; i < l->n_jobs; i++) {
        const oto_job_record *j = &l->jobs[i];

        if (!is(j->phase, "endurance"))
            continue;
        n++;
        failed += !is(j->status, "success");
        audio += isfinite(j->duration) ? j->duration : 0;
    }
    if (n == 0)
        return;
    oto_document_heading(&r->d, 2, oto_say(r, T_PHASE_3));
    oto_document_paragraph(&r->d, oto_say(r, T_ENDURANCE_TEXT, oto_number(r, n, 0),
                                          oto_duration(r, audio), oto_number(r, failed, 0)));
}

/* ---- conclusions ---- */

static const char *slope_of(oto_report *r, const oto_growth *g)
{
    return oto_signed(r, g->trend.slope * 1024, 3);
}

static void put_oom(oto_report *r)
{
    const oto_judgement *j = &r->judged;
    const oto_growth *g = all_of(j), *was = r->has_before ? all_of(&r->was) : NULL;
    const char *items[4];
    int n = 0;

    oto_document_heading(&r->d, 3, oto_say(r, T_OOM));
    if (hiding(r) != NULL) {
        oto_document_item(
            &r->d,
            oto_labelled(r, T_EVIDENCE,
                         oto_say(r, T_OOM_HIDDEN, oto_number(r, 2 * r->seen.hidden_peak_mb, 0))));
    } else {
        if (g != NULL && g->verdict != OTO_UNKNOWN)
            items[n++] =
                oto_say(r, T_OOM_SLOPE, slope_of(r, g), oto_signed(r, g->trend.lo * 1024, 3),
                        oto_signed(r, g->trend.hi * 1024, 3));
        if (isfinite(PART(r, &r->jobs, tree_peak_mb, 1)))
            items[n++] =
                oto_say(r, T_OOM_PEAK, oto_number(r, PART(r, &r->jobs, tree_peak_mb, 1), 1));
        if (j->n_peaks > 0)
            items[n++] = oto_say(r, T_OOM_LENGTH, oto_number(r, j->long_s / j->short_s, 1),
                                 oto_signed(r, j->peaks[0].long_mb - j->peaks[0].short_mb, 2));
        if (n > 0)
            oto_document_item(&r->d, oto_labelled(r, T_EVIDENCE, oto_listed(r, items, n)));
    }
    if (was != NULL && was->verdict != OTO_UNKNOWN)
        oto_document_item(
            &r->d, oto_labelled(r, T_BEFORE_LABEL, oto_say(r, T_BEFORE_SLOPE, slope_of(r, was))));
    else if (r->has_before && isfinite(r->was.longest_delta_mb))
        oto_document_item(&r->d, oto_labelled(r, T_BEFORE_LABEL,
                                              oto_say(r, T_BEFORE_DELTA,
                                                      oto_signed(r, r->was.longest_delta_mb, 1))));
    if (r->has_before && g != NULL && g->verdict != OTO_UNKNOWN)
        oto_document_item(&r->d,
                          oto_labelled(r, T_NOW_LABEL, oto_say(r, T_BEFORE_SLOPE, slope_of(r, g))));
    oto_document_list_end(&r->d);
}

static void put_speed(oto_report *r)
{
    const double rtf = PART(r, &r->jobs, rtf, 0.5), work = PART(r, &r->jobs, rtf_work, 0.5);

    if (!isfinite(rtf))
        return;
    oto_document_heading(&r->d, 3, oto_say(r, T_SPEED));
    oto_document_item(&r->d, oto_labelled(r, T_EVIDENCE,
                                          oto_say(r, T_SPEED_RTF, oto_number(r, rtf, 4),
                                                  oto_number(r, r->judged.rtf_worst, 4),
                                                  oto_duration(r, 3600 * rtf))));
    if (isfinite(work))
        oto_document_item(&r->d, oto_say(r, T_SPEED_WORK, oto_number(r, work, 4)));
    if (r->has_before && isfinite(PART(r, &r->before, rtf, 0.5)))
        oto_document_item(&r->d,
                          oto_labelled(r, T_BEFORE_LABEL,
                                       oto_say(r, T_SPEED_BEFORE,
                                               oto_number(r, PART(r, &r->before, rtf, 0.5), 4))));
    oto_document_list_end(&r->d);
}

/* Whether the worker's private memory fell after its work, and what ended. */
static void measure_layers(const oto_report *r, double *worked, double *after, int *ended,
                           double *most)
{
    double at = 0;

    *worked = *after = *most = NAN;
    *ended = 0;
    for (int i = 0; i < r->samples.n_rows; i++) {
        const oto_sample_row *row = &r->samples.rows[i];

        if (row->role < 0 || strcmp(r->samples.names[row->role], "worker") != 0 || row->ended)
            continue;
        if (!(row->private_mb <= *worked)) {
            *worked = row->private_mb;
            at = row->at_s;
        }
    }
    for (int i = 0; i < r->samples.n_rows; i++) {
        const oto_sample_row *row = &r->samples.rows[i];

        if (row->role >= 0 && strcmp(r->samples.names[row->role], "worker") == 0 && !row->ended &&
            row->at_s > at)
            *after = fmin(*after, row->private_mb);
    }
    for (int i = 0; i < r->seen.n_processes; i++) {
        const oto_process *p = &r->seen.processes[i];

        /* Gone well before the end of the samples. */
        if (p->ended || r->seen.to_s - p->to_s > 2 * r->seen.tick_s + 1) {
            ++*ended;
            *most = fmax(*most, p->peak_mb);
        }
    }
}

static void put_layers(oto_report *r)
{
    const oto_growth *g = hiding(r) == NULL ? all_of(&r->judged) : NULL;
    double worked, after, most;
    int ended;

    if (!r->has_samples)
        return;
    measure_layers(r, &worked, &after, &ended, &most);
    oto_document_heading(&r->d, 3, oto_say(r, T_LAYERS));
    oto_document_table(&r->d, 3);
    oto_row(r, 3, oto_say(r, T_LAYER), oto_say(r, T_EFFECT), oto_say(r, T_VERDICT));
    if (g != NULL && g->verdict != OTO_UNKNOWN)
        oto_row(r, 3, oto_say(r, T_LAYER_1), oto_say(r, T_LAYER_1_TEXT, slope_of(r, g)),
                oto_say(r, g->verdict == OTO_PASS ? T_EFFECTIVE : T_NOT_EFFECTIVE));
    else
        oto_row(r, 3, oto_say(r, T_LAYER_1), oto_say(r, T_NONE), oto_say(r, T_NOT_SEEN));
    if (isfinite(worked) && isfinite(after))
        oto_row(r, 3, oto_say(r, T_LAYER_2),
                oto_say(r, T_LAYER_2_TEXT, oto_number(r, worked, 1), oto_number(r, after, 1)),
                oto_say(r, after < 0.5 * worked ? T_EFFECTIVE : T_NOT_SEEN));
    else
        oto_row(r, 3, oto_say(r, T_LAYER_2), oto_say(r, T_NONE), oto_say(r, T_NOT_SEEN));
    oto_row(r, 3, oto_say(r, T_LAYER_3),
            ended > 0 ? oto_say(r, T_LAYER_3_TEXT, oto_number(r, ended, 0), oto_number(r, most, 1))
                      : oto_say(r, T_NONE),
            oto_say(r, ended > 0 ? T_EFFECTIVE : T_NOT_SEEN));
    oto_document_table_end(&r->d);
}

/* ---- data, method, summary ---- */

static void put_data(oto_report *r)
{
    oto_document_heading(&r->d, 2, oto_say(r, T_DATA));
    oto_document_item(&r->d, oto_say(r, T_DATA_JSONL, oto_plain(r->a, base_of(r->o->jsonl)),
                                     oto_number(r, r->jobs.n_jobs, 0)));
    if (r->has_samples)
        oto_document_item(&r->d, oto_say(r, T_DATA_CSV, oto_plain(r->a, base_of(r->o->csv)),
                                         oto_number(r, r->samples.n_rows, 0)));
    if (r->has_before)
        oto_document_item(&r->d,
                          oto_say(r, T_DATA_BASELINE, oto_plain(r->a, base_of(r->o->baseline)),
                                  oto_number(r, r->before.n_jobs, 0)));
    if (r->jobs.n_bad + r->samples.n_bad > 0)
        oto_document_item(
            &r->d, oto_say(r, T_DATA_BAD, oto_number(r, r->jobs.n_bad + r->samples.n_bad, 0)));
    oto_document_list_end(&r->d);
    if (r->has_samples) {
        oto_document_paragraph(&r->d, oto_labelled(r, T_FIELDS, ""));
        for (int i = T_FIELD_1; i <= T_FIELD_3; i++)
            oto_document_item(&r->d, oto_say(r, i));
        oto_document_list_end(&r->d);
    }
    oto_document_heading(&r->d, 2, oto_say(r, T_METHOD));
    for (int i = T_METHOD_1; i <= T_METHOD_5; i++)
        oto_document_item(&r->d, oto_say(r, i));
    oto_document_list_end(&r->d);
    oto_document_heading(&r->d, 2, oto_say(r, T_FURTHER));
    oto_document_paragraph(&r->d, oto_say(r, T_FURTHER_TEXT));
    oto_document_code(
        &r->d,
        text(r,
             "import pandas as pd\n\n"
             "jobs = pd.read_json(\"%s\", lines=True)\n"
             "print(jobs.groupby(\"audio_file\")[[\"processing_time\", \"rtf\"]].median())\n%s%s%s",
             oto_plain(r->a, base_of(r->o->jsonl)),
             r->has_samples ? "\nsamples = pd.read_csv(\"" : "",
             r->has_samples ? oto_plain(r->a, base_of(r->o->csv)) : "",
             r->has_samples ? "\")\n"
                              "print(samples.groupby(\"pid\")[\"memory_rss_mb\"].agg([\"first\", "
                              "\"last\", \"max\"]))\n"
                            : ""));
}

static void put_metric(oto_report *r, int label, double was, double now, int digits, bool sign)
{
    const char *after = sign ? oto_signed(r, now, digits) : oto_number(r, now, digits);

    if (!isfinite(now))
        return;
    if (!r->has_before) {
        oto_row(r, 2, oto_say(r, label), after);
        return;
    }
    oto_row(r, 4, oto_say(r, label), sign ? oto_signed(r, was, digits) : oto_number(r, was, digits),
            after,
            !isfinite(was)                      ? oto_say(r, T_NONE)
            : fabs(was - now) < 0.1 * fabs(was) ? oto_say(r, T_KEPT)
            : was > 0 && now > 0                ? oto_say(r, T_TIMES, oto_number(r, was / now, 1))
                                                : oto_signed(r, now - was, digits));
}

static double slope_kb(const oto_judgement *j)
{
    const oto_growth *g = all_of(j);

    return g != NULL ? g->trend.slope * 1024 : NAN;
}

static void put_summary(oto_report *r)
{
    const oto_judgement *j = &r->judged, *w = &r->was;
    const bool known = hiding(r) == NULL;

    oto_document_heading(&r->d, 2, oto_say(r, T_SUMMARY));
    oto_document_table(&r->d, r->has_before ? 4 : 2);
    if (r->has_before)
        oto_row(r, 4, oto_say(r, T_METRIC), oto_say(r, T_BEFORE), oto_say(r, T_AFTER),
                oto_say(r, T_GAIN));
    else
        oto_row(r, 2, oto_say(r, T_METRIC), oto_say(r, T_VALUE));
    if (known) {
        put_metric(r, T_M_DELTA, w->longest_delta_mb, j->longest_delta_mb, 1, true);
        put_metric(r, T_M_SLOPE, slope_kb(w), slope_kb(j), 2, true);
    }
    put_metric(
        r, T_M_PEAK, PART(r, &r->before, tree_peak_mb, 1),
        fmax(PART(r, &r->jobs, tree_peak_mb, 1), r->has_samples ? r->seen.tree_peak_mb : NAN), 1,
        false);
    put_metric(r, T_M_WORKER, PART(r, &r->before, worker_peak_mb, 1),
               known ? PART(r, &r->jobs, worker_peak_mb, 1) : r->seen.hidden_peak_mb, 1, false);
    put_metric(r, T_M_RTF, PART(r, &r->before, rtf, 0.5), PART(r, &r->jobs, rtf, 0.5), 4, false);
    put_metric(r, T_M_ROW, w->n_done, j->n_done, 0, false);
    if (j->n_levels > 0)
        put_metric(r, T_M_AT_ONCE, w->n_levels > 0 ? w->max_concurrency : NAN, j->max_concurrency,
                   0, false);
    oto_document_table_end(&r->d);
}

/* ---- details ---- */

static void put_detail(oto_report *r, const oto_job_record *j)
{
    const char *status = is(j->status, "success")   ? oto_say(r, T_STATUS_SUCCESS)
                         : is(j->status, "timeout") ? oto_say(r, T_STATUS_TIMEOUT)
                         : is(j->status, "failed")  ? oto_say(r, T_STATUS_FAILED)
                         : j->status != NULL        ? oto_plain(r->a, j->status)
                                                    : oto_say(r, T_NONE);

    oto_row(r, 7, j->test_id != NULL ? oto_plain(r->a, j->test_id) : oto_say(r, T_NONE),
            j->audio_file != NULL ? oto_plain(r->a, j->audio_file) : oto_say(r, T_NONE),
            oto_number(r, j->concurrency, 0), status, oto_number(r, j->processing_time, 1),
            oto_number(r, j->rtf, 3), oto_signed(r, j->worker_rss_delta_mb, 1));
}

static void put_details(oto_report *r)
{
    const oto_job_list *l = &r->jobs;
    const bool cut = l->n_jobs > 2 * MAX_DETAILS;
    int failed = 0;

    oto_document_heading(&r->d, 2, oto_say(r, T_DETAILS));
    if (cut)
        oto_document_paragraph(&r->d, oto_say(r, T_DETAILS_CUT, oto_number(r, MAX_DETAILS, 0),
                                              oto_number(r, l->n_jobs, 0)));
    oto_document_table(&r->d, 7);
    oto_row(r, 7, oto_say(r, T_TEST_ID), oto_say(r, T_AUDIO), oto_say(r, T_LEVEL_OF),
            oto_say(r, T_STATUS), oto_say(r, T_TIME), oto_say(r, T_RTF), oto_say(r, T_DELTA));
    for (int i = 0; i < l->n_jobs; i++) {
        const bool middle = cut && i >= MAX_DETAILS && i < l->n_jobs - MAX_DETAILS;

        if (middle && is(l->jobs[i].status, "success"))
            continue;
        if (middle && ++failed > MAX_DETAILS)
            continue;
        put_detail(r, &l->jobs[i]);
    }
    oto_document_table_end(&r->d);
    if (failed > MAX_DETAILS)
        oto_document_paragraph(
            &r->d, oto_say(r, T_DETAILS_FAILED, oto_number(r, failed - MAX_DETAILS, 0)));
    oto_document_paragraph(&r->d, oto_say(r, T_MADE_BY, OTO_VERSION));
}

/* ---- all of it ---- */

static int write_form(oto_report *r, const oto_str *s, const char *ending)
{
    char path[700];

    if (s->failed)
        return oto_fail(r->e, OTO_E_LIMIT, "report: out of memory");
    snprintf(path, sizeof path, "%.600s/report.%s.%s", r->o->folder, r->d.lang, ending);
    return oto_write_file(path, s->p, s->n, r->e);
}

static int write_language(oto_report *r, bool zh)
{
    const oto_mark mark = oto_arena_mark(r->a);
    int rc;

    r->zh = zh;
    put_head(r);
    put_result(r);
    put_memory(r);
    put_concurrency(r);
    put_endurance(r);
    oto_report_resources(r);
    oto_report_findings(r);
    oto_document_heading(&r->d, 2, oto_say(r, T_CONCLUSIONS));
    put_oom(r);
    put_speed(r);
    put_layers(r);
    put_data(r);
    put_summary(r);
    put_details(r);
    oto_document_end(&r->d);
    rc = r->rc;
    if (rc == 0)
        rc = write_form(r, &r->d.md, "md");
    if (rc == 0)
        rc = write_form(r, &r->d.html, "html");
    oto_arena_rollback(r->a, mark);
    return rc;
}

static int read_files(oto_report *r, oto_err *e)
{
    const oto_report_options *o = r->o;
    int rc;

    if ((rc = oto_job_list_read(o->jsonl, r->a, &r->jobs, e)) != 0 ||
        (rc = oto_judge(&r->jobs, &r->judged, e)) != 0)
        return rc;
    if (o->baseline != NULL) {
        r->has_before = true;
        if ((rc = oto_job_list_read(o->baseline, r->a, &r->before, e)) != 0 ||
            (rc = oto_judge(&r->before, &r->was, e)) != 0)
            return rc;
    }
    if (o->csv != NULL) {
        r->has_samples = true;
        if ((rc = oto_sample_list_read(o->csv, r->a, &r->samples, e)) != 0 ||
            (rc = oto_analyse(&r->samples, &r->jobs, r->a, &r->seen, e)) != 0)
            return rc;
    }
    return 0;
}

int oto_report_write(const oto_report_options *o, oto_err *e)
{
    oto_report *r = calloc(1, sizeof *r);
    int rc;

    if (r == NULL)
        return oto_fail(e, OTO_E_INTERNAL, "out of memory");
    r->o = o;
    r->e = e;
    if ((rc = oto_arena_new("report", (size_t)4 << 30, &r->a, e)) == 0 &&
        (rc = read_files(r, e)) == 0 && (rc = oto_mkdirs(o->folder, e)) == 0) {
        if (o->en)
            rc = write_language(r, false);
        if (rc == 0 && o->zh)
            rc = write_language(r, true);
    }
    oto_arena_free(r->a);
    free(r);
    return rc;
}
