/* Hot words against FunASR's SeACo-Paraformer with the same seeded weights, stage by stage
 * (tests/reference/funasr_hotwords.py). */
#include "models/paraformer/hotwords.c"

#include "golden.h"

#include <limits.h>

static fixture *network(oto_compute c)
{
    return made_of(hot_size, c);
}

static void test_no_list(void **state)
{
    fixture *f = network(OTO_COMPUTE_F32);

    (void)state;
    run(f, whole, 1, NULL);
    same_ids("plain_ids", f);
    near_all("plain_log_prob", f->net.log_prob, 64, 64, 2e-5);
    /* No word of the list is known: as without one. */
    run(f, whole, 1, "\xe3\x81\x82");
    assert_null(f->net.hot.now);
    same_ids("plain_ids", f);
}

static void test_few(void **state)
{
    fixture *f = network(OTO_COMPUTE_F32);
    int n, end[1];
    pf_memory memory;

    (void)state;
    run(f, whole, 1, few());
    n = f->net.n_tokens[0];
    assert_int_equal(f->net.hot.now->n, 5);
    near_all("few_rows", f->net.hot.now->rows, PF_D, 4, 2e-6);
    same_ids("few_ids", f);
    near_all("few_log_prob", f->net.log_prob, 64, 64, 5e-5);

    /* Both passes of the second decoder, which were not kept. */
    memory = (pf_memory){.rows = f->net.hot.now->rows, .n = f->net.hot.now->n};
    end[0] = n;
    hear_windows(&f->heard, &f->net, f->pcm, whole, 1);
    oto_pf_encode(&f->net, 1);
    memcpy(f->net.hot.e0, f->net.e, (size_t)n * PF_D * sizeof(float));
    oto_pf_decoder_run(&f->net, &f->net.m->dec,
                       &(pf_memory){.rows = f->net.sanm.x, .n = f->net.n_rows[0]}, end, 1,
                       f->net.e);
    memcpy(f->net.hot.hidden, f->net.t, (size_t)n * PF_D * sizeof(float));
    oto_pf_decoder_run(&f->net, &f->net.m->hot.dec, &memory, end, 1, f->net.hot.e0);
    near_all("few_cif", f->net.t, PF_D, 4, 2e-5);
    oto_pf_decoder_run(&f->net, &f->net.m->hot.dec, &memory, end, 1, f->net.hot.hidden);
    near_all("few_dec", f->net.t, PF_D, 4, 2e-5);
}

/* More words than a window attends to: the same ones are chosen. */
static void test_many(void **state)
{
    fixture *f = network(OTO_COMPUTE_F32);
    double sum = 0;
    float expected[1];

    (void)state;
    run(f, whole, 1, many());
    assert_int_equal(f->net.hot.now->n, MANY + 1);
    near_all("many_rows", f->net.hot.now->rows, PF_D, 4, 2e-6);
    for (int i = 0; i < (PF_HOT_KEPT + 1) * PF_D; i++)
        sum += (double)f->net.hot.kept[i];
    assert_int_equal(golden("many_memory_sum", expected, 1), 1);
    assert_true(fabs(sum - (double)expected[0]) < 1e-3);
    same_ids("many_ids", f);
    near_all("many_log_prob", f->net.log_prob, 64, 64, 5e-5);
}

/* In fewer bits, too, words of the list are heard where they are in f32, mostly. */
static void test_precisions(void **state)
{
    (void)state;
    for (oto_compute c = OTO_COMPUTE_BF16; c <= OTO_COMPUTE_I8; c++) {
        float expected[64];
        const int n = golden("few_ids", expected, 64);
        int same = 0;
        fixture *f = network(c);

        run(f, whole, 1, few());
        assert_int_equal(f->net.n_tokens[0], n);
        for (int i = 0; i < n; i++)
            same += f->net.ids[i] == (int)expected[i];
        if (same < n * 3 / 4)
            fail_msg("%s: %d of %d", oto_compute_name(c), same, n);
    }
}

static void test_windows_do_not_know_each_other(void **state)
{
    static const size_t lengths[] = {16000, 300, SAMPLES};

    (void)state;
    for (oto_compute c = OTO_COMPUTE_F32; c <= OTO_COMPUTE_I8; c++) {
        fixture *f = network(c);

        for (int list = 0; list < 2; list++) {
            const char *text = list ? many() : few();
            float log_prob[PF_ROWS];
            int32_t ids[PF_ROWS];
            int end[WINDOWS], at = 0;

            run(f, lengths, WINDOWS, text);
            memcpy(end, f->net.n_tokens, sizeof end);
            memcpy(log_prob, f->net.log_prob, sizeof log_prob);
            memcpy(ids, f->net.ids, sizeof ids);
            for (int i = 0; i < WINDOWS; i++) {
                run(f, &lengths[i], 1, text);
                const int n = f->net.n_tokens[0];

                assert_int_equal(n, end[i] - at);
                assert_memory_equal(f->net.ids, ids + at, (size_t)n * sizeof *ids);
                assert_memory_equal(f->net.log_prob, log_prob + at, (size_t)n * sizeof *log_prob);
                at = end[i];
            }
        }
    }
}

