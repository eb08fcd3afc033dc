"""FunASR's Paraformer and SenseVoiceSmall with weights of our own, for comparisons without downloads.

Two ways to fill them:

by arithmetic   per tensor a linear congruential generator seeded with the hash of its name, which C repeats
                in ten lines (tests/unit/models/seeded.h): for numbers that are committed.
shaped          drawn at random and then fitted, layer by layer, to real recordings, so that activations look
                like a trained network's. White weights would be a poor test of 8 bits: their activations are
                Gaussian, of one size in every channel, which quantisation likes, and their outputs are
                undecided, so that any error changes tokens. Of trained transformers we know, and shape:

    residual stream    4 of 512 channels that are 10 to 30 times as large as the others, mostly a constant
                       (Dettmers et al., arXiv:2208.07339; Sun et al., arXiv:2402.17762); gains of norms that
                       spread log-normally, small for these channels
    matrices           heavy tails (normal times log-normal), rows of different sizes, part of the energy in a
                       few directions
    attention          logits with a standard deviation of 2 in each head: neither flat nor one frame
    feed-forward       after the ReLU 10 % of the units are active, each unit at its own rate (Li et al.,
                       arXiv:2210.06313)
    what layers add    a third of what is there, without a mean; of it attention, which random weights cannot
                       make local, less than memory and feed-forward: else frames become alike with depth
    weights of CIF     near 0 or near 1, as trained for whole tokens, 4 to 5 tokens a second
    output             a token for each of some hundred clusters of hidden states, the others at a distance;
                       as sure as a good model: the most probable has 0.9 in the mean. This layer and CIF's do
                       not look where recordings differ from one another as a whole, but within them

write_checkpoint() makes what FunASR's exporters read, write_gguf() what they write (its sources:
runtime/llama.cpp/{paraformer,sensevoice}/export_*_gguf.py). Needs the packages torch, torchaudio, funasr, gguf,
sentencepiece.
"""
import json
import os
import re
import sys
import types

sys.modules.setdefault("librosa", types.ModuleType("librosa"))  # imported by funasr, used by none of this
import numpy as np
import torch

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SANM = dict(attention_heads=4, linear_units=2048, kernel_size=11)
# encoder layers, decoder layers or those of the second stack, vocabulary
SIZES = {
    "paraformer": {"small": (4, 2, 500), "full": (50, 16, 8404)},
    "sensevoice": {"small": (4, 2, 600), "full": (50, 20, 25055)},
}
OUTLIERS = (17, 131, 260, 402)


# ---- architectures ----


def paraformer(layers, decoder_layers, vocabulary):
    import funasr.models.paraformer.cif_predictor
    import funasr.models.paraformer.decoder
    import funasr.models.sanm.encoder  # noqa: F401 (these register their classes)
    from funasr.models.paraformer.model import Paraformer

    return Paraformer(
        encoder="SANMEncoder",
        encoder_conf=dict(output_size=512, num_blocks=layers, input_layer="pe", **SANM),
        decoder="ParaformerSANMDecoder",
        decoder_conf=dict(num_blocks=decoder_layers, att_layer_num=decoder_layers, **SANM),
        predictor="CifPredictorV2",
        predictor_conf=dict(idim=512, l_order=1, r_order=1, tail_threshold=0.45),
        ctc_weight=0.0,
        input_size=560,
        vocab_size=vocabulary,
    )


def sensevoice(layers, tp_layers, vocabulary):
    from funasr.models.sense_voice.model import SenseVoiceSmall

    return SenseVoiceSmall(
        encoder="SenseVoiceEncoderSmall",
        input_size=560,
        vocab_size=vocabulary,
        encoder_conf=dict(output_size=512, num_blocks=layers, tp_blocks=tp_layers, **SANM),
    )


def build(family, size):
    model = {"paraformer": paraformer, "sensevoice": sensevoice}[family](*SIZES[family][size])
    return model.eval().requires_grad_(False)


# ---- features ----


