"""Linear layers and convolutions as one matrix product each, in floating point or int8.

int8 is torch's dynamic quantisation: weights in 8 bits with a scale per output, inputs quantised at run time with a
scale per row (to 7 bits, since products in 8 bits overflow on older processors); with one scale for all rows, as torch
has it, errors are larger. Its accuracy is in docs/performance.md.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream.errors import ModelError
from stream.models.onednn import Activation, activate_, linear, pack_weight


class Dense(nn.Module):
    """`x @ weight.T + bias`, followed by the activation."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, *, weight: Tensor, bias: Tensor | None, activation: Activation = "none") -> None:
        super().__init__()
        self.register_buffer("weight", weight.detach())
        self.register_buffer("bias", None if bias is None else bias.detach())
        self.activation = activation
        self._quantised: Any = None

    def pack(self) -> None:
        """Reorder the weights into oneDNN's layout; afterwards device and type of the layer are fixed."""
        self.weight = pack_weight(self.weight)

    def quantise(self) -> None:
        """Convert to int8 and release the float weights; processor only. Raises `ModelError` if torch lacks int8."""
        weight = self.weight.float()
        scale = weight.abs().amax(dim=1).clamp(min=1e-8) / 127
        zero = torch.zeros(len(weight), dtype=torch.long)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # deprecated in torch
                levels = torch.quantize_per_channel(weight, scale.double(), zero, 0, torch.qint8)
            self._quantised = torch.ops.quantized.linear_prepack(levels, None)
        except (AttributeError, RuntimeError) as error:
            raise ModelError("this release of torch does not support int8; set dtype to auto") from error
        self.weight = torch.empty(0)
        self.bias = None if self.bias is None else self.bias.float()

    def plain(self) -> Tensor:
        """Return the effective weights (outputs, inputs) as a plain float tensor."""
        if self._quantised is not None:
            levels: Tensor = torch.ops.quantized.linear_unpack(self._quantised)[0]
            return levels.dequantize()
        return self.weight.to_dense() if self.weight.is_mkldnn else self.weight

    def forward(self, x: Tensor) -> Tensor:
        """Map (…, inputs) to (…, outputs)."""
        if self._quantised is None:
            return linear(x, self.weight, self.bias, self.activation)
        x = x.contiguous()
        scale = torch.linalg.vector_norm(x, float("inf"), dim=-1, keepdim=True).clamp_(min=1e-12)
        rows: Tensor = torch.ops.quantized.linear_dynamic(x / scale, self._quantised, reduce_range=True)
        output = rows.mul_(scale) if self.bias is None else torch.addcmul(self.bias, rows, scale)
        return activate_(output, self.activation)


class Convolution(nn.Module):
    """A convolution over frames without padding: (B, L, C) to (B, frames, outputs).

    Channels are contiguous, so the input of an output frame is one row of a matrix: a view if kernel and stride are
    equal, else a copy, which costs less than one product per tap. CUDA devices use cuDNN's convolution in
    bfloat16.
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
        """Return the number of output frames for `length` input frames, at least 0."""
        return max(0, (length - self.dilation * (self.taps - 1) - 1) // self.stride + 1)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve; raises `RuntimeError` if the input is shorter than the kernel."""
        x = x.contiguous()
        batch, length, channels = x.shape
        if not (count := self.frames(length)):
            raise RuntimeError(f"{length} frames are too few for a kernel of {self.taps}")
        if x.device.type == "cuda" and x.dtype == torch.bfloat16:  # in float32 cuDNN would round products to TF32
            return self._on_cuda(x)
        patches = x.as_strided(
            (batch, count, self.taps, channels),
            (length * channels, self.stride * channels, self.dilation * channels, 1),
        )
        y: Tensor = self.dense(patches.reshape(batch * count, self.taps * channels))
        return y.view(batch, count, -1)

    def _on_cuda(self, x: Tensor) -> Tensor:
        """Convolve with cuDNN, whose kernels for contiguous channels need no copy."""
        weight = self.dense.weight.view(-1, self.taps, x.shape[2]).transpose(1, 2)[:, :, None]  # (outputs, C, 1, taps)
        y = functional.conv2d(
            x.transpose(1, 2)[:, :, None],
            weight,
            self.dense.bias,
            stride=(1, self.stride),
            dilation=(1, self.dilation),
        )
        return activate_(y[:, :, 0].transpose(1, 2).contiguous(), self.dense.activation)
