#!/usr/bin/env python3
"""Compares otolith's speech segments with those of the funasr-onnx package, to the millisecond.

Usage: vad_peer.py VAD_DUMP CONFIG_DIR [--dynamic] [--pieces 0,-1,160] [--seeds N] [WAV...]

VAD_DUMP is the program built from vad_dump.c. CONFIG_DIR holds model.onnx, am.mvn and config.yaml,
as published. Each WAV (16 kHz or 8 kHz, 16 bits, mono; the latter is doubled by interpolation) is
compared as it is and in variants: quiet, loud, in noise, with silence around it. --seeds adds
recordings put together at random from the given ones: with pauses of any length, tones, noise, very
short ones, and lengths around the 6000 frames in which the reference takes its features.

--dynamic compares FunASR's dynamic end silence instead: the package does not have that rule, so its
own network and end-point machine are driven with it here, in pieces of 60 s.
"""
import argparse
import math
import os
import subprocess
import sys
import tempfile
import wave

import numpy as np

TABLE = ((10000, 2000), (20000, 1000), (30000, 800), (40000, 600), (50000, 400), (60000, 200))
PIECE = 960000


def peer_vad(config_dir):
    from funasr_onnx import Fsmn_vad
    return Fsmn_vad(config_dir)


def peer_fixed(vad, pcm):
    if len(pcm) < 400:
        return []  # the package fails: no frame
    found = vad(pcm)[0]
    return [tuple(s) for s in found]


