/* GGUF, the container of otolith's packed models: the reader (versions 2 and 3) and the writer
 * (version 3).
 *
 *   "GGUF"  u32 version  u64 n_tensors  u64 n_kv
 *   n_kv ×      { string key, u32 type, value }                     string = u64 length, bytes
 *   n_tensors × { string name, u32 rank, u64 ne[rank], u32 type, u64 offset }
 *   padding to `general.alignment` (32 unless set), then the data; offsets count from there
 *
 * ne[0] is the fastest dimension, dim[0] of oto_tensor the slowest: the order is turned round in
 * both directions. Everything is little endian. Nothing is copied but names: strings and arrays
 * stay where they are in the map, and a string array costs one table of 8 bytes a string. Tensor
 * data are not touched at open. */
#include "weights/formats.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC             "GGUF"
#define DEFAULT_ALIGNMENT 32
#define OUR_ALIGNMENT     64
#define MAX_ALIGNMENT     65536
#define MAX_KV            4096
#define MAX_TENSORS       65536

/* ---- reader
 * ----------------------------------------------------------------------------------------- */

static bool gguf_matches(const uint8_t *p, size_t n, uint64_t file_bytes)
{
    (void)file_bytes;
    return n >= 4 && memcmp(p, MAGIC, 4) == 0;
}

static bool read_string(oto_reader *r, oto_slice *out)
{
    uint64_t n = oto_read_u64(r);
    const uint8_t *p = oto_read_bytes(r, n);
    *out = (oto_slice){(const char *)p, p ? (size_t)n : 0};
    return p != NULL;
}

static int truncated(const oto_weights *w, const oto_reader *r, const char *what, oto_err *e)
{
    return oto_weights_fail(w, e, OTO_E_INPUT,
                            "%s near offset %zu reaches past the end of the file (%zu bytes)", what,
                            r->at, r->n);
}

/* What is printable of a name that has not been checked yet. */
static const char *shown(oto_slice s, char out[64])
{
    snprintf(out, 64, "%.*s", (int)OTO_MIN(s.n, 63), s.n ? s.p : "");
    return out;
}

static int read_string_array(oto_weights *w, oto_reader *r, uint64_t n, oto_meta *m, oto_err *e)
{
    if (n > oto_reader_left(r) / 8) {
        return truncated(w, r, "an array of strings", e);
    }
    oto_span32 *at;
    int rc = oto_arena_get(w->a, (size_t)n, sizeof *at, &at, e);
    if (rc) {
        return rc;
    }
    size_t base = r->at;
    for (size_t i = 0; i < n; i++) {
        oto_slice s;
        if (!read_string(r, &s)) {
            return truncated(w, r, "a string of an array", e);
        }
        size_t offset = r->at - s.n - base;
        if (offset > UINT32_MAX || s.n > UINT32_MAX) {
            return oto_weights_fail(w, e, OTO_E_UNSUPPORTED,
                                    "an array of strings is larger than 4 GiB");
        }
        at[i] = (oto_span32){(uint32_t)offset, (uint32_t)s.n};
    }
    m->s = (oto_slice){w->main.p + base, r->at - base};
    m->at = at;
    m->n = (size_t)n;
    return 0;
}

static int read_array(oto_weights *w, oto_reader *r, oto_meta *m, oto_err *e)
{
    m->is_array = true;
    m->type = (oto_mtype)oto_read_u32(r);
    uint64_t n = oto_read_u64(r);
    if (r->bad) {
        return truncated(w, r, "an array", e);
    }
    if (m->type == OTO_M_STR) {
        return read_string_array(w, r, n, m, e);
    }
    size_t size = oto_mtype_bytes(m->type), bytes;
    if (!size) {
        return oto_weights_fail(w, e, OTO_E_UNSUPPORTED,
                                "an array of type %d at offset %zu is not supported", (int)m->type,
                                r->at);
    }
    if (n > SIZE_MAX || !oto_mul_size((size_t)n, size, &bytes)) {
        return truncated(w, r, "an array", e);
    }
    const uint8_t *p = oto_read_bytes(r, bytes);
    if (!p) {
        return truncated(w, r, "an array", e);
    }
    m->s = (oto_slice){(const char *)p, bytes};
    m->n = (size_t)n;
    return 0;
}

