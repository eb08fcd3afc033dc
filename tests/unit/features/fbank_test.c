/* Held to kaldi-native-fbank: tests/golden/features/fbank.bin. */
#include "features/fbank.c"

#include "golden.h"

/* Of values between -16 and 25. Found: 8.2e-5, where a filter holds next to nothing of the frame's
 * energy and the roundings of two FFTs in single precision show. */
#define MAX_ERROR 2e-4f

static oto_arena *arena;

static int set_up(void **state)
{
    oto_err e;
    (void)state;
    return oto_cpu_init(&e) != 0 || oto_arena_new("fbank", (size_t)64 << 20, &arena, &e) != 0;
}

static int tear_down(void **state)
{
    (void)state;
    oto_arena_free(arena);
    return 0;
}

/* Shift and scale of make.py. */
static void statistics(float *shift, float *scale, int n)
{
    for (int i = 0; i < n; i++) {
        shift[i] = -(float)(i % 80) / 8;
        scale[i] = 1.0f / (float)(4 + i % 80 % 4);
    }
}

typedef struct {
    float *rows, *db;
    int n;
} output;

/* Pushes in pieces of `piece` samples (0: random sizes), takes at most max_rows at a time. */
static output run(oto_fbank *f, const sound *s, size_t piece, int max_rows)
{
    const size_t width = (size_t)f->o.lfr_m * MELS;
    const int cap = (int)(s->n / HOP) + 2;
    output o = {malloc((size_t)cap * width * sizeof(float)), malloc((size_t)cap * sizeof(float)),
                0};
    uint32_t x = 7;
    size_t at = 0, used;
    int got;
    assert_non_null(o.rows);
    assert_non_null(o.db);
    oto_fbank_reset(f);
    do {
        size_t take = piece ? piece : next_random(&x) >> 8 & 1023;
        take = OTO_MIN(take, s->n - at);
        got = oto_fbank_push(f, s->pcm + at, take, at + take == s->n, o.rows + (size_t)o.n * width,
                             o.db + o.n, OTO_MIN(max_rows, cap - o.n), &used);
        assert_true(used <= take && (used == take || got == max_rows));
        at += used;
        o.n += got;
    } while (at < s->n || got == max_rows);
    return o;
}

static void release(output *o, sound *s)
{
    free(o->rows);
    free(o->db);
    free(s->pcm);
}

static void equals_kaldi(void **state)
{
    (void)state;
    static float shift[7 * MELS], scale[7 * MELS];
    oto_map m;
    oto_err e;
    oto_reader r;
    record rec;
    int n_records = 0;
    if (oto_map_open(OTO_SOURCE_DIR "/tests/golden/features/fbank.bin", &m, &e) != 0)
        fail_msg("%s", e.text);
    oto_reader_init(&r, m.p, m.n);
    statistics(shift, scale, 7 * MELS);
    while (next_record(&r, &rec)) {
        oto_fbank_options o = {.lfr_m = 1, .lfr_n = 1};
        oto_fbank *f;
        sound s = strcmp(rec.name, "tone") == 0    ? make_tone()
                  : strcmp(rec.name, "edges") == 0 ? make_edges()
                                                   : load_sample();
        if (sscanf(rec.name, "stack %d %d", &o.lfr_m, &o.lfr_n) == 2) {
            o.cmvn_shift = shift;
            o.cmvn_scale = scale;
            s.n = 16700;
        }
        assert_int_equal(oto_fbank_new(&o, arena, &f, &e), 0);
        output out = run(f, &s, s.n, 1 << 20);
        assert_int_equal(out.n, rec.frames);
        assert_int_equal(o.lfr_m * MELS, rec.width);
        const float error = largest_error(&r, &rec, out.rows);
        print_message("%s: max abs error %.2g\n", rec.name, (double)error);
        assert_true(error <= MAX_ERROR);
        release(&out, &s);
        n_records++;
    }
    assert_int_equal(n_records, 5);
    oto_map_close(&m);
}

static void pieces_do_not_matter(void **state)
{
    (void)state;
    static const oto_fbank_options options[] = {{.lfr_m = 1, .lfr_n = 1},
                                                {.lfr_m = 5, .lfr_n = 1},
                                                {.lfr_m = 7, .lfr_n = 6},
                                                {.lfr_m = 16, .lfr_n = 16}};
    static const size_t pieces[] = {1, 159, 160, 161, 400, 0, 5000};
    oto_err e;
    for (size_t i = 0; i < OTO_COUNT(options); i++) {
        oto_fbank *f;
        sound s = make_tone();
        assert_int_equal(oto_fbank_new(&options[i], arena, &f, &e), 0);
        output whole = run(f, &s, s.n, 1000);
        const size_t bytes = (size_t)whole.n * (size_t)options[i].lfr_m * MELS * sizeof(float);
        for (size_t k = 0; k < OTO_COUNT(pieces); k++)
            for (int max_rows = 1; max_rows < 20; max_rows += 6) {
                output o = run(f, &s, pieces[k], max_rows);
                assert_int_equal(o.n, whole.n);
                assert_memory_equal(o.rows, whole.rows, bytes);
                assert_memory_equal(o.db, whole.db, (size_t)whole.n * sizeof(float));
                free(o.rows);
                free(o.db);
            }
        release(&whole, &s);
    }
}

