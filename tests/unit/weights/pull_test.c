/* FunASR's punctuation models, which are folders of three files without known checksums, from a
 * server of this machine that stalls, cuts and lies (tests/reference/sources.py); what came is
 * opened as the program opens it. */
#include "weights/sources.h"

#include "unit/models/checkpoint.h"
#include "unit/models/seeded.h"
#include "unit/weights/files.h"
#include "unit/weights/hub.h"

#include <dirent.h>

static const struct {
    const char *name, *repo;
    int shift;
} folders[] = {
    {"ct-punc", "iic/punc_ct-transformer_zh-cn-common-vocab272727-pytorch", 0},
    {"ct-punc-realtime", "iic/punc_ct-transformer_zh-cn-common-vad_realtime-vocab272727", 5},
};
static const char *const files[] = {"config.yaml", "tokens.json", "model.pt"};

static char tmp[100], data[200], root[200];
static hub server;

static void put_path(char out[600], size_t i, const char *file)
{
    snprintf(out, 600, "%s/%s/resolve/master/%s", data, folders[i].repo, file);
}

static int set_up(void **state)
{
    char gguf[200], folder[600];

    (void)state;
    oto_log_setup(OTO_LOG_ERROR, false);
    snprintf(tmp, sizeof tmp, "/tmp/pull.XXXXXX");
    assert_non_null(mkdtemp(tmp));
    snprintf(data, sizeof data, "%s/data", tmp);
    snprintf(root, sizeof root, "%s/models", tmp);
    snprintf(gguf, sizeof gguf, "%s/gguf", tmp);
    for (size_t i = 0; i < OTO_COUNT(folders); i++) {
        put_path(folder, i, "");
        assert_true(seeded_ct(gguf, 1, NULL, 40));
        assert_true(checkpoint_punctuation(gguf, folder, folders[i].shift));
    }
    return hub_start(data, &server);
}

static int tear_down(void **state)
{
    (void)state;
    hub_stop(&server);
    return oto_remove_tree(tmp, NULL);
}

static int empty(void **state)
{
    (void)state;
    return oto_remove_tree(root, NULL);
}

static oto_catalogue_options options(const char *how)
{
    static char address[100];

    snprintf(address, sizeof address, "http://127.0.0.1:%d/%s", server.port, how);
    return (oto_catalogue_options){.root = root, .hub = address, .modelscope = address};
}

/* Entries of a folder, hidden ones too; -1: there is no such folder. */
static int count_in(const char *dir)
{
    DIR *d = opendir(dir);
    int n = -2;

    if (d == NULL)
        return -1;
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static void assert_in_place(size_t i)
{
    char source[4096];
    int64_t shift = -1;
    oto_catalogue_options o = {.root = root, .offline = true};
    oto_weights *w;

    ASSERT_OK(oto_catalogue_verify(folders[i].name, &o, e_));
    ASSERT_OK(oto_catalogue_source(folders[i].name, &o, source, sizeof source, e_));
    assert_int_equal(count_in(source), 4); /* the files and SHA256SUMS */
    assert_int_equal(count_in(root), 1);
    ASSERT_OK(oto_weights_open(source, &w, e_));
    assert_int_equal(oto_weights_array_len(w, "ct.vocab"), 40);
    assert_int_equal(oto_weights_array_len(w, "ct.punc"), 6);
    assert_true(oto_weights_int(w, "ct.shift", &shift));
    assert_int_equal(shift, folders[i].shift);
    oto_weights_close(w);
}

static void pulls_by_name(void **state)
{
    static const char *const how[] = {"ok", "cut", "cut_anew", "untagged", "linked", "busy"};

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(folders); i++)
        for (size_t k = 0; k < OTO_COUNT(how); k++) {
            oto_catalogue_options o = options(how[k]);

            assert_int_equal(empty(NULL), 0);
            ASSERT_OK(oto_catalogue_pull(folders[i].name, &o, e_));
            assert_in_place(i);
        }
}

