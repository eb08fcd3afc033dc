/* kernels_test.c with the tables of AVX-512, AMX and AVX-VNNI on any x86-64 with AVX2: their
 * instructions are those of emulated/immintrin.h, and the choice of tables takes them for the
 * CPU's. */
#include <string.h>

#define __builtin_cpu_supports(f) (strncmp(f, "avx512", 6) == 0 || __builtin_cpu_supports(f))
#include "kernels/cpu.c"
