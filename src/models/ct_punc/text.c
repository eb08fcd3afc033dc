/* text: what tokens and marks look like when they are written. As CTTransformer.inference of FunASR
 * and CTTransformerStreaming's do it, but for the class "<unk>", which they would write out and no
 * trained model gives. */
#include "models/ct_punc/ct_punc.h"

#include <string.h>

/* Of both kinds: behind ASCII, behind anything else. There is no ASCII form of "、". */
static const char *const written[][2] = {[CT_NONE] = {"", ""},
                                         [CT_COMMA] = {",", "，"},
                                         [CT_STOP] = {".", "。"},
                                         [CT_QUESTION] = {"?", "？"},
                                         [CT_PAUSE] = {"、", "、"}};

bool oto_ct_is_ascii(const ct_token *t, const char *text)
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

static const char *const ends[] = {"。", "？", ".", "?"};

static bool ends_sentence(const char *p, size_t n)
{
    for (size_t i = 0; i < OTO_COUNT(ends); i++)
        if (ends_with(p, n, ends[i]))
            return true;
    return false;
}

/* The text ends here: a comma becomes a full stop, and where nothing is one is put. */
static size_t complete(char *out, size_t n, ct_mark *mark)
{
    static const char *const commas[] = {"，", "、", ","};
    const char *stop = (unsigned char)out[n - 1] < 0x80 ? "." : "。";

    if (ends_sentence(out, n))
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
    const bool ascii = oto_ct_is_ascii(&t[i], text);
    const char *mark = written[marks[i]][!ascii];
    size_t n = 0;

    if (ascii && !t[i].rest && (i == 0 || oto_ct_is_ascii(&t[i - 1], text)))
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

void oto_ct_write_realtime(const ct_token *t, const char *text, bool spaced, ct_mark *mark,
                           bool last, char *out)
{
    const char *p = text + t->at;

    if (last && *mark != CT_STOP && *mark != CT_QUESTION)
        *mark = ends_sentence(p, t->n) ? CT_NONE : CT_STOP;
    snprintf(out, OTO_PUNC_TOKEN_BYTES, "%s%.*s%s",
             spaced && !t->rest && oto_ct_is_ascii(t, text) ? " " : "", (int)t->n, p,
             written[*mark][1]);
}
