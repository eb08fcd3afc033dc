"""A server with the calls of the REST API, and a look at its processes."""

import http.client
import json
import os
import ssl
import uuid

from patience import PATIENCE_S, wait_until
from server import Server


def children(pid):
    found = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children", encoding="ascii") as f:
                found += [int(word) for word in f.read().split()]
    except OSError:
        pass
    return found


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
            return f.read().strip()
    except OSError:
        return ""


class RestServer(Server):
    def __init__(self, data, *options, key=None, **kwargs):
        super().__init__(data, *options, **kwargs)
        self.key = key

    def start(self):
        """Ready, not just listening."""
        super().start()
        self.wait_until(self.ready)
        return self

    def ready(self):
        try:
            return self.call("GET", "/health/ready")[0] == 200
        except OSError:
            return False

    @property
    def port(self):
        return int(self.url.rsplit(":", 1)[1])

    def kill_supervisor(self):
        """It alone: the kernel ends its children."""
        self.process.kill()
        self.process.wait()
        self.reader.join(PATIENCE_S)
        self.process.stderr.close()

    def processes(self, role):
        """Ids: "worker", "gateway", or "decoder" (and what starts them)."""
        direct = children(self.pid)
        if role != "decoder":
            return [p for p in direct if name_of(p) == f"oto-{role}"]
        return [q for p in direct for c in children(p) for q in [c, *children(c)]]

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)

    def call(self, method, path, body=None, headers=None, keyless=False):
        """(status, body, headers) over a connection of its own."""
        headers = dict(headers or {})
        if self.key is not None and not keyless:
            headers["Authorization"] = f"Bearer {self.key}"
        if self.url.startswith("https"):
            context = ssl._create_unverified_context()
            c = http.client.HTTPSConnection(
                "127.0.0.1", self.port, timeout=PATIENCE_S, context=context
            )
        else:
            c = self.connect()
        try:
            c.request(method, path, body, headers)
            r = c.getresponse()
            return r.status, r.read(), {k.lower(): v for k, v in r.getheaders()}
        except http.client.HTTPException as e:
            raise ConnectionError(f"{method} {path}: {e!r}") from e
        finally:
            c.close()

    def call_json(self, method, path, **kwargs):
        status, body, _ = self.call(method, path, **kwargs)
        return status, json.loads(body)

    def get_json(self, path):
        return self.call_json("GET", path)

    @staticmethod
    def form(fields, file):
        """A multipart body and its type; file: (field, name, bytes)."""
        boundary = uuid.uuid4().hex
        parts = []
        for name, value in fields.items():
            parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
                         f"{value}\r\n".encode())
        field, filename, content = file
        parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{field}"; '
                     f'filename="{filename}"\r\nContent-Type: audio/wav\r\n\r\n'.encode())
        parts += [content, f"\r\n--{boundary}--\r\n".encode()]
        return b"".join(parts), f"multipart/form-data; boundary={boundary}"

    def submit_full(self, path, **fields):
        with open(path, "rb") as f:
            body, kind = self.form(fields, ("audio", os.path.basename(path), f.read()))
        status, reply, headers = self.call(
            "POST", "/api/v1/asr/submit", body=body, headers={"Content-Type": kind}
        )
        return status, json.loads(reply), headers

    def submit(self, path, **fields):
        return self.submit_full(path, **fields)[:2]

    def result(self, task):
        status, reply = self.get_json(f"/api/v1/asr/result/{task}")
        assert status == 200, reply
        return reply

    def wait_for_result(self, task, wanted=("done", "failed")):
        def result():
            reply = self.result(task)
            return reply if reply["status"] in wanted else None

        return self.wait_until(result)

    def wait_through(self, task, **limit):
        """The result of a job while parts of the server fail or are killed: it ends, it is not lost."""

        def result():
            try:
                status, reply = self.get_json(f"/api/v1/asr/result/{task}")
            except OSError:
                return None
            assert status != 404, f"job {task} is lost"
            return reply if status == 200 and reply["status"] in ("done", "failed") else None

        return wait_until(result, lambda: f"job {task} did not end:\n{self.text()}", **limit)
