/* otolith vad: where there is speech. */
#include "cli/cli.h"
#include "recogniser/recogniser.h"

#include <getopt.h>
#include <inttypes.h>

enum { OPT_MODEL = 1, OPT_THREADS, OPT_OFFLINE, OPT_QUIET };

static const oto_cli_option options[] = {
    {OPT_MODEL, 'm', "model", "MODEL", "name or path; " OTO_CLI_DEFAULT_VAD},
    {OPT_THREADS, 0, "threads", "N", "1 by default"},
    {OPT_OFFLINE, 0, "offline", NULL, "never fetch a model"},
    {OPT_QUIET, 'q', "quiet", NULL, "no remarks on standard error"},
    {0, 0, NULL, NULL, NULL},
};

static const oto_cli_verb verb = {
    .name = "vad",
    .usage = "[OPTION]... FILE|-",
    .summary = "Prints the segments of a recording that hold speech, as JSON: an array of\n"
               "{\"start_ms\": , \"end_ms\": }.",
    .options = options,
};

static void on_span(void *arg, const oto_span *s)
{
    int64_t *n = arg;

    printf("%s\n  {\"start_ms\": %" PRId64 ", \"end_ms\": %" PRId64 "}", (*n)++ > 0 ? "," : "[",
           s->start_ms, s->end_ms);
}

static int on_progress(void *arg, int64_t done_ms, int64_t total_ms)
{
    (void)arg, (void)done_ms, (void)total_ms;
    return oto_cli_interrupted();
}

static int detect(const oto_model *m, int threads, const char *path, bool quiet, oto_err *e)
{
    oto_job_options job;
    oto_job_result result;
    int64_t n = 0;
    int rc;

    oto_job_defaults(&job);
    job.on_progress = on_progress;
    job.arg = &n;
    rc = oto_recogniser_vad(m, threads, path, &job, on_span, &result, e);
    if (rc != 0)
        return rc;
    puts(n > 0 ? "\n]" : "[]");
    if (fflush(stdout) != 0)
        return oto_fail_errno(e, "standard output");
    if (result.warning[0] != '\0' && !quiet)
        oto_log(OTO_LOG_WARN, "%s: %s", path, result.warning);
    return 0;
}

int oto_cli_vad(int argc, char **argv)
{
    const char *name = OTO_CLI_DEFAULT_VAD, *value;
    bool offline = false, quiet = false;
    oto_model *m = NULL;
    oto_err e = {0};
    int id, threads = 1, rc = 0;

    while (rc == 0 && (id = oto_cli_next(&verb, argc, argv, &value)) > 0) {
        if (id == OPT_MODEL)
            name = value;
        else if (id == OPT_THREADS)
            rc = oto_cli_int("--threads", value, 1, 256, &threads, &e);
        else if (id == OPT_OFFLINE)
            offline = true;
        else
            quiet = true;
    }
    if (rc == 0 && id != OTO_CLI_END)
        return oto_cli_stopped(id);
    if (rc == 0 && argc - optind != 1)
        rc = oto_fail(&e, OTO_E_USAGE, "vad takes one recording (otolith vad --help)");
    if (rc == 0)
        rc = oto_cli_model(name, OTO_TASK_VAD, OTO_COMPUTE_AUTO, offline, quiet, &m, &e);
    if (rc == 0)
        rc = detect(m, threads, argv[optind], quiet, &e);
    oto_model_close(m);
    if (rc != 0 && oto_cli_interrupted())
        oto_fail(&e, OTO_E_CANCELLED, "interrupted");
    return rc == 0                 ? 0
           : oto_cli_interrupted() ? (oto_cli_fail(&e), OTO_CLI_INTERRUPTED)
                                   : oto_cli_fail(&e);
}
