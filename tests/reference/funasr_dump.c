/* Runs Paraformer or SenseVoice stage by stage, for comparison with PyTorch (funasr_peer.py,
 * funasr_contextual.py):
 *
 *   funasr_dump MODEL COMPUTE OUT DEPTHS TOLD FILE...
 *
 * FILE is raw f32 at 16 kHz, up to 30 s. DEPTHS is a list of numbers of encoder layers, "1,10,50",
 * or "-": then only what is small is written. TOLD is SenseVoice's language or Paraformer's hot
 * words, "auto" neither. OUT gets for each file, each with a line "NAME ROWS
 * COLUMNS" before its f32:
 *
 *   fbank, lfr, rows             before stacking, stacked, normalised
 *   layerN                       after N layers, and the norm that follows the stack
 *   alpha, fire, embed           Paraformer: weights with the tail's, frames, a row a token
 *   list, of_sound, of_words     contextual: rows of hot words; what the tokens hear of both
 *   logits, ids                  of tokens; of SenseVoice's rows
 *
 * At the end all files go through the model's ordinary way in one batch; their tokens must be the
 * same. Times go to standard error. Built with the core library, sources and headers of src/. */
#include "models/sensevoice/sensevoice.c"

#include "models/paraformer/paraformer.h"

#include <stdlib.h>

#define N_THREADS 2
#define MAX_FILES 64

typedef struct {
    oto_model *model;
    oto_pool *pool;
    oto_arena *arena;
    FILE *out;
    const char *depths, *told;
    bool whole; /* what is large too */
    pf_network net;
    oto_heard_rows heard;
    state *sv;
    oto_asr_window files[MAX_FILES];
    int n_files;
    int32_t *ids[MAX_FILES]; /* collapsed for SenseVoice */
    int n_ids[MAX_FILES];
} dump;

static void put(dump *d, const char *name, int rows, int columns, const float *v)
{
    fprintf(d->out, "%s %d %d\n", name, rows, columns);
    fwrite(v, sizeof *v, (size_t)rows * (size_t)columns, d->out);
}

static int put_ints(dump *d, const char *name, int n, const int32_t *v, oto_err *e)
{
    const oto_mark mark = oto_arena_mark(d->arena);
    float *f;
    const int rc = oto_arena_get(d->arena, (size_t)n, sizeof *f, &f, e);

    if (rc != 0)
        return rc;
    for (int i = 0; i < n; i++)
        f[i] = (float)v[i];
    put(d, name, n, 1, f);
    oto_arena_rollback(d->arena, mark);
    return 0;
}

/* ---- features ---- */

static int put_features(dump *d, const char *name, oto_fbank_options o, const oto_asr_window *w,
                        oto_err *e)
{
    const oto_mark mark = oto_arena_mark(d->arena);
    const int max = 3100, columns = OTO_FBANK_MELS * o.lfr_m;
    oto_fbank *f;
    float *rows;
    size_t at = 0, used;
    int n = 0, got, rc;

    if ((rc = oto_fbank_new(&o, d->arena, &f, e)) != 0 ||
        (rc = oto_arena_get(d->arena, (size_t)max * (size_t)columns, sizeof *rows, &rows, e)) != 0)
        return rc;
    do {
        got = oto_fbank_push(f, w->pcm + at, w->n - at, true, rows + (size_t)n * (size_t)columns,
                             NULL, max - n, &used);
        at += used;
        n += got;
    } while (got > 0 && n < max);
    put(d, name, n, columns, rows);
    oto_arena_rollback(d->arena, mark);
    return 0;
}

static int put_front(dump *d, const oto_asr_window *w, const float *shift, const float *scale,
                     oto_err *e)
{
    int rc;

    if (!d->whole)
        return 0;
    if ((rc = put_features(d, "fbank", (oto_fbank_options){.lfr_m = 1, .lfr_n = 1}, w, e)) != 0 ||
        (rc = put_features(d, "lfr", (oto_fbank_options){.lfr_m = 7, .lfr_n = 6}, w, e)) != 0)
        return rc;
    return put_features(
        d, "rows",
        (oto_fbank_options){.lfr_m = 7, .lfr_n = 6, .cmvn_shift = shift, .cmvn_scale = scale}, w,
        e);
}

static int next_depth(const char **at)
{
    char *end;
    const long n = strtol(*at, &end, 10);

    if (end == *at)
        return 0;
    *at = *end == ',' ? end + 1 : end;
    return (int)n;
}

static int put_logits(dump *d, const oto_dense *l, const float *x, int n, oto_err *e)
{
    const oto_mark mark = oto_arena_mark(d->arena);
    float *logits;
    const int rc = oto_arena_get(d->arena, (size_t)n * (size_t)l->w.n, sizeof *logits, &logits, e);

    if (rc != 0)
        return rc;
    oto_dense_run(d->pool, l, x, n, OTO_ACT_NONE, NULL, logits);
    put(d, "logits", n, l->w.n, logits);
    oto_arena_rollback(d->arena, mark);
    return 0;
}

