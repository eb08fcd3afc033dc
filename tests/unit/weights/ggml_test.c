#include "weights/ggml.c"

#include "files.h"

static void reads_header_tokens_and_tensors(void **state)
{
    (void)state;
    oto_weights *w;
    const oto_tensor *t;
    int64_t v;
    oto_slice s;
    ASSERT_OK(oto_weights_open(OTO_SOURCE_DIR "/tests/fuzz/corpus/ggml/all", &w, e_));
    assert_string_equal(oto_weights_format(w), "ggml");
    static const int64_t header[] = {51864, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1};
    for (size_t i = 0; i < OTO_COUNT(header); i++) {
        assert_true(oto_weights_int(w, header_keys[i], &v));
        assert_int_equal(v, header[i]);
    }
    assert_int_equal(oto_weights_array_len(w, "tokenizer.tokens"), 3);
    assert_true(oto_weights_array_str(w, "tokenizer.tokens", 1, &s) && s.n == 0);
    assert_true(oto_weights_array_str(w, "tokenizer.tokens", 2, &s) && s.n == 2 &&
                !memcmp(s.p, "bc", 2));
    assert_int_equal(oto_weights_count(w), 4);
    /* ne is fastest first in the file: 3 taps, 2 channels in, 2 out */
    ASSERT_OK(
        oto_weights_need(w, "encoder.conv1.weight", OTO_T_F16, 3, (int64_t[]){2, 2, 3}, &t, e_));
    ASSERT_OK(oto_weights_need(w, "encoder.conv1.bias", OTO_T_F32, 2, (int64_t[]){2, 1}, &t, e_));
    ASSERT_OK(oto_weights_need(w, "q5", OTO_T_Q5_0, 2, (int64_t[]){1, 32}, &t, e_));
    ASSERT_OK(oto_weights_need(w, "q8", OTO_T_Q8_0, 1, (int64_t[]){32}, &t, e_));
    oto_weights_close(w);
}

static void refuses_what_is_wrong(void **state)
{
    (void)state;
    refuses(&oto_format_ggml, "ggml/negative", OTO_E_INPUT, "shape");
    refuses(&oto_format_ggml, "ggml/unknown_type", OTO_E_UNSUPPORTED, "type 99");
    refuses(&oto_format_ggml, "ggml/twice", OTO_E_INPUT, "encoder.conv1.weight is there twice");
    refuses(&oto_format_ggml, "ggml/huge_mels", OTO_E_INPUT, "mel filter bank");
    refuses(&oto_format_ggml, "ggml/short", OTO_E_INPUT, "truncated");
}

/* A cut between two tensors leaves a shorter valid file: how many there should be is not stored. */
static void damage_is_refused_or_harmless(void **state)
{
    (void)state;
    size_t n, accepted = 0;
    char *p = load_seed("ggml/all", &n);
    for (size_t cut = 0; cut < n; cut++) {
        oto_err e = {0};
        int rc = parse_copy(&oto_format_ggml, p, cut, &e);
        accepted += rc == 0;
        assert_true(rc == 0 || (rc == e.code && e.text[0]));
    }
    assert_int_equal(accepted, 3);
    survives_every_changed_byte(&oto_format_ggml, p, n);
    free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_header_tokens_and_tensors),
        cmocka_unit_test(refuses_what_is_wrong),
        cmocka_unit_test(damage_is_refused_or_harmless),
    };
    return cmocka_run_group_tests_name("weights/ggml", tests, NULL, NULL);
}
