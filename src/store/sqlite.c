/* The embedded queue: one SQLite file in WAL mode, every commit synced.
 *
 * A job is a row; a lease is its token, owner and expiry. Segments and known windows hang on the
 * job and go with it. Counters of what has ended live in a row of their own, so that deleting jobs
 * does not change them.
 *
 * Nobody but SQLite may open the file: its locks are POSIX locks, and closing any descriptor of the
 * file would drop all of them for the whole process. Another process that closes the database could
 * then take itself for the last one and remove the log under us.
 *
 * Deleted while running: the row stays with `deleted` set, invisible to readers, until its worker
 * lets go of it. */
#include "store/sqlite.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define APPLICATION_ID 0x4f544f4c /* "OTOL" */
#define BUSY_MS        10000

/* What a row adds to the numbers of its state; only waiting jobs have their sound counted, as that
 * of running ones changes with every checkpoint. */
#define WAITING(row)                                                                               \
    "CASE " row "state WHEN 0 THEN max(0, " row "audio_ms - " row "checkpoint_ms) ELSE 0 END"
#define KEPT(row) "CASE " row "audio WHEN '' THEN 0 ELSE " row "bytes END"
#define TALLY(row, sign)                                                                           \
    " UPDATE tally SET jobs = jobs " sign " 1, waiting_ms = waiting_ms " sign                      \
    " " WAITING(row ".") ", audio_bytes = audio_bytes " sign                                       \
                         " " KEPT(row ".") " WHERE state = " row ".state AND " row                 \
                                           ".deleted = 0; "
#define TALLY_FOUND                                                                                \
    "SELECT state, count(*) AS jobs, sum(" WAITING("") ") AS waiting_ms, sum(" KEPT(               \
        "") ")"                                                                                    \
            " AS audio_bytes FROM jobs WHERE deleted = 0 GROUP BY state"

/* steps[v] leads from schema v to v + 1; 0 is an empty file. A step that was released stays as it
 * is. */
