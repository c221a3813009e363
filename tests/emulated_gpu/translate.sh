#!/usr/bin/env bash
# A .cu file as C++ for the emulated GPU: launches become calls, dynamic shared memory a pointer, the
# rest stays.
#   translate.sh FROM.cu TO.cpp
set -euo pipefail
name='[A-Za-z_0-9]+(<[A-Za-z_0-9, ]*>)?'
sed -zE "s/($name)[ \n]*<<<([^;]*)>>>\(([^;]*)\);/emulated::launch([\&] { \1(\4); }, \3);/g
  s/extern __shared__ ([A-Za-z_0-9]+) ([A-Za-z_0-9]+)\[\];/\1* const \2 = static_cast<\1*>(emulated::dynamic_shared());/g" \
  "$1" >"$2"
if grep -q '<<<' "$2"; then
  echo "$(basename "$1"): a launch is not of the form kernel<…><<<…>>>(…);" >&2
  rm "$2"
  exit 1
fi
