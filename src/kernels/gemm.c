/* Packed weights, and products with them.
 *
 * A product is cut into tasks of (block of rows) × (range of panels). A task prepares its rows once
 * in its thread's scratch (copied, rounded to bf16 or quantised; a block is sized to stay in the
 * second-level cache) and then walks its panels: for up to np panels at a time all tiles of the
 * block, each tile's sums going through a small buffer on the stack to the epilogue (scale, bias,
 * activation, residual). So weights stream from memory once per block of rows, and a group of
 * panels is reused by all tiles of the block while it is near.
 *
 *            panels of 16 outputs →            with many rows: blocks of rows are the tasks
 *   rows   ┌────┬────┬────┬────┬─ ─            with few rows (decoding): one block, ranges of
 * panels are the tasks, of x   │tile│    │    │    │                 each preparing the rows again,
 * which costs little then ↓    ├────┼────┤    │    │
 *
 * k is never split: a tile runs over all of it in ascending order. Its accumulators thus add in the
 * same order whatever the tile's size, and rows come out the same whatever batch and thread they
 * are computed in.
 *
 * A convolution is the same product: row t of the unfolded input is 3 * c_in consecutive floats of
 * x, starting at frame t * stride - 1; only rows that reach over an edge are put together in
 * scratch first. */
#include "kernels/kernels_impl.h"

#include <math.h>
#include <string.h>

#define BLOCK_BYTES                                                                                \
    ((size_t)3 << 18) /* of prepared rows: leaves room for panels in 1 to 2 MiB of L2 */
#define BLOCK_ROWS 192
#define ALONE_OPS  200000 /* below this many multiplications other threads are not worth waking */
#define TASK_OPS   500000 /* a task should have at least about this many */

/* ---- packing ---- */

static int group_of(oto_dtype type)
{
    return type == OTO_I8 ? 4 : type == OTO_BF16 ? 2 : 1;
}

static size_t elem_bytes(oto_dtype type)
{
    return type == OTO_I8 ? 1 : type == OTO_BF16 ? 2 : 4;
}

static int n_groups(oto_dtype type, int k)
{
    return (int)(((unsigned)k + (unsigned)group_of(type) - 1) / (unsigned)group_of(type));
}

static int n_panels(int n)
{
    return (int)(((unsigned)n + OTO_PANEL - 1) / OTO_PANEL);
}

static size_t panel_bytes(oto_dtype type, int k)
{
    return (size_t)n_groups(type, k) * (size_t)group_of(type) * OTO_PANEL * elem_bytes(type);
}

size_t oto_pack_bytes(oto_dtype type, int n, int k)
{
    size_t total;
    if (n < 1 || k < 1 || type > OTO_I8 ||
        !oto_mul_size(panel_bytes(type, k), (size_t)n_panels(n), &total))
        return 0;
    return total;
}

static void quantise_row(const float *w, int k, int8_t *out, size_t step_group, float *scale,
                         int32_t *row_sum)
{
    float most = 0;
    for (int i = 0; i < k; i++)
        most = fmaxf(most, fabsf(w[i]));
    *scale = most > 1e-30f ? most / 127 : 0;
    int32_t sum = 0;
    for (int i = 0; i < k; i++) {
        float q = *scale > 0 ? rintf(w[i] / *scale) : 0;
        int8_t v = (int8_t)(q > 127 ? 127 : q > -127 ? q : -127);
        out[(size_t)(i / 4) * step_group + (size_t)(i % 4)] = v;
        sum += v;
    }
    *row_sum = sum;
}

