"""Time (or fully train) the PyTorch FLARE on the holed-Poisson set with the paper's schedule.

    python3 bench/peer/holed_poisson.py DATA.npz SPLIT.json --epochs 2 [--limit-seconds 300]

4 blocks, C=64, H=8, M=64, batch 1, AdamW, OneCycle over --schedule-epochs (with its momentum cycle),
clip 1, y normalised by mean and unbiased deviation of the training set, loss relative L2 after
decoding. One JSON line per epoch and one at the end; `--epochs 80` trains to the end and its test error
is the model's.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch

from flare_torch import Flare, decay_groups, relative_l2
from measure import emit


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data")
    parser.add_argument("split")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--schedule-epochs", type=int, default=80)
    parser.add_argument("--limit-seconds", type=float, default=float("inf"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-5)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.epochs > args.schedule_epochs:
        parser.error("--epochs must not exceed --schedule-epochs")
    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    with np.load(args.data) as arrays:
        x = torch.from_numpy(arrays["xy"]).float()
        y = torch.from_numpy(arrays["u"]).float().unsqueeze(-1)
    with open(args.split) as f:
        split = json.load(f)
    train, test = split["train"], split["test"]
    mean, deviation = y[train].mean(), y[train].std() + 1e-8

    model = Flare(2, 1, channel_dim=64, num_blocks=4, num_heads=8, num_latents=64)
    parameters = list(model.parameters())
    optimiser = torch.optim.AdamW(decay_groups(model, args.weight_decay), lr=args.learning_rate,
                                  fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=args.learning_rate, total_steps=args.schedule_epochs * len(train),
        pct_start=0.1, div_factor=1e4, final_div_factor=1e4)

    def loss_of(x, y):
        return relative_l2(model(x) * deviation + mean, y)

    function = torch.compile(loss_of) if args.compile else loss_of

    def test_error():
        with torch.no_grad():
            return statistics.fmean(loss_of(x[i:i + 1], y[i:i + 1]).item() for i in test)

    setup = {"bench": "holed_poisson", "impl": "torch-compile" if args.compile else "torch-eager",
             "threads": args.threads}
    begin, seconds, stopped = time.perf_counter(), [], False
    steps = 0
    for epoch in range(1, args.epochs + 1):
        epoch_begin, total, done = time.perf_counter(), 0.0, 0
        for i in torch.randperm(len(train)).tolist():
            sample = slice(train[i], train[i] + 1)
            optimiser.zero_grad(set_to_none=True)
            loss = function(x[sample], y[sample])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            # The last update of a full run has no next rate to set.
            if steps + 1 < args.schedule_epochs * len(train):
                schedule.step()
            steps, done = steps + 1, done + 1
            total += loss.item()
            if time.perf_counter() - begin > args.limit_seconds:
                stopped = True
                break
        spent = time.perf_counter() - epoch_begin
        # A part of an epoch is scaled to a whole one.
        seconds.append(spent * len(train) / done)
        emit(**setup, epoch=epoch, steps=steps, seconds=round(spent, 3),
             s_per_epoch=round(seconds[-1], 3), train_rel_l2=total / done)
        if stopped:
            break
    # The first epoch pays for warm-up and compilation.
    steady = seconds[1:] or seconds
    per_epoch = statistics.median(steady)
    emit(**setup, shape="B1 N1352 C64 L4 H8 M64", epochs=len(seconds), cut_short=stopped,
         s_per_epoch=round(per_epoch, 3),
         ms=round(1e3 * per_epoch / len(train), 3),
         projected_minutes=round(per_epoch * args.schedule_epochs / 60, 2),
         train_seconds=round(sum(seconds) if not stopped else time.perf_counter() - begin, 2),
         test_rel_l2=test_error())


if __name__ == "__main__":
    main()
