/* otolith report: the files of a stress test as a document. */
#include "cli/cli.h"
#include "measure/measure.h"

#include <getopt.h>
#include <string.h>

enum { OPT_JSONL = 1, OPT_CSV, OPT_BASELINE, OPT_LANG, OPT_OUT };

static const oto_cli_option options[] = {
    {OPT_JSONL, 0, "jsonl", "FILE", "records of the jobs"},
    {OPT_CSV, 0, "csv", "FILE", "samples of the processes"},
    {OPT_BASELINE, 0, "baseline", "FILE", "JSONL of a run before, to compare with"},
    {OPT_LANG, 0, "lang", "LIST", "en, zh-CN or en,zh-CN; both"},
    {OPT_OUT, 0, "out", "FOLDER", "where it is written; report"},
    {0, 0, NULL, NULL, NULL},
};

static const oto_cli_verb verb = {
    .name = "report",
    .usage = "--jsonl FILE [OPTION]...",
    .summary = "a report of a stress test: Markdown and one HTML page, English and Chinese",
    .options = options,
    .notes =
        "Writes report.LANG.md, report.LANG.html and the charts as SVG. Reads the files of other\n"
        "backends' tests as well, if their columns and fields have the usual names.\n",
};

static int take_languages(oto_report_options *o, const char *value, oto_err *e)
{
    char list[64], *save = NULL;

    o->en = o->zh = false;
    snprintf(list, sizeof list, "%s", value);
    for (char *s = strtok_r(list, ", ", &save); s != NULL; s = strtok_r(NULL, ", ", &save)) {
        if (strcmp(s, "en") == 0)
            o->en = true;
        else if (strcmp(s, "zh-CN") == 0 || strcmp(s, "zh") == 0)
            o->zh = true;
        else
            return oto_fail(e, OTO_E_USAGE, "--lang %s: en, zh-CN or both", s);
    }
    return o->en || o->zh ? 0 : oto_fail(e, OTO_E_USAGE, "--lang: en, zh-CN or both");
}

static int take(oto_report_options *o, int id, const char *value, oto_err *e)
{
    switch (id) {
    case OPT_JSONL:
        o->jsonl = value;
        return 0;
    case OPT_CSV:
        o->csv = value;
        return 0;
    case OPT_BASELINE:
        o->baseline = value;
        return 0;
    case OPT_LANG:
        return take_languages(o, value, e);
    default:
        o->folder = value;
        return 0;
    }
}

int oto_cli_report(int argc, char **argv)
{
    oto_report_options o = {.en = true, .zh = true, .folder = "report"};
    const char *value;
    oto_err e = {0};
    int id, rc = 0;

    while (rc == 0 && (id = oto_cli_next(&verb, argc, argv, &value)) > 0)
        rc = take(&o, id, value, &e);
    if (rc == 0 && id != OTO_CLI_END)
        return oto_cli_stopped(id);
    if (rc == 0 && (o.jsonl == NULL || optind < argc))
        rc = oto_fail(&e, OTO_E_USAGE, "report takes --jsonl FILE (otolith report --help)");
    if (rc == 0)
        rc = oto_report_write(&o, &e);
    if (rc != 0)
        return oto_cli_fail(&e);
    if (o.en)
        printf("%s/report.en.html\n", o.folder);
    if (o.zh)
        printf("%s/report.zh-CN.html\n", o.folder);
    return 0;
}
