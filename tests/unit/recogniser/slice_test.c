/* The slicer with a batch that has nothing recognised: windows are looked at as they are closed. */
#include "recogniser/slice.c"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

#define RING ((int64_t)70000 * OTO_MS)

/* ---- the batch's stand-in: keeps every window that was closed ---- */

struct oto_batch {
    oto_window windows[400];
    int n;
    bool open;
};
static oto_batch batch;

int oto_batch_open(oto_batch *b, oto_window **out, oto_err *e)
{
    oto_window *w = &b->windows[b->n];

    (void)e;
    assert_false(b->open);
    assert_true(b->n < (int)OTO_COUNT(b->windows));
    *w = (oto_window){.cap = 30000 * OTO_MS};
    w->pcm = calloc((size_t)w->cap, sizeof *w->pcm);
    b->open = true;
    *out = w;
    return 0;
}

void oto_batch_close(oto_batch *b)
{
    assert_true(b->open);
    b->open = false;
    b->n++;
}

/* ---- a recording whose samples tell where they stand ---- */

static float sample_at(int64_t i)
{
    /* loud everywhere but for dips that a test sets */
    return (float)(i % 30011 + 1000) / 65536.0f;
}

static int64_t dip_from, dip_to;

static float recorded(int64_t i)
{
    return i >= dip_from && i < dip_to ? 1e-6f * (float)(i % 100) : sample_at(i);
}

static void push(oto_slicer *s, int64_t ms)
{
    float *pcm = malloc((size_t)(ms * OTO_MS) * sizeof *pcm);
    const int64_t from = oto_slicer_heard(s);

    for (int64_t i = 0; i < ms * OTO_MS; i++)
        pcm[i] = recorded(from + i);
    oto_slicer_audio(s, pcm, (size_t)(ms * OTO_MS));
    free(pcm);
}

static oto_slicer *begin(oto_arena **a)
{
    oto_slicer *s = NULL;

    memset(&batch, 0, sizeof batch);
    dip_from = dip_to = 0;
    assert_int_equal(oto_arena_new("test", oto_slicer_bytes(RING), a, NULL), 0);
    assert_int_equal(oto_slicer_new(*a, RING, &s, NULL), 0);
    oto_slicer_start(s, &batch, (int64_t)OTO_MAX_WINDOW_MS * OTO_MS);
    return s;
}

/* Every window's samples are those of its pieces; pieces advance and never overlap. */
static void check_windows(void)
{
    int64_t last = 0;

    for (int k = 0; k < batch.n; k++) {
        const oto_window *w = &batch.windows[k];
        int64_t n = 0;

        assert_true(w->n > 0 && w->n <= 30000 * OTO_MS);
        assert_true(w->speech_end > 0 && w->speech_end <= w->n);
        for (int i = 0; i < w->n_pieces; i++) {
            const oto_piece *p = &w->pieces[i];

            assert_true(p->at >= last);
            assert_int_equal(p->in_window, n);
            for (int64_t j = 0; j < p->n; j += 97)
                assert_true(w->pcm[p->in_window + j] == recorded(p->at + j));
            last = p->at + p->n;
            n += p->n;
        }
        assert_int_equal(n, w->n);
    }
}

static bool covered(int64_t at)
{
    for (int k = 0; k < batch.n; k++)
        for (int i = 0; i < batch.windows[k].n_pieces; i++) {
            const oto_piece *p = &batch.windows[k].pieces[i];

            if (at >= p->at && at < p->at + p->n)
                return true;
        }
    return false;
}

static void end(oto_arena *a)
{
    for (int i = 0; i < (int)OTO_COUNT(batch.windows); i++)
        free(batch.windows[i].pcm);
    oto_arena_free(a);
}

static void speech(oto_slicer *s, int64_t start_ms, int64_t end_ms)
{
    const oto_span span = {start_ms, end_ms};

    assert_int_equal(oto_slicer_speech(s, &span, NULL), 0);
}

