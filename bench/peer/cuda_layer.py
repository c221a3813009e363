"""One FLARE layer in PyTorch on the GPU, forward and backward: C=128, H=8, K/V depth 3.

    python3 bench/peer/cuda_layer.py [--only REGEX] [--seconds S] [--deadline S]

bf16 comes in two forms: under autocast with parameters in float, as training has it, and
(torch-…-pure) with parameters in bf16 as well, which flr need not beat but is told. fp32 is true float.
"""

import sys

from cuda_common import arguments, compiled, dtype_of, run_groups

WIDTH, HEADS = 128, 8


def case(impl, dtype, n, m):
    return {"bench": "flare_layer", "impl": impl, "dtype": dtype, "n": n, "m": m,
            "shape": f"{dtype} N{n} C{WIDTH} H{HEADS} M{m}"}


def attention(impl, n):
    return {"bench": "softmax_attention", "impl": impl, "dtype": "bf16", "n": n,
            "shape": f"bf16 N{n} C{WIDTH} H{HEADS}"}


def attention_call(c):
    import torch
    import torch.nn.functional as F

    def heads():
        x = torch.randn(1, c["n"], WIDTH, device="cuda", dtype=torch.bfloat16)
        return x.view(1, c["n"], HEADS, WIDTH // HEADS).transpose(1, 2)

    q, k, v = (heads().requires_grad_() for _ in range(3))
    dy = heads()
    return lambda: torch.autograd.grad(F.scaled_dot_product_attention(q, k, v), (q, k, v), dy)


def call_of(c):
    import torch
    from flare_torch import Mixer, initialise

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(0)
    if c["bench"] == "softmax_attention":
        return attention_call(c)
    layer = Mixer(WIDTH, HEADS, c["m"], 1.0, 3, 3, 1.0, 1.0, None, False, False)
    layer.apply(initialise)
    layer = layer.cuda()
    pure, bf16 = c["impl"].endswith("-pure"), c["dtype"] == "bf16"
    if pure:
        layer = layer.bfloat16()
    x = torch.randn(1, c["n"], WIDTH, device="cuda", dtype=dtype_of(c["dtype"])).requires_grad_()
    dy = torch.randn_like(x)
    parameters = [x, *layer.parameters()]
    call = layer
    if "compile" in c["impl"]:
        call = compiled(layer, "reduce-overhead" if "graphs" in c["impl"] else "default")

    def step():
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=bf16 and not pure):
            y = call(x)
        for p in parameters:
            p.grad = None
        y.backward(dy)

    return step


def main():
    sizes = [(n, m) for n in (1_000_000, 100_000, 1_000) for m in (128, 2048, 512)]
    groups = [[case("torch-eager", "bf16", n, m) for n, m in sizes],
              [case("torch-eager-pure", "bf16", 1_000_000, m) for m in (128, 2048)],
              [case("torch-compile", "bf16", 1_000_000, 128)],
              [case("torch-compile", "bf16", 1_000_000, 2048)],
              [case("torch-eager", "fp32", n, m) for n in (1_000_000, 100_000) for m in (128,)],
              [case("torch-compile", "fp32", 1_000_000, 128)],
              [case("torch-compile", "fp32", 100_000, 128)],
              [attention("torch-eager", 100_000)],
              [case("torch-compile", "bf16", 100_000, 128)],
              [case("torch-compile-graphs", "bf16", 1_000, 128)],
              [case("torch-compile", "bf16", 1_000_000, 512)],
              [case("torch-eager", "fp32", 1_000, m) for m in (128, 512, 2048)],
              [case("torch-compile-graphs", "fp32", 1_000, 128)],
              [case("torch-eager", "fp32", n, m) for n in (100_000, 1_000_000) for m in (512, 2048)],
              [case("torch-compile-pure", "bf16", 1_000_000, 128)]]
    return run_groups(arguments(__doc__), groups, call_of)


if __name__ == "__main__":
    sys.exit(main())
