/* Sampled tokens to segments: timestamps cut them, and say where the next window should begin. */
#include "models/whisper/decode.h"

#include <ctype.h>
#include <string.h>

/* A window that would begin again so soon after this one makes no headway: then the text after the
 * last pair is kept as it is. */
#define LEAST_STEP_MS 1000

static int64_t stamp_ms(int32_t token, int first)
{
    return (int64_t)(token - first) * OTO_WHISPER_STEP_MS;
}

int oto_whisper_cut_tokens(const int32_t *tokens, int n, int first, int64_t window_ms,
                           oto_whisper_cut *out, int64_t *next_ms)
{
    /* A timestamp after text at the very end: nothing is said after it. */
    bool closed = n >= 2 && tokens[n - 2] < first && tokens[n - 1] >= first;
    int n_out = 0, from = 0;

    *next_ms = window_ms;
    if (n == 0)
        return 0;
    for (int i = 1; i <= n; i++) {
        bool pair = i < n && tokens[i] >= first && tokens[i - 1] >= first;
        if (!pair && !(i == n && closed && n_out > 0))
            continue;
        /* A piece that begins or ends with text (before the first pair, when the first timestamp
         * is missing) starts at 0 and ends with the window. */
        int64_t start = tokens[from] >= first ? stamp_ms(tokens[from], first) : 0;
        int64_t end = tokens[i - 1] >= first ? stamp_ms(tokens[i - 1], first) : window_ms;
        out[n_out++] = (oto_whisper_cut){from, i, start, end};
        from = i;
    }
    if (n_out > 0) {
        int64_t stop = stamp_ms(tokens[from - 1], first);
        if (closed)
            return n_out;
        if (stop >= LEAST_STEP_MS) {
            *next_ms = OTO_MIN(stop, window_ms);
            return n_out;
        }
        out[n_out++] = (oto_whisper_cut){from, n, stamp_ms(tokens[from], first), window_ms};
        return n_out;
    }
    int64_t end = window_ms;
    for (int i = n - 1; i >= 0; i--)
        if (tokens[i] >= first) {
            if (tokens[i] > first)
                end = stamp_ms(tokens[i], first);
            break;
        }
    out[0] = (oto_whisper_cut){0, n, 0, end};
    return 1;
}

int oto_whisper_text(const oto_whisper_dims *d, const oto_tokens *t, const int32_t *tokens, int n,
                     oto_arena *a, const char **out, oto_err *e)
{
    size_t bytes = 0, n_text = 0, n_raw = 0;
    char *raw, *text;
    int rc;

    for (int i = 0; i < n; i++)
        if (tokens[i] < d->eot)
            bytes += oto_tokens_bytes(t, tokens[i]).n;
    /* A bad byte grows to the three of U+FFFD. */
    if ((rc = oto_arena_get(a, bytes * 3 + 1, 1, &text, e)) != 0)
        return rc;
    raw = text + 2 * bytes;
    for (int i = 0; i < n; i++) {
        oto_slice s = tokens[i] < d->eot ? oto_tokens_bytes(t, tokens[i]) : (oto_slice){"", 0};
        memcpy(raw + n_raw, s.p, s.n);
        n_raw += s.n;
    }
    for (size_t at = 0; at < bytes;) {
        uint32_t cp;
        at += oto_utf8_next(raw + at, bytes - at, &cp);
        n_text += oto_utf8_put(text + n_text, cp);
    }
    text[n_text] = '\0';
    *out = text;
    return 0;
}

bool oto_whisper_is_blank(const char *text)
{
    for (; *text; text++)
        if (!isspace((unsigned char)*text))
            return false;
    return true;
}
