/* Batches with a stand-in for the model: it "hears" the values of the samples, so that what comes
 * out tells which audio went in, in which order, and how often. */
#include "recogniser/batch.c"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#define WINDOW ((int64_t)30000 * OTO_MS)

/* A sample holds the second of the recording it belongs to, from 1 on; 0 is silence. The stand-in
 * writes one segment per second, and stops after `stop_after` ms of every window whose first second
 * is divisible by `stop_every`. */
struct stand_in {
    int stop_every;
    int64_t stop_after;
    int runs, largest;
    int fail_at; /* run that fails, or 0 */
    char asked[16];
};

static int stand_in_run(void *ctx, const oto_asr_options *o, const oto_asr_window *w, int n,
                        oto_arena *job, oto_asr_result *out, oto_err *e)
{
    struct stand_in *f = ctx;

    if (++f->runs == f->fail_at)
        return oto_fail(e, OTO_E_INTERNAL, "broken");
    f->largest = OTO_MAX(f->largest, n);
    if (f->runs == 1)
        snprintf(f->asked, sizeof f->asked, "[%s]", o->language);
    else
        assert_string_equal(o->language, "fr");
    for (int i = 0; i < n; i++) {
        const int64_t ms = (int64_t)w[i].n / OTO_MS;
        const int first = (int)w[i].pcm[0] - 1;
        const bool stops = f->stop_every > 0 && first % f->stop_every == 0 && ms > f->stop_after;
        const int64_t until = stops ? f->stop_after : ms;
        const int seconds = (int)((until + 999) / 1000);
        int count = 0;
        oto_segment *s = oto_arena_calloc(job, (size_t)seconds + 1, sizeof *s);

        assert_non_null(s);
        for (int k = 0; k < seconds; k++) {
            const int32_t heard = (int)w[i].pcm[k * 1000 * OTO_MS];
            int32_t *token = oto_arena_alloc(job, sizeof *token);
            char text[24];

            if (heard == 0)
                continue;
            *token = heard - 1;
            snprintf(text, sizeof text, " %d", *token);
            s[count++] = (oto_segment){.start_ms = k * 1000,
                                       .end_ms = OTO_MIN((k + 1) * 1000, until),
                                       .text = oto_arena_strdup(job, text, strlen(text)),
                                       .tokens = token,
                                       .n_tokens = 1};
        }
        out[i] = (oto_asr_result){.segments = s, .n_segments = count, .next_ms = until};
        strcpy(out[i].language, i == 0 ? "fr" : "de");
        out[i].language_probability = 0.75f;
    }
    return 0;
}

struct heard {
    int next; /* second expected */
    int n;
    int stop_at; /* cancels there, or 0 */
    int64_t done_ms;
};

static int on_segment(void *arg, const oto_segment *s)
{
    struct heard *h = arg;

    assert_int_equal(atoi(s->text), h->next);
    assert_int_equal(s->tokens[0], h->next);
    assert_int_equal(s->start_ms, (int64_t)h->next * 1000);
    assert_true(s->end_ms > s->start_ms);
    assert_true(s->seek_ms <= s->start_ms && s->seek_ms % 1000 == 0);
    h->next++;
    h->n++;
    return h->stop_at != 0 && h->next == h->stop_at;
}

static int on_done(void *arg, int64_t done_ms)
{
    struct heard *h = arg;

    assert_true(done_ms >= h->done_ms);
    h->done_ms = done_ms;
    return 0;
}

/* Second after second, in windows of 10 to 30 s. */
static int feed(oto_batch *b, int seconds, oto_err *e)
{
    int at = 0, rc;

    for (int k = 0; at < seconds; k++) {
        const int n = OTO_MIN(10 + 7 * k % 21, seconds - at);
        oto_window *w;

        if ((rc = oto_batch_open(b, &w, e)) != 0)
            return rc;
        for (int64_t i = 0; i < (int64_t)n * 1000 * OTO_MS; i++)
            w->pcm[i] = (float)(at + 1 + i / (1000 * OTO_MS));
        w->n = w->speech_end = (int64_t)n * 1000 * OTO_MS;
        w->pieces[w->n_pieces++] = (oto_piece){(int64_t)at * 1000 * OTO_MS, w->n, 0, 0};
        if ((rc = oto_batch_close(b, e)) != 0)
            return rc;
        at += n;
    }
    return oto_batch_finish(b, e);
}

static oto_batch *make(int size, oto_arena **a)
{
    oto_batch *b;

    assert_int_equal(oto_arena_new("test", oto_batch_bytes(size, WINDOW), a, NULL), 0);
    assert_int_equal(oto_batch_new(*a, size, WINDOW, &b, NULL), 0);
    return b;
}

