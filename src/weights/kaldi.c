/* am.mvn: statistics in Kaldi's text form of a network.
 *
 *   <Nnet> <Splice> 400 400 [ 0 ] <AddShift> 400 400 <LearnRateCoef> 0 [ -8.3 … ]
 *   <Rescale> 400 400 <LearnRateCoef> 0 [ 0.15 … ] </Nnet>
 *
 * The first bracket pair of the file is no data: vectors are found by the tag in front of them. */
#include "weights/parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VALUES 8192
#define MAX_NUMBER 64

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The text of the next number; 0: there is none. */
static size_t next_number(const char **p, const char *end, char out[MAX_NUMBER])
{
    size_t n = 0;

    while (*p < end && is_space(**p))
        ++*p;
    while (*p + n < end && !is_space((*p)[n]) && n < MAX_NUMBER - 1)
        n++;
    memcpy(out, *p, n);
    out[n] = '\0';
    *p += n;
    return n;
}

int oto_kaldi_vector(oto_weights *w, oto_slice text, const char *tag, const float **out, size_t *n,
                     oto_err *e)
{
    const char *p = memmem(text.p, text.n, tag, strlen(tag)), *end;
    char number[MAX_NUMBER], *stop;
    float *v;
    int rc;

    *n = 0;
    if (p == NULL || (p = memchr(p, '[', text.n - (size_t)(p - text.p))) == NULL ||
        (end = memchr(p, ']', text.n - (size_t)(p - text.p))) == NULL)
        return oto_weights_fail(w, e, OTO_E_INPUT, "am.mvn: no %s [ … ]", tag);
    if ((rc = oto_arena_get(w->a, MAX_VALUES, sizeof *v, &v, e)) != 0)
        return rc;
    p++;
    for (size_t len; (len = next_number(&p, end, number)) > 0; ++*n) {
        if (*n == MAX_VALUES)
            return oto_weights_fail(w, e, OTO_E_INPUT, "am.mvn: more than %d values of %s",
                                    MAX_VALUES, tag);
        v[*n] = strtof(number, &stop);
        if (stop != number + len || !isfinite(v[*n]))
            return oto_weights_fail(w, e, OTO_E_INPUT, "am.mvn: %s holds what is not a number",
                                    tag);
    }
    if (*n == 0)
        return oto_weights_fail(w, e, OTO_E_INPUT, "am.mvn: %s is empty", tag);
    *out = v;
    return 0;
}
