/* What stands beside model.pt in FunASR's folders, under the names its own GGUF files have:
 *
 *   am.mvn          cmvn.shift, cmvn.scale: tensors                       (all but punctuation)
 *   tokens.json     pf.vocab, ct.vocab; sv.vocab where there is no SentencePiece model
 *   *.bpe.model     sv.vocab: the pieces of a SentencePiece model
 *   seg_dict        pf.seg_dict, its text, where there is one: words and their pieces, for hot
 * words config.yaml     the few settings that no tensor's shape tells; without it their defaults
 *
 * FunASR: funasr/auto/auto_model.py, funasr/frontends/wav_frontend.py (load_cmvn); the pieces:
 * sentencepiece_model.proto, ModelProto 1 pieces, SentencePiece 1 piece. */
#include "weights/parts.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_PIECES 1000000

typedef struct {
    const char *section, *setting, *key;
    bool real;
} number_row;

typedef struct {
    const char *architecture, *marks[2]; /* tensors that only this kind has */
    const char *vocabulary;              /* its key; NULL: none */
    bool pieces, statistics, words;      /* a SentencePiece model; am.mvn; perhaps a seg_dict? */
    number_row numbers[8];
} kind;

static const kind kinds[] = {
    {.architecture = "paraformer",
     .marks = {"predictor.cif_output.weight", "decoder.decoders3.0.norm1.weight"},
     .vocabulary = "pf.vocab",
     .statistics = true,
     .words = true,
     .numbers = {{"encoder_conf", "attention_heads", "pf.enc.attention_heads", false},
                 {"encoder_conf", "kernel_size", "pf.enc.kernel_size", false},
                 {"predictor_conf", "tail_threshold", "pf.predictor.tail_threshold", true},
                 {"predictor_conf", "threshold", "pf.predictor.threshold", true},
                 {"predictor_conf", "smooth_factor2", "pf.predictor.smooth_factor2", true},
                 {"predictor_conf", "noise_threshold2", "pf.predictor.noise_threshold2", true},
                 {"model_conf", "NO_BIAS", "pf.no_bias", false},
                 {"model_conf", "use_decoder_embedding", "pf.use_decoder_embedding", false}}},
    {.architecture = "sensevoice-small",
     .marks = {"ctc.ctc_lo.weight", "encoder.tp_norm.weight"},
     .vocabulary = "sv.vocab",
     .pieces = true,
     .statistics = true,
     .numbers = {{"encoder_conf", "attention_heads", "sv.attention_heads", false},
                 {"encoder_conf", "kernel_size", "sv.kernel_size", false}}},
    {.architecture = "fsmn-vad",
     .marks = {"encoder.fsmn.0.fsmn_block.conv_left.weight", "encoder.out_linear2.linear.weight"},
     .statistics = true},
    {.architecture = "ct-transformer",
     .marks = {"embed.weight", "decoder.weight"},
     .vocabulary = "ct.vocab",
     .numbers = {{"encoder_conf", "attention_heads", "ct.heads", false},
                 {"encoder_conf", "num_blocks", "ct.layers", false},
                 {"encoder_conf", "kernel_size", "ct.kernel", false},
                 {"encoder_conf", "sanm_shfit", "ct.shift", false}, /* so it is spelt */
                 {"model_conf", "sentence_end_id", "ct.sentence_end_id", false}}},
};

static const kind *kind_of(const oto_weights *w)
{
    for (size_t i = 0; i < OTO_COUNT(kinds); i++)
        if (oto_weights_find(w, kinds[i].marks[0]) != NULL &&
            oto_weights_find(w, kinds[i].marks[1]) != NULL)
            return &kinds[i];
    return NULL;
}

/* ---- statistics ---- */

static int add_vector(oto_weights *w, oto_slice text, const char *tag, const char *name, oto_err *e)
{
    oto_tensor t = {.name = name, .type = OTO_T_F32, .rank = 1};
    const float *v;
    size_t n;
    const int rc = oto_kaldi_vector(w, text, tag, &v, &n, e);

    if (rc != 0)
        return rc;
    t.dim[0] = (int64_t)n;
    t.data = v;
    t.n_bytes = n * sizeof *v;
    return oto_weights_add(w, &t, strlen(name), e);
}

