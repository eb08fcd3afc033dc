/* Options, messages and exit statuses: the same for every verb. */
#include "cli/cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#define MAX_OPTIONS 64
#define HELP_ID     1000

/* ---- parsing ---- */

static void print_option(const oto_cli_option *o)
{
    char left[64];

    snprintf(left, sizeof left, "%c%c%s --%s%s%s", o->letter ? '-' : ' ',
             o->letter ? o->letter : ' ', o->letter ? "," : " ", o->name, o->value ? " " : "",
             o->value ? o->value : "");
    printf("  %-27s ", left);
    for (const char *p = o->help; *p != '\0'; p++) {
        putchar(*p);
        if (*p == '\n')
            printf("%31s", "");
    }
    putchar('\n');
}

static void print_help(const oto_cli_verb *v)
{
    const oto_cli_option help = {HELP_ID, 'h', "help", NULL, "this text"};
    const char *line = v->usage;

    while (*line != '\0') {
        const size_t n = strcspn(line, "\n");

        printf("%s otolith %s%s%.*s\n", line == v->usage ? "usage:" : "      ", v->name,
               n > 0 ? " " : "", (int)n, line);
        line += n + (line[n] == '\n');
    }
    printf("\n%s\n\n", v->summary);
    for (const oto_cli_option *o = v->options; o->id != 0; o++)
        print_option(o);
    print_option(&help);
    if (v->notes != NULL)
        printf("\n%s\n", v->notes);
}

/* getopt's two descriptions of the table. */
static void describe(const oto_cli_verb *v, char *letters, struct option *names)
{
    int n = 0;

    *letters++ = ':';
    for (const oto_cli_option *o = v->options; o->id != 0 && n < MAX_OPTIONS - 2; o++) {
        names[n++] = (struct option){o->name, o->value ? required_argument : no_argument, NULL,
                                     HELP_ID + 1 + (int)(o - v->options)};
        if (o->letter != 0) {
            *letters++ = o->letter;
            if (o->value != NULL)
                *letters++ = ':';
        }
    }
    names[n++] = (struct option){"help", no_argument, NULL, HELP_ID};
    names[n] = (struct option){0};
    *letters++ = 'h';
    *letters = '\0';
}

static int by_letter(const oto_cli_verb *v, int letter)
{
    for (const oto_cli_option *o = v->options; o->id != 0; o++)
        if (o->letter == letter)
            return o->id;
    return OTO_CLI_BAD;
}

static int bad_option(const oto_cli_verb *v, int got, char **argv)
{
    const char *word = optind > 0 ? argv[optind - 1] : "";
    char letter[3] = {'-', (char)optopt, '\0'};
    /* A letter may stand anywhere in its word; a name is the whole word. */
    const char *name = strncmp(word, "--", 2) == 0 ? word : letter;

    if (got == ':')
        fprintf(stderr, "otolith: %s: needs a value\n", name);
    else if (strncmp(word, "--", 2) == 0 && optopt > HELP_ID - 1)
        fprintf(stderr, "otolith: %.*s: takes no value\n", (int)strcspn(word, "="), word);
    else
        fprintf(stderr, "otolith: %s: unknown option (otolith %s --help lists them)\n", name,
                v->name);
    return OTO_CLI_BAD;
}

int oto_cli_next(const oto_cli_verb *v, int argc, char **argv, const char **value)
{
    char letters[2 * MAX_OPTIONS + 3];
    struct option names[MAX_OPTIONS];
    int got;

    describe(v, letters, names);
    opterr = 0;
    got = getopt_long(argc, argv, letters, names, NULL);
    *value = optarg;
    if (got == -1)
        return OTO_CLI_END;
    if (got == 'h' || got == HELP_ID) {
        print_help(v);
        return OTO_CLI_HELP;
    }
    if (got == '?' || got == ':')
        return bad_option(v, got, argv);
    return got > HELP_ID ? v->options[got - HELP_ID - 1].id : by_letter(v, got);
}

int oto_cli_stopped(int next)
{
    return next == OTO_CLI_HELP ? 0 : oto_cli_status(OTO_E_USAGE);
}

/* ---- values ---- */

int oto_cli_int(const char *option, const char *value, long lo, long hi, int *out, oto_err *e)
{
    char *end;
    long v;

    errno = 0;
    v = strtol(value, &end, 10);
    if (end == value || *end != '\0' || errno != 0 || v < lo || v > hi)
        return oto_fail(e, OTO_E_USAGE, "%s %s: expected a number from %ld to %ld", option, value,
                        lo, hi);
    *out = (int)v;
    return 0;
}

int oto_cli_compute(const char *option, const char *value, oto_compute *out, oto_err *e)
{
    if (oto_compute_parse(value, out) != 0)
        return oto_fail(e, OTO_E_USAGE, "%s %s: expected f32, bf16, int8 or auto", option, value);
    return 0;
}

int oto_cli_size(const char *option, const char *value, size_t *out, oto_err *e)
{
    static const char units[] = "KMGT";
    unsigned long long v;
    const char *unit;
    char *end;
    size_t factor = 1;

    errno = 0;
    v = strtoull(value, &end, 10);
    if (end == value || *value == '-' || errno != 0)
        goto bad;
    if (*end != '\0') {
        unit = strchr(units, *end >= 'a' ? *end - 'a' + 'A' : *end);
        if (unit == NULL || *unit == '\0')
            goto bad;
        factor = (size_t)1 << (10 * (unit - units + 1));
        end++;
        if (strcmp(end, "iB") == 0 || strcmp(end, "B") == 0 || strcmp(end, "b") == 0)
            end += strlen(end);
    }
    if (*end != '\0' || v == 0 || !oto_mul_size((size_t)v, factor, out))
        goto bad;
    return 0;
bad:
    return oto_fail(e, OTO_E_USAGE, "%s %s: expected a size like 512M or 2G", option, value);
}

/* ---- how it ends ---- */

int oto_cli_status(int code)
{
    static const int table[] = {
        [OTO_CLASS_OK] = 0,    [OTO_CLASS_INTERNAL] = 1,  [OTO_CLASS_USAGE] = 2,
        [OTO_CLASS_INPUT] = 3, [OTO_CLASS_NOT_FOUND] = 4, [OTO_CLASS_DENIED] = 5,
        [OTO_CLASS_LIMIT] = 6, [OTO_CLASS_BUSY] = 7,      [OTO_CLASS_UNAVAILABLE] = 7,
    };

    return table[oto_err_classify(code)];
}

int oto_cli_fail(const oto_err *e)
{
    oto_log(OTO_LOG_ERROR, "%s", e->text);
    return oto_cli_status(e->code);
}
