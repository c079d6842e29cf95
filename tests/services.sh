#!/usr/bin/env bash
# The services tier: the real binary against real servers. See services/README.md.
#
#   tests/services.sh [all]            fetch, then run
#   tests/services.sh fetch            have everything ready under .cache/services
#   tests/services.sh run [ARGS...]    run the scenarios; ARGS go to pytest (-k chart, -x ...)
#   tests/services.sh chaos [--minutes N] [--seed S] [ARGS...]
#                                      run the chaos test alone, with N minutes of harm for each of its clusters
#
# The binary is $DRIFTLINE_BIN, else target/debug/driftline as `cargo test` leaves it.
# A component that cannot be had fails the run; nothing is skipped.
set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
here=$top/tests/services
cache=$top/.cache/services
mkdir -p "$cache/log"

say() { printf 'services: %s\n' "$*"; }
die() { printf 'services: %s\n' "$*" >&2; exit 1; }

# Whether a thing was already fetched from exactly these inputs: `fresh NAME FILE...`.
digest() { cat "$@" | sha256sum | cut -d' ' -f1; }
fresh() { local name=$1; shift; [[ -f $cache/$name.stamp && $(<"$cache/$name.stamp") == $(digest "$@") ]]; }
stamp() { local name=$1; shift; digest "$@" >"$cache/$name.stamp"; }

# Debian's packages: a browser, a scraper, a mail server. Command, and the package it comes from.
debian=(prometheus:prometheus promtool:prometheus chromium:chromium
        chromedriver:chromium-driver postfix:postfix java:openjdk-17-jre-headless mvn:maven openssl:openssl)

fetch_debian() {
  local entry missing=()
  for entry in "${debian[@]}"; do
    PATH=$PATH:/usr/sbin command -v "${entry%%:*}" >/dev/null || missing+=("${entry##*:}")
  done
  [[ ${#missing[@]} -eq 0 ]] && return 0
  command -v apt-get >/dev/null || { echo "install these by your own means: ${missing[*]}"; return 1; }
  [[ $(id -u) -eq 0 ]] || { echo "not root; install these first: apt-get install ${missing[*]}"; return 1; }
  export DEBIAN_FRONTEND=noninteractive
  # A server that the package manager starts by itself would take ports and outlive the tests.
  local policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
    # shellcheck disable=SC2064
    trap "rm -f $policy" EXIT
  fi
  apt-get update -q
  apt-get install -y -q --no-install-recommends -o DPkg::Lock::Timeout=600 "${missing[@]}"
}

fetch_python() {
  fresh python "$here/requirements.txt" && [[ -x $cache/venv/bin/pytest ]] && return 0
  rm -rf "$cache/venv"
  python3 -m venv "$cache/venv"
  "$cache/venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  stamp python "$here/requirements.txt"
}

fetch_kafka() {
  fresh kafka "$here/kafka/pom.xml" && return 0
  rm -rf "$cache/kafka"
  nice -n 10 mvn -B -q -f "$here/kafka/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$cache/kafka"
  stamp kafka "$here/kafka/pom.xml"
}

fetch_collector() {
  local inputs=("$here/collector/main.go" "$here/collector/go.mod" "$here/collector/go.sum")
  fresh collector "${inputs[@]}" && [[ -x $cache/collector ]] && return 0
  # Debian's own Go is too old to be installed for this.
  command -v go >/dev/null || { echo "install Go 1.25 or later first"; return 1; }
  (cd "$here/collector" && GOTOOLCHAIN=local GOFLAGS=-mod=readonly nice -n 10 go build -trimpath -ldflags='-s -w' -o "$cache/collector" .)
  stamp collector "${inputs[@]}"
}

# One part, its output to a log, with a second try: registries have bad minutes.
part() {
  local name=$1 log=$cache/log/fetch-$1.log started=$SECONDS
  # In a shell of its own: within a condition bash would go on after the first command that fails.
  if bash "$here.sh" "fetch_$name" >"$log" 2>&1 || { sleep 5; bash "$here.sh" "fetch_$name" >>"$log" 2>&1; }; then
    say "fetched $name in $((SECONDS - started)) s"
  else
    tail -n 30 "$log" >&2
    say "cannot fetch $name; all of it is in ${log#"$top"/}" >&2
    return 1
  fi
}

fetch() {
  exec 9>"$cache/fetch.lock"
  flock 9
  # The package manager first: it may bring the tools that the others need.
  part debian
  local pids=() pid failed=0
  part python & pids+=($!)
  part kafka & pids+=($!)
  part collector & pids+=($!)
  for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
  exec 9>&-
  [[ $failed -eq 0 ]] || die "not everything could be fetched"
}

run() {
  local bin=${DRIFTLINE_BIN:-${CARGO_TARGET_DIR:-$top/target}/debug/driftline}
  [[ -x $cache/venv/bin/pytest ]] || die "run 'tests/services.sh fetch' first"
  export DRIFTLINE_BIN=$bin SERVICES_CACHE=$cache
  export PATH=$cache/venv/bin:$PATH:/usr/sbin
  export PYTHONDONTWRITEBYTECODE=1
  # Every server is a child of pytest and dies with it, so one process is all there is to stop.
  "$cache/venv/bin/pytest" -c "$here/pytest.ini" "$here" "$@" </dev/null &
  local pid=$! status=0
  # shellcheck disable=SC2064
  trap "kill -TERM $pid 2>/dev/null; wait $pid" EXIT
  trap 'exit 143' TERM
  trap 'exit 130' INT
  wait "$pid" || status=$?
  trap - EXIT
  return "$status"
}

chaos() {
  while [[ $# -gt 0 ]]; do
    case $1 in
      --minutes | --seed)
        [[ ${2-} =~ ^[0-9]+(\.[0-9]+)?$ ]] || die "$1 wants a number"
        if [[ $1 == --minutes ]]; then export CHAOS_MINUTES=$2; else export CHAOS_SEED=$2; fi
        shift 2
        ;;
      *) break ;;
    esac
  done
  run -s -k test_chaos "$@"
}

command=${1:-all}
[[ $# -eq 0 ]] || shift
case $command in
  fetch) fetch ;;
  fetch_debian | fetch_python | fetch_kafka | fetch_collector) "$command" ;;
  run) run "$@" ;;
  chaos) fetch; chaos "$@" ;;
  all) fetch; run "$@" ;;
  *) die "unknown command '$command'; it is one of fetch, run, chaos, all" ;;
esac
