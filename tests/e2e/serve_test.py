"""The server as its users meet it: uploads good and bad, limits, keys, progress, cancelling, memory,
faults. Real weights, a real socket."""

import hashlib
import http.client
import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time

import pytest

import tool
from patience import PATIENCE_S
from rest import RestServer


@pytest.fixture(scope="module")
def server(models, tmp_path_factory):
    with RestServer(tmp_path_factory.mktemp("serve"), "--cors", "*") as s:
        yield s
        assert not [line for line in s.log if "AddressSanitizer" in line or "runtime error" in line]


def in_data(data, name):
    return os.path.join(data, name)


def wave_head(n):
    """Of n bytes of sound: 768 a millisecond, so that many are soon heard."""
    return struct.pack(
        "<4sI8sIHHIIHH4sI", b"RIFF", n + 36, b"WAVEfmt ", 16, 1, 2, 96000, 768000, 8, 32, b"data", n
    )


def pieces(body):
    """As http.client sends it chunked."""
    return (body[i : i + 7001] for i in range(0, len(body), 7001))


@pytest.mark.quick
def test_job_from_upload_to_text(server, data):
    status, reply = server.submit(in_data(data, "en20.wav"), language="en")
    assert status == 200 and len(reply["task_id"]) == 8
    assert reply["status"] == "queued" and reply["position"] >= 0
    result = server.wait_for_result(reply["task_id"])
    assert result["status"] == "done" and result["error"] is None
    assert tool.errors(tool.read(data, "en20.txt"), result["text"]) <= 6
    assert 20 < result["duration"] < 30 and result["progress"] == 100
    assert result["memory"]["peak_mb"] > 0 and result["segments"]
    status, history = server.get_json("/api/v1/asr/history")
    assert history["records"][0]["task_id"] == reply["task_id"]
    assert history["records"][0]["status"] == "success"
    # The bytes come back as they went in, whole and in part.
    with open(in_data(data, "en20.wav"), "rb") as f:
        sent = f.read()
    assert server.call("GET", result["audio_url"])[1] == sent
    status, part, headers = server.call(
        "GET", result["audio_url"], headers={"Range": "bytes=100-199"}
    )
    assert (status, part) == (206, sent[100:200])
    assert headers["content-range"] == f"bytes 100-199/{len(sent)}"
    status, _, headers = server.call(
        "GET", result["audio_url"], headers={"Range": "bytes=99999999-"}
    )
    assert status == 416
    # Gone is gone.
    status, reply = server.call_json("DELETE", f"/api/v1/asr/task/{reply['task_id']}")
    assert reply["deleted"] is True
    assert server.get_json(f"/api/v1/asr/result/{reply['task_id']}")[0] == 404
    assert server.call_json("DELETE", f"/api/v1/asr/task/{reply['task_id']}")[1]["deleted"] is False


@pytest.mark.quick
@pytest.mark.parametrize(
    "name, content, status, reason",
    [
        ("empty.wav", b"", 415, "empty (0 bytes)"),
        ("picture.mp3", b"\x89PNG\r\n\x1a\n" + bytes(4000), 415, ""),
        ("notes.txt", b"hello", 400, "Invalid file format"),
        ("noise.wav", b"RIFF\x00\x00\x00\x00WAVEfmt " + bytes(8), 415, ""),
    ],
)
def test_what_holds_no_sound_is_refused(server, tmp_path, name, content, status, reason):
    path = tmp_path / name
    path.write_bytes(content)
    got, reply = server.submit(str(path))
    assert got == status, reply
    assert reason in reply["detail"]
    assert str(server.data) not in json.dumps(reply)


@pytest.mark.quick
def test_requests_that_make_no_sense(server):
    for method, path, status in [
        ("GET", "/nowhere", 404),
        ("PUT", "/api/v1/asr/submit", 405),
        ("GET", "/api/v1/asr/result/00000000", 404),
        ("GET", "/api/v1/asr/result/*", 404),
        ("GET", "/api/v1/asr/result/..%2f..%2fotolith.db", 404),
        ("GET", "/api/v1/asr/audio/*", 404),
        ("GET", "/api/v1/asr/history?limit=0", 422),
        ("GET", "/api/v1/asr/history?limit=200", 422),
        ("GET", "/api/v1/asr/history?limit=x", 422),
        ("POST", "/api/v1/asr/submit", 422),
        ("POST", "/api/v1/asr/retry/00000000", 404),
        ("GET", "/api/v1/jobs?state=lost", 400),
        ("GET", "/api/v1/jobs/zz", 404),
    ]:
        got, reply = server.call_json(method, path)
        assert got == status, (method, path, got, reply)
        assert "detail" in reply


