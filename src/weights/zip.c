/* Where the entries of a zip archive lie, for those that are stored as they are.
 *
 * From the end: "PK\5\6" with the number of entries and the place of the central directory, or
 * before it "PK\6\7" and "PK\6\6" with both in 64 bits; the directory's entries "PK\1\2" name sizes
 * and the place of a local header "PK\3\4", behind which, its own name and its extra field, are the
 * bytes. Local headers may leave out the sizes; the directory is what counts. libzip does not tell
 * where an entry begins, and tensors of a gigabyte are to be mapped, not copied. */
#include "weights/parts.h"

#include <stdlib.h>
#include <string.h>

#define END_BYTES     22
#define ENTRY_BYTES   46
#define MAX_COMMENT   65535
#define MAX_ENTRIES   131072
#define FLAG_SECRET   1u
#define NOT_IN_32     0xffffffffu
#define EXTRA_IN_64   1u
#define LOCAL_MARK    0x04034b50u
#define ENTRY_MARK    0x02014b50u
#define END_MARK      0x06054b50u
#define LOCATOR_MARK  0x07064b50u
#define END64_MARK    0x06064b50u
#define LOCATOR_BYTES 20

static int broken(const oto_weights *w, const char *what, oto_err *e)
{
    return oto_weights_fail(w, e, OTO_E_INPUT, "%s is cut off or garbled", what);
}

/* A reader over the rest of the file from `at`; bad when that is beyond it. */
static oto_reader reader_at(oto_slice file, uint64_t at)
{
    oto_reader r;

    oto_reader_init(&r, file.p, file.n);
    oto_read_bytes(&r, at);
    return r;
}

typedef struct {
    uint64_t n, at, bytes; /* the directory */
} directory;

/* Where the record of the archive's end is, with its comment of up to 64 kB behind it. */
static bool find_end(oto_slice file, size_t *at)
{
    if (file.n < END_BYTES)
        return false;
    for (size_t comment = 0; comment <= OTO_MIN(file.n - END_BYTES, MAX_COMMENT); comment++) {
        oto_reader r = reader_at(file, *at = file.n - END_BYTES - comment);

        if (oto_read_u32(&r) != END_MARK)
            continue;
        oto_read_bytes(&r, 16);
        if (oto_read_u16(&r) == comment)
            return true;
    }
    return false;
}

static int read_end64(const oto_weights *w, oto_slice file, size_t end, directory *d, oto_err *e)
{
    oto_reader r = reader_at(file, end < LOCATOR_BYTES ? file.n : end - LOCATOR_BYTES);
    const bool there = oto_read_u32(&r) == LOCATOR_MARK;

    oto_read_u32(&r);
    r = reader_at(file, oto_read_u64(&r));
    if (!there || oto_read_u32(&r) != END64_MARK)
        return broken(w, "the archive's end", e);
    oto_read_bytes(&r, 28); /* size, versions, disks, entries of this disk */
    d->n = oto_read_u64(&r);
    d->bytes = oto_read_u64(&r);
    d->at = oto_read_u64(&r);
    return r.bad ? broken(w, "the archive's end", e) : 0;
}

static int read_end(const oto_weights *w, oto_slice file, directory *d, oto_err *e)
{
    size_t at = 0;
    oto_reader r;
    int rc = 0;

    if (!find_end(file, &at))
        return oto_weights_fail(w, e, OTO_E_INPUT, "the end of the archive is missing: cut off?");
    r = reader_at(file, at);
    oto_read_bytes(&r, 10);
    d->n = oto_read_u16(&r);
    d->bytes = oto_read_u32(&r);
    d->at = oto_read_u32(&r);
    if (d->n == 0xffff || d->bytes == NOT_IN_32 || d->at == NOT_IN_32)
        rc = read_end64(w, file, at, d, e);
    if (rc == 0 && (d->at > file.n || d->bytes > file.n - d->at || d->n > MAX_ENTRIES ||
                    d->n > d->bytes / ENTRY_BYTES))
        rc = broken(w, "the archive's directory", e);
    return rc;
}

