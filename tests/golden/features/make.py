#!/usr/bin/env python3
"""Makes fbank.bin and logmel.bin, which tests/unit/features reads: what kaldi-native-fbank (with
funasr-onnx's stacking) and faster-whisper's FeatureExtractor make of a recording and of signals that
both sides compute.

Needs kaldi-native-fbank, funasr-onnx and faster-whisper; run it in the repository's root.

A file is records to its end, little endian: char name[16], i32 frames in all, i32 rows kept,
i32 width, then each row kept: i32 frame, f32 values[width].
"""
import math
import pathlib
import struct
import types

import kaldi_native_fbank as knf
import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor
from funasr_onnx.utils.frontend import WavFrontend

HERE = pathlib.Path(__file__).parent


def lcg(n):
    x, out = 1, np.empty(n, np.int64)
    for i in range(n):
        x = (1664525 * x + 1013904223) & 0xFFFFFFFF
        out[i] = x
    return out


def tone():
    """One second of a tone in noise."""
    u = (lcg(16000) >> 8) / 8388608 - 1
    v = [0.3 * math.sin(2 * math.pi * 440 * i / 16000) + 0.1 * u[i] for i in range(16000)]
    return np.array([math.floor(x * 32767 + 0.5) for x in v])


def edges():
    """Silence, an impulse, the last bit only, a full-scale square wave: 4000 samples each."""
    out = np.zeros(16000, np.int64)
    out[5000] = 32767
    out[8000:12000] = (lcg(4000) >> 16) % 3 - 1
    out[12000:] = np.where(np.arange(4000) // 50 % 2 == 0, 32767, -32768)
    return out


def long_noise():
    """Noise in 31 steps of a second each, more than a window holds; the loudest is the last that fits."""
    r = (lcg(31 * 16000) >> 16) - 32768
    return r >> (15 - (np.arange(31 * 16000) // 16000) // 2)


def sample():
    return np.frombuffer(pathlib.Path("tests/data/zh/sample.wav").read_bytes()[44:], np.int16).astype(np.int64)


def record(name, rows, keep):
    rows = np.ascontiguousarray(rows, np.float32)
    out = struct.pack("<16siii", name.encode(), len(rows), len(keep), rows.shape[1])
    for i in keep:
        out += struct.pack("<i", i) + rows[i].tobytes()
    return out


def every(n, step):
    return sorted(set(range(0, n, step)) | ({n - 1} if n else set()))


def fbank(pcm):
    o = knf.FbankOptions()
    o.frame_opts.samp_freq = 16000
    o.frame_opts.dither = 0
    o.frame_opts.window_type = "hamming"
    o.mel_opts.num_bins = 80
    o.energy_floor = 0
    f = knf.OnlineFbank(o)
    f.accept_waveform(16000, pcm.tolist())
    return np.array([f.get_frame(i) for i in range(f.num_frames_ready)], np.float32).reshape(-1, 80)


def stacked(frames, m, n):
    """Statistics that both sides can make: shift -k / 8, scale 1 / (4 + k % 4) for mel bin k."""
    k = np.arange(80 * m) % 80
    out = WavFrontend.apply_lfr(frames, m, n)
    return (out + (-k / 8).astype(np.float32)) * (1 / (4 + k % 4)).astype(np.float32)


def logmel(pcm, mels):
    x = (pcm / 32768).astype(np.float32)[:480000]
    return FeatureExtractor(feature_size=mels)(x).T[:len(x) // 160]


out = b""
for name, pcm, step in (("tone", tone(), 7), ("edges", edges(), 3), ("sample", sample(), 11)):
    frames = fbank(pcm)
    out += record(name, frames, every(len(frames), step))
frames = fbank(sample()[:16000 + 700])
for m, n, step in ((5, 1, 20), (7, 6, 5)):
    rows = stacked(frames, m, n)
    out += record(f"stack {m} {n}", rows, every(len(rows), step))
(HERE / "fbank.bin").write_bytes(out)

out = b""
for mels in (80, 128):
    for name, pcm, step in (("tone", tone(), 9), ("edges", edges(), 9), ("sample", sample(), 50), ("long", long_noise(), 500)):
        rows = logmel(pcm, mels)
        out += record(f"{name} {mels}", rows, every(len(rows), step))
for n in (160, 199, 200, 201, 399, 400, 401, 560):
    rows = logmel(tone()[:n], 80)
    out += record(f"tone of {n}", rows, range(len(rows)))
(HERE / "logmel.bin").write_bytes(out)
