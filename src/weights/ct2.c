/* CTranslate2's model.bin, read in place, with config.json and the vocabulary beside it.
 *
 *   u32 binary version (3 … 6)   str spec   u32 spec revision   u32 n_variables
 *   n × { str name, u8 rank, u32 dim[rank], u8 dtype, u32 n_bytes, bytes }
 *   u32 n_aliases, n × { str alias, str target }
 *   str = u16 length with the final NUL, bytes, NUL. Unaligned. dtype: 0 f32, 1 i8, 2 i16, 3 i32, 4
 * f16, 5 bf16
 *
 * Version 3 differs in one place: instead of dtype and bytes it stores the size of an item (4 is
 * f32, 2 is i16, 1 is i8) and the number of items. Versions 4 and 5 have today's layout; what 5 and
 * 6 changed concerns how activations are quantised and how vocabularies of other model kinds are
 * stored. 1 and 2 have no aliases and predate Whisper: refused.
 *
 * An i8 weight NAME has a companion NAME_scale, f32, one per row; an i16 weight has one for all.
 * Stored values are round(w × scale), so w = q / scale. The companion is copied (the file's is
 * unaligned) and hung on its tensor. */
#include "weights/parts.h"

#include <jansson.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define OLDEST           3
#define NEWEST           6
#define MAX_CONFIG_BYTES ((size_t)16 << 20)
#define MAX_VOCAB_BYTES  ((size_t)64 << 20)
#define MAX_VOCAB        1000000

static bool ct2_matches(const uint8_t *p, size_t n, uint64_t file_bytes)
{
    /* A small version, then the spec's name: a plausible length, letters, a NUL. */
    if (file_bytes < 16 || n < 16 || p[0] == 0 || p[0] > 31 || p[1] || p[2] || p[3]) {
        return false;
    }
    size_t len = (size_t)(p[4] | p[5] << 8);
    if (len < 2 || len > 128 || 6 + len > n || p[6 + len - 1] != 0) {
        return false;
    }
    for (size_t i = 6; i < 6 + len - 1; i++) {
        if (p[i] <= ' ' || p[i] > '~') {
            return false;
        }
    }
    return true;
}

static int truncated(const oto_weights *w, const oto_reader *r, const char *what, oto_err *e)
{
    return oto_weights_fail(w, e, OTO_E_INPUT,
                            "truncated: %s at offset %zu does not fit into %zu bytes", what, r->at,
                            r->n);
}

/* Without its NUL; false when it does not fit or is not terminated. */
static bool read_string(oto_reader *r, oto_slice *out)
{
    uint16_t n = oto_read_u16(r);
    const uint8_t *p = oto_read_bytes(r, n);
    if (!p || n == 0 || p[n - 1] != 0) {
        *out = (oto_slice){"", 0};
        return false;
    }
    *out = (oto_slice){(const char *)p, (size_t)n - 1};
    return true;
}

static bool type_of(uint32_t version, uint8_t code, oto_ttype *out)
{
    static const oto_ttype now[] = {OTO_T_F32, OTO_T_I8,  OTO_T_I16,
                                    OTO_T_I32, OTO_T_F16, OTO_T_BF16};
    if (version >= 4) {
        *out = code < OTO_COUNT(now) ? now[code] : OTO_T_F32;
        return code < OTO_COUNT(now);
    }
    *out = code == 4 ? OTO_T_F32 : code == 2 ? OTO_T_I16 : OTO_T_I8;
    return code == 4 || code == 2 || code == 1;
}

static int read_variable(oto_weights *w, oto_reader *r, uint32_t version, oto_err *e)
{
    size_t start = r->at;
    oto_slice name;
    if (!read_string(r, &name)) {
        return r->bad
                   ? truncated(w, r, "a variable's name", e)
                   : oto_weights_fail(w, e, OTO_E_INPUT,
                                      "the name at offset %zu is not a terminated string", start);
    }
    uint8_t rank = oto_read_u8(r);
    if (rank > OTO_MAX_RANK) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "%s at offset %zu has %d dimensions", name.p,
                                start, rank);
    }
    oto_tensor t = {.name = name.p, .rank = rank};
    for (int i = 0; i < rank; i++) {
        t.dim[i] = oto_read_u32(r);
    }
    uint8_t code = oto_read_u8(r);
    uint64_t n_bytes = oto_read_u32(r);
    if (r->bad) {
        return truncated(w, r, "a variable", e);
    }
    if (!type_of(version, code, &t.type)) {
        return oto_weights_fail(w, e, OTO_E_UNSUPPORTED,
                                "%s at offset %zu has the unknown data type %d", name.p, start,
                                code);
    }
    n_bytes *= version >= 4 ? 1 : code;
    t.n_bytes = (size_t)n_bytes;
    t.data = oto_read_bytes(r, n_bytes);
    if (!t.data) {
        return oto_weights_fail(w, e, OTO_E_INPUT,
                                "truncated: %s: %llu bytes at offset %zu do not fit into %zu bytes",
                                name.p, (unsigned long long)n_bytes, r->at, r->n);
    }
    return oto_weights_add(w, &t, name.n, e);
}

