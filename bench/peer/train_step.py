"""The elasticity training step in PyTorch on the CPU, as JSON lines.

    python3 bench/peer/train_step.py --threads 2 [--modes eager,eager-copy,compile] [--seconds 10]

Modes: `eager` passes the heads of k and v as strided views, as the reference does; `eager-copy`
copies them together first, which is faster on some machines; `compile` and `compile-copy` are
torch.compile of model and loss. One step: forward, relative L2, backward, gradient norm clipped to
1, AdamW (fused), fp32. Every mode runs in a fresh process: its memory is the peak resident size less
the size after `import torch`. rss_mib covers the whole life of the process (compilation too),
rss_steady_mib the timed steps.
"""

import argparse
import os
import subprocess
import sys

from measure import emit, peak_mib, reset_peak, status_mib, summary, time_calls

MODES = ("eager", "eager-copy", "compile", "compile-copy")


def shape_name(args):
    return (f"B{args.batch} N{args.points} C{args.channels} L{args.blocks} H{args.heads} "
            f"M{args.latents}")


def row(args, mode):
    return {"bench": "train_step", "impl": "torch-" + mode, "threads": args.threads,
            "shape": shape_name(args)}


def run_mode(args, mode):
    import torch
    from flare_torch import Flare, decay_groups, relative_l2

    torch.set_num_threads(args.threads)
    idle = status_mib("VmRSS") or peak_mib()
    torch.manual_seed(args.seed)
    model = Flare(2, 1, channel_dim=args.channels, num_blocks=args.blocks, num_heads=args.heads,
                  num_latents=args.latents)
    x = torch.rand(args.batch, args.points, 2)
    target = torch.randn(args.batch, args.points, 1)
    parameters = list(model.parameters())
    optimiser = torch.optim.AdamW(decay_groups(model, 1e-5), lr=1e-3, fused=True)

    def loss_of(x, target):
        return relative_l2(model(x), target)

    losses = []

    def step(loss_function):
        optimiser.zero_grad(set_to_none=True)
        loss = loss_function(x, target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimiser.step()
        if len(losses) < args.loss_steps:
            losses.append(loss.item())

    model.copy_heads(mode.endswith("-copy"))
    function = torch.compile(loss_of) if mode.startswith("compile") else loss_of
    for _ in range(3):
        step(function)
    warm_peak = peak_mib()
    reset_peak()
    times = time_calls(lambda: step(function), args.seconds, cap=args.seconds + 10)
    steady = peak_mib()
    while len(losses) < args.loss_steps:
        step(function)
    emit(**row(args, mode), **summary(times), rss_mib=round(max(warm_peak, steady) - idle, 1),
         rss_steady_mib=round(steady - idle, 1), idle_mib=round(idle, 1),
         loss=losses[-1], loss_steps=args.loss_steps, torch=torch.__version__)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--modes", default="eager,eager-copy,compile")
    parser.add_argument("--seconds", type=float, default=10, help="timed seconds for each mode")
    parser.add_argument("--timeout", type=float, default=240, help="seconds allowed to each mode")
    parser.add_argument("--loss-steps", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    for name, value in (("batch", 2), ("points", 972), ("channels", 64), ("blocks", 8),
                        ("heads", 8), ("latents", 64)):
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--child", choices=MODES, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        run_mode(args, args.child)
        return 0
    # The GPU is hidden so that nothing of it is initialised or counted.
    environment = {**os.environ, "OMP_NUM_THREADS": str(args.threads), "CUDA_VISIBLE_DEVICES": ""}
    failed = False
    modes = args.modes.split(",")
    if not set(modes) <= set(MODES):
        parser.error(f"--modes takes {', '.join(MODES)}; got {args.modes}")
    for mode in modes:
        command = [sys.executable, __file__, *sys.argv[1:], "--child", mode]
        problem = None
        try:
            done = subprocess.run(command, env=environment, timeout=args.timeout,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            sys.stdout.write(done.stdout)
            sys.stdout.flush()
            if done.returncode != 0:
                lines = done.stderr.strip().splitlines()
                problem = lines[-1] if lines else f"exit code {done.returncode}"
        except subprocess.TimeoutExpired:
            problem = f"not done within {args.timeout:.0f} s"
        if problem:
            failed = True
            emit(**row(args, mode), error=problem)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
