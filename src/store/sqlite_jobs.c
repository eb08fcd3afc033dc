/* The life of a job, each move in one transaction. A move of a running job names its token in the
 * statement that makes it: when that touches no row, the lease is lost. */
#include "store/sqlite.h"

#include <inttypes.h>
#include <string.h>

#define DEFAULT_ATTEMPTS 3
#define FIRST_PAUSE_MS   5000
#define LAST_PAUSE_MS    300000

#define LET_GO "token = '', owner = '', lease_until = 0"

static int lost(oto_store *s, const char *id, oto_err *e)
{
    (void)s;
    return oto_fail(e, OTO_E_BUSY, "job %s: the lease is no longer ours", id);
}

static int count(oto_store *s, const char *counter, double by, oto_err *e)
{
    sqlite3_stmt *q;
    int rc = oto_sql_bind(s, &q, e,
                          "INSERT INTO counters (name, value) VALUES (?1, ?2)"
                          " ON CONFLICT (name) DO UPDATE SET value = value + ?2",
                          "t", counter);

    if (rc != 0)
        return rc;
    sqlite3_bind_double(q, 2, by);
    return oto_sql_step(s, q, e);
}

static int count_ended(oto_store *s, oto_job_state state, oto_err *e)
{
    return count(s, oto_job_state_name(state), 1, e);
}

static int get_by_seq(oto_store *s, int64_t seq, oto_arena *a, oto_job *out, oto_err *e)
{
    sqlite3_stmt *q;
    int rc = oto_sql_bind(s, &q, e, "SELECT " OTO_JOB_COLUMNS " FROM jobs WHERE seq = ?", "i", seq);

    if (rc != 0 || (rc = oto_sql_step(s, q, e)) < 0)
        return rc;
    rc = rc == 1 ? oto_sql_job(q, a, out, e) : oto_fail(e, OTO_E_INTERNAL, "a job is gone");
    sqlite3_reset(q);
    return rc;
}

/* A number in *out; 0 when there is no row. */
static int number(oto_store *s, sqlite3_stmt *q, int64_t *out, oto_err *e)
{
    const int rc = oto_sql_step(s, q, e);

    *out = 0;
    if (rc != 1)
        return rc;
    *out = sqlite3_column_int64(q, 0);
    sqlite3_reset(q);
    return 0;
}

/* What no job has any more, known windows included. */
static int forget(oto_store *s, int64_t seq, bool segments, oto_err *e)
{
    int rc = oto_sql_run(s, NULL, e, "DELETE FROM memos WHERE job = ?", "i", seq);

    if (rc == 0 && segments)
        rc = oto_sql_run(s, NULL, e, "DELETE FROM segments WHERE job = ?", "i", seq);
    return rc;
}

static int seq_of(oto_store *s, const char *id, const char *token, int64_t *seq, oto_err *e)
{
    sqlite3_stmt *q;
    int rc = oto_sql_bind(s, &q, e, "SELECT seq FROM jobs WHERE id = ? AND state = 1 AND token = ?",
                          "tt", id, token);

    if (rc != 0 || (rc = number(s, q, seq, e)) != 0)
        return rc;
    return *seq > 0 ? 0 : lost(s, id, e);
}

/* ---- submit ---- */

static int find_idempotent(oto_store *s, const oto_submission *j, int64_t *seq, oto_err *e)
{
    sqlite3_stmt *q;
    int rc;

    *seq = 0;
    if (j->idempotency == NULL || j->idempotency[0] == '\0')
        return 0;
    rc = oto_sql_bind(s, &q, e,
                      "SELECT seq FROM jobs WHERE client = ? AND idempotency = ? AND deleted = 0",
                      "tt", j->client, j->idempotency);
    return rc == 0 ? number(s, q, seq, e) : rc;
}

