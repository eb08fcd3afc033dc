#!/usr/bin/env python3
"""Writes the weights of a CTranslate2 Whisper folder as a whisper.cpp file (f16).

    ct2_to_ggml.py FOLDER OUT.bin

For comparisons on the same weights: whisper.cpp itself reads the result, and otolith must compute
the same from it as from the folder, to the bit. Needs faster-whisper, for the mel filter bank that
the file carries.
"""
import json
import os
import struct
import sys

import numpy as np

from whisper_ct2 import read_model


class Writer:
    def __init__(self, path, variables):
        self.f = open(path, "wb")
        self.v = variables

    def ints(self, *values):
        self.f.write(struct.pack(f"<{len(values)}i", *values))

    def tensor(self, name, a, f32=False):
        f32 = f32 or a.ndim == 1
        self.ints(a.ndim, len(name), 0 if f32 else 1, *a.shape[::-1])
        self.f.write(name.encode())
        self.f.write(np.ascontiguousarray(a, np.float32 if f32 else np.float16).tobytes())

    def linear(self, names, source):
        """CTranslate2 keeps these under one another; keys have no bias in whisper.cpp's files."""
        w = np.split(self.v[source + "/weight"], len(names))
        b = np.split(self.v[source + "/bias"], len(names))
        for name, weight, bias in zip(names, w, b):
            self.tensor(name + ".weight", weight)
            if not name.endswith(".key"):
                self.tensor(name + ".bias", bias)

    def norm(self, name, source):
        self.tensor(name + ".weight", self.v[source + "/gamma"])
        self.tensor(name + ".bias", self.v[source + "/beta"])

    def layer(self, side, i):
        a, b = f"{side}.blocks.{i}.", f"{side}/layer_{i}/"
        self.norm(a + "attn_ln", b + "self_attention/layer_norm")
        self.linear([a + "attn." + x for x in ("query", "key", "value")], b + "self_attention/linear_0")
        self.linear([a + "attn.out"], b + "self_attention/linear_1")
        if side == "decoder":
            self.norm(a + "cross_attn_ln", b + "attention/layer_norm")
            self.linear([a + "cross_attn.query"], b + "attention/linear_0")
            self.linear([a + "cross_attn.key", a + "cross_attn.value"], b + "attention/linear_1")
            self.linear([a + "cross_attn.out"], b + "attention/linear_2")
        self.norm(a + "mlp_ln", b + "ffn/layer_norm")
        self.linear([a + "mlp.0"], b + "ffn/linear_0")
        self.linear([a + "mlp.2"], b + "ffn/linear_1")


def read_vocabulary(folder):
    path = os.path.join(folder, "vocabulary.json")
    if os.path.exists(path):
        return json.load(open(path, encoding="utf-8"))
    return open(os.path.join(folder, "vocabulary.txt"), encoding="utf-8").read().split("\n")


def byte_of_character():
    """The inverse of GPT-2's printable form of bytes."""
    out, other = {}, 0
    for b in range(256):
        if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE:
            out[chr(b)] = b
        else:
            out[chr(0x100 + other)] = b
            other += 1
    return out


def main():
    from faster_whisper.feature_extractor import FeatureExtractor

    folder, path = sys.argv[1:3]
    v = read_model(os.path.join(folder, "model.bin"))
    width, mels, _ = v["encoder/conv1/weight"].shape
    layers = {
        side: sum(k.startswith(side + "/layer_") and k.endswith("ffn/linear_0/weight") for k in v)
        for side in ("encoder", "decoder")
    }
    w = Writer(path, v)
    heads = width // 64
    w.ints(0x67676D6C, len(v["decoder/embeddings/weight"]), 1500, width, heads, layers["encoder"])
    w.ints(448, width, heads, layers["decoder"], mels, 1)
    filters = FeatureExtractor(feature_size=mels).mel_filters.astype(np.float32)
    w.ints(*filters.shape)
    w.f.write(filters.tobytes())
    tokens, byte = read_vocabulary(folder), byte_of_character()
    tokens = tokens[: tokens.index("<|endoftext|>")]
    w.ints(len(tokens))
    for t in tokens:
        w.ints(len(t))
        w.f.write(bytes(byte[c] for c in t))
    for side in layers:
        w.tensor(f"{side}.positional_embedding", v[f"{side}/position_encodings/encodings"], f32=True)
        for i in range(layers[side]):
            w.layer(side, i)
    for i in (1, 2):
        w.tensor(f"encoder.conv{i}.weight", v[f"encoder/conv{i}/weight"])
        w.tensor(f"encoder.conv{i}.bias", v[f"encoder/conv{i}/bias"].reshape(-1, 1), f32=True)
    w.norm("encoder.ln_post", "encoder/layer_norm")
    w.norm("decoder.ln", "decoder/layer_norm")
    w.tensor("decoder.token_embedding.weight", v["decoder/embeddings/weight"])
    w.f.close()


if __name__ == "__main__":
    main()
