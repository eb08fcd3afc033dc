"""The forms of whisper.cpp's server and of whisper-asr-webservice, as their clients send them."""

import json
import os
import uuid
import wave

import pytest

import tool
from server import Server


@pytest.fixture(scope="module")
def many(models, tmp_path_factory):
    """A server whose model knows many languages."""
    with Server(tmp_path_factory.mktemp("many"), "--beam", "1", model="whisper-base") as s:
        yield s


@pytest.fixture(scope="module")
def recording(data):
    return os.path.join(data, "en20.wav")


@pytest.fixture(scope="module")
def chinese():
    return os.path.join(tool.ROOT, "tests/data/zh/asr_example.wav")


def post(server, path, name, file, fields=None, query=""):
    """A form as requests and curl write it: (status, headers, body as text or JSON)."""
    boundary = uuid.uuid4().hex
    parts = []
    for key, value in (fields or {}).items():
        parts += [f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n']
    body = "".join(parts).encode()
    if file is not None:
        content = file if isinstance(file, bytes) else open(file, "rb").read()
        base = "x.pcm" if isinstance(file, bytes) else os.path.basename(file)
        body += (
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="{base}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n"
        ).encode()
        body += content + b"\r\n"
    body += f"--{boundary}--\r\n".encode()
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    status, headers, answer = server.request(path + query, "POST", body, kind)
    answer = answer.decode()
    if headers["content-type"] == "application/json":
        answer = json.loads(answer)
    return status, headers, answer


def test_prompts_are_judged_when_they_come(many, recording):
    """Not when the job's turn comes; and one that is long hides nothing behind it."""
    status, _, answer = post(many, "/asr", "audio_file", recording, {"initial_prompt": "a b " * 2000})
    assert status == 400 and "8000 bytes, at most 4096" in answer["detail"], answer
    query = "?initial_prompt=" + 4096 * "a" + "&output="
    status, _, answer = post(many, "/asr", "audio_file", recording, query=query + "bogus")
    assert status == 400 and "output" in answer["detail"], answer
    status, _, answer = post(many, "/asr", "audio_file", recording, query=query + "json&language=en")
    assert status == 200 and answer["language"] == "en", answer
    form = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    for path, prompt, file in (
        ("/asr", b"initial_prompt", b"audio_file"), ("/inference", b"prompt", b"file"),
    ):
        body = form % (prompt, b"\xff\xfe") + form % (file, b"RIFF") + b"--b--\r\n"
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        status, _, answer = many.request(path, "POST", body, kind)
        assert status == 400 and b"prompt: not UTF-8" in answer, answer


# ---- whisper.cpp ----


def inference(server, file, **fields):
    return post(server, "/inference", "file", file, fields)


def test_inference(server, recording):
    status, headers, answer = inference(server, recording, temperature="0.0", temperature_inc="0.2")
    assert status == 200 and answer.keys() == {"text"}
    assert headers["x-otolith-ignored"] == "temperature_inc"
    text = answer["text"]
    assert tool.errors(tool.read(tool.DATA, "en20.txt"), text) <= 5
    for form, kind in (("text", "text/plain"), ("srt", "application/x-subrip"), ("vtt", "text/vtt")):
        status, headers, answer = inference(server, recording, response_format=form)
        assert status == 200 and headers["content-type"] == f"{kind}; charset=utf-8"
        assert text.split(".")[0] in answer
    status, _, answer = inference(server, recording, response_format="verbose_json")
    assert answer["text"] == text and answer["language"] == "english"
    words = "".join(w["word"] for s in answer["segments"] for w in s["words"])
    assert words == text.replace(" ", "")


@pytest.mark.quick
def test_inference_refusals(server, recording, data):
    for file, fields, status in (
        (None, {}, 400),
        (recording, {"response_format": "doc"}, 400),
        (recording, {"translate": "true"}, 400),
        (os.path.join(data, "bad/letter.txt"), {}, 415),
    ):
        got, _, answer = inference(server, file, **fields)
        assert got == status and answer.keys() == {"error"} and answer["error"]


def test_load_is_forbidden(server):
    status, _, answer = post(server, "/load", "file", None, {"model": "/etc/passwd"})
    assert status == 403 and answer["error"]


def test_inference_translates(many, chinese):
    status, _, answer = inference(many, chinese, translate="true", response_format="verbose_json")
    assert status == 200 and answer["task"] == "translate" and answer["language"] == "english"
    assert answer["text"].isascii() and answer["text"]


# ---- whisper-asr-webservice ----


def asr(server, file, query=""):
    return post(server, "/asr", "audio_file", file, query=query)


@pytest.mark.quick
def test_asr(server, recording):
    status, headers, text = asr(server, recording)
    assert status == 200 and headers["content-type"] == "text/plain; charset=utf-8"
    assert 'filename="en20.wav.txt"' in headers["content-disposition"]
    assert tool.errors(tool.read(tool.DATA, "en20.txt"), text) <= 5
    status, _, answer = asr(server, recording, "?task=transcribe&language=en&output=srt&encode=true")
    assert status == 200 and answer.startswith("1\n00:00:00,000 --> ")
    status, _, answer = asr(server, recording, "?output=json&word_timestamps=true&initial_prompt=PBX")
    assert status == 200 and answer["language"] == "en"
    assert answer["segments"][0]["words"] and "x_otolith" not in answer
    assert " ".join(text.split()) == answer["text"] or "PBX" in answer["text"]


def test_asr_takes_bare_samples(server, recording):
    """encode=false: 16 kHz, 16 bit, mono, without a header, as Bazarr sends them."""
    with wave.open(recording) as w:
        assert (w.getframerate(), w.getnchannels(), w.getsampwidth()) == (16000, 1, 2)
        samples = w.readframes(w.getnframes())
    _, _, whole = asr(server, recording)
    status, _, bare = asr(server, samples, "?encode=false&output=txt")
    assert status == 200 and bare == whole


@pytest.mark.quick
def test_asr_refusals(server, recording, data):
    status, _, answer = asr(server, None)
    assert status == 422 and answer["detail"][0]["loc"] == ["body", "audio_file"]
    status, _, answer = asr(server, recording, "?output=doc")
    assert status == 400 and "output" in answer["detail"]
    status, _, answer = asr(server, os.path.join(data, "bad/empty.wav"))
    assert status == 415 and answer["detail"]


def test_detect_language(many, chinese, data):
    before = many.json("/api/v1/jobs")["jobs"]
    for file, name, code in (
        (chinese, "chinese", "zh"),
        (os.path.join(data, "fr.wav"), "french", "fr"),
    ):
        status, _, answer = post(many, "/detect-language", "audio_file", file)
        assert (status, answer) == (200, {"detected_language": name, "language_code": code})
    assert many.json("/api/v1/jobs")["jobs"] == before  # nothing of it stays


def test_one_language_is_not_detected(server, recording):
    status, _, answer = post(server, "/detect-language", "audio_file", recording)
    assert status == 400 and answer["detail"]
