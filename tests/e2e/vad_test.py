"""otolith vad: segments as JSON."""

import json
import os

import pytest

import tool

pytestmark = pytest.mark.quick


def vad(*args, **kwargs):
    return json.loads(tool.good("vad", *args, **kwargs).out)


def test_segments(data, models):
    path = os.path.join(data, "en60.wav")
    segments = vad(path)
    assert segments
    last = 0
    for segment in segments:
        assert set(segment) == {"start_ms", "end_ms"}
        assert last <= segment["start_ms"] < segment["end_ms"]
        last = segment["end_ms"]
    # Every prompt is heard: its middle lies in some segment.
    for line in tool.read(data, "en60.tsv").splitlines():
        start, end, text = line.split("\t")
        middle = (int(start) + int(end)) // 2
        assert any(s["start_ms"] <= middle <= s["end_ms"] for s in segments), text


def test_pipe_is_the_same(data, models):
    path = os.path.join(data, "en60.wav")
    assert vad("-", stdin=path) == vad(path)


def test_known_segments(data, models):
    """What the published configuration gives for this recording (fixed end silence of 800 ms)."""
    assert vad(os.path.join(data, "zh", "sample.wav"))[0]["start_ms"] == 770


def test_silence_has_none(data, models, tmp_path):
    import wave

    path = str(tmp_path / "silence.wav")
    with wave.open(path, "wb") as wav:
        wav.setnchannels(1)
        wav.setsampwidth(2)
        wav.setframerate(16000)
        wav.writeframes(bytes(2 * 16000 * 20))
    assert vad(path) == []


def test_bad_file(data, models):
    result = tool.run("vad", os.path.join(data, "bad", "picture.png"))
    tool.complaint(result, "picture.png")
    assert result.out == ""
