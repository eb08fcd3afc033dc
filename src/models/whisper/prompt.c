/* What stands before the text: earlier words that bias it, then language and task. */
#include "models/whisper/decode.h"
#include "kernels/kernels.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

/* Hotwords and prompt take at most this many tokens each, as in faster-whisper. */
#define MAX_PART (OTO_WHISPER_CTX / 2 - 1)

/* " TEXT" without the white space around it → ids in `a`. */
static int encode(const oto_tokens *t, const char *text, oto_arena *a, int32_t **ids, int *n,
                  oto_err *e)
{
    size_t len;
    char *copy;
    int rc;

    *n = 0;
    if (!text)
        return 0;
    while (isspace((unsigned char)*text))
        text++;
    len = strlen(text);
    while (len && isspace((unsigned char)text[len - 1]))
        len--;
    if (len == 0)
        return 0;
    if (len > 1u << 20)
        return oto_fail(e, OTO_E_LIMIT, "a prompt of %zu bytes: at most 1 MiB", len);
    if ((rc = oto_arena_get(a, len + 2, 1, &copy, e)) != 0 ||
        (rc = oto_arena_get(a, len + 1, sizeof **ids, ids, e)) != 0)
        return rc;
    copy[0] = ' ';
    memcpy(copy + 1, text, len);
    copy[len + 1] = '\0';
    *n = (int)len + 1;
    return oto_tokens_encode(t, copy, *ids, n, e);
}

static void put(oto_whisper_prompt *p, const int32_t *ids, int n)
{
    if (n > 0) /* else there may be no ids at all */
        memcpy(p->tokens + p->n, ids, (size_t)n * sizeof *ids);
    p->n += n;
}

int oto_whisper_prompt_make(const oto_whisper_dims *d, const oto_tokens *t,
                            const oto_asr_options *o, oto_arena *a, oto_whisper_prompt *out,
                            oto_err *e)
{
    const int32_t prev = d->sot_prev,
                  sot[3] = {d->sot, 0, o->translate ? d->translate : d->transcribe};
    int n_sot = d->multilingual ? 3 : 1, n_hot, n_text, rc;
    int room = OTO_WHISPER_MAX_PROMPT - 1 - n_sot - !o->timestamps;
    int32_t *hot = NULL, *text = NULL;
    oto_mark mark = oto_arena_mark(a);

    out->n = 0;
    if ((rc = encode(t, o->hotwords, a, &hot, &n_hot, e)) != 0 ||
        (rc = encode(t, o->prompt, a, &text, &n_text, e)) != 0)
        goto done;
    /* Of the hotwords the first, of the prompt the last. */
    n_hot = OTO_MIN(n_hot, MAX_PART);
    int n_last = OTO_MIN(n_text, OTO_MIN(MAX_PART, room - n_hot));
    if (n_hot + n_last > 0) {
        put(out, &prev, 1);
        put(out, hot, n_hot);
        put(out, text + (n_text - n_last), n_last);
    }
    out->sot = out->n;
    put(out, sot, n_sot);
    if (!o->timestamps)
        put(out, &(int32_t){d->no_timestamps}, 1);
done:
    oto_arena_rollback(a, mark);
    return rc;
}

void oto_whisper_prompt_fill(const oto_whisper_dims *d, const oto_whisper_prompt *p, int language,
                             int32_t *out)
{
    memcpy(out, p->tokens, (size_t)p->n * sizeof *out);
    if (d->multilingual)
        out[p->sot + 1] = d->lang_first + language;
}

int oto_whisper_language(const oto_whisper_dims *d, const float *logits, float *probability)
{
    const float *x = logits + d->lang_first;
    int best = oto_k()->argmax_f32(x, d->n_langs);

    *probability = expf(x[best] - oto_k()->logsumexp_f32(x, d->n_langs));
    return best;
}
