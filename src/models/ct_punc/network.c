/* network: ids of tokens to the marks behind them, each from all of the tokens; in the realtime
 * model from those before it, but for the last layer. */
#include "models/ct_punc/ct_punc.h"

size_t oto_ct_network_bytes(const ct_punc *m)
{
    return oto_sanm_bytes(&m->sanm, CT_ROWS) + CT_ROWS * (size_t)m->n_marks * sizeof(float) + 128;
}

int oto_ct_network_new(const ct_punc *m, oto_pool *pool, oto_arena *a, ct_network *out, oto_err *e)
{
    int rc;

    *out = (ct_network){.m = m};
    if ((rc = oto_sanm_new(&m->sanm, CT_ROWS, pool, a, &out->sanm, e)) != 0)
        return rc;
    return oto_arena_get(a, CT_ROWS * (size_t)m->n_marks, sizeof *out->logits, &out->logits, e);
}

void oto_ct_network_run(ct_network *net, const int *ids, int n, int pause, ct_mark *marks)
{
    const ct_punc *m = net->m;

    for (int i = 0; i < n; i++)
        oto_mat_row(&m->embed, ids[i], net->sanm.in + (size_t)i * CT_D);
    net->end = n;
    net->sanm.end = &net->end;
    net->sanm.n_seq = 1;
    net->sanm.looks_back = m->realtime;
    net->sanm.pause = pause;
    oto_sanm_place(&net->sanm);
    oto_sanm_run(&net->sanm, m->layers, m->n_layers, true, &m->norm);
    oto_dense_run(net->sanm.pool, &m->out, net->sanm.x, n, OTO_ACT_NONE, NULL, net->logits);
    for (int i = 0; i < n; i++)
        marks[i] = m->marks[oto_k()->argmax_f32(net->logits + i * m->n_marks, m->n_marks)];
}
