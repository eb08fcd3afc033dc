/* The Whisper network: encoder, decoder, and the state they run in.
 *
 * Encoder, one window at a time (1500 rows keep all threads busy):
 *   mel [3000][n_mels] → conv, GELU → conv, stride 2, GELU, + position → x [1500][W]
 *   L × { x += out(attention(qkv(norm x)));  x += fc2(gelu(fc1(norm x))) } → norm
 *   and for each decoder layer the keys and values of its cross-attention, kept for the window.
 * Decoder, all rows of all lanes together in every product:
 *   x = embedding[token] + position[pos]
 *   L × { self-attention; cross-attention; feed-forward, as above } → norm → x · embeddingᵀ
 *
 * Both use one set of activations. The caches:
 *   cross  [layer][window][k, v][head][1500][64]; beside int8 products in 8 bits:
 *          [layer][window][head] of oto_kv8_pack
 *   self   [layer][k, v][lane][head][448][64]
 * Where lanes share a past (beams, and all hypotheses of a window share its prompt), it lies in one
 * lane's cache and the others refer to it: from[lane][pos] is the lane that holds position pos. A
 * position is written once by its lane and only read after that, until all lanes of the group start
 * anew. Memory of the caches is merely reserved until a window or lane is used. A lane then takes
 * all that its text may come to need at once: pages taken one by one would let the peak depend on
 * the longest text a recording happens to hold. */
#include "models/whisper/network.h"

#include <assert.h>
#include <string.h>

#define FRAMES OTO_WHISPER_FRAMES
#define CTX    OTO_WHISPER_CTX
#define HEAD   OTO_WHISPER_HEAD
#define EPS    1e-5f
#define SCALE  0.125f /* 1 / sqrt(HEAD) */
#define EDGE   2      /* frames that the convolutions' padding reaches into */
#define PAGE   4096   /* the smallest page of any CPU we run on */

/* Of blocks carried through the encoder. */
#define INSIDE_BYTES ((size_t)640 << 10)
#define MAX_CARRIED  96
#define MIN_CARRIED  48

struct oto_whisper_state {
    const oto_whisper *m;
    oto_pool *pool;
    int max_windows, max_lanes, max_rows, max_wanted;
    float *x;              /* [max_rows][W]: the residual stream */
    float *h;              /* [max_rows][W]: normed, or the result of attention */
    float *big;            /* [max_rows][4W]: qkv, keys and values, or the feed-forward's inside */
    float *logits;         /* [max_wanted][n_vocab] */
    char *cross, *self;    /* see above */
    size_t elem;           /* bytes of an element of `self` */
    size_t cross_head;     /* bytes of a head of `cross`: keys and values in 8 bits; else 0 */
    int16_t *from;         /* [max_lanes][CTX] */
    int16_t *moved;        /* [max_lanes][CTX], while lanes move */
    int *frames;           /* [max_windows]: of what the encoder heard of each; 0: never used */
    int *heard;            /* [max_windows]: how many of them stand for themselves alone */
    int *window;           /* [max_lanes] */
    int *taken;            /* [max_lanes]: positions whose pages are taken */
    oto_attn_lane *attn;   /* [max_rows] */
    oto_whisper_row *rows; /* [CTX]: of an alignment */
};

/* ---- the model ---- */

oto_dtype oto_whisper_matrix_type(oto_compute compute, bool hears)
{
    switch (compute) {
    case OTO_COMPUTE_F32:
        return OTO_F32;
    case OTO_COMPUTE_BF16:
        return OTO_BF16;
    default:
        return hears ? OTO_F32 : OTO_I8;
    }
}

const oto_whisper_dims *oto_whisper_dims_get(const oto_whisper *m)
{
    return &m->dims;
}

const oto_tokens *oto_whisper_tokens(const oto_whisper *m)
{
    return m->tokens;
}

/* ---- memory ---- */

typedef struct {
    void *ptr; /* address of the pointer to set */
    size_t n, size;
} piece;

#define PIECES 14

static size_t cross_elems(const oto_whisper *m)
{
    return (size_t)FRAMES * (size_t)m->dims.width;
}

static size_t self_elems(const oto_whisper *m)
{
    return (size_t)CTX * (size_t)m->dims.width;
}