static int read_value(oto_weights *w, oto_reader *r, oto_meta *m, oto_err *e)
{
    uint64_t u;
    uint32_t bits;
    switch (m->type) {
    case OTO_M_U8:
        m->i = oto_read_u8(r);
        break;
    case OTO_M_BOOL:
        m->i = oto_read_u8(r) != 0;
        break;
    case OTO_M_I8:
        m->i = (int8_t)oto_read_u8(r);
        break;
    case OTO_M_U16:
        m->i = oto_read_u16(r);
        break;
    case OTO_M_I16:
        m->i = (int16_t)oto_read_u16(r);
        break;
    case OTO_M_U32:
        m->i = oto_read_u32(r);
        break;
    case OTO_M_I32:
        bits = oto_read_u32(r);
        m->i = (int32_t)bits;
        break;
    case OTO_M_U64:
        u = oto_read_u64(r);
        m->i = u > INT64_MAX ? INT64_MAX : (int64_t)u;
        break;
    case OTO_M_I64:
        m->i = (int64_t)oto_read_u64(r);
        break;
    case OTO_M_F32:
        m->f = (double)oto_read_f32(r);
        break;
    case OTO_M_F64:
        u = oto_read_u64(r);
        memcpy(&m->f, &u, sizeof m->f);
        break;
    case OTO_M_STR:
        read_string(r, &m->s);
        break;
    case OTO_M_ARRAY:
        return read_array(w, r, m, e);
    default:
        return oto_weights_fail(w, e, OTO_E_INPUT, "a value at offset %zu has the unknown type %d",
                                r->at, (int)m->type);
    }
    return r->bad ? truncated(w, r, "a value", e) : 0;
}

static int read_kv(oto_weights *w, oto_reader *r, oto_err *e)
{
    oto_slice key;
    oto_meta m = {0};
    read_string(r, &key);
    m.type = (oto_mtype)oto_read_u32(r);
    if (r->bad) {
        return truncated(w, r, "a metadata key", e);
    }
    m.key = key.p;
    int rc = read_value(w, r, &m, e);
    return rc ? rc : oto_weights_put(w, &m, key.n, e);
}

/* Adds the tensor with data counted from the start of the data, which is known only when all infos
 * are read. */
struct info {
    oto_slice name;
    oto_tensor t;
    uint64_t offset;
};

static int read_info(const oto_weights *w, oto_reader *r, struct info *info, oto_err *e)
{
    char name[64];
    size_t at = r->at;
    read_string(r, &info->name);
    uint32_t rank = oto_read_u32(r);
    if (r->bad) {
        return truncated(w, r, "a tensor's description", e);
    }
    if (rank > OTO_MAX_RANK) {
        return oto_weights_fail(w, e, OTO_E_INPUT,
                                "tensor %s at offset %zu has %u dimensions (at most %d)",
                                shown(info->name, name), at, rank, OTO_MAX_RANK);
    }
    info->t = (oto_tensor){.name = info->name.p, .rank = (int)rank};
    for (uint32_t i = 0; i < rank; i++) {
        uint64_t ne = oto_read_u64(r);
        if (ne > INT64_MAX) {
            return oto_weights_fail(w, e, OTO_E_INPUT,
                                    "tensor %s at offset %zu: dimension %u is too large",
                                    shown(info->name, name), at, i);
        }
        info->t.dim[rank - 1 - i] = (int64_t)ne;
    }
    info->t.type = (oto_ttype)oto_read_u32(r);
    info->offset = oto_read_u64(r);
    if (r->bad) {
        return truncated(w, r, "a tensor's description", e);
    }
    if (!oto_ttype_name(info->t.type) || info->t.type == OTO_T_U8) {
        return oto_weights_fail(w, e, OTO_E_UNSUPPORTED,
                                "tensor %s is of type %d, which is not supported",
                                shown(info->name, name), (int)info->t.type);
    }
    if (!oto_ttype_bytes(info->t.type, (int)rank, info->t.dim, &info->t.n_bytes)) {
        return oto_weights_fail(w, e, OTO_E_INPUT,
                                "tensor %s at offset %zu: its shape does not fit its type",
                                shown(info->name, name), at);
    }
    return 0;
}

static int alignment_of(const oto_weights *w, size_t *out, oto_err *e)
{
    int64_t v = DEFAULT_ALIGNMENT;
    oto_weights_int(w, "general.alignment", &v);
    if (v < 1 || v > MAX_ALIGNMENT || (v & (v - 1)) != 0) {
        return oto_weights_fail(w, e, OTO_E_INPUT,
                                "general.alignment is %lld, not a power of two up to %d",
                                (long long)v, MAX_ALIGNMENT);
    }
    *out = (size_t)v;
    return 0;
}

