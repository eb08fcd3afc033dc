"""Every container, codec, rate and channel layout, from a file and from a pipe, gives the words of
the wav it was made from."""

import os

import pytest

import tool

FORMATS = """mp3.mp3 aac.m4a adts.aac faststart.m4a flac.flac opus.ogg vorbis.ogg opus.webm s24.wav
f32.wav mulaw.wav s16.aiff video.mp4 video.mkv video.mov amr.amr rate8000.wav rate22050.wav
rate44100.wav rate48000.wav rate96000.wav stereo.wav right.wav surround.flac""".split()
QUICK = {"opus.ogg"}


def transcribe(*args, **kwargs):
    return tool.good("transcribe", "-m", "whisper-tiny.en", "-q", *args, **kwargs).out


@pytest.fixture(scope="module")
def words(data, models):
    """What the wav says. It is right, or the comparison would be of little worth."""
    text = transcribe(os.path.join(data, "en20.wav"))
    assert tool.score(tool.read(data, "en20.txt"), text)["rate"] < 0.10
    return text


@pytest.mark.parametrize("name", [pytest.param(f, marks=pytest.mark.quick) if f in QUICK else f for f in FORMATS])
def test_file_and_pipe(data, words, name):
    path = os.path.join(data, "formats", name)
    if not os.path.exists(path):
        pytest.skip("this machine's tools could not make it")
    from_file = transcribe(path)
    from_pipe = transcribe("-", stdin=path)
    assert tool.errors(words, from_file) == 0, from_file
    # Without seeking an mp3 keeps the encoder's padding at its end: the same words, maybe another hyphen.
    assert tool.errors(words, from_pipe) == 0, from_pipe


def test_wav_from_pipe(data, words):
    assert transcribe("-", stdin=os.path.join(data, "en20.wav")) == words


def test_raw_pcm(data, words):
    path = os.path.join(data, "formats", "raw.s16le")
    options = ["--raw", "s16le:16000:1"]
    assert transcribe(*options, path) == words
    assert transcribe(*options, "-", stdin=path) == words


def test_fifty_files_in_one_run(data, words):
    """They share the model, and memory does not grow with their number."""
    path = os.path.join(data, "formats", "mp3.mp3")
    few = tool.good("transcribe", "-m", "whisper-tiny.en", "-q", *[path] * 5)
    many = tool.good("transcribe", "-m", "whisper-tiny.en", "-q", *[path] * (50 if tool.LONG else 20))
    assert many.out == few.out * (10 if tool.LONG else 4)
    assert many.peak_bytes < few.peak_bytes + (2 << 20)
