"""Causal linear attention in PyTorch on the GPU, in chunks of 64 tokens, features elu(x) + 1 included.

    python3 bench/peer/cuda_causal_linear.py [--only REGEX] [--seconds S] [--deadline S]

Tokens lie as a network has them, [B,N,H*D] seen as heads. torch-eager and torch-compile are the chunked
form in einsum; torch-triton is the same form in two small Triton kernels (forward alone), with the sum over
chunks between them in PyTorch. Sums over chunks are in float everywhere.
"""

import sys

from cuda_common import arguments, compiled, dtype_of, run_groups

HEADS, CHUNK, EPSILON = 8, 64, 1e-6


def case(bench, impl, dtype, batch, n, d):
    return {"bench": bench, "impl": impl, "dtype": dtype, "batch": batch, "n": n, "d": d,
            "shape": f"{dtype} B{batch} N{n} H{HEADS} D{d}"}


def chunked(q, k, v):
    """[B,H,N,D] each; the values get a column of ones for the weights."""
    import torch
    from torch.nn.functional import elu, pad

    b, h, n, d = q.shape
    missing = -n % CHUNK
    q, k = elu(q) + 1, elu(k) + 1
    v = pad(v, (0, 1), value=1.0)
    if missing:
        q, k, v = (pad(x, (0, 0, 0, missing)) for x in (q, k, v))
    q, k, v = (x.reshape(b, h, -1, CHUNK, x.shape[-1]) for x in (q, k, v))
    sums = torch.einsum("bhnce,bhncd->bhned", k, v).float()
    before = (sums.cumsum(2) - sums).to(q.dtype)
    within = torch.einsum("bhnce,bhnse->bhncs", q, k).tril()
    out = torch.einsum("bhncs,bhnsd->bhncd", within, v) \
        + torch.einsum("bhnce,bhned->bhncd", q, before)
    out = out.reshape(b, h, n + missing, d + 1)[:, :, :n]
    return out[..., :d] / (out[..., d:] + EPSILON)


def call_of(c):
    import torch

    torch.manual_seed(0)

    def tokens():
        x = torch.randn(c["batch"], c["n"], HEADS * c["d"], device="cuda", dtype=dtype_of(c["dtype"]))
        return x.view(c["batch"], c["n"], HEADS, c["d"]).transpose(1, 2)

    q, k, v, dy = tokens(), tokens(), tokens(), tokens()
    if c["impl"] == "torch-triton":
        from causal_triton import attend

        few = [x[:1, :, :300] for x in (q, k, v)]
        with torch.no_grad():
            off = (attend(*few).float() - chunked(*(x.float() for x in few))).abs().max().item()
        if off > 0.05:
            raise RuntimeError(f"the Triton kernels differ from the chunked form by {off:.3g}")
    else:
        attend = compiled(chunked, "default") if c["impl"] == "torch-compile" else chunked
    if c["bench"] == "causal_fwd":
        def forward():
            with torch.no_grad():
                attend(q, k, v)
        return forward
    for x in (q, k, v):
        x.requires_grad_()
    return lambda: torch.autograd.grad(attend(q, k, v), (q, k, v), dy)


def main():
    shapes = [("bf16", 32, 2000, 16), ("fp32", 32, 2000, 16)]
    shapes += [("bf16", 1, n, d) for d in (16, 32, 64) for n in (16384, 1_000_000)]
    shapes += [("fp32", 1, 16384, 16), ("fp32", 1, 16384, 64), ("fp32", 1, 1_000_000, 16)]
    benches = ("causal_fwd", "causal_fwd_bwd")
    groups = [[case(b, "torch-eager", *s) for s in shapes for b in benches],
              [case("causal_fwd", "torch-triton", *s) for s in shapes]]
    groups += [[case(b, "torch-compile", *s) for b in benches] for s in shapes]
    return run_groups(arguments(__doc__), groups, call_of)


if __name__ == "__main__":
    sys.exit(main())
