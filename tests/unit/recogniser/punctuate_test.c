/* Sentences of segments, with seeded models: a punctuated job is its whole text punctuated at once,
 * however often it is begun again. */
#include "recogniser/punctuate.c"
#include "recogniser/recogniser.h"

#include "unit/models/seeded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

#define N_VOCAB 500
#define SECONDS 75

static oto_model *asr, *punc, *realtime;
static oto_pool *pool;
static oto_arena *arena;
static oto_punctuator *punctuator;
static oto_punc *direct;
static char recording[] = "/tmp/oto-pcm-XXXXXX";

static const char *new_file(char *path)
{
    const int fd = mkstemp(path);

    assert_true(fd >= 0);
    close(fd);
    return path;
}

static oto_model *open_model(const char *path)
{
    oto_model *m;
    oto_err e = {0};

    if (oto_model_open(path, OTO_COMPUTE_I8, &m, &e) != 0)
        fail_msg("%s", e.text);
    unlink(path);
    return m;
}

/* Tones that change, so that tokens do. */
static void write_recording(void)
{
    FILE *f = fopen(new_file(recording), "wb");
    uint32_t x = 1;

    assert_non_null(f);
    for (int i = 0; i < SECONDS * 16000; i++) {
        const int tone = 100 + i / 4000 * 37 % 1500;
        int16_t v;

        x = 1664525u * x + 1013904223u;
        v = (int16_t)(8000 * sin(2 * 3.14159265358979 * tone * i / 16000) + (int)(x >> 20) - 2048);
        fwrite(&v, sizeof v, 1, f);
    }
    assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
    static char text[N_VOCAB + 3][8];
    const char *pieces[N_VOCAB + 3] = {
        [N_VOCAB] = "<unk>", [N_VOCAB + 1] = "word", [N_VOCAB + 2] = "goword"};
    char a[] = "/tmp/oto-asr-XXXXXX", p[] = "/tmp/oto-punc-XXXXXX", q[] = "/tmp/oto-punc-XXXXXX";
    oto_err e = {0};

    (void)state;
    for (int i = 0; i < N_VOCAB; i++) {
        text[i][oto_utf8_put(text[i], 0x4e00 + (uint32_t)i)] = '\0';
        pieces[i] = text[i];
    }
    if (oto_cpu_init(&e) != 0)
        fail_msg("%s", e.text);
    assert_true(
        seeded_paraformer(new_file(a), (seeded_size){.n_enc = 3, .n_dec = 2, .n_vocab = N_VOCAB}));
    assert_true(seeded_ct(new_file(p), 4, pieces, N_VOCAB + 3));
    asr = open_model(a);
    punc = open_model(p);
    assert_true(seeded_ct_of(new_file(q), 3, pieces, N_VOCAB + 3, true));
    realtime = open_model(q);
    write_recording();
    assert_int_equal(oto_pool_new(1, OTO_POOL_SCRATCH_BYTES, &pool, &e), 0);
    assert_int_equal(
        oto_arena_new("test", oto_punctuator_bytes(punc) + oto_punc_bytes(punc), &arena, &e), 0);
    assert_int_equal(oto_punctuator_new(punc, pool, arena, &punctuator, &e), 0);
    assert_int_equal(oto_punc_new(punc, pool, arena, &direct, &e), 0);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    unlink(recording);
    oto_arena_free(arena);
    oto_pool_free(pool);
    oto_model_close(asr);
    oto_model_close(punc);
    oto_model_close(realtime);
    return 0;
}

/* ---- what is heard ---- */

typedef struct {
    char text[1 << 16];
    int64_t start_ms[1000], end_ms[1000];
    int n, stop_at;
    bool words, spaced; /* words are asked for; a bar stands between segments */
    /* windows that are known */
    bool remembers;
    struct {
        uint32_t key;
        oto_asr_result r;
    } memos[64];
    int n_memos, recalled;
    oto_arena *kept;
} heard;

static int on_segment(void *arg, const oto_segment *s)
{
    static char words[1 << 14];
    heard *h = arg;
    const size_t n = strlen(h->text);

    assert_true(h->n < 1000);
    h->start_ms[h->n] = s->start_ms;
    h->end_ms[h->n] = s->end_ms;
    assert_true(s->end_ms >= s->start_ms && s->seek_ms <= s->start_ms);
    assert_true(h->n == 0 || s->start_ms >= h->start_ms[h->n - 1]);
    snprintf(h->text + n, sizeof h->text - n, "%s%s", h->spaced && h->n > 0 ? "|" : "", s->text);
    assert_true(strlen(h->text) < sizeof h->text - 1);
    if (h->words) {
        words[0] = '\0';
        for (int i = 0; i < s->n_words; i++) {
            strcat(words, s->words[i].text);
            assert_true(s->words[i].start_ms >= (i > 0 ? s->words[i - 1].start_ms : s->start_ms));
            assert_true(s->words[i].end_ms <= s->end_ms);
        }
        assert_string_equal(words, s->text);
    } else {
        assert_int_equal(s->n_words, 0);
    }
    return ++h->n == h->stop_at;
}

