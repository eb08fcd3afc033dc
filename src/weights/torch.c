/* PyTorch's checkpoints (torch.save of a state dict), read in place, and what FunASR puts beside
 * them.
 *
 * Since 1.6 a checkpoint is a zip archive, not compressed:
 *
 *   NAME/data.pkl    a pickle of {"encoder.…weight": tensor, …}, perhaps inside {"state_dict": …}
 *   NAME/data/KEY    the numbers of a storage       NAME/byteorder   "little", when it is there
 *
 * A tensor is a call of torch._utils._rebuild_tensor_v2(storage, offset, size, stride, …), a
 * storage a reference ("storage", torch.FloatStorage, KEY, "cpu", numbers). Before, the file was
 * pickles one after the other: a magic number, a version, the machine's properties, the object, the
 * list of keys; then for each key an i64 and the numbers.
 *
 * No code of the file is run: see pickle.c. Tensors whose numbers lie in order stay in the map;
 * transposed and expanded ones, which are rare and small, are written out. */
#include "weights/parts.h"

#include <string.h>

#define SCRATCH_BYTES ((size_t)256 << 20)
#define MAX_WRITTEN   ((size_t)64 << 20) /* of a tensor that is not in order */

/* A pickle of the magic number 0x1950a86a20f9469cfc6c, whole. */
static const uint8_t old_magic[] = {0x80, 0x02, 0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46,
                                    0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e};

enum { DICTIONARY, TENSOR_2, TENSOR_1, PARAMETER, SIZE, STORAGE };

static const struct {
    const char *type; /* of the numbers */
    int is;           /* an oto_ttype; -1: none of ours */
    size_t bytes;     /* of one */
} storages[] = {
    {"f32", OTO_T_F32, 4}, {"f16", OTO_T_F16, 2}, {"bf16", OTO_T_BF16, 2}, {"i64", OTO_T_I64, 8},
    {"i32", OTO_T_I32, 4}, {"i16", OTO_T_I16, 2}, {"i8", OTO_T_I8, 1},     {"f64", -1, 8},
    {"u8", -1, 1},         {"bool", -1, 1},
};

static const oto_pickle_global globals[] = {
    {"collections", "OrderedDict", DICTIONARY},
    {"torch._utils", "_rebuild_tensor_v2", TENSOR_2},
    {"torch._utils", "_rebuild_tensor", TENSOR_1},
    {"torch._utils", "_rebuild_parameter", PARAMETER},
    {"torch", "Size", SIZE},
    {"torch", "FloatStorage", STORAGE + 0},
    {"torch", "HalfStorage", STORAGE + 1},
    {"torch", "BFloat16Storage", STORAGE + 2},
    {"torch", "LongStorage", STORAGE + 3},
    {"torch", "IntStorage", STORAGE + 4},
    {"torch", "ShortStorage", STORAGE + 5},
    {"torch", "CharStorage", STORAGE + 6},
    {"torch", "DoubleStorage", STORAGE + 7},
    {"torch", "ByteStorage", STORAGE + 8},
    {"torch", "BoolStorage", STORAGE + 9},
};

typedef struct {
    oto_weights *w;
    oto_err *e;
    oto_arena *scratch;
    oto_zip files;    /* of the archive; of an old file: its storages by key */
    oto_slice prefix; /* "NAME/data/" of the archive */
    oto_pickle_result pickle;
} checkpoint;

static bool torch_matches(const uint8_t *p, size_t n, uint64_t file_bytes)
{
    (void)file_bytes;
    return (n >= 4 && memcmp(p, "PK\3\4", 4) == 0) ||
           (n >= sizeof old_magic && memcmp(p, old_magic, sizeof old_magic) == 0);
}

static int read_pickle(checkpoint *c, oto_reader *r, oto_pickle_result *out)
{
    return oto_pickle_read(c->w, r, globals, OTO_COUNT(globals), c->scratch, out, c->e);
}

/* ---- storages ---- */

typedef struct {
    oto_slice key;
    int which; /* of storages[] */
    uint64_t n;
} storage;

