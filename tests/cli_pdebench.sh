#!/usr/bin/env bash
# pdebench at work on a small Darcy set: results, names, evaluation, prediction, and above all that
# a run which was stopped, killed or moved to other threads ends with the same bits.
set -euo pipefail
pdebench=$FLR_BIN_DIR/pdebench
for program in pdebench make_darcy make_cloud predict; do
  [ -x "$FLR_BIN_DIR/$program" ] || { echo "$program is not built"; exit 77; }
done
export FLR_NUM_THREADS=2

complain() {
  echo "FAILED: $*" >&2
  exit 1
}
same() {  # same FILE FOLDER FOLDER
  cmp "$2/$1" "$3/$1" || complain "$1 differs between $2 and $3"
}
exists() {
  local file
  for file; do [ -s "$file" ] || complain "$file is missing"; done
}
last_line() {  # last_line FILE TEXT
  tail -n 1 "$1" | grep -qF -- "$2" || { cat "$1"; complain "expected a last line with '$2'"; }
}

"$FLR_BIN_DIR/make_darcy" --layout published --grid 16 --train 24 --test 6 --out data >/dev/null \
  2>&1
"$FLR_BIN_DIR/make_darcy" --grid 12 --samples 10 --out own.npz >/dev/null 2>&1
small=(--dataset darcy --num_blocks 1 --channel_dim 16 --num_heads 2
  --num_latents 8 --num_layers_k_proj 1 --num_layers_v_proj 1 --num_layers_ffn 1)

# --- of the published 421 grid lines every fifth ---
"$FLR_BIN_DIR/make_darcy" --layout published --train 1 --test 1 --out full >/dev/null 2>&1
"$pdebench" --train true "${small[@]}" --data_root full --batch_size 1 --epochs 1 --exp_name full >log 2>err ||
  { cat log err; complain "training on a set of 421 lines"; }
grep -q "(85 x 85)" log || complain "every fifth of 421 grid lines"

# --- a run from start to end, and what it leaves ---
"$pdebench" --train true "${small[@]}" --batch_size 2 --epochs 10 --exp_name straight \
  --baselines >log 2>err || { cat log err; complain "training"; }
last_line log "results in out/pdebench/straight"
straight=out/pdebench/straight
exists $straight/{config.yaml,metrics.jsonl,loss.svg,rel_error.json,predictions.npz} \
  $straight/pictures/{best,median,worst}.png $straight/fields/{best,median,worst}.vts \
  $straight/ckpt01/{model,ema,optimizer}.safetensors $straight/ckpt10/rel_error.json
[ ! -e $straight/ckpt11 ] || complain "more checkpoints than tenths"
cmp $straight/ckpt10/rel_error.json $straight/rel_error.json
grep -q '"train_rel_error": 0' $straight/rel_error.json || complain "rel_error.json"
grep -q "(16 x 16)" log || complain "every line of a grid that is not the published one"
grep -q "^model .* parameters" log || complain "no parameter count in the header"
grep -q "weight decay" log || complain "no groups in the header"
grep -q "^memory on cpu" log || complain "no memory table in the header"
grep -q "^baselines .*mean field 0\..*nearest training sample 0\." log || complain "baselines"
[ "$(wc -l <$straight/metrics.jsonl)" -eq 130 ] || complain "expected 120 steps and 10 statistics"

# --- a second run takes the next free name; other threads give the same bits ---
"$pdebench" --train true "${small[@]}" --batch_size 2 --epochs 10 --exp_name straight --threads 1 \
  >log 2>err
last_line log "results in out/pdebench/straight01"
for file in ckpt10/model.safetensors metrics.jsonl; do same $file $straight ${straight}01; done

# --- killed at any moment, and restarted until it is done ---
"$pdebench" --train true "${small[@]}" --batch_size 2 --epochs 10 --exp_name killed >log 2>err &
victim=$! kills=0
for delay in 0.05 0.1 0.3 0.2 0.5 0.15 0.4 0.7 0.25 1; do
  sleep $delay
  kill -9 $victim 2>/dev/null && kills=$((kills + 1))
  wait $victim 2>/dev/null || true
  [ -e out/pdebench/killed/config.yaml ] || {  # killed before there was anything to restart
    rm -rf out/pdebench/killed
    "$pdebench" --train true "${small[@]}" --batch_size 2 --epochs 10 --exp_name killed >log 2>err &
    victim=$!
    continue
  }
  "$pdebench" --restart true --exp_name killed >log 2>err &
  victim=$!
