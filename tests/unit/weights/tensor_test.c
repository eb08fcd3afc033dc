#include "weights/tensor.c"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

/* All 65,536 halves, against the definition. */
static void halves_are_exact(void **state)
{
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float got = half((uint16_t)h), want = oto_f16_to_f32((uint16_t)h);
        assert_true(isnan(want) ? isnan(got) : got == want && !signbit(got) == !signbit(want));
    }
}

static void sizes_are_checked(void **state)
{
    (void)state;
    size_t n;
    assert_true(oto_ttype_bytes(OTO_T_F16, 2, (int64_t[]){3, 5}, &n) && n == 30);
    assert_true(oto_ttype_bytes(OTO_T_Q8_0, 2, (int64_t[]){3, 64}, &n) && n == 3 * 68);
    assert_true(oto_ttype_bytes(OTO_T_F32, 0, NULL, &n) && n == 4);
    assert_true(oto_ttype_bytes(OTO_T_F32, 2, (int64_t[]){0, 7}, &n) && n == 0);
    assert_false(oto_ttype_bytes(OTO_T_Q8_0, 2, (int64_t[]){32, 33}, &n));
    assert_false(oto_ttype_bytes(OTO_T_F32, 1, (int64_t[]){-1}, &n));
    assert_false(oto_ttype_bytes(OTO_T_F32, 2, (int64_t[]){INT64_MAX, 2}, &n));
    assert_false(oto_ttype_bytes(OTO_T_I64, 1, (int64_t[]){INT64_MAX / 2}, &n));
    /* one dimension of 0 does not excuse the others */
    assert_false(oto_ttype_bytes(OTO_T_F32, 3, (int64_t[]){0, INT64_MAX, 3}, &n));
    assert_false(oto_ttype_bytes((oto_ttype)99, 1, (int64_t[]){1}, &n));
    assert_null(oto_ttype_name((oto_ttype)99));
}

/* A tensor at an odd address, as CTranslate2 and ggml files have them. */
static oto_tensor at_odd(oto_ttype type, int64_t rows, int64_t cols, const void *p, size_t n,
                         uint8_t room[200])
{
    room += ((uintptr_t)room & 1) == 0;
    memcpy(room, p, n);
    return (oto_tensor){
        .name = "t", .type = type, .rank = 2, .dim = {rows, cols}, .data = room, .n_bytes = n};
}

static void rows_of_plain_types(void **state)
{
    (void)state;
    uint8_t room[200];
    float out[3];
    oto_tensor t;
    const float f[] = {1, 2, 3, -4.5f, 5, 6};
    t = at_odd(OTO_T_F32, 2, 3, f, sizeof f, room);
    oto_tensor_row_f32(&t, 1, out);
    assert_true(out[0] == -4.5f && out[2] == 6);
    const uint16_t h[] = {0x3c00, 0xc000, 0x0001, 0x7c00, 0x3800, 0x8000};
    t = at_odd(OTO_T_F16, 2, 3, h, sizeof h, room);
    oto_tensor_row_f32(&t, 0, out);
    assert_true(out[0] == 1 && out[1] == -2 && out[2] == 0x1p-24f);
    oto_tensor_row_f32(&t, 1, out);
    assert_true(isinf(out[0]) && out[1] == 0.5f && signbit(out[2]));
    const uint16_t b[] = {0x3f80, 0xbf80, 0x4049};
    t = at_odd(OTO_T_BF16, 1, 3, b, sizeof b, room);
    oto_tensor_row_f32(&t, 0, out);
    assert_true(out[0] == 1 && out[1] == -1 && out[2] == 3.140625f);
    const int32_t i[] = {-7, 1 << 24, 9};
    t = at_odd(OTO_T_I32, 1, 3, i, sizeof i, room);
    oto_tensor_row_f32(&t, 0, out);
    assert_true(out[0] == -7 && out[1] == 0x1p24f && out[2] == 9);
}

static void scales_divide(void **state)
{
    (void)state;
    uint8_t room[200];
    float out[2];
    const float scale[] = {4, 0.5f};
    oto_tensor t = at_odd(OTO_T_I8, 2, 2, (int8_t[]){8, -4, 3, 127}, 4, room);
    t.scale = scale;
    t.n_scale = 2;
    oto_tensor_row_f32(&t, 0, out);
    assert_true(out[0] == 2 && out[1] == -1);
    oto_tensor_row_f32(&t, 1, out);
    assert_true(out[0] == 6 && out[1] == 254);
    t.n_scale = 1;
    oto_tensor_row_f32(&t, 1, out);
    assert_true(out[0] == 0.75f);
}

static void vectors_and_cubes_are_flattened(void **state)
{
    (void)state;
    oto_tensor t = {.rank = 1, .dim = {7}};
    assert_int_equal(oto_tensor_rows(&t), 1);
    assert_int_equal(oto_tensor_row_len(&t), 7);
    t = (oto_tensor){.rank = 3, .dim = {2, 3, 4}};
    assert_int_equal(oto_tensor_rows(&t), 2);
    assert_int_equal(oto_tensor_row_len(&t), 12);
    t = (oto_tensor){.rank = 0};
    assert_int_equal(oto_tensor_rows(&t), 1);
    assert_int_equal(oto_tensor_row_len(&t), 1);
}

/* One block of each type with scale 0.5 (and minimum 1): value i of the low halves is i, of the
 * high halves 15 - i. */
static void blocks_are_opened(void **state)
{
    (void)state;
    uint8_t q4[18] = {0, 0x38}, q41[20] = {0, 0x38, 0, 0x3c};
    uint8_t q5[22] = {0, 0x38, 0xff, 0, 0, 0}, q8[34] = {0, 0x38};
    float out[32];
    for (int i = 0; i < 16; i++) {
        q4[2 + i] = q41[4 + i] = q5[6 + i] = (uint8_t)(i | (15 - i) << 4);
    }
    for (int i = 0; i < 32; i++) {
        q8[2 + i] = (uint8_t)(int8_t)(i - 16);
    }
    oto_tensor t = {.type = OTO_T_Q4_0, .rank = 1, .dim = {32}, .data = q4, .n_bytes = sizeof q4};
    oto_tensor_row_f32(&t, 0, out);
    for (int i = 0; i < 16; i++) {
        assert_true(out[i] == 0.5f * (float)(i - 8) && out[16 + i] == 0.5f * (float)(7 - i));
    }
    t = (oto_tensor){.type = OTO_T_Q4_1, .rank = 1, .dim = {32}, .data = q41, .n_bytes = 20};
    oto_tensor_row_f32(&t, 0, out);
    assert_true(out[0] == 1 && out[15] == 8.5f && out[16] == 8.5f && out[31] == 1);
    /* the fifth bit is set in values 0 … 7 */
    t = (oto_tensor){.type = OTO_T_Q5_0, .rank = 1, .dim = {32}, .data = q5, .n_bytes = 22};
    oto_tensor_row_f32(&t, 0, out);
    assert_true(out[0] == 0 && out[7] == 3.5f && out[8] == -4 && out[16] == -0.5f);
    t = (oto_tensor){.type = OTO_T_Q8_0, .rank = 1, .dim = {32}, .data = q8, .n_bytes = 34};
    oto_tensor_row_f32(&t, 0, out);
    assert_true(out[0] == -8 && out[31] == 7.5f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves_are_exact),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(rows_of_plain_types),
        cmocka_unit_test(scales_divide),
        cmocka_unit_test(vectors_and_cubes_are_flattened),
        cmocka_unit_test(blocks_are_opened),
    };
    return cmocka_run_group_tests_name("weights/tensor", tests, NULL, NULL);
}
