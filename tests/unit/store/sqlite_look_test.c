/* Looking, notices and retention. */
#include "store/sqlite_look.c"
#include "unit/store/kit.h"

#include <sys/stat.h>

#define NOW 1000000

static oto_job end_one(const char *client, oto_job_state state, int64_t now)
{
    const oto_submission j = {
        .client = client, .api = "rest", .audio = "2026-11-23_001_x.wav", .bytes = 100};
    const oto_job made = kit_submit_as(&j, now);
    char token[33];

    if (state == OTO_JOB_CANCELLED) {
        OK(oto_store_cancel(kit_store, made.id, now, &e));
        return made;
    }
    kit_lease("w", now, token);
    if (state == OTO_JOB_DONE)
        kit_finish(made.id, token, now);
    else
        OK(oto_store_fail(kit_store, made.id, token, "bad", "why", false, now, &e));
    return made;
}

static void only_the_exact_id_is_found(void **state)
{
    const oto_job made = kit_submit("c", 1);
    char id[40];
    oto_job job;

    (void)state;
    snprintf(id, sizeof id, "%s", made.id);
    assert_string_equal(kit_get(id).id, id);
    id[31] = '\0';
    FAILS(OTO_E_NOT_FOUND, oto_store_get(kit_store, id, kit_arena, &job, &e));
    FAILS(OTO_E_NOT_FOUND, oto_store_get(kit_store, "", kit_arena, &job, &e));
    FAILS(OTO_E_NOT_FOUND, oto_store_get(kit_store, "%", kit_arena, &job, &e));
    FAILS(OTO_E_NOT_FOUND, oto_store_get(kit_store, "' OR 1=1 --", kit_arena, &job, &e));
}

/* ---- segments ---- */

static int count_until(void *arg, int n, const oto_job_segment *g)
{
    int *seen = arg;

    assert_int_equal(g->start_ms, n * 10);
    assert_string_equal(g->text, "t");
    return ++seen[0] == seen[1];
}

static void segments_come_in_order(void **state)
{
    const oto_job made = kit_submit("c", 1), nobody = {.id = "nobody"};
    oto_job_segment g[300];
    int seen[2] = {0, 0};
    char token[33];

    (void)state;
    kit_lease("w", NOW, token);
    for (int i = 0; i < 300; i++)
        g[i] = (oto_job_segment){i * 10, i * 10 + 10, "t", ""};
    for (int i = 0; i < 3; i++)
        OK(oto_store_segments(kit_store, made.id, token, g + 100 * i, 100, NULL, 0, i, NOW, &e));
    OK(oto_store_each_segment(kit_store, &made, 0, count_until, seen, &e));
    assert_int_equal(seen[0], 300);
    seen[0] = 0;
    OK(oto_store_each_segment(kit_store, &made, 290, count_until, seen, &e));
    assert_int_equal(seen[0], 10);
    seen[0] = 0;
    seen[1] = 5;
    OK(oto_store_each_segment(kit_store, &made, 0, count_until, seen, &e));
    assert_int_equal(seen[0], 5);
    seen[0] = 0;
    OK(oto_store_each_segment(kit_store, &made, 300, count_until, seen, &e));
    OK(oto_store_each_segment(kit_store, &nobody, 0, count_until, seen, &e));
    assert_int_equal(seen[0], 0);
}

/* ---- lists ---- */

static void lists_as(const oto_store_filter *f, const char *const *ids, int count)
{
    oto_job jobs[20];
    int n;

    OK(oto_store_list(kit_store, f, kit_arena, jobs, &n, &e));
    assert_int_equal(n, count);
    for (int i = 0; i < n; i++)
        assert_string_equal(jobs[i].id, ids[i]);
}

