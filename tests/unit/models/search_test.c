#include "models/search.c"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

enum { VOCAB = 1000, EOT = 0 };

static oto_arena *arena;
static float logits[VOCAB];

static oto_search_row whole(int n)
{
    return (oto_search_row){.logits = logits, .n_ranges = 1, .range = {{0, n}}};
}

static void random_logits(unsigned seed)
{
    srand(seed);
    for (int i = 0; i < VOCAB; i++)
        logits[i] = (float)(rand() % 4000) / 200.0f - 10.0f; /* with ties */
}

static void top_is_what_sorting_gives(void **state)
{
    (void)state;
    for (unsigned seed = 0; seed < 50; seed++) {
        oto_candidate top[OTO_SEARCH_MAX_TOP];
        random_logits(seed);
        for (int i = 0; i < VOCAB; i += 3)
            logits[i] = -INFINITY;
        int a = rand() % 300, b = a + rand() % 300, c = b + rand() % 200, k = 1 + rand() % 20;
        oto_search_row row = {.logits = logits, .n_ranges = 2, .range = {{a, b}, {c, VOCAB}}};
        int n = oto_search_top(&row, k, top);
        double sum = 0;
        bool used[VOCAB] = {false};
        for (int i = 0; i < VOCAB; i++)
            if ((i >= a && i < b) || i >= c)
                sum += exp((double)logits[i]);
        assert_float_equal(oto_search_lse(&row), log(sum), 1e-4);
        assert_int_equal(n, k);
        for (int j = 0; j < n; j++) {
            int best = -1;
            for (int i = 0; i < VOCAB; i++)
                if (((i >= a && i < b) || i >= c) && !used[i] && logits[i] > -INFINITY &&
                    (best < 0 || logits[i] > logits[best]))
                    best = i;
            used[best] = true;
            assert_int_equal(top[j].token, best);
            assert_float_equal(top[j].log_prob, logits[best] - log(sum), 1e-4);
        }
    }
}

static void nothing_allowed_gives_nothing(void **state)
{
    (void)state;
    oto_candidate c[4];
    uint64_t rng = 1;
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -INFINITY;
    oto_search_row row = whole(VOCAB), none = {.logits = logits};
    assert_int_equal(oto_search_top(&row, 4, c), 0);
    assert_int_equal(oto_search_draw(&row, 1.0f, &rng, c), 0);
    assert_int_equal(oto_search_top(&none, 4, c), 0);
    assert_true(oto_search_lse(&row) == -INFINITY);
    logits[7] = 1;
    assert_int_equal(oto_search_top(&row, 4, c), 1);
    assert_int_equal(c[0].token, 7);
    assert_float_equal(c[0].log_prob, 0, 1e-5);
}

static void draws_follow_the_distribution(void **state)
{
    (void)state;
    enum { N = 20000 };
    int count[600] = {0};
    uint64_t rng = 42, again = 42;
    float temperature = 0.5f;
    for (int i = 0; i < VOCAB; i++)
        logits[i] = -30.0f;
    logits[3] = 0.0f;
    logits[500] = 0.5f;
    logits[599] = -0.5f;
    logits[4] = -INFINITY;
    oto_search_row row = whole(600);
    double mass = exp(0.0) + exp(1.0) + exp(-1.0), plain = exp(0.0) + exp(0.5) + exp(-0.5);
    for (int i = 0; i < N; i++) {
        oto_candidate c, d;
        assert_int_equal(oto_search_draw(&row, temperature, &rng, &c), 1);
        assert_int_equal(oto_search_draw(&row, temperature, &again, &d), 1);
        assert_int_equal(c.token, d.token);
        assert_float_equal(c.log_prob, logits[c.token] - log(plain), 1e-4);
        count[c.token]++;
    }
    assert_float_equal(count[3] / (double)N, 1 / mass, 0.02);
    assert_float_equal(count[500] / (double)N, exp(1.0) / mass, 0.02);
    assert_float_equal(count[599] / (double)N, exp(-1.0) / mass, 0.02);
    assert_int_equal(count[4], 0);
}

/* A language of four tokens; probabilities of the next one given the last (row 0: the start).
 * 0 ends. Greedy takes 1 first and then finds nothing good; 2 3 0 is the better sentence. */
static const float chain[4][4] = {
    {0.00f, 0.50f, 0.40f, 0.10f},
    {0.26f, 0.24f, 0.25f, 0.25f},
    {0.05f, 0.02f, 0.03f, 0.90f},
    {0.90f, 0.04f, 0.03f, 0.03f},
};

static void run_chain(oto_search *s, const oto_search_options *o)
{
    oto_search_start(s, o);
    while (oto_search_alive(s) > 0) {
        for (int i = 0; i < oto_search_alive(s); i++) {
            int n;
            float x[4];
            const int32_t *t = oto_search_tokens(s, i, &n);
            for (int k = 0; k < 4; k++)
                x[k] = logf(chain[n ? t[n - 1] : 0][k]);
            oto_search_row row = {.logits = x, .n_ranges = 1, .range = {{0, 4}}};
            oto_search_candidates(s, i, &row);
        }
        oto_search_advance(s);
    }
}

