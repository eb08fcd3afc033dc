/* FunASR's own folders against its GGUF files: the same weights must become the same packed file,
 * to the byte. */
#include "models/registry.c"

#include "unit/models/checkpoint.h"
#include "unit/models/seeded.h"
#include "unit/weights/files.h"

#include <sys/wait.h>

static char dir[64];

static void put_path(char out[200], const char *name)
{
    snprintf(out, 200, "%s/%s", dir, name);
}

static int set_up(void **state)
{
    char folder[200];

    (void)state;
    snprintf(dir, sizeof dir, "/tmp/folder.XXXXXX");
    if (oto_cpu_init(NULL) != 0 || mkdtemp(dir) == NULL)
        return -1;
    put_path(folder, "model");
    return oto_mkdirs(folder, NULL);
}

static int tear_down(void **state)
{
    char line[200];

    (void)state;
    snprintf(line, sizeof line, "rm -r '%s'", dir);
    return system(line);
}

static bool ends(const char *s, const char *with)
{
    const size_t n = strlen(s), k = strlen(with);

    return n >= k && strcmp(s + n - k, with) == 0;
}

static const float *values_of(const oto_weights *w, const char *name, int *n)
{
    const oto_tensor *t = oto_weights_find(w, name);

    assert_non_null(t);
    *n = (int)oto_tensor_row_len(t);
    return t->data;
}

static void write_beside(const oto_weights *w, const char *vocabulary)
{
    const float *shift, *scale;
    char path[200];
    FILE *f;
    int n;

    put_path(path, "model/am.mvn");
    shift = values_of(w, "cmvn.shift", &n);
    scale = values_of(w, "cmvn.scale", &n);
    assert_true(checkpoint_mvn(path, shift, scale, n));
    put_path(path, "model/tokens.json");
    assert_true(checkpoint_tokens(path, w, vocabulary));
    put_path(path, "model/config.yaml");
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "encoder_conf:\n    attention_heads: 4\n    kernel_size: 11\n"
               "predictor_conf:\n    tail_threshold: 0.45\n");
    fclose(f);
}

/* GGUF at `from` as a folder; what `spoil` does to its tensors first. */
static void write_folder(const char *from, const char *vocabulary, void (*spoil)(checkpoint *))
{
    oto_weights *w;
    checkpoint *c;
    char path[200];

    ASSERT_OK(oto_weights_open(from, &w, e_));
    c = checkpoint_of(w);
    if (spoil != NULL)
        spoil(c);
    put_path(path, "model/model.pt");
    assert_true(checkpoint_write(c, path));
    checkpoint_free(c);
    write_beside(w, vocabulary);
    oto_weights_close(w);
}

static void assert_same_bytes(const char *a, const char *b)
{
    oto_map x, y;

    ASSERT_OK(oto_map_open(a, &x, e_));
    ASSERT_OK(oto_map_open(b, &y, e_));
    assert_int_equal(x.n, y.n);
    assert_true(x.n > 100000);
    assert_memory_equal(x.p, y.p, x.n);
    oto_map_close(&x);
    oto_map_close(&y);
}

/* The folder's model.pt gives way to a graph of the same weights. */
static void write_graph(const char *from, const char *main_file)
{
    oto_weights *w;
    checkpoint *c;
    char path[200];

    ASSERT_OK(oto_weights_open(from, &w, e_));
    c = checkpoint_of(w);
    put_path(path, "model/model.pt");
    assert_int_equal(unlink(path), 0);
    snprintf(path, sizeof path, "%s/model/%s", dir, main_file);
    assert_true(checkpoint_write_onnx(c, path));
    checkpoint_free(c);
    oto_weights_close(w);
}

static void remove_graph(const char *main_file)
{
    char path[200];

    snprintf(path, sizeof path, "%s/model/%s", dir, main_file);
    assert_int_equal(unlink(path), 0);
}

/* Packed from both, and compared. */
static void check_same(const char *gguf, const char *folder, oto_compute compute)
{
    char a[200], b[200];

    put_path(a, "of_gguf");
    put_path(b, "of_folder");
    ASSERT_OK(oto_model_convert(gguf, a, compute, e_));
    ASSERT_OK(oto_model_convert(folder, b, compute, e_));
    assert_same_bytes(a, b);
    unlink(a);
    unlink(b);
}

