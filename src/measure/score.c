/* Error rates: the fewest edits between two sequences of words or characters.
 *
 * Units are interned to numbers, then compared by the row-wise Levenshtein recurrence. Only the
 * number of substitutions is carried beside the distance: in a cell (i, j) deletions − insertions
 * is i − j, so all three counts follow from the two and no path has to be kept. Ties are broken as
 * the usual tools break them (deletion, then insertion, then substitution, from the end), so that
 * the three counts can be compared with theirs and not only their sum. */
#include "measure/measure.h"
#include "text/text.h"

#include <assert.h>
#include <string.h>

/* ---- units ---- */

typedef struct {
    oto_slice *slots; /* [cap], power of two */
    int32_t *ids;
    size_t cap, used;
} interner;

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int32_t intern(interner *t, oto_slice s)
{
    uint64_t h = 1469598103934665603u; /* FNV-1a */
    for (size_t i = 0; i < s.n; i++) {
        h = (h ^ (uint8_t)s.p[i]) * 1099511628211u;
    }
    for (size_t at = h & (t->cap - 1);; at = (at + 1) & (t->cap - 1)) {
        if (t->slots[at].p == NULL) {
            t->slots[at] = s;
            t->ids[at] = (int32_t)t->used++;
            return t->ids[at];
        }
        if (t->slots[at].n == s.n && memcmp(t->slots[at].p, s.p, s.n) == 0) {
            return t->ids[at];
        }
    }
}

/* The next unit at *at, or an empty slice at the end. */
static oto_slice next_unit(const char *text, size_t n, oto_score_unit unit, size_t *at)
{
    size_t start, end;
    while (*at < n && is_space(text[*at])) {
        (*at)++;
    }
    start = end = *at;
    if (unit == OTO_SCORE_WORDS) {
        while (end < n && !is_space(text[end])) {
            end++;
        }
    } else if (end < n) {
        uint32_t cp;
        end += oto_utf8_next(text + end, n - end, &cp);
    }
    *at = end;
    return (oto_slice){text + start, end - start};
}

static size_t count_units(const char *text, oto_score_unit unit)
{
    size_t n = strlen(text), at = 0, count = 0;
    while (next_unit(text, n, unit, &at).n > 0) {
        count++;
    }
    return count;
}

static void number_units(const char *text, oto_score_unit unit, interner *t, int32_t *out)
{
    size_t n = strlen(text), at = 0;
    for (oto_slice s; (s = next_unit(text, n, unit, &at)).n > 0;) {
        *out++ = intern(t, s);
    }
}

/* Is this code point of a script that is written without spaces between words? */
static bool is_unspaced(uint32_t c)
{
    return (c >= 0x0E00 && c <= 0x0EFF) || /* Thai, Lao */
           (c >= 0x1000 && c <= 0x109F) || /* Myanmar */
           (c >= 0x1780 && c <= 0x17FF) || /* Khmer */
           (c >= 0x2E80 && c <= 0x2FDF) || /* radicals */
           (c >= 0x3005 && c <= 0x3007) || /* ideographic iteration mark, zero */
           (c >= 0x3041 && c <= 0x30FF) || /* kana */
           (c >= 0x31F0 && c <= 0x31FF) || /* kana extensions */
           (c >= 0x3400 && c <= 0x4DBF) || /* Han */
           (c >= 0x4E00 && c <= 0x9FFF) || /* Han */
           (c >= 0xF900 && c <= 0xFAFF) || /* Han, compatibility */
           (c >= 0xFF66 && c <= 0xFF9D) || /* kana, half width */
           (c >= 0x20000 && c <= 0x3FFFF); /* Han, rarer */
}

/* Words are weighed against characters as a reader would count: a run of other letters is one. */
static oto_score_unit choose_unit(const char *text)
{
    size_t n = strlen(text), unspaced = 0, words = 0;
    bool in_word = false;
    for (size_t at = 0; at < n;) {
        uint32_t cp;
        at += oto_utf8_next(text + at, n - at, &cp);
        bool letter = cp > 0x7F || (cp >= 'a' && cp <= 'z') || (cp >= 'A' && cp <= 'Z');
        if (is_unspaced(cp)) {
            unspaced++;
            in_word = false;
        } else if (letter && !in_word) {
            words++;
            in_word = true;
        } else if (!letter) {
            in_word = false;
        }
    }
    return unspaced > words ? OTO_SCORE_CHARS : OTO_SCORE_WORDS;
}

/* ---- edits ---- */

typedef struct {
    int32_t distance, substitutions;
} cell;

