#include "weights/onnx.c"

#include "files.h"
#include "unit/models/seeded.h"

#include <math.h>

/* Seeds are those of onnx_fuzz.c: flags, length of a file beside it, that file, model.onnx. */
typedef struct {
    char *p; /* the whole seed */
    oto_slice main;
    oto_side_file side;
    size_t n_side;
} seed;

static seed load(const char *name)
{
    char path[100];
    size_t n;
    seed s;
    snprintf(path, sizeof path, "onnx/%s", name);
    s.p = load_seed(path, &n);
    const size_t text = (size_t)(uint8_t)s.p[1] | (size_t)(uint8_t)s.p[2] << 8;
    s.n_side = (s.p[0] & 3) != 0;
    s.side = (oto_side_file){s.p[0] & 2 ? "model_eb.onnx" : "am.mvn", {s.p + 3, text}};
    s.main = (oto_slice){s.p + 3 + text, n - 3 - text};
    return s;
}

static int parse(const seed *s, oto_weights **w, oto_err *e)
{
    return oto_weights_parse(&oto_format_onnx, "input", s->main, &s->side, s->n_side, w, e);
}

static void assert_row(const oto_weights *w, const char *name, int64_t r, const float *row, int n)
{
    const oto_tensor *t = oto_weights_find(w, name);
    float is[8];
    if (!t)
        fail_msg("no %s", name);
    assert_int_equal(oto_tensor_row_len(t), n);
    oto_tensor_row_f32(t, r, is);
    for (int i = 0; i < n; i++)
        if (is[i] != row[i])
            fail_msg("%s: [%d][%d] is %g, not %g", name, (int)r, i, (double)is[i], (double)row[i]);
}

static void reads_tensors_layers_and_statistics(void **state)
{
    (void)state;
    oto_weights *w;
    const oto_tensor *t;
    oto_slice kind;
    seed s = load("all");
    ASSERT_OK(parse(&s, &w, e_));
    assert_string_equal(oto_weights_format(w), "onnx");
    /* indices of the graph are not weights; two are of am.mvn */
    assert_int_equal(oto_weights_count(w), 5 + 2);
    assert_null(oto_weights_find(w, "shape"));
    assert_true(oto_weights_str(w, "general.architecture", &kind) &&
                oto_slice_is(kind, "fsmn-vad"));
    /* the layer's matrix, in the checkpoint's orientation */
    ASSERT_OK(oto_weights_need(w, "encoder.out_linear2.linear.weight", OTO_T_F32, 2,
                               (int64_t[]){3, 2}, &t, e_));
    assert_ptr_equal(oto_weights_find(w, "onnx::MatMul_1"), t);
    assert_row(w, "encoder.out_linear2.linear.weight", 0, (float[]){0, 0.375f}, 2);
    assert_row(w, "encoder.out_linear2.linear.weight", 2, (float[]){0.25f, 0.625f}, 2);
    ASSERT_OK(oto_weights_need(w, "encoder.fsmn.0.fsmn_block.conv_left.weight", OTO_T_F32, 4,
                               (int64_t[]){2, 1, 2, 1}, &t, e_));
    ASSERT_OK(oto_weights_need(w, "bias", OTO_T_F32, 1, (int64_t[]){3}, &t, e_));
    ASSERT_OK(oto_weights_need(w, "scalar", OTO_T_F32, 0, NULL, &t, e_));
    assert_row(w, "cmvn.shift", 0, (float[]){-1.5f, 20}, 2);
    assert_row(w, "cmvn.scale", 0, (float[]){0.5f, 0.25f}, 2);
    oto_weights_close(w);
    free(s.p);
}

/* Of each rule one. */
static void finds_the_names_of_layers(void **state)
{
    (void)state;
    static const struct {
        const char *onnx, *name;
    } rows[] = {
        {"onnx::MatMul_0", "decoder.out.weight"}, /* its bias, before its path */
        {"decoder.model.out.bias", "decoder.out.bias"},
        {"onnx::MatMul_1", "e.l.0.w_1.weight"},
        {"onnx::Mul_8", "e.l.0.norm1.weight"},
        {"onnx::Add_9", "e.l.0.norm1.bias"},
        {"n2.weight", "n3.weight"}, /* shared by two norms */
        {"n2.bias", "n3.bias"},
        {"onnx::MatMul_2", "decoder.d.0.feed_forward.w_2.weight"},
    };
    oto_weights *w;
    const oto_tensor *t;
    seed s = load("layers");
    ASSERT_OK(parse(&s, &w, e_));
    for (size_t i = 0; i < OTO_COUNT(rows); i++) {
        t = oto_weights_find(w, rows[i].name);
        if (!t || t != oto_weights_find(w, rows[i].onnx))
            fail_msg("%s is not %s", rows[i].onnx, rows[i].name);
    }
    /* used by two products, but turned once */
    assert_row(w, "square.weight", 0, (float[]){0, 0.25f}, 2);
    /* what says nothing gives no name */
    assert_null(oto_weights_find(w, "e.f.weight"));
    assert_null(oto_weights_find(w, ".weight"));
    oto_weights_close(w);
    free(s.p);
    s = load("circle");
    ASSERT_OK(parse(&s, &w, e_));
    oto_weights_close(w);
    free(s.p);
}

