/* What the samples of processes tell, as tables, charts and sentences. */
#include "measure/report.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_LISTED 24
#define MAX_LINES  6 /* processes that get a line each */
#define MAX_SHADES 64

/* ---- charts ---- */

void oto_report_chart(oto_report *r, const oto_chart *c, const char *name)
{
    char file[80], path[700];
    oto_str svg;
    int rc;

    oto_str_init(&svg, r->a);
    oto_chart_draw(c, &svg);
    if (svg.n == 0)
        return;
    snprintf(file, sizeof file, "%s.%s.svg", name, r->d.lang);
    snprintf(path, sizeof path, "%.600s/%s", r->o->folder, file);
    rc = oto_write_file(path, svg.p, svg.n, r->rc == 0 ? r->e : NULL);
    if (r->rc == 0)
        r->rc = rc;
    oto_document_chart(&r->d, svg.p, file, c->title);
}

typedef struct {
    double *x, *cpu, *mb;
    int n;
    const char *label;
} line;

static double memory_of(const oto_report *r, const oto_sample_row *row)
{
    return r->seen.has_pss && isfinite(row->pss) ? row->pss : row->rss;
}

/* One line for each process. */
static int lines_of_processes(oto_report *r, line *lines)
{
    for (int i = 0; i < r->seen.n_processes; i++) {
        const oto_process *p = &r->seen.processes[i];
        line *l = &lines[i];
        oto_str label;

        oto_str_init(&label, r->a);
        oto_str_printf(&label, "%s %d (%s)", p->name, p->pid, oto_role(r, p->role));
        l->label = label.p;
        l->x = oto_arena_alloc(r->a, (size_t)p->rows * sizeof(double));
        l->cpu = oto_arena_alloc(r->a, (size_t)p->rows * sizeof(double));
        l->mb = oto_arena_alloc(r->a, (size_t)p->rows * sizeof(double));
        if (l->x == NULL || l->cpu == NULL || l->mb == NULL)
            return i;
        for (int k = 0; k < r->samples.n_rows; k++) {
            const oto_sample_row *row = &r->samples.rows[k];

            if (row->pid != p->pid || l->n == p->rows)
                continue;
            l->x[l->n] = row->at_s;
            l->cpu[l->n] = row->cpu;
            l->mb[l->n++] = memory_of(r, row);
        }
    }
    return r->seen.n_processes;
}

static int role_line(const oto_report *r, line *lines, int *n, const oto_sample_row *row)
{
    const char *role = row->role >= 0 ? r->samples.names[row->role] : r->samples.names[row->name];
    const size_t bytes = (size_t)r->seen.n_ticks * sizeof(double);
    int i = 0;

    while (i < *n && strcmp(lines[i].label, role) != 0)
        i++;
    if (i < *n)
        return i;
    if (*n == OTO_CHART_SERIES)
        return -1;
    lines[i].label = role;
    lines[i].x = oto_arena_alloc(r->a, bytes);
    lines[i].cpu = oto_arena_alloc(r->a, bytes);
    lines[i].mb = oto_arena_alloc(r->a, bytes);
    if (lines[i].x == NULL || lines[i].cpu == NULL || lines[i].mb == NULL)
        return -1;
    ++*n;
    return i;
}

/* One line for each role: the sum of its processes at each tick. */
static int lines_of_roles(oto_report *r, line *lines)
{
    int n = 0;

    for (int k = 0; k < r->samples.n_rows; k++) {
        const oto_sample_row *row = &r->samples.rows[k];
        const int i = row->ended ? -1 : role_line(r, lines, &n, row);
        line *l;

        if (i < 0)
            continue;
        l = &lines[i];
        if (l->n == 0 || l->x[l->n - 1] != row->at_s) {
            l->x[l->n] = row->at_s;
            l->cpu[l->n] = l->mb[l->n] = 0;
            l->n++;
        }
        l->cpu[l->n - 1] += row->cpu;
        l->mb[l->n - 1] += memory_of(r, row);
    }
    for (int i = 0; i < n; i++)
        lines[i].label = oto_role(r, lines[i].label);
    return n;
}

