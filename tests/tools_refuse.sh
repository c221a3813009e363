#!/usr/bin/env bash
# The tools refuse what they do not know, in one sentence and with exit code 1.
#   tools_refuse.sh REPOSITORY
set -euo pipefail
cd "$1"

refuses() {  # refuses WORDS COMMAND…
  local words=$1 text code=0
  shift
  text=$("$@" 2>&1) || code=$?
  if [ "$code" -ne 1 ] || [[ $text != *"$words"* ]] || [ "$(wc -l <<<"$text")" -ne 1 ]; then
    printf '%s: expected exit code 1 and one line with "%s"; got %s and\n%s\n' \
      "$*" "$words" "$code" "$text"
    exit 1
  fi
}
refuses "expected a preset" tools/build fast
if [ ! -e /dev/nvidia0 ]; then refuses "no GPU" tools/test --cuda; fi
refuses "expected --sanitize" tools/test --everything
refuses "expected nothing or --check" tools/format all
refuses "expected a data set" tools/download_data moon
refuses "expected no argument" tools/carry_deps all
for tool in build test format demo download_data carry_deps; do
  tools/$tool --help | grep -q "^tools/$tool" || { echo "tools/$tool --help says nothing"; exit 1; }
done
