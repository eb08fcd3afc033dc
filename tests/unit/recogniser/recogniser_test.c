/* Whole jobs on real weights: OTO_TEST_MODELS (default models) with whisper-tiny.en and fsmn-vad,
 * OTO_TEST_DATA (default build/testdata). */
#include "recogniser/recogniser.c"

#include "kernels/kernels.h"

#include "unit/models/seeded.h"

#include <setjmp.h>
#include <cmocka.h>

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

static const char *recording(const char *name)
{
    return under("OTO_TEST_DATA", "build/testdata", name);
}

static bool there(const char *path)
{
    return access(path, R_OK) == 0;
}

static int open_models(void **state)
{
    const char *a = under("OTO_TEST_MODELS", "models", "whisper-tiny.en/source");
    const char *v = under("OTO_TEST_MODELS", "models", "fsmn-vad/source");
    oto_err e = {0};

    (void)state;
    if (oto_cpu_init(&e) != 0)
        fail_msg("%s", e.text);
    if (!there(a) || !there(v) || !there(recording("en20.wav"))) {
        print_message("skipped: needs %s, %s and %s\n", a, v, recording("en20.wav"));
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

struct heard {
    char text[1 << 16];
    size_t n;
    int64_t last_ms, done_ms, total_ms;
    int segments, stop_at;
};

static int on_text(void *arg, const oto_segment *s)
{
    struct heard *h = arg;

    assert_true(s->start_ms >= h->last_ms);
    assert_true(s->end_ms >= s->start_ms);
    assert_true(s->seek_ms <= s->start_ms);
    h->last_ms = s->start_ms;
    h->n += (size_t)snprintf(h->text + h->n, sizeof h->text - h->n, "%s", s->text);
    assert_true(h->n < sizeof h->text);
    return ++h->segments == h->stop_at;
}

static int on_part(void *arg, int64_t done_ms, int64_t total_ms)
{
    struct heard *h = arg;

    assert_true(done_ms > h->done_ms);
    h->done_ms = done_ms;
    h->total_ms = total_ms;
    return 0;
}

static oto_recogniser *make_recogniser(int batch, size_t memory)
{
    const oto_recogniser_options o = {
        .asr = asr, .vad = vad, .threads = 2, .batch = batch, .memory_bytes = memory};
    oto_recogniser *r;
    oto_err e = {0};

    if (oto_recogniser_new(&o, &r, &e) != 0)
        fail_msg("%s", e.text);
    return r;
}

static int recognise(oto_recogniser *r, const char *path, bool no_vad, struct heard *h,
                     oto_job_result *result, oto_err *e)
{
    oto_job_options o;

    oto_job_defaults(&o);
    o.asr.beam = 1;
    o.no_vad = no_vad;
    o.on_segment = on_text;
    o.on_progress = on_part;
    o.arg = h;
    return oto_recogniser_run(r, path, &o, result, e);
}

static void test_speech(void **state)
{
    static struct heard first, again, single;
    oto_job_result result;
    oto_recogniser *r;
    oto_err e = {0};

    (void)state;
    if (asr == NULL)
        skip();
    first = again = single = (struct heard){0};
    r = make_recogniser(3, 0);
    assert_int_equal(recognise(r, recording("en20.wav"), false, &first, &result, &e), 0);
    assert_true(first.segments > 0);
    assert_int_equal(first.segments, result.n_segments);
    assert_in_range(result.audio_ms, 15000, 25000);
    assert_true(result.speech_ms > 0 && result.speech_ms <= result.audio_ms);
    assert_int_equal(first.done_ms, result.audio_ms);
    assert_string_equal(result.language, "en");
    assert_true(first.last_ms < result.audio_ms);
    /* the second job equals the first; so does one window at a time */
    assert_int_equal(recognise(r, recording("en20.wav"), false, &again, &result, &e), 0);
    assert_string_equal(again.text, first.text);
    oto_recogniser_free(r);
    r = make_recogniser(1, 0);
    assert_int_equal(recognise(r, recording("en20.wav"), false, &single, &result, &e), 0);
    assert_string_equal(single.text, first.text);
    oto_recogniser_free(r);
}

static void test_without_vad(void **state)
{
    static struct heard h;
    oto_job_result result;
    oto_recogniser *r;
    oto_err e = {0};

    (void)state;
    if (asr == NULL)
        skip();
    h = (struct heard){0};
    r = make_recogniser(2, 0);
    assert_int_equal(recognise(r, recording("en60.wav"), true, &h, &result, &e), 0);
    assert_true(h.segments > 0);
    assert_int_equal(result.speech_ms, result.audio_ms);
    assert_true(result.n_windows >= 2);
    oto_recogniser_free(r);
}

static void test_failures(void **state)
{
    static struct heard h;
    oto_job_result result;
    oto_recogniser *r;
    oto_err e = {0};

    (void)state;
    if (asr == NULL)
        skip();
    r = make_recogniser(1, 0);
    assert_int_equal(recognise(r, "no/such.wav", false, &h, &result, &e), OTO_E_NOT_FOUND);
    assert_non_null(strstr(e.text, "no/such.wav"));
    h = (struct heard){.stop_at = 1};
    assert_int_equal(recognise(r, recording("en20.wav"), false, &h, &result, &e), OTO_E_CANCELLED);
    assert_int_equal(h.segments, 1);
    /* and none of it matters to the next */
    h = (struct heard){0};
    assert_int_equal(recognise(r, recording("en20.wav"), false, &h, &result, &e), 0);
    assert_true(h.segments > 1);
    oto_recogniser_free(r);
}

static void test_memory_limit(void **state)
{
    oto_recogniser_options o = {.asr = asr, .vad = vad, .threads = 1, .memory_bytes = 1 << 20};
    oto_recogniser *r;
    oto_err e = {0};
    unsigned long least = 0;
    const char *p;

    (void)state;
    if (asr == NULL)
        skip();
    assert_int_equal(oto_recogniser_new(&o, &r, &e), OTO_E_LIMIT);
    p = strstr(e.text, "needs at least ");
    assert_non_null(p);
    assert_non_null(strstr(e.text, "memory limit too small"));
    least = strtoul(p + strlen("needs at least "), NULL, 10);
    assert_in_range(least, 20, 400);
    /* what it says is enough, for a small batch; twice that is for a larger one */
    o.memory_bytes = (size_t)(least + 4) << 20;
    assert_int_equal(oto_recogniser_new(&o, &r, &e), 0);
    assert_true(r->o.batch < DEFAULT_BATCH);
    oto_recogniser_free(r);
    o.memory_bytes = (size_t)4 << 30;
    assert_int_equal(oto_recogniser_new(&o, &r, &e), 0);
    assert_int_equal(r->o.batch, DEFAULT_BATCH);
    oto_recogniser_free(r);
}

static void test_models_in_each_others_place(void **state)
{
    oto_recogniser_options o = {.asr = vad};
    oto_recogniser *r;
    oto_err e = {0};

    (void)state;
    if (asr == NULL)
        skip();
    assert_int_equal(oto_recogniser_new(&o, &r, &e), OTO_E_USAGE);
    o = (oto_recogniser_options){.asr = asr, .vad = asr};
    assert_int_equal(oto_recogniser_new(&o, &r, &e), OTO_E_USAGE);
}

static void count_span(void *arg, const oto_span *s)
{
    struct heard *h = arg;

    assert_true(s->start_ms >= h->last_ms && s->end_ms > s->start_ms);
    h->last_ms = s->start_ms;
    h->segments++;
}

static void test_vad_alone(void **state)
{
    static struct heard h;
    oto_job_options o;
    oto_job_result result;
    oto_err e = {0};

    (void)state;
    if (asr == NULL)
        skip();
    h = (struct heard){0};
    oto_job_defaults(&o);
    o.arg = &h;
    assert_int_equal(oto_recogniser_vad(vad, 1, recording("en60.wav"), &o, count_span, &result, &e),
                     0);
    assert_true(h.segments > 3);
    assert_true(result.speech_ms > 0 && result.speech_ms < result.audio_ms);
}

/* Hot words for a model that knows none: the job says so, and its text is as without them. */
static void test_hotwords_without_effect(void **state)
{
    char model[] = "/tmp/oto-recogniser-XXXXXX", sound[] = "/tmp/oto-recogniser-XXXXXX";
    oto_recogniser_options o = {.threads = 1, .batch = 1};
    static float pcm[16000];
    static struct heard plain, hot;
    oto_job_options asked;
    oto_job_result result;
    oto_recogniser *r;
    oto_model *m;
    oto_err e = {0};
    FILE *f = fdopen(mkstemp(sound), "wb");

    (void)state;
    close(mkstemp(model));
    assert_true(seeded_paraformer(model, (seeded_size){.n_enc = 2, .n_dec = 1, .n_vocab = 50}));
    seeded_signal(pcm, 16000);
    assert_int_equal(fwrite(pcm, sizeof *pcm, 16000, f), 16000);
    fclose(f);
    assert_int_equal(oto_model_open(model, OTO_COMPUTE_I8, &m, &e), 0);
    o.asr = m;
    assert_int_equal(oto_recogniser_new(&o, &r, &e), 0);
    oto_job_defaults(&asked);
    asked.no_vad = true;
    asked.media.raw_pcm = true;
    snprintf(asked.media.raw_format, sizeof asked.media.raw_format, "f32le");
    asked.on_segment = on_text;
    asked.arg = &plain;
    if (oto_recogniser_run(r, sound, &asked, &result, &e) != 0)
        fail_msg("%s", e.text);
    assert_string_equal(result.warning, "");
    asked.asr.hotwords = "one, two";
    asked.arg = &hot;
    if (oto_recogniser_run(r, sound, &asked, &result, &e) != 0)
        fail_msg("%s", e.text);
    assert_string_equal(result.warning, "hotwords have no effect with this paraformer model");
    assert_true(plain.n > 0);
    assert_string_equal(plain.text, hot.text);
    oto_recogniser_free(r);
    oto_model_close(m);
    unlink(model);
    unlink(sound);
}

/* ---- sound that is long in coming ---- */

static void put_nowhere(void *ctx, oto_ticket *t)
{
    (void)ctx;
    (void)t;
}

static oto_ticket *all_is_heard(void *ctx, oto_ticket *const *t, int n)
{
    ++*(int *)ctx;
    t[n - 1]->result =
        (oto_asr_result){.language = "en", .next_ms = (int64_t)t[n - 1]->window.n / OTO_MS};
    return t[n - 1];
}

static void test_nothing_waits_for_sound(void **state)
{
    int heard = 0;
    const oto_batch_job batch = {
        .put = put_nowhere, .wait = all_is_heard, .take_back = put_nowhere, .ctx = &heard};
    job j = {.total_ms = -1};
    oto_arena *a;
    oto_err e = {0};

    (void)state;
    assert_int_equal(oto_arena_new("test", (size_t)64 << 20, &a, &e), 0);
    assert_int_equal(oto_batch_new(a, 3, MAX_WINDOW, &j.batch, &e), 0);
    assert_int_equal(oto_listener_new(a, 1, &j.listener, &e), 0);
    oto_batch_start(j.batch, &batch);
    for (int i = 0; i < 3; i++) {
        oto_window *w;

        assert_int_equal(oto_batch_open(j.batch, &w, &e), 0);
        w->n = w->speech_end = MAX_WINDOW;
        w->pieces[w->n_pieces++] = (oto_piece){i * MAX_WINDOW, MAX_WINDOW, 0, 0};
        oto_batch_close(j.batch);
    }
    assert_int_equal(heard, 0);
    assert_int_equal(take_meanwhile(&j, &e), 0);
    assert_int_equal(heard, 3);
    assert_false(oto_batch_busy(j.batch));
    oto_batch_free(j.batch);
    oto_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_speech),
        cmocka_unit_test(test_without_vad),
        cmocka_unit_test(test_failures),
        cmocka_unit_test(test_memory_limit),
        cmocka_unit_test(test_models_in_each_others_place),
        cmocka_unit_test(test_vad_alone),
        cmocka_unit_test(test_hotwords_without_effect),
        cmocka_unit_test(test_nothing_waits_for_sound),
    };

    return cmocka_run_group_tests(tests, open_models, close_models);
}
