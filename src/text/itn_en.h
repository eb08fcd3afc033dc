/* English numbers: what itn_en.c and itn_en_number.c share (private). */
#ifndef OTO_TEXT_ITN_EN_H
#define OTO_TEXT_ITN_EN_H

#include "text/itn.h"

#include <string.h>

typedef struct {
    size_t from, to;   /* in the text */
    int64_t card;      /* -1: none */
    int16_t ord, part; /* 0: none */
    bool joined;       /* only spaces or one hyphen since the word before */
    bool hyphen;       /* a hyphen it is */
} word;

typedef struct {
    const oto_itn *t;
    const char *text;
    char *low; /* in lower case */
    word *w;   /* one more than n, which is like nothing */
    size_t n;
    size_t done; /* text up to here is written */
    oto_str *out;
} en;

typedef struct {
    size_t end; /* word behind it */
    int64_t value;
    int64_t scale; /* the last word, when it is thousand or more */
    size_t words;
    bool hundred; /* ends in hundred or more */
    bool whole;   /* no decimals */
    char text[80];
} number;

#define MAX_DIGITS 40

static inline bool is(const en *x, size_t i, const char *z)
{
    const size_t n = strlen(z);

    return i < x->n && x->w[i].to - x->w[i].from == n && memcmp(x->low + x->w[i].from, z, n) == 0;
}

static inline bool is_next(const en *x, size_t i, const char *z)
{
    return is(x, i, z) && x->w[i].joined;
}

/* A number goes on at i: the run before it is not whole. */
static inline bool goes_on(const en *x, size_t i)
{
    return i < x->n && x->w[i].joined && x->w[i].card >= 0;
}

static inline bool is_digit_word(const en *x, size_t i)
{
    return i < x->n &&
           ((x->w[i].card >= 0 && x->w[i].card < 10) || is(x, i, "oh") || is(x, i, "o"));
}

/* ---- itn_en_number.c ---- */

/* The longest entry of up to five joined words from i; *end the word behind it. */
const itn_entry *oto_en_phrase(const en *x, itn_kind kind, size_t i, size_t *end);
/* The character before a word, spaces left out: what digits and signs stand beside is theirs. */
bool oto_en_behind_digits(const en *x, size_t i);
/* 1 … 99 in one or two words. */
bool oto_en_below_hundred(const en *x, size_t i, size_t *end, int64_t *value);
/* 2008; 15,000; 3 million. Amounts of money have commas from a thousand up. */
void oto_en_write_number(number *x, bool commas);
/* Groups with falling scales, as far as they go. */
bool oto_en_cardinal(const en *x, size_t i, number *out);
/* Digit words at i, as many as there are; "double five" is two. Returns the word behind them. */
size_t oto_en_digits(const en *x, size_t i, char out[MAX_DIGITS + 1], size_t *n);
/* "point one four" at i, more of them when they are digits, and a scale: appended. */
bool oto_en_decimals(const en *x, size_t i, number *out);
/* A whole number with decimals or without, and nothing that goes on behind it. */
bool oto_en_any_number(const en *x, size_t i, number *out);

#endif
