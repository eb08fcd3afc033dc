/* What the store's tests share: a database of their own in a folder that goes, and short forms. */
#ifndef OTO_TEST_STORE_KIT_H
#define OTO_TEST_STORE_KIT_H

#include "store/store.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

static char kit_dir[64], kit_path[80];
static oto_arena *kit_arena; /* what comes back from the store */
static oto_store *kit_store;

/* 0, or the test fails with the reason. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        oto_err e = {0};                                                                           \
        if ((call) != 0)                                                                           \
            fail_msg("%s: %s", #call, e.text);                                                     \
    } while (0)
#define FAILS(code, call)                                                                          \
    do {                                                                                           \
        oto_err e = {0};                                                                           \
        const int rc_ = (call);                                                                    \
        if (rc_ != (code))                                                                         \
            fail_msg("%s: %s, not %s (%s)", #call, oto_err_name(rc_), oto_err_name(code), e.text); \
    } while (0)

static inline int kit_open(void **state)
{
    (void)state;
    snprintf(kit_dir, sizeof kit_dir, "/tmp/otolith-store-XXXXXX");
    if (mkdtemp(kit_dir) == NULL)
        return -1;
    snprintf(kit_path, sizeof kit_path, "%s/a.db", kit_dir);
    if (oto_arena_new("test", 64 << 20, &kit_arena, NULL) != 0)
        return -1;
    return oto_store_open(kit_path, &kit_store, NULL);
}

static inline int kit_close(void **state)
{
    char command[96];
    const int broken = oto_store_check(kit_store, NULL);

    (void)state;
    oto_store_close(kit_store);
    oto_arena_free(kit_arena);
    kit_store = NULL;
    kit_arena = NULL;
    snprintf(command, sizeof command, "rm -rf %s", kit_dir);
    return system(command) != 0 ? -1 : broken;
}

#define KIT_TEST(f) cmocka_unit_test_setup_teardown(f, kit_open, kit_close)

static inline oto_job kit_submit_as(const oto_submission *j, int64_t now)
{
    bool existing = true;
    oto_job job = {0};

    OK(oto_store_submit(kit_store, j, 0, 0, now, kit_arena, &job, &existing, &e));
    assert_false(existing);
    return job;
}

static inline oto_job kit_submit(const char *client, int64_t audio_ms)
{
    const oto_submission j = {.client = client, .api = "rest", .audio_ms = audio_ms, .bytes = 100};

    return kit_submit_as(&j, 1000);
}

static inline oto_job kit_get(const char *id)
{
    oto_job job = {0};

    OK(oto_store_get(kit_store, id, kit_arena, &job, &e));
    return job;
}

/* The next job, which there must be. */
static inline oto_job kit_lease(const char *owner, int64_t now, char token[33])
{
    oto_job job = {0};

    OK(oto_store_lease(kit_store, owner, 60000, 0, now, kit_arena, &job, token, &e));
    return job;
}

static inline void kit_lease_none(int64_t now)
{
    char token[33];
    oto_job job;

    FAILS(OTO_E_NOT_FOUND,
          oto_store_lease(kit_store, "w", 60000, 0, now, kit_arena, &job, token, &e));
}

static inline void kit_finish(const char *id, const char *token, int64_t now)
{
    const oto_job_outcome r = {.language = "en", .audio_ms = 5000, .processing_s = 0.5};

    OK(oto_store_finish(kit_store, id, token, NULL, 0, &r, now, &e));
}

#endif
