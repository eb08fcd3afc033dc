/* Faults on purpose, in test builds (OTO_FAULTS) alone: OTOLITH_FAIL_AFTER=N makes the N-th
 * fallible call of the program and of all that it forks fail: allocation, write, sync, rename,
 * fork, SQL step. The count lives in memory that children share, so one walk upward through N meets
 * every such call of a whole job.
 *
 * OTOLITH_LEAK=worker:65536,decoder:2048 makes a worker lose so many bytes with each job, a decoder
 * with each second of sound, a gateway with each upload: what a stress test has to find. */
#include "base/base.h"

#ifdef OTO_FAULTS

#include <errno.h>
#include <stdatomic.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Atomic long *left; /* NULL: no fault is wanted */

/* What is lost is taken from blocks, so that small losses add up to what they are. They come from
 * the system and not from the heap: there, what is lost holds the pages of its neighbours too, and
 * a test could not say what size it has to find. They are held on to: a sanitizer would find them.
 */
#define BLOCK ((size_t)64 << 10)

typedef struct block {
    struct block *next;
    char bytes[BLOCK - sizeof(void *)];
} block;

static struct {
    const char *who;
    size_t bytes;
} leaks[] = {{"worker", 0}, {"decoder", 0}, {"gateway", 0}};
static block *blocks;
static size_t used = sizeof blocks->bytes;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void read_leaks(const char *list)
{
    for (size_t i = 0; list != NULL && i < OTO_COUNT(leaks); i++) {
        const char *at = strstr(list, leaks[i].who);

        if (at != NULL && at[strlen(leaks[i].who)] == ':')
            leaks[i].bytes = strtoul(at + strlen(leaks[i].who) + 1, NULL, 10);
    }
}

static void lose(size_t n)
{
    while (n > 0) {
        size_t part = OTO_MIN(n, sizeof blocks->bytes - used);

        if (part == 0) {
            block *b =
                mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

            if (b == MAP_FAILED)
                return;
            b->next = blocks;
            blocks = b;
            used = 0;
            continue;
        }
        memset(blocks->bytes + used, 0x5a, part);
        used += part;
        n -= part;
    }
}

void oto_fault_leak(const char *who, size_t times)
{
    for (size_t i = 0; i < OTO_COUNT(leaks); i++)
        if (leaks[i].bytes > 0 && strcmp(leaks[i].who, who) == 0) {
            pthread_mutex_lock(&lock);
            lose(leaks[i].bytes * times);
            pthread_mutex_unlock(&lock);
        }
}

void oto_fault_setup(void)
{
    const char *n = getenv("OTOLITH_FAIL_AFTER");
    _Atomic long *shared;

    read_leaks(getenv("OTOLITH_LEAK"));
    if (n == NULL || atol(n) <= 0)
        return;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        return;
    atomic_store(shared, atol(n));
    left = shared;
}

bool oto_fault(const char *what, int error)
{
    if (left == NULL || atomic_fetch_sub(left, 1) != 1)
        return false;
    oto_log(OTO_LOG_WARN, "fault on purpose: %s", what);
    errno = error;
    return true;
}

#endif
