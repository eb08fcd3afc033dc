/* Times of words. The cross-attention of a few heads follows the sound: normalised, smoothed and
 * averaged it gives a matrix of text tokens against 20 ms frames, through which dynamic time
 * warping finds the cheapest monotonic path; where the path enters a token, the token begins.
 * Around that stand faster-whisper's rules for words that come out too long at pauses. */
#include "models/whisper/decode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MAX_TEXT      OTO_WHISPER_MAX_TOKENS
#define MEDIAN        7
#define HALF          (MEDIAN / 2)
#define LONG_WORD_MS  700 /* at most this is taken as the usual length of a word */
#define SLACK_MS      500 /* a segment's own time is preferred when a word is off by more */
#define SENTENCE_ENDS ".。!！?？"
#define PREPENDED     "\"'“¿([{-"
#define APPENDED      "\"'.。,，!！?？:：”)]}、"
#define PUNCTUATION   "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

struct word {
    int first, end; /* text tokens; first == end: taken over by a neighbour */
    int64_t start_ms, end_ms;
    float probability;
};

struct oto_whisper_aligner {
    struct word word[MAX_TEXT];
    int n_words;
    int32_t text[MAX_TEXT];
    int64_t usual_ms, longest_ms; /* median length of words, and twice that */
    float *mean, *rdev, *row;     /* [1500 + MEDIAN] */
    float *cost;                  /* [2][1501] */
    uint8_t *trace;               /* [MAX_TEXT + 2][1501] */
    int16_t *begin;               /* [MAX_TEXT + 1]: frame where a token begins */
};

int oto_whisper_aligner_new(oto_arena *a, oto_whisper_aligner **out, oto_err *e)
{
    oto_whisper_aligner *al;
    const size_t frames = OTO_WHISPER_FRAMES + MEDIAN;
    int rc;

    if ((rc = oto_arena_get(a, 1, sizeof *al, &al, e)) != 0 ||
        (rc = oto_arena_get(a, frames, sizeof(float), &al->mean, e)) != 0 ||
        (rc = oto_arena_get(a, frames, sizeof(float), &al->rdev, e)) != 0 ||
        (rc = oto_arena_get(a, frames, sizeof(float), &al->row, e)) != 0 ||
        (rc = oto_arena_get(a, 2 * frames, sizeof(float), &al->cost, e)) != 0 ||
        (rc = oto_arena_get(a, MAX_TEXT + 2, frames, &al->trace, e)) != 0 ||
        (rc = oto_arena_get(a, MAX_TEXT + 2, sizeof(int16_t), &al->begin, e)) != 0)
        return rc;
    al->n_words = 0;
    *out = al;
    return 0;
}

/* ---- the matrix ---- */

/* Each row of a head to a distribution over the frames, then each frame to mean 0 and deviation 1
 * over all tokens. */
static void normalise(oto_whisper_aligner *al, float *w, int n, int n_frames)
{
    memset(al->mean, 0, (size_t)n_frames * sizeof(float));
    memset(al->rdev, 0, (size_t)n_frames * sizeof(float));
    for (int i = 0; i < n; i++) {
        float *x = w + (size_t)i * (size_t)n_frames, sum = 0;
        for (int f = 0; f < n_frames; f++)
            sum += x[f];
        float scale = sum > 0 ? 1.0f / sum : 0.0f;
        for (int f = 0; f < n_frames; f++) {
            x[f] *= scale;
            al->mean[f] += x[f];
        }
    }
    for (int f = 0; f < n_frames; f++)
        al->mean[f] /= (float)n;
    for (int i = 0; i < n; i++) {
        const float *x = w + (size_t)i * (size_t)n_frames;
        for (int f = 0; f < n_frames; f++)
            al->rdev[f] += (x[f] - al->mean[f]) * (x[f] - al->mean[f]);
    }
    for (int f = 0; f < n_frames; f++)
        al->rdev[f] = al->rdev[f] > 0 ? 1.0f / sqrtf(al->rdev[f] / (float)n) : 0.0f;
    for (int i = 0; i < n; i++) {
        float *x = w + (size_t)i * (size_t)n_frames;
        for (int f = 0; f < n_frames; f++)
            x[f] = (x[f] - al->mean[f]) * al->rdev[f];
    }
}

