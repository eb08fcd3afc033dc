/* otolith models: what can be had, what is here, and other people's files in our form. */
#include "cli/cli.h"

#include <getopt.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 4096

enum { OPT_COMPUTE = 1, OPT_FROM, OPT_OFFLINE, OPT_QUIET };

static const oto_cli_option options[] = {
    {OPT_COMPUTE, 0, "compute", "TYPE", "convert: int8, bf16 or f32; int8"},
    {OPT_FROM, 0, "from", "PATH", "pull: a folder or file with the weights, not the network"},
    {OPT_OFFLINE, 0, "offline", NULL, "pull: never use the network"},
    {OPT_QUIET, 'q', "quiet", NULL, "no progress"},
    {0, 0, NULL, NULL, NULL},
};

static const oto_cli_verb verb = {
    .name = "models",
    .usage = "list\n[OPTION]... pull|verify|rm|path NAME...\n[OPTION]... convert SRC DST",
    .summary = "list     names, sizes, and what is here\n"
               "pull     fetches a model, continuing what was interrupted, and checks it\n"
               "verify   compares the checksums of a model's files\n"
               "rm       removes a model\n"
               "path     prints the folder of a model's files\n"
               "convert  packs a CTranslate2 folder, a whisper.cpp or GGUF file or a folder of\n"
               "         FunASR's into a file that is mapped, not read",
    .options = options,
    .notes = "The models folder is $OTOLITH_MODELS, else $XDG_CACHE_HOME/otolith/models, else\n"
             "~/.cache/otolith/models. OTOLITH_OFFLINE=1 forbids fetching; OTOLITH_HUB=URL and\n"
             "OTOLITH_MODELSCOPE=URL fetch from mirrors of Hugging Face and of ModelScope.",
};

typedef struct {
    oto_catalogue_options catalogue;
    oto_compute compute;
    bool quiet;
    char root[PATH_BYTES / 2];
} settings;

static void on_fetch(void *arg, const char *file, uint64_t done, uint64_t total)
{
    const bool terminal = isatty(STDERR_FILENO) == 1;

    (void)arg;
    if (terminal)
        fprintf(stderr, "\r%s: %.1f of %.1f MB\033[K%s", file, (double)done / 1e6,
                (double)total / 1e6, done == total ? "\n" : "");
    else if (done == total)
        fprintf(stderr, "%s: %.1f MB\n", file, (double)total / 1e6);
}

static int pull(const settings *s, const char *name, oto_err *e)
{
    oto_catalogue_options o = s->catalogue;

    if (!s->quiet)
        o.on_progress = on_fetch;
    return oto_catalogue_pull(name, &o, e);
}

static int verify(const settings *s, const char *name, oto_err *e)
{
    const int rc = oto_catalogue_verify(name, &s->catalogue, e);

    if (rc == 0)
        printf("%s: OK\n", name);
    return rc;
}

static int remove_model(const settings *s, const char *name, oto_err *e)
{
    return oto_catalogue_remove(name, &s->catalogue, e);
}

static int print_path(const settings *s, const char *name, oto_err *e)
{
    char path[PATH_BYTES];
    const int rc = oto_catalogue_source(name, &s->catalogue, path, sizeof path, e);

    if (rc == 0)
        puts(path);
    return rc;
}

static const struct {
    const char *name;
    int (*fn)(const settings *s, const char *model, oto_err *e);
} actions[] = {{"pull", pull}, {"verify", verify}, {"rm", remove_model}, {"path", print_path}};

static int list(const settings *s)
{
    char path[PATH_BYTES];

    printf("%-26s %-4s %9s  %-10s  %-9s %s\n", "NAME", "TASK", "MB", "LICENCE", "HERE",
           "DESCRIPTION");
    for (const oto_catalogue_entry *c = oto_catalogue(); c->name != NULL; c++)
        printf("%-26s %-4s %9.1f  %-10s  %-9s %s\n", c->name, c->task,
               (double)c->download_bytes / 1e6, c->licence,
               oto_catalogue_source(c->name, &s->catalogue, path, sizeof path, NULL) == 0 ? "yes"
                                                                                          : "-",
               c->description);
    return 0;
}

/* One that fails does not stop the others. */
static int each(const settings *s, int (*fn)(const settings *, const char *, oto_err *),
                char **names, int n)
{
    int status = 0;

    for (int i = 0; i < n; i++) {
        oto_err e = {0};

        if (fn(s, names[i], &e) != 0)
            status = oto_cli_fail(&e);
    }
    return status;
}

static int act(const settings *s, char **words, int n, oto_err *e)
{
    const char *action = n > 0 ? words[0] : "";

    if (strcmp(action, "list") == 0 && n == 1)
        return list(s);
    if (strcmp(action, "convert") == 0) {
        if (n != 3)
            return oto_cli_status(oto_fail(e, OTO_E_USAGE, "models convert takes SRC and DST"));
        return oto_cli_status(oto_model_convert(words[1], words[2], s->compute, e));
    }
    for (size_t i = 0; i < OTO_COUNT(actions); i++) {
        if (strcmp(action, actions[i].name) != 0)
            continue;
        if (n < 2)
            return oto_cli_status(oto_fail(e, OTO_E_USAGE, "models %s: no name given", action));
        return each(s, actions[i].fn, words + 1, n - 1);
    }
    return oto_cli_status(oto_fail(e, OTO_E_USAGE,
                                   "models: expected list, pull, verify, rm, path or convert "
                                   "(otolith models --help)"));
}

int oto_cli_models(int argc, char **argv)
{
    settings s = {.compute = OTO_COMPUTE_I8};
    const char *value, *from = NULL;
    bool offline = false;
    oto_err e = {0};
    int id, status;

    while ((id = oto_cli_next(&verb, argc, argv, &value)) > 0) {
        if (id == OPT_COMPUTE && oto_cli_compute("--compute", value, &s.compute, &e) != 0)
            return oto_cli_fail(&e);
        if (id == OPT_FROM)
            from = value;
        offline = offline || id == OPT_OFFLINE;
        s.quiet = s.quiet || id == OPT_QUIET;
    }
    if (id != OTO_CLI_END)
        return oto_cli_stopped(id);
    if (s.compute == OTO_COMPUTE_AUTO)
        s.compute = OTO_COMPUTE_I8;
    if (oto_cli_catalogue(offline, s.root, sizeof s.root, &s.catalogue, &e) != 0)
        return oto_cli_fail(&e);
    s.catalogue.from = from;
    status = act(&s, argv + optind, argc - optind, &e);
    if (e.code != 0)
        oto_cli_fail(&e);
    return status;
}
