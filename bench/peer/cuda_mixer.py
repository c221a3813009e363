"""FLARE's mixer alone in PyTorch on the GPU: two calls of scaled_dot_product_attention.

    python3 bench/peer/cuda_mixer.py [--only REGEX] [--seconds S] [--deadline S]

Tokens lie as a network has them, [B,N,H*D] seen as heads (torch-eager), or as [B,H,N,D] (torch-copied:
what the kernels like best, without the time of the copy). torch.compile leaves the attention kernels as
they are, so it is tried at two shapes only.
"""

import sys

from cuda_common import arguments, compiled, dtype_of, run_groups

POINTS, HEADS = 1_000_000, 8


def case(bench, impl, dtype, d, m):
    return {"bench": bench, "impl": impl, "dtype": dtype, "d": d, "m": m,
            "shape": f"{dtype} N{POINTS} H{HEADS} D{d} M{m}"}


def call_of(c):
    import torch
    from flare_torch import flare_mixer

    dtype, d = dtype_of(c["dtype"]), c["d"]
    torch.manual_seed(0)

    def tokens():
        if c["impl"] == "torch-copied":
            return torch.randn(1, HEADS, POINTS, d, device="cuda", dtype=dtype)
        return torch.randn(1, POINTS, HEADS * d, device="cuda", dtype=dtype) \
            .view(1, POINTS, HEADS, d).transpose(1, 2)

    q = torch.randn(1, HEADS, c["m"], d, device="cuda", dtype=dtype).requires_grad_()
    k, v, dy = tokens().requires_grad_(), tokens().requires_grad_(), tokens()
    mixer = lambda q, k, v: flare_mixer(q, k, v, 1.0)
    if c["impl"] == "torch-compile":
        mixer = compiled(mixer, "default")
    if c["bench"] == "mixer_fwd":
        def forward():
            with torch.no_grad():
                mixer(q, k, v)
        return forward
    return lambda: torch.autograd.grad(mixer(q, k, v), (q, k, v), dy)


def main():
    benches = ("mixer_fwd", "mixer_fwd_bwd")
    groups = []
    for dtype in ("bf16", "fp32"):
        for wide in (False, True):
            groups.append([case(b, impl, dtype, d, m)
                           for m in (128, 2048, 64, 512) for d in ((32, 64) if wide else (8, 16))
                           for impl in (("torch-eager", "torch-copied") if dtype == "bf16"
                                        else ("torch-eager",))
                           # True fp32 at D = 32 and 64 takes seconds a call: the figure needs M=128.
                           if not (dtype == "fp32" and wide and m != 128) for b in benches])
    groups.insert(1, [case(b, "torch-compile", "bf16", d, 128) for d in (8, 16) for b in benches])
    return run_groups(arguments(__doc__), groups, call_of)


if __name__ == "__main__":
    sys.exit(main())
