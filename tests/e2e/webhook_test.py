"""Webhooks: who is told what, and where they may not lead."""

import hashlib
import hmac
import http.server
import json
import os
import signal
import socket
import threading
import time
import wave

import pytest

from patience import PATIENCE_S, wait_until
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

    def wait_for(self, n):
        wait_until(lambda: len(self.got) >= n)
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
        began = time.time()
        task = submit(server, data, receiver.url)[1]["task_id"]
        _, path, headers, body = receiver.wait_for(1)[0]
        assert path == "/hook?x=1" and headers["Content-Type"] == "application/json"
        assert headers["User-Agent"].startswith("otolith/")
        stamp = headers["X-Otolith-Timestamp"]
        assert int(began) <= int(stamp) <= time.time()
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


def cancel(server, task):
    assert server.call("POST", f"/api/v1/jobs/{task}/cancel")[0] in (200, 202)


def is_open(s):
    """Has the other end not given up?"""
    s.setblocking(False)
    try:
        while s.recv(65536):
            pass
        return False
    except BlockingIOError:
        return True


def test_one_that_never_answers_delays_nobody(start, data):
    """Jobs that nobody works on are cancelled: that is told at once, within the time-out of a try."""
    with socket.create_server(("127.0.0.1", 0)) as silent, Receiver() as receiver:
        with start("--allow-private-webhooks") as server:
            workers = server.processes("worker")
            for pid in workers:
                os.kill(pid, signal.SIGSTOP)
            urls = [f"http://127.0.0.1:{silent.getsockname()[1]}/"] * 3 + [receiver.url]
            tasks = [submit(server, data, url)[1]["task_id"] for url in urls]
            silent.settimeout(PATIENCE_S)
            for task in tasks[:3]:
                cancel(server, task)
            waiting = [silent.accept()[0] for _ in range(3)]
            cancel(server, tasks[3])
            got = receiver.wait_for(1)
            assert json.loads(got[0][3])["job"]["id"] == tasks[3]
            assert all(is_open(s) for s in waiting)
            # Nor do they delay the end: no try is waited for.
            for pid in workers:
                os.kill(pid, signal.SIGCONT)
            server.stop()
            assert "its webhook failed" not in server.text()
            for s in waiting:
                s.close()


def test_cancelled(start, data):
    with Receiver() as receiver, start("--allow-private-webhooks") as server:
        long = submit(server, data, receiver.url, "en.wav")[1]["task_id"]
        cancel(server, long)
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
        private.wait_until(lambda: "its webhook failed" in private.text())
        assert receiver.got == [] and reply["task_id"] in private.text()


@pytest.fixture(scope="module")
def private(models, tmp_path_factory):
    with RestServer(tmp_path_factory.mktemp("private"), "--workers", "1", "--beam", "1") as server:
        yield server
