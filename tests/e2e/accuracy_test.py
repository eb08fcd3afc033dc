"""Real speech in six languages, held to what faster-whisper makes of the same recording with the same
weights (tests/reference/peer, made by tests/reference/peer_wer.py)."""

import hashlib
import json
import os

import pytest

import tool

PEER = os.path.join(tool.ROOT, "tests", "reference", "peer")
ABOUT = json.loads(tool.read(PEER, "about.json"))["recordings"]
# Room above the peer's rate, in points: the promise for English. The other recordings are two minutes
# each, and the peer's own two modes differ by up to six words in one of them: there the bar is the
# worse mode, and one point (less than three words) for rounding.
ROOM = {"en": 0.3}
SHORT = 1.0


@pytest.mark.parametrize("name", list(ABOUT))
def test_against_the_peer(data, models, name):
    about = ABOUT[name]
    reference = tool.read(data, name + ".txt")
    if hashlib.sha256(reference.encode()).hexdigest() != about["reference_sha256"]:
        pytest.skip("the prompts here are not those the peer heard")
    result = tool.good("transcribe", "-m", about["model"], "-q", "-f", "json", os.path.join(data, name + ".wav"))
    found = json.loads(result.out)
    ours = tool.score(reference, found["text"])
    theirs = {mode: tool.score(reference, tool.read(PEER, f"{os.path.basename(name)}.{mode}.txt")) for mode in ("batched", "sequential")}
    print(f"{name}: {100 * ours['rate']:.2f} %", {m: f"{100 * s['rate']:.2f} %" for m, s in theirs.items()})
    names = {"en": "english", "es": "spanish", "fr": "french", "it": "italian", "ru": "russian", "zh": "chinese"}
    assert found["language"] == names[about["language"]]
    bar = theirs["batched"]["rate"] if name in ROOM else max(s["rate"] for s in theirs.values())
    assert 100 * ours["rate"] <= 100 * bar + ROOM.get(name, SHORT)


def test_forced_kernels(data, models):
    """Every table this machine has says the same, give or take a word: roundings differ."""
    options = ["-m", "whisper-tiny.en", "-q", os.path.join(data, "en20.wav")]
    expected = tool.good("transcribe", *options).out
    for table in ("avx512", "avx2", "neon", "scalar"):
        env = {"OTOLITH_CPU": table}
        if tool.run("--version", env=env).status == 0:
            out = tool.good("transcribe", *options, env=env).out
            assert tool.errors(expected, out) <= 3, (table, out)
