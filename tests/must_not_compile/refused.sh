#!/usr/bin/env bash
# A mistake must be refused, and the first error must say what is wrong.
#   refused.sh FILE.cpp COMPILER [FLAG…]
# Lines `// expect: words` in the file name what the first error has to contain. Everything between
# `#ifdef MISTAKE` and `#endif` is the mistake: without it the file compiles, which proves that the
# mistake alone is refused.
set -euo pipefail
export LC_ALL=C
file=$1
shift
compile=("$@" -DFLR_COMPILED -fsyntax-only)

if ! "${compile[@]}" "$file"; then
  echo "$file must compile when MISTAKE is not defined"
  exit 1
fi
if messages=$("${compile[@]}" -DMISTAKE "$file" 2>&1); then
  echo "$file: the mistake compiled"
  exit 1
fi
first=$(grep -m 1 'error:' <<<"$messages" || true)
echo "$first"
mapfile -t expected < <(sed -n 's|^// expect: *||p' "$file")
if [ "${#expected[@]}" -eq 0 ]; then
  echo "$file names no expected words (// expect: …)"
  exit 1
fi
for words in "${expected[@]}"; do
  if [[ $first != *"$words"* ]]; then
    printf 'the first error does not say "%s"; all of it:\n%s\n' "$words" "$messages"
    exit 1
  fi
done
