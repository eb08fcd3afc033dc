/* otolith serve: the whole backend. What needs the database or a model before the start happens in
 * a child, so that the supervisor, which this process becomes, holds neither. */
#include "cli/conf.h"
#include "server/server.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES   1024
#define LOCK_WAIT_MS 10000
#define NAP_MS       5
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

/* What the preparing children found out. */
typedef struct {
    oto_served_model models[OTO_MAX_MODELS]; /* the default first */
    int n_models;
    bool punctuate; /* one of them gives text without punctuation */
    bool scripts;   /* OpenCC is there */
    char vad_path[PATH_BYTES], punc_path[PATH_BYTES];
    int n_workers; /* 0: not decided; then it stays */
    int n_keys, reclaimed, swept;
} prepared;

/* How it comes back from a child. */
typedef struct {
    prepared found;
    oto_err error;
} answer;

typedef struct {
    oto_conf conf;
    int argc;
    char **argv;
    const char *file;
    char data[PATH_BYTES], store[PATH_BYTES + 20], spool_dir[PATH_BYTES + 20];
    oto_spool spool;
    int listen_fds[OTO_MAX_LISTEN], n_listen, lock;
    bool reloading;
    mode_t mask; /* of files that are not the server's own */
    prepared found;
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

static void nap(void)
{
    const struct timespec t = {0, NAP_MS * 1000000};

    nanosleep(&t, NULL);
}

/* One server for one folder. The lock is inherited by the children, so the successor of a killed
 * server waits until the last of them has gone. */
static int lock_data(serve *s, oto_err *e)
{
    const int64_t until = oto_now_ms() + LOCK_WAIT_MS;
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
        nap();
    }
    return 0;
}

/* ---- preparing ---- */

