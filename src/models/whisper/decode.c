/* Windows to segments: hear (spectrogram, encoder), find the language, decode at rising
 * temperatures until the text stands up to its thresholds, and turn tokens into segments. Each
 * window goes its own way through these stages; those that are being decoded share the passes.
 *
 * What keeps invented text out, in order: a window without any change in its sound is not decoded
 * at all; one that the model itself calls no speech, and is unsure about, is dropped; text that
 * repeats itself (zlib's ratio, or a loop of tokens) or is improbable is decoded again at the next
 * temperature; and what has failed at all of them is dropped where the model doubts it. */
#include "models/whisper/decode.h"
#include "features/features.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

/* Below three steps of 16-bit sound there are no words. */
#define SILENCE_PEAK 1e-4f
/* Frames of silence heard behind the sound: of a window that is at least half full, and of others.
 */
#define TAIL       50
#define SHORT_TAIL 100

struct attempt {
    oto_whisper_generated take;
    float temperature, avg_log_prob, ratio;
    bool loops;
    int rank; /* see rank_of */
};

enum stage { FREE, LISTENS, DECODES, ENDED };

/* In its place, which is its slot in the network's state. */
struct window {
    enum stage stage;
    oto_asr_options o;
    oto_arena *a; /* where its results live */
    int rc;       /* of what went wrong on the way, with its error */
    oto_err error;
    int64_t ms;
    int n_frames; /* of the spectrogram, that hold sound */
    bool heard;   /* else there is nothing in it */
    bool settled; /* `best` passed the thresholds */
    bool looped;  /* an attempt was probable, but a loop */
    bool words;   /* are asked for */
    int n_attempts;
    int language;
    float language_probability;
    oto_whisper_prompt prompt;
    struct attempt last, best;
};

struct state {
    const oto_whisper *model;
    const oto_whisper_dims *d;
    const oto_tokens *tokens;
    int max_batch, max_beam;
    oto_pool *pool;
    oto_whisper_state *net;
    oto_whisper_generator *generator;
    oto_logmel *logmel;
    float *mel; /* [3000][n_mels] */
    oto_squeeze *squeeze;
    oto_whisper_aligner *aligner;
    struct window *window; /* [max_batch] */
    oto_asr_stats stats;
};

/* ---- new ---- */

/* All but the network's state. */
static int take_buffers(struct state *s, oto_arena *a, oto_err *e)
{
    size_t n = (size_t)s->max_batch, n_mels = (size_t)s->d->n_mels;
    int rc;

    if ((rc = oto_logmel_new(s->d->n_mels, oto_pool_threads(s->pool), a, &s->logmel, e)) != 0 ||
        (rc = oto_arena_get(a, OTO_LOGMEL_FRAMES * n_mels, sizeof(float), &s->mel, e)) != 0 ||
        (rc = oto_squeeze_new(a, &s->squeeze, e)) != 0 ||
        (rc = oto_whisper_aligner_new(a, &s->aligner, e)) != 0 ||
        (rc = oto_arena_get(a, n, sizeof *s->window, &s->window, e)) != 0)
        return rc;
    memset(s->window, 0, n * sizeof *s->window);
    return 0;
}

static int check_sizes(int max_batch, int max_beam, oto_err *e)
{
    if (max_batch < 1 || max_batch > 1024 || max_beam < 1 || max_beam > OTO_SEARCH_MAX_LANES)
        return oto_fail(e, OTO_E_USAGE, "batch %d (1 to 1024), beam %d (1 to %d)", max_batch,
                        max_beam, OTO_SEARCH_MAX_LANES);
    return 0;
}

int oto_whisper_asr_new(const void *impl, int max_batch, int max_beam, oto_pool *pool, oto_arena *a,
                        void **state, oto_err *e)
{
    struct state *s;
    int rc;

    if ((rc = check_sizes(max_batch, max_beam, e)) != 0 ||
        (rc = oto_arena_get(a, 1, sizeof *s, &s, e)) != 0)
        return rc;
    memset(s, 0, sizeof *s);
    s->model = impl;
    s->d = oto_whisper_dims_get(impl);
    s->tokens = oto_whisper_tokens(impl);
    s->max_batch = max_batch;
    s->max_beam = max_beam;
    s->pool = pool;
    if ((rc = oto_whisper_state_new(impl, max_batch, max_batch * max_beam, pool, a, &s->net, e)) !=
            0 ||
        (rc = oto_whisper_generator_new(s->d, s->net, pool, max_batch, max_beam, a, &s->generator,
                                        e)) != 0 ||
        (rc = take_buffers(s, a, e)) != 0)
        return rc;
    *state = s;
    return 0;
}

