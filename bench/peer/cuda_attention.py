"""Scaled dot-product attention in PyTorch on the GPU, in bf16 and in float with tf32.

    python3 bench/peer/cuda_attention.py [--only REGEX] [--seconds S] [--deadline S]

Tokens lie as a network has them, [B,N,H*D] seen as heads. torch-sdpa is what PyTorch chooses by itself,
torch-flash its FlashAttention (bf16 only), torch-efficient its memory-efficient kernel, torch-cudnn cuDNN's.
"""

import sys

from cuda_common import arguments, dtype_of, run_groups

HEADS = 8
IMPLS = {"torch-sdpa": None, "torch-flash": "FLASH_ATTENTION",
         "torch-efficient": "EFFICIENT_ATTENTION", "torch-cudnn": "CUDNN_ATTENTION"}


def case(bench, impl, batch, nq, nk, d, causal, dtype="bf16"):
    tokens = f"N{nq}" if nq == nk else f"Nq{nq} Nk{nk}"
    return {"bench": bench, "impl": impl, "batch": batch, "nq": nq, "nk": nk, "d": d,
            "causal": causal, "dtype": dtype,
            "shape": f"{dtype} B{batch} {tokens} H{HEADS} D{d}{' causal' if causal else ''}"}


def call_of(c):
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = True
    d = c["d"]

    def tokens(n):
        x = torch.randn(c["batch"], n, HEADS * d, device="cuda", dtype=dtype_of(c["dtype"]))
        return x.view(c["batch"], n, HEADS, d).transpose(1, 2)

    q, k, v = (tokens(n).requires_grad_() for n in (c["nq"], c["nk"], c["nk"]))
    dy = tokens(c["nq"])
    name = IMPLS[c["impl"]]

    def attend():
        if name is None:
            return scaled_dot_product_attention(q, k, v, is_causal=c["causal"])
        with sdpa_kernel(getattr(SDPBackend, name)):
            return scaled_dot_product_attention(q, k, v, is_causal=c["causal"])

    if c["bench"] == "attention_fwd":
        def forward():
            with torch.no_grad():
                attend()
        return forward
    if c["bench"] == "attention_bwd":
        y = attend()
        return lambda: torch.autograd.grad(y, (q, k, v), dy, retain_graph=True)
    return lambda: torch.autograd.grad(attend(), (q, k, v), dy)


def main():
    shapes = [(32, 2000, 2000, 16, False), (32, 2000, 2000, 16, True)]
    for d in (8, 16, 32, 64, 128):
        shapes += [(1, 1024, 1024, d, False), (1, 16384, 16384, d, False), (4, 4096, 4096, d, True),
                   (1, 64, 1_000_000, d, False)]
    shapes += [(1, 100_000, 100_000, d, False) for d in (16, 64)]
    in_float = [(32, 2000, 2000, 16, False, "tf32")]
    in_float += [(1, 16384, 16384, d, False, "tf32") for d in (8, 16, 32, 64)]
    benches = ("attention_fwd", "attention_bwd", "attention_fwd_bwd")
    # PyTorch's own choice first: with little time the others are left out.
    groups = [[case(bench, impl, *shape) for shape in shapes for bench in benches]
              for impl in IMPLS]
    groups.insert(1, [case(bench, impl, *shape) for shape in in_float
                      for impl in ("torch-sdpa", "torch-efficient") for bench in benches])
    return run_groups(arguments(__doc__), groups, call_of)


if __name__ == "__main__":
    sys.exit(main())
