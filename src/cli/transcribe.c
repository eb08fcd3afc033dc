/* otolith transcribe: recordings to text. */
#include "cli/cli.h"
#include "cli/output.h"
#include "cli/progress.h"
#include "recogniser/recogniser.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_HOTWORDS (1 << 16)

enum {
    OPT_MODEL = 1,
    OPT_LANGUAGE,
    OPT_FORMAT,
    OPT_OUTPUT,
    OPT_TASK,
    OPT_WORDS,
    OPT_THREADS,
    OPT_COMPUTE,
    OPT_BEAM,
    OPT_BATCH,
    OPT_PROMPT,
    OPT_HOTWORDS,
    OPT_ITN,
    OPT_SCRIPT,
    OPT_NO_VAD,
    OPT_PUNC,
    OPT_RAW,
    OPT_MEMORY,
    OPT_OFFLINE,
    OPT_QUIET
};

static const oto_cli_option options[] = {
    {OPT_MODEL, 'm', "model", "MODEL", "name (otolith models list) or path; " OTO_CLI_DEFAULT_ASR},
    {OPT_LANGUAGE, 'l', "language", "LANG", "code or English name; auto (the default) detects it"},
    {OPT_FORMAT, 'f', "format", "LIST", "of txt, srt, vtt, json, tsv, lrc; txt"},
    {OPT_OUTPUT, 'o', "output", "DIR",
     "write NAME.FORMAT there; - (the default) is standard output"},
    {OPT_TASK, 0, "task", "TASK", "transcribe, or translate (to English)"},
    {OPT_WORDS, 0, "words", NULL, "times of words (json, vtt)"},
    {OPT_THREADS, 0, "threads", "N", "all cores by default"},
    {OPT_COMPUTE, 0, "compute", "TYPE", "int8, bf16 or f32; int8"},
    {OPT_BEAM, 0, "beam", "N", "hypotheses kept; 5, 1 is greedy"},
    {OPT_BATCH, 0, "batch", "N", "windows recognised together; 6"},
    {OPT_PROMPT, 0, "prompt", "TEXT", "text that sets style and spelling"},
    {OPT_HOTWORDS, 0, "hotwords", "FILE", "phrases to favour, one a line; # starts a comment"},
    {OPT_ITN, 0, "itn", NULL, "numbers as they are written: 50%, $20 (zh, en)"},
    {OPT_SCRIPT, 0, "script", "NAME", "Chinese script: s2t, t2s, s2tw, tw2s, s2hk, hk2s, ..."},
    {OPT_NO_VAD, 0, "no-vad", NULL, "recognise everything, silence too"},
    {OPT_PUNC, 0, "punc", "MODEL",
     "punctuates text of models that do not: name or path; none (the default)"},
    {OPT_RAW, 0, "raw", "FORMAT",
     "input without a header: s16le[:RATE[:CHANNELS]], f32le, mulaw, ..."},
    {OPT_MEMORY, 0, "memory-limit", "SIZE", "resident memory at most, weights included; 512M, 2G"},
    {OPT_OFFLINE, 0, "offline", NULL, "never fetch a model"},
    {OPT_QUIET, 'q', "quiet", NULL, "no progress, no summary"},
    {0, 0, NULL, NULL, NULL},
};

static const oto_cli_verb verb = {
    .name = "transcribe",
    .usage = "[OPTION]... FILE...\n[OPTION]... -",
    .summary = "Writes what is said in recordings. Text appears as it is recognised; - reads a\n"
               "recording from standard input.",
    .options = options,
    .notes = "Formats: txt plain text; srt, vtt subtitles; tsv start, end (ms) and text; json the\n"
             "verbose_json of OpenAI's API. The last line on standard error is a summary.",
};

typedef struct {
    const char *model, *punc;
    oto_compute compute;
    oto_cli_output_options output;
    char formats[64];
    char *hotwords;
    int threads, batch;
    size_t memory;
    bool offline, quiet;
    oto_job_options job;
} settings;

/* ---- options ---- */

