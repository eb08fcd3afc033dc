/* The settings table, and the readers that fill it. */
#include "cli/conf.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_FILE_BYTES (1 << 20)
/* The longest time: far from any overflow when it is counted in milliseconds. */
#define CENTURY_S 3153600000

/* LIST: text that grows when its option is given again. */
enum type { TEXT, NUMBER, SIZE, TIME, FLAG, LIST };

static const struct setting {
    const char *name;
    char letter;
    enum type type;
    const char *value, *fallback;
    int64_t lo, hi; /* of numbers, sizes (bytes) and times (s) */
    const char *help;
} settings[] = {
    {"listen", 0, LIST, "ADDR:PORT", "127.0.0.1:8000", 0, 0, "where to listen; may be repeated"},
    {"data", 0, TEXT, "DIR", "", 0, 0,
     "queue, results and recordings\n(default: $XDG_DATA_HOME/otolith)"},
    {"model", 'm', TEXT, "MODEL", OTO_CLI_DEFAULT_ASR, 0, 0, "name or path (whisper-base)"},
    {"models", 0, LIST, "LIST", "", 0, 0,
     "more that requests may choose: NAME or\nALIAS=NAME; may be repeated"},
    {"compute", 0, TEXT, "TYPE", "auto", 0, 0, "f32, bf16 or int8"},
    {"no-vad", 0, FLAG, NULL, "false", 0, 0, "take everything for speech"},
    {"punc", 0, TEXT, "MODEL", "none", 0, 0, "punctuates text that has none: name or path"},
    {"workers", 0, NUMBER, "N", "0", 0, OTO_MAX_WORKERS, "engine processes (0: by cores, memory)"},
    {"threads", 0, NUMBER, "N", "0", 0, 256, "of each worker (0: cores / workers)"},
    {"jobs-per-worker", 0, NUMBER, "N", "4", 1, OTO_MAX_LANES, "that share its batches"},
    {"batch", 0, NUMBER, "N", "0", 0, 64, "windows in a batch (0: default)"},
    {"beam", 0, NUMBER, "N", "5", 1, 5, "beam size; 1 is greedy"},
    {"itn", 0, FLAG, NULL, "false", 0, 0, "numbers as they are written (zh, en)"},
    {"script", 0, TEXT, "NAME", "", 0, 0, "Chinese script of texts: s2t, t2s, s2tw, ..."},
    {"memory-limit", 0, SIZE, "SIZE", "0", 0, INT64_MAX, "of all processes together"},
    {"max-upload", 0, SIZE, "SIZE", "2G", 1, INT64_MAX, "of one request"},
    {"upload-timeout", 0, TIME, "TIME", "1h", 1, 604800, "for one request to arrive"},
    {"max-audio", 0, TIME, "TIME", "0", 0, CENTURY_S, "longest recording (0: no limit)"},
    {"max-queue", 0, NUMBER, "N", "10000", 0, 10000000, "waiting jobs (0: no limit)"},
    {"max-connections", 0, NUMBER, "N", "4096", 16, 30000, "open at once"},
    {"keep", 0, TIME, "TIME", "30d", 0, CENTURY_S, "ended jobs (0: for ever)"},
    {"keep-size", 0, SIZE, "SIZE", "20G", 0, INT64_MAX, "recordings of ended jobs (0: all)"},
    {"min-free", 0, SIZE, "SIZE", "256M", 0, INT64_MAX, "disk space that uploads leave"},
    {"tls-cert", 0, TEXT, "FILE", "", 0, 0, "PEM certificate chain: serve HTTPS"},
    {"tls-key", 0, TEXT, "FILE", "", 0, 0, "its PEM key"},
    {"cors", 0, TEXT, "ORIGIN", "", 0, 0, "pages that may call from browsers, or *"},
    {"aliases", 0, LIST, "NAMES",
     "whisper-1,gpt-4o-transcribe,gpt-4o-mini-transcribe,gpt-transcribe", 0, 0,
     "other names of the model"},
    {"require-keys", 0, FLAG, NULL, "false", 0, 0, "even while no key exists"},
    {"allow-anonymous", 0, FLAG, NULL, "false", 0, 0, "listen publicly without keys"},
    {"allow-private-webhooks", 0, FLAG, NULL, "false", 0, 0, "to addresses of this network"},
    {"webhook-secret", 0, TEXT, "TEXT", "", 0, 0, "signs webhooks"},
    {"drain", 0, TIME, "TIME", "20", 0, 3600, "for running work after SIGTERM"},
    {"recycle-jobs", 0, NUMBER, "N", "0", 0, 1000000000, "replace a worker after (0: never)"},
    {"recycle-age", 0, TIME, "TIME", "0", 0, CENTURY_S, "replace a worker after (0: never)"},
    {"recycle-growth", 0, SIZE, "SIZE", "64M", 0, INT64_MAX,
     "replace a worker grown by (0: never)"},
    {"log", 0, TEXT, "FORMAT", "text", 0, 0, "text or json"},
    {"log-level", 0, TEXT, "LEVEL", "info", 0, 0, "error, warn, info or debug"},
    {"offline", 0, FLAG, NULL, "false", 0, 0, "never fetch models"},
};