static int read_statistics(oto_weights *w, oto_err *e)
{
    oto_slice text;
    int rc = oto_weights_beside(w, "am.mvn", &text, e);

    if (rc == 0)
        rc = add_vector(w, text, "<AddShift>", "cmvn.shift", e);
    return rc == 0 ? add_vector(w, text, "<Rescale>", "cmvn.scale", e) : rc;
}

/* ---- vocabularies ---- */

/* The piece of a SentencePiece; false: garbled. */
static bool piece_of(oto_slice message, oto_slice *out)
{
    oto_proto_field f;
    oto_reader r;

    *out = (oto_slice){"", 0};
    oto_reader_init(&r, message.p, message.n);
    while (oto_proto_next(&r, &f))
        if (f.number == 1 && f.bytes.p != NULL)
            *out = f.bytes;
    return !r.bad;
}

static int put_pieces(oto_weights *w, oto_slice file, const char *key, oto_err *e)
{
    oto_span32 *at = NULL;
    oto_proto_field f;
    oto_slice piece;
    size_t n = 0;
    int rc;

    for (int pass = 0; pass < 2; pass++) { /* counts, then fills */
        oto_reader r;
        size_t i = 0;

        oto_reader_init(&r, file.p, file.n);
        while (oto_proto_next(&r, &f)) {
            if (f.number != 1 || f.bytes.p == NULL)
                continue;
            if (!piece_of(f.bytes, &piece))
                r.bad = true;
            else if (pass == 1 && i < n)
                at[i] = piece.n == 0
                            ? (oto_span32){0, 0}
                            : (oto_span32){(uint32_t)(piece.p - file.p), (uint32_t)piece.n};
            i++;
        }
        if (r.bad || i == 0 || i > MAX_PIECES || file.n > UINT32_MAX)
            return oto_weights_fail(w, e, OTO_E_INPUT,
                                    "the .bpe.model beside it is no SentencePiece model");
        n = i;
        if (pass == 0 && (rc = oto_arena_get(w->a, n, sizeof *at, &at, e)) != 0)
            return rc;
    }
    return oto_weights_put_strs(w, key, file.p, at, n, e);
}

static int read_vocabulary(oto_weights *w, const kind *k, oto_err *e)
{
    oto_slice text;
    oto_err why;
    int rc;

    if (k->pieces) {
        rc = oto_weights_beside_like(w, ".bpe.model", &text, &why);
        if (rc == 0)
            return put_pieces(w, text, k->vocabulary, e);
        if (rc != OTO_E_NOT_FOUND)
            return oto_fail(e, rc, "%s", why.text);
    }
    rc = oto_weights_beside(w, "tokens.json", &text, e);
    return rc == 0 ? oto_json_strings(w, "tokens.json", text, k->vocabulary, e) : rc;
}

static int read_words(oto_weights *w, oto_err *e)
{
    oto_slice text;
    oto_err why;
    const int rc = oto_weights_beside(w, "seg_dict", &text, &why);

    if (rc == OTO_E_NOT_FOUND)
        return 0;
    return rc == 0 ? oto_weights_put_str(w, "pf.seg_dict", text, e)
                   : oto_fail(e, rc, "%s", why.text);
}

/* ---- config.yaml ---- */

static int read_number(oto_weights *w, oto_slice text, const number_row *row, oto_err *e)
{
    char number[40], *end;
    oto_slice *items;
    size_t n;
    double real;
    long long whole;
    const oto_mark m = oto_arena_mark(w->a);
    const int rc = oto_yaml_get(text, row->section, row->setting, w->a, &items, &n, e);

    if (rc != 0)
        return rc;
    if (n != 1 || items[0].n == 0 || items[0].n >= sizeof number) {
        oto_arena_rollback(w->a, m);
        return 0;
    }
    memcpy(number, items[0].p, items[0].n);
    number[items[0].n] = '\0';
    oto_arena_rollback(w->a, m);
    real = strtod(number, &end);
    if (row->real && *end == '\0')
        return oto_weights_put_f32(w, row->key, real, e);
    if (!row->real && (strcasecmp(number, "true") == 0 || strcasecmp(number, "false") == 0))
        return oto_weights_put_int(w, row->key, (number[0] | 32) == 't', e);
    whole = strtoll(number, &end, 10);
    if (row->real || *end != '\0')
        return oto_weights_fail(w, e, OTO_E_INPUT, "config.yaml beside it: %s of %s is \"%s\"",
                                row->setting, row->section, number);
    return oto_weights_put_int(w, row->key, whole, e);
}

