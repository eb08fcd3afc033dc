/* The life of a job, move by move, and then at random. */
#include "store/sqlite_jobs.c"
#include "unit/store/kit.h"

#include <ctype.h>

#define NOW 1000000

/* ---- submit ---- */

static void a_job_comes_back_as_it_was_given(void **state)
{
    const oto_submission j = {.client = "c",
                              .api = "openai",
                              .filename = "año 'x'; DROP TABLE jobs.wav",
                              .audio = "2026-11-23_001_ab.wav",
                              .language = "es",
                              .model = "base",
                              .options = "{\"a\":1}",
                              .webhook = "https://example.org/",
                              .priority = -3,
                              .bytes = 5000000000,
                              .audio_ms = -1,
                              .max_attempts = 7};
    const oto_job made = kit_submit_as(&j, NOW), job = kit_get(made.id);

    (void)state;
    assert_string_equal(job.id, made.id);
    assert_int_equal(strlen(job.id), 32);
    assert_string_equal(job.filename, j.filename);
    assert_string_equal(job.audio, j.audio);
    assert_string_equal(job.api, "openai");
    assert_string_equal(job.options, j.options);
    assert_string_equal(job.webhook, j.webhook);
    assert_string_equal(job.error, "");
    assert_int_equal(job.state, OTO_JOB_QUEUED);
    assert_int_equal(job.priority, -3);
    assert_int_equal(job.max_attempts, 7);
    assert_int_equal(job.bytes, 5000000000);
    assert_int_equal(job.audio_ms, -1);
    assert_int_equal(job.submitted_at, NOW);
    assert_int_equal(job.started_at, 0);
}

static void ids_have_as_many_digits_as_asked(void **state)
{
    static const int asked[] = {0, 1, 8, 16, 32, 99}, got[] = {32, 8, 8, 16, 32, 32};

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(asked); i++) {
        const oto_submission j = {.client = "c", .api = "rest", .id_digits = asked[i]};
        const oto_job job = kit_submit_as(&j, NOW);

        assert_int_equal(strlen(job.id), got[i]);
        assert_int_equal(strspn(job.id, "0123456789abcdef"), got[i]);
    }
}

static void an_idempotency_key_names_one_job(void **state)
{
    oto_submission j = {.client = "c", .api = "rest", .idempotency = "k"};
    const oto_job first = kit_submit_as(&j, NOW);
    const char *audio;
    bool existing = false;
    char token[33];
    oto_job again;

    (void)state;
    OK(oto_store_submit(kit_store, &j, 1, 1, NOW + 5, kit_arena, &again, &existing, &e));
    assert_true(existing);
    assert_string_equal(again.id, first.id);
    kit_lease("w", NOW, token);
    kit_finish(first.id, token, NOW);
    OK(oto_store_submit(kit_store, &j, 0, 0, NOW + 9, kit_arena, &again, &existing, &e));
    assert_true(existing);
    assert_int_equal(again.state, OTO_JOB_DONE);
    j.client = "d"; /* another client's key is another key */
    kit_submit_as(&j, NOW);
    j.client = "c";
    OK(oto_store_delete(kit_store, first.id, NOW, kit_arena, &audio, &e));
    kit_submit_as(&j, NOW); /* what was deleted is not named any more */
    j.idempotency = "";
    kit_submit_as(&j, NOW);
    kit_submit_as(&j, NOW);
}

static void limits_hold(void **state)
{
    const oto_submission c = {.client = "c", .api = "rest"}, d = {.client = "d", .api = "rest"};
    bool existing;
    char token[33];
    oto_job job;

    (void)state;
    for (int i = 0; i < 2; i++)
        OK(oto_store_submit(kit_store, &c, 3, 2, NOW, kit_arena, &job, &existing, &e));
    FAILS(OTO_E_BUSY, oto_store_submit(kit_store, &c, 3, 2, NOW, kit_arena, &job, &existing, &e));
    kit_lease("w", NOW, token); /* running counts for the client, not for the queue */
    FAILS(OTO_E_BUSY, oto_store_submit(kit_store, &c, 3, 2, NOW, kit_arena, &job, &existing, &e));
    for (int i = 0; i < 2; i++)
        OK(oto_store_submit(kit_store, &d, 3, 2, NOW, kit_arena, &job, &existing, &e));
    FAILS(OTO_E_LIMIT, oto_store_submit(kit_store, &d, 3, 0, NOW, kit_arena, &job, &existing, &e));
    OK(oto_store_cancel(kit_store, job.id, NOW, &e));
    OK(oto_store_submit(kit_store, &d, 3, 2, NOW, kit_arena, &job, &existing, &e));
}

