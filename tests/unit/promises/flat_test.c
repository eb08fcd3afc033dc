/* Promise: memory is taken when a recogniser is made. The second job calls the allocator 0 times in
 * this process, and no job after it makes the process larger.
 *
 * The allocator is watched by standing in its place: this program's malloc is the one that every
 * library in it calls, too. */
#include "kernels/kernels.h"
#include "recogniser/recogniser.h"

#include "unit/models/seeded.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <cmocka.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WATCHED false /* the sanitizer stands there already */
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define WATCHED false
#endif
#endif
#ifndef WATCHED
#define WATCHED true
#endif

static volatile bool watching;
static volatile int calls;
static void *volatile where[16];

static __attribute__((unused)) void seen(void *from)
{
    if (!watching)
        return;
    if (calls < (int)OTO_COUNT(where))
        where[calls] = from;
    calls++;
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define PUBLIC __attribute__((visibility("default")))
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t alignment, size_t n);
extern void __libc_free(void *p);

PUBLIC void *malloc(size_t n)
{
    seen(__builtin_return_address(0));
    return __libc_malloc(n);
}

PUBLIC void *calloc(size_t n, size_t size)
{
    seen(__builtin_return_address(0));
    return __libc_calloc(n, size);
}

PUBLIC void *realloc(void *p, size_t n)
{
    seen(__builtin_return_address(0));
    return __libc_realloc(p, n);
}

PUBLIC void free(void *p)
{
    if (p != NULL)
        seen(__builtin_return_address(0));
    __libc_free(p);
}

PUBLIC void *aligned_alloc(size_t alignment, size_t n)
{
    seen(__builtin_return_address(0));
    return __libc_memalign(alignment, n);
}

PUBLIC int posix_memalign(void **p, size_t alignment, size_t n)
{
    seen(__builtin_return_address(0));
    *p = __libc_memalign(alignment, n);
    return *p != NULL ? 0 : ENOMEM;
}

#if defined(__LP64__) /* the offset is one word there */
PUBLIC void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
    seen(__builtin_return_address(0));
    return (void *)syscall(SYS_mmap, at, n, prot, flags, fd, offset);
}
#endif
#endif

/* ---- jobs ---- */

static oto_model *asr, *vad;
static oto_recogniser *recogniser;
static char path[1024];
static int segments;

static const char *under(char *out, size_t n, const char *variable, const char *fallback,
                         const char *name)
{
    const char *root = getenv(variable);

    snprintf(out, n, "%s/%s", root != NULL ? root : fallback, name);
    return out;
}

static int prepare(void **state)
{
    char a[1024], v[1024];
    oto_recogniser_options o = {.threads = 2, .batch = 2};
    oto_err e = {0};

    (void)state;
    if (oto_cpu_init(&e) != 0)
        fail_msg("%s", e.text);
    under(a, sizeof a, "OTO_TEST_MODELS", "models", "whisper-tiny.en/source");
    under(v, sizeof v, "OTO_TEST_MODELS", "models", "fsmn-vad/source");
    under(path, sizeof path, "OTO_TEST_DATA", "build/testdata", "en20.wav");
    if (access(a, R_OK) != 0 || access(v, R_OK) != 0 || access(path, R_OK) != 0) {
        print_message("skipped: needs %s, %s and %s\n", a, v, path);
        return 0;
    }
    if (oto_model_open(a, OTO_COMPUTE_I8, &asr, &e) != 0 ||
        oto_model_open(v, OTO_COMPUTE_F32, &vad, &e) != 0)
        fail_msg("%s", e.text);
    o.asr = asr;
    o.vad = vad;
    if (oto_recogniser_new(&o, &recogniser, &e) != 0)
        fail_msg("%s", e.text);
    return 0;
}

static int release(void **state)
{
    (void)state;
    oto_recogniser_free(recogniser);
    oto_model_close(asr);
    oto_model_close(vad);
    return 0;
}

static int count(void *arg, const oto_segment *s)
{
    (void)arg, (void)s;
    segments++;
    return 0;
}

static void job(bool words)
{
    oto_job_options o;
    oto_job_result result;
    oto_err e = {0};

    oto_job_defaults(&o);
    o.asr.words = words;
    o.on_segment = count;
    segments = 0;
    if (oto_recogniser_run(recogniser, path, &o, &result, &e) != 0)
        fail_msg("%s", e.text);
    assert_true(segments > 0);
}

static void test_allocator_is_left_alone(void **state)
{
    (void)state;
    if (!WATCHED || recogniser == NULL)
        skip();
    for (int words = 0; words < 2; words++) {
        job(words);
        calls = 0;
        watching = true;
        job(words);
        watching = false;
        for (int i = 0; i < calls && i < (int)OTO_COUNT(where); i++)
            print_message("allocator called from %p\n", where[i]);
        assert_int_equal(calls, 0);
    }
}

