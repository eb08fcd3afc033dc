/* Windows of sound to where Paraformer's encoder reads them. */
#ifndef PARAFORMER_HEAR_H
#define PARAFORMER_HEAR_H

#include "models/paraformer/paraformer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

#define WINDOWS 3

/* pcm cut to these lengths, as windows of one group. */
static inline void hear_windows(oto_heard_rows *heard, pf_network *net, const float *pcm,
                                const size_t *lengths, int n)
{
    oto_asr_window w[WINDOWS];
    float *to = net->sanm.in;

    for (int i = 0; i < n; i++)
        w[i] = (oto_asr_window){pcm, lengths[i], false};
    oto_heard_run(heard, w, n);
    assert_int_equal(oto_heard_group(heard, 0, n, 0, PF_ROWS, net->n_rows), n);
    for (int i = 0; i < n; i++) {
        const size_t size = (size_t)heard->n_rows[i] * OTO_LFR_DIM;

        memcpy(to, heard->rows + (size_t)i * OTO_LFR_ROWS * OTO_LFR_DIM, size * sizeof *to);
        to += size;
    }
}

#endif
