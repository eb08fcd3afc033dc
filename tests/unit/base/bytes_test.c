#include "base/bytes.c"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static void reader_stops_at_the_end_for_good(void **state)
{
    (void)state;
    const uint8_t bytes[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    oto_reader r;
    oto_reader_init(&r, bytes, sizeof bytes);
    assert_int_equal(oto_read_u8(&r), 1);
    assert_int_equal(oto_read_u16(&r), 0x0302);
    assert_int_equal(oto_read_u32(&r), 0x07060504);
    assert_int_equal(oto_reader_left(&r), 4);
    assert_int_equal(oto_read_u64(&r), 0);
    assert_true(r.bad);
    assert_int_equal(oto_read_u8(&r), 0); /* stays bad */
    assert_null(oto_read_bytes(&r, 0));
    assert_int_equal(oto_reader_left(&r), 0);
    oto_reader_init(&r, bytes, sizeof bytes);
    assert_null(oto_read_bytes(&r, UINT64_MAX));
}

static void half_floats_round_trip(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = oto_f16_to_f32((uint16_t)h), b = oto_bf16_to_f32((uint16_t)h);
        if (isnan(f)) {
            assert_true(isnan(oto_f16_to_f32(oto_f32_to_f16(f))));
        } else {
            assert_int_equal(oto_f32_to_f16(f), h);
        }
        if (isnan(b)) {
            assert_true(isnan(oto_bf16_to_f32(oto_f32_to_bf16(b))));
        } else {
            assert_int_equal(oto_f32_to_bf16(b), h);
        }
    }
}

/* The nearest representable value, ties to even, found by looking at both neighbours. */
static void conversions_round_to_nearest_even(void **state)
{
    (void)state;
    uint32_t x = 12345;
    for (int i = 0; i < 200000; i++) {
        x = x * 1664525u + 1013904223u;
        float f = ldexpf((float)(int32_t)x, (int)(x >> 3 & 63) - 60);
        uint16_t h = oto_f32_to_f16(f);
        if ((h & 0x7c00) == 0x7c00) {
            assert_true(fabsf(f) >= 65520.0f);
            continue;
        }
        double here = fabs((double)oto_f16_to_f32(h) - f);
        for (int d = -1; d <= 1; d += 2) {
            uint16_t other = (uint16_t)(h + d);
            if ((other & 0x7c00) == 0x7c00 || ((other ^ h) & 0x8000)) {
                continue;
            }
            double there = fabs((double)oto_f16_to_f32(other) - f);
            assert_true(here < there || (here == there && !(h & 1)));
        }
    }
    assert_int_equal(oto_f32_to_bf16(1.00390625f), 0x3f80); /* tie to even: down */
    assert_int_equal(oto_f32_to_bf16(1.01171875f), 0x3f82); /* tie to even: up */
}

static void maps_name_what_is_wrong(void **state)
{
    (void)state;
    oto_map m;
    oto_err e;
    assert_int_equal(oto_map_open("/nonexistent/file", &m, &e), OTO_E_NOT_FOUND);
    assert_non_null(strstr(e.text, "/nonexistent/file"));
    assert_int_equal(oto_map_open("/tmp", &m, &e), OTO_E_INPUT);
    assert_non_null(strstr(e.text, "folder"));
    char path[] = "/tmp/oto-map-XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(oto_map_open(path, &m, &e), 0);
    assert_int_equal(m.n, 0);
    oto_map_close(&m);
    assert_int_equal(write(fd, "abc", 3), 3);
    assert_int_equal(oto_map_open(path, &m, &e), 0);
    assert_int_equal(m.n, 3);
    assert_memory_equal(m.p, "abc", 3);
    oto_map_close(&m);
    close(fd);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reader_stops_at_the_end_for_good),
        cmocka_unit_test(half_floats_round_trip),
        cmocka_unit_test(conversions_round_to_nearest_even),
        cmocka_unit_test(maps_name_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