/* ---- with VAD ---- */

static void test_short_gap_is_kept(void **state)
{
    oto_arena *a;
    oto_slicer *s = begin(&a);

    (void)state;
    push(s, 10000);
    speech(s, 1000, 3000);
    speech(s, 3800, 6000);
    push(s, 30000);
    assert_int_equal(oto_slicer_finish(s, NULL), 0);
    assert_int_equal(batch.n, 1);
    assert_int_equal(batch.windows[0].n_pieces, 1);
    assert_int_equal(batch.windows[0].pieces[0].at, 1000 * OTO_MS - PAD);
    assert_int_equal(batch.windows[0].n, 5000 * OTO_MS + 2 * PAD);
    check_windows();
    end(a);
}

static void test_long_silence_is_dropped(void **state)
{
    oto_arena *a;
    oto_slicer *s = begin(&a);

    (void)state;
    push(s, 10000);
    speech(s, 1000, 3000);
    push(s, 30000);
    speech(s, 25000, 27000);
    assert_int_equal(oto_slicer_finish(s, NULL), 0);
    assert_int_equal(batch.n, 1);
    assert_int_equal(batch.windows[0].n_pieces, 2);
    assert_int_equal(batch.windows[0].n, 4000 * OTO_MS + 4 * PAD);
    check_windows();
    end(a);
}

static void test_short_recording_keeps_its_room(void **state)
{
    oto_arena *a;
    oto_slicer *s = begin(&a);

    (void)state;
    push(s, 20000);
    speech(s, 1500, 3000);
    speech(s, 4500, 6000);
    speech(s, 15000, 18500);
    assert_int_equal(oto_slicer_finish(s, NULL), 0);
    assert_int_equal(batch.n, 1);
    assert_int_equal(batch.windows[0].n_pieces, 2);
    assert_int_equal(batch.windows[0].pieces[0].at, 0);
    assert_int_equal(batch.windows[0].pieces[0].n, 6000 * OTO_MS + PAD);
    assert_int_equal(batch.windows[0].pieces[1].at, 15000 * OTO_MS - PAD);
    assert_int_equal(batch.windows[0].pieces[1].n, 5000 * OTO_MS + PAD);
    check_windows();
    end(a);
}

static void test_no_speech_no_window(void **state)
{
    oto_arena *a;
    oto_slicer *s = begin(&a);

    (void)state;
    push(s, 5000);
    assert_int_equal(oto_slicer_finish(s, NULL), 0);
    assert_int_equal(batch.n, 0);
    end(a);
}

static void test_segments_fill_windows(void **state)
{
    oto_arena *a;
    oto_slicer *s = begin(&a);

    (void)state;
    for (int i = 0; i < 20; i++) {
        push(s, 9000);
        speech(s, i * 9000 + 1000, i * 9000 + 8000);
    }
    assert_int_equal(oto_slicer_finish(s, NULL), 0);
    check_windows();
    /* 7.4 s each, and the silences dropped: four fit a window, three are packed, but in the first.
     */
    assert_int_equal(batch.n, 7);
    for (int i = 0; i < batch.n; i++)
        assert_int_equal(batch.windows[i].n_pieces, i == 0 ? 4 : i < 6 ? 3 : 1);
    for (int i = 0; i < 20; i++)
        for (int64_t ms = i * 9000 + 1000; ms < i * 9000 + 8000; ms += 10)
            assert_true(covered(ms * OTO_MS));
    end(a);
}

static void test_long_speech_is_cut_where_quiet(void **state)
{
    oto_arena *a;
    oto_slicer *s = begin(&a);

    (void)state;
    dip_from = 24000 * OTO_MS;
    dip_to = 24300 * OTO_MS;
    push(s, 60000);
    speech(s, 500, 58000);
    assert_int_equal(oto_slicer_finish(s, NULL), 0);
    check_windows();
    assert_true(batch.n >= 2);
    assert_in_range(batch.windows[0].pieces[0].at + batch.windows[0].n, dip_from, dip_to);
    for (int64_t i = 500 * OTO_MS; i < 58000 * OTO_MS; i += 16)
        assert_true(covered(i));
    end(a);
}

