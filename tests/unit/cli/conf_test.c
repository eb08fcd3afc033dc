#include "cli/conf.c"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

static oto_conf conf;

static int set_up(void **state)
{
    (void)state;
    oto_conf_defaults(&conf);
    return 0;
}

static int parse_text(const char *text, oto_err *e)
{
    return oto_conf_parse(&conf, text, strlen(text), "a.conf", e);
}

static void take(const char *text)
{
    oto_err e = {0};

    if (parse_text(text, &e) != 0)
        fail_msg("%s: %s", text, e.text);
}

/* The text fails, and says so with these words. */
static void refuse(const char *text, const char *where, const char *why)
{
    oto_err e = {0};

    assert_int_equal(parse_text(text, &e), OTO_E_USAGE);
    assert_int_equal(e.code, OTO_E_USAGE);
    if (strncmp(e.text, where, strlen(where)) != 0 || strstr(e.text, why) == NULL)
        fail_msg("%s: \"%s\" is not \"%s … %s …\"", text, e.text, where, why);
}

static void test_defaults(void **state)
{
    (void)state;
    assert_string_equal(oto_conf_text(&conf, "listen"), "127.0.0.1:8000");
    assert_string_equal(oto_conf_text(&conf, "model"), OTO_CLI_DEFAULT_ASR);
    assert_null(oto_conf_text(&conf, "data"));
    assert_int_equal(oto_conf_number(&conf, "max-upload"), (int64_t)2 << 30);
    assert_int_equal(oto_conf_number(&conf, "keep"), 30 * 86400);
    assert_int_equal(oto_conf_number(&conf, "memory-limit"), 0);
    assert_false(oto_conf_flag(&conf, "offline"));
    for (int i = 0; i < N_SETTINGS; i++) {
        int64_t v;

        assert_int_equal(parse(&settings[i], settings[i].fallback, &v, NULL), 0);
        assert_int_equal(conf.entries[i].source, OTO_CONF_DEFAULT);
    }
}

static void test_options(void **state)
{
    const oto_cli_option *o = oto_conf_options();

    (void)state;
    for (int i = 0; i < oto_conf_count(); i++)
        assert_int_equal(o[i].id, i + 1);
    assert_string_equal(o[oto_conf_count()].name, "config");
    assert_string_equal(o[oto_conf_count() + 1].name, "print-config");
    assert_int_equal(o[oto_conf_count() + 2].id, 0);
}

static void test_lines(void **state)
{
    (void)state;
    take("# a comment\n"
         "; another\n"
         "\n"
         "[server]\n"
         "  beam=1   # greedy\n"
         "max_upload = 64M\r\n"
         "keep\t=\t12 h\n"
         "model = \"a # b\" # c\n"
         "cors = 'it says \"x\"'\n"
         "webhook-secret = \"two \"\"2\"\", one '\"\n"
         "data = '  '' '\n"
         "aliases =\n"
         "offline = Yes"); /* no line end */
    assert_int_equal(oto_conf_number(&conf, "beam"), 1);
    assert_int_equal(oto_conf_number(&conf, "max-upload"), 64 << 20);
    assert_int_equal(oto_conf_number(&conf, "keep"), 12 * 3600);
    assert_string_equal(oto_conf_text(&conf, "model"), "a # b");
    assert_string_equal(oto_conf_text(&conf, "cors"), "it says \"x\"");
    assert_string_equal(oto_conf_text(&conf, "webhook-secret"), "two \"2\", one '");
    assert_string_equal(oto_conf_text(&conf, "data"), "  ' ");
    assert_null(oto_conf_text(&conf, "aliases"));
    assert_true(oto_conf_flag(&conf, "offline"));
    take("beam = 2\nbeam = 3\n");
    assert_int_equal(oto_conf_number(&conf, "beam"), 3);
}

static void test_values(void **state)
{
    static const struct {
        const char *text, *name;
        int64_t value;
    } cases[] = {
        {"keep = 0", "keep", 0},
        {"keep = 90", "keep", 90},
        {"keep = 90s", "keep", 90},
        {"keep = 15m", "keep", 900},
        {"keep = 2min", "keep", 120},
        {"keep = 7d", "keep", 604800},
        {"keep-size = 0", "keep-size", 0},
        {"keep-size = 5KiB", "keep-size", 5 << 10},
        {"keep-size = 3t", "keep-size", (int64_t)3 << 40},
        {"no-vad = on", "no-vad", 1},
        {"no-vad = FALSE", "no-vad", 0},
        {"no-vad = 1", "no-vad", 1},
        {"workers = 2", "workers", 2},
    };

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(cases); i++) {
        take(cases[i].text);
        assert_int_equal(oto_conf_number(&conf, cases[i].name), cases[i].value);
    }
}

