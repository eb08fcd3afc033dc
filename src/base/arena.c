/* Regions with a hard cap. The whole cap is reserved as address space that cannot be used; it is
 * opened in steps as allocation proceeds, and the kernel gives pages when they are first touched.
 * So an arena costs what it has used at its peak, a process's limit on data (RLIMIT_DATA) counts
 * that and not the caps, and a trim gives it back. Allocation moves one offset. Hooks are records
 * inside the arena, linked newest first: rolling back past one runs it. */
#include "base/base.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ALIGN 64
/* Of opening: a huge page, so that the kernel may use them. */
#define STEP ((size_t)2 << 20)

struct hook {
    void (*fn)(void *);
    void *arg;
    struct hook *next;
};

struct oto_arena {
    const char *name;
    char *base;
    size_t cap, used, peak, open;
    struct hook *hooks;
};

int oto_arena_new(const char *name, size_t cap_bytes, oto_arena **out, oto_err *e)
{
    if (cap_bytes == 0 || cap_bytes > SIZE_MAX / 2) {
        return oto_fail(e, OTO_E_LIMIT, "%s: an arena of %zu bytes cannot be made", name,
                        cap_bytes);
    }
    oto_arena *a = oto_fault("allocation", ENOMEM) ? NULL : calloc(1, sizeof *a);
    if (!a) {
        return oto_fail(e, OTO_E_LIMIT, "%s: out of memory", name);
    }
    a->base = mmap(NULL, cap_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (a->base == MAP_FAILED) {
        free(a);
        return oto_fail_errno(e, "%s: reserving %zu MiB", name, cap_bytes >> 20);
    }
    /* A forked child inherits none of it: what a decoder child costs must not depend on how much
     * its parent holds. Advice only: a kernel that does not know it copies page tables. */
    (void)madvise(a->base, cap_bytes, MADV_DONTFORK);
    a->name = name;
    a->cap = cap_bytes;
    *out = a;
    return 0;
}

void oto_arena_free(oto_arena *a)
{
    if (!a) {
        return;
    }
    oto_arena_reset(a);
    munmap(a->base, a->cap);
    free(a);
}

/* Makes the first n bytes usable. */
static bool open_up_to(oto_arena *a, size_t n)
{
    size_t to = OTO_MIN((n + STEP - 1) & ~(STEP - 1), a->cap);
    if (n <= a->open) {
        return true;
    }
    if (mprotect(a->base + a->open, to - a->open, PROT_READ | PROT_WRITE) != 0) {
        return false;
    }
    a->open = to;
    return true;
}

void *oto_arena_alloc(oto_arena *a, size_t n_bytes)
{
    size_t at = (a->used + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (at > a->cap || n_bytes > a->cap - at || oto_fault("allocation", ENOMEM) ||
        !open_up_to(a, at + n_bytes)) {
        return NULL;
    }
    a->used = at + n_bytes;
    a->peak = OTO_MAX(a->peak, a->used);
    return a->base + at;
}

void *oto_arena_calloc(oto_arena *a, size_t n, size_t size)
{
    size_t bytes;
    if (!oto_mul_size(n, size, &bytes)) {
        return NULL;
    }
    void *p = oto_arena_alloc(a, bytes);
    if (p) {
        memset(p, 0, bytes);
    }
    return p;
}

int oto_arena_get(oto_arena *a, size_t n, size_t size, void *out_ptr, oto_err *e)
{
    size_t bytes;
    void *p = oto_mul_size(n, size, &bytes) ? oto_arena_alloc(a, bytes) : NULL;
    if (!p) {
        return oto_fail(
            e, OTO_E_LIMIT,
            "%s: memory limit of %zu MiB reached (%zu × %zu bytes asked for, %zu MiB used)",
            a->name, a->cap >> 20, n, size, a->used >> 20);
    }
    memcpy(out_ptr, &p, sizeof p);
    return 0;
}

char *oto_arena_strdup(oto_arena *a, const char *s, size_t n)
{
    char *p = n < SIZE_MAX ? oto_arena_alloc(a, n + 1) : NULL;
    if (p) {
        memcpy(p, s, n);
        p[n] = 0;
    }
    return p;
}

oto_mark oto_arena_mark(const oto_arena *a)
{
    return a->used;
}

void oto_arena_rollback(oto_arena *a, oto_mark m)
{
    while (a->hooks && (size_t)((char *)a->hooks - a->base) >= m) {
        struct hook *h = a->hooks;
        a->hooks = h->next;
        h->fn(h->arg);
    }
    a->used = OTO_MIN(a->used, m);
}

void oto_arena_reset(oto_arena *a)
{
    oto_arena_rollback(a, 0);
}

bool oto_arena_on_reset(oto_arena *a, void (*fn)(void *), void *arg)
{
    struct hook *h = oto_arena_alloc(a, sizeof *h);
    if (!h) {
        return false;
    }
    *h = (struct hook){fn, arg, a->hooks};
    a->hooks = h;
    return true;
}

size_t oto_arena_used(const oto_arena *a)
{
    return a->used;
}

size_t oto_arena_peak(const oto_arena *a)
{
    return a->peak;
}

void oto_arena_trim(oto_arena *a)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t from = (a->used + page - 1) & ~(page - 1);
    size_t closed = (a->used + STEP - 1) & ~(STEP - 1);
    if (from < a->open) {
        madvise(a->base + from, a->open - from, MADV_DONTNEED);
    }
    if (closed < a->open && mprotect(a->base + closed, a->open - closed, PROT_NONE) == 0) {
        a->open = closed;
    }
}
