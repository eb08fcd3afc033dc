/* The network against PyTorch: FunASR's SenseVoiceSmall with the same seeded weights (torch 2.11.0,
 * funasr 1.4.16, float32, one thread; numbers of tests/reference/funasr_peer.py), and the tags. */
#include "models/sensevoice/sensevoice.c"

#include "unit/models/seeded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

#define ROWS 21

typedef struct {
    seeded_size size;
    float enc0[4], enc20[4], mean_abs;
    float logp0[4];
    int best[ROWS];
} golden;

static const golden tiny = {
    .size = {.n_enc = 3, .n_tp = 2, .n_vocab = 60},
    .enc0 = {-1.01413f, -0.08777f, 2.87201f, 0.69012f},
    .enc20 = {0.08282f, 0.87531f, 0.99646f, 1.12836f},
    .mean_abs = 0.787790f,
    .logp0 = {-3.10503f, -5.54334f, -4.77784f, -5.83290f},
    .best = {53, 42, 20, 42, 5, 5, 5, 31, 45, 12, 5, 5, 12, 5, 5, 12, 36, 21, 36, 36, 36},
};

static const golden full = {
    .size = {.n_enc = 50, .n_tp = 20, .n_vocab = 25055},
    .enc0 = {-0.02391f, -0.28219f, 2.11612f, -0.89073f},
    .enc20 = {-0.49409f, -0.32170f, 2.44537f, -0.65874f},
    .mean_abs = 0.797642f,
    .logp0 = {-9.59743f, -10.89194f, -11.49109f, -11.30380f},
    .best = {22310, 4367,  5723,  22727, 24269, 24269, 3003, 24269, 24269, 24269, 20151,
             11515, 12404, 11515, 12404, 12404, 12404, 8544, 12404, 3031,  20151},
};

typedef struct {
    char path[64];
    oto_model *model;
    oto_pool *pool;
    oto_arena *arena, *job;
    state *s;
    float pcm[16000];
} fixture;

static void set_up(fixture *f, const golden *g, oto_compute compute)
{
    void *s;
    oto_err e = {0};
    int fd;

    snprintf(f->path, sizeof f->path, "/tmp/oto-sensevoice-XXXXXX");
    fd = mkstemp(f->path);
    assert_true(fd >= 0);
    close(fd);
    assert_true(seeded_sensevoice(f->path, g->size));
    if (oto_cpu_init(&e) != 0 || oto_model_open(f->path, compute, &f->model, &e) != 0)
        fail_msg("%s", e.text);
    unlink(f->path);
    assert_int_equal(oto_pool_new(2, OTO_POOL_SCRATCH_BYTES, &f->pool, &e), 0);
    assert_int_equal(oto_arena_new("test", asr_bytes(f->model->impl, 3, 1), &f->arena, &e), 0);
    assert_int_equal(oto_arena_new("job", (size_t)64 << 20, &f->job, &e), 0);
    if (asr_new(f->model->impl, 3, 1, f->pool, f->arena, &s, &e) != 0)
        fail_msg("%s", e.text);
    f->s = s;
    seeded_signal(f->pcm, 16000);
}

static void tear_down(fixture *f)
{
    oto_arena_free(f->job);
    oto_arena_free(f->arena);
    oto_pool_free(f->pool);
    oto_model_close(f->model);
}

static void near4(const float *got, const float *expected)
{
    for (int i = 0; i < 4; i++)
        if (!(fabsf(got[i] - expected[i]) <= 6e-5f))
            fail_msg("%d: %.6f, expected %.5f", i, (double)got[i], (double)expected[i]);
}

static void run(fixture *f, const size_t *lengths, int n, oto_asr_result *out)
{
    oto_asr_options o;
    oto_arena *const arenas[] = {f->job, f->job, f->job};
    oto_asr_window w[3];
    oto_err e;

    oto_asr_defaults(&o);
    for (int i = 0; i < n; i++)
        w[i] = (oto_asr_window){f->pcm, lengths[i], false};
    if (asr_run(f->s, &o, w, n, arenas, out, &e) != 0)
        fail_msg("%s", e.text);
}

static void check(const golden *g)
{
    static const size_t whole[] = {16000};
    oto_asr_result out;
    fixture f;
    double sum = 0;

    set_up(&f, g, OTO_COMPUTE_F32);
    run(&f, whole, 1, &out);
    assert_int_equal(f.s->end[0], ROWS);
    near4(f.s->sanm.x, g->enc0);
    near4(f.s->sanm.x + (ROWS - 1) * SV_D, g->enc20);
    for (int i = 0; i < ROWS * SV_D; i++)
        sum += fabs((double)f.s->sanm.x[i]);
    assert_true(fabs(sum / (ROWS * SV_D) - (double)g->mean_abs) < 2e-5);
    for (int i = 0; i < ROWS; i++)
        assert_int_equal(f.s->best[i], g->best[i]);
    float logp[4];
    for (int i = 0; i < 4; i++)
        logp[i] = f.s->logits[i] - oto_k()->logsumexp_f32(f.s->logits, g->size.n_vocab);
    near4(logp, g->logp0);
    tear_down(&f);
}

static void test_like_pytorch(void **unused)
{
    (void)unused;
    check(&tiny);
}

static void test_like_pytorch_at_full_size(void **unused)
{
    (void)unused;
    if (getenv("OTO_TEST_LONG") == NULL)
        skip();
    check(&full);
}

