#include "models/whisper/judge.c"

#include <setjmp.h>
#include <cmocka.h>

static oto_arena *arena;

static float ratio_of(oto_squeeze *q, const char *text)
{
    return oto_squeeze_ratio(q, text, strlen(text));
}

static void repetition_compresses(void **state)
{
    (void)state;
    oto_squeeze *q = NULL;
    char again[1000] = "";
    const char *plain = "The beach was a popular spot on a hot summer day.";
    unsigned char out[200];
    uLongf n = sizeof out;

    assert_int_equal(oto_squeeze_new(arena, &q, NULL), 0);
    for (int i = 0; i < 20; i++)
        strcat(again, "Thank you very much. ");
    size_t used = oto_arena_used(arena);
    assert_true(ratio_of(q, again) > 2.4f);
    assert_true(ratio_of(q, plain) < 1.2f);
    assert_int_equal(compress2(out, &n, (const unsigned char *)plain, strlen(plain), 6), Z_OK);
    assert_float_equal(ratio_of(q, plain), (float)strlen(plain) / (float)n, 1e-6);
    assert_float_equal(ratio_of(q, ""), 0, 0);
    assert_int_equal(oto_arena_used(arena), used);
}

static void loops_are_many_repeats_without_a_break(void **state)
{
    (void)state;
    enum { EOT = 100 };
    int32_t t[OTO_WHISPER_CTX];
    int n = 0;

    for (int i = 0; i < 40; i++) /* ten times four tokens, times between them */
        t[n++] = 1 + i % 4;
    assert_true(oto_whisper_loops(t, n, EOT));
    assert_true(oto_whisper_loops(t, 24, EOT));
    assert_false(oto_whisper_loops(t, 20, EOT)); /* "no, no, no, no" is something people say */
    for (int i = 3; i < 40; i += 5)
        t[i] = EOT + 7; /* timestamps do not break a loop */
    t[20] = 50;         /* another word does */
    assert_false(oto_whisper_loops(t, 40, EOT));
    for (int i = 0; i < 40; i++)
        t[i] = i;
    assert_false(oto_whisper_loops(t, 40, EOT));
    assert_false(oto_whisper_loops(t, 0, EOT));
}

/* Frames of a level per band, with noise of a few dB on top. */
static float mel[600 * 80];

static void make(float depth_db, int period)
{
    uint32_t r = 1;
    for (int f = 0; f < 600; f++)
        for (int m = 0; m < 80; m++) {
            r = r * 1664525u + 1013904223u;
            float noise = ((float)(r >> 16) / 65536.0f - 0.5f) * 12.0f;
            float wave = period && f / period % 2 && m > 20 && m < 50 ? depth_db : 0.0f;
            mel[f * 80 + m] = (noise + wave) / DB_PER_UNIT;
        }
}

static void only_change_is_lively(void **state)
{
    (void)state;
    make(0, 0);
    assert_false(oto_whisper_lively(mel, 600, 80));
    make(20, 30);
    assert_true(oto_whisper_lively(mel, 600, 80));
    make(0, 0);
    assert_true(oto_whisper_lively(mel, 90, 80)); /* too short to tell */
    memset(mel, 0, sizeof mel);
    assert_false(oto_whisper_lively(mel, 600, 80));
}

static int setup(void **state)
{
    (void)state;
    return oto_arena_new("judge test", 1 << 22, &arena, NULL);
}

static int teardown(void **state)
{
    (void)state;
    oto_arena_free(arena);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repetition_compresses),
        cmocka_unit_test(loops_are_many_repeats_without_a_break),
        cmocka_unit_test(only_change_is_lively),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
