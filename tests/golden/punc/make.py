#!/usr/bin/env python3
"""Makes texts.txt, which tests/unit/models/ct_punc reads: what FunASR's CTTransformer.inference makes
of texts when the network is a rule that both sides know, so that blocks, cuts and writing are
compared and nothing else. Lines in turn: a text, its punctuated form; \\u3000 and tabs stand for
themselves.

Usage: tests/golden/punc/make.py   (needs funasr 1.4.3 and torch)
"""
import pathlib
import types

import numpy as np
import torch
from funasr.models.ct_transformer.model import CTTransformer

HERE = pathlib.Path(__file__).parent
MARKS = ["<unk>", "_", "，", "。", "？", "、"]
RULE = {"逗": 2, "句": 3, "问": 4, "顿": 5, "comma": 2, "stop": 3, "ask": 4, "pause": 5}
PIECES = ["<unk>"] + list(RULE)
PLAIN = "中文字符测试语音识别标点今天我们去看电影吧"
WORDS = ["gpu", "GPU", "Hello", "u.s.", "x,y", "3.5%", "it's", "no?", "COMMA", "end,"]


class Random:
    def __init__(self, seed):
        self.x = seed

    def next(self, n):
        self.x = (1664525 * self.x + 1013904223) & 0xFFFFFFFF
        return (self.x >> 8) % n


def marks_of(ids):
    """The rule: what the token asks for; a full stop with nothing behind it is a comma yet."""
    out = [RULE.get(PIECES[i], 1) for i in ids]
    if out[-1] == 3:
        out[-1] = 2
    return out


def punc_forward(text, text_lengths):
    y = np.zeros((1, text.shape[1], len(MARKS)), np.float32)
    for t, m in enumerate(marks_of(text.numpy()[0])):
        y[0, t, m] = 1
    return torch.from_numpy(y), None


class Tokenizer:
    def encode(self, tokens):
        return np.array([PIECES.index(t) if t in PIECES else 0 for t in tokens], np.int64)


def punctuate(text):
    model = types.SimpleNamespace(punc_list=MARKS, sentence_end_id=3, jieba_usr_dict=None,
                                  punc_forward=punc_forward)
    results, _ = CTTransformer.inference(model, [text], key=["x"], tokenizer=Tokenizer(), device="cpu")
    return results[0]["text"]


def random_text(r, n, ends, commas):
    """n tokens or so; a sentence end in `ends`, a comma in `commas`; 0: none."""
    out = []
    for _ in range(n):
        if ends and r.next(ends) == 0:
            out.append(["句", "问", " stop ", " ask "][r.next(4)])
        elif commas and r.next(commas) == 0:
            out.append(["逗", "顿", " comma ", "　pause "][r.next(4)])
        elif r.next(6) == 0:
            out.append([" ", "", "\t"][r.next(3)] + WORDS[r.next(len(WORDS))] + [" ", "  ", ""][r.next(3)])
        else:
            out.append(PLAIN[r.next(len(PLAIN))])
    return "".join(out)


def texts():
    yield from ["中", "gpu", "中文句", "中文问", "中文逗", "中文顿", "one comma", "one pause", "one ask", "one stop",
                "end u.s.", "is it no?", "x,y end,", "GPU 和 Hello 句 gpu 文", "中文。", "中文！", "中 stop GPU ask 文"]
    r = Random(5)
    for i in range(20):
        yield random_text(r, 1 + r.next(60), 12, 9)
    for n in (19, 20, 21, 39, 40, 41):
        yield "".join(PLAIN[r.next(len(PLAIN))] for _ in range(n))
    for n, ends, commas in ((300, 0, 40), (450, 0, 150), (350, 60, 15), (230, 0, 0), (700, 90, 30)):
        yield random_text(r, n, ends, commas)
    yield random_text(r, 215, 0, 0) + "逗" + random_text(r, 30, 0, 0)


def main():
    with open(HERE / "texts.txt", "w", encoding="utf-8") as f:
        for text in texts():
            f.write(f"{text}\n{punctuate(text)}\n")


if __name__ == "__main__":
    main()
