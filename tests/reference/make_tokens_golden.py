#!/usr/bin/env python3
"""Writes tests/golden/tokens.txt: texts, and the ids that the tokenizers package gives them.

Usage: make_tokens_golden.py MODELS > tests/golden/tokens.txt     (MODELS/whisper-base/source/tokenizer.json, …)

A line is: text TAB ids of whisper-base TAB ids of whisper-tiny.en; in the text \\n, \\t, \\r and \\\\ are escaped.
"""
import sys

from tokenizers import Tokenizer

TEXTS = [
    "Hello, world.", " The beach was beautiful and  we   swam.", "it's, I've, we'll, they're, he'd, I'm, don't, IT'S, 'S",
    "'tis the season; rock 'n' roll's 90's", "3.14159 1,000,000 2024-01-31 10:45 (42%) £99.99 #1 @home user_name",
    "a\tb\n\nc \n d\r\n  e", "   ", " ", "\n", "x", "  leading", "trailing  ", "\t tab and space",
    "https://example.org/path?query=1&b=[2]#top", "for (int i = 0; i < n; i++) { sum += v[i]; }",
    "El niño comió piñas en la montaña; ¿qué más quería? ¡Nada!", "L'été dernier, j'ai mangé des crêpes à l'œuf près de Nîmes.",
    "Der Fußgänger überquert die Straße; das Mädchen grüßt höflich.", "Perché l'università è così lontana dalla città?",
    "Ações, corações e pães não são só português.", "Het meisje fietste naar Scheveningen.", "Zażółć gęślą jaźń.",
    "Příliš žluťoučký kůň úpěl ďábelské ódy.", "Árvíztűrő tükörfúrógép.", "Smörgåsbord på Östermalm, blåbær og rødgrød.",
    "Hyvää päivää, mitä kuuluu?", "İstanbul'da ılık bir gün, şöyle böyle.", "Thời tiết hôm nay rất đẹp, phải không?",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.", "Їжак і ґанок, щастя!", "Το γρήγορο καφέ άλογο πηδάει.",
    "שלום עולם, מה שלומך היום?", "مرحبا بالعالم، كيف حالك اليوم؟ ١٢٣٤", "خیلی ممنون از شما، خداحافظ.",
    "欢迎大家来体验达摩院推出的语音识别模型", "我想问我在滨海新区有房", "今天天气不错，我们去公园散步吧！共１２３元。", "繁體中文與標點「引號」、頓號。",
    "こんにちは、世界。カタカナとﾊﾝｶｸとひらがな。", "안녕하세요, 오늘 날씨가 좋네요.", "สวัสดีครับ วันนี้อากาศดีมาก", "नमस्ते, आप कैसे हैं? १२३",
    "வணக்கம் உலகம்", "আপনি কেমন আছেন?", "ගෙදර යනවා", "ქართული ენა", "Հայերեն լեզու", "አማርኛ ቋንቋ", "ភាសាខ្មែរ", "བོད་སྐད།", "မြန်မာစကား",
    "👩‍👩‍👧‍👦 family 😀😀 🇨🇳 flag 👍🏽", "½ ² Ⅷ ⅔ ① ㊿ ﬁ ǅ ™ ©", "— … “quotes” ‘single’ «guillemets» ‹x›",
    "a\u00a0b\u3000c\u2009d\u200be\u2028f\u0085g\ufeffh", "e\u0301 n\u0303 o\u0308 (combining)", "ＦＵＬＬ ｗｉｄｔｈ ～", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "Donaudampfschifffahrtsgesellschaftskapitän", "Pneumonoultramicroscopicsilicovolcanoconiosis", "...!!!???---", "a.b.c. U.S.A. Ph.D.", "\\ backslash \\n",
    "[Music] (applause) *laughs* ♪ la la ♪", "Mr. Smith's dog, Rover, isn't O'Brien's.", "I'd've", "¿'s? 'a's 'llama 'd",
]


def numbers(tokenizer, text):
    tokenizer.encode_special_tokens = True
    return " ".join(map(str, tokenizer.encode(text, add_special_tokens=False).ids))


def main(models):
    tokenizers = [Tokenizer.from_file(f"{models}/{m}/source/tokenizer.json") for m in ("whisper-base", "whisper-tiny.en")]
    for text in TEXTS:
        shown = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
        print(shown, *[numbers(t, text) for t in tokenizers], sep="\t")


main(sys.argv[1])
