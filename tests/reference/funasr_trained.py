#!/usr/bin/env python3
"""What fewer bits cost a Paraformer and a SenseVoice whose weights are really trained, without downloads.

    funasr_trained.py FUNASR_DUMP --scratch FOLDER [--family F] [--only f16/f32,f32/int8] [--steps 1000]

FunASR's own classes and losses, at the real width (512, 2048 inside, 4 heads, 11 taps) with 4 + 2 layers, learn from
random weights to write down words of asterisk-core-sounds: the English prompts that are one word (numbers, days, months,
letters, spelling alphabet), in one voice. Each recording is words in a random order with pauses, each faster or slower,
all louder or softer and in noise, masked as well (SpecAugment). So it is known where each word is, and at first, less
and less, the networks are also told: which rows are which word (through a layer that is thrown away, or CTC's), and
Paraformer's predictor in which rows a word weighs. From then on it is FunASR's losses alone: CTC and cross entropy of
the four tags; cross entropy of what the decoder says (without the sampler) and the difference in the number of tokens.
AdamW; the rate rises and falls once.

Then they are made as deep as the published ones: of each layer as many copies follow one another as are needed, and
each adds its share of what the one added to the stream. As long as a layer's input changes little from copy to copy that
is the same function (Chen et al., arXiv:1806.07366), and in trained networks rows of neighbouring layers are nearly
parallel; the words that are right tell how well it holds.

At both depths new recordings are heard by PyTorch and by otolith as in funasr_peer.py: tokens against the texts,
otolith's float32 against PyTorch's, fewer bits against otolith's own float32. Weights stay in the scratch folder; another
machine makes the same but for rounding. Training takes a quarter of an hour a family on one free core.
"""
import argparse
import concurrent.futures
import copy
import gzip
import os
import re
import sys

import funasr_models as fm
import funasr_peer as peer
import numpy as np
import torch

sys.path.insert(0, os.path.join(fm.ROOT, "scripts"))
import join_prompts

RATE = 16000
ROW = 0.06 * RATE  # samples
LAYERS = (4, 2)  # that are trained: of the encoder; of the decoder or the second stack
DEEP = {"paraformer": (50, 16), "sensevoice": (50, 20)}
LEARNING_RATE = 4e-4
BATCH = 4  # recordings of a step
TOLD = 0.5  # of the steps: where words are
TAGS = ["<|en|>", "<|NEUTRAL|>", "<|Speech|>", "<|withitn|>"]  # SenseVoice's last tokens here
FIRST = 3  # token, after <unk>, which is CTC's blank, <s> and </s>
N_COMPARED = 20  # recordings of 1 to 30 s


# ---- words ----


def listed():
    """[(path, word)] of prompts of one word."""
    sounds = os.path.join(join_prompts.SOUNDS, join_prompts.FOLDERS["en"])
    found = []
    with gzip.open(os.path.join(join_prompts.TEXTS, "asterisk-core-sounds-en/core-sounds-en.txt.gz"), "rt", encoding="utf-8-sig") as f:
        for line in f:
            name, _, text = line.partition(":")
            word = re.sub(r"\[.*\]", "", text).strip().strip(".!?").lower()
            path = os.path.join(sounds, name.strip() + ".g722")
            if re.fullmatch(r"[^\W\d_][\w.'-]*", word) and os.path.exists(path):
                found.append((path, word))
    return found