static int prepare_store(serve *s, oto_err *e)
{
    prepared *p = &s->found;
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

static void worker_options(serve *s, int n, oto_worker_options *o)
{
    const oto_conf *c = &s->conf;
    const int64_t limit = oto_conf_number(c, "memory-limit");
    const int threads = (int)oto_conf_number(c, "threads");

    *o = (oto_worker_options){
        .store = s->store,
        .spool = &s->spool,
        .models = s->found.models,
        .n_models = s->found.n_models,
        .vad_path = s->found.vad_path[0] != '\0' ? s->found.vad_path : NULL,
        .punc_path = s->found.punc_path[0] != '\0' ? s->found.punc_path : NULL,
        .threads = threads > 0 ? threads : OTO_MAX(1, oto_cpu_count() / n),
        .lanes = (int)oto_conf_number(c, "jobs-per-worker"),
        .batch = (int)oto_conf_number(c, "batch"),
        .beam = (int)oto_conf_number(c, "beam"),
        .memory_bytes = limit > OWN_BYTES ? (size_t)(limit - OWN_BYTES) / (size_t)n : 0,
        .data_bytes =
            (limit > OWN_BYTES ? (size_t)limit : oto_memory_limit_bytes() / 4 * 3) / (size_t)n,
        .recycle_jobs = (int)oto_conf_number(c, "recycle-jobs"),
        .recycle_s = (int)OTO_MIN(oto_conf_number(c, "recycle-age"), INT32_MAX),
        .recycle_bytes = (size_t)oto_conf_number(c, "recycle-growth"),
        .drain_s = (int)oto_conf_number(c, "drain"),
    };
    oto_compute_parse(oto_conf_text(c, "compute"), &o->compute);
}

/* As many workers as were asked for, or as there are cores and memory for. A limit that not even
 * these fit into is refused here, not by each worker over and over. */
static int plan_workers(serve *s, oto_err *e)
{
    const int asked = (int)oto_conf_number(&s->conf, "workers");
    const bool fixed = s->found.n_workers > 0 || asked > 0;
    const int64_t limit = oto_conf_number(&s->conf, "memory-limit");
    const int64_t memory = limit > 0 ? limit : (int64_t)(oto_memory_limit_bytes() / 4 * 3);
    int n = s->found.n_workers > 0 ? s->found.n_workers
            : asked > 0            ? asked
                                   : OTO_MAX(1, OTO_MIN(oto_cpu_count() / 4, OTO_MAX_WORKERS));
    oto_served_model *models = s->found.models, *largest = models;
    size_t each, alone[OTO_MAX_MODELS];
    oto_worker_options o;

    for (;; n--) {
        worker_options(s, n, &o);
        const int rc = oto_worker_needs(&o, alone, &each, e);

        if (rc != 0)
            return rc;
        for (int i = 0; i < s->found.n_models; i++) {
            models[i].bytes = alone[i];
            largest = alone[i] > largest->bytes ? &models[i] : largest;
        }
        if (OWN_BYTES + (int64_t)each * n <= memory)
            break;
        if (limit > 0 && (fixed || n == 1))
            return oto_fail(e, OTO_E_LIMIT,
                            "memory-limit: %" PRId64 " MiB are too few: %d worker(s) with %s need "
                            "%" PRId64,
                            limit >> 20, n, largest->name,
                            (OWN_BYTES + (int64_t)each * n + (1 << 20) - 1) >> 20);
        if (fixed || n == 1)
            break;
    }
    s->found.n_workers = n;
    return 0;
}

static int prepare_punctuation(serve *s, oto_compute compute, bool offline, oto_err *e)
{
    const char *name = oto_conf_text(&s->conf, "punc");
    prepared *p = &s->found;

    p->punc_path[0] = '\0'; /* of the settings before */
    if (name == NULL || strcmp(name, "none") == 0)
        return 0;
    if (!p->punctuate) {
        oto_log(OTO_LOG_WARN, "punc: model %s punctuates by itself: %s is not used",
                oto_conf_text(&s->conf, "model"), name);
        return 0;
    }
    if (compute != OTO_COMPUTE_AUTO)
        compute = oto_cli_vad_compute(compute);
    return oto_cli_model_path(name, OTO_TASK_PUNC, compute, offline, p->punc_path,
                              sizeof p->punc_path, NULL, e);
}

/* A conversion that cannot be opened is told at the start, not with every job; one that a request
 * asks for, to the request. */
static int try_script(serve *s, oto_err *e)
{
    const char *name = oto_conf_text(&s->conf, "script");
    oto_script *script = NULL;
    const int rc = name != NULL ? oto_script_open(name, &script, e) : 0;

    oto_script_close(script);
    s->found.scripts = name != NULL || oto_script_there();
    return rc;
}

/* One more model for requests, under `name`. */
static int add_model(serve *s, const char *name, const char *source, oto_compute compute,
                     bool offline, oto_err *e)
{
    prepared *p = &s->found;
    oto_served_model *m = &p->models[p->n_models];
    oto_model_info info;
    int rc;

    if (p->n_models == OTO_MAX_MODELS)
        return oto_fail(e, OTO_E_USAGE, "models: at most %d", OTO_MAX_MODELS);
    if (strlen(name) >= sizeof m->name || name[0] == '\0' || source[0] == '\0')
        return oto_fail(e, OTO_E_USAGE, "models: '%.80s' is not NAME or ALIAS=NAME", name);
    rc = oto_cli_model_path(source, OTO_TASK_ASR, compute, offline, m->path, sizeof m->path, &info,
                            e);
    if (rc != 0)
        return rc;
    snprintf(m->name, sizeof m->name, "%s", name);
    snprintf(m->languages, sizeof m->languages, "%s", info.languages);
    m->translates = info.translates;
    m->detects = info.detects;
    m->bytes = 0;
    p->punctuate |= !info.punctuates;
    for (int i = 0; i < p->n_models; i++)
        if (strcmp(p->models[i].name, name) == 0) /* said twice, or with two meanings? */
            return strcmp(p->models[i].path, m->path) == 0
                       ? 0
                       : oto_fail(e, OTO_E_USAGE, "models: '%.80s' is the name of two", name);
    p->n_models++;
    return 0;
}

/* NAME or ALIAS=NAME; a '=' in a path is a part of it. */
static int add_models(serve *s, oto_compute compute, bool offline, oto_err *e)
{
    const char *wanted = oto_conf_text(&s->conf, "models");
    char list[OTO_CONF_VALUE], *save = NULL;
    int rc = 0;

    snprintf(list, sizeof list, "%s", wanted != NULL ? wanted : "");
    for (char *name = strtok_r(list, ", ", &save); name != NULL && rc == 0;
         name = strtok_r(NULL, ", ", &save)) {
        char *source = strchr(name, '=');

        if (source != NULL && memchr(name, '/', (size_t)(source - name)) == NULL)
            *source++ = '\0';
        else
            source = name;
        rc = add_model(s, name, source, compute, offline, e);
    }
    return rc;
}

static int prepare_models(serve *s, oto_err *e)
{
    /* Fetching takes too long for a server that runs. */
    const bool offline = s->reloading || oto_conf_flag(&s->conf, "offline");
    const char *model = oto_conf_text(&s->conf, "model");
    prepared *p = &s->found;
    oto_compute compute;
    int rc = try_script(s, e);

    if (rc != 0)
        return rc;
    umask(s->mask);
    oto_compute_parse(oto_conf_text(&s->conf, "compute"), &compute);
    p->n_models = 0;
    p->punctuate = false;
    if ((rc = add_model(s, model, model, compute, offline, e)) == 0)
        rc = add_models(s, compute, offline, e);
    if (rc == 0 && oto_conf_flag(&s->conf, "no-vad"))
        p->vad_path[0] = '\0'; /* of the settings before */
    else if (rc == 0)
        rc = oto_cli_model_path(OTO_CLI_DEFAULT_VAD, OTO_TASK_VAD, oto_cli_vad_compute(compute),
                                offline, p->vad_path, sizeof p->vad_path, NULL, e);
    if (rc == 0)
        rc = prepare_punctuation(s, compute, offline, e);
    return rc == 0 ? plan_workers(s, e) : rc;
}

/* Asked to stop: by a signal, or while a running server reloads by one that it holds back. */
static bool asked_to_stop(void)
{
    sigset_t held;

    return oto_cli_interrupted() ||
           (sigpending(&held) == 0 && (sigismember(&held, SIGTERM) || sigismember(&held, SIGINT)));
}

static int wait_for(pid_t pid, oto_err *e)
{
    const int64_t start = oto_now_ms();
    int64_t told = start;
    int status;
    pid_t got;

    while ((got = waitpid(pid, &status, WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
        if (asked_to_stop())
            kill(pid, SIGKILL);
        if (oto_now_ms() - told > 1000) {
            told = oto_now_ms();
            oto_supervisor_alive();
        }
        nap();
    }
    if (asked_to_stop())
        return oto_fail(e, OTO_E_CANCELLED, "interrupted");
    if (got != pid || !WIFEXITED(status))
        return oto_fail(e, OTO_E_INTERNAL, "the process that prepares the start died");
    return WEXITSTATUS(status) == 0 ? 0 : OTO_E_INTERNAL;
}

/* What fn changes in `found` is kept when it succeeds. */
static int in_child(serve *s, int (*fn)(serve *s, oto_err *e), oto_err *e)
{
    const pid_t parent = getpid();
    answer *a = mmap(NULL, sizeof *a, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid;
    int rc;

    if (a == MAP_FAILED)
        return oto_fail_errno(e, "shared memory");
    fflush(NULL);
    pid = fork();
    if (pid == 0) {
        /* It holds the lock: a successor must not wait for it. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        rc = fn(s, &a->error);
        a->found = s->found;
        _exit(rc != 0);
    }
    rc = pid > 0 ? wait_for(pid, e) : oto_fail_errno(e, "fork");
    if (rc == OTO_E_INTERNAL && a->error.code != 0)
        rc = oto_fail(e, a->error.code, "%s", a->error.text);
    if (rc == 0)
        s->found = a->found;
    munmap(a, sizeof *a);
    return rc;
}

static int prepare(serve *s, oto_err *e)
{
    int rc;

    if ((rc = in_child(s, prepare_store, e)) != 0 || (rc = in_child(s, prepare_models, e)) != 0)
        return rc;
    if (s->found.reclaimed > 0)
        oto_log(OTO_LOG_WARN, "%d job(s) were running when the server ended: queued again",
                s->found.reclaimed);
    if (s->found.swept > 0)
        oto_log(OTO_LOG_INFO, "%d unfinished upload(s) removed", s->found.swept);
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

    if (s->found.n_keys > 0 || oto_conf_flag(&s->conf, "allow-anonymous") ||
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

/* What was arriving when an earlier gateway died is nobody's. */
static void sweep(const serve *s)
{
    oto_err e = {0};
    oto_store *store;
    int n = 0, rc = oto_store_open(s->store, &store, &e);

    if (rc == 0) {
        rc = oto_spool_sweep(&s->spool, store, oto_clock_ms(), &n, &e);
        oto_store_close(store);
    }
    if (rc != 0)
        oto_log(OTO_LOG_WARN, "gateway: %s", e.text);
}

static int run_gateway(void *arg, oto_board *b)
{
    serve *s = arg;

    sweep(s);
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
    o->models = s->found.models;
    o->n_models = s->found.n_models;
    o->aliases = oto_conf_text(c, "aliases");
    o->itn = oto_conf_flag(c, "itn");
    o->script = oto_conf_text(c, "script");
    o->scripts = s->found.scripts;
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
    o->require_keys = oto_conf_flag(c, "require-keys") || s->found.n_keys > 0;
    o->allow_private_webhooks = oto_conf_flag(c, "allow-private-webhooks");
    o->webhook_secret = oto_conf_text(c, "webhook-secret");
    o->drain_s = (int)oto_conf_number(c, "drain");
}

/* SIGHUP: the settings anew, for the children that are then replaced. What is bound or opened
 * already (listen, data, workers) stays. */
static int reload(void *arg, oto_worker_options *worker, oto_err *e)
{
    static serve fresh;
    serve *s = arg;
    bool print;
    int stopped, rc;

    fresh = *s;
    fresh.reloading = true;
    if ((rc = read_settings(&fresh, &print, &stopped, e)) != 0 ||
        (rc = check_tls(&fresh.conf, e)) != 0 || (rc = in_child(&fresh, prepare_models, e)) != 0)
        return rc;
    s->conf = fresh.conf;
    s->found = fresh.found;
    set_log(&s->conf);
    server_options(s, &s->server);
    worker_options(s, s->found.n_workers, worker);
    return 0;
}

static int run(serve *s, oto_err *e)
{
    oto_supervisor_options o = {.n_workers = s->found.n_workers,
                                .gateway = run_gateway,
                                .reload = reload,
                                .arg = s,
                                .drain_s = (int)oto_conf_number(&s->conf, "drain")};
    const char *scheme = oto_conf_text(&s->conf, "tls-cert") != NULL ? "https" : "http";
    struct rlimit files;
    char address[80];

    worker_options(s, o.n_workers, &o.worker);
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

int oto_cli_serve(int argc, char **argv)
{
    static serve s;
    oto_err e = {0};
    bool print;
    int stopped, rc;

    s.argc = argc;
    s.argv = argv;
    /* Recordings and texts are nobody else's business. */
    s.mask = umask(077);
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
