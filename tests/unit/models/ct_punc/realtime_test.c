/* The realtime model's readings, with a rule in the network's place that FunASR's code was given as
 * well (tests/golden/punc/make.py); what is held until a sentence ends; bounds. */
#include "models/ct_punc/ct_punc.h"

/* In its place. */
static void by_rule(ct_network *net, const int *ids, int n, int pause, ct_mark *marks);
#define oto_ct_network_run by_rule
#include "models/ct_punc/ct_punc.c"
#undef oto_ct_network_run

#include "unit/models/ct_punc/rule.h"

static int most_known; /* tokens before a pause */

static void by_rule(ct_network *net, const int *ids, int n, int pause, ct_mark *marks)
{
    most_known = OTO_MAX(most_known, pause);
    mark_by_rule(net, ids, n, marks);
    for (int i = 0; pause < n && i < pause - 1; i++)
        if (marks[i] == CT_PAUSE)
            marks[i] = CT_STOP;
}

static int set_up(void **unused)
{
    (void)unused;
    return open_model(true);
}

static void rest_a_while(written *w)
{
    const oto_punc_token *out = NULL;
    const int got = oto_punc_pause(punc, &out);

    take(w, out, got);
}

/* The text, which pauses at each "|", in pieces of `step` bytes, and as many as belong to a
 * character. */
static const written *punctuate(const char *text, size_t step)
{
    static written now;
    const oto_punc_token *out = NULL;
    int got;

    now = (written){.n = 0};
    for (const char *at = text;; at++) {
        const size_t n = strcspn(at, "|");

        for (size_t i = 0, to; i < n; i = to) {
            to = OTO_MIN(i + step, n);
            while (to < n && ((unsigned char)at[to] & 0xc0) == 0x80)
                to++;
            push(&now, at + i, to - i);
        }
        at += n;
        if (*at == '\0')
            break;
        rest_a_while(&now);
    }
    got = oto_punc_finish(punc, &out);
    take(&now, out, got);
    return &now;
}

static void test_like_funasr(void **unused)
{
    static char text[1 << 14], expected[1 << 14];
    FILE *f = fopen(OTO_SOURCE_DIR "/tests/golden/punc/realtime.txt", "r");
    int n = 0;

    (void)unused;
    assert_non_null(f);
    most_known = 0;
    while (fgets(text, sizeof text, f) != NULL && fgets(expected, sizeof expected, f) != NULL) {
        text[strcspn(text, "\n")] = expected[strcspn(expected, "\n")] = '\0';
        for (size_t step = 1; step < 10000; step = step * 3 + 1)
            assert_string_equal(punctuate(text, step)->text, expected);
        n++;
    }
    assert_int_equal(n, 102);
    assert_true(most_known > 3 * CT_BLOCK);
    fclose(f);
}

static void test_nothing(void **unused)
{
    static const char *const texts[] = {"", "|", " | \t|　", "||"};

    (void)unused;
    for (size_t i = 0; i < OTO_COUNT(texts); i++)
        assert_int_equal(punctuate(texts[i], 1)->tokens, 0);
    /* One token, which FunASR stumbles over; and the next text knows nothing of it. */
    assert_string_equal(punctuate("中", 1)->text, "中。");
    assert_string_equal(punctuate("gpu", 1)->text, "gpu。");
    assert_string_equal(punctuate("中|| |句|文||", 1)->text, "中句。文。");
    /* A pause ends a word of ASCII, and so does the end of the text. */
    assert_string_equal(punctuate("one|two", 9)->text, "one two。");
}

/* FunASR keeps all that has no mark, and reads it again with each stretch; here it has bounds. */
static void test_bounds(void **unused)
{
    static char text[4 * 3000 + 1];
    const written *w;

    (void)unused;
    for (int every = 1; every < 400; every = every * 2 + 1) {
        char *to = text;

        for (int i = 0; i < 2000; i++) {
            to = stpcpy(to, "中");
            if (i % every == every - 1)
                to = stpcpy(to, "|");
        }
        longest = 0;
        w = punctuate(text, 30);
        assert_in_range(longest, CT_LONG, CT_ROWS);
        assert_int_equal(w->tokens, 2000);
        assert_in_range(w->most, CT_LONG, CT_ROWS);
        for (int i = 0; i < 2000; i++)
            assert_memory_equal(w->text + 3 * (size_t)i, "中", 3);
        assert_string_equal(w->text + 6000, "。");
    }
}

