/* API keys. A key is 256 random bits, so a plain hash of it is as good as a slow one, and looking
 * the hash up tells nothing about other keys. */
#include "store/sqlite.h"

#include <openssl/sha.h>
#include <string.h>

static void hash(const char *secret, uint8_t out[SHA256_DIGEST_LENGTH])
{
    SHA256((const unsigned char *)secret, strlen(secret), out);
}

static int take(sqlite3_stmt *q, oto_arena *a, oto_key *out, oto_err *e)
{
    out->id = oto_arena_strdup(a, (const char *)sqlite3_column_text(q, 0),
                               (size_t)sqlite3_column_bytes(q, 0));
    out->name = oto_arena_strdup(a, (const char *)sqlite3_column_text(q, 1),
                                 (size_t)sqlite3_column_bytes(q, 1));
    out->created_at = sqlite3_column_int64(q, 2);
    out->revoked_at = sqlite3_column_int64(q, 3);
    out->used_at = sqlite3_column_int64(q, 4);
    out->max_jobs = sqlite3_column_int(q, 5);
    return out->id != NULL && out->name != NULL ? 0
                                                : oto_fail(e, OTO_E_LIMIT, "key: out of memory");
}

#define COLUMNS "id, name, created_at, revoked_at, used_at, max_jobs"

int oto_store_key_add(oto_store *s, const char *name, int max_jobs, int64_t now, char secret[72],
                      oto_arena *a, oto_key *out, oto_err *e)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    char id[33], made[72] = "oto_";
    sqlite3_stmt *q;
    int rc;

    if ((rc = oto_random_hex(made + 4, 32, e)) != 0 || (rc = oto_random_hex(id, 6, e)) != 0 ||
        (rc = oto_sql_begin(s, e)) != 0)
        return rc;
    hash(made, digest);
    rc = oto_sql_bind(s, &q, e,
                      "INSERT INTO keys (id, name, created_at, max_jobs, hash)"
                      " VALUES (?, ?, ?, ?, ?)",
                      "ttii", id, name, now, (int64_t)max_jobs);
    if (rc == 0) {
        sqlite3_bind_blob(q, 5, digest, sizeof digest, SQLITE_STATIC);
        rc = oto_sql_step(s, q, e);
    }
    if ((rc = oto_sql_end(s, rc, e)) != 0)
        return rc;
    *out = (oto_key){.id = oto_arena_strdup(a, id, strlen(id)),
                     .name = oto_arena_strdup(a, name, strlen(name)),
                     .created_at = now,
                     .max_jobs = max_jobs};
    if (out->id == NULL || out->name == NULL)
        return oto_fail(e, OTO_E_LIMIT, "key: out of memory");
    memcpy(secret, made, sizeof made);
    return 0;
}

int oto_store_key_list(oto_store *s, oto_arena *a, oto_key *out, int max, int *n, oto_err *e)
{
    sqlite3_stmt *q;
    int rc = oto_sql_bind(s, &q, e,
                          "SELECT " COLUMNS " FROM keys ORDER BY revoked_at, created_at LIMIT ?",
                          "i", (int64_t)max);

    *n = 0;
    if (rc != 0)
        return rc;
    while ((rc = oto_sql_step(s, q, e)) == 1)
        if ((rc = take(q, a, &out[(*n)++], e)) != 0) {
            sqlite3_reset(q);
            return rc;
        }
    return rc;
}

int oto_store_key_revoke(oto_store *s, const char *id, int64_t now, oto_err *e)
{
    int changes = 0, rc = oto_sql_begin(s, e);

    if (rc != 0)
        return rc;
    rc = oto_sql_run(s, &changes, e,
                     "UPDATE keys SET revoked_at = ? WHERE id = ? AND revoked_at = 0", "it", now,
                     id);
    if (rc == 0 && changes == 0)
        rc = oto_fail(e, OTO_E_NOT_FOUND, "key %.40s: not found, or revoked already", id);
    return oto_sql_end(s, rc, e);
}

/* When a key was last used is kept to the minute: a write for every request would cost more than it
 * tells. */
#define USED_EVERY_MS 60000

int oto_store_key_check(oto_store *s, const char *secret, int64_t now, oto_arena *a, oto_key *out,
                        oto_err *e)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    sqlite3_stmt *q;
    int rc;

    hash(secret, digest);
    if ((rc = oto_sql_get(s, "SELECT " COLUMNS " FROM keys WHERE hash = ? AND revoked_at = 0", &q,
                          e)) != 0)
        return rc;
    sqlite3_bind_blob(q, 1, digest, sizeof digest, SQLITE_STATIC);
    if ((rc = oto_sql_step(s, q, e)) < 0)
        return rc;
    if (rc == 0)
        return oto_fail(e, OTO_E_DENIED, "unknown or revoked API key");
    rc = take(q, a, out, e);
    sqlite3_reset(q);
    if (rc != 0 || now - out->used_at < USED_EVERY_MS)
        return rc;
    if (oto_sql_begin(s, NULL) == 0) {
        const int done = oto_sql_run(s, NULL, NULL, "UPDATE keys SET used_at = ? WHERE id = ?",
                                     "it", now, out->id);

        if (oto_sql_end(s, done, NULL) != 0)
            oto_log(OTO_LOG_DEBUG, "key %s: its use could not be noted", out->id);
    }
    return 0;
}
