/* A lane: takes a job from the worker's main thread, has it recognised and stores what comes out.
 *
 * What was recognised is stored as the recording goes on: segments in order, for readers, and the
 * model's windows by a hash of their sound, for the next attempt. After a crash the recording is
 * decoded and cut again, which is cheap and comes out the same; windows that are known cost
 * nothing, and segments that are stored are passed over. So the text is that of a calm run, and
 * what is repeated are the windows under way and at most LANE_MEMOS that were done before those in
 * front of them. */
#include "work/lane.h"

#include <jansson.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define STORE_RETRY_MS    1000
#define PROGRESS_EVERY_MS 1000
#define DECODER_RETRIES   2
#define MAKERS_KEY        0 /* of the memo that tells who made the others, and the segments */

static void nap(int ms)
{
    const struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};

    nanosleep(&t, NULL);
}

/* ---- storing ---- */

static void note_peak(lane *l)
{
    l->peak_bytes = OTO_MAX(l->peak_bytes, oto_rss_anon_bytes());
}

/* A full disk is waited for: the job is as good as it was. Returns false when the lane has to let
 * go of the job; when it is told to, what has no room is dropped and the job is still its own to
 * give back. */
static bool store_again(lane *l, int rc, const oto_err *e)
{
    if (rc == OTO_E_NO_SPACE) {
        if (atomic_load(&l->stop))
            return false;
        nap(STORE_RETRY_MS);
        return true;
    }
    if (rc == OTO_E_IO) {
        oto_log(OTO_LOG_ERROR, "job %s: %s", l->job.id, e->text);
        atomic_store(&l->no_store, true);
    }
    l->lost = true;
    return false;
}

/* Puts on disk what has come since the last time. */
static int flush(lane *l)
{
    oto_err e = {0};
    int rc;

    if (l->n_segments == 0 && l->n_memos == 0 &&
        (l->done_ms == l->stored_ms || oto_now_ms() - l->stored_at < PROGRESS_EVERY_MS))
        return 0;
    while ((rc = oto_store_segments(l->store, l->job.id, l->token, l->segments, l->n_segments,
                                    l->memos, l->n_memos, l->done_ms, oto_clock_ms(), &e)) != 0)
        if (!store_again(l, rc, &e))
            return -1;
    l->n_segments = l->n_memos = 0;
    l->stored_ms = l->done_ms;
    l->stored_at = oto_now_ms();
    oto_arena_reset(l->scratch);
    oto_board_ring(&l->w->board->gateway);
    return 0;
}

static const char *dump(lane *l, json_t *j)
{
    char *text = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;
    const char *kept = text != NULL ? oto_arena_strdup(l->scratch, text, strlen(text)) : NULL;

    json_decref(j);
    free(text);
    return kept;
}

static int on_segment(void *arg, const oto_segment *s)
{
    lane *l = arg;
    oto_job_segment *out;

    if (l->skip > 0) {
        l->skip--;
        return 0;
    }
    if (l->n_segments == LANE_SEGMENTS && flush(l) != 0)
        return -1;
    out = &l->segments[l->n_segments];
    *out = (oto_job_segment){s->start_ms, s->end_ms,
                             oto_arena_strdup(l->scratch, s->text, strlen(s->text)),
                             dump(l, oto_segment_pack(s))};
    if (out->text == NULL || out->json == NULL) {
        l->full = true;
        return -1;
    }
    l->n_segments++;
    return 0;
}

static int on_progress(void *arg, int64_t done_ms, int64_t total_ms)
{
    lane *l = arg;

    (void)total_ms;
    note_peak(l);
    if (done_ms > l->done_ms)
        l->done_ms = done_ms;
    if (flush(l) != 0)
        return -1;
    return atomic_load(&l->stop) ? -1 : 0;
}

static bool is_stopped(void *arg)
{
    lane *l = arg;

    return atomic_load(&l->stop);
}

/* ---- windows that are known ---- */

/* FNV-1a over words of 8 bytes: 2 MB in less than a millisecond. */
static uint64_t hash(uint64_t h, const void *p, size_t n)
{
    const uint8_t *b = p;

    for (; n >= 8; b += 8, n -= 8) {
        uint64_t v;

        memcpy(&v, b, 8);
        h = (h ^ v) * 0x100000001b3ull;
        h ^= h >> 29;
    }
    for (; n > 0; b++, n--)
        h = (h ^ *b) * 0x100000001b3ull;
    return h;
}

/* A job's options are the same in every attempt, but the language is set once it is detected. */
static int64_t key_of(const oto_asr_options *o, const oto_asr_window *w)
{
    uint64_t h = hash(0xcbf29ce484222325ull, o->language, strlen(o->language) + 1);

    h = hash(h, w->pcm, w->n * sizeof *w->pcm);
    h ^= h >> 32;
    return (int64_t)(h * 0x9e3779b97f4a7c15ull);
}

