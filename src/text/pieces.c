/* pieces: what Paraformer and SenseVoice recognise, put together to words.
 *
 * Source: FunASR funasr/utils/postprocess_utils.py (sentence_postprocess, abbr_dispose) and
 * funasr/models/sense_voice/model.py (post). One rule differs: a word whose last piece announces
 * another that never comes is kept, there it is lost. */
#include "text/text.h"

#include <utf8proc.h>

#include <string.h>

typedef enum { OTHER, CHINESE, LETTERS, OPEN /* letters that go on */ } kind;

static bool is_chinese(uint32_t c)
{
    return (c >= 0x4e00 && c <= 0x9fff) || (c >= '0' && c <= '9') || c == '@';
}

static bool is_letter(uint32_t c)
{
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);

    return c == '\'' || (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO && !is_chinese(c));
}

static bool all(oto_slice s, bool (*is)(uint32_t))
{
    for (size_t i = 0; i < s.n;) {
        uint32_t c;

        i += oto_utf8_next(s.p + i, s.n - i, &c);
        if (!is(c))
            return false;
    }
    return s.n > 0;
}

static bool goes_on(oto_slice s)
{
    return s.n >= 2 && memcmp(s.p + s.n - 2, "@@", 2) == 0;
}

static kind kind_of(oto_slice s)
{
    if (all(s, is_chinese))
        return CHINESE;
    if (goes_on(s))
        return OPEN;
    return all(s, is_letter) ? LETTERS : OTHER;
}

/* ---- words under way ---- */

typedef struct {
    oto_arena *a;
    oto_word *words;
    int n;
    oto_str text; /* of the newest word */
} writer;

static int begin(writer *w, int n, oto_arena *a, oto_err *e)
{
    int rc;

    w->a = a;
    w->n = 0;
    if ((rc = oto_arena_get(a, (size_t)n, sizeof *w->words, &w->words, e)) != 0)
        return rc;
    memset(w->words, 0, (size_t)n * sizeof *w->words);
    oto_str_init(&w->text, a);
    return 0;
}

static void new_word(writer *w, const oto_timed_piece *p, bool space)
{
    oto_str_init(&w->text, w->a);
    if (space)
        oto_str_put(&w->text, " ", 1);
    w->words[w->n++] = (oto_word){
        .start_ms = p->start_ms, .end_ms = p->end_ms, .probability = p->probability, .text = ""};
}

/* Text at the end of the newest word, which is not spoken for longer. */
static void append_silent(writer *w, const char *text, size_t n)
{
    oto_str_put(&w->text, text, n);
    w->words[w->n - 1].text = w->text.p != NULL ? w->text.p : "";
}

/* More of the newest word. */
static void append(writer *w, const oto_timed_piece *p, const char *text, size_t n)
{
    oto_word *word = &w->words[w->n - 1];

    append_silent(w, text, n);
    word->end_ms = p->end_ms;
    word->probability = OTO_MIN(word->probability, p->probability);
}

static int finish(const writer *w, oto_word **words, int *n_words, oto_err *e)
{
    if (w->text.failed)
        return oto_fail(e, OTO_E_LIMIT, "a window has too much text");
    *words = w->words;
    *n_words = w->n;
    return 0;
}

/* ---- Paraformer ---- */

static bool is_control(oto_slice s)
{
    static const char *const names[] = {"<s>", "</s>", "<unk>", "<OOV>", "<blank>"};

    for (size_t i = 0; i < OTO_COUNT(names); i++)
        if (s.n == strlen(names[i]) && memcmp(s.p, names[i], s.n) == 0)
            return true;
    return false;
}

