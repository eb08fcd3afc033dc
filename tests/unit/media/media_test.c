/* The parent's side: a child that is killed, left or kept waiting, the limits it runs under, and
 * that nothing is left behind. */
#include "media/media.c"
#define start start_zygote
#define forget forget_children
#define run    run_zygote
#include "media/zygote.c"
#undef start
#undef forget
#undef run

#include <malloc.h>
#include <pthread.h>

#include "recordings.h"

static int count_fds(void)
{
    int n = 0;

    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

static void unreadable(void **state)
{
    const bool root = geteuid() == 0;
    heard h;

    (void)state;
    write_bytes("secret.wav", "RIFF", 4);
    chmod(in_dir("secret.wav"), 0);
    if (root)
        assert_int_equal(chmod(dir, 0755) | seteuid(65534), 0);
    h = hear(in_dir("secret.wav"));
    if (root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(h.rc, OTO_E_DENIED);
    assert_non_null(strstr(h.e.text, "secret.wav: Permission denied"));
}

static void long_names_keep_their_end(void **state)
{
    oto_media m;
    char path[400];

    (void)state;
    memset(path, 'x', sizeof path);
    snprintf(path + 300, sizeof path - 300, "/talk.mp3");
    set_name(&m, path);
    assert_int_equal(strlen(m.name), sizeof m.name - 1);
    assert_memory_equal(m.name, "...xxx", 6);
    assert_string_equal(m.name + strlen(m.name) - 9, "/talk.mp3");
}

/* ---- the child ---- */

/* Opens a raw stream whose writer, this process, holds the other end. */
static oto_media *open_live(int *writer)
{
    oto_media_options o;
    oto_media *m = NULL;
    int ends[2];
    const int saved = dup(STDIN_FILENO);
    static const int16_t some[64000];
    oto_err e;

    oto_media_defaults(&o);
    o.raw_pcm = true;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fcntl(ends[1], F_SETPIPE_SZ, 1 << 18);
    assert_int_equal(write(ends[1], some, sizeof some), sizeof some);
    dup2(ends[0], STDIN_FILENO);
    close(ends[0]);
    assert_int_equal(oto_media_open("-", &o, &m, &e), 0);
    dup2(saved, STDIN_FILENO);
    close(saved);
    *writer = ends[1];
    return m;
}

static void a_killed_child_is_an_error(void **state)
{
    heard h = {0};
    int writer;
    oto_media *m = open_live(&writer);

    (void)state;
    alarm(60); /* a hang fails */
    assert_int_equal(kill(m->pid, SIGKILL), 0);
    drain_media(m, &h);
    assert_int_equal(h.rc, OTO_E_UNAVAILABLE);
    assert_non_null(strstr(h.e.text, "standard input: the decoder was killed"));
    close(writer);
    forget(&h);

    m = open_live(&writer);
    assert_int_equal(kill(m->pid, SIGSEGV), 0);
    h = (heard){0};
    drain_media(m, &h);
    assert_int_equal(h.rc, OTO_E_INPUT);
    assert_non_null(strstr(h.e.text, "standard input: the decoder crashed (Segmentation fault)"));
    close(writer);
    forget(&h);
    alarm(0);
}

static void closing_early_ends_the_child(void **state)
{
    int writer;
    oto_media *m = open_live(&writer);
    const pid_t pid = m->pid;

    (void)state;
    alarm(60);
    assert_int_equal(kill(pid, 0), 0);
    oto_media_close(m);
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(errno, ESRCH);
    assert_int_equal(waitpid(pid, NULL, 0), -1); /* no zombies */
    assert_int_equal(errno, ECHILD);
    close(writer);
    oto_media_close(NULL);
    alarm(0);
}

/* What starts the children is started again when it was killed, and a job under way goes on. */
static void a_killed_zygote_is_replaced(void **state)
{
    heard h = {0};
    int writer;
    oto_media *m = open_live(&writer);
    const pid_t first = us.pid;

    (void)state;
    alarm(60);
    assert_int_equal(kill(first, SIGKILL), 0);
    close(writer);
    drain_media(m, &h);
    assert_int_equal(h.rc, 0);
    forget(&h);
    m = open_live(&writer);
    assert_int_not_equal(us.pid, first);
    close(writer);
    oto_media_close(m);
    alarm(0);
}

/* A forked process does not talk to its parent's zygote. */
static void a_fork_has_its_own(void **state)
{
    int writer, status;
    oto_media *m = open_live(&writer);
    const pid_t mine = us.pid, pid = fork();

    (void)state;
    if (pid == 0) {
        int other;
        oto_media *theirs = open_live(&other);
        const bool apart = us.pid != mine;

        oto_media_close(theirs);
        _exit(apart ? 0 : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(kill(mine, 0), 0);
    close(writer);
    oto_media_close(m);
}

static void the_child_dies_with_its_parent(void **state)
{
    int report[2];
    pid_t pid, decoder_pid = 0;

    (void)state;
    assert_int_equal(pipe(report), 0);
    pid = fork();
    if (pid == 0) {
        int writer;
        const oto_media *m = open_live(&writer);

        _exit(write(report[1], &m->pid, sizeof m->pid) != sizeof m->pid);
    }
    close(report[1]);
    assert_int_equal(read(report[0], &decoder_pid, sizeof decoder_pid), sizeof decoder_pid);
    close(report[0]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    for (int i = 0; i < 500 && kill(decoder_pid, 0) == 0; i++)
        usleep(10000);
    /* Where nobody adopts orphans it stays, dead, in the table of processes. */
    if (kill(decoder_pid, 0) == 0) {
        char path[64], stat[200] = "";
        FILE *f;

        snprintf(path, sizeof path, "/proc/%d/stat", (int)decoder_pid);
        f = fopen(path, "r");
        if (f != NULL) {
            assert_non_null(fgets(stat, sizeof stat, f));
            fclose(f);
            assert_non_null(strstr(stat, ") Z"));
        }
    }
}

/* Whoever made the pipe may have made it so that reads do not wait. */
static void a_pipe_that_does_not_block(void **state)
{
    oto_media_options o;
    int ends[2];
    const int saved = dup(STDIN_FILENO);
    pid_t pid;
    heard h;

    (void)state;
    oto_media_defaults(&o);
    o.raw_pcm = true;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    pid = fork();
    if (pid == 0) {
        static const int16_t some[1600];

        for (int i = 0; i < 10; i++) {
            usleep(5000);
            if (write(ends[1], some, sizeof some) != sizeof some)
                _exit(1);
        }
        _exit(0);
    }
    close(ends[1]);
    dup2(ends[0], STDIN_FILENO);
    close(ends[0]);
    h = hear_with("-", &o);
    dup2(saved, STDIN_FILENO);
    close(saved);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(h.rc, 0);
    assert_int_equal(h.n, 16000);
    forget(&h);
}

static void processor_time_is_limited(void **state)
{
    static float block[65536];
    oto_media_options o;
    oto_media *m = NULL;
    oto_err e = {0};
    size_t got = 1;
    int rc;

    (void)state;
    oto_media_defaults(&o);
    o.raw_pcm = true;
    o.raw_rate_hz = 192000; /* the work is the child's: little comes out */
    o.cpu_seconds = 1;
    alarm(300);
    rc = oto_media_open("/dev/zero", &o, &m, &e);
    while (rc == 0 && got > 0)
        rc = oto_media_read(m, block, OTO_COUNT(block), &got, &e);
    assert_int_equal(rc, OTO_E_LIMIT);
    assert_string_equal(e.text, "/dev/zero: the decoder used up its 1 s of processor time");
    /* The same again, should somebody ask. */
    assert_int_equal(oto_media_read(m, block, 1, &got, NULL), OTO_E_LIMIT);
    oto_media_close(m);
    alarm(0);
}

static void memory_is_limited(void **state)
{
    oto_media_options o;
    heard h;

    (void)state;
    if (INSTRUMENTED)
        skip();
    oto_media_defaults(&o);
    o.address_space_bytes = 4096;
    malloc_trim(0); /* what the heap has in store costs no address space */
    h = hear_with(in_dir("ref.wav"), &o);
    assert_int_equal(h.rc, OTO_E_LIMIT);
    assert_non_null(strstr(h.e.text, "ref.wav: "));
    assert_non_null(strstr(h.e.text, "memory limit"));
}

/* ---- promises ---- */

static void nothing_is_left_behind(void **state)
{
    static const char *const names[] = {"ref.wav", "letter.txt", "nosuch.wav", "empty.wav",
                                        "p.png"};
    oto_media_options o;
    const int before = count_fds();

    (void)state;
    oto_media_defaults(&o);
    write_bytes("letter.txt", "Dear reader,\n", 13);
    write_bytes("empty.wav", "", 0);
    assert_true(run("ffmpeg -nostdin -v error -f lavfi -i color=s=64x64 -frames:v 1 p.png"));
    for (int i = 0; i < 50; i++) {
        oto_media *m = NULL;
        float some[100];
        size_t got;
        oto_err e;

        if (oto_media_open(in_dir(names[i % 5]), &o, &m, &e) == 0)
            assert_int_equal(oto_media_read(m, some, OTO_COUNT(some), &got, &e), 0);
        oto_media_close(m);
    }
    assert_int_equal(count_fds(), before);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), 0); /* the zygote lives; nothing is dead */
}

static void length_costs_no_memory(void **state)
{
    static float block[8192];
    size_t peak[2];
    oto_media_options o;

    (void)state;
    oto_media_defaults(&o);
    o.raw_pcm = true;
    /* Half a minute and an hour of nothing, as files with holes. */
    assert_true(run("truncate -s 1M short.raw && truncate -s 115M hour.raw"));
    for (int i = 0; i < 2; i++) {
        oto_media *m = NULL;
        size_t got = 1, total = 0, heap = 0;
        oto_err e;

        assert_int_equal(oto_media_open(in_dir(i == 0 ? "short.raw" : "hour.raw"), &o, &m, &e), 0);
        heap = mallinfo2().uordblks;
        while (got > 0) {
            assert_int_equal(oto_media_read(m, block, OTO_COUNT(block), &got, &e), 0);
            total += got;
        }
        assert_int_equal(mallinfo2().uordblks, heap);
        assert_int_equal(total, (i == 0 ? 1u : 115u) << 19);
        peak[i] = oto_media_peak_bytes(m);
        oto_media_close(m);
    }
    if (INSTRUMENTED)
        skip(); /* a sanitizer keeps what was freed */
    print_message("child's peak: %.1f MiB, an hour %.1f MiB\n", (double)peak[0] / (1 << 20),
                  (double)peak[1] / (1 << 20));
    assert_true(peak[1] < peak[0] + (2 << 20));
}

static const char *shared_path;

static void *hear_many(void *arg)
{
    bool *same = arg;

    *same = true;
    for (int i = 0; i < 4; i++) {
        heard h = hear(shared_path);

        *same = *same && h.rc == 0 && h.n == n_reference &&
                memcmp(h.pcm, reference, h.n * sizeof *h.pcm) == 0;
        forget(&h);
    }
    return NULL;
}

static void many_threads_at_once(void **state)
{
    pthread_t threads[4];
    bool same[4];

    (void)state;
    shared_path = in_dir("ref.wav");
    for (size_t i = 0; i < OTO_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hear_many, &same[i]), 0);
    for (size_t i = 0; i < OTO_COUNT(threads); i++) {
        pthread_join(threads[i], NULL);
        assert_true(same[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unreadable),
        cmocka_unit_test(long_names_keep_their_end),
        cmocka_unit_test(a_killed_child_is_an_error),
        cmocka_unit_test(closing_early_ends_the_child),
        cmocka_unit_test(a_killed_zygote_is_replaced),
        cmocka_unit_test(a_fork_has_its_own),
        cmocka_unit_test(the_child_dies_with_its_parent),
        cmocka_unit_test(a_pipe_that_does_not_block),
        cmocka_unit_test(processor_time_is_limited),
        cmocka_unit_test(memory_is_limited),
        cmocka_unit_test(nothing_is_left_behind),
        cmocka_unit_test(length_costs_no_memory),
        cmocka_unit_test(many_threads_at_once),
    };

    return have_ffmpeg() ? cmocka_run_group_tests(tests, set_up, tear_down) : 77;
}
