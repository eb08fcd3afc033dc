"""Models of FunASR's architectures with random weights, as GGUF: what they write means nothing, but it
is the same each time, and it varies with what they hear."""

import struct

import numpy as np

ALIGNMENT = 32
MARKS = ["<unk>", "_", "，", "。", "？", "、"]


def characters(n):
    return [chr(0x4E00 + i) for i in range(n)]


def _string(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def _key(name, value):
    if isinstance(value, str):
        return _string(name) + struct.pack("<I", 8) + _string(value)
    return _string(name) + struct.pack("<IIQ", 9, 8, len(value)) + b"".join(map(_string, value))


def _padded(n):
    return (n + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


class Model:
    def __init__(self, architecture, vocabulary):
        self.keys = {"general.architecture": architecture, **vocabulary}
        self.tensors = {}
        self.random = np.random.default_rng(1)

    def put(self, name, *shape, by=None):
        """A matrix scaled by its inputs, or a vector near 0; gains near 1."""
        x = self.random.uniform(-1, 1, shape).astype("<f4")
        if len(shape) > 1:
            x *= by or np.sqrt(3 / np.prod(shape[1:]))
        else:
            x = 0.1 * x + (1 if name.endswith("weight") else 0)
        self.tensors[name] = x.astype("<f4")

    def norm(self, name, n):
        self.put(f"{name}.weight", n)
        self.put(f"{name}.bias", n)

    def dense(self, name, n, k):
        self.put(f"{name}.weight", n, k)
        self.put(f"{name}.bias", n)

    def encoder(self, n_layers, inputs, d, inside):
        for i in range(n_layers):
            name = f"encoder.encoders.{i - 1}" if i else "encoder.encoders0.0"
            width = d if i else inputs
            self.norm(f"{name}.norm1", width)
            self.norm(f"{name}.norm2", d)
            self.dense(f"{name}.self_attn.linear_q_k_v", 3 * d, width)
            self.dense(f"{name}.self_attn.linear_out", d, d)
            self.put(f"{name}.self_attn.fsmn_block.weight", 11, d, by=0.5)
            self.dense(f"{name}.feed_forward.w_1", inside, d)
            self.dense(f"{name}.feed_forward.w_2", d, inside)
        self.norm("encoder.after_norm", d)

    def write(self, path):
        infos, at = [], 0
        for name, t in self.tensors.items():
            infos.append(_string(name) + struct.pack(f"<I{t.ndim}Q", t.ndim, *t.shape[::-1])
                         + struct.pack("<IQ", 0, at))
            at += _padded(t.nbytes)
        head = b"GGUF" + struct.pack("<IQQ", 3, len(self.tensors), len(self.keys))
        head += b"".join(_key(*k) for k in self.keys.items()) + b"".join(infos)
        with open(path, "wb") as f:
            f.write(head.ljust(_padded(len(head)), b"\0"))
            for t in self.tensors.values():
                f.write(t.tobytes().ljust(_padded(t.nbytes), b"\0"))


def attention(m, name):
    m.norm(f"{name}.norm3", 512)
    m.dense(f"{name}.src_attn.linear_q", 512, 512)
    m.dense(f"{name}.src_attn.linear_k_v", 1024, 512)
    m.dense(f"{name}.src_attn.linear_out", 512, 512)


def paraformer(path, n_vocab=500, contextual=False):
    m = Model("paraformer", {"pf.vocab": ["<blank>", "<s>", "</s>"] + characters(n_vocab - 3)})
    m.tensors["cmvn.shift"] = np.full(560, -12, "<f4")
    m.tensors["cmvn.scale"] = np.full(560, 0.15, "<f4")
    m.encoder(3, 560, 512, 2048)
    m.put("predictor.cif_conv1d.weight", 512, 512, 3)
    m.put("predictor.cif_conv1d.bias", 512)
    m.dense("predictor.cif_output", 1, 512)
    layer = "decoder.last_decoder" if contextual else "decoder.decoders.0"
    for name in (layer, "decoder.decoders3.0"):
        m.norm(f"{name}.norm1", 512)
        m.dense(f"{name}.feed_forward.w_1", 2048, 512)
        m.norm(f"{name}.feed_forward.norm", 2048)
        m.put(f"{name}.feed_forward.w_2.weight", 512, 2048)
    m.norm(f"{layer}.norm2", 512)
    m.put(f"{layer}.self_attn.fsmn_block.weight", 11, 512, by=0.5)
    attention(m, layer)
    m.norm("decoder.after_norm", 512)
    m.dense("decoder.output_layer", n_vocab, 512)
    if contextual:
        attention(m, "decoder.bias_decoder")
        m.put("decoder.bias_output.weight", 512, 1024, 1, by=0.5)
        m.put("bias_embed.weight", n_vocab, 512, by=1)
        for part in ("ih", "hh"):
            m.put(f"bias_encoder.weight_{part}_l0", 2048, 512)
            m.put(f"bias_encoder.bias_{part}_l0", 2048)
    m.write(path)


def punctuation(path, n_vocab=501):
    m = Model("ct-transformer", {"ct.vocab": ["<unk>"] + characters(n_vocab - 1), "ct.punc": MARKS})
    m.put("embed.weight", n_vocab, 256, by=1)
    m.encoder(4, 256, 256, 1024)
    m.dense("decoder", 6, 256)
    m.write(path)
