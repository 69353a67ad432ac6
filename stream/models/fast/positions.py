"""Positional encoding: the grouped convolution over time in front of the encoder.

Its weight norm is folded on conversion. On a processor the library's convolution with 128 taps and few channels per
group is slow for a window or two; here frames are concatenated `TAPS_PER_PRODUCT` at a time (a copy of ten times the
input, which fits the cache) and each group is a few matrix products. Other devices use the library's convolution.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream.models.onednn import activate_

TAPS_PER_PRODUCT = 8
"""Approximate taps per matrix product: measured fastest for 128 taps and groups of 48 and 64 channels."""


class PositionalConv(nn.Module):
    """One convolution over (B, T, C), with kernel, padding, norm and activation of the original."""

    weight: Tensor
    bias: Tensor
    pieces: Tensor

    def __init__(self, *, conv: nn.Conv1d, norm_eps: float | None = None) -> None:
        super().__init__()
        self.register_buffer("weight", conv.weight.detach().clone())  # (C, C / groups, k), weight norm folded
        bias = torch.zeros_like(self.weight[:, 0, 0]) if conv.bias is None else conv.bias.detach()
        self.register_buffer("bias", bias)
        self.groups, self.padding, self._norm_eps = conv.groups, int(conv.padding[0]), norm_eps
        channels, inner, kernel = self.weight.shape
        count = -(-kernel // TAPS_PER_PRODUCT)
        self._step = -(-kernel // count)
        padded = functional.pad(self.weight, (0, count * self._step - kernel))
        pieces = padded.view(self.groups, channels // self.groups, inner, count, self._step)
        pieces = pieces.permute(3, 0, 4, 2, 1).reshape(count, self.groups, self._step * inner, -1)
        self.register_buffer("pieces", pieces.contiguous())

    def release_unused(self) -> None:
        """Keep the weights only in the layout that the device uses."""
        if self._uses_products(self.weight):
            self.weight = self.weight[:0]
        else:
            self.pieces = self.pieces[:0]

    def forward(self, x: Tensor) -> Tensor:
        """Apply convolution, norm (if any) and GELU."""
        y = self._products(x) if len(self.pieces) else self._library(x)
        if self._norm_eps is not None:
            y = functional.layer_norm(y, (y.shape[2],), eps=self._norm_eps)
        return activate_(y, "gelu")

    @staticmethod
    def _uses_products(x: Tensor) -> bool:
        return x.device.type == "cpu"

    def _library(self, x: Tensor) -> Tensor:
        y = functional.conv1d(x.transpose(1, 2), self.weight, self.bias, padding=self.padding, groups=self.groups)
        return y[:, :, : x.shape[1]].transpose(1, 2).contiguous()

    def _products(self, x: Tensor) -> Tensor:
        batch, length, channels = x.shape
        inner = channels // self.groups
        y = torch.empty_like(x, memory_format=torch.contiguous_format)
        pad_after = len(self.pieces) * self._step - 1 - self.padding
        padded = functional.pad(x, (0, 0, self.padding, pad_after))  # (B, T + k - 1, C)
        bias = self.bias.view(self.groups, 1, inner)
        for number in range(batch):  # the copies of one window fit the cache
            frames = padded[number].view(-1, self.groups, inner).transpose(0, 1)  # (groups, T + k - 1, C / groups)
            grouped = frames.unfold(1, self._step, 1).transpose(2, 3)  # (groups, …, step, C / groups)
            rows = grouped.reshape(self.groups, -1, self._step * inner)
            total = bias.float().repeat(1, length, 1)  # (groups, T, C / groups)
            for number_of_piece, piece in enumerate(self.pieces):
                start = number_of_piece * self._step
                total.add_(torch.bmm(rows[:, start : start + length], piece))
            y[number] = total.transpose(0, 1).reshape(length, channels)
        return y


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
