/* The network against PyTorch: FunASR's CT-Transformer, both classes, with the same seeded weights
 * (tests/reference/funasr_punc.py; torch 2.11.0, funasr 1.4.16, float32, one thread); its
 * vocabulary; files that are refused. */
#include "models/ct_punc/network.c"

#include "unit/models/seeded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

#define N_VOCAB 1000
#define ROWS    30

/* Of the realtime model of 3 layers, the speaker's pause behind 12 tokens or none; of 1 layer. */
static const struct {
    int n_layers, pause, labels[ROWS];
    float row0[6], row29[6];
} realtime[] = {
    {3,
     0,
     {2, 2, 2, 2, 0, 2, 1, 2, 3, 1, 5, 4, 4, 5, 2, 1, 4, 3, 2, 1, 2, 5, 4, 0, 0, 4, 2, 5, 5, 1},
     {-1.84571f, 1.01337f, 3.23596f, 0.29339f, -1.01024f, 1.21807f},
     {0.99983f, 1.81540f, 0.19953f, 0.27790f, -0.25122f, 0.95563f}},
    {3,
     1,
     {2, 2, 2, 2, 0, 2, 1, 2, 3, 1, 5, 4, 4, 5, 2, 1, 4, 3, 2, 1, 2, 5, 4, 0, 0, 4, 2, 5, 5, 1},
     {-1.84571f, 1.01337f, 3.23596f, 0.29339f, -1.01024f, 1.21807f},
     {0.99983f, 1.81540f, 0.19953f, 0.27790f, -0.25122f, 0.95563f}},
    {3,
     12,
     {2, 2, 2, 2, 0, 2, 1, 2, 3, 1, 5, 4, 4, 5, 2, 1, 4, 3, 2, 1, 2, 5, 4, 0, 0, 4, 2, 5, 5, 1},
     {-1.77026f, 1.02854f, 3.29780f, 0.28160f, -0.99365f, 1.20217f},
     {0.99983f, 1.81540f, 0.19953f, 0.27790f, -0.25122f, 0.95563f}},
    {3,
     ROWS,
     {2, 2, 2, 2, 0, 2, 1, 2, 3, 1, 5, 4, 4, 5, 2, 1, 4, 3, 2, 1, 2, 5, 4, 0, 0, 4, 2, 5, 5, 1},
     {-1.84571f, 1.01337f, 3.23596f, 0.29339f, -1.01024f, 1.21807f},
     {0.99983f, 1.81540f, 0.19953f, 0.27790f, -0.25122f, 0.95563f}},
    {1,
     12,
     {2, 2, 2, 2, 0, 2, 1, 2, 3, 3, 5, 4, 4, 5, 2, 1, 4, 3, 2, 1, 2, 5, 0, 0, 0, 3, 2, 5, 5, 1},
     {-2.03567f, 0.91210f, 3.16477f, 0.29482f, -1.25976f, 1.10562f},
     {0.86410f, 1.90016f, 0.35377f, 0.53125f, -0.63401f, 1.04478f}},
};
static const float row0[] = {-2.17287f, 0.97709f, 2.99012f, 0.40540f, -0.54484f, 1.35609f},
                   row29[] = {0.80544f, 1.79132f, 0.44851f, 0.16107f, -0.35167f, 0.45871f};
static const int labels[ROWS] = {2, 2, 2, 2, 0, 2, 2, 0, 2, 0, 5, 4, 4, 4, 2,
                                 1, 4, 3, 2, 4, 4, 5, 1, 0, 0, 0, 2, 5, 5, 1};

typedef struct {
    char path[64];
    oto_model *model;
    oto_pool *pool;
    oto_arena *arena;
    ct_network net;
} fixture;

static void write_model(fixture *f, int n_layers, bool now)
{
    const int fd = mkstemp(strcpy(f->path, "/tmp/oto-ct-XXXXXX"));

    assert_true(fd >= 0);
    close(fd);
    assert_true(seeded_ct_of(f->path, n_layers, NULL, N_VOCAB, now));
}