static int check_limits(oto_store *s, const oto_submission *j, int64_t max_queued, int max_client,
                        oto_err *e)
{
    sqlite3_stmt *q;
    int64_t n;
    int rc;

    if (max_queued > 0) {
        rc = oto_sql_bind(s, &q, e, "SELECT jobs FROM tally WHERE state = 0", "");
        if (rc != 0 || (rc = number(s, q, &n, e)) != 0)
            return rc;
        if (n >= max_queued)
            return oto_fail(e, OTO_E_LIMIT, "%" PRId64 " jobs wait already", n);
    }
    if (max_client > 0) {
        rc = oto_sql_bind(s, &q, e,
                          "SELECT (SELECT count(*) FROM jobs WHERE state = 0 AND client = ?1) +"
                          " (SELECT count(*) FROM jobs WHERE state = 1 AND client = ?1)",
                          "t", j->client);
        if (rc != 0 || (rc = number(s, q, &n, e)) != 0)
            return rc;
        if (n >= max_client)
            return oto_fail(e, OTO_E_BUSY, "this client has %" PRId64 " jobs waiting or running",
                            n);
    }
    return 0;
}

static int insert(oto_store *s, const oto_submission *j, const char *id, int64_t now, oto_err *e)
{
    sqlite3_stmt *q;
    int rc = oto_sql_bind(
        s, &q, e,
        "INSERT INTO jobs (id, client, api, filename, audio, language, model, options, webhook,"
        " priority, max_attempts, bytes, audio_ms, submitted_at, idempotency, fingerprint)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "tttttttttiiiii", id, j->client, j->api, j->filename, j->audio, j->language, j->model,
        j->options, j->webhook, (int64_t)j->priority,
        (int64_t)(j->max_attempts > 0 ? j->max_attempts : DEFAULT_ATTEMPTS), j->bytes, j->audio_ms,
        now);
    const char *const keys[] = {j->idempotency, j->fingerprint};

    if (rc != 0)
        return rc;
    for (int i = 0; i < 2; i++) {
        if (keys[i] != NULL && keys[i][0] != '\0')
            sqlite3_bind_text(q, 15 + i, keys[i], -1, SQLITE_STATIC);
        else
            sqlite3_bind_null(q, 15 + i);
    }
    return oto_sql_step(s, q, e);
}

static int fresh_id(oto_store *s, int digits, char id[33], oto_err *e)
{
    sqlite3_stmt *q;
    int64_t taken = 1;
    int rc = 0;

    digits = digits > 0 ? OTO_MAX(8, OTO_MIN(digits, 32)) : 32;
    for (int i = 0; i < 20 && taken > 0; i++) {
        if ((rc = oto_random_hex(id, 16, e)) != 0)
            return rc;
        id[digits] = '\0';
        if ((rc = oto_sql_bind(s, &q, e, "SELECT count(*) FROM jobs WHERE id = ?", "t", id)) != 0 ||
            (rc = number(s, q, &taken, e)) != 0)
            return rc;
    }
    return taken == 0 ? 0 : oto_fail(e, OTO_E_INTERNAL, "no free id was found");
}

static int submit_new(oto_store *s, const oto_submission *j, int64_t max_queued, int max_client,
                      int64_t now, int64_t *seq, oto_err *e)
{
    char id[33];
    int rc;

    if ((rc = check_limits(s, j, max_queued, max_client, e)) != 0 ||
        (rc = fresh_id(s, j->id_digits, id, e)) != 0 || (rc = insert(s, j, id, now, e)) != 0)
        return rc;
    *seq = sqlite3_last_insert_rowid(s->db);
    return 0;
}

int oto_store_submit(oto_store *s, const oto_submission *j, int64_t max_queued, int max_client,
                     int64_t now, oto_arena *a, oto_job *job, bool *existing, oto_err *e)
{
    int64_t seq = 0;
    int rc = oto_sql_begin(s, e);

    if (rc != 0)
        return rc;
    rc = find_idempotent(s, j, &seq, e);
    *existing = rc == 0 && seq > 0;
    if (rc == 0 && seq == 0)
        rc = submit_new(s, j, max_queued, max_client, now, &seq, e);
    if (rc == 0)
        rc = get_by_seq(s, seq, a, job, e);
    return oto_sql_end(s, rc, e);
}

