#include "weights/ct2.c"

#include "files.h"

/* The parts of a fuzz seed (tests/fuzz/ct2_fuzz.c). */
struct seed {
    char *p;
    const char *main;
    size_t n_main;
    oto_side_file side[2];
    size_t n_side;
};

static struct seed load_parts(const char *name)
{
    size_t n;
    struct seed s = {.p = load_seed(name, &n)};
    const uint8_t *b = (const uint8_t *)s.p;
    size_t config = (size_t)(b[1] | b[2] << 8), vocabulary = (size_t)(b[3] | b[4] << 8);
    if (b[0] & 1) {
        s.side[s.n_side++] = (oto_side_file){"config.json", {s.p + 5, config}};
    }
    if (b[0] & 2) {
        s.side[s.n_side++] = (oto_side_file){b[0] & 4 ? "vocabulary.txt" : "vocabulary.json",
                                             {s.p + 5 + config, vocabulary}};
    }
    s.main = s.p + 5 + config + vocabulary;
    s.n_main = n - 5 - config - vocabulary;
    return s;
}

static int parse_seed(const struct seed *s, oto_weights **w, oto_err *e)
{
    return oto_weights_parse(&oto_format_ct2, "input", (oto_slice){s->main, s->n_main}, s->side,
                             s->n_side, w, e);
}

static bool string_is(const oto_weights *w, const char *key, size_t i, const char *want)
{
    oto_slice s;
    return oto_weights_array_str(w, key, i, &s) && s.n == strlen(want) && !memcmp(s.p, want, s.n);
}

static void reads_tensors_scales_and_aliases(void **state)
{
    (void)state;
    oto_weights *w;
    const oto_tensor *t;
    float row[4];
    struct seed s = load_parts("ct2/all");
    ASSERT_OK(parse_seed(&s, &w, e_));
    assert_string_equal(oto_weights_format(w), "ct2");
    assert_int_equal(oto_weights_count(w), 8);
    ASSERT_OK(
        oto_weights_need(w, "encoder/conv1/weight", OTO_T_F16, 3, (int64_t[]){2, 3, 2}, &t, e_));
    /* an i8 matrix has a scale for each row, an i16 one for all: w = q / scale */
    ASSERT_OK(oto_weights_need(w, "decoder/w", OTO_T_I8, 2, (int64_t[]){2, 4}, &t, e_));
    assert_int_equal(t->n_scale, 2);
    oto_tensor_row_f32(t, 0, row);
    assert_true(row[0] == '1' && row[3] == '4');
    oto_tensor_row_f32(t, 1, row);
    assert_true(row[0] == (float)'5' / 1.125f);
    ASSERT_OK(oto_weights_need(w, "decoder/k", OTO_T_I16, 2, NULL, &t, e_));
    assert_int_equal(t->n_scale, 1);
    assert_ptr_equal(oto_weights_find(w, "decoder/tied"), oto_weights_find(w, "decoder/w"));
    assert_int_equal(oto_weights_find(w, "flag")->rank, 0);
    assert_null(oto_weights_find(w, "decoder/none"));
    oto_weights_close(w);
    free(s.p);
}

static void reads_the_files_beside_it(void **state)
{
    (void)state;
    oto_weights *w;
    int64_t i;
    struct seed s = load_parts("ct2/all");
    ASSERT_OK(parse_seed(&s, &w, e_));
    assert_int_equal(oto_weights_array_len(w, "ct2.alignment_heads"), 4);
    assert_true(oto_weights_array_int(w, "ct2.alignment_heads", 3, &i) && i == 4);
    assert_true(oto_weights_array_int(w, "ct2.lang_ids", 1, &i) && i == 50260);
    assert_int_equal(oto_weights_array_len(w, "ct2.suppress_ids"), 2);
    assert_int_equal(oto_weights_array_len(w, "ct2.vocabulary"), 3);
    assert_true(string_is(w, "ct2.vocabulary", 1,
                          "\xc4\xa0"
                          "b"));
    oto_weights_close(w);
    free(s.p);
    s = load_parts("ct2/text");
    ASSERT_OK(parse_seed(&s, &w, e_));
    assert_int_equal(oto_weights_array_len(w, "ct2.vocabulary"), 3);
    assert_true(string_is(w, "ct2.vocabulary", 0, "a"));
    assert_true(string_is(w, "ct2.vocabulary", 2,
                          "\xc4\xa0"
                          "c"));
    oto_weights_close(w);
    free(s.p);
}

