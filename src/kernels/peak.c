/* What this machine could do at most: the dot-product instruction of the current table, on
 * registers alone, in enough independent chains to hide its latency. Products are measured against
 * it.
 *
 * The functions carry their instruction set as an attribute, for they share a file; each is called
 * only when its table was chosen, which the CPU has been asked for. */
#include "kernels/kernels_impl.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#define CHAINS 12
#define ROUNDS 20000 /* of a task: some 100 µs */

/* Does ROUNDS × CHAINS instructions. */
typedef struct {
    void (*run)(void);
    int ops; /* multiplications and additions of one instruction */
} loop;

/* The compiler must neither fold the chains nor keep them in memory: each value passes through a
 * register that it knows nothing about, and all loops over them are unrolled. */
#define CHAINS_OF(type, zero, instruction, reg)                                                    \
    do {                                                                                           \
        type acc[CHAINS];                                                                          \
        _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++)                                  \
        {                                                                                          \
            acc[i] = zero;                                                                         \
        }                                                                                          \
        for (int r = 0; r < ROUNDS; r++) {                                                         \
            _Pragma("GCC unroll 12") for (int i = 0; i < CHAINS; i++)                              \
            {                                                                                      \
                acc[i] = instruction;                                                              \
                __asm__ volatile("" : "+" reg(acc[i]));                                            \
            }                                                                                      \
        }                                                                                          \
    } while (0)

#if defined(__x86_64__)

__attribute__((target("avx512f"))) static void f32_avx512(void)
{
    const __m512 a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(0.25f);
    CHAINS_OF(__m512, _mm512_setzero_ps(), _mm512_fmadd_ps(a, b, acc[i]), "v");
}

__attribute__((target("avx512f,avx512vnni"))) static void i8_avx512(void)
{
    const __m512i a = _mm512_set1_epi8(3), b = _mm512_set1_epi8(2);
    CHAINS_OF(__m512i, _mm512_setzero_si512(), _mm512_dpbusd_epi32(acc[i], a, b), "v");
}

__attribute__((target("avx512f,avx512bf16"))) static void bf16_avx512(void)
{
    const __m512i one = _mm512_set1_epi16(0x3F80);
    const __m512bh a = (__m512bh)one;
    CHAINS_OF(__m512, _mm512_setzero_ps(), _mm512_dpbf16_ps(acc[i], a, a), "v");
}

/* As many operations as CHAINS × ROUNDS instructions of 128: a tile's product is 256 of them. */
static void i8_amx(void)
{
    oto_amx_multiply(ROUNDS * CHAINS / 256 / 4);
}

__attribute__((target("avx2,fma"))) static void f32_avx2(void)
{
    const __m256 a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(0.25f);
    CHAINS_OF(__m256, _mm256_setzero_ps(), _mm256_fmadd_ps(a, b, acc[i]), "x");
}

__attribute__((target("avx2,avxvnni"))) static void i8_avxvnni(void)
{
    const __m256i a = _mm256_set1_epi8(3), b = _mm256_set1_epi8(2);
    CHAINS_OF(__m256i, _mm256_setzero_si256(), _mm256_dpbusd_avx_epi32(acc[i], a, b), "x");
}

/* AVX2 has no dot product of bytes: widened pairs are multiplied and added. A factor that the
 * compiler knows nothing about: a product of constants would be made once, before the loop. */
__attribute__((target("avx2"))) static void i8_avx2(void)
{
    const __m256i b = _mm256_set1_epi16(2);
    __m256i a = _mm256_set1_epi16(3);
    CHAINS_OF(__m256i, _mm256_setzero_si256(), (__extension__({
                  __asm__ volatile("" : "+x"(a));
                  _mm256_add_epi32(acc[i], _mm256_madd_epi16(a, b));
              })),
              "x");
}

#elif defined(__aarch64__)

static void f32_neon(void)
{
    const float32x4_t a = vdupq_n_f32(0.5f);
    CHAINS_OF(float32x4_t, vdupq_n_f32(0), vfmaq_f32(acc[i], a, a), "w");
}

/* Compilers agree neither on the attribute nor on when they have the intrinsic. */
#if defined(__clang__)
#define DOTPROD __attribute__((target("dotprod")))
#else
#define DOTPROD __attribute__((target("arch=armv8.2-a+dotprod")))
#endif
DOTPROD static void i8_neon(void)
{
    const int8x16_t a = vdupq_n_s8(3);
    CHAINS_OF(int32x4_t, vdupq_n_s32(0), (__extension__({
                  __asm__("sdot %0.4s, %1.16b, %1.16b" : "+w"(acc[i]) : "w"(a));
                  acc[i];
              })),
              "w");
}