static void lists_are_filtered_newest_first(void **state)
{
    const oto_submission spoken = {.client = "d", .api = "openai"};
    const oto_job done = end_one("c", OTO_JOB_DONE, NOW),
                  failed = end_one("d", OTO_JOB_FAILED, NOW),
                  cancelled = end_one("c", OTO_JOB_CANCELLED, NOW), waits = kit_submit("c", 1),
                  other = kit_submit_as(&spoken, NOW);
    const char *const all[] = {other.id, waits.id, cancelled.id, failed.id, done.id};
    const char *const of_c[] = {waits.id, cancelled.id, done.id};
    const char *const ended_c[] = {cancelled.id, done.id};
    const unsigned ended = 1u << OTO_JOB_DONE | 1u << OTO_JOB_CANCELLED | 1u << OTO_JOB_FAILED;

    (void)state;
    lists_as(&(oto_store_filter){.limit = 20}, all, 5);
    lists_as(&(oto_store_filter){.limit = 2}, all, 2);
    lists_as(&(oto_store_filter){.limit = 2, .before = waits.id}, all + 2, 2);
    lists_as(&(oto_store_filter){.limit = 20, .before = done.id}, all, 0);
    lists_as(&(oto_store_filter){.limit = 20, .before = "nobody"}, all, 0);
    lists_as(&(oto_store_filter){.limit = 20, .client = "c"}, of_c, 3);
    lists_as(&(oto_store_filter){.limit = 20, .client = "c", .before = waits.id}, of_c + 1, 2);
    lists_as(&(oto_store_filter){.limit = 20, .client = "c", .states = ended}, ended_c, 2);
    lists_as(&(oto_store_filter){.limit = 20, .states = ended}, all + 2, 3);
    lists_as(&(oto_store_filter){.limit = 20, .states = 1u << OTO_JOB_DEAD}, all, 0);
    lists_as(&(oto_store_filter){.limit = 20, .api = "openai"}, all, 1);
    lists_as(&(oto_store_filter){.limit = 20, .api = "rest"}, all + 1, 4);
    lists_as(&(oto_store_filter){.limit = 20, .client = "nobody"}, all, 0);
}

static void a_small_arena_is_an_error(void **state)
{
    oto_job jobs[20];
    oto_arena *small;
    int n;

    (void)state;
    for (int i = 0; i < 20; i++)
        kit_submit("c", 1);
    OK(oto_arena_new("small", 1000, &small, &e));
    FAILS(OTO_E_LIMIT,
          oto_store_list(kit_store, &(oto_store_filter){.limit = 20}, small, jobs, &n, &e));
    oto_arena_free(small);
}

/* ---- position ---- */

static void waits_behind(const char *id, int64_t now, int64_t jobs, int64_t audio_ms)
{
    int64_t ahead, ms;

    OK(oto_store_position(kit_store, id, now, &ahead, &ms, &e));
    assert_int_equal(ahead, jobs);
    assert_int_equal(ms, audio_ms);
}

static void the_position_is_that_of_the_line(void **state)
{
    const oto_submission urgent = {.client = "c", .api = "rest", .audio_ms = 5, .priority = 1};
    const oto_job a = kit_submit("c", 100), b = kit_submit("c", -1), c = kit_submit("c", 1000),
                  u = kit_submit_as(&urgent, NOW);
    char token[33];

    (void)state;
    waits_behind(u.id, NOW, 1, 5);
    waits_behind(a.id, NOW, 2, 105);
    waits_behind(b.id, NOW, 3, 105);
    waits_behind(c.id, NOW, 4, 1105);
    kit_lease("w", NOW, token);
    waits_behind(u.id, NOW, 0, 0);
    waits_behind(c.id, NOW, 3, 1100);
    kit_lease("w", NOW, token);
    OK(oto_store_segments(kit_store, a.id, token, NULL, 0, NULL, 0, 60, NOW, &e));
    OK(oto_store_fail(kit_store, a.id, token, "io", "x", true, NOW, &e));
    waits_behind(c.id, NOW, 2, 1000); /* one that pauses is not before us … */
    waits_behind(a.id, NOW, 1, 40);
    waits_behind(c.id, NOW + 6000, 3, 1040); /* … until its pause is over */
    waits_behind("nobody", NOW, 0, 0);
}

/* ---- numbers ---- */

