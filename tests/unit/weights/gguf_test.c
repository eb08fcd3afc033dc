#include "weights/gguf.c"

#include "files.h"

#include <math.h>
#include <sys/mman.h>

static void reads_every_kind_of_value(void **state)
{
    (void)state;
    oto_weights *w;
    int64_t i;
    double f;
    oto_slice s;
    ASSERT_OK(oto_weights_open(OTO_SOURCE_DIR "/tests/fuzz/corpus/gguf/all", &w, e_));
    assert_string_equal(oto_weights_format(w), "gguf");
    static const struct {
        const char *key;
        int64_t v;
    } ints[] = {{"u8", 7},   {"i8", -1},  {"u16", 513}, {"i16", -1},
                {"u32", 9},  {"i32", -9}, {"bool", 1},  {"u64", (int64_t)1 << 40},
                {"i64", -5}, {NULL, 0}};
    for (size_t k = 0; ints[k].key; k++) {
        assert_true(oto_weights_int(w, ints[k].key, &i));
        assert_int_equal(i, ints[k].v);
        assert_true(oto_weights_f32(w, ints[k].key, &f)); /* a whole number is a number */
        assert_true(f == (double)ints[k].v);
    }
    assert_true(oto_weights_f32(w, "f32", &f) && f == 0.5);
    assert_true(oto_weights_f32(w, "f64", &f) && f == 2.5);
    assert_false(oto_weights_int(w, "f32", &i));
    assert_false(oto_weights_int(w, "tokens", &i));
    assert_true(oto_weights_str(w, "general.architecture", &s));
    assert_int_equal(s.n, 7);
    assert_memory_equal(s.p, "whisper", 7);
    assert_int_equal(oto_weights_array_len(w, "tokens"), 3);
    assert_true(oto_weights_array_str(w, "tokens", 1, &s) && s.n == 0);
    assert_true(oto_weights_array_str(w, "tokens", 2, &s) && s.n == 2 && !memcmp(s.p, "bc", 2));
    assert_false(oto_weights_array_str(w, "tokens", 3, &s));
    assert_false(oto_weights_array_int(w, "tokens", 0, &i));
    assert_true(oto_weights_array_int(w, "ints", 2, &i) && i == 3);
    assert_true(oto_weights_array_f32(w, "floats", 1, &f) && f == 2);
    assert_int_equal(oto_weights_array_len(w, "absent"), 0);
    oto_weights_close(w);
}

static void turns_the_dimensions_round(void **state)
{
    (void)state;
    oto_weights *w;
    const oto_tensor *t;
    float row[4];
    ASSERT_OK(oto_weights_open(OTO_SOURCE_DIR "/tests/fuzz/corpus/gguf/all", &w, e_));
    assert_int_equal(oto_weights_count(w), 9);
    ASSERT_OK(oto_weights_need(w, "w", OTO_T_F32, 2, (int64_t[]){2, 4}, &t, e_));
    oto_tensor_row_f32(t, 1, row);
    for (int i = 0; i < 4; i++) {
        assert_true(row[i] == (float)(i + 4) / 8);
    }
    oto_err e = {0};
    assert_int_equal(oto_weights_need(w, "w", -1, 2, (int64_t[]){4, 2}, &t, &e), OTO_E_INPUT);
    assert_non_null(strstr(e.text, "[2×4]"));
    assert_non_null(strstr(e.text, "[4×2]"));
    assert_int_equal(oto_weights_need(w, "w", OTO_T_F16, -1, NULL, &t, &e), OTO_E_INPUT);
    assert_int_equal(oto_weights_need(w, "v", -1, -1, NULL, &t, &e), OTO_E_INPUT);
    oto_weights_close(w);
}

