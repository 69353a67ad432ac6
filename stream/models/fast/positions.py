"""Positional encoding: the grouped convolution over time in front of the encoder.

Its weight norm is folded on conversion. The library's convolution with 128 taps and few channels per group is slow for
a window or two on a processor, and on a GPU in bfloat16 if a group's channels are no power of two (three quarters of
the whole forward for the base models on an H200). Here frames are concatenated, several taps at a time, and each group
is a few matrix products: on a processor window by window, so that the copy fits the cache, else for the whole batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream.models.onednn import activate_

TAPS_PER_PRODUCT = 8
"""Approximate taps per matrix product: fastest on a processor for 128 taps and groups of 48 and 64 channels."""


class PositionalConv(nn.Module):
    """One convolution over (B, T, C), with kernel, padding, norm and activation of the original."""

    bias: Tensor
    pieces: Tensor

    def __init__(self, *, conv: nn.Conv1d, norm_eps: float | None = None) -> None:
        super().__init__()
        weight = conv.weight.detach()  # (C, C / groups, k), weight norm folded
        self.register_buffer("bias", torch.zeros_like(weight[:, 0, 0]) if conv.bias is None else conv.bias.detach())
        self.groups, self.padding, self._norm_eps = conv.groups, int(conv.padding[0]), norm_eps
        channels, inner, kernel = weight.shape
        count = -(-kernel // TAPS_PER_PRODUCT)
        self._step = -(-kernel // count)
        padded = functional.pad(weight, (0, count * self._step - kernel))
        pieces = padded.view(self.groups, channels // self.groups, inner, count, self._step)
        pieces = pieces.permute(3, 0, 4, 2, 1).reshape(count, self.groups, self._step * inner, -1)
        self.register_buffer("pieces", pieces.contiguous())

    def forward(self, x: Tensor) -> Tensor:
        """Apply convolution, norm (if any) and GELU."""
        parts = x[:, None].unbind() if x.device.type == "cpu" else (x,)
        y = torch.cat([self._products(part) for part in parts])
        if self._norm_eps is not None:
            y = functional.layer_norm(y, (y.shape[2],), eps=self._norm_eps)
        return activate_(y, "gelu")

    @staticmethod
    def _sum_dtype(x: Tensor) -> torch.dtype:
        """Return the type of sums of products; within a product, a GPU adds in float32 in any case."""
        return x.dtype if x.device.type == "cuda" else torch.float32

    def _products(self, x: Tensor) -> Tensor:
        """Convolve (B, T, C). All windows are one sequence of frames; those that reach into the next are dropped."""
        batch, length, channels = x.shape
        inner = channels // self.groups
        pad_after = len(self.pieces) * self._step - 1 - self.padding
        padded = functional.pad(x, (0, 0, self.padding, pad_after))  # (B, T + k - 1, C)
        frames = padded.view(-1, self.groups, inner).transpose(0, 1)  # (groups, B * (T + k - 1), C / groups)
        grouped = frames.unfold(1, self._step, 1).transpose(2, 3)  # (groups, …, step, C / groups)
        rows = grouped.reshape(self.groups, -1, self._step * inner)
        count = frames.shape[1] - len(self.pieces) * self._step + 1  # the last window's last frame is the last one
        total = self.bias.view(self.groups, 1, inner).to(self._sum_dtype(x)).repeat(1, count, 1)
        for number, piece in enumerate(self.pieces):
            part = rows[:, number * self._step :][:, :count]
            if total.dtype == x.dtype:
                total.baddbmm_(part, piece)
            else:
                total.add_(torch.bmm(part, piece))
        flat = x.new_empty(batch * padded.shape[1], channels)
        flat[:count] = total.transpose(0, 1).reshape(count, channels)
        return flat.view(batch, -1, channels)[:, :length].contiguous()


class Positions(nn.Module):
    """One convolution, or (data2vec) several in sequence."""

    def __init__(self, *, stages: Sequence[PositionalConv]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> Tensor:
        """Return the encoding to add to the frames (B, T, C)."""
        for stage in self.stages:
            x = stage(x)
        return x
