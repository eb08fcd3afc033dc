/* Batches with a stand-in for the model: it "hears" the values of the samples, so that what comes
 * out tells which audio went in, in which order, and how often. */
#include "recogniser/batch.c"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#define WINDOW ((int64_t)30000 * OTO_MS)

/* A sample holds the second of the recording it belongs to, from 1 on; 0 is silence. The stand-in
 * writes one segment per second, and stops after `stop_after` ms of every window whose first second
 * is divisible by `stop_every`. Windows come back in an order that `order` decides: 0 as they went,
 * else at random. */
struct stand_in {
    int stop_every;
    int64_t stop_after;
    uint32_t order;
    int runs, under_way, most;
    int fail_at;  /* window that fails, or 0 */
    double heard; /* a sum over all that was heard, of squares of what a window holds */
    char asked[16];
};

static void stand_in_put(void *ctx, oto_ticket *t)
{
    struct stand_in *f = ctx;

    (void)t;
    f->under_way++;
    f->most = OTO_MAX(f->most, f->under_way);
}

static void stand_in_take_back(void *ctx, oto_ticket *t)
{
    struct stand_in *f = ctx;

    (void)t;
    f->under_way--;
}

static int64_t begin_of(const oto_ticket *t)
{
    return (int64_t)t->window.pcm[0];
}

/* One of those under way. They stand in no order: by chance, or the earliest in the recording. */
static oto_ticket *choose(struct stand_in *f, oto_ticket *const *t, int n)
{
    oto_ticket *first = t[0];

    f->order = f->order * 1664525u + (f->order > 0 ? 1013904223u : 0);
    if (f->order > 0)
        return t[(f->order >> 16) % (unsigned)n];
    for (int i = 1; i < n; i++)
        if (begin_of(t[i]) < begin_of(first))
            first = t[i];
    return first;
}

static oto_ticket *stand_in_wait(void *ctx, oto_ticket *const *all, int n)
{
    struct stand_in *f = ctx;
    oto_ticket *t = choose(f, all, n);
    oto_arena *job = t->arena;
    const oto_asr_window *w = &t->window;
    const int64_t ms = (int64_t)w->n / OTO_MS;
    const int first = (int)w->pcm[0] - 1;
    const bool stops = f->stop_every > 0 && first % f->stop_every == 0 && ms > f->stop_after;
    const int64_t until = stops ? f->stop_after : ms;
    const int seconds = (int)((until + 999) / 1000);
    int count = 0;
    double content = 0;
    oto_segment *s = oto_arena_calloc(job, (size_t)seconds + 1, sizeof *s);

    assert_int_equal(n, f->under_way);
    f->under_way--;
    if (++f->runs == f->fail_at) {
        t->rc = oto_fail(&t->error, OTO_E_INTERNAL, "broken");
        return t;
    }
    if (f->runs == 1)
        snprintf(f->asked, sizeof f->asked, "[%s]", t->o->language);
    else
        assert_string_equal(t->o->language, "fr");
    assert_non_null(s);
    for (int64_t i = 0; i < ms; i += 1000)
        content += (double)w->pcm[i * OTO_MS];
    f->heard += content * content;
    for (int k = 0; k < seconds; k++) {
        const int32_t heard = (int)w->pcm[k * 1000 * OTO_MS];
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
    t->result = (oto_asr_result){.segments = s, .n_segments = count, .next_ms = until};
    strcpy(t->result.language, first == 0 ? "fr" : "de");
    t->result.language_probability = 0.75f;
    return t;
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
        oto_batch_close(b);
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
    return (oto_batch_job){.detects = true,
                           .put = stand_in_put,
                           .wait = stand_in_wait,
                           .take_back = stand_in_take_back,
                           .ctx = f,
                           .on_segment = h != NULL ? on_segment : NULL,
                           .on_done = h != NULL ? on_done : NULL,
                           .arg = h};
}

static void check(int size, int seconds, int stop_every, int64_t stop_after)
{
    struct stand_in f = {.stop_every = stop_every, .stop_after = stop_after};
    struct heard h = {0};
    const oto_batch_job job = job_of(&f, &h);
    oto_arena *a;
    oto_batch *b = make(size, &a);
    oto_err e = {0};
    double in_order = 0;
    float p;

    for (uint32_t order = 0; order < 8; order++) {
        f.order = order;
        f.runs = 0;
        f.heard = 0;
        h = (struct heard){0};
        oto_batch_start(b, &job);
        assert_int_equal(feed(b, seconds, &e), 0);
        in_order = order == 0 ? f.heard : in_order;
        assert_true(f.heard == in_order); /* the same windows */
        assert_int_equal(h.n, seconds);
        assert_int_equal(h.done_ms, (int64_t)seconds * 1000);
        assert_true(f.most <= size + 1);
        assert_true(seconds < 100 || f.most >= size);
        assert_int_equal(f.under_way, 0);
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
    const oto_batch_job job = job_of(&f, NULL);
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
static void one_sentence_put(void *ctx, oto_ticket *t)
{
    (void)ctx;
    (void)t;
}

static oto_ticket *one_sentence_wait(void *ctx, oto_ticket *const *all, int n)
{
    static const oto_word halves[] = {{0, 4000, " one", 1}, {4000, 4600, " two", 1}};
    static const oto_word joined[] = {{0, 2000, " three", 1},
                                      {2000, 3900, " four.", 1},
                                      {5100, 7000, " Five", 1},
                                      {7000, 9000, " six.", 1}};
    struct one_sentence *f = ctx;
    oto_ticket *t = all[n - 1];
    const bool whole = t->window.n == 8000 * OTO_MS;
    oto_segment *s = oto_arena_calloc(t->arena, 1, sizeof *s);

    f->runs++;
    *s = (oto_segment){.text = whole ? " one two" : " three four. Five six.",
                       .end_ms = whole ? 4000 : 9000};
    if (!whole)
        f->asked_for_words = t->window.words;
    s->words = whole ? halves : joined;
    s->n_words = t->window.words ? (whole ? 1 : 4) : 0;
    t->result =
        (oto_asr_result){.segments = s, .n_segments = 1, .next_ms = s->end_ms, .language = "en"};
    return t;
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
    const oto_batch_job job = {.put = one_sentence_put,
                               .wait = one_sentence_wait,
                               .take_back = one_sentence_put,
                               .ctx = &f,
                               .on_segment = on_part,
                               .arg = &p};
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
        oto_batch_close(b);
    }
    assert_int_equal(oto_batch_finish(b, NULL), 0);
    assert_int_equal(f.runs, 3);
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
    oto_batch_close(b);
    assert_int_equal(oto_batch_finish(b, NULL), 0);
    assert_int_equal(f.runs, 1);
    assert_int_equal(h.n, 9);
    oto_batch_free(b);
    oto_arena_free(a);
}

static void test_empty_window_is_taken_back(void **state)
{
    struct stand_in f = {0};
    const oto_batch_job job = job_of(&f, NULL);
    oto_arena *a;
    oto_batch *b = make(1, &a);
    oto_window *w;

    (void)state;
    oto_batch_start(b, &job);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(oto_batch_open(b, &w, NULL), 0);
        oto_batch_close(b);
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
    assert_true(f.under_way > 0);
    oto_batch_stop(b);
    assert_int_equal(f.under_way, 0);

    f = (struct stand_in){.fail_at = 2};
    h = (struct heard){0};
    oto_batch_start(b, &job);
    assert_int_equal(feed(b, 300, &e), OTO_E_INTERNAL);
    assert_string_equal(e.text, "broken");
    oto_batch_stop(b);

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
    oto_batch_job job = job_of(&f, NULL);
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