static void a_fingerprint_finds_the_newest(void **state)
{
    const oto_submission j = {.client = "c", .api = "rest", .fingerprint = "f"};
    const oto_job first = kit_submit_as(&j, NOW), second = kit_submit_as(&j, NOW + 100);
    char token[33];
    oto_job job;

    (void)state;
    OK(oto_store_find(kit_store, "c", "f", 0, kit_arena, &job, &e));
    assert_string_equal(job.id, second.id);
    OK(oto_store_cancel(kit_store, second.id, NOW, &e));
    OK(oto_store_find(kit_store, "c", "f", 0, kit_arena, &job, &e));
    assert_string_equal(job.id, first.id);
    FAILS(OTO_E_NOT_FOUND, oto_store_find(kit_store, "c", "f", NOW, kit_arena, &job, &e));
    FAILS(OTO_E_NOT_FOUND, oto_store_find(kit_store, "d", "f", 0, kit_arena, &job, &e));
    FAILS(OTO_E_NOT_FOUND, oto_store_find(kit_store, "c", "g", 0, kit_arena, &job, &e));
    kit_lease("w", NOW, token);
    OK(oto_store_find(kit_store, "c", "f", 0, kit_arena, &job, &e));
    OK(oto_store_cancel(kit_store, first.id, NOW, &e)); /* its worker has yet to learn of it */
    FAILS(OTO_E_NOT_FOUND, oto_store_find(kit_store, "c", "f", 0, kit_arena, &job, &e));
}

/* ---- the order of leases ---- */

static void priority_then_fairness_then_age(void **state)
{
    const oto_submission urgent = {.client = "a", .api = "rest", .audio_ms = 9, .priority = 1};
    const oto_job a1 = kit_submit("a", 60000), a2 = kit_submit("a", 60000),
                  a3 = kit_submit("a", 60000), b1 = kit_submit("b", 1000),
                  b2 = kit_submit("b", 1000), c1 = kit_submit("c", 1000),
                  first = kit_submit_as(&urgent, 1000);
    /* a's running minutes outweigh b's and c's seconds, whatever came first. */
    const char *const order[] = {first.id, b1.id, c1.id, a1.id, b2.id, a2.id, a3.id};
    char token[33];

    (void)state;
    /* The urgent job's 9 ms are running when the others are chosen from. */
    for (size_t i = 0; i < OTO_COUNT(order); i++)
        assert_string_equal(kit_lease("w", NOW, token).id, order[i]);
    kit_lease_none(NOW);
}

static void a_burst_does_not_starve_others(void **state)
{
    char token[33];
    int of_late = 0;

    (void)state;
    for (int i = 0; i < 100; i++)
        kit_submit("burst", 1000);
    for (int i = 0; i < 10; i++)
        kit_submit("late", 1000);
    for (int i = 0; i < 20; i++)
        of_late += strcmp(kit_lease("w", NOW, token).client, "late") == 0;
    assert_int_equal(of_late, 10);
}

static void unknown_lengths_weigh_a_minute(void **state)
{
    char token[33];

    (void)state;
    kit_submit("a", -1);
    kit_submit("a", -1);
    kit_submit("b", 30000);
    kit_submit("b", 30000);
    assert_string_equal(kit_lease("w", NOW, token).client, "a");
    assert_string_equal(kit_lease("w", NOW, token).client, "b");
    assert_string_equal(kit_lease("w", NOW, token).client, "b");
    assert_string_equal(kit_lease("w", NOW, token).client, "a");
}

static void the_short_lane_takes_short_ones(void **state)
{
    const oto_job unknown = kit_submit("a", -1), longer = kit_submit("a", 60001),
                  fits = kit_submit("a", 60000);
    char token[33];
    oto_job job;

    (void)state;
    OK(oto_store_lease(kit_store, "w", 60000, 60000, NOW, kit_arena, &job, token, &e));
    assert_string_equal(job.id, fits.id);
    FAILS(OTO_E_NOT_FOUND,
          oto_store_lease(kit_store, "w", 60000, 60000, NOW, kit_arena, &job, token, &e));
    assert_string_equal(kit_lease("w", NOW, token).id, unknown.id);
    assert_string_equal(kit_lease("w", NOW, token).id, longer.id);
}

/* A priority of which nothing fits hides no other. */
static void what_does_not_fit_is_passed_over(void **state)
{
    const oto_submission urgent = {.client = "a", .api = "rest", .audio_ms = 90000, .priority = 5};
    const oto_job plain = kit_submit("b", 100);
    char token[33];
    oto_job job;

    (void)state;
    kit_submit_as(&urgent, NOW);
    OK(oto_store_lease(kit_store, "w", 60000, 1000, NOW, kit_arena, &job, token, &e));
    assert_string_equal(job.id, plain.id);
}

/* ---- leases ---- */