/* The sizes and the place that did not fit into 32 bits, in this order. */
static bool read_extra(oto_slice extra, uint64_t *const wide[3])
{
    oto_reader r, field;

    oto_reader_init(&r, extra.p, extra.n);
    while (oto_reader_left(&r) >= 4) {
        const uint16_t kind = oto_read_u16(&r), n = oto_read_u16(&r);
        const uint8_t *p = oto_read_bytes(&r, n);

        if (p == NULL)
            return false;
        if (kind != EXTRA_IN_64)
            continue;
        oto_reader_init(&field, p, n);
        for (int i = 0; i < 3; i++)
            if (*wide[i] == NOT_IN_32)
                *wide[i] = oto_read_u64(&field);
        return !field.bad;
    }
    return true;
}

/* The bytes behind the local header at `at`; false when they are not all in front of the directory.
 */
static bool find_bytes(oto_slice file, const directory *d, uint64_t at, uint64_t n, oto_slice *out)
{
    oto_reader r = reader_at(file, at);
    const bool there = oto_read_u32(&r) == LOCAL_MARK;
    uint32_t name, extra;

    oto_read_bytes(&r, 22);
    name = oto_read_u16(&r);
    extra = oto_read_u16(&r);
    oto_read_bytes(&r, (uint64_t)name + extra);
    out->p = (const char *)oto_read_bytes(&r, n);
    out->n = (size_t)n;
    return there && !r.bad && r.at <= d->at;
}

static int read_entry(const oto_weights *w, oto_slice file, const directory *d, oto_reader *r,
                      oto_zip_entry *out, oto_err *e)
{
    const bool there = oto_read_u32(r) == ENTRY_MARK;
    uint64_t at, packed, bytes;
    uint64_t *const wide[3] = {&bytes, &packed, &at};
    uint16_t flags, method, name, extra, comment;
    oto_slice more;
    char shown[64];

    oto_read_u32(r); /* versions */
    flags = oto_read_u16(r);
    method = oto_read_u16(r);
    oto_read_u64(r); /* time, checksum */
    packed = oto_read_u32(r);
    bytes = oto_read_u32(r);
    name = oto_read_u16(r);
    extra = oto_read_u16(r);
    comment = oto_read_u16(r);
    oto_read_u64(r); /* disk, attributes */
    at = oto_read_u32(r);
    out->name = (oto_slice){(const char *)oto_read_bytes(r, name), name};
    more = (oto_slice){(const char *)oto_read_bytes(r, extra), extra};
    oto_read_bytes(r, comment);
    if (!there || r->bad || !read_extra(more, wide))
        return broken(w, "the archive's directory", e);
    out->packed = method != 0 || (flags & FLAG_SECRET) != 0;
    if ((!out->packed && packed != bytes) || !find_bytes(file, d, at, packed, &out->bytes))
        return oto_weights_fail(w, e, OTO_E_INPUT, "%s of the archive is cut off or garbled",
                                oto_shown(out->name, shown));
    return 0;
}

static int compare(oto_slice a, oto_slice b)
{
    const int order = memcmp(a.p, b.p, OTO_MIN(a.n, b.n));

    return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

static int by_name(const void *a, const void *b)
{
    return compare(((const oto_zip_entry *)a)->name, ((const oto_zip_entry *)b)->name);
}

bool oto_zip_sort(oto_zip *z)
{
    if (z->n > 1)
        qsort(z->v, z->n, sizeof *z->v, by_name);
    for (size_t i = 1; i < z->n; i++)
        if (by_name(&z->v[i - 1], &z->v[i]) == 0)
            return false;
    return true;
}

oto_zip_entry *oto_zip_find(const oto_zip *z, oto_slice name)
{
    size_t low = 0, high = z->n;

    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const int order = compare(name, z->v[middle].name);

        if (order == 0)
            return &z->v[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

int oto_zip_read(const oto_weights *w, oto_slice file, oto_arena *a, oto_zip *out, oto_err *e)
{
    directory d = {0};
    oto_reader r;
    int rc = read_end(w, file, &d, e);

    *out = (oto_zip){0};
    if (rc != 0 || (rc = oto_arena_get(a, (size_t)d.n, sizeof *out->v, &out->v, e)) != 0)
        return rc;
    oto_reader_init(&r, file.p + d.at, (size_t)d.bytes);
    for (; out->n < d.n && rc == 0; out->n++)
        rc = read_entry(w, file, &d, &r, &out->v[out->n], e);
    if (rc == 0 && !oto_zip_sort(out))
        rc = oto_weights_fail(w, e, OTO_E_INPUT, "the archive has an entry twice");
    return rc;
}
