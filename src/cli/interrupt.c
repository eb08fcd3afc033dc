/* Signals: a request to stop is a flag that long work looks at. */
#include "cli/cli.h"

#include <signal.h>

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
    interrupted = sig;
}

void oto_cli_catch_signals(void)
{
    /* Once: who asks again means at once. */
    struct sigaction stop = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    sigemptyset(&stop.sa_mask);
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGINT, &stop, NULL);
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
    /* Ignored by some who start programs; then no child's death could be told. */
    signal(SIGCHLD, SIG_DFL);
}

bool oto_cli_interrupted(void)
{
    return interrupted != 0;
}
