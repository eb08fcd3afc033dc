/* board: what each process tells of itself, in memory that all of them share. Every figure is an
 * atomic of its own: a reader may see two that are a moment apart, never a torn one. */
#include "work/work.h"

#include <math.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

const double oto_rtf_bounds[OTO_RTF_BUCKETS] = {0.005, 0.01, 0.02, 0.05,    0.1,
                                                0.2,   0.5,  1.0,  HUGE_VAL};

int64_t oto_clock_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int make_bell(oto_board_proc *p, oto_err *e)
{
    p->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return p->bell >= 0 ? 0 : oto_fail_errno(e, "bell");
}

int oto_board_new(int n_workers, oto_board **out, oto_err *e)
{
    oto_board *b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int rc;

    if (b == MAP_FAILED)
        return oto_fail_errno(e, "board");
    b->n_workers = n_workers;
    b->started_at = oto_clock_ms();
    b->supervisor.bell = b->gateway.bell = -1;
    for (int i = 0; i < n_workers; i++)
        b->workers[i].bell = -1;
    rc = make_bell(&b->gateway, e);
    for (int i = 0; i < n_workers && rc == 0; i++)
        rc = make_bell(&b->workers[i], e);
    if (rc != 0) {
        oto_board_free(b);
        return rc;
    }
    *out = b;
    return 0;
}

void oto_board_free(oto_board *b)
{
    if (b == NULL)
        return;
    if (b->gateway.bell >= 0)
        close(b->gateway.bell);
    for (int i = 0; i < b->n_workers; i++)
        if (b->workers[i].bell >= 0)
            close(b->workers[i].bell);
    munmap(b, sizeof *b);
}

void oto_board_ring(oto_board_proc *p)
{
    const uint64_t one = 1;

    /* A full counter has woken it already. */
    if (write(p->bell, &one, sizeof one) < 0)
        return;
}

void oto_board_ring_workers(oto_board *b)
{
    for (int i = 0; i < b->n_workers; i++)
        oto_board_ring(&b->workers[i]);
}

void oto_board_beat(oto_board_proc *p)
{
    atomic_store(&p->rss_bytes, (int64_t)oto_rss_bytes());
    atomic_store(&p->private_bytes, (int64_t)oto_rss_anon_bytes());
    atomic_store(&p->peak_bytes, (int64_t)oto_peak_rss_bytes());
    atomic_store(&p->beat_at_ms, oto_now_ms());
}

void oto_board_job(oto_board *b, int64_t audio_ms, double processing_s)
{
    const double rtf = audio_ms > 0 ? processing_s * 1000 / (double)audio_ms : 0;
    int i = 0;

    atomic_fetch_add(&b->audio_ms, audio_ms);
    atomic_fetch_add(&b->processing_ms, (int64_t)(processing_s * 1000));
    if (audio_ms <= 0)
        return;
    while (rtf > oto_rtf_bounds[i])
        i++;
    atomic_fetch_add(&b->rtf_counts[i], 1);
    atomic_fetch_add(&b->rtf_sum_us, (int64_t)(rtf * 1e6));
}