@pytest.mark.quick
@pytest.mark.parametrize(
    "text",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /api/v1/asr/submit HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /api/v1/asr/submit HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /api/v1/asr/submit HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"ffffffffffffffffff\r\n",
        b"POST /api/v1/asr/submit HTTP/1.1\r\nContent-Type: multipart/form-data\r\n"
        b"Content-Length: 4\r\n\r\nabcd",
        b"POST /api/v1/asr/submit HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: 40\r\n\r\n--x\r\nContent-Disposition: form-data\r\n\r\n",
        b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X-Long: " + b"b" * 20000 + b"\r\n\r\n",
        bytes(range(256)) * 10,
    ],
)
def test_malformed_requests_hurt_nobody(server, text):
    before = server.processes("gateway")
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as s:
        s.sendall(text)
        s.settimeout(2)  # the server may well wait for more
        try:
            while s.recv(4096):
                pass
        except OSError:
            pass
    assert server.get_json("/health")[1]["status"] == "ready"
    assert server.processes("gateway") == before


@pytest.mark.quick
def test_offer_to_upgrade_is_passed_over(server, data):
    """Java's client asks for h2c with every request; HTTP/1.1 goes on (RFC 9110, 7.8)."""
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAA"}
    assert server.call("GET", "/health", headers=offer)[0] == 200
    with open(in_data(data, "en20.wav"), "rb") as f:
        body, kind = server.form({}, ("audio", "en20.wav", f.read()))
    status, reply = server.call_json(
        "POST", "/api/v1/asr/submit", body=body, headers={**offer, "Content-Type": kind}
    )
    assert status == 200
    assert server.wait_for_result(reply["task_id"])["status"] == "done"


@pytest.mark.quick
def test_chunked_upload(server, data):
    with open(in_data(data, "en20.wav"), "rb") as f:
        body, kind = server.form({"language": "en"}, ("audio", "会议.wav", f.read()))
    c = server.connect()
    c.request("POST", "/api/v1/asr/submit", pieces(body), {"Content-Type": kind})
    reply = json.loads(c.getresponse().read())
    result = server.wait_for_result(reply["task_id"])
    assert result["status"] == "done" and result["filename"] == "会议.wav"


