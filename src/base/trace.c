#include "base/base.h"

#include <stdatomic.h>

/* Threads write to places of their own; the room is given and taken while none of them runs. */
static oto_trace_span *room;
static int n_room;
static atomic_int n_used;

void oto_trace_begin(oto_trace_span *spans, int n)
{
    room = spans;
    n_room = n;
    atomic_store(&n_used, 0);
}

int oto_trace_end(void)
{
    const int n = OTO_MIN(atomic_load(&n_used), n_room);

    room = NULL;
    n_room = 0;
    return n;
}

void oto_trace(const char *thread, const char *what, double from_s)
{
    int i;

    if (room == NULL || (i = atomic_fetch_add(&n_used, 1)) >= n_room)
        return;
    room[i] = (oto_trace_span){thread, what, from_s, oto_now_s()};
}
