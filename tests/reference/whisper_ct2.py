#!/usr/bin/env python3
"""Makes tests/golden/whisper_*.bin: what CTranslate2 (float32) computes from real weights.

    espeak-ng -w en.wav "The birch canoe slid on the smooth planks."
    whisper_ct2.py MODELS [en.wav ../shared/data/zh/asr_example.wav]

MODELS is the folder with whisper-tiny.en/source and whisper-base/source. The spectrogram is stored
in steps of 1/64 and both sides read it so; it comes from the recordings, or, when these are not
given, from the golden files that are there. CTranslate2 gives the encoder's output, the greedily
chosen tokens, their logits and the probabilities of forced tokens; it does not show the weights of
cross-attention, so the decoder is computed once more here, in numpy.

Layout, little endian: see the reader in tests/unit/models/whisper/network_test.c.
"""
import os
import struct
import sys

import ctranslate2
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
ENC_STEP = 211  # every so many-th encoder frame, logit and attention weight is stored
LOGIT_STEP = 997
FRAME_STEP = 5
CASES = {
    "tiny.en": ("whisper-tiny.en", [50257, 50362], [50257, 50362]),
    "base": ("whisper-base", [50258, 50260, 50359, 50363], [50258, 50260, 50359, 50363]),
}


def read_model(path):
    """Variables of a model.bin (binary version 6), as float32 arrays."""
    data = open(path, "rb").read()
    at = 0

    def take(fmt):
        nonlocal at
        v = struct.unpack_from("<" + fmt, data, at)
        at += struct.calcsize("<" + fmt)
        return v if len(v) > 1 else v[0]

    def text():
        nonlocal at
        n = take("H")
        at += n
        return data[at - n : at - 1].decode()

    take("I")
    text()
    take("I")
    out = {}
    types = [np.float32, np.int8, np.int16, np.int32, np.float16]
    for _ in range(take("I")):
        name = text()
        shape = [take("I") for _ in range(take("B"))]
        dtype = types[take("B")]
        n = take("I")
        out[name] = np.frombuffer(data, dtype, n // np.dtype(dtype).itemsize, at).reshape(shape)
        at += n
    return {k: v.astype(np.float32) for k, v in out.items()}


class Decoder:
    """A plain decoder over all positions at once, that keeps the scores of cross-attention."""

    def __init__(self, v):
        self.v = v
        self.width = v["decoder/embeddings/weight"].shape[1]
        self.layers = sum(k.startswith("decoder/layer_") and k.endswith("ffn/linear_0/weight") for k in v)

    def norm(self, x, name):
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5)
        return x * self.v[name + "/gamma"] + self.v[name + "/beta"]

    def linear(self, x, name):
        return x @ self.v[name + "/weight"].T + self.v[name + "/bias"]

    def heads(self, x):
        return x.reshape(len(x), -1, 64).transpose(1, 0, 2)

    def attend(self, q, k, v, mask):
        scores = self.heads(q) @ self.heads(k).transpose(0, 2, 1) / 8
        p = softmax(scores + mask)
        return (p @ self.heads(v)).transpose(1, 0, 2).reshape(len(q), -1), scores

    def run(self, tokens, memory):
        from math import erf

        gelu = np.vectorize(lambda a: 0.5 * a * (1 + erf(a / 2**0.5)))
        n, w = len(tokens), self.width
        x = self.v["decoder/embeddings/weight"][tokens] + self.v["decoder/position_encodings/encodings"][:n]
        causal = np.triu(np.full((n, n), -np.inf), 1)
        all_scores = []
        for i in range(self.layers):
            name = f"decoder/layer_{i}/"
            qkv = self.linear(self.norm(x, name + "self_attention/layer_norm"), name + "self_attention/linear_0")
            a, _ = self.attend(qkv[:, :w], qkv[:, w : 2 * w], qkv[:, 2 * w :], causal)
            x = x + self.linear(a, name + "self_attention/linear_1")
            q = self.linear(self.norm(x, name + "attention/layer_norm"), name + "attention/linear_0")
            kv = self.linear(memory, name + "attention/linear_1")
            a, scores = self.attend(q, kv[:, :w], kv[:, w:], 0)
            all_scores.append(scores)
            x = x + self.linear(a, name + "attention/linear_2")
            h = gelu(self.linear(self.norm(x, name + "ffn/layer_norm"), name + "ffn/linear_0"))
            x = x + self.linear(h, name + "ffn/linear_1")
        logits = self.norm(x, "decoder/layer_norm") @ self.v["decoder/embeddings/weight"].T
        return logits, all_scores


