/* The lists of tests/data/itn: spoken, tab, written. */
#ifndef OTO_TEST_ITN_LIST_H
#define OTO_TEST_ITN_LIST_H

#include "text/text.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

/* Every case of the list, in the language's own rules; at least 500, and a good part of them texts
 * that stay. */
static inline void check_list(const char *language, const char *path)
{
    int n = 0, stay = 0, wrong = 0;
    char line[1024];
    oto_arena *a = NULL;
    oto_itn *t = NULL;
    FILE *f = fopen(path, "r");

    assert_non_null(f);
    assert_int_equal(oto_itn_open(language, &t, NULL), 0);
    assert_int_equal(oto_arena_new("list", (size_t)1 << 20, &a, NULL), 0);
    while (fgets(line, sizeof line, f) != NULL) {
        char *want = strchr(line, '\t');
        const char *got;

        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#' || want == NULL)
            continue;
        *want++ = '\0';
        n++;
        stay += strcmp(line, want) == 0;
        oto_arena_reset(a);
        assert_int_equal(oto_itn_apply(t, line, a, &got, NULL), 0);
        if (strcmp(got, want) != 0) {
            print_error("%s: \"%s\" became \"%s\", not \"%s\"\n", language, line, got, want);
            wrong++;
        }
        /* What is written stays when it comes again. */
        assert_int_equal(oto_itn_apply(t, want, a, &got, NULL), 0);
        if (strcmp(got, want) != 0) {
            print_error("%s: written \"%s\" became \"%s\"\n", language, want, got);
            wrong++;
        }
    }
    fclose(f);
    oto_arena_free(a);
    oto_itn_close(t);
    assert_int_equal(wrong, 0);
    assert_true(n >= 500);
    assert_true(stay >= n / 5);
}

#endif
