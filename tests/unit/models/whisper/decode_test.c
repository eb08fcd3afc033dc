/* Whole windows on real weights: OTO_TEST_MODELS (default models) with whisper-tiny.en and
 * whisper-base, OTO_TEST_DATA (default build/testdata). */
#include "models/whisper/decode.c"

#include <jansson.h>
#include <stdlib.h>
#include <zlib.h>

#include <setjmp.h>
#include <cmocka.h>

#define GOLDEN "tests/golden/whisper/tokens.jsonl"

static oto_pool *pool;
static oto_arena *job;

static const char *under(const char *variable, const char *usual, const char *name)
{
    static char path[4][512];
    static int turn;
    const char *dir = getenv(variable);
    char *p = path[turn++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir ? dir : usual, name);
    return p;
}

static oto_model *open_model(const char *name, oto_compute compute)
{
    char rest[64];
    oto_model *m;
    oto_err e;

    snprintf(rest, sizeof rest, "%s/source", name);
    const char *path = under("OTO_TEST_MODELS", "models", rest);
    FILE *f = fopen(path, "r");
    if (f == NULL) {
        print_message("no %s: not tested with it\n", path);
        return NULL;
    }
    fclose(f);
    if (oto_model_open(path, compute, &m, &e) != 0)
        fail_msg("%s", e.text);
    return m;
}

/* A state, with the arena it lives in. */
struct engine {
    oto_model *model;
    oto_arena *arena;
    oto_asr *asr;
};

static bool engine_open(struct engine *g, const char *name, oto_compute compute, int batch,
                        int beam)
{
    size_t bytes;

    if ((g->model = open_model(name, compute)) == NULL)
        return false;
    bytes = oto_asr_bytes(g->model, batch, beam);
    assert_int_equal(oto_arena_new("engine", bytes, &g->arena, NULL), 0);
    /* The arena is exactly what was promised to suffice. */
    assert_int_equal(oto_asr_new(g->model, batch, beam, pool, g->arena, &g->asr, NULL), 0);
    return true;
}

static void engine_close(struct engine *g)
{
    oto_arena_free(g->arena);
    oto_model_close(g->model);
}

/* Samples [start, end) of a 16 kHz mono 16-bit recording of scripts/test_data.sh; NULL if it is not
 * there, or not the one that was. */
static float *read_window(const char *file, long start, long end, uint32_t crc)
{
    const char *path = under("OTO_TEST_DATA", "build/testdata", file);
    size_t n = (size_t)(end - start);
    FILE *f = fopen(path, "rb");
    int16_t *raw = malloc(n * 2);
    float *pcm = malloc(n * sizeof *pcm);
    bool good = f && fseek(f, 44 + 2 * start, SEEK_SET) == 0 && fread(raw, 2, n, f) == n &&
                (crc == 0 || crc32(0, (const unsigned char *)raw, (unsigned)n * 2) == crc);

    for (size_t i = 0; good && i < n; i++)
        pcm[i] = (float)raw[i] / 32768.0f;
    if (f)
        fclose(f);
    free(raw);
    if (good)
        return pcm;
    free(pcm);
    print_message("no %s as it was: not tested with it\n", path);
    return NULL;
}

/* ---- the reference's tokens ---- */

static int check_line(struct engine *g, json_t *line, int *n_windows)
{
    long start = (long)json_integer_value(json_object_get(line, "start"));
    long end = (long)json_integer_value(json_object_get(line, "end"));
    const char *file = json_string_value(json_object_get(line, "file"));
    const char *language = json_string_value(json_object_get(line, "language"));
    json_t *tokens = json_object_get(line, "tokens");
    float *pcm =
        read_window(file, start, end, (uint32_t)json_integer_value(json_object_get(line, "crc")));
    oto_asr_options o;
    oto_asr_result r;
    oto_err e;

    if (pcm == NULL)
        return 0;
    oto_asr_defaults(&o);
    o.beam = (int)json_integer_value(json_object_get(line, "beam"));
    o.n_temperatures = 1;
    oto_asr_window w = {.pcm = pcm, .n = (size_t)(end - start)};
    if (oto_asr_run(g->asr, &o, &w, 1, job, &r, &e) != 0)
        fail_msg("%s", e.text);
    assert_string_equal(r.language, language);
    bool same = (size_t)r.n_raw == json_array_size(tokens);
    for (int i = 0; same && i < r.n_raw; i++)
        same = r.raw_tokens[i] == json_integer_value(json_array_get(tokens, (size_t)i));
    if (!same)
        print_message("%s at %ld, beam %d: other tokens\n", file, start, o.beam);
    oto_arena_reset(job);
    free(pcm);
    ++*n_windows;
    return same;
}

