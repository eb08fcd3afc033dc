/* The parent's side: a child that is killed, left or kept waiting, the limits it runs under, and
 * that nothing is left behind. */
#include "media/media.c"
#define start  start_zygote
#define forget forget_children
#define run    run_zygote
#include "media/zygote.c"
#undef start
#undef forget
#undef run

#include <dirent.h>
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

/* Children of this process, alive or dead and not waited for, by /proc. */
static int count_children(void)
{
    DIR *all = opendir("/proc");
    int n = 0;

    assert_non_null(all);
    for (const struct dirent *d; (d = readdir(all)) != NULL;) {
        char path[64], stat[200];
        const char *end_of_name;
        FILE *f;
        int parent;

        snprintf(path, sizeof path, "/proc/%.20s/stat", d->d_name);
        if (d->d_name[0] < '1' || d->d_name[0] > '9' || (f = fopen(path, "r")) == NULL)
            continue;
        if (fgets(stat, sizeof stat, f) != NULL && (end_of_name = strrchr(stat, ')')) != NULL &&
            sscanf(end_of_name, ") %*c %d", &parent) == 1)
            n += parent == (int)getpid();
        fclose(f);
    }
    closedir(all);
    return n;
}

static bool soon(bool (*is)(void))
{
    for (int i = 0; i < 1000; i++) {
        if (is())
            return true;
        usleep(10000);
    }
    return false;
}

static bool holder_is_gone(void)
{
    bool gone;

    pthread_mutex_lock(&us.lock);
    gone = us.holder == 0;
    pthread_mutex_unlock(&us.lock);
    return gone;
}

static void assert_hears(void)
{
    heard h = hear(in_dir("ref.wav"));

    assert_int_equal(h.rc, 0);
    assert_int_equal(h.n, n_reference);
    assert_memory_equal(h.pcm, reference, h.n * sizeof *h.pcm);
    forget(&h);
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
    assert_int_equal(count_children(), 2);
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
    const pid_t first = us.pid, holder = us.holder;

    (void)state;
    alarm(60);
    assert_true(first > 0 && holder > 0);
    assert_int_equal(kill(first, SIGKILL), 0);
    assert_hears(); /* the holder is enough */
    assert_int_equal(us.holder, holder);
    assert_int_equal(kill(holder, SIGKILL), 0);
    assert_true(soon(holder_is_gone));
    close(writer);
    drain_media(m, &h);
    assert_int_equal(h.rc, 0);
    forget(&h);
    assert_hears();
    assert_int_not_equal(us.pid, first);
    assert_int_equal(count_children(), 2);
    alarm(0);
}

static void a_killed_holder_is_replaced(void **state)
{
    heard h = {0};
    int writer;
    oto_media *m = open_live(&writer);
    const pid_t zygote_pid = us.pid;

    (void)state;
    alarm(60);
    /* During a job and between jobs; the next one may come before the death is noticed. */
    for (int i = 0; i < 20; i++) {
        pid_t holder;

        pthread_mutex_lock(&us.lock);
        holder = us.holder;
        pthread_mutex_unlock(&us.lock);
        if (holder > 0)
            assert_int_equal(kill(holder, SIGKILL), 0);
        if (i % 2 == 0)
            assert_true(soon(holder_is_gone));
        h = hear(in_dir("ref.wav"));
        if (h.rc != 0) { /* the request was in its hands */
            assert_int_equal(h.rc, OTO_E_UNAVAILABLE);
            assert_non_null(strstr(h.e.text, "ref.wav: the decoder was killed"));
        }
        forget(&h);
        assert_hears();
    }
    assert_int_equal(us.pid, zygote_pid);
    close(writer);
    h = (heard){0};
    drain_media(m, &h);
    assert_int_equal(h.rc, 0);
    forget(&h);
    assert_int_equal(count_children(), 2);
    alarm(0);
}