/* Keys and values of a window in one layer. */
static size_t cross_bytes(const oto_whisper_state *s)
{
    return s->cross_head > 0 ? s->cross_head * (size_t)s->m->dims.n_heads
                             : 2 * cross_elems(s->m) * s->elem;
}

/* What a state needs; its counts are set. */
static void list_pieces(oto_whisper_state *s, piece p[PIECES])
{
    const oto_whisper *m = s->m;
    const size_t width = (size_t)m->dims.width, rows = (size_t)s->max_rows;
    const size_t kv = 2 * (size_t)m->dims.n_layers_dec * s->elem;
    const size_t layers = (size_t)m->dims.n_layers_dec;
    const size_t lanes = (size_t)s->max_lanes;
    int i = 0;
    p[i++] = (piece){&s->x, rows * width, sizeof *s->x};
    p[i++] = (piece){&s->h, rows * width, sizeof *s->h};
    p[i++] = (piece){&s->big, 4 * rows * width, sizeof *s->big};
    p[i++] =
        (piece){&s->logits, (size_t)s->max_wanted * (size_t)m->dims.n_vocab, sizeof *s->logits};
    p[i++] = (piece){&s->cross, (size_t)s->max_windows * layers, cross_bytes(s)};
    p[i++] = (piece){&s->self, lanes * self_elems(m), kv};
    p[i++] = (piece){&s->from, lanes * CTX, sizeof *s->from};
    p[i++] = (piece){&s->moved, lanes * CTX, sizeof *s->moved};
    p[i++] = (piece){&s->frames, (size_t)s->max_windows, sizeof *s->frames};
    p[i++] = (piece){&s->heard, (size_t)s->max_windows, sizeof *s->heard};
    p[i++] = (piece){&s->window, lanes, sizeof *s->window};
    p[i++] = (piece){&s->taken, lanes, sizeof *s->taken};
    p[i++] = (piece){&s->attn, rows, sizeof *s->attn};
    p[i++] = (piece){&s->rows, CTX, sizeof *s->rows};
    assert(i == PIECES);
}

static oto_whisper_state counts_of(const oto_whisper *m, int max_windows, int max_lanes)
{
    return (oto_whisper_state){
        .m = m,
        .max_windows = max_windows,
        .max_lanes = max_lanes,
        .max_rows = OTO_MAX(FRAMES, max_lanes), /* what the encoder needs serves the decoder */
        .max_wanted = OTO_MAX(max_lanes, 2 * max_windows),
        .elem = m->kv_type == OTO_BF16 ? 2 : 4,
        .cross_head = m->dims.compute == OTO_COMPUTE_I8 ? oto_kv8_bytes(FRAMES, HEAD) : 0,
    };
}

size_t oto_whisper_state_bytes(const oto_whisper *m, int max_windows, int max_lanes)
{
    oto_whisper_state s = counts_of(m, max_windows, max_lanes);
    piece p[PIECES];
    size_t total = sizeof s + 64;
    list_pieces(&s, p);
    for (int i = 0; i < PIECES; i++)
        total += (p[i].n * p[i].size + 63) / 64 * 64;
    return total;
}

int oto_whisper_state_new(const oto_whisper *m, int max_windows, int max_lanes, oto_pool *pool,
                          oto_arena *a, oto_whisper_state **out, oto_err *e)
{
    oto_whisper_state *s;
    piece p[PIECES];
    int rc;
    if (max_windows < 1 || max_lanes < 1 || max_lanes > INT16_MAX)
        return oto_fail(e, OTO_E_USAGE, "whisper: %d windows with %d hypotheses", max_windows,
                        max_lanes);
    if ((rc = oto_arena_get(a, 1, sizeof *s, &s, e)) != 0)
        return rc;
    *s = counts_of(m, max_windows, max_lanes);
    s->pool = pool;
    list_pieces(s, p);
    for (int i = 0; i < PIECES; i++)
        if ((rc = oto_arena_get(a, p[i].n, p[i].size, p[i].ptr, e)) != 0)
            return rc;
    for (int i = 0; i < max_lanes; i++)
        s->window[i] = s->taken[i] = 0;
    for (int i = 0; i < max_windows; i++)
        s->frames[i] = 0;
    *out = s;
    return 0;
}

