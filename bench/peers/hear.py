#!/usr/bin/env python3
"""One peer, one recording, one process: prints a JSON object with the text and the time it took,
loading of the model apart (otolith's own times include it).

usage: hear.py PEER MODEL AUDIO LANGUAGE THREADS
"""

import json
import sys
import time


def faster_whisper(mode, model, audio, language, threads):
    from faster_whisper import BatchedInferencePipeline, WhisperModel

    kind, compute, beam = mode.split("-")
    start = time.perf_counter()
    m = WhisperModel(model, device="cpu", compute_type=compute, cpu_threads=threads)
    loaded = time.perf_counter()
    options = {"beam_size": int(beam.removeprefix("beam")), "language": language}
    if kind == "batched":
        segments, _ = BatchedInferencePipeline(m).transcribe(audio, batch_size=8, **options)
    else:
        segments, _ = m.transcribe(audio, **options)
    text = " ".join(s.text.strip() for s in segments)
    return text, loaded - start, time.perf_counter() - loaded


def whisper_cpp(mode, model, audio, language, threads):
    from pywhispercpp.model import Model

    start = time.perf_counter()
    m = Model(model, n_threads=threads, print_progress=False, print_realtime=False, redirect_whispercpp_logs_to=None)
    loaded = time.perf_counter()
    segments = m.transcribe(audio, language=language or "auto")
    text = " ".join(s.text.strip() for s in segments)
    return text, loaded - start, time.perf_counter() - loaded


def main():
    peer, model, audio, language, threads = sys.argv[1:6]
    family, _, mode = peer.partition(":")
    hear = {"faster-whisper": faster_whisper, "whisper.cpp": whisper_cpp}[family]
    text, load_s, run_s = hear(mode, model, audio, None if language == "auto" else language, int(threads))
    print(json.dumps({"text": text, "load_s": load_s, "run_s": run_s}))


if __name__ == "__main__":
    main()
