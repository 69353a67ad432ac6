"""Heads on the encoder, with the weights of a loaded model: classifiers and an x-vector net.

Means, deviations and later layers are computed in float32 whatever the type of the frames: they are a thousandth of the
work, and two of a thousand logits can be closer than bfloat16 resolves.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stream.models.fast.dense import Convolution, Dense
from stream.models.pooled import PooledHead


class Classifier(nn.Module):
    """Maps frames (B, T, C) to logits (B, labels): mean over time, projection, classification.

    The original projects every frame and averages afterwards; both are linear, so the order can be swapped.
    """

    def __init__(self, *, projector: nn.Linear, classifier: nn.Linear) -> None:
        super().__init__()
        self.projector, self.classifier = projector, classifier

    def convert(self, dtype: torch.dtype) -> None:
        """Do nothing: a narrower type would save no time here."""

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits in float32."""
        logits: Tensor = self.classifier(self.projector(frames.mean(dim=1, dtype=torch.float32)))
        return logits


class FrameClassifier(nn.Module):
    """Maps frames (B, T, C) to the logits of each frame (B, T, labels)."""

    def __init__(self, *, classifier: nn.Linear) -> None:
        super().__init__()
        self.classifier = classifier

    def convert(self, dtype: torch.dtype) -> None:
        """Do nothing: a narrower type would save no time here."""

    def forward(self, frames: Tensor) -> Tensor:
        """Return logits in float32."""
        logits: Tensor = self.classifier(frames.float())
        return logits


class XVector(nn.Module):
    """Maps frames (B, T, C) to x-vectors (B, dimensions) in float32, through time-delay layers."""

    def __init__(self, *, projector: nn.Linear, layers: Sequence[Convolution], extractor: nn.Linear) -> None:
        super().__init__()
        self.projector = Dense(weight=projector.weight, bias=projector.bias)
        self.layers = nn.ModuleList(layers)
        self.extractor = extractor
        self._context = sum((layer.taps - 1) * layer.dilation for layer in layers)

    def convert(self, dtype: torch.dtype) -> None:
        """Compute the layers before pooling in `dtype`."""
        self.projector.to(dtype=dtype)
        self.layers.to(dtype=dtype)

    def forward(self, frames: Tensor) -> Tensor:
        """Return x-vectors. Raises `RuntimeError` for too few frames to compute a deviation."""
        if (length := frames.shape[1]) < self._context + 2:
            raise RuntimeError(f"{length} frames are too few for an x-vector, at least {self._context + 2} needed")
        x = self.projector(frames.to(self.projector.weight.dtype))
        for layer in self.layers:
            x = layer(x)
        deviation, mean = torch.std_mean(x.float(), dim=1)
        vectors: Tensor = self.extractor(torch.cat((mean, deviation), dim=1))
        return vectors


Head = Classifier | FrameClassifier | PooledHead | XVector
