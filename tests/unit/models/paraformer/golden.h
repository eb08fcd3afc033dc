/* What tests/reference/funasr_hotwords.py wrote, and a network of the same weights that it asked.
 */
#ifndef PARAFORMER_GOLDEN_H
#define PARAFORMER_GOLDEN_H

#include "unit/models/paraformer/hear.h"
#include "unit/models/seeded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

#define GOLDEN OTO_SOURCE_DIR "/tests/golden/paraformer_hotwords.txt"

/* The values of this name; at most `most`. Returns how many, or -1 without any. */
static inline int golden(const char *name, float *out, int most)
{
    FILE *f = fopen(GOLDEN, "r");
    char word[64];
    int n, found = -1;

    assert_non_null(f);
    while (found < 0 && fscanf(f, "%63s %d", word, &n) == 2)
        if (strcmp(word, name) != 0) {
            assert_int_equal(fscanf(f, "%*[^\n]"), 0);
        } else {
            assert_true(n <= most);
            for (int i = 0; i < n; i++)
                assert_int_equal(fscanf(f, "%f", &out[i]), 1);
            found = n;
        }
    fclose(f);
    return found;
}

static inline void near_all(const char *name, const float *got, size_t stride, int columns,
                            double within)
{
    static float v[4096];
    const int n = golden(name, v, 4096);

    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        const float x = got[(size_t)(i / columns) * stride + (size_t)(i % columns)];

        if (!(fabs((double)x - (double)v[i]) <= within))
            fail_msg("%s[%d]: %.6f, expected %.6f", name, i, (double)x, (double)v[i]);
    }
}

#define SAMPLES 48000
#define MANY    70

typedef struct {
    oto_model *model;
    oto_pool *pool;
    oto_arena *arena;
    oto_heard_rows heard;
    pf_network net;
    float *pcm;
} fixture;

static const seeded_size hot_size = {
    .n_enc = 3, .n_dec = 2, .n_vocab = 120, .times = true, .n_hot = 6, .no_bias = 65};

static inline void set_up(fixture *f, seeded_size size, oto_compute compute)
{
    char path[] = "/tmp/oto-paraformer-XXXXXX";
    const int fd = mkstemp(path);
    const paraformer *m;
    oto_err e = {0};

    assert_true(fd >= 0);
    close(fd);
    assert_true(seeded_paraformer(path, size));
    if (oto_cpu_init(&e) != 0 || oto_model_open(path, compute, &f->model, &e) != 0)
        fail_msg("%s", e.text);
    unlink(path);
    m = f->model->impl;
    assert_int_equal(oto_pool_new(2, OTO_POOL_SCRATCH_BYTES, &f->pool, &e), 0);
    assert_int_equal(oto_arena_new("test", (size_t)256 << 20, &f->arena, &e), 0);
    assert_int_equal(oto_heard_new(m->shift, m->scale, WINDOWS, f->pool, f->arena, &f->heard, &e),
                     0);
    assert_int_equal(oto_pf_network_new(m, WINDOWS, f->pool, f->arena, &f->net, &e), 0);
    f->pcm = malloc(SAMPLES * sizeof *f->pcm);
    seeded_signal(f->pcm, SAMPLES);
}

static inline void tear_down(fixture *f)
{
    free(f->pcm);
    oto_arena_free(f->arena);
    oto_pool_free(f->pool);
    oto_model_close(f->model);
}

/* With a list of hot words or NULL. */
static inline void run(fixture *f, const size_t *lengths, int n, const char *hotwords)
{
    oto_pf_hot_set(&f->net, hotwords);
    hear_windows(&f->heard, &f->net, f->pcm, lengths, n);
    oto_pf_encode(&f->net, n);
    oto_pf_decode(&f->net, n);
    if (f->net.m->has_times)
        oto_pf_time(&f->net, n);
}

static const size_t whole[] = {SAMPLES};

/* ---- lists ---- */

/* Of the seeded vocabulary. */
static inline int put_piece(char *to, int id)
{
    const int n = (int)oto_utf8_put(to, 0x4e00 + (uint32_t)id);

    to[n] = '\0';
    return n;
}

static inline int word(int i)
{
    return i + (i % 10 == 0);
}

static inline const char *few(void)
{
    static char text[128];
    char *to = text;

    for (int i = 3; i <= 5; i++)
        to += put_piece(to, i);
    *to++ = ',';
    to += put_piece(to, 33);
    to += sprintf(to, ", ");
    to += put_piece(to, 44);
    to += put_piece(to, 45);
    to += sprintf(to, "\nWord");
    put_piece(to, 52);
    return text;
}

static inline const char *many(void)
{
    static char text[4096];
    char *to = text;

    for (int i = 0; i < MANY; i++) {
        to += put_piece(to, word(3 + i % 110));
        to += put_piece(to, word(4 + i * 7 % 100));
        for (int k = 0; k < i % 3; k++)
            to += put_piece(to, word(5 + i));
        *to++ = ',';
    }
    *to = '\0';
    return text;
}

static inline void same_ids(const char *name, const fixture *f)
{
    float expected[64];
    const int n = golden(name, expected, 64);

    assert_int_equal(f->net.n_tokens[0], n);
    for (int i = 0; i < n; i++)
        if (f->net.ids[i] != (int)expected[i])
            fail_msg("%s[%d]: %d, expected %d", name, i, (int)f->net.ids[i], (int)expected[i]);
}

/* ---- a test's own model, in each precision, made when first asked for ---- */

static fixture made[OTO_COMPUTE_I8 + 1];

static inline fixture *made_of(seeded_size size, oto_compute c)
{
    if (made[c].model == NULL)
        set_up(&made[c], size, c);
    return &made[c];
}

static inline int release(void **state)
{
    (void)state;
    for (oto_compute c = OTO_COMPUTE_F32; c <= OTO_COMPUTE_I8; c++)
        if (made[c].model != NULL)
            tear_down(&made[c]);
    return 0;
}

#endif
