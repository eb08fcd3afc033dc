/* otolith keys: who may use the server. A key is shown once, when it is made; only its hash is
 * kept. */
#include "cli/cli.h"
#include "store/store.h"
#include "work/work.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { OPT_DATA = 1, OPT_NAME, OPT_MAX_JOBS };

static const oto_cli_option options[] = {
    {OPT_DATA, 0, "data", "DIR", "the server's folder (as of serve)"},
    {OPT_NAME, 0, "name", "NAME", "whose key it is, for add"},
    {OPT_MAX_JOBS, 0, "max-jobs", "N", "waiting and running at once, for add (0: no limit)"},
    {0}};

static const oto_cli_verb verb = {.name = "keys",
                                  .usage = "add [--name NAME] [--max-jobs N] [--data DIR]\n"
                                           "list [--data DIR]\nrevoke ID [--data DIR]",
                                  .summary = "API keys of the server.",
                                  .options = options};

static const char *day(int64_t ms, char out[32])
{
    const time_t t = (time_t)(ms / 1000);
    struct tm tm;

    if (ms == 0)
        return "-";
    localtime_r(&t, &tm);
    strftime(out, 32, "%Y-%m-%d %H:%M", &tm);
    return out;
}

static int add(oto_store *s, const char *name, int max_jobs, oto_arena *a, oto_err *e)
{
    char secret[72];
    oto_key key;
    int rc = oto_store_key_add(s, name, max_jobs, oto_clock_ms(), secret, a, &key, e);

    if (rc != 0)
        return rc;
    printf("%s\n", secret);
    if (isatty(STDERR_FILENO))
        fprintf(stderr, "This is key %s. It is shown only now: keep it.\n", key.id);
    return 0;
}

static int list(oto_store *s, oto_arena *a, oto_err *e)
{
    static oto_key keys[1000];
    char made[32], used[32], revoked[32];
    int n, rc = oto_store_key_list(s, a, keys, (int)OTO_COUNT(keys), &n, e);

    if (rc != 0)
        return rc;
    printf("%-14s %-20s %-17s %-17s %-17s %s\n", "ID", "NAME", "MADE", "USED", "REVOKED",
           "MAX JOBS");
    for (int i = 0; i < n; i++)
        printf("%-14s %-20s %-17s %-17s %-17s %d\n", keys[i].id, keys[i].name,
               day(keys[i].created_at, made), day(keys[i].used_at, used),
               day(keys[i].revoked_at, revoked), keys[i].max_jobs);
    return 0;
}

int oto_cli_keys(int argc, char **argv)
{
    const char *data = NULL, *name = "", *value, *what;
    char folder[1024], path[1100];
    oto_store *store = NULL;
    oto_arena *a = NULL;
    int id, max_jobs = 0, rc = 0;
    oto_err e = {0};

    umask(077); /* as serve: the folder and the database may be made here */
    while (rc == 0 && (id = oto_cli_next(&verb, argc, argv, &value)) > 0) {
        if (id == OPT_DATA)
            data = value;
        else if (id == OPT_NAME)
            name = value;
        else
            rc = oto_cli_int("--max-jobs", value, 0, 1000000, &max_jobs, &e);
    }
    if (rc == 0 && id != OTO_CLI_END)
        return oto_cli_stopped(id);
    what = rc == 0 && optind < argc ? argv[optind] : "";
    if (rc == 0 && strcmp(what, "add") != 0 && strcmp(what, "list") != 0 &&
        !(strcmp(what, "revoke") == 0 && optind + 2 == argc))
        rc = oto_fail(&e, OTO_E_USAGE, "keys takes add, list or revoke ID (otolith keys --help)");
    if (rc == 0)
        rc = oto_cli_data_folder(data, folder, sizeof folder, &e);
    snprintf(path, sizeof path, "%s/otolith.db", rc == 0 ? folder : "");
    if (rc == 0 && (rc = oto_store_open(path, &store, &e)) == 0 &&
        (rc = oto_arena_new("keys", 4 << 20, &a, &e)) == 0)
        rc = strcmp(what, "add") == 0 ? add(store, name, max_jobs, a, &e)
             : strcmp(what, "list") == 0
                 ? list(store, a, &e)
                 : oto_store_key_revoke(store, argv[optind + 1], oto_clock_ms(), &e);
    oto_arena_free(a);
    oto_store_close(store);
    return rc == 0 ? 0 : oto_cli_fail(&e);
}
