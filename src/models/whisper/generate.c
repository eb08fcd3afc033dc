/* Many windows decoded together. Each has its own search and its own lanes of the network's state;
 * one pass of the decoder serves the living lanes of all of them. A window whose search is over
 * gives no more rows, so the passes shrink as windows finish. */
#include "models/whisper/decode.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

/* The candidates of some lanes of a search, all from one row of logits. */
struct pick {
    oto_search *search;
    int lane, n_lanes;
    float *logits;
};

struct oto_whisper_generator {
    const oto_whisper_dims *d;
    oto_whisper_state *net;
    oto_pool *pool;
    int max_batch, max_beam;
    oto_search **search;   /* [max_batch] */
    oto_whisper_row *rows; /* [oto_whisper_max_rows] */
    struct pick *picks;    /* [max_batch * max_beam] */
    const oto_whisper_rules *rules;
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
    if ((rc = oto_arena_get(a, (size_t)max_batch, sizeof *g->search, &g->search, e)) != 0 ||
        (rc = oto_arena_get(a, n_rows, sizeof *g->rows, &g->rows, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)max_batch * (size_t)max_beam, sizeof *g->picks, &g->picks,
                            e)) != 0)
        return rc;
    for (int i = 0; i < max_batch; i++)
        if ((rc = oto_search_new(max_beam, OTO_WHISPER_MAX_TOKENS, a, &g->search[i], e)) != 0)
            return rc;
    *out = g;
    return 0;
}

void oto_whisper_generator_stats(const oto_whisper_generator *g, int64_t *steps, int64_t *rows)
{
    *steps = g->n_steps;
    *rows = g->n_rows;
}

static float *pass(oto_whisper_generator *g, int n_rows)
{
    g->n_steps++;
    g->n_rows += n_rows;
    return oto_whisper_decode(g->net, g->rows, n_rows);
}

/* ---- from logits to the next tokens ---- */

static void pick_task(void *arg, int task, int thread)
{
    oto_whisper_generator *g = arg;
    const struct pick *p = &g->picks[task];
    oto_search_row row;
    int n;
    const int32_t *tokens = oto_search_tokens(p->search, p->lane, &n);

    (void)thread;
    oto_whisper_rules_apply(g->rules, p->logits, tokens, n, &row);
    for (int i = 0; i < p->n_lanes; i++)
        oto_search_candidates(p->search, p->lane + i, &row);
}

/* ---- the first pass: the prompt ---- */

static float no_speech(const oto_whisper_dims *d, const float *logits)
{
    return expf(logits[d->no_speech] - oto_k()->logsumexp_f32(logits, d->n_vocab));
}

/* Decodes the prompts whose n_rows rows are in g->rows, of windows [from, end). */
static void run_prompts(oto_whisper_generator *g, const oto_whisper_prompt *prompt,
                        oto_whisper_take *const *take, int from, int end, int n_rows)
{
    size_t vocab = (size_t)g->d->n_vocab;
    bool apart = prompt->sot != prompt->n - 1;
    float *logits = pass(g, n_rows);

    for (int w = from; w < end; w++) {
        take[w]->no_speech = no_speech(g->d, logits);
        logits += apart ? vocab : 0;
        g->picks[w - from] = (struct pick){g->search[w], 0, oto_search_alive(g->search[w]), logits};
        logits += vocab;
    }
    oto_pool_run(g->pool, end - from, pick_task, g);
    for (int w = from; w < end; w++)
        oto_search_advance(g->search[w]);
}

static int put_prompt(oto_whisper_generator *g, const oto_whisper_prompt *prompt, int language,
                      int lane, int at)
{
    int32_t tokens[OTO_WHISPER_MAX_PROMPT];

    oto_whisper_prompt_fill(g->d, prompt, language, tokens);
    for (int i = 0; i < prompt->n; i++)
        g->rows[at++] = (oto_whisper_row){.lane = lane,
                                          .pos = i,
                                          .token = tokens[i],
                                          .logits = i == prompt->sot || i == prompt->n - 1};
    return at;
}

/* n_pos: what prompt and text come to at most. */
static void read_prompts(oto_whisper_generator *g, const oto_whisper_prompt *prompt, int lanes,
                         int n_pos, oto_whisper_take *const *take, int n)
{
    int room = oto_whisper_max_rows(g->net), from = 0, at = 0;

    for (int w = 0; w < n; w++) {
        if (at + prompt->n > room) {
            run_prompts(g, prompt, take, from, w, at);
            from = w;
            at = 0;
        }
        for (int i = 0; i < lanes; i++)
            oto_whisper_lane_start(g->net, w * lanes + i, take[w]->window, n_pos);
        at = put_prompt(g, prompt, take[w]->language, w * lanes, at);
    }
    run_prompts(g, prompt, take, from, n, at);
}

