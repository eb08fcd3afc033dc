#include "weights/torch.c"

#include "files.h"

/* Seeds are those of torch_fuzz.c: flags, five sizes, am.mvn, tokens.json, a SentencePiece model,
 * config.yaml, seg_dict, model.pt. */
typedef struct {
    char *p; /* the whole seed */
    oto_slice main;
    oto_side_file side[5];
    size_t n_side;
} seed;

static seed load(const char *name)
{
    static const char *const names[] = {"am.mvn", "tokens.json", "x.bpe.model", "config.yaml",
                                        "seg_dict"};
    char path[100];
    size_t n, at = 11;
    seed s = {0};
    snprintf(path, sizeof path, "torch/%s", name);
    s.p = load_seed(path, &n);
    for (int i = 0; i < 5; i++) {
        const size_t size = (size_t)(uint8_t)s.p[1 + 2 * i] | (size_t)(uint8_t)s.p[2 + 2 * i] << 8;
        if (s.p[0] >> i & 1)
            s.side[s.n_side++] = (oto_side_file){names[i], {s.p + at, size}};
        at += size;
    }
    s.main = (oto_slice){s.p + at, n - at};
    return s;
}

static int parse(const seed *s, oto_weights **w, oto_err *e)
{
    return oto_weights_parse(&oto_format_torch, "input", s->main, s->side, s->n_side, w, e);
}

static void assert_values(const oto_weights *w, const char *name, oto_ttype type, int rank,
                          const int64_t *dim, const float *expected)
{
    const oto_tensor *t;
    float row[16];
    ASSERT_OK(oto_weights_need(w, name, (int)type, rank, dim, &t, e_));
    for (int64_t r = 0; r < oto_tensor_rows(t); r++) {
        oto_tensor_row_f32(t, r, row);
        for (int64_t i = 0; i < oto_tensor_row_len(t); i++)
            assert_true(row[i] == *expected++);
    }
}

static bool inside_main(const seed *s, const oto_tensor *t)
{
    return (const char *)t->data >= s->main.p && (const char *)t->data < s->main.p + s->main.n;
}