static void refuses_what_is_wrong(void **state)
{
    (void)state;
    refuses(&oto_format_gguf, "gguf/align_odd", OTO_E_INPUT, "general.alignment is 3");
    refuses(&oto_format_gguf, "gguf/nested", OTO_E_UNSUPPORTED, "array of type 9");
    refuses(&oto_format_gguf, "gguf/huge_counts", OTO_E_INPUT, "claims");
    refuses(&oto_format_gguf, "gguf/huge_dims", OTO_E_INPUT, "tensor w");
    refuses(&oto_format_gguf, "gguf/twice", OTO_E_INPUT, "general.architecture is there twice");
    refuses(&oto_format_gguf, "gguf/short", OTO_E_INPUT, "past the end");
    refuses(&oto_format_gguf, "gguf/none", OTO_E_INPUT, "no tensors");
    size_t n;
    char *p = load_seed("gguf/all", &n);
    oto_err e = {0};
    p[4] = 1;
    assert_int_equal(parse_copy(&oto_format_gguf, p, n, &e), OTO_E_UNSUPPORTED);
    memcpy(p + 4, "\0\0\0\3", 4);
    assert_int_equal(parse_copy(&oto_format_gguf, p, n, &e), OTO_E_UNSUPPORTED);
    assert_non_null(strstr(e.text, "big endian"));
    free(p);
}

static void damage_is_refused_or_harmless(void **state)
{
    (void)state;
    size_t n;
    char *p = load_seed("gguf/all", &n);
    /* behind the last tensor's 3 bytes comes only padding */
    refuses_every_cut(&oto_format_gguf, p, n - 29);
    survives_every_changed_byte(&oto_format_gguf, p, n);
    free(p);
}

/* ---- writing */

#define ROWS 3
#define COLS 64

static const struct {
    const char *name;
    oto_ttype type;
    size_t row_bytes;
    const char *gguf_name;
} kinds[] = {
    {"f32", OTO_T_F32, COLS * 4, "F32"},          {"f16", OTO_T_F16, COLS * 2, "F16"},
    {"bf16", OTO_T_BF16, COLS * 2, "BF16"},       {"i8", OTO_T_I8, COLS, "I8"},
    {"i16", OTO_T_I16, COLS * 2, "I16"},          {"i32", OTO_T_I32, COLS * 4, "I32"},
    {"q4_0", OTO_T_Q4_0, COLS / 32 * 18, "Q4_0"}, {"q4_1", OTO_T_Q4_1, COLS / 32 * 20, "Q4_1"},
    {"q5_0", OTO_T_Q5_0, COLS / 32 * 22, "Q5_0"}, {"q5_1", OTO_T_Q5_1, COLS / 32 * 24, "Q5_1"},
    {"q8_0", OTO_T_Q8_0, COLS / 32 * 34, "Q8_0"}};

/* Bytes that make finite numbers of middling size in every type: every second one, where f32, f16,
 * bf16 and the blocks' scales have their exponents, is 0x38 … 0x3b. */
static uint8_t noise[OTO_COUNT(kinds)][ROWS * COLS * 4];

static void fill_noise(void)
{
    uint32_t x = 7;
    for (size_t k = 0; k < OTO_COUNT(kinds); k++) {
        for (size_t i = 0; i < sizeof noise[k]; i++) {
            x = x * 1664525u + 1013904223u;
            noise[k][i] = (uint8_t)(i & 1 ? 0x38 | (x >> 24 & 3) : x >> 24);
        }
    }
}

static oto_gguf_writer *make_writer(void)
{
    oto_gguf_writer *w = NULL;
    const oto_slice words[] = {{"one", 3}, {"", 0}, {"\xff\x00z", 3}};
    const int64_t dim[] = {ROWS, COLS}, cube[] = {2, 3, 4, 5};
    static const float cubed[120] = {1.5f};
    fill_noise();
    ASSERT_OK(oto_gguf_writer_new(&w, e_));
    ASSERT_OK(oto_gguf_put_str(w, "general.architecture", "test", e_));
    ASSERT_OK(oto_gguf_put_int(w, "an.int", -1234567890123, e_));
    ASSERT_OK(oto_gguf_put_f32(w, "a.float", 0.25f, e_));
    ASSERT_OK(oto_gguf_put_ints(w, "ints", (int32_t[]){3, -4, INT32_MAX}, 3, e_));
    ASSERT_OK(oto_gguf_put_ints(w, "no.ints", NULL, 0, e_));
    ASSERT_OK(oto_gguf_put_strs(w, "words", words, 2, e_));
    for (size_t k = 0; k < OTO_COUNT(kinds); k++) {
        ASSERT_OK(oto_gguf_put_tensor(w, kinds[k].name, kinds[k].type, 2, dim, noise[k],
                                      ROWS * kinds[k].row_bytes, e_));
    }
    ASSERT_OK(oto_gguf_put_tensor(w, "cube", OTO_T_F32, 4, cube, cubed, sizeof cubed, e_));
    ASSERT_OK(oto_gguf_put_tensor(w, "empty", OTO_T_F32, 1, (int64_t[]){0}, NULL, 0, e_));
    return w;
}

