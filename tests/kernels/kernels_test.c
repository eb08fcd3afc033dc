/* Every operation of kernels.h on every table this CPU has, against the scalar one: all tail
 * lengths, guard bytes around outputs, the tolerances that kernels.h states.
 *
 * OTOLITH_CPU does not matter here: each table is selected in turn. */
#include "kernels/kernels_impl.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define GUARD      64 /* floats on either side of an output */
#define GUARD_BITS 0x7fa5a5a5u

static uint32_t seed = 1;

static float uniform(void) /* [-1, 1) */
{
    seed = seed * 1664525u + 1013904223u;
    return (float)(seed >> 8) / 8388608.0f - 1;
}

static int between(int low, int high)
{
    seed = seed * 1664525u + 1013904223u;
    return low + (int)((seed >> 8) % (unsigned)(high - low + 1));
}

static float *noise(size_t n, float size)
{
    float *x = malloc((n + 1) * sizeof *x);

    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = uniform() * size;
    return x;
}

/* An output between guards, all of it poisoned. */
static float *guarded(size_t n)
{
    uint32_t *p = malloc((n + 2 * GUARD) * sizeof *p);

    assert_non_null(p);
    for (size_t i = 0; i < n + 2 * GUARD; i++)
        p[i] = GUARD_BITS;
    return (float *)(p + GUARD);
}

static void release(float *out, size_t n)
{
    uint32_t *p = (uint32_t *)(void *)out - GUARD;

    for (int i = 0; i < GUARD; i++) {
        assert_int_equal(p[i], GUARD_BITS);
        assert_int_equal(p[GUARD + n + (size_t)i], GUARD_BITS);
    }
    free(p);
}

static void near(float a, float b, float absolute, float relative)
{
    if (isinf(b) && a == b)
        return;
    if (!(fabsf(a - b) <= absolute + relative * fabsf(b)))
        fail_msg("%s: %.9g, expected %.9g", oto_cpu_table(), (double)a, (double)b);
}

static void use(const oto_kernels *k)
{
    oto_err e;

    assert_int_equal(oto_cpu_select(k->name, &e), 0);
}

/* for (each table but scalar) */
#define EACH_TABLE(k)                                                                              \
    for (const oto_kernels *(k), **once_ = NULL; once_ == NULL; once_ = &(k))                      \
        for (int i_ = 0; ((k) = oto_cpu_table_at(i_)) != NULL && (use(k), true); i_++)

static oto_pool *pool_of(int threads)
{
    oto_pool *p;
    oto_err e;

    if (oto_pool_new(threads, OTO_POOL_SCRATCH_BYTES, &p, &e) != 0)
        fail_msg("%s", e.text);
    return p;
}

typedef struct {
    oto_mat m;
    void *data;
    float *scale;
    int32_t *row_sum;
} packed;

static packed pack(oto_dtype type, const float *w, int n, int k)
{
    const size_t bytes = (oto_pack_bytes(type, n, k) + 63) / 64 * 64,
                 up = ((size_t)n + 15) / 16 * 16;
    packed p = {.data = aligned_alloc(64, bytes),
                .scale = aligned_alloc(64, (up * 4 + 63) / 64 * 64),
                .row_sum = aligned_alloc(64, (up * 4 + 63) / 64 * 64)};

    assert_true(p.data && p.scale && p.row_sum);
    oto_pack(type, w, n, k, (size_t)k, p.data, p.scale, p.row_sum);
    p.m = (oto_mat){type, n, k, p.data, p.scale, p.row_sum};
    return p;
}

static void unpack(packed *p)
{
    free(p->data);
    free(p->scale);
    free(p->row_sum);
}

/* ---- products ---- */

static void test_packed_rows_come_back(void **state)
{
    (void)state;
    for (int type = OTO_F32; type <= OTO_I8; type++)
        for (int round = 0; round < 20; round++) {
            const int n = between(1, 70), k = between(1, 70);
            float *w = noise((size_t)n * (size_t)k, 2), row[70];
            packed p = pack((oto_dtype)type, w, n, k);

            for (int r = 0; r < n; r++) {
                float most = 0;

                oto_mat_row(&p.m, r, row);
                for (int i = 0; i < k; i++)
                    most = fmaxf(most, fabsf(w[r * k + i]));
                for (int i = 0; i < k; i++)
                    near(row[i], w[r * k + i], type == OTO_I8 ? most / 253 : 0,
                         type == OTO_BF16 ? 1.0f / 256 : 0);
            }
            unpack(&p);
            free(w);
        }
}

typedef struct {
    oto_dtype type;
    int m, n, k;
    oto_act act;
    bool bias, residual, in_place;
} shape;

static float *product(oto_pool *pool, const shape *s, const packed *w, const float *x,
                      const float *bias, const float *residual, size_t ldy)
{
    float *y = guarded((size_t)s->m * ldy);
    oto_linear a = {.w = &w->m,
                    .x = x,
                    .ldx = (size_t)s->k + 3,
                    .m = s->m,
                    .bias = s->bias ? bias : NULL,
                    .act = s->act,
                    .residual = s->residual ? residual : NULL,
                    .ldr = ldy,
                    .y = y,
                    .ldy = ldy};

    if (s->residual && s->in_place) {
        for (int i = 0; i < s->m; i++)
            memcpy(y + (size_t)i * ldy, residual + (size_t)i * ldy, (size_t)s->n * sizeof *y);
        a.residual = y;
    }
    oto_linear_run(pool, &a);
    return y;
}

