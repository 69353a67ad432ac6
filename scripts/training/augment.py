"""A room, a line, a microphone and other sounds, put on mel power while training.

All of it acts on power spectra: sounds that do not know of each other add in power, an equaliser or a telephone line
multiplies bands, a room's late reverberation smears each band backwards with an exponential (Lebart et al. 2001). So
a batch is altered in a few tensor operations and no sample is decoded twice.
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
    """How often each change is made, and how strongly."""

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
    """Tilt each sound's spectrum and bend it with six slow cosines."""
    count = len(power)
    band = torch.linspace(0, 1, MELS)
    curve = (band - 0.5) * _between(count, -strength.tilt_db, strength.tilt_db, draw)[:, :, 0]  # (batch, 64)
    waves = torch.cos(math.pi * torch.arange(1, 7)[:, None] * band)  # (6, 64)
    curve = curve + (torch.randn(count, 6, generator=draw) * strength.equaliser_db) @ waves
    return power * _db(curve)[:, None, :]


def reverberate(power: Tensor, strength: Strength, draw: torch.Generator) -> Tensor:
    """Add a late tail: 0.15 to 0.9 s to fall by 60 dB, shorter above, 0 to 12 dB below the direct sound in sum."""
    count, frames, _ = power.shape
    rt60_s = _between(count, 0.15, 0.9, draw)
    age = torch.arange(1, _TAIL_FRAMES + 1)[None, :, None] / _FRAMES_PER_S
    band = torch.linspace(0, 1, MELS)[None, None, :]
    tail = torch.exp(-13.8 * age / (rt60_s * (1.2 - 0.5 * band)))  # (batch, tail, 64)
    tail = tail / tail.sum(dim=1, keepdim=True) * _db(-_between(count, 0, 12, draw))
    # One convolution for all: by Fourier, since every sound and band has its own tail.
    size = frames + _TAIL_FRAMES
    kernel = functional.pad(tail, (0, 0, 1, 0))
    late = torch.fft.irfft(torch.fft.rfft(power, size, dim=1) * torch.fft.rfft(kernel, size, dim=1), size, dim=1)
    return torch.where(_chance(count, strength.room, draw), power + late[:, :frames].clamp(min=0), power)


def add_noise(power: Tensor, noise: Tensor, strength: Strength, draw: torch.Generator) -> Tensor:
    """Add recorded or coloured noise at 0 to 30 dB, and other voices of the batch at 5 to 25 dB."""
    count = len(power)
    loud = power.mean(dim=(1, 2), keepdim=True)
    coloured = equalise(torch.rand(power.shape, generator=draw).clamp(min=1e-6).log().neg(), Strength(4.0, 15.0), draw)
    sound = torch.where(_chance(count, 0.5, draw), noise, coloured)
    sound = sound / sound.mean(dim=(1, 2), keepdim=True).clamp(min=1e-20) * loud
    heard = _chance(count, strength.noise, draw)
    mixed = power + torch.where(heard, sound * _db(-_between(count, 0, 30, draw)), torch.zeros(()))
    other = power[torch.randperm(count, generator=draw)]
    other = other / other.mean(dim=(1, 2), keepdim=True) * loud
    heard = _chance(count, strength.babble, draw)
    return mixed + torch.where(heard, other * _db(-_between(count, 5, 25, draw)), torch.zeros(()))


def through_line(power: Tensor, strength: Strength, draw: torch.Generator) -> Tensor:
    """A telephone (about 300 to 3,400 Hz, quantised as G.711 does), or any low-pass between 3 and 7 kHz."""
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


def alter(power: Tensor, noise: Tensor, strength: Strength, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Room, noise, microphone and line, in the order sound meets them; all (batch, frames, MELS).

    The second answer, (batch, frames, 1), is the share of each frame's power that is still the voice's direct sound:
    by so much its correlogram fades. Sometimes it is nothing, so that no voice is known by its pitch alone.
    """
    direct = power.sum(dim=2, keepdim=True)
    power = add_noise(reverberate(power, strength, draw), noise, strength, draw)
    share = direct / power.sum(dim=2, keepdim=True).clamp(min=1e-20) * ~_chance(len(power), strength.voiceless, draw)
    return through_line(equalise(power, strength, draw), strength, draw), share


def mask(features: Tensor, strength: Strength, draw: torch.Generator) -> Tensor:
    """Blank one stretch of time and one of bands (SpecAugment, Park et al. 2019); centred features, so to zero."""
    count, frames, bands = features.shape
    for size, axis in ((frames, 1), (bands, 2)):
        width = _between(count, 0, 0.15 * size, draw)
        start = torch.rand(count, 1, 1, generator=draw) * (size - width)
        place = torch.arange(size).view(1, -1, 1) if axis == 1 else torch.arange(size).view(1, 1, -1)
        hidden = (place >= start) & (place < start + width) & _chance(count, strength.masks, draw)
        features = features.masked_fill(hidden, 0.0)
    return features


def raise_pitch(pitch: Tensor, strength: Strength, draw: torch.Generator) -> Tensor:
    """Slide each correlogram along its lags, 0.8 semitones a step, since one person speaks higher and lower.

    Mostly by a step or so, for a fifth of the sounds by three times that, as emotion does. Shape kept:
    (batch, frames, lags).
    """
    count, frames, lags = pitch.shape
    spread = torch.where(_chance(count, 0.2, draw), 3.0 * strength.pitch_steps, strength.pitch_steps)
    steps = (torch.randn(count, 1, 1, generator=draw) * spread).round().long()
    place = torch.arange(lags).view(1, 1, -1) - steps
    inside = (place >= 0) & (place < lags)
    return pitch.gather(2, place.clamp(0, lags - 1).expand(count, frames, lags)) * inside
