"""The whole forward from samples to the outputs of heads, with one pass of the backbone for all heads that share it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from stream.models.fast.dense import Dense
from stream.models.fast.encoder import Encoder
from stream.models.fast.frontend import Frontend
from stream.models.fast.heads import Head
from stream.models.fast.quantisation import quantise_faster


class Backbone(nn.Module):
    """Maps samples (B, n) float32 to a weighted sum of layers (B, T, C) for each head."""

    def __init__(self, *, frontend: Frontend, projection: nn.Module, encoder: Encoder) -> None:
        super().__init__()
        self.frontend, self.projection, self.encoder = frontend, projection, encoder

    def forward(self, audio: Tensor, weights: Sequence[Sequence[float] | None]) -> list[Tensor]:
        """Run the backbone; `weights` as in `Encoder.forward`."""
        projected = self.projection(self.frontend(audio))
        sums: list[Tensor] = self.encoder(projected[0] if isinstance(projected, tuple) else projected, weights)
        return sums

    def digest(self) -> str:
        """Return a hash over all named tensors: backbones with equal digests have equal outputs."""
        digest = hashlib.sha256()
        dense = {f"{name}.weight": layer.plain() for name, layer in self.named_modules() if isinstance(layer, Dense)}
        for name, tensor in sorted((self.state_dict() | dense).items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            raw = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            digest.update(memoryview(raw.numpy()))
        device = str(next(self.projection.parameters()).device)
        traits = (device, self.frontend.shapes, self.encoder.traits, type(self.projection).__name__)
        digest.update(repr(traits).encode())
        return digest.hexdigest()


class FastNet(nn.Module):
    """A backbone with one head: maps samples (B, n) to logits or x-vectors (B, …).

    `weights` are the layer weights of the head's sum, the encoder's input first; None: the last layer only.
    """

    def __init__(self, *, backbone: Backbone, head: Head, weights: tuple[float, ...] | None) -> None:
        super().__init__()
        self.backbone, self.head, self.weights = backbone, head, weights

    def forward(self, audio: Tensor) -> Tensor:
        """Return the output of the head."""
        return forward_shared([self], audio)[0]

    def place(self, *, device: torch.device, dtype: torch.dtype, int8: bool = False, pack: bool = False) -> int:
        """Move to `device` and convert to `dtype`, once; the first layer and the heads' last layers stay in float32.

        `pack` reorders weights into oneDNN's layout; with `int8` the encoder's layers that are faster in it are
        quantised. Returns their number.
        """
        self.to(device=device)
        self.backbone.frontend.convert(dtype, pack=pack)
        self.backbone.projection.to(dtype=dtype)
        self.backbone.encoder.to(dtype=dtype)
        self.head.convert(dtype)
        candidates = list(_dense_layers(self.backbone.encoder)) if int8 else []
        for layer in _dense_layers(self):
            if pack and not any(layer is candidate for candidate in candidates):
                layer.pack()
        return quantise_faster(candidates, pack=pack)


def _dense_layers(net: nn.Module) -> Iterator[Dense]:
    return (module for module in net.modules() if isinstance(module, Dense))


def forward_shared(nets: Sequence[FastNet], audio: Tensor) -> list[Tensor]:
    """Return the outputs of all heads for the same audio, in one pass of the first net's backbone."""
    sums = nets[0].backbone(audio, [net.weights for net in nets])
    return [net.head(frames) for net, frames in zip(nets, sums, strict=True)]
