/* Bytes of a file as words: compared, and shown in messages. */
#include "weights/parts.h"

#include <string.h>

bool oto_slice_is(oto_slice s, const char *z)
{
    return s.n == strlen(z) && memcmp(s.p, z, s.n) == 0;
}

const char *oto_shown(oto_slice s, char out[64])
{
    const size_t n = OTO_MIN(s.n, (size_t)60);
    for (size_t i = 0; i < n; i++) {
        out[i] = (char)((uint8_t)s.p[i] < ' ' || s.p[i] == 0x7f ? '?' : s.p[i]);
    }
    out[n] = 0;
    return out;
}