static void check_product(oto_pool *pool, const shape *s)
{
    const size_t ldy = (size_t)s->n + 5;
    float *w = noise((size_t)s->n * (size_t)s->k, 0.5f);
    float *x = noise((size_t)s->m * ((size_t)s->k + 3), 3), *bias = noise((size_t)s->n, 1);
    float *residual = noise((size_t)s->m * ldy, 1), *expected;
    packed p = pack(s->type, w, s->n, s->k);

    use(&oto_kernels_scalar);
    expected = product(pool, s, &p, x, bias, residual, ldy);
    EACH_TABLE(k)
    {
        float *y = product(pool, s, &p, x, bias, residual, ldy);
        /* int8 sums are exact; floats differ by the order of their sums. */
        const float loose = s->type == OTO_I8 ? 2e-6f * sqrtf((float)s->k) : 2e-6f * (float)s->k;

        for (int i = 0; i < s->m; i++) {
            for (int j = 0; j < s->n; j++)
                near(y[(size_t)i * ldy + (size_t)j], expected[(size_t)i * ldy + (size_t)j],
                     1e-5f + loose, 2e-6f);
            for (size_t j = (size_t)s->n; j < ldy; j++)
                assert_memory_equal(&y[(size_t)i * ldy + j], &(uint32_t){GUARD_BITS}, 4);
        }
        release(y, (size_t)s->m * ldy);
    }
    release(expected, (size_t)s->m * ldy);
    unpack(&p);
    free(w);
    free(x);
    free(bias);
    free(residual);
}

static void test_products(void **state)
{
    oto_pool *pool = pool_of(2);

    (void)state;
    for (int type = OTO_F32; type <= OTO_I8; type++) {
        for (int round = 0; round < 150; round++) {
            const shape s = {.type = (oto_dtype)type,
                             .m = between(1, 30),
                             .n = between(1, 90),
                             .k = between(1, 140),
                             .act = (oto_act)between(0, 2),
                             .bias = between(0, 1),
                             .residual = between(0, 1),
                             .in_place = between(0, 1)};

            check_product(pool, &s);
        }
        /* Shapes of a model: many blocks of rows, few rows with many panels. */
        check_product(pool, &(shape){(oto_dtype)type, 401, 384, 384, OTO_ACT_GELU, true, true, 0});
        check_product(pool, &(shape){(oto_dtype)type, 7, 5003, 384, OTO_ACT_NONE, false, false, 0});
        check_product(pool, &(shape){(oto_dtype)type, 33, 97, 1537, OTO_ACT_NONE, true, true, 1});
    }
    oto_pool_free(pool);
}

/* A row's result depends on nothing but the row. */
static void test_rows_do_not_know_each_other(void **state)
{
    enum { M = 61, N = 83, K = 129 };
    float *w = noise(N * K, 1), *x = noise(M * K, 2);

    (void)state;
    for (int type = OTO_F32; type <= OTO_I8; type++) {
        packed p = pack((oto_dtype)type, w, N, K);

        EACH_TABLE(k)
        {
            float *alone = guarded(M * N), *all = guarded(M * N);

            for (int threads = 1; threads <= 4; threads++) {
                oto_pool *pool = pool_of(threads);
                oto_linear a = {
                    .w = &p.m, .x = x, .ldx = K, .m = M, .act = OTO_ACT_GELU, .y = all, .ldy = N};

                oto_linear_run(pool, &a);
                for (int i = 0; i < M; i++) {
                    a.x = x + i * K;
                    a.m = 1;
                    a.y = alone + i * N;
                    oto_linear_run(pool, &a);
                }
                assert_memory_equal(all, alone, M * N * sizeof *all);
                oto_pool_free(pool);
            }
            release(alone, M * N);
            release(all, M * N);
        }
        unpack(&p);
    }
    free(w);
    free(x);
}

/* Quantised extremes: all ±127, where a saturating instruction would show. */
static void test_extreme_bytes_are_exact(void **state)
{
    enum { M = 5, N = 33, K = 260 };
    float *w = noise(N * K, 1), *x = noise(M * K, 1);
    oto_pool *pool = pool_of(1);
    packed p;

    (void)state;
    for (int i = 0; i < N * K; i++)
        w[i] = w[i] < 0 ? -1 : 1;
    for (int i = 0; i < M * K; i++)
        x[i] = i % 3 == 0 ? 1 : -1;
    p = pack(OTO_I8, w, N, K);
    EACH_TABLE(k)
    {
        float *y = guarded(M * N);
        const oto_linear a = {.w = &p.m, .x = x, .ldx = K, .m = M, .y = y, .ldy = N};

        oto_linear_run(pool, &a);
        for (int i = 0; i < M; i++)
            for (int j = 0; j < N; j++) {
                double sum = 0;

                for (int c = 0; c < K; c++)
                    sum += (double)x[i * K + c] * (double)w[j * K + c];
                near(y[i * N + j], (float)sum, 1e-3f, 1e-6f);
            }
        release(y, M * N);
    }
    unpack(&p);
    oto_pool_free(pool);
    free(w);
    free(x);
}

static void test_convolution(void **state)
{
    oto_pool *pool = pool_of(2);

    (void)state;
    for (int round = 0; round < 40; round++) {
        const oto_dtype type = (oto_dtype)between(OTO_F32, OTO_BF16);
        const int t_in = between(1, 40), c_in = between(1, 40), n = between(1, 40);
        const int stride = between(1, 2), t_out = (t_in - 1) / stride + 1;
        const size_t n_y = (size_t)t_out * (size_t)n;
        float *w = noise((size_t)n * 3 * (size_t)c_in, 1), *x = noise((size_t)(t_in * c_in), 1);
        float *bias = noise((size_t)n, 1), *add = noise(n_y, 1);
        packed p = pack(type, w, n, 3 * c_in);

        EACH_TABLE(k)
        {
            float *y = guarded(n_y);
            const oto_conv3 a = {.w = &p.m,
                                 .x = x,
                                 .t_in = t_in,
                                 .c_in = c_in,
                                 .stride = stride,
                                 .bias = bias,
                                 .act = OTO_ACT_RELU,
                                 .add = add,
                                 .y = y};

            oto_conv3_run(pool, &a);
            for (int t = 0; t < t_out; t++)
                for (int j = 0; j < n; j++) {
                    float sum = bias[j];

                    for (int tap = 0; tap < 3; tap++) {
                        const int at = t * stride + tap - 1;

                        for (int c = 0; c < c_in && at >= 0 && at < t_in; c++)
                            sum += x[at * c_in + c] * w[(j * 3 + tap) * c_in + c];
                    }
                    near(y[t * n + j], fmaxf(sum, 0) + add[t * n + j],
                         type == OTO_BF16 ? 0.02f * sqrtf(3.0f * (float)c_in) : 1e-4f, 1e-5f);
                }
            release(y, n_y);
        }
        unpack(&p);
        free(w);
        free(x);
        free(bias);
        free(add);
    }
    oto_pool_free(pool);
}

