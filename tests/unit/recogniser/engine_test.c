/* Recordings that share an engine, each on a thread of its own, on real weights: OTO_TEST_MODELS
 * (default models) with whisper-tiny.en and fsmn-vad, OTO_TEST_DATA (default build/testdata). */
#include "recogniser/engine.c"

#include "kernels/kernels.h"

#include <setjmp.h>
#include <unistd.h>
#include <cmocka.h>

#define LANES 3

static oto_model *asr, *vad;

static const char *under(const char *variable, const char *fallback, const char *name)
{
    static char path[4][1024];
    static int at;
    const char *root = getenv(variable);

    at = (at + 1) % 4;
    snprintf(path[at], sizeof path[at], "%s/%s", root != NULL ? root : fallback, name);
    return path[at];
}

static int open_models(void **state)
{
    const char *a = under("OTO_TEST_MODELS", "models", "whisper-tiny.en/source");
    const char *v = under("OTO_TEST_MODELS", "models", "fsmn-vad/source");
    oto_err e = {0};

    (void)state;
    if (oto_cpu_init(&e) != 0)
        fail_msg("%s", e.text);
    if (access(a, R_OK) != 0 || access(v, R_OK) != 0 ||
        access(under("OTO_TEST_DATA", "build/testdata", "en20.wav"), R_OK) != 0) {
        print_message("skipped: needs %s and %s, and the test data\n", a, v);
        return 0;
    }
    if (oto_model_open(a, OTO_COMPUTE_I8, &asr, &e) != 0 ||
        oto_model_open(v, OTO_COMPUTE_F32, &vad, &e) != 0)
        fail_msg("%s", e.text);
    return 0;
}

static int close_models(void **state)
{
    (void)state;
    oto_model_close(asr);
    oto_model_close(vad);
    return 0;
}

typedef struct {
    oto_engine *engine;
    char path[1024], text[1 << 15];
    size_t n;
    int rc, segments, stop_at;
    oto_err e;
} lane;

static int on_segment(void *arg, const oto_segment *s)
{
    lane *l = arg;

    l->n += (size_t)snprintf(l->text + l->n, sizeof l->text - l->n, "[%d %d]%s", (int)s->start_ms,
                             (int)s->end_ms, s->text);
    return ++l->segments == l->stop_at;
}

static void *hear(void *arg)
{
    lane *l = arg;
    const oto_recogniser_options o = {.engine = l->engine, .vad = vad};
    oto_recogniser *r = NULL;
    oto_job_options job;
    oto_job_result result;

    oto_job_defaults(&job);
    job.asr.beam = 1;
    job.on_segment = on_segment;
    job.arg = l;
    l->n = 0;
    l->segments = 0;
    l->rc = oto_recogniser_new(&o, &r, &l->e);
    if (l->rc == 0)
        l->rc = oto_recogniser_run(r, l->path, &job, &result, &l->e);
    oto_recogniser_free(r);
    return NULL;
}

static void make_lane(lane *l, oto_engine *g, const char *name)
{
    memset(l, 0, sizeof *l);
    l->engine = g;
    snprintf(l->path, sizeof l->path, "%s", under("OTO_TEST_DATA", "build/testdata", name));
}

static oto_engine *make_engine(void)
{
    const oto_engine_options o = {asr, 2, 3, 5, NULL};
    oto_engine *g;
    oto_err e = {0};

    if (oto_engine_new(&o, &g, &e) != 0)
        fail_msg("%s", e.text);
    return g;
}

static void test_together_as_alone(void **state)
{
    static const char *const names[LANES] = {"en60.wav", "en20.wav", "en60.wav"};
    static lane alone[LANES], together[LANES];
    oto_engine *g;
    oto_engine_stats stats;
    pthread_t threads[LANES];

    (void)state;
    if (asr == NULL)
        skip();
    g = make_engine();
    for (int i = 0; i < LANES; i++) {
        make_lane(&alone[i], g, names[i]);
        hear(&alone[i]);
        if (alone[i].rc != 0)
            fail_msg("%s", alone[i].e.text);
        assert_true(alone[i].segments > 0);
    }
    oto_engine_stats_get(g, &stats);
    assert_int_equal(stats.mixed_runs, 0);
    for (int i = 0; i < LANES; i++) {
        make_lane(&together[i], g, names[i]);
        assert_int_equal(pthread_create(&threads[i], NULL, hear, &together[i]), 0);
    }
    for (int i = 0; i < LANES; i++) {
        pthread_join(threads[i], NULL);
        if (together[i].rc != 0)
            fail_msg("%s", together[i].e.text);
        assert_string_equal(together[i].text, alone[i].text);
    }
    oto_engine_stats_get(g, &stats);
    assert_true(stats.mixed_runs > 0);
    oto_engine_free(g);
}

/* One that stops does not hold up the others. */
static void test_one_stops(void **state)
{
    static lane lanes[2];
    pthread_t threads[2];
    oto_engine *g;

    (void)state;
    if (asr == NULL)
        skip();
    g = make_engine();
    for (int i = 0; i < 2; i++)
        make_lane(&lanes[i], g, "en60.wav");
    lanes[0].stop_at = 1;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hear, &lanes[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(lanes[0].rc, OTO_E_CANCELLED);
    assert_int_equal(lanes[1].rc, 0);
    assert_true(lanes[1].segments > 1);
    oto_engine_free(g);
}

static void test_other_options_go_apart(void **state)
{
    oto_asr_options a, b;

    (void)state;
    oto_asr_defaults(&a);
    oto_asr_defaults(&b);
    assert_true(same_options(&a, &b));
    a.prompt = "names";
    assert_false(same_options(&a, &b));
    b.prompt = "names";
    assert_true(same_options(&a, &b));
    snprintf(a.language, sizeof a.language, "fr");
    assert_false(same_options(&a, &b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_together_as_alone),
        cmocka_unit_test(test_one_stops),
        cmocka_unit_test(test_other_options_go_apart),
    };

    return cmocka_run_group_tests(tests, open_models, close_models);
}