static void check_written(const oto_weights *w)
{
    int64_t i;
    double f;
    oto_slice s;
    const oto_tensor *t;
    assert_true(oto_weights_int(w, "an.int", &i) && i == -1234567890123);
    assert_true(oto_weights_f32(w, "a.float", &f) && f == 0.25);
    assert_true(oto_weights_array_int(w, "ints", 2, &i) && i == INT32_MAX);
    assert_int_equal(oto_weights_array_len(w, "no.ints"), 0);
    assert_true(oto_weights_array_str(w, "words", 0, &s) && s.n == 3 && !memcmp(s.p, "one", 3));
    for (size_t k = 0; k < OTO_COUNT(kinds); k++) {
        ASSERT_OK(oto_weights_need(w, kinds[k].name, (int)kinds[k].type, 2, (int64_t[]){ROWS, COLS},
                                   &t, e_));
        assert_int_equal((uintptr_t)t->data % 64, 0);
        assert_memory_equal(t->data, noise[k], ROWS * kinds[k].row_bytes);
    }
    ASSERT_OK(oto_weights_need(w, "cube", OTO_T_F32, 4, (int64_t[]){2, 3, 4, 5}, &t, e_));
    ASSERT_OK(oto_weights_need(w, "empty", OTO_T_F32, 1, (int64_t[]){0}, &t, e_));
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    char dir[] = "/tmp/gguf.XXXXXX", path[100], line[200];
    oto_weights *w;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/x.gguf", dir);
    oto_gguf_writer *out = make_writer();
    ASSERT_OK(oto_gguf_finish(out, path, e_));
    ASSERT_OK(oto_weights_open(path, &w, e_));
    check_written(w);
    oto_weights_close(w);

    int fd = memfd_create("packed", MFD_CLOEXEC);
    assert_true(fd >= 0);
    ASSERT_OK(oto_gguf_finish_fd(out, fd, e_)); /* twice, and the same */
    ASSERT_OK(oto_weights_open_fd(fd, "packed", &w, e_));
    close(fd);
    check_written(w);
    oto_weights_close(w);
    oto_gguf_writer_free(out);
    snprintf(line, sizeof line, "test $(ls -A %s | wc -l) = 1 && rm -r %s", dir, dir);
    assert_int_equal(system(line), 0); /* no temporary file is left */
}

static void a_failed_write_leaves_the_old_file(void **state)
{
    (void)state;
    char dir[] = "/tmp/gguf.XXXXXX", path[100], line[200];
    oto_err e = {0};
    assert_non_null(mkdtemp(dir));
    oto_gguf_writer *out = make_writer();
    assert_int_equal(oto_gguf_finish(out, "/nowhere/x.gguf", &e), OTO_E_NOT_FOUND);
    assert_non_null(strstr(e.text, "/nowhere/x.gguf"));
    snprintf(path, sizeof path, "%s/x.gguf", dir);
    snprintf(line, sizeof line, "mkdir -p %s/keep", path); /* a folder cannot be replaced */
    assert_int_equal(system(line), 0);
    assert_true(oto_gguf_finish(out, path, &e) != 0);
    oto_gguf_writer_free(out);
    snprintf(line, sizeof line, "test -d %s/keep && test $(ls -A %s | wc -l) = 1 && rm -r %s", path,
             dir, dir);
    assert_int_equal(system(line), 0);
}