static void put_time_charts(oto_report *r)
{
    line lines[OTO_CHART_SERIES] = {0};
    double shades[MAX_SHADES][2];
    oto_chart c = {.title = oto_say(r, T_CHART_MEMORY),
                   .x_label = oto_say(r, T_AXIS_TIME),
                   .y_label = oto_say(r, T_AXIS_MB),
                   .shades = (const double(*)[2])shades,
                   .shade_label = oto_say(r, T_SHADE),
                   .from_zero = true};

    c.n_series =
        r->seen.n_processes <= MAX_LINES ? lines_of_processes(r, lines) : lines_of_roles(r, lines);
    for (int i = 0; i < r->seen.n_processes && c.n_shades < MAX_SHADES; i++)
        if (isfinite(r->seen.processes[i].window_from_s)) {
            shades[c.n_shades][0] = r->seen.processes[i].window_from_s;
            shades[c.n_shades++][1] = r->seen.processes[i].window_to_s;
        }
    for (int i = 0; i < c.n_series; i++)
        c.series[i] = (oto_chart_series){
            .label = lines[i].label, .x = lines[i].x, .y = lines[i].mb, .n = lines[i].n};
    oto_report_chart(r, &c, "memory");
    c.title = oto_say(r, T_CHART_CPU);
    c.y_label = oto_say(r, T_AXIS_CPU);
    for (int i = 0; i < c.n_series; i++)
        c.series[i].y = lines[i].cpu;
    oto_report_chart(r, &c, "cpu");
}

/* ---- tables ---- */

static const char *text(oto_report *r, const char *format, ...) OTO_PRINTF(2, 3);
static const char *text(oto_report *r, const char *format, ...)
{
    char s[400];
    va_list ap;

    va_start(ap, format);
    vsnprintf(s, sizeof s, format, ap);
    va_end(ap);
    return oto_arena_strdup(r->a, s, strlen(s));
}

static const char *window_text(oto_report *r, const oto_process *p)
{
    if (!isfinite(p->window_from_s))
        return oto_say(r, T_NONE);
    return text(r, "%s–%s (%s)", oto_number(r, p->window_from_s, 1),
                oto_number(r, p->window_to_s, 1),
                oto_say(r, T_WINDOW_CPU, oto_number(r, p->window_cpu, 0)));
}

static const char *job_text(oto_report *r, const oto_process *p)
{
    const oto_job_record *j = p->job >= 0 ? &r->jobs.jobs[p->job] : NULL;

    return j == NULL            ? oto_say(r, T_NONE)
           : j->task_id != NULL ? oto_plain(r->a, j->task_id)
           : j->test_id != NULL ? oto_plain(r->a, j->test_id)
                                : oto_say(r, T_NONE);
}

static int by_peak(const void *a, const void *b)
{
    const oto_process *x = *(const oto_process *const *)a, *y = *(const oto_process *const *)b;

    return (x->peak_mb < y->peak_mb) - (x->peak_mb > y->peak_mb);
}

