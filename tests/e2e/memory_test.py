"""Bounded memory: the peak neither passes its limit nor follows the length of the recording."""

import os
import subprocess

import pytest

import tool

MB = 1000 * 1000


@pytest.mark.parametrize("model, limit", [("whisper-tiny.en", 200 * MB), ("whisper-base", 350 * MB)])
def test_peak(data, models, model, limit):
    result = tool.good("transcribe", "-m", model, "-l", "en", os.path.join(data, "en.wav"))
    assert result.peak_bytes < limit


def looped(source, target, seconds):
    """`source` again and again up to that length."""
    subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-y", "-stream_loop", "-1", "-i", source]
        + ["-t", str(seconds), "-c:a", "flac", target],
        check=True,
    )
    return str(target)


def test_length_does_not_matter(data, models, tmp_path):
    """Three hours against ten minutes; without OTO_TEST_LONG half an hour against ten minutes."""
    source = os.path.join(data, "en.wav")
    short = looped(source, tmp_path / "short.flac", 600)
    long = looped(source, tmp_path / "long.flac", 3 * 3600 if tool.LONG else 1800)
    options = ["-m", "whisper-tiny.en", "--beam", "1"]
    first = tool.good("transcribe", *options, short)
    second = tool.good("transcribe", *options, long)
    assert len(second.out) > 2 * len(first.out)
    assert second.peak_bytes < first.peak_bytes + 2 * MB


def test_vad_length_does_not_matter(data, models, tmp_path):
    source = os.path.join(data, "en.wav")
    first = tool.good("vad", source)
    second = tool.good("vad", looped(source, tmp_path / "long.flac", 3 * 3600 if tool.LONG else 3600))
    assert second.peak_bytes < first.peak_bytes + 2 * MB


def test_memory_limit_is_kept(data, models):
    limit = 160
    result = tool.good("transcribe", "-m", "whisper-tiny.en", "--memory-limit", f"{limit}M", os.path.join(data, "en60.wav"))
    assert result.peak_bytes < limit << 20
    free = tool.good("transcribe", "-m", "whisper-tiny.en", os.path.join(data, "en60.wav"))
    assert tool.errors(free.out, result.out) == 0
