"""Webhooks: who is told what, and where they may not lead."""

import hashlib
import hmac
import http.server
import json
import os
import socket
import threading
import time
import wave

import pytest

from rest import RestServer

SECRET = "a shared secret"


class Receiver(http.server.ThreadingHTTPServer):
    """Remembers what it gets; answers with `statuses` in turn, the last for ever."""

    daemon_threads = True

    def __init__(self, *statuses):
        self.statuses = list(statuses) or [200]
        self.got = []
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *why):
        self.shutdown()
        self.server_close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/hook?x=1"

    def wait_for(self, n, timeout=60):
        until = time.monotonic() + timeout
        while len(self.got) < n:
            assert time.monotonic() < until, self.got
            time.sleep(0.02)
        return self.got


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((time.monotonic(), self.path, dict(self.headers.items()), body))
        statuses = self.server.statuses
        status = statuses.pop(0) if len(statuses) > 1 else statuses[0]
        self.send_response(status)
        if status // 100 == 3:
            self.send_header("location", "/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture
def start(models, tmp_path):
    def starting(*options):
        return RestServer(tmp_path / "data", "--workers", "1", "--beam", "1",
                          "--webhook-secret", SECRET, *options)

    return starting


def submit(server, data, url, name="en20.wav"):
    return server.submit(os.path.join(data, name), language="en", callback_url=url)


def test_told_once_and_signed(start, data):
    with Receiver() as receiver, start("--allow-private-webhooks") as server:
        task = submit(server, data, receiver.url)[1]["task_id"]
        _, path, headers, body = receiver.wait_for(1)[0]
        assert path == "/hook?x=1" and headers["Content-Type"] == "application/json"
        assert headers["User-Agent"].startswith("otolith/")
        stamp = headers["X-Otolith-Timestamp"]
        assert abs(int(stamp) - time.time()) < 60
        digest = hmac.new(SECRET.encode(), stamp.encode() + b"." + body, hashlib.sha256).hexdigest()
        assert headers["X-Otolith-Signature"] == "sha256=" + digest
        told = json.loads(body)
        assert told["event"] == "job.done"
        assert told["job"]["id"] == task and told["job"]["status"] == "done"
        assert told["job"]["filename"] == "en20.wav" and told["job"]["error"] is None
        with wave.open(os.path.join(data, "en20.wav")) as f:
            length = f.getnframes() / f.getframerate()
        assert abs(told["job"]["duration"] - length) < 0.1
        text = server.call("GET", f"/api/v1/jobs/{task}/transcript?format=txt")[1]
        assert told["job"]["text"].split() == text.decode().split()
        time.sleep(2.5)
        assert len(receiver.got) == 1


def test_told_again_after_a_failure(start, data):
    """Neither an error nor a redirection is an answer; the redirection is not followed."""
    with Receiver(500, 200) as failing, Receiver(302, 204) as moved:
        with start("--allow-private-webhooks") as server:
            submit(server, data, failing.url)
            submit(server, data, moved.url)
            for receiver in (failing, moved):
                first, second = receiver.wait_for(2)[:2]
                assert second[0] - first[0] > 4.5
                assert second[1] == "/hook?x=1" and second[3] == first[3]


def test_told_after_a_restart(start, data):
    """Whoever could not be told before the server was killed is told by the next one."""
    with Receiver() as receiver, start("--allow-private-webhooks") as server:
        receiver.statuses = [503]
        submit(server, data, receiver.url)
        receiver.wait_for(1)
        server.kill_supervisor()
        receiver.statuses = [200]
        server.start()
        receiver.wait_for(2)


def test_one_that_never_answers_delays_nobody(start, data):
    with socket.create_server(("127.0.0.1", 0)) as silent, Receiver() as receiver:
        with start("--allow-private-webhooks") as server:
            for _ in range(3):
                submit(server, data, f"http://127.0.0.1:{silent.getsockname()[1]}/")
            task = submit(server, data, receiver.url)[1]["task_id"]
            silent.settimeout(60)
            waiting = [silent.accept()[0] for _ in range(3)]
            got = receiver.wait_for(1, 8)  # less than the time-out of the others
            assert json.loads(got[0][3])["job"]["id"] == task
            # Nor do they delay the end.
            began = time.monotonic()
            server.stop()
            assert time.monotonic() - began < 5
            for s in waiting:
                s.close()


def test_cancelled(start, data):
    with Receiver() as receiver, start("--allow-private-webhooks") as server:
        long = submit(server, data, receiver.url, "en.wav")[1]["task_id"]
        status = server.call("POST", f"/api/v1/jobs/{long}/cancel")[0]
        assert status in (200, 202)
        told = json.loads(receiver.wait_for(1)[0][3])
        assert told["event"] == "job.cancelled" and told["job"]["status"] == "cancelled"
        assert "text" not in told["job"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://localhost/", "http://[::1]/",
                                 "http://169.254.169.254/", "ftp://example.org/", "nonsense"])
def test_refused_at_the_door(private, data, url):
    status, reply = submit(private, data, url)
    assert status == 400 and "callback_url" in json.dumps(reply)


def test_name_that_leads_here(private, data):
    """No name in the request tells where it leads; the address does."""
    with Receiver() as receiver:
        url = f"http://{socket.gethostname()}:{receiver.server_port}/"
        try:
            address = socket.gethostbyname(socket.gethostname())
        except OSError:
            pytest.skip("this machine's name has no address")
        if not address.startswith("127."):
            pytest.skip("this machine's name does not lead to itself")
        status, reply = submit(private, data, url)
        assert status == 200
        until = time.monotonic() + 60
        while "its webhook failed" not in private.text():
            assert time.monotonic() < until
            time.sleep(0.05)
        assert receiver.got == [] and reply["task_id"] in private.text()


@pytest.fixture(scope="module")
def private(models, tmp_path_factory):
    with RestServer(tmp_path_factory.mktemp("private"), "--workers", "1", "--beam", "1") as server:
        yield server
