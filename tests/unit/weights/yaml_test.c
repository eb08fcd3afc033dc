#include "weights/yaml.c"

#include "files.h"

static oto_arena *arena;

static int set_up(void **state)
{
    (void)state;
    return oto_arena_new("yaml", 1 << 20, &arena, NULL);
}

static int tear_down(void **state)
{
    (void)state;
    oto_arena_free(arena);
    return 0;
}

/* SECTION.KEY's items joined with "|". */
static void expect(const char *text, const char *section, const char *key, const char *joined)
{
    char got[500] = "";
    oto_slice *items;
    size_t n, at = 0;
    ASSERT_OK(oto_yaml_get((oto_slice){text, strlen(text)}, section, key, arena, &items, &n, e_));
    for (size_t i = 0; i < n; i++)
        at += (size_t)snprintf(got + at, sizeof got - at, "%s%.*s", i ? "|" : "", (int)items[i].n,
                               items[i].p);
    if (strcmp(got, joined) != 0)
        fail_msg("%s.%s is %s, not %s", section, key, got, joined);
    oto_arena_reset(arena);
}

static const char text[] = "# a comment\n"
                           "model: CTTransformer   # another\n"
                           "\n"
                           "model_conf:\n"
                           "    ignore_id: 0\n"
                           "    punc_list:\n"
                           "    - <unk>\n"
                           "    - '_'\n"
                           "    - \"\\uFF0C\"  # a comma\n"
                           "    # a line between\n"
                           "    -   。\n"
                           "    - 'it''s'\n"
                           "    - \"a \\\"b\\\" \\x41#\"\n"
                           "    deeper:\n"
                           "        sentence_end_id: 9\n"
                           "    sentence_end_id: 3 # the end\n"
                           "    flow: [1, 'a, b',\n"
                           "       \"]\" , c ]\n"
                           "    none:\n"
                           "    last: x#y\r\n"
                           "encoder_conf:\n"
                           "  attention_heads: 8\n"
                           "  kernel_size : 11\n"
                           "  ids:\n"
                           "  - a\n"
                           "top: [1]\n";

static void finds_settings(void **state)
{
    (void)state;
    expect(text, "model_conf", "ignore_id", "0");
    expect(text, "model_conf", "punc_list", "<unk>|_|，|。|it's|a \"b\" A#");
    expect(text, "model_conf", "sentence_end_id", "3");
    expect(text, "model_conf", "flow", "1|a, b|]|c");
    expect(text, "model_conf", "last", "x#y");
    expect(text, "encoder_conf", "attention_heads", "8");
    expect(text, "encoder_conf", "ids", "a");
    expect(text, "", "model", "CTTransformer");
    expect(text, "", "top", "1");
}

static void what_is_not_there_has_no_items(void **state)
{
    (void)state;
    expect(text, "model_conf", "none", "");
    expect(text, "model_conf", "attention_heads", "");
    expect(text, "encoder_conf", "ignore_id", "");
    expect(text, "model", "CTTransformer", "");
    expect(text, "", "ignore_id", "");
    expect(text, "", "encoder", "");
    expect(text, "", "encoder_conf", "");
    expect(text, "top", "1", "");
    expect("", "a", "b", "");
    expect("a:\n b: [x", "a", "b", "x"); /* a list that never ends */
    expect("a:\n b: \"x", "a", "b", "\"x");
    expect("a:\n b: \"\\", "a", "b", "\"\\");
    expect("a:\n b: \"\\u12\"", "a", "b", "\\u12");
    expect("a:\n b: [[x], y]", "a", "b", "[x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_settings),
        cmocka_unit_test(what_is_not_there_has_no_items),
    };
    return cmocka_run_group_tests_name("weights/yaml", tests, set_up, tear_down);
}
