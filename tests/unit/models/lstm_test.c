/* The LSTM against its definition, in double precision. */
#include "models/lstm.c"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

enum { D = 48, K = 20, M = 3, STEPS = 5 };

static float w_in[4 * D * K], w_back[4 * D * D], b_in[4 * D], b_back[4 * D];

static void fill(float *v, size_t n, uint32_t seed, double by)
{
    for (size_t i = 0; i < n; i++) {
        seed = 1664525u * seed + 1013904223u;
        v[i] = (float)(((double)(seed >> 8) / 8388608.0 - 1) * by);
    }
}

static void put(oto_gguf_writer *w, const char *name, int64_t n, int64_t k, const float *v)
{
    const int64_t dim[2] = {n, k};
    oto_err e = {0};

    if (oto_gguf_put_tensor(w, name, OTO_T_F32, k > 1 ? 2 : 1, dim, v, (size_t)(n * k) * sizeof *v,
                            &e) != 0)
        fail_msg("%s", e.text);
}

/* A file with an LSTM "x", packed. */
static oto_weights *packed(oto_dtype type, bool whole, int *rc)
{
    char from[] = "/tmp/oto-lstm-XXXXXX", to[] = "/tmp/oto-lstm-XXXXXX";
    oto_weights *src, *out = NULL;
    oto_gguf_writer *w;
    oto_arena *a;
    oto_err e = {0};

    close(mkstemp(from));
    close(mkstemp(to));
    fill(w_in, 4 * D * K, 1, 0.4);
    fill(w_back, 4 * D * D, 2, 0.3);
    fill(b_in, 4 * D, 3, 0.2);
    fill(b_back, 4 * D, 4, 0.2);
    assert_int_equal(oto_gguf_writer_new(&w, &e), 0);
    put(w, "x.weight_ih_l1", 4 * D, K, w_in);
    put(w, "x.weight_hh_l1", 4 * D, D, w_back);
    put(w, "x.bias_ih_l1", 4 * D, 1, b_in);
    if (whole)
        put(w, "x.bias_hh_l1", 4 * D, 1, b_back);
    assert_int_equal(oto_gguf_finish(w, from, &e), 0);
    oto_gguf_writer_free(w);
    assert_int_equal(oto_weights_open(from, &src, &e), 0);
    assert_int_equal(oto_arena_new("test", (size_t)16 << 20, &a, &e), 0);
    assert_int_equal(oto_gguf_writer_new(&w, &e), 0);
    *rc = oto_lstm_pack(src, w, "x", "_l1", type, D, K, a, &e);
    if (*rc == 0) {
        assert_int_equal(oto_gguf_finish(w, to, &e), 0);
        assert_int_equal(oto_weights_open(to, &out, &e), 0);
    } else {
        assert_non_null(strstr(e.text, "bias_hh_l1"));
    }
    oto_gguf_writer_free(w);
    oto_weights_close(src);
    oto_arena_free(a);
    unlink(from);
    unlink(to);
    return out;
}

static double s(double x)
{
    return 1 / (1 + exp(-x));
}

static void step_by_definition(const float *x, double *h, double *c)
{
    double g[4 * D];

    for (int r = 0; r < 4 * D; r++) {
        g[r] = (double)b_in[r] + (double)b_back[r];
        for (int k = 0; k < K; k++)
            g[r] += (double)w_in[r * K + k] * (double)x[k];
        for (int k = 0; k < D; k++)
            g[r] += (double)w_back[r * D + k] * h[k];
    }
    for (int j = 0; j < D; j++) {
        c[j] = s(g[D + j]) * c[j] + s(g[j]) * tanh(g[2 * D + j]);
        h[j] = s(g[3 * D + j]) * tanh(c[j]);
    }
}

static void test_definition(void **state)
{
    static const double within[] = {[OTO_F32] = 2e-6, [OTO_BF16] = 0.02, [OTO_I8] = 0.02};
    oto_pool *pool;
    oto_err e = {0};

    (void)state;
    assert_int_equal(oto_cpu_init(&e), 0);
    assert_int_equal(oto_pool_new(1, OTO_POOL_SCRATCH_BYTES, &pool, &e), 0);
    for (oto_dtype type = OTO_F32; type <= OTO_I8; type++) {
        float x[STEPS * M * K], h[M * D] = {0}, c[M * D] = {0}, alone_h[D] = {0}, alone_c[D] = {0};
        double dh[M][D] = {{0}}, dc[M][D] = {{0}};
        oto_lstm l;
        int rc;
        oto_weights *w = packed(type, true, &rc);

        assert_non_null(w);
        assert_int_equal(oto_lstm_bind(w, "x", "_l1", type, D, K, &l, &e), 0);
        fill(x, STEPS * M * K, 9, 1);
        for (int t = 0; t < STEPS; t++) {
            enum { LD = 4 * D + 16 };
            float gates[M * LD], alone[4 * D];

            for (int i = 0; i < M; i++) {
                oto_dense_rows(pool, 0, &l.in, x + (t * M + i) * K, 1, OTO_ACT_NONE, NULL,
                               gates + i * LD);
                step_by_definition(x + (t * M + i) * K, dh[i], dc[i]);
            }
            memcpy(alone, gates + LD, sizeof alone);
            oto_lstm_step(pool, 0, &l, gates, LD, M, h, c);
            oto_lstm_step(pool, 0, &l, alone, 4 * D, 1, alone_h, alone_c);
            for (int i = 0; i < M * D; i++)
                assert_true(fabs((double)h[i] - dh[i / D][i % D]) < within[type]);
            /* The second sequence does not know the others. */
            assert_memory_equal(alone_h, h + D, sizeof alone_h);
            assert_memory_equal(alone_c, c + D, sizeof alone_c);
        }
        oto_weights_close(w);
    }
    oto_pool_free(pool);
}

static void test_exponential(void **state)
{
    (void)state;
    for (int i = -87000; i <= 87000; i++) {
        const double x = (double)((float)i / 1000), y = exp(x);

        assert_true(fabs((double)exponential((float)x) - y) < 3e-7 * y);
    }
    assert_true(exponential(-1e30f) >= 0 && exponential(-1e30f) < 1e-37f);
    assert_true(exponential(1e30f) > 1e37f);
    assert_true(exponential(NAN) < 1e-37f);
    assert_true(sigmoid(-INFINITY) < 1e-37f && sigmoid(INFINITY) == 1);
}

static void test_missing_bias(void **state)
{
    int rc;

    (void)state;
    assert_null(packed(OTO_F32, false, &rc));
    assert_int_equal(rc, OTO_E_INPUT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_definition),
        cmocka_unit_test(test_exponential),
        cmocka_unit_test(test_missing_bias),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