static int keep_ids(dump *d, int file, const int32_t *ids, int n, oto_err *e)
{
    const int rc = oto_arena_get(d->arena, (size_t)n, sizeof *ids, &d->ids[file], e);

    if (rc == 0 && n > 0)
        memcpy(d->ids[file], ids, (size_t)n * sizeof *ids);
    d->n_ids[file] = n;
    return rc;
}

/* ---- Paraformer ---- */

static void pf_load(dump *d, const oto_asr_window *w)
{
    oto_heard_run(&d->heard, w, 1);
    oto_heard_group(&d->heard, 0, 1, 0, PF_ROWS, d->net.n_rows);
    memcpy(d->net.sanm.in, d->heard.rows, (size_t)d->net.n_rows[0] * OTO_LFR_DIM * sizeof(float));
    d->net.sanm.n_seq = 1;
}

static int pf_dump(dump *d, int file, oto_err *e)
{
    const oto_asr_window *w = &d->files[file];
    const paraformer *m = d->model->impl;
    pf_network *s = &d->net;
    const char *at = d->depths;
    char name[32];
    int rc = put_front(d, w, m->shift, m->scale, e);

    if (rc != 0)
        return rc;
    for (int n; d->whole && (n = next_depth(&at)) > 0;) {
        pf_load(d, w);
        oto_sanm_place(&s->sanm);
        oto_sanm_run(&s->sanm, m->enc, OTO_MIN(n, m->n_enc), true, &m->enc_norm);
        snprintf(name, sizeof name, "layer%d", n);
        put(d, name, s->n_rows[0], PF_D, s->sanm.x);
    }
    oto_pf_hot_set(s, d->told);
    pf_load(d, w);
    oto_pf_encode(s, 1);
    put(d, "alpha", s->n_rows[0] + 1, 1, s->alpha);
    if ((rc = put_ints(d, "fire", s->n_tokens[0], s->fire, e)) != 0)
        return rc;
    put(d, "embed", s->n_tokens[0], PF_D, s->e);
    oto_pf_decode(s, 1);
    if (m->dec.contextual) {
        put(d, "list", s->hot.now->n, PF_D, s->hot.now->rows);
        put(d, "of_sound", s->n_tokens[0], PF_D, s->hot.e0);
        put(d, "of_words", s->n_tokens[0], PF_D, s->hot.hidden);
    }
    if (d->whole && (rc = put_logits(d, &m->out, s->t, s->n_tokens[0], e)) != 0)
        return rc;
    if ((rc = put_ints(d, "ids", s->n_tokens[0], s->ids, e)) != 0)
        return rc;
    return keep_ids(d, file, s->ids, s->n_tokens[0], e);
}

/* ---- SenseVoice ---- */

static void sv_load(dump *d, const oto_asr_window *w)
{
    oto_heard_run(&d->sv->heard, w, 1);
    oto_heard_group(&d->sv->heard, 0, 1, SV_ASKS, SV_ROWS, d->sv->end);
    load(d->sv, 0, 1, d->told);
}

static int sv_dump(dump *d, int file, oto_err *e)
{
    const oto_asr_window *w = &d->files[file];
    const sensevoice *m = d->model->impl;
    state *s = d->sv;
    const char *at = d->depths;
    token tokens[SV_ROWS];
    int32_t ids[SV_ROWS];
    char name[32];
    int rc = put_front(d, w, m->shift, m->scale, e);

    if (rc != 0)
        return rc;
    for (int n; d->whole && (n = next_depth(&at)) > 0;) {
        sv_load(d, w);
        oto_sanm_place(&s->sanm);
        oto_sanm_run(&s->sanm, m->enc, OTO_MIN(n, m->n_enc), true, &m->enc_norm);
        if (n > m->n_enc)
            oto_sanm_run(&s->sanm, m->enc + m->n_enc, OTO_MIN(n - m->n_enc, m->n_tp), false,
                         &m->tp_norm);
        snprintf(name, sizeof name, "layer%d", n);
        put(d, name, s->end[0], SV_D, s->sanm.x);
    }
    sv_load(d, w);
    recognise(s);
    if (d->whole && (rc = put_logits(d, &m->out, s->sanm.x, s->end[0], e)) != 0)
        return rc;
    if ((rc = put_ints(d, "ids", s->end[0], s->best, e)) != 0)
        return rc;
    const int n = collapse(s, 0, s->end[0], tokens);
    for (int i = 0; i < n; i++)
        ids[i] = tokens[i].id;
    return keep_ids(d, file, ids, n, e);
}

/* ---- all ---- */

