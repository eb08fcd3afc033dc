/* Python's pickles, as far as a list of tensors needs them.
 *
 * A pickle is a program that builds an object on a stack; among its instructions are some that
 * import and call whatever the file names, which is why pickles of strangers must not be loaded.
 * Here those instructions only note what would have been called, and only for the few names that
 * the caller knows. Opcodes: Lib/pickletools.py of CPython; those of protocols 0 and 1 that read
 * lines of text are unknown here. */
#include "weights/parts.h"

#include <string.h>

#define MAX_BYTES ((size_t)64 << 20)
#define MAX_STACK 65536
#define MAX_MARKS 64
#define MAX_MEMO  (1u << 20)
#define MAX_LINE  256

typedef struct {
    const oto_weights *w;
    oto_reader *r;
    const oto_pickle_global *globals;
    size_t n_globals;
    oto_arena *a;
    oto_err *e;
    oto_pickle **stack; /* [MAX_STACK] */
    size_t n;
    size_t marks[MAX_MARKS]; /* how high the stack was */
    size_t n_marks;
    oto_pickle **memo; /* [n_memo]: NULL: nothing under this number */
    size_t n_memo, next_memo;
    oto_pickle *saved;
} machine;

/* ---- the stack ---- */

static int fail(const machine *m, const char *what)
{
    return oto_weights_fail(m->w, m->e, OTO_E_INPUT, "its pickle, at offset %zu: %s", m->r->at,
                            what);
}

static int garbled(const machine *m)
{
    return fail(m, "cut off or garbled");
}

static int push(machine *m, oto_pickle *p)
{
    if (m->n == MAX_STACK)
        return fail(m, "too many objects at once");
    m->stack[m->n++] = p;
    return 0;
}

static int push_new(machine *m, const oto_pickle *p)
{
    oto_pickle *copy;
    const int rc = oto_arena_get(m->a, 1, sizeof *copy, &copy, m->e);

    if (rc != 0)
        return rc;
    *copy = *p;
    return push(m, copy);
}

/* Objects above the last mark, or of the whole stack: what may be popped. */
static size_t height(const machine *m)
{
    return m->n - (m->n_marks > 0 ? m->marks[m->n_marks - 1] : 0);
}

static oto_pickle *pop(machine *m)
{
    return height(m) > 0 ? m->stack[--m->n] : NULL;
}

static oto_pickle *top(const machine *m)
{
    return height(m) > 0 ? m->stack[m->n - 1] : NULL;
}

/* ---- containers ---- */

static int append(const machine *m, oto_pickle *to, oto_pickle *const *v, size_t n)
{
    if (n > to->cap - to->n) {
        const size_t cap = OTO_MAX(to->cap * 2, to->n + n);
        oto_pickle **grown;
        const int rc = oto_arena_get(m->a, cap, sizeof *grown, &grown, m->e);

        if (rc != 0)
            return rc;
        if (to->n > 0)
            memcpy(grown, to->v, to->n * sizeof *grown);
        to->v = grown;
        to->cap = cap;
    }
    if (n > 0)
        memcpy(to->v + to->n, v, n * sizeof *v);
    to->n += n;
    return 0;
}

/* The topmost n objects become one. */
static int gather(machine *m, oto_pickle_kind kind, size_t n)
{
    oto_pickle p = {.kind = kind, .v = NULL};
    int rc;

    if (n > height(m) || (kind == OTO_PICKLE_DICT && n % 2 != 0))
        return garbled(m);
    rc = append(m, &p, m->stack + m->n - n, n);
    m->n -= n;
    return rc == 0 ? push_new(m, &p) : rc;
}

/* Takes the last mark away; *n: objects above it. */
static int pop_mark(machine *m, size_t *n)
{
    *n = 0;
    if (m->n_marks == 0)
        return garbled(m);
    *n = height(m);
    m->n_marks--;
    return 0;
}

static int gather_to_mark(machine *m, oto_pickle_kind kind)
{
    size_t n;
    const int rc = pop_mark(m, &n);

    return rc == 0 ? gather(m, kind, n) : rc;
}

