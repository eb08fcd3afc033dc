/* otolith stress: what a server under load does to its memory, and how many jobs at once it takes.
 */
#include "cli/cli.h"
#include "measure/measure.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    OPT_URL = 1,
    OPT_AUDIO,
    OPT_PHASE,
    OPT_JOBS,
    OPT_HOURS,
    OPT_MINUTES,
    OPT_MAX_CONCURRENCY,
    OPT_OUT,
    OPT_CSV,
    OPT_BASELINE,
    OPT_PID,
    OPT_NAME,
    OPT_KEY,
    OPT_TIMEOUT,
    OPT_SETTLE,
    OPT_INTERVAL,
    OPT_RESUME,
    OPT_KEEP,
    OPT_QUIET
};

static const oto_cli_option options[] = {
    {OPT_URL, 0, "url", "URL", "the server; http://127.0.0.1:8000"},
    {OPT_AUDIO, 0, "audio", "FILE", "a recording; may be repeated; made when none is given"},
    {OPT_PHASE, 0, "phase", "PHASE",
     "memory, concurrency or endurance; may be repeated; the first two"},
    {OPT_JOBS, 0, "jobs", "N", "of memory after the first few, and of endurance; 100"},
    {OPT_HOURS, 0, "hours", "N", "memory: also one recording of so many hours"},
    {OPT_MINUTES, 0, "minutes", "N", "endurance: by the clock instead of a number of jobs"},
    {OPT_MAX_CONCURRENCY, 0, "max-concurrency", "N", "at once, at most; 64"},
    {OPT_OUT, 0, "out", "FILE", "records of the jobs, JSONL; stress_DATE_TIME.jsonl"},
    {OPT_CSV, 0, "csv", "FILE", "samples of the processes; system_resources_DATE_TIME.csv"},
    {OPT_BASELINE, 0, "baseline", "FILE", "JSONL of a run before, to compare with"},
    {OPT_PID, 0, "pid", "N", "a process of the server, and all below it; may be repeated"},
    {OPT_NAME, 0, "name", "TEXT", "processes whose command line contains it; may be repeated"},
    {OPT_KEY, 0, "key", "KEY", "API key; $OTOLITH_KEY"},
    {OPT_TIMEOUT, 0, "timeout", "S", "of a job; 600"},
    {OPT_SETTLE, 0, "settle", "S", "after a job, before its memory is read; 0.5"},
    {OPT_INTERVAL, 0, "interval", "S", "of the samples; 1"},
    {OPT_RESUME, 0, "resume", NULL, "go on with what --out holds"},
    {OPT_KEEP, 0, "keep", NULL, "leave the jobs on the server"},
    {OPT_QUIET, 'q', "quiet", NULL, "no progress"},
    {0, 0, NULL, NULL, NULL},
};

static const oto_cli_verb verb = {
    .name = "stress",
    .usage = "[OPTION]...",
    .summary = "drive a running server, watch its processes, judge its memory",
    .options = options,
    .notes =
        "Any backend with the same REST API will do. The processes of a server on this machine "
        "are\n"
        "found by its port; others by --pid and --name. Growth of a job is the median of all\n"
        "slopes (Theil-Sen) of private memory against the job's number, of each kind of process.\n"
        "It fails when its 95 % interval lies above 0, Mann-Kendall's test agrees (p < 0.01), and "
        "it is more\n"
        "than 1 KB a job and 0.25 MB in all. `otolith report` makes a report of the two files.\n\n"
        "Exit status: 0 pass, 1 fail, 2 could not be measured, 130 interrupted (--resume goes "
        "on).\n",
};

#define MAX_LIST  64
#define COULD_NOT 2

typedef struct {
    oto_stress_options stress;
    const char *audio[MAX_LIST], *names[16], *baseline;
    int pids[16];
    char jsonl[64], csv[64];
    bool phases, quiet, tty;
    const char *phase; /* that the line on the terminal tells of */
} settings;

/* ---- options ---- */

static int take_seconds(const char *option, const char *value, double lo, double hi, double *out,
                        oto_err *e)
{
    char *end;

    *out = strtod(value, &end);
    if (end == value || *end != '\0' || !(*out >= lo && *out <= hi))
        return oto_fail(e, OTO_E_USAGE, "%s %s: a number from %g to %g", option, value, lo, hi);
    return 0;
}

