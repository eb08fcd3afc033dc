/* otolith serve: the whole backend. What needs the database or a model before the start happens in
 * a child, so that the supervisor, which this process becomes, holds neither. */
#include "cli/conf.h"
#include "server/server.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES   1024
#define LOCK_WAIT_MS 10000
/* Supervisor and gateway, out of the memory for all. */
#define OWN_BYTES ((int64_t)64 << 20)

static const char notes[] =
    "Each setting may also stand in a file (--config) and in the environment (OTOLITH_MAX_UPLOAD\n"
    "for --max-upload); the command line wins over the environment, that over the file.\n"
    "SIGTERM stops cleanly, SIGHUP reads the file again and replaces the workers one by one.\n"
    "docs/operations.md is the operator's guide, docs/api.md the clients'.";

static oto_cli_verb verb = {.name = "serve",
                            .usage = "[OPTION]...",
                            .summary = "The speech-to-text server: API, durable queue, workers.",
                            .notes = notes};

/* What the preparing child found out, in memory shared with it. */
typedef struct {
    char asr_path[PATH_BYTES], vad_path[PATH_BYTES];
    bool multilingual;
    int n_keys, reclaimed, swept;
    oto_err error;
} prepared;

typedef struct {
    oto_conf conf;
    int argc;
    char **argv;
    const char *file;
    char data[PATH_BYTES], store[PATH_BYTES + 20], spool_dir[PATH_BYTES + 20];
    oto_spool spool;
    int listen_fds[OTO_MAX_LISTEN], n_listen, lock;
    prepared *found;
    oto_server_options server;
} serve;

/* ---- settings ---- */

static int read_settings(serve *s, bool *print, int *stopped, oto_err *e)
{
    const int n = oto_conf_count();
    const char *value;
    int id, rc = 0;

    verb.options = oto_conf_options();
    oto_conf_defaults(&s->conf);
    *print = false;
    *stopped = OTO_CLI_END;
    /* Once for the file, then again for what overrides it. */
    optind = 1;
    while ((id = oto_cli_next(&verb, s->argc, s->argv, &value)) > 0)
        if (id == n + 1)
            s->file = value;
    if (id != OTO_CLI_END) {
        *stopped = id;
        return 0;
    }
    if (optind != s->argc)
        return oto_fail(e, OTO_E_USAGE, "serve takes no '%s' (otolith serve --help)",
                        s->argv[optind]);
    if (s->file != NULL && (rc = oto_conf_read_file(&s->conf, s->file, e)) != 0)
        return rc;
    if ((rc = oto_conf_read_environment(&s->conf, e)) != 0)
        return rc;
    optind = 1;
    while (rc == 0 && (id = oto_cli_next(&verb, s->argc, s->argv, &value)) > 0)
        if (id <= n)
            rc = oto_conf_set_flag(&s->conf, id - 1, value, e);
        else if (id == n + 2)
            *print = true;
    return rc;
}

static void set_log(const oto_conf *c)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    const char *level = oto_conf_text(c, "log-level");
    int i = 0;

    while (i < 3 && strcmp(names[i], level) != 0)
        i++;
    oto_log_setup((oto_log_level)i, strcmp(oto_conf_text(c, "log"), "json") == 0);
}

int oto_cli_data_folder(const char *wanted, char *out, size_t n, oto_err *e)
{
    const char *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int len;

    if (wanted != NULL)
        len = snprintf(out, n, "%s", wanted);
    else if (xdg != NULL && xdg[0] == '/')
        len = snprintf(out, n, "%s/otolith", xdg);
    else if (home != NULL && home[0] != '\0')
        len = snprintf(out, n, "%s/.local/share/otolith", home);
    else
        return oto_fail(e, OTO_E_USAGE, "no folder for the data: set --data or HOME");
    if (len < 0 || (size_t)len >= n || len > 300)
        return oto_fail(e, OTO_E_USAGE, "data: the folder's name is too long");
    return oto_mkdirs(out, e);
}

static int open_data(serve *s, oto_err *e)
{
    int rc = oto_cli_data_folder(oto_conf_text(&s->conf, "data"), s->data, sizeof s->data, e);

    if (rc != 0)
        return rc;
    snprintf(s->store, sizeof s->store, "%s/otolith.db", s->data);
    snprintf(s->spool_dir, sizeof s->spool_dir, "%s/spool", s->data);
    return oto_spool_open(s->spool_dir, 0, oto_conf_number(&s->conf, "min-free"), &s->spool, e);
}