static int load_files(dump *d, char **paths, int n, oto_err *e)
{
    if (n > MAX_FILES)
        return oto_fail(e, OTO_E_USAGE, "more than %d files", MAX_FILES);
    for (int i = 0; i < n; i++) {
        oto_map map;
        float *pcm;
        int rc;

        if ((rc = oto_map_open(paths[i], &map, e)) != 0 ||
            (rc = oto_arena_get(d->arena, map.n / sizeof *pcm, sizeof *pcm, &pcm, e)) != 0)
            return rc;
        memcpy(pcm, map.p, map.n / sizeof *pcm * sizeof *pcm);
        d->files[i] = (oto_asr_window){pcm, map.n / sizeof *pcm, false};
        oto_map_close(&map);
    }
    d->n_files = n;
    return 0;
}

/* The model's ordinary way, everything in one batch. */
static int check_batch(dump *d, oto_err *e)
{
    oto_asr_options o;
    oto_asr_result *r;
    oto_asr *asr;
    int rc;

    oto_asr_defaults(&o);
    if (d->sv != NULL)
        snprintf(o.language, sizeof o.language, "%s", d->told);
    else
        o.hotwords = d->told;
    if ((rc = oto_arena_get(d->arena, (size_t)d->n_files, sizeof *r, &r, e)) != 0 ||
        (rc = oto_asr_new(d->model, d->n_files, 1, d->pool, d->arena, &asr, e)) != 0 ||
        (rc = oto_asr_run(asr, &o, d->files, d->n_files, d->arena, r, e)) != 0)
        return rc;
    for (int i = 0; i < d->n_files; i++)
        if (r[i].n_raw != d->n_ids[i] ||
            memcmp(r[i].raw_tokens, d->ids[i], (size_t)r[i].n_raw * sizeof(int32_t)) != 0)
            return oto_fail(e, OTO_E_INTERNAL, "file %d: other tokens in a batch", i);
    return 0;
}

static int run(dump *d, oto_err *e)
{
    const bool is_sv = d->model->family == &oto_family_sensevoice;
    const paraformer *m = d->model->impl;
    int rc;

    if (is_sv) {
        void *s;

        rc = oto_family_sensevoice.asr_new(d->model->impl, 1, 1, d->pool, d->arena, &s, e);
        d->sv = s;
    } else if ((rc = oto_heard_new(m->shift, m->scale, 1, d->pool, d->arena, &d->heard, e)) == 0) {
        rc = oto_pf_network_new(m, 1, d->pool, d->arena, &d->net, e);
    }
    for (int i = 0; i < d->n_files && rc == 0; i++)
        rc = is_sv ? sv_dump(d, i, e) : pf_dump(d, i, e);
    return rc == 0 ? check_batch(d, e) : rc;
}

static int set_up(dump *d, char **argv, int n_files, oto_err *e)
{
    oto_compute compute;
    int rc;

    if (oto_compute_parse(argv[2], &compute) != 0)
        return oto_fail(e, OTO_E_USAGE, "%s: unknown precision", argv[2]);
    d->depths = argv[4];
    d->whole = strcmp(argv[4], "-") != 0;
    d->told = strcmp(argv[5], "auto") == 0 ? "" : argv[5];
    if ((rc = oto_cpu_init(e)) != 0 || (rc = oto_model_open(argv[1], compute, &d->model, e)) != 0)
        return rc;
    if (d->model->family != &oto_family_sensevoice && d->model->family != &oto_family_paraformer)
        return oto_fail(e, OTO_E_UNSUPPORTED, "%s: neither Paraformer nor SenseVoice", argv[1]);
    if ((rc = oto_pool_new(N_THREADS, OTO_POOL_SCRATCH_BYTES, &d->pool, e)) != 0 ||
        (rc = oto_arena_new("dump", (size_t)1 << 30, &d->arena, e)) != 0 ||
        (rc = load_files(d, argv + 6, n_files, e)) != 0)
        return rc;
    d->out = fopen(argv[3], "wb");
    return d->out != NULL ? 0 : oto_fail_errno(e, "%s", argv[3]);
}

int main(int argc, char **argv)
{
    dump *d = calloc(1, sizeof *d);
    oto_err e = {0};
    double start;
    int rc;

    if (argc < 7 || d == NULL) {
        fprintf(stderr, "usage: funasr_dump MODEL COMPUTE OUT DEPTHS TOLD FILE...\n");
        return 2;
    }
    rc = set_up(d, argv, argc - 6, &e);
    start = oto_now_s();
    if (rc == 0)
        rc = run(d, &e);
    if (rc == 0 && fflush(d->out) != 0)
        rc = oto_fail_errno(&e, "%s", argv[3]);
    if (rc != 0)
        fprintf(stderr, "funasr_dump: %s\n", e.text);
    else
        fprintf(stderr, "%.2f s, %s\n", oto_now_s() - start, oto_cpu_table());
    if (d->out != NULL)
        fclose(d->out);
    oto_arena_free(d->arena);
    oto_pool_free(d->pool);
    oto_model_close(d->model);
    free(d);
    return rc == 0 ? 0 : 1;
}
