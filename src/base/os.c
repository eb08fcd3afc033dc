/* What only the operating system knows: clocks, memory, cores, and files that survive a crash. */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

double oto_now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int64_t oto_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + 1e-6 * (double)t.tv_usec;
}

double oto_cpu_s(void)
{
    struct rusage self, children;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    return seconds(self.ru_utime) + seconds(self.ru_stime) + seconds(children.ru_utime) +
           seconds(children.ru_stime);
}

/* Reads a small text file of /proc or /sys; false when it is not there. */
static bool slurp(const char *path, char *buf, size_t n)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t got = read(fd, buf, n - 1);
    close(fd);
    buf[got > 0 ? got : 0] = 0;
    return got > 0;
}

static size_t status_kib(const char *key)
{
    char buf[4096];
    const char *p = slurp("/proc/self/status", buf, sizeof buf) ? strstr(buf, key) : NULL;
    return p ? (size_t)strtoull(p + strlen(key), NULL, 10) << 10 : 0;
}

size_t oto_rss_bytes(void)
{
    return status_kib("VmRSS:");
}

size_t oto_rss_anon_bytes(void)
{
    return status_kib("RssAnon:");
}

size_t oto_peak_rss_bytes(void)
{
    return status_kib("VmHWM:");
}

size_t oto_data_bytes(void)
{
    return status_kib("VmData:");
}

int oto_cpu_count(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                        : (int)sysconf(_SC_NPROCESSORS_ONLN);
    char buf[128];
    long long quota, period;
    if (slurp("/sys/fs/cgroup/cpu.max", buf, sizeof buf) &&
        sscanf(buf, "%lld %lld", &quota, &period) == 2 && quota > 0 && period > 0) {
        n = OTO_MIN(n, (int)((quota + period - 1) / period));
    }
    return OTO_MAX(n, 1);
}

size_t oto_memory_limit_bytes(void)
{
    size_t limit = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    static const char *const files[] = {"/sys/fs/cgroup/memory.max",
                                        "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    for (size_t i = 0; i < OTO_COUNT(files); i++) {
        char buf[128];
        if (slurp(files[i], buf, sizeof buf) && buf[0] >= '0' && buf[0] <= '9') {
            limit = OTO_MIN(limit, (size_t)strtoull(buf, NULL, 10));
        }
    }
    return limit;
}

int oto_mkdirs(const char *dir, oto_err *e)
{
    char path[4096];
    size_t n = strlen(dir);
    if (n == 0 || n >= sizeof path) {
        return oto_fail(e, OTO_E_USAGE, "%s: bad folder name", dir);
    }
    memcpy(path, dir, n + 1);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != 0) {
            continue;
        }
        char c = path[i];
        path[i] = 0;
        struct stat st;
        if (mkdir(path, 0755) != 0) {
            if (errno != EEXIST || stat(path, &st) != 0) {
                return oto_fail_errno(e, "%s", path);
            }
            if (!S_ISDIR(st.st_mode)) {
                errno = ENOTDIR;
                return oto_fail_errno(e, "%s", path);
            }
        }
        path[i] = c;
    }
    return 0;
}

static int write_all(int fd, const char *p, size_t n)
{
    while (n) {
        ssize_t w = write(fd, p, n);
        if (w < 0 && errno != EINTR) {
            return -1;
        }
        if (w > 0) {
            p += w;
            n -= (size_t)w;
        }
    }
    return 0;
}

static void sync_folder_of(const char *path)
{
    char dir[4096];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (!slash) {
        snprintf(dir, sizeof dir, ".");
    } else {
        slash[slash == dir] = 0;
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

int oto_write_file(const char *path, const void *p, size_t n, oto_err *e)
{
    char tmp[4096];
    if (snprintf(tmp, sizeof tmp, "%s.tmp.%ld", path, (long)getpid()) >= (int)sizeof tmp) {
        return oto_fail(e, OTO_E_USAGE, "%s: name too long", path);
    }
    int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0) {
        return oto_fail_errno(e, "%s", tmp);
    }
    int bad = oto_fault("write", ENOSPC) || write_all(fd, p, n) != 0 || oto_fault("sync", EIO) ||
              fsync(fd) != 0;
    int err = errno;
    bad = close(fd) != 0 || bad;
    if (!bad && !oto_fault("rename", EIO) && rename(tmp, path) == 0) {
        sync_folder_of(path);
        return 0;
    }
    errno = bad ? err : errno;
    int rc = oto_fail_errno(e, "%s", path);
    unlink(tmp);
    return rc;
}

/* What was never written to is read from its file again when it is needed; what the loader has
 * written to (relocations) would be lost, and shows as anonymous. */
void oto_release_code(void)
{
    FILE *f = fopen("/proc/self/smaps", "re");
    unsigned long from, to, start = 0, end = 0, kb;
    bool of_file = false;
    char line[512], rights[5];

    while (f != NULL && fgets(line, sizeof line, f) != NULL)
        if (sscanf(line, "%lx-%lx %4s", &from, &to, rights) == 3) {
            start = from;
            end = to;
            of_file =
                strncmp(rights, "r-", 2) == 0 && rights[3] == 'p' && strchr(line, '/') != NULL;
        } else if (of_file && sscanf(line, "Anonymous: %lu", &kb) == 1 && kb == 0) {
            (void)madvise((void *)start, end - start, MADV_DONTNEED);
        }
    if (f != NULL)
        fclose(f);
}
