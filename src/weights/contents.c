/* Contents: tensors and metadata by name, as a parser fills them in and a model asks for them.
 *
 * Whatever a parser hands over is checked here for what all formats share, so that behind
 * oto_weights_open a tensor's pointer, shape and size agree and lie inside the map. Names and
 * aliases are found through one hash table; metadata are few and found by walking. */
#include "weights/formats.h"

#include <stdlib.h>
#include <string.h>

/* Tables larger than any model's: a file asking for more is refused before anything is allocated
 * for it. */
#define MAX_TENSORS 65536
#define MAX_METAS   4096
#define MAX_NAME    1024

int oto_weights_fail(const oto_weights *w, oto_err *e, int code, const char *fmt, ...)
{
    char text[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return oto_fail(e, code, "%s: %s", w->path, text);
}

/* ---- filling
 * ---------------------------------------------------------------------------------------- */

static uint64_t hash(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++) {
        h = (h ^ (uint8_t)*s) * 0x100000001b3u;
    }
    return h ^ h >> 29;
}

/* The slot that holds `name`, or the free one where it belongs. */
static size_t slot_of(const oto_weights *w, const char *name)
{
    size_t i = hash(name) & (w->cap_index - 1);
    while (w->index[i].name && strcmp(w->index[i].name, name) != 0) {
        i = (i + 1) & (w->cap_index - 1);
    }
    return i;
}

static int out_of_memory(const oto_weights *w, oto_err *e)
{
    return oto_weights_fail(w, e, OTO_E_LIMIT, "out of memory");
}

static int grow_index(oto_weights *w, oto_err *e)
{
    if (w->n_index * 2 < w->cap_index) {
        return 0;
    }
    size_t old_cap = w->cap_index, cap = OTO_MAX(old_cap * 2, 512);
    void *old = w->index, *fresh = calloc(cap, sizeof *w->index);
    if (!fresh) {
        return out_of_memory(w, e);
    }
    const __typeof__(*w->index) *from = old;
    w->index = fresh;
    w->cap_index = cap;
    for (size_t i = 0; i < old_cap; i++) {
        if (from[i].name) {
            w->index[slot_of(w, from[i].name)] = from[i];
        }
    }
    free(old);
    return 0;
}

/* Room for one more element of `size` bytes. */
static int grow(const oto_weights *w, void *array_ptr, size_t n, size_t *cap, size_t size,
                oto_err *e)
{
    if (n < *cap) {
        return 0;
    }
    void *p;
    memcpy(&p, array_ptr, sizeof p);
    size_t want = OTO_MAX(*cap * 2, 64);
    p = realloc(p, want * size);
    if (!p) {
        return out_of_memory(w, e);
    }
    memcpy(array_ptr, &p, sizeof p);
    *cap = want;
    return 0;
}

static int copy_name(oto_weights *w, const char *what, const char *p, size_t n, const char **out,
                     oto_err *e)
{
    if (n == 0 || n > MAX_NAME || memchr(p, 0, n)) {
        return oto_weights_fail(w, e, OTO_E_INPUT,
                                "%s with an empty, overlong (%zu bytes) or binary name", what, n);
    }
    *out = oto_arena_strdup(w->a, p, n);
    return *out ? 0 : out_of_memory(w, e);
}

static int put_name(oto_weights *w, const char *name, size_t tensor, oto_err *e)
{
    int rc = grow_index(w, e);
    if (rc) {
        return rc;
    }
    size_t i = slot_of(w, name);
    if (w->index[i].name) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "tensor %s is there twice", name);
    }
    w->index[i].name = name;
    w->index[i].tensor = (uint32_t)tensor;
    w->n_index++;
    return 0;
}

