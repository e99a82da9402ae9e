#!/usr/bin/env bash
# Sees to it that PostgreSQL's server programs are installed, for a private
# Postgres and for the tests. Silent if they are; else it installs Debian's
# package, or says what to install and fails.
#
# It looks where internal/localpg looks: keep the two alike. The oldest version
# that will do is oldestMajor there.
set -euo pipefail

oldest_major=13
createcluster_conf=/etc/postgresql-common/createcluster.conf

# is_server DIR: does it hold postgres and initdb of a version that will do?
is_server() {
  local version
  [[ -x $1/postgres && -x $1/initdb ]] || return 1
  version=$("$1/postgres" --version 2>/dev/null) || return 1
  [[ $version =~ \(PostgreSQL\)\ ([0-9]+) ]] && ((BASH_REMATCH[1] >= oldest_major))
}

# resolve FILE: prints where its links lead to. macOS had no readlink -f for long.
resolve() {
  local file=$1 target
  while [[ -L $file ]]; do
    target=$(readlink "$file")
    [[ $target == /* ]] || target=$(dirname "$file")/$target
    file=$target
  done
  printf '%s\n' "$file"
}

have_server() {
  local dir
  local -a path
  if [[ -n ${PG_BINDIR:-} ]]; then
    is_server "$PG_BINDIR"
    return
  fi
  IFS=: read -r -a path <<<"$PATH"
  for dir in "${path[@]}"; do
    if [[ -x $dir/postgres ]] && is_server "$(dirname "$(resolve "$dir/postgres")")"; then return 0; fi
    if [[ -x $dir/pg_config ]] && is_server "$("$dir/pg_config" --bindir 2>/dev/null)"; then return 0; fi
  done
  for dir in \
    /usr/lib/postgresql/*/bin \
    /usr/pgsql-*/bin \
    /usr/libexec/postgresql* \
    /opt/homebrew/opt/postgresql*/bin \
    /usr/local/opt/postgresql*/bin \
    /Applications/Postgres.app/Contents/Versions/*/bin; do
    if is_server "$dir"; then return 0; fi
  done
  return 1
}

# Debian's package would make and start a server for the whole machine, which
# nobody asked for. Whoever has that file has decided already.
forbid_main_cluster() {
  "$@" mkdir -p "$(dirname "$createcluster_conf")"
  echo 'create_main_cluster = false' | "$@" tee "$createcluster_conf" >/dev/null
}

# apt_install [sudo -n]: installs the package, saying only what went wrong.
apt_install() {
  local log status=0
  log=$(mktemp)
  echo "Installing PostgreSQL (apt-get install postgresql) ..." >&2
  [[ -e $createcluster_conf ]] || forbid_main_cluster "$@"
  {
    "$@" apt-get -qq update &&
      "$@" env DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1 \
        apt-get -qq -y --no-install-recommends install postgresql
  } >"$log" 2>&1 </dev/null || status=$?
  if ((status != 0)); then tail -n 20 "$log" >&2; fi
  rm -f "$log"
  return "$status"
}

say_what_to_install() {
  cat >&2 <<TEXT
No PostgreSQL server (version $oldest_major or newer) is installed. Install it with one of

  Debian, Ubuntu:  sudo apt-get install postgresql
  Fedora, RHEL:    sudo dnf install postgresql-server
  macOS:           brew install postgresql

or set PG_BINDIR to the folder that holds postgres and initdb.
TEXT
}

main() {
  if have_server; then return 0; fi
  if [[ -z ${PG_BINDIR:-} ]] && command -v apt-get >/dev/null; then
    local -a as_root=()
    if ((EUID != 0)); then as_root=(sudo -n); fi
    # The expansion is for bash before 4.4, to which an empty array is unset.
    if { ((EUID == 0)) || sudo -n true 2>/dev/null; } &&
      apt_install ${as_root[@]+"${as_root[@]}"} && have_server; then
      return 0
    fi
  fi
  say_what_to_install
  return 1
}

main