def test_chunked_upload_of_more_than_the_library_knows(server):
    """libwebsockets 4.1 takes a body without length for one of 100 MiB. Every part differs, all are silence."""
    n, part = 120 << 20, b"".join(bytes([i, 0, 0, 0]) for i in range(128)) * 2048
    head = wave_head(n)
    frame, kind = server.form({}, ("audio", "long.wav", b"|"))
    sent = hashlib.sha256()

    def body():
        before, after = frame.split(b"|")
        yield before
        for i in range(-1, n // len(part)):
            piece = head if i < 0 else struct.pack("<H", i) + part[2:]
            sent.update(piece)
            yield piece
        yield after

    c = server.connect()
    c.request("POST", "/api/v1/asr/submit", body(), {"Content-Type": kind})
    response = c.getresponse()
    reply = json.loads(response.read())
    assert response.status == 200, reply
    status, kept, _ = server.call("GET", f"/api/v1/asr/audio/{reply['task_id']}")
    assert status == 200 and len(kept) == n + len(head)
    assert hashlib.sha256(kept).digest() == sent.digest()
    result = server.wait_for_result(reply["task_id"])
    assert result["status"] == "done" and abs(result["duration"] - n / 768000) < 0.01
    assert server.call("DELETE", f"/api/v1/asr/task/{reply['task_id']}")[0] == 200


def test_a_chunked_upload_may_pause_and_break(server, data):
    with open(in_data(data, "en20.wav"), "rb") as f:
        body, kind = server.form({}, ("audio", "a.wav", f.read()))
    request = (
        "POST /api/v1/asr/submit HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        f"Content-Type: {kind}\r\n\r\n"
    ).encode()

    def chunk(part):
        return b"%x\r\n%s\r\n" % (len(part), part)

    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as s:
        for part in (request, b"0", b"3", b"e8\r\n" + body[:1000] + b"\r", b"\n"):
            s.sendall(part)
            time.sleep(0.2)
        s.sendall(chunk(body[1000:]) + b"0\r\n\r\n")
        assert s.recv(12) == b"HTTP/1.1 200"
    for last in (b"zz\r\n", b""):  # nonsense, the end
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as s:
            s.sendall(request)
            time.sleep(0.2)
            s.sendall(chunk(body[:1000]) + last)
            if not last:
                s.shutdown(socket.SHUT_WR)
            assert s.recv(12) == (b"HTTP/1.1 400" if last else b"")

    def only_recordings_stay():
        return not [f for f in os.listdir(os.path.join(server.data, "spool")) if ".part" in f]

    server.wait_until(only_recordings_stay)


def raw_upload(server, data, path="/api/v1/asr/submit", field="audio"):
    """A request as it goes over the wire, with a length."""
    with open(in_data(data, "en20.wav"), "rb") as f:
        body, kind = server.form({}, (field, "a.wav", f.read(20000)))
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def exchange(server, *parts, pause_s=0.2):
    """All that is answered until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as s:
        for part in parts:
            s.sendall(part)
            time.sleep(pause_s)
        got = b""
        try:
            while block := s.recv(1 << 16):
                got += block
        except ConnectionResetError:
            pass
    return got


GET = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


def test_an_upload_behind_another_request_is_not_taken(server, data):
    """Together in one packet. libwebsockets 4.1 hung for ever in such a one, and every client with it."""
    before = server.processes("gateway")
    upload = raw_upload(server, data)
    chunked = (
        b"POST /api/v1/asr/submit HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
        b"Content-Type: audio/wav\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    for first, answers in ((GET, 1), (GET * 3, 3), (upload, 1)):
        for second in (upload, chunked):
            got = exchange(server, first + second)
            assert got.count(b"HTTP/1.1 200") == got.count(b"HTTP/1.1 ") == answers
    # One after the other they may share a connection.
    c = server.connect()
    body = upload.split(b"\r\n\r\n", 1)[1]
    kind = upload.split(b"Content-Type: ")[1].split(b"\r\n")[0].decode()
    for _ in range(3):
        for method, path, sent in (("GET", "/health", None), ("POST", "/api/v1/asr/submit", body)):
            c.request(method, path, sent, {"Content-Type": kind})
            sock = c.sock
            assert c.getresponse().read() and c.sock is sock
    assert server.processes("gateway") == before


def test_lengths_that_contradict_each_other(server, data):
    """The library would end the body after 5000 bytes, in some packets; a GET's it does not hand over."""
    with open(in_data(data, "en20.wav"), "rb") as f:
        sound = f.read(20000)
    request = (
        b"POST /api/v1/asr/submit?filename=a.wav HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\n"
        b"Transfer-Encoding: chunked\r\nContent-Length: 5000\r\n\r\n"
    )
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(sound), sound)
    assert exchange(server, request + body).startswith(b"HTTP/1.1 400")
    assert exchange(server, request, body).startswith(b"HTTP/1.1 400")
    get = b"GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    for parts in ((get + b"3\r\nabc\r\n0\r\n\r\n",), (get, b"3\r\nabc\r\n0\r\n\r\n")):
        assert exchange(server, *parts).startswith(b"HTTP/1.1 200")


