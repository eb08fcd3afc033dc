/* Which models go when another has to come in: figures alone. */
#include "work/residents.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static oto_residents r;
static int out[OTO_MAX_MODELS], n_out;

static void set(size_t budget, int n, const size_t bytes[])
{
    r = (oto_residents){.n = n, .budget = budget};
    for (int i = 0; i < n; i++)
        r.of[i].bytes = bytes[i];
}

/* The models that are used from now on. */
static void used_by(int64_t now, int a, int b)
{
    int users[OTO_MAX_MODELS] = {0};

    if (a >= 0)
        users[a]++;
    if (b >= 0)
        users[b]++;
    oto_residents_look(&r, users, now);
}

static bool room(int i)
{
    const oto_residents before = r;
    const bool yes = oto_residents_room(&r, i, out, &n_out);

    assert_memory_equal(&before, &r, sizeof r);
    return yes;
}

/* As a worker does it: what has to go goes, then the model comes. */
static bool bring(int i, int64_t now)
{
    if (!room(i))
        return false;
    for (int k = 0; k < n_out; k++)
        oto_residents_leave(&r, out[k]);
    oto_residents_enter(&r, i, now);
    return true;
}

static void all_stay_without_a_budget(void **state)
{
    static const size_t bytes[] = {100, 200, 300};

    (void)state;
    set(0, 3, bytes);
    for (int i = 0; i < 3; i++) {
        assert_true(bring(i, i));
        assert_int_equal(n_out, 0);
    }
    assert_int_equal(oto_residents_bytes(&r), 600);
    assert_int_equal(oto_residents_most(&r), 600);
}

static void the_longest_unused_goes(void **state)
{
    static const size_t bytes[] = {100, 100, 100, 100};

    (void)state;
    set(300, 4, bytes);
    assert_true(bring(0, 1) && bring(1, 2) && bring(2, 3));
    used_by(4, 0, -1);
    used_by(5, -1, -1); /* 0 was used until 5 */
    assert_true(room(3));
    assert_int_equal(n_out, 1);
    assert_int_equal(out[0], 1);
    /* One that is held costs nothing more. */
    assert_true(room(2));
    assert_int_equal(n_out, 0);
}

static void what_is_in_use_stays(void **state)
{
    static const size_t bytes[] = {100, 100, 100};

    (void)state;
    set(200, 3, bytes);
    assert_true(bring(0, 1) && bring(1, 2));
    used_by(3, 0, 1);
    assert_false(room(2));
    assert_int_equal(n_out, 0);
    used_by(4, 0, -1);
    assert_true(room(2));
    assert_int_equal(n_out, 1);
    assert_int_equal(out[0], 1);
}

/* Only as many go as have to. */
static void a_small_one_need_not_go_with_a_large_one(void **state)
{
    static const size_t bytes[] = {50, 250, 200, 40};

    (void)state;
    set(350, 4, bytes);
    assert_true(bring(0, 1) && bring(3, 2) && bring(1, 3));
    used_by(4, -1, -1);
    assert_true(room(2)); /* 0 and 3 are older, but 1 alone is enough */
    assert_int_equal(n_out, 1);
    assert_int_equal(out[0], 1);
}

static void several_go_for_a_large_one(void **state)
{
    static const size_t bytes[] = {100, 100, 100, 250};

    (void)state;
    set(350, 4, bytes);
    assert_true(bring(0, 1) && bring(1, 2) && bring(2, 3));
    assert_true(room(3));
    assert_int_equal(n_out, 2);
    assert_int_equal(out[0], 0);
    assert_int_equal(out[1], 1);
}

/* Nothing would ever run if it were refused with nothing else in use. */
static void one_alone_always_fits(void **state)
{
    static const size_t bytes[] = {100, 500};

    (void)state;
    set(200, 2, bytes);
    assert_true(bring(0, 1));
    used_by(2, 0, -1);
    assert_false(room(1));
    used_by(3, -1, -1);
    assert_true(bring(1, 4));
    assert_int_equal(n_out, 1);
    assert_false(r.of[0].held);
    assert_int_equal(oto_residents_most(&r), 500);
}

static void what_others_outlive_is_stale(void **state)
{
    static const size_t bytes[] = {100, 100};

    (void)state;
    set(0, 2, bytes);
    assert_int_equal(oto_residents_stale(&r, 1000), -1); /* none is held */
    assert_true(bring(0, 100) && bring(1, 100));
    used_by(900, 1, -1);
    assert_int_equal(oto_residents_stale(&r, 100), -1);
    assert_int_equal(oto_residents_stale(&r, 101), 0);
    oto_residents_leave(&r, 0);
    assert_int_equal(oto_residents_stale(&r, 2000), -1); /* in use, however long */
}

/* Whatever comes and goes: never over the budget while it can be kept, never without one in use. */
static void the_budget_holds_in_any_order(void **state)
{
    uint32_t seed = 7;

    (void)state;
    for (int round = 0; round < 300; round++) {
        size_t bytes[8], largest = 0;
        int a = -1, b = -1;

        for (int i = 0; i < 8; i++) {
            seed = seed * 1664525 + 1013904223;
            bytes[i] = 1 + (seed >> 16) % 300;
            largest = OTO_MAX(largest, bytes[i]);
        }
        set(largest + (seed >> 8) % 600, 8, bytes);
        for (int step = 0; step < 60; step++) {
            int *slot = step % 2 == 0 ? &a : &b;
            int i;

            seed = seed * 1664525 + 1013904223;
            i = (int)((seed >> 16) % 8);
            *slot = -1;
            used_by(step, a, b);
            if (!bring(i, step))
                continue;
            *slot = i;
            used_by(step, a, b);
            assert_true(oto_residents_bytes(&r) <= r.budget);
            assert_true(a < 0 || r.of[a].held);
            assert_true(b < 0 || r.of[b].held);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_stay_without_a_budget),
        cmocka_unit_test(the_longest_unused_goes),
        cmocka_unit_test(what_is_in_use_stays),
        cmocka_unit_test(a_small_one_need_not_go_with_a_large_one),
        cmocka_unit_test(several_go_for_a_large_one),
        cmocka_unit_test(one_alone_always_fits),
        cmocka_unit_test(what_others_outlive_is_stale),
        cmocka_unit_test(the_budget_holds_in_any_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
