/* Hearing ahead: a thread of its own reads a recording and finds the speech in it while the model
 * is at work on what was heard before. What it heard waits in a ring of blocks, in order; when that
 * is full it waits, too. So nothing that follows depends on how far ahead it was. */
#include "recogniser/parts.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#define STACK_BYTES ((size_t)512 << 10)

struct oto_listener {
    oto_media *media;
    oto_vad *vad; /* or NULL */
    int n_blocks;
    oto_heard *blocks; /* [n_blocks] */
    double decode_s, vad_s;
    pthread_t thread;
    bool runs;

    pthread_mutex_t lock;
    pthread_cond_t change;
    int64_t written,
        read; /* blocks; the one given out counts as unread until the next is asked for */
    bool given;
    bool quit;
};

size_t oto_listener_bytes(int n_blocks)
{
    return sizeof(oto_listener) + (size_t)n_blocks * sizeof(oto_heard) + 256;
}

int oto_listener_new(oto_arena *a, int n_blocks, oto_listener **out, oto_err *e)
{
    oto_listener *l;
    int rc;

    if ((rc = oto_arena_get(a, 1, sizeof *l, &l, e)) != 0)
        return rc;
    *l = (oto_listener){.n_blocks = n_blocks};
    if ((rc = oto_arena_get(a, (size_t)n_blocks, sizeof *l->blocks, &l->blocks, e)) != 0)
        return rc;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->change, NULL);
    *out = l;
    return 0;
}

/* ---- the thread ---- */

/* A block to fill, or NULL when nobody wants more. */
static oto_heard *take_block(oto_listener *l)
{
    const double t0 = oto_now_s();
    oto_heard *b = NULL;

    pthread_mutex_lock(&l->lock);
    while (!l->quit && l->written - l->read == l->n_blocks)
        pthread_cond_wait(&l->change, &l->lock);
    if (!l->quit)
        b = &l->blocks[l->written % l->n_blocks];
    pthread_mutex_unlock(&l->lock);
    if (b != NULL) {
        b->n = 0;
        b->n_spans = b->rc = 0;
        b->last = false;
    }
    oto_trace("listener", "waits for room", t0);
    return b;
}

static void hand_over(oto_listener *l)
{
    pthread_mutex_lock(&l->lock);
    l->written++;
    pthread_cond_signal(&l->change);
    pthread_mutex_unlock(&l->lock);
}

/* Finds speech in n samples from pcm on: in b, and as many blocks without samples as it takes
 * (none, but for absurd settings). Returns the last of them, not handed over yet, or NULL when
 * nobody wants more. */
static oto_heard *detect(oto_listener *l, oto_heard *b, const float *pcm, size_t n, bool final)
{
    size_t used;

    for (;;) {
        const double t0 = oto_now_s();

        b->n_spans = oto_vad_push(l->vad, pcm, n, final, b->spans, OTO_HEARD_SPANS, &used);
        l->vad_s += oto_now_s() - t0;
        oto_trace("listener", "detects speech", t0);
        b->horizon_ms = oto_vad_horizon_ms(l->vad);
        pcm += used;
        n -= used;
        if (n == 0 && b->n_spans < OTO_HEARD_SPANS)
            return b;
        hand_over(l);
        if ((b = take_block(l)) == NULL)
            return NULL;
    }
}

/* What was decoded before an error is still heard to its end. */
static void *listen(void *arg)
{
    oto_listener *l = arg;
    oto_heard *b;

    while ((b = take_block(l)) != NULL) {
        const double t0 = oto_now_s();
        oto_err error = {0};
        const int rc = oto_media_read(l->media, b->pcm, OTO_HEARD_SAMPLES, &b->n, &error);
        const bool last = rc != 0 || b->n == 0;

        l->decode_s += oto_now_s() - t0;
        oto_trace("listener", "waits for sound", t0);
        if (last)
            b->n = 0;
        if (l->vad != NULL && (b = detect(l, b, b->pcm, b->n, last)) == NULL)
            break;
        b->last = last;
        b->rc = rc;
        b->error = error;
        hand_over(l);
        if (last)
            break;
    }
    return NULL;
}

/* ---- the other side ---- */

int oto_listener_start(oto_listener *l, oto_media *media, oto_vad *vad, oto_err *e)
{
    pthread_attr_t attr;
    sigset_t all, old;
    int rc;

    l->media = media;
    l->vad = vad;
    l->decode_s = l->vad_s = 0;
    l->written = l->read = 0;
    l->given = l->quit = false;
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&l->thread, &attr, listen, l);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attr);
    if (rc != 0)
        return oto_fail(e, OTO_E_LIMIT, "thread that listens: %s", strerror(rc));
    l->runs = true;
    return 0;
}

bool oto_listener_ready(oto_listener *l)
{
    bool yes;

    pthread_mutex_lock(&l->lock);
    yes = l->written > l->read + l->given;
    pthread_mutex_unlock(&l->lock);
    return yes;
}

const oto_heard *oto_listener_next(oto_listener *l)
{
    const double t0 = oto_now_s();
    const oto_heard *b;

    pthread_mutex_lock(&l->lock);
    if (l->given) {
        l->read++;
        pthread_cond_signal(&l->change);
    }
    while (l->written == l->read)
        pthread_cond_wait(&l->change, &l->lock);
    l->given = true;
    b = &l->blocks[l->read % l->n_blocks];
    pthread_mutex_unlock(&l->lock);
    oto_trace("model", "waits for speech", t0);
    return b;
}

void oto_listener_stop(oto_listener *l, double *decode_s, double *vad_s)
{
    if (!l->runs)
        return;
    pthread_mutex_lock(&l->lock);
    l->quit = true;
    pthread_cond_signal(&l->change);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    l->runs = false;
    *decode_s += l->decode_s;
    *vad_s += l->vad_s;
}
