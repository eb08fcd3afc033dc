/* Charts as SVG without a library: lines, dots, shaded spans, axes with round numbers. Colours are
 * Okabe and Ito's, told apart by the colour-blind; the style sheet travels inside the picture, so
 * that it is right as a file of its own as well. */
#include "measure/chart.h"

#include <math.h>
#include <string.h>

#define WIDTH   760.0
#define HEIGHT  300.0
#define LEFT    64.0
#define RIGHT   16.0
#define TOP     34.0 /* above the legend */
#define KEY_ROW 18.0
#define BOTTOM  44.0
/* A line needs no more points than a screen has columns, twice. */
#define COLUMNS 700

static const char style[] =
    "<style>"
    "svg.oto{--ink:#1f2328;--soft:#59636e;--grid:#d9dee3;--paper:#fff;--shade:#0072b2;"
    "font:13px system-ui,-apple-system,'Segoe UI','Noto Sans','Noto Sans CJK SC','PingFang "
    "SC','Microsoft YaHei',sans-serif}"
    "@media (prefers-color-scheme:dark){svg.oto{--ink:#e6edf3;--soft:#9aa4af;--grid:#333b44;"
    "--paper:#0d1117;--shade:#56b4e9}}"
    "@media "
    "print{svg.oto{--ink:#1f2328;--soft:#59636e;--grid:#d9dee3;--paper:#fff;--shade:#0072b2}}"
    ".oto .bg{fill:var(--paper)}.oto text{fill:var(--ink)}.oto .soft{fill:var(--soft)}"
    ".oto .grid{stroke:var(--grid);stroke-width:1}.oto .shade{fill:var(--shade);opacity:.13}"
    ".oto .l{fill:none;stroke-width:1.8;stroke-linejoin:round}.oto .d{stroke:none}"
    ".oto .dash{stroke-dasharray:7 5}"
    ".oto .c0{--c:#0072b2}.oto .c1{--c:#d55e00}.oto .c2{--c:#009e73}.oto .c3{--c:#cc79a7}"
    ".oto .c4{--c:#e69f00}.oto .c5{--c:#56b4e9}.oto .c6{--c:#8c6d31}.oto .c7{--c:#7f7f7f}"
    ".oto .l{stroke:var(--c)}.oto .d{fill:var(--c)}.oto .k{fill:var(--c)}"
    "</style>";

typedef struct {
    const oto_chart *c;
    double x0, x1, y0, y1; /* of the axes, x in logarithms when log_x */
    double top;            /* of the plot, below the legend */
    oto_str *out;
} canvas;

static void put_text(oto_str *out, const char *s)
{
    for (; *s != '\0'; s++) {
        if (*s == '&')
            oto_str_puts(out, "&amp;");
        else if (*s == '<')
            oto_str_puts(out, "&lt;");
        else if (*s == '>')
            oto_str_puts(out, "&gt;");
        else if ((unsigned char)*s >= 0x20)
            oto_str_put(out, s, 1);
    }
}

static double scale_x(const oto_chart *c, double x)
{
    return c->log_x ? log10(fmax(x, 1e-9)) : x;
}

static double px(const canvas *v, double x)
{
    return LEFT + (scale_x(v->c, x) - v->x0) / (v->x1 - v->x0) * (WIDTH - LEFT - RIGHT);
}

static double py(const canvas *v, double y)
{
    return HEIGHT - BOTTOM - (y - v->y0) / (v->y1 - v->y0) * (HEIGHT - v->top - BOTTOM);
}

/* The step of about n round marks: 1, 2 or 5 times a power of ten. */
static double round_step(double span, int n)
{
    const double raw = span / n, power = pow(10, floor(log10(raw))), m = raw / power;

    return power * (m <= 1 ? 1 : m <= 2 ? 2 : m <= 5 ? 5 : 10);
}

