/* Simplified and traditional Chinese, by OpenCC.
 *
 * The library is C++ with dictionaries of some megabytes, and few want it: it is loaded when the
 * first conversion is opened, not linked, so that no other process pays for it. */
#include "text/text.h"

#include <opencc.h>

#include <dlfcn.h>
#include <stdlib.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include <utf8proc.h>

#define LIBRARY "libopencc.so.1.1" /* Debian's libopencc1.1 and its kin */

struct oto_script {
    void *library;
    opencc_t converter;
    const char *name;
    char *(*convert)(opencc_t, const char *, size_t);
    void (*release)(char *);
    int (*close)(opencc_t);
};

static const char *const names[] = {"s2t",   "t2s",  "s2tw", "tw2s", "s2hk", "hk2s", "s2twp",
                                    "tw2sp", "t2tw", "tw2t", "t2hk", "hk2t", NULL};

const char *const *oto_script_names(void)
{
    return names;
}

static const char *find_name(const char *name)
{
    for (size_t i = 0; names[i] != NULL; i++)
        if (strcmp(names[i], name) == 0)
            return names[i];
    return NULL;
}

bool oto_script_knows(const char *name)
{
    return find_name(name) != NULL;
}

static int find(oto_script *s, const char *function, void *out, oto_err *e)
{
    void *const f = dlsym(s->library, function);

    if (f == NULL)
        return oto_fail(e, OTO_E_UNAVAILABLE, "%s has no %s", LIBRARY, function);
    memcpy(out, &f, sizeof f);
    return 0;
}

static atomic_flag opening = ATOMIC_FLAG_INIT;

static int load(oto_script *s, oto_err *e)
{
    opencc_t (*open)(const char *) = NULL;
    char config[16];
    int rc;

    s->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (s->library == NULL)
        return oto_fail(e, OTO_E_UNAVAILABLE,
                        "script %s: %s cannot be loaded (package libopencc1.1): %s", s->name,
                        LIBRARY, dlerror());
    if ((rc = find(s, "opencc_open", &open, e)) != 0 ||
        (rc = find(s, "opencc_convert_utf8", &s->convert, e)) != 0 ||
        (rc = find(s, "opencc_convert_utf8_free", &s->release, e)) != 0 ||
        (rc = find(s, "opencc_close", &s->close, e)) != 0)
        return rc;
    snprintf(config, sizeof config, "%s.json", s->name);
    /* Of a failure OpenCC keeps the reason in a variable of all threads. */
    while (atomic_flag_test_and_set(&opening))
        sched_yield();
    s->converter = open(config);
    atomic_flag_clear(&opening);
    if (s->converter == (opencc_t)-1)
        return oto_fail(e, OTO_E_UNAVAILABLE,
                        "script %s: OpenCC's %s cannot be opened (package libopencc-data)", s->name,
                        config);
    return 0;
}

bool oto_script_there(void)
{
    void *library = dlopen(LIBRARY, RTLD_LAZY | RTLD_LOCAL);

    if (library != NULL)
        dlclose(library);
    return library != NULL;
}

int oto_script_open(const char *name, oto_script **out, oto_err *e)
{
    const char *known = find_name(name);
    oto_script *s;
    int rc;

    if (known == NULL)
        return oto_fail(e, OTO_E_USAGE,
                        "script '%s': expected one of s2t, t2s, s2tw, tw2s, s2hk, hk2s, s2twp, "
                        "tw2sp, t2tw, tw2t, t2hk, hk2t",
                        name);
    s = calloc(1, sizeof *s);
    if (s == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    s->name = known;
    s->converter = (opencc_t)-1;
    if ((rc = load(s, e)) != 0) {
        oto_script_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void oto_script_close(oto_script *s)
{
    if (s == NULL)
        return;
    if (s->converter != (opencc_t)-1)
        s->close(s->converter);
    if (s->library != NULL)
        dlclose(s->library);
    free(s);
}

static bool is_utf8(const char *text)
{
    const utf8proc_uint8_t *p = (const utf8proc_uint8_t *)text;
    utf8proc_ssize_t left = (utf8proc_ssize_t)strlen(text);

    while (left > 0) {
        utf8proc_int32_t cp;
        const utf8proc_ssize_t n = utf8proc_iterate(p, left, &cp);

        if (n <= 0)
            return false;
        p += n;
        left -= n;
    }
    return true;
}

int oto_script_convert(const oto_script *s, const char *text, oto_arena *a, const char **out,
                       oto_err *e)
{
    const size_t n = strlen(text);
    const char *copy;
    char *converted;

    /* OpenCC keeps the reason of a failure in a variable of the process: none is caused. */
    if (!is_utf8(text))
        return oto_fail(e, OTO_E_INPUT, "script %s: the text is not UTF-8", s->name);
    if (n == 0) {
        *out = "";
        return 0;
    }
    converted = s->convert(s->converter, text, n);
    if (converted == NULL)
        return oto_fail(e, OTO_E_LIMIT, "script %s: no conversion", s->name);
    copy = oto_arena_strdup(a, converted, strlen(converted));
    s->release(converted);
    if (copy == NULL)
        return oto_fail(e, OTO_E_LIMIT, "script %s: a text of %zu bytes is too long", s->name, n);
    *out = copy;
    return 0;
}
