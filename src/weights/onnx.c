/* The part of an ONNX file that weights are in, read in place, and what FunASR puts beside it.
 *
 * Of the Protocol Buffers (protobuf.c) are read
 *
 *   ModelProto   7 graph
 *   GraphProto   1 node, 5 initializer
 *   TensorProto  1 dims, 2 data_type, 4 float_data, 5 int32_data, 8 name, 9 raw_data,
 *                13 external_data, 14 data_location
 *   NodeProto    1 input, 2 output, 3 name, 4 op_type
 *
 * The names that the checkpoint had are found again in onnx_names.c. */
#include "weights/parts.h"

#include <string.h>

#define MAX_NODES     ((size_t)1 << 18)
#define SCRATCH_BYTES ((size_t)64 << 20)

typedef oto_proto_field field;

typedef struct {
    oto_weights *w;
    oto_err *e;
    oto_slice outside; /* the file beside it that holds tensors, when there is one */
    char outside_name[256];
} model;

static void reader_of(oto_reader *r, oto_slice s)
{
    oto_reader_init(r, s.p, s.n);
}

static int broken(const model *m, const char *what)
{
    return oto_weights_fail(m->w, m->e, OTO_E_INPUT, "%s is cut off or garbled", what);
}

/* ---- tensors ---- */

typedef struct {
    oto_slice name, data, numbers; /* numbers: one varint for each value */
    int64_t dim[OTO_MAX_RANK];
    int rank;
    uint64_t type;
    bool external, too_deep;
    oto_slice file; /* of an external one */
    uint64_t offset;
} proto_tensor;

static void add_dim(proto_tensor *t, uint64_t v)
{
    if (t->rank == OTO_MAX_RANK)
        t->too_deep = true;
    else
        t->dim[t->rank++] = v > INT64_MAX ? -1 : (int64_t)v; /* refused with the size */
}

/* "4096" */
static uint64_t decimal(oto_slice s)
{
    uint64_t v = 0;

    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9' || v > (UINT64_MAX - 9) / 10)
            return UINT64_MAX; /* beyond any file */
        else
            v = v * 10 + (uint64_t)(s.p[i] - '0');
    return v;
}

/* Where an external tensor lies: pairs of strings. Its length follows from its shape. */
static bool read_place(oto_slice s, proto_tensor *t)
{
    oto_slice key = {"", 0}, value = {"", 0};
    oto_reader r;
    field f;

    reader_of(&r, s);
    while (oto_proto_next(&r, &f))
        if (f.number == 1 && f.bytes.p != NULL)
            key = f.bytes;
        else if (f.number == 2 && f.bytes.p != NULL)
            value = f.bytes;
    if (oto_slice_is(key, "location"))
        t->file = value;
    else if (oto_slice_is(key, "offset"))
        t->offset = decimal(value);
    return !r.bad;
}

static bool read_tensor(oto_slice s, proto_tensor *t)
{
    oto_reader r, dims;
    field f;

    reader_of(&r, s);
    while (oto_proto_next(&r, &f))
        switch (f.number) {
        case 1: /* one by one, or packed */
            if (f.bytes.p == NULL) {
                add_dim(t, f.varint);
                break;
            }
            reader_of(&dims, f.bytes);
            while (oto_reader_left(&dims) > 0 && !dims.bad)
                add_dim(t, oto_proto_varint(&dims));
            r.bad |= dims.bad;
            break;
        case 2:
            t->type = f.varint;
            break;
        case 4:
        case 9:
            t->data = f.bytes;
            break;
        case 5:
            t->numbers = f.bytes;
            break;
        case 8:
            t->name = f.bytes;
            break;
        case 13:
            r.bad |= f.bytes.p != NULL && !read_place(f.bytes, t);
            break;
        case 14:
            t->external = f.varint != 0;
            break;
        }
    return !r.bad;
}

/* Exporters put all tensors into one file beside the model, or each into its own; the first of
 * these is read. */