static bool is_storage(const oto_pickle *p)
{
    return p->kind == OTO_PICKLE_SAVED && p->n >= 5 && p->v[0]->kind == OTO_PICKLE_STR &&
           oto_slice_is(p->v[0]->s, "storage") && p->v[1]->kind == OTO_PICKLE_GLOBAL &&
           p->v[1]->id >= STORAGE && p->v[2]->kind == OTO_PICKLE_STR &&
           p->v[4]->kind == OTO_PICKLE_INT && p->v[4]->i >= 0 &&
           (p->n == 5 || p->v[5]->kind == OTO_PICKLE_NONE); /* views of storages: long gone */
}

static storage storage_of(const oto_pickle *p)
{
    return (storage){p->v[2]->s, p->v[1]->id - STORAGE, (uint64_t)p->v[4]->i};
}

static int find_storage(checkpoint *c, oto_slice name, const storage *s, oto_slice *out)
{
    const size_t item = storages[s->which].bytes;
    char key[64], file[300];
    const oto_zip_entry *f;

    if (c->prefix.n + s->key.n > sizeof file)
        return oto_weights_fail(c->w, c->e, OTO_E_INPUT, "a storage with an overlong name");
    memcpy(file, c->prefix.p, c->prefix.n);
    memcpy(file + c->prefix.n, s->key.p, s->key.n);
    f = oto_zip_find(&c->files, (oto_slice){file, c->prefix.n + s->key.n});
    if (f == NULL || f->bytes.p == NULL)
        return oto_weights_fail(c->w, c->e, OTO_E_INPUT,
                                "tensor %.*s: its storage %s is not in the file",
                                (int)OTO_MIN(name.n, (size_t)100), name.p, oto_shown(s->key, key));
    if (f->packed)
        return oto_weights_fail(c->w, c->e, OTO_E_UNSUPPORTED,
                                "%s is compressed: save the checkpoint again with torch.save",
                                oto_shown(f->name, key));
    if (s->n > f->bytes.n / item)
        return oto_weights_fail(
            c->w, c->e, OTO_E_INPUT, "storage %s has %zu bytes, %llu numbers of %s are expected",
            oto_shown(s->key, key), f->bytes.n, (unsigned long long)s->n, storages[s->which].type);
    *out = (oto_slice){f->bytes.p, (size_t)s->n * item};
    return 0;
}

/* ---- tensors ---- */

typedef struct {
    oto_tensor t;
    oto_slice name;
    storage from;
    int64_t offset, stride[OTO_MAX_RANK];
} placed;

static int bad_tensor(const checkpoint *c, const placed *p, const char *what)
{
    return oto_weights_fail(c->w, c->e, OTO_E_INPUT, "tensor %.*s %s",
                            (int)OTO_MIN(p->name.n, (size_t)100), p->name.p, what);
}

static bool read_ints(const oto_pickle *p, int64_t out[OTO_MAX_RANK])
{
    for (size_t i = 0; i < p->n; i++) {
        if (p->v[i]->kind != OTO_PICKLE_INT || p->v[i]->i < 0)
            return false;
        out[i] = p->v[i]->i;
    }
    return true;
}

/* A shape is a tuple, or torch.Size of one. */
static const oto_pickle *tuple_of(const oto_pickle *p)
{
    if (p->kind == OTO_PICKLE_CALL && p->id == SIZE && p->n == 1)
        p = p->v[0];
    return p->kind == OTO_PICKLE_TUPLE ? p : NULL;
}

