/* utterance: from samples to rows of features, and from timed words to segments. */
#include "models/utterance.h"

#include <math.h>
#include <string.h>

#define PAUSE_MS    500                /* between words: a segment ends */
#define TAKE        64                 /* rows asked of a front end at a time */
#define FBANK_BYTES ((size_t)64 << 10) /* a front end, and its place in the lists */

/* ---- features ---- */

int oto_heard_new(const float *shift, const float *scale, int max_windows, oto_pool *pool,
                  oto_arena *a, oto_heard_rows *out, oto_err *e)
{
    const oto_fbank_options o = {.lfr_m = 7, .lfr_n = 6, .cmvn_shift = shift, .cmvn_scale = scale};
    int rc;

    *out = (oto_heard_rows){.pool = pool, .max_windows = max_windows};
    if ((rc = oto_arena_get(a, (size_t)max_windows, sizeof(oto_fbank *), &out->fbank, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)max_windows * OTO_LFR_ROWS * OTO_LFR_DIM, sizeof(float),
                            &out->rows, e)) != 0 ||
        (rc = oto_arena_get(a, (size_t)max_windows, sizeof(int), &out->n_rows, e)) != 0)
        return rc;
    for (int i = 0; i < max_windows && rc == 0; i++)
        rc = oto_fbank_new(&o, a, &out->fbank[i], e);
    return rc;
}

size_t oto_heard_bytes(int max_windows)
{
    return (size_t)max_windows * (OTO_LFR_ROWS * OTO_LFR_DIM * sizeof(float) + FBANK_BYTES) + 4096;
}

static void hear_task(void *arg, int task, int thread)
{
    const oto_heard_rows *h = arg;
    const oto_asr_window *w = &h->windows[task];
    oto_fbank *f = h->fbank[task];
    float *out = h->rows + (size_t)task * OTO_LFR_ROWS * OTO_LFR_DIM;
    size_t at = 0, used;
    int n = 0, got;

    (void)thread;
    oto_fbank_reset(f);
    do {
        got = oto_fbank_push(f, w->pcm + at, w->n - at, true, out + (size_t)n * OTO_LFR_DIM, NULL,
                             OTO_MIN(TAKE, OTO_LFR_ROWS - n), &used);
        at += used;
        n += got;
    } while (got > 0 && n < OTO_LFR_ROWS);
    h->n_rows[task] = n;
}

void oto_heard_run(oto_heard_rows *h, const oto_asr_window *w, int n)
{
    h->windows = w;
    oto_pool_run(h->pool, n, hear_task, h);
}

int oto_heard_group(const oto_heard_rows *h, int first, int n, int extra, int max_rows, int *end)
{
    int rows = 0, i = first;

    for (; i < n && (i == first || rows + h->n_rows[i] + extra <= max_rows); i++)
        end[i - first] = rows += h->n_rows[i] + extra;
    return i - first;
}

/* ---- segments ---- */

static int join_words(const oto_word *words, int n, oto_arena *job, const char **out, oto_err *e)
{
    size_t size = 1;
    char *text, *to;
    int rc;

    for (int i = 0; i < n; i++)
        size += strlen(words[i].text);
    if ((rc = oto_arena_get(job, size, 1, &text, e)) != 0)
        return rc;
    to = text;
    for (int i = 0; i < n; i++) {
        const size_t length = strlen(words[i].text);

        memcpy(to, words[i].text, length);
        to += length;
    }
    *to = '\0';
    *out = text;
    return 0;
}

static int n_segments(const oto_word *words, int n)
{
    int count = n > 0;

    for (int i = 1; i < n; i++)
        count += words[i].start_ms - words[i - 1].end_ms >= PAUSE_MS;
    return count;
}

int oto_utterance_result(const oto_word *words, int n_words, const float *log_prob, int n_tokens,
                         const int32_t *raw, const oto_asr_window *w, oto_arena *job,
                         oto_asr_result *out, oto_err *e)
{
    const int n = n_segments(words, n_words);
    float sum = 0;
    int from = 0, rc = oto_arena_get(job, (size_t)n, sizeof *out->segments, &out->segments, e);

    for (int i = 0; i < n_tokens; i++)
        sum += log_prob[i];
    for (int i = 0; i < n && rc == 0; i++) {
        oto_segment *s = &out->segments[i];
        int to = from + 1;

        while (to < n_words && words[to].start_ms - words[to - 1].end_ms < PAUSE_MS)
            to++;
        *s = (oto_segment){.start_ms = words[from].start_ms,
                           .end_ms = words[to - 1].end_ms,
                           .words = words + from,
                           .n_words = to - from,
                           .avg_logprob = n_tokens > 0 ? sum / (float)n_tokens : 0,
                           .compression_ratio = 1};
        rc = join_words(s->words, s->n_words, job, &s->text, e);
        from = to;
    }
    out->n_segments = n;
    out->next_ms = (int64_t)w->n / 16;
    out->raw_tokens = raw;
    out->n_raw = n_tokens;
    return rc;
}

/* ---- clocks ---- */

void oto_lap_start(oto_lap *l)
{
    *l = (oto_lap){oto_now_s(), oto_cpu_s()};
}

void oto_lap_take(oto_lap *l, const char *what, double *wall_s, double *core_s)
{
    const oto_lap now = {oto_now_s(), oto_cpu_s()};

    *wall_s += now.wall_s - l->wall_s;
    *core_s += now.core_s - l->core_s;
    oto_trace("model", what, l->wall_s);
    *l = now;
}
