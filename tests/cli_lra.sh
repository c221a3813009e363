#!/usr/bin/env bash
# lra: training, restarts with the same bits, evaluation, every kind of task, and refusals.
set -euo pipefail
lra=$FLR_BIN_DIR/lra
[ -x "$lra" ] || { echo "lra is not built"; exit 77; }
export FLR_NUM_THREADS=2

complain() {
  echo "FAILED: $*" >&2
  exit 1
}
last_line() {
  [[ "$(tail -n 1 "$1")" == *"$2" ]] || { cat "$1"; complain "expected the last line '$2'"; }
}
exists() { for f in "$@"; do [ -s "$f" ] || complain "there is no $f"; done; }
same() { cmp "$2/$1" "$3/$1" || complain "$1 differs between $2 and $3"; }
quiet() { "$lra" "$@" >log 2>err || { cat log err; complain "lra $*"; }; }
refuses() {
  local text=$1 code=0
  shift
  "$lra" "$@" >out.txt 2>err.txt || code=$?
  [ $code -eq 1 ] || { cat out.txt err.txt; complain "exit code $code of: $*"; }
  tail -n 1 err.txt | grep -q '^lra: ' || { cat err.txt; complain "no sentence: $*"; }
  tail -n 1 err.txt | grep -qF -- "$text" || { cat err.txt; complain "expected '$text': $*"; }
}
accuracy() { sed -n "s/.*\"$2\": \([0-9.]*\).*/\1/p" "$1/accuracy.json"; }
at_least() {
  awk -v a="$(accuracy "$1" "$2")" -v b="$3" 'BEGIN { exit !(a >= b) }' ||
    complain "$1: $2 is $(accuracy "$1" "$2"), expected at least $3"
}
small=(--model_type flare --num_blocks 2 --channel_dim 16 --num_heads 2 --num_latents 8
  --num_layers_kv_proj 0 --num_layers_ffn 0 --mlp_ratio 2 --learning_rate 5e-3)
train=(--train true --task toy "${small[@]}" --precision fp32)

# --- a straight run: what it leaves, and what it learns ---
quiet "${train[@]}" --steps 60 --ema true --exp_name straight
last_line log "results in out/lra/straight"
straight=out/lra/straight
exists $straight/{config.yaml,data.yaml,accuracy.json,metrics.jsonl,loss.svg,confusion.csv,confusion.png}
exists $straight/ckpt10/{model,ema,optimizer}.safetensors $straight/ckpt10/{state,accuracy}.json
at_least $straight dev_accuracy 0.9
at_least $straight test_accuracy 0.9
[ "$(wc -l <$straight/metrics.jsonl)" -eq 70 ] || complain "expected 60 steps and 10 statistics"
quiet "${train[@]}" --steps 60 --ema true --exp_name straight --threads 1
for file in ckpt10/model.safetensors metrics.jsonl; do same $file $straight ${straight}01; done

# --- killed and restarted; Ctrl-C; the state that a recursive model carries across a checkpoint ---
run() { quiet --train true --task "$1" "${small[@]}" --precision fp32 --exp_name "$2" "${@:3}"; }
restarts_alike() {
  run "$1" "$2" "${@:3}"
  run "$1" "$2_cut" "${@:3}"
  rm -r out/lra/"$2"_cut/ckpt{0[4-9],10}
  quiet --restart true --exp_name "$2_cut"
  for file in ckpt10/{model,optimizer}.safetensors ckpt10/accuracy.json metrics.jsonl confusion.csv; do
    same "$file" out/lra/"$2" out/lra/"$2"_cut
  done
}
restarts_alike toy again --steps 40 --attn_drop 0.1 --proj_drop 0.1 --emb_drop 0.1 --cls_drop 0.1
restarts_alike toy packed --steps 40 --model_type luna --qk_norm true
grep -q "8 packed tokens" log || complain "the number of luna's packed tokens is not shown"
recursive=(--trm true --trm_N_steps 4 --trm_n 1 --trm_T 2)
restarts_alike toy_tokens recursive --steps 50 "${recursive[@]}"  # checkpoints in the middle of 4
"$lra" "${train[@]}" --steps 100000 --exp_name stopped >log 2>err &
victim=$!
until [ -s out/lra/stopped/metrics.jsonl ]; do sleep 0.05; done
kill -INT $victim
code=0
wait $victim || code=$?
[ $code -eq 130 ] || { cat log err; complain "expected exit code 130, got $code"; }
last_line log "go on with: lra --restart true --exp_name stopped"

