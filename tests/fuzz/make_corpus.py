#!/usr/bin/env python3
"""Writes the seeds of the weight and vocabulary fuzzers: small valid files and near misses.

Usage: tests/fuzz/make_corpus.py   (writes into tests/fuzz/corpus; what is there already stays)
"""
import collections
import io
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import types
import zipfile

ROOT = pathlib.Path(__file__).parent / "corpus"


def put(target, name, data):
    folder = ROOT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


# ---- GGUF

def gs(s):
    s = s.encode() if isinstance(s, str) else s
    return struct.pack("<Q", len(s)) + s


def gguf(kvs, tensors, align=32, version=3):
    out = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(kvs))
    for key, kind, value in kvs:
        out += gs(key) + struct.pack("<I", kind) + value
    data = b""
    for name, ne, kind, raw in tensors:
        out += gs(name) + struct.pack("<I", len(ne)) + b"".join(struct.pack("<Q", d) for d in ne)
        out += struct.pack("<IQ", kind, len(data))
        data += raw + bytes(-len(raw) % align)
    return out + bytes(-len(out) % align) + data


def make_gguf():
    f32 = lambda n: struct.pack(f"<{n}f", *[i / 8 for i in range(n)])
    kvs = [("general.architecture", 8, gs("whisper")), ("u8", 0, b"\7"), ("i8", 1, b"\xff"),
           ("u16", 2, b"\1\2"), ("i16", 3, b"\xff\xff"), ("u32", 4, struct.pack("<I", 9)),
           ("i32", 5, struct.pack("<i", -9)), ("f32", 6, struct.pack("<f", 0.5)), ("bool", 7, b"\1"),
           ("u64", 10, struct.pack("<Q", 1 << 40)), ("i64", 11, struct.pack("<q", -5)),
           ("f64", 12, struct.pack("<d", 2.5)),
           ("tokens", 9, struct.pack("<IQ", 8, 3) + gs("a") + gs("") + gs("bc")),
           ("ints", 9, struct.pack("<IQ", 5, 3) + struct.pack("<3i", 1, 2, 3)),
           ("floats", 9, struct.pack("<IQ", 6, 2) + struct.pack("<2f", 1, 2))]
    tensors = [("w", (4, 2), 0, f32(8)), ("h", (4,), 1, bytes(8)), ("b", (2, 2, 2), 30, bytes(16)),
               ("q8", (32, 2), 8, bytes(68)), ("q4", (32,), 2, bytes(18)), ("q41", (32,), 3, bytes(20)),
               ("q5", (32,), 6, bytes(22)), ("q51", (32,), 7, bytes(24)), ("i8t", (3,), 24, b"abc")]
    put("gguf", "all", gguf(kvs, tensors))
    put("gguf", "v2", gguf(kvs[:2], tensors[:1], version=2))
    put("gguf", "align64", gguf([("general.alignment", 4, struct.pack("<I", 64))], tensors, 64))
    put("gguf", "align_odd", gguf([("general.alignment", 4, struct.pack("<I", 3))], tensors))
    put("gguf", "nested", gguf([("n", 9, struct.pack("<IQ", 9, 1) + struct.pack("<IQ", 5, 0))], tensors[:1]))
    put("gguf", "huge_counts", b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60))
    put("gguf", "huge_dims", gguf([], [("w", (1 << 62, 1 << 62), 0, b"")]))
    put("gguf", "twice", gguf(kvs[:1] * 2, tensors[:1] * 2))
    put("gguf", "short", gguf(kvs, tensors)[:-40])
    put("gguf", "none", gguf([], []))


# ---- CTranslate2

def cs(s):
    return struct.pack("<H", len(s) + 1) + s.encode() + b"\0"


