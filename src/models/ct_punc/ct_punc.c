/* ct_punc: a text of any length to tokens with marks, in bounded memory.
 *
 * The text goes through the network in blocks of 20 tokens. Before each block stand the tokens
 * since the last sentence end that was found: they wait for more, because a mark depends on what
 * follows. What stands before a sentence end is settled, its last two tokens' marks never, but at
 * the end of the text. A sentence of more than 200 tokens is cut at its last comma. As FunASR's
 * CTTransformer.inference, which has no bound where not even a comma comes: here the tokens are
 * then given out as they are. */
#include "models/ct_punc/ct_punc.h"

#include <string.h>

typedef struct {
    const ct_punc *m;
    ct_network net;
    ct_token *tokens; /* [CT_ROWS] that wait */
    int n, n_new;     /* of them; since the last pass */
    ct_mark *marks;   /* [CT_ROWS] */
    int *ids;         /* [CT_ROWS] */
    char *text;       /* [CT_ROWS][CT_TOKEN_BYTES], without gaps */
    size_t n_text;
    bool open;           /* more ASCII belongs to the newest token */
    uint32_t piece;      /* number of the present one */
    oto_punc_token *out; /* [CT_ROWS] */
    char *written;       /* [CT_ROWS][OTO_PUNC_TOKEN_BYTES] */
} state;

/* ---- life ---- */

static size_t punc_bytes(const void *impl)
{
    return sizeof(state) + oto_ct_network_bytes(impl) +
           CT_ROWS * (sizeof(ct_token) + sizeof(ct_mark) + sizeof(int) + sizeof(oto_punc_token) +
                      CT_TOKEN_BYTES + OTO_PUNC_TOKEN_BYTES) +
           1024;
}

static void punc_reset(void *state_)
{
    state *s = state_;

    s->n = s->n_new = 0;
    s->n_text = 0;
    s->open = false;
}

static int punc_new(const void *impl, oto_pool *pool, oto_arena *a, void **out, oto_err *e)
{
    state *s;
    int rc = oto_arena_get(a, 1, sizeof *s, &s, e);

    if (rc != 0)
        return rc;
    *s = (state){.m = impl};
    if ((rc = oto_ct_network_new(impl, pool, a, &s->net, e)) != 0 ||
        (rc = oto_arena_get(a, CT_ROWS, sizeof *s->tokens, &s->tokens, e)) != 0 ||
        (rc = oto_arena_get(a, CT_ROWS, sizeof *s->marks, &s->marks, e)) != 0 ||
        (rc = oto_arena_get(a, CT_ROWS, sizeof *s->ids, &s->ids, e)) != 0 ||
        (rc = oto_arena_get(a, CT_ROWS, CT_TOKEN_BYTES, &s->text, e)) != 0 ||
        (rc = oto_arena_get(a, CT_ROWS, sizeof *s->out, &s->out, e)) != 0 ||
        (rc = oto_arena_get(a, CT_ROWS, OTO_PUNC_TOKEN_BYTES, &s->written, e)) != 0)
        return rc;
    *out = s;
    return 0;
}

/* ---- blocks ---- */

static bool ends_sentence(ct_mark m)
{
    return m == CT_STOP || m == CT_QUESTION;
}

/* How many tokens are settled. The first two and the last end no sentence. */
static int settled(ct_mark *marks, int n)
{
    int comma = -1;

    for (int i = n - 2; i > 1; i--) {
        if (ends_sentence(marks[i]))
            return i + 1;
        if (comma < 0 && marks[i] == CT_COMMA)
            comma = i;
    }
    if (n > CT_LONG && comma >= 0) {
        marks[comma] = CT_STOP;
        return comma + 1;
    }
    return n > CT_ROWS - CT_BLOCK ? n - 1 : 0;
}

