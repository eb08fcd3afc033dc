"""The settings of the server: where each comes from, what is said about a bad one, the sample file,
and reading them again while the server runs."""

import os
import re
import signal
import time
import urllib.request

import pytest

import tool
from patience import PATIENCE_S
from rest import RestServer
from server import Server

SAMPLE = os.path.join(tool.ROOT, "packaging/otolith.conf")


def print_config(*args, env=None):
    env = {"OTOLITH_OFFLINE": None, **(env or {})}  # which is a setting, too
    return tool.good("serve", *args, "--print-config", env=env).out


def settings(*args, env=None):
    """{name: (value, source)} as --print-config shows them."""
    out = print_config(*args, env=env)
    return {
        name: (value.replace('""', '"'), source)
        for name, value, source in re.findall(r'^(?:# )?([a-z-]+) = "(.*)" # ([a-z ]+)$', out, re.M)
    }


@pytest.fixture
def conf(tmp_path):
    def write(text):
        path = tmp_path / "otolith.conf"
        path.write_text(text)
        return path

    return write


@pytest.mark.quick
def test_command_line_over_environment_over_file(conf):
    path = conf("beam = 1\nworkers = 3\nbatch = 2\n")
    got = settings("--config", path, "--beam", "4", env={"OTOLITH_BEAM": "2", "OTOLITH_WORKERS": "5"})
    assert got["beam"] == ("4", "command line")
    assert got["workers"] == ("5", "environment")
    assert got["batch"] == ("2", "file")
    assert got["threads"] == ("0", "default")
    # Wherever the file is named.
    assert settings("--beam", "4", "--config", path)["beam"] == ("4", "command line")


@pytest.mark.quick
@pytest.mark.parametrize(
    "text, line, said",
    [
        ("\n# x\nbaem = 1\n", 3, "baem"),
        ("beam = 6", 1, "beam"),
        ("keep = 1d\nkeep = a week\n", 2, "a time like"),
        ("max-upload = lots\n", 1, "a size like"),
        ('model = "x\n', 1, "quotes"),
        ("\n\nlisten\n", 3, "name = value"),
        ("compute = f16\n", 1, "bf16"),
    ],
)
def test_bad_file(conf, text, line, said):
    path = conf(text)
    result = tool.run("serve", "--config", path)
    assert result.status == 2 and result.out == ""
    assert f"{path}:{line}: " in result.err and said in result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.quick
def test_bad_elsewhere(conf, tmp_path):
    result = tool.run("serve", env={"OTOLITH_MAX_UPLOAD": "lots"})
    assert result.status == 2 and "OTOLITH_MAX_UPLOAD: " in result.err
    result = tool.run("serve", "--keep", "never")
    assert result.status == 2 and "--keep: " in result.err
    result = tool.run("serve", "--config", tmp_path / "none")
    assert result.status == 4 and "none" in result.err
    for empty in ("--listen", "--model"):
        result = tool.run("serve", empty, "")
        assert result.status == 2 and "must not be empty" in result.err


@pytest.mark.quick
def test_printed_settings_read_back(conf):
    options = ["--webhook-secret", """it's "so" # here""", "--keep", "7d", "--no-vad", "--data", "/a b"]
    again = settings("--config", conf(print_config(*options)))
    for name, (value, source) in settings(*options).items():
        assert again[name][0] == value, name
        if source == "command line":
            assert again[name][1] == "file", name
    assert again["webhook-secret"][0] == """it's "so" # here"""


@pytest.mark.quick
def test_sample_file(conf):
    """It names every setting once, and shows the defaults."""
    with open(SAMPLE, encoding="utf-8") as f:
        sample = f.read()
    defaults = settings()
    names = re.findall(r"^#([a-z-]+) = ", sample, re.M)
    assert sorted(names) == sorted(defaults)
    assert {v for v in settings("--config", SAMPLE).values()} == set(defaults.values())
    got = settings("--config", conf(re.sub(r"^#([a-z-]+ = )", r"\1", sample, flags=re.M)))
    assert {n: v for n, (v, _) in got.items()} == {n: v for n, (v, _) in defaults.items()}
    assert {source for _, source in got.values()} == {"file"}


def submit(server, data, name):
    status, reply = server.submit(os.path.join(data, name), language="en")
    return status, reply.get("task_id")