/* ---- attention ---- */

static void attend_of(const float *qkv, int t, int heads, int d, float scale, int i, int h,
                      double *out)
{
    const size_t ld = (size_t)(3 * heads * d);
    const float *q = qkv + (size_t)i * ld + h * d;
    double *p = malloc((size_t)t * sizeof *p), most = -1e30, sum = 0;

    assert_non_null(p);
    for (int j = 0; j < t; j++) {
        const float *key = qkv + (size_t)j * ld + (heads + h) * d;

        p[j] = 0;
        for (int c = 0; c < d; c++)
            p[j] += (double)q[c] * (double)key[c];
        p[j] *= (double)scale;
        most = fmax(most, p[j]);
    }
    memset(out, 0, (size_t)d * sizeof *out);
    for (int j = 0; j < t; j++) {
        const float *value = qkv + (size_t)j * ld + (2 * heads + h) * d;

        p[j] = exp(p[j] - most);
        sum += p[j];
        for (int c = 0; c < d; c++)
            out[c] += p[j] * (double)value[c];
    }
    for (int c = 0; c < d; c++)
        out[c] /= sum;
    free(p);
}

static void attend(const float *qkv, int t, int heads, float scale, int i, int h, double *out)
{
    attend_of(qkv, t, heads, OTO_HEAD, scale, i, h, out);
}

/* A row of qkv [t][3 * heads * d], all of it. */
static void attention(oto_pool *pool, const float *qkv, int t, int heads, int d, oto_dtype type,
                      float *out)
{
    const size_t width = (size_t)(heads * d);

    oto_attention_run(pool,
                      &(oto_attention){qkv, qkv + width, qkv + 2 * width, 3 * width, 3 * width, t,
                                       t, heads, d, type, 1 / sqrtf((float)d), out, width});
}

static void test_full_attention(void **state)
{
    static const int lengths[] = {1, 2, 15, 16, 17, 63, 100, 257};
    oto_pool *pool = pool_of(2);

    (void)state;
    for (size_t n = 0; n < 2 * OTO_COUNT(lengths); n++)
        for (int type = OTO_F32; type <= OTO_I8; type++) {
            const int t = lengths[n / 2], heads = 3, d = n % 2 ? OTO_HEAD : OTO_HEAD_MAX;
            const size_t width = (size_t)(heads * d);
            const float scale = 1 / sqrtf((float)d);
            float *qkv = noise((size_t)t * 3 * width, 2);
            void *kv8 = aligned_alloc(64, (size_t)heads * oto_kv8_bytes(t, d));

            assert_non_null(kv8);

            EACH_TABLE(k)
            {
                const size_t n_out = (size_t)(t * heads * d);
                float *out = guarded(n_out);
                double expected[OTO_HEAD_MAX];

                if (type == OTO_I8) {
                    oto_kv8_pack(pool, qkv + width, qkv + 2 * width, 3 * width, t, t, heads, d,
                                 kv8);
                    oto_kv8_attend(pool, kv8, t, heads, d, qkv, 3 * width, t, scale, out, width);
                } else {
                    attention(pool, qkv, t, heads, d, (oto_dtype)type, out);
                }
                for (int i = 0; i < t; i++)
                    for (int h = 0; h < heads; h++) {
                        attend_of(qkv, t, heads, d, scale, i, h, expected);
                        for (int c = 0; c < d; c++)
                            near(out[(i * heads + h) * d + c], (float)expected[c],
                                 type == OTO_F32    ? 2e-5f
                                 : type == OTO_BF16 ? 0.03f
                                                    : 0.06f,
                                 0);
                    }
                release(out, n_out);
            }
            free(kv8);
            free(qkv);
        }
    oto_pool_free(pool);
}

