/* Both sides of the zygote: requests go over a socket that keeps messages apart, descriptors with
 * them; the answer is the child's number. One request is under way at a time. When the program ends
 * the socket does, and the holder takes the children that are left along.
 *
 * Zygote and holder share the socket. A request that comes while the holder goes to rest stays in
 * it for the next holder. One that a killed holder had taken is answered by the zygote. */
#include "media/zygote.h"
#include "media/av.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME_BYTES 400
#define MAX_FDS    4
#define MAX_ALIVE  256
#define STACK      (128 << 10)

static int rest_after_ms = 30000;   /* the holder, without work */
static int answer_after_ms = 30000; /* at most: loading libav from a slow disk */

typedef struct {
    uint32_t serial;
    oto_media_options o;
    char name[NAME_BYTES];
    unsigned cpu_seconds;
    bool has_spool;
} request;

typedef struct {
    uint32_t serial;
    pid_t holder; /* 0: there was none */
    pid_t pid;    /* or */
    int error;    /* errno; EOWNERDEAD: the holder died with the request in its hands */
} answer;

/* ---- messages with descriptors ---- */

typedef union {
    struct cmsghdr header; /* for its alignment */
    char bytes[CMSG_SPACE(MAX_FDS * sizeof(int))];
} ancillary;

static int send_request(int socket, const request *r, const int *fds, int n)
{
    ancillary a;
    struct iovec part = {(void *)r, sizeof *r};
    struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = a.bytes};
    struct cmsghdr *c;
    ssize_t sent;

    memset(&a, 0, sizeof a);
    m.msg_controllen = CMSG_SPACE((size_t)n * sizeof *fds);
    c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN((size_t)n * sizeof *fds);
    memcpy(CMSG_DATA(c), fds, (size_t)n * sizeof *fds);
    do
        sent = sendmsg(socket, &m, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)sizeof *r ? 0 : -1;
}

/* The number of descriptors, or -1 when the program has ended. */
static int receive_request(int socket, request *r, int *fds)
{
    ancillary a;
    struct iovec part = {r, sizeof *r};
    struct msghdr m = {.msg_iov = &part,
                       .msg_iovlen = 1,
                       .msg_control = a.bytes,
                       .msg_controllen = sizeof a.bytes};
    const struct cmsghdr *c;
    ssize_t got;
    int n;

    do
        got = recvmsg(socket, &m, MSG_CMSG_CLOEXEC);
    while (got < 0 && errno == EINTR);
    c = got == (ssize_t)sizeof *r ? CMSG_FIRSTHDR(&m) : NULL;
    if (c == NULL || c->cmsg_type != SCM_RIGHTS)
        return -1;
    n = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof *fds);
    memcpy(fds, CMSG_DATA(c), (size_t)n * sizeof *fds);
    return n;
}

/* ---- the holder ---- */

typedef struct {
    int socket;
    pid_t program;
    _Atomic uint32_t *taken; /* the last request a holder took; shared with the holders */
    int alive[MAX_ALIVE];    /* descriptors of children */
    int n_alive;
} zygote;

