/* residents (private to work/): which models a worker holds, by figures alone. Several are held
 * under one budget; when another has to come in, those go that nobody uses, the longest unused
 * first. */
#ifndef OTO_RESIDENTS_H
#define OTO_RESIDENTS_H

#include "work/work.h"

typedef struct {
    size_t bytes; /* while it is held */
    bool held;
    int users;       /* jobs that run with it */
    int64_t used_at; /* when somebody last used it; monotonic, ms */
} oto_resident;

typedef struct {
    oto_resident of[OTO_MAX_MODELS];
    int n;
    size_t budget; /* of all that are held; 0: none */
} oto_residents;

size_t oto_residents_bytes(const oto_residents *r); /* of those held */
/* Most that can be held at once: all, or what the budget allows. */
size_t oto_residents_most(const oto_residents *r);
/* users [n]: who uses what now. */
void oto_residents_look(oto_residents *r, const int users[], int64_t now);
/* May model i be used now? True when it is held, or fits once the models `out` [OTO_MAX_MODELS],
 * *n_out of them, have gone; false while too much is in use. A model is never refused for its size
 * alone: with nothing else in use it always fits. Nothing is changed. */
bool oto_residents_room(const oto_residents *r, int i, int out[], int *n_out);
void oto_residents_enter(oto_residents *r, int i, int64_t now);
void oto_residents_leave(oto_residents *r, int i);
/* A held model that nobody has used since `before`; -1: none. */
int oto_residents_stale(const oto_residents *r, int64_t before);

#endif
