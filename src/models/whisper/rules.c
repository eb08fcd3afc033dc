/* Which token may come next. Timestamps come in pairs (end of one segment, start of the next),
 * never decrease, and are taken whenever all of them together are more probable than the most
 * probable text token. Most of these rules forbid whole ranges, which cost nothing here. */
#include "models/whisper/decode.h"
#include "kernels/kernels.h"

#include <math.h>

static void forbid(const oto_whisper_dims *d, float *logits, const int32_t *ids, int n)
{
    for (int i = 0; i < n; i++)
        if (ids[i] >= 0 && ids[i] < d->n_vocab)
            logits[ids[i]] = -INFINITY;
}

static void allow(oto_search_row *row, int first, int end)
{
    if (first >= end)
        return;
    row->range[row->n_ranges].first = first;
    row->range[row->n_ranges++].end = end;
}

/* The last timestamp among the tokens, or -1. */
static int32_t last_timestamp(const int32_t *tokens, int n, int first)
{
    for (int i = n - 1; i >= 0; i--)
        if (tokens[i] >= first)
            return tokens[i];
    return -1;
}

/* Whether a token of the row is more probable than `floor`; mostly one of the first is. */
static bool any_above(const oto_search_row *row, float floor)
{
    for (int r = 0; r < row->n_ranges; r++) {
        const int n = row->range[r].end - row->range[r].first;
        if (oto_k()->above_f32(row->logits + row->range[r].first, n, floor) < n)
            return true;
    }
    return false;
}

/* Text of `row` or timestamps from `from` on: only the latter where they weigh more. */
static void add_timestamps(const oto_whisper_dims *d, int from, oto_search_row *row)
{
    oto_search_row stamps = {.logits = row->logits};

    allow(&stamps, from, d->n_vocab);
    if (stamps.n_ranges == 0)
        return;
    if (any_above(row, oto_search_lse(&stamps)))
        allow(row, from, d->n_vocab);
    else
        *row = stamps;
}

void oto_whisper_rules_apply(const oto_whisper_rules *r, float *logits, const int32_t *tokens,
                             int n, oto_search_row *row)
{
    const oto_whisper_dims *d = r->dims;
    int first = d->timestamp_first;
    const int32_t never[] = {d->transcribe, d->translate, d->sot,
                             d->sot_prev,   d->sot_lm,    d->no_speech};

    *row = (oto_search_row){.logits = logits};
    forbid(d, logits, never, OTO_COUNT(never));
    if (r->suppress_default)
        forbid(d, logits, d->suppress, d->n_suppress);
    if (r->suppress_blank && n == 0)
        forbid(d, logits, d->suppress_begin, d->n_suppress_begin);
    if (!r->timestamps) {
        allow(row, 0, d->n_vocab);
    } else if (n == 0) {
        allow(row, first, OTO_MIN(first + r->max_initial + 1, d->n_vocab));
    } else if (tokens[n - 1] < first) {
        allow(row, 0, d->no_timestamps);
        add_timestamps(d, OTO_MAX(last_timestamp(tokens, n, first) + 1, first), row);
    } else if (n == 1 || tokens[n - 2] >= first) {
        allow(row, 0, d->no_timestamps);
    } else {
        allow(row, d->eot, d->no_timestamps);
        add_timestamps(d, tokens[n - 1], row);
    }
}