static void set_up_of(fixture *f, oto_compute compute, int n_layers, bool now)
{
    oto_err e = {0};

    write_model(f, n_layers, now);
    if (oto_cpu_init(&e) != 0 || oto_model_open(f->path, compute, &f->model, &e) != 0)
        fail_msg("%s", e.text);
    unlink(f->path);
    assert_int_equal(oto_pool_new(2, OTO_POOL_SCRATCH_BYTES, &f->pool, &e), 0);
    assert_int_equal(oto_arena_new("test", oto_ct_network_bytes(f->model->impl), &f->arena, &e), 0);
    assert_int_equal(oto_ct_network_new(f->model->impl, f->pool, f->arena, &f->net, &e), 0);
}

static void set_up(fixture *f, oto_compute compute)
{
    set_up_of(f, compute, 4, false);
}

static void tear_down(fixture *f)
{
    oto_arena_free(f->arena);
    oto_pool_free(f->pool);
    oto_model_close(f->model);
}

static int id_of(const fixture *f, int i)
{
    char piece[16];

    seeded_ct_piece(i, N_VOCAB, piece);
    return oto_ct_id(f->model->impl, (oto_slice){piece, strlen(piece)});
}

static int label_of(const fixture *f, int row)
{
    return oto_k()->argmax_f32(f->net.logits + row * 6, 6);
}

static void run_paused(fixture *f, int n, int seed, int pause)
{
    ct_mark marks[CT_ROWS];
    int ids[CT_ROWS] = {0};

    for (int i = 0; i < n; i++)
        ids[i] = id_of(f, (i * 37 + seed) % N_VOCAB);
    oto_ct_network_run(&f->net, ids, n, pause, marks);
    for (int i = 0; i < n; i++)
        assert_int_equal(marks[i], ((ct_punc *)f->model->impl)->marks[label_of(f, i)]);
}

static void run(fixture *f, int n, int seed)
{
    run_paused(f, n, seed, 0);
}

static void near(const float *got, const float *expected)
{
    for (int i = 0; i < 6; i++)
        if (!(fabsf(got[i] - expected[i]) <= 5e-5f))
            fail_msg("%d: %.6f, expected %.5f", i, (double)got[i], (double)expected[i]);
}

static void test_like_pytorch(void **state)
{
    fixture f;

    (void)state;
    set_up(&f, OTO_COMPUTE_F32);
    run(&f, ROWS, 5);
    near(f.net.logits, row0);
    near(f.net.logits + 29 * 6, row29);
    for (int i = 0; i < ROWS; i++)
        assert_int_equal(label_of(&f, i), labels[i]);
    tear_down(&f);
}

static void test_realtime_like_pytorch(void **state)
{
    fixture f;

    (void)state;
    for (size_t k = 0; k < OTO_COUNT(realtime); k++) {
        set_up_of(&f, OTO_COMPUTE_F32, realtime[k].n_layers, true);
        run_paused(&f, ROWS, 5, realtime[k].pause);
        near(f.net.logits, realtime[k].row0);
        near(f.net.logits + 29 * 6, realtime[k].row29);
        for (int i = 0; i < ROWS; i++)
            assert_int_equal(label_of(&f, i), realtime[k].labels[i]);
        tear_down(&f);
    }
}

/* What the masks mean: a token's logits do not change with what it must not see. */
static void test_what_is_seen(void **state)
{
    static float before[CT_ROWS * 6];
    fixture f;

    (void)state;
    set_up_of(&f, OTO_COMPUTE_F32, 3, true);
    run_paused(&f, 60, 5, 40);
    memcpy(before, f.net.logits, sizeof before);
    run_paused(&f, 41, 5, 40); /* from the 40th token on they see all */
    assert_memory_equal(f.net.logits, before, 39 * 6 * sizeof *before);
    assert_memory_not_equal(f.net.logits + (size_t)39 * 6, before + (size_t)39 * 6,
                            6 * sizeof *before);
    run_paused(&f, 60, 5, 41);
    assert_memory_not_equal(f.net.logits, before, 6 * sizeof *before);
    tear_down(&f);
    set_up_of(&f, OTO_COMPUTE_F32, 1, true); /* the only layer looks back */
    run_paused(&f, 60, 5, 0);
    memcpy(before, f.net.logits, sizeof before);
    run_paused(&f, 7, 5, 0);
    assert_memory_equal(f.net.logits, before, 7 * 6 * sizeof *before);
    tear_down(&f);
}

