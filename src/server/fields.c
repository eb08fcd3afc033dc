/* Fields of a request, from the query and from the form. */
#include "server/parts.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

const char *oto_field_get(oto_exchange *x, const char *name)
{
    const char *value = NULL;
    bool from_query = false;

    for (oto_field *f = x->fields; f != NULL; f = f->next) {
        if (strcmp(f->name, name) != 0)
            continue;
        f->used = true;
        if (f->value[0] != '\0' && (f->from_query || !from_query)) {
            value = f->value;
            from_query = f->from_query;
        }
    }
    return value;
}

static bool is_named(const char *field, const char *name)
{
    const size_t n = strlen(name);

    return strncmp(field, name, n) == 0 && (field[n] == '\0' || strcmp(field + n, "[]") == 0);
}

const char *oto_field_each(oto_exchange *x, const char *name, const oto_field **at)
{
    for (oto_field *f = *at != NULL ? (*at)->next : x->fields; f != NULL; f = f->next)
        if (is_named(f->name, name)) {
            f->used = true;
            *at = f;
            if (f->value[0] != '\0')
                return f->value;
        }
    return NULL;
}

int oto_field_bool(oto_exchange *x, const char *name, bool fallback)
{
    static const char *const yes[] = {"true", "1", "yes", "on"}, *const no[] = {"false", "0", "no",
                                                                                "off"};
    const char *v = oto_field_get(x, name);

    if (v == NULL)
        return fallback;
    for (size_t i = 0; i < OTO_COUNT(yes); i++) {
        if (strcasecmp(v, yes[i]) == 0)
            return 1;
        if (strcasecmp(v, no[i]) == 0)
            return 0;
    }
    return -1;
}

static bool bad(oto_problem *p, const char *name, const char *value, double lo, double hi)
{
    *p = (oto_problem){.status = 400, .code = "invalid_value", .param = name};
    snprintf(p->text, sizeof p->text, "%s: '%.80s' is not a number between %g and %g", name, value,
             lo, hi);
    return false;
}

bool oto_field_float(oto_exchange *x, const char *name, double lo, double hi, double *out,
                     oto_problem *p)
{
    const char *v = oto_field_get(x, name);
    char *end;
    double d;

    if (v == NULL)
        return true;
    d = strtod(v, &end);
    if (end == v || *end != '\0' || !(d >= lo && d <= hi))
        return bad(p, name, v, lo, hi);
    *out = d;
    return true;
}

bool oto_field_int(oto_exchange *x, const char *name, int lo, int hi, int *out, oto_problem *p)
{
    const char *v = oto_field_get(x, name);
    char *end;
    long n;

    if (v == NULL)
        return true;
    errno = 0;
    n = strtol(v, &end, 10);
    if (end == v || *end != '\0' || errno != 0 || n < lo || n > hi)
        return bad(p, name, v, lo, hi);
    *out = (int)n;
    return true;
}