int oto_whisper_max_rows(const oto_whisper_state *s)
{
    return s->max_rows;
}

/* ---- pieces of both ---- */

/* y [n][w.n] = act(x [n][w.k] Wᵀ + b) + residual, all packed row after row. */
static void linear(oto_whisper_state *s, const whisper_linear *l, const float *x, int n,
                   oto_act act, const float *residual, float *y)
{
    oto_linear_run(s->pool, &(oto_linear){.w = &l->w,
                                          .x = x,
                                          .ldx = (size_t)l->w.k,
                                          .m = n,
                                          .bias = l->b,
                                          .act = act,
                                          .residual = residual,
                                          .ldr = (size_t)l->w.n,
                                          .y = y,
                                          .ldy = (size_t)l->w.n});
}

/* The same for rows of a task. */
static void linear_rows(const oto_whisper_state *s, int thread, const whisper_linear *l,
                        const float *x, int n, oto_act act, const float *residual, float *y)
{
    oto_linear_rows(s->pool, thread,
                    &(oto_linear){.w = &l->w,
                                  .x = x,
                                  .ldx = (size_t)l->w.k,
                                  .m = n,
                                  .bias = l->b,
                                  .act = act,
                                  .residual = residual,
                                  .ldr = (size_t)l->w.n,
                                  .y = y,
                                  .ldy = (size_t)l->w.n});
}

/* h = norm(x) */
static void norm(oto_whisper_state *s, const whisper_norm *l, int n)
{
    const size_t width = (size_t)s->m->dims.width;
    oto_layer_norm(s->pool, s->x, width, l->g, l->b, EPS, n, (int)width, s->h, width);
}

static void feed_forward(oto_whisper_state *s, const whisper_layer *l, int n)
{
    norm(s, &l->ln3, n);
    linear(s, &l->fc1, s->h, n, OTO_ACT_GELU, NULL, s->big);
    linear(s, &l->fc2, s->big, n, OTO_ACT_NONE, s->x, s->x);
}

/* ---- encoder ---- */

/* Keys (kv = 0) or values of a window; in 8 bits both are one. */
static char *cross_at(const oto_whisper_state *s, int layer, int window, int kv)
{
    const size_t i = (size_t)layer * (size_t)s->max_windows + (size_t)window;
    return s->cross + i * cross_bytes(s) + (size_t)kv * cross_elems(s->m) * s->elem;
}

typedef struct {
    const oto_whisper_state *s;
    int layer, window;
} keep;

#define KEEP_ROWS 125

static void keep_task(void *arg, int task, int thread)
{
    const keep *j = arg;
    const oto_whisper_state *s = j->s;
    const size_t width = (size_t)s->m->dims.width;
    const int kv = task % 2, t0 = task / 2 * KEEP_ROWS;
    const int n = OTO_MIN(KEEP_ROWS, s->frames[j->window] - t0);
    (void)thread;
    oto_kv_store(s->m->kv_type, s->big + (size_t)t0 * 2 * width + (size_t)kv * width, 2 * width, n,
                 s->m->dims.n_heads, cross_at(s, j->layer, j->window, kv), (size_t)FRAMES * HEAD,
                 t0);
}

static void take_pages(void *p, size_t n_bytes)
{
    volatile char *at = p;
    for (size_t i = 0; i < n_bytes; i += PAGE)
        at[i] = 0;
}

/* All that a full window needs, whatever the first ones hold, and that as many windows need when
 * they are sampled: the peak must not depend on it. */
static void take_window(oto_whisper_state *s, int window)
{
    const size_t floats = (size_t)s->max_rows * (size_t)s->m->dims.width * sizeof(float);
    for (int i = 0; i < s->m->dims.n_layers_dec; i++)
        take_pages(cross_at(s, i, window, 0), cross_bytes(s));
    take_pages(s->x, floats);
    take_pages(s->h, floats);
    take_pages(s->big, 4 * floats);
    take_pages(s->logits, (size_t)(window + 1) * (size_t)s->max_wanted / (size_t)s->max_windows *
                              (size_t)s->m->dims.n_vocab * sizeof *s->logits);
}

