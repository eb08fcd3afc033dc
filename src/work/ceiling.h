/* The hard limit on the memory of workers (ceiling.c; private to work/). */
#ifndef OTO_WORK_CEILING_H
#define OTO_WORK_CEILING_H

#include "base/base.h"

typedef struct {
    char group[400];  /* folder of the control group; "" none */
    const char *file; /* in it: where its limit is written */
} oto_ceiling;

/* Supervisor: a group of at most `bytes` for all workers where one can be made; 0: none is wanted.
 */
void oto_ceiling_open(oto_ceiling *c, size_t bytes);
/* After a reload: another figure, where there is a group. */
void oto_ceiling_set(oto_ceiling *c, size_t bytes);
/* A worker, right after the fork. */
void oto_ceiling_enter(const oto_ceiling *c);
/* When the workers have gone. */
void oto_ceiling_close(oto_ceiling *c);

/* This process may allocate `bytes` more than it holds now; what goes beyond fails. 0: no limit. */
void oto_ceiling_data(size_t bytes);

#endif
