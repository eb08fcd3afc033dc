#!/bin/sh
# otolith and its peers in turn on the same recordings, weights and threads: peers.py's arguments are
# passed on; with --clips as the first those of clips.py. The peers live in a virtual environment of their own, BENCH_VENV (default build/peers),
# which is made when it is not there.
set -eu
cd "$(dirname "$0")/../.."
venv=${BENCH_VENV:-build/peers}
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
if ! "$venv/bin/python" -c 'import faster_whisper' 2>/dev/null; then
    echo "run.sh: installing the peers into $venv"
    "$venv/bin/python" -m pip install -q -r bench/peers/requirements.txt
fi
what=peers
if [ "${1:-}" = --clips ]; then
    what=clips
    shift
fi
exec "$venv/bin/python" "bench/peers/$what.py" "$@"