static pid_t fork_sibling(void)
{
    return (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
}

/* Leaves the standard descriptors and those of the job, from 3 on, and closes the rest. */
static int keep_descriptors(oto_decoder_job *job)
{
    int *const fds[] = {&job->in, &job->pcm, &job->messages, &job->spool};
    int last = STDERR_FILENO;

    for (size_t i = 0; i < OTO_COUNT(fds); i++)
        if (*fds[i] >= 0 && (*fds[i] = fcntl(*fds[i], F_DUPFD, 64)) < 0)
            return -1;
    for (size_t i = 0; i < OTO_COUNT(fds); i++)
        if (*fds[i] >= 0) {
            if (dup2(*fds[i], ++last) < 0)
                return -1;
            *fds[i] = last;
        }
    return close_range((unsigned)last + 1, ~0u, 0);
}

static void child(const zygote *z, const request *r, const int *fds)
{
    oto_decoder_job job = {.name = r->name,
                           .o = &r->o,
                           .in = fds[0],
                           .pcm = fds[1],
                           .messages = fds[2],
                           .spool = r->has_spool ? fds[3] : -1,
                           .cpu_seconds = r->cpu_seconds};

    if (getppid() != z->program)
        _exit(1);
    prctl(PR_SET_NAME, "oto-decoder");
    if (keep_descriptors(&job) != 0)
        _exit(1);
    _exit(oto_decoder_run(&job));
}

/* Children that have ended are forgotten. */
static void forget(zygote *z)
{
    int kept = 0;

    for (int i = 0; i < z->n_alive; i++) {
        struct pollfd p = {.fd = z->alive[i], .events = POLLIN};

        if (poll(&p, 1, 0) > 0)
            close(z->alive[i]);
        else
            z->alive[kept++] = z->alive[i];
    }
    z->n_alive = kept;
}

static void remember(zygote *z, pid_t pid)
{
    int fd;

    forget(z);
    /* Not yet waited for, so the number is still its own. */
    fd = z->n_alive < MAX_ALIVE ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
    if (fd >= 0)
        z->alive[z->n_alive++] = fd;
}

static void serve(zygote *z, const request *r, const int *fds)
{
    const pid_t pid = fork_sibling();
    answer a = {r->serial, getpid(), pid, 0};

    if (pid == 0)
        child(z, r, fds);
    if (pid < 0)
        a.error = errno;
    else
        remember(z, pid);
    if (send(z->socket, &a, sizeof a, MSG_NOSIGNAL) != (ssize_t)sizeof a)
        return; /* the program has ended: the next request tells */
}

/* True after a while without work, false when the program has ended. */
static bool hold(zygote *z)
{
    int fds[MAX_FDS], n;
    request r;

    prctl(PR_SET_NAME, "oto-libav");
    /* Without the libraries each child says so itself. */
    if (oto_av_load(NULL) == 0)
        oto_av.av_log_set_level_(AV_LOG_QUIET);
    malloc_trim(0); /* children inherit what is left */
    for (;;) {
        struct pollfd p = {.fd = z->socket, .events = POLLIN};
        const int ready = poll(&p, 1, rest_after_ms);

        if (ready == 0) {
            forget(z);
            if (z->n_alive == 0)
                return true;
        }
        if (ready <= 0)
            continue;
        if (recv(z->socket, &r, sizeof r, MSG_PEEK) == (ssize_t)sizeof r)
            atomic_store(z->taken, r.serial);
        if ((n = receive_request(z->socket, &r, fds)) < 0)
            break;
        if (n >= 3)
            serve(z, &r, fds);
        for (int i = 0; i < n; i++)
            close(fds[i]);
    }
    for (int i = 0; i < z->n_alive; i++)
        syscall(SYS_pidfd_send_signal, z->alive[i], SIGKILL, NULL, 0);
    return false;
}

/* ---- the zygote ---- */

static bool is_waiting(const zygote *z)
{
    request r;

    return recv(z->socket, &r, sizeof r, MSG_PEEK | MSG_DONTWAIT) > 0;
}

static void refuse(const zygote *z, uint32_t serial, pid_t holder, int error)
{
    const answer a = {.serial = serial, .holder = holder, .pid = -1, .error = error};

    if (send(z->socket, &a, sizeof a, MSG_NOSIGNAL) != (ssize_t)sizeof a)
        return; /* the program has ended */
}

static void refuse_next(const zygote *z, pid_t holder, int error)
{
    int fds[MAX_FDS];
    request r;
    const int n = receive_request(z->socket, &r, fds);

    for (int i = 0; i < n; i++)
        close(fds[i]);
    if (n >= 0)
        refuse(z, r.serial, holder, error);
}

/* Starts a holder and returns when it has ended. It says so when it goes to rest; without a word it
 * was killed, or the program has ended. */
static void have_holder(zygote *z)
{
    const uint32_t before = atomic_load(z->taken);
    int word[2];
    ssize_t n;
    pid_t pid;
    char c;

    if (pipe2(word, O_CLOEXEC) != 0) {
        refuse_next(z, 0, errno);
        return;
    }
    if ((pid = fork_sibling()) == 0) {
        close(word[0]);
        _exit(hold(z) && write(word[1], "", 1) != 1);
    }
    if (pid < 0)
        refuse_next(z, 0, errno);
    close(word[1]);
    do
        n = read(word[0], &c, 1);
    while (n < 0 && errno == EINTR);
    close(word[0]);
    if (pid < 0 || n == 1)
        return;
    if (!is_waiting(z))
        refuse(z, atomic_load(z->taken), pid, EOWNERDEAD); /* unheard if it was answered before */
    else if (atomic_load(z->taken) == before)
        refuse_next(z, pid, EOWNERDEAD); /* it did not get as far as the first request */
}

/* None of the program's handlers may run here, least of all after a crash. */
static void reset_signals(void)
{
    sigset_t none;

    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Standard error stays, for what a sanitizer has to say. */
static bool close_others(int socket)
{
    const int fd = fcntl(socket, F_DUPFD_CLOEXEC, 3);
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (fd < 0 || (fd != 3 && dup3(fd, 3, O_CLOEXEC) < 0))
        return false;
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
    }
    return close_range(4, ~0u, 0) == 0;
}

static void run(int socket, pid_t program)
{
    static zygote z;
    struct pollfd p = {.fd = 3, .events = POLLIN};
    void *shared =
        mmap(NULL, sizeof *z.taken, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    prctl(PR_SET_NAME, "oto-zygote");
    reset_signals();
    if (shared == MAP_FAILED || !close_others(socket))
        _exit(1);
    z = (zygote){.socket = 3, .program = program, .taken = shared};
    malloc_trim(0);
    for (;;) {
        if (poll(&p, 1, -1) < 0)
            continue;
        if (!is_waiting(&z))
            _exit(0);
        have_holder(&z);
    }
}

/* ---- the program's side ---- */

static struct {
    pthread_mutex_t lock;
    pid_t program, pid; /* who started it; 0: not started */
    pid_t holder;       /* 0: none that is known */
    pid_t met;          /* the last one that was waited for */
    uint32_t serial;
    int socket;
} us = {.lock = PTHREAD_MUTEX_INITIALIZER, .socket = -1};

static void end(void)
{
    if (us.socket >= 0)
        close(us.socket);
    us.socket = -1;
    /* A fork's zygote is its parent's. */
    if (us.pid > 0 && us.program == getpid()) {
        kill(us.pid, SIGKILL);
        while (waitpid(us.pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    if (us.program != getpid())
        us.holder = us.met = 0;
    us.pid = 0;
}

static int start(oto_err *e)
{
    const pid_t program = getpid();
    int ends[2];
    pid_t pid;

    if (us.pid > 0 && us.program == program)
        return 0;
    end();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
        return oto_fail_errno(e, "starting the decoder");
    pid = oto_fault("fork", EAGAIN) ? -1 : fork();
    if (pid == 0)
        run(ends[1], program);
    close(ends[1]);
    if (pid < 0) {
        close(ends[0]);
        return oto_fail_errno(e, "starting the decoder");
    }
    us.socket = ends[0];
    us.pid = pid;
    us.program = program;
    return 0;
}

/* A holder may end at any time and nobody else waits for it. */
static void *wait_for_holder(void *arg)
{
    const pid_t pid = (pid_t)(intptr_t)arg;
    siginfo_t end;

    /* As long as it is known its number is nobody else's. */
    while (waitid(P_PID, (id_t)pid, &end, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    pthread_mutex_lock(&us.lock);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    if (us.holder == pid)
        us.holder = 0;
    pthread_mutex_unlock(&us.lock);
    return NULL;
}

static void meet_holder(pid_t pid)
{
    pthread_attr_t small;
    sigset_t all, mine;
    pthread_t thread;

    if (pid <= 0 || pid == us.met || pthread_attr_init(&small) != 0)
        return;
    pthread_attr_setstacksize(&small, STACK);
    pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
    sigfillset(&all); /* the program's handlers run in its own threads */
    pthread_sigmask(SIG_SETMASK, &all, &mine);
    /* Without a thread to spare, the next job tries again. */
    if (pthread_create(&thread, &small, wait_for_holder, (void *)(intptr_t)pid) == 0)
        us.holder = us.met = pid;
    pthread_sigmask(SIG_SETMASK, &mine, NULL);
    pthread_attr_destroy(&small);
}

static bool is_answered(void)
{
    struct pollfd p = {.fd = us.socket, .events = POLLIN};
    int ready;

    do
        ready = poll(&p, 1, answer_after_ms);
    while (ready < 0 && errno == EINTR);
    return ready != 0;
}

/* A holder or a zygote that was stopped must not stop everyone: of the one the other tells. */
static bool has_answer(void)
{
    if (is_answered())
        return true;
    if (us.holder > 0) {
        kill(us.holder, SIGKILL);
        return is_answered();
    }
    return false;
}

/* False when nobody took the request, so that it may be made again. */
static bool ask(request *r, const int *fds, int n, answer *a)
{
    ssize_t got;

    r->serial = ++us.serial;
    if (send_request(us.socket, r, fds, n) != 0)
        return false;
    do
        got = has_answer() ? recv(us.socket, a, sizeof *a, 0) : 0;
    while ((got < 0 && errno == EINTR) || (got == (ssize_t)sizeof *a && a->serial != r->serial));
    if (got < 0) /* ECONNRESET: it was not read */
        return false;
    if (got == 0) {
        *a = (answer){.pid = -1, .error = EOWNERDEAD};
        end();
    }
    return true;
}

int oto_zygote_spawn(const oto_decoder_job *job, pid_t *pid, oto_err *e)
{
    const int fds[MAX_FDS] = {job->in, job->pcm, job->messages, job->spool};
    const int n = job->spool >= 0 ? 4 : 3;
    const size_t len = strlen(job->name);
    answer a = {.pid = -1};
    bool asked = false;
    request r;
    int rc = 0;

    memset(&r, 0, sizeof r);
    r.o = *job->o;
    r.o.arena = NULL;
    r.cpu_seconds = job->cpu_seconds;
    r.has_spool = job->spool >= 0;
    /* The end of a path tells the format. */
    snprintf(r.name, sizeof r.name, "%s",
             job->name + (len < NAME_BYTES ? 0 : len - NAME_BYTES + 1));
    pthread_mutex_lock(&us.lock);
    /* One that was killed is started again, once. */
    for (int i = 0; i < 2 && rc == 0 && !asked; i++)
        if ((rc = start(e)) == 0 && !(asked = ask(&r, fds, n, &a)))
            end();
    if (asked)
        meet_holder(a.holder);
    pthread_mutex_unlock(&us.lock);
    if (rc != 0)
        return rc;
    if (!asked)
        return oto_fail(e, OTO_E_UNAVAILABLE, "the decoder cannot be started");
    if (a.error == EOWNERDEAD)
        return oto_fail(e, OTO_E_UNAVAILABLE, "the decoder was killed");
    if (a.pid < 0) {
        errno = a.error;
        return oto_fail_errno(e, "starting the decoder");
    }
    *pid = a.pid;
    return 0;
}

int oto_zygote_start(oto_err *e)
{
    int rc;

    pthread_mutex_lock(&us.lock);
    rc = start(e);
    pthread_mutex_unlock(&us.lock);
    return rc;
}