/* Lines of any length. */
static int join_lines(FILE *f, const char *path, char *text, oto_err *e)
{
    char *line = NULL;
    size_t room = 0, n = 0;
    bool first = true;
    int rc = 0;

    errno = 0;
    while (rc == 0 && getline(&line, &room, f) >= 0) {
        const bool marked = first && strncmp(line, "\xef\xbb\xbf", 3) == 0; /* byte order mark */
        char *p = line + (marked ? 3 : 0);

        first = false;
        p += strspn(p, " \t\r\n");
        size_t len = strlen(p);

        while (len > 0 && strchr(" \t\r\n", p[len - 1]) != NULL)
            len--;
        if (len == 0 || *p == '#')
            continue;
        if (n + len + 3 > MAX_HOTWORDS)
            rc = oto_fail(e, OTO_E_LIMIT, "--hotwords %s: more than %d bytes", path, MAX_HOTWORDS);
        else
            n += (size_t)snprintf(text + n, MAX_HOTWORDS - n, "%s%.*s", n > 0 ? ", " : "", (int)len,
                                  p);
    }
    if (rc == 0 && !feof(f)) /* out of memory counts too */
        rc = oto_fail_errno(e, "--hotwords %s", path);
    free(line);
    return rc;
}

/* Phrases joined with commas, as the recogniser takes them. */
static int read_hotwords(const char *path, char **out, oto_err *e)
{
    FILE *f = fopen(path, "r");
    char *text;
    int rc;

    if (f == NULL)
        return oto_fail_errno(e, "--hotwords %s", path);
    text = calloc(1, MAX_HOTWORDS);
    rc = text != NULL ? join_lines(f, path, text, e) : oto_fail(e, OTO_E_LIMIT, "out of memory");
    fclose(f);
    if (rc != 0)
        free(text);
    else
        *out = text;
    return rc;
}

static int set_language(const char *value, oto_job_options *job, oto_err *e)
{
    int index;

    job->asr.language[0] = '\0';
    if (strcmp(value, "auto") == 0)
        return 0;
    index = oto_language_index(value);
    if (index < 0)
        return oto_fail(e, OTO_E_USAGE, "--language %s: unknown language", value);
    snprintf(job->asr.language, sizeof job->asr.language, "%s", oto_language_code(index));
    return 0;
}

static int set_task(const char *value, oto_job_options *job, oto_err *e)
{
    if (strcmp(value, "transcribe") != 0 && strcmp(value, "translate") != 0)
        return oto_fail(e, OTO_E_USAGE, "--task %s: expected transcribe or translate", value);
    job->asr.translate = value[4] == 's' && value[5] == 'l';
    return 0;
}

static int set_script(const char *value, oto_job_options *job, oto_err *e)
{
    if (!oto_script_knows(value))
        return oto_fail(e, OTO_E_USAGE, "--script %s: expected s2t, t2s, s2tw, tw2s, s2hk, ...",
                        value);
    snprintf(job->script, sizeof job->script, "%s", value);
    return 0;
}

/* "s16le:8000:2" */
static int set_raw(const char *value, oto_media_options *o, oto_err *e)
{
    const size_t n = strcspn(value, ":");
    char rate[16] = "16000", channels[16] = "1", rest;
    const int fields = sscanf(value + n, ":%15[0-9]:%15[0-9]%c", rate, channels, &rest);
    const bool whole =
        value[n] == '\0' || (fields == 1 && strchr(value + n + 1, ':') == NULL) || fields == 2;

    if (n == 0 || n >= sizeof o->raw_format || !whole)
        return oto_fail(e, OTO_E_USAGE,
                        "--raw %s: expected FORMAT[:RATE[:CHANNELS]], s16le:16000:1", value);
    o->raw_pcm = true;
    snprintf(o->raw_format, sizeof o->raw_format, "%.*s", (int)n, value);
    const int rc = oto_cli_int("--raw: rate", rate, 1000, 768000, &o->raw_rate_hz, e);
    return rc != 0 ? rc : oto_cli_int("--raw: channels", channels, 1, 64, &o->raw_channels, e);
}

static int set_option(settings *s, int id, const char *value, oto_err *e)
{
    switch (id) {
    case OPT_MODEL:
        s->model = value;
        return 0;
    case OPT_LANGUAGE:
        return set_language(value, &s->job, e);
    case OPT_FORMAT:
        return oto_cli_formats(value, s->formats, sizeof s->formats, &s->output, e);
    case OPT_OUTPUT:
        s->output.dir = strcmp(value, "-") == 0 ? NULL : value;
        return 0;
    case OPT_TASK:
        return set_task(value, &s->job, e);
    case OPT_WORDS:
        s->job.asr.words = s->output.words = true;
        return 0;
    case OPT_THREADS:
        return oto_cli_int("--threads", value, 1, 256, &s->threads, e);
    case OPT_COMPUTE:
        return oto_cli_compute("--compute", value, &s->compute, e);
    case OPT_BEAM:
        return oto_cli_int("--beam", value, 1, 16, &s->job.asr.beam, e);
    case OPT_BATCH:
        return oto_cli_int("--batch", value, 1, 64, &s->batch, e);
    case OPT_PROMPT:
        s->job.asr.prompt = value;
        return 0;
    case OPT_HOTWORDS:
        free(s->hotwords);
        s->hotwords = NULL;
        return read_hotwords(value, &s->hotwords, e);
    case OPT_ITN:
        s->job.itn = true;
        return 0;
    case OPT_SCRIPT:
        return set_script(value, &s->job, e);
    case OPT_NO_VAD:
        s->job.no_vad = true;
        return 0;
    case OPT_PUNC:
        s->punc = strcmp(value, "none") != 0 ? value : NULL;
        return 0;
    case OPT_RAW:
        return set_raw(value, &s->job.media, e);
    case OPT_MEMORY:
        return oto_cli_size("--memory-limit", value, &s->memory, e);
    case OPT_OFFLINE:
        s->offline = true;
        return 0;
    default:
        s->quiet = true;
        return 0;
    }
}