static float median7(const float *x)
{
    float v[MEDIAN];
    for (int i = 0; i < MEDIAN; i++) {
        int j = i;
        for (; j > 0 && v[j - 1] > x[i]; j--)
            v[j] = v[j - 1];
        v[j] = x[i];
    }
    return v[HALF];
}

/* out[f] (+)= median of x around f, mirrored at the ends. x may be out. */
static void median_filter(oto_whisper_aligner *al, const float *x, int n, bool add, float *out)
{
    float *p = al->row;
    if (n <= HALF) {
        for (int f = 0; f < n; f++)
            out[f] = add ? out[f] + x[f] : x[f];
        return;
    }
    memcpy(p + HALF, x, (size_t)n * sizeof *p);
    for (int i = 0; i < HALF; i++) {
        p[i] = x[HALF - i];
        p[HALF + n + i] = x[n - 2 - i];
    }
    for (int f = 0; f < n; f++) {
        float m = median7(p + f);
        out[f] = add ? out[f] + m : m;
    }
}

/* ---- dynamic time warping ---- */

enum { DIAGONAL, DOWN, RIGHT };

/* The path through x [n][m] (stride m) that gathers most; begin[i]: the first frame of token i. */
static void warp(oto_whisper_aligner *al, const float *x, int n, int m)
{
    float *above = al->cost, *cost = al->cost + m + 1, *swap;
    size_t stride = (size_t)m + 1;

    above[0] = 0;
    for (int j = 1; j <= m; j++)
        above[j] = INFINITY;
    for (int i = 1; i <= n; i++) {
        uint8_t *trace = al->trace + (size_t)i * stride;
        cost[0] = INFINITY;
        for (int j = 1; j <= m; j++) {
            float c0 = above[j - 1], c1 = above[j], c2 = cost[j - 1], c = c2;
            trace[j] = RIGHT;
            if (c0 < c1 && c0 < c2) {
                c = c0;
                trace[j] = DIAGONAL;
            } else if (c1 < c0 && c1 < c2) {
                c = c1;
                trace[j] = DOWN;
            }
            cost[j] = c - x[(size_t)(i - 1) * (size_t)m + (size_t)(j - 1)];
        }
        swap = above;
        above = cost;
        cost = swap;
    }
    for (int i = n, j = m; i > 0 && j >= 0;) {
        al->begin[i - 1] = (int16_t)OTO_MAX(j - 1, 0);
        int step = j == 0 ? DOWN : al->trace[(size_t)i * stride + (size_t)j];
        i -= step != RIGHT;
        j -= step != DOWN;
    }
}

/* ---- words ---- */

static bool has_spaces(const char *language)
{
    static const char *const without[] = {"zh", "ja", "th", "lo", "my", "yue"};
    for (size_t i = 0; i < OTO_COUNT(without); i++)
        if (strcmp(language, without[i]) == 0)
            return false;
    return true;
}