static void put_processes(oto_report *r)
{
    const int n = r->seen.n_processes;
    const oto_process **list = oto_arena_alloc(r->a, (size_t)n * sizeof(oto_process *));

    if (list == NULL)
        return;
    for (int i = 0; i < n; i++)
        list[i] = &r->seen.processes[i];
    if (n > MAX_LISTED) /* the largest of them */
        qsort(list, (size_t)n, sizeof(oto_process *), by_peak);
    oto_document_heading(&r->d, 3, oto_say(r, T_BY_PROCESS));
    oto_document_table(&r->d, 9);
    oto_row(r, 9, oto_say(r, T_PID), oto_say(r, T_NAME), oto_say(r, T_ROLE), oto_say(r, T_JOB),
            oto_say(r, T_SEEN), oto_say(r, T_RSS_MB), oto_say(r, T_CPU), oto_say(r, T_IDLE),
            oto_say(r, T_WINDOW));
    for (int i = 0; i < OTO_MIN(n, MAX_LISTED); i++) {
        const oto_process *p = list[i];

        oto_row(r, 9, text(r, "%d", p->pid), oto_plain(r->a, p->name), oto_role(r, p->role),
                job_text(r, p),
                text(r, "%s–%s", oto_number(r, p->from_s, 1), oto_number(r, p->to_s, 1)),
                text(r, "%s / %s / **%s**", oto_number(r, p->first_mb, 1),
                     oto_number(r, p->last_mb, 1), oto_number(r, p->peak_mb, 1)),
                text(r, "%s / %s", oto_number(r, p->cpu_mean, 1), oto_number(r, p->cpu_peak, 0)),
                oto_number(r, p->idle_share, 1), window_text(r, p));
    }
    oto_document_table_end(&r->d);
    if (n > MAX_LISTED)
        oto_document_paragraph(&r->d, oto_say(r, T_SHORT_LIVED, oto_number(r, n - MAX_LISTED, 0)));
}

static void put_roles(oto_report *r)
{
    const char *done[32];
    int n_done = 0;

    oto_document_heading(&r->d, 3, oto_say(r, T_BY_ROLE));
    oto_document_table(&r->d, 5);
    oto_row(r, 5, oto_say(r, T_ROLE), oto_say(r, T_COUNT), oto_say(r, T_RSS_MB), oto_say(r, T_CPU),
            oto_say(r, T_IDLE));
    for (int i = 0; i < r->seen.n_processes && n_done < (int)OTO_COUNT(done); i++) {
        const oto_process *first = &r->seen.processes[i], *last = first;
        double peak = 0, cpu = 0, mean = 0, idle = 0;
        int count = 0, rows = 0, k = 0;

        while (k < n_done && strcmp(done[k], first->role) != 0)
            k++;
        if (k < n_done)
            continue;
        done[n_done++] = first->role;
        for (k = i; k < r->seen.n_processes; k++) {
            const oto_process *p = &r->seen.processes[k];

            if (strcmp(p->role, first->role) != 0)
                continue;
            last = p;
            peak = fmax(peak, p->peak_mb);
            cpu = fmax(cpu, p->cpu_peak);
            mean += p->cpu_mean * p->rows;
            idle += p->idle_share * p->rows;
            rows += p->rows;
            count++;
        }
        oto_row(r, 5, oto_role(r, first->role), oto_number(r, count, 0),
                text(r, "%s / %s / **%s**", oto_number(r, first->first_mb, 1),
                     oto_number(r, last->last_mb, 1), oto_number(r, peak, 1)),
                text(r, "%s / %s", oto_number(r, mean / rows, 1), oto_number(r, cpu, 0)),
                oto_number(r, idle / rows, 1));
    }
    oto_document_table_end(&r->d);
}

void oto_report_resources(oto_report *r)
{
    const oto_analysis *n = &r->seen;

    if (!r->has_samples)
        return;
    oto_document_heading(&r->d, 2, oto_say(r, T_RESOURCES));
    oto_document_heading(&r->d, 3, oto_say(r, T_SAMPLING));
    oto_document_item(
        &r->d, oto_say(r, T_SAMPLES, oto_number(r, n->n_rows, 0), oto_number(r, n->n_ticks, 0)));
    oto_document_item(&r->d, oto_say(r, T_SPAN, oto_duration(r, n->to_s - n->from_s)));
    oto_document_item(&r->d, oto_say(r, T_TICK, oto_number(r, n->tick_s, 2)));
    oto_document_item(&r->d, oto_say(r, T_TREE_TEXT, oto_number(r, n->tree_peak_mb, 1),
                                     oto_number(r, n->tree_peak_at_s, 1),
                                     oto_say(r, n->has_pss ? T_PSS : T_RSS)));
    oto_document_list_end(&r->d);
    put_time_charts(r);
    if (n->n_processes > MAX_LINES)
        put_roles(r);
    put_processes(r);
}