/* Cell (i, j) from its neighbours: `up` (i-1, j), `left` (i, j-1), `corner` (i-1, j-1). */
static inline cell step(cell up, cell left, cell corner, bool same)
{
    int32_t d = corner.distance + !same;
    d = OTO_MIN(d, up.distance + 1);
    d = OTO_MIN(d, left.distance + 1);
    if (d == up.distance + 1) {
        return (cell){d, up.substitutions};
    }
    if (left.distance == corner.distance - 1) { /* then d is left + 1 */
        return (cell){d, left.substitutions};
    }
    return (cell){d, corner.substitutions + !same};
}

/* row: [n_hyp + 1], scratch. */
static cell edits(const int32_t *ref, size_t n_ref, const int32_t *hyp, size_t n_hyp, cell *row)
{
    for (size_t j = 0; j <= n_hyp; j++) {
        row[j] = (cell){(int32_t)j, 0};
    }
    for (size_t i = 1; i <= n_ref; i++) {
        cell corner = row[0];
        row[0] = (cell){(int32_t)i, 0};
        for (size_t j = 1; j <= n_hyp; j++) {
            cell up = row[j];
            row[j] = step(up, row[j - 1], corner, ref[i - 1] == hyp[j - 1]);
            corner = up;
        }
    }
    return row[n_hyp];
}

static void count_edits(const int32_t *ref, size_t n_ref, const int32_t *hyp, size_t n_hyp,
                        cell *row, oto_score *out)
{
    size_t same = 0;
    out->n_ref = (int64_t)n_ref;
    out->n_hyp = (int64_t)n_hyp;
    while (n_ref > 0 && n_hyp > 0 && ref[0] == hyp[0]) {
        ref++, hyp++, n_ref--, n_hyp--, same++;
    }
    while (n_ref > 0 && n_hyp > 0 && ref[n_ref - 1] == hyp[n_hyp - 1]) {
        n_ref--, n_hyp--, same++;
    }
    cell c = edits(ref, n_ref, hyp, n_hyp, row);
    int64_t rest = c.distance - c.substitutions;       /* deletions + insertions */
    int64_t balance = (int64_t)n_ref - (int64_t)n_hyp; /* deletions - insertions */
    assert(rest >= 0 && (rest + balance) % 2 == 0);
    out->substitutions = c.substitutions;
    out->deletions = (rest + balance) / 2;
    out->insertions = (rest - balance) / 2;
    out->hits = (int64_t)(same + n_ref) - out->substitutions - out->deletions;
    out->rate = (double)c.distance / (double)OTO_MAX(out->n_ref, 1);
}

/* ---- the whole ---- */

static int compare(const char *ref, const char *hyp, oto_arena *a, oto_score *out, oto_err *e)
{
    size_t n_ref = count_units(ref, out->unit), n_hyp = count_units(hyp, out->unit);
    interner t = {.cap = 16};
    int32_t *numbers;
    cell *row;
    int r;

    if (n_ref > INT32_MAX / 4 || n_hyp > INT32_MAX / 4) {
        return oto_fail(e, OTO_E_LIMIT, "texts of more than %d units", INT32_MAX / 4);
    }
    while (t.cap < 2 * (n_ref + n_hyp)) {
        t.cap *= 2;
    }
    r = oto_arena_get(a, t.cap, sizeof *t.slots, &t.slots, e);
    if (r == 0) {
        r = oto_arena_get(a, t.cap, sizeof *t.ids, &t.ids, e);
    }
    if (r == 0) {
        r = oto_arena_get(a, n_ref + n_hyp + 1, sizeof *numbers, &numbers, e);
    }
    if (r == 0) {
        r = oto_arena_get(a, n_hyp + 1, sizeof *row, &row, e);
    }
    if (r != 0) {
        return r;
    }
    memset(t.slots, 0, t.cap * sizeof *t.slots);
    number_units(ref, out->unit, &t, numbers);
    number_units(hyp, out->unit, &t, numbers + n_ref);
    count_edits(numbers, n_ref, numbers + n_ref, n_hyp, row, out);
    return 0;
}

int oto_score_run(const char *ref, const char *hyp, oto_score_unit unit, bool raw, oto_arena *a,
                  oto_score *out, oto_err *e)
{
    oto_mark m = oto_arena_mark(a);
    oto_score score = {.unit = unit};
    char *clean_ref, *clean_hyp;
    int r = 0;

    if (!raw) {
        r = oto_text_normalise(ref, a, &clean_ref, e);
        if (r == 0) {
            r = oto_text_normalise(hyp, a, &clean_hyp, e);
        }
        if (r != 0) {
            goto done;
        }
        ref = clean_ref;
        hyp = clean_hyp;
    }
    if (unit == OTO_SCORE_AUTO) {
        score.unit = choose_unit(*ref != '\0' ? ref : hyp);
    }
    r = compare(ref, hyp, a, &score, e);
    if (r == 0) {
        *out = score;
    }
done:
    oto_arena_rollback(a, m);
    return r;
}
