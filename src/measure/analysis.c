/* What samples of processes tell: who lived when, what it took, when it worked. Nothing is left out
 * because another process bears the worker's name: all of a CSV's processes are looked at. */
#include "measure/analysis.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define ACTIVE  10.0
#define WORKING 150.0
#define BRIDGED 3
/* A process with one thread works when it is this busy. */
#define BUSY 50.0

static int by_pid_and_time(const void *a, const void *b)
{
    const oto_sample_row *x = a, *y = b;

    if (x->pid != y->pid)
        return x->pid < y->pid ? -1 : 1;
    return (x->at_s > y->at_s) - (x->at_s < y->at_s);
}

static int by_time(const void *a, const void *b)
{
    const oto_sample_row *x = a, *y = b;

    return (x->at_s > y->at_s) - (x->at_s < y->at_s);
}

/* ---- one process ---- */

static double mean_cpu(const oto_sample_row *r, int n)
{
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum += r[i].cpu;
    return n > 0 ? sum / n : NAN;
}

static void set_window(oto_process *p, const oto_sample_row *r, int from, int to)
{
    p->window_from_s = r[from].at_s;
    p->window_to_s = r[to].at_s;
    p->window_cpu = mean_cpu(r + from, to - from + 1);
}

static void find_window(oto_process *p, const oto_sample_row *r, int n)
{
    int best_from = 0, best = 0, from = -1, last = -1;

    p->window_from_s = p->window_to_s = p->window_cpu = NAN;
    for (int i = 0; i < n; i++) {
        if (r[i].cpu < WORKING)
            continue;
        if (from < 0 || i - last > BRIDGED + 1)
            from = i;
        last = i;
        if (last - from + 1 > best) {
            best = last - from + 1;
            best_from = from;
        }
    }
    /* One row alone is the first one of a new process, which is often absurd. */
    if (best > 1) {
        set_window(p, r, best_from, best_from + best - 1);
        return;
    }
    for (from = 0; from < n && r[from].cpu < ACTIVE; from++)
        ;
    for (last = n - 1; last >= 0 && r[last].cpu < ACTIVE; last--)
        ;
    if (last > from && mean_cpu(r + from, last - from + 1) >= BUSY)
        set_window(p, r, from, last);
}

static void summarise(const oto_sample_list *l, const oto_sample_row *r, int n, oto_process *p)
{
    int idle = 0;

    *p = (oto_process){.pid = r->pid,
                       .name = l->names[r->name],
                       .role =
                           r->role >= 0 && l->names[r->role][0] != '\0' ? l->names[r->role] : NULL,
                       .rows = n,
                       .from_s = r[0].at_s,
                       .to_s = r[n - 1].at_s,
                       .first_mb = r[0].rss,
                       .last_mb = r[n - 1].rss,
                       .private_first_mb = r[0].private_mb,
                       .private_last_mb = r[n - 1].private_mb,
                       .pss_peak_mb = NAN,
                       .peak_mb = -1,
                       .cpu_peak = -1,
                       .cpu_mean = mean_cpu(r, n),
                       .ended = r[n - 1].ended,
                       .job = -1};
    for (int i = 0; i < n; i++) {
        p->pss_peak_mb = fmax(p->pss_peak_mb, r[i].pss);
        if (r[i].rss > p->peak_mb) {
            p->peak_mb = r[i].rss;
            p->peak_at_s = r[i].at_s;
        }
        if (r[i].cpu > p->cpu_peak) {
            p->cpu_peak = r[i].cpu;
            p->cpu_peak_at_s = r[i].at_s;
        }
        idle += r[i].cpu < ACTIVE;
    }
    p->idle_share = 100.0 * idle / n;
    find_window(p, r, n);
}

/* Where the CSV tells no roles: who is there from beginning to end while others of its name come
 * and go is their parent. */
static void guess_roles(oto_analysis *n)
{
    for (int i = 0; i < n->n_processes; i++) {
        oto_process *p = &n->processes[i];
        bool others = false, whole = p->from_s - n->from_s < 3 && n->to_s - p->to_s < 3;

        if (p->role != NULL)
            continue;
        for (int k = 0; k < n->n_processes; k++)
            others = others || (k != i && strcmp(n->processes[k].name, p->name) == 0);
        p->role = !others ? "process" : whole ? "parent" : "child";
    }
}

/* ---- jobs ---- */

bool oto_job_span(const oto_analysis *n, const oto_job_record *r, double *from_s, double *to_s)
{
    /* The original writes its line some time after the result: 2 s at level 1, then 1 s. */
    const double late = r->phase != NULL                                 ? 0
                        : r->test_id != NULL && strstr(r->test_id, "_t") ? 1
                                                                         : 2;
    const double end = oto_record_time(r->timestamp) - late - n->began;

    if (!isfinite(end) || !isfinite(r->processing_time))
        return false;
    *from_s = end - r->processing_time;
    *to_s = end;
    return true;
}

