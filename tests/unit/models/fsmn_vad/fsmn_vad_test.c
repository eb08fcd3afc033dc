/* With the published weights, held to funasr-onnx's Fsmn_vad (tests/golden/vad/segments.txt); what
 * needs no particular weights runs on seeded ones. */
#include "models/fsmn_vad/fsmn_vad.c"

#include "unit/weights/files.h"

#include <stdio.h>

#define MAX_SPANS 200

static oto_model *seeded, *published; /* published: NULL when it is not there */
static oto_pool *pool;
static oto_arena *arena;

/* ---- seeded weights, in the form of the checkpoint's names ---- */

static uint32_t tensor_seed;

static uint32_t next_random(uint32_t *x, uint32_t n)
{
    *x = *x * 1664525u + 1013904223u;
    return (*x >> 8) % n;
}

static const float *values(int n, float size, float offset, oto_arena *a)
{
    uint32_t x = ++tensor_seed * 2654435761u;
    float *v = oto_arena_alloc(a, (size_t)n * sizeof *v);
    assert_non_null(v);
    for (int i = 0; i < n; i++)
        v[i] = offset + size * ((float)next_random(&x, 1 << 16) / (1 << 15) - 1);
    return v;
}

static void put(oto_gguf_writer *w, const char *name, int64_t n, int64_t k, float size,
                float offset, oto_arena *a)
{
    const int rank = k > 0 ? 2 : 1;
    const size_t count = (size_t)(k > 0 ? n * k : n);
    ASSERT_OK(oto_gguf_put_tensor(w, name, OTO_T_F32, rank, (int64_t[]){n, k},
                                  values((int)count, size, offset, a), count * 4, e_));
}

typedef struct {
    const char *without; /* leave this tensor out */
    const char *wrong;   /* give this one another shape */
    bool by_tap;         /* the memory filters as [20][128] */
} flaw;

static void put_unless(oto_gguf_writer *w, const flaw *f, const char *name, int64_t n, int64_t k,
                       float size, float offset, oto_arena *a)
{
    if (f->without != NULL && strcmp(name, f->without) == 0)
        return;
    if (f->wrong != NULL && strcmp(name, f->wrong) == 0)
        n++;
    put(w, name, n, k, size, offset, a);
}

static int open_seeded(const flaw *f, oto_model **out, oto_err *e)
{
    char path[] = "/tmp/vad.XXXXXX", name[96];
    oto_arena *a;
    oto_gguf_writer *w;
    const int fd = mkstemp(path);

    assert_true(fd >= 0);
    close(fd);
    tensor_seed = 0;
    ASSERT_OK(oto_arena_new("seeded", (size_t)64 << 20, &a, e_));
    ASSERT_OK(oto_gguf_writer_new(&w, e_));
    ASSERT_OK(oto_gguf_put_str(w, "general.architecture", "fsmn-vad", e_));
    for (size_t i = 0; i < OTO_COUNT(matrices); i++) {
        const matrix_row *m = &matrices[i];
        snprintf(name, sizeof name, "%s.weight", m->name);
        put_unless(w, f, name, m->n, m->k, 2.0f / sqrtf((float)m->k), 0, a);
        snprintf(name, sizeof name, "%s.bias", m->name);
        if (m->bias)
            put_unless(w, f, name, m->n, 0, 0.2f, 0, a);
    }
    for (int i = 0; i < LAYERS; i++) {
        snprintf(name, sizeof name, "encoder.fsmn.%d.fsmn_block.conv_left.weight", i);
        put_unless(w, f, name, f->by_tap ? ORDER : PROJ, f->by_tap ? PROJ : ORDER, 0.1f, 0, a);
    }
    put_unless(w, f, "cmvn.shift", IN, 0, 0.5f, -12, a);
    put_unless(w, f, "cmvn.scale", IN, 0, 0.01f, 0.15f, a);
    ASSERT_OK(oto_gguf_finish(w, path, e_));
    oto_gguf_writer_free(w);
    oto_arena_free(a);
    const int rc = oto_model_open(path, OTO_COMPUTE_F32, out, e);
    unlink(path);
    return rc;
}