static oto_model *open_seeded(char *file, bool (*write)(const char *file))
{
    const int fd = mkstemp(file);
    oto_model *m;
    oto_err e = {0};

    assert_true(fd >= 0);
    close(fd);
    assert_true(write(file));
    if (oto_model_open(file, OTO_COMPUTE_I8, &m, &e) != 0)
        fail_msg("%s", e.text);
    unlink(file);
    return m;
}

static bool write_recogniser(const char *file)
{
    return seeded_paraformer(file, (seeded_size){.n_enc = 3, .n_dec = 2, .n_vocab = 500});
}

static bool write_punctuation(const char *file)
{
    return seeded_ct(file, 4, NULL, 1000);
}

/* Paraformer, its pieces put together and punctuated. */
static void test_punctuation_leaves_it_alone_too(void **state)
{
    char a[] = "/tmp/oto-asr-XXXXXX", p[] = "/tmp/oto-punc-XXXXXX";
    oto_recogniser_options o = {.threads = 2, .batch = 2, .vad = vad};
    oto_recogniser *other = recogniser;
    oto_model *seeded_asr, *punc;
    oto_err e = {0};

    (void)state;
    if (!WATCHED || recogniser == NULL)
        skip();
    o.asr = seeded_asr = open_seeded(a, write_recogniser);
    o.punc = punc = open_seeded(p, write_punctuation);
    if (oto_recogniser_new(&o, &recogniser, &e) != 0)
        fail_msg("%s", e.text);
    job(true);
    calls = 0;
    watching = true;
    job(true);
    watching = false;
    for (int i = 0; i < calls && i < (int)OTO_COUNT(where); i++)
        print_message("allocator called from %p\n", where[i]);
    oto_recogniser_free(recogniser);
    recogniser = other;
    oto_model_close(punc);
    oto_model_close(seeded_asr);
    assert_int_equal(calls, 0);
}

static void test_no_growth(void **state)
{
    size_t before;

    (void)state;
    if (!WATCHED || recogniser == NULL)
        skip();
    job(false);
    before = oto_rss_bytes();
    for (int i = 0; i < 5; i++)
        job(false);
    assert_true(oto_rss_bytes() <= before + (128 << 10));
}

/* Paraformer with finer times and hot words: a list is embedded, two take turns, and one is left
 * out again, all in memory that was taken before. */
static void test_hot_words(void **state)
{
    const char *const lists[] = {"\xe4\xb8\x83\xe4\xb8\x87", "\xe4\xb8\x88, word", NULL};
    char file[] = "/tmp/oto-flat-XXXXXX";
    static float pcm[16000];
    const oto_asr_window w = {pcm, 16000, true};
    oto_asr_options o;
    oto_asr_result r;
    oto_arena *a, *results;
    oto_pool *pool;
    oto_model *m;
    oto_asr *s;
    oto_err e = {0};

    (void)state;
    if (!WATCHED)
        skip();
    close(mkstemp(file));
    assert_true(seeded_paraformer(
        file, (seeded_size){
                  .n_enc = 2, .n_dec = 1, .n_vocab = 50, .times = true, .n_hot = 2, .no_bias = 7}));
    if (oto_cpu_init(&e) != 0 || oto_model_open(file, OTO_COMPUTE_I8, &m, &e) != 0)
        fail_msg("%s", e.text);
    unlink(file);
    seeded_signal(pcm, 16000);
    oto_asr_defaults(&o);
    assert_int_equal(oto_pool_new(2, OTO_POOL_SCRATCH_BYTES, &pool, &e), 0);
    assert_int_equal(oto_arena_new("state", oto_asr_bytes(m, 2, 1), &a, &e), 0);
    assert_int_equal(oto_arena_new("results", (size_t)16 << 20, &results, &e), 0);
    assert_int_equal(oto_asr_new(m, 2, 1, pool, a, &s, &e), 0);
    assert_int_equal(oto_asr_run(s, &o, &w, 1, results, &r, &e), 0);
    calls = 0;
    watching = true;
    for (int i = 0; i < 9 && calls == 0 && e.code == 0; i++) {
        oto_arena_reset(results);
        o.hotwords = lists[i % 3];
        if (oto_asr_run(s, &o, &w, 1, results, &r, &e) != 0)
            break;
    }
    watching = false;
    assert_int_equal(e.code, 0);
    assert_int_equal(calls, 0);
    oto_arena_free(results);
    oto_arena_free(a);
    oto_pool_free(pool);
    oto_model_close(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_allocator_is_left_alone),
        cmocka_unit_test(test_punctuation_leaves_it_alone_too),
        cmocka_unit_test(test_no_growth),
        cmocka_unit_test(test_hot_words),
    };

    return cmocka_run_group_tests(tests, prepare, release);
}
