/* /proc, one process at a time: see proc(5). A process may end between any two reads; what cannot
 * be read then is simply not known. */
#include "measure/proc.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The whole of a small file; -1: it cannot be read. */
static ssize_t slurp(int pid, const char *file, char *out, size_t size)
{
    char path[64];
    ssize_t n;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/%s", pid, file);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    n = read(fd, out, size - 1);
    close(fd);
    out[n > 0 ? n : 0] = '\0';
    return n;
}

/* ---- who there is ---- */

static bool read_stat(int pid, oto_proc_stat *s)
{
    char text[1024], *open_, *close_;
    unsigned long long minor, major, utime, stime, start;
    long threads, rss;

    if (slurp(pid, "stat", text, sizeof text) <= 0)
        return false;
    /* The name may hold anything, parentheses too: it ends at the last one. */
    open_ = strchr(text, '(');
    close_ = strrchr(text, ')');
    if (open_ == NULL || close_ == NULL || close_ < open_)
        return false;
    *s = (oto_proc_stat){.pid = pid};
    snprintf(s->comm, sizeof s->comm, "%.*s", (int)(close_ - open_ - 1), open_ + 1);
    if (sscanf(close_ + 1,
               " %*c %d %*d %*d %*d %*d %*u %llu %*u %llu %*u %llu %llu %*d %*d %*d %*d %ld %*d "
               "%llu %*u %ld",
               &s->ppid, &minor, &major, &utime, &stime, &threads, &start, &rss) != 8)
        return false;
    s->faults = (int64_t)(minor + major);
    s->cpu_ticks = (int64_t)(utime + stime);
    s->start_ticks = (int64_t)start;
    s->threads = (int)threads;
    s->rss_mb = (double)rss * (double)sysconf(_SC_PAGESIZE) / OTO_MB;
    return true;
}

static int by_pid(const void *a, const void *b)
{
    return ((const oto_proc_stat *)a)->pid - ((const oto_proc_stat *)b)->pid;
}

int oto_proc_list(oto_proc_stat **list, int *n, int *room,
                  bool (*known)(void *arg, int pid, oto_proc_stat *out), void *arg, oto_err *e)
{
    DIR *d = opendir("/proc");
    const struct dirent *entry;
    int rc = 0, pid;

    *n = 0;
    if (d == NULL)
        return oto_fail_errno(e, "/proc");
    while (rc == 0 && (entry = readdir(d)) != NULL) {
        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        if (*n == *room) {
            const int more = *room > 0 ? 2 * *room : 256;
            oto_proc_stat *grown = realloc(*list, (size_t)more * sizeof *grown);

            if (grown == NULL) {
                rc = oto_fail(e, OTO_E_INTERNAL, "out of memory for %d processes", more);
                break;
            }
            *list = grown;
            *room = more;
        }
        pid = (int)strtol(entry->d_name, NULL, 10);
        *n += (known != NULL && known(arg, pid, &(*list)[*n])) || read_stat(pid, &(*list)[*n]);
    }
    closedir(d);
    if (rc == 0 && *n > 0)
        qsort(*list, (size_t)*n, sizeof **list, by_pid);
    return rc;
}

/* ---- what it is called ---- */

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash != NULL ? slash + 1 : path;
}

void oto_proc_command(int pid, char *out, size_t n)
{
    const ssize_t got = slurp(pid, "cmdline", out, n);

    for (ssize_t i = 0; i + 1 < got; i++)
        if (out[i] == '\0')
            out[i] = ' ';
}

