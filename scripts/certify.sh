#!/bin/sh
# This program's own certificate: a server with each model is driven through memory, concurrency and
# endurance, and the report is written in both languages, with the data it was made from.
# usage: certify.sh OTOLITH FOLDER MODEL... ; JOBS (1000), HOURS (3), AT_ONCE (64) and AUDIO (recordings,
# separated by blanks) may be set.
set -eu
otolith=$1 folder=$2
shift 2
jobs=${JOBS:-1000} hours=${HOURS:-3} at_once=${AT_ONCE:-64}
audio=${AUDIO:-"$OTO_TEST_DATA/en20.wav tests/data/en/prompts.ogg"}
work=$(mktemp -d "${TMPDIR:-/tmp}/otolith-certify.XXXXXX")
server=

stop() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null; wait "$server" || true; }
    server=
}
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

start() {
    "$otolith" serve --listen 127.0.0.1:0 --data "$work/$1" -m "$1" 2>"$work/$1.log" &
    server=$!
    for _ in $(seq 300); do
        url=$(sed -n 's/.*listening on \(http[^ ]*\).*/\1/p' "$work/$1.log")
        [ -n "$url" ] && curl -sf "$url/health/ready" >/dev/null && return
        kill -0 "$server"
        sleep 0.1
    done
    cat "$work/$1.log" >&2
    exit 1
}

status=0
for model in "$@"; do
    out=$folder/$model
    mkdir -p "$out"
    rm -f "$out"/*
    start "$model"
    set --
    for file in $audio; do set -- "$@" --audio "$file"; done
    "$otolith" stress --url "$url" "$@" --jobs "$jobs" --hours "$hours" --max-concurrency "$at_once" \
        --timeout 3600 --settle 0.2 --out "$out/jobs.jsonl" --csv "$out/processes.csv" || status=$?
    stop
    "$otolith" report --jsonl "$out/jobs.jsonl" --csv "$out/processes.csv" --out "$out"
    gzip -9n "$out/jobs.jsonl" "$out/processes.csv"
done
exit $status
