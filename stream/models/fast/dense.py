"""A linear layer as one matrix product: float, or int8 where a model was asked for in int8.

int8 is torch's dynamic quantisation: weights in 8 bits with a scale for each output, rows of the input quantised as
they come (7 bits, or the products of older processors would overflow). What it costs in accuracy stands in
docs/performance.md.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream.errors import ModelError


class Dense(nn.Module):
    """`x @ weight.T + bias`."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, *, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", None if bias is None else bias.detach())
        self._packed: Any = None

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
            self._packed = torch.ops.quantized.linear_prepack(levels, bias)
        except (AttributeError, RuntimeError) as error:
            raise ModelError("this release of torch has no int8 products; set dtype to auto") from error
        self.weight = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs) in, (…, outputs) out."""
        if self._packed is None:
            return functional.linear(x, self.weight, self.bias)
        quantised: Tensor = torch.ops.quantized.linear_dynamic(x.contiguous(), self._packed, reduce_range=True)
        return quantised

    def onto(self, total: Tensor, x: Tensor) -> None:
        """Add `x @ weight.T` to `total`; both of shape (rows, …). A layer with a bias has no use for this."""
        if self._packed is None:
            total.addmm_(x, self.weight.t())
        else:
            total.add_(self(x))
