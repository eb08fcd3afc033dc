/* progress (private to cli/): one line on a terminal that says how far it is. */
#ifndef OTO_CLI_PROGRESS_H
#define OTO_CLI_PROGRESS_H

#include "base/base.h"

typedef struct {
    bool on; /* standard error is a terminal */
    bool drawn;
    char name[48];
    double started_s, drawn_s;
} oto_cli_progress;

void oto_cli_progress_start(oto_cli_progress *p, const char *path, bool quiet);
/* total_ms -1: unknown. Drawn ten times a second at most. */
void oto_cli_progress_set(oto_cli_progress *p, int64_t done_ms, int64_t total_ms);
/* Takes the line away, before something else is printed. */
void oto_cli_progress_clear(oto_cli_progress *p);

#endif
