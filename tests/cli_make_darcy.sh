# make_darcy at the command line: files, a kill at any time, and refusals of one sentence.
# Called in an empty folder.
set -euo pipefail
make_darcy=$FLR_BIN_DIR/make_darcy
[ -x "$make_darcy" ] || { echo "skipped: make_darcy is not built"; exit 77; }

refused() {  # expected words, then arguments
  local words=$1 code=0
  shift
  "$make_darcy" "$@" > out.txt 2> err.txt || code=$?
  [ "$code" = 1 ] || { echo "expected exit code 1, got $code: $*"; exit 1; }
  [ "$(wc -l < err.txt)" = 1 ] && grep -qF -- "$words" err.txt ||
    { echo "expected one line with '$words': $*"; cat err.txt; exit 1; }
}

refused "expected a grid of 4 to 8192 cells; got 3" --grid 3
refused "--bogus" --bogus
refused "--grid" --grid many
refused "ends in .mat or .npz" --out darcy.txt --grid 8
refused "either --samples, or --train and --test" --samples 2 --train 1
refused "at least one thread" --threads 0
refused "positive coefficients" --low -1
refused "every r-th cell" --grid 8 --downsample 9
refused "cannot be made" --grid 8 --samples 1 --out /dev/null/no/darcy.npz
[ -z "$(ls | grep -v -e out.txt -e err.txt)" ] || { echo "a refused run left files"; ls; exit 1; }
"$make_darcy" --help | grep -q -- --downsample

set_of="--grid 151 --downsample 3 --samples 24"
"$make_darcy" $set_of --seed 7 --threads 1 --out straight.npz 2> /dev/null > out.txt
[ "$(tail -n 1 out.txt)" = "wrote straight.npz: 24 samples of 51 x 51" ]

# Killed again and again, at times that depend on nothing in the program.
for pause in 0.05 0.1 0.2; do
  "$make_darcy" $set_of --seed 7 --out killed.npz --resume > /dev/null 2>&1 &
  pid=$!
  sleep $pause
  kill -KILL $pid 2> /dev/null || true
  wait $pid 2> /dev/null || true
done
if [ -e killed.npz.part ]; then
  refused "was begun with seed 7; got 8" $set_of --seed 8 --out killed.npz --resume
  refused "resume that run or delete the file" $set_of --seed 7 --out killed.npz
fi
"$make_darcy" $set_of --seed 7 --out killed.npz --resume > /dev/null 2>&1
cmp straight.npz killed.npz
[ ! -e killed.npz.part ]
"$make_darcy" $set_of --seed 7 --out killed.npz --resume | grep -q "is already there"

"$make_darcy" --grid 20 --train 5 --test 2 --layout published --out data > out.txt 2> /dev/null
folder=data/FNO/darcy
[ "$(ls $folder)" = "piececonst_r20_N2_smooth2.mat
piececonst_r20_N5_smooth1.mat" ]
"$make_darcy" --grid 20 --train 5 --test 2 --out two.mat > /dev/null 2>&1
cmp two_train.mat $folder/piececonst_r20_N5_smooth1.mat
cmp two_test.mat $folder/piececonst_r20_N2_smooth2.mat
