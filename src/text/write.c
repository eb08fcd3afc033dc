/* Writers of transcripts, one row per format. Each takes segments as they come and keeps nothing of
 * them, so that the length of a recording does not matter. A JSON document names language, duration
 * and the whole text before the segments, and these are known last: its parts grow in unnamed files
 * and are put together at the end. */
#include "text/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct format;

struct oto_writer {
    const struct format *format;
    FILE *f;
    FILE *text, *segments, *words; /* json: the parts, unnamed files */
    bool with_words;
    int64_t n; /* segments or cues written */
    int64_t n_words;
    int64_t last_start_ms;
    size_t spaces; /* json: white space at the end of `text`, not written yet */
};

struct format {
    const char *name;
    int (*begin)(oto_writer *w, oto_err *e);
    void (*segment)(oto_writer *w, const oto_segment *s, oto_slice text);
    int (*finish)(oto_writer *w, const oto_writer_info *info, oto_err *e);
};

/* ---- text ---- */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static oto_slice trim(const char *z)
{
    oto_slice s = {z, strlen(z)};

    while (s.n > 0 && is_space(*s.p)) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

static void put_bytes(FILE *f, const char *p, size_t n)
{
    if (n > 0)
        fwrite(p, 1, n, f);
}

/* One line of text: control characters become spaces, bytes that are no UTF-8 U+FFFD. `put` writes
 * one character of `n` bytes. */
static void each_char(FILE *f, oto_slice s, void (*put)(FILE *f, uint32_t cp, oto_slice c))
{
    while (s.n > 0) {
        uint32_t cp;
        const size_t n = oto_utf8_next(s.p, s.n, &cp);
        char utf8[4];
        const oto_slice c =
            cp == 0xfffd ? (oto_slice){utf8, oto_utf8_put(utf8, cp)} : (oto_slice){s.p, n};

        put(f, cp, c);
        s.p += n;
        s.n -= n;
    }
}

static void put_plain_char(FILE *f, uint32_t cp, oto_slice c)
{
    if (cp < ' ' || cp == 0x7f)
        putc(' ', f);
    else
        put_bytes(f, c.p, c.n);
}

static void put_plain(FILE *f, oto_slice s)
{
    each_char(f, s, put_plain_char);
}

static void put_markup_char(FILE *f, uint32_t cp, oto_slice c)
{
    if (cp == '&')
        fputs("&amp;", f);
    else if (cp == '<')
        fputs("&lt;", f);
    else if (cp == '>')
        fputs("&gt;", f);
    else
        put_plain_char(f, cp, c);
}

/* A subtitle's text must not hold the arrow of its time line: of the dashes before it one is kept.
 */
static void put_cue(FILE *f, oto_slice s, void (*put)(FILE *f, uint32_t cp, oto_slice c))
{
    size_t from = 0;

    for (size_t i = 0; i + 3 <= s.n; i++)
        if (memcmp(s.p + i, "-->", 3) == 0) {
            size_t end = i;

            while (end > from && s.p[end - 1] == '-')
                end--;
            each_char(f, (oto_slice){s.p + from, end - from}, put);
            from = i + 1;
        }
    each_char(f, (oto_slice){s.p + from, s.n - from}, put);
}

static void put_json_char(FILE *f, uint32_t cp, oto_slice c)
{
    if (cp == '"' || cp == '\\')
        fprintf(f, "\\%c", (char)cp);
    else if (cp == '\n')
        fputs("\\n", f);
    else if (cp == '\t')
        fputs("\\t", f);
    else if (cp < ' ' || cp == 0x7f)
        fprintf(f, "\\u%04x", (unsigned)cp);
    else
        put_bytes(f, c.p, c.n);
}

static void put_json(FILE *f, oto_slice s)
{
    putc('"', f);
    each_char(f, s, put_json_char);
    putc('"', f);
}

static void put_json_z(FILE *f, const char *z)
{
    put_json(f, (oto_slice){z, strlen(z)});
}

/* ---- txt, srt, vtt, tsv, lrc ---- */

static void segment_txt(oto_writer *w, const oto_segment *s, oto_slice text)
{
    (void)s;
    if (text.n == 0)
        return;
    put_plain(w->f, text);
    putc('\n', w->f);
}

static void put_time(FILE *f, int64_t ms, char point)
{
    fprintf(f, "%02" PRId64 ":%02d:%02d%c%03d", ms / 3600000, (int)(ms / 60000 % 60),
            (int)(ms / 1000 % 60), point, (int)(ms % 1000));
}

static void put_times(FILE *f, const oto_segment *s, char point)
{
    put_time(f, s->start_ms, point);
    fputs(" --> ", f);
    put_time(f, OTO_MAX(s->end_ms, s->start_ms + 1), point); /* no cue of no length */
    putc('\n', f);
}

static void segment_srt(oto_writer *w, const oto_segment *s, oto_slice text)
{
    if (text.n == 0)
        return;
    fprintf(w->f, "%" PRId64 "\n", ++w->n);
    put_times(w->f, s, ',');
    put_cue(w->f, text, put_plain_char);
    fputs("\n\n", w->f);
}

static int begin_vtt(oto_writer *w, oto_err *e)
{
    (void)e;
    fputs("WEBVTT\n\n", w->f);
    return 0;
}

/* Each word after its own time, where WebVTT allows one: inside the cue and growing. */
static void put_timed_words(FILE *f, const oto_segment *s)
{
    int64_t last = s->start_ms;

    for (int i = 0; i < s->n_words; i++) {
        const oto_word *word = &s->words[i];
        const char *text = word->text;

        if (i == 0)
            while (is_space(*text))
                text++;
        if (word->start_ms > last && word->start_ms < s->end_ms) {
            putc('<', f);
            put_time(f, word->start_ms, '.');
            putc('>', f);
            last = word->start_ms;
        }
        put_cue(f, (oto_slice){text, strlen(text)}, put_markup_char);
    }
}

static void segment_vtt(oto_writer *w, const oto_segment *s, oto_slice text)
{
    if (text.n == 0)
        return;
    put_times(w->f, s, '.');
    if (w->with_words && s->n_words > 0)
        put_timed_words(w->f, s);
    else
        put_cue(w->f, text, put_markup_char);
    fputs("\n\n", w->f);
}

static int begin_tsv(oto_writer *w, oto_err *e)
{
    (void)e;
    fputs("start\tend\ttext\n", w->f);
    return 0;
}

static void segment_tsv(oto_writer *w, const oto_segment *s, oto_slice text)
{
    if (text.n == 0)
        return;
    fprintf(w->f, "%" PRId64 "\t%" PRId64 "\t", s->start_ms, s->end_ms);
    put_plain(w->f, text);
    putc('\n', w->f);
}

/* Lyrics: a line begins at its time, in hundredths taken from one rounded count. */
static void segment_lrc(oto_writer *w, const oto_segment *s, oto_slice text)
{
    const int64_t cs = (s->start_ms + 5) / 10;

    if (text.n == 0)
        return;
    fprintf(w->f, "[%02" PRId64 ":%02d.%02d]", cs / 6000, (int)(cs / 100 % 60), (int)(cs % 100));
    put_plain(w->f, text);
    putc('\n', w->f);
}

/* ---- json ---- */

/* Milliseconds as seconds, from the integer: 3320 -> 3.32, 4000 -> 4.0. */
static void put_seconds(FILE *f, int64_t ms)
{
    const int rest = (int)(ms % 1000);

    fprintf(f, "%" PRId64 ".", ms / 1000);
    if (rest % 100 == 0)
        fprintf(f, "%d", rest / 100);
    else if (rest % 10 == 0)
        fprintf(f, "%02d", rest / 10);
    else
        fprintf(f, "%03d", rest);
}

static void put_number(FILE *f, const char *key, double v)
{
    fprintf(f, ",\"%s\":%.6g", key, isfinite(v) ? v : 0.0);
}

static int begin_json(oto_writer *w, oto_err *e)
{
    w->text = tmpfile();
    w->segments = w->text != NULL ? tmpfile() : NULL;
    w->words = w->segments != NULL ? tmpfile() : NULL;
    return w->words != NULL ? 0 : oto_fail_errno(e, "temporary file");
}

/* The text so far is trimmed at both ends: white space waits for what follows it. */
static void append_text(oto_writer *w, const char *text)
{
    for (const char *p = text; *p != '\0';) {
        size_t n = 0;

        if (is_space(*p)) {
            w->spaces++;
            p++;
            continue;
        }
        while (p[n] != '\0' && !is_space(p[n]))
            n++;
        if (ftell(w->text) > 0)
            for (; w->spaces > 0; w->spaces--)
                putc(' ', w->text);
        w->spaces = 0;
        each_char(w->text, (oto_slice){p, n}, put_json_char);
        p += n;
    }
}

static void put_words(FILE *f, const oto_segment *s, int64_t already)
{
    for (int i = 0; i < s->n_words; i++) {
        const oto_word *word = &s->words[i];
        const int64_t start = OTO_MAX(word->start_ms, 0), end = OTO_MAX(word->end_ms, start);

        fputs(already + i > 0 ? ",{\"word\":" : "{\"word\":", f);
        put_json(f, trim(word->text));
        fputs(",\"start\":", f);
        put_seconds(f, start);
        fputs(",\"end\":", f);
        put_seconds(f, end);
        put_number(f, "probability", word->probability);
        putc('}', f);
    }
}

/* Left out when empty. */
static void put_name(FILE *f, const char *key, const char *name)
{
    if (name[0] == '\0')
        return;
    fprintf(f, ",\"%s\":", key);
    put_json_z(f, name);
}

static void segment_json(oto_writer *w, const oto_segment *s, oto_slice text)
{
    FILE *f = w->segments;

    (void)text;
    append_text(w, s->text);
    fprintf(f, "%s\n{\"id\":%" PRId64 ",\"seek\":%" PRId64 ",\"start\":", w->n > 0 ? "," : "", w->n,
            s->seek_ms / 10);
    w->n++;
    put_seconds(f, s->start_ms);
    fputs(",\"end\":", f);
    put_seconds(f, s->end_ms);
    fputs(",\"text\":", f);
    put_json_z(f, s->text);
    fputs(",\"tokens\":[", f);
    for (int i = 0; i < s->n_tokens; i++)
        fprintf(f, i > 0 ? ",%" PRId32 : "%" PRId32, s->tokens[i]);
    putc(']', f);
    put_number(f, "temperature", s->temperature);
    put_number(f, "avg_logprob", s->avg_logprob);
    put_number(f, "compression_ratio", s->compression_ratio);
    put_number(f, "no_speech_prob", s->no_speech_prob);
    put_name(f, "emotion", s->emotion);
    put_name(f, "event", s->event);
    if (w->with_words && s->words != NULL) {
        fputs(",\"words\":[", f);
        put_words(f, s, 0);
        putc(']', f);
        put_words(w->words, s, w->n_words);
        w->n_words += s->n_words;
    }
    putc('}', f);
}

static int copy_part(FILE *from, FILE *to, oto_err *e)
{
    char buf[1 << 14];
    size_t n;

    if (fflush(from) != 0 || ferror(from) || fseek(from, 0, SEEK_SET) != 0)
        return oto_fail_errno(e, "temporary file");
    while ((n = fread(buf, 1, sizeof buf, from)) > 0)
        put_bytes(to, buf, n);
    return ferror(from) ? oto_fail_errno(e, "temporary file") : 0;
}

static int finish_json(oto_writer *w, const oto_writer_info *info, oto_err *e)
{
    const char *language = info->language != NULL ? oto_language_name(info->language) : NULL;
    const double duration = info->duration_s > 0 ? info->duration_s : 0;
    FILE *f = w->f;
    int rc;

    fputs("{\"task\":", f);
    put_json_z(f, info->task);
    fputs(",\"language\":", f);
    put_json_z(f, language != NULL ? language : "unknown");
    fputs(",\"duration\":", f);
    put_seconds(f, llround(duration * 1000));
    fputs(",\"text\":\"", f);
    if ((rc = copy_part(w->text, f, e)) != 0)
        return rc;
    putc('"', f);
    if (!info->no_segments) {
        fputs(",\"segments\":[", f);
        if ((rc = copy_part(w->segments, f, e)) != 0)
            return rc;
        putc(']', f);
    }
    if (info->words) {
        fputs(",\"words\":[", f);
        if ((rc = copy_part(w->words, f, e)) != 0)
            return rc;
        putc(']', f);
    }
    fprintf(f, ",\"usage\":{\"type\":\"duration\",\"seconds\":%" PRId64 "}",
            (int64_t)ceil(duration));
    if (info->warning != NULL && info->warning[0] != '\0') {
        fputs(",\"warnings\":[", f);
        put_json_z(f, info->warning);
        putc(']', f);
    }
    if (info->model != NULL) {
        fputs(",\"x_otolith\":{\"model\":", f);
        put_json_z(f, info->model);
        put_number(f, "wall_seconds", info->wall_s);
        put_number(f, "rtf", info->rtf);
        if (info->job != NULL) {
            fputs(",\"job\":", f);
            put_json_z(f, info->job);
        }
        putc('}', f);
    }
    fputs("}\n", f);
    return 0;
}

/* ---- the writer ---- */

static const struct format formats[] = {
    {"txt", NULL, segment_txt, NULL},      {"srt", NULL, segment_srt, NULL},
    {"vtt", begin_vtt, segment_vtt, NULL}, {"tsv", begin_tsv, segment_tsv, NULL},
    {"lrc", NULL, segment_lrc, NULL},      {"json", begin_json, segment_json, finish_json},
};
static const char *const names[] = {"txt", "srt", "vtt", "tsv", "lrc", "json", NULL};

const char *const *oto_writer_formats(void)
{
    return names;
}

int oto_writer_new(const char *format, FILE *f, bool words, oto_writer **out, oto_err *e)
{
    oto_writer *w;
    size_t i = 0;
    int rc = 0;

    while (i < OTO_COUNT(formats) && strcmp(formats[i].name, format) != 0)
        i++;
    if (i == OTO_COUNT(formats))
        return oto_fail(e, OTO_E_USAGE, "unknown format %s (txt, srt, vtt, tsv, lrc, json)",
                        format);
    w = calloc(1, sizeof *w);
    if (w == NULL)
        return oto_fail(e, OTO_E_LIMIT, "out of memory");
    w->format = &formats[i];
    w->f = f;
    w->with_words = words;
    if (w->format->begin != NULL && (rc = w->format->begin(w, e)) != 0) {
        oto_writer_free(w);
        return rc;
    }
    *out = w;
    return 0;
}

/* What failed first is what errno tells only when it is asked at once: flush after each segment. */
static int flush(FILE *f, oto_err *e)
{
    if (f == NULL)
        return 0;
    if (fflush(f) == 0 && !ferror(f))
        return 0;
    return oto_fail_errno(e, "writing");
}

static int flush_all(oto_writer *w, oto_err *e)
{
    int rc;

    if ((rc = flush(w->f, e)) != 0 || (rc = flush(w->text, e)) != 0 ||
        (rc = flush(w->segments, e)) != 0)
        return rc;
    return flush(w->words, e);
}

int oto_writer_segment(oto_writer *w, const oto_segment *s, oto_err *e)
{
    oto_segment in_order = *s;

    in_order.start_ms = OTO_MAX(s->start_ms, w->last_start_ms);
    in_order.end_ms = OTO_MAX(s->end_ms, in_order.start_ms);
    w->last_start_ms = in_order.start_ms;
    errno = 0;
    w->format->segment(w, &in_order, trim(s->text));
    return flush_all(w, e);
}

int oto_writer_finish(oto_writer *w, const oto_writer_info *info, oto_err *e)
{
    int rc = 0;

    errno = 0;
    if (w->format->finish != NULL)
        rc = w->format->finish(w, info, e);
    return rc != 0 ? rc : flush(w->f, e);
}

static void close_part(FILE *f)
{
    if (f != NULL)
        fclose(f);
}

void oto_writer_free(oto_writer *w)
{
    if (w == NULL)
        return;
    close_part(w->text);
    close_part(w->segments);
    close_part(w->words);
    free(w);
}
