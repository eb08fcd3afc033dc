/* The input is a folder: u8 flags, u16 bytes of a file beside the model (1: there is one, am.mvn;
 * 2: there is one, model_eb.onnx), that file, and the rest is model.onnx. */
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
    char *beside = malloc(text + 1);
    MUST(beside);
    memcpy(beside, oto_read_bytes(&r, text), text);
    size_t rest = oto_reader_left(&r);
    char *main = malloc(rest + 1);
    MUST(main);
    memcpy(main + 1, oto_read_bytes(&r, rest), rest);
    const oto_side_file side = {flags & 2 ? "model_eb.onnx" : "am.mvn", {beside, text}};
    fuzz_parse(&oto_format_onnx, (oto_slice){main + 1, rest}, &side, (flags & 3) != 0);
    free(main);
    free(beside);
    return 0;
}
