/* Many windows decoded together, each at its own pace. A window has a place: its own search, its
 * own lanes of the network's state, and its own options. One pass of the decoder serves all that
 * are under way, whether they ask for their language, read their prompt or go on token by token;
 * whoever is over makes room for another at once. */
#include "models/whisper/decode.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

/* The candidates of some lanes of a search, all from one row of logits. */
struct pick {
    const oto_whisper_rules *rules;
    oto_search *search;
    int lane, n_lanes;
    float *logits;
};

enum phase { OVER, ASKS, READS, GOES };

struct place {
    enum phase phase;
    oto_search *search;
    oto_whisper_rules rules;
    oto_whisper_generated *out;
    const oto_whisper_prompt *prompt;
    int language, lanes;
    bool from_prompt; /* its lanes share the prompt's cache still */
    int n_rows;       /* in the present pass */
};

struct oto_whisper_generator {
    const oto_whisper_dims *d;
    oto_whisper_state *net;
    oto_pool *pool;
    int max_batch, max_beam;
    struct place *places;  /* [max_batch] */
    oto_whisper_row *rows; /* [oto_whisper_max_rows] */
    struct pick *picks;    /* [max_batch * max_beam] */
    int64_t n_steps, n_rows;
};

int oto_whisper_generator_new(const oto_whisper_dims *d, oto_whisper_state *net, oto_pool *pool,
                              int max_batch, int max_beam, oto_arena *a,
                              oto_whisper_generator **out, oto_err *e)
{
    oto_whisper_generator *g;
    size_t n_rows = (size_t)OTO_MAX(oto_whisper_max_rows(net), 1);
    int rc;

    if ((rc = oto_arena_get(a, 1, sizeof *g, &g, e)) != 0)
        return rc;
    *g = (oto_whisper_generator){
        .d = d, .net = net, .pool = pool, .max_batch = max_batch, .max_beam = max_beam};
    if ((rc = oto_arena_get(a, (size_t)max_batch, sizeof *g->places, &g->places, e)) != 0 ||
        (rc = oto_arena_get(a, n_rows, sizeof *g->rows, &g->rows, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)max_batch * (size_t)max_beam, sizeof *g->picks, &g->picks,
                            e)) != 0)
        return rc;
    memset(g->places, 0, (size_t)max_batch * sizeof *g->places);
    for (int i = 0; i < max_batch; i++)
        if ((rc = oto_search_new(max_beam, OTO_WHISPER_MAX_TOKENS, a, &g->places[i].search, e)) !=
            0)
            return rc;
    *out = g;
    return 0;
}

void oto_whisper_generator_stats(const oto_whisper_generator *g, int64_t *steps, int64_t *rows)
{
    *steps = g->n_steps;
    *rows = g->n_rows;
}

int oto_whisper_generator_lane(const oto_whisper_generator *g, int at)
{
    return at * g->max_beam;
}

/* ---- begin ---- */

void oto_whisper_ask(oto_whisper_generator *g, int at, oto_whisper_generated *out)
{
    struct place *p = &g->places[at];

    p->phase = ASKS;
    p->out = out;
    oto_whisper_lane_start(g->net, oto_whisper_generator_lane(g, at), at, 1);
}

void oto_whisper_generate(oto_whisper_generator *g, int at, const oto_whisper_prompt *prompt,
                          int language, const oto_whisper_rules *rules,
                          const oto_search_options *search, oto_whisper_generated *out)
{
    struct place *p = &g->places[at];
    oto_search_options o = *search;
    const int first = oto_whisper_generator_lane(g, at);

    o.eot = g->d->eot;
    o.lanes = OTO_MIN(OTO_MAX(o.lanes, 1), g->max_beam);
    /* The prompt's last token is fed with the first step. */
    o.max_tokens = OTO_MIN(OTO_WHISPER_MAX_TOKENS, OTO_WHISPER_CTX - (prompt->n - 1));
    *p = (struct place){.phase = READS,
                        .search = p->search,
                        .rules = *rules,
                        .out = out,
                        .prompt = prompt,
                        .language = language,
                        .lanes = o.lanes,
                        .from_prompt = true};
    oto_search_start(p->search, &o);
    for (int i = 0; i < o.lanes; i++)
        oto_whisper_lane_start(g->net, first + i, at, prompt->n - 1 + o.max_tokens);
}

bool oto_whisper_is_over(const oto_whisper_generator *g, int at)
{
    return g->places[at].phase == OVER;
}

void oto_whisper_drop(oto_whisper_generator *g, int at)
{
    g->places[at].phase = OVER;
}

/* ---- rows of a pass: each puts its own behind the others' and returns how many ---- */

static int put_question(oto_whisper_generator *g, int at, oto_whisper_row *rows)
{
    rows[0] = (oto_whisper_row){
        .lane = oto_whisper_generator_lane(g, at), .token = g->d->sot, .logits = true};
    return 1;
}

static int put_prompt(oto_whisper_generator *g, int at, oto_whisper_row *rows)
{
    const struct place *p = &g->places[at];
    const oto_whisper_prompt *prompt = p->prompt;
    int32_t tokens[OTO_WHISPER_MAX_PROMPT];

    oto_whisper_prompt_fill(g->d, prompt, p->language, tokens);
    for (int i = 0; i < prompt->n; i++)
        rows[i] = (oto_whisper_row){.lane = oto_whisper_generator_lane(g, at),
                                    .pos = i,
                                    .token = tokens[i],
                                    .logits = i == prompt->sot || i == prompt->n - 1};
    return prompt->n;
}