static void test_windows_do_not_know_each_other(void **unused)
{
    static const size_t lengths[] = {16000, 300, 9000};

    (void)unused;
    for (oto_compute c = OTO_COMPUTE_F32; c <= OTO_COMPUTE_I8; c++) {
        oto_asr_result together[3], alone;
        fixture f;

        set_up(&f, &tiny, c);
        run(&f, lengths, 3, together);
        for (int i = 0; i < 3; i++) {
            run(&f, &lengths[i], 1, &alone);
            assert_int_equal(alone.n_raw, together[i].n_raw);
            assert_memory_equal(alone.raw_tokens, together[i].raw_tokens,
                                (size_t)alone.n_raw * sizeof(int32_t));
            assert_int_equal(alone.n_segments, together[i].n_segments);
            for (int k = 0; k < alone.n_segments; k++)
                assert_string_equal(alone.segments[k].text, together[i].segments[k].text);
        }
        tear_down(&f);
    }
}

static bool count(void *arg)
{
    int *left = arg;

    return --*left <= 0;
}

static void test_a_run_is_stopped(void **unused)
{
    static const size_t length[] = {16000};
    oto_asr_result calm, again;
    oto_asr_options o;
    int left = 1000, all;
    fixture f;
    oto_err e;

    (void)unused;
    set_up(&f, &tiny, OTO_COMPUTE_I8);
    oto_asr_defaults(&o);
    o.stop = (oto_stop){count, &left};
    const oto_asr_window w = {f.pcm, length[0], false};
    assert_int_equal(asr_run(f.s, &o, &w, 1, &f.job, &calm, &e), 0);
    all = 1000 - left;
    assert_true(all >= f.s->m->n_enc + f.s->m->n_tp);
    for (int i = 1; i <= all; i++) {
        left = i;
        assert_int_equal(asr_run(f.s, &o, &w, 1, &f.job, &again, &e), OTO_E_CANCELLED);
        assert_int_equal(left, 0);
    }
    run(&f, length, 1, &again);
    assert_int_equal(again.n_raw, calm.n_raw);
    assert_memory_equal(again.raw_tokens, calm.raw_tokens, (size_t)calm.n_raw * sizeof(int32_t));
    tear_down(&f);
}

static void test_tags(void **unused)
{
    static const char *const said[] = {"<|zh|>",      "<|HAPPY|>", "<|Speech|>",
                                       "<|withitn|>", "<|en|>",    "<|Event_UNK|>"};
    tags t = {.language = ""};

    (void)unused;
    for (size_t i = 0; i < OTO_COUNT(said); i++)
        assert_true(take_tag((oto_slice){said[i], strlen(said[i])}, &t));
    assert_string_equal(t.language, "zh");
    assert_string_equal(t.emotion, "HAPPY");
    assert_string_equal(t.event, "Speech");
    assert_false(take_tag((oto_slice){"<|", 2}, &t));
    assert_false(take_tag((oto_slice){"<||>", 4}, &t));
    assert_false(take_tag((oto_slice){"zh", 2}, &t));
}

/* Neighbours once, blanks never, a token again behind a blank. */
static void test_collapse(void **state_)
{
    int32_t best[] = {7, 7, 0, 0, 7, 8, 8, 8, 0};
    float log_prob[9] = {-1, -2, 0, 0, -3, -5, -4, -6, 0};
    const state s = {.best = best, .log_prob = log_prob};
    token t[9];

    (void)state_;
    assert_int_equal(collapse(&s, 0, 9, t), 3);
    assert_int_equal(t[0].id, 7);
    assert_int_equal(t[0].end, 2);
    assert_int_equal(t[1].id, 7);
    assert_int_equal(t[1].first, 4);
    assert_int_equal(t[2].id, 8);
    assert_int_equal(t[2].first, 5);
    assert_int_equal(t[2].end, 8);
    assert_true(t[2].log_prob == -4);
}

/* The text of a window, which stands behind another one's. */
static void check_text(const char *const *said, int n, const char *expected)
{
    oto_slice pieces[8] = {{"", 0}};
    const sensevoice m = {.pieces = pieces};
    int32_t best[SV_ASKS + 8];
    float log_prob[SV_ASKS + 8] = {0};
    int end = n;
    const state s = {.m = &m, .best = best, .log_prob = log_prob, .end = &end};
    const oto_asr_window w = {.n = 16000};
    oto_asr_result out;
    oto_arena *a;
    oto_err e;

    for (int i = 0; i < n; i++) {
        pieces[i + 1] = (oto_slice){said[i], strlen(said[i])};
        best[i] = i + 1;
    }
    assert_int_equal(oto_arena_new("test", 1 << 20, &a, &e), 0);
    assert_int_equal(give(&s, 0, &w, a, &out, &e), 0);
    assert_int_equal(out.n_segments, 1);
    assert_string_equal(out.segments[0].text, expected);
    oto_arena_free(a);
}

static void test_windows_are_apart_where_words_are(void **unused)
{
    static const char *const en[] = {"<|en|>", "<|withitn|>", "5", "▁men", "."};
    static const char *const ko[] = {"<|ko|>", "<|withitn|>", "5", "월", "."};
    static const char *const zh[] = {"<|zh|>", "<|withitn|>", "5", "月", "。"};
    static const char *const ja[] = {"<|ja|>", "<|withitn|>", "は", "い", "。"};
    static const char *const none[] = {"The", "▁men"};

    (void)unused;
    check_text(en, OTO_COUNT(en), " 5 men.");
    check_text(ko, OTO_COUNT(ko), " 5월.");
    check_text(zh, OTO_COUNT(zh), "5月。");
    check_text(ja, OTO_COUNT(ja), "はい。");
    check_text(none, OTO_COUNT(none), " The men");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_like_pytorch),
        cmocka_unit_test(test_like_pytorch_at_full_size),
        cmocka_unit_test(test_windows_do_not_know_each_other),
        cmocka_unit_test(test_a_run_is_stopped),
        cmocka_unit_test(test_tags),
        cmocka_unit_test(test_collapse),
        cmocka_unit_test(test_windows_are_apart_where_words_are),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
