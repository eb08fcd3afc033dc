/* Inverse text normalisation: numbers as they are spoken to numbers as they are written.
 *
 * Rules in C, words in data files (itn_zh.txt, itn_en.txt, inside the program). The rules are
 * conservative: a run of number words is read whole or stays as it is, and what may be something
 * else than a number stays. Each rule looks at a bounded stretch behind the run it starts at and
 * consumes it, so the time is linear in the text's length. An opened object is never written to. */
#include "text/itn.h"

#include "text/itn_en_txt.h" /* made from itn_en.txt at build time: itn_en_txt[] */
#include "text/itn_zh_txt.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *name;
    const unsigned char *data;
    size_t n;
    int (*apply)(const oto_itn *t, const char *text, oto_arena *a, oto_str *out, oto_err *e);
} language;

static const language languages[] = {
    {"zh", itn_zh_txt, sizeof itn_zh_txt, oto_itn_zh},
    {"en", itn_en_txt, sizeof itn_en_txt, oto_itn_en},
};

static int number_of(const char *name)
{
    if (strcmp(name, "yue") == 0) /* written alike */
        return 0;
    for (size_t i = 0; i < OTO_COUNT(languages); i++)
        if (strcmp(languages[i].name, name) == 0)
            return (int)i;
    return -1;
}

bool oto_itn_knows(const char *name)
{
    return number_of(name) >= 0;
}

int oto_itn_open(const char *name, oto_itn **out, oto_err *e)
{
    const int k = number_of(name);
    oto_itn *t;
    int rc;

    if (k < 0)
        return oto_fail(e, OTO_E_UNSUPPORTED, "itn: no rules for language '%s' (zh, en)", name);
    t = calloc(1, sizeof *t);
    if (t == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    t->language = k;
    rc = oto_itn_read(t, languages[k].data, languages[k].n, e);
    if (rc != 0) {
        oto_itn_close(t);
        return rc;
    }
    *out = t;
    return 0;
}

void oto_itn_close(oto_itn *t)
{
    if (t == NULL)
        return;
    free(t->entries);
    free(t->text);
    free(t);
}

int oto_itn_apply(const oto_itn *t, const char *text, oto_arena *a, const char **out, oto_err *e)
{
    oto_str s;
    int rc;

    oto_str_init(&s, a);
    rc = languages[t->language].apply(t, text, a, &s, e);
    if (rc == 0 && s.failed)
        rc = oto_fail(e, OTO_E_LIMIT, "itn: a text of %zu bytes is too long", strlen(text));
    if (rc == 0)
        *out = s.p != NULL ? s.p : "";
    return rc;
}
