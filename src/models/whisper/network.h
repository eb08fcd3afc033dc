/* network (private to this folder): the bound weights as network.c reads them.
 *
 * Names in the packed file: "enc.L.…" and "dec.L.…" with L the layer; a linear NAME is the matrix
 * NAME.w and the vector NAME.b, a norm NAME is NAME.g and NAME.b. W = width.
 *
 *   enc.conv1 [W][3 n_mels]   enc.conv2 [W][3 W]   tap-major
 *   enc.pos [1500][W]         dec.pos [448][W]     f32
 *   enc.L.{ln1, qkv [3W][W], out [W][W], ln3, fc1 [4W][W], fc2 [W][4W]}   enc.ln
 *   dec.L.{the same, ln2, q [W][W], kv [2W][W], cross [W][W]}             dec.ln
 *   dec.tok [n_vocab][W]      token embedding and output projection
 *   tokens.bytes, tokens.end [eot]   text tokens one after the other, and where each ends
 *
 * Matrices have the file's type but for int8 files' first convolution, which is f32: it reads the
 * spectrogram, whose quiet parts eight bits would lose. */
#ifndef OTO_WHISPER_NETWORK_H
#define OTO_WHISPER_NETWORK_H

#include "models/family.h"
#include "models/whisper/whisper.h"

#define OTO_WHISPER_MAX_LAYERS 64
#define OTO_WHISPER_MAX_WIDTH  8192
#define OTO_WHISPER_MAX_MELS   1024
#define OTO_WHISPER_MAX_VOCAB  200000
#define OTO_WHISPER_MULTILINGUAL                                                                   \
    51865 /* smallest such vocabulary, as openai-whisper tells them                                \
           */
#define OTO_WHISPER_HEAD 64
/* What every Whisper vocabulary has behind its text: eot, sot, languages, translate, transcribe,
 * sot_lm, sot_prev, no_speech, no_timestamps, and 0.00 … 30.00 s. */
#define OTO_WHISPER_TIMES    1501
#define OTO_WHISPER_SPECIALS (2 + 6 + OTO_WHISPER_TIMES)

typedef struct {
    const float *g, *b; /* [width] */
} whisper_norm;

typedef struct {
    oto_mat w;
    const float *b; /* [w.n] */
} whisper_linear;

typedef struct {
    whisper_norm ln1, ln2, ln3;  /* before self-attention, cross-attention, feed-forward */
    whisper_linear qkv, out;     /* self-attention */
    whisper_linear q, kv, cross; /* cross-attention: decoder only */
    whisper_linear fc1, fc2;
} whisper_layer;

struct oto_whisper {
    oto_arena *a; /* all below that is not in the map */
    oto_whisper_dims dims;
    oto_tokens *tokens;
    whisper_linear conv1, conv2;
    const float *enc_pos, *dec_pos; /* [1500][width], [448][width] */
    whisper_layer *enc, *dec;       /* [n_layers_enc], [n_layers_dec] */
    whisper_norm enc_ln, dec_ln;
    oto_mat tok;
    oto_dtype kv_type; /* of keys and values in the decoder */
};

/* The type of matrices (hears: of the one that reads the spectrogram, whose 8 bits would be too
 * few) in a file of this precision. */
oto_dtype oto_whisper_matrix_type(oto_compute compute, bool hears);

#endif
