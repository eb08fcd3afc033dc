/* A window is what a model hears at once. It may hold several pieces of the recording with the
 * silence between them left out, so a time in the window means one in the recording piece by piece:
 *
 *   recording  ....[ piece 0 ]...............[ piece 1    ]......
 *   window         [ piece 0 ][ piece 1    ]
 *                             ^ end of piece 0 and start of piece 1 are the same time here
 *
 * A start on the boundary belongs to the later piece, an end to the earlier one. Models place their
 * time stamps up to some tenths of a second off, which on the wrong side of a boundary becomes the
 * whole length of the silence: what reaches over by less than the padding that stands at both ends
 * of every piece is taken back. */
#include "recogniser/parts.h"

#include <string.h>

#define SNAP (300 * OTO_MS)
/* Silence between joined windows: it keeps the model from running sentences together that are not
 * neighbours. */
#define JOINT (1000 * OTO_MS)

static int64_t in_recording(const oto_piece *p, int64_t at)
{
    const int64_t off = at - p->in_window;

    return p->at + OTO_MAX(0, OTO_MIN(off, p->n));
}

/* Samples of [start, end) inside a piece; a span without length counts where it lies. */
static int64_t overlap(const oto_piece *p, int64_t start, int64_t end)
{
    const int64_t from = OTO_MAX(start, p->in_window);
    const int64_t to = OTO_MIN(OTO_MAX(end, start + 1), p->in_window + p->n);

    return OTO_MAX(0, to - from);
}

/* The owner with most of the span; pieces of an owner are neighbours. Outside of all pieces: the
 * next one's, else the last one's. */
static int owner_of(const oto_window *w, int64_t start, int64_t end)
{
    int64_t best = 0, sum = 0;
    int owner = -1;

    for (int i = 0; i < w->n_pieces; i++) {
        const oto_piece *p = &w->pieces[i];

        sum = (i > 0 && p[-1].owner == p->owner ? sum : 0) + overlap(p, start, end);
        if (sum > best) {
            best = sum;
            owner = p->owner;
        }
    }
    for (int i = 0; owner < 0 && i < w->n_pieces; i++)
        if (w->pieces[i].in_window >= start || i == w->n_pieces - 1)
            owner = w->pieces[i].owner;
    return owner;
}

int oto_window_map(const oto_window *w, int64_t *start_ms, int64_t *end_ms)
{
    const int64_t start = OTO_MAX(0, *start_ms) * OTO_MS;
    const int64_t end = OTO_MAX(start, *end_ms * OTO_MS);
    const int owner = w->n_pieces > 0 ? owner_of(w, start, end) : 0;
    int lowest = 0, highest = w->n_pieces - 1, first, last;

    if (w->n_pieces == 0)
        return owner;
    while (w->pieces[lowest].owner != owner)
        lowest++;
    while (w->pieces[highest].owner != owner)
        highest--;
    for (first = highest; first > lowest && w->pieces[first].in_window > start;)
        first--;
    for (last = highest; last > first && w->pieces[last].in_window >= end;)
        last--;
    if (first < last && w->pieces[first + 1].in_window - start < SNAP)
        first++;
    if (first < last && end - w->pieces[last].in_window < SNAP)
        last--;
    *start_ms = in_recording(&w->pieces[first], start) / OTO_MS;
    *end_ms = OTO_MAX(*start_ms, in_recording(&w->pieces[last], end) / OTO_MS);
    return owner;
}

bool oto_window_append(oto_window *w, const oto_window *more)
{
    const int64_t at = w->n + JOINT;

    if (at + more->n > w->cap || w->n_pieces + more->n_pieces > OTO_MAX_PIECES)
        return false;
    for (int i = 0; i < more->n_pieces; i++) {
        oto_piece p = more->pieces[i];

        p.in_window += at;
        w->pieces[w->n_pieces++] = p;
    }
    memset(w->pcm + w->n, 0, JOINT * sizeof *w->pcm);
    memcpy(w->pcm + at, more->pcm, (size_t)more->n * sizeof *w->pcm);
    w->speech_end = at + more->speech_end;
    w->n = at + more->n;
    return true;
}

void oto_window_advance(oto_window *w, int64_t n)
{
    int kept = 0;

    n = OTO_MIN(n, w->n);
    for (int i = 0; i < w->n_pieces; i++) {
        oto_piece p = w->pieces[i];
        const int64_t cut = OTO_MAX(0, OTO_MIN(p.n, n - p.in_window));

        if (cut == p.n)
            continue;
        /* not the rest of a joint before the first piece */
        if (kept == 0)
            n = p.in_window + cut;
        w->pieces[kept++] = (oto_piece){p.at + cut, p.n - cut, p.in_window + cut - n, p.owner};
    }
    w->n_pieces = kept;
    w->n -= n;
    w->speech_end = OTO_MAX(0, w->speech_end - n);
    memmove(w->pcm, w->pcm + n, (size_t)w->n * sizeof *w->pcm);
}