/* (q - zero) · scale, of bytes 0 1 2 130 254 255 as [2][3] and zero points of 128. */
static void reads_8_bits(void **state)
{
    (void)state;
    oto_weights *w;
    seed s = load("eight");
    ASSERT_OK(parse(&s, &w, e_));
    assert_row(w, "real.weight", 0, (float[]){-128 * 0.0f, 2 * 0.0f}, 2);
    assert_row(w, "real.weight", 1, (float[]){-127 * 0.125f, 126 * 0.125f}, 2);
    assert_row(w, "real.weight", 2, (float[]){-126 * 0.25f, 127 * 0.25f}, 2);
    oto_weights_close(w);
    free(s.p);
    s = load("eight_one"); /* for all rows */
    ASSERT_OK(parse(&s, &w, e_));
    assert_int_equal(oto_weights_find(w, "real.weight")->n_scale, 1);
    oto_weights_close(w);
    free(s.p);
}

/* Gates i, o, f, c become i, f, g, o, of each direction and of both biases. */
static void splits_lstms(void **state)
{
    (void)state;
    static const char *const seeds[] = {"lstm", "hot_words"};
    static const struct {
        const char *name;
        float row[4];
    } biases[] = {
        {"predictor.blstm.bias_ih_l0", {0, 0.25f, 0.375f, 0.125f}},
        {"predictor.blstm.bias_hh_l0", {0.5f, 0.75f, 0.875f, 0.625f}},
        {"predictor.blstm.bias_ih_l0_reverse", {1, 1.25f, 1.375f, 1.125f}},
        {"a.b.bias_hh_l1_reverse", {1.5f, 1.75f, 1.875f, 1.625f}},
    };
    for (size_t k = 0; k < OTO_COUNT(seeds); k++) {
        oto_weights *w;
        seed s = load(seeds[k]);
        ASSERT_OK(parse(&s, &w, e_));
        for (size_t i = 0; i < OTO_COUNT(biases); i++)
            assert_row(w, biases[i].name, 0, biases[i].row, 4);
        assert_row(w, "predictor.blstm.weight_ih_l0", 1, (float[]){0.75f, 0.875f, 1}, 3);
        assert_row(w, "predictor.blstm.weight_ih_l0_reverse", 3, (float[]){1.875f, 2, 2.125f}, 3);
        assert_row(w, "predictor.blstm.weight_hh_l0", 2, (float[]){0.375f}, 1);
        assert_row(w, "a.b.weight_hh_l1_reverse", 3, (float[]){0.625f}, 1);
        assert_non_null(oto_weights_find(w, "decoder.embed.0.weight"));
        /* one of two that are alike */
        assert_ptr_equal(oto_weights_find(w, "encoder.other.bias"),
                         oto_weights_find(w, "same.bias"));
        oto_weights_close(w);
        free(s.p);
    }
}

static void reads_tensors_of_a_file_beside_it(void **state)
{
    (void)state;
    oto_weights *w;
    seed s = load("external");
    ASSERT_OK(parse(&s, &w, e_));
    const char *text = s.side.bytes.p;
    float row[2];
    memcpy(row, text + 8, sizeof row);
    assert_row(w, "w1", 0, row, 2);
    oto_weights_close(w);
    free(s.p);
}

/* ---- graphs that FunASR exported (tests/reference/funasr_onnx.py) ---- */

static const oto_side_file beside[] = {
    {"am.mvn", {"<AddShift> 1 [ 1 ] <Rescale> 1 [ 1 ]", 36}},
    {"tokens.json", {"[\"a\"]", 5}},
};

static char *load_file(const char *name, size_t *n)
{
    char path[500];
    oto_map m;
    char *p;
    snprintf(path, sizeof path, "%s/tests/data/onnx/%s", OTO_SOURCE_DIR, name);
    ASSERT_OK(oto_map_open(path, &m, e_));
    p = calloc(1, m.n + 1);
    assert_non_null(p);
    memcpy(p, m.p, m.n);
    *n = m.n;
    oto_map_close(&m);
    return p;
}

