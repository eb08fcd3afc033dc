#!/usr/bin/env python3
"""How otolith scales: with threads, with the length of a recording, with jobs at once.

threads  one recording with 1, 2, 4 and 8 threads, in turn: 1 2 4 8 1 2 4 8 … A speed-up is taken within a
         round. Beside it stands what the stages' times with one thread allow at most (otolith bench).
length   1 minute, 10 minutes, 1 hour and 10 hours, all of the same ten minutes of sound: the minutes are
         those ten one by one, an hour is six times the ten minutes, each time begun at another place. So
         a second costs the same unless the length makes it dearer. Through a pipe: nothing of it is kept.
jobs     clips of about 10 s by 1 to 64 clients at once, the same number of jobs each time, through one
         server: submit, events until the end, result. Latency is all three.

Core-seconds are user and system time of the program, or of the server's processes; memory is the sum over
the process tree, sampled, and the kernel's own figure of the largest process where that is more. Texts have
to be equal whatever the number of threads and jobs, and the text of the ten minutes has to be the beginning
of the hours'; else the exit status is 1.

usage: scaling.py [--model whisper-tiny.en] [--only threads|length|jobs]... [--hours 10] [--json FILE]
"""

import argparse
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import wave

from parts import ROOT, Peak, Server, cut, environment, measure, prompts, tree_core_s

RATE = 16000
MINUTE = 60 * RATE * 2  # bytes of a minute of 16 bits
MINUTES = [1, 10, 60, 600]
LOOP = 10  # minutes that the longer ones repeat
SHIFT = 37 * RATE * 2  # so much later begins each repetition


# ---- the machine ----


