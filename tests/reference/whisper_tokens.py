"""Tokens that faster-whisper's model samples, for comparison with ours.

    whisper_tokens.py MODEL WAV... [--beam N] [--compute float32] [--language en] [--windows FILE]
                      [--first N] [--no-timestamps] [--translate] [--name NAME]

Each recording is cut into windows of 30 s from its start (or at the sample numbers "START END" of
FILE), each window (the first N) decoded by itself at temperature 0, and printed as one line of JSON:
{"model", "file", "start", "end", "crc", "beam", "language", "tokens", "sum_log_prob",
"no_speech_prob"}; crc is the CRC-32 of the window's 16-bit samples.
tests/golden/whisper/make.sh makes the committed tokens with it.
"""

import argparse
import json
import zlib

import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.audio import decode_audio, pad_or_trim
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens

RATE = 16000


def windows_of(n, file):
    if file:
        return [tuple(map(int, line.split())) for line in open(file)]
    return [(at, min(at + 30 * RATE, n)) for at in range(0, n, 30 * RATE)]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model")
    p.add_argument("wav", nargs="+")
    p.add_argument("--beam", type=int, default=1)
    p.add_argument("--compute", default="float32")
    p.add_argument("--language")
    p.add_argument("--windows")
    p.add_argument("--first", type=int)
    p.add_argument("--name", default="")
    p.add_argument("--no-timestamps", action="store_true")
    p.add_argument("--translate", action="store_true")
    p.add_argument("--threads", type=int, default=2)
    a = p.parse_args()

    model = WhisperModel(a.model, device="cpu", compute_type=a.compute, cpu_threads=a.threads)
    for wav in a.wav:
        pcm = decode_audio(wav, sampling_rate=RATE)
        for start, end in windows_of(len(pcm), a.windows)[: a.first]:
            chunk = pcm[start:end]
            features = pad_or_trim(model.feature_extractor(chunk)[..., :-1])
            encoded = model.encode(np.ascontiguousarray(features))
            language = a.language
            if language is None and model.model.is_multilingual:
                language = model.model.detect_language(encoded)[0][0][0][2:-2]
            tokenizer = Tokenizer(
                model.hf_tokenizer,
                model.model.is_multilingual,
                task="translate" if a.translate else "transcribe",
                language=language or "en",
            )
            prompt = model.get_prompt(tokenizer, [], without_timestamps=a.no_timestamps)
            r = model.model.generate(
                encoded,
                [prompt],
                beam_size=a.beam,
                max_length=model.max_length,
                suppress_blank=True,
                suppress_tokens=get_suppressed_tokens(tokenizer, [-1]),
                max_initial_timestamp_index=50,
                return_scores=True,
                return_no_speech_prob=True,
            )[0]
            tokens = r.sequences_ids[0]
            print(
                json.dumps(
                    {
                        "model": a.name,
                        "file": wav.rsplit("/", 1)[-1],
                        "start": start,
                        "end": end,
                        "crc": zlib.crc32((chunk * 32768).astype("<i2").tobytes()),
                        "beam": a.beam,
                        "language": language or "en",
                        "tokens": tokens,
                        "sum_log_prob": round(r.scores[0] * len(tokens), 4),
                        "no_speech_prob": round(r.no_speech_prob, 6),
                    }
                ),
                flush=True,
            )


if __name__ == "__main__":
    main()
