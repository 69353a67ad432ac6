"""The convolutional frontend as matrix products over views: samples in, one vector every 20 ms out.

Owns the weights of a wav2vec 2.0 feature encoder, channels last: a frame's channels lie side by side, so that frames
t·s … t·s+s-1 are one row of a plain matrix and a strided convolution is a matrix product without a copy.

Rules:

* A kernel longer than its stride is cut into pieces no longer than it: with k = 3 and s = 2 the rows of pairs times the
  first two taps, plus the rows of the *next* pairs' first halves times the third.
* Every layer's frames are laid out with a length that its stride divides, and the whole batch is one matrix. Rows that
  reach over an item's end hold nothing of meaning; they lie behind the frames that count and are never looked at.
* The first layer's norm is melted into its weights. Both kinds of norm ask for mean and variance of the layer's output,
  and those follow from the ten samples a frame sees: exactly, and without making the output first. The group norm's
  statistics are those of the whole window, so they come from the frames' 10 x 10 covariance; the layer norm's are a
  frame's own, so they come from a quadratic form. Both are summed in double precision.
* The first layer computes in float32 whatever comes behind: it is a thirtieth of the work, and samples lose most by
  rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream.models.fast.dense import Dense


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm:
    """A norm over channels: factor and offset of shape (channels,)."""

    weight: Tensor
    bias: Tensor
    eps: float


class FirstLayer(nn.Module):
    """Samples (B, n) to normed frames (B, rows, channels), float32; the norm is in the weights."""

    taps: Tensor
    scale: Tensor
    shift: Tensor
    form: Tensor

    def __init__(self, *, conv: nn.Conv1d, norm: Norm, per_frame: bool) -> None:
        super().__init__()
        taps = conv.weight.detach()[:, 0].double()  # (C, k)
        bias = torch.zeros(len(taps)).double() if conv.bias is None else conv.bias.detach().double()
        self.kernel, self.stride, self.eps, self.per_frame = conv.kernel_size[0], conv.stride[0], norm.eps, per_frame
        if per_frame:  # centred over channels; the bias is a tap of its own that always hears 1
            taps = torch.cat((taps, bias[:, None]), dim=1)
            taps = taps - taps.mean(dim=0)
            self.register_buffer("form", taps.T @ taps / len(taps))  # (k + 1, k + 1)
            taps = norm.weight.detach().double()[:, None] * taps
        self.register_buffer("taps", taps.float())  # (C, k) or (C, k + 1)
        self.register_buffer("scale", norm.weight.detach().float())
        self.register_buffer("shift", norm.bias.detach().float())

    def forward(self, samples: Tensor, *, rows: int) -> Tensor:
        """Frames beyond those that fit into n hear zeros behind the end."""
        valid = (samples.shape[1] - self.kernel) // self.stride + 1
        sound = functional.pad(samples.float(), (0, (rows - 1) * self.stride + self.kernel - samples.shape[1]))
        frames = sound.unfold(1, self.kernel, self.stride)  # (B, rows, k), a view
        exact = torch.float32 if samples.device.type == "mps" else torch.float64
        if self.per_frame:
            heard = functional.pad(frames, (0, 1), value=1.0)  # (B, rows, k + 1)
            precise = heard.to(exact)
            variance = ((precise @ self.form.to(exact)) * precise).sum(dim=2, keepdim=True).clamp(min=0)
            heard = heard * torch.rsqrt(variance + self.eps).float()
            return functional.linear(heard, self.taps, self.shift)
        inside = frames[:, :valid].to(exact)
        mean = inside.mean(dim=1, keepdim=True)  # (B, 1, k)
        centred = inside - mean
        covariance = centred.transpose(1, 2) @ centred / valid  # (B, k, k)
        taps = self.taps.to(exact)
        variance = ((taps @ covariance) * taps).sum(dim=2).clamp(min=0)  # (B, C)
        weight = (self.scale * torch.rsqrt(variance + self.eps)).float()[:, :, None] * self.taps  # (B, C, k)
        heard = frames - mean.float()
        return torch.baddbmm(self.shift, heard, weight.transpose(1, 2))


class Layer(nn.Module):
    """One convolution behind the first: frames (B, length, C) whose length the stride divides to (B, length / s, C)."""

    def __init__(self, *, conv: nn.Conv1d, norm: Norm | None) -> None:
        super().__init__()
        self.kernel, self.stride = conv.kernel_size[0], conv.stride[0]
        self._eps = None if norm is None else norm.eps
        taps = conv.weight.detach().permute(0, 2, 1)  # (outputs, k, inputs)
        self.pieces = nn.ModuleList(
            Dense(
                weight=taps[:, at : at + self.stride].reshape(len(taps), -1).contiguous(),
                bias=conv.bias if at == 0 else None,
            )
            for at in range(0, self.kernel, self.stride)
        )
        if norm is not None:
            self.register_buffer("scale", norm.weight.detach())
            self.register_buffer("shift", norm.bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """Rows behind the last frame that counts hold nothing of meaning."""
        batch, length, channels = x.shape
        rows = x.reshape(batch * length // self.stride, self.stride * channels)
        y: Tensor = self.pieces[0](rows)  # (B * length / s, outputs)
        for ahead, piece in enumerate(self.pieces[1:], start=1):
            width = min(self.stride, self.kernel - ahead * self.stride) * channels
            if len(rows) > ahead and isinstance(piece, Dense):
                piece.onto(y[:-ahead], rows[ahead:, :width])
        if self._eps is not None:
            y = functional.layer_norm(y, (y.shape[1],), self.get_buffer("scale"), self.get_buffer("shift"), self._eps)
        return gelu_(y).view(batch, length // self.stride, -1)


class Frontend(nn.Module):
    """All layers; `dtype` is what those behind the first compute in."""

    def __init__(self, *, first: FirstLayer, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.first = first
        self.layers = nn.ModuleList(layers)
        self.dtype = torch.float32
        self._grain = 1
        for layer in layers:
            self._grain *= layer.stride
        self.shapes = ((first.kernel, first.stride), *((layer.kernel, layer.stride) for layer in layers))

    def frames(self, samples: int) -> int:
        """Frames that a window of so many samples gives."""
        for kernel, stride in self.shapes:
            samples = (samples - kernel) // stride + 1
        return samples

    def forward(self, samples: Tensor) -> Tensor:
        """(B, n) float32 in, (B, frames, C) out, a view."""
        if (count := self.frames(samples.shape[1])) < 1:
            raise RuntimeError(f"a window of {samples.shape[1]} samples gives no frame")
        first = (samples.shape[1] - self.first.kernel) // self.first.stride + 1
        x = gelu_(self.first(samples, rows=-(-first // self._grain) * self._grain)).to(self.dtype)
        for layer in self.layers:
            x = layer(x)
        return x[:, :count]


def gelu_(x: Tensor) -> Tensor:
    """The exact GELU in place: these arrays are too big to be made twice."""
    done: Tensor = torch.ops.aten.gelu_(x)
    return done
