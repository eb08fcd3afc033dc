#include "weights/fetch.c"

#include "unit/weights/hub.h"

#include <setjmp.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <cmocka.h>

/* A file behind a server of this machine that falls silent (tests/reference/sources.py). */
#define BIG 600000

static char tmp[64], sha[65];
static hub server;

static int set_up(void **state)
{
    (void)state;
    char path[100];
    static char bytes[BIG];
    oto_log_setup(OTO_LOG_ERROR, false);
    strcpy(tmp, "/tmp/fetch.XXXXXX");
    assert_non_null(mkdtemp(tmp));
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (char)(i * 2654435761u >> 24);
    }
    snprintf(path, sizeof path, "%s/file", tmp);
    assert_int_equal(oto_write_file(path, bytes, sizeof bytes, NULL), 0);
    assert_int_equal(oto_sha256_file(path, sha, NULL), 0);
    snprintf(path, sizeof path, "%s/here", tmp);
    return oto_mkdirs(path, NULL) ? -1 : hub_start(tmp, &server);
}

static int tear_down(void **state)
{
    (void)state;
    hub_stop(&server);
    return oto_remove_tree(tmp, NULL);
}

static int fetch(const char *how, char got[65], oto_err *e)
{
    static const oto_fetch_limits limits = {.connect_ms = 2000, .stall_s = 1, .retry_ms = 10};
    char dir[100], url[100];
    snprintf(dir, sizeof dir, "%s/here", tmp);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/%s/file", server.port, how);
    const oto_incoming f = {.dir = dir, .name = "file"};
    return oto_fetch_url(&f, url, &limits, got, e);
}

static long bytes_of(const char *name)
{
    char path[100];
    struct stat st;
    snprintf(path, sizeof path, "%s/here/%s", tmp, name);
    return stat(path, &st) == 0 ? (long)st.st_size : -1;
}

static void goes_on_after_a_silence(void **state)
{
    (void)state;
    char got[65] = "";
    oto_err e = {0};
    if (fetch("stall", got, &e) != 0) {
        fail_msg("%s", e.text);
    }
    assert_string_equal(got, sha);
    assert_int_equal(bytes_of("file"), BIG);
    assert_int_equal(bytes_of("file.part"), -1);
    assert_int_equal(bytes_of("file.part.from"), -1);
}

static void gives_up_on_a_server_that_stays_silent(void **state)
{
    (void)state;
    char got[65] = "", path[100];
    oto_err e = {0};
    snprintf(path, sizeof path, "%s/here/file", tmp);
    unlink(path);
    assert_int_equal(fetch("stalled", got, &e), OTO_E_UNAVAILABLE);
    assert_non_null(strstr(e.text, "no answer"));
    assert_int_equal(bytes_of("file"), -1);
    assert_int_equal(bytes_of("file.part"), BIG / 2); /* to go on from */
    if (fetch("ok", got, &e) != 0) {
        fail_msg("%s", e.text);
    }
    assert_string_equal(got, sha);
}

int main(void)
{
    if (system("python3 -c 'import http.server' 2>/dev/null") != 0) {
        printf("python3 is missing: no server to fetch from\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_after_a_silence),
        cmocka_unit_test(gives_up_on_a_server_that_stays_silent),
    };
    return cmocka_run_group_tests_name("weights/fetch", tests, set_up, tear_down);
}
