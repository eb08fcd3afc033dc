/* An LSTM of an ONNX graph as the checkpoint's tensors.
 *
 *   ONNX     W [directions][4 d][in], R [directions][4 d][d], B [directions][8 d]; gates i, o, f, c
 *   PyTorch  weight_ih_l0 [4 d][in], weight_hh_l0 [4 d][d], bias_ih_l0 and bias_hh_l0 [4 d], and
 *            the same with _reverse; gates i, f, g, o */
#include "weights/parts.h"

#include <string.h>

#define NAME_SIZE 320

/* Rows of one direction and kind, four gates of d, copied in the checkpoint's order. */
static int add_gates(oto_weights *w, const char *name, const char *from, int64_t d, int rank,
                     int64_t columns, oto_err *e)
{
    static const size_t order[4] = {0, 2, 3, 1};
    oto_tensor t = {.name = name, .type = OTO_T_F32, .rank = rank, .dim = {4 * d, columns}};
    size_t gate;
    char *out;
    int rc;

    if (oto_weights_find(w, name) != NULL)
        return 0;
    if (!oto_ttype_bytes(t.type, rank, t.dim, &t.n_bytes))
        return oto_weights_fail(w, e, OTO_E_INPUT, "tensor %s is beyond all memory", name);
    if ((rc = oto_arena_get(w->a, t.n_bytes, 1, &out, e)) != 0)
        return rc;
    gate = t.n_bytes / 4;
    for (size_t i = 0; i < 4; i++)
        memcpy(out + i * gate, from + order[i] * gate, gate);
    t.data = out;
    return oto_weights_add(w, &t, strlen(name), e);
}

static bool is_of(const oto_tensor *t, int rank, int64_t a, int64_t b, int64_t c)
{
    return t->type == OTO_T_F32 && t->rank == rank && t->dim[0] == a && t->dim[1] == b &&
           (rank == 2 || t->dim[2] == c);
}

int oto_onnx_lstm(oto_weights *w, const char *name, int layer, oto_tensor in, oto_tensor back,
                  oto_tensor bias, oto_err *e)
{
    const int64_t directions = in.dim[0], d = in.dim[1] / 4, columns = in.dim[2];
    char full[NAME_SIZE];
    int rc = 0;

    if (d < 1 || d > INT32_MAX || directions < 1 || directions > 2 ||
        !is_of(&in, 3, directions, 4 * d, columns) || !is_of(&back, 3, directions, 4 * d, d) ||
        !is_of(&bias, 2, directions, 8 * d, 0))
        return oto_weights_fail(w, e, OTO_E_INPUT,
                                "the weights of the LSTM %.100s do not fit one another", name);
    for (int i = 0; i < directions; i++) {
        const struct {
            const char *part;
            const oto_tensor *from;
            int64_t columns, row; /* of the first row in a direction's */
            int rank;
        } parts[] = {{"weight_ih", &in, columns, 0, 2},
                     {"weight_hh", &back, d, 0, 2},
                     {"bias_ih", &bias, 1, 0, 1},
                     {"bias_hh", &bias, 1, 4 * d, 1}};

        for (size_t k = 0; k < OTO_COUNT(parts) && rc == 0; k++) {
            const size_t each = parts[k].from->n_bytes / (size_t)directions;

            snprintf(full, sizeof full, "%s.%s_l%d%s", name, parts[k].part, layer,
                     i == 1 ? "_reverse" : "");
            rc = add_gates(w, full,
                           (const char *)parts[k].from->data + (size_t)i * each +
                               (size_t)parts[k].row * sizeof(float),
                           d, parts[k].rank, parts[k].columns, e);
        }
    }
    return rc;
}