/* None of the three may keep a thread waiting for ever, stopped though it is. */
static void who_is_stopped_is_not_waited_for(void **state)
{
    static float block[8192];
    oto_media *m = NULL;
    oto_media_options o;
    size_t got = 1;
    oto_err e;
    heard h;
    int rc = 0;

    (void)state;
    alarm(120);
    answer_after_ms = 3000;
    look_after_ms = 500;
    oto_media_defaults(&o);
    o.raw_pcm = true;
    assert_true(run("truncate -s 20M stopped.raw"));
    assert_int_equal(oto_media_open(in_dir("stopped.raw"), &o, &m, &e), 0);
    assert_int_equal(kill(m->pid, SIGSTOP), 0);
    while (rc == 0 && got > 0)
        rc = oto_media_read(m, block, OTO_COUNT(block), &got, &e);
    assert_int_equal(rc, OTO_E_UNAVAILABLE);
    assert_non_null(strstr(e.text, "stopped.raw: the decoder hung"));
    oto_media_close(m);

    assert_true(us.holder > 0);
    assert_int_equal(kill(us.holder, SIGSTOP), 0);
    assert_hears(); /* from its successor */

    assert_int_equal(kill(us.holder, SIGKILL), 0);
    assert_true(soon(holder_is_gone));
    assert_int_equal(kill(us.pid, SIGSTOP), 0);
    h = hear(in_dir("ref.wav"));
    assert_int_equal(h.rc, OTO_E_UNAVAILABLE);
    forget(&h);
    assert_hears();
    assert_int_equal(count_children(), 2);
    answer_after_ms = look_after_ms = 30000;
    alarm(0);
}

/* A holder that takes a request and dies: said at once, and not tried on the same descriptors. */
static void a_taken_request_is_not_made_twice(void **state)
{
    _Atomic uint32_t taken = 0;
    request r = {.serial = 7}, got;
    int ends[2], fds[MAX_FDS], pipe_ends[2], n;
    zygote z;
    answer a;

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(pipe2(pipe_ends, O_CLOEXEC), 0);
    z = (zygote){.socket = ends[1], .taken = &taken};
    assert_false(is_waiting(&z));
    assert_int_equal(send_request(ends[0], &r, (int[]){pipe_ends[0], pipe_ends[1], 2}, 3), 0);
    assert_true(is_waiting(&z));
    n = receive_request(ends[1], &got, fds);
    assert_int_equal(n, 3);
    assert_int_equal(got.serial, 7);
    for (int i = 0; i < n; i++)
        close(fds[i]);
    assert_false(is_waiting(&z));
    /* One nobody took is refused with its own number. */
    r.serial = 8;
    assert_int_equal(send_request(ends[0], &r, (int[]){pipe_ends[0], pipe_ends[1], 2}, 3), 0);
    refuse_next(&z, 0, EAGAIN);
    assert_int_equal(recv(ends[0], &a, sizeof a, 0), sizeof a);
    assert_int_equal(a.serial, 8);
    assert_int_equal(a.pid, -1);
    assert_int_equal(a.error, EAGAIN);
    close(ends[0]);
    close(ends[1]);
    close(pipe_ends[0]);
    close(pipe_ends[1]);

    /* The program's side: a holder that reads and is no more. */
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    end();
    us.socket = ends[0];
    us.program = getpid();
    us.pid = fork();
    if (us.pid == 0) {
        close(ends[0]);
        n = receive_request(ends[1], &got, fds);
        _exit(0);
    }
    close(ends[1]);
    {
        heard h = hear(in_dir("ref.wav"));

        assert_int_equal(h.rc, OTO_E_UNAVAILABLE);
        assert_non_null(strstr(h.e.text, "ref.wav: the decoder was killed"));
        forget(&h);
    }
    assert_hears();
}

