/* Reading: jobs, segments, counts; notices; and retention. */
#include "store/sqlite.h"

#include <string.h>

static int one_job(oto_store *s, sqlite3_stmt *q, oto_arena *a, oto_job *out, oto_err *e)
{
    int rc = oto_sql_step(s, q, e);

    if (rc < 0)
        return rc;
    if (rc == 0)
        return OTO_E_NOT_FOUND;
    rc = oto_sql_job(q, a, out, e);
    sqlite3_reset(q);
    return rc;
}

int oto_store_get(oto_store *s, const char *id, oto_arena *a, oto_job *out, oto_err *e)
{
    sqlite3_stmt *q;
    int rc = oto_sql_bind(
        s, &q, e, "SELECT " OTO_JOB_COLUMNS " FROM jobs WHERE id = ? AND deleted = 0", "t", id);

    if (rc == 0)
        rc = one_job(s, q, a, out, e);
    return rc == OTO_E_NOT_FOUND ? oto_fail(e, rc, "job %.80s: not found", id) : rc;
}

int oto_store_each_segment(oto_store *s, const oto_job *job, int first,
                           int (*fn)(void *arg, int number, const oto_job_segment *seg), void *arg,
                           oto_err *e)
{
    sqlite3_stmt *q;
    int rc = oto_sql_bind(s, &q, e,
                          "SELECT number, start_ms, end_ms, text, json FROM segments WHERE job ="
                          " (SELECT seq FROM jobs WHERE id = ? AND restarts = ? AND deleted = 0)"
                          " AND number >= ? ORDER BY number",
                          "tii", job->id, (int64_t)job->restarts, (int64_t)first);

    if (rc != 0)
        return rc;
    while ((rc = oto_sql_step(s, q, e)) == 1) {
        const oto_job_segment g = {sqlite3_column_int64(q, 1), sqlite3_column_int64(q, 2),
                                   (const char *)sqlite3_column_text(q, 3),
                                   (const char *)sqlite3_column_text(q, 4)};

        if (fn(arg, sqlite3_column_int(q, 0), &g) != 0) {
            sqlite3_reset(q);
            return 0;
        }
    }
    return rc;
}

/* The newest of each state wanted, by the index of states: a rare state costs no walk through a
 * long history. */
#define NEWEST_OF(state)                                                                           \
    "SELECT * FROM (SELECT seq FROM jobs WHERE state = " state " AND ((?3 >> " state ") & 1) = 1"  \
    " AND deleted = 0 AND seq < ?4 AND (?2 = '' OR api = ?2) ORDER BY seq DESC LIMIT ?5)"

static const char
    list_all[] = "SELECT " OTO_JOB_COLUMNS
                 " FROM jobs WHERE ?1 = '' AND seq IN (" NEWEST_OF("0") " UNION ALL " NEWEST_OF("1") " UNION ALL " NEWEST_OF(
                     "2") " UNION ALL " NEWEST_OF("3") " UNION ALL " NEWEST_OF("4") " UNION "
                                                                                    "ALL"
                                                                                    " " NEWEST_OF(
                                                                                        "5") ") "
                                                                                             "ORDER"
                                                                                             " BY "
                                                                                             "seq "
                                                                                             "DESC "
                                                                                             "LIMIT"
                                                                                             " ?5";

static const char list_of_client[] =
    "SELECT " OTO_JOB_COLUMNS " FROM jobs INDEXED BY jobs_client WHERE client = ?1 AND deleted = 0"
    " AND (?2 = '' OR api = ?2) AND ((?3 >> state) & 1) = 1 AND seq < ?4"
    " ORDER BY seq DESC LIMIT ?5";