/* ---- findings ---- */

static const oto_process *busiest(const oto_analysis *n)
{
    const oto_process *best = NULL;

    for (int i = 0; i < n->n_processes; i++) {
        const oto_process *p = &n->processes[i];

        if (best == NULL || p->cpu_mean * p->rows > best->cpu_mean * best->rows)
            best = p;
    }
    return best;
}

static const oto_sample_row *row_at(const oto_report *r, const oto_process *p, double at)
{
    const oto_sample_row *found = NULL;

    for (int i = 0; i < r->samples.n_rows; i++) {
        const oto_sample_row *row = &r->samples.rows[i];

        if (row->pid == p->pid && (found == NULL || fabs(row->at_s - at) < fabs(found->at_s - at)))
            found = row;
    }
    return found;
}

typedef struct {
    double at;
    int note;
} moment;

static int by_moment(const void *a, const void *b)
{
    const moment *x = a, *y = b;

    return x->at == y->at ? x->note - y->note : (x->at > y->at) - (x->at < y->at);
}

static void put_busiest(oto_report *r)
{
    const oto_process *p = busiest(&r->seen);
    moment times[] = {{p->from_s, T_NOTE_FIRST},
                      {p->window_from_s, T_NOTE_WINDOW},
                      {p->peak_at_s, T_NOTE_PEAK},
                      {p->window_to_s, T_NOTE_END},
                      {p->to_s, T_NOTE_LAST}};

    if (isfinite(p->window_from_s))
        qsort(times, OTO_COUNT(times), sizeof times[0], by_moment);

    oto_document_heading(&r->d, 3,
                         oto_say(r, T_BUSIEST, oto_plain(r->a, p->name), text(r, "%d", p->pid)));
    oto_document_table(&r->d, 4);
    oto_row(r, 4, oto_say(r, T_AT), oto_say(r, T_CPU_USAGE), oto_say(r, T_MEMORY_RSS),
            oto_say(r, T_NOTE));
    for (size_t i = 0; i < OTO_COUNT(times); i++) {
        const oto_sample_row *row = isfinite(times[i].at) ? row_at(r, p, times[i].at) : NULL;

        if (row != NULL)
            oto_row(r, 4, oto_say(r, T_SECONDS, oto_number(r, row->at_s, 1)),
                    oto_say(r, T_PERCENT, oto_number(r, row->cpu, 1)), oto_number(r, row->rss, 1),
                    oto_say(r, times[i].note));
    }
    oto_document_table_end(&r->d);
}

/* The level line of an idle process, and what it hides. */
static void find_hidden(oto_report *r)
{
    const oto_analysis *n = &r->seen;
    const oto_process *idle = n->hiding >= 0 ? &n->processes[n->hiding] : NULL;
    const char *peaks[12], *growths[12];
    int found = 0;

    if (idle == NULL)
        return;
    for (int i = 0; i < n->n_processes && found < 12; i++) {
        const oto_process *p = &n->processes[i];

        if (p->peak_mb <= 3 * idle->peak_mb)
            continue;
        if (strcmp(p->role, "child") != 0)
            continue;
        peaks[found] = oto_number(r, p->peak_mb, 0);
        growths[found++] = oto_signed(r, p->last_mb - p->first_mb, 0);
    }
    oto_document_item(
        &r->d,
        oto_say(r, T_FIND_HIDDEN, text(r, "%d", idle->pid), oto_number(r, idle->idle_share, 1),
                oto_number(r, idle->peak_mb, 1),
                found > 0 ? oto_listed(r, peaks, found) : oto_number(r, n->hidden_peak_mb, 0)));
    if (found > 0)
        oto_document_item(&r->d, oto_say(r, T_FIND_CHILDREN, oto_listed(r, growths, found)));
    for (int i = 0; i < n->n_processes; i++) {
        const oto_process *p = &n->processes[i];
        const double span = p->window_to_s - p->window_from_s;
        const double audio = p->job >= 0 ? r->jobs.jobs[p->job].duration : NAN;
        double length = audio;

        if (p->job < 0 || !isfinite(span))
            continue;
        /* Where no duration is told, time and RTF of the job give it. */
        if (!isfinite(length))
            length = r->jobs.jobs[p->job].processing_time / r->jobs.jobs[p->job].rtf;
        oto_document_item(&r->d, oto_say(r, T_FIND_LOAD, text(r, "%d", p->pid),
                                         oto_number(r, p->to_s - p->from_s, 1),
                                         oto_number(r, span, 1), oto_number(r, span / length, 3)));
    }
}

