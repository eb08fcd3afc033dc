/* residents: the bookkeeping of a worker's models. Nothing is opened or closed here. */
#include "work/residents.h"

size_t oto_residents_bytes(const oto_residents *r)
{
    size_t sum = 0;

    for (int i = 0; i < r->n; i++)
        sum += r->of[i].held ? r->of[i].bytes : 0;
    return sum;
}

size_t oto_residents_most(const oto_residents *r)
{
    size_t sum = 0, largest = 0;

    for (int i = 0; i < r->n; i++) {
        sum += r->of[i].bytes;
        largest = OTO_MAX(largest, r->of[i].bytes);
    }
    return r->budget == 0 ? sum : OTO_MIN(sum, OTO_MAX(r->budget, largest));
}

void oto_residents_look(oto_residents *r, const int users[], int64_t now)
{
    for (int i = 0; i < r->n; i++) {
        if (r->of[i].users > 0 || users[i] > 0)
            r->of[i].used_at = now;
        r->of[i].users = users[i];
    }
}

/* The one unused for longest among those held and not marked; -1: none. */
static int oldest(const oto_residents *r, const bool gone[])
{
    int found = -1;

    for (int i = 0; i < r->n; i++)
        if (r->of[i].held && r->of[i].users == 0 && !gone[i] &&
            (found < 0 || r->of[i].used_at < r->of[found].used_at))
            found = i;
    return found;
}

bool oto_residents_room(const oto_residents *r, int i, int out[], int *n_out)
{
    size_t bytes = oto_residents_bytes(r) + r->of[i].bytes;
    bool gone[OTO_MAX_MODELS] = {false}, in_use = false;
    int n = 0;

    *n_out = 0;
    if (r->of[i].held || r->budget == 0)
        return true;
    for (int at; bytes > r->budget && (at = oldest(r, gone)) >= 0;) {
        gone[at] = true;
        bytes -= r->of[at].bytes;
    }
    /* A small one that went before a large one may stay after all: the latest used first. */
    for (;;) {
        int back = -1;

        for (int k = 0; k < r->n; k++)
            if (gone[k] && bytes + r->of[k].bytes <= r->budget &&
                (back < 0 || r->of[k].used_at > r->of[back].used_at))
                back = k;
        if (back < 0)
            break;
        gone[back] = false;
        bytes += r->of[back].bytes;
    }
    for (int k = 0; k < r->n; k++) {
        in_use = in_use || (r->of[k].held && r->of[k].users > 0);
        if (gone[k])
            out[n++] = k;
    }
    if (bytes > r->budget && in_use)
        return false;
    *n_out = n;
    return true;
}

void oto_residents_enter(oto_residents *r, int i, int64_t now)
{
    r->of[i].held = true;
    r->of[i].used_at = now;
}

void oto_residents_leave(oto_residents *r, int i)
{
    r->of[i].held = false;
}

int oto_residents_stale(const oto_residents *r, int64_t before)
{
    static const bool none[OTO_MAX_MODELS];
    const int i = oldest(r, none);

    return i >= 0 && r->of[i].used_at < before ? i : -1;
}
