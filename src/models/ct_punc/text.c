/* text: what tokens and marks look like when they are written. As FunASR's CTTransformer.inference
 * does it, but for the class "<unk>", which it would write out and no trained model gives. */
#include "models/ct_punc/ct_punc.h"

#include <string.h>

/* Of both kinds: behind ASCII, behind anything else. There is no ASCII form of "、". */
static const char *const written[][2] = {[CT_NONE] = {"", ""},
                                         [CT_COMMA] = {",", "，"},
                                         [CT_STOP] = {".", "。"},
                                         [CT_QUESTION] = {"?", "？"},
                                         [CT_PAUSE] = {"、", "、"}};

static bool is_ascii(const ct_token *t, const char *text)
{
    return (unsigned char)text[t->at] < 0x80;
}

/* Python's str.capitalize: the rest becomes lower case. */
static void capitalise(char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (i == 0 && p[i] >= 'a' && p[i] <= 'z')
            p[i] = (char)(p[i] - 'a' + 'A');
        else if (i > 0 && p[i] >= 'A' && p[i] <= 'Z')
            p[i] = (char)(p[i] - 'A' + 'a');
}

static bool ends_with(const char *p, size_t n, const char *mark)
{
    const size_t k = strlen(mark);

    return n >= k && memcmp(p + n - k, mark, k) == 0;
}

/* The text ends here: a comma becomes a full stop, and where nothing is one is put. */
static size_t complete(char *out, size_t n, ct_mark *mark)
{
    static const char *const commas[] = {"，", "、", ","}, *const ends[] = {"。", "？", ".", "?"};
    const char *stop = (unsigned char)out[n - 1] < 0x80 ? "." : "。";

    for (size_t i = 0; i < OTO_COUNT(ends); i++)
        if (ends_with(out, n, ends[i]))
            return n;
    for (size_t i = 0; i < OTO_COUNT(commas); i++)
        if (ends_with(out, n, commas[i])) {
            n -= strlen(commas[i]);
            break;
        }
    memcpy(out + n, stop, strlen(stop));
    *mark = CT_STOP;
    return n + strlen(stop);
}

size_t oto_ct_write(const ct_token *t, const char *text, ct_mark *marks, int i, bool last,
                    char *out)
{
    const bool ascii = is_ascii(&t[i], text);
    const char *mark = written[marks[i]][!ascii];
    size_t n = 0;

    if (ascii && !t[i].rest && (i == 0 || is_ascii(&t[i - 1], text)))
        out[n++] = ' ';
    memcpy(out + n, text + t[i].at, t[i].n);
    if (ascii && !t[i].rest && (i == 0 || marks[i - 1] == CT_STOP || marks[i - 1] == CT_QUESTION))
        capitalise(out + n, t[i].n);
    n += t[i].n;
    memcpy(out + n, mark, strlen(mark));
    n += strlen(mark);
    if (last)
        n = complete(out, n, &marks[i]);
    out[n] = '\0';
    return n;
}
