"""Self-attention with one matrix product for query, key and value, and WavLM's gated relative positions as a bias.

The relative positions depend only on the number of frames, so their bias is computed once per length and cached for the
`MAX_CACHED_LENGTHS` last used ones; the gates of each frame and head are extra columns of the same matrix product.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream.models.fast.dense import Dense

MAX_CACHED_LENGTHS = 16
"""Number of lengths whose position bias is cached; windows come in few lengths."""


class PositionBias:
    """Position bias by length, shape (heads, T, T): computed by the model's first layer, shared by all layers."""

    def __init__(self, *, compute: Callable[[int, int], Tensor]) -> None:
        self._compute = compute
        self._cached: OrderedDict[tuple[int, torch.dtype], Tensor] = OrderedDict()
        self._captured: dict[tuple[int, torch.dtype], Tensor] = {}  # a CUDA graph reads them for as long as it exists
        self._lock = threading.Lock()  # worker threads share a model

    def for_frames(self, x: Tensor) -> Tensor:
        """Return the bias for frames (B, T, C), on their device and in their type."""
        key = (x.shape[1], x.dtype)
        with self._lock:
            if key not in self._cached:
                self._cached[key] = self._compute(x.shape[1], x.shape[1]).detach().to(x).contiguous()
                if len(self._cached) > MAX_CACHED_LENGTHS:
                    self._cached.popitem(last=False)
            self._cached.move_to_end(key)
            if x.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
                self._captured[key] = self._cached[key]
            return self._cached[key]

    def __len__(self) -> int:
        """Number of cached lengths."""
        return len(self._cached)


class Gate(nn.Module):
    """Scale of the position bias from a frame's gates; `constant` has shape (1, heads, 1, 1)."""

    constant: Tensor

    def __init__(self, *, linear: nn.Linear, constant: Tensor) -> None:
        super().__init__()
        self.register_buffer("constant", constant.detach())
        heads = constant.numel()
        # the original sums four outputs into each of two gates; the sums are folded into the weights
        weight = linear.weight.detach().view(2, 4, -1).sum(dim=1)  # (2, C / heads)
        bias = linear.bias.detach().view(2, 4).sum(dim=1)  # (2,)
        columns = weight.new_zeros(2, heads, heads, weight.shape[1])
        for head in range(heads):
            columns[:, head, head] = weight
        self._columns = columns.view(2 * heads, -1), bias.repeat_interleave(heads)

    def columns(self) -> tuple[Tensor, Tensor]:
        """Return and release the gates' block-diagonal weight (2 * heads, C) and bias (2 * heads,)."""
        columns, self._columns = self._columns, (torch.empty(0), torch.empty(0))
        return columns

    def forward(self, gates: Tensor) -> Tensor:
        """Map gates (B, T, 2, heads) to scales (B, heads, T, 1)."""
        a, b = torch.sigmoid(gates).permute(2, 0, 3, 1)[..., None]  # (B, heads, T, 1) each
        scale: Tensor = a * (b * self.constant - 1.0) + 2.0
        return scale


class Attention(nn.Module):
    """Self-attention over frames (B, T, C)."""

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
        self.input_projection = Dense(weight=torch.cat(weights), bias=torch.cat(biases))
        self.output_projection = Dense(weight=out.weight, bias=out.bias)

    def forward(self, x: Tensor, position_bias: Tensor | None) -> Tensor:
        """Attend over x (B, T, C); `position_bias` has shape (heads, T, T), or is None if the model has no gate."""
        batch, length, channels = x.shape
        y = self.input_projection(x)  # (B, T, 3 * C), followed by the gates
        projections = y[..., : 3 * channels].unflatten(2, (3, self.heads, -1))
        query, key, value = projections.permute(2, 0, 3, 1, 4)  # (B, heads, T, C / heads) each, views
        bias = None
        if self.gate is not None and position_bias is not None:
            bias = self.gate(y[..., 3 * channels :].unflatten(2, (2, self.heads))) * position_bias
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)
        attended = attended.transpose(1, 2).reshape(batch, length, channels)
        out: Tensor = self.output_projection(attended)
        return out
