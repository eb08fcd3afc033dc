/* The input is a dictionary, a vocabulary (a piece a line) and a list of hot words, with a zero
 * byte between them. */
#include "models/paraformer/phrases.c"

#define MUST(x)    ((x) ? (void)0 : abort())
#define MAX_PIECES 256

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static oto_slice next_part(const char **p, size_t *n, char mark)
{
    const char *end = memchr(*p, mark, *n);
    const oto_slice part = {*p, end != NULL ? (size_t)(end - *p) : *n};

    *p += part.n + (end != NULL);
    *n -= part.n + (end != NULL);
    return part;
}

static int read_pieces(oto_slice text, oto_slice *out)
{
    int n = 0;

    while (text.n > 0 && n < MAX_PIECES)
        out[n++] = next_part(&text.p, &text.n, '\n');
    return n;
}

static void check(const pf_lexicon *x, oto_slice text)
{
    static int32_t ids[PF_HOT_WORDS * PF_HOT_TOKENS];
    static int lengths[PF_HOT_WORDS];
    pf_left_out left;
    const int n = oto_pf_phrases(x, text, ids, lengths, &left);

    MUST(n >= 0 && n <= PF_HOT_WORDS && left.n >= 0);
    MUST(memchr(left.first, '\0', sizeof left.first) != NULL);
    for (int i = 0; i < n; i++) {
        MUST(lengths[i] > 0 && lengths[i] <= PF_HOT_TOKENS);
        for (int k = 0; k < lengths[i]; k++)
            MUST(ids[i * PF_HOT_TOKENS + k] >= 0 && ids[i * PF_HOT_TOKENS + k] < x->n);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static oto_slice pieces[MAX_PIECES];
    static int32_t slots[4 * MAX_PIECES];
    const char *p = (const char *)data;
    const oto_slice dictionary = next_part(&p, &n, '\0'), words = next_part(&p, &n, '\0');
    pf_lexicon x = {.pieces = pieces, .slots = slots, .mask = 4 * MAX_PIECES - 1};
    const oto_slice text = {p, n};
    size_t sorted;
    char *copy;
    oto_arena *a;

    x.n = read_pieces(words, pieces);
    memset(slots, -1, sizeof slots);
    for (int i = 0; i < x.n; i++) {
        uint32_t at = hash_of(pieces[i].p, pieces[i].n) & x.mask;

        while (slots[at] >= 0)
            at = (at + 1) & x.mask;
        slots[at] = i;
    }
    x.dictionary = dictionary; /* as a damaged file might hold it */
    check(&x, text);
    MUST(oto_arena_new("fuzz", (size_t)4 << 20, &a, NULL) == 0);
    if (sort_lines(dictionary, a, &copy, &sorted, NULL) == 0) {
        x.dictionary = (oto_slice){copy, sorted};
        check(&x, text);
        /* Every word that was given is found. */
        for (oto_slice all = x.dictionary, pieces_of; all.n > 0;) {
            const oto_slice line = next_part(&all.p, &all.n, '\n');

            MUST(look_up(&x, line.p, word_length(line), &pieces_of));
            MUST(pieces_of.p == line.p + word_length(line));
        }
    }
    oto_arena_free(a);
    return 0;
}
