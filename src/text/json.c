/* Segments as JSON and back, for results that are kept: the keys of verbose_json, times in ms. */
#include "text/text.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* A model may stop inside a character: what is no UTF-8 becomes U+FFFD. */
static json_t *text_json(const char *text)
{
    const size_t n = strlen(text);
    json_t *j = json_stringn(text, n);
    char *clean;
    size_t len = 0;

    if (j != NULL || (clean = malloc(3 * n + 4)) == NULL)
        return j;
    for (size_t i = 0; i < n;) {
        uint32_t cp;

        i += oto_utf8_next(text + i, n - i, &cp);
        len += oto_utf8_put(clean + len, cp);
    }
    j = json_stringn(clean, len);
    free(clean);
    return j;
}

json_t *oto_segment_pack(const oto_segment *s)
{
    json_t *j =
        json_pack("{s:I, s:I, s:o, s:I, s:f, s:f, s:f, s:f, s:s}", "start", (json_int_t)s->start_ms,
                  "end", (json_int_t)s->end_ms, "text", text_json(s->text), "seek",
                  (json_int_t)s->seek_ms, "temperature", (double)s->temperature, "avg_logprob",
                  (double)s->avg_logprob, "compression_ratio", (double)s->compression_ratio,
                  "no_speech_prob", (double)s->no_speech_prob, "language", s->language);
    json_t *tokens = json_array(), *words;

    for (int i = 0; i < s->n_tokens; i++)
        json_array_append_new(tokens, json_integer(s->tokens[i]));
    json_object_set_new(j, "tokens", tokens);
    if (s->emotion[0] != '\0')
        json_object_set_new(j, "emotion", json_string(s->emotion));
    if (s->event[0] != '\0')
        json_object_set_new(j, "event", json_string(s->event));
    if (s->words == NULL)
        return j;
    words = json_array();
    for (int i = 0; i < s->n_words; i++)
        json_array_append_new(words,
                              json_pack("[I, I, o, f]", (json_int_t)s->words[i].start_ms,
                                        (json_int_t)s->words[i].end_ms, text_json(s->words[i].text),
                                        (double)s->words[i].probability));
    json_object_set_new(j, "words", words);
    return j;
}

static const char *copy_text(const json_t *j, oto_arena *a)
{
    return oto_arena_strdup(a, json_string_value(j), json_string_length(j));
}

static int unpack_words(const json_t *list, oto_arena *a, oto_segment *out, oto_err *e)
{
    oto_word *words;
    int rc = oto_arena_get(a, json_array_size(list), sizeof *words, &words, e);

    if (rc != 0)
        return rc;
    out->n_words = (int)json_array_size(list);
    for (int i = 0; i < out->n_words; i++) {
        const json_t *w = json_array_get(list, (size_t)i);

        if (!json_is_string(json_array_get(w, 2)))
            return oto_fail(e, OTO_E_INPUT, "segment: word %d has no text", i);
        words[i] = (oto_word){
            json_integer_value(json_array_get(w, 0)), json_integer_value(json_array_get(w, 1)),
            copy_text(json_array_get(w, 2), a), (float)json_number_value(json_array_get(w, 3))};
        if (words[i].text == NULL)
            return oto_fail(e, OTO_E_LIMIT, "segment: too many words");
    }
    out->words = words;
    return 0;
}

static float number_of(const json_t *j, const char *key)
{
    return (float)json_number_value(json_object_get(j, key));
}

static void copy_name(const json_t *j, const char *key, char *out, size_t n)
{
    const char *name = json_string_value(json_object_get(j, key));

    snprintf(out, n, "%s", name != NULL ? name : "");
}

int oto_segment_unpack(const json_t *j, oto_arena *a, oto_segment *out, oto_err *e)
{
    const json_t *tokens = json_object_get(j, "tokens"), *words = json_object_get(j, "words");
    int32_t *ids;
    int rc;

    *out = (oto_segment){.start_ms = json_integer_value(json_object_get(j, "start")),
                         .end_ms = json_integer_value(json_object_get(j, "end")),
                         .seek_ms = json_integer_value(json_object_get(j, "seek")),
                         .temperature = number_of(j, "temperature"),
                         .avg_logprob = number_of(j, "avg_logprob"),
                         .compression_ratio = number_of(j, "compression_ratio"),
                         .no_speech_prob = number_of(j, "no_speech_prob")};
    if (!json_is_string(json_object_get(j, "text")))
        return oto_fail(e, OTO_E_INPUT, "segment: no text");
    copy_name(j, "language", out->language, sizeof out->language);
    copy_name(j, "emotion", out->emotion, sizeof out->emotion);
    copy_name(j, "event", out->event, sizeof out->event);
    if ((rc = oto_arena_get(a, json_array_size(tokens), sizeof *ids, &ids, e)) != 0)
        return rc;
    out->n_tokens = (int)json_array_size(tokens);
    for (int i = 0; i < out->n_tokens; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(tokens, (size_t)i));
    out->tokens = ids;
    out->text = copy_text(json_object_get(j, "text"), a);
    if (out->text == NULL)
        return oto_fail(e, OTO_E_LIMIT, "segment: too long");
    return words != NULL ? unpack_words(words, a, out, e) : 0;
}
