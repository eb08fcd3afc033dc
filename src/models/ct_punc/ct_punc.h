/* ct_punc (private to the folder): CT-Transformer, which gives each token of a text the mark that
 * stands behind it.
 *
 *   token ids -> embedding of 256 -> SAN-M (4 × 256, heads of 32) -> norm -> one of 6 marks
 *
 * Source: FunASR funasr/models/ct_transformer/model.py and, for realtime speech,
 * funasr/models/ct_transformer_streaming/{model,encoder}.py. docs/models/ct-punc.md describes both.
 */
#ifndef OTO_CT_PUNC_H
#define OTO_CT_PUNC_H

#include "models/layers.h"

#define CT_D           256
#define CT_TAPS        11
#define CT_ROWS        OTO_PUNC_TOKENS
#define CT_BLOCK       20  /* new tokens for each pass */
#define CT_LONG        200 /* longer sentences are cut at a comma */
#define CT_TOKEN_BYTES 256 /* of ASCII without a space; longer runs are several tokens */
#define CT_MAX_LAYERS  64
#define CT_MAX_MARKS   16

typedef enum { CT_NONE, CT_COMMA, CT_STOP, CT_QUESTION, CT_PAUSE } ct_mark;

typedef struct {
    oto_arena *a;
    const oto_weights *w; /* whose "pieces" stand in the order of their bytes, as do embed's rows */
    oto_sanm_dims sanm;
    int n_layers, heads, ffn, n_vocab, n_marks;
    int unknown; /* id */
    int shift;   /* of the memory's filters into the past */
    bool realtime;
    oto_mat embed;
    oto_sanm_layer *layers; /* [n_layers] */
    oto_norm norm;
    oto_dense out;
    ct_mark marks[CT_MAX_MARKS]; /* of each class */
} ct_punc;

bool oto_ct_matches(const oto_weights *src);
int oto_ct_pack(const oto_weights *src, oto_compute compute, oto_gguf_writer *dst, oto_arena *a,
                oto_err *e);
int oto_ct_open(const oto_weights *packed, oto_compute compute, void **impl, oto_model_info *info,
                oto_err *e);
void oto_ct_close(void *impl);
/* Row of the embedding for a token; that of "<unk>" when the vocabulary has no such piece. */
int oto_ct_id(const ct_punc *m, oto_slice token);

/* ---- the network (network.c) ---- */

typedef struct {
    const ct_punc *m;
    oto_sanm sanm;
    float *logits; /* [CT_ROWS][n_marks] */
    int end;
} ct_network;

size_t oto_ct_network_bytes(const ct_punc *m);
int oto_ct_network_new(const ct_punc *m, oto_pool *pool, oto_arena *a, ct_network *out,
                       oto_err *e) OTO_CHECK;
/* The most probable mark behind each of n <= CT_ROWS tokens. pause: how many of the text's tokens
 * stood before the speaker's last pause, for the realtime model; others see all. */
void oto_ct_network_run(ct_network *net, const int *ids, int n, int pause, ct_mark *marks);

/* ---- text (text.c) ---- */

typedef struct {
    uint32_t at, n; /* its bytes, in the text that waits */
    int id;
    bool rest; /* of the token before, which was cut for its length */
    uint32_t first_piece, last_piece;
    int64_t start_ms, end_ms, tag;
    float probability;
} ct_token;

/* Writes token i of those that come out together, with its mark: a space between words of ASCII, a
 * capital at the start of a sentence, ASCII marks behind ASCII. text is that of all tokens. `last`:
 * the whole text ends with it, and marks[i] may become a full stop. Terminated; returns its length,
 * less than OTO_PUNC_TOKEN_BYTES. */
size_t oto_ct_write(const ct_token *t, const char *text, ct_mark *marks, int i, bool last,
                    char *out);
/* As the realtime model's: the same marks behind ASCII, no capitals. `spaced`: a word of ASCII
 * stands before it. */
void oto_ct_write_realtime(const ct_token *t, const char *text, bool spaced, ct_mark *mark,
                           bool last, char *out);
bool oto_ct_is_ascii(const ct_token *t, const char *text);

#endif
