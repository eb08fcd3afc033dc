/* formats (private to this folder): what a weight format is, and how its parser fills an
 * oto_weights.
 *
 * A format is one file with one `const oto_format`, and one line in the table of open.c. Its
 * `parse` sees the main file as one read-only block (w->main) and asks for the files beside it by
 * name. It reports each tensor and each piece of metadata through the functions of contents.c,
 * which check what is common to all formats: names (present, not twice, no NUL), rank, dimensions
 * (no overflow), size in bytes against type and shape, and that the data lie inside the main file
 * or in the object's own arena. Every failure is returned at once; the caller throws the
 * half-filled object away. */
#ifndef OTO_WEIGHTS_FORMATS_H
#define OTO_WEIGHTS_FORMATS_H

#include "weights/weights.h"

typedef struct {
    const char *name;      /* "onnx": what oto_weights_format returns */
    const char *main_file; /* "model.onnx": the file looked for when a folder is opened; NULL: no
                              folder form */
    /* Do these bytes (the file's first n ≤ 256, and its size) look like this format? Cheap; `parse`
     * judges. */
    bool (*matches)(const uint8_t *p, size_t n, uint64_t file_bytes);
    int (*parse)(oto_weights *w, oto_err *e);
} oto_format;

extern const oto_format oto_format_gguf, oto_format_ct2, oto_format_ggml, oto_format_onnx,
    oto_format_onnx_8bit, oto_format_torch;

/* How an array of numbers lies in memory (little endian, any alignment). Values are GGUF's type
 * ids. */
typedef enum {
    OTO_M_U8 = 0,
    OTO_M_I8 = 1,
    OTO_M_U16 = 2,
    OTO_M_I16 = 3,
    OTO_M_U32 = 4,
    OTO_M_I32 = 5,
    OTO_M_F32 = 6,
    OTO_M_BOOL = 7,
    OTO_M_STR = 8,
    OTO_M_ARRAY = 9,
    OTO_M_U64 = 10,
    OTO_M_I64 = 11,
    OTO_M_F64 = 12
} oto_mtype;

/* One string of an array: base[at .. at + n). */
typedef struct {
    uint32_t at, n;
} oto_span32;

typedef struct {
    const char *key;
    bool is_array;
    oto_mtype type;       /* of the value, or of the array's elements */
    int64_t i;            /* integers and bools */
    double f;             /* floats */
    oto_slice s;          /* a string; or an array's bytes (numbers), or the base of its strings */
    size_t n;             /* elements of an array */
    const oto_span32 *at; /* [n] strings of a string array */
} oto_meta;

/* A file beside the main one, given in memory (tests and fuzzing). */
typedef struct {
    const char *name; /* "config.json" */
    oto_slice bytes;
} oto_side_file;

struct oto_weights {
    const oto_format *format;
    char *path;     /* as the user named it: for messages */
    oto_slice main; /* the whole main file */
    oto_arena *a;   /* lives as long as the object: names, scales, converted data, tables */

    oto_tensor *tensors; /* [n_tensors] */
    size_t n_tensors, cap_tensors;
    struct {
        const char *name;
        uint32_t tensor;
    } * index; /* names and aliases → tensor; open addressing, a power of two, NULL name: free */
    size_t n_index, cap_index;
    oto_meta *metas; /* [n_metas] */
    size_t n_metas, cap_metas;

    char *dir;       /* folder of the main file; NULL: parsed from memory */
    oto_map maps[8]; /* maps[0]: the main file; then the files beside it */
    int n_maps;
    const oto_side_file *side; /* given in memory, until parse returns */
    size_t n_side;
};

/* Parses a block in memory: the entry for tests and fuzzing. main and side must outlive *out
 * (side's names need not). */
int oto_weights_parse(const oto_format *f, const char *name, oto_slice main,
                      const oto_side_file *side, size_t n_side, oto_weights **out,
                      oto_err *e) OTO_CHECK;

/* Fails with `code` and "PATH: …": what every parser's complaint begins with. */
int oto_weights_fail(const oto_weights *w, oto_err *e, int code, const char *fmt, ...)
    OTO_PRINTF(4, 5);

/* The whole file NAME beside the main one, valid as long as w. Fails with NOT_FOUND when there is
 * none. */
int oto_weights_beside(oto_weights *w, const char *name, oto_slice *out, oto_err *e) OTO_CHECK;
/* The same of the file whose name ends so; of several the first by name. */
int oto_weights_beside_like(oto_weights *w, const char *ending, oto_slice *out,
                            oto_err *e) OTO_CHECK;

/* Adds *t (copied). t->name [name_n bytes, need not be terminated] is copied into w->a. t->data
 * must lie inside w->main or a file from oto_weights_beside, or be memory of w->a. n_bytes must be
 * what type and dim make (t->n_bytes is checked, not computed). */
int oto_weights_add(oto_weights *w, const oto_tensor *t, size_t name_n, oto_err *e) OTO_CHECK;
/* A second name for a tensor that is there already. */
int oto_weights_alias(oto_weights *w, oto_slice alias, const char *target, oto_err *e) OTO_CHECK;
/* The writable form of what oto_weights_find returns, for parsers that complete a tensor later
 * (scales). */
oto_tensor *oto_weights_get(oto_weights *w, const char *name);

/* Keys are copied (key_n bytes); values are borrowed: they must lie in the main file, in a file
 * from oto_weights_beside, or in w->a. A key that is there already fails. */
int oto_weights_put_int(oto_weights *w, const char *key, int64_t v, oto_err *e) OTO_CHECK;
int oto_weights_put_f32(oto_weights *w, const char *key, double v, oto_err *e) OTO_CHECK;
int oto_weights_put_str(oto_weights *w, const char *key, oto_slice v, oto_err *e) OTO_CHECK;
/* n numbers of `type` one after the other at `p`, little endian, any alignment. */
int oto_weights_put_array(oto_weights *w, const char *key, oto_mtype type, const void *p, size_t n,
                          oto_err *e) OTO_CHECK;
/* n strings, string i at base + at[i].at. */
int oto_weights_put_strs(oto_weights *w, const char *key, const char *base, const oto_span32 *at,
                         size_t n, oto_err *e) OTO_CHECK;
/* The general form. */
int oto_weights_put(oto_weights *w, const oto_meta *m, size_t key_n, oto_err *e) OTO_CHECK;

/* Bytes of a tensor of this type and shape, false on overflow, unknown type or a row that is not
 * whole blocks. */
bool oto_ttype_bytes(oto_ttype type, int rank, const int64_t *dim, size_t *out);
/* Name for messages: "f16"; NULL: not a type we know. */
const char *oto_ttype_name(oto_ttype type);
size_t oto_mtype_bytes(oto_mtype type); /* 0: string, array or unknown */

#endif
