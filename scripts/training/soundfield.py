"""Augmentation of samples during training: room, transmission line, microphone and noise.

Pitch is in the fine structure of the waveform, so recordings for the emotion net are augmented as samples: one filter
each (room, equaliser and line combined) in the frequency domain, then noise, then G.711 quantisation for some.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from scripts.training import corpus
from stream.models.compact.nets import FrontEnd
from stream.types import SAMPLE_RATE_HZ

_MU = 255.0


def _chance(count: int, share: float, draw: torch.Generator) -> Tensor:
    return torch.rand(count, 1, generator=draw) < share


def _between(count: int, low: float, high: float, draw: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, 1, generator=draw)


def _rooms(count: int, size: int, draw: torch.Generator, *, share: float) -> Tensor:
    """Return impulse responses: a direct path followed by decaying noise; shape (count, size)."""
    length = min(size, SAMPLE_RATE_HZ // 2)
    age_s = torch.arange(length) / SAMPLE_RATE_HZ
    tail = torch.randn(count, length, generator=draw) * torch.exp(-6.9 * age_s / _between(count, 0.15, 0.7, draw))
    tail = tail / tail.square().sum(dim=1, keepdim=True).sqrt() * 10 ** (-_between(count, 0, 15, draw) / 20)
    tail = torch.where(_chance(count, share, draw), tail, torch.zeros(()))
    rooms = torch.zeros(count, size)
    rooms[:, 1 : length + 1] = tail[:, : size - 1]
    rooms[:, 0] = 1.0
    return rooms


def _lines(count: int, bins: int, draw: torch.Generator, *, telephone: float) -> Tensor:
    """Return gains of an equaliser, with a telephone band for some; shape (count, bins)."""
    hz = torch.linspace(0, SAMPLE_RATE_HZ / 2, bins).clamp(min=20)
    place = torch.log2(hz / 20) / math.log2(SAMPLE_RATE_HZ / 40)
    waves = torch.cos(math.pi * torch.arange(1, 5)[:, None] * place)
    curve = (torch.randn(count, 4, generator=draw) * 2.0) @ waves + (place - 0.5) * _between(count, -6, 6, draw)
    high = torch.where(_chance(count, 0.4, draw), _between(count, 3_300, 7_500, draw), torch.full((), 8_000.0))
    curve = curve - 60.0 * torch.log2(hz / high).clamp(min=0)
    call = 24.0 * torch.log2(_between(count, 150, 300, draw) / hz).clamp(min=0)
    call = call + 90.0 * torch.log2(hz / 3_500).clamp(min=0)
    curve = torch.where(_chance(count, telephone, draw), curve - call, curve)
    return 10 ** (curve.clamp(min=-60) / 20)


def _mu_law(samples: Tensor) -> Tensor:
    """Quantise like eight bits of G.711 µ-law."""
    peak = samples.abs().amax(dim=1, keepdim=True).clamp(min=1e-9) * 1.2
    squeezed = samples.sign() * torch.log1p(_MU * (samples / peak).abs()) / math.log1p(_MU)
    steps = (squeezed * 127).round() / 127
    return steps.sign() * torch.expm1(steps.abs() * math.log1p(_MU)) / _MU * peak


def augment(audio: Tensor, noise: Tensor, draw: torch.Generator) -> Tensor:
    """Apply room, line, noise at 3 to 35 dB and µ-law; all (batch, samples)."""
    count, size = audio.shape
    wide = 1 << (size + SAMPLE_RATE_HZ // 2 - 1).bit_length()
    rooms = torch.fft.rfft(_rooms(count, SAMPLE_RATE_HZ // 2 + 1, draw, share=0.5), wide)
    lines = _lines(count, wide // 2 + 1, draw, telephone=0.25)
    filtered = torch.fft.irfft(torch.fft.rfft(audio, wide) * rooms * lines, wide)[:, :size]
    hiss = torch.randn(count, size, generator=draw)
    other = torch.where(_chance(count, 0.6, draw), noise, hiss)
    level = filtered.square().mean(dim=1, keepdim=True).sqrt()
    other = other / other.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-9) * level
    other = other * 10 ** (-_between(count, 3, 35, draw) / 20)
    mixed = filtered + torch.where(_chance(count, 0.6, draw), other, torch.zeros(()))
    return torch.where(_chance(count, 0.2, draw), _mu_law(mixed), mixed)


class Augmenter:
    """Augments recordings as samples, so that the correlogram is affected as well."""

    def __init__(self, *, count: int, seed: int) -> None:
        self._count = count
        self._front = FrontEnd()
        self._noise = noises()
        self._draw = torch.Generator().manual_seed(seed)

    def variants(self, samples: corpus.Samples) -> tuple[Tensor, ...]:
        """Return raw features of the recording and of `count` augmented variants; (frames, INPUTS) each."""
        audio = torch.from_numpy(np.ascontiguousarray(samples))
        chosen = torch.randint(len(self._noise), (self._count,), generator=self._draw).tolist()
        noise = torch.from_numpy(np.stack([np.resize(self._noise[at], len(audio)) for at in chosen]))
        augmented = augment(audio.expand(self._count, -1), noise, self._draw)
        return tuple(corpus.raw_features(one.numpy(), self._front, trim=False) for one in (audio, *augmented))


def noises() -> list[corpus.Samples]:
    """Return recordings of environmental noise; (samples,) each."""
    rows = corpus.manifest(corpus.data_folder())
    return [corpus.read(row.path) for row in rows if row.set == "esc10" and row.use == "train"]
