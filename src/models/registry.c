/* registry: which families there are, and how a file of any supported form becomes an open model.
 *
 * A packed file is mapped and bound. Anything else is packed first: `open` does it into a sealed
 * memory file, which every process that inherits the descriptor shares; `convert` into a file. */
#include "models/family.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const oto_family *const families[] = {&oto_family_whisper, &oto_family_paraformer,
                                             &oto_family_sensevoice, &oto_family_fsmn_vad,
                                             &oto_family_ct_punc};

static const struct {
    const char *name;
    oto_compute compute;
} computes[] = {
    {"auto", OTO_COMPUTE_AUTO},
    {"f32", OTO_COMPUTE_F32},
    {"bf16", OTO_COMPUTE_BF16},
    {"int8", OTO_COMPUTE_I8},
};

int oto_compute_parse(const char *s, oto_compute *out)
{
    for (size_t i = 0; i < OTO_COUNT(computes); i++)
        if (strcmp(s, computes[i].name) == 0) {
            *out = computes[i].compute;
            return 0;
        }
    return -1;
}

const char *oto_compute_name(oto_compute c)
{
    for (size_t i = 0; i < OTO_COUNT(computes); i++)
        if (computes[i].compute == c)
            return computes[i].name;
    return "?";
}

static bool is_packed(const oto_weights *w)
{
    int64_t version;

    return strcmp(oto_weights_format(w), "gguf") == 0 &&
           oto_weights_int(w, "otolith.version", &version);
}

/* ---- opening ---- */

static int packed_compute(const oto_weights *w, oto_compute wanted, oto_compute *out, oto_err *e)
{
    oto_slice s;
    char name[16];

    if (!oto_weights_str(w, "otolith.compute", &s) || s.n >= sizeof name)
        return oto_fail(e, OTO_E_INPUT, "%s: no otolith.compute in the metadata",
                        oto_weights_path(w));
    memcpy(name, s.p, s.n);
    name[s.n] = '\0';
    if (oto_compute_parse(name, out) != 0 || *out == OTO_COMPUTE_AUTO)
        return oto_fail(e, OTO_E_INPUT, "%s: unknown precision in otolith.compute",
                        oto_weights_path(w));
    if (wanted != OTO_COMPUTE_AUTO && wanted != *out)
        return oto_fail(e, OTO_E_UNSUPPORTED, "%s: packed for %s, %s was asked for",
                        oto_weights_path(w), name, oto_compute_name(wanted));
    return 0;
}

static int packed_family(const oto_weights *w, const oto_family **out, oto_err *e)
{
    oto_slice s;

    if (!oto_weights_str(w, "general.architecture", &s))
        return oto_fail(e, OTO_E_INPUT, "%s: no general.architecture in the metadata",
                        oto_weights_path(w));
    for (size_t i = 0; i < OTO_COUNT(families); i++)
        if (strlen(families[i]->name) == s.n && memcmp(families[i]->name, s.p, s.n) == 0) {
            *out = families[i];
            return 0;
        }
    return oto_fail(e, OTO_E_UNSUPPORTED, "%s: unknown model family %.*s", oto_weights_path(w),
                    (int)OTO_MIN(s.n, (size_t)40), s.p);
}

/* Takes `w` over, also when it fails. */
static int bind_packed(oto_weights *w, oto_compute wanted, oto_model **out, oto_err *e)
{
    oto_model *m = calloc(1, sizeof *m);
    int64_t version;
    int rc;

    if (m == NULL) {
        oto_weights_close(w);
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    }
    m->weights = w;
    rc = oto_get_int(w, "otolith.version", OTO_PACKED_VERSION, OTO_PACKED_VERSION, &version, e);
    if (rc == 0)
        rc = packed_family(w, &m->family, e);
    if (rc == 0)
        rc = packed_compute(w, wanted, &m->info.compute, e);
    if (rc == 0) {
        m->info.family = m->family->name;
        m->info.task = m->family->task;
        m->info.bytes = oto_weights_bytes(w);
        rc = m->family->open(w, m->info.compute, &m->impl, &m->info, e);
    }
    if (rc != 0) {
        oto_model_close(m);
        return rc;
    }
    *out = m;
    return 0;
}

void oto_model_close(oto_model *m)
{
    if (m == NULL)
        return;
    if (m->impl != NULL)
        m->family->close(m->impl);
    oto_weights_close(m->weights);
    free(m);
}

void oto_model_info_get(const oto_model *m, oto_model_info *out)
{
    *out = m->info;
}

/* ---- packing ---- */

static int foreign_family(const oto_weights *src, const oto_family **out, oto_err *e)
{
    for (size_t i = 0; i < OTO_COUNT(families); i++)
        if (families[i]->matches(src)) {
            *out = families[i];
            return 0;
        }
    return oto_fail(e, OTO_E_UNSUPPORTED, "%s: a %s file, but not of a model known here",
                    oto_weights_path(src), oto_weights_format(src));
}

