/* Byte-level BPE.
 *
 * A token is a string of bytes, and its id is the rank at which training made it: text is encoded
 * by joining, again and again, the two neighbours whose joined bytes have the lowest id. So the
 * vocabulary alone suffices, without the list of merges (true for GPT-2's and Whisper's
 * vocabularies: merge number i made token 256 + i). Before that, text is cut into pieces (words
 * with their space, numbers, punctuation) across which nothing is joined.
 *
 * Joining is done on a linked list of parts with a heap of candidate pairs, so that one endless
 * word costs n log n. */
#include "text/text.h"

#include <utf8proc.h>

#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct oto_tokens {
    const oto_slice *bytes; /* [n_text], borrowed */
    int n_text;
    uint32_t mask; /* size of `slot` - 1 */
    int32_t *slot; /* id by hash of its bytes, -1 free; open addressing */
    int32_t byte_id[256];
    size_t longest; /* bytes of the longest token: no longer join is looked up */
};

/* ---- the vocabulary
 * --------------------------------------------------------------------------------- */

static uint32_t hash(const char *p, size_t n)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ n;
    for (size_t i = 0; i < n; i++) {
        h = (h ^ (uint8_t)p[i]) * 0x100000001b3u;
    }
    return (uint32_t)(h ^ h >> 32);
}

/* The slot of these bytes, or the free one where they belong. */
static uint32_t find_slot(const oto_tokens *t, const char *p, size_t n)
{
    uint32_t i = hash(p, n) & t->mask;
    for (; t->slot[i] >= 0; i = (i + 1) & t->mask) {
        const oto_slice *s = &t->bytes[t->slot[i]];
        if (s->n == n && memcmp(s->p, p, n) == 0) {
            break;
        }
    }
    return i;
}

int oto_tokens_new(const oto_slice *bytes, int n, int n_text, oto_tokens **out, oto_err *e)
{
    if (n_text < 0 || n_text > n || n > INT_MAX / 4) {
        return oto_fail(e, OTO_E_INPUT, "vocabulary: %d tokens, %d of them text", n, n_text);
    }
    uint32_t size = 512;
    while (size < (uint32_t)n_text * 2) {
        size *= 2;
    }
    oto_tokens *t = calloc(1, sizeof *t);
    int32_t *slot = t ? malloc(size * sizeof *slot) : NULL;
    if (!slot) {
        free(t);
        return oto_fail(e, OTO_E_LIMIT, "vocabulary: out of memory");
    }
    memset(slot, 0xff, size * sizeof *slot);
    memset(t->byte_id, 0xff, sizeof t->byte_id);
    t->bytes = bytes;
    t->n_text = n_text;
    t->slot = slot;
    t->mask = size - 1;
    for (int i = 0; i < n_text; i++) {
        if (bytes[i].n == 0) { /* the multilingual vocabulary has an empty token */
            continue;
        }
        uint32_t at = find_slot(t, bytes[i].p, bytes[i].n);
        if (slot[at] < 0) { /* of two equal tokens the first is the one encoding makes */
            slot[at] = i;
        }
        if (bytes[i].n == 1 && t->byte_id[(uint8_t)bytes[i].p[0]] < 0) {
            t->byte_id[(uint8_t)bytes[i].p[0]] = i;
        }
        t->longest = OTO_MAX(t->longest, bytes[i].n);
    }
    for (int b = 0; b < 256; b++) {
        if (t->byte_id[b] < 0) {
            oto_tokens_free(t);
            return oto_fail(e, OTO_E_INPUT,
                            "vocabulary: no token for the single byte 0x%02x: not a byte-level one",
                            b);
        }
    }
    *out = t;
    return 0;
}

void oto_tokens_free(oto_tokens *t)
{
    if (t) {
        free(t->slot);
        free(t);
    }
}

oto_slice oto_tokens_bytes(const oto_tokens *t, int32_t id)
{
    return id >= 0 && id < t->n_text ? t->bytes[id] : (oto_slice){"", 0};
}

void oto_tokens_decode(const oto_tokens *t, const int32_t *ids, int n, oto_str *out)
{
    for (int i = 0; i < n; i++) {
        oto_slice s = oto_tokens_bytes(t, ids[i]);
        oto_str_put(out, s.p, s.n);
    }
}

/* GPT-2 writes byte b as the character b where that is printable Latin-1, and the n-th of the
 * others as U+0100 + n. */