/* The topmost n objects go into the container below them. */
static int put_into(machine *m, oto_pickle_kind kind, size_t n)
{
    oto_pickle *to;

    if (height(m) < n + 1 || (kind == OTO_PICKLE_DICT && n % 2 != 0))
        return garbled(m);
    m->n -= n;
    to = top(m);
    if (to->kind != kind)
        return garbled(m);
    return append(m, to, m->stack + m->n, n);
}

static int put_into_to_mark(machine *m, oto_pickle_kind kind)
{
    size_t n;
    const int rc = pop_mark(m, &n);

    return rc == 0 ? put_into(m, kind, n) : rc;
}

/* ---- scalars ---- */

static int push_int(machine *m, int64_t v)
{
    return push_new(m, &(oto_pickle){.kind = OTO_PICKLE_INT, .i = v});
}

/* Little endian, two's complement, of any length. */
static int push_long(machine *m, uint64_t n)
{
    const uint8_t *p = oto_read_bytes(m->r, n);
    uint64_t v = 0;

    if (p == NULL)
        return garbled(m);
    if (n > 8)
        return fail(m, "an integer of more than 64 bits");
    for (uint64_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << 8 * i;
    if (n > 0 && n < 8 && p[n - 1] >= 0x80)
        v |= ~(uint64_t)0 << 8 * n;
    return push_int(m, (int64_t)v);
}

static int push_float(machine *m)
{
    oto_pickle p = {.kind = OTO_PICKLE_FLOAT, .f = 0};
    uint64_t v = 0;

    for (int i = 0; i < 8; i++) /* the only big-endian number of the format */
        v = v << 8 | oto_read_u8(m->r);
    memcpy(&p.f, &v, sizeof p.f);
    return push_new(m, &p);
}

static int push_bytes(machine *m, oto_pickle_kind kind, uint64_t n)
{
    const char *p = (const char *)oto_read_bytes(m->r, n);

    if (p == NULL)
        return garbled(m);
    return push_new(m, &(oto_pickle){.kind = kind, .s = {p, (size_t)n}});
}

/* ---- names, calls, references ---- */

static int push_global(machine *m, oto_slice module, oto_slice name)
{
    char a[64], b[64];

    for (size_t i = 0; i < m->n_globals; i++)
        if (oto_slice_is(module, m->globals[i].module) && oto_slice_is(name, m->globals[i].name))
            return push_new(m, &(oto_pickle){.kind = OTO_PICKLE_GLOBAL, .id = m->globals[i].id});
    return oto_weights_fail(m->w, m->e, OTO_E_UNSUPPORTED,
                            "its pickle wants %s.%s, which no list of tensors needs: refused, and "
                            "nothing of it was run",
                            oto_shown(module, a), oto_shown(name, b));
}

static bool read_line(oto_reader *r, oto_slice *out)
{
    const size_t left = OTO_MIN(oto_reader_left(r), MAX_LINE);
    const char *p = (const char *)r->p + r->at, *end = left > 0 ? memchr(p, '\n', left) : NULL;

    if (end == NULL)
        return false;
    *out = (oto_slice){p, (size_t)(end - p)};
    oto_read_bytes(r, out->n + 1);
    return true;
}

static int global_of_lines(machine *m)
{
    oto_slice module, name;

    if (!read_line(m->r, &module) || !read_line(m->r, &name))
        return garbled(m);
    return push_global(m, module, name);
}

static int global_of_stack(machine *m)
{
    const oto_pickle *name = pop(m), *module = pop(m);

    if (name == NULL || module == NULL || name->kind != OTO_PICKLE_STR ||
        module->kind != OTO_PICKLE_STR)
        return garbled(m);
    return push_global(m, module->s, name->s);
}

static int call(machine *m)
{
    oto_pickle *arguments = pop(m);
    const oto_pickle *what = pop(m);

    if (arguments == NULL || what == NULL || arguments->kind != OTO_PICKLE_TUPLE ||
        what->kind != OTO_PICKLE_GLOBAL)
        return garbled(m);
    if (what->id != 0)
        return push_new(m, &(oto_pickle){.kind = OTO_PICKLE_CALL,
                                         .id = what->id,
                                         .v = arguments->v,
                                         .n = arguments->n,
                                         .cap = arguments->n});
    if (arguments->n != 0)
        return fail(m, "a dictionary made of something");
    return push_new(m, &(oto_pickle){.kind = OTO_PICKLE_DICT, .v = NULL});
}

/* Sets attributes: a state dict has some, about its modules' versions. They are dropped. */
static int build(machine *m)
{
    if (pop(m) == NULL || top(m) == NULL)
        return garbled(m);
    return top(m)->kind == OTO_PICKLE_DICT ? 0 : fail(m, "attributes of what is no dictionary");
}

static int reference(machine *m)
{
    oto_pickle *id = pop(m);
    int rc;

    if (id == NULL || id->kind != OTO_PICKLE_TUPLE)
        return garbled(m);
    rc = push_new(m, &(oto_pickle){.kind = OTO_PICKLE_SAVED, .v = id->v, .n = id->n, .cap = id->n});
    return rc == 0 ? append(m, m->saved, &m->stack[m->n - 1], 1) : rc;
}

/* ---- the memo ---- */

static int remember(machine *m, size_t at)
{
    if (top(m) == NULL)
        return garbled(m);
    if (at >= MAX_MEMO)
        return fail(m, "too many objects to remember");
    if (at >= m->n_memo) {
        const size_t n = OTO_MAX(m->n_memo * 2, (at + 1024) / 1024 * 1024);
        oto_pickle **grown = oto_arena_calloc(m->a, n, sizeof *grown);

        if (grown == NULL)
            return oto_weights_fail(m->w, m->e, OTO_E_LIMIT, "its pickle needs too much memory");
        if (m->n_memo > 0)
            memcpy(grown, m->memo, m->n_memo * sizeof *grown);
        m->memo = grown;
        m->n_memo = n;
    }
    m->memo[at] = top(m);
    m->next_memo++;
    return 0;
}

static int recall(machine *m, size_t at)
{
    return at < m->n_memo && m->memo[at] != NULL ? push(m, m->memo[at]) : garbled(m);
}

/* ---- instructions ---- */

static int mark(machine *m)
{
    if (m->n_marks == MAX_MARKS)
        return fail(m, "nested too deeply");
    m->marks[m->n_marks++] = m->n;
    return 0;
}

static int drop_to_mark(machine *m)
{
    size_t n;
    const int rc = pop_mark(m, &n);

    m->n -= n;
    return rc;
}

static int unknown(const machine *m, uint8_t op)
{
    if (m->r->bad)
        return garbled(m);
    return oto_weights_fail(m->w, m->e, OTO_E_UNSUPPORTED,
                            "its pickle, at offset %zu: instruction 0x%02x, which no list of "
                            "tensors needs",
                            m->r->at - 1, op);
}

static int run_scalar(machine *m, uint8_t op)
{
    switch (op) {
    case 'N':
        return push_new(m, &(oto_pickle){.kind = OTO_PICKLE_NONE});
    case 0x88:
    case 0x89:
        return push_new(m, &(oto_pickle){.kind = OTO_PICKLE_BOOL, .i = op == 0x88});
    case 'J':
        return push_int(m, (int32_t)oto_read_u32(m->r));
    case 'K':
        return push_int(m, oto_read_u8(m->r));
    case 'M':
        return push_int(m, oto_read_u16(m->r));
    case 0x8a:
        return push_long(m, oto_read_u8(m->r));
    case 0x8b:
        return push_long(m, oto_read_u32(m->r));
    case 'G':
        return push_float(m);
    case 'U':
    case 0x8c:
        return push_bytes(m, OTO_PICKLE_STR, oto_read_u8(m->r));
    case 'T':
    case 'X':
        return push_bytes(m, OTO_PICKLE_STR, oto_read_u32(m->r));
    case 0x8d:
        return push_bytes(m, OTO_PICKLE_STR, oto_read_u64(m->r));
    case 'C':
        return push_bytes(m, OTO_PICKLE_BYTES, oto_read_u8(m->r));
    case 'B':
        return push_bytes(m, OTO_PICKLE_BYTES, oto_read_u32(m->r));
    default:
        return unknown(m, op);
    }
}

static int run_container(machine *m, uint8_t op)
{
    switch (op) {
    case ')':
        return gather(m, OTO_PICKLE_TUPLE, 0);
    case 0x85:
    case 0x86:
    case 0x87:
        return gather(m, OTO_PICKLE_TUPLE, (size_t)(op - 0x84));
    case 't':
        return gather_to_mark(m, OTO_PICKLE_TUPLE);
    case ']':
        return gather(m, OTO_PICKLE_LIST, 0);
    case 'l':
        return gather_to_mark(m, OTO_PICKLE_LIST);
    case 'a':
        return put_into(m, OTO_PICKLE_LIST, 1);
    case 'e':
        return put_into_to_mark(m, OTO_PICKLE_LIST);
    case '}':
        return gather(m, OTO_PICKLE_DICT, 0);
    case 'd':
        return gather_to_mark(m, OTO_PICKLE_DICT);
    case 's':
        return put_into(m, OTO_PICKLE_DICT, 2);
    case 'u':
        return put_into_to_mark(m, OTO_PICKLE_DICT);
    default:
        return run_scalar(m, op);
    }
}

static int run(machine *m, uint8_t op)
{
    switch (op) {
    case 0x80: /* protocol */
        return oto_read_u8(m->r) <= 5 ? 0 : fail(m, "a protocol newer than 5");
    case 0x95: /* frame: only its length is said */
        oto_read_u64(m->r);
        return 0;
    case '(':
        return mark(m);
    case '0':
        return pop(m) != NULL ? 0 : garbled(m);
    case '1':
        return drop_to_mark(m);
    case '2':
        return top(m) != NULL ? push(m, top(m)) : garbled(m);
    case 'q':
        return remember(m, oto_read_u8(m->r));
    case 'r':
        return remember(m, oto_read_u32(m->r));
    case 0x94:
        return remember(m, m->next_memo);
    case 'h':
        return recall(m, oto_read_u8(m->r));
    case 'j':
        return recall(m, oto_read_u32(m->r));
    case 'c':
        return global_of_lines(m);
    case 0x93:
        return global_of_stack(m);
    case 'R':
        return call(m);
    case 'b':
        return build(m);
    case 'Q':
        return reference(m);
    default:
        return run_container(m, op);
    }
}

int oto_pickle_read(const oto_weights *w, oto_reader *r, const oto_pickle_global *globals,
                    size_t n_globals, oto_arena *a, oto_pickle_result *out, oto_err *e)
{
    machine m = {.w = w,
                 .r = r,
                 .globals = globals,
                 .n_globals = n_globals,
                 .a = a,
                 .e = e,
                 .saved = &out->saved};
    const size_t from = r->at;
    int rc = oto_arena_get(a, MAX_STACK, sizeof *m.stack, &m.stack, e);

    *out = (oto_pickle_result){.saved = {.kind = OTO_PICKLE_LIST, .v = NULL}};
    while (rc == 0) {
        const uint8_t op = oto_read_u8(r);

        if (op == '.' && !r->bad)
            break;
        if (r->at - from > MAX_BYTES)
            return fail(&m, "larger than any list of tensors");
        rc = run(&m, op);
        if (rc == 0 && r->bad)
            rc = garbled(&m);
    }
    if (rc != 0)
        return rc;
    out->root = pop(&m);
    return out->root != NULL && m.n == 0 ? 0 : garbled(&m);
}

oto_pickle *oto_pickle_get(const oto_pickle *dict, const char *key)
{
    for (size_t i = 0; dict->kind == OTO_PICKLE_DICT && i + 1 < dict->n; i += 2)
        if (dict->v[i]->kind == OTO_PICKLE_STR && oto_slice_is(dict->v[i]->s, key))
            return dict->v[i + 1];
    return NULL;
}
