/* Request bodies, taken as they arrive: multipart/form-data (RFC 7578) with its file written to the
 * spool, forms, JSON, or a recording as it is.
 *
 * A multipart delimiter is "\r\n--boundary". '\r' stands nowhere else in it, so a partial match
 * that fails can only begin anew at the byte that failed, and one counter is all the state there
 * is. */
#include "server/parts.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_FIELDS      200
#define MAX_FIELD_BYTES (64 << 10)
#define MAX_HEAD_BYTES  (8 << 10)
#define MAX_TEXT_BYTES  (256 << 10)

enum kind { MULTIPART, FORM, JSON, RAW };
enum state { DATA, AFTER, HEAD, EPILOGUE };

struct oto_body {
    oto_exchange *x;
    enum kind kind;
    /* multipart */
    enum state state;
    char delimiter[80]; /* "\r\n--boundary" */
    size_t n_delimiter, matched;
    enum { NOWHERE, FIELD, FILE_PART } sink;
    char head[MAX_HEAD_BYTES]; /* the part's header lines */
    size_t n_head;
    char after[2]; /* the two bytes behind a delimiter */
    int n_after;
    const char *name;
    oto_str value; /* of a field; of a whole form or JSON text */
    int n_fields;
    bool closed; /* the last delimiter came */
};

static int problem(oto_problem *p, int status, const char *code, const char *text)
{
    *p = (oto_problem){.status = status, .code = code};
    snprintf(p->text, sizeof p->text, "%s", text);
    return -1;
}

static int problem_of(oto_problem *p, const oto_err *e)
{
    oto_problem_of(e, p);
    return -1;
}

/* ---- fields ---- */

static int add_field(oto_body *b, const char *name, const char *value, oto_problem *p)
{
    oto_exchange *x = b->x;
    oto_field *f = oto_arena_calloc(x->a, 1, sizeof *f), **last = &x->fields;

    if (f == NULL || ++b->n_fields > MAX_FIELDS)
        return problem(p, 400, "too_many_fields", "too many form fields");
    f->name = name;
    f->value = value;
    while (*last != NULL)
        last = &(*last)->next;
    *last = f;
    return 0;
}

/* ---- the file ---- */

/* The name as it is kept and shown: UTF-8 on one line, whatever the client's system wrote. */
static const char *clean_name(oto_arena *a, const char *name)
{
    size_t n = strlen(name);
    oto_str out;

    oto_str_init(&out, a);
    oto_str_puts(&out, "");
    while (n > 0) {
        uint32_t cp;
        char utf8[4];
        const size_t len = oto_utf8_next(name, n, &cp);

        oto_str_put(&out, utf8, oto_utf8_put(utf8, cp < ' ' || cp == 0x7f ? 0xfffd : cp));
        name += len;
        n -= len;
    }
    return out.failed ? NULL : out.p;
}

static int begin_file(oto_body *b, const char *filename, oto_problem *p)
{
    oto_exchange *x = b->x;
    oto_err e = {0};

    if (x->filename != NULL)
        return problem(p, 400, "too_many_files", "more than one file in one request");
    x->filename = clean_name(x->a, filename);
    if (x->filename == NULL)
        return problem(p, 400, "field_too_large", "the form is too large");
    if (oto_upload_begin(x->g->o->spool, x->content_length, &x->upload, &e) != 0)
        return problem_of(p, &e);
    return 0;
}

static int write_file(oto_body *b, const char *at, size_t n, oto_problem *p)
{
    oto_exchange *x = b->x;
    oto_err e = {0};

    if (oto_upload_write(x->g->o->spool, &x->upload, at, n, &e) != 0)
        return problem_of(p, &e);
    return 0;
}

/* ---- multipart ---- */

static int emit(oto_body *b, const char *at, size_t n, oto_problem *p)
{
    if (n == 0 || b->sink == NOWHERE)
        return 0;
    if (b->sink == FILE_PART)
        return write_file(b, at, n, p);
    if (b->value.n + n > MAX_FIELD_BYTES)
        return problem(p, 400, "field_too_large", "a form field is larger than 64 KiB");
    oto_str_put(&b->value, at, n);
    return b->value.failed ? problem(p, 400, "field_too_large", "the form is too large") : 0;
}

static int end_part(oto_body *b, oto_problem *p)
{
    const int sink = (int)b->sink;

    b->sink = NOWHERE;
    if (sink != FIELD)
        return 0;
    if (b->value.p == NULL)
        oto_str_puts(&b->value, "");
    return add_field(b, b->name, b->value.p, p);
}

