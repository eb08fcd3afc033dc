"""Punctuation behind a model that gives none, in the program and in the server; the weights are random,
so what is looked at is the form."""

import json
import os
import re
import signal
import time

import pytest

import seeded
import tool
from rest import RestServer


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(recogniser, punctuation), packed."""
    folder = tmp_path_factory.mktemp("seeded")
    paths = []
    for make in (seeded.paraformer, seeded.punctuation):
        make(folder / "source.gguf")
        paths.append(str(folder / f"{make.__name__}.gguf"))
        tool.good("models", "convert", folder / "source.gguf", paths[-1])
    return paths


def heard(made, path, *options):
    return json.loads(tool.good("transcribe", "-m", made[0], "-f", "json", "-q", *options, path).out)


def test_sentences(made, models, data):
    path = os.path.join(data, "en60.wav")
    bare, text = heard(made, path), heard(made, path, "--punc", made[1], "--words")
    assert not re.search("[，。？、]", bare["text"])
    strip = lambda s: re.sub(r"[，。？、\s]", "", s)
    assert strip(text["text"]) == strip(bare["text"])
    for s in text["segments"][:-1]:
        assert re.fullmatch("[^。？]+[。？]", s["text"]), s["text"]
    assert re.search("[。？]$", text["text"])
    for s in text["segments"]:
        words = s["words"]
        assert "".join(w["word"] for w in words) == s["text"]
        assert (s["start"], s["end"]) == (words[0]["start"], words[-1]["end"])
    assert heard(made, path, "--punc", "none")["segments"] == bare["segments"]


def test_models_that_punctuate(made, models, data):
    path = os.path.join(data, "en20.wav")
    plain = tool.good("transcribe", "-m", "whisper-tiny.en", "--beam", "1", "-q", path)
    result = tool.good("transcribe", "-m", "whisper-tiny.en", "--beam", "1", "--punc", made[1], path)
    assert result.out == plain.out
    assert "punctuates by itself" in result.err


def test_no_punctuation_model(made, models, data):
    path = os.path.join(data, "en20.wav")
    for name, said in (("fsmn-vad", "does not punctuate"), ("nonsense", "no such model")):
        result = tool.run("transcribe", "-m", made[0], "--punc", name, path)
        assert result.status != 0 and said in result.err and result.out == ""


def test_killed_workers_change_no_sentence(made, models, data, tmp_path):
    path = os.path.join(data, "en.wav")
    calm = tool.good("transcribe", "-m", made[0], "--punc", made[1], "-f", "srt", "-q", path).out
    options = ["--punc", made[1], "--workers", "1", "--threads", "1"]
    with RestServer(tmp_path / "data", *options, model=made[0]) as s:
        status, reply = s.submit(path)
        assert status == 200, reply
        id, kills = reply["task_id"], 0
        while s.job(id)["state"] not in ("done", "failed", "dead"):
            if kills < 2 and s.job(id)["segments"] > 20 * (kills + 1):
                for pid in s.processes("worker"):
                    os.kill(pid, signal.SIGKILL)
                kills += 1
            time.sleep(0.1)
        assert s.job(id)["state"] == "done"
        assert kills == 2
        status, body, _ = s.call("GET", f"/api/v1/jobs/{id}/transcript?format=srt")
        assert status == 200
        assert body.decode() == calm