def test_a_request_that_waits_costs_nothing(server, data):
    """Whatever its client does: sends more, closes, or half of that."""
    gateway = server.processes("gateway")[0]

    def used_s():
        with open(f"/proc/{gateway}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    workers = server.processes("worker")
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        task = server.submit(in_data(data, "en20.wav"))[1]["task_id"]
        events = f"GET /api/v1/jobs/{task}/events HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        upload = raw_upload(server, data, "/v1/audio/transcriptions", "file")
        open_still = []
        for request in (events, upload):
            for act in (lambda s: s.sendall(GET), lambda s: s.shutdown(socket.SHUT_WR), socket.socket.close):
                s = socket.create_connection(("127.0.0.1", server.port), PATIENCE_S)
                s.sendall(request)
                time.sleep(0.3)
                before = used_s()
                act(s)
                open_still.append(s)
                time.sleep(2)
                assert used_s() - before < 0.5
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    # What came behind is answered in its turn.
    for s in (open_still[0], open_still[3]):
        got = b""
        while got.count(b"HTTP/1.1 200") < 2:
            block = s.recv(1 << 16)
            assert block, got
            got += block
        s.close()
    for s in open_still:
        s.close()
    server.wait_for_result(task)


def test_what_was_arriving_goes_with_its_gateway(server, data):
    def parts():
        return [f for f in os.listdir(os.path.join(server.data, "spool")) if f.endswith(".part")]

    upload = raw_upload(server, data)
    with socket.create_connection(("127.0.0.1", server.port), PATIENCE_S) as s:
        s.sendall(upload[:10000])
        server.wait_until(parts)
        os.kill(server.processes("gateway")[0], signal.SIGKILL)
        server.wait_until(server.ready)
    assert not parts()


@pytest.mark.quick
def test_refused_upload_is_read_to_the_answer(models, tmp_path):
    with RestServer(tmp_path / "data", "--max-upload", "1M") as server:
        body, kind = server.form({}, ("audio", "long.wav", bytes(40 << 20)))
        for _ in range(10):
            c = server.connect()
            c.request("POST", "/api/v1/asr/submit", body, {"Content-Type": kind})
            response = c.getresponse()
            assert response.status == 413 and b"limit" in response.read()
        for _ in range(10):
            c = server.connect()
            c.request("POST", "/api/v1/asr/submit", pieces(body), {"Content-Type": kind})
            response = c.getresponse()
            assert response.status == 413 and b"limit" in response.read()
        assert not os.listdir(os.path.join(server.data, "spool"))


def read_slowly(response, bytes_each, times):
    content = b""
    for _ in range(times):
        content += response.read(bytes_each)
        time.sleep(1)
    return content + response.read()


def test_longer_than_half_a_minute(server, data):
    """The HTTP library closes a GET after 30 s, be it that its job waits or that its answer is long, and
    a request whose body it takes for unfinished, as all that are chunked. A worker hangs after 60."""
    sound = wave_head(24 << 20) + bytes(24 << 20)
    body, kind = server.form({}, ("audio", "silence.wav", sound))
    sent = {"body": body, "headers": {"Content-Type": kind}}
    long = server.call_json("POST", "/api/v1/asr/submit", **sent)[1]["task_id"]
    server.wait_for_result(long)
    with open(in_data(data, "en20.wav"), "rb") as f:
        body, kind = server.form({"model": "whisper-1"}, ("file", "a.wav", f.read()))
    workers = server.processes("worker")
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        task = server.submit(in_data(data, "en20.wav"))[1]["task_id"]
        c = server.connect()
        c.request("GET", f"/api/v1/jobs/{task}/events")
        response = c.getresponse()
        others = [server.connect(), server.connect()]
        for other, parts in zip(others, (pieces(body), iter([body]))):
            other.request("POST", "/v1/audio/transcriptions", parts, {"Content-Type": kind})
        slow = server.connect()
        slow.request("GET", f"/api/v1/asr/audio/{long}")
        assert read_slowly(slow.getresponse(), 512 << 10, 40) == sound
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    events = [json.loads(line[6:]) for line in response if line.startswith(b"data: ")]
    assert events[-1]["type"] == "end" and events[-1]["state"] == "done"
    for other in others:
        assert json.loads(other.getresponse().read())["text"]


def test_progress_and_cancel(server, data):
    status, reply = server.submit(in_data(data, "en.wav"), language="en")
    task = reply["task_id"]
    events = []
    c = server.connect()
    c.request("GET", f"/api/v1/jobs/{task}/events")
    response = c.getresponse()
    assert response.getheader("content-type").startswith("text/event-stream")
    while not any(e["type"] == "segment" for e in events):
        line = response.readline()
        assert line, events
        if line.startswith(b"data: "):
            events.append(json.loads(line[6:]))
    partial = server.get_json(f"/api/v1/asr/result/{task}")[1]
    assert partial["status"] == "processing" and partial["partial_text"]
    assert 0 <= partial["progress"] < 100
    assert server.call_json("POST", f"/api/v1/jobs/{task}/cancel")[0] == 200
    for line in response:
        if line.startswith(b"data: "):
            events.append(json.loads(line[6:]))
        elif line.startswith(b"id: "):
            last = line[4:].decode().strip()
    assert events[-1]["type"] == "end" and events[-1]["state"] == "cancelled"
    told = sum(e["type"] == "segment" for e in events)
    assert last == f"0-{told}-end"
    assert server.wait_for_result(task)["status"] == "failed"
    # By hand it runs again, to its end.
    assert server.call_json("POST", f"/api/v1/asr/retry/{task}")[0] == 200
    assert server.call_json("POST", f"/api/v1/asr/retry/{task}")[0] == 400
    c.request("GET", f"/api/v1/jobs/{task}/events", headers={"Last-Event-ID": last})
    response = c.getresponse()
    lines = list(response)
    events = [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]
    assert events[0] == {"type": "restart", "restarts": 1}
    numbers = [e["number"] for e in events if e["type"] == "segment"]
    assert numbers == list(range(len(numbers))) and len(numbers) >= told
    last = [line for line in lines if line.startswith(b"id: ")][-1][4:].decode().strip()
    assert server.wait_for_result(task)["status"] == "done"
    c.request("GET", f"/api/v1/jobs/{task}/events", headers={"Last-Event-ID": last})
    assert c.getresponse().status == 204


def test_a_follower_is_told_that_its_job_begins_anew(models, data, tmp_path):
    """Half done under other settings: what was told is void, and comes again under the same numbers."""
    with RestServer(tmp_path / "data", "--drain", "0", "--beam", "1") as server:
        task = server.submit(in_data(data, "en.wav"), language="en")[1]["task_id"]
        c = server.connect()
        c.request("GET", f"/api/v1/jobs/{task}/events")
        last = ""
        for line in c.getresponse():
            if line.startswith(b"id: "):
                last = line[4:].decode().strip()
            if line.startswith(b"data: ") and json.loads(line[6:])["type"] == "segment":
                break
        server.stop()
        assert last == "0-1"
        server.options[-1] = "2"
        server.start()
        c = server.connect()
        c.request("GET", f"/api/v1/jobs/{task}/events", headers={"Last-Event-ID": last})
        events = [json.loads(line[6:]) for line in c.getresponse() if line.startswith(b"data: ")]
        types = [e["type"] for e in events]
        assert types.count("restart") == 1 and types[-1] == "end"
        told = [e for e in events[types.index("restart") :] if e["type"] == "segment"]
        assert [e["number"] for e in told] == list(range(len(told)))
        kept = server.result(task)["segments"]
        assert [e["text"].strip() for e in told] == [s["text"].strip() for s in kept]
        assert server.get_json(f"/api/v1/jobs/{task}")[1]["restarts"] == 1


def test_short_before_long(server, data):
    """A short recording gets its turn while a long one runs."""
    long = server.submit(in_data(data, "en.wav"), language="en")[1]["task_id"]
    server.wait_for_result(long, ("processing",))
    short = server.submit(in_data(data, "en20.wav"), language="en")[1]["task_id"]
    assert server.wait_for_result(short)["status"] == "done"
    assert server.get_json(f"/api/v1/asr/result/{long}")[1]["status"] == "processing"
    assert server.wait_for_result(long)["status"] == "done"


@pytest.mark.quick
def test_idempotency(server, data):
    one = server.submit(in_data(data, "en20.wav"), idempotency_key="a")[1]["task_id"]
    assert server.submit(in_data(data, "en20.wav"), idempotency_key="a")[1]["task_id"] == one
    assert server.submit(in_data(data, "en20.wav"), idempotency_key="b")[1]["task_id"] != one


def test_keys(models, data, tmp_path):
    folder = tmp_path / "data"
    added = tool.good("keys", "add", "--name", "test", "--max-jobs", "1", "--data", folder)
    key = next(word for word in added.out.split() if word.startswith("oto_"))
    with RestServer(folder, key=key) as server:
        for headers in ({}, {"Authorization": "Bearer oto_wrong"}, {"X-API-Key": "x"}):
            status, _, got = server.call("GET", "/api/v1/asr/history", headers=headers, keyless=True)
            assert status == 401 and got["www-authenticate"] == "Bearer"
        assert server.call("GET", "/health", keyless=True)[0] == 200
        for name in ("X-API-Key", "api-key"):
            assert server.call("GET", "/api/v1/stats", headers={name: key}, keyless=True)[0] == 200
        with open(in_data(data, "en.wav"), "rb") as f:
            body, kind = server.form({}, ("audio", "en.wav", f.read()))
        sent = {"body": pieces(body), "headers": {"Content-Type": kind}}
        assert server.call("POST", "/api/v1/asr/submit", **sent)[0] == 200
        status, _, got = server.submit_full(in_data(data, "en20.wav"))
        assert status == 429 and int(got["retry-after"]) > 0
        listed = tool.good("keys", "list", "--data", folder).out
        assert "test" in listed and key not in listed
        tool.good("keys", "revoke", listed_id(listed), "--data", folder)
        # The last key is gone, but the door does not open by that.
        server.wait_until(lambda: server.call("GET", "/api/v1/stats")[0] == 401)


def listed_id(text):
    return next(line.split()[0] for line in text.splitlines() if "test" in line)


def test_tls(models, data, tmp_path):
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert],
        check=True, capture_output=True,
    )
    with RestServer(tmp_path / "data", "--tls-cert", cert, "--tls-key", key) as server:
        context = ssl.create_default_context(cafile=cert)
        c = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=PATIENCE_S, context=context)
        with open(in_data(data, "en20.wav"), "rb") as f:
            body, kind = server.form({}, ("audio", "a.wav", f.read()))
        c.request("POST", "/api/v1/asr/submit", pieces(body), {"Content-Type": kind})
        sent = c.getresponse()
        assert sent.status == 200 and sent.getheader("connection") == "close"
        sent.read()
        c.request("POST", "/api/v1/asr/submit", body, {"Content-Type": kind})
        task = json.loads(c.getresponse().read())["task_id"]

        def done():
            c.request("GET", f"/api/v1/asr/result/{task}")
            return json.loads(c.getresponse().read())["status"] == "done"

        server.wait_until(done)
        out = subprocess.run(
            ["curl", "-s", "--cacert", cert, "-w", "\n%{http_version} %{http_code}",
             "-F", f"file=@{in_data(data, 'en20.wav')}", "-F", "model=whisper-1",
             f"https://127.0.0.1:{server.port}/v1/audio/transcriptions"],
            capture_output=True, check=True, text=True,
        ).stdout
        assert out.splitlines()[-1] == "1.1 200"
        assert "text" in json.loads(out.splitlines()[0])


