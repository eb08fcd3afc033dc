/* What happens to a segment's text on its way out, where it was asked for: numbers as they are
 * written, then the script. Words and times stay as they were spoken. A text that cannot be changed
 * goes out as it is: nothing that was recognised is lost here. */
#include "recogniser/parts.h"

#include <stdlib.h>
#include <string.h>

/* Address space: a segment is at most some thousand characters. */
#define TEXT_BYTES ((size_t)4 << 20)

enum { ZH, EN, N_ITN };
static const char *const itn_names[N_ITN] = {"zh", "en"};

struct oto_finish {
    oto_arena *arena; /* a segment's texts */
    oto_itn *itn[N_ITN];
    oto_script *script;
    char name[8]; /* of the script that is open */
    bool numbers;
    oto_segment out;
};

int oto_finish_new(oto_finish **out, oto_err *e)
{
    oto_finish *f = calloc(1, sizeof *f);
    int rc;

    if (f == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    rc = oto_arena_new("text", TEXT_BYTES, &f->arena, e);
    if (rc != 0) {
        oto_finish_free(f);
        return rc;
    }
    *out = f;
    return 0;
}

void oto_finish_free(oto_finish *f)
{
    if (f == NULL)
        return;
    for (int i = 0; i < N_ITN; i++)
        oto_itn_close(f->itn[i]);
    oto_script_close(f->script);
    oto_arena_free(f->arena);
    free(f);
}

int oto_finish_start(oto_finish *f, bool itn, const char *script, oto_err *e)
{
    int rc = 0;

    f->numbers = itn;
    for (int i = 0; i < N_ITN && itn && rc == 0; i++)
        if (f->itn[i] == NULL)
            rc = oto_itn_open(itn_names[i], &f->itn[i], e);
    if (rc != 0 || strcmp(f->name, script) == 0)
        return rc;
    oto_script_close(f->script);
    f->script = NULL;
    f->name[0] = '\0';
    if (script[0] != '\0' && (rc = oto_script_open(script, &f->script, e)) == 0)
        snprintf(f->name, sizeof f->name, "%s", script);
    return rc;
}

static bool has_han(const char *text)
{
    const size_t n = strlen(text);
    uint32_t cp;

    for (size_t i = 0; i < n;) {
        i += oto_utf8_next(text + i, n - i, &cp);
        if (cp >= 0x3400 && cp <= 0x9FFF)
            return true;
    }
    return false;
}

static bool is_chinese(const char *language)
{
    return language[0] == '\0' || strcmp(language, "zh") == 0 || strcmp(language, "yue") == 0;
}

const oto_segment *oto_finish_segment(oto_finish *f, const oto_segment *s, const char *language)
{
    const bool chinese = is_chinese(language), han = has_han(s->text);
    const char *text = s->text, *next;

    oto_arena_reset(f->arena);
    /* What a Chinese model writes in letters is English. */
    if (f->numbers && (chinese || strcmp(language, "en") == 0) &&
        oto_itn_apply(f->itn[chinese && han ? ZH : EN], text, f->arena, &next, NULL) == 0)
        text = next;
    if (f->script != NULL && chinese && han &&
        oto_script_convert(f->script, text, f->arena, &next, NULL) == 0)
        text = next;
    if (text == s->text)
        return s;
    f->out = *s;
    f->out.text = text;
    return &f->out;
}
