#!/usr/bin/env python3
"""What the catalogue fetches from, in small.

  sources.py serve FOLDER             an HTTP server on a free loopback port, which is printed; ends with its stdin.
                                      The first part of a path says how it behaves, the rest is a file of FOLDER:
      ok           as it should, ranges included
      cut          the first answer for a file of more than 100 kB breaks off in the middle
      cut_anew     the same, and ranges are not known
      cut_changed  the same, and afterwards the file is another one (FILE.new)
      slow         at about 1 MB/s
      busy         the first answer is status 503
      wrong        the last byte is another one
      short        one byte less
      missing      status 404
      page         a web page instead, with status 200
      linked       with the file's sha256 as X-Linked-Etag, behind a redirection
      linked_wrong the same, and the last byte is another one
      tagged_wrong the last byte is another one, and the tag is the right file's sha256
      untagged     no tag; the first answer for a file of more than 100 kB breaks off in the middle
      stall        the first answer for a file of more than 100 kB says no more from the middle on
      stalled      so does every answer, from its first byte on
                   FOLDER/log has a line for each request: path, range or -, status.
  sources.py wheel PACKAGE VERSION FOLDER FILE...    a wheel with these files in the folder PACKAGE_
"""
import hashlib
import http.server
import pathlib
import re
import sys
import threading
import time
import zipfile


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    folder = pathlib.Path()
    seen = set()
    lock = threading.Lock()

    def log_message(self, *args):
        pass

    def first(self):
        with self.lock:
            new = self.path not in self.seen
            self.seen.add(self.path)
        return new

    def answer(self, status, body=b"", headers=(), n=None):
        with self.lock, open(self.folder / "log", "a") as f:
            f.write(f"{self.path} {self.headers.get('Range', '-')} {status}\n")
        self.send_response(status)
        for k, v in headers:
            self.send_header(k, v)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        step = 16384 if "/slow/" in self.path else 1 << 20
        for at in range(0, len(body) if n is None else n, step):
            self.wfile.write(body[at : at + step if n is None else min(at + step, n)])
            if step == 16384:
                time.sleep(0.016)
        if n is not None:
            self.wfile.flush()
            if "/stall" in self.path:
                self.connection.recv(1)  # until the other side has had enough
            self.connection.shutdown(2)
            self.close_connection = True

    def do_GET(self):
        how, _, rest = self.path.lstrip("/").partition("/")
        path = self.folder / rest.partition("?")[0]
        first = self.first()
        if how == "missing" or not path.is_file():
            return self.answer(404, b"no such file")
        if how == "busy" and first:
            return self.answer(503)
        if how == "cut_changed" and not first:
            path = path.with_name(path.name + ".new")
        body = path.read_bytes()
        sha = hashlib.sha256(body).hexdigest()
        tag = '"' + (sha if how == "tagged_wrong" else sha[:32]) + '"'
        if how.startswith("linked") and "?" not in self.path:
            return self.answer(302, headers=[("X-Linked-Etag", f'"{sha}"'), ("Location", self.path + "?there")])
        if how == "page":
            body = b"<!DOCTYPE html><html>Please log in.</html>"
        if how.endswith("wrong") and body:
            body = body[:-1] + bytes([body[-1] ^ 1])
        if how == "short":
            body = body[:-1]
        headers = [] if how == "untagged" else [("ETag", tag)]
        want = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        cut = len(body) // 2 if how.startswith(("cut", "untagged", "stall")) and (first or how == "stalled") and len(body) > 100000 else None
        if want and how != "cut_anew" and self.headers.get("If-Range", tag) == tag:
            at = int(want[1])
            if at >= len(body):
                return self.answer(416, headers=[("Content-Range", f"bytes */{len(body)}")])
            headers.append(("Content-Range", f"bytes {at}-{len(body) - 1}/{len(body)}"))
            return self.answer(206, body[at:], headers, cut and (0 if how == "stalled" else cut))
        return self.answer(200, body, headers, cut)


class Server(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        pass  # clients that are killed in the middle are part of the plan


def serve(folder):
    Handler.folder = pathlib.Path(folder)
    server = Server(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


def wheel(package, version, folder, *files):
    name = package.replace("-", "_")
    info = f"{name}-{version}.dist-info"
    path = pathlib.Path(folder) / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as z:
        for f in files:
            z.write(f, f"{name}/{pathlib.Path(f).name}")
        z.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        z.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr(f"{info}/RECORD", "")


if __name__ == "__main__":
    {"serve": serve, "wheel": wheel}[sys.argv[1]](*sys.argv[2:])
