/* A run's files: the JSONL of its jobs and the CSV of its processes. Written so that a crash loses
 * the last line at most; read with every field absent or null and broken lines passed over, since
 * that is what such files are like. */
#include "measure/measure.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- the fields of a job, in their order ---- */

typedef enum { TEXT, NUMBER, COUNT, COUNT_OR_NULL } kind;

static const struct {
    const char *key;
    kind kind;
    size_t at;
} fields[] = {
#define FIELD(key, kind)                                                                           \
    {                                                                                              \
#key, kind, offsetof(oto_job_record, key)                                                  \
    }
    FIELD(test_id, TEXT),
    FIELD(timestamp, TEXT),
    FIELD(audio_file, TEXT),
    FIELD(audio_size_mb, NUMBER),
    FIELD(concurrency, COUNT),
    FIELD(task_id, TEXT),
    FIELD(status, TEXT),
    FIELD(processing_time, NUMBER),
    FIELD(rtf, NUMBER),
    FIELD(worker_rss_before_mb, NUMBER),
    FIELD(worker_rss_after_mb, NUMBER),
    FIELD(worker_rss_delta_mb, NUMBER),
    FIELD(error, TEXT),
    FIELD(phase, TEXT),
    FIELD(job_index, COUNT),
    FIELD(duration, NUMBER),
    FIELD(queued_seconds, NUMBER),
    FIELD(work_seconds, NUMBER),
    FIELD(rtf_work, NUMBER),
    FIELD(bytes, NUMBER),
    FIELD(attempts, COUNT_OR_NULL),
    FIELD(tree_rss_before_mb, NUMBER),
    FIELD(tree_rss_after_mb, NUMBER),
    FIELD(tree_peak_mb, NUMBER),
    FIELD(tree_private_peak_mb, NUMBER),
    FIELD(worker_pss_before_mb, NUMBER),
    FIELD(worker_pss_after_mb, NUMBER),
    FIELD(worker_private_before_mb, NUMBER),
    FIELD(worker_private_after_mb, NUMBER),
    FIELD(worker_peak_mb, NUMBER),
    FIELD(decoder_peak_mb, NUMBER),
    FIELD(text_chars, COUNT_OR_NULL),
    FIELD(text_sha256, TEXT),
    FIELD(reason, TEXT),
    FIELD(server, TEXT),
    FIELD(machine, TEXT),
#undef FIELD
};

static void *field_of(const oto_job_record *r, size_t i)
{
    return (char *)r + fields[i].at;
}

void oto_job_record_clear(oto_job_record *r)
{
    memset(r, 0, sizeof *r);
    for (size_t i = 0; i < OTO_COUNT(fields); i++)
        if (fields[i].kind == NUMBER)
            *(double *)field_of(r, i) = NAN;
    r->attempts = r->text_chars = -1;
}

/* ---- writing ---- */

static json_t *value_of(const oto_job_record *r, size_t i)
{
    const void *p = field_of(r, i);
    const char *text;

    switch (fields[i].kind) {
    case TEXT:
        text = *(const char *const *)p;
        return text != NULL ? json_string_nocheck(text) : json_null();
    case NUMBER:
        return isfinite(*(const double *)p) ? json_real(*(const double *)p) : json_null();
    case COUNT_OR_NULL:
        if (*(const int *)p < 0)
            return json_null();
        return json_integer(*(const int *)p);
    default:
        return json_integer(*(const int *)p);
    }
}

int oto_job_record_write(const oto_job_record *r, FILE *f, oto_err *e)
{
    json_t *line = json_object(), *roles = json_object();
    char *text;
    int rc = 0;

    for (size_t i = 0; i < OTO_COUNT(fields); i++)
        json_object_set_new_nocheck(line, fields[i].key, value_of(r, i));
    for (int i = 0; i < r->n_roles; i++)
        if (isfinite(r->private_mb[i].mb))
            json_object_set_new_nocheck(roles, r->private_mb[i].role,
                                        json_real(r->private_mb[i].mb));
    json_object_set_new_nocheck(line, "private_mb", roles);
    text = json_dumps(line, JSON_ENSURE_ASCII);
    json_decref(line);
    if (text == NULL)
        return oto_fail(e, OTO_E_INPUT, "%s: cannot be written as JSON", r->test_id);
    if (fprintf(f, "%s\n", text) < 0 || fflush(f) != 0)
        rc = oto_fail_errno(e, "records");
    free(text);
    return rc;
}

