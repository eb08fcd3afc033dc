/* text: the transcript, the vocabularies, and what happens to characters on their way in and out.
 */
#ifndef OTO_TEXT_H
#define OTO_TEXT_H

#include "base/base.h"

/* ---- transcript
 * ------------------------------------------------------------------------------------ */

typedef struct {
    int64_t start_ms, end_ms;
    const char *text; /* UTF-8, with the model's leading space where it has one */
    float probability;
} oto_word;

typedef struct {
    int64_t start_ms, end_ms;
    const char *text; /* UTF-8, leading space kept (" The beach"), never NULL */
    const int32_t *tokens;
    int n_tokens;
    const oto_word *words; /* NULL unless asked for */
    int n_words;
    int64_t seek_ms; /* start of the window it was found in, in the recording */
    float temperature, avg_logprob, compression_ratio, no_speech_prob;
    char language[8];
    char emotion[16], event[16]; /* of models that hear them, as they name them; else "" */
} oto_segment;

/* ---- tokens (tokens.c)
 * -------------------------------------------------------------------------------- */

/* A byte-level BPE vocabulary: the raw bytes of each id; ids are merge ranks (GPT-2, tiktoken). */
typedef struct oto_tokens oto_tokens;
/* bytes[i]: raw bytes of id i (borrowed for the object's life); ids ≥ n_text are special: never
 * made by encode, empty for decode. */
int oto_tokens_new(const oto_slice *bytes, int n, int n_text, oto_tokens **out,
                   oto_err *e) OTO_CHECK;
void oto_tokens_free(oto_tokens *t);
/* GPT-2's printable form of byte-level pieces ("Ġthe") → raw bytes, in `a`. Pieces with other
 * characters are kept as is. */
int oto_tokens_unprintable(oto_slice piece, oto_arena *a, oto_slice *out, oto_err *e) OTO_CHECK;
void oto_tokens_decode(const oto_tokens *t, const int32_t *ids, int n, oto_str *out);
oto_slice oto_tokens_bytes(const oto_tokens *t, int32_t id);
/* Text → ids (GPT-2 pre-tokenisation, then byte-pair merges by rank). *n: room in, count out. LIMIT
 * when it is too small. */
int oto_tokens_encode(const oto_tokens *t, const char *text, int32_t *ids, int *n,
                      oto_err *e) OTO_CHECK;

/* ---- pieces (pieces.c): vocabularies that are a list of pieces of text ---- */

/* A recognised piece and when it was spoken. */
typedef struct {
    oto_slice text; /* borrowed */
    int64_t start_ms, end_ms;
    float probability;
} oto_timed_piece;
/* Pieces of Paraformer's vocabulary → words: "hel@@" goes on in the next piece; words of letters
 * have a space between them, Chinese characters none; letters that stand alone are one abbreviation
 * ("a" "p" "p" → "APP"). As FunASR's sentence_postprocess. words[] lives in `a`, each text with the
 * space before it; their texts one after the other are the whole. */
int oto_pieces_join(const oto_timed_piece *p, int n, oto_arena *a, oto_word **words, int *n_words,
                    oto_err *e) OTO_CHECK;
/* The same for SentencePiece: "▁" is a space; letters go on the word before, and so do marks that
 * close (。 , ? ” and the like), which leave the word's time and probability as they are. The first
 * word has a space before it when it is of Latin letters or Hangul, and in a language that writes
 * words apart (`apart`) always, so that the texts of windows can be put together. */
int oto_pieces_join_sp(const oto_timed_piece *p, int n, bool apart, oto_arena *a, oto_word **words,
                       int *n_words, oto_err *e) OTO_CHECK;

/* Whisper's languages: code ↔ index 0 … 99 (index = language token − first language token) and
 * English names. */
int oto_language_index(const char *code_or_name); /* "zh", "zh-CN", "Chinese" → index, -1 unknown */
const char *oto_language_code(int index);
const char *oto_language_name(const char *code); /* "english"; NULL unknown */
/* Is the code one of a model's list ("zh,en"; "": every language)? */
bool oto_language_among(const char *list, const char *code);

/* ---- numbers as they are written (itn.c, itn_zh.c, itn_en.c; docs/text.md) ---- */