static bool find_bounds(canvas *v)
{
    const oto_chart *c = v->c;
    double step;

    v->x0 = v->y0 = INFINITY;
    v->x1 = v->y1 = -INFINITY;
    for (int s = 0; s < c->n_series; s++)
        for (int i = 0; i < c->series[s].n; i++) {
            const double x = scale_x(c, c->series[s].x[i]), y = c->series[s].y[i];

            if (!isfinite(x) || !isfinite(y))
                continue;
            v->x0 = fmin(v->x0, x);
            v->x1 = fmax(v->x1, x);
            v->y0 = fmin(v->y0, y);
            v->y1 = fmax(v->y1, y);
        }
    if (!isfinite(v->x0))
        return false;
    if (c->from_zero)
        v->y0 = fmin(v->y0, 0);
    /* A level line must look level: never less than a hundredth of it, or 0.1, from top to bottom.
     */
    const double least = fmax(0.1, 0.01 * fabs(v->y1));
    if (v->y1 - v->y0 < least) {
        const double middle = (v->y0 + v->y1) / 2;

        v->y0 = c->from_zero && middle < least ? 0 : middle - least / 2;
        v->y1 = v->y0 + least;
    }
    step = round_step(v->y1 - v->y0, 5);
    v->y0 = floor(v->y0 / step) * step;
    v->y1 = ceil(v->y1 / step) * step;
    if (v->x1 - v->x0 < 1e-9) {
        v->x0 -= c->log_x ? 0.5 : 1;
        v->x1 += c->log_x ? 0.5 : 1;
    } else if (c->log_x) { /* no point on the axis itself */
        const double margin = 0.03 * (v->x1 - v->x0);

        v->x0 -= margin;
        v->x1 += margin;
    }
    return true;
}

static void number(char *s, size_t n, double v, double step)
{
    const int digits = step >= 1 ? 0 : step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3;

    snprintf(s, n, "%.*f", digits, v == 0 ? 0.0 : v);
}

