/* Windows on their way through the model.
 *
 * A window lives in a slot; slots form a ring in the order of the recording:
 *
 *     head -> DONE | RUNS RUNS HEARD WAITING LEFT DONE READY ... OPEN <- tail
 *
 * All but DONE and WAITING ones hold one of the few buffers for samples. READY slots are put on
 * their way at once and RUN; they come back in any order.
 *
 * A model may stop at a time stamp before a window's end. What it left is heard later, so that
 * nothing is lost. Leftovers are short and a window costs the same whether it is full or not, so
 * they are joined in the buffer of the first of them, whose slot is LEFT; the others are WAITING.
 * It becomes READY when the next one does not fit, or GROUP windows later. Each piece remembers the
 * slot it belongs to, and a segment goes to the slot that most of it lies in. Which leftovers meet
 * depends on the order of windows alone, so one that comes back before its turn is only HEARD until
 * those before it are back: the text does not depend on who was faster.
 *
 * Segments wait in their slot's arena until every slot before it is DONE: they come out in order,
 * the head's own at once. */
#include "recogniser/parts.h"

#include <string.h>

/* A leftover that holds less speech than this is the tail of the last word. */
#define MIN_LEFT (1000 * OTO_MS)
/* A model that stops before this time is moved on to it. */
#define MIN_ADVANCE (1000 * OTO_MS)
#define MAX_ROUNDS  8
#define GROUP       12
/* Segments of one window and its leftovers. Address space: pages are touched as they are used. */
#define SLOT_BYTES (8 << 20)
#define RUN_BYTES  (64 << 20)

enum state { FREE, OPEN, READY, RUNS, HEARD, LEFT, WAITING, DONE };

struct kept {
    oto_segment s;
    struct kept *next;
};

struct slot {
    enum state state;
    oto_window w;
    oto_arena *results;
    struct kept *first, **last;
    bool whole; /* its window is what was cut, not what a run left of it */
    bool back;  /* the whole one has come back */
    uint64_t seq;
    int rounds;      /* runs that began with a piece of this slot and left something */
    int64_t done_ms; /* end of the window, in the recording */
};

/* A window under way. */
struct run {
    oto_ticket ticket;
    oto_arena *results;
    struct slot *slot; /* NULL: free */
};

struct oto_batch {
    int n_slots;
    int64_t cap;
    struct slot *slots;    /* [n_slots] */
    struct slot *leftover; /* the slot that is LEFT, or NULL */
    int n_pcm;             /* one more than the model takes: leftovers hold it */
    float **free_pcm;      /* [n_pcm] stack of buffers not in use */
    int n_free;
    uint64_t head, tail;    /* slots head … tail - 1 (mod n_slots) are in use */
    uint64_t settled;       /* windows before this one have had their leftovers put by */
    struct run *runs;       /* [n_pcm] */
    oto_ticket **under_way; /* [n_pcm] */
    int n_under_way;
    oto_batch_job job;
    bool words; /* asked for */
    char language[8];
    float language_probability;
    int n_windows;
};

static struct slot *slot_at(const oto_batch *b, uint64_t i)
{
    return &b->slots[i % (uint64_t)b->n_slots];
}

/* ---- life ---- */

/* Enough for a whole group to wait for its leftovers while batches go on. */
static int slots_for(int size)
{
    return GROUP + 2 * size + 4;
}

size_t oto_batch_bytes(int size, int64_t cap)
{
    return (size_t)(size + 1) * ((size_t)cap * sizeof(float) + sizeof(struct run) +
                                 sizeof(oto_ticket *) + sizeof(float *) + 256) +
           (size_t)slots_for(size) * sizeof(struct slot) + 4096;
}

static int new_arenas(oto_batch *b, oto_err *e)
{
    int rc = 0;

    for (int i = 0; i < b->n_pcm && rc == 0; i++)
        rc = oto_arena_new("results of a window", RUN_BYTES, &b->runs[i].results, e);
    for (int i = 0; i < b->n_slots && rc == 0; i++)
        rc = oto_arena_new("segments of a window", SLOT_BYTES, &b->slots[i].results, e);
    return rc;
}