static int open_outside(model *m, oto_slice name)
{
    char shown[64];

    if (name.n == 0 || name.n >= sizeof m->outside_name || memchr(name.p, '/', name.n) != NULL ||
        memchr(name.p, '\0', name.n) != NULL)
        return oto_weights_fail(m->w, m->e, OTO_E_UNSUPPORTED,
                                "tensors outside the file, in \"%s\": not beside it",
                                oto_shown(name, shown));
    if (m->outside_name[0] != '\0')
        return oto_slice_is(name, m->outside_name)
                   ? 0
                   : oto_weights_fail(m->w, m->e, OTO_E_UNSUPPORTED,
                                      "tensors outside the file, in more than one file");
    memcpy(m->outside_name, name.p, name.n);
    m->outside_name[name.n] = '\0';
    return oto_weights_beside(m->w, m->outside_name, &m->outside, m->e);
}

static int find_outside(model *m, proto_tensor *p, size_t n_bytes)
{
    char shown[64];
    const int rc = open_outside(m, p->file);

    if (rc != 0)
        return rc;
    if (p->offset > m->outside.n || n_bytes > m->outside.n - p->offset)
        return oto_weights_fail(m->w, m->e, OTO_E_INPUT,
                                "tensor %s reaches past the end of %s beside it",
                                oto_shown(p->name, shown), m->outside_name);
    p->data = (oto_slice){m->outside.p + p->offset, n_bytes};
    return 0;
}

/* Bytes that are written as numbers of a varint each, as quantisers write zero points. */
static int write_out(model *m, proto_tensor *p, size_t n_bytes)
{
    oto_reader r;
    uint8_t *out;
    int rc;

    if (n_bytes > p->numbers.n) /* each takes a byte or more */
        return broken(m, "a tensor");
    if ((rc = oto_arena_get(m->w->a, n_bytes, 1, &out, m->e)) != 0)
        return rc;
    reader_of(&r, p->numbers);
    for (size_t i = 0; i < n_bytes; i++)
        out[i] = (uint8_t)oto_proto_varint(&r);
    p->data = (oto_slice){(char *)out, n_bytes};
    return r.bad ? broken(m, "a tensor") : 0;
}

/* False: shapes and indices of the graph, which are no weights. */
static bool type_of(uint64_t onnx, oto_ttype *out)
{
    static const oto_ttype types[] = {[1] = OTO_T_F32, [2] = OTO_T_U8, [3] = OTO_T_I8};

    *out = types[onnx < OTO_COUNT(types) ? onnx : 0];
    return onnx >= 1 && onnx < OTO_COUNT(types);
}

static int add_tensor(model *m, oto_slice s)
{
    proto_tensor p = {0};
    oto_tensor t = {0};
    size_t bytes;
    int rc = 0;

    if (!read_tensor(s, &p))
        return broken(m, "a tensor");
    if (!type_of(p.type, &t.type))
        return 0;
    if (p.too_deep)
        return oto_weights_fail(m->w, m->e, OTO_E_INPUT, "a tensor of more than %d dimensions",
                                OTO_MAX_RANK);
    if (oto_ttype_bytes(t.type, p.rank, p.dim, &bytes)) { /* else refused by oto_weights_add */
        if (p.external)
            rc = find_outside(m, &p, bytes);
        else if (p.data.p == NULL && p.numbers.p != NULL && t.type != OTO_T_F32)
            rc = write_out(m, &p, bytes);
    }
    if (rc != 0)
        return rc;
    t.name = p.name.p;
    t.rank = p.rank;
    memcpy(t.dim, p.dim, sizeof t.dim);
    t.data = p.data.p;
    t.n_bytes = p.data.n;
    return oto_weights_add(m->w, &t, p.name.n, m->e);
}

/* ---- nodes ---- */

static int read_node(const model *m, oto_slice s, oto_onnx_node *out)
{
    size_t n_inputs = 0;
    oto_reader r;
    field f;

    *out = (oto_onnx_node){0};
    reader_of(&r, s);
    while (oto_proto_next(&r, &f))
        if (f.number == 1 && n_inputs < OTO_COUNT(out->input))
            out->input[n_inputs++] = f.bytes;
        else if (f.number == 2 && out->output.p == NULL)
            out->output = f.bytes;
        else if (f.number == 3)
            out->name = f.bytes;
        else if (f.number == 4)
            out->op = f.bytes;
    return r.bad ? broken(m, "a node") : 0;
}

