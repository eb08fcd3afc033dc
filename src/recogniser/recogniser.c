/* A recording, end to end:
 *
 *   decoder child -> PCM blocks -> VAD -> segments -> slicer -> windows -> model -> segments of
 * text
 *                         \-> ring (70 s) -----------/
 *
 * Everything it needs is taken when a recogniser is made; a job only resets. The length of a
 * recording changes nothing but the time it takes. */
#include "recogniser/recogniser.h"
#include "recogniser/parts.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The VAD's longest segment, its end silence and its look-back, with room to spare. */
#define MAX_SEGMENT_MS 60000
#define RING_SAMPLES   ((int64_t)(MAX_SEGMENT_MS + 10000) * OTO_MS)
#define MAX_WINDOW     ((int64_t)OTO_MAX_WINDOW_MS * OTO_MS)
/* Address space of what a job opens, mostly the VAD's state; it touches what it needs. */
#define JOB_BYTES ((size_t)64 << 20)
/* What a thread touches of its scratch: one head's keys and values, and rows. */
#define SCRATCH_BYTES ((size_t)1 << 20)
#define DEFAULT_BATCH 6
/* Half seconds heard ahead of the model: a good part of what a run of it takes in. Recognisers that
 * share an engine listen while others use it. */
#define AHEAD        128
#define AHEAD_SHARED 64
#define DEFAULT_BEAM 5
/* What a job touches besides the plan below: stacks, the results of a batch, code pages. */
#define SLACK_BYTES ((size_t)8 << 20)
/* Code of the program and its libraries that becomes resident while a job runs. */
#define CODE_BYTES ((size_t)16 << 20)

struct oto_recogniser {
    oto_recogniser_options o;
    oto_engine *engine;         /* o.engine, or its own */
    oto_pool *vad_pool;         /* of the listener's thread alone: too little work to share */
    oto_pool *punc_pool;        /* of the calling thread alone; NULL: nothing to punctuate */
    oto_punctuator *punctuator; /* NULL with it */
    oto_arena *fixed;           /* buffers and ring */
    oto_arena *job;             /* what one job opens: decoder, VAD */
    oto_batch *batch;
    oto_slicer *slicer;
    oto_listener *listener;
    oto_finish *finish; /* NULL until a job asks for it */
};

void oto_job_defaults(oto_job_options *o)
{
    *o = (oto_job_options){.max_window_ms = OTO_MAX_WINDOW_MS};
    oto_asr_defaults(&o->asr);
    oto_vad_defaults(&o->vad);
    oto_media_defaults(&o->media);
}

/* ---- memory ---- */

static int ahead(const oto_recogniser_options *o)
{
    return o->engine != NULL ? AHEAD_SHARED : AHEAD;
}

/* The model that punctuates, or NULL where there is nothing to do. */
static const oto_model *punctuation(const oto_recogniser_options *o)
{
    oto_model_info info;

    oto_model_info_get(o->asr, &info);
    return info.punctuates ? NULL : o->punc;
}

static size_t fixed_bytes(const oto_recogniser_options *o)
{
    const oto_model *punc = punctuation(o);

    return oto_batch_bytes(o->batch, MAX_WINDOW) + oto_slicer_bytes(RING_SAMPLES) +
           oto_listener_bytes(ahead(o)) + (punc != NULL ? oto_punctuator_bytes(punc) : 0) + 4096;
}

static size_t mapped_bytes(const oto_model *m)
{
    oto_model_info info;

    if (m == NULL)
        return 0;
    oto_model_info_get(m, &info);
    return info.bytes;
}

void oto_recogniser_defaults(oto_recogniser_options *o)
{
    if (o->engine != NULL) {
        const oto_engine_options *g = oto_engine_options_get(o->engine);

        o->asr = g->asr;
        o->threads = g->threads;
        o->batch = g->batch;
        o->max_beam = g->max_beam;
    }
    if (o->threads <= 0)
        o->threads = oto_cpu_count();
    if (o->batch <= 0)
        o->batch = DEFAULT_BATCH;
    if (o->max_beam <= 0)
        o->max_beam = DEFAULT_BEAM;
}