def ct2(variables, aliases, version=6, spec="WhisperSpec"):
    out = struct.pack("<I", version) + cs(spec) + struct.pack("<II", 3, len(variables))
    for name, dims, kind, raw in variables:
        out += cs(name) + struct.pack("<B", len(dims)) + b"".join(struct.pack("<I", d) for d in dims)
        size = {0: 4, 1: 1, 2: 2}.get(kind, 1)
        out += struct.pack("<BI", kind, len(raw)) if version >= 4 else struct.pack("<BI", size, len(raw) // size)
        out += raw
    out += struct.pack("<I", len(aliases))
    for a, b in aliases:
        out += cs(a) + cs(b)
    return out


def folder(main, config=None, vocabulary=None, text=False):
    flags = (config is not None) | (vocabulary is not None) << 1 | text << 2
    config, vocabulary = config or b"", vocabulary or b""
    return struct.pack("<BHH", flags, len(config), len(vocabulary)) + config + vocabulary + main


def make_ct2():
    f32 = lambda n: struct.pack(f"<{n}f", *[1 + i / 8 for i in range(n)])
    v = [("encoder/conv1/weight", (2, 3, 2), 4, bytes(24)), ("decoder/w", (2, 4), 1, b"12345678"),
         ("decoder/w_scale", (2,), 0, f32(2)), ("decoder/k", (2, 2), 2, bytes(8)),
         ("decoder/k_scale", (), 0, f32(1)), ("flag", (), 1, b"\1"), ("ids", (2,), 3, bytes(8)),
         ("half", (2,), 5, bytes(4))]
    config = (b'{"alignment_heads": [[1, 2], [3, 4]], "lang_ids": [50259, 50260], '
              b'"suppress_ids": [1, 2], "suppress_ids_begin": [220, 50257]}')
    put("ct2", "all", folder(ct2(v, [("decoder/tied", "decoder/w")]), config, b'["a", "\\u0120b", ""]'))
    put("ct2", "text", folder(ct2(v, []), None, b"a\nb\n\xc4\xa0c", True))
    put("ct2", "v3", folder(ct2(v[1:5], [], 3), b"{}"))
    put("ct2", "no_scale", folder(ct2(v[1:2], [])))
    put("ct2", "zero_scale", folder(ct2([v[1], ("decoder/w_scale", (2,), 0, bytes(8))], [])))
    put("ct2", "bad_alias", folder(ct2(v, [("x", "y")])))
    put("ct2", "bad_config", folder(ct2(v, []), b'{"suppress_ids": [1, "2"]}'))
    put("ct2", "bad_vocabulary", folder(ct2(v, []), None, b'{"a": 1}'))
    put("ct2", "short", folder(ct2(v, [])[:-20]))
    put("ct2", "v7", folder(ct2(v, [], 7)))


# ---- ggml

def ggml(tensors, tokens=(b"a", b"", b"bc"), mels=2, magic=0x67676D6C):
    out = struct.pack("<I11i", magic, 51864, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1)
    out += struct.pack("<ii", mels, 3) + bytes(4 * 3 * mels)
    out += struct.pack("<i", len(tokens)) + b"".join(struct.pack("<i", len(t)) + t for t in tokens)
    for name, ne, kind, raw in tensors:
        out += struct.pack("<iii", len(ne), len(name), kind) + b"".join(struct.pack("<i", d) for d in ne)
        out += name.encode() + raw
    return out


def make_ggml():
    t = [("encoder.conv1.weight", (3, 2, 2), 1, bytes(24)), ("encoder.conv1.bias", (1, 2), 0, bytes(8)),
         ("q5", (32, 1), 6, bytes(22)), ("q8", (32,), 8, bytes(34))]
    put("ggml", "all", ggml(t))
    put("ggml", "no_tokens", ggml(t, ()))
    put("ggml", "negative", ggml([("x", (-1, 2), 0, b"")]))
    put("ggml", "unknown_type", ggml([("x", (1,), 99, b"1234")]))
    put("ggml", "twice", ggml(t[:1] * 2))
    put("ggml", "huge_mels", ggml(t, (), 1)[:48] + struct.pack("<ii", 1000, 60000))
    put("ggml", "short", ggml(t)[:-10])


# ---- ONNX and am.mvn

def varint(v):
    out = b""
    while v > 127:
        out += bytes([v & 127 | 128])
        v >>= 7
    return out + bytes([v])


def number(field, v):
    return varint(field << 3) + varint(v)


def block(field, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def onnx_tensor(name, dims, raw, kind=1, packed=False, data_field=9, more=b""):
    shape = block(1, b"".join(varint(d) for d in dims)) if packed else b"".join(number(1, d) for d in dims)
    return block(5, shape + number(2, kind) + block(8, name) + block(data_field, raw) + more)


def onnx_node(kind, inputs, outputs, name=""):
    return block(1, b"".join(block(1, i) for i in inputs) + b"".join(block(2, o) for o in outputs) +
                 block(3, name) + block(4, kind))


def onnx(parts, before=b""):
    return number(1, 7) + block(2, "pytorch") + before + block(7, b"".join(parts))


def mvn(shift="-1.5 2e1", scale="0.5 0.25"):
    return (f"<Nnet> \n<Splice> 2 2 \n[ 0 ]\n<AddShift> 2 2 \n<LearnRateCoef> 0 [ {shift} ]\n"
            f"<Rescale> 2 2 \n<LearnRateCoef> 0 [ {scale} ]\n</Nnet>\n").encode()


def onnx_folder(main, text=mvn(), flags=1):
    return struct.pack("<BH", flags, len(text)) + text + main


def make_onnx():
    f32 = lambda n: struct.pack(f"<{n}f", *[i / 8 for i in range(n)])
    product = onnx_node("MatMul", ["x", "onnx::MatMul_1"], ["y"], "/encoder/out_linear2/linear/MatMul")
    matrix = onnx_tensor("onnx::MatMul_1", (2, 3), f32(6))
    parts = [product, onnx_node("Relu", ["a"], ["b"]), block(2, "main_graph"), matrix,
             onnx_tensor("encoder.fsmn.0.fsmn_block.conv_left.weight", (2, 1, 2, 1), f32(4), packed=True),
             onnx_tensor("bias", (3,), f32(3), data_field=4), onnx_tensor("shape", (1,), bytes(8), kind=7),
             onnx_tensor("scalar", (), f32(1)), onnx_tensor("none", (0, 4), b"")]
    good = onnx(parts, number(5, 3) + varint(9 << 3 | 1) + bytes(8) + varint(10 << 3 | 5) + bytes(4))
    put("onnx", "all", onnx_folder(good))
    put("onnx", "no_mvn", onnx_folder(good, b"", 0))
    put("onnx", "empty_mvn", onnx_folder(good, b""))
    put("onnx", "no_rescale", onnx_folder(good, mvn().split(b"<Rescale>")[0]))
    put("onnx", "open_bracket", onnx_folder(good, mvn()[:-15]))
    put("onnx", "bad_number", onnx_folder(good, mvn(shift="1 2x")))
    put("onnx", "infinite", onnx_folder(good, mvn(scale="1 inf")))
    put("onnx", "zero_byte", onnx_folder(good, mvn(scale="1 2\0 3")))
    put("onnx", "no_numbers", onnx_folder(good, mvn(shift="")))
    put("onnx", "no_graph", onnx_folder(number(1, 7) + block(2, "pytorch")))
    put("onnx", "twice", onnx_folder(onnx([matrix, matrix])))
    put("onnx", "same_layer", onnx_folder(onnx([product, product, matrix])))
    put("onnx", "no_input", onnx_folder(onnx([onnx_node("MatMul", ["x", ""], ["y"], "/a/MatMul"), matrix])))
    put("onnx", "number_input", onnx_folder(onnx([block(1, block(1, "x") + number(1, 5) + block(
        2, "y") + block(4, "MatMul")), matrix])))
    put("onnx", "five_dims", onnx_folder(onnx([onnx_tensor("w", (1, 1, 1, 1, 1), f32(1))])))
    put("onnx", "huge_dims", onnx_folder(onnx([onnx_tensor("w", (1 << 62, 1 << 62), f32(1))])))
    put("onnx", "negative_dim", onnx_folder(onnx([onnx_tensor("w", ((1 << 64) - 1,), f32(1))])))
    put("onnx", "wrong_size", onnx_folder(onnx([onnx_tensor("w", (3,), f32(2))])))
    place = lambda name, offset: number(14, 1) + block(13, block(1, "location") + block(2, name)) + block(
        13, block(1, "offset") + block(2, offset))
    outside = lambda *where: onnx([onnx_tensor(f"w{i}", (2,), b"", more=place(*p)) for i, p in enumerate(where)])
    put("onnx", "external", onnx_folder(outside(("am.mvn", "0"), ("am.mvn", "8"))))
    put("onnx", "external_nowhere", onnx_folder(onnx([onnx_tensor("w", (1,), f32(1), more=number(14, 1))])))
    put("onnx", "external_elsewhere", onnx_folder(outside(("../am.mvn", "0"))))
    put("onnx", "external_absent", onnx_folder(outside(("model.onnx.data", "0"))))
    put("onnx", "external_files", onnx_folder(outside(("am.mvn", "0"), ("w1", "0"))))
    put("onnx", "external_end", onnx_folder(outside(("am.mvn", str(len(mvn()) - 7)))))
    put("onnx", "external_far", onnx_folder(outside(("am.mvn", "18446744073709551616"))))
    put("onnx", "external_words", onnx_folder(outside(("am.mvn", "-1"))))
    put("onnx", "no_name", onnx_folder(onnx([block(5, number(1, 1) + number(2, 1) + block(9, f32(1)))])))
    put("onnx", "group", onnx_folder(onnx(parts) + b"\x1b"))
    put("onnx", "endless_varint", onnx_folder(onnx(parts) + b"\x08" + b"\xff" * 11))
    put("onnx", "short", onnx_folder(onnx(parts)[:-10]))
    make_onnx_layers(f32)


def make_onnx_layers(f32):
    """What says the names of layers: biases, paths, the norm before; and 8 bits."""
    matrix = lambda i: onnx_tensor(f"onnx::MatMul_{i}", (2, 3), f32(6))
    vector = lambda name, n=3: onnx_tensor(name, (n,), f32(n))
    parts = [matrix(i) for i in range(6)] + [
        vector("decoder.model.out.bias"), vector("decoder.model.d.0.feed_forward.norm.bias", 2), vector("onnx::Mul_8"),
        vector("onnx::Add_9"), vector("n2.weight"), vector("n2.bias"),
        onnx_tensor("square.weight", (2, 2), f32(4)),
        onnx_node("Add", ["decoder.model.out.bias", "a"], ["b"], "Add_1"),
        onnx_node("MatMul", ["x", "onnx::MatMul_0"], ["a"], "/wrong/MatMul"),
        onnx_node("MatMul", ["x", "onnx::MatMul_1"], ["c"], "/e/l/l.0/w_1/MatMul_12"),
        onnx_node("Mul", ["c", "onnx::Mul_8"], ["d"], "/e/l/l.0/norm1/Mul"),
        onnx_node("Add", ["d", "onnx::Add_9"], ["e"], "/e/l/l.0/norm1/Add_1"),
        onnx_node("LayerNormalization", ["e", "n2.weight", "n2.bias"], ["f"], "/n3/LayerNormalization"),
        onnx_node("Add", ["f", "decoder.model.d.0.feed_forward.norm.bias"], ["g"], "Add_2"),
        onnx_node("MatMul", ["g", "onnx::MatMul_2"], ["h"], "MatMul_3"),
        onnx_node("MatMul", ["h", "square.weight"], ["i"], "MatMul_4"),
        onnx_node("MatMul", ["h", "square.weight"], ["j"], "MatMul_5"),
        onnx_node("MatMul", ["h", "onnx::MatMul_3"], ["k"], "/e/f/MatMul_scales_mul"),
        onnx_node("MatMul", ["h", "onnx::MatMul_4"], ["l"], "MatMul"),
        onnx_node("MatMul", ["h", "onnx::MatMul_5"], ["m"], "//MatMul")]
    put("onnx", "layers", onnx_folder(onnx(parts)))
    circle = [onnx_node("Add", ["c.bias", "a"], ["b"]), onnx_node("Mul", ["b", "b"], ["a"]), vector("c.bias"),
              onnx_node("Cast", ["a"], ["a"]), onnx_node("MatMul", ["b", "b"], ["b"], "/b/MatMul")]
    put("onnx", "circle", onnx_folder(onnx(circle)))
    eight = lambda scale=(3,), zero=(3,), kind=2, n=3, tail="_quantized": onnx([
        onnx_tensor("onnx::MatMul_1" + tail, (2, 3), bytes([0, 1, 2, 130, 254, 255]), kind=kind),
        onnx_tensor("onnx::MatMul_1_scale", scale, f32(n), data_field=4),
        onnx_tensor("onnx::MatMul_1_zero_point", zero, b"".join(varint(128) for _ in range(n)), kind=2, data_field=5),
        onnx_node("DynamicQuantizeLinear", ["x"], ["x8", "xs", "xz"], "q"),
        onnx_node("MatMulInteger", ["x8", "onnx::MatMul_1" + tail, "xz", "onnx::MatMul_1_zero_point"], ["a"],
                  "/a/MatMul_quant"),
        onnx_node("Cast", ["a"], ["b"], "cast"), onnx_node("Mul", ["b", "scales"], ["c"], "/a/MatMul_quant_scales_mul"),
        onnx_node("Add", ["real.bias", "c"], ["d"], "/a/Add"), vector("real.bias")])
    lstm = lambda w=(2, 4, 3), n=24: onnx([
        onnx_tensor("W", w, f32(n)), onnx_tensor("R", (2, 4, 1), f32(8)), onnx_tensor("B", (2, 8), f32(16)), vector("embedding.0.weight"), vector("same.bias"),
        onnx_node("Identity", ["same.bias"], ["encoder.model.other.bias"]),
        onnx_node("LSTM", ["x", "W", "R", "B"], ["y"], "/blstm/LSTM"),
        onnx_node("LSTM", ["x", "W", "R", "B"], ["z"], "/a/b/LSTM_1")])
    put("onnx", "lstm", onnx_folder(lstm()))
    put("onnx", "lstm_sizes", onnx_folder(lstm((2, 8, 1), 16)))
    hot = onnx([vector("hotword_output_layer.bias")])
    put("onnx", "hot_words", onnx_folder(hot, lstm(), 2))
    put("onnx", "hot_words_twice", onnx_folder(hot, hot, 2))
    put("onnx", "hot_words_short", onnx_folder(hot, lstm()[:-3], 2))
    put("onnx", "hot_words_absent", onnx_folder(hot))
    put("onnx", "eight", onnx_folder(eight()))
    put("onnx", "eight_one", onnx_folder(eight((), (), n=1)))
    put("onnx", "eight_no_scale", onnx_folder(eight(tail="_quantised")))
    put("onnx", "eight_scales", onnx_folder(eight((2,), (2,), n=2)))
    put("onnx", "eight_signs", onnx_folder(eight(kind=3)))
    put("onnx", "eight_short", onnx_folder(eight(zero=(4,))))


# ---- PyTorch checkpoints and what FunASR puts beside them

def fake_torch():
    """Modules with the names that torch's pickles contain, so that Python's own pickler writes them."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def rebuild(*args):
        raise RuntimeError

    for name in ("_rebuild_tensor_v2", "_rebuild_tensor", "_rebuild_parameter"):
        f = types.FunctionType(rebuild.__code__, globals(), name)
        f.__module__, f.__qualname__ = "torch._utils", name
        setattr(utils, name, f)
    for name in ("Float", "Half", "BFloat16", "Long", "Int", "Double"):
        setattr(torch, name + "Storage", type(name + "Storage", (), {"__module__": "torch"}))
    sys.modules["torch"], sys.modules["torch._utils"] = torch, utils
    return torch, utils


class Storage:
    def __init__(self, key, kind, n, raw):
        self.key, self.kind, self.n, self.raw = key, kind, n, raw


class Tensor:
    def __init__(self, storage, size, stride=None, offset=0, v1=False):
        if stride is None:
            stride, step = [], 1
            for d in reversed(size):
                stride.insert(0, step)
                step *= d
        self.args = (storage, offset, tuple(size), tuple(stride))
        self.v1 = v1

    def __reduce__(self):
        u = sys.modules["torch._utils"]
        if self.v1:
            return u._rebuild_tensor, self.args
        return u._rebuild_tensor_v2, self.args + (False, collections.OrderedDict())


class Parameter:
    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce__(self):
        return sys.modules["torch._utils"]._rebuild_parameter, (self.tensor, True, collections.OrderedDict())


class Harm:
    def __reduce__(self):
        return os.system, ("touch /tmp/harm",)


def pickled(obj, protocol=2, storages=None, old=False):
    out = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, o):
            if isinstance(o, Storage):
                if storages is not None:
                    storages[o.key] = o
                kind = getattr(sys.modules["torch"], o.kind + "Storage")
                return ("storage", kind, o.key, "cpu", o.n) + ((None,) if old else ())

    Pickler(out, protocol).dump(obj)
    return out.getvalue()


def torch_zip(obj, protocol=2, more=(), compress=(), program=None, leave_out=(), cut={}):
    storages, out = {}, io.BytesIO()
    program = program or pickled(obj, protocol, storages)
    with zipfile.ZipFile(out, "w") as z:
        def entry(name, raw):
            info = zipfile.ZipInfo("model/" + name, (1980, 1, 1, 0, 0, 0))
            z.writestr(info, raw, zipfile.ZIP_DEFLATED if name in compress else zipfile.ZIP_STORED)
        entry("data.pkl", program)
        for name, raw in more:
            entry(name, raw)
        for key, s in storages.items():
            if key not in leave_out:
                entry("data/" + key, s.raw[: len(s.raw) - cut.get(key, 0)])
        entry("version", b"3\n")
    return out.getvalue()


def zip64(archive):
    """The same archive with every size and place in 64 bits, as of more than 4 GB."""
    z = zipfile.ZipFile(io.BytesIO(archive))
    body, directory, n = archive[: z.start_dir], b"", len(z.infolist())
    for i in z.infolist():
        name, extra = i.filename.encode(), struct.pack("<HH3Q", 1, 24, i.file_size, i.compress_size, i.header_offset)
        directory += struct.pack("<I6H3I5H2I", 0x02014B50, 45, 45, 0, 0, 0, 0, i.CRC, 0xFFFFFFFF, 0xFFFFFFFF, len(name),
                                 len(extra), 0, 0, 0, 0, 0xFFFFFFFF) + name + extra
    end = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, n, n, len(directory), len(body))
    locator = struct.pack("<IIQI", 0x07064B50, 0, len(body) + len(directory), 1)
    return body + directory + end + locator + struct.pack("<I4HIIH", 0x06054B50, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def torch_old(obj, little=True, forget=()):
    storages = {}
    body = pickled(obj, 2, storages, old=True)
    keys = sorted(k for k in storages if k not in forget)
    out = pickled(0x1950A86A20F9469CFC6C) + pickled(1001)
    out += pickled({"protocol_version": 1001, "little_endian": little, "type_sizes": {"short": 2}})
    out += body + pickled(keys)
    return out + b"".join(struct.pack("<q", storages[k].n) + storages[k].raw for k in keys)


def funasr_folder(main, mvn_text=None, tokens=None, pieces=None, config=None, words=None):
    side = [x.encode() if isinstance(x, str) else x for x in (mvn_text, tokens, pieces, config, words)]
    flags = sum(1 << i for i, x in enumerate(side) if x is not None)
    side = [x or b"" for x in side]
    return struct.pack("<B5H", flags, *map(len, side)) + b"".join(side) + main


def sentencepiece(*pieces):
    return b"".join(block(1, block(1, p) + varint(2 << 3 | 5) + bytes(4) + number(3, 1)) for p in pieces) + block(
        2, b"")


CT_CONFIG = """# punctuation
model: CTTransformer
model_conf:
    ignore_id: 0
    punc_list:
    - <unk>
    - '_'   # none
    - "\\uFF0C"
    - 。
    - '?'
    - 、
    punc_weight: [1.0, 1.0]
    sentence_end_id: 3
encoder_conf:
    attention_heads: 8
    num_blocks: 4
    kernel_size: 11
    sanm_shfit: 5
"""


def make_torch():
    fake_torch()
    f32 = lambda n: struct.pack(f"<{n}f", *[i / 8 for i in range(n)])
    s = lambda key, kind, n, raw: Storage(key, kind, n, raw)
    a = s("0", "Float", 6, f32(6))
    order = collections.OrderedDict
    state = order([("w", Tensor(a, (2, 3))), ("turned", Tensor(a, (3, 2), (1, 3))), ("part", Tensor(a, (2,), (1,), 4)),
                   ("wide", Tensor(a, (2, 2), (0, 1))), ("h", Tensor(s("1", "Half", 2, bytes(4)), (2, 1, 1))),
                   ("b", Parameter(Tensor(s("2", "BFloat16", 2, b"\x80\x3f\0\xc0"), (2,)))),
                   ("n", Tensor(s("3", "Long", 1, struct.pack("<q", 7)), ())), ("none", Tensor(s("4", "Float", 0, b""), (0, 4)))])
    state._metadata = order([("", {"version": 1})])
    put("torch", "all", funasr_folder(torch_zip(state, more=[("byteorder", b"little")])))
    put("torch", "zip64", funasr_folder(zip64(torch_zip(state))))
    put("torch", "protocol4", funasr_folder(torch_zip(state, 4)))
    put("torch", "old", funasr_folder(torch_old(state)))
    nested = {"epoch": 3, "lr": 0.5, "done": False, "state_dict": order((("module." + k, v) for k, v in state.items()))}
    put("torch", "nested", funasr_folder(torch_zip(nested)))
    put("torch", "model_key", funasr_folder(torch_zip({"model": state, "list": [1, None, b"x", "y", -5, 300, 70000, 1 << 40]}, 4)))
    one = order([("w", Tensor(a, (2, 3)))])
    put("torch", "harm", funasr_folder(torch_zip(order([("w", Tensor(a, (2, 3))), ("x", Harm())]))))
    put("torch", "harm4", funasr_folder(torch_zip([Harm()], 4)))
    put("torch", "compressed", funasr_folder(torch_zip(one, compress=("data/0",))))
    put("torch", "compressed_pickle", funasr_folder(torch_zip(one, compress=("data.pkl",))))
    put("torch", "no_storage", funasr_folder(torch_zip(one, leave_out=("0",))))
    put("torch", "short_storage", funasr_folder(torch_zip(one, cut={"0": 4})))
    put("torch", "past_end", funasr_folder(torch_zip(order([("w", Tensor(a, (2, 3), None, 1))]))))
    put("torch", "far_stride", funasr_folder(torch_zip(order([("w", Tensor(a, (2, 2), (1 << 62, 1 << 62)))]))))
    put("torch", "huge_dims", funasr_folder(torch_zip(order([("w", Tensor(a, (1 << 40, 1 << 40), (0, 0)))]))))
    put("torch", "huge_copy", funasr_folder(torch_zip(order([("w", Tensor(a, (1 << 13, 1 << 13), (0, 0)))]))))
    put("torch", "negative", funasr_folder(torch_zip(order([("w", Tensor(a, (-1, 3)))]))))
    put("torch", "five_dims", funasr_folder(torch_zip(order([("w", Tensor(a, (1, 1, 1, 2, 3)))]))))
    put("torch", "doubles", funasr_folder(torch_zip(order([("w", Tensor(s("0", "Double", 1, bytes(8)), (1,)))]))))
    put("torch", "twice", funasr_folder(torch_zip(order([("w", Tensor(a, (2, 3))), ("module.w", Tensor(a, (6,)))]))))
    put("torch", "list", funasr_folder(torch_zip([Tensor(a, (2, 3))])))
    put("torch", "empty", funasr_folder(torch_zip(order())))
    put("torch", "big_endian", funasr_folder(torch_zip(one, more=[("byteorder", b"big")])))
    put("torch", "old_big_endian", funasr_folder(torch_old(one, False)))
    put("torch", "old_forgotten", funasr_folder(torch_old(one, forget=("0",))))
    put("torch", "deep", funasr_folder(torch_zip(None, program=b"\x80\x02" + b"(" * 100 + b".")))
    put("torch", "underflow", funasr_folder(torch_zip(None, program=b"\x80\x02(0.")))
    put("torch", "itself", funasr_folder(torch_zip(None, program=b"\x80\x02}q\0X\x05\0\0\0modelh\0s.")))
    put("torch", "text_op", funasr_folder(torch_zip(None, program=b"I1\n.")))
    put("torch", "memo", funasr_folder(torch_zip(None, program=b"\x80\x02Nr\xff\xff\xff\xff.")))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr(zipfile.ZipInfo("a.txt"), b"text")
    put("torch", "other_zip", funasr_folder(out.getvalue()))
    put("torch", "short", funasr_folder(torch_zip(one)[:-30]))
    put("torch", "comment", funasr_folder(torch_zip(one)[:-2] + b"\4\0PK\5\6"))

    def named(*names):
        return torch_zip(order((n, Tensor(a, (2, 3))) for n in names))

    pf = named("predictor.cif_output.weight", "decoder.decoders3.0.norm1.weight", "predictor.blstm.weight_ih_l0")
    pf_config = "encoder_conf:\n    attention_heads: 4\n    kernel_size: 11\nmodel_conf:\n    NO_BIAS: 7\npredictor_conf:\n    threshold: 1.0\n    tail_threshold: 0.45\n    smooth_factor2: 0.5\n"
    put("torch", "paraformer", funasr_folder(pf, mvn(), '["<blank>", "<s>", "\\u4e2d"]', None, pf_config, "word wo@@ rd\n"))
    put("torch", "no_tokens", funasr_folder(pf, mvn(), None, None, pf_config))
    put("torch", "no_mvn", funasr_folder(pf, None, "[]"))
    put("torch", "bad_mvn", funasr_folder(pf, mvn(shift="1 2x"), "[]"))
    put("torch", "bad_tokens", funasr_folder(pf, mvn(), '["a", 1]'))
    put("torch", "bad_heads", funasr_folder(pf, mvn(), '["a"]', None, "encoder_conf:\n  attention_heads: four\n"))
    sv = named("ctc.ctc_lo.weight", "encoder.tp_norm.weight", "embed.weight")
    put("torch", "sensevoice", funasr_folder(sv, mvn(), None, sentencepiece("<unk>", "\u2581the", "", "中")))
    put("torch", "sensevoice_tokens", funasr_folder(sv, mvn(), '["<unk>", "\u2581the"]'))
    put("torch", "bad_pieces", funasr_folder(sv, mvn(), None, sentencepiece("<unk>")[:-5]))
    put("torch", "no_pieces", funasr_folder(sv, mvn(), None, b""))
    ct = named("embed.weight", "decoder.weight", "encoder.encoders0.0.norm1.weight")
    put("torch", "punctuation", funasr_folder(ct, None, '["<unk>", "a"]', None, CT_CONFIG))
    put("torch", "no_marks", funasr_folder(ct, None, '["<unk>"]', None, "model_conf:\n  ignore_id: 0\n"))
    put("torch", "vad", funasr_folder(named("encoder.fsmn.0.fsmn_block.conv_left.weight", "encoder.out_linear2.linear.weight"), mvn()))


# ---- tokens

def tokens(words, text, flags):
    out = struct.pack("<BH", flags, len(words))
    return out + b"".join(struct.pack("<B", len(w)) + w for w in words) + text


def make_tokens():
    words = [b"th", b"the", b" t", b" the", b"in", b"ing", b"\xe4\xb8", b"\xe4\xb8\xad", b"ll", b"'s", b"  ", b"aa", b"aaaa"]
    put("tokens", "english", tokens(words, b"the thing isn't in  the\n\nhat; it's 42%  ", 1))
    put("tokens", "chinese", tokens(words, "中文 中中  тест １２３ \u3000 é".encode(), 1))
    put("tokens", "repeated", tokens(words, b"a" * 600, 1))
    put("tokens", "broken_utf8", tokens(words, b"\xff\xe4\xb8 \xc0\x80 \xf4\x90\x80\x80 '\xe4", 1))
    put("tokens", "printable", tokens([bytes([b]) for b in range(33, 127)] + ["Ġ".encode(), "Ċa".encode(), "中".encode()], b"x y", 3))
    put("tokens", "no_bytes", tokens(words, b"the", 0))
    put("tokens", "empty_token", tokens([b"", b"a", b"a"], b"aa", 1))


# ---- hot words

def make_phrases():
    pieces = "\n".join(["阿", "里", "巴", "hel@@", "lo", "a", "it's"])

    def phrases(dictionary, text):
        return b"\0".join([dictionary.encode(), pieces.encode(), text])

    put("phrases", "plain", phrases("hello hel@@ lo\na a\n", "阿里巴巴, Hello;a里\n it's".encode()))
    put("phrases", "unsorted", phrases("zz lo\nhello  hel@@ lo\r\n\n a\na a\nhello lo lo\n", "hello zz b, 阿 里，ab-a".encode()))
    put("phrases", "broken", b"\xff \xfe\nhello\0\xff\n\xe4\xb8\0\xe4\xb8,\xff\xff<s>," + b"a" * 80 + b"," + "阿".encode() * 40)
    put("phrases", "empty", b"\0\0")


def make_media():
    """Needs ffmpeg; a tenth of a second in each container."""
    tone = ["-f", "lavfi", "-i", "sine=f=440:d=0.1:r=8000"]
    film = ["-f", "lavfi", "-i", "testsrc=s=16x16:r=10:d=0.2", "-c:v", "mpeg4"]
    for name, how in {
        "wav": ["-c:a", "pcm_mulaw", "-f", "wav"],
        "float_wav": ["-c:a", "pcm_f32le", "-t", "0.02", "-f", "wav"],
        "adpcm_wav": ["-c:a", "adpcm_ima_wav", "-f", "wav"],
        "aiff": ["-t", "0.05", "-f", "aiff"],
        "mp3": ["-c:a", "libmp3lame", "-b:a", "8k", "-f", "mp3"],
        "m4a": ["-c:a", "aac", "-b:a", "8k", "-f", "ipod"],
        "fast_m4a": ["-c:a", "aac", "-b:a", "8k", "-movflags", "+faststart", "-f", "ipod"],
        "adts": ["-c:a", "aac", "-b:a", "8k", "-f", "adts"],
        "flac": ["-c:a", "flac", "-metadata_header_padding", "0", "-f", "flac"],
        "opus": ["-c:a", "libopus", "-b:a", "8k", "-f", "ogg"],
        "webm": ["-c:a", "libopus", "-b:a", "8k", "-f", "webm"],
        "stereo_wav": ["-ac", "2", "-t", "0.03", "-f", "wav"],
        "film_mkv": [*film, "-c:a", "pcm_alaw", "-f", "matroska"],
        "film_mov": [*film, "-an", "-f", "mov"],
        "png": ["-f", "lavfi", "-i", "color=s=8x8", "-frames:v", "1", "-an", "-f", "image2pipe", "-c:v", "png"],
    }.items():
        plain = ["-fflags", "+bitexact", "-flags:a", "+bitexact", "-map_metadata", "-1"]
        run = subprocess.run(["ffmpeg", "-nostdin", "-v", "error", "-y", *tone, *how, *plain, "media.tmp"])
        if run.returncode == 0:
            put("media", name, pathlib.Path("media.tmp").read_bytes())
    pathlib.Path("media.tmp").unlink(missing_ok=True)
    put("media", "amr", b"#!AMR\n" + bytes.fromhex("3c4848e0f8e0a50d8000000000000000000000000000000000000000000000000000") [:32] * 3)
    put("media", "text", b"This is a letter.\n")
    put("media", "cut_header", b"RIFF\x24\0\0\0WAVEfmt \x10\0")
    put("media", "no_index", b"\0\0\0\x18ftypM4A \0\0\0\0M4A isom" + bytes(8))


make_gguf()
make_media()
make_ct2()
make_ggml()
make_onnx()
make_torch()
make_tokens()
make_phrases()