/* ---- the passes after it: one token for each lane ---- */

/* Lets the lanes of window w take over from where the search continues them. */
static void move_lanes(oto_whisper_generator *g, int w, int lanes, bool from_prompt, int n_pos)
{
    int dst[OTO_SEARCH_MAX_LANES], src[OTO_SEARCH_MAX_LANES];
    const int *source = oto_search_sources(g->search[w]);
    int n = oto_search_alive(g->search[w]);
    bool moved = false;

    for (int i = 0; i < n; i++) {
        int from = from_prompt ? 0 : source[i];
        dst[i] = w * lanes + i;
        src[i] = w * lanes + from;
        moved |= from != i;
    }
    if (moved)
        oto_whisper_lanes_move(g->net, dst, src, n, n_pos);
}

/* Rows of all living lanes; returns their number. */
static int put_tokens(oto_whisper_generator *g, const oto_whisper_prompt *prompt, int lanes,
                      bool from_prompt, int n)
{
    int at = 0;

    for (int w = 0; w < n; w++) {
        int n_alive = oto_search_alive(g->search[w]), n_tokens = 0;
        for (int i = 0; i < n_alive; i++) {
            const int32_t *tokens = oto_search_tokens(g->search[w], i, &n_tokens);
            int pos = prompt->n + n_tokens - 1;
            if (i == 0)
                move_lanes(g, w, lanes, from_prompt, pos);
            g->picks[at] = (struct pick){g->search[w], i, 1, NULL};
            g->rows[at++] = (oto_whisper_row){
                .lane = w * lanes + i, .pos = pos, .token = tokens[n_tokens - 1], .logits = true};
        }
    }
    return at;
}

static bool step(oto_whisper_generator *g, const oto_whisper_prompt *prompt, int lanes,
                 bool from_prompt, int n)
{
    int n_rows = put_tokens(g, prompt, lanes, from_prompt, n);
    if (n_rows == 0)
        return false;
    float *logits = pass(g, n_rows);
    for (int i = 0; i < n_rows; i++)
        g->picks[i].logits = logits + (size_t)i * (size_t)g->d->n_vocab;
    oto_pool_run(g->pool, n_rows, pick_task, g);
    for (int w = 0; w < n; w++)
        if (oto_search_alive(g->search[w]) > 0)
            oto_search_advance(g->search[w]);
    return true;
}

bool oto_whisper_generate(oto_whisper_generator *g, const oto_whisper_prompt *prompt,
                          const oto_whisper_rules *rules, const oto_search_options *search,
                          oto_whisper_take *const *take, int n, const oto_stop *stop)
{
    oto_search_options o = *search;

    o.eot = g->d->eot;
    o.lanes = OTO_MIN(OTO_MAX(o.lanes, 1), g->max_beam);
    /* The prompt's last token is fed with the first step. */
    o.max_tokens = OTO_MIN(OTO_WHISPER_MAX_TOKENS, OTO_WHISPER_CTX - (prompt->n - 1));
    g->rules = rules;
    for (int w = 0; w < n; w++)
        oto_search_start(g->search[w], &o);
    if (n > 0)
        read_prompts(g, prompt, o.lanes, prompt->n - 1 + o.max_tokens, take, n);
    for (bool from_prompt = true; step(g, prompt, o.lanes, from_prompt, n); from_prompt = false)
        if (oto_stopped(stop))
            return false;
    for (int w = 0; w < n; w++) {
        const int32_t *best = oto_search_best(g->search[w], &take[w]->n, &take[w]->sum_log_prob);
        memcpy(take[w]->tokens, best, (size_t)take[w]->n * sizeof *best);
    }
    return true;
}

void oto_whisper_languages(oto_whisper_generator *g, const int *window, int n, int *language,
                           float *probability)
{
    if (n == 0)
        return;
    for (int i = 0; i < n; i++) {
        oto_whisper_lane_start(g->net, i * g->max_beam, window[i], 1);
        g->rows[i] = (oto_whisper_row){
            .lane = i * g->max_beam, .pos = 0, .token = g->d->sot, .logits = true};
    }
    const float *logits = pass(g, n);
    for (int i = 0; i < n; i++)
        language[i] =
            oto_whisper_language(g->d, logits + (size_t)i * (size_t)g->d->n_vocab, &probability[i]);
}
