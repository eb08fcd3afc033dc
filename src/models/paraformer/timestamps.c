/* Times of tokens in steps of 20 ms, where the weights have the predictor for them (FunASR
 * funasr/models/bicif_paraformer: CifPredictorV3; https://arxiv.org/abs/2301.12343):
 *
 *   a row of H -> three steps of 512 -> LSTM forwards and backwards -> a weight for each step
 *
 * The weights are scaled to the number of tokens; each time they have added up to one, a token
 * begins. */
#include "models/paraformer/paraformer.h"

#include <math.h>
#include <string.h>

#define CONV  "predictor.upsample_cnn"
#define LSTM  "predictor.blstm"
#define OUT   "predictor.cif_output2"
#define GATES ((size_t)4 * PF_D)

static const char *const direction[2] = {"_l0", "_l0_reverse"};

/* ---- packing and binding ---- */

bool oto_pf_times_there(const oto_weights *src)
{
    return oto_weights_find(src, CONV ".weight") != NULL &&
           oto_weights_find(src, LSTM ".weight_ih_l0_reverse") != NULL &&
           oto_weights_find(src, OUT ".weight") != NULL;
}

/* W [in][out][3] of a transposed convolution as wide as its stride: the three steps of a row are
 * each a dense layer of it. */
static void step_row(void *arg, int r, float *out)
{
    const float *w = arg;

    for (int i = 0; i < PF_D; i++)
        out[i] = w[((size_t)i * PF_D + (size_t)(r % PF_D)) * PF_UP + (size_t)(r / PF_D)];
}

static int pack_convolution(const oto_weights *src, oto_gguf_writer *dst, oto_dtype type,
                            oto_arena *a, oto_err *e)
{
    const oto_tensor *w = oto_weights_find(src, CONV ".weight");
    const oto_tensor *b = oto_weights_find(src, CONV ".bias");
    float *all, bias[PF_UP * PF_D];
    int rc;

    if (oto_tensor_rows(w) != PF_D || oto_tensor_row_len(w) != PF_D * PF_UP)
        return oto_fail(e, OTO_E_UNSUPPORTED, "%s: %s.weight is not of %d x %d x %d",
                        oto_weights_path(src), CONV, PF_D, PF_D, PF_UP);
    if (b == NULL || b->rank != 1 || oto_tensor_row_len(b) != PF_D)
        return oto_fail(e, OTO_E_INPUT, "%s: %s.bias is missing or not of %d",
                        oto_weights_path(src), CONV, PF_D);
    if ((rc = oto_arena_get(a, (size_t)PF_D * PF_D * PF_UP, sizeof *all, &all, e)) != 0)
        return rc;
    for (int i = 0; i < PF_D; i++)
        oto_tensor_row_f32(w, i, all + (size_t)i * PF_D * PF_UP);
    for (int k = 0; k < PF_UP; k++)
        oto_tensor_row_f32(b, 0, bias + k * PF_D);
    if ((rc = oto_put_matrix(dst, CONV ".weight", type, PF_UP * PF_D, PF_D, step_row, all, a, e)) !=
        0)
        return rc;
    return oto_put_vector(dst, CONV ".bias", bias, PF_UP * PF_D, a, e);
}

int oto_pf_times_pack(const oto_weights *src, oto_gguf_writer *dst, oto_dtype type, oto_arena *a,
                      oto_err *e)
{
    double smooth = 0.25, noise = 0.01; /* of the published configuration */
    int rc;

    oto_weights_f32(src, "pf.predictor.smooth_factor2", &smooth);
    oto_weights_f32(src, "pf.predictor.noise_threshold2", &noise);
    if (!(smooth > 0 && smooth <= 16 && noise >= 0 && noise < 1))
        return oto_fail(e, OTO_E_INPUT, "%s: times are smoothed by %g and %g",
                        oto_weights_path(src), smooth, noise);
    if ((rc = oto_gguf_put_f32(dst, "paraformer.times_smooth", (float)smooth, e)) != 0 ||
        (rc = oto_gguf_put_f32(dst, "paraformer.times_noise", (float)noise, e)) != 0 ||
        (rc = pack_convolution(src, dst, type, a, e)) != 0)
        return rc;
    for (int i = 0; i < 2; i++)
        if ((rc = oto_lstm_pack(src, dst, LSTM, direction[i], type, PF_D, PF_D, a, e)) != 0)
            return rc;
    if ((rc = oto_vector_pack(src, dst, OUT ".weight", 2 * PF_D, a, e)) != 0)
        return rc;
    return oto_vector_pack(src, dst, OUT ".bias", 1, a, e);
}