/* Where the page begins: behind the job `id`, even where that has become another state. */
static int page_start(oto_store *s, const char *id, int64_t *before, oto_err *e)
{
    sqlite3_stmt *q;
    int rc;

    *before = INT64_MAX;
    if (id == NULL || id[0] == '\0')
        return 0;
    *before = 0;
    if ((rc = oto_sql_bind(s, &q, e, "SELECT seq FROM jobs WHERE id = ?", "t", id)) != 0 ||
        (rc = oto_sql_step(s, q, e)) != 1)
        return rc;
    *before = sqlite3_column_int64(q, 0);
    sqlite3_reset(q);
    return 0;
}

int oto_store_list(oto_store *s, const oto_store_filter *f, oto_arena *a, oto_job *out, int *n,
                   oto_err *e)
{
    const bool all = f->client == NULL || f->client[0] == '\0';
    const int64_t states = f->states != 0 ? f->states : (1 << OTO_JOB_STATES) - 1;
    sqlite3_stmt *q;
    int64_t before;
    int rc = page_start(s, f->before, &before, e);

    *n = 0;
    if (rc != 0 || (rc = oto_sql_bind(s, &q, e, all ? list_all : list_of_client, "ttiii", f->client,
                                      f->api, states, before, (int64_t)f->limit)) != 0)
        return rc;
    while ((rc = oto_sql_step(s, q, e)) == 1) {
        rc = oto_sql_job(q, a, &out[*n], e);
        if (rc != 0) {
            sqlite3_reset(q);
            return rc;
        }
        ++*n;
    }
    return rc;
}

int oto_store_position(oto_store *s, const char *id, int64_t now, int64_t *jobs, int64_t *audio_ms,
                       oto_err *e)
{
    sqlite3_stmt *q;
    int rc = oto_sql_bind(
        s, &q, e,
        "SELECT count(*), coalesce(sum(max(0, j.audio_ms - j.checkpoint_ms)), 0)"
        " FROM jobs j INDEXED BY jobs_line,"
        " (SELECT seq, priority FROM jobs WHERE id = ?1 AND state = 0 AND deleted = 0) me"
        " WHERE j.state = 0 AND j.priority >= me.priority AND (j.priority > me.priority"
        " OR j.seq <= me.seq) AND (j.seq = me.seq OR j.not_before <= ?2)",
        "ti", id, now);

    if (rc != 0 || (rc = oto_sql_step(s, q, e)) != 1)
        return rc;
    *jobs = sqlite3_column_int64(q, 0);
    *audio_ms = sqlite3_column_int64(q, 1);
    sqlite3_reset(q);
    return 0;
}

static int counters(oto_store *s, oto_store_stats *out, oto_err *e)
{
    sqlite3_stmt *q;
    int rc = oto_sql_get(s, "SELECT name, value FROM counters", &q, e);

    if (rc != 0)
        return rc;
    while ((rc = oto_sql_step(s, q, e)) == 1) {
        const char *name = (const char *)sqlite3_column_text(q, 0);
        oto_job_state state;

        if (oto_job_state_parse(name, &state) == 0)
            out->ended[state] = sqlite3_column_int64(q, 1);
        else if (strcmp(name, "audio_ms") == 0)
            out->done_audio_ms = sqlite3_column_int64(q, 1);
        else if (strcmp(name, "processing_s") == 0)
            out->processing_s = sqlite3_column_double(q, 1);
    }
    return rc;
}

static int tallies(oto_store *s, oto_store_stats *out, oto_err *e)
{
    sqlite3_stmt *q;
    int rc = oto_sql_get(s,
                         "SELECT state, jobs, audio_bytes, CASE state WHEN 1 THEN (SELECT"
                         "  coalesce(sum(max(0, r.audio_ms - r.checkpoint_ms)), 0) FROM jobs r"
                         "  WHERE r.state = 1 AND r.deleted = 0) ELSE waiting_ms END FROM tally",
                         &q, e);

    if (rc != 0)
        return rc;
    while ((rc = oto_sql_step(s, q, e)) == 1) {
        const int state = sqlite3_column_int(q, 0);

        if (state < 0 || state >= OTO_JOB_STATES)
            continue;
        out->by_state[state] = sqlite3_column_int64(q, 1);
        out->audio_bytes += sqlite3_column_int64(q, 2);
        out->waiting_audio_ms += sqlite3_column_int64(q, 3);
    }
    return rc;
}

