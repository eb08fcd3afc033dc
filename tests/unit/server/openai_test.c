#include "server/openai.c"

#include "../store/kit.h"

#include <stdarg.h>

static oto_served_model served[2];
static oto_server_options options;
static oto_gateway gateway;
static oto_exchange x;
static wish wished;
static oto_order order;
static oto_problem why;

static int set_up(void **state)
{
    (void)state;
    oto_server_defaults(&options);
    served[0] = (oto_served_model){.name = "whisper-base", .translates = true, .detects = true};
    served[1] = (oto_served_model){.name = "english", .languages = "en"};
    options.models = served;
    options.n_models = 1;
    gateway = (oto_gateway){.o = &options};
    x = (oto_exchange){.g = &gateway, .client = "c", .filename = "a.wav"};
    assert_int_equal(oto_arena_new("test", 8 << 20, &x.a, NULL), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    oto_arena_free(x.a);
    return 0;
}

/* Takes "name=value" pairs up to NULL; is the order taken? */
static bool take(const char *pair, ...) __attribute__((sentinel));
static bool take(const char *pair, ...)
{
    va_list ap;

    x.fields = NULL;
    wished = (wish){0};
    why = (oto_problem){0};
    va_start(ap, pair);
    for (oto_field **last = &x.fields; pair != NULL; pair = va_arg(ap, const char *)) {
        oto_field *f = oto_arena_calloc(x.a, 1, sizeof *f);
        const size_t n = strcspn(pair, "=");

        f->name = oto_arena_strdup(x.a, pair, n);
        f->value = pair + n + 1;
        *last = f;
        last = &f->next;
    }
    va_end(ap);
    return take_order(&x, NULL, false, &wished, &order, &why);
}

static void refused(const char *pair, const char *param, const char *code)
{
    assert_false(take(pair, NULL));
    assert_int_equal(why.status, 400);
    assert_string_equal(why.param, param);
    assert_string_equal(why.code, code);
    assert_int_not_equal(why.text[0], 0);
}

static bool was_read(const char *name)
{
    for (const oto_field *f = x.fields; f != NULL; f = f->next)
        if (strcmp(f->name, name) == 0)
            return f->used;
    fail_msg("no field %s", name);
    return false;
}

static void test_defaults(void **state)
{
    (void)state;
    assert_true(take(NULL, NULL));
    assert_int_equal(wished.format, JSON);
    assert_true(wished.segments && !wished.words && !wished.stream);
    assert_string_equal(order.request.language, "");
    assert_true(order.request.temperature == -1);
    assert_int_equal(order.submission.priority, 1);
    assert_int_equal(order.submission.id_digits, 32);
    assert_true(take("language=", "prompt=", "stream=", NULL)); /* empty is absent */
}

static void test_granularities(void **state)
{
    (void)state;
    assert_true(take("response_format=verbose_json", "timestamp_granularities[]=word", NULL));
    assert_true(wished.words && !wished.segments && order.request.words);
    assert_true(
        take("response_format=verbose_json", "timestamp_granularities=word, segment", NULL));
    assert_true(wished.words && wished.segments);
    assert_true(take("response_format=verbose_json", "timestamp_granularities[]=segment",
                     "timestamp_granularities[]=word", NULL));
    assert_true(wished.words && wished.segments);
    assert_true(take("timestamp_granularities[]=segment", NULL));
    refused("timestamp_granularities[]=word", "timestamp_granularities[]", "invalid_value");
    /* No event holds words: they are not computed either. */
    assert_true(
        take("response_format=verbose_json", "stream=1", "timestamp_granularities[]=word", NULL));
    assert_false(order.request.words);
    assert_false(was_read("timestamp_granularities[]"));
}

static void test_streams(void **state)
{
    (void)state;
    assert_true(take("stream=True", "response_format=text", NULL));
    assert_true(wished.stream);
    assert_false(take("stream=true", "response_format=vtt", NULL));
    assert_string_equal(why.param, "response_format");
    refused("stream=maybe", "stream", "invalid_value");
}

static void test_what_cannot_be_done(void **state)
{
    (void)state;
    refused("response_format=diarized_json", "response_format", "unsupported_parameter");
    refused("include[]=logprobs", "include[]", "unsupported_parameter");
    refused("include=moods", "include[]", "invalid_value");
    refused("known_speaker_references[]=data:,", "known_speaker_references",
            "unsupported_parameter");
    refused("spk=1", "spk", "unsupported_parameter");
    assert_true(take("diarize=false", NULL));
    x.filename = NULL;
    refused("model=whisper-1", "file", "missing_required_parameter");
}

static void test_voice_activity(void **state)
{
    (void)state;
    assert_true(take("chunking_strategy=auto", NULL));
    assert_int_equal(order.request.max_end_silence_ms, 0);
    assert_true(take("chunking_strategy[type]=server_vad", "chunking_strategy[threshold]=0.25",
                     "chunking_strategy[silence_duration_ms]=200",
                     "chunking_strategy[prefix_padding_ms]=300", NULL));
    assert_true(order.request.speech_noise_thres == 0.25f);
    assert_int_equal(order.request.max_end_silence_ms, 200);
    assert_false(was_read("chunking_strategy[prefix_padding_ms]"));
    assert_true(was_read("chunking_strategy[threshold]"));
    assert_true(
        take("chunking_strategy={\"type\":\"server_vad\",\"silence_duration_ms\":700}", NULL));
    assert_int_equal(order.request.max_end_silence_ms, 700);
    refused("chunking_strategy=sometimes", "chunking_strategy", "invalid_value");
    refused("chunking_strategy=[1]", "chunking_strategy", "invalid_value");
    refused("chunking_strategy[type]=semantic", "chunking_strategy", "invalid_value");
    refused("chunking_strategy[silence_duration_ms]=1", "chunking_strategy[silence_duration_ms]",
            "invalid_value");
}

static void test_words_and_languages(void **state)
{
    (void)state;
    assert_true(take("hotwords=one,two", "keywords[]=three", "keywords=four", NULL));
    assert_string_equal(order.request.hotwords, "one,two\nthree\nfour");
    assert_true(take("languages[]=zh-CN", "languages[]=chinese", NULL));
    assert_string_equal(order.request.language, "zh");
    assert_true(take("languages=zh,en", NULL));
    assert_string_equal(order.request.language, "");
    assert_false(was_read("languages"));
    assert_true(take("language=auto", NULL));
    assert_string_equal(order.request.language, "");
    refused("languages[]=klingon", "languages[]", "invalid_value");
    refused("language=klingon", "language", "invalid_value");
}

static void test_models(void **state)
{
    static const char *const names[] = {"model=whisper-base", "model=whisper-1", "model=default",
                                        "model=gpt-4o-transcribe"};

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(names); i++) {
        assert_true(take(names[i], NULL));
        assert_null(order.request.model);
    }
    assert_false(take("model=whisper", NULL));
    assert_int_equal(why.status, 404);
    assert_string_equal(why.code, "model_not_found");
    assert_false(take_order(&x, "deployment", false, &wished, &order, &why));
    assert_int_equal(why.status, 404);
}