/* Cross-attention of lanes that share keys, and self-attention through index tables. */
static void check_step(oto_pool *pool, oto_dtype type, int lanes, int keys, bool self)
{
    enum { HEADS = 2, ROOM = 300 };
    const size_t elem = type == OTO_BF16 ? 2 : 4, head = ROOM * OTO_HEAD;
    const size_t lane_stride = HEADS * head, caches = self ? (size_t)lanes : 1;
    char *k = calloc(caches * lane_stride, elem), *v = calloc(caches * lane_stride, elem);
    int16_t *from = malloc((size_t)lanes * ROOM * sizeof *from);
    oto_attn_lane *lane = calloc((size_t)lanes, sizeof *lane);
    float *q = noise((size_t)lanes * HEADS * OTO_HEAD, 2), *expected = NULL;
    const size_t n_out = (size_t)lanes * HEADS * OTO_HEAD;

    assert_true(k && v && from && lane);
    for (size_t l = 0; l < caches; l++) {
        float *rows = noise((size_t)keys * HEADS * OTO_HEAD, 2);

        use(&oto_kernels_scalar);
        oto_kv_store(type, rows, HEADS * OTO_HEAD, keys, HEADS, k + l * lane_stride * elem, head,
                     0);
        for (int i = 0; i < keys * HEADS * OTO_HEAD; i++)
            rows[i] = uniform();
        oto_kv_store(type, rows, HEADS * OTO_HEAD, keys, HEADS, v + l * lane_stride * elem, head,
                     0);
        free(rows);
    }
    for (int l = 0; l < lanes; l++) {
        for (int t = 0; t < ROOM; t++)
            from[l * ROOM + t] = (int16_t)between(0, lanes - 1);
        lane[l] = (oto_attn_lane){.kv = {type, k, v, head},
                                  .row = self ? from + l * ROOM : NULL,
                                  .n_keys = self ? between(1, keys) : keys};
    }
    for (int pass = -1; pass < 0 || oto_cpu_table_at(pass) != NULL; pass++) {
        float *out = guarded(n_out);

        use(pass < 0 ? &oto_kernels_scalar : oto_cpu_table_at(pass));
        oto_attention_step(pool, q, HEADS * OTO_HEAD, lanes, lane, lane_stride, HEADS, 0.125f, out,
                           HEADS * OTO_HEAD);
        for (size_t i = 0; pass >= 0 && i < n_out; i++)
            near(out[i], expected[i], 3e-5f, 0);
        if (pass < 0)
            expected = out;
        else
            release(out, n_out);
    }
    release(expected, n_out);
    free(k);
    free(v);
    free(from);
    free(lane);
    free(q);
}

static void test_steps_of_attention(void **state)
{
    static const int keys[] = {1, 2, 7, 15, 16, 17, 31, 33, 64, 150, 299};
    oto_pool *pool = pool_of(2);

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(keys); i++)
        for (int type = OTO_F32; type <= OTO_BF16; type++)
            for (int lanes = 1; lanes <= 11; lanes += lanes < 8 ? 1 : 3) {
                check_step(pool, (oto_dtype)type, lanes, keys[i], false);
                check_step(pool, (oto_dtype)type, lanes, keys[i], true);
            }
    oto_pool_free(pool);
}

/* Cross-attention over keys and values in 8 bits: near the truth, and the same in every table but
 * for the rounding of a weight. Keys far from zero, all alike but for a little, are what taking
 * their mean away is for. */
static void check_step8(oto_pool *pool, int lanes, int keys, float shift)
{
    enum { HEADS = 2, WIDTH = HEADS * OTO_HEAD };
    const size_t n_out = (size_t)lanes * WIDTH;
    float *qkv = noise((size_t)OTO_MAX(keys, lanes) * 3 * WIDTH, 2), *first = NULL;
    oto_attn_lane *lane = calloc((size_t)lanes, sizeof *lane);
    void *kv8 = aligned_alloc(64, HEADS * oto_kv8_bytes(keys, OTO_HEAD));

    assert_true(lane && kv8);
    assert_int_equal(oto_kv8_bytes(keys, OTO_HEAD) % 64, 0);
    for (int t = 0; t < keys; t++)
        for (int c = 0; c < WIDTH; c++)
            qkv[(size_t)t * 3 * WIDTH + WIDTH + (size_t)c] += shift * (float)(c % 3);
    for (int l = 0; l < lanes; l++)
        lane[l] = (oto_attn_lane){{OTO_I8, kv8, NULL, oto_kv8_bytes(keys, OTO_HEAD)}, NULL, keys};
    for (int pass = 0; oto_cpu_table_at(pass) != NULL; pass++) {
        float *out = guarded(n_out);
        double expected[OTO_HEAD];

        use(oto_cpu_table_at(pass));
        oto_kv8_pack(pool, qkv + WIDTH, qkv + 2 * WIDTH, 3 * WIDTH, keys, keys, HEADS, OTO_HEAD,
                     kv8);
        oto_attention_step(pool, qkv, 3 * WIDTH, lanes, lane, 0, HEADS, 0.125f, out, WIDTH);
        for (int l = 0; l < lanes; l++)
            for (int h = 0; h < HEADS; h++) {
                attend(qkv, keys, HEADS, 0.125f, l, h, expected);
                for (int c = 0; c < OTO_HEAD; c++)
                    near(out[l * WIDTH + h * OTO_HEAD + c], (float)expected[c], 0.05f, 0);
            }
        for (size_t i = 0; first && i < n_out; i++)
            near(out[i], first[i], 3e-4f, 0);
        if (first)
            release(out, n_out);
        else
            first = out;
    }
    release(first, n_out);
    free(kv8);
    free(lane);
    free(qkv);
}

static void test_steps_in_8_bits(void **state)
{
    static const int keys[] = {1, 2, 3, 4, 7, 15, 16, 17, 63, 65, 150, 301};
    oto_pool *pool = pool_of(2);

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(keys); i++)
        for (int lanes = 1; lanes <= 11; lanes++) {
            check_step8(pool, lanes, keys[i], 0);
            check_step8(pool, lanes, keys[i], 40);
        }
    oto_pool_free(pool);
}