/* Under sanitizers, where they take minutes, the smaller one alone. */
static const char *const names[] = {
    "whisper-tiny.en",
#if !defined(__SANITIZE_ADDRESS__)
    "whisper-base",
#endif
};

static void tokens_are_the_references(void **state)
{
    (void)state;
    int n_windows = 0, n_same = 0;

    for (size_t k = 0; k < OTO_COUNT(names); k++) {
        FILE *f = fopen(GOLDEN, "r");
        struct engine g;
        json_t *line;

        assert_non_null(f);
        if (engine_open(&g, names[k], OTO_COMPUTE_F32, 1, 5)) {
            while ((line = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL)) != NULL) {
                if (strcmp(json_string_value(json_object_get(line, "model")), names[k]) == 0)
                    n_same += check_line(&g, line, &n_windows);
                json_decref(line);
            }
            engine_close(&g);
        }
        fclose(f);
    }
    print_message("%d of %d windows have the reference's tokens\n", n_same, n_windows);
    /* Sums in another order may turn one close decision. */
    assert_true(n_same >= n_windows - 1);
    if (n_windows == 0)
        skip();
}

/* ---- windows together ---- */

static void windows_do_not_touch_each_other(void **state)
{
    (void)state;
    enum { N = 3, LEN = 16000 * 12 };
    struct engine g;
    oto_asr_options o;
    oto_asr_window w[N];
    oto_asr_result all[N], one;
    float *pcm;

    if (!engine_open(&g, "whisper-tiny.en", OTO_COMPUTE_I8, N, 5))
        skip();
    if ((pcm = read_window("en.wav", 0, N * LEN, 0)) == NULL) {
        engine_close(&g);
        skip();
    }
    oto_asr_defaults(&o);
    o.words = true;
    /* One window is drawn at every temperature: lower the bar so that all are. */
    o.log_prob_threshold = -0.01f;
    o.n_temperatures = 2;
    for (int i = 0; i < N; i++)
        w[i] = (oto_asr_window){.pcm = pcm + i * LEN, .n = LEN};
    assert_int_equal(oto_asr_run(g.asr, &o, w, N, job, all, NULL), 0);
    for (int i = 0; i < N; i++) {
        assert_int_equal(oto_asr_run(g.asr, &o, &w[i], 1, job, &one, NULL), 0);
        assert_true(one.n_raw > 0);
        assert_int_equal(one.n_raw, all[i].n_raw);
        assert_memory_equal(one.raw_tokens, all[i].raw_tokens,
                            (size_t)one.n_raw * sizeof *one.raw_tokens);
        assert_int_equal(one.n_segments, all[i].n_segments);
        assert_int_equal(one.next_ms, all[i].next_ms);
    }
    oto_arena_reset(job);
    free(pcm);
    engine_close(&g);
}

static void same_result(const oto_asr_result *a, const oto_asr_result *b)
{
    assert_int_equal(a->n_raw, b->n_raw);
    assert_memory_equal(a->raw_tokens, b->raw_tokens, (size_t)a->n_raw * sizeof *a->raw_tokens);
    assert_int_equal(a->n_segments, b->n_segments);
    assert_string_equal(a->language, b->language);
    for (int i = 0; i < a->n_segments; i++) {
        assert_string_equal(a->segments[i].text, b->segments[i].text);
        assert_int_equal(a->segments[i].start_ms, b->segments[i].start_ms);
        assert_int_equal(a->segments[i].n_words, b->segments[i].n_words);
    }
}

