/* decoder (private to media/): the child's side, and what it tells the parent.
 *
 * Two pipes lead to the parent. Samples, f32, go through one; messages through the other: one INFO
 * before the first sample or one ERROR instead, later at most one ERROR and one WARNING. A message
 * is smaller than PIPE_BUF and there is always room for them, so the child never waits on this
 * pipe, and the parent may read the samples to their end first. */
#ifndef OTO_DECODER_H
#define OTO_DECODER_H

#include "media/media.h"

typedef enum { OTO_DECODER_INFO = 1, OTO_DECODER_ERROR, OTO_DECODER_WARNING } oto_decoder_kind;

typedef struct {
    oto_decoder_kind kind;
    int code; /* of an error */
    oto_media_info info;
    char text[400];
} oto_decoder_message;

typedef struct {
    const char *name; /* the path: a hint at formats that have no header */
    const oto_media_options *o;
    int in, pcm, messages; /* descriptors */
    int spool;             /* unlinked file for an input that cannot seek but must; -1: none */
    unsigned cpu_seconds;
} oto_decoder_job;

/* Gives up its rights and decodes; returns the exit status. Called in a fresh child. */
int oto_decoder_run(const oto_decoder_job *job);

#endif
