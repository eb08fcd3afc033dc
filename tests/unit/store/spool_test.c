#include "store/spool.c"
#include "unit/store/kit.h"

#include <signal.h>
#include <sys/resource.h>
#include <utime.h>

#define NOW 1795000000000 /* 2026-11-18 */

static oto_spool spool;

static int open_spool(void **state)
{
    char dir[100];

    if (kit_open(state) != 0)
        return -1;
    snprintf(dir, sizeof dir, "%s/a/b", kit_dir);
    return oto_spool_open(dir, 0, 0, &spool, NULL);
}

#define SPOOL_TEST(f) cmocka_unit_test_setup_teardown(f, open_spool, kit_close)

static int n_files(void)
{
    DIR *d = opendir(spool.dir);
    int n = -2; /* . and .. */

    assert_non_null(d);
    while (readdir(d) != NULL)
        n++;
    closedir(d);
    return n;
}

static void upload(const char *text, const char *ext, char name[64])
{
    oto_upload u;

    OK(oto_upload_begin(&spool, -1, &u, &e));
    OK(oto_upload_write(&spool, &u, text, strlen(text), &e));
    OK(oto_upload_keep(&spool, &u, ext, NOW, name, &e));
    assert_int_equal(u.fd, -1);
}

static void a_recording_is_kept(void **state)
{
    char name[64], other[64], path[600], text[20] = "";
    oto_upload u;
    int fd;

    (void)state;
    OK(oto_upload_begin(&spool, 10, &u, &e));
    assert_int_equal(n_files(), 1);
    OK(oto_upload_write(&spool, &u, "hello ", 6, &e));
    OK(oto_upload_write(&spool, &u, "", 0, &e));
    OK(oto_upload_write(&spool, &u, "world", 5, &e));
    assert_int_equal(u.bytes, 11);
    OK(oto_upload_keep(&spool, &u, "wav", NOW, name, &e));
    assert_int_equal(n_files(), 1);
    assert_int_equal(strncmp(name, "2026-11-1", 9), 0);
    assert_string_equal(name + strlen(name) - 4, ".wav");
    OK(oto_spool_path(&spool, name, path, sizeof path, &e));
    fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, text, sizeof text), 11);
    assert_string_equal(text, "hello world");
    close(fd);
    upload("x", "mp3", other);
    assert_string_not_equal(name, other);
    assert_true(atoi(other + 11) > atoi(name + 11)); /* the day's number goes up */
    oto_spool_remove(&spool, name);
    oto_spool_remove(&spool, name);
    assert_int_equal(n_files(), 1);
}

static void a_dropped_upload_leaves_nothing(void **state)
{
    oto_upload u;

    (void)state;
    OK(oto_upload_begin(&spool, -1, &u, &e));
    OK(oto_upload_write(&spool, &u, "x", 1, &e));
    oto_upload_drop(&spool, &u);
    oto_upload_drop(&spool, &u);
    assert_int_equal(n_files(), 0);
}

static void no_name_leads_out(void **state)
{
    static const char *const bad[] = {"",
                                      "..",
                                      "../../../etc/passwd",
                                      "2026-11-23_/../../x",
                                      "/etc/passwd",
                                      "2026-11-23_001_ab.wav/..",
                                      ".026-11-23_001_ab.wav",
                                      "upload-00.part",
                                      "2026-11-23",
                                      "2026-11-23_a\nb"};
    char path[600], name[64];
    oto_upload u;

    (void)state;
    for (size_t i = 0; i < OTO_COUNT(bad); i++)
        FAILS(OTO_E_NOT_FOUND, oto_spool_path(&spool, bad[i], path, sizeof path, &e));
    FAILS(OTO_E_USAGE, oto_spool_path(&spool, "2026-11-23_001_ab.wav", path, 20, &e));
    OK(oto_upload_begin(&spool, -1, &u, &e));
    FAILS(OTO_E_USAGE, oto_upload_keep(&spool, &u, "/../../x", NOW, name, &e));
    assert_int_equal(n_files(), 0);
}

static void the_quota_counts_every_file(void **state)
{
    static char block[1000];
    char name[64];
    oto_upload u;

    (void)state;
    spool.max_bytes = 2500;
    for (int i = 0; i < 2; i++) {
        OK(oto_upload_begin(&spool, 1000, &u, &e));
        OK(oto_upload_write(&spool, &u, block, sizeof block, &e));
        OK(oto_upload_keep(&spool, &u, "wav", NOW, name, &e));
    }
    FAILS(OTO_E_NO_SPACE, oto_upload_begin(&spool, 1000, &u, &e));
    OK(oto_upload_begin(&spool, 500, &u, &e));
    oto_upload_drop(&spool, &u);
    oto_spool_remove(&spool, name);
    OK(oto_upload_begin(&spool, 1000, &u, &e));
    oto_upload_drop(&spool, &u);
}

