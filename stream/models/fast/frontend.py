"""The convolutional frontend as matrix products: samples in, one vector every 20 ms out.

Owns the weights of a wav2vec 2.0 feature encoder, channels last: a frame's channels lie side by side, so that a
strided convolution is one matrix product (`dense.Convolution`).

Rules:

* On a processor windows go through one by one: a layer's frames then stay in its cache (10 MB for 3 s in bfloat16),
  where those of a batch would be fetched from memory, page by page, at every layer.
* The first layer's norm is melted into its weights. Both kinds of norm ask for mean and variance of the layer's output,
  and those follow from the ten samples a frame sees: exactly, and without making the output first. The group norm's
  statistics are those of the whole window, so they come from the frames' 10 x 10 covariance; the layer norm's are a
  frame's own, so they come from a quadratic form. Both are summed in double precision.
* Samples lose most by rounding, so the first layer multiplies as exactly as float32 does whatever comes behind: in
  bfloat16 samples and weights are each the sum of two numbers, and the product is three products in one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream.models.fast.dense import Convolution
from stream.models.onednn import activate_, linear, packed


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """A norm over channels: factor and offset of shape (channels,)."""

    weight: Tensor
    bias: Tensor
    eps: float


class FirstLayer(nn.Module):
    """Samples (B, n) float32 to frames (B, frames, C), normed and through the GELU; the norm is in the weights.

    What is constant (the norm's offset) is a tap of its own that always hears 1.
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
        if per_frame:  # centred over channels, the convolution's own bias a tap, too
            taps = torch.cat((taps, bias[:, None]), dim=1)
            taps = taps - taps.mean(dim=0)
            self.register_buffer("form", taps.T @ taps / len(taps))  # (k + 1, k + 1)
            taps = norm.weight.detach().double()[:, None] * taps
        self.register_buffer("taps", taps.float())  # (C, k) or (C, k + 1)
        self.register_buffer("scale", norm.weight.detach().float())
        self.register_buffer("shift", norm.bias.detach().float())
        self.dtype, self.pack = torch.float32, False

    def forward(self, samples: Tensor) -> Tensor:
        """As many frames as fit in, in `dtype`; weights are packed, if they are, as the window's sound makes them."""
        frames = samples.float().unfold(1, self.kernel, self.stride)  # (B, frames, k), a view
        heard, taps = self._by_frame(frames) if self.per_frame else self._by_window(frames)
        rows = functional.pad(heard, (0, 1), value=1.0)  # (B, frames, K)
        weight = torch.cat((taps, self.shift.expand(len(taps), -1)[..., None]), dim=2)  # (B or 1, C, K)
        if self.dtype != torch.float32:
            (rows, rest), (weight, left) = _halves(rows, self.dtype), _halves(weight, self.dtype)
            rows, weight = torch.cat((rows, rest, rows), dim=2), torch.cat((weight, weight, left), dim=2)
        if len(weight) == 1:
            return linear(rows, packed(weight[0]) if self.pack else weight[0], None, "gelu")
        return activate_(rows @ weight.transpose(1, 2), "gelu")

    def _by_frame(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames as the layer norm scales them, (B, frames, k + 1), and one weight for all, (1, C, k + 1)."""
        heard = functional.pad(frames, (0, 1), value=1.0)
        exact = _exact(frames)
        precise = heard.to(exact)
        variance = ((precise @ self.form.to(exact)) * precise).sum(dim=2, keepdim=True).clamp(min=0)
        return heard * torch.rsqrt(variance + self.eps).float(), self.taps[None]

    def _by_window(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Frames without their mean, (B, frames, k), and each window's weight, (B, C, k), as the group norm scales."""
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


def _halves(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Two numbers of `dtype` whose sum is nearly x: what it rounds to, and what that leaves."""
    rounded = x.to(dtype)
    return rounded, (x - rounded).to(dtype)


class ConvLayer(nn.Module):
    """One convolution behind the first, its norm if it has one, and the GELU: (B, L, C) to (B, frames, outputs)."""

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
        """As many frames as fit in."""
        y: Tensor = self.convolution(x)
        if self._eps is None:
            return y
        scale, shift = self.get_buffer("scale"), self.get_buffer("shift")
        return activate_(functional.layer_norm(y, (y.shape[2],), scale, shift, self._eps), "gelu")


class Frontend(nn.Module):
    """All layers, the first and those behind it."""

    def __init__(self, *, first: FirstLayer, layers: Sequence[ConvLayer]) -> None:
        super().__init__()
        self.first = first
        self.layers = nn.ModuleList(layers)
        convolutions = [layer.convolution for layer in layers]
        self.shapes = ((first.kernel, first.stride), *((each.taps, each.stride) for each in convolutions))

    def become(self, dtype: torch.dtype, *, pack: bool) -> None:
        """Compute in `dtype` from the first layer's output on; `pack` is for the first, the others are `Dense`."""
        self.first.dtype, self.first.pack = dtype, pack
        self.layers.to(dtype=dtype)

    def frames(self, samples: int) -> int:
        """Frames that a window of so many samples gives."""
        for kernel, stride in self.shapes:
            samples = (samples - kernel) // stride + 1
        return samples

    def forward(self, samples: Tensor) -> Tensor:
        """(B, n) float32 in, (B, frames, C) out."""
        if self.frames(samples.shape[1]) < 1:
            raise RuntimeError(f"a window of {samples.shape[1]} samples gives no frame")
        parts = samples[:, None].unbind() if samples.device.type == "cpu" else (samples,)
        return torch.cat([self._heard(part) for part in parts])

    def _heard(self, samples: Tensor) -> Tensor:
        x: Tensor = self.first(samples)
        for layer in self.layers:
            x = layer(x)
        return x
