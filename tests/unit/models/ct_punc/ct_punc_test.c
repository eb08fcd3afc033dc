/* Blocks, cuts and writing, with a rule in the network's place that FunASR's code was given as well
 * (tests/golden/punc/make.py); that cutting into pieces changes nothing; words and their times. */
#include "models/ct_punc/ct_punc.h"

/* In its place. */
static void by_rule(ct_network *net, const int *ids, int n, int pause, ct_mark *marks);
#define oto_ct_network_run by_rule
#include "models/ct_punc/ct_punc.c"
#undef oto_ct_network_run

#include "unit/models/seeded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

static const struct {
    const char *piece;
    ct_mark mark;
} rule[] = {{"<unk>", CT_NONE},  {"逗", CT_COMMA},    {"句", CT_STOP},   {"问", CT_QUESTION},
            {"顿", CT_PAUSE},    {"comma", CT_COMMA}, {"stop", CT_STOP}, {"ask", CT_QUESTION},
            {"pause", CT_PAUSE}, {"late", CT_NONE}};

static ct_mark late; /* behind "late", when a sequence is nearly as long as any can be */
static oto_model *model;
static oto_pool *pool;
static oto_arena *arena;
static oto_punc *punc;
static int longest; /* sequence that went through the network */

static void by_rule(ct_network *net, const int *ids, int n, int pause, ct_mark *marks)
{
    (void)pause;
    assert_in_range(n, 1, CT_ROWS);
    longest = OTO_MAX(longest, n);
    for (int i = 0; i < n; i++) {
        oto_slice s;

        assert_true(oto_weights_array_str(net->m->w, "pieces", (size_t)ids[i], &s));
        for (size_t k = 0; k < OTO_COUNT(rule); k++)
            if (strlen(rule[k].piece) == s.n && memcmp(rule[k].piece, s.p, s.n) == 0)
                marks[i] = rule[k].mark;
        if (n > CT_ROWS - CT_BLOCK && late != CT_NONE && s.n == 4 && memcmp(s.p, "late", 4) == 0)
            marks[i] = late;
    }
    if (marks[n - 1] == CT_STOP)
        marks[n - 1] = CT_COMMA;
}

static int set_up(void **unused)
{
    const char *pieces[OTO_COUNT(rule)];
    char path[] = "/tmp/oto-ct-XXXXXX";
    const int fd = mkstemp(path);
    oto_err e = {0};

    (void)unused;
    for (size_t i = 0; i < OTO_COUNT(rule); i++)
        pieces[i] = rule[i].piece;
    assert_true(fd >= 0);
    close(fd);
    assert_true(seeded_ct(path, 1, pieces, (int)OTO_COUNT(rule)));
    if (oto_cpu_init(&e) != 0 || oto_model_open(path, OTO_COMPUTE_F32, &model, &e) != 0)
        fail_msg("%s", e.text);
    unlink(path);
    assert_int_equal(oto_pool_new(1, OTO_POOL_SCRATCH_BYTES, &pool, &e), 0);
    assert_int_equal(oto_arena_new("test", oto_punc_bytes(model), &arena, &e), 0);
    if (oto_punc_new(model, pool, arena, &punc, &e) != 0)
        fail_msg("%s", e.text);
    return 0;
}

static int tear_down(void **unused)
{
    (void)unused;
    oto_arena_free(arena);
    oto_pool_free(pool);
    oto_model_close(model);
    return 0;
}

/* ---- whole texts ---- */

typedef struct {
    char text[1 << 16];
    size_t n;
    int sentences, tokens, most; /* most: tokens of a sentence */
} written;

static void take(written *w, const oto_punc_token *t, int n)
{
    int since = 0;

    for (int i = 0; i < n; i++) {
        w->n += (size_t)snprintf(w->text + w->n, sizeof w->text - w->n, "%s", t[i].word.text);
        assert_true(w->n < sizeof w->text);
        since++;
        if (t[i].ends) {
            w->most = OTO_MAX(w->most, since);
            w->sentences++;
            since = 0;
        }
    }
    assert_int_equal(since, 0); /* what comes out ends with a sentence */
    w->tokens += n;
}

static void push(written *w, const char *p, size_t n)
{
    const oto_timed_piece piece = {.text = {p, n}};
    const oto_punc_token *out = NULL;
    size_t used = 0;

    do {
        const int got = oto_punc_push(punc, &piece, 0, &used, &out);

        take(w, out, got);
    } while (used < n);
}

/* The text in pieces of `step` bytes, and as many as belong to a character. */
static const written *punctuate(const char *text, size_t step)
{
    static written w[2];
    static int at;
    const size_t n = strlen(text);
    const oto_punc_token *out = NULL;
    written *now = &w[at ^= 1];
    int got;

    *now = (written){.n = 0};
    for (size_t i = 0, to; i < n; i = to) {
        to = OTO_MIN(i + step, n);
        while (to < n && ((unsigned char)text[to] & 0xc0) == 0x80)
            to++;
        push(now, text + i, to - i);
    }
    got = oto_punc_finish(punc, &out);
    take(now, out, got);
    return now;
}

static void test_like_funasr(void **unused)
{
    static char text[1 << 14], expected[1 << 14];
    FILE *f = fopen(OTO_SOURCE_DIR "/tests/golden/punc/texts.txt", "r");
    int n = 0;

    (void)unused;
    assert_non_null(f);
    while (fgets(text, sizeof text, f) != NULL && fgets(expected, sizeof expected, f) != NULL) {
        text[strcspn(text, "\n")] = expected[strcspn(expected, "\n")] = '\0';
        for (size_t step = 1; step < 10000; step = step * 3 + 1)
            assert_string_equal(punctuate(text, step)->text, expected);
        n++;
    }
    assert_int_equal(n, 49);
    fclose(f);
}