int oto_store_find(oto_store *s, const char *client, const char *fingerprint, int64_t since,
                   oto_arena *a, oto_job *out, oto_err *e)
{
    sqlite3_stmt *q;
    int rc = oto_sql_bind(s, &q, e,
                          "SELECT " OTO_JOB_COLUMNS " FROM jobs WHERE client = ? AND"
                          " fingerprint = ? AND submitted_at > ? AND state <= 2 AND cancelling = 0"
                          " AND deleted = 0"
                          " ORDER BY seq DESC LIMIT 1",
                          "tti", client, fingerprint, since);

    if (rc != 0 || (rc = oto_sql_step(s, q, e)) < 0)
        return rc;
    if (rc == 0)
        return OTO_E_NOT_FOUND;
    rc = oto_sql_job(q, a, out, e);
    sqlite3_reset(q);
    return rc;
}

/* ---- lease ---- */

/* The client with the least running sound goes first within a priority. ?3: no pause reaches so
 * far, but for one that was written before the clock was set back. `clients` goes from one
 * to the next by the index, so that a client's thousand waiting jobs cost no more than one. */
static const char next_job[] =
    "WITH RECURSIVE"
    " fit AS NOT MATERIALIZED (SELECT seq, client, priority FROM jobs INDEXED BY jobs_line"
    "  WHERE state = 0 AND (not_before <= ?1 OR not_before > ?3)"
    "  AND (?2 = 0 OR (audio_ms >= 0 AND audio_ms <= ?2))"
    "  AND (crashes = 0 OR NOT EXISTS (SELECT 1 FROM jobs s WHERE s.state = 1 AND s.crashes > 0))),"
    " first AS MATERIALIZED (SELECT priority FROM fit ORDER BY priority DESC LIMIT 1),"
    " clients(client) AS (SELECT min(client) FROM jobs INDEXED BY jobs_line"
    "   WHERE state = 0 AND priority = (SELECT priority FROM first)"
    "  UNION ALL SELECT (SELECT j.client FROM jobs j INDEXED BY jobs_line WHERE j.state = 0"
    "   AND j.priority = (SELECT priority FROM first) AND j.client > clients.client"
    "   ORDER BY j.client LIMIT 1) FROM clients WHERE clients.client IS NOT NULL),"
    " top AS (SELECT client, (SELECT seq FROM fit WHERE fit.client = clients.client"
    "   AND fit.priority = (SELECT priority FROM first) ORDER BY seq LIMIT 1) AS seq FROM clients"
    "  WHERE client IS NOT NULL)"
    " SELECT seq FROM top WHERE seq IS NOT NULL ORDER BY (SELECT coalesce(sum(CASE"
    "   WHEN r.audio_ms > 0 THEN r.audio_ms ELSE 60000 END), 0) FROM jobs r INDEXED BY jobs_running"
    "  WHERE r.state = 1 AND r.client = top.client), seq LIMIT 1";

int oto_store_lease(oto_store *s, const char *owner, int64_t lease_ms, int64_t max_audio_ms,
                    int64_t now, oto_arena *a, oto_job *job, char token[33], oto_err *e)
{
    char fresh[33];
    sqlite3_stmt *q;
    int64_t seq = 0;
    int rc;

    /* Looking first without a lock: idle workers ask often and mostly in vain. One whose job is
     * given no company gets nothing else. */
    if ((rc = oto_sql_bind(s, &q, e,
                           "SELECT EXISTS (SELECT 1 FROM jobs WHERE state = 0) AND NOT EXISTS"
                           " (SELECT 1 FROM jobs WHERE state = 1 AND owner = ? AND crashes >= ?)",
                           "ti", owner, (int64_t)OTO_MAX_CRASHES)) != 0 ||
        (rc = number(s, q, &seq, e)) != 0)
        return rc;
    if (seq == 0)
        return OTO_E_NOT_FOUND;
    if ((rc = oto_random_hex(fresh, 16, e)) != 0 || (rc = oto_sql_begin(s, e)) != 0)
        return rc;
    if ((rc = oto_sql_bind(s, &q, e, next_job, "iii", now, max_audio_ms, now + LAST_PAUSE_MS)) == 0)
        rc = number(s, q, &seq, e);
    if (rc == 0 && seq == 0)
        rc = OTO_E_NOT_FOUND;
    if (rc == 0)
        rc = oto_sql_run(s, NULL, e,
                         "UPDATE jobs SET state = 1, token = ?, owner = ?, lease_until = ?,"
                         " attempts = attempts + 1,"
                         " started_at = CASE started_at WHEN 0 THEN ? ELSE started_at END"
                         " WHERE seq = ?",
                         "ttiii", fresh, owner, now + lease_ms, now, seq);
    if (rc == 0)
        rc = get_by_seq(s, seq, a, job, e);
    rc = oto_sql_end(s, rc, e);
    if (rc == 0)
        memcpy(token, fresh, sizeof fresh);
    return rc;
}

