/* Both sides of the zygote: requests go over a socket that keeps messages apart, descriptors with
 * them; the answer is the child's number. When the program ends the socket does, and the zygote
 * takes the children that are left along. */
#include "media/zygote.h"
#include "media/av.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME_BYTES 400
#define MAX_FDS    4
#define MAX_ALIVE  256

typedef struct {
    oto_media_options o;
    char name[NAME_BYTES];
    unsigned cpu_seconds;
    bool has_spool;
} request;

typedef struct {
    pid_t pid; /* or */
    int error; /* errno */
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

/* ---- the zygote ---- */

typedef struct {
    int socket;
    pid_t program;
    int alive[MAX_ALIVE]; /* descriptors of children */
    int n_alive;
} zygote;

/* Leaves standard error and the descriptors of the job, from 3 on, and closes the rest. */
static int keep_descriptors(oto_decoder_job *job)
{
    int *const fds[] = {&job->in, &job->pcm, &job->messages, &job->spool};
    const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
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
    if (null >= 0) {
        dup2(null, STDIN_FILENO);
        dup2(null, STDOUT_FILENO);
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
    const pid_t pid = (pid_t)syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL);
    answer a = {pid, 0};

    if (pid == 0)
        child(z, r, fds);
    if (pid < 0)
        a = (answer){-1, errno};
    else
        remember(z, pid);
    if (send(z->socket, &a, sizeof a, MSG_NOSIGNAL) != (ssize_t)sizeof a)
        return; /* the program has ended: the next request tells */
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

static void run(int socket, pid_t program)
{
    static zygote z;
    const int fd = fcntl(socket, F_DUPFD_CLOEXEC, 3);
    int fds[MAX_FDS], n;
    request r;

    prctl(PR_SET_NAME, "oto-zygote");
    reset_signals();
    if (fd < 0 || dup2(fd, 3) < 0)
        _exit(1);
    close_range(4, ~0u, 0);
    z = (zygote){.socket = 3, .program = program};
    /* Without the libraries each child says so itself. */
    if (oto_av_load(NULL) == 0)
        oto_av.av_log_set_level_(AV_LOG_QUIET);
    malloc_trim(0); /* children inherit what is left */
    while ((n = receive_request(z.socket, &r, fds)) >= 0) {
        if (n >= 3)
            serve(&z, &r, fds);
        for (int i = 0; i < n; i++)
            close(fds[i]);
    }
    for (int i = 0; i < z.n_alive; i++)
        syscall(SYS_pidfd_send_signal, z.alive[i], SIGKILL, NULL, 0);
    _exit(0);
}

/* ---- the program's side ---- */

static struct {
    pthread_mutex_t lock;
    pid_t program, pid; /* who started it; 0: not started */
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

static bool ask(const request *r, const int *fds, int n, answer *a)
{
    ssize_t got;

    if (send_request(us.socket, r, fds, n) != 0)
        return false;
    do
        got = recv(us.socket, a, sizeof *a, 0);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)sizeof *a;
}

int oto_zygote_spawn(const oto_decoder_job *job, pid_t *pid, oto_err *e)
{
    const int fds[MAX_FDS] = {job->in, job->pcm, job->messages, job->spool};
    const int n = job->spool >= 0 ? 4 : 3;
    const size_t len = strlen(job->name);
    answer a = {-1, 0};
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
    pthread_mutex_unlock(&us.lock);
    if (rc != 0)
        return rc;
    if (!asked)
        return oto_fail(e, OTO_E_UNAVAILABLE, "the decoder cannot be started");
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
