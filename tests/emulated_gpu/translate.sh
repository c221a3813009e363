#!/usr/bin/env bash
# A .cu file as C++ for the emulated GPU: launches become calls, shared memory of a size given at the
# launch a pointer; the rest stays.
#   translate.sh FROM.cu TO.cpp
set -euo pipefail
name='[A-Za-z_0-9]+(<[A-Za-z_0-9, ]*>)?'
sed -zE "s/($name)[ \n]*<<<([^;]*)>>>\(([^;]*)\);/emulated::launch([\&] { \1(\4); }, \3);/g" "$1" |
  sed -E 's/extern __shared__ (__align__\([0-9]+\) )?([A-Za-z_0-9 ]+) ([a-z_]+)\[\];/auto* const \3 = reinterpret_cast<\2*>(emulated::dynamic_shared());/' >"$2"
if grep -q '<<<' "$2"; then
  echo "$(basename "$1"): a launch is not of the form kernel<…><<<…>>>(…);" >&2
  rm "$2"
  exit 1
fi