/* Six windows, each with options of its own, through two places, one of them dropped on its way. */
static void windows_come_and_go(void **state)
{
    (void)state;
    enum { N = 6, LEN = 16000 * 9, DROPPED = 2 };
    struct engine g;
    oto_asr_options o[N];
    oto_asr_window w[N];
    oto_asr_result alone[N], got;
    int in[2] = {-1, -1}, next = 0, steps = 0, n_done = 0, longest = 0, all_steps = 0;
    oto_asr_stats stats;
    float *pcm;

    if (!engine_open(&g, "whisper-base", OTO_COMPUTE_I8, 2, 5))
        skip();
    if ((pcm = read_window("en.wav", 0, N * LEN, 0)) == NULL) {
        engine_close(&g);
        skip();
    }
    for (int i = 0; i < N; i++) {
        oto_asr_defaults(&o[i]);
        o[i].beam = 1 + i % 5;
        o[i].words = i % 2 == 1;
        o[i].prompt = i == 3 ? "Names, and more of them." : NULL;
        strcpy(o[i].language, i < 3 ? "" : i == 4 ? "fr" : "en");
        w[i] = (oto_asr_window){.pcm = pcm + i * LEN, .n = LEN};
        assert_int_equal(oto_asr_run(g.asr, &o[i], &w[i], 1, job, &alone[i], NULL), 0);
        oto_asr_stats_get(g.asr, &stats);
        longest = OTO_MAX(longest, (int)stats.steps - all_steps);
        all_steps = (int)stats.steps;
    }
    while (n_done < N) {
        for (int at = 0; at < 2; at++)
            if (in[at] < 0 && next < N) {
                assert_int_equal(oto_asr_begin(g.asr, at, &o[next], &w[next], job, NULL), 0);
                in[at] = next++;
            }
        oto_asr_step(g.asr);
        steps++;
        for (int at = 0; at < 2; at++) {
            if (in[at] < 0)
                continue;
            if (in[at] == DROPPED) {
                oto_asr_drop(g.asr, at);
            } else if (oto_asr_ended(g.asr, at)) {
                assert_int_equal(oto_asr_end(g.asr, at, job, &got, NULL), 0);
                same_result(&got, &alone[in[at]]);
            } else
                continue;
            in[at] = -1;
            n_done++;
        }
    }
    /* They were under way together. */
    assert_true(steps >= longest && steps < all_steps * 3 / 4);
    oto_arena_reset(job);
    free(pcm);
    engine_close(&g);
}

static void check_words(const oto_asr_result *r)
{
    for (int s = 0; s < r->n_segments; s++) {
        const oto_segment *g = &r->segments[s];
        char joined[500] = "";

        assert_true(g->n_words > 0);
        assert_true(g->start_ms <= g->end_ms);
        for (int i = 0; i < g->n_words; i++) {
            assert_true(g->words[i].start_ms <= g->words[i].end_ms);
            assert_true(i == 0 || g->words[i].start_ms >= g->words[i - 1].start_ms);
            assert_true(g->words[i].probability > 0 && g->words[i].probability <= 1.001f);
            strncat(joined, g->words[i].text, sizeof joined - strlen(joined) - 1);
        }
        assert_string_equal(joined, g->text);
    }
}

