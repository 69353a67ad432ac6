"""What sits on the encoder: a classifier or an x-vector net, with the weights of a loaded model.

Means, deviations and what is made of them are float32 whatever the frames are in: they are a thousandth of the work,
and two of a thousand logits lie nearer to each other than bfloat16 can tell.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stream.models.fast.dense import Convolution, Dense


class Classifier(nn.Module):
    """Frames (B, T, C) to logits (B, labels): the mean over time, projected and classified.

    The original projects every frame and then takes the mean; both are linear, so the mean may come first.
    """

    def __init__(self, *, projector: nn.Linear, classifier: nn.Linear) -> None:
        super().__init__()
        self.projector, self.classifier = projector, classifier

    def narrow(self, dtype: torch.dtype) -> None:
        """Nothing here is worth a narrower type."""

    def forward(self, frames: Tensor) -> Tensor:
        """In float32."""
        logits: Tensor = self.classifier(self.projector(frames.mean(dim=1, dtype=torch.float32)))
        return logits


class FrameClassifier(nn.Module):
    """Frames (B, T, C) to the logits of each frame (B, T, labels)."""

    def __init__(self, *, classifier: nn.Linear) -> None:
        super().__init__()
        self.classifier = classifier

    def narrow(self, dtype: torch.dtype) -> None:
        """Nothing here is worth a narrower type."""

    def forward(self, frames: Tensor) -> Tensor:
        """In float32."""
        logits: Tensor = self.classifier(frames.float())
        return logits


class XVector(nn.Module):
    """Frames (B, T, C) to x-vectors (B, dimensions), float32, through time-delay layers."""

    def __init__(self, *, projector: nn.Linear, layers: Sequence[Convolution], extractor: nn.Linear) -> None:
        super().__init__()
        self.projector = Dense(weight=projector.weight, bias=projector.bias)
        self.layers = nn.ModuleList(layers)
        self.extractor = extractor
        self._reach = sum((layer.taps - 1) * layer.dilation for layer in layers)

    def narrow(self, dtype: torch.dtype) -> None:
        """Compute in `dtype` what is done for every frame."""
        self.projector.to(dtype=dtype)
        self.layers.to(dtype=dtype)

    def forward(self, frames: Tensor) -> Tensor:
        """Raises `RuntimeError` where there are too few frames for a deviation."""
        if (length := frames.shape[1]) < self._reach + 2:
            raise RuntimeError(f"{length} frames are too few for an x-vector; it takes {self._reach + 2}")
        x = self.projector(frames.to(self.projector.weight.dtype))
        for layer in self.layers:
            x = layer(x)
        deviation, mean = torch.std_mean(x.float(), dim=1)
        vectors: Tensor = self.extractor(torch.cat((mean, deviation), dim=1))
        return vectors


Head = Classifier | FrameClassifier | XVector
