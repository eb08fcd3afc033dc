/* Prints the speech segments of raw recordings, for comparison with other implementations
 * (vad_peer.py), and on standard error what they cost:
 *
 *   vad_dump MODEL fixed|dynamic PIECE FILE...
 *
 * FILE is raw f32, 16 kHz, mono. PIECE is how many samples are pushed at a time: 0 all at once,
 * -1 pieces of random sizes. Each FILE gives one line: start-end start-end … in ms. */
#include "models/models.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SPANS 3 /* few, so that a full array is an ordinary event */

static size_t piece_of(long piece, size_t left, uint32_t *seed)
{
    size_t n = piece > 0 ? (size_t)piece : left;

    if (piece < 0) {
        *seed = *seed * 1664525u + 1013904223u;
        n = (size_t)1 << (*seed >> 28); /* sizes of every magnitude */
        n += (*seed >> 8) % n;
    }
    return OTO_MIN(n, left);
}

static void run(oto_vad *v, const float *pcm, size_t n, long piece)
{
    oto_span spans[MAX_SPANS];
    uint32_t seed = 1;
    size_t at = 0, used;
    bool done = false;
    int found;

    while (!done) {
        const size_t take = piece_of(piece, n - at, &seed);
        const bool final = at + take == n;

        found = oto_vad_push(v, pcm + at, take, final, spans, MAX_SPANS, &used);
        for (int i = 0; i < found; i++)
            printf("%" PRId64 "-%" PRId64 " ", spans[i].start_ms, spans[i].end_ms);
        at += used;
        done = final && used == take && found < MAX_SPANS;
    }
    putchar('\n');
}

static int run_files(oto_vad *v, long piece, char **files, int n_files, oto_err *e)
{
    double cpu_s = 0, audio_s = 0;
    oto_map map;
    int rc;

    for (int i = 0; i < n_files; i++) {
        if ((rc = oto_map_open(files[i], &map, e)) != 0)
            return rc;
        const double before = oto_cpu_s();
        oto_vad_reset(v);
        run(v, (const float *)(const void *)map.p, map.n / sizeof(float), piece);
        cpu_s += oto_cpu_s() - before;
        audio_s += (double)(map.n / sizeof(float)) / 16000;
        oto_map_close(&map);
    }
    fprintf(stderr, "%.1f s of sound, %.4f core-seconds, %.4f %% of real time, %s\n", audio_s,
            cpu_s, 100 * cpu_s / audio_s, oto_cpu_table());
    return 0;
}

int main(int argc, char **argv)
{
    oto_model *m = NULL;
    oto_pool *pool = NULL;
    oto_arena *arena = NULL;
    oto_vad *v;
    oto_vad_options o;
    oto_err e;
    int rc;

    if (argc < 5) {
        fprintf(stderr, "usage: vad_dump MODEL fixed|dynamic PIECE FILE...\n");
        return 2;
    }
    oto_vad_defaults(&o);
    o.dynamic_end_silence = strcmp(argv[2], "dynamic") == 0;
    if ((rc = oto_cpu_init(&e)) == 0 &&
        (rc = oto_model_open(argv[1], OTO_COMPUTE_F32, &m, &e)) == 0 &&
        (rc = oto_pool_new(1, OTO_POOL_SCRATCH_BYTES, &pool, &e)) == 0 &&
        (rc = oto_arena_new("vad", (size_t)64 << 20, &arena, &e)) == 0 &&
        (rc = oto_vad_new(m, &o, pool, arena, &v, &e)) == 0)
        rc = run_files(v, atol(argv[3]), argv + 4, argc - 4, &e);
    if (rc != 0)
        fprintf(stderr, "vad_dump: %s\n", e.text);
    oto_arena_free(arena);
    oto_pool_free(pool);
    oto_model_close(m);
    return rc == 0 ? 0 : 1;
}
