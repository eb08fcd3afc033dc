#include "models/utterance.c"

#include "text/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define PIECE(z, from, to)                                                                         \
    {                                                                                              \
        {z, sizeof z - 1}, from, to, 0.5f                                                          \
    }

/* A full stop of SenseVoice, 0.7 s behind the last word: no subtitle of its own. */
static void test_late_marks_make_no_segment(void **state)
{
    static const oto_timed_piece p[] = {PIECE("5", 4560, 4620), PIECE("点", 4740, 4800),
                                        PIECE("。", 5460, 5520), PIECE("好", 5580, 5640),
                                        PIECE("！", 6300, 6360)};
    static const oto_asr_window w = {.n = 7 * 16000};
    oto_asr_result out = {.n_segments = 0};
    oto_arena *a;
    oto_word *words;
    oto_err e;
    int n_words;

    (void)state;
    assert_int_equal(oto_arena_new("test", 1 << 20, &a, &e), 0);
    assert_int_equal(oto_pieces_join_sp(p, OTO_COUNT(p), false, a, &words, &n_words, &e), 0);
    assert_int_equal(oto_utterance_result(words, n_words, NULL, 0, NULL, &w, a, &out, &e), 0);
    assert_int_equal(out.n_segments, 2);
    assert_string_equal(out.segments[0].text, "5点。");
    assert_int_equal(out.segments[0].end_ms, 4800);
    assert_string_equal(out.segments[1].text, "好！");
    assert_int_equal(out.segments[1].start_ms, 5580);
    assert_int_equal(out.segments[1].end_ms, 5640);
    oto_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_late_marks_make_no_segment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
