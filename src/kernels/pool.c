/* A fixed thread pool with one parallel-for at a time.
 *
 * `state` holds the generation of the job (high half) and the number of tasks nobody has claimed
 * yet (low half). A task is claimed by compare-and-swap, so a thread that looks up late can take
 * part in the current job or in none, and the caller never waits for a thread that claimed nothing.
 * The job's fields are written only while `state` says 0 tasks and `left` says all are done, and
 * are read only between a successful claim and the matching decrement of `left`.
 *
 * Decoding issues hundreds of jobs of some ten microseconds each: both sides spin for about as long
 * before they sleep on a futex. */
#include "kernels/kernels.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SPIN_S      40e-6
#define MAX_THREADS 1024

typedef struct {
    oto_pool *pool;
    int index;
    pthread_t thread;
} worker;

struct oto_pool {
    _Alignas(64) _Atomic uint64_t state; /* generation << 32 | tasks not yet claimed */
    _Alignas(64) _Atomic uint32_t left;  /* tasks not yet finished; the caller's futex */
    _Alignas(64) _Atomic uint32_t wake;  /* counts jobs; the workers' futex */
    _Atomic uint32_t sleepers;
    _Atomic uint32_t caller_sleeps;
    _Atomic bool quit;
    /* the job */
    _Alignas(64) void (*fn)(void *arg, int task, int thread);
    void *arg;
    int n_tasks;

    int n_threads, n_started;
    size_t scratch_bytes;
    char *scratch;
    worker *workers; /* [n_threads], 0 is the caller */
};

static void futex_wait(_Atomic uint32_t *word, uint32_t while_equal)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, while_equal, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, int n)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n, NULL, NULL, 0);
}

static inline void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Runs tasks of the current job until none is left to claim. */
static void take_tasks(oto_pool *p, int thread)
{
    uint64_t s = atomic_load_explicit(&p->state, memory_order_acquire);
    while ((uint32_t)s > 0) {
        if (!atomic_compare_exchange_weak_explicit(&p->state, &s, s - 1, memory_order_acq_rel,
                                                   memory_order_acquire))
            continue;
        p->fn(p->arg, p->n_tasks - (int)(uint32_t)s, thread);
        if (atomic_fetch_sub_explicit(&p->left, 1, memory_order_seq_cst) == 1 &&
            atomic_load_explicit(&p->caller_sleeps, memory_order_seq_cst))
            futex_wake(&p->left, 1);
        s = atomic_load_explicit(&p->state, memory_order_acquire);
    }
}

static bool has_work(oto_pool *p)
{
    return (uint32_t)atomic_load_explicit(&p->state, memory_order_seq_cst) > 0 ||
           atomic_load_explicit(&p->quit, memory_order_seq_cst);
}

/* The clock is read every 64th turn. */
static bool spin_for_work(oto_pool *p)
{
    double end = 0;
    for (unsigned i = 1;; i++) {
        if (has_work(p))
            return true;
        pause_cpu();
        if (i % 64 == 0) {
            double now = oto_now_s();
            if (end == 0)
                end = now + SPIN_S;
            else if (now > end)
                return false;
        }
    }
}

static void sleep_for_work(oto_pool *p)
{
    uint32_t seen = atomic_load_explicit(&p->wake, memory_order_seq_cst);
    atomic_fetch_add_explicit(&p->sleepers, 1, memory_order_seq_cst);
    if (!has_work(p))
        futex_wait(&p->wake, seen);
    atomic_fetch_sub_explicit(&p->sleepers, 1, memory_order_seq_cst);
}

static void *worker_main(void *arg)
{
    worker *w = arg;
    oto_pool *p = w->pool;
    while (!atomic_load_explicit(&p->quit, memory_order_acquire)) {
        take_tasks(p, w->index);
        if (!spin_for_work(p))
            sleep_for_work(p);
    }
    return NULL;
}