done
wait $victim || { cat log err; complain "the last restart"; }
last_line log "results in out/pdebench/killed"
echo "killed $kills times"
for file in ckpt10/{model,ema,optimizer}.safetensors ckpt10/state.json metrics.jsonl \
  rel_error.json predictions.npz loss.svg; do
  [ $file = loss.svg ] || same $file $straight out/pdebench/killed
done
[ -z "$(find out/pdebench/killed -name '.*' -not -name .)" ] || complain "leftovers of a kill"

# --- Ctrl-C saves, says how to go on, and exits with 130 ---
"$pdebench" --train true "${small[@]}" --epochs 400 --exp_name stopped >log 2>err &
victim=$!
until [ -s out/pdebench/stopped/metrics.jsonl ]; do sleep 0.05; done
kill -INT $victim
code=0
wait $victim || code=$?
[ $code -eq 130 ] || { cat log err; complain "expected exit code 130, got $code"; }
last_line log "go on with: pdebench --restart true --exp_name stopped"
exists out/pdebench/stopped/ckpt01/model.safetensors

# --- the same with a momentum of its own kind, micro-batches and steps ---
for optimizer in muon lion; do
  more=(--optimizer $optimizer --grad_accumulation_steps 2 --steps 12 --schedule
    CosineAnnealingLR --warmup_steps 3 --ema false)
  "$pdebench" --train true "${small[@]}" "${more[@]}" --exp_name $optimizer >log 2>err
  "$pdebench" --train true "${small[@]}" "${more[@]}" --exp_name $optimizer >log 2>err
  rm -r out/pdebench/${optimizer}01/ckpt{07,08,09,10,11,12}
  "$pdebench" --restart true --exp_name ${optimizer}01 >log 2>err
  for file in ckpt12/{model,optimizer}.safetensors metrics.jsonl; do
    same $file out/pdebench/$optimizer out/pdebench/${optimizer}01
  done
done

# --- evaluation: the same errors as training reported; another grid; the averaged weights ---
cp $straight/rel_error.json before.json
"$pdebench" --evaluate true --exp_name straight --baselines true >log 2>err
cmp before.json $straight/rel_error.json || complain "evaluate reports other errors"
"$pdebench" --evaluate true --exp_name straight --weights ema --spectra true >log 2>err
exists $straight/spectra.{json,svg}
"$FLR_BIN_DIR/make_darcy" --layout published --grid 24 --train 4 --test 4 --out finer >/dev/null 2>&1
"$pdebench" --evaluate true --exp_name straight --test_dataset darcy --test_data_root finer >log 2>err
exists $straight/test_darcy/{rel_error.json,pictures/best.png,fields/worst.vts}
grep -q "4 samples of 576 points (24 x 24) test" log || complain "the finer grid"
cmp before.json $straight/rel_error.json || complain "another set changed the run's own errors"
"$pdebench" --evaluate true --exp_name straight --test_dataset darcy --test_darcy_stride 2 >log 2>err
grep -q "6 samples of 64 points (8 x 8) test" log || complain "the coarser grid"
"$pdebench" --train true --dataset own.npz --data_x coeff --data_y sol --data_dims 1 --epochs 2 \
  --num_blocks 1 --channel_dim 16 --num_heads 2 --exp_name own >log 2>err
exists out/pdebench/own/fields/best.vtu
"$pdebench" --evaluate true --exp_name own --test_dataset own.npz >log 2>err
exists out/pdebench/own/test_own/rel_error.json

# --- predictions for inputs without targets, by pdebench and by the example ---
"$pdebench" --predict own.npz --exp_name own --out_file predicted.npz >log 2>err
last_line log "results in predicted.npz: prediction [10,12,12]"
"$pdebench" --predict own.npz --exp_name own >log 2>err
exists out/pdebench/own/own_prediction.npz
"$FLR_BIN_DIR/predict" out/pdebench/own own.npz fields.vtu coeff >log 2>err ||
  { cat log err; complain "the example"; }
