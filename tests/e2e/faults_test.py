"""The N-th fallible call fails (allocation, write, sync, rename, fork, SQL step), for N after N through
a whole job: nothing crashes, nothing hangs, and an accepted job is done after a start without the
fault. Needs a build with OTO_FAULTS. OTO_TEST_LONG=1 walks further."""

import os
import subprocess

import pytest

import tool
from rest import RestServer

STEPS = list(range(1, 400, 3)) if tool.LONG else [1, 5, 20, 45, 80, 120, 170, 230]


def has_faults():
    return "faults on purpose" in tool.good("version").out


def attempt(server, path):
    """The job's number, or None when it was refused for a reason."""
    try:
        status, reply = server.submit(path, language="en")
    except OSError:
        return None
    assert status in (200, 400, 415, 422, 500, 503, 507), reply
    return reply["task_id"] if status == 200 else None


def check_log(server, n):
    text = server.text()
    for bad in ("AddressSanitizer", "LeakSanitizer", "runtime error", "Assertion"):
        assert bad not in text, f"N={n}\n{text}"


@pytest.mark.quick
@pytest.mark.parametrize("n", STEPS)
def test_one_fault(data, models, tmp_path, n):
    if not has_faults():
        pytest.skip("a build without OTO_FAULTS")
    path = os.path.join(data, "en20.wav")
    server = RestServer(
        tmp_path / "data", "--workers", "1", "--drain", "1", env={"OTOLITH_FAIL_AFTER": str(n)}
    )
    task = None
    try:
        server.start()
        task = attempt(server, path)
        if task is not None:
            server.wait_through(task, limit_s=60)
        server.stop(check=False)
    except (AssertionError, OSError):
        # It did not start or the job did not end, and it has to have said why.
        assert server.text().strip(), f"N={n}: not a word"
        if server.process is not None:
            server.stop(check=False)
    check_log(server, n)
    del server.env["OTOLITH_FAIL_AFTER"]
    with server:
        again = attempt(server, path)
        assert again is not None
        for job in (task, again):
            if job is not None:
                reply = server.wait_through(job)
                assert reply["status"] == "done", f"N={n}: {reply}"
        check_log(server, n)
