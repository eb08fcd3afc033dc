#include "text/itn_zh.c"

#include "unit/text/itn_list.h"

static void the_list(void **state)
{
    (void)state;
    check_list("zh", OTO_SOURCE_DIR "/tests/data/itn/zh.tsv");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_list)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
