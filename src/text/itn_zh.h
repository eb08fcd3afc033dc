/* Chinese numbers: what itn_zh.c and itn_zh_number.c share (private). */
#ifndef OTO_TEXT_ITN_ZH_H
#define OTO_TEXT_ITN_ZH_H

#include "text/itn.h"

#include <uchar.h>

typedef struct {
    const oto_itn *t;
    const char *text; /* as given */
    char *fold;       /* the same with traditional forms folded: same length */
    uint32_t *cp;     /* of fold; [n] is 0 */
    uint32_t *at;     /* where each begins; [n] is the length */
    size_t n;
    oto_str *out;
} zh;

/* A number: what it covers and how it is written. */
typedef struct {
    size_t end;
    uint64_t value;
    bool whole;   /* `value` says it: no decimals */
    bool big;     /* has a unit of its own: ten and more */
    bool shorter; /* its last unit was left out: 一百五 */
    char text[80];
} number;

#define DIGITS   U"零一二三四五六七八九"
#define LAKH     UINT64_C(100000000)
#define TEXT_MAX 64 /* digits of a run that is one number beside units; longer ones are copied */

/* ---- characters ---- */

/* 0 … 9, or -1; 两 is 2 and 幺 is 1. */
static inline int digit(uint32_t c)
{
    for (int i = 0; i < 10; i++)
        if (DIGITS[i] == (char32_t)c)
            return i;
    return c == U'幺' ? 1 : c == U'两' ? 2 : -1;
}

/* 10, 100, 1000, 10^4, 10^8, or 0. */
static inline uint64_t power(uint32_t c)
{
    return c == U'十'   ? 10
           : c == U'百' ? 100
           : c == U'千' ? 1000
           : c == U'万' ? 10000
           : c == U'亿' ? LAKH
                        : 0;
}

static inline bool is_numeral(uint32_t c)
{
    return digit(c) >= 0 || power(c) > 0;
}

static inline bool is_latin(uint32_t c)
{
    return (c >= '0' && c <= '9') || c == '.' || c == '%';
}

static inline size_t run_end(const zh *z, size_t i)
{
    while (i < z->n && is_numeral(z->cp[i]))
        i++;
    return i;
}

/* ---- itn_zh_number.c ---- */

/* A whole number that covers the run cp[i..end): a cardinal, or one digit. */
bool oto_zh_whole_number(const zh *z, size_t i, size_t end, number *out);
/* A number with or without decimals that begins with the run at i. */
bool oto_zh_any_number(const zh *z, size_t i, number *out);

#endif
