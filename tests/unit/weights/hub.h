/* A folder behind a server of this machine: tests/reference/sources.py, which stalls, cuts and lies
 * as it is told. It ends when its standard input is closed. */
#ifndef OTO_TEST_HUB_H
#define OTO_TEST_HUB_H

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

typedef struct {
    pid_t pid;
    int input, port;
} hub;

static inline int hub_start(char *folder, hub *h)
{
    char script[] = OTO_SOURCE_DIR "/tests/reference/sources.py";
    char python[] = "python3", verb[] = "serve";
    char *argv[] = {python, script, verb, folder, NULL};
    int in[2], out[2];
    posix_spawn_file_actions_t io;
    if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) {
        return -1;
    }
    posix_spawn_file_actions_init(&io);
    posix_spawn_file_actions_adddup2(&io, in[0], 0);
    posix_spawn_file_actions_adddup2(&io, out[1], 1);
    int err = posix_spawnp(&h->pid, "python3", &io, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&io);
    close(in[0]);
    close(out[1]);
    FILE *f = fdopen(out[0], "r");
    h->input = in[1];
    int n = err ? 0 : fscanf(f, "%d", &h->port);
    fclose(f);
    return n == 1 ? 0 : -1;
}

/* It ends with its input. */
static inline void hub_stop(const hub *h)
{
    close(h->input);
    waitpid(h->pid, NULL, 0);
}

#endif
