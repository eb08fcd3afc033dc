/* The checkpoint's names, and the orientation of its matrices, found again in an ONNX graph.
 *
 * PyTorch's exporter keeps the names of parameters that it takes as they are. What it computes from
 * them it numbers: "onnx::MatMul_147" is the transposed matrix of a linear layer. Such a tensor is
 * known by what stands around it, in this order:
 *
 *   a bias that keeps its name      product + "a.b.linear.bias"  ->  a.b.linear.weight
 *   the bias of the norm before     "a.feed_forward.norm.bias"   ->  a.feed_forward.w_2.weight
 *   the path of the node            "/a/b/b.0/norm1/Mul"         ->  a.b.0.norm1.weight
 *
 * The second is of Paraformer's decoder, where w_2 has no bias. Paths are the modules as they call
 * one another, which is not always how they hold one another (SenseVoice calls ctc.ctc_lo past
 * ctc), and exporters before PyTorch 1.13 wrote none. Of tensors that are alike one is kept, and an
 * Identity for each other. FunASR's exporting classes have their own names for some parts.
 *
 * ONNX Runtime's dynamic quantisation makes of the matrix X and its product
 *
 *   X_quantized, X_scale, X_zero_point      MatMulInteger -> Cast -> Mul (by both scales)
 *
 * Everything walks backwards over a fixed number of nodes, so a graph may be of any shape. */
#include "weights/parts.h"

#include <stdlib.h>
#include <string.h>

#define NAME_SIZE 256

typedef struct {
    char z[NAME_SIZE];
    size_t n;
    bool bad; /* it did not fit, or is binary */
} name;

typedef struct {
    oto_weights *w;
    oto_err *e;
    const oto_onnx_node *nodes;
    size_t n;
    const oto_onnx_node **by_output; /* [n_sorted]: those that make something */
    size_t n_sorted;
} graph;

static void add(name *out, const char *p, size_t n)
{
    if (n == 0)
        return;
    if (out->bad || n >= sizeof out->z - out->n || memchr(p, '\0', n) != NULL) {
        out->bad = true;
        return;
    }
    memcpy(out->z + out->n, p, n);
    out->n += n;
    out->z[out->n] = '\0';
}

static bool ends_with(oto_slice s, const char *tail)
{
    const size_t n = strlen(tail);

    return s.n > n && memcmp(s.p + s.n - n, tail, n) == 0;
}

/* s, the last `cut` bytes of which give way to `tail`. */
static name replaced(oto_slice s, size_t cut, const char *tail)
{
    name out = {0};

    if (s.n < cut)
        out.bad = true;
    else
        add(&out, s.p, s.n - cut);
    add(&out, tail, strlen(tail));
    return out;
}

static oto_tensor *tensor_of(const graph *g, oto_slice s)
{
    const name z = replaced(s, 0, "");

    return s.n == 0 || z.bad ? NULL : oto_weights_get(g->w, z.z);
}

/* What FunASR's exporting classes hold under other names, or call past what holds it. */
static name as_held(const name *n)
{
    static const char extra[] = "model."; /* encoder.model.encoders.0.… */
    static const struct {
        const char *from, *to;
    } others[] = {{"embedding.weight", "bias_embed.weight"}, /* contextual; SeACo's has a number */
                  {"embedding.", "decoder.embed."},
                  {"blstm.", "predictor.blstm."}};
    const char *dot = n->bad ? NULL : strchr(n->z, '.');
    name out = {0};

    for (size_t i = 0; i < OTO_COUNT(others); i++)
        if (strncmp(n->z, others[i].from, strlen(others[i].from)) == 0) {
            add(&out, others[i].to, strlen(others[i].to));
            add(&out, n->z + strlen(others[i].from), n->n - strlen(others[i].from));
            return out;
        }
    if (dot == NULL || strncmp(dot + 1, extra, sizeof extra - 1) != 0)
        return *n;
    add(&out, n->z, (size_t)(dot + 1 - n->z));
    add(&out, dot + sizeof extra, strlen(dot + sizeof extra));
    return out;
}

/* One more name. What has it already keeps it. */
static int also_called(const graph *g, const oto_tensor *t, const name *as)
{
    const name n = as_held(as);

    return n.bad || n.n == 0 || oto_weights_find(g->w, n.z) != NULL
               ? 0
               : oto_weights_alias(g->w, (oto_slice){n.z, n.n}, t->name, g->e);
}

/* ---- the graph ---- */

static int compare(oto_slice a, oto_slice b)
{
    const int order = memcmp(a.p, b.p, OTO_MIN(a.n, b.n));

    return order != 0 ? order : (a.n > b.n) - (a.n < b.n);
}

static int by_output(const void *x, const void *y)
{
    const oto_onnx_node *const *a = x, *const *b = y;

    return compare((*a)->output, (*b)->output);
}

