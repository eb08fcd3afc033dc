/* The supervisor: starts the gateway and the workers, starts again what dies, and stops all of
 * them. It opens no model, no database and no recording, so there is little it could die of.
 *
 * A child that ends soon after its start is started again after a pause that doubles; any other one
 * at once. What a dead worker had leased is given back by its successor (worker.c), which learns
 * from the board whether the death was the worker's own fault. When the supervisor itself is killed
 * the kernel ends its children with it. */
#include "work/work.h"
#include "work/ceiling.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#define TICK_MS        500
#define FIRST_PAUSE_MS 100
#define LAST_PAUSE_MS  10000
/* A child that lived this long was not broken from the start. */
#define HEALTHY_MS 5000
/* A child without a sign of life for so long hangs. */
#define HUNG_MS 60000
/* The supervisor looks several times a second; after such a pause it was stopped. */
#define ASLEEP_MS 5000
/* What a drained child may take for its last steps. */
#define GRACE_MS 5000

typedef struct {
    oto_board_proc *proc;
    int index; /* of a worker; -1: gateway */
    pid_t pid; /* 0: not running */
    int64_t started, start_at, pause_ms;
    int64_t oom_kills; /* of the machine, at its start */
    bool replacing;    /* asked to stop so that a fresh one takes its place */
} child;

typedef struct {
    const oto_supervisor_options *o;
    oto_worker_options worker;
    oto_board *board;
    oto_ceiling ceiling;
    child children[OTO_MAX_WORKERS + 1]; /* the gateway last */
    int n, signals;
    sigset_t inherited;
    int64_t stopping_since; /* 0: not */
    int64_t watched;        /* last */
    int64_t awake_since;    /* this process */
    bool ready;
    int replace_next; /* -1: nobody waits to be replaced */
} tree;

/* ---- systemd (sd_notify(3)): a datagram to the socket it names ---- */

static void notify(const char *state)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    size_t n;
    int fd;

    if (path == NULL || (path[0] != '/' && path[0] != '@'))
        return;
    n = strlen(path);
    if (n >= sizeof to.sun_path)
        return;
    memcpy(to.sun_path, path, n);
    if (path[0] == '@')
        to.sun_path[0] = '\0';
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&to,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n)) < 0)
        oto_log(OTO_LOG_DEBUG, "systemd: %s", strerror(errno));
    close(fd);
}

void oto_supervisor_alive(void)
{
    notify("WATCHDOG=1");
}

/* ---- children ---- */

/* The kernel's choice when memory runs out: a worker can be spared, the supervisor cannot. */
static void offer_to_oom_killer(void)
{
    const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    if (write(fd, "500", 3) < 0)
        oto_log(OTO_LOG_DEBUG, "oom_score_adj: %s", strerror(errno));
    close(fd);
}

static void become(tree *t, child *c, pid_t supervisor)
{
    int status;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != supervisor)
        _exit(1);
    close(t->signals);
    pthread_sigmask(SIG_SETMASK, &t->inherited, NULL);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    if (c->index < 0) {
        prctl(PR_SET_NAME, "oto-gateway");
        status = t->o->gateway(t->o->arg, t->board);
    } else {
        prctl(PR_SET_NAME, "oto-worker");
        oto_ceiling_enter(&t->ceiling);
        offer_to_oom_killer();
        status = oto_worker_run(&t->worker, t->board, c->index);
    }
    exit(status);
}

static const char *name_of(const child *c)
{
    static char name[32];

    if (c->index < 0)
        return "gateway";
    snprintf(name, sizeof name, "worker-%d", c->index + 1);
    return name;
}

/* How often the kernel has killed something for want of memory; -1 unknown. */
static int64_t oom_kills(void)
{
    FILE *f = fopen("/proc/vmstat", "re");
    long long n = -1;
    char line[128];

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "oom_kill %lld", &n) == 1)
            break;
    if (f != NULL)
        fclose(f);
    return n;
}

static void start(tree *t, child *c)
{
    const pid_t supervisor = getpid();
    const int64_t now = oto_now_ms();
    pid_t pid;

    atomic_store(&c->proc->state, OTO_PROC_STARTING);
    atomic_store(&c->proc->beat_at_ms, now);
    atomic_store(&c->proc->started_at_ms, now);
    atomic_store(&c->proc->jobs, 0);
    fflush(NULL);
    pid = oto_fault("fork", EAGAIN) ? -1 : fork();
    if (pid == 0)
        become(t, c, supervisor);
    if (pid < 0) {
        oto_log(OTO_LOG_ERROR, "%s: %s", name_of(c), strerror(errno));
        c->start_at = now + LAST_PAUSE_MS;
        return;
    }
    c->pid = pid;
    c->started = now;
    c->oom_kills = oom_kills();
    c->replacing = false;
    atomic_store(&c->proc->pid, pid);
}

