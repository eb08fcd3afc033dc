/* lstm: long short-term memory, a step at a time for several sequences.
 *
 *   i, f, g, o = W_in x + W_back h + b;  c = σ(f) c + σ(i) tanh(g);  h = σ(o) tanh(c)
 *
 * What comes from the input does not wait for the step before, so callers do it for many steps at
 * once, as a dense layer over all rows; a step adds what comes from h. */
#include "models/layers.h"

#include <string.h>

#define NAME_SIZE 128

static const char *part(char out[NAME_SIZE], const char *name, const char *what, const char *suffix)
{
    snprintf(out, NAME_SIZE, "%s.%s%s", name, what, suffix);
    return out;
}

/* ---- packing and binding ---- */

static int pack_matrix(const oto_weights *src, oto_gguf_writer *dst, const char *name,
                       oto_dtype type, int n, int k, oto_arena *a, oto_err *e)
{
    const oto_tensor *t = oto_weights_find(src, name);

    if (t == NULL)
        return oto_fail(e, OTO_E_INPUT, "%s: tensor %s is missing", oto_weights_path(src), name);
    return oto_put_tensor_matrix(dst, name, type, t, n, k, a, e);
}

static int add_bias(const oto_weights *src, const char *name, int n, float *row, float *sum,
                    oto_err *e)
{
    const oto_tensor *t = oto_weights_find(src, name);

    if (t == NULL || oto_tensor_rows(t) * oto_tensor_row_len(t) != n || t->rank != 1)
        return oto_fail(e, OTO_E_INPUT, "%s: tensor %s is missing or not of %d",
                        oto_weights_path(src), name, n);
    oto_tensor_row_f32(t, 0, row);
    for (int i = 0; i < n; i++)
        sum[i] += row[i];
    return 0;
}

int oto_lstm_pack(const oto_weights *src, oto_gguf_writer *dst, const char *name,
                  const char *suffix, oto_dtype type, int d, int k, oto_arena *a, oto_err *e)
{
    char full[NAME_SIZE];
    float *row, *sum;
    int rc;

    if ((rc = pack_matrix(src, dst, part(full, name, "weight_ih", suffix), type, 4 * d, k, a, e)) !=
            0 ||
        (rc = pack_matrix(src, dst, part(full, name, "weight_hh", suffix), type, 4 * d, d, a, e)) !=
            0 ||
        (rc = oto_arena_get(a, 4 * (size_t)d, sizeof *row, &row, e)) != 0 ||
        (rc = oto_arena_get(a, 4 * (size_t)d, sizeof *sum, &sum, e)) != 0)
        return rc;
    for (int i = 0; i < 4 * d; i++)
        sum[i] = 0;
    if ((rc = add_bias(src, part(full, name, "bias_ih", suffix), 4 * d, row, sum, e)) != 0 ||
        (rc = add_bias(src, part(full, name, "bias_hh", suffix), 4 * d, row, sum, e)) != 0)
        return rc;
    return oto_put_vector(dst, part(full, name, "bias", suffix), sum, 4 * d, a, e);
}

int oto_lstm_bind(const oto_weights *w, const char *name, const char *suffix, oto_dtype type, int d,
                  int k, oto_lstm *out, oto_err *e)
{
    char full[NAME_SIZE];
    int rc;

    out->d = d;
    if ((rc = oto_get_matrix(w, part(full, name, "weight_ih", suffix), type, 4 * d, k, &out->in.w,
                             e)) != 0 ||
        (rc = oto_get_matrix(w, part(full, name, "weight_hh", suffix), type, 4 * d, d, &out->back,
                             e)) != 0)
        return rc;
    return oto_get_vector(w, part(full, name, "bias", suffix), 4 * d, &out->in.b, e);
}

/* ---- running ---- */

/* e^x to 2e-7 of itself, without a branch or a call, so that compilers do several at once: a step
 * has five of them for each of d. */
static inline float exponential(float x)
{
    const float magic = 12582912.0f; /* 1.5 · 2^23: what is added to it is rounded */
    const float in = x > -87.0f ? x < 87.0f ? x : 87.0f : -87.0f; /* what is no number: -87 */
    const float n = in * 1.44269504f + magic - magic;
    const float f = in - n * 0.693359375f + n * 2.12194440e-4f; /* ln 2 in two parts */
    const float p = 1.9875691500e-4f;
    const float q =
        ((((p * f + 1.3981999507e-3f) * f + 8.3334519073e-3f) * f + 4.1665795894e-2f) * f +
         1.6666665459e-1f) *
            f +
        5.0000001201e-1f;
    const int32_t bits = ((int32_t)n + 127) * (1 << 23);
    float power;

    memcpy(&power, &bits, sizeof power);
    return (q * f * f + f + 1) * power;
}

static inline float sigmoid(float x)
{
    return 1 / (1 + exponential(-x));
}

static inline float tangent(float x)
{
    return 2 / (1 + exponential(-2 * x)) - 1;
}

/* One sequence: gates g [4 d] to c and h. */
static void gate(const float *restrict g, size_t d, float *restrict c, float *restrict h)
{
    for (size_t j = 0; j < d; j++) {
        c[j] = sigmoid(g[d + j]) * c[j] + sigmoid(g[j]) * tangent(g[2 * d + j]);
        h[j] = sigmoid(g[3 * d + j]) * tangent(c[j]);
    }
}

void oto_lstm_step(oto_pool *pool, int thread, const oto_lstm *l, float *gates, size_t ld, int m,
                   float *h, float *c)
{
    const size_t d = (size_t)l->d;
    const oto_linear back = {.w = &l->back,
                             .x = h,
                             .ldx = d,
                             .m = m,
                             .residual = gates,
                             .ldr = ld,
                             .y = gates,
                             .ldy = ld};

    oto_linear_rows(pool, thread, &back);
    for (int i = 0; i < m; i++)
        gate(gates + (size_t)i * ld, d, c + (size_t)i * d, h + (size_t)i * d);
}