int oto_store_renew(oto_store *s, const char *id, const char *token, int64_t lease_ms, int64_t now,
                    bool *cancelled, oto_err *e)
{
    sqlite3_stmt *q;
    int64_t stop = 0;
    int changes = 0, rc = oto_sql_begin(s, e);

    if (rc != 0)
        return rc;
    rc = oto_sql_run(s, &changes, e,
                     "UPDATE jobs SET lease_until = ? WHERE id = ? AND state = 1 AND token = ?",
                     "itt", now + lease_ms, id, token);
    if (rc == 0 && changes == 0)
        rc = lost(s, id, e);
    if (rc == 0 &&
        (rc = oto_sql_bind(s, &q, e, "SELECT cancelling OR deleted FROM jobs WHERE id = ?", "t",
                           id)) == 0)
        rc = number(s, q, &stop, e);
    rc = oto_sql_end(s, rc, e);
    if (rc == 0)
        *cancelled = stop != 0;
    return rc;
}

/* ---- results ---- */

static int put_segments(oto_store *s, int64_t seq, const oto_job_segment *g, int n, oto_err *e)
{
    int rc = 0;

    for (int i = 0; i < n && rc == 0; i++)
        rc = oto_sql_run(s, NULL, e,
                         "INSERT INTO segments (job, number, start_ms, end_ms, text, json)"
                         " SELECT ?1, n_segments + ?2, ?3, ?4, ?5, ?6 FROM jobs WHERE seq = ?1",
                         "iiiitt", seq, (int64_t)i, g[i].start_ms, g[i].end_ms, g[i].text,
                         g[i].json);
    return rc;
}

static int put_memos(oto_store *s, int64_t seq, const oto_job_memo *m, int n, oto_err *e)
{
    int rc = 0;

    for (int i = 0; i < n && rc == 0; i++)
        rc = oto_sql_run(s, NULL, e,
                         "INSERT OR REPLACE INTO memos (job, key, json) VALUES (?, ?, ?)", "iit",
                         seq, m[i].key, m[i].json);
    return rc;
}

/* Progress wipes out earlier interruptions: only those without any in between count. */
static int advance(oto_store *s, int64_t seq, int n, int n_memo, int64_t checkpoint_ms, oto_err *e)
{
    return oto_sql_run(s, NULL, e,
                       "UPDATE jobs SET n_segments = n_segments + ?,"
                       " interruptions = CASE WHEN ? > 0 THEN 0 ELSE interruptions END,"
                       " checkpoint_ms = max(checkpoint_ms, ?) WHERE seq = ?",
                       "iiii", (int64_t)n, (int64_t)n + n_memo, checkpoint_ms, seq);
}

int oto_store_segments(oto_store *s, const char *id, const char *token, const oto_job_segment *seg,
                       int n, const oto_job_memo *memo, int n_memo, int64_t checkpoint_ms,
                       int64_t now, oto_err *e)
{
    int64_t seq = 0;
    int rc = oto_sql_begin(s, e);

    (void)now;
    if (rc != 0)
        return rc;
    if ((rc = seq_of(s, id, token, &seq, e)) == 0 && (rc = put_segments(s, seq, seg, n, e)) == 0 &&
        (rc = put_memos(s, seq, memo, n_memo, e)) == 0)
        rc = advance(s, seq, n, n_memo, checkpoint_ms, e);
    return oto_sql_end(s, rc, e);
}

