/* kernels_test.c with the AVX-512 table on any x86-64: its instructions are those of
 * emulated/immintrin.h, and the choice of tables takes them for the CPU's. Not so the table that
 * adds BF16, whose functions the compiler may give real instructions. */
#include <string.h>

#define __builtin_cpu_supports(f)                                                                  \
    ((strncmp(f, "avx512", 6) == 0 && strcmp(f, "avx512bf16") != 0) || __builtin_cpu_supports(f))
#include "kernels/cpu.c"