def cores():
    """Those we may use, as otolith counts them."""
    n = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max") as f:
            quota, period = f.read().split()
        return n if quota == "max" else max(1, min(n, -(-int(quota) // int(period))))
    except OSError:
        return n


def machine():
    with open("/proc/cpuinfo") as f:
        names = [line.partition(":")[2].strip() for line in f if line.startswith("model name")]
    return {"cpu": names[0] if names else "unknown", "cores": cores(), "load": os.getloadavg()[0]}


# ---- one recording ----


def transcribe(args, threads, audio, sound=None):
    """otolith transcribe, of 16-bit samples through a pipe where there are some."""
    command = [args.otolith, "transcribe", "-m", args.model, "-l", args.language, "--beam", str(args.beam)]
    command += ["--threads", str(threads), "-q", *(["--raw", f"s16le:{RATE}"] if sound else []), audio]
    text, wall, core, peak = measure(command, environment(args.models), sound)
    return {"text": text, "wall_s": wall, "core_s": core, "peak_bytes": peak}


def middle(runs):
    return {key: statistics.median(r[key] for r in runs) for key in ("wall_s", "core_s", "peak_bytes")}


def stages(args, audio):
    """{stage: seconds} with one thread."""
    command = [args.otolith, "bench", "-m", args.model, "-l", args.language, "--beam", str(args.beam)]
    command += ["--threads", "1", "--json", "-", audio]
    out = subprocess.run(command, env=environment(args.models), stdout=subprocess.PIPE, check=True).stdout
    return {s["name"]: s["wall_s"] for s in json.loads(out)["stages"]}


def bound(stage, threads):
    """The speed-up on as many cores, two at least, if front end, encoder and decoder were shared out perfectly:
    one more thread decodes and detects speech ahead of the model."""
    ahead = stage["decode"] + stage.get("vad", 0)
    shared = stage["front end"] + stage["encoder"] + stage["decoder"]
    return max(ahead, shared) / max(ahead, shared / threads, (ahead + shared) / max(threads, 2))


def by_threads(args):
    audio = os.path.join(args.data, args.language + ".wav")
    transcribe(args, 1, audio)  # once before: caches, packing
    rounds = [{n: transcribe(args, n, audio) for n in args.threads} for _ in range(args.rounds)]
    base, stage = args.threads[0], stages(args, audio)
    rows = [
        {
            "threads": n,
            **middle([r[n] for r in rounds]),
            "speed_up": statistics.median(r[base]["wall_s"] / r[n]["wall_s"] for r in rounds),
            "at_most": bound(stage, n) / bound(stage, base),
        }
        for n in args.threads
    ]
    texts = {run["text"] for r in rounds for run in r.values()}
    with wave.open(audio) as w:
        seconds = w.getnframes() / w.getframerate()
    return {"audio_s": seconds, "rounds": args.rounds, "stages_s": stage, "rows": rows, "same_text": len(texts) == 1}


def show_threads(part, n_cores):
    print(f"\nthreads: {part['audio_s']:.0f} s of sound, {part['rounds']} rounds in turn")
    print(f"{'threads':>8} {'wall s':>9} {'core-s':>9} {'peak MB':>9} {'speed-up':>9} {'at most':>9}")
    for r in part["rows"]:
        mark = " *" if r["threads"] > n_cores else ""
        print(
            f"{r['threads']:>8} {r['wall_s']:>9.2f} {r['core_s']:>9.2f} {r['peak_bytes'] / 1e6:>9.0f}"
            f" {r['speed_up']:>9.2f} {r['at_most']:>9.2f}{mark}"
        )
    if part["rows"][-1]["threads"] > n_cores:
        print(f"* more threads than the {n_cores} cores here: shows what they cost on the same cores, not what they gain on more.")
    print("one thread, stage by stage: " + ", ".join(f"{k} {v:.2f} s" for k, v in part["stages_s"].items()))
    print("texts: " + ("the same with every number of threads" if part["same_text"] else "DIFFERENT"), flush=True)


# ---- length ----


def ten_minutes(args):
    with wave.open(os.path.join(args.data, args.language + ".wav")) as w:
        assert (w.getframerate(), w.getsampwidth(), w.getnchannels()) == (RATE, 2, 1)
        pcm = w.readframes(LOOP * 60 * RATE)
    assert len(pcm) == LOOP * MINUTE, "the recording is shorter than ten minutes"
    return pcm


def looped(pcm, minutes):
    """So many times the ten minutes, each begun at another place."""
    for n in range(minutes // LOOP):
        at = n * SHIFT % len(pcm)
        yield pcm[at:]
        yield pcm[:at]


def recordings(pcm, minutes):
    """Whole turns of the ten minutes: ten recordings of a minute, or one recording."""
    if minutes < LOOP:
        return [[pcm[at : at + minutes * MINUTE]] for at in range(0, len(pcm), minutes * MINUTE)]
    return [looped(pcm, minutes)]


def hear_all(args, pcm, minutes):
    """One recording or several, as one figure."""
    runs = [transcribe(args, cores(), "-", sound) for sound in recordings(pcm, minutes)]
    return {
        "text": "".join(r["text"] for r in runs),
        "audio_s": max(minutes, LOOP) * 60,
        "wall_s": sum(r["wall_s"] for r in runs),
        "core_s": sum(r["core_s"] for r in runs),
        "peak_bytes": max(r["peak_bytes"] for r in runs),
    }


def begins(text, longer):
    """Share of the text's words that stand at the beginning of the longer one."""
    words, others = text.split(), longer.split()
    return len(os.path.commonprefix([words, others])) / len(words)


def by_length(args):
    pcm, rows, ten = ten_minutes(args), [], ""
    for minutes in [m for m in MINUTES if m <= args.hours * 60]:
        runs = [hear_all(args, pcm, minutes) for _ in range(args.rounds if minutes <= LOOP else 1)]
        audio_s, took, text = runs[0]["audio_s"], middle(runs), runs[0]["text"]
        ten = text if minutes == LOOP else ten
        rows.append(
            {
                "minutes": minutes,
                **took,
                "audio_s": audio_s,
                "rtf": took["wall_s"] / audio_s,
                "core_s_per_s": took["core_s"] / audio_s,
                "words_per_minute": len(text.split()) / (audio_s / 60),
                "begins_as_ten": begins(ten, text) if minutes > LOOP else None,
            }
        )
    # The last window of the ten minutes goes on in a longer recording.
    return {"threads": cores(), "rows": rows, "same_text": all((r["begins_as_ten"] or 1) > 0.9 for r in rows)}


def show_length(part):
    print(f"\nlength: {part['threads']} threads; the minutes are the same ten, one by one, their sum taken as one")
    print(f"{'minutes':>8} {'wall s':>9} {'RTF':>9} {'core-s':>9} {'core-s/s':>9} {'peak MB':>9} {'words/min':>9}")
    for r in part["rows"]:
        print(
            f"{r['minutes']:>8} {r['wall_s']:>9.2f} {r['rtf']:>9.5f} {r['core_s']:>9.2f} {r['core_s_per_s']:>9.5f}"
            f" {r['peak_bytes'] / 1e6:>9.0f} {r['words_per_minute']:>9.1f}"
        )
    for r in part["rows"]:
        if r["begins_as_ten"] is not None:
            print(f"{r['minutes']} minutes begin with {100 * r['begins_as_ten']:.1f} % of the words of the ten minutes")
    print(end="", flush=True)


# ---- jobs ----


def joined(spans, least_ms=8000, most_ms=12000):
    """Prompts that follow each other, so many together as make a clip of this length."""
    clips, i = [], 0
    while i < len(spans):
        first = i
        while i + 1 < len(spans) and spans[i][1] - spans[first][0] < least_ms:
            i += 1
        start, end = spans[first][0], spans[i][1]
        if least_ms <= end - start <= most_ms:
            clips.append((start, end, " ".join(text for _, _, text in spans[first : i + 1])))
        i += 1
    return clips


def do_job(server, language, clip):
    """(seconds, text) from the first byte sent to the last received."""
    start = time.perf_counter()
    job = server.post("/api/v1/asr/submit", {"language": language}, "audio", clip)["task_id"]
    server.get(f"/api/v1/jobs/{job}/events")
    result = json.loads(server.get(f"/api/v1/asr/result/{job}"))
    if result["status"] != "done":
        raise RuntimeError(f"{clip}: {result['status']}: {result['error']}")
    return time.perf_counter() - start, result["text"]


def crowd(server, language, clips, clients):
    """A row of the table, and the texts."""
    pid = server.process.pid
    core, start = tree_core_s(pid), time.perf_counter()
    with Peak(pid, every_s=0.5) as peak, concurrent.futures.ThreadPoolExecutor(clients) as pool:
        done = list(pool.map(lambda clip: do_job(server, language, clip[0]), clips))
    wall, core = time.perf_counter() - start, tree_core_s(pid) - core
    times = [seconds for seconds, _ in done]
    row = {
        "clients": clients,
        "wall_s": wall,
        "clips_per_s": len(clips) / wall,
        "core_s_per_s": core / sum(seconds for _, seconds, _ in clips),
        "p50_s": statistics.median(times),
        "p95_s": statistics.quantiles(times, n=20, method="inclusive")[-1],
        "peak_bytes": peak.bytes,
    }
    return row, [text for _, text in done]


def by_jobs(args):
    with tempfile.TemporaryDirectory() as folder:
        spans = joined(prompts(args.data, args.language))
        clips = cut(args.data, args.language, spans, folder)
        clips = [clips[i % len(clips)] for i in range(args.jobs)]
        server = Server(args.otolith, args.models, folder, "-m", args.model, "--beam", str(args.beam))
        try:
            crowd(server, args.language, clips[:8], 8)  # models are loaded, and what decodes is there
            done = [crowd(server, args.language, clips, n) for n in args.clients]
        finally:
            server.close()
    clip_s = statistics.median(seconds for _, seconds, _ in clips)
    same = all(texts == done[0][1] for _, texts in done)
    return {"jobs": args.jobs, "clip_s": clip_s, "rows": [r for r, _ in done], "same_text": same}


def show_jobs(part):
    print(f"\njobs at once: {part['jobs']} clips of {part['clip_s']:.1f} s in the middle each time, one server as it is set by default")
    print(f"{'at once':>8} {'wall s':>9} {'clips/s':>9} {'core-s/s':>9} {'p50 s':>9} {'p95 s':>9} {'peak MB':>9}")
    for r in part["rows"]:
        print(
            f"{r['clients']:>8} {r['wall_s']:>9.2f} {r['clips_per_s']:>9.2f} {r['core_s_per_s']:>9.5f} {r['p50_s']:>9.3f}"
            f" {r['p95_s']:>9.3f} {r['peak_bytes'] / 1e6:>9.0f}"
        )
    print("texts: " + ("the same with every number of jobs" if part["same_text"] else "DIFFERENT"), flush=True)


# ---- all of it ----


def numbers(text):
    return [int(n) for n in text.split(",")]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--otolith", default=os.path.join(ROOT, "build/release/otolith"))
    parser.add_argument("--models", default=os.environ.get("OTOLITH_MODELS", os.path.join(ROOT, "models")))
    parser.add_argument("--model", default="whisper-tiny.en")
    parser.add_argument("--language", default="en")
    parser.add_argument("--data", default=os.environ.get("OTO_TEST_DATA", os.path.join(ROOT, "build/testdata")))
    parser.add_argument("--beam", type=int, default=5)
    parser.add_argument("--only", action="append", choices=["threads", "length", "jobs"], help="may be repeated; all by default")
    parser.add_argument("--rounds", type=int, default=3, help="of threads, and of recordings up to ten minutes")
    parser.add_argument("--threads", type=numbers, default=[1, 2, 4, 8], help="1,2,4,8")
    parser.add_argument("--hours", type=float, default=10, help="the longest recording: 1 leaves out the ten hours")
    parser.add_argument("--jobs", type=int, default=64, help="clips for each number of clients")
    parser.add_argument("--clients", type=numbers, default=[1, 2, 4, 8, 16, 32, 64], help="1,2,4,8,16,32,64")
    parser.add_argument("--json", help="file for the same as JSON")
    return parser.parse_args()


def main():
    args = arguments()
    only = args.only or ["threads", "length", "jobs"]
    result = {"model": args.model, "beam": args.beam, "machine": machine()}
    here = result["machine"]
    print(f"{args.model}, beam {args.beam}; {here['cpu']}, {here['cores']} cores, load {here['load']:.1f} before", flush=True)
    if "threads" in only:
        result["threads"] = by_threads(args)
        show_threads(result["threads"], here["cores"])
    if "length" in only:
        result["length"] = by_length(args)
        show_length(result["length"])
    if "jobs" in only:
        result["jobs"] = by_jobs(args)
        show_jobs(result["jobs"])
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=2)
            f.write("\n")
    return 0 if all(result[part]["same_text"] for part in only) else 1


if __name__ == "__main__":
    sys.exit(main())
