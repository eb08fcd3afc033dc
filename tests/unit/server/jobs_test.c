#include "server/jobs.c"

#include "../store/kit.h"

static oto_exchange x;

static void set_up(const char *id)
{
    x = (oto_exchange){.tail = id, .file_fd = -1};
    assert_int_equal(oto_arena_new("test", 1 << 20, &x.a, NULL), 0);
    oto_str_init(&x.headers, x.a);
    oto_str_init(&x.out, x.a);
    events(&x, kit_store);
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

int main(void)
{
    const struct CMUnitTest tests[] = {KIT_TEST(looks_take_no_memory),
                                       KIT_TEST(a_job_that_is_gone_ends_its_events)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
