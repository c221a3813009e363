#!/usr/bin/env bash
# Installs the build into an empty prefix and builds a project outside the tree against it (with
# Ninja, which every machine has that could build flr: make is not among the packages).
#   find_package.sh CMAKE SOURCE BUILD COMPILER
set -euo pipefail
cmake=$1 source=$2 build=$3 compiler=$4
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=common.sh
source "$here/common.sh"

quietly "$cmake" --install "$build" --prefix "$work/prefix"
unwanted=$(find "$work/prefix" -type f ! -name '*.hpp' ! -name '*.a' ! -name '*.cmake')
if [ -n "$unwanted" ]; then
  printf 'unexpected files are installed:\n%s\n' "$unwanted"
  exit 1
fi
if grep -rnF -e "$source" -e "$build" "$work"/prefix/*/cmake; then
  echo "the installed package names folders of the build"
  exit 1
fi

cp -r "$here" "$work/project"
quietly "$cmake" -G Ninja -S "$work/project/find_package" -B "$work/out" \
  -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Release
quietly "$cmake" --build "$work/out"
for program in compiled header_only with_data; do
  "$work/out/$program"
done

# The project that users are shown: it builds against the same prefix and keeps its promise.
example=$source/examples/use_flr_from_cmake
quietly "$cmake" -G Ninja -S "$example" -B "$work/mine" \
  -DCMAKE_PREFIX_PATH="$work/prefix" -DCMAKE_CXX_COMPILER="$compiler" -DCMAKE_BUILD_TYPE=Release
quietly "$cmake" --build "$work/mine"
promise=$(sed -n 's|^// The last line it prints[^:]*: ||p' "$example/main.cpp")
printed=$("$work/mine/mine" | tail -n 1)
case $printed in
  "$promise"*) ;;
  *)
    echo "use_flr_from_cmake promises '$promise' and prints '$printed'"
    exit 1
    ;;
esac