/* The value of a parameter of a header line, unquoted, in the arena; NULL when it is not there. */
static const char *parameter(oto_body *b, const char *line, const char *name)
{
    const size_t n = strlen(name);
    const char *at = strchr(line, ';');

    while (at != NULL) {
        oto_str out;

        at++;
        while (*at == ' ' || *at == '\t')
            at++;
        if (strncasecmp(at, name, n) != 0 || at[n] != '=') {
            bool quoted = false;

            while (*at != '\0' && (quoted || *at != ';')) {
                if (*at == '\\' && quoted && at[1] != '\0')
                    at++;
                else if (*at == '"')
                    quoted = !quoted;
                at++;
            }
            at = *at == ';' ? at : NULL;
            continue;
        }
        at += n + 1;
        oto_str_init(&out, b->x->a);
        oto_str_puts(&out, "");
        if (*at != '"') {
            oto_str_put(&out, at, strcspn(at, "; \t"));
        } else {
            for (at++; *at != '\0' && *at != '"'; at++) {
                if (*at == '\\' && (at[1] == '"' || at[1] == '\\'))
                    at++;
                oto_str_put(&out, at, 1);
            }
        }
        return out.failed ? NULL : out.p;
    }
    return NULL;
}

static bool is_file_field(const oto_exchange *x, const char *name)
{
    for (const char *const *f = x->protocol->file_fields; f != NULL && *f != NULL; f++)
        if (strcmp(*f, name) == 0)
            return true;
    return false;
}

/* The part's header is complete: where do its bytes go? A part named like a recording is one even
 * without a file name; a file of another name is read over. */
static int begin_part(oto_body *b, oto_problem *p)
{
    oto_exchange *x = b->x;
    const char *disposition = NULL, *filename;
    char *save = NULL;

    b->head[b->n_head] = '\0';
    for (char *line = strtok_r(b->head, "\r\n", &save); line != NULL;
         line = strtok_r(NULL, "\r\n", &save))
        if (strncasecmp(line, "content-disposition:", 20) == 0)
            disposition = line;
    b->name = disposition != NULL ? parameter(b, disposition, "name") : NULL;
    if (b->name == NULL)
        return problem(p, 400, "bad_multipart", "a part of the form has no name");
    filename = parameter(b, disposition, "filename");
    if (is_file_field(x, b->name) && x->route->upload) {
        b->sink = FILE_PART;
        return begin_file(b, filename != NULL ? filename : "", p);
    }
    b->sink = filename != NULL ? NOWHERE : FIELD;
    oto_str_init(&b->value, x->a);
    return 0;
}

static int take_head(oto_body *b, char c, oto_problem *p)
{
    if (b->n_head + 1 >= sizeof b->head)
        return problem(p, 400, "bad_multipart", "the header of a part is too long");
    b->head[b->n_head++] = c;
    if ((b->n_head >= 4 && memcmp(b->head + b->n_head - 4, "\r\n\r\n", 4) == 0) ||
        (b->n_head == 2 && memcmp(b->head, "\r\n", 2) == 0)) {
        b->state = DATA;
        b->matched = 0;
        return begin_part(b, p);
    }
    return 0;
}

/* Behind a delimiter: "--" ends the body, a line end begins a part. */
static int take_after(oto_body *b, char c, oto_problem *p)
{
    if (b->n_after == 0 && (c == ' ' || c == '\t'))
        return 0;
    b->after[b->n_after++] = c;
    if (b->n_after < 2)
        return 0;
    b->n_after = 0;
    if (memcmp(b->after, "--", 2) == 0) {
        b->state = EPILOGUE;
        b->closed = true;
        return 0;
    }
    if (memcmp(b->after, "\r\n", 2) != 0)
        return problem(p, 400, "bad_multipart", "malformed multipart boundary");
    b->state = HEAD;
    b->n_head = 0;
    return 0;
}

/* Part data up to the next '\r' at once; byte by byte while a delimiter may be there. Returns the
 * bytes taken, or -1. */
