"""Self-attention with one product for query, key and value, and WavLM's gated relative positions as an additive bias.

The relative positions depend on nothing but the number of frames, so their bias is made once for a length and kept
for the `LENGTHS` last used ones; the gate that each frame and head sets on it is two more columns of the one product.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream.models.fast.dense import Dense

LENGTHS = 16
"""Lengths whose position bias is kept; windows come in few lengths."""


class PositionBias:
    """The bias for each length, shape (heads, T, T): made by the model's own first layer, shared by all layers."""

    def __init__(self, *, compute: Callable[[int, int], Tensor]) -> None:
        self._compute = compute
        self._kept: OrderedDict[tuple[int, torch.dtype], Tensor] = OrderedDict()
        self._lock = threading.Lock()  # worker threads share a model

    def for_frames(self, x: Tensor) -> Tensor:
        """The bias for frames (B, T, C), where they are and in their type."""
        key = (x.shape[1], x.dtype)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = self._compute(x.shape[1], x.shape[1]).detach().to(x).contiguous()
                if len(self._kept) > LENGTHS:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]

    def __len__(self) -> int:
        """Lengths kept now."""
        return len(self._kept)


class Gate(nn.Module):
    """What a frame's gates do to the position bias; `constant` has shape (1, heads, 1, 1)."""

    constant: Tensor

    def __init__(self, *, linear: nn.Linear, constant: Tensor) -> None:
        super().__init__()
        self.register_buffer("constant", constant.detach())
        heads = constant.numel()
        # the original sums four outputs into each of two gates: so do these weights
        weight = linear.weight.detach().view(2, 4, -1).sum(dim=1)  # (2, C / heads)
        bias = linear.bias.detach().view(2, 4).sum(dim=1)  # (2,)
        columns = weight.new_zeros(2, heads, heads, weight.shape[1])
        for head in range(heads):
            columns[:, head, head] = weight
        self._columns = columns.view(2 * heads, -1), bias.repeat_interleave(heads)

    def columns(self) -> tuple[Tensor, Tensor]:
        """Weight (2 * heads, C), block diagonal, and bias (2 * heads,) that make the gates; given away once."""
        given, self._columns = self._columns, (torch.empty(0), torch.empty(0))
        return given

    def forward(self, gates: Tensor) -> Tensor:
        """(B, T, 2, heads) in, (B, heads, T, 1) out."""
        a, b = torch.sigmoid(gates).permute(2, 0, 3, 1)[..., None]  # (B, heads, T, 1) each
        opened: Tensor = a * (b * self.constant - 1.0) + 2.0
        return opened


class Attention(nn.Module):
    """(B, T, C) in and out."""

    def __init__(
        self,
        *,
        query: nn.Linear,
        key: nn.Linear,
        value: nn.Linear,
        out: nn.Linear,
        heads: int,
        gate: Gate | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.gate = heads, gate
        weights = [linear.weight.detach() for linear in (query, key, value)]
        biases = [linear.bias.detach() for linear in (query, key, value)]
        if gate is not None:
            columns, offsets = gate.columns()
            weights.append(columns)
            biases.append(offsets)
        self.inward = Dense(weight=torch.cat(weights), bias=torch.cat(biases))
        self.outward = Dense(weight=out.weight, bias=out.bias)

    def forward(self, x: Tensor, position_bias: Tensor | None) -> Tensor:
        """`position_bias` has shape (heads, T, T), or is None where the model has no gate."""
        batch, length, channels = x.shape
        y = self.inward(x)  # (B, T, 3 * C) and the gates behind
        packed = y[..., : 3 * channels].unflatten(2, (3, self.heads, -1))
        query, key, value = packed.permute(2, 0, 3, 1, 4)  # (B, heads, T, C / heads) each, views
        bias = None
        if self.gate is not None and position_bias is not None:
            bias = self.gate(y[..., 3 * channels :].unflatten(2, (2, self.heads))) * position_bias
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        seen = seen.transpose(1, 2).reshape(batch, length, channels)
        out: Tensor = self.outward(seen)
        return out
