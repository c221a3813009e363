#!/usr/bin/env bash
# pdebench and bad input: one sentence, exit code 1, nothing lost, nothing half-written.
set -euo pipefail
pdebench=$FLR_BIN_DIR/pdebench
for program in pdebench make_darcy; do
  [ -x "$FLR_BIN_DIR/$program" ] || { echo "$program is not built"; exit 77; }
done
export FLR_NUM_THREADS=2

complain() {
  echo "FAILED: $*" >&2
  exit 1
}
# refuses TEXT ARGUMENT…: exit code 1, and a last line on stderr that starts with the program's name
# and holds the text. What a run printed before it failed (a progress bar) may stand before.
refuses() {
  local text=$1 code=0
  shift
  "$pdebench" "$@" >out.txt 2>err.txt || code=$?
  [ $code -eq 1 ] || { cat out.txt err.txt; complain "exit code $code of: $*"; }
  tail -n 1 err.txt | grep -q '^pdebench: ' || { cat err.txt; complain "no sentence: $*"; }
  tail -n 1 err.txt | grep -qF -- "$text" || { cat err.txt; complain "expected '$text': $*"; }
  [ "$(grep -c '^pdebench: ' err.txt)" -eq 1 ] || { cat err.txt; complain "more than one: $*"; }
}
"$FLR_BIN_DIR/make_darcy" --layout published --grid 16 --train 8 --test 4 --out data >/dev/null 2>&1
small=(--dataset darcy --darcy_stride 1 --num_blocks 1 --channel_dim 16 --num_heads 2
  --num_latents 8 --num_layers_k_proj 0 --num_layers_v_proj 0 --num_layers_ffn 0)
train=(--train true "${small[@]}" --epochs 2)

"$pdebench" --help >help.txt || complain "--help"
for group in Run Data Training Optimiser Schedule "Models: transformer" "Accepted and ignored"; do
  grep -q "^$group" help.txt || complain "--help has no group $group"
done

# --- flags and values ---
refuses "exactly one of"
refuses "exactly one of" --train true --evaluate true
refuses "--epochz" "${train[@]}" --epochz 3
refuses "many" "${train[@]}" --epochs many
refuses "--epochs" "${train[@]}" --epochs 0
refuses "--epochs" "${train[@]}" --epochs -3
refuses "--epochs" "${train[@]}" --epochs 99999999999999999999
refuses "--learning_rate" "${train[@]}" --learning_rate nan
refuses "--learning_rate" "${train[@]}" --learning_rate 0
refuses "--optimizer: expected one of adamw" "${train[@]}" --optimizer adamx
refuses "--schedule: expected one of OneCycleLR" "${train[@]}" --schedule Step
refuses "--attn_scale" "${train[@]}" --attn_scale two
refuses "--act" "${train[@]}" --act swoosh
refuses "does not divide" "${train[@]}" --num_heads 3
refuses "--one_cycle_pct_start" "${train[@]}" --one_cycle_pct_start 1.5
refuses "--ema_decay" "${train[@]}" --ema_decay 1
refuses "--warmup_steps" "${train[@]}" --warmup_steps 1000
refuses "shorter than one step" "${train[@]}" --grad_accumulation_steps 9
refuses "do not fill a batch" "${train[@]}" --batch_size 9
refuses "folder" "${train[@]}" --exp_name a/b
refuses "shared latents exclude" "${train[@]}" --model_type flare_ablations --shared_latents true \
  --num_latent_blocks 1

# --- what is not part of this version is named ---
refuses "transolver is not part of this version" "${train[@]}" --model_type transolver
refuses "--num_slices belongs to transolver, which is not part" "${train[@]}" --num_slices 32
refuses "plasticity is not part of this version" --train true --dataset plasticity
refuses "--precision tf32 needs --device cuda" "${train[@]}" --precision tf32
refuses "exclude each other" "${train[@]}" --device cuda --precision tf32 --mixed_precision true
refuses "--recompute: expected one of none" "${train[@]}" --recompute half
if ! "$pdebench" "${train[@]}" --epochs 1 --exp_name gpu --device cuda >out.txt 2>err.txt; then
  grep -qE "flr::cuda|no usable GPU|driver supports" err.txt || complain "--device cuda: $(cat err.txt)"
fi
rm -rf out/pdebench/gpu
"$pdebench" "${train[@]}" --epochs 1 --exp_name notes --compile_model false --num_workers 4 \
  --mlp_ratio 2 >out.txt 2>err.txt
for note in "--compile_model is ignored" "--num_workers is ignored" "--mlp_ratio has no effect"; do
  grep -qF -- "$note" out.txt || complain "no note: $note"
done

# --- data ---
refuses "name a data set" --train true
refuses "there is no data set 'atlantis'" --train true --dataset atlantis
refuses "nowhere" "${train[@]}" --data_root nowhere
refuses "missing.npz" --train true --dataset missing.npz
echo "no archive" >bad.npz
refuses "bad.npz" --train true --dataset bad.npz
"$FLR_BIN_DIR/make_darcy" --grid 8 --samples 6 --out own.npz >/dev/null 2>&1
head -c 2000 own.npz >cut.npz
refuses "cut.npz" --train true --dataset cut.npz
refuses "'x'" --train true --dataset own.npz
refuses "split.json" --train true --dataset own.npz --data_x coeff --data_y sol \
  --data_split split.json
