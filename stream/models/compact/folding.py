"""A trained net made quick for one window: batch norms melt into convolutions, and those become matrix products.

For a single short window PyTorch's convolutions take slow ways (the dilated one above all): one matrix product over the
frames that each frame of the output hears, laid side by side, does the same sums in a third of the time. Answers agree
to rounding. Channels lie side by side in memory behind a product, whatever the order of the dimensions says.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from stream.models.compact.nets import Trunk
from stream.models.onednn import Linear


class Product(nn.Module):
    """A convolution over time as one matrix product."""

    weight: Tensor
    bias: Tensor

    def __init__(self, *, conv: nn.Conv1d, linear: Linear) -> None:
        super().__init__()
        outputs, inputs, self.taps = conv.weight.shape
        self.stride, self.dilation, self.padding = conv.stride[0], conv.dilation[0], int(conv.padding[0])
        bias = torch.zeros(outputs) if conv.bias is None else conv.bias.detach()
        flat = conv.weight.detach().transpose(1, 2).reshape(outputs, self.taps * inputs)
        self.register_buffer("weight", flat.clone())
        self.register_buffer("bias", bias.clone())
        self._linear = linear

    def forward(self, x: Tensor) -> Tensor:
        """(1, inputs, frames) in, (1, outputs, frames / stride) out: one window at a time."""
        rows = x[0].t()  # (frames, inputs)
        if self.taps > 1:
            frames = (x.shape[2] + 2 * self.padding - self.dilation * (self.taps - 1) - 1) // self.stride + 1
            wide = functional.pad(rows, (0, 0, self.padding, self.padding))
            reach = (frames - 1) * self.stride + 1
            starts = [tap * self.dilation for tap in range(self.taps)]
            rows = torch.cat([wide[at : at + reach : self.stride] for at in starts], dim=1)  # (…, taps * inputs)
        return self._linear(rows, self.weight, self.bias).t()[None]


def fold(trunk: Trunk, *, linear: Linear = functional.linear) -> None:
    """Rebuild a trained trunk in place, with `linear` for its products; it can no longer be trained."""
    trunk.eval()
    _fold_pair(trunk, "stem", linear)
    _fold_pair(trunk, "halve", linear)
    for block in trunk.blocks:
        _fold_pair(block, "context", linear)
        _fold_pair(block, "mix", linear)
    for owner, name in ((trunk, "gather"), (trunk.pool, "frame"), (trunk.pool, "weight")):
        setattr(owner, name, Product(conv=_convolution(owner, name), linear=linear))


def _fold_pair(owner: nn.Module, name: str, linear: Linear) -> None:
    """Make one product of a convolution and the batch norm named after it."""
    norm = owner.get_submodule(f"{name}_norm")
    if not isinstance(norm, nn.BatchNorm1d):
        raise TypeError(f"{name}_norm is no batch norm: a net folds once")
    setattr(owner, name, Product(conv=fuse_conv_bn_eval(_convolution(owner, name), norm), linear=linear))
    setattr(owner, f"{name}_norm", nn.Identity())


def _convolution(owner: nn.Module, name: str) -> nn.Conv1d:
    conv = owner.get_submodule(name)
    if not isinstance(conv, nn.Conv1d):
        raise TypeError(f"{name} is no convolution: a net folds once")
    return conv