static void numbers_outlive_their_jobs(void **state)
{
    oto_store_stats s;
    char token[33];
    const char *audio;
    oto_job job;

    (void)state;
    job = end_one("c", OTO_JOB_DONE, NOW);
    end_one("c", OTO_JOB_DONE, NOW);
    end_one("c", OTO_JOB_FAILED, NOW);
    end_one("c", OTO_JOB_CANCELLED, NOW);
    OK(oto_store_delete(kit_store, job.id, NOW, kit_arena, &audio, &e));
    job = kit_submit("c", 1000);
    kit_submit("c", 500);
    kit_submit("c", -1);
    kit_lease("w", NOW, token);
    OK(oto_store_segments(kit_store, job.id, token, NULL, 0, NULL, 0, 300, NOW, &e));
    OK(oto_store_stats_get(kit_store, &s, &e));
    assert_int_equal(s.by_state[OTO_JOB_QUEUED], 2);
    assert_int_equal(s.by_state[OTO_JOB_RUNNING], 1);
    assert_int_equal(s.by_state[OTO_JOB_DONE], 1);
    assert_int_equal(s.by_state[OTO_JOB_FAILED], 1);
    assert_int_equal(s.by_state[OTO_JOB_CANCELLED], 1);
    assert_int_equal(s.ended[OTO_JOB_DONE], 2);
    assert_int_equal(s.ended[OTO_JOB_FAILED], 1);
    assert_int_equal(s.done_audio_ms, 10000);
    assert_true(s.processing_s == 1);
    assert_int_equal(s.waiting_audio_ms, 700 + 500);
    assert_int_equal(s.audio_bytes, 300);
    assert_int_equal(s.oldest_queued_at, 1000);
}

static void an_empty_store_has_zeros(void **state)
{
    const oto_store_stats none = {0};
    oto_store_stats s;

    (void)state;
    OK(oto_store_stats_get(kit_store, &s, &e));
    assert_memory_equal(&s, &none, sizeof s);
}

/* ---- notices ---- */

static void notices_come_until_delivered(void **state)
{
    const oto_submission j = {.client = "c", .api = "rest", .webhook = "https://example.org/a"};
    const oto_job a = kit_submit_as(&j, NOW), b = kit_submit_as(&j, NOW);
    char token[33];
    int64_t due;
    oto_job job;
    int tries;

    (void)state;
    kit_submit("c", 1);
    FAILS(OTO_E_NOT_FOUND,
          oto_store_notice(kit_store, NOW * 9, false, kit_arena, &job, &tries, &due, &e));
    kit_lease("w", NOW, token);
    kit_finish(a.id, token, NOW + 10);
    OK(oto_store_cancel(kit_store, b.id, NOW + 20, &e));
    FAILS(OTO_E_NOT_FOUND,
          oto_store_notice(kit_store, NOW, false, kit_arena, &job, &tries, &due, &e));
    OK(oto_store_notice(kit_store, NOW + 20, false, kit_arena, &job, &tries, &due, &e));
    assert_string_equal(job.id, a.id);
    assert_int_equal(tries, 0);
    assert_int_equal(due, NOW + 10);
    OK(oto_store_noticed(kit_store, a.id, due, NOW + 1000, 1, &e)); /* later again */
    FAILS(OTO_E_NOT_FOUND, oto_store_noticed(kit_store, a.id, due, 0, 2, &e));
    OK(oto_store_notice(kit_store, NOW + 20, false, kit_arena, &job, &tries, &due, &e));
    assert_string_equal(job.id, b.id);
    assert_int_equal(job.state, OTO_JOB_CANCELLED);
    OK(oto_store_noticed(kit_store, b.id, due, 0, 1, &e));
    FAILS(OTO_E_NOT_FOUND,
          oto_store_notice(kit_store, NOW + 20, false, kit_arena, &job, &tries, &due, &e));
    OK(oto_store_notice(kit_store, NOW + 1000, false, kit_arena, &job, &tries, &due, &e));
    assert_int_equal(tries, 1);
    assert_string_equal(job.webhook, "https://example.org/a");
    OK(oto_store_noticed(kit_store, a.id, due, 0, 2, &e));
    FAILS(OTO_E_NOT_FOUND,
          oto_store_notice(kit_store, NOW * 9, false, kit_arena, &job, &tries, &due, &e));
}

