/* What a look costs and what it brings, of real processes. */
#include "measure/monitor.c"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <cmocka.h>

#define LOOKS  60
#define COMING 20 /* new processes for each look */
#define STEP   (64 << 10)
#define BUDGET 0.0005 /* less than they take */

/* For each byte that comes: the last look's children go, as many others come, and STEP more
 * is used. */
static void live(int in, int out)
{
    pid_t children[COMING] = {0};
    const pid_t self = getpid();
    char *memory, order;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    memory = mmap(NULL, (size_t)(LOOKS + 1) * STEP, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || madvise(memory, (size_t)(LOOKS + 1) * STEP, MADV_DONTFORK) != 0)
        _exit(1);
    for (int i = 0; i <= LOOKS && read(in, &order, 1) == 1; i++) {
        memset(memory + (size_t)i * STEP, 1, STEP);
        for (int k = 0; k < COMING; k++) {
            if (children[k] > 0) {
                kill(children[k], SIGKILL);
                waitpid(children[k], NULL, 0);
            }
            if ((children[k] = fork()) == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                while (getppid() == self) /* it may have been killed before */
                    pause();
                _exit(0);
            }
        }
        if (write(out, &order, 1) != 1)
            break;
    }
    _exit(1);
}

static const oto_proc_sample *look_for(oto_monitor *m, int pid)
{
    const oto_proc_sample *list = NULL;
    oto_err e = {0};
    int n = 0;

    if (oto_monitor_look(m, &list, &n, &e) != 0)
        fail_msg("%s", e.text);
    for (int i = 0; i < n; i++)
        if (list[i].pid == pid)
            return &list[i];
    fail_msg("%d is not seen", pid);
    return NULL;
}

/* However many processes come, what is known of those that stay is read again. */
static void test_those_that_stay_are_not_forgotten(void **unused)
{
    int to[2], from[2], changes = 0;
    double before = -1;
    oto_monitor *m;
    oto_err e = {0};
    char order = 0;
    pid_t pid;

    (void)unused;
    assert_int_equal(pipe(to), 0);
    assert_int_equal(pipe(from), 0);
    if ((pid = fork()) == 0)
        live(to[0], from[1]);
    close(from[1]);
    if (oto_monitor_new(&(oto_monitor_options){.pids = &pid, .n_pids = 1, .budget_s = BUDGET}, &m,
                        &e) != 0)
        fail_msg("%s", e.text);
    for (int i = 0; i < LOOKS; i++) {
        const oto_proc_sample *s;

        assert_int_equal(write(to[1], &order, 1), 1);
        assert_int_equal(read(from[0], &order, 1), 1);
        s = look_for(m, pid);
        if (i >= LOOKS / 2)
            changes += s->private_dirty_mb != before;
        before = s->private_dirty_mb;
    }
    assert_true(before * OTO_MB > LOOKS / 2 * STEP);
    assert_true(changes > 1);
    oto_monitor_free(m);
    close(to[1]);
    close(from[0]);
    kill(pid, SIGKILL); /* and its children with it */
    waitpid(pid, NULL, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_those_that_stay_are_not_forgotten),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