int oto_store_begin_anew(oto_store *s, const char *id, const char *token, oto_err *e)
{
    int64_t seq = 0;
    int rc = oto_sql_begin(s, e);

    if (rc != 0)
        return rc;
    if ((rc = seq_of(s, id, token, &seq, e)) == 0 && (rc = forget(s, seq, true, e)) == 0)
        rc = oto_sql_run(s, NULL, e,
                         "UPDATE jobs SET checkpoint_ms = 0, n_segments = 0,"
                         " restarts = restarts + 1 WHERE seq = ?",
                         "i", seq);
    return oto_sql_end(s, rc, e);
}

int oto_store_recall(oto_store *s, const char *id, int64_t key, oto_arena *a, const char **json,
                     oto_err *e)
{
    sqlite3_stmt *q;
    int rc = oto_sql_bind(s, &q, e,
                          "SELECT json FROM memos WHERE job = (SELECT seq FROM jobs WHERE id = ?)"
                          " AND key = ?",
                          "ti", id, key);

    if (rc != 0 || (rc = oto_sql_step(s, q, e)) < 0)
        return rc;
    if (rc == 0)
        return OTO_E_NOT_FOUND;
    *json = oto_arena_strdup(a, (const char *)sqlite3_column_text(q, 0),
                             (size_t)sqlite3_column_bytes(q, 0));
    sqlite3_reset(q);
    return *json != NULL ? 0 : oto_fail(e, OTO_E_LIMIT, "window: out of memory");
}

/* The row of a job that was deleted while it ran goes with its lease. */
static int bury(oto_store *s, int64_t seq, oto_err *e)
{
    return oto_sql_run(s, NULL, e, "DELETE FROM jobs WHERE seq = ? AND deleted = 1 AND token = ''",
                       "i", seq);
}

static int set_outcome(oto_store *s, int64_t seq, const oto_job_outcome *r, int64_t now, oto_err *e)
{
    sqlite3_stmt *q;
    int rc = oto_sql_bind(s, &q, e,
                          "UPDATE jobs SET state = 2, " LET_GO ", detected_language = ?1,"
                          " warning = ?2, audio_ms = ?3, checkpoint_ms = ?3, memory_before = ?4,"
                          " memory_after = ?5, memory_peak = ?6, decoder_peak = ?7,"
                          " finished_at = ?8, error = '', error_code = '', cancelling = 0,"
                          " notice_at = CASE webhook WHEN '' THEN 0 ELSE ?8 END,"
                          " processing_s = processing_s + ?10 WHERE seq = ?9",
                          "ttiiiiiii", r->language, r->warning, r->audio_ms, r->memory_before,
                          r->memory_after, r->memory_peak, r->decoder_peak, now, seq);

    if (rc != 0)
        return rc;
    sqlite3_bind_double(q, 10, r->processing_s);
    return oto_sql_step(s, q, e);
}

int oto_store_finish(oto_store *s, const char *id, const char *token, const oto_job_segment *seg,
                     int n, const oto_job_outcome *r, int64_t now, oto_err *e)
{
    int64_t seq = 0;
    int rc = oto_sql_begin(s, e);

    if (rc != 0)
        return rc;
    if ((rc = seq_of(s, id, token, &seq, e)) == 0 && (rc = put_segments(s, seq, seg, n, e)) == 0 &&
        (rc = advance(s, seq, n, 0, 0, e)) == 0 && (rc = set_outcome(s, seq, r, now, e)) == 0 &&
        (rc = forget(s, seq, false, e)) == 0 && (rc = count_ended(s, OTO_JOB_DONE, e)) == 0 &&
        (rc = count(s, "audio_ms", (double)r->audio_ms, e)) == 0 &&
        (rc = count(s, "processing_s", r->processing_s, e)) == 0)
        rc = bury(s, seq, e);
    return oto_sql_end(s, rc, e);
}

/* ---- other ends ---- */

/* Ends a running or waiting job; its known windows go, its segments stay readable. */
static int end_job(oto_store *s, int64_t seq, oto_job_state state, const char *code,
                   const char *text, int64_t now, oto_err *e)
{
    int rc = oto_sql_run(s, NULL, e,
                         "UPDATE jobs SET state = ?, " LET_GO ", error_code = ?, error = ?,"
                         " finished_at = ?4, cancelling = 0,"
                         " notice_at = CASE webhook WHEN '' THEN 0 ELSE ?4 END WHERE seq = ?",
                         "ittii", (int64_t)state, code, text, now, seq);

    if (rc == 0 && (rc = forget(s, seq, false, e)) == 0 && (rc = count_ended(s, state, e)) == 0)
        rc = bury(s, seq, e);
    return rc;
}