static void reads_version_3(void **state)
{
    (void)state;
    oto_weights *w;
    float row[4];
    struct seed s = load_parts("ct2/v3");
    ASSERT_OK(parse_seed(&s, &w, e_));
    oto_tensor_row_f32(oto_weights_find(w, "decoder/w"), 0, row);
    assert_true(row[3] == '4');
    oto_weights_close(w);
    free(s.p);
}

static void refuses_seed(const char *name, int code, const char *words)
{
    oto_weights *w;
    oto_err e = {0};
    struct seed s = load_parts(name);
    assert_int_equal(parse_seed(&s, &w, &e), code);
    if (!strstr(e.text, words)) {
        fail_msg("%s: \"%s\" does not say \"%s\"", name, e.text, words);
    }
    free(s.p);
}

static void refuses_what_is_wrong(void **state)
{
    (void)state;
    refuses_seed("ct2/no_scale", OTO_E_INPUT, "decoder/w_scale is missing");
    refuses_seed("ct2/zero_scale", OTO_E_INPUT, "not a positive number");
    refuses_seed("ct2/bad_alias", OTO_E_INPUT, "alias x");
    refuses_seed("ct2/bad_config", OTO_E_INPUT, "suppress_ids");
    refuses_seed("ct2/bad_vocabulary", OTO_E_INPUT, "vocabulary.json");
    refuses_seed("ct2/short", OTO_E_INPUT, "truncated");
    refuses_seed("ct2/v7", OTO_E_UNSUPPORTED, "version 7");
    refuses_seed("ct2/empty_dimension", OTO_E_INPUT, "");
}

static void damage_is_refused_or_harmless(void **state)
{
    (void)state;
    struct seed s = load_parts("ct2/all");
    char *main = malloc(s.n_main);
    assert_non_null(main);
    memcpy(main, s.main, s.n_main);
    refuses_every_cut(&oto_format_ct2, main, s.n_main);
    survives_every_changed_byte(&oto_format_ct2, main, s.n_main);
    free(main);
    free(s.p);
}

/* ---- real models */

static double sum_of(const oto_tensor *t)
{
    double sum = 0;
    int64_t n = oto_tensor_row_len(t);
    float *row = malloc((size_t)n * sizeof *row);
    assert_non_null(row);
    for (int64_t r = 0; r < oto_tensor_rows(t); r++) {
        oto_tensor_row_f32(t, r, row);
        for (int64_t i = 0; i < n; i++) {
            sum += (double)row[i];
        }
    }
    free(row);
    return sum;
}

/* Sums were taken with numpy. */
static const struct real {
    const char *model;
    size_t n_tensors, n_vocabulary;
    int n_heads;
    struct {
        const char *name;
        int rank;
        int64_t dim[3];
        double sum;
    } tensors[5];
} reals[] = {
    {"whisper-tiny.en",
     148,
     51864,
     16,
     {{"encoder/conv1/weight", 3, {384, 80, 3}, 77.03080528974533},
      {"decoder/embeddings/weight", 2, {51864, 384}, 47954.70336383581},
      {"encoder/layer_norm/gamma", 1, {384}, 490.24658203125},
      {"decoder/layer_0/self_attention/linear_0/weight", 2, {1152, 384}, -3.538937032222748},
      {"decoder/position_encodings/encodings", 2, {448, 384}, 94.17953193187714}}},
    {"whisper-base",
     214,
     51865,
     16,
     {{"encoder/conv1/weight", 3, {512, 80, 3}, 89.30438166856766},
      {"decoder/embeddings/weight", 2, {51865, 512}, 517946.0272909999},
      {"encoder/layer_norm/gamma", 1, {512}, 691.71728515625},
      {"decoder/layer_0/self_attention/linear_0/weight", 2, {1536, 512}, 8.270068526268005},
      {"decoder/position_encodings/encodings", 2, {448, 512}, -14.070241034030914}}},
};