static oto_batch_job job_of(struct stand_in *f, struct heard *h)
{
    return (oto_batch_job){
        .run = stand_in_run, .run_ctx = f, .on_segment = on_segment, .on_done = on_done, .arg = h};
}

static void check(int size, int seconds, int stop_every, int64_t stop_after)
{
    struct stand_in f = {.stop_every = stop_every, .stop_after = stop_after};
    struct heard h = {0};
    const oto_batch_job job = job_of(&f, &h);
    oto_arena *a;
    oto_batch *b = make(size, &a);
    oto_err e = {0};
    float p;

    for (int twice = 0; twice < 2; twice++) {
        f.runs = 0;
        h = (struct heard){0};
        oto_batch_start(b, &job);
        assert_int_equal(feed(b, seconds, &e), 0);
        assert_int_equal(h.n, seconds);
        assert_int_equal(h.done_ms, (int64_t)seconds * 1000);
        assert_true(f.largest <= size);
        assert_string_equal(f.asked, "[]");
        assert_string_equal(oto_batch_language(b, &p), "fr");
        assert_true(p == 0.75f);
        assert_int_equal(b->n_free, size + 1);
        assert_false(oto_batch_busy(b));
    }
    oto_batch_free(b);
    oto_arena_free(a);
}

static void test_in_order(void **state)
{
    (void)state;
    check(4, 300, 0, 0);
    check(1, 100, 0, 0);
    check(8, 5, 0, 0);
    check(3, 61, 0, 0);
}

static void test_leftovers_are_heard(void **state)
{
    (void)state;
    check(4, 300, 2, 5000);
    check(1, 120, 1, 7000);
    check(8, 400, 3, 4000);
    check(2, 200, 1, 6000);
}

static void test_no_advance_ends(void **state)
{
    /* A model that stops at once, every time: it is moved on, and it ends. */
    struct stand_in f = {.stop_every = 1, .stop_after = 0};
    const oto_batch_job job = {.run = stand_in_run, .run_ctx = &f};
    oto_arena *a;
    oto_batch *b = make(2, &a);

    (void)state;
    oto_batch_start(b, &job);
    assert_int_equal(feed(b, 100, NULL), 0);
    assert_true(f.runs <= 100 * MAX_ROUNDS);
    oto_batch_free(b);
    oto_arena_free(a);
}

/* ---- joined leftovers that the model writes as one sentence ---- */

struct one_sentence {
    int runs;
    bool asked_for_words;
};

/* Windows stop after 4 s of 8; what is left, twice 4 s and a second between, is one sentence. */
static int one_sentence_run(void *ctx, const oto_asr_options *o, const oto_asr_window *w, int n,
                            oto_arena *job, oto_asr_result *out, oto_err *e)
{
    static const oto_word halves[] = {{0, 4000, " one", 1}, {4000, 4600, " two", 1}};
    static const oto_word joined[] = {{0, 2000, " three", 1},
                                      {2000, 3900, " four.", 1},
                                      {5100, 7000, " Five", 1},
                                      {7000, 9000, " six.", 1}};
    struct one_sentence *f = ctx;

    (void)e;
    (void)o;
    f->runs++;
    for (int i = 0; i < n; i++) {
        const bool whole = w[i].n == 8000 * OTO_MS;
        oto_segment *s = oto_arena_calloc(job, 1, sizeof *s);

        *s = (oto_segment){.text = whole ? " one two" : " three four. Five six.",
                           .end_ms = whole ? 4000 : 9000};
        if (!whole)
            f->asked_for_words = w[i].words;
        s->words = whole ? halves : joined;
        s->n_words = w[i].words ? (whole ? 1 : 4) : 0;
        out[i] = (oto_asr_result){
            .segments = s, .n_segments = 1, .next_ms = s->end_ms, .language = "en"};
    }
    return 0;
}

struct parts {
    char text[200];
    int64_t starts[8], ends[8];
    int n;
};

static int on_part(void *arg, const oto_segment *s)
{
    struct parts *p = arg;

    strcat(p->text, s->text);
    strcat(p->text, "|");
    p->starts[p->n] = s->start_ms;
    p->ends[p->n++] = s->end_ms;
    assert_null(s->words);
    return 0;
}

