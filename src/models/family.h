/* family (private to models/): what a model family is, and how matrices get into and out of packed
 * GGUF files.
 *
 * A family is one folder with one `const oto_family`, and one line in the table of registry.c.
 * Every family has one packed form, a GGUF file whose "general.architecture" is the family's name
 * and whose "otolith.compute" is the precision ("f32", "bf16", "int8") and "otolith.version" the
 * layout's version. Foreign files are packed first: `pack` is the only code that knows them.
 */
#ifndef OTO_FAMILY_H
#define OTO_FAMILY_H

#include "base/base.h"
#include "kernels/kernels.h"
#include "models/models.h"
#include "weights/weights.h"

#define OTO_PACKED_VERSION 2

typedef struct {
    const char *name;
    oto_task task;
    /* Is this foreign file one of ours? */
    bool (*matches)(const oto_weights *src);
    /* Puts metadata and tensors of the packed form; what they borrow lives in `a` until the writer
     * is done. The three keys above are put by the caller. */
    int (*pack)(const oto_weights *src, oto_compute compute, oto_gguf_writer *dst, oto_arena *a,
                oto_err *e);
    /* Binds a packed file: checks every tensor's type and shape. The weights outlive the object.
     * Fills the rest of `info` (family, task, compute and bytes are set). */
    int (*open)(const oto_weights *packed, oto_compute compute, void **impl, oto_model_info *info,
                oto_err *e);
    void (*close)(void *impl);

    /* OTO_TASK_VAD: as the functions of models.h of the same names. */
    int (*vad_new)(const void *impl, const oto_vad_options *o, oto_pool *pool, oto_arena *a,
                   void **state, oto_err *e);
    int (*vad_push)(void *state, const float *pcm, size_t n, bool final, oto_span *out, int max,
                    size_t *used);
    int64_t (*vad_open_ms)(const void *state);
    int64_t (*vad_horizon_ms)(const void *state);
    void (*vad_reset)(void *state);

    /* OTO_TASK_ASR */
    size_t (*asr_bytes)(const void *impl, int max_batch, int max_beam);
    int (*asr_new)(const void *impl, int max_batch, int max_beam, oto_pool *pool, oto_arena *a,
                   void **state, oto_err *e);
    /* Either windows that go through the network together, results of w[i] into arena[i] … */
    int (*asr_run)(void *state, const oto_asr_options *o, const oto_asr_window *w, int n,
                   oto_arena *const *arena, oto_asr_result *out, oto_err *e);
    /* … or step by step, each at its own pace: as the functions of models.h of the same names. */
    int (*asr_begin)(void *state, int at, const oto_asr_options *o, const oto_asr_window *w,
                     oto_arena *a, oto_err *e);
    void (*asr_step)(void *state);
    bool (*asr_ended)(const void *state, int at);
    int (*asr_end)(void *state, int at, oto_arena *scratch, oto_asr_result *out, oto_err *e);
    void (*asr_drop)(void *state, int at);
    void (*asr_stats)(const void *state, oto_asr_stats *out);

    /* OTO_TASK_PUNC */
    size_t (*punc_bytes)(const void *impl);
    int (*punc_new)(const void *impl, oto_pool *pool, oto_arena *a, void **state, oto_err *e);
    int (*punc_push)(void *state, const oto_timed_piece *piece, int64_t tag, size_t *used,
                     const oto_punc_token **out);
    int (*punc_pause)(void *state, const oto_punc_token **out);
    int (*punc_finish)(void *state, const oto_punc_token **out);
    void (*punc_reset)(void *state);
} oto_family;

extern const oto_family oto_family_whisper, oto_family_paraformer, oto_family_sensevoice,
    oto_family_fsmn_vad, oto_family_ct_punc;

struct oto_model {
    const oto_family *family;
    oto_weights *weights;
    void *impl;
    oto_model_info info;
};

/* UNSUPPORTED, with its name, when a model is for another task. */
int oto_check_task(const oto_model *m, oto_task task, oto_err *e) OTO_CHECK;

/* The object that `open` makes: `bytes` of zeros in an arena of its own, of at most `cap`. *impl is
 * set with *a; freeing the arena frees both. */
int oto_impl_new(const oto_weights *w, const char *what, size_t cap, size_t bytes, oto_arena **a,
                 void *impl, oto_err *e) OTO_CHECK;

/* ---- packed matrices (packed.c) ---- */

/* Puts a matrix of n rows of k values under `name` in the layout of kernels.h: NAME (the panels,
 * shape [panels][k groups][16][group]) and for I8 NAME.scale and NAME.row_sum. `row` writes row r
 * as f32 (the place for transposition, concatenation and folding of scales). */
typedef void (*oto_row_fn)(void *arg, int r, float *out);
int oto_put_matrix(oto_gguf_writer *dst, const char *name, oto_dtype type, int n, int k,
                   oto_row_fn row, void *arg, oto_arena *a, oto_err *e) OTO_CHECK;
/* The same from one tensor of the source, of exactly n rows of k. */
int oto_put_tensor_matrix(oto_gguf_writer *dst, const char *name, oto_dtype type,
                          const oto_tensor *t, int n, int k, oto_arena *a, oto_err *e) OTO_CHECK;
/* Puts n floats. v is copied into `a`. */
int oto_put_vector(oto_gguf_writer *dst, const char *name, const float *v, int64_t n, oto_arena *a,
                   oto_err *e) OTO_CHECK;
/* Binds them again; the dtype must be as given, the shape must fit n and k. */
int oto_get_matrix(const oto_weights *w, const char *name, oto_dtype type, int n, int k,
                   oto_mat *out, oto_err *e) OTO_CHECK;
int oto_get_vector(const oto_weights *w, const char *name, int64_t n, const float **out,
                   oto_err *e) OTO_CHECK;
/* An int of the metadata within [lo, hi]; its absence or another value is an error naming it. */
int oto_get_int(const oto_weights *w, const char *key, int64_t lo, int64_t hi, int64_t *out,
                oto_err *e) OTO_CHECK;

#endif
