#!/usr/bin/env python3
"""Holds otolith's Paraformer and SenseVoice to FunASR's own PyTorch code, stage by stage.

    funasr_peer.py FUNASR_DUMP [--family F] [--size small|full] [--data build/testdata] [--scratch FOLDER]
                   [--exporters FOLDER] [--depths 1,10,50] [--double] [--golden]
                   [--only f16/f32,f32/int8] [--recordings 20]

Models with shaped weights (funasr_models.py) hear 20 recordings of 1 to 30 s of real speech, cut from the
prompts of five languages and tests/data/zh; others of the same speakers shaped them. In float32 are compared:
filter bank, stacked and normalised rows, the encoder after some numbers of layers, CIF's weights and the frames
where tokens fire, logits, tokens. Then other files of the same model (float16, q8_0) and otolith's other
precisions against otolith's own float32: how many tokens stay the same, by the fewest edits.

--exporters names a folder with FunASR's runtime/llama.cpp: its exporters, unchanged, then write the files; what
is written here must be the same tensors. --golden prints the numbers that tests/unit/models hold on to. --double
also compares with PyTorch in float64.
FUNASR_DUMP is the program built from funasr_dump.c. What is made stays in the scratch folder for the next run.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time
import wave

import funasr_models as fm
import numpy as np
import torch

LENGTHS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20, 23, 26, 30]
SHAPING = 24  # recordings of 5 s
FITTING = 12  # of 10 s, on which the last layers are trained
NOISE = 3e-4  # of full scale: prompts fall silent to the last bit, which no microphone does
# What otolith makes of the model: the file's type, its own precision, the share of tokens wanted
VARIANTS = [("f16", "f32", 0.99), ("q8_0", "f32", 0.97), ("f32", "bf16", 0.97), ("f32", "int8", 0.97), ("q8_0", "int8", 0.97)]


# ---- recordings ----


def load(path, start=0, seconds=None):
    with wave.open(path) as w:
        assert w.getframerate() == 16000 or w.getframerate() == 8000, path
        rate = w.getframerate()
        w.setpos(int(start * rate))
        data = w.readframes(int(seconds * rate) if seconds else w.getnframes())
        pcm = np.frombuffer(data, np.int16).astype(np.float32) / 32768
        if rate == 8000:
            pcm = np.interp(np.arange(2 * len(pcm)) / 2, np.arange(len(pcm)), pcm).astype(np.float32)
    return pcm


def prompts(data):
    """(compared, shaping, fitting): the languages in turn, one after the other; the second halves shape."""
    languages = [x for x in ("en", "es", "fr", "it", "ru") if os.path.exists(os.path.join(data, x + ".wav"))]
    at = {x: 0.0 for x in languages}
    compared = []
    for i, seconds in enumerate(LENGTHS):
        x = languages[i % len(languages)]
        compared.append(load(os.path.join(data, x + ".wav"), at[x], seconds))
        at[x] += seconds
    zh = os.path.join(fm.ROOT, "tests/data/zh")
    compared += [load(os.path.join(zh, n)) for n in ("asr_example.wav", "sample.wav")]
    shaping = []
    for i in range(SHAPING):
        x = languages[i % len(languages)]
        shaping.append(load(os.path.join(data, x + ".wav"), 85 + 12 * (i // len(languages)), 5))
    fitting = []
    for i in range(FITTING):
        x = languages[i % len(languages)]
        fitting.append(load(os.path.join(data, x + ".wav"), 90 + 10 * (i // len(languages)), 10))
    rng = np.random.default_rng(3)
    noisy = [p + NOISE * rng.standard_normal(len(p)).astype(np.float32) for p in compared + shaping + fitting]
    n = len(compared), len(compared) + len(shaping)
    return noisy[: n[0]], noisy[n[0] : n[1]], noisy[n[1] :]


# ---- PyTorch ----


class Reference:
    def __init__(self, family, model, mvn, depths):
        self.family, self.model, self.depths, self.kept = family, model, depths, {}
        self.mvn = mvn
        e = model.encoder
        self.layers = list(e.encoders0) + list(e.encoders) + list(getattr(e, "tp_encoders", []))
        self.n_first = len(e.encoders0) + len(e.encoders)
        for n in depths:
            self.layers[n - 1].register_forward_hook(lambda _m, _i, out, n=n: self.kept.update({n: out[0]}))

    def features(self, pcm):
        return {
            "fbank": fm.features(pcm, m=1, n=1),
            "lfr": fm.features(pcm),
            "rows": fm.features(pcm, self.mvn),
        }

    def run(self, pcm, rows):
        """rows: what the network hears, otolith's own. Features differ by 2e-4 in bins that hold hardly
        anything; 50 layers make that 4e-4, where two ways of rounding alone differ by 1e-4."""
        out = {} if pcm is None else self.features(pcm)
        x = torch.from_numpy(rows.copy())[None]
        if self.family == "paraformer":
            n = torch.tensor([x.shape[1]])
            h, hl = self.model.encode(x, n)
            e, count, alpha, peak = self.model.calc_predictor(h, hl)
            count = int(count[0])
            out["alpha"], out["embed"] = alpha[0][:, None], e[0, :count]
            out["fire"] = (peak[0] >= 1).nonzero()[:count].float()
            logits = self.model.decoder(h, hl, e[:, :count], torch.tensor([count]))[0][0] if count else torch.zeros(0, 1)
        else:
            asks = self.model.embed.weight[fm.ASKS][None]
            h, _ = self.model.encoder(torch.cat([asks, x], 1), torch.tensor([x.shape[1] + 4]))
            logits = self.model.ctc.ctc_lo(h)[0]
        for n in self.depths:
            norm = self.model.encoder.after_norm if n <= self.n_first else self.model.encoder.tp_norm
            out[f"layer{n}"] = norm(self.kept[n])[0]
        out["logits"] = logits
        out["ids"] = logits.argmax(-1).float()[:, None] if len(logits) else torch.zeros(0, 1)
        return {k: v.numpy() for k, v in out.items()}


# ---- otolith ----


def dump(args, model, compute, depths, paths, told="auto"):
    """A dictionary of arrays for each recording."""
    out = os.path.join(args.scratch, "dump")
    line = [args.dump, model, compute, out, depths, told, *paths]
    run = subprocess.run(line, stderr=subprocess.PIPE, text=True)
    if run.returncode != 0:
        raise SystemExit(f"{os.path.basename(model)} {compute}: {run.stderr.strip()}")
    files, first = [], None
    with open(out, "rb") as f:
        while line := f.readline():
            name, rows, columns = line.decode().split()
            n = int(rows) * int(columns)
            first = first or name
            if name == first:
                files.append({})
            files[-1][name] = np.frombuffer(f.read(4 * n), np.float32).reshape(int(rows), int(columns))
    os.remove(out)
    assert len(files) == len(paths)
    return files


def collapsed(family, ids):
    """Tokens of a recording."""
    ids = [int(i) for i in ids[:, 0]]
    if family == "paraformer":
        return ids
    return [x for i, x in enumerate(ids) if x != 0 and (i == 0 or ids[i - 1] != x)]


def edits(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


# ---- comparing ----


def relative(ours, theirs):
    """Greatest difference as a share of the largest value."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float(np.abs(ours - theirs).max() / max(np.abs(theirs).max(), 1e-6)) if ours.size else 0.0


