/* task: the functions of models.h by task, handed on to the family that fills them. */
#include "models/family.h"

struct oto_vad {
    const oto_family *family;
    void *state;
};

struct oto_asr {
    const oto_family *family;
    void *state;
};

struct oto_punc {
    const oto_family *family;
    void *state;
};

static int check_task(const oto_model *m, oto_task task, oto_err *e)
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

    if ((rc = check_task(m, OTO_TASK_VAD, e)) != 0 ||
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

void oto_asr_defaults(oto_asr_options *o)
{
    *o = (oto_asr_options){.timestamps = true,
                           .beam = 5,
                           .best_of = 5,
                           .patience = 1.0f,
                           .length_penalty = 1.0f,
                           .temperature = {0.0f, 0.2f, 0.4f, 0.6f, 0.8f, 1.0f},
                           .n_temperatures = 6,
                           .compression_ratio_threshold = 2.4f,
                           .log_prob_threshold = -1.0f,
                           .no_speech_threshold = 0.6f,
                           .max_initial_timestamp = 1.0f,
                           .suppress_default = true,
                           .suppress_blank = true};
}

size_t oto_asr_bytes(const oto_model *m, int max_batch, int max_beam)
{
    if (m->family->task != OTO_TASK_ASR)
        return 0;
    return sizeof(oto_asr) + 64 + m->family->asr_bytes(m->impl, max_batch, max_beam);
}

int oto_asr_new(const oto_model *m, int max_batch, int max_beam, oto_pool *pool, oto_arena *a,
                oto_asr **out, oto_err *e)
{
    oto_asr *s;
    int rc;

    if ((rc = check_task(m, OTO_TASK_ASR, e)) != 0 ||
        (rc = oto_arena_get(a, 1, sizeof *s, &s, e)) != 0)
        return rc;
    s->family = m->family;
    if ((rc = m->family->asr_new(m->impl, max_batch, max_beam, pool, a, &s->state, e)) != 0)
        return rc;
    *out = s;
    return 0;
}

int oto_asr_run(oto_asr *s, const oto_asr_options *o, const oto_asr_window *w, int n,
                oto_arena *job, oto_asr_result *out, oto_err *e)
{
    return s->family->asr_run(s->state, o, w, n, job, out, e);
}

void oto_asr_stats_get(const oto_asr *s, oto_asr_stats *out)
{
    s->family->asr_stats(s->state, out);
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

    if ((rc = check_task(m, OTO_TASK_PUNC, e)) != 0 ||
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

int oto_punc_finish(oto_punc *p, const oto_punc_token **out)
{
    return p->family->punc_finish(p->state, out);
}

void oto_punc_reset(oto_punc *p)
{
    p->family->punc_reset(p->state);
}
