/* output (private to cli/): where the transcript of one recording goes, in one or more formats. */
#ifndef OTO_CLI_OUTPUT_H
#define OTO_CLI_OUTPUT_H

#include "base/base.h"
#include "text/text.h"

#define OTO_CLI_MAX_FORMATS 8

typedef struct {
    const char *dir; /* NULL: standard output */
    const char *formats[OTO_CLI_MAX_FORMATS];
    int n_formats;
    bool words;
} oto_cli_output_options;

/* Splits "txt,srt"; `buf` is what the names point into. */
int oto_cli_formats(const char *list, char *buf, size_t n, oto_cli_output_options *out,
                    oto_err *e) OTO_CHECK;
/* Makes the folder and proves that files can be made in it: before the work, not after. */
int oto_cli_output_ready(const oto_cli_output_options *o, oto_err *e) OTO_CHECK;
/* Names without folder under which inputs are written, no two alike: without extension; with it
 * where that is given already, then with a number too. *out: for oto_cli_output_names_free. */
int oto_cli_output_names(char *const *inputs, int n, char ***out, oto_err *e) OTO_CHECK;
void oto_cli_output_names_free(char **names, int n); /* NULL allowed */

typedef struct oto_cli_output oto_cli_output;
/* Files are written under a temporary name and appear when finished. */
int oto_cli_output_open(const oto_cli_output_options *o, const char *name, oto_cli_output **out,
                        oto_err *e) OTO_CHECK;
int oto_cli_output_segment(oto_cli_output *out, const oto_segment *s, oto_err *e) OTO_CHECK;
int oto_cli_output_finish(oto_cli_output *out, const oto_writer_info *info, oto_err *e) OTO_CHECK;
/* What is not finished leaves no file. NULL allowed. */
void oto_cli_output_close(oto_cli_output *out);
/* Whoever read standard output has gone. */
bool oto_cli_output_abandoned(const oto_cli_output *out);

#endif
