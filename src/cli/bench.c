/* otolith bench: how fast this machine is, stage by stage. */
#include "cli/cli.h"
#include "kernels/kernels.h"
#include "measure/measure.h"

#include <getopt.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum {
    OPT_MODEL = 1,
    OPT_LANGUAGE,
    OPT_THREADS,
    OPT_COMPUTE,
    OPT_BEAM,
    OPT_NO_VAD,
    OPT_JSON,
    OPT_OFFLINE
};

static const oto_cli_option options[] = {
    {OPT_MODEL, 'm', "model", "MODEL", "name or path; " OTO_CLI_DEFAULT_ASR},
    {OPT_LANGUAGE, 'l', "language", "LANG", "of the recording; detected by default"},
    {OPT_THREADS, 0, "threads", "N", "all cores by default"},
    {OPT_COMPUTE, 0, "compute", "TYPE", "f32, bf16 or int8"},
    {OPT_BEAM, 0, "beam", "N", "width of the beam; 5"},
    {OPT_NO_VAD, 0, "no-vad", NULL, "no voice activity detection"},
    {OPT_JSON, 0, "json", "FILE", "the same as JSON; '-' is standard output, without the table"},
    {OPT_OFFLINE, 0, "offline", NULL, "never fetch a model"},
    {0, 0, NULL, NULL, NULL},
};

static const oto_cli_verb verb = {
    .name = "bench",
    .usage = "[OPTION]... [FILE]",
    .summary = "speed of the stages on a recording, and of kernels",
    .options = options,
    .notes =
        "RTF is time spent / duration of the recording; core-s is processor time of all\n"
        "threads. Kernels are given in 1e9 multiplications and additions a second, as a share of\n"
        "what the same threads reach with the same instruction on registers alone, and in 1e9\n"
        "bytes of weights or keys a second. Without FILE only kernels are measured, in the shapes\n"
        "of MODEL where one is named, else of Whisper's base.\n",
};

typedef struct {
    const char *model, *json, *path;
    oto_compute compute;
    bool named, no_vad, offline; /* named: the model */
    oto_bench_options bench;
} settings;

/* ---- printing ---- */

static double ratio(double s, double audio_s)
{
    return audio_s > 0 ? s / audio_s : 0;
}

static void print_stages(const settings *o, const oto_bench *b)
{
    oto_model_info info;

    oto_model_info_get(o->bench.asr, &info);
    printf("%s: %.1f s, %s %s, %d thread%s, kernels %s\n\n", o->path, b->audio_s, o->model,
           oto_compute_name(info.compute), b->threads, b->threads == 1 ? "" : "s", oto_cpu_table());
    printf("%-10s %9s %9s %9s\n", "stage", "seconds", "RTF", "core-s");
    for (int i = 0; i < b->n_stages; i++) {
        const oto_bench_stage *s = &b->stages[i];
        printf("%-10s %9.3f %9.5f %9.3f\n", s->name, s->wall_s, ratio(s->wall_s, b->audio_s),
               s->core_s);
    }
    printf("\n%d windows, %lld decoding steps, %lld temperature fallbacks; peak %zu MB, decoder "
           "%zu MB\n\n",
           b->n_windows, (long long)b->asr.steps, (long long)b->asr.fallbacks, b->peak_bytes >> 20,
           b->decoder_peak_bytes >> 20);
}

/* A line for each thing that a thread did: how much of each sixtieth of the job it took. */
static void print_timeline(const oto_bench *b)
{
    static const char *const shade[] = {" ", "░", "▒", "▓", "█"};

    printf("what the threads did, from start to end\n");
    for (int i = 0; i < b->n_activities; i++) {
        const oto_bench_activity *a = &b->activities[i];
        printf("%-9s %-16s %7.3f s |", a->thread, a->what, a->wall_s);
        for (int j = 0; j < OTO_BENCH_SLOTS; j++)
            fputs(shade[(int)(OTO_MIN(a->slot[j], 1.0f) * 4 + 0.49f)], stdout);
        puts("|");
    }
    puts("");
}

static void print_kernels(const oto_bench *b)
{
    printf("%-9s %-5s %6s %6s %6s %10s %10s %7s %7s\n", "kernel", "type", "m", "n", "k", "Gop/s",
           "peak", "share", "GB/s");
    for (int i = 0; i < b->n_kernels; i++) {
        const oto_bench_kernel *k = &b->kernels[i];
        printf("%-9s %-5s %6d %6d %6d %10.1f %10.1f %6.1f%%", k->what, k->type, k->m, k->n, k->k,
               k->gops, k->peak, 100 * k->share);
        if (k->gbs > 0)
            printf(" %7.1f\n", k->gbs);
        else
            puts("");
    }
    printf("memory    %64.1f\n", b->memory_gbs);
}

/* ---- JSON ---- */

static json_t *stages_json(const oto_bench *b)
{
    json_t *list = json_array();
    for (int i = 0; i < b->n_stages; i++) {
        const oto_bench_stage *s = &b->stages[i];
        json_array_append_new(list, json_pack("{s:s, s:f, s:f, s:f}", "name", s->name, "wall_s",
                                              s->wall_s, "rtf", ratio(s->wall_s, b->audio_s),
                                              "core_s", s->core_s));
    }
    return list;
}

static json_t *kernels_json(const oto_bench *b)
{
    json_t *list = json_array();
    for (int i = 0; i < b->n_kernels; i++) {
        const oto_bench_kernel *k = &b->kernels[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:i, s:i, s:i, s:f, s:f, s:f, s:f}",
                                              "what", k->what, "type", k->type, "m", k->m, "n",
                                              k->n, "k", k->k, "gops", k->gops, "peak_gops",
                                              k->peak, "share", k->share, "gb_per_s", k->gbs));
    }
    return list;
}