/* The arguments of the call that would make the tensor. */
static int read_call(checkpoint *c, const oto_pickle *call, placed *p)
{
    const oto_pickle *size, *stride;

    if (call->n < 4 || !is_storage(call->v[0]) || call->v[1]->kind != OTO_PICKLE_INT ||
        call->v[1]->i < 0 || (size = tuple_of(call->v[2])) == NULL ||
        (stride = tuple_of(call->v[3])) == NULL || size->n != stride->n)
        return bad_tensor(c, p, "is not described as tensors are");
    if (size->n > OTO_MAX_RANK)
        return bad_tensor(c, p, "has more than 4 dimensions");
    if (!read_ints(size, p->t.dim) || !read_ints(stride, p->stride))
        return bad_tensor(c, p, "has a shape that is not numbers from 0 on");
    p->from = storage_of(call->v[0]);
    p->offset = call->v[1]->i;
    p->t.rank = (int)size->n;
    if (storages[p->from.which].is < 0)
        return oto_weights_fail(
            c->w, c->e, OTO_E_UNSUPPORTED, "tensor %.*s is of type %s, which is not supported",
            (int)OTO_MIN(p->name.n, (size_t)100), p->name.p, storages[p->from.which].type);
    p->t.type = (oto_ttype)storages[p->from.which].is;
    if (!oto_ttype_bytes(p->t.type, p->t.rank, p->t.dim, &p->t.n_bytes))
        return bad_tensor(c, p, "has a shape beyond all memory");
    return 0;
}

static bool in_order(const placed *p)
{
    int64_t expected = 1;

    for (int i = p->t.rank - 1; i >= 0; i--) {
        if (p->t.dim[i] != 1 && p->stride[i] != expected)
            return false;
        expected *= p->t.dim[i];
    }
    return true;
}

/* One past the last number the tensor reaches, of its storage. False: beyond all bounds. */
static bool reach(const placed *p, uint64_t *out)
{
    *out = (uint64_t)p->offset + 1;
    for (int i = 0; i < p->t.rank; i++) {
        uint64_t step;

        if (__builtin_mul_overflow((uint64_t)(p->t.dim[i] - 1), (uint64_t)p->stride[i], &step) ||
            __builtin_add_overflow(*out, step, out))
            return false;
    }
    return true;
}

/* Row by row into memory of its own. */
static int write_out(checkpoint *c, placed *p, const char *from)
{
    const size_t item = storages[p->from.which].bytes;
    int64_t at[OTO_MAX_RANK] = {0};
    char *out;
    int rc;

    if (p->t.n_bytes > MAX_WRITTEN)
        return bad_tensor(c, p, "is not contiguous and too large to be copied");
    if ((rc = oto_arena_get(c->w->a, p->t.n_bytes, 1, &out, c->e)) != 0)
        return rc;
    p->t.data = out;
    for (size_t done = 0; done < p->t.n_bytes; done += item, out += item) {
        int64_t i = 0;

        for (int k = 0; k < p->t.rank; k++)
            i += at[k] * p->stride[k];
        memcpy(out, from + (size_t)i * item, item);
        for (int k = p->t.rank - 1; k >= 0 && ++at[k] == p->t.dim[k]; k--)
            at[k] = 0;
    }
    return 0;
}

static int place(checkpoint *c, placed *p)
{
    const size_t item = storages[p->from.which].bytes;
    oto_slice bytes = {0};
    uint64_t end;
    int rc = find_storage(c, p->name, &p->from, &bytes);

    if (rc != 0)
        return rc;
    if (p->t.n_bytes == 0) {
        p->t.data = bytes.p;
        return 0;
    }
    if (!reach(p, &end) || end > bytes.n / item)
        return bad_tensor(c, p, "reaches past the end of its storage");
    p->t.data = bytes.p + (size_t)p->offset * item;
    return in_order(p) ? 0 : write_out(c, p, p->t.data);
}

/* FunASR's training wraps models, which puts "module." before every name. */
static oto_slice plain_name(oto_slice s)
{
    static const char prefix[] = "module.";
    const size_t n = sizeof prefix - 1;

    return s.n > n && memcmp(s.p, prefix, n) == 0 ? (oto_slice){s.p + n, s.n - n} : s;
}