size_t oto_whisper_asr_bytes(const void *impl, int max_batch, int max_beam)
{
    /* Buffers are a fraction of what follows; rows and picks are counted generously. */
    const size_t fixed = (size_t)6 << 20, per_window = sizeof(struct window) + 256;
    size_t n = (size_t)max_batch, lanes = n * (size_t)max_beam;

    if (check_sizes(max_batch, max_beam, NULL) != 0)
        return 0;
    return oto_whisper_state_bytes(impl, max_batch, max_batch * max_beam) + fixed + n * per_window +
           lanes * 4096 + sizeof(struct state);
}

void oto_whisper_asr_stats(const void *state, oto_asr_stats *out)
{
    const struct state *s = state;

    *out = s->stats;
    oto_whisper_generator_stats(s->generator, &out->steps, &out->lanes);
}

/* ---- hearing ---- */

static bool is_silent(const float *pcm, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fabsf(pcm[i]) > SILENCE_PEAK)
            return false;
    return true;
}

/* Time of a stage: from `start` to now. */
typedef struct {
    double wall, core;
} clock_pair;

static clock_pair now(void)
{
    return (clock_pair){oto_now_s(), oto_cpu_s()};
}

static void lap(const char *what, clock_pair start, double *wall_s, double *core_s)
{
    clock_pair end = now();
    *wall_s += end.wall - start.wall;
    *core_s += end.core - start.core;
    oto_trace("model", what, start.wall);
}

/* The encoder was trained on 30 s, the rest silence. A window that is at least half full does as
 * well with a second of that (docs/speed.md). A short one does not, it is taken for the beginning
 * of more; but behind two seconds every fourth frame of the silence does. f32 and bf16 stay with
 * the definition. */
static bool encode(struct state *s, int i, const struct window *w, const oto_stop *stop)
{
    const int sound = (w->n_frames + 1) / 2;

    if (s->d->compute != OTO_COMPUTE_I8)
        return oto_whisper_encode(s->net, i, s->mel, OTO_WHISPER_FRAMES, false, stop);
    if (sound < OTO_WHISPER_FRAMES / 2)
        return oto_whisper_encode(s->net, i, s->mel, (sound + SHORT_TAIL + 15) / 16 * 16, true,
                                  stop);
    return oto_whisper_encode(s->net, i, s->mel, OTO_MIN(sound + TAIL, OTO_WHISPER_FRAMES), false,
                              stop);
}

static int stopped(oto_err *e)
{
    return oto_fail(e, OTO_E_CANCELLED, "cancelled");
}

static int hear(struct state *s, int at, const oto_asr_window *in, oto_err *e)
{
    struct window *w = &s->window[at];
    size_t n = OTO_MIN(in->n, (size_t)480000);
    clock_pair start = now();
    bool done;

    w->ms = (int64_t)(n / 16);
    if (!is_silent(in->pcm, n)) {
        w->n_frames = oto_logmel_run(s->logmel, s->pool, in->pcm, n, s->mel);
        w->heard = oto_whisper_lively(s->mel, w->n_frames, s->d->n_mels);
    }
    lap("front end", start, &s->stats.features_s, &s->stats.features_core_s);
    s->stats.windows++;
    if (!w->heard)
        return 0;
    start = now();
    done = encode(s, at, w, &w->o.stop);
    lap("encodes", start, &s->stats.encoder_s, &s->stats.encoder_core_s);
    return done ? 0 : stopped(e);
}

/* ---- language ---- */

/* Given, or -1: to be found. */
static int given_language(const struct state *s, const oto_asr_options *o, int *out, oto_err *e)
{
    *out = -1;
    if (!s->d->multilingual)
        *out = oto_language_index("en");
    else if (o->language[0] != '\0') {
        *out = oto_language_index(o->language);
        if (*out < 0 || *out >= s->d->n_langs)
            return oto_fail(e, OTO_E_USAGE, "language %s: this model does not know it",
                            o->language);
    }
    return 0;
}

