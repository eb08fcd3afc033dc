"""The disk is full: uploads are refused and say why, what was accepted waits and is done once there is
room, and the database stays whole. The disk is a small tmpfs; mounting one takes root."""

import os
import sqlite3
import subprocess
import time

import pytest

from rest import RestServer
from server import Server

# Two of the long recording and three of the minute, 47 MB, are kept when their jobs are done; the
# database's log takes up to 4 MB between two checkpoints.
SIZE_MB = 64


@pytest.fixture
def disk(tmp_path):
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("no tmpfs can be mounted here: " + mounted.stderr.decode().strip())
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


class Ballast:
    """A file that leaves nothing but what is asked for."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "ballast")

    def fill(self, leave=0):
        with open(self.path, "ab", buffering=0) as f:
            while True:
                free = os.statvfs(os.path.dirname(self.path))
                left = free.f_bavail * free.f_frsize - leave
                if left <= 0:
                    return
                try:
                    f.write(b"\0" * min(left, 1 << 20))
                except OSError:
                    return

    def drop(self):
        os.remove(self.path)


def check_whole(data):
    db = sqlite3.connect(f"file:{data}/otolith.db?mode=ro", uri=True)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()


def test_an_upload_that_does_not_fit(models, data, disk):
    with RestServer(disk / "data", "--workers", "1", "--min-free", "0") as server:
        ballast = Ballast(disk)
        ballast.fill(leave=1 << 20)
        status, reply = server.submit(os.path.join(data, "en.wav"))
        assert status == 507, reply
        assert "space" in json_text(reply)
        assert server.call("GET", "/health/live")[0] == 200
        spool = [name for _, _, names in os.walk(disk / "data" / "spool") for name in names]
        assert spool == [], "an upload that failed leaves nothing behind"
        ballast.drop()
        status, reply = server.submit(os.path.join(data, "en20.wav"))
        assert status == 200, reply
        assert server.wait_for_result(reply["task_id"])["status"] == "done"
    check_whole(disk / "data")


def json_text(reply):
    return str(reply).lower()


def test_room_is_left_for_what_was_accepted(models, data, disk):
    """--min-free: refused before the disk is full, and health says so."""
    with RestServer(disk / "data", "--workers", "1", "--min-free", "30M") as server:
        ballast = Ballast(disk)
        ballast.fill(leave=20 << 20)
        status, reply = server.submit(os.path.join(data, "en20.wav"))
        assert status == 507, reply
        server.wait_until(lambda: server.get_json("/health")[1]["status"] == "degraded")
        assert "disk is full" in server.get_json("/health")[1]["error"]
        ballast.drop()
        assert server.submit(os.path.join(data, "en20.wav"))[0] == 200


def test_accepted_jobs_outlive_a_full_disk(models, data, disk):
    """Not a byte is left while a job runs; it is done when there is room again, with its whole text."""
    with RestServer(disk / "data", "--workers", "1", "--min-free", "0") as server:
        status, calm = server.submit(os.path.join(data, "en60.wav"))
        assert status == 200
        calm = server.wait_for_result(calm["task_id"])
        running = server.submit(os.path.join(data, "en.wav"))[1]["task_id"]
        queued = [server.submit(os.path.join(data, "en60.wav"))[1]["task_id"] for _ in range(2)]
        server.wait_until(lambda: server.result(running).get("segments"))
        ballast = Ballast(disk)
        for _ in range(60):
            ballast.fill()
            time.sleep(0.1)
        assert server.call("GET", "/health/live")[0] == 200
        ended = [server.result(task)["status"] for task in [running, *queued]]
        assert "failed" not in ended
        ballast.drop()
        for task in queued:
            assert server.wait_for_result(task)["text"] == calm["text"]
        done = server.wait_for_result(running)
        assert done["status"] == "done", server.text()
        alone = server.submit(os.path.join(data, "en.wav"))[1]["task_id"]
        assert server.wait_for_result(alone)["text"] == done["text"]
    check_whole(disk / "data")


def test_a_start_on_a_full_disk(models, data, disk):
    """Refused with the reason, or up and degraded; the jobs of before are there when there is room."""
    with RestServer(disk / "data", "--workers", "1", "--min-free", "0") as server:
        task = server.submit(os.path.join(data, "en20.wav"))[1]["task_id"]
        text = server.wait_for_result(task)["text"]
    ballast = Ballast(disk)
    ballast.fill()
    server = RestServer(disk / "data", "--workers", "1", "--min-free", "0")
    try:
        Server.start(server)
    except AssertionError:
        assert "space" in server.text().lower(), server.text()
    else:
        assert server.result(task)["text"] == text
        assert "disk is full" in server.get_json("/health")[1]["error"]
        assert server.call("GET", "/health/ready")[0] == 503
        server.stop(check=False)
    ballast.drop()
    with RestServer(disk / "data", "--workers", "1", "--min-free", "0") as again:
        assert again.result(task)["text"] == text
    check_whole(disk / "data")
