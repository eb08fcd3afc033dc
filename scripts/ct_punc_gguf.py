#!/usr/bin/env python3
"""FunASR's CT-Transformer as GGUF, in the layout of docs/models/ct-punc.md.

Usage: scripts/ct_punc_gguf.py FOLDER FILE.gguf
FOLDER holds model.pt, config.yaml and tokens.json as published. Needs torch, numpy and PyYAML.
"""
import json
import pathlib
import struct
import sys

import numpy as np
import torch
import yaml

U32, STRING, ARRAY, F32, ALIGNMENT = 4, 8, 9, 0, 32


def string(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def key(name, value):
    if isinstance(value, int):
        return string(name) + struct.pack("<II", U32, value)
    if isinstance(value, str):
        return string(name) + struct.pack("<I", STRING) + string(value)
    return string(name) + struct.pack("<IIQ", ARRAY, STRING, len(value)) + b"".join(map(string, value))


def padded(n):
    return (n + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def write(path, keys, tensors):
    infos, at = [], 0
    for name, t in tensors.items():
        infos.append(string(name) + struct.pack("<I", t.ndim) + struct.pack(f"<{t.ndim}Q", *t.shape[::-1])
                     + struct.pack("<IQ", F32, at))
        at += padded(t.nbytes)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    head += b"".join(key(k, v) for k, v in keys.items()) + b"".join(infos)
    with open(path, "wb") as f:
        f.write(head.ljust(padded(len(head)), b"\0"))
        for t in tensors.values():
            f.write(t.tobytes().ljust(padded(t.nbytes), b"\0"))


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    folder = pathlib.Path(sys.argv[1])
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    model, encoder = config["model_conf"], config["encoder_conf"]
    if config.get("jieba_usr_dict") or model.get("jieba_usr_dict"):
        sys.exit(f"{folder}: this model segments words first, which otolith does not")
    state = torch.load(folder / "model.pt", map_location="cpu")
    state = state.get("state_dict", state)
    tensors = {name.removeprefix("model."): np.ascontiguousarray(t.float().numpy(), "<f4")
               for name, t in state.items()}
    for name, t in tensors.items():
        if name.endswith("fsmn_block.weight"):  # channels x 1 x taps to taps x channels
            tensors[name] = np.ascontiguousarray(t[:, 0, :].T)
    write(sys.argv[2], {
        "general.architecture": "ct-transformer",
        "ct.layers": encoder["num_blocks"],
        "ct.heads": encoder["attention_heads"],
        "ct.kernel": encoder["kernel_size"],
        "ct.shift": encoder.get("sanm_shfit", 0) or 0,
        "ct.sentence_end_id": model.get("sentence_end_id", 3),
        "ct.vocab": json.loads((folder / "tokens.json").read_text(encoding="utf-8")),
        "ct.punc": model["punc_list"],
    }, tensors)


if __name__ == "__main__":
    main()