static int add_tensor(checkpoint *c, oto_slice name, const oto_pickle *value)
{
    placed p = {.name = plain_name(name)};
    int rc;

    if (value->kind == OTO_PICKLE_CALL && value->id == PARAMETER && value->n > 0)
        value = value->v[0];
    if (value->kind != OTO_PICKLE_CALL || (value->id != TENSOR_2 && value->id != TENSOR_1))
        return 0; /* numbers, versions, settings */
    if ((rc = read_call(c, value, &p)) != 0 || (rc = place(c, &p)) != 0)
        return rc;
    p.t.name = p.name.p;
    return oto_weights_add(c->w, &p.t, p.name.n, c->e);
}

/* Opened in the order in which FunASR opens them. */
static const oto_pickle *state_dict(const oto_pickle *root)
{
    static const char *const keys[] = {"state_dict", "model_state_dict", "model"};

    for (size_t i = 0; i < OTO_COUNT(keys); i++) {
        const oto_pickle *inner = oto_pickle_get(root, keys[i]);

        if (inner != NULL && inner->kind == OTO_PICKLE_DICT)
            root = inner;
    }
    return root;
}

static int add_tensors(checkpoint *c)
{
    const oto_pickle *dict = state_dict(c->pickle.root);
    int rc = 0;

    if (dict->kind != OTO_PICKLE_DICT)
        return oto_weights_fail(c->w, c->e, OTO_E_UNSUPPORTED,
                                "the checkpoint is no dictionary of tensors");
    for (size_t i = 0; i + 1 < dict->n && rc == 0; i += 2)
        if (dict->v[i]->kind == OTO_PICKLE_STR)
            rc = add_tensor(c, dict->v[i]->s, dict->v[i + 1]);
    return rc;
}

/* ---- the archive ---- */

/* "NAME/data.pkl", of which there is one. */
static const oto_zip_entry *find_pickle(const oto_zip *z)
{
    static const char tail[] = "/data.pkl";
    const size_t n = sizeof tail - 1;

    for (size_t i = 0; i < z->n; i++) {
        const oto_slice s = z->v[i].name;

        if (s.n > n && memcmp(s.p + s.n - n, tail, n) == 0 && memchr(s.p, '/', s.n - n) == NULL)
            return &z->v[i];
    }
    return NULL;
}

static int check_byte_order(checkpoint *c, oto_slice folder)
{
    char name[300];
    const oto_zip_entry *f;
    const int n =
        snprintf(name, sizeof name, "%.*s/byteorder", (int)OTO_MIN(folder.n, 256), folder.p);

    f = oto_zip_find(&c->files, (oto_slice){name, (size_t)n});
    return f == NULL || oto_slice_is(f->bytes, "little")
               ? 0
               : oto_weights_fail(c->w, c->e, OTO_E_UNSUPPORTED, "written on a big-endian machine");
}

static int read_archive(checkpoint *c)
{
    const oto_zip_entry *f;
    oto_slice folder;
    char *prefix;
    oto_reader r;
    int rc = oto_zip_read(c->w, c->w->main, c->scratch, &c->files, c->e);

    if (rc != 0)
        return rc;
    if ((f = find_pickle(&c->files)) == NULL)
        return oto_weights_fail(c->w, c->e, OTO_E_INPUT,
                                "is a zip archive, but no PyTorch checkpoint: no data.pkl in it");
    if (f->packed)
        return oto_weights_fail(c->w, c->e, OTO_E_UNSUPPORTED,
                                "data.pkl is compressed: save the checkpoint again with "
                                "torch.save");
    folder = (oto_slice){f->name.p, f->name.n - strlen("/data.pkl")};
    if ((rc = check_byte_order(c, folder)) != 0 ||
        (rc = oto_arena_get(c->scratch, folder.n + 16, 1, &prefix, c->e)) != 0)
        return rc;
    memcpy(prefix, folder.p, folder.n);
    memcpy(prefix + folder.n, "/data/", 6);
    c->prefix = (oto_slice){prefix, folder.n + 6};
    oto_reader_init(&r, f->bytes.p, f->bytes.n);
    return read_pickle(c, &r, &c->pickle);
}

/* ---- the old form ---- */

/* Every storage that the object refers to, once: for the time being without bytes, and with the
 * size of one number as theirs. */