int oto_store_stats_get(oto_store *s, oto_store_stats *out, oto_err *e)
{
    sqlite3_stmt *q;
    int rc;

    memset(out, 0, sizeof *out);
    if ((rc = counters(s, out, e)) != 0 || (rc = tallies(s, out, e)) != 0 ||
        (rc = oto_sql_get(s, "SELECT submitted_at FROM jobs WHERE state = 0 ORDER BY seq LIMIT 1",
                          &q, e)) != 0 ||
        (rc = oto_sql_step(s, q, e)) != 1)
        return rc;
    out->oldest_queued_at = sqlite3_column_int64(q, 0);
    sqlite3_reset(q);
    return 0;
}

/* ---- notices ---- */

/* No notice waits so long: one from a later time was written before the clock was set back. */
#define FARTHEST_NOTICE_MS ((int64_t)2 * 3600 * 1000)

#define DUE                                                                                        \
    "SELECT " OTO_JOB_COLUMNS ", notice_tries, notice_at FROM jobs"                                \
    " WHERE notice_at > 0 AND (notice_at <= ?1 OR notice_at > ?2) AND deleted = 0"

int oto_store_notice(oto_store *s, int64_t now, bool in_turn, oto_arena *a, oto_job *job,
                     int *tries, int64_t *due, oto_err *e)
{
    sqlite3_stmt *q;
    int rc = oto_sql_bind(s, &q, e,
                          in_turn ? DUE " ORDER BY notice_at LIMIT 1"
                                  : DUE " ORDER BY notice_tries, notice_at LIMIT 1",
                          "ii", now, now + FARTHEST_NOTICE_MS);

    if (rc != 0 || (rc = oto_sql_step(s, q, e)) < 0)
        return rc;
    if (rc == 0)
        return OTO_E_NOT_FOUND;
    *tries = sqlite3_column_int(q, sqlite3_column_count(q) - 2);
    *due = sqlite3_column_int64(q, sqlite3_column_count(q) - 1);
    rc = oto_sql_job(q, a, job, e);
    sqlite3_reset(q);
    return rc;
}

int oto_store_noticed(oto_store *s, const char *id, int64_t due, int64_t next_at, int tries,
                      oto_err *e)
{
    int changes = 0, rc = oto_sql_begin(s, e);

    if (rc != 0)
        return rc;
    rc = oto_sql_run(s, &changes, e,
                     "UPDATE jobs SET notice_at = ?, notice_tries = ? WHERE id = ?"
                     " AND notice_at = ?",
                     "iiti", next_at, (int64_t)tries, id, due);
    if (rc == 0 && changes == 0)
        rc = OTO_E_NOT_FOUND;
    return oto_sql_end(s, rc, e);
}

/* ---- retention ---- */

#define AT_ONCE 256

typedef struct {
    int64_t seq;
    char audio[64];
} old;

static int list_old(oto_store *s, sqlite3_stmt *q, old *out, int *n, oto_err *e)
{
    int rc;

    while ((rc = oto_sql_step(s, q, e)) == 1) {
        out[*n].seq = sqlite3_column_int64(q, 0);
        snprintf(out[(*n)++].audio, sizeof out->audio, "%s",
                 (const char *)sqlite3_column_text(q, 1));
    }
    return rc;
}

