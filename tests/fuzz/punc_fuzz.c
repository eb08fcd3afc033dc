/* The input is a text to punctuate: u8 length of its pieces, then the text, in which the byte 7 is
 * a pause. Marks come from a rule in the network's place.
 *
 * What comes out is bounded, ends with a sentence, and is the same however the text is cut. */
#include "models/ct_punc/ct_punc.h"

static void by_rule(ct_network *net, const int *ids, int n, int pause, ct_mark *marks);
static int sum_of(const ct_punc *m, oto_slice token);
#define oto_ct_network_run by_rule
#define oto_ct_id          sum_of
#include "models/ct_punc/ct_punc.c"

#include <stdlib.h>

#define PAUSE 7

#define MUST(x) ((x) ? (void)0 : abort())

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static int sum_of(const ct_punc *m, oto_slice token)
{
    unsigned sum = 0;

    (void)m;
    MUST(token.n > 0 && token.n <= CT_TOKEN_BYTES);
    for (size_t i = 0; i < token.n; i++)
        sum = sum * 31 + (unsigned char)token.p[i];
    return (int)(sum % 97);
}

/* Most tokens have no mark, or no text would reach the cuts. Some get theirs, or another one, only
 * when more follows. */
static void by_rule(ct_network *net, const int *ids, int n, int pause, ct_mark *marks)
{
    (void)net;
    MUST(n > 0 && n <= CT_ROWS && pause >= 0 && pause <= CT_ROWS);
    for (int i = 0; i < n; i++)
        marks[i] = ids[i] <= CT_PAUSE                                 ? (ct_mark)ids[i]
                   : ids[i] <= 2 * CT_PAUSE && n > CT_ROWS - CT_BLOCK ? (ct_mark)(ids[i] - CT_PAUSE)
                                                                      : CT_NONE;
}

static size_t take(const oto_punc_token *t, int n, char *out, size_t at)
{
    MUST(n >= 0 && n <= CT_ROWS && (n == 0 || t[n - 1].ends));
    for (int i = 0; i < n; i++) {
        const size_t size = strlen(t[i].word.text);

        MUST(size > 0 && size < OTO_PUNC_TOKEN_BYTES);
        memcpy(out + at, t[i].word.text, size);
        at += size;
    }
    return at;
}

/* In pieces of `step` bytes or more, none of which ends inside a character. */
static size_t punctuate(state *s, const char *text, size_t n, size_t step, char *out)
{
    const oto_punc_token *t = NULL;
    size_t size = 0;
    int got;

    for (size_t from = 0, to; from < n; from = to) {
        oto_timed_piece piece = {.probability = 1};
        size_t used = 0;

        to = from + OTO_MIN(step, n - from);
        if (text[from] == PAUSE) {
            to = from + 1;
            got = punc_pause(s, &t);
            size = take(t, got, out, size);
            continue;
        }
        for (size_t i = from + 1; i < to; i++)
            to = text[i] == PAUSE ? i : to;
        while (to < n && ((unsigned char)text[to] & 0xc0) == 0x80)
            to++;
        piece.text = (oto_slice){text + from, to - from};
        while (used < piece.text.n) {
            got = punc_push(s, &piece, 0, &used, &t);
            size = take(t, got, out, size);
        }
    }
    got = punc_finish(s, &t);
    return take(t, got, out, size);
}

static void both_ways(state *s, const uint8_t *p, size_t n)
{
    char *one, *other;
    size_t size;

    /* Of a byte at most: it, a space, its mark and the end's. */
    one = malloc(8 * n + 8);
    other = malloc(8 * n + 8);
    MUST(one != NULL && other != NULL);
    size = punctuate(s, (const char *)p + 1, n - 1, (size_t)p[0] + 1, one);
    MUST(punctuate(s, (const char *)p + 1, n - 1, n, other) == size);
    MUST(memcmp(one, other, size) == 0);
    free(one);
    free(other);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static ct_punc m[2] = {{.n_marks = 6}, {.n_marks = 6, .realtime = true}};
    static oto_arena *a[2];
    static void *s[2];

    for (int i = 0; i < 2; i++) {
        if (a[i] == NULL) {
            m[i].sanm =
                (oto_sanm_dims){.in = CT_D, .d = CT_D, .heads = 8, .ffn = 32, .n_taps = CT_TAPS};
            MUST(oto_arena_new("fuzz", punc_bytes(&m[i]), &a[i], NULL) == 0);
            MUST(punc_new(&m[i], NULL, a[i], &s[i], NULL) == 0);
        }
        if (n > 0)
            both_ways(s[i], p, n);
    }
    return 0;
}
