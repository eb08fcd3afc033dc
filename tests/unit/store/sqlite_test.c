/* Opening the database: what is ours and what is not, that processes which come and go do not take
 * one another's log away, and what damage, full disks and failed syncs do. */
#include "store/sqlite.c"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
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

/* A newer program was killed: its log lies beside the file and is not ours to move into it. */
static void a_foreign_log_is_left_alone(void **state)
{
    char wal[80];
    struct stat before, after;
    int status;
    pid_t pid;

    (void)state;
    fresh();
    oto_store_close(open_store());
    if ((pid = fork()) == 0) {
        sqlite3 *db;

        sqlite3_open(path, &db);
        sqlite3_exec(db, "PRAGMA user_version = 99; CREATE TABLE newer (x)", NULL, NULL, NULL);
        _exit(0); /* without closing */
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    snprintf(wal, sizeof wal, "%s-wal", path);
    assert_int_equal(stat(wal, &before), 0);
    assert_true(before.st_size > 0);
    refused(OTO_E_UNSUPPORTED, "newer version");
    assert_int_equal(stat(wal, &after), 0);
    assert_int_equal(after.st_size, before.st_size);
}

static void an_older_schema_is_upgraded(void **state)
{
    sqlite3 *db;
    oto_store *s;
    oto_store_stats stats;

    (void)state;
    fresh();
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, first_step, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    execute("PRAGMA application_id = 0x4f544f4c; PRAGMA user_version = 1;"
            "INSERT INTO jobs (id, client, api, filename, audio, language, model, options, webhook,"
            " max_attempts, bytes, audio_ms, submitted_at, state) VALUES"
            " ('a','c','rest','','a.wav','','','','',3,100,5000,7,0),"
            " ('b','c','rest','','b.wav','','','','',3,200,5000,8,2),"
            " ('d','c','rest','','','','','','',3,400,5000,9,2)");
    s = open_store();
    assert_int_equal(oto_store_check(s, NULL), 0);
    assert_int_equal(oto_store_stats_get(s, &stats, NULL), 0);
    assert_int_equal(stats.by_state[OTO_JOB_DONE], 2);
    assert_int_equal(stats.waiting_audio_ms, 5000);
    assert_int_equal(stats.audio_bytes, 300);
    submit(s);
    assert_int_equal(count_jobs(s), 2);
    oto_store_close(s);
    oto_store_close(open_store());
}

/* Supervisor, gateway and workers may all be the first. */
static void many_make_it_at_once(void **state)
{
    (void)state;
    for (int round = 0; round < 10; round++) {
        oto_store *s;
        int status;

        fresh();
        for (int i = 0; i < 6; i++)
            if (fork() == 0) {
                oto_err e = {0};

                if (oto_store_open(path, &s, &e) != 0) {
                    fprintf(stderr, "%s\n", e.text);
                    _exit(1);
                }
                submit(s);
                oto_store_close(s);
                _exit(0);
            }
        for (int i = 0; i < 6; i++) {
            assert_true(wait(&status) > 0);
            assert_int_equal(status, 0);
        }
        s = open_store();
        assert_int_equal(count_jobs(s), 6);
        oto_store_close(s);
    }
}

/* ---- damage, full disks, locks ---- */

static int try_submit(oto_store *s, oto_err *e)
{
    static char options[3000];
    const oto_submission j = {.client = "c", .api = "rest", .options = options};
    bool existing;
    oto_arena *a;
    oto_job job;
    int rc;

    memset(options, 'x', sizeof options - 1);
    assert_int_equal(oto_arena_new("job", 1 << 20, &a, e), 0);
    rc = oto_store_submit(s, &j, 0, 0, 1000, a, &job, &existing, e);
    oto_arena_free(a);
    return rc;
}

static void damaged_pages_are_found(void **state)
{
    static uint8_t junk[4096], whole[1 << 20];
    size_t n;
    int found = 0, fd;

    (void)state;
    fresh();
    oto_store *s = open_store();
    for (int i = 0; i < 40; i++)
        assert_int_equal(try_submit(s, NULL), 0);
    oto_store_close(s);
    n = read_file(whole, sizeof whole);
    assert_true(n > 30 * sizeof junk && n < sizeof whole);
    memset(junk, 0xa5, sizeof junk);
    for (size_t at = 0; at < n; at += sizeof junk) {
        oto_err e = {0};

        fresh();
        write_text((const char *)whole, n);
        fd = open(path, O_WRONLY);
        assert_int_equal(pwrite(fd, junk, sizeof junk, (off_t)at), sizeof junk);
        close(fd);
        if (oto_store_open(path, &s, &e) == 0) {
            const int rc = oto_store_check(s, &e);

            oto_store_close(s);
            /* A page of a long text has no structure that could be wrong. */
            found += rc != 0;
            if (rc == 0)
                continue;
        } else {
            found++;
        }
        assert_int_equal(e.code, OTO_E_INPUT);
        assert_non_null(strstr(e.text, "a.db"));
    }
    assert_true(found > 20);
}

static void a_cut_file_is_found(void **state)
{
    oto_store *s;
    oto_err e = {0};

    (void)state;
    fresh();
    s = open_store();
    for (int i = 0; i < 40; i++)
        assert_int_equal(try_submit(s, NULL), 0);
    oto_store_close(s);
    assert_int_equal(truncate(path, 60000), 0);
    if (oto_store_open(path, &s, &e) == 0) {
        assert_int_equal(oto_store_check(s, &e), OTO_E_INPUT);
        oto_store_close(s);
    }
    assert_int_equal(e.code, OTO_E_INPUT);
}

/* Full by a limit of pages: refused, nothing lost, and accepted again when there is room. */
static void a_full_database_takes_no_more(void **state)
{
    oto_store *s;
    oto_err e = {0};
    int64_t taken = 0;
    int rc;

    (void)state;
    fresh();
    s = open_store();
    assert_int_equal(sqlite3_exec(s->db, "PRAGMA max_page_count = 60", NULL, NULL, NULL), 0);
    while ((rc = try_submit(s, &e)) == 0 && taken < 1000)
        taken++;
    assert_int_equal(rc, OTO_E_NO_SPACE);
    assert_in_range(taken, 5, 100);
    assert_int_equal(count_jobs(s), taken);
    assert_int_equal(oto_store_check(s, &e), 0);
    assert_int_equal(sqlite3_exec(s->db, "PRAGMA max_page_count = 6000", NULL, NULL, NULL), 0);
    assert_int_equal(try_submit(s, &e), 0);
    oto_store_close(s);
}

/* A write that needs no more pages than there are. */
static int touch(oto_store *s, oto_err *e)
{
    int rc = oto_sql_begin(s, e);

    if (rc != 0)
        return rc;
    return oto_sql_end(s, oto_sql_run(s, NULL, e, "UPDATE jobs SET priority = 1 - priority", ""),
                       e);
}

/* In a child, on a disk of 1.2 MB, if the kernel lets us mount one (77: it does not): full before
 * the log is long enough to be moved into the file. Another one has the database open as well. */
static int write_on_a_full_disk(void)
{
    oto_store *s, *other;
    int refused = 0, row = 0;
    int64_t taken = 0;
    oto_err e = {0};

    if ((unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) ||
        mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", dir, "tmpfs", 0, "size=1200k") != 0)
        return 77;
    if (oto_store_open(path, &s, &e) != 0)
        return 1;
    while (taken < 10 && try_submit(s, &e) == 0)
        taken++;
    sqlite3_exec(s->db, "DELETE FROM jobs WHERE seq % 2 = 0", NULL, NULL, NULL);
    oto_store_close(s); /* which gives the file the pages it needs, and free ones */
    if (oto_store_open(path, &s, &e) != 0 || oto_store_open(path, &other, &e) != 0)
        return 1;
    for (int i = 0; i < 2000 && row < 2; i++) {
        const int rc = touch(i % 3 > 0 ? s : other, &e);

        if (rc != 0 && rc != OTO_E_NO_SPACE)
            return 2;
        refused += rc != 0;
        row = rc != 0 ? row + 1 : 0;
    }
    if (taken != 10 || refused == 0 || row > 1 || count_jobs(other) != taken / 2 ||
        oto_store_check(s, &e) != 0) {
        fprintf(stderr, "%d refused, %d in a row: %s\n", refused, row, e.text);
        return 3;
    }
    oto_store_close(other);
    oto_store_close(s);
    return 0;
}

static void a_full_disk_takes_what_fits_the_log(void **state)
{
    int status;
    pid_t pid;

    (void)state;
    fresh();
    if ((pid = fork()) == 0)
        _exit(write_on_a_full_disk());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("no small file system can be mounted here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Full by the file system, as far as a limit on file sizes is like it. */
static void a_full_disk_takes_no_more(void **state)
{
    const struct rlimit no_limit = {RLIM_INFINITY, RLIM_INFINITY};
    const struct rlimit small = {300000, RLIM_INFINITY};
    int64_t taken = 0;
    oto_store *s;
    oto_err e = {0};

    (void)state;
    fresh();
    signal(SIGXFSZ, SIG_IGN);
    s = open_store();
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    while (try_submit(s, &e) == 0 && taken < 1000)
        taken++;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &no_limit), 0);
    assert_in_range(taken, 3, 999);
    assert_true(e.code == OTO_E_NO_SPACE || e.code == OTO_E_IO);
    assert_int_equal(count_jobs(s), taken);
    assert_int_equal(try_submit(s, &e), 0);
    oto_store_close(s);
    s = open_store();
    assert_int_equal(count_jobs(s), taken + 1);
    assert_int_equal(oto_store_check(s, &e), 0);
    oto_store_close(s);
}

static void a_foreign_lock_is_said(void **state)
{
    sqlite3 *other;
    oto_store *s;
    oto_err e = {0};

    (void)state;
    fresh();
    s = open_store();
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_busy_timeout(s->db, 20);
    assert_int_equal(try_submit(s, &e), OTO_E_BUSY);
    assert_non_null(strstr(e.text, "locked by another program"));
    assert_int_equal(count_jobs(s), 0); /* looking needs no lock */
    assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(other);
    assert_int_equal(try_submit(s, &e), 0);
    oto_store_close(s);
}

/* ---- a sync that fails ---- */

static int (*real_sync)(sqlite3_file *, int);
static bool sync_fails;

static int failing_sync(sqlite3_file *f, int flags)
{
    return sync_fails ? SQLITE_IOERR_FSYNC : real_sync(f, flags);
}

/* The log's file methods with another sync, for as long as the store is open. */
static void break_sync(oto_store *s, sqlite3_io_methods *methods)
{
    sqlite3_file *log = NULL;

    assert_int_equal(sqlite3_file_control(s->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log), 0);
    assert_non_null(log);
    assert_non_null(log->pMethods);
    *methods = *log->pMethods;
    real_sync = methods->xSync;
    methods->xSync = failing_sync;
    log->pMethods = methods;
}

static void after_a_failed_sync_nothing_is_accepted(void **state)
{
    sqlite3_io_methods methods;
    oto_store *s;
    oto_err e = {0};

    (void)state;
    fresh();
    s = open_store();
    submit(s);
    break_sync(s, &methods);
    submit(s);
    sync_fails = true;
    assert_int_equal(try_submit(s, &e), OTO_E_IO);
    sync_fails = false;
    assert_int_equal(try_submit(s, &e), OTO_E_IO);
    assert_non_null(strstr(e.text, "a sync failed before"));
    assert_int_equal(count_jobs(s), 2); /* reading goes on */
    oto_store_close(s);
    s = open_store();
    assert_int_equal(oto_store_check(s, &e), 0);
    assert_int_equal(try_submit(s, &e), 0); /* a new look at what is on disk */
    oto_store_close(s);
}

/* ---- memory ---- */

static void an_idle_store_is_small(void **state)
{
    const oto_store_stats none = {0};
    oto_store_stats stats = none;
    oto_store *s;
    int64_t before;

    (void)state;
    fresh();
    before = sqlite3_memory_used();
    s = open_store();
    for (int i = 0; i < 200; i++)
        submit(s);
    assert_int_equal(oto_store_stats_get(s, &stats, NULL), 0);
    assert_in_range(sqlite3_memory_used() - before, 1, 700000);
    oto_store_close(s);
    assert_int_equal(sqlite3_memory_used(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(others_come_and_go),
        cmocka_unit_test(version_changes),
        cmocka_unit_test(foreign_files_are_left_alone),
        cmocka_unit_test(a_foreign_log_is_left_alone),
        cmocka_unit_test(an_older_schema_is_upgraded),
        cmocka_unit_test(many_make_it_at_once),
        cmocka_unit_test(damaged_pages_are_found),
        cmocka_unit_test(a_cut_file_is_found),
        cmocka_unit_test(a_full_database_takes_no_more),
        cmocka_unit_test(a_full_disk_takes_no_more),
        cmocka_unit_test(a_full_disk_takes_what_fits_the_log),
        cmocka_unit_test(a_foreign_lock_is_said),
        cmocka_unit_test(after_a_failed_sync_nothing_is_accepted),
        cmocka_unit_test(an_idle_store_is_small),
    };

    return cmocka_run_group_tests(tests, make_folder, tear_down);
}
