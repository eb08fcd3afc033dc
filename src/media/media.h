/* media: any recording, from a file or a pipe, as 16 kHz mono f32 in small blocks.
 *
 * libav runs in a short-lived child process without rights (base/sandbox.c) that hands PCM over a
 * pipe: whatever a decoder leaks or breaks ends with the child, and its death is a clear error for
 * that one recording. The children come from a process that holds libav for all of them (zygote.c).
 */
#ifndef OTO_MEDIA_H
#define OTO_MEDIA_H

#include "base/base.h"

#define OTO_SAMPLE_RATE 16000

typedef struct {
    bool raw_pcm;       /* input is headerless PCM of the three properties below */
    int raw_rate_hz;    /* default 16000 */
    int raw_channels;   /* default 1 */
    char raw_format[8]; /* "s16le" (default), "f32le", "mulaw", "alaw", "g722" … libav's names */
    size_t address_space_bytes; /* of the child, default 1 GiB (mostly shared libraries); 0 = no
                                   limit */
    unsigned
        cpu_seconds;  /* of the child, default 0 = 60 s + 2 s per MiB of input, or 6 h for a pipe */
    oto_arena *arena; /* where the object lives; NULL: the heap */
} oto_media_options;
void oto_media_defaults(oto_media_options *o);

typedef struct oto_media oto_media;

typedef struct {
    int64_t duration_ms; /* from the container, -1 when unknown */
    char container[32], codec[32];
    int rate_hz, channels; /* of the source */
} oto_media_info;

/* Starts the child on `path` ("-": standard input). Returns once the child has found an audio
 * track. Fails: NOT_FOUND, DENIED, INPUT (corrupt, a folder, 0 bytes), NO_AUDIO (a picture, a text,
 * a film without sound), LIMIT; the text starts with the file's name. Resampling: libswresample;
 * channels are averaged (surround sound with libswresample's weights, scaled to stay in [-1, 1]).
 * Any thread; the child ends with the process. */
int oto_media_open(const char *path, const oto_media_options *o, oto_media **out,
                   oto_err *e) OTO_CHECK;
void oto_media_info_get(const oto_media *m, oto_media_info *out);
/* Reads up to n samples in [-1, 1]; *got = 0 at the end. Blocks until n samples or the end. A
 * stream that breaks off delivers what decodes; then, if packets were damaged or the file ends
 * early, oto_media_warning says so. An error is returned only when the child died or nothing at all
 * could be decoded. */
int oto_media_read(oto_media *m, float *pcm, size_t n, size_t *got, oto_err *e) OTO_CHECK;
/* "decoder: 3 corrupt packets at 12.4 s" or NULL; complete after the end was read. Owned by m. */
const char *oto_media_warning(const oto_media *m);
/* Peak resident bytes of the child; valid after the end was read, else 0. */
size_t oto_media_peak_bytes(const oto_media *m);
void oto_media_close(oto_media *m); /* kills the child when it still runs; NULL allowed */
/* Starts what the first oto_media_open would: for a process that knows it will decode, before it
 * has threads and memory. */
int oto_media_prepare(oto_err *e) OTO_CHECK;
/* Does it hold sound that can be decoded? Fails as oto_media_open. */
int oto_media_probe(const char *path, const oto_media_options *o, oto_media_info *out,
                    oto_err *e) OTO_CHECK;
/* Versions of libavformat, libavcodec, libswresample in one line. */
const char *oto_media_versions(void);

#endif
