/* The processes of a server, sampled: which they are is found anew at each look, by parent links,
 * so that children are seen as they come and missed when they have gone. CPU is the difference of
 * the times used over the time between two looks; nothing in between is unseen but what both begins
 * and ends there. */
#include "measure/proc.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* A process that has not run is read at every so many looks: others may have come to share its
 * pages. */
#define STILL_LOOKS 8

/* What is remembered of a process between two looks. */
typedef struct {
    oto_proc_sample s;
    int64_t cpu_ticks;
    char comm[20];
    oto_proc_stat seen;  /* when the dear figures were last read */
    bool figures;        /* the dear ones have been read */
    int looked;          /* in which look */
    bool still;          /* has not run since then, nor changed its size */
    bool tracked, named; /* named: its command line has been looked at */
    bool matches;
} known;

struct oto_monitor {
    oto_monitor_options o;
    int *pids;
    char **names;
    int port_root;
    oto_proc_stat *list;
    int room;
    known *now, *before; /* all processes, ordered by pid */
    int n_now, n_before, room_now, room_before;
    oto_proc_sample *out;
    int n_out, room_out, looks;
    int turn;      /* of the processes: where the next look's dear figures begin */
    double debt_s; /* what the looks so far took beyond their budgets */
    double first_s, last_s, boot_s, memory_mb, ticks_per_s;
    struct timeval when;
};

