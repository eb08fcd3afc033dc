#include "text/write.c"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

static const int32_t tokens[] = {50363, 383, 50413};
static const oto_word words[] = {{0, 240, " The", 0.9f}, {240, 900, " beach,", 0.5f}};

static oto_segment segment(int64_t start, int64_t end, const char *text)
{
    return (oto_segment){.start_ms = start,
                         .end_ms = end,
                         .text = text,
                         .tokens = tokens,
                         .n_tokens = 3,
                         .seek_ms = 30000,
                         .avg_logprob = -0.25f,
                         .compression_ratio = 1.5f,
                         .no_speech_prob = 0.125f};
}

/* What the writer of `format` makes of the segments; to be freed. */
static char *written(const char *format, const oto_segment *s, int n, const oto_writer_info *info)
{
    const oto_writer_info plain = {.task = "transcribe", .language = "en", .duration_s = 9.5};
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);
    oto_writer *w;
    oto_err e = {0};

    assert_int_equal(oto_writer_new(format, f, info != NULL && info->words, &w, &e), 0);
    for (int i = 0; i < n; i++)
        assert_int_equal(oto_writer_segment(w, &s[i], &e), 0);
    assert_int_equal(oto_writer_finish(w, info != NULL ? info : &plain, &e), 0);
    oto_writer_free(w);
    fclose(f);
    return text;
}

static void check(const char *format, const oto_segment *s, int n, const char *expected)
{
    char *got = written(format, s, n, NULL);

    assert_string_equal(got, expected);
    free(got);
}

static void test_plain_text(void **state)
{
    const oto_segment s[] = {segment(0, 1000, " The beach."), segment(1000, 2000, "  "),
                             segment(2000, 3000, " two\nlines\t")};

    (void)state;
    check("txt", s, 3, "The beach.\ntwo lines\n");
    check("txt", s, 0, "");
}

static void test_srt(void **state)
{
    const oto_segment s[] = {segment(0, 3320, " The beach."), segment(3320, 3400, " "),
                             segment(3599999, 3599999, " a --> b <i>"),
                             segment(360000000, 360001001, " late")};

    (void)state;
    check("srt", s, 4,
          "1\n00:00:00,000 --> 00:00:03,320\nThe beach.\n\n"
          "2\n00:59:59,999 --> 01:00:00,000\na -> b <i>\n\n"
          "3\n100:00:00,000 --> 100:00:01,001\nlate\n\n");
    check("srt", s, 0, "");
}

static void test_srt_has_one_arrow(void **state)
{
    const oto_segment s[] = {segment(0, 1000, "---> a ----->b-->--> c -> -- >-"),
                             segment(1000, 2000, "-->")};

    (void)state;
    check("srt", s, 2,
          "1\n00:00:00,000 --> 00:00:01,000\n-> a ->b->-> c -> -- >-\n\n"
          "2\n00:00:01,000 --> 00:00:02,000\n->\n\n");
}

static void test_vtt(void **state)
{
    const oto_segment s[] = {segment(0, 3320, " R&B <loud> --> x"), segment(4000, 5000, " b")};

    (void)state;
    check("vtt", s, 2,
          "WEBVTT\n\n00:00:00.000 --> 00:00:03.320\nR&amp;B &lt;loud&gt; -&gt; x\n\n"
          "00:00:04.000 --> 00:00:05.000\nb\n\n");
    check("vtt", s, 0, "WEBVTT\n\n");
}

static void test_vtt_words(void **state)
{
    oto_segment s = segment(0, 900, " The beach,");
    const oto_writer_info info = {.task = "transcribe", .language = "en", .words = true};
    char *got;

    (void)state;
    s.words = words;
    s.n_words = 2;
    got = written("vtt", &s, 1, &info);
    assert_string_equal(got,
                        "WEBVTT\n\n00:00:00.000 --> 00:00:00.900\nThe<00:00:00.240> beach,\n\n");
    free(got);
}

static void test_tsv(void **state)
{
    const oto_segment s[] = {segment(0, 3320, " a\tb"), segment(4000, 5000, " c")};

    (void)state;
    check("tsv", s, 2, "start\tend\ttext\n0\t3320\ta b\n4000\t5000\tc\n");
}