static uint32_t key_of(const oto_asr_window *w)
{
    uint32_t x = 2166136261u;

    for (size_t i = 0; i < w->n * sizeof(float); i++)
        x = (x ^ ((const uint8_t *)w->pcm)[i]) * 16777619u;
    return x;
}

static bool recall(void *arg, const oto_asr_options *o, const oto_asr_window *w, oto_arena *a,
                   oto_asr_result *out)
{
    heard *h = arg;

    (void)o, (void)a;
    for (int i = 0; i < h->n_memos; i++)
        if (h->memos[i].key == key_of(w)) {
            *out = h->memos[i].r;
            h->recalled++;
            return true;
        }
    return false;
}

static int remember(void *arg, const oto_asr_options *o, const oto_asr_window *w,
                    const oto_asr_result *r, oto_err *e)
{
    heard *h = arg;
    oto_asr_result *m = &h->memos[h->n_memos].r;

    (void)o;
    *m = *r;
    h->memos[h->n_memos++].key = key_of(w);
    assert_int_equal(
        oto_arena_get(h->kept, (size_t)r->n_segments, sizeof *m->segments, &m->segments, e), 0);
    for (int i = 0; i < r->n_segments; i++) {
        const oto_segment *s = &r->segments[i];
        oto_word *words;

        m->segments[i] = *s;
        m->segments[i].text = oto_arena_strdup(h->kept, s->text, strlen(s->text));
        assert_int_equal(oto_arena_get(h->kept, (size_t)s->n_words, sizeof *words, &words, e), 0);
        for (int k = 0; k < s->n_words; k++) {
            words[k] = s->words[k];
            words[k].text = oto_arena_strdup(h->kept, s->words[k].text, strlen(s->words[k].text));
        }
        m->segments[i].words = words;
    }
    return 0;
}

static int run(heard *h, const oto_model *with, oto_job_result *result)
{
    const oto_recogniser_options ro = {.asr = asr, .punc = with, .threads = 2, .batch = 2};
    oto_recogniser *r;
    oto_job_options o;
    oto_err e = {0};
    int rc;

    if (oto_recogniser_new(&ro, &r, &e) != 0)
        fail_msg("%s", e.text);
    oto_job_defaults(&o);
    o.media.raw_pcm = true;
    o.asr.words = h->words;
    o.on_segment = on_segment;
    if (h->remembers) {
        o.recall = recall;
        o.remember = remember;
    }
    o.arg = h;
    rc = oto_recogniser_run(r, recording, &o, result, &e);
    if (rc != 0 && rc != OTO_E_CANCELLED)
        fail_msg("%s", e.text);
    oto_recogniser_free(r);
    return rc;
}

static size_t add(char *out, size_t n, const oto_punc_token *t, int got)
{
    for (int i = 0; i < got; i++)
        n += (size_t)snprintf(out + n, (1 << 16) - n, "%s", t[i].word.text);
    return n;
}

/* The whole text at once, a pause behind each bar. */
static const char *punctuated(oto_punc *p, const char *text)
{
    static char out[1 << 16];
    const oto_punc_token *t = NULL;
    size_t n = 0;
    int got;

    for (;; text++) {
        const oto_timed_piece piece = {.text = {text, strcspn(text, "|")}};

        for (size_t used = 0; used < piece.text.n;) {
            got = oto_punc_push(p, &piece, 0, &used, &t);
            n = add(out, n, t, got);
        }
        text += piece.text.n;
        if (*text == '\0')
            break;
        got = oto_punc_push(p, &(oto_timed_piece){.text = {" ", 1}}, 0, &(size_t){0}, &t);
        assert_int_equal(got, 0);
        got = oto_punc_pause(p, &t);
        n = add(out, n, t, got);
    }
    got = oto_punc_finish(p, &t);
    n = add(out, n, t, got);
    return out;
}

static const char *at_once(const char *text)
{
    return punctuated(direct, text);
}

/* ---- tests ---- */

static void test_a_job_is_its_text_at_once(void **state)
{
    static heard plain, bare, words;
    oto_job_result result;

    (void)state;
    plain = (heard){.spaced = true};
    bare = (heard){.n = 0};
    words = (heard){.words = true};
    assert_int_equal(run(&plain, NULL, &result), 0);
    assert_true(result.n_windows >= 3);
    assert_true(plain.n >= 3);
    assert_int_equal(run(&bare, punc, &result), 0);
    assert_int_equal(result.n_segments, bare.n);
    assert_string_equal(bare.text, at_once(plain.text));
    assert_true(bare.n > 3);
    assert_int_equal(bare.start_ms[0], plain.start_ms[0]);
    assert_int_equal(bare.end_ms[bare.n - 1], plain.end_ms[plain.n - 1]);
    assert_int_equal(run(&words, punc, &result), 0);
    assert_string_equal(words.text, bare.text);
    assert_memory_equal(words.start_ms, bare.start_ms, sizeof words.start_ms);
    assert_memory_equal(words.end_ms, bare.end_ms, sizeof words.end_ms);
}

