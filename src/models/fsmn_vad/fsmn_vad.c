/* fsmn_vad: the network, run over blocks of frames, and the family's descriptor.
 *
 *   fbank 80 -> 5 frames stacked, CMVN [400] -> linear 140 -> linear 250, ReLU
 *     -> 4 × { linear 128 (z) -> out[t] = z[t] + Σ_j w[j] z[t - 19 + j] -> linear 250, ReLU }
 *     -> linear 140 -> linear 248 -> softmax; class 0 is silence
 *
 * Each block of the memory filter stands behind the last 19 rows of the one before, so blocks of
 * any size give what one pass over the recording gives. Source: FunASR
 * funasr/models/fsmn_vad_streaming/encoder.py. */
#include "models/fsmn_vad/fsmn_vad.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "features/features.h"

#define IN      400
#define AFFINE  140
#define WIDTH   250
#define PROJ    128
#define ORDER   20 /* taps, the frame's own included */
#define CLASSES 248
#define LAYERS  4
#define STACK   5
#define BLOCK   132 /* frames at a time: whole tiles of 12, 6 and 4 rows */
#define QUEUE   (BLOCK + 2)

typedef struct {
    oto_mat w;
    const float *b; /* NULL: none */
} linear;

typedef struct {
    const float *shift, *scale; /* [400] */
    linear in1, in2, out1, out2;
    struct {
        linear proj;      /* [128][250], no bias */
        const float *fir; /* [20][128]: tap 0 is the oldest */
        linear affine;    /* [250][128] */
    } layer[LAYERS];
} network;

/* Every matrix by its name in the checkpoint. */
typedef struct {
    const char *name;
    int n, k;
    bool bias;
    size_t at; /* of the linear in network */
} matrix_row;

