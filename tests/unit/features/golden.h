/* The signals and the file format of tests/golden/features/make.py. */
#ifndef OTO_TEST_GOLDEN_H
#define OTO_TEST_GOLDEN_H

#include "base/base.h"
#include "kernels/kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct {
    float *pcm;
    size_t n;
} sound;

static inline uint32_t next_random(uint32_t *x)
{
    return *x = *x * 1664525u + 1013904223u;
}

static inline sound new_signal(size_t n)
{
    sound s = {calloc(n ? n : 1, sizeof(float)), n};
    assert_non_null(s.pcm);
    return s;
}

static inline sound make_tone(void)
{
    sound s = new_signal(16000);
    uint32_t x = 1;
    for (size_t i = 0; i < s.n; i++) {
        const double u = (double)(next_random(&x) >> 8) / 8388608 - 1;
        const double v = 0.3 * sin(2 * 3.14159265358979323846 * 440 * (double)i / 16000) + 0.1 * u;
        s.pcm[i] = (float)(floor(v * 32767 + 0.5) / 32768);
    }
    return s;
}

static inline sound make_edges(void)
{
    sound s = new_signal(16000);
    uint32_t x = 1;
    s.pcm[5000] = 32767.0f / 32768;
    for (size_t i = 8000; i < 12000; i++)
        s.pcm[i] = (float)((int)((next_random(&x) >> 16) % 3) - 1) / 32768;
    for (size_t i = 12000; i < 16000; i++)
        s.pcm[i] = (i - 12000) / 50 % 2 == 0 ? 32767.0f / 32768 : -1;
    return s;
}

static inline sound make_long(void)
{
    sound s = new_signal(31 * 16000);
    uint32_t x = 1;
    for (size_t i = 0; i < s.n; i++) {
        const int v = (int)(next_random(&x) >> 16) - 32768;
        s.pcm[i] = (float)(v >> (15 - i / 16000 / 2)) / 32768;
    }
    return s;
}

static inline sound load_sample(void)
{
    oto_map m;
    oto_err e;
    if (oto_map_open(OTO_SOURCE_DIR "/tests/data/zh/sample.wav", &m, &e) != 0)
        fail_msg("%s", e.text);
    sound s = new_signal((m.n - 44) / 2);
    for (size_t i = 0; i < s.n; i++)
        s.pcm[i] = (float)(int16_t)(m.p[44 + 2 * i] | m.p[45 + 2 * i] << 8) / 32768;
    oto_map_close(&m);
    return s;
}

typedef struct {
    char name[17];
    int frames, kept, width;
} record;

/* The next record's head; false at the end. */
static inline bool next_record(oto_reader *r, record *out)
{
    if (oto_reader_left(r) == 0)
        return false;
    memset(out->name, 0, sizeof out->name);
    memcpy(out->name, oto_read_bytes(r, 16), 16);
    out->frames = (int)oto_read_u32(r);
    out->kept = (int)oto_read_u32(r);
    out->width = (int)oto_read_u32(r);
    assert_false(r->bad);
    return true;
}

/* Largest difference between the record's rows and the same rows of x [frames][width]. */
static inline float largest_error(oto_reader *r, const record *rec, const float *x)
{
    float worst = 0;
    for (int i = 0; i < rec->kept; i++) {
        const size_t frame = oto_read_u32(r);
        assert_true(frame < (size_t)rec->frames);
        for (int k = 0; k < rec->width; k++) {
            const float d = fabsf(oto_read_f32(r) - x[frame * (size_t)rec->width + (size_t)k]);
            worst = d > worst || isnan(d) ? d : worst;
        }
    }
    assert_false(r->bad);
    return worst;
}

#endif