def by_row(ours, theirs):
    """Of logits: greatest difference as a share of the distance between the row's largest and its mean."""
    if ours.shape != theirs.shape:
        return float("inf")
    return float((np.abs(ours - theirs).max(1) / (theirs.max(1) - theirs.mean(1))).max()) if ours.size else 0.0


def rms(ours, theirs):
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)) if ours.size else 0.0


def hold_to_pytorch(args, family, ours, theirs):
    """Prints the worst of each stage over the recordings; whether all is well."""
    limits = {"fbank": 1e-3, "lfr": 1e-3, "rows": 1e-3, "fire": 0, "ids": 0}
    good = True
    for name in theirs[0]:
        of = by_row if name == "logits" else relative
        errors = [of(a[name], b[name]) for a, b in zip(ours, theirs)]
        limit = limits.get(name, 1e-3)
        bad = [i for i, e in enumerate(errors) if not e <= limit]
        good &= not bad
        print(f"  {name:8} worst {max(errors):.1e}{'  FAILED in ' + str(bad) if bad else ''}")
    n = sum(len(collapsed(family, t["ids"])) for t in theirs)
    kinds = len({i for t in theirs for i in collapsed(family, t["ids"])})
    print(f"  {n} tokens, {kinds} different, in {len(theirs)} recordings")
    return good


