/* The input is an FSMN-VAD folder: u8 flags (1: there is an am.mvn), u16 bytes of am.mvn, am.mvn,
 * and the rest is model.onnx. */
#include "use_weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
    oto_reader r;
    oto_reader_init(&r, p, n);
    uint8_t flags = oto_read_u8(&r);
    size_t text = oto_read_u16(&r);
    if (r.bad) {
        return 0;
    }
    text = OTO_MIN(text, oto_reader_left(&r));
    /* blocks of their own, so that reads beyond either end are seen */
    char *mvn = malloc(text + 1);
    MUST(mvn);
    memcpy(mvn, oto_read_bytes(&r, text), text);
    size_t rest = oto_reader_left(&r);
    char *main = malloc(rest + 1);
    MUST(main);
    memcpy(main + 1, oto_read_bytes(&r, rest), rest);
    const oto_side_file side = {"am.mvn", {mvn, text}};
    fuzz_parse(&oto_format_onnx, (oto_slice){main + 1, rest}, &side, flags & 1);
    free(main);
    free(mvn);
    return 0;
}
