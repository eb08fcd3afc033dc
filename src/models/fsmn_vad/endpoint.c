/* endpoint: FSMN-VAD's end-point state machine, in frames of 10 ms.
 *
 * A window of 20 frames gives the verdict: speech from 15 frames of speech on, silence from 15
 * down. A segment begins a look-back before the window that turned; it ends a look-ahead behind the
 * turn to silence, once the silence has lasted long enough. Source: FunASR
 * funasr/models/fsmn_vad_streaming/model.py, whose frame bookkeeping this keeps to the frame. */
#include "models/fsmn_vad/fsmn_vad.h"

#include <math.h>
#include <string.h>

#define FRAME_MS     10
#define NOISE_FRAMES 100 /* over which the noise level is smoothed */

static void restart(oto_endpoint *p)
{
    memset(p->window, 0, sizeof p->window);
    p->at = p->sum = 0;
    p->speech = false;
    p->mode = OTO_VAD_IDLE;
    p->silent = 0;
    p->last = 0;
    p->start = -1;
}

/* 0.6, not the float nearest to it: the reference compares in double precision. */
static double decimal(float x)
{
    return round((double)x * 1e6) / 1e6;
}

void oto_endpoint_init(oto_endpoint *p, const oto_vad_options *o)
{
    *p = (oto_endpoint){.end_ms = OTO_MAX(o->max_end_silence_ms - o->speech_to_sil_ms, 0),
                        .on = o->sil_to_speech_ms / FRAME_MS,
                        .off = o->speech_to_sil_ms / FRAME_MS,
                        .max_frames = o->max_segment_ms / FRAME_MS,
                        .lookback = o->lookback_ms / FRAME_MS,
                        .lookahead = o->lookahead_ms / FRAME_MS,
                        .thres = decimal(o->speech_noise_thres),
                        .decibel_thres = o->decibel_thres,
                        .snr_thres = o->snr_thres,
                        .noise_db = -100};
    restart(p);
}

/* Frame f is the segment's end so far. Frames are consumed once: a segment never reaches back
 * behind next_free. */
static void put(oto_endpoint *p, int64_t f)
{
    p->next_free = OTO_MAX(p->next_free, f) + 1;
    p->seg_end = FRAME_MS * (f + 1);
}

static void voice(oto_endpoint *p, int64_t f)
{
    p->last = f;
    put(p, f);
}

static bool finish(oto_endpoint *p, int64_t f, oto_span *out)
{
    put(p, f);
    *out = (oto_span){p->seg_start, p->seg_end};
    restart(p);
    return true;
}

static bool is_speech(oto_endpoint *p, float p_sil, float db)
{
    if (db < p->decibel_thres)
        return false;
    if (1.0 - (double)p_sil >= (double)p_sil + p->thres)
        return db - p->noise_db >= p->snr_thres;
    p->noise_db = p->noise_db < -99.9 ? db : (db + (NOISE_FRAMES - 1) * p->noise_db) / NOISE_FRAMES;
    return false;
}

/* The window turned to speech at frame t. */
static bool on_start(oto_endpoint *p, int64_t t, bool final, oto_span *out)
{
    p->silent = 0;
    if (p->mode == OTO_VAD_IDLE) {
        p->start = OTO_MAX(p->next_free, t - OTO_VAD_WINDOW - p->lookback);
        p->seg_start = FRAME_MS * p->start;
        p->mode = OTO_VAD_IN;
        put(p, p->start);
        voice(p, t);
        if (!final)
            return false;
        /* No end mark follows: what was heard is the segment. */
        *out = (oto_span){p->seg_start, p->seg_end};
        restart(p);
        return true;
    }
    if (t - p->start + 1 > p->max_frames || final)
        return finish(p, t, out);
    voice(p, t);
    return false;
}

static bool on_speech(oto_endpoint *p, int64_t t, bool final, oto_span *out)
{
    p->silent = 0;
    if (p->mode == OTO_VAD_IDLE)
        return false;
    if (t - p->start + 1 > p->max_frames || final)
        return finish(p, t, out);
    voice(p, t);
    return false;
}

static bool on_silence(oto_endpoint *p, int64_t t, bool final, oto_span *out)
{
    p->silent++;
    if (p->mode == OTO_VAD_IDLE) {
        p->next_free = OTO_MAX(p->next_free, t - OTO_VAD_WINDOW - p->lookback);
        return false;
    }
    if (FRAME_MS * p->silent >= p->end_ms)
        return finish(p, t - OTO_MAX(0, p->end_ms / FRAME_MS - p->lookahead - 1), out);
    if (t - p->start + 1 > p->max_frames || final)
        return finish(p, t, out);
    if (p->silent <= p->lookahead)
        voice(p, t);
    return false;
}

bool oto_endpoint_step(oto_endpoint *p, float p_sil, float db, bool final, oto_span *out)
{
    const bool v = is_speech(p, p_sil, db);
    const int64_t t = p->t++;

    p->sum += (int)v - (int)p->window[p->at];
    p->window[p->at] = v;
    p->at = (p->at + 1) % OTO_VAD_WINDOW;
    if (!p->speech && p->sum >= p->on) {
        p->speech = true;
        return on_start(p, t, final, out);
    }
    if (p->speech && p->sum <= p->off) {
        p->speech = false;
        return on_speech(p, t, final, out);
    }
    return p->speech ? on_speech(p, t, final, out) : on_silence(p, t, final, out);
}
