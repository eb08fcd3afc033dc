/* Hot words as a user writes them → ids of the vocabulary.
 *
 * A list is phrases between commas or line ends; a space between two Chinese characters parts them,
 * too. A phrase is in lower case; its Chinese characters are pieces as they are; its words of
 * letters are what FunASR's seg_dict says of them, where the model has one, else the longest pieces
 * that fit, from the left ("hel@@" "lo"). FunASR puts <unk> for what it does not know
 * (funasr/models/seaco_paraformer/model.py, generate_hotwords_list); a phrase that is partly
 * unknown would then be searched for as something else, so here it is left out and named. */
#include "models/paraformer/paraformer.h"

#include <stdlib.h>
#include <string.h>

#define WORD_BYTES 64
#define SEG_DICT   "hotwords.seg_dict"

/* ---- the vocabulary by text ---- */

static uint32_t hash_of(const char *p, size_t n)
{
    uint32_t h = 2166136261u;

    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint8_t)p[i]) * 16777619u;
    return h;
}

static int find(const pf_lexicon *x, const char *p, size_t n)
{
    for (uint32_t at = hash_of(p, n) & x->mask; x->slots[at] >= 0; at = (at + 1) & x->mask) {
        const oto_slice *piece = &x->pieces[x->slots[at]];

        if (piece->n == n && memcmp(piece->p, p, n) == 0)
            return x->slots[at];
    }
    return -1;
}

int oto_pf_lexicon_bind(const oto_weights *w, const oto_slice *pieces, int n, oto_arena *a,
                        pf_lexicon *out, oto_err *e)
{
    const oto_tensor *t = oto_weights_find(w, SEG_DICT);
    uint32_t size = 16;
    int rc;

    while (size < 2 * (uint32_t)n)
        size *= 2;
    *out = (pf_lexicon){.pieces = pieces, .n = n, .mask = size - 1};
    if ((rc = oto_arena_get(a, size, sizeof *out->slots, &out->slots, e)) != 0)
        return rc;
    memset(out->slots, -1, size * sizeof *out->slots);
    for (int i = 0; i < n; i++)
        if (find(out, pieces[i].p, pieces[i].n) < 0) {
            uint32_t at = hash_of(pieces[i].p, pieces[i].n) & out->mask;

            while (out->slots[at] >= 0)
                at = (at + 1) & out->mask;
            out->slots[at] = i;
        }
    if (t != NULL && t->type == OTO_T_I8)
        out->dictionary = (oto_slice){t->data, t->n_bytes};
    return 0;
}

/* ---- the dictionary ---- */

static size_t word_length(oto_slice line)
{
    const char *space = memchr(line.p, ' ', line.n);

    return space != NULL ? (size_t)(space - line.p) : line.n;
}

static int compare_words(const char *a, size_t n, const char *b, size_t m)
{
    const int order = memcmp(a, b, OTO_MIN(n, m));

    return order != 0 ? order : (n > m) - (n < m);
}

/* By word; of equal ones the later line first, which is the one that counts. */
static int compare_lines(const void *a, const void *b)
{
    const oto_slice *x = a, *y = b;
    const int order = compare_words(x->p, word_length(*x), y->p, word_length(*y));

    return order != 0 ? order : (x->p < y->p) - (x->p > y->p);
}

/* The next line's words in `out`, a space between them; false at the end. */
static bool next_line(oto_slice *text, char **out, oto_slice *line)
{
    const char *end = memchr(text->p, '\n', text->n), *p = text->p;
    const size_t n = end != NULL ? (size_t)(end - p) : text->n;
    char *to = *out;

    if (text->n == 0)
        return false;
    text->p += n + (end != NULL);
    text->n -= n + (end != NULL);
    for (size_t i = 0; i < n; i++)
        if (strchr(" \t\r", p[i]) == NULL)
            *to++ = p[i];
        else if (to > *out && to[-1] != ' ')
            *to++ = ' ';
    to -= to > *out && to[-1] == ' ';
    *line = (oto_slice){*out, (size_t)(to - *out)};
    *out = to;
    return true;
}

