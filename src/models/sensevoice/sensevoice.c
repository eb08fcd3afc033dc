/* sensevoice: windows of sound to words with times, and the family's descriptor.
 *
 * Decoding is greedy: of each row the most probable token, neighbours that are alike once, blanks
 * dropped. The path that gives is the most probable of all that spell the result, so a token's time
 * is that of its rows and needs no alignment of its own. The first tokens are tags: language,
 * emotion, event and form are told in fields, not in the text. */
#include "models/sensevoice/sensevoice.h"

#include <math.h>
#include <string.h>

#define BLANK 0

typedef struct {
    int32_t id;
    int first, end; /* rows, those that ask included */
    float log_prob;
} token;

typedef struct {
    const sensevoice *m;
    oto_pool *pool;
    oto_heard_rows heard;
    oto_sanm sanm;
    float *logits;   /* [SV_LOGITS][n_vocab] */
    int32_t *best;   /* [SV_ROWS] */
    float *log_prob; /* [SV_ROWS]; of blanks 0 */
    int *end;        /* [max_batch] */
    oto_asr_stats stats;
} state;

/* ---- life ---- */

static size_t asr_bytes(const void *impl, int max_batch, int max_beam)
{
    const sensevoice *m = impl;

    (void)max_beam;
    return sizeof(state) + oto_heard_bytes(max_batch) + oto_sanm_bytes(&m->sanm, SV_ROWS) +
           SV_LOGITS * (size_t)m->n_vocab * sizeof(float) +
           SV_ROWS * (sizeof(int32_t) + sizeof(float)) + (size_t)max_batch * sizeof(int) + 4096;
}

static int asr_new(const void *impl, int max_batch, int max_beam, oto_pool *pool, oto_arena *a,
                   void **out, oto_err *e)
{
    const sensevoice *m = impl;
    state *s;
    int rc = oto_arena_get(a, 1, sizeof *s, &s, e);

    (void)max_beam;
    if (rc != 0)
        return rc;
    *s = (state){.m = m, .pool = pool};
    if ((rc = oto_heard_new(m->shift, m->scale, max_batch, pool, a, &s->heard, e)) != 0 ||
        (rc = oto_sanm_new(&m->sanm, SV_ROWS, pool, a, &s->sanm, e)) != 0 ||
        (rc = oto_arena_get(a, SV_LOGITS * (size_t)m->n_vocab, sizeof(float), &s->logits, e)) !=
            0 ||
        (rc = oto_arena_get(a, SV_ROWS, sizeof *s->best, &s->best, e)) != 0 ||
        (rc = oto_arena_get(a, SV_ROWS, sizeof *s->log_prob, &s->log_prob, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)max_batch, sizeof *s->end, &s->end, e)) != 0)
        return rc;
    s->sanm.end = s->end;
    *out = s;
    return 0;
}

/* ---- network ---- */

static int language_row(const char *language)
{
    static const struct {
        const char *name;
        int row;
    } rows[] = {{"zh", 3}, {"en", 4}, {"yue", 7}, {"ja", 11}, {"ko", 12}};

    for (size_t i = 0; i < OTO_COUNT(rows); i++)
        if (strcmp(language, rows[i].name) == 0)
            return rows[i].row;
    return 0; /* whatever it hears */
}

static void load(state *s, int first, int n, const char *language)
{
    const int asks[SV_ASKS] = {language_row(language), 1, 2, s->m->form};
    float *to = s->sanm.in;

    for (int i = first; i < first + n; i++) {
        const size_t size = (size_t)s->heard.n_rows[i] * SV_IN;

        for (int j = 0; j < SV_ASKS; j++, to += SV_IN)
            memcpy(to, s->m->embed + (size_t)asks[j] * SV_IN, SV_IN * sizeof *to);
        memcpy(to, s->heard.rows + (size_t)i * OTO_LFR_ROWS * OTO_LFR_DIM, size * sizeof *to);
        to += size;
    }
    s->sanm.n_seq = n;
}

typedef struct {
    state *s;
    int from;
} picking;

