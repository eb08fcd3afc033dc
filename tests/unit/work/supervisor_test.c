/* What the supervisor concludes from the signs of life of its children. */
#include "work/supervisor.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* A tree whose only child showed its last sign of life long ago. */
static void plant(tree *t)
{
    const pid_t pid = fork();

    if (pid == 0) {
        pause();
        _exit(0);
    }
    *t = (tree){.n = 1, .replace_next = -1};
    if (oto_board_new(1, &t->board, NULL) != 0)
        fail();
    t->children[0] = (child){.proc = &t->board->workers[0], .pid = pid};
    atomic_store(&t->children[0].proc->beat_at_ms, oto_now_ms() - HUNG_MS - 1000);
}

static void fell(tree *t)
{
    kill(t->children[0].pid, SIGKILL);
    waitpid(t->children[0].pid, NULL, 0);
    oto_board_free(t->board);
}

static void a_hung_child_is_killed(void **state)
{
    int status;
    tree t;

    (void)state;
    plant(&t);
    t.watched = oto_now_ms() - TICK_MS;
    watch(&t);
    assert_int_equal(waitpid(t.children[0].pid, &status, 0), t.children[0].pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    oto_board_free(t.board);
}

/* A terminal or a frozen container stops all of them: on waking the others look hung. */
static void who_was_stopped_itself_kills_nobody(void **state)
{
    tree t;

    (void)state;
    plant(&t);
    t.watched = oto_now_ms() - ASLEEP_MS - 1000;
    for (int i = 0; i < 3; i++)
        watch(&t);
    assert_int_equal(waitpid(t.children[0].pid, NULL, WNOHANG), 0);
    fell(&t);
}

static void a_cause_from_outside_is_no_fault(void **state)
{
    const child c = {.oom_kills = oom_kills()};

    (void)state;
    assert_true(own_fault(&c, SIGSEGV));
    assert_true(own_fault(&c, 1 << 8));
    assert_false(own_fault(&c, SIGTERM));
    assert_false(own_fault(&c, OTO_EXIT_RECYCLE << 8));
    assert_false(own_fault(&c, OTO_EXIT_STORE << 8));
    assert_false(own_fault(&c, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_hung_child_is_killed),
                                       cmocka_unit_test(who_was_stopped_itself_kills_nobody),
                                       cmocka_unit_test(a_cause_from_outside_is_no_fault)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
