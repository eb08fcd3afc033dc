/* What a program does with opened weights, so that a fuzzer reaches the reading behind the parsing:
 * every name is found, every piece of metadata read, the first and last row of every tensor made
 * f32. */
#ifndef OTO_FUZZ_USE_WEIGHTS_H
#define OTO_FUZZ_USE_WEIGHTS_H

#include "weights/formats.h"

#include <stdlib.h>
#include <string.h>

#define MUST(x) ((x) ? (void)0 : abort())

static unsigned fuzz_sum; /* so that reading is not optimised away */

static void fuzz_add(const void *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fuzz_sum += ((const uint8_t *)p)[i];
    }
}

static void use_tensor(const oto_weights *w, const oto_tensor *t)
{
    int64_t rows = oto_tensor_rows(t), len = oto_tensor_row_len(t);
    const oto_tensor *found;
    MUST(oto_weights_find(w, t->name) == t);
    MUST(oto_weights_need(w, t->name, (int)t->type, t->rank, t->dim, &found, NULL) == 0);
    if (t->n_bytes) {
        fuzz_add(t->data, 1);
        fuzz_add((const uint8_t *)t->data + t->n_bytes - 1, 1);
    }
    /* A row of a block type may begin inside a block only when it is the whole tensor. */
    if (rows > 0 && len > 0 && len <= 1 << 16) {
        float *row = malloc((size_t)len * sizeof *row);
        MUST(row);
        oto_tensor_row_f32(t, 0, row);
        oto_tensor_row_f32(t, rows - 1, row);
        fuzz_add(row, (size_t)len * sizeof *row);
        free(row);
    }
}

static void use_meta(const oto_weights *w, const oto_meta *m)
{
    int64_t i;
    double f;
    oto_slice s;
    oto_weights_int(w, m->key, &i);
    oto_weights_f32(w, m->key, &f);
    if (oto_weights_str(w, m->key, &s)) {
        fuzz_add(s.p, s.n);
    }
    size_t n = oto_weights_array_len(w, m->key);
    for (size_t k = 0; k < n && k < 1000; k++) {
        size_t at = k < 500 ? k : n - 1 - (k - 500) % n; /* both ends */
        if (oto_weights_array_str(w, m->key, at, &s)) {
            fuzz_add(s.p, s.n);
        } else {
            MUST(oto_weights_array_int(w, m->key, at, &i) ||
                 oto_weights_array_f32(w, m->key, at, &f));
        }
    }
    MUST(!oto_weights_array_str(w, m->key, n, &s));
    MUST(!oto_weights_array_f32(w, m->key, n, &f));
}

static void use_weights(const oto_weights *w)
{
    for (size_t i = 0; i < oto_weights_count(w); i++) {
        use_tensor(w, oto_weights_at(w, i));
    }
    for (size_t i = 0; i < w->n_metas; i++) {
        use_meta(w, &w->metas[i]);
    }
}

/* Parses and uses; a failure must have a code and a text. */
static void fuzz_parse(const oto_format *f, oto_slice main, const oto_side_file *side,
                       size_t n_side)
{
    oto_weights *w;
    oto_err e = {0};
    int rc = oto_weights_parse(f, "input", main, side, n_side, &w, &e);
    if (rc) {
        MUST(rc == e.code && e.text[0]);
        return;
    }
    use_weights(w);
    oto_weights_close(w);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#endif