static void room_is_kept_free(void **state)
{
    oto_upload u;

    (void)state;
    spool.min_free = INT64_MAX / 2;
    FAILS(OTO_E_NO_SPACE, oto_upload_begin(&spool, -1, &u, &e));
    spool.min_free = 0;
    FAILS(OTO_E_NO_SPACE, oto_upload_begin(&spool, INT64_MAX / 2, &u, &e));
    assert_int_equal(n_files(), 0);
}

/* The disk becomes full while an upload arrives: what was written goes, the next one is taken. */
static void a_full_disk_is_said(void **state)
{
    const struct rlimit no_limit = {RLIM_INFINITY, RLIM_INFINITY};
    const struct rlimit small = {10000, RLIM_INFINITY};
    static char block[8000];
    oto_upload u;
    char name[64];

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    OK(oto_upload_begin(&spool, -1, &u, &e));
    OK(oto_upload_write(&spool, &u, block, sizeof block, &e));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    FAILS(OTO_E_NO_SPACE, oto_upload_write(&spool, &u, block, sizeof block, &e));
    assert_int_equal(u.bytes, 10000);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &no_limit), 0);
    oto_upload_drop(&spool, &u);
    assert_int_equal(n_files(), 0);
    upload("x", "wav", name);
}

static void age(const char *name, int seconds)
{
    const struct utimbuf t = {NOW / 1000 - seconds, NOW / 1000 - seconds};
    char path[600];

    snprintf(path, sizeof path, "%s/%s", spool.dir, name);
    assert_int_equal(utime(path, &t), 0);
}

static void put_file(const char *name)
{
    char path[600];
    int fd;

    snprintf(path, sizeof path, "%s/%s", spool.dir, name);
    fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    age(name, 9000);
}

/* Parts and old files that no job names go; anything that is not ours stays. */
static void the_sweep_takes_only_leftovers(void **state)
{
    char named[64], part[64], orphan[64], young[64], path[600];
    oto_submission j = {.client = "c", .api = "rest"};
    oto_upload u;
    int n;

    (void)state;
    upload("1", "wav", named);
    upload("2", "part", part); /* a client's x.part */
    upload("3", "wav", orphan);
    upload("4", "wav", young);
    j.audio = named;
    kit_submit_as(&j, NOW);
    j.audio = part;
    kit_submit_as(&j, NOW);
    age(named, 9000);
    age(part, 9000);
    age(orphan, 3600);
    age(young, 3599);
    OK(oto_upload_begin(&spool, -1, &u, &e));
    close(u.fd); /* its process was killed */
    put_file("notes.txt");
    put_file("a-film.part");
    OK(oto_spool_sweep(&spool, kit_store, NOW, &n, &e));
    assert_int_equal(n, 2);
    assert_int_equal(n_files(), 5);
    OK(oto_spool_path(&spool, orphan, path, sizeof path, &e));
    assert_int_equal(access(path, F_OK), -1);
    OK(oto_spool_path(&spool, part, path, sizeof path, &e));
    assert_int_equal(access(path, F_OK), 0);
    OK(oto_spool_sweep(&spool, kit_store, NOW, &n, &e));
    assert_int_equal(n, 0);
}

static void a_folder_that_is_none_is_refused(void **state)
{
    char longer[500];
    oto_spool s;

    (void)state;
    FAILS(OTO_E_NOT_FOUND, oto_spool_open(kit_path, 0, 0, &s, &e)); /* the database, a file */
    memset(longer, 'x', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    FAILS(OTO_E_USAGE, oto_spool_open(longer, 0, 0, &s, &e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SPOOL_TEST(a_recording_is_kept),
        SPOOL_TEST(a_dropped_upload_leaves_nothing),
        SPOOL_TEST(no_name_leads_out),
        SPOOL_TEST(the_quota_counts_every_file),
        SPOOL_TEST(room_is_kept_free),
        SPOOL_TEST(a_full_disk_is_said),
        SPOOL_TEST(the_sweep_takes_only_leftovers),
        SPOOL_TEST(a_folder_that_is_none_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
