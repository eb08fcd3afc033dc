/* Recordings for a stress test (recording.c; private to measure/). */
#ifndef OTO_MEASURE_RECORDING_H
#define OTO_MEASURE_RECORDING_H

#include "base/base.h"

/* A WAV of s16 samples: babble, a voice that says nothing, the same each time. */
int oto_recording_babble(const char *path, double seconds, int rate_hz, int channels,
                         oto_err *e) OTO_CHECK;
/* A 16 kHz mono WAV of `seconds`: the recording, over and over. */
int oto_recording_repeat(const char *from, const char *path, double seconds, oto_err *e) OTO_CHECK;
/* Length by decoding: what the container says is not always true. */
int oto_recording_seconds(const char *path, double *seconds, oto_err *e) OTO_CHECK;

#endif
