/* The server's processes while it is under load: a CSV at a steady pace, peaks at a faster one,
 * figures on request. The whole tree is looked at, whoever in it does the work. */
#include "measure/watch.h"

#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define FAST_S 0.2

struct oto_watch {
    oto_monitor *paced, *fast; /* for the CSV by the thread; for peaks and requests, by the lock */
    FILE *csv;
    double interval_s;
    double tree_peak, private_peak, worker_peak, decoder_peak;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool started, quit;
};

static bool is(const oto_proc_sample *s, const char *role)
{
    return strcmp(s->role, role) == 0;
}

/* A backend of somebody else has no process called worker: there all of them are. */
static bool has_workers(const oto_proc_sample *list, int n)
{
    for (int i = 0; i < n; i++)
        if (is(&list[i], "worker"))
            return true;
    return false;
}

static void add_role(oto_watch_view *v, const oto_proc_sample *s)
{
    int i = 0;
    double mb = s->private_dirty_mb;

    if (isfinite(s->swap_mb))
        mb += s->swap_mb;
    while (i < v->n_roles && strcmp(v->private_mb[i].role, s->role) != 0)
        i++;
    if (i == v->n_roles) {
        if (v->n_roles == OTO_ROLES)
            return;
        snprintf(v->private_mb[i].role, sizeof v->private_mb[i].role, "%s", s->role);
        v->private_mb[i].mb = 0;
        v->n_roles++;
    }
    v->private_mb[i].mb += mb;
}

/* Under the lock. */
static void look(oto_watch *w, oto_watch_view *v)
{
    const oto_proc_sample *list;
    double pss = 0, private_mb = 0;
    bool ours;
    int n;

    *v = (oto_watch_view){0};
    if (oto_monitor_look(w->fast, &list, &n, NULL) != 0)
        n = 0;
    ours = has_workers(list, n);
    for (int i = 0; i < n; i++) {
        const oto_proc_sample *s = &list[i];
        const bool worker = !ours || is(s, "worker");

        if (is(s, "decoder"))
            w->decoder_peak = fmax(w->decoder_peak, fmax(s->peak_mb, s->rss_mb));
        if (s->ended)
            continue;
        v->n++;
        v->tree_rss_mb += s->rss_mb;
        pss += isfinite(s->pss_mb) ? s->pss_mb : s->rss_mb;
        add_role(v, s);
        if (worker) {
            v->worker_rss_mb += s->rss_mb;
            v->worker_pss_mb += s->pss_mb;
            v->worker_private_mb += s->private_mb;
            w->worker_peak = fmax(w->worker_peak, s->rss_mb);
        }
    }
    if (v->n == 0)
        v->tree_rss_mb = v->worker_rss_mb = v->worker_pss_mb = v->worker_private_mb = pss = NAN;
    w->tree_peak = fmax(w->tree_peak, pss);
    for (int i = 0; i < v->n_roles; i++)
        private_mb += v->private_mb[i].mb;
    w->private_peak = fmax(w->private_peak, v->n > 0 ? private_mb : NAN);
    v->tree_peak_mb = w->tree_peak;
    v->tree_private_peak_mb = w->private_peak;
    v->worker_peak_mb = w->worker_peak;
    v->decoder_peak_mb = w->decoder_peak;
}

static void *watch_main(void *arg)
{
    oto_watch *w = arg;
    const double start = oto_now_s();
    double due = start, fast = start;
    const oto_proc_sample *list;
    oto_watch_view v;
    oto_err e = {0};
    int n;

    pthread_mutex_lock(&w->lock);
    while (!w->quit) {
        const double now = oto_now_s(), next = fmin(due, fast);
        struct timespec until;

        if (now < next) {
            clock_gettime(CLOCK_MONOTONIC, &until);
            until.tv_nsec += (long)((next - now) * 1e9);
            until.tv_sec += until.tv_nsec / 1000000000;
            until.tv_nsec %= 1000000000;
            pthread_cond_timedwait(&w->wake, &w->lock, &until);
            continue;
        }
        if (now >= fast) {
            look(w, &v);
            fast = fmax(fast + FAST_S, now);
        }
        if (now >= due) {
            if (w->csv != NULL && oto_monitor_look(w->paced, &list, &n, &e) == 0 &&
                oto_monitor_csv_rows(w->paced, w->csv, &e) != 0)
                oto_log(OTO_LOG_WARN, "%s", e.text);
            due += w->interval_s;
        }
    }
    pthread_mutex_unlock(&w->lock);
    return NULL;
}

static int open_csv(oto_watch *w, const char *path, oto_err *e)
{
    w->csv = fopen(path, "ae");
    if (w->csv == NULL)
        return oto_fail_errno(e, "%s", path);
    return ftell(w->csv) == 0 ? oto_monitor_csv_header(w->csv, e) : 0;
}

int oto_watch_new(const oto_monitor_options *o, const char *csv, double interval_s, oto_watch **out,
                  oto_err *e)
{
    oto_watch *w = calloc(1, sizeof *w);
    pthread_condattr_t monotonic;
    int rc;

    if (w == NULL)
        return oto_fail(e, OTO_E_INTERNAL, "out of memory");
    w->interval_s = interval_s;
    w->tree_peak = w->private_peak = w->worker_peak = w->decoder_peak = NAN;
    pthread_mutex_init(&w->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&w->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if ((rc = oto_monitor_new(o, &w->paced, e)) == 0 &&
        (rc = oto_monitor_new(o, &w->fast, e)) == 0 && csv != NULL)
        rc = open_csv(w, csv, e);
    if (rc == 0 && !(w->started = pthread_create(&w->thread, NULL, watch_main, w) == 0))
        rc = oto_fail(e, OTO_E_LIMIT, "no thread for sampling");
    if (rc != 0) {
        oto_watch_free(w);
        return rc;
    }
    *out = w;
    return 0;
}

void oto_watch_free(oto_watch *w)
{
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->lock);
    w->quit = true;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
    if (w->started)
        pthread_join(w->thread, NULL);
    oto_monitor_free(w->paced);
    oto_monitor_free(w->fast);
    if (w->csv != NULL)
        fclose(w->csv);
    pthread_mutex_destroy(&w->lock);
    pthread_cond_destroy(&w->wake);
    free(w);
}

void oto_watch_mark(oto_watch *w)
{
    if (w == NULL)
        return;
    pthread_mutex_lock(&w->lock);
    w->tree_peak = w->private_peak = w->worker_peak = w->decoder_peak = NAN;
    pthread_mutex_unlock(&w->lock);
}

void oto_watch_look(oto_watch *w, oto_watch_view *out)
{
    if (w == NULL) {
        *out = (oto_watch_view){.worker_rss_mb = NAN,
                                .worker_pss_mb = NAN,
                                .worker_private_mb = NAN,
                                .tree_rss_mb = NAN,
                                .tree_peak_mb = NAN,
                                .tree_private_peak_mb = NAN,
                                .worker_peak_mb = NAN,
                                .decoder_peak_mb = NAN};
        return;
    }
    pthread_mutex_lock(&w->lock);
    look(w, out);
    pthread_mutex_unlock(&w->lock);
}