static void find_texts(oto_report *r)
{
    const oto_job_list *l = &r->jobs;
    const char *different[8], *last = NULL;
    int n_different = 0, same = 0;

    for (int i = 0; i < l->n_jobs; i++) {
        const oto_job_record *first = &l->jobs[i];
        bool differs = false, seen = false;

        if (first->text_sha256 == NULL || first->audio_file == NULL)
            continue;
        for (int k = 0; k < i && !seen; k++)
            seen = l->jobs[k].text_sha256 != NULL && l->jobs[k].audio_file != NULL &&
                   strcmp(l->jobs[k].audio_file, first->audio_file) == 0;
        if (seen)
            continue;
        for (int k = i + 1; k < l->n_jobs; k++) {
            const oto_job_record *other = &l->jobs[k];

            if (other->text_sha256 == NULL || other->audio_file == NULL ||
                strcmp(other->audio_file, first->audio_file) != 0)
                continue;
            same++;
            differs = differs || strcmp(other->text_sha256, first->text_sha256) != 0;
        }
        if (differs && n_different < 8 && (last == NULL || strcmp(last, first->audio_file) != 0))
            different[n_different++] = last = oto_plain(r->a, first->audio_file);
    }
    if (n_different > 0)
        oto_document_item(&r->d, oto_say(r, T_FIND_TEXTS, oto_listed(r, different, n_different)));
    else if (same > 0)
        oto_document_item(&r->d, oto_say(r, T_FIND_TEXT, oto_number(r, same + 1, 0)));
}

void oto_report_findings(oto_report *r)
{
    const oto_analysis *n = &r->seen;
    const oto_process *high = NULL, *window = NULL;
    const oto_growth *all =
        r->judged.n_growth > 0 ? &r->judged.growth[r->judged.n_growth - 1] : NULL;

    if (!r->has_samples)
        return;
    oto_document_heading(&r->d, 2, oto_say(r, T_FINDINGS));
    put_busiest(r);
    oto_document_paragraph(&r->d, oto_labelled(r, T_OBSERVATIONS, ""));
    find_hidden(r);
    for (int i = 0; i < n->n_processes; i++) {
        const oto_process *p = &n->processes[i];

        if (high == NULL || p->peak_mb > high->peak_mb)
            high = p;
        if (isfinite(p->window_from_s) &&
            (window == NULL ||
             p->window_to_s - p->window_from_s > window->window_to_s - window->window_from_s))
            window = p;
    }
    oto_document_item(&r->d, oto_say(r, T_FIND_PEAK, oto_number(r, high->peak_mb, 1),
                                     oto_role(r, high->role), text(r, "%d", high->pid),
                                     oto_number(r, high->peak_at_s, 1)));
    if (window != NULL)
        oto_document_item(&r->d, oto_say(r, T_FIND_CPU, oto_number(r, window->window_cpu, 0)));
    if (all != NULL && all->verdict != OTO_UNKNOWN && n->hiding < 0)
        oto_document_item(&r->d, oto_say(r, T_FIND_LEVEL, oto_number(r, all->first_mb, 2),
                                         oto_number(r, all->last_mb, 2),
                                         oto_number(r, r->judged.n_trend, 0)));
    find_texts(r);
    oto_document_list_end(&r->d);
}
