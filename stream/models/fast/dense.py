"""Linear layers and convolutions as one matrix product each: float, or int8 where a model was asked for in int8.

int8 is torch's dynamic quantisation: weights in 8 bits with a scale for each output, rows of the input quantised as
they come (7 bits, or the products of older processors would overflow). What it costs in accuracy stands in
docs/performance.md.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from stream.errors import ModelError
from stream.models.onednn import Activation, activate_, linear, packed


class Dense(nn.Module):
    """`x @ weight.T + bias`, and an activation if it has one."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, *, weight: Tensor, bias: Tensor | None, activation: Activation = "none") -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", None if bias is None else bias.detach())
        self.activation = activation
        self._quantised: Any = None

    def pack(self) -> None:
        """Lay the weights out as oneDNN wants them; afterwards the layer stays where it is, in the type it has."""
        self.weight = packed(self.weight)

    def quantise(self) -> None:
        """Go over to int8; the float weights are let go. Processor only; `ModelError` where torch cannot."""
        weight = self.weight.float()
        scale = weight.abs().amax(dim=1).clamp(min=1e-8) / 127
        zero = torch.zeros(len(weight), dtype=torch.long)
        bias = None if self.bias is None else self.bias.float()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch means to move this elsewhere one day
                levels = torch.quantize_per_channel(weight, scale.double(), zero, 0, torch.qint8)
            self._quantised = torch.ops.quantized.linear_prepack(levels, bias)
        except (AttributeError, RuntimeError) as error:
            raise ModelError("this release of torch has no int8 products; set dtype to auto") from error
        self.weight = torch.empty(0)

    def plain(self) -> Tensor:
        """The weights it computes with, (outputs, inputs), whatever layout they are kept in."""
        if self._quantised is not None:
            levels: Tensor = torch.ops.quantized.linear_unpack(self._quantised)[0]
            return levels.dequantize()
        return self.weight.to_dense() if self.weight.is_mkldnn else self.weight

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs) in, (…, outputs) out."""
        if self._quantised is None:
            return linear(x, self.weight, self.bias, self.activation)
        quantised: Tensor = torch.ops.quantized.linear_dynamic(x.contiguous(), self._quantised, reduce_range=True)
        return activate_(quantised, self.activation)


class Convolution(nn.Module):
    """A convolution over frames: (B, L, C) in, (B, frames, outputs) out, with as many frames as fit in.

    Channels lie side by side, so that what a frame of the output hears is one row of a matrix: a view where the taps
    fill their stride exactly, and else a copy, which costs less than taking the product apart and adding.
    """

    def __init__(
        self,
        *,
        weight: Tensor,
        bias: Tensor | None,
        stride: int = 1,
        dilation: int = 1,
        activation: Activation = "none",
    ) -> None:
        """`weight` has shape (outputs, taps, C)."""
        super().__init__()
        self.taps, self.stride, self.dilation = weight.shape[1], stride, dilation
        self.dense = Dense(weight=weight.detach().flatten(1).contiguous(), bias=bias, activation=activation)

    def frames(self, length: int) -> int:
        """Frames that so many frames of the input give, at least 0."""
        return max(0, (length - self.dilation * (self.taps - 1) - 1) // self.stride + 1)

    def forward(self, x: Tensor) -> Tensor:
        """Raises `RuntimeError` where not one frame fits in."""
        x = x.contiguous()
        batch, length, channels = x.shape
        if not (count := self.frames(length)):
            raise RuntimeError(f"{length} frames are too few for {self.taps} taps")
        heard = x.as_strided(
            (batch, count, self.taps, channels),
            (length * channels, self.stride * channels, self.dilation * channels, 1),
        )
        y: Tensor = self.dense(heard.reshape(batch * count, self.taps * channels))
        return y.view(batch, count, -1)