size_t oto_engine_bytes(const oto_recogniser_options *options)
{
    oto_recogniser_options o = *options;

    oto_recogniser_defaults(&o);
    return mapped_bytes(o.asr) + oto_asr_bytes(o.asr, o.batch, o.max_beam);
}

void oto_recogniser_plan(const oto_recogniser_options *options, size_t *engine_bytes,
                         size_t *recogniser_bytes)
{
    oto_recogniser_options o = *options;

    oto_recogniser_defaults(&o);
    *engine_bytes = oto_engine_bytes(&o) + mapped_bytes(o.vad) + mapped_bytes(punctuation(&o)) +
                    (size_t)o.threads * SCRATCH_BYTES + CODE_BYTES;
    *recogniser_bytes = fixed_bytes(&o) + SLACK_BYTES;
}

/* Resident bytes of a whole job at this batch. */
static size_t planned_bytes(const oto_recogniser_options *options, int batch)
{
    oto_recogniser_options o = *options;
    size_t engine, recogniser;

    o.batch = batch;
    oto_recogniser_plan(&o, &engine, &recogniser);
    return engine + recogniser;
}

/* Lowers the batch until a job fits the cap. What this process holds already counts as well, but
 * not the pages of files: the mapped weights are in the plan. */
static int fit(oto_recogniser_options *o, oto_err *e)
{
    const size_t own = oto_rss_anon_bytes();
    size_t least;

    if (o->memory_bytes == 0)
        return 0;
    while (o->batch > 1 && own + planned_bytes(o, o->batch) > o->memory_bytes)
        o->batch--;
    least = own + planned_bytes(o, 1);
    if (least > o->memory_bytes)
        return oto_fail(e, OTO_E_LIMIT,
                        "memory limit too small: %zu MiB given, needs at least %zu MiB",
                        o->memory_bytes >> 20, (least + (1 << 20) - 1) >> 20);
    return 0;
}

/* ---- life ---- */

static int check_tasks(const oto_recogniser_options *o, oto_err *e)
{
    oto_model_info info;

    oto_model_info_get(o->asr, &info);
    if (info.task != OTO_TASK_ASR)
        return oto_fail(e, OTO_E_USAGE, "a %s model does not recognise speech", info.family);
    if (o->vad != NULL) {
        oto_model_info_get(o->vad, &info);
        if (info.task != OTO_TASK_VAD)
            return oto_fail(e, OTO_E_USAGE, "a %s model does not detect speech", info.family);
    }
    if (o->punc != NULL) {
        oto_model_info_get(o->punc, &info);
        if (info.task != OTO_TASK_PUNC)
            return oto_fail(e, OTO_E_USAGE, "a %s model does not punctuate", info.family);
    }
    return 0;
}

static int make(oto_recogniser *r, oto_err *e)
{
    const oto_recogniser_options *o = &r->o;
    const oto_engine_options engine = {o->asr, o->threads, o->batch, o->max_beam, NULL};
    int rc;

    if (o->engine == NULL && (rc = oto_engine_new(&engine, &r->engine, e)) != 0)
        return rc;
    if (o->engine != NULL)
        r->engine = o->engine;
    if ((rc = oto_pool_new(1, OTO_POOL_SCRATCH_BYTES, &r->vad_pool, e)) != 0 ||
        (rc = oto_arena_new("windows", fixed_bytes(o), &r->fixed, e)) != 0 ||
        (rc = oto_listener_new(r->fixed, ahead(o), &r->listener, e)) != 0 ||
        (rc = oto_batch_new(r->fixed, o->batch, MAX_WINDOW, &r->batch, e)) != 0 ||
        (rc = oto_slicer_new(r->fixed, RING_SAMPLES, &r->slicer, e)) != 0 ||
        (rc = oto_arena_new("job", JOB_BYTES, &r->job, e)) != 0)
        return rc;
    if (punctuation(o) == NULL)
        return 0;
    rc = oto_pool_new(1, OTO_POOL_SCRATCH_BYTES, &r->punc_pool, e);
    return rc == 0 ? oto_punctuator_new(punctuation(o), r->punc_pool, r->fixed, &r->punctuator, e)
                   : rc;
}

