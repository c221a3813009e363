#!/usr/bin/env bash
# A .cu file as C++ for the emulated GPU: launches become calls, the rest stays.
#   translate.sh FROM.cu TO.cpp
set -euo pipefail
name='[A-Za-z_0-9]+(<[A-Za-z_0-9, ]*>)?'
# Dynamic shared memory is as large as a block's may be.
sed -zE "s/extern __shared__ ([A-Za-z_0-9]+) ([a-z_]+)\[\];/static \1 \2[227 * 1024 \/ sizeof(\1)];/g
         s/($name)[ \n]*<<<([^;]*)>>>\(([^;]*)\);/emulated::launch([\&] { \1(\4); }, \3);/g" "$1" >"$2"
if grep -q '<<<' "$2"; then
  echo "$(basename "$1"): a launch is not of the form kernel<…><<<…>>>(…);" >&2
  rm "$2"
  exit 1
fi
