#include "measure/score.c"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

static oto_arena *arena;

static oto_score run(const char *ref, const char *hyp, oto_score_unit unit, bool raw)
{
    oto_score s = {0};
    size_t before = oto_arena_used(arena);
    assert_int_equal(oto_score_run(ref, hyp, unit, raw, arena, &s, NULL), 0);
    assert_int_equal(oto_arena_used(arena), before);
    assert_int_equal(s.hits + s.substitutions + s.deletions, s.n_ref);
    assert_int_equal(s.hits + s.substitutions + s.insertions, s.n_hyp);
    return s;
}

/* All three counts, not only their sum, equal jiwer's (tests/golden/score/make.py). */
static void agrees_with_jiwer(void **state)
{
    char kind[16], ref[16384], hyp[16384], counts[128];
    FILE *f = fopen(OTO_SOURCE_DIR "/tests/golden/score/cases.txt", "r");
    int n = 0;
    (void)state;
    assert_non_null(f);
    while (fgets(kind, sizeof kind, f) && fgets(ref, sizeof ref, f) && fgets(hyp, sizeof hyp, f) &&
           fgets(counts, sizeof counts, f)) {
        long long h, s, d, i;
        assert_int_equal(sscanf(counts, "%lld %lld %lld %lld", &h, &s, &d, &i), 4);
        oto_score o = run(ref, hyp, kind[0] == 'w' ? OTO_SCORE_WORDS : OTO_SCORE_CHARS, true);
        assert_int_equal(o.substitutions + o.deletions + o.insertions, s + d + i);
        assert_int_equal(o.hits, h);
        assert_int_equal(o.substitutions, s);
        assert_int_equal(o.deletions, d);
        assert_int_equal(o.insertions, i);
        n++;
    }
    (void)fclose(f);
    assert_true(n > 70);
}

static void unit_follows_the_script(void **state)
{
    (void)state;
    assert_int_equal(run("hello world", "x", OTO_SCORE_AUTO, false).unit, OTO_SCORE_WORDS);
    /* 你好世界 */
    assert_int_equal(
        run("\xE4\xBD\xA0\xE5\xA5\xBD\xE4\xB8\x96\xE7\x95\x8C", "x", OTO_SCORE_AUTO, false).unit,
        OTO_SCORE_CHARS);
    /* こんにちは */
    assert_int_equal(run("\xE3\x81\x93\xE3\x82\x93\xE3\x81\xAB\xE3\x81\xA1\xE3\x81\xAF", "x",
                         OTO_SCORE_AUTO, false)
                         .unit,
                     OTO_SCORE_CHARS);
    /* 안녕하세요: spaced */
    assert_int_equal(run("\xEC\x95\x88\xEB\x85\x95\xED\x95\x98\xEC\x84\xB8\xEC\x9A\x94", "x",
                         OTO_SCORE_AUTO, false)
                         .unit,
                     OTO_SCORE_WORDS);
    /* 我用otolith听 is Chinese with a word in it */
    assert_int_equal(
        run("\xE6\x88\x91\xE7\x94\xA8otolith\xE5\x90\xAC", "x", OTO_SCORE_AUTO, false).unit,
        OTO_SCORE_CHARS);
    /* An empty reference: the hypothesis decides. */
    assert_int_equal(run("", "\xE4\xBD\xA0", OTO_SCORE_AUTO, false).unit, OTO_SCORE_CHARS);
    assert_int_equal(run("hello", "x", OTO_SCORE_CHARS, false).n_ref, 5);
}

static void normalisation_is_on_unless_raw(void **state)
{
    (void)state;
    assert_true(run("Hello, World!", "hello world", OTO_SCORE_AUTO, false).rate == 0);
    assert_true(run("Hello, World!", "hello world", OTO_SCORE_AUTO, true).rate == 1);
    /* Spaces do not count in a character error rate. */
    oto_score s = run("\xE4\xBD\xA0\xE5\xA5\xBD\xEF\xBC\x8C\xE4\xB8\x96",
                      "\xE4\xBD\xA0 \xE5\xA5\xBD \xE4\xB8\x96", OTO_SCORE_AUTO, false);
    assert_int_equal(s.n_ref, 3);
    assert_true(s.rate == 0);
}

static void nothing_against_nothing(void **state)
{
    (void)state;
    assert_true(run("", "", OTO_SCORE_AUTO, false).rate == 0);
    assert_true(run("", "two words", OTO_SCORE_AUTO, false).rate == 2);
    assert_true(run("two words", "", OTO_SCORE_AUTO, false).rate == 1);
    assert_int_equal(run("two words", "", OTO_SCORE_AUTO, false).deletions, 2);
}

/* An hour of speech is about 9,000 words: memory stays linear. */
static void long_texts_fit(void **state)
{
    enum { WORDS = 9000 };
    char *ref = malloc(WORDS * 8), *hyp = malloc(WORDS * 8);
    size_t r = 0, h = 0;
    (void)state;
    assert_true(ref != NULL && hyp != NULL);
    for (int i = 0; i < WORDS; i++) {
        int word = (i * 7919) % 1013;
        r += (size_t)sprintf(ref + r, "w%d ", word);
        if (i % 10 != 0) {
            h += (size_t)sprintf(hyp + h, "w%d ", i % 10 == 5 ? 5000 : word);
        }
    }
    oto_score s = run(ref, hyp, OTO_SCORE_AUTO, false);
    assert_int_equal(s.n_ref, WORDS);
    assert_int_equal(s.deletions, WORDS / 10);
    assert_int_equal(s.substitutions, WORDS / 10);
    assert_int_equal(s.insertions, 0);
    free(ref);
    free(hyp);
}

static void a_full_arena_is_an_error(void **state)
{
    static char text[1 << 15];
    oto_arena *a;
    oto_score s;
    oto_err e = {0};
    (void)state;
    for (size_t i = 0; i + 1 < sizeof text; i++) {
        text[i] = i % 2 ? ' ' : 'a';
    }
    assert_int_equal(oto_arena_new("test", 1 << 16, &a, NULL), 0);
    assert_int_equal(oto_score_run(text, text, OTO_SCORE_AUTO, true, a, &s, &e), OTO_E_LIMIT);
    assert_int_equal(oto_arena_used(a), 0);
    oto_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_jiwer),
        cmocka_unit_test(unit_follows_the_script),
        cmocka_unit_test(normalisation_is_on_unless_raw),
        cmocka_unit_test(nothing_against_nothing),
        cmocka_unit_test(long_texts_fit),
        cmocka_unit_test(a_full_arena_is_an_error),
    };
    if (oto_arena_new("test", (size_t)1 << 28, &arena, NULL) != 0) {
        return 1;
    }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    oto_arena_free(arena);
    return failed;
}