static int sort_lines(oto_slice text, oto_arena *a, char **out, size_t *n_out, oto_err *e)
{
    size_t n = 0, used = 0, most = 1;
    oto_slice *lines, line;
    char *copy;
    int rc;

    for (size_t i = 0; i < text.n; i++)
        most += text.p[i] == '\n';
    if ((rc = oto_arena_get(a, most, sizeof *lines, &lines, e)) != 0 ||
        (rc = oto_arena_get(a, text.n + 1, 1, &copy, e)) != 0 ||
        (rc = oto_arena_get(a, text.n + most + 1, 1, out, e)) != 0)
        return rc;
    while (next_line(&text, &copy, &line))
        if (word_length(line) > 0 && word_length(line) < line.n)
            lines[n++] = line;
    qsort(lines, n, sizeof *lines, compare_lines);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && compare_words(lines[i].p, word_length(lines[i]), lines[i - 1].p,
                                   word_length(lines[i - 1])) == 0)
            continue;
        memcpy(*out + used, lines[i].p, lines[i].n);
        used += lines[i].n;
        (*out)[used++] = '\n';
    }
    *n_out = used;
    return 0;
}

int oto_pf_dictionary_pack(const oto_weights *src, oto_gguf_writer *dst, oto_arena *a, oto_err *e)
{
    oto_slice text;
    char *sorted;
    size_t n;
    int rc;

    if (!oto_weights_str(src, "pf.seg_dict", &text) || text.n == 0)
        return 0;
    if ((rc = sort_lines(text, a, &sorted, &n, e)) != 0 || n == 0)
        return rc;
    return oto_gguf_put_tensor(dst, SEG_DICT, OTO_T_I8, 1, &(int64_t){(int64_t)n}, sorted, n, e);
}

/* The pieces of a word, as they stand in the dictionary. */
static bool look_up(const pf_lexicon *x, const char *word, size_t n, oto_slice *out)
{
    const char *const p = x->dictionary.p;
    size_t low = 0, high = x->dictionary.n;

    while (low < high) {
        size_t from = low + (high - low) / 2;
        const char *end;
        oto_slice line;
        int order;

        while (from > low && p[from - 1] != '\n')
            from--;
        end = memchr(p + from, '\n', high - from);
        line = (oto_slice){p + from, end != NULL ? (size_t)(end - p) - from : high - from};
        order = compare_words(word, n, line.p, word_length(line));
        if (order == 0) {
            *out = (oto_slice){line.p + word_length(line), line.n - word_length(line)};
            return true;
        }
        if (order < 0)
            high = from;
        else
            low = OTO_MIN(from + line.n + 1, high);
    }
    return false;
}

/* ---- a phrase ---- */

typedef struct {
    const pf_lexicon *x;
    int32_t *ids; /* [PF_HOT_TOKENS] */
    int n;
    bool unknown;
} phrase;

static bool add(phrase *p, int id)
{
    if (id < 0 || p->n == PF_HOT_TOKENS)
        p->unknown = true;
    else
        p->ids[p->n++] = id;
    return !p->unknown;
}

static void add_from_dictionary(phrase *p, oto_slice pieces)
{
    for (size_t at = 0; at < pieces.n;) {
        const char *from = pieces.p + at;
        const char *space = memchr(from, ' ', pieces.n - at);
        const size_t n = space != NULL ? (size_t)(space - from) : pieces.n - at;

        if (n > 0 && !add(p, find(p->x, from, n)))
            return;
        at += n + 1;
    }
}

