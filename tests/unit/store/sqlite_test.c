/* Opening the database: what is ours and what is not, and that processes which come and go do not
 * take one another's log away. */
#include "store/sqlite.c"

#include <fcntl.h>
#include <setjmp.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

static char dir[] = "/tmp/otolith-sqlite-XXXXXX", path[64];

static int make_folder(void **state)
{
    (void)state;
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/a.db", dir);
    return 0;
}

static int tear_down(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static void fresh(void)
{
    static const char *const ends[] = {"", "-wal", "-shm"};
    char name[80];

    for (size_t i = 0; i < OTO_COUNT(ends); i++) {
        snprintf(name, sizeof name, "%s%s", path, ends[i]);
        unlink(name);
    }
}

static oto_store *open_store(void)
{
    oto_store *s;
    oto_err e = {0};

    if (oto_store_open(path, &s, &e) != 0)
        fail_msg("%s", e.text);
    return s;
}

static void submit(oto_store *s)
{
    const oto_submission j = {.client = "c", .api = "rest", .audio = "a.wav", .audio_ms = 1000};
    bool existing;
    oto_arena *a;
    oto_err e = {0};
    oto_job job;

    assert_int_equal(oto_arena_new("job", 1 << 20, &a, &e), 0);
    if (oto_store_submit(s, &j, 0, 0, 1000, a, &job, &existing, &e) != 0)
        fail_msg("%s", e.text);
    oto_arena_free(a);
}

static int64_t count_jobs(oto_store *s)
{
    oto_store_stats stats;
    oto_err e = {0};

    if (oto_store_stats_get(s, &stats, &e) != 0)
        fail_msg("%s", e.text);
    return stats.by_state[OTO_JOB_QUEUED];
}

/* Another process opens and closes the database: it must not take itself for the last one. */
static void visit(void)
{
    int status;
    const pid_t pid = fork();

    if (pid == 0) {
        oto_store *s;

        if (oto_store_open(path, &s, NULL) != 0)
            _exit(1);
        submit(s);
        oto_store_close(s);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void others_come_and_go(void **state)
{
    oto_store *first, *second;

    (void)state;
    fresh();
    visit(); /* makes it: a fork must not carry an open database along */
    first = open_store();
    second = open_store();
    submit(first);
    oto_store_close(second);
    second = open_store();
    visit();
    submit(first);
    submit(second);
    visit();
    assert_int_equal(count_jobs(first), 6);
    assert_int_equal(count_jobs(second), 6);
    assert_int_equal(oto_store_check(first, NULL), 0);
    oto_store_close(second);
    oto_store_close(first);
    first = open_store();
    assert_int_equal(count_jobs(first), 6);
    oto_store_close(first);
}

static void version_changes(void **state)
{
    oto_store *a, *b;
    int64_t before;

    (void)state;
    fresh();
    a = open_store();
    b = open_store();
    before = oto_store_version(a);
    assert_int_equal(oto_store_version(a), before);
    submit(b);
    assert_int_not_equal(oto_store_version(a), before);
    before = oto_store_version(b);
    submit(b);
    assert_int_not_equal(oto_store_version(b), before);
    oto_store_close(a);
    oto_store_close(b);
}

/* ---- files that are not ours ---- */

static size_t read_file(uint8_t *p, size_t n)
{
    const int fd = open(path, O_RDONLY);
    const ssize_t got = read(fd, p, n);

    close(fd);
    return got < 0 ? 0 : (size_t)got;
}

static void refused(int code, const char *why)
{
    static uint8_t before[1 << 20], after[1 << 20];
    const size_t n = read_file(before, sizeof before);
    oto_store *s;
    oto_err e = {0};

    assert_int_equal(oto_store_open(path, &s, &e), code);
    assert_non_null(strstr(e.text, "a.db"));
    if (strstr(e.text, why) == NULL)
        fail_msg("'%s' does not say '%s'", e.text, why);
    assert_int_equal(read_file(after, sizeof after), n);
    assert_memory_equal(before, after, n);
}

static void write_text(const char *text, size_t n)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_int_equal(write(fd, text, n), n);
    close(fd);
}

static void execute(const char *sql)
{
    sqlite3 *db;

    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

static void foreign_files_are_left_alone(void **state)
{
    static char garbage[9000] = "SQLite format 3";

    (void)state;
    fresh();
    write_text("hello", 5);
    refused(OTO_E_INPUT, "not an otolith database");
    write_text("Dear reader,\nthis is a text of more than sixteen bytes.\n", 55);
    refused(OTO_E_INPUT, "not an otolith database");
    write_text(garbage, sizeof garbage);
    refused(OTO_E_INPUT, "database");
    fresh();
    execute("CREATE TABLE notes (text TEXT)");
    refused(OTO_E_INPUT, "another program's database");
    fresh();
    oto_store_close(open_store());
    execute("PRAGMA user_version = 99");
    refused(OTO_E_UNSUPPORTED, "newer version");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_come_and_go),
        cmocka_unit_test(version_changes),
        cmocka_unit_test(foreign_files_are_left_alone),
    };

    return cmocka_run_group_tests(tests, make_folder, tear_down);
}
