/* Packing of keys and values in 8 bits, as attention8.c keeps them: plain C that each table
 * compiles for its own instructions. */
#ifndef OTO_PACK8_H
#define OTO_PACK8_H

#include "kernels/kernels_impl.h"

#include <math.h>
#include <string.h>

/* k [t][d], rows ld floats apart, less their mean → panels of 16 keys, a scale and a sum (times
 * zero) for each; keys up to a whole panel are zero. */
static inline __attribute__((always_inline)) void
oto_pack_keys8(float (*prepare)(const float *, int, void *), int zero, const int d, const float *k,
               size_t ld, int t, char *out, float *scale, int32_t *sums)
{
    float mean[OTO_HEAD_MAX] = {0}, row[OTO_HEAD_MAX];
    int8_t q[OTO_HEAD_MAX];

    for (int r = 0; r < t; r++)
        for (int i = 0; i < d; i++)
            mean[i] += k[(size_t)r * ld + (size_t)i];
    for (int i = 0; i < d; i++)
        mean[i] /= (float)t;
    for (int r = 0; r < (t + OTO_PANEL - 1) / OTO_PANEL * OTO_PANEL; r++) {
        char *column = out + (size_t)(r / OTO_PANEL) * d * OTO_PANEL + (size_t)(r % OTO_PANEL) * 4;
        const float *key = r < t ? k + (size_t)r * ld : mean;
        int32_t sum = 0;

        for (int i = 0; i < d; i++)
            row[i] = key[i] - mean[i];
        scale[r] = prepare(row, d, q);
        for (int i = 0; i < d; i++)
            q[i] = (int8_t)(q[i] - zero);
        for (int i = 0; i < d; i++)
            sum += q[i];
        for (int i = 0; i < d; i += 4)
            memcpy(column + (size_t)i * OTO_PANEL, q + i, 4);
        sums[r] = sum * zero;
    }
}

/* v [t][d] → a panel for every 16 channels, keys by fours, zeros up to a whole four; a scale for
 * each channel. Adding 1.5 * 2^23 rounds to the nearest integer, in the low bits. */
static inline __attribute__((always_inline)) void
oto_pack_values8(const int d, const float *v, size_t ld, int t, char *out, float *scale)
{
    const size_t panel = (size_t)((t + 3) / 4 * 4) * OTO_PANEL;
    float most[OTO_HEAD_MAX] = {0}, by[OTO_HEAD_MAX];

    for (int r = 0; r < t; r++)
        for (int i = 0; i < d; i++) {
            const float x = fabsf(v[(size_t)r * ld + (size_t)i]);
            most[i] = x > most[i] ? x : most[i];
        }
    for (int i = 0; i < d; i++) {
        const bool any = most[i] > 1e-30f;
        scale[i] = any ? most[i] / 127 : 0;
        by[i] = any ? 127 / most[i] : 0;
    }
    for (int r = 0; r < t; r += 4) {
        uint32_t word[OTO_HEAD_MAX] = {0};

        for (int j = 0; j < 4 && r + j < t; j++) {
            const float *x = v + (size_t)(r + j) * ld;

            for (int i = 0; i < d; i++) {
                const float f = oto_fma(x[i], by[i], 12582912.0f);
                uint32_t bits;

                memcpy(&bits, &f, sizeof bits);
                word[i] |= (bits & 255) << 8 * j;
            }
        }
        for (int c = 0; c < d / OTO_PANEL; c++)
            memcpy(out + panel * (size_t)c + (size_t)r * OTO_PANEL, word + c * OTO_PANEL,
                   OTO_PANEL * sizeof *word);
    }
}

/* The two functions of a table, compiled for either size of head. */
#define OTO_PACK_KEYS8(name, prepare, zero)                                                        \
    static void name(const float *k, size_t ld, int t, int d, char *out, float *scale,             \
                     int32_t *sums)                                                                \
    {                                                                                              \
        if (d == OTO_HEAD)                                                                         \
            oto_pack_keys8(prepare, zero, OTO_HEAD, k, ld, t, out, scale, sums);                   \
        else                                                                                       \
            oto_pack_keys8(prepare, zero, OTO_HEAD_MAX, k, ld, t, out, scale, sums);               \
    }
#define OTO_PACK_VALUES8                                                                           \
    static void pack_values(const float *v, size_t ld, int t, int d, char *out, float *scale)      \
    {                                                                                              \
        if (d == OTO_HEAD)                                                                         \
            oto_pack_values8(OTO_HEAD, v, ld, t, out, scale);                                      \
        else                                                                                       \
            oto_pack_values8(OTO_HEAD_MAX, v, ld, t, out, scale);                                  \
    }

#endif
