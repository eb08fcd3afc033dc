"""Several models in one server: chosen by each request, held together under one budget."""

import json
import os
import signal
import threading
import time

import pytest

import tool
from dialects_test import post
from patience import PATIENCE_S
from rest import RestServer

SMALL, LARGE = "whisper-tiny.en", "whisper-base"
# One worker with whisper-base alone fits, not with both.
NARROW = "650M"


@pytest.fixture(scope="module")
def recording(data):
    return os.path.join(data, "en20.wav")


def alone(model, recording, folder):
    """What a server with this one model hears."""
    with RestServer(folder, "--beam", "1", model=model) as s:
        return heard(s, recording)


@pytest.fixture(scope="module")
def texts(models, recording, tmp_path_factory):
    return {m: alone(m, recording, tmp_path_factory.mktemp("alone")) for m in (SMALL, LARGE)}


@pytest.fixture(scope="module")
def both(models, tmp_path_factory):
    with RestServer(
        tmp_path_factory.mktemp("both"), "--beam", "1", "--workers", "1", "--models", f"big={LARGE}",
    ) as s:
        yield s
        assert not [line for line in s.log if "AddressSanitizer" in line or "runtime error" in line]


def ask(server, recording, **fields):
    return post(server, "/v1/audio/transcriptions", "file", recording, fields)


def heard(server, recording, **fields):
    status, _, answer = ask(server, recording, **fields)
    assert status == 200, answer
    return answer["text"]


def metric(server, name):
    """{labels: value}"""
    lines = server.call("GET", "/metrics")[1].decode().splitlines()
    return {
        line[len(name) : line.rindex(" ")]: float(line.rsplit(" ", 1)[1])
        for line in lines
        if line.startswith(name + "{") or line.startswith(name + " ")
    }


def text_of(server, task):
    job = server.wait_for(task)
    assert job["state"] == "done", job
    return server.get_json(f"/api/v1/asr/result/{task}")[1]["text"]


# ---- chosen by name ----


def test_each_request_has_its_model(both, texts, recording):
    assert texts[SMALL] != texts[LARGE]  # or nothing below tells anything
    assert heard(both, recording) == texts[SMALL]
    assert heard(both, recording, model="whisper-1") == texts[SMALL]
    assert heard(both, recording, model="big") == texts[LARGE]
    assert heard(both, recording, model=SMALL) == texts[SMALL]
    for model, name in (("big", LARGE), (SMALL, SMALL), ("whisper-1", SMALL)):
        status, _, answer = ask(both, recording, model=model, response_format="verbose_json")
        assert status == 200 and answer["text"] == texts[name]
        assert answer["x_otolith"]["model"] == (SMALL if model == "whisper-1" else model)
    azure = "/openai/deployments/big/audio/transcriptions"
    assert post(both, azure, "file", recording)[2]["text"] == texts[LARGE]


def test_rest_and_neighbours(both, texts, recording):
    for model, name in (("big", LARGE), (None, SMALL)):
        fields = {"model": model} if model else {}
        task = both.submit(recording, **fields)[1]["task_id"]
        assert text_of(both, task) == texts[name]
        assert both.get_json(f"/api/v1/jobs/{task}")[1]["model"] == (model or SMALL)
        query = f"?model={model}" if model else ""
        status, _, answer = post(both, "/inference", "file", recording, fields)
        assert status == 200 and answer["text"] == texts[name]
        status, _, answer = post(both, "/asr" + query, "audio_file", recording)
        assert status == 200 and "".join(answer.split()) == "".join(texts[name].split())


def test_both_at_once(both, texts, recording):
    got = []

    def one(model):
        got.append((model, heard(both, recording, model=model)))

    threads = [threading.Thread(target=one, args=(m,)) for m in ["big", SMALL] * 6]
    [t.start() for t in threads]
    [t.join() for t in threads]
    assert len(got) == 12
    for model, text in got:
        assert text == texts[LARGE if model == "big" else SMALL]


def test_list(both):
    reply = both.get_json("/v1/models")[1]
    listed = {m["id"]: m for m in reply["data"]}
    assert list(listed)[:2] == [SMALL, "big"] and "whisper-1" in listed
    assert listed[SMALL]["language"] == listed["whisper-1"]["language"] == ["en"]
    assert len(listed["big"]["language"]) == 99 and "fr" in listed["big"]["language"]
    assert both.get_json("/v1/models/big")[1]["language"] == listed["big"]["language"]
    assert both.get_json("/v1/models/huge")[0] == 404


