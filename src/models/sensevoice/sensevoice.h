/* sensevoice (private to the folder): SenseVoiceSmall.
 *
 *   4 rows that ask (language, emotion, event, text form) + rows of 560
 *     -> SAN-M (50 × 512) -> norm -> SAN-M (20 × 512) -> norm -> a token or blank for each row
 * (CTC)
 *
 * Source: FunASR funasr/models/sense_voice/model.py. */
#ifndef OTO_SENSEVOICE_H
#define OTO_SENSEVOICE_H

#include "models/layers.h"
#include "models/utterance.h"

#define SV_IN      OTO_LFR_DIM
#define SV_D       512
#define SV_TAPS    11
#define SV_ASKS    4   /* rows in front */
#define SV_ROWS    512 /* that go through the network together */
#define SV_LOGITS  64  /* rows whose logits are there at a time */
#define SV_EMBED   16  /* rows of questions to choose from */
#define SV_MAX_ENC 128

typedef struct {
    oto_arena *a;
    oto_sanm_dims sanm;
    int heads, ffn, n_enc, n_tp, n_vocab;
    int form; /* row of embed that asks for digits and punctuation, or not */
    const float *shift, *scale;
    const float *embed;  /* [SV_EMBED][560] */
    oto_sanm_layer *enc; /* [n_enc + n_tp] */
    oto_norm enc_norm, tp_norm;
    oto_dense out;
    oto_slice *pieces; /* [n_vocab] */
} sensevoice;

extern const float oto_sv_published_scale[OTO_FBANK_MELS];

bool oto_sv_matches(const oto_weights *src);
int oto_sv_pack(const oto_weights *src, oto_compute compute, oto_gguf_writer *dst, oto_arena *a,
                oto_err *e);
int oto_sv_open(const oto_weights *packed, oto_compute compute, void **impl, oto_model_info *info,
                oto_err *e);
void oto_sv_close(void *impl);

#endif
