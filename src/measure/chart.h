/* Charts as SVG (chart.c; private to measure/). */
#ifndef OTO_MEASURE_CHART_H
#define OTO_MEASURE_CHART_H

#include "base/base.h"

#define OTO_CHART_SERIES 8

typedef struct {
    const char *label;
    const double *x, *y; /* NAN in y: a gap */
    int n;
    bool dots;   /* points; else a line */
    bool dashed; /* a fitted line */
} oto_chart_series;

typedef struct {
    const char *title, *x_label, *y_label;
    oto_chart_series series[OTO_CHART_SERIES];
    int n_series;
    const double (*shades)[2]; /* spans of x behind everything */
    int n_shades;
    const char *shade_label;
    bool log_x;
    bool from_zero; /* y begins at 0 */
} oto_chart;

/* Appends an <svg>; colours follow the reader's light or dark setting and print as light. */
void oto_chart_draw(const oto_chart *c, oto_str *out);

#endif
