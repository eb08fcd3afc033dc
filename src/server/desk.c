/* Desks: threads that may wait for the disk, each with a store of its own. */
#include "server/parts.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define MAX_DESKS 16

struct oto_desks {
    pthread_mutex_t lock;
    pthread_cond_t put;
    oto_exchange *first, **last;
    int n;
    bool quit;
    void (*done)(void *arg, oto_exchange *x);
    void *arg;
    struct desk {
        struct oto_desks *d;
        oto_store *store;
        pthread_t thread;
        bool started;
    } desks[MAX_DESKS];
};

static void *desk_main(void *arg)
{
    struct desk *me = arg;
    struct oto_desks *d = me->d;

    pthread_mutex_lock(&d->lock);
    for (;;) {
        oto_exchange *x;

        while (d->first == NULL && !d->quit)
            pthread_cond_wait(&d->put, &d->lock);
        x = d->first;
        if (x == NULL)
            break;
        d->first = x->next_at_desk;
        if (d->first == NULL)
            d->last = &d->first;
        pthread_mutex_unlock(&d->lock);
        x->errand(x, me->store);
        d->done(d->arg, x);
        pthread_mutex_lock(&d->lock);
    }
    pthread_mutex_unlock(&d->lock);
    return NULL;
}

int oto_desks_new(const char *store, int n, void (*done)(void *arg, oto_exchange *x), void *arg,
                  struct oto_desks **out, oto_err *e)
{
    struct oto_desks *d = calloc(1, sizeof *d);
    sigset_t all, old;
    int rc = 0;

    if (d == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->put, NULL);
    d->last = &d->first;
    d->n = OTO_MAX(1, OTO_MIN(n, MAX_DESKS));
    d->done = done;
    d->arg = arg;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (int i = 0; i < d->n && rc == 0; i++) {
        d->desks[i].d = d;
        rc = oto_store_open(store, &d->desks[i].store, e);
        if (rc == 0 && pthread_create(&d->desks[i].thread, NULL, desk_main, &d->desks[i]) != 0)
            rc = oto_fail(e, OTO_E_LIMIT, "cannot start a thread");
        d->desks[i].started = rc == 0;
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc != 0) {
        oto_desks_free(d);
        return rc;
    }
    *out = d;
    return 0;
}

void oto_desks_free(struct oto_desks *d)
{
    if (d == NULL)
        return;
    pthread_mutex_lock(&d->lock);
    d->quit = true;
    pthread_cond_broadcast(&d->put);
    pthread_mutex_unlock(&d->lock);
    for (int i = 0; i < d->n; i++) {
        if (d->desks[i].started)
            pthread_join(d->desks[i].thread, NULL);
        oto_store_close(d->desks[i].store);
    }
    pthread_cond_destroy(&d->put);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

void oto_desks_put(struct oto_desks *d, oto_exchange *x)
{
    pthread_mutex_lock(&d->lock);
    x->next_at_desk = NULL;
    *d->last = x;
    d->last = &x->next_at_desk;
    pthread_cond_signal(&d->put);
    pthread_mutex_unlock(&d->lock);
}
