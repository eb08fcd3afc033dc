/* punctuate: segments of a model that gives no punctuation to sentences that have it.
 *
 *   segments of words -> tokens that wait for their sentence's end -> segments, a sentence each
 *
 * The text of all segments is one text: between two of them stands a space, which the model's
 * tokens make nothing of but between two words of ASCII. A sentence goes from its first word's
 * start to its last word's end and may lie in several windows; what else a segment tells is that of
 * the segment its first word came in. Tokens that wait are at most OTO_PUNC_TOKENS, so memory does
 * not follow the recording's length. */
#include "recogniser/parts.h"

#include <string.h>

/* Each has a token that waits, or is the present one. */
#define SEGMENTS (OTO_PUNC_TOKENS + 1)

struct oto_punctuator {
    oto_punc *punc;
    oto_segment *segments; /* [SEGMENTS] ring, without text, words and tokens */
    int64_t n_segments;
    oto_word *words;  /* [OTO_PUNC_TOKENS] of a sentence */
    char *text;       /* [OTO_PUNC_TOKENS][OTO_PUNC_TOKEN_BYTES] of a sentence */
    char *words_text; /* the same, each word terminated */
    bool with_words;
    int (*on_segment)(void *arg, const oto_segment *s);
    void *arg;
};

size_t oto_punctuator_bytes(const oto_model *m)
{
    return sizeof(oto_punctuator) + oto_punc_bytes(m) + SEGMENTS * sizeof(oto_segment) +
           OTO_PUNC_TOKENS * (sizeof(oto_word) + 2 * OTO_PUNC_TOKEN_BYTES) + 512;
}

int oto_punctuator_new(const oto_model *m, oto_pool *pool, oto_arena *a, oto_punctuator **out,
                       oto_err *e)
{
    oto_punctuator *p;
    int rc;

    if ((rc = oto_arena_get(a, 1, sizeof *p, &p, e)) != 0 ||
        (rc = oto_punc_new(m, pool, a, &p->punc, e)) != 0 ||
        (rc = oto_arena_get(a, SEGMENTS, sizeof *p->segments, &p->segments, e)) != 0 ||
        (rc = oto_arena_get(a, OTO_PUNC_TOKENS, sizeof *p->words, &p->words, e)) != 0 ||
        (rc = oto_arena_get(a, OTO_PUNC_TOKENS, OTO_PUNC_TOKEN_BYTES, &p->text, e)) != 0 ||
        (rc = oto_arena_get(a, OTO_PUNC_TOKENS, OTO_PUNC_TOKEN_BYTES, &p->words_text, e)) != 0)
        return rc;
    *out = p;
    return 0;
}

void oto_punctuator_start(oto_punctuator *p, bool words,
                          int (*on_segment)(void *arg, const oto_segment *s), void *arg)
{
    oto_punc_reset(p->punc);
    p->n_segments = 0;
    p->with_words = words;
    p->on_segment = on_segment;
    p->arg = arg;
}

static int give_sentence(oto_punctuator *p, const oto_punc_token *t, int n)
{
    oto_segment s = p->segments[t[0].tag % SEGMENTS];
    char *text = p->text, *word = p->words_text;
    int n_words = 0;

    for (int i = 0; i < n; i++) {
        const size_t size = strlen(t[i].word.text);

        memcpy(text, t[i].word.text, size);
        text += size;
        if (i > 0 && t[i].joined) {
            oto_word *w = &p->words[n_words - 1];

            word--; /* over its end */
            w->end_ms = t[i].word.end_ms;
            w->probability = OTO_MIN(w->probability, t[i].word.probability);
        } else {
            p->words[n_words] = t[i].word;
            p->words[n_words++].text = word;
        }
        memcpy(word, t[i].word.text, size + 1);
        word += size + 1;
    }
    *text = '\0';
    s.start_ms = t[0].word.start_ms;
    s.end_ms = OTO_MAX(t[n - 1].word.end_ms, s.start_ms);
    s.text = p->text;
    if (p->with_words) {
        s.words = p->words;
        s.n_words = n_words;
    }
    return p->on_segment(p->arg, &s);
}

static int give(oto_punctuator *p, const oto_punc_token *t, int n)
{
    int rc = 0;

    for (int i = 0, from = 0; i < n && rc == 0; i++)
        if (t[i].ends) {
            rc = give_sentence(p, t + from, i + 1 - from);
            from = i + 1;
        }
    return rc;
}

static int push(oto_punctuator *p, const oto_word *w)
{
    const oto_timed_piece piece = {.text = {w->text, strlen(w->text)},
                                   .start_ms = w->start_ms,
                                   .end_ms = w->end_ms,
                                   .probability = w->probability};
    const oto_punc_token *out = NULL;
    size_t used = 0;
    int rc = 0;

    while (used < piece.text.n && rc == 0) {
        const int n = oto_punc_push(p->punc, &piece, p->n_segments, &used, &out);

        rc = give(p, out, n);
    }
    return rc;
}

/* Segments are what speech has between pauses, or a window's length. */
static int end_segment(oto_punctuator *p)
{
    const oto_punc_token *out = NULL;
    const int n = oto_punc_pause(p->punc, &out);

    return give(p, out, n);
}

/* Nothing but what the punctuation model takes for white space? */
static bool is_blank(const char *text)
{
    const size_t n = strlen(text);

    for (size_t i = 0; i < n;) {
        uint32_t c;

        i += oto_utf8_next(text + i, n - i, &c);
        if (!oto_is_space(c))
            return false;
    }
    return true;
}

int oto_punctuator_push(oto_punctuator *p, const oto_segment *s)
{
    const oto_word whole = {s->start_ms, s->end_ms, s->text, 1};
    oto_segment *kept = &p->segments[p->n_segments % SEGMENTS];
    int rc;

    if (is_blank(s->text))
        return 0;
    *kept = *s;
    kept->text = "";
    kept->tokens = NULL;
    kept->words = NULL;
    kept->n_tokens = kept->n_words = 0;
    if ((rc = push(p, &(oto_word){.text = " "})) != 0)
        return rc;
    if (s->n_words == 0)
        rc = push(p, &whole);
    for (int i = 0; i < s->n_words && rc == 0; i++)
        rc = push(p, &s->words[i]);
    if (rc == 0)
        rc = end_segment(p);
    p->n_segments++;
    return rc;
}

int oto_punctuator_finish(oto_punctuator *p)
{
    const oto_punc_token *out = NULL;
    const int n = oto_punc_finish(p->punc, &out);

    return give(p, out, n);
}
