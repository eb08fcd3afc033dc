#include "models/whisper/network.c"

#include "unit/models/whisper/toy.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define WINDOWS 2
#define LANES   6

typedef struct {
    oto_model *model;
    const oto_whisper *m;
    oto_pool *pool;
    oto_arena *arena;
    oto_whisper_state *s;
    float *mel; /* [3000][n_mels] */
} fixture;

static toy files;

static int write_toy(void **state)
{
    (void)state;
    if (!toy_new(&files))
        return -1;
    toy_ct2(&files);
    return 0;
}

static int remove_toy(void **state)
{
    (void)state;
    toy_remove(&files);
    return 0;
}

static void open_model(fixture *f, const char *path, oto_compute compute, int windows, int lanes)
{
    oto_err e = {0};
    if (oto_cpu_init(&e) != 0 || oto_model_open(path, compute, &f->model, &e) != 0)
        fail_msg("%s", e.text);
    f->m = oto_whisper_of(f->model);
    assert_non_null(f->m);
    assert_int_equal(oto_pool_new(2, OTO_POOL_SCRATCH_BYTES, &f->pool, &e), 0);
    const size_t bytes = oto_whisper_state_bytes(f->m, windows, lanes);
    assert_int_equal(oto_arena_new("test", bytes + ((size_t)64 << 20), &f->arena, &e), 0);
    assert_int_equal(oto_whisper_state_new(f->m, windows, lanes, f->pool, f->arena, &f->s, &e), 0);
    assert_true(oto_arena_used(f->arena) <= bytes);
    assert_true(oto_arena_used(f->arena) + 256 >= bytes);
    f->mel =
        oto_arena_calloc(f->arena, (size_t)2 * FRAMES * (size_t)f->m->dims.n_mels, sizeof *f->mel);
    assert_non_null(f->mel);
}

static void close_model(fixture *f)
{
    oto_arena_free(f->arena);
    oto_pool_free(f->pool);
    oto_model_close(f->model);
}

static void open_toy(fixture *f, oto_compute compute)
{
    open_model(f, files.dir, compute, WINDOWS, LANES);
    for (int i = 0; i < WINDOWS; i++) {
        toy_values(f->mel, (size_t)2 * FRAMES * TOY_MELS, 77 + (uint32_t)i, 0.5f, 0);
        assert_true(oto_whisper_encode(f->s, i, f->mel, FRAMES, false, &(oto_stop){.ask = NULL}));
    }
}

static const int32_t text[] = {50258, 50259, 50359, 50363, 100, 2000, 30000, 4, 4, 51, 62, 73};
#define N_TEXT ((int)OTO_COUNT(text))

static float *step(fixture *f, int lane, int pos, int32_t token)
{
    const oto_whisper_row row = {.lane = lane, .pos = pos, .token = token, .logits = true};
    return oto_whisper_decode(f->s, &row, 1);
}

/* Logits after each of text[0 .. n), one step at a time. */
static float *steps(fixture *f, int lane, int window, int n)
{
    const size_t vocab = (size_t)f->m->dims.n_vocab;
    float *all = malloc((size_t)n * vocab * sizeof *all);
    assert_non_null(all);
    oto_whisper_lane_start(f->s, lane, window, OTO_WHISPER_CTX);
    for (int i = 0; i < n; i++)
        memcpy(all + (size_t)i * vocab, step(f, lane, i, text[i]), vocab * sizeof *all);
    return all;
}

static void same(const float *a, const float *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!(a[i] == b[i]))
            fail_msg("value %zu: %.9g, expected %.9g", i, (double)a[i], (double)b[i]);
}

static void close_to(const float *a, const float *b, size_t n, float most)
{
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= most))
            fail_msg("value %zu: %.9g, expected %.9g ± %g", i, (double)a[i], (double)b[i],
                     (double)most);
}

/* ---- what a row gives does not depend on what is beside it ---- */