/* What a model for realtime speech reads at once are the segments. */
static void test_realtime(void **state)
{
    static heard plain, words;
    oto_job_result result;
    oto_punc *p;
    oto_arena *a;
    oto_err e = {0};

    (void)state;
    plain = (heard){.spaced = true};
    words = (heard){.words = true};
    assert_int_equal(oto_arena_new("test", oto_punc_bytes(realtime), &a, &e), 0);
    assert_int_equal(oto_punc_new(realtime, pool, a, &p, &e), 0);
    assert_int_equal(run(&plain, NULL, &result), 0);
    assert_int_equal(run(&words, realtime, &result), 0);
    assert_string_equal(words.text, punctuated(p, plain.text));
    assert_true(words.n > 3);
    assert_int_equal(words.start_ms[0], plain.start_ms[0]);
    assert_int_equal(words.end_ms[words.n - 1], plain.end_ms[plain.n - 1]);
    for (char *bar; (bar = strchr(plain.text, '|')) != NULL;)
        *bar = ' ';
    assert_string_not_equal(words.text, punctuated(p, plain.text));
    oto_arena_free(a);
}

/* A job that stopped is begun anew with what is remembered of its windows. */
static void test_a_job_begun_again(void **state)
{
    static heard calm, first;
    oto_job_result result;
    oto_err e;

    (void)state;
    calm = (heard){.n = 0};
    first = (heard){.remembers = true, .stop_at = 2};
    assert_int_equal(oto_arena_new("memos", 16 << 20, &first.kept, &e), 0);
    assert_int_equal(run(&calm, punc, &result), 0);
    assert_int_equal(run(&first, punc, &result), OTO_E_CANCELLED);
    assert_int_equal(first.n, 2);
    assert_true(first.n_memos > 0);
    first.n = first.stop_at = 0;
    first.text[0] = '\0';
    assert_int_equal(run(&first, punc, &result), 0);
    assert_true(first.recalled > 0);
    assert_string_equal(first.text, calm.text);
    assert_int_equal(first.n, calm.n);
    assert_memory_equal(first.start_ms, calm.start_ms, sizeof calm.start_ms);
    oto_arena_free(first.kept);
}

static void test_segments_without_words(void **state)
{
    int64_t n;
    static char text[300 * 12 + 1];
    static heard h;

    (void)state;
    for (int i = 0; i < 300; i++)
        strcpy(text + 12 * (size_t)i, " hello there");
    h = (heard){.words = true};
    oto_punctuator_start(punctuator, true, on_segment, &h);
    for (int i = 0; i < 300; i++)
        assert_int_equal(oto_punctuator_push(punctuator, &(oto_segment){.start_ms = 100 * i,
                                                                        .end_ms = 100 * i + 90,
                                                                        .seek_ms = 100 * i,
                                                                        .text = "hello there"}),
                         0);
    n = punctuator->n_segments;
    assert_int_equal(oto_punctuator_push(punctuator, &(oto_segment){.text = "  "}), 0);
    assert_int_equal(oto_punctuator_push(punctuator, &(oto_segment){.text = "\t\u3000\u00a0"}), 0);
    assert_int_equal(punctuator->n_segments, n); /* its place is not another's */
    assert_int_equal(oto_punctuator_finish(punctuator), 0);
    assert_string_equal(h.text, at_once(text));
    assert_int_equal(h.end_ms[h.n - 1], 29990);
    assert_int_equal(oto_punctuator_finish(punctuator), 0);
    /* What is left of a text that was given up is not in the next. */
    assert_int_equal(oto_punctuator_push(punctuator, &(oto_segment){.text = "lost"}), 0);
    h = (heard){.words = true};
    oto_punctuator_start(punctuator, true, on_segment, &h);
    assert_int_equal(oto_punctuator_push(punctuator, &(oto_segment){.text = "found"}), 0);
    assert_int_equal(oto_punctuator_finish(punctuator), 0);
    assert_int_equal(h.n, 1);
    assert_non_null(strstr(h.text, "Found"));
    assert_null(strstr(h.text, "ost"));
}

static void test_models_in_each_others_place(void **state)
{
    oto_recogniser_options o = {.asr = asr, .punc = asr};
    oto_recogniser *r;
    oto_err e = {0};

    (void)state;
    assert_int_equal(oto_recogniser_new(&o, &r, &e), OTO_E_USAGE);
    assert_non_null(strstr(e.text, "does not punctuate"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_job_is_its_text_at_once),
        cmocka_unit_test(test_realtime),
        cmocka_unit_test(test_a_job_begun_again),
        cmocka_unit_test(test_segments_without_words),
        cmocka_unit_test(test_models_in_each_others_place),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
