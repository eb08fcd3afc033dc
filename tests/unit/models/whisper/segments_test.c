#include "models/whisper/segments.c"

#include <setjmp.h>
#include <cmocka.h>

enum { EOT = 300, TIME = 400 };

/* The cuts as "first-end@start-end …; next". */
static const char *cut(const int32_t *t, int n, int64_t window_ms)
{
    static char out[300];
    oto_whisper_cut c[OTO_WHISPER_MAX_TOKENS];
    int64_t next;
    size_t at = 0;
    int n_cuts = oto_whisper_cut_tokens(t, n, TIME, window_ms, c, &next);

    assert_true(n_cuts <= n / 2 + 1);
    for (int i = 0; i < n_cuts; i++)
        at += (size_t)snprintf(out + at, sizeof out - at, "%d-%d@%d-%d ", c[i].first, c[i].end,
                               (int)c[i].start_ms, (int)c[i].end_ms);
    snprintf(out + at, sizeof out - at, "next %d", (int)next);
    return out;
}

#define CUT(ms, ...)                                                                               \
    cut((const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t), ms)

static void pairs_cut_and_say_where_to_go_on(void **state)
{
    (void)state;
    int t = TIME;
    /* The last segment is unfinished: it is heard again. */
    assert_string_equal(CUT(30000, t, 1, 2, t + 100, t + 100, 3), "0-4@0-2000 next 2000");
    assert_string_equal(CUT(30000, t, 1, 2, t + 100, t + 150, 3, t + 200, t + 200),
                        "0-4@0-2000 4-7@3000-4000 next 4000");
    /* A single time at the end: the rest of the window was silent. */
    assert_string_equal(CUT(30000, t, 1, t + 100, t + 150, 3, t + 200),
                        "0-3@0-2000 3-6@3000-4000 next 30000");
}

static void without_pairs_there_is_one_segment(void **state)
{
    (void)state;
    int t = TIME;
    assert_string_equal(CUT(7000, 1, 2, 3), "0-3@0-7000 next 7000");
    assert_string_equal(CUT(7000, t, 1, 2), "0-3@0-7000 next 7000");
    assert_string_equal(CUT(7000, t, 1, t + 50), "0-3@0-1000 next 7000");
    assert_string_equal(cut(NULL, 0, 7000), "next 7000");
}

static void a_window_that_would_not_advance_is_kept_whole(void **state)
{
    (void)state;
    int t = TIME;
    assert_string_equal(CUT(7000, t, 1, t + 10, t + 10, 2, 3), "0-3@0-200 3-6@200-7000 next 7000");
}

static void text_is_utf8(void **state)
{
    (void)state;
    static char single[256];
    static oto_slice bytes[EOT];
    const oto_whisper_dims d = {.eot = EOT};
    oto_tokens *tokens;
    oto_arena *a;
    const char *text;

    for (int i = 0; i < EOT; i++) {
        single[i & 255] = (char)i;
        bytes[i] = (oto_slice){&single[i & 255], i < 256};
    }
    assert_int_equal(oto_tokens_new(bytes, EOT, EOT, &tokens, NULL), 0);
    assert_int_equal(oto_arena_new("text", 1 << 16, &a, NULL), 0);
    const int32_t t[] = {TIME, ' ', 'o', 'k', 0xe4, 0xbd, 0xa0, 0xff, EOT};
    assert_int_equal(oto_whisper_text(&d, tokens, t, 9, a, &text, NULL), 0);
    assert_string_equal(text, " ok你\xef\xbf\xbd");
    assert_int_equal(oto_whisper_text(&d, tokens, t + 7, 1, a, &text, NULL), 0);
    assert_string_equal(text, "\xef\xbf\xbd");
    assert_int_equal(oto_whisper_text(&d, tokens, t, 0, a, &text, NULL), 0);
    assert_string_equal(text, "");
    assert_true(oto_whisper_is_blank(" \n"));
    assert_false(oto_whisper_is_blank(" a"));
    oto_tokens_free(tokens);
    oto_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_cut_and_say_where_to_go_on),
        cmocka_unit_test(without_pairs_there_is_one_segment),
        cmocka_unit_test(a_window_that_would_not_advance_is_kept_whole),
        cmocka_unit_test(text_is_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