static void beam_finds_what_greedy_misses(void **state)
{
    (void)state;
    oto_search *s = NULL;
    oto_search_options o = {
        .lanes = 1, .patience = 1, .length_penalty = 1, .eot = EOT, .max_tokens = 8};
    int n;
    float sum;
    assert_int_equal(oto_search_new(4, 16, arena, &s, NULL), 0);
    run_chain(s, &o);
    const int32_t *best = oto_search_best(s, &n, &sum);
    assert_int_equal(n, 1);
    assert_int_equal(best[0], 1);
    assert_float_equal(sum, logf(0.50f * 0.26f), 1e-5);
    for (o.lanes = 2; o.lanes <= 4; o.lanes++) {
        run_chain(s, &o);
        best = oto_search_best(s, &n, &sum);
        assert_int_equal(n, 2);
        assert_int_equal(best[0], 2);
        assert_int_equal(best[1], 3);
        assert_float_equal(sum, logf(0.40f * 0.90f * 0.90f), 1e-5);
    }
}

static void length_penalty_and_patience_decide(void **state)
{
    (void)state;
    oto_search *s = NULL;
    oto_search_options o = {
        .lanes = 2, .patience = 1, .length_penalty = 0, .eot = EOT, .max_tokens = 8};
    int n;
    float sum, most = -INFINITY;
    assert_int_equal(oto_search_new(2, 16, arena, &s, NULL), 0);
    run_chain(s, &o);
    oto_search_best(s, &n, &sum);
    assert_float_equal(sum, logf(0.40f * 0.90f * 0.90f), 1e-5);
    /* Rewarding length makes a longer sentence the best; patience can only find better ones. */
    o.length_penalty = 3;
    for (o.patience = 1; o.patience <= 4; o.patience++) {
        run_chain(s, &o);
        oto_search_best(s, &n, &sum);
        float norm = sum / powf((float)n, o.length_penalty);
        assert_true(norm >= most);
        most = norm;
    }
    assert_true(n > 2);
}

static void the_last_step_ends_everything(void **state)
{
    (void)state;
    oto_search *s = NULL;
    int n;
    float sum;
    assert_int_equal(oto_search_new(3, 16, arena, &s, NULL), 0);
    for (int temperature = 0; temperature <= 1; temperature++)
        for (int lanes = 1; lanes <= 3; lanes++)
            for (int max = 1; max <= 5; max++) {
                oto_search_options o = {.lanes = lanes,
                                        .temperature = (float)temperature,
                                        .patience = 1,
                                        .length_penalty = 1,
                                        .eot = EOT,
                                        .max_tokens = max,
                                        .seed = 5};
                run_chain(s, &o);
                oto_search_best(s, &n, &sum);
                assert_in_range(n, 0, max);
                assert_true(sum < 0 && sum > -INFINITY);
            }
}

/* Each sample's text is the text of the lane it says it comes from. */
static void samples_keep_their_own_text(void **state)
{
    (void)state;
    oto_search *s = NULL;
    int32_t mirror[8][16], before[8][16];
    oto_search_options o = {
        .lanes = 8, .temperature = 1, .length_penalty = 1, .eot = EOT, .max_tokens = 16, .seed = 9};
    assert_int_equal(oto_search_new(8, 16, arena, &s, NULL), 0);
    oto_search_start(s, &o);
    assert_int_equal(oto_search_alive(s), 8);
    for (int step = 0; oto_search_alive(s) > 0; step++) {
        int n;
        for (int i = 0; i < oto_search_alive(s); i++) {
            float x[4];
            const int32_t *t = oto_search_tokens(s, i, &n);
            assert_int_equal(n, step);
            for (int k = 0; k < 4; k++)
                x[k] = logf(chain[n ? t[n - 1] : 0][k]);
            oto_search_row row = {.logits = x, .n_ranges = 1, .range = {{0, 4}}};
            assert_int_equal(oto_search_candidates(s, i, &row), 1);
        }
        oto_search_advance(s);
        memcpy(before, mirror, sizeof before);
        for (int i = 0; i < oto_search_alive(s); i++) {
            const int32_t *t = oto_search_tokens(s, i, &n);
            memcpy(mirror[i], before[oto_search_sources(s)[i]], sizeof mirror[i]);
            mirror[i][step] = t[step];
            assert_memory_equal(mirror[i], t, (size_t)n * sizeof *t);
        }
    }
}

static void too_many_lanes_are_refused(void **state)
{
    (void)state;
    oto_search *s = NULL;
    oto_err e;
    assert_int_equal(oto_search_new(OTO_SEARCH_MAX_LANES + 1, 4, arena, &s, &e), OTO_E_USAGE);
    assert_int_equal(oto_search_new(0, 4, arena, &s, &e), OTO_E_USAGE);
}

static int setup(void **state)
{
    (void)state;
    return oto_cpu_init(NULL) || oto_arena_new("search test", 1 << 22, &arena, NULL);
}

static int teardown(void **state)
{
    (void)state;
    oto_arena_free(arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(top_is_what_sorting_gives),
        cmocka_unit_test(nothing_allowed_gives_nothing),
        cmocka_unit_test(draws_follow_the_distribution),
        cmocka_unit_test(beam_finds_what_greedy_misses),
        cmocka_unit_test(length_penalty_and_patience_decide),
        cmocka_unit_test(the_last_step_ends_everything),
        cmocka_unit_test(samples_keep_their_own_text),
        cmocka_unit_test(too_many_lanes_are_refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
