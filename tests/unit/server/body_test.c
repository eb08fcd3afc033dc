#include "server/body.c"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

static char folder[64];
static oto_spool spool;
static oto_server_options options;
static oto_gateway gateway;
static const char *const file_fields[] = {"file", "audio", NULL};
static oto_protocol protocol = {.name = "test", .file_fields = file_fields};
static oto_route route;
static oto_exchange x;
static oto_body *body;
static oto_problem why;

static int set_up(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/oto-body-XXXXXX");
    assert_non_null(mkdtemp(folder));
    assert_int_equal(oto_spool_open(folder, 0, 0, &spool, NULL), 0);
    options = (oto_server_options){.spool = &spool};
    gateway = (oto_gateway){.o = &options};
    x = (oto_exchange){.upload.fd = -1};
    return oto_arena_new("test", 8 << 20, &x.a, NULL);
}

static int tear_down(void **state)
{
    char command[100];

    (void)state;
    oto_upload_drop(&spool, &x.upload);
    oto_arena_free(x.a);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

/* A request of this type, its body still to come. */
static int begin(const char *type)
{
    oto_arena *a = x.a;

    oto_upload_drop(&spool, &x.upload);
    oto_arena_reset(a);
    route = (oto_route){.upload = true};
    x = (oto_exchange){.g = &gateway,
                       .a = a,
                       .protocol = &protocol,
                       .route = &route,
                       .content_type = type,
                       .content_length = -1,
                       .upload.fd = -1};
    why = (oto_problem){0};
    return oto_body_new(&x, &body, &why);
}

static int push(const char *bytes, size_t n)
{
    return oto_body_push(body, bytes, n, &why);
}

static int give(const char *type, const char *bytes)
{
    int rc = begin(type);

    if (rc == 0)
        rc = push(bytes, strlen(bytes));
    return rc == 0 ? oto_body_end(body, &why) : rc;
}

static void refuse(const char *type, const char *bytes, int status, const char *code)
{
    assert_int_equal(give(type, bytes), -1);
    assert_int_equal(why.status, status);
    assert_string_equal(why.code, code);
    assert_int_not_equal(why.text[0], '\0');
}

/* "name=value;" for each field. */
static const char *fields(void)
{
    static char text[4096];
    size_t n = 0;

    text[0] = '\0';
    for (const oto_field *f = x.fields; f != NULL && n < sizeof text; f = f->next)
        n += (size_t)snprintf(text + n, sizeof text - n, "%s=%s;", f->name, f->value);
    return text;
}

static void assert_file(const char *bytes, size_t n)
{
    char path[600], *got = malloc(n + 1);
    int fd;

    snprintf(path, sizeof path, "%s/%s", folder, x.upload.part);
    fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_int_equal(read(fd, got, n + 1), n);
    assert_int_equal(x.upload.bytes, n);
    assert_memory_equal(got, bytes, n);
    free(got);
    close(fd);
}

#define TYPE "multipart/form-data; boundary=b"
#define PART "Content-Disposition: form-data; name="

/* ---- multipart ---- */

/* What looks like the beginning of a delimiter, and zeros. */
#define CONTENT "RIFF\0\r\r\n\r\n-\r\n--\r\n--a\r\n\r\n--\r\nb-- --b--\r"
#define FORM_BYTES                                                                                 \
    "a preamble\r\n--b\r\n" PART "\"language\"\r\n\r\nen\r\n"                                      \
    "--b \t\r\nContent-Type: text/plain\r\n" PART "empty\r\n\r\n\r\n"                              \
    "--b\r\ncontent-disposition: form-data; filename=\"a.wav\"; name=\"file\"\r\n"                 \
    "Content-Type: audio/wav\r\n\r\n" CONTENT "\r\n--b\r\n" PART                                   \
    "\"other\"; filename=\"b\"\r\n\r\nread over\r\n"                                               \
    "--b\r\n" PART "\"g[]\"\r\n\r\n1\r\n--b\r\n" PART                                              \
    "\"g[]\"\r\n\r\ntwo\r\nlines\r\n--b--\r\nan epilogue\r\n--b\r\n"

static void check_form(void)
{
    assert_int_equal(oto_body_end(body, &why), 0);
    assert_string_equal(fields(), "language=en;empty=;g[]=1;g[]=two\r\nlines;");
    assert_string_equal(x.filename, "a.wav");
    assert_file(CONTENT, sizeof CONTENT - 1);
}

static void test_multipart_cut_anywhere(void **state)
{
    static const char bytes[] = FORM_BYTES;
    const size_t n = sizeof bytes - 1;

    (void)state;
    for (size_t cut = 0; cut <= n; cut++) {
        assert_int_equal(begin(TYPE), 0);
        assert_int_equal(push(bytes, cut), 0);
        assert_int_equal(push(bytes + cut, n - cut), 0);
        check_form();
    }
    for (size_t step = 1; step < 8; step++) {
        assert_int_equal(begin(TYPE), 0);
        for (size_t at = 0; at < n; at += step)
            assert_int_equal(push(bytes + at, OTO_MIN(step, n - at)), 0);
        check_form();
    }
}

static void test_multipart_unfinished(void **state)
{
    static const char bytes[] = FORM_BYTES;
    const char *closed = memmem(bytes, sizeof bytes, "\r\n--b--\r\nan", 11);

    (void)state;
    assert_non_null(closed);
    for (size_t cut = 0; cut < (size_t)(closed - bytes) + 7; cut++) {
        assert_int_equal(begin(TYPE), 0);
        assert_int_equal(push(bytes, cut), 0);
        assert_int_equal(oto_body_end(body, &why), -1);
        assert_int_equal(why.status, 400);
        assert_string_equal(why.code, "bad_multipart");
    }
}

static void test_boundaries(void **state)
{
    char type[300], text[400], longest[80];

    (void)state;
    memset(longest, 'x', 70);
    longest[70] = '\0';
    snprintf(type, sizeof type, "Multipart/Form-Data; charset=utf-8; boundary=\"%s\"", longest);
    snprintf(text, sizeof text, "--%s\r\n" PART "a\r\n\r\n1\r\n--%s--", longest, longest);
    assert_int_equal(give(type, text), 0);
    assert_string_equal(fields(), "a=1;");
    snprintf(type, sizeof type, "multipart/form-data; boundary=%sx", longest);
    refuse(type, "", 400, "bad_multipart");
    refuse("multipart/form-data", "", 400, "bad_multipart");
    refuse("multipart/form-data; boundary=", "", 400, "bad_multipart");
    refuse("multipart/form-data; boundary=\"\"", "", 400, "bad_multipart");
    refuse("multipart/form-data; boundary=\"a\rb\"", "", 400, "bad_multipart");
    refuse("multipart/form-data; xboundary=b", "", 400, "bad_multipart");
    /* A value that holds a parameter's name is none. */
    assert_int_equal(give("multipart/form-data; x=\"; boundary=c\"; boundary=b", "--b--"), 0);
    refuse(TYPE, "--c--", 400, "bad_multipart");
    refuse(TYPE, "--bb\r\n" PART "a\r\n\r\n1\r\n--bb--", 400, "bad_multipart");
    assert_int_equal(give(TYPE, "--b--"), 0);
    assert_null(x.fields);
    assert_null(x.filename);
}

static void test_bad_parts(void **state)
{
    static char head[MAX_HEAD_BYTES + 200], value[MAX_FIELD_BYTES + 200];
    int n;

    (void)state;
    refuse(TYPE, "--b\r\n\r\nx\r\n--b--", 400, "bad_multipart");
    refuse(TYPE, "--b\r\nContent-Type: a/b\r\n\r\nx\r\n--b--", 400, "bad_multipart");
    refuse(TYPE, "--b\r\n" PART "file\r\n\r\nx\r\n--b\r\n" PART "audio\r\n\r\ny\r\n--b--", 400,
           "too_many_files");
    n = snprintf(head, sizeof head, "--b\r\nX: ");
    memset(head + n, 'x', sizeof head - (size_t)n - 1);
    refuse(TYPE, head, 400, "bad_multipart");
    n = snprintf(value, sizeof value, "--b\r\n" PART "a\r\n\r\n");
    memset(value + n, 'x', MAX_FIELD_BYTES);
    strcpy(value + n + MAX_FIELD_BYTES, "\r\n--b--");
    assert_int_equal(give(TYPE, value), 0);
    assert_int_equal(strlen(x.fields->value), MAX_FIELD_BYTES);
    strcpy(value + n + MAX_FIELD_BYTES, "x\r\n--b--");
    refuse(TYPE, value, 400, "field_too_large");
}

static void test_too_many_fields(void **state)
{
    char text[64];

    (void)state;
    assert_int_equal(begin(TYPE), 0);
    for (int i = 0; i <= MAX_FIELDS; i++) {
        const int n = snprintf(text, sizeof text, "--b\r\n" PART "n%d\r\n\r\n%d\r\n", i, i);

        assert_int_equal(push(text, (size_t)n), 0);
    }
    assert_int_equal(push("--b", 3), -1);
    assert_string_equal(why.code, "too_many_fields");
}

static void test_a_full_arena_is_said(void **state)
{
    static char part[MAX_FIELD_BYTES + 100];
    int n = snprintf(part, sizeof part, "--b\r\n" PART "a\r\n\r\n"), rc = 0;

    (void)state;
    memset(part + n, 'x', MAX_FIELD_BYTES - 10);
    strcpy(part + n + MAX_FIELD_BYTES - 10, "\r\n");
    assert_int_equal(begin(TYPE), 0);
    while (oto_arena_alloc(x.a, 64 << 10) != NULL)
        ;
    for (int i = 0; i < 4 && rc == 0; i++)
        rc = push(part, strlen(part));
    assert_int_equal(rc, -1);
    assert_int_equal(why.status, 400);
}

static void test_file_names(void **state)
{
    static const struct {
        const char *sent, *kept;
    } names[] = {
        {"\"a.wav\"", "a.wav"},
        {"a.wav", "a.wav"},
        {"\"\"", ""},
        {"\"会议 é.wav\"", "会议 é.wav"},
        {"\"say \\\"yes\\\".wav\"", "say \"yes\".wav"},
        {"\"C:\\rec\\\\1.wav\"", "C:\\rec\\1.wav"},
        {"\"a;b=c; name=\\\"x\\\".wav\"", "a;b=c; name=\"x\".wav"},
        {"\"../../etc/passwd\"", "../../etc/passwd"},
        {"\"\xc4\xe3.wav\"", "\xef\xbf\xbd\xef\xbf\xbd.wav"}, /* GBK */
        {"\"a\tb\x7f\"", "a\xef\xbf\xbd"
                         "b\xef\xbf\xbd"},
        {"\"open", "open"},
        {"\"a.wav\"; filename*=UTF-8''b.wav", "a.wav"},
    };
    char text[300];

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(names); i++) {
        snprintf(text, sizeof text, "--b\r\n" PART "\"file\"; filename=%s\r\n\r\nx\r\n--b--",
                 names[i].sent);
        assert_int_equal(give(TYPE, text), 0);
        assert_string_equal(x.filename, names[i].kept);
        assert_file("x", 1);
    }
    assert_int_equal(give(TYPE, "--b\r\n" PART "audio\r\n\r\nx\r\n--b--"), 0);
    assert_string_equal(x.filename, ""); /* a recording without a name */
}

