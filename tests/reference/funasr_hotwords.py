#!/usr/bin/env python3
"""Asks FunASR's SeACo-Paraformer for numbers: finer times, hot words, segmentation; its Contextual
Paraformer for hot words.

    funasr_hotwords.py tests/golden/paraformer_hotwords.txt

Writes what tests/unit/models/paraformer compares with. Weights and sounds are made by arithmetic
that tests/unit/models/seeded.h repeats, so no file is needed. Needs the Python packages torch and
funasr (made with 2.11.0 and 1.4.16, float32, one thread).
"""
import sys
import tempfile
import types

sys.modules.setdefault("librosa", types.ModuleType("librosa"))
import numpy as np
import torch

import funasr.models.sanm.encoder
import funasr.models.paraformer.decoder
import funasr.models.bicif_paraformer.cif_predictor
import funasr.models.contextual_paraformer.decoder
from funasr.frontends.wav_frontend import WavFrontend
from funasr.models.bicif_paraformer.cif_predictor import CifPredictorV3, cif_wo_hidden
from funasr.models.contextual_paraformer.model import ContextualParaformer
from funasr.models.seaco_paraformer.model import SeacoParaformer
from funasr.utils.timestamp_tools import ts_prediction_lfr6_standard

torch.set_num_threads(1)
VOCAB, NO_BIAS, SECONDS = 120, 65, 3
MANY = 70
SANM = dict(attention_heads=4, linear_units=2048, kernel_size=11)
PREDICTOR = dict(idim=512, l_order=1, r_order=1, smooth_factor2=0.25, noise_threshold2=0.01,
                 upsample_times=3, use_cif1_cnn=False, upsample_type="cnn_blstm")


def lcg(seed, n):
    """n values in [-1, 1)"""
    a = np.cumprod(np.full(n, 1664525, np.uint32), dtype=np.uint32)
    s = np.concatenate([[np.uint32(1)], a[:-1]]).cumsum(dtype=np.uint32)
    x = a * np.uint32(seed) + s * np.uint32(1013904223)
    return (x >> np.uint32(8)).astype(np.float64) / 8388608.0 - 1.0


def fnv(s):
    h = 2166136261
    for b in s.encode():
        h = ((h ^ b) * 16777619) & 0xFFFFFFFF
    return h


def fill(model):
    for k, v in model.state_dict().items():
        u = lcg(fnv(k), v.numel()).reshape(tuple(v.shape))
        if v.dim() >= 2:
            w = u if "embed" in k else u * np.sqrt(3.0 / np.prod(v.shape[1:]))
        else:
            w = 0.1 * u + (1.0 if k.endswith("weight") else 0.0)
        v.copy_(torch.from_numpy(np.asarray(w, np.float32)))
    return model.eval()


def features(samples):
    i = np.arange(samples)
    pcm = np.round((0.3 * np.sin(2 * np.pi * 440 * i / 16000) + 0.1 * lcg(1, samples)) * 32767)
    fe = WavFrontend(cmvn_file=None, fs=16000, window="hamming", n_mels=80, lfr_m=7, lfr_n=6,
                     dither=0.0)
    f, n = fe(torch.from_numpy((pcm / 32768).astype(np.float32))[None], torch.tensor([samples]))
    return (f - 12) * 0.15, n


def seaco():
    return SeacoParaformer(
        encoder="SANMEncoder",
        encoder_conf=dict(output_size=512, num_blocks=3, input_layer="pe", **SANM),
        decoder="ParaformerSANMDecoder", decoder_conf=dict(num_blocks=2, att_layer_num=2, **SANM),
        seaco_decoder="ParaformerSANMDecoder",
        seaco_decoder_conf=dict(attention_heads=4, linear_units=1024, num_blocks=4, kernel_size=21,
                                use_output_layer=False, wo_input_layer=True),
        predictor="CifPredictorV3", predictor_conf=dict(tail_threshold=0.45, **PREDICTOR),
        inner_dim=512, bias_encoder_type="lstm", bias_encoder_bid=False, ctc_weight=0.0,
        input_size=560, vocab_size=VOCAB, NO_BIAS=NO_BIAS)


