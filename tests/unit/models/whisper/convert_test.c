#include "models/whisper/convert.c"

#include "unit/models/whisper/toy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static toy files;

static int write_toys(void **state)
{
    (void)state;
    if (!toy_new(&files))
        return -1;
    toy_ct2(&files);
    toy_ggml(&files);
    return 0;
}

static int remove_toys(void **state)
{
    (void)state;
    toy_remove(&files);
    return 0;
}

/* Packs into `packed.gguf` of the toy's folder and opens that. */
static oto_weights *packed(const char *path, oto_compute compute)
{
    char dst[128];
    oto_weights *w = NULL;
    oto_err e = {0};
    toy_path(&files, "packed.gguf", dst);
    if (oto_cpu_init(&e) != 0 || oto_model_convert(path, dst, compute, &e) != 0 ||
        oto_weights_open(dst, &w, &e) != 0)
        fail_msg("%s", e.text);
    unlink(dst);
    return w;
}

static void same_list(const oto_weights *a, const oto_weights *b, const char *key)
{
    const size_t n = oto_weights_array_len(a, key);
    assert_int_equal(n, oto_weights_array_len(b, key));
    for (size_t i = 0; i < n; i++) {
        int64_t x = 0, y = 0;
        assert_true(oto_weights_array_int(a, key, i, &x));
        assert_true(oto_weights_array_int(b, key, i, &y));
        assert_int_equal(x, y);
    }
}

static void both_formats_pack_to_the_same(void **state)
{
    (void)state;
    char ggml[128];
    toy_path(&files, "ggml.bin", ggml);
    for (int c = OTO_COMPUTE_F32; c <= OTO_COMPUTE_I8; c++) {
        oto_weights *a = packed(files.dir, (oto_compute)c), *b = packed(ggml, (oto_compute)c);
        assert_int_equal(oto_weights_count(a), oto_weights_count(b));
        for (size_t i = 0; i < oto_weights_count(a); i++) {
            const oto_tensor *x = oto_weights_at(a, i), *y = oto_weights_find(b, x->name);
            assert_non_null(y);
            assert_int_equal(x->type, y->type);
            assert_int_equal(x->n_bytes, y->n_bytes);
            if (memcmp(x->data, y->data, x->n_bytes) != 0)
                fail_msg("%s differs", x->name);
        }
        same_list(a, b, "whisper.suppress");
        same_list(a, b, "whisper.suppress_begin");
        same_list(a, b, "whisper.alignment_heads");
        oto_weights_close(a);
        oto_weights_close(b);
    }
}

/* W[n][3 k] of a convolution is [tap][channel] where the files have [channel][tap]. */
static void convolutions_become_tap_major(void **state)
{
    (void)state;
    oto_weights *w = packed(files.dir, OTO_COMPUTE_F32);
    float want[3 * TOY_W * TOY_W], got[3 * TOY_W];
    oto_mat m;
    toy_values(want, OTO_COUNT(want), 3, 0.1f, 0);
    assert_int_equal(oto_get_matrix(w, "enc.conv2.w", OTO_F32, TOY_W, 3 * TOY_W, &m, NULL), 0);
    for (int n = 0; n < TOY_W; n++) {
        oto_mat_row(&m, n, got);
        for (int j = 0; j < 3; j++)
            for (int c = 0; c < TOY_W; c++)
                assert_true(got[j * TOY_W + c] == want[(n * TOY_W + c) * 3 + j]);
    }
    oto_weights_close(w);
}