static void test_lrc(void **state)
{
    const oto_segment s[] = {segment(0, 3320, " The beach."), segment(3320, 3400, " "),
                             segment(59994, 61000, " a"), segment(59995, 61000, " b"),
                             segment(3723456, 3724000, " late")};

    (void)state;
    check("lrc", s, 5, "[00:00.00]The beach.\n[00:59.99]a\n[01:00.00]b\n[62:03.46]late\n");
    check("lrc", s, 0, "");
}

static void test_order_is_kept(void **state)
{
    const oto_segment s[] = {segment(2000, 3000, " a"), segment(1500, 1700, " b"),
                             segment(4000, 3500, " c")};

    (void)state;
    check("tsv", s, 3, "start\tend\ttext\n2000\t3000\ta\n2000\t2000\tb\n4000\t4000\tc\n");
}

/* ---- json ---- */

static json_t *parsed(const oto_segment *s, int n, const oto_writer_info *info)
{
    char *got = written("json", s, n, info);
    json_error_t error;
    json_t *j = json_loads(got, JSON_REJECT_DUPLICATES, &error);

    if (j == NULL)
        fail_msg("%s in %s", error.text, got);
    free(got);
    return j;
}

static void check_keys(const json_t *o, const char *expected)
{
    char got[400] = "";
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)(uintptr_t)o, key, value)
    {
        strcat(got, key);
        strcat(got, " ");
    }
    assert_string_equal(got, expected);
}

static double number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    assert_true(json_is_number(v));
    return json_number_value(v);
}

static void test_json(void **state)
{
    const oto_segment s[] = {segment(0, 3320, " The \"beach\" was\\"),
                             segment(3320, 4000, " caf\xc3\xa9 \x01 \xff!")};
    json_t *j = parsed(s, 2, NULL), *first, *list;

    (void)state;
    check_keys(j, "task language duration text segments usage ");
    assert_string_equal(json_string_value(json_object_get(j, "task")), "transcribe");
    assert_string_equal(json_string_value(json_object_get(j, "language")), "english");
    assert_true(number(j, "duration") == 9.5);
    assert_string_equal(json_string_value(json_object_get(j, "text")),
                        "The \"beach\" was\\ caf\xc3\xa9 \x01 \xef\xbf\xbd!");
    list = json_object_get(j, "segments");
    assert_int_equal(json_array_size(list), 2);
    first = json_array_get(list, 0);
    check_keys(first, "id seek start end text tokens temperature avg_logprob compression_ratio "
                      "no_speech_prob ");
    assert_true(json_is_integer(json_object_get(first, "id")));
    assert_int_equal(json_integer_value(json_object_get(first, "seek")), 3000);
    assert_true(json_is_real(json_object_get(first, "start")));
    assert_true(number(first, "end") == 3.32);
    assert_string_equal(json_string_value(json_object_get(first, "text")), " The \"beach\" was\\");
    assert_int_equal(json_array_size(json_object_get(first, "tokens")), 3);
    assert_true(number(first, "avg_logprob") == -0.25);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 1), "id")), 1);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(j, "usage"), "seconds")),
                     10);
    json_decref(j);
}

static void test_json_of_silence(void **state)
{
    const oto_writer_info info = {
        .task = "translate", .language = "", .duration_s = 0, .warning = "decoder: 1 bad packet"};
    json_t *j = parsed(NULL, 0, &info);

    (void)state;
    check_keys(j, "task language duration text segments usage warnings ");
    assert_string_equal(json_string_value(json_object_get(j, "language")), "unknown");
    assert_string_equal(json_string_value(json_object_get(j, "text")), "");
    assert_int_equal(json_array_size(json_object_get(j, "segments")), 0);
    json_decref(j);
}

