#!/usr/bin/env python3
"""otolith against its peers: the same recording, weights and number of threads, in turn.

Rounds go otolith, peer, otolith, peer, …, so that whatever else the machine does falls on both; a
ratio is taken within a round, and the median and spread of the rounds are printed. A ratio above 1
means that otolith was faster. Wall time and processor time are of whole processes, start, loading and
all; peak memory is the sum over the process tree, sampled, and the kernel's own figure of the largest
process where that is more.

usage: run.sh [--model whisper-tiny.en] [--rounds 5] [--threads 2] [--json FILE] [FILE.wav]...
The reference text of FILE.wav is FILE.txt beside it.
"""

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
from parts import ROOT, environment, measure  # noqa: E402

HEAR = os.path.join(HERE, "hear.py")
PEERS = [
    "faster-whisper:batched-int8-beam5",
    "faster-whisper:batched-int8-beam1",
    "faster-whisper:sequential-int8-beam5",
    "whisper.cpp:f16",
]


class Bench:
    def __init__(self, args):
        self.args = args
        self.otolith = os.path.abspath(args.otolith)
        self.env = {**environment(args.models), "OMP_NUM_THREADS": str(args.threads), "HF_HUB_OFFLINE": "1"}

    def weights(self, peer):
        """The file or folder the peer loads, or None: the same weights for all."""
        source = os.path.join(self.args.models, self.args.model, "source")
        return self.ggml(source) if peer.startswith("whisper.cpp") else source

    def ggml(self, source):
        """whisper.cpp's form of them, made once; None when that cannot be done."""
        if self.args.ggml:
            return self.args.ggml if os.path.exists(self.args.ggml) else None
        path = os.path.join(ROOT, "build", "ggml", self.args.model + ".bin")
        if not os.path.exists(path):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            command = [sys.executable, os.path.join(ROOT, "tests/reference/ct2_to_ggml.py"), source, path + ".part"]
            if subprocess.run(command, stderr=subprocess.DEVNULL).returncode != 0:
                return None
            os.rename(path + ".part", path)
        return path

    def run(self, who, audio):
        threads = str(self.args.threads)
        if who.startswith("otolith"):
            beam = who.partition("beam")[2] or "5"
            command = [self.otolith, "transcribe", "-m", self.args.model, "-l", self.args.language]
            command += ["--threads", threads, "--beam", beam, "-q", audio]
            text, wall, core, peak = measure(command, self.env)
            inner = wall
        else:
            command = [sys.executable, HEAR, who, self.weights(who), audio, self.args.language, threads]
            out, wall, core, peak = measure(command, self.env)
            result = json.loads(out.strip().splitlines()[-1])
            text, inner = result["text"], result["run_s"]
        return {"text": text, "wall_s": wall, "run_s": inner, "core_s": core, "peak_bytes": peak}

    def score(self, audio, text):
        """(rate in %, measure) against the reference beside the recording."""
        reference = os.path.splitext(audio)[0] + ".txt"
        if not os.path.exists(reference):
            return None
        out = subprocess.run(
            [self.otolith, "score", "--json", reference, "-"], input=text.encode(), stdout=subprocess.PIPE, check=True
        ).stdout
        return json.loads(out)


def available(bench, peer):
    """Why a peer cannot run, or None."""
    module = "faster_whisper" if peer.startswith("faster-whisper") else "pywhispercpp"
    if importlib.util.find_spec(module) is None:
        return f"the package {module} is not installed"
    if bench.weights(peer) is None:
        return "its weights could not be made (--ggml FILE gives them)"
    return None


def summarise(rounds):
    """Medians over the rounds of one contestant."""
    keys = ("wall_s", "run_s", "core_s", "peak_bytes")
    return {key: statistics.median(r[key] for r in rounds) for key in keys}


def compare(bench, peer, audio):
    """A pair in turn; returns what JSON and table need."""
    ours = "otolith beam" + ("1" if peer.endswith("beam1") else "5")
    bench.run(ours, audio)  # both once before: caches, packing
    bench.run(peer, audio)
    rounds = []
    for _ in range(bench.args.rounds):
        rounds.append((bench.run(ours, audio), bench.run(peer, audio)))
    # Against the peer's time without loading: the harder comparison for otolith, whose own includes it.
    ratios = sorted(p["run_s"] / o["wall_s"] for o, p in rounds)
    whole = sorted(p["wall_s"] / o["wall_s"] for o, p in rounds)
    memory = statistics.median(p["peak_bytes"] / o["peak_bytes"] for o, p in rounds)
    rows = []
    for who, index in ((ours, 0), (peer, 1)):
        score = bench.score(audio, rounds[0][index]["text"])
        rows.append({"who": who, **summarise([r[index] for r in rounds]), "score": score})
    return {
        "recording": audio,
        "rows": rows,
        "ratio": {"median": statistics.median(ratios), "least": ratios[0], "most": ratios[-1]},
        "ratio_with_loading": {"median": statistics.median(whole), "least": whole[0], "most": whole[-1]},
        "memory_ratio": memory,
    }


def show(pair):
    for row in pair["rows"]:
        score = row["score"]
        rate = f"{score['measure'].upper()} {100 * score['rate']:5.2f} %" if score else "-"
        print(
            f"{row['who']:<38} {row['wall_s']:8.2f} {row['run_s']:8.2f} {row['core_s']:8.2f}"
            f" {row['peak_bytes'] / 1e6:8.0f}  {rate}"
        )
    r, w = pair["ratio"], pair["ratio_with_loading"]
    print(
        f"{'  peer / otolith, loading of the peer not counted':<52} {r['median']:.2f}"
        f" ({r['least']:.2f} to {r['most']:.2f}); counted {w['median']:.2f}"
        f" ({w['least']:.2f} to {w['most']:.2f}); memory {pair['memory_ratio']:.1f}\n",
        flush=True,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--otolith", default=os.path.join(ROOT, "build/release/otolith"))
    parser.add_argument("--models", default=os.environ.get("OTOLITH_MODELS", os.path.join(ROOT, "models")))
    parser.add_argument("--model", default="whisper-tiny.en")
    parser.add_argument("--language", default="en", help="code, or auto")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ggml", default=os.environ.get("BENCH_GGML"), help="whisper.cpp's form of the weights; made from the model by default")
    parser.add_argument("--peer", action="append", help="one of " + ", ".join(PEERS))
    parser.add_argument("--json", help="file for the same as JSON")
    parser.add_argument("audio", nargs="*", default=[os.path.join(ROOT, "build/testdata/en.wav")])
    args = parser.parse_args()
    bench = Bench(args)
    print(f"{args.model}, {args.threads} threads, {args.rounds} rounds\n")
    print(f"{'':<38} {'wall s':>8} {'run s':>8} {'core-s':>8} {'peak MB':>8}")
    pairs = []
    for audio in args.audio:
        print(audio)
        for peer in args.peer or PEERS:
            why = available(bench, peer)
            if why:
                print(f"{peer:<38} skipped: {why}\n")
                continue
            pairs.append(compare(bench, peer, os.path.abspath(audio)))
            show(pairs[-1])
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"model": args.model, "threads": args.threads, "rounds": args.rounds, "pairs": pairs}, f, indent=2)
            f.write("\n")


if __name__ == "__main__":
    main()
