#!/usr/bin/env bash
# Breaks the CUDA kernels in one place at a time and requires tests_cuda to notice.
#   tests/mutants/cuda.sh [--build] [WORDS]      only mutants whose line contains WORDS
# --build stops when all mutants are compiled and linked, which needs no GPU.
#
# tests/mutants/list_cuda holds one mutant a line. build/cuda is built before (tools/test --cuda
# --mutants does it) and left alone: a mutant is one object, compiled from a copy of kernels/ as the
# original was, and a tests_cuda of its own. The linker takes the object before the library, whose own
# version it then does not need. Small sizes first: most mutants fall there, in seconds.
source "$(dirname "$0")/../../tools/_common.sh"
source tests/mutants/_common.sh

build_only=
[ "${1:-}" != --build ] || { build_only=yes; shift; }
out=$PWD/build/cuda
work=$PWD/build/mutants_cuda
[ -x "$out/bin/tests_cuda" ] || fail "build/cuda/bin/tests_cuda is not built: tools/build cuda tests_cuda"

mapfile -t mutants < <(mutants_of tests/mutants/list_cuda "${1:-}")
[ "${#mutants[@]}" -gt 0 ] || fail "no mutant contains ${1:-}"

# Two mutants of one file are compiled at the same time, so each has a copy of kernels/ to itself.
# Paths in the copy stand for those of the original in the command.
prepare() {  # prepare NUMBER: folder, mutated file and a script that compiles and links it
  local mutant=${mutants[$1]} at=$work/$1 file object
  file=$(field "$mutant" 1)
  object=kernels/CMakeFiles/flr_cuda.dir/${file#kernels/}.o
  mkdir -p "$at"
  cp -rp kernels "$at/kernels"
  mutate "$mutant" "$file" "$at/$file"
  {
    echo "set -e; cd '$out'"
    ninja -C "$out" -t commands "$object" | tail -n 1 |
      sed "s#$PWD/kernels#$at/kernels#g; s#-o $object#-o $at/mutant.o#; s#-MF $object#-MF $at/mutant.o#"
    ninja -C "$out" -t commands bin/tests_cuda | tail -n 1 |
      sed "s#-o bin/tests_cuda#-o $at/tests_cuda $at/mutant.o#"
  } >"$at/make.sh"
  local words
  for words in "-o $at/mutant.o" "-c $at/$file" "-o $at/tests_cuda"; do
    grep -qF -- "$words" "$at/make.sh" ||
      fail "expected \"$words\" in the commands that ninja gives; they are in $at/make.sh"
  done
}
rm -rf "$work"
numbers=("${!mutants[@]}")
for i in "${numbers[@]}"; do prepare "$i"; done
echo "compiling ${#mutants[@]} mutants"
# shellcheck disable=SC2016
printf '%s\n' "${numbers[@]}" | xargs -P "$(job_count)" -I{} \
  bash -c 'bash "$0/{}/make.sh" >"$0/{}/log" 2>&1 || touch "$0/{}/broken"' "$work"
broken=0
for i in "${numbers[@]}"; do
  rm -rf "$work/$i/kernels"
  [ ! -e "$work/$i/broken" ] || {
    tail -n 20 "$work/$i/log" >&2
    echo "DOES NOT COMPILE  $(field "${mutants[$i]}" 1): $(field "${mutants[$i]}" 2)"
    broken=$((broken + 1))
  }
done
[ "$broken" -eq 0 ] || fail "$broken mutants do not compile: a mutant that does not compile proves nothing"
if [ -n "$build_only" ]; then
  rm -rf "$work"
  echo "${#mutants[@]} mutants compiled and linked"
  exit
fi

# passes SMALL PROGRAM TESTS; a program that hangs has failed.
passes() { FLR_TEST_SMALL=$1 timeout 600 "$2" "-tc=$3" >"$work/log" 2>&1; }

# The tests must pass on the kernels as they are, and exist.
while read -r tests; do
  for small in 1 0; do
    passes $small "$out/bin/tests_cuda" "$tests" ||
      { tail -n 40 "$work/log" >&2; fail "tests_cuda fails without a mutant: -tc=$tests"; }
    ! grep -q 'test cases: *0 ' "$work/log" || fail "no test case is called $tests"
  done
done < <(for i in "${numbers[@]}"; do field "${mutants[$i]}" 3; done | sort -u)

survivors=0
for i in "${numbers[@]}"; do
  tests=$(field "${mutants[$i]}" 3) name="$(field "${mutants[$i]}" 1): $(field "${mutants[$i]}" 2)"
  if passes 1 "$work/$i/tests_cuda" "$tests" && passes 0 "$work/$i/tests_cuda" "$tests"; then
    echo "SURVIVED  $name"
    survivors=$((survivors + 1))
  else
    echo "noticed   $name"
  fi
  rm -rf "${work:?}/$i"  # a tests_cuda is large
done
echo "${#mutants[@]} mutants, $survivors not noticed"
[ "$survivors" -eq 0 ]