@pytest.mark.parametrize(
    "path, field",
    [
        ("/v1/audio/transcriptions", "file"),
        ("/openai/deployments/huge/audio/transcriptions", "file"),
        ("/api/v1/asr/submit", "audio"),
        ("/inference", "file"),
        ("/asr", "audio_file"),
        ("/detect-language", "audio_file"),
    ],
)
def test_unknown_model(both, recording, path, field):
    status, _, answer = post(both, path, field, recording, {"model": "huge"})
    assert status == 404
    said = json.dumps(answer)
    assert "huge" in said and SMALL in said and "big" in said
    if "audio" in path:
        assert answer["error"]["code"] == "model_not_found" and answer["error"]["param"] == "model"


def test_what_each_model_can(both, recording):
    """French, translation, which language: to the large one only."""
    for path, field in (("/v1/audio/transcriptions", "file"), ("/asr", "audio_file"),
                        ("/inference", "file")):
        status, _, answer = post(both, path, field, recording, {"language": "fr"})
        assert status == 400 and "language" in json.dumps(answer), answer
        status, _, answer = post(both, path, field, recording, {"language": "fr", "model": "big"})
        assert status == 200, answer
    for model, wanted in ((SMALL, 400), ("big", 200)):
        fields = {"model": model}
        assert post(both, "/v1/audio/translations", "file", recording, fields)[0] == wanted
        assert post(both, "/detect-language", "audio_file", recording, fields)[0] == wanted
        status, reply = both.submit(recording, model=model, task="translate")
        assert status == wanted
        if status == 200:
            assert both.wait_for(reply["task_id"])["state"] == "done"


def test_at_rest_only_the_default_stays(both, recording):
    heard(both, recording)
    heard(both, recording, model="big")
    held = {f'{{process="worker-1",model="{SMALL}"}}': 1, '{process="worker-1",model="big"}': 0}
    both.wait_until(lambda: metric(both, "otolith_model_resident") == held)


# ---- one budget ----


def pss_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith("Pss:"))


class Watch(threading.Thread):
    """Of the workers and what they start: most memory at once."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.peak, self.ended = server, 0, threading.Event()

    def run(self):
        while not self.ended.wait(0.02):
            total = 0
            for pid in [self.server.pid, *self.server.processes("gateway"),
                        *self.server.processes("worker"), *self.server.processes("decoder")]:
                try:
                    total += pss_bytes(pid)
                except (OSError, StopIteration):
                    pass
            self.peak = max(self.peak, total)


def never_both(log):
    """What the worker held, step by step; the default is there from the start."""
    held, changes = {SMALL}, 0
    for line in log:
        if ": opens " in line:
            held.add(line.split()[-1])
        elif ": puts away " in line:
            held.remove(line.split()[-1])
        else:
            continue
        changes += 1
        assert len(held) < 2, log
    assert changes >= 4, log


def test_a_budget_for_one_at_a_time(texts, models, recording, tmp_path):
    """Both do not fit: they take turns, all jobs are done, and the budget is kept."""
    with RestServer(
        tmp_path / "data", "--beam", "1", "--workers", "1", "--models", LARGE, "--memory-limit",
        NARROW, "--log-level", "debug",
    ) as server:
        watch = Watch(server)
        watch.start()
        tasks = []
        for i in range(12):
            model = (SMALL, LARGE)[i % 2]
            tasks.append((model, server.submit(recording, model=model)[1]["task_id"]))
        for model, task in tasks:
            assert text_of(server, task) == texts[model]
        watch.ended.set()
        watch.join()
        assert watch.peak < int(NARROW[:-1]) << 20
        jobs = [server.get_json(f"/api/v1/jobs/{t}")[1] for _, t in tasks]
        assert {j["attempts"] for j in jobs} == {1} and {j["crashes"] for j in jobs} == {0}
        never_both(server.log)
        opens = "otolith_worker_model_opens_total"
        server.wait_until(lambda: metric(server, opens)['{process="worker-1"}'] >= 3)
        restarts = metric(server, "otolith_process_restarts_total")['{process="worker-1"}']
        assert restarts == 0


def test_nobody_waits_for_ever(texts, models, data, recording, tmp_path):
    """A stream of jobs for the model that is there does not keep another's out."""
    with RestServer(
        tmp_path / "data", "--beam", "1", "--workers", "1", "--models", LARGE, "--memory-limit", NARROW,
    ) as server:
        stop = threading.Event()
        done = []

        def stream():
            while not stop.is_set():
                done.append(heard(server, recording))

        threads = [threading.Thread(target=stream) for _ in range(4)]
        [t.start() for t in threads]
        try:
            server.wait_until(lambda: done)
            task = server.submit(recording, model=LARGE)[1]["task_id"]
            text = text_of(server, task)
            before = len(done)
            server.wait_until(lambda: len(done) >= before + 4)
        finally:
            stop.set()
            [t.join() for t in threads]
        assert text == texts[LARGE]
        assert set(done) == {texts[SMALL]}


