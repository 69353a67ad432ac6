"""A room, a line, a microphone and other sounds, put on samples while training.

Pitch shows in the fine structure of the waveform, so the emotion net's sounds are altered as samples: one filter a
sound (room, equaliser and line together) in the frequency domain, then noise, then G.711's steps for some.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from scripts.training import corpus
from stream.models.compact.nets import Front
from stream.types import SAMPLE_RATE_HZ

_MU = 255.0


def _some(count: int, share: float, draw: torch.Generator) -> Tensor:
    return torch.rand(count, 1, generator=draw) < share


def _between(count: int, low: float, high: float, draw: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, 1, generator=draw)


def _rooms(count: int, size: int, draw: torch.Generator, *, share: float) -> Tensor:
    """Impulse responses: a direct sound and decaying noise after it; shape (count, size)."""
    length = min(size, SAMPLE_RATE_HZ // 2)
    age_s = torch.arange(length) / SAMPLE_RATE_HZ
    tail = torch.randn(count, length, generator=draw) * torch.exp(-6.9 * age_s / _between(count, 0.15, 0.7, draw))
    tail = tail / tail.square().sum(dim=1, keepdim=True).sqrt() * 10 ** (-_between(count, 0, 15, draw) / 20)
    tail = torch.where(_some(count, share, draw), tail, torch.zeros(()))
    rooms = torch.zeros(count, size)
    rooms[:, 1 : length + 1] = tail[:, : size - 1]
    rooms[:, 0] = 1.0
    return rooms


def _lines(count: int, bins: int, draw: torch.Generator, *, telephone: float) -> Tensor:
    """Gains of an equaliser, and of a telephone for some; shape (count, bins)."""
    hz = torch.linspace(0, SAMPLE_RATE_HZ / 2, bins).clamp(min=20)
    place = torch.log2(hz / 20) / math.log2(SAMPLE_RATE_HZ / 40)
    waves = torch.cos(math.pi * torch.arange(1, 5)[:, None] * place)
    curve = (torch.randn(count, 4, generator=draw) * 2.0) @ waves + (place - 0.5) * _between(count, -6, 6, draw)
    high = torch.where(_some(count, 0.4, draw), _between(count, 3_300, 7_500, draw), torch.full((), 8_000.0))
    curve = curve - 60.0 * torch.log2(hz / high).clamp(min=0)
    call = 24.0 * torch.log2(_between(count, 150, 300, draw) / hz).clamp(min=0)
    call = call + 90.0 * torch.log2(hz / 3_500).clamp(min=0)
    curve = torch.where(_some(count, telephone, draw), curve - call, curve)
    return 10 ** (curve.clamp(min=-60) / 20)


def _stepped(samples: Tensor) -> Tensor:
    """As eight bits of G.711 µ-law would give it back."""
    peak = samples.abs().amax(dim=1, keepdim=True).clamp(min=1e-9) * 1.2
    squeezed = samples.sign() * torch.log1p(_MU * (samples / peak).abs()) / math.log1p(_MU)
    steps = (squeezed * 127).round() / 127
    return steps.sign() * torch.expm1(steps.abs() * math.log1p(_MU)) / _MU * peak


def alter(sound: Tensor, noise: Tensor, draw: torch.Generator) -> Tensor:
    """Room, line, noise at 3 to 35 dB, µ-law; all (batch, samples)."""
    count, size = sound.shape
    wide = 1 << (size + SAMPLE_RATE_HZ // 2 - 1).bit_length()
    rooms = torch.fft.rfft(_rooms(count, SAMPLE_RATE_HZ // 2 + 1, draw, share=0.5), wide)
    lines = _lines(count, wide // 2 + 1, draw, telephone=0.25)
    heard = torch.fft.irfft(torch.fft.rfft(sound, wide) * rooms * lines, wide)[:, :size]
    hiss = torch.randn(count, size, generator=draw)
    other = torch.where(_some(count, 0.6, draw), noise, hiss)
    loud = heard.square().mean(dim=1, keepdim=True).sqrt()
    other = other / other.square().mean(dim=1, keepdim=True).sqrt().clamp(min=1e-9) * loud
    other = other * 10 ** (-_between(count, 3, 35, draw) / 20)
    mixed = heard + torch.where(_some(count, 0.6, draw), other, torch.zeros(()))
    return torch.where(_some(count, 0.2, draw), _stepped(mixed), mixed)


class Places:
    """Where a recording may be heard: other rooms, lines and company, made as samples, so that pitch suffers, too."""

    def __init__(self, *, count: int, seed: int) -> None:
        self._count = count
        self._front = Front()
        self._noise = noises()
        self._draw = torch.Generator().manual_seed(seed)

    def heard(self, samples: corpus.Samples) -> tuple[Tensor, ...]:
        """The recording as it is and in `count` places, as `corpus.heard` gives it; (frames, INPUTS) each."""
        sound = torch.from_numpy(np.ascontiguousarray(samples))
        chosen = torch.randint(len(self._noise), (self._count,), generator=self._draw).tolist()
        around = torch.from_numpy(np.stack([np.resize(self._noise[at], len(sound)) for at in chosen]))
        away = alter(sound.expand(self._count, -1), around, self._draw)
        return tuple(corpus.heard(one.numpy(), self._front, trim=False) for one in (sound, *away))


def noises() -> list[corpus.Samples]:
    """Environment sounds; (samples,) each."""
    rows = corpus.manifest(corpus.data_folder())
    return [corpus.read(row.path) for row in rows if row.set == "esc10" and row.use == "train"]