static void at_rest_nobody_holds_libav(void **state)
{
    const int before = rest_after_ms;
    pid_t zygote_pid, holder;
    char path[64], name[32] = "";
    FILE *f;

    (void)state;
    alarm(120);
    pthread_mutex_lock(&us.lock);
    end();
    pthread_mutex_unlock(&us.lock);
    assert_true(soon(holder_is_gone));
    rest_after_ms = 100;
    assert_int_equal(oto_media_prepare(NULL), 0);
    zygote_pid = us.pid;
    assert_int_equal(count_children(), 1); /* no holder before there is work */
    for (int i = 0; i < 3; i++) {
        int writer;
        oto_media *m = open_live(&writer);

        holder = us.holder;
        assert_true(holder > 0);
        usleep(350000);
        assert_int_equal(us.holder, holder); /* not while a child is alive */
        close(writer);
        oto_media_close(m);
        assert_true(soon(holder_is_gone));
        assert_int_equal(kill(holder, 0), -1); /* not even a zombie */
        assert_int_equal(count_children(), 1);
        assert_int_equal(us.pid, zygote_pid);
    }
    /* Requests that come while it goes to rest. */
    for (int i = 0; i < 10; i++) {
        assert_hears();
        usleep(95000 + (useconds_t)i * 1000);
    }
    snprintf(path, sizeof path, "/proc/%d/comm", (int)zygote_pid);
    f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(name, sizeof name, f));
    fclose(f);
    assert_string_equal(name, "oto-zygote\n");
    rest_after_ms = before;
    end();
    alarm(0);
}

static bool holds(pid_t pid, const char *what)
{
    char path[64], to[300];
    bool found = false;

    for (int fd = 0; fd < 256 && !found; fd++) {
        ssize_t n;

        snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
        if ((n = readlink(path, to, sizeof to - 1)) < 0)
            continue;
        to[n] = '\0';
        found = strcmp(to, what) == 0;
    }
    return found;
}

/* Neither keeps a pipe or terminal of the program open. */
static void the_zygote_holds_no_descriptors(void **state)
{
    char path[64], name[300] = "";
    int ends[2];
    const int saved = dup(STDIN_FILENO);

    (void)state;
    assert_int_equal(pipe(ends), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", ends[0]);
    assert_true(readlink(path, name, sizeof name - 1) > 0);
    assert_true(holds(getpid(), name));
    dup2(ends[0], STDIN_FILENO);
    pthread_mutex_lock(&us.lock);
    end();
    pthread_mutex_unlock(&us.lock);
    assert_hears();
    dup2(saved, STDIN_FILENO);
    assert_false(holds(us.pid, name));
    assert_false(holds(us.holder, name));
    assert_true(holds(us.holder, "/dev/null"));
    close(saved);
    close(ends[0]);
    close(ends[1]);
}

static void probing(void **state)
{
    oto_media_options o;
    oto_media_info info;
    oto_err e = {0};

    (void)state;
    oto_media_defaults(&o);
    assert_int_equal(oto_media_probe(in_dir("ref.wav"), &o, &info, &e), 0);
    assert_string_equal(info.container, "wav");
    assert_int_equal(info.duration_ms, n_reference * 1000 / OTO_SAMPLE_RATE);
    write_bytes("letter.txt", "Dear reader,\n", 13);
    assert_int_equal(oto_media_probe(in_dir("letter.txt"), &o, &info, &e), OTO_E_NO_AUDIO);
    assert_int_equal(oto_media_probe(in_dir("nosuch.wav"), &o, &info, &e), OTO_E_NOT_FOUND);
    assert_int_equal(count_children(), 2);
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
    pthread_t threads[8];
    bool same[8];

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
        cmocka_unit_test(a_killed_holder_is_replaced),
        cmocka_unit_test(who_is_stopped_is_not_waited_for),
        cmocka_unit_test(a_taken_request_is_not_made_twice),
        cmocka_unit_test(at_rest_nobody_holds_libav),
        cmocka_unit_test(the_zygote_holds_no_descriptors),
        cmocka_unit_test(probing),
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
