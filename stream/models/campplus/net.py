"""CAM++, a densely connected time-delay network with context-aware masking, for inference.

After Wang et al., Interspeech 2023 (arXiv:2303.00332).

Shapes: features (windows, frames, 80) → convolutions over time and frequency (windows, 32, 10, frames) → rows of 320
values → dense blocks at half the frame rate (windows, frames / 2, channels) → mean and deviation over time → x-vector
(windows, 192). Batch norms are folded into scales, offsets and the weights before them; convolutions over time are
matrix products over rows. Rows of all windows lie side by side, so a product sees windows × frames rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

DIMENSIONS: Final = 192
GROWTH: Final = 32
BOTTLENECK: Final = 128
BLOCKS: Final = ((12, 1), (24, 2), (16, 2))
"""Layers and dilation of each dense block."""

PIECE_FRAMES: Final = 100
"""Frames over which the local context of the mask is averaged."""

_CHANNELS: Final = 32
_EPS: Final = 1e-5

State = Mapping[str, Tensor]


def _affine(state: State, name: str) -> tuple[Tensor, Tensor]:
    """A batch norm as scale and offset, each of shape (channels,)."""
    deviation = torch.sqrt(state[f"{name}.running_var"].double() + _EPS)
    scale = state[f"{name}.weight"].double() if f"{name}.weight" in state else torch.ones_like(deviation)
    offset = state[f"{name}.bias"].double() if f"{name}.bias" in state else torch.zeros_like(deviation)
    scale = scale / deviation
    return scale.float(), (offset - state[f"{name}.running_mean"].double() * scale).float()


def _folded(weight: Tensor, norm: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """A convolution's weight with the batch norm that follows it folded in, and the bias."""
    scale, offset = norm
    return weight * scale.view(-1, *(1,) * (weight.dim() - 1)), offset


class _Conv2d(nn.Module):
    """A 3 × 3 or 1 × 1 convolution with its batch norm folded in; strides only over frequency."""

    weight: Tensor
    bias: Tensor

    def __init__(self, state: State, conv: str, norm: str, *, stride: int) -> None:
        super().__init__()
        weight, bias = _folded(state[f"{conv}.weight"], _affine(state, norm))
        self.register_buffer("weight", weight.contiguous(memory_format=torch.channels_last))
        self.register_buffer("bias", bias)
        self._stride, self._padding = (stride, 1), weight.shape[-1] // 2

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.weight, self.bias, self._stride, self._padding)


class _Residual(nn.Module):
    """Two convolutions and a shortcut, which is a convolution where the block strides."""

    def __init__(self, state: State, name: str, *, stride: int) -> None:
        super().__init__()
        self.first = _Conv2d(state, f"{name}.conv1", f"{name}.bn1", stride=stride)
        self.second = _Conv2d(state, f"{name}.conv2", f"{name}.bn2", stride=1)
        bypass = f"{name}.shortcut"
        self.shortcut = (
            _Conv2d(state, f"{bypass}.0", f"{bypass}.1", stride=stride) if f"{bypass}.0.weight" in state else None
        )

    def forward(self, x: Tensor) -> Tensor:
        main = self.second(functional.relu_(self.first(x)))
        return functional.relu_(main.add_(x if self.shortcut is None else self.shortcut(x)))


class _Head(nn.Module):
    """Features (windows, frames, 80) to rows (windows, frames, 320)."""

    def __init__(self, state: State) -> None:
        super().__init__()
        self.first = _Conv2d(state, "head.conv1", "head.bn1", stride=1)
        self.blocks = nn.Sequential(
            *(
                _Residual(state, f"head.layer{layer}.{number}", stride=2 if number == 0 else 1)
                for layer in (1, 2)
                for number in (0, 1)
            )
        )
        self.last = _Conv2d(state, "head.conv2", "head.bn2", stride=2)

    def forward(self, features: Tensor) -> Tensor:
        x = features.transpose(1, 2)[:, None].contiguous(memory_format=torch.channels_last)  # (windows, 1, 80, frames)
        x = functional.relu_(self.last(self.blocks(functional.relu_(self.first(x)))))  # (windows, 32, 10, frames)
        return x.flatten(1, 2).transpose(1, 2)  # (windows, frames, 320)