static double clock_s(clockid_t id)
{
    struct timespec t;

    clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool copy_options(oto_monitor *m, const oto_monitor_options *o)
{
    m->o = *o;
    m->pids = calloc((size_t)o->n_pids + 1, sizeof *m->pids);
    m->names = calloc((size_t)o->n_names + 1, sizeof *m->names);
    if (m->pids == NULL || m->names == NULL)
        return false;
    if (o->n_pids > 0)
        memcpy(m->pids, o->pids, (size_t)o->n_pids * sizeof *m->pids);
    for (int i = 0; i < o->n_names; i++)
        if ((m->names[i] = strdup(o->names[i])) == NULL)
            return false;
    return true;
}

int oto_monitor_new(const oto_monitor_options *o, oto_monitor **out, oto_err *e)
{
    oto_monitor *m = calloc(1, sizeof *m);
    int rc = 0;

    if (m == NULL || !copy_options(m, o)) {
        oto_monitor_free(m);
        return oto_fail(e, OTO_E_INTERNAL, "out of memory");
    }
    m->first_s = NAN;
    m->ticks_per_s = (double)sysconf(_SC_CLK_TCK);
    m->memory_mb = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / OTO_MB;
    if (o->port > 0 && (m->port_root = oto_proc_of_port(o->port)) == 0)
        rc = oto_fail(e, OTO_E_NOT_FOUND,
                      "no process of this machine that may be looked at listens on port %d",
                      o->port);
    for (int i = 0; i < o->n_pids && rc == 0; i++)
        if (kill(o->pids[i], 0) != 0 && access("/proc/self/stat", R_OK) == 0) {
            char path[32];

            snprintf(path, sizeof path, "/proc/%d", o->pids[i]);
            if (access(path, F_OK) != 0)
                rc = oto_fail(e, OTO_E_NOT_FOUND, "no process %d", o->pids[i]);
        }
    if (rc != 0) {
        oto_monitor_free(m);
        return rc;
    }
    *out = m;
    return 0;
}

void oto_monitor_free(oto_monitor *m)
{
    if (m == NULL)
        return;
    for (int i = 0; m->names != NULL && i < m->o.n_names; i++)
        free(m->names[i]);
    free(m->names);
    free(m->pids);
    free(m->list);
    free(m->now);
    free(m->before);
    free(m->out);
    free(m);
}

double oto_monitor_elapsed_s(const oto_monitor *m)
{
    return m->last_s - m->first_s;
}

/* ---- who belongs to it ---- */

static known *find(known *list, int n, int pid)
{
    int low = 0, high = n;

    while (low < high) {
        const int middle = (low + high) / 2;

        if (list[middle].s.pid < pid)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && list[low].s.pid == pid ? &list[low] : NULL;
}

/* This process, and whoever started it: their command lines hold the name that is looked for. */
static bool is_watcher(oto_monitor *m, int pid)
{
    const known *k;
    int at = getpid();

    for (int depth = 0; at > 0 && depth < 64; depth++) {
        if (at == pid)
            return true;
        k = find(m->now, m->n_now, at);
        at = k != NULL ? k->s.ppid : 0;
    }
    return false;
}

static bool is_root(oto_monitor *m, known *k)
{
    char line[4096];

    if (k->s.pid == m->port_root)
        return true;
    for (int i = 0; i < m->o.n_pids; i++)
        if (k->s.pid == m->pids[i])
            return true;
    if (m->o.n_names > 0 && !k->named) {
        k->named = true;
        oto_proc_command(k->s.pid, line, sizeof line);
        for (int i = 0; i < m->o.n_names && !k->matches; i++)
            k->matches = strstr(line, m->names[i]) != NULL;
        k->matches = k->matches && !is_watcher(m, k->s.pid);
    }
    return k->matches;
}

static void track(oto_monitor *m)
{
    bool more = true;

    for (int i = 0; i < m->n_now; i++)
        if (!m->now[i].tracked)
            m->now[i].tracked = is_root(m, &m->now[i]);
    while (more) {
        more = false;
        for (int i = 0; i < m->n_now; i++) {
            const known *parent =
                m->now[i].tracked ? NULL : find(m->now, m->n_now, m->now[i].s.ppid);

            if (parent != NULL && parent->tracked && m->now[i].s.pid != getpid())
                m->now[i].tracked = more = true;
        }
    }
}

/* ---- one look ---- */

static bool grow(void **p, int *room, int n, size_t size)
{
    void *grown;

    if (n <= *room)
        return true;
    grown = realloc(*p, (size_t)n * 2 * size);
    if (grown == NULL)
        return false;
    *p = grown;
    *room = 2 * n;
    return true;
}

/* A name is asked for anew as long as it is the one before exec. */
static void name_it(known *k, const oto_proc_stat *p)
{
    if (k->s.name[0] != '\0' && strcmp(k->comm, p->comm) == 0)
        return;
    snprintf(k->comm, sizeof k->comm, "%s", p->comm);
    oto_proc_name(p->pid, p->comm, k->s.name, sizeof k->s.name);
    k->named = false;
    k->matches = false;
}

/* The processes of now, with what was known of them. */
static int merge(oto_monitor *m, int n, oto_err *e)
{
    known *swap = m->before;
    int room = m->room_before, at = 0;

    m->before = m->now;
    m->n_before = m->n_now;
    m->room_before = m->room_now;
    m->now = swap;
    m->room_now = room;
    m->n_now = 0;
    if (!grow((void **)&m->now, &m->room_now, n, sizeof *m->now))
        return oto_fail(e, OTO_E_INTERNAL, "out of memory for %d processes", n);
    for (int i = 0; i < n; i++) {
        const oto_proc_stat *p = &m->list[i];
        known *k = &m->now[m->n_now++];

        while (at < m->n_before && m->before[at].s.pid < p->pid)
            at++;
        if (at < m->n_before && m->before[at].s.pid == p->pid &&
            m->before[at].s.start_ticks == p->start_ticks) {
            *k = m->before[at];
            m->before[at].s.pid = -1; /* lives on */
        } else {
            *k = (known){.s = {.pid = p->pid, .start_ticks = p->start_ticks}, .cpu_ticks = -1};
        }
        k->s.ppid = p->ppid;
        k->s.threads = p->threads;
        k->still = k->figures && p->faults == k->seen.faults && p->rss_mb == k->seen.rss_mb &&
                   p->cpu_ticks == k->seen.cpu_ticks;
        if (!k->still)
            k->s.rss_mb = p->rss_mb;
        k->s.cpu_s = (double)p->cpu_ticks / m->ticks_per_s;
        name_it(k, p);
    }
    return 0;
}

static void set_cpu(const oto_monitor *m, known *k, double since_s)
{
    const int64_t ticks = (int64_t)(k->s.cpu_s * m->ticks_per_s + 0.5);
    const double lived = m->boot_s - (double)k->s.start_ticks / m->ticks_per_s;
    double used = (double)ticks / m->ticks_per_s, over = fmax(lived, 1 / m->ticks_per_s);

    if (k->cpu_ticks >= 0) {
        used = (double)(ticks - k->cpu_ticks) / m->ticks_per_s;
        over = since_s;
    }
    k->s.cpu_percent = over > 0 ? 100 * used / over : 0;
    k->cpu_ticks = ticks;
}

static void set_role(oto_monitor *m, known *k)
{
    const known *parent = find(m->now, m->n_now, k->s.ppid);
    bool has_children = false;
    const char *role;

    if (strncmp(k->comm, "oto-", 4) == 0) {
        snprintf(k->s.role, sizeof k->s.role, "%.11s", k->comm + 4);
        return;
    }
    for (int i = 0; i < m->n_now && !has_children; i++)
        has_children = m->now[i].tracked && m->now[i].s.ppid == k->s.pid;
    if (parent != NULL && parent->tracked)
        role = "child";
    else
        role = !has_children                       ? "process"
               : strcmp(k->s.name, "otolith") == 0 ? "supervisor"
                                                   : "parent";
    snprintf(k->s.role, sizeof k->s.role, "%s", role);
}

static bool put_out(oto_monitor *m, const oto_proc_sample *s)
{
    if (!grow((void **)&m->out, &m->room_out, m->n_out + 1, sizeof *m->out))
        return false;
    m->out[m->n_out++] = *s;
    return true;
}

static int by_pid(const void *a, const void *b)
{
    return ((const oto_proc_sample *)a)->pid - ((const oto_proc_sample *)b)->pid;
}

/* The many processes that do not belong to it are read at every fourth look, some at each. */
static bool stranger(void *arg, int pid, oto_proc_stat *out)
{
    oto_monitor *m = arg;
    const known *k = (m->looks + pid) % 4 != 0 ? find(m->now, m->n_now, pid) : NULL;

    if (k == NULL || k->tracked)
        return false;
    *out = (oto_proc_stat){.pid = pid,
                           .ppid = k->s.ppid,
                           .threads = k->s.threads,
                           .cpu_ticks = (int64_t)(k->s.cpu_s * m->ticks_per_s + 0.5),
                           .start_ticks = k->s.start_ticks,
                           .rss_mb = k->s.rss_mb};
    snprintf(out->comm, sizeof out->comm, "%s", k->comm);
    return true;
}

static void read_one(oto_monitor *m, known *k, const oto_proc_stat *now)
{
    oto_proc_figures(&k->s, m->o.quick);
    k->figures = true;
    k->seen = *now;
    k->looked = m->looks;
}

static bool is_due(const oto_monitor *m, const known *k)
{
    return k->tracked && k->looked != m->looks &&
           (!k->still || (m->looks + k->s.pid) % STILL_LOOKS == 0);
}

/* Memory, storage and files: of each new process, and by turns of as many others as the budget
 * allows. Half of it is theirs whatever the new ones took: where processes never cease to come the
 * old ones' figures would else stay what they were. */
static void read_figures(oto_monitor *m)
{
    const double budget_s = m->o.budget_s > 0 ? m->o.budget_s : INFINITY;
    const double began_s = clock_s(CLOCK_THREAD_CPUTIME_ID);
    double now_s, until;

    for (int i = 0; i < m->n_now; i++)
        if (m->now[i].tracked && !m->now[i].figures)
            read_one(m, &m->now[i], &m->list[i]);
    now_s = clock_s(CLOCK_THREAD_CPUTIME_ID);
    until = fmax(began_s + budget_s, now_s + budget_s / 2) - m->debt_s;
    for (int i = 0; i < m->n_now && now_s < until; i++, m->turn++) {
        const int at = m->turn % m->n_now;

        if (!is_due(m, &m->now[at]))
            continue;
        read_one(m, &m->now[at], &m->list[at]);
        now_s = clock_s(CLOCK_THREAD_CPUTIME_ID);
    }
    m->turn = m->n_now > 0 ? m->turn % m->n_now : 0;
    /* One large process may take more than a look's budget: the next ones pay for it. */
    m->debt_s = fmax(0, now_s - until);
}

int oto_monitor_look(oto_monitor *m, const oto_proc_sample **list, int *n, oto_err *e)
{
    const double now = oto_now_s(), since = now - m->last_s;
    bool room = true;
    int n_all, rc;

    if ((rc = oto_proc_list(&m->list, &n_all, &m->room, stranger, m, e)) != 0)
        return rc;
    gettimeofday(&m->when, NULL);
    m->boot_s = clock_s(CLOCK_BOOTTIME);
    if (isnan(m->first_s))
        m->first_s = now;
    m->last_s = now;
    if ((rc = merge(m, n_all, e)) != 0)
        return rc;
    track(m);
    m->looks++;
    read_figures(m);
    m->n_out = 0;
    for (int i = 0; i < m->n_now && room; i++) {
        known *k = &m->now[i];

        if (!k->tracked)
            continue;
        set_cpu(m, k, since);
        set_role(m, k);
        k->s.memory_percent = 100 * k->s.rss_mb / m->memory_mb;
        room = put_out(m, &k->s);
    }
    for (int i = 0; i < m->n_before && room; i++)
        if (m->before[i].s.pid > 0 && m->before[i].tracked) {
            m->before[i].s.ended = true;
            m->before[i].s.cpu_percent = 0;
            room = put_out(m, &m->before[i].s);
        }
    if (!room)
        return oto_fail(e, OTO_E_INTERNAL, "out of memory for %d processes", m->n_out);
    if (m->n_out > 0)
        qsort(m->out, (size_t)m->n_out, sizeof *m->out, by_pid);
    *list = m->out;
    *n = m->n_out;
    return 0;
}

/* ---- CSV ---- */

int oto_monitor_csv_header(FILE *f, oto_err *e)
{
    if (fputs("timestamp,elapsed_seconds,process_name,pid,cpu_percent,memory_rss_mb,memory_percent,"
              "role,"
              "ppid,memory_pss_mb,memory_private_mb,memory_private_dirty_mb,swap_mb,memory_peak_mb,"
              "threads,open_files,read_mb,written_mb,cpu_seconds,ended\n",
              f) < 0 ||
        fflush(f) != 0)
        return oto_fail_errno(e, "samples");
    return 0;
}

/* A name comes from a stranger: quoted where it has to be (RFC 4180). */
static void put_name(FILE *f, const char *name)
{
    if (strpbrk(name, ",\"") == NULL) {
        fputs(name, f);
        return;
    }
    fputc('"', f);
    for (; *name != '\0'; name++) {
        if (*name == '"')
            fputc('"', f);
        fputc(*name, f);
    }
    fputc('"', f);
}

static void put_mb(FILE *f, double v)
{
    if (isfinite(v))
        fprintf(f, ",%.3f", v);
    else
        fputc(',', f);
}

int oto_monitor_csv_rows(const oto_monitor *m, FILE *f, oto_err *e)
{
    const time_t t = m->when.tv_sec;
    char date[40];
    struct tm tm;

    localtime_r(&t, &tm);
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", &tm);
    for (int i = 0; i < m->n_out; i++) {
        const oto_proc_sample *s = &m->out[i];

        fprintf(f, "%s.%06ld,%.2f,", date, (long)m->when.tv_usec, oto_monitor_elapsed_s(m));
        put_name(f, s->name);
        fprintf(f, ",%d,%.2f,%.2f,%.2f,%s,%d", s->pid, s->cpu_percent, s->rss_mb, s->memory_percent,
                s->role, s->ppid);
        put_mb(f, s->pss_mb);
        put_mb(f, s->private_mb);
        put_mb(f, s->private_dirty_mb);
        put_mb(f, s->swap_mb);
        put_mb(f, s->peak_mb);
        fprintf(f, ",%d,", s->threads);
        if (s->files >= 0)
            fprintf(f, "%d", s->files);
        put_mb(f, s->read_mb);
        put_mb(f, s->written_mb);
        fprintf(f, ",%.2f,%d\n", s->cpu_s, s->ended);
        if (fflush(f) != 0)
            return oto_fail_errno(e, "samples");
    }
    return ferror(f) ? oto_fail_errno(e, "samples") : 0;
}