static void only_the_holder_moves_a_job(void **state)
{
    const oto_job_outcome r = {.language = "en"};
    const oto_job made = kit_submit("c", 1000);
    char token[33], later[33];
    bool cancelled;
    oto_job job = kit_lease("w", NOW, token);
    int n;

    (void)state;
    assert_int_equal(job.state, OTO_JOB_RUNNING);
    assert_int_equal(job.attempts, 1);
    assert_int_equal(job.started_at, NOW);
    OK(oto_store_renew(kit_store, made.id, token, 1000, NOW, &cancelled, &e));
    assert_false(cancelled);
    OK(oto_store_expire(kit_store, NOW + 999, &n, &e));
    assert_int_equal(n, 0);
    OK(oto_store_expire(kit_store, NOW + 1000, &n, &e));
    assert_int_equal(n, 1);
    job = kit_lease("v", NOW + 2000, later);
    assert_string_equal(job.id, made.id);
    assert_int_equal(job.attempts, 1); /* the one that was taken away is not counted */
    assert_int_equal(job.started_at, NOW);
    assert_string_not_equal(token, later);
    FAILS(OTO_E_BUSY, oto_store_renew(kit_store, made.id, token, 1, NOW, &cancelled, &e));
    FAILS(OTO_E_BUSY,
          oto_store_segments(kit_store, made.id, token, NULL, 0, NULL, 0, 500, NOW, &e));
    FAILS(OTO_E_BUSY, oto_store_finish(kit_store, made.id, token, NULL, 0, &r, NOW, &e));
    FAILS(OTO_E_BUSY, oto_store_fail(kit_store, made.id, token, "x", "y", true, NOW, &e));
    FAILS(OTO_E_BUSY, oto_store_release(kit_store, made.id, token, NOW, &e));
    FAILS(OTO_E_BUSY, oto_store_release(kit_store, made.id, "", NOW, &e));
    FAILS(OTO_E_BUSY, oto_store_release(kit_store, "nobody", later, NOW, &e));
    assert_int_equal(kit_get(made.id).checkpoint_ms, 0);
    kit_finish(made.id, later, NOW);
    FAILS(OTO_E_BUSY, oto_store_finish(kit_store, made.id, later, NULL, 0, &r, NOW, &e));
    assert_int_equal(kit_get(made.id).state, OTO_JOB_DONE);
}

static int add_text(void *arg, int n, const oto_job_segment *g)
{
    char *all = arg;

    snprintf(all + strlen(all), 200 - strlen(all), "%d:%d-%d%s%s;", n, (int)g->start_ms,
             (int)g->end_ms, g->text, g->json);
    return 0;
}

static const char *texts(const char *id)
{
    static char all[200];
    oto_job job = {.id = id};

    all[0] = '\0';
    if (oto_store_get(kit_store, id, kit_arena, &job, NULL) != 0)
        job.id = id;
    OK(oto_store_each_segment(kit_store, &job, 0, add_text, all, &e));
    return all;
}

static void segments_outlive_their_worker(void **state)
{
    const oto_job_segment g[] = {{0, 10, " a", "{}"}, {10, 20, " b", ""}, {20, 30, " c", NULL}};
    const oto_job_memo m[] = {{7, "seven"}, {-8, "eight"}}, better = {7, "SEVEN"};
    const oto_job_outcome r = {.language = "en",
                               .warning = "w",
                               .audio_ms = 30,
                               .processing_s = 1.5,
                               .memory_before = 1,
                               .memory_after = 2,
                               .memory_peak = 3,
                               .decoder_peak = 4};
    const oto_job made = kit_submit("c", 40);
    const char *json;
    char token[33];
    oto_job job;
    int n;

    (void)state;
    kit_lease("w", NOW, token);
    OK(oto_store_segments(kit_store, made.id, token, g, 2, m, 2, 20, NOW, &e));
    OK(oto_store_segments(kit_store, made.id, token, NULL, 0, &better, 1, 15, NOW, &e));
    OK(oto_store_recall(kit_store, made.id, 7, kit_arena, &json, &e));
    assert_string_equal(json, "SEVEN");
    OK(oto_store_reclaim(kit_store, "w", false, NOW, &n, &e));
    job = kit_lease("v", NOW, token);
    assert_int_equal(job.checkpoint_ms, 20); /* never back */
    assert_int_equal(job.n_segments, 2);
    OK(oto_store_recall(kit_store, made.id, -8, kit_arena, &json, &e));
    assert_string_equal(json, "eight");
    FAILS(OTO_E_NOT_FOUND, oto_store_recall(kit_store, made.id, 9, kit_arena, &json, &e));
    OK(oto_store_finish(kit_store, made.id, token, g + 2, 1, &r, NOW + 7, &e));
    assert_string_equal(texts(made.id), "0:0-10 a{};1:10-20 b;2:20-30 c;");
    FAILS(OTO_E_NOT_FOUND, oto_store_recall(kit_store, made.id, 7, kit_arena, &json, &e));
    job = kit_get(made.id);
    assert_int_equal(job.n_segments, 3);
    assert_int_equal(job.audio_ms, 30);
    assert_int_equal(job.finished_at, NOW + 7);
    assert_string_equal(job.warning, "w");
    assert_true(job.processing_s == 1.5);
    assert_int_equal(job.memory_after, 2);
    assert_int_equal(job.memory_peak, 3);
    assert_int_equal(job.decoder_peak, 4);
}

/* ---- failures ---- */

static void pauses_double_and_attempts_end(void **state)
{
    static const int64_t pauses[] = {5000, 10000, 20000, 40000, 80000, 160000, 300000, 300000};
    const oto_submission j = {.client = "c", .api = "rest", .max_attempts = 9};
    const oto_job made = kit_submit_as(&j, NOW);
    int64_t now = NOW;
    char token[33];
    oto_job job;

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(pauses); i++) {
        kit_lease("w", now, token);
        OK(oto_store_fail(kit_store, made.id, token, "io", "no luck", true, now, &e));
        job = kit_get(made.id);
        assert_int_equal(job.state, OTO_JOB_QUEUED);
        assert_int_equal(job.not_before, now + pauses[i]);
        assert_string_equal(job.error_code, "io");
        kit_lease_none(now + pauses[i] - 1);
        now += pauses[i];
    }
    kit_lease("w", now, token);
    OK(oto_store_fail(kit_store, made.id, token, "io", "no luck", true, now, &e));
    job = kit_get(made.id);
    assert_int_equal(job.state, OTO_JOB_FAILED);
    assert_int_equal(job.attempts, 9);
    assert_string_equal(job.error, "no luck");
    assert_int_equal(job.finished_at, now);
}