static bool unpack(const json_t *j, oto_arena *a, oto_asr_result *out)
{
    const json_t *list = json_object_get(j, "segments");
    const char *language = json_string_value(json_object_get(j, "language"));
    oto_segment *segments;

    if (!json_is_array(list) || language == NULL)
        return false;
    *out = (oto_asr_result){
        .n_segments = (int)json_array_size(list),
        .language_probability = (float)json_number_value(json_object_get(j, "probability")),
        .next_ms = json_integer_value(json_object_get(j, "next")),
    };
    snprintf(out->language, sizeof out->language, "%s", language);
    if (oto_arena_get(a, (size_t)out->n_segments, sizeof *segments, &segments, NULL) != 0)
        return false;
    for (int i = 0; i < out->n_segments; i++)
        if (oto_segment_unpack(json_array_get(list, (size_t)i), a, &segments[i], NULL) != 0)
            return false;
    out->segments = segments;
    return true;
}

static bool on_recall(void *arg, const oto_asr_options *o, const oto_asr_window *w, oto_arena *a,
                      oto_asr_result *out)
{
    lane *l = arg;
    const char *text;
    json_t *j;
    bool known;

    if (l->job.attempts <= 1 && l->job.n_segments == 0 && l->job.checkpoint_ms == 0)
        return false;
    if (oto_store_recall(l->store, l->job.id, key_of(o, w), a, &text, NULL) != 0)
        return false;
    j = json_loads(text, 0, NULL);
    known = j != NULL && unpack(j, a, out);
    json_decref(j);
    return known;
}

static int on_remember(void *arg, const oto_asr_options *o, const oto_asr_window *w,
                       const oto_asr_result *r, oto_err *e)
{
    lane *l = arg;
    json_t *list = json_array(), *j;
    const char *text;

    for (int i = 0; i < r->n_segments; i++)
        json_array_append_new(list, oto_segment_pack(&r->segments[i]));
    j = json_pack("{s:s, s:f, s:I, s:o}", "language", r->language, "probability",
                  (double)r->language_probability, "next", (json_int_t)r->next_ms, "segments",
                  list);
    if (l->n_memos == LANE_MEMOS && flush(l) != 0)
        return oto_fail(e, OTO_E_CANCELLED, "the job is lost");
    text = dump(l, j);
    if (text == NULL)
        return oto_fail(e, OTO_E_LIMIT, "job %s: results of a run are too large", l->job.id);
    l->memos[l->n_memos++] = (oto_job_memo){key_of(o, w), text};
    note_peak(l);
    return 0;
}

/* ---- a job ---- */

static int ensure_recogniser(lane *l, oto_err *e)
{
    const oto_recogniser_options o = {.engine = l->engine, .vad = l->w->vad, .punc = l->w->punc};

    return l->recogniser != NULL ? 0 : oto_recogniser_new(&o, &l->recogniser, e);
}

static void set_options(lane *l, oto_job_options *o)
{
    const oto_request *r = &l->request;

    oto_job_defaults(o);
    snprintf(o->asr.language, sizeof o->asr.language, "%s", r->language);
    o->asr.translate = r->translate;
    o->asr.words = r->words;
    o->asr.prompt = r->prompt;
    o->asr.hotwords = r->hotwords;
    o->asr.stop = (oto_stop){is_stopped, l};
    o->asr.beam = r->beam > 0 ? r->beam : l->w->o.beam;
    if (r->temperature > 0) {
        o->asr.temperature[0] = r->temperature;
        o->asr.n_temperatures = 1;
    }
    if (r->max_end_silence_ms > 0)
        o->vad.max_end_silence_ms = r->max_end_silence_ms;
    if (r->speech_noise_thres > 0)
        o->vad.speech_noise_thres = r->speech_noise_thres;
    o->no_vad = r->no_vad;
    o->itn = r->itn;
    snprintf(o->script, sizeof o->script, "%s", r->script);
    o->media.raw_pcm = r->raw_pcm;
    o->whole = true;
    o->on_segment = on_segment;
    o->on_progress = on_progress;
    o->recall = on_recall;
    o->remember = on_remember;
    o->arg = l;
}

