/* Hot words to ids. */
#include "models/paraformer/phrases.c"

#include "golden.h"

static const char *const vocabulary[] = {"<blank>", "<s>",   "</s>", "阿",      "里",
                                         "巴",      "hel@@", "lo",   "hello@@", "wor@@",
                                         "ld",      "a",     "b@@",  "it's",    "<unk>"};

#define N ((int)OTO_COUNT(vocabulary))

static const char dictionary[] = "阿 阿\n里 里\n巴 巴\nhello hel@@ lo\nworld  wor@@ ld\na a\n"
                                 "it's it's\n阿里 里 阿\nhello hel@@ ld\n";

typedef struct {
    oto_arena *a;
    oto_slice pieces[N];
    pf_lexicon x;
    int32_t ids[PF_HOT_WORDS * PF_HOT_TOKENS];
    int lengths[PF_HOT_WORDS], n;
    pf_left_out left;
} fixture_;

/* Packs and opens a file that holds nothing but the dictionary. */
static void open_lexicon(fixture_ *f, bool with_dictionary)
{
    char from[] = "/tmp/oto-phrases-XXXXXX", to[] = "/tmp/oto-phrases-XXXXXX";
    static const float one[1] = {1};
    static oto_weights *src, *packed;
    oto_gguf_writer *w;
    oto_err e = {0};

    close(mkstemp(from));
    close(mkstemp(to));
    assert_int_equal(oto_arena_new("test", (size_t)16 << 20, &f->a, &e), 0);
    assert_int_equal(oto_gguf_writer_new(&w, &e), 0);
    assert_int_equal(oto_gguf_put_str(w, "general.architecture", "paraformer", &e), 0);
    if (with_dictionary)
        assert_int_equal(oto_gguf_put_str(w, "pf.seg_dict", dictionary, &e), 0);
    assert_int_equal(oto_gguf_put_tensor(w, "x", OTO_T_F32, 1, (int64_t[]){1}, one, 4, &e), 0);
    assert_int_equal(oto_gguf_finish(w, from, &e), 0);
    oto_gguf_writer_free(w);
    assert_int_equal(oto_weights_open(from, &src, &e), 0);
    assert_int_equal(oto_gguf_writer_new(&w, &e), 0);
    assert_int_equal(oto_pf_dictionary_pack(src, w, f->a, &e), 0);
    assert_int_equal(oto_gguf_put_str(w, "general.architecture", "paraformer", &e), 0);
    assert_int_equal(oto_gguf_put_tensor(w, "x", OTO_T_F32, 1, (int64_t[]){1}, one, 4, &e), 0);
    assert_int_equal(oto_gguf_finish(w, to, &e), 0);
    oto_gguf_writer_free(w);
    oto_weights_close(src);
    assert_int_equal(oto_weights_open(to, &packed, &e), 0);
    for (int i = 0; i < N; i++)
        f->pieces[i] = (oto_slice){vocabulary[i], strlen(vocabulary[i])};
    assert_int_equal(oto_pf_lexicon_bind(packed, f->pieces, N, f->a, &f->x, &e), 0);
    assert_int_equal(f->x.dictionary.n > 0, with_dictionary);
    assert_true(oto_arena_on_reset(f->a, (void (*)(void *))oto_weights_close, packed));
    unlink(from);
    unlink(to);
}

static fixture_ f;

static void parse(const char *text)
{
    f.n = oto_pf_phrases(&f.x, (oto_slice){text, strlen(text)}, f.ids, f.lengths, &f.left);
}

static void is(int word, int n, const int *ids)
{
    assert_true(word < f.n);
    assert_int_equal(f.lengths[word], n);
    for (int i = 0; i < n; i++)
        assert_int_equal(f.ids[word * PF_HOT_TOKENS + i], ids[i]);
}

#define IS(word, ...)                                                                              \
    is(word, (int)(sizeof((int[]){__VA_ARGS__}) / sizeof(int)), (const int[]){__VA_ARGS__})

/* The words that the reference was given, and what it made of them. */
static void test_like_funasr(void **state)
{
    static const char *const words[] = {"阿里巴巴", "HELLO", "world", "a", "阿", "It's"};

    (void)state;
    open_lexicon(&f, true);
    for (int i = 0; i < (int)OTO_COUNT(words); i++) {
        char name[32];
        float expected[8];

        snprintf(name, sizeof name, "segment_%d", i);
        const int n = golden(name, expected, 8);
        parse(words[i]);
        assert_int_equal(f.n, 1);
        assert_int_equal(f.lengths[0], n);
        for (int k = 0; k < n; k++)
            assert_int_equal(f.ids[k], (int)expected[k]);
    }
    oto_arena_free(f.a);
}

