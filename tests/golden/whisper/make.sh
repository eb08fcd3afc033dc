#!/bin/sh
# Makes tokens.jsonl: what faster-whisper samples (float32) on windows of the test recordings.
# Needs a Python with faster-whisper, and what scripts/test_data.sh and `otolith models pull` make.
#
#   PYTHON=python3 tests/golden/whisper/make.sh > tests/golden/whisper/tokens.jsonl
set -eu
cd "$(dirname "$0")/../../.."
models=${OTO_TEST_MODELS:-models} data=${OTO_TEST_DATA:-build/testdata}
tokens() {
    name=$1
    shift
    "${PYTHON:-python3}" tests/reference/whisper_tokens.py "$models/$name/source" --name "$name" "$@"
}
tokens whisper-tiny.en "$data/en.wav" --first 6
tokens whisper-tiny.en "$data/en.wav" --first 2 --beam 5
tokens whisper-base "$data/es.wav" "$data/fr.wav" "$data/it.wav" "$data/ru.wav" --first 1
