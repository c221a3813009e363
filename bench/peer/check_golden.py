"""Check flare_torch.py against golden fixtures in float64.

    python3 bench/peer/check_golden.py FOLDER [--tolerance 1e-10]

Reads every pde_flare_*.safetensors of the folder whose model is flare or flare_experimental, and every
flare_mixer_*.safetensors. Prints per file the largest norm-wise relative error over outputs, loss
and gradients; exit code 1 if one exceeds the tolerance or the folder holds no such file.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open

from flare_torch import Flare, flare_mixer, relative_l2


def read(path):
    with safe_open(path, framework="pt") as f:
        return f.metadata() or {}, {key: f.get_tensor(key) for key in f.keys()}


def error(ours, golden):
    if ours is None:
        return float("inf")
    size = golden.norm().item()
    # reshape: a scalar loss is stored as [1].
    return (ours.detach().reshape(golden.shape) - golden).norm().item() / (size if size > 0 else 1.0)


def check_model(meta, t):
    config = json.loads(meta["config"])
    config.pop("model_type", None)
    model = Flare(**config).double()
    weights = {k.removeprefix("param/"): v for k, v in t.items() if k.startswith("param/")}
    model.load_state_dict(weights, strict=True)
    count = sum(p.numel() for p in model.parameters())
    if count != int(meta["num_params"]):
        raise ValueError(f"{count} parameters, the fixture says {meta['num_params']}")
    x = t["in/x"].clone().requires_grad_(True)
    y = model(x)
    loss = relative_l2(y, t["in/target"])
    loss.backward()
    errors = {"out/y": error(y, t["out/y"]), "out/loss": error(loss, t["out/loss"]),
              "grad_in/x": error(x.grad, t["grad_in/x"])}
    for name, p in model.named_parameters():
        errors["grad/" + name] = error(p.grad, t["grad/" + name])
    return errors


def check_mixer(meta, t):
    q, k, v = (t[name].clone().requires_grad_(True) for name in "qkv")
    y = flare_mixer(q.expand(k.shape[0], -1, -1, -1), k, v, float(meta["scale"]))
    y.backward(t["dy"])
    return {"y": error(y, t["y"]), "dq": error(q.grad, t["dq"]), "dk": error(k.grad, t["dk"]),
            "dv": error(v.grad, t["dv"])}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-10)
    args = parser.parse_args()
    checked, failed = 0, 0
    for path in sorted(args.folder.glob("*flare_*.safetensors")):
        meta, tensors = read(path)
        if meta.get("model") in ("flare", "flare_experimental") and meta.get("task") == "pde":
            errors = check_model(meta, tensors)
        elif path.name.startswith("flare_mixer_"):
            errors = check_mixer(meta, tensors)
        else:
            continue
        worst = max(errors, key=errors.get)
        ok = errors[worst] <= args.tolerance
        checked += 1
        failed += not ok
        print(f"{'ok  ' if ok else 'FAIL'} {path.name}: {len(errors)} tensors, "
              f"largest relative error {errors[worst]:.2e} ({worst})")
    if checked == 0:
        print(f"no FLARE fixture in {args.folder}")
    return 1 if failed or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
