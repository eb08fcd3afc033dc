#!/usr/bin/env python3
"""What fewer bits cost a SenseVoice whose weights are really trained, without downloads.

    funasr_trained.py FUNASR_DUMP --scratch FOLDER [--only f16/f32,f32/int8] [--rounds 3]

FunASR's own class and losses, at the real width (512, 2048 inside, 4 heads, 11 taps) with fewer layers, learn from
random weights to write down English telephone prompts of asterisk-core-sounds, whose exact texts are known
(scripts/join_prompts.py): the short ones of one voice, in pieces of words (SentencePiece's BPE). Every eighth prompt
is held out. Each step hears one recording of prompts in a new order with pauses, each faster or slower, all louder or
softer and in noise, later masked as well (SpecAugment). AdamW; the rate rises and falls once in each round.

CTC and cross entropy of the four tags. CTC alone stays long where all is blank; at first, and less and less, rows also
learn the pieces that they would be if those lasted as long as they have letters.

Then new recordings of prompts it learned from, and of prompts held out, are heard by PyTorch and by otolith as in
funasr_peer.py: tokens against the texts, otolith's float32 against PyTorch's, fewer bits against otolith's own float32.
Weights stay in the scratch folder, those of each round; another machine makes the same but for rounding. A first round
takes a quarter of an hour on one free core.
"""
import argparse
import os
import re
import sys

import funasr_models as fm
import funasr_peer as peer
import numpy as np
import torch

sys.path.insert(0, os.path.join(fm.ROOT, "scripts"))
import join_prompts

SHORT = 3.5  # s: prompts up to here, which is most; few are needed to become sure of them
HELD_OUT = 8  # every so many prompts
STEPS = [1400, 800, 3000]  # of rounds, in each of which the rate rises and falls
RATE = 3e-4
EARLY = 0.6  # of the first round: short recordings, nothing masked
TAGS = ["<|en|>", "<|NEUTRAL|>", "<|Speech|>", "<|withitn|>"]  # SenseVoice's last tokens here
N_COMPARED = 10  # recordings of what was learned
LONGEST = 28  # s


# ---- prompts and their texts ----


def plain(text):
    return " ".join(re.findall(r"[a-z']+", text.lower()))


def prompts(scratch):
    """[(samples, text)], decoded once."""
    path = os.path.join(scratch, "prompts.pt")
    if not os.path.exists(path):
        found = join_prompts.prompts("en")
        torch.save([(join_prompts.decode(found[n][0]), plain(found[n][1])) for n in sorted(found)], path)
    everything = [(np.frombuffer(pcm, np.int16).astype(np.float32) / 32768, text) for pcm, text in torch.load(path)]
    return [(pcm, text) for pcm, text in everything if len(pcm) < SHORT * 16000]


def split(everything):
    """(learned, held out)"""
    held = [p for i, p in enumerate(everything) if i % HELD_OUT == HELD_OUT - 1]
    return [p for i, p in enumerate(everything) if i % HELD_OUT != HELD_OUT - 1], held


def pieces(scratch, texts, n):
    """A SentencePiece model of n tokens with <unk>, which is CTC's blank, <s> and </s> before them."""
    import sentencepiece

    prefix = os.path.join(scratch, f"pieces{n}")
    if not os.path.exists(prefix + ".model"):
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts), model_prefix=prefix, vocab_size=n, model_type="bpe", minloglevel=2
        )
    return sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")


def joined(chosen, rng, strong):
    """One recording: (samples, text). strong: also of another speed, loudness and noise."""
    parts, texts = [np.zeros(int(16000 * rng.uniform(0.05, 0.4)), np.float32)], []
    for pcm, text in chosen:
        if strong:
            at = np.arange(0, len(pcm) - 1, rng.uniform(0.88, 1.14))
            pcm = np.interp(at, np.arange(len(pcm)), pcm).astype(np.float32)
        parts += [pcm, np.zeros(int(16000 * rng.uniform(0.1, 0.8)), np.float32)]
        texts.append(text)
    pcm = np.concatenate(parts)
    if strong:
        pcm *= np.exp(rng.uniform(-1, 0.3))
    noise = peer.NOISE * (np.exp(rng.uniform(-1, 2)) if strong else 1)
    return pcm + noise * rng.standard_normal(len(pcm)).astype(np.float32), " ".join(texts)


