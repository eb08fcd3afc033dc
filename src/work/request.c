/* request: the options of a job as JSON and back. What the server wrote is checked again when it is
 * read: the store may be older than the program. */
#include "work/work.h"

#include <jansson.h>
#include <math.h>
#include <string.h>

void oto_request_defaults(oto_request *r)
{
    *r = (oto_request){.temperature = -1};
}

/* Without UTF-8 there is no JSON to keep it in. */
static int check_text(const char *name, const char *text, size_t most, oto_err *e)
{
    const size_t bytes = text != NULL ? strlen(text) : 0;
    uint32_t cp;

    if (bytes > most)
        return oto_fail(e, OTO_E_USAGE, "%s: %zu bytes, at most %zu", name, bytes, most);
    for (size_t i = 0, n; i < bytes; i += n) {
        n = oto_utf8_next(text + i, bytes - i, &cp);
        if (n == 1 && cp == 0xfffd)
            return oto_fail(e, OTO_E_USAGE, "%s: not UTF-8", name);
    }
    return 0;
}

int oto_request_check(const oto_request *r, oto_err *e)
{
    int rc;

    if (r->language[0] != '\0' && oto_language_index(r->language) < 0)
        return oto_fail(e, OTO_E_USAGE, "language: '%s' is not known", r->language);
    if (r->beam < 0 || r->beam > 5)
        return oto_fail(e, OTO_E_USAGE, "beam_size: %d is not between 1 and 5", r->beam);
    if (!(r->temperature == -1 || (r->temperature >= 0 && r->temperature <= 1)))
        return oto_fail(e, OTO_E_USAGE, "temperature: %g is not between 0 and 1",
                        (double)r->temperature);
    if (r->max_end_silence_ms != 0 &&
        (r->max_end_silence_ms < 100 || r->max_end_silence_ms > 10000))
        return oto_fail(e, OTO_E_USAGE, "silence_duration_ms: %d is not between 100 and 10000",
                        r->max_end_silence_ms);
    if (!(r->speech_noise_thres >= 0 && r->speech_noise_thres <= 1))
        return oto_fail(e, OTO_E_USAGE, "threshold: %g is not between 0 and 1",
                        (double)r->speech_noise_thres);
    if (r->script[0] != '\0' && !oto_script_knows(r->script))
        return oto_fail(e, OTO_E_USAGE, "script: '%s' is not known (s2t, t2s, s2tw, ...)",
                        r->script);
    if ((rc = check_text("prompt", r->prompt, OTO_PROMPT_BYTES, e)) != 0)
        return rc;
    return check_text("hotwords", r->hotwords, OTO_HOTWORDS_BYTES, e);
}

/* Only what differs from the defaults is written. */
static json_t *pack(const oto_request *r)
{
    json_t *j = json_object();

    if (r->language[0] != '\0')
        json_object_set_new(j, "language", json_string(r->language));
    if (r->translate)
        json_object_set_new(j, "translate", json_true());
    if (r->words)
        json_object_set_new(j, "words", json_true());
    if (r->no_vad)
        json_object_set_new(j, "no_vad", json_true());
    if (r->itn)
        json_object_set_new(j, "itn", json_true());
    if (r->script[0] != '\0')
        json_object_set_new(j, "script", json_string(r->script));
    if (r->raw_pcm)
        json_object_set_new(j, "raw_pcm", json_true());
    if (r->beam != 0)
        json_object_set_new(j, "beam", json_integer(r->beam));
    if (r->temperature >= 0)
        json_object_set_new(j, "temperature", json_real((double)r->temperature));
    if (r->max_end_silence_ms != 0)
        json_object_set_new(j, "max_end_silence_ms", json_integer(r->max_end_silence_ms));
    if (r->speech_noise_thres > 0)
        json_object_set_new(j, "speech_noise_thres", json_real((double)r->speech_noise_thres));
    if (r->prompt != NULL && r->prompt[0] != '\0')
        json_object_set_new(j, "prompt", json_string(r->prompt));
    if (r->hotwords != NULL && r->hotwords[0] != '\0')
        json_object_set_new(j, "hotwords", json_string(r->hotwords));
    if (r->model != NULL)
        json_object_set_new(j, "model", json_string(r->model));
    return j;
}

int oto_request_write(const oto_request *r, oto_arena *a, const char **out, oto_err *e)
{
    json_t *j = pack(r);
    char *text = json_dumps(j, JSON_COMPACT);

    json_decref(j);
    if (text == NULL)
        return oto_fail(e, OTO_E_USAGE, "options: a text is not UTF-8");
    *out = oto_arena_strdup(a, text, strlen(text));
    free(text);
    return *out != NULL ? 0 : oto_fail(e, OTO_E_LIMIT, "options: out of memory");
}

/* NULL where there is none. False: no memory. */
static bool text_of(const json_t *j, const char *key, oto_arena *a, const char **out)
{
    const char *text = json_string_value(json_object_get(j, key));

    *out = text != NULL ? oto_arena_strdup(a, text, strlen(text)) : NULL;
    return text == NULL || *out != NULL;
}

int oto_request_read(const char *text, oto_arena *a, oto_request *out, oto_err *e)
{
    const char *language, *script;
    json_error_t why;
    json_t *j, *t;
    int rc;

    oto_request_defaults(out);
    if (text[0] == '\0')
        return 0;
    j = json_loads(text, 0, &why);
    if (!json_is_object(j)) {
        json_decref(j);
        return oto_fail(e, OTO_E_INPUT, "options: %s", j == NULL ? why.text : "not an object");
    }
    language = json_string_value(json_object_get(j, "language"));
    snprintf(out->language, sizeof out->language, "%s", language != NULL ? language : "");
    out->translate = json_is_true(json_object_get(j, "translate"));
    out->words = json_is_true(json_object_get(j, "words"));
    out->no_vad = json_is_true(json_object_get(j, "no_vad"));
    out->itn = json_is_true(json_object_get(j, "itn"));
    script = json_string_value(json_object_get(j, "script"));
    snprintf(out->script, sizeof out->script, "%s", script != NULL ? script : "");
    out->raw_pcm = json_is_true(json_object_get(j, "raw_pcm"));
    out->beam = (int)json_integer_value(json_object_get(j, "beam"));
    t = json_object_get(j, "temperature");
    out->temperature = json_is_number(t) ? (float)json_number_value(t) : -1;
    out->max_end_silence_ms = (int)json_integer_value(json_object_get(j, "max_end_silence_ms"));
    out->speech_noise_thres = (float)json_number_value(json_object_get(j, "speech_noise_thres"));
    if (text_of(j, "prompt", a, &out->prompt) && text_of(j, "hotwords", a, &out->hotwords) &&
        text_of(j, "model", a, &out->model))
        rc = oto_request_check(out, e);
    else
        rc = oto_fail(e, OTO_E_LIMIT, "options: out of memory");
    json_decref(j);
    return rc;
}