static void bad_input_fails_at_once(void **state)
{
    const oto_job made = kit_submit("c", 1);
    char token[33];

    (void)state;
    kit_lease("w", NOW, token);
    OK(oto_store_fail(kit_store, made.id, token, "bad", "no sound", false, NOW, &e));
    assert_int_equal(kit_get(made.id).state, OTO_JOB_FAILED);
}

static void crash(const char *owner, int jobs)
{
    int n;

    OK(oto_store_reclaim(kit_store, owner, true, NOW, &n, &e));
    assert_int_equal(n, jobs);
}

/* One poison recording among four that share a worker: it dies, the others are done. */
static void the_poison_dies_and_the_innocent_get_off(void **state)
{
    char ids[4][33], tokens[4][33];
    int crashes = 0;
    bool done[4] = {false};

    (void)state;
    for (int i = 0; i < 4; i++)
        snprintf(ids[i], sizeof ids[i], "%s", kit_submit("c", 1000).id);
    for (int round = 0; round < 20; round++) {
        oto_job job;
        char token[33];
        bool poison = false;
        int held = 0, which[4];

        while (oto_store_lease(kit_store, "w", 60000, 0, NOW, kit_arena, &job, token, NULL) == 0) {
            for (int i = 0; i < 4; i++)
                if (strcmp(ids[i], job.id) == 0)
                    which[held] = i;
            memcpy(tokens[which[held]], token, sizeof token);
            poison = poison || which[held] == 2;
            held++;
        }
        if (held == 0)
            break;
        if (poison) {
            crash("w", held);
            crashes++;
            continue;
        }
        for (int i = 0; i < held; i++) {
            kit_finish(ids[which[i]], tokens[which[i]], NOW);
            done[which[i]] = true;
        }
    }
    for (int i = 0; i < 4; i++)
        assert_int_equal(done[i], i != 2);
    assert_int_equal(kit_get(ids[2]).state, OTO_JOB_DEAD);
    assert_string_equal(kit_get(ids[2]).error_code, "crash");
    assert_in_range(crashes, 2, 5);
}

static void suspects_run_one_at_a_time(void **state)
{
    const oto_job a = kit_submit("c", 1000), b = kit_submit("c", 1000);
    char token[33], other[33];
    oto_job fresh;

    (void)state;
    kit_lease("w", NOW, token);
    kit_lease("w", NOW, token);
    crash("w", 2);
    assert_int_equal(kit_get(a.id).crashes, 1);
    assert_int_equal(kit_get(b.id).crashes, 1);
    assert_string_equal(kit_lease("w", NOW, token).id, a.id);
    kit_lease_none(NOW);
    fresh = kit_submit("c", 1000); /* one that is not suspect may run beside it */
    assert_string_equal(kit_lease("w", NOW, other).id, fresh.id);
    crash("w", 2); /* the suspect is to blame, not its neighbour: but it was not alone */
    assert_int_equal(kit_get(a.id).crashes, 2);
    assert_int_equal(kit_get(a.id).state, OTO_JOB_QUEUED);
    assert_int_equal(kit_get(fresh.id).crashes, 0);
    assert_string_equal(kit_lease("w", NOW, token).id, a.id);
    kit_lease_none(NOW); /* so it gets no company any more */
    crash("w", 1);
    assert_int_equal(kit_get(a.id).state, OTO_JOB_DEAD);
    assert_string_equal(kit_lease("w", NOW, token).id, b.id);
    kit_finish(b.id, token, NOW);
    assert_string_equal(kit_lease("w", NOW, token).id, fresh.id);
}

/* A long recording that a second poison crashes as well, as it did every time before. */
static void two_poisons_do_not_kill_a_third(void **state)
{
    const oto_job good = kit_submit("c", 1000), poison = kit_submit("c", 1000);
    char token[33], other[33];
    oto_job second;

    (void)state;
    kit_lease("w", NOW, token);
    kit_lease("w", NOW, other);
    crash("w", 2);
    second = kit_submit("c", 1000);
    assert_string_equal(kit_lease("w", NOW, token).id, good.id);
    assert_string_equal(kit_lease("w", NOW, other).id, second.id);
    crash("w", 2);
    assert_string_equal(kit_lease("w", NOW, token).id, good.id);
    kit_lease_none(NOW);
    kit_finish(good.id, token, NOW);
    for (int i = 0; i < 8 && kit_get(poison.id).state != OTO_JOB_DEAD; i++) {
        int held = 0;
        oto_job job;

        while (oto_store_lease(kit_store, "w", 60000, 0, NOW, kit_arena, &job, token, NULL) == 0)
            held++;
        crash("w", held);
    }
    assert_int_equal(kit_get(poison.id).state, OTO_JOB_DEAD);
}

