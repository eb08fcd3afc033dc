"""What is done to texts on their way out: numbers as they are written, Chinese script."""

import json
import os

import pytest

import tool
from rest import RestServer

CLIP = os.path.join(tool.ROOT, "tests", "data", "zh", "asr_example.wav")


def segments(*options):
    out = tool.good(
        "transcribe", "-q", "-m", "whisper-base", "-l", "zh", "-f", "json", "--words", *options, CLIP
    ).out
    return json.loads(out)["segments"]


@pytest.mark.quick
def test_unknown_script(tmp_path):
    serve = ["serve", "--data", str(tmp_path), "--listen", "127.0.0.1:0", "--script", "s2x"]
    for args in (["transcribe", "--script", "s2x", "x.wav"], serve):
        result = tool.run(*args)
        assert result.status == 2 and "s2x" in result.err


def test_script_changes_text_alone():
    plain = segments()
    converted = segments("--script", "s2t", "--itn")
    assert "语音识别" in plain[0]["text"]
    assert "語音識別" in converted[0]["text"]
    for a, b in zip(plain, converted, strict=True):
        assert (a["start"], a["end"], a.get("words")) == (b["start"], b["end"], b.get("words"))


def test_settings_and_fields(models, tmp_path):
    with RestServer(tmp_path, "--model", "whisper-base", "--script", "s2t", "--itn") as server:
        texts = {}
        for name, fields in (("default", {}), ("none", {"script": "none"}), ("off", {"itn": "false"})):
            status, reply = server.submit(CLIP, language="zh", **fields)
            assert status == 200
            result = server.wait_for_result(reply["task_id"])
            assert result["status"] == "done", result
            texts[name] = result["text"]
        assert "語音識別" in texts["default"] and "語音識別" in texts["off"]
        assert "语音识别" in texts["none"]
        status, reply = server.submit(CLIP, script="s2x")
        assert status == 400 and "s2x" in json.dumps(reply)
        status, reply = server.submit(CLIP, itn="perhaps")
        assert status == 400
