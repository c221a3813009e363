"""Forward of triple attention in Triton: states of ranges of tokens, then the outputs; no program."""

import torch
import triton
import triton.language as tl


@triton.jit
def state_kernel(k1, k2, v, parts, n, stride, per_split, splits,
                 D: tl.constexpr, I: tl.constexpr, T: tl.constexpr):
    head, split, first = tl.program_id(0), tl.program_id(1), tl.program_id(2) * I
    i, d, t = tl.arange(0, I), tl.arange(0, D), tl.arange(0, T)
    total = tl.zeros((I * D, D), tl.float32)
    begin = split * per_split
    for at in range(begin, tl.minimum(begin + per_split, n), T):
        rows = (at + t) * stride + head * D
        inside = (at + t < n)[:, None]
        a = tl.load(k1 + rows[:, None] + first + i[None, :], inside, 0)
        b = tl.load(k2 + rows[:, None] + d[None, :], inside, 0)
        x = tl.load(v + rows[:, None] + d[None, :], inside, 0)
        features = tl.reshape(a[:, :, None] * b[:, None, :], (T, I * D))
        total += tl.dot(tl.trans(features), x)
    f = tl.arange(0, I * D)
    to = parts + ((head * splits + split) * D * D + first * D) * D
    tl.store(to + f[:, None] * D + d[None, :], total)


@triton.jit
def read_kernel(q1, q2, state, y, n, stride, D: tl.constexpr, I: tl.constexpr, T: tl.constexpr):
    head = tl.program_id(0)
    i, d, t = tl.arange(0, I), tl.arange(0, D), tl.program_id(1) * T + tl.arange(0, T)
    f = tl.arange(0, I * D)
    rows, inside = t * stride + head * D, (t < n)[:, None]
    b = tl.load(q2 + rows[:, None] + d[None, :], inside, 0)
    total = tl.zeros((T, D), tl.float32)
    for first in range(0, D, I):
        a = tl.load(q1 + rows[:, None] + first + i[None, :], inside, 0)
        s = tl.load(state + (head * D * D + first * D + f[:, None]) * D + d[None, :])
        total += tl.dot(tl.reshape(a[:, :, None] * b[:, None, :], (T, I * D)), s)
    tl.store(y + rows[:, None] + d[None, :], total.to(y.dtype.element_ty), inside)


def triple(q1, q2, k1, k2, v):
    """Heads [1,H,N,D] of tokens that lie as [1,N,H*D]; D a power of two from 16 on."""
    heads, n, d = v.shape[1:]
    stride, splits = v.stride(2), 32
    per_split = -(-n // splits // 64) * 64
    parts = torch.empty(heads, splits, d * d, d, device="cuda", dtype=torch.float32)
    state_kernel[(heads, splits, d // 4)](k1, k2, v, parts, n, stride, per_split, splits, d, 4, 64)
    state = (parts.sum(1) / n).to(v.dtype)
    y = torch.empty(1, n, heads * d, device="cuda", dtype=v.dtype)
    read_kernel[(heads, -(-n // 64))](q1, q2, state, y, n, stride, d, 4, 64)
    return y.view(1, n, heads, d).transpose(1, 2)
