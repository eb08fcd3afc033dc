#!/usr/bin/env python3
"""--help, the man page and the shell completion name the same options, verb by verb.

usage: check_options.py OTOLITH
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
VERBS = ["transcribe", "vad", "models", "score", "bench", "serve", "keys", "monitor", "stress", "report"]


def from_help(otolith, verb):
    text = subprocess.run([otolith, verb, "--help"], check=True, capture_output=True, text=True).stdout
    rows = re.findall(r"^  (?:-(\w),|   ?) ?--([a-z0-9-]+)", text, re.M)
    return {(letter, name) for letter, name in rows}


def from_man(text, verb):
    section = re.search(rf"^\.Ss {verb}\n(.*?)(?=^\.Ss |^\.Sh )", text, re.M | re.S)
    if not section:
        return set()
    rows = re.findall(r"^\.It (?:Fl (\w) , )?Fl -([a-z0-9-]+)", section.group(1), re.M)
    return {(letter, name) for letter, name in rows} | {("h", "help")}


def from_completion(text, verb):
    line = re.search(rf'^\s*{verb}\) options="([^"]*)"', text, re.M)
    return {word[2:] for word in line.group(1).split()} if line else set()


def main():
    otolith = sys.argv[1]
    man = (ROOT / "docs/otolith.1").read_text()
    completion = (ROOT / "scripts/completion.bash").read_text()
    bad = 0
    for verb in VERBS:
        told = from_help(otolith, verb)
        for what, other in (("man page", from_man(man, verb)),
                            ("completion", from_completion(completion, verb))):
            mine = {name for _, name in told} if what == "completion" else told
            for missing in sorted(mine - other):
                print(f"{verb}: {missing} is in --help, not in the {what}")
                bad = 1
            for extra in sorted(other - mine):
                print(f"{verb}: {extra} is in the {what}, not in --help")
                bad = 1
        if ("h", "help") not in told or len(told) < 1:
            print(f"{verb}: --help lists no options")
            bad = 1
    print("options: different" if bad else f"options: {len(VERBS)} verbs agree")
    return bad


if __name__ == "__main__":
    sys.exit(main())
