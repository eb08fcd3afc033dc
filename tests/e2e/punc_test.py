"""Punctuation behind a model that gives none, in the program and in the server; the weights are random,
so what is looked at is the form."""

import json
import os
import re
import signal
import subprocess
import sys
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


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """Address of a server that holds both models where ModelScope has them, and what it sends breaks off once."""
    folder = tmp_path_factory.mktemp("hub")
    for repo, realtime in (("zh-cn-common-vocab272727-pytorch", False), ("zh-cn-common-vad_realtime-vocab272727", True)):
        seeded.punctuation_folder(folder / f"iic/punc_ct-transformer_{repo}/resolve/master", realtime)
    script = os.path.join(tool.ROOT, "tests/reference/sources.py")
    with subprocess.Popen([sys.executable, script, "serve", folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        yield f"http://127.0.0.1:{int(p.stdout.readline())}/cut", folder
        p.stdin.close()


@pytest.mark.parametrize("name", ["ct-punc", "ct-punc-realtime"])
def test_by_name(made, hub, models, data, tmp_path, name):
    """Fetched, found by its name by the program and by the server, and like the folder it came from."""
    path = os.path.join(data, "en60.wav")
    address, folder = hub
    env = {"OTOLITH_MODELS": str(tmp_path / "models"), "OTOLITH_MODELSCOPE": address, "OTOLITH_OFFLINE": None}
    os.mkdir(env["OTOLITH_MODELS"])
    os.symlink(os.path.join(tool.MODELS, "fsmn-vad"), os.path.join(env["OTOLITH_MODELS"], "fsmn-vad"))
    pulled = tool.run("models", "pull", name, env=env)
    assert pulled.status == 0, pulled.err
    assert tool.run("models", "verify", name, env=env).out == f"{name}: OK\n"
    env["OTOLITH_OFFLINE"] = "1"
    named = tool.run("transcribe", "-m", made[0], "--punc", name, "-f", "srt", "-q", path, env=env)
    assert named.status == 0, named.err
    source = next(folder.glob("iic/" + ("*realtime*" if "realtime" in name else "*pytorch") + "/resolve/master"))
    assert named.out == tool.good("transcribe", "-m", made[0], "--punc", source, "-f", "srt", "-q", path).out
    assert re.search("[。？]", named.out)
    with RestServer(tmp_path / "data", "--punc", name, "--workers", "1", model=made[0], env=env) as s:
        id = s.submit(path)[1]["task_id"]
        assert s.wait_for(id)["state"] == "done"
        assert s.call("GET", f"/api/v1/jobs/{id}/transcript?format=srt")[1].decode() == named.out


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
