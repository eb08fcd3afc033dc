#!/usr/bin/env python3
"""Makes cases.txt, which tests/unit/measure/score_test.c reads: pairs of texts and the counts that
jiwer finds. Needs jiwer; run it as `make.py > cases.txt`.

Each case is four lines: unit (w or c), reference, hypothesis, and
hits substitutions deletions insertions.
"""

import random

import jiwer

WORDS = "please enter your number followed by the pound key you are now in the conference".split()
HAN = "欢迎大家来体验达摩院推出的语音识别模型我想问在滨海新区有房"


def disturb(rng, units, rate):
    """Drops, replaces and inserts units."""
    out = []
    for unit in units:
        dice = rng.random()
        if dice < rate / 3:
            continue
        out.append(rng.choice(units) if dice < 2 * rate / 3 else unit)
        if dice > 1 - rate / 3:
            out.append(rng.choice(units))
    return out


def case(kind, ref, hyp):
    if kind == "w":
        o = jiwer.process_words(ref, hyp)
    else:
        o = jiwer.process_characters(ref, hyp)
    print(f"{kind}\n{ref}\n{hyp}\n{o.hits} {o.substitutions} {o.deletions} {o.insertions}")


def main():
    rng = random.Random(3)
    case("w", "the cat sat on the mat", "the cat sat on the mat")
    case("w", "the cat sat on the mat", "cat sit on mat the")
    case("w", "one", "")
    case("w", "one two three", "three two one")
    case("w", "a b c d", "b c d a")
    case("c", "欢迎大家", "欢应大家来")
    for length in (1, 2, 3, 5, 8, 13, 40, 120, 500):
        for rate in (0.05, 0.3, 0.7, 1.5):
            ref = [rng.choice(WORDS) for _ in range(length)]
            case("w", " ".join(ref), " ".join(disturb(rng, ref, rate)))
            ref = [rng.choice(HAN) for _ in range(length)]
            case("c", "".join(ref), "".join(disturb(rng, ref, rate)))


if __name__ == "__main__":
    main()
