/* What a decoder's tokens x hear of rows, those of sound or those of hot words:
 *
 *   out(softmax(q kᵀ / √(a head's width)) v),  q = q(norm3(x)), k | v = kv(rows) */
#include "models/paraformer/paraformer.h"

#include <math.h>
#include <string.h>

#define NAME_SIZE 128

static const struct {
    const char *name;
    int n;
} projections[] = {{"linear_q", PF_D}, {"linear_k_v", 2 * PF_D}, {"linear_out", PF_D}};

/* ---- packing and binding ---- */

int oto_pf_attention_pack(const oto_weights *src, oto_gguf_writer *dst, const char *prefix,
                          oto_dtype type, oto_arena *a, oto_err *e)
{
    char n[NAME_SIZE];
    int rc;

    snprintf(n, sizeof n, "%s.norm3", prefix);
    rc = oto_norm_pack(src, dst, n, PF_D, a, e);
    for (size_t j = 0; j < OTO_COUNT(projections) && rc == 0; j++) {
        snprintf(n, sizeof n, "%s.src_attn.%s", prefix, projections[j].name);
        rc = oto_dense_pack(src, dst, n, type, projections[j].n, PF_D, true, a, e);
    }
    return rc;
}

int oto_pf_attention_bind(const oto_weights *w, const char *prefix, oto_dtype type, float eps,
                          pf_attention *out, oto_err *e)
{
    oto_dense *const dense[] = {&out->q, &out->kv, &out->out};
    char n[NAME_SIZE];
    int rc;

    snprintf(n, sizeof n, "%s.norm3", prefix);
    rc = oto_norm_bind(w, n, PF_D, eps, &out->norm, e);
    for (size_t j = 0; j < OTO_COUNT(projections) && rc == 0; j++) {
        snprintf(n, sizeof n, "%s.src_attn.%s", prefix, projections[j].name);
        rc = oto_dense_bind(w, n, type, projections[j].n, PF_D, true, dense[j], e);
    }
    return rc;
}

/* ---- running ---- */

/* q and, in `wide`, the memory's keys and values */
static void project(pf_network *s, const pf_attention *l, const pf_memory *memory, const float *x,
                    int n)
{
    oto_norm_run(s->pool, &l->norm, x, n, s->t);
    oto_dense_run(s->pool, &l->q, s->t, n, OTO_ACT_NONE, NULL, s->q);
    oto_dense_run(s->pool, &l->kv, memory->rows, memory->n, OTO_ACT_NONE, NULL, s->wide);
}

void oto_pf_attention_run(pf_network *s, const pf_attention *l, const pf_memory *memory,
                          const int *end, int windows, const float *x, const float *residual,
                          float *y)
{
    const int n = end[windows - 1];
    const bool shared = memory->end == NULL;

    project(s, l, memory, x, n);
    for (int i = 0; i < (shared ? 1 : windows); i++) {
        const int row = shared || i == 0 ? 0 : memory->end[i - 1];
        const int rows = (shared ? memory->n : memory->end[i]) - row;
        const int token = shared || i == 0 ? 0 : end[i - 1];
        const int tokens = (shared ? n : end[i]) - token;
        const float *kv = s->wide + (size_t)row * 2 * PF_D;

        if (tokens > 0)
            oto_sanm_attend(&s->sanm, s->q + (size_t)token * PF_D, PF_D, tokens, kv, kv + PF_D,
                            2 * PF_D, rows, s->t + (size_t)token * PF_D);
    }
    oto_dense_run(s->pool, &l->out, s->t, n, OTO_ACT_NONE, residual, y);
}

/* score += softmax of q's products with n keys */
static void add_softmax(const float *q, const float *keys, int n, int d, float *p, float *score)
{
    const float scale = 1 / sqrtf((float)d);
    float most = -INFINITY, sum = 0;

    for (int i = 0; i < n; i++) {
        p[i] = scale * oto_k()->dot_f32(q, keys + (size_t)i * 2 * PF_D, d);
        most = OTO_MAX(most, p[i]);
    }
    for (int i = 0; i < n; i++)
        sum += p[i] = expf(p[i] - most);
    for (int i = 0; i < n; i++)
        score[i] += p[i] / sum;
}

void oto_pf_attention_scores(pf_network *s, const pf_attention *l, const pf_memory *memory, int n,
                             const float *x, float *score)
{
    const int heads = s->sanm.dims.heads, width = PF_D / heads;
    float p[PF_ROWS];

    project(s, l, memory, x, n);
    memset(score, 0, (size_t)memory->n * sizeof *score);
    for (int i = 0; i < n; i++)
        for (int h = 0; h < heads; h++)
            add_softmax(s->q + (size_t)i * PF_D + h * width, s->wide + h * width, memory->n, width,
                        p, score);
}