/* Begun anew by hand while its client is being told: the end of that takes nothing back of what is
 * due for the second end. */
static void a_second_end_is_told_too(void **state)
{
    const oto_submission j = {.client = "c", .api = "rest", .webhook = "https://example.org/a"};
    const oto_job a = kit_submit_as(&j, NOW);
    const int64_t under_way = NOW + 15000;
    int64_t due;
    oto_job job;
    int tries;

    (void)state;
    OK(oto_store_cancel(kit_store, a.id, NOW, &e));
    OK(oto_store_notice(kit_store, NOW, false, kit_arena, &job, &tries, &due, &e));
    OK(oto_store_noticed(kit_store, a.id, due, under_way, 1, &e));
    OK(oto_store_retry(kit_store, a.id, NOW + 1, &e));
    FAILS(OTO_E_NOT_FOUND, oto_store_noticed(kit_store, a.id, under_way, NOW + 2, 2, &e));
    FAILS(OTO_E_NOT_FOUND,
          oto_store_notice(kit_store, NOW * 9, false, kit_arena, &job, &tries, &due, &e));
    OK(oto_store_cancel(kit_store, a.id, NOW + 3, &e));
    FAILS(OTO_E_NOT_FOUND, oto_store_noticed(kit_store, a.id, under_way, 0, 1, &e));
    OK(oto_store_notice(kit_store, NOW + 3, false, kit_arena, &job, &tries, &due, &e));
    assert_int_equal(tries, 0);
}

/* Those who never answer do not hold up the others. */
static void who_was_tried_least_is_told_first(void **state)
{
    const oto_submission j = {.client = "c", .api = "rest", .webhook = "https://example.org/a"};
    const oto_job a = kit_submit_as(&j, NOW), b = kit_submit_as(&j, NOW);
    int64_t due;
    oto_job job;
    int tries;

    (void)state;
    OK(oto_store_cancel(kit_store, a.id, NOW, &e));
    OK(oto_store_noticed(kit_store, a.id, NOW, NOW + 10, 1, &e));
    OK(oto_store_cancel(kit_store, b.id, NOW + 20, &e));
    OK(oto_store_notice(kit_store, NOW + 30, true, kit_arena, &job, &tries, &due, &e));
    assert_string_equal(job.id, a.id);
    OK(oto_store_notice(kit_store, NOW + 30, false, kit_arena, &job, &tries, &due, &e));
    assert_string_equal(job.id, b.id);
    OK(oto_store_noticed(kit_store, b.id, due, 0, 1, &e));
    OK(oto_store_notice(kit_store, NOW + 30, false, kit_arena, &job, &tries, &due, &e));
    assert_string_equal(job.id, a.id);
}

/* The clock was a day ahead when the job ended, and was set right. */
static void a_notice_does_not_wait_for_a_clock_set_back(void **state)
{
    const oto_submission j = {.client = "c", .api = "rest", .webhook = "https://example.org/a"};
    const oto_job a = kit_submit_as(&j, NOW);
    int64_t due;
    oto_job job;
    int tries;

    (void)state;
    OK(oto_store_cancel(kit_store, a.id, NOW + 86400000, &e));
    OK(oto_store_notice(kit_store, NOW, false, kit_arena, &job, &tries, &due, &e));
    assert_string_equal(job.id, a.id);
}

/* ---- retention ---- */

static void count_gone(void *arg, const char *audio)
{
    assert_string_equal(audio, "2026-11-23_001_x.wav");
    ++*(int *)arg;
}

static int prune(int64_t before, int64_t max_bytes, int max, int files)
{
    int gone = 0, n = -1;

    OK(oto_store_prune(kit_store, before, max_bytes, max, count_gone, &gone, &n, &e));
    assert_int_equal(gone, files);
    return n;
}

