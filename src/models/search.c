#include "models/search.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

/* ---- rows ---- */

#define LSE_BLOCK  1024 /* stays in the first-level cache between the two looks at it */
#define LSE_BLOCKS 64

/* ln Σ exp of a stretch, read from memory once. */
static float lse_of(const float *x, int n)
{
    float part[LSE_BLOCKS + 1], total = -INFINITY;
    int n_parts = 0;
    for (int at = 0; at < n; at += LSE_BLOCK) {
        part[n_parts++] = oto_k()->logsumexp_f32(x + at, OTO_MIN(LSE_BLOCK, n - at));
        if (n_parts > LSE_BLOCKS || at + LSE_BLOCK >= n) {
            total = part[0] = oto_k()->logsumexp_f32(part, n_parts);
            n_parts = 1;
        }
    }
    return total;
}

float oto_search_lse(const oto_search_row *row)
{
    float total = -INFINITY;
    for (int r = 0; r < row->n_ranges; r++) {
        int first = row->range[r].first, n = row->range[r].end - first;
        float part = lse_of(row->logits + first, n);
        if (total == -INFINITY)
            total = part;
        else if (part > -INFINITY)
            total = OTO_MAX(total, part) + log1pf(expf(-fabsf(total - part)));
    }
    return total;
}

/* The best found so far, best first. */
struct best {
    oto_candidate *at;
    int n, k;
};

static void insert(struct best *b, int32_t token, float x)
{
    int i = b->n < b->k ? b->n++ : b->k - 1;
    for (; i > 0 && b->at[i - 1].log_prob < x; i--)
        b->at[i] = b->at[i - 1];
    b->at[i] = (oto_candidate){token, x};
}

static void scan(struct best *b, const float *logits, int first, int end)
{
    for (int at = first; at < end; at++) {
        const float floor = b->n < b->k ? -INFINITY : b->at[b->k - 1].log_prob;
        at += oto_k()->above_f32(logits + at, end - at, floor);
        if (at < end)
            insert(b, at, logits[at]);
    }
}

int oto_search_top(const oto_search_row *row, int k, oto_candidate *out)
{
    struct best b = {out, 0, k};
    for (int r = 0; r < row->n_ranges; r++)
        scan(&b, row->logits, row->range[r].first, row->range[r].end);
    if (b.n == 0)
        return 0;
    float lse = oto_search_lse(row);
    for (int i = 0; i < b.n; i++)
        out[i].log_prob -= lse;
    return b.n;
}

