/* From segments of speech to windows.
 *
 * A window has costs of its own (a prompt, silence behind the sound), so segments are packed one
 * after another; but attention costs the square of what is heard at once, so not up to what a
 * window may hold. Between two of them the recording's own silence is kept when it is short (it is
 * what the model expects between sentences) and dropped when it is long; window.c maps times back.
 *
 * Speech is never lost: a segment longer than a window is cut at its quietest point, and without
 * VAD so is everything. Nothing is heard twice: pieces never overlap.
 *
 * The VAD tells of a segment only when it has ended, so the last samples are kept in a ring that is
 * longer than its longest segment. */
#include "recogniser/parts.h"

#include <string.h>

/* Audio kept around a segment beyond the VAD's own margins (200 ms before, 100 ms behind). */
#define PAD (200 * OTO_MS)
/* A longer silence between two padded segments is dropped. */
#define KEEP_GAP (1200 * OTO_MS)
/* Several segments together are no longer than this (docs/speed.md), but in the first window, which
 * may be the only one. */
#define PACKED (24000 * OTO_MS)
/* A recording that fits into one window loses only silence longer than this: with the room it was
 * spoken in the model hears it as it would without VAD. */
#define BRIDGE (2000 * OTO_MS)
/* The quietest point is looked for in the last third of a full window, as the mean over SMOOTH
 * hops: a pause between words, not the closure of a plosive. */
#define HOP    (10 * OTO_MS)
#define SMOOTH 16

/* A segment that does not fit any more is cut to fill the window up when it has a real pause: PAUSE
 * hops below PAUSE_RATIO of its mean energy. The least that is worth it is MIN_FILL. */
#define PAUSE       30
#define PAUSE_RATIO 1e-3
#define MIN_FILL    (4000 * OTO_MS)
/* What is cut off a segment is no shorter than this. */
#define MIN_REST (500 * OTO_MS)

struct oto_slicer {
    oto_batch *batch;
    oto_window *w; /* being filled, or NULL */
    int64_t max_window;
    float *ring;
    int64_t ring_n;
    int64_t heard; /* samples pushed */
    int64_t taken; /* everything before this was put into a window or left out */
    bool all;      /* no VAD: the tail is speech as well */
    bool emitted;  /* a window is complete */
};

size_t oto_slicer_bytes(int64_t ring)
{
    return sizeof(oto_slicer) + (size_t)ring * sizeof(float) + 256;
}

int oto_slicer_new(oto_arena *a, int64_t ring, oto_slicer **out, oto_err *e)
{
    oto_slicer *s;
    int rc;

    if ((rc = oto_arena_get(a, 1, sizeof *s, &s, e)) != 0)
        return rc;
    *s = (oto_slicer){.ring_n = ring};
    if ((rc = oto_arena_get(a, (size_t)ring, sizeof *s->ring, &s->ring, e)) != 0)
        return rc;
    *out = s;
    return 0;
}

void oto_slicer_start(oto_slicer *s, oto_batch *b, int64_t max_window)
{
    s->batch = b;
    s->w = NULL;
    s->max_window = max_window;
    s->heard = s->taken = 0;
    s->all = s->emitted = false;
}

void oto_slicer_audio(oto_slicer *s, const float *pcm, size_t n)
{
    while (n > 0) {
        const int64_t at = s->heard % s->ring_n;
        const size_t room = (size_t)OTO_MIN(s->ring_n - at, (int64_t)n);

        memcpy(s->ring + at, pcm, room * sizeof *pcm);
        s->heard += (int64_t)room;
        pcm += room;
        n -= room;
    }
}

int64_t oto_slicer_heard(const oto_slicer *s)
{
    return s->heard;
}

static void copy_out(const oto_slicer *s, int64_t from, int64_t n, float *out)
{
    while (n > 0) {
        const int64_t at = from % s->ring_n;
        const int64_t room = OTO_MIN(s->ring_n - at, n);

        memcpy(out, s->ring + at, (size_t)room * sizeof *out);
        out += room;
        from += room;
        n -= room;
    }
}