/* A model of that size as FunASR's folder, packed to the same in 8 bits and in 32. */
static void put_paraformer(char gguf[200], char folder[200], seeded_size size)
{
    put_path(gguf, "gguf");
    put_path(folder, "model");
    assert_true(seeded_paraformer(gguf, size));
    write_folder(gguf, "pf.vocab", NULL);
    check_same(gguf, folder, OTO_COMPUTE_I8);
    check_same(gguf, folder, OTO_COMPUTE_F32);
}

static void test_paraformer(void **state)
{
    char gguf[200], folder[200];
    oto_model_info info;
    oto_model *m;

    (void)state;
    put_paraformer(gguf, folder, (seeded_size){.n_enc = 2, .n_dec = 1, .n_vocab = 50});
    ASSERT_OK(oto_model_open(folder, OTO_COMPUTE_I8, &m, e_));
    oto_model_info_get(m, &info);
    assert_string_equal(info.family, "paraformer");
    assert_int_equal(info.n_layers_enc, 2);
    oto_model_close(m);
    write_graph(gguf, "model.onnx");
    check_same(gguf, folder, OTO_COMPUTE_F32);
    check_same(gguf, folder, OTO_COMPUTE_I8);
    remove_graph("model.onnx");
}

static const seeded_size contextual = {.n_enc = 2, .n_dec = 2, .n_vocab = 50, .contextual = true};

static void test_contextual(void **state)
{
    char gguf[200], folder[200];
    oto_model_info info;
    oto_model *m;

    (void)state;
    put_paraformer(gguf, folder, contextual);
    ASSERT_OK(oto_model_open(folder, OTO_COMPUTE_I8, &m, e_));
    oto_model_info_get(m, &info);
    assert_string_equal(info.family, "paraformer");
    assert_int_equal(info.n_layers_dec, 2);
    assert_true(info.hotwords);
    oto_model_close(m);
}

static void test_sensevoice(void **state)
{
    char gguf[200], folder[200];

    (void)state;
    put_path(gguf, "gguf");
    put_path(folder, "model");
    assert_true(seeded_sensevoice(gguf, (seeded_size){.n_enc = 2, .n_tp = 1, .n_vocab = 60}));
    write_folder(gguf, "sv.vocab", NULL);
    check_same(gguf, folder, OTO_COMPUTE_I8);
    write_graph(gguf, "model_quant.onnx"); /* known by what it holds */
    check_same(gguf, folder, OTO_COMPUTE_F32);
    remove_graph("model_quant.onnx");
}

/* Both of them; of one that splits text into words there is none to compare with. */
static void test_punctuation(void **state)
{
    char gguf[200], folder[200], path[200];
    oto_model *m;
    oto_err e = {0};
    FILE *f;

    (void)state;
    put_path(gguf, "gguf");
    put_path(folder, "punctuation");
    for (int realtime = 0; realtime <= 1; realtime++) {
        assert_true(seeded_ct_of(gguf, 2, NULL, 60, realtime));
        assert_true(checkpoint_punctuation(gguf, folder, 5 * realtime));
        check_same(gguf, folder, OTO_COMPUTE_F32);
        check_same(gguf, folder, OTO_COMPUTE_I8);
    }
    put_path(path, "punctuation/jieba_usr_dict");
    f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "小明 3 n\n");
    fclose(f);
    assert_int_equal(oto_model_open(folder, OTO_COMPUTE_I8, &m, &e), OTO_E_UNSUPPORTED);
    assert_non_null(strstr(e.text, "with jieba"));
}

/* The graph of it, where there were packages to export it; and that of 8 bits against its matrices
 * made f32 again. */
static void check_exported(const char *gguf, const char *family)
{
    char folder[200], again[200];

    snprintf(folder, sizeof folder, "%s/funasr/%s-onnx", dir, family);
    if (access(folder, F_OK) != 0) {
        print_message("no onnx and onnxruntime beside torch\n");
        return;
    }
    check_same(gguf, folder, OTO_COMPUTE_F32);
    snprintf(folder, sizeof folder, "%s/funasr/%s-quant", dir, family);
    snprintf(again, sizeof again, "%s/funasr/%s-dequantised", dir, family);
    check_same(again, folder, OTO_COMPUTE_F32);
    check_same(again, folder, OTO_COMPUTE_I8);
}