static const char first_step[] =
    "CREATE TABLE jobs ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL UNIQUE,"
    " client TEXT NOT NULL, idempotency TEXT, fingerprint TEXT,"
    " api TEXT NOT NULL, filename TEXT NOT NULL, audio TEXT NOT NULL,"
    " language TEXT NOT NULL, model TEXT NOT NULL, options TEXT NOT NULL, webhook TEXT NOT NULL,"
    " state INTEGER NOT NULL DEFAULT 0, priority INTEGER NOT NULL DEFAULT 0,"
    " attempts INTEGER NOT NULL DEFAULT 0, max_attempts INTEGER NOT NULL,"
    " crashes INTEGER NOT NULL DEFAULT 0, interruptions INTEGER NOT NULL DEFAULT 0,"
    " cancelling INTEGER NOT NULL DEFAULT 0, deleted INTEGER NOT NULL DEFAULT 0,"
    " bytes INTEGER NOT NULL, audio_ms INTEGER NOT NULL,"
    " submitted_at INTEGER NOT NULL, started_at INTEGER NOT NULL DEFAULT 0,"
    " finished_at INTEGER NOT NULL DEFAULT 0, not_before INTEGER NOT NULL DEFAULT 0,"
    " checkpoint_ms INTEGER NOT NULL DEFAULT 0, n_segments INTEGER NOT NULL DEFAULT 0,"
    " error_code TEXT NOT NULL DEFAULT '', error TEXT NOT NULL DEFAULT '',"
    " detected_language TEXT NOT NULL DEFAULT '', warning TEXT NOT NULL DEFAULT '',"
    " processing_s REAL NOT NULL DEFAULT 0,"
    " memory_before INTEGER NOT NULL DEFAULT 0, memory_after INTEGER NOT NULL DEFAULT 0,"
    " memory_peak INTEGER NOT NULL DEFAULT 0, decoder_peak INTEGER NOT NULL DEFAULT 0,"
    " token TEXT NOT NULL DEFAULT '', owner TEXT NOT NULL DEFAULT '',"
    " lease_until INTEGER NOT NULL DEFAULT 0,"
    " notice_at INTEGER NOT NULL DEFAULT 0, notice_tries INTEGER NOT NULL DEFAULT 0"
    ");"
    "CREATE UNIQUE INDEX jobs_idempotency ON jobs(client, idempotency)"
    " WHERE idempotency IS NOT NULL;"
    "CREATE INDEX jobs_fingerprint ON jobs(client, fingerprint) WHERE fingerprint IS NOT NULL;"
    "CREATE INDEX jobs_queue ON jobs(priority DESC, seq) WHERE state = 0;"
    "CREATE INDEX jobs_running ON jobs(client) WHERE state = 1;"
    "CREATE INDEX jobs_waiting ON jobs(client) WHERE state = 0;"
    "CREATE INDEX jobs_state ON jobs(state, seq);"
    "CREATE INDEX jobs_ended ON jobs(finished_at) WHERE state > 1;"
    "CREATE INDEX jobs_audio ON jobs(audio) WHERE audio != '';"
    "CREATE INDEX jobs_notice ON jobs(notice_at) WHERE notice_at > 0;"
    "CREATE TABLE segments ("
    " job INTEGER NOT NULL REFERENCES jobs(seq) ON DELETE CASCADE, number INTEGER NOT NULL,"
    " start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL, text TEXT NOT NULL, json TEXT NOT NULL,"
    " PRIMARY KEY (job, number)) WITHOUT ROWID;"
    "CREATE TABLE memos ("
    " job INTEGER NOT NULL REFERENCES jobs(seq) ON DELETE CASCADE, key INTEGER NOT NULL,"
    " json TEXT NOT NULL, PRIMARY KEY (job, key)) WITHOUT ROWID;"
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE keys ("
    " id TEXT PRIMARY KEY, name TEXT NOT NULL, hash BLOB NOT NULL UNIQUE,"
    " created_at INTEGER NOT NULL, revoked_at INTEGER NOT NULL DEFAULT 0,"
    " used_at INTEGER NOT NULL DEFAULT 0, max_jobs INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;";

/* What a long history would make slow: the line of waiting jobs as one covering index, one client's
 * jobs, and numbers by state, kept by triggers so that looking at them reads six rows. */
static const char second_step[] =
    "DROP INDEX jobs_queue;"
    "CREATE INDEX jobs_line ON jobs(priority DESC, client, seq, not_before, audio_ms, crashes,"
    " checkpoint_ms, state) WHERE state = 0;"
    "CREATE INDEX jobs_client ON jobs(client, seq);"
    "CREATE TABLE tally (state INTEGER PRIMARY KEY, jobs INTEGER NOT NULL,"
    " waiting_ms INTEGER NOT NULL, audio_bytes INTEGER NOT NULL);"
    "INSERT INTO tally VALUES (0,0,0,0), (1,0,0,0), (2,0,0,0), (3,0,0,0), (4,0,0,0), (5,0,0,0);"
    "UPDATE tally SET jobs = found.jobs, waiting_ms = found.waiting_ms,"
    " audio_bytes = found.audio_bytes FROM (" TALLY_FOUND ") AS found"
    " WHERE found.state = tally.state;"
    "CREATE TRIGGER jobs_come AFTER INSERT ON jobs BEGIN" TALLY(
        "new", "+") "END;"
                    "CREATE TRIGGER jobs_go AFTER DELETE ON jobs BEGIN" TALLY(
                        "old", "-") "END;"
                                    "CREATE TRIGGER jobs_move AFTER UPDATE OF state, deleted, "
                                    "audio ON jobs BEGIN" TALLY("old", "-")
                                        TALLY("new", "+") "END;";

/* A job that begins anew has other segments under the same numbers: who follows it has to know. */
static const char third_step[] = "ALTER TABLE jobs ADD COLUMN restarts INTEGER NOT NULL DEFAULT 0;";

static const char *const steps[] = {first_step, second_step, third_step};
#define VERSION ((int)OTO_COUNT(steps))

/* ---- errors ---- */

int oto_sql_fail(oto_store *s, oto_err *e)
{
    const int code = sqlite3_extended_errcode(s->db);
    const char *text = sqlite3_errmsg(s->db);

    switch (code & 0xff) {
    case SQLITE_FULL:
        return oto_fail(e, OTO_E_NO_SPACE, "%s: no space left", s->path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return oto_fail(e, OTO_E_BUSY, "%s: the database is locked by another program", s->path);
    case SQLITE_CORRUPT:
        return oto_fail(e, OTO_E_INPUT, "%s: the database is damaged (%s)", s->path, text);
    case SQLITE_NOTADB:
        return oto_fail(e, OTO_E_INPUT, "%s: not an otolith database", s->path);
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
        return oto_fail(e, OTO_E_DENIED, "%s: %s", s->path, text);
    case SQLITE_NOMEM:
        return oto_fail(e, OTO_E_LIMIT, "%s: out of memory", s->path);
    case SQLITE_IOERR:
        if (code == SQLITE_IOERR_FSYNC || code == SQLITE_IOERR_DIR_FSYNC)
            s->sync_failed = true;
        /* The index of the log is a file of its own, which finds no room first. */
        else if (code == SQLITE_IOERR_SHMSIZE || sqlite3_system_errno(s->db) == ENOSPC ||
                 sqlite3_system_errno(s->db) == EDQUOT)
            return oto_fail(e, OTO_E_NO_SPACE, "%s: no space left", s->path);
        return oto_fail(e, OTO_E_IO, "%s: %s (%d)", s->path, text, code);
    default:
        return oto_fail(e, OTO_E_INTERNAL, "%s: %s (%d)", s->path, text, code);
    }
}

/* ---- statements ---- */

int oto_sql_get(oto_store *s, const char *sql, sqlite3_stmt **out, oto_err *e)
{
    int i = 0;

    while (i < s->n_statements && s->statements[i].sql != sql)
        i++;
    if (i == s->n_statements) {
        if (i == OTO_MAX_STATEMENTS)
            return oto_fail(e, OTO_E_INTERNAL, "%s: too many statements", s->path);
        if (sqlite3_prepare_v3(s->db, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->statements[i].stmt,
                               NULL) != SQLITE_OK)
            return oto_sql_fail(s, e);
        s->statements[s->n_statements++].sql = sql;
    }
    *out = s->statements[i].stmt;
    sqlite3_reset(*out);
    return 0;
}

static int bind_all(oto_store *s, sqlite3_stmt *q, const char *types, va_list ap, oto_err *e)
{
    for (int i = 0; types[i] != '\0'; i++) {
        int rc;

        if (types[i] == 'i') {
            rc = sqlite3_bind_int64(q, i + 1, va_arg(ap, int64_t));
        } else {
            const char *text = va_arg(ap, const char *);

            rc = sqlite3_bind_text(q, i + 1, text != NULL ? text : "", -1, SQLITE_STATIC);
        }
        if (rc != SQLITE_OK)
            return oto_sql_fail(s, e);
    }
    return 0;
}

int oto_sql_bind(oto_store *s, sqlite3_stmt **out, oto_err *e, const char *sql, const char *types,
                 ...)
{
    va_list ap;
    int rc = oto_sql_get(s, sql, out, e);

    if (rc != 0)
        return rc;
    va_start(ap, types);
    rc = bind_all(s, *out, types, ap, e);
    va_end(ap);
    return rc;
}

int oto_sql_step(oto_store *s, sqlite3_stmt *q, oto_err *e)
{
    int code, rc;

    if (oto_fault("SQL step", EIO)) {
        sqlite3_reset(q);
        return oto_fail(e, OTO_E_IO, "%s: a fault on purpose", s->path);
    }
    code = sqlite3_step(q);
    if (code == SQLITE_ROW)
        return 1;
    rc = code == SQLITE_DONE ? 0 : oto_sql_fail(s, e);
    sqlite3_reset(q);
    return rc;
}

int oto_sql_run(oto_store *s, int *changes, oto_err *e, const char *sql, const char *types, ...)
{
    sqlite3_stmt *q = NULL;
    va_list ap;
    int rc = oto_sql_get(s, sql, &q, e);

    if (rc != 0)
        return rc;
    va_start(ap, types);
    rc = bind_all(s, q, types, ap, e);
    va_end(ap);
    while (rc == 0 && (rc = oto_sql_step(s, q, e)) == 1)
        rc = 0;
    if (rc == 0 && changes != NULL)
        *changes = sqlite3_changes(s->db);
    return rc;
}

int oto_sql_begin(oto_store *s, oto_err *e)
{
    if (s->sync_failed)
        return oto_fail(e, OTO_E_IO, "%s: a sync failed before; what is on disk is not known",
                        s->path);
    return oto_sql_run(s, NULL, e, "BEGIN IMMEDIATE", "");
}

/* The log on a full disk cannot grow to where SQLite would move it into the file, and so for ever
 * takes room that the next writer could use: what lies in it is moved now, which needs no room for
 * pages that the file has. Passive: others who read or write are not waited for. */
static void empty_log(oto_store *s)
{
    if (sqlite3_wal_checkpoint_v2(s->db, NULL, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL) ==
        SQLITE_IOERR_FSYNC)
        s->sync_failed = true;
}

int oto_sql_end(oto_store *s, int rc, oto_err *e)
{
    if (rc == 0 && (rc = oto_sql_run(s, NULL, e, "COMMIT", "")) == 0) {
        s->own_writes++;
        return 0;
    }
    /* Errors may have rolled back already. */
    if (!sqlite3_get_autocommit(s->db) && oto_sql_run(s, NULL, NULL, "ROLLBACK", "") != 0)
        s->sync_failed = true;
    if (rc == OTO_E_NO_SPACE && !s->sync_failed)
        empty_log(s);
    return rc;
}

/* ---- rows ---- */

static const char *text_at(sqlite3_stmt *q, int i, oto_arena *a)
{
    const char *text = (const char *)sqlite3_column_text(q, i);

    return oto_arena_strdup(a, text != NULL ? text : "", (size_t)sqlite3_column_bytes(q, i));
}

int oto_sql_job(sqlite3_stmt *q, oto_arena *a, oto_job *out, oto_err *e)
{
    const char **const texts[] = {&out->id,       &out->client,  &out->api,
                                  &out->filename, &out->audio,   &out->language,
                                  &out->model,    &out->options, &out->webhook};
    int i = 0;

    memset(out, 0, sizeof *out);
    for (; i < (int)OTO_COUNT(texts); i++)
        *texts[i] = text_at(q, i, a);
    out->state = (oto_job_state)sqlite3_column_int(q, i++);
    out->priority = sqlite3_column_int(q, i++);
    out->attempts = sqlite3_column_int(q, i++);
    out->max_attempts = sqlite3_column_int(q, i++);
    out->crashes = sqlite3_column_int(q, i++);
    out->cancelling = sqlite3_column_int(q, i++) != 0;
    out->bytes = sqlite3_column_int64(q, i++);
    out->audio_ms = sqlite3_column_int64(q, i++);
    out->submitted_at = sqlite3_column_int64(q, i++);
    out->started_at = sqlite3_column_int64(q, i++);
    out->finished_at = sqlite3_column_int64(q, i++);
    out->not_before = sqlite3_column_int64(q, i++);
    out->checkpoint_ms = sqlite3_column_int64(q, i++);
    out->n_segments = sqlite3_column_int(q, i++);
    out->error_code = text_at(q, i++, a);
    out->error = text_at(q, i++, a);
    out->detected_language = text_at(q, i++, a);
    out->warning = text_at(q, i++, a);
    out->processing_s = sqlite3_column_double(q, i++);
    out->memory_before = sqlite3_column_int64(q, i++);
    out->memory_after = sqlite3_column_int64(q, i++);
    out->memory_peak = sqlite3_column_int64(q, i++);
    out->decoder_peak = sqlite3_column_int64(q, i++);
    out->restarts = sqlite3_column_int(q, i++);
    for (size_t k = 0; k < OTO_COUNT(texts); k++)
        if (*texts[k] == NULL)
            return oto_fail(e, OTO_E_LIMIT, "job: out of memory");
    if (out->error_code == NULL || out->error == NULL || out->detected_language == NULL ||
        out->warning == NULL)
        return oto_fail(e, OTO_E_LIMIT, "job: out of memory");
    return 0;
}

int oto_random_hex(char *out, size_t n, oto_err *e)
{
    uint8_t r[64];

    if (n > sizeof r || getrandom(r, n, 0) != (ssize_t)n)
        return oto_fail_errno(e, "random numbers");
    for (size_t i = 0; i < n; i++)
        snprintf(out + 2 * i, 3, "%02x", r[i]);
    return 0;
}

/* ---- opening ---- */

static int pragma(oto_store *s, const char *sql, oto_err *e)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : oto_sql_fail(s, e);
}

static int pragma_int(oto_store *s, const char *sql, int64_t *out, oto_err *e)
{
    sqlite3_stmt *q;
    int rc = 0;

    if (sqlite3_prepare_v2(s->db, sql, -1, &q, NULL) != SQLITE_OK)
        return oto_sql_fail(s, e);
    if (sqlite3_step(q) == SQLITE_ROW)
        *out = sqlite3_column_int64(q, 0);
    else
        rc = oto_sql_fail(s, e);
    sqlite3_finalize(q);
    return rc;
}

/* Which schema is this, if it is ours? Nothing is written before that is known. */
static int check_identity(oto_store *s, int *version, oto_err *e)
{
    int64_t application = 0, found = 0, tables = 0;
    int rc;

    if ((rc = pragma_int(s, "PRAGMA application_id", &application, e)) != 0 ||
        (rc = pragma_int(s, "PRAGMA user_version", &found, e)) != 0 ||
        (rc = pragma_int(s, "SELECT count(*) FROM sqlite_master", &tables, e)) != 0)
        return rc;
    *version = (int)found;
    if (application == 0 && tables == 0) {
        *version = 0;
        return 0;
    }
    if (application != APPLICATION_ID)
        return oto_fail(e, OTO_E_INPUT, "%s: another program's database", s->path);
    if (found > VERSION)
        return oto_fail(e, OTO_E_UNSUPPORTED,
                        "%s: made by a newer version of otolith (its schema %d, ours %d)", s->path,
                        (int)found, VERSION);
    if (found < 1)
        return oto_fail(e, OTO_E_INPUT, "%s: the database is damaged (schema %d)", s->path,
                        (int)found);
    return 0;
}

static int rollback(oto_store *s, int rc)
{
    if (!sqlite3_get_autocommit(s->db))
        sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

/* As one look: another process may be making the schema just now. */
static int look_identity(oto_store *s, int *version, oto_err *e)
{
    int rc = pragma(s, "BEGIN", e);

    if (rc == 0 && (rc = check_identity(s, version, e)) == 0)
        rc = pragma(s, "COMMIT", e);
    return rollback(s, rc);
}

static int upgrade(oto_store *s, oto_err *e)
{
    char text[120];
    int version, rc = pragma(s, "BEGIN IMMEDIATE", e);

    /* Another process may have been first. */
    if (rc == 0)
        rc = check_identity(s, &version, e);
    for (; rc == 0 && version < VERSION; version++)
        rc = pragma(s, steps[version], e);
    snprintf(text, sizeof text, "PRAGMA application_id = %d; PRAGMA user_version = %d;",
             APPLICATION_ID, VERSION);
    if (rc == 0 && (rc = pragma(s, text, e)) == 0)
        rc = pragma(s, "COMMIT", e);
    return rollback(s, rc);
}

/* Changing to WAL needs the file alone, and SQLite does not wait for that. */
static int use_wal(oto_store *s, oto_err *e)
{
    const struct timespec pause = {0, 5000000};
    const int64_t until = oto_now_ms() + BUSY_MS;
    int rc;

    while ((rc = pragma(s, "PRAGMA journal_mode = WAL", e)) == OTO_E_BUSY && oto_now_ms() < until)
        nanosleep(&pause, NULL);
    return rc;
}

/* Until the file is known to be ours, closing it must not move a log that lies beside it into it.
 */
static int set_up(oto_store *s, oto_err *e)
{
    int version, rc;

    sqlite3_extended_result_codes(s->db, 1);
    sqlite3_busy_timeout(s->db, BUSY_MS);
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    if ((rc = look_identity(s, &version, e)) != 0)
        return rc;
    sqlite3_db_config(s->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0, NULL);
    if ((rc = use_wal(s, e)) != 0 || (rc = pragma(s, "PRAGMA synchronous = FULL", e)) != 0 ||
        (rc = pragma(s, "PRAGMA foreign_keys = ON", e)) != 0 ||
        (rc = pragma(s, "PRAGMA cache_size = -256", e)) != 0 ||
        (rc = pragma(s, "PRAGMA temp_store = MEMORY", e)) != 0 ||
        (rc = pragma(s, "PRAGMA journal_size_limit = 16777216", e)) != 0)
        return rc;
    return version < VERSION ? upgrade(s, e) : 0;
}

int oto_store_open(const char *address, oto_store **out, oto_err *e)
{
    const char *path = strncmp(address, "sqlite:", 7) == 0 ? address + 7 : address;
    oto_store *s;
    int rc;

    s = calloc(1, sizeof *s);
    if (s == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    snprintf(s->path, sizeof s->path, "%s", path);
    if (sqlite3_open_v2(path, &s->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) != SQLITE_OK) {
        rc = s->db != NULL ? oto_sql_fail(s, e) : oto_fail(e, OTO_E_LIMIT, "out of memory");
        oto_store_close(s);
        return rc;
    }
    rc = set_up(s, e);
    if (rc != 0) {
        oto_store_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

void oto_store_close(oto_store *s)
{
    if (s == NULL)
        return;
    for (int i = 0; i < s->n_statements; i++)
        sqlite3_finalize(s->statements[i].stmt);
    sqlite3_close(s->db);
    free(s);
}

int oto_store_check(oto_store *s, oto_err *e)
{
    static const char *const rules[] = {
        "SELECT count(*) FROM jobs j WHERE (state = 1) != (token != '')"
        " OR n_segments != (SELECT count(*) FROM segments g WHERE g.job = j.seq)",
        "SELECT count(*) FROM pragma_foreign_key_check",
        "SELECT count(*) FROM tally t LEFT JOIN (" TALLY_FOUND ") f USING (state) WHERE"
        " t.jobs != coalesce(f.jobs, 0) OR t.waiting_ms != coalesce(f.waiting_ms, 0)"
        " OR t.audio_bytes != coalesce(f.audio_bytes, 0)",
    };
    sqlite3_stmt *q;
    int64_t broken = 0;
    int rc = 0;

    if (sqlite3_prepare_v2(s->db, "PRAGMA integrity_check(1)", -1, &q, NULL) != SQLITE_OK)
        return oto_sql_fail(s, e);
    if (sqlite3_step(q) != SQLITE_ROW)
        rc = oto_sql_fail(s, e);
    else if (strcmp((const char *)sqlite3_column_text(q, 0), "ok") != 0)
        rc = oto_fail(e, OTO_E_INPUT, "%s: the database is damaged (%.200s)", s->path,
                      (const char *)sqlite3_column_text(q, 0));
    sqlite3_finalize(q);
    for (size_t i = 0; i < OTO_COUNT(rules) && rc == 0; i++)
        if ((rc = pragma_int(s, rules[i], &broken, e)) == 0 && broken > 0)
            rc = oto_fail(e, OTO_E_INPUT, "%s: %d row(s) break the rules between tables", s->path,
                          (int)broken);
    return rc;
}

int64_t oto_store_version(oto_store *s)
{
    sqlite3_stmt *q = NULL;
    int64_t v = -1;

    if (oto_sql_get(s, "PRAGMA data_version", &q, NULL) != 0)
        return -1;
    if (sqlite3_step(q) == SQLITE_ROW)
        v = sqlite3_column_int64(q, 0);
    sqlite3_reset(q);
    return v * 1000003 + s->own_writes;
}
