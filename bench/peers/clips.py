#!/usr/bin/env python3
"""Short clips through otolith's server against faster-whisper called in its own process, in turn.

Two questions: how long one clip takes when they come one after the other, and how many a second are
done for many clients at once. otolith answers over HTTP (POST /v1/audio/transcriptions, upload, job
queue and all); faster-whisper is spared a server: its model is called directly, in the mode of those
below that is fastest at it, with as many calls at once as there are clients. Rounds go otolith, peer,
otolith, peer, …; a ratio is taken within a round. Above 1 means that otolith was faster.

usage: run.sh --clips [--model whisper-tiny.en] [--rounds 5] [--threads 2] [--clients 16] [--json FILE]
The clips are the prompts of 3 to 7 s of build/testdata/LANGUAGE.wav, which LANGUAGE.tsv beside it tells.
"""

import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from parts import ROOT, Server, cut, prompts  # noqa: E402


class Otolith(Server):
    """otolith serve, asked over HTTP."""

    def __init__(self, args, folder):
        super().__init__(args.otolith, args.models, folder, "-m", args.model, "--workers", "1", "--threads", str(args.threads))
        self.fields = {"model": "whisper-1", "language": args.language, "response_format": "json", "beam_size": args.beam}

    def hear(self, path):
        return self.post("/v1/audio/transcriptions", self.fields, "file", path)["text"]


class FasterWhisper:
    """The model in this process: MODE is sequential or batched, COMPUTE, and the calls it serves at once."""

    def __init__(self, args, mode, compute, calls):
        from faster_whisper import BatchedInferencePipeline, WhisperModel

        model = WhisperModel(
            os.path.join(args.models, args.model, "source"),
            device="cpu",
            compute_type=compute,
            cpu_threads=max(1, args.threads // calls),
            num_workers=calls,
        )
        self.name = f"{mode} {compute}, {calls} at once"
        self.options = {"beam_size": args.beam, "language": args.language}
        if mode == "batched":
            self.transcribe = BatchedInferencePipeline(model).transcribe
            self.options["batch_size"] = 8
        else:
            self.transcribe = model.transcribe

    def hear(self, path):
        segments, _ = self.transcribe(path, **self.options)
        return " ".join(s.text.strip() for s in segments)


def one_by_one(who, clips):
    """(median seconds of a clip, texts)"""
    times, texts = [], []
    for path, _, _ in clips:
        start = time.perf_counter()
        texts.append(who.hear(path))
        times.append(time.perf_counter() - start)
    return statistics.median(times), texts


def at_once(who, clips, clients):
    """(clips a second, texts)"""
    start = time.perf_counter()
    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        texts = list(pool.map(who.hear, [path for path, _, _ in clips]))
    return len(clips) / (time.perf_counter() - start), texts


def errors(args, clips, texts, folder):
    """Word error rate of the texts, %."""
    for name, lines in (("ref", [t for _, _, t in clips]), ("hyp", texts)):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
            f.write("\n".join(lines) + "\n")
    out = subprocess.run(
        [args.otolith, "score", "--json", os.path.join(folder, "ref"), os.path.join(folder, "hyp")],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    return 100 * json.loads(out)["rate"]


def spread(ratios):
    ratios = sorted(ratios)
    return {"median": statistics.median(ratios), "least": ratios[0], "most": ratios[-1]}


def show(what, unit, ours, theirs, name, ratio, wer):
    print(f"{what:<34} otolith {ours:8.3f} {unit}, WER {wer[0]:.2f} %; faster-whisper {theirs:8.3f} {unit}, WER {wer[1]:.2f} % ({name})")
    print(f"{'':<34} ratio {ratio['median']:.2f} ({ratio['least']:.2f} to {ratio['most']:.2f})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--otolith", default=os.path.join(ROOT, "build/release/otolith"))
    parser.add_argument("--models", default=os.environ.get("OTOLITH_MODELS", os.path.join(ROOT, "models")))
    parser.add_argument("--model", default="whisper-tiny.en")
    parser.add_argument("--language", default="en")
    parser.add_argument("--data", default=os.path.join(ROOT, "build/testdata"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", help="file for the same as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        short = [p for p in prompts(args.data, args.language) if 3000 <= p[1] - p[0] <= 7000]
        clips = cut(args.data, args.language, short, folder)
        few = clips[:8]
        seconds = statistics.median(s for _, s, _ in clips)
        print(f"{args.model}, {len(clips)} clips of {seconds:.1f} s in the middle, beam {args.beam}, {args.threads} threads, {args.rounds} rounds")
        ours = Otolith(args, folder)
        try:
            one_by_one(ours, few)
            modes = [("sequential", "int8"), ("sequential", "float32"), ("batched", "int8")]
            # The mode of the peer that is fastest at each question, by a few clips.
            single = min((FasterWhisper(args, *m, 1) for m in modes), key=lambda w: (one_by_one(w, few[:2]), one_by_one(w, few)[0])[1])
            many = max(
                (FasterWhisper(args, *m, n) for m in modes[:2] for n in (1, args.threads)),
                key=lambda w: (at_once(w, few, 2), at_once(w, few * 2, args.clients)[0])[1],
            )
            rounds = [(one_by_one(ours, clips), one_by_one(single, clips)) for _ in range(args.rounds)]
            crowds = [(at_once(ours, clips * 2, args.clients), at_once(many, clips * 2, args.clients)) for _ in range(args.rounds)]
            wer = [errors(args, clips, t, folder) for _, t in rounds[0]]
            wer_many = [errors(args, clips * 2, t, folder) for _, t in crowds[0]]
        finally:
            ours.close()
    result = {
        "model": args.model,
        "clips": len(clips),
        "clip_s": seconds,
        "latency": {
            "otolith_s": statistics.median(o[0] for o, _ in rounds),
            "peer_s": statistics.median(p[0] for _, p in rounds),
            "peer": single.name,
            "wer": wer,
            "ratio": spread([p[0] / o[0] for o, p in rounds]),
        },
        "throughput": {
            "clients": args.clients,
            "otolith_per_s": statistics.median(o[0] for o, _ in crowds),
            "peer_per_s": statistics.median(p[0] for _, p in crowds),
            "peer": many.name,
            "wer": wer_many,
            "ratio": spread([o[0] / p[0] for o, p in crowds]),
        },
    }
    a, b = result["latency"], result["throughput"]
    show("one after the other, a clip", "s", a["otolith_s"], a["peer_s"], a["peer"], a["ratio"], a["wer"])
    show(f"{args.clients} clients at once, clips a second", "/s", b["otolith_per_s"], b["peer_per_s"], b["peer"], b["ratio"], b["wer"])
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=2)
            f.write("\n")


if __name__ == "__main__":
    sys.exit(main())
