#include "recogniser/window.c"

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

static int64_t mapped_start(const oto_window *w, int64_t start, int64_t end)
{
    oto_window_map(w, &start, &end);
    return start;
}

static int64_t mapped_end(const oto_window *w, int64_t start, int64_t end)
{
    oto_window_map(w, &start, &end);
    return end;
}

/* 10 s from 5 s on, then 8 s from 60 s on. */
static oto_window two_pieces(void)
{
    oto_window w = {.n = 18000 * OTO_MS, .n_pieces = 2};

    w.pieces[0] = (oto_piece){5000 * OTO_MS, 10000 * OTO_MS, 0, 0};
    w.pieces[1] = (oto_piece){60000 * OTO_MS, 8000 * OTO_MS, 10000 * OTO_MS, 0};
    return w;
}

static void test_inside_a_piece(void **state)
{
    const oto_window w = two_pieces();

    (void)state;
    assert_int_equal(mapped_start(&w, 0, 1000), 5000);
    assert_int_equal(mapped_end(&w, 0, 1000), 6000);
    assert_int_equal(mapped_start(&w, 12000, 13000), 62000);
    assert_int_equal(mapped_end(&w, 12000, 13000), 63000);
}

static void test_boundary(void **state)
{
    const oto_window w = two_pieces();

    (void)state;
    assert_int_equal(mapped_end(&w, 4000, 10000), 15000);
    assert_int_equal(mapped_start(&w, 10000, 12000), 60000);
    /* a little over is not the length of the silence */
    assert_int_equal(mapped_end(&w, 4000, 10200), 15000);
    assert_int_equal(mapped_start(&w, 9800, 12000), 60000);
    /* really across */
    assert_int_equal(mapped_start(&w, 8000, 12000), 13000);
    assert_int_equal(mapped_end(&w, 8000, 12000), 62000);
    /* short and before the boundary: one side */
    assert_int_equal(mapped_end(&w, 9800, 9900), 14900);
}

static void test_out_of_range(void **state)
{
    const oto_window w = two_pieces();

    (void)state;
    assert_int_equal(mapped_start(&w, -5, 10), 5000);
    assert_int_equal(mapped_end(&w, 17000, 30000), 68000);
    assert_int_equal(mapped_start(&w, 29000, 30000), 68000);
    assert_int_equal(mapped_end(&w, 3000, 2000), 8000);
}

static void test_advance(void **state)
{
    oto_window w = two_pieces();
    float *pcm = calloc((size_t)w.n, sizeof *pcm);

    (void)state;
    for (int64_t i = 0; i < w.n; i++)
        pcm[i] = (float)i;
    w.pcm = pcm;
    w.speech_end = 17000 * OTO_MS;
    oto_window_advance(&w, 4000 * OTO_MS);
    assert_int_equal(w.n, 14000 * OTO_MS);
    assert_int_equal(w.n_pieces, 2);
    assert_int_equal(w.speech_end, 13000 * OTO_MS);
    assert_int_equal(mapped_start(&w, 0, 1000), 9000);
    assert_int_equal(mapped_start(&w, 6000, 7000), 60000);
    assert_true(w.pcm[0] == 4000 * OTO_MS);
    oto_window_advance(&w, 7000 * OTO_MS);
    assert_int_equal(w.n_pieces, 1);
    assert_int_equal(mapped_start(&w, 0, 1000), 61000);
    assert_true(w.pcm[0] == 11000 * OTO_MS);
    oto_window_advance(&w, w.n + 5);
    assert_int_equal(w.n, 0);
    assert_int_equal(w.n_pieces, 0);
    free(pcm);
}

/* Leftovers of two slots in one window: most of the span decides. */
static void test_joined(void **state)
{
    static float pcm[20000 * OTO_MS], more_pcm[2000 * OTO_MS];
    oto_window w = {.pcm = pcm, .cap = 8000 * OTO_MS, .n = 1200 * OTO_MS, .n_pieces = 1};
    oto_window more = {.pcm = more_pcm, .n = 2000 * OTO_MS, .n_pieces = 1};
    int64_t start, end;

    (void)state;
    w.speech_end = 1000 * OTO_MS;
    more.speech_end = 1800 * OTO_MS;
    w.pieces[0] = (oto_piece){10000 * OTO_MS, w.n, 0, 3};
    more.pieces[0] = (oto_piece){40000 * OTO_MS, more.n, 0, 5};
    assert_true(oto_window_append(&w, &more));
    assert_int_equal(w.n, 4200 * OTO_MS);
    assert_int_equal(w.speech_end, 4000 * OTO_MS);
    start = 0;
    end = 1500;
    assert_int_equal(oto_window_map(&w, &start, &end), 3);
    assert_int_equal(start, 10000);
    assert_int_equal(end, 11200);
    start = 1000;
    end = 4000;
    assert_int_equal(oto_window_map(&w, &start, &end), 5);
    assert_int_equal(start, 40000);
    assert_int_equal(end, 41800);
    start = end = 1900; /* nothing but the joint */
    assert_int_equal(oto_window_map(&w, &start, &end), 5);
    assert_int_equal(end, 40000);
    more.n = 5000 * OTO_MS;
    assert_false(oto_window_append(&w, &more));
    /* advancing into the joint is advancing behind it */
    oto_window_advance(&w, 1500 * OTO_MS);
    assert_int_equal(w.n_pieces, 1);
    assert_int_equal(w.n, 2000 * OTO_MS);
    assert_int_equal(w.pieces[0].in_window, 0);
    assert_int_equal(w.pieces[0].owner, 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inside_a_piece), cmocka_unit_test(test_boundary),
        cmocka_unit_test(test_out_of_range),   cmocka_unit_test(test_advance),
        cmocka_unit_test(test_joined),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
