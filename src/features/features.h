/* features: front ends. The filter bank is incremental: push samples in pieces of any size, pull
 * frames, which do not depend on how the samples were cut. All buffers are made at `new`, from the
 * arena; nothing is allocated while running. */
#ifndef OTO_FEATURES_H
#define OTO_FEATURES_H

#include "base/base.h"
#include "kernels/kernels.h"

/* Kaldi log-mel filter bank (no dither) → low-frame-rate stacking → CMVN. See
 * docs/models/frontend.md. Source: kaldi feat/feature-fbank.cc and FunASR
 * funasr/frontends/wav_frontend.py. */
typedef struct {
    int lfr_m, lfr_n;        /* 1, 1: no stacking; 5, 1: FSMN-VAD; 7, 6: Paraformer */
    const float *cmvn_shift; /* [80 * lfr_m] or NULL; out = (in + shift) * scale; borrowed for the
                                object's life */
    const float *cmvn_scale;
} oto_fbank_options;
typedef struct oto_fbank oto_fbank;

#define OTO_FBANK_MELS 80
int oto_fbank_new(const oto_fbank_options *o, oto_arena *a, oto_fbank **out, oto_err *e) OTO_CHECK;
/* Consumes up to n samples in [-1, 1) (scaled by 32768 inside) and writes up to max_rows rows of
 * [80 * lfr_m]. Returns the number of rows; *used says how many samples were consumed (all of them
 * unless max_rows was reached). `final` with all samples consumed flushes the rows held back; call
 * until it returns fewer than max_rows. db [max_rows] or NULL: energy in dB of the unscaled
 * first-frame-aligned 400 samples of each row (FSMN-VAD's decibel, 10 log10(Σ x² + 1e-6) of frame
 * `row`; only meaningful with lfr_n = 1). */
int oto_fbank_push(oto_fbank *f, const float *pcm, size_t n, bool final, float *out, float *db,
                   int max_rows, size_t *used);
void oto_fbank_reset(oto_fbank *f);

/* Whisper log-mel of one window of at most 30 s, as faster-whisper's FeatureExtractor makes it for
 * a chunk: 160 zeros appended, centred frames with reflection, last frame dropped, log10, clamp to
 * max - 8 of the window, (x + 4) / 4, and frames after the audio are 0.0 in the normalised domain.
 * One window at a time, by a pool of at most so many threads. */
typedef struct oto_logmel oto_logmel;
#define OTO_LOGMEL_FRAMES 3000
int oto_logmel_new(int n_mels /* 80 or 128 */, int threads, oto_arena *a, oto_logmel **out,
                   oto_err *e) OTO_CHECK;
/* pcm [n]: samples beyond 30 s are ignored. out [3000][n_mels], frame-major (the convolution reads
 * it so); returns the number of frames that hold audio. */
int oto_logmel_run(oto_logmel *l, oto_pool *pool, const float *pcm, size_t n, float *out);

#endif