int oto_batch_new(oto_arena *a, int size, int64_t cap, oto_batch **out, oto_err *e)
{
    oto_batch *b = oto_arena_calloc(a, 1, sizeof *b);
    const size_t n = (size_t)size + 1;
    int rc = 0;

    if (b == NULL)
        return oto_arena_get(a, 1, sizeof *b, &b, e);
    b->cap = cap;
    b->n_slots = slots_for(size);
    b->n_pcm = b->n_free = size + 1;
    if ((rc = oto_arena_get(a, (size_t)b->n_slots, sizeof *b->slots, &b->slots, e)) != 0 ||
        (rc = oto_arena_get(a, n, sizeof *b->free_pcm, &b->free_pcm, e)) != 0 ||
        (rc = oto_arena_get(a, n, sizeof *b->under_way, &b->under_way, e)) != 0 ||
        (rc = oto_arena_get(a, n, sizeof *b->runs, &b->runs, e)) != 0)
        return rc;
    memset(b->slots, 0, (size_t)b->n_slots * sizeof *b->slots);
    memset(b->runs, 0, n * sizeof *b->runs);
    /* Touched at once: what a job takes must not depend on how many leftovers it happens to have.
     */
    for (int i = 0; i < b->n_pcm && rc == 0; i++)
        if ((rc = oto_arena_get(a, (size_t)cap, sizeof(float), &b->free_pcm[i], e)) == 0)
            memset(b->free_pcm[i], 0, (size_t)cap * sizeof(float));
    if (rc == 0)
        rc = new_arenas(b, e);
    if (rc != 0) {
        oto_batch_free(b);
        return rc;
    }
    *out = b;
    return 0;
}

void oto_batch_stop(oto_batch *b)
{
    for (int i = 0; i < b->n_pcm; i++) {
        if (b->runs[i].slot != NULL)
            b->job.take_back(b->job.ctx, &b->runs[i].ticket);
        b->runs[i].slot = NULL;
    }
    b->n_under_way = 0;
}

void oto_batch_free(oto_batch *b)
{
    if (b == NULL)
        return;
    oto_batch_stop(b);
    for (int i = 0; i < b->n_slots; i++)
        oto_arena_free(b->slots[i].results);
    for (int i = 0; i < b->n_pcm; i++)
        oto_arena_free(b->runs[i].results);
}

static void release_pcm(oto_batch *b, struct slot *s)
{
    if (s->w.pcm != NULL)
        b->free_pcm[b->n_free++] = s->w.pcm;
    s->w.pcm = NULL;
}

void oto_batch_start(oto_batch *b, const oto_batch_job *job)
{
    oto_batch_stop(b);
    for (int i = 0; i < b->n_slots; i++) {
        struct slot *s = &b->slots[i];

        release_pcm(b, s);
        oto_arena_reset(s->results);
        s->state = FREE;
    }
    b->head = b->tail = b->settled = 0;
    b->leftover = NULL;
    b->n_windows = 0;
    b->job = *job;
    b->words = job->asr.words;
    memcpy(b->language, job->asr.language, sizeof b->language);
    b->language_probability = b->language[0] != '\0' ? 1.0f : 0.0f;
}

/* ---- results ---- */

static int keep_words(oto_arena *a, const oto_window *w, const oto_segment *from, oto_segment *to,
                      oto_err *e)
{
    oto_word *words;
    int rc = oto_arena_get(a, (size_t)from->n_words, sizeof *words, &words, e);

    if (rc != 0)
        return rc;
    for (int i = 0; i < from->n_words; i++) {
        words[i] = from->words[i];
        oto_window_map(w, &words[i].start_ms, &words[i].end_ms);
        words[i].text = oto_arena_strdup(a, from->words[i].text, strlen(from->words[i].text));
        if (words[i].text == NULL)
            return oto_fail(e, OTO_E_LIMIT, "a window has too many words");
    }
    to->words = words;
    return 0;
}

