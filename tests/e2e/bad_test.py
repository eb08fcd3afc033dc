"""Whatever cannot be recognised is one clear line that names the file and the reason, an exit status
by its class, and no harm to the others."""

import os
import signal
import subprocess

import pytest

import rest
import tool
from patience import PATIENCE_S, wait_until

pytestmark = pytest.mark.quick
INPUT, USAGE, NOT_FOUND, DENIED, LIMIT, UNAVAILABLE = 3, 2, 4, 5, 6, 7


def transcribe(*args, **kwargs):
    return tool.run("transcribe", "-m", "whisper-tiny.en", "-q", *args, **kwargs)


@pytest.mark.parametrize(
    "name, reason",
    [
        ("empty.wav", "empty|0 bytes"),
        ("picture.png", "picture|image|no audio"),
        ("picture.mp3", ""),
        ("letter.txt", ""),
        ("no_sound.mp4", "no audio"),
        ("header.wav", ""),
        ("zeros.mp3", ""),
        ("licence.flac", ""),
        ("no_index.m4a", ""),
    ],
)
def test_bad_files(data, models, name, reason):
    result = transcribe(os.path.join(data, "bad", name))
    line = tool.complaint(result, name)
    assert result.status == INPUT
    assert result.out == ""
    if reason:
        assert any(word in line.lower() for word in reason.split("|")), line


def test_the_same_from_a_pipe(data, models):
    for name in ("empty.wav", "picture.png", "letter.txt"):
        result = transcribe("-", stdin=os.path.join(data, "bad", name))
        assert result.status == INPUT, result.err
        assert len(result.err.strip().splitlines()) == 1, result.err


def test_truncated(data, models):
    """Half an mp3 gives the words of that half, with a remark or without, and success."""
    result = tool.run("transcribe", "-m", "whisper-tiny.en", os.path.join(data, "bad", "half.mp3"))
    assert result.status == 0, result.err
    assert "asterisk" in result.out.lower()


def decoders(pid):
    return [p for p in rest.children(pid) if rest.name_of(p) == "oto-decoder"]


def test_killed_decoder(data, models):
    """Told even when whoever started the program ignores the death of children."""
    process = subprocess.Popen(
        [tool.OTOLITH, "transcribe", "-m", "whisper-tiny.en", "-q", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "OTOLITH_MODELS": tool.MODELS, "OTOLITH_OFFLINE": "1"},
        preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN),
    )
    with open(os.path.join(data, "en20.wav"), "rb") as f:
        process.stdin.write(f.read(200000))
        process.stdin.flush()
    decoder = wait_until(lambda: process.poll() is not None or decoders(process.pid))
    assert process.poll() is None
    os.kill(decoder[0], signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == UNAVAILABLE, err
    assert b"the decoder was killed" in err


def test_not_found(models):
    result = transcribe("no/such/file.wav")
    assert result.status == NOT_FOUND
    assert "no/such/file.wav" in tool.complaint(result, "no/such/file.wav")


def test_folder(models, tmp_path):
    result = transcribe(tmp_path)
    tool.complaint(result, str(tmp_path))
    assert result.status == INPUT


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_not_readable(models, tmp_path):
    path = tmp_path / "secret.wav"
    path.write_bytes(b"RIFF")
    path.chmod(0)
    result = transcribe(path)
    tool.complaint(result, "secret.wav")
    assert result.status == DENIED


def test_one_bad_among_many(data, models):
    good = os.path.join(data, "en20.wav")
    bad = os.path.join(data, "bad", "picture.png")
    alone = transcribe(good)
    result = transcribe(good, bad, "no/such.wav", good)
    assert result.out == alone.out * 2
    assert result.status == NOT_FOUND  # the last that failed decides
    for name in ("picture.png", "no/such.wav"):
        tool.complaint(result, name)


def test_unknown_model(data, models):
    result = tool.run("transcribe", "-m", "whisper-colossal", os.path.join(data, "en20.wav"))
    line = tool.complaint(result, "whisper-colossal")
    assert result.status == NOT_FOUND, line


def test_model_of_another_kind(data, models):
    result = tool.run("transcribe", "-m", "fsmn-vad", os.path.join(data, "en20.wav"))
    assert result.status not in (0, 1)
    assert "does not recognise speech" in result.err.splitlines()[-1]


def test_model_file_that_is_none(data, models):
    result = tool.run("transcribe", "-m", os.path.join(data, "bad", "picture.png"), os.path.join(data, "en20.wav"))
    tool.complaint(result, "picture.png")
    assert result.status == INPUT


def test_output_folder_not_writable(data, models):
    result = transcribe("-o", "/proc/otolith", os.path.join(data, "en20.wav"))
    assert result.status not in (0, 1), result.err
    assert "/proc/otolith" in result.err


def test_disk_full(data, models):
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    with open("/dev/full", "wb") as full:
        import subprocess

        env = {**os.environ, "OTOLITH_MODELS": tool.MODELS, "OTOLITH_OFFLINE": "1"}
        command = [tool.OTOLITH, "transcribe", "-m", "whisper-tiny.en", "-q", os.path.join(data, "en20.wav")]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, env=env, text=True)
    assert result.returncode == LIMIT, result.stderr
    assert "space" in result.stderr


def test_memory_limit_too_small(data, models):
    result = transcribe("--memory-limit", "20M", os.path.join(data, "en20.wav"))
    assert result.status == LIMIT, result.err
    assert "memory limit" in result.err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--no-such-option"],
        ["-f", "docx"],
        ["--beam", "many"],
        ["--compute", "f64"],
        ["-l", "klingon"],
        ["--task", "sing"],
        [],
    ],
)
def test_wrong_usage(data, models, arguments):
    files = [os.path.join(data, "en20.wav")] if arguments else []
    result = transcribe(*arguments, *files)
    assert result.status == USAGE, result.err
    assert result.out == ""


def test_checksum(models, tmp_path):
    """A model whose file was changed does not verify."""
    source = os.path.join(tool.MODELS, "fsmn-vad", "source")
    target = tmp_path / "fsmn-vad" / "source"
    target.mkdir(parents=True)
    for name in os.listdir(source):
        with open(os.path.join(source, name), "rb") as f:
            (target / name).write_bytes(f.read())
    env = {"OTOLITH_MODELS": str(tmp_path)}
    assert tool.run("models", "verify", "fsmn-vad", env=env).status == 0
    with open(target / "am.mvn", "r+b") as f:
        f.seek(100)
        f.write(b"9")
    result = tool.run("models", "verify", "fsmn-vad", env=env)
    assert result.status == INPUT, result.err
    assert "am.mvn" in result.err