/* A key that stands for four is four keys. */
static void test_thin_keys_weigh_as_many(void **state)
{
    enum {
        DENSE = 48,
        THIN = 21,
        KEYS = DENSE + THIN,
        ALL = DENSE + THIN * OTO_KV8_THIN,
        LANES = 3
    };
    float *q = noise(LANES * OTO_HEAD, 2), *k = noise(KEYS * OTO_HEAD, 2);
    float *v = noise(KEYS * OTO_HEAD, 2), *all_k = calloc(ALL, OTO_HEAD * sizeof(float));
    float *all_v = calloc(ALL, OTO_HEAD * sizeof(float));
    void *thin = aligned_alloc(64, oto_kv8_bytes(KEYS, OTO_HEAD)),
         *all = aligned_alloc(64, oto_kv8_bytes(ALL, OTO_HEAD));
    oto_attn_lane few[LANES], many[LANES];
    oto_pool *pool = pool_of(1);

    (void)state;
    assert_true(all_k && all_v && thin && all);
    for (int t = 0; t < ALL; t++) {
        const int of = t < DENSE ? t : DENSE + (t - DENSE) / OTO_KV8_THIN;
        memcpy(all_k + t * OTO_HEAD, k + of * OTO_HEAD, OTO_HEAD * sizeof(float));
        memcpy(all_v + t * OTO_HEAD, v + of * OTO_HEAD, OTO_HEAD * sizeof(float));
    }
    for (int l = 0; l < LANES; l++) {
        few[l] = (oto_attn_lane){{OTO_I8, thin, NULL, 0}, NULL, KEYS};
        many[l] = (oto_attn_lane){{OTO_I8, all, NULL, 0}, NULL, ALL};
    }
    for (int pass = 0; oto_cpu_table_at(pass) != NULL; pass++) {
        float a[LANES * OTO_HEAD], b[LANES * OTO_HEAD];

        use(oto_cpu_table_at(pass));
        oto_kv8_pack(pool, k, v, OTO_HEAD, KEYS, DENSE, 1, OTO_HEAD, thin);
        oto_kv8_pack(pool, all_k, all_v, OTO_HEAD, ALL, ALL, 1, OTO_HEAD, all);
        oto_attention_step(pool, q, OTO_HEAD, LANES, few, 0, 1, 0.125f, a, OTO_HEAD);
        oto_attention_step(pool, q, OTO_HEAD, LANES, many, 0, 1, 0.125f, b, OTO_HEAD);
        for (int i = 0; i < LANES * OTO_HEAD; i++)
            near(a[i], b[i], 0.01f, 0); /* the keys' means differ: other roundings */
        oto_kv8_attend_rows(pool, 0, thin, KEYS, 1, OTO_HEAD, q, OTO_HEAD, LANES, 0.125f, b,
                            OTO_HEAD);
        for (int i = 0; i < LANES * OTO_HEAD; i++)
            near(a[i], b[i], 0.02f, 0);
    }
    oto_pool_free(pool);
    free(thin);
    free(all);
    free(all_k);
    free(all_v);
    free(q);
    free(k);
    free(v);
}

/* What attention in 8 bits says that it needs is enough, for as many queries as there may be. */
static void test_attention_keeps_to_its_room(void **state)
{
    static const int keys[] = {1, 5, 63, 64, 150}, queries[] = {1, 7, 8, 9, 15, 16, 17, 31, 32};
    oto_pool *pool = pool_of(1);

    (void)state;
    EACH_TABLE(table)
    {
        const int most = table->impl->mm[OTO_I8].mr;

        for (size_t i = 0; i < OTO_COUNT(keys); i++)
            for (size_t j = 0; j < OTO_COUNT(queries) && queries[j] <= most; j++)
                for (int bits = 8; bits <= 14; bits += 6) {
                    const int t = keys[i], m = queries[j];
                    const size_t room = oto_attend8_bytes(t, OTO_HEAD, m);
                    char *kv8 = aligned_alloc(64, oto_kv8_bytes(t, OTO_HEAD));
                    char *work = aligned_alloc(64, (room + 64 + 63) / 64 * 64);
                    float *out = guarded((size_t)m * OTO_HEAD);
                    float *x = noise((size_t)OTO_MAX(t, m) * OTO_HEAD, 2);

                    assert_true(kv8 && work);
                    memset(work + room, GUARD_BITS & 0xff, 64);
                    oto_kv8_pack(pool, x, x, OTO_HEAD, t, t, 1, OTO_HEAD, kv8);
                    oto_attend8(kv8, t, OTO_HEAD, x, OTO_HEAD, m, 0.125f, bits, out, OTO_HEAD,
                                work);
                    for (int b = 0; b < 64; b++)
                        assert_int_equal((unsigned char)work[room + (size_t)b], GUARD_BITS & 0xff);
                    release(out, (size_t)m * OTO_HEAD);
                    free(x);
                    free(work);
                    free(kv8);
                }
    }
    oto_pool_free(pool);
}

static void test_keys_in_8_bits_come_back(void **state)
{
    enum { KEYS = 37, WIDTH = 2 * OTO_HEAD };
    oto_pool *pool = pool_of(1);
    float *k = noise((size_t)KEYS * WIDTH, 3), out[KEYS * OTO_HEAD];
    void *kv8 = aligned_alloc(64, 2 * oto_kv8_bytes(KEYS, OTO_HEAD));

    (void)state;
    assert_non_null(kv8);
    oto_kv8_pack(pool, k, k, WIDTH, KEYS, KEYS, 2, OTO_HEAD, kv8);
    oto_kv8_keys((char *)kv8 + oto_kv8_bytes(KEYS, OTO_HEAD), KEYS, KEYS, out);
    for (int c = 0; c < OTO_HEAD; c++) {
        float mean = 0;

        for (int t = 0; t < KEYS; t++)
            mean += k[t * WIDTH + OTO_HEAD + c] / KEYS;
        for (int t = 0; t < KEYS; t++)
            near(out[t * OTO_HEAD + c], k[t * WIDTH + OTO_HEAD + c] - mean, 0.02f, 0);
    }
    free(kv8);
    free(k);
    oto_pool_free(pool);
}

/* ---- one result, whatever the table ---- */