void oto_pack(oto_dtype type, const float *w, int n, int k, size_t ld, void *data, float *scale,
              int32_t *row_sum)
{
    size_t panel = panel_bytes(type, k);
    memset(data, 0, panel * (size_t)n_panels(n));
    for (int r = 0; r < n; r++) {
        const float *src = w + (size_t)r * ld;
        char *to = (char *)data + panel * (size_t)(r / OTO_PANEL);
        size_t j = (size_t)(r % OTO_PANEL);
        if (type == OTO_F32) {
            for (int i = 0; i < k; i++)
                ((float *)to)[(size_t)i * OTO_PANEL + j] = src[i];
        } else if (type == OTO_BF16) {
            for (int i = 0; i < k; i++)
                ((uint16_t *)to)[((size_t)(i / 2) * OTO_PANEL + j) * 2 + (size_t)(i % 2)] =
                    oto_f32_to_bf16(src[i]);
        } else {
            quantise_row(src, k, (int8_t *)to + j * 4, OTO_PANEL * 4, &scale[r], &row_sum[r]);
        }
    }
    for (int r = n; type == OTO_I8 && r < n_panels(n) * OTO_PANEL; r++) {
        scale[r] = 0;
        row_sum[r] = 0;
    }
}

void oto_mat_row(const oto_mat *w, int row, float *out)
{
    const char *panel =
        (const char *)w->data + panel_bytes(w->type, w->k) * (size_t)(row / OTO_PANEL);
    size_t j = (size_t)(row % OTO_PANEL);
    if (w->type == OTO_F32)
        for (int i = 0; i < w->k; i++)
            out[i] = ((const float *)panel)[(size_t)i * OTO_PANEL + j];
    else if (w->type == OTO_BF16)
        for (int i = 0; i < w->k; i++)
            out[i] = oto_bf16_to_f32(
                ((const uint16_t *)panel)[((size_t)(i / 2) * OTO_PANEL + j) * 2 + (size_t)(i % 2)]);
    else
        for (int i = 0; i < w->k; i++)
            out[i] =
                w->scale[row] *
                ((const int8_t *)panel)[((size_t)(i / 4) * OTO_PANEL + j) * 4 + (size_t)(i % 4)];
}

/* ---- products ---- */

typedef struct {
    oto_linear a;
    const oto_kernels_impl *impl;
    const oto_mm *mm;
    oto_pool *pool;
    /* Row r is at x + r * row_step + row_at; outside [0, x_end) it reads as zero. A linear product
     * never is. */
    ptrdiff_t row_step, row_at, x_end;
    size_t panel; /* bytes */
    size_t lda;   /* bytes of a prepared row */
    int groups;
    int block_rows, panel_range;
    int row_blocks, panel_ranges;
    bool ready; /* all rows are prepared, in the scratch of thread 0 */
} product;

/* Copies a row that reaches over an edge, with zeros outside. */
static const float *edge_row(const product *p, ptrdiff_t from, float *out)
{
    for (ptrdiff_t i = 0; i < p->a.w->k; i++)
        out[i] = from + i >= 0 && from + i < p->x_end ? p->a.x[from + i] : 0;
    return out;
}

/* Rows to where the tiles read them: behind their scales in the scratch of `thread`. */
static void prepare_rows(const product *p, int row, int rows, int thread)
{
    float *scales = oto_pool_scratch(p->pool, thread, NULL);
    char *out = (char *)(scales + BLOCK_ROWS);
    float *edge = (float *)(out + p->lda * (size_t)oto_whole_rows(p->mm, p->block_rows));
    for (int i = 0; i < rows; i++) {
        ptrdiff_t from = (row + i) * p->row_step + p->row_at;
        const float *x =
            from >= 0 && from + p->a.w->k <= p->x_end ? p->a.x + from : edge_row(p, from, edge);
        scales[i] = p->mm->prepare(x, p->a.w->k, out + (size_t)i * p->lda);
    }
}

static void finish_tile(const product *p, int row, int panel, const void *c, int ldc, int m,
                        const float *scales)
{
    const oto_linear *a = &p->a;
    size_t first = (size_t)panel * OTO_PANEL;
    oto_finish f = {
        .x_scale = scales,
        .zero = p->mm->zero,
        .bias = a->bias ? a->bias + first : NULL,
        .act = a->act,
        .residual = a->residual ? a->residual + (size_t)row * a->ldr + first : NULL,
        .ldr = a->ldr,
        .y = a->y + (size_t)row * a->ldy + first,
        .ldy = a->ldy,
    };
    if (a->w->type == OTO_I8) {
        f.w_scale = a->w->scale + first;
        f.row_sum = a->w->row_sum + first;
    }
    p->impl->finish(&f, c, ldc, m, OTO_MIN(ldc, a->w->n - (int)first));
}