static void refuses_what_is_none(void **state)
{
    static const struct {
        const char *how, *words;
        int code;
    } cases[] = {
        {"page", "config.yaml: what came is not kept: is a web page", OTO_E_INPUT},
        {"short", "model.pt: what came is not kept", OTO_E_INPUT},
        {"linked_wrong", "is expected", OTO_E_CHECKSUM},
        {"tagged_wrong", "is expected", OTO_E_CHECKSUM},
        {"missing", "404", OTO_E_UNAVAILABLE},
    };

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(folders); i++)
        for (size_t k = 0; k < OTO_COUNT(cases); k++) {
            oto_err e = {0};
            oto_catalogue_options o = options(cases[k].how);
            const int rc = oto_catalogue_pull(folders[i].name, &o, &e);

            if (rc != cases[k].code || strstr(e.text, cases[k].words) == NULL)
                fail_msg("%s: %d \"%s\"", cases[k].how, rc, e.text);
            assert_int_equal(count_in(root), 0); /* not a byte is kept */
        }
}

static void write_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* One file of the three is something else: nothing opens that is not whole. */
static void one_wrong_file(void **state)
{
    static const struct {
        const char *file, *text, *words;
    } cases[] = {
        {"config.yaml", "  <!DOCTYPE html>", "is a web page"},
        {"config.yaml", "version https://git-lfs.github.com/spec/v1\n", "punc_list"},
        {"tokens.json", "\n<html>", "is a web page"},
        {"tokens.json", "[\"<unk>\", \"a", "tokens.json"},
        {"model.pt", "<html>", "is a web page"},
        {"model.pt", "version https://git-lfs.github.com/spec/v1\n", "model.pt"},
    };

    (void)state;
    for (size_t k = 0; k < OTO_COUNT(cases); k++) {
        char path[600], aside[620];
        oto_err e = {0};
        oto_catalogue_options o = options("ok");

        put_path(path, 0, cases[k].file);
        snprintf(aside, sizeof aside, "%s.aside", path);
        assert_int_equal(rename(path, aside), 0);
        write_text(path, cases[k].text);
        const int rc = oto_catalogue_pull("ct-punc", &o, &e);
        assert_int_equal(rename(aside, path), 0);
        if (rc != OTO_E_INPUT || strstr(e.text, cases[k].words) == NULL)
            fail_msg("%zu: %d \"%s\"", k, rc, e.text);
        assert_int_not_equal(oto_catalogue_verify("ct-punc", &o, NULL), 0);
        ASSERT_OK(oto_catalogue_pull("ct-punc", &o, e_)); /* once the server has the right one */
        assert_in_place(0);
        assert_int_equal(empty(NULL), 0);
    }
}

/* A pull that ended between the last byte of a file and the look at it. */
static void what_was_left_is_looked_at(void **state)
{
    static const char *const texts[] = {"<html>", "version https://git-lfs.github.com/spec/v1\n"};

    (void)state;
    for (size_t k = 0; k < OTO_COUNT(texts); k++) {
        char path[600];
        oto_err e = {0};
        oto_catalogue_options o = options("ok");

        snprintf(path, sizeof path, "%s/.ct-punc.incoming", root);
        ASSERT_OK(oto_mkdirs(path, e_));
        strcat(path, "/model.pt");
        write_text(path, texts[k]);
        assert_int_equal(oto_catalogue_pull("ct-punc", &o, &e), OTO_E_INPUT);
        assert_non_null(strstr(e.text, "model.pt: what came is not kept"));
        ASSERT_OK(oto_catalogue_pull("ct-punc", &o, e_));
        assert_in_place(0);
        assert_int_equal(empty(NULL), 0);
    }
}