static void rows_are_independent_of_the_batch(oto_compute compute)
{
    fixture f;
    open_toy(&f, compute);
    const size_t vocab = TOY_VOCAB;
    float *alone[2] = {steps(&f, 0, 0, N_TEXT), steps(&f, 1, 1, N_TEXT)};

    /* Two windows' texts at once: the prompt in one pass, then steps. */
    oto_whisper_row rows[2 * N_TEXT];
    const int n_prompt = 5;
    int n = 0;
    for (int lane = 2; lane < 4; lane++) {
        oto_whisper_lane_start(f.s, lane, lane - 2, OTO_WHISPER_CTX);
        for (int i = 0; i < n_prompt; i++)
            rows[n++] = (oto_whisper_row){lane, i, text[i], i == 0 || i == n_prompt - 1};
    }
    float *logits = oto_whisper_decode(f.s, rows, n);
    for (int w = 0; w < 2; w++) {
        same(logits + (size_t)(2 * w) * vocab, alone[w], vocab);
        same(logits + (size_t)(2 * w + 1) * vocab, alone[w] + (size_t)(n_prompt - 1) * vocab,
             vocab);
    }
    for (int i = n_prompt; i < N_TEXT; i++) {
        for (int w = 0; w < 2; w++)
            rows[w] = (oto_whisper_row){2 + w, i, text[i], true};
        logits = oto_whisper_decode(f.s, rows, 2);
        for (int w = 0; w < 2; w++)
            same(logits + (size_t)w * vocab, alone[w] + (size_t)i * vocab, vocab);
    }
    free(alone[0]);
    free(alone[1]);
    close_model(&f);
}

static void batch_f32(void **state)
{
    (void)state;
    rows_are_independent_of_the_batch(OTO_COMPUTE_F32);
}

static void batch_int8(void **state)
{
    (void)state;
    rows_are_independent_of_the_batch(OTO_COMPUTE_I8);
}

static void no_logits_when_none_is_wanted(void **state)
{
    (void)state;
    fixture f;
    open_toy(&f, OTO_COMPUTE_I8);
    const oto_whisper_row row = {.token = 50258};
    oto_whisper_lane_start(f.s, 0, 0, OTO_WHISPER_CTX);
    assert_null(oto_whisper_decode(f.s, &row, 1));
    assert_true(oto_whisper_max_rows(f.s) >= CTX);
    close_model(&f);
}

/* ---- beams ---- */

/* Hypotheses that split, cross over and die give what their own text gives alone. */
static void moved_lanes_keep_their_past(void **state)
{
    (void)state;
    enum { BEAMS = 3, STEPS = 6, PROMPT = 4 };
    static const int parent[STEPS][BEAMS] = {{0, 0, 0}, {1, 0, 2}, {2, 1, 1},
                                             {0, 2, 0}, {2, 0, 1}, {1, 1, 2}};
    static const int dst[BEAMS] = {1, 2, 3};
    fixture f;
    oto_whisper_row rows[PROMPT + BEAMS];
    int32_t past[BEAMS][PROMPT + STEPS], next[BEAMS][PROMPT + STEPS];
    open_toy(&f, OTO_COMPUTE_BF16);
    for (int b = 0; b < BEAMS; b++) {
        memcpy(past[b], text, PROMPT * sizeof text[0]);
        oto_whisper_lane_start(f.s, dst[b], 1, OTO_WHISPER_CTX);
    }
    for (int i = 0; i < PROMPT; i++)
        rows[i] = (oto_whisper_row){1, i, text[i], false};
    (void)oto_whisper_decode(f.s, rows, PROMPT);

    float *logits = NULL;
    for (int t = 0; t < STEPS; t++) {
        int src[BEAMS];
        for (int b = 0; b < BEAMS; b++) {
            src[b] = dst[parent[t][b]];
            memcpy(next[b], past[parent[t][b]], sizeof next[b]);
            next[b][PROMPT + t] = 1000 * t + 17 * b;
            rows[b] = (oto_whisper_row){dst[b], PROMPT + t, next[b][PROMPT + t], true};
        }
        memcpy(past, next, sizeof past);
        oto_whisper_lanes_move(f.s, dst, src, BEAMS, PROMPT + t);
        logits = oto_whisper_decode(f.s, rows, BEAMS);
    }
    float *got = malloc((size_t)BEAMS * TOY_VOCAB * sizeof *got);
    assert_non_null(got);
    memcpy(got, logits, (size_t)BEAMS * TOY_VOCAB * sizeof *got);
    for (int b = 0; b < BEAMS; b++) {
        oto_whisper_lane_start(f.s, 0, 1, OTO_WHISPER_CTX);
        for (int i = 0; i < PROMPT + STEPS; i++)
            logits = step(&f, 0, i, past[b][i]);
        same(got + (size_t)b * TOY_VOCAB, logits, TOY_VOCAB);
    }
    free(got);
    close_model(&f);
}

/* ---- precision modes ---- */

