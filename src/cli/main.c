/* otolith: the verb table. */
#include "cli/cli.h"
#include "kernels/kernels.h"

#include <string.h>

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} verbs[] = {
    {"transcribe", oto_cli_transcribe, "recordings to text or subtitles"},
    {"vad", oto_cli_vad, "where a recording holds speech"},
    {"models", oto_cli_models, "list, fetch, check, remove and convert models"},
    {"score", oto_cli_score, "word or character error rate of a text"},
    {"bench", oto_cli_bench, "speed by stage"},
    {"serve", oto_cli_serve, "the server: API, durable queue, workers"},
    {"keys", oto_cli_keys, "API keys of the server"},
    {"monitor", oto_cli_monitor, "what processes take: CPU, memory, files"},
    {"stress", oto_cli_stress, "drive a running server and judge its memory"},
    {"report", oto_cli_report, "a report of a stress test, English and Chinese"},
    {"version", oto_cli_version, "this program, its kernels and libraries"},
};

static int help(FILE *f)
{
    fputs("usage: otolith VERB [OPTION]... [ARGUMENT]...\n"
          "       otolith VERB --help\n\n"
          "Speech to text on this machine.\n\n",
          f);
    for (size_t i = 0; i < OTO_COUNT(verbs); i++)
        fprintf(f, "  %-12s %s\n", verbs[i].name, verbs[i].summary);
    fputs(
        "\nExit status: 0 done; 1 a fault in this program; 2 wrong usage; 3 bad input (corrupt,\n"
        "no sound, wrong checksum); 4 not found; 5 not permitted; 6 a limit (memory, disk full);\n"
        "7 unavailable (network, input/output); 130 interrupted. Of several recordings the last\n"
        "that failed decides. Failures are one line each on standard error.\n\n"
        "Environment: OTOLITH_MODELS folder of models; OTOLITH_OFFLINE=1 never fetch;\n"
        "OTOLITH_HUB, OTOLITH_MODELSCOPE addresses to fetch from in place of Hugging Face and\n"
        "ModelScope; OTOLITH_CPU kernels to use (scalar, avx2, avxvnni, avx512, avx512bf16, amx, "
        "neon).\n",
        f);
    return 0;
}

static bool is_one_of(const char *s, const char *a, const char *b, const char *c)
{
    return strcmp(s, a) == 0 || strcmp(s, b) == 0 || strcmp(s, c) == 0;
}

int main(int argc, char **argv)
{
    static char help_option[] = "--help";
    oto_err e = {0};

    if (argc < 2) {
        help(stderr);
        return oto_cli_status(OTO_E_USAGE);
    }
    oto_fault_setup();
    oto_cli_catch_signals();
    if (oto_cpu_init(&e) != 0)
        return oto_cli_fail(&e);
    if (is_one_of(argv[1], "--version", "-V", "version"))
        return oto_cli_version(argc - 1, argv + 1);
    if (is_one_of(argv[1], "help", "--help", "-h")) {
        if (argc == 2)
            return help(stdout);
        /* "help VERB" is "VERB --help" */
        argv[1] = argv[2];
        argv[2] = help_option;
        argc = 3;
    }
    for (size_t i = 0; i < OTO_COUNT(verbs); i++)
        if (strcmp(argv[1], verbs[i].name) == 0)
            return verbs[i].run(argc - 1, argv + 1);
    oto_fail(&e, OTO_E_USAGE, "%s: no such verb (otolith --help lists them)", argv[1]);
    return oto_cli_fail(&e);
}
