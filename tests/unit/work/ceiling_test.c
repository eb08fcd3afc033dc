/* The hard limits on memory, met by a process that asks for too much. */
#include "work/ceiling.c"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <cmocka.h>

#include <sys/mman.h>
#include <sys/wait.h>

#define MIB ((size_t)1 << 20)

static int status_of(pid_t pid)
{
    int status = -1;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* What a process with a limit of 32 MiB may do; the number of the first step that went wrong. */
static int limited(void)
{
    oto_arena *before, *after;
    oto_err e = {0};
    char *p;

    if (oto_arena_new("before", 256 * MIB, &before, &e) != 0)
        return 1;
    oto_ceiling_data(32 * MIB);
    if ((p = malloc(64 * MIB)) != NULL)
        return 2;
    if ((p = malloc(8 * MIB)) == NULL)
        return 3;
    memset(p, 1, 8 * MIB);
    if (oto_arena_alloc(before, 8 * MIB) == NULL)
        return 4;
    if (oto_arena_get(before, 1, 64 * MIB, &p, &e) != OTO_E_LIMIT)
        return 5;
    /* A cap is not an allocation. */
    return oto_arena_new("after", 256 * MIB, &after, &e) != 0 ? 6 : 0;
}

static void allocation_fails_beyond_the_limit(void **state)
{
    pid_t pid;
    int status;

    (void)state;
#ifdef __SANITIZE_ADDRESS__
    skip(); /* what the sanitizer itself maps would count */
#endif
    pid = fork();
    if (pid == 0)
        _exit(limited());
    status = status_of(pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_trimmed_arena_counts_no_more(void **state)
{
    oto_arena *a;
    oto_err e = {0};
    size_t empty;

    (void)state;
    assert_int_equal(oto_arena_new("test", 256 * MIB, &a, &e), 0);
    empty = oto_data_bytes();
    assert_non_null(oto_arena_alloc(a, 100 * MIB));
    assert_true(oto_data_bytes() >= empty + 100 * MIB);
    oto_arena_reset(a);
    oto_arena_trim(a);
    assert_true(oto_data_bytes() < empty + 4 * MIB);
    assert_non_null(oto_arena_calloc(a, 1, 100 * MIB));
    oto_arena_free(a);
}

static int use_in_group(const oto_ceiling *c, size_t n)
{
    const pid_t pid = fork();
    char *p;

    if (pid != 0)
        return status_of(pid);
    oto_ceiling_enter(c);
    p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        _exit(1);
    (void)mlock(p, n); /* what is swapped out does not count */
    memset(p, 1, n);
    _exit(0);
}

static void who_fills_the_group_is_killed(void **state)
{
    oto_ceiling c;
    char group[sizeof c.group];
    int status;

    (void)state;
    oto_ceiling_open(&c, 64 * MIB);
    if (c.group[0] == '\0')
        skip(); /* no control group can be made here */
    snprintf(group, sizeof group, "%s", c.group);
    status = use_in_group(&c, 16 * MIB);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    status = use_in_group(&c, 160 * MIB);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    oto_ceiling_set(&c, 256 * MIB);
    status = use_in_group(&c, 160 * MIB);
    assert_true(WIFEXITED(status));
    oto_ceiling_close(&c);
    assert_int_equal(access(group, F_OK), -1);
}

static void no_limit_is_no_group(void **state)
{
    oto_ceiling c;

    (void)state;
    oto_ceiling_open(&c, 0);
    assert_string_equal(c.group, "");
    oto_ceiling_enter(&c);
    oto_ceiling_set(&c, MIB);
    oto_ceiling_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocation_fails_beyond_the_limit),
        cmocka_unit_test(a_trimmed_arena_counts_no_more),
        cmocka_unit_test(who_fills_the_group_is_killed),
        cmocka_unit_test(no_limit_is_no_group),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
