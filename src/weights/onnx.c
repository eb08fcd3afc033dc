/* The part of an ONNX file that FSMN-VAD's weights are in, read in place, and am.mvn beside it.
 *
 * Of the Protocol Buffers (protobuf.c) are read
 *
 *   ModelProto   7 graph
 *   GraphProto   1 node, 5 initializer
 *   TensorProto  1 dims, 2 data_type, 4 float_data, 8 name, 9 raw_data, 14 data_location
 *   NodeProto    1 input, 2 output, 4 op_type
 *
 * Exporters give the matrices of products names like "onnx::MatMul_147" and store them [in][out].
 * The node that uses one is called after its layer, so the matrix gets a second name from there:
 * "/encoder/in_linear1/linear/MatMul_output_0" -> "encoder.in_linear1.linear.weight.T". */
#include "weights/parts.h"

#include <string.h>

typedef oto_proto_field field;

static void reader_of(oto_reader *r, oto_slice s)
{
    oto_reader_init(r, s.p, s.n);
}

static int broken(const oto_weights *w, const char *what, oto_err *e)
{
    return oto_weights_fail(w, e, OTO_E_INPUT, "%s is cut off or garbled", what);
}

/* ---- tensors ---- */

typedef struct {
    oto_slice name, data;
    int64_t dim[OTO_MAX_RANK];
    int rank;
    uint64_t type;
    bool external, too_deep;
} proto_tensor;

static void add_dim(proto_tensor *t, uint64_t v)
{
    if (t->rank == OTO_MAX_RANK)
        t->too_deep = true;
    else
        t->dim[t->rank++] = v > INT64_MAX ? -1 : (int64_t)v; /* refused with the size */
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
        case 8:
            t->name = f.bytes;
            break;
        case 14:
            t->external = f.varint != 0;
            break;
        }
    return !r.bad;
}

static int add_tensor(oto_weights *w, oto_slice s, oto_err *e)
{
    enum { ONNX_FLOAT = 1 };
    proto_tensor p = {0};
    oto_tensor t = {.type = OTO_T_F32};

    if (!read_tensor(s, &p))
        return broken(w, "a tensor", e);
    if (p.too_deep)
        return oto_weights_fail(w, e, OTO_E_INPUT, "a tensor of more than %d dimensions",
                                OTO_MAX_RANK);
    if (p.external)
        return oto_weights_fail(w, e, OTO_E_UNSUPPORTED, "tensors outside the file");
    if (p.type != ONNX_FLOAT) /* shapes and indices of the graph: not weights */
        return 0;
    t.name = p.name.p;
    t.rank = p.rank;
    memcpy(t.dim, p.dim, sizeof t.dim);
    t.data = p.data.p;
    t.n_bytes = p.data.n;
    return oto_weights_add(w, &t, p.name.n, e);
}

/* ---- nodes ---- */

/* "/a/b/MatMul_output_0" -> "a.b.weight.T" */
static bool layer_name(oto_slice output, char *out, size_t size)
{
    static const char tail[] = "/MatMul_output_0";
    const size_t n_tail = sizeof tail - 1;
    size_t n;

    if (output.n <= n_tail || memcmp(output.p + output.n - n_tail, tail, n_tail) != 0)
        return false;
    output.n -= n_tail;
    if (output.p[0] == '/') {
        output.p++;
        output.n--;
    }
    n = output.n;
    if (n == 0 || n + sizeof ".weight.T" > size || memchr(output.p, '\0', n) != NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        out[i] = output.p[i] == '/' ? '.' : output.p[i];
    memcpy(out + n, ".weight.T", sizeof ".weight.T");
    return true;
}

static int name_product(oto_weights *w, oto_slice s, oto_err *e)
{
    oto_slice input[2] = {{0}}, output = {0}, op = {0};
    char target[256], alias[256];
    int n_inputs = 0;
    oto_reader r;
    field f;

    reader_of(&r, s);
    while (oto_proto_next(&r, &f)) {
        if (f.number == 1 && n_inputs < 2)
            input[n_inputs++] = f.bytes;
        else if (f.number == 2)
            output = f.bytes;
        else if (f.number == 4)
            op = f.bytes;
    }
    if (r.bad)
        return broken(w, "a node", e);
    if (!oto_slice_is(op, "MatMul") || n_inputs < 2 || input[1].p == NULL ||
        input[1].n >= sizeof target || !layer_name(output, alias, sizeof alias))
        return 0;
    memcpy(target, input[1].p, input[1].n);
    target[input[1].n] = '\0';
    if (oto_weights_find(w, target) == NULL || oto_weights_find(w, alias) != NULL)
        return 0;
    return oto_weights_alias(w, (oto_slice){alias, strlen(alias)}, target, e);
}

static int read_graph(oto_weights *w, oto_slice graph, oto_err *e)
{
    oto_reader r;
    field f;
    int rc = 0;

    /* Twice: names come from nodes, which may stand before the tensors. */
    reader_of(&r, graph);
    while (rc == 0 && oto_proto_next(&r, &f))
        if (f.number == 5)
            rc = add_tensor(w, f.bytes, e);
    if (rc == 0 && r.bad)
        return broken(w, "the graph", e);
    reader_of(&r, graph);
    while (rc == 0 && oto_proto_next(&r, &f))
        if (f.number == 1)
            rc = name_product(w, f.bytes, e);
    return rc;
}

/* ---- am.mvn ---- */

static int read_vector(oto_weights *w, oto_slice text, const char *tag, const char *key, oto_err *e)
{
    const float *v;
    size_t n;
    const int rc = oto_kaldi_vector(w, text, tag, &v, &n, e);

    return rc == 0 ? oto_weights_put_array(w, key, OTO_M_F32, v, n, e) : rc;
}

static int read_cmvn(oto_weights *w, oto_err *e)
{
    oto_slice text;
    int rc = oto_weights_beside(w, "am.mvn", &text, e);

    if (rc == 0)
        rc = read_vector(w, text, "<AddShift>", "vad.cmvn_shift", e);
    if (rc == 0)
        rc = read_vector(w, text, "<Rescale>", "vad.cmvn_scale", e);
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

static int onnx_parse(oto_weights *w, oto_err *e)
{
    oto_slice graph = {0};
    oto_reader r;
    field f;
    int rc;

    reader_of(&r, w->main);
    while (oto_proto_next(&r, &f))
        if (f.number == 7 && f.bytes.p != NULL)
            graph = f.bytes;
    if (r.bad)
        return broken(w, "the model", e);
    if (graph.p == NULL)
        return oto_weights_fail(w, e, OTO_E_INPUT, "no graph");
    if ((rc = read_graph(w, graph, e)) != 0)
        return rc;
    return read_cmvn(w, e);
}

const oto_format oto_format_onnx = {
    .name = "onnx", .main_file = "model.onnx", .matches = onnx_matches, .parse = onnx_parse};
