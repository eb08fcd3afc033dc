#!/usr/bin/env python3
"""A stand-in for the original backend: its REST API, a parent that does nothing and a worker process
forked from it that does the work, and really leaks. Knows no sound; standard library only.

usage: standin.py PORT [--leak-mb MB] [--who worker|parent] [--seconds S] [--at-once N] [--fail WORD]
"""

import argparse
import http.server
import json
import multiprocessing
import os
import re
import threading
import time
import uuid


def work(inbox, outbox, leak_bytes, seconds):
    kept = []
    while True:
        task, n_bytes, fails = inbox.get()
        time.sleep(seconds)
        kept.append(b"\x5a" * leak_bytes)
        outbox.put((task, (n_bytes - 44) / 32000, "cannot be decoded" if fails else None))


class Backend:
    def __init__(self, options):
        self.options = options
        self.tasks = {}
        self.lock = threading.Lock()
        self.kept = []
        self.inbox, outbox = multiprocessing.Queue(), multiprocessing.Queue()
        leak = int(options.leak_mb * 2**20) if options.who == "worker" else 0
        worker = multiprocessing.Process(
            target=work, args=(self.inbox, outbox, leak, options.seconds), daemon=True
        )
        worker.start()
        threading.Thread(target=self.collect, args=(outbox,), daemon=True).start()

    def collect(self, outbox):
        while True:
            task, duration, error = outbox.get()
            if self.options.who == "parent":
                self.kept.append(b"\x5a" * int(self.options.leak_mb * 2**20))
            with self.lock:
                if task in self.tasks:
                    self.tasks[task].update(
                        status="failed" if error else "done",
                        text=None if error else "你好。",
                        duration=None if error else duration,
                        error=error,
                    )

    def submit(self, name, n_bytes):
        with self.lock:
            waiting = sum(t["status"] == "queued" for t in self.tasks.values())
            if waiting >= self.options.at_once:
                return None
            task = uuid.uuid4().hex[:8]
            self.tasks[task] = dict.fromkeys(
                ("text", "duration", "created_at", "audio_url", "error", "retry_url", "progress")
            )
            self.tasks[task].update(task_id=task, status="queued")
        self.inbox.put((task, n_bytes, bool(self.options.fail) and self.options.fail in name))
        return {"task_id": task, "status": "queued", "position": waiting + 1, "estimated_wait": 30}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def reply(self, status, body):
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def upload(self):
        """Name and size of the part `audio`, of which no more than a piece is held."""
        left = int(self.headers["Content-Length"])
        n_bytes = left
        head = self.rfile.read(min(left, 2048))
        left -= len(head)
        while left > 0:
            left -= len(self.rfile.read(min(left, 65536)))
        part, _, _ = head.partition(b"\r\n\r\n")
        name = re.search(rb'name="audio"; filename="([^"]+)"', part)
        return (name.group(1).decode() if name else None), n_bytes - len(part) - 50

    def do_POST(self):
        if self.path.split("?")[0] != "/api/v1/asr/submit":
            return self.reply(404, {"detail": "Not Found"})
        name, n_bytes = self.upload()
        if not name or name.rsplit(".", 1)[-1] not in ("wav", "mp3", "m4a", "flac", "ogg"):
            return self.reply(400, {"detail": "Invalid file format. Supported: ['wav', 'mp3']"})
        answer = self.server.backend.submit(name, n_bytes)
        if answer is None:
            return self.reply(503, {"detail": "Server overloaded, please try again later"})
        return self.reply(200, answer)

    def do_GET(self):
        backend, path = self.server.backend, self.path
        if path == "/":
            return self.reply(200, {"service": "ASR Transcription Service", "version": "1.0.0"})
        if path == "/api/v1/health":
            return self.reply(200, {"status": "ready", "model_loaded": True, "workers_active": 1})
        if path.startswith("/api/v1/asr/result/"):
            with backend.lock:
                task = backend.tasks.get(path.rsplit("/", 1)[1])
                task = dict(task) if task else None
            return self.reply(200, task) if task else self.reply(404, {"detail": "Task not found"})
        return self.reply(404, {"detail": "Not Found"})

    def do_DELETE(self):
        with self.server.backend.lock:
            gone = self.server.backend.tasks.pop(self.path.rsplit("/", 1)[1], None)
        return self.reply(200, {"deleted": gone is not None})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--leak-mb", type=float, default=0)
    parser.add_argument("--who", default="worker")
    parser.add_argument("--seconds", type=float, default=0.02)
    parser.add_argument("--at-once", type=int, default=1000)
    parser.add_argument("--fail", default="")
    options = parser.parse_args()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", options.port), Handler)
    server.backend = Backend(options)
    print(f"listening on http://127.0.0.1:{server.server_port} by {os.getpid()}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