#define N_SETTINGS ((int)OTO_COUNT(settings))
_Static_assert(OTO_COUNT(settings) <= OTO_CONF_MAX, "settings");

int oto_conf_count(void)
{
    return N_SETTINGS;
}

const oto_cli_option *oto_conf_options(void)
{
    /* What stands behind the settings has the next ids. */
    static oto_cli_option options[OTO_COUNT(settings) + 3];

    if (options[0].id == 0) {
        for (int i = 0; i < N_SETTINGS; i++)
            options[i] = (oto_cli_option){i + 1, settings[i].letter, settings[i].name,
                                          settings[i].value, settings[i].help};
        options[N_SETTINGS] =
            (oto_cli_option){N_SETTINGS + 1, 0, "config", "FILE", "settings as name = value lines"};
        options[N_SETTINGS + 1] = (oto_cli_option){N_SETTINGS + 2, 0, "print-config", NULL,
                                                   "print the settings and stop"};
    }
    return options;
}

/* ---- values ---- */

static int parse_time(const char *text, int64_t *out)
{
    static const struct {
        const char *unit;
        int64_t s;
    } units[] = {{"", 1}, {"s", 1}, {"m", 60}, {"min", 60}, {"h", 3600}, {"d", 86400}};
    char *end;
    long long v;

    errno = 0;
    v = strtoll(text, &end, 10);
    if (end == text || errno != 0 || v < 0)
        return -1;
    while (*end == ' ')
        end++;
    for (size_t i = 0; i < OTO_COUNT(units); i++)
        if (strcmp(end, units[i].unit) == 0)
            return __builtin_mul_overflow(v, units[i].s, out) ? -1 : 0;
    return -1;
}

static int parse_flag(const char *text, int64_t *out)
{
    static const char *const yes[] = {"true", "yes", "on", "1"}, *const no[] = {"false", "no",
                                                                                "off", "0"};

    for (size_t i = 0; i < OTO_COUNT(yes); i++)
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *out = strcasecmp(text, yes[i]) == 0;
            return 0;
        }
    return -1;
}

static int parse(const struct setting *s, const char *text, int64_t *out, oto_err *e)
{
    static const char *const kinds[] = {"", "a number", "a size like 512M or 2G",
                                        "a time like 90, 15m, 12h or 7d", "true or false"};
    size_t size = 0;
    char *end;
    int rc = 0;

    errno = 0;
    switch (s->type) {
    case TEXT:
    case LIST:
        *out = 0;
        return 0;
    case NUMBER:
        *out = strtoll(text, &end, 10);
        rc = end == text || *end != '\0' || errno != 0 ? -1 : 0;
        break;
    case SIZE:
        rc = strcmp(text, "0") == 0 ? 0 : oto_cli_size("", text, &size, NULL);
        *out = (int64_t)OTO_MIN(size, (size_t)INT64_MAX);
        break;
    case TIME:
        rc = parse_time(text, out);
        break;
    case FLAG:
        rc = parse_flag(text, out);
        break;
    }
    if (rc != 0)
        return oto_fail(e, OTO_E_USAGE, "%s: '%.80s' is not %s", s->name, text, kinds[s->type]);
    if (s->type != FLAG && (*out < s->lo || *out > s->hi))
        return oto_fail(e, OTO_E_USAGE, "%s: '%.80s' is not between %lld and %lld", s->name, text,
                        (long long)s->lo, (long long)s->hi);
    return 0;
}