def hold_to_doubles(reference, theirs, ours):
    """Both float32 against PyTorch in float64, every fourth recording: what rounding alone does."""
    some = range(len(ours))[3::4]
    reference.model.double()
    exact = [reference.run(None, ours[i]["rows"].astype(np.float64)) for i in some]
    reference.model.float()
    for name in exact[0]:
        of = by_row if name == "logits" else relative
        worst = [max(of(x[i][name], t[name]) for i, t in zip(some, exact)) for x in (ours, theirs)]
        print(f"  {name:8} against float64: otolith {worst[0]:.1e}, PyTorch {worst[1]:.1e}", flush=True)


def describe(family, theirs):
    """What the shaped weights make: how sure, how even."""
    logits = np.concatenate([t["logits"] for t in theirs if t["logits"].shape[1] > 1])
    logits = torch.from_numpy(logits)
    p = torch.softmax(logits, 1).max(1).values
    text = f"  most probable token: {p.mean():.2f} in the mean, below 0.5 in {100 * (p < 0.5).float().mean():.0f} %"
    if family == "paraformer":
        a = np.concatenate([t["alpha"][:-1, 0] for t in theirs])
        text += f"; CIF: {a.mean():.2f} in the mean, {100 * ((a < 0.1) | (a > 0.9)).mean():.0f} % below 0.1 or above 0.9"
    print(text)


def stages_of(ours, whole):
    """Relative error of an 8-bit model's stages, in the root mean square; of logits where there are as many."""
    out = []
    for name in ours[0]:
        if name.startswith("layer") or name in ("alpha", "embed", "logits"):
            pairs = [(a[name], b[name]) for a, b in zip(ours, whole) if a[name].shape == b[name].shape and a[name].size]
            if pairs:
                a, b = (np.concatenate([p[k].ravel() for p in pairs]) for k in (0, 1))
                out.append(f"{name} {rms(a, b):.3f}")
    return ", ".join(out)


def compare_variants(args, family, files, ours, paths):
    good = True
    for kind, compute, wanted in VARIANTS:
        if args.only and f"{kind}/{compute}" not in args.only.split(","):
            continue
        start = time.perf_counter()
        got = dump(args, files[kind], compute, args.depths.split(",")[-1], paths)
        tokens = [collapsed(family, g["ids"]) for g in got]
        plain = [collapsed(family, g["ids"]) for g in ours]
        wrong = sum(edits(a, b) for a, b in zip(tokens, plain))
        n = sum(map(len, plain))
        share = 1 - wrong / n
        frames = np.mean(np.concatenate([(a["ids"] == b["ids"]).ravel() for a, b in zip(got, ours) if a["ids"].shape == b["ids"].shape]))
        sure, kept = 0, 0  # rows where float32 is as sure as trained models mostly are
        for a, b in zip(got, ours):
            if a["ids"].shape == b["ids"].shape and b["ids"].size:
                p = torch.softmax(torch.from_numpy(b["logits"].copy()), 1).max(1).values.numpy() >= 0.5
                sure, kept = sure + int(p.sum()), kept + int((a["ids"] == b["ids"])[p].sum())
        ok = share >= wanted
        good &= ok
        print(f"  file {kind:5} as {compute:5} {100 * share:6.2f} % of {n} tokens{'' if ok else '  FAILED'}, ids row by row {100 * frames:.2f} %, "
              f"of {sure} rows with a probability of 0.5 and more {100 * kept / max(sure, 1):.2f} % "
              f"({time.perf_counter() - start:.1f} s); relative errors: {stages_of(got, ours)}", flush=True)
    return good


