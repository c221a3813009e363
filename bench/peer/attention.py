"""Softmax attention and the FLARE mixer in PyTorch on the CPU, as JSON lines.

    python3 bench/peer/attention.py --threads 2 [--compile none|small] [--only self|mixer]

Self-attention at N = 1024 and 16384; the mixer (128 latents, scale 1) at N = 1024, 16384 and 100000;
8 heads, D = 8 and 16, batch 1, fp32; forward without gradients, and forward plus backward to q, k
and v. The inputs are contiguous [B,H,N,D], the layout PyTorch's kernel likes best. Each shape runs in
a forked process; rss_mib is its peak, inputs and results included, above its size before the inputs
are made and after a small warm-up of the same operation.
"""

import argparse
import os
import sys
import time

from measure import emit, peak_mib, reset_peak, status_mib, summary, time_calls

HEADS, LATENTS = 8, 128
LENGTHS = {"self": (1024, 16384), "mixer": (1024, 16384, 100000)}
# torch.compile fuses nothing into the attention kernel, so it is tried only where call overhead
# matters.
COMPILED = {("mixer", 1024)}


def shape_name(kind, n, d):
    return f"H{HEADS} M{LATENTS} N{n} D{d}" if kind == "mixer" else f"H{HEADS} N{n} D{d}"


def operation(kind, d):
    import torch.nn.functional as F
    from flare_torch import flare_mixer

    if kind == "mixer":
        return lambda q, k, v: flare_mixer(q, k, v, 1.0)
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=d ** -0.5)


def run_shape(args, impl, kind, n, d):
    """Forward first: where the kernel cannot reset a peak, the larger second figure still holds."""
    import torch

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)

    def inputs(tokens):
        rows = LATENTS if kind == "mixer" else tokens
        make = lambda r: torch.randn(1, HEADS, r, d).requires_grad_()
        return make(rows), make(tokens), make(tokens), torch.randn(1, HEADS, tokens, d)

    plain = operation(kind, d)
    compiled = impl == "torch-compile"
    call = torch.compile(plain) if compiled else plain

    def forward(q, k, v, dy):
        with torch.no_grad():
            return call(q, k, v)

    def both(q, k, v, dy):
        return torch.autograd.grad(call(q, k, v), (q, k, v), dy)

    # Code pages and the heap of a first call, whatever its size, belong to the idle process.
    small = inputs(16)
    with torch.no_grad():
        plain(*small[:3])
    torch.autograd.grad(plain(*small[:3]), small[:3], small[3])
    del small
    reset_peak()
    idle = status_mib("VmRSS") or peak_mib()
    data = inputs(n)
    for name, function in (("fwd", forward), ("fwd_bwd", both)):
        reset_peak()
        times = time_calls(lambda: function(*data), args.seconds, cap=args.cap,
                           keep_long_warmup=not compiled)
        # A compiled call's peak would be the compiler's own.
        memory = {} if compiled else {"rss_mib": round(peak_mib() - idle, 1)}
        emit(bench=f"{kind}_{name}", impl=impl, threads=args.threads, shape=shape_name(kind, n, d),
             **summary(times), **memory)


def run_forked(args, impl, kind, n, d):
    """True if the shape ran; a crash or a time-out becomes a row that says so."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        code = 0
        try:
            run_shape(args, impl, kind, n, d)
        except BaseException as error:
            first = (str(error).strip().splitlines() or [type(error).__name__])[0]
            print(f"{kind} N={n} D={d}: {first}", file=sys.stderr, flush=True)
            code = 1
        sys.stdout.flush()
        os._exit(code)
    end = time.monotonic() + args.timeout
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            if status == 0:
                return True
            problem = f"the process ended with status {status}; its message is on stderr"
            break
        time.sleep(0.02)
    else:
        os.kill(child, 9)
        os.waitpid(child, 0)
        problem = f"not done within {args.timeout:.0f} s"
    for name in ("fwd", "fwd_bwd"):
        emit(bench=f"{kind}_{name}", impl=impl, threads=args.threads, shape=shape_name(kind, n, d),
             error=problem)
    return False


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1, help="timed seconds for each shape")
    parser.add_argument("--cap", type=float, default=8, help="end after so many timed seconds")
    parser.add_argument("--timeout", type=float, default=90, help="seconds allowed to each shape")
    parser.add_argument("--compile", choices=["none", "small"], default="none",
                        help="small: also the mixer at N=1024 through torch.compile")
    parser.add_argument("--eager", choices=["yes", "no"], default="yes")
    parser.add_argument("--only", choices=["self", "mixer"])
    parser.add_argument("--max-points", type=int, default=100000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch  # before the forks, which then share it  # noqa: F401
    import flare_torch  # noqa: F401

    ok = True
    for kind, lengths in LENGTHS.items():
        if args.only and kind != args.only:
            continue
        for n in lengths:
            if n > args.max_points:
                continue
            for d in (8, 16):
                if args.eager == "yes":
                    ok &= run_forked(args, "torch-eager", kind, n, d)
                if args.compile == "small" and (kind, n) in COMPILED:
                    ok &= run_forked(args, "torch-compile", kind, n, d)
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