static void test_nothing(void **unused)
{
    (void)unused;
    assert_int_equal(punctuate("", 1)->sentences, 0);
    assert_int_equal(punctuate(" \t\n　 ", 1)->tokens, 0);
    /* and the next text knows nothing of it */
    assert_string_equal(punctuate("中", 1)->text, "中。");
}

/* Without any mark the reference keeps all; here it is given out before the network is too small.
 */
static void test_no_marks_at_all(void **unused)
{
    static char text[3 * 2000 + 1];
    const written *w;

    (void)unused;
    for (int i = 0; i < 2000; i++)
        memcpy(text + 3 * (size_t)i, "中", 3);
    longest = 0;
    w = punctuate(text, 30);
    assert_in_range(longest, CT_LONG, CT_ROWS);
    assert_int_equal(w->tokens, 2000);
    assert_true(w->most <= CT_ROWS);
    assert_memory_equal(w->text, text, 6000);
    assert_string_equal(w->text + 6000, "。");
}

/* What follows may bring a mark among the first tokens of all that wait: what stands before it is
 * too little to make room for the next block. */
static void test_late_marks(void **unused)
{
    static const ct_mark marks[] = {CT_STOP, CT_COMMA};
    static char text[4 * 1000 + 1];

    (void)unused;
    for (size_t i = 0; i < OTO_COUNT(marks); i++) {
        const written *w;
        char *to = stpcpy(text, "中中 late ");

        for (int k = 0; k < 900; k++)
            to = stpcpy(to, "中");
        late = marks[i];
        longest = 0;
        w = punctuate(text, 30);
        assert_in_range(longest, CT_LONG, CT_ROWS);
        assert_int_equal(w->tokens, 903);
        assert_true(w->most <= CT_ROWS);
    }
    late = CT_NONE;
}

static void test_long_words(void **unused)
{
    static char text[20001];
    const written *w;

    (void)unused;
    memset(text, 'a', 20000);
    w = punctuate(text, 7);
    assert_int_equal(w->n, 20000 + strlen(" ."));
    assert_int_equal(w->text[0], ' ');
    assert_int_equal(w->text[1], 'A');
    assert_int_equal(strspn(w->text + 2, "a"), 19999);
    /* What is no UTF-8 passes through. */
    assert_string_equal(punctuate("a\xff\xfe z", 1)->text, " A\xff\xfez.");
}

/* ---- words and times ---- */

static void test_words(void **unused)
{
    static const struct {
        const char *text;
        int start_ms, end_ms;
        float probability;
    } words[] = {{" HELLO", 0, 100, 0.9f},  {" wor", 100, 200, 0.8f}, {"ld", 200, 300, 0.5f},
                 {" stop", 300, 400, 1.0f}, {"中文", 400, 600, 1.0f}, {"字", 600, 700, 1.0f}};
    static const struct {
        const char *text;
        int start_ms, end_ms, tag;
        float probability;
        bool joined, ends;
    } expected[] = {
        {" Hello", 0, 100, 0, 0.9f, false, false},  {" world", 100, 300, 1, 0.5f, false, false},
        {" stop.", 300, 400, 3, 1.0f, false, true}, {"中", 400, 600, 4, 1.0f, false, false},
        {"文", 400, 600, 4, 1.0f, true, false},     {"字。", 600, 700, 5, 1.0f, false, true}};
    const oto_punc_token *out = NULL;

    (void)unused;
    for (size_t i = 0; i < OTO_COUNT(words); i++) {
        const oto_timed_piece p = {.text = {words[i].text, strlen(words[i].text)},
                                   .start_ms = words[i].start_ms,
                                   .end_ms = words[i].end_ms,
                                   .probability = words[i].probability};
        size_t used = 0;

        assert_int_equal(oto_punc_push(punc, &p, (int64_t)i, &used, &out), 0);
        assert_int_equal(used, p.text.n);
    }
    assert_int_equal(oto_punc_finish(punc, &out), (int)OTO_COUNT(expected));
    for (size_t i = 0; i < OTO_COUNT(expected); i++) {
        assert_string_equal(out[i].word.text, expected[i].text);
        assert_int_equal(out[i].word.start_ms, expected[i].start_ms);
        assert_int_equal(out[i].word.end_ms, expected[i].end_ms);
        assert_true(out[i].word.probability == expected[i].probability);
        assert_int_equal(out[i].tag, expected[i].tag);
        assert_int_equal(out[i].joined, expected[i].joined);
        assert_int_equal(out[i].ends, expected[i].ends);
    }
}

static void test_other_tasks(void **unused)
{
    oto_arena *a;
    oto_vad *v;
    oto_vad_options o;
    oto_err e = {0};

    (void)unused;
    oto_vad_defaults(&o);
    assert_int_equal(oto_arena_new("test", 1 << 20, &a, &e), 0);
    assert_int_equal(oto_vad_new(model, &o, pool, a, &v, &e), OTO_E_UNSUPPORTED);
    assert_non_null(strstr(e.text, "cannot detect voice activity"));
    oto_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_like_funasr),     cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_no_marks_at_all), cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_words),           cmocka_unit_test(test_other_tasks),
        cmocka_unit_test(test_late_marks),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