int oto_pf_times_bind(const oto_weights *w, oto_dtype type, pf_times *t, oto_err *e)
{
    const float *bias;
    double smooth, noise;
    int rc;

    if (!oto_weights_f32(w, "paraformer.times_smooth", &smooth) ||
        !oto_weights_f32(w, "paraformer.times_noise", &noise) ||
        !(smooth > 0 && smooth <= 16 && noise >= 0 && noise < 1))
        return oto_fail(e, OTO_E_INPUT,
                        "%s: paraformer.times_smooth or paraformer.times_noise is not lawful",
                        oto_weights_path(w));
    if ((rc = oto_dense_bind(w, CONV, type, PF_UP * PF_D, PF_D, true, &t->up, e)) != 0 ||
        (rc = oto_lstm_bind(w, LSTM, direction[0], type, PF_D, PF_D, &t->lstm[0], e)) != 0 ||
        (rc = oto_lstm_bind(w, LSTM, direction[1], type, PF_D, PF_D, &t->lstm[1], e)) != 0 ||
        (rc = oto_get_vector(w, OUT ".weight", 2 * PF_D, &t->out, e)) != 0 ||
        (rc = oto_get_vector(w, OUT ".bias", 1, &bias, e)) != 0)
        return rc;
    t->bias = bias[0];
    t->smooth = (float)smooth;
    t->noise = (float)noise;
    return 0;
}

/* ---- weights of steps ---- */

static int first_row(const pf_network *s, int window)
{
    return window > 0 ? s->n_rows[window - 1] : 0;
}

/* Steps of the window that stands i-th in order. */
static int steps_of(const pf_network *s, int i)
{
    const int window = s->timer.order[i];

    return PF_UP * (s->n_rows[window] - first_row(s, window));
}

static void put_in_order(pf_network *s, int n)
{
    int *order = s->timer.order;

    for (int i = 0; i < n; i++) {
        int at = i;

        order[i] = i;
        for (; at > 0 && steps_of(s, at) > steps_of(s, at - 1); at--) {
            order[at] = order[at - 1];
            order[at - 1] = i;
        }
    }
}

/* What both directions take from the input in their steps [at, at + PF_TIME_STEPS): forwards from a
 * window's first, backwards from its last. A block's steps backwards stand at its end, so that step
 * t is at the same place in every block. */
static void prepare(pf_network *s, int at, int n)
{
    const pf_times *t = &s->m->times;

    for (int i = 0; i < n && steps_of(s, i) > at; i++) {
        const int all = steps_of(s, i), k = OTO_MIN(PF_TIME_STEPS, all - at);
        const float *u = s->wide + (size_t)(PF_UP * first_row(s, s->timer.order[i])) * PF_D;
        const size_t block = (size_t)i * PF_TIME_STEPS;

        oto_dense_run(s->pool, &t->lstm[0].in, u + (size_t)at * PF_D, k, OTO_ACT_NONE, NULL,
                      s->timer.gates[0] + block * GATES);
        oto_dense_run(s->pool, &t->lstm[1].in, u + (size_t)(all - at - k) * PF_D, k, OTO_ACT_NONE,
                      NULL, s->timer.gates[1] + (block + PF_TIME_STEPS - (size_t)k) * GATES);
    }
}

typedef struct {
    pf_network *s;
    int at, n;
} block;