static void dimensions_and_tokens_are_bound(void **state)
{
    (void)state;
    char ggml[128];
    oto_err e = {0};
    toy_path(&files, "ggml.bin", ggml);
    for (int i = 0; i < 2; i++) {
        oto_model *model;
        if (oto_model_open(i ? ggml : files.dir, OTO_COMPUTE_I8, &model, &e) != 0)
            fail_msg("%s", e.text);
        const oto_whisper_dims *d = oto_whisper_dims_get(oto_whisper_of(model));
        assert_int_equal(d->width, TOY_W);
        assert_int_equal(d->n_heads, TOY_W / 64);
        assert_int_equal(d->n_mels, TOY_MELS);
        assert_int_equal(d->n_layers_enc, TOY_LAYERS);
        assert_int_equal(d->n_layers_dec, TOY_LAYERS);
        assert_true(d->multilingual);
        assert_int_equal(d->n_langs, 99);
        assert_int_equal(d->eot, 50257);
        assert_int_equal(d->sot, 50258);
        assert_int_equal(d->lang_first, 50259);
        assert_int_equal(d->translate, 50358);
        assert_int_equal(d->transcribe, 50359);
        assert_int_equal(d->sot_lm, 50360);
        assert_int_equal(d->sot_prev, 50361);
        assert_int_equal(d->no_speech, 50362);
        assert_int_equal(d->no_timestamps, 50363);
        assert_int_equal(d->timestamp_first, 50364);
        for (int id = 0; id < TOY_EOT; id += 13) {
            char s[8];
            size_t n = toy_token(id, s);
            oto_slice got = oto_tokens_bytes(oto_whisper_tokens(oto_whisper_of(model)), id);
            assert_int_equal(got.n, n);
            assert_memory_equal(got.p, s, n);
        }
        assert_int_equal(oto_tokens_bytes(oto_whisper_tokens(oto_whisper_of(model)), TOY_EOT).n, 0);
        oto_model_close(model);
    }
}

/* ---- what is refused ---- */