static int requeue(oto_store *s, int64_t seq, int64_t not_before, oto_err *e)
{
    const int rc = oto_sql_run(
        s, NULL, e, "UPDATE jobs SET state = 0, " LET_GO ", not_before = ? WHERE seq = ?", "ii",
        not_before, seq);

    return rc == 0 ? bury(s, seq, e) : rc;
}

static int fail_job(oto_store *s, int64_t seq, const char *code, const char *text, bool retry,
                    int64_t now, oto_err *e)
{
    sqlite3_stmt *q;
    int64_t attempts, most, stop, pause = FIRST_PAUSE_MS;
    int rc = oto_sql_bind(s, &q, e,
                          "SELECT attempts, max_attempts, cancelling OR deleted FROM jobs"
                          " WHERE seq = ?",
                          "i", seq);

    if (rc != 0 || (rc = oto_sql_step(s, q, e)) != 1)
        return rc;
    attempts = sqlite3_column_int64(q, 0);
    most = sqlite3_column_int64(q, 1);
    stop = sqlite3_column_int64(q, 2);
    sqlite3_reset(q);
    if (stop)
        return end_job(s, seq, OTO_JOB_CANCELLED, "", "", now, e);
    if (!retry || attempts >= most)
        return end_job(s, seq, OTO_JOB_FAILED, code, text, now, e);
    for (int64_t i = 1; i < attempts && pause < LAST_PAUSE_MS; i++)
        pause *= 2;
    rc = oto_sql_run(s, NULL, e, "UPDATE jobs SET error_code = ?, error = ? WHERE seq = ?", "tti",
                     code, text, seq);
    return rc == 0 ? requeue(s, seq, now + OTO_MIN(pause, LAST_PAUSE_MS), e) : rc;
}

int oto_store_fail(oto_store *s, const char *id, const char *token, const char *code,
                   const char *text, bool retry, int64_t now, oto_err *e)
{
    int64_t seq = 0;
    int rc = oto_sql_begin(s, e);

    if (rc != 0)
        return rc;
    if ((rc = seq_of(s, id, token, &seq, e)) == 0)
        rc = fail_job(s, seq, code, text, retry, now, e);
    return oto_sql_end(s, rc, e);
}

/* Back to the queue, or away when someone asked for that. */
static int give_back(oto_store *s, int64_t seq, int64_t now, oto_err *e)
{
    sqlite3_stmt *q;
    int64_t stop;
    int rc =
        oto_sql_bind(s, &q, e, "SELECT cancelling OR deleted FROM jobs WHERE seq = ?", "i", seq);

    if (rc != 0 || (rc = number(s, q, &stop, e)) != 0)
        return rc;
    if (stop)
        return end_job(s, seq, OTO_JOB_CANCELLED, "", "", now, e);
    rc = oto_sql_run(s, NULL, e, "UPDATE jobs SET attempts = max(0, attempts - 1) WHERE seq = ?",
                     "i", seq);
    return rc == 0 ? requeue(s, seq, 0, e) : rc;
}

int oto_store_release(oto_store *s, const char *id, const char *token, int64_t now, oto_err *e)
{
    int64_t seq = 0;
    int rc = oto_sql_begin(s, e);

    if (rc != 0)
        return rc;
    if ((rc = seq_of(s, id, token, &seq, e)) == 0)
        rc = give_back(s, seq, now, e);
    return oto_sql_end(s, rc, e);
}

/* ---- dead owners ---- */

typedef struct {
    int64_t seq;
    int crashes, interruptions;
    bool unwanted; /* cancelled or deleted: whatever happened, that is its end */
} leased;

#define AT_ONCE 256

