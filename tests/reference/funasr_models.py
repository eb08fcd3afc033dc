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
    what layers add    an eighth of what is there (ADDS), without a mean: in trained networks rows of neighbouring
                       layers are nearly parallel (Men et al., arXiv:2403.03853). With a third a network of
                       random layers is chaotic: 50 make 200 times as much of a rounding error. Attention, which
                       random weights cannot make local, adds less than memory and feed-forward: else frames
                       become alike with depth
    classes            each feed-forward layer also moves rows towards the middle of their class (PULL, by ridge
                       regression), as trained networks tell classes apart by a constant factor a layer (He and
                       Su, arXiv:2210.17020); classes are clusters of features
    weights of CIF     near 0 or near 1: trained to find rows in which some value is higher than in their
                       neighbours; 4 to 5 tokens a second
    output             trained: with Paraformer's last feed-forward layer it learns, by gradient descent with
                       dropout, to tell the classes of rows, on other recordings, with and without errors of
                       the features; each class is a token, the other tokens are at a distance

write_checkpoint() makes what FunASR's exporters read, write_gguf() what they write (its sources:
runtime/llama.cpp/{paraformer,sensevoice}/export_*_gguf.py). Needs the packages torch, torchaudio, funasr, gguf,
sentencepiece.
"""
import functools
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
# What layers add, as a share of what is there: memory, attention, feed-forward; of the decoder feed-forward,
# its memory, attention.
ADDS = (0.08, 0.04, 0.08)
PULL = 0.08  # and how far feed-forward layers move a row towards the middle of its class
DECODER_ADDS = (0.15, 0.08, 0.15)
N_CLASSES = 100
ERROR = 0.01  # of features, against which the last layers are trained


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


@functools.cache
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
        self.labels = None  # classes of the rows, which encoders tell apart

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
        v = v[s > 1e-3 * s[0]][:11]
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

    def pull(self, ff, h, x):
        """Adds to a feed-forward layer what moves rows towards the middle of their class (ridge regression)."""
        if self.labels is None:
            return
        one = torch.nn.functional.one_hot(self.labels).float()
        middle = (one.T @ x) / one.sum(0)[:, None].clamp(min=1)
        wanted = PULL * (middle[self.labels] - x)
        wanted[:, list(OUTLIERS)] = 0
        a = h - h.mean(0)
        gram = a @ a.T
        w = a.T @ torch.linalg.solve(gram + 0.03 * gram.diagonal().mean() * torch.eye(len(a)), wanted)
        ff.w_2.weight += w.T
        ff.w_2.bias -= h.mean(0) @ w

    def feed_forward(self, ff, rows, size, active=0.1, x=None):
        """10 % of the units are active; returns what comes out. x: the residual stream, in an encoder."""
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
        if x is not None:
            self.pull(ff, h, x)
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
        memory, attended, fed = ADDS if layer.in_size == layer.size else (0.25, 0.15, 0.35)
        attention.linear_q_k_v.weight[1024:] *= memory * there / v.std()
        attention.linear_q_k_v.bias[1024:] *= memory * there / v.std()
        self.taps(attention.fsmn_block, memory * there * v / v.std(), memory * there)
        # What attention gives before its last matrix: with that the identity, less the memory.
        attention.linear_out.weight.copy_(torch.eye(512))
        attention.linear_out.bias.zero_()
        parts = []
        for h in hs:
            q, k, value, plain = attention.forward_qkv(h[None])
            parts.append(attention.forward_attention(value, q * 128**-0.5 @ k.transpose(-2, -1), None)[0])
        self.sized(attention.linear_out, torch.cat(parts), attended * there)
        xs = [
            attention(h[None], None)[0] + (x if layer.in_size == layer.size else 0) for h, x in zip(hs, xs)
        ]
        self.gains(layer.norm2, layer.size)
        rows = torch.cat([layer.norm2(x) for x in xs])
        there = self.ordinary(torch.cat(xs))
        self.feed_forward(layer.feed_forward, rows, fed * there, x=torch.cat(xs))
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

    def peaks(self, parts):
        """Where some value of rows, which varies much, is higher than before and behind and as a rule: 0.27 of
        the rows."""
        centred = torch.cat([x - x.mean(0) for x in parts])
        w = centred.T @ (centred @ (self.within(parts) @ self.normal(512)))
        values = [torch.nn.functional.pad(x @ w, (1, 1), value=-1e30) for x in parts]
        tops = [torch.where((v[1:-1] > v[:-2]) & (v[1:-1] > v[2:]), v[1:-1], -1e30) for v in values]
        every = torch.cat(tops)
        return [(t > every.sort().values[int(0.73 * len(every))]).float() for t in tops]

    def predictor(self, p, pairs, epochs=12):
        """Learns weights of 0 and 1. pairs: rows of a recording and what is wanted of each."""
        p.cif_conv1d.weight.copy_(self.matrix(512, 3 * 512).reshape(512, 512, 3))
        p.cif_conv1d.weight *= 1 / self.ordinary(torch.cat([x for x, _ in pairs]))
        p.cif_conv1d.bias.copy_(0.1 * self.normal(512))
        p.cif_output.weight.copy_(0.05 * self.normal(1, 512))
        p.cif_output.bias.zero_()
        with torch.enable_grad():
            adam = torch.optim.AdamW([q.requires_grad_() for q in p.parameters()], lr=1e-3, weight_decay=0.02)
            for _ in range(epochs):
                for i in torch.randperm(len(pairs), generator=self.g):
                    x, y = pairs[i]
                    z = p.cif_output(torch.relu(p.cif_conv1d(p.pad(x.T[None])))[0].T)[:, 0]
                    loss = torch.nn.functional.binary_cross_entropy_with_logits(z, y)
                    adam.zero_grad()
                    loss.backward()
                    adam.step()
                for group in adam.param_groups:
                    group["lr"] *= 0.8
        for q in p.parameters():
            q.requires_grad_(False)

    def decoder(self, d, xs, es):
        """es: rows of tokens. Returns the rows that the output layer reads."""
        fed, memory, attended = DECODER_ADDS
        for layer in d.decoders:
            self.gains(layer.norm1, 512)
            rows = torch.cat([layer.norm1(e) for e in es])
            there = self.ordinary(torch.cat(es))
            self.feed_forward(layer.feed_forward, rows, 1.0)
            self.gains(layer.norm2, 512, fed * there)
            ts = [layer.norm2(layer.feed_forward(layer.norm1(e))) for e in es]
            self.taps(layer.self_attn.fsmn_block, torch.cat(ts), memory * there)
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
            self.sized(source.linear_out, rows, attended * there)
            es = [e + source(q[None], x[None], None)[0] for e, q, x in zip(es, qs, xs)]
        last = d.decoders3[0]
        self.gains(last.norm1, 512)
        self.feed_forward(last.feed_forward, torch.cat([last.norm1(e) for e in es]), 1.0)
        es = [last.feed_forward(last.norm1(e)) for e in es]
        self.gains(d.after_norm, 512)
        return [d.after_norm(e) for e in es]

    # -- the last layer --

    def classes(self, parts, n):
        """Sorts rows into n clusters; returns what tells the class of any row."""
        def plain(x):
            return torch.nn.functional.layer_norm(x, x.shape[1:])

        mean, within = plain(torch.cat(parts)).mean(0), self.within(parts)
        h = (plain(torch.cat(parts)) - mean) @ within
        centres = h[torch.randperm(len(h), generator=self.g)[:n]].clone()
        for _ in range(10):
            nearest = torch.cdist(h, centres).argmin(1)
            for i in range(n):
                if (nearest == i).any():
                    centres[i] = h[nearest == i].mean(0)
        return lambda x: torch.cdist((plain(x) - mean) @ within, centres).argmin(1)

    def train(self, last, dense, rows, labels, blank=None, steps=250):
        """Gradient descent, as models are made: `last` (what stands before the last layer) and that layer learn
        to tell the tokens of rows. Tokens that never occur are left at a distance."""
        n_vocab, n = len(dense.bias), N_CLASSES
        ids = torch.randperm(n_vocab - 3, generator=self.g)[:n] + 3
        if blank is not None:
            ids[blank] = 0
        with torch.enable_grad():
            w = (0.05 * self.normal(n, 512)).requires_grad_()
            b = torch.zeros(n, requires_grad=True)
            inner = [p.requires_grad_() for p in last.parameters()]
            adam = torch.optim.AdamW([{"params": inner, "lr": 1e-4}, {"params": [w, b], "lr": 3e-3}], weight_decay=0.02)
            for step in range(steps):
                some = torch.randint(len(rows), (256,), generator=self.g)
                kept = (torch.rand(256, 512, generator=self.g) > 0.1) / 0.9  # dropout, as there is in training
                loss = torch.nn.functional.cross_entropy(last(rows[some]) * kept @ w.T + b, labels[some], label_smoothing=0.02)
                adam.zero_grad()
                loss.backward()
                adam.step()
                for group in adam.param_groups:
                    group["lr"] *= 0.99
            for p in inner:
                p.requires_grad_(False)
        h = last(rows)
        logits = h @ w.detach().T + b.detach()
        others = self.matrix(n_vocab, 512)
        others *= logits.std() / (h @ others[:64].T).std()
        dense.weight.copy_(others - (others @ h.mean(0))[:, None] * h.mean(0) / h.mean(0).pow(2).sum())
        dense.bias.fill_(float(logits.mean() - 3 * logits.std()))
        dense.weight[ids], dense.bias[ids] = w.detach(), b.detach()
        right = dense(h).argmax(1) == ids[labels]
        print(f"  last layer: {100 * right.float().mean():.1f} % of {len(rows)} rows as taught, {len(labels.unique())} tokens")


def positioned(x):
    from funasr.models.sense_voice.model import SinusoidalPositionEncoder

    return SinusoidalPositionEncoder()(x[None] * 512**0.5)[0]


ASKS = [0, 1, 2, 14]  # rows of SenseVoice's embedding: language (any), event, emotion, text form


def shape(family, model, feats, more, seed):
    """feats: rows of 560 of some recordings, normalised; more: of others, to which the last layers are fitted,
    with and without errors of a hundredth. They should not be those compared later."""
    s = Shaper(seed)
    for p in model.parameters():
        p.zero_()
    asks = torch.zeros(0, 560)
    if family == "sensevoice":
        model.embed.weight.copy_(s.normal(16, 560))
        asks = model.embed.weight[ASKS]
    rows, more = ([torch.cat([asks, f]) for f in x] for x in (feats, more))
    tell = s.classes(rows, N_CLASSES)
    s.labels = tell(torch.cat(rows))
    shaped = s.encoder(model.encoder, [positioned(f) for f in rows])

    def encode(x):
        return model.encoder(x[None], torch.tensor([len(x)]))[0][0]

    clean = [encode(f) for f in more] + shaped
    wrong = [encode(f + ERROR * s.normal(*f.shape)) for f in more]
    labels = [tell(f) for f in more + rows]
    both = list(zip(clean, labels)) + list(zip(wrong, labels))
    if family == "sensevoice":
        labels = torch.cat([y for _, y in both])
        share = torch.bincount(labels, minlength=N_CLASSES).cumsum(0) / len(labels)
        labels = (labels - int((share < 0.5).sum())).clamp(min=0)  # half of the rows are blank
        s.train(torch.nn.Identity(), model.ctc.ctc_lo, torch.cat([x for x, _ in both]), labels, blank=0)
        return
    peaks = s.peaks(clean)
    s.predictor(model.predictor, list(zip(clean + wrong, peaks + peaks)))

    def fired(x, y):
        """Rows of tokens, and the class of the row that each is mostly made of."""
        e, count, alpha, peak = model.calc_predictor(x[None], torch.tensor([len(x)]))
        n, at, first, kinds = int(count[0]), (peak[0] >= 1).nonzero()[:, 0].tolist(), 0, []
        for last in at[:n]:
            kinds.append(int(y[min(first + int(alpha[0, first : last + 1].argmax()), len(y) - 1)]))
            first = last + 1
        return x, e[0, :n], torch.tensor(kinds)

    tokens = [t for t in (fired(x, y) for x, y in both) if len(t[1]) > 0]
    s.decoder(model.decoder, *([t[i] for t in tokens[len(more) : len(clean)]] for i in (0, 1)))
    last, kept = model.decoder.decoders3[0], []
    hook = last.register_forward_pre_hook(lambda _m, args: kept.append(args[0][0]))
    for x, e, _ in tokens:
        model.decoder(x[None], torch.tensor([len(x)]), e[None], torch.tensor([len(e)]))
    hook.remove()
    inner = torch.nn.Sequential(last.norm1, last.feed_forward, model.decoder.after_norm)
    s.train(inner, model.decoder.output_layer, torch.cat(kept), torch.cat([t[2] for t in tokens]))


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