static void test_bad_files(void **state)
{
    char text[2000];

    (void)state;
    refuse("\n# x\nbaem = 1\n", "a.conf:3: ", "'baem'");
    refuse("print-config = 1", "a.conf:1: ", "'print-config'");
    refuse("beam", "a.conf:1: ", "name = value");
    refuse("= 3", "a.conf:1: ", "''");
    refuse("beam = 6", "a.conf:1: beam: ", "between 1 and 5");
    refuse("beam = -1", "a.conf:1: beam: ", "between");
    refuse("beam = one", "a.conf:1: beam: ", "not a number");
    refuse("beam =", "a.conf:1: beam: ", "not a number");
    refuse("beam = 1 2", "a.conf:1: beam: ", "not a number");
    refuse("beam = 99999999999999999999", "a.conf:1: beam: ", "not a number");
    refuse("keep = 1w", "a.conf:1: keep: ", "time");
    refuse("keep = -1d", "a.conf:1: keep: ", "time");
    refuse("keep = 9223372036854775807d", "a.conf:1: keep: ", "time");
    refuse("keep = 9223372036854775807", "a.conf:1: keep: ", "between");
    refuse("max-audio = 9223372036854775", "a.conf:1: max-audio: ", "between");
    refuse("max-upload = 0", "a.conf:1: max-upload: ", "between");
    refuse("max-upload = 2X", "a.conf:1: max-upload: ", "size");
    refuse("max-upload = 99999999999999T", "a.conf:1: max-upload: ", "size");
    refuse("no-vad = perhaps", "a.conf:1: no-vad: ", "true or false");
    refuse("compute = f16", "a.conf:1: compute: ", "none of auto f32");
    refuse("compute = auto f32", "a.conf:1: compute: ", "none of");
    refuse("log =", "a.conf:1: log: ", "none of");
    refuse("listen = ''", "a.conf:1: listen: ", "empty");
    refuse("model =", "a.conf:1: model: ", "empty");
    refuse("data = \"x", "a.conf:1: data: ", "quotes");
    refuse("data = 'x'y", "a.conf:1: data: ", "quotes");
    refuse("data = \"x\"\"", "a.conf:1: data: ", "quotes");
    refuse("data = a\tb", "a.conf:1: data: ", "control");
    memset(text, 'x', sizeof text);
    memcpy(text, "\ndata = ", 8);
    text[8 + OTO_CONF_VALUE] = '\0';
    refuse(text, "a.conf:2: data: ", "too long");
    text[8 + OTO_CONF_VALUE] = 'x';
    text[sizeof text - 1] = '\0';
    refuse(text, "a.conf:2: ", "too long");
    /* What stood before a bad line was taken; the server does not start with it. */
    assert_null(oto_conf_text(&conf, "data"));
}

static void test_precedence(void **state)
{
    oto_err e = {0};
    int beam = find("beam");

    (void)state;
    take("beam = 1\nworkers = 3\nthreads = 2\n");
    setenv("OTOLITH_BEAM", "2", 1);
    setenv("OTOLITH_WORKERS", "4", 1);
    setenv("OTOLITH_THREADS", "", 1);       /* as good as none */
    setenv("OTOLITH_MODELS", "/models", 1); /* the folder */
    setenv("OTOLITH_SERVE_MODELS", "a=b", 1);
    assert_int_equal(oto_conf_read_environment(&conf, &e), 0);
    assert_int_equal(oto_conf_set_flag(&conf, beam, "3", &e), 0);
    assert_int_equal(oto_conf_number(&conf, "beam"), 3);
    assert_int_equal(oto_conf_number(&conf, "workers"), 4);
    assert_int_equal(oto_conf_number(&conf, "threads"), 2);
    assert_string_equal(oto_conf_text(&conf, "models"), "a=b");
    assert_int_equal(conf.entries[beam].source, OTO_CONF_FLAG);
    assert_int_equal(conf.entries[find("workers")].source, OTO_CONF_ENVIRONMENT);
    assert_int_equal(conf.entries[find("threads")].source, OTO_CONF_FILE);
    setenv("OTOLITH_BEAM", "many", 1);
    assert_int_equal(oto_conf_read_environment(&conf, &e), OTO_E_USAGE);
    assert_memory_equal(e.text, "OTOLITH_BEAM: ", 14);
    assert_int_equal(oto_conf_set_flag(&conf, beam, "9", &e), OTO_E_USAGE);
    assert_memory_equal(e.text, "--beam: ", 8);
    assert_int_equal(oto_conf_number(&conf, "beam"), 3); /* as it was */
    assert_int_equal(oto_conf_set_flag(&conf, find("offline"), NULL, &e), 0);
    assert_true(oto_conf_flag(&conf, "offline"));
    unsetenv("OTOLITH_BEAM");
    unsetenv("OTOLITH_WORKERS");
    unsetenv("OTOLITH_THREADS");
    unsetenv("OTOLITH_MODELS");
    unsetenv("OTOLITH_SERVE_MODELS");
}

