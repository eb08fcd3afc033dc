#include "text/pieces.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

typedef int (*join_fn)(const oto_timed_piece *p, int n, oto_arena *a, oto_word **words,
                       int *n_words, oto_err *e);

/* Pieces, 100 ms each, separated by blanks in `pieces`; words come back separated by bars. */
static void check(join_fn join, const char *pieces, const char *words, const char *times)
{
    oto_timed_piece p[40];
    oto_word *w;
    oto_arena *a;
    oto_str text, at;
    oto_err e;
    int n = 0, n_words;

    for (const char *s = pieces; *s;) {
        const size_t length = strcspn(s, " ");

        p[n] = (oto_timed_piece){{s, length}, n * 100, n * 100 + 100, 0.5f};
        n++;
        s += length + (s[length] == ' ');
    }
    assert_int_equal(oto_arena_new("test", 1 << 20, &a, &e), 0);
    assert_int_equal(join(p, n, a, &w, &n_words, &e), 0);
    oto_str_init(&text, a);
    oto_str_init(&at, a);
    for (int i = 0; i < n_words; i++) {
        oto_str_printf(&text, "%s|", w[i].text);
        oto_str_printf(&at, "%d-%d ", (int)w[i].start_ms, (int)w[i].end_ms);
    }
    assert_string_equal(text.p ? text.p : "", words);
    if (times != NULL)
        assert_string_equal(at.p, times);
    oto_arena_free(a);
}

/* What FunASR's sentence_postprocess makes of the same lists, but for the last two. */
static void test_paraformer(void **state)
{
    (void)state;
    check(oto_pieces_join, "你 好 世 界", "你|好|世|界|", "0-100 100-200 200-300 300-400 ");
    check(oto_pieces_join, "hello world", " hello| world|", "0-100 100-200 ");
    check(oto_pieces_join, "hel@@ lo world", " hello| world|", "0-200 200-300 ");
    check(oto_pieces_join, "我 用 py@@ th@@ on 写", "我|用|python|写|",
          "0-100 100-200 200-500 500-600 ");
    check(oto_pieces_join, "好 hello world 好", "好|hello| world|好|", NULL);
    check(oto_pieces_join, "a p p", " APP|", "0-300 ");
    check(oto_pieces_join, "用 a p p 看", "用|APP|看|", "0-100 100-400 400-500 ");
    check(oto_pieces_join, "i see", " i| see|", NULL);
    check(oto_pieces_join, "<s> 一 <unk> 二 </s>", "一|二|", "100-200 300-400 ");
    check(oto_pieces_join, "don't", " don't|", NULL);
    check(oto_pieces_join, "", "", NULL);
    check(oto_pieces_join, "go@@ 好", " go|好|", NULL);
    check(oto_pieces_join, "go@@", " go|", NULL);
}

static int join_sp(const oto_timed_piece *p, int n, oto_arena *a, oto_word **words, int *n_words,
                   oto_err *e)
{
    return oto_pieces_join_sp(p, n, false, a, words, n_words, e);
}

static int join_sp_apart(const oto_timed_piece *p, int n, oto_arena *a, oto_word **words,
                         int *n_words, oto_err *e)
{
    return oto_pieces_join_sp(p, n, true, a, words, n_words, e);
}

static void test_sentencepiece(void **state)
{
    (void)state;
    check(join_sp, "▁the ▁tri bal ▁chief", " the| tribal| chief|", "0-100 100-300 300-400 ");
    check(join_sp, "开 放 时 间 ▁ 早 上 9 点", "开|放|时|间| 早|上|9|点|", NULL);
    check(join_sp, "▁no . ▁ yes", " no.| yes|", NULL);
    check(join_sp, "", "", NULL);
}

/* Recognised late: the words' times are those of what is spoken. */
static void test_closing_marks(void **state)
{
    (void)state;
    check(join_sp, "▁点 。 ▁tri bal ?! ▁yes", "点。| tribal?!| yes|", "0-100 200-400 500-600 ");
    check(join_sp, "▁“ 好 。 ” 他 说 ， 好 ！", "“|好。”|他|说，|好！|",
          "0-100 100-200 400-500 500-600 700-800 ");
    check(join_sp, "▁no , yes", " no,|yes|", "0-100 200-300 ");
    check(join_sp, "▁go ▁ ) ▁. ▁on", " go ) .| on|", "0-100 400-500 ");
    check(join_sp, "。 好 。", "。|好。|", "0-100 100-200 ");
    check(join_sp, "5 % \" 5", "5|%|\"|5|", NULL);
}

/* The model's first piece has no space before it: what windows are put together with. */
static void test_first_word(void **state)
{
    (void)state;
    check(join_sp, "The ▁men", " The| men|", NULL);
    check(join_sp, "É t é", " É|t|é|", NULL);
    check(join_sp, "안 녕", " 안|녕|", NULL);
    check(join_sp, "▁ ▁时", "时|", NULL);
    check(join_sp, "の ▁ は", "の| は|", NULL);
    check(join_sp, "5 G", "5|G|", NULL);
    check(join_sp, "' 好", "'|好|", NULL);
    check(join_sp_apart, "5 ▁men", " 5| men|", NULL);
    check(join_sp_apart, "▁“ yes", " “|yes|", NULL);
    check(join_sp_apart, "? ▁No", "?| No|", NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_paraformer),
        cmocka_unit_test(test_sentencepiece),
        cmocka_unit_test(test_closing_marks),
        cmocka_unit_test(test_first_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