/* The oldest recordings that are more than max_bytes keep. */
static int list_surplus(oto_store *s, int64_t max_bytes, int max, old *out, int *n, oto_err *e)
{
    sqlite3_stmt *q;
    int64_t total = 0;
    int rc = oto_sql_get(s, "SELECT sum(audio_bytes) FROM tally WHERE state > 1", &q, e);

    if (rc != 0 || (rc = oto_sql_step(s, q, e)) != 1)
        return rc;
    total = sqlite3_column_int64(q, 0);
    sqlite3_reset(q);
    if (total <= max_bytes)
        return 0;
    rc = oto_sql_bind(s, &q, e,
                      "SELECT seq, audio, bytes FROM jobs WHERE state > 1 AND audio != ''"
                      " AND deleted = 0 ORDER BY finished_at LIMIT ?",
                      "i", (int64_t)max);
    if (rc != 0)
        return rc;
    while (total > max_bytes && (rc = oto_sql_step(s, q, e)) == 1) {
        out[*n].seq = sqlite3_column_int64(q, 0);
        snprintf(out[(*n)++].audio, sizeof out->audio, "%s",
                 (const char *)sqlite3_column_text(q, 1));
        total -= sqlite3_column_int64(q, 2);
    }
    sqlite3_reset(q);
    return rc < 0 ? rc : 0;
}

static int prune_in(oto_store *s, int64_t before, int64_t max_bytes, int max, old *list, int *n,
                    oto_err *e)
{
    sqlite3_stmt *q;
    int gone = 0, rc = 0;

    if (before > 0) {
        rc = oto_sql_bind(s, &q, e,
                          "SELECT seq, audio FROM jobs WHERE state > 1 AND finished_at < ?"
                          " AND deleted = 0 AND notice_at = 0 ORDER BY finished_at LIMIT ?",
                          "ii", before, (int64_t)max);
        if (rc == 0)
            rc = list_old(s, q, list, n, e);
        gone = *n;
    }
    for (int i = 0; i < gone && rc == 0; i++)
        rc = oto_sql_run(s, NULL, e, "DELETE FROM jobs WHERE seq = ?", "i", list[i].seq);
    if (rc == 0 && max_bytes > 0 && gone < max)
        rc = list_surplus(s, max_bytes, max - gone, list, n, e);
    for (int i = gone; i < *n && rc == 0; i++)
        rc = oto_sql_run(s, NULL, e, "UPDATE jobs SET audio = '' WHERE seq = ?", "i", list[i].seq);
    return rc;
}

int oto_store_prune(oto_store *s, int64_t before, int64_t max_bytes, int max,
                    void (*gone)(void *arg, const char *audio), void *arg, int *n, oto_err *e)
{
    old list[AT_ONCE];
    sqlite3_stmt *q;
    int64_t any = 0;
    int rc;

    *n = 0;
    max = OTO_MIN(max, AT_ONCE);
    /* Mostly there is nothing to do, and then no lock is taken. */
    rc = oto_sql_bind(s, &q, e,
                      "SELECT EXISTS (SELECT 1 FROM jobs WHERE state > 1 AND finished_at < ?1) OR"
                      " (?2 > 0 AND (SELECT sum(audio_bytes) FROM tally WHERE state > 1) > ?2)",
                      "ii", before, max_bytes);
    if (rc != 0 || (rc = oto_sql_step(s, q, e)) != 1)
        return rc;
    any = sqlite3_column_int64(q, 0);
    sqlite3_reset(q);
    if (any == 0)
        return 0;
    if ((rc = oto_sql_begin(s, e)) != 0)
        return rc;
    rc = oto_sql_end(s, prune_in(s, before, max_bytes, max, list, n, e), e);
    for (int i = 0; i < *n && rc == 0; i++)
        if (list[i].audio[0] != '\0')
            gone(arg, list[i].audio);
    return rc;
}

int oto_store_names_audio(oto_store *s, const char *audio, bool *out, oto_err *e)
{
    sqlite3_stmt *q;
    int rc = oto_sql_bind(s, &q, e, "SELECT 1 FROM jobs WHERE audio = ? AND audio != '' LIMIT 1",
                          "t", audio); /* the second half is what lets the index serve */

    if (rc != 0 || (rc = oto_sql_step(s, q, e)) < 0)
        return rc;
    *out = rc == 1;
    sqlite3_reset(q);
    return 0;
}