/* What texts and their segments depend on besides the request and the sound. */
static const char *makers(lane *l, const oto_job_options *o)
{
    const oto_worker_options *w = &l->w->o;
    const oto_model *m = l->w->shelf.of[l->model].model;
    oto_model_info info = {.punctuates = false};
    char beam[16];
    oto_str s;

    if (m != NULL)
        oto_model_info_get(m, &info);
    snprintf(beam, sizeof beam, "%d", o->asr.beam);
    const char *const parts[] = {OTO_VERSION, w->models[l->model].path, w->vad_path,
                                 info.punctuates ? NULL : w->punc_path, beam};
    oto_str_init(&s, l->job_arena);
    for (size_t i = 0; i < OTO_COUNT(parts); i++) {
        oto_str_puts(&s, parts[i] != NULL ? parts[i] : "");
        oto_str_puts(&s, "\n");
    }
    return s.failed ? NULL : s.p;
}

/* Where the server is another version or has come to have other models or settings since, segments
 * that are stored are not those that would come now, and passing over as many would lose or repeat
 * text. */
static int know_makers(lane *l, const oto_job_options *o, oto_err *e)
{
    const char *now = makers(l, o), *then = NULL;
    int rc;

    if (now == NULL)
        return oto_fail(e, OTO_E_LIMIT, "job %s: out of memory", l->job.id);
    rc = oto_store_recall(l->store, l->job.id, MAKERS_KEY, l->job_arena, &then, e);
    if (rc != 0 && rc != OTO_E_NOT_FOUND)
        return rc;
    if (rc == 0 && strcmp(now, then) == 0)
        return 0;
    l->memos[l->n_memos++] = (oto_job_memo){MAKERS_KEY, now};
    if (rc == OTO_E_NOT_FOUND)
        return 0;
    oto_log(OTO_LOG_WARN,
            "job %s: begun by another version or with other models or settings, begins anew",
            l->job.id);
    while ((rc = oto_store_begin_anew(l->store, l->job.id, l->token, e)) != 0)
        if (!store_again(l, rc, e))
            return oto_fail(e, OTO_E_CANCELLED, "the job is lost");
    oto_board_ring(&l->w->board->gateway); /* who follows it drops what it had */
    l->job.n_segments = 0;
    l->job.restarts++;
    l->job.checkpoint_ms = l->stored_ms = 0;
    l->done_ms = 0;
    return 0;
}

/* A decoder that was killed says nothing about the recording. */
static int recognise(lane *l, oto_job_result *result, oto_err *e)
{
    char path[600];
    oto_job_options o;
    int rc;

    if ((rc = oto_spool_path(l->w->o.spool, l->job.audio, path, sizeof path, e)) != 0 ||
        (rc = oto_request_read(l->job.options, l->job_arena, &l->request, e)) != 0 ||
        (rc = ensure_recogniser(l, e)) != 0)
        return rc;
    set_options(l, &o);
    if ((rc = know_makers(l, &o, e)) != 0)
        return rc;
    for (int i = 0;; i++) {
        l->skip = l->job.n_segments;
        rc = oto_recogniser_run(l->recogniser, path, &o, result, e);
        if (rc != OTO_E_UNAVAILABLE || i == DECODER_RETRIES || atomic_load(&l->stop))
            return rc;
        oto_log(OTO_LOG_WARN, "job %s: %s; trying again", l->job.id, e->text);
        if (flush(l) != 0)
            return oto_fail(e, OTO_E_CANCELLED, "the job is lost");
        /* What is stored by now is passed over as after a crash. */
        oto_arena_reset(l->scratch);
        if (oto_store_get(l->store, l->job.id, l->job_arena, &l->job, e) != 0)
            return oto_fail(e, OTO_E_CANCELLED, "the job is gone");
    }
}

/* Trouble of this machine may be over when the job is tried again; a bad recording stays bad. */
static bool may_pass(int code)
{
    switch (code) {
    case OTO_E_LIMIT:
    case OTO_E_NO_SPACE:
    case OTO_E_BUSY:
    case OTO_E_UNAVAILABLE:
    case OTO_E_IO:
    case OTO_E_INTERNAL:
        return true;
    default:
        return false;
    }
}

/* A message names the recording as the client does, not the spool's file. */
static const char *without_path(lane *l, const char *text)
{
    char path[600], *out;
    const char *at;
    oto_str s;

    if (oto_spool_path(l->w->o.spool, l->job.audio, path, sizeof path, NULL) != 0 ||
        (at = strstr(text, path)) == NULL)
        return text;
    oto_str_init(&s, l->job_arena);
    oto_str_put(&s, text, (size_t)(at - text));
    oto_str_puts(&s, l->job.filename[0] != '\0' ? l->job.filename : "recording");
    oto_str_puts(&s, at + strlen(path));
    out = s.p;
    return s.failed || out == NULL ? text : out;
}