/* Tensors are added, nodes counted; then, with room for them, nodes are kept. */
static int read_graph(model *m, oto_slice graph, oto_onnx_node *nodes, size_t *n)
{
    oto_reader r;
    field f;
    int rc = 0;

    *n = 0;
    reader_of(&r, graph);
    while (rc == 0 && oto_proto_next(&r, &f))
        if (f.number == 5 && nodes == NULL)
            rc = add_tensor(m, f.bytes);
        else if (f.number == 1 && (*n)++ < MAX_NODES && nodes != NULL)
            rc = read_node(m, f.bytes, &nodes[*n - 1]);
    if (rc == 0 && r.bad)
        return broken(m, "the graph");
    if (rc == 0 && *n > MAX_NODES)
        return oto_weights_fail(m->w, m->e, OTO_E_INPUT, "more than %zu nodes", MAX_NODES);
    return rc;
}

static int read_names(model *m, oto_slice graph, size_t n)
{
    oto_onnx_node *nodes;
    oto_arena *scratch;
    int rc = oto_arena_new("graph", SCRATCH_BYTES, &scratch, m->e);

    if (rc != 0)
        return rc;
    if ((rc = oto_arena_get(scratch, n + 1, sizeof *nodes, &nodes, m->e)) == 0 &&
        (rc = read_graph(m, graph, nodes, &n)) == 0)
        rc = oto_onnx_names(m->w, nodes, n, scratch, m->e);
    oto_arena_free(scratch);
    return rc;
}

/* ---- the file ---- */

/* ir_version, a small varint, comes first; no other format here begins so. */
static bool onnx_matches(const uint8_t *p, size_t n, uint64_t file_bytes)
{
    (void)file_bytes;
    return n >= 3 && p[0] == 0x08 && p[1] > 0 && p[1] < 32 &&
           (p[2] == 0x12 || p[2] == 0x3a || p[2] == 0x42);
}

static int read_model(model *m, oto_slice file)
{
    oto_slice graph = {0};
    oto_reader r;
    size_t n;
    field f;
    int rc;

    reader_of(&r, file);
    while (oto_proto_next(&r, &f))
        if (f.number == 7 && f.bytes.p != NULL)
            graph = f.bytes;
    if (r.bad)
        return broken(m, "the model");
    if (graph.p == NULL)
        return oto_weights_fail(m->w, m->e, OTO_E_INPUT, "no graph");
    rc = read_graph(m, graph, NULL, &n);
    return rc == 0 ? read_names(m, graph, n) : rc;
}

/* What makes rows of hot words, of SeACo- and of Contextual Paraformer, has a file of its own. */
static int read_hot_words(model *m)
{
    static const char *const files[] = {"model_eb.onnx", "model_eb_quant.onnx"};
    oto_slice file;
    oto_err why;
    int rc;

    if (oto_weights_find(m->w, "hotword_output_layer.bias") == NULL &&
        oto_weights_find(m->w, "decoder.bias_output.weight") == NULL)
        return 0;
    for (size_t i = 0; i < OTO_COUNT(files); i++)
        if ((rc = oto_weights_beside(m->w, files[i], &file, &why)) == 0)
            return read_model(m, file);
        else if (rc != OTO_E_NOT_FOUND)
            return oto_fail(m->e, rc, "%s", why.text);
    return 0;
}

static int onnx_parse(oto_weights *w, oto_err *e)
{
    model m = {.w = w, .e = e};
    int rc = read_model(&m, w->main);

    if (rc == 0)
        rc = read_hot_words(&m);
    return rc == 0 ? oto_funasr_beside(w, e) : rc;
}

const oto_format oto_format_onnx = {
    .name = "onnx", .main_file = "model.onnx", .matches = onnx_matches, .parse = onnx_parse};
/* The same in a folder that holds nothing larger. */
const oto_format oto_format_onnx_8bit = {
    .name = "onnx", .main_file = "model_quant.onnx", .matches = onnx_matches, .parse = onnx_parse};