def published_scale():
    """1 / deviation of the 80 bins, which SenseVoice's GGUF lacks: the program's own table."""
    text = open(os.path.join(ROOT, "src/models/sensevoice/cmvn.c"), encoding="utf-8").read()
    values = re.findall(r"(0\.\d+)f", text[text.index("= {") :])
    assert len(values) == 80
    return np.array(values, np.float32)


def front_end(cmvn_file, m, n):
    from funasr.frontends.wav_frontend import WavFrontend

    return WavFrontend(cmvn_file=cmvn_file, fs=16000, window="hamming", n_mels=80, lfr_m=m, lfr_n=n, dither=0.0)


def features(pcm, cmvn_file=None, m=7, n=6):
    out, _ = front_end(cmvn_file, m, n)(torch.from_numpy(pcm)[None], torch.tensor([len(pcm)]))
    return out[0]


def write_am_mvn(path, recordings):
    """Kaldi's form, with the brackets of its first component, which SenseVoice's exporter takes for data."""
    shift = -torch.cat([features(p, m=1, n=1) for p in recordings]).mean(0).numpy()
    lines = ["<Nnet>", "<Splice> 560 560", "[ 0 ]"]
    for name, v in (("AddShift", shift), ("Rescale", published_scale())):
        values = " ".join(f"{x:.7g}" for x in np.tile(v, 7))
        lines += [f"<{name}> 560 560", f"<LearnRateCoef> 0 [ {values} ]"]
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(lines + ["</Nnet>", ""]))


# ---- weights by arithmetic ----


def lcg(seed, n):
    """n values in [-1, 1)."""
    a = np.cumprod(np.full(n, 1664525, np.uint32), dtype=np.uint32)
    s = np.concatenate([[np.uint32(1)], a[:-1]]).cumsum(dtype=np.uint32)
    x = a * np.uint32(seed) + s * np.uint32(1013904223)
    return (x >> np.uint32(8)).astype(np.float64) / 8388608.0 - 1.0


def fnv(name):
    h = 2166136261
    for b in name.encode():
        h = ((h ^ b) * 16777619) & 0xFFFFFFFF
    return h


def fill_by_arithmetic(model):
    for name, v in model.state_dict().items():
        u = lcg(fnv(name), v.numel()).reshape(tuple(v.shape))
        if v.dim() >= 2:
            w = u if "embed" in name else u * np.sqrt(3.0 / np.prod(v.shape[1:]))
        else:
            w = 0.1 * u + (1.0 if name.endswith("weight") else 0.0)
        v.copy_(torch.from_numpy(np.asarray(w, np.float32)))


# ---- shaped weights ----


