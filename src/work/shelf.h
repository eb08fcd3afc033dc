/* shelf (private to work/): the models of a worker, each mapped with an engine while it is used.
 * The worker's main thread alone takes from it and puts back; engines are used by lanes meanwhile.
 */
#ifndef OTO_SHELF_H
#define OTO_SHELF_H

#include "work/residents.h"

typedef struct {
    const oto_worker_options *o;
    oto_residents residents;
    struct {
        oto_model *model;   /* NULL: not mapped */
        oto_engine *engine; /* NULL: at rest */
    } of[OTO_MAX_MODELS];
    oto_crew *crew; /* of several models' engines; NULL at rest, and with one model */
    struct {
        int64_t runs, mixed_runs, windows;
    } past; /* of engines that have gone */
    int64_t opens;
} oto_shelf;

/* The model that a job names (NULL: the default, number 0); -1: none is called so. */
int oto_shelf_find(const oto_shelf *s, const char *name);
/* Maps a model; what has to go for it is gone. */
int oto_shelf_map(oto_shelf *s, int i, oto_err *e) OTO_CHECK;
/* An engine for a mapped model. */
int oto_shelf_engine(oto_shelf *s, int i, oto_err *e) OTO_CHECK;
/* Nobody may use it any more, no recogniser either. */
void oto_shelf_put_away(oto_shelf *s, int i);
/* Engines go, and all models but the default. */
void oto_shelf_rest(oto_shelf *s);
void oto_shelf_close(oto_shelf *s);
bool oto_shelf_works(const oto_shelf *s);    /* has an engine */
uint32_t oto_shelf_held(const oto_shelf *s); /* bits of the models that are mapped */
/* Of all engines since the start. */
void oto_shelf_stats(const oto_shelf *s, int64_t *runs, int64_t *mixed_runs, int64_t *windows);

#endif
