"""OpenAI's speech API by OpenAI's own packages: what they send, what they must get back."""

import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import uuid
import wave

import pytest

import tool
from rest import RestServer

openai = pytest.importorskip("openai", reason="no openai package: make venv")

HERE = os.path.dirname(os.path.abspath(__file__))
NODE_PATH = os.environ.get("OTO_TEST_NODE", os.path.join(tool.ROOT, "build/node_modules"))
HAS_JS = bool(shutil.which("node")) and os.path.isdir(os.path.join(NODE_PATH, "openai"))
needs_js = pytest.mark.skipif(not HAS_JS, reason=f"no openai package for node in {NODE_PATH}")
needs_curl = pytest.mark.skipif(not shutil.which("curl"), reason="no curl")
NAME = "会议.wav"


def client_of(server, key="any", **options):
    return openai.OpenAI(base_url=server.url + "/v1", api_key=key, max_retries=0, **options)


@pytest.fixture(scope="module")
def client(server):
    with client_of(server) as c:
        yield c


@pytest.fixture(scope="module")
def recording(data):
    return os.path.join(data, "en20.wav")


@pytest.fixture(scope="module")
def text(client, recording):
    """What the server hears; every answer has to agree with it."""
    with open(recording, "rb") as f:
        heard = client.audio.transcriptions.create(file=f, model="whisper-1").text
    assert heard == heard.strip() and heard.startswith("Goodbye")
    assert tool.errors(tool.read(tool.DATA, "en20.txt"), heard) <= 5
    return heard


@pytest.fixture(scope="module")
def strict(models, tmp_path_factory):
    """A server with narrow limits, which asks for keys. .keys: one free, one with a job at a time."""
    folder = tmp_path_factory.mktemp("strict")
    said = [
        tool.good("keys", "add", "--data", folder, "--name", *more).out.split()
        for more in (["free"], ["narrow", "--max-jobs", "1"])
    ]
    with RestServer(
        folder, "--max-upload", "30M", "--max-audio", "700", "--max-queue", "1", "--workers", "1",
        "--beam", "1",
    ) as s:
        s.keys = [next(word for word in words if word.startswith("oto_")) for words in said]
        yield s


def as_text(answer):
    return answer if isinstance(answer, str) else answer.text


