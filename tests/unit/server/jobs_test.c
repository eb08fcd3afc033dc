#include "server/jobs.c"

#include "../store/kit.h"

static oto_exchange x;

static void ask(const char *id, const char *last_event_id)
{
    x = (oto_exchange){.tail = id, .file_fd = -1, .last_event_id = last_event_id};
    assert_int_equal(oto_arena_new("test", 1 << 20, &x.a, NULL), 0);
    oto_str_init(&x.headers, x.a);
    oto_str_init(&x.out, x.a);
    events(&x, kit_store);
}

static void set_up(const char *id)
{
    ask(id, NULL);
    assert_non_null(x.look);
}

static oto_job submit_large(void)
{
    static char options[20000];
    const oto_submission j = {.client = "c", .api = "rest", .audio_ms = 1000, .options = options};

    memset(options, 'a', sizeof options - 1);
    return kit_submit_as(&j, 1000);
}

/* News of others comes as often as they have any, for as long as the job waits. */
static void looks_take_no_memory(void **state)
{
    const oto_job job = submit_large();

    (void)state;
    set_up(job.id);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(look(&x, kit_store), OTO_WAIT);
        assert_null(strstr(x.out.p, "gone"));
    }
    oto_arena_free(x.a);
}

static void a_job_that_is_gone_ends_its_events(void **state)
{
    const oto_job job = submit_large();
    const char *audio;

    (void)state;
    set_up(job.id);
    assert_int_equal(look(&x, kit_store), OTO_WAIT);
    OK(oto_store_delete(kit_store, job.id, 2000, kit_arena, &audio, &e));
    assert_int_equal(look(&x, kit_store), OTO_DONE);
    assert_non_null(strstr(x.out.p, "the job is gone"));
    oto_arena_free(x.a);
}

/* ---- what a follower is told ---- */

static char token[33];

/* A job that runs, of which "a" and "b" are known. */
static oto_job run_job(void)
{
    const oto_job_segment g[] = {{0, 10, "a", ""}, {10, 20, "b", ""}};
    const oto_job job = kit_submit("c", 1000);

    kit_lease("w", 2000, token);
    OK(oto_store_segments(kit_store, job.id, token, g, 2, NULL, 0, 20, 2000, &e));
    return job;
}

/* Its events now: "0-1 segment 0 a; ..." */
static const char *told_now(oto_look wanted)
{
    static char all[1000];

    all[0] = '\0';
    assert_int_equal(look(&x, kit_store), wanted);
    for (const char *at = x.out.n > 0 ? x.out.p : ""; (at = strstr(at, "id: ")) != NULL;) {
        const size_t n = strcspn(at += 4, "\n");
        const char *data = at + n + strlen("\ndata: ");
        json_t *j = json_loadb(data, strcspn(data, "\n"), 0, NULL), *number, *text;

        assert_non_null(j);
        number = json_object_get(j, "number");
        text = json_object_get(j, "text");
        snprintf(all + strlen(all), sizeof all - strlen(all), "%.*s %s", (int)n, at,
                 json_string_value(json_object_get(j, "type")));
        if (number != NULL)
            snprintf(all + strlen(all), sizeof all - strlen(all), " %d %s",
                     (int)json_integer_value(number), json_string_value(text));
        strcat(all, "; ");
        json_decref(j);
    }
    x.out.n = 0;
    return all;
}

static void a_job_that_begins_anew_says_so(void **state)
{
    const oto_job_segment g[] = {{0, 15, "A", ""}, {15, 20, "B", ""}, {20, 30, "C", ""}};
    const oto_job job = run_job();

    (void)state;
    set_up(job.id);
    assert_string_equal(told_now(OTO_WAIT), "0-1 segment 0 a; 0-2 segment 1 b; 0-2 progress; ");
    assert_string_equal(told_now(OTO_WAIT), "");
    OK(oto_store_begin_anew(kit_store, job.id, token, &e));
    assert_string_equal(told_now(OTO_WAIT), "1-0 restart; 1-0 progress; ");
    /* However far it has come when it is looked at next. */
    OK(oto_store_begin_anew(kit_store, job.id, token, &e));
    OK(oto_store_segments(kit_store, job.id, token, g, 3, NULL, 0, 30, 2000, &e));
    assert_string_equal(told_now(OTO_WAIT), "2-0 restart; 2-1 segment 0 A; 2-2 segment 1 B; "
                                            "2-3 segment 2 C; 2-3 progress; ");
    kit_finish(job.id, token, 3000);
    assert_string_equal(told_now(OTO_DONE), "2-3-end end; ");
    oto_arena_free(x.a);
}

static void told_after(const char *id, const char *last, oto_look wanted, const char *events_told)
{
    ask(id, last);
    assert_non_null(x.look);
    assert_string_equal(told_now(wanted), events_told);
    oto_arena_free(x.a);
}

static void a_reader_goes_on_behind_what_it_has(void **state)
{
    static const char all[] = "0-1 segment 0 a; 0-2 segment 1 b; 0-2 progress; ";
    static const char again[] = "1-0 restart; 1-1 segment 0 A; 1-1 progress; ";
    const oto_job_segment g = {0, 20, "A", ""};
    const oto_job job = run_job();

    (void)state;
    told_after(job.id, "0-1", OTO_WAIT, "0-2 segment 1 b; 0-2 progress; ");
    told_after(job.id, "0-2", OTO_WAIT, "0-2 progress; ");
    told_after(job.id, "0-0", OTO_WAIT, all);
    told_after(job.id, "another server's", OTO_WAIT, all);
    told_after(job.id, "", OTO_WAIT, all);
    told_after(job.id, "7", OTO_WAIT, all);
    OK(oto_store_begin_anew(kit_store, job.id, token, &e));
    OK(oto_store_segments(kit_store, job.id, token, &g, 1, NULL, 0, 20, 2000, &e));
    told_after(job.id, "0-1", OTO_WAIT, again);
    told_after(job.id, "0-2", OTO_WAIT, again);
    told_after(job.id, "1-0", OTO_WAIT, "1-1 segment 0 A; 1-1 progress; ");
    told_after(job.id, "1-99999999999999999999", OTO_WAIT, again); /* a number we never gave */
    kit_finish(job.id, token, 3000);
    told_after(job.id, "0-2", OTO_DONE, "1-0 restart; 1-1 segment 0 A; 1-1-end end; ");
    told_after(job.id, "1-1", OTO_DONE, "1-1-end end; ");
}

/* A browser asks again after the end, for as long as it is not told that there is no more. */
static void who_has_seen_the_end_is_sent_away(void **state)
{
    const oto_job job = run_job();

    (void)state;
    OK(oto_store_fail(kit_store, job.id, token, "bad", "why", false, 3000, &e));
    ask(job.id, "0-2-end");
    assert_null(x.look);
    assert_int_equal(x.status, 204);
    oto_arena_free(x.a);
    /* The end of another job is not this one's. */
    told_after(job.id, "0-1-end", OTO_DONE, "0-2 segment 1 b; 0-2-end end; ");
    /* Tried again by hand, there is more. */
    OK(oto_store_retry(kit_store, job.id, 4000, &e));
    told_after(job.id, "0-2-end", OTO_WAIT, "1-0 restart; 1-0 progress; ");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        KIT_TEST(looks_take_no_memory), KIT_TEST(a_job_that_is_gone_ends_its_events),
        KIT_TEST(a_job_that_begins_anew_says_so), KIT_TEST(a_reader_goes_on_behind_what_it_has),
        KIT_TEST(who_has_seen_the_end_is_sent_away)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