/* Room for the packed tensors of any model: as f32 a file of int8 grows to four times its size, and
 * an arena's cap costs only address space. */
static size_t pack_cap(const oto_weights *src)
{
    size_t cap;

    if (!oto_mul_size(oto_weights_bytes(src), 5, &cap) || cap > SIZE_MAX / 2)
        return SIZE_MAX / 2;
    return cap + ((size_t)64 << 20);
}

static int fill_writer(const oto_weights *src, oto_compute compute, oto_gguf_writer *dst,
                       oto_arena *a, oto_err *e)
{
    const oto_family *family = NULL;
    int rc = foreign_family(src, &family, e);

    if (rc != 0)
        return rc;
    if (compute == OTO_COMPUTE_AUTO)
        compute = family->task == OTO_TASK_VAD ? OTO_COMPUTE_F32 : OTO_COMPUTE_I8;
    if ((rc = oto_gguf_put_str(dst, "general.architecture", family->name, e)) != 0 ||
        (rc = oto_gguf_put_str(dst, "otolith.compute", oto_compute_name(compute), e)) != 0 ||
        (rc = oto_gguf_put_int(dst, "otolith.version", OTO_PACKED_VERSION, e)) != 0)
        return rc;
    return family->pack(src, compute, dst, a, e);
}

/* To `path`, or to `fd` when path is NULL. */
static int pack(const oto_weights *src, oto_compute compute, const char *path, int fd, oto_err *e)
{
    oto_gguf_writer *dst = NULL;
    oto_arena *a = NULL;
    int rc;

    if ((rc = oto_arena_new("packing", pack_cap(src), &a, e)) != 0 ||
        (rc = oto_gguf_writer_new(&dst, e)) != 0 ||
        (rc = fill_writer(src, compute, dst, a, e)) != 0)
        goto done;
    rc = path != NULL ? oto_gguf_finish(dst, path, e) : oto_gguf_finish_fd(dst, fd, e);
done:
    oto_gguf_writer_free(dst);
    oto_arena_free(a);
    return rc;
}

static int pack_to_memory(const oto_weights *src, oto_compute compute, oto_weights **out,
                          oto_err *e)
{
    const int fd = memfd_create("otolith-model", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    int rc;

    if (fd < 0)
        return oto_fail_errno(e, "%s: memory file", oto_weights_path(src));
    rc = pack(src, compute, NULL, fd, e);
    if (rc == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL))
        rc = oto_fail_errno(e, "%s: sealing the memory file", oto_weights_path(src));
    if (rc == 0)
        rc = oto_weights_open_fd(fd, oto_weights_path(src), out, e);
    close(fd);
    return rc;
}

int oto_model_open(const char *path, oto_compute compute, oto_model **out, oto_err *e)
{
    oto_weights *src, *packed;
    int rc;

    if ((rc = oto_weights_open(path, &src, e)) != 0)
        return rc;
    if (is_packed(src))
        return bind_packed(src, compute, out, e);
    rc = pack_to_memory(src, compute, &packed, e);
    oto_weights_close(src);
    if (rc != 0)
        return rc;
    return bind_packed(packed, compute, out, e);
}

/* DST must not replace the file being read; a rename over it would, silently. */
static int not_same_file(const char *src, const char *dst, oto_err *e)
{
    struct stat s, d;

    if (stat(src, &s) == 0 && stat(dst, &d) == 0) {
        if (S_ISDIR(d.st_mode))
            return oto_fail(e, OTO_E_USAGE, "%s: is a folder; name the file to write", dst);
        if (s.st_dev == d.st_dev && s.st_ino == d.st_ino)
            return oto_fail(e, OTO_E_USAGE, "%s: source and destination are the same file", dst);
    }
    return 0;
}

/* Written under another name in the same folder, read back, and only then renamed. */
int oto_model_convert(const char *src, const char *dst, oto_compute compute, oto_err *e)
{
    oto_weights *w = NULL;
    oto_model *check = NULL;
    char part[4096];
    int rc;

    if ((size_t)snprintf(part, sizeof part, "%s.%ld.new", dst, (long)getpid()) >= sizeof part)
        return oto_fail(e, OTO_E_USAGE, "%s: the name is too long", dst);
    if ((rc = not_same_file(src, dst, e)) != 0 || (rc = oto_weights_open(src, &w, e)) != 0)
        return rc;
    if (is_packed(w))
        rc = oto_fail(e, OTO_E_UNSUPPORTED, "%s: is packed already", src);
    else
        rc = pack(w, compute, part, -1, e);
    oto_weights_close(w);
    if (rc != 0)
        return rc;
    rc = oto_model_open(part, OTO_COMPUTE_AUTO, &check, e);
    oto_model_close(check);
    if (rc == 0 && rename(part, dst) != 0)
        rc = oto_fail_errno(e, "%s", dst);
    if (rc != 0)
        unlink(part);
    return rc;
}
