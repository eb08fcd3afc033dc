/* Packed files are foreign bytes too: what binding refuses. */
#include "models/whisper/whisper.c"

#include "unit/models/whisper/toy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static toy files;
static char path[128];  /* the packed toy */
static uint8_t *packed; /* its bytes */
static size_t n_packed;

static int pack_toy(void **state)
{
    (void)state;
    oto_err e;
    if (!toy_new(&files))
        return -1;
    toy_ct2(&files);
    toy_path(&files, "packed.gguf", path);
    if (oto_cpu_init(&e) != 0 || oto_model_convert(files.dir, path, OTO_COMPUTE_I8, &e) != 0)
        return -1;
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return -1;
    fseek(f, 0, SEEK_END);
    n_packed = (size_t)ftell(f);
    rewind(f);
    packed = malloc(n_packed);
    if (packed == NULL || fread(packed, 1, n_packed, f) != n_packed)
        return -1;
    fclose(f);
    return 0;
}

static int remove_toy(void **state)
{
    (void)state;
    free(packed);
    toy_remove(&files);
    return 0;
}

/* Writes `n` bytes at `at` of the packed file. */
static void poke(size_t at, const void *bytes, size_t n)
{
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, (long)at, SEEK_SET);
    fwrite(bytes, 1, n, f);
    fclose(f);
}

static void refuse(size_t at, const void *bytes, size_t n, const char *text)
{
    oto_model *m;
    oto_err e = {0};
    poke(at, bytes, n);
    const int rc = oto_model_open(path, OTO_COMPUTE_AUTO, &m, &e);
    poke(at, packed + at, n);
    assert_int_not_equal(rc, 0);
    if (strstr(e.text, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.text, text);
}

/* Where the bytes after a name begin. */
static size_t after(const char *name)
{
    const uint8_t *p = memmem(packed, n_packed, name, strlen(name));
    assert_non_null(p);
    return (size_t)(p - packed) + strlen(name);
}

static void opens_as_it_is(void **state)
{
    (void)state;
    oto_model *m;
    oto_model_info info;
    oto_err e = {0};
    if (oto_model_open(path, OTO_COMPUTE_AUTO, &m, &e) != 0)
        fail_msg("%s", e.text);
    oto_model_info_get(m, &info);
    assert_string_equal(info.family, "whisper");
    assert_int_equal(info.task, OTO_TASK_ASR);
    assert_int_equal(info.compute, OTO_COMPUTE_I8);
    assert_int_equal(info.n_mels, TOY_MELS);
    assert_int_equal(info.n_vocab, TOY_VOCAB);
    assert_int_equal(info.width, TOY_W);
    assert_int_equal(info.n_heads, TOY_W / 64);
    assert_int_equal(info.n_layers_enc, TOY_LAYERS);
    assert_int_equal(info.n_layers_dec, TOY_LAYERS);
    assert_true(info.translates && info.detects && info.languages[0] == '\0');
    oto_model_close(m);
}

/* Each number of the header, moved off its value. */
static void wrong_dimensions_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        int64_t v;
        const char *text;
    } wrong[] = {
        {"whisper.width", 192, "heads"},
        {"whisper.width", -64, "whisper.width"},
        {"whisper.width", 1 << 20, "whisper.width"},
        {"whisper.n_heads", 3, "heads"},
        {"whisper.n_layers_enc", 3, "enc.2."},
        {"whisper.n_layers_dec", 0, "n_layers_dec"},
        {"whisper.n_layers_dec", 65, "n_layers_dec"},
        {"whisper.n_mels", 80, "enc.conv1"},
        {"whisper.n_vocab", 51866 + 16, "dec.tok"},
        {"whisper.eot", 51000, "no Whisper vocabulary"},
        {"whisper.eot", -1, "whisper.eot"},
        {"whisper.eot", 50256, "tokens.end"},
    };
    for (size_t i = 0; i < OTO_COUNT(wrong); i++)
        refuse(after(wrong[i].key) + 4, &wrong[i].v, sizeof wrong[i].v, wrong[i].text);
}

static void wrong_lists_are_refused(void **state)
{
    (void)state;
    /* value type, element type, count, then the elements */
    const size_t first = 4 + 4 + 8;
    const int32_t negative = -1, beyond = TOY_VOCAB, layer = TOY_LAYERS;
    refuse(after("whisper.suppress") + first, &negative, 4, "whisper.suppress");
    refuse(after("whisper.suppress_begin") + first, &beyond, 4, "whisper.suppress_begin");
    refuse(after("whisper.alignment_heads") + first, &layer, 4, "whisper.alignment_heads");
    refuse(after("whisper.alignment_heads") + first + 4, &layer, 4, "whisper.alignment_heads");
}

static void wrong_tokens_are_refused(void **state)
{
    (void)state;
    oto_weights *w;
    oto_err e;
    assert_int_equal(oto_weights_open(path, &w, &e), 0);
    const oto_tensor *end = oto_weights_find(w, "tokens.end");
    assert_non_null(end);
    const uint8_t *in_file = memmem(packed, n_packed, end->data, 4096);
    assert_non_null(in_file);
    const size_t at = (size_t)(in_file - packed);
    oto_weights_close(w);
    const int32_t negative = -5, beyond = 1 << 30, zero = 0;
    refuse(at, &negative, 4, "token 0");
    refuse(at + 400, &beyond, 4, "token 100");
    refuse(at + 4 * 77, &zero, 4, "token 77");
}

/* A name that is not found is named. */
static void missing_tensors_are_named(void **state)
{
    (void)state;
    static const char *const names[] = {"enc.conv1.w",   "enc.conv2.b",       "enc.pos",
                                        "enc.ln.g",      "dec.tok",           "dec.pos",
                                        "dec.ln.b",      "dec.0.ln2.g",       "dec.1.kv.w",
                                        "dec.1.cross.b", "enc.1.fc2.w.scale", "dec.0.fc1.w.row_sum",
                                        "tokens.bytes",  "tokens.end"};
    for (size_t i = 0; i < OTO_COUNT(names); i++)
        refuse(after(names[i]) - 1, "?", 1, names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_as_it_is),
        cmocka_unit_test(wrong_dimensions_are_refused),
        cmocka_unit_test(wrong_lists_are_refused),
        cmocka_unit_test(wrong_tokens_are_refused),
        cmocka_unit_test(missing_tensors_are_named),
    };
    return cmocka_run_group_tests(tests, pack_toy, remove_toy);
}