static int read_aliases(oto_weights *w, oto_reader *r, oto_err *e)
{
    uint32_t n = oto_read_u32(r);
    if (r->bad) {
        return truncated(w, r, "the list of aliases", e);
    }
    for (uint32_t i = 0; i < n; i++) {
        oto_slice alias, target;
        if (!read_string(r, &alias) || !read_string(r, &target)) {
            return truncated(w, r, "an alias", e);
        }
        int rc = oto_weights_alias(w, alias, target.p, e);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* ---- scales
 * ----------------------------------------------------------------------------------------- */

static int attach_scale(oto_weights *w, oto_tensor *t, oto_err *e)
{
    char name[1100];
    snprintf(name, sizeof name, "%s_scale", t->name);
    const oto_tensor *s = oto_weights_find(w, name);
    if (!s) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "%s: quantised, but %s is missing", t->name,
                                name);
    }
    int64_t n = oto_tensor_rows(s) * oto_tensor_row_len(s);
    if (s->type != OTO_T_F32 || (n != 1 && n != oto_tensor_rows(t))) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "%s: %lld values of %s for %lld rows", name,
                                (long long)n, oto_ttype_name(s->type),
                                (long long)oto_tensor_rows(t));
    }
    float *copy;
    int rc = oto_arena_get(w->a, (size_t)n, sizeof *copy, &copy, e);
    if (rc) {
        return rc;
    }
    memcpy(copy, s->data, (size_t)n * sizeof *copy);
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(copy[i]) || copy[i] <= 0) {
            return oto_weights_fail(w, e, OTO_E_INPUT, "%s: value %lld is not a positive number",
                                    name, (long long)i);
        }
    }
    t->scale = copy;
    t->n_scale = n;
    return 0;
}

static int attach_scales(oto_weights *w, oto_err *e)
{
    for (size_t i = 0; i < w->n_tensors; i++) {
        oto_tensor *t = &w->tensors[i];
        /* rank 0 are flags and small numbers of the configuration */
        if (t->rank == 0 || (t->type != OTO_T_I8 && t->type != OTO_T_I16) ||
            oto_tensor_rows(t) == 0) {
            continue;
        }
        int rc = attach_scale(w, t, e);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* ---- config.json and the vocabulary
 * -------------------------------------------------------------------- */

/* The parsed file; *out = NULL and 0 when there is none. */
static int load_json(oto_weights *w, const char *file, size_t max_bytes, json_t **out, oto_err *e)
{
    oto_slice text;
    oto_err why;
    *out = NULL;
    int rc = oto_weights_beside(w, file, &text, &why);
    if (rc == OTO_E_NOT_FOUND) {
        return 0;
    }
    if (rc) {
        return oto_fail(e, rc, "%s", why.text);
    }
    if (text.n > max_bytes) {
        return oto_weights_fail(w, e, OTO_E_INPUT,
                                "%s beside it has %zu bytes, more than such a file needs", file,
                                text.n);
    }
    json_error_t je;
    *out = json_loadb(text.p, text.n, 0, &je);
    if (!*out) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "%s beside it, line %d: %s", file, je.line,
                                je.text);
    }
    return 0;
}

/* Integers of a list, lists in it opened: [[3, 1], [4, 2]] → 3 1 4 2. */
static int flatten(const oto_weights *w, const json_t *list, const char *key, int32_t *out,
                   size_t *n, oto_err *e)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *v = json_array_get(list, i);
        if (json_is_array(v)) {
            for (size_t j = 0; j < json_array_size(v); j++) {
                const json_t *u = json_array_get(v, j);
                if (!json_is_integer(u) ||
                    json_integer_value(u) != (int32_t)json_integer_value(u)) {
                    return oto_weights_fail(w, e, OTO_E_INPUT,
                                            "config.json: %s is not a list of integers", key);
                }
                if (out) {
                    out[*n] = (int32_t)json_integer_value(u);
                }
                ++*n;
            }
        } else if (json_is_integer(v) && json_integer_value(v) == (int32_t)json_integer_value(v)) {
            if (out) {
                out[*n] = (int32_t)json_integer_value(v);
            }
            ++*n;
        } else {
            return oto_weights_fail(w, e, OTO_E_INPUT, "config.json: %s is not a list of integers",
                                    key);
        }
    }
    return 0;
}