last_line log "wrote fields.vtu: 12 points"
"$FLR_BIN_DIR/predict" out/pdebench/own own.npz no.vtu >log 2>err && complain "there is no key x"
grep -q "has no array 'x'" err || complain "the example's refusal"

# --- weights of another run, a configuration of another run ---
"$pdebench" --train true "${small[@]}" --epochs 1 --exp_name warm \
  --load_weights_path $straight/ckpt10/model.safetensors >log 2>err
"$pdebench" --train true --config $straight/config.yaml --exp_name again >log 2>err
same ckpt10/model.safetensors $straight out/pdebench/again

# --- activations in bf16, and backward that recomputes: the same bits either way ---
for recompute in none block; do
  "$pdebench" --train true "${small[@]}" --epochs 2 --exp_name b16_$recompute --precision bf16 \
    --recompute $recompute >log 2>err
  grep -q "precision bf16" log || complain "the precision is not in the header"
done
grep -q "recomputes blocks" log || complain "what is recomputed is not in the header"
same ckpt02/model.safetensors out/pdebench/b16_none out/pdebench/b16_block
"$pdebench" --evaluate true --exp_name b16_none >log 2>err
same rel_error.json out/pdebench/b16_none out/pdebench/b16_block

# --- without a choice, the least that fits into memory is recomputed ---
"$pdebench" --train true "${small[@]}" --epochs 1 --exp_name roomy >log 2>err
grep -q "recomputes nothing" log || complain "something is recomputed in ample memory"
grep -q "activations, MLPs recomputed" log || complain "the choices are not listed"
"$FLR_BIN_DIR/make_cloud" --help >log 2>err && grep -q "Points of a sample" log && [ ! -e ./--help ] ||
  complain "make_cloud --help"
! "$FLR_BIN_DIR/make_cloud" cloud.txt >log 2>err && grep -q "^make_cloud: .*ends in .npz" err ||
  complain "make_cloud takes cloud.txt"
"$FLR_BIN_DIR/make_cloud" cloud.npz 10000 2 >log 2>err || { cat log err; complain "make_cloud"; }
last_line log "wrote cloud.npz: 2 samples of 10000 points"
if (ulimit -v 400000 && "$pdebench" --help) >log 2>err; then  # not with a sanitizer's address space
  (ulimit -v 400000 && "$pdebench" --train true --dataset cloud.npz --train_samples 1 --test_samples 1 \
    --steps 1 --timing_only true --threads 2 --exp_name tight) >log 2>err ||
    { cat log err; complain "a run within a limit"; }
  grep -q "recomputes \(MLPs\|blocks\)" log || complain "nothing is recomputed in scarce memory"
fi

# --- FLR_EXPLAIN: once for each operation and shape, and silence without it ---
FLR_EXPLAIN=1 "$pdebench" --train true "${small[@]}" --epochs 1 --exp_name explained >log 2>err
for line in "[residual_mlp] rows=" "[sdpa] B="; do
  grep -qF "$line" err || { cat err; complain "no line of $line"; }
done
[ "$(grep '^\[' err | sort | uniq -d | wc -l)" -eq 0 ] || complain "an explanation is repeated"
"$pdebench" --train true "${small[@]}" --epochs 1 --exp_name silent >log 2>err
grep -q '^\[' err && complain "explanations that nobody asked for"

# --- every model, with the options of the reference ---
for model in "flare --qk_norm true --rmsnorm true --attn_scale sqrt --act silu" \
  "flare_experimental --num_layers_k_proj -1 --num_layers_ffn 0 --out_proj_norm false" \
  "flare_ablations --shared_latents true" "flare_ablations --num_latent_blocks 1" \
  "transformer --mlp_ratio 2"; do
  # shellcheck disable=SC2086
  "$pdebench" --train true "${small[@]}" --epochs 1 --exp_name model --model_type $model >log 2>err ||
    { cat log err; complain "$model"; }
done
"$pdebench" --train true "${small[@]}" --timing_only true --exp_name timing >log 2>err
grep -q "s an epoch" log || complain "timing_only prints no time"
echo "all well"