static int take_phase(settings *o, const char *value, oto_err *e)
{
    oto_stress_options *s = &o->stress;

    if (!o->phases)
        s->memory = s->concurrency = s->endurance = false;
    o->phases = true;
    if (strcmp(value, "memory") == 0)
        s->memory = true;
    else if (strcmp(value, "concurrency") == 0)
        s->concurrency = true;
    else if (strcmp(value, "endurance") == 0)
        s->endurance = true;
    else
        return oto_fail(e, OTO_E_USAGE, "--phase %s: memory, concurrency or endurance", value);
    return 0;
}

static int take_process(settings *o, int id, const char *value, oto_err *e)
{
    oto_monitor_options *m = &o->stress.processes;

    if (m->n_pids == (int)OTO_COUNT(o->pids) || m->n_names == (int)OTO_COUNT(o->names))
        return oto_fail(e, OTO_E_USAGE, "at most %zu processes", OTO_COUNT(o->pids));
    m->pids = o->pids;
    m->names = o->names;
    if (id == OPT_PID)
        return oto_cli_int("--pid", value, 1, 1 << 22, &o->pids[m->n_pids++], e);
    o->names[m->n_names++] = value;
    return 0;
}

static int take(settings *o, int id, const char *value, oto_err *e)
{
    oto_stress_options *s = &o->stress;

    switch (id) {
    case OPT_URL:
        s->url = value;
        return 0;
    case OPT_AUDIO:
        if (s->n_audio == MAX_LIST)
            return oto_fail(e, OTO_E_USAGE, "at most %d recordings", MAX_LIST);
        o->audio[s->n_audio++] = value;
        return 0;
    case OPT_PHASE:
        return take_phase(o, value, e);
    case OPT_JOBS:
        return oto_cli_int("--jobs", value, 0, 10000000, &s->jobs, e);
    case OPT_HOURS:
        return take_seconds("--hours", value, 0, 48, &s->hours, e);
    case OPT_MINUTES:
        return take_seconds("--minutes", value, 0, 100000, &s->minutes, e);
    case OPT_MAX_CONCURRENCY:
        return oto_cli_int("--max-concurrency", value, 1, 1024, &s->max_concurrency, e);
    case OPT_OUT:
        s->jsonl = value;
        return 0;
    case OPT_CSV:
        s->csv = value;
        return 0;
    case OPT_BASELINE:
        o->baseline = value;
        return 0;
    case OPT_PID:
    case OPT_NAME:
        return take_process(o, id, value, e);
    case OPT_KEY:
        s->key = value;
        return 0;
    case OPT_TIMEOUT:
        return take_seconds("--timeout", value, 1, 1e6, &s->timeout_s, e);
    case OPT_SETTLE:
        return take_seconds("--settle", value, 0, 60, &s->settle_s, e);
    case OPT_INTERVAL:
        return take_seconds("--interval", value, 0.05, 3600, &s->interval_s, e);
    case OPT_RESUME:
        s->resume = true;
        return 0;
    case OPT_KEEP:
        s->keep = true;
        return 0;
    default:
        o->quiet = true;
        return 0;
    }
}

/* ---- progress: a bar on a terminal, a line for each phase elsewhere ---- */

static void on_progress(void *arg, const oto_stress_progress *p)
{
    settings *o = arg;
    const double part = p->total > 0 ? OTO_MIN(1.0, (double)p->done / p->total) : 0;
    char bar[25] = "", level[32] = "", worker[32] = "", rtf[32] = "", total[16] = "";

    if (!o->tty) {
        if (o->phase != p->phase)
            fprintf(stderr, "otolith: %s\n", p->phase);
        o->phase = p->phase;
        return;
    }
    for (int i = 0; i < 24; i++)
        bar[i] = p->total == 0 ? ' ' : i < (int)(24 * part) ? '#' : '.';
    if (p->level > 0)
        snprintf(level, sizeof level, "  %d at once", p->level);
    if (isfinite(p->worker_mb) && p->worker_mb > 0)
        snprintf(worker, sizeof worker, "  workers %.1f MB", p->worker_mb);
    if (isfinite(p->last_rtf) && p->last_rtf > 0)
        snprintf(rtf, sizeof rtf, "  RTF %.3f", p->last_rtf);
    if (p->total > 0)
        snprintf(total, sizeof total, "/%d", p->total);
    fprintf(stderr, "\r%-11s [%s] %d%s  %d failed%s%s%s  %.0f s\033[K", p->phase, bar, p->done,
            total, p->n_failed, level, rtf, worker, p->elapsed_s);
}