/* ---- reading the JSONL ---- */

static void take(json_t *v, size_t i, oto_job_record *r, oto_arena *a)
{
    void *p = field_of(r, i);

    if (fields[i].kind == TEXT && json_is_string(v))
        *(const char **)p = oto_arena_strdup(a, json_string_value(v), json_string_length(v));
    else if (fields[i].kind == NUMBER && json_is_number(v))
        *(double *)p = json_number_value(v);
    else if (fields[i].kind != TEXT && fields[i].kind != NUMBER && json_is_number(v))
        *(int *)p = (int)OTO_MIN(OTO_MAX(json_number_value(v), -1.0), 2147483647.0);
}

static bool read_record(const char *line, size_t n, oto_arena *a, oto_job_record *r)
{
    json_t *j = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL), *v;
    const char *role;

    oto_job_record_clear(r);
    if (!json_is_object(j) || json_object_get(j, "status") == NULL) {
        json_decref(j);
        return false;
    }
    for (size_t i = 0; i < OTO_COUNT(fields); i++)
        if ((v = json_object_get(j, fields[i].key)) != NULL)
            take(v, i, r, a);
    json_object_foreach(json_object_get(j, "private_mb"), role,
                        v) if (r->n_roles < OTO_ROLES && json_is_number(v))
    {
        r->private_mb[r->n_roles].role = oto_arena_strdup(a, role, strlen(role));
        r->private_mb[r->n_roles++].mb = json_number_value(v);
    }
    json_decref(j);
    return true;
}

/* The lines of a file, one after the other; *at moves on. */
static bool next_line(const oto_map *m, size_t *at, const char **line, size_t *n)
{
    const char *end;

    if (*at >= m->n)
        return false;
    *line = (const char *)m->p + *at;
    end = memchr(*line, '\n', m->n - *at);
    *n = end != NULL ? (size_t)(end - *line) : m->n - *at;
    *at += *n + 1;
    if (*n > 0 && (*line)[*n - 1] == '\r')
        (*n)--;
    return true;
}

static size_t count_lines(const oto_map *m)
{
    const char *line;
    size_t at = 0, len, n = 0;

    while (next_line(m, &at, &line, &len))
        n++;
    return n;
}

int oto_job_list_read(const char *path, oto_arena *a, oto_job_list *out, oto_err *e)
{
    const char *line;
    size_t at = 0, n;
    oto_map m;
    int rc;

    *out = (oto_job_list){0};
    if ((rc = oto_map_open(path, &m, e)) != 0)
        return rc;
    rc = oto_arena_get(a, count_lines(&m) + 1, sizeof *out->jobs, &out->jobs, e);
    while (rc == 0 && next_line(&m, &at, &line, &n)) {
        if (n == 0)
            continue;
        if (read_record(line, n, a, &out->jobs[out->n_jobs]))
            out->n_jobs++;
        else
            out->n_bad++;
    }
    oto_map_close(&m);
    if (rc == 0 && out->n_jobs == 0)
        rc = oto_fail(e, OTO_E_INPUT, "%s: no record of a job in it", path);
    return rc;
}

/* ---- reading the CSV ---- */

enum { TIMESTAMP, ELAPSED, NAME, PID, CPU, RSS, ROLE, PSS, PRIVATE, ENDED, COLUMNS };

static const char *const columns[COLUMNS] = {
    "timestamp", "elapsed_seconds", "process_name",      "pid",  "cpu_percent", "memory_rss_mb",
    "role",      "memory_pss_mb",   "memory_private_mb", "ended"};

#define MAX_FIELDS 40

/* Splits a line at its commas; quotes as in RFC 4180. Fields point into `text`, which is changed.
 */
static int split(char *text, char *fields_out[MAX_FIELDS])
{
    int n = 0;
    char *p = text;

    while (n < MAX_FIELDS) {
        char *to = p;

        fields_out[n++] = p;
        if (*p == '"') {
            for (p++; *p != '\0' && !(p[0] == '"' && p[1] != '"'); p++) {
                if (*p == '"')
                    p++;
                *to++ = *p;
            }
            if (*p == '"')
                p++;
        } else {
            p += strcspn(p, ",");
            to = p;
        }
        if (*p == '\0') {
            *to = '\0';
            return n;
        }
        p++;
        *to = '\0';
    }
    return n;
}