static void shape_text(int rank, const int64_t *dim, char *out, size_t n)
{
    size_t at = (size_t)snprintf(out, n, "[");
    for (int i = 0; i < rank && i < OTO_MAX_RANK && at < n; i++) {
        const char *sep = i ? "×" : "";
        at += (size_t)(dim[i] < 0 ? snprintf(out + at, n - at, "%s*", sep)
                                  : snprintf(out + at, n - at, "%s%lld", sep, (long long)dim[i]));
    }
    if (at < n) {
        snprintf(out + at, n - at, "]");
    }
}

static bool inside(oto_slice outer, const void *p, size_t n)
{
    uintptr_t a = (uintptr_t)outer.p, x = (uintptr_t)p;
    return x >= a && x - a <= outer.n && n <= outer.n - (x - a);
}

int oto_weights_add(oto_weights *w, const oto_tensor *t, size_t name_n, oto_err *e)
{
    const char *name;
    int rc = copy_name(w, "tensor", t->name, name_n, &name, e);
    if (rc) {
        return rc;
    }
    if (w->n_tensors >= MAX_TENSORS) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "more than %d tensors", MAX_TENSORS);
    }
    if (!oto_ttype_name(t->type)) {
        return oto_weights_fail(w, e, OTO_E_UNSUPPORTED,
                                "tensor %s is of type %d, which is not supported", name,
                                (int)t->type);
    }
    size_t bytes;
    if (t->rank < 0 || t->rank > OTO_MAX_RANK) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "tensor %s has %d dimensions", name, t->rank);
    }
    if (!oto_ttype_bytes(t->type, t->rank, t->dim, &bytes) || bytes != t->n_bytes) {
        char shape[120];
        shape_text(t->rank, t->dim, shape, sizeof shape);
        return oto_weights_fail(w, e, OTO_E_INPUT, "tensor %s: %zu bytes cannot be %s of %s", name,
                                t->n_bytes, shape, oto_ttype_name(t->type));
    }
    uintptr_t at = (uintptr_t)t->data, main = (uintptr_t)w->main.p;
    if (at >= main && at < main + w->main.n && !inside(w->main, t->data, t->n_bytes)) {
        return oto_weights_fail(w, e, OTO_E_INPUT,
                                "tensor %s at offset %zu reaches past the end of the file", name,
                                (size_t)(at - main));
    }
    rc = grow(w, &w->tensors, w->n_tensors, &w->cap_tensors, sizeof *w->tensors, e);
    rc = rc ? rc : put_name(w, name, w->n_tensors, e);
    if (rc) {
        return rc;
    }
    oto_tensor *new = &w->tensors[w->n_tensors++];
    *new = *t;
    new->name = name;
    return 0;
}

int oto_weights_alias(oto_weights *w, oto_slice alias, const char *target, oto_err *e)
{
    const char *name;
    int rc = copy_name(w, "alias", alias.p, alias.n, &name, e);
    if (rc) {
        return rc;
    }
    if (w->n_index >= MAX_TENSORS * 2) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "more than %d aliases", MAX_TENSORS);
    }
    oto_tensor *t = oto_weights_get(w, target);
    if (!t) {
        return oto_weights_fail(w, e, OTO_E_INPUT,
                                "alias %s names the tensor %s, which is not there", name, target);
    }
    return put_name(w, name, (size_t)(t - w->tensors), e);
}

static const oto_meta *find_meta(const oto_weights *w, const char *key)
{
    for (size_t i = 0; i < w->n_metas; i++) {
        if (strcmp(w->metas[i].key, key) == 0) {
            return &w->metas[i];
        }
    }
    return NULL;
}

int oto_weights_put(oto_weights *w, const oto_meta *m, size_t key_n, oto_err *e)
{
    const char *key;
    int rc = copy_name(w, "metadata", m->key, key_n, &key, e);
    if (rc) {
        return rc;
    }
    if (find_meta(w, key)) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "metadata key %s is there twice", key);
    }
    if (w->n_metas >= MAX_METAS) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "more than %d metadata keys", MAX_METAS);
    }
    rc = grow(w, &w->metas, w->n_metas, &w->cap_metas, sizeof *w->metas, e);
    if (rc) {
        return rc;
    }
    oto_meta *new = &w->metas[w->n_metas++];
    *new = *m;
    new->key = key;
    return 0;
}

