#!/bin/sh
# The main job, as a user would do it: start the server with its embedded queue, submit a real
# recording through the REST API, follow its progress, print the transcript and the job's memory
# record, stop. usage: demo.sh OTOLITH MODEL RECORDING [LANGUAGE]
set -eu
otolith=$1 model=$2 recording=$3 language=${4:-}
data=$(mktemp -d "${TMPDIR:-/tmp}/otolith-demo.XXXXXX")
server=

finish() {
    status=$?
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" || status=$?
    fi
    [ $status -eq 0 ] || cat "$data/log"
    rm -rf "$data"
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; }
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

say "otolith serve -m $model"
"$otolith" serve --listen 127.0.0.1:0 --data "$data/data" -m "$model" 2>"$data/log" &
server=$!
for _ in $(seq 300); do
    url=$(sed -n 's/.*listening on \(http[^ ]*\).*/\1/p' "$data/log")
    [ -n "$url" ] && curl -sf "$url/health/ready" >/dev/null && break
    kill -0 "$server"
    sleep 0.1
done
echo "ready at $url"

say "curl -F audio=@$recording '$url/api/v1/asr/submit?language=$language'"
reply=$(curl -sS -F "audio=@$recording" "$url/api/v1/asr/submit?language=$language")
echo "$reply"
task=$(echo "$reply" | field task_id)

say "curl -N $url/api/v1/jobs/$task/events"
curl -sSN "$url/api/v1/jobs/$task/events" | python3 -c '
import json, sys
for line in sys.stdin:
    if not line.startswith("data: "):
        continue
    e = json.loads(line[6:])
    if e["type"] == "segment":
        print("  %7.2f  %s" % (e["start_ms"] / 1000, e["text"].strip()), flush=True)
    else:
        print("  [%3.0f %%] %s" % (100 * e["fraction"], e["state"]), flush=True)'

say "curl $url/api/v1/asr/result/$task"
curl -sS "$url/api/v1/asr/result/$task" | python3 -c '
import json, sys
r = json.load(sys.stdin)
m = r["memory"]
print(r["text"])
print()
print("%s: %.1f s of sound in %.2f s (RTF %.4f), language %s" %
      (r["status"], r["duration"], r["processing_time"], r["rtf"], r["language"]))
print("worker memory: %.1f MB before, %.1f after (%+.1f), peak %.1f; decoder peak %.1f" %
      (m["before_mb"], m["after_mb"], m["delta_mb"], m["peak_mb"], m["decoder_peak_mb"]))
sys.exit(r["status"] != "done")'

say "kill $server"
kill "$server"
wait "$server"
server=
echo "stopped"