/* Inverse text normalisation for one language: "百分之五十" → "50%", "twenty dollars" → "$20".
 * Rules and words are in the program: nothing is read. */
typedef struct oto_itn oto_itn;
/* "zh" (and "yue"), "en". */
bool oto_itn_knows(const char *language);
/* Fails with UNSUPPORTED for other languages. */
int oto_itn_open(const char *language, oto_itn **out, oto_err *e) OTO_CHECK;
void oto_itn_close(oto_itn *t); /* NULL allowed */
/* *out is in `a`. What is no number for certain stays to the byte, bad UTF-8 too. Time and memory
 * grow with the text's length alone; several threads may share `t`. Fails with LIMIT. */
int oto_itn_apply(const oto_itn *t, const char *text, oto_arena *a, const char **out,
                  oto_err *e) OTO_CHECK;

/* ---- simplified and traditional Chinese (script.c; docs/text.md) ---- */

typedef struct oto_script oto_script;
/* Names of all conversions, NULL-terminated: "s2t", "t2s", "s2tw", … as OpenCC names them. */
const char *const *oto_script_names(void);
bool oto_script_knows(const char *name);
/* Is OpenCC there at all? Its dictionaries are not opened. */
bool oto_script_there(void);
/* Loads OpenCC and the conversion's dictionaries; nothing is read later. Fails: USAGE (unknown
 * name), UNAVAILABLE (library or dictionaries are not installed). */
int oto_script_open(const char *name, oto_script **out, oto_err *e) OTO_CHECK;
void oto_script_close(oto_script *s); /* NULL allowed */
/* *out is in `a`. Several threads may share `s`. Fails: INPUT (not UTF-8), LIMIT. */
int oto_script_convert(const oto_script *s, const char *text, oto_arena *a, const char **out,
                       oto_err *e) OTO_CHECK;

/* White space as Python's str.split has it, and NUL. */
bool oto_is_space(uint32_t cp);

/* ---- output (write.c)
 * ------------------------------------------------------------------------------------ */

/* Streaming writers: nothing grows with the recording. Formats: txt, srt, vtt, tsv, lrc, json
 * (openai's verbose_json). Overlaps are resolved (start ≥ previous start, end ≥ start); json keeps
 * what has to come last in an unnamed file. */
typedef struct oto_writer oto_writer;
typedef struct {
    const char *task;     /* "transcribe" or "translate" */
    const char *language; /* code, "" unknown */
    double duration_s;
    const char *warning; /* NULL or decoder's */
    const char *model;
    double wall_s, rtf;
    bool words;       /* json: a top-level "words" list as well */
    bool no_segments; /* json: without its list of segments */
    const char *job;  /* json: its id, or NULL */
} oto_writer_info;
/* Names of all formats, NULL-terminated. */
const char *const *oto_writer_formats(void);
int oto_writer_new(const char *format, FILE *f, bool words, oto_writer **out, oto_err *e) OTO_CHECK;
int oto_writer_segment(oto_writer *w, const oto_segment *s, oto_err *e) OTO_CHECK;
/* Completes the document and flushes; fails with NO_SPACE or IO when any write failed. Does not
 * close f. */
int oto_writer_finish(oto_writer *w, const oto_writer_info *info, oto_err *e) OTO_CHECK;
void oto_writer_free(oto_writer *w);

/* ---- segments that are kept (json.c): the keys of verbose_json, times in ms ---- */

struct json_t; /* jansson's */
/* A new reference, or NULL without memory. */
struct json_t *oto_segment_pack(const oto_segment *s);
/* Texts, tokens and words are copied to `a`. Fails with INPUT. */
int oto_segment_unpack(const struct json_t *j, oto_arena *a, oto_segment *out,
                       oto_err *e) OTO_CHECK;

/* ---- comparing texts (normalise.c, score.c in measure)
 * ------------------------------------------------------ */

/* For WER/CER, documented in docs/scoring.md: NFKC, case folding, punctuation and symbols dropped
 * (apostrophes inside words kept), white space collapsed. Result in `a`. */
int oto_text_normalise(const char *text, oto_arena *a, char **out, oto_err *e) OTO_CHECK;

#endif
