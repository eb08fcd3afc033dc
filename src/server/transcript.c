/* A job's text out of its stored segments. */
#include "server/parts.h"

#include <stdlib.h>
#include <string.h>

#define SEGMENT_BYTES ((size_t)16 << 20)

/* ---- one segment ---- */

/* No later than the end of the recording, which is known once the job is done. */
static int64_t within(const oto_job *job, int64_t ms)
{
    return job->state == OTO_JOB_DONE && job->audio_ms > 0 ? OTO_MIN(ms, job->audio_ms) : ms;
}

static int unpack(const oto_job *job, const oto_job_segment *stored, oto_arena *a, oto_segment *out,
                  oto_err *e)
{
    json_t *j = stored->json[0] != '\0' ? json_loads(stored->json, 0, NULL) : NULL;
    int rc = 0;

    if (j != NULL)
        rc = oto_segment_unpack(j, a, out, e);
    else
        *out = (oto_segment){
            .start_ms = stored->start_ms, .end_ms = stored->end_ms, .text = stored->text};
    json_decref(j);
    if (rc != 0)
        return rc;
    out->start_ms = within(job, out->start_ms);
    out->end_ms = within(job, out->end_ms);
    for (int i = 0; i < out->n_words; i++) {
        oto_word *w = (oto_word *)&out->words[i]; /* in our arena */

        w->start_ms = within(job, w->start_ms);
        w->end_ms = within(job, w->end_ms);
    }
    return 0;
}

/* Calls fn for each segment, unpacked in an arena that is empty again for the next. */
typedef struct {
    const oto_job *job;
    oto_arena *a;
    int (*fn)(void *arg, const oto_segment *s, oto_err *e);
    void *arg;
    oto_err *e;
    int rc;
} walk;

static int step(void *arg, int number, const oto_job_segment *stored)
{
    walk *w = arg;
    oto_segment s;

    (void)number;
    oto_arena_reset(w->a);
    w->rc = unpack(w->job, stored, w->a, &s, w->e);
    if (w->rc == 0)
        w->rc = w->fn(w->arg, &s, w->e);
    return w->rc;
}

static int each(oto_store *store, const oto_job *job, int first,
                int (*fn)(void *arg, const oto_segment *s, oto_err *e), void *arg, oto_err *e)
{
    walk w = {.job = job, .fn = fn, .arg = arg, .e = e};
    int rc = oto_arena_new("segment", SEGMENT_BYTES, &w.a, e);

    if (rc != 0)
        return rc;
    rc = oto_store_each_segment(store, job, first, step, &w, e);
    oto_arena_free(w.a);
    return rc != 0 ? rc : w.rc;
}

/* ---- formats ---- */

static int write_one(void *arg, const oto_segment *s, oto_err *e)
{
    return oto_writer_segment(arg, s, e);
}

static bool is_translation(oto_exchange *x, const oto_job *job)
{
    oto_request r;

    return oto_request_read(job->options, x->a, &r, NULL) == 0 && r.translate;
}

const char *oto_text_language(oto_exchange *x, const oto_job *job)
{
    if (is_translation(x, job))
        return "en";
    return job->detected_language[0] != '\0' ? job->detected_language : job->language;
}

static int write_all(oto_exchange *x, oto_store *store, const oto_job *job, const char *format,
                     unsigned flags, FILE *f, oto_err *e)
{
    const bool about = (flags & OTO_ABOUT) != 0;
    const oto_writer_info info = {
        .task = is_translation(x, job) ? "translate" : "transcribe",
        .language = oto_text_language(x, job),
        .duration_s = (double)OTO_MAX(job->audio_ms, 0) / 1000,
        .warning = job->warning,
        .model = about ? job->model : NULL,
        .job = about ? job->id : NULL,
        .wall_s = job->processing_s,
        .rtf = job->audio_ms > 0 ? job->processing_s * 1000 / (double)job->audio_ms : 0,
        .words = (flags & OTO_WORDS) != 0,
        .no_segments = (flags & OTO_NO_SEGMENTS) != 0};
    oto_writer *w;
    int rc = oto_writer_new(format, f, info.words, &w, e);

    if (rc != 0)
        return rc;
    rc = each(store, job, 0, write_one, w, e);
    if (rc == 0)
        rc = oto_writer_finish(w, &info, e);
    oto_writer_free(w);
    return rc;
}

