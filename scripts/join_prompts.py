#!/usr/bin/env python3
"""Joins the telephone prompts of the asterisk-core-sounds packages, whose exact texts are known, into
recordings with pauses between the prompts. The choice is seeded: every machine makes the same files.

usage: join_prompts.py OUT_DIR

OUT_DIR/NAME.wav   16 kHz mono s16
OUT_DIR/NAME.txt   what is said, one prompt a line
OUT_DIR/NAME.tsv   start and end in ms, prompt
"""

import concurrent.futures
import gzip
import os
import random
import re
import shutil
import subprocess
import sys
import wave

SOUNDS = os.environ.get("OTO_PROMPT_SOUNDS", "/usr/share/asterisk/sounds")
TEXTS = os.environ.get("OTO_PROMPT_TEXTS", "/usr/share/doc")
RATE = 16000
FOLDERS = {
    "en": "en_US_f_Allison",
    "es": "es_MX_f_Allison",
    "fr": "fr_CA_f_June",
    "it": "it_IT_m_Carlo",
    "ru": "ru_RU_f_IvrvoiceRU",
}

# name, language, seconds at least, seed
RECORDINGS = [
    ("en", "en", 640, 11),
    ("en60", "en", 60, 12),
    ("es", "es", 150, 13),
    ("fr", "fr", 150, 14),
    ("it", "it", 150, 15),
    ("ru", "ru", 150, 16),
]
# What en20 says: about 20 s of clear sentences, for comparisons between formats.
EN20 = ["demo-thanks", "confbridge-only-one", "invalid", "cannot-complete-as-dialed", "vm-whichbox"]


def prompts(language):
    """[(path, text)] of prompts that are whole sentences of speech, in the order of their names."""
    folder = os.path.join(SOUNDS, FOLDERS[language])
    listing = os.path.join(TEXTS, f"asterisk-core-sounds-{language}", f"core-sounds-{language}.txt.gz")
    if not os.path.exists(listing):
        sys.exit(f"join_prompts.py: {listing} is missing: scripts/deps.sh test")
    found = {}
    with gzip.open(listing, "rt", encoding="utf-8-sig") as f:
        for line in f:
            if line.startswith(";") or ":" not in line:
                continue
            name, text = (part.strip() for part in line.split(":", 1))
            # Tones, remarks in brackets and fragments are no test of recognition; digits are said
            # as words in one language and written as digits in another.
            if re.search(r"[\[\](){}<>_@/0-9]|\.\.\.|www", text) or "/" in name:
                continue
            path = os.path.join(folder, name + ".g722")
            if len(text.split()) >= 3 and os.path.exists(path):
                found[name] = (path, text)
    return found


def decode(path):
    """Raw G.722 to 16 kHz s16 bytes."""
    command = ["ffmpeg", "-nostdin", "-v", "error", "-f", "g722", "-i", path]
    command += ["-ar", str(RATE), "-ac", "1", "-f", "s16le", "-"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout


def join(out, name, chosen, rng, seconds):
    """Writes the chosen prompts, with pauses, until `seconds` are reached (None: all)."""
    n = 0
    with wave.open(os.path.join(out, name + ".wav"), "wb") as wav, open(
        os.path.join(out, name + ".txt"), "w", encoding="utf-8"
    ) as txt, open(os.path.join(out, name + ".tsv"), "w", encoding="utf-8") as tsv:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(RATE)
        for start in range(0, len(chosen), 16):
            with concurrent.futures.ThreadPoolExecutor() as pool:
                batch = chosen[start : start + 16]
                decoded = list(pool.map(decode, [path for path, _ in batch]))
            for (_, text), pcm in zip(batch, decoded):
                if seconds and n >= seconds * RATE:
                    return
                wav.writeframes(pcm)
                txt.write(text + "\n")
                tsv.write(f"{n * 1000 // RATE}\t{(n + len(pcm) // 2) * 1000 // RATE}\t{text}\n")
                pause = int(RATE * rng.uniform(0.5, 1.5))
                wav.writeframes(bytes(2 * pause))
                n += len(pcm) // 2 + pause
    if seconds and n < seconds * RATE:
        print(f"join_prompts.py: {name}: only {n // RATE} of {seconds} s", file=sys.stderr)


def chinese(out):
    """The two Chinese recordings of the repository, joined."""
    here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests", "data", "zh")
    with wave.open(os.path.join(out, "zh.wav"), "wb") as wav, open(
        os.path.join(out, "zh.txt"), "w", encoding="utf-8"
    ) as txt:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(RATE)
        for name in ("asr_example", "sample"):
            with wave.open(os.path.join(here, name + ".wav")) as part:
                assert part.getframerate() == RATE and part.getnchannels() == 1
                wav.writeframes(part.readframes(part.getnframes()))
            wav.writeframes(bytes(2 * RATE))
            with open(os.path.join(here, name + ".txt"), encoding="utf-8") as f:
                txt.write(f.read())
            for ext in (".wav", ".txt"):
                os.makedirs(os.path.join(out, "zh"), exist_ok=True)
                shutil.copy(os.path.join(here, name + ext), os.path.join(out, "zh", name + ext))


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    catalogue = {language: prompts(language) for language in FOLDERS}
    for name, language, seconds, seed in RECORDINGS:
        rng = random.Random(seed)
        chosen = [catalogue[language][key] for key in sorted(catalogue[language])]
        rng.shuffle(chosen)
        join(out, name, chosen, rng, seconds)
    join(out, "en20", [catalogue["en"][name] for name in EN20], random.Random(17), None)
    chinese(out)


if __name__ == "__main__":
    main()
