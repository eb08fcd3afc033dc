"""Runs the program under test and reads what it prints."""

import dataclasses
import json
import os
import subprocess
import tempfile
import threading

from patience import PATIENCE_S

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
OTOLITH = os.environ.get("OTOLITH", os.path.join(ROOT, "build/release/otolith"))
MODELS = os.path.abspath(os.environ.get("OTO_TEST_MODELS", os.path.join(ROOT, "models")))
DATA = os.path.abspath(os.environ.get("OTO_TEST_DATA", os.path.join(ROOT, "build/testdata")))
LONG = os.environ.get("OTO_TEST_LONG", "0") not in ("", "0")


@dataclasses.dataclass
class Result:
    status: int
    out: str
    err: str
    peak_bytes: int  # of the largest process


def run(*args, stdin=None, env=None, timeout=6 * PATIENCE_S):
    """Runs otolith. stdin: bytes, the path of a file that is piped in, or None."""
    full = {**os.environ, "OTOLITH_MODELS": MODELS, "OTOLITH_OFFLINE": "1", **(env or {})}
    full = {key: value for key, value in full.items() if value is not None}
    if isinstance(stdin, str):
        with open(stdin, "rb") as f:
            stdin = f.read()
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(
            [OTOLITH, *map(str, args)],
            stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=full,
        )
        killer = threading.Timer(timeout, process.kill)
        killer.start()
        if stdin is not None:
            try:
                process.stdin.write(stdin)
                process.stdin.close()
            except BrokenPipeError:
                pass
        # wait4 instead of wait: it tells the peak memory.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        killer.cancel()
        out.seek(0)
        err.seek(0)
        return Result(
            process.returncode,
            out.read().decode("utf-8"),
            err.read().decode("utf-8", "replace"),
            usage.ru_maxrss * 1024,
        )


def good(*args, **kwargs):
    """run(), which must succeed."""
    result = run(*args, **kwargs)
    assert result.status == 0, f"{args}: exit status {result.status}\n{result.err}"
    return result


def score(reference, hypothesis, *options):
    """Both are texts; the answer is score's JSON."""
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for name, text in (("ref", reference), ("hyp", hypothesis)):
            paths.append(os.path.join(folder, name))
            with open(paths[-1], "w", encoding="utf-8") as f:
                f.write(text)
        return json.loads(good("score", "--json", *options, *paths).out)


def errors(reference, hypothesis):
    return score(reference, hypothesis)["errors"]


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as f:
        return f.read()


def complaint(result, name):
    """The one line of stderr that a failed run has to leave; it must name the file."""
    lines = [line for line in result.err.splitlines() if line.strip()]
    about = [line for line in lines if os.path.basename(name) in line]
    assert len(about) == 1, f"expected one line about {name}:\n{result.err}"
    assert result.status not in (0, 1), f"{name}: exit status {result.status}\n{result.err}"
    assert "AddressSanitizer" not in result.err and "runtime error" not in result.err, result.err
    return about[0]