def _taps(
    rows: Tensor, weight: Tensor, bias: Tensor | None, *, taps: int, dilation: int = 1, stride: int = 1
) -> Tensor:
    """Convolve over time as one product: (windows, frames, inputs) to (windows, frames / stride, outputs)."""
    reach = dilation * (taps - 1) // 2
    padded = functional.pad(rows, (0, 0, reach, reach))
    frames = (rows.shape[1] - 1) // stride + 1
    last = (frames - 1) * stride + 1
    beside = torch.cat([padded[:, at * dilation : at * dilation + last : stride] for at in range(taps)], dim=2)
    return functional.linear(beside, weight, bias)


def _flat(weight: Tensor) -> Tensor:
    """A convolution's weight (outputs, inputs, taps) for `_taps`: (outputs, taps * inputs)."""
    return weight.transpose(1, 2).reshape(weight.shape[0], -1).contiguous()


def piece_means(rows: Tensor) -> Tensor:
    """Mean of each piece of PIECE_FRAMES rows plus the mean of all: (frames, channels) to (pieces, channels)."""
    mean = rows.mean(dim=0, keepdim=True)
    if len(rows) <= PIECE_FRAMES:
        return mean + mean
    return torch.cat([piece.mean(dim=0, keepdim=True) for piece in torch.split(rows, PIECE_FRAMES)]) + mean


class _DenseLayer(nn.Module):
    """One layer of a dense block: GROWTH channels from all before it, masked by their context.

    Its products write where their results are read: copies would take a third of the time of so small products.
    """

    scale: Tensor
    offset: Tensor
    reduce: Tensor
    reduce_bias: Tensor
    local: Tensor
    squeeze: Tensor
    squeeze_bias: Tensor
    excite: Tensor
    excite_bias: Tensor

    def __init__(self, state: State, name: str, *, dilation: int) -> None:
        super().__init__()
        scale, offset = _affine(state, f"{name}.nonlinear1.batchnorm")
        reduce, reduce_bias = _folded(
            state[f"{name}.linear1.weight"][:, :, 0], _affine(state, f"{name}.nonlinear2.batchnorm")
        )
        mask = f"{name}.cam_layer"
        for key, value in (
            ("scale", scale),
            ("offset", offset),
            ("reduce", reduce.t().contiguous()),
            ("reduce_bias", reduce_bias),
            ("local", state[f"{mask}.linear_local.weight"].permute(2, 1, 0).contiguous()),  # (taps, inputs, outputs)
            ("squeeze", state[f"{mask}.linear1.weight"][:, :, 0].clone()),
            ("squeeze_bias", state[f"{mask}.linear1.bias"].clone()),
            ("excite", state[f"{mask}.linear2.weight"][:, :, 0].clone()),
            ("excite_bias", state[f"{mask}.linear2.bias"].clone()),
        ):
            self.register_buffer(key, value)
        self._dilation = dilation

    def forward(self, rows: Tensor, found: Tensor) -> None:
        """Read rows (frames, inputs) of one window and write `found` (frames, GROWTH)."""
        frames, reach = len(rows), self._dilation
        padded = rows.new_zeros(frames + 2 * reach, BOTTLENECK)
        hidden = padded[reach : reach + frames]
        torch.addmm(
            self.reduce_bias, functional.relu_(torch.addcmul(self.offset, rows, self.scale)), self.reduce, out=hidden
        )
        functional.relu_(hidden)
        context = functional.relu_(functional.linear(piece_means(hidden), self.squeeze, self.squeeze_bias))
        mask = torch.sigmoid(functional.linear(context, self.excite, self.excite_bias))  # (pieces, 32)
        torch.mm(padded[:frames], self.local[0], out=found)
        found.addmm_(hidden, self.local[1])
        found.addmm_(padded[2 * reach :], self.local[2])
        for piece, factors in zip(torch.split(found, PIECE_FRAMES), mask, strict=True):
            piece.mul_(factors)