static void log_done(const lane *l, const oto_job_outcome *o)
{
    oto_log(OTO_LOG_INFO,
            "job %s: done, %.1f s of sound in %.2f s, RTF %.4f, memory %.1f -> %.1f MB (%+.1f), "
            "peak %.1f, decoder %.1f",
            l->job.id, (double)o->audio_ms / 1e3, o->processing_s,
            o->audio_ms > 0 ? o->processing_s * 1e3 / (double)o->audio_ms : 0.0,
            (double)o->memory_before / 1048576, (double)o->memory_after / 1048576,
            (double)(o->memory_after - o->memory_before) / 1048576,
            (double)o->memory_peak / 1048576, (double)o->decoder_peak / 1048576);
}

static void settle_done(lane *l, const oto_job_result *r, oto_job_outcome *o)
{
    oto_err e = {0};
    int rc;

    o->language = r->language;
    o->warning = r->warning;
    o->audio_ms = r->audio_ms;
    o->decoder_peak = (int64_t)r->decoder_peak_bytes;
    while ((rc = oto_store_finish(l->store, l->job.id, l->token, l->segments, l->n_segments, o,
                                  oto_clock_ms(), &e)) != 0)
        if (!store_again(l, rc, &e))
            return;
    oto_board_job(l->w->board, o->audio_ms, o->processing_s);
    log_done(l, o);
}

static void settle_failed(lane *l, int code, const oto_err *why)
{
    const char *text = without_path(l, why->text);
    oto_err e = {0};
    int rc;

    oto_log(OTO_LOG_WARN, "job %s: %s", l->job.id, text);
    while ((rc = oto_store_fail(l->store, l->job.id, l->token, oto_err_name(code), text,
                                may_pass(code), oto_clock_ms(), &e)) != 0)
        if (!store_again(l, rc, &e))
            return;
}

static void settle_released(lane *l)
{
    oto_err e = {0};
    int rc;

    while ((rc = oto_store_release(l->store, l->job.id, l->token, oto_clock_ms(), &e)) != 0)
        if (rc != OTO_E_NO_SPACE || !store_again(l, rc, &e))
            return;
    oto_log(OTO_LOG_INFO, "job %s: given back", l->job.id);
}

static void run_job(lane *l)
{
    oto_job_outcome outcome = {.memory_before = (int64_t)oto_rss_anon_bytes()};
    const double t0 = oto_now_s();
    oto_job_result result = {.audio_ms = 0};
    oto_err e = {0};
    int rc;

    l->n_segments = l->n_memos = 0;
    l->stored_ms = l->job.checkpoint_ms;
    l->done_ms = l->stored_ms;
    l->stored_at = oto_now_ms();
    l->lost = l->full = false;
    l->peak_bytes = (size_t)outcome.memory_before;
    oto_arena_reset(l->scratch);
    rc = recognise(l, &result, &e);
    /* Not a wish to stop: given back it would come again at once, for ever. */
    if (rc == OTO_E_CANCELLED && l->full)
        rc = oto_fail(&e, OTO_E_LIMIT, "no memory for the results");
    note_peak(l);
    /* What came of the runs before the one that was stopped. */
    if (rc == OTO_E_CANCELLED && !l->lost)
        flush(l);
    if (rc == 0 && flush(l) == 0) {
        oto_arena_reset(l->scratch);
        oto_arena_trim(l->scratch);
        outcome.processing_s = oto_now_s() - t0;
        outcome.memory_peak = (int64_t)l->peak_bytes;
        outcome.memory_after = (int64_t)oto_rss_anon_bytes();
        settle_done(l, &result, &outcome);
        atomic_fetch_add(&l->w->proc->jobs, 1);
    } else if (l->lost) {
        oto_log(OTO_LOG_WARN, "job %s: no longer this worker's", l->job.id);
    } else if (rc == OTO_E_CANCELLED || atomic_load(&l->stop)) {
        settle_released(l);
    } else {
        settle_failed(l, rc, &e);
    }
    atomic_store(&l->w->proc->decoder_peak_bytes, (int64_t)result.decoder_peak_bytes);
    oto_board_ring(&l->w->board->gateway);
}

void *oto_lane_main(void *arg)
{
    lane *l = arg;
    oto_worker *w = l->w;

    pthread_mutex_lock(&w->lock);
    for (;;) {
        while (!l->busy && !w->quit)
            pthread_cond_wait(&w->work, &w->lock);
        if (!l->busy)
            break;
        pthread_mutex_unlock(&w->lock);
        run_job(l);
        oto_fault_leak("worker", 1);
        pthread_mutex_lock(&w->lock);
        w->proc->jobs_running[l->index][0] = '\0';
        oto_arena_reset(l->job_arena);
        l->busy = false;
        oto_board_ring(w->proc);
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}
