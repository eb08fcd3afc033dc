"""Kills workers, decoders, the gateway and the supervisor at random while clients submit: every
accepted job ends in its right state exactly once, with the text of a calm run.

A short form by default; OTO_TEST_LONG=1: 200 jobs, 32 clients, 50 kills."""

import collections
import concurrent.futures
import os
import random
import signal
import threading
import time


import tool
from rest import RestServer

SEED = int(os.environ.get("OTO_TEST_SEED", "1"))
N_JOBS, N_KILLS = (200, 50) if tool.LONG else (50, 12)
N_CLIENTS = 32


def recordings(data, folder):
    names = ["en20.wav", "en60.wav"]
    names += ["formats/" + n for n in ("aac.m4a", "mp3.mp3", "opus.ogg", "flac.flac", "mulaw.wav")]
    paths = [os.path.join(data, name) for name in names]
    # Sound by its header, broken behind it; and a picture's bytes under a sound's name.
    cut = os.path.join(folder, "cut.mp3")
    with open(os.path.join(data, "formats/mp3.mp3"), "rb") as f, open(cut, "wb") as g:
        g.write(f.read()[:6000])
    return paths + [cut]


def submit_until_accepted(server, path, key):
    """The reply may be lost with the gateway: the same key names the same job."""
    while True:
        try:
            status, reply = server.submit(path, language="en", idempotency_key=key)
        except OSError:
            time.sleep(0.2)
            continue
        if status == 200:
            return reply["task_id"]
        assert status in (429, 500, 503, 507), reply
        time.sleep(0.5)


def outcome(server, task):
    reply = server.wait_through(task)
    return reply["status"], reply["text"], reply["error"]


class Killer(threading.Thread):
    def __init__(self, server):
        super().__init__()
        self.server, self.random = server, random.Random(SEED)
        self.stop, self.killed = threading.Event(), collections.Counter()

    def run(self):
        for _ in range(N_KILLS):
            if self.stop.wait(self.random.uniform(0.2, 1.2)):
                return
            role = self.random.choice(["worker", "worker", "decoder", "gateway", "supervisor"])
            if role == "supervisor":
                self.server.kill_supervisor()
                self.server.start()
                self.killed[role] += 1
                continue
            processes = self.server.processes(role)
            if not processes:
                continue
            try:
                os.kill(self.random.choice(processes), signal.SIGKILL)
                self.killed[role] += 1
            except ProcessLookupError:
                pass


def test_kill_anything(data, models, tmp_path):
    paths = recordings(data, str(tmp_path))
    with RestServer(tmp_path / "data", "--workers", "2", "--threads", "1") as server:
        calm = {}
        for path in paths:
            calm[path] = outcome(server, submit_until_accepted(server, path, "calm" + path))
        assert [c[0] for c in calm.values()].count("done") >= len(paths) - 1, calm

        chooser = random.Random(SEED)
        orders = [(chooser.choice(paths), f"{SEED}-{i}") for i in range(N_JOBS)]
        killer = Killer(server)
        killer.start()
        try:
            with concurrent.futures.ThreadPoolExecutor(N_CLIENTS) as clients:
                tasks = list(
                    clients.map(lambda o: submit_until_accepted(server, o[0], o[1]), orders)
                )
                assert len(set(tasks)) == len(tasks)
                ends = list(clients.map(lambda t: outcome(server, t), tasks))
        finally:
            killer.stop.set()
            killer.join()
        print(f"killed: {dict(killer.killed)}")
        assert sum(killer.killed.values()) >= 3
        for (path, _), task, end in zip(orders, tasks, ends):
            assert end == calm[path], f"{os.path.basename(path)}, job {task}"
        status, stats = server.get_json("/api/v1/stats")
        assert status == 200
        # Counted once each, whatever was repeated.
        done = sum(end[0] == "done" for end in ends) + sum(c[0] == "done" for c in calm.values())
        assert stats["total_tasks"] == done
        server.stop()
