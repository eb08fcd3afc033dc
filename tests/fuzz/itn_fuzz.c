/* The input is a text: both languages' rules go over it. Bytes that are no UTF-8 are no reason to
 * fail; texts without a digit or a letter of numbers come out as they are. */
#include "text/text.h"

#include <stdlib.h>
#include <string.h>

#define MUST(x) ((x) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static oto_itn *rules[2];
    static oto_arena *a;
    const char *once, *again;
    char *text;

    if (a == NULL) {
        MUST(oto_arena_new("fuzz", (size_t)16 << 20, &a, NULL) == 0);
        MUST(oto_itn_open("zh", &rules[0], NULL) == 0);
        MUST(oto_itn_open("en", &rules[1], NULL) == 0);
    }
    text = malloc(n + 1); /* of its own, so that reading past it shows */
    MUST(text != NULL);
    memcpy(text, p, n);
    text[n] = '\0';
    for (int i = 0; i < 2; i++) {
        oto_arena_reset(a);
        if (oto_itn_apply(rules[i], text, a, &once, NULL) != 0)
            continue;
        /* Nothing grows but by signs and commas. */
        MUST(strlen(once) <= 3 * strlen(text));
        MUST(oto_itn_apply(rules[i], text, a, &again, NULL) != 0 || strcmp(once, again) == 0);
    }
    free(text);
    return 0;
}
