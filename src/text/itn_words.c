/* The words of a language, from its data file: kind, key and value on a line, with tabs between. */
#include "text/itn.h"

#include <stdlib.h>
#include <string.h>

static const char *const kinds[ITN_KINDS] = {"fold",    "keep",    "after",   "unit",
                                             "measure", "daypart", "month",   "cardinal",
                                             "ordinal", "part",    "currency"};

static int kind_of(const char *name)
{
    for (int i = 0; i < ITN_KINDS; i++)
        if (strcmp(kinds[i], name) == 0)
            return i;
    return -1;
}

/* Cuts a line; returns its kind, or -1 for one that says nothing. */
static int cut_line(char *line, itn_entry *out)
{
    char *key = strchr(line, '\t'), *value;

    if (line[0] == '#' || key == NULL)
        return -1;
    *key++ = '\0';
    value = strchr(key, '\t');
    if (value != NULL)
        *value++ = '\0';
    *out = (itn_entry){key, value != NULL ? value : "", strlen(key)};
    return kind_of(line);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const itn_entry *)a)->key, ((const itn_entry *)b)->key);
}

/* Lines of a kind stand together in the entries, whatever their order in the file. */
static void sort_in(oto_itn *t, const itn_entry *lines, const int *kind, size_t n)
{
    size_t at = 0;

    for (int k = 0; k < ITN_KINDS; k++) {
        itn_table *table = &t->tables[k];

        table->entries = t->entries + at;
        for (size_t i = 0; i < n; i++)
            if (kind[i] == k) {
                t->entries[at++] = lines[i];
                table->longest = OTO_MAX(table->longest, lines[i].n);
            }
        table->n = (size_t)(t->entries + at - table->entries);
        qsort(table->entries, table->n, sizeof *table->entries, by_key);
    }
}

int oto_itn_read(oto_itn *t, const unsigned char *data, size_t bytes, oto_err *e)
{
    itn_entry *lines;
    size_t n = 0, most = 1;
    int *kind, rc = 0;
    char *save = NULL;

    t->text = malloc(bytes + 1);
    if (t->text == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    memcpy(t->text, data, bytes);
    t->text[bytes] = '\0';
    for (size_t i = 0; i < bytes; i++)
        most += t->text[i] == '\n';
    lines = calloc(most, sizeof *lines);
    kind = calloc(most, sizeof *kind);
    t->entries = calloc(most, sizeof *t->entries);
    if (lines == NULL || kind == NULL || t->entries == NULL) {
        rc = oto_fail(e, OTO_E_LIMIT, "out of memory");
        goto done;
    }
    for (char *line = strtok_r(t->text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        kind[n] = cut_line(line, &lines[n]);
        n += kind[n] >= 0;
    }
    sort_in(t, lines, kind, n);
done:
    free(lines);
    free(kind);
    return rc;
}

const itn_entry *oto_itn_find(const oto_itn *t, itn_kind kind, const char *p, size_t n)
{
    const itn_table *table = &t->tables[kind];
    size_t from = 0, to = table->n;

    while (from < to) {
        const size_t mid = from + (to - from) / 2;
        const itn_entry *x = &table->entries[mid];
        const int order = memcmp(x->key, p, OTO_MIN(x->n, n));

        if (order == 0 && x->n == n)
            return x;
        if (order < 0 || (order == 0 && x->n < n))
            from = mid + 1;
        else
            to = mid;
    }
    return NULL;
}

/* Does any key begin as p does? Nearly all places are settled by this. */
static bool begins(const itn_table *table, const char *p, size_t n)
{
    size_t from = 0, to = table->n;

    while (from < to) {
        const size_t mid = from + (to - from) / 2;
        const itn_entry *x = &table->entries[mid];
        const int order = memcmp(x->key, p, OTO_MIN(x->n, n));

        if (order == 0)
            return true;
        if (order < 0)
            from = mid + 1;
        else
            to = mid;
    }
    return false;
}

const itn_entry *oto_itn_longest(const oto_itn *t, itn_kind kind, const char *p, size_t n)
{
    size_t first = 1;

    while (first < n && ((unsigned char)p[first] & 0xC0) == 0x80)
        first++;
    if (n == 0 || !begins(&t->tables[kind], p, first))
        return NULL;
    for (size_t k = OTO_MIN(n, t->tables[kind].longest); k > 0; k--) {
        const itn_entry *x;

        if (k < n && ((unsigned char)p[k] & 0xC0) == 0x80)
            continue;
        x = oto_itn_find(t, kind, p, k);
        if (x != NULL)
            return x;
    }
    return NULL;
}
