/* The spool: uploads while they arrive, and the recordings of jobs.
 *
 *   DIR/upload-RANDOM.part          arriving; nobody's after a crash
 *   DIR/2026-11-23_001_1f0c….wav    kept: date, number of that day, random, the client's ending
 *
 * A recording is durable before its job is: a crash between the two leaves a file that no job
 * names, which the sweep at the next start removes. */
#include "store/store.h"
#include "store/sqlite.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* The free space is looked at again after so much was written. */
#define LOOK_EVERY ((int64_t)16 << 20)
/* A file that no job names may belong to a submission under way. */
#define ORPHAN_S 3600

int oto_spool_open(const char *dir, int64_t max_bytes, int64_t min_free, oto_spool *out, oto_err *e)
{
    int rc;

    if (strlen(dir) >= sizeof out->dir)
        return oto_fail(e, OTO_E_USAGE, "%.80s…: the folder's name is too long", dir);
    if ((rc = oto_mkdirs(dir, e)) != 0)
        return rc;
    if (access(dir, W_OK | X_OK) != 0)
        return oto_fail_errno(e, "%s", dir);
    snprintf(out->dir, sizeof out->dir, "%s", dir);
    out->max_bytes = max_bytes;
    out->min_free = min_free;
    return 0;
}

static int full(const oto_spool *s, oto_err *e)
{
    return oto_fail(e, OTO_E_NO_SPACE, "%s: no space left for uploads", s->dir);
}