/* Packs the keys and values of rows of `big`, at k and behind that, in place of a layer's. */
static char *pack_kv8(oto_whisper_state *s, int layer, int window, const float *k, size_t ld)
{
    char *kv8 = cross_at(s, layer, window, 0);
    oto_kv8_pack(s->pool, k, k + s->m->dims.width, ld, s->frames[window], s->heard[window],
                 s->m->dims.n_heads, HEAD, kv8);
    return kv8;
}

/* Keeps the keys and values in `big`. */
static void keep_cross(oto_whisper_state *s, int layer, int window)
{
    const size_t width = (size_t)s->m->dims.width;
    const int frames = s->frames[window];
    keep j = {.s = s, .layer = layer, .window = window};
    if (s->cross_head > 0)
        pack_kv8(s, layer, window, s->big, 2 * width);
    else
        oto_pool_run(s->pool, 2 * ((frames + KEEP_ROWS - 1) / KEEP_ROWS), keep_task, &j);
}

/* Rows of a block that is carried through a layer: its insides stay in the second-level cache and
 * fit behind qkv in `big`; 0 when a block would be too small to be worth its reading of all
 * weights.
 */
static int carried_rows(const oto_whisper_state *s)
{
    const int near = (int)(INSIDE_BYTES / (4 * sizeof(float) * (size_t)s->m->dims.width));
    const int room = FRAMES / (4 * oto_pool_threads(s->pool));
    const int rows = OTO_MIN(OTO_MIN(near, room), MAX_CARRIED) / 12 * 12;
    return s->cross_head > 0 && rows >= MIN_CARRIED ? rows : 0;
}

typedef struct {
    oto_whisper_state *s;
    int rows, frames;
    const whisper_layer *layer; /* to finish, or NULL; its keys and values are packed */
    const char *kv8;
    const whisper_layer *next; /* whose queries, keys and values come next, or NULL */
} carry;

static void carry_task(void *arg, int task, int thread)
{
    const carry *c = arg;
    const oto_whisper_state *s = c->s;
    const size_t width = (size_t)s->m->dims.width, row = (size_t)task * (size_t)c->rows;
    const int n = OTO_MIN(c->rows, c->frames - (int)row);
    float *x = s->x + row * width, *h = s->h + row * width, *qkv = s->big + row * 3 * width;
    float *inside = s->big + (3 * FRAMES + (size_t)thread * (size_t)c->rows * 4) * width;
    const whisper_norm *last = c->next ? &c->next->ln1 : &s->m->enc_ln;
    if (c->layer != NULL) {
        const whisper_layer *l = c->layer;
        oto_kv8_attend_rows(s->pool, thread, c->kv8, c->frames, s->m->dims.n_heads, HEAD, qkv,
                            3 * width, n, SCALE, h, width);
        linear_rows(s, thread, &l->out, h, n, OTO_ACT_NONE, x, x);
        oto_layer_norm_rows(x, width, l->ln3.g, l->ln3.b, EPS, n, (int)width, h, width);
        linear_rows(s, thread, &l->fc1, h, n, OTO_ACT_GELU, NULL, inside);
        linear_rows(s, thread, &l->fc2, inside, n, OTO_ACT_NONE, x, x);
    }
    oto_layer_norm_rows(x, width, last->g, last->b, EPS, n, (int)width, h, width);
    if (c->next != NULL)
        linear_rows(s, thread, &c->next->qkv, h, n, OTO_ACT_NONE, NULL, qkv);
}

/* x → h, normed, through all layers, block by block; threads meet only where all keys are needed.
 * These are packed where the window's own will be. */
static bool carry_layers(oto_whisper_state *s, int window, int rows, const oto_stop *stop)
{
    const oto_whisper *m = s->m;
    const size_t width = (size_t)m->dims.width;
    const int frames = s->frames[window];
    carry c = {.s = s, .rows = rows, .frames = frames};
    for (int i = 0; i <= m->dims.n_layers_enc; i++) {
        if (oto_stopped(stop))
            return false;
        c.layer = i > 0 ? &m->enc[i - 1] : NULL;
        c.next = i < m->dims.n_layers_enc ? &m->enc[i] : NULL;
        if (i > 0)
            c.kv8 = pack_kv8(s, 0, window, s->big + width, 3 * width);
        oto_pool_run(s->pool, (frames + rows - 1) / rows, carry_task, &c);
    }
    return true;
}