int oto_weights_put_int(oto_weights *w, const char *key, int64_t v, oto_err *e)
{
    return oto_weights_put(w, &(oto_meta){.key = key, .type = OTO_M_I64, .i = v}, strlen(key), e);
}

int oto_weights_put_f32(oto_weights *w, const char *key, double v, oto_err *e)
{
    return oto_weights_put(w, &(oto_meta){.key = key, .type = OTO_M_F64, .f = v}, strlen(key), e);
}

int oto_weights_put_str(oto_weights *w, const char *key, oto_slice v, oto_err *e)
{
    return oto_weights_put(w, &(oto_meta){.key = key, .type = OTO_M_STR, .s = v}, strlen(key), e);
}

int oto_weights_put_array(oto_weights *w, const char *key, oto_mtype type, const void *p, size_t n,
                          oto_err *e)
{
    size_t bytes;
    if (!oto_mtype_bytes(type) || !oto_mul_size(n, oto_mtype_bytes(type), &bytes)) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "%s: not an array of numbers", key);
    }
    oto_meta m = {.key = key, .is_array = true, .type = type, .s = {p, bytes}, .n = n};
    return oto_weights_put(w, &m, strlen(key), e);
}

int oto_weights_put_strs(oto_weights *w, const char *key, const char *base, const oto_span32 *at,
                         size_t n, oto_err *e)
{
    oto_meta m = {
        .key = key, .is_array = true, .type = OTO_M_STR, .s = {base, 0}, .n = n, .at = at};
    return oto_weights_put(w, &m, strlen(key), e);
}

size_t oto_mtype_bytes(oto_mtype type)
{
    static const uint8_t bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return (unsigned)type < sizeof bytes ? bytes[type] : 0;
}

/* ---- asking
 * ----------------------------------------------------------------------------------------- */

const char *oto_weights_path(const oto_weights *w)
{
    return w->path;
}

const char *oto_weights_format(const oto_weights *w)
{
    return w->format->name;
}

size_t oto_weights_bytes(const oto_weights *w)
{
    return w->main.n;
}

size_t oto_weights_count(const oto_weights *w)
{
    return w->n_tensors;
}

const oto_tensor *oto_weights_at(const oto_weights *w, size_t i)
{
    return i < w->n_tensors ? &w->tensors[i] : NULL;
}

oto_tensor *oto_weights_get(oto_weights *w, const char *name)
{
    if (w->cap_index == 0) {
        return NULL;
    }
    size_t i = slot_of(w, name);
    return w->index[i].name ? &w->tensors[w->index[i].tensor] : NULL;
}

const oto_tensor *oto_weights_find(const oto_weights *w, const char *name)
{
    if (w->cap_index == 0) {
        return NULL;
    }
    size_t i = slot_of(w, name);
    return w->index[i].name ? &w->tensors[w->index[i].tensor] : NULL;
}

int oto_weights_need(const oto_weights *w, const char *name, int type, int rank, const int64_t *dim,
                     const oto_tensor **out, oto_err *e)
{
    const oto_tensor *t = oto_weights_find(w, name);
    if (!t) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "tensor %s is missing", name);
    }
    bool same = rank < 0 || t->rank == rank;
    for (int i = 0; same && dim && i < rank; i++) {
        same = dim[i] < 0 || t->dim[i] == dim[i];
    }
    if (!same) {
        char is[120], want[120];
        shape_text(t->rank, t->dim, is, sizeof is);
        int64_t any[OTO_MAX_RANK] = {-1, -1, -1, -1};
        shape_text(rank, dim ? dim : any, want, sizeof want);
        return oto_weights_fail(w, e, OTO_E_INPUT, "tensor %s has the shape %s, %s is needed", name,
                                is, want);
    }
    if (type >= 0 && t->type != (oto_ttype)type) {
        const char *want = oto_ttype_name((oto_ttype)type);
        return oto_weights_fail(w, e, OTO_E_INPUT, "tensor %s is %s, %s is needed", name,
                                oto_ttype_name(t->type), want ? want : "?");
    }
    *out = t;
    return 0;
}

