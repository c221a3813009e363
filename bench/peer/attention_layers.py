"""Layers beside FLARE in plain PyTorch: softmax attention, and Transolver's physics attention
(arXiv 2402.02366) on irregular points."""

import torch
import torch.nn.functional as F
from torch import nn


def heads_of(x, heads):
    return x.view(x.shape[0], x.shape[1], heads, -1).transpose(1, 2)


def merged(y):
    return y.transpose(1, 2).reshape(y.shape[0], y.shape[2], -1)


class SelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.qkv_proj, self.out_proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x):
        q, k, v = (heads_of(part, self.heads) for part in self.qkv_proj(x).chunk(3, -1))
        return self.out_proj(merged(F.scaled_dot_product_attention(q, k, v)))


class PhysicsAttention(nn.Module):
    def __init__(self, width, heads, slices):
        super().__init__()
        depth = width // heads
        self.heads = heads
        self.temperature = nn.Parameter(torch.full((1, heads, 1, 1), 0.5))
        self.in_project_fx, self.in_project_x = nn.Linear(width, width), nn.Linear(width, width)
        self.in_project_slice = nn.Linear(depth, slices)
        self.to_q, self.to_k, self.to_v = (nn.Linear(depth, depth, bias=False) for _ in range(3))
        self.to_out = nn.Linear(width, width)

    def forward(self, x):
        f, u = heads_of(self.in_project_fx(x), self.heads), heads_of(self.in_project_x(x), self.heads)
        w = torch.softmax(self.in_project_slice(u) / self.temperature, -1).to(f.dtype)
        t = w.transpose(-1, -2) @ f / (w.sum(2)[..., None] + 1e-5)
        t = F.scaled_dot_product_attention(self.to_q(t), self.to_k(t), self.to_v(t))
        return self.to_out(merged(w @ t.to(w.dtype)))