/* ---- attempts ---- */

static int measure(struct state *s, struct attempt *t, oto_arena *job, oto_err *e)
{
    oto_mark mark = oto_arena_mark(job);
    const char *text;
    size_t n;
    int rc;

    t->avg_log_prob = t->take.sum_log_prob / (float)(t->take.n + 1);
    if ((rc = oto_whisper_text(s->d, s->tokens, t->take.tokens, t->take.n, job, &text, e)) != 0)
        return rc;
    text += strspn(text, " \t\n\r\v\f");
    for (n = strlen(text); n && strchr(" \t\n\r\v\f", text[n - 1]) != NULL;)
        n--;
    t->ratio = oto_squeeze_ratio(s->squeeze, text, n);
    t->loops = oto_whisper_loops(t->take.tokens, t->take.n, s->d->eot);
    oto_arena_rollback(job, mark);
    return 0;
}

/* Menus, lists and prayers repeat themselves without being a fault of the decoder, and sampling
 * them anew makes them worse. Text that is compressible passes when the model is sure of it, it is
 * not far above the threshold, and no group of tokens follows itself again and again. */
static bool plainly_spoken(const struct attempt *t, const oto_asr_options *o)
{
    return !t->loops && t->avg_log_prob > 0.5f * o->log_prob_threshold &&
           t->ratio < 1.5f * o->compression_ratio_threshold;
}

/* What a failed attempt is worth: 3 probable text, 2 not very improbable text, 1 probable but a
 * loop, 0 improbable. */
static int rank_of(const struct attempt *t, const oto_asr_options *o)
{
    if (t->avg_log_prob < o->log_prob_threshold)
        return !t->loops && t->avg_log_prob > 1.5f * o->log_prob_threshold ? 2 : 0;
    return t->loops ? 1 : 3;
}

/* Takes the window's last attempt as its best, unless an earlier one that failed was better. */
static void weigh(struct window *w)
{
    const oto_asr_options *o = &w->o;
    struct attempt *t = &w->last;
    bool improbable = t->avg_log_prob < o->log_prob_threshold;
    bool silence = improbable && t->take.no_speech > o->no_speech_threshold;
    bool repeats = t->loops || t->ratio > o->compression_ratio_threshold;

    w->settled = silence || (!improbable && (!repeats || plainly_spoken(t, o)));
    t->rank = rank_of(t, o);
    w->looped = w->looped || t->rank == 1;
    if (w->settled || w->n_attempts == 0 || t->rank > w->best.rank ||
        (t->rank == w->best.rank && t->avg_log_prob > w->best.avg_log_prob))
        w->best = *t;
    w->n_attempts++;
}

/* Begins the next attempt. */
static void attempt(struct state *s, int at)
{
    struct window *w = &s->window[at];
    const oto_asr_options *o = &w->o;
    const oto_whisper_rules rules = {
        .dims = s->d,
        .timestamps = o->timestamps,
        .suppress_default = o->suppress_default,
        .suppress_blank = o->suppress_blank,
        .max_initial = (int)lroundf(o->max_initial_timestamp * 1000.0f / OTO_WHISPER_STEP_MS)};
    const float temperature = o->n_temperatures > 0 ? o->temperature[w->n_attempts] : 0.0f;
    const oto_search_options search = {.lanes = temperature > 0 ? o->best_of : o->beam,
                                       .temperature = temperature,
                                       .patience = o->patience,
                                       .length_penalty = o->length_penalty,
                                       .seed =
                                           o->seed + (uint64_t)w->n_attempts * 0x9e3779b97f4a7c15u};

    w->stage = DECODES;
    w->last.temperature = temperature;
    s->stats.fallbacks += w->n_attempts > 0;
    oto_whisper_generate(s->generator, at, &w->prompt, w->language, &rules, &search, &w->last.take);
}

/* An attempt is over. */
static void judge(struct state *s, int at)
{
    struct window *w = &s->window[at];

    w->rc = measure(s, &w->last, w->a, &w->error);
    if (w->rc == 0)
        weigh(w);
    if (w->rc != 0 || w->settled || w->n_attempts >= OTO_MAX(w->o.n_temperatures, 1))
        w->stage = ENDED;
    else
        attempt(s, at);
}

