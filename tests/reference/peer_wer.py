#!/usr/bin/env python3
"""What faster-whisper hears in the test recordings, with the same weights: the texts that
tests/e2e/accuracy_test.py holds otolith to. Needs faster-whisper; run it again when
scripts/join_prompts.py makes other recordings.

usage: peer_wer.py [--data build/testdata] [--models models] [--out tests/reference/peer]

Writes OUT/NAME.MODE.txt (NAME without its folder), MODE being batched or sequential, and OUT/about.json: package versions,
detected languages, a checksum of each reference text.
"""

import argparse
import hashlib
import importlib.metadata
import json
import os

from faster_whisper import BatchedInferencePipeline, WhisperModel

# Name of the recording under --data, model.
RUNS = [("en", "whisper-tiny.en")]
RUNS += [(name, "whisper-base") for name in ("es", "fr", "it", "ru", "zh/asr_example", "zh/sample")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="build/testdata")
    parser.add_argument("--models", default="models")
    parser.add_argument("--out", default="tests/reference/peer")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", help="one recording; the others are kept")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    about = {
        "versions": {p: importlib.metadata.version(p) for p in ("faster-whisper", "ctranslate2")},
        "options": "compute_type int8, beam_size 5, language detected, batch_size 8 where batched",
        "recordings": {},
    }
    if args.only:
        with open(os.path.join(args.out, "about.json"), encoding="utf-8") as f:
            about["recordings"] = json.load(f)["recordings"]
    models = {}
    for name, model in RUNS:
        if args.only and not name.startswith(args.only):
            continue
        if model not in models:
            path = os.path.join(args.models, model, "source")
            models[model] = WhisperModel(path, device="cpu", compute_type="int8", cpu_threads=args.threads)
        audio = os.path.join(args.data, name + ".wav")
        with open(os.path.join(args.data, name + ".txt"), "rb") as f:
            digest = hashlib.sha256(f.read()).hexdigest()
        entry = {"model": model, "reference_sha256": digest}
        for mode in ("batched", "sequential"):
            if mode == "batched":
                segments, info = BatchedInferencePipeline(models[model]).transcribe(audio, batch_size=8, beam_size=5)
            else:
                segments, info = models[model].transcribe(audio, beam_size=5)
            text = "\n".join(s.text.strip() for s in segments)
            with open(os.path.join(args.out, f"{os.path.basename(name)}.{mode}.txt"), "w", encoding="utf-8") as f:
                f.write(text + "\n")
            entry["language"] = info.language
        about["recordings"][name] = entry
        print(name, entry["language"], flush=True)
    with open(os.path.join(args.out, "about.json"), "w", encoding="utf-8") as f:
        json.dump(about, f, indent=2)
        f.write("\n")


if __name__ == "__main__":
    main()