def softmax(x):
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def ints(*v):
    return np.array(v, np.int32).tobytes()


def floats(a):
    return np.ascontiguousarray(a, np.float32).tobytes()


def spectrogram(recording, golden):
    if recording is None:
        data = open(golden, "rb").read()
        n, mels = struct.unpack_from("<2i", data)
        return np.frombuffer(data, np.int8, n * mels, 8).reshape(n, mels)
    from faster_whisper.audio import decode_audio
    from faster_whisper.feature_extractor import FeatureExtractor

    mel = FeatureExtractor()(decode_audio(recording)).T[:3000]
    return np.clip(np.rint(mel * 64), -127, 127).astype(np.int8)


def make(name, models, recording):
    folder, prompt, forced = CASES[name]
    source = os.path.join(models, folder, "source")
    golden = os.path.join(HERE, "..", "golden", f"whisper_{name}.bin")
    q = spectrogram(recording, golden)
    mel = np.zeros((3000, 80), np.float32)
    mel[: len(q)] = q / 64
    model = ctranslate2.models.Whisper(source, compute_type="float32", intra_threads=2)
    features = ctranslate2.StorageView.from_array(np.ascontiguousarray(mel.T[None]))
    encoded = model.encode(features)
    memory = np.array(encoded)[0]
    r = model.generate(encoded, [prompt], beam_size=1, max_length=100, suppress_blank=False, suppress_tokens=[],
                       return_logits_vocab=True)[0]
    tokens = list(r.sequences_ids[0])
    logits = np.array([np.array(x).reshape(-1) for x in r.logits[0]])

    # CTranslate2 checks the numpy decoder, which then gives the attention.
    eot = prompt[0] - 1
    line = forced + tokens + [eot]
    values = read_model(os.path.join(source, "model.bin"))
    own, scores = Decoder(values).run(line, memory)
    n = len(forced) - 1
    assert np.abs(own[n : n + len(logits)] - logits[: len(own) - n]).max() < 2e-3
    import json

    heads = json.load(open(os.path.join(source, "config.json")))["alignment_heads"]
    frames = len(q) // 2
    weights = np.array([softmax(scores[layer][head][:, :frames]) for layer, head in heads])
    text = own[:, :eot]
    sums = np.log(np.exp(text - text.max(-1, keepdims=True)).sum(-1)) + text.max(-1)
    log_prob = np.array([own[i, line[i + 1]] - sums[i] for i in range(len(line) - 1)])
    aligned = model.align(encoded, forced[:-1], [tokens], len(q))[0]
    got = np.exp(log_prob[len(forced) - 1 : len(forced) - 1 + len(tokens)])
    assert np.abs(got - np.array(aligned.text_token_probs)).max() < 1e-4

    with open(golden, "wb") as f:
        f.write(ints(*q.shape) + q.tobytes())
        f.write(ints(len(prompt), *prompt) + ints(len(tokens), *tokens))
        f.write(ints(ENC_STEP, memory.shape[1]) + floats(memory[::ENC_STEP]))
        f.write(ints(LOGIT_STEP, len(logits), logits.shape[1]) + floats(logits[:, ::LOGIT_STEP]))
        f.write(ints(len(line), *line) + ints(len(heads), frames, FRAME_STEP))
        f.write(floats(weights[:, :, ::FRAME_STEP]) + floats(log_prob))
    print(golden, os.path.getsize(golden), "bytes;", len(tokens), "tokens")


def main():
    recordings = sys.argv[2:4] if len(sys.argv) > 3 else [None, None]
    for name, recording in zip(CASES, recordings):
        make(name, sys.argv[1], recording)


if __name__ == "__main__":
    main()
