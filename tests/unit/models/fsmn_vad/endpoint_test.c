/* Held to funasr-onnx's E2EVadModel: tests/golden/vad/endpoint.txt, made by make.py there. */
#include "models/fsmn_vad/endpoint.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define MAX_FRAMES 4000
#define MAX_SPANS  100

typedef struct {
    unsigned seed;
    int n, switch_at, end2_ms;
    oto_vad_options o;
    oto_span spans[MAX_SPANS];
    int n_spans;
} decision;

static uint32_t next_random(uint32_t *x, uint32_t n)
{
    *x = *x * 1664525u + 1013904223u;
    return (*x >> 8) % n;
}

/* frames() of make.py. */
static void make_frames(unsigned seed, int n, float *p, float *db)
{
    static const uint32_t longest[] = {4, 30, 200, 2000};
    uint32_t x = seed, left = 0;
    bool silent = true;

    for (int i = 0; i < n; i++) {
        if (left == 0) {
            silent = !silent;
            left = 1 + next_random(&x, longest[next_random(&x, 4)]);
        }
        left--;
        const bool turned = next_random(&x, 16) == 0;
        p[i] = (silent != turned ? 30 : 2) / 32.0f + (float)next_random(&x, 32) / 1024 - 1.0f / 64;
        db[i] = -60 + (float)next_random(&x, 80);
    }
}

static bool read_decision(FILE *f, decision *d)
{
    static char line[4000];
    int at = 0;

    memset(d, 0, sizeof *d);
    if (fgets(line, sizeof line, f) == NULL)
        return false;
    assert_int_equal(sscanf(line, "%u %d %d %d %d %d %d %d %d %d %f %f %f:%n", &d->seed, &d->n,
                            &d->switch_at, &d->end2_ms, &d->o.max_end_silence_ms,
                            &d->o.speech_to_sil_ms, &d->o.sil_to_speech_ms, &d->o.max_segment_ms,
                            &d->o.lookback_ms, &d->o.lookahead_ms, &d->o.speech_noise_thres,
                            &d->o.decibel_thres, &d->o.snr_thres, &at),
                     13);
    assert_true(at > 0 && d->n <= MAX_FRAMES);
    for (const char *p = line + at; *p == ' ' && p[1] != '\n'; p += at) {
        long long a, b;
        assert_int_equal(sscanf(p, " %lld-%lld%n", &a, &b, &at), 2);
        assert_true(d->n_spans < MAX_SPANS);
        d->spans[d->n_spans++] = (oto_span){a, b};
    }
    return true;
}

static void check(const decision *d)
{
    static float p[MAX_FRAMES], db[MAX_FRAMES];
    oto_endpoint m;
    oto_span s;
    int found = 0;

    make_frames(d->seed, d->n, p, db);
    oto_endpoint_init(&m, &d->o);
    for (int i = 0; i < d->n; i++) {
        if (i == d->switch_at)
            m.end_ms = d->end2_ms - d->o.speech_to_sil_ms;
        if (!oto_endpoint_step(&m, p[i], db[i], i == d->n - 1, &s))
            continue;
        if (found >= d->n_spans || s.start_ms != d->spans[found].start_ms ||
            s.end_ms != d->spans[found].end_ms)
            fail_msg("decision %u, segment %d: %lld-%lld", d->seed, found, (long long)s.start_ms,
                     (long long)s.end_ms);
        found++;
    }
    assert_int_equal(found, d->n_spans);
}

static void decides_as_the_reference(void **state)
{
    FILE *f = fopen(OTO_SOURCE_DIR "/tests/golden/vad/endpoint.txt", "r");
    decision d;
    int n = 0, spans = 0;

    (void)state;
    assert_non_null(f);
    for (; read_decision(f, &d); n++) {
        check(&d);
        spans += d.n_spans;
    }
    fclose(f);
    assert_int_equal(n, 120);
    assert_true(spans > 120);
}

/* ---- single rules, by hand ---- */

static oto_endpoint machine(void)
{
    oto_vad_options o = {.max_end_silence_ms = 800,
                         .speech_to_sil_ms = 150,
                         .sil_to_speech_ms = 150,
                         .max_segment_ms = 60000,
                         .lookback_ms = 200,
                         .lookahead_ms = 100,
                         .speech_noise_thres = 0.6f,
                         .decibel_thres = -100,
                         .snr_thres = -100};
    oto_endpoint m;

    oto_endpoint_init(&m, &o);
    return m;
}

