/* As much of YAML as finds one setting in FunASR's config.yaml, a mapping of mappings:
 *
 *   model_conf:
 *       sentence_end_id: 3
 *       punc_list:
 *       - <unk>              also: [<unk>, '_', "\uFF0C"]
 *
 * Lines count by their indentation. What is not understood is passed over: a setting that is not
 * found has its default, and sizes come from the tensors. */
#include "weights/parts.h"

#include <string.h>

#define MAX_BYTES ((size_t)1 << 20)
#define MAX_ITEMS 1024

typedef struct {
    const char *p, *end; /* what is left of the text */
    oto_slice line;      /* without indentation and the white space at its end */
    size_t indent;
} lines;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static oto_slice trim(oto_slice s)
{
    while (s.n > 0 && is_blank(s.p[0]))
        s = (oto_slice){s.p + 1, s.n - 1};
    while (s.n > 0 && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* The next line that says something. */
static bool next_line(lines *l)
{
    while (l->p < l->end) {
        const char *end = memchr(l->p, '\n', (size_t)(l->end - l->p)), *from = l->p;

        end = end != NULL ? end : l->end;
        l->p = end < l->end ? end + 1 : end;
        l->line = trim((oto_slice){from, (size_t)(end - from)});
        l->indent = (size_t)(l->line.p - from);
        if (l->line.n > 0 && l->line.p[0] != '#')
            return true;
    }
    return false;
}

/* "KEY: value": what is behind the colon. */
static bool is_key(oto_slice line, const char *key, oto_slice *value)
{
    const size_t n = strlen(key);

    if (line.n <= n || memcmp(line.p, key, n) != 0 || line.p[n] != ':' ||
        (line.n > n + 1 && !is_blank(line.p[n + 1])))
        return false;
    *value = trim((oto_slice){line.p + n + 1, line.n - n - 1});
    return true;
}

static bool is_item(oto_slice line)
{
    return line.n > 0 && line.p[0] == '-' && (line.n == 1 || is_blank(line.p[1]));
}

/* ---- scalars ---- */

/* The bytes of a scalar that begins at s, its quotes included; it ends at a comment, or in a list
 * of the form [a, b] at a comma or bracket. */
static size_t scalar_bytes(oto_slice s, bool in_brackets)
{
    const char quote = s.n > 0 && (s.p[0] == '"' || s.p[0] == '\'') ? s.p[0] : '\0';

    if (quote != '\0') {
        for (size_t i = 1; i < s.n; i++) {
            if (quote == '"' && s.p[i] == '\\')
                i++;
            else if (s.p[i] == quote && quote == '\'' && i + 1 < s.n && s.p[i + 1] == quote)
                i++;
            else if (s.p[i] == quote)
                return i + 1;
        }
        return s.n;
    }
    for (size_t i = 0; i < s.n; i++)
        if ((s.p[i] == '#' && i > 0 && is_blank(s.p[i - 1])) ||
            (in_brackets && (s.p[i] == ',' || s.p[i] == ']')))
            return i;
    return s.n;
}

static uint32_t hex(const char *p, size_t n)
{
    uint32_t v = 0;

    for (size_t i = 0; i < n; i++) {
        const char c = p[i];
        const int d = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : 0;
        v = v << 4 | (uint32_t)d;
    }
    return v;
}

/* One escape of a double-quoted scalar, at "\"; returns the bytes read. */
static size_t unescape(const char *p, size_t left, char *out, size_t *n)
{
    const size_t digits = left < 2 ? 0 : p[1] == 'x' ? 2 : p[1] == 'u' ? 4 : p[1] == 'U' ? 8 : 0;
    uint32_t cp;

    if (left < 2 || left < 2 + digits) {
        out[(*n)++] = '\\';
        return 1;
    }
    if (digits == 0) {
        out[(*n)++] = p[1] == 'n' ? '\n' : p[1] == 't' ? '\t' : p[1];
        return 2;
    }
    cp = hex(p + 2, digits);
    *n += oto_utf8_put(out + *n, cp <= 0x10ffff ? cp : 0xfffd);
    return 2 + digits;
}

/* Without its quotes; never longer than it was. */
static int plain(oto_slice s, oto_arena *a, oto_slice *out, oto_err *e)
{
    const char quote = s.n >= 2 && (s.p[0] == '"' || s.p[0] == '\'') ? s.p[0] : '\0';
    char *text;
    size_t n = 0;
    int rc;

    *out = trim(s);
    if (quote == '\0' || s.p[s.n - 1] != quote)
        return 0;
    if ((rc = oto_arena_get(a, s.n + 4, 1, &text, e)) != 0)
        return rc;
    for (size_t i = 1; i < s.n - 1;) {
        if (quote == '"' && s.p[i] == '\\') {
            i += unescape(s.p + i, s.n - 1 - i, text, &n);
        } else {
            i += quote == '\'' && s.p[i] == quote ? 1 : 0; /* two are one */
            if (i < s.n - 1)
                text[n++] = s.p[i];
            i++;
        }
    }
    *out = (oto_slice){text, n};
    return 0;
}

/* ---- values ---- */

typedef struct {
    oto_arena *a;
    oto_slice *items; /* [MAX_ITEMS] */
    size_t n;
} found;

static int add(found *f, oto_slice s, oto_err *e)
{
    const int rc = f->n < MAX_ITEMS ? plain(s, f->a, &f->items[f->n], e) : 0;

    f->n += f->n < MAX_ITEMS;
    return rc;
}

/* [a, 'b', "c"], over any number of lines. */
static int add_brackets(found *f, lines *l, oto_slice s, oto_err *e)
{
    int rc = 0;

    s = (oto_slice){s.p + 1, s.n - 1};
    while (rc == 0) {
        oto_slice item;

        s = trim(s);
        if (s.n == 0 || s.p[0] == '#') {
            if (!next_line(l))
                break;
            s = l->line;
            continue;
        }
        if (s.p[0] == ']')
            break;
        item = (oto_slice){s.p, scalar_bytes(s, true)};
        s = (oto_slice){s.p + item.n, s.n - item.n};
        if (item.n > 0)
            rc = add(f, trim(item), e);
        s = trim(s);
        if (s.n > 0 && s.p[0] == ',')
            s = (oto_slice){s.p + 1, s.n - 1};
        else if (item.n == 0)
            break;
    }
    return rc;
}

/* Lines of "- item", not left of the key. */
static int add_dashes(found *f, lines *l, size_t indent, oto_err *e)
{
    int rc = 0;

    while (rc == 0 && next_line(l) && l->indent >= indent && is_item(l->line)) {
        const oto_slice s = trim((oto_slice){l->line.p + 1, l->line.n - 1});

        rc = add(f, trim((oto_slice){s.p, scalar_bytes(s, false)}), e);
    }
    return rc;
}

static int add_value(found *f, lines *l, oto_slice value, size_t indent, oto_err *e)
{
    if (value.n > 0 && value.p[0] == '[')
        return add_brackets(f, l, value, e);
    value.n = scalar_bytes(value, false);
    value = trim(value);
    return value.n > 0 ? add(f, value, e) : add_dashes(f, l, indent, e);
}

int oto_yaml_get(oto_slice text, const char *section, const char *key, oto_arena *a,
                 oto_slice **items, size_t *n, oto_err *e)
{
    lines l = {.p = text.p, .end = text.p + text.n};
    found f = {.a = a};
    oto_slice value;
    size_t indent = 0; /* of the section's keys */
    bool inside = false;
    int rc = oto_arena_get(a, MAX_ITEMS, sizeof *f.items, &f.items, e);

    if (text.n > MAX_BYTES)
        l.p = l.end;
    while (rc == 0 && next_line(&l)) {
        if (section[0] == '\0') {
            if (l.indent == 0 && is_key(l.line, key, &value)) {
                rc = add_value(&f, &l, value, 0, e);
                break;
            }
        } else if (l.indent == 0 && !is_item(l.line)) {
            inside = is_key(l.line, section, &value) && (value.n == 0 || value.p[0] == '#');
            indent = 0;
        } else if (inside) {
            indent = indent == 0 ? l.indent : indent;
            if (l.indent == indent && is_key(l.line, key, &value)) {
                rc = add_value(&f, &l, value, indent, e);
                break;
            }
        }
    }
    *items = f.items;
    *n = rc == 0 ? f.n : 0;
    return rc;
}
