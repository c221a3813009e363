"""The Long Range Arena classifier in plain PyTorch, written for this project: the peer of `lra`.

Parameter names equal those of flr's models/lra.hpp. Mixers: transformer, flare, linear (unit-length
queries and keys, identity features), performer (256 positive features a head, computed in float).
Attention goes through F.scaled_dot_product_attention.
"""

import torch
import torch.nn.functional as F
from torch import nn

from flare_torch import Mixer as FlareMixer
from flare_torch import ResidualMLP, initialise


def heads_of(x, heads):
    """[B,N,H·D] -> [B,H,N,D]"""
    b, n, c = x.shape
    return x.view(b, n, heads, c // heads).transpose(1, 2)


def merged(x):
    """[B,H,N,D] -> [B,N,H·D]"""
    b, h, n, d = x.shape
    return x.transpose(1, 2).reshape(b, n, h * d)


class SelfMixer(nn.Module):
    """One projection to q, k and v, and one behind: what three of the mixers have in common."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x):
        q, k, v = (heads_of(part, self.heads) for part in self.qkv_proj(x).chunk(3, dim=-1))
        return self.out_proj(merged(self.mix(q, k, v)))


class Softmax(SelfMixer):
    def mix(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v)


class Linear(SelfMixer):
    def mix(self, q, k, v):
        q = q / (q.norm(dim=-1, keepdim=True) + 1e-6)
        k = k / (k.norm(dim=-1, keepdim=True) + 1e-6)
        weight = q @ k.sum(dim=2, keepdim=True).transpose(-1, -2)
        return (q @ (k.transpose(-1, -2) @ v)) / (weight + 1e-6)


class Performer(SelfMixer):
    """Keys subtract the maximum of their head, as FAVOR+ and flr do."""

    def __init__(self, width, heads, features=256):
        super().__init__(width, heads)
        rows = torch.randn(heads, features, width // heads)
        self.register_buffer("proj_matrix", rows)

    def exponents(self, x):
        x = x * x.shape[-1] ** -0.25
        return x @ self.proj_matrix.transpose(-1, -2) - x.square().sum(-1, keepdim=True) / 2

    def mix(self, q, k, v):
        with torch.autocast(q.device.type, enabled=False):
            q, k, v = self.exponents(q.float()), self.exponents(k.float()), v.float()
            factor = q.shape[-1] ** -0.5
            q = torch.exp(q - q.amax(-1, keepdim=True).detach()) * factor + 1e-6
            k = torch.exp(k - k.amax((-1, -2), keepdim=True).detach()) * factor + 1e-6
            weight = q @ k.sum(dim=2, keepdim=True).transpose(-1, -2)
            return (q @ (k.transpose(-1, -2) @ v)) / (weight + 1e-6)


class MLP(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    def __init__(self, mixer, width, heads, mlp_ratio, latents):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        if mixer == "flare":
            self.att = FlareMixer(width, heads=heads, latents=latents, scale=1.0, k_depth=3, v_depth=3,
                                  k_ratio=1, v_ratio=1, act=None, rms=False, qk_norm=False)
            self.mlp = ResidualMLP(width, width, width, 3, None, True, True)
        else:
            self.att = {"transformer": Softmax, "linear": Linear, "performer": Performer}[mixer](
                width, heads)
            self.mlp = MLP(width, int(mlp_ratio * width))

    def forward(self, x):
        x = x + self.att(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Lra(nn.Module):
    """Token ids [B,N] -> logits [B,labels]; mean pooling, learned positions in front of every block."""

    def __init__(self, mixer, vocabulary=16, labels=10, length=2000, width=128, blocks=4, heads=8,
                 mlp_ratio=4.0, latents=128):
        super().__init__()
        self.token_embed = nn.Embedding(vocabulary, width)
        self.pe = nn.Embedding(length, width)
        self.blocks = nn.ModuleList(Block(mixer, width, heads, mlp_ratio, latents)
                                    for _ in range(blocks))
        self.final_norm = nn.LayerNorm(width)
        self.cls_proj = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, labels))
        self.apply(initialise)
        for table in (self.token_embed, self.pe):
            nn.init.normal_(table.weight, 0.0, 0.02)

    def forward(self, tokens):
        x = self.token_embed(tokens)
        positions = self.pe.weight[:tokens.shape[1]]
        for block in self.blocks:
            x = block(x + positions)
        return self.cls_proj(self.final_norm(x).mean(dim=1))


def decay_groups(model, weight_decay):
    """Biases, norms and embeddings undecayed."""
    plain = {id(p) for m in model.modules() if isinstance(m, (nn.LayerNorm, nn.Embedding))
             for p in m.parameters()}
    plain |= {id(p) for name, p in model.named_parameters() if name.endswith("bias")}
    decayed = [p for p in model.parameters() if id(p) not in plain]
    return [{"params": decayed, "weight_decay": weight_decay},
            {"params": [p for p in model.parameters() if id(p) in plain], "weight_decay": 0.0}]