/* h = the result of attention among the rows of qkv in `big` */
static void attend(oto_whisper_state *s, int window)
{
    const oto_whisper *m = s->m;
    const size_t width = (size_t)m->dims.width;
    const int frames = s->frames[window];
    if (s->cross_head > 0) {
        const char *kv8 = pack_kv8(s, 0, window, s->big + width, 3 * width);
        oto_kv8_attend(s->pool, kv8, frames, m->dims.n_heads, HEAD, s->big, 3 * width, frames,
                       SCALE, s->h, width);
    } else {
        const oto_dtype type = m->dims.compute == OTO_COMPUTE_BF16 ? OTO_BF16 : OTO_F32;
        oto_attention_run(s->pool, &(oto_attention){.q = s->big,
                                                    .k = s->big + width,
                                                    .v = s->big + 2 * width,
                                                    .ldq = 3 * width,
                                                    .ldkv = 3 * width,
                                                    .m = frames,
                                                    .t = frames,
                                                    .n_heads = m->dims.n_heads,
                                                    .d = HEAD,
                                                    .type = type,
                                                    .scale = SCALE,
                                                    .out = s->h,
                                                    .ldo = width});
    }
}

/* The same, one operation after the other. */
static bool run_layers(oto_whisper_state *s, int window, const oto_stop *stop)
{
    const oto_whisper *m = s->m;
    const int frames = s->frames[window];
    for (int i = 0; i < m->dims.n_layers_enc; i++) {
        const whisper_layer *l = &m->enc[i];
        if (oto_stopped(stop))
            return false;
        norm(s, &l->ln1, frames);
        linear(s, &l->qkv, s->h, frames, OTO_ACT_NONE, NULL, s->big);
        attend(s, window);
        linear(s, &l->out, s->h, frames, OTO_ACT_NONE, s->x, s->x);
        feed_forward(s, l, frames);
    }
    norm(s, &m->enc_ln, frames);
    return true;
}

/* x += position: of every frame that is heard, of every fourth behind these, not always the same
 * of the four, or they would keep step with the fastest of the sinusoids. */
static void place(oto_whisper_state *s, int heard, int frames)
{
    const size_t width = (size_t)s->m->dims.width;
    for (int i = 0; i < frames; i++) {
        const int thin = i - heard, at = thin < 0 ? i : heard + thin * OTO_KV8_THIN + thin % 4;
        const float *pos = s->m->enc_pos + (size_t)at * width;
        float *x = s->x + (size_t)i * width;
        for (size_t j = 0; j < width; j++)
            x[j] += pos[j];
    }
}

bool oto_whisper_encode(oto_whisper_state *s, int window, const float *mel, int heard, bool thin,
                        const oto_stop *stop)
{
    const oto_whisper *m = s->m;
    const int rows = carried_rows(s);
    const int frames = thin ? heard + (FRAMES - heard) / OTO_KV8_THIN : heard;
    const int t_in = 2 * OTO_MIN(thin ? frames + EDGE : frames, FRAMES);
    assert(heard > 0 && heard <= FRAMES && (!thin || (s->cross_head > 0 && heard % 16 == 0)));
    assert(window >= 0 && window < s->max_windows);
    if (s->frames[window] == 0)
        take_window(s, window);
    s->frames[window] = frames;
    s->heard[window] = heard;
    oto_conv3_run(s->pool, &(oto_conv3){.w = &m->conv1.w,
                                        .x = mel,
                                        .t_in = t_in,
                                        .c_in = m->dims.n_mels,
                                        .stride = 1,
                                        .bias = m->conv1.b,
                                        .act = OTO_ACT_GELU,
                                        .y = s->big});
    oto_conv3_run(s->pool, &(oto_conv3){.w = &m->conv2.w,
                                        .x = s->big,
                                        .t_in = t_in,
                                        .c_in = m->dims.width,
                                        .stride = 2,
                                        .bias = m->conv2.b,
                                        .act = OTO_ACT_GELU,
                                        .add = thin ? NULL : m->enc_pos,
                                        .y = s->x});
    if (thin)
        place(s, heard, frames);
    if (!(rows > 0 ? carry_layers(s, window, rows, stop) : run_layers(s, window, stop)))
        return false;
    for (int i = 0; i < m->dims.n_layers_dec; i++) {
        linear(s, &m->dec[i].kv, s->h, frames, OTO_ACT_NONE, NULL, s->big);
        keep_cross(s, i, window);
    }
    return true;
}