def contextual():
    return ContextualParaformer(
        encoder="SANMEncoder",
        encoder_conf=dict(output_size=512, num_blocks=3, input_layer="pe", **SANM),
        decoder="ContextualParaformerDecoder",
        decoder_conf=dict(num_blocks=3, att_layer_num=3, **SANM),
        predictor="CifPredictorV2",
        predictor_conf=dict(idim=512, l_order=1, r_order=1, tail_threshold=0.45),
        inner_dim=512, ctc_weight=0.0, input_size=560, vocab_size=VOCAB)


class Golden:
    def __init__(self):
        self.lines = []

    def put(self, name, values, form="%.6f"):
        v = np.asarray(values).reshape(-1)
        self.lines.append(" ".join([name, str(len(v))] + [form % x for x in v]))


class Peer:
    """FunASR's own functions, their inner results kept."""

    def __init__(self, model):
        self.m = model
        self.h, self.n = model.encode(*features(16000 * SECONDS))
        self.e, count = model.calc_predictor(self.h, self.n)[:2]
        self.count = count.round().long()

    def run(self, words):
        kept = {}
        hooks = [
            self.m.hotword_output_layer.register_forward_hook(
                lambda _, x, y: kept.update(merged=x[0], logits=y)),
            self.m.seaco_decoder.register_forward_hook(
                lambda _, x, y: kept.setdefault("passes", []).append((x[0], y[0]))),
        ]
        p = self.m._seaco_decode_with_ASF(self.h, self.n, self.e, self.count, hw_list=words)
        for hook in hooks:
            hook.remove()
        return p, kept


def word(i):
    """Every tenth piece of the seeded vocabulary is not a character of its own."""
    return i + (i % 10 == 0)


FEW = [[3, 4, 5], [33], [44, 45], [10, 52], [1]]
MANY_WORDS = [[word(3 + i % 110), word(4 + i * 7 % 100)] + [word(5 + i)] * (i % 3)
              for i in range(MANY)] + [[1]]


def hot_words(g, peer):
    plain, _ = peer.run(None)
    g.put("tokens", [plain.shape[1]], "%d")
    g.put("plain_ids", plain.argmax(-1), "%d")
    g.put("plain_log_prob", plain.max(-1)[0])
    for name, words in (("few", FEW), ("many", MANY_WORDS)):
        lengths = torch.tensor([len(w) for w in words])
        pad = torch.nn.utils.rnn.pad_sequence([torch.tensor(w) for w in words], batch_first=True)
        rows = peer.m._hotword_representation(pad, lengths)
        p, kept = peer.run(words)
        g.put(name + "_rows", rows[:, :4])
        (memory, cif), (_, dec) = kept["passes"][-2:]
        g.put(name + "_kept", [memory.shape[1]], "%d")
        g.put(name + "_memory_sum", memory[0].sum())
        g.put(name + "_cif", cif[0, :, :4])
        g.put(name + "_dec", dec[0, :, :4])
        own = kept["logits"].argmax(-1)
        g.put(name + "_own", own, "%d")
        g.put(name + "_ids", p.argmax(-1), "%d")
        g.put(name + "_log_prob", p.max(-1)[0])
        top = kept["logits"].topk(2, -1)[0]
        print(name, "smallest margin", (top[..., 0] - top[..., 1]).min().item(), own.tolist(),
              p.argmax(-1).tolist())


