/* A JSON file that is a list of strings: vocabularies. */
#include "weights/parts.h"

#include <jansson.h>

#include <string.h>

#define MAX_BYTES                                                                                  \
    ((size_t)16 << 20) /* the longest known has 8; the tree takes several times that */
#define MAX_STRINGS 1000000

static int put(oto_weights *w, const char *file, const json_t *list, const char *key, oto_err *e)
{
    const size_t n = json_array_size(list);
    size_t total = 0, used = 0;
    oto_span32 *at;
    char *text;
    int rc;

    if (!json_is_array(list) || n > MAX_STRINGS)
        return oto_weights_fail(w, e, OTO_E_INPUT, "%s is not a list of at most %d tokens", file,
                                MAX_STRINGS);
    for (size_t i = 0; i < n; i++) {
        if (!json_is_string(json_array_get(list, i)))
            return oto_weights_fail(w, e, OTO_E_INPUT, "%s: token %zu is not a string", file, i);
        total += json_string_length(json_array_get(list, i));
    }
    if ((rc = oto_arena_get(w->a, n, sizeof *at, &at, e)) != 0 ||
        (rc = oto_arena_get(w->a, total, 1, &text, e)) != 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        const json_t *s = json_array_get(list, i);

        at[i] = (oto_span32){(uint32_t)used, (uint32_t)json_string_length(s)};
        memcpy(text + used, json_string_value(s), at[i].n);
        used += at[i].n;
    }
    return oto_weights_put_strs(w, key, text, at, n, e);
}

int oto_json_strings(oto_weights *w, const char *file, oto_slice text, const char *key, oto_err *e)
{
    json_error_t why;
    json_t *list;
    int rc;

    if (text.n > MAX_BYTES)
        return oto_weights_fail(w, e, OTO_E_INPUT,
                                "%s beside it has %zu bytes, more than such a file needs", file,
                                text.n);
    list = json_loadb(text.p, text.n, 0, &why);
    if (list == NULL)
        return oto_weights_fail(w, e, OTO_E_INPUT, "%s beside it, line %d: %s", file, why.line,
                                why.text);
    rc = put(w, file, list, key, e);
    json_decref(list);
    return rc;
}