static void what_is_old_goes(void **state)
{
    const oto_job waits = kit_submit("c", 1);
    oto_job ended[5], job;

    (void)state;
    OK(oto_store_cancel(kit_store, waits.id, NOW * 9, &e)); /* old, but ended just now */
    for (int i = 0; i < 5; i++)
        ended[i] = end_one("c", i % 2 ? OTO_JOB_FAILED : OTO_JOB_DONE, NOW + i);
    kit_submit("c", 1);
    assert_int_equal(prune(NOW, 0, 100, 0), 0);
    assert_int_equal(prune(NOW + 1, 0, 100, 1), 1);
    assert_int_equal(prune(NOW + 4, 0, 2, 2), 2); /* no more than asked at once, oldest first */
    FAILS(OTO_E_NOT_FOUND, oto_store_get(kit_store, ended[2].id, kit_arena, &job, &e));
    kit_get(ended[3].id);
    assert_int_equal(prune(NOW + 4, 0, 100, 1), 1);
    assert_int_equal(prune(NOW + 4, 0, 100, 0), 0);
    kit_get(ended[4].id);
    kit_get(waits.id);
}

static void what_is_too_large_loses_its_recording(void **state)
{
    const oto_submission j = {
        .client = "c", .api = "rest", .audio = "2026-11-23_001_x.wav", .bytes = 1000};
    const oto_job waits = kit_submit_as(&j, 1);
    oto_job ended[5];
    char token[33];
    bool named;

    (void)state;
    kit_lease("w", NOW, token);
    for (int i = 0; i < 5; i++)
        ended[i] = end_one("c", OTO_JOB_DONE, NOW + i);
    assert_int_equal(prune(0, 500, 100, 0), 0); /* one that runs does not count */
    assert_int_equal(prune(0, 399, 100, 2), 2); /* 500 -> 300 */
    assert_string_equal(kit_get(ended[0].id).audio, "");
    assert_string_equal(kit_get(ended[1].id).audio, "");
    assert_string_equal(kit_get(ended[2].id).audio, "2026-11-23_001_x.wav");
    assert_int_equal(kit_get(ended[0].id).state, OTO_JOB_DONE);
    assert_int_equal(prune(0, 1, 100, 3), 3); /* a running job's recording stays */
    assert_int_equal(prune(0, 1, 100, 0), 0);
    assert_string_equal(kit_get(waits.id).audio, "2026-11-23_001_x.wav");
    OK(oto_store_names_audio(kit_store, "2026-11-23_001_x.wav", &named, &e));
    assert_true(named);
    OK(oto_store_names_audio(kit_store, "", &named, &e));
    OK(oto_store_names_audio(kit_store, "x.wav", &named, &e));
    assert_false(named);
}

/* Whoever waits for a notice still finds the job. */
static void what_is_to_be_told_stays(void **state)
{
    const oto_submission j = {
        .client = "c", .api = "rest", .webhook = "https://e.org", .audio = "2026-11-23_001_x.wav"};
    const oto_job made = kit_submit_as(&j, NOW);

    (void)state;
    OK(oto_store_cancel(kit_store, made.id, NOW, &e));
    assert_int_equal(prune(NOW * 9, 0, 100, 0), 0);
    OK(oto_store_noticed(kit_store, made.id, NOW, 0, 1, &e));
    assert_int_equal(prune(NOW * 9, 0, 100, 1), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(only_the_exact_id_is_found),
        KIT_TEST(segments_come_in_order),
        KIT_TEST(lists_are_filtered_newest_first),
        KIT_TEST(a_small_arena_is_an_error),
        KIT_TEST(the_position_is_that_of_the_line),
        KIT_TEST(numbers_outlive_their_jobs),
        KIT_TEST(an_empty_store_has_zeros),
        KIT_TEST(notices_come_until_delivered),
        KIT_TEST(a_second_end_is_told_too),
        KIT_TEST(who_was_tried_least_is_told_first),
        KIT_TEST(a_notice_does_not_wait_for_a_clock_set_back),
        KIT_TEST(what_is_old_goes),
        KIT_TEST(what_is_too_large_loses_its_recording),
        KIT_TEST(what_is_to_be_told_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