def peer_dynamic(vad, pcm):
    """AutoModel's rule. Rows of a piece are those that its samples complete: two frames late."""
    from funasr_onnx.utils.e2e_vad import E2EVadModel, VadStateMachine
    if len(pcm) < 400:
        return []
    feats, _ = vad.extract_feat([pcm])
    scores, _ = vad.infer([feats] + vad.prepare_cache([]))
    scorer = E2EVadModel(vad.vad_scorer_config)
    frames, found, spoken, speaking, at = feats.shape[1], [], 0, False, 0
    pieces = len(pcm) // PIECE + 1
    for i in range(pieces):
        final = i == pieces - 1
        samples = min(len(pcm), (i + 1) * PIECE)
        ready = frames if final else max(0, (samples - 400) // 160 + 1 - 2)
        if scorer.vad_state_machine == VadStateMachine.kVadInStateInSpeechSegment or speaking:
            spoken += 60000
            speaking = True
        end_ms = next((v for until, v in TABLE if spoken <= until), 100)
        scorer.speech_noise_thres = 0.5
        part = []
        if ready > at:
            # The decibels follow the frames; the network ran over all of them before.
            part = scorer(scores[:, at:ready], pcm[None, at * 160:(ready - 1) * 160 + 400], is_final=final,
                          max_end_sil=max(end_ms, 150), online=False)
        if part:
            found += part[0]
            spoken, speaking = 0, False
        at = max(at, ready)
    return [tuple(s) for s in found]


def ours(program, config_dir, rule, piece, recordings):
    with tempfile.TemporaryDirectory() as folder:
        paths = []
        for i, pcm in enumerate(recordings):
            paths.append(os.path.join(folder, f"{i}.f32"))
            pcm.astype(np.float32).tofile(paths[-1])
        run = subprocess.run([program, config_dir, rule, str(piece), *paths], stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, check=True)
    print(f"  pieces of {piece}: {run.stderr.strip()}", flush=True)
    return [[tuple(int(t) for t in s.split("-")) for s in line.split()] for line in run.stdout.splitlines()]


def load(path):
    with wave.open(path) as w:
        assert w.getnchannels() == 1 and w.getsampwidth() == 2, path
        pcm = np.frombuffer(w.readframes(w.getnframes()), np.int16).astype(np.float32) / 32768
        if w.getframerate() == 8000:
            at = np.arange(2 * len(pcm)) / 2
            pcm = np.interp(at, np.arange(len(pcm)), pcm).astype(np.float32)
        else:
            assert w.getframerate() == 16000, path
    return pcm


def to_pcm16(x):
    return (np.clip(np.round(x * 32768), -32768, 32767) / 32768).astype(np.float32)


def variants(name, pcm, rng):
    noise = rng.standard_normal(len(pcm)).astype(np.float32)
    yield name, pcm
    yield name + " quiet", to_pcm16(pcm * 0.02)
    yield name + " loud", to_pcm16(pcm * 8)
    yield name + " noise", to_pcm16(pcm + noise * 0.01)
    yield name + " much noise", to_pcm16(pcm + noise * 0.1)
    pause = np.zeros(16000, np.float32)
    yield name + " in silence", np.concatenate([pause, pcm, pause])


def music(n, rng):
    t, out = np.arange(n) / 16000, np.zeros(n)
    for _ in range(4):
        f = 110 * 2 ** (rng.integers(0, 36) / 12)
        out += np.sin(2 * np.pi * f * t) * np.exp(-2 * (t * rng.uniform(1, 4) % 1))
    return out * 0.1


def built(speech, rng):
    """One recording put together at random."""
    kind = rng.integers(0, 6)
    if kind == 0:  # very short
        pcm = speech[rng.integers(len(speech))]
        at = rng.integers(0, max(1, len(pcm) - 1600))
        return "short", pcm[at:at + rng.integers(1, 1600)]
    goal = int(rng.integers(16000, 40 * 16000))
    if kind == 1:  # around a multiple of 6000 frames
        goal = 400 + 160 * int(rng.choice([6000, 12000]) - 1 + rng.integers(-3, 4)) + int(rng.integers(0, 160))
    if kind == 2:
        goal = int(rng.integers(60 * 16000, 200 * 16000))
    level = 10 ** rng.uniform(-4, -1)
    parts, n = [], 0
    while n < goal:
        what = rng.random()
        if what < 0.5:
            pcm = speech[rng.integers(len(speech))]
            at = rng.integers(0, len(pcm) // 2)
            part = pcm[at:at + rng.integers(1600, 20 * 16000)] * 10 ** rng.uniform(-1.5, 0.3)
        elif what < 0.85:
            part = np.zeros(int(rng.integers(160, 40000)))
        elif what < 0.95:
            part = rng.standard_normal(int(rng.integers(160, 40000))) * 10 ** rng.uniform(-4, -0.5)
        else:
            part = music(int(rng.integers(1600, 60000)), rng)
        parts.append(part)
        n += len(part)
    pcm = np.concatenate(parts)[:goal]
    if kind == 3:
        pcm = pcm + rng.standard_normal(goal) * level
    return f"built {goal}", to_pcm16(pcm)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("config_dir")
    parser.add_argument("--dynamic", action="store_true")
    parser.add_argument("--pieces", default="0,-1,160")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--plain", action="store_true", help="no variants of the given recordings")
    parser.add_argument("wavs", nargs="*")
    a = parser.parse_intermixed_args()

    rng = np.random.default_rng(1)
    speech = [load(p) for p in a.wavs]
    named = []
    for path, pcm in zip(a.wavs, speech):
        name = os.path.basename(path)
        named += [(name, pcm)] if a.plain else variants(name, pcm, rng)
    named += [(f"{n} samples of silence", np.zeros(n, np.float32)) for n in (0, 1, 399, 400, 16000)]
    for seed in range(a.first_seed, a.first_seed + a.seeds):
        name, pcm = built(speech, np.random.default_rng(seed))
        named.append((f"seed {seed}: {name}", pcm))

    vad = peer_vad(a.config_dir)
    peer = peer_dynamic if a.dynamic else peer_fixed
    wanted = []
    for name, pcm in named:
        try:
            wanted.append(peer(vad, pcm))
        except ValueError as error:  # the logarithm of a probability of 0
            print(f"{name}: the reference fails: {error}")
            wanted.append(None)
    wrong = 0
    rule = "dynamic" if a.dynamic else "fixed"
    for piece in a.pieces.split(","):
        got = ours(a.program, a.config_dir, rule, int(piece), [pcm for _, pcm in named])
        assert len(got) == len(named)
        for (name, pcm), want, have in zip(named, wanted, got):
            if want is not None and want != have:
                wrong += 1
                print(f"{name}, {len(pcm)} samples, pieces of {piece}:\n"
                      f"  only the reference {sorted(set(want) - set(have))}\n"
                      f"  only otolith {sorted(set(have) - set(want))}")
    total = sum(len(w) for w in wanted if w)
    hours = math.fsum(len(p) for _, p in named) / 16000 / 3600
    print(f"{len(named)} recordings, {hours:.2f} h, {total} segments, {rule}: {wrong} differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
