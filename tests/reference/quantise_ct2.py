#!/usr/bin/env python3
"""Makes the int8 form of a CTranslate2 Whisper folder, as CTranslate2's own converter would store it.

Usage: quantise_ct2.py SOURCE DEST

Matrices become i8 with one f32 scale a row in NAME_scale: scale = 127 / max |row|, and
q = round(w × scale). The rest stays as it is. Needs numpy.
"""
import pathlib
import shutil
import struct
import sys

import numpy as np

TYPES = [np.float32, np.int8, np.int16, np.int32, np.float16]


def strings(f):
    (n,) = struct.unpack("<H", f.read(2))
    return f.read(n)[:-1].decode()


def put_string(s):
    return struct.pack("<H", len(s) + 1) + s.encode() + b"\0"


def read(path):
    with open(path, "rb") as f:
        (version,) = struct.unpack("<I", f.read(4))
        spec = strings(f)
        revision, n = struct.unpack("<II", f.read(8))
        variables = {}
        for _ in range(n):
            name = strings(f)
            (rank,) = struct.unpack("<B", f.read(1))
            shape = struct.unpack(f"<{rank}I", f.read(4 * rank))
            kind, size = struct.unpack("<BI", f.read(5))
            variables[name] = np.frombuffer(f.read(size), TYPES[kind]).reshape(shape)
        (n,) = struct.unpack("<I", f.read(4))
        aliases = [(strings(f), strings(f)) for _ in range(n)]
    return version, spec, revision, variables, aliases


def write(path, version, spec, revision, variables, aliases):
    with open(path, "wb") as f:
        f.write(struct.pack("<I", version) + put_string(spec) + struct.pack("<II", revision, len(variables)))
        for name, v in sorted(variables.items()):
            f.write(put_string(name) + struct.pack("<B", v.ndim) + struct.pack(f"<{v.ndim}I", *v.shape))
            f.write(struct.pack("<BI", TYPES.index(v.dtype), v.nbytes) + v.tobytes())
        f.write(struct.pack("<I", len(aliases)))
        for a, b in aliases:
            f.write(put_string(a) + put_string(b))


def quantise(variables):
    out = {}
    for name, v in variables.items():
        # what CTranslate2 quantises: weights of linear layers and embeddings, not position tables or convolutions
        if name.endswith("weight") and v.ndim == 2 and v.dtype == np.float16:
            w = v.astype(np.float32)
            scale = 127.0 / np.maximum(np.abs(w).max(axis=1, keepdims=True), 1e-10)
            out[name] = np.rint(w * scale).astype(np.int8)
            out[name + "_scale"] = scale[:, 0].astype(np.float32)
        else:
            out[name] = v.astype(np.float32) if v.dtype == np.float16 else v
    return out


def main(source, dest):
    source, dest = pathlib.Path(source), pathlib.Path(dest)
    dest.mkdir(parents=True, exist_ok=True)
    for f in source.iterdir():
        if f.name != "model.bin" and f.is_file():
            shutil.copy(f, dest / f.name)
    version, spec, revision, variables, aliases = read(source / "model.bin")
    variables = quantise(variables)
    have_scale = {a[0] for a in aliases}
    aliases += [(a + "_scale", b + "_scale") for a, b in aliases
                if b + "_scale" in variables and a + "_scale" not in have_scale]
    write(dest / "model.bin", version, spec, revision, variables, aliases)


main(*sys.argv[1:])