/* The second poison comes first in line, each time. */
static void a_poison_with_precedence_kills_no_other(void **state)
{
    const oto_submission urgent = {.client = "c", .api = "rest", .priority = 5, .audio_ms = 1000};
    const oto_job good = kit_submit("c", 1000), poison = kit_submit("c", 1000);
    oto_job second = {.state = OTO_JOB_QUEUED};

    (void)state;
    for (int i = 0; i < 20 && kit_get(good.id).state != OTO_JOB_DONE; i++) {
        char token[33], of_good[33];
        bool runs = false, crashes = false;
        oto_job job;
        int held = 0;

        while (oto_store_lease(kit_store, "w", 60000, 0, NOW, kit_arena, &job, token, NULL) == 0) {
            held++;
            runs = runs || strcmp(job.id, good.id) == 0;
            crashes = crashes || strcmp(job.id, good.id) != 0;
            if (strcmp(job.id, good.id) == 0)
                memcpy(of_good, token, sizeof token);
        }
        if (crashes)
            crash("w", held);
        else if (runs)
            kit_finish(good.id, of_good, NOW);
        if (i == 0)
            second = kit_submit_as(&urgent, NOW);
    }
    assert_int_equal(kit_get(good.id).state, OTO_JOB_DONE);
    assert_true(kit_get(poison.id).crashes > 0 && kit_get(second.id).crashes > 0);
}

/* Its worker crashes for the second time while it is being cancelled. */
static void who_is_cancelled_is_not_called_dead(void **state)
{
    const oto_job a = kit_submit("c", 1000);
    char token[33];

    (void)state;
    kit_lease("w", NOW, token);
    crash("w", 1);
    kit_lease("w", NOW, token);
    OK(oto_store_cancel(kit_store, a.id, NOW, &e));
    crash("w", 1);
    assert_int_equal(kit_get(a.id).state, OTO_JOB_CANCELLED);
}

/* The clock was a day ahead when the job failed, and was set right. */
static void a_pause_does_not_wait_for_a_clock_set_back(void **state)
{
    const oto_job a = kit_submit("c", 1000);
    char token[33];

    (void)state;
    kit_lease("w", NOW, token);
    OK(oto_store_fail(kit_store, a.id, token, "decoder", "x", true, NOW + 86400000, &e));
    assert_string_equal(kit_lease("w", NOW, token).id, a.id);
}

static void the_dead_are_only_those_of_that_owner(void **state)
{
    const oto_job a = kit_submit("c", 1), b = kit_submit("c", 1);
    char token[33], other[33];
    bool cancelled;

    (void)state;
    kit_lease("w1", NOW, token);
    kit_lease("w2", NOW, other);
    crash("w1", 1);
    assert_int_equal(kit_get(a.id).state, OTO_JOB_QUEUED);
    OK(oto_store_renew(kit_store, b.id, other, 1, NOW, &cancelled, &e));
    crash(NULL, 1);
    assert_int_equal(kit_get(b.id).crashes, 1);
}

static void interruptions_count_without_progress(void **state)
{
    const oto_job_memo m = {1, "x"};
    const oto_job made = kit_submit("c", 1000);
    char token[33];
    int n, rounds = 0;

    (void)state;
    for (int i = 0; i < OTO_MAX_INTERRUPTIONS * 3; i++) {
        kit_lease("w", NOW, token);
        if (i == OTO_MAX_INTERRUPTIONS)
            OK(oto_store_segments(kit_store, made.id, token, NULL, 0, &m, 1, 1, NOW, &e));
        OK(oto_store_reclaim(kit_store, "w", false, NOW, &n, &e));
        if (i == OTO_MAX_INTERRUPTIONS - 2) {
            kit_lease("w", NOW, token);
            OK(oto_store_segments(kit_store, made.id, token, NULL, 0, &m, 1, 1, NOW, &e));
            OK(oto_store_release(kit_store, made.id, token, NOW, &e));
        }
        if (kit_get(made.id).state != OTO_JOB_QUEUED)
            break;
        rounds++;
    }
    /* 99, a window, 1 more and then a window again, and 100 from there on. */
    assert_int_equal(rounds, OTO_MAX_INTERRUPTIONS * 2 - 1);
    assert_int_equal(kit_get(made.id).state, OTO_JOB_DEAD);
    assert_string_equal(kit_get(made.id).error_code, "interrupted");
    assert_int_equal(kit_get(made.id).crashes, 0);
}

static void many_leases_return_at_once(void **state)
{
    char token[33];
    int n;

    (void)state;
    for (int i = 0; i < 300; i++)
        kit_submit("c", 1);
    for (int i = 0; i < 300; i++)
        kit_lease("w", NOW, token);
    OK(oto_store_reclaim(kit_store, NULL, false, NOW, &n, &e));
    assert_int_equal(n, 300);
}

static void a_job_handed_back_is_unharmed(void **state)
{
    const oto_job made = kit_submit("c", 1);
    char token[33];

    (void)state;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(kit_lease("w", NOW, token).attempts, 1);
        OK(oto_store_release(kit_store, made.id, token, NOW, &e));
    }
    assert_int_equal(kit_get(made.id).attempts, 0);
    assert_int_equal(kit_get(made.id).not_before, 0);
}

