/* paraformer: windows of sound to words with times, and the family's descriptor. */
#include "models/paraformer/paraformer.h"

#include <math.h>
#include <string.h>

#define MAX_TOKEN_MS 720 /* a longer one has silence before it (FunASR timestamp_tools) */

typedef struct {
    const paraformer *m;
    oto_heard_rows heard;
    pf_network net;
    oto_asr_stats stats;
} state;

static size_t asr_bytes(const void *impl, int max_batch, int max_beam)
{
    (void)max_beam;
    return sizeof(state) + oto_heard_bytes(max_batch) + oto_pf_network_bytes(impl, max_batch) +
           4096;
}

static int asr_new(const void *impl, int max_batch, int max_beam, oto_pool *pool, oto_arena *a,
                   void **out, oto_err *e)
{
    const paraformer *m = impl;
    state *s;
    int rc = oto_arena_get(a, 1, sizeof *s, &s, e);

    (void)max_beam;
    if (rc != 0)
        return rc;
    *s = (state){.m = m};
    if ((rc = oto_heard_new(m->shift, m->scale, max_batch, pool, a, &s->heard, e)) != 0 ||
        (rc = oto_pf_network_new(m, max_batch, pool, a, &s->net, e)) != 0)
        return rc;
    *out = s;
    return 0;
}

/* ---- results ---- */

/* Ids 0 to 2 are no text. */
static bool is_text(int32_t id)
{
    return id > 2;
}

/* A token ends where its weight is complete and begins where the one before ended. */
static void rough_spans(const state *s, int from, int count, pf_span *out)
{
    const int *fire = s->net.fire + from;

    for (int k = 0, n = 0; k < count; k++) {
        const int64_t end = (int64_t)(fire[k] + 1) * OTO_LFR_MS;
        const int64_t before = k > 0 ? (int64_t)(fire[k - 1] + 1) * OTO_LFR_MS : 0;

        if (is_text(s->net.ids[from + k]))
            out[n++] = (pf_span){OTO_MAX(before, end - MAX_TOKEN_MS), end};
    }
}

/* Times of a window's tokens that are text. */
static void find_spans(state *s, int i, int from, int count, int n_text, pf_span *out)
{
    const pf_network *n = &s->net;
    const int row = i > 0 ? n->n_rows[i - 1] : 0;

    if (!n->m->has_times ||
        !oto_pf_spans(n->timer.alpha + PF_UP * row, PF_UP * (n->n_rows[i] - row), count, n_text,
                      n->timer.fire, out))
        rough_spans(s, from, count, out);
}

static int give(state *s, int i, const oto_asr_window *w, oto_arena *job, oto_asr_result *out,
                oto_err *e)
{
    const pf_network *n = &s->net;
    const int from = i > 0 ? n->n_tokens[i - 1] : 0, count = n->n_tokens[i] - from;
    const int64_t length = (int64_t)w->n / 16;
    oto_timed_piece *pieces;
    oto_word *words;
    pf_span *spans;
    int32_t *ids;
    float *log_prob;
    int n_pieces = 0, n_words, rc;

    if ((rc = oto_arena_get(job, (size_t)count, sizeof *pieces, &pieces, e)) != 0 ||
        (rc = oto_arena_get(job, (size_t)count, sizeof *spans, &spans, e)) != 0 ||
        (rc = oto_arena_get(job, (size_t)count, sizeof *ids, &ids, e)) != 0 ||
        (rc = oto_arena_get(job, (size_t)count, sizeof *log_prob, &log_prob, e)) != 0)
        return rc;
    for (int k = 0; k < count; k++) {
        ids[k] = n->ids[from + k];
        log_prob[k] = n->log_prob[from + k];
        if (is_text(ids[k]))
            pieces[n_pieces++] =
                (oto_timed_piece){.text = s->m->pieces[ids[k]], .probability = expf(log_prob[k])};
    }
    find_spans(s, i, from, count, n_pieces, spans);
    for (int k = 0; k < n_pieces; k++) {
        pieces[k].end_ms = OTO_MAX(OTO_MIN(spans[k].end_ms, length), 0);
        pieces[k].start_ms = OTO_MAX(OTO_MIN(spans[k].start_ms, pieces[k].end_ms), 0);
    }
    if ((rc = oto_pieces_join(pieces, n_pieces, job, &words, &n_words, e)) != 0)
        return rc;
    *out = (oto_asr_result){.language = "zh", .language_probability = 1};
    return oto_utterance_result(words, n_words, log_prob, count, ids, w, job, out, e);
}

/* ---- running ---- */

static void load(state *s, int first, int n)
{
    float *to = s->net.sanm.in;

    for (int i = first; i < first + n; i++) {
        const size_t size = (size_t)s->heard.n_rows[i] * OTO_LFR_DIM;

        memcpy(to, s->heard.rows + (size_t)i * OTO_LFR_ROWS * OTO_LFR_DIM, size * sizeof *to);
        to += size;
    }
}

/* False: stopped. */
static bool run_network(state *s, int n)
{
    oto_asr_stats *t = &s->stats;
    oto_lap lap;
    bool done;

    oto_lap_start(&lap);
    done = oto_pf_encode(&s->net, n);
    oto_lap_take(&lap, "encodes", &t->encoder_s, &t->encoder_core_s);
    if (done)
        done = oto_pf_decode(&s->net, n);
    oto_lap_take(&lap, "decodes", &t->decoder_s, &t->decoder_core_s);
    if (done && s->m->has_times) {
        oto_pf_time(&s->net, n);
        oto_lap_take(&lap, "words", &t->words_s, &t->words_core_s);
    }
    return done;
}

static int run_group(state *s, int first, int n, const oto_asr_window *w, oto_arena *const *arena,
                     oto_asr_result *out, oto_err *e)
{
    oto_asr_stats *t = &s->stats;
    int rc = 0;

    load(s, first, n);
    if (!run_network(s, n))
        return oto_fail(e, OTO_E_CANCELLED, "cancelled");
    for (int i = 0; i < n && rc == 0; i++)
        rc = give(s, i, &w[first + i], arena[first + i], &out[first + i], e);
    t->windows += n;
    t->steps++;
    t->lanes += n;
    return rc;
}

static int asr_run(void *state_, const oto_asr_options *o, const oto_asr_window *w, int n,
                   oto_arena *const *arena, oto_asr_result *out, oto_err *e)
{
    state *s = state_;
    oto_lap lap;
    int rc = 0;

    s->net.sanm.stop = o->stop;
    oto_lap_start(&lap);
    oto_pf_hot_set(&s->net, o->hotwords);
    oto_lap_take(&lap, "decodes", &s->stats.decoder_s, &s->stats.decoder_core_s);
    oto_heard_run(&s->heard, w, n);
    oto_lap_take(&lap, "hears", &s->stats.features_s, &s->stats.features_core_s);
    for (int i = 0, got; i < n && rc == 0; i += got) {
        got = oto_heard_group(&s->heard, i, n, 0, PF_ROWS, s->net.n_rows);
        rc = run_group(s, i, got, w, arena, out, e);
    }
    return rc;
}

static void asr_stats(const void *s, oto_asr_stats *out)
{
    *out = ((const state *)s)->stats;
}

const oto_family oto_family_paraformer = {
    .name = "paraformer",
    .task = OTO_TASK_ASR,
    .matches = oto_pf_matches,
    .pack = oto_pf_pack,
    .open = oto_pf_open,
    .close = oto_pf_close,
    .asr_bytes = asr_bytes,
    .asr_new = asr_new,
    .asr_run = asr_run,
    .asr_stats = asr_stats,
};
