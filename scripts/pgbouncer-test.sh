#!/usr/bin/env bash
# Shows that flowkeep works through pgbouncer in transaction mode: Debian 12's
# 1.18, which knows no prepared statements, with cache_describe; and a newer one
# with and without. Needs a Docker engine and bin/flowkeep.
set -euo pipefail
cd "$(dirname "$0")/.."

name=flowkeep-pgbouncer-$$
scratch=$(mktemp -d)
server=

clean_up() {
  local status=$?
  if [[ -n $server ]]; then kill "$server" 2>/dev/null || true; fi
  docker rm -f -v "$name-db" "$name-pool" >/dev/null 2>&1 || true
  docker network rm "$name" >/dev/null 2>&1 || true
  rm -rf "$scratch"
  exit "$status"
}
trap clean_up EXIT

say() { printf '%4d s  %s\n' "$SECONDS" "$*"; }
fail() { echo "FAILED: $*" >&2; exit 1; }
sql() { docker exec "$name-db" psql -XAt -U postgres -d "${2:-postgres}" -c "$1"; }

# within SECONDS WHAT COMMAND...: polls until the command succeeds.
within() {
  local deadline=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    ((SECONDS < deadline)) || fail "$what"
    sleep 0.2
  done
}

start_database() {
  docker network create "$name" >/dev/null
  docker run -d --name "$name-db" --network "$name" --network-alias db \
    -e POSTGRES_PASSWORD=test "${POSTGRES_IMAGE:-postgres:17-alpine}" >/dev/null
  within 60 "no database" docker exec "$name-db" pg_isready -q -h 127.0.0.1
  sql "CREATE ROLE flowkeep LOGIN PASSWORD 'flowkeep'" >/dev/null
}

# start_pool SUITE: a fresh database behind the pgbouncer of a Debian release.
start_pool() {
  docker rm -f "$name-pool" >/dev/null 2>&1 || true
  docker build -q --build-arg SUITE="$1" -t "flowkeep-pgbouncer:$1" contrib/pgbouncer >"$scratch/build" 2>&1 || { cat "$scratch/build"; fail "no image"; }
  sql 'DROP DATABASE IF EXISTS flowkeep' >/dev/null 2>&1
  sql "CREATE DATABASE flowkeep OWNER flowkeep TEMPLATE template0 ENCODING 'UTF8'" >/dev/null
  docker run -d --name "$name-pool" --network "$name" -p 127.0.0.1::6432 "flowkeep-pgbouncer:$1" >/dev/null
  port=$(docker port "$name-pool" 6432/tcp | head -1)
  port=${port##*:}
  within 20 "no pgbouncer" bash -c "exec 3<>/dev/tcp/127.0.0.1/$port"
  say "$(docker exec "$name-pool" pgbouncer --version | head -1)"
}

serve() {
  DATABASE_URL="postgres://flowkeep:flowkeep@127.0.0.1:$port/flowkeep?sslmode=disable$1" \
    KAPSO_WEBHOOK_SECRET=test FLOWKEEP_ADDR=127.0.0.1:18090 FLOWKEEP_DATA_DIR=$scratch/data$RANDOM \
    exec bin/flowkeep serve 2>"$scratch/log"
}

# check MODE: migrate, 2,000 responses by 32 senders, each of them in a row.
check() {
  local mode=$1 rows
  serve "$mode" & server=$!
  within 30 "not ready: $(tail -3 "$scratch/log")" bin/flowkeep health --url http://127.0.0.1:18090
  bin/flowkeep simulate --url http://127.0.0.1:18090 --secret test --mix responses --count 2000 --concurrency 32 >"$scratch/report" ||
    { cat "$scratch/report"; fail "not all were acknowledged"; }
  grep -q '2000 stored, 0 duplicate, 0 ignored, 0 quarantined, 0 spooled' "$scratch/report" || { cat "$scratch/report"; fail "not all went straight to the database"; }
  kill "$server" && wait "$server" || fail "the end: $(tail -3 "$scratch/log")"
  server=
  rows=$(sql 'SELECT count(*) FROM flow_responses' flowkeep)
  [[ $rows == 2000 ]] || fail "$rows rows"
  sql 'TRUNCATE flow_responses' flowkeep >/dev/null
  say "${mode:-without options}: 2000 responses acknowledged, $rows rows"
}

start_database
start_pool bookworm
if (serve '&default_query_exec_mode=cache_describe'); then fail "runs although nothing sets the timeouts"; fi
grep -q 'ALTER ROLE' "$scratch/log" || fail "does not say what the role needs: $(tail -3 "$scratch/log")"
say "a role without the settings is refused"
sql "ALTER ROLE flowkeep SET synchronous_commit = on; ALTER ROLE flowkeep SET lock_timeout = '2s'; ALTER ROLE flowkeep SET statement_timeout = '3s'" >/dev/null
start_pool bookworm
check '&default_query_exec_mode=cache_describe'
start_pool trixie
check '&default_query_exec_mode=cache_describe'
check ''