/* Everything that a model computes, at lengths with and without a tail, one after the other. */
static size_t compute_all(oto_pool *pool, bool bf16, float *out)
{
    enum { M = 39, K = 83, N = 45, HEADS = 2, KEYS = 117, WIDTH = HEADS * OTO_HEAD };
    float *at = out;

    seed = 11;
    float *x = noise((size_t)M * K, 3), *w = noise((size_t)N * K, 0.5f), *bias = noise(N, 1);
    float *qkv = noise((size_t)KEYS * 3 * WIDTH, 2), *more = noise((size_t)M * N, 1);

    for (int type = OTO_F32; type <= OTO_I8; type++) {
        packed p = pack(type, w, N, K);

        for (oto_act act = OTO_ACT_NONE; (bf16 || type != OTO_BF16) && act <= OTO_ACT_GELU; act++) {
            oto_linear_run(pool, &(oto_linear){&p.m, x, K, M, bias, act, more, N, at, N});
            at += M * N;
        }
        unpack(&p);
    }
    oto_layer_norm(pool, qkv, WIDTH, qkv + WIDTH, qkv + 2 * WIDTH, 1e-5f, M, K, at, K);
    at += M * K;
    memcpy(at, qkv, (size_t)M * K * sizeof *at);
    oto_softmax(pool, at, K, M, K);
    at += M * K;
    attention(pool, qkv, KEYS, HEADS, OTO_HEAD, OTO_F32, at);
    at += KEYS * WIDTH;
    attention(pool, qkv, KEYS, HEADS / 2, OTO_HEAD_MAX, OTO_F32, at);
    at += KEYS * WIDTH;
    if (bf16) {
        attention(pool, qkv, KEYS, HEADS, OTO_HEAD, OTO_BF16, at);
        at += KEYS * WIDTH;
    }

    void *kv8 = aligned_alloc(64, HEADS * oto_kv8_bytes(KEYS, OTO_HEAD));
    float *k = noise((size_t)KEYS * WIDTH, 1), *v = noise((size_t)KEYS * WIDTH, 1);
    assert_non_null(kv8);
    oto_kv8_pack(pool, qkv + WIDTH, qkv + 2 * WIDTH, 3 * WIDTH, KEYS, 96, HEADS, OTO_HEAD, kv8);
    for (float scale = 0.125f; scale < 1; scale *= 4) { /* with 0.5 most keys weigh nothing */
        oto_kv8_attend(pool, kv8, KEYS, HEADS, OTO_HEAD, qkv, 3 * WIDTH, KEYS, scale, at, WIDTH);
        at += KEYS * WIDTH;
    }
    for (int type = OTO_F32; type <= OTO_I8; type++) {
        oto_attn_lane lanes[M];
        const size_t head =
            type == OTO_I8 ? oto_kv8_bytes(KEYS, OTO_HEAD) : (size_t)KEYS * OTO_HEAD;

        if (type != OTO_I8) {
            oto_kv_store(type, qkv + WIDTH, 3 * WIDTH, KEYS, HEADS, k, head, 0);
            oto_kv_store(type, qkv + 2 * WIDTH, 3 * WIDTH, KEYS, HEADS, v, head, 0);
        }
        for (int i = 0; i < M; i++)
            lanes[i] =
                (oto_attn_lane){{type, type == OTO_I8 ? kv8 : (void *)k, v, head}, NULL, KEYS};
        oto_attention_step(pool, qkv, 3 * WIDTH, M, lanes, 0, HEADS, 0.125f, at, WIDTH);
        at += M * WIDTH;
    }

    *at++ = oto_k()->dot_f32(x, w, N * K % 512);
    *at++ = oto_k()->logsumexp_f32(x, M * K);
    *at++ = (float)oto_k()->argmax_f32(x, M * K);
    *at++ = (float)oto_k()->above_f32(x, M * K, 2.9f);
    memcpy(at, x, (size_t)M * K * sizeof *at);
    oto_k()->ln_max_f32(at, M * K, 1e-10f);
    at += M * K;
    free(x);
    free(w);
    free(bias);
    free(qkv);
    free(more);
    free(kv8);
    free(k);
    free(v);
    return (size_t)(at - out);
}

static void test_tables_agree_to_the_last_bit(void **state)
{
    enum { ROOM = 1 << 18 };
    oto_pool *pool = pool_of(2);
    float *expected = calloc(ROOM, sizeof *expected), *got = calloc(ROOM, sizeof *got);

    (void)state;
    assert_true(expected && got);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        use(&oto_kernels_scalar);
        const size_t n = compute_all(pool, bf16, expected);

        assert_true(n < ROOM);
        EACH_TABLE(k)
        {
            if (bf16 && strcmp(k->name, "avx512bf16") == 0)
                continue;
            assert_int_equal(compute_all(pool, bf16, got), n);
            for (size_t i = 0; i < n; i++)
                if (memcmp(&got[i], &expected[i], sizeof *got) != 0)
                    fail_msg("%s: value %zu is %.9g, expected %.9g", k->name, i, (double)got[i],
                             (double)expected[i]);
        }
    }
    oto_pool_free(pool);
    free(expected);
    free(got);
}

/* As many keys as Whisper has, most of which weigh nothing: sums in several pieces, tiles and a
 * rest. */