static void add_by_pieces(phrase *p, const char *word, size_t n)
{
    char part[WORD_BYTES + 2];

    while (n > 0 && !p->unknown) {
        int id = find(p->x, word, n);
        size_t k = n;

        while (id < 0 && --k > 0) {
            memcpy(part, word, k);
            memcpy(part + k, "@@", 2);
            id = find(p->x, part, k + 2);
        }
        add(p, id);
        word += k;
        n -= k;
    }
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Letters, digits and apostrophes in lower case. */
static void add_word(phrase *p, const char *word, size_t n)
{
    oto_slice pieces;

    if (n > WORD_BYTES)
        p->unknown = true;
    else if (look_up(p->x, word, n, &pieces))
        add_from_dictionary(p, pieces);
    else
        for (size_t from = 0, to; from < n && !p->unknown; from = to) {
            to = from + 1;
            while (!is_digit(word[from]) && to < n && !is_digit(word[to]))
                to++;
            add_by_pieces(p, word + from, to - from);
        }
}

static bool is_chinese(uint32_t c)
{
    return c >= 0x4e00 && c <= 0x9fff;
}

static bool is_word(uint32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '\'';
}

static bool is_gap(uint32_t c)
{
    return c == ' ' || c == '\t' || c == '-' || c == '_' || c == '.' || c == '/' || c == 0x3000;
}

static void segment(phrase *p, oto_slice text)
{
    char word[WORD_BYTES + 1];
    size_t n = 0;

    for (size_t at = 0; at < text.n && !p->unknown;) {
        uint32_t c;
        const size_t size = oto_utf8_next(text.p + at, text.n - at, &c);

        if (is_word(c)) {
            word[n] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
            n += n < WORD_BYTES;
            p->unknown = n == WORD_BYTES;
        } else {
            add_word(p, word, n);
            n = 0;
            if (!is_gap(c) && !p->unknown)
                add(p, find(p->x, text.p + at, size));
        }
        at += size;
    }
    if (!p->unknown)
        add_word(p, word, n);
}

/* ---- a list ---- */

static bool is_end(uint32_t c)
{
    return c == ',' || c == ';' || c == '\n' || c == '\r' || c == 0xff0c || c == 0x3001 ||
           c == 0xff1b;
}

/* Without the weight that FunASR's lists of hot words may give behind Chinese ("阿里巴巴 20"): this
 * model takes none. */
static oto_slice without_weight(oto_slice p)
{
    size_t n = p.n, at = 0;
    uint32_t last = 0;

    while (n > 0 && is_digit(p.p[n - 1]))
        n--;
    if (n == p.n || n == 0 || (p.p[n - 1] != ' ' && p.p[n - 1] != '\t'))
        return p;
    while (n > 0 && (p.p[n - 1] == ' ' || p.p[n - 1] == '\t'))
        n--;
    while (at < n)
        at += oto_utf8_next(p.p + at, n - at, &last);
    return is_chinese(last) ? (oto_slice){p.p, n} : p;
}

/* From *at: up to a mark, or to a space between two Chinese characters. */
static oto_slice next_phrase(oto_slice text, size_t *at)
{
    const size_t from = *at;
    size_t end = from;   /* behind the last character that is no space */
    uint32_t last = ' '; /* that character */

    while (*at < text.n) {
        uint32_t c;
        const size_t size = oto_utf8_next(text.p + *at, text.n - *at, &c);

        if (is_end(c)) {
            *at += size;
            break;
        }
        if (end < *at && is_chinese(last) && is_chinese(c))
            break;
        *at += size;
        if (c != ' ' && c != '\t' && c != 0x3000) {
            end = *at;
            last = c;
        }
    }
    return without_weight((oto_slice){text.p + from, end - from});
}

static void leave_out(pf_left_out *left, oto_slice text)
{
    while (text.n > 0 && *text.p == ' ') {
        text.p++;
        text.n--;
    }
    if (left->n++ == 0)
        snprintf(left->first, sizeof left->first, "%.*s",
                 (int)oto_utf8_complete(text.p, OTO_MIN(text.n, sizeof left->first - 1)), text.p);
}

int oto_pf_phrases(const pf_lexicon *x, oto_slice text, int32_t *ids, int *lengths,
                   pf_left_out *left)
{
    int n = 0;

    *left = (pf_left_out){0};
    for (size_t at = 0; at < text.n;) {
        const oto_slice part = next_phrase(text, &at);
        int32_t room[PF_HOT_TOKENS];
        phrase p = {.x = x, .ids = room};

        segment(&p, part);
        if (p.n == 0 && !p.unknown)
            continue;
        if (p.unknown || n == PF_HOT_WORDS) {
            leave_out(left, part);
            continue;
        }
        memcpy(ids + (size_t)n * PF_HOT_TOKENS, room, (size_t)p.n * sizeof *ids);
        lengths[n++] = p.n;
    }
    return n;
}
