#!/usr/bin/env python3
"""Makes texts.txt and realtime.txt, which tests/unit/models/ct_punc reads: what FunASR's
CTTransformer.inference and CTTransformerStreaming.inference make of texts when the network is a rule that
both sides know, so that blocks, cuts and writing are compared and nothing else. Lines in turn: a text,
its punctuated form; \\u3000 and tabs stand for themselves, | in realtime.txt for a pause.

Usage: tests/golden/punc/make.py   (needs funasr 1.4.3 and torch)
"""
import pathlib
import sys
import types

sys.modules.setdefault("librosa", types.ModuleType("librosa"))  # imported by funasr, used by none of this
import numpy as np
import torch
from funasr.models.ct_transformer.model import CTTransformer
from funasr.models.ct_transformer_streaming.model import CTTransformerStreaming

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


def marks_of(ids, pause):
    """The rule: what the token asks for; a full stop with nothing behind it is a comma yet. Tokens that do not see
    beyond the pause take 、 for a full stop, which moves the place where they are read from the next time."""
    out = [RULE.get(PIECES[i], 1) for i in ids]
    if out[-1] == 3:
        out[-1] = 2
    if 0 < pause < len(out):
        out[: pause - 1] = [3 if m == 5 else m for m in out[: pause - 1]]
    return out


def punc_forward(text, text_lengths, vad_indexes=(0,)):
    y = np.zeros((1, text.shape[1], len(MARKS)), np.float32)
    for t, m in enumerate(marks_of(text.numpy()[0], int(vad_indexes[0]))):
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


def punctuate_realtime(text):
    """FunASR leaves out the mark at the end of what it is given, and gives it with what comes next. Where nothing does,
    a full stop is put unless the last word ends with one."""
    model = types.SimpleNamespace(punc_list=MARKS, sentence_end_id=3, punc_forward=punc_forward)
    cache, out = {}, ""
    for part in text.split("|"):
        results, _ = CTTransformerStreaming.inference(model, [part], key=["x"], tokenizer=Tokenizer(), cache=cache, device="cpu")
        out += results[0]["text"]
    mark = MARKS[int(results[0]["punc_array"][-1])]
    return out + (mark if mark in "。？" else "" if out[-1] in "。？.?" else "。")


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


def stretches():
    # FunASR stumbles over a single token, where numpy is new.
    yield from ["中国", "gpu GPU", "中国|文", "中文句|文", "number one|two|three", "one two|stop|three", "one ask|two",
                "中国|GPU 和|Hello 句|gpu 文", "the end u.s.", "中句|x,y end,|3.5%", "句中|文|字", "中句文|中", "中文 顿|语音|识别 标|点今天",
                "中文|是问", "中文|逗", "中文|顿", "one two|pause"]
    r = Random(9)
    for ends, commas in ((12, 9), (30, 9), (8, 0), (60, 15)):
        for i in range(12):
            yield "|".join(random_text(r, 1 + r.next(12), ends, commas) + "中" for _ in range(2 + r.next(9)))
    for ends, commas in ((60, 30), (0, 40), (90, 30)):
        for n in (21, 40, 75, 130):
            yield "|".join(random_text(r, n, ends, commas) + "文" for _ in range(1 + 300 // n))
    yield random_text(r, 500, 40, 20)
    # Which comma of a long stretch becomes a full stop tells how many tokens before it are read again.
    def long(first, second):
        return "中" * first + "逗" + "文" * (second - first - 1) + "逗" + "字" * 40
    for second in range(214, 222):
        yield f"中句文|{long(98, second)}"
        yield f"{'中' * 18}句今句天吧|{long(98, second)}"
        yield f"中文字句今天吧|{long(98, second)}"


def main():
    for name, made, of in (("texts", punctuate, texts), ("realtime", punctuate_realtime, stretches)):
        with open(HERE / f"{name}.txt", "w", encoding="utf-8") as f:
            for text in of():
                f.write(f"{text}\n{made(text)}\n")


if __name__ == "__main__":
    main()
