/* The last guard on memory, behind the budget that admission keeps: a control group for all workers
 * and what they start, where this process may make one; in any case a limit on each worker's data.
 *
 * A worker that meets the limit on its data sees an allocation fail, and the job is tried again
 * later. The kernel kills when a group is full: a worker or its decoder, never supervisor or
 * gateway, which stay outside. See cgroups(7), and Documentation/admin-guide/cgroup-v2.rst in the
 * kernel's source: in version 2 a group with processes of its own has no limited groups beneath it,
 * so the supervisor moves into a leaf first. */
#include "work/ceiling.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ROOT "/sys/fs/cgroup"
#define MINE "otolith-"

static bool put(const char *dir, const char *file, const char *text)
{
    char path[600];
    ssize_t n = -1;
    int fd;

    if (snprintf(path, sizeof path, "%s/%s", dir, file) >= (int)sizeof path ||
        (fd = open(path, O_WRONLY | O_CLOEXEC)) < 0)
        return false;
    n = write(fd, text, strlen(text));
    close(fd);
    return n == (ssize_t)strlen(text);
}

/* Reads the start of a file as text. */
static bool get(const char *dir, const char *file, char *text, size_t size)
{
    char path[600];
    ssize_t n;
    int fd;

    if (snprintf(path, sizeof path, "%s/%s", dir, file) >= (int)sizeof path ||
        (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        return false;
    n = read(fd, text, size - 1);
    close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n >= 0;
}

/* This process's group of one hierarchy: "" is version 2, "memory" that controller of version 1. */
static bool own_group(const char *controller, char *out, size_t size)
{
    FILE *f = fopen("/proc/self/cgroup", "re");
    char line[512], *list, *path;
    bool found = false;

    while (f != NULL && !found && fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        list = strchr(line, ':');
        path = list != NULL ? strchr(list + 1, ':') : NULL;
        if (path == NULL)
            continue;
        *path++ = '\0';
        found = strcmp(list + 1, controller) == 0 && (size_t)snprintf(out, size, "%s", path) < size;
    }
    if (f != NULL)
        fclose(f);
    return found;
}

/* Groups of supervisors that were killed: only empty ones can be removed. */
static void sweep(const char *parent)
{
    DIR *d = opendir(parent);
    const struct dirent *entry;

    while (d != NULL && (entry = readdir(d)) != NULL)
        if (strncmp(entry->d_name, MINE, sizeof MINE - 1) == 0)
            unlinkat(dirfd(d), entry->d_name, AT_REMOVEDIR);
    if (d != NULL)
        closedir(d);
}

static bool make(const char *parent, char *dir, size_t size)
{
    return (size_t)snprintf(dir, size, "%s/" MINE "%d", parent, (int)getpid()) < size &&
           mkdir(dir, 0755) == 0;
}

/* Version 1: a group beneath this one. */
static bool make_v1(oto_ceiling *c, const char *bytes)
{
    char own[256], parent[300];

    if (!own_group("memory", own, sizeof own))
        return false;
    snprintf(parent, sizeof parent, ROOT "/memory%s", own);
    /* In a container the mount may begin at this very group. */
    if (access(parent, W_OK) != 0)
        snprintf(parent, sizeof parent, ROOT "/memory");
    sweep(parent);
    if (!make(parent, c->group, sizeof c->group))
        return false;
    c->file = "memory.limit_in_bytes";
    if (put(c->group, c->file, bytes))
        return true;
    rmdir(c->group);
    return false;
}

/* Version 2: only where this group is ours alone, as a service's is that systemd delegates. */
static bool make_v2(oto_ceiling *c, const char *bytes)
{
    char own[256], parent[300], leaf[320], text[64], pid[16];

    if (!own_group("", own, sizeof own))
        return false;
    snprintf(parent, sizeof parent, ROOT "%s", strcmp(own, "/") == 0 ? "" : own);
    snprintf(pid, sizeof pid, "%d\n", (int)getpid());
    snprintf(leaf, sizeof leaf, "%s/supervisor", parent);
    if (!get(parent, "cgroup.procs", text, sizeof text) || strcmp(text, pid) != 0)
        return false;
    sweep(parent);
    if (mkdir(leaf, 0755) != 0 && errno != EEXIST)
        return false;
    if (put(leaf, "cgroup.procs", pid) && put(parent, "cgroup.subtree_control", "+memory") &&
        make(parent, c->group, sizeof c->group)) {
        c->file = "memory.max";
        if (put(c->group, c->file, bytes))
            return true;
        rmdir(c->group);
    }
    put(parent, "cgroup.procs", pid);
    rmdir(leaf);
    return false;
}

void oto_ceiling_open(oto_ceiling *c, size_t bytes)
{
    char text[24];

    *c = (oto_ceiling){.group = ""};
    if (bytes == 0)
        return;
    snprintf(text, sizeof text, "%zu", bytes);
    if (make_v2(c, text) || make_v1(c, text)) {
        oto_log(OTO_LOG_INFO, "memory of all workers: at most %zu MiB (%s)", bytes >> 20, c->group);
        return;
    }
    c->group[0] = '\0';
    oto_log(OTO_LOG_DEBUG, "no control group for the workers: each one's data is limited alone");
}

void oto_ceiling_set(oto_ceiling *c, size_t bytes)
{
    char text[24] = "-1"; /* version 1's word for none; version 2's is "max" */

    if (c->group[0] == '\0')
        return;
    if (bytes > 0)
        snprintf(text, sizeof text, "%zu", bytes);
    else if (strcmp(c->file, "memory.max") == 0)
        snprintf(text, sizeof text, "max");
    if (!put(c->group, c->file, text))
        oto_log(OTO_LOG_WARN, "%s/%s: %s", c->group, c->file, strerror(errno));
}

void oto_ceiling_enter(const oto_ceiling *c)
{
    if (c->group[0] != '\0' && !put(c->group, "cgroup.procs", "0\n"))
        oto_log(OTO_LOG_WARN, "%s: %s", c->group, strerror(errno));
}

void oto_ceiling_close(oto_ceiling *c)
{
    const struct timespec nap = {.tv_nsec = 10000000};
    int tries = 100;

    if (c->group[0] == '\0')
        return;
    /* What the workers started ends just after them. */
    while (rmdir(c->group) != 0 && errno == EBUSY && tries-- > 0)
        nanosleep(&nap, NULL);
    if (access(c->group, F_OK) == 0)
        oto_log(OTO_LOG_DEBUG, "%s stays", c->group);
    c->group[0] = '\0';
}

void oto_ceiling_data(size_t bytes)
{
    const size_t now = oto_data_bytes();
    struct rlimit r;

    if (bytes == 0 || now == 0 || getrlimit(RLIMIT_DATA, &r) != 0)
        return;
    r.rlim_cur = OTO_MIN((rlim_t)(now + bytes), r.rlim_max);
    if (setrlimit(RLIMIT_DATA, &r) != 0)
        oto_log(OTO_LOG_WARN, "limit on data: %s", strerror(errno));
}