def compare_onnx(family, folder, ours):
    """FunASR's own 8 bits, where bench/peers/funasr.py has exported them: what the same weights make of those."""
    path = os.path.join(folder, "model_quant.onnx")
    if not os.path.exists(path):
        return
    import onnxruntime as ort

    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    asked = {i.name for i in session.get_inputs()}
    wrong = n = 0
    for o in ours:
        feed = {"speech": o["rows"][None], "speech_lengths": np.array([len(o["rows"])], np.int32)}
        if "language" in asked:
            feed |= {"language": np.zeros(1, np.int32), "textnorm": np.full(1, 14, np.int32)}
        logits, count = session.run(None, feed)
        ids = logits[0, : int(count[0])].argmax(-1)[:, None] if len(logits[0]) else np.zeros((0, 1))
        plain = collapsed(family, o["ids"])
        wrong += edits(collapsed(family, ids), plain)
        n += len(plain)
    print(f"  ONNX Runtime with FunASR's 8 bits {100 * (1 - wrong / n):6.2f} % of {n} tokens", flush=True)


# ---- files ----


def official(args, family, folder, kind, path):
    """The file as FunASR's own exporter writes it, in place of ours; both must hold the same."""
    import gguf

    theirs = path + ".official"
    if not os.path.exists(theirs):
        script = os.path.join(args.exporters, family, f"export_{family}_gguf.py")
        line = [sys.executable, script, "--model_pt", f"{folder}/model.pt", "--mvn", f"{folder}/am.mvn", "--out", theirs, "--wtype", kind]
        subprocess.run(line, check=True, stdout=subprocess.DEVNULL)
    a, b = ({t.name: t for t in gguf.GGUFReader(p).tensors} for p in (path, theirs))
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    for name in a:
        assert a[name].tensor_type == b[name].tensor_type and (a[name].data == b[name].data).all(), name
    return theirs


def paths_of(folder):
    return {kind: os.path.join(folder, kind + ".gguf") for kind in ("f32", "f16", "q8_0")}


def write_files(family, model, mvn, folder):
    for kind, path in paths_of(folder).items():
        fm.write_gguf(family, model, mvn, path, kind)
    return paths_of(folder)


def make(args, family, shaping, fitting):
    folder = os.path.join(args.scratch, f"{family}-{args.size}")
    mvn = os.path.join(folder, "am.mvn")
    os.makedirs(folder, exist_ok=True)
    model = fm.build(family, args.size)
    if os.path.exists(os.path.join(folder, "done")):
        model.load_state_dict(torch.load(os.path.join(folder, "model.pt"))["state_dict"])
    else:
        fm.write_am_mvn(mvn, shaping)
        start = time.perf_counter()
        fm.shape(family, model, *([fm.features(p, mvn) for p in x] for x in (shaping, fitting)), seed=7)
        print(f"  shaped in {time.perf_counter() - start:.0f} s", flush=True)
        fm.write_checkpoint(family, model, folder)
        write_files(family, model, mvn, folder)
        open(os.path.join(folder, "done"), "w").close()
    files = paths_of(folder)
    if args.exporters:
        files = {kind: official(args, family, folder, kind, path) for kind, path in files.items()}
        print("  FunASR's exporter writes the same tensors; its files are used from here on")
    return model, mvn, files