/* ---- whole texts ---- */

static size_t take(char *out, size_t n, const oto_punc_token *t, int got)
{
    for (int i = 0; i < got; i++, n += strlen(out + n))
        strcpy(out + n, t[i].word.text);
    return n;
}

/* "|" is a pause, which the model that is not realtime takes for white space. */
static const char *punctuated(oto_punc *p, const char *text)
{
    static char out[1 << 14];
    const oto_punc_token *t = NULL;
    size_t at = 0;
    int got;

    for (;; text++) {
        const oto_timed_piece piece = {.text = {text, strcspn(text, "|\n")}};

        for (size_t used = 0; used < piece.text.n;) {
            got = oto_punc_push(p, &piece, 0, &used, &t);
            at = take(out, at, t, got);
        }
        text += piece.text.n;
        if (*text != '|')
            break;
        got = oto_punc_pause(p, &t);
        at = take(out, at, t, got);
        oto_punc_push(p, &(oto_timed_piece){.text = {" ", 1}}, 0, &(size_t){0}, &t);
    }
    got = oto_punc_finish(p, &t);
    out[take(out, at, t, got)] = '\0';
    return out;
}

/* Both models, as FunASR's own code with the same weights. */
static void test_texts_like_funasr(void **state)
{
    static char line[1 << 14];
    int n = 0;

    (void)state;
    for (int now = 0; now <= 1; now++) {
        FILE *f = fopen(OTO_SOURCE_DIR "/tests/golden/punc/seeded.txt", "r");
        static char text[1 << 14];
        oto_arena *a;
        oto_punc *p;
        fixture m;
        oto_err e = {0};

        assert_non_null(f);
        set_up_of(&m, OTO_COMPUTE_F32, now ? 3 : 4, now);
        assert_int_equal(oto_arena_new("test", oto_punc_bytes(m.model), &a, &e), 0);
        assert_int_equal(oto_punc_new(m.model, m.pool, a, &p, &e), 0);
        for (int i = 0; fgets(line, sizeof line, f) != NULL; i++) {
            if (i % 3 == 0)
                strcpy(text, line);
            line[strcspn(line, "\n")] = '\0';
            if (i % 3 == 1 + now) {
                assert_string_equal(punctuated(p, text), line);
                n++;
            }
        }
        fclose(f);
        oto_arena_free(a);
        tear_down(&m);
    }
    assert_int_equal(n, 14);
}

/* A text of weights that mean nothing has marks on the edge: still 97 in 100 are the same. */
static void test_in_fewer_bits(void **state)
{
    static const oto_compute computes[] = {OTO_COMPUTE_BF16, OTO_COMPUTE_I8};
    static const int lengths[] = {1, 2, 20, 60, 137, 220, 256};
    fixture exact;

    (void)state;
    set_up(&exact, OTO_COMPUTE_F32);
    for (size_t c = 0; c < OTO_COUNT(computes); c++) {
        int same = 0, all = 0;
        fixture f;

        set_up(&f, computes[c]);
        for (size_t k = 0; k < OTO_COUNT(lengths); k++)
            for (int seed = 1; seed <= 3; seed++) {
                run(&exact, lengths[k], seed);
                run(&f, lengths[k], seed);
                for (int i = 0; i < lengths[k]; i++)
                    same += label_of(&f, i) == label_of(&exact, i);
                all += lengths[k];
            }
        print_message("%s: %d of %d marks are those of f32\n", oto_compute_name(computes[c]), same,
                      all);
        assert_true(same * 100 >= all * 97);
        tear_down(&f);
    }
    tear_down(&exact);
}

