#include "server/listen.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void test_split(void **state)
{
    static const struct {
        const char *address, *host, *port;
    } good[] = {{"127.0.0.1:8000", "127.0.0.1", "8000"},
                {":80", "", "80"},
                {"80", "", "80"},
                {"[::1]:0", "::1", "0"},
                {"[]:65535", "", "65535"},
                {"::1:443", "::1", "443"},
                {"speech.example:81", "speech.example", "81"}};
    static const char *const bad[] = {"",     ":",       "host", "host:", "host:http",
                                      "h:-1", "h:65536", "h:1x", "[::1]", "h:99999999999999999999"};
    char host[256], port[16], longest[400];
    oto_err e = {0};

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(good); i++) {
        assert_int_equal(split(good[i].address, host, port, &e), 0);
        assert_string_equal(host, good[i].host);
        assert_string_equal(port, good[i].port);
    }
    for (size_t i = 0; i < OTO_COUNT(bad); i++) {
        assert_int_equal(split(bad[i], host, port, &e), OTO_E_USAGE);
        assert_memory_equal(e.text, "listen: ", 8);
    }
    memset(longest, 'a', sizeof longest);
    memcpy(longest + 256, ":1", 3);
    assert_int_equal(split(longest, host, port, &e), OTO_E_USAGE);
    memcpy(longest + 255, ":1", 3);
    assert_int_equal(split(longest, host, port, &e), 0);
}

static void test_bound_and_named(void **state)
{
    char address[80], again[80];
    int fd, other;
    oto_err e = {0};

    (void)state;
    assert_int_equal(oto_server_listen("127.0.0.1:0", &fd, &e), 0);
    oto_server_address(fd, address, sizeof address);
    assert_memory_equal(address, "127.0.0.1:", 10);
    assert_int_not_equal(atoi(address + 10), 0);
    assert_false(oto_server_is_public(fd));
    assert_int_equal(oto_server_listen(address, &other, &e), OTO_E_BUSY);
    assert_non_null(strstr(e.text, address));
    close(fd);
    assert_int_equal(oto_server_listen(address, &fd, &e), 0);
    oto_server_address(fd, again, sizeof again);
    assert_string_equal(address, again);
    close(fd);
}

static void test_public(void **state)
{
    static const struct {
        const char *address;
        bool is_public;
    } cases[] = {{"127.8.9.1:0", false},
                 {"0.0.0.0:0", true},
                 {":0", true},
                 {"0", true},
                 {"[::1]:0", false},
                 {"[::]:0", true},
                 {"[::ffff:127.0.0.1]:0", true},
                 {"localhost:0", false}};
    char address[80];
    oto_err e = {0};
    int fd;

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(cases); i++) {
        const int rc = oto_server_listen(cases[i].address, &fd, &e);

        if (rc != 0 && cases[i].address[0] == '[')
            continue; /* no IPv6 on this machine */
        assert_int_equal(rc, 0);
        assert_int_equal(oto_server_is_public(fd), cases[i].is_public);
        oto_server_address(fd, address, sizeof address);
        assert_int_equal(address[0] == '[', cases[i].address[0] == '[');
        close(fd);
    }
    assert_true(oto_server_is_public(-1)); /* nothing is known: the careful answer */
    oto_server_address(-1, address, sizeof address);
    assert_string_equal(address, "?");
}

static void test_not_to_be_had(void **state)
{
    oto_err e = {0};
    int fd;

    (void)state;
    assert_int_equal(oto_server_listen("192.0.2.1:0", &fd, &e), OTO_E_IO);
    assert_non_null(strstr(e.text, "192.0.2.1:0"));
    assert_int_equal(oto_server_listen("256.1.1.1.invalid:0", &fd, &e), OTO_E_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_bound_and_named),
        cmocka_unit_test(test_public),
        cmocka_unit_test(test_not_to_be_had),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