/* One server for one folder. The lock is inherited by the children, so the successor of a killed
 * server waits until the last of them has gone. */
static int lock_data(serve *s, oto_err *e)
{
    const int64_t until = oto_now_ms() + LOCK_WAIT_MS;
    const struct timespec nap = {0, 20000000};
    char path[PATH_BYTES + 20];

    snprintf(path, sizeof path, "%s/lock", s->data);
    s->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->lock < 0)
        return oto_fail_errno(e, "%s", path);
    while (flock(s->lock, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR)
            return oto_fail_errno(e, "%s", path);
        if (oto_now_ms() > until)
            return oto_fail(e, OTO_E_BUSY, "%s: in use by another otolith serve", s->data);
        nanosleep(&nap, NULL);
    }
    return 0;
}

/* ---- preparing ---- */

static int prepare_store(serve *s, oto_err *e)
{
    prepared *p = s->found;
    oto_arena *a = NULL;
    oto_store *store;
    oto_key keys[64];
    int n = 0, rc = oto_store_open(s->store, &store, e);

    if (rc != 0)
        return rc;
    if ((rc = oto_arena_new("keys", 1 << 20, &a, e)) == 0 &&
        (rc = oto_store_check(store, e)) == 0 &&
        (rc = oto_store_reclaim(store, NULL, false, oto_clock_ms(), &p->reclaimed, e)) == 0 &&
        (rc = oto_spool_sweep(&s->spool, store, oto_clock_ms(), &p->swept, e)) == 0)
        rc = oto_store_key_list(store, a, keys, (int)OTO_COUNT(keys), &n, e);
    p->n_keys = n;
    oto_arena_free(a);
    oto_store_close(store);
    return rc;
}

static int prepare_models(serve *s, oto_err *e)
{
    const bool offline = oto_conf_flag(&s->conf, "offline");
    prepared *p = s->found;
    oto_compute compute;
    int rc;

    oto_compute_parse(oto_conf_text(&s->conf, "compute"), &compute);
    rc = oto_cli_model_path(oto_conf_text(&s->conf, "model"), OTO_TASK_ASR, compute, offline,
                            p->asr_path, sizeof p->asr_path, &p->multilingual, e);
    if (rc == 0 && oto_conf_flag(&s->conf, "no-vad"))
        p->vad_path[0] = '\0'; /* of the settings before */
    else if (rc == 0)
        rc = oto_cli_model_path(OTO_CLI_DEFAULT_VAD, OTO_TASK_VAD, OTO_COMPUTE_AUTO, offline,
                                p->vad_path, sizeof p->vad_path, NULL, e);
    return rc;
}

static int in_child(serve *s, int (*fn)(serve *s, oto_err *e), oto_err *e)
{
    prepared *p = s->found;
    int status;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    if (pid < 0)
        return oto_fail_errno(e, "fork");
    if (pid == 0)
        _exit(fn(s, &p->error) != 0);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (oto_cli_interrupted())
        return oto_fail(e, OTO_E_CANCELLED, "interrupted");
    if (!WIFEXITED(status))
        return oto_fail(e, OTO_E_INTERNAL, "the process that prepares the start died");
    return WEXITSTATUS(status) == 0 ? 0 : oto_fail(e, p->error.code, "%s", p->error.text);
}

static int prepare(serve *s, oto_err *e)
{
    int rc;

    s->found =
        mmap(NULL, sizeof *s->found, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s->found == MAP_FAILED)
        return oto_fail_errno(e, "shared memory");
    if ((rc = in_child(s, prepare_store, e)) != 0 || (rc = in_child(s, prepare_models, e)) != 0)
        return rc;
    if (s->found->reclaimed > 0)
        oto_log(OTO_LOG_WARN, "%d job(s) were running when the server ended: queued again",
                s->found->reclaimed);
    if (s->found->swept > 0)
        oto_log(OTO_LOG_INFO, "%d unfinished upload(s) removed", s->found->swept);
    return 0;
}

