/* otolith monitor: what processes take, as CSV and on the terminal. */
#include "cli/cli.h"
#include "cli/live.h"
#include "measure/measure.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OPT_PID = 1, OPT_NAME, OPT_PORT, OPT_INTERVAL, OPT_DURATION, OPT_OUT, OPT_LIVE };

static const oto_cli_option options[] = {
    {OPT_PID, 0, "pid", "N", "a process and all below it; may be repeated"},
    {OPT_NAME, 0, "name", "TEXT", "processes whose command line contains it; may be repeated"},
    {OPT_PORT, 0, "port", "N", "the server that listens there"},
    {OPT_INTERVAL, 0, "interval", "S", "between samples; 1"},
    {OPT_DURATION, 0, "duration", "S", "how long; until all have ended"},
    {OPT_OUT, 0, "out", "FILE", "CSV; '-' is standard output; without --live and --out that"},
    {OPT_LIVE, 0, "live", NULL, "a line for each process on the terminal"},
    {0, 0, NULL, NULL, NULL},
};

static const oto_cli_verb verb = {
    .name = "monitor",
    .usage = "[OPTION]...",
    .summary = "sample processes: CPU, memory, threads, files, storage",
    .options = options,
    .notes = "Without --pid, --name or --port: the `otolith serve` that runs here. Children are "
             "followed\n"
             "as they come and go; one that has ended comes once more, with ended = 1. MB are 2^20 "
             "bytes.\n"
             "CPU is in percent of one core, over the whole time between two samples. RSS counts "
             "shared\n"
             "pages in each process, PSS divides them, private memory leaves them out; of many or "
             "large\n"
             "processes these two are read by turns.\n",
};

typedef struct {
    oto_monitor_options processes;
    int pids[64];
    const char *names[64], *out;
    double interval_s, duration_s;
    bool live;
} settings;

/* The part of a core that the dearest figures may cost: what is watched must not notice it. */
#define BUDGET 0.002

static int take_seconds(const char *option, const char *value, double lo, double *out, oto_err *e)
{
    char *end;

    *out = strtod(value, &end);
    if (end == value || *end != '\0' || !(*out >= lo && *out <= 1e9))
        return oto_fail(e, OTO_E_USAGE, "%s %s: seconds, at least %g", option, value, lo);
    return 0;
}

static int take(settings *o, int id, const char *value, oto_err *e)
{
    oto_monitor_options *m = &o->processes;

    switch (id) {
    case OPT_PID:
    case OPT_NAME:
        if (m->n_pids == (int)OTO_COUNT(o->pids) || m->n_names == (int)OTO_COUNT(o->names))
            return oto_fail(e, OTO_E_USAGE, "at most %zu processes", OTO_COUNT(o->pids));
        if (id == OPT_PID)
            return oto_cli_int("--pid", value, 1, 1 << 22, &o->pids[m->n_pids++], e);
        if (value[0] == '\0')
            return oto_fail(e, OTO_E_USAGE, "--name: a text");
        o->names[m->n_names++] = value;
        return 0;
    case OPT_PORT:
        return oto_cli_int("--port", value, 1, 65535, &m->port, e);
    case OPT_INTERVAL:
        return take_seconds("--interval", value, 0.02, &o->interval_s, e);
    case OPT_DURATION:
        return take_seconds("--duration", value, 0, &o->duration_s, e);
    case OPT_OUT:
        o->out = value;
        return 0;
    default:
        o->live = true;
        return 0;
    }
}

/* Sleeps until a moment of the steady clock; an interruption ends it early. */
static void sleep_until(double at_s)
{
    const struct timespec t = {(time_t)at_s, (long)((at_s - floor(at_s)) * 1e9)};

    while (!oto_cli_interrupted() &&
           clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
        ;
}

static int run(const settings *o, oto_monitor *m, FILE *csv, oto_err *e)
{
    static oto_live live;
    const oto_proc_sample *list;
    double due = oto_now_s();
    const double end = o->duration_s >= 0 ? due + o->duration_s : INFINITY;
    bool seen = false;
    int n, rc = 0;

    while (!oto_cli_interrupted()) {
        if ((rc = oto_monitor_look(m, &list, &n, e)) != 0)
            return rc;
        if (csv != NULL && (rc = oto_monitor_csv_rows(m, csv, e)) != 0)
            return rc;
        if (o->live)
            oto_live_draw(&live, list, n, oto_monitor_elapsed_s(m));
        if (n == 0 && !seen)
            return oto_fail(e, OTO_E_NOT_FOUND,
                            "no such process runs here (--pid, --name, --port)");
        if (n == 0)
            return 0; /* all have ended */
        seen = true;
        due += o->interval_s;
        /* After a pause of the machine the cadence begins anew. */
        due = OTO_MAX(due, oto_now_s());
        if (due > end)
            return 0;
        sleep_until(due);
    }
    return 0;
}

static int monitor(const settings *o, oto_err *e)
{
    const char *path = o->out != NULL ? o->out : o->live ? NULL : "-";
    oto_monitor_options processes = o->processes;
    oto_monitor *m;
    FILE *csv = NULL;
    int rc;

    processes.budget_s = BUDGET * o->interval_s;
    rc = oto_monitor_new(&processes, &m, e);

    if (rc != 0)
        return rc;
    if (path != NULL) {
        csv = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
        rc = csv != NULL ? oto_monitor_csv_header(csv, e) : oto_fail_errno(e, "%s", path);
    }
    if (rc == 0)
        rc = run(o, m, csv, e);
    if (csv != NULL && csv != stdout && fclose(csv) != 0 && rc == 0)
        rc = oto_fail_errno(e, "%s", path);
    oto_monitor_free(m);
    return rc;
}

int oto_cli_monitor(int argc, char **argv)
{
    settings o = {.interval_s = 1, .duration_s = -1};
    const char *value;
    oto_err e = {0};
    int id, rc = 0;

    o.processes.pids = o.pids;
    o.processes.names = o.names;
    while (rc == 0 && (id = oto_cli_next(&verb, argc, argv, &value)) > 0)
        rc = take(&o, id, value, &e);
    if (rc == 0 && id != OTO_CLI_END)
        return oto_cli_stopped(id);
    if (rc == 0 && optind < argc)
        rc = oto_fail(&e, OTO_E_USAGE, "%s: no operand is expected (otolith monitor --help)",
                      argv[optind]);
    if (o.processes.n_pids == 0 && o.processes.n_names == 0 && o.processes.port == 0)
        o.names[o.processes.n_names++] = "otolith serve";
    if (rc == 0)
        rc = monitor(&o, &e);
    return rc == 0 ? 0 : oto_cli_fail(&e);
}