static void wait_until_done(oto_pool *p)
{
    double end = 0;
    for (unsigned i = 1; atomic_load_explicit(&p->left, memory_order_acquire) > 0; i++) {
        pause_cpu();
        if (i % 64)
            continue;
        double now = oto_now_s();
        if (end == 0)
            end = now + SPIN_S;
        if (now <= end)
            continue;
        atomic_store_explicit(&p->caller_sleeps, 1, memory_order_seq_cst);
        uint32_t left = atomic_load_explicit(&p->left, memory_order_seq_cst);
        if (left > 0)
            futex_wait(&p->left, left);
        atomic_store_explicit(&p->caller_sleeps, 0, memory_order_seq_cst);
    }
}

void oto_pool_run(oto_pool *p, int n_tasks, void (*fn)(void *arg, int task, int thread), void *arg)
{
    if (n_tasks <= 1 || p->n_started == 0) {
        for (int i = 0; i < n_tasks; i++)
            fn(arg, i, 0);
        return;
    }
    p->fn = fn;
    p->arg = arg;
    p->n_tasks = n_tasks;
    atomic_store_explicit(&p->left, (uint32_t)n_tasks, memory_order_relaxed);
    uint64_t generation = (atomic_load_explicit(&p->state, memory_order_relaxed) >> 32) + 1;
    atomic_store_explicit(&p->state, generation << 32 | (uint32_t)n_tasks, memory_order_seq_cst);
    atomic_fetch_add_explicit(&p->wake, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&p->sleepers, memory_order_seq_cst) > 0)
        futex_wake(&p->wake, OTO_MIN(n_tasks - 1, p->n_started));
    take_tasks(p, 0);
    wait_until_done(p);
}

void oto_pool_free(oto_pool *p)
{
    if (!p)
        return;
    atomic_store_explicit(&p->quit, true, memory_order_seq_cst);
    atomic_fetch_add_explicit(&p->wake, 1, memory_order_seq_cst);
    futex_wake(&p->wake, MAX_THREADS);
    for (int i = 1; i <= p->n_started; i++)
        pthread_join(p->workers[i].thread, NULL);
    free(p->workers);
    free(p->scratch);
    free(p);
}

/* Signals are the process's, not a worker's: all are blocked in the threads made here. */
static int start_workers(oto_pool *p, oto_err *e)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = 0;
    for (int i = 1; i < p->n_threads && !rc; i++) {
        p->workers[i] = (worker){.pool = p, .index = i};
        int err = pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]);
        if (err)
            rc =
                oto_fail(e, OTO_E_LIMIT, "thread %d of %d: %s", i + 1, p->n_threads, strerror(err));
        else
            p->n_started = i;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc;
}

int oto_pool_new(int n_threads, size_t scratch_bytes, oto_pool **out, oto_err *e)
{
    if (n_threads < 1 || n_threads > MAX_THREADS)
        return oto_fail(e, OTO_E_USAGE, "threads: %d is not in 1..%d", n_threads, MAX_THREADS);
    size_t each, total;
    if (__builtin_add_overflow(scratch_bytes, (size_t)4095, &each) ||
        !oto_mul_size(each &= ~(size_t)4095, (size_t)n_threads, &total))
        return oto_fail(e, OTO_E_LIMIT, "threads: scratch of %zu bytes is too large",
                        scratch_bytes);
    int rc = 0;
    oto_pool *p = aligned_alloc(64, sizeof *p);
    if (!p)
        return oto_fail(e, OTO_E_LIMIT, "threads: out of memory");
    memset(p, 0, sizeof *p);
    p->n_threads = n_threads;
    p->scratch_bytes = each;
    p->scratch = total ? aligned_alloc(4096, total) : NULL;
    p->workers = calloc((size_t)n_threads, sizeof *p->workers);
    if ((total && !p->scratch) || !p->workers)
        rc = oto_fail(e, OTO_E_LIMIT, "threads: out of memory for %zu bytes of scratch", total);
    else
        rc = start_workers(p, e);
    if (rc) {
        oto_pool_free(p);
        return rc;
    }
    *out = p;
    return 0;
}

int oto_pool_threads(const oto_pool *p)
{
    return p->n_threads;
}

void *oto_pool_scratch(oto_pool *p, int thread, size_t *n_bytes)
{
    if (n_bytes)
        *n_bytes = p->scratch_bytes;
    return p->scratch ? p->scratch + p->scratch_bytes * (size_t)thread : NULL;
}