static int parse_exported(oto_slice main, oto_weights **w, oto_err *e)
{
    return oto_weights_parse(&oto_format_onnx, "input", main, beside, OTO_COUNT(beside), w, e);
}

/* Against the arithmetic that defines the checkpoint's tensor; of 8 bits to half a step. */
static void check_tensor(const oto_weights *w, const char *name, int rank, const int64_t *dim)
{
    seeded s = {0};
    const oto_tensor *t;
    int64_t rows = rank > 1 ? dim[0] : 1, n = 1, inputs = 1;
    for (int i = 0; i < rank; i++) {
        n *= dim[i];
        inputs *= i > 0 ? dim[i] : 1;
    }
    ASSERT_OK(oto_weights_need(w, name, -1, rank, dim, &t, e_));
    const float *want = seeded_values(&s, name, (size_t)n, (size_t)inputs, rank > 1);
    float *row = malloc((size_t)(n / rows) * sizeof *row);
    for (int64_t r = 0; r < rows; r++) {
        const float off = t->scale ? 0.51f * t->scale[t->n_scale == 1 ? 0 : r] : 0;
        oto_tensor_row_f32(t, r, row);
        for (int64_t i = 0; i < n / rows; i++)
            if (!(fabsf(row[i] - want[r * (n / rows) + i]) <= off))
                fail_msg("%s: row %d, number %d: %.9g, not %.9g", name, (int)r, (int)i,
                         (double)row[i], (double)want[r * (n / rows) + i]);
    }
    free(row);
    free(s.held[0]);
    free(s.held);
}

static void every_tensor_is_that_of_the_checkpoint(void **state)
{
    (void)state;
    static const struct {
        const char *graph, *names;
        int tensors, eight_bits;
    } files[] = {{"bicif_paraformer.onnx", "bicif_paraformer.txt", 73, 0},
                 {"sense_voice.onnx", "sense_voice.txt", 46, 13}};
    for (size_t i = 0; i < OTO_COUNT(files); i++) {
        size_t n, n_names;
        char *main = load_file(files[i].graph, &n), *names = load_file(files[i].names, &n_names);
        oto_weights *w;
        int count = 0, eight_bits = 0;
        ASSERT_OK(parse_exported((oto_slice){main, n}, &w, e_));
        for (char *line = strtok(names, "\n"); line; line = strtok(NULL, "\n"), count++) {
            char name[200];
            long long dim[OTO_MAX_RANK] = {0};
            const int rank = sscanf(line, "%199s %lld %lld %lld %lld", name, &dim[0], &dim[1],
                                    &dim[2], &dim[3]) -
                             1;
            check_tensor(w, name, rank, (int64_t[]){dim[0], dim[1], dim[2], dim[3]});
            eight_bits += oto_weights_find(w, name)->scale != NULL;
        }
        assert_int_equal(count, files[i].tensors);
        assert_int_equal(eight_bits, files[i].eight_bits);
        oto_weights_close(w);
        free(names);
        free(main);
    }
}

/* A copy that ends where it ends. */
static void survive(const char *p, size_t n, bool refused)
{
    char *copy = malloc(n + 1);
    oto_weights *w;
    oto_err e = {0};
    assert_non_null(copy);
    memcpy(copy + 1, p, n);
    const int rc = parse_exported((oto_slice){copy + 1, n}, &w, &e);
    if (rc == 0) {
        assert_false(refused);
        oto_weights_close(w);
    } else {
        assert_true(rc == e.code && e.text[0]);
    }
    free(copy);
}

static void damaged_exports_are_survived(void **state)
{
    (void)state;
    static const char *const files[] = {"bicif_paraformer.onnx", "sense_voice.onnx"};
    for (size_t i = 0; i < OTO_COUNT(files); i++) {
        size_t n;
        char *p = load_file(files[i], &n);
        for (size_t cut = 0; cut < n - 64; cut++) /* behind the graph stand versions */
            if (cut < 300 || cut % 97 == 0)
                survive(p, cut, true);
        for (size_t k = 0; k < n; k += 13) {
            const char was = p[k];
            p[k] = (char)(was ^ (k % 2 ? 0x81 : 0x1f));
            survive(p, n, false);
            p[k] = was;
        }
        free(p);
    }
}