static void pick_task(void *arg, int task, int thread)
{
    const picking *p = arg;
    const int n_vocab = p->s->m->n_vocab;
    const float *row = p->s->logits + (size_t)task * (size_t)n_vocab;
    const int best = oto_k()->argmax_f32(row, n_vocab);

    (void)thread;
    p->s->best[p->from + task] = best;
    p->s->log_prob[p->from + task] =
        best == BLANK ? 0 : row[best] - oto_k()->logsumexp_f32(row, n_vocab);
}

/* False: stopped. */
static bool recognise(state *s)
{
    const sensevoice *m = s->m;
    const int rows = s->end[s->sanm.n_seq - 1];

    oto_sanm_place(&s->sanm);
    if (!oto_sanm_run(&s->sanm, m->enc, m->n_enc, true, &m->enc_norm) ||
        !oto_sanm_run(&s->sanm, m->enc + m->n_enc, m->n_tp, false, &m->tp_norm))
        return false;
    for (int from = 0; from < rows; from += SV_LOGITS) {
        const int n = OTO_MIN(SV_LOGITS, rows - from);
        picking p = {.s = s, .from = from};

        oto_dense_run(s->pool, &m->out, s->sanm.x + (size_t)from * SV_D, n, OTO_ACT_NONE, NULL,
                      s->logits);
        oto_pool_run(s->pool, n, pick_task, &p);
    }
    return true;
}

/* ---- results ---- */

/* Runs of one token, without blanks. */
static int collapse(const state *s, int from, int to, token *out)
{
    int n = 0;

    for (int i = from; i < to;) {
        token t = {.id = s->best[i], .first = i - from, .log_prob = s->log_prob[i]};

        for (i++; i < to && s->best[i] == t.id; i++)
            t.log_prob = OTO_MAX(t.log_prob, s->log_prob[i]);
        t.end = i - from;
        if (t.id != BLANK)
            out[n++] = t;
    }
    return n;
}

typedef struct {
    char language[8], emotion[16], event[16];
} tags;

static bool is_one_of(oto_slice s, const char *const *names, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strlen(names[i]) == s.n && memcmp(names[i], s.p, s.n) == 0)
            return true;
    return false;
}

static void keep(oto_slice s, char *out, size_t room)
{
    if (out[0] == '\0')
        snprintf(out, room, "%.*s", (int)s.n, s.p);
}

/* "<|zh|>" and its like: of each kind the first counts. False: it is text. */
static bool take_tag(oto_slice piece, tags *t)
{
    static const char *const languages[] = {"zh", "en", "yue", "ja", "ko"};
    static const char *const emotions[] = {"HAPPY",   "SAD",       "ANGRY",    "NEUTRAL",
                                           "FEARFUL", "DISGUSTED", "SURPRISED"};
    static const char *const others[] = {"nospeech", "withitn",   "woitn",        "EMO_UNKNOWN",
                                         "EMO_UNK",  "Event_UNK", "SPECIAL_TOKEN"};
    oto_slice s = {piece.p + 2, piece.n - 4};

    if (piece.n < 5 || memcmp(piece.p, "<|", 2) != 0 || memcmp(piece.p + piece.n - 2, "|>", 2) != 0)
        return false;
    if (is_one_of(s, languages, OTO_COUNT(languages)))
        keep(s, t->language, sizeof t->language);
    else if (is_one_of(s, emotions, OTO_COUNT(emotions)))
        keep(s, t->emotion, sizeof t->emotion);
    else if (!is_one_of(s, others, OTO_COUNT(others)))
        keep(s, t->event, sizeof t->event);
    return true;
}

/* Does the language write words apart? */
static bool is_apart(const tags *t)
{
    return strcmp(t->language, "en") == 0 || strcmp(t->language, "ko") == 0;
}

static int64_t time_of(int row, int64_t length_ms)
{
    const int64_t ms = (int64_t)OTO_MAX(row - SV_ASKS, 0) * OTO_LFR_MS - OTO_LFR_MS / 2;

    return OTO_MIN(OTO_MAX(ms, 0), length_ms);
}

