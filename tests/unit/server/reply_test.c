#include "server/reply.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static oto_exchange x;
static oto_problem said;

static void keep(oto_exchange *of, const oto_problem *p)
{
    said = *p;
    oto_reply_json(of, p->status, json_pack("{s:s}", "detail", p->text));
}

static const oto_protocol protocol = {.name = "test", .fail = keep};

static int set_up(void **state)
{
    (void)state;
    x = (oto_exchange){.protocol = &protocol, .file_fd = -1};
    assert_int_equal(oto_arena_new("test", 1 << 20, &x.a, NULL), 0);
    oto_str_init(&x.headers, x.a);
    oto_str_init(&x.out, x.a);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    oto_arena_free(x.a);
    return 0;
}

static const char *headers(void)
{
    return x.headers.p != NULL ? x.headers.p : "";
}

static void test_ranges(void **state)
{
    static const struct {
        const char *range;
        int64_t size;
        int kind;
        int64_t from, n;
    } cases[] = {
        {NULL, 100, 0, 0, 0},
        {"bytes=0-", 100, 1, 0, 100},
        {"Bytes=10-19", 100, 1, 10, 10},
        {"bytes=10-10", 100, 1, 10, 1},
        {"bytes=90-1000", 100, 1, 90, 10},
        {"bytes=99-9223372036854775807", 100, 1, 99, 1},
        {"bytes=-10", 100, 1, 90, 10},
        {"bytes=-1000", 100, 1, 0, 100},
        {"bytes=100-", 100, -1, 0, 0},
        {"bytes=-0", 100, -1, 0, 0},
        {"bytes=0-", 0, -1, 0, 0},
        {"bytes=-5", 0, -1, 0, 0},
        {"bytes=99999999999999999999-", 100, -1, 0, 0},
        {"bytes=0-1,5-6", 100, 0, 0, 0},
        {"bytes=5-4", 100, 0, 0, 0},
        {"bytes=a-b", 100, 0, 0, 0},
        {"bytes=1-x", 100, 0, 0, 0},
        {"bytes=--5", 100, -1, 0, 0},
        {"bytes=", 100, 0, 0, 0},
        {"bytes=5", 100, 0, 0, 0},
        {"lines=0-1", 100, 0, 0, 0},
    };

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(cases); i++) {
        int64_t from = 0, n = 0;

        if (parse_range(cases[i].range, cases[i].size, &from, &n) != cases[i].kind)
            fail_msg("%s of %d", cases[i].range, (int)cases[i].size);
        if (cases[i].kind == 1) {
            assert_int_equal(from, cases[i].from);
            assert_int_equal(n, cases[i].n);
        }
    }
}

static void test_files(void **state)
{
    char path[] = "/tmp/oto-reply-XXXXXX";
    const int fd = mkstemp(path);
    oto_err e = {0};

    (void)state;
    assert_int_equal(write(fd, "0123456789", 10), 10);
    close(fd);
    assert_int_equal(oto_reply_file(&x, path, "a.wav", &e), 0);
    assert_int_equal(x.kind, OTO_REPLY_FILE);
    assert_int_equal(x.status, 200);
    assert_int_equal(x.file_left, 10);
    assert_non_null(strstr(headers(), "accept-ranges: bytes\n"));
    assert_non_null(strstr(headers(), "filename=\"a.wav\""));
    assert_null(strstr(headers(), "content-range"));
    close(x.file_fd);
    x.range = "bytes=-4";
    assert_int_equal(oto_reply_file(&x, path, "a.wav", &e), 0);
    assert_int_equal(x.status, 206);
    assert_int_equal(x.file_at, 6);
    assert_int_equal(x.file_left, 4);
    assert_non_null(strstr(headers(), "content-range: bytes 6-9/10\n"));
    close(x.file_fd);
    x.range = "bytes=10-";
    assert_int_equal(oto_reply_file(&x, path, "a.wav", &e), 0);
    assert_int_equal(said.status, 416);
    assert_non_null(strstr(headers(), "content-range: bytes */10\n"));
    unlink(path);
    assert_int_equal(oto_reply_file(&x, path, "a.wav", &e), OTO_E_NOT_FOUND);
    assert_int_equal(oto_reply_file(&x, "/tmp", "tmp", &e), OTO_E_NOT_FOUND);
}