static void test_lists(void **state)
{
    char longest[OTO_CONF_VALUE];
    const int listen = find("listen");
    oto_err e = {0};

    (void)state;
    take("listen = 127.0.0.1:1\n");
    assert_int_equal(oto_conf_set_flag(&conf, listen, "127.0.0.1:2", &e), 0);
    assert_string_equal(oto_conf_text(&conf, "listen"), "127.0.0.1:2"); /* not the file's, too */
    assert_int_equal(oto_conf_set_flag(&conf, listen, "[::1]:3", &e), 0);
    assert_string_equal(oto_conf_text(&conf, "listen"), "127.0.0.1:2,[::1]:3");
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(oto_conf_set_flag(&conf, listen, longest, &e), OTO_E_USAGE);
    assert_string_equal(oto_conf_text(&conf, "listen"), "127.0.0.1:2,[::1]:3");
    assert_int_equal(oto_conf_set_flag(&conf, find("model"), "a", &e), 0);
    assert_int_equal(oto_conf_set_flag(&conf, find("model"), "b", &e), 0);
    assert_string_equal(oto_conf_text(&conf, "model"), "b");
}

static void test_other_names(void **state)
{
    oto_err e = {0};

    (void)state;
    setenv("ASR_STORAGE_PATH", "/a", 1);
    assert_int_equal(oto_conf_read_environment(&conf, &e), 0);
    assert_string_equal(oto_conf_text(&conf, "data"), "/a");
    setenv("OTOLITH_DATA", "/b", 1);
    assert_int_equal(oto_conf_read_environment(&conf, &e), 0);
    assert_string_equal(oto_conf_text(&conf, "data"), "/b");
    unsetenv("ASR_STORAGE_PATH");
    unsetenv("OTOLITH_DATA");
}

static void test_print_and_read_back(void **state)
{
    static char quotes[OTO_CONF_VALUE];
    const char *const values[] = {quotes,   "",    "a",  "\"",    "'",
                                  "\"\"x'", " # ", "é…", "a = b", "[x]"};
    oto_conf before;
    char *text = NULL;
    size_t n = 0;

    (void)state;
    memset(quotes, '"', sizeof quotes - 1);
    for (size_t v = 0; v < OTO_COUNT(values); v++) {
        FILE *f = open_memstream(&text, &n);

        assert_int_equal(oto_conf_set_flag(&conf, find("webhook-secret"), values[v], NULL), 0);
        assert_int_equal(oto_conf_set_flag(&conf, find("keep"), "7d", NULL), 0);
        oto_conf_print(&conf, f);
        fclose(f);
        before = conf;
        oto_conf_defaults(&conf);
        take(text);
        for (int i = 0; i < N_SETTINGS; i++)
            assert_string_equal(conf.entries[i].value, before.entries[i].value);
        free(text);
    }
}

static void test_file(void **state)
{
    char path[] = "/tmp/oto-conf-XXXXXX";
    int fd = mkstemp(path);
    oto_err e = {0};

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(oto_conf_read_file(&conf, path, &e), 0); /* an empty one */
    assert_int_equal(write(fd, "beam = 1\nx\n", 11), 11);
    assert_int_equal(oto_conf_read_file(&conf, path, &e), OTO_E_USAGE);
    assert_memory_equal(e.text, path, strlen(path));
    assert_memory_equal(e.text + strlen(path), ":2: ", 4);
    assert_int_equal(ftruncate(fd, MAX_FILE_BYTES + 1), 0);
    assert_int_equal(oto_conf_read_file(&conf, path, &e), OTO_E_USAGE);
    close(fd);
    unlink(path);
    assert_int_equal(oto_conf_read_file(&conf, path, &e), OTO_E_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_defaults, set_up),
        cmocka_unit_test_setup(test_options, set_up),
        cmocka_unit_test_setup(test_lines, set_up),
        cmocka_unit_test_setup(test_values, set_up),
        cmocka_unit_test_setup(test_bad_files, set_up),
        cmocka_unit_test_setup(test_precedence, set_up),
        cmocka_unit_test_setup(test_lists, set_up),
        cmocka_unit_test_setup(test_other_names, set_up),
        cmocka_unit_test_setup(test_print_and_read_back, set_up),
        cmocka_unit_test_setup(test_file, set_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
