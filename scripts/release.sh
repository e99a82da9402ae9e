#!/usr/bin/env bash
# scripts/release.sh DIR: builds an archive for each platform and SHA256SUMS
# into DIR. The same commit and the same Go give the same bytes, wherever and
# whenever: release-check.sh shows it.
set -euo pipefail
out=${1:?folder to write to}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/.."
export LC_ALL=C TZ=UTC
version=${VERSION:-$(git describe --tags --always --dirty)}
moment=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
tar=tar
if command -v gtar >/dev/null; then tar=gtar; fi # macOS's own cannot sort

rm -f "$out"/flowkeep_*.tar.gz "$out/SHA256SUMS"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
for platform in ${PLATFORMS:-linux/amd64 linux/arm64 darwin/arm64}; do
  name=flowkeep_${version}_${platform/\//_}
  mkdir -p "$scratch/$name"
  CGO_ENABLED=0 GOOS=${platform%/*} GOARCH=${platform#*/} GOFLAGS='' GOAMD64=v1 GOARM64=v8.0 \
    "${GO:-go}" build -trimpath -buildvcs=false -ldflags "-s -w -buildid= -X main.version=$version" -o "$scratch/$name/flowkeep" ./cmd/server
  cp README.md CHANGELOG.md contrib/flowkeep.service "$scratch/$name/"
  chmod 644 "$scratch/$name"/*
  chmod 755 "$scratch/$name" "$scratch/$name/flowkeep"
  "$tar" -C "$scratch" --sort=name --format=ustar --mtime="@$moment" --owner=0 --group=0 --numeric-owner -c "$name" |
    gzip -9n >"$out/$name.tar.gz"
done
cd "$out"
if command -v sha256sum >/dev/null; then sum=(sha256sum); else sum=(shasum -a 256); fi
"${sum[@]}" flowkeep_*.tar.gz >SHA256SUMS
cat SHA256SUMS
