/* recogniser: one recording, end to end: decode, slice, recognise in batches, map times back, in
 * order, in bounded memory. */
#ifndef OTO_RECOGNISER_H
#define OTO_RECOGNISER_H

#include "base/base.h"
#include "media/media.h"
#include "models/models.h"
#include "text/text.h"

typedef struct {
    const oto_model *asr, *vad; /* borrowed; vad NULL: no VAD */
    int threads;                /* 0: all cores */
    int batch;                  /* windows per batch, default 3, lowered to fit memory_bytes */
    int max_beam;               /* 5 */
    size_t memory_bytes; /* cap on resident memory, mapped weights included; 0: none. LIMIT when too
                            small */
} oto_recogniser_options;
typedef struct oto_recogniser oto_recogniser;
int oto_recogniser_new(const oto_recogniser_options *o, oto_recogniser **out, oto_err *e) OTO_CHECK;
void oto_recogniser_free(oto_recogniser *r);

typedef struct {
    oto_asr_options asr;
    oto_vad_options vad;
    oto_media_options media;
    bool no_vad;       /* everything is speech; cut at the quietest point */
    int max_window_ms; /* 30000 (slice.c) */
    /* Called in order of time, from the calling thread. A non-zero return cancels
     * (OTO_E_CANCELLED). s is borrowed. */
    int (*on_segment)(void *arg, const oto_segment *s);
    /* audio done / known duration (-1 unknown), ms */
    int (*on_progress)(void *arg, int64_t done_ms, int64_t total_ms);
    void *arg;
} oto_job_options;
void oto_job_defaults(oto_job_options *o);

typedef struct {
    int64_t audio_ms; /* what was decoded */
    int64_t speech_ms;
    int n_segments, n_windows;
    char language[8];
    float language_probability;
    char warning[200];      /* decoder's, or "" */
    double decode_s, vad_s; /* waiting for PCM; VAD */
    oto_asr_stats asr;      /* of this job */
    size_t decoder_peak_bytes;
} oto_job_result;
/* path "-" is standard input. */
int oto_recogniser_run(oto_recogniser *r, const char *path, const oto_job_options *o,
                       oto_job_result *out, oto_err *e) OTO_CHECK;

/* VAD alone: every segment of a recording, in order. */
int oto_recogniser_vad(const oto_model *vad, int threads, const char *path,
                       const oto_job_options *o, void (*on_span)(void *arg, const oto_span *s),
                       oto_job_result *out, oto_err *e) OTO_CHECK;

#endif
