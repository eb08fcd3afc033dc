#include "server/notices.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static bool private_address(const char *text)
{
    struct sockaddr_storage a = {.ss_family = AF_INET};

    if (inet_pton(AF_INET, text, &((struct sockaddr_in *)&a)->sin_addr) == 1)
        return is_private((const struct sockaddr *)&a);
    a.ss_family = AF_INET6;
    if (inet_pton(AF_INET6, text, &((struct sockaddr_in6 *)&a)->sin6_addr) != 1)
        fail_msg("%s: not an address", text);
    return is_private((const struct sockaddr *)&a);
}

static const char *const inside[] = {"0.0.0.0",
                                     "0.1.2.3",
                                     "10.0.0.1",
                                     "10.255.255.255",
                                     "100.64.0.1",
                                     "100.127.255.255",
                                     "127.0.0.1",
                                     "127.255.255.254",
                                     "169.254.169.254" /* a cloud's own */,
                                     "172.16.0.1",
                                     "172.31.255.255",
                                     "192.0.0.8",
                                     "192.168.0.1",
                                     "198.18.0.1",
                                     "198.19.255.255",
                                     "224.0.0.1",
                                     "239.255.255.255",
                                     "240.0.0.1",
                                     "255.255.255.255",
                                     "::",
                                     "::1",
                                     "::127.0.0.1",
                                     "::ffff:127.0.0.1",
                                     "::ffff:10.1.2.3",
                                     "::ffff:a9fe:a9fe",
                                     "64:ff9b::10.0.0.1",
                                     "64:ff9b:1::808:808",
                                     "2002:7f00:1::",
                                     "2002:a00:1::1",
                                     "2002:c0a8:101::1",
                                     "fc00::1",
                                     "fdff::1",
                                     "fe80::1",
                                     "febf::1",
                                     "fec0::1",
                                     "ff02::1"};
static const char *const outside[] = {
    "1.1.1.1",         "9.255.255.255",   "11.0.0.0",        "100.63.255.255",   "100.128.0.0",
    "126.255.255.255", "128.0.0.0",       "169.253.255.255", "169.255.0.0",      "172.15.255.255",
    "172.32.0.0",      "192.0.1.0",       "192.167.255.255", "192.169.0.0",      "198.17.255.255",
    "198.20.0.0",      "223.255.255.255", "::ffff:8.8.8.8",  "64:ff9b::8.8.8.8", "2002:808:808::1",
    "2001:4860::8888", "2606:4700::1111", "fbff::1"};

static void test_addresses(void **state)
{
    const struct sockaddr_storage other = {.ss_family = AF_UNIX};

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(inside); i++)
        if (!private_address(inside[i]))
            fail_msg("%s is inside", inside[i]);
    for (size_t i = 0; i < OTO_COUNT(outside); i++)
        if (private_address(outside[i]))
            fail_msg("%s is outside", outside[i]);
    assert_true(is_private((const struct sockaddr *)&other));
}

static void test_sockets(void **state)
{
    oto_server_options o = {0};
    struct curl_sockaddr a = {.family = AF_INET, .socktype = SOCK_STREAM};
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    curl_socket_t fd;

    (void)state;
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memcpy(&a.addr, &v4, sizeof v4);
    assert_int_equal(open_socket(&o, CURLSOCKTYPE_IPCXN, &a), CURL_SOCKET_BAD);
    o.allow_private_webhooks = true;
    fd = open_socket(&o, CURLSOCKTYPE_IPCXN, &a);
    assert_int_not_equal(fd, CURL_SOCKET_BAD);
    close(fd);
}