static int attribute(oto_analysis *n, const oto_job_list *jobs, oto_arena *a, oto_err *e)
{
    const oto_mark mark = oto_arena_mark(a);
    double(*spans)[2];
    int rc = oto_arena_get(a, (size_t)jobs->n_jobs + 1, sizeof *spans, &spans, e);

    if (rc != 0)
        return rc;
    for (int k = 0; k < jobs->n_jobs; k++)
        if (!oto_job_span(n, &jobs->jobs[k], &spans[k][0], &spans[k][1]))
            spans[k][0] = spans[k][1] = NAN;
    for (int i = 0; i < n->n_processes; i++) {
        oto_process *p = &n->processes[i];
        int found = -1, count = 0;

        for (int k = 0; k < jobs->n_jobs && count < 2; k++)
            if (spans[k][0] <= p->to_s && spans[k][1] >= p->from_s) {
                found = k;
                count++;
            }
        if (count == 1)
            p->job = found;
    }
    oto_arena_rollback(a, mark);
    return 0;
}

/* The records' "worker" is process p when all their figures lie within what p took. */
static bool is_of_records(const oto_sample_list *l, const oto_process *p, const oto_job_list *jobs)
{
    double low = INFINITY, high = -INFINITY;
    int n = 0;

    for (int i = 0; i < l->n_rows; i++)
        if (l->rows[i].pid == p->pid) {
            low = fmin(low, l->rows[i].rss);
            high = fmax(high, l->rows[i].rss);
        }
    for (int i = 0; i < jobs->n_jobs; i++) {
        const double mb = jobs->jobs[i].worker_rss_after_mb;

        if (!isfinite(mb) || mb <= 0)
            continue;
        if (mb < low - 1 || mb > high + 1)
            return false;
        n++;
    }
    return n > 0;
}

/* A process that hardly works, while others take several times as much. */
static void find_hiding(const oto_sample_list *l, const oto_job_list *jobs, oto_analysis *n)
{
    n->hiding = -1;
    n->hidden_peak_mb = NAN;
    for (int i = 0; i < n->n_processes && n->hiding < 0; i++) {
        const oto_process *p = &n->processes[i];

        if (p->idle_share < 90 || !is_of_records(l, p, jobs))
            continue;
        for (int k = 0; k < n->n_processes; k++)
            if (n->processes[k].peak_mb > 3 * p->peak_mb) {
                n->hiding = i;
                n->hidden_peak_mb = fmax(n->hidden_peak_mb, n->processes[k].peak_mb);
            }
    }
}

/* ---- all of them ---- */

static void look_at_ticks(const oto_sample_list *l, oto_analysis *n)
{
    double sum = 0, at = l->rows[0].at_s;

    n->from_s = at;
    n->to_s = l->rows[l->n_rows - 1].at_s;
    n->n_ticks = 1;
    n->tree_peak_mb = -1;
    n->began = l->rows[0].when - at;
    for (int i = 0; i <= l->n_rows; i++) {
        if (i == l->n_rows || l->rows[i].at_s != at) {
            if (sum > n->tree_peak_mb) {
                n->tree_peak_mb = sum;
                n->tree_peak_at_s = at;
            }
            if (i == l->n_rows)
                break;
            sum = 0;
            at = l->rows[i].at_s;
            n->n_ticks++;
        }
        if (!l->rows[i].ended)
            sum += n->has_pss && isfinite(l->rows[i].pss) ? l->rows[i].pss : l->rows[i].rss;
    }
    n->tick_s = n->n_ticks > 1 ? (n->to_s - n->from_s) / (n->n_ticks - 1) : NAN;
}

static int by_start(const void *a, const void *b)
{
    const oto_process *x = a, *y = b;

    if (x->from_s != y->from_s)
        return x->from_s < y->from_s ? -1 : 1;
    return (x->pid > y->pid) - (x->pid < y->pid);
}

int oto_analyse(const oto_sample_list *samples, const oto_job_list *jobs, oto_arena *a,
                oto_analysis *out, oto_err *e)
{
    oto_sample_row *rows;
    int n = 1, rc;

    *out = (oto_analysis){.n_rows = samples->n_rows, .hiding = -1};
    if ((rc = oto_arena_get(a, (size_t)samples->n_rows, sizeof *rows, &rows, e)) != 0)
        return rc;
    memcpy(rows, samples->rows, (size_t)samples->n_rows * sizeof *rows);
    for (int i = 0; i < samples->n_rows; i++)
        out->has_pss = out->has_pss || isfinite(rows[i].pss);
    qsort(samples->rows, (size_t)samples->n_rows, sizeof *rows, by_time);
    look_at_ticks(samples, out);
    qsort(rows, (size_t)samples->n_rows, sizeof *rows, by_pid_and_time);
    for (int i = 1; i < samples->n_rows; i++)
        n += rows[i].pid != rows[i - 1].pid;
    if ((rc = oto_arena_get(a, (size_t)n, sizeof *out->processes, &out->processes, e)) != 0)
        return rc;
    for (int from = 0, to; from < samples->n_rows; from = to) {
        for (to = from + 1; to < samples->n_rows && rows[to].pid == rows[from].pid; to++)
            ;
        summarise(samples, rows + from, to - from, &out->processes[out->n_processes++]);
    }
    qsort(out->processes, (size_t)out->n_processes, sizeof *out->processes, by_start);
    guess_roles(out);
    find_hiding(samples, jobs, out);
    return attribute(out, jobs, a, e);
}