static void int8_is_near_f32(void **state)
{
    (void)state;
    fixture f;
    open_toy(&f, OTO_COMPUTE_F32);
    float *exact = steps(&f, 0, 0, N_TEXT);
    close_model(&f);
    for (int i = 0; i < 2; i++) {
        open_toy(&f, i == 0 ? OTO_COMPUTE_BF16 : OTO_COMPUTE_I8);
        float *got = steps(&f, 0, 0, N_TEXT);
        double error = 0, power = 0;
        for (size_t j = 0; j < (size_t)N_TEXT * TOY_VOCAB; j++) {
            error += (double)(got[j] - exact[j]) * (double)(got[j] - exact[j]);
            power += (double)exact[j] * (double)exact[j];
        }
        assert_true(sqrt(error / power) < (i == 0 ? 0.02 : 0.06));
        free(got);
        close_model(&f);
    }
    free(exact);
}

/* ---- alignment ---- */

static void alignment_sums_to_one_and_scores_as_steps_do(void **state)
{
    (void)state;
    fixture f;
    oto_err e;
    float *weights, *log_prob;
    const int frames = 333;
    open_toy(&f, OTO_COMPUTE_BF16);
    float *all = steps(&f, 0, 1, N_TEXT);
    assert_int_equal(
        oto_whisper_align(f.s, 1, 1, text, N_TEXT, frames, f.arena, &weights, &log_prob, &e), 0);
    assert_int_equal(f.m->dims.n_alignment_heads, TOY_W / HEAD * TOY_LAYERS / 2);
    for (int i = 0; i < f.m->dims.n_alignment_heads * N_TEXT; i++) {
        double sum = 0;
        for (int j = 0; j < frames; j++)
            sum += (double)weights[(size_t)i * (size_t)frames + (size_t)j];
        assert_true(fabs(sum - 1) < 1e-4);
    }
    for (int i = 0; i + 1 < N_TEXT; i++) {
        const float *row = all + (size_t)i * TOY_VOCAB;
        const float p = row[text[i + 1]] - oto_k()->logsumexp_f32(row, TOY_EOT);
        assert_true(fabsf(p - log_prob[i]) < 1e-4f);
    }
    free(all);

    /* Nothing heard: probabilities all the same. Too long: refused. */
    float *again;
    assert_int_equal(oto_whisper_align(f.s, 1, 1, text, N_TEXT, 0, f.arena, &weights, &again, &e),
                     0);
    same(again, log_prob, N_TEXT - 1);
    static int32_t many[CTX + 1];
    assert_int_equal(
        oto_whisper_align(f.s, 1, 1, many, CTX + 1, 10, f.arena, &weights, &log_prob, &e),
        OTO_E_LIMIT);
    assert_int_equal(
        oto_whisper_align(f.s, 1, 1, many, CTX, 1500, f.arena, &weights, &log_prob, &e), 0);
    close_model(&f);
}

static void odd_states_are_refused(void **state)
{
    (void)state;
    fixture f;
    oto_err e;
    oto_whisper_state *s;
    open_toy(&f, OTO_COMPUTE_I8);
    assert_int_equal(oto_whisper_state_new(f.m, 0, 1, f.pool, f.arena, &s, &e), OTO_E_USAGE);
    assert_int_equal(oto_whisper_state_new(f.m, 1, 0, f.pool, f.arena, &s, &e), OTO_E_USAGE);
    assert_int_equal(oto_whisper_state_new(f.m, 1, 40000, f.pool, f.arena, &s, &e), OTO_E_USAGE);
    assert_int_equal(oto_whisper_state_new(f.m, 4000, 1, f.pool, f.arena, &s, &e), OTO_E_LIMIT);
    close_model(&f);
}

/* ---- real weights against CTranslate2 (tests/reference/whisper_ct2.py) ---- */

static int32_t i32(oto_reader *r)
{
    return (int32_t)oto_read_u32(r);
}

static const int32_t *ints(oto_reader *r, int *n, int32_t out[64])
{
    *n = i32(r);
    assert_true(*n >= 0 && *n <= 64);
    for (int i = 0; i < *n; i++)
        out[i] = i32(r);
    return out;
}

static void golden_encoder(fixture *f, oto_reader *r)
{
    const int frames = i32(r), mels = i32(r);
    assert_int_equal(mels, f->m->dims.n_mels);
    for (int i = 0; i < frames * mels; i++)
        f->mel[i] = (float)(int8_t)oto_read_u8(r) / 64;
}

