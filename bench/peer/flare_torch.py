"""FLARE (arXiv 2508.12594) in plain PyTorch: the peer that flr is measured and checked against.

Parameter names and layouts equal those of the reference's state_dict, so one safetensors file of
weights serves this model and flr's. The mixer goes through F.scaled_dot_product_attention, which is
the fastest general path PyTorch offers.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

ACTIVATIONS = {
    None: lambda a: F.gelu(a, approximate="tanh"),
    "gelu": lambda a: F.gelu(a, approximate="tanh"),
    "silu": F.silu,
}


def norm(width, rms):
    return nn.RMSNorm(width) if rms else nn.LayerNorm(width)


class ResidualMLP(nn.Module):
    """fc1, `depth` residual hidden layers, fc2; depth -1 is one Linear named fc."""

    def __init__(self, c_in, hidden, c_out, depth, act=None, residual_in=False, residual_out=False):
        super().__init__()
        self.act = ACTIVATIONS[act]
        self.depth = depth
        if depth < 0:
            self.fc = nn.Linear(c_in, c_out)
            self.add_input = residual_in and residual_out and c_in == c_out
            return
        self.fc1 = nn.Linear(c_in, hidden)
        self.fcs = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(depth))
        self.fc2 = nn.Linear(hidden, c_out)
        self.add_input = residual_in and c_in == hidden
        self.add_hidden = residual_out and hidden == c_out

    def forward(self, x):
        if self.depth < 0:
            y = self.fc(x)
            return y + x if self.add_input else y
        a = self.act(self.fc1(x))
        if self.add_input:
            a = a + x
        for fc in self.fcs:
            a = a + self.act(fc(a))
        y = self.fc2(a)
        return y + a if self.add_hidden else y


def flare_mixer(q, k, v, scale):
    """Tokens k, v [B,H,N,D] gathered into latents q [B,H,M,D] and scattered back."""
    z = F.scaled_dot_product_attention(q, k, v, scale=scale)
    return F.scaled_dot_product_attention(k, q, z, scale=scale)


class Mixer(nn.Module):
    def __init__(self, width, heads, latents, scale, k_depth, v_depth, k_ratio, v_ratio, act, rms,
                 qk_norm):
        super().__init__()
        self.heads, self.latents, self.scale = heads, latents, scale
        # Whether the heads of k and v are copied together for the attention or passed as strided
        # views, as the reference does; which is faster depends on the machine.
        self.copy_heads = False
        # [width, latents] in memory is read as [heads, latents, width/heads]: a view, no transpose.
        self.latent_q = nn.Parameter(torch.empty(width, latents))

        def projection(depth, ratio):
            return ResidualMLP(width, int(width * ratio), width, depth, act, True, True)

        self.k_proj = projection(k_depth, k_ratio)
        self.v_proj = projection(v_depth, v_ratio)
        self.out_proj = nn.Linear(width, width)
        if qk_norm:
            self.q_norm = norm(width // heads, rms)
            self.k_norm = norm(width // heads, rms)
        self.qk_norm = qk_norm

    def forward(self, x):
        b, n, c = x.shape
        d = c // self.heads
        q = self.latent_q.view(1, self.heads, self.latents, d)
        k = self.k_proj(x).view(b, n, self.heads, d).transpose(1, 2)
        v = self.v_proj(x).view(b, n, self.heads, d).transpose(1, 2)
        if self.copy_heads:
            k, v = k.contiguous(), v.contiguous()
        if self.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        y = flare_mixer(q.expand(b, -1, -1, -1), k, v, self.scale)
        return self.out_proj(y.transpose(1, 2).reshape(b, n, c))


class Block(nn.Module):
    def __init__(self, width, rms, ffn_ratio, ffn_depth, act, **mixer):
        super().__init__()
        self.norm1 = norm(width, rms)
        self.att = Mixer(width, act=act, rms=rms, **mixer)
        self.norm2 = norm(width, rms)
        self.mlp = ResidualMLP(width, int(width * ffn_ratio), width, ffn_depth, act, True, True)

    def forward(self, x):
        x = x + self.att(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Flare(nn.Module):
    """x [B,N,c_in] -> [B,N,c_out]. Arguments carry the reference's names and defaults."""

    def __init__(self, c_in, c_out, channel_dim=64, num_blocks=8, num_heads=8, num_latents=64,
                 attn_scale=1.0, act=None, rmsnorm=False, out_proj_norm=True,
                 num_layers_in_out_proj=2, in_out_proj_ratio=1.0, num_layers_k_proj=3,
                 num_layers_v_proj=3, k_proj_mlp_ratio=1.0, v_proj_mlp_ratio=1.0,
                 num_layers_ffn=3, ffn_mlp_ratio=1.0, qk_norm=False):
        super().__init__()
        width = channel_dim
        heads = num_heads or width // 8
        scale = {"one": 1.0, "sqrt": 1.0 / math.sqrt(width // heads)}.get(attn_scale, attn_scale)
        hidden = int(width * in_out_proj_ratio)
        depth = num_layers_in_out_proj
        self.in_proj = ResidualMLP(c_in, hidden, width, depth, act, residual_out=True)
        self.blocks = nn.ModuleList(
            Block(width, rmsnorm, ffn_mlp_ratio, num_layers_ffn, act, heads=heads,
                  latents=num_latents, scale=scale, k_depth=num_layers_k_proj,
                  v_depth=num_layers_v_proj, k_ratio=k_proj_mlp_ratio, v_ratio=v_proj_mlp_ratio,
                  qk_norm=qk_norm)
            for _ in range(num_blocks))
        self.out_proj = nn.Sequential(
            norm(width, rmsnorm) if out_proj_norm else nn.Identity(),
            ResidualMLP(width, hidden, c_out, depth, act, residual_in=True))
        self.apply(initialise)

    def copy_heads(self, on):
        for block in self.blocks:
            block.att.copy_heads = on

    def forward(self, x):
        x = self.in_proj(x)
        for block in self.blocks:
            x = block(x)
        return self.out_proj(x)


def initialise(module):
    """Linear weights N(0, 0.02), biases 0, latents N(0, 0.1); norms keep 1 and 0."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, Mixer):
        nn.init.normal_(module.latent_q, 0.0, 0.1)


def relative_l2(prediction, target):
    """Mean over the batch of |p - t| / |t|, norms over all other axes."""
    difference = (prediction - target).flatten(1).norm(dim=1)
    return (difference / target.flatten(1).norm(dim=1)).mean()


def decay_groups(model, weight_decay):
    """The groups of the published runs: biases and norms undecayed, latents decayed."""
    decayed, plain = [], []
    for name, p in model.named_parameters():
        is_plain = name.endswith("bias") or "norm" in name or name.startswith("out_proj.0")
        (plain if is_plain else decayed).append(p)
    return [{"params": decayed, "weight_decay": weight_decay},
            {"params": plain, "weight_decay": 0.0}]
