/* fsmn_vad (private to this folder): the network gives each frame a probability of silence; the
 * end-point machine turns them into segments. See docs/models/fsmn-vad.md. */
#ifndef OTO_FSMN_VAD_H
#define OTO_FSMN_VAD_H

#include "models/family.h"

/* ---- the end-point machine (endpoint.c) ---- */

#define OTO_VAD_WINDOW 20 /* frames of the decision window */

typedef struct {
    /* options, in frames of 10 ms */
    int end_ms, on, off, max_frames, lookback, lookahead;
    double thres;
    float decibel_thres, snr_thres;
    /* state */
    bool window[OTO_VAD_WINDOW];
    int at, sum;
    bool speech; /* the window's verdict */
    enum { OTO_VAD_IDLE, OTO_VAD_IN } mode;
    int64_t silent; /* frames since the verdict turned to silence */
    int64_t t;      /* next frame */
    int64_t start, last, next_free;
    int64_t seg_start, seg_end; /* ms */
    double noise_db;
} oto_endpoint;

void oto_endpoint_init(oto_endpoint *p, const oto_vad_options *o);
/* One frame: probability of silence and loudness. `final`: the recording's last frame. True when a
 * segment is complete: *out. */
bool oto_endpoint_step(oto_endpoint *p, float p_sil, float db, bool final, oto_span *out);

#endif