def last_layer(g, m):
    """Contextual: without a list, with one word, some, many."""
    h, n = m.encode(*features(16000 * SECONDS))
    e, count, _, peak = m.calc_predictor(h, n)[:4]
    count = count.round().long()
    g.put("clas_fire", (peak[0] >= 1).nonzero()[: count[0]], "%d")
    for name, words in (("none", None), ("one", [FEW[0], [1]]), ("few", FEW), ("many", MANY_WORDS)):
        kept, d = {}, m.decoder
        hooks = [
            d.last_decoder.register_forward_hook(lambda _, x, y: kept.update(before=y[2], sound=y[3])),
            d.bias_decoder.register_forward_hook(lambda _, x, y: kept.update(rows=x[2], words=y[0])),
            d.bias_output.register_forward_hook(lambda _, x, y: kept.update(both=y)),
        ]
        p, _ = m.cal_decoder_with_predictor(h, n, e, count, hw_list=words)
        for hook in hooks:
            hook.remove()
        g.put(f"clas_{name}_rows", kept["rows"][0, :, :4])
        g.put(f"clas_{name}_sound", kept["sound"][0, :, :4])
        g.put(f"clas_{name}_words", kept["words"][0, :, :4])
        g.put(f"clas_{name}_both", (kept["before"] + kept["both"].transpose(1, 2))[0, :, :4])
        g.put(f"clas_{name}_ids", p.argmax(-1), "%d")
        g.put(f"clas_{name}_log_prob", p.max(-1)[0])
        top = p.topk(2, -1)[0]
        print(name, "smallest margin", (top[..., 0] - top[..., 1]).min().item(), p.argmax(-1).tolist())


def segmentation(g, peer):
    pieces = "<blank> <s> </s> 阿 里 巴 hel@@ lo hello@@ wor@@ ld a b@@ it's <unk>".split()
    tokenizer = types.SimpleNamespace(tokens2ids=lambda x: [pieces.index(t) for t in x])
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/seg_dict", "w") as f:
            f.write("阿 阿\n里 里\n巴 巴\nhello hel@@ lo\nworld  wor@@ ld\na a\nit's it's\n"
                    "阿里 里 阿\nhello hel@@ ld\n")
        frontend = types.SimpleNamespace(cmvn_file=folder + "/am.mvn")
        words = ["阿里巴巴", "HELLO", "world", "a", "阿", "It's", "阿里"]
        for i, ids in enumerate(peer.m.generate_hotwords_list(" ".join(words), tokenizer, frontend)):
            g.put("segment_%d" % i, ids, "%d")


def times(g, peer):
    alone = fill(CifPredictorV3(**PREDICTOR))
    x = torch.from_numpy(lcg(7, 20 * 512).astype(np.float32)).reshape(1, 20, 512)
    a = alone.get_upsample_timestamp(x, torch.ones(1, 1, 20), torch.tensor([5]))[2]
    g.put("head_alone", a)
    a = peer.m.calc_predictor_timestamp(peer.h, peer.n, peer.count)[2]
    g.put("head", a)
    # The conversion: weights of `steps`, scaled as the predictor does, for pieces of text.
    for i in range(60):
        steps, tokens = 3 * (2 + i * 5 % 37), 2 + i * 3 % 11
        text = max(1, tokens - 1 + (0, 0, 0, 1, -1, -2)[i % 6])
        u = torch.from_numpy(lcg(1000 + i, steps).astype(np.float32))[None]
        alpha = torch.relu(u - 0.4 * (i % 3)) * 0.2
        if alpha.sum() == 0:
            continue
        alpha *= (torch.tensor([tokens]) / alpha.sum(-1))[:, None].repeat(1, steps)
        peaks = cif_wo_hidden(alpha, 1.0 - 1e-4)
        _, out = ts_prediction_lfr6_standard(alpha[0].clone(), peaks[0], ["x"] * text)
        g.put("case_%d" % i, [steps, tokens, text] + [t for pair in out for t in pair], "%d")


def main():
    g = Golden()
    with torch.no_grad():
        peer = Peer(fill(seaco()))
        hot_words(g, peer)
        times(g, peer)
        segmentation(g, peer)
        last_layer(g, fill(contextual()))
    with open(sys.argv[1], "w") as f:
        f.write("\n".join(g.lines) + "\n")


main()