static int byte_of_printable(uint32_t cp)
{
    if ((cp >= 0x21 && cp <= 0x7e) || (cp >= 0xa1 && cp <= 0xac) || (cp >= 0xae && cp <= 0xff)) {
        return (int)cp;
    }
    if (cp < 0x100 || cp > 0x143) {
        return -1;
    }
    int k = (int)cp - 0x100;
    return k <= 0x20 ? k : k <= 0x42 ? 0x7f + k - 0x21 : 0xad;
}

int oto_tokens_unprintable(oto_slice piece, oto_arena *a, oto_slice *out, oto_err *e)
{
    char *p;
    int rc = oto_arena_get(a, piece.n, 1, &p, e);
    if (rc) {
        return rc;
    }
    size_t n = 0;
    for (size_t at = 0; at < piece.n;) {
        uint32_t cp;
        at += oto_utf8_next(piece.p + at, piece.n - at, &cp);
        int b = byte_of_printable(cp);
        if (b < 0) {
            memcpy(p, piece.p, piece.n);
            *out = (oto_slice){p, piece.n};
            return 0;
        }
        p[n++] = (char)b;
    }
    *out = (oto_slice){p, n};
    return 0;
}

/* ---- cutting text into pieces
 * ------------------------------------------------------------------------- */

/* Unicode's White_Space. */
static bool is_white(uint32_t cp)
{
    return (cp >= 9 && cp <= 13) || cp == 0x20 || cp == 0x85 || cp == 0xa0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f ||
           cp == 0x205f || cp == 0x3000;
}

bool oto_is_space(uint32_t cp)
{
    return is_white(cp) || cp == 0 || (cp >= 28 && cp <= 31);
}

enum kind { SPACE, LETTER, NUMBER, OTHER };

static enum kind kind_of(uint32_t cp)
{
    if (is_white(cp)) {
        return SPACE;
    }
    switch (utf8proc_category((utf8proc_int32_t)cp)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
        return LETTER;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return NUMBER;
    default:
        return OTHER;
    }
}

/* Kind of the character at p and its length. */
static enum kind kind_at(const char *p, size_t n, size_t *len)
{
    uint32_t cp;
    *len = oto_utf8_next(p, n, &cp);
    return kind_of(cp);
}

/* Bytes of the run of characters of one kind at p. */
static size_t run_of(const char *p, size_t n, enum kind kind)
{
    size_t at = 0, len;
    while (at < n && kind_at(p + at, n - at, &len) == kind) {
        at += len;
    }
    return at;
}

/* White space before a word stays one piece but for its last character, which is either the word's
 * own space or, when it is not an ordinary space, a piece. */
static size_t spaces(const char *p, size_t n)
{
    size_t at = 0, last = 0, len;
    while (at < n && kind_at(p + at, n - at, &len) == SPACE) {
        last = at;
        at += len;
    }
    return at == n || last == 0 ? at : last;
}

/* Length of the first piece of p[0..n), n > 0. The rules, in order: 's 't 're 've 'm 'll 'd;
 * letters, digits or other signs with one space before them; white space. */
static size_t piece_of(const char *p, size_t n)
{
    static const char *const endings[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    for (size_t i = 0; p[0] == '\'' && i < OTO_COUNT(endings); i++) {
        size_t len = strlen(endings[i]);
        if (n > len && memcmp(p + 1, endings[i], len) == 0) {
            return len + 1;
        }
    }
    size_t space = p[0] == ' ' && n > 1, len;
    enum kind kind = kind_at(p + space, n - space, &len);
    if (kind == SPACE) {
        return spaces(p, n);
    }
    return space + run_of(p + space, n - space, kind);
}

/* ---- joining
 * ------------------------------------------------------------------------------------------ */

/* A part starts at byte i and ends before `end`; prev and next are the starts of its neighbours
 * (-1, n: none). A part that was swallowed has end 0. */
struct part {
    int32_t end, prev, next;
};

/* Joining the part at `left` with its next would make token `rank`, which ends at `end`. Stale when
 * either changed. */
struct pair {
    int32_t rank, left, end;
};

struct joiner {
    const oto_tokens *t;
    const char *p;
    int32_t n;
    struct part *parts; /* [n] */
    struct pair *heap;  /* [3 n], lowest rank first; among equals the leftmost */
    int32_t n_heap;
};

static bool before(const struct pair *a, const struct pair *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->left < b->left);
}

