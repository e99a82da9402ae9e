#!/usr/bin/env bash
# Shows that an upgrade can roll: the release before this one (the newest tag,
# else the first commit; OLD=ref chooses) works on today's schema, started after
# it, beside today's binary, and each knows what the other has stored.
set -euo pipefail
cd "$(dirname "$0")/.."

old=${OLD:-$(git tag --merged HEAD --no-contains HEAD --sort=-version:refname | head -1)}
old=${old:-$(git rev-list --max-parents=0 HEAD | tail -1)}
scratch=$(mktemp -d)
chmod 711 "$scratch" # as root, the private Postgres runs under another user
servers=()

clean_up() {
  local status=$?
  for s in ${servers[@]+"${servers[@]}"}; do kill "$s" 2>/dev/null || true; done
  wait
  rm -rf "$scratch"
  exit "$status"
}
trap clean_up EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

# start NAME BINARY PORT [DATABASE_URL]
start() {
  DATABASE_URL=${4:-} KAPSO_WEBHOOK_SECRET=test FLOWKEEP_ADDR=127.0.0.1:$3 FLOWKEEP_DATA_DIR=$scratch/$1 \
    "$2" serve >"$scratch/$1.out" 2>"$scratch/$1.log" &
  servers=($! "${servers[@]+"${servers[@]}"}")
  for _ in $(seq 150); do
    if bin/flowkeep health --url "http://127.0.0.1:$3" >/dev/null 2>&1; then return 0; fi
    kill -0 $! 2>/dev/null || break
    sleep 0.2
  done
  fail "$1 does not start: $(tail -3 "$scratch/$1.log")"
}

# send PORT SEED WHAT: 500 responses, of which the answers must say WHAT.
send() {
  bin/flowkeep simulate --url "http://127.0.0.1:$1" --secret test --mix responses --count 500 --seed "$2" >"$scratch/report" &&
    grep -q "$3" "$scratch/report" || { cat "$scratch/report"; fail "port $1 does not answer: $3"; }
}

mkdir "$scratch/source"
git archive "$old" | tar -x -C "$scratch/source"
(cd "$scratch/source" && CGO_ENABLED=0 "${GO:-go}" build -buildvcs=false -o "$scratch/flowkeep-old" ./cmd/server)

start today bin/flowkeep 18091
psql=$(sed -n 's/^ *\(.*psql -h .*\)$/\1/p' "$scratch/today.out")
socket=$(sed 's/.*-h \([^ ]*\).*/\1/' <<<"$psql")
start yesterday "$scratch/flowkeep-old" 18092 "host=$socket user=flowkeep dbname=flowkeep"

send 18091 1 '500 stored, 0 duplicate'
send 18092 2 '500 stored, 0 duplicate'
send 18091 2 '0 stored, 500 duplicate'
send 18092 1 '0 stored, 500 duplicate'
rows=$($psql -XAtc 'SELECT count(*) FROM flow_responses')
[[ $rows == 1000 ]] || fail "$rows rows"
echo "$(git describe --always "$old") and $(bin/flowkeep version) on one schema: $rows responses sent to each of them twice, $rows rows"
