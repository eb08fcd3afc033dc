/* Held to faster-whisper's FeatureExtractor: tests/golden/features/logmel.bin. */
#include "features/logmel.c"

#include "golden.h"

/* Of values between -1.5 and 2.5. Found: 5.2e-6. */
#define MAX_ERROR 2e-5f

#define THREADS 3

static oto_arena *arena;
static oto_pool *pool;

static int set_up(void **state)
{
    oto_err e;
    (void)state;
    return oto_cpu_init(&e) != 0 || oto_arena_new("logmel", (size_t)64 << 20, &arena, &e) != 0 ||
           oto_pool_new(THREADS, 1 << 16, &pool, &e) != 0;
}

static int tear_down(void **state)
{
    (void)state;
    oto_pool_free(pool);
    oto_arena_free(arena);
    return 0;
}

static sound named(const char *name)
{
    sound s = strncmp(name, "tone", 4) == 0    ? make_tone()
              : strncmp(name, "edges", 5) == 0 ? make_edges()
              : strncmp(name, "long", 4) == 0  ? make_long()
                                               : load_sample();
    int n;
    if (sscanf(name, "tone of %d", &n) == 1)
        s.n = (size_t)n;
    return s;
}

static int run(oto_logmel *l, const sound *s, float *out)
{
    return oto_logmel_run(l, pool, s->pcm, s->n, out);
}

static float *new_out(int n_mels)
{
    float *out = malloc(OTO_LOGMEL_FRAMES * (size_t)n_mels * sizeof *out);
    assert_non_null(out);
    return out;
}

static void equals_faster_whisper(void **state)
{
    (void)state;
    oto_map m;
    oto_err e;
    oto_reader r;
    record rec;
    int n_records = 0;
    if (oto_map_open(OTO_SOURCE_DIR "/tests/golden/features/logmel.bin", &m, &e) != 0)
        fail_msg("%s", e.text);
    oto_reader_init(&r, m.p, m.n);
    while (next_record(&r, &rec)) {
        oto_logmel *l;
        const oto_mark mark = oto_arena_mark(arena);
        float *out = new_out(rec.width);
        sound s = named(rec.name);
        assert_int_equal(oto_logmel_new(rec.width, THREADS, arena, &l, &e), 0);
        assert_int_equal(run(l, &s, out), rec.frames);
        const float error = largest_error(&r, &rec, out);
        print_message("%s: max abs error %.2g\n", rec.name, (double)error);
        assert_true(error <= MAX_ERROR);
        /* behind the sound: zeros */
        for (size_t i = (size_t)rec.frames * (size_t)rec.width;
             i < OTO_LOGMEL_FRAMES * (size_t)rec.width; i++)
            assert_true(out[i] == 0);
        oto_arena_rollback(arena, mark);
        free(out);
        free(s.pcm);
        n_records++;
    }
    assert_int_equal(n_records, 16);
    oto_map_close(&m);
}

/* Whatever the number of threads, and whatever the window before it was. */
static void threads_do_not_matter(void **state)
{
    (void)state;
    oto_logmel *l;
    oto_err e;
    float *whole = new_out(80), *out = new_out(80);
    sound s = load_sample(), before = make_tone();
    const oto_mark mark = oto_arena_mark(arena);
    assert_int_equal(oto_logmel_new(80, THREADS, arena, &l, &e), 0);
    const int frames = run(l, &s, whole);
    for (int threads = 1; threads <= THREADS; threads++) {
        oto_pool *some;
        assert_int_equal(oto_pool_new(threads, 1 << 16, &some, &e), 0);
        run(l, &before, out);
        assert_int_equal(oto_logmel_run(l, some, s.pcm, s.n, out), frames);
        assert_memory_equal(out, whole, OTO_LOGMEL_FRAMES * 80 * sizeof *out);
        oto_pool_free(some);
    }
    oto_arena_rollback(arena, mark);
    free(whole);
    free(out);
    free(s.pcm);
    free(before.pcm);
}

/* Nothing, less than a frame, and what the filter's sums are. */
static void short_and_empty(void **state)
{
    (void)state;
    oto_logmel *l;
    oto_err e;
    float *out = new_out(80);
    sound s = make_tone();
    const oto_mark mark = oto_arena_mark(arena);
    assert_int_equal(oto_logmel_new(80, THREADS, arena, &l, &e), 0);
    for (size_t n = 0; n < 3 * HOP; n++) {
        s.n = n;
        assert_int_equal(run(l, &s, out), n / HOP);
        for (size_t i = 0; i < OTO_LOGMEL_FRAMES * 80; i++)
            assert_true(isfinite(out[i]) && (out[i] == 0) >= (i / 80 >= n / HOP));
    }
    oto_arena_rollback(arena, mark);
    free(out);
    free(s.pcm);
}

static void filters(void **state)
{
    (void)state;
    static const double sums[][2] = {{80, 1.999024}, {128, 3.190986}};
    for (size_t i = 0; i < OTO_COUNT(sums); i++) {
        oto_logmel *l;
        oto_err e;
        double sum = 0;
        const oto_mark mark = oto_arena_mark(arena);
        assert_int_equal(oto_logmel_new((int)sums[i][0], THREADS, arena, &l, &e), 0);
        for (int m = 0; m < l->n_mels; m++)
            for (int k = 0; k < l->bands[m].n; k++)
                sum += (double)l->bands[m].w[k];
        assert_true(fabs(sum - sums[i][1]) < 1e-5);
        oto_arena_rollback(arena, mark);
    }
}

static void refuses(void **state)
{
    (void)state;
    static const int bad[] = {0, -1, 129};
    for (size_t i = 0; i < OTO_COUNT(bad); i++) {
        oto_logmel *l;
        oto_err e = {0};
        assert_int_equal(oto_logmel_new(bad[i], THREADS, arena, &l, &e), OTO_E_UNSUPPORTED);
    }
}

static void a_full_arena_is_an_error(void **state)
{
    (void)state;
    oto_arena *small;
    oto_logmel *l;
    oto_err e;
    int rc = OTO_E_LIMIT;
    for (size_t cap = 4096; rc != 0; cap = cap * 3 / 2) {
        assert_int_equal(oto_arena_new("small", cap, &small, &e), 0);
        rc = oto_logmel_new(80, THREADS, small, &l, &e);
        assert_true(rc == 0 || rc == OTO_E_LIMIT);
        oto_arena_free(small);
        assert_true(cap < 16 << 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_faster_whisper),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(short_and_empty),
        cmocka_unit_test(filters),
        cmocka_unit_test(refuses),
        cmocka_unit_test(a_full_arena_is_an_error),
    };
    return cmocka_run_group_tests_name("features/logmel", tests, set_up, tear_down);
}
