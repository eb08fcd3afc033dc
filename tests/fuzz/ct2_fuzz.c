/* The input is a CTranslate2 folder: u8 flags (1: there is a config.json, 2: a vocabulary, 4: it is
 * text), u16 bytes of config.json, u16 bytes of the vocabulary, both, and the rest is model.bin. */
#include "use_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    oto_reader r;
    oto_reader_init(&r, p, n);
    uint8_t flags = oto_read_u8(&r);
    size_t config = oto_read_u16(&r), vocabulary = oto_read_u16(&r);
    if (r.bad) {
        return 0;
    }
    config = OTO_MIN(config, oto_reader_left(&r));
    const char *config_p = (const char *)oto_read_bytes(&r, config);
    vocabulary = OTO_MIN(vocabulary, oto_reader_left(&r));
    const char *vocabulary_p = (const char *)oto_read_bytes(&r, vocabulary);
    size_t rest = oto_reader_left(&r);
    oto_side_file side[2];
    size_t n_side = 0;
    if (flags & 1) {
        side[n_side++] = (oto_side_file){"config.json", {config_p, config}};
    }
    if (flags & 2) {
        side[n_side++] = (oto_side_file){flags & 4 ? "vocabulary.txt" : "vocabulary.json",
                                         {vocabulary_p, vocabulary}};
    }
    /* its own block, so that a read before its beginning is seen */
    char *main = malloc(rest + 1);
    MUST(main);
    memcpy(main, oto_read_bytes(&r, rest), rest);
    fuzz_parse(&oto_format_ct2, (oto_slice){main, rest}, side, n_side);
    free(main);
    return 0;
}
