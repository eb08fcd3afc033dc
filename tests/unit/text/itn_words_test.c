#include "text/itn_words.c"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

static void finds_words(void **state)
{
    const itn_entry *x;
    oto_itn *t = NULL;

    (void)state;
    assert_int_equal(oto_itn_open("zh", &t, NULL), 0);
    for (int k = 0; k < ITN_KINDS; k++)
        for (size_t i = 1; i < t->tables[k].n; i++) /* sorted, and none twice */
            if (strcmp(t->tables[k].entries[i - 1].key, t->tables[k].entries[i].key) >= 0)
                fail_msg("%s twice", t->tables[k].entries[i].key);
    x = oto_itn_longest(t, ITN_UNIT, "公里每小时了", strlen("公里每小时了"));
    assert_non_null(x);
    assert_string_equal(x->key, "公里每小时");
    assert_string_equal(x->value, "km/h");
    x = oto_itn_longest(t, ITN_UNIT, "公里外", strlen("公里外"));
    assert_string_equal(x->key, "公里");
    assert_null(oto_itn_longest(t, ITN_UNIT, "公", strlen("公")));
    assert_null(oto_itn_find(t, ITN_UNIT, "", 0));
    oto_itn_close(t);
    assert_int_equal(oto_itn_open("en", &t, NULL), 0);
    for (int k = 0; k < ITN_KINDS; k++)
        for (size_t i = 1; i < t->tables[k].n; i++)
            if (strcmp(t->tables[k].entries[i - 1].key, t->tables[k].entries[i].key) >= 0)
                fail_msg("%s twice", t->tables[k].entries[i].key);
    oto_itn_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
