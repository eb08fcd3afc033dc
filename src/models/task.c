/* task: the functions of models.h for voice activity and punctuation, handed on to the family that
 * fills them; those for recognition are in asr.c. */
#include "models/family.h"

struct oto_vad {
    const oto_family *family;
    void *state;
};

struct oto_punc {
    const oto_family *family;
    void *state;
};

int oto_check_task(const oto_model *m, oto_task task, oto_err *e)
{
    static const char *const work[] = {[OTO_TASK_VAD] = "detect voice activity",
                                       [OTO_TASK_ASR] = "recognise speech",
                                       [OTO_TASK_PUNC] = "punctuate"};

    if (m->family->task != task)
        return oto_fail(e, OTO_E_UNSUPPORTED, "%s: a %s model cannot %s",
                        oto_weights_path(m->weights), m->family->name, work[task]);
    return 0;
}

void oto_vad_defaults(oto_vad_options *o)
{
    *o = (oto_vad_options){.max_end_silence_ms = 800,
                           .speech_to_sil_ms = 150,
                           .sil_to_speech_ms = 150,
                           .max_segment_ms = 60000,
                           .lookback_ms = 200,
                           .lookahead_ms = 100,
                           .speech_noise_thres = 0.6f,
                           .decibel_thres = -100.0f,
                           .snr_thres = -100.0f,
                           .dynamic_end_silence = false,
                           .dynamic_chunk_ms = 60000};
}

int oto_vad_new(const oto_model *m, const oto_vad_options *o, oto_pool *pool, oto_arena *a,
                oto_vad **out, oto_err *e)
{
    oto_vad *v;
    int rc;

    if ((rc = oto_check_task(m, OTO_TASK_VAD, e)) != 0 ||
        (rc = oto_arena_get(a, 1, sizeof *v, &v, e)) != 0)
        return rc;
    v->family = m->family;
    if ((rc = m->family->vad_new(m->impl, o, pool, a, &v->state, e)) != 0)
        return rc;
    *out = v;
    return 0;
}

int oto_vad_push(oto_vad *v, const float *pcm, size_t n, bool final, oto_span *out, int max,
                 size_t *used)
{
    return v->family->vad_push(v->state, pcm, n, final, out, max, used);
}

int64_t oto_vad_open_ms(const oto_vad *v)
{
    return v->family->vad_open_ms(v->state);
}

int64_t oto_vad_horizon_ms(const oto_vad *v)
{
    return v->family->vad_horizon_ms(v->state);
}

void oto_vad_reset(oto_vad *v)
{
    v->family->vad_reset(v->state);
}

size_t oto_punc_bytes(const oto_model *m)
{
    if (m->family->task != OTO_TASK_PUNC)
        return 0;
    return sizeof(oto_punc) + 64 + m->family->punc_bytes(m->impl);
}

int oto_punc_new(const oto_model *m, oto_pool *pool, oto_arena *a, oto_punc **out, oto_err *e)
{
    oto_punc *p;
    int rc;

    if ((rc = oto_check_task(m, OTO_TASK_PUNC, e)) != 0 ||
        (rc = oto_arena_get(a, 1, sizeof *p, &p, e)) != 0)
        return rc;
    p->family = m->family;
    if ((rc = m->family->punc_new(m->impl, pool, a, &p->state, e)) != 0)
        return rc;
    *out = p;
    return 0;
}

int oto_punc_push(oto_punc *p, const oto_timed_piece *piece, int64_t tag, size_t *used,
                  const oto_punc_token **out)
{
    return p->family->punc_push(p->state, piece, tag, used, out);
}

int oto_punc_pause(oto_punc *p, const oto_punc_token **out)
{
    return p->family->punc_pause(p->state, out);
}

int oto_punc_finish(oto_punc *p, const oto_punc_token **out)
{
    return p->family->punc_finish(p->state, out);
}

void oto_punc_reset(oto_punc *p)
{
    p->family->punc_reset(p->state);
}