void oto_whisper_encode_out(oto_whisper_state *s, int window, const float *mel, float *out)
{
    oto_whisper_encode(s, window, mel, FRAMES, false, &(oto_stop){.ask = NULL});
    memcpy(out, s->h, cross_elems(s->m) * sizeof *out);
}

/* ---- lanes ---- */

/* Keys (kv = 0) or values of a lane. */
static char *self_at(const oto_whisper_state *s, int layer, int kv, int lane)
{
    const size_t i = ((size_t)layer * 2 + (size_t)kv) * (size_t)s->max_lanes + (size_t)lane;
    return s->self + i * self_elems(s->m) * s->elem;
}

/* Pages of the first n_pos positions of each head. */
static void take_lane(oto_whisper_state *s, int lane, int n_pos)
{
    const int n_heads = s->m->dims.n_heads * 2 * s->m->dims.n_layers_dec;
    const size_t row = (size_t)HEAD * s->elem;
    for (int i = 0; i < n_heads; i++) {
        const int head = i % s->m->dims.n_heads, kv = i / s->m->dims.n_heads % 2;
        volatile char *p =
            self_at(s, i / s->m->dims.n_heads / 2, kv, lane) + (size_t)head * CTX * row;
        for (size_t at = (size_t)s->taken[lane] * row; at < (size_t)n_pos * row; at += PAGE)
            p[at] = 0;
    }
    s->taken[lane] = n_pos;
}

void oto_whisper_lane_start(oto_whisper_state *s, int lane, int window, int n_pos)
{
    assert(lane >= 0 && lane < s->max_lanes && window >= 0 && window < s->max_windows);
    assert(n_pos <= CTX);
    /* The lanes of as many windows as there are now: whether a window will be sampled, which takes
     * more lanes than a greedy pass, must not show in the peak. */
    const int all = OTO_MAX(lane + 1, (window + 1) * s->max_lanes / s->max_windows);
    for (int i = 0; i < all; i++)
        if (s->taken[i] < n_pos)
            take_lane(s, i, n_pos);
    s->window[lane] = window;
}

void oto_whisper_lanes_move(oto_whisper_state *s, const int *dst, const int *src, int n, int n_pos)
{
    const size_t bytes = (size_t)n_pos * sizeof *s->from;
    assert(n <= s->max_lanes && n_pos <= CTX);
    for (int i = 0; i < n; i++)
        memcpy(s->moved + (size_t)i * CTX, s->from + (size_t)src[i] * CTX, bytes);
    for (int i = 0; i < n; i++)
        memcpy(s->from + (size_t)dst[i] * CTX, s->moved + (size_t)i * CTX, bytes);
}

/* ---- decoder ---- */

/* x = embedding + position, and the rows take possession of their positions. */
static void embed(oto_whisper_state *s, const oto_whisper_row *rows, int n)
{
    const oto_whisper *m = s->m;
    const size_t width = (size_t)m->dims.width;
    for (int i = 0; i < n; i++) {
        const oto_whisper_row *r = &rows[i];
        const float *pos = m->dec_pos + (size_t)r->pos * width;
        float *x = s->x + (size_t)i * width;
        assert(r->lane >= 0 && r->lane < s->max_lanes && r->pos >= 0 && r->pos < CTX);
        assert(r->token >= 0 && r->token < m->dims.n_vocab);
        oto_mat_row(&m->tok, r->token, x);
        for (size_t j = 0; j < width; j++)
            x[j] += pos[j];
        s->from[(size_t)r->lane * CTX + (size_t)r->pos] = (int16_t)r->lane;
    }
}

/* Stores the new keys and values, one run of a lane's positions at a time. */
static void keep_self(oto_whisper_state *s, int layer, const oto_whisper_row *rows, int n)
{
    const int width = s->m->dims.width;
    for (int i = 0, run; i < n; i += run) {
        run = 1;
        while (i + run < n && rows[i + run].lane == rows[i].lane)
            run++;
        for (int kv = 0; kv < 2; kv++)
            oto_kv_store(s->m->kv_type, s->big + ((size_t)i * 3 + 1 + (size_t)kv) * (size_t)width,
                         3 * (size_t)width, run, s->m->dims.n_heads,
                         self_at(s, layer, kv, rows[i].lane), (size_t)CTX * HEAD, rows[i].pos);
    }
}

