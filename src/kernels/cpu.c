/* Which table of kernels this CPU runs. */
#include "kernels/kernels_impl.h"

#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__aarch64__)
#include <sys/auxv.h>
#ifndef HWCAP_ASIMDDP
#define HWCAP_ASIMDDP (1 << 20)
#endif
#endif

static const oto_kernels *current;
static char features[256];

#if defined(__x86_64__)
/* The builtin also asks XGETBV, so that registers the system does not save are not reported. */
#define HAS(f) (__builtin_cpu_supports(f) != 0)

/* Not every Clang's builtin knows this one. It works on the registers of AVX. */
static bool has_f16c(void)
{
    unsigned a, b, c, d;

    return HAS("avx") && __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

static bool has_avx2(void)
{
    return HAS("avx2") && HAS("fma") && has_f16c();
}

static bool has_avxvnni(void)
{
    return has_avx2() && oto_avxvnni_usable();
}

static bool has_avx512(void)
{
    return has_avx2() && HAS("avx512f") && HAS("avx512bw") && HAS("avx512dq") && HAS("avx512vl") &&
           HAS("avx512vnni");
}

static bool has_avx512bf16(void)
{
    return has_avx512() && HAS("avx512bf16");
}

static bool has_amx(void)
{
    return has_avx512() && oto_amx_usable();
}

/* Intel's VDPBF16PS takes longer than the two multiply-adds that it stands for: on Sapphire Rapids
 * half as many operations a second as FMA. There the table is used only when it is asked for. */
static bool is_intel(void)
{
    return __builtin_cpu_is("intel") != 0;
}
#endif

#if defined(__aarch64__)
static bool has_neon(void)
{
    return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
}
#endif

static bool has_scalar(void)
{
    return true;
}

static const struct {
    const oto_kernels *table;
    bool (*supported)(void);
    bool (*slow)(void); /* is another table faster here? NULL: never */
} tables[] = {
#if defined(__x86_64__)
    {&oto_kernels_amx, has_amx, NULL},       {&oto_kernels_avx512bf16, has_avx512bf16, is_intel},
    {&oto_kernels_avx512, has_avx512, NULL}, {&oto_kernels_avxvnni, has_avxvnni, NULL},
    {&oto_kernels_avx2, has_avx2, NULL},
#endif
#if defined(__aarch64__)
    {&oto_kernels_neon, has_neon, NULL},
#endif
    {&oto_kernels_scalar, has_scalar, NULL},
};

const oto_kernels *oto_cpu_table_at(int i)
{
    for (size_t t = 0; t < OTO_COUNT(tables); t++)
        if (tables[t].supported() && i-- == 0)
            return tables[t].table;
    return NULL;
}

int oto_cpu_select(const char *name, oto_err *e)
{
    for (size_t t = 0; t < OTO_COUNT(tables); t++) {
        if (strcmp(tables[t].table->name, name) != 0)
            continue;
        if (!tables[t].supported())
            return oto_fail(e, OTO_E_UNSUPPORTED, "OTOLITH_CPU=%s: this CPU lacks it (it has: %s)",
                            name, oto_cpu_features());
        current = tables[t].table;
        return 0;
    }
    return oto_fail(e, OTO_E_USAGE,
                    "OTOLITH_CPU=%s: unknown; one of amx, avx512bf16, avx512, avxvnni, avx2, neon, "
                    "scalar",
                    name);
}

int oto_cpu_init(oto_err *e)
{
    if (current)
        return 0;
    const char *forced = getenv("OTOLITH_CPU");
    if (forced && *forced)
        return oto_cpu_select(forced, e);
    for (size_t t = 0; !current && t < OTO_COUNT(tables); t++)
        if (tables[t].supported() && !(tables[t].slow && tables[t].slow()))
            current = tables[t].table;
    return 0;
}

const oto_kernels *oto_k(void)
{
    return current;
}

const char *oto_cpu_table(void)
{
    return current ? current->name : "";
}

static void add_feature(const char *name, bool present)
{
    size_t n = strlen(features);
    if (present)
        snprintf(features + n, sizeof features - n, "%s%s", n ? " " : "", name);
}

const char *oto_cpu_features(void)
{
    if (features[0])
        return features;
#if defined(__x86_64__)
#define ADD(f) add_feature(f, HAS(f))
    ADD("sse4.2");
    ADD("avx");
    ADD("avx2");
    ADD("fma");
    add_feature("f16c", has_f16c());
    ADD("avx512f");
    ADD("avx512bw");
    ADD("avx512dq");
    ADD("avx512vl");
    ADD("avx512vnni");
    ADD("avx512bf16");
    add_feature("avxvnni", has_avxvnni());
#if defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 11
    ADD("amx-tile");
    ADD("amx-int8");
    ADD("amx-bf16");
#endif
#elif defined(__aarch64__)
    unsigned long caps = getauxval(AT_HWCAP);
    add_feature("asimd", (caps & (1 << 1)) != 0);
    add_feature("dotprod", (caps & HWCAP_ASIMDDP) != 0);
    add_feature("sve", (caps & (1 << 22)) != 0);
#endif
    add_feature("scalar", true);
    return features;
}
