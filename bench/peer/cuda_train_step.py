"""FLARE's training step in PyTorch on the GPU: forward, relative L2, backward, clipping, fused AdamW.

    python3 bench/peer/cuda_train_step.py [--only REGEX] [--seconds S] [--deadline S]

torch-eager; torch-compile: model and loss compiled; torch-compile-graphs: the same in the mode
reduce-overhead, with CUDA graphs; torch-graph: the whole eager step, optimiser included, captured as one
CUDA graph by hand, the least that PyTorch can spend on launches. bf16 is autocast with parameters in
float.
"""

import sys

from cuda_common import arguments, compiled, run_groups

# name: batch, points, inputs, heads, latents
SETUPS = {"elasticity": (2, 972, 2, 8, 64), "darcy": (2, 7225, 3, 16, 256),
          "40k": (1, 40_000, 3, 8, 256), "1M": (1, 1_000_000, 3, 8, 128)}


def case(impl, name, precision):
    b, n, _, h, m = SETUPS[name]
    return {"bench": "train_step", "impl": impl, "name": name, "precision": precision,
            "shape": f"{name} {precision} B{b} N{n} C64 L8 H{h} M{m}"}


def call_of(c):
    import torch
    from flare_torch import Flare, decay_groups, relative_l2

    batch, points, inputs, heads, latents = SETUPS[c["name"]]
    tf32 = c["precision"] == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.manual_seed(0)
    model = Flare(inputs, 1, channel_dim=64, num_blocks=8, num_heads=heads,
                  num_latents=latents).cuda()
    x = torch.rand(batch, points, inputs, device="cuda")
    target = torch.randn(batch, points, 1, device="cuda")
    parameters = list(model.parameters())
    by_hand = c["impl"] == "torch-graph"
    optimiser = torch.optim.AdamW(decay_groups(model, 1e-5), lr=1e-3, fused=True, capturable=by_hand)

    def loss_of(x, target):
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=c["precision"] == "bf16"):
            prediction = model(x)
        return relative_l2(prediction.float(), target)

    function = loss_of
    if "compile" in c["impl"]:
        function = compiled(loss_of, "reduce-overhead" if "graphs" in c["impl"] else "default")

    def step():
        optimiser.zero_grad(set_to_none=True)
        function(x, target).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimiser.step()

    if not by_hand:
        return step
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    optimiser.zero_grad(set_to_none=True)
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def main():
    groups = [[case("torch-eager", name, p) for name, precisions in
               (("elasticity", ("fp32", "tf32", "bf16")), ("darcy", ("bf16", "tf32", "fp32")),
                ("40k", ("bf16", "tf32")), ("1M", ("bf16",))) for p in precisions]]
    groups += [[case("torch-graph", name, p)] for name, p in
               (("elasticity", "fp32"), ("elasticity", "bf16"), ("darcy", "bf16"), ("darcy", "tf32"),
                ("40k", "bf16"))]
    # 1M runs once with torch.compile; CUDA graphs save it nothing.
    groups += [[case(impl, name, p)] for impl, name, p in
               (("torch-compile", "1M", "bf16"), ("torch-compile-graphs", "elasticity", "fp32"),
                ("torch-compile-graphs", "darcy", "bf16"), ("torch-compile-graphs", "darcy", "tf32"),
                ("torch-compile", "40k", "bf16"), ("torch-compile-graphs", "elasticity", "bf16"),
                ("torch-compile", "darcy", "bf16"), ("torch-compile", "elasticity", "fp32"),
                ("torch-compile-graphs", "elasticity", "tf32"))]
    return run_groups(arguments(__doc__), groups, call_of)


if __name__ == "__main__":
    sys.exit(main())
