/* Recordings that share an engine, each on a thread of its own, on real weights: OTO_TEST_MODELS
 * (default models) with whisper-tiny.en and fsmn-vad, OTO_TEST_DATA (default build/testdata). */
#include "recogniser/engine.c"

#include "kernels/kernels.h"

#include <limits.h>
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
    bool words;
    int beam; /* 0: greedy */
    char path[1024], text[1 << 15];
    size_t n;
    int rc, segments, stop_at;
    _Atomic int asked;
    int stop_from; /* this question; 0: no run is stopped */
    oto_stop stop; /* instead of counting */
    oto_asr_stats stats;
    oto_err e;
} lane;

static bool count(void *arg)
{
    lane *l = arg;

    return ++l->asked >= l->stop_from;
}

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
    oto_job_result result = {.audio_ms = 0};

    oto_job_defaults(&job);
    job.asr.beam = OTO_MAX(l->beam, 1);
    job.asr.words = l->words;
    job.asr.stop = l->stop_from > 0 ? (oto_stop){count, l} : l->stop;
    job.on_segment = on_segment;
    job.arg = l;
    l->asked = 0;
    l->text[0] = '\0';
    l->n = 0;
    l->segments = 0;
    l->rc = oto_recogniser_new(&o, &r, &l->e);
    if (l->rc == 0)
        l->rc = oto_recogniser_run(r, l->path, &job, &result, &l->e);
    l->stats = result.asr;
    oto_recogniser_free(r);
    return NULL;
}

static void make_lane(lane *l, oto_engine *g, const char *name)
{
    memset(l, 0, sizeof *l);
    l->engine = g;
    snprintf(l->path, sizeof l->path, "%s", under("OTO_TEST_DATA", "build/testdata", name));
}

static oto_engine *make_engine_of(oto_crew *crew)
{
    const oto_engine_options o = {asr, 2, 3, 5, crew};
    oto_engine *g;
    oto_err e = {0};

    if (oto_engine_new(&o, &g, &e) != 0)
        fail_msg("%s", e.text);
    return g;
}

static oto_engine *make_engine(void)
{
    return make_engine_of(NULL);
}

static void set_options(lane *l, int i)
{
    static const int beams[LANES] = {1, 5, 2};

    l->beam = beams[i];
    l->words = i == 2;
}

/* Whatever each of them wants. */
static void test_together_as_alone(void **state)
{
    static const char *const names[LANES] = {"en60.wav", "en20.wav", "en20.wav"};
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
        set_options(&alone[i], i);
        hear(&alone[i]);
        if (alone[i].rc != 0)
            fail_msg("%s", alone[i].e.text);
        assert_true(alone[i].segments > 0);
    }
    oto_engine_stats_get(g, &stats);
    assert_int_equal(stats.mixed_runs, 0);
    for (int i = 0; i < LANES; i++) {
        make_lane(&together[i], g, names[i]);
        set_options(&together[i], i);
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

/* ---- runs that are stopped ---- */

/* Wherever it is stopped, in the encoder, between tokens or before words are timed, it is over with
 * the next questions, and the engine is as before. */
static void test_a_run_is_stopped(void **state)
{
    static lane calm, stopped;
    int questions;
    oto_engine *g;

    (void)state;
    if (asr == NULL)
        skip();
    g = make_engine();
    make_lane(&calm, g, "en20.wav");
    calm.words = true;
    calm.stop_from = INT_MAX;
    hear(&calm);
    if (calm.rc != 0)
        fail_msg("%s", calm.e.text);
    questions = calm.asked;
    /* One before each layer, one behind each token. */
    assert_true(questions > calm.stats.steps);
    for (int i = 0; i < 4; i++) {
        const int at[] = {1, 3, questions / 2, questions};

        stopped = calm;
        stopped.stop_from = at[i];
        hear(&stopped);
        assert_int_equal(stopped.rc, OTO_E_CANCELLED);
        assert_in_range(stopped.asked, at[i], at[i] + 2);
        assert_string_equal(stopped.text, "");
    }
    stopped.stop_from = INT_MAX;
    hear(&stopped);
    assert_int_equal(stopped.rc, 0);
    assert_int_equal(stopped.asked, questions);
    assert_string_equal(stopped.text, calm.text);
    oto_engine_free(g);
}

/* Two lanes that wait for a crew which this thread holds. */
typedef struct {
    oto_crew *crew;
    turn turn;
    oto_engine *engine;
    lane lanes[2];
    pthread_t threads[2];
} pair;

static void hold_up(pair *p, oto_stop first, oto_stop second)
{
    const oto_stop never = {NULL, NULL};
    oto_err e = {0};
    int n;

    memset(p, 0, sizeof *p);
    assert_int_equal(oto_crew_new(2, &p->crew, &e), 0);
    p->engine = make_engine_of(p->crew);
    assert_true(take_turn(p->crew, &p->turn, &never));
    make_lane(&p->lanes[0], p->engine, "en60.wav");
    make_lane(&p->lanes[1], p->engine, "en20.wav");
    p->lanes[0].stop = first;
    p->lanes[1].stop = second;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&p->threads[i], NULL, hear, &p->lanes[i]), 0);
    do {
        usleep(1000);
        n = 0;
        pthread_mutex_lock(&p->engine->lock);
        for (const oto_ticket *t = p->engine->first; t != NULL; t = t->next)
            n += t == p->engine->first || t->owner != p->engine->first->owner;
        pthread_mutex_unlock(&p->engine->lock);
    } while (n < 2);
}