static void refuse(const char *text)
{
    char dst[128];
    oto_err e = {0};
    toy_path(&files, "packed.gguf", dst);
    assert_int_not_equal(oto_model_convert(files.dir, dst, OTO_COMPUTE_F32, &e), 0);
    if (strstr(e.text, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.text, text);
    assert_int_not_equal(access(dst, F_OK), 0);
}

/* Overwrites the first `from` in the file by `to` of the same length while `text` is expected. */
static void refuse_with(const char *from, const char *to, size_t n, const char *text)
{
    char path[128];
    toy_path(&files, "model.bin", path);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    const size_t size = (size_t)ftell(f);
    char *all = malloc(size);
    assert_non_null(all);
    rewind(f);
    assert_int_equal(fread(all, 1, size, f), size);
    const char *at = memmem(all, size, from, n);
    assert_non_null(at);
    fseek(f, at - all, SEEK_SET);
    fwrite(to, 1, n, f);
    fflush(f);
    refuse(text);
    fseek(f, at - all, SEEK_SET);
    fwrite(from, 1, n, f);
    fclose(f);
    free(all);
}

static void bad_files_are_refused_by_name(void **state)
{
    (void)state;
#define NAMES(from, to, text) refuse_with(from, to, sizeof(from) - 1, text)
    NAMES("decoder/layer_1/attention/linear_2/bias", "decoder/layer_1/attention/linear_9/bias",
          "no tensor decoder/layer_1/attention/linear_2/bias");
    NAMES("encoder/conv1/weight", "encoder/conv7/weight", "encoder/conv1/weight");
    NAMES("decoder/embeddings/weight", "decoder/embeddingz/weight", "decoder/embeddings/weight");
    /* 1500 positions → 96000 rows of 2 */
    NAMES("encoder/position_encodings/encodings\0\2\xdc\5\0\0\x80\0\0\0",
          "encoder/position_encodings/encodings\0\2\0\x77\1\0\2\0\0\0",
          "encoder/position_encodings/encodings is 96000 x 2, expected 1500 x 128");
    NAMES("WhisperSpec", "ParrotsSpec", "not of a model known here");
    /* no decoder layers */
    NAMES("decoder/layer_0/self_attention/linear_0/weight",
          "decoder/layer_x/self_attention/linear_0/weight", "n_layers_dec");
#undef NAMES
}

static void vocabularies_are_checked(void **state)
{
    (void)state;
    char path[128], aside[140];
    toy_path(&files, "vocabulary.txt", path);
    snprintf(aside, sizeof aside, "%s.aside", path);
    assert_int_equal(rename(path, aside), 0);
    refuse("no vocabulary");
    FILE *f = fopen(path, "w");
    fputs("a\nb\n", f);
    fclose(f);
    refuse("2 tokens");
    f = fopen(path, "w");
    for (int i = 0; i < TOY_VOCAB; i++)
        fprintf(f, "x%d\n", i);
    fclose(f);
    refuse("single byte");
    assert_int_equal(rename(aside, path), 0);
}

static void config_lists_are_taken_and_checked(void **state)
{
    (void)state;
    char path[128];
    int64_t v;
    toy_path(&files, "config.json", path);
    FILE *f = fopen(path, "w");
    fputs("{\"suppress_ids\": [5, 3], \"suppress_ids_begin\": [7], \"alignment_heads\": [[1, 0]]}",
          f);
    fclose(f);
    oto_weights *w = packed(files.dir, OTO_COMPUTE_I8);
    assert_int_equal(oto_weights_array_len(w, "whisper.suppress"), 2);
    assert_true(oto_weights_array_int(w, "whisper.suppress", 1, &v) && v == 3);
    assert_int_equal(oto_weights_array_len(w, "whisper.suppress_begin"), 1);
    assert_int_equal(oto_weights_array_len(w, "whisper.alignment_heads"), 2);
    oto_weights_close(w);
    f = fopen(path, "w");
    fputs("{\"alignment_heads\": [[1, 2]]}", f);
    fclose(f);
    refuse("whisper.alignment_heads");
    f = fopen(path, "w");
    fputs("{\"suppress_ids\": [51865]}", f);
    fclose(f);
    refuse("whisper.suppress");
    unlink(path);
}

/* ---- what is derived ---- */

/* With real vocabularies the derived lists are those that the models' own files give. */
static void derived(const char *model)
{
    const char *models = getenv("OTO_TEST_MODELS");
    char path[500];
    oto_weights *w = NULL;
    oto_arena *a = NULL;
    oto_tokens *t;
    oto_slice *s;
    oto_err e = {0};
    snprintf(path, sizeof path, "%s/%s/source", models ? models : "models", model);
    if (access(path, R_OK) != 0) {
        print_message("%s is not there: derived lists not compared\n", path);
        skip();
    }
    if (oto_weights_open(path, &w, &e) != 0 || oto_arena_new("test", (size_t)64 << 20, &a, &e) != 0)
        fail_msg("%s", e.text);
    packer p = {.src = w, .a = a, .e = &e};
    list *l = oto_arena_calloc(a, 1, sizeof *l);
    assert_non_null(l);
    assert_int_equal(ct2_dims(&p), 0);
    assert_int_equal(find_eot(&p), 0);
    assert_int_equal(vocabulary(&p, &s), 0);
    assert_int_equal(oto_tokens_new(s, p.eot, p.eot, &t, &e), 0);
    const int n_langs = p.n_vocab - p.eot - OTO_WHISPER_SPECIALS;
    derive_suppress(t, p.eot, p.eot + 2 + n_langs, l);
    for (size_t i = 0; i < l->n; i++) {
        int64_t v = -1;
        assert_true(oto_weights_array_int(w, "ct2.suppress_ids", i, &v));
        assert_int_equal(l->v[i], v);
    }
    assert_int_equal(l->n, oto_weights_array_len(w, "ct2.suppress_ids"));
    oto_tokens_free(t);
    oto_arena_free(a);
    oto_weights_close(w);
}

static void derived_list_is_tiny_ens(void **state)
{
    (void)state;
    derived("whisper-tiny.en");
}

static void derived_list_is_bases(void **state)
{
    (void)state;
    derived("whisper-base");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_formats_pack_to_the_same),
        cmocka_unit_test(convolutions_become_tap_major),
        cmocka_unit_test(dimensions_and_tokens_are_bound),
        cmocka_unit_test(bad_files_are_refused_by_name),
        cmocka_unit_test(vocabularies_are_checked),
        cmocka_unit_test(config_lists_are_taken_and_checked),
        cmocka_unit_test(derived_list_is_tiny_ens),
        cmocka_unit_test(derived_list_is_bases),
    };
    return cmocka_run_group_tests(tests, write_toys, remove_toys);
}