static int read_tensors(oto_weights *w, oto_reader *r, uint64_t n, oto_err *e)
{
    size_t align = DEFAULT_ALIGNMENT;
    struct info *infos = NULL;
    int rc = alignment_of(w, &align, e);
    if (rc) {
        return rc;
    }
    infos = calloc(n ? (size_t)n : 1, sizeof *infos);
    if (!infos) {
        return oto_weights_fail(w, e, OTO_E_LIMIT, "out of memory");
    }
    for (size_t i = 0; i < n && !rc; i++) {
        rc = read_info(w, r, &infos[i], e);
    }
    size_t start = (r->at + align - 1) / align * align;
    for (size_t i = 0; i < n && !rc; i++) {
        struct info *t = &infos[i];
        char name[64];
        if (t->offset % align) {
            rc = oto_weights_fail(w, e, OTO_E_INPUT,
                                  "tensor %s: offset %llu is not a multiple of %zu",
                                  shown(t->name, name), (unsigned long long)t->offset, align);
        } else if (start > w->main.n || t->offset > w->main.n - start ||
                   t->t.n_bytes > w->main.n - start - (size_t)t->offset) {
            rc = oto_weights_fail(
                w, e, OTO_E_INPUT,
                "tensor %s: %zu bytes at offset %llu reach past the end of the file (%zu bytes)",
                shown(t->name, name), t->t.n_bytes, (unsigned long long)(start + t->offset),
                w->main.n);
        } else {
            t->t.data = w->main.p + start + t->offset;
            rc = oto_weights_add(w, &t->t, t->name.n, e);
        }
    }
    free(infos);
    return rc;
}

static int gguf_parse(oto_weights *w, oto_err *e)
{
    oto_reader r;
    oto_reader_init(&r, w->main.p, w->main.n);
    const uint8_t *magic = oto_read_bytes(&r, 4);
    uint32_t version = oto_read_u32(&r);
    if (!magic || memcmp(magic, MAGIC, 4) != 0) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "not a GGUF file");
    }
    if (r.bad) {
        return truncated(w, &r, "the header", e);
    }
    if (version != 2 && version != 3) {
        return oto_weights_fail(w, e, OTO_E_UNSUPPORTED, "GGUF version %u%s (2 and 3 are read)",
                                version & 0xffff ? version : version >> 24,
                                version & 0xffff ? "" : ", big endian");
    }
    uint64_t n_tensors = oto_read_u64(&r), n_kv = oto_read_u64(&r);
    if (r.bad) {
        return truncated(w, &r, "the header", e);
    }
    /* The smallest entries are 13 and 24 bytes. */
    if (n_kv > MAX_KV || n_tensors > MAX_TENSORS ||
        n_kv * 13 + n_tensors * 24 > oto_reader_left(&r)) {
        return oto_weights_fail(w, e, OTO_E_INPUT,
                                "the header claims %llu tensors and %llu keys in %zu bytes",
                                (unsigned long long)n_tensors, (unsigned long long)n_kv, w->main.n);
    }
    for (uint64_t i = 0; i < n_kv; i++) {
        int rc = read_kv(w, &r, e);
        if (rc) {
            return rc;
        }
    }
    return read_tensors(w, &r, n_tensors, e);
}

const oto_format oto_format_gguf = {.name = "gguf", .matches = gguf_matches, .parse = gguf_parse};

/* ---- writer
 * ----------------------------------------------------------------------------------------- */

/* Bytes that grow on the heap; after a failed growth everything is dropped and `failed` stays. */
struct buffer {
    uint8_t *p;
    size_t n, cap;
    bool failed;
};

struct out_tensor {
    char *name;
    oto_ttype type;
    int rank;
    int64_t dim[OTO_MAX_RANK];
    const void *data;
    size_t n_bytes;
    uint64_t offset;
};

struct oto_gguf_writer {
    struct buffer kv, keys; /* keys: the names so far, each with its NUL */
    uint64_t n_kv;
    struct out_tensor *tensors;
    size_t n_tensors, cap_tensors;
    uint64_t data_bytes;
};

static void put(struct buffer *b, const void *p, size_t n)
{
    if (b->failed || n == 0) {
        return;
    }
    if (n > b->cap - b->n) {
        size_t cap = OTO_MAX(b->cap * 2, b->n + n + 4096);
        uint8_t *q = cap > b->n + n ? realloc(b->p, cap) : NULL;
        if (!q) {
            b->failed = true;
            return;
        }
        b->p = q;
        b->cap = cap;
    }
    memcpy(b->p + b->n, p, n);
    b->n += n;
}

static void put_u32(struct buffer *b, uint32_t v)
{
    put(b, &v, sizeof v);
}

static void put_u64(struct buffer *b, uint64_t v)
{
    put(b, &v, sizeof v);
}