static int set_up(void **state)
{
    char path[600];

    (void)state;
    ASSERT_OK(oto_cpu_init(e_));
    ASSERT_OK(oto_pool_new(2, OTO_POOL_SCRATCH_BYTES, &pool, e_));
    ASSERT_OK(oto_arena_new("vad", (size_t)64 << 20, &arena, e_));
    ASSERT_OK(open_seeded(&(flaw){0}, &seeded, e_));
    snprintf(path, sizeof path, "%s/fsmn-vad/source", models_dir());
    if (access(path, R_OK) == 0)
        ASSERT_OK(oto_model_open(path, OTO_COMPUTE_AUTO, &published, e_));
    else
        print_message("skipped: what needs the weights in %s\n", path);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    oto_model_close(seeded);
    oto_model_close(published);
    oto_arena_free(arena);
    oto_pool_free(pool);
    return 0;
}

/* ---- recordings: recording() of make.py ---- */

typedef struct {
    float *pcm;
    size_t n;
    int64_t sum;
} sound;

static int16_t *speech[2];
static size_t n_speech[2];

static void load_speech(void)
{
    static const char *const names[] = {"sample", "asr_example"};

    for (int i = 0; i < 2 && speech[i] == NULL; i++) {
        static int16_t storage[2][200000];
        char path[500];
        oto_map m;
        snprintf(path, sizeof path, OTO_SOURCE_DIR "/tests/data/zh/%s.wav", names[i]);
        ASSERT_OK(oto_map_open(path, &m, e_));
        n_speech[i] = (m.n - 44) / 2;
        assert_true(n_speech[i] <= OTO_COUNT(storage[i]));
        speech[i] = storage[i];
        memcpy(storage[i], m.p + 44, n_speech[i] * 2);
        oto_map_close(&m);
    }
}

static size_t goal_of(uint32_t *x)
{
    const uint32_t kind = next_random(x, 8);
    const uint32_t plain = 16000 * (2 + next_random(x, 30));
    uint32_t frames = 400 + 160 * (5996 + next_random(x, 8));
    frames += next_random(x, 160);
    const uint32_t longer = 16000 * (65 + next_random(x, 70));
    const uint32_t little = 1 + next_random(x, 3000);

    return kind == 1 ? frames : kind == 2 ? longer : kind == 3 ? little : plain;
}

static int noise(uint32_t *x, uint32_t shift)
{
    return ((int)next_random(x, 65536) - 32768) >> shift;
}

/* Writes one part from `at` on, as far as there is room, and returns its whole length. */
static size_t put_part(uint32_t *x, bool only_speech, int *out, size_t room)
{
    const uint32_t what = only_speech ? 0 : next_random(x, 8);
    size_t n;

    if (what < 5) {
        const uint32_t which = next_random(x, 2);
        const size_t from = next_random(x, (uint32_t)(n_speech[which] / 2));
        n = 1600 + next_random(x, 80000);
        n = OTO_MIN(n, n_speech[which] - from);
        const int gain = 256 >> next_random(x, 5);
        for (size_t i = 0; i < OTO_MIN(n, room); i++)
            out[i] = (speech[which][from + i] * gain) >> 8;
        return n;
    }
    if (what < 7)
        return 160 + next_random(x, 40000);
    const uint32_t level = next_random(x, 12);
    n = 160 + next_random(x, 20000);
    for (size_t i = 0; i < n; i++) {
        const int v = noise(x, 4 + level);
        if (i < room)
            out[i] = v;
    }
    return n;
}

static sound recording(unsigned seed)
{
    uint32_t x = seed;
    sound s = {.n = goal_of(&x)};
    int *pcm = calloc(s.n, sizeof *pcm);

    load_speech();
    s.pcm = malloc(s.n * sizeof *s.pcm);
    assert_non_null(pcm);
    assert_non_null(s.pcm);
    for (size_t at = 0; at < s.n;)
        at += put_part(&x, seed % 5 == 0, pcm + at, s.n - at);
    if (seed % 4 == 0) {
        const uint32_t level = next_random(&x, 6);
        for (size_t i = 0; i < s.n; i++) {
            const int v = pcm[i] + noise(&x, 5 + level);
            pcm[i] = OTO_MAX(-32768, OTO_MIN(32767, v));
        }
    }
    for (size_t i = 0; i < s.n; i++) {
        s.sum += pcm[i];
        s.pcm[i] = (float)pcm[i] / 32768;
    }
    free(pcm);
    return s;
}

/* ---- running ---- */

typedef struct {
    oto_span at[MAX_SPANS];
    int n;
} spans;

/* Pushes in pieces (0: random sizes), takes at most `max` segments at a time. Checks on the way
 * that nothing comes before the horizon. */