def js(server, *tasks, key="any"):
    """What OpenAI's package for node makes of the tasks."""
    done = subprocess.run(
        ["node", os.path.join(HERE, "openai_client.js")],
        input=json.dumps({"url": server.url + "/v1", "key": key, "tasks": tasks}),
        env={**os.environ, "NODE_PATH": NODE_PATH},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ---- formats ----


def check_verbose(answer, text, words, segments):
    assert answer["task"] == "transcribe" and answer["language"] == "english"
    assert answer["duration"] == pytest.approx(24.722, abs=0.001)
    assert answer["text"] == text
    assert answer["usage"] == {"type": "duration", "seconds": 25}
    assert answer["x_otolith"]["job"] and answer["x_otolith"]["rtf"] > 0
    assert ("segments" in answer) == segments and ("words" in answer) == words
    last = 0
    for i, s in enumerate(answer.get("segments", [])):
        assert s["id"] == i and last <= s["start"] <= s["end"] <= answer["duration"]
        last = s["start"]
        assert s["tokens"] and all(isinstance(t, int) for t in s["tokens"])
        assert s["avg_logprob"] < 0 and 0 <= s["no_speech_prob"] <= 1
        assert s["compression_ratio"] > 0 and s["temperature"] == 0 and s["seek"] >= 0
    if segments:
        assert "".join(s["text"] for s in answer["segments"]).strip() == text
    if words:
        assert "".join(w["word"] for w in answer["words"]) == text.replace(" ", "")
        assert all(w["start"] <= w["end"] <= answer["duration"] for w in answer["words"])


@pytest.mark.quick
def test_json(client, recording, text):
    with open(recording, "rb") as f:
        answer = client.audio.transcriptions.create(
            file=f, model="gpt-4o-transcribe", response_format="json", language="en"
        )
    assert type(answer).__name__ == "Transcription" and answer.text == text
    assert answer.usage.type == "duration" and answer.usage.seconds == 25
    assert answer.model_dump(exclude_none=True).keys() == {"text", "usage"}


def test_text(client, recording, text):
    with open(recording, "rb") as f:
        answer = client.audio.transcriptions.create(file=f, model="whisper-1", response_format="text")
    assert answer == text + "\n"


@pytest.mark.parametrize("granularities", [None, ["segment"], ["word"], ["word", "segment"]])
def test_verbose_json(client, recording, text, granularities):
    more = {"timestamp_granularities": granularities} if granularities else {}
    with open(recording, "rb") as f:
        answer = client.audio.transcriptions.create(
            file=f, model="whisper-1", response_format="verbose_json", **more
        )
    assert type(answer).__name__ == "TranscriptionVerbose"
    wanted = granularities or ["segment"]
    check_verbose(answer.to_dict(), text, "word" in wanted, "segment" in wanted)


def seconds_of(stamp):
    hours, minutes, rest = stamp.replace(",", ".").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


@pytest.mark.parametrize("form", ["srt", "vtt"])
def test_subtitles(client, recording, text, form, tmp_path):
    """Read by two programs that have never heard of us."""
    pysubs2 = pytest.importorskip("pysubs2")
    with open(recording, "rb") as f:
        raw = client.audio.transcriptions.with_raw_response.create(
            file=f, model="whisper-1", response_format=form
        )
    kind = "text/vtt" if form == "vtt" else "text/plain"
    assert raw.headers["content-type"] == f"{kind}; charset=utf-8"
    answer = raw.text
    cues = pysubs2.SSAFile.from_string(answer, form)
    assert " ".join(c.plaintext for c in cues) == text
    starts = [c.start for c in cues]
    assert starts == sorted(starts) and all(c.start < c.end <= 24722 for c in cues)
    path = tmp_path / f"answer.{form}"
    path.write_text(answer, encoding="utf-8")
    again = subprocess.run(
        ["ffmpeg", "-v", "error", "-i", path, "-f", "srt", "-"], capture_output=True, check=True
    ).stdout.decode()
    assert pysubs2.SSAFile.from_string(again, "srt").equals(pysubs2.SSAFile.from_string(answer, form))


@pytest.mark.parametrize("form", ["tsv", "lrc"])
def test_other_formats(client, recording, text, form):
    with open(recording, "rb") as f:
        answer = client.audio.transcriptions.create(
            file=f, model="whisper-1", extra_body={"response_format": form}
        )
    lines = as_text(answer).splitlines()
    if form == "tsv":
        assert lines.pop(0) == "start\tend\ttext"
    said = [line.split("\t")[2] if form == "tsv" else line.split("]")[1] for line in lines]
    assert " ".join(said) == text


def test_silence_is_no_error(client, tmp_path):
    path = tmp_path / "silence.wav"
    with wave.open(str(path), "wb") as w:
        w.setparams((1, 2, 16000, 0, "NONE", ""))
        w.writeframes(bytes(64000))
    answers = {
        form: client.audio.transcriptions.create(file=path, model="whisper-1", response_format=form)
        for form in ("json", "verbose_json", "srt", "vtt", "text")
    }
    assert answers["json"].text == "" and answers["verbose_json"].text == ""
    assert answers["verbose_json"].segments == []
    assert answers["srt"] == "" and answers["vtt"] == "WEBVTT\n\n" and answers["text"] == "\n"


# ---- what is sent, and how ----


@pytest.mark.parametrize("way", ["path", "bytes", "pair", "triple", "memory"])
def test_ways_to_send(client, recording, text, way):
    with open(recording, "rb") as f:
        content = f.read()
    file = {
        "path": pathlib.Path(recording),
        "bytes": content,
        "pair": (NAME, content),
        "triple": ("x.bin", content, "application/octet-stream"),
        "memory": io.BytesIO(content),
    }[way]
    assert client.audio.transcriptions.create(file=file, model="whisper-1").text == text


def test_fields(client, server, recording):
    """All that is known, in the forms the package gives it, and what is not known by name."""
    with open(recording, "rb") as f:
        raw = client.audio.transcriptions.with_raw_response.create(
            file=(NAME, f),
            model="gpt-4o-mini-transcribe",
            language="English",
            prompt="Asterisk, the Open Source PBX.",
            temperature=0.2,
            response_format="verbose_json",
            timestamp_granularities=["word", "segment"],
            chunking_strategy={
                "type": "server_vad",
                "threshold": 0.5,
                "prefix_padding_ms": 300,
                "silence_duration_ms": 500,
            },
            extra_body={
                "hotwords": "Asterisk\nPBX",
                "vad_filter": True,
                "keywords": ["mailbox"],
                "beam_size": 2,
                "colour": "red",
                "diarize": False,
            },
        )
    assert raw.headers["x-otolith-ignored"] == "chunking_strategy[prefix_padding_ms], colour"
    assert raw.headers["x-request-id"] and int(raw.headers["openai-processing-ms"]) > 0
    answer = raw.parse().to_dict()
    assert all(s["temperature"] == pytest.approx(0.2) for s in answer["segments"])
    job = server.job(answer["x_otolith"]["job"])
    assert job["filename"] == NAME and job["priority"] == 1 and job["api"] == "openai"


@needs_curl
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_order_and_coding(server, recording, text, first, chunked):
    fields = ["-F", "model=whisper-1", "-F", "response_format=text"]
    fields += ["-F", "timestamp_granularities=segment"]
    file = ["-F", f"file=@{recording}"]
    done = subprocess.run(
        ["curl", "-sS", "--fail-with-body", *(file + fields if first else fields + file)]
        + (["-H", "Transfer-Encoding: chunked", "-H", "Expect:"] if chunked else [])
        + [server.url + "/v1/audio/transcriptions"],
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == text + "\n"


def test_paths(server, recording, text):
    """Without /v1, and Azure's, by its own client."""
    with openai.OpenAI(base_url=server.url, api_key="any", max_retries=0) as c:
        with open(recording, "rb") as f:
            assert c.audio.transcriptions.create(file=f, model="whisper-1").text == text
    with openai.AzureOpenAI(
        azure_endpoint=server.url, api_version="2024-10-21", api_key="any", max_retries=0
    ) as c:
        with open(recording, "rb") as f:
            assert c.audio.transcriptions.create(file=f, model="whisper-1").text == text
        with open(recording, "rb") as f, pytest.raises(openai.NotFoundError):
            c.audio.transcriptions.create(file=f, model="elsewhere")


# ---- streams ----


def streamed(client, file, **more):
    with open(file, "rb") as f:
        with client.audio.transcriptions.create(
            file=f, model="whisper-1", stream=True, **more
        ) as stream:
            return [event for event in stream]


@pytest.mark.quick
@pytest.mark.parametrize("form", ["json", "text", "verbose_json"])
def test_stream(client, recording, text, form):
    events = streamed(client, recording, response_format=form)
    deltas = [e.delta for e in events if e.type == "transcript.text.delta"]
    assert len(deltas) > 1 and "".join(deltas) == text
    assert events[-1].type == "transcript.text.done" and events[-1].text == text
    assert [e.type for e in events].count("transcript.text.done") == 1
    segments = [e for e in events if e.type == "transcript.text.segment"]
    assert len(segments) == (len(deltas) if form == "verbose_json" else 0)
    for s, delta in zip(segments, deltas):
        assert s.text == delta.strip() and s.start <= s.end and s.speaker == ""
    assert not any(e.type == "otolith.progress" for e in events)


def test_stream_with_progress(client, data):
    events = streamed(
        client, os.path.join(data, "en60.wav"), extra_headers={"x-otolith-progress": "1"}
    )
    told = [e.fraction for e in events if e.type == "otolith.progress"]
    assert told and told == sorted(told) and told[-1] == 1


@needs_curl
def test_stream_on_the_wire(server, recording):
    done = subprocess.run(
        ["curl", "-sSiN", "-F", f"file=@{recording}", "-F", "stream=true"]
        + [server.url + "/v1/audio/transcriptions"],
        capture_output=True,
        check=True,
    )
    head, _, body = done.stdout.decode().partition("\r\n\r\n")
    head = head.lower()
    assert "content-type: text/event-stream; charset=utf-8" in head
    assert "cache-control: no-cache" in head and "x-accel-buffering: no" in head
    frames = body.split("\n\n")
    assert frames.pop() == "" and frames.pop() == "data: [DONE]"
    assert all(f.startswith("data: {") and "\n" not in f for f in frames)


def newest_jobs(server):
    return [job["id"] for job in server.json("/api/v1/jobs?limit=1")["jobs"]]


def newest_job(server):
    return server.job(newest_jobs(server)[0])


@pytest.mark.quick
def test_leaving_a_stream_stops_the_work(client, server, data):
    with open(os.path.join(data, "en.wav"), "rb") as f:
        with client.audio.transcriptions.create(file=f, model="whisper-1", stream=True) as stream:
            assert next(iter(stream)).type == "transcript.text.delta"
            job = newest_job(server)
            assert job["state"] == "running"
    job = server.wait_for(job["id"])
    assert job["state"] == "cancelled" and job["done_ms"] < job["audio_ms"]


def test_failure_in_a_stream(client, server, data):
    """The job is cancelled behind the client's back."""
    with open(os.path.join(data, "en.wav"), "rb") as f:
        with client.audio.transcriptions.create(file=f, model="whisper-1", stream=True) as stream:
            with pytest.raises(openai.APIError, match="cancelled") as caught:
                for event in stream:
                    server.request(f"/api/v1/jobs/{newest_job(server)['id']}/cancel", "POST", b"")
    assert caught.value.code == "cancelled"


# ---- a second try ----


@pytest.mark.quick
def test_retry_joins(client, recording):
    """A try after a lost connection is answered by the first one's job; a new request is not."""

    def ask(retries, temperature):
        with open(recording, "rb") as f:
            return client.audio.transcriptions.create(
                file=(f"{uuid.uuid4()}.wav", f),
                model="whisper-1",
                response_format="verbose_json",
                temperature=temperature,
                extra_headers={"x-stainless-retry-count": str(retries)},
            ).x_otolith["job"]

    first = ask(0, 0)
    assert ask(1, 0) == first and ask(2, 0) == first
    assert ask(0, 0) != first
    assert ask(1, 0.3) != first


def test_retry_joins_a_running_job(server, data):
    """The client gives up, as node does after 300 s, and asks again: the work is done once."""
    path = os.path.join(data, "en.wav")
    more = {"model": "whisper-1", "response_format": "verbose_json"}
    before = newest_jobs(server)
    with client_of(server, timeout=0.7) as c, open(path, "rb") as f:
        with pytest.raises(openai.APITimeoutError):
            c.audio.transcriptions.create(file=f, **more)
    server.wait_until(lambda: newest_jobs(server) != before)
    first = newest_job(server)
    with client_of(server) as c, open(path, "rb") as f:
        answer = c.audio.transcriptions.create(
            file=f, extra_headers={"x-stainless-retry-count": "1"}, **more
        )
    assert answer.x_otolith["job"] == first["id"] and first["state"] in ("queued", "running")
    assert answer.duration == pytest.approx(647.685, abs=0.001)


# ---- models ----


@pytest.mark.quick
def test_models(client, server):
    listed = {m.id: m for m in client.models.list()}
    assert {"whisper-tiny.en", "whisper-1", "gpt-4o-transcribe"} <= listed.keys()
    for m in listed.values():
        assert m.object == "model" and m.owned_by == "otolith" and m.created > 1.7e9
        assert m.to_dict()["task"] == "automatic-speech-recognition"
    assert client.models.retrieve("whisper-tiny.en").id == "whisper-tiny.en"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("openai/whisper-large-v9")
    assert caught.value.code == "model_not_found"


# ---- refusals ----


def refusal(expected, call, status=None, code=None, param=None):
    with pytest.raises(expected) as caught:
        call()
    e = caught.value
    assert type(e) is expected
    assert status is None or e.status_code == status
    assert (e.code, e.param) == (code, param), e
    assert set(e.response.json()["error"]) == {"message", "type", "param", "code"}
    assert e.request_id and e.message
    if e.status_code not in (429, 503):
        assert e.response.headers["x-should-retry"] == "false"
    else:
        assert int(e.response.headers["retry-after"]) > 0
    return e


@pytest.mark.quick
@pytest.mark.parametrize(
    "more,param,code",
    [
        ({"temperature": 1.5}, "temperature", "invalid_value"),
        ({"language": "klingon"}, "language", "invalid_value"),
        ({"language": "zh"}, "language", "invalid_value"),  # an English-only model
        ({"response_format": "xml"}, "response_format", "invalid_value"),
        ({"response_format": "diarized_json"}, "response_format", "unsupported_parameter"),
        ({"response_format": "srt", "stream": "true"}, "response_format", "invalid_value"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities[]", "invalid_value"),
        ({"timestamp_granularities": ["day"]}, "timestamp_granularities[]", "invalid_value"),
        ({"include": ["logprobs"]}, "include[]", "unsupported_parameter"),
        ({"stream": "perhaps"}, "stream", "invalid_value"),
        ({"prompt": "x" * 5000}, "prompt", "invalid_value"),
        ({"beam_size": 9}, "beam_size", "invalid_value"),
        ({"diarize": True}, "diarize", "unsupported_parameter"),
        ({"known_speaker_names": ["A"]}, "known_speaker_names", "unsupported_parameter"),
        ({"chunking_strategy": {"type": "x"}}, "chunking_strategy", "invalid_value"),
        (
            {"chunking_strategy": {"type": "server_vad", "threshold": 7}},
            "chunking_strategy[threshold]",
            "invalid_value",
        ),
    ],
)
def test_bad_fields(client, recording, more, param, code):
    def call():
        with open(recording, "rb") as f:
            client.audio.transcriptions.create(file=f, model="whisper-1", extra_body=more)

    e = refusal(openai.BadRequestError, call, code=code, param=param)
    assert e.type == "invalid_request_error" and param.split("[")[0] in e.message


def test_no_file(client):
    refusal(
        openai.BadRequestError,
        lambda: client.post("/audio/transcriptions", body={"model": "whisper-1"}, cast_to=object),
        code="missing_required_parameter",
        param="file",
    )


def test_translation_needs_a_model_that_can(client, recording):
    def call():
        with open(recording, "rb") as f:
            with pytest.warns(DeprecationWarning):
                client.audio.translations.create(file=f, model="whisper-1")

    refusal(openai.BadRequestError, call, code="unsupported_task", param="model")


def test_not_there(client, recording):
    def call():
        with open(recording, "rb") as f:
            client.audio.transcriptions.create(file=f, model="paraformer")

    refusal(openai.NotFoundError, call, code="model_not_found", param="model")
    refusal(openai.NotFoundError, lambda: client.get("/nowhere", cast_to=object), code="not_found")
    refusal(
        openai.APIStatusError,
        lambda: client.get("/audio/transcriptions", cast_to=object),
        status=405,
        code="method_not_allowed",
    )


@pytest.mark.quick
@pytest.mark.parametrize("name", ["letter.txt", "empty.wav", "picture.png", "no_sound.mp4"])
def test_no_audio(client, data, name):
    def call():
        with open(os.path.join(data, "bad", name), "rb") as f:
            client.audio.transcriptions.create(file=f, model="whisper-1")

    e = refusal(openai.APIStatusError, call, status=415, code="unsupported_audio", param="file")
    assert name in e.message and "/" not in e.message.replace("input/output", "")


@pytest.mark.quick
def test_keys(strict, recording):
    for key in ("wrong", "oto_" + "0" * 64):
        e = refusal(
            openai.AuthenticationError,
            lambda: client_of(strict, key).models.list(),
            code="invalid_api_key",
        )
        assert e.response.headers["www-authenticate"] == "Bearer"
    assert strict.request("/v1/models")[0] == 401
    for headers in ({"X-API-Key": strict.keys[0]}, {"api-key": strict.keys[0]}):
        assert strict.request("/v1/models", headers=headers)[0] == 200
    with open(recording, "rb") as f:
        client_of(strict, strict.keys[0]).audio.transcriptions.create(file=f, model="whisper-1")


@pytest.mark.quick
def test_too_large(strict):
    def call():
        client_of(strict, strict.keys[0]).audio.transcriptions.create(
            file=bytes(40 << 20), model="whisper-1"
        )

    e = refusal(openai.APIStatusError, call, status=413, code="file_too_large")
    assert str(30 << 20) in e.message


def test_too_long(strict, tmp_path):
    path = tmp_path / "long.wav"
    with wave.open(str(path), "wb") as w:
        w.setparams((1, 1, 8000, 0, "NONE", ""))
        w.writeframes(b"\x80" * 8000 * 701)

    def call():
        client_of(strict, strict.keys[0]).audio.transcriptions.create(file=path, model="whisper-1")

    refusal(openai.UnprocessableEntityError, call, code="audio_too_long", param="file")


def test_too_many(strict, data):
    """A stream holds the key's one place until it is left."""
    free, narrow = (client_of(strict, key) for key in strict.keys)
    short = os.path.join(data, "en20.wav")

    def ask(client, path):
        with open(path, "rb") as f:
            return client.audio.transcriptions.create(file=f, model="whisper-1")

    with open(os.path.join(data, "en.wav"), "rb") as f:
        with narrow.audio.transcriptions.create(file=f, model="whisper-1", stream=True) as stream:
            next(iter(stream))
            e = refusal(openai.RateLimitError, lambda: ask(narrow, short), code="rate_limit_exceeded")
            assert e.type == "rate_limit_error"
            ask(free, short)  # others go on


def test_full(strict, recording):
    """With the queue full and nobody working, the next one is told to come later."""
    free = client_of(strict, strict.keys[0])
    kept = strict.processes("worker")
    for pid in kept:
        os.kill(pid, signal.SIGSTOP)
    try:
        strict.key = strict.keys[0]
        assert strict.submit(recording)[0] == 200

        def call():
            with open(recording, "rb") as f:
                free.audio.transcriptions.create(file=f, model="whisper-1")

        e = refusal(openai.InternalServerError, call, status=503, code="overloaded")
        assert e.type == "server_error"
    finally:
        for pid in kept:
            os.kill(pid, signal.SIGCONT)


# ---- the package for node ----


@pytest.mark.quick
@needs_js
def test_js_formats(server, recording, text):
    forms = ["json", "text", "srt", "vtt", "verbose_json"]
    words = {"response_format": "verbose_json", "timestamp_granularities": ["word"]}
    got = js(
        server,
        *({"call": "transcribe", "file": recording, "params": {"response_format": f}} for f in forms),
        {"call": "transcribe", "file": recording, "params": words},
        {"call": "models"},
        {"call": "model", "id": "whisper-1"},
    )
    values = [r["value"] for r in got]
    assert values[0]["text"] == text and values[1] == text + "\n"
    assert values[2].startswith("1\n00:00:0") and values[3].startswith("WEBVTT\n\n00:00:0")
    check_verbose(values[4], text, words=False, segments=True)
    check_verbose(values[5], text, words=True, segments=False)
    assert "whisper-tiny.en" in [m["id"] for m in values[6]] and values[7]["id"] == "whisper-1"


@needs_js
def test_js_ways_to_send(server, recording, text):
    tasks = [
        {"call": "transcribe", "file": recording, "params": {}, "first": first, **way}
        for first in ("file", "parameters")
        for way in ({"as": "stream"}, {"as": "unnamed"}, {"as": "buffer", "name": NAME})
    ]
    assert [r["value"]["text"] for r in js(server, *tasks)] == [text] * len(tasks)


@needs_js
def test_js_streams(server, recording, text, data):
    tasks = [
        {"call": "transcribe", "file": recording, "params": {"response_format": f, "stream": True}}
        for f in ("json", "verbose_json")
    ]
    long = {"call": "transcribe", "file": os.path.join(data, "en.wav"), "params": {"stream": True}}
    got = js(server, *tasks, {**long, "leave": 1})
    for r in got[:2]:
        events = r["value"]
        assert "".join(e.get("delta", "") for e in events) == text
        assert events[-1] == {"type": "transcript.text.done", "text": text}
    assert len(got[2]["value"]) == 1
    assert server.wait_for(newest_job(server)["id"])["state"] == "cancelled"


@needs_js
def test_js_refusals(server, recording, data):
    def task(file=recording, **params):
        return {"call": "transcribe", "file": file, "params": params}

    got = js(
        server,
        task(temperature=2),
        task(model="paraformer"),
        task(os.path.join(data, "bad/letter.txt")),
        {"call": "translate", "file": recording, "params": {}},
    )
    expected = [
        ("BadRequestError", 400, "invalid_value", "temperature"),
        ("NotFoundError", 404, "model_not_found", "model"),
        ("APIError", 415, "unsupported_audio", "file"),
        ("BadRequestError", 400, "unsupported_task", "model"),
    ]
    assert [(r["error"], r["status"], r["code"], r["param"]) for r in got] == expected
    assert all(r["message"] and r["request_id"] for r in got)


@needs_js
def test_js_too_large(strict):
    """20 of 20 see the status, although they are still sending when it is told."""
    upload = {"call": "transcribe", "zeros": 40 << 20, "params": {}}
    got = js(strict, *[upload] * 20, key=strict.keys[0])
    assert [(r.get("status"), r.get("code")) for r in got] == [(413, "file_too_large")] * 20
    (wrong,) = js(strict, {"call": "models"}, key="wrong")
    assert (wrong["error"], wrong["code"]) == ("AuthenticationError", "invalid_api_key")