static void golden_compare(fixture *f, oto_reader *r)
{
    const oto_whisper_dims *d = &f->m->dims;
    int32_t prompt[64], tokens[64], line[64];
    int n_prompt, n_tokens, n_line;
    oto_err e;
    golden_encoder(f, r);
    ints(r, &n_prompt, prompt);
    ints(r, &n_tokens, tokens);

    float *enc = malloc(cross_elems(f->m) * sizeof *enc);
    assert_non_null(enc);
    oto_whisper_encode_out(f->s, 0, f->mel, enc);
    const int enc_step = i32(r);
    assert_int_equal(i32(r), d->width);
    for (int t = 0; t < FRAMES; t += enc_step)
        for (int i = 0; i < d->width; i++) {
            const float want = oto_read_f32(r), got = enc[t * d->width + i];
            if (!(fabsf(got - want) <= 1e-4f * (1 + fabsf(want)) + 2e-3f))
                fail_msg("encoder frame %d, value %d: %g, expected %g", t, i, (double)got,
                         (double)want);
        }
    free(enc);

    /* Greedy, by hand. */
    const int logit_step = i32(r), n_logits = i32(r);
    assert_int_equal(i32(r), d->n_vocab);
    oto_whisper_row rows[64];
    oto_whisper_lane_start(f->s, 0, 0, OTO_WHISPER_CTX);
    for (int i = 0; i < n_prompt; i++)
        rows[i] = (oto_whisper_row){0, i, prompt[i], i == n_prompt - 1};
    const float *logits = oto_whisper_decode(f->s, rows, n_prompt);
    for (int i = 0; i < n_logits; i++) {
        for (int j = 0; j < d->n_vocab; j += logit_step) {
            const float want = oto_read_f32(r);
            close_to(&logits[j], &want, 1, 5e-4f);
        }
        const int32_t best = oto_k()->argmax_f32(logits, d->n_vocab);
        assert_int_equal(best, i < n_tokens ? tokens[i] : d->eot);
        if (i + 1 < n_logits)
            logits = step(f, 0, n_prompt + i, best);
    }

    /* Words. */
    ints(r, &n_line, line);
    const int n_heads = i32(r), frames = i32(r), frame_step = i32(r);
    float *weights = NULL, *log_prob = NULL;
    assert_int_equal(n_heads, d->n_alignment_heads);
    assert_int_equal(
        oto_whisper_align(f->s, 0, 0, line, n_line, frames, f->arena, &weights, &log_prob, &e), 0);
    for (int i = 0; i < n_heads * n_line; i++)
        for (int j = 0; j < frames; j += frame_step) {
            const float want = oto_read_f32(r);
            close_to(&weights[i * frames + j], &want, 1, 1e-4f);
        }
    for (int i = 0; i + 1 < n_line; i++) {
        const float want = oto_read_f32(r);
        close_to(&log_prob[i], &want, 1, 1e-3f);
    }
    assert_false(r->bad);
    assert_int_equal(oto_reader_left(r), 0);
}

static void equals_ct2(const char *model, const char *golden)
{
    const char *models = getenv("OTO_TEST_MODELS");
    char path[500];
    oto_map map;
    oto_reader r;
    oto_err e;
    fixture f;
    snprintf(path, sizeof path, "%s/%s/source/model.bin", models ? models : "models", model);
    if (access(path, R_OK) != 0) {
        print_message("%s is not there: not compared with CTranslate2\n", path);
        skip();
    }
    path[strlen(path) - strlen("/model.bin")] = '\0';
    open_model(&f, path, OTO_COMPUTE_F32, 1, 1);
    snprintf(path, sizeof path, "%s/tests/golden/%s", OTO_SOURCE_DIR, golden);
    assert_int_equal(oto_map_open(path, &map, &e), 0);
    oto_reader_init(&r, map.p, map.n);
    golden_compare(&f, &r);
    oto_map_close(&map);
    close_model(&f);
}

static void tiny_en_equals_ct2(void **state)
{
    (void)state;
    equals_ct2("whisper-tiny.en", "whisper_tiny.en.bin");
}

static void base_equals_ct2(void **state)
{
    (void)state;
    equals_ct2("whisper-base", "whisper_base.bin");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batch_f32),
        cmocka_unit_test(batch_int8),
        cmocka_unit_test(no_logits_when_none_is_wanted),
        cmocka_unit_test(moved_lanes_keep_their_past),
        cmocka_unit_test(int8_is_near_f32),
        cmocka_unit_test(alignment_sums_to_one_and_scores_as_steps_do),
        cmocka_unit_test(odd_states_are_refused),
        cmocka_unit_test(tiny_en_equals_ct2),
        cmocka_unit_test(base_equals_ct2),
    };
    return cmocka_run_group_tests(tests, write_toy, remove_toy);
}
