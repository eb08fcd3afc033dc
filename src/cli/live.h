/* Processes on a terminal, a line each (live.c). */
#ifndef OTO_CLI_LIVE_H
#define OTO_CLI_LIVE_H

#include "measure/measure.h"

#define OTO_LIVE_HISTORY 40

typedef struct {
    int pid;
    int64_t start_ticks;
    int n; /* figures so far, the newest last */
    float cpu[OTO_LIVE_HISTORY], mb[OTO_LIVE_HISTORY];
} oto_live_line;

typedef struct {
    oto_live_line lines[64];
    int n_lines, n_drawn; /* drawn: rows on the screen that the next picture replaces */
} oto_live;

/* Draws the list in place of the picture before; on anything but a terminal a plain block each
 * time. */
void oto_live_draw(oto_live *v, const oto_proc_sample *list, int n, double elapsed_s);

#endif