def test_reload(models, data, tmp_path, conf):
    """SIGHUP: new processes with the new settings, and the job that ran is done by its first try."""
    path = conf("workers = 1\nbeam = 1\ndrain = 60\n")
    with RestServer(tmp_path / "data", "--config", path) as server:
        task = submit(server, data, "en.wav")[1]
        server.wait_for_result(task, ("processing",))
        before = server.processes("worker") + server.processes("gateway")
        assert len(before) == 2
        # A file that is wrong changes nothing.
        conf("beam = 9\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_until(lambda: f"{path}:1: " in server.text())
        assert server.processes("worker") + server.processes("gateway") == before
        conf("workers = 1\nbeam = 1\ndrain = 60\nmax-upload = 10K\nlog = json\n")
        server.process.send_signal(signal.SIGHUP)

        def replaced():
            now = server.processes("worker") + server.processes("gateway")
            return len(now) == 2 and not set(now) & set(before)

        server.wait_until(replaced)
        server.wait_until(server.ready)
        assert server.wait_for_result(task)["status"] == "done"
        job = server.get_json(f"/api/v1/jobs/{task}")[1]
        assert job["crashes"] == 0
        assert submit(server, data, "en20.wav")[0] == 413
        conf("workers = 1\nbeam = 1\n")
        server.process.send_signal(signal.SIGHUP)
        server.wait_until(lambda: server.ready() and submit(server, data, "en20.wav")[0] == 200)


def test_reload_is_all_or_nothing(models, tmp_path, conf):
    """A model that is not there, or half a certificate: everything goes on as before."""
    path = conf("beam = 1\n")
    with RestServer(tmp_path / "data", "--config", path, "--workers", "1") as server:
        before = server.processes("worker") + server.processes("gateway")
        for text, said in (("compute = f32\nbeam = 1\nmemory-limit = 100M\n", "memory-limit: "),
                           ("tls-cert = /etc/hostname\n", "go together")):
            conf(text)
            server.process.send_signal(signal.SIGHUP)
            server.wait_until(lambda: any(said in line and "as before" in line for line in server.log))
        assert server.processes("worker") + server.processes("gateway") == before
        # Nor has the next worker anything of it.
        os.kill(server.processes("worker")[0], signal.SIGKILL)
        server.wait_until(lambda: server.processes("worker") and server.ready())
        assert "too small" not in server.text()


@pytest.mark.quick
def test_memory_limit_that_none_fits_into(models, tmp_path):
    options = ["serve", "--listen", "127.0.0.1:0", "--data", tmp_path / "data", "-m", "whisper-tiny.en"]
    for limit, n in (("60M", 1), ("100M", 1), ("400M", 9)):
        result = tool.run(*options, "--workers", n, "--memory-limit", limit, timeout=PATIENCE_S)
        assert result.status == 6 and result.err.startswith("otolith: memory-limit: "), result.err
        assert "listening" not in result.err


def test_as_many_workers_as_fit(models, tmp_path, data):
    with RestServer(tmp_path / "data", "--memory-limit", "400M") as server:
        assert len(server.processes("worker")) >= 1
        assert submit(server, data, "en20.wav")[0] == 200


def test_listens_where_it_is_told(models, tmp_path):
    with Server(tmp_path / "data", "--listen", "127.0.0.2:0", "--listen", "127.0.0.3:0") as server:
        server.wait_until(lambda: server.text().count("listening on") == 3)
        for line in list(server.log)[:3]:
            with urllib.request.urlopen(line.split()[-1] + "/health", timeout=PATIENCE_S) as reply:
                assert reply.status == 200


def test_successor_of_a_killed_server(models, tmp_path):
    """Its children end with it, and then the folder is free."""
    with RestServer(tmp_path / "data", "--workers", "2") as server:
        for _ in range(3):
            server.kill_supervisor()
            server.start()


def test_nobody_else_reads_the_folder(models, tmp_path, data):
    with RestServer(tmp_path / "data") as server:
        submit(server, data, "en20.wav")
        for folder, _, names in os.walk(server.data):
            for path in [folder, *(os.path.join(folder, n) for n in names)]:
                assert os.stat(path).st_mode & 0o077 == 0, path


def test_supervisor_is_small(models, tmp_path):
    with RestServer(tmp_path / "data") as server:
        time.sleep(1)
        with open(f"/proc/{server.pid}/status", encoding="ascii") as f:
            rss_kb = int(re.search(r"^VmRSS:\s+(\d+)", f.read(), re.M).group(1))
        assert rss_kb < 5000
