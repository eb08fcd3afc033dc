#include "text/tokens.c"

#include "weights/weights.h"

#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>
#include <cmocka.h>

#define ASSERT_OK(call)                                                                            \
    do {                                                                                           \
        oto_err err_ = {0};                                                                        \
        oto_err *e_ = &err_;                                                                       \
        if ((call) != 0) {                                                                         \
            fail_msg("%s", err_.text);                                                             \
        }                                                                                          \
    } while (0)

/* ---- a small vocabulary: the 256 bytes, then what was joined from them, then two specials */

static char byte_text[256];
static oto_slice small[300];

static int make_small(oto_tokens **t)
{
    static const char *const joined[] = {"th",   "the", " t", " the", "aa",
                                         "aaaa", "'s",  "in", "ing"};
    int n = 0;
    for (int b = 0; b < 256; b++) {
        byte_text[b] = (char)b;
        small[n++] = (oto_slice){&byte_text[b], 1};
    }
    for (size_t i = 0; i < OTO_COUNT(joined); i++) {
        small[n++] = (oto_slice){joined[i], strlen(joined[i])};
    }
    small[n++] = (oto_slice){"<|end|>", 7};
    small[n++] = (oto_slice){"<|start|>", 9};
    return oto_tokens_new(small, n, n - 2, t, NULL);
}

static void expect(const oto_tokens *t, const char *text, int n, const int32_t *want)
{
    int32_t ids[100];
    int k = 100;
    ASSERT_OK(oto_tokens_encode(t, text, ids, &k, e_));
    assert_int_equal(k, n);
    assert_memory_equal(ids, want, (size_t)n * sizeof *ids);
}

static void joins_by_rank(void **state)
{
    (void)state;
    oto_tokens *t;
    assert_int_equal(make_small(&t), 0);
    expect(t, "", 0, NULL);
    expect(t, "the", 1, (int32_t[]){257});
    /* "th" comes before " t", then "the" and the space make " the" */
    expect(t, " the", 1, (int32_t[]){259});
    expect(t, "aaaaa", 2, (int32_t[]){261, 'a'});
    expect(t, "aaaaaa", 2, (int32_t[]){261, 260});
    expect(t, "it's", 3, (int32_t[]){'i', 't', 262}); /* not joined across the piece */
    expect(t, "xing", 2, (int32_t[]){'x', 264});
    expect(t, "<|end|>", 7, (int32_t[]){'<', '|', 'e', 'n', 'd', '|', '>'}); /* never a special */
    oto_tokens_free(t);
}

static void decodes_text_and_no_specials(void **state)
{
    (void)state;
    oto_tokens *t;
    oto_arena *a;
    oto_str s;
    assert_int_equal(make_small(&t), 0);
    ASSERT_OK(oto_arena_new("test", 1 << 16, &a, e_));
    oto_str_init(&s, a);
    const int32_t ids[] = {259, 264, 265, 266, -1, 267, INT32_MAX, INT32_MIN, 0xe4, 0xb8, 0xad};
    oto_tokens_decode(t, ids, (int)OTO_COUNT(ids), &s);
    assert_string_equal(s.p, " theing中");
    assert_int_equal(oto_tokens_bytes(t, 265).n, 0);
    assert_int_equal(oto_tokens_bytes(t, 257).n, 3);
    oto_arena_free(a);
    oto_tokens_free(t);
}

static void says_when_there_is_no_room(void **state)
{
    (void)state;
    oto_tokens *t;
    oto_err e = {0};
    int32_t ids[4] = {0, 0, 0, 77};
    int n = 3;
    assert_int_equal(make_small(&t), 0);
    assert_int_equal(oto_tokens_encode(t, "wxyz", ids, &n, &e), OTO_E_LIMIT);
    assert_int_equal(n, 3);
    assert_int_equal(ids[3], 77);
    n = 0;
    assert_int_equal(oto_tokens_encode(t, "a", ids, &n, &e), OTO_E_LIMIT);
    oto_tokens_free(t);
}

static void refuses_what_is_no_vocabulary(void **state)
{
    (void)state;
    oto_tokens *t;
    oto_err e = {0};
    assert_int_equal(make_small(&t), 0);
    oto_tokens_free(t);
    assert_int_equal(oto_tokens_new(small, 255, 255, &t, &e), OTO_E_INPUT);
    assert_non_null(strstr(e.text, "0xff"));
    assert_int_equal(oto_tokens_new(small, 0, 0, &t, &e), OTO_E_INPUT);
    assert_int_equal(oto_tokens_new(small, 10, 11, &t, &e), OTO_E_INPUT);
    assert_int_equal(oto_tokens_new(small, 10, -1, &t, &e), OTO_E_INPUT);
}

/* Any bytes but NUL come back, well-formed or not; one endless word too. */
static void every_text_comes_back(void **state)
{
    (void)state;
    enum { N = 200000 };
    oto_tokens *t;
    oto_arena *a;
    assert_int_equal(make_small(&t), 0);
    ASSERT_OK(oto_arena_new("test", 8 << 20, &a, e_));
    char *text = malloc(N + 1);
    int32_t *ids = malloc(N * sizeof *ids);
    assert_true(text && ids);
    uint32_t x = 1;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < N; i++) {
            x = x * 1664525u + 1013904223u;
            text[i] = round == 0   ? 'a'
                      : round == 1 ? (char)(1 + (x >> 16) % 255)
                                   : " the'sing"[x >> 24 & 7];
        }
        text[N] = 0;
        int n = N;
        oto_str s;
        ASSERT_OK(oto_tokens_encode(t, text, ids, &n, e_));
        oto_str_init(&s, a);
        oto_tokens_decode(t, ids, n, &s);
        assert_int_equal(s.n, N);
        assert_memory_equal(s.p, text, N);
        oto_arena_reset(a);
    }
    free(ids);
    free(text);
    oto_arena_free(a);
    oto_tokens_free(t);
}

