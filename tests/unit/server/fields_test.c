#include "server/fields.c"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static oto_field fields[8];
static oto_exchange x;

/* The request's fields are these, in this order; "?name" is of the query. */
static void give(int n, const char *const pairs[][2])
{
    memset(fields, 0, sizeof fields);
    x.fields = n > 0 ? fields : NULL;
    for (int i = 0; i < n; i++) {
        const bool from_query = pairs[i][0][0] == '?';

        fields[i] = (oto_field){.name = pairs[i][0] + from_query,
                                .value = pairs[i][1],
                                .from_query = from_query,
                                .next = i + 1 < n ? &fields[i + 1] : NULL};
    }
}

static void give_one(const char *value)
{
    const char *const pairs[][2] = {{"n", value}};

    give(1, pairs);
}

static void test_get(void **state)
{
    static const char *const pairs[][2] = {{"?a", "query"}, {"a", "form"}, {"b", "1"},
                                           {"b", "2"},      {"b", ""},     {"c", ""}};

    (void)state;
    give(0, NULL);
    assert_null(oto_field_get(&x, "a"));
    give(6, pairs);
    assert_string_equal(oto_field_get(&x, "a"), "query");
    assert_true(fields[0].used && fields[1].used);
    assert_string_equal(oto_field_get(&x, "b"), "2"); /* the last that says something */
    assert_null(oto_field_get(&x, "c"));
    assert_true(fields[5].used);
    assert_null(oto_field_get(&x, "A"));
}

static void test_each(void **state)
{
    static const char *const pairs[][2] = {{"g[]", "1"}, {"g", "2"},    {"g[]", ""},
                                           {"gg", "3"},  {"g[0]", "4"}, {"g", "5"}};
    const oto_field *at = NULL;

    (void)state;
    give(6, pairs);
    assert_string_equal(oto_field_each(&x, "g", &at), "1");
    assert_string_equal(oto_field_each(&x, "g", &at), "2");
    assert_string_equal(oto_field_each(&x, "g", &at), "5");
    assert_null(oto_field_each(&x, "g", &at));
    assert_false(fields[3].used);
    assert_false(fields[4].used);
    give(0, NULL);
    at = NULL;
    assert_null(oto_field_each(&x, "g", &at));
}

static void test_bool(void **state)
{
    static const struct {
        const char *text;
        int value;
    } cases[] = {{"true", 1}, {"YES", 1}, {"on", 1},   {"1", 1},  {"False", 0},
                 {"no", 0},   {"off", 0}, {"0", 0},    {"2", -1}, {"tru", -1},
                 {" 1", -1},  {"", 1},    {"null", -1}};

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(cases); i++) {
        give_one(cases[i].text);
        assert_int_equal(oto_field_bool(&x, "n", true), cases[i].value);
    }
    give(0, NULL);
    assert_int_equal(oto_field_bool(&x, "n", false), 0);
    assert_int_equal(oto_field_bool(&x, "n", true), 1);
}

static void test_int(void **state)
{
    static const char *const bad_ones[] = {
        "x", "1x", "1 ", "0", "11", "1.5", "0x5", "-1", "99999999999999999999", "4294967297"};
    oto_problem p;
    int v = 7;

    (void)state;
    give(0, NULL);
    assert_true(oto_field_int(&x, "n", 1, 10, &v, &p));
    assert_int_equal(v, 7);
    give_one("10");
    assert_true(oto_field_int(&x, "n", 1, 10, &v, &p));
    assert_int_equal(v, 10);
    for (size_t i = 0; i < OTO_COUNT(bad_ones); i++) {
        give_one(bad_ones[i]);
        assert_false(oto_field_int(&x, "n", 1, 10, &v, &p));
        assert_int_equal(p.status, 400);
        assert_string_equal(p.param, "n");
        assert_non_null(strstr(p.text, "between 1 and 10"));
        assert_int_equal(v, 10);
    }
}

static void test_float(void **state)
{
    static const char *const bad_ones[] = {"x",    "1,0",  "nan",   "inf",
                                           "-0.1", "1.01", "1e999", "0.5 "};
    double v = 0.25;
    oto_problem p;

    (void)state;
    give(0, NULL);
    assert_true(oto_field_float(&x, "n", 0, 1, &v, &p));
    assert_true(v == 0.25);
    give_one("5e-1");
    assert_true(oto_field_float(&x, "n", 0, 1, &v, &p));
    assert_true(v == 0.5);
    for (size_t i = 0; i < OTO_COUNT(bad_ones); i++) {
        give_one(bad_ones[i]);
        assert_false(oto_field_float(&x, "n", 0, 1, &v, &p));
        assert_int_equal(p.status, 400);
        assert_true(v == 0.5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_get), cmocka_unit_test(test_each),  cmocka_unit_test(test_bool),
        cmocka_unit_test(test_int), cmocka_unit_test(test_float),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
