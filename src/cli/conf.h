/* conf (private to cli/): the settings of the server. One table names each once; it comes, in
 * rising precedence, from its default, a file, the environment and the command line. */
#ifndef OTO_CONF_H
#define OTO_CONF_H

#include "cli/cli.h"
#include "work/work.h"

#define OTO_CONF_VALUE 600

typedef enum {
    OTO_CONF_DEFAULT,
    OTO_CONF_FILE,
    OTO_CONF_ENVIRONMENT,
    OTO_CONF_FLAG
} oto_conf_source;

typedef struct {
    char value[OTO_CONF_VALUE];
    oto_conf_source source;
} oto_conf_entry;

#define OTO_CONF_MAX 48
typedef struct {
    oto_conf_entry entries[OTO_CONF_MAX];
} oto_conf;

void oto_conf_defaults(oto_conf *c);
/* The number of settings, and the command line's options for them: id = number + 1. */
int oto_conf_count(void);
const oto_cli_option *oto_conf_options(void);
/* "name = value" lines; '#' begins a comment, values may stand in quotes (a doubled quote for one
 * within), "[section]" lines are read over. Unknown names and bad values fail with USAGE, naming
 * file and line. */
int oto_conf_parse(oto_conf *c, const char *text, size_t n, const char *file, oto_err *e) OTO_CHECK;
int oto_conf_read_file(oto_conf *c, const char *path, oto_err *e) OTO_CHECK;
/* OTOLITH_MAX_UPLOAD for max-upload, but OTOLITH_SERVE_MODELS for models; ASR_STORAGE_PATH stands
 * for data, too. */
int oto_conf_read_environment(oto_conf *c, oto_err *e) OTO_CHECK;
/* NULL: a flag without a value. Lists grow when they are given again. */
int oto_conf_set_flag(oto_conf *c, int number, const char *value, oto_err *e) OTO_CHECK;
/* As a file that can be read back. */
void oto_conf_print(const oto_conf *c, FILE *f);

/* By name; the name must be in the table. NULL text: not set. Sizes in bytes, times in s. */
const char *oto_conf_text(const oto_conf *c, const char *name);
int64_t oto_conf_number(const oto_conf *c, const char *name);
bool oto_conf_flag(const oto_conf *c, const char *name);

#endif
