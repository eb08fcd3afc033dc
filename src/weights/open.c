/* Opening: which format a file or folder is in, and the object its parser fills. */
#include "weights/formats.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* The one line a new format needs. Order: the surest mark first. */
static const oto_format *const formats[] = {&oto_format_gguf, &oto_format_ggml,
                                            &oto_format_ct2,  &oto_format_torch,
                                            &oto_format_onnx, &oto_format_onnx_8bit};

/* Names, scales, string tables and small converted tensors; address space only. */
#define ARENA_BYTES ((size_t)256 << 20)

static int new_weights(const char *path, oto_weights **out, oto_err *e)
{
    oto_weights *w = calloc(1, sizeof *w);
    if (!w || !(w->path = strdup(path))) {
        oto_weights_close(w);
        return oto_fail(e, OTO_E_LIMIT, "%s: out of memory", path);
    }
    int rc = oto_arena_new("weights", ARENA_BYTES, &w->a, e);
    if (rc) {
        oto_weights_close(w);
        return rc;
    }
    *out = w;
    return 0;
}

void oto_weights_close(oto_weights *w)
{
    if (!w) {
        return;
    }
    for (int i = 0; i < w->n_maps; i++) {
        oto_map_close(&w->maps[i]);
    }
    free(w->tensors);
    free(w->index);
    free(w->metas);
    oto_arena_free(w->a);
    free(w->dir);
    free(w->path);
    free(w);
}

/* What people do pass by mistake deserves its own words. */
static const char *mistaken_for(const uint8_t *p, size_t n)
{
    static const struct {
        const char *mark;
        size_t n;
        const char *what;
    } known[] = {
        {"version https://git-lfs", 23,
         "a Git LFS pointer, not the file itself: fetch it with git lfs pull"},
        {"<!DOCTYPE", 9, "a web page, not a model"},
        {"<html", 5, "a web page, not a model"},
        {"\x80\x02", 2, "a Python pickle, but no checkpoint of torch.save"},
        {"RIFF", 4, "a sound file, not a model"},
        {"ggjt", 4, "an old language-model file"},
    };
    for (size_t i = 0; i < OTO_COUNT(known); i++) {
        if (n >= known[i].n && memcmp(p, known[i].mark, known[i].n) == 0) {
            return known[i].what;
        }
    }
    if (n > 9 && p[8] == '{' && p[9] == '"') {
        return "a safetensors file; convert it to CTranslate2 or ggml first";
    }
    return NULL;
}

static int choose(oto_weights *w, oto_err *e)
{
    const uint8_t *p = (const uint8_t *)w->main.p;
    size_t n = OTO_MIN(w->main.n, 256);
    if (n == 0) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "the file is empty");
    }
    for (size_t i = 0; i < OTO_COUNT(formats); i++) {
        if (formats[i]->matches(p, n, w->main.n)) {
            w->format = formats[i];
            return 0;
        }
    }
    const char *what = mistaken_for(p, n);
    if (what) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "is %s", what);
    }
    return oto_weights_fail(
        w, e, OTO_E_INPUT,
        "not a model file (GGUF, CTranslate2 model.bin, whisper.cpp ggml, PyTorch or ONNX)");
}

static int parse(oto_weights *w, oto_err *e)
{
    int rc = w->format ? 0 : choose(w, e);
    rc = rc ? rc : w->format->parse(w, e);
    if (!rc && w->n_tensors == 0) {
        rc = oto_weights_fail(w, e, OTO_E_INPUT, "the file holds no tensors");
    }
    return rc;
}

int oto_weights_parse(const oto_format *f, const char *name, oto_slice main,
                      const oto_side_file *side, size_t n_side, oto_weights **out, oto_err *e)
{
    oto_weights *w = NULL;
    int rc = new_weights(name, &w, e);
    if (rc) {
        return rc;
    }
    w->format = f;
    w->main = main;
    w->side = side;
    w->n_side = n_side;
    rc = parse(w, e);
    if (rc) {
        oto_weights_close(w);
        return rc;
    }
    w->side = NULL;
    *out = w;
    return 0;
}

/* The only GGUF file in a folder; these have names of their own. False: there is none, or several.
 */
static bool only_gguf(const char *path, char *out, size_t n)
{
    DIR *d = opendir(path);
    int found = 0;
    for (struct dirent *f; d && (f = readdir(d)) != NULL;) {
        const size_t length = strlen(f->d_name);
        if (length > 5 && strcmp(f->d_name + length - 5, ".gguf") == 0 && ++found == 1 &&
            snprintf(out, n, "%s/%s", path, f->d_name) >= (int)n) {
            found = 2;
        }
    }
    if (d) {
        closedir(d);
    }
    return found == 1;
}

/* PATH is a folder: the main file of the first format whose main file is in it. */
static int main_file_of(const char *path, char *out, size_t n, oto_err *e)
{
    char looked[200] = "";
    for (size_t i = 0; i < OTO_COUNT(formats); i++) {
        struct stat st;
        if (!formats[i]->main_file) {
            continue;
        }
        if (snprintf(out, n, "%s/%s", path, formats[i]->main_file) >= (int)n) {
            return oto_fail(e, OTO_E_USAGE, "%s: name too long", path);
        }
        if (stat(out, &st) == 0) {
            return 0;
        }
        size_t at = strlen(looked);
        snprintf(looked + at, sizeof looked - at, "%s%s", at ? ", " : "", formats[i]->main_file);
    }
    if (only_gguf(path, out, n)) {
        return 0;
    }
    return oto_fail(e, OTO_E_NOT_FOUND, "%s: no model in this folder (looked for %s, one .gguf)",
                    path, looked);
}

static char *folder_of(const char *file)
{
    const char *slash = strrchr(file, '/');
    return !slash ? strdup(".") : strndup(file, slash == file ? 1 : (size_t)(slash - file));
}

static void adopt_main(oto_weights *w)
{
    w->n_maps = 1;
    w->main = (oto_slice){(const char *)w->maps[0].p, w->maps[0].n};
}

int oto_weights_open(const char *path, oto_weights **out, oto_err *e)
{
    char file[4096];
    struct stat st;
    if (stat(path, &st) != 0) {
        return oto_fail_errno(e, "%s", path);
    }
    int rc = 0;
    if (S_ISDIR(st.st_mode)) {
        rc = main_file_of(path, file, sizeof file, e);
    } else if (snprintf(file, sizeof file, "%s", path) >= (int)sizeof file) {
        rc = oto_fail(e, OTO_E_USAGE, "%s: name too long", path);
    }
    oto_weights *w = NULL;
    rc = rc ? rc : new_weights(file, &w, e);
    if (rc) {
        return rc;
    }
    if (!(w->dir = folder_of(file))) {
        rc = oto_weights_fail(w, e, OTO_E_LIMIT, "out of memory");
        goto fail;
    }
    if ((rc = oto_map_open(file, &w->maps[0], e))) {
        goto fail;
    }
    adopt_main(w);
    if ((rc = parse(w, e))) {
        goto fail;
    }
    *out = w;
    return 0;
fail:
    oto_weights_close(w);
    return rc;
}

int oto_weights_open_fd(int fd, const char *name, oto_weights **out, oto_err *e)
{
    oto_weights *w = NULL;
    int rc = new_weights(name, &w, e);
    if (rc) {
        return rc;
    }
    rc = oto_map_fd(fd, name, &w->maps[0], e);
    if (!rc) {
        adopt_main(w);
        w->format = &oto_format_gguf;
        rc = parse(w, e);
    }
    if (rc) {
        oto_weights_close(w);
        return rc;
    }
    *out = w;
    return 0;
}