static void test_a_file_where_none_belongs(void **state)
{
    static const char text[] = "--b\r\n" PART "file; filename=a\r\n\r\nx\r\n--b--";

    (void)state;
    assert_int_equal(begin(TYPE), 0);
    route.upload = false;
    assert_int_equal(push(text, strlen(text)), 0);
    assert_int_equal(oto_body_end(body, &why), 0);
    assert_null(x.filename);
    assert_null(x.fields);
}

/* ---- the others ---- */

static void test_forms(void **state)
{
    static const char form[] = "application/x-www-form-urlencoded";

    (void)state;
    assert_int_equal(give(form, ""), 0);
    assert_null(x.fields);
    assert_int_equal(give(form, "a=1+2&b=%e4%bD%a0&&c&d=%&e=%4&f=%zz&g=a=b&=x&%61=%3D"), 0);
    assert_string_equal(fields(), "a=1 2;b=\xe4\xbd\xa0;c=;d=%;e=%4;f=%zz;g=a=b;=x;a==;");
    assert_int_equal(give("application/x-www-form-urlencoded; charset=utf-8", "a=1"), 0);
    assert_string_equal(fields(), "a=1;");
    assert_int_equal(give(NULL, "a=1"), 0);
    assert_string_equal(fields(), "a=1;");
}