static void odd_graphs_are_read(void **state)
{
    (void)state;
    static const char *const names[] = {"same_layer", "no_input", "number_input",
                                        "hot_words_absent"};
    for (size_t i = 0; i < OTO_COUNT(names); i++) {
        oto_weights *w;
        seed s = load(names[i]);
        ASSERT_OK(parse(&s, &w, e_));
        assert_true(oto_weights_count(w) >= 1);
        oto_weights_close(w);
        free(s.p);
    }
}

static void refuses_what_is_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int code;
        const char *words;
    } seeds[] = {
        {"no_mvn", OTO_E_NOT_FOUND, "am.mvn"},
        {"empty_mvn", OTO_E_INPUT, "am.mvn: no <AddShift>"},
        {"no_rescale", OTO_E_INPUT, "am.mvn: no <Rescale>"},
        {"open_bracket", OTO_E_INPUT, "am.mvn: no <Rescale>"},
        {"bad_number", OTO_E_INPUT, "am.mvn: <AddShift> holds what is not a number"},
        {"infinite", OTO_E_INPUT, "am.mvn: <Rescale> holds what is not a number"},
        {"zero_byte", OTO_E_INPUT, "am.mvn: <Rescale> holds what is not a number"},
        {"no_numbers", OTO_E_INPUT, "am.mvn: <AddShift> is empty"},
        {"no_graph", OTO_E_INPUT, "no graph"},
        {"twice", OTO_E_INPUT, "onnx::MatMul_1 is there twice"},
        {"five_dims", OTO_E_INPUT, "more than 4 dimensions"},
        {"huge_dims", OTO_E_INPUT, "w"},
        {"negative_dim", OTO_E_INPUT, "w"},
        {"wrong_size", OTO_E_INPUT, "w"},
        {"external_nowhere", OTO_E_UNSUPPORTED, "outside the file, in \"\""},
        {"external_elsewhere", OTO_E_UNSUPPORTED, "in \"../am.mvn\": not beside it"},
        {"external_absent", OTO_E_NOT_FOUND, "model.onnx.data"},
        {"external_files", OTO_E_UNSUPPORTED, "in more than one file"},
        {"external_end", OTO_E_INPUT, "w0 reaches past the end of am.mvn"},
        {"external_far", OTO_E_INPUT, "w0 reaches past the end of am.mvn"},
        {"external_words", OTO_E_INPUT, "w0 reaches past the end of am.mvn"},
        {"eight_no_scale", OTO_E_INPUT, "onnx::MatMul_1_quantised is quantised, but its scale"},
        {"eight_scales", OTO_E_INPUT, "onnx::MatMul_1_quantized is quantised, but its scale"},
        {"eight_signs", OTO_E_INPUT, "onnx::MatMul_1_quantized is quantised, but its scale"},
        {"lstm_sizes", OTO_E_INPUT, "the LSTM predictor.blstm do not fit"},
        {"hot_words_twice", OTO_E_INPUT, "hotword_output_layer.bias is there twice"},
        {"hot_words_short", OTO_E_INPUT, "cut off or garbled"},
        {"eight_short", OTO_E_INPUT, "a tensor is cut off"},
        {"no_name", OTO_E_INPUT, "name"},
        {"group", OTO_E_INPUT, "cut off or garbled"},
        {"endless_varint", OTO_E_INPUT, "cut off or garbled"},
        {"short", OTO_E_INPUT, "cut off or garbled"},
    };
    for (size_t i = 0; i < OTO_COUNT(seeds); i++) {
        oto_weights *w;
        oto_err e = {0};
        seed s = load(seeds[i].name);
        assert_int_equal(parse(&s, &w, &e), seeds[i].code);
        if (strncmp(e.text, "input: ", 7) != 0 || !strstr(e.text, seeds[i].words))
            fail_msg("%s: \"%s\" does not say \"%s\"", seeds[i].name, e.text, seeds[i].words);
        free(s.p);
    }
}

/* Parses copies that end where they end. */
static int parse_copies(const seed *s, size_t main_n, size_t text_n, oto_err *e)
{
    oto_weights *w;
    char *main = malloc(main_n + 1), *text = malloc(text_n + 1);
    assert_non_null(main);
    assert_non_null(text);
    memcpy(main + 1, s->main.p, main_n);
    memcpy(text + 1, s->side.bytes.p, text_n);
    const oto_side_file side = {s->side.name, {text + 1, text_n}};
    int rc = oto_weights_parse(&oto_format_onnx, "input", (oto_slice){main + 1, main_n}, &side, 1,
                               &w, e);
    if (!rc)
        oto_weights_close(w);
    free(main);
    free(text);
    return rc;
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    seed s = load("all");
    const size_t n = s.main.n, text = s.side.bytes.n;
    size_t last_bracket = text;
    while (s.side.bytes.p[last_bracket - 1] != ']')
        last_bracket--;
    for (size_t cut = 0; cut < n; cut++) {
        oto_err e = {0};
        assert_int_equal(parse_copies(&s, cut, text, &e), OTO_E_INPUT);
    }
    for (size_t cut = 0; cut < last_bracket; cut++) {
        oto_err e = {0};
        assert_int_equal(parse_copies(&s, n, cut, &e), OTO_E_INPUT);
    }
    free(s.p);
}