/* Is the best attempt to be believed? Where the model hears no speech, only when it is sure of the
 * words nevertheless, and surer when they had to be drawn. What failed at every temperature is when
 * it is probable; or, where there is speech, a loop, or better what was said instead of one. */
static bool is_speech(const struct window *w)
{
    const oto_asr_options *o = &w->o;
    const struct attempt *t = &w->best;
    bool no_speech = t->take.no_speech > o->no_speech_threshold;
    float least = (t->temperature > 0 ? 0.5f : 1.0f) * o->log_prob_threshold;

    if (no_speech && !(t->avg_log_prob > least))
        return false;
    return w->settled || t->rank == 3 || (w->looped && t->rank > 0 && !no_speech);
}

/* ---- results ---- */

static int find_words(struct state *s, int at, oto_arena *scratch, oto_segment *segments, int n,
                      oto_err *e)
{
    const struct window *w = &s->window[at];
    const int lane = oto_whisper_generator_lane(s->generator, at);
    int32_t tokens[OTO_WHISPER_CTX];
    int n_start = s->d->multilingual ? 3 : 1, n_text = 0, rc;
    int n_frames = OTO_MIN(w->n_frames / 2, OTO_WHISPER_FRAMES);
    int32_t *text = tokens + n_start + 1;
    float *weights, *log_prob;
    oto_mark mark = oto_arena_mark(scratch);

    memcpy(tokens, w->prompt.tokens + w->prompt.sot, (size_t)n_start * sizeof *tokens);
    if (s->d->multilingual)
        tokens[1] = s->d->lang_first + w->language;
    tokens[n_start] = s->d->no_timestamps;
    for (int k = 0; k < n; k++)
        for (int j = 0; j < segments[k].n_tokens; j++)
            if (segments[k].tokens[j] < s->d->eot)
                text[n_text++] = segments[k].tokens[j];
    text[n_text] = s->d->eot;
    if (n_text == 0 || n_frames == 0)
        return 0;
    if ((rc = oto_whisper_align(s->net, lane, at, tokens, n_start + n_text + 2, n_frames, scratch,
                                &weights, &log_prob, e)) != 0)
        return rc;
    oto_whisper_words_find(s->aligner, s->tokens, segments[0].language, text, n_text, weights,
                           s->d->n_alignment_heads, n_frames, log_prob, n_start);
    oto_arena_rollback(scratch, mark);
    return oto_whisper_words_place(s->aligner, s->d, s->tokens, segments, n, w->a, e);
}

/* Drops segments without text or length; keeps times inside the window. */
static int tidy(const struct window *w, oto_segment *segments, int n)
{
    int kept = 0;
    for (int k = 0; k < n; k++) {
        oto_segment g = segments[k];
        if (g.start_ms == g.end_ms || oto_whisper_is_blank(g.text))
            continue;
        g.start_ms = OTO_MIN(g.start_ms, w->ms);
        g.end_ms = OTO_MAX(OTO_MIN(g.end_ms, w->ms), g.start_ms);
        segments[kept++] = g;
    }
    return kept;
}

