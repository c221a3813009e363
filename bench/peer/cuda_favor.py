"""FAVOR+ features in PyTorch on the GPU (arXiv 2009.14794): one product, the rest element by element.

    python3 bench/peer/cuda_favor.py [--only REGEX] [--seconds S] [--deadline S]

Tokens lie as a network has them, [B,N,H*D] seen as heads; rows and features are in float, as on the other
side, so tokens in bf16 are converted first.
"""

import sys

from cuda_common import arguments, compiled, dtype_of, run_groups

HEADS = 8


def case(bench, impl, dtype, batch, n, d, features):
    return {"bench": bench, "impl": impl, "dtype": dtype, "batch": batch, "n": n, "d": d,
            "features": features, "shape": f"{dtype} B{batch} N{n} H{HEADS} D{d} R{features}"}


def features_of(x, rows, axes):
    """x [B,H,N,D], rows [H,R,D] → [B,H,N,R]; one maximum over the axes."""
    import torch

    x = x.float() * x.shape[-1] ** -0.25
    exponents = torch.einsum("bhnd,hrd->bhnr", x, rows) - x.square().sum(-1, keepdim=True) / 2
    most = exponents.amax(axes, keepdim=True)
    return torch.exp(exponents - most) * rows.shape[1] ** -0.5 + 1e-6


def call_of(c):
    import torch

    torch.manual_seed(0)
    axes = (2, 3) if "keys" in c["bench"] else (3,)
    x = torch.randn(c["batch"], c["n"], HEADS * c["d"], device="cuda", dtype=dtype_of(c["dtype"]))
    x = x.view(c["batch"], c["n"], HEADS, c["d"]).transpose(1, 2)
    rows = torch.randn(HEADS, c["features"], c["d"], device="cuda")
    dy = torch.randn(c["batch"], HEADS, c["n"], c["features"], device="cuda")
    features = compiled(features_of, "default") if c["impl"] == "torch-compile" else features_of
    if c["bench"].endswith("_fwd"):
        def forward():
            with torch.no_grad():
                features(x, rows, axes)
        return forward
    x.requires_grad_()
    return lambda: torch.autograd.grad(features(x, rows, axes), x, dy)


def main():
    shapes = [("bf16", 32, 2000, 16, 256), ("fp32", 32, 2000, 16, 256), ("bf16", 1, 65536, 16, 256)]
    shapes += [("fp32", 1, 65536, d, 256) for d in (8, 64)]
    shapes += [("fp32", 1, 16384, 32, r) for r in (64, 1024)]
    benches = [f"favor_{kind}_{passes}" for kind in ("queries", "keys") for passes in ("fwd", "fwd_bwd")]
    groups = [[case(b, "torch-eager", *s) for s in shapes for b in benches]]
    groups += [[case(b, "torch-compile", *s) for b in benches] for s in shapes]
    return run_groups(arguments(__doc__), groups, call_of)


if __name__ == "__main__":
    sys.exit(main())
