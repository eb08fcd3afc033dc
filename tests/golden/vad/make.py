#!/usr/bin/env python3
"""Makes endpoint.txt and segments.txt, which tests/unit/models/fsmn_vad reads: what funasr-onnx's
end-point machine decides on made-up probabilities, and what its Fsmn_vad finds in recordings that
both sides put together from tests/data/zh.

Usage, in the repository's root: tests/golden/vad/make.py CONFIG_DIR
CONFIG_DIR holds model.onnx, am.mvn and config.yaml as published. Needs funasr-onnx.
"""
import contextlib
import io
import pathlib
import sys

import numpy as np
from funasr_onnx import Fsmn_vad
from funasr_onnx.utils.e2e_vad import E2EVadModel

HERE = pathlib.Path(__file__).parent


class Random:
    def __init__(self, seed):
        self.x = seed

    def next(self, n):
        self.x = (1664525 * self.x + 1013904223) & 0xFFFFFFFF
        return (self.x >> 8) % n


def text(segments):
    return " ".join(f"{a}-{b}" for a, b in segments)


# ---- the end-point machine

def frames(seed, n):
    """Probabilities of silence, in long and short runs with some frames turned over; and loudness."""
    r = Random(seed)
    p, db, silent, left = [], [], True, 0
    for _ in range(n):
        if left == 0:
            silent = not silent
            left = 1 + r.next((4, 30, 200, 2000)[r.next(4)])
        left -= 1
        turned = r.next(16) == 0
        p.append((30 if silent != turned else 2) / 32 + r.next(32) / 1024 - 1 / 64)
        db.append(-60 + r.next(80))
    return np.array(p, np.float32), db


class Scorer(E2EVadModel):
    """Takes loudness as given."""

    def ComputeDecibel(self):
        self.decibel += self.given
        self.data_buf_all_size = 160 * self.frames_in_all + 400
        self.data_buf_size = self.data_buf_all_size - 160 * self.data_buf_start_frame


def decide(seed, n, o, switch_at, end2_ms):
    p, db = frames(seed, n)
    scorer = Scorer({"max_end_silence_time": o[0], "speech_to_sil_time_thres": o[1], "sil_to_speech_time_thres": o[2],
                     "max_single_segment_time": o[3], "lookback_time_start_point": o[4],
                     "lookahead_time_end_point": o[5], "speech_noise_thres": o[6], "decibel_thres": o[7],
                     "snr_thres": o[8]})
    scorer.frames_in_all = n
    found = []
    for a, b, end_ms in ((0, switch_at, o[0]), (switch_at, n, end2_ms)):
        scorer.given = db[a:b]
        part = scorer(p[None, a:b, None], np.zeros((1, 1)), is_final=b == n, max_end_sil=end_ms) if b > a else []
        found += part[0] if part else []
    return found


def make_endpoint():
    r = Random(1)
    lines = []
    for seed in range(1, 121):
        n = (1, 15, 40, 300, 3000)[r.next(5)] + r.next(300)
        o = [800, 150, 150, 60000, 200, 100, 0.6, -100, -100]
        if seed % 3 == 0:
            o[0] = 150 + 10 * r.next(200)
        if seed % 4 == 0:
            o[3] = 1000 + r.next(20000)
        if seed % 5 == 0:
            o[4], o[5] = 10 * r.next(30), 10 * r.next(30)
        if seed % 7 == 0:
            o[1] = o[2] = 10 * (1 + r.next(20))
        if seed % 11 == 0:
            # not decibel_thres: the package counts frames below it twice
            o[6], o[8] = 0.5, r.next(30)
        o[0] = max(o[0], o[1])  # the package counts backwards when the end comes before the turn
        switch_at, end2_ms = (r.next(n), o[1] + 10 * r.next(200)) if seed % 6 == 0 else (n, o[0])
        if switch_at == n - 1:
            switch_at = n
        with contextlib.redirect_stdout(io.StringIO()):
            found = decide(seed, n, o, min(switch_at, n), end2_ms)
        lines.append(f"{seed} {n} {switch_at} {end2_ms} {' '.join(map(str, o))}: {text(found)}")
    (HERE / "endpoint.txt").write_text("\n".join(lines) + "\n")


# ---- recordings

def recording(seed, speech):
    """Parts of the two recordings at some level, pauses, noise; or only speech, for more than a minute."""
    r = Random(seed)
    kind = r.next(8)
    goal = (16000 * (2 + r.next(30)), 400 + 160 * (5996 + r.next(8)) + r.next(160), 16000 * (65 + r.next(70)),
            1 + r.next(3000))[kind if kind < 4 else 0]
    parts, n = [], 0
    while n < goal:
        what = 0 if seed % 5 == 0 else r.next(8)
        if what < 5:
            pcm = speech[r.next(2)]
            at = r.next(len(pcm) // 2)
            part = pcm[at:at + 1600 + r.next(80000)] * (256 >> r.next(5)) >> 8
        elif what < 7:
            part = np.zeros(160 + r.next(40000), np.int64)
        else:
            level = r.next(12)
            part = np.array([(r.next(65536) - 32768) >> (4 + level) for _ in range(160 + r.next(20000))])
        parts.append(part)
        n += len(part)
    pcm = np.concatenate(parts)[:goal]
    if seed % 4 == 0:
        level = r.next(6)
        pcm = np.clip(pcm + [(r.next(65536) - 32768) >> (5 + level) for _ in range(goal)], -32768, 32767)
    return pcm


def make_segments(config_dir):
    vad = Fsmn_vad(config_dir)
    speech = [np.frombuffer(pathlib.Path(f"tests/data/zh/{name}.wav").read_bytes()[44:], np.int16).astype(np.int64)
              for name in ("sample", "asr_example")]
    lines = []
    for seed in range(1, 33):
        pcm = recording(seed, speech)
        found = vad((pcm / 32768).astype(np.float32))[0] if len(pcm) >= 400 else []
        lines.append(f"{seed} {len(pcm)} {int(pcm.sum())}: {text(found)}")
    (HERE / "segments.txt").write_text("\n".join(lines) + "\n")


make_endpoint()
make_segments(sys.argv[1])
