/* Inverse text normalisation: what its files share (private). */
#ifndef OTO_TEXT_ITN_H
#define OTO_TEXT_ITN_H

#include "text/text.h"

/* Kinds of lines in the data files; each language uses some of them. */
typedef enum {
    ITN_FOLD,     /* a character and the one it is read as */
    ITN_KEEP,     /* a phrase that stays; the characters that cancel it when they follow */
    ITN_AFTER,    /* a numeral behind this stays */
    ITN_UNIT,     /* a unit that makes any number a quantity; how it is written */
    ITN_MEASURE,  /* what a number counts */
    ITN_DAYPART,  /* before a time of day */
    ITN_MONTH,    /* English: name and how it is written. Chinese: what comes before a month */
    ITN_CARDINAL, /* English number words and their values */
    ITN_ORDINAL,
    ITN_PART,     /* English names of denominators */
    ITN_CURRENCY, /* name and sign */
    ITN_KINDS
} itn_kind;

typedef struct {
    const char *key, *value; /* terminated; value "" where the line has none */
    size_t n;                /* bytes of key */
} itn_entry;

typedef struct {
    itn_entry *entries; /* sorted by key */
    size_t n, longest;
} itn_table;

struct oto_itn {
    int language;
    itn_table tables[ITN_KINDS];
    itn_entry *entries;
    char *text; /* the data, cut into strings */
};

/* ---- itn_words.c ---- */

/* The tables and what they stand on, from a data file's bytes; oto_itn_close frees both, after a
 * failure, too. */
int oto_itn_read(oto_itn *t, const unsigned char *data, size_t bytes, oto_err *e) OTO_CHECK;
/* The entry with exactly this key, or NULL. */
const itn_entry *oto_itn_find(const oto_itn *t, itn_kind kind, const char *p, size_t n);
/* The longest entry that p[0..n) begins with, or NULL. */
const itn_entry *oto_itn_longest(const oto_itn *t, itn_kind kind, const char *p, size_t n);

/* ---- itn_zh.c, itn_en.c ---- */

/* One text in one language; `out` says when the arena is full. */
int oto_itn_zh(const oto_itn *t, const char *text, oto_arena *a, oto_str *out, oto_err *e);
int oto_itn_en(const oto_itn *t, const char *text, oto_arena *a, oto_str *out, oto_err *e);

#endif
