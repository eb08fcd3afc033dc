/* Runs the Whisper network alone, for comparison with other implementations (seeded_whisper.py):
 *
 *   whisper_dump MODEL COMPUTE MEL OUT N TOKEN...
 *
 * MEL is raw f32 [3000][n_mels]. The tokens are the prompt; N more are chosen, each the most likely
 * one, stopping at end-of-text. OUT gets raw f32: the encoder's output [1500][width], then the
 * logits [n_vocab] after each prompt token and each chosen one but the last. The chosen tokens go
 * to standard output, times to standard error. */
#include "models/whisper/network.h"

#include <stdlib.h>
#include <string.h>

#define N_THREADS 2

typedef struct {
    oto_model *model;
    oto_pool *pool;
    oto_arena *arena;
    oto_whisper_state *state;
    FILE *out;
} dump;

static int load_mel(const char *path, size_t n, float *mel, oto_err *e)
{
    oto_map map;
    int rc = oto_map_open(path, &map, e);
    if (rc != 0)
        return rc;
    if (map.n == n * sizeof *mel)
        memcpy(mel, map.p, map.n);
    else
        rc = oto_fail(e, OTO_E_INPUT, "%s: %zu bytes, expected %zu", path, map.n, n * sizeof *mel);
    oto_map_close(&map);
    return rc;
}

static int setup(dump *d, char **argv, oto_err *e)
{
    oto_compute compute;
    int rc;
    if (oto_compute_parse(argv[2], &compute) != 0)
        return oto_fail(e, OTO_E_USAGE, "%s: unknown precision", argv[2]);
    if ((rc = oto_cpu_init(e)) != 0 || (rc = oto_model_open(argv[1], compute, &d->model, e)) != 0)
        return rc;
    const oto_whisper *m = oto_whisper_of(d->model);
    if (m == NULL)
        return oto_fail(e, OTO_E_UNSUPPORTED, "%s: not a Whisper model", argv[1]);
    if ((rc = oto_pool_new(N_THREADS, OTO_POOL_SCRATCH_BYTES, &d->pool, e)) != 0 ||
        (rc = oto_arena_new("dump", oto_whisper_state_bytes(m, 1, 4) + ((size_t)64 << 20),
                            &d->arena, e)) != 0)
        return rc;
    if ((rc = oto_whisper_state_new(m, 1, 4, d->pool, d->arena, &d->state, e)) != 0)
        return rc;
    d->out = fopen(argv[4], "wb");
    return d->out ? 0 : oto_fail_errno(e, "%s", argv[4]);
}

static void decode(dump *d, int n_more, int n_prompt, char **prompt)
{
    const oto_whisper_dims *dims = oto_whisper_dims_get(oto_whisper_of(d->model));
    const size_t n_vocab = (size_t)dims->n_vocab;
    int32_t token = 0;
    oto_whisper_lane_start(d->state, 0, 0, OTO_WHISPER_CTX);
    for (int pos = 0; pos < n_prompt + n_more && pos < OTO_WHISPER_CTX; pos++) {
        if (pos < n_prompt)
            token = atoi(prompt[pos]);
        else
            printf("%d\n", token);
        if (pos == n_prompt + n_more - 1 || token == dims->eot || token < 0 ||
            token >= dims->n_vocab)
            break;
        const oto_whisper_row row = {.pos = pos, .token = token, .logits = true};
        const float *logits = oto_whisper_decode(d->state, &row, 1);
        fwrite(logits, sizeof *logits, n_vocab, d->out);
        token = oto_k()->argmax_f32(logits, dims->n_vocab);
    }
}

static int run(dump *d, int argc, char **argv, oto_err *e)
{
    const oto_whisper_dims *dims = oto_whisper_dims_get(oto_whisper_of(d->model));
    const size_t n_enc = (size_t)OTO_WHISPER_FRAMES * (size_t)dims->width;
    const size_t n_mel = 2 * OTO_WHISPER_FRAMES * (size_t)dims->n_mels;
    float *mel, *enc;
    int rc;
    if ((rc = oto_arena_get(d->arena, n_mel, sizeof *mel, &mel, e)) != 0 ||
        (rc = oto_arena_get(d->arena, n_enc, sizeof *enc, &enc, e)) != 0 ||
        (rc = load_mel(argv[3], n_mel, mel, e)) != 0)
        return rc;
    double t0 = oto_now_s();
    oto_whisper_encode_out(d->state, 0, mel, enc);
    double t1 = oto_now_s();
    fwrite(enc, sizeof *enc, n_enc, d->out);
    decode(d, atoi(argv[5]), argc - 6, argv + 6);
    fprintf(stderr, "encoder %.3f s, decoder %.3f s, %s\n", t1 - t0, oto_now_s() - t1,
            oto_cpu_table());
    return fflush(d->out) == 0 ? 0 : oto_fail_errno(e, "%s", argv[4]);
}

int main(int argc, char **argv)
{
    dump d = {0};
    oto_err e;
    if (argc < 7) {
        fprintf(stderr, "usage: whisper_dump MODEL COMPUTE MEL OUT N TOKEN...\n");
        return 2;
    }
    int rc = setup(&d, argv, &e);
    if (rc == 0)
        rc = run(&d, argc, argv, &e);
    if (rc != 0)
        fprintf(stderr, "whisper_dump: %s\n", e.text);
    if (d.out)
        fclose(d.out);
    oto_arena_free(d.arena);
    oto_pool_free(d.pool);
    oto_model_close(d.model);
    return rc == 0 ? 0 : 1;
}
