"""The output formats, as their readers see them."""

import json
import os
import re

import pytest

import tool

quick = pytest.mark.quick
# Every key that openai's verbose_json requires of a segment.
SEGMENT_KEYS = {
    "id": int,
    "seek": int,
    "start": float,
    "end": float,
    "text": str,
    "tokens": list,
    "temperature": float,
    "avg_logprob": float,
    "compression_ratio": float,
    "no_speech_prob": float,
}


def transcribe(*args):
    return tool.good("transcribe", "-m", "whisper-tiny.en", "-q", *args)


@pytest.fixture(scope="module")
def recording(data, models):
    return os.path.join(data, "en20.wav")


@pytest.fixture(scope="module")
def text(recording):
    return transcribe(recording).out


def is_number(value, kind):
    return isinstance(value, (int, float)) if kind is float else isinstance(value, kind)


def check_verbose_json(j, words):
    assert j["task"] == "transcribe"
    assert j["language"] == "english"
    assert 24 < j["duration"] < 26
    assert j["text"] == j["text"].strip()
    last_start, last_end = 0, 0
    for i, segment in enumerate(j["segments"]):
        for key, kind in SEGMENT_KEYS.items():
            assert is_number(segment[key], kind), (key, segment[key])
        assert segment["id"] == i
        assert last_start <= segment["start"] <= segment["end"] <= j["duration"]
        assert segment["avg_logprob"] <= 0
        assert 0 <= segment["no_speech_prob"] <= 1
        assert segment["tokens"]
        last_start, last_end = segment["start"], segment["end"]
    assert last_end > 20
    assert "".join(s["text"] for s in j["segments"]).strip() == j["text"]
    assert ("words" in j) == words
    if words:
        check_words(j)


def check_words(j):
    last = 0
    for word in j["words"]:
        assert word["word"] and word["word"] == word["word"].strip()
        assert last <= word["start"] <= word["end"] <= j["duration"] + 0.01
        last = word["start"]
    # "open-source" is two words here and one there.
    assert "".join(w["word"] for w in j["words"]) == j["text"].replace(" ", "")


@pytest.mark.parametrize("words", [False, True])
@quick
def test_json(recording, text, words):
    out = transcribe("-f", "json", *(["--words"] if words else []), recording).out
    check_verbose_json(json.loads(out), words)
    assert tool.errors(text, json.loads(out)["text"]) == 0


@quick
def test_word_times_are_right(data, recording):
    """Words begin where prompts do and none lies in the pauses between them, give or take 0.4 s."""
    words = json.loads(transcribe("-f", "json", "--words", recording).out)["words"]
    spoken = [line.split("\t") for line in tool.read(data, "en20.tsv").splitlines()]
    spoken = [(int(start) / 1000, int(end) / 1000) for start, end, _ in spoken]
    for start, _ in spoken:
        assert min(abs(w["start"] - start) for w in words) < 0.4, start
    for w in words:
        middle = (w["start"] + w["end"]) / 2
        assert any(start - 0.4 < middle < end + 0.4 for start, end in spoken), w


def seconds(stamp):
    hours, minutes, rest = stamp.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def cues(blocks, numbered):
    """[(start, end, text)] of srt or vtt blocks."""
    found = []
    for i, block in enumerate(blocks):
        lines = block.split("\n")
        if numbered:
            assert lines.pop(0) == str(i + 1)
        mark = "," if numbered else "."
        m = re.fullmatch(rf"(\d\d+:\d\d:\d\d\{mark}\d{{3}}) --> (\d\d+:\d\d:\d\d\{mark}\d{{3}})", lines[0])
        assert m, lines[0]
        found.append((seconds(m[1]), seconds(m[2]), " ".join(lines[1:])))
    for (start, end, cue), following in zip(found, found[1:] + [(1e9, 1e9, "")]):
        assert start <= end and start <= following[0]
        assert cue.strip()
    return found


@quick
def test_srt(recording, text):
    out = transcribe("-f", "srt", recording).out
    assert out.endswith("\n\n")
    found = cues(out.strip().split("\n\n"), numbered=True)
    assert tool.errors(text, " ".join(c[2] for c in found)) == 0


@quick
def test_vtt(recording, text):
    out = transcribe("-f", "vtt", recording).out
    head, *blocks = out.strip().split("\n\n")
    assert head == "WEBVTT"
    assert tool.errors(text, " ".join(c[2] for c in cues(blocks, numbered=False))) == 0


@quick
def test_tsv(recording, text):
    head, *rows = transcribe("-f", "tsv", recording).out.splitlines()
    assert head.split("\t") == ["start", "end", "text"]
    cells = [row.split("\t") for row in rows]
    assert all(int(c[0]) <= int(c[1]) for c in cells)
    assert tool.errors(text, " ".join(c[2] for c in cells)) == 0


@quick
def test_all_formats_into_a_folder(recording, text, tmp_path):
    out = tmp_path / "deep" / "er"
    result = transcribe("-f", "txt,srt,vtt,json,tsv", "-o", out, recording)
    assert result.out == ""
    assert sorted(os.listdir(out)) == [f"en20.{f}" for f in ("json", "srt", "tsv", "txt", "vtt")]
    assert tool.read(out, "en20.txt") == text
    check_verbose_json(json.loads(tool.read(out, "en20.json")), words=False)


@quick
def test_a_failed_recording_leaves_no_file(data, models, tmp_path):
    result = tool.run("transcribe", "-m", "whisper-tiny.en", "-o", tmp_path, os.path.join(data, "bad", "picture.png"))
    assert result.status != 0
    assert os.listdir(tmp_path) == []


@quick
def test_summary_line(recording):
    result = tool.good("transcribe", "-m", "whisper-tiny.en", recording)
    last = result.err.strip().splitlines()[-1]
    for part in ("audio", "wall", "RTF", "core-seconds", "peak memory"):
        assert part in last
    assert "\r" not in result.err  # no progress bar where there is no terminal
    assert "\x1b" not in result.err


def test_language_detected(data, models):
    out = tool.good("transcribe", "-m", "whisper-base", "-q", "-f", "json", os.path.join(data, "zh", "asr_example.wav")).out
    assert json.loads(out)["language"] == "chinese"


def test_translate(data, models):
    path = os.path.join(data, "zh", "sample.wav")
    out = tool.good("transcribe", "-m", "whisper-base", "-q", "-l", "zh", "--task", "translate", path).out
    assert "I want to ask" in out


def test_compute_types_agree(recording, text):
    for compute in ("f32", "bf16"):
        assert tool.errors(text, transcribe("--compute", compute, recording).out) <= 2


def test_one_thread_says_the_same(recording, text):
    assert transcribe("--threads", "1", recording).out == text
    assert transcribe("--threads", "3", recording).out == text