static int check_text(const struct setting *s, const char *text, oto_err *e)
{
    static const struct {
        const char *name, *values;
    } choices[] = {{"compute", " auto f32 bf16 int8 "},
                   {"log", " text json "},
                   {"log-level", " error warn info debug "}};
    char word[40];

    for (const char *p = text; *p != '\0'; p++)
        if (iscntrl((unsigned char)*p)) /* would not stand on one line of a file */
            return oto_fail(e, OTO_E_USAGE, "%s: control characters are not allowed", s->name);
    if (text[0] == '\0' && (strcmp(s->name, "listen") == 0 || strcmp(s->name, "model") == 0))
        return oto_fail(e, OTO_E_USAGE, "%s: must not be empty", s->name);
    for (size_t i = 0; i < OTO_COUNT(choices); i++) {
        if (strcmp(s->name, choices[i].name) != 0)
            continue;
        snprintf(word, sizeof word, " %.30s ", text);
        if (strchr(text, ' ') != NULL || strstr(choices[i].values, word) == NULL)
            return oto_fail(e, OTO_E_USAGE, "%s: '%.80s' is none of%s", s->name, text,
                            choices[i].values);
    }
    return 0;
}

static int set(oto_conf *c, int i, const char *text, oto_conf_source source, oto_err *e)
{
    const struct setting *s = &settings[i];
    int64_t v;
    int rc;

    if (strlen(text) >= OTO_CONF_VALUE)
        return oto_fail(e, OTO_E_USAGE, "%s: the value is too long", s->name);
    if ((rc = parse(s, text, &v, e)) != 0 || (rc = check_text(s, text, e)) != 0)
        return rc;
    snprintf(c->entries[i].value, OTO_CONF_VALUE, "%s", text);
    c->entries[i].source = source;
    return 0;
}

static int find(const char *name)
{
    for (int i = 0; i < N_SETTINGS; i++)
        if (strcmp(name, settings[i].name) == 0)
            return i;
    return -1;
}

/* ---- readers ---- */

void oto_conf_defaults(oto_conf *c)
{
    memset(c, 0, sizeof *c);
    for (int i = 0; i < N_SETTINGS; i++)
        snprintf(c->entries[i].value, OTO_CONF_VALUE, "%s", settings[i].fallback);
}

static char *strip(char *z)
{
    char *end = z + strlen(z);

    while (isspace((unsigned char)*z))
        z++;
    while (end > z && isspace((unsigned char)end[-1]))
        *--end = '\0';
    return z;
}

/* A quoted value keeps what stands in it, a doubled quote for one; elsewhere '#' begins a
 * comment. */
static int unquote(char *z, char **out)
{
    const char quote = *z;
    const char *from = z + 1;
    char *to = z, *end;

    *out = z;
    if (quote != '"' && quote != '\'') {
        z[strcspn(z, "#")] = '\0';
        *out = strip(z);
        return 0;
    }
    while (*from != quote || from[1] == quote) {
        if (*from == '\0')
            return -1;
        from += *from == quote;
        *to++ = *from++;
    }
    end = strip(z + (from + 1 - z));
    *to = '\0';
    return *end == '\0' || *end == '#' ? 0 : -1;
}

static int parse_line(oto_conf *c, char *line, oto_err *e)
{
    char *name = strip(line), *value = strchr(name, '='), *text;
    int i;

    if (*name == '\0' || *name == '#' || *name == ';' || *name == '[')
        return 0;
    if (value == NULL)
        return oto_fail(e, OTO_E_USAGE, "'%.80s' is not name = value", name);
    *value++ = '\0';
    name = strip(name);
    for (char *p = name; *p != '\0'; p++)
        if (*p == '_')
            *p = '-';
    i = find(name);
    if (i < 0)
        return oto_fail(e, OTO_E_USAGE, "no setting is named '%.80s'", name);
    if (unquote(strip(value), &text) != 0)
        return oto_fail(e, OTO_E_USAGE, "%s: the quotes do not match", name);
    return set(c, i, text, OTO_CONF_FILE, e);
}