def recordings(prompts_, rng, seconds):
    """New ones of these prompts in a new order, none longer unless one prompt is."""
    out, some = [], []
    for i in rng.permutation(len(prompts_)):
        if some and sum(len(p) for p, _ in some + [prompts_[i]]) > seconds * 16000:
            out.append(joined(some, rng, strong=False))
            some = []
        some.append(prompts_[i])
    return out + [joined(some, rng, strong=False)]


# ---- training ----


class Batches:
    """Endless (rows, number of rows, tokens, number of tokens), as FunASR's forward() takes them."""

    def __init__(self, learned, words, mvn, seed):
        self.learned, self.words, self.mvn = learned, words, mvn
        self.rng, self.waiting = np.random.default_rng(seed), []

    def next_prompt(self):
        if not self.waiting:
            self.waiting = list(self.rng.permutation(len(self.learned)))
        return self.learned[self.waiting.pop()]

    def masked(self, rows):
        """SpecAugment: two stretches of up to a tenth of the time, two of up to 20 of the 80 bins."""
        rows = rows.clone()
        for _ in range(2):
            n = int(self.rng.integers(0, min(len(rows) // 10, 6) + 1))
            at = int(self.rng.integers(0, len(rows) - n + 1))
            rows[at : at + n] = 0
            n, bins = int(self.rng.integers(0, 20)), rows.view(len(rows), 7, 80)
            at = int(self.rng.integers(0, 80 - n))
            bins[:, :, at : at + n] = 0
        return rows

    def __call__(self, early):
        """A step hears one recording, so that none waits for longer ones: rows in a batch of 1, tokens."""
        some, enough = [self.next_prompt()], 16000 * self.rng.uniform(1, 3 if early else 7)
        while sum(len(pcm) for pcm, _ in some) < enough:
            some.append(self.next_prompt())
        pcm, text = joined(some, self.rng, strong=True)
        rows, ids = fm.features(pcm, self.mvn), list(range(N_VOCAB - len(TAGS), N_VOCAB)) + self.words.encode(text)
        rows = rows if early else self.masked(rows)
        return rows[None], torch.tensor([len(rows)]), torch.tensor([ids]), torch.tensor([len(ids)])


N_VOCAB = fm.SIZES["sensevoice"]["trained"][2]


def guess(rows, ids, words):
    """Which piece each row is if each takes as much of the loud rows as it has letters; -1: none."""
    loudness = rows.mean(1)
    low, high = loudness.quantile(torch.tensor([0.05, 0.95]))
    loud = (loudness > low + 0.35 * (high - low)).nonzero()[:, 0]
    ends = torch.tensor([len(words.id_to_piece(int(i))) for i in ids]).cumsum(0)
    which = torch.full((len(rows),), -1)
    which[loud] = torch.searchsorted(ends, torch.arange(len(loud)) * ends[-1] / len(loud), right=True)
    return which


def flat_ctc(model, h, which, ids):
    """With which CTC leaves the plateau of blanks."""
    wanted = torch.where(which < 0, 0, ids[which.clamp(min=0)])
    return torch.nn.functional.cross_entropy(model.ctc.ctc_lo(h[4:]), wanted, reduction="sum")


def one_step(model, batches, adam, early):
    """early: how much is left of the time of short recordings and the flat start. Returns what there is to say."""
    kept, (rows, n_rows, ids, n_ids) = {}, batches(early > 0)
    hook = model.encoder.register_forward_hook(lambda _m, _i, out: kept.update(out=out))
    loss, stats, _ = model(rows.clone(), n_rows, ids, n_ids)
    hook.remove()
    if early > 0:
        stats["flat"] = flat_ctc(model, kept["out"][0][0], guess(rows[0], ids[0, 4:], batches.words), ids[0, 4:])
    loss = loss + stats.get("flat", 0) * early
    adam.zero_grad()
    loss.backward()
    if torch.isfinite(torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)):
        adam.step()
    return {k: float(v) for k, v in stats.items() if v is not None}


def train(model, batches, n, first):
    """One round."""
    model.train().requires_grad_(True)
    adam = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    rate = torch.optim.lr_scheduler.OneCycleLR(adam, RATE, total_steps=n, pct_start=0.1)
    sums = {}
    for step in range(1, n + 1):
        for k, v in one_step(model, batches, adam, 1 - step / (EARLY * n) if first else 0).items():
            sums[k] = sums.get(k, 0.0) + v
        rate.step()
        if step % 100 == 0:
            print(f"  step {step}: " + ", ".join(f"{k} {v / 100:.3f}" for k, v in sums.items()), flush=True)
            sums = {}
    model.eval().requires_grad_(False)


def trained(args, learned, words, mvn):
    torch.manual_seed(4)
    model = fm.build("sensevoice", "trained")
    # What FunASR's training configuration sets
    model.lid_int_dict, model.textnorm_int_dict = {N_VOCAB - 4: 4}, {N_VOCAB - 1: 14}
    for i in range(args.rounds):
        path = os.path.join(args.scratch, f"round{i + 1}.pt")
        if not os.path.exists(path):
            print(f" round {i + 1}", flush=True)
            torch.manual_seed(5 + i)
            with torch.enable_grad():
                train(model, Batches(learned, words, mvn, seed=6 + i), STEPS[i], i == 0)
            torch.save(model.state_dict(), path)
        model.load_state_dict(torch.load(path))
    return model


# ---- comparing ----


def against_text(ids, texts, words):
    """Share of the pieces of words that are right, by the fewest edits."""
    wrong = n = 0
    for i, text in zip(ids, texts):
        said = [t for t in peer.collapsed("sensevoice", i) if 2 < t < N_VOCAB - len(TAGS)]
        wanted = words.encode(text)
        wrong, n = wrong + peer.edits(said, wanted), n + len(wanted)
    return f"{100 * (1 - wrong / n):.1f} % of {n} pieces of words right"


def compare(args, model, mvn, files, words, kind, heard):
    """heard: [(samples, text)]; whether otolith keeps to PyTorch and fewer bits to its float32."""
    paths = []
    for i, (pcm, _) in enumerate(heard):
        paths.append(os.path.join(args.scratch, f"{i}.f32"))
        pcm.tofile(paths[-1])
    reference = peer.Reference("sensevoice", model, mvn, list(map(int, args.depths.split(","))))
    ours = peer.dump(args, files["f32"], "f32", args.depths, paths)
    theirs = [reference.run(pcm, o["rows"]) for (pcm, _), o in zip(heard, ours)]
    seconds, texts = sum(len(p) for p, _ in heard) / 16000, [t for _, t in heard]
    print(f" {kind}: {len(heard)} recordings, {seconds:.0f} s, {against_text([t['ids'] for t in theirs], texts, words)}")
    peer.describe("sensevoice", theirs)
    good = peer.hold_to_pytorch(args, "sensevoice", ours, theirs)
    return peer.compare_variants(args, "sensevoice", files, ours, paths) and good


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("dump")
    p.add_argument("--scratch", required=True)
    p.add_argument("--only", help="of the files and precisions these: f16/f32,f32/int8")
    p.add_argument("--rounds", type=int, default=3)
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    os.makedirs(args.scratch, exist_ok=True)
    everything = prompts(args.scratch)
    learned, held = split(everything)
    words = pieces(args.scratch, [t for _, t in learned], N_VOCAB - len(TAGS))
    mvn = os.path.join(args.scratch, "am.mvn")
    fm.write_am_mvn(mvn, [pcm for pcm, _ in learned])
    n = sum(len(words.encode(t)) for _, t in learned), sum(len(x) for x, _ in learned) / 16000
    print(f"{len(learned)} prompts of {n[1]:.0f} s and {n[0]} pieces of words to learn, {len(held)} held out")
    layers, second, _ = fm.SIZES["sensevoice"]["trained"]
    print(f"{layers} + {second} layers, {N_VOCAB} tokens", flush=True)
    args.depths = f"1,{layers},{layers + second}"
    model = trained(args, learned, words, mvn)
    folder = os.path.join(args.scratch, "sensevoice")
    os.makedirs(folder, exist_ok=True)
    files = peer.write_files("sensevoice", model, mvn, folder)
    good = True
    for kind, some in (("learned", learned), ("held out", held)):
        rng = np.random.default_rng(9)
        heard = [r for r in recordings(some, rng, 15) if len(r[0]) < LONGEST * 16000][:N_COMPARED]
        good &= compare(args, model, mvn, files, words, kind, heard)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