/* splitmix64 */
static uint64_t random_next(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

#define DRAW_BLOCK 256

/* Logits of a block over the temperature, relative to `most`, into w; returns Σ exp of them. */
static double block_mass(const float *x, int n, float most, float temperature, float *w)
{
    for (int i = 0; i < n; i++)
        w[i] = (x[i] - most) / temperature;
    return exp((double)oto_k()->logsumexp_f32(w, n));
}

/* The token of a block where the running sum passes `left`, or -1. */
static int draw_in_block(const float *w, int n, double *left)
{
    for (int i = 0; i < n; i++) {
        double mass = exp((double)w[i]);
        if (*left < mass)
            return i;
        *left -= mass;
    }
    return -1;
}

int oto_search_draw(const oto_search_row *row, float temperature, uint64_t *rng, oto_candidate *out)
{
    oto_candidate top;
    if (oto_search_top(row, 1, &top) == 0)
        return 0;
    float most = row->logits[top.token], lse = most - top.log_prob, w[DRAW_BLOCK];
    double total = 0;

    for (int r = 0; r < row->n_ranges; r++)
        for (int at = row->range[r].first; at < row->range[r].end; at += DRAW_BLOCK)
            total += block_mass(row->logits + at, OTO_MIN(DRAW_BLOCK, row->range[r].end - at), most,
                                temperature, w);
    double left = total * ((double)(random_next(rng) >> 11) * 0x1p-53);
    *out = top; /* where rounding lets the sum run out */
    for (int r = 0; r < row->n_ranges; r++)
        for (int at = row->range[r].first; at < row->range[r].end; at += DRAW_BLOCK) {
            int n = OTO_MIN(DRAW_BLOCK, row->range[r].end - at);
            double mass = block_mass(row->logits + at, n, most, temperature, w);
            if (left >= mass) {
                left -= mass;
                continue;
            }
            int i = draw_in_block(w, n, &left);
            if (i >= 0) {
                *out = (oto_candidate){at + i, row->logits[at + i] - lse};
                return 1;
            }
        }
    return 1;
}

/* ---- hypotheses ---- */

struct lane {
    int32_t *tokens; /* [max_tokens] */
    float score;     /* sum of log-probabilities */
    uint64_t rng;
};

struct oto_search {
    oto_search_options o;
    int max_lanes, max_tokens;
    int n_alive, n_tokens, n_ended, want; /* every living lane has n_tokens */
    struct lane *lane, *next;             /* [max_lanes] each, exchanged at every step */
    int source[OTO_SEARCH_MAX_LANES];
    oto_candidate (*top)[OTO_SEARCH_MAX_TOP]; /* [max_lanes] */
    int n_top[OTO_SEARCH_MAX_LANES];
    int32_t *best; /* [max_tokens] */
    int n_best;
    float best_sum, best_norm;
};

int oto_search_new(int max_lanes, int max_tokens, oto_arena *a, oto_search **out, oto_err *e)
{
    oto_search *s;
    int32_t *tokens;
    struct lane *lanes;
    int rc;

    if (max_lanes < 1 || max_lanes > OTO_SEARCH_MAX_LANES)
        return oto_fail(e, OTO_E_USAGE, "a search of %d hypotheses: 1 to %d can be kept", max_lanes,
                        OTO_SEARCH_MAX_LANES);
    if ((rc = oto_arena_get(a, 1, sizeof *s, &s, e)) != 0)
        return rc;
    memset(s, 0, sizeof *s);
    s->max_lanes = max_lanes;
    s->max_tokens = max_tokens;
    if ((rc = oto_arena_get(a, (size_t)max_lanes * 2, sizeof *lanes, &lanes, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)max_lanes, sizeof *s->top, &s->top, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)max_lanes * 2 + 1, (size_t)max_tokens * sizeof *tokens,
                            &tokens, e)) != 0)
        return rc;
    for (int i = 0; i < 2 * max_lanes; i++)
        lanes[i].tokens = tokens + (size_t)i * (size_t)max_tokens;
    s->lane = lanes;
    s->next = lanes + max_lanes;
    s->best = tokens + (size_t)2 * (size_t)max_lanes * (size_t)max_tokens;
    *out = s;
    return 0;
}

void oto_search_start(oto_search *s, const oto_search_options *o)
{
    s->o = *o;
    s->o.lanes = OTO_MIN(OTO_MAX(o->lanes, 1), s->max_lanes);
    s->o.max_tokens = OTO_MIN(OTO_MAX(o->max_tokens, 1), s->max_tokens);
    s->n_alive = o->temperature > 0 ? s->o.lanes : 1;
    s->n_tokens = s->n_ended = s->n_best = 0;
    s->best_sum = s->best_norm = -INFINITY;
    s->want = o->temperature > 0 ? 1 : 2 * s->o.lanes;
    for (int i = 0; i < s->n_alive; i++) {
        s->lane[i].score = 0;
        s->lane[i].rng = o->seed + (uint64_t)i * 0xd1342543de82ef95u;
        random_next(&s->lane[i].rng);
    }
}

int oto_search_alive(const oto_search *s)
{
    return s->n_alive;
}

const int32_t *oto_search_tokens(const oto_search *s, int lane, int *n)
{
    *n = s->n_tokens;
    return s->lane[lane].tokens;
}

const int *oto_search_sources(const oto_search *s)
{
    return s->source;
}

const int32_t *oto_search_best(const oto_search *s, int *n, float *sum_log_prob)
{
    *n = s->n_best;
    *sum_log_prob = s->best_sum;
    return s->best;
}