static int read_config(oto_weights *w, oto_err *e)
{
    static const struct {
        const char *json, *key;
        bool pairs;
    } lists[] = {{"suppress_ids", "ct2.suppress_ids", false},
                 {"suppress_ids_begin", "ct2.suppress_ids_begin", false},
                 {"lang_ids", "ct2.lang_ids", false},
                 {"alignment_heads", "ct2.alignment_heads", true}};
    json_t *config;
    int rc = load_json(w, "config.json", MAX_CONFIG_BYTES, &config, e);
    for (size_t i = 0; i < OTO_COUNT(lists) && config && !rc; i++) {
        const json_t *list = json_object_get(config, lists[i].json);
        if (!json_is_array(list)) {
            continue;
        }
        size_t n = 0;
        int32_t *v = NULL;
        rc = flatten(w, list, lists[i].json, NULL, &n, e);
        if (!rc && lists[i].pairs && n != 2 * json_array_size(list)) {
            rc = oto_weights_fail(w, e, OTO_E_INPUT, "config.json: %s is not a list of pairs",
                                  lists[i].json);
        }
        rc = rc ? rc : oto_arena_get(w->a, n, sizeof *v, &v, e);
        if (!rc) {
            n = 0;
            rc = flatten(w, list, lists[i].json, v, &n, e);
        }
        rc = rc ? rc : oto_weights_put_array(w, lists[i].key, OTO_M_I32, v, n, e);
    }
    json_decref(config);
    return rc;
}

/* One token a line, in the printable form of byte-level tokens, so that no token holds a line end.
 */
static int vocabulary_of_text(oto_weights *w, oto_slice text, oto_err *e)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        n += text.p[i] == '\n' || i + 1 == text.n;
    }
    if (text.n > MAX_VOCAB_BYTES || n > MAX_VOCAB) {
        return oto_weights_fail(w, e, OTO_E_INPUT,
                                "vocabulary.txt has %zu lines in %zu bytes, more than a vocabulary",
                                n, text.n);
    }
    oto_span32 *at;
    int rc = oto_arena_get(w->a, n, sizeof *at, &at, e);
    if (rc) {
        return rc;
    }
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        const char *end = memchr(text.p + from, '\n', text.n - from);
        size_t len = end ? (size_t)(end - text.p) - from : text.n - from;
        at[i] = (oto_span32){(uint32_t)from, (uint32_t)len};
        from += len + 1;
    }
    return oto_weights_put_strs(w, "ct2.vocabulary", text.p, at, n, e);
}

static int read_vocabulary(oto_weights *w, oto_err *e)
{
    oto_slice text;
    oto_err why;
    int rc = oto_weights_beside(w, "vocabulary.json", &text, &why);
    if (rc != OTO_E_NOT_FOUND) {
        return rc ? oto_fail(e, rc, "%s", why.text)
                  : oto_json_strings(w, "vocabulary.json", text, "ct2.vocabulary", e);
    }
    rc = oto_weights_beside(w, "vocabulary.txt", &text, &why);
    if (rc == OTO_E_NOT_FOUND) {
        return 0; /* the tensors alone may be wanted; the family complains when it needs the tokens
                   */
    }
    return rc ? oto_fail(e, rc, "%s", why.text) : vocabulary_of_text(w, text, e);
}

static int ct2_parse(oto_weights *w, oto_err *e)
{
    oto_reader r;
    oto_reader_init(&r, w->main.p, w->main.n);
    uint32_t version = oto_read_u32(&r);
    if (!r.bad && (version < OLDEST || version > NEWEST)) {
        return oto_weights_fail(w, e, OTO_E_UNSUPPORTED,
                                "CTranslate2 binary version %u (%d to %d are read)", version,
                                OLDEST, NEWEST);
    }
    oto_slice spec = {0};
    bool good = read_string(&r, &spec);
    uint32_t revision = oto_read_u32(&r), n = oto_read_u32(&r);
    if (!good || r.bad) {
        return truncated(w, &r, "the header", e);
    }
    /* The smallest variable: a name of one letter, rank 0, type, size, one byte. */
    if (n > oto_reader_left(&r) / 10) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "the header claims %u variables in %zu bytes", n,
                                w->main.n);
    }
    int rc = oto_weights_put_str(w, "ct2.spec", spec, e);
    rc = rc ? rc : oto_weights_put_int(w, "ct2.spec_revision", revision, e);
    for (uint32_t i = 0; i < n && !rc; i++) {
        rc = read_variable(w, &r, version, e);
    }
    rc = rc ? rc : read_aliases(w, &r, e);
    if (!rc && oto_reader_left(&r)) {
        rc = oto_weights_fail(w, e, OTO_E_INPUT, "%zu bytes follow the last alias at offset %zu",
                              oto_reader_left(&r), r.at);
    }
    rc = rc ? rc : attach_scales(w, e);
    rc = rc ? rc : read_config(w, e);
    return rc ? rc : read_vocabulary(w, e);
}

const oto_format oto_format_ct2 = {
    .name = "ct2", .main_file = "model.bin", .matches = ct2_matches, .parse = ct2_parse};