/* The same state dict in every form that torch.save has. */
static void reads_every_form(void **state)
{
    (void)state;
    static const char *const forms[] = {"all", "zip64", "protocol4", "old", "nested", "model_key"};
    for (size_t i = 0; i < OTO_COUNT(forms); i++) {
        oto_weights *w;
        seed s = load(forms[i]);
        ASSERT_OK(parse(&s, &w, e_));
        assert_string_equal(oto_weights_format(w), "torch");
        assert_int_equal(oto_weights_count(w), 8);
        assert_values(w, "w", OTO_T_F32, 2, (int64_t[]){2, 3},
                      (float[]){0, 0.125f, 0.25f, 0.375f, 0.5f, 0.625f});
        /* numbers in order stay in the map */
        assert_true(inside_main(&s, oto_weights_find(w, "w")));
        assert_true(inside_main(&s, oto_weights_find(w, "part")));
        assert_values(w, "part", OTO_T_F32, 1, (int64_t[]){2}, (float[]){0.5f, 0.625f});
        /* transposed and expanded tensors come out in order */
        assert_false(inside_main(&s, oto_weights_find(w, "turned")));
        assert_values(w, "turned", OTO_T_F32, 2, (int64_t[]){3, 2},
                      (float[]){0, 0.375f, 0.125f, 0.5f, 0.25f, 0.625f});
        assert_values(w, "wide", OTO_T_F32, 2, (int64_t[]){2, 2}, (float[]){0, 0.125f, 0, 0.125f});
        assert_values(w, "h", OTO_T_F16, 3, (int64_t[]){2, 1, 1}, (float[]){0, 0});
        assert_values(w, "b", OTO_T_BF16, 1, (int64_t[]){2}, (float[]){1, -2});
        assert_values(w, "n", OTO_T_I64, 0, NULL, (float[]){7});
        assert_values(w, "none", OTO_T_F32, 2, (int64_t[]){0, 4}, NULL);
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
        {"harm", OTO_E_UNSUPPORTED, "wants posix.system, which no list of tensors needs: refused"},
        {"harm4", OTO_E_UNSUPPORTED, "nothing of it was run"},
        {"compressed", OTO_E_UNSUPPORTED, "model/data/0 is compressed"},
        {"compressed_pickle", OTO_E_UNSUPPORTED, "data.pkl is compressed"},
        {"no_storage", OTO_E_INPUT, "tensor w: its storage 0 is not in the file"},
        {"short_storage", OTO_E_INPUT, "storage 0 has 20 bytes, 6 numbers of f32 are expected"},
        {"past_end", OTO_E_INPUT, "tensor w reaches past the end of its storage"},
        {"far_stride", OTO_E_INPUT, "tensor w reaches past the end of its storage"},
        {"huge_dims", OTO_E_INPUT, "tensor w has a shape beyond all memory"},
        {"huge_copy", OTO_E_INPUT, "tensor w is not contiguous and too large"},
        {"negative", OTO_E_INPUT, "tensor w has a shape that is not numbers from 0 on"},
        {"five_dims", OTO_E_INPUT, "tensor w has more than 4 dimensions"},
        {"doubles", OTO_E_UNSUPPORTED, "tensor w is of type f64"},
        {"twice", OTO_E_INPUT, "tensor w is there twice"},
        {"list", OTO_E_UNSUPPORTED, "no dictionary of tensors"},
        {"empty", OTO_E_INPUT, "no tensors"},
        {"big_endian", OTO_E_UNSUPPORTED, "big-endian"},
        {"old_big_endian", OTO_E_UNSUPPORTED, "big-endian"},
        {"old_forgotten", OTO_E_INPUT, "its storage 0 is not in the file"},
        {"deep", OTO_E_INPUT, "nested too deeply"},
        {"underflow", OTO_E_INPUT, "cut off or garbled"},
        {"itself", OTO_E_INPUT, "no tensors"},
        {"text_op", OTO_E_UNSUPPORTED, "offset 0: instruction 0x49"},
        {"memo", OTO_E_INPUT, "too many objects to remember"},
        {"other_zip", OTO_E_INPUT, "no PyTorch checkpoint"},
        {"short", OTO_E_INPUT, "end of the archive is missing"},
        {"no_tokens", OTO_E_NOT_FOUND, "no tokens.json beside it"},
        {"no_mvn", OTO_E_NOT_FOUND, "no am.mvn beside it"},
        {"bad_mvn", OTO_E_INPUT, "am.mvn: <AddShift> holds what is not a number"},
        {"bad_tokens", OTO_E_INPUT, "tokens.json: token 1 is not a string"},
        {"bad_heads", OTO_E_INPUT, "attention_heads of encoder_conf is \"four\""},
        {"bad_pieces", OTO_E_INPUT, "no SentencePiece model"},
        {"no_pieces", OTO_E_INPUT, "no SentencePiece model"},
        {"no_marks", OTO_E_INPUT, "no punc_list in model_conf"},
    };
    for (size_t i = 0; i < OTO_COUNT(seeds); i++) {
        oto_weights *w;
        oto_err e = {0};
        seed s = load(seeds[i].name);
        const int rc = parse(&s, &w, &e);
        if (rc != seeds[i].code || strncmp(e.text, "input: ", 7) != 0 ||
            !strstr(e.text, seeds[i].words))
            fail_msg("%s: %d \"%s\" does not say \"%s\"", seeds[i].name, rc, e.text,
                     seeds[i].words);
        free(s.p);
    }
    assert_int_not_equal(access("/tmp/harm", F_OK), 0);
}

/* A zip archive may have a comment that looks like its end. */
static void reads_an_archive_with_a_comment(void **state)
{
    (void)state;
    oto_weights *w;
    seed s = load("comment");
    ASSERT_OK(parse(&s, &w, e_));
    oto_weights_close(w);
    free(s.p);
}

static void every_cut_is_refused(void **state)
{
    (void)state;
    static const char *const forms[] = {"all", "zip64", "old"};
    for (size_t i = 0; i < OTO_COUNT(forms); i++) {
        seed s = load(forms[i]);
        refuses_every_cut(&oto_format_torch, s.main.p, s.main.n);
        free(s.p);
    }
}