/* The marks of punctuation, in the order of the last layer's rows. */
static int read_marks(oto_weights *w, oto_slice text, oto_err *e)
{
    oto_slice *items;
    oto_span32 *at;
    size_t n, used = 0, total = 0;
    char *copy;
    int rc = oto_yaml_get(text, "model_conf", "punc_list", w->a, &items, &n, e);

    if (rc != 0)
        return rc;
    if (n == 0)
        return oto_weights_fail(w, e, OTO_E_INPUT,
                                "config.yaml beside it has no punc_list in model_conf");
    for (size_t i = 0; i < n; i++)
        total += items[i].n;
    if ((rc = oto_arena_get(w->a, n, sizeof *at, &at, e)) != 0 ||
        (rc = oto_arena_get(w->a, total, 1, &copy, e)) != 0)
        return rc;
    for (size_t i = 0; i < n; i++) {
        memcpy(copy + used, items[i].p, items[i].n);
        at[i] = (oto_span32){(uint32_t)used, (uint32_t)items[i].n};
        used += items[i].n;
    }
    return oto_weights_put_strs(w, "ct.punc", copy, at, n, e);
}

/* The classes that FunASR runs it with tell the realtime model: its tensors are named alike. */
static int read_class(oto_weights *w, oto_slice text, oto_err *e)
{
    static const char *const realtime[][2] = {{"model", "CTTransformerStreaming"},
                                              {"encoder", "SANMVadEncoder"}};
    bool is = false;
    int rc = 0;

    for (size_t i = 0; i < OTO_COUNT(realtime) && rc == 0; i++) {
        const oto_mark m = oto_arena_mark(w->a);
        oto_slice *items;
        size_t n;

        rc = oto_yaml_get(text, "", realtime[i][0], w->a, &items, &n, e);
        is = is || (n == 1 && oto_slice_is(items[0], realtime[i][1]));
        oto_arena_rollback(w->a, m);
    }
    return rc == 0 && is ? oto_weights_put_int(w, "ct.realtime", 1, e) : rc;
}

/* With a dictionary of jieba's the model's tokens are words. */
static int read_dictionary(oto_weights *w, oto_err *e)
{
    oto_slice text;
    oto_err why;
    const int rc = oto_weights_beside(w, "jieba_usr_dict", &text, &why);

    if (rc == OTO_E_NOT_FOUND)
        return 0;
    return rc == 0 ? oto_weights_put_int(w, "ct.words", 1, e) : oto_fail(e, rc, "%s", why.text);
}

static int read_config(oto_weights *w, const kind *k, oto_err *e)
{
    const bool marks = strcmp(k->architecture, "ct-transformer") == 0;
    oto_slice text;
    oto_err why;
    int rc = oto_weights_beside(w, "config.yaml", &text, &why);

    if (rc == OTO_E_NOT_FOUND && !marks)
        return 0;
    if (rc != 0)
        return oto_fail(e, rc, "%s", why.text);
    for (size_t i = 0; i < OTO_COUNT(k->numbers) && k->numbers[i].key != NULL && rc == 0; i++)
        rc = read_number(w, text, &k->numbers[i], e);
    if (rc == 0 && marks)
        rc = read_class(w, text, e);
    if (rc == 0 && marks)
        rc = read_dictionary(w, e);
    return rc == 0 && marks ? read_marks(w, text, e) : rc;
}

int oto_funasr_beside(oto_weights *w, oto_err *e)
{
    const kind *k = kind_of(w);
    int rc;

    if (k == NULL)
        return 0;
    rc = oto_weights_put_str(w, "general.architecture",
                             (oto_slice){k->architecture, strlen(k->architecture)}, e);
    if (rc == 0 && k->statistics)
        rc = read_statistics(w, e);
    if (rc == 0 && k->vocabulary != NULL)
        rc = read_vocabulary(w, k, e);
    if (rc == 0 && k->words)
        rc = read_words(w, e);
    return rc == 0 ? read_config(w, k, e) : rc;
}
