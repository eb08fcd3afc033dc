#!/usr/bin/env python3
"""Holds otolith's Whisper network to CTranslate2 at the dimensions of models that are not at hand.

    seeded_whisper.py WHISPER_DUMP [-l N] [-s FOLDER] [NAME...]

For each model (all by default) CTranslate2's own converter classes write a folder of random seeded
weights with that model's width, heads, mel bins and vocabulary, and both programs read it. Compared
are the encoder's output, the logits after each token and the greedily chosen tokens, in float32. To
save time each side has two layers (-l N: N, -l 0: the model's number). tiny is run once per type
that a file may have: float32, float16, int16, int8.
WHISPER_DUMP is the program built from whisper_dump.c. Needs the Python package ctranslate2.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

import ctranslate2
import numpy as np

# width, heads, encoder layers, decoder layers, mel bins, vocabulary
MODELS = {
    "tiny": (384, 6, 4, 4, 80, 51865),
    "small": (768, 12, 12, 12, 80, 51865),
    "small.en": (768, 12, 12, 12, 80, 51864),
    "medium": (1024, 16, 24, 24, 80, 51865),
    "large-v2": (1280, 20, 32, 32, 80, 51865),
    "large-v3": (1280, 20, 32, 32, 128, 51866),
    "turbo": (1280, 20, 32, 4, 128, 51866),
    "distil-small.en": (768, 12, 12, 4, 80, 51864),
    "distil-large-v3": (1280, 20, 32, 2, 128, 51866),
}
N_TOKENS = 16


def fill(spec, rng, width, mels, vocab):
    def normal(*shape, std=1.0, mean=0.0):
        return (mean + std * rng.standard_normal(shape, dtype=np.float32)).astype(np.float32)

    def linear(s, n, k, gain=1.0):
        s.weight = normal(n, k, std=gain / k**0.5)
        s.bias = normal(n, std=0.1)

    def norm(s):
        s.gamma = normal(width, std=0.1, mean=1)
        s.beta = normal(width, std=0.1)

    def attention(s, cross):
        norm(s.layer_norm)
        linear(s.linear[0], width if cross else 3 * width, width, gain=2)
        if cross:
            linear(s.linear[1], 2 * width, width)
        linear(s.linear[-1], width, width)

    def feed_forward(s):
        norm(s.layer_norm)
        linear(s.linear_0, 4 * width, width)
        linear(s.linear_1, width, 4 * width)

    e, d = spec.encoder, spec.decoder
    for conv, k in ((e.conv1, mels), (e.conv2, width)):
        conv.weight = normal(width, k, 3, std=1 / (3 * k) ** 0.5)
        conv.bias = normal(width, std=0.1)
    e.position_encodings.encodings = normal(1500, width, std=0.5)
    d.position_encodings.encodings = normal(448, width)
    # Small, or every token would predict itself: the output is tied to the embedding.
    d.embeddings.weight = normal(vocab, width, std=0.1)
    d.projection.weight = d.embeddings.weight
    for layer in e.layer:
        attention(layer.self_attention, False)
        feed_forward(layer.ffn)
    for layer in d.layer:
        attention(layer.self_attention, False)
        attention(layer.attention, True)
        feed_forward(layer.ffn)
    norm(e.layer_norm)
    norm(d.layer_norm)


def vocabulary(size):
    """Single bytes, made-up strings, and Whisper's special tokens at their places."""
    printable = [b for b in range(256) if 0x21 <= b <= 0x7E or 0xA1 <= b <= 0xAC or b >= 0xAE]
    letters, other = [], 0
    for b in range(256):
        if b in printable:
            letters.append(chr(b))
        else:
            letters.append(chr(0x100 + other))
            other += 1
    eot = 50256 if size == 51864 else 50257
    words = letters + [f"w{i}" for i in range(256, eot)]
    langs = size - eot - 1509
    words += ["<|endoftext|>", "<|startoftranscript|>"] + [f"<|l{i}|>" for i in range(langs)]
    words += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>"]
    words += ["<|notimestamps|>"] + [f"<|{i * 0.02:.2f}|>" for i in range(1501)]
    assert len(words) == size
    return words, eot


