/* parts (private to this folder): the containers and side files that several formats are made of.
 *
 * All read foreign bytes through bounds; what they return points into those bytes or lives in the
 * arena that was passed. Complaints begin with w's path. */
#ifndef OTO_WEIGHTS_PARTS_H
#define OTO_WEIGHTS_PARTS_H

#include "weights/formats.h"

/* ---- bytes as words (slice.c) ---- */

bool oto_slice_is(oto_slice s, const char *z);
/* What is printable of up to 60 bytes, for messages. */
const char *oto_shown(oto_slice s, char out[64]);

/* ---- Protocol Buffers (protobuf.c): ONNX, SentencePiece ---- */

typedef struct {
    uint32_t number;
    uint64_t varint; /* of the wire types 0, 1 and 5 */
    oto_slice bytes; /* of wire type 2; else p is NULL */
} oto_proto_field;
uint64_t oto_proto_varint(oto_reader *r);
/* The next field; false at the end and (with r->bad) where the bytes make no sense. */
bool oto_proto_next(oto_reader *r, oto_proto_field *f);

/* ---- ONNX graphs (onnx.c, onnx_names.c) ---- */

typedef struct {
    oto_slice op, name, input[4], output; /* n 0: none; the first output */
} oto_onnx_node;

/* Gives w's tensors, which have the graph's names, those of the checkpoint as well, and matrices
 * the checkpoint's orientation. */
int oto_onnx_names(oto_weights *w, const oto_onnx_node *nodes, size_t n, oto_arena *scratch,
                   oto_err *e) OTO_CHECK;
/* Adds the tensors of an LSTM's layer, NAME.weight_ih_l0 and so on, in the checkpoint's order of
 * gates; in w->a. in, back and bias are ONNX's W, R and B. */
int oto_onnx_lstm(oto_weights *w, const char *name, int layer, oto_tensor in, oto_tensor back,
                  oto_tensor bias, oto_err *e) OTO_CHECK;

/* ---- zip archives (zip.c) ---- */

typedef struct {
    oto_slice name, bytes; /* as they lie in the file */
    bool packed;           /* compressed or encrypted: bytes are of no use here */
} oto_zip_entry;
typedef struct {
    oto_zip_entry *v; /* [n], sorted by name, no name twice */
    size_t n;
} oto_zip;
int oto_zip_read(const oto_weights *w, oto_slice file, oto_arena *a, oto_zip *out,
                 oto_err *e) OTO_CHECK;
/* Sorts what a caller has filled; false when a name is there twice. */
bool oto_zip_sort(oto_zip *z);
oto_zip_entry *oto_zip_find(const oto_zip *z, oto_slice name); /* NULL: not there */

/* ---- Python's pickles (pickle.c) ---- */

typedef enum {
    OTO_PICKLE_NONE,
    OTO_PICKLE_BOOL,
    OTO_PICKLE_INT,
    OTO_PICKLE_FLOAT,
    OTO_PICKLE_STR,
    OTO_PICKLE_BYTES,
    OTO_PICKLE_TUPLE,
    OTO_PICKLE_LIST,
    OTO_PICKLE_DICT,
    OTO_PICKLE_GLOBAL, /* a class or function, by its id: never anything that could be run */
    OTO_PICKLE_CALL,   /* what it would have been called with: v[0 … n) */
    OTO_PICKLE_SAVED   /* a reference to something outside the pickle: v[0 … n) */
} oto_pickle_kind;

typedef struct oto_pickle oto_pickle;
struct oto_pickle {
    oto_pickle_kind kind;
    int id; /* GLOBAL, CALL */
    union {
        int64_t i;
        double f;
        oto_slice s;
        struct {
            oto_pickle **v; /* of a DICT: key, value, key, value … */
            size_t n, cap;  /* pointers */
        };
    };
};

/* What may stand in a pickle; every other name is refused. An id of 0 is a class of dictionaries.
 */
typedef struct {
    const char *module, *name;
    int id;
} oto_pickle_global;

typedef struct {
    oto_pickle *root;
    oto_pickle saved; /* a LIST of all that are SAVED */
} oto_pickle_result;

/* Reads one pickle of protocol 2 to 5 from r. It is a program for a machine with a stack; this
 * machine knows the instructions that build data and calls nothing. Its memory is what `a` has. */
int oto_pickle_read(const oto_weights *w, oto_reader *r, const oto_pickle_global *globals,
                    size_t n_globals, oto_arena *a, oto_pickle_result *out, oto_err *e) OTO_CHECK;
/* The value of a string key of a DICT; NULL: not there. */
oto_pickle *oto_pickle_get(const oto_pickle *dict, const char *key);

/* ---- side files ---- */

/* The numbers between "[" and "]" behind `tag` ("<AddShift>") of Kaldi's text form (kaldi.c). In
 * w->a. */
int oto_kaldi_vector(oto_weights *w, oto_slice text, const char *tag, const float **v, size_t *n,
                     oto_err *e) OTO_CHECK;

/* The value of SECTION.KEY in a block mapping of mappings (yaml.c), or of KEY outside all sections
 * when SECTION is "": a scalar as one item, or the scalars of a list. Without quotes and escapes,
 * in `a`. 0 items: it is not there, or something else. */
int oto_yaml_get(oto_slice text, const char *section, const char *key, oto_arena *a,
                 oto_slice **items, size_t *n, oto_err *e) OTO_CHECK;

/* A JSON file that is a list of strings, put as the array `key` (json.c). */
int oto_json_strings(oto_weights *w, const char *file, oto_slice text, const char *key,
                     oto_err *e) OTO_CHECK;

/* The files beside the model of a FunASR folder, as FunASR's own GGUF files hold them
 * (funasr.c): general.architecture, cmvn.shift, cmvn.scale, pf.*, sv.*, ct.*. Which model it is is
 * told from the tensors that are there; of a model that is none of FunASR's nothing is read. */
int oto_funasr_beside(oto_weights *w, oto_err *e) OTO_CHECK;

#endif
