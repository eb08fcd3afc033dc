/* Faults on purpose, in test builds (OTO_FAULTS) alone: OTOLITH_FAIL_AFTER=N makes the N-th
 * fallible call of the program and of all that it forks fail: allocation, write, sync, rename,
 * fork, SQL step. The count lives in memory that children share, so one walk upward through N meets
 * every such call of a whole job. */
#include "base/base.h"

#ifdef OTO_FAULTS

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

static _Atomic long *left; /* NULL: no fault is wanted */

void oto_fault_setup(void)
{
    const char *n = getenv("OTOLITH_FAIL_AFTER");
    _Atomic long *shared;

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