/* ---- sockets ---- */

static int listen_all(serve *s, oto_err *e)
{
    char list[OTO_CONF_VALUE], *save = NULL;
    int rc = 0;

    snprintf(list, sizeof list, "%s", oto_conf_text(&s->conf, "listen"));
    for (char *a = strtok_r(list, ", ", &save); a != NULL && rc == 0;
         a = strtok_r(NULL, ", ", &save)) {
        if (s->n_listen == OTO_MAX_LISTEN)
            return oto_fail(e, OTO_E_USAGE, "listen: at most %d addresses", OTO_MAX_LISTEN);
        rc = oto_server_listen(a, &s->listen_fds[s->n_listen], e);
        s->n_listen += rc == 0;
    }
    if (rc == 0 && s->n_listen == 0)
        rc = oto_fail(e, OTO_E_USAGE, "listen: no address");
    return rc;
}

static int check_public(const serve *s, oto_err *e)
{
    char address[80];

    if (s->found->n_keys > 0 || oto_conf_flag(&s->conf, "allow-anonymous") ||
        oto_conf_flag(&s->conf, "require-keys"))
        return 0;
    for (int i = 0; i < s->n_listen; i++)
        if (oto_server_is_public(s->listen_fds[i])) {
            oto_server_address(s->listen_fds[i], address, sizeof address);
            return oto_fail(e, OTO_E_USAGE,
                            "listen: %s reaches other machines and there is no API key: make one "
                            "(otolith keys add --data %.200s), or say --allow-anonymous",
                            address, s->data);
        }
    return 0;
}

/* ---- running ---- */

static int run_gateway(void *arg, oto_board *b)
{
    serve *s = arg;

    return oto_server_run(&s->server, b);
}

static void server_options(serve *s, oto_server_options *o)
{
    const oto_conf *c = &s->conf;

    oto_server_defaults(o);
    o->listen_fds = s->listen_fds;
    o->n_listen = s->n_listen;
    o->store = s->store;
    o->spool = &s->spool;
    o->model = oto_conf_text(c, "model");
    o->aliases = oto_conf_text(c, "aliases");
    o->multilingual = s->found->multilingual;
    o->tls_cert = oto_conf_text(c, "tls-cert");
    o->tls_key = oto_conf_text(c, "tls-key");
    o->cors = oto_conf_text(c, "cors");
    o->max_upload_bytes = oto_conf_number(c, "max-upload");
    o->upload_timeout_s = (int)oto_conf_number(c, "upload-timeout");
    o->max_queued = oto_conf_number(c, "max-queue");
    o->max_connections = (int)oto_conf_number(c, "max-connections");
    o->max_audio_ms = oto_conf_number(c, "max-audio") * 1000;
    o->keep_ms = oto_conf_number(c, "keep") * 1000;
    o->keep_bytes = oto_conf_number(c, "keep-size");
    /* Keys that were revoked still close the door. */
    o->require_keys = oto_conf_flag(c, "require-keys") || s->found->n_keys > 0;
    o->allow_private_webhooks = oto_conf_flag(c, "allow-private-webhooks");
    o->webhook_secret = oto_conf_text(c, "webhook-secret");
    o->drain_s = (int)oto_conf_number(c, "drain");
}

static int worker_count(const oto_conf *c)
{
    const int asked = (int)oto_conf_number(c, "workers");

    return asked > 0 ? asked : OTO_MAX(1, OTO_MIN(oto_cpu_count() / 4, OTO_MAX_WORKERS));
}

