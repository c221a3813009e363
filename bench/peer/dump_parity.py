"""Write what another program needs to repeat ten PyTorch training steps of FLARE from equal weights.

    python3 bench/peer/dump_parity.py OUT_FOLDER [--steps 10]

Writes init.safetensors (parameters, fp32), batches.safetensors (x/<k>, target/<k>, fp32), final_fp64.safetensors
(parameters after the last step) and parity.json: every switch, the losses before each update and
the gradient norms before clipping, in fp32 and in fp64. The fp64 run starts from the same fp32 values.
"""

import argparse
import copy
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from flare_torch import Flare, decay_groups, relative_l2


def train(model, batches, switches, dtype):
    model = copy.deepcopy(model).to(dtype)
    optimiser = torch.optim.AdamW(
        decay_groups(model, switches["weight_decay"]), lr=switches["learning_rate"],
        betas=(switches["opt_beta1"], switches["opt_beta2"]), eps=switches["opt_eps"])
    losses, norms = [], []
    for x, target in batches:
        optimiser.zero_grad()
        loss = relative_l2(model(x.to(dtype)), target.to(dtype))
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), switches["clip_grad_norm"])
        optimiser.step()
        losses.append(loss.item())
        norms.append(norm.item())
    return {"losses": losses, "grad_norms": norms}, model


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=1e-5)
    for name, value in (("batch", 2), ("points", 972), ("channels", 64), ("blocks", 8),
                        ("heads", 8), ("latents", 64)):
        parser.add_argument("--" + name, type=int, default=value)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    config = {"c_in": 2, "c_out": 1, "channel_dim": args.channels, "num_blocks": args.blocks,
              "num_heads": args.heads, "num_latents": args.latents, "attn_scale": 1.0, "act": None,
              "rmsnorm": False, "out_proj_norm": True, "num_layers_in_out_proj": 2,
              "num_layers_k_proj": 3, "num_layers_v_proj": 3, "num_layers_ffn": 3,
              "k_proj_mlp_ratio": 1.0, "v_proj_mlp_ratio": 1.0, "ffn_mlp_ratio": 1.0,
              "qk_norm": False}
    model = Flare(**config)
    # A smooth field of the coordinates: something the steps can learn, so the losses move.
    batches = []
    for _ in range(args.steps):
        x = torch.rand(args.batch, args.points, 2)
        target = torch.sin(3 * x[..., :1]) * torch.cos(5 * x[..., 1:]) + 0.5
        batches.append((x, target.contiguous()))
    switches = {
        "optimizer": "adamw", "learning_rate": args.learning_rate, "schedule": "constant",
        "weight_decay": args.weight_decay, "weight_decay_on": "all but biases and norm parameters; "
        "latents are decayed", "opt_beta1": 0.9, "opt_beta2": 0.999, "opt_eps": 1e-8,
        "clip_grad_norm": 1.0, "loss": "relative_l2, mean over the batch, no normaliser",
        "gelu": "tanh", "dropout": 0.0, "tf32": torch.backends.cuda.matmul.allow_tf32,
        "autocast": False, "ema": False, "device": "cpu", "seed": args.seed,
        "torch": torch.__version__, "threads": torch.get_num_threads()}
    args.folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), args.folder / "init.safetensors",
              metadata={"config": json.dumps(config)})
    tensors = {}
    for k, (x, target) in enumerate(batches):
        tensors[f"x/{k}"], tensors[f"target/{k}"] = x, target
    save_file(tensors, args.folder / "batches.safetensors")
    fp32, _ = train(model, batches, switches, torch.float32)
    fp64, final = train(model, batches, switches, torch.float64)
    save_file(final.state_dict(), args.folder / "final_fp64.safetensors")
    report = {"config": config, "switches": switches, "fp32": fp32, "fp64": fp64}
    (args.folder / "parity.json").write_text(json.dumps(report, indent=1) + "\n")
    for name, value in switches.items():
        print(f"{name}: {value}")
    print("step   loss fp32      loss fp64          grad norm fp64")
    for k, (a, b, g) in enumerate(zip(fp32["losses"], fp64["losses"], fp64["grad_norms"])):
        print(f"{k:4d}   {a:.8f}   {b:.14f}   {g:.8e}")


if __name__ == "__main__":
    main()