/* ---- by hand ---- */

static void cancelling(void **state)
{
    const oto_job a = kit_submit("c", 1), b = kit_submit("c", 1), c = kit_submit("c", 1),
                  d = kit_submit("c", 1);
    char tb[33], tc[33], td[33];
    bool cancelled = false;
    int n;

    (void)state;
    OK(oto_store_cancel(kit_store, a.id, NOW, &e));
    assert_int_equal(kit_get(a.id).state, OTO_JOB_CANCELLED);
    FAILS(OTO_E_BUSY, oto_store_cancel(kit_store, a.id, NOW, &e));
    FAILS(OTO_E_NOT_FOUND, oto_store_cancel(kit_store, "nobody", NOW, &e));
    kit_lease("w", NOW, tb);
    kit_lease("v", NOW, tc);
    kit_lease("v", NOW, td);
    OK(oto_store_cancel(kit_store, b.id, NOW, &e));
    OK(oto_store_cancel(kit_store, c.id, NOW, &e));
    OK(oto_store_cancel(kit_store, d.id, NOW, &e));
    assert_int_equal(kit_get(b.id).state, OTO_JOB_RUNNING);
    assert_true(kit_get(b.id).cancelling);
    OK(oto_store_renew(kit_store, b.id, tb, 1, NOW, &cancelled, &e));
    assert_true(cancelled);
    OK(oto_store_release(kit_store, b.id, tb, NOW, &e));
    assert_int_equal(kit_get(b.id).state, OTO_JOB_CANCELLED);
    OK(oto_store_fail(kit_store, d.id, td, "io", "x", true, NOW, &e));
    assert_int_equal(kit_get(d.id).state, OTO_JOB_CANCELLED);
    OK(oto_store_reclaim(kit_store, "v", false, NOW, &n, &e));
    assert_int_equal(kit_get(c.id).state, OTO_JOB_CANCELLED);
    assert_false(kit_get(c.id).cancelling);
    kit_lease_none(NOW);
}

static void beginning_anew(void **state)
{
    const oto_job_segment g = {0, 1, "a", "{}"};
    const oto_job_memo m = {1, "x"};
    const oto_job made = kit_submit("c", 10);
    const char *json;
    char token[33], none[200] = "";
    oto_job job, before;

    (void)state;
    kit_lease("w", NOW, token);
    OK(oto_store_segments(kit_store, made.id, token, &g, 1, &m, 1, 5, NOW, &e));
    before = kit_get(made.id);
    FAILS(OTO_E_BUSY, oto_store_begin_anew(kit_store, made.id, "another's", &e));
    OK(oto_store_begin_anew(kit_store, made.id, token, &e));
    assert_int_equal(before.restarts, 0);
    job = kit_get(made.id);
    assert_int_equal(job.state, OTO_JOB_RUNNING);
    assert_int_equal(job.attempts, 1);
    assert_int_equal(job.restarts, 1);
    assert_int_equal(job.checkpoint_ms + job.n_segments, 0);
    FAILS(OTO_E_NOT_FOUND, oto_store_recall(kit_store, made.id, 1, kit_arena, &json, &e));
    OK(oto_store_segments(kit_store, made.id, token, &g, 1, NULL, 0, 5, NOW, &e));
    assert_string_equal(texts(made.id), "0:0-1a{};");
    /* Who has looked at the job before is not given the new ones as its. */
    OK(oto_store_each_segment(kit_store, &before, 0, add_text, none, &e));
    assert_string_equal(none, "");
    kit_finish(made.id, token, NOW);
}

static void retrying(void **state)
{
    const oto_job_segment g = {0, 1, "a", ""};
    const oto_job_memo m = {1, "x"};
    const oto_job made = kit_submit("c", 10);
    const char *json;
    char token[33];
    oto_job job;

    (void)state;
    FAILS(OTO_E_BUSY, oto_store_retry(kit_store, made.id, NOW, &e));
    kit_lease("w", NOW, token);
    FAILS(OTO_E_BUSY, oto_store_retry(kit_store, made.id, NOW, &e));
    OK(oto_store_segments(kit_store, made.id, token, &g, 1, &m, 1, 5, NOW, &e));
    OK(oto_store_fail(kit_store, made.id, token, "bad", "why", false, NOW, &e));
    assert_string_equal(texts(made.id), "0:0-1a;"); /* what there was stays readable */
    OK(oto_store_retry(kit_store, made.id, NOW, &e));
    job = kit_get(made.id);
    assert_int_equal(job.state, OTO_JOB_QUEUED);
    assert_int_equal(job.attempts + job.crashes + job.n_segments, 0);
    assert_int_equal(job.restarts, 1);
    assert_int_equal(job.checkpoint_ms + job.finished_at + job.started_at, 0);
    assert_string_equal(job.error, "");
    assert_string_equal(texts(made.id), "");
    FAILS(OTO_E_NOT_FOUND, oto_store_recall(kit_store, made.id, 1, kit_arena, &json, &e));
    kit_lease("w", NOW, token);
    kit_finish(made.id, token, NOW);
    FAILS(OTO_E_BUSY, oto_store_retry(kit_store, made.id, NOW, &e));
    FAILS(OTO_E_NOT_FOUND, oto_store_retry(kit_store, "nobody", NOW, &e));
}

