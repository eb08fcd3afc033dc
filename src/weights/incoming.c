/* A file on its way into a model's folder; checksums; removing folders. */
#include "weights/sources.h"

#include <openssl/evp.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK ((size_t)1 << 18)

int oto_join(char *out, size_t n, const char *a, const char *b, oto_err *e)
{
    int len = snprintf(out, n, "%s/%s", a, b);
    return len < 0 || (size_t)len >= n ? oto_fail(e, OTO_E_USAGE, "%s: name too long", a) : 0;
}

/* Hashes what fd holds from its beginning. */
static int sha256_fd(int fd, const char *path, char out[65], oto_err *e)
{
    int rc = 0;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n_digest = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    uint8_t *chunk = malloc(CHUNK);
    if (!md || !chunk || EVP_DigestInit_ex(md, EVP_sha256(), NULL) != 1) {
        rc = oto_fail(e, OTO_E_LIMIT, "%s: no memory for a checksum", path);
        goto done;
    }
    for (off_t at = 0;;) {
        ssize_t got = pread(fd, chunk, CHUNK, at);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            rc = oto_fail_errno(e, "%s", path);
            goto done;
        }
        if (got == 0) {
            break;
        }
        at += got;
        EVP_DigestUpdate(md, chunk, (size_t)got);
    }
    EVP_DigestFinal_ex(md, digest, &n_digest);
    for (unsigned i = 0; i < 32; i++) {
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
    }
done:
    free(chunk);
    EVP_MD_CTX_free(md);
    return rc;
}

int oto_sha256_file(const char *path, char out[65], oto_err *e)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return oto_fail_errno(e, "%s", path);
    }
    int rc = sha256_fd(fd, path, out, e);
    close(fd);
    return rc;
}

static int part_path(const oto_incoming *f, char out[4096], oto_err *e)
{
    int len = snprintf(out, 4096, "%s/%s.part", f->dir, f->name);
    return len < 0 || len >= 4096 ? oto_fail(e, OTO_E_USAGE, "%s: name too long", f->dir) : 0;
}

int oto_incoming_open(const oto_incoming *f, bool keep, int *fd, uint64_t *have, oto_err *e)
{
    char part[4096];
    struct stat st;
    int rc = part_path(f, part, e);
    if (rc) {
        return rc;
    }
    int d = open(part, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | (keep ? 0 : O_TRUNC),
                 0644);
    if (d < 0) {
        return oto_fail_errno(e, "%s", part);
    }
    if (fstat(d, &st) != 0) {
        rc = oto_fail_errno(e, "%s", part);
        close(d);
        return rc;
    }
    *fd = d;
    *have = (uint64_t)st.st_size;
    return 0;
}

int oto_incoming_write(const oto_incoming *f, int fd, const void *p, size_t n, oto_err *e)
{
    const char *at = p;
    while (n) {
        ssize_t done = write(fd, at, n);
        if (done < 0 && errno == EINTR) {
            continue;
        }
        if (done < 0) {
            return oto_fail_errno(e, "%s/%s.part", f->dir, f->name);
        }
        at += done;
        n -= (size_t)done;
    }
    return 0;
}

static int compare(const oto_incoming *f, int fd, const char *part, char sha[65], oto_err *e)
{
    struct stat st;
    if (fsync(fd) != 0 || fstat(fd, &st) != 0) {
        return oto_fail_errno(e, "%s", part);
    }
    if (f->bytes && (uint64_t)st.st_size != f->bytes) {
        return oto_fail(e, OTO_E_CHECKSUM, "%s: %lld bytes arrived, %llu are expected", f->name,
                        (long long)st.st_size, (unsigned long long)f->bytes);
    }
    int rc = sha256_fd(fd, part, sha, e);
    if (!rc && f->sha256 && strcasecmp(sha, f->sha256) != 0) {
        rc = oto_fail(e, OTO_E_CHECKSUM, "%s: sha256 is %s, %s is expected", f->name, sha,
                      f->sha256);
    }
    return rc;
}

int oto_incoming_finish(const oto_incoming *f, int fd, char sha[65], oto_err *e)
{
    char part[4096], whole[4096];
    int rc = part_path(f, part, e);
    rc = rc ? rc : oto_join(whole, sizeof whole, f->dir, f->name, e);
    rc = rc ? rc : compare(f, fd, part, sha, e);
    if (close(fd) != 0 && !rc) {
        rc = oto_fail_errno(e, "%s", part);
    }
    if (rc == OTO_E_CHECKSUM) {
        unlink(part);
    }
    if (!rc && rename(part, whole) != 0) {
        rc = oto_fail_errno(e, "%s", whole);
    }
    return rc;
}

void oto_incoming_discard(const oto_incoming *f)
{
    char part[4096];
    if (part_path(f, part, NULL) == 0) {
        unlink(part);
    }
}

void oto_incoming_progress(const oto_incoming *f, uint64_t done, uint64_t total)
{
    if (f->o && f->o->on_progress) {
        f->o->on_progress(f->o->arg, f->name, done, total);
    }
}

int oto_incoming_copy(const oto_incoming *f, const char *path, char sha[65], oto_err *e)
{
    int to = -1, rc = 0;
    uint64_t done = 0;
    struct stat st;
    char *chunk = malloc(CHUNK);
    int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0 || fstat(from, &st) != 0) {
        rc = oto_fail_errno(e, "%s", path);
        goto done;
    }
    if (!chunk) {
        rc = oto_fail(e, OTO_E_LIMIT, "%s: out of memory", path);
        goto done;
    }
    rc = oto_incoming_open(f, false, &to, &done, e);
    while (!rc) {
        ssize_t got = read(from, chunk, CHUNK);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            rc = oto_fail_errno(e, "%s", path);
        }
        if (got <= 0) {
            break;
        }
        rc = oto_incoming_write(f, to, chunk, (size_t)got, e);
        done += (uint64_t)got;
        oto_incoming_progress(f, done, (uint64_t)st.st_size);
    }
    if (!rc) {
        rc = oto_incoming_finish(f, to, sha, e);
        to = -1;
    }
done:
    if (to >= 0) {
        close(to);
    }
    if (from >= 0) {
        close(from);
    }
    free(chunk);
    return rc;
}

static int remove_at(int dir, const char *name, const char *path, int depth, oto_err *e)
{
    if (unlinkat(dir, name, 0) == 0 || errno == ENOENT) {
        return 0;
    }
    if ((errno != EISDIR && errno != EPERM) || depth > 32) {
        return oto_fail_errno(e, "%s: removing %s", path, name);
    }
    int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (!d) {
        int rc = oto_fail_errno(e, "%s: removing %s", path, name);
        if (fd >= 0) {
            close(fd);
        }
        return rc;
    }
    int rc = 0;
    for (struct dirent *entry; !rc && (entry = readdir(d));) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            rc = remove_at(dirfd(d), entry->d_name, path, depth + 1, e);
        }
    }
    closedir(d);
    if (!rc && unlinkat(dir, name, AT_REMOVEDIR) != 0 && errno != ENOENT) {
        rc = oto_fail_errno(e, "%s: removing %s", path, name);
    }
    return rc;
}

int oto_remove_tree(const char *path, oto_err *e)
{
    return remove_at(AT_FDCWD, path, path, 0, e);
}
