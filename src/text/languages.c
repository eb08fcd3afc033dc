/* Whisper's languages in the order of their tokens, and the other names people use for them.
 * Source: openai-whisper whisper/tokenizer.py. */
#include "text/text.h"

#include <string.h>
#include <strings.h>

static const struct {
    const char *code, *name;
} languages[] = {
    {"en", "english"},        {"zh", "chinese"},     {"de", "german"},        {"es", "spanish"},
    {"ru", "russian"},        {"ko", "korean"},      {"fr", "french"},        {"ja", "japanese"},
    {"pt", "portuguese"},     {"tr", "turkish"},     {"pl", "polish"},        {"ca", "catalan"},
    {"nl", "dutch"},          {"ar", "arabic"},      {"sv", "swedish"},       {"it", "italian"},
    {"id", "indonesian"},     {"hi", "hindi"},       {"fi", "finnish"},       {"vi", "vietnamese"},
    {"he", "hebrew"},         {"uk", "ukrainian"},   {"el", "greek"},         {"ms", "malay"},
    {"cs", "czech"},          {"ro", "romanian"},    {"da", "danish"},        {"hu", "hungarian"},
    {"ta", "tamil"},          {"no", "norwegian"},   {"th", "thai"},          {"ur", "urdu"},
    {"hr", "croatian"},       {"bg", "bulgarian"},   {"lt", "lithuanian"},    {"la", "latin"},
    {"mi", "maori"},          {"ml", "malayalam"},   {"cy", "welsh"},         {"sk", "slovak"},
    {"te", "telugu"},         {"fa", "persian"},     {"lv", "latvian"},       {"bn", "bengali"},
    {"sr", "serbian"},        {"az", "azerbaijani"}, {"sl", "slovenian"},     {"kn", "kannada"},
    {"et", "estonian"},       {"mk", "macedonian"},  {"br", "breton"},        {"eu", "basque"},
    {"is", "icelandic"},      {"hy", "armenian"},    {"ne", "nepali"},        {"mn", "mongolian"},
    {"bs", "bosnian"},        {"kk", "kazakh"},      {"sq", "albanian"},      {"sw", "swahili"},
    {"gl", "galician"},       {"mr", "marathi"},     {"pa", "punjabi"},       {"si", "sinhala"},
    {"km", "khmer"},          {"sn", "shona"},       {"yo", "yoruba"},        {"so", "somali"},
    {"af", "afrikaans"},      {"oc", "occitan"},     {"ka", "georgian"},      {"be", "belarusian"},
    {"tg", "tajik"},          {"sd", "sindhi"},      {"gu", "gujarati"},      {"am", "amharic"},
    {"yi", "yiddish"},        {"lo", "lao"},         {"uz", "uzbek"},         {"fo", "faroese"},
    {"ht", "haitian creole"}, {"ps", "pashto"},      {"tk", "turkmen"},       {"nn", "nynorsk"},
    {"mt", "maltese"},        {"sa", "sanskrit"},    {"lb", "luxembourgish"}, {"my", "myanmar"},
    {"bo", "tibetan"},        {"tl", "tagalog"},     {"mg", "malagasy"},      {"as", "assamese"},
    {"tt", "tatar"},          {"haw", "hawaiian"},   {"ln", "lingala"},       {"ha", "hausa"},
    {"ba", "bashkir"},        {"jw", "javanese"},    {"su", "sundanese"},     {"yue", "cantonese"},
};

/* Other English names, and codes that mean one of the above: retired ISO 639 codes, the language
 * where Whisper has the macrolanguage or the other way round. */
static const struct {
    const char *name, *code;
} aliases[] = {
    {"burmese", "my"},
    {"valencian", "ca"},
    {"flemish", "nl"},
    {"haitian", "ht"},
    {"letzeburgesch", "lb"},
    {"pushto", "ps"},
    {"panjabi", "pa"},
    {"moldavian", "ro"},
    {"moldovan", "ro"},
    {"sinhalese", "si"},
    {"castilian", "es"},
    {"mandarin", "zh"},
    {"cmn", "zh"},
    {"farsi", "fa"},
    {"bokmål", "no"},
    {"nb", "no"},
    {"jv", "jw"},
    {"iw", "he"},
    {"in", "id"},
    {"ji", "yi"},
    {"fil", "tl"},
    {"filipino", "tl"},
    {"mo", "ro"},
    {"zh-yue", "yue"},
};

const char *oto_language_code(int index)
{
    return index >= 0 && index < (int)OTO_COUNT(languages) ? languages[index].code : NULL;
}

/* A code or a name in any case, whole. */
static int find(const char *s)
{
    for (size_t i = 0; i < OTO_COUNT(languages); i++) {
        if (strcasecmp(s, languages[i].code) == 0 || strcasecmp(s, languages[i].name) == 0) {
            return (int)i;
        }
    }
    for (size_t i = 0; i < OTO_COUNT(aliases); i++) {
        if (strcasecmp(s, aliases[i].name) == 0) {
            return find(aliases[i].code);
        }
    }
    return -1;
}

int oto_language_index(const char *code_or_name)
{
    if (!code_or_name || !*code_or_name) {
        return -1;
    }
    int i = find(code_or_name);
    if (i >= 0) {
        return i;
    }
    /* zh-CN, pt_BR.UTF-8: the language is what stands before the region */
    char code[16];
    size_t n = strcspn(code_or_name, "-_.");
    if (n < 2 || n > 3 || code_or_name[n] == 0) {
        return -1;
    }
    memcpy(code, code_or_name, n);
    code[n] = 0;
    return find(code);
}

const char *oto_language_name(const char *code)
{
    for (size_t i = 0; code && i < OTO_COUNT(languages); i++) {
        if (strcmp(code, languages[i].code) == 0) {
            return languages[i].name;
        }
    }
    return NULL;
}

bool oto_language_among(const char *list, const char *code)
{
    const size_t n = strlen(code);

    if (list[0] == '\0')
        return true;
    for (const char *at = list; *at != '\0';) {
        const size_t length = strcspn(at, ",");

        if (length == n && memcmp(at, code, n) == 0)
            return true;
        at += length + (at[length] == ',');
    }
    return false;
}