static void test_check(void **state)
{
    static const char *const good[] = {"http://hooks.example/x?y=1", "HTTPS://hooks.example:8443",
                                       "https://user:secret@hooks.example/", "http://8.8.8.8/",
                                       "http://[2606:4700::1111]/"};
    static const char *const bad[] = {"",
                                      "hooks.example",
                                      "/path",
                                      "ftp://hooks.example/",
                                      "file:///etc/passwd",
                                      "gopher://hooks.example/",
                                      "http://",
                                      "http://exa mple/",
                                      "http://localhost/",
                                      "http://LOCALHOST:80/",
                                      "http://127.0.0.1/",
                                      "http://2130706433/",
                                      "http://0177.0.0.1/",
                                      "http://0x7f000001/",
                                      "http://0x7f.1/",
                                      "http://127.1/",
                                      "http://10.0.0.1:8000/x",
                                      "http://169.254.169.254/latest/meta-data",
                                      "http://x@127.0.0.1/",
                                      "http://[::1]/",
                                      "http://[::ffff:127.0.0.1]:80/",
                                      "http://[fe80::1%25eth0]/"};
    char longest[MAX_URL_BYTES + 20];
    oto_server_options o = {0};
    oto_err e = {0};

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(good); i++)
        if (oto_notices_check(&o, good[i], &e) != 0)
            fail_msg("%s: %s", good[i], e.text);
    for (size_t i = 0; i < OTO_COUNT(bad); i++)
        if (oto_notices_check(&o, bad[i], &e) != OTO_E_USAGE)
            fail_msg("%s was taken", bad[i]);
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "http://e.example/", 17);
    longest[MAX_URL_BYTES] = '\0';
    assert_int_equal(oto_notices_check(&o, longest, &e), 0);
    longest[MAX_URL_BYTES] = 'a';
    longest[MAX_URL_BYTES + 1] = '\0';
    assert_int_equal(oto_notices_check(&o, longest, &e), OTO_E_USAGE);
    o.allow_private_webhooks = true;
    assert_int_equal(oto_notices_check(&o, "http://localhost/", &e), 0);
    assert_int_equal(oto_notices_check(&o, "file:///etc/passwd", &e), OTO_E_USAGE);
}

/* However a name spells the address of this machine, the connection is not made. */
static void test_delivery_into_this_network(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "2130706433", "0177.0.0.1",         "0x7f.1",
                                        "localhost", "[::1]",      "[::ffff:127.0.0.1]", "0.0.0.0"};
    struct sockaddr_in a = {.sin_family = AF_INET};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    socklen_t n = sizeof a;
    oto_server_options o = {.version = "test"};
    char url[100];
    delivery d;

    (void)state;
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    for (size_t i = 0; i < OTO_COUNT(hosts); i++) {
        const oto_job job = {.id = "j",
                             .webhook = url,
                             .filename = "a.wav",
                             .error = "",
                             .detected_language = "en",
                             .state = OTO_JOB_DONE};

        snprintf(url, sizeof url, "http://%s:%d/", hosts[i], ntohs(a.sin_port));
        assert_true(open_delivery(&o, &job, 0, 0, make_body(&job, NULL), &d));
        assert_false(was_taken(&d, curl_easy_perform(d.c)));
        close_delivery(&d);
        assert_int_equal(accept(fd, NULL, NULL), -1);
    }
    close(fd);
}

static void test_signature(void **state)
{
    char out[80];

    (void)state;
    assert_int_equal(sign("key", "1795440711", "{}", out), 0);
    assert_int_equal(strlen(out), 64);
    /* printf '1795440711.{}' | openssl dgst -sha256 -hmac key */
    assert_string_equal(out, "93ecac81a5115bdf271cee0ddc66a198f7579aed2b1d85c7af29e9a5b07e8d74");
}

/* What the job of a body says. */
static void check_body(const oto_job *job, const char *text, const char *event, const char *status)
{
    char *body = make_body(job, text);
    json_t *j = json_loads(body, 0, NULL), *inner = json_object_get(j, "job");
    const char *error = json_string_value(json_object_get(inner, "error"));

    assert_string_equal(json_string_value(json_object_get(j, "event")), event);
    assert_string_equal(json_string_value(json_object_get(inner, "id")), job->id);
    assert_string_equal(json_string_value(json_object_get(inner, "status")), status);
    assert_string_equal(json_string_value(json_object_get(inner, "filename")), "a \"b\".wav");
    assert_string_equal(error != NULL ? error : "", job->error);
    assert_true(json_real_value(json_object_get(inner, "duration")) == 1.5);
    if (text != NULL)
        assert_string_equal(json_string_value(json_object_get(inner, "text")), text);
    else
        assert_null(json_object_get(inner, "text"));
    json_decref(j);
    free(body);
}

static void test_body(void **state)
{
    oto_job job = {.id = "20260801_001_ab",
                   .state = OTO_JOB_FAILED,
                   .filename = "a \"b\".wav",
                   .error = "no sound",
                   .detected_language = "",
                   .audio_ms = 1500};

    (void)state;
    check_body(&job, NULL, "job.failed", "failed");
    job.state = OTO_JOB_DEAD;
    check_body(&job, NULL, "job.failed", "dead");
    job.error = "";
    job.state = OTO_JOB_CANCELLED;
    check_body(&job, NULL, "job.cancelled", "cancelled");
    job.state = OTO_JOB_DONE;
    check_body(&job, "What \"was\" said.", "job.done", "done");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses), cmocka_unit_test(test_sockets),
        cmocka_unit_test(test_check),     cmocka_unit_test(test_delivery_into_this_network),
        cmocka_unit_test(test_signature), cmocka_unit_test(test_body),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
