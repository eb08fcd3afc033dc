/* whisper.cpp's ggml file, read in place.
 *
 *   u32 magic 0x67676d6c
 *   11 × i32  n_vocab n_audio_ctx n_audio_state n_audio_head n_audio_layer n_text_ctx n_text_state
 * n_text_head n_text_layer n_mels ftype i32 n_mel, i32 n_fft, f32 filters[n_mel][n_fft] skipped:
 * the front end makes its own i32 n_tokens, n × { u32 length, bytes } special tokens are not
 * stored; length 0 is legal until the end: { i32 rank, i32 name length, i32 type, i32 ne[rank]
 * (fastest first), name, data }    unaligned
 *
 * Each tensor's own type decides, not ftype. Convolution biases keep their stored shape [H][1]. */
#include "weights/formats.h"

#include <string.h>

#define MAGIC      0x67676d6cu
#define MAX_MELS   1024
#define MAX_FFT    65536
#define MAX_TOKENS 1000000

static const char *const header_keys[] = {
    "ggml.n_vocab",       "ggml.n_audio_ctx", "ggml.n_audio_state", "ggml.n_audio_head",
    "ggml.n_audio_layer", "ggml.n_text_ctx",  "ggml.n_text_state",  "ggml.n_text_head",
    "ggml.n_text_layer",  "ggml.n_mels",      "ggml.ftype"};

static bool ggml_matches(const uint8_t *p, size_t n, uint64_t file_bytes)
{
    (void)file_bytes;
    return n >= 4 && memcmp(p, "lmgg", 4) == 0;
}

static int truncated(const oto_weights *w, const oto_reader *r, const char *what, oto_err *e)
{
    return oto_weights_fail(w, e, OTO_E_INPUT,
                            "truncated: %s at offset %zu does not fit into %zu bytes", what, r->at,
                            r->n);
}

static int read_header(oto_weights *w, oto_reader *r, oto_err *e)
{
    if (oto_read_u32(r) != MAGIC) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "not a whisper.cpp ggml file");
    }
    for (size_t i = 0; i < OTO_COUNT(header_keys); i++) {
        uint32_t v = oto_read_u32(r);
        if (r->bad) {
            return truncated(w, r, "the header", e);
        }
        if (v > INT32_MAX) {
            return oto_weights_fail(w, e, OTO_E_INPUT, "the header's %s is negative",
                                    header_keys[i] + 5);
        }
        int rc = oto_weights_put_int(w, header_keys[i], v, e);
        if (rc) {
            return rc;
        }
    }
    uint32_t n_mel = oto_read_u32(r), n_fft = oto_read_u32(r);
    if (!r->bad && (n_mel > MAX_MELS || n_fft > MAX_FFT)) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "a mel filter bank of %u × %u", n_mel, n_fft);
    }
    return oto_read_bytes(r, (uint64_t)n_mel * n_fft * 4)
               ? 0
               : truncated(w, r, "the mel filter bank", e);
}

static int read_tokens(oto_weights *w, oto_reader *r, oto_err *e)
{
    uint32_t n = oto_read_u32(r);
    if (r->bad || n > oto_reader_left(r) / 4) {
        return truncated(w, r, "the list of tokens", e);
    }
    if (n > MAX_TOKENS) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "%u tokens", n);
    }
    oto_span32 *at;
    int rc = oto_arena_get(w->a, n, sizeof *at, &at, e);
    if (rc) {
        return rc;
    }
    size_t base = r->at;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t len = oto_read_u32(r);
        const uint8_t *p = oto_read_bytes(r, len);
        if (!p || r->at - base > UINT32_MAX) {
            return truncated(w, r, "the list of tokens", e);
        }
        at[i] = (oto_span32){(uint32_t)(r->at - len - base), len};
    }
    return oto_weights_put_strs(w, "tokenizer.tokens", w->main.p + base, at, n, e);
}

static int read_tensor(oto_weights *w, oto_reader *r, oto_err *e)
{
    size_t start = r->at;
    uint32_t rank = oto_read_u32(r), name_n = oto_read_u32(r), type = oto_read_u32(r);
    if (r->bad) {
        return truncated(w, r, "a tensor", e);
    }
    if (rank < 1 || rank > OTO_MAX_RANK) {
        return oto_weights_fail(w, e, OTO_E_INPUT, "the tensor at offset %zu has %u dimensions",
                                start, rank);
    }
    oto_tensor t = {.type = (oto_ttype)type, .rank = (int)rank};
    for (uint32_t i = 0; i < rank; i++) {
        t.dim[rank - 1 - i] =
            (int32_t)oto_read_u32(r); /* a negative one is refused with the size below */
    }
    t.name = (const char *)oto_read_bytes(r, name_n);
    if (!t.name) {
        return truncated(w, r, "a tensor's name", e);
    }
    int shown = (int)OTO_MIN(name_n, 80);
    if (!oto_ttype_name(t.type)) {
        return oto_weights_fail(w, e, OTO_E_UNSUPPORTED,
                                "tensor %.*s at offset %zu is of ggml type %u, which is not "
                                "supported",
                                shown, t.name, start, type);
    }
    if (!oto_ttype_bytes(t.type, t.rank, t.dim, &t.n_bytes)) {
        return oto_weights_fail(w, e, OTO_E_INPUT,
                                "tensor %.*s at offset %zu: its shape does not fit its type", shown,
                                t.name, start);
    }
    t.data = oto_read_bytes(r, t.n_bytes);
    if (!t.data) {
        return oto_weights_fail(
            w, e, OTO_E_INPUT,
            "truncated: tensor %.*s: %zu bytes at offset %zu do not fit into %zu bytes", shown,
            t.name, t.n_bytes, r->at, r->n);
    }
    return oto_weights_add(w, &t, name_n, e);
}

static int ggml_parse(oto_weights *w, oto_err *e)
{
    oto_reader r;
    oto_reader_init(&r, w->main.p, w->main.n);
    int rc = read_header(w, &r, e);
    rc = rc ? rc : read_tokens(w, &r, e);
    while (!rc && oto_reader_left(&r)) {
        rc = read_tensor(w, &r, e);
    }
    return rc;
}

const oto_format oto_format_ggml = {.name = "ggml", .matches = ggml_matches, .parse = ggml_parse};