/* Bytes of all files, counted only where there is a quota. */
static int64_t used_bytes(const oto_spool *s)
{
    DIR *d = opendir(s->dir);
    int64_t sum = 0;

    if (d == NULL)
        return 0;
    for (const struct dirent *f; (f = readdir(d)) != NULL;) {
        struct stat st;

        if (fstatat(dirfd(d), f->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            sum += st.st_size;
    }
    closedir(d);
    return sum;
}

int oto_spool_room(const oto_spool *s, int64_t bytes, oto_err *e)
{
    struct statvfs v;

    if (s->max_bytes > 0 && used_bytes(s) + bytes > s->max_bytes)
        return full(s, e);
    if (statvfs(s->dir, &v) != 0)
        return oto_fail_errno(e, "%s", s->dir);
    if ((int64_t)(v.f_bavail * v.f_frsize) < bytes + s->min_free)
        return full(s, e);
    return 0;
}

static void path_of(const oto_spool *s, const char *name, char out[512])
{
    snprintf(out, 512, "%s/%s", s->dir, name);
}

int oto_upload_begin(const oto_spool *s, int64_t expected, oto_upload *u, oto_err *e)
{
    char random[33], path[512];
    int rc;

    if ((rc = oto_spool_room(s, OTO_MAX(expected, 0), e)) != 0 ||
        (rc = oto_random_hex(random, 16, e)) != 0)
        return rc;
    *u = (oto_upload){.fd = -1};
    snprintf(u->part, sizeof u->part, "upload-%s.part", random);
    path_of(s, u->part, path);
    u->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    return u->fd >= 0 ? 0 : oto_fail_errno(e, "%s", s->dir);
}

int oto_upload_write(const oto_spool *s, oto_upload *u, const void *p, size_t n, oto_err *e)
{
    const char *at = p;
    int rc;

    if (u->bytes / LOOK_EVERY != (u->bytes + (int64_t)n) / LOOK_EVERY &&
        (rc = oto_spool_room(s, 0, e)) != 0)
        return rc;
    while (n > 0) {
        const ssize_t done = oto_fault("write", ENOSPC) ? -1 : write(u->fd, at, n);

        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return errno == ENOSPC || errno == EDQUOT || errno == EFBIG
                       ? full(s, e)
                       : oto_fail_errno(e, "%s", s->dir);
        at += done;
        n -= (size_t)done;
        u->bytes += done;
    }
    return 0;
}

static int sync_folder(const oto_spool *s, oto_err *e)
{
    const int fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;

    if (fd < 0)
        return oto_fail_errno(e, "%s", s->dir);
    if (oto_fault("sync", EIO) || fsync(fd) != 0)
        rc = oto_fail(e, OTO_E_IO, "%s: %s", s->dir, strerror(errno));
    close(fd);
    return rc;
}

/* Recordings of a day, to number the next; a name that is taken is simply passed over. */
static int number_of_day(const oto_spool *s, const char *date)
{
    static _Thread_local char last_date[16];
    static _Thread_local int last;
    DIR *d;

    if (strcmp(last_date, date) == 0)
        return ++last;
    last = 0;
    if ((d = opendir(s->dir)) != NULL) {
        for (const struct dirent *f; (f = readdir(d)) != NULL;)
            if (strncmp(f->d_name, date, 10) == 0 && f->d_name[10] == '_')
                last = OTO_MAX(last, atoi(f->d_name + 11));
        closedir(d);
    }
    snprintf(last_date, sizeof last_date, "%s", date);
    return ++last;
}

/* DATE_…: letters, digits, '-', '_' and '.', so it leads nowhere else. */
static bool is_kept_name(const char *name)
{
    const size_t n = strlen(name);

    return n > 11 && n < 64 && name[0] != '.' && name[10] == '_' &&
           strspn(name, "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_.") == n;
}

/* The name for a recording of today. What the client's ending holds beyond letters and digits could
 * lead out of the folder. */
static int new_name(const oto_spool *s, const char *ext, int64_t now, char name[64], oto_err *e)
{
    const time_t t = (time_t)(now / 1000);
    char date[16], random[9];
    struct tm tm;
    int rc;

    if ((rc = oto_random_hex(random, 4, e)) != 0)
        return rc;
    localtime_r(&t, &tm);
    strftime(date, sizeof date, "%Y-%m-%d", &tm);
    snprintf(name, 64, "%s_%03d_%s.%.16s", date, number_of_day(s, date), random, ext);
    return is_kept_name(name) ? 0 : oto_fail(e, OTO_E_USAGE, "%.16s: no file name's ending", ext);
}

int oto_upload_keep(const oto_spool *s, oto_upload *u, const char *ext, int64_t now, char name[64],
                    oto_err *e)
{
    char from[512], to[512];
    int rc = new_name(s, ext, now, name, e);

    /* ENOSPC and EDQUOT are told here by some file systems; anything else is a lost write. */
    if (rc == 0 && (oto_fault("sync", EIO) || fsync(u->fd) != 0))
        rc = errno == ENOSPC || errno == EDQUOT
                 ? full(s, e)
                 : oto_fail(e, OTO_E_IO, "%s: %s", s->dir, strerror(errno));
    if (rc == 0) {
        path_of(s, u->part, from);
        path_of(s, name, to);
        if (oto_fault("rename", EIO) || rename(from, to) != 0)
            rc = oto_fail_errno(e, "%s", s->dir);
        else if ((rc = sync_folder(s, e)) != 0)
            unlink(to);
    }
    oto_upload_drop(s, u);
    return rc;
}

void oto_upload_drop(const oto_spool *s, oto_upload *u)
{
    char path[512];

    if (u->fd < 0)
        return;
    close(u->fd);
    u->fd = -1;
    path_of(s, u->part, path);
    unlink(path);
}

int oto_spool_path(const oto_spool *s, const char *name, char *out, size_t room, oto_err *e)
{
    if (!is_kept_name(name))
        return oto_fail(e, OTO_E_NOT_FOUND, "the recording is not kept any more");
    if ((size_t)snprintf(out, room, "%s/%s", s->dir, name) >= room)
        return oto_fail(e, OTO_E_USAGE, "%.80s…: the folder's name is too long", s->dir);
    return 0;
}

void oto_spool_remove(const oto_spool *s, const char *name)
{
    char path[512];

    if (is_kept_name(name)) {
        path_of(s, name, path);
        unlink(path);
    }
}

/* A client may call its recording x.part: what is still arriving is known by both ends. */
static bool is_part(const char *name)
{
    const size_t n = strlen(name);

    return n > 12 && n < 64 && strncmp(name, "upload-", 7) == 0 &&
           strcmp(name + n - 5, ".part") == 0;
}

/* Is this the file of a submission that never came to be? */
static int is_orphan(const char *path, const char *name, oto_store *store, int64_t now, bool *out,
                     oto_err *e)
{
    struct stat st;
    bool named = false;
    int rc;

    *out = false;
    if (!is_kept_name(name) || stat(path, &st) != 0 || now / 1000 - st.st_mtime < ORPHAN_S)
        return 0;
    if ((rc = oto_store_names_audio(store, name, &named, e)) == 0)
        *out = !named;
    return rc;
}

int oto_spool_sweep(const oto_spool *s, oto_store *store, int64_t now, int *removed, oto_err *e)
{
    const struct dirent *f;
    DIR *d = opendir(s->dir);
    int rc = 0;

    *removed = 0;
    if (d == NULL)
        return oto_fail_errno(e, "%s", s->dir);
    while (rc == 0 && (f = readdir(d)) != NULL) {
        char path[512];
        bool gone = is_part(f->d_name);

        snprintf(path, sizeof path, "%s/%.64s", s->dir, f->d_name);
        if (!gone)
            rc = is_orphan(path, f->d_name, store, now, &gone, e);
        if (rc == 0 && gone && unlink(path) == 0)
            ++*removed;
    }
    closedir(d);
    return rc;
}