#endif

/* What a compiler makes of plain C, a register of four floats everywhere otolith runs. */
typedef float four __attribute__((vector_size(16)));

static void f32_plain(void)
{
    four a = {0.5f, 0.5f, 0.5f, 0.5f}, zero = {0};
#if defined(__x86_64__)
    CHAINS_OF(four, zero, acc[i] + a * a, "x");
#elif defined(__aarch64__)
    CHAINS_OF(four, zero, acc[i] + a * a, "w");
#else
    CHAINS_OF(four, zero, acc[i] + a * a, "m");
#endif
}

static loop choose(oto_dtype type)
{
    const char *table = oto_cpu_table();
#if defined(__x86_64__)
    bool amx = strcmp(table, "amx") == 0, wide = amx || strncmp(table, "avx512", 6) == 0;
    if (type == OTO_BF16 && strcmp(table, "avx512bf16") == 0)
        return (loop){bf16_avx512, 64};
    if (type == OTO_I8 && amx)
        return (loop){i8_amx, 128};
    if (type == OTO_I8 && wide)
        return (loop){i8_avx512, 128};
    if (wide)
        return (loop){f32_avx512, 32};
    if (type == OTO_I8 && strcmp(table, "avxvnni") == 0)
        return (loop){i8_avxvnni, 64};
    if (type == OTO_I8 && strcmp(table, "avx2") == 0)
        return (loop){i8_avx2, 32};
    if (strncmp(table, "avx", 3) == 0)
        return (loop){f32_avx2, 16};
#elif defined(__aarch64__)
    if (type == OTO_I8 && strcmp(table, "neon") == 0)
        return (loop){i8_neon, 32};
    if (strcmp(table, "neon") == 0)
        return (loop){f32_neon, 8};
#endif
    (void)type, (void)table;
    return (loop){f32_plain, 8};
}

static void peak_task(void *arg, int task, int thread)
{
    const loop *l = arg;
    (void)task, (void)thread;
    l->run();
}

double oto_peak_gops(oto_pool *pool, oto_dtype type, double seconds)
{
    loop l = choose(type);
    double best = 0, until = oto_now_s() + seconds;

    do {
        int tasks = 16 * oto_pool_threads(pool);
        double t0 = oto_now_s();
        oto_pool_run(pool, tasks, peak_task, &l);
        double s = oto_now_s() - t0;
        best = OTO_MAX(best, 1e-9 * tasks * ROUNDS * CHAINS * l.ops / s);
    } while (oto_now_s() < until);
    return best;
}

/* ---- memory ---- */

#define CHUNK ((size_t)4 << 20)

typedef struct {
    const char *p;
    uint64_t *sums; /* of each task: so that nothing is left out as unused */
} reading;

static void read_task(void *arg, int task, int thread)
{
    const reading *r = arg;
    const uint64_t *p = (const uint64_t *)(const void *)(r->p + CHUNK * (size_t)task);
    uint64_t sum = 0;

    (void)thread;
    for (size_t i = 0; i < CHUNK / sizeof *p; i++)
        sum += p[i];
    r->sums[task] = sum;
}

int oto_peak_memory_gbs(oto_pool *pool, double *out, oto_err *e)
{
    const long cache = sysconf(_SC_LEVEL3_CACHE_SIZE);
    const size_t wish = OTO_MAX(cache > 0 ? 2 * (size_t)cache : 0, (size_t)256 << 20);
    const size_t bytes = OTO_MAX(OTO_MIN(wish, oto_memory_limit_bytes() / 8), CHUNK);
    const int n = (int)(bytes / CHUNK);
    uint64_t *sums = calloc((size_t)n, sizeof *sums);
    char *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    double best = 0;
    int rc = 0;

    if (sums == NULL || p == MAP_FAILED) {
        rc = oto_fail(e, OTO_E_LIMIT, "no memory to measure memory with");
    } else {
        memset(p, 1, bytes);
        for (int i = 0; i < 4; i++) {
            const double t0 = oto_now_s();

            oto_pool_run(pool, n, read_task, &(reading){p, sums});
            best = OTO_MAX(best, 1e-9 * (double)CHUNK * n / (oto_now_s() - t0));
        }
        *out = best;
    }
    if (p != MAP_FAILED)
        munmap(p, bytes);
    free(sums);
    return rc;
}