static json_t *timeline_json(const oto_bench *b)
{
    json_t *list = json_array();
    for (int i = 0; i < b->n_activities; i++) {
        const oto_bench_activity *a = &b->activities[i];
        json_t *slots = json_array();
        for (int j = 0; j < OTO_BENCH_SLOTS; j++)
            json_array_append_new(slots, json_real((double)a->slot[j]));
        json_array_append_new(list, json_pack("{s:s, s:s, s:f, s:o}", "thread", a->thread, "what",
                                              a->what, "wall_s", a->wall_s, "shares", slots));
    }
    return list;
}

static json_t *report_json(const settings *o, const oto_bench *b)
{
    json_t *j = json_pack("{s:s, s:s, s:s, s:i, s:f, s:o}", "version", OTO_VERSION, "table",
                          oto_cpu_table(), "cpu", oto_cpu_features(), "threads", b->threads,
                          "memory_gb_per_s", b->memory_gbs, "kernels", kernels_json(b));
    oto_model_info info;

    if (j == NULL || o->path == NULL)
        return j;
    oto_model_info_get(o->bench.asr, &info);
    json_t *run = json_pack(
        "{s:s, s:s, s:s, s:s, s:f, s:f, s:f, s:f, s:i, s:I, s:I, s:I, s:I, s:o, s:o}", "file",
        o->path, "model", o->model, "compute", oto_compute_name(info.compute), "language",
        b->language, "audio_s", b->audio_s, "wall_s", b->wall_s, "rtf",
        ratio(b->wall_s, b->audio_s), "core_s", b->core_s, "windows", b->n_windows, "steps",
        (json_int_t)b->asr.steps, "fallbacks", (json_int_t)b->asr.fallbacks, "peak_bytes",
        (json_int_t)b->peak_bytes, "decoder_peak_bytes", (json_int_t)b->decoder_peak_bytes,
        "stages", stages_json(b), "timeline", timeline_json(b));
    if (run == NULL || json_object_update(j, run) != 0) {
        json_decref(j);
        j = NULL;
    }
    json_decref(run);
    return j;
}

static int write_json(const settings *o, const oto_bench *b, oto_err *e)
{
    json_t *j = report_json(o, b);
    char *text = j != NULL ? json_dumps(j, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) : NULL;
    int r = 0;

    json_decref(j);
    if (text == NULL) /* a file name that is not UTF-8, or no memory */
        return oto_fail(e, OTO_E_INPUT, "%s: cannot be written as JSON", o->path ? o->path : "");
    if (strcmp(o->json, "-") == 0)
        puts(text);
    else
        r = oto_write_file(o->json, text, strlen(text), e);
    free(text);
    return r;
}

/* ---- the verb ---- */

static int take(settings *o, int id, const char *value, oto_err *e)
{
    switch (id) {
    case OPT_MODEL:
        o->model = value;
        o->named = true;
        return 0;
    case OPT_LANGUAGE:
        o->bench.language = strcmp(value, "auto") == 0 ? NULL : value;
        return 0;
    case OPT_THREADS:
        return oto_cli_int("--threads", value, 1, 256, &o->bench.threads, e);
    case OPT_COMPUTE:
        return oto_cli_compute("--compute", value, &o->compute, e);
    case OPT_BEAM:
        return oto_cli_int("--beam", value, 1, 5, &o->bench.beam, e);
    case OPT_NO_VAD:
        o->no_vad = true;
        return 0;
    case OPT_JSON:
        o->json = value;
        return 0;
    default:
        o->offline = true;
        return 0;
    }
}

static int bench(settings *o, oto_err *e)
{
    oto_model *asr = NULL, *vad = NULL;
    oto_bench *b = calloc(1, sizeof *b);
    int r = 0;

    if (b == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    if (o->path != NULL || o->named)
        r = oto_cli_model(o->model, OTO_TASK_ASR, o->compute, o->offline, false, &asr, e);
    if (r == 0 && o->path != NULL && !o->no_vad)
        r = oto_cli_model(OTO_CLI_DEFAULT_VAD, OTO_TASK_VAD, oto_cli_vad_compute(o->compute),
                          o->offline, false, &vad, e);
    o->bench.asr = asr;
    o->bench.vad = vad;
    o->bench.path = o->path;
    if (r == 0)
        r = oto_bench_run(&o->bench, b, e);
    if (r == 0 && (o->json == NULL || strcmp(o->json, "-") != 0)) {
        if (o->path != NULL) {
            print_stages(o, b);
            print_timeline(b);
        }
        print_kernels(b);
    }
    if (r == 0 && o->json != NULL)
        r = write_json(o, b, e);
    if (r == 0 && fflush(stdout) != 0)
        r = oto_fail_errno(e, "standard output");
    oto_model_close(asr);
    oto_model_close(vad);
    free(b);
    return r;
}

int oto_cli_bench(int argc, char **argv)
{
    settings o = {.model = OTO_CLI_DEFAULT_ASR};
    const char *value;
    oto_err e = {0};
    int id, r = 0;

    while (r == 0 && (id = oto_cli_next(&verb, argc, argv, &value)) > 0)
        r = take(&o, id, value, &e);
    if (r != 0)
        return oto_cli_fail(&e);
    if (id != OTO_CLI_END)
        return oto_cli_stopped(id);
    if (argc - optind > 1) {
        oto_fail(&e, OTO_E_USAGE, "bench takes one recording (otolith bench --help)");
        return oto_cli_fail(&e);
    }
    o.path = optind < argc ? argv[optind] : NULL;
    return bench(&o, &e) == 0 ? 0 : oto_cli_fail(&e);
}
