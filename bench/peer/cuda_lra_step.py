"""The training step of `lra` in PyTorch on the GPU: ListOps, cross-entropy, clipping, fused AdamW.

    python3 bench/peer/cuda_lra_step.py [--only REGEX] [--seconds S] [--deadline S]
    python3 bench/peer/cuda_lra_step.py --device cpu   # parameter counts and a small step, no GPU

torch-eager; torch-compile: model and loss compiled; torch-compile-graphs: the same in the mode
reduce-overhead, with CUDA graphs; torch-graph: the whole eager step, optimiser included, captured as one
CUDA graph by hand. bf16 is autocast with parameters in float; the Performer's features are float in
all.
"""

import json
import sys

from cuda_common import arguments, compiled, run_groups

MIXERS = ("transformer", "flare", "linear", "performer")
BATCH, LENGTH = 32, 2000


def case(impl, mixer, precision):
    return {"bench": "lra_step", "impl": impl, "mixer": mixer, "precision": precision,
            "shape": f"listops {mixer} {precision} B{BATCH} N{LENGTH} C128 L4 H8"}


def make_step(model, batch, precision, device, change=lambda f: f, capturable=False):
    """A training step on one batch of random tokens; returns (step, optimiser)."""
    import torch
    import torch.nn.functional as F
    from lra_torch import decay_groups

    tokens = torch.randint(0, 16, (batch, model.pe.num_embeddings), device=device)
    labels = torch.arange(batch, device=device) % 10
    parameters = list(model.parameters())
    optimiser = torch.optim.AdamW(decay_groups(model, 1e-5), lr=5e-4, betas=(0.9, 0.98),
                                  fused=True, capturable=capturable)

    def loss_of(tokens, labels):
        with torch.autocast(device, dtype=torch.bfloat16, enabled=precision == "bf16"):
            logits = model(tokens)
        return F.cross_entropy(logits.float(), labels)

    function = change(loss_of)

    def step():
        optimiser.zero_grad(set_to_none=True)
        loss = function(tokens, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0, foreach=True)
        optimiser.step()
        return loss

    return step, optimiser


def call_of(c):
    import torch
    from lra_torch import Lra

    tf32 = c["precision"] == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.manual_seed(0)
    model = Lra(c["mixer"], length=LENGTH).cuda()
    by_hand = c["impl"] == "torch-graph"

    def change(function):
        if "compile" not in c["impl"]:
            return function
        return compiled(function, "reduce-overhead" if "graphs" in c["impl"] else "default")

    step, optimiser = make_step(model, BATCH, c["precision"], "cuda", change, by_hand)
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


def on_cpu():
    """The counts that flr's program prints for --device cpu too, and that steps learn."""
    import torch
    from lra_torch import Lra

    def count(model):
        return sum(p.numel() for p in model.parameters())

    for mixer in MIXERS:
        full = count(Lra(mixer, length=LENGTH))
        for precision in ("fp32", "bf16"):
            torch.manual_seed(0)
            model = Lra(mixer, length=64, width=32, blocks=2, heads=4)
            step, _ = make_step(model, 4, precision, "cpu")
            losses = [round(step().item(), 4) for _ in range(3)]
            print(json.dumps({"bench": "lra_step", "impl": "torch", "mixer": mixer, "parameters": full,
                              "small": {"precision": precision, "parameters": count(model),
                                        "losses": losses}}))
    return 0


def main():
    if sys.argv[1:] == ["--device", "cpu"]:
        return on_cpu()
    groups = [[case("torch-eager", m, p) for p in ("bf16", "tf32", "fp32") for m in MIXERS]]
    groups += [[case("torch-graph", m, "bf16")] for m in MIXERS]
    groups += [[case(impl, m, p)] for p in ("bf16", "tf32", "fp32")
               for impl in ("torch-compile", "torch-compile-graphs") for m in MIXERS
               if p == "bf16" or impl == "torch-compile"]
    return run_groups(arguments(__doc__), groups, call_of)


if __name__ == "__main__":
    sys.exit(main())
