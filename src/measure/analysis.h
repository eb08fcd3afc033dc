/* What samples of processes tell (analysis.c; private to measure/). */
#ifndef OTO_MEASURE_ANALYSIS_H
#define OTO_MEASURE_ANALYSIS_H

#include "measure/measure.h"

/* One process: its rows in the order of time. NAN: not known. */
typedef struct {
    int pid;
    const char *name, *role; /* role: the CSV's, or "parent", "child", "process" by how it lived */
    int rows;
    double from_s, to_s;
    double first_mb, last_mb, peak_mb, peak_at_s; /* RSS */
    double pss_peak_mb, private_first_mb, private_last_mb;
    double cpu_peak, cpu_peak_at_s, cpu_mean, idle_share; /* %; idle: rows below 10 % */
    /* The longest run of rows at 150 % and more, gaps of up to 3 rows bridged; of a process that
     * never gets there but works: from the first to the last row at 10 % and more. */
    double window_from_s, window_to_s, window_cpu;
    int job; /* index of the record that it worked for alone, -1: several or none */
    bool ended;
} oto_process;

typedef struct {
    oto_process *processes;
    int n_processes, n_ticks, n_rows;
    double from_s, to_s, tick_s,
        began; /* tick: mean distance; began: time of day of second 0, or NAN */
    double tree_peak_mb,
        tree_peak_at_s; /* largest sum of one tick: PSS where it is known, else RSS */
    bool has_pss;
    /* The process that the records call the worker although others did the work: index, or -1. */
    int hiding;
    double hidden_peak_mb; /* highest peak of those it hides */
} oto_analysis;

/* Everything in `a`; names stay the sample list's. */
int oto_analyse(const oto_sample_list *samples, const oto_job_list *jobs, oto_arena *a,
                oto_analysis *out, oto_err *e) OTO_CHECK;
/* From when to when a record's job ran, in the samples' seconds; false: not known. */
bool oto_job_span(const oto_analysis *n, const oto_job_record *r, double *from_s, double *to_s);

#endif