static bool number(const char *s, double *out)
{
    char *end;

    *out = strtod(s, &end);
    return end != s && *end == '\0' && isfinite(*out);
}

/* Local ISO 8601 as if it were universal time: only differences are asked for. */
static double seconds_of(const char *s)
{
    struct tm t = {0};
    double seconds;

    if (sscanf(s, "%d-%d-%d%*1[T ]%d:%d:%lf", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour,
               &t.tm_min, &seconds) != 6)
        return NAN;
    t.tm_year -= 1900;
    t.tm_mon--;
    return (double)timegm(&t) + seconds;
}

double oto_record_time(const char *timestamp)
{
    return timestamp != NULL ? seconds_of(timestamp) : NAN;
}

static int name_index(oto_sample_list *l, const char *name, oto_arena *a)
{
    for (int i = 0; i < l->n_names; i++)
        if (strcmp(l->names[i], name) == 0)
            return i;
    if (l->n_names == (int)OTO_COUNT(l->names))
        return l->n_names - 1;
    l->names[l->n_names] = oto_arena_strdup(a, name, strlen(name));
    return l->names[l->n_names] != NULL ? l->n_names++ : 0;
}

static const char *cell(char *const *f, int n, const int *where, int column)
{
    return where[column] >= 0 && where[column] < n ? f[where[column]] : "";
}

static float figure(char *const *f, int n, const int *where, int column)
{
    double v;

    return number(cell(f, n, where, column), &v) ? (float)v : NAN;
}

static bool read_row(char *text, const int *where, oto_sample_list *l, oto_arena *a)
{
    char *f[MAX_FIELDS];
    const int n = split(text, f);
    oto_sample_row *r = &l->rows[l->n_rows];
    double pid, v;

    if (!number(cell(f, n, where, ELAPSED), &r->at_s) || !number(cell(f, n, where, PID), &pid) ||
        !number(cell(f, n, where, CPU), &v) || !number(cell(f, n, where, RSS), &v))
        return false;
    r->pid = (int)pid;
    r->when = seconds_of(cell(f, n, where, TIMESTAMP));
    r->name = name_index(l, cell(f, n, where, NAME), a);
    r->role = where[ROLE] >= 0 ? name_index(l, cell(f, n, where, ROLE), a) : -1;
    r->cpu = figure(f, n, where, CPU);
    r->rss = figure(f, n, where, RSS);
    r->pss = figure(f, n, where, PSS);
    r->private_mb = figure(f, n, where, PRIVATE);
    r->ended = strcmp(cell(f, n, where, ENDED), "1") == 0;
    l->n_rows++;
    return true;
}

static bool read_header(char *text, int where[COLUMNS])
{
    char *f[MAX_FIELDS];
    const int n = split(text, f);

    for (int c = 0; c < COLUMNS; c++) {
        where[c] = -1;
        for (int i = 0; i < n; i++)
            if (strcmp(f[i], columns[c]) == 0)
                where[c] = i;
    }
    return where[ELAPSED] >= 0 && where[PID] >= 0 && where[CPU] >= 0 && where[RSS] >= 0 &&
           where[NAME] >= 0;
}

int oto_sample_list_read(const char *path, oto_arena *a, oto_sample_list *out, oto_err *e)
{
    int where[COLUMNS], rc;
    char text[2000];
    const char *line;
    size_t at = 0, n;
    bool header = false;
    oto_map m;

    *out = (oto_sample_list){0};
    if ((rc = oto_map_open(path, &m, e)) != 0)
        return rc;
    rc = oto_arena_get(a, count_lines(&m) + 1, sizeof *out->rows, &out->rows, e);
    while (rc == 0 && next_line(&m, &at, &line, &n)) {
        snprintf(text, sizeof text, "%.*s", (int)OTO_MIN(n, sizeof text - 1), line);
        if (!header) {
            header = true;
            if (!read_header(text, where))
                rc = oto_fail(e, OTO_E_INPUT, "%s: not a monitor's CSV (columns missing)", path);
        } else if (n > 0 && !read_row(text, where, out, a)) {
            out->n_bad++;
        }
    }
    oto_map_close(&m);
    if (rc == 0 && out->n_rows == 0)
        rc = oto_fail(e, OTO_E_INPUT, "%s: no sample in it", path);
    return rc;
}