static int report(struct state *s, int at, oto_arena *scratch, oto_asr_result *out, oto_err *e)
{
    struct window *w = &s->window[at];
    const struct attempt *t = &w->best;
    oto_arena *job = w->a;
    oto_whisper_cut cuts[OTO_WHISPER_MAX_TOKENS];
    int32_t *tokens;
    int n, rc;

    *out = (oto_asr_result){.next_ms = w->ms, .language_probability = w->language_probability};
    if (w->language >= 0)
        snprintf(out->language, sizeof out->language, "%s", oto_language_code(w->language));
    if (!w->heard || t->take.n == 0)
        return 0;
    if ((rc = oto_arena_get(job, (size_t)t->take.n, sizeof *tokens, &tokens, e)) != 0)
        return rc;
    memcpy(tokens, t->take.tokens, (size_t)t->take.n * sizeof *tokens);
    out->raw_tokens = tokens;
    out->n_raw = t->take.n;
    if (!is_speech(w))
        return 0;
    n = oto_whisper_cut_tokens(tokens, t->take.n, s->d->timestamp_first, w->ms, cuts,
                               &out->next_ms);
    if ((rc = oto_arena_get(job, (size_t)n, sizeof *out->segments, &out->segments, e)) != 0)
        return rc;
    for (int k = 0; k < n; k++) {
        oto_segment *g = &out->segments[k];
        *g = (oto_segment){.start_ms = cuts[k].start_ms,
                           .end_ms = cuts[k].end_ms,
                           .tokens = tokens + cuts[k].first,
                           .n_tokens = cuts[k].end - cuts[k].first,
                           .temperature = t->temperature,
                           .avg_logprob = t->avg_log_prob,
                           .compression_ratio = t->ratio,
                           .no_speech_prob = t->take.no_speech};
        memcpy(g->language, out->language, sizeof g->language);
        if ((rc = oto_whisper_text(s->d, s->tokens, g->tokens, g->n_tokens, job, &g->text, e)) != 0)
            return rc;
    }
    if (w->o.words || w->words) {
        clock_pair start = now();
        if ((rc = find_words(s, at, scratch, out->segments, n, e)) != 0)
            return rc;
        lap("times words", start, &s->stats.words_s, &s->stats.words_core_s);
    }
    out->n_segments = tidy(w, out->segments, n);
    return 0;
}

/* ---- the ways of a window ---- */

static int check_options(const struct state *s, const oto_asr_options *o, oto_err *e)
{
    if (o->beam < 1 || o->beam > s->max_beam)
        return oto_fail(e, OTO_E_USAGE, "beam %d: 1 to %d", o->beam, s->max_beam);
    if (o->n_temperatures < 0 || o->n_temperatures > (int)OTO_COUNT(o->temperature))
        return oto_fail(e, OTO_E_USAGE, "%d temperatures: at most %zu", o->n_temperatures,
                        OTO_COUNT(o->temperature));
    return 0;
}

int oto_whisper_asr_begin(void *state, int at, const oto_asr_options *o, const oto_asr_window *in,
                          oto_arena *a, oto_err *e)
{
    struct state *s = state;
    struct window *w = &s->window[at];
    int rc;

    memset(w, 0, offsetof(struct window, prompt));
    w->o = *o;
    w->a = a;
    w->words = in->words;
    if ((rc = check_options(s, o, e)) != 0 || (rc = given_language(s, o, &w->language, e)) != 0 ||
        (rc = oto_whisper_prompt_make(s->d, s->tokens, o, a, &w->prompt, e)) != 0 ||
        (rc = hear(s, at, in, e)) != 0)
        return rc;
    w->language_probability = w->language >= 0 ? 1.0f : 0.0f;
    if (!w->heard)
        w->stage = ENDED;
    else if (w->language >= 0)
        attempt(s, at);
    else {
        w->stage = LISTENS;
        oto_whisper_ask(s->generator, at, &w->last.take);
    }
    return 0;
}

void oto_whisper_asr_step(void *state)
{
    struct state *s = state;
    clock_pair start = now();

    oto_whisper_generator_pass(s->generator);
    for (int i = 0; i < s->max_batch; i++) {
        struct window *w = &s->window[i];

        if ((w->stage != LISTENS && w->stage != DECODES) || !oto_whisper_is_over(s->generator, i))
            continue;
        if (w->stage == DECODES) {
            judge(s, i);
            continue;
        }
        w->language = w->last.take.language;
        w->language_probability = w->last.take.language_probability;
        attempt(s, i);
    }
    lap("decodes", start, &s->stats.decoder_s, &s->stats.decoder_core_s);
}

bool oto_whisper_asr_ended(const void *state, int at)
{
    return ((const struct state *)state)->window[at].stage == ENDED;
}

int oto_whisper_asr_end(void *state, int at, oto_arena *scratch, oto_asr_result *out, oto_err *e)
{
    struct state *s = state;
    struct window *w = &s->window[at];

    w->stage = FREE;
    if (w->rc != 0)
        return oto_fail(e, w->rc, "%s", w->error.text);
    return report(s, at, scratch, out, e);
}

void oto_whisper_asr_drop(void *state, int at)
{
    struct state *s = state;

    oto_whisper_drop(s->generator, at);
    s->window[at].stage = FREE;
}