/* ---- the verdict in words ---- */

static const char *word(oto_verdict v)
{
    return v == OTO_PASS ? "pass" : v == OTO_FAIL ? "FAIL" : "not known";
}

static void print_growth(const oto_judgement *j)
{
    if (j->n_growth == 0)
        return;
    printf("\ngrowth of private memory, %d jobs after a warm-up of %d (a growth of %.1f KB a job "
           "would show):\n",
           j->n_trend, j->n_warm_up, j->resolution_kb);
    for (int i = 0; i < j->n_growth; i++) {
        const oto_growth *g = &j->growth[i];

        if (g->verdict == OTO_UNKNOWN) {
            printf("  %-11s too few jobs\n", g->role);
            continue;
        }
        printf("  %-11s %+10.3f KB a job (95 %%: %+.3f to %+.3f), p %.3f, %.2f -> %.2f MB  %s\n",
               g->role, g->trend.slope * 1024, g->trend.lo * 1024, g->trend.hi * 1024,
               g->trend.mk_p, g->first_mb, g->last_mb, g->verdict == OTO_FAIL ? "GROWS" : "level");
    }
}

static void print_peaks(const oto_judgement *j)
{
    if (j->n_peaks == 0)
        return;
    printf("\npeak, recordings of %.0f s and of %.0f s:\n", j->short_s, j->long_s);
    for (int i = 0; i < j->n_peaks; i++)
        printf("  %-11s %10.1f MB and %.1f MB (%+.2f MB an hour of audio)  %s\n", j->peaks[i].who,
               j->peaks[i].short_mb, j->peaks[i].long_mb, j->peaks[i].per_hour_mb,
               j->peaks[i].verdict == OTO_FAIL ? "GROWS WITH THE LENGTH" : "level");
}

static void print_levels(const oto_judgement *j)
{
    if (j->n_levels == 0)
        return;
    printf("\nat once   done  refused  median s  95 %% s   audio s a second\n");
    for (int i = 0; i < j->n_levels; i++) {
        const oto_level *l = &j->levels[i];

        printf("%7d %6d %8d %9.2f %7.2f %10.1f\n", l->level, l->n_done, l->n_refused,
               l->latency_p50, l->latency_p95, l->throughput);
    }
    if (j->limit != NULL)
        printf("all done up to %d at once; then: %s\n", j->max_concurrency, j->limit);
    else
        printf("all done, up to %d at once: no limit was met\n", j->max_concurrency);
}

static const oto_growth *all_growth(const oto_judgement *j)
{
    return j->n_growth > 0 ? &j->growth[j->n_growth - 1] : NULL;
}

static double peak_of(const oto_job_list *l, bool tree)
{
    double peak = NAN;

    for (int i = 0; i < l->n_jobs; i++)
        peak = fmax(peak, tree ? l->jobs[i].tree_peak_mb : l->jobs[i].worker_rss_after_mb);
    return peak;
}

static void print_ratio(const char *what, double before, double now, const char *unit)
{
    if (!isfinite(before) || !isfinite(now))
        return;
    printf("  %-34s %12.3f -> %.3f %s", what, before, now, unit);
    if (fabs(now) > 1e-9 && before / now > 0)
        printf("  (%.2f times)", before / now);
    putchar('\n');
}

static int print_baseline(const char *path, const oto_job_list *l, const oto_judgement *j,
                          oto_arena *a, oto_err *e)
{
    oto_job_list old;
    oto_judgement was;
    int rc;

    if ((rc = oto_job_list_read(path, a, &old, e)) != 0 || (rc = oto_judge(&old, &was, e)) != 0)
        return rc;
    printf("\nbefore (%s) -> now:\n", path);
    if (all_growth(&was) != NULL && all_growth(j) != NULL)
        print_ratio("growth of all a job", all_growth(&was)->trend.slope * 1024,
                    all_growth(j)->trend.slope * 1024, "KB");
    print_ratio("worker RSS, longest recording", was.longest_delta_mb, j->longest_delta_mb, "MB");
    print_ratio("peak of all processes", peak_of(&old, true), peak_of(l, true), "MB");
    print_ratio("slowest RTF", was.rtf_worst, j->rtf_worst, "");
    if (was.max_concurrency > 0 && j->max_concurrency > 0)
        print_ratio("jobs at once", was.max_concurrency, j->max_concurrency, "");
    return 0;
}