static void self_attention(oto_whisper_state *s, int layer, const oto_whisper_row *rows, int n)
{
    const oto_whisper *m = s->m;
    const size_t width = (size_t)m->dims.width;
    const oto_kv kv = {.type = m->kv_type,
                       .k = self_at(s, layer, 0, 0),
                       .v = self_at(s, layer, 1, 0),
                       .head_stride = (size_t)CTX * HEAD};
    norm(s, &m->dec[layer].ln1, n);
    linear(s, &m->dec[layer].qkv, s->h, n, OTO_ACT_NONE, NULL, s->big);
    keep_self(s, layer, rows, n);
    for (int i = 0; i < n; i++)
        s->attn[i] = (oto_attn_lane){
            .kv = kv, .row = s->from + (size_t)rows[i].lane * CTX, .n_keys = rows[i].pos + 1};
    oto_attention_step(s->pool, s->big, 3 * width, n, s->attn, self_elems(m), m->dims.n_heads,
                       SCALE, s->h, width);
    linear(s, &m->dec[layer].out, s->h, n, OTO_ACT_NONE, s->x, s->x);
}

static oto_kv cross_kv(const oto_whisper_state *s, int layer, int window)
{
    if (s->cross_head > 0)
        return (oto_kv){.type = OTO_I8,
                        .k = cross_at(s, layer, window, 0),
                        .head_stride = oto_kv8_bytes(s->frames[window], HEAD)};
    return (oto_kv){.type = s->m->kv_type,
                    .k = cross_at(s, layer, window, 0),
                    .v = cross_at(s, layer, window, 1),
                    .head_stride = (size_t)FRAMES * HEAD};
}

/* Leaves the queries in `big`. */
static void cross_attention(oto_whisper_state *s, int layer, const oto_whisper_row *rows, int n)
{
    const oto_whisper *m = s->m;
    const size_t width = (size_t)m->dims.width;
    norm(s, &m->dec[layer].ln2, n);
    linear(s, &m->dec[layer].q, s->h, n, OTO_ACT_NONE, NULL, s->big);
    for (int i = 0; i < n; i++) {
        const int window = s->window[rows[i].lane];
        s->attn[i] = (oto_attn_lane){.kv = cross_kv(s, layer, window), .n_keys = s->frames[window]};
    }
    oto_attention_step(s->pool, s->big, width, n, s->attn, 0, m->dims.n_heads, SCALE, s->h, width);
    linear(s, &m->dec[layer].cross, s->h, n, OTO_ACT_NONE, s->x, s->x);
}

/* logits [n][n_vocab] of rows of h. */
static void project(oto_whisper_state *s, const float *h, int n)
{
    const whisper_linear tok = {.w = s->m->tok};
    linear(s, &tok, h, n, OTO_ACT_NONE, NULL, s->logits);
}

float *oto_whisper_decode(oto_whisper_state *s, const oto_whisper_row *rows, int n_rows)
{
    const size_t width = (size_t)s->m->dims.width;
    int wanted = 0;
    assert(n_rows <= s->max_rows);
    embed(s, rows, n_rows);
    for (int i = 0; i < s->m->dims.n_layers_dec; i++) {
        self_attention(s, i, rows, n_rows);
        cross_attention(s, i, rows, n_rows);
        feed_forward(s, &s->m->dec[i], n_rows);
    }
    for (int i = 0; i < n_rows; i++)
        if (rows[i].logits) {
            if (wanted < i)
                memcpy(s->x + (size_t)wanted * width, s->x + (size_t)i * width,
                       width * sizeof *s->x);
            wanted++;
        }
    if (wanted == 0)
        return NULL;
    assert(wanted <= s->max_wanted);
    norm(s, &s->m->dec_ln, wanted);
    project(s, s->h, wanted);
    return s->logits;
}

/* ---- alignment ---- */

static float bf16_at(const void *p, size_t i)
{
    return oto_bf16_to_f32(((const uint16_t *)p)[i]);
}

