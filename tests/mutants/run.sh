#!/usr/bin/env bash
# Breaks the library in one place at a time and requires the suite to notice.
#   tests/mutants/run.sh [WORDS]      only mutants whose line contains WORDS
# tests/mutants/list holds one mutant a line: file, sed expression, and the tests
# (a regular expression of CTest names) of which one must fail.
# A copy of the sources is changed, so an interrupted run leaves the repository alone.
source "$(dirname "$0")/../../tools/_common.sh"
source tests/mutants/_common.sh

only=${1:-}
work=$PWD/build/mutants
source=$work/source
list=$PWD/tests/mutants/list
level=v2
grep -qw avx2 /proc/cpuinfo && level=v3

# Files keep their times, so that only what a mutant touches is compiled again.
mkdir -p "$source"
for folder in include kernels examples tests tools bench; do
  rm -rf "${source:?}/$folder"
  cp -rp "$folder" "$source/$folder"
done
cp -p CMakeLists.txt CMakePresets.json "$source/"

quietly() { "$@" >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; fail "failed: $*"; }; }
quietly cmake -S "$source" -B "$work/out" -G Ninja -DCMAKE_BUILD_TYPE=Release \
  -DCMAKE_CXX_FLAGS_RELEASE="-O1" -DFLR_CPU_LEVELS=$level -DFLR_WERROR=OFF -DFLR_BUILD_BENCH=OFF

# The programs behind the tests whose names match.
programs() {
  ctest --test-dir "$work/out" -N -V -R "$1" | sed -n 's/^.*Test command: "\{0,1\}\([^" ]*\).*/\1/p' |
    sort -u | xargs -r -n1 basename
}
compile() {
  # shellcheck disable=SC2046
  cmake --build "$work/out" --parallel "$(job_count)" --target $(programs "$1")
}

mapfile -t mutants < <(mutants_of "$list" "$only")
[ "${#mutants[@]}" -gt 0 ] || fail "no mutant contains $only"

all=$(for mutant in "${mutants[@]}"; do field "$mutant" 3; done | sort -u | paste -sd'|')
quietly compile "$all"
quietly ctest --test-dir "$work/out" -R "$all" --no-tests=error --output-on-failure

survivors=0
for mutant in "${mutants[@]}"; do
  file=$(field "$mutant" 1)
  expression=$(field "$mutant" 2)
  tests=$(field "$mutant" 3)
  cp -p "$source/$file" "$work/original"
  mutate "$mutant" "$work/original" "$source/$file"
  quietly compile "$tests"  # a mutant that does not compile proves nothing
  if ctest --test-dir "$work/out" -R "$tests" >"$work/log" 2>&1; then
    echo "SURVIVED  $file: $expression"
    survivors=$((survivors + 1))
  else
    echo "noticed   $file: $expression"
  fi
  cp "$work/original" "$source/$file"
done
echo "${#mutants[@]} mutants, $survivors not noticed"
[ "$survivors" -eq 0 ]