static void product_task(void *arg, int task, int thread)
{
    const product *p = arg;
    int row = task / p->panel_ranges * p->block_rows;
    int rows = OTO_MIN(p->block_rows, p->a.m - row);
    int panel = task % p->panel_ranges * p->panel_range;
    int panel_end = OTO_MIN(panel + p->panel_range, n_panels(p->a.w->n));

    const float *scales = oto_pool_scratch(p->pool, p->ready ? 0 : thread, NULL);
    const char *rows_a = (const char *)(scales + BLOCK_ROWS);
    if (!p->ready)
        prepare_rows(p, row, rows, thread);

    _Alignas(64) float c[OTO_MR_MAX * OTO_NP_MAX * OTO_PANEL];
    oto_begin_tiles(p->mm);
    for (int np; panel < panel_end; panel += np) {
        np = OTO_MIN(p->mm->np, panel_end - panel);
        const char *w = (const char *)p->a.w->data + p->panel * (size_t)panel;
        for (int t = 0, at, m; (at = oto_tile_row(p->mm, rows, t)) < rows; t++) {
            m = oto_tile_row(p->mm, rows, t + 1) - at;
            p->mm->tile(m, np, p->groups, rows_a + (size_t)at * p->lda, p->lda, w, p->panel, c,
                        (size_t)np * OTO_PANEL);
            finish_tile(p, row + at, panel, c, np * OTO_PANEL, m, scales + at);
        }
    }
    oto_end_tiles(p->mm);
}

/* Chooses blocks of rows first; panels are divided only when that leaves threads without work. */
static void plan(product *p, int threads)
{
    const oto_mat *w = p->a.w;
    int panels = n_panels(w->n);
    size_t scratch;
    oto_pool_scratch(p->pool, 0, &scratch);
    p->impl = oto_k()->impl;
    p->mm = &p->impl->mm[w->type];
    p->groups = n_groups(w->type, w->k);
    p->panel = panel_bytes(w->type, w->k);
    p->lda = (size_t)p->groups * (size_t)group_of(w->type) * (size_t)p->mm->a_bytes;
    p->lda =
        (p->lda + 63) / 64 * 64 + 64; /* an odd number of lines: rows do not share cache sets */
    if (p->lda / 64 % 2 == 0)
        p->lda += 64;
    size_t fixed = BLOCK_ROWS * sizeof(float) + (size_t)w->k * sizeof(float);
    size_t fit = OTO_MAX(OTO_MIN(BLOCK_BYTES / p->lda, BLOCK_ROWS), (size_t)p->mm->mr);
    fit = OTO_MIN(fit, (scratch - fixed) / p->lda);
    fit -= fit > (size_t)p->mm->mr ? fit % (size_t)p->mm->mr : 0;

    double ops = (double)p->a.m * w->n * w->k;
    int wanted = ops < ALONE_OPS ? 1 : (int)OTO_MIN(4.0 * threads, 1 + ops / TASK_OPS);
    if (threads == 1)
        wanted = 1;
    p->block_rows = OTO_MIN((int)fit, p->a.m);
    p->row_blocks = (p->a.m + p->block_rows - 1) / p->block_rows;
    if (p->row_blocks < wanted && p->a.m >= 4 * p->mm->mr) {
        /* Smaller blocks, as long as a panel still meets several tiles. */
        int rows = OTO_MAX((p->a.m + wanted - 1) / wanted, 4 * p->mm->mr);
        p->block_rows = OTO_MIN(p->block_rows, (rows + p->mm->mr - 1) / p->mm->mr * p->mm->mr);
        p->row_blocks = (p->a.m + p->block_rows - 1) / p->block_rows;
    }
    int ranges =
        OTO_MAX(1, OTO_MIN((wanted + p->row_blocks - 1) / p->row_blocks, panels / p->mm->np));
    p->panel_range = (panels + ranges - 1) / ranges;
    p->panel_range = (p->panel_range + p->mm->np - 1) / p->mm->np * p->mm->np;
    p->panel_ranges = (panels + p->panel_range - 1) / p->panel_range;
}