static int worker_options(serve *s, int n, oto_worker_options *o, oto_err *e)
{
    const oto_conf *c = &s->conf;
    const int64_t limit = oto_conf_number(c, "memory-limit");
    const int threads = (int)oto_conf_number(c, "threads");

    if (limit > 0 && limit <= OWN_BYTES)
        return oto_fail(e, OTO_E_LIMIT,
                        "memory-limit: too small, supervisor and gateway have %d MiB",
                        (int)(OWN_BYTES >> 20));
    *o = (oto_worker_options){
        .store = s->store,
        .spool = &s->spool,
        .asr_path = s->found->asr_path,
        .vad_path = s->found->vad_path[0] != '\0' ? s->found->vad_path : NULL,
        .threads = threads > 0 ? threads : OTO_MAX(1, oto_cpu_count() / n),
        .lanes = (int)oto_conf_number(c, "jobs-per-worker"),
        .batch = (int)oto_conf_number(c, "batch"),
        .beam = (int)oto_conf_number(c, "beam"),
        .memory_bytes = limit > 0 ? (size_t)(limit - OWN_BYTES) / (size_t)n : 0,
        .recycle_jobs = (int)oto_conf_number(c, "recycle-jobs"),
        .recycle_s = (int)OTO_MIN(oto_conf_number(c, "recycle-age"), INT32_MAX),
        .recycle_bytes = (size_t)oto_conf_number(c, "recycle-growth"),
        .drain_s = (int)oto_conf_number(c, "drain"),
    };
    oto_compute_parse(oto_conf_text(c, "compute"), &o->compute);
    return 0;
}

/* SIGHUP: the settings anew, for the children that are then replaced. What is bound or opened
 * already (listen, data, workers) stays. */
static int reload(void *arg, oto_worker_options *worker, oto_err *e)
{
    serve *s = arg;
    serve fresh = *s;
    bool print;
    int stopped, rc;

    if ((rc = read_settings(&fresh, &print, &stopped, e)) != 0)
        return rc;
    if ((rc = in_child(&fresh, prepare_models, e)) != 0)
        return rc;
    s->conf = fresh.conf;
    set_log(&s->conf);
    server_options(s, &s->server);
    return worker_options(s, worker_count(&s->conf), worker, e);
}

static int run(serve *s, oto_err *e)
{
    oto_supervisor_options o = {.n_workers = worker_count(&s->conf),
                                .gateway = run_gateway,
                                .reload = reload,
                                .arg = s,
                                .drain_s = (int)oto_conf_number(&s->conf, "drain")};
    const char *scheme = oto_conf_text(&s->conf, "tls-cert") != NULL ? "https" : "http";
    struct rlimit files;
    char address[80];
    int rc = worker_options(s, o.n_workers, &o.worker, e);

    if (rc != 0)
        return rc;
    server_options(s, &s->server);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    /* Stopping is the supervisor's business from here on. */
    signal(SIGTERM, SIG_DFL);
    signal(SIGINT, SIG_DFL);
    for (int i = 0; i < s->n_listen; i++) {
        oto_server_address(s->listen_fds[i], address, sizeof address);
        oto_log(OTO_LOG_INFO, "listening on %s://%s", scheme, address);
    }
    return oto_supervisor_run(&o, e);
}

static int check_tls(const oto_conf *c, oto_err *e)
{
    static const char *const names[] = {"tls-cert", "tls-key"};

    if ((oto_conf_text(c, names[0]) == NULL) != (oto_conf_text(c, names[1]) == NULL))
        return oto_fail(e, OTO_E_USAGE, "tls-cert and tls-key go together");
    for (int i = 0; i < 2; i++)
        if (oto_conf_text(c, names[i]) != NULL && access(oto_conf_text(c, names[i]), R_OK) != 0)
            return oto_fail_errno(e, "%s: %s", names[i], oto_conf_text(c, names[i]));
    return 0;
}

int oto_cli_serve(int argc, char **argv)
{
    static serve s;
    oto_err e = {0};
    bool print;
    int stopped, rc;

    s.argc = argc;
    s.argv = argv;
    rc = read_settings(&s, &print, &stopped, &e);
    if (rc == 0 && stopped != OTO_CLI_END)
        return oto_cli_stopped(stopped);
    if (rc == 0 && print) {
        oto_conf_print(&s.conf, stdout);
        return 0;
    }
    if (rc == 0)
        set_log(&s.conf);
    if (rc != 0 || (rc = check_tls(&s.conf, &e)) != 0 || (rc = open_data(&s, &e)) != 0 ||
        (rc = lock_data(&s, &e)) != 0 || (rc = listen_all(&s, &e)) != 0 ||
        (rc = prepare(&s, &e)) != 0 || (rc = check_public(&s, &e)) != 0 || (rc = run(&s, &e)) != 0)
        return oto_cli_interrupted() ? (oto_cli_fail(&e), OTO_CLI_INTERRUPTED) : oto_cli_fail(&e);
    return 0;
}
