#include "recogniser/finish.c"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

static void expect(oto_finish *f, const char *language, const char *text, const char *want)
{
    static const oto_word word = {.text = "as it was"};
    oto_segment s = {.start_ms = 5, .end_ms = 9, .text = text, .words = &word, .n_words = 1};
    const oto_segment *out;

    out = oto_finish_segment(f, &s, language);
    assert_string_equal(out->text, want);
    assert_int_equal(out->start_ms, 5);
    assert_int_equal(out->end_ms, 9);
    assert_ptr_equal(out->words, &word);
    assert_int_equal(out->n_words, 1);
}

static void by_language(void **state)
{
    oto_finish *f = NULL;

    (void)state;
    assert_int_equal(oto_finish_new(&f, NULL), 0);
    assert_int_equal(oto_finish_start(f, true, "s2t", NULL), 0);
    expect(f, "zh", "二十个人说话", "20個人說話");
    expect(f, "", "二十个人", "20個人");
    expect(f, "yue", "二十个人", "20個人");
    expect(f, "en", " Twenty people.", " 20 people.");
    expect(f, "zh", "twenty people", "20 people"); /* Paraformer's English */
    expect(f, "ja", "二十人国", "二十人国");       /* no rules, no script of its own */
    expect(f, "fr", "cent twenty", "cent twenty");
    expect(f, "zh", "", "");
    assert_int_equal(oto_finish_start(f, false, "t2s", NULL), 0);
    expect(f, "zh", "二十個人說話", "二十个人说话");
    assert_int_equal(oto_finish_start(f, true, "", NULL), 0);
    expect(f, "zh", "二十個人說話", "20個人說話");
    oto_finish_free(f);
    oto_finish_free(NULL);
}

/* The second job of a kind opens nothing; one that cannot be opened is told. */
static void opens_once(void **state)
{
    oto_script *script;
    oto_finish *f = NULL;
    oto_itn *itn;
    oto_err e = {0};

    (void)state;
    assert_int_equal(oto_finish_new(&f, NULL), 0);
    assert_int_equal(oto_finish_start(f, true, "s2t", NULL), 0);
    script = f->script;
    itn = f->itn[ZH];
    assert_int_equal(oto_finish_start(f, true, "s2t", NULL), 0);
    assert_ptr_equal(f->script, script);
    assert_ptr_equal(f->itn[ZH], itn);
    assert_int_equal(oto_finish_start(f, true, "s2x", &e), OTO_E_USAGE);
    assert_null(f->script);
    assert_int_equal(oto_finish_start(f, true, "s2t", NULL), 0);
    expect(f, "zh", "说", "說");
    oto_finish_free(f);
}

/* A text that is too long or broken goes out as it is. */
static void loses_nothing(void **state)
{
    const size_t n = TEXT_BYTES;
    char *text = malloc(n + 1);
    oto_finish *f = NULL;

    (void)state;
    assert_non_null(text);
    memset(text, 'a', n);
    text[n] = '\0';
    assert_int_equal(oto_finish_new(&f, NULL), 0);
    assert_int_equal(oto_finish_start(f, true, "s2t", NULL), 0);
    expect(f, "zh", text, text);
    expect(f, "zh", "说\xFF", "说\xFF");
    oto_finish_free(f);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(by_language), cmocka_unit_test(opens_once),
                                       cmocka_unit_test(loses_nothing)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
