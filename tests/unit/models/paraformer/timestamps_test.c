/* Times against FunASR's (tests/reference/funasr_hotwords.py). */
#include "models/paraformer/timestamps.c"

#include "golden.h"

/* alpha as the reference gives it: scaled to the number of tokens. */
static void scaled(const float *alpha, int n, int tokens, float *out)
{
    const float by = (float)tokens / sum_of(alpha, n);

    for (int i = 0; i < n; i++)
        out[i] = alpha[i] * by;
}

/* 20 rows of arithmetic through the predictor alone. */
static void test_head_alone(void **state)
{
    seeded_size size = hot_size;
    float out[60];
    uint32_t x = 7;
    fixture f;

    (void)state;
    size.n_hot = 0;
    size.bare = true;
    set_up(&f, size, OTO_COMPUTE_F32);
    for (int i = 0; i < 20 * PF_D; i++) {
        x = 1664525u * x + 1013904223u;
        f.net.sanm.x[i] = (float)((double)(x >> 8) / 8388608.0 - 1);
    }
    f.net.n_rows[0] = 20;
    oto_pf_time(&f.net, 1);
    scaled(f.net.timer.alpha, 60, 5, out);
    assert_true(fabsf(out[0] - 0.08221f) < 1e-5f && fabsf(out[1] - 0.08088f) < 1e-5f &&
                fabsf(out[2] - 0.08792f) < 1e-5f);
    near_all("head_alone", out, 60, 60, 2e-6);
    tear_down(&f);
}

/* The same behind the encoder, in each precision. */
static void test_head(void **state)
{
    static const double within[] = {
        [OTO_COMPUTE_F32] = 2e-6, [OTO_COMPUTE_BF16] = 0.02, [OTO_COMPUTE_I8] = 0.02};

    (void)state;
    for (oto_compute c = OTO_COMPUTE_F32; c <= OTO_COMPUTE_I8; c++) {
        seeded_size size = hot_size;
        float out[PF_UP * PF_ROWS];
        fixture f;

        size.n_hot = 0;
        set_up(&f, size, c);
        run(&f, whole, 1, NULL);
        scaled(f.net.timer.alpha, PF_UP * f.net.n_rows[0], 26, out);
        near_all("head", out, sizeof out, PF_UP * f.net.n_rows[0], within[c]);
        tear_down(&f);
    }
}

/* A window's weights do not depend on the others; one is longer than a block of steps, one shorter,
 * and one has no row. */
static void test_windows_do_not_know_each_other(void **state)
{
    static const size_t lengths[] = {9000, 300, SAMPLES};

    (void)state;
    for (oto_compute c = OTO_COMPUTE_F32; c <= OTO_COMPUTE_I8; c++) {
        seeded_size size = hot_size;
        float together[PF_UP * PF_ROWS];
        int end[WINDOWS], at = 0;
        fixture f;

        size.n_hot = 0;
        set_up(&f, size, c);
        run(&f, lengths, WINDOWS, NULL);
        memcpy(end, f.net.n_rows, sizeof end);
        memcpy(together, f.net.timer.alpha, (size_t)(PF_UP * end[2]) * sizeof *together);
        for (int i = 0; i < WINDOWS; i++) {
            run(&f, &lengths[i], 1, NULL);
            assert_int_equal(f.net.n_rows[0], end[i] - (i > 0 ? end[i - 1] : 0));
            assert_memory_equal(f.net.timer.alpha, together + at,
                                (size_t)(PF_UP * f.net.n_rows[0]) * sizeof *together);
            at += PF_UP * f.net.n_rows[0];
        }
        tear_down(&f);
    }
}

/* Weights of arithmetic, as the reference made them. */
static void test_conversion(void **state)
{
    int cases = 0;

    (void)state;
    for (int i = 0; i < 60; i++) {
        float expected[64], alpha[256];
        char name[32];
        int fire[256], n;
        pf_span out[32];
        uint32_t x = 1000 + (uint32_t)i;

        snprintf(name, sizeof name, "case_%d", i);
        if ((n = golden(name, expected, 64)) < 0)
            continue;
        for (int k = 0; k < (int)expected[0]; k++) {
            x = 1664525u * x + 1013904223u;
            alpha[k] = (float)((double)(x >> 8) / 8388608.0 - 1) - (float)(0.4 * (i % 3));
            alpha[k] = OTO_MAX(alpha[k], 0) * 0.2f;
        }
        const bool any =
            oto_pf_spans(alpha, (int)expected[0], (int)expected[1], (int)expected[2], fire, out);
        assert_int_equal(any, n > 3);
        for (int k = 0; 2 * k + 3 < n; k++)
            if (out[k].start_ms != (int64_t)expected[3 + 2 * k] ||
                out[k].end_ms != (int64_t)expected[4 + 2 * k])
                fail_msg("case %d, piece %d: %d to %d, expected %.0f to %.0f", i, k,
                         (int)out[k].start_ms, (int)out[k].end_ms, (double)expected[3 + 2 * k],
                         (double)expected[4 + 2 * k]);
        for (int k = (n - 3) / 2; any && k < (int)expected[2]; k++)
            assert_int_equal(out[k].end_ms, out[k - 1].end_ms); /* the reference has none */
        cases++;
    }
    assert_true(cases > 40);
}

static void test_no_time_at_all(void **state)
{
    float nothing[30] = {0}, broken[30];
    int fire[30];
    pf_span out[4];

    (void)state;
    for (int i = 0; i < 30; i++)
        broken[i] = NAN;
    assert_false(oto_pf_spans(nothing, 30, 3, 3, fire, out));
    assert_false(oto_pf_spans(broken, 30, 3, 3, fire, out));
    assert_false(oto_pf_spans(nothing, 0, 0, 0, fire, out));
}

/* Through the model's door: words have times of 20 ms, in order and within the window. */
static void test_words(void **state)
{
    seeded_size size = hot_size;
    oto_asr_options o;
    oto_asr_window w;
    oto_asr_result r;
    oto_asr *asr;
    oto_arena *job;
    oto_err e = {0};
    fixture f;
    int64_t last = 0;
    int n = 0, fine = 0;

    (void)state;
    size.n_hot = 0;
    set_up(&f, size, OTO_COMPUTE_F32);
    oto_asr_defaults(&o);
    w = (oto_asr_window){f.pcm, SAMPLES, true};
    assert_int_equal(oto_arena_new("job", (size_t)16 << 20, &job, &e), 0);
    assert_int_equal(oto_asr_new(f.model, WINDOWS, 1, f.pool, f.arena, &asr, &e), 0);
    assert_int_equal(oto_asr_run(asr, &o, &w, 1, job, &r, &e), 0);
    for (int i = 0; i < r.n_segments; i++)
        for (int k = 0; k < r.segments[i].n_words; k++, n++) {
            const oto_word *word = &r.segments[i].words[k];

            assert_true(word->start_ms >= last && word->end_ms >= word->start_ms);
            assert_true(word->end_ms <= SAMPLES / 16);
            fine += word->start_ms % OTO_LFR_MS != 0;
            last = word->start_ms;
        }
    assert_true(n > 10 && fine > n / 3);
    oto_arena_free(job);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_alone),
        cmocka_unit_test(test_head),
        cmocka_unit_test(test_windows_do_not_know_each_other),
        cmocka_unit_test(test_conversion),
        cmocka_unit_test(test_no_time_at_all),
        cmocka_unit_test(test_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
