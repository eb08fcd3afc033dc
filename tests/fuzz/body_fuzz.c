/* The input is u8 flags, u8 step, a content type up to '\n', and the body. Whole or in pieces of
 * every length, the same bytes have to give the same fields, file and answer; and so has a chunked
 * body. The file is kept in memory here instead of the spool. */
#include "server/parts.h"

#include <stdlib.h>
#include <string.h>

#define MUST(x) ((x) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static oto_str *file; /* of the request that is being read */

static int fuzz_begin(const oto_spool *s, int64_t expected, oto_upload *u, oto_err *e)
{
    (void)s;
    (void)expected;
    (void)u;
    (void)e;
    return 0;
}

static int fuzz_write(const oto_spool *s, oto_upload *u, const void *p, size_t n, oto_err *e)
{
    (void)s;
    (void)u;
    oto_str_put(file, p, n);
    return file->failed ? oto_fail(e, OTO_E_LIMIT, "full") : 0;
}

#define oto_upload_begin fuzz_begin
#define oto_upload_write fuzz_write
#include "server/body.c"

typedef struct {
    oto_exchange x;
    oto_str file;
    oto_problem why;
    int rc;
} outcome;

static oto_server_options options;
static oto_gateway gateway = {.o = &options};
static const char *const file_fields[] = {"file", NULL};
static const oto_protocol protocol = {.name = "fuzz", .file_fields = file_fields};

/* step 0: all at once. Every piece is a block of its own, so that sanitizers see its ends. */
static void take(outcome *o, oto_arena *a, const oto_route *route, const char *type, const char *p,
                 size_t n, size_t step)
{
    oto_body *b;

    memset(o, 0, sizeof *o);
    o->x = (oto_exchange){
        .g = &gateway, .a = a, .protocol = &protocol, .route = route, .content_type = type};
    oto_str_init(&o->file, a);
    file = &o->file;
    o->rc = oto_body_new(&o->x, &b, &o->why);
    for (size_t at = 0; at < n && o->rc == 0;) {
        const size_t take_n = step > 0 ? OTO_MIN(step, n - at) : n;
        char *piece = malloc(take_n);

        MUST(piece != NULL);
        memcpy(piece, p + at, take_n);
        o->rc = oto_body_push(b, piece, take_n, &o->why);
        at += take_n;
        free(piece);
    }
    if (o->rc == 0)
        o->rc = oto_body_end(b, &o->why);
    MUST(o->rc == 0 || (o->why.status >= 400 && o->why.code != NULL && o->why.text[0] != '\0'));
}

static void compare(const outcome *a, const outcome *b)
{
    const oto_field *f = a->x.fields, *g = b->x.fields;

    MUST(a->rc == b->rc);
    /* A text that grows past its limit is noticed by the piece; what was taken before may differ.
     */
    if (a->rc != 0)
        return;
    MUST((a->x.filename == NULL) == (b->x.filename == NULL));
    if (a->x.filename != NULL)
        MUST(strcmp(a->x.filename, b->x.filename) == 0);
    MUST(a->file.n == b->file.n &&
         (a->file.n == 0 || memcmp(a->file.p, b->file.p, a->file.n) == 0));
    for (; f != NULL && g != NULL; f = f->next, g = g->next)
        MUST(strcmp(f->name, g->name) == 0 && strcmp(f->value, g->value) == 0);
    MUST(f == NULL && g == NULL);
}

static int dechunk(const char *p, size_t n, size_t step, oto_str *out)
{
    oto_dechunk d = {0};
    int rc = 0;

    for (size_t at = 0; at < n && rc == 0;) {
        size_t take_n = step > 0 ? OTO_MIN(step, n - at) : n;
        const size_t given = take_n;
        char *piece = malloc(take_n);

        MUST(piece != NULL);
        memcpy(piece, p + at, take_n);
        at += take_n;
        rc = oto_dechunk_push(&d, piece, &take_n);
        MUST(take_n <= given);
        if (rc >= 0)
            oto_str_put(out, piece, take_n);
        free(piece);
    }
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    oto_arena *a[2];
    outcome whole, pieces;
    oto_str plain, plain_pieces;
    oto_reader r;
    oto_route route;
    size_t step, n_type = 0;
    char type[300];
    const char *rest;
    int rc;

    oto_reader_init(&r, p, n);
    route = (oto_route){.upload = (oto_read_u8(&r) & 1) != 0};
    step = (size_t)oto_read_u8(&r) + 1;
    if (r.bad)
        return 0;
    rest = (const char *)p + 2;
    n -= 2;
    while (n > 0 && *rest != '\n' && n_type + 1 < sizeof type) {
        type[n_type++] = *rest++;
        n--;
    }
    type[n_type] = '\0';
    if (n > 0) {
        rest++;
        n--;
    }
    for (int i = 0; i < 2; i++)
        MUST(oto_arena_new("fuzz", (size_t)8 << 20, &a[i], NULL) == 0);
    take(&whole, a[0], &route, type, rest, n, 0);
    take(&pieces, a[1], &route, type, rest, n, step);
    compare(&whole, &pieces);
    oto_str_init(&plain, a[0]);
    oto_str_init(&plain_pieces, a[1]);
    rc = dechunk(rest, n, 0, &plain);
    MUST(rc == dechunk(rest, n, step, &plain_pieces));
    if (rc >= 0) {
        MUST(plain.n == plain_pieces.n);
        MUST(plain.n == 0 || memcmp(plain.p, plain_pieces.p, plain.n) == 0);
    }
    for (int i = 0; i < 2; i++)
        oto_arena_free(a[i]);
    return 0;
}
