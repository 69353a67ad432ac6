"""The whole way from samples to what heads say, with one pass of the backbone for all heads that listen to it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stream.models.fast.dense import Dense
from stream.models.fast.encoder import Encoder
from stream.models.fast.frontend import Frontend
from stream.models.fast.heads import Head
from stream.models.fast.positions import PositionalConv


class Backbone(nn.Module):
    """Samples (B, n) float32 to a weighted sum of layers (B, T, C) for each head."""

    def __init__(self, *, frontend: Frontend, projection: nn.Module, encoder: Encoder) -> None:
        super().__init__()
        self.frontend, self.projection, self.encoder = frontend, projection, encoder

    def forward(self, sound: Tensor, weights: Sequence[Sequence[float] | None]) -> list[Tensor]:
        """`weights` as `Encoder` takes them."""
        projected = self.projection(self.frontend(sound))
        sums: list[Tensor] = self.encoder(projected[0] if isinstance(projected, tuple) else projected, weights)
        return sums

    def digest(self) -> str:
        """One hash over every tensor by name: two backbones of one digest say the same of every sound."""
        whole = hashlib.sha256()
        dense = {f"{name}.weight": part.plain() for name, part in self.named_modules() if isinstance(part, Dense)}
        for name, tensor in sorted((self.state_dict() | dense).items()):
            whole.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            whole.update(memoryview(raw.numpy()))
        device = str(next(self.projection.parameters()).device)
        traits = (device, self.frontend.shapes, self.encoder.traits, type(self.projection).__name__)
        whole.update(repr(traits).encode())
        return whole.hexdigest()


class FastNet(nn.Module):
    """One head on a backbone: samples (B, n) to logits or x-vectors (B, …).

    `weights` are those of the layers in the head's sum, the encoder's input first; None: the last layer alone.
    """

    def __init__(self, *, backbone: Backbone, head: Head, weights: tuple[float, ...] | None) -> None:
        super().__init__()
        self.backbone, self.head, self.weights = backbone, head, weights

    def forward(self, sound: Tensor) -> Tensor:
        """What the head says."""
        return together([self], sound)[0]

    def place(self, *, device: torch.device, dtype: torch.dtype, int8: bool = False, pack: bool = False) -> None:
        """Go where and become what is asked for, once; the first layer and the heads' ends stay in float32.

        `pack` lays weights out for a processor's own products; int8 does without.
        """
        self.to(device=device)
        self.backbone.frontend.become(dtype, pack=pack)
        self.backbone.projection.to(dtype=dtype)
        self.backbone.encoder.to(dtype=dtype)
        self.head.narrow(dtype)
        for module in self.modules():
            if isinstance(module, PositionalConv):
                module.trim()
        for module in (self.backbone if int8 else self).modules():
            if isinstance(module, Dense) and int8:
                module.quantise()
            elif isinstance(module, Dense) and pack:
                module.pack()


def together(nets: Sequence[FastNet], sound: Tensor) -> list[Tensor]:
    """What heads on the first one's backbone say of the same sound, in one pass."""
    sums = nets[0].backbone(sound, [net.weights for net in nets])
    return [net.head(frames) for net, frames in zip(nets, sums, strict=True)]
