/* Destinations. A file is written beside its place and renamed when it is whole, so that a name
 * that exists is a transcript that is complete. */
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 4200

struct target {
    oto_writer *writer;
    FILE *f; /* NULL: standard output */
    char path[PATH_BYTES], temporary[PATH_BYTES];
};

struct oto_cli_output {
    struct target targets[OTO_CLI_MAX_FORMATS];
    int n;
    bool abandoned;
};

/* ---- formats ---- */

static bool is_format(const char *name)
{
    for (const char *const *f = oto_writer_formats(); *f != NULL; f++)
        if (strcmp(*f, name) == 0)
            return true;
    return false;
}

int oto_cli_formats(const char *list, char *buf, size_t n, oto_cli_output_options *out, oto_err *e)
{
    char *rest = buf;

    if ((size_t)snprintf(buf, n, "%s", list) >= n)
        return oto_fail(e, OTO_E_USAGE, "--format: too long");
    out->n_formats = 0;
    for (char *name; (name = strsep(&rest, ",")) != NULL;) {
        bool twice = false;

        if (!is_format(name))
            return oto_fail(e, OTO_E_USAGE,
                            "--format %s: unknown format \"%s\" (txt, srt, vtt, tsv, lrc, json)",
                            list, name);
        for (int i = 0; i < out->n_formats; i++)
            twice = twice || strcmp(out->formats[i], name) == 0;
        if (!twice)
            out->formats[out->n_formats++] = name; /* no more than there are formats */
    }
    return 0;
}

int oto_cli_output_ready(const oto_cli_output_options *o, oto_err *e)
{
    char path[PATH_BYTES];
    int fd, rc;

    if (o->dir == NULL)
        return o->n_formats == 1
                   ? 0
                   : oto_fail(e, OTO_E_USAGE,
                              "--format: one format at a time on standard output; for %d give "
                              "a folder with -o",
                              o->n_formats);
    if ((rc = oto_mkdirs(o->dir, e)) != 0)
        return oto_err_prefix(e, "output folder");
    snprintf(path, sizeof path, "%.4000s/.otolith.%ld.tmp", o->dir, (long)getpid());
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return oto_fail_errno(e, "output folder %s", o->dir);
    close(fd);
    unlink(path);
    return 0;
}

/* ---- names ---- */

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    if (strcmp(path, "-") == 0)
        return "stdin";
    return slash != NULL ? slash + 1 : path;
}

static size_t stem_len(const char *base)
{
    const char *dot = strrchr(base, '.');

    return dot != NULL && dot != base ? (size_t)(dot - base) : strlen(base);
}

static bool is_given(char *const *names, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

/* Of input i, behind the names of those before it; NULL: out of memory. */
static char *new_name(char *const *inputs, int i, char *const *names)
{
    const char *base = base_of(inputs[i]);
    const size_t room = strlen(base) + 16;
    char *name = malloc(room);
    int number = 0;

    if (name == NULL)
        return NULL;
    snprintf(name, room, "%.*s", (int)stem_len(base), base);
    if (is_given(names, i, name))
        snprintf(name, room, "%s", base);
    for (int k = 0; k < i; k++) /* near the one that is free, when there are thousands */
        number += strcmp(base, base_of(inputs[k])) == 0;
    for (number = OTO_MAX(number, 2); is_given(names, i, name); number++)
        snprintf(name, room, "%s.%d", base, number);
    return name;
}

int oto_cli_output_names(char *const *inputs, int n, char ***out, oto_err *e)
{
    char **names = calloc((size_t)n + 1, sizeof *names);

    for (int i = 0; i < n && names != NULL; i++) {
        names[i] = new_name(inputs, i, names);
        if (names[i] == NULL) {
            oto_cli_output_names_free(names, i);
            names = NULL;
        }
    }
    *out = names;
    return names != NULL ? 0 : oto_fail(e, OTO_E_LIMIT, "out of memory");
}

void oto_cli_output_names_free(char **names, int n)
{
    for (int i = 0; names != NULL && i < n; i++)
        free(names[i]);
    free(names);
}

/* ---- writing ---- */

static int open_target(struct target *t, const oto_cli_output_options *o, const char *name,
                       const char *format, oto_err *e)
{
    int fd;

    if (o->dir == NULL)
        return oto_writer_new(format, stdout, o->words, &t->writer, e);
    if (snprintf(t->path, sizeof t->path, "%s/%s.%s", o->dir, name, format) >= PATH_BYTES - 40)
        return oto_fail(e, OTO_E_USAGE, "%s: name too long", name);
    snprintf(t->temporary, sizeof t->temporary, "%s/%s.%s.%ld.tmp", o->dir, name, format,
             (long)getpid());
    fd = open(t->temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    t->f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (t->f == NULL) {
        const int rc = oto_fail_errno(e, "%s", t->path);

        if (fd >= 0)
            close(fd);
        return rc;
    }
    return oto_writer_new(format, t->f, o->words, &t->writer, e);
}

int oto_cli_output_open(const oto_cli_output_options *o, const char *name, oto_cli_output **out,
                        oto_err *e)
{
    oto_cli_output *to = calloc(1, sizeof *to);

    if (to == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    for (int i = 0; i < o->n_formats; i++) {
        const int rc = open_target(&to->targets[to->n++], o, name, o->formats[i], e);

        if (rc != 0) {
            oto_cli_output_close(to);
            return rc;
        }
    }
    *out = to;
    return 0;
}

/* Says which file it was. */
static int failed(oto_cli_output *out, const struct target *t, oto_err *e)
{
    out->abandoned = t->f == NULL && errno == EPIPE;
    return oto_err_prefix(e, "%s", t->f != NULL ? t->path : "standard output");
}

int oto_cli_output_segment(oto_cli_output *out, const oto_segment *s, oto_err *e)
{
    for (int i = 0; i < out->n; i++)
        if (oto_writer_segment(out->targets[i].writer, s, e) != 0)
            return failed(out, &out->targets[i], e);
    return 0;
}

static int put_in_place(struct target *t, oto_err *e)
{
    FILE *f = t->f;

    if (f == NULL)
        return 0;
    t->f = NULL;
    if (fclose(f) == 0 && rename(t->temporary, t->path) == 0) {
        t->temporary[0] = '\0';
        return 0;
    }
    return oto_fail_errno(e, "%s", t->path);
}

int oto_cli_output_finish(oto_cli_output *out, const oto_writer_info *info, oto_err *e)
{
    int rc;

    for (int i = 0; i < out->n; i++)
        if (oto_writer_finish(out->targets[i].writer, info, e) != 0)
            return failed(out, &out->targets[i], e);
    for (int i = 0; i < out->n; i++)
        if ((rc = put_in_place(&out->targets[i], e)) != 0)
            return rc;
    return 0;
}

void oto_cli_output_close(oto_cli_output *out)
{
    if (out == NULL)
        return;
    for (int i = 0; i < out->n; i++) {
        struct target *t = &out->targets[i];

        oto_writer_free(t->writer);
        if (t->f != NULL)
            fclose(t->f);
        if (t->temporary[0] != '\0')
            unlink(t->temporary);
    }
    free(out);
}

bool oto_cli_output_abandoned(const oto_cli_output *out)
{
    return out->abandoned;
}