static int sort_nodes(graph *g, oto_arena *scratch)
{
    size_t n = 0;
    const int rc = oto_arena_get(scratch, g->n + 1, sizeof(void *), &g->by_output, g->e);

    if (rc != 0)
        return rc;
    for (size_t i = 0; i < g->n; i++)
        if (g->nodes[i].output.n > 0)
            g->by_output[n++] = &g->nodes[i];
    g->n_sorted = n;
    qsort(g->by_output, n, sizeof(void *), by_output);
    return 0;
}

/* The node that makes this; NULL: none does. */
static const oto_onnx_node *maker(const graph *g, oto_slice output)
{
    const oto_onnx_node key = {.output = output}, *k = &key, **found;

    if (output.n == 0)
        return NULL;
    found = bsearch(&k, g->by_output, g->n_sorted, sizeof(void *), by_output);
    return found != NULL ? *found : NULL;
}

static bool is(const oto_onnx_node *n, const char *op)
{
    return n != NULL && oto_slice_is(n->op, op);
}

/* ---- matrices ---- */

/* Of tensors that are alike one was kept: this node stands for another. */
static int name_copy(const graph *g, const oto_onnx_node *n)
{
    const oto_tensor *t = tensor_of(g, n->input[0]);
    const name as = replaced(n->output, 0, "");

    return t == NULL ? 0 : also_called(g, t, &as);
}

/* Scale and zero point of X_quantized: one for all, or one for each row. */
static int quantised(const graph *g, const oto_onnx_node *n, oto_tensor *t)
{
    static const char tail[] = "_quantized";
    const name scale_name = replaced(n->input[1], sizeof tail - 1, "_scale");
    const oto_tensor *scale = scale_name.bad ? NULL : oto_weights_find(g->w, scale_name.z);
    const oto_tensor *zero = tensor_of(g, n->input[3]);
    const int64_t n_scale = scale != NULL ? oto_tensor_row_len(scale) : 0;
    float *copy;
    int rc;

    if (!ends_with(n->input[1], tail) || scale == NULL || scale->type != OTO_T_F32 ||
        scale->rank > 1 || zero == NULL || zero->type != t->type || zero->rank > 1 ||
        oto_tensor_row_len(zero) != n_scale || (n_scale != 1 && n_scale != t->dim[0]))
        return oto_weights_fail(g->w, g->e, OTO_E_INPUT,
                                "tensor %.100s is quantised, but its scale or its zero point is "
                                "missing or of another size",
                                t->name);
    if ((rc = oto_arena_get(g->w->a, (size_t)n_scale, sizeof *copy, &copy, g->e)) != 0)
        return rc;
    oto_tensor_row_f32(scale, 0, copy); /* the file's may be at any address */
    t->scale = copy;
    t->n_scale = n_scale;
    t->zero = zero->data;
    return 0;
}

/* A linear layer's matrix [n][k] is stored as [k][n]. */
static int turn_matrix(const graph *g, const oto_onnx_node *n)
{
    oto_tensor *t = tensor_of(g, n->input[1]);
    int64_t k;

    if (t == NULL || t->rank != 2 || t->turned)
        return 0;
    k = t->dim[0];
    t->dim[0] = t->dim[1];
    t->dim[1] = k;
    t->turned = true;
    return t->type == OTO_T_F32 ? 0 : quantised(g, n, t);
}

/* ---- names ---- */

/* The product behind this value; 8 bits are made f32 again by two nodes more. */
static const oto_onnx_node *product_of(const graph *g, oto_slice value)
{
    const oto_onnx_node *n = maker(g, value);

    if (is(n, "Mul") && is(n = maker(g, n->input[0]), "Cast"))
        n = maker(g, n->input[0]);
    return is(n, "MatMul") || is(n, "MatMulInteger") ? n : NULL;
}

static int name_by_bias(const graph *g, const oto_onnx_node *n)
{
    for (int i = 0; i < 2; i++) {
        const oto_onnx_node *product = product_of(g, n->input[1 - i]);
        const oto_tensor *matrix = product != NULL ? tensor_of(g, product->input[1]) : NULL;

        if (matrix != NULL && ends_with(n->input[i], ".bias")) {
            const name as = replaced(n->input[i], strlen("bias"), "weight");

            return also_called(g, matrix, &as);
        }
    }
    return 0;
}

/* The last part of a path: the kind of the node, and perhaps a number. */
static bool is_leaf(oto_slice leaf, const char *op)
{
    const size_t n = strlen(op);

    if (leaf.n < n || memcmp(leaf.p, op, n) != 0)
        return false;
    for (size_t i = n; i < leaf.n; i++)
        if (leaf.p[i] != '_' && (leaf.p[i] < '0' || leaf.p[i] > '9'))
            return false;
    return true;
}