static void test_back_to_back_segments_do_not_overlap(void **state)
{
    oto_arena *a;
    oto_slicer *s = begin(&a);

    (void)state;
    push(s, 61000);
    speech(s, 0, 60000);
    push(s, 20000);
    speech(s, 60000, 80000);
    assert_int_equal(oto_slicer_finish(s, NULL), 0);
    check_windows();
    for (int64_t i = 0; i < 80000 * OTO_MS; i += 16)
        assert_true(covered(i));
    end(a);
}

static void test_random_segments(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < 12; round++) {
        oto_arena *a;
        oto_slicer *s = begin(&a);
        oto_span spans[64];
        int n = 0;

        for (int64_t at = 0; n < 24;) {
            spans[n].start_ms = at + rand() % 4000;
            spans[n].end_ms = spans[n].start_ms + 200 + rand() % (n % 5 == 0 ? 59000 : 9000);
            at = spans[n].end_ms;
            push(s, spans[n].end_ms + rand() % 900 - oto_slicer_heard(s) / OTO_MS);
            at = OTO_MAX(at, oto_slicer_heard(s) / OTO_MS - 300);
            speech(s, spans[n].start_ms, spans[n].end_ms);
            n++;
        }
        assert_int_equal(oto_slicer_finish(s, NULL), 0);
        check_windows();
        for (int i = 0; i < n; i++)
            for (int64_t ms = spans[i].start_ms; ms < spans[i].end_ms; ms += 5)
                assert_true(covered(ms * OTO_MS));
        end(a);
    }
}

/* ---- without ---- */

static void test_all_short(void **state)
{
    oto_arena *a;
    oto_slicer *s = begin(&a);

    (void)state;
    push(s, 30000);
    assert_int_equal(oto_slicer_all(s, NULL), 0);
    assert_int_equal(oto_slicer_finish(s, NULL), 0);
    assert_int_equal(batch.n, 1);
    assert_int_equal(batch.windows[0].n, 30000 * OTO_MS);
    assert_int_equal(batch.windows[0].speech_end, 30000 * OTO_MS);
    check_windows();
    end(a);
}

static void test_all_long(void **state)
{
    oto_arena *a;
    oto_slicer *s = begin(&a);

    (void)state;
    dip_from = 50000 * OTO_MS;
    dip_to = 50200 * OTO_MS;
    for (int i = 0; i < 200; i++) {
        push(s, 500);
        assert_int_equal(oto_slicer_all(s, NULL), 0);
    }
    assert_int_equal(oto_slicer_finish(s, NULL), 0);
    check_windows();
    for (int64_t i = 0; i < 100000 * OTO_MS; i += 7)
        assert_true(covered(i));
    end(a);
}

static void test_all_of_nothing(void **state)
{
    oto_arena *a;
    oto_slicer *s = begin(&a);

    (void)state;
    assert_int_equal(oto_slicer_all(s, NULL), 0);
    assert_int_equal(oto_slicer_finish(s, NULL), 0);
    assert_int_equal(batch.n, 0);
    end(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_short_gap_is_kept),
        cmocka_unit_test(test_long_silence_is_dropped),
        cmocka_unit_test(test_short_recording_keeps_its_room),
        cmocka_unit_test(test_no_speech_no_window),
        cmocka_unit_test(test_segments_fill_windows),
        cmocka_unit_test(test_long_speech_is_cut_where_quiet),
        cmocka_unit_test(test_back_to_back_segments_do_not_overlap),
        cmocka_unit_test(test_random_segments),
        cmocka_unit_test(test_all_short),
        cmocka_unit_test(test_all_long),
        cmocka_unit_test(test_all_of_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
