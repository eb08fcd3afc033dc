/* The input is a GGUF file. */
#include "use_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    fuzz_parse(&oto_format_gguf, (oto_slice){(const char *)p, n}, NULL, 0);
    return 0;
}
