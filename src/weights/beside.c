/* The files beside the main one: in its folder, or given in memory. */
#include "weights/formats.h"

#include <dirent.h>
#include <string.h>

int oto_weights_beside(oto_weights *w, const char *name, oto_slice *out, oto_err *e)
{
    for (size_t i = 0; i < w->n_side; i++) {
        if (strcmp(w->side[i].name, name) == 0) {
            *out = w->side[i].bytes;
            return 0;
        }
    }
    if (!w->dir) {
        return oto_weights_fail(w, e, OTO_E_NOT_FOUND, "there is no %s beside it", name);
    }
    char path[4096];
    if (snprintf(path, sizeof path, "%s/%s", w->dir, name) >= (int)sizeof path) {
        return oto_fail(e, OTO_E_USAGE, "%s: name too long", w->dir);
    }
    if (w->n_maps >= (int)OTO_COUNT(w->maps)) {
        return oto_fail(e, OTO_E_INTERNAL, "%s: too many files", path);
    }
    int rc = oto_map_open(path, &w->maps[w->n_maps], e);
    if (rc) {
        return rc;
    }
    const oto_map *m = &w->maps[w->n_maps++];
    *out = (oto_slice){(const char *)m->p, m->n};
    return 0;
}

static bool ends_with(const char *name, const char *ending)
{
    const size_t n = strlen(name), k = strlen(ending);
    return n > k && strcmp(name + n - k, ending) == 0;
}

int oto_weights_beside_like(oto_weights *w, const char *ending, oto_slice *out, oto_err *e)
{
    char name[256] = "";
    for (size_t i = 0; i < w->n_side; i++) {
        if (ends_with(w->side[i].name, ending)) {
            return oto_weights_beside(w, w->side[i].name, out, e);
        }
    }
    DIR *d = w->dir ? opendir(w->dir) : NULL;
    for (struct dirent *f; d && (f = readdir(d)) != NULL;) {
        if (ends_with(f->d_name, ending) && (!name[0] || strcmp(f->d_name, name) < 0)) {
            snprintf(name, sizeof name, "%s", f->d_name);
        }
    }
    if (d) {
        closedir(d);
    }
    return name[0] ? oto_weights_beside(w, name, out, e)
                   : oto_weights_fail(w, e, OTO_E_NOT_FOUND, "there is no *%s beside it", ending);
}