/* Signals that a program brings upon itself. SIGKILL comes from outside, unless the kernel sent it
 * for want of memory. */
static bool own_fault(const child *c, int status)
{
    if (WIFEXITED(status))
        return WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != OTO_EXIT_RECYCLE &&
               WEXITSTATUS(status) != OTO_EXIT_STORE;
    switch (WTERMSIG(status)) {
    case SIGSEGV:
    case SIGBUS:
    case SIGABRT:
    case SIGILL:
    case SIGFPE:
    case SIGSYS:
    case SIGTRAP:
        return true;
    case SIGKILL:
        return oom_kills() > c->oom_kills;
    default:
        return false;
    }
}

static void log_end(const child *c, int status)
{
    if (WIFSIGNALED(status))
        oto_log(OTO_LOG_WARN, "%s (%d): killed by signal %d (%s)", name_of(c), (int)c->pid,
                WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0 && WEXITSTATUS(status) != OTO_EXIT_RECYCLE)
        oto_log(OTO_LOG_WARN, "%s (%d): ended with status %d", name_of(c), (int)c->pid,
                WEXITSTATUS(status));
}

static void ended(tree *t, child *c, int status)
{
    const int64_t now = oto_now_ms();
    const bool recycled = WIFEXITED(status) && WEXITSTATUS(status) == OTO_EXIT_RECYCLE;
    const bool meant = recycled || c->replacing || t->stopping_since != 0;

    log_end(c, status);
    /* A worker that could not start has worked on nothing. */
    if (c->index >= 0 && own_fault(c, status) && atomic_load(&c->proc->state) != OTO_PROC_STARTING)
        atomic_store(&c->proc->blame, 1);
    atomic_fetch_add(recycled || c->replacing ? &c->proc->recycled : &c->proc->restarts, 1);
    if (meant || now - c->started >= HEALTHY_MS || (WIFSIGNALED(status) && !own_fault(c, status)))
        c->pause_ms = 0;
    else
        c->pause_ms = c->pause_ms == 0 ? FIRST_PAUSE_MS : OTO_MIN(2 * c->pause_ms, LAST_PAUSE_MS);
    c->start_at = now + c->pause_ms;
    c->pid = 0;
    atomic_store(&c->proc->pid, 0);
    atomic_store(&c->proc->state, OTO_PROC_NONE);
    atomic_store(&c->proc->busy_lanes, 0);
    atomic_store(&c->proc->models_held, 0);
    atomic_store(&c->proc->rss_bytes, 0);
    atomic_store(&c->proc->private_bytes, 0);
    oto_board_ring(&t->board->gateway);
}

static void reap(tree *t)
{
    int status;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (int i = 0; i < t->n; i++)
            if (t->children[i].pid == pid)
                ended(t, &t->children[i], status);
}

static void start_due(tree *t)
{
    const int64_t now = oto_now_ms();

    for (int i = 0; i < t->n; i++)
        if (t->children[i].pid == 0 && now >= t->children[i].start_at)
            start(t, &t->children[i]);
}

static int n_alive(const tree *t)
{
    int n = 0;

    for (int i = 0; i < t->n; i++)
        n += t->children[i].pid > 0;
    return n;
}

static void tell_all(const tree *t, int sig)
{
    for (int i = 0; i < t->n; i++)
        if (t->children[i].pid > 0)
            kill(t->children[i].pid, sig);
}

/* ---- by the clock ---- */

static void watch(tree *t)
{
    const int64_t now = oto_now_ms();
    bool ready = true;

    /* Stopped or frozen itself, it knows nothing of the others, who were that too as a rule. */
    if (now - t->watched > ASLEEP_MS)
        t->awake_since = now;
    t->watched = now;
    for (int i = 0; i < t->n; i++) {
        child *c = &t->children[i];

        ready = ready && atomic_load(&c->proc->state) == OTO_PROC_READY;
        if (c->pid > 0 &&
            now - OTO_MAX(atomic_load(&c->proc->beat_at_ms), t->awake_since) > HUNG_MS) {
            oto_log(OTO_LOG_ERROR, "%s (%d): no sign of life for %d s, killing it", name_of(c),
                    (int)c->pid, HUNG_MS / 1000);
            kill(c->pid, SIGKILL);
        }
    }
    oto_board_beat(&t->board->supervisor);
    if (ready && !t->ready) {
        t->ready = true;
        oto_release_code();
        notify("READY=1");
        oto_log(OTO_LOG_INFO, "ready");
    }
    oto_supervisor_alive();
}

