/* Hot words against FunASR's Contextual Paraformer with the same seeded weights, stage by stage
 * (tests/reference/funasr_hotwords.py). */
#include "models/paraformer/contextual.c"

#include "golden.h"

#include <math.h>

static const seeded_size size = {.n_enc = 3, .n_dec = 3, .n_vocab = 120, .contextual = true};

static fixture *network(oto_compute c)
{
    return made_of(size, c);
}

static const char *one(void)
{
    static char text[16];
    char *to = text;

    for (int i = 3; i <= 5; i++)
        to += put_piece(to, i);
    return text;
}

/* Rows of a stage are 512 wide; four values of each are known. */
static void same_stages(const fixture *f, const char *list, int n_rows)
{
    const struct {
        const char *stage;
        const float *got;
        double within;
    } stages[] = {{"rows", f->net.hot.now->rows, 2e-6},
                  {"sound", f->net.hot.e0, 5e-6},
                  {"words", f->net.hot.hidden, 5e-6},
                  {"both", f->net.e, 5e-5}};
    char name[64];

    assert_int_equal(f->net.hot.now->n, n_rows);
    for (size_t i = 0; i < OTO_COUNT(stages); i++) {
        snprintf(name, sizeof name, "clas_%s_%s", list, stages[i].stage);
        near_all(name, stages[i].got, PF_D, 4, stages[i].within);
    }
    snprintf(name, sizeof name, "clas_%s_ids", list);
    same_ids(name, f);
    snprintf(name, sizeof name, "clas_%s_log_prob", list);
    near_all(name, f->net.log_prob, 64, 64, 2e-5);
}

static void test_stages(void **state)
{
    fixture *f = network(OTO_COMPUTE_F32);
    float fire[64];

    (void)state;
    run(f, whole, 1, NULL);
    same_stages(f, "none", 1);
    assert_int_equal(golden("clas_fire", fire, 64), f->net.n_tokens[0]);
    for (int i = 0; i < f->net.n_tokens[0]; i++)
        assert_int_equal(f->net.fire[i], (int)fire[i]);
    run(f, whole, 1, one());
    same_stages(f, "one", 2);
    run(f, whole, 1, few());
    same_stages(f, "few", 5);
    run(f, whole, 1, many());
    same_stages(f, "many", MANY + 1);
    /* No word of the list is known: as without one. */
    run(f, whole, 1, "\xe3\x81\x82");
    same_stages(f, "none", 1);
    run(f, whole, 1, "");
    same_stages(f, "none", 1);
}

/* How far log-probabilities are from those in f32, in the root mean square. */
static double distance(const fixture *f, const char *name)
{
    float expected[64];
    const int n = golden(name, expected, 64);
    double sum = 0;

    assert_int_equal(f->net.n_tokens[0], n);
    for (int i = 0; i < n; i++) {
        const double x = (double)f->net.log_prob[i] - (double)expected[i];

        sum += x * x;
    }
    return sqrt(sum / n);
}

/* In fewer bits, too, each list is heard as itself. */
static void test_precisions(void **state)
{
    (void)state;
    for (oto_compute c = OTO_COMPUTE_F32; c <= OTO_COMPUTE_I8; c++) {
        fixture *f = network(c);

        run(f, whole, 1, few());
        print_message("%s: %.4f of few, %.4f of none\n", oto_compute_name(c),
                      distance(f, "clas_few_log_prob"), distance(f, "clas_none_log_prob"));
        assert_true(distance(f, "clas_few_log_prob") < distance(f, "clas_none_log_prob"));
    }
}

static void test_windows_do_not_know_each_other(void **state)
{
    static const size_t lengths[] = {16000, 300, SAMPLES};

    (void)state;
    for (oto_compute c = OTO_COMPUTE_F32; c <= OTO_COMPUTE_I8; c++) {
        fixture *f = network(c);

        for (int list = 0; list < 2; list++) {
            const char *text = list ? many() : NULL;
            float log_prob[PF_ROWS];
            int end[WINDOWS], at = 0;

            run(f, lengths, WINDOWS, text);
            memcpy(end, f->net.n_tokens, sizeof end);
            memcpy(log_prob, f->net.log_prob, sizeof log_prob);
            for (int i = 0; i < WINDOWS; i++) {
                run(f, &lengths[i], 1, text);
                const int n = f->net.n_tokens[0];

                assert_int_equal(n, end[i] - at);
                assert_memory_equal(f->net.log_prob, log_prob + at, (size_t)n * sizeof *log_prob);
                at = end[i];
            }
        }
    }
}

/* A list as long as a list can be: more rows than there are of sound. */
static void test_long_list(void **state)
{
    char *text = malloc(2 * PF_HOT_BYTES), *to = text;
    fixture *f = network(OTO_COMPUTE_I8);

    (void)state;
    while (to < text + PF_HOT_BYTES) {
        to += put_piece(to, word(3 + (int)(to - text) % 100));
        to += sprintf(to, ", ");
    }
    run(f, whole, 1, text);
    assert_int_equal(f->net.hot.now->n, PF_HOT_ROWS);
    for (int i = 0; i < f->net.n_tokens[0]; i++)
        assert_true(f->net.log_prob[i] <= 0 && f->net.log_prob[i] > -20);
    free(text);
}

/* Through the model's ordinary way, hot words heeded or not. */
static void test_results(void **state)
{
    fixture *f = network(OTO_COMPUTE_I8);
    const oto_asr_window w = {f->pcm, SAMPLES, false};
    const char *lists[] = {NULL, many(), NULL};
    float log_prob[3];
    oto_model_info info;
    oto_asr_options o;
    oto_arena *job;
    oto_asr *asr;
    oto_err e;

    (void)state;
    oto_model_info_get(f->model, &info);
    assert_true(info.hotwords);
    assert_int_equal(info.n_layers_dec, 3);
    oto_asr_defaults(&o);
    assert_int_equal(oto_arena_new("job", (size_t)16 << 20, &job, &e), 0);
    assert_int_equal(oto_asr_new(f->model, 1, 1, f->pool, f->arena, &asr, &e), 0);
    for (int i = 0; i < 3; i++) {
        oto_asr_result r;

        o.hotwords = lists[i];
        assert_int_equal(oto_asr_run(asr, &o, &w, 1, job, &r, &e), 0);
        assert_true(r.n_segments > 0);
        log_prob[i] = r.segments[0].avg_logprob;
    }
    assert_true(log_prob[0] != log_prob[1]);
    assert_true(log_prob[0] == log_prob[2]);
    oto_arena_free(job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stages),
        cmocka_unit_test(test_precisions),
        cmocka_unit_test(test_windows_do_not_know_each_other),
        cmocka_unit_test(test_long_list),
        cmocka_unit_test(test_results),
    };

    return cmocka_run_group_tests(tests, NULL, release);
}