static float hop_energy(const oto_slicer *s, int64_t from)
{
    float sum = 0;

    for (int64_t i = 0; i < HOP; i++) {
        const float v = s->ring[(from + i) % s->ring_n];

        sum += v * v;
    }
    return sum;
}

/* The middle of the quietest SMOOTH hops in [from, to), which is longer than they are. */
static int64_t quietest(const oto_slicer *s, int64_t from, int64_t to)
{
    const int64_t n = (to - from) / HOP;
    float last[SMOOTH] = {0};
    double sum = 0, best = 0;
    int64_t at = to;

    for (int64_t i = 0; i < n; i++) {
        const float e = hop_energy(s, from + i * HOP);

        sum += (double)e - (double)last[i % SMOOTH];
        last[i % SMOOTH] = e;
        /* Later is better when equal: fuller windows. */
        if (i >= SMOOTH - 1 && (at == to || sum <= best)) {
            best = sum;
            at = from + (i + 1) * HOP - SMOOTH * HOP / 2;
        }
    }
    return at;
}

/* The middle of the last pause in [from, to), or -1; `loud` is the energy of a hop of speech. */
static int64_t last_pause(const oto_slicer *s, int64_t from, int64_t to, double loud)
{
    int quiet = 0;

    for (int64_t at = to - HOP; at >= from; at -= HOP) {
        quiet = hop_energy(s, at) < loud * PAUSE_RATIO ? quiet + 1 : 0;
        if (quiet == PAUSE)
            return at + PAUSE * HOP / 2;
    }
    return -1;
}

static double mean_energy(const oto_slicer *s, int64_t from, int64_t to)
{
    double sum = 0;
    int64_t n = 0;

    for (int64_t at = from; at + HOP <= to; at += HOP, n++)
        sum += hop_energy(s, at);
    return n > 0 ? sum / (double)n : 0;
}

static void emit(oto_slicer *s)
{
    s->w = NULL;
    s->emitted = true;
    oto_batch_close(s->batch);
}

/* Appends [from, to), which fits, to the window; a new piece unless it follows on the last. */
static int append(oto_slicer *s, int64_t from, int64_t to, int64_t speech_end, oto_err *e)
{
    oto_window *w = s->w;
    oto_piece *last;
    int rc;

    if (w == NULL) {
        if ((rc = oto_batch_open(s->batch, &w, e)) != 0)
            return rc;
        s->w = w;
    }
    last = w->n_pieces > 0 ? &w->pieces[w->n_pieces - 1] : NULL;
    if (last != NULL && last->at + last->n == from)
        last->n += to - from;
    else
        w->pieces[w->n_pieces++] = (oto_piece){from, to - from, w->n, 0};
    copy_out(s, from, to - from, w->pcm + w->n);
    w->n += to - from;
    w->speech_end = w->n - (to - OTO_MIN(to, speech_end));
    s->taken = to;
    return 0;
}

/* For more in the window. */
static int64_t room(const oto_slicer *s)
{
    if (s->w == NULL)
        return s->max_window;
    return OTO_MAX(0, (s->emitted ? OTO_MIN(PACKED, s->max_window) : s->max_window) - s->w->n);
}

/* Where the piece for speech from `start` begins: right behind the last when that was near. */
static int64_t begin_of(const oto_slicer *s, int64_t start)
{
    const int64_t from = OTO_MAX(start - PAD, s->taken);

    return s->w != NULL && from - s->taken <= KEEP_GAP ? s->taken : from;
}

/* Cuts what fits into the open window off speech that ends at `end`; *from is then the rest's
 * start.
 */