/* "/a/b/b.0/norm1/Mul" -> "a.b.0.norm1"; a list stands in front of its element, which names it. */
static bool module_of(oto_slice path, const char *op, name *out)
{
    size_t end = path.n;

    if (ends_with(path, "_quant"))
        path.n = end -= strlen("_quant");
    while (end > 0 && path.p[end - 1] != '/')
        end--;
    if (end < 2 || path.p[0] != '/' || !is_leaf((oto_slice){path.p + end, path.n - end}, op))
        return false;
    for (size_t at = 1; at < end;) {
        const char *p = path.p + at, *slash = memchr(p, '/', end - at);
        const size_t n = (size_t)(slash - p), left = end - at - n - 1;

        if (left <= n || memcmp(p, slash + 1, n) != 0 || slash[1 + n] != '.') {
            if (out->n > 0)
                add(out, ".", 1);
            add(out, p, n);
        }
        at += n + 1;
    }
    return out->n > 0 && !out->bad;
}

/* "/a/lstm/LSTM_1": its second layer. */
static int split_lstm(const graph *g, const oto_onnx_node *n)
{
    const oto_tensor *t[3];
    const char *number;
    name as = {0}, path = replaced(n->name, 0, "");
    long layer = 0;

    for (int i = 0; i < 3; i++)
        if ((t[i] = tensor_of(g, n->input[1 + i])) == NULL)
            return 0;
    if (path.bad || !module_of(n->name, "LSTM", &as))
        return 0;
    if ((number = strrchr(path.z, '_')) != NULL && number > strrchr(path.z, '/'))
        layer = strtol(number + 1, NULL, 10);
    add(&as, ".", 1);
    as = as_held(&as);
    if (as.bad || as.n < 2 || layer < 0 || layer > 99)
        return 0;
    as.z[--as.n] = '\0';
    return oto_onnx_lstm(g->w, as.z, (int)layer, *t[0], *t[1], *t[2], g->e);
}

static int name_by_path(const graph *g, const oto_onnx_node *n)
{
    static const struct {
        const char *op, *leaf;
        int input, rank;
        const char *suffix;
    } rows[] = {
        {"MatMul", "MatMul", 1, 2, ".weight"},
        {"MatMulInteger", "MatMul", 1, 2, ".weight"},
        {"Mul", "Mul", 0, 1, ".weight"},
        {"Mul", "Mul", 1, 1, ".weight"},
        {"Add", "Add", 0, 1, ".bias"},
        {"Add", "Add", 1, 1, ".bias"},
        {"LayerNormalization", "LayerNormalization", 1, 1, ".weight"},
        {"LayerNormalization", "LayerNormalization", 2, 1, ".bias"},
    };

    for (size_t i = 0; i < OTO_COUNT(rows); i++) {
        const oto_tensor *t;
        name as = {0};
        int rc;

        if (!is(n, rows[i].op) || (t = tensor_of(g, n->input[rows[i].input])) == NULL ||
            t->rank != rows[i].rank || !module_of(n->name, rows[i].leaf, &as))
            continue;
        add(&as, rows[i].suffix, strlen(rows[i].suffix));
        if ((rc = also_called(g, t, &as)) != 0)
            return rc;
    }
    return 0;
}

static int name_by_norm(const graph *g, const oto_onnx_node *n)
{
    static const char norm[] = ".feed_forward.norm.bias";
    const oto_onnx_node *before = maker(g, n->input[0]);
    const oto_tensor *t = tensor_of(g, n->input[1]);

    if (is(before, "DynamicQuantizeLinear"))
        before = maker(g, before->input[0]);
    for (size_t i = 0; t != NULL && before != NULL && i < OTO_COUNT(before->input); i++)
        if (ends_with(before->input[i], norm)) {
            const name as = replaced(before->input[i], strlen("norm.bias"), "w_2.weight");

            return also_called(g, t, &as);
        }
    return 0;
}

int oto_onnx_names(oto_weights *w, const oto_onnx_node *nodes, size_t n, oto_arena *scratch,
                   oto_err *e)
{
    static const struct {
        const char *op; /* NULL: any */
        int (*act)(const graph *g, const oto_onnx_node *n);
    } passes[] = {{"Identity", name_copy},        {"MatMul", turn_matrix},
                  {"MatMulInteger", turn_matrix}, {"Add", name_by_bias},
                  {"MatMul", name_by_norm},       {"MatMulInteger", name_by_norm},
                  {NULL, name_by_path},           {"LSTM", split_lstm}};
    graph g = {.w = w, .e = e, .nodes = nodes, .n = n};
    int rc = sort_nodes(&g, scratch);

    for (size_t i = 0; i < w->n_tensors && rc == 0; i++) {
        const oto_slice s = {w->tensors[i].name, strlen(w->tensors[i].name)};
        const name as = replaced(s, 0, "");

        rc = also_called(&g, &w->tensors[i], &as);
    }
    for (size_t i = 0; i < OTO_COUNT(passes); i++)
        for (size_t k = 0; k < n && rc == 0; k++)
            if (passes[i].op == NULL || is(&nodes[k], passes[i].op))
                rc = passes[i].act(&g, &nodes[k]);
    return rc;
}