static void detect(oto_vad *v, const float *pcm, size_t n, size_t piece, int max, spans *out)
{
    uint32_t x = 5;
    size_t at = 0, used;
    bool done = false;

    out->n = 0;
    while (!done) {
        const size_t wish = piece ? piece : next_random(&x, 1u << next_random(&x, 16));
        const size_t take = OTO_MIN(wish, n - at);
        const bool final = at + take == n;
        const int64_t horizon = oto_vad_horizon_ms(v), open = oto_vad_open_ms(v);
        assert_true(out->n + max <= MAX_SPANS);
        const int got = oto_vad_push(v, pcm + at, take, final, out->at + out->n, max, &used);
        assert_true(got >= 0 && got <= max && used <= take && (used == take || got == max));
        if (got > 0) {
            assert_true(out->at[out->n].start_ms >= horizon);
            assert_true(open < 0 || out->at[out->n].start_ms == open);
        }
        out->n += got;
        at += used;
        done = final && used == take && got < max;
    }
}

static oto_vad *new_vad(const oto_model *m, bool dynamic, int chunk_ms)
{
    oto_vad_options o;
    oto_vad *v;

    oto_vad_defaults(&o);
    o.dynamic_end_silence = dynamic;
    o.dynamic_chunk_ms = chunk_ms;
    ASSERT_OK(oto_vad_new(m, &o, pool, arena, &v, e_));
    return v;
}

static void same_spans(const spans *a, const spans *b)
{
    assert_int_equal(a->n, b->n);
    assert_memory_equal(a->at, b->at, (size_t)a->n * sizeof *a->at);
}

static void equals_funasr(void **state)
{
    (void)state;
    static char line[8000];
    FILE *f = fopen(OTO_SOURCE_DIR "/tests/golden/vad/segments.txt", "r");
    oto_vad *v;
    spans found;
    int total = 0;

    assert_non_null(f);
    if (published == NULL) {
        fclose(f);
        skip();
    }
    v = new_vad(published, false, 60000);
    while (fgets(line, sizeof line, f) != NULL) {
        unsigned seed;
        size_t n;
        long long sum, a, b;
        int at = 0, i = 0;
        assert_int_equal(sscanf(line, "%u %zu %lld:%n", &seed, &n, &sum, &at), 3);
        sound s = recording(seed);
        assert_int_equal(s.n, n);
        assert_int_equal(s.sum, sum);
        oto_vad_reset(v);
        detect(v, s.pcm, s.n, seed % 3 == 0 ? 0 : seed % 3 == 1 ? s.n : 8000, 3, &found);
        for (const char *p = line + at; sscanf(p, " %lld-%lld%n", &a, &b, &at) == 2; p += at, i++)
            if (i >= found.n || found.at[i].start_ms != a || found.at[i].end_ms != b)
                fail_msg("recording %u, segment %d is not %lld-%lld", seed, i, a, b);
        assert_int_equal(found.n, i);
        total += i;
        free(s.pcm);
    }
    fclose(f);
    print_message("%d segments\n", total);
    assert_true(total > 200);
}

static bool near_one(const oto_span *s, const spans *in, int64_t ms)
{
    for (int i = 0; i < in->n; i++)
        if (llabs(in->at[i].start_ms - s->start_ms) <= ms &&
            llabs(in->at[i].end_ms - s->end_ms) <= ms)
            return true;
    return false;
}

/* int8 moves some bounds a little: of recordings made to have doubtful ones, few more than 100 ms.
 */
static void bounds_in_8_bits(void **state)
{
    (void)state;
    char path[600];
    oto_model *model;
    oto_vad *exact, *rough;
    spans a, b;
    int total = 0, found = 0, rough_total = 0;

    if (published == NULL)
        skip();
    snprintf(path, sizeof path, "%s/fsmn-vad/source", models_dir());
    ASSERT_OK(oto_model_open(path, OTO_COMPUTE_I8, &model, e_));
    exact = new_vad(published, false, 60000);
    rough = new_vad(model, false, 60000);
    for (unsigned seed = 1; seed <= 40; seed++) {
        sound s = recording(seed);
        oto_vad_reset(exact);
        oto_vad_reset(rough);
        detect(exact, s.pcm, s.n, s.n, 3, &a);
        detect(rough, s.pcm, s.n, 8000, 3, &b);
        for (int i = 0; i < a.n; i++)
            found += near_one(&a.at[i], &b, 100);
        total += a.n;
        rough_total += b.n;
        free(s.pcm);
    }
    oto_model_close(model);
    print_message("%d of %d segments, %d in int8\n", found, total, rough_total);
    assert_true(total > 100 && found >= total * 9 / 10);
    assert_in_range(rough_total, total * 95 / 100, total * 105 / 100);
}