class _DenseBlock(nn.Module):
    """Layers that each add GROWTH channels, and the transition that halves them."""

    scale: Tensor
    offset: Tensor
    weight: Tensor

    def __init__(self, state: State, number: int, *, layers: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            _DenseLayer(state, f"xvector.block{number}.tdnnd{layer + 1}", dilation=dilation) for layer in range(layers)
        )
        scale, offset = _affine(state, f"xvector.transit{number}.nonlinear.batchnorm")
        self.register_buffer("scale", scale)
        self.register_buffer("offset", offset)
        self.register_buffer("weight", state[f"xvector.transit{number}.linear.weight"][:, :, 0].clone())

    def forward(self, rows: Tensor) -> Tensor:
        windows, frames, inputs = rows.shape
        everything = rows.new_empty(windows, frames, inputs + GROWTH * len(self.layers))
        everything[:, :, :inputs] = rows
        width = inputs
        for layer in self.layers:
            for window in everything:
                layer(window[:, :width], window[:, width : width + GROWTH])
            width += GROWTH
        return functional.linear(functional.relu_(torch.addcmul(self.offset, everything, self.scale)), self.weight)


class CamPlusPlus(nn.Module):
    """Features (windows, frames, 80) to x-vectors (windows, 192), not yet of unit length."""

    tdnn: Tensor
    tdnn_bias: Tensor
    scale: Tensor
    offset: Tensor
    dense: Tensor
    dense_bias: Tensor

    def __init__(self, state: State) -> None:
        super().__init__()
        self.head = _Head(state)
        tdnn, tdnn_bias = _folded(
            state["xvector.tdnn.linear.weight"], _affine(state, "xvector.tdnn.nonlinear.batchnorm")
        )
        scale, offset = _affine(state, "xvector.out_nonlinear.batchnorm")
        dense, dense_bias = _folded(
            state["xvector.dense.linear.weight"][:, :, 0], _affine(state, "xvector.dense.nonlinear.batchnorm")
        )
        for key, value in (
            ("tdnn", _flat(tdnn)),
            ("tdnn_bias", tdnn_bias),
            ("scale", scale),
            ("offset", offset),
            ("dense", dense),
            ("dense_bias", dense_bias),
        ):
            self.register_buffer(key, value)
        self.blocks = nn.Sequential(
            *(
                _DenseBlock(state, number + 1, layers=layers, dilation=dilation)
                for number, (layers, dilation) in enumerate(BLOCKS)
            )
        )

    def levels(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features (windows, frames, 80) to the rows of the second and third block and of the last layer.

        Each has shape (windows, frames / 2, 512).
        """
        rows = functional.relu_(_taps(self.head(features), self.tdnn, self.tdnn_bias, taps=5, stride=2))
        first, second, third = self.blocks
        middle = second(first(rows))
        late = third(middle)
        return middle, late, functional.relu(torch.addcmul(self.offset, late, self.scale))

    def frames(self, features: Tensor) -> Tensor:
        """Features (windows, frames, 80) to frame-level values (windows, frames / 2, 512)."""
        return self.levels(features)[-1]

    def project(self, pooled: Tensor) -> Tensor:
        """Statistics of the last layer (windows, 1024) to x-vectors (windows, 192)."""
        return functional.linear(pooled, self.dense, self.dense_bias)

    def forward(self, features: Tensor) -> Tensor:
        """Pool the frames to mean and deviation and project them."""
        return self.project(statistics(self.frames(features)))


def statistics(rows: Tensor) -> Tensor:
    """Return mean and deviation over time: (windows, frames, channels) to (windows, 2 * channels)."""
    deviation, mean = torch.std_mean(rows, dim=1)
    return torch.cat((mean, deviation), dim=1)
