/* A model by name: fetched when it is not there, packed on its first use.
 *
 *   ROOT/NAME/source/            the published files (weights/catalogue.c)
 *   ROOT/NAME/packed-int8.gguf   mapped in milliseconds; made from them, and again when unreadable
 *
 * Fetching and packing happen in a process of their own: they need several times the memory of
 * recognising, and none of it shall count for what comes after. */
#include "cli/cli.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATH_BYTES 4096

/* NULL where it is empty. */
static const char *variable(const char *name)
{
    const char *v = getenv(name);

    return v != NULL && v[0] != '\0' ? v : NULL;
}

int oto_cli_catalogue(bool offline, char *root, size_t n, oto_catalogue_options *out, oto_err *e)
{
    const char *models = variable("OTOLITH_MODELS"), *cache = variable("XDG_CACHE_HOME");
    const char *home = variable("HOME"), *forbidden = variable("OTOLITH_OFFLINE");
    int len;

    if (models != NULL)
        len = snprintf(root, n, "%s", models);
    else if (cache != NULL && cache[0] == '/')
        len = snprintf(root, n, "%s/otolith/models", cache);
    else if (home != NULL)
        len = snprintf(root, n, "%s/.cache/otolith/models", home);
    else
        return oto_fail(e, OTO_E_USAGE, "no models folder: set OTOLITH_MODELS or HOME");
    if (len < 0 || (size_t)len >= n)
        return oto_fail(e, OTO_E_USAGE, "the models folder's name is too long");
    *out = (oto_catalogue_options){.root = root,
                                   .offline = offline || (forbidden && strcmp(forbidden, "0") != 0),
                                   .hub = variable("OTOLITH_HUB"),
                                   .modelscope = variable("OTOLITH_MODELSCOPE")};
    return 0;
}

/* ---- work in another process ---- */

typedef struct {
    const char *name;
    const oto_catalogue_options *catalogue;
    char source[PATH_BYTES], packed[PATH_BYTES];
    oto_compute compute;
    bool quiet;
} prepared;

/* Runs fn in a child; its error comes back over a pipe. */
static int in_child(int (*fn)(prepared *p, oto_err *e), prepared *p, oto_err *e)
{
    oto_err theirs = {0};
    int fds[2], status;
    ssize_t got;
    const pid_t parent = getpid();
    pid_t pid;

    fflush(NULL);
    if (pipe(fds) != 0)
        return oto_fail_errno(e, "%s", p->name);
    pid = fork();
    if (pid < 0) {
        close(fds[0]);
        close(fds[1]);
        return oto_fail_errno(e, "%s", p->name);
    }
    if (pid == 0) {
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* a fetch goes on the next time */
        if (getppid() != parent)
            _exit(2);
        close(fds[0]);
        if (fn(p, &theirs) != 0) {
            const ssize_t sent = write(fds[1], &theirs, sizeof theirs);

            _exit(sent == (ssize_t)sizeof theirs ? 1 : 2);
        }
        _exit(0);
    }
    close(fds[1]);
    do {
        got = read(fds[0], &theirs, sizeof theirs);
    } while (got < 0 && !oto_cli_interrupted());
    close(fds[0]);
    if (oto_cli_interrupted())
        kill(pid, SIGTERM);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (oto_cli_interrupted())
        return oto_fail(e, OTO_E_CANCELLED, "interrupted");
    if (got == (ssize_t)sizeof theirs)
        return oto_fail(e, theirs.code, "%s", theirs.text);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return oto_fail(e, OTO_E_INTERNAL, "%s: the process preparing it died", p->name);
    return 0;
}

static void on_fetch(void *arg, const char *file, uint64_t done, uint64_t total)
{
    static int shown = -1;
    const int percent = total > 0 ? (int)(done * 100 / total) : 0;

    (void)arg;
    if (percent == shown || isatty(STDERR_FILENO) == 0)
        return;
    shown = percent;
    fprintf(stderr, "\r%s: %d %% of %.1f MB\033[K%s", file, percent, (double)total / 1e6,
            done == total ? "\n" : "");
}

static int fetch(prepared *p, oto_err *e)
{
    oto_catalogue_options o = *p->catalogue;

    if (!p->quiet)
        o.on_progress = on_fetch;
    return oto_catalogue_pull(p->name, &o, e);
}

static int pack(prepared *p, oto_err *e)
{
    return oto_model_convert(p->source, p->packed, p->compute, e);
}

/* ---- finding ---- */

static const oto_catalogue_entry *entry_of(const char *name)
{
    for (const oto_catalogue_entry *c = oto_catalogue(); c->name != NULL; c++)
        if (strcmp(c->name, name) == 0)
            return c;
    return NULL;
}