/* p of signal G of the front ends' tests: a tone of 440 Hz in noise. */
static void probabilities(void **state)
{
    (void)state;
    static const struct {
        int frame;
        float p;
    } known[] = {{0, 0.156416f},  {1, 0.294754f},  {2, 0.256464f},
                 {10, 0.260208f}, {50, 0.281275f}, {97, 0.224721f}};
    float pcm[16000], p[BLOCK];
    size_t used;
    uint32_t x = 1;

    if (published == NULL)
        skip();
    for (int i = 0; i < 16000; i++) {
        x = x * 1664525u + 1013904223u;
        const double u = (double)(x >> 8) / 8388608 - 1;
        const double s = 0.3 * sin(2 * 3.14159265358979323846 * 440 * i / 16000) + 0.1 * u;
        pcm[i] = (float)(floor(s * 32767 + 0.5) / 32768);
    }
    struct {
        const oto_family *family;
        void *state;
    } *handle = (void *)new_vad(published, false, 60000);
    vad *v = handle->state;
    assert_int_equal(
        oto_fbank_push(v->fbank, pcm, OTO_COUNT(pcm), true, v->feats, NULL, BLOCK, &used), 98);
    score(v, 98, p);
    for (size_t i = 0; i < OTO_COUNT(known); i++)
        assert_true(fabsf(p[known[i].frame] - known[i].p) < 3e-6f);
}

static void pieces_do_not_matter_of(const oto_model *m, unsigned seed)
{
    static const struct {
        bool dynamic;
        int chunk_ms;
    } rules[] = {{false, 60000}, {true, 60000}, {true, 1000}, {true, 10}, {true, 995}};
    static const size_t pieces[] = {161, 0, 1600, 16000, 50000};
    sound s = recording(seed);

    s.n -= s.n % 16000; /* so that a recording ends with a chunk */
    for (size_t r = 0; r < OTO_COUNT(rules); r++) {
        oto_vad *v = new_vad(m, rules[r].dynamic, rules[r].chunk_ms);
        spans whole, found;
        detect(v, s.pcm, s.n, s.n, 50, &whole);
        for (size_t i = 0; i < OTO_COUNT(pieces); i++) {
            oto_vad_reset(v);
            detect(v, s.pcm, s.n, pieces[i], i % 2 ? 1 : 3, &found);
            same_spans(&found, &whole);
        }
        /* the end told after the samples */
        oto_vad_reset(v);
        size_t used;
        found.n = oto_vad_push(v, s.pcm, s.n, false, found.at, MAX_SPANS, &used);
        assert_int_equal(used, s.n);
        found.n += oto_vad_push(v, s.pcm, 0, true, found.at + found.n, MAX_SPANS - found.n, &used);
        same_spans(&found, &whole);
    }
    free(s.pcm);
}

static void pieces_do_not_matter(void **state)
{
    (void)state;
    pieces_do_not_matter_of(seeded, 6);
    if (published != NULL)
        pieces_do_not_matter_of(published, 2);
}

static void single_samples(void **state)
{
    (void)state;
    sound s = recording(27);
    oto_vad *v = new_vad(published != NULL ? published : seeded, false, 60000);
    spans whole, found;

    s.n = 16000 * 6;
    detect(v, s.pcm, s.n, s.n, 10, &whole);
    oto_vad_reset(v);
    detect(v, s.pcm, s.n, 1, 10, &found);
    same_spans(&found, &whole);
    free(s.pcm);
}

static void short_and_empty(void **state)
{
    (void)state;
    static const size_t lengths[] = {0, 1, 160, 399, 400, 401, 559, 560, 800, 880, 2000};
    float pcm[2000] = {0};
    oto_vad *v = new_vad(published != NULL ? published : seeded, false, 60000);
    spans found;

    for (int i = 0; i < 2000; i++)
        pcm[i] = (float)(i * 7919 % 2000 - 1000) / 2000;
    for (size_t i = 0; i < OTO_COUNT(lengths); i++) {
        oto_vad_reset(v);
        detect(v, pcm, lengths[i], 100, 5, &found);
        assert_int_equal(found.n, 0);
        assert_int_equal(oto_vad_open_ms(v), -1);
    }
}

