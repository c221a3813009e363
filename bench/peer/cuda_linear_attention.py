"""Linear attention (elu+1) and the performer in PyTorch on the GPU: products by einsum.

    python3 bench/peer/cuda_linear_attention.py [--only REGEX] [--seconds S] [--deadline S]

Tokens lie as a network has them, [B,N,H*D]; q, k and v are leaves of their own (linear_fwd, linear_fwd_bwd)
or one tensor cut in three (linear_graph, performer_graph).
"""

import sys

from cuda_common import arguments, compiled, dtype_of, run_groups

HEADS, FEATURES = 8, 256


def case(bench, impl, dtype, n, d):
    return {"bench": bench, "impl": impl, "dtype": dtype, "n": n, "d": d,
            "shape": f"{dtype} N{n} H{HEADS} D{d}"}


def attend(f, g, v, epsilon=1e-6):
    """Features of queries and keys, and values, all [B,N,H,.]."""
    import torch

    state = torch.einsum("bnhe,bnhd->bhed", g, v)
    weight = torch.einsum("bnhe,bhe->bnh", f, g.sum(1))
    return torch.einsum("bnhe,bhed->bnhd", f, state) / (weight + epsilon).unsqueeze(-1)


def linear(q, k, v):
    from torch.nn.functional import elu

    return attend(elu(q) + 1, elu(k) + 1, v)


def performer(q, k, v, rows):
    """FAVOR+ (arXiv 2009.14794): positive features, one maximum for all keys of a head."""
    import torch

    def exponents(x):
        x = x * x.shape[-1] ** -0.25
        return torch.einsum("bnhd,hrd->bnhr", x, rows) - x.square().sum(-1, keepdim=True) / 2

    eq, ek = exponents(q), exponents(k)
    scale = rows.shape[1] ** -0.5
    f = torch.exp(eq - eq.amax(-1, keepdim=True)) * scale + 1e-6
    g = torch.exp(ek - ek.amax((1, 3), keepdim=True)) * scale + 1e-6
    return attend(f, g, v)


def call_of(c):
    import torch

    dtype, n, d = dtype_of(c["dtype"]), c["n"], c["d"]
    torch.manual_seed(0)
    together = c["bench"].endswith("graph")
    mixer = linear
    if c["bench"].startswith("performer"):
        rows = torch.randn(HEADS, FEATURES, d, device="cuda", dtype=dtype)
        mixer = lambda q, k, v: performer(q, k, v, rows)
    if c["impl"] == "torch-compile":
        mixer = compiled(mixer, "default")
    dy = torch.randn(1, n, HEADS, d, device="cuda", dtype=dtype)
    heads = lambda x: x.view(1, n, HEADS, d)
    if together:
        leaf = torch.randn(1, n, 3 * HEADS * d, device="cuda", dtype=dtype).requires_grad_()

        def step():
            q, k, v = (heads(x) for x in leaf.chunk(3, -1))
            return torch.autograd.grad(mixer(q, k, v), leaf, dy)
        return step
    leaves = [torch.randn(1, n, HEADS, d, device="cuda", dtype=dtype).requires_grad_()
              for _ in range(3)]
    if c["bench"] == "linear_fwd":
        def forward():
            with torch.no_grad():
                mixer(*leaves)
        return forward
    return lambda: torch.autograd.grad(mixer(*leaves), leaves, dy)


def main():
    calls, graphs = ("linear_fwd", "linear_fwd_bwd"), ("linear_graph", "performer_graph")
    groups = []
    for impl in ("torch-compile", "torch-eager"):
        groups.append([case(b, impl, "bf16", 1_000_000, 16) for b in (*calls, "linear_graph")])
        groups.append([case(b, impl, dtype, 65_536, 16) for dtype in ("bf16", "fp32") for b in graphs])
        groups.append([case(b, impl, "bf16", 1_000_000, d) for d in (8, 32, 64) for b in calls])
        groups.append([case(b, impl, "fp32", 1_000_000, d) for d in (16, 32) for b in calls])
        groups.append([case(b, impl, "bf16", 16_384, 64) for b in calls])
    return run_groups(arguments(__doc__), groups, call_of)


if __name__ == "__main__":
    sys.exit(main())
