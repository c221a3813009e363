#!/usr/bin/env bash
# How long the quickstart takes to compile, in both forms, against what the README promises.
#   compile_time.sh quickstart.cpp COMPILER [FLAG…]
# Processor seconds are judged: other work on the machine must not fail the test.
set -euo pipefail
source=$1
shift
object=$(mktemp)
trap 'rm -f "$object"' EXIT

bad=0
measure() {  # measure FORM BUDGET FLAG…
  local form=$1 budget=$2 seconds
  shift 2
  TIMEFORMAT='%U %S'
  seconds=$({ time "$@" -O2 -c "$source" -o "$object" 1>&2; } 2>&1 | tail -n 1)
  seconds=$(awk '{ printf "%.1f", $1 + $2 }' <<<"$seconds")
  echo "quickstart.cpp with flr::$form, -O2: $seconds s (budget $budget s)"
  if awk "BEGIN { exit !($seconds > $budget) }"; then bad=1; fi
}
measure header_only 25 "$@"
measure flr 5 "$@" -DFLR_COMPILED
exit $bad
