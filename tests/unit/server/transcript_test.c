#include "server/transcript.c"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

#define NOW 1790000000000ll

typedef struct {
    char folder[64];
    oto_store *store;
    oto_exchange x;
    oto_job job;
} fixture;

static int set_up(void **state)
{
    fixture *f = test_calloc(1, sizeof *f);
    char path[80];

    snprintf(f->folder, sizeof f->folder, "/tmp/oto-transcript-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(path, sizeof path, "%s/jobs.db", f->folder);
    assert_int_equal(oto_store_open(path, &f->store, NULL), 0);
    assert_int_equal(oto_arena_new("test", 64 << 20, &f->x.a, NULL), 0);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    fixture *f = *state;
    char command[100];

    oto_store_close(f->store);
    oto_arena_free(f->x.a);
    snprintf(command, sizeof command, "rm -r %s", f->folder);
    assert_int_equal(system(command), 0);
    test_free(f);
    return 0;
}

/* A job of these segments; `ms` long when it is done, running when ms is -1. */
static void store_job(fixture *f, const char *options, const oto_segment *s, int n, int64_t ms)
{
    const oto_submission j = {.client = "c", .api = "test", .model = "m", .options = options};
    const oto_job_outcome outcome = {
        .language = "en", .warning = "", .audio_ms = ms, .processing_s = 0.5};
    oto_job_segment stored[8];
    char *json[8], token[33];
    bool existing;

    for (int i = 0; i < n; i++) {
        json_t *packed = oto_segment_pack(&s[i]);

        json[i] = json_dumps(packed, JSON_COMPACT);
        json_decref(packed);
        stored[i] = (oto_job_segment){s[i].start_ms, s[i].end_ms, s[i].text, json[i]};
    }
    assert_int_equal(oto_store_submit(f->store, &j, 0, 0, NOW, f->x.a, &f->job, &existing, NULL),
                     0);
    assert_int_equal(oto_store_lease(f->store, "w", 60000, 0, NOW, f->x.a, &f->job, token, NULL),
                     0);
    assert_int_equal(
        oto_store_segments(f->store, f->job.id, token, stored, n, NULL, 0, 1000, NOW, NULL), 0);
    if (ms >= 0)
        assert_int_equal(oto_store_finish(f->store, f->job.id, token, NULL, 0, &outcome, NOW, NULL),
                         0);
    assert_int_equal(oto_store_get(f->store, f->job.id, f->x.a, &f->job, NULL), 0);
    for (int i = 0; i < n; i++)
        free(json[i]);
}

static const char *text_of(fixture *f, const char *format, unsigned flags)
{
    oto_err e = {0};
    oto_str out;

    oto_str_init(&out, f->x.a);
    if (oto_transcript_as(&f->x, f->store, &f->job, format, flags, &out, &e) != 0)
        fail_msg("%s", e.text);
    return out.p;
}

static const oto_word words[] = {{0, 400, " One", 0.9f}, {400, 2600, " two.", 0.8f}};
static const oto_segment two[] = {
    {.start_ms = 0, .end_ms = 900, .text = " One two.", .words = words, .n_words = 2},
    {.start_ms = 900, .end_ms = 2600, .text = " Three."}};

static void test_formats(void **state)
{
    fixture *f = *state;

    store_job(f, "", two, 2, 2500);
    assert_string_equal(text_of(f, "txt", 0), "One two.\nThree.\n");
    assert_string_equal(text_of(f, "lrc", 0), "[00:00.00]One two.\n[00:00.90]Three.\n");
    /* Nothing lasts longer than the recording. */
    assert_non_null(strstr(text_of(f, "srt", 0), "00:00:00,900 --> 00:00:02,500"));
}

static void test_json(void **state)
{
    fixture *f = *state;
    json_t *j;

    store_job(f, "", two, 2, 2500);
    j = json_loads(text_of(f, "json", OTO_WORDS | OTO_NO_SEGMENTS | OTO_ABOUT), 0, NULL);
    assert_non_null(j);
    assert_null(json_object_get(j, "segments"));
    assert_int_equal(json_array_size(json_object_get(j, "words")), 2);
    assert_true(json_real_value(
                    json_object_get(json_array_get(json_object_get(j, "words"), 1), "end")) == 2.5);
    assert_string_equal(json_string_value(json_object_get(j, "language")), "english");
    assert_string_equal(json_string_value(json_object_get(json_object_get(j, "x_otolith"), "job")),
                        f->job.id);
    json_decref(j);
    j = json_loads(text_of(f, "json", 0), 0, NULL);
    assert_int_equal(json_array_size(json_object_get(j, "segments")), 2);
    assert_null(json_object_get(j, "words"));
    assert_null(json_object_get(j, "x_otolith"));
    json_decref(j);
}

static void test_translation_is_english(void **state)
{
    fixture *f = *state;
    json_t *j;

    store_job(f, "{\"translate\":true,\"language\":\"zh\"}", two, 2, 2500);
    assert_string_equal(oto_text_language(&f->x, &f->job), "en");
    j = json_loads(text_of(f, "json", 0), 0, NULL);
    assert_string_equal(json_string_value(json_object_get(j, "task")), "translate");
    json_decref(j);
}

static void test_of_a_running_job(void **state)
{
    fixture *f = *state;
    oto_err e = {0};
    oto_str out;
    json_t *j;

    store_job(f, "", two, 2, -1);
    oto_str_init(&out, f->x.a);
    assert_int_equal(oto_plain_text(&f->x, f->store, &f->job, &out, &e), 0);
    assert_string_equal(out.p, "One two. Three.");
    j = oto_segments_json(f->store, &f->job, 1, &e);
    assert_int_equal(json_array_size(j), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(j, 0), "text")), "Three.");
    json_decref(j);
}

static void test_damaged_segments(void **state)
{
    fixture *f = *state;
    const oto_segment bad[] = {{.end_ms = 10, .text = "\xff caf\xc3\xa9 \x01"},
                               {.end_ms = 10, .text = " \n"},
                               {.end_ms = 10, .text = "\xe4\xbd\xa0"},
                               {.end_ms = 10, .text = "\xe5\xa5\xbd "}};
    oto_err e = {0};
    oto_str out;

    store_job(f, "", bad, 4, 10);
    oto_str_init(&out, f->x.a);
    assert_int_equal(oto_plain_text(&f->x, f->store, &f->job, &out, &e), 0);
    assert_string_equal(out.p, "\xef\xbf\xbd caf\xc3\xa9    \xe4\xbd\xa0\xe5\xa5\xbd");
}

/* What is told piece by piece is the whole, byte for byte. */
static void test_pieces_are_the_whole(void **state)
{
    static const char *const texts[] = {"  ", " One",  " two. ",     "",
                                        "\t", "three", " \xe4\xbd ", "."};
    fixture *f = *state;
    oto_joint pieces = {0}, whole = {0};
    oto_str told, all;

    oto_str_init(&told, f->x.a);
    oto_str_init(&all, f->x.a);
    for (size_t i = 0; i < OTO_COUNT(texts); i++) {
        oto_str delta;

        oto_str_init(&delta, f->x.a);
        oto_joined_text(&pieces, texts[i], &delta);
        oto_str_put(&told, delta.p, delta.n);
        oto_joined_text(&whole, texts[i], &all);
    }
    assert_string_equal(told.p, all.p);
    assert_string_equal(all.p, "One two.  three \xef\xbf\xbd\xef\xbf\xbd .");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_formats, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_json, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_translation_is_english, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_of_a_running_job, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damaged_segments, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pieces_are_the_whole, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
