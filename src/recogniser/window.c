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

static int piece_of_start(const oto_window *w, int64_t at)
{
    int i = w->n_pieces - 1;

    while (i > 0 && w->pieces[i].in_window > at)
        i--;
    return i;
}

static int piece_of_end(const oto_window *w, int64_t at)
{
    int i = w->n_pieces - 1;

    while (i > 0 && w->pieces[i].in_window >= at)
        i--;
    return i;
}

static int64_t in_recording(const oto_piece *p, int64_t at)
{
    const int64_t off = at - p->in_window;

    return p->at + OTO_MAX(0, OTO_MIN(off, p->n));
}

int oto_window_map(const oto_window *w, int64_t *start_ms, int64_t *end_ms)
{
    const int64_t start = OTO_MAX(0, *start_ms) * OTO_MS;
    const int64_t end = OTO_MAX(start, *end_ms * OTO_MS);
    int first, last;

    if (w->n_pieces == 0)
        return 0;
    first = piece_of_start(w, start);
    last = OTO_MAX(first, piece_of_end(w, end));
    if (first < last && w->pieces[first + 1].in_window - start < SNAP)
        first++;
    if (first < last && end - w->pieces[last].in_window < SNAP)
        last--;
    while (w->pieces[last].owner != w->pieces[first].owner)
        last--;
    *start_ms = in_recording(&w->pieces[first], start) / OTO_MS;
    *end_ms = OTO_MAX(*start_ms, in_recording(&w->pieces[last], end) / OTO_MS);
    return w->pieces[first].owner;
}

bool oto_window_append(oto_window *w, const oto_window *more)
{
    if (w->n + more->n > w->cap || w->n_pieces + more->n_pieces > OTO_MAX_PIECES)
        return false;
    for (int i = 0; i < more->n_pieces; i++) {
        oto_piece p = more->pieces[i];

        p.in_window += w->n;
        w->pieces[w->n_pieces++] = p;
    }
    memcpy(w->pcm + w->n, more->pcm, (size_t)more->n * sizeof *w->pcm);
    w->speech_end = w->n + more->speech_end;
    w->n += more->n;
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
        w->pieces[kept++] = (oto_piece){p.at + cut, p.n - cut, p.in_window + cut - n, p.owner};
    }
    w->n_pieces = kept;
    w->n -= n;
    w->speech_end = OTO_MAX(0, w->speech_end - n);
    memmove(w->pcm, w->pcm + n, (size_t)w->n * sizeof *w->pcm);
}