static void put_string(struct buffer *b, const char *p, size_t n)
{
    put_u64(b, n);
    put(b, p, n);
}

int oto_gguf_writer_new(oto_gguf_writer **out, oto_err *e)
{
    oto_gguf_writer *w = calloc(1, sizeof *w);
    if (!w) {
        return oto_fail(e, OTO_E_LIMIT, "GGUF writer: out of memory");
    }
    *out = w;
    return 0;
}

void oto_gguf_writer_free(oto_gguf_writer *w)
{
    if (!w) {
        return;
    }
    for (size_t i = 0; i < w->n_tensors; i++) {
        free(w->tensors[i].name);
    }
    free(w->tensors);
    free(w->kv.p);
    free(w->keys.p);
    free(w);
}

static int begin_kv(oto_gguf_writer *w, const char *key, oto_mtype type, oto_err *e)
{
    size_t n = strlen(key);
    for (size_t at = 0; at < w->keys.n; at += strlen((char *)w->keys.p + at) + 1) {
        if (strcmp((char *)w->keys.p + at, key) == 0) {
            return oto_fail(e, OTO_E_INTERNAL, "GGUF writer: key %s is there twice", key);
        }
    }
    put(&w->keys, key, n + 1);
    put_string(&w->kv, key, n);
    put_u32(&w->kv, type);
    w->n_kv++;
    return 0;
}

static int end_kv(const oto_gguf_writer *w, const char *key, oto_err *e)
{
    return w->kv.failed || w->keys.failed
               ? oto_fail(e, OTO_E_LIMIT, "GGUF writer: out of memory at key %s", key)
               : 0;
}

int oto_gguf_put_int(oto_gguf_writer *w, const char *key, int64_t v, oto_err *e)
{
    int rc = begin_kv(w, key, OTO_M_I64, e);
    if (rc) {
        return rc;
    }
    put(&w->kv, &v, sizeof v);
    return end_kv(w, key, e);
}

int oto_gguf_put_f32(oto_gguf_writer *w, const char *key, float v, oto_err *e)
{
    int rc = begin_kv(w, key, OTO_M_F32, e);
    if (rc) {
        return rc;
    }
    put(&w->kv, &v, sizeof v);
    return end_kv(w, key, e);
}

int oto_gguf_put_str(oto_gguf_writer *w, const char *key, const char *z, oto_err *e)
{
    int rc = begin_kv(w, key, OTO_M_STR, e);
    if (rc) {
        return rc;
    }
    put_string(&w->kv, z, strlen(z));
    return end_kv(w, key, e);
}

int oto_gguf_put_ints(oto_gguf_writer *w, const char *key, const int32_t *v, size_t n, oto_err *e)
{
    int rc = begin_kv(w, key, OTO_M_ARRAY, e);
    if (rc) {
        return rc;
    }
    put_u32(&w->kv, OTO_M_I32);
    put_u64(&w->kv, n);
    put(&w->kv, v, n * sizeof *v);
    return end_kv(w, key, e);
}

int oto_gguf_put_strs(oto_gguf_writer *w, const char *key, const oto_slice *v, size_t n, oto_err *e)
{
    int rc = begin_kv(w, key, OTO_M_ARRAY, e);
    if (rc) {
        return rc;
    }
    put_u32(&w->kv, OTO_M_STR);
    put_u64(&w->kv, n);
    for (size_t i = 0; i < n; i++) {
        put_string(&w->kv, v[i].p, v[i].n);
    }
    return end_kv(w, key, e);
}

int oto_gguf_put_tensor(oto_gguf_writer *w, const char *name, oto_ttype type, int rank,
                        const int64_t *dim, const void *data, size_t n_bytes, oto_err *e)
{
    size_t bytes;
    if (rank < 1 || !oto_ttype_bytes(type, rank, dim, &bytes) || bytes != n_bytes) {
        return oto_fail(e, OTO_E_INTERNAL,
                        "GGUF writer: tensor %s: %zu bytes do not fit its type and shape", name,
                        n_bytes);
    }
    for (size_t i = 0; i < w->n_tensors; i++) {
        if (strcmp(w->tensors[i].name, name) == 0) {
            return oto_fail(e, OTO_E_INTERNAL, "GGUF writer: tensor %s is there twice", name);
        }
    }
    if (w->n_tensors == w->cap_tensors) {
        size_t cap = OTO_MAX(w->cap_tensors * 2, 64);
        struct out_tensor *p = realloc(w->tensors, cap * sizeof *p);
        if (!p) {
            return oto_fail(e, OTO_E_LIMIT, "GGUF writer: out of memory");
        }
        w->tensors = p;
        w->cap_tensors = cap;
    }
    struct out_tensor t = {.name = strdup(name),
                           .type = type,
                           .rank = rank,
                           .data = data,
                           .n_bytes = n_bytes,
                           .offset = w->data_bytes};
    if (!t.name) {
        return oto_fail(e, OTO_E_LIMIT, "GGUF writer: out of memory");
    }
    memcpy(t.dim, dim, (size_t)rank * sizeof *dim);
    w->tensors[w->n_tensors++] = t;
    w->data_bytes += (n_bytes + OUR_ALIGNMENT - 1) / OUR_ALIGNMENT * OUR_ALIGNMENT;
    return 0;
}