/* Copies a segment into the slot where it belongs, in the recording's time. */
static int keep(oto_batch *b, const oto_window *w, const oto_segment *from, oto_err *e)
{
    int64_t start_ms = from->start_ms, end_ms = from->end_ms;
    struct slot *s = &b->slots[oto_window_map(w, &start_ms, &end_ms)];
    oto_arena *a = s->results;
    struct kept *k;
    int32_t *tokens;
    int rc;

    if ((rc = oto_arena_get(a, 1, sizeof *k, &k, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)from->n_tokens, sizeof *tokens, &tokens, e)) != 0)
        return rc;
    *k = (struct kept){.s = *from};
    k->s.start_ms = start_ms;
    k->s.end_ms = end_ms;
    if (from->n_tokens > 0)
        memcpy(tokens, from->tokens, (size_t)from->n_tokens * sizeof *tokens);
    k->s.tokens = tokens;
    k->s.seek_ms = OTO_MIN(start_ms, w->pieces[0].at / OTO_MS);
    k->s.text = oto_arena_strdup(a, from->text, strlen(from->text));
    if (k->s.text == NULL)
        return oto_fail(e, OTO_E_LIMIT, "a window has too much text");
    k->s.words = NULL;
    k->s.n_words = b->words ? from->n_words : 0;
    if (b->words && from->words != NULL && (rc = keep_words(a, w, from, &k->s, e)) != 0)
        return rc;
    *s->last = k;
    s->last = &k->next;
    return 0;
}

static bool is_joined(const oto_window *w)
{
    return w->n_pieces > 0 && w->pieces[w->n_pieces - 1].owner != w->pieces[0].owner;
}

/* How many words from `first` on belong to one owner. Owners follow one another; a word that seems
 * to go back stays where the one before it was. */
static int words_together(const oto_window *w, const oto_segment *from, int first)
{
    int64_t start_ms = from->words[first].start_ms, end_ms = from->words[first].end_ms;
    const int owner = oto_window_map(w, &start_ms, &end_ms);
    int64_t last_ms = end_ms;
    int n = 1;

    for (; first + n < from->n_words; n++) {
        start_ms = from->words[first + n].start_ms;
        end_ms = from->words[first + n].end_ms;
        if (oto_window_map(w, &start_ms, &end_ms) != owner && start_ms >= last_ms)
            break;
        last_ms = OTO_MAX(last_ms, end_ms);
    }
    return n;
}

/* A model may write what was joined as one sentence: the words tell where it has to be parted. The
 * tokens stay with the first part. `a` is for texts until they are kept. */
static int keep_parts(oto_batch *b, const oto_window *w, const oto_segment *from, oto_arena *a,
                      oto_err *e)
{
    int rc = 0;

    for (int i = 0, n; i < from->n_words && rc == 0; i += n) {
        oto_segment part = *from;
        oto_str text;

        n = words_together(w, from, i);
        if (i == 0 && n == from->n_words)
            return keep(b, w, from, e);
        part.words = from->words + i;
        part.n_words = n;
        if (i > 0) {
            part.start_ms = part.words[0].start_ms;
            part.n_tokens = 0;
        }
        if (i + n < from->n_words)
            part.end_ms = part.words[n - 1].end_ms;
        oto_str_init(&text, a);
        for (int k = 0; k < n; k++)
            oto_str_puts(&text, part.words[k].text);
        if (text.failed)
            return oto_fail(e, OTO_E_LIMIT, "a window has too much text");
        part.text = text.p;
        rc = keep(b, w, &part, e);
    }
    return rc;
}

/* Drops the first n samples of a slot's window. Slots without a piece left are DONE; what is left
 * goes to the slot of its first piece. */
static void advance(oto_batch *b, struct slot *host, int64_t n)
{
    oto_window w = host->w;
    struct slot *next;

    for (int i = 0; i < w.n_pieces; i++)
        b->slots[w.pieces[i].owner].state = DONE;
    host->w.pcm = NULL;
    oto_window_advance(&w, n);
    if (w.n_pieces == 0) {
        b->free_pcm[b->n_free++] = w.pcm;
        return;
    }
    for (int i = 0; i < w.n_pieces; i++)
        b->slots[w.pieces[i].owner].state = WAITING;
    next = &b->slots[w.pieces[0].owner];
    next->w = w;
    next->state = READY;
    next->whole = false;
}