/* The same weights in FunASR's own classes, saved by torch. */
static void test_what_funasr_saves(void **state)
{
    const char *python = python_with("torch");
    char line[900], gguf[200], folder[200];
    int status;

    (void)state;
    snprintf(line, sizeof line,
             "'%s' '%s/tests/reference/funasr_folders.py' '%s/funasr' >/dev/null",
             python != NULL ? python : "", OTO_SOURCE_DIR, dir);
    status = python != NULL ? system(line) : 77 << 8;
    if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
        print_message("no Python with torch and funasr (OTO_PYTHON)\n");
        skip();
    }
    assert_int_equal(status, 0);
    put_path(gguf, "gguf");
    put_path(folder, "funasr/paraformer");
    assert_true(seeded_paraformer(gguf, (seeded_size){.n_enc = 2, .n_dec = 1, .n_vocab = 50}));
    check_same(gguf, folder, OTO_COMPUTE_I8);
    check_exported(gguf, "paraformer");
    put_path(folder, "funasr/contextual");
    assert_true(seeded_paraformer(gguf, contextual));
    check_same(gguf, folder, OTO_COMPUTE_I8);
    check_exported(gguf, "contextual");
    put_path(folder, "funasr/sensevoice");
    assert_true(seeded_sensevoice(gguf, (seeded_size){.n_enc = 2, .n_tp = 1, .n_vocab = 50}));
    check_same(gguf, folder, OTO_COMPUTE_I8);
    check_exported(gguf, "sensevoice");
    for (int realtime = 0; realtime <= 1; realtime++) {
        put_path(folder, realtime ? "funasr/realtime" : "funasr/punctuation");
        assert_true(seeded_ct_of(gguf, 3, NULL, 50, realtime));
        check_same(gguf, folder, OTO_COMPUTE_I8);
        strcat(folder, "-onnx/model.onnx");
        if (access(folder, F_OK) == 0)
            check_same(gguf, folder, OTO_COMPUTE_F32);
    }
}

/* ---- what does not fit is refused with its name ---- */

static checkpoint_tensor *tensor_of(checkpoint *c, const char *name)
{
    for (int i = 0; i < c->n; i++)
        if (strcmp(c->t[i].name, name) == 0)
            return &c->t[i];
    fail_msg("no %s", name);
    return NULL;
}

static void swap_dims(checkpoint *c)
{
    checkpoint_tensor *t = tensor_of(c, "encoder.encoders.0.feed_forward.w_1.weight");

    checkpoint_turn(t, 2, (int64_t[]){t->dim[1], t->dim[0]});
}

static void forget_one(checkpoint *c)
{
    snprintf(tensor_of(c, "predictor.cif_conv1d.bias")->name, 128, "predictor.other");
}

static void shorten_one(checkpoint *c)
{
    checkpoint_tensor *t = tensor_of(c, "decoder.output_layer.bias");

    t->dim[0]--;
    t->n--;
}

/* The numbers of two tensors exchanged: only their sizes tell. */
static void exchange(checkpoint *c)
{
    checkpoint_tensor *a = tensor_of(c, "encoder.encoders.0.norm1.weight");
    checkpoint_tensor *b = tensor_of(c, "encoder.encoders.0.feed_forward.w_1.bias");
    char name[128];

    memcpy(name, a->name, sizeof name);
    memcpy(a->name, b->name, sizeof name);
    memcpy(b->name, name, sizeof name);
}

static void turn_merging(checkpoint *c)
{
    checkpoint_turn(tensor_of(c, "decoder.bias_output.weight"), 3, (int64_t[]){1024, 512, 1});
}

static void shorten_embedding(checkpoint *c)
{
    checkpoint_tensor *t = tensor_of(c, "bias_embed.weight");

    t->dim[0]--;
    t->n -= 512;
}

static void add_layer(checkpoint *c)
{
    checkpoint_tensor *t = tensor_of(c, "bias_encoder.weight_ih_l0");

    snprintf(t->name, sizeof t->name, "bias_encoder.weight_ih_l1");
}

static void drop_attention(checkpoint *c)
{
    checkpoint_tensor *t = tensor_of(c, "decoder.decoders.0.norm3.bias");

    snprintf(t->name, sizeof t->name, "decoder.decoders2.0.norm1.weight");
}

static const char *forgotten;

static void forget(checkpoint *c)
{
    snprintf(tensor_of(c, forgotten)->name, 128, "other");
}

typedef struct {
    void (*spoil)(checkpoint *);
    const char *words;
} refusal;