static void test_json(void **state)
{
    static const char json[] = "application/json; charset=utf-8";

    (void)state;
    assert_int_equal(give(json, ""), 0);
    assert_int_equal(give(json, "{\"a\":\"x\",\"n\":1,\"f\":0.5,\"t\":true,\"z\":null,"
                                "\"l\":[\"1\",2,null],\"o\":{\"k\":[]},\"e\":\"\"}"),
                     0);
    assert_string_equal(fields(), "a=x;n=1;f=0.5;t=true;l=1;l=2;o={\"k\": []};e=;");
    refuse(json, "{", 400, "bad_json");
    refuse(json, "[1]", 400, "bad_json");
    refuse(json, "{} x", 400, "bad_json");
    refuse(json, "{\"a\":\"\\u0000\"}", 400, "bad_json");
    refuse(json, "{\"a\":\"\xff\"}", 400, "bad_json");
    assert_int_equal(begin(json), 0);
    assert_int_equal(push("{}", 2), 0);
    for (int i = 0; i < MAX_TEXT_BYTES / 1024 - 1; i++) {
        char spaces[1024];

        memset(spaces, ' ', sizeof spaces);
        assert_int_equal(push(spaces, sizeof spaces), 0);
    }
    assert_int_equal(oto_body_end(body, &why), 0);
    assert_int_equal(give(json, "{}"), 0);
    {
        static char large[MAX_TEXT_BYTES + 1];

        memset(large, ' ', sizeof large - 1);
        assert_int_equal(push(large, sizeof large - 1), -1);
        assert_int_equal(why.status, 413);
    }
}