static void test_tables_agree_on_many_keys(void **state)
{
    enum { KEYS = 1501, QUERIES = 13 };
    const size_t n = (size_t)QUERIES * OTO_HEAD;
    oto_pool *pool = pool_of(2);
    float *qkv = noise((size_t)KEYS * 3 * OTO_HEAD, 2);
    float *expected = calloc(2 * n, sizeof *expected), *got = calloc(2 * n, sizeof *got);
    void *kv8 = aligned_alloc(64, oto_kv8_bytes(KEYS, OTO_HEAD));

    (void)state;
    assert_true(expected && got && kv8);
    for (int pass = -1; pass < 0 || oto_cpu_table_at(pass) != NULL; pass++) {
        float *out = pass < 0 ? expected : got;
        oto_attn_lane lanes[QUERIES];

        use(pass < 0 ? &oto_kernels_scalar : oto_cpu_table_at(pass));
        oto_kv8_pack(pool, qkv + OTO_HEAD, qkv + 2 * OTO_HEAD, 3 * OTO_HEAD, KEYS, KEYS, 1,
                     OTO_HEAD, kv8);
        oto_kv8_attend(pool, kv8, KEYS, 1, OTO_HEAD, qkv, 3 * OTO_HEAD, QUERIES, 1, out, OTO_HEAD);
        for (int i = 0; i < QUERIES; i++)
            lanes[i] = (oto_attn_lane){{OTO_I8, kv8, NULL, 0}, NULL, KEYS};
        oto_attention_step(pool, qkv, 3 * OTO_HEAD, QUERIES, lanes, 0, 1, 1, out + n, OTO_HEAD);
        for (size_t i = 0; i < 2 * n && pass >= 0; i++)
            if (memcmp(&got[i], &expected[i], sizeof *got) != 0)
                fail_msg("%s: value %zu is %.9g, expected %.9g", oto_cpu_table(), i, (double)got[i],
                         (double)expected[i]);
    }
    oto_pool_free(pool);
    free(qkv);
    free(expected);
    free(got);
    free(kv8);
}

/* A single step over known keys, by hand: the scalar table itself. */
static void test_step_by_hand(void **state)
{
    enum { KEYS = 40 };
    oto_pool *pool = pool_of(1);
    float *qkv = noise((size_t)KEYS * 3 * OTO_HEAD, 2);

    (void)state;
    EACH_TABLE(k)
    {
        float key[KEYS * OTO_HEAD], value[KEYS * OTO_HEAD], *out = guarded(OTO_HEAD);
        const oto_attn_lane lane = {{OTO_F32, key, value, KEYS * OTO_HEAD}, NULL, KEYS};
        double expected[OTO_HEAD];

        oto_kv_store(OTO_F32, qkv + OTO_HEAD, 3 * OTO_HEAD, KEYS, 1, key, KEYS * OTO_HEAD, 0);
        oto_kv_store(OTO_F32, qkv + 2 * OTO_HEAD, 3 * OTO_HEAD, KEYS, 1, value, KEYS * OTO_HEAD, 0);
        oto_attention_step(pool, qkv, OTO_HEAD, 1, &lane, 0, 1, 0.125f, out, OTO_HEAD);
        attend(qkv, KEYS, 1, 0.125f, 0, 0, expected);
        for (int c = 0; c < OTO_HEAD; c++)
            near(out[c], (float)expected[c], 2e-5f, 0);
        release(out, OTO_HEAD);
    }
    free(qkv);
    oto_pool_free(pool);
}

/* ---- rows ---- */

static void test_layer_norm(void **state)
{
    oto_pool *pool = pool_of(2);

    (void)state;
    for (int n = 1; n <= 131; n++) {
        const int m = between(1, 5);
        const size_t ld = (size_t)n + 2;
        float *x = noise((size_t)m * ld, 3), *gamma = noise((size_t)n, 1);
        float *beta = noise((size_t)n, 1);

        EACH_TABLE(k)
        {
            float *y = guarded((size_t)m * ld);

            oto_layer_norm(pool, x, ld, gamma, beta, 1e-5f, m, n, y, ld);
            for (int i = 0; i < m; i++) {
                double mean = 0, var = 0;

                for (int j = 0; j < n; j++)
                    mean += (double)x[(size_t)i * ld + (size_t)j] / n;
                for (int j = 0; j < n; j++)
                    var += pow((double)x[(size_t)i * ld + (size_t)j] - mean, 2) / n;
                for (int j = 0; j < n; j++)
                    near(y[(size_t)i * ld + (size_t)j],
                         (float)(((double)x[(size_t)i * ld + (size_t)j] - mean) / sqrt(var + 1e-5) *
                                     (double)gamma[j] +
                                 (double)beta[j]),
                         2e-5f, 2e-5f);
            }
            release(y, (size_t)m * ld);
        }
        free(x);
        free(gamma);
        free(beta);
    }
    oto_pool_free(pool);
}

static void test_softmax(void **state)
{
    oto_pool *pool = pool_of(2);

    (void)state;
    for (int n = 1; n <= 100; n++)
        EACH_TABLE(k)
        {
            float *x = guarded((size_t)n), *copy = noise((size_t)n, 30);
            double sum = 0;
            float most = -1e30f;

            if (n > 3)
                copy[n / 2] = -INFINITY;
            memcpy(x, copy, (size_t)n * sizeof *x);
            for (int i = 0; i < n; i++)
                most = fmaxf(most, copy[i]);
            for (int i = 0; i < n; i++)
                sum += exp((double)copy[i] - most);
            oto_softmax(pool, x, (size_t)n, 1, n);
            for (int i = 0; i < n; i++)
                near(x[i], (float)(exp((double)copy[i] - most) / sum), 1e-7f, 2e-6f);
            release(x, (size_t)n);
            free(copy);
        }
    oto_pool_free(pool);
}

static void test_gelu(void **state)
{
    enum { N = 4001 };
    float w = 1, *x = malloc(N * sizeof *x);
    oto_pool *pool = pool_of(1);
    packed p = pack(OTO_F32, &w, 1, 1);

    (void)state;
    assert_non_null(x);
    for (int i = 0; i < N; i++)
        x[i] = (float)(i - N / 2) * 0.005f;
    EACH_TABLE(k)
    {
        float *y = guarded(N);
        const oto_linear a = {
            .w = &p.m, .x = x, .ldx = 1, .m = N, .act = OTO_ACT_GELU, .y = y, .ldy = 1};

        oto_linear_run(pool, &a);
        for (int i = 0; i < N; i++)
            near(y[i], (float)((double)x[i] * 0.5 * erfc(-(double)x[i] / sqrt(2))), 1e-6f, 1e-6f);
        release(y, N);
    }
    unpack(&p);
    free(x);
    oto_pool_free(pool);
}