int oto_recogniser_new(const oto_recogniser_options *o, oto_recogniser **out, oto_err *e)
{
    oto_recogniser *r = calloc(1, sizeof *r);
    int rc;

    if (r == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    r->o = *o;
    oto_recogniser_defaults(&r->o);
    if ((rc = check_tasks(&r->o, e)) != 0 || (r->o.engine == NULL && (rc = fit(&r->o, e)) != 0) ||
        (rc = make(r, e)) != 0) {
        oto_recogniser_free(r);
        return rc;
    }
    *out = r;
    return 0;
}

void oto_recogniser_free(oto_recogniser *r)
{
    if (r == NULL)
        return;
    oto_finish_free(r->finish);
    oto_batch_free(r->batch);
    oto_arena_free(r->job);
    oto_arena_free(r->fixed);
    oto_pool_free(r->vad_pool);
    oto_pool_free(r->punc_pool);
    if (r->o.engine == NULL)
        oto_engine_free(r->engine);
    free(r);
}

/* ---- a job ---- */

typedef struct {
    const oto_job_options *o;
    oto_job_result *out;
    oto_arena *arena; /* of the job */
    oto_media *media;
    oto_vad *vad;
    oto_listener *listener;
    oto_engine *engine;
    oto_slicer *slicer;         /* NULL: spans are only reported */
    oto_batch *batch;           /* NULL with it */
    oto_punctuator *punctuator; /* NULL: segments are given out as they come */
    oto_finish *finish;         /* NULL: texts go out as they are */
    void (*on_span)(void *arg, const oto_span *s);
    int64_t total_ms, done_ms;
    int64_t speech_until; /* end of the last segment, so that overlaps count once */
} job;

static int progress(job *j, int64_t done_ms, oto_err *e)
{
    if (done_ms <= j->done_ms)
        return 0;
    j->done_ms = done_ms;
    if (j->o->on_progress != NULL && j->o->on_progress(j->o->arg, done_ms, j->total_ms) != 0)
        return oto_fail(e, OTO_E_CANCELLED, "cancelled");
    return 0;
}

static int take_span(job *j, const oto_span *s, oto_err *e)
{
    const int64_t start = OTO_MAX(s->start_ms, j->speech_until);

    if (s->end_ms > start) {
        j->out->speech_ms += s->end_ms - start;
        j->speech_until = s->end_ms;
    }
    if (j->on_span != NULL)
        j->on_span(j->o->arg, s);
    return j->slicer != NULL ? oto_slicer_speech(j->slicer, s, e) : 0;
}

static int take_block(job *j, const oto_heard *b, oto_err *e)
{
    int rc = 0;

    if (j->slicer != NULL)
        oto_slicer_audio(j->slicer, b->pcm, b->n);
    if (j->vad == NULL)
        return oto_slicer_all(j->slicer, e);
    for (int i = 0; i < b->n_spans && rc == 0; i++)
        rc = take_span(j, &b->spans[i], e);
    return rc;
}

/* Without windows on their way, everything before the VAD's horizon is done: silence is as soon as
 * it is heard. */
static int idle_progress(job *j, const oto_heard *b, oto_err *e)
{
    if (j->vad == NULL || (j->batch != NULL && oto_batch_busy(j->batch)))
        return 0;
    return progress(j, OTO_MIN(b->horizon_ms, j->out->audio_ms), e);
}

/* Before it waits for sound, which may be long in coming, it sees to what is under way: nobody else
 * need be there to run the model. */
static int take_meanwhile(job *j, oto_err *e)
{
    int rc = 0;

    while (rc == 0 && j->batch != NULL && oto_batch_runs(j->batch) &&
           !oto_listener_ready(j->listener))
        rc = oto_batch_take(j->batch, e);
    return rc;
}

/* Hears the whole recording. What was decoded before an error is still handed on. */
static int hear_all(job *j, oto_err *e)
{
    int64_t samples = 0;
    int rc = 0;

    for (;;) {
        const oto_heard *b;

        if ((rc = take_meanwhile(j, e)) != 0)
            return rc;
        b = oto_listener_next(j->listener);
        samples += (int64_t)b->n;
        j->out->audio_ms = samples / OTO_MS;
        if (b->last && b->rc != 0) {
            /* Whoever wants no more is not offered the rest, nor the same again. */
            if (!j->o->whole && take_block(j, b, NULL) == OTO_E_CANCELLED)
                return oto_fail(e, OTO_E_CANCELLED, "cancelled");
            if (e != NULL)
                *e = b->error;
            return b->rc;
        }
        if ((rc = take_block(j, b, e)) != 0 || b->last || (rc = idle_progress(j, b, e)) != 0)
            return rc;
    }
}

static int listen_to(job *j, oto_err *e)
{
    int rc = oto_listener_start(j->listener, j->media, j->vad, e);

    if (rc == 0)
        rc = hear_all(j, e);
    oto_listener_stop(j->listener, &j->out->decode_s, &j->out->vad_s);
    return rc;
}

static void describe_end(job *j)
{
    const char *warning = oto_media_warning(j->media);

    snprintf(j->out->warning, sizeof j->out->warning, "%s", warning != NULL ? warning : "");
    j->out->decoder_peak_bytes = oto_media_peak_bytes(j->media);
}

/* Behind what the decoder had to say. */
static void warn_of_hotwords(const oto_model *m, const oto_job_options *o, oto_job_result *out)
{
    const size_t n = strlen(out->warning);
    oto_model_info info;

    oto_model_info_get(m, &info);
    if (o->asr.hotwords != NULL && o->asr.hotwords[0] != '\0' && !info.hotwords)
        snprintf(out->warning + n, sizeof out->warning - n,
                 "%shotwords have no effect with this %s model", n > 0 ? "; " : "", info.family);
}

static int open_media(job *j, const char *path, oto_err *e)
{
    oto_media_info info;
    oto_media_options o = j->o->media;
    int rc;

    o.arena = j->arena;
    rc = oto_media_open(path, &o, &j->media, e);
    if (rc != 0)
        return rc;
    oto_media_info_get(j->media, &info);
    j->total_ms = info.duration_ms;
    return 0;
}

static int open_vad(job *j, const oto_model *m, oto_pool *pool, oto_err *e)
{
    if (j->o->vad.max_segment_ms > MAX_SEGMENT_MS)
        return oto_fail(e, OTO_E_USAGE, "VAD segments of %d ms: at most %d",
                        j->o->vad.max_segment_ms, MAX_SEGMENT_MS);
    return oto_vad_new(m, &j->o->vad, pool, j->arena, &j->vad, e);
}

static int on_done(void *arg, int64_t done_ms)
{
    return progress(arg, done_ms, NULL);
}

/* A translation is English, whatever its segments were spoken in. */
static const char *written_in(const job *j, const oto_segment *s)
{
    float probability;

    if (j->o->asr.translate)
        return "en";
    return s->language[0] != '\0' ? s->language : oto_batch_language(j->batch, &probability);
}

static int give_out(void *arg, const oto_segment *s)
{
    job *j = arg;

    j->out->n_segments++;
    if (j->finish != NULL)
        s = oto_finish_segment(j->finish, s, written_in(j, s));
    return j->o->on_segment != NULL ? j->o->on_segment(j->o->arg, s) : 0;
}

static int on_segment(void *arg, const oto_segment *s)
{
    job *j = arg;

    return j->punctuator != NULL ? oto_punctuator_push(j->punctuator, s) : give_out(j, s);
}

/* Recognises what is left and gives it out. */
static int finish(job *j, oto_err *e)
{
    int rc;

    if ((rc = oto_slicer_finish(j->slicer, e)) != 0 || (rc = oto_batch_finish(j->batch, e)) != 0)
        return rc;
    if (j->punctuator != NULL && oto_punctuator_finish(j->punctuator) != 0)
        return oto_fail(e, OTO_E_CANCELLED, "cancelled");
    return 0;
}

/* ---- windows under way; those that are known already are left out ---- */

static void put(void *ctx, oto_ticket *t)
{
    const job *j = ctx;
    const oto_job_options *o = j->o;

    t->known = o->recall != NULL && o->recall(o->arg, t->o, &t->window, t->arena, &t->result);
    if (!t->known)
        oto_engine_put(j->engine, t);
}

static oto_ticket *wait_for(void *ctx, oto_ticket *const *t, int n)
{
    const job *j = ctx;
    const oto_job_options *o = j->o;
    oto_ticket *done;

    for (int i = 0; i < n; i++)
        if (t[i]->known)
            return t[i];
    done = oto_engine_wait(j->engine, t, n);
    if (done->rc == 0 && o->remember != NULL)
        done->rc = o->remember(o->arg, done->o, &done->window, &done->result, &done->error);
    return done;
}

static void take_back(void *ctx, oto_ticket *t)
{
    const job *j = ctx;

    if (!t->known)
        oto_engine_take_back(j->engine, t);
}

/* Of an engine that others use as well, it is what all of them used. */
static void stats_since(oto_engine *g, const oto_asr_stats *before, oto_asr_stats *out)
{
    oto_engine_stats all;

    oto_engine_stats_get(g, &all);
    *out = all.asr;
    out->features_s -= before->features_s;
    out->encoder_s -= before->encoder_s;
    out->decoder_s -= before->decoder_s;
    out->words_s -= before->words_s;
    out->features_core_s -= before->features_core_s;
    out->encoder_core_s -= before->encoder_core_s;
    out->decoder_core_s -= before->decoder_core_s;
    out->words_core_s -= before->words_core_s;
    out->windows -= before->windows;
    out->steps -= before->steps;
    out->lanes -= before->lanes;
    out->fallbacks -= before->fallbacks;
}

static bool detects(const oto_model *m)
{
    oto_model_info info;

    oto_model_info_get(m, &info);
    return info.detects;
}

static int open_finish(oto_recogniser *r, job *j, oto_err *e)
{
    const oto_job_options *o = j->o;
    int rc = 0;

    if (!o->itn && o->script[0] == '\0')
        return 0;
    if (r->finish == NULL)
        rc = oto_finish_new(&r->finish, e);
    if (rc == 0)
        rc = oto_finish_start(r->finish, o->itn, o->script, e);
    j->finish = r->finish;
    return rc;
}

static int check_job(const oto_recogniser *r, const oto_job_options *o, oto_err *e)
{
    oto_model_info info;

    oto_model_info_get(r->o.asr, &info);
    if (o->asr.translate && !info.translates)
        return oto_fail(e, OTO_E_USAGE, "this %s model cannot translate", info.family);
    if (o->max_window_ms < 5000 || o->max_window_ms > OTO_MAX_WINDOW_MS)
        return oto_fail(e, OTO_E_USAGE, "windows of %d ms: 5000 to %d", o->max_window_ms,
                        OTO_MAX_WINDOW_MS);
    if (o->asr.beam > r->o.max_beam || o->asr.best_of > r->o.max_beam)
        return oto_fail(e, OTO_E_USAGE, "beam %d, best of %d: this recogniser has room for %d",
                        o->asr.beam, o->asr.best_of, r->o.max_beam);
    return 0;
}

int oto_recogniser_run(oto_recogniser *r, const char *path, const oto_job_options *o,
                       oto_job_result *out, oto_err *e)
{
    job j = {.o = o,
             .out = out,
             .listener = r->listener,
             .slicer = r->slicer,
             .engine = r->engine,
             .batch = r->batch,
             .punctuator = r->punctuator,
             .arena = r->job,
             .total_ms = -1};
    oto_batch_job batch = {.asr = o->asr,
                           .detects = detects(r->o.asr),
                           .put = put,
                           .wait = wait_for,
                           .take_back = take_back,
                           .ctx = &j,
                           .on_segment = on_segment,
                           .on_done = on_done,
                           .arg = &j};
    oto_engine_stats before;
    int rc, last;

    memset(out, 0, sizeof *out);
    oto_engine_stats_get(r->engine, &before);
    if ((rc = check_job(r, o, e)) != 0 || (rc = open_finish(r, &j, e)) != 0)
        return rc;
    oto_arena_reset(r->job);
    if (j.punctuator != NULL) {
        oto_punctuator_start(j.punctuator, o->asr.words, give_out, &j);
        batch.asr.words = true; /* the times of sentences are theirs */
    }
    oto_batch_start(r->batch, &batch);
    oto_slicer_start(r->slicer, r->batch, (int64_t)o->max_window_ms * OTO_MS);
    if (!o->no_vad && r->o.vad != NULL && (rc = open_vad(&j, r->o.vad, r->vad_pool, e)) != 0)
        return rc;
    if ((rc = open_media(&j, path, e)) != 0)
        return rc;

    rc = listen_to(&j, e);
    /* A decoder that broke down does not take with it what it delivered. */
    if (rc == 0 || (rc != OTO_E_CANCELLED && !o->whole)) {
        last = finish(&j, rc != 0 ? NULL : e);
        rc = rc != 0 ? rc : last;
    }
    oto_batch_stop(r->batch);
    if (rc == 0)
        rc = progress(&j, out->audio_ms, e);
    if (j.vad == NULL)
        out->speech_ms = out->audio_ms;
    describe_end(&j);
    warn_of_hotwords(r->o.asr, o, out);
    out->n_windows = oto_batch_windows(r->batch);
    snprintf(out->language, sizeof out->language, "%s",
             oto_batch_language(r->batch, &out->language_probability));
    stats_since(r->engine, &before.asr, &out->asr);
    oto_media_close(j.media);
    return rc;
}

int oto_recogniser_vad(const oto_model *vad, int threads, const char *path,
                       const oto_job_options *o, void (*on_span)(void *arg, const oto_span *s),
                       oto_job_result *out, oto_err *e)
{
    job j = {.o = o, .out = out, .on_span = on_span, .total_ms = -1};
    oto_pool *pool = NULL;
    int rc;

    memset(out, 0, sizeof *out);
    if ((rc = oto_pool_new(threads > 0 ? threads : 1, OTO_POOL_SCRATCH_BYTES, &pool, e)) != 0 ||
        (rc = oto_arena_new("vad", JOB_BYTES, &j.arena, e)) != 0 ||
        (rc = open_vad(&j, vad, pool, e)) != 0 ||
        (rc = oto_listener_new(j.arena, AHEAD_SHARED, &j.listener, e)) != 0 ||
        (rc = open_media(&j, path, e)) != 0)
        goto done;
    rc = listen_to(&j, e);
    if (rc == 0)
        rc = progress(&j, out->audio_ms, e);
    describe_end(&j);
done:
    oto_media_close(j.media);
    oto_arena_free(j.arena);
    oto_pool_free(pool);
    return rc;
}