#define LAYER_ROWS(i)                                                                              \
    {"encoder.fsmn." #i ".linear.linear", PROJ, WIDTH, false, offsetof(network, layer[i].proj)},   \
    {                                                                                              \
        "encoder.fsmn." #i ".affine.linear", WIDTH, PROJ, true, offsetof(network, layer[i].affine) \
    }

static const matrix_row matrices[] = {
    {"encoder.in_linear1.linear", AFFINE, IN, true, offsetof(network, in1)},
    {"encoder.in_linear2.linear", WIDTH, AFFINE, true, offsetof(network, in2)},
    LAYER_ROWS(0),
    LAYER_ROWS(1),
    LAYER_ROWS(2),
    LAYER_ROWS(3),
    {"encoder.out_linear1.linear", AFFINE, WIDTH, true, offsetof(network, out1)},
    {"encoder.out_linear2.linear", CLASSES, AFFINE, true, offsetof(network, out2)}};

/* ---- packing ---- */

static bool vad_matches(const oto_weights *src)
{
    return oto_weights_find(src, "encoder.fsmn.0.fsmn_block.conv_left.weight") != NULL;
}

static int missing(const oto_weights *src, const char *name, oto_err *e)
{
    return oto_fail(e, OTO_E_INPUT, "%s: tensor %s is missing", oto_weights_path(src), name);
}

static int pack_matrix(const oto_weights *src, const matrix_row *row, oto_dtype type,
                       oto_gguf_writer *dst, oto_arena *a, oto_err *e)
{
    const oto_tensor *t;
    char name[96];

    snprintf(name, sizeof name, "%s.weight", row->name);
    t = oto_weights_find(src, name);
    return t == NULL ? missing(src, name, e)
                     : oto_put_tensor_matrix(dst, name, type, t, row->n, row->k, a, e);
}

static int pack_vector(const oto_weights *src, const char *name, int n, oto_gguf_writer *dst,
                       oto_arena *a, oto_err *e)
{
    const oto_tensor *t = oto_weights_find(src, name);
    float v[IN];

    if (t == NULL)
        return missing(src, name, e);
    if (oto_tensor_rows(t) != 1 || oto_tensor_row_len(t) != n)
        return oto_fail(e, OTO_E_INPUT, "%s: tensor %s does not hold %d values",
                        oto_weights_path(src), name, n);
    oto_tensor_row_f32(t, 0, v);
    return oto_put_vector(dst, name, v, n, a, e);
}

/* [128][20] of the checkpoint, or [20][128] of FunASR's own GGUF, to [20][128]. */
static int pack_filter(const oto_weights *src, int layer, oto_gguf_writer *dst, oto_arena *a,
                       oto_err *e)
{
    float fir[ORDER * PROJ], row[OTO_MAX(ORDER, PROJ)];
    const oto_tensor *t;
    char name[96];

    snprintf(name, sizeof name, "encoder.fsmn.%d.fsmn_block.conv_left.weight", layer);
    t = oto_weights_find(src, name);
    if (t == NULL)
        return missing(src, name, e);
    if (oto_tensor_rows(t) == PROJ && oto_tensor_row_len(t) == ORDER) {
        for (int c = 0; c < PROJ; c++) {
            oto_tensor_row_f32(t, c, row);
            for (int j = 0; j < ORDER; j++)
                fir[j * PROJ + c] = row[j];
        }
    } else if (oto_tensor_rows(t) == ORDER && oto_tensor_row_len(t) == PROJ) {
        for (int j = 0; j < ORDER; j++)
            oto_tensor_row_f32(t, j, fir + (size_t)j * PROJ);
    } else {
        return oto_fail(e, OTO_E_INPUT, "%s: tensor %s is not %d x %d", oto_weights_path(src), name,
                        PROJ, ORDER);
    }
    return oto_put_vector(dst, name, fir, ORDER * PROJ, a, e);
}

/* bf16 is no faster than f32 and there are only 1.7 MB to save. */
static oto_dtype matrix_type(oto_compute compute)
{
    return compute == OTO_COMPUTE_I8 ? OTO_I8 : OTO_F32;
}

static int vad_pack(const oto_weights *src, oto_compute compute, oto_gguf_writer *dst, oto_arena *a,
                    oto_err *e)
{
    char name[96];
    int rc = 0;

    for (size_t i = 0; i < OTO_COUNT(matrices) && rc == 0; i++) {
        rc = pack_matrix(src, &matrices[i], matrix_type(compute), dst, a, e);
        snprintf(name, sizeof name, "%s.bias", matrices[i].name);
        if (rc == 0 && matrices[i].bias)
            rc = pack_vector(src, name, matrices[i].n, dst, a, e);
    }
    for (int i = 0; i < LAYERS && rc == 0; i++)
        rc = pack_filter(src, i, dst, a, e);
    if (rc == 0)
        rc = pack_vector(src, "cmvn.shift", IN, dst, a, e);
    return rc == 0 ? pack_vector(src, "cmvn.scale", IN, dst, a, e) : rc;
}

/* ---- binding ---- */

static int bind_network(const oto_weights *w, oto_dtype type, network *n, oto_err *e)
{
    char name[96];
    int rc = 0;

    for (size_t i = 0; i < OTO_COUNT(matrices) && rc == 0; i++) {
        const matrix_row *row = &matrices[i];
        linear *l = (linear *)(void *)((char *)n + row->at);

        snprintf(name, sizeof name, "%s.weight", row->name);
        rc = oto_get_matrix(w, name, type, row->n, row->k, &l->w, e);
        snprintf(name, sizeof name, "%s.bias", row->name);
        if (rc == 0 && row->bias)
            rc = oto_get_vector(w, name, row->n, &l->b, e);
    }
    for (int i = 0; i < LAYERS && rc == 0; i++) {
        snprintf(name, sizeof name, "encoder.fsmn.%d.fsmn_block.conv_left.weight", i);
        rc = oto_get_vector(w, name, ORDER * PROJ, &n->layer[i].fir, e);
    }
    if (rc == 0)
        rc = oto_get_vector(w, "cmvn.shift", IN, &n->shift, e);
    return rc == 0 ? oto_get_vector(w, "cmvn.scale", IN, &n->scale, e) : rc;
}

static int vad_open(const oto_weights *packed, oto_compute compute, void **impl,
                    oto_model_info *info, oto_err *e)
{
    network *n = calloc(1, sizeof *n);
    int rc;

    if (n == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    if ((rc = bind_network(packed, matrix_type(compute), n, e)) != 0) {
        free(n);
        return rc;
    }
    info->n_mels = OTO_FBANK_MELS;
    info->n_vocab = CLASSES;
    info->width = WIDTH;
    info->n_layers_enc = LAYERS;
    *impl = n;
    return 0;
}

static void vad_close(void *impl)
{
    free(impl);
}

/* ---- running ---- */

typedef struct {
    const network *net;
    oto_vad_options o;
    oto_pool *pool;
    oto_fbank *fbank;
    oto_endpoint endpoint;
    bool loud; /* loudness matters: a threshold is set */
    /* of a block of frames */
    float *feats;     /* [BLOCK][400] */
    float *a, *b;     /* [BLOCK][250] */
    float *logits;    /* [BLOCK][248] */
    float *z[LAYERS]; /* [19 + BLOCK][128]: the rows before the block stand in front */
    float db[BLOCK];
    /* the newest frame waits for its successor: it may be the last */
    bool waiting;
    float wait_p, wait_db;
    oto_span queue[QUEUE]; /* complete segments not handed out yet */
    int n_queue;
    bool ended;
    /* dynamic end silence */
    size_t chunk_left; /* samples of the present chunk still to come; 0: a new one begins */
    int64_t spoken_ms;
    bool in_speech, chunk_had_segment;
} vad;

static void vad_reset(void *state)
{
    vad *v = state;

    oto_fbank_reset(v->fbank);
    oto_endpoint_init(&v->endpoint, &v->o);
    for (int i = 0; i < LAYERS; i++)
        memset(v->z[i], 0, (ORDER - 1) * PROJ * sizeof(float));
    v->waiting = v->ended = false;
    v->n_queue = 0;
    v->chunk_left = 0;
    v->spoken_ms = 0;
    v->in_speech = v->chunk_had_segment = false;
}

static int vad_new(const void *impl, const oto_vad_options *o, oto_pool *pool, oto_arena *a,
                   void **state, oto_err *e)
{
    const network *n = impl;
    const oto_fbank_options fo = {
        .lfr_m = STACK, .lfr_n = 1, .cmvn_shift = n->shift, .cmvn_scale = n->scale};
    vad *v;
    int rc;

    if (o->max_segment_ms < 1000 || o->max_end_silence_ms < 0 ||
        (o->dynamic_end_silence && o->dynamic_chunk_ms < 10))
        return oto_fail(e, OTO_E_USAGE,
                        "VAD: segments of %d ms, end silence of %d ms, chunks of %d ms",
                        o->max_segment_ms, o->max_end_silence_ms, o->dynamic_chunk_ms);
    if ((rc = oto_arena_get(a, 1, sizeof *v, &v, e)) != 0)
        return rc;
    memset(v, 0, sizeof *v);
    v->net = n;
    v->o = *o;
    v->pool = pool;
    v->loud = o->decibel_thres > -100 || o->snr_thres > -100;
    if ((rc = oto_fbank_new(&fo, a, &v->fbank, e)) != 0 ||
        (rc = oto_arena_get(a, BLOCK * IN, sizeof(float), &v->feats, e)) != 0 ||
        (rc = oto_arena_get(a, BLOCK * WIDTH, sizeof(float), &v->a, e)) != 0 ||
        (rc = oto_arena_get(a, BLOCK * WIDTH, sizeof(float), &v->b, e)) != 0 ||
        (rc = oto_arena_get(a, BLOCK * CLASSES, sizeof(float), &v->logits, e)) != 0)
        return rc;
    for (int i = 0; i < LAYERS; i++)
        if ((rc = oto_arena_get(a, (ORDER - 1 + BLOCK) * PROJ, sizeof(float), &v->z[i], e)) != 0)
            return rc;
    vad_reset(v);
    *state = v;
    return 0;
}

static void run_linear(const vad *v, const linear *l, const float *x, int rows, bool relu, float *y)
{
    const oto_linear a = {.w = &l->w,
                          .x = x,
                          .ldx = (size_t)l->w.k,
                          .m = rows,
                          .bias = l->b,
                          .act = relu ? OTO_ACT_RELU : OTO_ACT_NONE,
                          .y = y,
                          .ldy = (size_t)l->w.n};

    oto_linear_run(v->pool, &a);
}

/* out[t] = z[t] + Σ_j fir[j] z[t - 19 + j]; then z's last rows become the next block's past. */
static void remember(float *z, const float *fir, int rows, float *out)
{
    enum { STEP = 16 }; /* channels whose sums stay in registers */

    for (int t = 0; t < rows; t++)
        for (int at = 0; at < PROJ; at += STEP) {
            const float *past = z + (size_t)t * PROJ + at, *w = fir + at;
            float sum[STEP];

            for (int c = 0; c < STEP; c++)
                sum[c] = past[(ORDER - 1) * PROJ + c];
            for (int j = 0; j < ORDER; j++)
                for (int c = 0; c < STEP; c++)
                    sum[c] += w[j * PROJ + c] * past[j * PROJ + c];
            memcpy(out + (size_t)t * PROJ + at, sum, sizeof sum);
        }
    memmove(z, z + (size_t)rows * PROJ, (ORDER - 1) * PROJ * sizeof *z);
}

/* Probabilities of silence of `rows` frames in feats, into p. */
static void score(vad *v, int rows, float *p)
{
    const network *n = v->net;

    run_linear(v, &n->in1, v->feats, rows, false, v->b);
    run_linear(v, &n->in2, v->b, rows, true, v->a);
    for (int i = 0; i < LAYERS; i++) {
        run_linear(v, &n->layer[i].proj, v->a, rows, false, v->z[i] + (ORDER - 1) * PROJ);
        remember(v->z[i], n->layer[i].fir, rows, v->b);
        run_linear(v, &n->layer[i].affine, v->b, rows, true, v->a);
    }
    run_linear(v, &n->out1, v->a, rows, false, v->b);
    run_linear(v, &n->out2, v->b, rows, false, v->logits);
    for (int t = 0; t < rows; t++) {
        const float *l = v->logits + (size_t)t * CLASSES;

        p[t] = expf(l[0] - oto_k()->logsumexp_f32(l, CLASSES));
    }
}

static void step(vad *v, bool final)
{
    if (!v->waiting)
        return;
    v->waiting = false;
    if (oto_endpoint_step(&v->endpoint, v->wait_p, v->wait_db, final, &v->queue[v->n_queue])) {
        v->n_queue++;
        v->chunk_had_segment = true;
    }
}

static void take_block(vad *v, int rows)
{
    float p[BLOCK];

    score(v, rows, p);
    for (int t = 0; t < rows; t++) {
        step(v, false);
        v->waiting = true;
        v->wait_p = p[t];
        v->wait_db = v->loud ? v->db[t] : 0;
    }
}

/* FunASR AutoModel's rule: the longer someone has spoken, the shorter a pause ends the segment. */
static void start_chunk(vad *v)
{
    static const struct {
        int64_t until_ms;
        int end_ms;
    } table[] = {{10000, 2000}, {20000, 1000}, {30000, 800},
                 {40000, 600},  {50000, 400},  {60000, 200}};
    int end_ms = 100;

    step(v, false); /* the frame that waits belongs to the chunk before */
    if (v->chunk_had_segment) {
        v->spoken_ms = 0;
        v->in_speech = false;
    }
    v->chunk_had_segment = false;
    if (v->endpoint.mode == OTO_VAD_IN || v->in_speech) {
        v->spoken_ms += v->o.dynamic_chunk_ms;
        v->in_speech = true;
    }
    for (size_t i = OTO_COUNT(table); i-- > 0;)
        if (v->spoken_ms <= table[i].until_ms)
            end_ms = table[i].end_ms;
    v->endpoint.end_ms = OTO_MAX(end_ms - v->o.speech_to_sil_ms, 0);
    v->endpoint.thres = 0.5f;
}

/* How many of n samples belong to the present chunk. */
static size_t chunk_room(vad *v, size_t n)
{
    if (!v->o.dynamic_end_silence)
        return n;
    if (v->chunk_left == 0) {
        start_chunk(v);
        v->chunk_left = (size_t)v->o.dynamic_chunk_ms * 16;
    }
    return OTO_MIN(n, v->chunk_left);
}

/* A recording that ends with a chunk has an empty one behind it, as the reference cuts. */
static bool ends_chunk(const vad *v, size_t n)
{
    return v->o.dynamic_end_silence && n == v->chunk_left;
}

static int hand_out(vad *v, oto_span *out, int max)
{
    const int n = OTO_MIN(v->n_queue, max);

    memcpy(out, v->queue, (size_t)n * sizeof *out);
    v->n_queue -= n;
    memmove(v->queue, v->queue + n, (size_t)v->n_queue * sizeof *out);
    return n;
}

static int vad_push(void *state, const float *pcm, size_t n, bool final, oto_span *out, int max,
                    size_t *used)
{
    vad *v = state;
    int n_out = hand_out(v, out, max);

    *used = 0;
    while (n_out < max && (*used < n || (final && !v->ended))) {
        const size_t room = chunk_room(v, n - *used);
        const bool last = final && room == n - *used && !ends_chunk(v, room);
        size_t taken;
        const int rows = oto_fbank_push(v->fbank, pcm + *used, room, last, v->feats,
                                        v->loud ? v->db : NULL, BLOCK, &taken);

        *used += taken;
        v->chunk_left -= v->o.dynamic_end_silence ? taken : 0;
        if (rows > 0)
            take_block(v, rows);
        if (last && *used == n && rows < BLOCK) {
            step(v, true);
            v->ended = true;
        }
        n_out += hand_out(v, out + n_out, max - n_out);
    }
    return n_out;
}

static int64_t vad_open_ms(const void *state)
{
    const vad *v = state;

    return v->endpoint.mode == OTO_VAD_IN ? v->endpoint.seg_start : -1;
}

static int64_t vad_horizon_ms(const void *state)
{
    const oto_endpoint *p = &((const vad *)state)->endpoint;

    if (p->mode == OTO_VAD_IN)
        return p->seg_start;
    return 10 * OTO_MAX(OTO_MAX(p->next_free, p->t - OTO_VAD_WINDOW - p->lookback), 0);
}

const oto_family oto_family_fsmn_vad = {.name = "fsmn-vad",
                                        .task = OTO_TASK_VAD,
                                        .matches = vad_matches,
                                        .pack = vad_pack,
                                        .open = vad_open,
                                        .close = vad_close,
                                        .vad_new = vad_new,
                                        .vad_push = vad_push,
                                        .vad_open_ms = vad_open_ms,
                                        .vad_horizon_ms = vad_horizon_ms,
                                        .vad_reset = vad_reset};