static void put_axes(canvas *v)
{
    const oto_chart *c = v->c;
    const double ystep = round_step(v->y1 - v->y0, 5);
    char s[40];

    for (int i = 0; i <= (int)((v->y1 - v->y0) / ystep + 0.5); i++) {
        const double y = v->y0 + i * ystep;

        number(s, sizeof s, y, ystep);
        oto_str_printf(v->out, "<path class=\"grid\" d=\"M%.0f %.1fH%.0f\"/>", LEFT, py(v, y),
                       WIDTH - RIGHT);
        oto_str_printf(v->out,
                       "<text class=\"soft\" x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">%s</text>",
                       LEFT - 8, py(v, y) + 4, s);
    }
    if (c->log_x) {
        for (int p = (int)floor(v->x0); p <= (int)ceil(v->x1); p++)
            for (int m = 1; m < 10; m++) {
                const double x = m * pow(10, p);

                /* Within two decades 1, 2, 3, 5, beyond them 1 alone. */
                if (m > 1 && (v->x1 - v->x0 > 2 || m == 4 || m > 5))
                    continue;

                if (log10(x) < v->x0 - 1e-9 || log10(x) > v->x1 + 1e-9)
                    continue;
                oto_str_printf(
                    v->out,
                    "<text class=\"soft\" x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\">%g</text>",
                    px(v, x), HEIGHT - BOTTOM + 18, x);
            }
    } else {
        const double step = round_step(v->x1 - v->x0, 8);

        for (double x = ceil(v->x0 / step) * step; x <= v->x1 + step / 1000; x += step) {
            number(s, sizeof s, x, step);
            oto_str_printf(
                v->out,
                "<text class=\"soft\" x=\"%.1f\" y=\"%.0f\" text-anchor=\"middle\">%s</text>",
                px(v, x), HEIGHT - BOTTOM + 18, s);
        }
    }
    oto_str_printf(v->out, "<text class=\"soft\" x=\"%.0f\" y=\"%.0f\" text-anchor=\"middle\">",
                   (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6);
    put_text(v->out, c->x_label);
    oto_str_printf(v->out,
                   "</text><text class=\"soft\" transform=\"translate(14 %.0f) rotate(-90)\" "
                   "text-anchor=\"middle\">",
                   (v->top + HEIGHT - BOTTOM) / 2);
    put_text(v->out, c->y_label);
    oto_str_puts(v->out, "</text>");
}

static void put_shades(canvas *v)
{
    for (int i = 0; i < v->c->n_shades; i++) {
        const double a = fmax(px(v, v->c->shades[i][0]), LEFT),
                     b = fmin(px(v, v->c->shades[i][1]), WIDTH - RIGHT);

        if (b > a)
            oto_str_printf(
                v->out,
                "<rect class=\"shade\" x=\"%.1f\" y=\"%.0f\" width=\"%.1f\" height=\"%.0f\"/>", a,
                v->top, fmax(b - a, 0.5), HEIGHT - v->top - BOTTOM);
    }
}

static void put_dots(canvas *v, const oto_chart_series *s, int colour)
{
    const int every = s->n / 2000 + 1;

    oto_str_printf(v->out, "<g class=\"d c%d\"%s>", colour, s->n > 300 ? " opacity=\".45\"" : "");
    for (int i = 0; i < s->n; i += every)
        if (isfinite(s->y[i]))
            oto_str_printf(v->out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"/>", px(v, s->x[i]),
                           py(v, s->y[i]), s->n > 300 ? "2" : "3.2");
    oto_str_puts(v->out, "</g>");
}

/* Of many points in one column the lowest and the highest are drawn: no peak gets lost. */
static void put_line(canvas *v, const oto_chart_series *s, int colour)
{
    const int per = s->n / COLUMNS + 1;
    bool pen = false;

    oto_str_printf(v->out, "<path class=\"l c%d%s\" d=\"", colour, s->dashed ? " dash" : "");
    for (int from = 0; from < s->n; from += per) {
        const int to = OTO_MIN(from + per, s->n);
        int low = -1, high = -1;

        for (int i = from; i < to; i++) {
            if (!isfinite(s->y[i]))
                continue;
            if (low < 0 || s->y[i] < s->y[low])
                low = i;
            if (high < 0 || s->y[i] > s->y[high])
                high = i;
        }
        if (low < 0) {
            pen = false;
            continue;
        }
        for (int k = 0; k < (low == high ? 1 : 2); k++) {
            const int i = (k == 0) == (low < high) ? low : high;

            oto_str_printf(v->out, "%c%.1f %.1f", pen ? 'L' : 'M', px(v, s->x[i]), py(v, s->y[i]));
            pen = true;
        }
    }
    oto_str_puts(v->out, "\"/>");
}

/* Widths of text are not known here: CJK is about as wide as it is high, the rest half of that. */
static double text_width(const char *s)
{
    double w = 0;

    for (; *s != '\0'; s++)
        if (((unsigned char)*s & 0xc0) != 0x80)
            w += (unsigned char)*s >= 0xe0 ? 13.5 : 7.3;
    return w;
}

typedef struct {
    double x, y;
} place;

/* Where a legend's next entry goes; it begins a new row when it does not fit. */
static place next_key(place *at, const char *label)
{
    const double width = 17 + text_width(label) + 18;
    place here;

    if (at->x > LEFT && at->x + width > WIDTH - RIGHT) {
        at->x = LEFT;
        at->y += KEY_ROW;
    }
    here = *at;
    at->x += width;
    return here;
}

static void put_key(oto_str *out, place p, const char *mark, double height, const char *label)
{
    oto_str_printf(out, "<rect class=\"%s\" x=\"%.1f\" y=\"%.1f\" width=\"12\" height=\"%.0f\"/>",
                   mark, p.x, p.y - 5 - height / 2, height);
    oto_str_printf(out, "<text x=\"%.1f\" y=\"%.1f\">", p.x + 17, p.y);
    put_text(out, label);
    oto_str_puts(out, "</text>");
}

/* Sets v->top below it. */
static void put_legend(canvas *v)
{
    const oto_chart *c = v->c;
    place at = {LEFT, TOP + 8};
    char mark[24];

    for (int i = 0; i < c->n_series; i++)
        if (c->series[i].label != NULL) {
            snprintf(mark, sizeof mark, "k c%d", i);
            put_key(v->out, next_key(&at, c->series[i].label), mark, c->series[i].dashed ? 3 : 10,
                    c->series[i].label);
        }
    if (c->n_shades > 0 && c->shade_label != NULL)
        put_key(v->out, next_key(&at, c->shade_label), "shade", 10, c->shade_label);
    v->top = at.y + 12;
}

void oto_chart_draw(const oto_chart *c, oto_str *out)
{
    canvas v = {.c = c, .out = out};

    if (!find_bounds(&v))
        return;
    oto_str_printf(out,
                   "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"oto\" viewBox=\"0 0 %.0f "
                   "%.0f\" role=\"img\" aria-label=\"",
                   WIDTH, HEIGHT);
    put_text(out, c->title);
    oto_str_puts(out, "\">");
    oto_str_puts(out, style);
    oto_str_printf(out,
                   "<rect class=\"bg\" width=\"%.0f\" height=\"%.0f\"/><text x=\"%.0f\" y=\"19\" "
                   "font-weight=\"600\">",
                   WIDTH, HEIGHT, LEFT);
    put_text(out, c->title);
    oto_str_puts(out, "</text>");
    put_legend(&v);
    put_shades(&v);
    put_axes(&v);
    for (int i = 0; i < c->n_series; i++)
        if (c->series[i].dots)
            put_dots(&v, &c->series[i], i);
        else
            put_line(&v, &c->series[i], i);
    oto_str_puts(out, "</svg>");
}
