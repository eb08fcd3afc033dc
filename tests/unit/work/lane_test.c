/* A lane on a real store, with a recogniser that does what each test wants. */
#define oto_recogniser_new fake_new
#define oto_recogniser_run fake_run
#include "base/base.h"

/* The program's version, as each test wants it. */
#undef OTO_VERSION
#define OTO_VERSION version
static const char *version = "1.2.3";

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

/* Runs the next job as lane 1 of a worker does and tells what became of it. */
static oto_job run_next(const char *id, int (*what)(const oto_job_options *o, oto_err *e))
{
    static const oto_served_model models[] = {{.path = "/models/asr"}};
    lane *l = &worker.lanes[0];

    behaviour = what;
    OK(oto_board_new(1, &board, &e));
    worker.o.spool = &spool;
    worker.o.models = models;
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
    return kit_get(id);
}

static oto_job run_one(const char *options, int (*what)(const oto_job_options *o, oto_err *e))
{
    const oto_submission order = {
        .client = "c", .audio = "2026-01-01_001_a.wav", .audio_ms = 1000, .options = options};

    return run_next(kit_submit_as(&order, 1000).id, what);
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

static int give(const oto_job_options *o, const char *letters)
{
    char text[2] = "";

    for (; *letters != '\0'; letters++) {
        text[0] = *letters;
        if (o->on_segment(o->arg, &(oto_segment){.end_ms = 10, .text = text}) != 0 ||
            o->on_progress(o->arg, 10, 1000) != 0)
            return -1;
    }
    return 0;
}

static int gives_three_and_stops(const oto_job_options *o, oto_err *e)
{
    return give(o, "abc") == 0 ? cancelled(e) : OTO_E_INTERNAL;
}

static int gives_four(const oto_job_options *o, oto_err *e)
{
    return give(o, "abcd") == 0 ? 0 : oto_fail(e, OTO_E_INTERNAL, "the test's own");
}

static int gives_two(const oto_job_options *o, oto_err *e)
{
    return give(o, "XY") == 0 ? 0 : oto_fail(e, OTO_E_INTERNAL, "the test's own");
}

static const char *text_of(const char *id)
{
    static char text[100];
    sqlite3_stmt *q;

    text[0] = '\0';
    assert_int_equal(sqlite3_prepare_v2(kit_store->db,
                                        "SELECT text FROM segments JOIN jobs ON job = seq"
                                        " WHERE id = ? ORDER BY number",
                                        -1, &q, NULL),
                     SQLITE_OK);
    sqlite3_bind_text(q, 1, id, -1, SQLITE_STATIC);
    while (sqlite3_step(q) == SQLITE_ROW)
        strcat(text, (const char *)sqlite3_column_text(q, 0));
    sqlite3_finalize(q);
    return text;
}

static void a_job_goes_on(void **state)
{
    oto_job job = run_one("{}", gives_three_and_stops);

    (void)state;
    assert_int_equal(job.n_segments, 3);
    job = run_next(job.id, gives_four);
    assert_int_equal(job.state, OTO_JOB_DONE);
    assert_string_equal(text_of(job.id), "abcd");
}

/* Its segments are cut differently, so that there is no telling which of them are stored. */
static void a_job_of_other_models_begins_anew(void **state)
{
    static const char *const punc[] = {"/models/punc", NULL};

    (void)state;
    for (int i = 0; i < 2; i++) {
        oto_job job;

        worker.o.punc_path = punc[i];
        job = run_one("{}", gives_three_and_stops);
        assert_int_equal(job.n_segments, 3);
        worker.o.punc_path = punc[1 - i];
        job = run_next(job.id, gives_two);
        assert_int_equal(job.state, OTO_JOB_DONE);
        assert_int_equal(job.n_segments, 2);
        assert_string_equal(text_of(job.id), "XY");
    }
    worker.o.punc_path = NULL;
}

/* What it would tell now need not be what it told then, although models and settings are the same.
 */
static void a_job_of_another_version_begins_anew(void **state)
{
    oto_job job = run_one("{}", gives_three_and_stops);

    (void)state;
    assert_int_equal(job.n_segments, 3);
    version = "1.2.4";
    job = run_next(job.id, gives_two);
    version = "1.2.3";
    assert_int_equal(job.state, OTO_JOB_DONE);
    assert_string_equal(text_of(job.id), "XY");
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
                                       KIT_TEST(a_job_goes_on),
                                       KIT_TEST(a_job_of_other_models_begins_anew),
                                       KIT_TEST(a_job_of_another_version_begins_anew),
                                       KIT_TEST(options_that_cannot_be_read_fail)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