/* The last few lists stay; a list that was let go is embedded anew, to the same. */
static void test_lists_are_kept(void **state)
{
    char text[PF_HOT_LISTS + 1][16];
    const pf_hot_list *first;
    float row[PF_D];
    fixture *f = network(OTO_COMPUTE_I8);

    (void)state;
    for (int i = 0; i <= PF_HOT_LISTS; i++)
        put_piece(text[i], 3 + i);
    oto_pf_hot_set(&f->net, text[0]);
    first = f->net.hot.now;
    memcpy(row, first->rows, sizeof row);
    for (int i = 1; i <= PF_HOT_LISTS; i++) {
        oto_pf_hot_set(&f->net, text[i]);
        assert_int_equal(f->net.hot.now == first, i == PF_HOT_LISTS);
    }
    assert_memory_not_equal(first->rows, row, sizeof row);
    oto_pf_hot_set(&f->net, text[0]);
    assert_ptr_not_equal(f->net.hot.now, first);
    assert_memory_equal(f->net.hot.now->rows, row, sizeof row);
    oto_pf_hot_set(&f->net, NULL);
    assert_null(f->net.hot.now);
    oto_pf_hot_set(&f->net, "");
    assert_null(f->net.hot.now);
}

/* A list as long as a list can be, and longer. */
static void test_long_list(void **state)
{
    char *text = malloc(2 * PF_HOT_BYTES), *to = text;
    fixture *f = network(OTO_COMPUTE_I8);

    (void)state;
    while (to < text + PF_HOT_BYTES + 100) {
        to += put_piece(to, word(3 + (int)(to - text) % 100));
        to += sprintf(to, ", ");
    }
    run(f, whole, 1, text);
    assert_int_equal(f->net.hot.now->n, PF_HOT_ROWS);
    for (int i = 0; i < f->net.n_tokens[0]; i++)
        assert_true(f->net.log_prob[i] <= 0 && f->net.log_prob[i] > -20);
    free(text);
}

typedef struct {
    int asked, stop_from;
} questions;

static bool count(void *arg)
{
    questions *q = arg;

    return ++q->asked >= q->stop_from;
}

/* Before any layer of the encoder and of both decoders; the next run is as any other. */
static void test_a_run_is_stopped(void **state)
{
    fixture *f = network(OTO_COMPUTE_I8);
    const oto_asr_window w = {f->pcm, SAMPLES, false};
    questions q = {0, INT_MAX};
    oto_asr_result calm, again;
    oto_asr_options o;
    oto_arena *job;
    oto_asr *asr;
    oto_err e;
    int all;

    (void)state;
    oto_asr_defaults(&o);
    o.hotwords = few();
    o.stop = (oto_stop){count, &q};
    assert_int_equal(oto_arena_new("job", (size_t)16 << 20, &job, &e), 0);
    assert_int_equal(oto_asr_new(f->model, 1, 1, f->pool, f->arena, &asr, &e), 0);
    assert_int_equal(oto_asr_run(asr, &o, &w, 1, job, &calm, &e), 0);
    all = q.asked;
    assert_true(all >= hot_size.n_enc + hot_size.n_dec + 2);
    for (int i = 1; i <= all; i++) {
        q = (questions){0, i};
        assert_int_equal(oto_asr_run(asr, &o, &w, 1, job, &again, &e), OTO_E_CANCELLED);
        assert_int_equal(q.asked, i);
    }
    q = (questions){0, INT_MAX};
    assert_int_equal(oto_asr_run(asr, &o, &w, 1, job, &again, &e), 0);
    assert_int_equal(again.n_raw, calm.n_raw);
    assert_memory_equal(again.raw_tokens, calm.raw_tokens, (size_t)calm.n_raw * sizeof(int32_t));
    oto_arena_free(job);
}

static void test_models_without_them(void **state)
{
    seeded_size size = hot_size;
    oto_model_info info;
    fixture f;

    (void)state;
    oto_model_info_get(network(OTO_COMPUTE_F32)->model, &info);
    assert_true(info.hotwords);
    size.n_hot = 0;
    set_up(&f, size, OTO_COMPUTE_F32);
    oto_model_info_get(f.model, &info);
    assert_false(info.hotwords);
    run(&f, whole, 1, few());
    assert_null(f.net.hot.now);
    same_ids("plain_ids", &f);
    tear_down(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_list),
        cmocka_unit_test(test_few),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_precisions),
        cmocka_unit_test(test_windows_do_not_know_each_other),
        cmocka_unit_test(test_lists_are_kept),
        cmocka_unit_test(test_long_list),
        cmocka_unit_test(test_a_run_is_stopped),
        cmocka_unit_test(test_models_without_them),
    };

    return cmocka_run_group_tests(tests, NULL, release);
}