static void test_vocabulary(void **state)
{
    static const char *const others[] = {"", "w", "w1", "w00", "W2", "zzz", "中", "<unk>x"};
    const ct_punc *m;
    bool seen[N_VOCAB] = {false};
    fixture f;

    (void)state;
    set_up(&f, OTO_COMPUTE_F32);
    m = f.model->impl;
    for (int i = 0; i < N_VOCAB; i++) {
        const int id = id_of(&f, i);

        assert_in_range(id, 0, N_VOCAB - 1);
        assert_false(seen[id]);
        seen[id] = true;
    }
    assert_int_equal(m->unknown, id_of(&f, N_VOCAB - 1));
    for (size_t i = 0; i < OTO_COUNT(others); i++)
        assert_int_equal(oto_ct_id(m, (oto_slice){others[i], strlen(others[i])}), m->unknown);
    tear_down(&f);
}

/* ---- files that are refused ---- */

static void put_one(seeded *s, const char *key, const char *const *list, size_t n)
{
    oto_slice v[8];
    oto_err e;

    for (size_t i = 0; i < n; i++)
        v[i] = (oto_slice){list[i], strlen(list[i])};
    s->failed = s->failed || oto_gguf_put_strs(s->w, key, v, n, &e) != 0;
}

static void refuse(const char *const *pieces, const char *const *marks, int heads, int shift,
                   int now, const char *why)
{
    fixture f;
    oto_model *m;
    seeded s;
    oto_err e = {0};

    write_model(&f, 1, false);
    seeded_begin(&s, "ct-transformer");
    put_one(&s, "ct.vocab", pieces, 3);
    put_one(&s, "ct.punc", marks, 2);
    s.failed = s.failed || oto_gguf_put_int(s.w, "ct.heads", heads, &e) != 0 ||
               oto_gguf_put_int(s.w, "ct.shift", shift, &e) != 0 ||
               oto_gguf_put_int(s.w, "ct.realtime", now, &e) != 0;
    seeded_matrix(&s, "", "embed", 3, 256);
    seeded_sanm(&s, "encoder.encoders0.0.", 256, 256, 32);
    seeded_norm(&s, "encoder.", "after_norm", 256);
    seeded_dense(&s, "", "decoder", 2, 256);
    assert_true(seeded_end(&s, f.path));
    if (why == NULL) {
        if (oto_model_open(f.path, OTO_COMPUTE_F32, &m, &e) != 0)
            fail_msg("%s", e.text);
        oto_model_close(m);
    } else {
        assert_true(oto_model_open(f.path, OTO_COMPUTE_F32, &m, &e) < 0);
        if (strstr(e.text, why) == NULL)
            fail_msg("%s: expected %s", e.text, why);
    }
    unlink(f.path);
}

static void test_files(void **state)
{
    static const char *const good[] = {"<unk>", "a", "b"}, *const bad[] = {"a", "b", "c"};
    static const char *const marks[] = {"_", "。"}, *const odd[] = {"_", "；"};

    (void)state;
    refuse(good, marks, 8, 0, 0, NULL);
    refuse(good, marks, 8, 0, 1, NULL);
    refuse(good, marks, 8, 5, 1, NULL);
    refuse(bad, marks, 8, 0, 0, "<unk>");
    refuse(good, odd, 8, 0, 0, "；");
    refuse(good, marks, 3, 0, 0, "3 heads");
    refuse(good, marks, 8, 5, 0, "not realtime");
    refuse(good, marks, 8, 6, 1, "shifted by 6");
    refuse(good, marks, 8, -1, 1, "shifted by -1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_like_pytorch),  cmocka_unit_test(test_realtime_like_pytorch),
        cmocka_unit_test(test_what_is_seen),  cmocka_unit_test(test_texts_like_funasr),
        cmocka_unit_test(test_in_fewer_bits), cmocka_unit_test(test_vocabulary),
        cmocka_unit_test(test_files),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