static void every_changed_byte_is_survived(void **state)
{
    (void)state;
    static const char *const names[] = {"all", "layers", "eight", "external", "lstm", "hot_words"};
    for (size_t k = 0; k < OTO_COUNT(names); k++) {
        seed s = load(names[k]);
        char *p = s.p + 3;
        const size_t n = s.main.n + s.side.bytes.n;
        for (size_t i = 0; i < n; i++) {
            const char was = p[i];
            const char tries[] = {0, (char)0xff, (char)(was + 1), (char)(was ^ 0x80)};
            for (size_t j = 0; j < sizeof tries; j++) {
                oto_err e = {0};
                p[i] = tries[j];
                int rc = parse_copies(&s, s.main.n, s.side.bytes.n, &e);
                assert_true(rc == 0 || (rc == e.code && e.text[0]));
            }
            p[i] = was;
        }
        free(s.p);
    }
}

static void other_files_do_not_match(void **state)
{
    (void)state;
    static const char *const others[] = {"GGUF",         "lmgg",         "PK\3\4", "\x06\0\0\0",
                                         "\x08\x40\x12", "\x08\x07\x08", "\x08"};
    for (size_t i = 0; i < OTO_COUNT(others); i++)
        assert_false(onnx_matches((const uint8_t *)others[i], OTO_MIN(4, strlen(others[i])), 4));
    assert_true(onnx_matches((const uint8_t *)"\x08\x07\x12\x07", 4, 4));
}

static void published_model(void **state)
{
    (void)state;
    char path[600];
    oto_weights *w;
    const oto_tensor *t;
    snprintf(path, sizeof path, "%s/fsmn-vad/source", models_dir());
    if (access(path, R_OK) != 0) {
        print_message("skipped: no %s\n", path);
        skip();
    }
    ASSERT_OK(oto_weights_open(path, &w, e_));
    assert_string_equal(oto_weights_format(w), "onnx");
    ASSERT_OK(oto_weights_need(w, "encoder.in_linear1.linear.weight", OTO_T_F32, 2,
                               (int64_t[]){140, 400}, &t, e_));
    ASSERT_OK(oto_weights_need(w, "encoder.fsmn.3.affine.linear.weight", OTO_T_F32, 2,
                               (int64_t[]){250, 128}, &t, e_));
    ASSERT_OK(oto_weights_need(w, "encoder.out_linear2.linear.bias", OTO_T_F32, 1, (int64_t[]){248},
                               &t, e_));
    ASSERT_OK(oto_weights_need(w, "encoder.fsmn.0.fsmn_block.conv_left.weight", OTO_T_F32, 4,
                               (int64_t[]){128, 1, 20, 1}, &t, e_));
    float v[400];
    ASSERT_OK(oto_weights_need(w, "cmvn.shift", OTO_T_F32, 1, (int64_t[]){400}, &t, e_));
    oto_tensor_row_f32(t, 0, v);
    assert_true(v[0] == -8.311879f && v[399] == -11.71208f);
    ASSERT_OK(oto_weights_need(w, "cmvn.scale", OTO_T_F32, 1, (int64_t[]){400}, &t, e_));
    oto_tensor_row_f32(t, 0, v);
    assert_true(v[0] == 0.155775f && v[399] == 0.1509654f);
    oto_weights_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_tensors_layers_and_statistics),
        cmocka_unit_test(finds_the_names_of_layers),
        cmocka_unit_test(reads_8_bits),
        cmocka_unit_test(splits_lstms),
        cmocka_unit_test(reads_tensors_of_a_file_beside_it),
        cmocka_unit_test(every_tensor_is_that_of_the_checkpoint),
        cmocka_unit_test(damaged_exports_are_survived),
        cmocka_unit_test(odd_graphs_are_read),
        cmocka_unit_test(refuses_what_is_wrong),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(every_changed_byte_is_survived),
        cmocka_unit_test(other_files_do_not_match),
        cmocka_unit_test(published_model),
    };
    return cmocka_run_group_tests_name("weights/onnx", tests, NULL, NULL);
}