static void the_writer_refuses_nonsense(void **state)
{
    (void)state;
    oto_gguf_writer *w = make_writer();
    const int64_t dim[] = {2, 3};
    float v[6] = {0};
    assert_int_equal(oto_gguf_put_int(w, "an.int", 1, NULL), OTO_E_INTERNAL);
    assert_int_equal(oto_gguf_put_tensor(w, "f32", OTO_T_F32, 2, dim, v, 24, NULL), OTO_E_INTERNAL);
    assert_int_equal(oto_gguf_put_tensor(w, "x", OTO_T_F32, 2, dim, v, 20, NULL), OTO_E_INTERNAL);
    assert_int_equal(oto_gguf_put_tensor(w, "x", OTO_T_Q8_0, 2, dim, v, 24, NULL), OTO_E_INTERNAL);
    oto_gguf_writer_free(w);
}

/* The gguf package must read our file, and its numbers must be ours. */
static void the_reference_reads_it_too(void **state)
{
    (void)state;
    char dir[] = "/tmp/gguf.XXXXXX", path[100], line[500];
    const char *python = python_with("gguf");
    if (!python) {
        print_message("no Python with the gguf package (OTO_PYTHON)\n");
        skip();
    }
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/x.gguf", dir);
    oto_gguf_writer *out = make_writer();
    ASSERT_OK(oto_gguf_finish(out, path, e_));
    oto_gguf_writer_free(out);
    snprintf(line, sizeof line, "%s %s/tests/reference/read_gguf.py %s %s/x.f32 > %s/x.txt", python,
             OTO_SOURCE_DIR, path, dir, dir);
    assert_int_equal(system(line), 0);

    snprintf(line, sizeof line, "%s/x.txt", dir);
    FILE *f = fopen(line, "r");
    char text[2000] = "", want[100];
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof text - 1, f) > 0);
    fclose(f);
    assert_non_null(strstr(text, "an.int -1234567890123\n"));
    assert_non_null(strstr(text, "a.float 0.25\n"));
    assert_non_null(strstr(text, "ints 3 -4 2147483647\n"));
    assert_non_null(strstr(text, "words one \n"));
    assert_non_null(strstr(text, "cube F32 2 3 4 5\n"));

    oto_weights *w;
    oto_map m;
    size_t at = 0;
    snprintf(line, sizeof line, "%s/x.f32", dir);
    ASSERT_OK(oto_map_open(line, &m, e_));
    ASSERT_OK(oto_weights_open(path, &w, e_));
    for (size_t k = 0; k < OTO_COUNT(kinds); k++) {
        snprintf(want, sizeof want, "%s %s %d %d\n", kinds[k].name, kinds[k].gguf_name, ROWS, COLS);
        assert_non_null(strstr(text, want));
        for (int r = 0; r < ROWS; r++, at += COLS * sizeof(float)) {
            float row[COLS], theirs[COLS];
            assert_true(at + sizeof theirs <= m.n);
            memcpy(theirs, m.p + at, sizeof theirs);
            oto_tensor_row_f32(oto_weights_find(w, kinds[k].name), r, row);
            for (int c = 0; c < COLS; c++) {
                if (fabsf(row[c] - theirs[c]) > 1e-6f * fabsf(theirs[c])) {
                    fail_msg("%s[%d][%d]: %g, the reference has %g", kinds[k].name, r, c,
                             (double)row[c], (double)theirs[c]);
                }
            }
        }
    }
    oto_weights_close(w);
    oto_map_close(&m);
    snprintf(line, sizeof line, "rm -r %s", dir);
    assert_int_equal(system(line), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind_of_value),
        cmocka_unit_test(turns_the_dimensions_round),
        cmocka_unit_test(refuses_what_is_wrong),
        cmocka_unit_test(damage_is_refused_or_harmless),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_failed_write_leaves_the_old_file),
        cmocka_unit_test(the_writer_refuses_nonsense),
        cmocka_unit_test(the_reference_reads_it_too),
    };
    return cmocka_run_group_tests_name("weights/gguf", tests, NULL, NULL);
}