def test_one_that_waits_is_not_blamed_for_a_crash(models, data, recording, tmp_path):
    with RestServer(
        tmp_path / "data", "--beam", "1", "--workers", "1", "--models", LARGE, "--memory-limit", NARROW,
    ) as server:
        long = server.submit(os.path.join(data, "en.wav"))[1]["task_id"]
        server.wait_until(lambda: server.job(long)["done_ms"] > 0)
        waits = server.submit(recording, model=LARGE)[1]["task_id"]
        server.wait_until(lambda: server.job(waits)["state"] == "running")
        time.sleep(0.5)
        os.kill(server.processes("worker")[0], signal.SIGSEGV)
        assert server.wait_for(waits)["crashes"] == 0
        assert server.job(long)["crashes"] == 1


def test_one_that_waits_can_be_cancelled(models, data, recording, tmp_path):
    with RestServer(
        tmp_path / "data", "--beam", "1", "--workers", "1", "--models", LARGE, "--memory-limit", NARROW,
    ) as server:
        long = server.submit(os.path.join(data, "en.wav"))[1]["task_id"]
        server.wait_until(lambda: server.job(long)["done_ms"] > 0)
        waits = server.submit(recording, model=LARGE)[1]["task_id"]
        time.sleep(1)
        assert server.call_json("POST", f"/api/v1/jobs/{waits}/cancel")[0] == 200
        assert server.wait_for(waits)["state"] == "cancelled"
        assert server.get_json(f"/api/v1/jobs/{long}")[1]["state"] == "running"
        # One that waits when the server stops is there again after the next start.
        again = server.submit(recording, model=LARGE)[1]["task_id"]
        time.sleep(0.5)
        assert server.call_json("POST", f"/api/v1/jobs/{long}/cancel")[0] == 200
        assert server.wait_for(again)["state"] == "done"


def test_a_limit_too_small_for_the_largest(models, tmp_path):
    result = tool.run("serve", "--listen", "127.0.0.1:0", "--data", tmp_path / "data", "-m", SMALL,
                      "--models", LARGE, "--workers", "1", "--memory-limit", "250M", timeout=PATIENCE_S)
    assert result.status == 6 and f"with {LARGE} need" in result.err, result.err


# ---- the list ----


@pytest.mark.quick
@pytest.mark.parametrize(
    "value, status, said",
    [
        ("=whisper-base", 2, "ALIAS=NAME"),
        ("a=", 2, "ALIAS=NAME"),
        ("a=whisper-base,a=whisper-tiny.en", 2, "the name of two"),
        ("whisper-huge", 4, "whisper-huge: no such model"),
        ("fsmn-vad", 2, "does not recognise speech"),
    ],
)
def test_bad_lists(models, tmp_path, value, status, said):
    result = tool.run("serve", "--listen", "127.0.0.1:0", "--data", tmp_path / "data", "-m", SMALL,
                      "--models", value, timeout=PATIENCE_S)
    assert result.status == status and said in result.err, result.err
    assert "listening" not in result.err


def is_asked_to_stop(pid):
    """Of one that hears nothing yet."""
    pending = tool.read("/proc", str(pid), "status").split("ShdPnd:")[1].split()[0]
    return int(pending, 16) >> (signal.SIGTERM - 1) & 1


def replaced(server, before):
    now = server.processes("worker") + server.processes("gateway")
    return len(now) == len(before) and not set(now) & set(before)


def test_reload_changes_the_list(models, texts, recording, tmp_path):
    path = tmp_path / "otolith.conf"
    path.write_text(f"workers = 1\nbeam = 1\nmodels = {LARGE}\n")
    with RestServer(tmp_path / "data", "--config", path) as server:
        assert heard(server, recording, model=LARGE) == texts[LARGE]
        # Waits while nobody works; its model is gone when its turn comes.
        for p in server.processes("worker"):
            os.kill(p, signal.SIGSTOP)
        orphan = server.submit(recording, model=LARGE)[1]["task_id"]
        path.write_text(f"workers = 1\nbeam = 1\nmodels = other={SMALL}\n")
        before = server.processes("worker") + server.processes("gateway")
        server.process.send_signal(signal.SIGHUP)
        server.wait_until(lambda: all(is_asked_to_stop(p) for p in server.processes("worker")))
        for p in server.processes("worker"):
            os.kill(p, signal.SIGKILL)
        server.wait_until(lambda: replaced(server, before) and server.ready())
        job = server.wait_for(orphan)
        assert job["state"] == "failed" and LARGE in job["error"]["message"]
        assert "no longer" in job["error"]["message"] and job["crashes"] == 0
        assert ask(server, recording, model=LARGE)[0] == 404
        assert heard(server, recording, model="other") == texts[SMALL]
