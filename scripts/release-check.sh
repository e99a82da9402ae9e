#!/usr/bin/env bash
# Builds the release in two copies of this tree, at different paths and without
# a shared build cache, and compares the bytes.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
VERSION=${VERSION:-$(git describe --tags --always --dirty)}
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
export VERSION SOURCE_DATE_EPOCH

for place in one a/longer/path; do
  mkdir -p "$scratch/$place"
  git ls-files -co --exclude-standard -z | tar --null -T - -c | tar -C "$scratch/$place" -x
  (umask "$([[ $place == one ]] && echo 022 || echo 077)" &&
    GOCACHE=$scratch/cache-${place//\//-} "$scratch/$place/scripts/release.sh" "$scratch/$place/out" >"$scratch/${place//\//-}.sums")
done
cat "$scratch/one.sums"
cmp "$scratch/one/out/SHA256SUMS" "$scratch/a/longer/path/out/SHA256SUMS"
(cd "$scratch/a/longer/path/out" && for f in *.tar.gz; do cmp "$f" "$scratch/one/out/$f"; done)
echo "two builds, the same bytes"