static bool interprets(const char *program)
{
    static const char *const names[] = {"python", "pypy", "node", "ruby", "perl"};

    for (size_t i = 0; i < OTO_COUNT(names); i++)
        if (strncmp(program, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

void oto_proc_name(int pid, const char *comm, char *out, size_t n)
{
    char text[4096];
    const ssize_t got = slurp(pid, "cmdline", text, sizeof text);
    const char *name = comm, *arg = text, *end = text + (got > 0 ? got : 0);

    if (got > 0 && text[0] != '\0') {
        /* Some rewrite their line as a sentence: the first word is the program. */
        text[strcspn(text, " ")] = '\0';
        name = base_of(text);
        if (interprets(name)) {
            for (arg += strlen(arg) + 1; arg < end && arg[0] == '-'; arg += strlen(arg) + 1)
                if (strcmp(arg, "-m") == 0) {
                    arg += strlen(arg) + 1;
                    break;
                } else if (strcmp(arg, "-c") == 0) {
                    arg = end;
                }
            if (arg < end && arg[0] != '\0')
                name = base_of(arg);
        }
    }
    snprintf(out, n, "%s", name);
    for (char *c = out; *c != '\0'; c++)
        if ((unsigned char)*c < 0x20 || *c == 0x7f)
            *c = '?';
}

/* ---- what it takes ---- */

/* "Key:   123 kB" of a text as MB. */
static double kib(const char *text, const char *key)
{
    const char *p = strstr(text, key);

    return p != NULL ? strtod(p + strlen(key), NULL) / 1024 : NAN;
}

static void read_memory(oto_proc_sample *s, bool quick)
{
    char text[8192];

    if (s->rss_mb == 0) { /* dead and not yet waited for */
        s->pss_mb = s->private_mb = s->private_dirty_mb = s->swap_mb = 0;
        return;
    }
    if (slurp(s->pid, "status", text, sizeof text) > 0) {
        s->peak_mb = kib(text, "\nVmHWM:");
        s->swap_mb = kib(text, "\nVmSwap:");
    }
    if (!quick && slurp(s->pid, "smaps_rollup", text, sizeof text) > 0) {
        s->pss_mb = kib(text, "\nPss:");
        s->private_dirty_mb = kib(text, "\nPrivate_Dirty:");
        s->private_mb = kib(text, "\nPrivate_Clean:") + s->private_dirty_mb;
        /* The kernel keeps the quick figure in batches for each processor; this one is exact. */
        s->rss_mb = kib(text, "\nRss:");
    }
}

static void read_storage(oto_proc_sample *s)
{
    char text[1024];
    const char *p;

    if (slurp(s->pid, "io", text, sizeof text) <= 0)
        return;
    if ((p = strstr(text, "\nread_bytes:")) != NULL)
        s->read_mb = strtod(p + 12, NULL) / OTO_MB;
    if ((p = strstr(text, "\nwrite_bytes:")) != NULL)
        s->written_mb = strtod(p + 13, NULL) / OTO_MB;
}

/* -1: another user's. */
static int count_files(int pid)
{
    const struct dirent *entry;
    char path[64];
    struct stat st;
    DIR *d;
    int n = 0;

    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    /* Newer kernels tell the number as the folder's size. */
    if (stat(path, &st) == 0 && st.st_size > 0)
        return (int)st.st_size;
    if ((d = opendir(path)) == NULL)
        return -1;
    while ((entry = readdir(d)) != NULL)
        n += entry->d_name[0] != '.';
    closedir(d);
    return n;
}

void oto_proc_figures(oto_proc_sample *s, bool quick)
{
    s->pss_mb = s->private_mb = s->private_dirty_mb = s->swap_mb = s->peak_mb = NAN;
    s->read_mb = s->written_mb = NAN;
    s->files = -1;
    read_memory(s, quick);
    if (quick)
        return;
    read_storage(s);
    s->files = count_files(s->pid);
}

/* ---- who listens ---- */

/* Inodes of the sockets that listen on a port; the count. */
static int listening(const char *table, int port, unsigned long *inodes, int most)
{
    FILE *f = fopen(table, "re");
    char line[512];
    unsigned local, state;
    unsigned long inode;
    int n = 0;

    while (f != NULL && n < most && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*s %*s %lu",
                   &local, &state, &inode) == 3 &&
            (int)local == port && state == 0x0a)
            inodes[n++] = inode;
    if (f != NULL)
        fclose(f);
    return n;
}

static bool holds(int pid, const unsigned long *inodes, int n)
{
    char path[300], to[64];
    const struct dirent *entry;
    bool found = false;
    unsigned long inode;
    ssize_t got;
    DIR *d;

    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    if ((d = opendir(path)) == NULL)
        return false;
    while (!found && (entry = readdir(d)) != NULL) {
        got = readlinkat(dirfd(d), entry->d_name, to, sizeof to - 1);
        if (got <= 0)
            continue;
        to[got] = '\0';
        if (sscanf(to, "socket:[%lu]", &inode) == 1)
            for (int i = 0; i < n; i++)
                found = found || inodes[i] == inode;
    }
    closedir(d);
    return found;
}

int oto_proc_of_port(int port)
{
    unsigned long inodes[16];
    oto_proc_stat *list = NULL;
    int n, room = 0, n_inodes, found = 0, parent = 0;

    n_inodes = listening("/proc/net/tcp", port, inodes, 8);
    n_inodes += listening("/proc/net/tcp6", port, inodes + n_inodes, 8);
    if (n_inodes == 0 || oto_proc_list(&list, &n, &room, NULL, NULL, NULL) != 0) {
        free(list);
        return 0;
    }
    for (int i = 0; i < n && found == 0; i++)
        if (holds(list[i].pid, inodes, n_inodes)) {
            found = list[i].pid;
            parent = list[i].ppid;
        }
    /* A server's children inherit its socket: up to the first that had it. */
    while (found != 0 && parent > 1 && holds(parent, inodes, n_inodes)) {
        found = parent;
        for (int i = 0; i < n; i++)
            if (list[i].pid == found)
                parent = list[i].ppid;
    }
    free(list);
    return found;
}
