#!/bin/sh
# Runs the libFuzzer targets of a build for some seconds each. New finds stay in BUILD/corpus/NAME;
# crashes are written to the current folder, with the command that repeats them.
#
#   [FUZZ=name] scripts/fuzz.sh BUILD SECONDS
set -eu
build=$1
seconds=$2
status=0
for target in "$build"/tests/*_fuzz; do
    [ -x "$target" ] || continue
    name=$(basename "$target" _fuzz)
    [ -z "${FUZZ:-}" ] || [ "$FUZZ" = "$name" ] || continue
    mkdir -p "$build/corpus/$name"
    seeds=tests/fuzz/corpus/$name
    [ -d "$seeds" ] || seeds=""
    echo "== $name, $seconds s"
    # shellcheck disable=SC2086
    "$target" -max_total_time="$seconds" -rss_limit_mb=4096 -timeout=20 -print_final_stats=1 \
        "$build/corpus/$name" $seeds 2>"$build/$name.log" || status=1
    grep -E "ERROR|SUMMARY|number_of_executed_units|Test unit written" "$build/$name.log" || true
done
exit $status
