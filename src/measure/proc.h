/* /proc, one process at a time (proc.c; private to measure/). */
#ifndef OTO_MEASURE_PROC_H
#define OTO_MEASURE_PROC_H

#include "measure/measure.h"

/* What stands in /proc/PID/stat. */
typedef struct {
    int pid, ppid, threads;
    char comm[20];
    int64_t cpu_ticks, start_ticks; /* user + system; since boot */
    int64_t faults;                 /* minor and major */
    double rss_mb;
} oto_proc_stat;

/* All processes, ordered by pid, into a heap array that grows as needed. known (or NULL) may fill
 * in one without its being read. */
int oto_proc_list(oto_proc_stat **list, int *n, int *room,
                  bool (*known)(void *arg, int pid, oto_proc_stat *out), void *arg,
                  oto_err *e) OTO_CHECK;
/* The command line, arguments separated by blanks; "" of a kernel thread or one that has gone. */
void oto_proc_command(int pid, char *out, size_t n);
/* The program as people call it: of a script its own name, not its interpreter's. */
void oto_proc_name(int pid, const char *comm, char *out, size_t n);
/* Fills in memory, files and storage of s->pid; NAN where the system does not tell. */
void oto_proc_figures(oto_proc_sample *s, bool quick);

#endif