def spoken(path):
    """Samples from the first to the last that is loud."""
    pcm = np.frombuffer(join_prompts.decode(path), np.int16).astype(np.float32) / 32768
    loud = np.abs(pcm[: len(pcm) // 160 * 160]).reshape(-1, 160).max(1)
    where = (loud > 0.05 * loud.max()).nonzero()[0]
    return pcm[where[0] * 160 : (where[-1] + 1) * 160]


def words(scratch):
    """([(samples, token)], names of the tokens from FIRST on), decoded once."""
    path = os.path.join(scratch, "words.pt")
    if not os.path.exists(path):
        found = listed()
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            torch.save([found, list(pool.map(spoken, [p for p, _ in found]))], path)
    found, sounds = torch.load(path, weights_only=False)
    names = sorted({word for _, word in found})
    return [(pcm, FIRST + names.index(word)) for pcm, (_, word) in zip(sounds, found)], names


def recording(every, rng, seconds, strong):
    """(samples, [(token, first sample, end)]): words until they are so long. strong: of other speeds and loudness,
    in more noise."""
    parts, spans, at = [], [], 0

    def pause(low, high):
        nonlocal at
        parts.append(np.zeros(int(RATE * rng.uniform(low, high)), np.float32))
        at += len(parts[-1])

    pause(0.05, 0.4)
    while not spans or at < seconds * RATE:
        pcm, token = every[rng.integers(len(every))]
        if strong:
            times = np.arange(0, len(pcm) - 1, rng.uniform(0.88, 1.14))
            pcm = np.interp(times, np.arange(len(pcm)), pcm).astype(np.float32)
        parts.append(pcm)
        spans.append((token, at, at + len(pcm)))
        at += len(pcm)
        pause(0.03, 0.4)
    pcm = np.concatenate(parts)
    if strong:
        pcm *= np.exp(rng.uniform(-1, 0.3))
    noise = peer.NOISE * (np.exp(rng.uniform(-1, 2)) if strong else 1)
    return (pcm + noise * rng.standard_normal(len(pcm))).astype(np.float32), spans


# ---- training ----


def masked(rows, rng):
    """SpecAugment: two stretches of up to 2 rows, two of up to 16 of the 80 bins."""
    rows = rows.clone()
    for _ in range(2):
        n = int(rng.integers(0, 3))
        at = int(rng.integers(0, len(rows) - n + 1))
        rows[at : at + n] = 0
        n, bins = int(rng.integers(0, 16)), rows.view(len(rows), 7, 80)
        at = int(rng.integers(0, 80 - n))
        bins[:, :, at : at + n] = 0
    return rows


def places(spans, n_rows):
    """Which token each row is, 0: none; what each row weighs of its token, most in the middle, and behind the last
    word the end, as FunASR trains it."""
    token, weight = torch.zeros(n_rows, dtype=torch.long), torch.zeros(n_rows)
    for id_, start, end in spans:
        first, last = round(start / ROW), max(round(start / ROW) + 1, round(end / ROW))
        token[first:last] = id_
        middle = (first + last) // 2
        for i, w in ((-1, 0.25), (0, 0.5), (1, 0.25)):
            weight[min(max(middle + i, 0), n_rows - 1)] += w
    weight[-1] += 1
    return token, weight


def batch(every, rng, mvn, family):
    """(rows, numbers of rows, tokens, numbers of tokens) as FunASR's forward() takes them, and places."""
    items, seconds = [], rng.uniform(1.5, 7)
    for _ in range(BATCH):
        pcm, spans = recording(every, rng, seconds, strong=True)
        rows = masked(fm.features(pcm, mvn), rng)
        ids = ([N_VOCAB - len(TAGS) + i for i in range(len(TAGS))] if family == "sensevoice" else []) + [t for t, _, _ in spans]
        items.append((rows, torch.tensor(ids), *places(spans, len(rows))))
    def pad(i, value):
        return torch.nn.utils.rnn.pad_sequence([x[i] for x in items], batch_first=True, padding_value=value)

    rows, ids = pad(0, 0.0), pad(1, -1)
    n_rows, n_ids = (torch.tensor([len(x[i]) for x in items]) for i in (0, 1))
    return (rows, n_rows, ids, n_ids), pad(2, -100), pad(3, 0.0)


def told(hint, rows, alpha, token, weight):
    """What is lost against the places that are known. hint: the layer that names rows; alpha: CIF's weights, or None."""
    lost = torch.nn.functional.cross_entropy(hint(rows).flatten(0, 1), token.flatten(), reduction="sum") / len(token)
    return lost if alpha is None else lost + 10 * (alpha - weight).pow(2).sum() / len(weight)


def train(model, family, every, mvn, n):
    """n steps from random weights."""
    rng = np.random.default_rng(6)
    model.train().requires_grad_(True)
    kept = {}
    model.encoder.register_forward_hook(lambda _m, _i, out: kept.update(rows=out[0], alpha=None))
    if family == "sensevoice":
        hint, n_asks = model.ctc.ctc_lo, len(TAGS)
    else:  # thrown away at the end
        hint, n_asks = torch.nn.Linear(512, N_VOCAB), 0
        model.predictor.register_forward_hook(lambda _m, _i, out: kept.update(alpha=out[2]))
    weights = list({id(p): p for p in [*model.parameters(), *hint.parameters()]}.values())
    adam = torch.optim.AdamW(weights, lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, LEARNING_RATE, total_steps=n, pct_start=0.1)
    sums = {}
    for step in range(1, n + 1):
        given, token, weight = batch(every, rng, mvn, family)
        loss, stats, _ = model(*given)
        left = max(0.0, 1 - step / (TOLD * n))
        if left > 0:
            stats["told"] = told(hint, kept["rows"][:, n_asks:], kept["alpha"], token, weight)
            loss = loss + left * stats["told"]
        adam.zero_grad()
        loss.backward()
        if torch.isfinite(torch.nn.utils.clip_grad_norm_(weights, 5.0)):
            adam.step()
        rate.step()
        for k, v in stats.items():
            sums[k] = sums.get(k, 0.0) + (0 if v is None else float(v))
        if step % 100 == 0:
            print(f"  step {step}: " + ", ".join(f"{k} {v / 100:.3f}" for k, v in sums.items() if v), flush=True)
            sums = {}
    model.eval().requires_grad_(False)


def trained(args, family, every, mvn):
    torch.manual_seed(4)
    model = getattr(fm, family)(*LAYERS, N_VOCAB)
    # What FunASR's training configurations set
    if family == "sensevoice":
        model.lid_int_dict, model.textnorm_int_dict = {N_VOCAB - 4: 4}, {N_VOCAB - 1: 14}
    else:
        model.predictor_weight, model.predictor_bias, model.sampling_ratio = 1.0, 1, 0.0
    path = os.path.join(args.scratch, family + ".pt")
    if not os.path.exists(path):
        torch.manual_seed(5)
        with torch.enable_grad():
            train(model, family, every, mvn, args.steps)
        torch.save(model.state_dict(), path)
    model.load_state_dict(torch.load(path))
    return model.eval().requires_grad_(False)


# ---- deeper ----


def share(layer, n):
    """A copy that adds an n-th of what the layer adds to the stream."""
    layer = copy.deepcopy(layer)
    if hasattr(layer, "src_attn"):
        parts = [p for m in (layer.norm2, layer.src_attn.linear_out) for p in (m.weight, m.bias)]
    else:
        qkv, out, w2 = layer.self_attn.linear_q_k_v, layer.self_attn.linear_out, layer.feed_forward.w_2
        parts = [qkv.weight[1024:], qkv.bias[1024:], out.bias, w2.weight, w2.bias]  # the values, what comes of them
    for p in parts:
        p.mul_(1 / n)
    return layer


def spread(stack, n):
    """n layers of these, which are fewer."""
    counts = [n * (i + 1) // len(stack) - n * i // len(stack) for i in range(len(stack))]
    layers = [share(layer, k) for layer, k in zip(stack, counts) for _ in range(k)]
    return type(stack)(layers) if isinstance(stack, torch.nn.ModuleList) else type(stack)(*layers)


def deepened(family, model):
    layers, second = DEEP[family]
    model = copy.deepcopy(model)
    model.encoder.encoders = spread(model.encoder.encoders, layers - 1)
    if family == "paraformer":
        model.decoder.decoders = spread(model.decoder.decoders, second)
    else:
        model.encoder.tp_encoders = spread(model.encoder.tp_encoders, second)
    deep = getattr(fm, family)(layers, second, N_VOCAB)
    deep.load_state_dict(model.state_dict())
    return deep.eval().requires_grad_(False)


# ---- comparing ----


def against_text(family, theirs, spans):
    """Share of the words that are right, by the fewest edits."""
    wrong = n = 0
    for t, s in zip(theirs, spans):
        said = [i for i in peer.collapsed(family, t["ids"]) if FIRST <= i < N_VOCAB - len(TAGS)]
        wrong, n = wrong + peer.edits(said, [i for i, _, _ in s]), n + len(s)
    return f"{100 * (1 - wrong / n):.1f} % of {n} words right"


def compare(args, family, model, layers, mvn, heard):
    """heard: [(samples, spans)]; whether otolith keeps to PyTorch and fewer bits to its float32."""
    first, second = layers
    print(f"{family}: {first} + {second} layers, {N_VOCAB} tokens", flush=True)
    folder = os.path.join(args.scratch, f"{family}-{first}-{second}")
    os.makedirs(folder, exist_ok=True)
    files = peer.write_files(family, model, mvn, folder)
    args.depths = f"1,{first}" + (f",{first + second}" if family == "sensevoice" else "")
    paths = []
    for i, (pcm, _) in enumerate(heard):
        paths.append(os.path.join(args.scratch, f"{i}.f32"))
        pcm.tofile(paths[-1])
    reference = peer.Reference(family, model, mvn, list(map(int, args.depths.split(","))))
    ours = peer.dump(args, files["f32"], "f32", args.depths, paths)
    theirs = [reference.run(pcm, o["rows"]) for (pcm, _), o in zip(heard, ours)]
    print(f" {len(heard)} new recordings, {sum(len(p) for p, _ in heard) / RATE:.0f} s, {against_text(family, theirs, [s for _, s in heard])}")
    peer.describe(family, theirs)
    good = peer.hold_to_pytorch(args, family, ours, theirs)
    return peer.compare_variants(args, family, files, ours, paths) and good


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("dump")
    p.add_argument("--scratch", required=True)
    p.add_argument("--family", action="append", choices=list(DEEP))
    p.add_argument("--only", help="of the files and precisions these: f16/f32,f32/int8")
    p.add_argument("--steps", type=int, default=1000)
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    os.makedirs(args.scratch, exist_ok=True)
    global N_VOCAB
    every, names = words(args.scratch)
    N_VOCAB = FIRST + len(names) + len(TAGS)
    mvn = os.path.join(args.scratch, "am.mvn")
    fm.write_am_mvn(mvn, [pcm for pcm, _ in every if len(pcm) > 3200])
    print(f"{len(every)} prompts of one word, {sum(len(x) for x, _ in every) / RATE:.0f} s, {len(names)} words", flush=True)
    good = True
    for family in args.family or list(DEEP):
        model = trained(args, family, every, mvn)
        rng = np.random.default_rng(9)
        heard = [recording(every, rng, s, strong=i % 2 == 1) for i, s in enumerate(np.linspace(1, 28, N_COMPARED))]
        good &= compare(args, family, model, LAYERS, mvn, heard)
        good &= compare(args, family, deepened(family, model), DEEP[family], mvn, heard)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
