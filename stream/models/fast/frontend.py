"""The convolutional front end as matrix products: samples to one vector every 20 ms.

Owns the weights of a wav2vec 2.0 feature encoder in channels-last order: the channels of a frame are contiguous, so
that a strided convolution is one matrix product (`dense.Convolution`).

Rules:

* On a processor windows are computed one by one: a layer's frames then stay in its cache (10 MB for 3 s in bfloat16),
  while those of a batch would be read from memory at every layer.
* The first layer's norm is folded into its weights. Both kinds of norm need mean and variance of the layer's output,
  which follow exactly from the ten samples of a frame, without computing the output first. The group norm's statistics
  cover the whole window and come from the frames' 10 x 10 covariance; the layer norm's cover one frame and come from a
  quadratic form. Both are summed in double precision.
* Samples are most sensitive to rounding, so the first layer multiplies at float32 precision in any type: in bfloat16,
  samples and weights are each split into a sum of two numbers, and three partial products are computed in one product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream.models.fast.dense import Convolution
from stream.models.onednn import activate_, linear, pack_weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """A norm over channels: scale and offset of shape (channels,)."""

    weight: Tensor
    bias: Tensor
    eps: float


class FirstLayer(nn.Module):
    """Maps samples (B, n) float32 to frames (B, frames, C) after norm and GELU; the norm is folded into the weights.

    The norm's offset is an extra tap whose input is always 1.
    """

    taps: Tensor
    scale: Tensor
    shift: Tensor
    form: Tensor

    def __init__(self, *, conv: nn.Conv1d, norm: Norm, per_frame: bool) -> None:
        super().__init__()
        taps = conv.weight.detach()[:, 0].double()  # (C, k)
        bias = torch.zeros(len(taps)).double() if conv.bias is None else conv.bias.detach().double()
        self.kernel, self.stride, self.eps, self.per_frame = conv.kernel_size[0], conv.stride[0], norm.eps, per_frame
        if per_frame:  # centred over channels; the convolution's bias is an extra tap
            taps = torch.cat((taps, bias[:, None]), dim=1)
            taps = taps - taps.mean(dim=0)
            self.register_buffer("form", taps.T @ taps / len(taps))  # (k + 1, k + 1)
            taps = norm.weight.detach().double()[:, None] * taps
        self.register_buffer("taps", taps.float())  # (C, k) or (C, k + 1)
        self.register_buffer("scale", norm.weight.detach().float())
        self.register_buffer("shift", norm.bias.detach().float())
        self.dtype, self.pack = torch.float32, False

    def forward(self, samples: Tensor) -> Tensor:
        """Return frames in `dtype`; weights depend on the window, so they are packed (if at all) per call."""
        frames = samples.float().unfold(1, self.kernel, self.stride)  # (B, frames, k), a view
        inputs, taps = self._by_frame(frames) if self.per_frame else self._by_window(frames)
        rows = functional.pad(inputs, (0, 1), value=1.0)  # (B, frames, K)
        weight = torch.cat((taps, self.shift.expand(len(taps), -1)[..., None]), dim=2)  # (B or 1, C, K)
        if self.dtype != torch.float32:
            (rows, rows_low), (weight, weight_low) = _split(rows, self.dtype), _split(weight, self.dtype)
            rows, weight = torch.cat((rows, rows_low, rows), dim=2), torch.cat((weight, weight, weight_low), dim=2)
        if len(weight) == 1:
            return linear(rows, pack_weight(weight[0]) if self.pack else weight[0], None, "gelu")
        return activate_(rows @ weight.transpose(1, 2), "gelu")

    def _by_frame(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames scaled by the layer norm, (B, frames, k + 1), and one weight for all windows, (1, C, k + 1)."""
        padded = functional.pad(frames, (0, 1), value=1.0)
        exact = _exact(frames)
        precise = padded.to(exact)
        variance = ((precise @ self.form.to(exact)) * precise).sum(dim=2, keepdim=True).clamp(min=0)
        return padded * torch.rsqrt(variance + self.eps).float(), self.taps[None]

    def _by_window(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Return frames minus their mean, (B, frames, k), and each window's weight for the group norm, (B, C, k)."""
        exact = _exact(frames)
        precise = frames.to(exact)
        mean = precise.mean(dim=1, keepdim=True)  # (B, 1, k)
        centred = precise - mean
        covariance = centred.transpose(1, 2) @ centred / frames.shape[1]  # (B, k, k)
        taps = self.taps.to(exact)
        variance = ((taps @ covariance) * taps).sum(dim=2).clamp(min=0)  # (B, C)
        weight = (self.scale * torch.rsqrt(variance + self.eps)).float()[:, :, None] * self.taps
        return frames - mean.float(), weight


def _exact(x: Tensor) -> torch.dtype:
    return torch.float32 if x.device.type == "mps" else torch.float64


def _split(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Split x into two numbers of `dtype` that nearly sum to it: its rounded value and the remainder."""
    rounded = x.to(dtype)
    return rounded, (x - rounded).to(dtype)


class ConvLayer(nn.Module):
    """A later convolution with optional norm and GELU: (B, L, C) to (B, frames, outputs)."""

    def __init__(self, *, conv: nn.Conv1d, norm: Norm | None) -> None:
        super().__init__()
        self.convolution = Convolution(
            weight=conv.weight.detach().transpose(1, 2),
            bias=conv.bias,
            stride=conv.stride[0],
            activation="gelu" if norm is None else "none",
        )
        self._eps = None if norm is None else norm.eps
        if norm is not None:
            self.register_buffer("scale", norm.weight.detach())
            self.register_buffer("shift", norm.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, L, C) to (B, frames, outputs), without padding."""
        y: Tensor = self.convolution(x)
        if self._eps is None:
            return y
        scale, shift = self.get_buffer("scale"), self.get_buffer("shift")
        return activate_(functional.layer_norm(y, (y.shape[2],), scale, shift, self._eps), "gelu")


class Frontend(nn.Module):
    """The first layer and the later ones."""

    def __init__(self, *, first: FirstLayer, layers: Sequence[ConvLayer]) -> None:
        super().__init__()
        self.first = first
        self.layers = nn.ModuleList(layers)
        convolutions = [layer.convolution for layer in layers]
        self.shapes = ((first.kernel, first.stride), *((each.taps, each.stride) for each in convolutions))

    def convert(self, dtype: torch.dtype, *, pack: bool) -> None:
        """Compute in `dtype` from the first layer's output on; `pack` affects the first layer only."""
        self.first.dtype, self.first.pack = dtype, pack
        self.layers.to(dtype=dtype)

    def frames(self, samples: int) -> int:
        """Return the number of frames of a window of `samples`."""
        for kernel, stride in self.shapes:
            samples = (samples - kernel) // stride + 1
        return samples

    def forward(self, samples: Tensor) -> Tensor:
        """Map samples (B, n) float32 to frames (B, frames, C). Raises `RuntimeError` for windows without a frame."""
        if self.frames(samples.shape[1]) < 1:
            raise RuntimeError(f"a window of {samples.shape[1]} samples is shorter than one frame")
        parts = samples[:, None].unbind() if samples.device.type == "cpu" else (samples,)
        return torch.cat([self._forward(part) for part in parts])

    def _forward(self, samples: Tensor) -> Tensor:
        x: Tensor = self.first(samples)
        for layer in self.layers:
            x = layer(x)
        return x