static void check_real(const struct real *m, const char *path)
{
    oto_weights *w;
    const oto_tensor *t;
    ASSERT_OK(oto_weights_open(path, &w, e_));
    assert_string_equal(oto_weights_format(w), "ct2");
    assert_int_equal(oto_weights_count(w), m->n_tensors);
    assert_int_equal(oto_weights_array_len(w, "ct2.vocabulary"), m->n_vocabulary);
    assert_int_equal(oto_weights_array_len(w, "ct2.alignment_heads"), m->n_heads);
    for (size_t i = 0; i < OTO_COUNT(m->tensors); i++) {
        ASSERT_OK(oto_weights_need(w, m->tensors[i].name, OTO_T_F16, m->tensors[i].rank,
                                   m->tensors[i].dim, &t, e_));
        double d = sum_of(t) - m->tensors[i].sum;
        if (d < -1e-6 || d > 1e-6) {
            fail_msg("%s: the sum is off by %g", m->tensors[i].name, d);
        }
    }
    assert_ptr_equal(oto_weights_find(w, "decoder/projection/weight"),
                     oto_weights_find(w, "decoder/embeddings/weight"));
    oto_weights_close(w);
}

static void the_real_models_are_whole(void **state)
{
    (void)state;
    int found = 0;
    for (size_t i = 0; i < OTO_COUNT(reals); i++) {
        char path[500];
        snprintf(path, sizeof path, "%s/%s/source/model.bin", models_dir(), reals[i].model);
        if (access(path, R_OK) != 0) {
            print_message("%s is missing\n", path);
            continue;
        }
        check_real(&reals[i], path);
        *strrchr(path, '/') = 0; /* the folder means the same */
        check_real(&reals[i], path);
        found++;
    }
    if (!found) {
        skip();
    }
}

/* Every value of the int8 form is within half a step of the original. */
static void compare_quantised(const oto_weights *f16, const oto_weights *i8)
{
    int n = 0;
    for (size_t k = 0; k < oto_weights_count(i8); k++) {
        const oto_tensor *q = oto_weights_at(i8, k), *t = oto_weights_find(f16, q->name);
        if (!q->scale) {
            continue;
        }
        assert_non_null(t);
        assert_int_equal(q->n_scale, t->dim[0]);
        int64_t len = oto_tensor_row_len(q);
        float *a = malloc(2 * (size_t)len * sizeof *a), *b = a + len;
        assert_non_null(a);
        for (int64_t r = 0; r < oto_tensor_rows(q); r += 97) {
            oto_tensor_row_f32(q, r, a);
            oto_tensor_row_f32(t, r, b);
            for (int64_t i = 0; i < len; i++) {
                assert_true(fabsf(a[i] - b[i]) * q->scale[r] < 0.501f);
            }
        }
        free(a);
        n++;
    }
    assert_int_equal(n, 4 * 4 + 4 * 7 + 1); /* of encoder and decoder layers, and the embedding */
}

static void an_int8_model_is_the_same(void **state)
{
    (void)state;
    char source[500], dir[] = "/tmp/ct2.XXXXXX", line[1200];
    const char *python = python_with("numpy");
    snprintf(source, sizeof source, "%s/whisper-tiny.en/source", models_dir());
    if (!python || access(source, R_OK) != 0) {
        print_message("no Python with numpy (OTO_PYTHON), or no %s\n", source);
        skip();
    }
    assert_non_null(mkdtemp(dir));
    snprintf(line, sizeof line, "%s %s/tests/reference/quantise_ct2.py %s %s", python,
             OTO_SOURCE_DIR, source, dir);
    assert_int_equal(system(line), 0);
    oto_weights *f16, *i8;
    ASSERT_OK(oto_weights_open(source, &f16, e_));
    ASSERT_OK(oto_weights_open(dir, &i8, e_));
    assert_true(oto_weights_bytes(i8) < oto_weights_bytes(f16) * 6 / 10);
    compare_quantised(f16, i8);
    const oto_tensor *tied = oto_weights_find(i8, "decoder/projection/weight");
    assert_true(tied && tied->type == OTO_T_I8 && tied->n_scale == 51864);
    oto_weights_close(i8);
    oto_weights_close(f16);
    snprintf(line, sizeof line, "rm -r %s", dir);
    assert_int_equal(system(line), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tensors_scales_and_aliases),
        cmocka_unit_test(reads_the_files_beside_it),
        cmocka_unit_test(reads_version_3),
        cmocka_unit_test(refuses_what_is_wrong),
        cmocka_unit_test(damage_is_refused_or_harmless),
        cmocka_unit_test(the_real_models_are_whole),
        cmocka_unit_test(an_int8_model_is_the_same),
    };
    return cmocka_run_group_tests_name("weights/ct2", tests, NULL, NULL);
}
