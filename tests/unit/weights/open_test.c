#include "weights/open.c"

#include "files.h"

#include <sys/mman.h>

static char dir[100];

static int set_up(void **state)
{
    (void)state;
    strcpy(dir, "/tmp/open.XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    char line[200];
    snprintf(line, sizeof line, "rm -r %s", dir);
    return system(line);
}

static void put_file(const char *name, const void *p, size_t n, char path[200])
{
    snprintf(path, 200, "%s/%s", dir, name);
    ASSERT_OK(oto_write_file(path, p, n, e_));
}

static void expect_failure(const char *path, int code, const char *words)
{
    oto_weights *w;
    oto_err e = {0};
    assert_int_equal(oto_weights_open(path, &w, &e), code);
    assert_int_equal(strncmp(e.text, path, strlen(path)), 0); /* it names the file */
    if (!strstr(e.text, words)) {
        fail_msg("\"%s\" does not say \"%s\"", e.text, words);
    }
}

/* What people pass by mistake is called by its name. */
static void says_what_the_file_is_instead(void **state)
{
    (void)state;
    static const struct {
        const char *bytes, *words;
    } files[] = {
        {"", "empty"},
        {"PK\003\004 and so on", "end of the archive is missing"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:", "Git LFS pointer"},
        {"<!DOCTYPE html><html></html>", "web page"},
        {"RIFF....WAVEfmt ", "sound file"},
        {"12345678{\"__metadata__\": 1}", "safetensors"},
        {"hello, this is some text", "not a model file"},
        {"x", "not a model file"},
    };
    char path[200];
    for (size_t i = 0; i < OTO_COUNT(files); i++) {
        put_file("file", files[i].bytes, strlen(files[i].bytes), path);
        expect_failure(path, OTO_E_INPUT, files[i].words);
    }
    put_file("file", "\x80\x02pickle", 8, path);
    expect_failure(path, OTO_E_INPUT, "pickle");
}

static void says_when_there_is_nothing(void **state)
{
    (void)state;
    char path[200];
    snprintf(path, sizeof path, "%s/absent", dir);
    expect_failure(path, OTO_E_NOT_FOUND, "No such file");
    snprintf(path, sizeof path, "%s/folder", dir);
    ASSERT_OK(oto_mkdirs(path, e_));
    expect_failure(path, OTO_E_NOT_FOUND, "model.bin");
}

static void opens_by_content_not_by_name(void **state)
{
    (void)state;
    static const char *const seeds[][2] = {{"gguf/all", "gguf"}, {"ggml/all", "ggml"}};
    for (size_t i = 0; i < OTO_COUNT(seeds); i++) {
        size_t n;
        char path[200], *p = load_seed(seeds[i][0], &n);
        oto_weights *w;
        put_file("model.bin", p, n, path);
        free(p);
        ASSERT_OK(oto_weights_open(path, &w, e_));
        assert_string_equal(oto_weights_format(w), seeds[i][1]);
        assert_string_equal(oto_weights_path(w), path);
        assert_int_equal(oto_weights_bytes(w), n);
        assert_null(oto_weights_at(w, oto_weights_count(w)));
        oto_weights_close(w);
        ASSERT_OK(oto_weights_open(dir, &w, e_)); /* the folder's model.bin */
        assert_string_equal(oto_weights_format(w), seeds[i][1]);
        oto_weights_close(w);
        unlink(path);
    }
    oto_weights_close(NULL);
}

static void a_descriptor_must_hold_gguf(void **state)
{
    (void)state;
    size_t n;
    char *p = load_seed("ggml/all", &n);
    oto_weights *w;
    oto_err e = {0};
    int fd = memfd_create("x", MFD_CLOEXEC);
    assert_true(fd >= 0 && write(fd, p, n) == (ssize_t)n);
    assert_int_equal(oto_weights_open_fd(fd, "packed", &w, &e), OTO_E_INPUT);
    assert_non_null(strstr(e.text, "packed: not a GGUF file"));
    close(fd);
    assert_int_not_equal(oto_weights_open_fd(-1, "packed", &w, &e), 0);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_the_file_is_instead),
        cmocka_unit_test(says_when_there_is_nothing),
        cmocka_unit_test(opens_by_content_not_by_name),
        cmocka_unit_test(a_descriptor_must_hold_gguf),
    };
    return cmocka_run_group_tests_name("weights/open", tests, set_up, tear_down);
}
