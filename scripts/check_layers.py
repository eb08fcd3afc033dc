#!/usr/bin/env python3
"""Holds src/ to the layering of docs/architecture.md.

1. The folders and their edges stand in scripts/layers.txt; no others, and no cycles.
2. Outside its folder only folder/folder.h is included, by its path from src/.
3. Model families (src/models/<family>/) never include one another.
4. Every third-party header has a home (HOMES below).
5. With an archive or objects as arguments: exported symbols start with oto_ (by nm).

usage: check_layers.py [--src DIR] [FILE.a|FILE.o]...
"""

import argparse
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Header (by regular expression) -> folders or files that may include it.
HOMES = [
    (r"lib(avformat|avcodec|avutil|swresample)/", ["media/"]),
    (r"kiss_fft", ["features/"]),
    (r"pthread\.h|threads\.h", ["kernels/pool.c", "media/", "base/", "recogniser/engine.c", "recogniser/listener.c", "work/", "server/", "measure/"]),
    (r"(imm|xmm|emm|avx\w*)intrin\.h|arm_neon\.h|cpuid\.h", ["kernels/"]),
    (r"seccomp\.h|linux/(seccomp|filter|audit)\.h", ["base/sandbox.c"]),
    (r"curl/", ["weights/", "server/notices.c", "measure/client.c"]),
    (r"openssl/", ["weights/", "store/", "server/", "measure/client.c"]),
    (r"sqlite3\.h", ["store/sqlite.h"]),
    (r"libwebsockets\.h", ["server/loop.h"]),
    (r"zip\.h", ["weights/"]),
    (r"zlib\.h", ["models/whisper/"]),
    (r"utf8proc\.h", ["text/"]),
    (r"opencc", ["text/script.c"]),
    (r"jansson\.h", ["weights/", "text/", "models/", "recogniser/", "work/", "server/", "measure/", "cli/"]),
]


def read_layers(path):
    layers = {}
    with open(path, encoding="utf-8") as f:
        for line in f:
            line = line.split("#")[0].strip()
            if line:
                name, _, below = line.partition(":")
                layers[name.strip()] = below.split()
    return layers


def cycles(layers):
    """A chain of folders that comes back to its start, or None."""
    done = set()

    def visit(name, chain):
        if name in chain:
            return chain[chain.index(name) :] + [name]
        if name in done:
            return None
        for below in layers.get(name, []):
            found = visit(below, chain + [name])
            if found:
                return found
        done.add(name)
        return None

    for name in layers:
        found = visit(name, [])
        if found:
            return found
    return None


def check_include(rel, header, quoted, layers):
    """What is wrong with `#include header` in src/rel, or None."""
    parts = rel.split("/")
    folder = parts[0]
    for pattern, homes in HOMES:
        if re.match(pattern, header) and not any(rel.startswith(home) for home in homes):
            return f"<{header}> belongs to {', '.join(homes)}"
    if not quoted:
        return None
    target = header.split("/")
    if len(target) == 1:
        return f'"{header}" is not a path from src/'
    if target[0] == folder:
        if folder == "models" and len(target) > 2 and target[1] != (parts[1:2] or [""])[0]:
            return f'"{header}": a family\'s header outside its family'
        return None
    if target[0] not in layers:
        return f'"{header}": no such folder in layers.txt'
    if target[0] not in layers[folder]:
        return f'"{header}": layers.txt has no edge {folder} -> {target[0]}'
    if header != f"{target[0]}/{target[0]}.h":
        return f'"{header}": outside {target[0]}/ only {target[0]}/{target[0]}.h may be included'
    return None


def check_sources(src, layers):
    bad = []
    for folder, _, files in sorted(os.walk(src)):
        for name in sorted(files):
            if not name.endswith((".c", ".h")):
                continue
            path = os.path.join(folder, name)
            rel = os.path.relpath(path, src).replace(os.sep, "/")
            if rel.split("/")[0] not in layers:
                bad.append(f"src/{rel}: its folder is not in layers.txt")
                continue
            with open(path, encoding="utf-8") as f:
                for number, line in enumerate(f, 1):
                    m = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
                    wrong = m and check_include(rel, m.group(2), m.group(1) == '"', layers)
                    if wrong:
                        bad.append(f"src/{rel}:{number}: {wrong}")
    return bad


def check_symbols(files):
    bad = []
    out = subprocess.run(
        ["nm", "--extern-only", "--defined-only", "-A"] + files,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ).stdout
    for line in out.splitlines():
        where, _, symbol = line.rpartition(" ")
        # __odr_asan…, __gcov…: made by instrumented builds.
        if symbol and not symbol.startswith(("oto_", "__")):
            bad.append(f"{where.split(' ')[0]} exports {symbol}, which does not start with oto_")
    return bad


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--src", default=os.path.join(ROOT, "src"))
    parser.add_argument("objects", nargs="*")
    args = parser.parse_args()
    layers = read_layers(os.path.join(ROOT, "scripts", "layers.txt"))
    bad = []
    loop = cycles(layers)
    if loop:
        bad.append("layers.txt: a cycle: " + " -> ".join(loop))
    bad += check_sources(args.src, layers)
    if args.objects:
        bad += check_symbols(args.objects)
    for line in bad:
        print(line)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
