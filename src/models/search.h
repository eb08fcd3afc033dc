/* search (private to models/): greedy, beam and sampled decoding as bookkeeping over rows of
 * logits. It knows no model: a family's decoder computes the rows, its rules say which tokens may
 * come next, this keeps the hypotheses of one recording's window.
 *
 * One step, for every window: the rows' candidates are taken (independent of each other, so they
 * can be taken in parallel), then `advance` merges them and says which lanes go on, from where and
 * with which token. Semantics are CTranslate2's (src/decoding.cc): a beam of n looks at 2 n
 * candidates, so that those which end can be replaced; it stops when round(n * patience) have
 * ended; the best is the one with the highest sum of log-probabilities, the end included, over
 * length^length_penalty, the end excluded. */
#ifndef OTO_SEARCH_H
#define OTO_SEARCH_H

#include "base/base.h"

#define OTO_SEARCH_MAX_LANES  32
#define OTO_SEARCH_MAX_TOP    (2 * OTO_SEARCH_MAX_LANES)
#define OTO_SEARCH_MAX_RANGES 4

/* Logits of one lane, and the ids [first, end) that may come next, ascending and disjoint. Inside
 * a range -INFINITY forbids single tokens. */
typedef struct {
    const float *logits;
    int n_ranges;
    struct {
        int first, end;
    } range[OTO_SEARCH_MAX_RANGES];
} oto_search_row;

typedef struct {
    int32_t token;
    float log_prob; /* normalised over what may come next */
} oto_candidate;

/* ln Σ exp of what may come next; -INFINITY when nothing may. */
float oto_search_lse(const oto_search_row *row);
/* The k most probable tokens, best first, of equals the lower id; returns how many there are. */
int oto_search_top(const oto_search_row *row, int k, oto_candidate *out);
/* One token drawn from softmax(logits / temperature); its log_prob is that of temperature 1.
 * Returns 0 when nothing may come next. */
int oto_search_draw(const oto_search_row *row, float temperature, uint64_t *rng,
                    oto_candidate *out);

typedef struct {
    int lanes;         /* hypotheses kept at once, 1 … OTO_SEARCH_MAX_LANES */
    float temperature; /* 0: beam search (greedy with one lane); else each lane draws its own */
    float patience, length_penalty;
    int32_t eot;
    int max_tokens; /* ≤ the capacity given at new */
    uint64_t seed;
} oto_search_options;

typedef struct oto_search oto_search;
int oto_search_new(int max_lanes, int max_tokens, oto_arena *a, oto_search **out,
                   oto_err *e) OTO_CHECK;
/* Empties the hypotheses. A beam begins with one lane, sampling with all of them. */
void oto_search_start(oto_search *s, const oto_search_options *o);
/* Lanes that go on, numbered 0 …; 0 when the search is over. */
int oto_search_alive(const oto_search *s);
/* Tokens of a lane so far (borrowed until the next advance). */
const int32_t *oto_search_tokens(const oto_search *s, int lane, int *n);
/* The candidates of a living lane's row: as many as the search wants, at most OTO_SEARCH_MAX_TOP.
 * Different lanes may be asked at once from different threads. Returns their number. */
int oto_search_candidates(oto_search *s, int lane, const oto_search_row *row);
/* Merges the candidates of all living lanes. Afterwards lane i continues what lane source[i] was,
 * with one token more. */
void oto_search_advance(oto_search *s);
const int *oto_search_sources(const oto_search *s); /* [oto_search_alive] */
/* The best hypothesis: tokens before the end, the sum of their log-probabilities with the end's.
 * Valid when none is alive; n = 0 and -INFINITY when nothing could be said at all. */
const int32_t *oto_search_best(const oto_search *s, int *n, float *sum_log_prob);

#endif