int oto_transcript_as(oto_exchange *x, oto_store *store, const oto_job *job, const char *format,
                      unsigned flags, oto_str *out, oto_err *e)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    int rc;

    if (f == NULL)
        return oto_fail_errno(e, "transcript");
    rc = write_all(x, store, job, format, flags, f, e);
    if (fclose(f) != 0 && rc == 0)
        rc = oto_fail_errno(e, "transcript");
    if (rc == 0)
        oto_str_put(out, text, n);
    free(text);
    if (rc == 0 && out->failed)
        rc = oto_fail(e, OTO_E_LIMIT, "transcript: too long for an answer");
    return rc;
}

int oto_transcript(oto_exchange *x, oto_store *store, const oto_job *job, const char *format,
                   bool words, oto_str *out, oto_err *e)
{
    return oto_transcript_as(x, store, job, format, words ? OTO_WORDS | OTO_ABOUT : OTO_ABOUT, out,
                             e);
}

/* ---- plain text ---- */

void oto_joined_text(oto_joint *j, const char *text, oto_str *out)
{
    for (size_t left = strlen(text); left > 0;) {
        char utf8[4];
        uint32_t cp;
        const size_t n = oto_utf8_next(text, left, &cp);

        if (cp <= ' ' || cp == 0x7f) {
            j->spaces += j->begun;
        } else {
            for (; j->spaces > 0; j->spaces--)
                oto_str_put(out, " ", 1);
            oto_str_put(out, utf8, oto_utf8_put(utf8, cp));
            j->begun = true;
        }
        text += n;
        left -= n;
    }
}

typedef struct {
    oto_joint joint;
    oto_str *out;
} joining;

static int join_one(void *arg, int number, const oto_job_segment *s)
{
    joining *j = arg;

    (void)number;
    oto_joined_text(&j->joint, s->text, j->out);
    return j->out->failed;
}

int oto_plain_text(oto_exchange *x, oto_store *store, const oto_job *job, oto_str *out, oto_err *e)
{
    joining j = {.out = out};
    int rc = oto_store_each_segment(store, job, 0, join_one, &j, e);

    (void)x;
    if (rc == 0 && out->failed)
        rc = oto_fail(e, OTO_E_LIMIT, "transcript: too long for an answer");
    return rc;
}

/* ---- segments for clients of the job API ---- */

static json_t *seconds(int64_t ms)
{
    return json_real((double)ms / 1000);
}

/* Never NULL for a bad byte: the text is cleaned. */
static json_t *clean_string(oto_arena *a, const char *text)
{
    oto_joint joint = {0};
    oto_str s;

    oto_str_init(&s, a);
    oto_joined_text(&joint, text, &s);
    return json_stringn(s.p, s.n);
}

typedef struct {
    json_t *list;
    oto_arena *a;
} listing;

static int list_one(void *arg, const oto_segment *s, oto_err *e)
{
    listing *l = arg;
    json_t *words = NULL, *j;

    oto_arena_reset(l->a);
    j = json_pack("{s:o, s:o, s:o}", "start", seconds(s->start_ms), "end", seconds(s->end_ms),
                  "text", clean_string(l->a, s->text));
    if (s->n_words > 0)
        words = json_array();
    for (int i = 0; i < s->n_words; i++)
        json_array_append_new(words, json_pack("{s:o, s:o, s:o}", "word",
                                               clean_string(l->a, s->words[i].text), "start",
                                               seconds(s->words[i].start_ms), "end",
                                               seconds(s->words[i].end_ms)));
    if (words != NULL)
        json_object_set_new(j, "words", words);
    if (json_array_append_new(l->list, j) != 0)
        return oto_fail(e, OTO_E_LIMIT, "segments: out of memory");
    return 0;
}

json_t *oto_segments_json(oto_store *store, const oto_job *job, int first, oto_err *e)
{
    listing l = {.list = json_array()};
    int rc = oto_arena_new("listing", SEGMENT_BYTES, &l.a, e);

    if (rc == 0)
        rc = each(store, job, first, list_one, &l, e);
    oto_arena_free(l.a);
    if (rc == 0)
        return l.list;
    json_decref(l.list);
    return NULL;
}
