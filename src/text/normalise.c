/* Texts as they are compared: what a reader would not hear is taken away.
 *
 * The order matters: bad bytes become U+FFFD first (the library refuses them), then NFKC and case
 * folding in one pass, and only then are characters judged by their category, because full-width
 * forms and ligatures are punctuation or letters only after NFKC. */
#include "text/text.h"

#include <utf8proc.h>

#include <string.h>

enum { REPLACEMENT = 0xFFFD };

typedef enum { KIND_SPACE, KIND_WORD, KIND_APOSTROPHE } kind;

static int32_t unify(int32_t cp)
{
    switch (cp) {
    case 0x2018: /* single quotation marks and modifier letters people type as apostrophes */
    case 0x2019:
    case 0x02BC:
    case 0x00B4:
    case 0x0060:
        return '\'';
    default:
        return cp;
    }
}

static kind kind_of(int32_t cp)
{
    if (cp == '\'') {
        return KIND_APOSTROPHE;
    }
    switch (utf8proc_category(cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return KIND_WORD;
    default:
        return KIND_SPACE;
    }
}

/* Valid UTF-8 of the same text, apostrophes unified. U+00B4 and its like are unified before NFKC,
 * which would take them apart. */
static int sanitise(const char *text, oto_arena *a, oto_slice *out, oto_err *e)
{
    size_t n = strlen(text), used = 0;
    char *p;
    int r = oto_arena_get(a, n + 1, 3, &p, e); /* a bad byte becomes three */

    if (r != 0) {
        return r;
    }
    for (size_t at = 0; at < n;) {
        uint32_t cp;
        at += oto_utf8_next(text + at, n - at, &cp);
        if (!utf8proc_codepoint_valid((utf8proc_int32_t)cp)) {
            cp = REPLACEMENT;
        }
        used += oto_utf8_put(p + used, (uint32_t)unify((int32_t)cp));
    }
    *out = (oto_slice){p, used};
    return 0;
}

/* NFKC and case folding: code points in `a`. */
static int fold(oto_slice s, oto_arena *a, int32_t **out, size_t *n_out, oto_err *e)
{
    const utf8proc_option_t how =
        UTF8PROC_STABLE | UTF8PROC_COMPAT | UTF8PROC_COMPOSE | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE;
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)s.p;
    utf8proc_ssize_t n = utf8proc_decompose(p, (utf8proc_ssize_t)s.n, NULL, 0, how);
    utf8proc_int32_t *cps;
    int r;

    if (n < 0) {
        return oto_fail(e, OTO_E_INPUT, "text: %s", utf8proc_errmsg(n));
    }
    r = oto_arena_get(a, (size_t)n + 1, sizeof *cps, &cps, e);
    if (r != 0) {
        return r;
    }
    n = utf8proc_decompose(p, (utf8proc_ssize_t)s.n, cps, n, how);
    if (n >= 0) {
        n = utf8proc_normalize_utf32(cps, n, how);
    }
    if (n < 0) {
        return oto_fail(e, OTO_E_INPUT, "text: %s", utf8proc_errmsg(n));
    }
    *out = cps;
    *n_out = (size_t)n;
    return 0;
}

int oto_text_normalise(const char *text, oto_arena *a, char **out, oto_err *e)
{
    oto_slice clean;
    int32_t *cps = NULL;
    size_t n = 0, used = 0;
    char *p;
    bool space = false, word = false;
    int r = sanitise(text, a, &clean, e);

    if (r == 0) {
        r = fold(clean, a, &cps, &n, e);
    }
    if (r == 0) {
        r = oto_arena_get(a, n + 1, 5, &p, e); /* a space and four bytes each */
    }
    if (r != 0) {
        return r;
    }
    for (size_t i = 0; i < n; i++) {
        kind k = kind_of(cps[i]);
        if (k == KIND_APOSTROPHE) { /* inside a word it is a letter: don't, l'eau */
            k = word && i + 1 < n && kind_of(cps[i + 1]) == KIND_WORD ? KIND_WORD : KIND_SPACE;
        }
        word = k == KIND_WORD;
        if (!word) {
            space = true;
            continue;
        }
        if (space && used > 0) {
            p[used++] = ' ';
        }
        space = false;
        used += oto_utf8_put(p + used, (uint32_t)cps[i]);
    }
    p[used] = '\0';
    *out = p;
    return 0;
}
