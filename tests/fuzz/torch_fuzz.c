/* The input is a FunASR folder: u8 flags, five u16 sizes, then am.mvn (flag 1), tokens.json (2),
 * a SentencePiece model (4), config.yaml (8) and seg_dict (16), and the rest is model.pt. */
#include "use_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    enum { N = 5 };
    static const char *const names[] = {"am.mvn", "tokens.json", "x.bpe.model", "config.yaml",
                                        "seg_dict"};
    oto_side_file side[N];
    size_t sizes[N], n_side = 0;
    void *held[N + 1];
    oto_reader r;
    oto_reader_init(&r, p, n);
    const uint8_t flags = oto_read_u8(&r);
    for (int i = 0; i < N; i++) {
        sizes[i] = oto_read_u16(&r);
    }
    if (r.bad) {
        return 0;
    }
    /* blocks of their own, so that reads beyond either end are seen */
    for (int i = 0; i <= N; i++) {
        const size_t left = oto_reader_left(&r), size = i < N ? OTO_MIN(sizes[i], left) : left;
        held[i] = malloc(size + 1);
        MUST(held[i]);
        memcpy((char *)held[i] + 1, oto_read_bytes(&r, size), size);
        const oto_slice s = {(char *)held[i] + 1, size};
        if (i == N) {
            fuzz_parse(&oto_format_torch, s, side, n_side);
        } else if (flags >> i & 1) {
            side[n_side++] = (oto_side_file){names[i], s};
        }
    }
    for (int i = 0; i <= N; i++) {
        free(held[i]);
    }
    return 0;
}
