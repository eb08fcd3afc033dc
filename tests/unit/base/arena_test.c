#include "base/arena.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static oto_arena *make(size_t cap)
{
    oto_arena *a = NULL;
    oto_err e;
    assert_int_equal(oto_arena_new("test", cap, &a, &e), 0);
    return a;
}

static void allocations_are_aligned_and_apart(void **state)
{
    (void)state;
    oto_arena *a = make(1 << 20);
    char *last = NULL;
    for (size_t n = 1; n < 300; n += 7) {
        char *p = oto_arena_alloc(a, n);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        assert_true(p > last);
        memset(p, 0xab, n);
        last = p + n - 1;
    }
    oto_arena_free(a);
}

static void full_is_an_error_not_a_crash(void **state)
{
    (void)state;
    oto_arena *a = make(4096);
    oto_err e;
    void *p = NULL;
    assert_non_null(oto_arena_alloc(a, 4096));
    assert_null(oto_arena_alloc(a, 1));
    assert_null(oto_arena_alloc(a, SIZE_MAX));
    assert_null(oto_arena_calloc(a, SIZE_MAX / 2, 3));
    assert_int_equal(oto_arena_get(a, 10, 10, &p, &e), OTO_E_LIMIT);
    assert_null(p);
    assert_non_null(strstr(e.text, "test"));
    assert_int_equal(oto_arena_get(a, SIZE_MAX, 2, &p, &e), OTO_E_LIMIT);
    oto_arena_free(a);
}

static int order[4], n_order;
static void note(void *arg)
{
    order[n_order++] = *(int *)arg;
}

static void hooks_run_newest_first_and_only_past_the_mark(void **state)
{
    (void)state;
    static int one = 1, two = 2, three = 3;
    n_order = 0;
    oto_arena *a = make(1 << 16);
    assert_true(oto_arena_on_reset(a, note, &one));
    oto_mark m = oto_arena_mark(a);
    assert_true(oto_arena_on_reset(a, note, &two));
    oto_arena_alloc(a, 100);
    assert_true(oto_arena_on_reset(a, note, &three));
    oto_arena_rollback(a, m);
    assert_int_equal(n_order, 2);
    assert_int_equal(order[0], 3);
    assert_int_equal(order[1], 2);
    oto_arena_free(a);
    assert_int_equal(n_order, 3);
    assert_int_equal(order[2], 1);
}

static void rollback_and_trim_give_memory_back(void **state)
{
    (void)state;
    oto_arena *a = make((size_t)256 << 20);
    oto_mark m = oto_arena_mark(a);
    size_t before = oto_rss_bytes();
    memset(oto_arena_alloc(a, 64 << 20), 1, 64 << 20);
    assert_true(oto_rss_bytes() > before + (60 << 20));
    oto_arena_rollback(a, m);
    assert_int_equal(oto_arena_used(a), m);
    oto_arena_trim(a);
    assert_true(oto_rss_bytes() < before + (4 << 20));
    assert_true(oto_arena_peak(a) >= (64 << 20));
    oto_arena_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(allocations_are_aligned_and_apart),
        cmocka_unit_test(full_is_an_error_not_a_crash),
        cmocka_unit_test(hooks_run_newest_first_and_only_past_the_mark),
        cmocka_unit_test(rollback_and_trim_give_memory_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