/* What is no number passes; the speech behind it is found. */
static void garbage_passes(void **state)
{
    (void)state;
    const size_t bad = 32000, n = bad + n_speech[0];
    float *pcm = malloc(n * sizeof *pcm);
    spans clean, found;
    oto_vad *v;

    if (published == NULL) {
        free(pcm);
        skip();
    }
    assert_non_null(pcm);
    memset(pcm, 0, bad * sizeof *pcm);
    for (size_t i = 0; i < n_speech[0]; i++)
        pcm[bad + i] = (float)speech[0][i] / 32768;
    v = new_vad(published, false, 60000);
    detect(v, pcm, n, 8000, 10, &clean);
    for (size_t i = 0; i < 16000; i++)
        pcm[i] = i % 3 == 0 ? NAN : i % 3 == 1 ? INFINITY : -1e30f;
    oto_vad_reset(v);
    detect(v, pcm, n, 8000, 10, &found);
    assert_true(clean.n > 0 && found.n >= clean.n);
    assert_memory_equal(&found.at[found.n - 1], &clean.at[clean.n - 1], sizeof(oto_span));
    free(pcm);
}

static void filters_in_either_order(void **state)
{
    (void)state;
    oto_model *m;
    ASSERT_OK(open_seeded(&(flaw){.by_tap = true}, &m, e_));
    oto_model_close(m);
}

static void refuses_flaw(const flaw *f, const char *words)
{
    oto_model *m;
    oto_err e = {0};

    assert_int_equal(open_seeded(f, &m, &e), OTO_E_INPUT);
    if (strstr(e.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", e.text, words);
}

static void refuses_other_tensors(void **state)
{
    (void)state;
    static const char *const names[] = {
        "encoder.in_linear1.linear.weight", "encoder.out_linear2.linear.bias",
        "encoder.fsmn.2.linear.linear.weight", "encoder.fsmn.3.fsmn_block.conv_left.weight"};
    for (size_t i = 0; i < OTO_COUNT(names); i++) {
        refuses_flaw(&(flaw){.without = names[i]}, names[i]);
        refuses_flaw(&(flaw){.wrong = names[i]}, names[i]);
    }
    refuses_flaw(&(flaw){.without = "cmvn.shift"}, "cmvn.shift");
    refuses_flaw(&(flaw){.wrong = "cmvn.scale"}, "cmvn.scale");
}

static void refuses_options(void **state)
{
    (void)state;
    oto_vad_options o;
    oto_vad *v;
    oto_err e;

    oto_vad_defaults(&o);
    o.max_segment_ms = 10;
    assert_int_equal(oto_vad_new(seeded, &o, pool, arena, &v, &e), OTO_E_USAGE);
    oto_vad_defaults(&o);
    o.dynamic_end_silence = true;
    o.dynamic_chunk_ms = 0;
    assert_int_equal(oto_vad_new(seeded, &o, pool, arena, &v, &e), OTO_E_USAGE);
}

static void a_full_arena_is_an_error(void **state)
{
    (void)state;
    oto_vad_options o;
    oto_arena *small;
    oto_vad *v;
    oto_err e;
    int rc = OTO_E_LIMIT;

    oto_vad_defaults(&o);
    for (size_t cap = 1 << 14; rc != 0; cap += cap / 2) {
        ASSERT_OK(oto_arena_new("small", cap, &small, e_));
        rc = oto_vad_new(seeded, &o, pool, small, &v, &e);
        assert_true(rc == 0 || rc == OTO_E_LIMIT);
        oto_arena_free(small);
        assert_true(cap < 16 << 20);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_funasr),
        cmocka_unit_test(bounds_in_8_bits),
        cmocka_unit_test(probabilities),
        cmocka_unit_test(pieces_do_not_matter),
        cmocka_unit_test(single_samples),
        cmocka_unit_test(short_and_empty),
        cmocka_unit_test(garbage_passes),
        cmocka_unit_test(filters_in_either_order),
        cmocka_unit_test(refuses_other_tensors),
        cmocka_unit_test(refuses_options),
        cmocka_unit_test(a_full_arena_is_an_error),
    };
    return cmocka_run_group_tests_name("models/fsmn_vad", tests, set_up, tear_down);
}
