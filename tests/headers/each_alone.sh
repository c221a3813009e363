#!/usr/bin/env bash
# Compiles every header of a folder as the only include of a file.
#   each_alone.sh FOLDER COMPILER [FLAG…]
# Headers are read as users of the compiled form see them. The CPU table and the umbrellas are also
# read in the header-only form.
set -euo pipefail
folder=$1
shift
root=${folder%%/include/flr*}/include

alone() {  # alone HEADER FLAG…
  local header=$1
  shift
  printf '#include "%s"\n#include "%s"\n' "$header" "$header" |
    "$@" -Wall -Wextra -fsyntax-only -x c++ - || {
    echo "$header does not compile alone: $*"
    return 1
  }
}

bad=0
count=0
for path in "$folder"/*.hpp; do
  [ -e "$path" ] || continue
  header=$(realpath --relative-to="$root" "$path")
  case $header in
    flr/cpu/*) alone "$header" "$@" || bad=1 ;;
    flr/*/*) alone "$header" "$@" -DFLR_COMPILED -DFLR_COMPILED_MODELS || bad=1 ;;
    *) alone "$header" "$@" || bad=1
       alone "$header" "$@" -DFLR_COMPILED -DFLR_COMPILED_MODELS || bad=1 ;;
  esac
  count=$((count + 1))
done
echo "$count headers"
exit $bad
