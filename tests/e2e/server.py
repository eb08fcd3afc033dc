"""A running server for tests: `otolith serve` on a free port with a data folder of its own."""

import json
import os
import signal
import subprocess
import threading
import urllib.error
import urllib.request

import tool
from patience import PATIENCE_S, wait_until


class Server:
    """with Server(folder, "--workers", "1") as s: … s.url …; the same port after a restart."""

    def __init__(self, data, *options, model="whisper-tiny.en", env=None):
        self.data = str(data)
        self.options = [str(o) for o in options]
        self.model = model
        self.env = {
            **os.environ,
            "OTOLITH_MODELS": tool.MODELS,
            "OTOLITH_OFFLINE": "1",
            **(env or {}),
        }
        self.listen = "127.0.0.1:0"
        self.process = None
        self.url = None
        self.log = []  # lines of stderr, of all starts

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *why):
        if self.process is not None:
            self.stop(check=False)

    def start(self):
        """Returns when the server has said where it listens."""
        listening = threading.Event()
        self.process = subprocess.Popen(
            [tool.OTOLITH, "serve", "--listen", self.listen, "--data", self.data]
            + ["-m", self.model, *self.options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=self.env,
            start_new_session=True,
        )
        self.reader = threading.Thread(
            target=self._read, args=(self.process.stderr, listening), daemon=True
        )
        self.reader.start()
        wait_until(lambda: listening.is_set() or self.process.poll() is not None)
        if not listening.is_set():
            self.kill()
            raise AssertionError("the server did not start:\n" + self.text())
        return self

    def _read(self, stderr, listening):
        for line in stderr:
            line = line.decode("utf-8", "replace").rstrip("\n")
            self.log.append(line)
            if "listening on http" in line:
                address = line.split("listening on ")[1].split()[0].rstrip("/")
                self.url = address
                self.listen = address.split("://")[1]
                listening.set()

    def text(self):
        return "\n".join(self.log)

    @property
    def pid(self):
        return self.process.pid

    def stop(self, check=True):
        """SIGTERM; waits for the end. check: it has to be clean."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            status = None
        self._clear()
        if check:
            assert status == 0, f"exit status {status} after SIGTERM:\n{self.text()}"

    def kill(self):
        """SIGKILL to the supervisor and to whatever it has started."""
        self.process.kill()
        self.process.wait()
        self._clear()

    def _clear(self):
        """Nothing of the server's session is left behind."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.reader.join(PATIENCE_S)
        self.process.stderr.close()
        self.process = None

    def restart(self):
        self.stop()
        return self.start()

    # ---- asking it ----

    def request(self, path, method="GET", body=None, headers=None):
        """(status, headers, body); any status is an answer."""
        request = urllib.request.Request(
            self.url + path, data=body, headers=headers or {}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE_S) as r:
                return r.status, r.headers, r.read()
        except urllib.error.HTTPError as e:
            with e:
                return e.code, e.headers, e.read()

    def json(self, path, **kwargs):
        status, _, body = self.request(path, **kwargs)
        assert status == 200, f"{path}: {status} {body[:500]}"
        return json.loads(body)

    def job(self, id):
        return self.json(f"/api/v1/jobs/{id}")

    def wait_until(self, condition):
        return wait_until(lambda: self._lives() and condition(), self.text)

    def _lives(self):
        assert self.process.poll() is None, "the server has ended:\n" + self.text()
        return True

    def wait_for(self, id, states=("done", "failed", "dead", "cancelled")):
        def job_in_state():
            job = self.job(id)
            return job if job["state"] in states else None

        return self.wait_until(job_in_state)