static void heap_push(struct joiner *j, struct pair v)
{
    int32_t i = j->n_heap++;
    while (i > 0 && before(&v, &j->heap[(i - 1) / 2])) {
        j->heap[i] = j->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    j->heap[i] = v;
}

static struct pair heap_pop(struct joiner *j)
{
    struct pair top = j->heap[0], v = j->heap[--j->n_heap];
    int32_t i = 0;
    for (int32_t c = 1; c < j->n_heap; c = 2 * i + 1) {
        c += c + 1 < j->n_heap && before(&j->heap[c + 1], &j->heap[c]);
        if (!before(&j->heap[c], &v)) {
            break;
        }
        j->heap[i] = j->heap[c];
        i = c;
    }
    j->heap[i] = v;
    return top;
}

/* Puts the join of the part at `left` with the next one into the heap, when it makes a token. */
static void consider(struct joiner *j, int32_t left)
{
    int32_t right = left < 0 ? j->n : j->parts[left].next;
    if (right >= j->n) {
        return;
    }
    int32_t end = j->parts[right].end;
    size_t len = (size_t)(end - left);
    if (len > j->t->longest) {
        return;
    }
    int32_t id = j->t->slot[find_slot(j->t, j->p + left, len)];
    if (id >= 0) {
        heap_push(j, (struct pair){id, left, end});
    }
}

static void join(struct joiner *j)
{
    j->n_heap = 0;
    for (int32_t i = 0; i < j->n; i++) {
        j->parts[i] = (struct part){i + 1, i - 1, i + 1};
    }
    for (int32_t i = 0; i < j->n; i++) {
        consider(j, i);
    }
    while (j->n_heap) {
        struct pair best = heap_pop(j);
        struct part *left = &j->parts[best.left];
        int32_t right = left->next;
        if (left->end == 0 || right >= j->n || j->parts[right].end != best.end) {
            continue; /* one of the two has been joined elsewhere since */
        }
        left->end = best.end;
        left->next = j->parts[right].next;
        j->parts[right].end = 0;
        if (left->next < j->n) {
            j->parts[left->next].prev = best.left;
        }
        consider(j, best.left);
        consider(j, left->prev);
    }
}

#define SMALL 128

/* Scratch for a piece of `n` bytes: on the caller's stack when it is small, else on the heap. */
static bool reserve(struct joiner *j, struct part *parts, struct pair *heap, size_t n, size_t *cap)
{
    if (n <= *cap) {
        return true;
    }
    void *more_parts = realloc(j->parts == parts ? NULL : j->parts, n * sizeof *parts);
    j->parts = more_parts ? more_parts : j->parts;
    void *more_heap = realloc(j->heap == heap ? NULL : j->heap, 3 * n * sizeof *heap);
    j->heap = more_heap ? more_heap : j->heap;
    *cap = n;
    return more_parts && more_heap;
}

int oto_tokens_encode(const oto_tokens *t, const char *text, int32_t *ids, int *n, oto_err *e)
{
    struct part parts[SMALL];
    struct pair heap[3 * SMALL];
    struct joiner j = {.t = t, .parts = parts, .heap = heap};
    size_t left = strlen(text), cap = SMALL;
    int room = *n, used = 0, rc = 0;
    if (left > INT32_MAX / 4) {
        return oto_fail(e, OTO_E_LIMIT, "a text of %zu bytes cannot be made into tokens", left);
    }
    while (left && !rc) {
        size_t len = piece_of(text, left);
        if (!reserve(&j, parts, heap, len, &cap)) {
            rc = oto_fail(e, OTO_E_LIMIT, "out of memory for a word of %zu bytes", len);
            break;
        }
        j.p = text;
        j.n = (int32_t)len;
        join(&j);
        for (int32_t i = 0; i < j.n && !rc; i = j.parts[i].next) {
            size_t bytes = (size_t)(j.parts[i].end - i);
            if (used == room) {
                rc = oto_fail(e, OTO_E_LIMIT, "the text has more than %d tokens", room);
                break;
            }
            ids[used++] =
                bytes == 1 ? t->byte_id[(uint8_t)text[i]] : t->slot[find_slot(t, text + i, bytes)];
        }
        text += len;
        left -= len;
    }
    if (j.parts != parts) {
        free(j.parts);
    }
    if (j.heap != heap) {
        free(j.heap);
    }
    *n = used;
    return rc;
}
