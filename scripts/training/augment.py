"""Augmentation of mel power during training: room, transmission line, microphone and additional sources.

All of it acts on power spectra: independent sources add in power, an equaliser or a telephone line scales bands, and
late reverberation smears each band with a decaying exponential (Lebart et al. 2001). So a batch is augmented by a few
tensor operations and no recording is decoded twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from stream.models.compact.features import MELS, centres_hz

_FRAMES_PER_S = 100
_TAIL_FRAMES = 50


@dataclass(frozen=True, slots=True)
class Strength:
    """Probability or magnitude of each augmentation."""

    equaliser_db: float = 3.0
    tilt_db: float = 8.0
    room: float = 0.5
    noise: float = 0.6
    babble: float = 0.2
    telephone: float = 0.25
    lowpass: float = 0.2
    masks: float = 0.5
    voiceless: float = 0.15
    pitch_steps: float = 1.2


def _chance(count: int, p: float, draw: torch.Generator) -> Tensor:
    return torch.rand(count, 1, 1, generator=draw) < p


def _between(count: int, low: float, high: float, draw: torch.Generator) -> Tensor:
    return low + (high - low) * torch.rand(count, 1, 1, generator=draw)


def _db(value: Tensor) -> Tensor:
    return torch.exp(value * (math.log(10.0) / 10.0))


def equalise(power: Tensor, strength: Strength, draw: torch.Generator) -> Tensor:
    """Apply a random tilt and six slow cosines to each spectrum."""
    count = len(power)
    band = torch.linspace(0, 1, MELS)
    curve = (band - 0.5) * _between(count, -strength.tilt_db, strength.tilt_db, draw)[:, :, 0]  # (batch, 64)
    waves = torch.cos(math.pi * torch.arange(1, 7)[:, None] * band)  # (6, 64)
    curve = curve + (torch.randn(count, 6, generator=draw) * strength.equaliser_db) @ waves
    return power * _db(curve)[:, None, :]


def reverberate(power: Tensor, strength: Strength, draw: torch.Generator) -> Tensor:
    """Add late reverberation: RT60 of 0.15 to 0.9 s, shorter in high bands, 0 to 12 dB below the direct path."""
    count, frames, _ = power.shape
    rt60_s = _between(count, 0.15, 0.9, draw)
    age = torch.arange(1, _TAIL_FRAMES + 1)[None, :, None] / _FRAMES_PER_S
    band = torch.linspace(0, 1, MELS)[None, None, :]
    tail = torch.exp(-13.8 * age / (rt60_s * (1.2 - 0.5 * band)))  # (batch, tail, 64)
    tail = tail / tail.sum(dim=1, keepdim=True) * _db(-_between(count, 0, 12, draw))
    # One convolution by Fourier transform for all, since every example and band has its own tail.
    size = frames + _TAIL_FRAMES
    kernel = functional.pad(tail, (0, 0, 1, 0))
    late = torch.fft.irfft(torch.fft.rfft(power, size, dim=1) * torch.fft.rfft(kernel, size, dim=1), size, dim=1)
    return torch.where(_chance(count, strength.room, draw), power + late[:, :frames].clamp(min=0), power)


def add_noise(power: Tensor, noise: Tensor, strength: Strength, draw: torch.Generator) -> Tensor:
    """Add recorded or coloured noise at 0 to 30 dB, and other voices of the batch at 5 to 25 dB."""
    count = len(power)
    level = power.mean(dim=(1, 2), keepdim=True)
    coloured = equalise(torch.rand(power.shape, generator=draw).clamp(min=1e-6).log().neg(), Strength(4.0, 15.0), draw)
    source = torch.where(_chance(count, 0.5, draw), noise, coloured)
    source = source / source.mean(dim=(1, 2), keepdim=True).clamp(min=1e-20) * level
    added = _chance(count, strength.noise, draw)
    mixed = power + torch.where(added, source * _db(-_between(count, 0, 30, draw)), torch.zeros(()))
    other = power[torch.randperm(count, generator=draw)]
    other = other / other.mean(dim=(1, 2), keepdim=True) * level
    added = _chance(count, strength.babble, draw)
    return mixed + torch.where(added, other * _db(-_between(count, 5, 25, draw)), torch.zeros(()))


def through_line(power: Tensor, strength: Strength, draw: torch.Generator) -> Tensor:
    """Apply a telephone band (about 300 to 3,400 Hz, with G.711 quantisation noise), or a low-pass of 3 to 7 kHz."""
    count = len(power)
    centres = torch.tensor(centres_hz())[None, None, :]
    low = _between(count, 150, 350, draw)
    high = _between(count, 3_200, 3_800, draw)
    slope = 30.0 * (torch.log2(low / centres).clamp(min=0) + torch.log2(centres / high).clamp(min=0) * 4)
    quantised = power.mean(dim=2, keepdim=True) * 10**-3.7  # about 37 dB below each frame, flat
    call = (power + quantised) * _db(-slope.clamp(max=80))
    cut = power * _db(-(torch.log2(centres / _between(count, 3_000, 7_000, draw)).clamp(min=0) * 120).clamp(max=80))
    power = torch.where(_chance(count, strength.lowpass, draw), cut, power)
    return torch.where(_chance(count, strength.telephone, draw), call, power)


def augment(power: Tensor, noise: Tensor, strength: Strength, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Apply room, noise, microphone and line in physical order; all (batch, frames, MELS).

    Also returns the share of each frame's power from the direct path, (batch, frames, 1), which scales its correlogram.
    Sometimes it is zero, so that the net does not rely on pitch alone.
    """
    direct = power.sum(dim=2, keepdim=True)
    power = add_noise(reverberate(power, strength, draw), noise, strength, draw)
    share = direct / power.sum(dim=2, keepdim=True).clamp(min=1e-20) * ~_chance(len(power), strength.voiceless, draw)
    return through_line(equalise(power, strength, draw), strength, draw), share


def mask(features: Tensor, strength: Strength, draw: torch.Generator) -> Tensor:
    """Zero one interval of time and one of bands (SpecAugment, Park et al. 2019); features are mean-normalised."""
    count, frames, bands = features.shape
    for size, axis in ((frames, 1), (bands, 2)):
        width = _between(count, 0, 0.15 * size, draw)
        start = torch.rand(count, 1, 1, generator=draw) * (size - width)
        place = torch.arange(size).view(1, -1, 1) if axis == 1 else torch.arange(size).view(1, 1, -1)
        hidden = (place >= start) & (place < start + width) & _chance(count, strength.masks, draw)
        features = features.masked_fill(hidden, 0.0)
    return features


def raise_pitch(pitch: Tensor, strength: Strength, draw: torch.Generator) -> Tensor:
    """Shift each correlogram along its lags, 0.8 semitones per step, to vary a speaker's pitch.

    Mostly by about a step, for a fifth of the examples by three times that, as emotion does. Same shape:
    (batch, frames, lags).
    """
    count, frames, lags = pitch.shape
    spread = torch.where(_chance(count, 0.2, draw), 3.0 * strength.pitch_steps, strength.pitch_steps)
    steps = (torch.randn(count, 1, 1, generator=draw) * spread).round().long()
    place = torch.arange(lags).view(1, 1, -1) - steps
    inside = (place >= 0) & (place < lags)
    return pitch.gather(2, place.clamp(0, lags - 1).expand(count, frames, lags)) * inside