static void test_json_lists_count(void **state)
{
    static char text[4 * MAX_FIELDS + 40];
    int n = snprintf(text, sizeof text, "{\"a\":[1");

    (void)state;
    for (int i = 0; i < MAX_FIELDS; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, ",1");
    strcpy(text + n, "]}");
    refuse("application/json", text, 400, "too_many_fields");
}

static void test_raw(void **state)
{
    oto_field name = {.name = "filename", .value = "b.opus", .from_query = true};

    (void)state;
    assert_int_equal(give("audio/wav", "RIFF\r\n--b"), 0);
    assert_string_equal(x.filename, "");
    assert_file("RIFF\r\n--b", 9);
    assert_int_equal(begin("audio/wav"), 0);
    x.fields = &name;
    x.filename = NULL;
    oto_upload_drop(&spool, &x.upload);
    assert_int_equal(oto_body_new(&x, &body, &why), 0);
    assert_string_equal(x.filename, "b.opus");
}

static void test_no_room(void **state)
{
    (void)state;
    spool.max_bytes = 4;
    assert_int_equal(begin("audio/wav"), 0);
    if (push("too many bytes", 14) == 0)
        assert_int_equal(oto_body_end(body, &why), 0); /* limits count when an upload begins */
    oto_upload_drop(&spool, &x.upload);
    x.filename = NULL;
    x.content_length = 100;
    assert_int_equal(oto_body_new(&x, &body, &why), -1);
    assert_int_equal(why.status, 507);
    spool.max_bytes = 0;
}

