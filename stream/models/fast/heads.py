"""What sits on the encoder: a classifier or an x-vector net, with the weights of a loaded model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream.models.fast.dense import Dense


class Classifier(nn.Module):
    """Frames (B, T, C) to logits (B, labels): the mean over time, projected and classified.

    The original projects every frame and then takes the mean; both are linear, so the mean may come first.
    """

    def __init__(self, *, projector: nn.Linear, classifier: nn.Linear) -> None:
        super().__init__()
        self.projector, self.classifier = projector, classifier

    def forward(self, frames: Tensor) -> Tensor:
        """In the type of the weights."""
        logits: Tensor = self.classifier(self.projector(frames.mean(dim=1)))
        return logits


class FrameClassifier(nn.Module):
    """Frames (B, T, C) to the logits of each frame (B, T, labels)."""

    def __init__(self, *, classifier: nn.Linear) -> None:
        super().__init__()
        self.classifier = classifier

    def forward(self, frames: Tensor) -> Tensor:
        """In the type of the weights."""
        logits: Tensor = self.classifier(frames)
        return logits


class DilatedLayer(nn.Module):
    """A time-delay layer: a dilated convolution over frames as one product a tap, and a ReLU."""

    def __init__(self, *, kernel: nn.Linear, taps: int, dilation: int) -> None:
        super().__init__()
        outputs = kernel.out_features
        weight = kernel.weight.detach().view(outputs, taps, -1)
        self.dilation = dilation
        self.taps = nn.ModuleList(
            Dense(weight=weight[:, tap].contiguous(), bias=kernel.bias if tap == 0 else None) for tap in range(taps)
        )

    @property
    def reach(self) -> int:
        """Frames that the output is shorter by."""
        return (len(self.taps) - 1) * self.dilation

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (B * T, C) in, (B * T, outputs) out; the last `reach` rows of each item hold nothing of meaning."""
        y: Tensor = self.taps[0](rows)
        for number, tap in enumerate(self.taps[1:], start=1):
            ahead = number * self.dilation
            if isinstance(tap, Dense):
                tap.onto(y[:-ahead], rows[ahead:])
        return functional.relu_(y)


class XVector(nn.Module):
    """Frames (B, T, C) to x-vectors (B, dimensions)."""

    def __init__(self, *, projector: nn.Linear, layers: Sequence[DilatedLayer], extractor: nn.Linear) -> None:
        super().__init__()
        self.projector, self.extractor = projector, extractor
        self.layers = nn.ModuleList(layers)
        self._reach = sum(layer.reach for layer in layers)

    def forward(self, frames: Tensor) -> Tensor:
        """Raises `RuntimeError` where there are too few frames for a deviation."""
        batch, length = frames.shape[:2]
        if (left := length - self._reach) < 2:  # noqa: PLR2004
            raise RuntimeError(f"{length} frames are too few for an x-vector; it takes {self._reach + 2}")
        x = self.projector(frames).flatten(0, 1)  # (B * T, projected)
        for layer in self.layers:
            x = layer(x)
        x = x.view(batch, length, -1)[:, :left]
        vectors: Tensor = self.extractor(torch.cat((x.mean(dim=1), x.std(dim=1)), dim=1))
        return vectors
