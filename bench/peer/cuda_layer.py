"""One layer in PyTorch on the GPU, forward and backward: FLARE's (C=128, H=8, K/V depth 3), softmax
attention's and Transolver's physics attention (64 slices), N from 1k to 1M.

    python3 bench/peer/cuda_layer.py [--only REGEX] [--seconds S] [--deadline S]

bf16 comes in two forms: under autocast with parameters in float, as training has it, and
(torch-…-pure) with parameters in bf16 as well, which flr need not beat but is told. fp32 is true float.
"""

import sys

from cuda_common import arguments, compiled, dtype_of, run_groups

WIDTH, HEADS, SLICES = 128, 8, 64
SIZES = (1_024, 4_096, 16_384, 65_536, 131_072, 262_144, 1_048_576)


def case(impl, dtype, n, m):
    return {"bench": "flare_layer", "impl": impl, "dtype": dtype, "n": n, "m": m,
            "shape": f"{dtype} N{n} C{WIDTH} H{HEADS} M{m}"}


def other(bench, impl, dtype, n):
    slices = f" G{SLICES}" if bench == "physics_layer" else ""
    return {"bench": bench, "impl": impl, "dtype": dtype, "n": n,
            "shape": f"{dtype} N{n} C{WIDTH} H{HEADS}{slices}"}


def layer_of(c):
    from attention_layers import PhysicsAttention, SelfAttention
    from flare_torch import Mixer, initialise

    if c["bench"] == "softmax_layer":
        return SelfAttention(WIDTH, HEADS)
    if c["bench"] == "physics_layer":
        return PhysicsAttention(WIDTH, HEADS, SLICES)
    layer = Mixer(WIDTH, HEADS, c["m"], 1.0, 3, 3, 1.0, 1.0, None, False, False)
    layer.apply(initialise)
    return layer


def call_of(c):
    import torch
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(0)
    layer = layer_of(c)
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
    # What says most comes first: the ends of the figure, then what lies between.
    most, least = SIZES[-1], SIZES[0]
    groups = [[case("torch-eager", dtype, n, m) for n in reversed(SIZES) for m in (128, 2048, 512)]
              + [other("softmax_layer", "torch-eager", dtype, n) for n in SIZES if n <= 131_072]
              + [other("physics_layer", "torch-eager", dtype, n) for n in SIZES]
              for dtype in ("bf16", "fp32")]
    groups[1:1] = [[case("torch-eager-pure", "bf16", most, m) for m in (128, 2048)],
                   [case("torch-compile", "bf16", most, 128)],
                   [case("torch-compile", "bf16", most, 2048)]]
    groups += [[case("torch-compile", "fp32", most, 128)],
               [case("torch-compile-graphs", "bf16", least, 128)],
               [case("torch-compile", "bf16", most, 512)],
               [case("torch-compile-graphs", "fp32", least, 128)],
               [case("torch-compile-pure", "bf16", most, 128)]]
    return run_groups(arguments(__doc__), groups, call_of)


if __name__ == "__main__":
    sys.exit(main())