/* After a reload one child after the other is replaced, each when the one before is ready. */
static void replace(tree *t)
{
    if (t->replace_next < 0)
        return;
    for (int i = 0; i < t->n; i++)
        if (atomic_load(&t->children[i].proc->state) != OTO_PROC_READY)
            return;
    if (t->replace_next == t->n) {
        t->replace_next = -1;
        notify("READY=1");
        oto_log(OTO_LOG_INFO, "reloaded");
        return;
    }
    t->children[t->replace_next].replacing = true;
    atomic_store(&t->children[t->replace_next].proc->state, OTO_PROC_DRAINING);
    kill(t->children[t->replace_next].pid, SIGTERM);
    t->replace_next++;
}

static void reload(tree *t)
{
    oto_worker_options fresh = t->worker;
    oto_err e = {0};

    notify("RELOADING=1");
    if (t->o->reload != NULL && t->o->reload(t->o->arg, &fresh, &e) != 0) {
        oto_log(OTO_LOG_ERROR, "reload: %s; going on as before", e.text);
        notify("READY=1");
        return;
    }
    t->worker = fresh;
    oto_ceiling_set(&t->ceiling, fresh.memory_bytes * (size_t)t->o->n_workers);
    t->replace_next = 0;
}

static void begin_stop(tree *t)
{
    if (t->stopping_since != 0)
        return;
    oto_log(OTO_LOG_INFO, "stopping");
    notify("STOPPING=1");
    t->stopping_since = oto_now_ms();
    tell_all(t, SIGTERM);
}

static void take_signals(tree *t)
{
    struct signalfd_siginfo info;

    while (read(t->signals, &info, sizeof info) == sizeof info)
        switch (info.ssi_signo) {
        case SIGHUP:
            if (t->stopping_since == 0)
                reload(t);
            break;
        case SIGTERM:
        case SIGINT:
            begin_stop(t);
            break;
        default: /* SIGCHLD */
            break;
        }
    reap(t);
}

static void run(tree *t)
{
    const int64_t limit = (int64_t)t->o->drain_s * 1000 + GRACE_MS;
    struct pollfd fd = {.fd = t->signals, .events = POLLIN};

    for (;;) {
        if (t->stopping_since == 0)
            start_due(t);
        else if (n_alive(t) == 0)
            return;
        poll(&fd, 1, TICK_MS);
        take_signals(t);
        if (t->stopping_since == 0) {
            replace(t);
            watch(t);
        } else if (oto_now_ms() - t->stopping_since > limit) {
            tell_all(t, SIGKILL);
        }
    }
}

int oto_supervisor_run(const oto_supervisor_options *o, oto_err *e)
{
    static tree t;
    sigset_t set;
    int rc;

    if (o->n_workers < 1 || o->n_workers > OTO_MAX_WORKERS)
        return oto_fail(e, OTO_E_USAGE, "%d workers: 1 to %d", o->n_workers, OTO_MAX_WORKERS);
    t = (tree){.o = o, .worker = o->worker, .n = o->n_workers + 1, .replace_next = -1};
    if ((rc = oto_board_new(o->n_workers, &t.board, e)) != 0)
        return rc;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, &t.inherited);
    t.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (t.signals < 0) {
        rc = oto_fail_errno(e, "signalfd");
        goto done;
    }
    atomic_store(&t.board->supervisor.pid, getpid());
    for (int i = 0; i < o->n_workers; i++)
        t.children[i] = (child){.proc = &t.board->workers[i], .index = i};
    t.children[o->n_workers] = (child){.proc = &t.board->gateway, .index = -1};
    oto_ceiling_open(&t.ceiling, o->worker.memory_bytes * (size_t)o->n_workers);
    run(&t);
    oto_ceiling_close(&t.ceiling);
    close(t.signals);
done:
    pthread_sigmask(SIG_SETMASK, &t.inherited, NULL);
    oto_board_free(t.board);
    return rc;
}