/* Lets lanes take over from where the search continues them. */
static void move_lanes(oto_whisper_generator *g, int at, int n_pos)
{
    const struct place *p = &g->places[at];
    const int *source = oto_search_sources(p->search);
    const int first = oto_whisper_generator_lane(g, at), n = oto_search_alive(p->search);
    int dst[OTO_SEARCH_MAX_LANES], src[OTO_SEARCH_MAX_LANES];
    bool moved = false;

    for (int i = 0; i < n; i++) {
        const int from = p->from_prompt ? 0 : source[i];

        dst[i] = first + i;
        src[i] = first + from;
        moved |= from != i;
    }
    if (moved)
        oto_whisper_lanes_move(g->net, dst, src, n, n_pos);
}

static int put_tokens(oto_whisper_generator *g, int at, oto_whisper_row *rows)
{
    struct place *p = &g->places[at];
    const int n = oto_search_alive(p->search);

    for (int i = 0; i < n; i++) {
        int n_tokens;
        const int32_t *tokens = oto_search_tokens(p->search, i, &n_tokens);
        const int pos = p->prompt->n + n_tokens - 1;

        if (i == 0)
            move_lanes(g, at, pos);
        rows[i] = (oto_whisper_row){.lane = oto_whisper_generator_lane(g, at) + i,
                                    .pos = pos,
                                    .token = tokens[n_tokens - 1],
                                    .logits = true};
    }
    p->from_prompt = false;
    return n;
}

/* A prompt for which there is no room waits for the next pass. With fewer than a thousand lanes
 * there is always room for one. */
static int put_rows(oto_whisper_generator *g)
{
    const int room = oto_whisper_max_rows(g->net);
    int n = 0;

    for (int i = 0; i < g->max_batch; i++) {
        struct place *p = &g->places[i];

        p->n_rows = p->phase == GOES   ? put_tokens(g, i, g->rows + n)
                    : p->phase == ASKS ? put_question(g, i, g->rows + n)
                                       : 0;
        n += p->n_rows;
    }
    for (int i = 0; i < g->max_batch; i++) {
        struct place *p = &g->places[i];

        if (p->phase == READS && n + p->prompt->n <= room)
            n += p->n_rows = put_prompt(g, i, g->rows + n);
    }
    return n;
}

/* ---- from logits to the next tokens ---- */

static float no_speech(const oto_whisper_dims *d, const float *logits)
{
    return expf(logits[d->no_speech] - oto_k()->logsumexp_f32(logits, d->n_vocab));
}

static void pick_task(void *arg, int task, int thread)
{
    oto_whisper_generator *g = arg;
    const struct pick *p = &g->picks[task];
    oto_search_row row;
    int n;
    const int32_t *tokens = oto_search_tokens(p->search, p->lane, &n);

    (void)thread;
    oto_whisper_rules_apply(p->rules, p->logits, tokens, n, &row);
    for (int i = 0; i < p->n_lanes; i++)
        oto_search_candidates(p->search, p->lane + i, &row);
}

static void add_pick(oto_whisper_generator *g, int *n_picks, struct place *p, int lane, int n_lanes,
                     float *logits)
{
    g->picks[(*n_picks)++] = (struct pick){&p->rules, p->search, lane, n_lanes, logits};
}

/* What the rows of a place are asked; returns the logits behind its own. */
static float *read_logits(oto_whisper_generator *g, struct place *p, float *logits, int *n_picks)
{
    const size_t vocab = (size_t)g->d->n_vocab;

    if (p->phase == ASKS) {
        p->out->language = oto_whisper_language(g->d, logits, &p->out->language_probability);
        return logits + vocab;
    }
    if (p->phase == READS) {
        p->out->no_speech = no_speech(g->d, logits);
        logits += p->prompt->sot != p->prompt->n - 1 ? vocab : 0;
        add_pick(g, n_picks, p, 0, oto_search_alive(p->search), logits);
        return logits + vocab;
    }
    for (int i = 0; i < p->n_rows; i++, logits += vocab)
        add_pick(g, n_picks, p, i, 1, logits);
    return logits;
}

static void advance(struct place *p)
{
    oto_whisper_generated *out = p->out;
    const int32_t *best;

    if (p->phase == ASKS) {
        p->phase = OVER;
        return;
    }
    oto_search_advance(p->search);
    p->phase = GOES;
    if (oto_search_alive(p->search) > 0)
        return;
    best = oto_search_best(p->search, &out->n, &out->sum_log_prob);
    memcpy(out->tokens, best, (size_t)out->n * sizeof *best);
    p->phase = OVER;
}

void oto_whisper_generator_pass(oto_whisper_generator *g)
{
    const int n_rows = put_rows(g);
    int n_picks = 0;
    float *logits;

    if (n_rows == 0)
        return;
    g->n_steps++;
    g->n_rows += n_rows;
    logits = oto_whisper_decode(g->net, g->rows, n_rows);
    /* Prompts stand behind the others. */
    for (int prompts = 0; prompts < 2; prompts++)
        for (int i = 0; i < g->max_batch; i++)
            if (g->places[i].n_rows > 0 && (g->places[i].phase == READS) == prompts)
                logits = read_logits(g, &g->places[i], logits, &n_picks);
    oto_pool_run(g->pool, n_picks, pick_task, g);
    for (int i = 0; i < g->max_batch; i++)
        if (g->places[i].n_rows > 0)
            advance(&g->places[i]);
}
