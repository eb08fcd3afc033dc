#!/usr/bin/env python3
"""WAV (16 kHz mono) to AMR narrow-band, 12.2 kbit/s, by libopencore-amrnb: the distributions' ffmpeg
has no AMR encoder. Exits with 1 and a note when the library is absent.

usage: amr_encode.py IN.wav OUT.amr
"""

import ctypes
import subprocess
import sys

MR122 = 7  # the library's mode number of 12.2 kbit/s
FRAME = 160  # samples of 20 ms at 8 kHz


def main():
    source, target = sys.argv[1:3]
    try:
        lib = ctypes.CDLL("libopencore-amrnb.so.0")
    except OSError as error:
        print(f"amr_encode.py: skipped, no {target}: {error}", file=sys.stderr)
        return 1
    lib.Encoder_Interface_init.restype = ctypes.c_void_p
    pcm = subprocess.run(
        ["ffmpeg", "-nostdin", "-v", "error", "-i", source, "-ar", "8000", "-ac", "1", "-f", "s16le", "-"],
        check=True,
        stdout=subprocess.PIPE,
    ).stdout
    pcm += bytes(-len(pcm) % (2 * FRAME))
    state = ctypes.c_void_p(lib.Encoder_Interface_init(0))
    out = ctypes.create_string_buffer(64)
    with open(target, "wb") as f:
        f.write(b"#!AMR\n")
        for at in range(0, len(pcm), 2 * FRAME):
            speech = (ctypes.c_short * FRAME).from_buffer_copy(pcm, at)
            n = lib.Encoder_Interface_Encode(state, MR122, speech, out, 0)
            f.write(out.raw[:n])
    lib.Encoder_Interface_exit(state)
    return 0


if __name__ == "__main__":
    sys.exit(main())
