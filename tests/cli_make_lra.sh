#!/usr/bin/env bash
# make_lra: what it writes, that threads do not matter, and what it refuses.
set -euo pipefail
make_lra=$FLR_BIN_DIR/make_lra
[ -x "$make_lra" ] || { echo "skipped: make_lra is not built"; exit 77; }

fail() { echo "$1"; exit 1; }

out=$("$make_lra" listops --train 20 --dev 5 --test 5 --out a | tail -n 1)
[ "$out" = "wrote a: listops, 20 + 5 + 5 samples of length 2000" ] || fail "listops: $out"
[ "$(wc -l <a/basic_train.tsv)" = 21 ] || fail "basic_train.tsv has another number of lines"
out=$("$make_lra" pathfinder32 --samples 40 --threads 1 --out a)
grep -q "^5 distractors" <<<"$out" || fail "the choice of distractors is not printed: $out"
"$make_lra" pathfinder32 --samples 40 --threads 3 --out b >/dev/null
cmp a/lra-pathfinder32.train.npz b/lra-pathfinder32.train.npz || fail "threads change the images"
for task in function_composition binary_relation quotient_relation match3; do
  out=$("$make_lra" $task --samples 1000 --out a | tail -n 1)
  grep -q "^wrote a: $task, 900 + 100 samples" <<<"$out" || fail "$task: $out"
done

refuses() {  # what it must say, then arguments
  local part=$1
  shift
  if "$make_lra" "$@" >said 2>&1; then fail "accepted: $*"; fi
  grep -qF -- "$part" said || fail "make_lra $*: expected '$part'; got: $(cat said)"
}
refuses "there is no generator for 'text'" text
refuses "needs --puzzles" sudoku
refuses "cannot be opened" sudoku --puzzles none.csv
refuses "must not be negative" mta --train -1
refuses "cannot be made" match3 --out said/x
refuses "--samples is for pathfinder and the compositional tasks, not for listops" listops --samples 10
refuses "--calibrated is for pathfinder128, not for pathfinder32" pathfinder32 --calibrated
refuses "--train is for listops and mta, not for match3" match3 --train 10
