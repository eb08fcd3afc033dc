"""Models of FunASR's architectures with random weights, as GGUF or as FunASR's folder: what they write means
nothing, but it is the same each time, and it varies with what they hear."""

import json
import os
import struct
import zipfile

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


def _punctuation(layers, n_vocab=501):
    m = Model("ct-transformer", {"ct.vocab": ["<unk>"] + characters(n_vocab - 1), "ct.punc": MARKS})
    m.put("embed.weight", n_vocab, 256, by=1)
    m.encoder(layers, 256, 256, 1024)
    m.dense("decoder", 6, 256)
    return m


def punctuation(path):
    _punctuation(4).write(path)


# ---- FunASR's folders ----


def _text(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


def _int(n):
    return b"J" + struct.pack("<i", n)


def _tensor(key, t):
    """As torch.save pickles it: the storage by its key, an offset, shape and steps."""
    steps = [int(np.prod(t.shape[i + 1 :])) for i in range(t.ndim)]
    storage = b"(" + _text("storage") + b"ctorch\nFloatStorage\n" + _text(key) + _text("cpu") + _int(t.size) + b"tQ"
    shape, steps = (b"(" + b"".join(map(_int, x)) + b"t" for x in (t.shape, steps))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + _int(0) + shape + steps + b"\x89ccollections\nOrderedDict\n)RtR"


def punctuation_folder(folder, realtime=False):
    """model.pt, tokens.json and config.yaml, as FunASR publishes them."""
    m = _punctuation(3 if realtime else 4)
    # filters over time are [channels][1][taps] there
    tensors = {k: np.ascontiguousarray(t.T[:, None]) if "fsmn" in k else t for k, t in m.tensors.items()}
    os.makedirs(folder, exist_ok=True)
    with zipfile.ZipFile(os.path.join(folder, "model.pt"), "w") as z:
        items = [_text(k) + _tensor(str(i), t) for i, (k, t) in enumerate(tensors.items())]
        z.writestr("model/data.pkl", b"\x80\x02}(" + b"".join(items) + b"u.")
        for i, t in enumerate(tensors.values()):
            z.writestr(f"model/data/{i}", t.tobytes())
    with open(os.path.join(folder, "tokens.json"), "w", encoding="utf-8") as f:
        json.dump(m.keys["ct.vocab"], f, ensure_ascii=False)
    with open(os.path.join(folder, "config.yaml"), "w", encoding="utf-8") as f:
        f.write(f"model: CTTransformer{'Streaming' if realtime else ''}\nmodel_conf:\n    punc_list:\n")
        f.writelines(f"    - {mark}\n" for mark in MARKS)
        f.write(f"encoder_conf:\n    attention_heads: 8\n    kernel_size: 11\n    sanm_shfit: {5 if realtime else 0}\n")