echo '{"train": [0, 99], "test": [1]}' >split.json
refuses "sample 99" --train true --dataset own.npz --data_x coeff --data_y sol \
  --data_split split.json
half=data/FNO/darcy/piececonst_r16_N8_smooth1.mat
cp $half whole.mat
head -c 3000 whole.mat >$half
refuses "smooth1.mat" "${train[@]}"
head -c 300 whole.mat >$half
head -c 5000 /dev/urandom >>$half
refuses "smooth1.mat" "${train[@]}"
cp whole.mat $half
[ "$(ls out/pdebench)" = notes ] || complain "a refused run left a folder: $(ls out/pdebench)"

# --- runs, checkpoints, configurations ---
refuses "there is no run nobody" --evaluate true --exp_name nobody
refuses "there is no run nobody" --restart true --exp_name nobody
refuses "there is no run nobody" --predict own.npz --exp_name nobody
"$pdebench" "${train[@]}" --exp_name run >out.txt 2>err.txt
run=out/pdebench/run
refuses "--epochs cannot be changed" --restart true --exp_name run --epochs 7
refuses "--precision cannot be changed" --restart true --exp_name run --precision bf16
"$pdebench" --evaluate true --exp_name run --precision bf16 >out.txt 2>err.txt || complain "$(cat err.txt)"
grep -q "precision bf16" out.txt || complain "an evaluation ignores --precision: $(cat out.txt)"
refuses "--test_dataset goes with" "${train[@]}" --test_dataset darcy
refuses "inputs a point" --predict own.npz --data_x coeff --exp_name run
refuses "own.npz" --predict own.npz --exp_name run
refuses "inputs and" --evaluate true --exp_name run --test_dataset own.npz --data_x coeff \
  --data_y sol
refuses "the model expects" "${train[@]}" --num_latents 9 --load_weights_path $run/ckpt02/model.safetensors
refuses "nothing.safetensors" "${train[@]}" --load_weights_path nothing.safetensors
cp -r $run spare
for file in model.safetensors optimizer.safetensors ema.safetensors state.json; do
  head -c 20 spare/ckpt02/$file >$run/ckpt02/$file
  refuses "$file" --restart true --exp_name run
  cp spare/ckpt02/$file $run/ckpt02/$file
done
cmp spare/metrics.jsonl $run/metrics.jsonl || complain "a refused restart touched metrics.jsonl"
echo "nonsense: 3" >>$run/config.yaml
refuses "there is no flag 'nonsense'" --restart true --exp_name run
echo "	broken" >$run/config.yaml
refuses "config.yaml" --evaluate true --exp_name run
cp spare/config.yaml $run/config.yaml
"$pdebench" --evaluate true --exp_name run >out.txt 2>err.txt || complain "the run was harmed"
"$FLR_BIN_DIR/make_darcy" --layout published --grid 16 --train 8 --test 4 --seed 9 --out other \
  >/dev/null 2>&1
refuses "is not the one that" --restart true --exp_name run --data_root other
refuses "is not the one that" --evaluate true --exp_name run --data_root other

# --- a loss that is not finite ---
refuses "there is no checkpoint of this run yet" "${train[@]}" --exp_name wild --clip_grad_norm 0 \
  --learning_rate 1e30 --one_cycle_div_factor 1 --stats_every 2
tail -n 1 err.txt | grep -q 'step [0-9]*: the loss is' || complain "the step is not named"

# --- a full disk and a folder that cannot be written ---
touch file
refuses "file" "${train[@]}" --out file/runs
refuses "cannot be created" "${train[@]}" --out /proc/none
cp -r $run full && mkdir -p out2 && mv full out2/full
rm -r out2/full/ckpt02 && cp out2/full/ckpt01/state.json state.before
(
  trap '' XFSZ  # a write beyond the limit fails instead of ending the program
  ulimit -f 8   # blocks of 1 KiB: less than a checkpoint
  refuses "/full/" --restart true --exp_name full --out out2
)
[ "$(ls -A out2/full | grep -c ckpt)" -eq 1 ] || complain "a full disk left half a checkpoint"
cmp state.before out2/full/ckpt01/state.json || complain "a full disk harmed a checkpoint"
"$pdebench" --restart true --exp_name full --out out2 >out.txt 2>err.txt ||
  { cat out.txt err.txt; complain "the run does not go on after a full disk"; }
cmp out2/full/ckpt02/model.safetensors spare/ckpt02/model.safetensors ||
  complain "other bits after a full disk"
if [ "$(id -u)" -ne 0 ]; then
  chmod a-w $run
  refuses "cannot be" --restart true --exp_name run
  chmod u+w $run
fi

# --- two at a time ---
"$pdebench" --train true "${small[@]}" --epochs 2000 --exp_name busy >/dev/null 2>&1 &
victim=$!
until [ -s out/pdebench/busy/metrics.jsonl ]; do sleep 0.05; done
refuses "in use by another process" --restart true --exp_name busy
kill -9 $victim
wait $victim 2>/dev/null || true
echo "all well"