/* The seeded model `gguf` as a folder, spoilt: refused with these words. */
static void check_refusal(const char *gguf, const refusal *r, int code)
{
    char folder[200], packed[200];
    oto_err e = {0};

    put_path(folder, "model");
    put_path(packed, "packed");
    write_folder(gguf, "pf.vocab", r->spoil);
    assert_int_equal(oto_model_convert(folder, packed, OTO_COMPUTE_I8, &e), code);
    if (strstr(e.text, r->words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.text, r->words);
    assert_int_not_equal(access(packed, F_OK), 0);
}

static void test_refusals(void **state)
{
    static const refusal cases[] = {
        {swap_dims,
         "encoder.encoders.0.feed_forward.w_1.weight is 512 x 2048, expected 2048 x 512"},
        {forget_one, "tensor predictor.cif_conv1d.bias is missing"},
        {shorten_one, "decoder.output_layer.bias is 1 x 49, expected 1 x 50"},
        {exchange, "encoder.encoders.0.norm1.weight is 1 x 2048, expected 1 x 512"},
    };
    char gguf[200];

    (void)state;
    put_path(gguf, "gguf");
    assert_true(seeded_paraformer(gguf, (seeded_size){.n_enc = 2, .n_dec = 1, .n_vocab = 50}));
    for (size_t i = 0; i < OTO_COUNT(cases); i++)
        check_refusal(gguf, &cases[i], OTO_E_INPUT);
}

/* Whatever of its own parts is missing or of another size: never a plain Paraformer. */
static void test_contextual_refusals(void **state)
{
    static const refusal cases[] = {
        {turn_merging, "decoder.bias_output.weight is 1024 x 512, expected 512 x 1024"},
        {shorten_embedding, "bias_embed.weight is 49 x 512, expected 50 x 512"},
    };
    static const refusal unsupported[] = {
        {add_layer, "bias_encoder has more than one layer"},
        {drop_attention, "layers of decoder without attention"},
    };
    static const char *const parts[] = {
        "decoder.last_decoder.norm1.weight", "decoder.last_decoder.src_attn.linear_q.bias",
        "decoder.bias_decoder.norm3.weight", "decoder.bias_decoder.src_attn.linear_k_v.weight",
        "decoder.bias_output.weight",        "bias_embed.weight",
        "bias_encoder.weight_hh_l0",         "bias_encoder.bias_hh_l0"};
    char gguf[200], path[200];
    oto_err e = {0};
    FILE *f;

    (void)state;
    put_path(gguf, "gguf");
    assert_true(seeded_paraformer(gguf, contextual));
    for (size_t i = 0; i < OTO_COUNT(cases); i++)
        check_refusal(gguf, &cases[i], OTO_E_INPUT);
    for (size_t i = 0; i < OTO_COUNT(unsupported); i++)
        check_refusal(gguf, &unsupported[i], OTO_E_UNSUPPORTED);
    for (size_t i = 0; i < OTO_COUNT(parts); i++) {
        forgotten = parts[i];
        check_refusal(gguf, &(refusal){forget, parts[i]}, OTO_E_INPUT);
    }
    /* An embedding that is not there. */
    write_folder(gguf, "pf.vocab", NULL);
    put_path(path, "model/config.yaml");
    f = fopen(path, "a");
    assert_non_null(f);
    fprintf(f, "model_conf:\n    use_decoder_embedding: true\n");
    fclose(f);
    put_path(path, "model");
    assert_int_equal(oto_model_convert(path, gguf, OTO_COMPUTE_I8, &e), OTO_E_INPUT);
    assert_non_null(strstr(e.text, "decoder.embed.0.weight"));
}

/* ---- FSMN-VAD: the published weights in three forms ---- */

/* The ONNX file's tensors under the checkpoint's names. */
static checkpoint *of_onnx(const oto_weights *w)
{
    static const char *const products[] = {
        "in_linear1.linear",    "in_linear2.linear",    "fsmn.0.linear.linear",
        "fsmn.0.affine.linear", "fsmn.1.linear.linear", "fsmn.1.affine.linear",
        "fsmn.2.linear.linear", "fsmn.2.affine.linear", "fsmn.3.linear.linear",
        "fsmn.3.affine.linear", "out_linear1.linear",   "out_linear2.linear"};
    checkpoint *c = calloc(1, sizeof *c);
    char name[128];

    assert_non_null(c);
    for (size_t i = 0; i < oto_weights_count(w); i++) {
        const oto_tensor *t = oto_weights_at(w, i);

        if (strncmp(t->name, "encoder.", 8) == 0)
            checkpoint_add(c, t, t->name);
    }
    for (size_t i = 0; i < OTO_COUNT(products); i++) {
        snprintf(name, sizeof name, "encoder.%s.weight", products[i]);
        assert_non_null(oto_weights_find(w, name));
        checkpoint_add(c, oto_weights_find(w, name), name);
    }
    return c;
}

/* The official GGUF (export_vad_gguf.py): 26 tensors of f32, filters by tap. */
static void write_official(const checkpoint *c, const oto_weights *onnx, const char *path)
{
    static const struct {
        const char *key;
        int v;
    } keys[] = {{"vad.input_dim", 400},  {"vad.input_affine_dim", 140},
                {"vad.linear_dim", 250}, {"vad.proj_dim", 128},
                {"vad.fsmn_layers", 4},  {"vad.lorder", 20},
                {"vad.output_dim", 248}, {"vad.output_affine_dim", 140},
                {"vad.n_mels", 80},      {"vad.lfr_m", 5},
                {"vad.lfr_n", 1}};
    static float cmvn[2][400], filters[4][2560];
    oto_gguf_writer *w;
    int n_filters = 0;

    ASSERT_OK(oto_gguf_writer_new(&w, e_));
    ASSERT_OK(oto_gguf_put_str(w, "general.architecture", "fsmn-vad", e_));
    for (size_t i = 0; i < OTO_COUNT(keys); i++)
        ASSERT_OK(oto_gguf_put_int(w, keys[i].key, keys[i].v, e_));
    for (int i = 0; i < 2; i++) {
        const char *name = i == 0 ? "cmvn.shift" : "cmvn.scale";
        oto_tensor_row_f32(oto_weights_find(onnx, name), 0, cmvn[i]);
        ASSERT_OK(oto_gguf_put_tensor(w, name, OTO_T_F32, 1, (int64_t[]){400}, cmvn[i],
                                      sizeof cmvn[i], e_));
    }
    for (int i = 0; i < c->n; i++) {
        const checkpoint_tensor *t = &c->t[i];
        const float *v = t->v;
        int64_t dim[2] = {t->dim[0], t->dim[1]};

        if (ends(t->name, "conv_left.weight")) {
            for (int k = 0; k < 2560; k++)
                filters[n_filters][k] = t->v[k % 128 * 20 + k / 128];
            v = filters[n_filters++];
            dim[0] = 20;
            dim[1] = 128;
        }
        ASSERT_OK(
            oto_gguf_put_tensor(w, t->name, OTO_T_F32, OTO_MIN(t->rank, 2), dim, v, t->n * 4, e_));
    }
    assert_int_equal(c->n + 2, 26);
    assert_int_equal(n_filters, 4);
    ASSERT_OK(oto_gguf_finish(w, path, e_));
    oto_gguf_writer_free(w);
}

static void test_vad(void **state)
{
    char source[600], line[900], folder[200], gguf[200], path[200];
    oto_weights *onnx;
    checkpoint *c;

    (void)state;
    snprintf(source, sizeof source, "%s/fsmn-vad/source", models_dir());
    if (access(source, R_OK) != 0) {
        print_message("no %s\n", source);
        skip();
    }
    put_path(folder, "vad");
    put_path(gguf, "vad.gguf");
    ASSERT_OK(oto_mkdirs(folder, e_));
    snprintf(line, sizeof line, "cp '%s/am.mvn' '%s'", source, folder);
    assert_int_equal(system(line), 0);
    ASSERT_OK(oto_weights_open(source, &onnx, e_));
    c = of_onnx(onnx);
    put_path(path, "vad/model.pt");
    assert_true(checkpoint_write(c, path));
    write_official(c, onnx, gguf);
    checkpoint_free(c);
    oto_weights_close(onnx);
    check_same(source, folder, OTO_COMPUTE_F32);
    check_same(source, gguf, OTO_COMPUTE_F32);
    check_same(source, folder, OTO_COMPUTE_I8);
    if (getenv("OTO_TEST_VAD_FOLDER") != NULL) /* the published model.pt, of the same package */
        check_same(source, getenv("OTO_TEST_VAD_FOLDER"), OTO_COMPUTE_F32);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paraformer),          cmocka_unit_test(test_contextual),
        cmocka_unit_test(test_sensevoice),          cmocka_unit_test(test_punctuation),
        cmocka_unit_test(test_what_funasr_saves),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_contextual_refusals), cmocka_unit_test(test_vad),
    };
    return cmocka_run_group_tests_name("models/folder", tests, set_up, tear_down);
}
