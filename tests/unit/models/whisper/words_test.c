#include "models/whisper/words.c"

#include <setjmp.h>
#include <cmocka.h>

static const char *const pieces[] = {" Hello", ",",  " \"",      "big",  " wor", "ld", "!",  "\"",
                                     " don",   "'t", "\xe4\xbd", "\xa0", "好",   "。", " a", "..."};
enum { N_PIECES = OTO_COUNT(pieces), EOT = N_PIECES + 256, SOT, NO_TIMES, TIME };

static const oto_whisper_dims dims = {.eot = EOT, .timestamp_first = TIME};
static oto_slice bytes[EOT];
static char single[256];
static oto_tokens *tokens;
static oto_arena *arena;
static oto_whisper_aligner *al;

/* The words as "a|b|c". */
static const char *words_of(const char *language, const int32_t *text, int n, bool merge)
{
    static char out[200];
    char buf[SPELL];

    out[0] = '\0';
    memcpy(al->text, text, (size_t)n * sizeof *text);
    split(al, tokens, has_spaces(language), n);
    if (merge)
        merge_punctuation(al, tokens);
    for (int i = 0; i < al->n_words; i++) {
        spell(tokens, al->text, al->word[i].first, al->word[i].end, buf, sizeof buf);
        strcat(strcat(out, i ? "|" : ""), buf);
    }
    return out;
}

static void words_start_at_spaces_and_punctuation(void **state)
{
    (void)state;
    static const int32_t text[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 15};
    int n = OTO_COUNT(text);
    assert_string_equal(words_of("en", text, n, false), " Hello|,| \"big| world|!|\"| don't| a...");
    assert_string_equal(words_of("en", text, n, true), " Hello,|| \"big| world!\"||| don't| a...");
    static const int32_t quoted[] = {0, 2, 4, 5, 7};
    assert_string_equal(words_of("en", quoted, 5, true), " Hello|| \" world\"|");
    assert_string_equal(words_of("en", text, 1, true), " Hello");
}

static void languages_without_spaces_split_at_characters(void **state)
{
    (void)state;
    static const int32_t text[] = {10, 11, 12, 13};
    assert_string_equal(words_of("zh", text, 4, false), "你|好|。");
    assert_string_equal(words_of("ja", text, 4, true), "你|好。|");
    assert_int_equal(al->word[0].end, 2);
    assert_string_equal(words_of("en", text, 4, false), "你好。");
    /* A character that never ends is a piece all the same. */
    assert_string_equal(words_of("zh", text, 1, false), "\xe4\xbd");
}

static void the_median_mirrors_at_the_ends(void **state)
{
    (void)state;
    const float x[8] = {9, 1, 8, 2, 7, 3, 6, 4};
    float y[8], z[2] = {1, 2};
    median_filter(al, x, 8, false, y);
    /* around 0: 2 8 1 9 1 8 2; around 7: 7 3 6 4 6 3 7 */
    assert_float_equal(y[0], 2, 0);
    assert_float_equal(y[3], 6, 0); /* 9 1 8 2 7 3 6 */
    assert_float_equal(y[7], 6, 0);
    median_filter(al, x, 8, true, y);
    assert_float_equal(y[3], 12, 0);
    median_filter(al, z, 2, false, y);
    assert_float_equal(y[1], 2, 0);
}

static void normalised_frames_have_mean_0_and_deviation_1(void **state)
{
    (void)state;
    float w[3 * 4] = {1, 2, 3, 4, 4, 3, 2, 1, 10, 10, 70, 10};
    normalise(al, w, 3, 4);
    for (int f = 0; f < 4; f++) {
        float sum = w[f] + w[4 + f] + w[8 + f];
        float sq = w[f] * w[f] + w[4 + f] * w[4 + f] + w[8 + f] * w[8 + f];
        assert_float_equal(sum, 0, 1e-5);
        assert_float_equal(sq / 3, 1, 1e-4);
    }
    float same[2 * 2] = {1, 1, 1, 1}; /* no deviation: zeros, not NaN */
    normalise(al, same, 2, 2);
    assert_float_equal(same[3], 0, 0);
}

static void the_path_follows_the_ridge(void **state)
{
    (void)state;
    enum { N = 4, M = 20 };
    static const int start[N] = {0, 4, 5, 13};
    float x[N * M];
    for (int i = 0; i < N; i++)
        for (int f = 0; f < M; f++)
            x[i * M + f] = f >= start[i] && f < (i + 1 < N ? start[i + 1] : M) ? 2.0f : -1.0f;
    warp(al, x, N, M);
    for (int i = 0; i < N; i++)
        assert_int_equal(al->begin[i], start[i]);
    for (int i = 0; i < 30; i++) /* more tokens than frames */
        for (int f = 0; f < 2; f++)
            ((float *)al->mean)[i * 2 + f] = 1;
    warp(al, al->mean, 30, 2);
    for (int i = 0; i < 30; i++)
        assert_in_range(al->begin[i], 0, 1);
}