static int list_storages(checkpoint *c)
{
    const oto_pickle *saved = &c->pickle.saved;
    oto_zip_entry *v;
    size_t n = 0;
    int rc = oto_arena_get(c->scratch, saved->n + 1, sizeof *v, &v, c->e);

    if (rc != 0)
        return rc;
    for (size_t i = 0; i < saved->n; i++) {
        if (!is_storage(saved->v[i]))
            return oto_weights_fail(c->w, c->e, OTO_E_UNSUPPORTED,
                                    "refers to something that is no storage");
        const storage s = storage_of(saved->v[i]);
        v[i] = (oto_zip_entry){.name = s.key, .bytes = {NULL, storages[s.which].bytes}};
    }
    c->files = (oto_zip){v, saved->n};
    if (oto_zip_sort(&c->files))
        return 0;
    for (size_t i = 0; i < saved->n; i++) /* shared by several tensors */
        if (n == 0 || v[n - 1].name.n != v[i].name.n ||
            memcmp(v[n - 1].name.p, v[i].name.p, v[i].name.n) != 0)
            v[n++] = v[i];
    c->files.n = n;
    return 0;
}

static int read_storages(checkpoint *c, oto_reader *r, const oto_pickle *keys)
{
    for (size_t i = 0; i < keys->n; i++) {
        const oto_pickle *key = keys->v[i];
        oto_zip_entry *f = key->kind == OTO_PICKLE_STR ? oto_zip_find(&c->files, key->s) : NULL;
        const uint64_t n = oto_read_u64(r);
        size_t bytes;

        if (f == NULL || f->bytes.p != NULL)
            return oto_weights_fail(c->w, c->e, OTO_E_INPUT,
                                    "its list of storages is not that of its tensors");
        if (n > SIZE_MAX || !oto_mul_size((size_t)n, f->bytes.n, &bytes) ||
            (f->bytes.p = (const char *)oto_read_bytes(r, bytes)) == NULL)
            return oto_weights_fail(c->w, c->e, OTO_E_INPUT,
                                    "storage %zu reaches past the end of the file", i);
        f->bytes.n = bytes;
    }
    return 0;
}

static int read_old(checkpoint *c)
{
    oto_pickle_result version, machine, keys;
    const oto_pickle *little;
    oto_reader r;
    int rc;

    oto_reader_init(&r, c->w->main.p, c->w->main.n);
    oto_read_bytes(&r, sizeof old_magic);
    if ((rc = read_pickle(c, &r, &version)) != 0 || (rc = read_pickle(c, &r, &machine)) != 0 ||
        (rc = read_pickle(c, &r, &c->pickle)) != 0 || (rc = read_pickle(c, &r, &keys)) != 0 ||
        (rc = list_storages(c)) != 0)
        return rc;
    little = oto_pickle_get(machine.root, "little_endian");
    if (little != NULL && little->kind == OTO_PICKLE_BOOL && little->i == 0)
        return oto_weights_fail(c->w, c->e, OTO_E_UNSUPPORTED, "written on a big-endian machine");
    if (keys.root->kind != OTO_PICKLE_LIST || keys.root->n > 65536)
        return oto_weights_fail(c->w, c->e, OTO_E_INPUT, "its list of storages is none");
    return read_storages(c, &r, keys.root);
}

/* ---- the file ---- */

static int torch_parse(oto_weights *w, oto_err *e)
{
    checkpoint c = {.w = w, .e = e, .prefix = {"", 0}};
    int rc = oto_arena_new("checkpoint", SCRATCH_BYTES, &c.scratch, e);

    if (rc != 0)
        return rc;
    rc = w->main.n > 0 && w->main.p[0] == 'P' ? read_archive(&c) : read_old(&c);
    if (rc == 0)
        rc = add_tensors(&c);
    oto_arena_free(c.scratch);
    return rc == 0 ? oto_funasr_beside(w, e) : rc;
}

const oto_format oto_format_torch = {
    .name = "torch", .main_file = "model.pt", .matches = torch_matches, .parse = torch_parse};