/* Where the pieces of the slot that the window began with end. */
static int64_t end_of_first(const oto_window *w)
{
    int i = 0;

    while (i + 1 < w->n_pieces && w->pieces[i + 1].owner == w->pieces[0].owner)
        i++;
    return w->pieces[i].in_window + w->pieces[i].n;
}

static void ripen(oto_batch *b)
{
    if (b->leftover != NULL)
        b->leftover->state = READY;
    b->leftover = NULL;
}

/* Puts what is left of a slot's window to the other leftovers. */
static void put_by(oto_batch *b, struct slot *s)
{
    if (b->leftover != NULL && oto_window_append(&b->leftover->w, &s->w)) {
        release_pcm(b, s);
        s->state = WAITING;
        return;
    }
    ripen(b);
    s->state = LEFT;
    b->leftover = s;
}

/* Leftovers meet in the order of their windows. A leftover's own is rare, and it would meet others
 * by chance: it goes alone. */
static void settle(oto_batch *b)
{
    for (; b->settled < b->tail && slot_at(b, b->settled)->back; b->settled++) {
        struct slot *s = slot_at(b, b->settled);

        if (b->leftover != NULL && s->seq >= b->leftover->seq + GROUP)
            ripen(b);
        if (s->state == HEARD)
            put_by(b, s);
    }
}

/* Takes one result over. */
static int take_result(oto_batch *b, struct slot *s, const oto_asr_result *r, oto_arena *a,
                       oto_err *e)
{
    int64_t next = OTO_MAX(r->next_ms * OTO_MS, MIN_ADVANCE);
    const bool whole = s->whole;

    for (int i = 0; i < r->n_segments; i++) {
        const oto_segment *g = &r->segments[i];
        const int rc = is_joined(&s->w) && g->n_words > 0 ? keep_parts(b, &s->w, g, a, e)
                                                          : keep(b, &s->w, g, e);

        if (rc != 0)
            return rc;
    }
    if (++s->rounds == MAX_ROUNDS)
        next = OTO_MAX(next, end_of_first(&s->w));
    if (s->w.speech_end - next < MIN_LEFT)
        next = s->w.n;
    advance(b, s, next);
    if (!whole)
        return 0;
    s->back = true;
    if (s->state == READY)
        s->state = HEARD;
    return 0;
}

static int cancelled(oto_err *e)
{
    return oto_fail(e, OTO_E_CANCELLED, "cancelled");
}

/* Gives out what is in order: all of the DONE slots at the head, and what the first one that is not
 * has so far. */
static int give_out(oto_batch *b, oto_err *e)
{
    while (b->head < b->tail) {
        struct slot *s = slot_at(b, b->head);

        for (const struct kept *k = s->first; k != NULL; k = k->next)
            if (b->job.on_segment != NULL && b->job.on_segment(b->job.arg, &k->s) != 0)
                return cancelled(e);
        s->first = NULL;
        s->last = &s->first;
        oto_arena_reset(s->results);
        if (s->state != DONE)
            break;
        s->state = FREE;
        b->head++;
        if (b->job.on_done != NULL && b->job.on_done(b->job.arg, s->done_ms) != 0)
            return cancelled(e);
    }
    return 0;
}

/* ---- running ---- */

static struct run *free_run(oto_batch *b)
{
    struct run *r = b->runs;

    while (r->slot != NULL)
        r++;
    return r; /* there are as many as buffers */
}

/* The words of a joined window tell its parts. */
static void put(oto_batch *b, struct slot *s)
{
    struct run *r = free_run(b);

    s->state = RUNS;
    oto_arena_reset(r->results);
    r->slot = s;
    r->ticket = (oto_ticket){.owner = b,
                             .o = &b->job.asr,
                             .window = {s->w.pcm, (size_t)s->w.n, is_joined(&s->w)},
                             .arena = r->results};
    b->job.put(b->job.ctx, &r->ticket);
    b->under_way[b->n_under_way++] = &r->ticket;
}