# --- evaluation reports what training did ---
cp $straight/accuracy.json before.json
cp $straight/confusion.csv before.csv
quiet --evaluate true --exp_name straight
cmp before.json $straight/accuracy.json || complain "evaluate reports other accuracies"
cmp before.csv $straight/confusion.csv || complain "evaluate reports another confusion"
quiet --evaluate true --exp_name straight --weights ema --eval_batch_size 7

# --- every kind of task, position, pooling and mixer ---
run toy_pairs pairs --steps 20
run toy_tokens tokens --steps 60 --ema true
at_least out/lra/tokens test_token_accuracy 0.9
grep -q ema_test_token_accuracy out/lra/tokens/accuracy.json || complain "no accuracy of the average"
for more in "--pool cls --pos_embed rope" "--pool max --pos_embed sin --rmsnorm true --act silu" \
  "--mask false" "--qk_norm true --attn_scale sqrt" "--recompute true" "--optimizer lion" \
  "--model_type transformer --pos_embed rope" "--model_type linear --kernel elu --pos_embed rope" \
  "--model_type linformer --linformer_k 4" "--trm true --trm_N_steps 2 --trm_n 1 --trm_T 1"; do
  # shellcheck disable=SC2086
  run toy kinds --steps 3 $more
done
quiet --train true --task toy "${small[@]}" --steps 3 --exp_name b16  # the default of the reference
grep -q "precision bf16" log || complain "mixed precision is not the default"
quiet --evaluate true --exp_name b16
quiet --train true --config $straight/config.yaml --exp_name config
same ckpt10/model.safetensors $straight out/lra/config
quiet "${train[@]}" --steps 2 --exp_name warm --load_weights_path $straight/ckpt10/model.safetensors
quiet "${train[@]}" --epochs 1 --exp_name epochs
grep -q "training   16 steps" log || complain "--epochs alone means epochs"

# --- refusals: one sentence, exit code 1 ---
refuses "exactly one of"
refuses "exactly one of" --train true --restart true
refuses "--epochz" "${train[@]}" --epochz 3
refuses "--steps" "${train[@]}" --steps many
refuses "expected one of transformer, flare" "${train[@]}" --model_type flair
refuses "--pool: expected one of mean" "${train[@]}" --pool sum
refuses "takes no class token" "${train[@]}" --trm true --pool cls
refuses "takes no class token" --train true --task toy_tokens "${small[@]}" --pool cls
refuses "learned or sinusoid" "${train[@]}" --model_type cosformer --pos_embed rope
refuses "luna has no dropout" "${train[@]}" --model_type luna --proj_drop 0.1
refuses "carry packed tokens" "${train[@]}" --model_type luna --recompute true
refuses "must be 1" "${train[@]}" --trm true --grad_accumulation_steps 2
refuses "--attn_drop" "${train[@]}" --attn_drop 1
refuses "no 'swish'" "${train[@]}" --kernel swish
refuses "--preset: expected one of" "${train[@]}" --preset best
refuses "no settings for flare on toy" "${train[@]}" --preset paper
refuses "expected one of listops" --train true --task atlantis
refuses "nowhere" --train true --task listops --data_root nowhere
refuses "do not fill a batch" "${train[@]}" --batch_size 1000
refuses "there is no run nobody" --evaluate true --exp_name nobody
refuses "expected the name of a run" --evaluate true --exp_name none
refuses "--steps cannot be changed" --restart true --exp_name straight --steps 7
cp -r $straight out/lra/harmed
head -c 20 $straight/ckpt10/optimizer.safetensors >out/lra/harmed/ckpt10/optimizer.safetensors
refuses "optimizer.safetensors" --restart true --exp_name harmed
sed -i 's/fingerprint: .*/fingerprint: 1/' out/lra/harmed/data.yaml
refuses "is not the one that" --evaluate true --exp_name harmed
refuses "--weights ema" --evaluate true --exp_name epochs --weights ema
refuses "the loss is" "${train[@]}" --steps 30 --clip_grad_norm 0 --learning_rate 1e30 \
  --one_cycle_div_factor 1 --exp_name wild
if ! "$lra" "${train[@]}" --steps 1 --exp_name gpu --device cuda >out.txt 2>err.txt; then
  grep -qE "flr::cuda|no usable GPU|driver supports" err.txt || complain "--device cuda: $(cat err.txt)"
fi

# --- help ---
"$lra" --help >help.txt || complain "--help"
for group in Run Data Training Optimiser Schedule "Models: all" "Accepted and ignored"; do
  grep -q "^$group" help.txt || complain "--help has no group $group"
done
echo "all well"