/* Which frames a row stacks, at the edges: known rows for recordings of 1, 2, 6, 7 and 13 frames.
 */
static void edges_are_repeated(void **state)
{
    (void)state;
    static const struct {
        int frames, rows, last[7];
    } known[] = {{1, 1, {0, 0, 0, 0, 0, 0, 0}},        {2, 1, {0, 0, 0, 0, 1, 1, 1}},
                 {6, 1, {0, 0, 0, 0, 1, 2, 3}},        {7, 2, {3, 4, 5, 6, 6, 6, 6}},
                 {13, 3, {9, 10, 11, 12, 12, 12, 12}}, {98, 17, {93, 94, 95, 96, 97, 97, 97}}};
    oto_fbank *plain, *stack;
    oto_err e;
    assert_int_equal(oto_fbank_new(&(oto_fbank_options){.lfr_m = 1, .lfr_n = 1}, arena, &plain, &e),
                     0);
    assert_int_equal(oto_fbank_new(&(oto_fbank_options){.lfr_m = 7, .lfr_n = 6}, arena, &stack, &e),
                     0);
    for (size_t i = 0; i < OTO_COUNT(known); i++) {
        sound s = make_tone();
        s.n = (size_t)(FRAME + (known[i].frames - 1) * HOP);
        output frames = run(plain, &s, s.n, 1000), rows = run(stack, &s, s.n, 1000);
        assert_int_equal(frames.n, known[i].frames);
        assert_int_equal(rows.n, known[i].rows);
        for (int j = 0; j < 7; j++)
            assert_memory_equal(rows.rows + ((known[i].rows - 1) * 7 + j) * MELS,
                                frames.rows + known[i].last[j] * MELS, MELS * sizeof(float));
        free(frames.rows);
        free(frames.db);
        release(&rows, &s);
    }
}

static void too_short_gives_nothing(void **state)
{
    (void)state;
    oto_fbank *f;
    oto_err e;
    assert_int_equal(oto_fbank_new(&(oto_fbank_options){.lfr_m = 5, .lfr_n = 1}, arena, &f, &e), 0);
    for (size_t n = 0; n <= FRAME; n += 57) {
        sound s = make_tone();
        s.n = n;
        output o = run(f, &s, 100, 10);
        assert_int_equal(o.n, n >= FRAME);
        release(&o, &s);
    }
}

static void silence_is_the_floor(void **state)
{
    (void)state;
    oto_fbank *f;
    oto_err e;
    sound s = new_signal(8000);
    assert_int_equal(oto_fbank_new(&(oto_fbank_options){.lfr_m = 1, .lfr_n = 1}, arena, &f, &e), 0);
    output o = run(f, &s, s.n, 1000);
    for (int i = 0; i < o.n * MELS; i++)
        assert_true(fabsf(o.rows[i] + 15.9424f) < 1e-4f);
    for (int i = 0; i < o.n; i++)
        assert_true(fabsf(o.db[i] + 60.0f) < 1e-3f);
    release(&o, &s);
}

static void loudness(void **state)
{
    (void)state;
    oto_fbank *f;
    oto_err e;
    sound s = make_tone();
    assert_int_equal(oto_fbank_new(&(oto_fbank_options){.lfr_m = 5, .lfr_n = 1}, arena, &f, &e), 0);
    output o = run(f, &s, s.n, 1000);
    assert_int_equal(o.n, 98);
    assert_true(fabsf(o.db[0] - 12.7193f) < 1e-4f);
    assert_true(fabsf(o.db[50] - 12.9337f) < 1e-4f);
    release(&o, &s);
}

static void refuses_what_it_cannot_stack(void **state)
{
    (void)state;
    static const int bad[][2] = {{0, 1}, {1, 0}, {17, 1}, {5, 6}, {-1, -1}};
    for (size_t i = 0; i < OTO_COUNT(bad); i++) {
        oto_fbank *f;
        oto_err e = {0};
        const oto_fbank_options o = {.lfr_m = bad[i][0], .lfr_n = bad[i][1]};
        assert_int_equal(oto_fbank_new(&o, arena, &f, &e), OTO_E_UNSUPPORTED);
    }
}

static void a_full_arena_is_an_error(void **state)
{
    (void)state;
    const oto_fbank_options o = {.lfr_m = 5, .lfr_n = 1};
    oto_arena *small;
    oto_fbank *f;
    oto_err e;
    int rc = OTO_E_LIMIT;
    for (size_t cap = 4096; rc != 0; cap += 4096) {
        assert_int_equal(oto_arena_new("small", cap, &small, &e), 0);
        rc = oto_fbank_new(&o, small, &f, &e);
        assert_true(rc == 0 || rc == OTO_E_LIMIT);
        oto_arena_free(small);
        assert_true(cap < 1 << 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_kaldi),
        cmocka_unit_test(pieces_do_not_matter),
        cmocka_unit_test(edges_are_repeated),
        cmocka_unit_test(too_short_gives_nothing),
        cmocka_unit_test(silence_is_the_floor),
        cmocka_unit_test(loudness),
        cmocka_unit_test(refuses_what_it_cannot_stack),
        cmocka_unit_test(a_full_arena_is_an_error),
    };
    return cmocka_run_group_tests_name("features/fbank", tests, set_up, tear_down);
}
