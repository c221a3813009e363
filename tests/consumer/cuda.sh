#!/usr/bin/env bash
# Installs a build with CUDA and links a project outside the tree with it: directly, through static
# libraries that link it PUBLIC and PRIVATE, and through a shared one. No compiler for CUDA takes part.
#   cuda.sh CMAKE SOURCE BUILD COMPILER TOOLKIT
set -euo pipefail
cmake=$1 build=$3 compiler=$4 toolkit=$5
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh
source "$here/common.sh"

quietly "$cmake" --install "$build" --prefix "$work/prefix"
cp -r "$here" "$work/project"
quietly env -u CUDACXX "$cmake" -G Ninja -S "$work/project/cuda" -B "$work/out" \
  -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Release \
  -DCUDAToolkit_ROOT="$toolkit"
if grep -q '^CMAKE_CUDA_COMPILER:' "$work/out/CMakeCache.txt"; then
  echo "the project asked for a compiler for CUDA"
  exit 1
fi
quietly "$cmake" --build "$work/out"

bad=0
complain() {
  echo "$*: it printed"
  cat "$work/printed"
  bad=1
}
for program in direct through_public through_private through_shared; do
  "$work/out/$program" cpu >"$work/printed" 2>&1 || complain "$program on the CPU failed"
  grep -q '^CUDA backend linked$' "$work/printed" || complain "$program is without the backend"
  grep -q '^loss .* on cpu$' "$work/printed" || complain "$program computed nothing on the CPU"

  code=0
  "$work/out/$program" cuda >"$work/printed" 2>&1 || code=$?
  if grep -q '^loss .* on cuda$' "$work/printed"; then
    [ "$code" -eq 0 ] || complain "$program on the GPU ended with exit code $code"
  else  # no GPU here: one sentence says why
    { [ "$code" -eq 1 ] && grep -q '^\[cuda\] ' "$work/printed"; } ||
      complain "$program without a GPU ended with exit code $code"
  fi
done
code=0
"$work/out/through_without" cuda >"$work/printed" 2>&1 || code=$?
{ [ "$code" -eq 1 ] && grep -q 'link the CMake target flr::cuda' "$work/printed"; } ||
  complain "a program without flr::cuda ended with exit code $code"
exit $bad