/* What a client sent stands in headers and answers without breaking either. */
static void test_what_is_quoted(void **state)
{
    json_t *j;

    (void)state;
    oto_reply_header(&x, "x-name", "%s", "a\r\nSet-Cookie: b\tc");
    assert_string_equal(headers(), "x-name: a  Set-Cookie: b c\n");
    oto_reply_problem(&x, 400, "invalid_value", "beam", "beam: '%s'",
                      "1\xff\xe4\xbd é…\xed\xa0\x80");
    assert_int_equal(x.status, 400);
    j = json_loadb(x.out.p, x.out.n, 0, NULL);
    assert_non_null(j);
    assert_string_equal(json_string_value(json_object_get(j, "detail")), "beam: '1?"
                                                                         "?"
                                                                         "? é…?"
                                                                         "?"
                                                                         "?'");
    json_decref(j);
    assert_non_null(strstr(headers(), "x-should-retry: false\n"));
}

static void test_problems(void **state)
{
    static const struct {
        int code, status;
    } cases[] = {{OTO_E_INPUT, 415},  {OTO_E_USAGE, 400},       {OTO_E_NOT_FOUND, 404},
                 {OTO_E_DENIED, 403}, {OTO_E_NO_SPACE, 507},    {OTO_E_BUSY, 503},
                 {OTO_E_LIMIT, 503},  {OTO_E_UNAVAILABLE, 503}, {OTO_E_INTERNAL, 500}};
    oto_err e = {0};

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(cases); i++) {
        oto_str_clear(&x.headers);
        oto_fail(&e, cases[i].code, "what");
        oto_reply_err(&x, &e);
        assert_int_equal(said.status, cases[i].status);
        assert_string_equal(said.text, "what");
        assert_string_not_equal(oto_status_text(said.status), "Unknown");
        /* Overload is the one reason to come again soon. */
        assert_int_equal(strstr(headers(), "retry-after: ") != NULL, cases[i].status == 503);
        assert_int_equal(strstr(headers(), "x-should-retry: false") != NULL,
                         cases[i].status < 500 || cases[i].status == 507);
    }
    oto_str_clear(&x.headers);
    oto_reply_problem(&x, 401, NULL, NULL, "key");
    assert_non_null(strstr(headers(), "www-authenticate: Bearer\n"));
    oto_str_clear(&x.headers);
    oto_reply_problem(&x, 429, NULL, NULL, "many");
    assert_non_null(strstr(headers(), "retry-after: 10\n"));
    assert_null(strstr(headers(), "x-should-retry"));
}

static void test_answers(void **state)
{
    (void)state;
    oto_reply_stream(&x, 200, "text/event-stream");
    oto_reply_event(&x, json_pack("{s:s}", "a", "b"));
    oto_reply_event(&x, NULL);
    assert_string_equal(x.out.p, "data: {\"a\":\"b\"}\n\n");
    oto_reply_json(&x, 200, NULL);
    assert_int_equal(x.status, 500);
    assert_string_equal(x.out.p, "{}");
    oto_reply_redirect(&x, 307, "/x\ny");
    assert_int_equal(x.status, 307);
    assert_non_null(strstr(headers(), "location: /x y\n"));
    while (oto_arena_alloc(x.a, 4096) != NULL)
        ;
    {
        static char large[64 << 10];

        oto_reply_text(&x, 200, "text/plain", large, sizeof large);
    }
    assert_int_equal(x.kind, OTO_REPLY_ABORT); /* never half an answer */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_ranges),   TEST(test_files),   TEST(test_what_is_quoted),
        TEST(test_problems), TEST(test_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
