/* otolith score: how far a transcript is from what was said. */
#include "cli/cli.h"
#include "measure/measure.h"

#include <jansson.h>

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum { OPT_CER = 1, OPT_WER, OPT_RAW, OPT_JSON };

static const oto_cli_option options[] = {
    {OPT_CER, 0, "cer", NULL, "count characters (default for scripts without spaces)"},
    {OPT_WER, 0, "wer", NULL, "count words (default for all others)"},
    {OPT_RAW, 0, "raw", NULL, "compare the texts as they are, without normalisation"},
    {OPT_JSON, 0, "json", NULL, "print one JSON object"},
    {0, 0, NULL, NULL, NULL},
};

static const oto_cli_verb verb = {
    .name = "score",
    .usage = "[OPTION]... REF HYP",
    .summary = "error rate of transcript HYP against reference REF",
    .options = options,
    .notes =
        "REF and HYP are text files (UTF-8), '-' is standard input. Unless --raw is given both\n"
        "are normalised: NFKC, case folding, punctuation and symbols dropped, white space\n"
        "collapsed. Prints the rate, the number of errors and of units in the reference, and\n"
        "the substitutions, deletions and insertions.\n",
};

#define MAX_TEXT_BYTES ((size_t)64 << 20)

/* A whole file or standard input, terminated; NUL bytes become spaces. Freed by the caller. */
static int read_text(const char *path, char **out, oto_err *e)
{
    bool is_stdin = strcmp(path, "-") == 0;
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    size_t n = 0, cap = 1 << 16, got;
    char *p = malloc(cap), *more;
    int r = 0;

    if (f == NULL) {
        r = oto_fail_errno(e, "%s", path);
        goto done;
    }
    while (p != NULL && (got = fread(p + n, 1, cap - n - 1, f)) > 0) {
        n += got;
        if (n > MAX_TEXT_BYTES) {
            r = oto_fail(e, OTO_E_LIMIT, "%s: a text of more than %zu MiB", path,
                         MAX_TEXT_BYTES >> 20);
            goto done;
        }
        if (cap - n < 4096) {
            more = realloc(p, cap *= 2);
            if (more == NULL) {
                free(p);
            }
            p = more;
        }
    }
    if (p == NULL) {
        r = oto_fail(e, OTO_E_LIMIT, "%s: out of memory", path);
    } else if (ferror(f)) {
        r = oto_fail_errno(e, "%s", path);
    }
done:
    if (f != NULL && !is_stdin) {
        (void)fclose(f);
    }
    if (r != 0) {
        free(p);
        return r;
    }
    for (size_t i = 0; i < n; i++) {
        p[i] = p[i] == '\0' ? ' ' : p[i];
    }
    p[n] = '\0';
    *out = p;
    return 0;
}

static int print_text(const oto_score *s)
{
    bool words = s->unit == OTO_SCORE_WORDS;
    int64_t errors = s->substitutions + s->deletions + s->insertions;
    return printf("%s %.2f %% (%lld errors in %lld %s)\n"
                  "substitutions %lld, deletions %lld, insertions %lld, right %lld\n",
                  words ? "WER" : "CER", 100 * s->rate, (long long)errors, (long long)s->n_ref,
                  words ? "words" : "characters", (long long)s->substitutions,
                  (long long)s->deletions, (long long)s->insertions, (long long)s->hits);
}

static int print_json(const oto_score *s)
{
    json_t *j =
        json_pack("{s:s, s:f, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "measure",
                  s->unit == OTO_SCORE_WORDS ? "wer" : "cer", "rate", s->rate, "errors",
                  (json_int_t)(s->substitutions + s->deletions + s->insertions), "reference",
                  (json_int_t)s->n_ref, "hypothesis", (json_int_t)s->n_hyp, "hits",
                  (json_int_t)s->hits, "substitutions", (json_int_t)s->substitutions, "deletions",
                  (json_int_t)s->deletions, "insertions", (json_int_t)s->insertions);
    int r = j != NULL ? json_dumpf(j, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(8)) : -1;
    json_decref(j);
    return r == 0 ? putchar('\n') : r;
}

static int score(const char *ref_path, const char *hyp_path, oto_score_unit unit, bool raw,
                 bool json, oto_err *e)
{
    char *ref = NULL, *hyp = NULL;
    oto_arena *a = NULL;
    oto_score s;
    int r = read_text(ref_path, &ref, e);

    if (r == 0) {
        r = read_text(hyp_path, &hyp, e);
    }
    if (r == 0) {
        r = oto_arena_new("score", (size_t)8 << 30, &a, e);
    }
    if (r == 0) {
        r = oto_score_run(ref, hyp, unit, raw, a, &s, e);
    }
    if (r == 0 && ((json ? print_json(&s) : print_text(&s)) < 0 || fflush(stdout) != 0)) {
        r = oto_fail_errno(e, "standard output");
    }
    oto_arena_free(a);
    free(ref);
    free(hyp);
    return r;
}

int oto_cli_score(int argc, char **argv)
{
    oto_score_unit unit = OTO_SCORE_AUTO;
    bool raw = false, json = false;
    const char *value;
    oto_err e = {0};
    int next;

    while ((next = oto_cli_next(&verb, argc, argv, &value)) > 0) {
        switch (next) {
        case OPT_CER:
            unit = OTO_SCORE_CHARS;
            break;
        case OPT_WER:
            unit = OTO_SCORE_WORDS;
            break;
        case OPT_RAW:
            raw = true;
            break;
        case OPT_JSON:
            json = true;
            break;
        }
    }
    if (next != OTO_CLI_END) {
        return oto_cli_stopped(next);
    }
    if (argc - optind != 2) {
        oto_fail(&e, OTO_E_USAGE, "score: needs two files, REF and HYP (otolith score --help)");
        return oto_cli_fail(&e);
    }
    if (strcmp(argv[optind], "-") == 0 && strcmp(argv[optind + 1], "-") == 0) {
        oto_fail(&e, OTO_E_USAGE, "score: REF and HYP cannot both be standard input");
        return oto_cli_fail(&e);
    }
    if (score(argv[optind], argv[optind + 1], unit, raw, json, &e) != 0) {
        return oto_cli_fail(&e);
    }
    return 0;
}
