/* sqlite (private to store/): the database behind the store. */
#ifndef OTO_SQLITE_H
#define OTO_SQLITE_H

#include "store/store.h"

#include <sqlite3.h>

#define OTO_MAX_STATEMENTS 96

struct oto_store {
    sqlite3 *db;
    char path[600];
    bool sync_failed;   /* a sync failed: nothing is written any more */
    int64_t own_writes; /* transactions of this object */
    /* Statements by their text, which is a constant of the program. */
    struct {
        const char *sql;
        sqlite3_stmt *stmt;
    } statements[OTO_MAX_STATEMENTS];
    int n_statements;
};

/* The error SQLite has just reported; names the database. */
int oto_sql_fail(oto_store *s, oto_err *e) OTO_CHECK;
/* A statement ready to bind; `sql` must be a string constant. */
int oto_sql_get(oto_store *s, const char *sql, sqlite3_stmt **out, oto_err *e) OTO_CHECK;
/* The same with its parameters bound: 'i' int64_t, 't' const char * (NULL: ""). */
int oto_sql_bind(oto_store *s, sqlite3_stmt **out, oto_err *e, const char *sql, const char *types,
                 ...) OTO_CHECK;
/* 1: a row; 0: the end (the statement is reset); negative: an error (reset as well). */
int oto_sql_step(oto_store *s, sqlite3_stmt *q, oto_err *e) OTO_CHECK;
/* Runs to the end. *changes may be NULL. */
int oto_sql_run(oto_store *s, int *changes, oto_err *e, const char *sql, const char *types,
                ...) OTO_CHECK;
/* BEGIN IMMEDIATE; refuses after a failed sync. */
int oto_sql_begin(oto_store *s, oto_err *e) OTO_CHECK;
/* COMMIT when rc is 0, else ROLLBACK; returns rc or the commit's error. */
int oto_sql_end(oto_store *s, int rc, oto_err *e) OTO_CHECK;

/* The columns of a job, in the order of oto_sql_job. */
#define OTO_JOB_COLUMNS                                                                            \
    "id, client, api, filename, audio, language, model, options, webhook, state, priority, "       \
    "attempts, max_attempts, crashes, cancelling, bytes, audio_ms, submitted_at, started_at, "     \
    "finished_at, not_before, checkpoint_ms, n_segments, error_code, error, detected_language, "   \
    "warning, processing_s, memory_before, memory_after, memory_peak, decoder_peak, restarts"
int oto_sql_job(sqlite3_stmt *q, oto_arena *a, oto_job *out, oto_err *e) OTO_CHECK;
/* n bytes of randomness as 2 n hex digits. */
int oto_random_hex(char *out, size_t n, oto_err *e) OTO_CHECK;

#endif