static bool is_one_letter(const oto_timed_piece *p)
{
    const unsigned char c = p->text.n == 1 ? (unsigned char)p->text.p[0] : 0;

    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Length of the abbreviation that starts at p[0]: 0, or at least 2. */
static int abbreviation(const oto_timed_piece *p, int n)
{
    int i = 0;

    while (i < n && is_one_letter(&p[i]))
        i++;
    return i >= 2 ? i : 0;
}

int oto_pieces_join(const oto_timed_piece *p, int n, oto_arena *a, oto_word **words, int *n_words,
                    oto_err *e)
{
    bool open = false,
         spaced = true; /* of the newest word: goes on; a word of letters may follow */
    writer w;
    int rc = begin(&w, n, a, e);

    for (int i = 0; i < n && rc == 0; i++) {
        const kind k = kind_of(p[i].text);
        const int letters = open ? 0 : abbreviation(p + i, n - i);

        if (is_control(p[i].text) || p[i].text.n == 0)
            continue;
        if (letters > 0) {
            new_word(&w, &p[i], spaced);
            for (int j = 0; j < letters; j++) {
                const char upper = (char)(p[i + j].text.p[0] & ~0x20);

                append(&w, &p[i + j], &upper, 1);
            }
            i += letters - 1;
            spaced = true;
            continue;
        }
        if (!open || k == CHINESE || k == OTHER)
            new_word(&w, &p[i], spaced && k != CHINESE);
        append(&w, &p[i], p[i].text.p, p[i].text.n - (k == OPEN ? 2 : 0));
        open = k == OPEN;
        spaced = k == LETTERS;
    }
    return rc == 0 ? finish(&w, words, n_words, e) : rc;
}

/* ---- SentencePiece ---- */

static const char space_mark[] = "\xe2\x96\x81"; /* ▁ */

static bool is_ascii_word(oto_slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= 'A' && s.p[i] <= 'Z')))
            return false;
    return s.n > 0;
}

/* Marks that close what stands before them. Quotes that open as well as they close are none. */
static bool is_closing(uint32_t c)
{
    static const uint32_t marks[] = {
        '.',    ',',    '!',    '?',    ';',    ':',    0x2026, 0x3001, 0x3002,
        0xff01, 0xff0c, 0xff0e, 0xff1a, 0xff1b, 0xff1f, 0xff61, 0xff64, /* … 、 。 ！ ， ． ： ； ？
                                                                           ｡ ､ */
    };
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);

    for (size_t i = 0; i < OTO_COUNT(marks); i++)
        if (c == marks[i])
            return true;
    return k == UTF8PROC_CATEGORY_PE || k == UTF8PROC_CATEGORY_PF; /* ) 」 ” */
}

/* Of the scripts that write words apart, as far as their vocabulary goes. */
static bool is_apart(uint32_t c)
{
    return (c < 0x250 && c != '\'' && is_letter(c)) || (c >= 0x1100 && c < 0x1200) ||
           (c >= 0x3130 && c < 0x3190) || (c >= 0xac00 && c < 0xd7b0); /* Latin; Hangul */
}

/* Of a window's first word. The model does not say: its first piece has no mark of a space in
 * English either. */
static bool starts_apart(oto_slice s, bool apart)
{
    uint32_t c;

    oto_utf8_next(s.p, s.n, &c);
    return (apart && !all(s, is_closing)) || is_apart(c);
}

/* A full stop may be recognised well behind the last syllable: its time says nothing of when a word
 * ended, so it makes none. */
int oto_pieces_join_sp(const oto_timed_piece *p, int n, bool apart, oto_arena *a, oto_word **words,
                       int *n_words, oto_err *e)
{
    bool space = false, letters = false; /* before the next piece; the newest word is of letters */
    writer w;
    int rc = begin(&w, n, a, e);

    for (int i = 0; i < n && rc == 0; i++) {
        oto_slice s = p[i].text;

        if (s.n >= 3 && memcmp(s.p, space_mark, 3) == 0) {
            s = (oto_slice){s.p + 3, s.n - 3};
            space = true;
        }
        if (s.n == 0)
            continue;
        if (w.n == 0)
            space = starts_apart(s, apart);
        if (w.n > 0 && all(s, is_closing)) {
            append_silent(&w, " ", space);
            append_silent(&w, s.p, s.n);
        } else {
            if (space || !letters || !is_ascii_word(s) || w.n == 0)
                new_word(&w, &p[i], space);
            append(&w, &p[i], s.p, s.n);
        }
        letters = is_ascii_word(s);
        space = false;
    }
    return rc == 0 ? finish(&w, words, n_words, e) : rc;
}