/* Each request is judged by what its own model can do. */
static void test_one_of_several_models(void **state)
{
    (void)state;
    options.n_models = 2;
    options.aliases = "whisper-1,english";
    assert_true(take("model=english", NULL));
    assert_ptr_equal(order.model, &served[1]);
    assert_string_equal(order.request.model, "english");
    assert_true(take("model=whisper-base", NULL));
    assert_string_equal(order.request.model, "whisper-base");
    /* Who does not insist takes the default of the day. */
    assert_true(take("model=whisper-1", NULL));
    assert_ptr_equal(order.model, &served[0]);
    assert_null(order.request.model);
    assert_true(take_order(&x, "whisper-base", true, &wished, &order, &why));
    assert_false(take_order(&x, "english", true, &wished, &order, &why));
    assert_string_equal(why.code, "unsupported_task");
    assert_true(take("model=whisper-base", "task=translate", NULL));
    assert_false(take("model=english", "task=translate", NULL));
    assert_string_equal(why.code, "unsupported_task");
    assert_false(take("model=whisper", NULL));
    assert_int_equal(why.status, 404);
    assert_non_null(strstr(why.text, "whisper-base, english"));
}

static void test_translation(void **state)
{
    (void)state;
    assert_true(take(NULL, NULL));
    assert_true(take_order(&x, NULL, true, &wished, &order, &why));
    assert_true(order.request.translate);
    served[0].translates = served[0].detects = false;
    assert_false(take_order(&x, NULL, true, &wished, &order, &why));
    assert_string_equal(why.code, "unsupported_task");
}

/* All four keys, whatever the message holds. */
static void test_errors(void **state)
{
    const oto_problem p = {.status = 429, .code = NULL, .param = NULL, .text = "a\xff\nb"};
    json_t *j = error_json(&x, &p), *e = json_object_get(j, "error");

    (void)state;
    assert_string_equal(json_string_value(json_object_get(e, "message")), "a\xef\xbf\xbd b");
    assert_string_equal(json_string_value(json_object_get(e, "type")), "rate_limit_error");
    assert_true(json_is_null(json_object_get(e, "param")));
    assert_true(json_is_null(json_object_get(e, "code")));
    json_decref(j);
}

/* What was sent cannot be taken back in this protocol. */
static void test_a_stream_of_a_job_that_begins_anew(void **state)
{
    const oto_job_segment g = {0, 10, " Yes.", ""};
    wish w = {.stream = true};
    char token[33];
    oto_job job;

    assert_int_equal(kit_open(state), 0);
    oto_str_init(&x.headers, x.a);
    oto_str_init(&x.out, x.a);
    job = kit_submit("c", 1000);
    snprintf(x.job, sizeof x.job, "%s", job.id);
    begin_stream(&x, &w);
    kit_lease("w", 2000, token);
    OK(oto_store_begin_anew(kit_store, job.id, token, &e));
    assert_int_equal(look(&x, kit_store), OTO_WAIT); /* nothing was said yet */
    OK(oto_store_segments(kit_store, job.id, token, &g, 1, NULL, 0, 20, 2000, &e));
    assert_int_equal(look(&x, kit_store), OTO_WAIT);
    assert_non_null(strstr(x.out.p, "\"delta\":\"Yes.\""));
    assert_null(strstr(x.out.p, "error"));
    OK(oto_store_begin_anew(kit_store, job.id, token, &e));
    OK(oto_store_segments(kit_store, job.id, token, &g, 1, NULL, 0, 20, 2000, &e));
    x.out.n = 0;
    assert_int_equal(look(&x, kit_store), OTO_DONE);
    assert_non_null(strstr(x.out.p, "\"code\":\"restarted\""));
    assert_null(strstr(x.out.p, "delta"));
    assert_int_equal(kit_close(state), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_granularities, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_streams, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_cannot_be_done, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_voice_activity, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_words_and_languages, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_models, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_of_several_models, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_translation, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_errors, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_stream_of_a_job_that_begins_anew, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