static void run_product(product *p, oto_pool *pool)
{
    if (p->a.m < 1)
        return;
    p->pool = pool;
    plan(p, oto_pool_threads(pool));
    if (p->row_blocks == 1 && p->panel_ranges > 1) { /* few rows that many tasks want */
        prepare_rows(p, 0, p->a.m, 0);
        p->ready = true;
    }
    oto_pool_run(pool, p->row_blocks * p->panel_ranges, product_task, p);
}

void oto_linear_run(oto_pool *pool, const oto_linear *a)
{
    product p = {.a = *a, .row_step = (ptrdiff_t)a->ldx, .x_end = PTRDIFF_MAX};
    run_product(&p, pool);
}

void oto_linear_rows(oto_pool *pool, int thread, const oto_linear *a)
{
    product p = {.a = *a, .pool = pool, .row_step = (ptrdiff_t)a->ldx, .x_end = PTRDIFF_MAX};
    plan(&p, 1);
    for (int i = 0; i < p.row_blocks; i++)
        product_task(&p, i, thread);
}

void oto_conv3_run(oto_pool *pool, const oto_conv3 *a)
{
    product p = {
        .a = {.w = a->w,
              .x = a->x,
              .m = (a->t_in - 1) / a->stride + 1,
              .bias = a->bias,
              .act = a->act,
              .residual = a->add,
              .ldr = (size_t)a->w->n,
              .y = a->y,
              .ldy = (size_t)a->w->n},
        .row_step = (ptrdiff_t)a->stride * a->c_in,
        .row_at = -(ptrdiff_t)a->c_in,
        .x_end = (ptrdiff_t)a->t_in * a->c_in,
    };
    run_product(&p, pool);
}

/* ---- rows ---- */

typedef struct {
    const oto_kernels_impl *impl;
    const float *x, *gamma, *beta;
    float *y;
    size_t ldx, ldy;
    float eps;
    int m, n, rows;
} row_job;

static void norm_task(void *arg, int task, int thread)
{
    (void)thread;
    const row_job *j = arg;
    for (int i = task * j->rows; i < OTO_MIN((task + 1) * j->rows, j->m); i++)
        j->impl->layer_norm(j->x + (size_t)i * j->ldx, j->gamma, j->beta, j->eps, j->n,
                            j->y + (size_t)i * j->ldy);
}

static void softmax_task(void *arg, int task, int thread)
{
    (void)thread;
    const row_job *j = arg;
    for (int i = task * j->rows; i < OTO_MIN((task + 1) * j->rows, j->m); i++) {
        float *y = j->y + (size_t)i * j->ldy;
        float sum = j->impl->mm[OTO_F32].exp_row(y, j->n, j->n, y);
        j->impl->scale(y, j->n, 1 / sum, y);
    }
}

/* About 16 Ki elements a task. */
static void run_rows(oto_pool *pool, row_job *j, void (*task)(void *, int, int))
{
    j->impl = oto_k()->impl;
    j->rows = OTO_MAX(1, (1 << 14) / j->n);
    oto_pool_run(pool, (j->m + j->rows - 1) / j->rows, task, j);
}

void oto_layer_norm(oto_pool *pool, const float *x, size_t ldx, const float *gamma,
                    const float *beta, float eps, int m, int n, float *y, size_t ldy)
{
    row_job j = {.x = x,
                 .gamma = gamma,
                 .beta = beta,
                 .y = y,
                 .ldx = ldx,
                 .ldy = ldy,
                 .eps = eps,
                 .m = m,
                 .n = n};
    run_rows(pool, &j, norm_task);
}

void oto_layer_norm_rows(const float *x, size_t ldx, const float *gamma, const float *beta,
                         float eps, int m, int n, float *y, size_t ldy)
{
    const oto_kernels_impl *impl = oto_k()->impl;
    for (int i = 0; i < m; i++)
        impl->layer_norm(x + (size_t)i * ldx, gamma, beta, eps, n, y + (size_t)i * ldy);
}

void oto_softmax(oto_pool *pool, float *x, size_t ldx, int m, int n)
{
    row_job j = {.y = x, .ldy = ldx, .m = m, .n = n};
    run_rows(pool, &j, softmax_task);
}