def test_burst(models, data, tmp_path):
    """Many at once: all are taken and all are done; health answers meanwhile."""
    n = 500 if tool.LONG else 60
    with RestServer(tmp_path / "data") as server:
        replies, stop, slow = [], threading.Event(), []

        def health():
            while not stop.is_set():
                assert server.get_json("/health")[0] == 200
                time.sleep(0.01)

        def one():
            replies.append(server.submit(in_data(data, "formats/opus.ogg"), language="en"))

        watcher = threading.Thread(target=health)
        watcher.start()
        threads = [threading.Thread(target=one) for _ in range(n)]
        [t.start() for t in threads]
        [t.join() for t in threads]
        assert [r[0] for r in replies] == [200] * n
        texts = {server.wait_for_result(r[1]["task_id"])["text"] for r in replies}
        stop.set()
        watcher.join()
        assert len(texts) == 1 and texts.pop()
        status = server.get_json("/api/v1/asr/queue/status")[1]
        assert (status["queued"], status["processing"], status["failed"]) == (0, 0, 0)


@pytest.mark.quick
def test_full_queue(models, data, tmp_path):
    with RestServer(tmp_path / "data", "--max-queue", "2") as server:
        for p in server.processes("worker"):
            os.kill(p, signal.SIGSTOP)
        answers = [server.submit_full(in_data(data, "en20.wav")) for _ in range(4)]
        assert [a[0] for a in answers] == [200, 200, 503, 503]
        assert int(answers[-1][2]["retry-after"]) > 0
        assert "overloaded" in json.dumps(answers[-1][1])
        for p in server.processes("worker"):
            os.kill(p, signal.SIGCONT)
        for a in answers[:2]:
            assert server.wait_for_result(a[1]["task_id"])["status"] == "done"


