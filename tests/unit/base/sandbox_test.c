/* Each test enters the sandbox in a child of its own; its exit status says which check failed. */
#include "base/sandbox.c"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

#define CHECK(ok)                                                                                  \
    do {                                                                                           \
        if (!(ok))                                                                                 \
            _exit(__LINE__ & 0x7f);                                                                \
    } while (0)

static int run(void (*fn)(void))
{
    const pid_t pid = fork();
    int status;

    if (pid == 0) {
        fn();
        _exit(0);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void assert_passes(void (*fn)(void))
{
    const int status = run(fn);

    if (WIFEXITED(status) && WEXITSTATUS(status) != 0)
        print_error("the check in line %d (modulo 128) failed\n", WEXITSTATUS(status));
    assert_int_equal(status, 0);
}

static void enter(oto_sandbox s)
{
    oto_err e;

    CHECK(oto_sandbox_enter(&s, &e) == 0);
}

static void nothing_new_is_opened(void)
{
    int pair[2];

    enter((oto_sandbox){0});
    CHECK(open("/etc/passwd", O_RDONLY) < 0);
    CHECK(open("/dev/null", O_WRONLY) < 0);
    CHECK(pipe(pair) < 0);
    CHECK(dup(0) < 0);
    CHECK(socket(AF_INET, SOCK_STREAM, 0) < 0);
    CHECK(socket(AF_UNIX, SOCK_DGRAM, 0) < 0);
}

static void nothing_else_is_reached(void)
{
    char *const argv[] = {(char *)"true", NULL};
    const pid_t parent = getppid();
    struct stat st;

    if (!oto_sandbox_has_seccomp())
        return;
    enter((oto_sandbox){0});
    CHECK(execve("/bin/true", argv, NULL) != 0 && errno == EPERM);
    CHECK(fork() < 0);
    CHECK(kill(parent, 0) != 0 && errno == EPERM);
    CHECK(ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0);
    CHECK(unlink("/nowhere") != 0 && errno == EPERM);
    CHECK(mkdir("/tmp/never", 0700) != 0 && errno == EPERM);
    CHECK(chmod("/tmp", 0777) != 0 && errno == EPERM);
    CHECK(fstat(0, &st) == 0 || errno == EBADF);
}

static int pipe_fds[2];

static void what_is_open_works(void)
{
    char text[4];
    void *p;

    CHECK(pipe(pipe_fds) == 0);
    enter((oto_sandbox){.cpu_seconds = 10, .address_space_bytes = (size_t)4 << 30});
    CHECK(write(pipe_fds[1], "abc", 4) == 4);
    CHECK(read(pipe_fds[0], text, sizeof text) == 4 && strcmp(text, "abc") == 0);
    p = malloc(1 << 22);
    CHECK(p != NULL);
    memset(p, 1, 1 << 22);
    free(p);
    CHECK(close(pipe_fds[0]) == 0);
}

static void *nothing(void *arg)
{
    return arg;
}

static void threads_by_request(void)
{
    pthread_t t;

    enter((oto_sandbox){.threads = true});
    CHECK(pthread_create(&t, NULL, nothing, NULL) == 0);
    CHECK(pthread_join(t, NULL) == 0);
}

static void threads_else_not(void)
{
    pthread_t t;

    if (!oto_sandbox_has_seccomp())
        return;
    enter((oto_sandbox){0});
    CHECK(pthread_create(&t, NULL, nothing, NULL) != 0);
}

static void memory_is_capped(void)
{
    enter((oto_sandbox){.address_space_bytes = (size_t)1 << 30});
    CHECK(mmap(NULL, (size_t)2 << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
          MAP_FAILED);
}

static void spin(void)
{
    enter((oto_sandbox){.cpu_seconds = 1});
    for (volatile unsigned i = 0;; i++)
        ;
}

static void rights_are_given_up(void **state)
{
    (void)state;
    assert_passes(nothing_new_is_opened);
    assert_passes(nothing_else_is_reached);
    assert_passes(what_is_open_works);
}

static void threads_are_a_choice(void **state)
{
    (void)state;
    if (SHADOW_MEMORY)
        skip(); /* the sanitizers' own thread registry needs more than a decoder does */
    assert_passes(threads_by_request);
    assert_passes(threads_else_not);
}

static void memory_has_a_limit(void **state)
{
    (void)state;
    if (SHADOW_MEMORY)
        skip();
    assert_passes(memory_is_capped);
}

static void time_has_a_limit(void **state)
{
    int status;

    (void)state;
    status = run(spin);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGXCPU);
}

static void limits_are_never_raised(void)
{
    struct rlimit r;

    CHECK(setrlimit(RLIMIT_CPU, &(struct rlimit){3, 3}) == 0);
    enter((oto_sandbox){.cpu_seconds = 1000});
    CHECK(oto_sandbox_has_seccomp() == false); /* even this question is refused now */
    r.rlim_cur = 0;
    CHECK(getrlimit(RLIMIT_CPU, &r) != 0 || r.rlim_cur == 3);
}

static void a_tighter_limit_stays(void **state)
{
    (void)state;
    assert_passes(limits_are_never_raised);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rights_are_given_up),   cmocka_unit_test(threads_are_a_choice),
        cmocka_unit_test(memory_has_a_limit),    cmocka_unit_test(time_has_a_limit),
        cmocka_unit_test(a_tighter_limit_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