/* Running jobs of an owner (NULL: of all), or those whose lease ran out before `until` (0: any). */
static int list_leased(oto_store *s, const char *owner, int64_t until, leased *out, int *n,
                       oto_err *e)
{
    sqlite3_stmt *q;
    int rc = oto_sql_bind(s, &q, e,
                          "SELECT seq, crashes, interruptions, cancelling OR deleted FROM jobs"
                          " WHERE state = 1"
                          " AND (?1 = '' OR owner = ?1) AND (?2 = 0 OR lease_until <= ?2)"
                          " LIMIT 256",
                          "ti", owner, until);

    *n = 0;
    if (rc != 0)
        return rc;
    while ((rc = oto_sql_step(s, q, e)) == 1)
        out[(*n)++] = (leased){sqlite3_column_int64(q, 0), sqlite3_column_int(q, 1),
                               sqlite3_column_int(q, 2), sqlite3_column_int(q, 3) != 0};
    return rc;
}

/* alone: nothing else ran in that worker, so that a blamed job is to blame. */
static int reclaim_one(oto_store *s, const leased *l, bool blamed, bool alone, int64_t now,
                       oto_err *e)
{
    char text[64];
    int rc;

    if (l->unwanted)
        return give_back(s, l->seq, now, e);
    if (blamed)
        rc = oto_sql_run(s, NULL, e, "UPDATE jobs SET crashes = crashes + 1 WHERE seq = ?", "i",
                         l->seq);
    else
        rc = oto_sql_run(s, NULL, e,
                         "UPDATE jobs SET interruptions = interruptions + 1 WHERE seq = ?", "i",
                         l->seq);
    if (rc != 0)
        return rc;
    if (blamed && l->crashes + 1 >= (alone ? OTO_MAX_CRASHES : OTO_MAX_CRASHES_BESIDE)) {
        snprintf(text, sizeof text, "the recording crashed its worker %d times", l->crashes + 1);
        return end_job(s, l->seq, OTO_JOB_DEAD, "crash", text, now, e);
    }
    if (!blamed && l->interruptions + 1 >= OTO_MAX_INTERRUPTIONS)
        return end_job(s, l->seq, OTO_JOB_DEAD, "interrupted",
                       "its worker was killed again and again without any progress", now, e);
    return give_back(s, l->seq, now, e);
}

static int reclaim(oto_store *s, const char *owner, int64_t until, bool blame, int64_t now, int *n,
                   oto_err *e)
{
    leased list[AT_ONCE];
    bool alone, all; /* are blamed, or only those that are suspect already */
    int most = 0, rc = oto_sql_begin(s, e);

    *n = 0;
    if (rc != 0)
        return rc;
    rc = list_leased(s, owner, until, list, n, e);
    for (int i = 0; i < *n; i++)
        most = OTO_MAX(most, list[i].crashes);
    alone = *n == 1;
    /* A third time in company: it may well have been the company. */
    all = most == 0 || (most >= OTO_MAX_CRASHES && !alone);
    for (int i = 0; i < *n && rc == 0; i++)
        rc = reclaim_one(s, &list[i], blame && (all || list[i].crashes > 0), alone, now, e);
    return oto_sql_end(s, rc, e);
}

int oto_store_reclaim(oto_store *s, const char *owner, bool blame, int64_t now, int *n, oto_err *e)
{
    int some, rc;

    *n = 0;
    do {
        rc = reclaim(s, owner, 0, blame, now, &some, e);
        *n += some;
    } while (rc == 0 && some == AT_ONCE);
    return rc;
}

int oto_store_expire(oto_store *s, int64_t now, int *n, oto_err *e)
{
    sqlite3_stmt *q;
    int64_t any;
    int rc = oto_sql_bind(
        s, &q, e, "SELECT count(*) FROM jobs WHERE state = 1 AND lease_until <= ?", "i", now);

    *n = 0;
    if (rc != 0 || (rc = number(s, q, &any, e)) != 0 || any == 0)
        return rc;
    return reclaim(s, NULL, now, false, now, n, e);
}

/* ---- by hand ---- */

static int state_of(oto_store *s, const char *id, int64_t *seq, oto_job_state *state, oto_err *e)
{
    sqlite3_stmt *q;
    int rc =
        oto_sql_bind(s, &q, e, "SELECT seq, state FROM jobs WHERE id = ? AND deleted = 0", "t", id);

    if (rc != 0 || (rc = oto_sql_step(s, q, e)) < 0)
        return rc;
    if (rc == 0)
        return oto_fail(e, OTO_E_NOT_FOUND, "job %.80s: not found", id);
    *seq = sqlite3_column_int64(q, 0);
    *state = (oto_job_state)sqlite3_column_int(q, 1);
    sqlite3_reset(q);
    return 0;
}

