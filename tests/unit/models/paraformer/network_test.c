/* The network against PyTorch: FunASR's Paraformer with the same seeded weights, stage by stage
 * (torch 2.11.0, funasr 1.4.16, float32, one thread; numbers of tests/reference/funasr_peer.py). */
#include "models/paraformer/network.c"

#include "unit/models/paraformer/hear.h"
#include "unit/models/seeded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct {
    seeded_size size;
    float enc0[4], enc16[4], mean_abs;
    float alpha[4], e0[4], last[4];
    int n_tokens;
    float log_prob[4]; /* of tokens 0 … 3 */
    int ids[16];
} golden;

static const golden tiny = {
    .size = {.n_enc = 3, .n_dec = 2, .n_vocab = 50},
    .enc0 = {0.62648f, -0.03364f, -0.47212f, -0.10693f},
    .enc16 = {1.07818f, -0.25559f, -0.05866f, -0.02635f},
    .mean_abs = 0.786323f,
    .alpha = {0.65767f, 0.55062f, 0.41237f, 0.49432f},
    .e0 = {0.81082f, -0.03153f, -0.50393f, -0.06456f},
    .last = {0.78407f, -0.48942f, 0.19485f, 0.21675f},
    .n_tokens = 8,
    .log_prob = {-1.57213f, -2.03128f, -1.76868f, -1.81789f},
    .ids = {24, 24, 24, 24, 24, 24, 24, 24},
};

static const golden full = {
    .size = {.n_enc = 50, .n_dec = 16, .n_vocab = 8404},
    .enc0 = {0.11401f, 0.16260f, 0.41877f, -0.23657f},
    .enc16 = {1.31233f, -0.35715f, 0.01442f, 0.37405f},
    .mean_abs = 0.798461f,
    .alpha = {0.83849f, 0.77879f, 0.73230f, 0.78473f},
    .e0 = {0.15532f, 0.17794f, 0.39862f, -0.19253f},
    .last = {0.88575f, -0.22531f, 0.00886f, 0.23631f},
    .n_tokens = 13,
    .log_prob = {-5.77950f, -6.16295f, -5.95203f, -5.31483f},
    .ids = {6443, 6443, 3898, 8115, 1280, 6443, 6443, 6443, 6443, 6443, 5177, 5177, 7407},
};

#define ROWS 17

typedef struct {
    char path[64];
    oto_model *model;
    oto_pool *pool;
    oto_arena *arena;
    oto_heard_rows heard;
    pf_network net;
    float pcm[16000];
} fixture;

static void set_up(fixture *f, const golden *g, oto_compute compute)
{
    const paraformer *m;
    oto_err e = {0};
    int fd;

    snprintf(f->path, sizeof f->path, "/tmp/oto-paraformer-XXXXXX");
    fd = mkstemp(f->path);
    assert_true(fd >= 0);
    close(fd);
    assert_true(seeded_paraformer(f->path, g->size));
    if (oto_cpu_init(&e) != 0 || oto_model_open(f->path, compute, &f->model, &e) != 0)
        fail_msg("%s", e.text);
    unlink(f->path);
    m = f->model->impl;
    assert_int_equal(oto_pool_new(2, OTO_POOL_SCRATCH_BYTES, &f->pool, &e), 0);
    assert_int_equal(oto_arena_new("test", (size_t)256 << 20, &f->arena, &e), 0);
    assert_int_equal(oto_heard_new(m->shift, m->scale, 3, f->pool, f->arena, &f->heard, &e), 0);
    assert_int_equal(oto_pf_network_new(m, 3, f->pool, f->arena, &f->net, &e), 0);
    seeded_signal(f->pcm, 16000);
}

static void tear_down(fixture *f)
{
    oto_arena_free(f->arena);
    oto_pool_free(f->pool);
    oto_model_close(f->model);
}

/* The signal cut to these lengths, as windows of one group. */
static void run(fixture *f, const size_t *lengths, int n)
{
    hear_windows(&f->heard, &f->net, f->pcm, lengths, n);
    oto_pf_encode(&f->net, n);
    oto_pf_decode(&f->net, n);
}

static void near4(const float *got, const float *expected)
{
    for (int i = 0; i < 4; i++)
        if (!(fabsf(got[i] - expected[i]) <= 6e-5f))
            fail_msg("%d: %.6f, expected %.5f", i, (double)got[i], (double)expected[i]);
}

