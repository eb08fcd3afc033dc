/* zygote (private to media/): the process that decoder children are forked from.
 *
 * It has one thread, holds libav and nothing else of the program's, so a child costs little
 * whatever the program holds, and no lock of another thread is inherited. Children are made
 * siblings of it (CLONE_PARENT): the program itself waits for them and learns how they ended. */
#ifndef OTO_ZYGOTE_H
#define OTO_ZYGOTE_H

#include "media/decoder.h"

#include <sys/types.h>

/* Starts a decoder child on the job, whose descriptors stay the caller's. The zygote is started
 * when it does not run. Any thread. */
int oto_zygote_start(oto_err *e) OTO_CHECK;
int oto_zygote_spawn(const oto_decoder_job *job, pid_t *pid, oto_err *e) OTO_CHECK;

#endif
