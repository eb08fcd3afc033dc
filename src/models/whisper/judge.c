/* Is this speech, and is this text any good? Whisper was trained on subtitles and invents some when
 * there is nothing to hear, or falls into a loop. Its own doubts (probabilities) are weighed in
 * decode.c; here is what can be told from the sound and the text themselves. */
#include "models/whisper/decode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

/* ---- compression ---- */

struct oto_squeeze {
    z_stream z;
    unsigned char out[1024];
};

static void *take(void *arena, unsigned n, unsigned size)
{
    return oto_arena_calloc(arena, n, size);
}

static void leave(void *arena, void *p)
{
    (void)arena;
    (void)p;
}

int oto_squeeze_new(oto_arena *a, oto_squeeze **out, oto_err *e)
{
    oto_squeeze *q;
    int rc;

    if ((rc = oto_arena_get(a, 1, sizeof *q, &q, e)) != 0)
        return rc;
    memset(q, 0, sizeof *q);
    q->z.zalloc = take;
    q->z.zfree = leave;
    q->z.opaque = a;
    /* All its memory comes now; nothing is released but with the arena. */
    if (deflateInit(&q->z, Z_DEFAULT_COMPRESSION) != Z_OK)
        return oto_fail(e, OTO_E_LIMIT, "no memory for zlib");
    *out = q;
    return 0;
}

float oto_squeeze_ratio(oto_squeeze *q, const char *p, size_t n)
{
    int rc;

    if (n == 0)
        return 0;
    deflateReset(&q->z);
    q->z.next_in = (unsigned char *)(uintptr_t)p;
    q->z.avail_in = (unsigned)n;
    do {
        q->z.next_out = q->out;
        q->z.avail_out = sizeof q->out;
        rc = deflate(&q->z, Z_FINISH);
    } while (rc == Z_OK);
    return (float)n / (float)q->z.total_out;
}

/* ---- loops ---- */

#define LONGEST_PERIOD 48
#define SHORTEST_LOOP  24
#define FEWEST_REPEATS 4

bool oto_whisper_loops(const int32_t *tokens, int n, int eot)
{
    int32_t text[OTO_WHISPER_CTX];
    int n_text = 0;

    for (int i = 0; i < n && n_text < OTO_WHISPER_CTX; i++)
        if (tokens[i] < eot)
            text[n_text++] = tokens[i];
    for (int period = 1; period <= LONGEST_PERIOD; period++) {
        int run = 0; /* tokens equal to the one a period earlier, without a break */
        for (int i = period; i < n_text; i++) {
            run = text[i] == text[i - period] ? run + 1 : 0;
            if (run + period >= OTO_MAX(SHORTEST_LOOP, FEWEST_REPEATS * period))
                return true;
        }
    }
    return false;
}

/* ---- sound ---- */

/* Speech rises and falls by 20 dB and more within seconds in every part of the spectrum; noise and
 * hum, averaged over a tenth of a second and a good many bands, stay within a few. */
#define BLOCK_FRAMES 10
#define MAX_BLOCKS   (OTO_WHISPER_STEPS * 2 / BLOCK_FRAMES)
#define N_GROUPS     8
#define LEAST_BLOCKS 10
#define LIVELY_DB    7.0f
#define DB_PER_UNIT  40.0f /* the log-mel is log10(power) / 4 */

static int by_value(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static float block_level(const float *mel, int n_mels, int first, int end)
{
    float sum = 0;
    for (int f = 0; f < BLOCK_FRAMES; f++)
        for (int m = first; m < end; m++)
            sum += mel[f * n_mels + m];
    return sum / (float)(BLOCK_FRAMES * (end - first));
}

bool oto_whisper_lively(const float *mel, int n_frames, int n_mels)
{
    float level[MAX_BLOCKS];
    int n_blocks = OTO_MIN(n_frames / BLOCK_FRAMES, MAX_BLOCKS);

    if (n_blocks < LEAST_BLOCKS)
        return true; /* too short to tell */
    for (int g = 0; g < N_GROUPS; g++) {
        int first = g * n_mels / N_GROUPS, end = (g + 1) * n_mels / N_GROUPS;
        for (int b = 0; b < n_blocks; b++)
            level[b] =
                block_level(mel + (size_t)b * BLOCK_FRAMES * (size_t)n_mels, n_mels, first, end);
        qsort(level, (size_t)n_blocks, sizeof *level, by_value);
        float range = level[n_blocks - 1 - n_blocks / 20] - level[n_blocks / 20];
        if (range * DB_PER_UNIT > LIVELY_DB)
            return true;
    }
    return false;
}