def test_poison_goes_to_the_dead_letters(models, data, tmp_path):
    """A recording in whose company the worker crashes twice is set aside; the others are done."""
    with RestServer(tmp_path / "data", "--workers", "1") as server:
        poison = server.submit(in_data(data, "en.wav"), language="en")[1]["task_id"]
        for n in (1, 2):
            server.wait_for_result(poison, ("processing",))
            time.sleep(0.5)
            for p in server.processes("worker"):
                os.kill(p, signal.SIGSEGV)
            server.wait_until(lambda: server.job(poison)["crashes"] == n)
        assert server.wait_for_result(poison)["status"] == "failed"
        assert server.get_json(f"/api/v1/jobs/{poison}")[1]["state"] == "dead"
        other = server.submit(in_data(data, "en20.wav"), language="en")[1]["task_id"]
        assert server.wait_for_result(other)["status"] == "done"


def test_memory_is_level(models, data, tmp_path):
    with RestServer(tmp_path / "data", "--workers", "1") as server:
        after = []
        for _ in range(8):
            task = server.submit(in_data(data, "en60.wav"), language="en")[1]["task_id"]
            after.append(server.wait_for_result(task)["memory"]["after_mb"])
        assert after[-1] - after[0] < 0.5 * (len(after) - 1), after
        assert after[-1] - after[2] < 1.0, after


