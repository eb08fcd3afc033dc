#include "cli/progress.h"

#include <string.h>
#include <unistd.h>

#define BAR 24

void oto_cli_progress_start(oto_cli_progress *p, const char *path, bool quiet)
{
    const char *slash = strrchr(path, '/');

    *p = (oto_cli_progress){.on = !quiet && isatty(STDERR_FILENO) == 1, .started_s = oto_now_s()};
    if (strcmp(path, "-") == 0)
        path = "standard input";
    snprintf(p->name, sizeof p->name, "%.24s", slash != NULL ? slash + 1 : path);
}

static void put_clock(char *out, size_t n, int64_t s)
{
    if (s >= 3600)
        snprintf(out, n, "%d:%02d:%02d", (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60));
    else
        snprintf(out, n, "%d:%02d", (int)(s / 60), (int)(s % 60));
}

static void draw(oto_cli_progress *p, int64_t done_ms, int64_t total_ms, double elapsed_s)
{
    const double speed = elapsed_s > 0 ? (double)done_ms / 1000 / elapsed_s : 0;
    char bar[BAR + 1] = "", done[24], left[24];

    put_clock(done, sizeof done, done_ms / 1000);
    if (total_ms <= 0) {
        fprintf(stderr, "\r%s  %s  %.1fx\033[K", p->name, done, speed);
        return;
    }
    const double part = OTO_MIN(1.0, (double)done_ms / (double)total_ms);

    for (int i = 0; i < BAR; i++)
        bar[i] = i < (int)(part * BAR) ? '#' : '.';
    put_clock(left, sizeof left,
              speed > 0 ? (int64_t)((double)(total_ms - done_ms) / 1000 / speed) : 0);
    fprintf(stderr, "\r%s  [%s] %3d %%  %s  %.1fx  %s left\033[K", p->name, bar, (int)(part * 100),
            done, speed, left);
}

void oto_cli_progress_set(oto_cli_progress *p, int64_t done_ms, int64_t total_ms)
{
    const double now = oto_now_s();

    if (!p->on || (p->drawn && now - p->drawn_s < 0.1))
        return;
    draw(p, done_ms, total_ms, now - p->started_s);
    p->drawn = true;
    p->drawn_s = now;
}

void oto_cli_progress_clear(oto_cli_progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}
