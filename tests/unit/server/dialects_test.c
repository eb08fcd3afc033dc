#include "server/dialects.c"

#include "../store/kit.h"

static oto_spool spool;
static oto_served_model model = {.name = "m", .detects = true};
static oto_server_options options;
static oto_board *board;
static oto_gateway gateway;

static int set_up(void **state)
{
    if (kit_open(state) != 0 || oto_spool_open(kit_dir, 0, 0, &spool, NULL) != 0 ||
        oto_board_new(1, &board, NULL) != 0)
        return -1;
    oto_server_defaults(&options);
    options.spool = &spool;
    options.models = &model;
    options.n_models = 1;
    gateway = (oto_gateway){.o = &options, .board = board};
    return 0;
}

static int tear_down(void **state)
{
    oto_board_free(board);
    return kit_close(state);
}

/* The same sound from the same client each time; raw, so that no decoder is asked. */
static void request(oto_exchange *x, const char *path, int try)
{
    static oto_field raw = {.name = "encode", .value = "false"},
                     key = {.name = "idempotency_key", .value = "k", .next = &raw};
    static const char sound[32000];

    *x = (oto_exchange){.g = &gateway,
                        .protocol = &oto_dialects,
                        .client = "c",
                        .key_id = "",
                        .path = path,
                        .filename = "a.raw",
                        .retry_count = try,
                        .file_fd = -1,
                        .fields = &key};
    OK(oto_arena_new("test", 8 << 20, &x->a, &e));
    oto_str_init(&x->headers, x->a);
    oto_str_init(&x->out, x->a);
    OK(oto_upload_begin(&spool, -1, &x->upload, &e));
    OK(oto_upload_write(&spool, &x->upload, sound, sizeof sound, &e));
    if (strcmp(path, "/asr") == 0)
        asr(x, kit_store);
    else
        detect_language(x, kit_store);
    assert_non_null(x->look);
}

/* The next job's first segment is known. */
static void hear(char token[33])
{
    const oto_job_segment g = {0, 900, " Oui.",
                               "{\"start\":0,\"end\":900,\"text\":\" Oui.\",\"language\":\"fr\"}"};
    const oto_job job = kit_lease("w", oto_clock_ms(), token);

    OK(oto_store_segments(kit_store, job.id, token, &g, 1, NULL, 0, 900, 2000, &e));
}

static void answered(oto_exchange *x)
{
    assert_int_equal(x->look(x, kit_store), OTO_DONE);
    assert_int_equal(x->status, 200);
    assert_non_null(strstr(x->out.p, "french"));
    oto_arena_free(x->a);
}

static void each_try_has_its_language(void **state)
{
    oto_exchange first, second;
    char token[33];

    (void)state;
    request(&first, "/detect-language", 0);
    request(&second, "/detect-language", 1);
    hear(token);
    answered(&first);
    hear(token);
    answered(&second);
}

/* Nor does the key of a job that is to stay lead to it. */
static void a_transcription_is_not_taken_away(void **state)
{
    oto_exchange transcribed, detected;
    char token[33], other[33];
    oto_job job;

    (void)state;
    request(&transcribed, "/asr", 0);
    hear(token);
    request(&detected, "/detect-language", 0);
    hear(other);
    answered(&detected);
    kit_finish(transcribed.job, token, 3000);
    job = kit_get(transcribed.job);
    assert_int_equal(job.state, OTO_JOB_DONE);
    assert_int_equal(transcribed.look(&transcribed, kit_store), OTO_DONE);
    assert_int_equal(transcribed.status, 200);
    assert_string_equal(transcribed.out.p, "Oui.\n");
    oto_arena_free(transcribed.a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_try_has_its_language, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_transcription_is_not_taken_away, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
