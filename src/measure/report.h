/* A report being written (private to measure/: report.c, report_system.c, report_format.c). */
#ifndef OTO_MEASURE_REPORT_H
#define OTO_MEASURE_REPORT_H

#include "measure/analysis.h"
#include "measure/chart.h"
#include "measure/document.h"
#include "measure/measure.h"
#include "measure/report_text.h"

typedef struct {
    const oto_report_options *o;
    oto_arena *a;
    bool zh;
    oto_document d;
    oto_job_list jobs, before;
    oto_judgement judged, was;
    oto_sample_list samples;
    oto_analysis seen; /* of the samples */
    bool has_samples, has_before;
    int n_charts;
    oto_err *e;
    int rc; /* of the first file that could not be written */
} oto_report;

/* ---- report_format.c: words and numbers in the report's language; all in the arena ---- */

const char *oto_say(oto_report *r, int text, ...);
const char *oto_number(oto_report *r, double v, int digits); /* 3,867.3; NAN: N/A */
const char *oto_signed(oto_report *r, double v, int digits); /* +3,867.3 */
const char *oto_duration(oto_report *r, double seconds);
/* From when to when, of oto_record_time. */
const char *oto_from_to(oto_report *r, double from, double to);
const char *oto_role(oto_report *r, const char *role);
const char *oto_listed(oto_report *r, const char *const *items, int n); /* "a, b, c" */
/* "LABEL: value" */
const char *oto_labelled(oto_report *r, int label, const char *value);
void oto_row(oto_report *r, int n, ...); /* cells of a table, const char * each */

/* ---- report_system.c: what the samples tell ---- */

void oto_report_resources(oto_report *r);
void oto_report_findings(oto_report *r);
void oto_report_chart(oto_report *r, const oto_chart *c, const char *name);

/* The figures of one kind of the jobs that memory is judged by, in order; the count. */
int oto_report_figures(const oto_job_list *l, size_t at, double *out);

#endif