class Shaper:
    """Fills a model while the given features go through it."""

    def __init__(self, seed):
        self.g = torch.Generator().manual_seed(seed)

    def normal(self, *shape):
        return torch.randn(*shape, generator=self.g)

    def matrix(self, n, k):
        """Heavy tails, rows of different sizes, some common directions; rows of length 1 in the mean."""
        w = self.normal(n, k) * torch.exp(0.45 * self.normal(n, k))
        w += 1.5 * self.normal(n, 12) @ self.normal(12, k) / 12**0.5
        w *= torch.exp(0.3 * self.normal(n, 1))
        return w / w.norm(dim=1).mean()

    def gains(self, norm, width, base=1.0):
        g = base * torch.exp(0.4 * self.normal(width))
        if width == 512:
            g[list(OUTLIERS)] *= 0.3
        norm.weight.copy_(g)
        norm.bias.copy_(0.1 * base * self.normal(width))

    @staticmethod
    def within(parts):
        """Takes away what tells the means of recordings from one another."""
        means = torch.stack([p.mean(0) for p in parts])
        _, s, v = torch.linalg.svd(means - means.mean(0), full_matrices=False)
        v = v[s > 1e-3 * s[0]]
        return torch.eye(parts[0].shape[1]) - v.T @ v

    @staticmethod
    def ordinary(x):
        """Size of the channels that are not outliers."""
        keep = torch.ones(x.shape[-1], dtype=torch.bool)
        if x.shape[-1] == 512:
            keep[list(OUTLIERS)] = False
        return float(x[:, keep].pow(2).mean().sqrt())

    def sized(self, dense, rows, size, centred=True):
        """Weights such that what comes out for these rows has this size and, but for the weights' first
        draw, no mean."""
        w = self.matrix(*dense.weight.shape)
        y = rows @ w.T
        y = y - y.mean(0)
        w *= size / max(float(y.pow(2).mean().sqrt()), 1e-6)
        dense.weight.copy_(w)
        if dense.bias is not None:
            mean = rows.mean(0) @ w.T
            dense.bias.copy_(-mean if centred else 0.1 * size * self.normal(len(w)))

    def logits(self, q, k, parts_q, parts_k, heads=4, deviation=2.0):
        """Scales the rows of q's and k's layers, per head; parts: rows of each recording."""
        d = q.weight.shape[0] // heads if q is not k else 128
        for h in range(heads):
            rows_q = slice(h * d, (h + 1) * d)
            rows_k = slice(h * d, (h + 1) * d) if q is not k else slice(512 + h * d, 512 + (h + 1) * d)
            values = []
            for a, b in zip(parts_q, parts_k):
                s = (a @ q.weight[rows_q].T + q.bias[rows_q]) @ (b @ k.weight[rows_k].T + k.bias[rows_k]).T
                values.append((s - s.mean(1, keepdim=True)).flatten() / d**0.5)
            by = (deviation / max(float(torch.cat(values).std()), 1e-6)) ** 0.5
            for layer, rows in ((q, rows_q), (k, rows_k)):
                layer.weight[rows] *= by
                layer.bias[rows] *= by

    def feed_forward(self, ff, rows, size, active=0.1):
        """10 % of the units are active; returns what comes out."""
        self.sized(ff.w_1, rows, 1.0, centred=False)
        z = rows @ ff.w_1.weight.T
        rates = (active * torch.exp(0.7 * self.normal(len(ff.w_1.bias)))).clamp(0.005, 0.6)
        some = z[::2].sort(0).values
        ranks = ((1 - rates) * (len(some) - 1)).long()
        ff.w_1.bias.copy_(-some.gather(0, ranks[None])[0])
        h = torch.relu(z + ff.w_1.bias)
        if hasattr(ff, "norm"):
            self.gains(ff.norm, h.shape[1])
            h = ff.norm(h)
        self.sized(ff.w_2, h, size)
        return h @ ff.w_2.weight.T + (0 if ff.w_2.bias is None else ff.w_2.bias)

    def taps(self, block, v, size):
        """Filters over time that are smooth and lean to one side; their output has this size."""
        d, _, n = block.weight.shape
        w = self.normal(d, n) * torch.exp(-0.5 * ((torch.arange(n) - n // 2) / 2.0) ** 2)
        w *= size / max(float(v.std()), 1e-6) / w.norm(dim=1).mean()
        block.weight.copy_(w[:, None])

    # -- encoder --

    def layer(self, layer, xs, outliers):
        """One SAN-M layer; xs: what it reads, a tensor for each recording. Returns what it gives."""
        self.gains(layer.norm1, layer.in_size)
        hs = [layer.norm1(x) for x in xs]
        rows, attention = torch.cat(hs), layer.self_attn
        self.sized(attention.linear_q_k_v, rows, 1.0, centred=False)
        self.logits(attention.linear_q_k_v, attention.linear_q_k_v, hs, hs)
        there = self.ordinary(torch.cat(xs)) if layer.in_size == layer.size else 1.0
        v = rows @ attention.linear_q_k_v.weight[1024:].T + attention.linear_q_k_v.bias[1024:]
        attention.linear_q_k_v.weight[1024:] *= 0.25 * there / v.std()
        attention.linear_q_k_v.bias[1024:] *= 0.25 * there / v.std()
        self.taps(attention.fsmn_block, 0.25 * there * v / v.std(), 0.25 * there)
        # What attention gives before its last matrix: with that the identity, less the memory.
        attention.linear_out.weight.copy_(torch.eye(512))
        attention.linear_out.bias.zero_()
        parts = []
        for h in hs:
            q, k, value, plain = attention.forward_qkv(h[None])
            parts.append(attention.forward_attention(value, q * 128**-0.5 @ k.transpose(-2, -1), None)[0])
        self.sized(attention.linear_out, torch.cat(parts), 0.15 * there)
        xs = [
            attention(h[None], None)[0] + (x if layer.in_size == layer.size else 0) for h, x in zip(hs, xs)
        ]
        self.gains(layer.norm2, layer.size)
        rows = torch.cat([layer.norm2(x) for x in xs])
        there = self.ordinary(torch.cat(xs))
        self.feed_forward(layer.feed_forward, rows, 0.35 * there)
        if outliers:
            w2 = layer.feed_forward.w_2
            for i, c in enumerate(OUTLIERS):
                w2.weight[c] *= 6
                w2.bias[c] = (-1) ** i * (10 + 6 * i) * there
        return [x + layer.feed_forward(layer.norm2(x)) for x in xs]

    def encoder(self, encoder, xs):
        """xs: features, scaled and with their places added."""
        layers = list(encoder.encoders0) + list(encoder.encoders)
        for i, layer in enumerate(layers):
            xs = self.layer(layer, xs, outliers=i == min(2, len(layers) - 1))
        self.gains(encoder.after_norm, 512)
        xs = [encoder.after_norm(x) for x in xs]
        if hasattr(encoder, "tp_encoders"):
            for i, layer in enumerate(encoder.tp_encoders):
                xs = self.layer(layer, xs, outliers=i == min(2, len(encoder.tp_encoders) - 1))
            self.gains(encoder.tp_norm, 512)
            xs = [encoder.tp_norm(x) for x in xs]
        return xs

    # -- Paraformer's predictor and decoder --

    def predictor(self, p, xs):
        """Weights of 0.27 in the mean, most of them near 0 or 1."""
        n = 3 * 512
        p.cif_conv1d.weight.copy_(self.matrix(512, n).reshape(512, 512, 3) * (0.3 / 3**0.5))
        p.cif_conv1d.bias.copy_(0.1 * self.normal(512))
        p.cif_output.weight.copy_(self.normal(1, 512) / 512**0.5)
        p.cif_output.bias.zero_()

        def inside(x):
            return torch.relu(p.cif_conv1d(p.pad(x.T[None])))[0].T

        parts = [inside(x) for x in xs]
        p.cif_output.weight.copy_(p.cif_output.weight @ self.within(parts))
        z = p.cif_output(torch.cat(parts))[:, 0]
        p.cif_output.weight *= 4 / z.std()
        z *= 4 / z.std()
        low, high = -100.0, 100.0
        for _ in range(60):
            bias = (low + high) / 2
            low, high = (low, bias) if torch.sigmoid(z + bias).mean() > 0.27 else (bias, high)
        p.cif_output.bias.fill_(bias)

    def decoder(self, d, xs, es):
        """es: rows of tokens. Returns the rows that the output layer reads."""
        for layer in d.decoders:
            self.gains(layer.norm1, 512)
            rows = torch.cat([layer.norm1(e) for e in es])
            there = self.ordinary(torch.cat(es))
            self.feed_forward(layer.feed_forward, rows, 1.0)
            self.gains(layer.norm2, 512, 0.3 * there)
            ts = [layer.norm2(layer.feed_forward(layer.norm1(e))) for e in es]
            self.taps(layer.self_attn.fsmn_block, torch.cat(ts), 0.15 * there)
            es = [e + layer.self_attn(t[None], None)[0][0] for e, t in zip(es, ts)]
            self.gains(layer.norm3, 512)
            source, there = layer.src_attn, self.ordinary(torch.cat(es))
            qs = [layer.norm3(e) for e in es]
            self.sized(source.linear_q, torch.cat(qs), 1.0, centred=False)
            self.sized(source.linear_k_v, torch.cat(xs), 1.0, centred=False)
            self.logits(source.linear_q, source.linear_k_v, qs, xs)
            source.linear_out.weight.copy_(torch.eye(512))
            source.linear_out.bias.zero_()
            rows = torch.cat([source(q[None], x[None], None)[0] for q, x in zip(qs, xs)])
            self.sized(source.linear_out, rows, 0.4 * there)
            es = [e + source(q[None], x[None], None)[0] for e, q, x in zip(es, qs, xs)]
        last = d.decoders3[0]
        self.gains(last.norm1, 512)
        self.feed_forward(last.feed_forward, torch.cat([last.norm1(e) for e in es]), 1.0)
        es = [last.feed_forward(last.norm1(e)) for e in es]
        self.gains(d.after_norm, 512)
        return [d.after_norm(e) for e in es]

    # -- the last layer --

    def output(self, dense, parts, blank=None):
        """A token for each cluster of rows; blank: the share of rows that it takes."""
        rows, within = torch.cat(parts), self.within(parts)
        n_vocab, mean = len(dense.bias), rows.mean(0)
        h = (rows - mean) @ within
        held_out = h[len(h) * 2 // 3 :]
        h = h[: len(h) * 2 // 3]
        n = max(8, min(400, len(h) // 4, n_vocab // 2))
        centres = h[torch.randperm(len(h), generator=self.g)[:n]].clone()
        for _ in range(8):
            nearest = torch.cdist(h, centres).argmin(1)
            for i in range(n):
                if (nearest == i).any():
                    centres[i] = h[nearest == i].mean(0)
        size = centres.norm(dim=1).mean()
        w = self.matrix(n_vocab, 512) * 0.6 * size
        b = -0.5 * (size**2).expand(n_vocab).clone()
        ids = torch.randperm(n_vocab - 3, generator=self.g)[:n] + 3
        w = w @ within
        w[ids] = centres
        b[ids] = -0.5 * centres.pow(2).sum(1)
        if blank is not None:
            w[0] = 0.1 * (self.matrix(1, 512) @ within)[0] * size
            others = (held_out @ w.T + b)[:, 1:].max(1).values - held_out @ w[0]
            b[0] = others.sort().values[int(blank * len(others))]
        low, high, logits = 1e-4, 1e2, held_out @ w.T + b
        for _ in range(25):  # as sure as wanted
            by = (low * high) ** 0.5
            sure = torch.softmax(by * logits, 1).max(1).values.mean()
            low, high = (low, by) if sure > 0.9 else (by, high)
        dense.weight.copy_(by * w)
        dense.bias.copy_(by * (b - w @ mean))


def positioned(x):
    from funasr.models.sense_voice.model import SinusoidalPositionEncoder

    return SinusoidalPositionEncoder()(x[None] * 512**0.5)[0]


ASKS = [0, 1, 2, 14]  # rows of SenseVoice's embedding: language (any), event, emotion, text form


def shape(family, model, feats, seed):
    """feats: rows of 560 of some recordings, normalised; they should not be those compared later."""
    s = Shaper(seed)
    for p in model.parameters():
        p.zero_()
    if family == "sensevoice":
        model.embed.weight.copy_(s.normal(16, 560))
        feats = [torch.cat([model.embed.weight[ASKS], f]) for f in feats]
    xs = s.encoder(model.encoder, [positioned(f) for f in feats])
    if family == "sensevoice":
        s.output(model.ctc.ctc_lo, xs, blank=0.5)
        return
    s.predictor(model.predictor, xs)
    es = []
    for x in xs:
        n = torch.tensor([len(x)])
        e, count, _, _ = model.calc_predictor(x[None], n)
        es.append(e[0, : int(count[0])])
    both = [(x, e) for x, e in zip(xs, es) if len(e) > 0]
    s.output(model.decoder.output_layer, s.decoder(model.decoder, *map(list, zip(*both))))


# ---- files ----


def vocabulary(family, n):
    """Han characters, and some English pieces; SenseVoice's with its tags where it has them."""
    first = ["<blank>", "<s>", "</s>"] if family == "paraformer" else ["<unk>", "<s>", "</s>"]
    words = [chr(0x4E00 + i) if i % 10 else ("go@@" if family == "paraformer" else "\u2581go") + str(i) for i in range(n)]
    words[:3] = first
    tags = {24884: "zh", 24885: "en", 24888: "yue", 24892: "ja", 24896: "ko", 25004: "NEUTRAL", 25016: "withitn"}
    for i, name in tags.items() if family == "sensevoice" and n == 25055 else ():
        words[i] = f"<|{name}|>"
    return words


def write_checkpoint(family, model, folder):
    """model.pt, and the vocabulary as tokens.json or a SentencePiece model; am.mvn is there already."""
    torch.save({"state_dict": model.state_dict()}, os.path.join(folder, "model.pt"))
    if family == "paraformer":
        words = vocabulary(family, model.decoder.output_layer.weight.shape[0])
        with open(os.path.join(folder, "tokens.json"), "w", encoding="utf-8") as f:
            json.dump(words, f, ensure_ascii=False)
        return
    from sentencepiece import sentencepiece_model_pb2 as pb

    m = pb.ModelProto()
    m.trainer_spec.model_type = pb.TrainerSpec.BPE
    for i, w in enumerate(vocabulary(family, model.ctc.ctc_lo.weight.shape[0])):
        kind = pb.ModelProto.SentencePiece.UNKNOWN if i == 0 else pb.ModelProto.SentencePiece.NORMAL
        m.pieces.add(piece=w, score=-float(i), type=kind)
    with open(os.path.join(folder, "chn_jpn_yue_eng_ko_spectok.bpe.model"), "wb") as f:
        f.write(m.SerializeToString())


def read_am_mvn(path):
    blocks = re.findall(r"\[([^\]]*)\]", open(path, encoding="utf-8").read())
    return [np.array(b.split(), np.float32) for b in blocks]


def write_gguf(family, model, mvn, path, kind):
    """The exporters' layout, from their sources; kind: f32, f16 or q8_0."""
    import gguf

    quantised = gguf.GGMLQuantizationType.Q8_0
    blocks = read_am_mvn(mvn)
    if family == "paraformer":
        w = gguf.GGUFWriter(path, "paraformer")
        w.add_uint32("pf.enc.attention_heads", 4)
        w.add_uint32("pf.enc.kernel_size", 11)
        w.add_float32("pf.predictor.tail_threshold", 0.45)
        w.add_float32("pf.predictor.threshold", 1.0)
        w.add_array("pf.vocab", vocabulary(family, model.decoder.output_layer.weight.shape[0]))
        shift, scale = blocks[1:]
        kept = ("encoder.", "decoder.", "predictor.")
    else:
        w = gguf.GGUFWriter(path, "sensevoice-small")
        w.add_uint32("sv.attention_heads", 4)
        w.add_uint32("sv.kernel_size", 11)
        w.add_uint32("sv.blank_id", 0)
        w.add_array("sv.query_tokens", ASKS)
        w.add_array("sv.vocab", vocabulary(family, model.ctc.ctc_lo.weight.shape[0]))
        shift, scale = blocks[:2]  # the exporter's mistake: one value, and the shift
        kept = ("encoder.", "ctc.", "embed.weight")
    w.add_tensor("cmvn.shift", shift)
    w.add_tensor("cmvn.scale", scale)
    for name, v in model.state_dict().items():
        if not name.startswith(kept) or name == "decoder.embed.0.weight":
            continue
        a = v.to(torch.float32).contiguous().numpy()
        if name.endswith("fsmn_block.weight"):
            w.add_tensor(name, np.ascontiguousarray(a[:, 0, :].T))
            continue
        plain = a.ndim != 2 or "norm" in name
        if kind == "f16" and not plain and "cif_output" not in name:
            w.add_tensor(name, a.astype(np.float16))
        elif kind == "q8_0" and not plain and a.shape[1] % 32 == 0 and "predictor" not in name and name != "embed.weight":
            w.add_tensor(name, gguf.quants.quantize(a, quantised), raw_dtype=quantised)
        else:
            w.add_tensor(name, a)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