def golden():
    """What tests/unit/models holds: signal G of docs/models/frontend.md, weights by arithmetic."""
    i = np.arange(16000)
    pcm = np.round((0.3 * np.sin(2 * np.pi * 440 * i / 16000) + 0.1 * fm.lcg(1, 16000)) * 32767)
    x = ((fm.features((pcm / 32768).astype(np.float32)) - 12) * 0.15)[None]
    n = torch.tensor([x.shape[1]])
    for sizes in ((3, 2, 50), (50, 16, 8404)):
        m = fm.paraformer(*sizes).eval().requires_grad_(False)
        fm.fill_by_arithmetic(m)
        h, hl = m.encode(x.clone(), n)
        e, count, alpha, _ = m.calc_predictor(h, hl)
        logp, _ = m.cal_decoder_with_predictor(h, hl, e, count.round().long())
        print("paraformer", sizes, "enc", h[0, 0, :4], h[0, 16, :4], h.abs().mean(), "alpha", alpha[0, :4])
        print("  embed", e[0, 0, :4], e[0, -1, :4], "logp", logp[0].max(-1).values[:4], "ids", logp[0].argmax(-1).tolist())
    for sizes in ((3, 2, 60), (50, 20, 25055)):
        m = fm.sensevoice(*sizes).eval().requires_grad_(False)
        fm.fill_by_arithmetic(m)
        h, _ = m.encoder(torch.cat([m.embed.weight[fm.ASKS][None], x], 1), n + 4)
        logp = m.ctc.log_softmax(h)
        print("sensevoice", sizes, "enc", h[0, 0, :4], h[0, 20, :4], h.abs().mean(), "logp", logp[0, 0, :4], "ids", logp[0].argmax(-1).tolist())


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("dump")
    p.add_argument("--family", action="append", choices=list(fm.SIZES))
    p.add_argument("--size", default="full", choices=["small", "full"])
    p.add_argument("--data", default=os.path.join(fm.ROOT, "build/testdata"))
    p.add_argument("--scratch")
    p.add_argument("--exporters")
    p.add_argument("--depths")
    p.add_argument("--recordings", type=int, default=20, help="so many of the 20, of all lengths")
    p.add_argument("--only", help="of the other files and precisions these: f16/f32,f32/int8")
    p.add_argument("--double", action="store_true")
    p.add_argument("--golden", action="store_true")
    p.add_argument("--threads", type=int, default=1)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    if args.golden:
        return golden()
    with tempfile.TemporaryDirectory() as temporary:
        args.scratch = args.scratch or temporary
        os.makedirs(args.scratch, exist_ok=True)
        compared, shaping, fitting = prompts(args.data)
        compared = [compared[i] for i in np.linspace(0, len(compared) - 1, args.recordings).round().astype(int)]
        paths = []
        for i, pcm in enumerate(compared):
            paths.append(os.path.join(args.scratch, f"{i}.f32"))
            pcm.tofile(paths[-1])
        good, asked = True, args.depths
        for family in args.family or list(fm.SIZES):
            layers, second, n_vocab = fm.SIZES[family][args.size]
            print(f"{family}: {layers} + {second} layers, {n_vocab} tokens", flush=True)
            ends = [1, layers // 4, layers] + ([layers + second] if family == "sensevoice" else [])
            args.depths = asked or ",".join(map(str, ends))
            model, mvn, files = make(args, family, shaping, fitting)
            reference = Reference(family, model, mvn, list(map(int, args.depths.split(","))))
            start = time.perf_counter()
            ours = dump(args, files["f32"], "f32", args.depths, paths)
            theirs = [reference.run(pcm, o["rows"]) for pcm, o in zip(compared, ours)]
            print(f"  {len(compared)} recordings, {sum(map(len, compared)) / 16000:.0f} s; PyTorch {time.perf_counter() - start:.0f} s", flush=True)
            describe(family, theirs)
            good &= hold_to_pytorch(args, family, ours, theirs)
            if args.double:
                hold_to_doubles(reference, theirs, ours)
            good &= compare_variants(args, family, files, ours, paths)
            compare_onnx(family, os.path.dirname(mvn), ours)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