/* *verdict of what the JSONL holds. */
static int conclude(const settings *o, bool seen, oto_verdict *verdict, oto_err *e)
{
    oto_arena *a;
    oto_job_list l;
    oto_judgement j;
    int rc = oto_arena_new("records", (size_t)2 << 30, &a, e);

    if (rc != 0)
        return rc;
    if ((rc = oto_job_list_read(o->stress.jsonl, a, &l, e)) == 0 &&
        (rc = oto_judge(&l, &j, e)) == 0) {
        *verdict = j.verdict;
        printf("%d jobs: %d done, %d refused, %d failed\n", j.n_jobs, j.n_done, j.n_refused,
               j.n_failed);
        if (!seen)
            puts("the server's processes could not be seen (--pid, --name): nothing is known of "
                 "its memory");
        print_growth(&j);
        print_peaks(&j);
        print_levels(&j);
        if (j.original != OTO_UNKNOWN)
            printf("\nlongest recording: worker RSS %+.2f MB (< 200), slowest RTF %.3f (< 1)  %s\n",
                   j.longest_delta_mb, j.rtf_worst, word(j.original));
        if (o->baseline != NULL)
            rc = print_baseline(o->baseline, &l, &j, a, e);
        /* Speed and success alone are no verdict on memory. */
        if (*verdict == OTO_PASS && !seen && (o->stress.memory || o->stress.endurance))
            *verdict = OTO_UNKNOWN;
        printf("\n%s: %s\n", o->stress.jsonl, word(*verdict));
    }
    oto_arena_free(a);
    return rc;
}

static void name_files(settings *o)
{
    const time_t now = time(NULL);
    char date[32];
    struct tm tm;

    localtime_r(&now, &tm);
    strftime(date, sizeof date, "%Y%m%d_%H%M%S", &tm);
    snprintf(o->jsonl, sizeof o->jsonl, "stress_%s.jsonl", date);
    snprintf(o->csv, sizeof o->csv, "system_resources_%s.csv", date);
    if (o->stress.jsonl == NULL)
        o->stress.jsonl = o->jsonl;
    if (o->stress.csv == NULL)
        o->stress.csv = o->csv;
}

static int fail(const oto_err *e)
{
    oto_cli_fail(e);
    return COULD_NOT;
}

int oto_cli_stress(int argc, char **argv)
{
    settings o = {.tty = isatty(STDERR_FILENO) == 1};
    oto_verdict verdict = OTO_UNKNOWN;
    bool seen = false;
    const char *value;
    oto_err e = {0};
    int id, rc = 0, ended;

    oto_stress_defaults(&o.stress);
    o.stress.url = "http://127.0.0.1:8000";
    o.stress.key = getenv("OTOLITH_KEY");
    o.stress.audio = o.audio;
    while (rc == 0 && (id = oto_cli_next(&verb, argc, argv, &value)) > 0)
        rc = take(&o, id, value, &e);
    if (rc == 0 && id == OTO_CLI_HELP)
        return 0;
    if (rc == 0 && id == OTO_CLI_BAD)
        return COULD_NOT;
    if (rc == 0 && optind < argc)
        rc = oto_fail(&e, OTO_E_USAGE, "%s: no operand is expected (otolith stress --help)",
                      argv[optind]);
    if (rc != 0)
        return fail(&e);
    name_files(&o);
    o.stress.interrupted = oto_cli_interrupted;
    o.stress.progress = o.quiet ? NULL : on_progress;
    o.stress.arg = &o;
    ended = oto_stress_run(&o.stress, &seen, &e);
    if (o.tty && !o.quiet)
        fputs("\r\033[K", stderr);
    if (ended != 0)
        oto_cli_fail(&e);
    if (ended != 0 && (ended != OTO_E_CANCELLED || access(o.stress.jsonl, F_OK) != 0))
        return ended == OTO_E_CANCELLED ? OTO_CLI_INTERRUPTED : COULD_NOT;
    rc = conclude(&o, seen, &verdict, &e);
    if (ended == OTO_E_CANCELLED)
        return OTO_CLI_INTERRUPTED;
    return rc != 0 ? fail(&e) : (int)verdict;
}
