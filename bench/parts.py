"""What the benchmarks share: processes and what they take, otolith's server, clips of a recording."""

import glob
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
import wave

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def environment(models):
    """Of otolith, with the models in this folder and no others."""
    return {**os.environ, "OTOLITH_MODELS": os.path.abspath(models), "OTOLITH_OFFLINE": "1"}


# ---- processes ----


def tree(pid):
    """A process and its descendants, as far as they are there while we look."""
    found = [pid]
    for path in glob.glob(f"/proc/{pid}/task/*/children"):
        try:
            with open(path) as f:
                for child in f.read().split():
                    found += tree(int(child))
        except OSError:
            pass
    return found


def tree_bytes(pid):
    """Resident bytes of a process and its descendants; a shared page counts in parts."""
    total = 0
    for p in tree(pid):
        try:
            with open(f"/proc/{p}/smaps_rollup") as f:
                for line in f:
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        except OSError:
            pass
    return total


def tree_core_s(pid):
    """User and system time of a process, its descendants, and those that they have waited for."""
    ticks = 0
    for p in tree(pid):
        try:
            with open(f"/proc/{p}/stat") as f:
                # Behind the name, which may hold anything: utime, stime, cutime, cstime are the fields 14 to 17.
                ticks += sum(int(n) for n in f.read().rpartition(")")[2].split()[11:15])
        except OSError:
            pass
    return ticks / os.sysconf("SC_CLK_TCK")


class Peak:
    """The most that a process tree takes within the block: with Peak(pid) as peak: …; peak.bytes. A look at six
    processes takes some ten milliseconds of a core."""

    def __init__(self, pid, every_s=0.1):
        self.pid, self.every_s, self.bytes = pid, every_s, 0
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.sample)

    def sample(self):
        while not self.done.wait(self.every_s):
            self.bytes = max(self.bytes, tree_bytes(self.pid))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def pour(chunks, pipe):
    """Writes them; a reader that has gone says itself why."""
    with pipe:
        try:
            for chunk in chunks:
                pipe.write(chunk)
        except BrokenPipeError:
            pass


def measure(command, env, sound=None):
    """Runs it, with these bytes as its standard input; returns (stdout, wall seconds, core seconds, peak bytes)."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        stdin = subprocess.DEVNULL if sound is None else subprocess.PIPE
        process = subprocess.Popen(command, stdin=stdin, stdout=out, stderr=err, env=env)
        with Peak(process.pid) as peak:
            if sound is not None:
                pour(sound, process.stdin)
            _, status, usage = os.wait4(process.pid, 0)
            wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        err.seek(0)
        stdout, stderr = out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace")
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(command[:3])}: exit status {process.returncode}: {stderr[-400:]}")
        return stdout, wall, usage.ru_utime + usage.ru_stime, max(peak.bytes, usage.ru_maxrss * 1024)


# ---- the server ----


class Server:
    """otolith serve on a port of its own, its data in the folder."""

    def __init__(self, otolith, models, folder, *options):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{s.getsockname()[1]}"
        command = [otolith, "serve", "--listen", self.url.removeprefix("http://"), "--data", folder + "/data", *options]
        self.process = subprocess.Popen(command, env=environment(models), stderr=subprocess.DEVNULL)
        for _ in range(300):
            try:
                self.get("/health/ready")
                return
            except OSError:
                time.sleep(0.1)
        self.close()
        raise RuntimeError("otolith serve does not answer")

    def get(self, path):
        with urllib.request.urlopen(self.url + path) as reply:
            return reply.read()

    def post(self, path, fields, name, file):
        """A form with a file, the part of that name; the answer's JSON."""
        with open(file, "rb") as f:
            sound = f.read()
        parts = [f'--clip\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
        head = f'--clip\r\nContent-Disposition: form-data; name="{name}"; filename="clip.wav"\r\n\r\n'
        body = ("".join(parts) + head).encode() + sound + b"\r\n--clip--\r\n"
        request = urllib.request.Request(self.url + path, body, {"Content-Type": "multipart/form-data; boundary=clip"})
        with urllib.request.urlopen(request) as reply:
            return json.load(reply)

    def close(self):
        self.process.terminate()
        self.process.wait()


# ---- clips ----


def prompts(data, language):
    """What LANGUAGE.tsv tells of LANGUAGE.wav: [(start ms, end ms, text)]."""
    with open(os.path.join(data, language + ".tsv"), encoding="utf-8") as f:
        rows = [line.rstrip("\n").split("\t") for line in f]
    return [(int(start), int(end), text) for start, end, text in rows]


def cut(data, language, spans, folder):
    """Spans as those of prompts(), each a file; [(path, seconds, text)]."""
    clips = []
    with wave.open(os.path.join(data, language + ".wav")) as w:
        rate = w.getframerate()
        for n, (start, end, text) in enumerate(spans):
            path = os.path.join(folder, f"{n}.wav")
            first, frames = start * rate // 1000, (end - start) * rate // 1000
            w.setpos(first)
            with wave.open(path, "wb") as o:
                o.setparams((1, 2, rate, 0, "NONE", ""))
                o.writeframes(w.readframes(frames))
            clips.append((path, frames / rate, text))
    return clips
