#include "store/job.c"

#include <setjmp.h>
#include <cmocka.h>

static void names_lead_back(void **state)
{
    oto_job_state s;

    (void)state;
    for (int i = 0; i < OTO_JOB_STATES; i++) {
        assert_int_equal(oto_job_state_parse(oto_job_state_name((oto_job_state)i), &s), 0);
        assert_int_equal(s, i);
    }
    s = OTO_JOB_DEAD;
    assert_int_equal(oto_job_state_parse("", &s), -1);
    assert_int_equal(oto_job_state_parse("Queued", &s), -1);
    assert_int_equal(oto_job_state_parse("done ", &s), -1);
    assert_int_equal(s, OTO_JOB_DEAD);
    assert_string_equal(oto_job_state_name((oto_job_state)17), "?");
    assert_string_equal(oto_job_state_name((oto_job_state)-1), "?");
}

/* Row: from; column: to. In the order of the states. */
static void moves_are_those_of_the_contract(void **state)
{
    static const char *const may[OTO_JOB_STATES] = {
        "-x---x", /* queued */
        "x-xxxx", /* running */
        "------", /* done: for ever */
        "x-----", /* failed */
        "x-----", /* dead */
        "x-----", /* cancelled */
    };

    (void)state;
    for (int from = 0; from < OTO_JOB_STATES; from++)
        for (int to = 0; to < OTO_JOB_STATES; to++)
            assert_int_equal(oto_job_may((oto_job_state)from, (oto_job_state)to),
                             may[from][to] == 'x');
}

static void four_states_are_ends(void **state)
{
    (void)state;
    for (int i = 0; i < OTO_JOB_STATES; i++)
        assert_int_equal(oto_job_ended((oto_job_state)i), i >= OTO_JOB_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_lead_back),
        cmocka_unit_test(moves_are_those_of_the_contract),
        cmocka_unit_test(four_states_are_ends),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