int oto_conf_parse(oto_conf *c, const char *text, size_t n, const char *file, oto_err *e)
{
    char line[2 * OTO_CONF_VALUE + 200]; /* a value of quotes, each doubled */
    int number = 0, rc = 0;

    for (size_t at = 0; at < n && rc == 0;) {
        const char *nl = memchr(text + at, '\n', n - at);
        const size_t len = nl != NULL ? (size_t)(nl - text) - at : n - at;

        number++;
        if (len >= sizeof line)
            return oto_fail(e, OTO_E_USAGE, "%s:%d: the line is too long", file, number);
        memcpy(line, text + at, len);
        line[len] = '\0';
        rc = parse_line(c, line, e);
        if (rc != 0)
            oto_err_prefix(e, "%s:%d", file, number);
        at += len + 1;
    }
    return rc;
}

int oto_conf_read_file(oto_conf *c, const char *path, oto_err *e)
{
    oto_map map;
    int rc = oto_map_open(path, &map, e);

    if (rc != 0)
        return rc;
    if (map.n > MAX_FILE_BYTES)
        rc = oto_fail(e, OTO_E_USAGE, "%s: too large for settings", path);
    else
        rc = oto_conf_parse(c, (const char *)map.p, map.n, path, e);
    oto_map_close(&map);
    return rc;
}

static int read_variable(oto_conf *c, int i, const char *name, oto_err *e)
{
    const char *value = getenv(name);
    int rc;

    if (value == NULL || value[0] == '\0')
        return 0;
    rc = set(c, i, value, OTO_CONF_ENVIRONMENT, e);
    return rc == 0 ? 0 : oto_err_prefix(e, "%s", name);
}

int oto_conf_read_environment(oto_conf *c, oto_err *e)
{
    /* As the speech server calls it whose REST API this one speaks. */
    int rc = read_variable(c, find("data"), "ASR_STORAGE_PATH", e);

    for (int i = 0; i < N_SETTINGS && rc == 0; i++) {
        /* OTOLITH_MODELS is the folder they lie in. */
        const char *prefix =
            strcmp(settings[i].name, "models") == 0 ? "OTOLITH_SERVE_" : "OTOLITH_";
        char name[64];
        size_t n = (size_t)snprintf(name, sizeof name, "%s", prefix);

        for (const char *p = settings[i].name; *p != '\0' && n + 1 < sizeof name; p++)
            name[n++] = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
        name[n] = '\0';
        rc = read_variable(c, i, name, e);
    }
    return rc;
}

int oto_conf_set_flag(oto_conf *c, int number, const char *value, oto_err *e)
{
    const oto_conf_entry *entry = &c->entries[number];
    char longer[2 * OTO_CONF_VALUE + 2];
    int rc;

    value = value != NULL ? value : "true";
    if (settings[number].type == LIST && entry->source == OTO_CONF_FLAG) {
        snprintf(longer, sizeof longer, "%.*s,%.*s", OTO_CONF_VALUE - 1, entry->value,
                 OTO_CONF_VALUE, value);
        value = longer;
    }
    rc = set(c, number, value, OTO_CONF_FLAG, e);
    return rc == 0 ? 0 : oto_err_prefix(e, "--%s", settings[number].name);
}

void oto_conf_print(const oto_conf *c, FILE *f)
{
    static const char *const sources[] = {"default", "file", "environment", "command line"};

    for (int i = 0; i < N_SETTINGS; i++) {
        const oto_conf_entry *entry = &c->entries[i];
        const bool unset = entry->source == OTO_CONF_DEFAULT && entry->value[0] == '\0';

        fprintf(f, "%s%s = \"", unset ? "# " : "", settings[i].name);
        for (const char *p = entry->value; *p != '\0'; p++)
            if (*p == '"')
                fputs("\"\"", f);
            else
                fputc(*p, f);
        fprintf(f, "\" # %s\n", sources[entry->source]);
    }
}

/* ---- asking ---- */

const char *oto_conf_text(const oto_conf *c, const char *name)
{
    const char *value = c->entries[find(name)].value;

    return value[0] != '\0' ? value : NULL;
}

int64_t oto_conf_number(const oto_conf *c, const char *name)
{
    const int i = find(name);
    int64_t v = 0;

    return parse(&settings[i], c->entries[i].value, &v, NULL) == 0 ? v : 0;
}

bool oto_conf_flag(const oto_conf *c, const char *name)
{
    return oto_conf_number(c, name) != 0;
}