static void test_json_words(void **state)
{
    const oto_writer_info info = {.task = "transcribe",
                                  .language = "en",
                                  .duration_s = 2,
                                  .model = "m",
                                  .wall_s = 1,
                                  .rtf = 0.5,
                                  .words = true};
    oto_segment s[] = {segment(0, 900, " The beach,"), segment(900, 1500, " The beach,"),
                       segment(1500, 1600, "")};
    json_t *j, *list, *in_segment;

    (void)state;
    s[0].words = s[1].words = words;
    s[0].n_words = s[1].n_words = 2;
    j = parsed(s, 3, &info);
    check_keys(j, "task language duration text segments words usage x_otolith ");
    list = json_object_get(j, "words");
    assert_int_equal(json_array_size(list), 4);
    check_keys(json_array_get(list, 0), "word start end probability ");
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 1), "word")),
                        "beach,");
    assert_true(number(json_array_get(list, 1), "start") == 0.24);
    in_segment = json_object_get(json_array_get(json_object_get(j, "segments"), 1), "words");
    assert_int_equal(json_array_size(in_segment), 2);
    assert_string_equal(json_string_value(json_object_get(j, "text")), "The beach, The beach,");
    json_decref(j);
}

static void test_json_of_words_alone(void **state)
{
    const oto_writer_info info = {.task = "transcribe",
                                  .language = "en",
                                  .model = "m",
                                  .words = true,
                                  .no_segments = true,
                                  .job = "0123abcd"};
    oto_segment s = segment(0, 900, " The beach,");
    json_t *j;

    (void)state;
    s.words = words;
    s.n_words = 2;
    j = parsed(&s, 1, &info);
    check_keys(j, "task language duration text words usage x_otolith ");
    assert_int_equal(json_array_size(json_object_get(j, "words")), 2);
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "x_otolith"), "job")),
                        "0123abcd");
    json_decref(j);
}

static void test_not_numbers(void **state)
{
    oto_segment s = segment(0, 900, " x");
    json_t *j;

    (void)state;
    s.avg_logprob = -INFINITY;
    s.no_speech_prob = NAN;
    j = parsed(&s, 1, NULL);
    json_decref(j);
}

static void test_chinese_is_not_spaced(void **state)
{
    const oto_segment s[] = {segment(0, 900, "你好"), segment(900, 1800, "世界")};
    json_t *j = parsed(s, 2, NULL);

    (void)state;
    assert_string_equal(json_string_value(json_object_get(j, "text")), "你好世界");
    json_decref(j);
}

/* ---- failures ---- */

static void test_unknown_format(void **state)
{
    oto_writer *w;
    oto_err e = {0};

    (void)state;
    assert_int_equal(oto_writer_new("doc", stdout, false, &w, &e), OTO_E_USAGE);
    assert_non_null(strstr(e.text, "doc"));
}

static void test_full_disk(void **state)
{
    const oto_segment s = segment(0, 900, " x");

    (void)state;
    for (const char *const *name = oto_writer_formats(); *name != NULL; name++) {
        const oto_writer_info info = {.task = "transcribe", .language = "en"};
        FILE *f = fopen("/dev/full", "w");
        oto_writer *w;
        oto_err e = {0};
        int rc;

        if (f == NULL)
            return;
        assert_int_equal(oto_writer_new(*name, f, false, &w, &e), 0);
        rc = oto_writer_segment(w, &s, &e);
        if (rc == 0)
            rc = oto_writer_finish(w, &info, &e);
        assert_int_equal(rc, OTO_E_NO_SPACE);
        oto_writer_free(w);
        fclose(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_text),
        cmocka_unit_test(test_srt),
        cmocka_unit_test(test_srt_has_one_arrow),
        cmocka_unit_test(test_vtt),
        cmocka_unit_test(test_vtt_words),
        cmocka_unit_test(test_tsv),
        cmocka_unit_test(test_lrc),
        cmocka_unit_test(test_order_is_kept),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_json_of_silence),
        cmocka_unit_test(test_json_words),
        cmocka_unit_test(test_json_of_words_alone),
        cmocka_unit_test(test_not_numbers),
        cmocka_unit_test(test_chinese_is_not_spaced),
        cmocka_unit_test(test_unknown_format),
        cmocka_unit_test(test_full_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