static bool is_white(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Bytes of text tokens [first, end) in buf, cut at its size; terminated. */
static void spell(const oto_tokens *t, const int32_t *text, int first, int end, char *buf,
                  size_t size)
{
    size_t n = 0;
    for (int i = first; i < end; i++) {
        oto_slice s = oto_tokens_bytes(t, text[i]);
        size_t len = OTO_MIN(s.n, size - 1 - n);
        memcpy(buf + n, s.p, len);
        n += len;
    }
    buf[n] = '\0';
}

/* Is the word, white space around it aside where `strip`, part of `list`? */
static bool is_in(const char *word, bool strip, const char *list)
{
    char w[16];
    size_t n = strlen(word);
    while (strip && n && is_white(word[0])) {
        word++;
        n--;
    }
    while (strip && n && is_white(word[n - 1]))
        n--;
    if (n >= sizeof w)
        return false;
    memcpy(w, word, n);
    w[n] = '\0';
    return strstr(list, w) != NULL;
}

#define SPELL 32 /* enough to tell punctuation from words */

/* Pieces are tokens that together end at a character's end; with spaces, a word starts at a piece
 * that begins with one or is punctuation. */
static void split(oto_whisper_aligner *al, const oto_tokens *t, bool spaces, int n_text)
{
    char buf[SPELL];
    char tail[4];
    size_t n_tail = 0; /* bytes of an unfinished character */
    int first = 0;

    al->n_words = 0;
    for (int i = 0; i < n_text; i++) {
        oto_slice s = oto_tokens_bytes(t, al->text[i]);
        for (size_t k = 0; k < s.n; k++) {
            tail[n_tail++] = s.p[k];
            if (oto_utf8_complete(tail, n_tail) == n_tail || n_tail == sizeof tail)
                n_tail = 0;
        }
        if (n_tail && i + 1 < n_text)
            continue;
        spell(t, al->text, first, i + 1, buf, sizeof buf);
        if (!spaces || al->n_words == 0 || buf[0] == ' ' || is_in(buf, true, PUNCTUATION))
            al->word[al->n_words++] = (struct word){.first = first, .end = i + 1};
        else
            al->word[al->n_words - 1].end = i + 1;
        first = i + 1;
    }
}

static int by_ms(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void usual_length(oto_whisper_aligner *al)
{
    int64_t ms[MAX_TEXT];
    int n = 0;

    for (int i = 0; i < al->n_words; i++)
        if (al->word[i].end_ms != al->word[i].start_ms)
            ms[n++] = al->word[i].end_ms - al->word[i].start_ms;
    qsort(ms, (size_t)n, sizeof *ms, by_ms);
    al->usual_ms = n ? (ms[(n - 1) / 2] + ms[n / 2]) / 2 : 0;
    al->usual_ms = OTO_MIN(al->usual_ms, LONG_WORD_MS);
    al->longest_ms = 2 * al->usual_ms;
}

/* A word beside the end of a sentence is often stretched over the pause. */
static void shorten_at_sentence_ends(oto_whisper_aligner *al, const oto_tokens *t)
{
    char word[SPELL], before[SPELL];

    for (int i = 1; i < al->n_words; i++) {
        struct word *w = &al->word[i];
        if (w->end_ms - w->start_ms <= al->longest_ms || al->usual_ms == 0)
            continue;
        spell(t, al->text, w->first, w->end, word, sizeof word);
        spell(t, al->text, w[-1].first, w[-1].end, before, sizeof before);
        if (is_in(word, false, SENTENCE_ENDS))
            w->end_ms = w->start_ms + al->longest_ms;
        else if (is_in(before, false, SENTENCE_ENDS))
            w->start_ms = w->end_ms - al->longest_ms;
    }
}

/* `from` becomes part of `to`, its neighbour but for words already taken over. */
static void take_over(struct word *to, struct word *from)
{
    if (from->first == from->end)
        return;
    if (to->first == to->end) {
        to->first = from->first;
        to->end = from->end;
    } else {
        to->first = OTO_MIN(to->first, from->first);
        to->end = OTO_MAX(to->end, from->end);
    }
    from->first = from->end;
}

static void merge_punctuation(oto_whisper_aligner *al, const oto_tokens *t)
{
    char buf[SPELL];
    struct word *w = al->word;

    for (int i = al->n_words - 2, j = al->n_words - 1; i >= 0; i--) {
        spell(t, al->text, w[i].first, w[i].end, buf, sizeof buf);
        if (buf[0] == ' ' && is_in(buf, true, PREPENDED))
            take_over(&w[j], &w[i]);
        else
            j = i;
    }
    for (int i = 0, j = 1; j < al->n_words; j++) {
        oto_slice last = {"", 0};
        if (w[i].end > w[i].first)
            last = oto_tokens_bytes(t, al->text[w[i].end - 1]);
        spell(t, al->text, w[j].first, w[j].end, buf, sizeof buf);
        if (!(last.n && last.p[last.n - 1] == ' ') && is_in(buf, false, APPENDED))
            take_over(&w[i], &w[j]);
        else
            i = j;
    }
}

void oto_whisper_words_find(oto_whisper_aligner *al, const oto_tokens *t, const char *language,
                            const int32_t *text, int n_text, float *weights, int n_heads,
                            int n_frames, const float *log_prob, int n_start)
{
    int n = n_start + n_text + 2;
    size_t head = (size_t)n * (size_t)n_frames;
    float *matrix = weights + (size_t)n_start * (size_t)n_frames;

    al->n_words = 0;
    if (n_text < 1 || n_text > MAX_TEXT || n_frames < 1 || n_frames > OTO_WHISPER_FRAMES)
        return;
    memcpy(al->text, text, (size_t)n_text * sizeof *text);
    for (int h = 0; h < n_heads; h++) {
        normalise(al, weights + (size_t)h * head, n, n_frames);
        for (int i = 0; i <= n_text; i++) {
            float *out = matrix + (size_t)i * (size_t)n_frames;
            median_filter(al, out + (size_t)h * head, n_frames, h > 0, out);
        }
    }
    for (size_t i = 0; i < (size_t)(n_text + 1) * (size_t)n_frames; i++)
        matrix[i] /= (float)n_heads;
    warp(al, matrix, n_text + 1, n_frames);
    split(al, t, has_spaces(language), n_text);
    for (int i = 0; i < al->n_words; i++) {
        struct word *w = &al->word[i];
        float sum = 0;
        for (int k = w->first; k < w->end; k++)
            sum += expf(log_prob[n_start + k]);
        w->probability = sum / (float)(w->end - w->first);
        w->start_ms = (int64_t)al->begin[w->first] * OTO_WHISPER_STEP_MS;
        w->end_ms = (int64_t)al->begin[w->end] * OTO_WHISPER_STEP_MS;
    }
    usual_length(al);
    shorten_at_sentence_ends(al, t);
    merge_punctuation(al, t);
}

/* ---- into segments ---- */

/* The first words after a pause are often stretched over it, and the segment's own times are
 * sometimes better than its words'. */
static void fit(const oto_whisper_aligner *al, oto_segment *s, oto_word *w, int n, int64_t heard_ms)
{
    const int64_t usual = al->usual_ms, longest = al->longest_ms;
    oto_word *last = &w[n - 1];

    if (w[0].end_ms - heard_ms > 4 * usual &&
        (w[0].end_ms - w[0].start_ms > longest ||
         (n > 1 && w[1].end_ms - w[0].start_ms > 2 * longest))) {
        if (n > 1 && w[1].end_ms - w[1].start_ms > longest)
            w[0].end_ms = w[1].start_ms = OTO_MAX(w[1].end_ms / 2, w[1].end_ms - longest);
        w[0].start_ms = OTO_MAX(0, w[0].end_ms - longest);
    }
    if (s->start_ms < w[0].end_ms && s->start_ms - SLACK_MS > w[0].start_ms)
        w[0].start_ms = OTO_MAX(0, OTO_MIN(w[0].end_ms - usual, s->start_ms));
    else
        s->start_ms = w[0].start_ms;
    if (s->end_ms > last->start_ms && s->end_ms + SLACK_MS < last->end_ms)
        last->end_ms = OTO_MAX(last->start_ms + usual, s->end_ms);
    else
        s->end_ms = last->end_ms;
}

static int count_text(const oto_segment *s, int eot)
{
    int n = 0;
    for (int i = 0; i < s->n_tokens; i++)
        n += s->tokens[i] < eot;
    return n;
}

int oto_whisper_words_place(oto_whisper_aligner *al, const oto_whisper_dims *d, const oto_tokens *t,
                            oto_segment *segments, int n_segments, oto_arena *job, oto_err *e)
{
    int at = 0, rc;
    int64_t heard_ms = 0;

    for (int s = 0; s < n_segments; s++) {
        int n_text = count_text(&segments[s], d->eot), used = 0, n = 0;
        oto_word *words;

        if ((rc = oto_arena_get(job, (size_t)n_text + 1, sizeof *words, &words, e)) != 0)
            return rc;
        for (; at < al->n_words && used < n_text; at++) {
            const struct word *w = &al->word[at];
            if (w->first == w->end)
                continue;
            words[n] = (oto_word){w->start_ms, w->end_ms, NULL, w->probability};
            if ((rc = oto_whisper_text(d, t, al->text + w->first, w->end - w->first, job,
                                       &words[n].text, e)) != 0)
                return rc;
            used += w->end - w->first;
            n++;
        }
        segments[s].words = words;
        segments[s].n_words = n;
        if (n == 0)
            continue;
        fit(al, &segments[s], words, n, heard_ms);
        heard_ms = segments[s].end_ms;
    }
    return 0;
}