static void give(state *s, int n, bool last)
{
    char *to = s->written;

    for (int i = 0; i < n; i++) {
        const ct_token *t = &s->tokens[i];
        const size_t size = oto_ct_write(s->tokens, s->text, s->marks, i, last && i == n - 1, to);

        s->out[i] =
            (oto_punc_token){.word = {t->start_ms, t->end_ms, to, t->probability},
                             .tag = t->tag,
                             .joined = i > 0 && t->first_piece == s->tokens[i - 1].last_piece,
                             .ends = ends_sentence(s->marks[i]) || i == n - 1};
        to += size + 1;
    }
}

static void drop(state *s, int n)
{
    const uint32_t bytes = n < s->n ? s->tokens[n].at : (uint32_t)s->n_text;

    s->n -= n;
    s->n_text -= bytes;
    memmove(s->tokens, s->tokens + n, (size_t)s->n * sizeof *s->tokens);
    memmove(s->text, s->text + bytes, s->n_text);
    for (int i = 0; i < s->n; i++)
        s->tokens[i].at -= bytes;
}

/* All tokens through the network; *out those that are settled. */
static int pass(state *s, bool last, const oto_punc_token **out)
{
    int n;

    if (s->n == 0)
        return 0;
    for (int i = s->n - s->n_new; i < s->n; i++)
        s->tokens[i].id = oto_ct_id(s->m, (oto_slice){s->text + s->tokens[i].at, s->tokens[i].n});
    for (int i = 0; i < s->n; i++)
        s->ids[i] = s->tokens[i].id;
    oto_ct_network_run(&s->net, s->ids, s->n, s->marks);
    for (int i = 1; i < s->n; i++)
        if (s->tokens[i].rest)
            s->marks[i - 1] = CT_NONE;
    s->n_new = 0;
    n = last ? s->n : settled(s->marks, s->n);
    give(s, n, last);
    drop(s, n);
    *out = s->out;
    return n;
}

/* ---- text ---- */

static void begin(state *s, const oto_timed_piece *p, int64_t tag, bool rest)
{
    s->tokens[s->n++] = (ct_token){.at = (uint32_t)s->n_text,
                                   .rest = rest,
                                   .first_piece = s->piece,
                                   .start_ms = p->start_ms,
                                   .tag = tag,
                                   .probability = p->probability};
    s->n_new++;
}

static void append(state *s, const oto_timed_piece *p, const char *bytes, size_t n)
{
    ct_token *t = &s->tokens[s->n - 1];

    memcpy(s->text + s->n_text, bytes, n);
    s->n_text += n;
    t->n += (uint32_t)n;
    t->last_piece = s->piece;
    t->end_ms = p->end_ms;
    t->probability = OTO_MIN(t->probability, p->probability);
}

static int punc_push(void *state_, const oto_timed_piece *p, int64_t tag, size_t *used,
                     const oto_punc_token **out)
{
    state *s = state_;
    int n;

    s->piece += *used == 0;
    while (*used < p->text.n) {
        const char *at = p->text.p + *used;
        uint32_t cp;
        const size_t size = oto_utf8_next(at, p->text.n - *used, &cp);
        const bool ascii = (unsigned char)*at < 0x80, space = oto_is_space(cp);
        const bool goes_on = s->open && ascii && !space;

        if (!space && (!goes_on || s->tokens[s->n - 1].n == CT_TOKEN_BYTES)) {
            if (s->n_new == CT_BLOCK && (n = pass(s, false, out)) > 0)
                return n; /* and this character with the next call */
            begin(s, p, tag, goes_on);
        }
        if (!space)
            append(s, p, at, size);
        s->open = ascii && !space;
        *used += size;
    }
    return 0;
}

static int punc_finish(void *state_, const oto_punc_token **out)
{
    const int n = pass(state_, true, out);

    punc_reset(state_);
    return n;
}

const oto_family oto_family_ct_punc = {
    .name = "ct-transformer",
    .task = OTO_TASK_PUNC,
    .matches = oto_ct_matches,
    .pack = oto_ct_pack,
    .open = oto_ct_open,
    .close = oto_ct_close,
    .punc_bytes = punc_bytes,
    .punc_new = punc_new,
    .punc_push = punc_push,
    .punc_finish = punc_finish,
    .punc_reset = punc_reset,
};
