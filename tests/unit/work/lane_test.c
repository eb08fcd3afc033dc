/* A lane on a real store, with a recogniser that does what each test wants. */
#define oto_recogniser_new fake_new
#define oto_recogniser_run fake_run
#include "work/lane.c"

#include "../store/kit.h"
#include "store/sqlite.h"

static oto_worker worker;
static oto_board *board;
static oto_spool spool = {.dir = "/tmp"};
static int (*behaviour)(const oto_job_options *o, oto_err *e);

int fake_new(const oto_recogniser_options *o, oto_recogniser **out, oto_err *e)
{
    (void)o, (void)e;
    *out = NULL;
    return 0;
}

int fake_run(oto_recogniser *r, const char *path, const oto_job_options *o, oto_job_result *out,
             oto_err *e)
{
    (void)r, (void)path;
    memset(out, 0, sizeof *out);
    return behaviour(o, e);
}

/* Runs one job as lane 1 of a worker does and tells what became of it. */
static oto_job run_one(const char *options, int (*what)(const oto_job_options *o, oto_err *e))
{
    const oto_submission order = {
        .client = "c", .audio = "2026-01-01_001_a.wav", .audio_ms = 1000, .options = options};
    const oto_job submitted = kit_submit_as(&order, 1000);
    lane *l = &worker.lanes[0];

    behaviour = what;
    OK(oto_board_new(1, &board, &e));
    worker.o.spool = &spool;
    worker.board = board;
    worker.proc = &board->workers[0];
    l->w = &worker;
    l->store = kit_store;
    OK(oto_arena_new("job", 1 << 20, &l->job_arena, &e));
    OK(oto_arena_new("results", 1 << 20, &l->scratch, &e));
    OK(oto_store_lease(kit_store, "worker-1", 30000, 0, 2000, l->job_arena, &l->job, l->token, &e));
    run_job(l);
    oto_arena_free(l->job_arena);
    oto_arena_free(l->scratch);
    oto_board_free(board);
    return kit_get(submitted.id);
}

static int cancelled(oto_err *e)
{
    return oto_fail(e, OTO_E_CANCELLED, "cancelled");
}

static int gives_a_segment(const oto_job_options *o, oto_err *e)
{
    return o->on_segment(o->arg, &(oto_segment){.end_ms = 900, .text = " Yes."}) != 0 ? cancelled(e)
                                                                                      : 0;
}

static int gives_too_much(const oto_job_options *o, oto_err *e)
{
    static char text[2 << 20];

    memset(text, 'a', sizeof text - 1);
    return o->on_segment(o->arg, &(oto_segment){.end_ms = 900, .text = text}) != 0 ? cancelled(e)
                                                                                   : 0;
}

static int stops(const oto_job_options *o, oto_err *e)
{
    (void)o;
    return cancelled(e);
}

static void a_job_is_done(void **state)
{
    const oto_job job = run_one("{}", gives_a_segment);

    (void)state;
    assert_int_equal(job.state, OTO_JOB_DONE);
    assert_int_equal(job.n_segments, 1);
}

static void a_job_that_was_stopped_is_as_before(void **state)
{
    const oto_job job = run_one("{}", stops);

    (void)state;
    assert_int_equal(job.state, OTO_JOB_QUEUED);
    assert_int_equal(job.attempts, 0);
}

/* It is an attempt, or it would come again at once and for ever. */
static void results_without_room_count_as_an_attempt(void **state)
{
    const oto_job job = run_one("{}", gives_too_much);

    (void)state;
    assert_int_equal(job.state, OTO_JOB_QUEUED);
    assert_int_equal(job.attempts, 1);
    assert_true(job.not_before > 0);
    assert_string_equal(job.error_code, oto_err_name(OTO_E_LIMIT));
}

/* The disk is full when what it has is to be stored, and it is told to stop. */
static int stops_on_a_full_disk(const oto_job_options *o, oto_err *e)
{
    static char text[64 << 10];

    memset(text, 'a', sizeof text - 1);
    if (sqlite3_exec(kit_store->db, "PRAGMA max_page_count = 1", NULL, NULL, NULL) != SQLITE_OK ||
        o->on_segment(o->arg, &(oto_segment){.end_ms = 900, .text = text}) != 0)
        return oto_fail(e, OTO_E_INTERNAL, "the test's own");
    atomic_store(&worker.lanes[0].stop, true);
    return cancelled(e);
}

/* Giving it back needs no room: else it would stay as running until its lease is over. */
static void a_job_that_is_stopped_on_a_full_disk_is_given_back(void **state)
{
    const oto_job job = run_one("{}", stops_on_a_full_disk);

    (void)state;
    atomic_store(&worker.lanes[0].stop, false);
    assert_int_equal(job.state, OTO_JOB_QUEUED);
    assert_int_equal(job.attempts, 0);
    assert_int_equal(job.n_segments, 0);
}

static void options_that_cannot_be_read_fail(void **state)
{
    const oto_job job = run_one("not json", gives_a_segment);

    (void)state;
    assert_int_equal(job.state, OTO_JOB_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {KIT_TEST(a_job_is_done),
                                       KIT_TEST(a_job_that_was_stopped_is_as_before),
                                       KIT_TEST(a_job_that_is_stopped_on_a_full_disk_is_given_back),
                                       KIT_TEST(results_without_room_count_as_an_attempt),
                                       KIT_TEST(options_that_cannot_be_read_fail)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