static void every_changed_byte_is_survived(void **state)
{
    (void)state;
    static const char *const forms[] = {"all", "zip64", "old"};
    for (size_t i = 0; i < OTO_COUNT(forms); i++) {
        seed s = load(forms[i]);
        survives_every_changed_byte(&oto_format_torch, (char *)(uintptr_t)s.main.p, s.main.n);
        free(s.p);
    }
}

/* ---- a folder ---- */

static void assert_string(const oto_weights *w, const char *key, size_t i, const char *expected)
{
    oto_slice s;
    assert_true(oto_weights_array_str(w, key, i, &s));
    if (s.n != strlen(expected) || memcmp(s.p, expected, s.n) != 0)
        fail_msg("%s[%zu] is %.*s, not %s", key, i, (int)s.n, s.p, expected);
}

static void assert_statistics(const oto_weights *w)
{
    assert_values(w, "cmvn.shift", OTO_T_F32, 1, (int64_t[]){2}, (float[]){-1.5f, 20});
    assert_values(w, "cmvn.scale", OTO_T_F32, 1, (int64_t[]){2}, (float[]){0.5f, 0.25f});
}

static void assert_architecture(const oto_weights *w, const char *expected)
{
    oto_slice s;
    assert_true(oto_weights_str(w, "general.architecture", &s) && oto_slice_is(s, expected));
}

static void assert_whole(const oto_weights *w, const char *key, int64_t expected)
{
    int64_t v = -1;
    assert_true(oto_weights_int(w, key, &v));
    assert_int_equal(v, expected);
}

static void reads_a_folder_of_paraformer(void **state)
{
    (void)state;
    oto_weights *w;
    oto_slice text;
    double v;
    seed s = load("paraformer");
    ASSERT_OK(parse(&s, &w, e_));
    assert_architecture(w, "paraformer");
    assert_statistics(w);
    assert_int_equal(oto_weights_array_len(w, "pf.vocab"), 3);
    assert_string(w, "pf.vocab", 0, "<blank>");
    assert_string(w, "pf.vocab", 2, "中");
    assert_whole(w, "pf.enc.attention_heads", 4);
    assert_whole(w, "pf.enc.kernel_size", 11);
    assert_true(oto_weights_f32(w, "pf.predictor.tail_threshold", &v) && v == 0.45);
    assert_true(oto_weights_f32(w, "pf.predictor.smooth_factor2", &v) && v == 0.5);
    assert_whole(w, "pf.no_bias", 7);
    assert_true(oto_weights_str(w, "pf.seg_dict", &text) && oto_slice_is(text, "word wo@@ rd\n"));
    /* what only some checkpoints have passes */
    assert_non_null(oto_weights_find(w, "predictor.blstm.weight_ih_l0"));
    oto_weights_close(w);
    free(s.p);
}

static void reads_a_folder_of_sensevoice(void **state)
{
    (void)state;
    oto_weights *w;
    seed s = load("sensevoice");
    ASSERT_OK(parse(&s, &w, e_));
    assert_architecture(w, "sensevoice-small");
    assert_statistics(w);
    assert_int_equal(oto_weights_array_len(w, "sv.vocab"), 4);
    assert_string(w, "sv.vocab", 1, "▁the");
    assert_string(w, "sv.vocab", 2, "");
    assert_string(w, "sv.vocab", 3, "中");
    oto_weights_close(w);
    free(s.p);
    s = load("sensevoice_tokens");
    ASSERT_OK(parse(&s, &w, e_));
    assert_string(w, "sv.vocab", 1, "▁the");
    oto_weights_close(w);
    free(s.p);
}

static void reads_a_folder_of_punctuation(void **state)
{
    (void)state;
    static const char *const marks[] = {"<unk>", "_", "，", "。", "?", "、"};
    oto_weights *w;
    seed s = load("punctuation");
    ASSERT_OK(parse(&s, &w, e_));
    assert_architecture(w, "ct-transformer");
    assert_null(oto_weights_find(w, "cmvn.shift"));
    assert_int_equal(oto_weights_array_len(w, "ct.vocab"), 2);
    assert_string(w, "ct.vocab", 1, "a");
    assert_int_equal(oto_weights_array_len(w, "ct.punc"), OTO_COUNT(marks));
    for (size_t i = 0; i < OTO_COUNT(marks); i++)
        assert_string(w, "ct.punc", i, marks[i]);
    assert_whole(w, "ct.heads", 8);
    assert_whole(w, "ct.layers", 4);
    assert_whole(w, "ct.kernel", 11);
    assert_whole(w, "ct.shift", 5);
    assert_whole(w, "ct.sentence_end_id", 3);
    oto_weights_close(w);
    free(s.p);
}