int oto_search_candidates(oto_search *s, int lane, const oto_search_row *row)
{
    int n = s->o.temperature > 0
                ? oto_search_draw(row, s->o.temperature, &s->lane[lane].rng, s->top[lane])
                : oto_search_top(row, s->want, s->top[lane]);
    s->n_top[lane] = n;
    return n;
}

/* A hypothesis is complete: the tokens of `lane` and, unless it is the end, `token`. */
static void end_lane(oto_search *s, int lane, int32_t token, float score)
{
    int n = s->n_tokens + (token != s->o.eot);
    float norm = n ? score / powf((float)n, s->o.length_penalty) : -INFINITY;

    if (s->n_ended++ && norm <= s->best_norm)
        return;
    memcpy(s->best, s->lane[lane].tokens, (size_t)s->n_tokens * sizeof *s->best);
    if (n > s->n_tokens)
        s->best[s->n_tokens] = token;
    s->n_best = n;
    s->best_sum = score;
    s->best_norm = norm;
}

/* Lane `to` of the next step is lane `from` with one token more. */
static void continue_lane(oto_search *s, int to, int from, int32_t token, float score)
{
    struct lane *src = &s->lane[from], *dst = &s->next[to];
    memcpy(dst->tokens, src->tokens, (size_t)s->n_tokens * sizeof *dst->tokens);
    dst->tokens[s->n_tokens] = token;
    dst->score = score;
    dst->rng = src->rng;
    s->source[to] = from;
}

static int advance_samples(oto_search *s, bool last)
{
    int n = 0;
    for (int i = 0; i < s->n_alive; i++) {
        if (s->n_top[i] == 0)
            continue;
        oto_candidate c = s->top[i][0];
        float score = s->lane[i].score + c.log_prob;
        if (c.token == s->o.eot || last)
            end_lane(s, i, c.token, score);
        else
            continue_lane(s, n++, i, c.token, score);
    }
    return n;
}

struct joined {
    int lane;
    int32_t token;
    float score;
};

/* The `want` best candidates over all lanes, best first: a merge of sorted lists. */
static int merge(const oto_search *s, struct joined *out)
{
    int used[OTO_SEARCH_MAX_LANES] = {0}, n = 0;
    while (n < s->want) {
        int from = -1;
        float most = -INFINITY;
        for (int i = 0; i < s->n_alive; i++) {
            if (used[i] == s->n_top[i])
                continue;
            float score = s->lane[i].score + s->top[i][used[i]].log_prob;
            if (from < 0 || score > most) {
                from = i;
                most = score;
            }
        }
        if (from < 0)
            break;
        out[n++] = (struct joined){from, s->top[from][used[from]++].token, most};
    }
    return n;
}

static int advance_beam(oto_search *s, bool last)
{
    struct joined c[OTO_SEARCH_MAX_TOP];
    int n = merge(s, c), n_next = 0, spare = s->o.lanes;
    int enough = (int)lroundf((float)s->o.lanes * (s->o.lanes > 1 ? s->o.patience : 1.0f));

    for (int k = 0; k < OTO_MIN(n, s->o.lanes); k++) {
        const struct joined *go = &c[k];
        if (c[k].token == s->o.eot || last) {
            end_lane(s, c[k].lane, c[k].token, c[k].score);
            while (spare < n && c[spare].token == s->o.eot)
                spare++;
            go = spare < n ? &c[spare++] : NULL;
        }
        if (go && !last)
            continue_lane(s, n_next++, go->lane, go->token, go->score);
    }
    return s->n_ended >= OTO_MAX(enough, 1) ? 0 : n_next;
}

void oto_search_advance(oto_search *s)
{
    bool last = s->n_tokens + 1 >= s->o.max_tokens;
    struct lane *now = s->lane;
    int n = s->o.temperature > 0 ? advance_samples(s, last) : advance_beam(s, last);

    s->lane = s->next;
    s->next = now;
    s->n_alive = n;
    s->n_tokens++;
}
