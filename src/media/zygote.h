/* zygote (private to media/): the process that decoder children are forked from.
 *
 *   program ─┬─ zygote   one thread, nothing loaded: forked early it stays small for good
 *            ├─ holder   forked from the zygote when there is work; holds libav; ends after half a
 *            │           minute without children
 *            └─ decoder children, forked from the holder
 *
 * So a child costs little whatever the program holds, no lock of another thread is inherited, and
 * at rest nobody holds libav. All are made the program's own children (CLONE_PARENT): it waits for
 * them, learns how they ended, and their time counts as its children's. If zygote or holder is
 * killed, jobs under way go on and the next one starts what is missing; one that is stopped is
 * killed. */
#ifndef OTO_ZYGOTE_H
#define OTO_ZYGOTE_H

#include "media/decoder.h"

#include <sys/types.h>

/* Starts a decoder child on the job, whose descriptors stay the caller's. The zygote is started
 * when it does not run. Any thread. */
int oto_zygote_start(oto_err *e) OTO_CHECK;
int oto_zygote_spawn(const oto_decoder_job *job, pid_t *pid, oto_err *e) OTO_CHECK;

#endif