/* ---- small operations ---- */

static void test_small_operations(void **state)
{
    (void)state;
    for (int n = 1; n <= 200; n++)
        EACH_TABLE(k)
        {
            float *a = noise((size_t)n, 4), *b = noise((size_t)n, 4), *y = guarded((size_t)n);
            double dot = 0, sum = 0;
            int best = 0;

            for (int i = 0; i < n; i++)
                dot += (double)a[i] * (double)b[i];
            near(k->dot_f32(a, b, n), (float)dot, 1e-4f, 1e-5f);

            a[between(0, n - 1)] = a[between(0, n - 1)]; /* equal values: the first counts */
            for (int i = 1; i < n; i++)
                best = a[i] > a[best] ? i : best;
            assert_int_equal(k->argmax_f32(a, n), best);

            int above = 0;
            const float floor = a[between(0, n - 1)];
            while (above < n && !(a[above] > floor))
                above++;
            assert_int_equal(k->above_f32(a, n, floor), above);
            assert_int_equal(k->above_f32(a, n, a[best]), n);

            if (n > 2)
                a[n / 2] = -INFINITY;
            for (int i = 0; i < n; i++)
                sum += exp((double)a[i]);
            near(k->logsumexp_f32(a, n), (float)log(sum), 1e-5f, 0);

            for (int i = 0; i < n; i++)
                y[i] = i % 7 == 0 ? -1 : expf(b[i] * 10);
            memcpy(b, y, (size_t)n * sizeof *b);
            k->ln_max_f32(y, n, 1e-10f);
            for (int i = 0; i < n; i++) {
                const float e = logf(fmaxf(b[i], 1e-10f));

                near(y[i], e, 2e-6f, 2e-6f);
            }
            release(y, (size_t)n);
            free(a);
            free(b);
        }
}

static void test_nothing_but_minus_infinity(void **state)
{
    float x[37];

    (void)state;
    for (int i = 0; i < 37; i++)
        x[i] = -INFINITY;
    EACH_TABLE(k)
    {
        assert_true(k->logsumexp_f32(x, 37) == -INFINITY);
        assert_int_equal(k->argmax_f32(x, 37), 0);
        assert_int_equal(k->above_f32(x, 37, -INFINITY), 37);
    }
}

static void test_unknown_table(void **state)
{
    oto_err e;

    (void)state;
    assert_int_equal(oto_cpu_select("abacus", &e), OTO_E_USAGE);
    assert_non_null(strstr(e.text, "abacus"));
}

/* What this CPU cannot run is not to be had by name. */
static void test_other_tables_are_refused(void **state)
{
    static const char *const names[] = {"amx", "avx512bf16", "avx512", "avxvnni", "avx2", "neon"};
    oto_err e;

    (void)state;
    for (size_t n = 0; n < OTO_COUNT(names); n++) {
        const oto_kernels *k;
        int i = 0;

        while ((k = oto_cpu_table_at(i)) != NULL && strcmp(k->name, names[n]) != 0)
            i++;
        assert_int_equal(oto_cpu_select(names[n], &e) == 0, k != NULL);
    }
}

/* OTO_TEST_TABLE: what this CPU is known to prefer. */
static void test_best_table(void **state)
{
    const char *best = getenv("OTO_TEST_TABLE");

    (void)state;
    if (best == NULL)
        skip();
    assert_string_equal(oto_cpu_table_at(0)->name, best);
}

/* ---- threads ---- */

typedef struct {
    oto_pool *pool;
    int counts[1000];
    int threads;
} census;

static void count(void *arg, int task, int thread)
{
    census *c = arg;

    assert_true(thread >= 0 && thread < c->threads);
    __atomic_fetch_add(&c->counts[task], 1, __ATOMIC_RELAXED);
}

static void test_every_task_runs_once(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 5; threads++) {
        census c = {.pool = pool_of(threads), .threads = threads};

        assert_int_equal(oto_pool_threads(c.pool), threads);
        for (int round = 0; round < 300; round++) {
            const int n = round % 4 == 0 ? 1000 : between(0, 40);

            memset(c.counts, 0, sizeof c.counts);
            oto_pool_run(c.pool, n, count, &c);
            for (int i = 0; i < 1000; i++)
                assert_int_equal(c.counts[i], i < n);
        }
        oto_pool_free(c.pool);
    }
}

/* With a pattern: the tests of that name alone. */
int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_packed_rows_come_back),
        cmocka_unit_test(test_products),
        cmocka_unit_test(test_rows_do_not_know_each_other),
        cmocka_unit_test(test_extreme_bytes_are_exact),
        cmocka_unit_test(test_convolution),
        cmocka_unit_test(test_full_attention),
        cmocka_unit_test(test_steps_of_attention),
        cmocka_unit_test(test_steps_in_8_bits),
        cmocka_unit_test(test_thin_keys_weigh_as_many),
        cmocka_unit_test(test_attention_keeps_to_its_room),
        cmocka_unit_test(test_keys_in_8_bits_come_back),
        cmocka_unit_test(test_tables_agree_to_the_last_bit),
        cmocka_unit_test(test_tables_agree_on_many_keys),
        cmocka_unit_test(test_step_by_hand),
        cmocka_unit_test(test_layer_norm),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_gelu),
        cmocka_unit_test(test_small_operations),
        cmocka_unit_test(test_nothing_but_minus_infinity),
        cmocka_unit_test(test_unknown_table),
        cmocka_unit_test(test_other_tables_are_refused),
        cmocka_unit_test(test_best_table),
        cmocka_unit_test(test_every_task_runs_once),
    };
    oto_err e;

    if (oto_cpu_init(&e) != 0 && oto_cpu_select("scalar", &e) != 0)
        return 1;
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