static void test_without_dictionary(void **state)
{
    (void)state;
    open_lexicon(&f, false);
    parse("hello, HelLo lo,world\nbald; 阿b阿，里里、a-a  a");
    assert_int_equal(f.left.n, 2); /* and "阿b阿": no "b" that ends a word */
    assert_string_equal(f.left.first, "bald");
    assert_int_equal(f.n, 5);
    IS(0, 6, 7); /* not "hello@@", which has to go on */
    IS(1, 6, 7, 7);
    IS(2, 9, 10);
    IS(3, 4, 4);
    IS(4, 11, 11, 11);
    oto_arena_free(f.a);
}

static void test_gaps(void **state)
{
    (void)state;
    open_lexicon(&f, false);
    parse("  阿里 巴巴　里a 阿  ,,\r\n , a 阿 ,\t");
    assert_int_equal(f.left.n, 0);
    assert_int_equal(f.n, 4);
    IS(0, 3, 4);
    IS(1, 5, 5);
    IS(2, 4, 11, 3);
    IS(3, 11, 3);
    parse("");
    assert_int_equal(f.n, 0);
    parse(" , ; \n");
    assert_int_equal(f.n + f.left.n, 0);
    oto_arena_free(f.a);
}

static void test_weights_are_no_words(void **state)
{
    (void)state;
    open_lexicon(&f, false);
    parse("阿里 20\n巴巴\t7 \r\n里");
    assert_int_equal(f.left.n, 0);
    assert_int_equal(f.n, 3);
    IS(0, 3, 4);
    IS(1, 5, 5);
    IS(2, 4);
    parse("a 20, 20, 阿20"); /* a name may end so, and the vocabulary knows no 2 */
    assert_int_equal(f.n, 0);
    assert_int_equal(f.left.n, 3);
    oto_arena_free(f.a);
}

static void test_unknown_is_left_out(void **state)
{
    (void)state;
    open_lexicon(&f, true);
    parse("阿里, 阿<里, <s>, 阿\xff, <unk>, 里");
    assert_int_equal(f.n, 2);
    IS(0, 3, 4);
    IS(1, 4);
    assert_int_equal(f.left.n, 4);
    assert_string_equal(f.left.first, "阿<里");
    oto_arena_free(f.a);
}

static void test_limits(void **state)
{
    char *text = malloc(40000), *to = text;

    (void)state;
    open_lexicon(&f, false);
    for (int i = 0; i < PF_HOT_WORDS + 7; i++)
        to += sprintf(to, "阿里,");
    parse(text);
    assert_int_equal(f.n, PF_HOT_WORDS);
    assert_int_equal(f.left.n, 7);
    to = text;
    for (int i = 0; i < PF_HOT_TOKENS; i++)
        to += sprintf(to, "阿");
    parse(text);
    assert_int_equal(f.n, 1);
    assert_int_equal(f.lengths[0], PF_HOT_TOKENS);
    sprintf(to, "里");
    parse(text);
    assert_int_equal(f.n, 0);
    assert_int_equal(f.left.n, 1);
    memset(text, 'a', 300);
    text[300] = '\0';
    parse(text);
    assert_int_equal(f.n, 0);
    assert_int_equal(f.left.n, 1);
    oto_arena_free(f.a);
    free(text);
}

/* Every word of a larger dictionary is found, and none that is not there. */
static void test_dictionary_search(void **state)
{
    char text[4096], *to = text;
    oto_slice out;

    (void)state;
    open_lexicon(&f, true);
    for (int i = 0; i < 100; i++)
        to += sprintf(to, "w%02d x%d\n", i, i);
    f.x.dictionary = (oto_slice){text, (size_t)(to - text)};
    for (int i = 0; i < 100; i++) {
        char word[8], pieces[16];

        sprintf(word, "w%02d", i);
        sprintf(pieces, " x%d", i);
        assert_true(look_up(&f.x, word, 3, &out));
        assert_int_equal(out.n, strlen(pieces));
        assert_memory_equal(out.p, pieces, out.n);
        assert_false(look_up(&f.x, word, 2, &out));
        sprintf(word, "w%02da", i);
        assert_false(look_up(&f.x, word, 4, &out));
    }
    assert_false(look_up(&f.x, "a", 1, &out));
    assert_false(look_up(&f.x, "zz", 2, &out));
    oto_arena_free(f.a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_like_funasr),
        cmocka_unit_test(test_without_dictionary),
        cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_weights_are_no_words),
        cmocka_unit_test(test_unknown_is_left_out),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_dictionary_search),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