/* n frames; the number of segments, the last one in *s. */
static int feed(oto_endpoint *m, int n, bool speech, bool final, oto_span *s)
{
    int found = 0;

    for (int i = 0; i < n; i++)
        found += oto_endpoint_step(m, speech ? 0.1f : 0.9f, 0, final && i == n - 1, s);
    return found;
}

static void a_segment_reaches_back_and_ahead(void **state)
{
    oto_endpoint m = machine();
    oto_span s;

    (void)state;
    assert_int_equal(feed(&m, 100, false, false, &s), 0);
    assert_int_equal(feed(&m, 100, true, false, &s), 0);
    assert_int_equal(m.mode, OTO_VAD_IN);
    /* on at frame 114, 40 frames back; off when 15 of 20 are left, at frame 204; decided 65 frames
     * later */
    assert_int_equal(feed(&m, 69, false, false, &s), 0);
    assert_int_equal(feed(&m, 1, false, false, &s), 1);
    assert_int_equal(s.start_ms, 740);
    assert_int_equal(s.end_ms, 2160);
    assert_int_equal(m.mode, OTO_VAD_IDLE);
}

static void the_longest_segment(void **state)
{
    oto_endpoint m = machine();
    oto_span s;

    (void)state;
    assert_int_equal(feed(&m, 6000, true, false, &s), 0);
    assert_int_equal(feed(&m, 1, true, false, &s), 1);
    assert_int_equal(s.start_ms, 0);
    assert_int_equal(s.end_ms, 60010);
    /* the next one begins where it ended */
    assert_int_equal(feed(&m, 6001, true, false, &s), 1);
    assert_int_equal(s.start_ms, 60010);
    assert_int_equal(s.end_ms, 120020);
}

static void the_end_of_the_recording(void **state)
{
    oto_endpoint m = machine();
    oto_span s;

    (void)state;
    /* speech on at the very last frame */
    assert_int_equal(feed(&m, 15, true, true, &s), 1);
    assert_int_equal(s.start_ms, 0);
    assert_int_equal(s.end_ms, 150);
    m = machine();
    assert_int_equal(feed(&m, 14, true, true, &s), 0);
    m = machine();
    assert_int_equal(feed(&m, 1, false, true, &s), 0);
    /* in the middle of the silence that would end it */
    m = machine();
    assert_int_equal(feed(&m, 50, true, false, &s), 0);
    assert_int_equal(feed(&m, 30, false, true, &s), 1);
    assert_int_equal(s.end_ms, 800);
}

/* 0.2 is the threshold itself; the float next above it is silence. */
static void the_threshold(void **state)
{
    oto_endpoint m = machine();

    (void)state;
    assert_true(is_speech(&m, nextafterf(0.2f, 0), 0));
    assert_false(is_speech(&m, nextafterf(0.2f, 1), 0));
    assert_true(is_speech(&m, 0, 0));
    assert_false(is_speech(&m, 1, 0));
    assert_false(is_speech(&m, NAN, 0));
}

static void quiet_frames_are_silence(void **state)
{
    oto_endpoint m = machine();

    (void)state;
    m.decibel_thres = -40;
    assert_true(is_speech(&m, 0.1f, -40));
    assert_false(is_speech(&m, 0.1f, -41));
    /* above the noise, which the first silent frame sets and later ones move */
    m.snr_thres = 10;
    assert_false(is_speech(&m, 0.9f, -30));
    assert_true(is_speech(&m, 0.1f, -20));
    assert_false(is_speech(&m, 0.1f, -21));
    assert_false(is_speech(&m, 0.9f, 70));
    assert_false(is_speech(&m, 0.1f, -20));
    assert_true(is_speech(&m, 0.1f, -19));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decides_as_the_reference),
        cmocka_unit_test(a_segment_reaches_back_and_ahead),
        cmocka_unit_test(the_longest_segment),
        cmocka_unit_test(the_end_of_the_recording),
        cmocka_unit_test(the_threshold),
        cmocka_unit_test(quiet_frames_are_silence),
    };
    return cmocka_run_group_tests_name("models/fsmn_vad/endpoint", tests, NULL, NULL);
}