static int give(const state *s, int i, const oto_asr_window *w, oto_arena *job, oto_asr_result *out,
                oto_err *e)
{
    const int from = i > 0 ? s->end[i - 1] : 0, rows = s->end[i] - from;
    const int64_t length = (int64_t)w->n / 16;
    oto_timed_piece *pieces;
    oto_word *words;
    token *tokens;
    int32_t *ids;
    float *log_prob;
    tags t = {.language = ""};
    int n, n_pieces = 0, n_words, rc;

    if ((rc = oto_arena_get(job, (size_t)rows, sizeof *tokens, &tokens, e)) != 0 ||
        (rc = oto_arena_get(job, (size_t)rows, sizeof *pieces, &pieces, e)) != 0 ||
        (rc = oto_arena_get(job, (size_t)rows, sizeof *ids, &ids, e)) != 0 ||
        (rc = oto_arena_get(job, (size_t)rows, sizeof *log_prob, &log_prob, e)) != 0)
        return rc;
    n = collapse(s, from, from + rows, tokens);
    for (int k = 0; k < n; k++) {
        const oto_slice piece = s->m->pieces[tokens[k].id];

        ids[k] = tokens[k].id;
        log_prob[k] = tokens[k].log_prob;
        if (!take_tag(piece, &t))
            pieces[n_pieces++] = (oto_timed_piece){.text = piece,
                                                   .start_ms = time_of(tokens[k].first, length),
                                                   .end_ms = time_of(tokens[k].end, length),
                                                   .probability = expf(tokens[k].log_prob)};
    }
    if ((rc = oto_pieces_join_sp(pieces, n_pieces, is_apart(&t), job, &words, &n_words, e)) != 0)
        return rc;
    *out = (oto_asr_result){.language_probability = t.language[0] != '\0'};
    memcpy(out->language, t.language, sizeof t.language);
    rc = oto_utterance_result(words, n_words, log_prob, n, ids, w, job, out, e);
    for (int k = 0; k < out->n_segments && rc == 0; k++) {
        memcpy(out->segments[k].language, t.language, sizeof t.language);
        memcpy(out->segments[k].emotion, t.emotion, sizeof t.emotion);
        memcpy(out->segments[k].event, t.event, sizeof t.event);
    }
    return rc;
}

static int asr_run(void *state_, const oto_asr_options *o, const oto_asr_window *w, int n,
                   oto_arena *const *arena, oto_asr_result *out, oto_err *e)
{
    state *s = state_;
    oto_asr_stats *t = &s->stats;
    oto_lap lap;
    bool done;
    int rc = 0;

    s->sanm.stop = o->stop;
    oto_lap_start(&lap);
    oto_heard_run(&s->heard, w, n);
    oto_lap_take(&lap, "hears", &t->features_s, &t->features_core_s);
    for (int i = 0, got; i < n && rc == 0; i += got) {
        got = oto_heard_group(&s->heard, i, n, SV_ASKS, SV_ROWS, s->end);
        load(s, i, got, o->language);
        done = recognise(s);
        oto_lap_take(&lap, "encodes", &t->encoder_s, &t->encoder_core_s);
        if (!done)
            return oto_fail(e, OTO_E_CANCELLED, "cancelled");
        for (int k = 0; k < got && rc == 0; k++)
            rc = give(s, k, &w[i + k], arena[i + k], &out[i + k], e);
        oto_lap_take(&lap, "decodes", &t->decoder_s, &t->decoder_core_s);
        t->windows += got;
        t->lanes += got;
        t->steps++;
    }
    return rc;
}

static void asr_stats(const void *s, oto_asr_stats *out)
{
    *out = ((const state *)s)->stats;
}

const oto_family oto_family_sensevoice = {
    .name = "sensevoice",
    .task = OTO_TASK_ASR,
    .matches = oto_sv_matches,
    .pack = oto_sv_pack,
    .open = oto_sv_open,
    .close = oto_sv_close,
    .asr_bytes = asr_bytes,
    .asr_new = asr_new,
    .asr_run = asr_run,
    .asr_stats = asr_stats,
};