int oto_store_cancel(oto_store *s, const char *id, int64_t now, oto_err *e)
{
    oto_job_state state = OTO_JOB_QUEUED;
    int64_t seq = 0;
    int rc = oto_sql_begin(s, e);

    if (rc != 0)
        return rc;
    rc = state_of(s, id, &seq, &state, e);
    if (rc == 0 && state == OTO_JOB_QUEUED)
        rc = end_job(s, seq, OTO_JOB_CANCELLED, "", "", now, e);
    else if (rc == 0 && state == OTO_JOB_RUNNING)
        rc = oto_sql_run(s, NULL, e, "UPDATE jobs SET cancelling = 1 WHERE seq = ?", "i", seq);
    else if (rc == 0)
        rc = oto_fail(e, OTO_E_BUSY, "job %s: %s already", id, oto_job_state_name(state));
    return oto_sql_end(s, rc, e);
}

int oto_store_retry(oto_store *s, const char *id, int64_t now, oto_err *e)
{
    oto_job_state state = OTO_JOB_QUEUED;
    int64_t seq = 0;
    int rc = oto_sql_begin(s, e);

    (void)now;
    if (rc != 0)
        return rc;
    rc = state_of(s, id, &seq, &state, e);
    if (rc == 0 && (!oto_job_ended(state) || !oto_job_may(state, OTO_JOB_QUEUED)))
        rc = oto_fail(e, OTO_E_BUSY, "job %s: is %s", id, oto_job_state_name(state));
    if (rc == 0 && (rc = forget(s, seq, true, e)) == 0)
        rc = oto_sql_run(
            s, NULL, e,
            "UPDATE jobs SET state = 0, attempts = 0, crashes = 0, interruptions = 0,"
            " cancelling = 0, not_before = 0, started_at = 0, finished_at = 0,"
            " checkpoint_ms = 0, n_segments = 0, restarts = restarts + 1, error = '', error_code = "
            "'',"
            " notice_at = 0, notice_tries = 0, processing_s = 0, detected_language = '',"
            " warning = '', memory_before = 0, memory_after = 0, memory_peak = 0,"
            " decoder_peak = 0 WHERE seq = ?",
            "i", seq);
    return oto_sql_end(s, rc, e);
}

static int delete_job(oto_store *s, const char *id, oto_arena *a, const char **audio, oto_err *e)
{
    oto_job_state state = OTO_JOB_QUEUED;
    sqlite3_stmt *q;
    int64_t seq = 0;
    int rc = state_of(s, id, &seq, &state, e);

    if (rc != 0)
        return rc;
    if ((rc = oto_sql_bind(s, &q, e, "SELECT audio FROM jobs WHERE seq = ?", "i", seq)) != 0 ||
        (rc = oto_sql_step(s, q, e)) < 0)
        return rc;
    *audio = oto_arena_strdup(a, (const char *)sqlite3_column_text(q, 0),
                              (size_t)sqlite3_column_bytes(q, 0));
    sqlite3_reset(q);
    if (*audio == NULL)
        return oto_fail(e, OTO_E_LIMIT, "job: out of memory");
    if (state == OTO_JOB_RUNNING)
        return oto_sql_run(s, NULL, e,
                           "UPDATE jobs SET deleted = 1, idempotency = NULL, fingerprint = NULL,"
                           " audio = '' WHERE seq = ?",
                           "i", seq);
    return oto_sql_run(s, NULL, e, "DELETE FROM jobs WHERE seq = ?", "i", seq);
}

int oto_store_delete(oto_store *s, const char *id, int64_t now, oto_arena *a, const char **audio,
                     oto_err *e)
{
    int rc = oto_sql_begin(s, e);

    (void)now;
    *audio = "";
    return rc == 0 ? oto_sql_end(s, delete_job(s, id, a, audio, e), e) : rc;
}
