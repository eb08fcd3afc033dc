"""Real speech in six languages, held to what faster-whisper makes of the same recording with the same
weights (tests/reference/peer, made by tests/reference/peer_wer.py)."""

import hashlib
import json
import math
import os

import pytest

import tool

PEER = os.path.join(tool.ROOT, "tests", "reference", "peer")
ABOUT = json.loads(tool.read(PEER, "about.json"))["recordings"]
LANGUAGES = {"en": "english", "es": "spanish", "fr": "french", "it": "italian", "ru": "russian", "zh": "chinese"}
# Room above the peer's rate. Any other rounding moves some words of a recording either way, and the peer's own
# two modes differ by up to six words of two minutes: what counts is the sum, in points. One recording alone says
# something only where it is off by more than chance: by two deviations of such a count, twice its square root.
# The bar of the long English recording is the peer's batched mode, of the short ones the worse of its modes.
ALL = 0.3


def test_against_the_peer(data, models):
    wrong = bar = words = 0
    for name, about in ABOUT.items():
        reference = tool.read(data, name + ".txt")
        if hashlib.sha256(reference.encode()).hexdigest() != about["reference_sha256"]:
            pytest.skip("the prompts here are not those the peer heard")
        result = tool.good("transcribe", "-m", about["model"], "-q", "-f", "json", os.path.join(data, name + ".wav"))
        found = json.loads(result.out)
        assert found["language"] == LANGUAGES[about["language"]]
        ours = tool.score(reference, found["text"])
        modes = ["batched"] if name == "en" else ["batched", "sequential"]
        theirs = [tool.score(reference, tool.read(PEER, f"{os.path.basename(name)}.{mode}.txt")) for mode in modes]
        theirs = max(theirs, key=lambda score: score["errors"])
        print(f"{name}: {ours['errors']} of {ours['reference']} wrong, the peer {theirs['errors']}")
        assert ours["errors"] <= theirs["errors"] + 2 * math.sqrt(theirs["errors"])
        if about["language"] != "zh":  # counted in characters
            wrong += ours["errors"]
            bar += theirs["errors"]
            words += ours["reference"]
    print(f"all: {wrong} of {words} wrong, the peer {bar}")
    assert 100 * wrong <= 100 * bar + ALL * words


def test_forced_kernels(data, models):
    """Every table this machine has says the same to the letter, times and probabilities included."""
    for compute in ("int8", "f32"):
        options = ["-m", "whisper-tiny.en", "--compute", compute, "-q", "-f", "json"]
        options.append(os.path.join(data, "en20.wav"))
        said = {}
        for table in ("amx", "avx512bf16", "avx512", "avxvnni", "avx2", "neon", "scalar"):
            env = {"OTOLITH_CPU": table}
            if tool.run("--version", env=env).status == 0:
                j = json.loads(tool.good("transcribe", *options, env=env).out)
                said[table] = [(s["start"], s["end"], s["text"], s["avg_logprob"]) for s in j["segments"]]
        assert said["scalar"] and all(s == said["scalar"] for s in said.values()), said