/* Somebody's own folder of this name lies where ours comes to be. */
static void leaves_what_is_not_ours(void **state)
{
    char path[600];
    oto_err e = {0};
    oto_catalogue_options o = options("ok");

    (void)state;
    snprintf(path, sizeof path, "%s/ct-punc", root);
    ASSERT_OK(oto_mkdirs(path, e_));
    strcat(path, "/model.pt");
    write_text(path, "theirs");
    assert_int_equal(oto_catalogue_remove("ct-punc", &o, &e), OTO_E_NOT_FOUND);
    ASSERT_OK(oto_catalogue_pull("ct-punc", &o, e_));
    assert_in_place(0);
    ASSERT_OK(oto_catalogue_remove("ct-punc", &o, e_));
    assert_int_not_equal(oto_catalogue_verify("ct-punc", &o, NULL), 0);
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(unlink(path), 0);
    o.hub = "http://127.0.0.1:1"; /* nobody's; the mirror of the other hub is not asked */
    ASSERT_OK(oto_catalogue_pull("ct-punc", &o, e_));
    ASSERT_OK(oto_catalogue_remove("ct-punc", &o, e_));
    assert_int_equal(count_in(root), 0);
}

/* Small files without checksums of other models. */
static void a_page_is_no_settings_file(void **state)
{
    char path[600];
    oto_err e = {0};
    oto_catalogue_options o = options("page");

    (void)state;
    snprintf(path, sizeof path, "%s/Systran/faster-whisper-base.en/resolve/main", data);
    ASSERT_OK(oto_mkdirs(path, e_));
    strcat(path, "/config.json");
    write_text(path, "{}");
    o.modelscope = "http://127.0.0.1:1";
    assert_int_equal(oto_catalogue_pull("whisper-base.en", &o, &e), OTO_E_INPUT);
    assert_non_null(strstr(e.text, "config.json: what came is not kept: is a web page"));
    assert_int_equal(count_in(root), 0);
}

static void takes_a_folder(void **state)
{
    char from[600];
    oto_err e = {0};
    oto_catalogue_options o = {.root = root, .offline = true, .from = from};

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(folders); i++) {
        put_path(from, i, "");
        ASSERT_OK(oto_catalogue_pull(folders[i].name, &o, e_));
        assert_in_place(i);
        assert_int_equal(empty(NULL), 0);
    }
    snprintf(from, sizeof from, "%s", data);
    assert_int_equal(oto_catalogue_pull("ct-punc", &o, &e), OTO_E_NOT_FOUND);
    assert_non_null(strstr(e.text, files[0]));
}

static void finds_a_flipped_byte(void **state)
{
    char source[4096], path[5000];
    oto_catalogue_options o = options("ok");

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(files); i++) {
        FILE *f;
        int c;

        ASSERT_OK(oto_catalogue_pull("ct-punc", &o, e_));
        ASSERT_OK(oto_catalogue_source("ct-punc", &o, source, sizeof source, e_));
        snprintf(path, sizeof path, "%s/%s", source, files[i]);
        f = fopen(path, "r+");
        assert_non_null(f);
        assert_int_equal(fseek(f, 40, SEEK_SET), 0);
        c = fgetc(f);
        assert_int_equal(fseek(f, 40, SEEK_SET), 0);
        assert_int_equal(fputc(c ^ 1, f), c ^ 1);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(oto_catalogue_verify("ct-punc", &o, NULL), OTO_E_CHECKSUM);
    }
    ASSERT_OK(oto_catalogue_pull("ct-punc", &o, e_));
    assert_in_place(0);
}

int main(void)
{
    if (system("python3 -c 'import http.server' 2>/dev/null") != 0) {
        printf("python3 is missing: no server to fetch from\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(pulls_by_name, empty),
        cmocka_unit_test_setup(refuses_what_is_none, empty),
        cmocka_unit_test_setup(one_wrong_file, empty),
        cmocka_unit_test_setup(what_was_left_is_looked_at, empty),
        cmocka_unit_test_setup(leaves_what_is_not_ours, empty),
        cmocka_unit_test_setup(a_page_is_no_settings_file, empty),
        cmocka_unit_test_setup(takes_a_folder, empty),
        cmocka_unit_test_setup(finds_a_flipped_byte, empty),
    };
    return cmocka_run_group_tests_name("weights/pull", tests, set_up, tear_down);
}