/* What follows may bring a mark among the first tokens of all that wait: what stands before it is
 * too little to make room for the next block. */
static void test_late_marks(void **unused)
{
    static const ct_mark marks[] = {CT_STOP, CT_COMMA};
    static char text[4 * 1000 + 1];

    (void)unused;
    for (size_t i = 0; i < 2 * OTO_COUNT(marks); i++) {
        const written *w;
        char *to = stpcpy(text, "中中 late ");

        for (int k = 0; k < 900; k++)
            to = stpcpy(to, i % 2 > 0 && k % 90 == 0 ? "|中" : "中");
        late = marks[i / 2];
        longest = 0;
        w = punctuate(text, 30);
        assert_in_range(longest, CT_LONG, CT_ROWS);
        assert_int_equal(w->tokens, 903);
        assert_true(w->most <= CT_ROWS);
    }
    late = CT_NONE;
}

static void test_long_words(void **unused)
{
    static char text[20001];
    const written *w;

    (void)unused;
    memset(text, 'a', 20000);
    w = punctuate(text, 7);
    assert_int_equal(w->n, 20000 + strlen("。"));
    assert_int_equal(strspn(w->text, "a"), 20000);
    assert_string_equal(punctuate("a\xff\xfe z", 1)->text, "a\xff\xfez。");
}

/* A sentence waits for its end over pauses; its words have the times and tags of their pieces. */
static void test_words(void **unused)
{
    static const struct {
        const char *text;
        int comes; /* tokens that come with the pause behind it */
    } stretches[] = {{"中文", 0}, {"hello stop", 0}, {" wor", 4}, {"ld", 0}, {"字", 0}};
    static const struct {
        const char *text;
        int start_ms, tag;
        bool joined, ends;
    } expected[] = {{"中", 0, 0, false, false},      {"文", 0, 0, true, false},
                    {"hello", 100, 1, false, false}, {" stop。", 100, 1, true, true},
                    {" wor", 200, 2, false, false},  {" ld", 300, 3, false, false},
                    {"字。", 400, 4, false, true}};
    const oto_punc_token *out = NULL;
    int n = 0, got;

    (void)unused;
    for (size_t i = 0; i < OTO_COUNT(stretches) + 1; i++) {
        if (i < OTO_COUNT(stretches)) {
            const oto_timed_piece p = {.text = {stretches[i].text, strlen(stretches[i].text)},
                                       .start_ms = 100 * (int64_t)i,
                                       .end_ms = 100 * (int64_t)i + 90,
                                       .probability = 1};
            size_t used = 0;

            assert_int_equal(oto_punc_push(punc, &p, (int64_t)i, &used, &out), 0);
            got = oto_punc_pause(punc, &out);
            assert_int_equal(got, stretches[i].comes);
        } else {
            got = oto_punc_finish(punc, &out);
        }
        for (int k = 0; k < got; k++, n++) {
            assert_string_equal(out[k].word.text, expected[n].text);
            assert_int_equal(out[k].word.start_ms, expected[n].start_ms);
            assert_int_equal(out[k].word.end_ms, expected[n].start_ms + 90);
            assert_int_equal(out[k].tag, expected[n].tag);
            assert_int_equal(out[k].joined, expected[n].joined);
            assert_int_equal(out[k].ends, expected[n].ends);
        }
    }
    assert_int_equal(n, OTO_COUNT(expected));
    /* Given up in the middle, it leaves nothing behind. */
    assert_int_equal(punctuate("中|句|文", 9)->tokens, 3);
    push(&(written){.n = 0}, "lost", 4);
    oto_punc_reset(punc);
    assert_string_equal(punctuate("found", 9)->text, "found。");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_like_funasr), cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_bounds),      cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_late_marks),  cmocka_unit_test(test_words),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