static void nobody_sees(const char *id)
{
    const oto_store_filter all = {.limit = 10}, mine = {.client = "c", .limit = 10};
    int64_t ahead, audio_ms;
    oto_job jobs[10];
    int n;

    FAILS(OTO_E_NOT_FOUND, oto_store_get(kit_store, id, kit_arena, &jobs[0], &e));
    FAILS(OTO_E_NOT_FOUND, oto_store_cancel(kit_store, id, NOW, &e));
    FAILS(OTO_E_NOT_FOUND, oto_store_retry(kit_store, id, NOW, &e));
    OK(oto_store_list(kit_store, &all, kit_arena, jobs, &n, &e));
    assert_int_equal(n, 0);
    OK(oto_store_list(kit_store, &mine, kit_arena, jobs, &n, &e));
    assert_int_equal(n, 0);
    OK(oto_store_position(kit_store, id, NOW, &ahead, &audio_ms, &e));
    assert_int_equal(ahead, 0);
    assert_string_equal(texts(id), "");
    FAILS(OTO_E_NOT_FOUND, oto_store_find(kit_store, "c", "f", 0, kit_arena, &jobs[0], &e));
}

/* Every way in which the worker of a deleted job may let go of it. */
static void deleted_while_running(void **state)
{
    const oto_submission j = {.client = "c",
                              .api = "rest",
                              .audio = "x.wav",
                              .fingerprint = "f",
                              .idempotency = "i",
                              .webhook = "https://example.org"};
    const oto_job_segment g = {0, 1, "a", ""};
    const oto_job_outcome r = {.language = "en"};

    (void)state;
    for (int way = 0; way < 7; way++) {
        const oto_job made = kit_submit_as(&j, NOW);
        const char *audio;
        bool cancelled = false, named;
        char token[33];
        oto_store_stats stats;
        int64_t due;
        oto_job job;
        int n;

        kit_lease("w", NOW, token);
        OK(oto_store_segments(kit_store, made.id, token, &g, 1, NULL, 0, 1, NOW, &e));
        OK(oto_store_delete(kit_store, made.id, NOW, kit_arena, &audio, &e));
        assert_string_equal(audio, "x.wav");
        OK(oto_store_names_audio(kit_store, "x.wav", &named, &e));
        assert_false(named);
        nobody_sees(made.id);
        OK(oto_store_stats_get(kit_store, &stats, &e));
        assert_int_equal(stats.by_state[OTO_JOB_RUNNING], 0);
        FAILS(OTO_E_NOT_FOUND, oto_store_delete(kit_store, made.id, NOW, kit_arena, &audio, &e));
        OK(oto_store_renew(kit_store, made.id, token, 1000, NOW, &cancelled, &e));
        assert_true(cancelled);
        switch (way) {
        case 0:
            OK(oto_store_release(kit_store, made.id, token, NOW, &e));
            break;
        case 1:
            OK(oto_store_finish(kit_store, made.id, token, &g, 1, &r, NOW, &e));
            break;
        case 2:
            OK(oto_store_fail(kit_store, made.id, token, "x", "y", true, NOW, &e));
            break;
        case 3:
            OK(oto_store_fail(kit_store, made.id, token, "x", "y", false, NOW, &e));
            break;
        case 4:
            OK(oto_store_expire(kit_store, NOW + 2000, &n, &e));
            break;
        case 5:
            crash("w", 1);
            break;
        default:
            OK(oto_store_reclaim(kit_store, NULL, false, NOW, &n, &e));
        }
        nobody_sees(made.id);
        FAILS(OTO_E_NOT_FOUND,
              oto_store_notice(kit_store, NOW * 9, false, kit_arena, &job, &n, &due, &e));
        FAILS(OTO_E_BUSY, oto_store_renew(kit_store, made.id, token, 1, NOW, &cancelled, &e));
        kit_lease_none(NOW * 9);
        OK(oto_store_check(kit_store, &e));
    }
}

/* ---- at random ---- */

#define JOBS 12

typedef struct {
    char id[33], token[33];
    bool leased; /* we think so */
    oto_job_state was;
    bool exists;
} known;

static unsigned dice(unsigned sides)
{
    static uint64_t x = 88172645463325252u;

    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return (unsigned)(x % sides);
}

