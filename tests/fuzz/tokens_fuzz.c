/* The input is a vocabulary and a text: u8 flags, u16 tokens, each u8 length and bytes; the rest is
 * the text. With flag 1 the 256 single bytes stand before the tokens, as in every real vocabulary;
 * with flag 2 the tokens are in printable form.
 *
 * What was encoded must decode to the same bytes. */
#include "text/text.h"

#include <stdlib.h>
#include <string.h>

#define MUST(x) ((x) ? (void)0 : abort())
#define MAX_IDS 4096

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static char singles[256];

/* Returns the number of tokens. */
static int read_tokens(oto_reader *r, oto_arena *a, int flags, oto_slice *out, int room)
{
    int n = 0, wanted = oto_read_u16(r);
    for (int i = 0; i < 256 && (flags & 1); i++) {
        singles[i] = (char)i;
        out[n++] = (oto_slice){&singles[i], 1};
    }
    for (int i = 0; i < wanted && n < room && !r->bad; i++) {
        size_t len = oto_read_u8(r);
        const uint8_t *q = oto_read_bytes(r, len);
        if (!q) {
            break;
        }
        out[n] = (oto_slice){(const char *)q, len};
        if ((flags & 2) && oto_tokens_unprintable(out[n], a, &out[n], NULL) != 0) {
            break;
        }
        n++;
    }
    return n;
}

static void round_trip(const oto_tokens *t, oto_arena *a, const char *text)
{
    static int32_t ids[MAX_IDS];
    int n = MAX_IDS;
    oto_err e = {0};
    int rc = oto_tokens_encode(t, text, ids, &n, &e);
    if (rc) {
        MUST(rc == OTO_E_LIMIT && n <= MAX_IDS && e.text[0]);
        return;
    }
    oto_str s;
    oto_str_init(&s, a);
    oto_tokens_decode(t, ids, n, &s);
    MUST(!s.failed && s.n == strlen(text) && memcmp(s.p, text, s.n) == 0);
    int room = n - 1; /* one too few is said, not overrun */
    MUST(n == 0 || oto_tokens_encode(t, text, ids, &room, NULL) == OTO_E_LIMIT);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    static oto_slice tokens[1024];
    oto_arena *a;
    oto_tokens *t;
    oto_reader r;
    MUST(oto_arena_new("fuzz", (size_t)1 << 20, &a, NULL) == 0);
    oto_reader_init(&r, p, n);
    int flags = oto_read_u8(&r);
    int n_tokens = read_tokens(&r, a, flags, tokens, (int)OTO_COUNT(tokens));
    if (oto_tokens_new(tokens, n_tokens, n_tokens - n_tokens / 8, &t, NULL) == 0) {
        size_t left = oto_reader_left(&r);
        const uint8_t *q = oto_read_bytes(&r, left);
        char *text = oto_arena_strdup(a, q ? (const char *)q : "", q ? left : 0);
        if (text) {
            round_trip(t, a, text);
        }
        int32_t odd[] = {-1, INT32_MAX, INT32_MIN, n_tokens, n_tokens - 1};
        oto_str s;
        oto_str_init(&s, a);
        oto_tokens_decode(t, odd, (int)OTO_COUNT(odd), &s);
        oto_tokens_free(t);
    }
    oto_arena_free(a);
    return 0;
}
