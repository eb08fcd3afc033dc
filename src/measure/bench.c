/* Speed of this machine on this program.
 *
 * Stages are timed where they can be told apart: decoding and voice activity detection by passes of
 * their own over the recording (in a job they overlap with recognition), the model's stages inside
 * one whole job, by the clocks the model keeps. So the stages add up to more than the total when
 * the decoder child has a core to itself.
 *
 * What each thread did when is traced in that job. Kernels: roofline.c. */
#include "measure/measure.h"
#include "media/media.h"
#include "recogniser/recogniser.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static oto_bench_stage *add_stage(oto_bench *b, const char *name, double wall_s, double core_s)
{
    oto_bench_stage *s = &b->stages[b->n_stages++];
    *s = (oto_bench_stage){name, wall_s, core_s};
    return s;
}

/* ---- stages ---- */

static int time_decoding(const char *path, oto_bench *b, oto_err *e)
{
    static float block[OTO_SAMPLE_RATE / 2];
    oto_media_options o;
    oto_media *m = NULL;
    size_t got = 1, n = 0;
    double wall = oto_now_s(), core = oto_cpu_s();
    int r;

    oto_media_defaults(&o);
    r = oto_media_open(path, &o, &m, e);
    while (r == 0 && got > 0) {
        r = oto_media_read(m, block, OTO_COUNT(block), &got, e);
        n += r == 0 ? got : 0;
    }
    oto_media_close(m); /* the child's time counts when it has been waited for */
    if (r != 0)
        return r;
    if (n == 0)
        return oto_fail(e, OTO_E_NO_AUDIO, "%s: no samples", path);
    b->audio_s = (double)n / OTO_SAMPLE_RATE;
    add_stage(b, "decode", oto_now_s() - wall, oto_cpu_s() - core);
    return 0;
}

static void ignore_span(void *arg, const oto_span *s)
{
    (void)arg, (void)s;
}

static int time_vad(const oto_bench_options *o, oto_bench *b, oto_err *e)
{
    oto_job_options job;
    oto_job_result result;
    int r;

    if (o->vad == NULL)
        return 0;
    oto_job_defaults(&job);
    r = oto_recogniser_vad(o->vad, 1, o->path, &job, ignore_span, &result, e);
    if (r == 0) /* one thread: its processor time is its time */
        add_stage(b, "vad", result.vad_s, result.vad_s);
    return r;
}

static int time_job(const oto_bench_options *o, oto_bench *b, double *start_s, oto_err *e)
{
    oto_recogniser_options ro = {.asr = o->asr, .vad = o->vad, .threads = b->threads};
    oto_job_options job;
    oto_job_result result;
    oto_recogniser *rec = NULL;
    double wall, core;
    int r;

    oto_job_defaults(&job);
    job.no_vad = o->vad == NULL;
    if (o->beam > 0)
        job.asr.beam = o->beam;
    if (o->language != NULL)
        snprintf(job.asr.language, sizeof job.asr.language, "%s", o->language);
    r = oto_recogniser_new(&ro, &rec, e);
    if (r != 0)
        return r;
    *start_s = wall = oto_now_s();
    core = oto_cpu_s();
    r = oto_recogniser_run(rec, o->path, &job, &result, e);
    b->wall_s = oto_now_s() - wall;
    b->core_s = oto_cpu_s() - core;
    oto_recogniser_free(rec);
    if (r != 0)
        return r;
    b->n_windows = result.n_windows;
    b->asr = result.asr;
    b->decoder_peak_bytes = result.decoder_peak_bytes;
    snprintf(b->language, sizeof b->language, "%s", result.language);
    add_stage(b, "front end", b->asr.features_s, b->asr.features_core_s);
    add_stage(b, "encoder", b->asr.encoder_s, b->asr.encoder_core_s);
    add_stage(b, "decoder", b->asr.decoder_s, b->asr.decoder_core_s);
    add_stage(b, "total", b->wall_s, b->core_s);
    return 0;
}

/* ---- what threads did when ---- */

#define SPANS (1 << 17)

static int add_activity(oto_bench *b, const oto_trace_span *s)
{
    for (int i = 0; i < b->n_activities; i++)
        if (strcmp(b->activities[i].thread, s->thread) == 0 &&
            strcmp(b->activities[i].what, s->what) == 0)
            return i;
    if (b->n_activities == OTO_BENCH_ACTIVITIES)
        return -1;
    b->activities[b->n_activities] = (oto_bench_activity){.thread = s->thread, .what = s->what};
    return b->n_activities++;
}

/* Shares out a span over the slots of the run, which began at start_s. */
static void spread(oto_bench_activity *a, const oto_trace_span *s, double start_s, double slot_s)
{
    for (int i = 0; i < OTO_BENCH_SLOTS; i++) {
        const double from = start_s + i * slot_s, to = from + slot_s;
        const double part = fmin(s->to_s, to) - fmax(s->from_s, from);

        if (part > 0)
            a->slot[i] += (float)(part / slot_s);
    }
    a->wall_s += s->to_s - s->from_s;
}

static void draw_timeline(oto_bench *b, const oto_trace_span *spans, int n, double start_s)
{
    for (int i = 0; i < n; i++) {
        const int at = add_activity(b, &spans[i]);

        if (at >= 0)
            spread(&b->activities[at], &spans[i], start_s, b->wall_s / OTO_BENCH_SLOTS);
    }
}

static int time_traced_job(const oto_bench_options *o, oto_bench *b, oto_err *e)
{
    oto_trace_span *spans = calloc(SPANS, sizeof *spans);
    double start_s;
    int n, r;

    if (spans == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    oto_trace_begin(spans, SPANS);
    r = time_job(o, b, &start_s, e);
    n = oto_trace_end();
    if (r == 0)
        draw_timeline(b, spans, n, start_s);
    free(spans);
    return r;
}

int oto_bench_run(const oto_bench_options *o, oto_bench *out, oto_err *e)
{
    oto_bench b = {.threads = o->threads > 0 ? o->threads : oto_cpu_count()};
    int r = 0;

    if (o->path != NULL && ((r = time_decoding(o->path, &b, e)) != 0 ||
                            (r = time_vad(o, &b, e)) != 0 || (r = time_traced_job(o, &b, e)) != 0))
        return r;
    b.peak_bytes = oto_peak_rss_bytes(); /* before the kernels' matrices */
    r = oto_bench_kernels(o, &b, e);
    if (r == 0)
        *out = b;
    return r;
}
