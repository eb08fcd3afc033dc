/* CT-Transformer with a rule in the network's place that FunASR's code was given as well
 * (tests/golden/punc/make.py), and the text it makes. The test that includes this has included
 * ct_punc.c with oto_ct_network_run defined as by_rule, its own, which calls mark_by_rule. */
#ifndef RULE_H
#define RULE_H

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

static void mark_by_rule(ct_network *net, const int *ids, int n, ct_mark *marks)
{
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

/* The model; realtime: FunASR's form for realtime speech. */
static int open_model(bool realtime)
{
    const char *pieces[OTO_COUNT(rule)];
    char path[] = "/tmp/oto-ct-XXXXXX";
    const int fd = mkstemp(path);
    oto_err e = {0};

    for (size_t i = 0; i < OTO_COUNT(rule); i++)
        pieces[i] = rule[i].piece;
    assert_true(fd >= 0);
    close(fd);
    assert_true(seeded_ct_of(path, 1, pieces, (int)OTO_COUNT(rule), realtime));
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

typedef struct {
    char text[1 << 16];
    size_t n;
    int sentences, tokens, most; /* most: tokens of a sentence */
} written;

static void take(written *w, const oto_punc_token *t, int n)
{
    int since = 0;

    assert_in_range(n, 0, OTO_PUNC_TOKENS);
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

#endif