/* ---- one recording ---- */

typedef struct {
    const settings *s;
    oto_cli_output *output;
    oto_cli_progress progress;
    oto_err failed; /* of writing */
} recording;

static int on_segment(void *arg, const oto_segment *segment)
{
    recording *r = arg;

    oto_cli_progress_clear(&r->progress);
    return oto_cli_output_segment(r->output, segment, &r->failed);
}

static int on_progress(void *arg, int64_t done_ms, int64_t total_ms)
{
    recording *r = arg;

    oto_cli_progress_set(&r->progress, done_ms, total_ms);
    return oto_cli_interrupted();
}

typedef struct {
    double audio_s, wall_s;
    size_t decoder_peak;
    bool abandoned; /* nobody reads standard output any more */
} totals;

static int finish(recording *r, const oto_job_result *result, double wall_s, oto_err *e)
{
    const bool translate = r->s->job.asr.translate;
    const double audio_s = (double)result->audio_ms / 1000;
    const oto_writer_info info = {
        .task = translate ? "translate" : "transcribe",
        .language = translate ? "en" : result->language,
        .duration_s = audio_s,
        .warning = result->warning[0] != '\0' ? result->warning : NULL,
        .model = r->s->model,
        .wall_s = wall_s,
        .rtf = audio_s > 0 ? wall_s / audio_s : 0,
        .words = r->s->output.words,
    };

    return oto_cli_output_finish(r->output, &info, e);
}

static int transcribe_one(oto_recogniser *rec, const settings *s, const char *input,
                          const char *name, totals *t, oto_err *e)
{
    recording r = {.s = s};
    oto_job_options job = s->job;
    const double t0 = oto_now_s();
    oto_job_result result;
    int rc;

    if ((rc = oto_cli_output_open(&s->output, name, &r.output, e)) != 0)
        return rc;
    oto_cli_progress_start(&r.progress, input, s->quiet);
    job.on_segment = on_segment;
    job.on_progress = on_progress;
    job.arg = &r;
    rc = oto_recogniser_run(rec, input, &job, &result, e);
    oto_cli_progress_clear(&r.progress);
    if (rc == 0)
        rc = finish(&r, &result, oto_now_s() - t0, e);
    else if (r.failed.code != 0) {
        rc = r.failed.code;
        *e = r.failed;
    } else if (oto_cli_interrupted())
        rc = oto_fail(e, OTO_E_CANCELLED, "interrupted");
    if (result.warning[0] != '\0' && !s->quiet)
        oto_log(OTO_LOG_WARN, "%s: %s", input, result.warning);
    t->audio_s += (double)result.audio_ms / 1000;
    t->decoder_peak = OTO_MAX(t->decoder_peak, result.decoder_peak_bytes);
    t->abandoned = oto_cli_output_abandoned(r.output);
    oto_cli_output_close(r.output);
    return rc;
}

/* ---- all of them ---- */

static void summary(const totals *t)
{
    const double mib = 1.0 / (1 << 20);
    const size_t own = oto_peak_rss_bytes();

    fprintf(stderr,
            "otolith: audio %.2f s, wall %.2f s, RTF %.4f, %.2f core-seconds, peak memory %.1f MiB "
            "(engine %.1f, decoder %.1f)\n",
            t->audio_s, t->wall_s, t->audio_s > 0 ? t->wall_s / t->audio_s : 0, oto_cpu_s(),
            (double)(own + t->decoder_peak) * mib, (double)own * mib,
            (double)t->decoder_peak * mib);
}

