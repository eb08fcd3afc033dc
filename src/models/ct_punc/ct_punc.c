/* ct_punc: a text of any length to tokens with marks, in bounded memory.
 *
 * The text goes through the network in blocks of 20 tokens. Before each block stand the tokens
 * since the last sentence end that was found: they wait for more, because a mark depends on what
 * follows. What stands before a sentence end is settled, its last two tokens' marks never, but at
 * the end of the text. A sentence of more than 200 tokens is cut at its last comma. As FunASR's
 * CTTransformer.inference, which has no bound where not even a comma comes: here the tokens are
 * then given out as they are.
 *
 * The realtime model reads a stretch between two pauses at once, behind the tokens since the last
 * sentence end, which it read before (CTTransformerStreaming.inference, its cache). A mark is
 * settled in the first such reading that has a token behind it; the tokens read again change no
 * more, they only tell where the next reading begins. They wait for their sentence's end written.
 */
#include "models/ct_punc/ct_punc.h"

#include <string.h>

typedef struct {
    const ct_punc *m;
    ct_network net;
    ct_token *tokens; /* [CT_ROWS] that wait */
    int n, n_seen;    /* of them; in the last pass */
    ct_mark *marks;   /* [CT_ROWS] */
    int *ids;         /* [CT_ROWS] */
    char *text;       /* [CT_ROWS][CT_TOKEN_BYTES], without gaps */
    size_t n_text;
    bool open;           /* more ASCII belongs to the newest token */
    uint32_t piece;      /* number of the present one */
    oto_punc_token *out; /* [CT_ROWS] */
    char *written;       /* [CT_ROWS][OTO_PUNC_TOKEN_BYTES] */

    /* Of the realtime model: */
    int n_known, n_gone; /* tokens of this reading that stood in the last one; that are dropped */
    ct_mark last_mark;   /* behind the last token before the pause, which is not settled */
    int n_held, n_given; /* of `out` that wait for their sentence's end; that the caller has now */
    bool spaced;         /* the last one held is a word of ASCII, */
    uint32_t held_piece; /* which ends in this piece */
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

    s->n = s->n_seen = 0;
    s->n_known = s->n_gone = s->n_held = s->n_given = 0;
    s->spaced = false;
    s->held_piece = 0;
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

/* How many tokens stand before a sentence end, or 0. The first two and the last end none. */
static int sentences(ct_mark *marks, int n)
{
    int comma = -1;

    for (int i = n - 2; i > 1; i--) {
        if (ends_sentence(marks[i]))
            return i + 1;
        if (comma < 0 && marks[i] == CT_COMMA)
            comma = i;
    }
    if (n <= CT_LONG || comma < 0)
        return 0;
    marks[comma] = CT_STOP;
    return comma + 1;
}

/* How many tokens are settled: all but the last where else the next block had no room, be it that
 * no sentence ends or that one does among the first. */
static int settled(ct_mark *marks, int n)
{
    const int done = sentences(marks, n);

    return n - done > CT_ROWS - CT_BLOCK ? n - 1 : done;
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

/* The first n tokens through the network. */
static void run(state *s, int n)
{
    for (int i = s->n_seen; i < n; i++)
        s->tokens[i].id = oto_ct_id(s->m, (oto_slice){s->text + s->tokens[i].at, s->tokens[i].n});
    for (int i = 0; i < n; i++)
        s->ids[i] = s->tokens[i].id;
    oto_ct_network_run(&s->net, s->ids, n, s->n_known, s->marks);
    for (int i = 1; i < n; i++)
        if (s->tokens[i].rest)
            s->marks[i - 1] = CT_NONE;
}

/* ---- the realtime model ---- */

/* What was given belongs to us again. */
static void take_back(state *s)
{
    const size_t n = (size_t)(s->n_held - s->n_given), size = OTO_PUNC_TOKEN_BYTES;

    if (s->n_given == 0)
        return;
    memmove(s->out, s->out + s->n_given, n * sizeof *s->out);
    memmove(s->written, s->written + (size_t)s->n_given * size, n * size);
    for (size_t i = 0; i < n; i++)
        s->out[i].word.text = s->written + i * size;
    s->n_held = (int)n;
    s->n_given = 0;
}

/* The sentences among those held, or all; what comes out ends with a sentence. */
static int give_held(state *s, bool all, const oto_punc_token **out)
{
    int n = s->n_held;

    while (!all && n > 0 && !s->out[n - 1].ends)
        n--;
    if (n > 0)
        s->out[n - 1].ends = true;
    s->n_given = n;
    *out = s->out;
    return n;
}

/* Where the tokens begin whose marks are not settled yet: with the last before the pause. */
static int unsettled(const state *s)
{
    return OTO_MAX(s->n_known - 1 - s->n_gone, 0);
}

static void hold(state *s, int i, ct_mark mark, bool last)
{
    const ct_token *t = &s->tokens[i];
    char *to = s->written + (size_t)s->n_held * OTO_PUNC_TOKEN_BYTES;

    oto_ct_write_realtime(t, s->text, s->spaced, &mark, last, to);
    s->out[s->n_held++] = (oto_punc_token){.word = {t->start_ms, t->end_ms, to, t->probability},
                                           .tag = t->tag,
                                           .joined = t->first_piece == s->held_piece,
                                           .ends = ends_sentence(mark)};
    s->spaced = oto_ct_is_ascii(t, s->text);
    s->held_piece = t->last_piece;
}

/* One block more of a reading that goes on. */
static void read_block(state *s)
{
    const int n = s->n_seen + CT_BLOCK;
    int done;

    run(s, n);
    done = settled(s->marks, n);
    for (int i = unsettled(s); i < done; i++)
        hold(s, i, s->marks[i], false);
    s->n_gone += done;
    drop(s, done);
    s->n_seen = n - done;
}

/* The reading ends; the next one begins behind the last sentence that something follows, but for
 * the text's first two tokens. */
static void end_reading(state *s)
{
    int cut;

    while (s->n - s->n_seen > CT_BLOCK)
        read_block(s);
    run(s, s->n);
    for (int i = unsettled(s); i < s->n - 1; i++)
        hold(s, i, s->marks[i], false);
    s->last_mark = s->marks[s->n - 1];
    for (cut = s->n - 2; cut >= 0; cut--)
        if (cut + s->n_gone > 1 && ends_sentence(s->marks[cut]))
            break;
    drop(s, cut + 1);
    s->n_known = s->n;
    s->n_gone = s->n_seen = 0;
}

static bool has_more(const state *s)
{
    return s->n_gone + s->n > s->n_known;
}

/* ---- both ---- */

/* A block that is not the last; *out what is settled. */
static int pass(state *s, const oto_punc_token **out)
{
    int n;

    if (s->m->realtime) {
        read_block(s);
        return give_held(s, false, out);
    }
    run(s, s->n);
    n = settled(s->marks, s->n);
    give(s, n, false);
    drop(s, n);
    s->n_seen = s->n;
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

    take_back(s);
    s->piece += *used == 0;
    while (*used < p->text.n) {
        const char *at = p->text.p + *used;
        uint32_t cp;
        const size_t size = oto_utf8_next(at, p->text.n - *used, &cp);
        const bool ascii = (unsigned char)*at < 0x80, space = oto_is_space(cp);
        const bool goes_on = s->open && ascii && !space;

        if (!space && (!goes_on || s->tokens[s->n - 1].n == CT_TOKEN_BYTES)) {
            while (s->n - s->n_seen >= CT_BLOCK)
                if ((n = pass(s, out)) > 0)
                    return n; /* and this character with the next call */
            if (s->n_held + s->n - unsettled(s) == CT_ROWS && s->n_held > 0)
                return give_held(s, true, out);
            begin(s, p, tag, goes_on);
        }
        if (!space)
            append(s, p, at, size);
        s->open = ascii && !space;
        *used += size;
    }
    return 0;
}

static int punc_pause(void *state_, const oto_punc_token **out)
{
    state *s = state_;

    if (!s->m->realtime)
        return 0;
    take_back(s);
    s->open = false;
    if (has_more(s))
        end_reading(s);
    return give_held(s, false, out);
}

static int finish_realtime(state *s, const oto_punc_token **out)
{
    take_back(s);
    if (has_more(s))
        end_reading(s);
    if (s->n > 0)
        hold(s, s->n - 1, s->last_mark, true);
    return give_held(s, true, out);
}

static int punc_finish(void *state_, const oto_punc_token **out)
{
    state *s = state_;
    int n = s->n;

    if (s->m->realtime) {
        n = finish_realtime(s, out);
    } else if (n > 0) {
        run(s, n);
        give(s, n, true);
        *out = s->out;
    }
    punc_reset(s);
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
    .punc_pause = punc_pause,
    .punc_finish = punc_finish,
    .punc_reset = punc_reset,
};
