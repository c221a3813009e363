"""Mixers of products of states in PyTorch on the GPU, by einsum, and in Triton where it is there.

    python3 bench/peer/cuda_triple.py [--only REGEX] [--seconds S] [--deadline S]

Tokens lie as a network has them, [B,N,H*D] seen as heads. torch-eager and torch-compile are einsums;
torch-chunked makes the outer products of 4096 tokens at a time; triton-fwd is the forward pass of triple
attention as one Triton kernel for the state (partial states, added up by torch) and one that reads it.
"""

import sys

from cuda_common import arguments, compiled, dtype_of, run_groups

POINTS, HEADS = 65_536, 8


def case(bench, impl, dtype, d):
    return {"bench": bench, "impl": impl, "dtype": dtype, "d": d,
            "shape": f"{dtype} N{POINTS} H{HEADS} D{d}"}


def triple(q1, q2, k1, k2, v):
    import torch

    s = torch.einsum("bhni,bhnj,bhnk->bhijk", k1, v, k2 / k2.shape[2])
    return torch.einsum("bhni,bhijk,bhnk->bhnj", q1, s, q2)


def outer(a, b):
    return (a.unsqueeze(-1) * b.unsqueeze(-2)).flatten(-2)


def triple_chunked(q1, q2, k1, k2, v):
    import torch

    n, step, state = v.shape[2], 4096, 0
    for i in range(0, n, step):
        rows = slice(i, i + step)
        state = state + (outer(k1[:, :, rows], k2[:, :, rows]).transpose(-1, -2)
                         @ v[:, :, rows]).float()
    state = (state / n).to(v.dtype)
    return torch.cat([outer(q1[:, :, i:i + step], q2[:, :, i:i + step]) @ state
                      for i in range(0, n, step)], 2)


def quad(q1, q2, q3, k1, k2, k3, v):
    import torch

    s = torch.einsum("bhni,bhnj,bhnk,bhnl->bhijkl", k1, v, k2, k3 / k3.shape[2])
    return torch.einsum("bhni,bhijkl,bhnk,bhnl->bhnj", q1, s, q2, q3)


def multilinear(q, k1, k2, v1, v2):
    n = q.shape[2]
    return q @ ((k1.transpose(-1, -2) @ v1 / n) * (k2.transpose(-1, -2) @ v2 / n))


def outer1(q, k, v):
    return q @ (k.transpose(-1, -2) @ v / q.shape[2])


def strassen(q, k1, k2, v1, v2):
    n = q.shape[2]
    s1, s2 = k1.transpose(-1, -2) @ v1 / n, k2.transpose(-1, -2) @ v2 / n
    both = s1 * s2
    return (q @ s1) * v2.mean(2, True) + both.sum(2, True) + (q @ s2) * v1.mean(2, True) + q @ both


MIXERS = {"triple": (triple, 5), "quad": (quad, 7), "multilinear": (multilinear, 5),
          "outer1": (outer1, 3), "strassen": (strassen, 5)}


def call_of(c):
    import torch

    dtype, d = dtype_of(c["dtype"]), c["d"]
    torch.manual_seed(0)
    mixer, operands = MIXERS[c["bench"].split("_")[0]]

    def tokens():
        return torch.randn(1, POINTS, HEADS * d, device="cuda", dtype=dtype) \
            .view(1, POINTS, HEADS, d).transpose(1, 2)

    x = [tokens().requires_grad_() for _ in range(operands)]
    dy = tokens()
    if c["impl"] == "torch-chunked":
        mixer = triple_chunked
    elif c["impl"] == "triton-fwd":
        from triple_triton import triple as mixer
        with torch.no_grad():  # a kernel that is wrong is no peer
            got, expected = mixer(*x).float(), triple_chunked(*[t.float() for t in x])
            off = ((got - expected).norm() / expected.norm()).item()
            if off > 0.02:
                raise RuntimeError(f"the Triton kernel is off by {off:.3g}")
    elif c["impl"] == "torch-compile":
        mixer = compiled(mixer, "default")
    if c["bench"].endswith("_fwd"):
        def forward():
            with torch.no_grad():
                mixer(*x)
        return forward
    return lambda: torch.autograd.grad(mixer(*x), x, dy)


def main():
    def cases(mixer, impl, dtype, widths, benches=("_fwd", "_fwd_bwd")):
        return [case(mixer + b, impl, dtype, d) for d in widths for b in benches]

    groups = []
    for dtype in ("bf16", "fp32"):
        groups += [cases("triple", impl, dtype, (16, 32, 8))
                   for impl in ("torch-eager", "torch-chunked", "torch-compile")]
        if dtype == "bf16":
            groups.append(cases("triple", "triton-fwd", dtype, (16, 32), ("_fwd",)))
        groups.append(cases("outer1", "torch-eager", dtype, (8, 16, 32, 64)))
        groups += [cases(m, impl, dtype, (16, 32), ("_graph",))
                   for m in ("triple", "multilinear", "strassen")
                   for impl in ("torch-eager", "torch-compile")]
        groups.append(cases("quad", "torch-eager", dtype, (8,)))
    return run_groups(arguments(__doc__), groups, call_of)


if __name__ == "__main__":
    sys.exit(main())
