/* sandbox: what a process gives up before it parses hostile bytes. The order matters: limits can be
 * lowered only while prlimit is still allowed, and the filter comes last. */
#include "base/base.h"

#include <errno.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <seccomp.h>

/* Sanitizers reserve terabytes of addresses. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SHADOW_MEMORY 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SHADOW_MEMORY 1
#endif
#endif
#ifndef SHADOW_MEMORY
#define SHADOW_MEMORY 0
#endif

/* Work on memory, time and descriptors that are open already. Whatever is not listed fails with
 * EPERM, which libraries take as "not available here". */
static const int allowed[] = {
    SCMP_SYS(read),          SCMP_SYS(readv),          SCMP_SYS(pread64),
    SCMP_SYS(write),         SCMP_SYS(writev),         SCMP_SYS(lseek),
    SCMP_SYS(fstat),         SCMP_SYS(newfstatat),     SCMP_SYS(close),
    SCMP_SYS(poll),          SCMP_SYS(ppoll),          SCMP_SYS(brk),
    SCMP_SYS(mmap),          SCMP_SYS(munmap),         SCMP_SYS(mremap),
    SCMP_SYS(mprotect),      SCMP_SYS(madvise),        SCMP_SYS(futex),
    SCMP_SYS(rt_sigreturn),  SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigaction),
    SCMP_SYS(sigaltstack),   SCMP_SYS(exit),           SCMP_SYS(exit_group),
    SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday),   SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),     SCMP_SYS(getpid),         SCMP_SYS(gettid),
    SCMP_SYS(sched_yield),   SCMP_SYS(getrusage),      SCMP_SYS(getrandom),
    SCMP_SYS(sysinfo),       SCMP_SYS(restart_syscall)};

static const int allowed_threads[] = {SCMP_SYS(clone), SCMP_SYS(clone3), SCMP_SYS(rseq),
                                      SCMP_SYS(set_robust_list), SCMP_SYS(sched_getaffinity)};

static int limit(int what, rlim_t soft, rlim_t hard, const char *name, oto_err *e)
{
    struct rlimit now;

    /* Never raised: what the process was given stays the upper bound. */
    if (getrlimit(what, &now) == 0 && now.rlim_max != RLIM_INFINITY) {
        hard = OTO_MIN(hard, now.rlim_max);
        soft = OTO_MIN(soft, now.rlim_max);
    }
    if (setrlimit(what, &(struct rlimit){soft, hard}) != 0)
        return oto_fail_errno(e, "sandbox: limit on %s", name);
    return 0;
}

static int set_limits(const oto_sandbox *s, oto_err *e)
{
    int rc;

    if ((rc = limit(RLIMIT_CORE, 0, 0, "core files", e)) != 0 ||
        (rc = limit(RLIMIT_FSIZE, 0, 0, "file size", e)) != 0 ||
        (rc = limit(RLIMIT_NOFILE, 0, 0, "open files", e)) != 0)
        return rc;
    if (s->address_space_bytes != 0 && !SHADOW_MEMORY &&
        (rc = limit(RLIMIT_AS, s->address_space_bytes, s->address_space_bytes, "address space",
                    e)) != 0)
        return rc;
    if (s->cpu_seconds == 0)
        return 0;
    /* At the soft limit comes SIGXCPU, which tells the cause; at the hard one SIGKILL. */
    return limit(RLIMIT_CPU, s->cpu_seconds, (rlim_t)s->cpu_seconds + 2, "processor time", e);
}

static int allow(scmp_filter_ctx ctx, const int *calls, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const int rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, calls[i], 0);

        if (rc != 0 && rc != -EDOM) /* EDOM: this architecture has no such call */
            return rc;
    }
    return 0;
}

/* A kernel without seccomp filters leaves the limits alone in force. */
static int filter_calls(const oto_sandbox *s, oto_err *e)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int rc = 0;

    if (ctx == NULL)
        return oto_fail(e, OTO_E_LIMIT, "sandbox: no memory for the filter");
    rc = allow(ctx, allowed, OTO_COUNT(allowed));
    if (rc == 0 && s->threads)
        rc = allow(ctx, allowed_threads, OTO_COUNT(allowed_threads));
    if (rc == 0 && seccomp_load(ctx) != 0 && oto_sandbox_has_seccomp())
        rc = -EACCES;
    seccomp_release(ctx);
    if (rc == -ENOMEM)
        return oto_fail(e, OTO_E_LIMIT, "sandbox: the memory limit leaves no room for the filter");
    return rc == 0 ? 0 : oto_fail(e, OTO_E_INTERNAL, "sandbox: the filter was refused (%d)", -rc);
}

bool oto_sandbox_has_seccomp(void)
{
    /* No filter is given: a kernel that has them complains of the address, any other of the mode.
     */
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0) != 0 && errno == EFAULT;
}

int oto_sandbox_enter(const oto_sandbox *s, oto_err *e)
{
    int rc;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return oto_fail_errno(e, "sandbox: no new privileges");
    if ((rc = set_limits(s, e)) != 0)
        return rc;
    return filter_calls(s, e);
}