static int find_source(prepared *p, oto_err *e)
{
    int rc = oto_catalogue_source(p->name, p->catalogue, p->source, sizeof p->source, e);

    if (rc != OTO_E_NOT_FOUND)
        return rc;
    if (p->catalogue->offline)
        return oto_fail(e, OTO_E_NOT_FOUND,
                        "model %s is not in %s, and fetching is off (otolith models pull %s)",
                        p->name, p->catalogue->root, p->name);
    if (!p->quiet)
        oto_log(OTO_LOG_INFO, "model %s is not here yet: fetching it (%.0f MB) into %s", p->name,
                (double)entry_of(p->name)->download_bytes / 1e6, p->catalogue->root);
    if ((rc = in_child(fetch, p, e)) != 0)
        return rc;
    return oto_catalogue_source(p->name, p->catalogue, p->source, sizeof p->source, e);
}

static int open_named(prepared *p, oto_model **out, oto_err *e)
{
    oto_err why = {0};
    struct stat st;
    int rc;

    snprintf(p->packed, sizeof p->packed, "%.3000s/%s/packed-%s.gguf", p->catalogue->root, p->name,
             oto_compute_name(p->compute));
    rc = oto_model_open(p->packed, p->compute, out, &why);
    if (rc == 0)
        return 0;
    if ((rc = find_source(p, e)) != 0)
        return rc;
    if (stat(p->packed, &st) == 0 && !p->quiet)
        oto_log(OTO_LOG_WARN, "%s; packing it again", why.text);
    else if (!p->quiet)
        oto_log(OTO_LOG_INFO, "packing %s for %s (once)", p->name, oto_compute_name(p->compute));
    if ((rc = in_child(pack, p, &why)) == 0)
        return oto_model_open(p->packed, p->compute, out, e);
    /* A folder that cannot be written to is no obstacle to reading. */
    if (rc == OTO_E_DENIED || rc == OTO_E_NO_SPACE) {
        if (!p->quiet)
            oto_log(OTO_LOG_WARN, "%s; packing it in memory, every time", why.text);
        return oto_model_open(p->source, p->compute, out, e);
    }
    return oto_fail(e, rc, "%s", why.text);
}

static int check_task(oto_model *m, const char *name, oto_task task, oto_err *e)
{
    static const char *const work[] = {[OTO_TASK_VAD] = "detect speech",
                                       [OTO_TASK_ASR] = "recognise speech",
                                       [OTO_TASK_PUNC] = "punctuate"};
    oto_model_info info;

    oto_model_info_get(m, &info);
    if (info.task == task)
        return 0;
    return oto_fail(e, OTO_E_USAGE, "%s: a %s model, which does not %s", name, info.family,
                    work[task]);
}

static oto_compute wanted_for(oto_task task, oto_compute compute)
{
    return compute != OTO_COMPUTE_AUTO ? compute
           : task == OTO_TASK_VAD      ? OTO_COMPUTE_F32
                                       : OTO_COMPUTE_I8;
}

oto_compute oto_cli_vad_compute(oto_compute asr)
{
    return asr == OTO_COMPUTE_AUTO || asr == OTO_COMPUTE_I8 ? OTO_COMPUTE_I8 : OTO_COMPUTE_F32;
}

int oto_cli_model(const char *name, oto_task task, oto_compute compute, bool offline, bool quiet,
                  oto_model **out, oto_err *e)
{
    const oto_compute wanted = wanted_for(task, compute);
    oto_catalogue_options catalogue;
    prepared p = {.name = name, .catalogue = &catalogue, .compute = wanted, .quiet = quiet};
    char root[PATH_BYTES / 2];
    struct stat st;
    int rc;

    if (entry_of(name) == NULL) {
        if (stat(name, &st) == 0) /* a path: what it is packed for counts unless asked otherwise */
            rc = oto_model_open(name, compute, out, e);
        else if (strchr(name, '/') != NULL)
            return oto_fail_errno(e, "%s", name);
        else
            return oto_fail(e, OTO_E_NOT_FOUND,
                            "%s: no such model or file (otolith models list names them)", name);
    } else {
        rc = oto_cli_catalogue(offline, root, sizeof root, &catalogue, e);
        if (rc == 0)
            rc = open_named(&p, out, e);
    }
    if (rc == 0 && (rc = check_task(*out, name, task, e)) != 0) {
        oto_model_close(*out);
        *out = NULL;
    }
    return rc;
}

int oto_cli_model_path(const char *name, oto_task task, oto_compute compute, bool offline,
                       char *path, size_t n, oto_model_info *about, oto_err *e)
{
    oto_catalogue_options catalogue;
    char root[PATH_BYTES / 2];
    oto_model_info info;
    struct stat st;
    oto_model *m;
    int rc = oto_cli_model(name, task, compute, offline, false, &m, e);

    if (rc != 0)
        return rc;
    oto_model_info_get(m, &info);
    oto_model_close(m);
    if (about != NULL)
        *about = info;
    if (entry_of(name) == NULL) {
        snprintf(path, n, "%s", name);
        return 0;
    }
    if ((rc = oto_cli_catalogue(offline, root, sizeof root, &catalogue, e)) != 0)
        return rc;
    snprintf(path, n, "%s/%s/packed-%s.gguf", root, name,
             oto_compute_name(wanted_for(task, compute)));
    /* Where it could not be kept the source is packed by each process. */
    return stat(path, &st) == 0 ? 0 : oto_catalogue_source(name, &catalogue, path, n, e);
}