/* Keys of one head, scaled; in 8 bits they are without their mean, which softmax does not see. */
static void head_keys(const oto_whisper_state *s, int layer, int window, int head, int n,
                      float *keys)
{
    const char *cross = cross_at(s, layer, window, 0);
    const int frames = s->frames[window];
    const char *k = cross + (size_t)head * FRAMES * HEAD * s->elem;
    const size_t elems = (size_t)n * HEAD;
    if (s->cross_head > 0)
        oto_kv8_keys(cross + (size_t)head * oto_kv8_bytes(frames, HEAD), frames, n, keys);
    else
        for (size_t i = 0; i < elems; i++)
            keys[i] = s->elem == 2 ? bf16_at(k, i) : ((const float *)k)[i];
    for (size_t i = 0; i < elems; i++)
        keys[i] *= SCALE;
}

/* weights [n][n_frames] of one head: a product of the queries, in `big`, with the keys packed like
 * a matrix. Behind the queries there is room for the keys as f32 and as packed: at most 448 rows of
 * the 1500 × 4 are taken. */
static void head_weights(oto_whisper_state *s, int layer, int window, int head, int n, int n_frames,
                         float *weights)
{
    const size_t width = (size_t)s->m->dims.width;
    float *keys = s->big + CTX * width, *packed = keys + (size_t)FRAMES * HEAD;
    head_keys(s, layer, window, head, n_frames, keys);
    oto_pack(OTO_F32, keys, n_frames, HEAD, HEAD, packed, NULL, NULL);
    const oto_mat w = {.type = OTO_F32, .n = n_frames, .k = HEAD, .data = packed};
    oto_linear_run(s->pool, &(oto_linear){.w = &w,
                                          .x = s->big + (size_t)head * HEAD,
                                          .ldx = width,
                                          .m = n,
                                          .y = weights,
                                          .ldy = (size_t)n_frames});
    oto_softmax(s->pool, weights, (size_t)n_frames, n, n_frames);
}

static void token_log_probs(oto_whisper_state *s, const int32_t *tokens, int n, float *log_prob)
{
    const size_t width = (size_t)s->m->dims.width, vocab = (size_t)s->m->dims.n_vocab;
    for (int at = 0, count; at < n - 1; at += count) {
        count = OTO_MIN(s->max_wanted, n - 1 - at);
        project(s, s->h + (size_t)at * width, count);
        for (int i = 0; i < count; i++) {
            const float *row = s->logits + (size_t)i * vocab;
            log_prob[at + i] =
                row[tokens[at + i + 1]] - oto_k()->logsumexp_f32(row, s->m->dims.eot);
        }
    }
}

int oto_whisper_align(oto_whisper_state *s, int lane, int window, const int32_t *tokens, int n,
                      int n_frames, oto_arena *a, float **weights, float **log_prob, oto_err *e)
{
    const oto_whisper_dims *d = &s->m->dims;
    const size_t each = (size_t)n * (size_t)n_frames;
    float *w, *p;
    int rc;
    assert(n >= 1 && n_frames >= 0 && n_frames <= s->frames[window]);
    if (n > CTX)
        return oto_fail(e, OTO_E_LIMIT, "whisper: %d tokens to align, at most %d", n, CTX);
    if ((rc = oto_arena_get(a, (size_t)d->n_alignment_heads * each, sizeof *w, &w, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)n, sizeof *p, &p, e)) != 0)
        return rc;
    oto_whisper_lane_start(s, lane, window, n);
    for (int i = 0; i < n; i++)
        s->rows[i] = (oto_whisper_row){.lane = lane, .pos = i, .token = tokens[i]};
    embed(s, s->rows, n);
    for (int i = 0; i < d->n_layers_dec; i++) {
        self_attention(s, i, s->rows, n);
        cross_attention(s, i, s->rows, n);
        for (int j = 0; j < d->n_alignment_heads && n_frames > 0; j++)
            if (d->alignment_heads[2 * j] == i)
                head_weights(s, i, window, d->alignment_heads[2 * j + 1], n, n_frames,
                             w + (size_t)j * each);
        feed_forward(s, &s->m->dec[i], n);
    }
    norm(s, &s->m->dec_ln, n);
    token_log_probs(s, tokens, n, p);
    *weights = w;
    *log_prob = p;
    return 0;
}
