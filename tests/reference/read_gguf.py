#!/usr/bin/env python3
"""Prints what the gguf package reads in a file, and writes every tensor, as f32, one after the other.

Usage: read_gguf.py FILE.gguf OUT.f32
"""
import sys

import gguf
import numpy as np

reader = gguf.GGUFReader(sys.argv[1])
for name, field in reader.fields.items():
    if not name.startswith("GGUF."):
        value = field.contents()
        print(name, *(value if isinstance(value, list) else [value]))
with open(sys.argv[2], "wb") as out:
    for t in reader.tensors:
        assert t.data_offset % 64 == 0, t.name
        print(t.name, t.tensor_type.name, *reversed(t.shape.tolist()))
        if t.tensor_type.name.startswith(("Q", "BF")):
            data = gguf.quants.dequantize(t.data, t.tensor_type)
        else:
            data = t.data
        out.write(np.ascontiguousarray(data, dtype=np.float32).tobytes())