static void printable_forms_are_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *piece, *bytes;
        size_t n;
    } forms[] = {
        {"Ġthe", " the", 4}, {"Ċ", "\n", 1},   {"Ā", "\0", 1},    {"ł", "\xa0", 1},
        {"Ń", "\xad", 1},    {"ä¸Ń", "中", 3}, {"a b", "a b", 3}, /* a space is not printable:
                                                                    kept as it is */
        {"中", "中", 3},     {"", "", 0}};
    oto_arena *a;
    oto_slice out;
    bool seen[256] = {0};
    ASSERT_OK(oto_arena_new("test", 1 << 16, &a, e_));
    for (size_t i = 0; i < OTO_COUNT(forms); i++) {
        oto_slice in = {forms[i].piece, strlen(forms[i].piece)};
        ASSERT_OK(oto_tokens_unprintable(in, a, &out, e_));
        assert_int_equal(out.n, forms[i].n);
        assert_memory_equal(out.p, forms[i].bytes, forms[i].n);
    }
    for (uint32_t cp = 0; cp < 0x400; cp++) { /* each byte has one form */
        int b = byte_of_printable(cp);
        assert_true(b < 256 && (b < 0 || !seen[b]));
        if (b >= 0) {
            seen[b] = true;
        }
    }
    for (int b = 0; b < 256; b++) {
        assert_true(seen[b]);
    }
    oto_arena_free(a);
}

/* ---- the real vocabularies */

struct real {
    oto_weights *w;
    oto_arena *a;
    oto_slice *bytes;
    oto_tokens *t;
};

static bool open_real(const char *model, int n_text, struct real *r)
{
    char path[500];
    const char *dir = getenv("OTO_TEST_MODELS");
    snprintf(path, sizeof path, "%s/%s/source", dir ? dir : "models", model);
    if (access(path, R_OK) != 0) {
        print_message("%s is missing\n", path);
        return false;
    }
    ASSERT_OK(oto_weights_open(path, &r->w, e_));
    ASSERT_OK(oto_arena_new("test", 16 << 20, &r->a, e_));
    size_t n = oto_weights_array_len(r->w, "ct2.vocabulary");
    r->bytes = oto_arena_calloc(r->a, n, sizeof *r->bytes);
    assert_non_null(r->bytes);
    for (size_t i = 0; i < n; i++) {
        oto_slice s;
        assert_true(oto_weights_array_str(r->w, "ct2.vocabulary", i, &s));
        ASSERT_OK(oto_tokens_unprintable(s, r->a, &r->bytes[i], e_));
    }
    ASSERT_OK(oto_tokens_new(r->bytes, (int)n, n_text, &r->t, e_));
    return true;
}

static void close_real(struct real *r)
{
    oto_tokens_free(r->t);
    oto_arena_free(r->a);
    oto_weights_close(r->w);
}

static void unescape(char *s)
{
    char *to = s;
    for (; *s; s++) {
        if (*s == '\\') {
            s++;
            *to++ = *s == 'n' ? '\n' : *s == 't' ? '\t' : *s == 'r' ? '\r' : *s;
        } else {
            *to++ = *s;
        }
    }
    *to = 0;
}

static void compare(const struct real *r, const char *text, char *golden)
{
    int32_t ids[400];
    int n = 400, k = 0;
    oto_str s;
    ASSERT_OK(oto_tokens_encode(r->t, text, ids, &n, e_));
    for (char *p = golden, *end; *p; p = end, k++) {
        long want = strtol(p, &end, 10);
        if (end == p) {
            break;
        }
        if (k >= n || ids[k] != want) {
            fail_msg("\"%s\": token %d is %d, the reference has %ld", text, k, k < n ? ids[k] : -1,
                     want);
        }
    }
    assert_int_equal(k, n);
    oto_mark m = oto_arena_mark(r->a);
    oto_str_init(&s, r->a);
    oto_tokens_decode(r->t, ids, n, &s);
    assert_string_equal(s.p, text);
    oto_arena_rollback(r->a, m);
}

/* tests/golden/tokens.txt, made by tests/reference/make_tokens_golden.py. */
static void against_golden(const char *model, int n_text, int column)
{
    struct real r;
    char line[20000];
    int n = 0;
    if (!open_real(model, n_text, &r)) {
        skip();
    }
    FILE *f = fopen(OTO_SOURCE_DIR "/tests/golden/tokens.txt", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        char *fields[3], *p = line;
        for (int i = 0; i < 3; i++) {
            fields[i] = strsep(&p, "\t");
            assert_non_null(fields[i]);
        }
        unescape(fields[0]);
        compare(&r, fields[0], fields[column]);
        n++;
    }
    fclose(f);
    assert_true(n > 60);
    close_real(&r);
}

static void the_multilingual_vocabulary_agrees(void **state)
{
    (void)state;
    against_golden("whisper-base", 50257, 1);
}

static void the_english_vocabulary_agrees(void **state)
{
    (void)state;
    against_golden("whisper-tiny.en", 50256, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(joins_by_rank),
        cmocka_unit_test(decodes_text_and_no_specials),
        cmocka_unit_test(says_when_there_is_no_room),
        cmocka_unit_test(refuses_what_is_no_vocabulary),
        cmocka_unit_test(every_text_comes_back),
        cmocka_unit_test(printable_forms_are_bytes),
        cmocka_unit_test(the_multilingual_vocabulary_agrees),
        cmocka_unit_test(the_english_vocabulary_agrees),
    };
    return cmocka_run_group_tests_name("text/tokens", tests, NULL, NULL);
}