static int transcribe_all(oto_recogniser *rec, const settings *s, char **inputs, char **names,
                          int n)
{
    const double t0 = oto_now_s();
    totals t = {0};
    int status = 0;

    for (int i = 0; i < n; i++) {
        oto_err e = {0};
        const int rc = transcribe_one(rec, s, inputs[i], names[i], &t, &e);

        if (t.abandoned) {
            signal(SIGPIPE, SIG_DFL);
            raise(SIGPIPE);
        }
        if (rc == 0)
            continue;
        status = oto_cli_fail(&e);
        if (oto_cli_interrupted())
            return OTO_CLI_INTERRUPTED;
    }
    t.wall_s = oto_now_s() - t0;
    if (!s->quiet)
        summary(&t);
    return status;
}

static int check_language(const oto_model *m, settings *s, oto_err *e)
{
    oto_model_info info;

    oto_model_info_get(m, &info);
    if (s->job.asr.translate && !info.translates)
        return oto_fail(e, OTO_E_USAGE, "--task translate: model %s does not translate", s->model);
    if (s->job.asr.language[0] != '\0' && !oto_language_among(info.languages, s->job.asr.language))
        return oto_fail(e, OTO_E_USAGE, "--language %s: model %s knows %s only",
                        s->job.asr.language, s->model, info.languages);
    return 0;
}

/* *out stays NULL where there is nothing to punctuate. */
static int open_punctuation(const settings *s, const oto_model *asr, oto_model **out, oto_err *e)
{
    oto_compute compute = s->compute;
    oto_model_info info;

    if (s->punc == NULL)
        return 0;
    oto_model_info_get(asr, &info);
    if (info.punctuates) {
        if (!s->quiet)
            oto_log(OTO_LOG_WARN, "--punc: model %s punctuates by itself: %s is not used", s->model,
                    s->punc);
        return 0;
    }
    if (compute != OTO_COMPUTE_AUTO)
        compute = oto_cli_vad_compute(compute);
    return oto_cli_model(s->punc, OTO_TASK_PUNC, compute, s->offline, s->quiet, out, e);
}

static int run(settings *s, char **inputs, int n)
{
    oto_recogniser_options o = {.threads = s->threads,
                                .batch = s->batch,
                                .memory_bytes = s->memory,
                                .max_beam = OTO_MAX(s->job.asr.beam, s->job.asr.best_of)};
    oto_model *asr = NULL, *vad = NULL, *punc = NULL;
    oto_recogniser *rec = NULL;
    char **names = NULL;
    oto_err e = {0};
    int rc, status;

    s->job.asr.hotwords = s->hotwords;
    if ((rc = oto_cli_output_names(inputs, n, &names, &e)) != 0 ||
        (rc = oto_cli_output_ready(&s->output, &e)) != 0 ||
        (rc = oto_cli_model(s->model, OTO_TASK_ASR, s->compute, s->offline, s->quiet, &asr, &e)) !=
            0 ||
        (rc = check_language(asr, s, &e)) != 0)
        goto done;
    if (!s->job.no_vad &&
        (rc = oto_cli_model(OTO_CLI_DEFAULT_VAD, OTO_TASK_VAD, oto_cli_vad_compute(s->compute),
                            s->offline, s->quiet, &vad, &e)) != 0)
        goto done;
    if ((rc = open_punctuation(s, asr, &punc, &e)) != 0)
        goto done;
    o.asr = asr;
    o.vad = vad;
    o.punc = punc;
    rc = oto_recogniser_new(&o, &rec, &e);
done:
    status = rc == 0 ? transcribe_all(rec, s, inputs, names, n) : oto_cli_fail(&e);
    oto_recogniser_free(rec);
    oto_model_close(punc);
    oto_model_close(vad);
    oto_model_close(asr);
    oto_cli_output_names_free(names, n);
    return status;
}

int oto_cli_transcribe(int argc, char **argv)
{
    settings s = {.model = OTO_CLI_DEFAULT_ASR, .output = {.formats = {"txt"}, .n_formats = 1}};
    const char *value;
    oto_err e = {0};
    int id, status;

    oto_job_defaults(&s.job);
    while ((id = oto_cli_next(&verb, argc, argv, &value)) > 0)
        if (set_option(&s, id, value, &e) != 0) {
            free(s.hotwords);
            return oto_cli_fail(&e);
        }
    if (id == OTO_CLI_END && optind == argc) {
        oto_fail(&e, OTO_E_USAGE, "no recording given (otolith transcribe --help)");
        status = oto_cli_fail(&e);
    } else
        status = id == OTO_CLI_END ? run(&s, argv + optind, argc - optind) : oto_cli_stopped(id);
    free(s.hotwords);
    return status;
}