/* ---- chunks ---- */

#define CHUNKS                                                                                     \
    "5\r\nhello\r\n1;name=\"v\"\r\n,\r\n00a \r\n world\r\n0\r\r\n"                                 \
    "0\r\nTrailer: x\r\nAnother: y\r\n\r\nnext"
#define PLAIN "hello, world\r\n0\r"

/* Decodes in pieces of `step` bytes after a first of `cut`; returns the last answer. */
static int dechunk(const char *text, size_t n, size_t cut, size_t step, char *out, size_t *n_out)
{
    oto_dechunk d = {0};
    char piece[200];
    int rc = 0;

    *n_out = 0;
    for (size_t at = 0; at < n && rc == 0;) {
        size_t take = OTO_MIN(at == 0 && cut > 0 ? cut : step, n - at);

        memcpy(piece, text + at, take);
        at += take;
        rc = oto_dechunk_push(&d, piece, &take);
        if (rc >= 0) {
            memcpy(out + *n_out, piece, take);
            *n_out += take;
        }
    }
    return rc;
}

static void test_chunks_cut_anywhere(void **state)
{
    static const char text[] = CHUNKS;
    const size_t n = sizeof text - 1;
    char out[200];
    size_t got;

    (void)state;
    for (size_t cut = 0; cut <= n; cut++)
        for (size_t step = 1; step <= n; step++) {
            assert_int_equal(dechunk(text, n, cut, step, out, &got), 1);
            assert_int_equal(got, sizeof PLAIN - 1);
            assert_memory_equal(out, PLAIN, got);
        }
    for (size_t cut = 1; cut < n - 4; cut++) /* not ended yet, not wrong either */
        assert_int_equal(dechunk(text, cut, cut, 1, out, &got), 0);
}

static void test_bad_chunks(void **state)
{
    static const char *const bad[] = {
        "\r\n",         "x\r\n",    "-1\r\n",  " 1\r\na",  ";x\r\n",
        "1\n",          "1\r\r",    "1\r\nab", "1\r\na\n", "1\r\na\rb",
        "1\r\na\r\n\r", "0\r\n\rx", "1x\r\n",  "0x1\r\na", "1000000000000000\r\n"};
    static char longest[MAX_LINE + 10];
    char out[200];
    oto_dechunk d = {0};
    size_t n = sizeof longest;

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(bad); i++)
        for (size_t step = 1; step <= strlen(bad[i]); step++)
            assert_int_equal(dechunk(bad[i], strlen(bad[i]), 0, step, out, &n), -1);
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "1;", 2);
    n = sizeof longest;
    assert_int_equal(oto_dechunk_push(&d, longest, &n), -1);
    d = (oto_dechunk){0};
    memset(longest, 'x', sizeof longest);
    memcpy(longest, "0\r\n", 3);
    n = sizeof longest;
    assert_int_equal(oto_dechunk_push(&d, longest, &n), -1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_multipart_cut_anywhere),
        TEST(test_multipart_unfinished),
        TEST(test_boundaries),
        TEST(test_bad_parts),
        TEST(test_too_many_fields),
        TEST(test_a_full_arena_is_said),
        TEST(test_file_names),
        TEST(test_a_file_where_none_belongs),
        TEST(test_forms),
        TEST(test_json),
        TEST(test_json_lists_count),
        TEST(test_raw),
        TEST(test_no_room),
        TEST(test_chunks_cut_anywhere),
        TEST(test_bad_chunks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
