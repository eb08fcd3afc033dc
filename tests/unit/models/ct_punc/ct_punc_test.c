/* Blocks, cuts and writing, with a rule in the network's place that FunASR's code was given as well
 * (tests/golden/punc/make.py); that cutting into pieces changes nothing; words and their times. */
#include "models/ct_punc/ct_punc.h"

/* In its place. */
static void by_rule(ct_network *net, const int *ids, int n, int pause, ct_mark *marks);
#define oto_ct_network_run by_rule
#include "models/ct_punc/ct_punc.c"
#undef oto_ct_network_run

#include "unit/models/ct_punc/rule.h"

static void by_rule(ct_network *net, const int *ids, int n, int pause, ct_mark *marks)
{
    (void)pause;
    mark_by_rule(net, ids, n, marks);
}

static int set_up(void **unused)
{
    (void)unused;
    return open_model(false);
}

/* ---- whole texts ---- */

/* The text in pieces of `step` bytes, and as many as belong to a character. */
static const written *punctuate(const char *text, size_t step)
{
    static written w[2];
    static int at;
    const size_t n = strlen(text);
    const oto_punc_token *out = NULL;
    written *now = &w[at ^= 1];
    int got;

    *now = (written){.n = 0};
    for (size_t i = 0, to; i < n; i = to) {
        to = OTO_MIN(i + step, n);
        while (to < n && ((unsigned char)text[to] & 0xc0) == 0x80)
            to++;
        push(now, text + i, to - i);
    }
    got = oto_punc_finish(punc, &out);
    take(now, out, got);
    return now;
}

static void test_like_funasr(void **unused)
{
    static char text[1 << 14], expected[1 << 14];
    FILE *f = fopen(OTO_SOURCE_DIR "/tests/golden/punc/texts.txt", "r");
    int n = 0;

    (void)unused;
    assert_non_null(f);
    while (fgets(text, sizeof text, f) != NULL && fgets(expected, sizeof expected, f) != NULL) {
        text[strcspn(text, "\n")] = expected[strcspn(expected, "\n")] = '\0';
        for (size_t step = 1; step < 10000; step = step * 3 + 1)
            assert_string_equal(punctuate(text, step)->text, expected);
        n++;
    }
    assert_int_equal(n, 49);
    fclose(f);
}

static void test_nothing(void **unused)
{
    (void)unused;
    assert_int_equal(punctuate("", 1)->sentences, 0);
    assert_int_equal(punctuate(" \t\n　 ", 1)->tokens, 0);
    /* and the next text knows nothing of it */
    assert_string_equal(punctuate("中", 1)->text, "中。");
}

/* Without any mark the reference keeps all; here it is given out before the network is too small.
 */
static void test_no_marks_at_all(void **unused)
{
    static char text[3 * 2000 + 1];
    const written *w;

    (void)unused;
    for (int i = 0; i < 2000; i++)
        memcpy(text + 3 * (size_t)i, "中", 3);
    longest = 0;
    w = punctuate(text, 30);
    assert_in_range(longest, CT_LONG, CT_ROWS);
    assert_int_equal(w->tokens, 2000);
    assert_true(w->most <= CT_ROWS);
    assert_memory_equal(w->text, text, 6000);
    assert_string_equal(w->text + 6000, "。");
}

/* What follows may bring a mark among the first tokens of all that wait: what stands before it is
 * too little to make room for the next block. */
static void test_late_marks(void **unused)
{
    static const ct_mark marks[] = {CT_STOP, CT_COMMA};
    static char text[4 * 1000 + 1];

    (void)unused;
    for (size_t i = 0; i < OTO_COUNT(marks); i++) {
        const written *w;
        char *to = stpcpy(text, "中中 late ");

        for (int k = 0; k < 900; k++)
            to = stpcpy(to, "中");
        late = marks[i];
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
    assert_int_equal(w->n, 20000 + strlen(" ."));
    assert_int_equal(w->text[0], ' ');
    assert_int_equal(w->text[1], 'A');
    assert_int_equal(strspn(w->text + 2, "a"), 19999);
    /* What is no UTF-8 passes through. */
    assert_string_equal(punctuate("a\xff\xfe z", 1)->text, " A\xff\xfez.");
}

/* ---- words and times ---- */

static void test_words(void **unused)
{
    static const struct {
        const char *text;
        int start_ms, end_ms;
        float probability;
    } words[] = {{" HELLO", 0, 100, 0.9f},  {" wor", 100, 200, 0.8f}, {"ld", 200, 300, 0.5f},
                 {" stop", 300, 400, 1.0f}, {"中文", 400, 600, 1.0f}, {"字", 600, 700, 1.0f}};
    static const struct {
        const char *text;
        int start_ms, end_ms, tag;
        float probability;
        bool joined, ends;
    } expected[] = {
        {" Hello", 0, 100, 0, 0.9f, false, false},  {" world", 100, 300, 1, 0.5f, false, false},
        {" stop.", 300, 400, 3, 1.0f, false, true}, {"中", 400, 600, 4, 1.0f, false, false},
        {"文", 400, 600, 4, 1.0f, true, false},     {"字。", 600, 700, 5, 1.0f, false, true}};
    const oto_punc_token *out = NULL;

    (void)unused;
    for (size_t i = 0; i < OTO_COUNT(words); i++) {
        const oto_timed_piece p = {.text = {words[i].text, strlen(words[i].text)},
                                   .start_ms = words[i].start_ms,
                                   .end_ms = words[i].end_ms,
                                   .probability = words[i].probability};
        size_t used = 0;

        assert_int_equal(oto_punc_push(punc, &p, (int64_t)i, &used, &out), 0);
        assert_int_equal(used, p.text.n);
    }
    assert_int_equal(oto_punc_finish(punc, &out), (int)OTO_COUNT(expected));
    for (size_t i = 0; i < OTO_COUNT(expected); i++) {
        assert_string_equal(out[i].word.text, expected[i].text);
        assert_int_equal(out[i].word.start_ms, expected[i].start_ms);
        assert_int_equal(out[i].word.end_ms, expected[i].end_ms);
        assert_true(out[i].word.probability == expected[i].probability);
        assert_int_equal(out[i].tag, expected[i].tag);
        assert_int_equal(out[i].joined, expected[i].joined);
        assert_int_equal(out[i].ends, expected[i].ends);
    }
}

static void test_other_tasks(void **unused)
{
    oto_arena *a;
    oto_vad *v;
    oto_vad_options o;
    oto_err e = {0};

    (void)unused;
    oto_vad_defaults(&o);
    assert_int_equal(oto_arena_new("test", 1 << 20, &a, &e), 0);
    assert_int_equal(oto_vad_new(model, &o, pool, a, &v, &e), OTO_E_UNSUPPORTED);
    assert_non_null(strstr(e.text, "cannot detect voice activity"));
    oto_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_like_funasr),     cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_no_marks_at_all), cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_words),           cmocka_unit_test(test_other_tasks),
        cmocka_unit_test(test_late_marks),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
