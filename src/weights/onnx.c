/* The part of an ONNX file that FSMN-VAD's weights are in, read in place, and am.mvn beside it.
 *
 * Protocol Buffers: a message is fields, each a key (field number * 8 + wire type) and a value:
 * 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes. Read are
 *
 *   ModelProto   7 graph
 *   GraphProto   1 node, 5 initializer
 *   TensorProto  1 dims, 2 data_type, 4 float_data, 8 name, 9 raw_data, 14 data_location
 *   NodeProto    1 input, 2 output, 4 op_type
 *
 * Exporters give the matrices of products names like "onnx::MatMul_147" and store them [in][out].
 * The node that uses one is called after its layer, so the matrix gets a second name from there:
 * "/encoder/in_linear1/linear/MatMul_output_0" -> "encoder.in_linear1.linear.weight.T". */
#include "weights/formats.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_CMVN   8192
#define MAX_NUMBER 64

typedef enum { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 } wire_type;

typedef struct {
    uint32_t number;
    uint64_t varint;
    oto_slice bytes;
} field;

static uint64_t read_varint(oto_reader *r)
{
    uint64_t v = 0;

    for (int shift = 0; shift < 64; shift += 7) {
        const uint8_t b = oto_read_u8(r);

        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80)
            return v;
    }
    r->bad = true;
    return 0;
}

/* The next field; false at the end and (with r->bad) where the bytes make no sense. */
static bool next_field(oto_reader *r, field *f)
{
    uint64_t key;

    if (r->bad || oto_reader_left(r) == 0)
        return false;
    key = read_varint(r);
    *f = (field){.number = (uint32_t)(key >> 3)};
    switch (key & 7) {
    case VARINT:
        f->varint = read_varint(r);
        break;
    case FIXED64:
        f->varint = oto_read_u64(r);
        break;
    case FIXED32:
        f->varint = oto_read_u32(r);
        break;
    case BYTES: {
        const uint64_t n = read_varint(r);

        f->bytes.p = (const char *)oto_read_bytes(r, n);
        f->bytes.n = f->bytes.p != NULL ? (size_t)n : 0;
        break;
    }
    default:
        r->bad = true;
    }
    return !r->bad;
}

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
    while (next_field(&r, &f))
        switch (f.number) {
        case 1: /* one by one, or packed */
            if (f.bytes.p == NULL) {
                add_dim(t, f.varint);
                break;
            }
            reader_of(&dims, f.bytes);
            while (oto_reader_left(&dims) > 0 && !dims.bad)
                add_dim(t, read_varint(&dims));
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

static bool slice_is(oto_slice s, const char *z)
{
    return s.n == strlen(z) && memcmp(s.p, z, s.n) == 0;
}

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
    while (next_field(&r, &f)) {
        if (f.number == 1 && n_inputs < 2)
            input[n_inputs++] = f.bytes;
        else if (f.number == 2)
            output = f.bytes;
        else if (f.number == 4)
            op = f.bytes;
    }
    if (r.bad)
        return broken(w, "a node", e);
    if (!slice_is(op, "MatMul") || n_inputs < 2 || input[1].p == NULL ||
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
    while (rc == 0 && next_field(&r, &f))
        if (f.number == 5)
            rc = add_tensor(w, f.bytes, e);
    if (rc == 0 && r.bad)
        return broken(w, "the graph", e);
    reader_of(&r, graph);
    while (rc == 0 && next_field(&r, &f))
        if (f.number == 1)
            rc = name_product(w, f.bytes, e);
    return rc;
}

/* ---- am.mvn: kaldi's text form ---- */

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The numbers between "[" and "]" behind `tag` and its "<LearnRateCoef> 0". */
static int read_vector(oto_weights *w, oto_slice text, const char *tag, const char *key, oto_err *e)
{
    const char *p = memmem(text.p, text.n, tag, strlen(tag)), *end;
    float *v;
    size_t n = 0;
    int rc;

    if (p == NULL || (p = memchr(p, '[', text.n - (size_t)(p - text.p))) == NULL ||
        (end = memchr(p, ']', text.n - (size_t)(p - text.p))) == NULL)
        return oto_weights_fail(w, e, OTO_E_INPUT, "am.mvn: no %s [ … ]", tag);
    if ((rc = oto_arena_get(w->a, MAX_CMVN, sizeof *v, &v, e)) != 0)
        return rc;
    for (p++; p < end;) {
        char number[MAX_NUMBER], *stop;
        size_t len = 0;

        while (p < end && is_space(*p))
            p++;
        while (p + len < end && !is_space(p[len]) && len < sizeof number - 1)
            len++;
        if (len == 0)
            break;
        memcpy(number, p, len);
        number[len] = '\0';
        p += len;
        if (n == MAX_CMVN)
            return oto_weights_fail(w, e, OTO_E_INPUT, "am.mvn: more than %d values of %s",
                                    MAX_CMVN, tag);
        v[n] = strtof(number, &stop);
        if (stop != number + len || !isfinite(v[n]))
            return oto_weights_fail(w, e, OTO_E_INPUT, "am.mvn: %s holds what is not a number",
                                    tag);
        n++;
    }
    if (n == 0)
        return oto_weights_fail(w, e, OTO_E_INPUT, "am.mvn: %s is empty", tag);
    return oto_weights_put_array(w, key, OTO_M_F32, v, n, e);
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
    while (next_field(&r, &f))
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
