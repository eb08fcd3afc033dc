/* measure: how right and how fast: error rates of texts, and the speed of this machine on this
 * program, stage by stage. */
#ifndef OTO_MEASURE_H
#define OTO_MEASURE_H

#include "base/base.h"
#include "models/models.h"

/* ---- error rates (score.c) ---- */

typedef enum {
    OTO_SCORE_AUTO, /* characters when most letters of the reference belong to a script that is
                       written without spaces (Han, kana, Thai, Lao, Khmer, Myanmar), else words */
    OTO_SCORE_WORDS,
    OTO_SCORE_CHARS
} oto_score_unit;

typedef struct {
    oto_score_unit unit; /* what was counted: WORDS or CHARS */
    int64_t n_ref, n_hyp;
    int64_t hits, substitutions, deletions, insertions;
    double rate; /* errors / n_ref; with an empty reference, errors */
} oto_score;

/* Compares two texts by the fewest edits, as docs/scoring.md defines. raw: no normalisation (words
 * are what white space separates). Time n_ref · n_hyp, memory n_ref + n_hyp. What it allocates in
 * `a` it gives back. */
int oto_score_run(const char *ref, const char *hyp, oto_score_unit unit, bool raw, oto_arena *a,
                  oto_score *out, oto_err *e) OTO_CHECK;

/* ---- speed (bench.c) ---- */

/* One stage of a recording's way to text. */
typedef struct {
    const char *name; /* "decode", "front end", "vad", "encoder", "decoder", "words", "total" */
    double wall_s;
    double core_s; /* < 0: not known apart from others */
} oto_bench_stage;

/* Products of one element type, m × n × k. */
typedef struct {
    const char *type; /* "f32" "bf16" "int8" */
    int m, n, k, threads;
    double gops;  /* 1e9 multiplications and additions a second */
    double peak;  /* of the machine at this type and number of threads, measured */
    double share; /* gops / peak */
} oto_bench_gemm;

#define OTO_BENCH_STAGES 8
#define OTO_BENCH_GEMMS  32

typedef struct {
    double audio_s, wall_s, core_s;
    size_t peak_bytes, decoder_peak_bytes;
    int threads, n_windows, n_stages, n_gemms;
    char language[8];
    oto_asr_stats asr;
    oto_bench_stage stages[OTO_BENCH_STAGES];
    oto_bench_gemm gemms[OTO_BENCH_GEMMS];
} oto_bench;

typedef struct {
    const oto_model *asr, *vad; /* borrowed */
    const char *path;           /* the recording; NULL: products only */
    int threads;                /* 0: all cores */
    int beam;                   /* 0: the default */
    const char *language;       /* NULL: detect */
} oto_bench_options;
int oto_bench_run(const oto_bench_options *o, oto_bench *out, oto_err *e) OTO_CHECK;

#endif
