/* A worker's clock, without models. */
#include "work/worker.c"

#include "../store/kit.h"
#include "store/sqlite.h"

#include <sys/wait.h>

static oto_worker w;
static oto_board *board;

static void set_up(void)
{
    OK(oto_board_new(1, &board, &e));
    memset(&w, 0, sizeof w);
    w.proc = &board->workers[0];
    w.store = kit_store;
    snprintf(w.name, sizeof w.name, "worker-1");
    pthread_mutex_init(&w.lock, NULL);
}

/* A clock at which nothing is due. */
static clockwork idle_clock(void)
{
    const int64_t now = oto_now_ms();

    return (clockwork){
        .renewed = now, .beaten = now, .expired = now, .idle_since = now, .started = now};
}

/* A bell that rang too soon after the last renewal is not forgotten: someone waits to cancel. */
static void a_bell_is_heard_in_the_end(void **state)
{
    clockwork c = idle_clock();

    (void)state;
    set_up();
    c.rung = true;
    keep_time(&w, &c);
    assert_true(c.rung);
    c.renewed -= RENEW_SOON_MS;
    keep_time(&w, &c);
    assert_false(c.rung);
    oto_board_free(board);
}

static int drained_since(int64_t ms)
{
    int status = -1;
    const pid_t pid = fork();

    if (pid == 0) {
        clockwork c = idle_clock();

        w.n_lanes = 1;
        w.lanes[0].busy = true;
        c.draining_since = c.started - ms;
        c.status = OTO_EXIT_RECYCLE;
        keep_time(&w, &c);
        _exit(atomic_load(&w.lanes[0].stop) ? 2 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WEXITSTATUS(status);
}

/* A lane that hangs must not keep a worker that takes no more jobs in its place for ever. */
static void a_lane_that_hangs_is_left_behind(void **state)
{
    (void)state;
    set_up();
    w.o.drain_s = 5;
    assert_int_equal(drained_since(1000), 1);
    assert_int_equal(drained_since(6000), 2);
    assert_int_equal(drained_since(6000 + LET_GO_MS), OTO_EXIT_RECYCLE);
    oto_board_free(board);
}

static void a_death_is_blamed_once(void **state)
{
    char token[33];
    oto_job job;

    (void)state;
    set_up();
    kit_submit("c", 1000);
    job = kit_lease("worker-1", 2000, token);
    atomic_store(&w.proc->blame, 1);
    OK(clear_up(&w, &e));
    assert_int_equal(kit_get(job.id).crashes, 1);
    assert_int_equal(atomic_load(&w.proc->blame), 0);
    kit_lease("worker-1", 3000, token);
    OK(clear_up(&w, &e));
    assert_int_equal(kit_get(job.id).crashes, 1);
    oto_board_free(board);
}

/* What begins while another waits for its model must not make it wait for ever. */
static void nobody_begins_for_ever_before_one_that_waits(void **state)
{
    (void)state;
    set_up();
    w.n_lanes = 3;
    w.lanes[0] = (lane){.busy = true, .began = 1, .audio_ms = 60000, .done_ms = 20000};
    w.lanes[1].parked = 2;
    assert_int_equal(may_begin_ms(&w, 2), 40000);
    /* One that began since does not count, however long it is. */
    w.lanes[2] = (lane){.busy = true, .began = 3, .audio_ms = 40000};
    w.lanes[0].done_ms = 50000;
    assert_int_equal(may_begin_ms(&w, 2), 10000);
    w.lanes[0].busy = false;
    assert_int_equal(may_begin_ms(&w, 2), 0);
    /* Nor does one of unknown length. */
    w.lanes[0] = (lane){.busy = true, .began = 1, .audio_ms = -1, .done_ms = 5000};
    assert_int_equal(may_begin_ms(&w, 2), 0);
    oto_board_free(board);
}

static oto_job job_for(const char *model, lane *l)
{
    static const oto_served_model models[] = {{.name = "a", .path = "/none/a"},
                                              {.name = "b", .path = "/none/b"}};
    char options[80];
    const oto_submission j = {.client = "c", .audio_ms = 1000, .options = options};
    oto_job job;

    snprintf(options, sizeof options, "{\"model\":\"%s\"}", model);
    job = kit_submit_as(&j, 1000);
    w.board = board;
    w.o.models = models;
    w.o.n_models = 2;
    w.shelf = (oto_shelf){.o = &w.o, .residents = {.n = 2}};
    l->job_arena = kit_arena;
    OK(oto_store_lease(kit_store, "worker-1", 30000, 0, 2000, kit_arena, &l->job, l->token, &e));
    return job;
}

/* Gone from the list: at once and for good. Gone from the disk: it may come back. */
static void a_job_whose_model_is_gone_fails(void **state)
{
    lane *l = &w.lanes[0];
    char id[40];

    (void)state;
    set_up();
    snprintf(id, sizeof id, "%s", job_for("c", l).id);
    assert_int_equal(place(&w, l), PLACED);
    assert_false(l->busy);
    assert_int_equal(kit_get(id).state, OTO_JOB_FAILED);
    assert_non_null(strstr(kit_get(id).error, "no longer has the model 'c'"));
    snprintf(id, sizeof id, "%s", job_for("b", l).id);
    assert_int_equal(place(&w, l), PLACED);
    assert_false(l->busy);
    assert_int_equal(kit_get(id).state, OTO_JOB_QUEUED);
    assert_int_equal(kit_get(id).attempts, 1);
    assert_null(strstr(kit_get(id).error, "/none"));
    assert_non_null(strstr(kit_get(id).error, "'b' cannot be opened"));
    oto_board_free(board);
}

/* As it was when its worker died. */
static void waits_for_its_model(const lane *l)
{
    snprintf(w.proc->jobs_running[l->index], sizeof w.proc->jobs_running[0], "%s", l->job.id);
    memcpy(w.proc->waiting[l->index], l->token, sizeof l->token);
    atomic_store(&w.proc->blame, 1);
}

static void who_waits_for_a_model_is_not_blamed(void **state)
{
    lane *l = &w.lanes[0];

    (void)state;
    set_up();
    job_for("b", l);
    waits_for_its_model(l);
    OK(clear_up(&w, &e));
    assert_int_equal(kit_get(l->job.id).crashes, 0);
    assert_int_equal(kit_get(l->job.id).state, OTO_JOB_QUEUED);
    oto_board_free(board);
}

/* The next start puts right what this one could not, and blames nobody else for it. */
static void who_waits_is_known_until_it_is_put_right(void **state)
{
    lane *l = &w.lanes[0];
    oto_err why = {0};

    (void)state;
    set_up();
    job_for("b", l);
    waits_for_its_model(l);
    assert_int_equal(sqlite3_exec(kit_store->db, "PRAGMA query_only = 1", NULL, NULL, NULL), 0);
    assert_int_not_equal(clear_up(&w, &why), 0);
    assert_int_equal(sqlite3_exec(kit_store->db, "PRAGMA query_only = 0", NULL, NULL, NULL), 0);
    OK(clear_up(&w, &e));
    assert_int_equal(kit_get(l->job.id).crashes, 0);
    oto_board_free(board);
}

/* Dies of the first word it says: that it opens the model. */
static void open_and_die(lane *l)
{
    int ends[2];

    if (pipe(ends) != 0 || oto_arena_new("job", 1 << 20, &l->job_arena, NULL) != 0)
        _exit(1);
    close(ends[0]);
    dup2(ends[1], STDERR_FILENO);
    signal(SIGPIPE, SIG_DFL);
    oto_log_setup(OTO_LOG_DEBUG, false);
    l->job.options = "{\"model\":\"b\"}"; /* arenas stay with the parent */
    w.n_lanes = 1;
    l->parked = 1;
    (void)place_parked(&w);
    _exit(0);
}

/* Its model's file may be what kills: then it is a crash of its own, however long it waited. */
static void who_is_given_its_model_waits_no_more(void **state)
{
    lane *l = &w.lanes[0];
    int status = 0;
    pid_t pid;

    (void)state;
    set_up();
    job_for("b", l);
    waits_for_its_model(l);
    pid = fork();
    if (pid == 0)
        open_and_die(l);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE);
    OK(clear_up(&w, &e));
    assert_int_equal(kit_get(l->job.id).crashes, 1);
    oto_board_free(board);
}

int main(void)
{
    const struct CMUnitTest tests[] = {KIT_TEST(a_bell_is_heard_in_the_end),
                                       KIT_TEST(nobody_begins_for_ever_before_one_that_waits),
                                       KIT_TEST(a_job_whose_model_is_gone_fails),
                                       KIT_TEST(a_lane_that_hangs_is_left_behind),
                                       KIT_TEST(who_waits_for_a_model_is_not_blamed),
                                       KIT_TEST(who_waits_is_known_until_it_is_put_right),
                                       KIT_TEST(who_is_given_its_model_waits_no_more),
                                       KIT_TEST(a_death_is_blamed_once)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