static void test_joined_sentence_is_parted(void **state)
{
    struct one_sentence f = {0};
    struct parts p = {0};
    const oto_batch_job job = {
        .run = one_sentence_run, .run_ctx = &f, .on_segment = on_part, .arg = &p};
    oto_arena *a;
    oto_batch *b = make(2, &a);

    (void)state;
    oto_batch_start(b, &job);
    for (int i = 0; i < 2; i++) {
        oto_window *w;

        assert_int_equal(oto_batch_open(b, &w, NULL), 0);
        memset(w->pcm, 0, 8000 * OTO_MS * sizeof *w->pcm);
        w->n = w->speech_end = 8000 * OTO_MS;
        w->pieces[w->n_pieces++] = (oto_piece){(int64_t)i * 20000 * OTO_MS, w->n, 0, 0};
        assert_int_equal(oto_batch_close(b, NULL), 0);
    }
    assert_int_equal(oto_batch_finish(b, NULL), 0);
    assert_int_equal(f.runs, 2);
    assert_true(f.asked_for_words);
    assert_string_equal(p.text, " one two| three four.| one two| Five six.|");
    assert_int_equal(p.starts[1], 4000);
    assert_int_equal(p.ends[1], 7900);
    assert_int_equal(p.starts[3], 24100);
    assert_int_equal(p.ends[3], 28000);
    oto_batch_free(b);
    oto_arena_free(a);
}

static void test_silent_leftover_is_dropped(void **state)
{
    struct stand_in f = {.stop_every = 1, .stop_after = 9000};
    struct heard h = {0};
    const oto_batch_job job = job_of(&f, &h);
    oto_arena *a;
    oto_batch *b = make(2, &a);
    oto_window *w;

    (void)state;
    oto_batch_start(b, &job);
    assert_int_equal(oto_batch_open(b, &w, NULL), 0);
    memset(w->pcm, 0, (size_t)WINDOW * sizeof *w->pcm);
    for (int64_t i = 0; i < WINDOW; i++)
        w->pcm[i] = (float)(1 + i / (1000 * OTO_MS));
    w->n = WINDOW;
    w->speech_end = 9500 * OTO_MS;
    w->pieces[w->n_pieces++] = (oto_piece){0, WINDOW, 0, 0};
    assert_int_equal(oto_batch_close(b, NULL), 0);
    assert_int_equal(oto_batch_finish(b, NULL), 0);
    assert_int_equal(f.runs, 1);
    assert_int_equal(h.n, 9);
    oto_batch_free(b);
    oto_arena_free(a);
}

static void test_empty_window_is_taken_back(void **state)
{
    struct stand_in f = {0};
    const oto_batch_job job = {.run = stand_in_run, .run_ctx = &f};
    oto_arena *a;
    oto_batch *b = make(1, &a);
    oto_window *w;

    (void)state;
    oto_batch_start(b, &job);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(oto_batch_open(b, &w, NULL), 0);
        assert_int_equal(oto_batch_close(b, NULL), 0);
    }
    assert_int_equal(oto_batch_finish(b, NULL), 0);
    assert_int_equal(f.runs, 0);
    assert_int_equal(b->n_free, 2);
    oto_batch_free(b);
    oto_arena_free(a);
}

static void test_cancel_and_failure(void **state)
{
    struct stand_in f = {.stop_every = 2, .stop_after = 4000};
    struct heard h = {.stop_at = 40};
    oto_batch_job job = job_of(&f, &h);
    oto_arena *a;
    oto_batch *b = make(3, &a);
    oto_err e = {0};

    (void)state;
    oto_batch_start(b, &job);
    assert_int_equal(feed(b, 300, &e), OTO_E_CANCELLED);
    assert_int_equal(h.n, 40);

    f = (struct stand_in){.fail_at = 2};
    h = (struct heard){0};
    oto_batch_start(b, &job);
    assert_int_equal(feed(b, 300, &e), OTO_E_INTERNAL);
    assert_string_equal(e.text, "broken");

    /* what was left does not reach the next job */
    f = (struct stand_in){0};
    h = (struct heard){0};
    oto_batch_start(b, &job);
    assert_int_equal(feed(b, 50, &e), 0);
    assert_int_equal(h.n, 50);
    oto_batch_free(b);
    oto_arena_free(a);
}

static void test_asked_language_stays(void **state)
{
    struct stand_in f = {0};
    oto_batch_job job = {.run = stand_in_run, .run_ctx = &f};
    oto_arena *a;
    oto_batch *b = make(1, &a);
    float p;

    (void)state;
    strcpy(job.asr.language, "fr");
    oto_batch_start(b, &job);
    assert_int_equal(feed(b, 60, NULL), 0);
    assert_string_equal(f.asked, "[fr]");
    assert_string_equal(oto_batch_language(b, &p), "fr");
    assert_true(p == 1.0f);
    oto_batch_free(b);
    oto_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_in_order),
        cmocka_unit_test(test_leftovers_are_heard),
        cmocka_unit_test(test_no_advance_ends),
        cmocka_unit_test(test_joined_sentence_is_parted),
        cmocka_unit_test(test_silent_leftover_is_dropped),
        cmocka_unit_test(test_empty_window_is_taken_back),
        cmocka_unit_test(test_cancel_and_failure),
        cmocka_unit_test(test_asked_language_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
