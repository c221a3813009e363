"""MEGA's damped moving average in PyTorch on the GPU: a convolution by FFT, as its own code does it.

    python3 bench/peer/cuda_damped_ema.py [--only REGEX] [--seconds S] [--deadline S]

The kernel of a channel, sum over j of w_j r_j^t for every t, is made from the parameters in every call, since
they learn; tokens and kernel go through a real FFT of twice the length, in float.
"""

import sys

from cuda_common import arguments, compiled, dtype_of, run_groups


def case(bench, impl, dtype, batch, n, channels, order):
    return {"bench": bench, "impl": impl, "dtype": dtype, "batch": batch, "n": n, "channels": channels,
            "order": order, "shape": f"{dtype} B{batch} N{n} C{channels} order{order}"}


def by_fft(x, decay, weight):
    """x [B,N,C], decay and weight [C,order] → [B,N,C]."""
    import torch

    n = x.shape[1]
    steps = torch.arange(n, device=x.device, dtype=decay.dtype)
    powers = torch.exp(steps * torch.log(decay).unsqueeze(-1))  # [C,order,N]
    kernel = torch.einsum("cj,cjn->cn", weight, powers)
    signal = torch.fft.rfft(x.float().transpose(1, 2), n=2 * n)
    out = torch.fft.irfft(signal * torch.fft.rfft(kernel, n=2 * n), n=2 * n)[..., :n]
    return out.transpose(1, 2).to(x.dtype)


def call_of(c):
    import torch

    torch.manual_seed(0)

    def tokens():
        return torch.randn(c["batch"], c["n"], c["channels"], device="cuda", dtype=dtype_of(c["dtype"]))

    x, dy = tokens(), tokens()
    decay = 0.05 + 0.9 * torch.rand(c["channels"], c["order"], device="cuda")
    weight = torch.randn(c["channels"], c["order"], device="cuda")
    average = compiled(by_fft, "default") if c["impl"] == "torch-compile" else by_fft
    if c["bench"] == "ema_fwd":
        def forward():
            with torch.no_grad():
                average(x, decay, weight)
        return forward
    for t in (x, decay, weight):
        t.requires_grad_()
    return lambda: torch.autograd.grad(average(x, decay, weight), (x, decay, weight), dy)


def main():
    shapes = [("bf16", *s, order) for order in (2, 16)
              for s in ((32, 2000, 128), (8, 16384, 128), (1, 1_000_000, 64))]
    shapes += [("fp32", 32, 2000, 128, 16), ("fp32", 1, 1_000_000, 64, 16)]
    benches = ("ema_fwd", "ema_fwd_bwd")
    groups = [[case(b, "torch-eager", *s) for s in shapes for b in benches]]
    groups += [[case(b, "torch-compile", *s) for b in benches] for s in shapes]
    return run_groups(arguments(__doc__), groups, call_of)


if __name__ == "__main__":
    sys.exit(main())