/* Everything before the data, padded to the alignment. */
static void make_head(const oto_gguf_writer *w, struct buffer *b)
{
    put(b, MAGIC, 4);
    put_u32(b, 3);
    put_u64(b, w->n_tensors);
    put_u64(b, w->n_kv + 1);
    put_string(b, "general.alignment", strlen("general.alignment"));
    put_u32(b, OTO_M_U32);
    put_u32(b, OUR_ALIGNMENT);
    put(b, w->kv.p, w->kv.n);
    for (size_t i = 0; i < w->n_tensors; i++) {
        const struct out_tensor *t = &w->tensors[i];
        put_string(b, t->name, strlen(t->name));
        put_u32(b, (uint32_t)t->rank);
        for (int d = t->rank - 1; d >= 0; d--) {
            put_u64(b, (uint64_t)t->dim[d]);
        }
        put_u32(b, t->type);
        put_u64(b, t->offset);
    }
    static const uint8_t zeros[OUR_ALIGNMENT];
    put(b, zeros, (OUR_ALIGNMENT - b->n % OUR_ALIGNMENT) % OUR_ALIGNMENT);
}

static bool write_all(int fd, const void *p, size_t n)
{
    const char *at = p;
    while (n) {
        ssize_t done = write(fd, at, OTO_MIN(n, (size_t)1 << 26));
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done <= 0) {
            return false;
        }
        at += done;
        n -= (size_t)done;
    }
    return true;
}

static int write_gguf(const oto_gguf_writer *w, int fd, const char *name, oto_err *e)
{
    static const uint8_t zeros[OUR_ALIGNMENT];
    struct buffer head = {0};
    make_head(w, &head);
    if (head.failed) {
        free(head.p);
        return oto_fail(e, OTO_E_LIMIT, "%s: out of memory", name);
    }
    bool good = write_all(fd, head.p, head.n);
    int err = errno;
    free(head.p);
    for (size_t i = 0; i < w->n_tensors && good; i++) {
        const struct out_tensor *t = &w->tensors[i];
        size_t pad = (OUR_ALIGNMENT - t->n_bytes % OUR_ALIGNMENT) % OUR_ALIGNMENT;
        good = write_all(fd, t->data, t->n_bytes) && write_all(fd, zeros, pad);
        err = errno;
    }
    errno = err;
    return good ? 0 : oto_fail_errno(e, "%s", name);
}

int oto_gguf_finish_fd(oto_gguf_writer *w, int fd, oto_err *e)
{
    return write_gguf(w, fd, "packed model", e);
}

/* A rename is lasting only when the folder is on the disk too. */
static void sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir = !slash ? strdup(".") : strndup(path, slash == path ? 1 : (size_t)(slash - path));
    int fd = dir ? open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    free(dir);
}

int oto_gguf_finish(oto_gguf_writer *w, const char *path, oto_err *e)
{
    char tmp[4096];
    if (snprintf(tmp, sizeof tmp, "%s.XXXXXX", path) >= (int)sizeof tmp) {
        return oto_fail(e, OTO_E_USAGE, "%s: name too long", path);
    }
    int fd = mkostemp(tmp, O_CLOEXEC);
    if (fd < 0) {
        return oto_fail_errno(e, "%s", path);
    }
    int rc = write_gguf(w, fd, path, e);
    /* mkostemp makes a private file, a model is for every user of the machine */
    if (!rc && (fchmod(fd, 0644) != 0 || fsync(fd) != 0)) {
        rc = oto_fail_errno(e, "%s", path);
    }
    if (close(fd) != 0 && !rc) {
        rc = oto_fail_errno(e, "%s", path);
    }
    if (!rc && rename(tmp, path) != 0) {
        rc = oto_fail_errno(e, "%s", path);
    }
    if (rc) {
        unlink(tmp);
        return rc;
    }
    sync_folder_of(path);
    return 0;
}