/* From weights that light up one frame range per token to words in segments. */
static void words_get_times_and_segments(void **state)
{
    (void)state;
    enum { N_TEXT = 6, N = 1 + 1 + N_TEXT + 1, M = 100, HEADS = 2 };
    static const int32_t text[N_TEXT] = {0, 1, 4, 5, 8, 9}; /* Hello, world don't */
    static const int32_t first[] = {TIME, 0, 1, 4, 5, TIME + 30}, second[] = {TIME + 40, 8, 9};
    static const int start[N_TEXT + 1] = {10, 20, 22, 30, 60, 70, 90};
    static float w[HEADS * N * M];
    float log_prob[N - 1];
    oto_segment s[2] = {
        {.start_ms = 0, .end_ms = 1200, .tokens = first, .n_tokens = 6, .language = "en"},
        {.start_ms = 1200, .end_ms = 2000, .tokens = second, .n_tokens = 3, .language = "en"}};

    for (int h = 0; h < HEADS; h++)
        for (int i = 0; i < N; i++)
            for (int f = 0; f < M; f++) {
                int k = i - 1; /* row 1 (<|notimestamps|>) looks where the first token sounds */
                bool lit = k >= 0 && k <= N_TEXT && f >= (k ? start[k] : 0) &&
                           f < (k < N_TEXT ? start[k + 1] : M);
                w[(h * N + i) * M + f] = lit ? 1.0f : 0.01f;
            }
    for (int i = 0; i < N - 1; i++)
        log_prob[i] = logf(i % 2 ? 0.5f : 0.25f);
    oto_whisper_words_find(al, tokens, "en", text, N_TEXT, w, HEADS, M, log_prob, 1);
    assert_int_equal(al->n_words, 4); /* the comma was taken over */
    assert_int_equal(oto_whisper_words_place(al, &dims, tokens, s, 2, arena, NULL), 0);
    assert_int_equal(s[0].n_words, 2);
    assert_int_equal(s[1].n_words, 1);
    assert_string_equal(s[0].words[0].text, " Hello,");
    assert_string_equal(s[0].words[1].text, " world");
    assert_string_equal(s[1].words[0].text, " don't");
    assert_int_equal(s[0].words[1].start_ms, 440);
    assert_int_equal(s[0].words[1].end_ms, 1200);
    assert_int_equal(s[1].words[0].start_ms, 1200);
    assert_int_equal(s[1].words[0].end_ms, 1800);
    assert_float_equal(s[0].words[0].probability, 0.5f, 1e-6);
    assert_float_equal(s[0].words[1].probability, 0.375f, 1e-6);
    assert_int_equal(s[1].end_ms, 1800);
}

static void segment_times_rein_in_stretched_words(void **state)
{
    (void)state;
    oto_segment s = {.start_ms = 5000, .end_ms = 6000};
    oto_word w[2] = {{1000, 5400, "a", 1}, {5400, 9000, "b", 1}};
    al->usual_ms = 300;
    al->longest_ms = 600;
    fit(al, &s, w, 2, 5300); /* no pause before: the segment's times win */
    assert_int_equal(w[0].start_ms, 5000);
    assert_int_equal(w[1].end_ms, 6000);
    s = (oto_segment){.start_ms = 900, .end_ms = 9100};
    w[0] = (oto_word){1000, 5400, "a", 1};
    w[1] = (oto_word){5400, 5700, "b", 1};
    fit(al, &s, w, 2, 0); /* after a pause: twice the usual length */
    assert_int_equal(w[0].start_ms, 4800);
    assert_int_equal(s.start_ms, 4800);
    assert_int_equal(s.end_ms, 5700);
}

static int setup(void **state)
{
    (void)state;
    for (int i = 0; i < N_PIECES; i++)
        bytes[i] = (oto_slice){pieces[i], strlen(pieces[i])};
    for (int i = 0; i < 256; i++) {
        single[i] = (char)i;
        bytes[N_PIECES + i] = (oto_slice){&single[i], 1};
    }
    return oto_tokens_new(bytes, EOT, EOT, &tokens, NULL) ||
           oto_arena_new("words test", 1 << 24, &arena, NULL) ||
           oto_whisper_aligner_new(arena, &al, NULL);
}

static int teardown(void **state)
{
    (void)state;
    oto_tokens_free(tokens);
    oto_arena_free(arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_start_at_spaces_and_punctuation),
        cmocka_unit_test(languages_without_spaces_split_at_characters),
        cmocka_unit_test(the_median_mirrors_at_the_ends),
        cmocka_unit_test(normalised_frames_have_mean_0_and_deviation_1),
        cmocka_unit_test(the_path_follows_the_ridge),
        cmocka_unit_test(words_get_times_and_segments),
        cmocka_unit_test(segment_times_rein_in_stretched_words),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
