"""The command line itself: help, version, usage, scoring, models without a network."""

import json
import os
import subprocess

import pytest

import tool

pytestmark = pytest.mark.quick
VERBS = ["transcribe", "vad", "models", "score", "bench"]


def test_unknown_kernels():
    assert tool.run("--version", env={"OTOLITH_CPU": "abacus"}).status == 2


def test_help():
    out = tool.good("--help").out
    for verb in VERBS:
        assert verb in out
        page = tool.good(verb, "--help").out
        assert page.startswith("usage: otolith " + verb)
        assert tool.good("help", verb).out == page


def test_version():
    out = tool.good("--version").out
    assert out.startswith("otolith ")
    for word in ("avcodec", "kernels"):
        assert word in out


def test_usage():
    for args in ([], ["sing"], ["transcribe", "--sing"], ["score", "one"], ["models", "dance"]):
        result = tool.run(*args)
        assert result.status == 2, (args, result.err)
        assert result.out == ""
        assert result.err


def test_models_list():
    out = tool.good("models", "list").out
    for name in ("whisper-tiny.en", "whisper-base", "fsmn-vad"):
        assert name in out


def test_offline_without_the_model(tmp_path):
    env = {"OTOLITH_MODELS": str(tmp_path), "OTOLITH_OFFLINE": None}
    result = tool.run("transcribe", "--offline", "-m", "whisper-tiny.en", "x.wav", env=env)
    assert result.status != 0
    assert "whisper-tiny.en" in result.err
    assert os.listdir(tmp_path) == []


def test_score():
    s = tool.score("Please hold, while I try.", "please hold why try")
    assert (s["measure"], s["reference"], s["substitutions"], s["deletions"]) == ("wer", 5, 1, 1)
    assert tool.score("你好，世界", "你好世")["measure"] == "cer"
    assert tool.score("Hello", "hello", "--raw")["errors"] == 1


def test_score_prints(tmp_path):
    (tmp_path / "ref").write_text("one two three four")
    (tmp_path / "hyp").write_text("one too three four")
    out = tool.good("score", tmp_path / "ref", tmp_path / "hyp").out
    assert out.startswith("WER 25.00 %")
    assert "substitutions 1, deletions 0, insertions 0" in out
    assert tool.good("score", tmp_path / "ref", "-", stdin=b"one two three four").out.startswith("WER 0.00 %")
    result = tool.run("score", tmp_path / "ref", tmp_path / "none")
    assert result.status == 4
    tool.complaint(result, "none")


def test_bench(data, models):
    j = json.loads(tool.good("bench", "-m", "whisper-tiny.en", "--json", "-", os.path.join(data, "en20.wav")).out)
    stages = {s["name"]: s for s in j["stages"]}
    assert set(stages) == {"decode", "vad", "front end", "encoder", "decoder", "total"}
    assert all(s["wall_s"] >= 0 and s["core_s"] >= 0 for s in stages.values())
    assert 24 < j["audio_s"] < 26
    assert {k["what"] for k in j["kernels"]} == {"product", "attention", "step"}
    # Shares are of a peak measured a moment before: on a machine shared with others they may pass 1.
    assert all(k["share"] > 0 for k in j["kernels"]) and j["memory_gb_per_s"] > 0
    did = {(a["thread"], a["what"]): a for a in j["timeline"]}
    assert {("model", "encodes"), ("model", "decodes"), ("listener", "detects speech")} <= set(did)
    assert all(len(a["shares"]) == 60 and all(0 <= s < 1.01 for s in a["shares"]) for a in did.values())


def test_closed_output(data, models):
    """A reader that goes away ends the run quietly, like every filter."""
    env = {**os.environ, "OTOLITH_MODELS": tool.MODELS, "OTOLITH_OFFLINE": "1"}
    command = f"{tool.OTOLITH} transcribe -m whisper-tiny.en {data}/en60.wav | head -c 1 >/dev/null"
    result = subprocess.run(["sh", "-c", command], stderr=subprocess.PIPE, env=env, text=True)
    assert "internal" not in result.stderr
