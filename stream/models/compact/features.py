"""Input features of the compact nets: log-mel power without gain and channel mean, and a correlogram for pitch.

The level is removed before the logarithm's floor applies (each window is divided by its own mean power), so the same
audio at a hundredth or ten times the gain has the same features. The mean over time is removed afterwards, which
cancels a fixed channel (Furui 1981, cepstral mean normalisation). Filters are triangles on the mel scale of
O'Shaughnessy (1987), computed here; nothing is read from disk.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from stream.types import SAMPLE_RATE_HZ

MELS: Final = 64
FRAME_SAMPLES: Final = 400  # 25 ms
HOP_SAMPLES: Final = 160  # 10 ms
FFT_SAMPLES: Final = 512
LOW_HZ: Final = 60.0
HIGH_HZ: Final = 7_600.0
FLOOR: Final = 1e-4  # of the mean power: 40 dB below it
_PRE_EMPHASIS: Final = 0.97
_TINY: Final = 1e-20


def mel_of_hz(hz: float) -> float:
    """Convert hertz to mel (O'Shaughnessy 1987)."""
    return 2595.0 * math.log10(1.0 + hz / 700.0)


def hz_of_mel(mel: float) -> float:
    """Convert mel to hertz."""
    return 700.0 * (math.pow(10.0, mel / 2595.0) - 1.0)


def centres_hz() -> list[float]:
    """Return the centre frequency of each mel band in hertz; length MELS."""
    low, high = mel_of_hz(LOW_HZ), mel_of_hz(HIGH_HZ)
    return [hz_of_mel(low + (high - low) * band / (MELS + 1)) for band in range(1, MELS + 1)]


def mel_filters() -> Tensor:
    """Return triangular filters that average the power of their bins; shape (FFT_SAMPLES // 2 + 1, MELS)."""
    low, high = mel_of_hz(LOW_HZ), mel_of_hz(HIGH_HZ)
    edges = torch.tensor(
        [hz_of_mel(low + (high - low) * edge / (MELS + 1)) for edge in range(MELS + 2)], dtype=torch.float64
    )  # (MELS + 2,)
    bins = torch.arange(FFT_SAMPLES // 2 + 1, dtype=torch.float64) * SAMPLE_RATE_HZ / FFT_SAMPLES  # (257,)
    rise = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])  # (257, 64)
    fall = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    triangles = torch.minimum(rise, fall).clamp(min=0.0)
    # The lowest triangles are narrower than a bin: one that contains no bin takes the nearest.
    for band in (triangles.sum(dim=0) < _TINY).nonzero().flatten().tolist():
        triangles[int((bins - edges[band + 1]).abs().argmin()), band] = 1.0
    return (triangles / triangles.sum(dim=0)).float()


class MelPower(nn.Module):
    """Maps samples (…, n) to mel power (…, frames, MELS)."""

    window: Tensor
    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("window", torch.hann_window(FRAME_SAMPLES), persistent=False)
        self.register_buffer("filters", mel_filters(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Apply pre-emphasis, split into frames, and average the power spectrum in mel bands."""
        emphasised = samples[..., 1:] - _PRE_EMPHASIS * samples[..., :-1]  # (…, n - 1)
        frames = emphasised.unfold(-1, FRAME_SAMPLES, HOP_SAMPLES) * self.window  # (…, frames, 400)
        spectrum = torch.fft.rfft(frames, n=FFT_SAMPLES)  # (…, frames, 257)
        power = spectrum.real.square() + spectrum.imag.square()
        return torch.matmul(power, self.filters)  # (…, frames, 64)


def log_power(power: Tensor) -> Tensor:
    """Return the logarithm of mel power relative to its mean, limited by `FLOOR`; same shape (…, frames, MELS)."""
    mean = power.mean(dim=(-2, -1), keepdim=True).clamp(min=_TINY)
    return torch.log(power / mean + FLOOR)


def mean_normalised(logs: Tensor) -> Tensor:
    """Subtract each band's mean over time; same shape (…, frames, MELS)."""
    return logs - logs.mean(dim=-2, keepdim=True)


PITCH_LAGS: Final = 40
PITCH_HOP_SAMPLES: Final = 2 * HOP_SAMPLES
_PITCH_LOW_HZ: Final = 70.0
_PITCH_HIGH_HZ: Final = 450.0
_PITCH_FRAME_SAMPLES: Final = 640  # 40 ms: two periods of the lowest voice
_PITCH_FFT_SAMPLES: Final = 1_024
_PITCH_BINS: Final = 257  # up to 4 kHz, the band of a telephone


def pitch_lags() -> Tensor:
    """Return the lags of the correlogram in samples, spaced evenly in log pitch; shape (PITCH_LAGS,)."""
    octaves = torch.linspace(math.log2(_PITCH_LOW_HZ), math.log2(_PITCH_HIGH_HZ), PITCH_LAGS, dtype=torch.float64)
    return (SAMPLE_RATE_HZ / 2.0**octaves).round().long()


class Correlogram(nn.Module):
    """Maps samples (…, n) to autocorrelation at pitch lags (…, frames, PITCH_LAGS), which peaks at the pitch period.

    Frames of 40 ms start every 20 ms; frequencies above 4 kHz are excluded, and the window's own autocorrelation is
    divided out (Boersma 1993). Only 40 lags are needed, so the power spectrum is multiplied with their cosines
    (Wiener-Khinchin) instead of an inverse Fourier transform.
    """

    window: Tensor
    cosines: Tensor

    def __init__(self) -> None:
        super().__init__()
        window = torch.hann_window(_PITCH_FRAME_SAMPLES)
        lags = pitch_lags()
        bins = torch.arange(_PITCH_BINS, dtype=torch.float64)
        wave = torch.cos(2.0 * math.pi * bins[:, None] * lags / _PITCH_FFT_SAMPLES)  # (257, 40)
        taper = torch.fft.irfft(torch.fft.rfft(window.double(), n=2 * _PITCH_FFT_SAMPLES).abs().square())
        self.register_buffer("window", window, persistent=False)
        self.register_buffer("cosines", (wave * taper[0] / taper[lags]).float(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """Return values between -1 and 1, independent of the gain."""
        frames = samples.unfold(-1, _PITCH_FRAME_SAMPLES, PITCH_HOP_SAMPLES) * self.window  # (…, frames, 640)
        spectrum = torch.fft.rfft(frames, n=_PITCH_FFT_SAMPLES)[..., :_PITCH_BINS]
        power = spectrum.real.square() + spectrum.imag.square()  # (…, frames, 257)
        total = power.sum(dim=-1, keepdim=True)
        # Frames 40 dB below the mean fade to zero, so that hum in a pause shows no pitch.
        floor = FLOOR * total.mean(dim=-2, keepdim=True) + _TINY
        correlation: Tensor = torch.matmul(power, self.cosines) / (total + floor)  # (…, frames, 40)
        return correlation.clamp(-1.0, 1.0)