static void random_move(known *k, known *all, int64_t now)
{
    const oto_job_segment g = {now, now + 1, "t", ""};
    const oto_job_memo m = {dice(5), "m"};
    const oto_job_outcome r = {.language = "en", .audio_ms = 1000};
    const char *audio;
    bool cancelled;
    oto_job job;
    char token[33];
    int n, rc = 0;

    switch (dice(12)) {
    case 0:
    case 1:
    case 2:
        if (oto_store_lease(kit_store, dice(2) ? "v" : "w", dice(40), 0, now, kit_arena, &job,
                            token, NULL) != 0)
            return;
        for (int i = 0; i < JOBS; i++)
            if (all[i].exists && strcmp(all[i].id, job.id) == 0) {
                memcpy(all[i].token, token, sizeof token);
                all[i].leased = true;
            }
        return;
    case 3:
    case 4:
        rc = oto_store_segments(kit_store, k->id, k->token, &g, (int)dice(2), &m, (int)dice(2),
                                dice(1000), now, NULL);
        break;
    case 5:
        rc = oto_store_finish(kit_store, k->id, k->token, &g, 1, &r, now, NULL);
        break;
    case 6:
        rc = oto_store_fail(kit_store, k->id, k->token, "x", "y", dice(3) > 0, now, NULL);
        break;
    case 7:
        rc = oto_store_release(kit_store, k->id, k->token, now, NULL);
        break;
    case 8:
        rc = dice(2) ? oto_store_reclaim(kit_store, dice(2) ? "v" : "w", dice(2), now, &n, NULL)
                     : oto_store_expire(kit_store, now, &n, NULL);
        break;
    case 9:
        rc = oto_store_cancel(kit_store, k->id, now, NULL);
        break;
    case 10:
        rc = dice(2) ? oto_store_retry(kit_store, k->id, now, NULL)
                     : oto_store_renew(kit_store, k->id, k->token, dice(40), now, &cancelled, NULL);
        break;
    default:
        if (dice(4) == 0 && oto_store_delete(kit_store, k->id, now, kit_arena, &audio, NULL) == 0)
            k->exists = false;
    }
    if (rc != 0 && rc != OTO_E_BUSY && rc != OTO_E_NOT_FOUND)
        fail_msg("a move ended in %s", oto_err_name(rc));
}

/* Two moves may follow each other within one call (a reclaimed job that was to be cancelled), so
 * what is checked is that the way exists. */
static bool may_reach(oto_job_state from, oto_job_state to)
{
    return from == to || oto_job_may(from, to);
}

static void whatever_happens_the_rules_hold(void **state)
{
    static known all[JOBS];
    oto_store_stats stats;

    (void)state;
    for (int64_t now = NOW; now < NOW + 8000; now++) {
        known *k = &all[dice(JOBS)];

        oto_arena_reset(kit_arena);
        if (!k->exists) {
            const oto_submission j = {.client = dice(2) ? "c" : "d",
                                      .api = "rest",
                                      .audio = "a.wav",
                                      .bytes = dice(100),
                                      .audio_ms = (int64_t)dice(2000) - 1,
                                      .priority = (int)dice(2),
                                      .max_attempts = 1 + (int)dice(3)};

            *k = (known){.exists = true};
            snprintf(k->id, sizeof k->id, "%s", kit_submit_as(&j, now).id);
        }
        random_move(k, all, now * (1 + dice(2)));
        for (int i = 0; i < JOBS; i++) {
            oto_job job;

            if (!all[i].exists)
                continue;
            job = kit_get(all[i].id);
            if (!may_reach(all[i].was, job.state))
                fail_msg("%s -> %s", oto_job_state_name(all[i].was), oto_job_state_name(job.state));
            all[i].was = job.state;
        }
        if (now % 20 == 0)
            OK(oto_store_check(kit_store, &e));
    }
    OK(oto_store_stats_get(kit_store, &stats, &e));
    for (int i = 0; i < OTO_JOB_STATES; i++)
        if (i != OTO_JOB_QUEUED && i != OTO_JOB_RUNNING)
            assert_true(stats.ended[i] > 10); /* the walk went everywhere */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(a_job_comes_back_as_it_was_given),
        KIT_TEST(ids_have_as_many_digits_as_asked),
        KIT_TEST(an_idempotency_key_names_one_job),
        KIT_TEST(limits_hold),
        KIT_TEST(a_fingerprint_finds_the_newest),
        KIT_TEST(priority_then_fairness_then_age),
        KIT_TEST(a_burst_does_not_starve_others),
        KIT_TEST(unknown_lengths_weigh_a_minute),
        KIT_TEST(the_short_lane_takes_short_ones),
        KIT_TEST(what_does_not_fit_is_passed_over),
        KIT_TEST(only_the_holder_moves_a_job),
        KIT_TEST(segments_outlive_their_worker),
        KIT_TEST(pauses_double_and_attempts_end),
        KIT_TEST(bad_input_fails_at_once),
        KIT_TEST(the_poison_dies_and_the_innocent_get_off),
        KIT_TEST(suspects_run_one_at_a_time),
        KIT_TEST(two_poisons_do_not_kill_a_third),
        KIT_TEST(a_poison_with_precedence_kills_no_other),
        KIT_TEST(who_is_cancelled_is_not_called_dead),
        KIT_TEST(a_pause_does_not_wait_for_a_clock_set_back),
        KIT_TEST(the_dead_are_only_those_of_that_owner),
        KIT_TEST(interruptions_count_without_progress),
        KIT_TEST(many_leases_return_at_once),
        KIT_TEST(a_job_handed_back_is_unharmed),
        KIT_TEST(cancelling),
        KIT_TEST(beginning_anew),
        KIT_TEST(retrying),
        KIT_TEST(deleted_while_running),
        KIT_TEST(whatever_happens_the_rules_hold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
