/* The server's processes while it is under load (watch.c; private to measure/). */
#ifndef OTO_MEASURE_WATCH_H
#define OTO_MEASURE_WATCH_H

#include "measure/measure.h"

/* What the processes take now. NAN: nothing to see. */
typedef struct {
    int n; /* processes */
    double worker_rss_mb, worker_pss_mb,
        worker_private_mb; /* all workers; of others: all processes */
    double tree_rss_mb;
    double tree_peak_mb, tree_private_peak_mb, worker_peak_mb,
        decoder_peak_mb; /* since the mark: PSS sum; largest RSS of one */
    int n_roles;
    struct {
        char role[16];
        double mb;
    } private_mb[OTO_ROLES]; /* private dirty and swapped, by role */
} oto_watch_view;

typedef struct oto_watch oto_watch;
/* Samples into `csv` (appended to) at the interval, in a thread of its own. */
int oto_watch_new(const oto_monitor_options *o, const char *csv, double interval_s, oto_watch **out,
                  oto_err *e) OTO_CHECK;
void oto_watch_free(oto_watch *w);
/* Peaks begin anew. */
void oto_watch_mark(oto_watch *w);
/* Looks now. w may be NULL. */
void oto_watch_look(oto_watch *w, oto_watch_view *out);

#endif