def test_stops_cleanly(models, data, tmp_path):
    """SIGTERM in the middle of a job: it is handed back and finished after the next start."""
    with RestServer(tmp_path / "data", "--drain", "0") as server:
        task = server.submit(in_data(data, "en.wav"), language="en")[1]["task_id"]
        server.wait_for_result(task, ("processing",))
        server.stop()
        server.start()
        assert server.wait_for_result(task)["status"] == "done"
        job = server.get_json(f"/api/v1/jobs/{task}")[1]
        assert job["crashes"] == 0


@pytest.mark.quick
def test_damaged_database_is_left_alone(models, tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    for content in (b"not a database at all", b"SQLite format 3\0" + bytes(4000)):
        (folder / "otolith.db").write_bytes(content)
        result = tool.run("serve", "--listen", "127.0.0.1:0", "--data", folder, "-m",
                          "whisper-tiny.en", timeout=PATIENCE_S)
        assert result.status not in (0, 1), result.err
        assert "otolith.db" in result.err
        assert (folder / "otolith.db").read_bytes() == content


def test_second_server_on_the_same_data(models, tmp_path):
    with RestServer(tmp_path / "data") as server:
        result = tool.run("serve", "--listen", "127.0.0.1:0", "--data", server.data, "-m",
                          "whisper-tiny.en", timeout=PATIENCE_S)
        assert result.status not in (0, 1) and "in use" in result.err, result.err


@pytest.mark.quick
def test_public_address_needs_keys(models, tmp_path):
    result = tool.run("serve", "--listen", "0.0.0.0:0", "--data", tmp_path / "data", "-m",
                      "whisper-tiny.en", timeout=PATIENCE_S)
    assert result.status == 2 and "keys add" in result.err, result.err


@pytest.mark.quick
def test_names_that_are_no_utf8(server, data):
    with open(in_data(data, "en20.wav"), "rb") as f:
        body, kind = server.form({}, ("audio", "NAME.wav", f.read()))
    headers = {"Content-Type": kind}
    body = body.replace(b"NAME", b"\xff\xfe\xc3")
    status, reply = server.call_json("POST", "/api/v1/asr/submit", body=body, headers=headers)
    assert status == 200
    assert server.wait_for_result(reply["task_id"])["filename"].endswith(".wav")
    assert server.get_json("/api/v1/asr/history")[0] == 200
    assert server.get_json("/api/v1/jobs")[0] == 200
    status, reply = server.call_json(
        "POST", "/api/v1/asr/submit?language=%ff%fe", body=body, headers=headers
    )
    assert status == 400 and "language" in reply["detail"]
    assert server.call_json("DELETE", "/api/v1/asr/task/%ff%fe")[1]["deleted"] is False
