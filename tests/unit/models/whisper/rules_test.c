#include "models/whisper/rules.c"

#include <string.h>

#include <setjmp.h>
#include <stdlib.h>
#include <cmocka.h>

/* A small vocabulary in Whisper's order: text 0 … 9, then specials, then 0.00 … 0.20 s. */
enum {
    EOT = 10,
    SOT,
    EN,
    ZH,
    TRANSLATE,
    TRANSCRIBE,
    SOT_LM,
    SOT_PREV,
    NO_SPEECH,
    NO_TIMES,
    TIME,
    VOCAB = TIME + 11
};

static const int32_t marks[] = {3, 4}, blank[] = {0, EOT};
static const oto_whisper_dims dims = {.n_vocab = VOCAB,
                                      .multilingual = true,
                                      .eot = EOT,
                                      .sot = SOT,
                                      .lang_first = EN,
                                      .n_langs = 2,
                                      .translate = TRANSLATE,
                                      .transcribe = TRANSCRIBE,
                                      .sot_lm = SOT_LM,
                                      .sot_prev = SOT_PREV,
                                      .no_speech = NO_SPEECH,
                                      .no_timestamps = NO_TIMES,
                                      .timestamp_first = TIME,
                                      .suppress = marks,
                                      .n_suppress = 2,
                                      .suppress_begin = blank,
                                      .n_suppress_begin = 2};
static const oto_whisper_rules timed = {&dims, true, true, true, 5};
static float logits[VOCAB];

/* What may follow: one character per token, '.' for forbidden. */
static const char *after(const oto_whisper_rules *r, const int32_t *tokens, int n)
{
    static char seen[VOCAB + 1];
    oto_search_row row;

    oto_whisper_rules_apply(r, logits, tokens, n, &row);
    memset(seen, '.', VOCAB);
    for (int i = 0; i < row.n_ranges; i++)
        for (int t = row.range[i].first; t < row.range[i].end; t++)
            if (logits[t] > -INFINITY)
                seen[t] = t < EOT ? (char)('0' + t) : t == EOT ? 'E' : t < TIME ? 's' : 't';
    return seen;
}

/* Text is more probable than all timestamps together, or the other way. */
static void fill(bool text)
{
    for (int i = 0; i < VOCAB; i++)
        logits[i] = (i < TIME) == text ? 5.0f : -5.0f;
}

#define AFTER(r, ...)                                                                              \
    after(r, (const int32_t[]){__VA_ARGS__}, sizeof((int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

/* Languages stay allowed, as in the reference; the model never takes them. */
static void the_first_is_a_timestamp_within_bounds(void **state)
{
    (void)state;
    fill(true);
    assert_string_equal(after(&timed, NULL, 0), "....................tttttt.....");
}

static void timestamps_come_in_pairs_and_never_fall(void **state)
{
    (void)state;
    fill(true);
    assert_string_equal(AFTER(&timed, TIME + 2), "012..56789E.ss.................");
    fill(true);
    assert_string_equal(AFTER(&timed, TIME + 2, 1), "012..56789E.ss.........tttttttt");
    fill(true); /* text then a time: its pair, which may be equal, or the end */
    assert_string_equal(AFTER(&timed, TIME + 2, 1, TIME + 4), "..........E.ss..........ttttttt");
    fill(true);
    assert_string_equal(AFTER(&timed, TIME + 2, 1, TIME + 4, TIME + 4),
                        "012..56789E.ss.................");
    fill(true);
    assert_string_equal(AFTER(&timed, TIME, 1, TIME + 10, TIME + 10, 1),
                        "012..56789E.ss.................");
}

static void likely_timestamps_push_text_out(void **state)
{
    (void)state;
    fill(false);
    assert_string_equal(AFTER(&timed, TIME + 2, 1), ".......................tttttttt");
    fill(false);
    assert_string_equal(AFTER(&timed, TIME + 2, 1, TIME + 4), "........................ttttttt");
    /* Eight of e^-0.1 together weigh more than the best single text of e^0. */
    for (int i = 0; i < VOCAB; i++)
        logits[i] = i < TIME ? 0.0f : -0.1f;
    assert_string_equal(AFTER(&timed, TIME + 2, 1), ".......................tttttttt");
    /* Directly after a pair there is no choice to make. */
    fill(false);
    assert_string_equal(AFTER(&timed, TIME, 1, TIME + 1, TIME + 1),
                        "012..56789E.ss.................");
}

static void without_timestamps_only_lists_count(void **state)
{
    (void)state;
    oto_whisper_rules r = timed;
    r.timestamps = false;
    fill(true);
    assert_string_equal(after(&r, NULL, 0), ".12..56789..ss.....sttttttttttt");
    fill(true);
    assert_string_equal(AFTER(&r, 1), "012..56789E.ss.....sttttttttttt");
    r.suppress_default = r.suppress_blank = false;
    fill(true);
    assert_string_equal(after(&r, NULL, 0), "0123456789E.ss.....sttttttttttt");
}

static int setup(void **state)
{
    (void)state;
    return oto_cpu_init(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_is_a_timestamp_within_bounds),
        cmocka_unit_test(timestamps_come_in_pairs_and_never_fall),
        cmocka_unit_test(likely_timestamps_push_text_out),
        cmocka_unit_test(without_timestamps_only_lists_count),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
