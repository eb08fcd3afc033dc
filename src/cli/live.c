#include "cli/live.h"

#include <math.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define FIXED 70 /* columns before the graphs */

static oto_live_line *line_of(oto_live *v, const oto_proc_sample *s)
{
    for (int i = 0; i < v->n_lines; i++)
        if (v->lines[i].pid == s->pid && v->lines[i].start_ticks == s->start_ticks)
            return &v->lines[i];
    /* Ended ones make room for new ones. */
    oto_live_line *l = v->n_lines < (int)OTO_COUNT(v->lines) ? &v->lines[v->n_lines++] : NULL;
    if (l != NULL)
        *l = (oto_live_line){.pid = s->pid, .start_ticks = s->start_ticks};
    return l;
}

static void forget(oto_live *v, const oto_proc_sample *s)
{
    for (int i = 0; i < v->n_lines; i++)
        if (v->lines[i].pid == s->pid && v->lines[i].start_ticks == s->start_ticks) {
            v->lines[i] = v->lines[--v->n_lines];
            return;
        }
}

static void push(oto_live_line *l, const oto_proc_sample *s)
{
    if (l->n == OTO_LIVE_HISTORY) {
        memmove(l->cpu, l->cpu + 1, sizeof l->cpu - sizeof l->cpu[0]);
        memmove(l->mb, l->mb + 1, sizeof l->mb - sizeof l->mb[0]);
        l->n--;
    }
    l->cpu[l->n] = (float)s->cpu_percent;
    l->mb[l->n++] = (float)s->rss_mb;
}

/* The newest `width` figures as eighths of a line's height, the highest filling it. */
static void put_graph(const float *v, int n, int width, float least)
{
    static const char *const eighths[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    const int from = n > width ? n - width : 0;
    float most = least;

    for (int i = from; i < n; i++)
        most = OTO_MAX(most, v[i]);
    for (int i = n - from; i < width; i++)
        putchar(' ');
    for (int i = from; i < n; i++)
        fputs(eighths[(int)OTO_MIN(8.0f, ceilf(8 * v[i] / most))], stdout);
}

static void screen(int *rows, int *columns)
{
    struct winsize w;

    *rows = 24;
    *columns = 80;
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 && w.ws_row > 0) {
        *rows = w.ws_row;
        *columns = w.ws_col;
    }
}

static void put_process(oto_live *v, const oto_proc_sample *s, int graph)
{
    oto_live_line *l = line_of(v, s);

    printf("%8d  %-12.12s %-10.10s %6.1f %9.1f ", s->pid, s->name, s->role, s->cpu_percent,
           s->rss_mb);
    if (isfinite(s->private_mb))
        printf("%9.1f", s->private_mb);
    else
        printf("%9s", "-");
    printf(" %4d ", s->threads);
    if (l != NULL) {
        push(l, s);
        if (graph > 0) {
            put_graph(l->cpu, l->n, graph, 100);
            fputs("  ", stdout);
            put_graph(l->mb, l->n, graph, 1);
        }
    }
    fputs("\033[K\n", stdout);
}

void oto_live_draw(oto_live *v, const oto_proc_sample *list, int n, double elapsed_s)
{
    const bool terminal = isatty(STDOUT_FILENO) == 1;
    double cpu = 0, rss = 0, private_mb = 0;
    int rows, columns, graph, shown = 0;

    screen(&rows, &columns);
    graph = OTO_MIN((columns - FIXED - 3) / 2, OTO_LIVE_HISTORY);
    if (terminal && v->n_drawn > 0)
        printf("\033[%dA", v->n_drawn);
    printf("%8s  %-12s %-10s %6s %9s %9s %4s %s\033[K\n", "PID", "NAME", "ROLE", "CPU %", "RSS MB",
           "PRIVATE", "THR", graph > 0 ? "CPU AND MEMORY" : "");
    for (int i = 0; i < n; i++) {
        if (list[i].ended) {
            forget(v, &list[i]);
            continue;
        }
        cpu += list[i].cpu_percent;
        rss += list[i].rss_mb;
        private_mb += isfinite(list[i].private_mb) ? list[i].private_mb : 0;
        if (terminal && shown + 4 > rows)
            continue;
        put_process(v, &list[i], graph);
        shown++;
    }
    printf("%8s  %-12s %-10s %6.1f %9.1f %9.1f      %.0f s\033[K\n", "", "all", "", cpu, rss,
           private_mb, elapsed_s);
    if (terminal)
        fputs("\033[J", stdout);
    v->n_drawn = shown + 2;
    fflush(stdout);
}
