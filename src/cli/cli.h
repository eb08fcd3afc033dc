/* cli: the verbs of the program, one function each, and what they share: option tables, messages,
 * exit statuses, and finding a model by its name.
 *
 * A verb's options stand in one table. Parsing and --help both read it; a test holds the man page
 * and the shell completion to it. */
#ifndef OTO_CLI_H
#define OTO_CLI_H

#include "base/base.h"
#include "models/models.h"
#include "weights/weights.h"

/* ---- verbs: argv[0] is the verb's name; the result is the exit status ---- */

int oto_cli_transcribe(int argc, char **argv);
int oto_cli_vad(int argc, char **argv);
int oto_cli_models(int argc, char **argv);
int oto_cli_score(int argc, char **argv);
int oto_cli_bench(int argc, char **argv);
int oto_cli_serve(int argc, char **argv);
int oto_cli_keys(int argc, char **argv);
int oto_cli_report(int argc, char **argv);
int oto_cli_monitor(int argc, char **argv);
int oto_cli_stress(int argc, char **argv);
int oto_cli_version(int argc, char **argv);

/* The server's folder: `wanted`, $XDG_DATA_HOME/otolith or ~/.local/share/otolith; made when it is
 * not there (serve.c). */
int oto_cli_data_folder(const char *wanted, char *out, size_t n, oto_err *e) OTO_CHECK;

/* ---- options (options.c) ---- */

typedef struct {
    int id;            /* what oto_cli_next returns, >= 1 */
    char letter;       /* 'm', or 0 */
    const char *name;  /* "model" */
    const char *value; /* "MODEL", or NULL for a flag */
    const char *help;
} oto_cli_option;

typedef struct {
    const char *name;              /* "transcribe" */
    const char *usage;             /* "[OPTION]... FILE...|-": each line one form */
    const char *summary;           /* one line */
    const oto_cli_option *options; /* ends with id 0; -h, --help comes by itself */
    const char *notes;             /* below the options, or NULL */
} oto_cli_verb;

enum {
    OTO_CLI_END = 0,   /* no more options: operands are argv[optind] … argv[argc - 1] */
    OTO_CLI_HELP = -1, /* --help was asked for and has been printed */
    OTO_CLI_BAD = -2   /* unknown option or missing value; the line has been printed */
};
/* The next option's id; *value its argument (NULL for a flag). */
int oto_cli_next(const oto_cli_verb *v, int argc, char **argv, const char **value);
/* Exit status of a verb that stops at OTO_CLI_HELP or OTO_CLI_BAD. */
int oto_cli_stopped(int next);

/* Values of options; `option` is for the message ("--beam"). 0 or OTO_E_USAGE. */
int oto_cli_int(const char *option, const char *value, long lo, long hi, int *out,
                oto_err *e) OTO_CHECK;
int oto_cli_compute(const char *option, const char *value, oto_compute *out, oto_err *e) OTO_CHECK;
/* "512M", "2G", "300000K", "1000000"; binary units. */
int oto_cli_size(const char *option, const char *value, size_t *out, oto_err *e) OTO_CHECK;

/* The one table from error classes to exit statuses. */
int oto_cli_status(int code);
/* Prints "otolith: TEXT" on stderr; returns the exit status. */
int oto_cli_fail(const oto_err *e);

/* ---- models (resolve.c) ---- */

/* The models folder (OTOLITH_MODELS, $XDG_CACHE_HOME/otolith/models, ~/.cache/otolith/models) and
 * whether fetching is forbidden (`offline`, or OTOLITH_OFFLINE set to anything but "" and "0").
 * `root` is the buffer the options point into. */
int oto_cli_catalogue(bool offline, char *root, size_t n, oto_catalogue_options *out,
                      oto_err *e) OTO_CHECK;
/* What the VAD in front of speech recognition in `asr`, and the punctuation behind it, run in: int8
 * only beside int8. */
oto_compute oto_cli_vad_compute(oto_compute asr);
/* Opens a model of `task` by catalogue name or path. A name that is not there is fetched, and
 * packed for `compute` (AUTO: int8, for VAD f32) on its first use, in a
 * process of its own and with a line on stderr unless `quiet`. */
int oto_cli_model(const char *name, oto_task task, oto_compute compute, bool offline, bool quiet,
                  oto_model **out, oto_err *e) OTO_CHECK;
/* The same without keeping it open: the file to open, packed where that was possible. about may be
 * NULL; its names last only as long as this process. */
int oto_cli_model_path(const char *name, oto_task task, oto_compute compute, bool offline,
                       char *path, size_t n, oto_model_info *about, oto_err *e) OTO_CHECK;
#define OTO_CLI_DEFAULT_ASR "whisper-base"
#define OTO_CLI_DEFAULT_VAD "fsmn-vad"

/* ---- interruption (interrupt.c) ---- */

/* SIGINT and SIGTERM ask for a clean stop (a second one ends the process); SIGPIPE is ignored. */
void oto_cli_catch_signals(void);
bool oto_cli_interrupted(void);
#define OTO_CLI_INTERRUPTED 130 /* the exit status then */

#endif
