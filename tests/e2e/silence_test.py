"""What is no speech gives no text: this family of models likes to invent some."""

import os
import subprocess

import pytest

import tool


@pytest.mark.parametrize("model", ["whisper-tiny.en", "whisper-base"])
@pytest.mark.parametrize("name", ["silence.wav", "noise.wav"])
def test_ten_minutes_of_nothing(data, models, model, name):
    result = tool.good("transcribe", "-m", model, "-q", os.path.join(data, name))
    assert result.out.strip() == ""


def test_without_vad(data, models, tmp_path):
    """Without voice activity detection the model itself has to stay silent."""
    for name in ("silence.wav", "noise.wav"):
        path = str(tmp_path / name)
        subprocess.run(["sox", os.path.join(data, name), path, "trim", "0", "65"], check=True)
        result = tool.good("transcribe", "-m", "whisper-tiny.en", "--no-vad", "-q", path)
        assert result.out.strip() == ""


def test_speech_without_a_pause_is_not_lost(data, models, tmp_path):
    """Prompts pressed together: windows are cut at the quietest point, and no prompt disappears."""
    path = str(tmp_path / "tight.wav")
    shrink = "silenceremove=stop_periods=-1:stop_duration=0.15:stop_threshold=-45dB"
    subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-t", "180", "-i", os.path.join(data, "en.wav"), "-af", shrink, path],
        check=True,
    )
    spoken = []
    for line in tool.read(data, "en.tsv").splitlines():
        start, end, text = line.split("\t")
        if int(end) < 180000:
            spoken.append(text)
    result = tool.good("transcribe", "-m", "whisper-tiny.en", "-q", path)
    found = tool.score(" ".join(spoken), result.out)
    assert found["deletions"] < 0.03 * found["reference"], found
    assert found["rate"] < 0.10, found
