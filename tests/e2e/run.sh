#!/bin/sh
# Runs pytest on the given program: run.sh OTOLITH [pytest's arguments]. Exits with 77 (skipped) when
# no Python with pytest is at hand: $OTO_TEST_PYTHON, build/venv (made by `make test`), python3.
set -u
cd "$(dirname "$0")/../.."
OTOLITH=$1
export OTOLITH
shift
for python in "${OTO_TEST_PYTHON:-}" build/venv/bin/python python3; do
    [ -n "$python" ] && "$python" -c 'import pytest' 2>/dev/null || continue
    "$python" -m pytest -q -rs -p no:cacheprovider "$@"
    status=$?
    [ $status -ne 5 ] || status=77 # no test was selected
    exit $status
done
echo "skipped: no pytest (make test sets one up)"
exit 77
