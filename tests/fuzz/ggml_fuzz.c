/* The input is a whisper.cpp ggml file. */
#include "use_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    fuzz_parse(&oto_format_ggml, (oto_slice){(const char *)p, n}, NULL, 0);
    return 0;
}