def write_model(folder, name, layers, quantization):
    width, heads, enc, dec, mels, vocab = MODELS[name]
    enc, dec = (min(enc, layers), min(dec, layers)) if layers else (enc, dec)
    spec = ctranslate2.specs.WhisperSpec(enc, heads, dec, heads)
    fill(spec, np.random.default_rng(2024), width, mels, vocab)
    words, eot = vocabulary(vocab)
    spec.register_vocabulary(words)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = [220, eot]
    spec.config.lang_ids = []
    spec.config.alignment_heads = [[dec - 1, 0]]
    spec.validate()
    spec.optimize(quantization=quantization)
    spec.save(folder)
    return enc, dec, eot


def compare(dump, name, layers, quantization, root):
    folder = os.path.join(root, f"{name}-{quantization}")
    os.makedirs(folder)
    width, _, _, _, mels, vocab = MODELS[name]
    enc, dec, eot = write_model(folder, name, layers, quantization)
    rng = np.random.default_rng(7)
    mel = np.clip(rng.standard_normal((3000, mels), dtype=np.float32) * 0.4, -1, 1.5)
    mel.tofile(os.path.join(folder, "mel"))
    sot = eot + 1
    prompt = [sot, vocab - 1502] if vocab == 51864 else [sot, sot + 1, vocab - 1506, vocab - 1502]
    out = os.path.join(folder, "out")
    line = [dump, folder, "f32", os.path.join(folder, "mel"), out, str(N_TOKENS), *map(str, prompt)]
    tokens = list(map(int, subprocess.run(line, check=True, capture_output=True, text=True).stdout.split()))
    data = np.fromfile(out, np.float32)
    encoded, logits = data[: 1500 * width].reshape(1500, width), data[1500 * width :].reshape(-1, vocab)

    model = ctranslate2.models.Whisper(folder, compute_type="float32", intra_threads=2)
    features = ctranslate2.StorageView.from_array(np.ascontiguousarray(mel.T[None]))
    reference = model.encode(features)
    # max_length counts as in whisper: half of it is text
    r = model.generate(reference, [prompt], beam_size=1, max_length=2 * N_TOKENS, suppress_blank=False,
                       suppress_tokens=[], return_logits_vocab=True)[0]
    reference = np.array(reference)[0]
    theirs = list(r.sequences_ids[0])[:N_TOKENS]
    errors = [0.0]
    for i, x in enumerate(r.logits[0][: len(theirs)]):
        x = np.array(x).reshape(-1)
        errors.append(np.abs(logits[len(prompt) - 1 + i] - x).max() / np.abs(x).max())
        if i >= len(tokens) or tokens[i] != theirs[i]:
            break
    encoder = np.linalg.norm(encoded - reference) / np.linalg.norm(reference)
    same = tokens[: len(theirs)] == theirs
    good = same and encoder < 1e-4 and max(errors) < 2e-4
    print(f"{name:16} {quantization:8} {enc}+{dec} layers: encoder {encoder:.1e}, logits {max(errors):.1e} of the "
          f"largest, {len(theirs)} tokens ({len(set(theirs))} different) {'equal' if same else 'DIFFER'}{'' if good else '  FAILED'}", flush=True)
    shutil.rmtree(folder)
    return good


def main():
    p = argparse.ArgumentParser()
    p.add_argument("dump")
    p.add_argument("-l", "--layers", type=int, default=2)
    p.add_argument("-s", "--scratch")
    p.add_argument("names", nargs="*", default=list(MODELS))
    a = p.parse_args()
    good = True
    with tempfile.TemporaryDirectory(dir=a.scratch) as root:
        for name in a.names:
            for quantization in ("float32", "float16", "int16", "int8") if name == "tiny" else ("float16",):
                good &= compare(a.dump, name, a.layers, quantization, root)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