/* Number i of an array; exactly one of *n and *f is set, by its type. */
static bool number(oto_mtype type, const char *p, size_t i, int64_t *n, double *f)
{
    union {
        uint8_t u8;
        int8_t i8;
        uint16_t u16;
        int16_t i16;
        uint32_t u32;
        int32_t i32;
        uint64_t u64;
        int64_t i64;
        float f32;
        double f64;
    } v;
    size_t bytes = oto_mtype_bytes(type);
    memcpy(&v, p + i * bytes, bytes);
    switch (type) {
    case OTO_M_U8:
    case OTO_M_BOOL:
        return *n = v.u8, true;
    case OTO_M_I8:
        return *n = v.i8, true;
    case OTO_M_U16:
        return *n = v.u16, true;
    case OTO_M_I16:
        return *n = v.i16, true;
    case OTO_M_U32:
        return *n = v.u32, true;
    case OTO_M_I32:
        return *n = v.i32, true;
    case OTO_M_U64: /* beyond int64_t: no count or id is that large; read as the largest */
        return *n = v.u64 > INT64_MAX ? INT64_MAX : (int64_t)v.u64, true;
    case OTO_M_I64:
        return *n = v.i64, true;
    case OTO_M_F32:
        return *f = (double)v.f32, false;
    case OTO_M_F64:
        return *f = v.f64, false;
    default:
        return false;
    }
}

bool oto_weights_int(const oto_weights *w, const char *key, int64_t *out)
{
    const oto_meta *m = find_meta(w, key);
    if (!m || m->is_array || m->type == OTO_M_STR || m->type == OTO_M_F32 || m->type == OTO_M_F64) {
        return false;
    }
    *out = m->i;
    return true;
}

bool oto_weights_f32(const oto_weights *w, const char *key, double *out)
{
    const oto_meta *m = find_meta(w, key);
    if (!m || m->is_array || m->type == OTO_M_STR) {
        return false;
    }
    *out = m->type == OTO_M_F32 || m->type == OTO_M_F64 ? m->f : (double)m->i;
    return true;
}

bool oto_weights_str(const oto_weights *w, const char *key, oto_slice *out)
{
    const oto_meta *m = find_meta(w, key);
    if (!m || m->is_array || m->type != OTO_M_STR) {
        return false;
    }
    *out = m->s;
    return true;
}

size_t oto_weights_array_len(const oto_weights *w, const char *key)
{
    const oto_meta *m = find_meta(w, key);
    return m && m->is_array ? m->n : 0;
}

/* The array, when it is one, has an element i, and holds strings or numbers as asked. */
static const oto_meta *element(const oto_weights *w, const char *key, size_t i, bool strings)
{
    const oto_meta *m = find_meta(w, key);
    return m && m->is_array && i < m->n && (m->type == OTO_M_STR) == strings ? m : NULL;
}

bool oto_weights_array_str(const oto_weights *w, const char *key, size_t i, oto_slice *out)
{
    const oto_meta *m = element(w, key, i, true);
    if (!m) {
        return false;
    }
    *out = (oto_slice){m->s.p + m->at[i].at, m->at[i].n};
    return true;
}

bool oto_weights_array_int(const oto_weights *w, const char *key, size_t i, int64_t *out)
{
    const oto_meta *m = element(w, key, i, false);
    double f;
    return m && number(m->type, m->s.p, i, out, &f);
}

bool oto_weights_array_f32(const oto_weights *w, const char *key, size_t i, double *out)
{
    const oto_meta *m = element(w, key, i, false);
    int64_t n;
    if (!m) {
        return false;
    }
    if (number(m->type, m->s.p, i, &n, out)) {
        *out = (double)n;
    }
    return true;
}
