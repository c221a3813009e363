#!/usr/bin/env bash
# Builds a project outside the tree that adds flr as a subdirectory.
#   add_subdirectory.sh CMAKE SOURCE BUILD COMPILER
# To save time only the lowest level of the CPU table is built, no models, and nothing else optimised.
set -euo pipefail
cmake=$1 source=$2 compiler=$4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh
source "$here/common.sh"

cp -r "$here" "$work/project"
quietly "$cmake" -S "$work/project/add_subdirectory" -B "$work/out" -DFLR_SOURCE_DIR="$source" \
  -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Debug -DFLR_CPU_LEVELS=v2 -DFLR_COMPILED_MODELS=OFF -G Ninja
quietly "$cmake" --build "$work/out" --target compiled header_only
"$work/out/compiled"
"$work/out/header_only"