/* The steps of a block in one direction, all windows that still have one together. */
static void steps_task(void *arg, int back, int thread)
{
    const block *b = arg;
    pf_network *s = b->s;
    pf_timer *r = &s->timer;
    const pf_times *t = &s->m->times;
    int m = b->n;

    for (int k = 0; k < PF_TIME_STEPS; k++) {
        const int step = b->at + k;

        while (m > 0 && steps_of(s, m - 1) <= step)
            m--;
        if (m == 0)
            return;
        oto_lstm_step(s->pool, thread, &t->lstm[back],
                      r->gates[back] + (size_t)(back ? PF_TIME_STEPS - 1 - k : k) * GATES,
                      PF_TIME_STEPS * GATES, m, r->h[back], r->c[back]);
        for (int i = 0; i < m; i++) {
            const int first = PF_UP * first_row(s, r->order[i]);

            r->z[back][first + (back ? steps_of(s, i) - 1 - step : step)] =
                oto_k()->dot_f32(r->h[back] + (size_t)i * PF_D, t->out + (size_t)back * PF_D, PF_D);
        }
    }
}

void oto_pf_time(pf_network *s, int n)
{
    const pf_times *t = &s->m->times;
    pf_timer *r = &s->timer;
    const int rows = s->n_rows[n - 1];

    if (rows == 0)
        return;
    oto_dense_run(s->pool, &t->up, s->sanm.x, rows, OTO_ACT_NONE, NULL, s->wide);
    put_in_order(s, n);
    for (int i = 0; i < 2; i++) {
        memset(r->h[i], 0, (size_t)n * PF_D * sizeof(float));
        memset(r->c[i], 0, (size_t)n * PF_D * sizeof(float));
    }
    for (int at = 0; at < steps_of(s, 0); at += PF_TIME_STEPS) {
        block b = {.s = s, .at = at, .n = n};

        prepare(s, at, n);
        oto_pool_run(s->pool, 2, steps_task, &b);
    }
    for (int i = 0; i < PF_UP * rows; i++) {
        const float z = r->z[0][i] + r->z[1][i] + t->bias;

        r->alpha[i] = OTO_MAX(t->smooth / (1 + expf(-z)) - t->noise, 0);
    }
}

/* ---- times ---- */

#define FULL      0.9999f /* a token's weight */
#define SHIFT     1.5     /* steps by which a token fires too late */
#define MAX_STEPS 12      /* longer: silence follows the token */
#define END_STEPS 5       /* longer: silence ends the window */

static float sum_of(const float *alpha, int n)
{
    double sum = 0;

    for (int i = 0; i < n; i++)
        sum += alpha[i];
    return (float)sum;
}

static int fires(const float *alpha, int n, int *at)
{
    float sum = 0;
    int count = 0;

    for (int i = 0; i < n; i++) {
        sum += alpha[i];
        if (sum >= FULL) {
            at[count++] = i;
            sum -= FULL;
        }
    }
    return count;
}

/* As there: seconds in double precision, cut to whole milliseconds. */
static int64_t ms_of(double steps)
{
    return (int64_t)(steps * (10.0 * 6 / 1000 / PF_UP) * 1000);
}

bool oto_pf_spans(float *alpha, int n, int n_tokens, int n_text, int *fire, pf_span *out)
{
    bool silent = false; /* the last stretch is one of silence */
    float by = (float)n_tokens / sum_of(alpha, n);
    int count, i;
    double last;

    for (i = 0; i < n; i++)
        alpha[i] *= by;
    count = fires(alpha, n, fire);
    if (count != n_text + 1) {
        by = sum_of(alpha, n) / (float)(n_text + 1);
        for (i = 0; i < n; i++)
            alpha[i] /= by;
        count = fires(alpha, n, fire);
    }
    if (count < 2 || n_text < 1)
        return false;
    for (i = 0; i < n_text && i < count - 1; i++) {
        const double from = fire[i] - SHIFT, to = fire[i + 1] - SHIFT;

        silent = to - from > MAX_STEPS;
        out[i] = (pf_span){ms_of(from), ms_of(silent ? from + MAX_STEPS : to)};
    }
    last = fire[count - 1] - SHIFT;
    if (!silent)
        out[i - 1].end_ms = ms_of(n - last > END_STEPS ? (n + last) * 0.5 : n);
    for (; i < n_text; i++)
        out[i] = (pf_span){out[i - 1].end_ms, out[i - 1].end_ms};
    return true;
}
