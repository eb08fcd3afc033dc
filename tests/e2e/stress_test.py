"""`otolith stress`, `otolith monitor` and `otolith report`: a leak is found, named and measured, and
where there is none nothing is found."""

import contextlib
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

import tool
from patience import PATIENCE_S, wait_until
from rest import RestServer

FAULTS = os.path.join(os.path.dirname(tool.OTOLITH), "tests", "otolith_faults")
ORIGINAL = os.path.join(tool.ROOT, "tests", "data", "original")
ORIGINALS_KEYS = [
    "test_id",
    "timestamp",
    "audio_file",
    "audio_size_mb",
    "concurrency",
    "task_id",
    "status",
    "processing_time",
    "rtf",
    "worker_rss_before_mb",
    "worker_rss_after_mb",
    "worker_rss_delta_mb",
    "error",
]
ORIGINALS_COLUMNS = [
    "timestamp",
    "elapsed_seconds",
    "process_name",
    "pid",
    "cpu_percent",
    "memory_rss_mb",
    "memory_percent",
]


def count_lines(path):
    return path.read_text().count("\n") if path.exists() else 0


@contextlib.contextmanager
def standin(*options):
    process = subprocess.Popen(
        [sys.executable, os.path.join(os.path.dirname(__file__), "standin.py"), "0", *options],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process.stdout.readline().split()[2]
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def stress(url, folder, *options):
    """The test's result, its records and its samples."""
    out, samples = folder / "jobs.jsonl", folder / "processes.csv"
    done = tool.run("stress", "--url", url, "--out", out, "--csv", samples, "-q", *options)
    records = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    return done, records


def growth(done, role):
    """KB a job that were found for a kind of process, and the verdict."""
    line = re.search(rf"^  {role} +([-+0-9.]+) KB a job .* (\w+)$", done.out, re.M)
    assert line, done.out + done.err
    return float(line.group(1)), line.group(2)


@pytest.fixture(scope="module")
def leaking(models):
    """otolith serve, at full speed, with a leak on purpose."""
    if not os.path.exists(FAULTS):
        pytest.skip("no build with faults beside this one")

    @contextlib.contextmanager
    def start(folder, leak):
        program, tool.OTOLITH = tool.OTOLITH, FAULTS
        try:
            server = RestServer(folder / "data", "--workers", "1", env={"OTOLITH_LEAK": leak})
            server.start()
        finally:
            tool.OTOLITH = program
        try:
            yield server
        finally:
            server.stop(check=False)

    return start


# ---- another backend ----


def test_a_leak_of_the_stand_ins_worker_is_found(data, tmp_path):
    with standin("--leak-mb", "2.5") as url:
        done, records = stress(
            url, tmp_path, "--phase", "memory", "--jobs", "40", "--settle", "0.05", "--audio",
            os.path.join(data, "en60.wav"),
        )  # fmt: skip
    kb, verdict = growth(done, "child")
    assert verdict == "GROWS" and kb == pytest.approx(2560, rel=0.1)
    assert growth(done, "parent")[1] == "level"
    assert done.status == 1
    assert [r["status"] for r in records] == ["success"] * 43
    assert records[0]["server"] == "ASR Transcription Service 1.0.0"


def test_records_and_samples_have_the_originals_names_and_types(data, tmp_path):
    with standin() as url:
        done, records = stress(
            url, tmp_path, "--phase", "memory", "--jobs", "5", "--settle", "0", "--interval", "0.2",
            "--audio", os.path.join(data, "en60.wav"),
        )  # fmt: skip
    assert done.status == 0, done.out + done.err
    for r in records:
        assert list(r)[:13] == ORIGINALS_KEYS
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}", r["timestamp"])
        assert isinstance(r["concurrency"], int) and isinstance(r["rtf"], float)
        assert r["error"] is None and isinstance(r["worker_rss_delta_mb"], float)
    assert records[0]["duration"] == pytest.approx(240, abs=0.1)
    assert records[1]["duration"] == pytest.approx(720, abs=0.1)
    with open(tmp_path / "processes.csv", encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    assert list(rows[0])[:7] == ORIGINALS_COLUMNS
    assert {row["role"] for row in rows} == {"parent", "child"}
    assert {row["process_name"] for row in rows} == {"standin.py"}
    for row in rows:
        for name in ORIGINALS_COLUMNS[1:2] + ORIGINALS_COLUMNS[4:]:
            float(row[name])
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(tmp_path / "processes.csv")
    assert frame["pid"].dtype.kind == "i" and frame["memory_rss_mb"].dtype.kind == "f"
    assert pandas.read_json(tmp_path / "jobs.jsonl", lines=True)["rtf"].dtype.kind == "f"


def test_the_limit_of_concurrency_is_named(data, tmp_path):
    with standin("--at-once", "5", "--seconds", "1") as url:
        done, records = stress(
            url, tmp_path, "--phase", "concurrency", "--max-concurrency", "16", "--audio",
            os.path.join(data, "en60.wav"),
        )  # fmt: skip
    assert re.search(r"all done up to [4-6] at once; then: submit: 503 Server overloaded", done.out)
    assert done.status == 0  # refused in time is not lost
    assert {r["reason"] for r in records} == {None, "refused"}
    assert max(r["concurrency"] for r in records) in (6, 8)


def test_jobs_that_fail_are_a_failure(data, tmp_path):
    with standin("--fail", "long") as url:
        done, records = stress(
            url, tmp_path, "--phase", "memory", "--jobs", "3", "--audio", os.path.join(data, "en60.wav")
        )
    assert done.status == 1
    assert [r["error"] for r in records if r["status"] == "failed"] == ["cannot be decoded"]


def test_what_is_not_there_could_not_be_measured(tmp_path):
    assert tool.run("stress", "--url", "http://127.0.0.1:9", "--out", tmp_path / "x").status == 2
    assert tool.run("stress", "--url", "nonsense", "--out", tmp_path / "x").status == 2
    assert tool.run("stress", "--phase", "all", "--out", tmp_path / "x").status == 2
    missing = tool.run("stress", "--audio", "/no/such.wav", "--out", tmp_path / "x", "--url", "http://127.0.0.1:9")
    assert missing.status == 2 and not (tmp_path / "x").exists()


def test_interrupted_and_resumed(data, tmp_path):
    options = ["--phase", "memory", "--jobs", "12", "--settle", "0"]
    options += ["--audio", os.path.join(data, "en60.wav")]
    files = ["--out", str(tmp_path / "jobs.jsonl"), "--csv", str(tmp_path / "processes.csv")]
    with standin("--seconds", "0.4") as url:
        process = subprocess.Popen(
            [tool.OTOLITH, "stress", "--url", url, *options, *files],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(lambda: count_lines(tmp_path / "jobs.jsonl") >= 4)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
        before = [json.loads(line) for line in (tmp_path / "jobs.jsonl").read_text().splitlines()]
        assert 4 <= len(before) < 15
        again = tool.run("stress", "--url", url, *options, *files, "-q")
        assert again.status == 2 and "--resume" in again.err
        done, records = stress(url, tmp_path, *options, "--resume")
    # Of a dozen jobs of an interpreter any verdict may come, but one comes.
    assert done.status in (0, 1), done.out + done.err
    assert [r["job_index"] for r in records] == list(range(1, 16))
    assert records[: len(before)] == before
    with open(tmp_path / "processes.csv", encoding="utf-8", newline="") as f:
        assert sum(line.startswith("timestamp") for line in f) == 1


def test_a_baseline_gives_the_ratio(data, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    options = ["--phase", "memory", "--jobs", "30", "--settle", "0.05"]
    options += ["--audio", os.path.join(data, "en60.wav")]
    with standin("--leak-mb", "4") as url:
        stress(url, tmp_path / "a", *options)
    with standin("--leak-mb", "1") as url:
        done, _ = stress(url, tmp_path / "b", *options, "--baseline", tmp_path / "a" / "jobs.jsonl")
    ratio = re.search(r"growth of all a job +([0-9.]+) -> ([0-9.]+) KB  \(([0-9.]+) times\)", done.out)
    assert ratio, done.out
    assert float(ratio.group(3)) == pytest.approx(4, rel=0.1)
    tool.good(
        "report", "--jsonl", tmp_path / "b" / "jobs.jsonl", "--csv", tmp_path / "b" / "processes.csv",
        "--baseline", tmp_path / "a" / "jobs.jsonl", "--out", tmp_path / "report",
    )  # fmt: skip
    text = (tmp_path / "report" / "report.zh-CN.md").read_text()
    assert text.startswith("# 内存泄漏修复验证报告：未通过") and "| 修复前 | 修复后 | 提升 |" in text


# ---- this program ----


def test_no_leak_no_alarm(models, data, tmp_path):
    with RestServer(tmp_path / "data", "--workers", "1") as server:
        done, records = stress(
            server.url, tmp_path, "--phase", "memory", "--jobs", "24", "--settle", "0.1", "--audio",
            os.path.join(data, "en20.wav"), "--audio", os.path.join(data, "en60.wav"),
        )  # fmt: skip
    for role in ("supervisor", "gateway", "worker", "all"):
        assert growth(done, role)[1] == "level", done.out
    assert all(r["status"] == "success" and r["text_chars"] > 0 for r in records)
    assert len({r["text_sha256"] for r in records if r["audio_file"] == "en60.wav"}) == 1
    assert all(5 < r["decoder_peak_mb"] < 40 for r in records)


# A gateway takes pages for SQLite's cache during its first twenty jobs, some 4 KB a job: its leak is
# one that this does not hide.
@pytest.mark.parametrize("role, kb", [("worker", 64), ("gateway", 128)])
def test_a_leak_of_ours_is_named_and_measured(leaking, data, tmp_path, role, kb):
    with leaking(tmp_path, f"{role}:{kb * 1024}") as server:
        done, _ = stress(
            server.url, tmp_path, "--phase", "memory", "--jobs", "24", "--settle", "0.1", "--audio",
            os.path.join(data, "en20.wav"), "--audio", os.path.join(data, "en60.wav"),
        )  # fmt: skip
    found, verdict = growth(done, role)
    assert verdict == "GROWS" and found == pytest.approx(kb, rel=0.1), done.out
    assert growth(done, "gateway" if role == "worker" else "worker")[1] == "level"
    assert done.status == 1


def test_a_decoder_that_leaks_is_named_and_measured(leaking, data, tmp_path):
    with leaking(tmp_path, "decoder:20480") as server:
        done, _ = stress(
            server.url, tmp_path, "--phase", "memory", "--jobs", "5", "--audio",
            os.path.join(data, "en60.wav"),
        )  # fmt: skip
    line = re.search(r"^  decoder .*\(([-+0-9.]+) MB an hour of audio\)  (.+)$", done.out, re.M)
    assert line and line.group(2) == "GROWS WITH THE LENGTH", done.out
    assert float(line.group(1)) == pytest.approx(20480 * 3600 / 2**20, rel=0.1)
    assert growth(done, "worker")[1] == "level"
    assert done.status == 1


@pytest.mark.skipif(not tool.LONG, reason="minutes: OTO_TEST_LONG=1")
def test_a_creep_of_two_kilobytes_a_job_is_found(leaking, data, tmp_path):
    with leaking(tmp_path, "worker:2048") as server:
        done, _ = stress(
            server.url, tmp_path, "--phase", "memory", "--jobs", "500", "--settle", "0.05", "--audio",
            os.path.join(data, "en20.wav"), "--audio", os.path.join(tool.ROOT, "tests/data/en/prompts.ogg"),
        )  # fmt: skip
    found, verdict = growth(done, "worker")
    assert verdict == "GROWS" and found == pytest.approx(2, rel=0.1), done.out


# ---- the monitor ----


def test_the_monitors_figures_are_the_systems(tmp_path):
    """A process of known processor time and memory: both within two percent."""
    burn = (
        "import os, sys, time\n"
        "kept = bytearray(b'x') * (80 << 20)\n"  # never more
        "until = time.process_time() + 3\n"
        "while time.process_time() < until: pass\n"
        "print(time.process_time(), flush=True)\n"
        "sys.stdin.read()\n"
        "os._exit(0)\n"  # at once: while Python cleans up, a sample would see less
    )
    process = subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    monitor = subprocess.Popen(
        [tool.OTOLITH, "monitor", "--pid", str(process.pid), "--interval", "0.25", "--out", tmp_path / "m.csv"]
    )
    used = float(process.stdout.readline())
    with open(f"/proc/{process.pid}/smaps_rollup", encoding="ascii") as f:
        smaps = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in f if ":" in line and "kB" in line}
    seen = count_lines(tmp_path / "m.csv")

    def is_recent():
        """On a busy machine proportional memory is looked at every few seconds."""
        with open(tmp_path / "m.csv", encoding="utf-8", newline="") as f:
            rows = list(csv.DictReader(f))
        return len(rows) >= seen + 2 and float(rows[-1]["memory_pss_mb"] or 0) > 80

    wait_until(is_recent)
    process.stdin.close()
    assert process.wait() == 0
    assert monitor.wait(PATIENCE_S) == 0  # ends when all have ended
    process.stdout.close()
    with open(tmp_path / "m.csv", encoding="utf-8", newline="") as f:
        rows = list(csv.DictReader(f))
    alive = [row for row in rows if row["ended"] == "0" and float(row["memory_rss_mb"]) > 0]
    assert rows[-1]["ended"] == "1"
    assert float(alive[-1]["cpu_seconds"]) == pytest.approx(used, rel=0.02)
    assert float(alive[-1]["memory_rss_mb"]) == pytest.approx(smaps["Rss"], rel=0.02)
    assert float(alive[-1]["memory_pss_mb"]) == pytest.approx(smaps["Pss"], rel=0.02)
    assert float(alive[-1]["memory_private_dirty_mb"]) == pytest.approx(smaps["Private_Dirty"], rel=0.02)
    # No faster than asked, and CPU percent that adds up to the CPU time.
    times = sorted({float(row["elapsed_seconds"]) for row in rows})
    steps = [b - a for a, b in zip(times, times[1:])]
    assert sorted(steps)[len(steps) // 2] > 0.22
    busy = sum(float(b["cpu_percent"]) / 100 * (float(b["elapsed_seconds"]) - float(a["elapsed_seconds"])) for a, b in zip(alive, alive[1:]))
    spent = float(alive[-1]["cpu_seconds"]) - float(alive[0]["cpu_seconds"])
    assert busy == pytest.approx(spent, rel=0.05, abs=0.05)


def test_the_monitor_sees_the_whole_tree(models, data, tmp_path):
    with RestServer(tmp_path / "data", "--workers", "1") as server:
        monitor = subprocess.Popen(
            [tool.OTOLITH, "monitor", "--port", str(server.port), "--interval", "0.1", "--out", tmp_path / "m.csv"]
        )
        server.submit(os.path.join(data, "en.wav"))

        def all_seen():
            with open(tmp_path / "m.csv", encoding="utf-8", newline="") as f:
                roles = {row["role"] for row in csv.DictReader(f)}
            return {"supervisor", "gateway", "worker", "decoder", "zygote"} <= roles

        wait_until(lambda: count_lines(tmp_path / "m.csv") > 0 and all_seen())
        monitor.send_signal(signal.SIGTERM)
        assert monitor.wait(PATIENCE_S) == 0
    assert not (tmp_path / "m.csv").read_text().endswith(",")


def test_monitor_of_nothing(tmp_path):
    gone = tool.run("monitor", "--pid", "4194000")
    assert gone.status == 4 and "4194000" in gone.err
    assert tool.run("monitor", "--name", "no such program as this one").status == 4
    assert tool.run("monitor", "--interval", "0").status == 2


# ---- the report ----


def numbers(text):
    return sorted(re.findall(r"[0-9][0-9.,]*[0-9]|[0-9]", text))


def test_the_originals_own_files(tmp_path):
    """Its three jobs, the true peaks by process, and what the parent's level line hides."""
    tool.good(
        "report", "--jsonl", os.path.join(ORIGINAL, "memory_leak_stress_test_20251209_234204.jsonl"),
        "--csv", os.path.join(ORIGINAL, "system_resources_20251209_234204.csv"), "--out", tmp_path,
    )  # fmt: skip
    english = (tmp_path / "report.en.md").read_text()
    chinese = (tmp_path / "report.zh-CN.md").read_text()
    for task in ("94a98d8c", "86f08099", "76b0e470"):
        assert task in english and task in chinese
    for row in (
        "| 2850 | rq | parent | N/A | 0.0–328.3 | 13.7 / 12.3 / **13.7** | 0.0 / 10 | 99.6 | N/A |",
        "| 4951 | rq | child | 94a98d8c | 1.2–83.5 | 473.8 / 4,543.3 / **5,200.8** | 120.7 / 419 | 20.3 | 70.4–82.2 (mean 342 %) |",
        "| 5433 | rq | child | 86f08099 | 92.0–217.4 | 278.0 / 4,393.0 / **4,926.4** | 224.8 / 428 | 9.3 | 158.6–216.1 (mean 392 %) |",
        "| 6144 | rq | child | 76b0e470 | 250.1–325.8 | 415.8 / 4,494.2 / **5,421.3** | 151.6 / 934 | 10.2 | 312.7–324.5 (mean 375 %) |",
    ):
        assert row in english
    assert "Samples: 730 in 255 ticks" in english and "5,450.6 MB" in english
    assert "The level line is the parent's" in english and "5,201, 4,926, 5,421 MB" in english
    assert "平稳的曲线属于父进程" in chinese and "5,201、4,926、5,421 MB" in chinese
    assert "an idle process was measured" in english and "passed" not in english.split("\n")[0]
    # The same figures in both languages: dates are written differently.
    head = re.compile(r"^- \*\*(Test time|测试时间).*$", re.M)
    assert numbers(head.sub("", english)) == numbers(head.sub("", chinese))


def test_pages_are_complete_in_themselves(tmp_path):
    tool.good(
        "report", "--jsonl", os.path.join(ORIGINAL, "memory_leak_stress_test_20251209_234204.jsonl"),
        "--csv", os.path.join(ORIGINAL, "system_resources_20251209_234204.csv"), "--out", tmp_path,
        "--lang", "zh-CN",
    )  # fmt: skip
    assert not (tmp_path / "report.en.html").exists()
    page = (tmp_path / "report.zh-CN.html").read_text()
    assert page.count("<svg") == 3 and page.count("<svg") == page.count("</svg>")
    assert 'lang="zh-CN"' in page and "prefers-color-scheme:dark" in page and "@media print" in page
    assert not re.search(r"(src|href)=\"(https?:)?//", page) and "<script" not in page
    for name in ("memory", "cpu", "rtf"):
        svg = (tmp_path / f"{name}.zh-CN.svg").read_text()
        assert "nan" not in svg.lower().replace("nano", "") and "inf" not in svg.replace("inference", "")


def test_names_of_strangers_are_text(tmp_path):
    record = {"test_id": "<script>|`*_", "status": "success", "audio_file": "a|b</td>.wav", "concurrency": 1}
    (tmp_path / "x.jsonl").write_text(json.dumps(record) + "\nnot json\n")
    tool.good("report", "--jsonl", tmp_path / "x.jsonl", "--out", tmp_path / "r")
    page = (tmp_path / "r" / "report.en.html").read_text()
    assert "<script" not in page and "b</td>.wav" not in page
    assert "1 broken lines" in (tmp_path / "r" / "report.en.md").read_text()


def test_what_is_no_run_is_refused(tmp_path):
    (tmp_path / "x").write_text("hello\n")
    bad = tool.run("report", "--jsonl", tmp_path / "x", "--out", tmp_path / "r")
    assert bad.status == 3 and "no record" in bad.err
    assert tool.run("report", "--jsonl", tmp_path / "y").status == 4
    assert tool.run("report").status == 2
    assert tool.run("report", "--jsonl", tmp_path / "x", "--lang", "fr").status == 2