static void join(pair *p)
{
    for (int i = 0; i < 2; i++)
        pthread_join(p->threads[i], NULL);
}

static void let_go(pair *p)
{
    oto_engine_free(p->engine);
    oto_crew_free(p->crew);
}

/* Text of en20.wav by an engine as it is now. */
static const char *text_of(oto_engine *g)
{
    static lane l;

    make_lane(&l, g, "en20.wav");
    hear(&l);
    if (l.rc != 0)
        fail_msg("%s", l.e.text);
    return l.text;
}

static _Atomic int wanted_asked;

#define SOME_STEPS 5

/* When it has been under way for a while. */
static bool has_begun(void *arg)
{
    const pair *p = arg;

    return p->engine->stats.runs >= SOME_STEPS;
}

static bool is_asked(void *arg)
{
    (void)arg;
    wanted_asked++;
    return false;
}

static void test_others_are_heard(void **state)
{
    static pair p;
    oto_engine_stats stats;

    (void)state;
    if (asr == NULL)
        skip();
    hold_up(&p, (oto_stop){has_begun, &p}, (oto_stop){is_asked, NULL});
    wanted_asked = 0;
    end_turn(p.crew);
    join(&p);
    assert_int_equal(p.lanes[0].rc, OTO_E_CANCELLED);
    if (p.lanes[1].rc != 0)
        fail_msg("%s", p.lanes[1].e.text);
    oto_engine_stats_get(p.engine, &stats);
    assert_int_equal(stats.mixed_runs, SOME_STEPS);
    assert_true(stats.runs > SOME_STEPS);
    assert_true(wanted_asked > stats.runs);
    assert_string_equal(p.lanes[1].text, text_of(p.engine));
    let_go(&p);
}

static void test_all_are_stopped(void **state)
{
    static pair p;
    oto_engine_stats stats;

    (void)state;
    if (asr == NULL)
        skip();
    hold_up(&p, (oto_stop){has_begun, &p}, (oto_stop){has_begun, &p});
    end_turn(p.crew);
    join(&p);
    for (int i = 0; i < 2; i++)
        assert_int_equal(p.lanes[i].rc, OTO_E_CANCELLED);
    oto_engine_stats_get(p.engine, &stats);
    assert_int_equal(stats.runs, SOME_STEPS);
    assert_int_equal(stats.mixed_runs, SOME_STEPS);
    assert_int_equal(stats.windows, 0);
    assert_true(text_of(p.engine)[0] == '[');
    let_go(&p);
}

static _Atomic bool over;

static bool is_over(void *arg)
{
    (void)arg;
    return over;
}

/* Neither for the crew nor for the one who leads. */
static void test_who_is_stopped_does_not_wait(void **state)
{
    static pair p;
    oto_engine_stats stats;

    (void)state;
    if (asr == NULL)
        skip();
    over = false;
    hold_up(&p, (oto_stop){is_over, NULL}, (oto_stop){is_over, NULL});
    over = true;
    join(&p);
    for (int i = 0; i < 2; i++)
        assert_int_equal(p.lanes[i].rc, OTO_E_CANCELLED);
    assert_ptr_equal(p.crew->first, &p.turn);
    assert_null(p.turn.next);
    assert_null(p.engine->first);
    oto_engine_stats_get(p.engine, &stats);
    assert_int_equal(stats.runs, 0);
    end_turn(p.crew);
    assert_true(text_of(p.engine)[0] == '[');
    let_go(&p);
}

/* Of who has the fewest places; among equals who came first. */
static void test_who_has_fewest_is_next(void **state)
{
    oto_ticket *places[4] = {NULL}, tickets[6];
    oto_engine g = {.o = {.batch = 4}, .places = places};
    const char *const owners = "AAABBC";
    const char *const order = "ABCABA";

    (void)state;
    g.end = &g.first;
    for (int i = 0; i < 6; i++) {
        tickets[i] = (oto_ticket){.owner = &owners[i < 3 ? 0 : i < 5 ? 3 : 5]};
        *g.end = &tickets[i];
        g.end = &tickets[i].next;
    }
    for (int i = 0; i < 6; i++) {
        const int at = free_place(&g);
        oto_ticket **next = next_in(&g), *t = *next;

        assert_int_equal(*(const char *)t->owner, order[i]);
        unlink_ticket(&g, next);
        if (at >= 0)
            places[at] = t;
    }
    assert_null(next_in(&g));
    assert_ptr_equal(g.end, &g.first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_together_as_alone),
        cmocka_unit_test(test_one_stops),
        cmocka_unit_test(test_a_run_is_stopped),
        cmocka_unit_test(test_others_are_heard),
        cmocka_unit_test(test_all_are_stopped),
        cmocka_unit_test(test_who_is_stopped_does_not_wait),
        cmocka_unit_test(test_who_has_fewest_is_next),
    };

    return cmocka_run_group_tests(tests, open_models, close_models);
}
