#!/usr/bin/env bash
# How long the quickstart takes to compile, in both forms, against what the README promises.
#   compile_time.sh quickstart.cpp COMPILER [FLAG…]
# The processor seconds are printed, beside their budgets: a test does not judge time, and does not fail
# on a slow or busy machine. What fails is a quickstart that does not compile.
set -euo pipefail
source=$1
shift
object=$(mktemp)
trap 'rm -f "$object"' EXIT

measure() {  # measure FORM BUDGET FLAG…
  local form=$1 budget=$2 seconds
  shift 2
  TIMEFORMAT='%U %S'
  rm -f "$object"
  seconds=$({ time "$@" -O2 -c "$source" -o "$object" 1>&2; } 2>&1 | tail -n 1)
  [ -s "$object" ] || { echo "quickstart.cpp does not compile with flr::$form"; exit 1; }
  seconds=$(awk '{ printf "%.1f", $1 + $2 }' <<<"$seconds")
  echo "quickstart.cpp with flr::$form, -O2: $seconds s (budget $budget s)"
  if awk "BEGIN { exit !($seconds > $budget) }"; then echo "  over budget on this machine"; fi
}
measure header_only 25 "$@"
measure flr 5 "$@" -DFLR_COMPILED -DFLR_COMPILED_MODELS