/* Puts READY slots on their way, in order. */
static void put_ready(oto_batch *b)
{
    const bool one = b->job.detects && b->job.asr.language[0] == '\0';

    for (uint64_t i = b->head; i < b->tail && !(one && b->n_under_way > 0); i++)
        if (slot_at(b, i)->state == READY)
            put(b, slot_at(b, i));
}

static struct run *run_of(oto_batch *b, const oto_ticket *t)
{
    struct run *r = b->runs;

    while (&r->ticket != t)
        r++;
    return r;
}

static void forget(oto_batch *b, const oto_ticket *t)
{
    int i = 0;

    while (b->under_way[i] != t)
        i++;
    b->under_way[i] = b->under_way[--b->n_under_way];
}

/* The first window's language is everyone's; nobody is under way while options change. */
static void learn_language(oto_batch *b, const oto_asr_result *r)
{
    if (b->language[0] != '\0')
        return;
    memcpy(b->language, r->language, sizeof b->language);
    b->language_probability = r->language_probability;
    if (b->job.detects)
        memcpy(b->job.asr.language, r->language, sizeof b->job.asr.language);
}

int oto_batch_take(oto_batch *b, oto_err *e)
{
    const oto_ticket *t;
    struct run *r;
    int rc;

    if (b->n_under_way == 0) {
        ripen(b);
        put_ready(b);
    }
    if (b->n_under_way == 0)
        return oto_fail(e, OTO_E_INTERNAL, "windows are stuck");
    t = b->job.wait(b->job.ctx, b->under_way, b->n_under_way);
    r = run_of(b, t);
    forget(b, t);
    if (t->rc != 0) {
        r->slot = NULL;
        return oto_fail(e, t->rc, "%s", t->error.text);
    }
    b->n_windows++;
    learn_language(b, &t->result);
    rc = take_result(b, r->slot, &t->result, r->results, e);
    r->slot = NULL;
    if (rc != 0)
        return rc;
    settle(b);
    put_ready(b);
    return give_out(b, e);
}

static bool has_room(const oto_batch *b)
{
    return b->n_free > 0 && b->tail - b->head < (uint64_t)b->n_slots;
}

int oto_batch_open(oto_batch *b, oto_window **out, oto_err *e)
{
    struct slot *s;
    int rc;

    while (!has_room(b))
        if ((rc = oto_batch_take(b, e)) != 0)
            return rc;
    s = slot_at(b, b->tail++);
    s->state = OPEN;
    s->first = NULL;
    s->last = &s->first;
    s->rounds = 0;
    s->whole = true;
    s->back = false;
    s->seq = b->tail - 1;
    s->w.pcm = b->free_pcm[--b->n_free];
    s->w.cap = b->cap;
    s->w.n = s->w.speech_end = 0;
    s->w.n_pieces = 0;
    *out = &s->w;
    return 0;
}

void oto_batch_close(oto_batch *b)
{
    struct slot *s = slot_at(b, b->tail - 1);
    const oto_piece *last;

    if (s->w.n == 0 || s->w.n_pieces == 0) {
        release_pcm(b, s);
        s->state = FREE;
        b->tail--;
        return;
    }
    last = &s->w.pieces[s->w.n_pieces - 1];
    s->done_ms = (last->at + last->n) / OTO_MS;
    for (int i = 0; i < s->w.n_pieces; i++)
        s->w.pieces[i].owner = (int)(s - b->slots);
    s->state = READY;
    put_ready(b);
}

int oto_batch_finish(oto_batch *b, oto_err *e)
{
    while (b->head < b->tail) {
        const int rc = slot_at(b, b->head)->state == OPEN
                           ? oto_fail(e, OTO_E_INTERNAL, "a window was left open")
                           : oto_batch_take(b, e);

        if (rc != 0)
            return rc;
    }
    return 0;
}

bool oto_batch_busy(const oto_batch *b)
{
    return b->head < b->tail;
}

bool oto_batch_runs(const oto_batch *b)
{
    return b->n_under_way > 0;
}

int oto_batch_windows(const oto_batch *b)
{
    return b->n_windows;
}

const char *oto_batch_language(const oto_batch *b, float *probability)
{
    *probability = b->language_probability;
    return b->language;
}
