/* What the tests of the weight formats share: files in memory, damaged in every way that is simple
 * to list. */
#ifndef OTO_TEST_FILES_H
#define OTO_TEST_FILES_H

#include "weights/formats.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define ASSERT_OK(call)                                                                            \
    do {                                                                                           \
        oto_err err_ = {0};                                                                        \
        oto_err *e_ = &err_;                                                                       \
        if ((call) != 0) {                                                                         \
            fail_msg("%s", err_.text);                                                             \
        }                                                                                          \
    } while (0)

/* A seed of the fuzz target: freed by the caller. */
static inline char *load_seed(const char *name, size_t *n)
{
    char path[500];
    oto_map m;
    snprintf(path, sizeof path, "%s/tests/fuzz/corpus/%s", OTO_SOURCE_DIR, name);
    ASSERT_OK(oto_map_open(path, &m, e_));
    char *p = malloc(m.n ? m.n : 1);
    assert_non_null(p);
    memcpy(p, m.p, m.n);
    *n = m.n;
    oto_map_close(&m);
    return p;
}

/* Parses a copy that ends where it ends, so that a sanitizer sees every read beyond. */
static inline int parse_copy(const oto_format *f, const char *p, size_t n, oto_err *e)
{
    oto_weights *w;
    char *copy = malloc(n + 1); /* +1: malloc(0) may be NULL */
    assert_non_null(copy);
    memcpy(copy + 1, p, n);
    int rc = oto_weights_parse(f, "input", (oto_slice){copy + 1, n}, NULL, 0, &w, e);
    if (!rc) {
        oto_weights_close(w);
    }
    free(copy);
    return rc;
}

/* Cut anywhere before byte `whole`, the file is refused with a code and a text. */
static inline void refuses_every_cut(const oto_format *f, const char *p, size_t whole)
{
    for (size_t n = 0; n < whole; n++) {
        oto_err e = {0};
        int rc = parse_copy(f, p, n, &e);
        if (rc == 0) {
            fail_msg("cut at %zu of %zu, and accepted", n, whole);
        }
        assert_int_equal(rc, e.code);
        assert_memory_equal(e.text, "input: ", 7);
    }
}

/* Any byte replaced by 0, 0xff, one more, or with its highest bit turned: refused or accepted, but
 * alive. */
static inline void survives_every_changed_byte(const oto_format *f, char *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const char was = p[i];
        const char tries[] = {0, (char)0xff, (char)(was + 1), (char)(was ^ 0x80)};
        for (size_t k = 0; k < sizeof tries; k++) {
            oto_err e = {0};
            p[i] = tries[k];
            int rc = parse_copy(f, p, n, &e);
            assert_true(rc == 0 || (rc == e.code && e.text[0]));
        }
        p[i] = was;
    }
}

/* A seed is refused with this code and these words. */
static inline void refuses(const oto_format *f, const char *seed, int code, const char *words)
{
    size_t n;
    oto_err e = {0};
    char *p = load_seed(seed, &n);
    assert_int_equal(parse_copy(f, p, n, &e), code);
    if (!strstr(e.text, words)) {
        fail_msg("%s: \"%s\" does not say \"%s\"", seed, e.text, words);
    }
    free(p);
}

/* Where the models of the tests are: OTO_TEST_MODELS, or "models". */
static inline const char *models_dir(void)
{
    const char *dir = getenv("OTO_TEST_MODELS");
    return dir ? dir : "models";
}

/* The Python that has the reference packages: OTO_PYTHON, .venv, or the system's. NULL when
 * `module` cannot be imported there. */
static inline const char *python_with(const char *module)
{
    char line[300];
    const char *python = getenv("OTO_PYTHON");
    python = python                                  ? python
             : access(".venv/bin/python", X_OK) == 0 ? ".venv/bin/python"
                                                     : "python3";
    snprintf(line, sizeof line, "%s -c 'import %s' 2>/dev/null", python, module);
    return system(line) == 0 ? python : NULL;
}

#endif
