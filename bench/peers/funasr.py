#!/usr/bin/env python3
"""otolith's Paraformer or SenseVoice against ONNX Runtime on the same weights, in turn, in 8 bits.

The peer's graph is exported from FunASR's own PyTorch code (its export_meta.py), and quantised as FunASR
does it (utils/export_utils.py: MatMul, weights by channel, activations dynamically). It runs the network
alone, on windows of 30 s whose features were made before, in batches of the size that is fastest at it; of
otolith the same network's clocks count (encoder and decoder in `otolith bench FILE --json`), and the whole
job, decoding, features and all, as the harder comparison. Rounds go otolith, peer, otolith, peer, …; ratios
are taken within a round, above 1 means that otolith was faster.

usage: funasr.py FOLDER [--threads 2] [--rounds 5] [--json FILE] [FILE.wav]
FOLDER is what tests/reference/funasr_peer.py leaves in its scratch folder (paraformer-full,
sensevoice-full): model.pt, am.mvn, f32.gguf. FILE.wav, 16 kHz, is one of 10 minutes by default
(build/testdata/en.wav, repeated or cut). Needs that script's packages and onnx, onnxruntime.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
import wave

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[0] = os.path.join(ROOT, "tests/reference")  # and not this folder: this file has the package's name
WINDOW_S = 30


def family_of(folder):
    return os.path.basename(os.path.normpath(folder)).split("-")[0]


# ---- the peer ----


def export(folder):
    """FOLDER/model.onnx and FOLDER/model_quant.onnx, made once; in a process of their own."""
    import funasr_models as fm
    import onnx
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic

    family = family_of(folder)
    torch.set_grad_enabled(False)
    model = fm.build(family, "full")
    model.load_state_dict(torch.load(os.path.join(folder, "model.pt"))["state_dict"])
    if family == "paraformer":
        from funasr.models.paraformer.export_meta import export_rebuild_model

        names = dict(encoder="SANMEncoder", predictor="CifPredictorV2", decoder="ParaformerSANMDecoder")
    else:
        from funasr.models.sense_voice.export_meta import export_rebuild_model

        names = {}
    model = export_rebuild_model(model, max_seq_len=512, device="cpu", type="onnx", **names)
    plain, quantised = os.path.join(folder, "model.onnx"), os.path.join(folder, "model_quant.onnx")
    torch.onnx.export(
        model.eval(),
        model.export_dummy_inputs(),
        plain,
        opset_version=14,
        do_constant_folding=True,
        input_names=model.export_input_names(),
        output_names=model.export_output_names(),
        dynamic_axes=model.export_dynamic_axes(),
        dynamo=False,
    )
    nodes = [n.name for n in onnx.load(plain).graph.node]
    quantize_dynamic(
        model_input=plain,
        model_output=quantised + ".part",
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=False,
        weight_type=QuantType.QUInt8,
        nodes_to_exclude=[n for n in nodes if "output" in n],
    )
    os.rename(quantised + ".part", quantised)


def peer(folder, recording, threads):
    """Serves runs over a pipe: a batch size comes in, the seconds (wall, core) go out; -1 ends."""
    import funasr_models as fm
    import numpy as np
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(os.path.join(folder, "model_quant.onnx"), options, providers=["CPUExecutionProvider"])
    pcm = load(recording)
    n = WINDOW_S * 16000
    windows = [fm.features(pcm[at : at + n], os.path.join(folder, "am.mvn")).numpy() for at in range(0, len(pcm), n)]
    windows = [w for w in windows if len(w) > 16]  # its graph fails where there is no token
    inputs = {i.name for i in session.get_inputs()}
    print("ready", flush=True)
    for line in sys.stdin:
        size = int(line)
        if size < 0:
            break
        wall, core = time.perf_counter(), time.process_time()
        for at in range(0, len(windows), size):
            group = windows[at : at + size]
            x = np.zeros((len(group), max(map(len, group)), 560), np.float32)
            for i, w in enumerate(group):
                x[i, : len(w)] = w
            feed = {"speech": x, "speech_lengths": np.array([len(w) for w in group], np.int32)}
            if "language" in inputs:
                feed["language"] = np.zeros(len(group), np.int32)
                feed["textnorm"] = np.full(len(group), 14, np.int32)
            session.run(None, feed)
        wall, core = time.perf_counter() - wall, time.process_time() - core
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        print(json.dumps({"wall_s": wall, "core_s": core, "peak_bytes": peak}), flush=True)


def load(path):
    import numpy as np

    with wave.open(path) as w:
        assert w.getframerate() == 16000 and w.getnchannels() == 1, path
        return np.frombuffer(w.readframes(w.getnframes()), np.int16).astype(np.float32) / 32768


class Peer:
    def __init__(self, args, recording):
        line = [sys.executable, os.path.abspath(__file__), "--peer", args.folder, recording, str(args.threads)]
        self.process = subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if self.process.stdout.readline().strip() != "ready":
            raise RuntimeError("the peer does not start")

    def run(self, size):
        self.process.stdin.write(f"{size}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.communicate("-1\n")


# ---- otolith ----


def packed(args):
    path = os.path.join(args.folder, "int8.gguf")
    if not os.path.exists(path):
        source = os.path.join(args.folder, "f32.gguf")
        subprocess.run([args.otolith, "models", "convert", "--compute", "int8", source, path], check=True, stdout=subprocess.DEVNULL)
    return path


def ours(args, model, recording):
    line = [args.otolith, "bench", "-m", model, "--no-vad", "--threads", str(args.threads), "--json", "-", recording]
    r = json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE).stdout)
    stages = {s["name"]: s for s in r["stages"]}
    network = [stages["encoder"], stages["decoder"]]
    encoder = [k for k in r["kernels"] if k["type"] == "int8" and k["what"] == "product" and k["m"] >= 500]
    return {
        "wall_s": sum(s["wall_s"] for s in network),
        "core_s": sum(s["core_s"] for s in network),
        "whole_s": r["wall_s"],
        "whole_core_s": r["core_s"],
        "audio_s": r["audio_s"],
        "peak_bytes": r["peak_bytes"],
        "shares": {f"{k['m']}x{k['n']}x{k['k']}": k["share"] for k in encoder},
        "table": r["table"],
    }


# ---- all ----


def ten_minutes(args, source):
    """The recording repeated or cut to 10 minutes."""
    path = os.path.join(args.folder, "ten_minutes.wav")
    with wave.open(source) as w:
        params, data = w.getparams(), w.readframes(w.getnframes())
    want = 600 * params.framerate * params.sampwidth
    data = (data * (want // len(data) + 1))[:want]
    with wave.open(path, "wb") as o:
        o.setparams(params)
        o.writeframes(data)
    return path


def spread(ratios):
    ratios = sorted(ratios)
    return {"median": statistics.median(ratios), "least": ratios[0], "most": ratios[-1]}


def show(what, r):
    print(f"{what:<66} {r['median']:.2f} ({r['least']:.2f} to {r['most']:.2f})")


def main():
    if sys.argv[1:2] == ["--export"]:
        return export(sys.argv[2])
    if sys.argv[1:2] == ["--peer"]:
        return peer(sys.argv[2], sys.argv[3], int(sys.argv[4]))
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("folder")
    p.add_argument("audio", nargs="?")
    p.add_argument("--otolith", default=os.path.join(ROOT, "build/release/otolith"))
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--json", help="file for the same as JSON")
    args = p.parse_intermixed_args()  # FILE.wav may stand after options
    recording = args.audio or ten_minutes(args, os.path.join(ROOT, "build/testdata/en.wav"))
    if not os.path.exists(os.path.join(args.folder, "model_quant.onnx")):
        subprocess.run([sys.executable, os.path.abspath(__file__), "--export", args.folder], check=True)
    model = packed(args)
    them = Peer(args, recording)
    try:
        size = min((1, 2, 4), key=lambda n: them.run(n)["wall_s"])  # also once before
        ours(args, model, recording)
        rounds = [(ours(args, model, recording), them.run(size)) for _ in range(args.rounds)]
    finally:
        them.close()
    audio = rounds[0][0]["audio_s"]
    middle = [{k: statistics.median(r[i][k] for r in rounds) for k in rounds[0][i] if k.endswith(("_s", "_bytes"))} for i in (0, 1)]
    result = {
        "family": family_of(args.folder),
        "threads": args.threads,
        "audio_s": audio,
        "table": rounds[0][0]["table"],
        "batch_of_peer": size,
        "otolith": middle[0],
        "peer": middle[1],
        "network": spread([b["wall_s"] / a["wall_s"] for a, b in rounds]),
        "network_core": spread([b["core_s"] / a["core_s"] for a, b in rounds]),
        "whole": spread([b["wall_s"] / a["whole_s"] for a, b in rounds]),
        "shares": {k: statistics.median(a["shares"][k] for a, _ in rounds) for k in rounds[0][0]["shares"]},
    }
    print(f"{result['family']}, {audio:.0f} s, {args.threads} threads, kernels {result['table']}, {args.rounds} rounds; peer in batches of {size}")
    for who, r in (("otolith", middle[0]), ("onnxruntime", middle[1])):
        print(f"{who:<12} network {r['wall_s']:7.2f} s, {r['core_s'] / audio:.4f} core-s per second of audio, peak {r['peak_bytes'] / 1e6:.0f} MB")
    print(f"{'':<12} otolith's whole job {middle[0]['whole_s']:.2f} s, {middle[0]['whole_core_s'] / audio:.4f} core-s per second of audio")
    show("network, peer / otolith, wall", result["network"])
    show("network, peer / otolith, processor time", result["network_core"])
    show("the peer's network / otolith's whole job, wall", result["whole"])
    print("products of the encoder, share of the measured peak: " + ", ".join(f"{k} {100 * v:.0f} %" for k, v in result["shares"].items()))
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump(result, f, indent=2)
            f.write("\n")


if __name__ == "__main__":
    sys.exit(main())