static void reads_a_folder_of_vad(void **state)
{
    (void)state;
    oto_weights *w;
    seed s = load("vad");
    ASSERT_OK(parse(&s, &w, e_));
    assert_architecture(w, "fsmn-vad");
    assert_statistics(w);
    oto_weights_close(w);
    free(s.p);
}

/* From the disk, where the SentencePiece model is found by its ending. */
static void opens_a_folder(void **state)
{
    (void)state;
    char dir[] = "/tmp/torch.XXXXXX", path[200];
    static const char *const names[] = {"am.mvn", "zh_en.bpe.model"};
    seed s = load("sensevoice");
    oto_weights *w;
    oto_err e = {0};
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/model.pt", dir);
    ASSERT_OK(oto_write_file(path, s.main.p, s.main.n, e_));
    for (size_t i = 0; i < s.n_side; i++) {
        assert_int_not_equal(oto_weights_open(dir, &w, &e), 0); /* a file is missing yet */
        assert_int_equal(e.code, OTO_E_NOT_FOUND);
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        ASSERT_OK(oto_write_file(path, s.side[i].bytes.p, s.side[i].bytes.n, e_));
    }
    ASSERT_OK(oto_weights_open(dir, &w, e_));
    assert_string_equal(oto_weights_format(w), "torch");
    assert_int_equal(oto_weights_array_len(w, "sv.vocab"), 4);
    oto_weights_close(w);
    snprintf(path, sizeof path, "rm -r %s", dir);
    assert_int_equal(system(path), 0);
    free(s.p);
}

/* ---- what torch itself has written ---- */

static void reads_what_torch_wrote(void **state)
{
    (void)state;
    static const char *const files[] = {"real_zip", "real_old"};
    for (size_t i = 0; i < OTO_COUNT(files); i++) {
        oto_weights *w;
        seed s = load(files[i]);
        ASSERT_OK(parse(&s, &w, e_));
        assert_int_equal(oto_weights_count(w), 6);
        assert_values(w, "linear.weight", OTO_T_F32, 2, (int64_t[]){2, 3},
                      (float[]){0, 0.5f, 1, 1.5f, 2, 2.5f});
        assert_values(w, "linear.bias", OTO_T_F32, 1, (int64_t[]){2}, (float[]){-1, 0.25f});
        assert_values(w, "turned", OTO_T_F32, 2, (int64_t[]){3, 2},
                      (float[]){0, 1.5f, 0.5f, 2, 1, 2.5f});
        assert_values(w, "half", OTO_T_F16, 1, (int64_t[]){3}, (float[]){1, -2, 0.5f});
        assert_values(w, "bf", OTO_T_BF16, 3, (int64_t[]){2, 1, 1}, (float[]){3, -0.5f});
        assert_values(w, "steps", OTO_T_I64, 0, NULL, (float[]){42});
        oto_weights_close(w);
        free(s.p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_form),
        cmocka_unit_test(reads_what_torch_wrote),
        cmocka_unit_test(refuses_what_is_wrong),
        cmocka_unit_test(reads_an_archive_with_a_comment),
        cmocka_unit_test(every_cut_is_refused),
        cmocka_unit_test(every_changed_byte_is_survived),
        cmocka_unit_test(reads_a_folder_of_paraformer),
        cmocka_unit_test(reads_a_folder_of_sensevoice),
        cmocka_unit_test(reads_a_folder_of_punctuation),
        cmocka_unit_test(reads_a_folder_of_vad),
        cmocka_unit_test(opens_a_folder),
    };
    return cmocka_run_group_tests_name("weights/torch", tests, NULL, NULL);
}