static ptrdiff_t take_data(oto_body *b, const char *at, size_t n, oto_problem *p)
{
    const char *cr;

    if (b->matched == 0) {
        cr = memchr(at, '\r', n);
        if (cr != at) {
            const size_t plain = cr != NULL ? (size_t)(cr - at) : n;

            return emit(b, at, plain, p) != 0 ? -1 : (ptrdiff_t)plain;
        }
    }
    if (*at == b->delimiter[b->matched]) {
        if (++b->matched < b->n_delimiter)
            return 1;
        b->matched = 0;
        b->state = AFTER;
        b->n_after = 0;
        return end_part(b, p) != 0 ? -1 : 1;
    }
    if (b->matched > 0) {
        const size_t held = b->matched;

        b->matched = 0;
        return emit(b, b->delimiter, held, p) != 0 ? -1 : 0; /* the byte is looked at again */
    }
    return emit(b, at, 1, p) != 0 ? -1 : 1;
}

static int push_multipart(oto_body *b, const char *at, size_t n, oto_problem *p)
{
    while (n > 0) {
        ptrdiff_t used = 1;
        int rc = 0;

        switch (b->state) {
        case DATA:
            used = take_data(b, at, n, p);
            rc = used < 0 ? -1 : 0;
            break;
        case AFTER:
            rc = take_after(b, *at, p);
            break;
        case HEAD:
            rc = take_head(b, *at, p);
            break;
        case EPILOGUE:
            return 0;
        }
        if (rc != 0)
            return rc;
        at += used;
        n -= (size_t)used;
    }
    return 0;
}

/* ---- forms and JSON ---- */

static int hex(char c)
{
    return isdigit((unsigned char)c)            ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 87
                                                : -1;
}

static void decode_form(char *z)
{
    char *to = z;

    for (const char *p = z; *p != '\0'; p++) {
        if (*p == '%' && hex(p[1]) >= 0 && hex(p[2]) >= 0) {
            *to++ = (char)(hex(p[1]) * 16 + hex(p[2]));
            p += 2;
        } else {
            *to++ = *p == '+' ? ' ' : *p;
        }
    }
    *to = '\0';
}

static int end_form(oto_body *b, oto_problem *p)
{
    char *save = NULL;

    if (b->value.p == NULL)
        return 0;
    for (char *pair = strtok_r(b->value.p, "&", &save); pair != NULL;
         pair = strtok_r(NULL, "&", &save)) {
        char *value = strchr(pair, '=');

        if (value != NULL)
            *value++ = '\0';
        else
            value = pair + strlen(pair);
        decode_form(pair);
        decode_form(value);
        if (add_field(b, pair, value, p) != 0)
            return -1;
    }
    return 0;
}

static int add_json(oto_body *b, const char *name, const json_t *v, oto_problem *p)
{
    const char *kept_name = oto_arena_strdup(b->x->a, name, strlen(name)), *kept;
    char *text;

    if (json_is_null(v))
        return 0;
    text = json_is_string(v) ? strdup(json_string_value(v)) : json_dumps(v, JSON_ENCODE_ANY);
    kept = text != NULL ? oto_arena_strdup(b->x->a, text, strlen(text)) : NULL;
    free(text);
    if (kept == NULL || kept_name == NULL)
        return problem(p, 400, "bad_json", "the JSON body is too large");
    return add_field(b, kept_name, kept, p);
}

static int end_json(oto_body *b, oto_problem *p)
{
    json_error_t why;
    const char *name;
    json_t *j, *v, *item;
    size_t i;
    int rc = 0;

    if (b->value.n == 0)
        return 0;
    j = json_loadb(b->value.p, b->value.n, 0, &why);
    if (!json_is_object(j)) {
        json_decref(j);
        return problem(p, 400, "bad_json", j == NULL ? why.text : "the JSON body is not an object");
    }
    json_object_foreach(j, name, v)
    {
        if (rc != 0)
            break;
        if (!json_is_array(v))
            rc = add_json(b, name, v, p);
        else
            json_array_foreach(v, i, item) if (rc == 0) rc = add_json(b, name, item, p);
    }
    json_decref(j);
    return rc;
}

static int push_text(oto_body *b, const char *at, size_t n, oto_problem *p)
{
    if (b->value.n + n > MAX_TEXT_BYTES)
        return problem(p, 413, "body_too_large", "the request body is too large");
    oto_str_put(&b->value, at, n);
    return b->value.failed ? problem(p, 413, "body_too_large", "the request body is too large") : 0;
}

/* ---- the whole ---- */

