/* The promises of the queue: each job is leased by one, and whatever is killed, what was accepted
 * is not lost, what was stored stays, and each job ends once. */
#include "store/store.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define SEGMENTS 5 /* of every job */
#define KILLS    50
#define MAX_JOBS 20000

static char dir[64], path[80];
static oto_arena *arena;

static int make_folder(void **state)
{
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/otolith-queue-XXXXXX");
    if (mkdtemp(dir) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/a.db", dir);
    return oto_arena_new("test", 16 << 20, &arena, NULL);
}

static int remove_folder(void **state)
{
    char command[96];

    (void)state;
    oto_arena_free(arena);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

static oto_store *open_store(void)
{
    oto_store *s;
    oto_err e = {0};

    if (oto_store_open(path, &s, &e) != 0)
        fail_msg("%s", e.text);
    return s;
}

/* ---- what a killed process does until then ---- */

/* What has returned is told through a pipe; a line this short is written whole or not at all. */
static void tell(int fd, char what, const char *id, int n)
{
    char line[64];
    const int len = snprintf(line, sizeof line, "%c %s %d\n", what, id, n);

    if (write(fd, line, (size_t)len) != len)
        _exit(2);
}

static void need(int rc, const oto_err *e)
{
    if (rc == 0)
        return;
    fprintf(stderr, "%s\n", e->text);
    _exit(3);
}

static bool submit_one(oto_store *s, oto_arena *a, int fd)
{
    const oto_submission j = {.client = "c", .api = "rest", .audio_ms = SEGMENTS * 10};
    bool existing;
    oto_err e = {0};
    oto_job job;

    need(oto_store_submit(s, &j, 0, 0, 1000, a, &job, &existing, &e), &e);
    tell(fd, 'S', job.id, 0);
    return true;
}

/* Goes on where the job was left. */
static bool work_one(oto_store *s, oto_arena *a, const char *owner, int fd)
{
    const oto_job_outcome r = {.language = "en", .audio_ms = SEGMENTS * 10};
    char token[33];
    oto_err e = {0};
    oto_job job;
    int rc = oto_store_lease(s, owner, 60000, 0, 1000, a, &job, token, &e);

    if (rc == OTO_E_NOT_FOUND)
        return false;
    need(rc, &e);
    tell(fd, 'L', job.id, 0);
    for (int i = job.n_segments; i < SEGMENTS - 1; i++) {
        const oto_job_segment g = {i * 10, i * 10 + 10, "text", ""};
        const oto_job_memo m = {i, "memo"};

        need(oto_store_segments(s, job.id, token, &g, 1, &m, 1, i * 10 + 10, 1000, &e), &e);
        tell(fd, 'G', job.id, i + 1);
    }
    const oto_job_segment last = {(SEGMENTS - 1) * 10, SEGMENTS * 10, "text", ""};

    need(oto_store_finish(s, job.id, token, &last, SEGMENTS - job.n_segments > 0, &r, 1000, &e),
         &e);
    tell(fd, 'F', job.id, SEGMENTS);
    return true;
}

/* submits > 0: so many jobs first; forever: submits and works until it is killed, else until
 * nothing waits. */
static pid_t start(const char *owner, int submits, bool forever, int fd)
{
    const pid_t pid = fork();
    oto_store *s;
    oto_arena *a;
    oto_err e = {0};

    assert_true(pid >= 0);
    if (pid > 0)
        return pid;
    need(oto_arena_new("child", 1 << 20, &a, &e), &e);
    need(oto_store_open(path, &s, &e), &e);
    for (int i = 0; i < submits; i++)
        submit_one(s, a, fd);
    for (bool more = true; forever || more;) {
        oto_arena_reset(a);
        if (forever)
            submit_one(s, a, fd);
        more = work_one(s, a, owner, fd);
    }
    oto_store_close(s);
    _exit(0);
}

/* ---- what was told ---- */

typedef struct {
    char id[33];
    int leases, segments;
    bool finished;
} told;

static told jobs[MAX_JOBS];
static int n_jobs;

static told *job_of(const char *id)
{
    for (int i = n_jobs - 1; i >= 0; i--)
        if (strcmp(jobs[i].id, id) == 0)
            return &jobs[i];
    assert_true(n_jobs < MAX_JOBS);
    snprintf(jobs[n_jobs].id, sizeof jobs->id, "%s", id);
    return &jobs[n_jobs++];
}

static void hear(char what, const char *id, int n)
{
    told *j = job_of(id);

    switch (what) {
    case 'L':
        j->leases++;
        break;
    case 'G':
        /* Never twice the same segment, whoever did the one before. */
        if (n <= j->segments)
            fail_msg("segment %d of %s was stored again", n, id);
        j->segments = n;
        break;
    case 'F':
        if (j->finished)
            fail_msg("%s was finished twice", id);
        j->finished = true;
        break;
    default:
        break;
    }
}

/* Everything in the pipe; its writers have gone. */
static void hear_all(int fd)
{
    FILE *f = fdopen(fd, "r");
    char what, id[33];
    int n;

    while (fscanf(f, "%c %32s %d\n", &what, id, &n) == 3)
        hear(what, id, n);
    fclose(f);
}

static int check_segment(void *arg, int n, const oto_job_segment *g)
{
    int *next = arg;

    assert_int_equal(n, *next);
    assert_int_equal(g->start_ms, n * 10);
    ++*next;
    return 0;
}

/* What was told is so. */
static void compare(oto_store *s)
{
    oto_err e = {0};

    if (oto_store_check(s, &e) != 0)
        fail_msg("%s", e.text);
    for (int i = 0; i < n_jobs; i++) {
        oto_job job;
        int n = 0;

        oto_arena_reset(arena);
        if (oto_store_get(s, jobs[i].id, arena, &job, &e) != 0)
            fail_msg("lost: %s", e.text);
        if (jobs[i].finished)
            assert_int_equal(job.state, OTO_JOB_DONE);
        assert_int_equal(oto_store_each_segment(s, &job, 0, check_segment, &n, NULL), 0);
        assert_int_equal(n, job.n_segments);
        assert_true(n >= jobs[i].segments);
        if (job.state == OTO_JOB_DONE)
            assert_int_equal(n, SEGMENTS);
    }
}

/* ---- the tests ---- */

static void every_job_is_leased_once(void **state)
{
    pid_t pids[4];
    oto_store_stats stats;
    oto_store *s;
    int ends[2], status;

    (void)state;
    n_jobs = 0;
    memset(jobs, 0, sizeof jobs);
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    for (int i = 0; i < 4; i++)
        pids[i] = start("w", 25, false, ends[1]);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_int_equal(status, 0);
    }
    close(ends[1]);
    hear_all(ends[0]);
    assert_int_equal(n_jobs, 100);
    for (int i = 0; i < n_jobs; i++) {
        assert_int_equal(jobs[i].leases, 1);
        assert_true(jobs[i].finished);
    }
    s = open_store();
    compare(s);
    assert_int_equal(oto_store_stats_get(s, &stats, NULL), 0);
    assert_int_equal(stats.ended[OTO_JOB_DONE], 100);
    oto_store_close(s);
}

static void kill_after(pid_t a, pid_t b, int ms)
{
    const struct timespec t = {0, ms * 1000000};

    nanosleep(&t, NULL);
    kill(a, SIGKILL);
    kill(b, SIGKILL);
    waitpid(a, NULL, 0);
    waitpid(b, NULL, 0);
}

static void round_of_kills(int ms)
{
    oto_err e = {0};
    oto_store *s;
    int ends[2], n;
    pid_t a, b;

    assert_int_equal(pipe(ends), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    a = start("a", 0, true, ends[1]);
    b = start("b", 0, true, ends[1]);
    kill_after(a, b, ms);
    close(ends[1]);
    hear_all(ends[0]);
    s = open_store();
    compare(s);
    if (oto_store_reclaim(s, NULL, false, 1000, &n, &e) != 0)
        fail_msg("%s", e.text);
    assert_in_range(n, 0, 2); /* each held one at most */
    oto_store_close(s);
}

static void whatever_is_killed_nothing_is_lost(void **state)
{
    oto_store_stats stats;
    oto_store *s;
    int ends[2], status, accepted, rounds = 0;
    pid_t pid;

    (void)state;
    n_jobs = 0;
    memset(jobs, 0, sizeof jobs);
    srand(1);
    /* On a busy machine more often, and later, until there was something to lose. */
    while (rounds < KILLS || (n_jobs <= KILLS && rounds < 10 * KILLS))
        round_of_kills(5 + rand() % 60 + rounds++ / KILLS * 100);
    accepted = n_jobs;
    assert_true(accepted > KILLS);
    assert_int_equal(pipe(ends), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
    pid = start("calm", 0, false, ends[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    close(ends[1]);
    hear_all(ends[0]);
    s = open_store();
    compare(s);
    assert_int_equal(oto_store_stats_get(s, &stats, NULL), 0);
    /* Done as often as there are jobs, and no job that nobody sent: those beyond what was told were
     * killed between being stored and telling. */
    assert_int_equal(stats.by_state[OTO_JOB_DONE], stats.ended[OTO_JOB_DONE]);
    assert_int_equal(stats.by_state[OTO_JOB_QUEUED] + stats.by_state[OTO_JOB_RUNNING], 0);
    assert_in_range(stats.by_state[OTO_JOB_DONE], accepted, accepted + 2 * rounds);
    oto_store_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_job_is_leased_once, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(whatever_is_killed_nothing_is_lost, make_folder,
                                        remove_folder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
