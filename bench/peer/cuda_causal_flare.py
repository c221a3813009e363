"""Causal FLARE in PyTorch on the GPU, in chunks of 64 tokens.

    python3 bench/peer/cuda_causal_flare.py [--only REGEX] [--seconds S] [--deadline S]

Tokens lie as a network has them, [B,N,H*D] seen as heads. torch-eager and torch-compile are causal linear
attention with the features p / C of queries and exp(s - top) of keys: top is a latent's largest score of all
tokens and C the sum of its keys so far, so scores must not range over more than float's exponents. Sums over
chunks are in float.
"""

import sys

from cuda_common import arguments, compiled, dtype_of, run_groups

CHUNK = 64


def case(bench, impl, dtype, batch, n, heads, m, d):
    return {"bench": bench, "impl": impl, "dtype": dtype, "batch": batch, "n": n, "heads": heads, "m": m, "d": d,
            "shape": f"{dtype} B{batch} N{n} H{heads} M{m} D{d}"}


def chunked(q, k, v):
    """q [H,M,D] latents, k and v [B,H,N,D]."""
    import torch
    from torch.nn.functional import pad

    b, h, n, d = k.shape
    scores = torch.einsum("bhnd,hmd->bhnm", k, q).float() * d ** -0.5
    keys = torch.exp(scores - scores.amax(2, keepdim=True).detach())
    queries = torch.softmax(scores, -1) / keys.cumsum(2)
    missing = -n % CHUNK
    queries, keys = queries.to(v.dtype), keys.to(v.dtype)
    if missing:
        queries, keys, v = (pad(x, (0, 0, 0, missing)) for x in (queries, keys, v))
    queries, keys, v = (x.reshape(b, h, -1, CHUNK, x.shape[-1]) for x in (queries, keys, v))
    sums = torch.einsum("bhncm,bhncd->bhnmd", keys, v).float()
    before = (sums.cumsum(2) - sums).to(v.dtype)
    within = torch.einsum("bhncm,bhnsm->bhncs", queries, keys).tril()
    out = torch.einsum("bhncs,bhnsd->bhncd", within, v) \
        + torch.einsum("bhncm,bhnmd->bhncd", queries, before)
    return out.reshape(b, h, n + missing, d)[:, :, :n]


def call_of(c):
    import torch

    torch.manual_seed(0)

    def tokens():
        x = torch.randn(c["batch"], c["n"], c["heads"] * c["d"], device="cuda", dtype=dtype_of(c["dtype"]))
        return x.view(c["batch"], c["n"], c["heads"], c["d"]).transpose(1, 2)

    q = torch.randn(c["heads"], c["m"], c["d"], device="cuda", dtype=dtype_of(c["dtype"]))
    k, v, dy = tokens(), tokens(), tokens()
    attend = compiled(chunked, "default") if c["impl"] == "torch-compile" else chunked
    if c["bench"] == "causal_flare_fwd":
        def forward():
            with torch.no_grad():
                attend(q, k, v)
        return forward
    for x in (q, k, v):
        x.requires_grad_()
    return lambda: torch.autograd.grad(attend(q, k, v), (q, k, v), dy)


def main():
    shapes = [("bf16", 1, n, 16, m, 32) for n in (131072, 16384) for m in (32, 64, 128)]
    shapes += [("bf16", 32, 2000, 8, 32, 16), ("bf16", 1, 131072, 8, 128, 64)]
    shapes += [("fp32", 1, 16384, 16, m, 32) for m in (32, 128)]
    benches = ("causal_flare_fwd", "causal_flare_fwd_bwd")
    groups = [[case(b, "torch-eager", *s) for s in shapes for b in benches]]
    groups += [[case(b, "torch-compile", *s) for b in benches] for s in shapes]
    return run_groups(arguments(__doc__), groups, call_of)


if __name__ == "__main__":
    sys.exit(main())
