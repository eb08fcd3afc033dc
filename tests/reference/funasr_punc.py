#!/usr/bin/env python3
"""Prints what FunASR's punctuation models give with the weights of funasr_models.py by arithmetic: the numbers of
tests/unit/models/ct_punc/network_test.c. First and last row of logits, then the labels of all. And writes
tests/golden/punc/seeded.txt, whole texts punctuated with these weights: lines in turn, a text in which | is
a pause, its form by CTTransformer (without pauses) and by CTTransformerStreaming.

Usage: tests/reference/funasr_punc.py   (needs funasr, torch)
"""
import pathlib
import sys
import types

sys.modules.setdefault("librosa", types.ModuleType("librosa"))  # imported by funasr, used by none of this
import numpy as np
import torch

import funasr_models

GOLDEN = pathlib.Path(__file__).parent.parent / "golden/punc"
sys.path.insert(0, str(GOLDEN))
import make  # noqa: E402

MARKS = ["<unk>", "_", "，", "。", "？", "、"]
VOCABULARY, ROWS = 1000, 30


def encoder_conf(layers, shift):
    return dict(input_size=256, output_size=256, attention_heads=8, linear_units=1024, num_blocks=layers, input_layer="pe",
                kernel_size=11, sanm_shfit=shift)


def build(realtime, layers):
    import funasr.models.ct_transformer_streaming.encoder
    import funasr.models.sanm.encoder  # noqa: F401 (these register their classes)
    from funasr.models.ct_transformer.model import CTTransformer
    from funasr.models.ct_transformer_streaming.model import CTTransformerStreaming

    model = (CTTransformerStreaming if realtime else CTTransformer)(
        encoder="SANMVadEncoder" if realtime else "SANMEncoder", vocab_size=VOCABULARY, punc_list=MARKS, embed_unit=256,
        att_unit=256, ignore_id=0, encoder_conf=encoder_conf(layers, 5 if realtime else 0))
    for name, v in model.state_dict().items():
        u = funasr_models.lcg(funasr_models.fnv(name), v.numel()).reshape(tuple(v.shape))
        if v.dim() >= 2:
            w = u if "embed" in name else u * np.sqrt(3.0 / np.prod(v.shape[1:]))
        else:
            w = 0.1 * u + (1.0 if name.endswith("weight") else 0.0)
        v.copy_(torch.from_numpy(np.asarray(w, np.float32)))
    return model.eval()


def show(what, y):
    y = y[0].numpy()
    for row in (0, ROWS - 1):
        print(f"{what} row {row}:", ", ".join(f"{v:.5f}f" for v in y[row]))
    print(f"{what} labels:", ", ".join(str(i) for i in y.argmax(-1)), f"(closest two {np.diff(np.sort(y)[:, -2:]).min():.4f})")


def pieces():
    return ["<unk>" if i == VOCABULARY - 1 else chr(0x9000 - i) if i % 2 else f"w{i}" for i in range(VOCABULARY)]


class Tokenizer:
    ids = {p: i for i, p in enumerate(pieces())}

    def encode(self, tokens):
        return np.array([self.ids.get(t, VOCABULARY - 1) for t in tokens], np.int64)


def punctuate(model, stretches):
    """The last mark as in make.py."""
    cache, out = {}, ""
    for text in stretches:
        results, _ = model.inference([text], key=["x"], tokenizer=Tokenizer(), device="cpu", cache=cache)
        out += results[0]["text"]
    mark = MARKS[int(results[0]["punc_array"][-1])]
    return out + ((mark if mark in "。？" else "。") if cache else "")


def texts():
    """Words of the vocabulary."""
    r = make.Random(3)
    for n, stretches in ((2, 3), (5, 5), (7, 4), (12, 6), (14, 9), (21, 1), (33, 3), (60, 2), (150, 1), (9, 20), (17, 11)):
        yield "|".join("".join(f" w{2 * r.next(499)} " if r.next(4) == 0 else chr(0x8FFF - 2 * r.next(499)) for _ in range(n))
                       for _ in range(stretches))


def write_texts():
    """Where <unk> is the mark FunASR writes it; here it is none. At the end of a text that would be seen."""
    offline, realtime = build(False, 4), build(True, 3)
    with open(GOLDEN / "seeded.txt", "w", encoding="utf-8") as f:
        for text in texts():
            forms = punctuate(offline, [text.replace("|", " ")]), punctuate(realtime, text.split("|"))
            if not forms[0].endswith("<unk>."):
                f.write("\n".join([text, *forms, ""]).replace("<unk>", ""))


def main():
    torch.set_num_threads(1)
    ids = torch.tensor([[(i * 37 + 5) % VOCABULARY for i in range(ROWS)]])
    n = torch.tensor([ROWS])
    with torch.no_grad():
        show("offline", build(False, 4).punc_forward(ids, n)[0])
        for layers, pause in ((3, 0), (3, 1), (3, 12), (3, ROWS), (1, 12)):
            model = build(True, layers)
            show(f"{layers} layers, pause {pause}", model.punc_forward(ids, n, torch.tensor([pause]))[0])
        write_texts()


if __name__ == "__main__":
    main()
