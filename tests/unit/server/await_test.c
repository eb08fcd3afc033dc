#include "server/await.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static char folder[64];
static oto_spool spool;
static oto_served_model model;
static oto_server_options options;
static oto_gateway gateway;
static oto_store *store;
static oto_exchange x;

static int set_up(void **state)
{
    char path[80];

    (void)state;
    snprintf(folder, sizeof folder, "/tmp/oto-await-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/jobs.db", folder);
    assert_int_equal(oto_store_open(path, &store, NULL), 0);
    assert_int_equal(oto_spool_open(folder, 0, 0, &spool, NULL), 0);
    model = (oto_served_model){.name = "m", .languages = "en"};
    options = (oto_server_options){.spool = &spool, .models = &model, .n_models = 1};
    gateway = (oto_gateway){.o = &options};
    x = (oto_exchange){.g = &gateway, .client = "c", .path = "/v1", .filename = "a.wav"};
    assert_int_equal(oto_arena_new("test", 8 << 20, &x.a, NULL), 0);
    oto_str_init(&x.headers, x.a);
    return 0;
}

static int tear_down(void **state)
{
    char command[100];

    (void)state;
    oto_upload_drop(&spool, &x.upload);
    oto_store_close(store);
    oto_arena_free(x.a);
    snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
    return 0;
}

static void upload(const char *bytes)
{
    assert_int_equal(oto_upload_begin(&spool, -1, &x.upload, NULL), 0);
    assert_int_equal(oto_upload_write(&spool, &x.upload, bytes, strlen(bytes), NULL), 0);
}

static void print_of(const char *bytes, const char *client, oto_field *fields, char out[65])
{
    upload(bytes);
    x.client = client;
    x.fields = fields;
    fingerprint(&x, out);
    assert_int_equal(strlen(out), 64);
    oto_upload_drop(&spool, &x.upload);
}

static void test_fingerprint(void **state)
{
    oto_field one = {.name = "language", .value = "en"}, other = {.name = "language", .value = "e"};
    char same[65], again[65], got[65];

    (void)state;
    print_of("sound", "c", &one, same);
    print_of("sound", "c", &one, again);
    assert_string_equal(same, again);
    print_of("sounds", "c", &one, got);
    assert_string_not_equal(same, got);
    print_of("sound", "d", &one, got);
    assert_string_not_equal(same, got);
    print_of("sound", "c", &other, got);
    assert_string_not_equal(same, got);
}

static void test_join(void **state)
{
    char print[65];
    oto_submission s = {.client = "c", .api = "openai", .fingerprint = print};
    bool existing;
    oto_job job;

    (void)state;
    upload("sound");
    fingerprint(&x, print);
    assert_int_equal(oto_store_submit(store, &s, 0, 0, oto_clock_ms(), x.a, &job, &existing, NULL),
                     0);
    assert_false(join(&x, store, print)); /* a first try is a new request */
    x.retry_count = 1;
    assert_true(join(&x, store, print));
    assert_string_equal(x.job, job.id);
    assert_int_equal(x.upload.fd, -1);
    assert_false(join(&x, store, "another"));
    assert_int_equal(oto_store_cancel(store, job.id, oto_clock_ms(), NULL), 0);
    assert_false(join(&x, store, print)); /* nothing comes of it any more */
}

static void test_an_old_job_is_not_joined(void **state)
{
    oto_submission s = {.client = "c", .fingerprint = "f"};
    bool existing;
    oto_job job;

    (void)state;
    x.upload.fd = -1;
    x.retry_count = 1;
    assert_int_equal(oto_store_submit(store, &s, 0, 0, oto_clock_ms() - JOIN_MS - 1000, x.a, &job,
                                      &existing, NULL),
                     0);
    assert_false(join(&x, store, "f"));
}

static void test_ignored_fields(void **state)
{
    oto_field f[] = {{.name = "a\nb", .value = ""},
                     {.name = "used", .value = "", .used = true},
                     {.name = "c", .value = ""},
                     {.name = "c", .value = ""},
                     {.name = "\xc3\xa9", .value = ""}};

    (void)state;
    x.upload.fd = -1;
    oto_name_ignored(&x);
    assert_int_equal(x.headers.n, 0);
    for (size_t i = 0; i + 1 < OTO_COUNT(f); i++)
        f[i].next = &f[i + 1];
    x.fields = f;
    oto_name_ignored(&x);
    assert_string_equal(x.headers.p, "x-otolith-ignored: a?b, c, ??\n");
}

static void test_problems_of_jobs(void **state)
{
    static const struct {
        oto_job_state state;
        int code, status;
        const char *name;
    } table[] = {{OTO_JOB_FAILED, OTO_E_INPUT, 415, "unsupported_audio"},
                 {OTO_JOB_FAILED, OTO_E_NO_AUDIO, 415, "unsupported_audio"},
                 {OTO_JOB_FAILED, OTO_E_LIMIT, 422, "audio_too_long"},
                 {OTO_JOB_FAILED, OTO_E_INTERNAL, 500, "internal_error"},
                 {OTO_JOB_DEAD, OTO_E_INPUT, 500, "internal_error"},
                 {OTO_JOB_CANCELLED, OTO_E_INPUT, 499, "cancelled"}};

    (void)state;
    x.upload.fd = -1;
    for (size_t i = 0; i < OTO_COUNT(table); i++) {
        const oto_job job = {
            .state = table[i].state, .error_code = oto_err_name(table[i].code), .error = "x"};
        oto_problem p;

        oto_job_problem(&job, &p);
        assert_int_equal(p.status, table[i].status);
        assert_string_equal(p.code, table[i].name);
    }
}

static void test_language_of_the_model(void **state)
{
    const oto_request english = {.language = "en"}, chinese = {.language = "zh"}, any = {0};
    oto_problem p;

    (void)state;
    x.upload.fd = -1;
    assert_true(knows_language(&model, &english, &p) && knows_language(&model, &any, &p));
    assert_false(knows_language(&model, &chinese, &p));
    assert_string_equal(p.param, "language");
    model = (oto_served_model){.name = "m", .translates = true, .detects = true};
    assert_true(knows_language(&model, &chinese, &p));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_fingerprint, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_join, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_old_job_is_not_joined, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_ignored_fields, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_problems_of_jobs, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_language_of_the_model, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
