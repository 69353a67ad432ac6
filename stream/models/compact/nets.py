"""The nets: a small time-delay network with squeeze-excitation and attentive statistics pooling, and two heads.

After ECAPA-TDNN (Desplanques et al. 2020, arXiv:2005.07143) with plain blocks in place of its Res2 blocks, so that one
window takes a few milliseconds of a core; attentive statistics after Okabe et al. (2018, arXiv:1803.10963);
squeeze-excitation after Hu et al. (2018, arXiv:1709.01507). Two strided convolutions reduce the frame rate to one frame
per 40 ms before the blocks: fine enough for speaker and emotion, at a quarter of the blocks' cost.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from stream.models.compact.features import (
    HOP_SAMPLES,
    MELS,
    PITCH_HOP_SAMPLES,
    PITCH_LAGS,
    Correlogram,
    MelPower,
    log_power,
    mean_normalised,
)


class SqueezeExcitation(nn.Module):
    """Scales each channel by a gate computed from the whole window."""

    def __init__(self, *, channels: int, squeezed: int) -> None:
        super().__init__()
        self.down = nn.Linear(channels, squeezed)
        self.up = nn.Linear(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape: (batch, channels, frames)."""
        mean = x.mean(dim=2)  # (batch, channels)
        weight = torch.sigmoid(self.up(functional.relu(self.down(mean))))
        return x * weight[:, :, None]


class ResidualBlock(nn.Module):
    """A dilated convolution over three frames, a pointwise convolution, squeeze-excitation and a skip connection."""

    def __init__(self, *, channels: int, dilation: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.context: nn.Module = nn.Conv1d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.context_norm: nn.Module = nn.BatchNorm1d(channels)
        self.mix: nn.Module = nn.Conv1d(channels, channels, 1, bias=False)
        self.mix_norm: nn.Module = nn.BatchNorm1d(channels)
        self.excite = SqueezeExcitation(channels=channels, squeezed=max(channels // 4, 16))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape: (batch, channels, frames)."""
        y = functional.relu(self.context_norm(self.context(x)))
        y = self.excite(self.mix_norm(self.mix(y)))
        return functional.relu(x + self.dropout(y))


class AttentiveStatistics(nn.Module):
    """Weighted mean and deviation over time; a small net computes the weights from frames and global statistics."""

    def __init__(self, *, channels: int, hidden: int) -> None:
        super().__init__()
        self.frame: nn.Module = nn.Conv1d(channels, hidden, 1)
        self.context = nn.Linear(2 * channels, hidden, bias=False)
        self.weight: nn.Module = nn.Conv1d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, frames) to (batch, 2 * channels)."""
        mean = x.mean(dim=2)
        deviation = (x - mean[:, :, None]).square().mean(dim=2).clamp(min=1e-6).sqrt()
        context = self.context(torch.cat((mean, deviation), dim=1))  # (batch, hidden)
        weight = self.weight(torch.tanh(self.frame(x) + context[:, :, None]))  # (batch, channels, frames)
        weight = torch.softmax(weight, dim=2)
        mean = (weight * x).sum(dim=2)
        deviation = ((weight * x.square()).sum(dim=2) - mean.square()).clamp(min=1e-6).sqrt()
        return torch.cat((mean, deviation), dim=1)


class Trunk(nn.Module):
    """Maps features (batch, frames, inputs) to pooled statistics (batch, 2 * pooled)."""

    def __init__(self, *, inputs: int, channels: int, pooled: int, dilations: tuple[int, ...], dropout: float) -> None:
        super().__init__()
        self.stem: nn.Module = nn.Conv1d(inputs, channels, 5, stride=2, padding=2, bias=False)
        self.stem_norm: nn.Module = nn.BatchNorm1d(channels)
        self.halve: nn.Module = nn.Conv1d(channels, channels, 3, stride=2, padding=1, bias=False)
        self.halve_norm: nn.Module = nn.BatchNorm1d(channels)
        self.blocks = nn.ModuleList(
            ResidualBlock(channels=channels, dilation=dilation, dropout=dropout) for dilation in dilations
        )
        self.gather: nn.Module = nn.Conv1d(channels * len(dilations), pooled, 1)
        self.pool = AttentiveStatistics(channels=pooled, hidden=64)
        self.pool_norm = nn.BatchNorm1d(2 * pooled)

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate and pool the outputs of all blocks (multi-layer feature aggregation)."""
        x = functional.relu(self.stem_norm(self.stem(x.transpose(1, 2))))  # (batch, channels, frames / 2)
        x = functional.relu(self.halve_norm(self.halve(x)))  # (batch, channels, frames / 4)
        layers = []
        for block in self.blocks:
            x = block(x)
            layers.append(x)
        x = functional.relu(self.gather(torch.cat(layers, dim=1)))  # (batch, pooled, frames / 4)
        normed: Tensor = self.pool_norm(self.pool(x))  # (batch, 2 * pooled)
        return normed


INPUTS = MELS + PITCH_LAGS
EMOTIONS = ("neutral", "happy", "angry", "sad")


class FrontEnd(nn.Module):
    """Maps samples (…, n) to (…, frames, INPUTS): mean-normalised log-mel power followed by the correlogram."""

    def __init__(self) -> None:
        super().__init__()
        self.power = MelPower()
        self.pitch = Correlogram()

    def forward(self, samples: Tensor) -> Tensor:
        """Repeat each correlogram frame, since its hop is twice as long; log-mel frames beyond its end are dropped."""
        pitch = self.pitch(samples).repeat_interleave(PITCH_HOP_SAMPLES // HOP_SAMPLES, dim=-2)
        logs = mean_normalised(log_power(self.power(samples)))[..., : pitch.shape[-2], :]
        return torch.cat((logs, 2.0 * pitch), dim=-1)


class SpeakerNet(nn.Module):
    """Maps features to an x-vector of unit length."""

    DIMENSIONS = 192

    def __init__(self, *, channels: int = 192, pooled: int = 384, dropout: float = 0.0) -> None:
        super().__init__()
        self.trunk = Trunk(inputs=INPUTS, channels=channels, pooled=pooled, dilations=(1, 2, 3, 4), dropout=dropout)
        self.project = nn.Linear(2 * pooled, self.DIMENSIONS)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, frames, INPUTS) to (batch, 192)."""
        return functional.normalize(self.project(self.trunk(x)), dim=1)


class EmotionNet(nn.Module):
    """Maps features to one logit per emotion, divided by the temperature that calibrates them."""

    temperature: Tensor

    def __init__(self, *, channels: int = 96, pooled: int = 128, dropout: float = 0.0) -> None:
        super().__init__()
        self.trunk = Trunk(inputs=INPUTS, channels=channels, pooled=pooled, dilations=(1, 2, 3), dropout=dropout)
        self.dropout = nn.Dropout(2 * dropout)
        self.classify = nn.Linear(2 * pooled, len(EMOTIONS))
        self.register_buffer("temperature", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, frames, INPUTS) to (batch, 4)."""
        logits: Tensor = self.classify(self.dropout(self.trunk(x)))
        return logits / self.temperature