static int fill(oto_slicer *s, int64_t *from, int64_t end, oto_err *e)
{
    const int64_t limit = OTO_MIN(*from + room(s), end - MIN_REST);
    int64_t cut;
    int rc;

    if (s->w->n_pieces == OTO_MAX_PIECES || limit - *from < MIN_FILL)
        return 0;
    cut = last_pause(s, *from + MIN_FILL / 2, limit, mean_energy(s, *from, end));
    if (cut < 0)
        return 0;
    rc = append(s, *from, cut, cut, e);
    *from = cut;
    return rc;
}

/* The most that speech up to `end` takes of `space` samples: with the padding that fits. */
static int64_t padded(const oto_slicer *s, int64_t from, int64_t end, int64_t space)
{
    const int64_t to = OTO_MIN(end + PAD, s->heard);

    return end - from <= space ? OTO_MIN(to, from + space) : to;
}

int oto_slicer_speech(oto_slicer *s, const oto_span *span, oto_err *e)
{
    const int64_t oldest = OTO_MAX(0, s->heard - s->ring_n);
    const int64_t start = OTO_MAX(OTO_MAX(span->start_ms * OTO_MS, s->taken), oldest);
    const int64_t end = OTO_MIN(span->end_ms * OTO_MS, s->heard);
    int64_t from = OTO_MAX(begin_of(s, start), oldest);
    int rc;

    if (end <= start)
        return 0;
    if (s->w != NULL && (end - from > room(s) || s->w->n_pieces == OTO_MAX_PIECES)) {
        const int64_t whole = from;

        if ((rc = fill(s, &from, end, e)) != 0)
            return rc;
        emit(s);
        if (from == whole)
            from = OTO_MAX(begin_of(s, start), oldest);
    }
    while (end - from > s->max_window) {
        const int64_t limit = OTO_MIN(from + s->max_window, end - MIN_REST);
        const int64_t cut = quietest(s, from + s->max_window * 2 / 3, limit);

        if ((rc = append(s, from, cut, cut, e)) != 0)
            return rc;
        emit(s);
        from = cut;
    }
    return append(s, from, padded(s, from, end, room(s)), end, e);
}

int oto_slicer_all(oto_slicer *s, oto_err *e)
{
    s->all = true;
    while (s->heard - s->taken > s->max_window) {
        const int64_t from = s->taken;
        const int64_t cut = quietest(s, from + s->max_window * 2 / 3, from + s->max_window);
        int rc;

        if ((rc = append(s, from, cut, cut, e)) != 0)
            return rc;
        emit(s);
    }
    return 0;
}

/* Fills the only window of a short recording again, with the silence in and around its speech. */
static int bridge(oto_slicer *s, oto_err *e)
{
    oto_piece pieces[OTO_MAX_PIECES];
    oto_window *w = s->w;
    const int n = w->n_pieces;
    const oto_piece *last = &w->pieces[n - 1];
    const int64_t speech_end = last->at + w->speech_end - last->in_window;

    memcpy(pieces, w->pieces, (size_t)n * sizeof *pieces);
    w->n = 0;
    w->n_pieces = 0;
    s->taken = 0;
    for (int i = 0; i < n; i++) {
        const int64_t from = pieces[i].at - s->taken <= BRIDGE ? s->taken : pieces[i].at;
        int64_t to = pieces[i].at + pieces[i].n;
        int rc;

        if (i == n - 1 && s->heard - to <= BRIDGE)
            to = s->heard;
        if ((rc = append(s, from, to, OTO_MIN(to, speech_end), e)) != 0)
            return rc;
    }
    return 0;
}

int oto_slicer_finish(oto_slicer *s, oto_err *e)
{
    int rc;

    if (s->w != NULL && !s->all && !s->emitted && s->heard <= OTO_MIN(s->max_window, s->ring_n) &&
        (rc = bridge(s, e)) != 0)
        return rc;
    if (s->all && s->heard > s->taken && (rc = append(s, s->taken, s->heard, s->heard, e)) != 0)
        return rc;
    if (s->w != NULL)
        emit(s);
    return 0;
}