static void words_prompt_and_limits(void **state)
{
    (void)state;
    enum { LEN = 16000 * 12 };
    struct engine g;
    oto_asr_options o;
    oto_asr_result r[2];
    oto_err e;
    float *pcm;
    char many[4000] = "";

    if (!engine_open(&g, "whisper-tiny.en", OTO_COMPUTE_I8, 1, 5))
        skip();
    if ((pcm = read_window("en.wav", 0, LEN, 0)) == NULL) {
        engine_close(&g);
        skip();
    }
    oto_asr_window w[2] = {{.pcm = pcm, .n = LEN}, {.pcm = pcm, .n = LEN}};
    oto_asr_defaults(&o);
    o.words = true;
    assert_int_equal(oto_asr_run(g.asr, &o, w, 1, job, r, NULL), 0);
    assert_true(r[0].n_segments > 0);
    assert_string_equal(r[0].language, "en");
    check_words(r);
    for (int i = 0; i < 500; i++)
        strcat(many, "word ");
    o.prompt = o.hotwords = many; /* far too much: cut, and there is room for text */
    o.n_temperatures = 1;
    assert_int_equal(oto_asr_run(g.asr, &o, w, 1, job, r, NULL), 0);
    o.prompt = o.hotwords = " ";
    assert_int_equal(oto_asr_run(g.asr, &o, w, 1, job, r, NULL), 0);
    o.beam = 6;
    assert_int_equal(oto_asr_run(g.asr, &o, w, 1, job, r, &e), OTO_E_USAGE);
    o.beam = 5;
    assert_int_equal(oto_asr_run(g.asr, &o, w, 2, job, r, &e), OTO_E_USAGE);
    /* No sound at all, and none given. */
    memset(pcm, 0, LEN * sizeof *pcm);
    assert_int_equal(oto_asr_run(g.asr, &o, w, 1, job, r, NULL), 0);
    assert_int_equal(r[0].n_segments, 0);
    assert_int_equal(r[0].next_ms, 12000);
    w[0].n = 0;
    assert_int_equal(oto_asr_run(g.asr, &o, w, 1, job, r, NULL), 0);
    assert_int_equal(r[0].next_ms, 0);
    oto_arena_reset(job);
    free(pcm);
    engine_close(&g);
}

/* ---- nothing to hear ---- */

static float noise(uint32_t *r)
{
    float sum = 0;
    for (int i = 0; i < 4; i++) {
        *r = *r * 1664525u + 1013904223u;
        sum += (float)(*r >> 8) / 8388608.0f - 1.0f;
    }
    return sum;
}

static void fill(float *pcm, int n, int kind)
{
    uint32_t r = 1;
    float low = 0;

    for (int i = 0; i < n; i++) {
        float x = noise(&r), t = (float)i / 16000.0f;
        low = 0.999f * low + 0.03f * x;
        switch (kind) {
        case 0: /* the last bit of silence */
            pcm[i] = roundf(x) / 32768.0f;
            break;
        case 1:
            pcm[i] = 0.1f * x;
            break;
        case 2: /* brown */
            pcm[i] = 0.2f * low;
            break;
        case 3: /* mains hum */
            pcm[i] = 0.2f * sinf(314.159f * t) + 0.05f * sinf(942.48f * t);
            break;
        default: /* notes, four in a second */
            pcm[i] = 0.3f * expf(-8.0f * fmodf(t, 0.25f)) *
                     sinf(1382.3f * t * (1.0f + 0.125f * (float)((int)(t * 4) * 7 % 9)));
        }
    }
}

static void nothing_is_heard_in_noise(void **state)
{
    (void)state;
    enum { N = 16000 * 20, KINDS = 5 };
    float *pcm = malloc(N * sizeof *pcm);
    struct engine g;
    oto_asr_options o;
    oto_asr_result r;
    int n_models = 0;

    oto_asr_defaults(&o);
    for (size_t k = 0; k < OTO_COUNT(names); k++) {
        if (!engine_open(&g, names[k], OTO_COMPUTE_I8, 1, 5))
            continue;
        n_models++;
        for (int kind = 0; kind < KINDS - (k > 0); kind++) { /* tones take base many attempts */
            fill(pcm, N, kind);
            oto_asr_window w = {.pcm = pcm, .n = N};
            assert_int_equal(oto_asr_run(g.asr, &o, &w, 1, job, &r, NULL), 0);
            if (r.n_segments)
                fail_msg("%s, sound %d: %s", names[k], kind, r.segments[0].text);
            oto_arena_reset(job);
        }
        engine_close(&g);
    }
    free(pcm);
    if (n_models == 0)
        skip();
}

static int setup(void **state)
{
    (void)state;
    return oto_cpu_init(NULL) || oto_pool_new(2, OTO_POOL_SCRATCH_BYTES, &pool, NULL) ||
           oto_arena_new("results", (size_t)64 << 20, &job, NULL);
}

static int teardown(void **state)
{
    (void)state;
    oto_arena_free(job);
    oto_pool_free(pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tokens_are_the_references),
        cmocka_unit_test(windows_do_not_touch_each_other),
        cmocka_unit_test(windows_come_and_go),
        cmocka_unit_test(words_prompt_and_limits),
        cmocka_unit_test(nothing_is_heard_in_noise),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