static void check(fixture *f, const golden *g)
{
    static const size_t whole[] = {16000};
    const float *h = f->net.sanm.x;
    double sum = 0;

    run(f, whole, 1);
    assert_int_equal(f->net.n_rows[0], ROWS);
    near4(h, g->enc0);
    near4(h + (ROWS - 1) * PF_D, g->enc16);
    for (int i = 0; i < ROWS * PF_D; i++)
        sum += fabs((double)h[i]);
    assert_true(fabs(sum / (ROWS * PF_D) - (double)g->mean_abs) < 2e-5);
    near4(f->net.alpha, g->alpha);
    assert_int_equal(f->net.n_tokens[0], g->n_tokens);
    near4(f->net.log_prob, g->log_prob);
    for (int i = 0; i < g->n_tokens; i++)
        assert_int_equal(f->net.ids[i], g->ids[i]);

    /* The decoder works in place: what came out of the predictor is looked at apart. */
    f->net.n_tokens[0] = 0;
    oto_pf_encode(&f->net, 1);
}

static void test_like_pytorch(void **state)
{
    fixture f;

    (void)state;
    set_up(&f, &tiny, OTO_COMPUTE_F32);
    check(&f, &tiny);
    tear_down(&f);
}

static void test_like_pytorch_at_full_size(void **state)
{
    fixture f;

    (void)state;
    if (getenv("OTO_TEST_LONG") == NULL)
        skip();
    set_up(&f, &full, OTO_COMPUTE_F32);
    check(&f, &full);
    tear_down(&f);
}

/* Embeddings by the definition, before the decoder. */
static void test_embeddings(void **state)
{
    fixture f;
    static const size_t whole[] = {16000};
    oto_asr_window w;

    (void)state;
    set_up(&f, &tiny, OTO_COMPUTE_F32);
    w = (oto_asr_window){f.pcm, whole[0], false};
    oto_heard_run(&f.heard, &w, 1);
    oto_heard_group(&f.heard, 0, 1, 0, PF_ROWS, f.net.n_rows);
    memcpy(f.net.sanm.in, f.heard.rows, ROWS * OTO_LFR_DIM * sizeof(float));
    oto_pf_encode(&f.net, 1);
    near4(f.net.e, tiny.e0);
    near4(f.net.e + (tiny.n_tokens - 1) * PF_D, tiny.last);
    tear_down(&f);
}

/* What a window says does not depend on what else is in the group. */
static void test_windows_do_not_know_each_other(void **state)
{
    static const size_t lengths[] = {16000, 300, 9000};

    (void)state;
    for (oto_compute c = OTO_COMPUTE_F32; c <= OTO_COMPUTE_I8; c++) {
        fixture f;
        float log_prob[3 * ROWS];
        int32_t ids[3 * ROWS];
        int n[3], all = 0;

        set_up(&f, &tiny, c);
        run(&f, lengths, 3);
        for (int i = 0; i < 3; i++)
            n[i] = f.net.n_tokens[i] - (i > 0 ? f.net.n_tokens[i - 1] : 0);
        memcpy(log_prob, f.net.log_prob, (size_t)f.net.n_tokens[2] * sizeof *log_prob);
        memcpy(ids, f.net.ids, (size_t)f.net.n_tokens[2] * sizeof *ids);
        assert_int_equal(n[1], 0); /* shorter than a frame */
        for (int i = 0; i < 3; i++) {
            run(&f, &lengths[i], 1);
            assert_int_equal(f.net.n_tokens[0], n[i]);
            assert_memory_equal(f.net.ids, ids + all, (size_t)n[i] * sizeof *ids);
            assert_memory_equal(f.net.log_prob, log_prob + all, (size_t)n[i] * sizeof *log_prob);
            all += n[i];
        }
        tear_down(&f);
    }
}

/* Weights of 1 and a tail close to it: their sum is rounded up. */
static void test_never_more_tokens_than_rows(void **state)
{
    enum { N = 256 };
    static float h[N * PF_D], out[(N + 2) * PF_D], alpha[N + 1];
    static int fire[N + 2];

    (void)state;
    for (int t = 0; t < N; t++)
        alpha[t] = 1;
    alpha[N] = 0.9999999f;
    assert_int_equal(integrate(h, alpha, N, out, fire), N);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_never_more_tokens_than_rows),    cmocka_unit_test(test_like_pytorch),
        cmocka_unit_test(test_like_pytorch_at_full_size),      cmocka_unit_test(test_embeddings),
        cmocka_unit_test(test_windows_do_not_know_each_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