static int begin_multipart(oto_body *b, const char *type, oto_problem *p)
{
    const char *boundary = parameter(b, type, "boundary");

    if (boundary == NULL || boundary[0] == '\0' || strlen(boundary) > 70 ||
        strpbrk(boundary, "\r\n") != NULL)
        return problem(p, 400, "bad_multipart", "multipart/form-data without a usable boundary");
    b->n_delimiter = (size_t)snprintf(b->delimiter, sizeof b->delimiter, "\r\n--%s", boundary);
    b->matched = 2; /* the first one stands at the very beginning */
    return 0;
}

int oto_body_new(oto_exchange *x, oto_body **out, oto_problem *p)
{
    const char *type = x->content_type != NULL ? x->content_type : "";
    oto_body *b = oto_arena_calloc(x->a, 1, sizeof *b);

    if (b == NULL)
        return problem(p, 500, "internal_error", "out of memory");
    b->x = x;
    oto_str_init(&b->value, x->a);
    *out = b;
    if (strncasecmp(type, "multipart/form-data", 19) == 0) {
        b->kind = MULTIPART;
        return begin_multipart(b, type, p);
    }
    if (strncasecmp(type, "application/json", 16) == 0) {
        b->kind = JSON;
    } else if (!x->route->upload || type[0] == '\0' ||
               strncasecmp(type, "application/x-www-form-urlencoded", 33) == 0) {
        b->kind = FORM;
    } else {
        const char *name = oto_field_get(x, "filename");

        b->kind = RAW;
        return begin_file(b, name != NULL ? name : "", p);
    }
    return 0;
}

int oto_body_push(oto_body *b, const char *at, size_t n, oto_problem *why)
{
    switch (b->kind) {
    case MULTIPART:
        return push_multipart(b, at, n, why);
    case RAW:
        return write_file(b, at, n, why);
    default:
        return push_text(b, at, n, why);
    }
}

int oto_body_end(oto_body *b, oto_problem *why)
{
    switch (b->kind) {
    case MULTIPART:
        return b->closed ? 0
                         : problem(why, 400, "bad_multipart",
                                   "the multipart body ends before its last boundary");
    case FORM:
        return end_form(b, why);
    case JSON:
        return end_json(b, why);
    case RAW:
        break;
    }
    return 0;
}

/* ---- chunked transfer coding (RFC 9112, 7.1) ---- */

enum { SIZE, EXTENSION, SIZE_LF, PAYLOAD, PAYLOAD_CR, PAYLOAD_LF, TRAILER, END_LF };

#define MAX_LINE 4096

int oto_dechunk_push(oto_dechunk *d, char *p, size_t *n)
{
    size_t in = 0, out = 0;

    while (in < *n) {
        const char c = p[in];

        if (d->state == PAYLOAD) {
            const size_t take = (size_t)OTO_MIN((uint64_t)(*n - in), d->left);

            memmove(p + out, p + in, take);
            out += take;
            in += take;
            d->left -= take;
            if (d->left == 0)
                d->state = PAYLOAD_CR;
            continue;
        }
        in++;
        if (++d->line > MAX_LINE)
            return -1;
        switch (d->state) {
        case SIZE:
            if (hex(c) >= 0) {
                if (++d->digits > 15)
                    return -1;
                d->left = d->left * 16 + (unsigned)hex(c);
            } else if (d->digits == 0) {
                return -1;
            } else if (c == '\r') {
                d->state = SIZE_LF;
            } else if (c == ';' || c == ' ' || c == '\t') {
                d->state = EXTENSION;
            } else {
                return -1;
            }
            break;
        case EXTENSION:
            if (c == '\r')
                d->state = SIZE_LF;
            break;
        case SIZE_LF:
            if (c != '\n')
                return -1;
            d->digits = d->line = 0;
            d->state = d->left > 0 ? PAYLOAD : TRAILER;
            break;
        case PAYLOAD_CR:
            if (c != '\r')
                return -1;
            d->state = PAYLOAD_LF;
            break;
        case PAYLOAD_LF:
            if (c != '\n')
                return -1;
            d->line = 0;
            d->state = SIZE;
            break;
        case TRAILER: /* lines until an empty one; digits counts the line's bytes */
            if (c == '\r')
                d->state = END_LF;
            else
                d->digits++;
            break;
        case END_LF:
            if (c != '\n')
                return -1;
            if (d->digits == 0) {
                *n = out;
                return 1;
            }
            d->digits = 0;
            d->state = TRAILER;
            break;
        default:
            return -1;
        }
    }
    *n = out;
    return 0;
}
