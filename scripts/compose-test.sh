#!/usr/bin/env bash
# Shows that the image and docker-compose.yml keep flowkeep's promise: every
# response that was answered with 200 is in Postgres.
#
#   scripts/compose-test.sh single   2,000 responses; the database away for 20 s under load
#   scripts/compose-test.sh scale    three replicas behind the proxy, one killed under load
#
# It needs a Docker engine, docker compose (v2 or 1.29) and bin/flowkeep. All
# that it starts has a name of its own and is taken down again.
set -euo pipefail
cd "$(dirname "$0")/.."

mode=${1:?single or scale}
rate=${RATE:-100} # deliveries a second while something is broken
export COMPOSE_PROJECT_NAME=flowkeep-test-$$
export KAPSO_WEBHOOK_SECRET=compose-test META_APP_SECRET='' KAPSO_WEBHOOK_SECRET_FILE=''
export FLOWKEEP_IMAGE=flowkeep:test VERSION=${VERSION:-test}
export FLOWKEEP_PUBLISH=127.0.0.1:${TEST_PORT:-18080} FLOWKEEP_SCALE_PUBLISH=127.0.0.1:${TEST_SCALE_PORT:-18081}

if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi
if [[ $mode == scale ]]; then compose+=(--profile scale); fi
scratch=$(mktemp -d)

clean_up() {
  local status=$?
  if ((status != 0)); then "${compose[@]}" logs --no-color --tail=20 || true; fi
  "${compose[@]}" down --volumes >/dev/null 2>&1 || true
  rm -rf "$scratch"
  exit "$status"
}
trap clean_up EXIT

say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }

# quietly COMMAND...: shows what it printed only if it fails.
quietly() { "$@" >"$scratch/out" 2>&1 || { cat "$scratch/out" >&2; fail "$*"; }; }

# within SECONDS WHAT COMMAND...: polls until the command succeeds.
within() {
  local limit=$1 what=$2
  local deadline=$((SECONDS + limit))
  shift 2
  until "$@"; do
    ((SECONDS < deadline)) || fail "not within $limit s: $what"
    sleep 0.2
  done
}

is_ready() { [[ $(curl -s -m 3 -o /dev/null -w '%{http_code}' "$1/readyz") == 200 ]]; }
spool_is_empty() { curl -s -m 3 "$1/readyz" | grep -q '"database":"ok".*"records":0[,}]'; }
container() { "${compose[@]}" ps -q "$1"; }
rows() { "${compose[@]}" exec -T db psql -XAt -U flowkeep -c 'SELECT count(*) FROM flow_responses' | tr -d '\r'; }

# send URL COUNT [FLAGS]: every response must be acknowledged in the end.
send() {
  local url=$1 count=$2
  shift 2
  bin/flowkeep simulate --url "$url" --secret "$KAPSO_WEBHOOK_SECRET" --mix responses --count "$count" "$@"
}

expect_rows() {
  local have
  have=$(rows)
  [[ $have == "$1" ]] || fail "$have rows, acknowledged were $1"
  say "$have responses acknowledged, $have rows"
}

check_image() {
  local size limits
  size=$(docker image inspect -f '{{.Size}}' "$FLOWKEEP_IMAGE")
  ((size < 20000000)) || fail "the image has $size bytes"
  limits=$(docker inspect -f '{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.Config.User}}' "$(container flowkeep)")
  [[ $limits == 'true [ALL] 65532:65532' ]] || fail "runs with $limits"
  say "image of $((size / 1000000)) MB, read-only, no capabilities, user 65532"
  if docker run --rm --read-only --cap-drop ALL "$FLOWKEEP_IMAGE" >"$scratch/bare" 2>&1; then fail "runs without DATABASE_URL"; fi
  [[ $(wc -l <"$scratch/bare") == 1 ]] && grep -q 'set DATABASE_URL' "$scratch/bare" || fail "without DATABASE_URL: $(cat "$scratch/bare")"
  say "without DATABASE_URL it says what to set"
}

bring_up() {
  quietly "${compose[@]}" build
  say "built"
  quietly "${compose[@]}" up -d
  within 120 "$1 is ready" is_ready "$1"
  say "up and ready on $1"
}

test_single() {
  local url=http://$FLOWKEEP_PUBLISH
  bring_up "$url"
  check_image
  within 60 "Docker's own health check passes" eval '[[ $(docker inspect -f "{{.State.Health.Status}}" "$(container flowkeep)") == healthy ]]'

  send "$url" 2000 >"$scratch/report"
  expect_rows 2000

  # Deliveries go on for 40 s; the database is away for 20 of them.
  send "$url" $((rate * 40)) --rate "$rate" --retry >"$scratch/report" & local sender=$!
  sleep 8
  quietly "${compose[@]}" stop -t 10 db
  say "database stopped: $(curl -s -m 3 "$url/readyz" | grep -o '"status":"[a-z]*"' | head -1)"
  sleep 20
  quietly "${compose[@]}" start db
  say "database started"
  wait "$sender" || { cat "$scratch/report"; fail "deliveries were given up"; }
  grep -E '^(accepted|items)' "$scratch/report"
  within 60 "the spool drains" spool_is_empty "$url"
  expect_rows $((2000 + rate * 40))
}

test_scale() {
  local url=http://$FLOWKEEP_SCALE_PUBLISH
  bring_up "$url"
  send "$url" 500 >"$scratch/report"
  expect_rows 500

  send "$url" $((rate * 30)) --rate "$rate" --retry >"$scratch/report" & local sender=$!
  sleep 5
  quietly docker kill -s KILL "$(container flowkeep-2)"
  say "flowkeep-2 killed"
  sleep 5
  # The database away as well: what the others spool, each drains from its own volume.
  quietly "${compose[@]}" stop -t 10 db
  sleep 5
  # A replica that dies with a full spool loses nothing of it.
  quietly docker kill -s KILL "$(container flowkeep-3)"
  say "database stopped and flowkeep-3 killed"
  quietly "${compose[@]}" start db
  wait "$sender" || { cat "$scratch/report"; fail "deliveries were given up"; }
  grep -E '^(accepted|items)' "$scratch/report"
  quietly "${compose[@]}" start flowkeep-2 flowkeep-3
  within 60 "the spools drain" eval '[[ $(rows) == '$((500 + rate * 30))' ]]'
  expect_rows $((500 + rate * 30))
}

case $mode in
  single) test_single ;;
  scale) test_scale ;;
  *) fail "single or scale, not $mode" ;;
esac
